"""Fixtures of this folder: vaults in temporary folders, and programs that are compiled once."""

from __future__ import annotations

import pytest

from tests.interop.programs import Program, Verifier, command, need
from tests.site.vaults import _prepared, demo, make_vault, vault

__all__ = ["_prepared", "demo", "make_vault", "vault"]


@pytest.fixture(scope="session")
def program(tmp_path_factory: pytest.TempPathFactory) -> Program:
    """Give a function that returns the command line of a verifier; it compiles each program once."""
    found: dict[str, list[str]] = {}

    def find(verifier: Verifier) -> list[str]:
        need(verifier)
        name = verifier.project
        if name not in found:
            found[name] = command(name, tmp_path_factory.mktemp(name))
        return found[name]

    return find
