"""
Events of a key, and the state that follows from them.

A record stores only the list of events. The state is a fold over that list, so a state never contradicts its dates.
`fold` refuses lists whose order, instants or members are invalid; ``core/history`` judges whether policy allowed them.

Source: docs/lifecycle.md.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import UTC, datetime, timedelta
from functools import lru_cache
from operator import attrgetter
from types import MappingProxyType
from typing import Literal

import msgspec

from keyvault.core.text import INSTANT_END, format_instant
from keyvault.errors import RecordError

EventName = Literal[
    "created", "published", "activated", "lifetime", "deactivated", "reactivated", "withdrawn", "revoked", "repaired"
]
State = Literal["next", "active", "retiring", "withdrawn", "revoked"]
#: The states of keys that have left their JWK Set for ever.
ENDED: tuple[State, ...] = ("withdrawn", "revoked")
Reason = Literal["compromised", "superseded", "unspecified"]

#: From-state and to-state of every event. None is the state before the first event. `fold` knows an exception: a
#: repair that extends ``keep_until`` takes a withdrawn key back to retiring.
TRANSITIONS: dict[str, dict[State | None, State]] = {
    "created": {None: "next"},
    "published": {"next": "next"},
    "activated": {"next": "active"},
    "lifetime": {"active": "active"},
    "deactivated": {"active": "retiring"},
    "reactivated": {"retiring": "active"},
    "withdrawn": {"retiring": "withdrawn", "next": "withdrawn"},
    "revoked": {"next": "revoked", "active": "revoked", "retiring": "revoked"},
    "repaired": {
        "next": "next", "active": "active", "retiring": "retiring", "withdrawn": "withdrawn", "revoked": "revoked",
    },
}  # fmt: skip

#: The member, one of `_PAYLOAD`, that each event must have. Any event may have ``forced`` and ``note``; a repair must
#: have a note, and may have a later ``keep_until``.
_REQUIRED_MEMBER: dict[str, str | None] = {
    "created": None,
    "published": "url",
    "activated": "token_lifetime",
    "lifetime": "token_lifetime",
    "deactivated": "keep_until",
    "reactivated": "token_lifetime",
    "withdrawn": None,
    "revoked": "reason",
    "repaired": None,
}
_PAYLOAD = ("url", "token_lifetime", "keep_until", "reason")
#: Reads all of them at once: commands check events by the hundred thousand.
_payload = attrgetter(*_PAYLOAD)
_NO_OFFSET = timedelta(0)

#: Longest note or reason in a record, in characters.
TEXT_MAX = 500


class Event(msgspec.Struct, frozen=True, forbid_unknown_fields=True, omit_defaults=True):
    """
    One event of a key.

    Attributes:
        at: The instant, in UTC and whole seconds.
        event: The kind of event.
        imported: On ``created``: the key was generated outside of the vault.
        url: On ``published``: the URL of the JWK Set in which the key was seen live.
        token_lifetime: On ``activated``, ``reactivated`` and ``lifetime``: seconds that tokens live.
        keep_until: On ``deactivated``, and on ``repaired`` if it was wrong: the key stays available up to and
            including this instant.
        reason: On ``revoked``.
        note: A comment of the operator; on ``repaired``, the problem that was repaired.
        forced: Why the operator overrode a gate.
    """

    at: datetime
    event: EventName
    imported: bool = False
    url: str | None = None
    token_lifetime: int | None = None
    keep_until: datetime | None = None
    reason: Reason | None = None
    note: str | None = None
    forced: str | None = None


#: Most keys of a large vault have no receipts, and share this value.
NO_RECEIPTS: Mapping[str, datetime] = MappingProxyType({})


class Life(msgspec.Struct, frozen=True):
    """
    The state of a key and its dates, derived from its events.

    Attributes:
        state: Its state.
        created_at: When it was created.
        published: The instant of the first receipt, by URL.
        activated_at: When it last began to sign, or None.
        deactivated_at: When it last stopped signing, or None.
        keep_until: Until when it is kept after that, or None.
        ended_at: When it was withdrawn or revoked, or None.
        token_lifetime: The longest token lifetime that its events record.
        newest_at: The instant of the last event.
    """

    state: State
    created_at: datetime
    published: Mapping[str, datetime] = NO_RECEIPTS
    activated_at: datetime | None = None
    deactivated_at: datetime | None = None
    keep_until: datetime | None = None
    ended_at: datetime | None = None
    token_lifetime: timedelta = timedelta(0)
    newest_at: datetime = datetime(1, 1, 1, tzinfo=UTC)

    @property
    def since(self) -> datetime:
        """When the key entered its state."""
        began = {"next": self.created_at, "active": self.activated_at, "retiring": self.deactivated_at}
        return began.get(self.state, self.ended_at) or self.created_at


def _check_instant(instant: datetime) -> None:
    if instant.utcoffset() != _NO_OFFSET or instant.microsecond:
        raise RecordError(f"instant {instant.isoformat()} is not in UTC and whole seconds", code="instant-invalid")
    if instant >= INSTANT_END:
        raise RecordError(
            f"instant {instant.isoformat()} is not before the year {INSTANT_END.year}", code="instant-too-late"
        )


def _check_text(text: str | None, member: str) -> None:
    if text is not None and (not text.strip() or len(text) > TEXT_MAX):
        raise RecordError(f"{member} must be 1 to {TEXT_MAX} characters, and not only blanks", code="text-invalid")


def corrected_instants(events: Sequence[Event]) -> list[datetime]:
    """Return the instant of each of *events*, at most that of a later repair: the clock that wrote it was ahead."""
    found: list[datetime] = []
    repaired_at: datetime | None = None
    for event in reversed(events):
        found.append(event.at if repaired_at is None else min(event.at, repaired_at))
        if event.event == "repaired":
            repaired_at = found[-1]
    return found[::-1]


def check_event(event: Event) -> None:
    """
    Check one event by itself: its instants, and that it has exactly the members of its kind.

    Raises:
        RecordError: If a member is missing, not allowed or out of range.
    """
    _check_instant(event.at)
    if event.keep_until is not None:
        _check_instant(event.keep_until)
    expected = _REQUIRED_MEMBER[event.event]
    if event.event == "repaired":
        if event.note is None:
            raise RecordError("event repaired has no note", code="event-malformed")
        expected = "keep_until" if event.keep_until is not None else None
    if _payload(event).count(None) != len(_PAYLOAD) - bool(expected) or (expected and getattr(event, expected) is None):
        carried = [name for name in _PAYLOAD if getattr(event, name) is not None]
        shown = ", ".join(sorted(carried)) or "nothing"
        raise RecordError(f"event {event.event} has {shown} instead of {expected or 'nothing'}", code="event-malformed")
    if event.imported and event.event != "created":
        raise RecordError(f"event {event.event} cannot be imported", code="event-malformed")
    if event.token_lifetime is not None and not 0 < event.token_lifetime <= 36_525 * 86_400:
        raise RecordError(f"token_lifetime of {event.token_lifetime} s is out of range", code="lifetime-invalid")
    _check_text(event.note, "note")
    _check_text(event.forced, "forced")


@lru_cache(256)
def _seconds(count: int) -> timedelta:
    return timedelta(seconds=count)


def fold(events: Sequence[Event]) -> Life:
    """
    Return the state and the dates that follow from *events*.

    Raises:
        RecordError: If the list is empty, an event is malformed, an instant decreases, a transition is illegal, or
            ``keep_until`` is too early.
    """
    state: State | None = None
    created_at = activated_at = deactivated_at = keep_until = ended_at = newest_at = None
    published: dict[str, datetime] = {}
    longest = 0
    for event in events:
        check_event(event)
        if newest_at is not None and event.at < newest_at and event.event != "repaired":
            raise RecordError(
                f"event {event.event} at {format_instant(event.at)} is older than the event before it",
                code="instant-decreases",
            )
        following = TRANSITIONS[event.event].get(state)
        if following is None:
            raise RecordError(
                f"event {event.event} cannot follow the state {state or 'before creation'}", code="event-order"
            )
        state, newest_at = following, event.at
        match event.event:
            case "created":
                created_at = event.at
            case "published":
                published.setdefault(str(event.url), event.at)
            case "activated" | "reactivated":
                activated_at, deactivated_at, keep_until = event.at, None, None
            case "deactivated":
                deactivated_at, keep_until = event.at, event.keep_until
                if keep_until is not None and keep_until < event.at:
                    raise RecordError("keep_until is before the deactivation", code="keep-until-too-early")
            case "withdrawn" | "revoked":
                ended_at = event.at
            case "repaired":
                # A clock was ahead: every event that seems to lie after the repair happened before it.
                if event.keep_until is not None:
                    if deactivated_at is None or keep_until is None:
                        raise RecordError(
                            f"a repair sets keep_until on a key that is {state} and has none", code="event-malformed"
                        )
                    if event.keep_until < keep_until - max(deactivated_at - event.at, _NO_OFFSET):
                        raise RecordError("a repair cannot shorten how long a key is kept", code="keep-until-too-early")
                    keep_until = event.keep_until
                    if ended_at is not None:
                        # The clock that withdrew the key was ahead: it is published again, without its private half.
                        if state == "revoked" or ended_at <= event.at:
                            raise RecordError(
                                f"a repair cannot restore a key that was {state} before it", code="key-not-restorable"
                            )
                        state, ended_at = "retiring", None
                published = {url: min(seen, event.at) for url, seen in published.items()}
                created_at, activated_at, deactivated_at, ended_at = (
                    instant and min(instant, event.at)
                    for instant in (created_at, activated_at, deactivated_at, ended_at)
                )
        longest = max(longest, event.token_lifetime or 0)
    if state is None or created_at is None or newest_at is None:
        raise RecordError("a key must have at least the event created", code="events-missing")
    return Life(
        state=state,
        created_at=created_at,
        published=published or NO_RECEIPTS,
        activated_at=activated_at,
        deactivated_at=deactivated_at,
        keep_until=keep_until,
        ended_at=ended_at,
        token_lifetime=_seconds(longest),
        newest_at=newest_at,
    )
