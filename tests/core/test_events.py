"""The life of a key: which event may follow which, what each carries, and what they add up to."""

from __future__ import annotations

import typing
from datetime import datetime, timedelta, timezone
from typing import Any

import msgspec
import pytest

from keyvault.core.events import TEXT_MAX, TRANSITIONS, Event, EventName, Life, State, check_event, fold
from keyvault.core.text import INSTANT_END
from keyvault.errors import RecordError
from tests.core.build import (
    DAY,
    HOUR,
    MINUTE,
    SECOND,
    SITE,
    T0,
    URL,
    activated,
    created,
    deactivated,
    published,
    reactivated,
    revoked,
    withdrawn,
)

EVENTS: tuple[str, ...] = typing.get_args(EventName)
STATES: tuple[str, ...] = typing.get_args(State)

#: One example of each event, and a life that leads into each state.
EXAMPLE = {
    "created": created(),
    "published": published(),
    "activated": activated(),
    "lifetime": Event(at=T0, event="lifetime", token_lifetime=7_200),
    "deactivated": deactivated(T0, T0 + HOUR),
    "reactivated": reactivated(T0),
    "withdrawn": withdrawn(T0),
    "revoked": revoked(T0),
    "repaired": Event(at=T0, event="repaired", note="two schedules met"),
}
LEADS_TO: dict[str | None, list[str]] = {
    None: [],
    "next": ["created"],
    "active": ["created", "activated"],
    "retiring": ["created", "activated", "deactivated"],
    "withdrawn": ["created", "withdrawn"],
    "revoked": ["created", "revoked"],
}
#: The table of docs/lifecycle.md, written down once more: all that is not here is illegal.
LEGAL = {
    (None, "created"): "next",
    ("next", "published"): "next",
    ("next", "activated"): "active",
    ("active", "lifetime"): "active",
    ("active", "deactivated"): "retiring",
    ("retiring", "reactivated"): "active",
    ("retiring", "withdrawn"): "withdrawn",
    ("next", "withdrawn"): "withdrawn",
    ("next", "revoked"): "revoked",
    ("active", "revoked"): "revoked",
    ("retiring", "revoked"): "revoked",
    **{(state, "repaired"): state for state in ("next", "active", "retiring", "withdrawn", "revoked")},
}


@pytest.mark.parametrize("state", [None, *STATES])
@pytest.mark.parametrize("name", EVENTS)
def test_every_transition_is_legal_or_refused(state: str | None, name: str) -> None:
    """From each state each event either leads where the table says, or is refused; nothing in between."""
    events = [EXAMPLE[earlier] for earlier in LEADS_TO[state]] + [EXAMPLE[name]]
    if (state, name) in LEGAL:
        assert LEGAL[state, name] == fold(events).state
    else:
        with pytest.raises(RecordError, match=f"^event {name} cannot follow the state {state or 'before creation'}$"):
            fold(events)


def test_the_table_has_every_event_and_two_ends() -> None:
    """Nothing but a repair, which changes no state, follows withdrawn and revoked; the table has every event."""
    assert set(EVENTS) == set(TRANSITIONS)
    assert {"withdrawn", "revoked"} == set(STATES) - {state for state, name in LEGAL if name != "repaired"}


def test_no_events_are_no_key() -> None:
    """A record without events is refused."""
    with pytest.raises(RecordError, match=r"^a key must have at least the event created$"):
        fold([])


# --- what events carry ----------------------------------------------------------------------------------

PAYLOAD = {"url": URL, "token_lifetime": 3_600, "keep_until": T0 + HOUR, "reason": "compromised"}
CARRIES = {
    "created": set(),
    "published": {"url"},
    "activated": {"token_lifetime"},
    "lifetime": {"token_lifetime"},
    "deactivated": {"keep_until"},
    "reactivated": {"token_lifetime"},
    "withdrawn": set(),
    "revoked": {"reason"},
}


@pytest.mark.parametrize("name", [name for name in EVENTS if name != "repaired"])
@pytest.mark.parametrize("carried", [set(), {"url"}, {"token_lifetime"}, {"keep_until"}, {"reason"}, set(PAYLOAD)])
def test_each_event_carries_its_members_and_no_others(name: Any, carried: set[str]) -> None:
    """A member that is missing or out of place is named, with what should be there."""
    event = Event(at=T0, event=name, **{member: PAYLOAD[member] for member in carried})  # type: ignore[arg-type]
    if carried == CARRIES[name]:
        check_event(event)
        return
    given, expected = (", ".join(sorted(members)) or "nothing" for members in (carried, CARRIES[name]))
    with pytest.raises(RecordError, match=f"^event {name} carries {given} instead of {expected}$"):
        check_event(event)


@pytest.mark.parametrize("name", EVENTS)
def test_only_a_creation_can_be_an_import(name: str) -> None:
    """Where a key came from is said once, when it came."""
    event = msgspec.structs.replace(EXAMPLE[name], imported=True)
    if name == "created":
        check_event(event)
    else:
        with pytest.raises(RecordError, match=f"^event {name} cannot be imported$"):
            check_event(event)


@pytest.mark.parametrize(
    ("seconds", "taken"),
    [(-1, False), (0, False), (1, True), (36_525 * 86_400, True), (36_525 * 86_400 + 1, False), (10**30, False)],
)
def test_token_lifetimes_that_can_be(seconds: int, taken: bool) -> None:
    """Between one second and a hundred years."""
    event = Event(at=T0, event="lifetime", token_lifetime=seconds)
    if taken:
        check_event(event)
    else:
        with pytest.raises(RecordError, match=f"^token_lifetime of {seconds} s is out of range$"):
            check_event(event)


