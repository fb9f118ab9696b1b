"""docs/interop.md is what the run of the matrix would write: the expected cells, and the versions that are pinned."""

from __future__ import annotations

import pytest

from tests.docs.pages import read
from tests.interop.page import render
from tests.interop.programs import VERIFIERS, versions


def test_the_page_is_up_to_date() -> None:
    """Whoever changes expected.toml or a lock file runs `make interop`."""
    assert read("docs/interop.md") == render()


@pytest.mark.parametrize("name", VERIFIERS)
def test_versions_are_exact(name: str) -> None:
    """A number, not a range."""
    for version in versions(VERIFIERS[name]).values():
        assert version[0].isdigit()
        assert not set(version) & set("^~*<>= ")
