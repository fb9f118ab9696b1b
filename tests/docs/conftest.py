"""Fixtures of this folder: a vault in a temporary folder."""

from tests.site.vaults import _prepared, make_vault, vault

__all__ = ["_prepared", "make_vault", "vault"]
