"""
Repair the sets of a vault: of two keys for one place one steps back, and no instant lies in the future.

A repair only adds events, the first of them ``repaired`` with the reason. A key that was published stays published
until every token that it may have signed has expired. Does not read or restore files.

Source: docs/lifecycle.md.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from datetime import datetime

import msgspec

from keyvault.core.events import Event
from keyvault.core.keys import Damage, Key, KeySet, VaultState
from keyvault.core.planning import Amend, Plan, activated, deactivated, first_seen
from keyvault.core.policy import SitePolicy
from keyvault.core.text import format_instant


def set_damage(state: VaultState, now: datetime | None = None) -> Iterator[Damage]:
    """
    Yield what is wrong with the sets of *state*.

    Args:
        state: The vault.
        now: The instant after which no event may lie, give or take ``clock_skew``; None for no such bound.
    """
    for name, key_set in state.all_sets.items():
        for code, states in (("two-active", "active"), ("two-next", "next")):
            kids = [key.kid for key in key_set.keys if key.state == states]
            if len(kids) > 1:
                yield Damage(code, f"set {name} has {len(kids)} {states} keys: {', '.join(kids)}", set=name)
        if now is not None and (ahead := _ahead(key_set, now)):
            newest = max(key.life.newest_at for key in ahead)
            message = f"set {name} has an event at {format_instant(newest)}, which is to come"
            yield Damage("instant-future", message, set=name, usable=True)
    for name, keys in state.orphans.items():
        if any(key.state in ("next", "active", "retiring") for key in keys):
            yield Damage("set-orphaned", f"set {name} has live keys but no table in keyvault.toml", set=name)


def plan_repair(state: VaultState, now: datetime, *, reason: str | None = None) -> Plan:
    """
    Plan to mend the sets of *state*; those that need nothing are left alone.

    Args:
        state: The vault, its records readable.
        now: The instant of the repair.
        reason: The note of each repair; the default says what was wrong.
    """
    changes: list[Amend] = []
    for key_set in state.all_sets.values():
        changes += _repair_set(key_set, state.policy.site, now.replace(microsecond=0), reason)
    return Plan(tuple(changes))


def _ahead(key_set: KeySet, now: datetime) -> list[Key]:
    """Return the keys whose newest event lies after *now* by more than clocks may differ."""
    return [key for key in key_set.keys if key.life.newest_at - now > key_set.policy.clock_skew]


def _repair_set(key_set: KeySet, site: SitePolicy, now: datetime, reason: str | None) -> list[Amend]:
    added: dict[str, list[Event]] = {}
    keys = {key.kid: key for key in key_set.keys}

    def add(key: Key, *events: Event) -> None:
        added.setdefault(key.kid, []).extend(events)
        keys[key.kid] = msgspec.structs.replace(key, events=(*key.events, *events))

    for key in _ahead(key_set, now):
        why = reason or f"the clock that wrote {format_instant(key.life.newest_at)} was ahead"
        add(key, Event(at=now, event="repaired", note=why))
    at = max([now, *(key.life.newest_at for key in keys.values())])
    for state in ("active", "next"):
        held = [key for key in keys.values() if key.state == state]
        held.sort(key=lambda key: _precedence(key_set, key, site))
        for key in held[1:]:
            why = reason or f"a merge left {len(held)} {state} keys: {held[0].kid[:12]} stays"
            if key.events[-1].event != "repaired":
                add(key, Event(at=at, event="repaired", note=why))
            add(keys[key.kid], *_stepping_back(key_set, keys[key.kid], site, at))
    return [Amend(key_set.name, kid, tuple(events)) for kid, events in added.items()]


def _precedence(key_set: KeySet, key: Key, site: SitePolicy) -> tuple[object, ...]:
    """Return what sorts the keys for one place: first the one that verifiers have known for longest."""
    life = key.life
    seen = life.published.get(key_set.policy.url) or (first_seen(key_set, key, site) if _published(key_set) else None)
    began = life.activated_at or life.created_at
    return seen is None, not key.fits(key_set.policy.spec), seen or began, began, key.kid


def _published(key_set: KeySet) -> bool:
    return key_set.rendered and key_set.policy.use == "sig"


def _stepping_back(key_set: KeySet, key: Key, site: SitePolicy, at: datetime) -> Sequence[Event]:
    """Return the events that take *key* out of its place, and keep it published if it ever was."""
    if key.state == "active":
        return (deactivated(key_set, key, at),)
    if _published(key_set) and first_seen(key_set, key, site) is not None:
        why = "it was published, and retires without having signed"
        return activated(key_set, at, forced=why), deactivated(key_set, key, at)
    return (Event(at=at, event="withdrawn"),)
