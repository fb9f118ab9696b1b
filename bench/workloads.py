"""
Run the benchmark's workloads as separate processes: generate vaults, seal and open keys, write the rendered files.

    python bench/workloads.py vault FOLDER --sets 1000 [--alg ES256] [--rotated] [--passphrase] [--issuers]
    python bench/workloads.py history FOLDER --commits 10000 [--sets 20]
    python bench/workloads.py open FOLDER COUNT
    python bench/workloads.py seal RECIPIENTS COUNT
    python bench/workloads.py recipients FILE COUNT
    python bench/workloads.py pack SITE FILE
    python bench/workloads.py unpack FILE FOLDER
    python bench/workloads.py pages FOLDER COUNT
    python bench/workloads.py decode <BLOBS

Everything uses the operations of the commands. The environment from run.py sets the folder of identities and the
author of commits.
"""

from __future__ import annotations

import argparse
import json
import os
import pickle
import subprocess
import sys
from collections.abc import Mapping
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

URL = "https://keys.example.com"
#: When vaults are created. They are rotated when their next keys have matured; `NOW` of fixtures.py is an hour later.
MADE_AT = datetime(2026, 1, 5, tzinfo=UTC)
ROTATED_AT = MADE_AT + timedelta(hours=25)


def make_vault(folder: Path, *, sets: int, alg: str, rotated: bool, issuers: bool, passphrase: str | None) -> None:
    """
    Generate a vault in which the commit counts as proof of publication.

    Each set has an active and a next key; with *rotated* there is another commit, and a retiring key too. With
    *issuers* each group of 30 sets has its own issuer.
    """
    from keyvault.core.algorithms import key_spec
    from keyvault.operations import rotation, setup
    from keyvault.operations.context import Context
    from keyvault.operations.new_vault import NewVault
    from keyvault.repo.vault import Repository

    names = {f"set-{number:05}": key_spec(alg) for number in range(sets)}
    setup.init(folder, MADE_AT, os.environ, NewVault(URL, names, passphrase=passphrase, confirm="commit"))
    if issuers:
        _edit_policy(folder, MADE_AT, {name: f'issuer = "{URL}/{number // 30}"' for number, name in enumerate(names)})
    if rotated:
        context = Context(Repository.open(folder, os.environ), ROTATED_AT, os.environ)
        rotation.rotate(context, [])


def _edit_policy(folder: Path, now: datetime, lines: Mapping[str, str]) -> None:
    """Add a line for each set to keyvault.toml, and commit that."""
    policy = folder / "keyvault.toml"
    heads = policy.read_text().splitlines()
    added = {f"[sets.{name}]": line for name, line in lines.items()}
    policy.write_text("".join(f"{head}\n{added[head]}\n" if head in added else f"{head}\n" for head in heads))
    commit = ["git", "commit", "--quiet", "--all", f"--date={now.isoformat()}", "-m", "edit the policy"]
    subprocess.run(commit, cwd=folder, check=True)


