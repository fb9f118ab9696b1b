"""A program that signs needs only four third-party packages: typer, jinja2, GitPython and others may be missing."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import jwt

import keyvault
from tests.site.vaults import Lab

#: The packages that signing needs, and the packages that these import.
NEEDED = ("cryptography", "jwcrypto", "msgspec", "platformdirs")
NEEDED_BY_THEM = ("_cffi_backend", "cffi", "bcrypt", "typing_extensions")

#: Refuse every other third-party package, as if it were not installed.
_BLOCK = f"""
import sys

class Refuse:
    allowed = {{"keyvault", *{NEEDED!r}, *{NEEDED_BY_THEM!r}, *sys.stdlib_module_names}}

    def find_spec(self, name, path=None, target=None):
        if name.partition(".")[0] not in self.allowed:
            raise ModuleNotFoundError(f"No module named {{name!r}}", name=name)

sys.meta_path.insert(0, Refuse())
"""

_SIGN = """
from datetime import timedelta
import keyvault
from keyvault import Vault

vault = Vault.open(sys.argv[1], identity=sys.argv[2] or None)
signer = vault.signer("id-token", refresh=timedelta(0))
print(signer.sign({"sub": "alice"}))
print(signer.sign({"sub": "bob"}, typ="at+jwt"))
assert vault.jwks()["keys"] and vault.plan() and vault.commit
"""


def run(program: str, *arguments: str, environ: dict[str, str]) -> subprocess.CompletedProcess[str]:
    """Run a program with the package of this source tree, and without any other third-party package."""
    return subprocess.run(
        [sys.executable, "-c", _BLOCK + program, *arguments],
        env={**environ, "PYTHONPATH": str(Path(keyvault.__file__).parent.parent)},
        capture_output=True,
        text=True,
        check=False,
    )


def test_other_packages_are_refused() -> None:
    """The import hook of this test works: it refuses a package that a command imports."""
    done = run("import typer", environ=dict(os.environ))

    assert done.returncode == 1
    assert "ModuleNotFoundError: No module named 'typer'" in done.stderr


def test_signing_needs_four_packages(vault: Lab) -> None:
    """A service opens a vault, signs, and reads its JWK Sets and its plan with only these four packages installed."""
    done = run(_SIGN, str(vault.folder), "", environ=vault.environ)

    assert (done.returncode, done.stderr) == (0, "")
    kid = vault.key("id-token", "active").kid
    assert [jwt.get_unverified_header(token) for token in done.stdout.split()] == [
        {"alg": "ES256", "kid": kid, "typ": "JWT"},
        {"alg": "ES256", "kid": kid, "typ": "at+jwt"},
    ]


def test_a_named_identity_needs_no_more(vault: Lab) -> None:
    """An identity file instead of the identity folder needs no other package."""
    (identity,) = Path(vault.environ["KEYVAULT_CONFIG_DIR"], "identities").glob("*.json")
    environ = {**vault.environ, "KEYVAULT_CONFIG_DIR": str(vault.folder / "none")}

    done = run(_SIGN, str(vault.folder), str(identity), environ=environ)

    assert (done.returncode, done.stderr, len(done.stdout.split())) == (0, "", 2)
