"""docs/threat-model.md names tests that are there."""

from __future__ import annotations

import re

from tests.docs.pages import REPOSITORY, read

NAMED = sorted(set(re.findall(r"`(tests/[\w/]+\.py)`", read("docs/threat-model.md"))))


def test_every_test_that_is_named_is_there() -> None:
    """A claim without its test is a claim."""
    assert len(NAMED) > 15
    assert [path for path in NAMED if not (REPOSITORY / path).is_file()] == []
