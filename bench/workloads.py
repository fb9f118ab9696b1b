"""
What the benchmark runs in processes of their own: making vaults, making keys, opening keys.

    python bench/workloads.py vault FOLDER --sets 1000 [--alg ES256] [--rotated] [--passphrase]
    python bench/workloads.py history FOLDER --commits 10000 [--sets 20]
    python bench/workloads.py generate COUNT [--one-at-a-time]
    python bench/workloads.py open FOLDER COUNT

Everything goes through the operations that commands use. Where identities lie and who commits is said by the
environment that run.py gives.
"""

from __future__ import annotations

import argparse
import json
import os
import pickle
import subprocess
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

URL = "https://keys.example.com"


def make_vault(folder: Path, *, sets: int, alg: str, rotated: bool, passphrase: str | None) -> None:
    """
    Make a vault in which the commit counts as proof of publication.

    Each set has an active and a next key; with *rotated* there is a second commit, and a retiring key too.
    """
    from keyvault.core.algorithms import key_spec
    from keyvault.operations import rotation, setup
    from keyvault.operations.context import Context
    from keyvault.repo.vault import Repository

    # A moment ago, so that nothing is due, and long enough that the first next keys have matured.
    made_at = datetime.now(UTC).replace(microsecond=0) - timedelta(hours=26)
    names = {f"set-{number:05}": key_spec(alg) for number in range(sets)}
    setup.init(folder, made_at, os.environ, url=URL, sets=names, passphrase=passphrase, confirm="commit")
    if rotated:
        context = Context(Repository.open(folder, os.environ), made_at + timedelta(hours=25), os.environ)
        rotation.rotate(context, [])


def make_history(folder: Path, *, sets: int, commits: int) -> None:
    """
    Make a vault with many commits, each what a scheduled run does: planned and sealed by the real code.

    Commits are written by one ``git fast-import``, since ten thousand runs of the command would take an hour.
    """
    from keyvault.core.algorithms import key_spec
    from keyvault.core.keys import VaultState
    from keyvault.core.planning import plan_due
    from keyvault.operations import setup
    from keyvault.operations.changes import realize
    from keyvault.operations.context import Context
    from keyvault.repo.vault import Repository, commit_message, record_files

    now = datetime(2016, 1, 4, tzinfo=UTC)
    names = {f"set-{number:05}": key_spec("ES256") for number in range(sets)}
    setup.init(folder, now, os.environ, url=URL, sets=names, confirm="commit")
    policy = folder / "keyvault.toml"
    text = policy.read_text()
    for number, name in enumerate(names):  # not all in step: a run finds one or two sets due
        text = text.replace(f"[sets.{name}]", f'[sets.{name}]\ncryptoperiod = "{26 * 60 + 97 * number}m"')
    policy.write_text(text)
    subprocess.run(
        ["git", "commit", "--quiet", "--all", f"--date={now.isoformat()}", "-m", "short"], cwd=folder, check=True
    )
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
        # Planners do not look at keys whose life has ended: without them a step costs what it changes.
        records = {**state.keys, **{key.kid: key for key in keys}}
        live = {kid: key for kid, key in records.items() if key.state not in ("withdrawn", "revoked")}
        state = VaultState(state.commit, state.policy, live, state.recipients)
        made += 1
    command = ["git", "fast-import", "--quiet", "--force"]
    subprocess.run(command, cwd=folder, input=b"".join(stream), check=True)
    subprocess.run(["git", "reset", "--quiet", "--hard"], cwd=folder, check=True)


def generate(count: int, *, one_at_a_time: bool) -> None:
    """Make RSA keys of 2048 bits, as a plan of many sets does or one after the other."""
    from keyvault.core.algorithms import key_spec
    from keyvault.crypto import generate

    spec = key_spec("RS256")
    specs = [spec] * count
    made = map(generate.generate, specs) if one_at_a_time else generate.generate_many(specs)
    kids = {key["kid"] for key in made}
    assert len(kids) == count
    print(json.dumps({"keys": len(kids)}))


def open_sealed(folder: Path, count: int) -> None:
    """Open *count* keys of a vault, and say how many keys were derived from the passphrase for that."""
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
    """Write what `pack` took, file by file, as plainly as Python can."""
    made = set()
    for path, data in pickle.loads(file.read_bytes()):  # noqa: S301 - written by the same run
        target = os.path.join(folder, path)  # noqa: PTH118 - the plainest way is the one to compare with
        parent = os.path.dirname(target)  # noqa: PTH120 - the same
        if parent not in made:
            os.makedirs(parent, exist_ok=True)  # noqa: PTH103 - the same
            made.add(parent)
        with open(target, "wb") as out:  # noqa: PTH123 - the same
            out.write(data)


def main() -> None:
    """Do what the arguments say."""
    parser = argparse.ArgumentParser(description="Workloads of the benchmark.")
    commands = parser.add_subparsers(dest="command", required=True)
    vault = commands.add_parser("vault")
    vault.add_argument("folder", type=Path)
    vault.add_argument("--sets", type=int, required=True)
    vault.add_argument("--alg", default="ES256")
    vault.add_argument("--rotated", action="store_true")
    vault.add_argument("--passphrase", action="store_true")
    history = commands.add_parser("history")
    history.add_argument("folder", type=Path)
    history.add_argument("--commits", type=int, required=True)
    history.add_argument("--sets", type=int, default=20)
    keys = commands.add_parser("generate")
    keys.add_argument("count", type=int)
    keys.add_argument("--one-at-a-time", action="store_true")
    opening = commands.add_parser("open")
    opening.add_argument("folder", type=Path)
    opening.add_argument("count", type=int)
    for name in ("pack", "unpack"):
        copying = commands.add_parser(name)
        copying.add_argument("source", type=Path)
        copying.add_argument("target", type=Path)
    chosen = parser.parse_args()
    if chosen.command == "vault":
        secret = os.environ["KEYVAULT_PASSPHRASE"] if chosen.passphrase else None
        make_vault(chosen.folder, sets=chosen.sets, alg=chosen.alg, rotated=chosen.rotated, passphrase=secret)
    elif chosen.command == "history":
        make_history(chosen.folder, sets=chosen.sets, commits=chosen.commits)
    elif chosen.command == "generate":
        generate(chosen.count, one_at_a_time=chosen.one_at_a_time)
    elif chosen.command == "pack":
        pack(chosen.source, chosen.target)
    elif chosen.command == "unpack":
        unpack(chosen.source, chosen.target)
    else:
        open_sealed(chosen.folder, chosen.count)


if __name__ == "__main__":
    main()
