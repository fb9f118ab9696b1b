"""The audit's own rules, by themselves: no content of a history stops the audit."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import msgspec
import pytest

from keyvault.core.events import Event
from keyvault.core.history.derived_state import DerivedState
from keyvault.core.history.findings import ERRORS, NOTES, Finding
from keyvault.core.history.rules import ClockBounds, EventContext, instant, judge_events
from keyvault.core.history.versions import read_record
from keyvault.core.policy import Policy, SitePolicy
from keyvault.core.text import DURATION_MAX
from keyvault.repo.records import encode_key
from tests.core.build import SITE, T0, activated, created, deactivated, make_key, revoked, set_policy


@pytest.mark.parametrize("keep_until", ["2026-11-24T17:00:00", "2026-11-24T17:00:00+01:00", "9999-12-31T23:59:59Z"])
def test_an_invalid_instant(keep_until: str) -> None:
    """Each instant of a record is checked before any rule computes with it."""
    key = make_key(created(), activated(), deactivated(T0, T0))
    data = encode_key(key).replace(b'"keep_until": "2026-11-23T17:00:00Z"', f'"keep_until": "{keep_until}"'.encode())
    found, problems = read_record(data, key.path, None)
    assert (found, [code for code, _ in problems]) == (None, ["event-malformed"])


def test_levels_of_findings() -> None:
    """Six findings are about legal or repaired changes; all others are errors, which prevent publishing a commit."""
    assert [code for code in (*ERRORS, *NOTES) if Finding(code, "").level == "note"] == [
        "forced",
        "policy-loosened",
        "recipients-changed",
        "not-resealed",
        "repaired",
        "mended",
    ]


@pytest.mark.parametrize("seconds", [-(2**63), -1, 0, 253_402_300_799, 2**63])
def test_a_commit_of_any_date(seconds: int) -> None:
    """git takes every number; with the longest durations on top there is still a finding, and no overflow."""
    policy = set_policy(clock_skew=DURATION_MAX, signer_lag=DURATION_MAX, token_lifetime=DURATION_MAX)
    key = make_key(created())
    clock = ClockBounds(instant(seconds), T0, DURATION_MAX)
    context = EventContext(key, Policy(SitePolicy(SITE), {"id-token": policy}), policy, (), True, clock)
    last = datetime(8999, 12, 31, 23, 59, 59, tzinfo=UTC)
    events = [Event(at=last, event="deactivated", keep_until=last), created(last - timedelta(days=1))]
    _, problems = judge_events(context, DerivedState(state="active"), events)
    assert "instant-future" in {code for code, _ in problems}


@pytest.mark.parametrize(
    ("seconds", "year"), [(-(2**63), 1970), (-1, 1970), (0, 1970), (253_370_764_800, 9000), (2**63, 9000)]
)
def test_the_date_of_a_commit(seconds: int, year: int) -> None:
    """An instant out of range is moved to the nearest bound."""
    assert instant(seconds) == datetime(year, 1, 1, tzinfo=UTC)


def test_a_folder_that_no_set_can_have() -> None:
    """A key that has left is in no table of keyvault.toml: the name of its set is judged all the same."""
    key = msgspec.structs.replace(make_key(created(), revoked(T0)), set="Upper")
    _, problems = read_record(encode_key(key), key.path, None)
    assert ("record-malformed", "invalid set name 'Upper'") in problems
