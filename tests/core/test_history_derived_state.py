"""The audit's reading of a record: the state after its events, the problems of an event, and their messages."""

from __future__ import annotations

from datetime import datetime, timedelta
from typing import Any

import msgspec
import pytest

from keyvault.core.compact import summarize_envelope
from keyvault.core.events import Event
from keyvault.core.history.derived_state import (
    LIFETIME_MAX,
    TEXT_MAX,
    DerivedState,
    advance,
    derive_state,
    event_problems,
    keeps_promises,
)
from keyvault.core.history.versions import read_record
from keyvault.core.jwk import PublicJWK
from keyvault.core.keys import Key
from keyvault.core.text import elided
from keyvault.crypto.envelope import Sealer
from keyvault.repo.records import encode_key
from tests.core.build import (
    DAY,
    HOUR,
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
from tests.crypto.keys import private, public, recipient

ELSEWHERE = f"{SITE}/api/.well-known/jwks.json"


def lifetime(seconds: int) -> Event:
    return Event(at=T0, event="lifetime", token_lifetime=seconds)


def repaired(at: datetime = T0, **more: Any) -> Event:
    return Event(at=at, event="repaired", note="two schedules met", **more)


# --- where events lead ----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("events", "derived"),
    [
        pytest.param([], DerivedState(), id="nothing"),
        pytest.param([created()], DerivedState("next", T0, {}, None, timedelta(0), T0), id="created"),
        pytest.param(
            [created(), published(T0 + HOUR), published(T0 + DAY), published(T0 + DAY, ELSEWHERE)],
            DerivedState("next", T0, {URL: T0 + HOUR, ELSEWHERE: T0 + DAY}, None, timedelta(0), T0 + DAY),
            id="published",
        ),
        pytest.param(
            [created(), activated(T0 + DAY, 2 * HOUR)],
            DerivedState("active", T0, {}, None, 2 * HOUR, T0 + DAY),
            id="activated",
        ),
        pytest.param(
            [created(), published(), activated(T0, 2 * HOUR), lifetime(3_600), deactivated(T0 + DAY, T0 + 2 * DAY)],
            DerivedState("retiring", T0, {URL: T0}, T0 + 2 * DAY, 2 * HOUR, T0 + DAY, T0 + DAY),
            id="deactivated, with the longest promise",
        ),
        pytest.param(
            [created(), activated(), deactivated(T0, T0 + DAY), reactivated(T0 + HOUR, 3 * HOUR)],
            DerivedState("active", T0, {}, None, 3 * HOUR, T0 + HOUR),
            id="reactivated",
        ),
        pytest.param(
            [created(), activated(), deactivated(T0, T0 + DAY), withdrawn(T0 + 2 * DAY)],
            DerivedState("withdrawn", T0, {}, T0 + DAY, HOUR, T0 + 2 * DAY, T0),
            id="withdrawn",
        ),
        pytest.param([created(), revoked(T0)], DerivedState("revoked", T0, {}, None, timedelta(0), T0), id="revoked"),
        pytest.param(
            [created(T0), created(T0 + DAY)],
            DerivedState("next", T0, {}, None, timedelta(0), T0 + DAY),
            id="created twice: the first counts",
        ),
        pytest.param(
            [created(T0), published(T0 - DAY)],
            DerivedState("next", T0, {URL: T0 - DAY}, None, timedelta(0), T0),
            id="older than the one before it: the newest instant stays",
        ),
        pytest.param([activated()], DerivedState("active", None, {}, None, HOUR, T0), id="never created"),
        pytest.param(
            [created(T0 + DAY), published(T0 + DAY), repaired()],
            DerivedState("next", T0, {URL: T0}, None, timedelta(0), T0),
            id="repaired: nothing lies after it",
        ),
        pytest.param(
            [created(T0 - DAY), activated(T0 + DAY), deactivated(T0 + DAY, T0 + 2 * DAY), repaired()],
            DerivedState("retiring", T0 - DAY, {}, T0 + 2 * DAY, HOUR, T0, T0),
            id="repaired: kept for as long as before",
        ),
        pytest.param(
            [created(), activated(), deactivated(T0, T0 + DAY), repaired(T0, keep_until=T0 + 2 * DAY)],
            DerivedState("retiring", T0, {}, T0 + 2 * DAY, HOUR, T0, T0),
            id="repaired: kept for longer",
        ),
    ],
)
def test_where_events_lead(events: list[Event], derived: DerivedState) -> None:
    """Whatever is wrong with them: each says of itself to which state it leads."""
    assert derived == derive_state(events)


