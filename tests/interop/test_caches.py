"""Verifiers that live long: what they cached before a rotation is enough after it."""

from __future__ import annotations

import json
import shutil
import subprocess
from collections import Counter

import jwt
import pytest

from keyvault.operations import rotation
from tests.interop.test_verifiers import AUDIENCE, NODE, SETS, Host, sign_all, world
from tests.site.vaults import HOUR, Lab

__all__ = ["world"]

pytestmark = pytest.mark.interop


#: The vault itself looks twice: for the receipts, and once more before it rotates.
OWN_LOOKS = 2


class Counting(dict[str, bytes]):
    """The files of a host, with how often each was asked for."""

    def __init__(self, files: dict[str, bytes]) -> None:
        super().__init__(files)
        self.asked: Counter[str] = Counter()

    def get(self, path: str, default: bytes = b"") -> bytes:  # type: ignore[override]  # counts what a server asks for, which never passes None
        self.asked[path] += 1
        return super().get(path, default)


def prepared(lab: Lab) -> None:
    """Record receipts and let the lead pass."""
    rotation.rotate_due(lab.context())
    lab.wait(24 * HOUR)


def test_pyjwt_needs_no_request_for_a_key_that_was_published_before(world: tuple[Lab, Host]) -> None:
    """A service that fetched the set once accepts tokens of both keys, before and after, without asking again."""
    lab, host = world
    host.files = files = Counting(host.files)
    client = jwt.PyJWKClient(host.jwks)
    old = sign_all(lab)
    client.get_signing_key_from_jwt(old[0])
    prepared(lab)
    rotation.rotate(lab.context(), list(SETS))

    for token in [*old, *sign_all(lab)]:
        key = client.get_signing_key_from_jwt(token)
        jwt.decode(token, key, algorithms=list(SETS.values()), audience=AUDIENCE, issuer=host.url)
    assert files.asked == {".well-known/jwks.json": 1 + OWN_LOOKS}


def test_npm_jose_needs_no_request_for_a_key_that_was_published_before(
    world: tuple[Lab, Host],
) -> None:
    """A Node.js process that started before the rotation goes on through it, on its one fetch."""
    if not shutil.which("node") or not (NODE / "node_modules" / "jose").is_dir():
        pytest.skip("Node.js, or the npm package jose in tests/node, is not installed")
    lab, host = world
    host.files = files = Counting(host.files)
    process = subprocess.Popen(
        ["node", str(NODE / "verify.mjs"), host.jwks, host.url, AUDIENCE],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )
    assert process.stdin is not None
    assert process.stdout is not None
    old = sign_all(lab)
    verdicts = []
    for turn in ("before", "after"):
        for token in [*old, *sign_all(lab)]:
            process.stdin.write(token + "\n")
            process.stdin.flush()
            verdicts.append(json.loads(process.stdout.readline()))
        if turn == "before":
            prepared(lab)
            rotation.rotate(lab.context(), list(SETS))
    process.stdin.close()
    assert process.wait(timeout=60) == 0
    process.stdout.close()

    assert [verdict["ok"] for verdict in verdicts] == [True] * len(verdicts)
    assert {verdict["payload"]["iss"] for verdict in verdicts} == {host.url}
    assert files.asked == {".well-known/jwks.json": 1 + OWN_LOOKS}


def test_verifiers_run_the_project_s_own_script() -> None:
    """The Node.js script is in the tree, with the version of jose that its lock file pins."""
    lock = json.loads((NODE / "package-lock.json").read_bytes())

    assert (NODE / "verify.mjs").is_file()
    assert lock["packages"]["node_modules/jose"]["version"].startswith("6.")
