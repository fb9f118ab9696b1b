"""
The changes and events that plans consist of. Does not decide when they are due: see `planning`.

Source: docs/lifecycle.md.
"""

from __future__ import annotations

from datetime import datetime, timedelta

from keyvault.core.events import Event
from keyvault.core.keys import Key
from keyvault.core.plan import Amend, Change, Create
from keyvault.core.state import KeySet
from keyvault.core.timing import keep_until


def whole_seconds(duration: timedelta) -> int:
    """Return *duration* in whole seconds."""
    return int(duration.total_seconds())


def activated(key_set: KeySet, at: datetime, *, forced: str | None = None) -> Event:
    """Return the event by which a key of *key_set* begins to sign; *forced* is the reason to pass the gate."""
    return Event(at=at, event="activated", token_lifetime=whole_seconds(key_set.policy.token_lifetime), forced=forced)


def deactivated(key_set: KeySet, key: Key, at: datetime, *, note: str | None = None) -> Event:
    """Return the event by which *key* stops signing."""
    return Event(at=at, event="deactivated", keep_until=keep_until(key_set, key, at), note=note)


def new_next(key_set: KeySet, at: datetime) -> list[Change]:
    """Return the change that gives the set a next key; empty for an external set, whose keys are imported."""
    if key_set.policy.external:
        return []
    return [Create(key_set.name, key_set.policy.spec, (Event(at=at, event="created"),))]


def new_active(key_set: KeySet, at: datetime, *, forced: str | None = None) -> Create:
    """Return the change that gives the set a new key that signs at once."""
    return Create(
        key_set.name, key_set.policy.spec, (Event(at=at, event="created"), activated(key_set, at, forced=forced))
    )


def swap(
    key_set: KeySet, active: Key, candidate: Key, at: datetime, *, receipts: tuple[Event, ...] = (), forced: str | None
) -> list[Change]:
    """Return the changes of a rotation: *candidate* signs, *active* retires, and a next key is created."""
    return [
        Amend(key_set.name, candidate.kid, (*receipts, activated(key_set, at, forced=forced))),
        Amend(key_set.name, active.kid, (deactivated(key_set, active, at),)),
        *new_next(key_set, at),
    ]


def replace_next(key_set: KeySet, candidate: Key, at: datetime, *, note: str | None = None) -> list[Change]:
    """Return the changes that withdraw the next key *candidate* and create another."""
    return [withdraw_next(key_set, candidate, at, note=note), *new_next(key_set, at)]


def withdraw_next(key_set: KeySet, candidate: Key, at: datetime, *, note: str | None = None) -> Change:
    """Return the change that withdraws the next key *candidate*; the default note blames a change of policy."""
    why = note or f"policy now asks for {key_set.policy.spec}"
    return Amend(key_set.name, candidate.kid, (Event(at=at, event="withdrawn", note=why),))


def withdrawals(key_set: KeySet, at: datetime) -> list[Change]:
    """Return the withdrawals due at *at*: strictly after ``keep_until``, when all tokens have expired on any clock."""
    return [
        Amend(key_set.name, key.kid, (Event(at=at, event="withdrawn"),))
        for key in reversed(key_set.retiring)
        if key.life.keep_until is not None and at > key.life.keep_until
    ]


def close(key_set: KeySet, at: datetime) -> list[Change]:
    """Return the changes that end a closing set: nothing signs any more."""
    note, changes = "the set is closing", list[Change]()
    if key_set.active:
        changes.append(Amend(key_set.name, key_set.active.kid, (deactivated(key_set, key_set.active, at, note=note),)))
    if key_set.next:
        changes.append(withdraw_next(key_set, key_set.next, at, note=note))
    return changes