@pytest.mark.parametrize(
    ("seconds", "promised"),
    [
        (-(10**30), 0),
        (-1, 0),
        (0, 0),
        (1, 1),
        (LIFETIME_MAX, LIFETIME_MAX),
        (LIFETIME_MAX + 1, LIFETIME_MAX),
        (10**30, LIFETIME_MAX),
    ],
)
def test_an_invalid_token_lifetime(seconds: int, promised: int) -> None:
    """The event is malformed, and the lifetime counts up to the longest duration."""
    assert advance(DerivedState("active", T0), lifetime(seconds)).lifetime == timedelta(seconds=promised)


@pytest.mark.parametrize(
    ("state", "ended"),
    [("", False), ("next", False), ("active", False), ("retiring", False), ("withdrawn", True), ("revoked", True)],
)
def test_ended_states(state: str, ended: bool) -> None:
    """Two states are ends."""
    assert ended == DerivedState(state).ended


# --- problems of an event -------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("event", "state", "sentence"),
    [
        pytest.param(published(), "", "event published cannot follow the state before creation", id="first"),
        pytest.param(created(), "next", "event created cannot follow the state next", id="created twice"),
        pytest.param(revoked(T0), "withdrawn", "event revoked cannot follow the state withdrawn", id="after its end"),
    ],
)
def test_an_event_out_of_order(event: Event, state: str, sentence: str) -> None:
    """The sentence names the state that it cannot follow."""
    assert list(event_problems(DerivedState(state), event)) == [("event-order", sentence)]


def test_a_repair_has_a_reason_and_keeps_the_key_as_long() -> None:
    """It may be older than the event that it dates back, if the key is still kept for the whole time from then on."""
    ahead = derive_state([created(), activated(), deactivated(T0 + DAY, T0 + 3 * DAY)])
    assert list(event_problems(ahead, repaired())) == []
    assert list(event_problems(ahead, repaired(keep_until=T0 + 2 * DAY))) == []
    begun = derive_state([created(), activated(), deactivated(T0, T0 + 3 * DAY)])
    assert [code for code, _ in event_problems(begun, repaired(keep_until=T0 + 3 * DAY - HOUR))] == ["event-malformed"]
    odd = DerivedState("active", T0, keep_until=T0 + DAY)
    assert [code for code, _ in event_problems(odd, repaired(keep_until=T0 + 2 * DAY))] == ["event-malformed"]
    short = ("event-malformed", "a repair adds a keep_until to a key that has none, or shortens it")
    assert list(event_problems(ahead, repaired(keep_until=T0 + 2 * DAY - SECOND))) == [short]
    assert list(event_problems(DerivedState("active", T0), repaired(keep_until=T0 + DAY))) == [short]
    silent = ("event-malformed", "event repaired: note is required")
    assert list(event_problems(ahead, msgspec.structs.replace(repaired(), note=None))) == [silent]
    assert [code for code, _ in event_problems(DerivedState(), repaired())] == ["event-order"]


def test_a_repair_restores_a_key_withdrawn_too_early() -> None:
    """A key that was withdrawn in time, or revoked, is not restored."""
    derived = derive_state([created(), activated(), deactivated(T0, T0 + 2 * DAY), withdrawn(T0 + 3 * DAY)])
    event = repaired(T0 + DAY, keep_until=T0 + 2 * DAY)
    assert list(event_problems(derived, event)) == []
    assert advance(derived, event).state == "retiring"
    assert advance(derived, repaired(T0 + DAY)).state == "withdrawn"
    active = DerivedState("active", T0, keep_until=T0)
    assert advance(active, event).state == "active"
    late = repaired(T0 + 3 * DAY, keep_until=T0 + 4 * DAY)
    assert list(event_problems(derived, late)) == [("event-malformed", "a repair brings back a key that is withdrawn")]
    gone = derive_state([created(), activated(), deactivated(T0, T0 + 2 * DAY), revoked(T0 + 3 * DAY)])
    assert list(event_problems(gone, event)) == [("event-malformed", "a repair brings back a key that is revoked")]


@pytest.mark.parametrize(("later", "expected"), [(-SECOND, True), (timedelta(0), False), (SECOND, False)])
def test_an_event_that_is_older_than_the_one_before_it(later: timedelta, expected: bool) -> None:
    """Two events at one instant are in order."""
    found = list(event_problems(DerivedState("next", T0, newest_at=T0), published(T0 + later)))
    message = "event published at 2026-11-23 16:59:59Z is older than the one before it"
    assert found == ([("instant-decreases", message)] if expected else [])


