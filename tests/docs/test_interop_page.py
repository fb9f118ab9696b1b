"""docs/interop.md equals the output of a run of the matrix: the expected cells and the pinned versions."""

from __future__ import annotations

import pytest

from tests.docs.pages import read
from tests.interop.page import render
from tests.interop.programs import VERIFIERS, versions


def test_the_page_is_up_to_date() -> None:
    """After a change of expected.toml or a lock file, run `make interop`."""
    assert read("docs/interop.md") == render()


@pytest.mark.parametrize("name", VERIFIERS)
def test_versions_are_exact(name: str) -> None:
    """Each version is a number, not a range."""
    for version in versions(VERIFIERS[name]).values():
        assert version[0].isdigit()
        assert not set(version) & set("^~*<>= ")
