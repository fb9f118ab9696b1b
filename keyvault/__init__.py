"""
Publish a JSON Web Key Set without running a server.

The public API: `Vault`, `Signer`, and the errors with `KeyVaultError` as their base. Everything else may
change between versions.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from keyvault.errors import GateError, GitError, IdentityError, KeyVaultError, UsageError

if TYPE_CHECKING:
    from keyvault.api import Signer, Vault

__all__ = ["GateError", "GitError", "IdentityError", "KeyVaultError", "Signer", "UsageError", "Vault"]


def __getattr__(name: str) -> Any:
    # `keyvault --help` imports this package and must start fast: git and cryptography are imported on first use.
    if name in ("Vault", "Signer"):
        from keyvault import api

        return getattr(api, name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
