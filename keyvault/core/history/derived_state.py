"""
What a list of events adds up to, read a second time.

`advance` takes one step and says what is wrong with it; after a step that cannot be it goes on from the state that
the event claims, so that one mistake is one finding. It shares nothing with ``core/events`` but the form of an event.

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

#: The member that an event of each kind must carry, of those in `_MEMBERS`; the others carry none.
_WANTED = {
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
    Where a key stands after some of its events.

    Attributes:
        state: ``""`` before the first event, then ``next``, ``active``, ``retiring``, ``withdrawn``, ``revoked``.
        created_at: When it was made, or None.
        receipts: When each URL was first seen serving it.
        keep_until: Until when it is kept once it no longer signs, or None.
        lifetime: The longest life that its tokens were promised.
        newest_at: The newest instant, counted from the last repair, or None.
        deactivated_at: When it last stopped to sign, or None.
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
    """Return where *events* lead, whatever is wrong with them."""
    derived = DerivedState()
    for event in events:
        derived = advance(derived, event)
    return derived


def advance(derived: DerivedState, event: Event) -> DerivedState:
    """Return where *event* leads from *derived*."""
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
    """Return *derived* with no instant after the repair, but for that until which the key is kept."""
    at = event.at
    back = derived.state == "withdrawn" and event.keep_until is not None
    return msgspec.structs.replace(
        derived,
        state="retiring" if back else derived.state,
        created_at=derived.created_at and min(derived.created_at, at),
        receipts={url: min(seen, at) for url, seen in derived.receipts.items()},
        deactivated_at=derived.deactivated_at and min(derived.deactivated_at, at),
        keep_until=event.keep_until or derived.keep_until,
        newest_at=at,
    )


_STAGES = {"": 0, "next": 1, "active": 2, "retiring": 3, "withdrawn": 4, "revoked": 4}


def keeps_promises(derived: DerivedState, other: DerivedState) -> bool:
    """Whether a record that stands so keeps every promise of a version of it that was dropped, *other*."""
    if other.state == "withdrawn":
        return True  # it promises nothing, and a key that lives keeps more than that
    if derived.ended:
        return derived.state == "revoked" or (derived.ended and other.state in ("next", "revoked"))
    if _STAGES[derived.state] < _STAGES[other.state]:
        return False
    if derived.state == "retiring" and other.keep_until is not None:
        return derived.keep_until is not None and derived.keep_until >= other.keep_until
    return derived.state != "active" or derived.lifetime >= other.lifetime


def event_problems(derived: DerivedState, event: Event) -> Iterator[tuple[str, str]]:
    """Yield (code, message) for what is wrong with *event* after *derived*, whatever policy says."""
    yield from (("event-malformed", f"event {event.event}: {what}") for what in _malformed(event))
    if not _follows(event.event, derived.state):
        yield "event-order", f"event {event.event} cannot follow the state {derived.state or 'before creation'}"
    if event.event == "repaired":
        if event.keep_until is not None and not _is_kept_as_long(derived, event.at, event.keep_until):
            yield "event-malformed", "a repair gives a keep_until to a key that has none, or shortens it"
        elif event.keep_until is not None and derived.ended and not _can_return(derived, event.at):
            yield "event-malformed", f"a repair brings back a key that is {derived.state}"
    elif derived.newest_at is not None and event.at < derived.newest_at:
        yield (
            "instant-decreases",
            f"event {event.event} at {format_instant(event.at)} is older than the one before it",
        )


def _is_kept_as_long(derived: DerivedState, at: datetime, keep_until: datetime) -> bool:
    """Whether a key that is kept until *keep_until* is kept for as long, from the repair, as it was promised."""
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
    """Yield what is wrong with the members of *event*."""
    wanted = _WANTED.get(event.event)
    if event.event == "repaired":
        wanted = "keep_until" if event.keep_until is not None else None
        if event.note is None:
            yield "note must be given"
    for member in _MEMBERS:
        present = getattr(event, member) is not None
        if present is not (member == wanted):
            yield f"{member} {'must not' if present else 'must'} be given"
    if event.imported and event.event != "created":
        yield "only created can be imported"
    for instant in (event.at, event.keep_until):
        if instant is not None and (instant.utcoffset() != _NO_OFFSET or instant.microsecond):
            yield f"instant {instant.isoformat()} is not in UTC and whole seconds"
    if event.event == "deactivated" and event.keep_until is not None and event.keep_until < event.at:
        yield "keep_until lies before it"
    if event.token_lifetime is not None and not 0 < event.token_lifetime <= LIFETIME_MAX:
        yield f"token_lifetime of {event.token_lifetime} s is out of range"
    for member in ("note", "forced"):
        text = getattr(event, member)
        if text is not None and (not text.strip() or len(text) > TEXT_MAX):
            yield f"{member} must have 1 to {TEXT_MAX} characters, and not only blanks"
