"""Fixtures of the tests of the command line."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.cli.places import host, write
from tests.cli.recording import SOURCE, Recording
from tests.cli.terminal import Terminal
from tests.native import build
from tests.site.vaults import demo
from tests.vaults import Vault, copy_vault, make_vault

__all__ = ["demo", "host", "write"]


@pytest.fixture(scope="session")
def _template(tmp_path_factory: pytest.TempPathFactory) -> Vault:
    return make_vault(tmp_path_factory.mktemp("template"), confirm="commit")


@pytest.fixture(scope="session")
def _live_template(tmp_path_factory: pytest.TempPathFactory) -> Vault:
    return make_vault(tmp_path_factory.mktemp("live-template"))


@pytest.fixture
def vault(_template: Vault, tmp_path: Path) -> Vault:
    """A vault of the test's own that needs no host: its commits count as published."""
    return copy_vault(_template, tmp_path)


@pytest.fixture
def keyvault(vault: Vault) -> Terminal:
    """A terminal in the vault."""
    return Terminal.of(vault)


@pytest.fixture
def live_vault(_live_template: Vault, tmp_path: Path) -> Vault:
    """A vault whose keys wait until the public URL was seen serving them."""
    return copy_vault(_live_template, tmp_path)


@pytest.fixture
def fresh(tmp_path: Path) -> Terminal:
    """A terminal in an empty folder, without identities or settings."""
    return Terminal.in_folder(tmp_path)


@pytest.fixture(scope="session")
def _recorder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return build(SOURCE, tmp_path_factory.mktemp("recorder"))


@pytest.fixture
def recording(_recorder: Path, tmp_path_factory: pytest.TempPathFactory) -> Recording:
    """An empty recording of real processes; skips the test if recording is not supported."""
    return Recording(tmp_path_factory.mktemp("recording").resolve(), _recorder)