ACTIVE, NEXT = DerivedState("active", T0), DerivedState("next", T0)
TEXT = f"must have 1 to {TEXT_MAX} characters, not only blanks"


@pytest.mark.parametrize(
    ("derived", "event", "sentences"),
    [
        pytest.param(NEXT, Event(at=T0, event="published"), ["url is required"], id="no url"),
        pytest.param(
            NEXT,
            Event(at=T0, event="withdrawn", url=URL, reason="superseded"),
            ["url is not allowed", "reason is not allowed"],
            id="two too many",
        ),
        pytest.param(
            ACTIVE,
            Event(at=T0, event="revoked", keep_until=T0),
            ["keep_until is not allowed", "reason is required"],
            id="one for another",
        ),
        pytest.param(
            NEXT,
            msgspec.structs.replace(published(), imported=True),
            ["imported is only allowed on created"],
            id="imported",
        ),
        pytest.param(ACTIVE, deactivated(T0, T0 - SECOND), ["keep_until is before the event"], id="kept until before"),
        pytest.param(ACTIVE, deactivated(T0, T0), [], id="kept until then"),
        pytest.param(
            ACTIVE,
            deactivated(T0, T0.replace(microsecond=1)),
            ["instant 2026-11-23T17:00:00.000001+00:00 is not in UTC and whole seconds"],
            id="a fraction of a second",
        ),
        pytest.param(ACTIVE, lifetime(0), ["token_lifetime of 0 s is out of range"], id="no lifetime"),
        pytest.param(ACTIVE, lifetime(1), [], id="a second"),
        pytest.param(ACTIVE, lifetime(LIFETIME_MAX), [], id="a hundred years"),
        pytest.param(
            ACTIVE,
            lifetime(LIFETIME_MAX + 1),
            [f"token_lifetime of {LIFETIME_MAX + 1} s is out of range"],
            id="more than a hundred years",
        ),
        pytest.param(NEXT, msgspec.structs.replace(published(), note=" "), [f"note {TEXT}"], id="a blank note"),
        pytest.param(NEXT, msgspec.structs.replace(published(), note="x" * 500), [], id="a long note"),
        pytest.param(NEXT, msgspec.structs.replace(published(), forced="x" * 501), [f"forced {TEXT}"], id="a novel"),
    ],
)
def test_an_event_that_is_malformed(derived: DerivedState, event: Event, sentences: list[str]) -> None:
    """The message names each invalid member and its problem."""
    expected = [("event-malformed", f"event {event.event}: {sentence}") for sentence in sentences]
    assert list(event_problems(derived, event)) == expected


# --- a version of a record ------------------------------------------------------------------------------

JWK = private("ES256")
SEALED = Sealer({"ops": recipient("ops", "ECDH-ES+A256KW", "P-256")}).seal(JWK, kid=JWK["kid"], set_name="id-token")
GOOD = Key(1, "id-token", public(JWK), (created(),), SEALED)


def changed(**members: Any) -> Key:
    return msgspec.structs.replace(GOOD, **members)


def other_public(**members: Any) -> Key:
    return changed(public=msgspec.structs.replace(GOOD.public, **members))


PROFILE = "the public key has members that are not in the published profile"
SYMMETRIC = PublicJWK(kid="a", kty="oct", use="sig", alg="HS256")


def _judged(key: Key) -> Key:
    """Return the audit's compact form of *key*."""
    return msgspec.structs.replace(key, private=summarize_envelope(key.private))


@pytest.mark.parametrize(
    ("key", "found"),
    [
        pytest.param(GOOD, [], id="as it should be"),
        pytest.param(changed(events=()), [("event-malformed", "the record has no events")], id="no events"),
        pytest.param(changed(public=SYMMETRIC, private=msgspec.UNSET), [], id="symmetric"),
        pytest.param(
            changed(public=msgspec.structs.replace(SYMMETRIC, x="AA"), private=msgspec.UNSET),
            [("public-profile", "a symmetric key may only have kty, kid, use and alg")],
            id="symmetric with a coordinate",
        ),
        pytest.param(other_public(n="AA"), [("public-profile", PROFILE)], id="a member too many"),
        pytest.param(
            changed(public=msgspec.structs.replace(GOOD.public, kid="a"), private=msgspec.UNSET),
            [("kid-mismatch", "the kid is not a hash of the public key")],
            id="another kid",
        ),
        pytest.param(
            changed(
                public=msgspec.structs.replace(GOOD.public, kid="a"),
                private=msgspec.UNSET,
                events=(created(imported=True),),
            ),
            [],
            id="another kid of an imported key",
        ),
    ],
)
def test_a_record_by_itself(key: Key, found: list[tuple[str, str]]) -> None:
    """Its profile and its name, in words."""
    read, problems = read_record(encode_key(key), key.path, None)
    assert (read, problems) == (_judged(key), found)


