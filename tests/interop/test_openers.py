"""Private keys of a vault, opened by other tools with an identity alone: no lock-in."""

from __future__ import annotations

import json
import shutil
import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest

from keyvault.operations import keys, recipients
from tests.interop.programs import NODE, need_node
from tests.site.vaults import Lab, new_lab

pytestmark = pytest.mark.interop

KINDS = {"p256": ("ECDH-ES+A256KW", "P-256"), "rsa": ("RSA-OAEP-256", None)}

_OPEN = """
import { webcrypto } from "node:crypto";
import { readFileSync } from "node:fs";
globalThis.crypto ??= webcrypto;
const { generalDecrypt, importJWK } = await import("jose");
const [record, identity] = process.argv.slice(1).map((path) => JSON.parse(readFileSync(path)));
const { plaintext } = await generalDecrypt(record.private, await importJWK(identity, identity.alg));
process.stdout.write(plaintext);
"""

#: From vault, record and identity file to the printed private JWK, or None if the tool refuses.
Opener = Callable[[Lab, str, Path], bytes | None]


def with_jq_and_jose(lab: Lab, record: str, identity: Path) -> bytes | None:
    """Run the command line of docs/format.md."""
    if not shutil.which("jose") or not shutil.which("jq"):
        pytest.skip("jose and jq are not installed")
    alg = json.loads(identity.read_bytes())["alg"]
    known = subprocess.run(["jose", "alg", "-k", "wrap"], capture_output=True, text=True, check=True).stdout
    if alg not in known.split():
        pytest.skip(f"this build of jose does not know {alg}")
    line = f'jq .private "{record}" | jose jwe dec -i- -k "{identity}"'
    done = subprocess.run(["sh", "-c", line], cwd=lab.folder, env=lab.environ, capture_output=True)
    return done.stdout if done.returncode == 0 else None


def with_npm_jose(lab: Lab, record: str, identity: Path) -> bytes | None:
    need_node()
    done = subprocess.run(
        ["node", "--input-type=module", "--eval", _OPEN, str(lab.folder / record), str(identity)],
        cwd=NODE,
        capture_output=True,
    )
    return done.stdout if done.returncode == 0 else None


#: Node.js starts once for each key, which takes a while.
EACH_OPENER = [with_jq_and_jose, pytest.param(with_npm_jose, marks=pytest.mark.slow)]


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("opener", EACH_OPENER)
def test_one_recipient(tmp_path: Path, opener: Opener, kind: str) -> None:
    """With one recipient of either kind, the tool prints the private JWK of every kind of key."""
    alg, crv = KINDS[kind]
    home = tmp_path / "home"
    recipient, identity = recipients.create_identity(
        {}, kid="ops", alg=alg, crv=crv, output=home / "config" / "identities" / "ops.json"
    )
    sets = ("id-token:RS256", "access-token:ES512", "reports:EdDSA", "cookies:HS256", "mail:ECDH-ES+A256KW")
    lab = new_lab(home / "vault", *sets, recipients=[recipient])

    for key_set in lab.state.sets.values():
        key = key_set.active
        assert key is not None
        printed = opener(lab, key.path, identity)
        assert printed is not None
        (private,) = keys.open_keys(lab.context(), [key])
        assert json.loads(printed) == private
        assert private["kid"] == key.kid
        assert {"d", "k"} & set(private)


@pytest.mark.parametrize("opener", EACH_OPENER)
def test_several_recipients_and_a_removed_one(tmp_path: Path, opener: Opener) -> None:
    """Each of several recipients opens a key alone; a removed recipient opens no new envelope."""
    lab = new_lab(tmp_path / "home" / "vault", "id-token:ES256")
    (first,) = (tmp_path / "home" / "config" / "identities").glob("*.json")
    identities = {"first": first}
    for kid, kind in (("second", "p256"), ("third", "rsa"), ("fourth", "p256")):
        alg, crv = KINDS[kind]
        output = tmp_path / f"{kid}.json"
        recipient, identities[kid] = recipients.create_identity({}, kid=kid, alg=alg, crv=crv, output=output)
        recipients.add_recipient(lab.context(), recipient)
    able = [identity for kid, identity in identities.items() if opener is with_npm_jose or kid != "third"]
    records = [key.path for key in lab.state.keys.values()]

    for record in records:
        printed = {opener(lab, record, identity) for identity in able}
        assert len(printed) == 1
        assert None not in printed

    recipients.remove_recipient(lab.context(), "second")
    for record in records:
        assert opener(lab, record, identities["second"]) is None
        assert opener(lab, record, identities["fourth"]) is not None
