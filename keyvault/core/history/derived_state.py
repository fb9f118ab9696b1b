"""
The state that follows from a list of events, implemented a second time for the audit.

`advance` applies one event and `event_problems` yields its problems. After an illegal event `advance` continues from
the state that the event claims, so that one mistake is one finding. Shares only the struct of an event with
``core/events``.

Source: docs/lifecycle.md, the table of events.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from datetime import datetime, timedelta

import msgspec

from keyvault.core.events import Event
from keyvault.core.text import format_instant

LIFETIME_MAX = 36_525 * 86_400
TEXT_MAX = 500

_ENDED = ("withdrawn", "revoked")

#: The member of `_MEMBERS` that an event of each kind must carry; other kinds carry none.
_REQUIRED_MEMBER = {
    "published": "url",
    "activated": "token_lifetime",
    "reactivated": "token_lifetime",
    "lifetime": "token_lifetime",
    "deactivated": "keep_until",
    "revoked": "reason",
}
_MEMBERS = ("url", "token_lifetime", "keep_until", "reason")
_NO_OFFSET = timedelta(0)


class DerivedState(msgspec.Struct, frozen=True):
    """
    The state of a key after some of its events.

    Attributes:
        state: ``""`` before the first event, then ``next``, ``active``, ``retiring``, ``withdrawn``, ``revoked``.
        created_at: When it was created, or None.
        receipts: When each URL was first seen serving it.
        keep_until: Until when it is kept after it stopped signing, or None.
        lifetime: The longest ``token_lifetime`` on record.
        newest_at: The newest instant since the last repair, or None.
        deactivated_at: When it last stopped signing, or None.
    """

    state: str = ""
    created_at: datetime | None = None
    receipts: dict[str, datetime] = msgspec.field(default_factory=dict)
    keep_until: datetime | None = None
    lifetime: timedelta = timedelta(0)
    newest_at: datetime | None = None
    deactivated_at: datetime | None = None

    @property
    def ended(self) -> bool:
        return self.state in _ENDED


def derive_state(events: Sequence[Event]) -> DerivedState:
    """Return the state after *events*, even if they have problems."""
    derived = DerivedState()
    for event in events:
        derived = advance(derived, event)
    return derived


def advance(derived: DerivedState, event: Event) -> DerivedState:
    """Return the state after *event*, which follows *derived*."""
    state, keep_until, receipts, created_at = (
        derived.state,
        derived.keep_until,
        derived.receipts,
        derived.created_at,
    )
    deactivated_at, name = derived.deactivated_at, event.event
    if name == "created":
        state, created_at = "next", created_at or event.at
    elif name == "published":
        receipts = {str(event.url): event.at, **receipts}
    elif name in ("activated", "reactivated"):
        state, deactivated_at, keep_until = "active", None, None
    elif name == "deactivated":
        state, deactivated_at, keep_until = "retiring", event.at, event.keep_until
    elif name == "repaired":
        return _repaired(derived, event)
    elif name in _ENDED:
        state = name
    newest = event.at if derived.newest_at is None else max(event.at, derived.newest_at)
    lifetime = max(derived.lifetime, timedelta(seconds=min(max(event.token_lifetime or 0, 0), LIFETIME_MAX)))
    return DerivedState(state, created_at, receipts, keep_until, lifetime, newest, deactivated_at)


def _repaired(derived: DerivedState, event: Event) -> DerivedState:
    """Return the state after a repair, which limits all instants but ``keep_until`` and may restore a withdrawn key."""
    at = event.at
    returns = derived.state == "withdrawn" and event.keep_until is not None
    return msgspec.structs.replace(
        derived,
        state="retiring" if returns else derived.state,
        created_at=derived.created_at and min(derived.created_at, at),
        receipts={url: min(seen, at) for url, seen in derived.receipts.items()},
        deactivated_at=derived.deactivated_at and min(derived.deactivated_at, at),
        keep_until=event.keep_until or derived.keep_until,
        newest_at=at,
    )


_STAGES = {"": 0, "next": 1, "active": 2, "retiring": 3, "withdrawn": 4, "revoked": 4}


def keeps_promises(derived: DerivedState, other: DerivedState) -> bool:
    """Whether a record in state *derived* keeps every promise of *other*, the state of a dropped version of it."""
    if other.state == "withdrawn":
        return True  # a withdrawn key promises nothing
    if derived.ended:
        return derived.state == "revoked" or other.state in ("next", "revoked")
    if _STAGES[derived.state] < _STAGES[other.state]:
        return False
    if derived.state == "retiring" and other.keep_until is not None:
        return derived.keep_until is not None and derived.keep_until >= other.keep_until
    return derived.state != "active" or derived.lifetime >= other.lifetime


def event_problems(derived: DerivedState, event: Event) -> Iterator[tuple[str, str]]:
    """Yield (code, message) for each problem of *event* after *derived*, regardless of policy."""
    yield from (("event-malformed", f"event {event.event}: {problem}") for problem in _malformed(event))
    if not _follows(event.event, derived.state):
        yield "event-order", f"event {event.event} cannot follow the state {derived.state or 'before creation'}"
    if event.event == "repaired":
        if event.keep_until is not None and not _is_kept_as_long(derived, event.at, event.keep_until):
            yield "event-malformed", "a repair adds a keep_until to a key that has none, or shortens it"
        elif event.keep_until is not None and derived.ended and not _can_return(derived, event.at):
            yield "event-malformed", f"a repair brings back a key that is {derived.state}"
    elif derived.newest_at is not None and event.at < derived.newest_at:
        yield (
            "instant-decreases",
            f"event {event.event} at {format_instant(event.at)} is older than the one before it",
        )


def _is_kept_as_long(derived: DerivedState, at: datetime, keep_until: datetime) -> bool:
    """Whether a repair at *at* that sets *keep_until* keeps the key for at least as long as its deactivation did."""
    if derived.keep_until is None or derived.deactivated_at is None:
        return False
    return keep_until >= derived.keep_until - max(derived.deactivated_at - at, timedelta(0))


def _can_return(derived: DerivedState, at: datetime) -> bool:
    """Whether the clock that withdrew a key was ahead of *at*, so that a repair may publish the key again."""
    return derived.state == "withdrawn" and derived.newest_at is not None and derived.newest_at > at


def _follows(event: str, state: str) -> bool:
    match event:
        case "created":
            return state == ""
        case "published" | "activated":
            return state == "next"
        case "lifetime" | "deactivated":
            return state == "active"
        case "reactivated":
            return state == "retiring"
        case "repaired":
            return state != ""
        case "withdrawn":
            return state in ("next", "retiring")
        case _:
            return event == "revoked" and state in ("next", "active", "retiring")


def _malformed(event: Event) -> Iterator[str]:
    """Yield the problems of the members of *event*."""
    required = _REQUIRED_MEMBER.get(event.event)
    if event.event == "repaired":
        required = "keep_until" if event.keep_until is not None else None
        if event.note is None:
            yield "note is required"
    for member in _MEMBERS:
        present = getattr(event, member) is not None
        if present is not (member == required):
            yield f"{member} {'is not allowed' if present else 'is required'}"
    if event.imported and event.event != "created":
        yield "imported is only allowed on created"
    for instant in (event.at, event.keep_until):
        if instant is not None and (instant.utcoffset() != _NO_OFFSET or instant.microsecond):
            yield f"instant {instant.isoformat()} is not in UTC and whole seconds"
    if event.event == "deactivated" and event.keep_until is not None and event.keep_until < event.at:
        yield "keep_until is before the event"
    if event.token_lifetime is not None and not 0 < event.token_lifetime <= LIFETIME_MAX:
        yield f"token_lifetime of {event.token_lifetime} s is out of range"
    for member in ("note", "forced"):
        text = getattr(event, member)
        if text is not None and (not text.strip() or len(text) > TEXT_MAX):
            yield f"{member} must have 1 to {TEXT_MAX} characters, not only blanks"
