"""
Planners: pure functions ``(state, …, now) → Plan``, one for each command that changes keys.

A plan says which keys to generate and which events to append. Does not generate keys, fetch URLs or read the clock.
`timing` says when a key may sign and until when it is kept; `gate` decides whether a next key may become active: it is
mature, and the live site serves it. `importing` and `repair` have planners of their own.

Invariants that hold after every plan: a set that is neither closing nor external has exactly one active and one next
key; event lists only grow and never run backwards; a late transition happens late and is never skipped.

Source: docs/lifecycle.md.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable
from datetime import datetime

import msgspec

from keyvault.core.events import ENDED, TEXT_MAX, Event, Reason
from keyvault.core.gate import LiveSite, Refusal, find_refusal, is_served, must_be_seen_live, refuse_rotation
from keyvault.core.keys import Key
from keyvault.core.notices import (
    first_use_warnings,
    import_missing,
    new_algorithm_warnings,
    restart_warnings,
    unknown_signer_warnings,
    waiting_for_new_kind,
)
from keyvault.core.plan import Amend, Change, Plan
from keyvault.core.policy import SitePolicy
from keyvault.core.state import KeySet, VaultState
from keyvault.core.steps import (
    activated,
    close,
    deactivated,
    new_active,
    new_next,
    replace_next,
    swap,
    whole_seconds,
    withdraw_next,
    withdrawals,
)
from keyvault.core.text import format_instant, when
from keyvault.core.timing import (
    counts_as_published_at,
    effective_instant,
    lead,
    mature_at,
    rotation_due_at,
)
from keyvault.errors import KeyVaultError, UsageError


def _is_ahead(key_set: KeySet, at: datetime, now: datetime) -> bool:
    """Whether *at*, the instant of an event, is later than *now* by more than ``clock_skew``."""
    return at - now > key_set.policy.clock_skew


def _ahead_note(key_set: KeySet, at: datetime, now: datetime, note: str | None) -> str | None:
    """Return *note*, preceded by *now* if *at*, the instant of the event, is ahead of it."""
    if not _is_ahead(key_set, at, now):
        return note
    suffix = f"; {note}" if note else ""
    return f"done at {format_instant(now)}, dated after the newest event{suffix}"[:TEXT_MAX]


# --- commands -------------------------------------------------------------------------------------------


def plan_creation(key_set: KeySet, now: datetime) -> Plan:
    """Plan the first two keys of a set: an active key, since verifiers hold no older one, and a next key."""
    if key_set.policy.external:
        return Plan(waiting=(import_missing(key_set),))
    at = effective_instant(key_set, now)
    return Plan((new_active(key_set, at), *new_next(key_set, at)))


def plan_rotation(
    state: VaultState, names: Collection[str], now: datetime, *, live: LiveSite, forced: str | None = None
) -> Plan:
    """
    Plan to make the next key of each named set active.

    A next key of another kind than policy asks for is replaced instead; then that set waits.

    Args:
        state: The vault.
        names: Sets to rotate; a refusal of one set refuses all.
        now: The instant of the rotation.
        live: The keys that the URLs of `urls_to_fetch` serve.
        forced: The reason to pass the gate; None to respect it.

    Raises:
        GateError: If a next key is not mature, is not served, or its URL cannot be fetched. The message names the
            instant from which rotation is safe.
        UsageError: If a set does not exist or is closing.
        KeyVaultError: If a set has no active or no next key, or the clock is behind its newest event by more than
            ``clock_skew``.
    """
    changes: list[Change] = []
    waiting: list[str] = []
    warnings: list[str] = []
    refusals: list[tuple[str, Refusal]] = []
    for name in dict.fromkeys(names):
        key_set = state.find_set(name)
        if key_set.policy.closing:
            raise UsageError(f"set {name} is closing: its keys are no longer rotated", code="set-closing")
        at = effective_instant(key_set, now)
        active, candidate = key_set.active, key_set.next
        if active is None or candidate is None:
            remedy = f"key import {name} FILE" if key_set.policy.external else "rotate --due creates missing keys"
            raise KeyVaultError(
                f"set {name} lacks an active or a next key", code="key-missing", hint=f"keyvault {remedy}"
            )
        if not candidate.fits(key_set.policy.spec):
            changes += replace_next(key_set, candidate, at)
            if key_set.policy.external:
                waiting.append(import_missing(key_set))
            else:
                waiting.append(waiting_for_new_kind(key_set))
            warnings += restart_warnings(key_set)
            continue
        refusal = find_refusal(key_set, candidate, state.policy.site, at, live)
        if refusal and not forced:
            refusals.append((name, refusal))
            continue
        changes += swap(key_set, active, candidate, at, forced=forced if refusal else None)
        warnings += first_use_warnings(key_set, candidate, state.policy.site)
    if refusals:
        refuse_rotation(refusals)
    return Plan(tuple(changes), tuple(waiting), tuple(warnings))


def plan_due(state: VaultState, now: datetime, *, live: LiveSite) -> Plan:
    """
    Plan everything that is due: receipts, withdrawals, rotations, closings, and what a change of policy requires.

    That is: missing keys, next keys of another kind to replace, and a longer ``token_lifetime`` to record.

    Idempotent: for the state that its plan leads to, it plans nothing more at the same instant.

    Args:
        state: The vault.
        now: The instant of the run.
        live: The keys that the URLs of `urls_to_fetch` serve.

    Raises:
        KeyVaultError: If the clock is behind the newest event by more than ``clock_skew``.
    """
    plans = [_plan_due_set(key_set, state.policy.site, now, live) for key_set in state.sets.values()]
    return Plan(
        tuple(change for plan in plans for change in plan.changes),
        tuple(reason for plan in plans for reason in plan.waiting),
        tuple(warning for plan in plans for warning in plan.warnings),
    )


def _plan_due_set(key_set: KeySet, site: SitePolicy, now: datetime, live: LiveSite) -> Plan:
    at = effective_instant(key_set, now)
    active, candidate = key_set.active, key_set.next
    if key_set.policy.closing:
        plan = Plan(tuple(close(key_set, at)))
    elif active is None:
        plan = _plan_first_active(key_set, site, now)
    elif candidate is None or not candidate.fits(key_set.policy.spec):
        plan = _plan_another_next(key_set, active, site, at)
    else:
        plan = _plan_due_rotation(key_set, active, candidate, site, at, live)
    return Plan((*withdrawals(key_set, at), *plan.changes), plan.waiting, plan.warnings)


def _plan_first_active(key_set: KeySet, site: SitePolicy, now: datetime) -> Plan:
    """Plan for a set that is new in keyvault.toml, or that was closed and is opened again."""
    at, candidate = effective_instant(key_set, now), key_set.next
    if candidate is None:
        return plan_creation(key_set, now)
    return Plan(
        (Amend(key_set.name, candidate.kid, (activated(key_set, at),)), *new_next(key_set, at)),
        warnings=unknown_signer_warnings(key_set, candidate, site, at),
    )


def _plan_another_next(key_set: KeySet, active: Key, site: SitePolicy, at: datetime) -> Plan:
    """Plan for a set that has no next key, or one of another kind than policy asks for."""
    withdrawal = [withdraw_next(key_set, key_set.next, at)] if key_set.next else []
    warnings = tuple(restart_warnings(key_set))
    if key_set.policy.external:
        return Plan((*withdrawal, *_longer_lifetime(key_set, active, at)), (import_missing(key_set),), warnings)
    due_at = rotation_due_at(key_set)
    if due_at is not None and due_at <= at and _mature_at_creation(key_set, site):
        # A next key of the new kind would be due in the next run, so the planner would not be idempotent.
        retirement = Amend(key_set.name, active.kid, (deactivated(key_set, active, at),))
        return Plan((*withdrawal, new_active(key_set, at), retirement, *new_next(key_set, at)), warnings=warnings)
    return Plan((*withdrawal, *new_next(key_set, at), *_longer_lifetime(key_set, active, at)), warnings=warnings)


def _plan_due_rotation(
    key_set: KeySet, active: Key, candidate: Key, site: SitePolicy, at: datetime, live: LiveSite
) -> Plan:
    """Plan the receipt of the next key, and the rotation if it is due and the gate permits it."""
    receipts: tuple[Event, ...] = ()
    waiting: tuple[str, ...] = ()
    if must_be_seen_live(key_set, site) and counts_as_published_at(key_set, candidate, site) is None:
        receipts, waiting = _receipts(key_set, candidate, at, live)
        candidate = msgspec.structs.replace(candidate, events=(*candidate.events, *receipts))
    due_at = rotation_due_at(key_set)
    if due_at is not None and due_at <= at:
        refusal = find_refusal(key_set, candidate, site, at, live)
        if refusal is None:
            return Plan(
                tuple(swap(key_set, active, candidate, at, receipts=receipts, forced=None)),
                waiting,
                tuple(first_use_warnings(key_set, candidate, site)),
            )
        since = format_instant(due_at)
        waiting = (*waiting, f"{key_set.name}: rotation is due since {since}, but {refusal.reason}")
    receipt = [Amend(key_set.name, candidate.kid, receipts)] if receipts else []
    return Plan((*receipt, *_longer_lifetime(key_set, active, at)), waiting)


def _longer_lifetime(key_set: KeySet, active: Key, at: datetime) -> list[Change]:
    """Return the change that records the set's ``token_lifetime``, if it is longer than the active key's."""
    if key_set.policy.token_lifetime <= active.life.token_lifetime:
        return []
    lifetime = Event(at=at, event="lifetime", token_lifetime=whole_seconds(key_set.policy.token_lifetime))
    return [Amend(key_set.name, active.kid, (lifetime,))]


def _mature_at_creation(key_set: KeySet, site: SitePolicy) -> bool:
    """Whether a new key of the set may be active from the instant of its creation."""
    needed = lead(key_set, key_set.policy.spec.alg)
    return key_set.policy.use == "enc" or not (needed or must_be_seen_live(key_set, site))


def _receipts(
    key_set: KeySet, candidate: Key, at: datetime, live: LiveSite
) -> tuple[tuple[Event, ...], tuple[str, ...]]:
    """Return the receipt of the next key, or why there is none yet."""
    served = is_served(key_set, candidate, live)
    if served:
        return (Event(at=at, event="published", url=key_set.policy.url),), ()
    url = key_set.policy.url
    if served is None:
        return (), (f"{key_set.name}: {url} could not be fetched, so there is no receipt yet",)
    return (), (f"{key_set.name}: {url} does not serve the next key yet",)


def plan_replacement(key_sets: Iterable[KeySet], now: datetime, *, note: str) -> Plan:
    """Plan to withdraw the next key of each set, which never signed, and to create another."""
    changes: list[Change] = []
    for key_set in key_sets:
        if key_set.next is not None and not key_set.policy.closing:
            at = effective_instant(key_set, now)
            changes += replace_next(key_set, key_set.next, at, note=note)
    return Plan(tuple(changes))


def plan_revocation(state: VaultState, kid: str, now: datetime, *, reason: Reason, note: str | None = None) -> Plan:
    """
    Plan to drop *kid* from its JWK Set at once.

    If it was active, the next key becomes active even when it is immature: that is better than no signatures at all.
    Then a new next key is created.

    Raises:
        UsageError: If there is no such key, or it has left the JWK Set already.
    """
    key = state.find_key(kid)
    if key.state in ENDED:
        raise UsageError(f"key {key.kid} is already {key.state}: no JWK Set contains it", code="key-ended")
    key_set = state.find_set(key.set)
    policy, site = key_set.policy, state.policy.site
    at = effective_instant(key_set, now, emergency=True)
    note = _ahead_note(key_set, at, now, note)
    changes: list[Change] = [Amend(key_set.name, key.kid, (Event(at=at, event="revoked", reason=reason, note=note),))]
    warnings = []
    # Warnings give true instants, even if the newest event lies after them.
    happened_at = now if _is_ahead(key_set, at, now) else at
    if key_set.rendered:
        caches = happened_at + policy.publication_lead
        warnings.append(f"caches may accept the revoked key until {when(caches, now)}; restart verifiers that you own")
    if key.state == "active" and not policy.closing:
        candidate = key_set.next
        why = f"the active key was revoked as {reason}"
        if candidate is not None:
            # Even if it is for the former algorithm: it matters more that verifiers hold it.
            mature = mature_at(key_set, candidate, site)
            immature = mature is None or at < mature
            changes.append(
                Amend(key_set.name, candidate.kid, (activated(key_set, at, forced=why if immature else None),))
            )
        elif not policy.external:
            changes.append(new_active(key_set, at, forced=why))
        changes += new_next(key_set, at)
        if candidate is None and policy.external:
            warnings.append(f"{key_set.name} has no active key now; keyvault key import {key_set.name} FILE")
        elif key_set.rendered and policy.use == "sig":
            seen = None if candidate is None else counts_as_published_at(key_set, candidate, site)
            known_from = min(seen or happened_at, happened_at) + policy.publication_lead
            if seen is None or happened_at < known_from:
                warnings.append(
                    f"verifiers may not know the new active key until {when(known_from, now)}"
                    + ("" if seen else ", if the site is published at once")
                )
            if candidate is not None:
                warnings += first_use_warnings(key_set, candidate, site)
    elif key.state == "next" and not policy.closing:
        changes += new_next(key_set, at)
    return Plan(tuple(changes), warnings=tuple(warnings))


def _retired_by_repair(key: Key) -> bool:
    """Whether a repair retired *key*: a published next key that was activated and deactivated in one instant."""
    last = key.events[-3:]
    names = [event.event for event in last]
    return names == ["repaired", "activated", "deactivated"] and len({event.at for event in last}) == 1


def plan_rollback(state: VaultState, name: str, now: datetime, *, note: str | None = None) -> Plan:
    """
    Plan to make the newest retiring key of set *name* active again.

    Raises:
        UsageError: If there is no such set, it is closing, or it has no active key.
        KeyVaultError: If the set has no previous key that is still published and sealed.
    """
    key_set = state.find_set(name)
    if key_set.policy.closing:
        raise UsageError(f"set {name} is closing: it cannot be rolled back", code="set-closing")
    if key_set.active is None:
        raise UsageError(
            f"set {name} has no active key: it cannot be rolled back",
            code="active-key-missing",
            hint="keyvault repair --dry-run, or keyvault rotate --due",
        )
    usable = (key for key in key_set.retiring if key.sealed or key_set.policy.external)
    previous = next((key for key in usable if not _retired_by_repair(key)), None)
    if previous is None:
        raise KeyVaultError(
            f"set {name} has no previous key that is still published and sealed",
            code="previous-key-missing",
            hint=f"go forward instead: keyvault rotate {name}",
        )
    at = effective_instant(key_set, now, emergency=True)
    note = _ahead_note(key_set, at, now, note)
    lifetime = whole_seconds(key_set.policy.token_lifetime)
    seen = counts_as_published_at(key_set, previous, state.policy.site)
    is_new = previous.public.alg != key_set.active.public.alg and (
        seen is None or at < seen + key_set.policy.lead(new_algorithm=True)
    )
    return Plan(
        (
            Amend(name, previous.kid, (Event(at=at, event="reactivated", token_lifetime=lifetime, note=note),)),
            Amend(name, key_set.active.kid, (deactivated(key_set, key_set.active, at, note=note),)),
        ),
        warnings=new_algorithm_warnings(key_set, previous.public.alg, seen) if is_new else (),
    )


def plan_closing(state: VaultState, name: str, now: datetime, *, forced: str | None = None) -> Plan:
    """
    Plan the changes to keys when set *name* is removed.

    Signing stops, and issued tokens stay verifiable until they expire; with *forced* every key is dropped at once.
    """
    key_set = state.find_set(name)
    at = effective_instant(key_set, now)
    if forced:
        event = Event(at=at, event="revoked", reason="superseded", forced=forced)
        return Plan(tuple(Amend(name, key.kid, (event,)) for key in key_set.live))
    return Plan((*withdrawals(key_set, at), *close(key_set, at)))
