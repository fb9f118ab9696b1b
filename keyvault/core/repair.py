"""
Repair the sets of a vault: two active or two next keys in a set, events in the future, events that a merge dropped.

A repair only adds events, the first of them ``repaired`` with the reason. A key that was published stays published
until every token that it may have signed has expired. Does not read or restore files.

Source: docs/lifecycle.md.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from datetime import datetime, timedelta

import msgspec

from keyvault.core.events import ENDED, Event
from keyvault.core.keys import Key
from keyvault.core.plan import Amend, Change, Plan
from keyvault.core.policy import SitePolicy
from keyvault.core.state import Damage, KeySet, VaultState
from keyvault.core.steps import activated, deactivated, new_active, new_next, whole_seconds
from keyvault.core.text import format_instant
from keyvault.core.timing import counts_as_published_at, keep_until
from keyvault.errors import GateError

_NO_TIME = timedelta(0)
_SIGNED = "it signed on the other side of a merge"
_DROPPED = "a merge dropped events of the other side"
#: How far a key has come in its life.
_STAGES = {"next": 0, "active": 1, "retiring": 2, "withdrawn": 3, "revoked": 3}
#: How much a dropped version of a key promises to verifiers; a withdrawn key promises nothing.
_PROMISE_RANKS = {"withdrawn": 0, "next": 1, "active": 2, "retiring": 3, "revoked": 4}


def damage_of_sets(state: VaultState, now: datetime | None = None) -> Iterator[Damage]:
    """
    Yield the damage of the sets of *state*.

    Args:
        state: The vault.
        now: The instant that no event may exceed by more than ``clock_skew``; None to skip this check, and that for a
            lost active key.
    """
    for name, key_set in state.all_sets.items():
        for code, key_state in (("two-active", "active"), ("two-next", "next")):
            kids = [key.kid for key in key_set.keys if key.state == key_state]
            if len(kids) > 1:
                yield Damage(code, f"set {name} has {len(kids)} {key_state} keys: {', '.join(kids)}", set=name)
        if now is not None and _lost_active_key(key_set):
            yield Damage("active-missing", f"set {name} has no active key", set=name, usable=True)
        if now is not None and (ahead := _keys_ahead(key_set, now)):
            newest = max(key.life.newest_at for key in ahead)
            message = f"set {name} has an event in the future, at {format_instant(newest)}"
            yield Damage("instant-future", message, set=name, usable=True)
    for name, keys in state.former_sets.items():
        if any(key.state in ("next", "active", "retiring") for key in keys):
            yield Damage("set-orphaned", f"set {name} has live keys but no table in keyvault.toml", set=name)


def plan_repair(
    state: VaultState,
    now: datetime,
    *,
    reason: str | None = None,
    dropped: Mapping[str, Sequence[Key]] | None = None,
    clock_confirmed: bool = True,
) -> Plan:
    """
    Plan the repair of the damaged sets of *state*.

    Args:
        state: The vault; all its records are readable.
        now: The instant of the repair.
        reason: The note of each repair; the default describes the damage.
        dropped: Versions of records that merges dropped in favour of another side, by kid.
        clock_confirmed: Whether *now* was compared with another clock. If not, no ``keep_until`` is moved back.
    """
    changes: list[Change] = []
    warnings: list[str] = []
    now = now.replace(microsecond=0)
    for key_set in state.all_sets.values():
        repair = _SetRepair(key_set, state.policy.site, now, reason, clock_confirmed=clock_confirmed)
        changes += repair.run({key.kid: dropped[key.kid] for key in key_set.keys if dropped and key.kid in dropped})
        warnings += repair.warnings
    for name, keys in state.former_sets.items():
        why = reason or _DROPPED
        for key in keys:
            if dropped and key.kid in dropped and key.state in ENDED:
                changes.append(
                    Amend(name, key.kid, (Event(at=max(now, key.life.newest_at), event="repaired", note=why),))
                )
    return Plan(tuple(changes), warnings=tuple(warnings))


def plan_late_push(state: VaultState, public: VaultState, now: datetime) -> Plan:
    """
    Plan to extend ``keep_until`` of keys whose rotation is pushed long after its commit.

    Until the push, signers use the key that is active in *public*: they cannot see the local commits.

    Args:
        state: The vault that is about to be pushed.
        public: The vault as it is on the remote.
        now: The instant of the push.

    Raises:
        GateError: If such a key is already withdrawn.
    """
    changes: list[Change] = []
    for kid, seen in public.keys.items():
        key = state.keys.get(kid)
        if key is None or seen.state != "active" or key.state not in ("retiring", "withdrawn"):
            continue
        key_set = state.all_sets.get(key.set)
        if key.state == "withdrawn":
            raise GateError(
                f"key {kid} was withdrawn in local commits, but signers use it until these commits are pushed",
                code="withdrawal-unpushed",
                hint="git update-index -q --refresh; git reset --keep @{upstream}; then run the command again",
            )
        if key_set is None or key.life.deactivated_at is None or key.life.keep_until is None:
            continue
        if now - key.life.deactivated_at > key_set.policy.clock_skew:
            at = max(now.replace(microsecond=0), key.life.newest_at)
            until = max(key.life.keep_until, keep_until(key_set, key, at))
            why = f"its rotation of {format_instant(key.life.deactivated_at)} was pushed late"
            changes.append(Amend(key.set, kid, (Event(at=at, event="repaired", note=why, keep_until=until),)))
    return Plan(tuple(changes))


def _lost_active_key(key_set: KeySet) -> bool:
    """Whether *key_set* had an active key and now has only a next key, which no command leaves behind."""
    signed = any(event.event == "activated" for key in key_set.keys for event in key.events)
    states = {key.state for key in key_set.keys}
    return signed and "active" not in states and "next" in states and not key_set.policy.closing


def _keys_ahead(key_set: KeySet, now: datetime) -> list[Key]:
    """Return the keys whose newest event lies after *now* by more than ``clock_skew``, the active one first."""
    found = [key for key in key_set.keys if key.life.newest_at - now > key_set.policy.clock_skew]
    # By name, the state "active" comes before all others.
    return sorted(found, key=lambda key: (key.state, key.life.created_at, key.kid))


def _promise_rank(version: Key) -> int:
    return _PROMISE_RANKS[version.state]


class _SetRepair:
    """The repair of one set, event by event."""

    def __init__(
        self, key_set: KeySet, site: SitePolicy, now: datetime, reason: str | None, *, clock_confirmed: bool
    ) -> None:
        self._set, self._site, self._now, self._reason, self._clock_confirmed = (
            key_set,
            site,
            now,
            reason,
            clock_confirmed,
        )
        self.warnings: list[str] = []
        self._keys = {key.kid: key for key in key_set.keys}
        #: Warnings about keys with a ``keep_until`` that an unconfirmed clock wrote, by kid.
        self._unconfirmed: dict[str, str] = {}
        self._added: dict[str, list[Event]] = {}
        self._created: list[Change] = []
        self._at = now

    def run(self, dropped: Mapping[str, Sequence[Key]]) -> list[Change]:
        for key in _keys_ahead(self._set, self._now):
            self._repair_clock(key)
        self._at = max([self._now, *(key.life.newest_at for key in self._keys.values())])
        # Keys that stopped signing on the other side come first: then their successors there may take over here.
        versions = {kid: sorted(others, key=_promise_rank, reverse=True) for kid, others in dropped.items()}
        for kid, others in sorted(versions.items(), key=lambda item: _promise_rank(item[1][0]), reverse=True):
            self._restore_dropped(self._keys[kid], others)
        self._ensure_active()
        for state in ("active", "next"):
            held = sorted(self._in_state(state), key=self._precedence)
            for key in held[1:]:
                self._repair(key, f"the set had {len(held)} {state} keys: {held[0].kid[:12]} stays")
                self._retire(key.kid)
        changed = self._created or (self._added and not self._set.policy.closing)
        had_next = self._created or any(key.state == "next" for key in self._set.keys)
        if changed and had_next and not self._in_state("next"):
            self._created += new_next(self._set, self._at)
        self.warnings += [warning for kid, warning in self._unconfirmed.items() if self._keys[kid].state not in ENDED]
        return [*(Amend(self._set.name, kid, tuple(events)) for kid, events in self._added.items()), *self._created]

    def _in_state(self, state: str) -> list[Key]:
        return [key for key in self._keys.values() if key.state == state]

    def _add(self, kid: str, *events: Event) -> None:
        self._added.setdefault(kid, []).extend(events)
        self._keys[kid] = msgspec.structs.replace(self._keys[kid], events=(*self._keys[kid].events, *events))

    def _repair(self, key: Key, why: str, keep_until: datetime | None = None) -> None:
        if not any(event.event == "repaired" for event in self._added.get(key.kid, ())):
            self._add(key.kid, Event(at=self._at, event="repaired", note=self._reason or why, keep_until=keep_until))

    def _repair_clock(self, key: Key) -> None:
        life, kept = key.life, None
        why = f"the clock that wrote {format_instant(life.newest_at)} was ahead"
        if key.state == "withdrawn" and life.keep_until and life.deactivated_at:
            ahead = max(life.deactivated_at - self._now, _NO_TIME) if self._clock_confirmed else _NO_TIME
            until = life.keep_until - ahead
            if until > self._now:
                kept = until
                self.warnings.append(
                    f"key {key.kid} was withdrawn before its tokens expired: it is published again until "
                    f"{format_instant(until)}; publish the site at once"
                )
        if key.state == "retiring" and life.keep_until and life.deactivated_at and life.deactivated_at > self._now:
            if self._clock_confirmed:
                kept = self._now + (life.keep_until - life.deactivated_at)
            else:
                self._unconfirmed[key.kid] = (
                    f"key {key.kid} stays published until {format_instant(life.keep_until)}: the clock of this machine "
                    "could not be compared with the clock of the site's host"
                )
        self._repair(key, why, kept)

    def _restore_dropped(self, key: Key, others: Sequence[Key]) -> None:
        """Restore the promises of the dropped versions *others* of *key*, sorted with the strongest promise first."""
        mine, other = key.life, others[0]
        kept = [life.keep_until for life in (mine, *(version.life for version in others)) if life.keep_until]
        later = max(kept) if key.state == "retiring" and kept and max(kept) != mine.keep_until else None
        self._repair(key, _DROPPED, later)
        if other.state == "withdrawn":
            return  # that version promises nothing
        if other.state == "revoked" and key.state not in ENDED:
            last = other.events[-1]
            self._add(key.kid, Event(at=self._at, event="revoked", reason=last.reason or "superseded", note=last.note))
        elif _STAGES[other.state] > _STAGES[key.state]:
            if other.state == "active" and not self._in_state("active"):
                self._add(key.kid, activated(self._set, self._at, forced=_SIGNED))
            else:
                self._retire(key.kid, signed=True)
        elif key.state == "active":
            longest = max(version.life.token_lifetime for version in others)
            if longest > mine.token_lifetime:
                self._add(key.kid, Event(at=self._at, event="lifetime", token_lifetime=whole_seconds(longest)))

    def _precedence(self, key: Key) -> tuple[object, ...]:
        """
        Return the sort key of the candidates for one place.

        Published keys come first, then keys of the kind that policy asks for, then the key known for longest.
        """
        life = key.life
        seen = counts_as_published_at(self._set, key, self._site) if self._is_published else None
        began = life.activated_at or life.created_at
        return seen is None, not key.fits(self._set.policy.spec), seen or began, began, key.kid

    @property
    def _is_published(self) -> bool:
        return self._set.rendered and self._set.policy.use == "sig"

    def _retire(self, kid: str, *, signed: bool = False) -> None:
        """End the active or next state of a key; it stays published if it ever was, or *signed* on the other side."""
        key = self._keys[kid]
        if key.state == "next":
            published = self._is_published and counts_as_published_at(self._set, key, self._site) is not None
            if not (published or signed):
                self._add(kid, Event(at=self._at, event="withdrawn"))
                return
            why = _SIGNED if signed else "it was published, and retires without having signed"
            self._add(kid, activated(self._set, self._at, forced=why))
        self._add(kid, deactivated(self._set, self._keys[kid], self._at))

    def _ensure_active(self) -> None:
        """Activate the best next key if a merge left no active key; without a next key, create an active key."""
        doubled = any(len(self._in_state(state)) > 1 for state in ("active", "next"))
        if (
            self._set.policy.closing
            or self._in_state("active")
            or not (self._added or doubled or _lost_active_key(self._set))
        ):
            return
        why = "the set had no active key"
        candidates = sorted(self._in_state("next"), key=self._precedence)
        if candidates:
            self._repair(candidates[0], why)
            self._add(candidates[0].kid, activated(self._set, self._at, forced=why))
        elif not self._set.policy.external:
            self._created.append(new_active(self._set, self._at, forced=why))
        self.warnings.append(
            f"{self._set.name} had no active key: verifiers may not know the new active key yet; publish the site at "
            "once"
        )
