"""Sites that were reviewed and stored: rendering them again gives the same bytes."""

from __future__ import annotations

import pytest

from tests.golden.cases import CASES, rendered, stored


@pytest.mark.parametrize("case", CASES)
def test_every_byte_is_as_it_was(case: str) -> None:
    """The same vault gives the same files, today and in ten years; an intended change is stored with `cases write`."""
    now, then = rendered(case), stored(case)

    assert sorted(now) == sorted(then)
    assert [path for path in now if now[path] != then[path]] == [], "python -m tests.golden.cases write"


def test_the_cases_match_their_names() -> None:
    """The cases are a new vault, a vault of two years with all kinds of events, and a vault with many issuers."""
    fresh, years, many = (stored(case) for case in CASES)

    assert b"2024-11" in years["history.json"]
    assert all(event in years["history.json"] for event in (b'"revoked"', b'"reactivated"', b'"withdrawn"'))
    assert b'"activated"' in fresh["history.json"]
    assert b'"deactivated"' not in fresh["history.json"]
    assert len([path for path in many if path.startswith("tenants/") and path.endswith("/index.html")]) == 12