def test_a_record_that_is_written_in_another_way_or_place() -> None:
    """Its content is still read."""
    read, problems = read_record(encode_key(GOOD) + b"\n", "elsewhere", None)
    assert read == _judged(GOOD)
    assert problems == [
        ("record-not-canonical", "the file is not in its canonical form"),
        ("record-misplaced", f"the record belongs at {elided(GOOD.path)}"),
    ]


def test_a_place_that_is_cut() -> None:
    """However long the name of its set is."""
    key = changed(set="s" * 300, private=msgspec.UNSET)
    _, problems = read_record(encode_key(key), "elsewhere", None)
    assert problems[0] == ("record-misplaced", f"the record belongs at keys.enc/{'s' * 241}")


def test_a_record_that_does_not_parse() -> None:
    """The message of the parser is shown on one line, and cut."""
    assert read_record(b"", "x", None) == (
        None,
        [("record-malformed", "not a key record: Input data was truncated")],
    )
    member = "m" * 300
    document = encode_key(GOOD).replace(b'"format"', f'"{member}": 1, "format"'.encode())
    _, ((code, message),) = read_record(document, GOOD.path, None)
    assert (code, message) == (
        "record-malformed",
        f"not a key record: Object contains unknown field `{member}`"[:218],
    )


@pytest.mark.parametrize(
    ("key", "code"),
    [
        pytest.param(changed(set="Upper", private=msgspec.UNSET), "record-malformed", id="set"),
        pytest.param(other_public(y=GOOD.public.x), "key-weak", id="public key"),
        pytest.param(changed(private=msgspec.structs.replace(SEALED, tag="")), "envelope-malformed", id="envelope"),
    ],
)
def test_old_problems_are_not_reported_again(key: Key, code: str) -> None:
    """Problems that the version before had too are not reported again; new problems are."""

    def codes(known: Key | None) -> list[str]:
        return [found for found, _ in read_record(encode_key(key), key.path, known)[1]]

    assert (codes(None), codes(key), codes(GOOD)) == ([code], [], [code])


def test_records_share_their_words() -> None:
    """A large vault stores each string once; a version shares strings with its predecessor."""
    data = encode_key(GOOD)
    one, _ = read_record(data, GOOD.path, None)
    other, _ = read_record(data, GOOD.path, None)
    assert one is not None
    assert other is not None
    assert one.public.kty is other.public.kty
    assert one.set is other.set


# --- events that a merge dropped ------------------------------------------------------------------------

KEPT = {
    "next": DerivedState("next", T0),
    "active": DerivedState("active", T0, lifetime=HOUR),
    "active, for longer tokens": DerivedState("active", T0, lifetime=2 * HOUR),
    "retiring": DerivedState("retiring", T0, keep_until=T0 + DAY),
    "retiring, kept for longer": DerivedState("retiring", T0, keep_until=T0 + 2 * DAY),
    "withdrawn": DerivedState("withdrawn", T0),
    "revoked": DerivedState("revoked", T0),
}
#: For each state of the dropped version, the states of the record that keep its promises.
KEEPS_PROMISES = {
    "next": set(KEPT),
    "active": {"active", "active, for longer tokens", "retiring", "retiring, kept for longer", "revoked"},
    "active, for longer tokens": {"active, for longer tokens", "retiring", "retiring, kept for longer", "revoked"},
    "retiring": {"retiring", "retiring, kept for longer", "revoked"},
    "retiring, kept for longer": {"retiring, kept for longer", "revoked"},
    "withdrawn": set(KEPT),
    "revoked": {"withdrawn", "revoked"},
}


@pytest.mark.parametrize("dropped", KEPT)
def test_versions_that_honour_a_dropped_version(dropped: str) -> None:
    """
    A key that signed in the dropped version signs here, or stays published for as long; a key revoked there is gone
    here.
    """
    assert {name for name, derived in KEPT.items() if keeps_promises(derived, KEPT[dropped])} == KEEPS_PROMISES[dropped]
