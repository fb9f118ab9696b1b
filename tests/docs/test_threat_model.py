"""The tests that docs/threat-model.md names exist."""

from __future__ import annotations

import re

from tests.docs.pages import REPOSITORY, read

NAMED = sorted(set(re.findall(r"`(tests/[\w/]+\.py)`", read("docs/threat-model.md"))))


def test_every_named_test_exists() -> None:
    """A claim without a test is only a claim."""
    assert len(NAMED) > 15
    assert [path for path in NAMED if not (REPOSITORY / path).is_file()] == []
