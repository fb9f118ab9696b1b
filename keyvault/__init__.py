"""
Publish a JSON Web Key Set without running a server.

The public API: `Vault`, `Signer`, and the errors with `KeyVaultError` as their base. Everything else may
change between versions.
"""

from __future__ import annotations

# As `typing.TYPE_CHECKING`, without its import. The command imports this package before it can handle Ctrl-C, and
# `keyvault --help` must start fast: nothing is imported until it is used.
TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    from keyvault.api import Signer, Vault
    from keyvault.errors import GateError, GitError, IdentityError, KeyVaultError, UsageError

__all__ = ["GateError", "GitError", "IdentityError", "KeyVaultError", "Signer", "UsageError", "Vault"]


def __getattr__(name: str) -> Any:
    if name not in __all__:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    from importlib import import_module

    return getattr(import_module("keyvault.api" if name in ("Vault", "Signer") else "keyvault.errors"), name)
