"""Rows of sealing and opening: many keys in a single keyvault process, against a process for each key."""

from __future__ import annotations

import json
from functools import partial
from pathlib import Path

from fixtures import PASSPHRASE, WORKLOADS, Workspace
from measure import Side
from peers import program
from rows import Row

#: Numbers of recipients to seal to.
_RECIPIENTS = (1, 3, 10)


def rows(workspace: Workspace) -> list[Row]:
    """Return the rows."""
    size = workspace.size
    opened = f"per key: opening {size.opened:,} keys, against"
    sealed = f"per key: generating {size.sealed} keys and sealing each"
    found = [
        Row(
            "open",
            f"{opened} `sops -d` with an age identity",
            _open_sops,
            size.runs,
            bound=0.1,
            needs=("sops", "age-keygen"),
        ),
        Row(
            "open-age",
            f"{opened} `age -d`",
            _open_age,
            size.runs,
            bound=0.1,
            needs=("age", "age-keygen"),
        ),
        Row(
            "passphrase",
            f"{size.opened:,} keys under a passphrase against 1 key: one key derivation",
            _passphrase,
            size.runs,
            exact=("derivations", 1),
        ),
    ]
    for count in _RECIPIENTS:
        to = f"{sealed} to {count} recipient{'s' * (count > 1)}"
        by_jose, by_age = partial(_seal_jose, count=count), partial(_seal_age, count=count)
        found += [
            Row(f"seal-{count}", f"{to}, against `jose jwk gen \\| jose jwe enc`", by_jose, size.runs, needs=("jose",)),
            Row(
                f"seal-{count}-age",
                f"{to}, against `jose jwk gen \\| age -R`",
                by_age,
                size.runs,
                needs=("jose", "age", "age-keygen"),
            ),
        ]
    return found


def _opened(workspace: Workspace) -> Side:
    vault, count = workspace.vault((workspace.size.opened + 1) // 2), workspace.size.opened  # two keys a set
    return Side(f"opening {count:,} keys", (*WORKLOADS, "open", str(vault), str(count)), workspace.work, units=count)


def _age_recipients(folder: Path, workspace: Workspace, count: int) -> Path:
    """Return a file of *count* recipients of age; the identity of the last is in ``identity``."""
    recipients = []
    for _ in range(count):
        identity = workspace.run(program("age-keygen"))
        (folder / "identity").write_bytes(identity)
        recipients.append(workspace.run(program("age-keygen"), "-y", folder / "identity").decode())
    file = folder / f"recipients-{count}"
    file.write_text("".join(recipients))
    return file


def _open_sops(workspace: Workspace) -> tuple[Side, Side]:
    folder, count, sops = workspace.path("sops"), workspace.size.asked, program("sops")
    recipient = _age_recipients(folder, workspace, 1).read_text().strip()
    (folder / "key.json").write_bytes(workspace.run("jose", "jwk", "gen", "-i", '{"alg":"ES256"}'))
    sealed = workspace.run(sops, "--encrypt", "--age", recipient, folder / "key.json")
    (folder / "sealed.json").write_bytes(sealed)
    script = f"for i in $(seq {count}); do {sops} -d sealed.json >/dev/null || exit; done"
    peer = Side(
        f"sops -d, {count} times",
        ("sh", "-c", script),
        folder,
        units=count,
        environ={"SOPS_AGE_KEY_FILE": str(folder / "identity")},
    )
    return _opened(workspace), peer


def _open_age(workspace: Workspace) -> tuple[Side, Side]:
    folder, count, age = workspace.path("age"), workspace.size.asked, program("age")
    recipients = _age_recipients(folder, workspace, 1)
    (folder / "key.json").write_bytes(workspace.run("jose", "jwk", "gen", "-i", '{"alg":"ES256"}'))
    workspace.run(age, "-R", recipients, "-o", folder / "sealed.age", folder / "key.json")
    script = f"for i in $(seq {count}); do {age} -d -i identity sealed.age >/dev/null || exit; done"
    return _opened(workspace), Side(f"age -d, {count} times", ("sh", "-c", script), folder, units=count)


def _passphrase(workspace: Workspace) -> tuple[Side, Side]:
    count = workspace.size.opened
    vault = workspace.vault((count + 1) // 2, "passphrase")
    many, single = (
        Side(label, (*WORKLOADS, "open", str(vault), str(number)), workspace.work, environ=PASSPHRASE)
        for label, number in ((f"opening {count:,} keys", count), ("opening 1 key", 1))
    )
    return many, single


def _sealed(workspace: Workspace, count: int) -> Side:
    file, keys = workspace.folder / f"recipients-{count}.jwks", workspace.size.sealed
    workspace.run(*WORKLOADS, "recipients", file, str(count))
    label = f"sealing {keys} keys to {count} recipient{'s' * (count > 1)}"
    return Side(label, (*WORKLOADS, "seal", str(file), str(keys)), workspace.work, units=keys)


def _repeated(command: str, times: int, folder: Path, label: str) -> Side:
    generate = """jose jwk gen -i '{"alg":"ES256"}'"""
    script = f"for i in $(seq {times}); do {generate} | {command} >/dev/null || exit; done"
    return Side(f"{label}, {times} times", ("sh", "-c", script), folder, units=times)


def _seal_jose(workspace: Workspace, *, count: int) -> tuple[Side, Side]:
    ours, folder = _sealed(workspace, count), workspace.path("jose-seal")
    to = []
    for number, jwk in enumerate(json.loads((workspace.folder / f"recipients-{count}.jwks").read_bytes())["keys"]):
        public = {name: jwk[name] for name in ("kty", "crv", "x", "y")}
        (folder / f"{number}.jwk").write_text(json.dumps(public))
        to.append(f"""-r '{{"header":{{"alg":"ECDH-ES+A256KW"}}}}' -k {number}.jwk""")
    command = f"""jose jwe enc -i '{{"protected":{{"enc":"A256GCM"}}}}' -I- {" ".join(to)}"""
    return ours, _repeated(command, workspace.size.asked, folder, "jose jwk gen | jose jwe enc")


def _seal_age(workspace: Workspace, *, count: int) -> tuple[Side, Side]:
    folder = workspace.path("age-seal")
    command = f"{program('age')} -R {_age_recipients(folder, workspace, count).name}"
    return _sealed(workspace, count), _repeated(command, workspace.size.asked, folder, "jose jwk gen | age -R")
