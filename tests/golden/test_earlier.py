"""
A vault that an earlier version created: this version reads, renders, rotates and audits it.

``earlier/vault.bundle`` is its repository: sets of two issuers, an encryption set, symmetric and imported keys, a
rotation, a rollback, a revocation, and a change of algorithm under way. Its keyvault.toml has none of the members that
came later. Its identity is in the vault, under the passphrase below. ``earlier/site.json`` has the digest of each file.
"""

from __future__ import annotations

import hashlib
import json
import subprocess
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from keyvault.api import Vault
from keyvault.crypto.tokens import parse_token
from keyvault.operations import audit, rotation
from tests.site.vaults import SITE, Lab, environment

EARLIER = Path(__file__).parent / "earlier"
PASSPHRASE = "a passphrase of the tests"


@pytest.fixture(scope="module")
def described() -> dict[str, Any]:
    """The description of its site."""
    found: dict[str, Any] = json.loads((EARLIER / "site.json").read_bytes())
    return found


@pytest.fixture
def earlier(tmp_path: Path, described: dict[str, Any]) -> Lab:
    """A clone of the vault, at the instant of its last command."""
    environ = environment(tmp_path) | {"KEYVAULT_PASSPHRASE": PASSPHRASE}
    clone = ["git", "clone", "--quiet", "--branch=main", str(EARLIER / "vault.bundle"), str(tmp_path / "vault")]
    subprocess.run(clone, env=environ, check=True, capture_output=True)
    return Lab(tmp_path / "vault", environ, datetime.fromisoformat(described["at"]))


def test_site_has_the_same_bytes(earlier: Lab, described: dict[str, Any]) -> None:
    """The site is stable, including the calendar of planned transitions."""
    assert earlier.head == described["commit"]
    site = {path: hashlib.sha256(data).hexdigest() for path, data in earlier.site().items()}

    assert sorted(site) == sorted(described["files"])
    assert [path for path, digest in site.items() if digest != described["files"][path]] == []


def test_history_is_audited_clean(earlier: Lab) -> None:
    """Later rules do not apply to commits from before them."""
    assert not audit.audit(earlier.context(), earlier.context().repository.head()).errors


def test_life_goes_on(earlier: Lab) -> None:
    """Its keys sign, its change of algorithm ends after its original lead, and the audit accepts all of it."""
    token = Vault.open(earlier.folder, environ=earlier.environ).signer("id-token").sign({"sub": "alice"})
    assert parse_token(token).claims["iss"] == SITE
    earlier.deploy()
    earlier.wait(timedelta(hours=24))
    outcome = rotation.rotate(earlier.context(), ["tenant", "id-token"])

    assert outcome.commit
    assert earlier.key("tenant", "active").public.alg == "ES256"
    earlier.rotate("tenant")
    assert not audit.audit(earlier.context(), earlier.context().repository.head()).errors