def make_history(folder: Path, *, sets: int, commits: int) -> None:
    """
    Generate a vault with many commits, each like a scheduled run: planned and sealed by the real code.

    A single ``git fast-import`` writes the commits: ten thousand runs of the command would take an hour.
    """
    from keyvault.core.algorithms import key_spec
    from keyvault.core.planning import plan_due
    from keyvault.core.state import VaultState
    from keyvault.operations import setup
    from keyvault.operations.changes import realize
    from keyvault.operations.context import Context
    from keyvault.operations.new_vault import NewVault
    from keyvault.repo.vault import Repository, commit_message, record_files

    now = datetime(2016, 1, 4, tzinfo=UTC)
    names = {f"set-{number:05}": key_spec("ES256") for number in range(sets)}
    setup.init(folder, now, os.environ, NewVault(URL, names, confirm="commit"))
    # With different periods, so that each run finds one or two due sets.
    periods = {name: f'cryptoperiod = "{26 * 60 + 97 * number}m"' for number, name in enumerate(names)}
    _edit_policy(folder, now, periods)
    repository = Repository.open(folder, os.environ)
    state = repository.read(repository.head())
    stream = [b"reset refs/heads/main\nfrom " + state.commit.encode() + b"\n\n"]
    made = 2
    while made < commits:
        now += timedelta(minutes=37)
        plan = plan_due(state, now, live={})
        if not plan:
            continue
        keys, events = realize(Context(repository, now, os.environ), state, plan, state.recipients)
        message = commit_message("rotate", events).encode()
        date = b"%d +0000" % now.timestamp()
        stream.append(b"commit refs/heads/main\ncommitter Bench <bench@example.com> %b\n" % date)
        stream.append(b"data %d\n%b\n" % (len(message), message))
        for path, data in record_files(keys).items():
            assert data is not None
            stream.append(b"M 100644 inline %b\ndata %d\n%b\n" % (path.encode(), len(data), data))
        # Planners ignore withdrawn and revoked keys: without them, the cost of a step is that of its changes.
        records = {**state.keys, **{key.kid: key for key in keys}}
        live = {kid: key for kid, key in records.items() if key.state not in ("withdrawn", "revoked")}
        state = VaultState(state.commit, state.policy, live, state.recipients)
        made += 1
    command = ["git", "fast-import", "--quiet", "--force"]
    subprocess.run(command, cwd=folder, input=b"".join(stream), check=True)
    subprocess.run(["git", "reset", "--quiet", "--hard"], cwd=folder, check=True)


def write_recipients(file: Path, count: int) -> None:
    """Write *count* new recipients on P-256, as a JWK Set."""
    from keyvault.crypto.identities import new_identity

    made = [new_identity(None) for _ in range(count)]
    file.write_text(json.dumps({"keys": [{name: jwk[name] for name in jwk if name != "d"} for jwk in made]}))


def seal(file: Path, count: int) -> None:
    """Generate *count* keys, and seal each to all recipients of *file*."""
    from keyvault.core.algorithms import key_spec
    from keyvault.crypto.envelope import Sealer
    from keyvault.crypto.generate import generate
    from keyvault.crypto.identities import recipient_of

    recipients = {jwk["kid"]: recipient_of(jwk) for jwk in json.loads(file.read_bytes())["keys"]}
    sealer, spec = Sealer(recipients), key_spec("ES256")
    for _ in range(count):
        private = generate(spec)
        envelope = sealer.seal(private, kid=private["kid"], set_name="id-token")
        assert len(envelope.recipients) == len(recipients)


def open_sealed(folder: Path, count: int) -> None:
    """Open *count* keys of a vault, and print the number of key derivations from the passphrase."""
    from jwcrypto import jwa

    from keyvault.operations.context import Context
    from keyvault.operations.keys import open_keys

    derive, derivations = jwa.PBKDF2HMAC, 0

    def counted(*arguments: Any, **named: Any) -> Any:
        nonlocal derivations
        derivations += 1
        return derive(*arguments, **named)

    jwa.PBKDF2HMAC = counted
    context = Context.find(folder, datetime.now(UTC), os.environ)
    keys = list(context.state().keys.values())[:count]
    opened = sum("d" in key for key in open_keys(context, keys))
    assert opened == count
    print(json.dumps({"keys": opened, "derivations": derivations}))


def pack(site: Path, file: Path) -> None:
    """Write all files of *site* into one, for `unpack`."""
    files = [(str(path.relative_to(site)), path.read_bytes()) for path in sorted(site.rglob("*")) if path.is_file()]
    file.write_bytes(pickle.dumps(files))


def unpack(file: Path, folder: Path) -> None:
    """Write the files that `pack` packed, as plainly as Python can."""
    made = set()
    for path, data in pickle.loads(file.read_bytes()):  # noqa: S301 - written by the same run
        target = os.path.join(folder, path)  # noqa: PTH118 - the plainest way is the reference
        parent = os.path.dirname(target)  # noqa: PTH120 - the same
        if parent not in made:
            os.makedirs(parent, exist_ok=True)  # noqa: PTH103 - the same
            made.add(parent)
        with open(target, "wb") as out:  # noqa: PTH123 - the same
            out.write(data)