@pytest.mark.parametrize("member", ["note", "forced"])
@pytest.mark.parametrize(
    ("text", "taken"),
    [("", False), (" \t\n\u00a0", False), ("x", True), ("<script>", True), ("x" * TEXT_MAX, True), ("x" * 501, False)],
)
def test_texts_that_people_write(member: str, text: str, taken: bool) -> None:
    """A reason is there or absent, never blank, and never a novel."""
    event = created(**{member: text})
    if taken:
        check_event(event)
    else:
        with pytest.raises(RecordError, match=f"^{member} must be 1 to 500 characters, and not only blanks$"):
            check_event(event)


# --- instants -------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "instant",
    [
        T0.replace(tzinfo=None),
        T0.replace(microsecond=1),
        T0.astimezone(timezone(HOUR)),
    ],
)
def test_instants_are_utc_and_whole_seconds(instant: datetime) -> None:
    """One spelling of each instant: no zone, another zone or a fraction is refused, in each place."""
    with pytest.raises(RecordError, match=r"^instant 2026-.* is not in UTC and whole seconds$"):
        check_event(created(instant))
    with pytest.raises(RecordError, match=r"is not in UTC and whole seconds$"):
        check_event(deactivated(T0, instant))


def test_instants_leave_room_for_durations() -> None:
    """The last second before the year 9000 is one; later ones would overflow where a lifetime is added."""
    check_event(created(INSTANT_END - SECOND))
    for event in (created(INSTANT_END), deactivated(T0, INSTANT_END.replace(year=9999))):
        with pytest.raises(RecordError, match=r"^instant 9\d\d\d-01-01T00:00:00\+00:00 is not before the year 9000$"):
            check_event(event)


@pytest.mark.parametrize(("later", "taken"), [(-SECOND, False), (0 * SECOND, True), (SECOND, True)])
def test_time_never_runs_backwards(later: timedelta, taken: bool) -> None:
    """An event may share the instant of the one before it, and may not be a second older."""
    events = [created(T0), published(T0 + later)]
    if taken:
        assert {URL: T0 + later} == fold(events).published
    else:
        with pytest.raises(
            RecordError, match=r"^event published at 2026-11-23 16:59:59Z is older than the one before it$"
        ):
            fold(events)


@pytest.mark.parametrize(("kept", "taken"), [(-SECOND, False), (0 * SECOND, True), (SECOND, True)])
def test_nobody_promises_the_past(kept: timedelta, taken: bool) -> None:
    """A key is kept at least until the instant in which it stops to sign."""
    events = [created(), activated(), deactivated(T0, T0 + kept)]
    if taken:
        assert T0 + kept == fold(events).keep_until
    else:
        with pytest.raises(RecordError, match=r"^keep_until lies before the deactivation$"):
            fold(events)


# --- what events add up to ------------------------------------------------------------------------------


def test_a_whole_life() -> None:
    """Each date of a key comes from the event that set it; the longest promise counts."""
    events = [
        created(T0),
        published(T0 + MINUTE),
        activated(T0 + DAY),
        Event(at=T0 + 2 * DAY, event="lifetime", token_lifetime=7_200),
        deactivated(T0 + 3 * DAY, T0 + 4 * DAY),
        withdrawn(T0 + 5 * DAY),
    ]
    expected = Life(
        state="withdrawn",
        created_at=T0,
        published={URL: T0 + MINUTE},
        activated_at=T0 + DAY,
        deactivated_at=T0 + 3 * DAY,
        keep_until=T0 + 4 * DAY,
        ended_at=T0 + 5 * DAY,
        token_lifetime=2 * HOUR,
        newest_at=T0 + 5 * DAY,
    )
    assert expected == fold(events)


@pytest.mark.parametrize("end", [withdrawn, revoked])
def test_when_a_life_ended(end: Any) -> None:
    """At its last event, whichever of the two that is; a key that never signed promised nothing."""
    life = fold([created(), end(T0 + DAY)])
    assert (life.ended_at, life.newest_at, life.token_lifetime) == (T0 + DAY, T0 + DAY, timedelta(0))


def test_the_first_receipt_of_each_url_counts() -> None:
    """A second look at the same place does not make the key younger; another place has its own receipt."""
    elsewhere = f"{SITE}/api/.well-known/jwks.json"
    life = fold([created(), published(T0 + HOUR), published(T0 + DAY), published(T0 + DAY, elsewhere)])
    assert life.published == {URL: T0 + HOUR, elsewhere: T0 + DAY}


def test_a_rollback_begins_a_new_spell() -> None:
    """A key that signs again has no end in sight, and its promise is never shortened."""
    life = fold(
        [
            created(),
            activated(T0, 5 * HOUR),
            deactivated(T0 + DAY, T0 + 2 * DAY),
            reactivated(T0 + DAY + HOUR, HOUR),
        ]
    )
    assert (life.state, life.activated_at, life.deactivated_at, life.keep_until) == (
        "active",
        T0 + DAY + HOUR,
        None,
        None,
    )
    assert life.token_lifetime == 5 * HOUR


def test_since_when_a_key_is_in_its_state() -> None:
    """That is the instant of its last transition; a receipt or a longer lifetime is none."""
    at = [T0 + number * HOUR for number in range(6)]
    life = [created(at[0]), published(at[1]), activated(at[2]), Event(at=at[3], event="lifetime", token_lifetime=7_200)]
    assert [fold(life[:length]).since for length in range(1, 5)] == [at[0], at[0], at[2], at[2]]
    retiring = [*life, deactivated(at[4], at[4])]
    assert fold(retiring).since == at[4]
    assert fold([*retiring, withdrawn(at[5])]).since == at[5]
