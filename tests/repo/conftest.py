"""Fixtures of the tests that use git."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.vaults import Vault, copy_vault, environment, make_vault


@pytest.fixture(scope="session")
def _template(tmp_path_factory: pytest.TempPathFactory) -> Vault:
    return make_vault(tmp_path_factory.mktemp("template"))


@pytest.fixture
def vault(_template: Vault, tmp_path: Path) -> Vault:
    """A vault of the test's own, as `keyvault init` creates it: two sets, nothing published yet."""
    return copy_vault(_template, tmp_path)


@pytest.fixture
def environ(tmp_path: Path) -> dict[str, str]:
    """The environment of a new user."""
    return environment(tmp_path)
