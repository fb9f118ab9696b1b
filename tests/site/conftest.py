"""Fixtures of this folder: vaults in temporary folders, and rendered sites."""

from tests.site.sites import rendered, site
from tests.site.vaults import _prepared, demo, make_vault, vault

__all__ = ["_prepared", "demo", "make_vault", "rendered", "site", "vault"]
