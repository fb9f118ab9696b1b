"""Keys of OAuth clients that sign with their own library: the server finds them in the set of the vault, or not."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from tests.cli.terminal import Terminal
from tests.interop.programs import NODE, need_node
from tests.interop.verdicts import answers
from tests.vaults import make_vault

pytestmark = pytest.mark.interop


@pytest.mark.parametrize(("alg", "found"), [("EdDSA", False), ("Ed25519", True)])
def test_oauth4webapi_signs_as_ed25519(tmp_path: Path, alg: str, found: bool) -> None:
    """oauth4webapi writes Ed25519 into the header for any exported key, so a set with EdDSA lacks the key."""
    need_node(20)
    vault = make_vault(tmp_path, sets=(f"client:{alg}",))
    terminal = Terminal.of(vault)
    key = json.loads(terminal.ok("key", "export", "client", "--active", "--private", "--force").out)
    terminal.ok("render")
    served = json.loads((vault.folder / "public" / ".well-known" / "jwks.json").read_bytes())
    assert key["alg"] == alg

    [answer] = answers(["node", str(NODE / "client.mjs")], [json.dumps({"key": key, "set": served})])

    assert answer == {"alg": "Ed25519", "found": found}
