"""Fixtures of this folder: vaults in temporary folders."""

from tests.site.vaults import _prepared, demo, make_vault, vault

__all__ = ["_prepared", "demo", "make_vault", "vault"]