def write_pages(folder: Path, count: int) -> None:
    """Write a Hugo site of *count* pages, each as large as the page of a key."""
    (folder / "content").mkdir(parents=True)
    (folder / "layouts" / "_default").mkdir(parents=True)
    (folder / "config.toml").write_text(f'baseURL = "{URL}/"\ndisableKinds = ["RSS", "sitemap", "taxonomy", "term"]\n')
    page = (
        "<!doctype html><title>{{ .Title }}</title><h1>{{ .Title }}</h1>"
        "<dl>{{ range $name, $value := .Params.members }}<dt>{{ $name }}<dd><code>{{ $value }}</code>{{ end }}</dl>"
        "<ul>{{ range .Params.events }}<li>{{ .at }} {{ .event }}{{ end }}</ul>{{ .Content }}"
    )
    (folder / "layouts" / "_default" / "single.html").write_text(page)
    (folder / "layouts" / "index.html").write_text("<!doctype html><title>keys</title>{{ len .Site.RegularPages }}")
    names = ("created", "published", "activated", "deactivated")
    events = [{"event": name, "at": (MADE_AT + timedelta(hours=hour)).isoformat()} for hour, name in enumerate(names)]
    for number in range(count):
        members = {
            "kty": "EC",
            "crv": "P-256",
            "alg": "ES256",
            "use": "sig",
            "x": f"{number:043}",
            "y": f"{number:043}",
        }
        front = {"title": f"Key {number}", "members": members, "events": events}
        (folder / "content" / f"key-{number:06}.md").write_text(json.dumps(front, indent=1) + "\n\nA key.\n")


def decode() -> None:
    """Decode the output of ``git cat-file --batch`` as JSON, blob by blob."""
    stream, records = sys.stdin.buffer, []
    while head := stream.readline():
        data = stream.read(int(head.split()[2]) + 1)
        if data.startswith(b"{"):
            records.append(json.loads(data))
    print(json.dumps({"records": len(records)}))


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description="Workloads of the benchmark.")
    commands = parser.add_subparsers(dest="command", required=True)
    vault = commands.add_parser("vault")
    vault.add_argument("folder", type=Path)
    vault.add_argument("--sets", type=int, required=True)
    vault.add_argument("--alg", default="ES256")
    vault.add_argument("--rotated", action="store_true")
    vault.add_argument("--passphrase", action="store_true")
    vault.add_argument("--issuers", action="store_true")
    history = commands.add_parser("history")
    history.add_argument("folder", type=Path)
    history.add_argument("--commits", type=int, required=True)
    history.add_argument("--sets", type=int, default=20)
    for name in ("open", "seal", "recipients", "pages"):
        counted = commands.add_parser(name)
        counted.add_argument("path", type=Path)
        counted.add_argument("count", type=int)
    for name in ("pack", "unpack"):
        copying = commands.add_parser(name)
        copying.add_argument("source", type=Path)
        copying.add_argument("target", type=Path)
    commands.add_parser("decode")
    return parser.parse_args()


def main() -> None:
    """Run the workload that the arguments name."""
    chosen = _arguments()
    match chosen.command:
        case "vault":
            secret = os.environ["KEYVAULT_PASSPHRASE"] if chosen.passphrase else None
            shape = {"sets": chosen.sets, "alg": chosen.alg, "rotated": chosen.rotated, "issuers": chosen.issuers}
            make_vault(chosen.folder, **shape, passphrase=secret)
        case "history":
            make_history(chosen.folder, sets=chosen.sets, commits=chosen.commits)
        case "open":
            open_sealed(chosen.path, chosen.count)
        case "seal":
            seal(chosen.path, chosen.count)
        case "recipients":
            write_recipients(chosen.path, chosen.count)
        case "pages":
            write_pages(chosen.path, chosen.count)
        case "pack":
            pack(chosen.source, chosen.target)
        case "unpack":
            unpack(chosen.source, chosen.target)
        case "decode":
            decode()


if __name__ == "__main__":
    main()
