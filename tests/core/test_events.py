"""The events of a key: their order, their members, and the state that follows from them."""

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
from tests.errors import fails

EVENTS: tuple[str, ...] = typing.get_args(EventName)
STATES: tuple[str, ...] = typing.get_args(State)

#: An example of each event, and the events that lead into each state.
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
#: The table of docs/lifecycle.md: every other transition is illegal.
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
    """From each state, each event either leads to the state in the table, or is refused."""
    events = [EXAMPLE[earlier] for earlier in LEADS_TO[state]] + [EXAMPLE[name]]
    if (state, name) in LEGAL:
        assert LEGAL[state, name] == fold(events).state
    else:
        with fails("event-order", RecordError) as caught:
            fold(events)
        assert f" {name} " in caught.value.message
        assert caught.value.message.endswith(state or "before creation")


def test_the_table_has_every_event_and_two_ends() -> None:
    """Only a repair, which changes no state, follows withdrawn and revoked; the table has every event."""
    assert set(EVENTS) == set(TRANSITIONS)
    assert {"withdrawn", "revoked"} == set(STATES) - {state for state, name in LEGAL if name != "repaired"}


def test_a_record_without_events_is_refused() -> None:
    """A key has at least the event created."""
    with fails("events-missing", RecordError):
        fold([])


# --- members of events ----------------------------------------------------------------------------------

PAYLOAD = {"url": URL, "token_lifetime": 3_600, "keep_until": T0 + HOUR, "reason": "compromised"}
REQUIRED = {
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
@pytest.mark.parametrize("members", [set(), {"url"}, {"token_lifetime"}, {"keep_until"}, {"reason"}, set(PAYLOAD)])
def test_each_event_has_its_members_and_no_others(name: Any, members: set[str]) -> None:
    """The message names the members that the event has, and the member that it must have."""
    event = Event(at=T0, event=name, **{member: PAYLOAD[member] for member in members})  # type: ignore[arg-type]  # members of many types
    if members == REQUIRED[name]:
        check_event(event)
        return
    given, expected = (", ".join(sorted(names)) or "nothing" for names in (members, REQUIRED[name]))
    with fails("event-malformed", RecordError) as caught:
        check_event(event)
    assert f" {name} has {given} " in caught.value.message
    assert caught.value.message.endswith(f" {expected}")


@pytest.mark.parametrize("name", EVENTS)
def test_only_a_creation_can_be_an_import(name: str) -> None:
    """The event created records the origin of a key, and no later event does."""
    event = msgspec.structs.replace(EXAMPLE[name], imported=True)
    if name == "created":
        check_event(event)
    else:
        with fails("event-malformed", RecordError) as caught:
            check_event(event)
        assert f" {name} " in caught.value.message
        assert "imported" in caught.value.message


@pytest.mark.parametrize(
    ("seconds", "valid"),
    [(-1, False), (0, False), (1, True), (36_525 * 86_400, True), (36_525 * 86_400 + 1, False), (10**30, False)],
)
def test_bounds_of_token_lifetimes(seconds: int, valid: bool) -> None:
    """A token lifetime is between one second and a hundred years."""
    event = Event(at=T0, event="lifetime", token_lifetime=seconds)
    if valid:
        check_event(event)
    else:
        with fails("lifetime-invalid", RecordError) as caught:
            check_event(event)
        assert f" {seconds} s " in caught.value.message


@pytest.mark.parametrize("member", ["note", "forced"])
@pytest.mark.parametrize(
    ("text", "valid"),
    [("", False), (" \t\n\u00a0", False), ("x", True), ("<script>", True), ("x" * TEXT_MAX, True), ("x" * 501, False)],
)
def test_bounds_of_texts(member: str, text: str, valid: bool) -> None:
    """A note or reason is absent, or has 1 to 500 characters that are not only blanks."""
    event = created(**{member: text})
    if valid:
        check_event(event)
    else:
        with fails("text-invalid", RecordError) as caught:
            check_event(event)
        assert caught.value.message.startswith(f"{member} must be 1 to 500 ")


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
    """An instant without a zone, in another zone or with a fraction is refused, in both members."""
    with fails("instant-invalid", RecordError) as caught:
        check_event(created(instant))
    assert instant.isoformat() in caught.value.message
    with fails("instant-invalid", RecordError):
        check_event(deactivated(T0, instant))


def test_instants_leave_room_for_durations() -> None:
    """The last valid instant is a second before the year 9000: adding a lifetime to a later one would overflow."""
    check_event(created(INSTANT_END - SECOND))
    for event in (created(INSTANT_END), deactivated(T0, INSTANT_END.replace(year=9999))):
        with fails("instant-too-late", RecordError) as caught:
            check_event(event)
        assert (event.keep_until or event.at).isoformat() in caught.value.message


@pytest.mark.parametrize(("later", "valid"), [(-SECOND, False), (0 * SECOND, True), (SECOND, True)])
def test_instants_never_decrease(later: timedelta, valid: bool) -> None:
    """An event may have the instant of the event before it, and may not be a second older."""
    events = [created(T0), published(T0 + later)]
    if valid:
        assert {URL: T0 + later} == fold(events).published
    else:
        with fails("instant-decreases", RecordError) as caught:
            fold(events)
        assert "event published at 2026-11-23 16:59:59Z" in caught.value.message


@pytest.mark.parametrize(("kept", "valid"), [(-SECOND, False), (0 * SECOND, True), (SECOND, True)])
def test_keep_until_is_not_before_the_deactivation(kept: timedelta, valid: bool) -> None:
    """A key is kept at least until the instant at which it stops signing."""
    events = [created(), activated(), deactivated(T0, T0 + kept)]
    if valid:
        assert T0 + kept == fold(events).keep_until
    else:
        with fails("keep-until-too-early", RecordError):
            fold(events)


# --- the state that follows from events -----------------------------------------------------------------


def test_the_dates_of_a_whole_life() -> None:
    """Each date of a key is that of the event that set it; the longest lifetime counts."""
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
def test_a_life_ends_with_its_last_event(end: Any) -> None:
    """Both a withdrawal and a revocation end it; a key that never signed has a token lifetime of zero."""
    life = fold([created(), end(T0 + DAY)])
    assert (life.ended_at, life.newest_at, life.token_lifetime) == (T0 + DAY, T0 + DAY, timedelta(0))


def test_the_first_receipt_of_each_url_counts() -> None:
    """A second receipt from the same URL changes nothing; another URL has its own receipt."""
    elsewhere = f"{SITE}/api/.well-known/jwks.json"
    life = fold([created(), published(T0 + HOUR), published(T0 + DAY), published(T0 + DAY, elsewhere)])
    assert life.published == {URL: T0 + HOUR, elsewhere: T0 + DAY}


def test_a_rollback_resets_the_end() -> None:
    """A key that signs again has no keep_until, and keeps its longest token lifetime."""
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


def test_a_key_enters_its_state_with_its_last_transition() -> None:
    """A receipt or a longer lifetime is no transition."""
    at = [T0 + number * HOUR for number in range(6)]
    life = [created(at[0]), published(at[1]), activated(at[2]), Event(at=at[3], event="lifetime", token_lifetime=7_200)]
    assert [fold(life[:length]).since for length in range(1, 5)] == [at[0], at[0], at[2], at[2]]
    retiring = [*life, deactivated(at[4], at[4])]
    assert fold(retiring).since == at[4]
    assert fold([*retiring, withdrawn(at[5])]).since == at[5]
