"""
Planners: pure functions ``(state, …, now) → Plan``, one for each command that changes keys.

A plan says which keys to generate and which events to append. Does not generate keys, fetch URLs or read the clock.
`timing` says when a key may sign and until when it is kept, `gate` what must be seen live before.

Invariants that hold after every plan: a set that is not closing has exactly one active and one next key;
event lists only grow and never run backwards; what is late is done late and never skipped.

Source: docs/lifecycle.md.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable
from datetime import datetime

import msgspec

from keyvault.core.events import TEXT_MAX, Event, Reason
from keyvault.core.gate import Live, find_refusal, is_served, needs_look, refuse_rotation
from keyvault.core.keys import Key
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
    seconds,
    swap,
    withdrawals,
)
from keyvault.core.text import format_duration, format_instant, when
from keyvault.core.timing import (
    brings_algorithm,
    effective_instant,
    first_seen,
    lead,
    mature_at,
    rotation_due_at,
)
from keyvault.core.verifiers import KEEP_ALGORITHMS
from keyvault.errors import KeyVaultError, UsageError

_KEEPERS = ", ".join(KEEP_ALGORITHMS)


def _ahead_note(key_set: KeySet, at: datetime, now: datetime, note: str | None) -> str | None:
    """Return *note*, and the true instant of an emergency if events of the set lie ahead of it."""
    if at - now <= key_set.policy.clock_skew:
        return note
    said = f"; {note}" if note else ""
    return f"done at {format_instant(now)}, dated after the newest event{said}"[:TEXT_MAX]


# --- commands -------------------------------------------------------------------------------------------


def plan_creation(key_set: KeySet, now: datetime) -> Plan:
    """Plan the first two keys of a set: one active, since nobody holds older ones, and one next."""
    if key_set.policy.external:
        return Plan(waiting=(import_missing(key_set),))
    at = effective_instant(key_set, now)
    return Plan((new_active(key_set, at), *new_next(key_set, at)))


def plan_rotation(
    state: VaultState, names: Collection[str], now: datetime, *, live: Live, forced: str | None = None
) -> Plan:
    """
    Plan to make the next key of each named set active.

    A next key that is not of the kind that policy asks for is replaced instead; nothing is activated then.

    Args:
        state: The vault.
        names: Sets to rotate; all of them or none.
        now: The instant of the rotation.
        live: What the URLs of `urls_to_ask` were seen to serve.
        forced: Why the gate is to be passed, or None to respect it.

    Raises:
        GateError: A next key is not mature, is not served, or its URL cannot be asked. The message names
            the instant from which it is safe.
        UsageError: There is no such set, or it is closing.
    """
    changes: list[Change] = []
    waiting: list[str] = []
    warnings: list[str] = []
    refusals: list[tuple[str, str, str]] = []
    for name in dict.fromkeys(names):
        key_set = state.find_set(name)
        if key_set.policy.closing:
            raise UsageError(f"set {name} is closing: nothing is rotated in it any more")
        at = effective_instant(key_set, now)
        active, candidate = key_set.active, key_set.next
        if active is None or candidate is None:
            remedy = f"key import {name} FILE" if key_set.policy.external else "rotate --due creates what is missing"
            raise KeyVaultError(f"set {name} lacks an active or a next key", hint=f"keyvault {remedy}")
        if not candidate.fits(key_set.policy.spec):
            changes += replace_next(key_set, candidate, at)
            if key_set.policy.external:
                waiting.append(import_missing(key_set))
            else:
                waiting.append(_new_kind(key_set))
            warnings += _restarts(key_set)
            continue
        refusal = find_refusal(key_set, candidate, state.policy.site, at, live)
        if refusal and not forced:
            refusals.append((name, *refusal))
            continue
        changes += swap(key_set, active, candidate, at, forced=forced if refusal else None)
        warnings += _first_signature(key_set, candidate, state.policy.site)
    if refusals:
        refuse_rotation(refusals)
    return Plan(tuple(changes), tuple(waiting), tuple(warnings))


def _new_kind(key_set: KeySet) -> str:
    """Return for what a next key waits that replaced one of another kind."""
    policy = key_set.policy
    if policy.use == "enc":
        return f"{key_set.name}: the new {policy.spec} key takes over at the next rotation"
    needed = lead(key_set, policy.spec.alg)
    member = f"algorithm_lead, {format_duration(needed)}" if needed > policy.publication_lead else "publication_lead"
    receipt = "its own receipt and " if key_set.rendered else ""
    return f"{key_set.name}: the new {policy.spec} key waits for {receipt}{member}"


def _restarts(key_set: KeySet) -> list[str]:
    """Return who must be restarted before a key of the set's new algorithm signs, a sentence each."""
    policy = key_set.policy
    if not (key_set.rendered and policy.use == "sig" and brings_algorithm(key_set, policy.spec.alg)):
        return []
    longer = policy.algorithm_lead
    said = f"algorithm_lead is {format_duration(longer)}" if longer else "set algorithm_lead to leave time for it"
    return [
        f"{key_set.name} changes to {policy.spec.alg}: restart {_KEEPERS} once the next key is seen live, since they "
        f"learn algorithms only when they start; {said}"
    ]


def _first_signature(key_set: KeySet, candidate: Key, site: SitePolicy) -> tuple[str, ...]:
    """Return who will refuse the tokens of *candidate*, which is about to sign, a sentence each."""
    alg = candidate.public.alg
    return _refusals(key_set, alg, first_seen(key_set, candidate, site)) if brings_algorithm(key_set, alg) else ()


def _refusals(key_set: KeySet, alg: str, seen: datetime | None) -> tuple[str, ...]:
    """Return who refuses tokens for *alg*, of which a key was first seen at *seen*, a sentence each."""
    if not key_set.rendered or key_set.policy.use != "sig":
        return ()
    since = "the key was published" if seen is None else format_instant(seen)
    return (
        f"{key_set.name} signs with {alg} from now on: {_KEEPERS} refuse it if they were not restarted since {since}; "
        f"keyvault rollback {key_set.name} goes back",
    )


def import_missing(key_set: KeySet) -> str:
    """Return what somebody has to do for an external set, which makes no keys by itself."""
    what = f"next {key_set.policy.spec} key" if key_set.active else "key that signs"
    return f"{key_set.name}: there is no {what}; keyvault key import {key_set.name} FILE"


def plan_due(state: VaultState, now: datetime, *, live: Live) -> Plan:
    """
    Plan everything that is due: receipts, withdrawals, rotations, and the creation of what is missing.

    Idempotent: on the state that its plan leads to, it plans nothing more at the same instant.

    Args:
        state: The vault.
        now: The instant of the run.
        live: What the URLs of `urls_to_ask` were seen to serve.

    Raises:
        KeyVaultError: The clock is behind the newest event by more than ``clock_skew``.
    """
    changes: list[Change] = []
    waiting: list[str] = []
    warnings: list[str] = []
    for key_set in state.sets.values():
        _plan_due_set(key_set, state.policy.site, now, live, changes, waiting, warnings)
    return Plan(tuple(changes), tuple(waiting), tuple(warnings))


def _plan_due_set(
    key_set: KeySet,
    site: SitePolicy,
    now: datetime,
    live: Live,
    changes: list[Change],
    waiting: list[str],
    warnings: list[str],
) -> None:
    at = effective_instant(key_set, now)
    changes += withdrawals(key_set, at)
    active, candidate = key_set.active, key_set.next
    if key_set.policy.closing:
        changes += close(key_set, at)
        return
    if active is None:
        # A set that is new in keyvault.toml, or one that was closed before and is opened again.
        if candidate is None:
            creation = plan_creation(key_set, now)
            changes += creation.changes
            waiting += creation.waiting
        else:
            changes += [Amend(key_set.name, candidate.kid, (activated(key_set, at),)), *new_next(key_set, at)]
            warnings += _unknown_signer(key_set, candidate, site, at)
        return
    due_at = rotation_due_at(key_set)
    due = due_at is not None and due_at <= at
    if candidate is None or not candidate.fits(key_set.policy.spec):
        changes += replace_next(key_set, candidate, at) if candidate else new_next(key_set, at)
        warnings += _restarts(key_set)
        if key_set.policy.external:
            waiting.append(import_missing(key_set))
        elif due and _mature_when_made(key_set, site):
            # A key of the new kind would be due in the next run: two runs would then not be one.
            changes[-1:] = [
                new_active(key_set, at),
                Amend(key_set.name, active.kid, (deactivated(key_set, active, at),)),
                *new_next(key_set, at),
            ]
            return
    else:
        receipts: tuple[Event, ...] = ()
        if needs_look(key_set, site) and first_seen(key_set, candidate, site) is None:
            receipts = _receipts(key_set, candidate, at, live, waiting)
            candidate = msgspec.structs.replace(candidate, events=(*candidate.events, *receipts))
        refusal = find_refusal(key_set, candidate, site, at, live) if due else None
        if due and refusal is None:
            changes += swap(key_set, active, candidate, at, receipts=receipts, forced=None)
            warnings += _first_signature(key_set, candidate, site)
            return
        if due_at is not None and refusal is not None:
            waiting.append(f"{key_set.name}: rotation is due since {format_instant(due_at)}, but {refusal[0]}")
        if receipts:
            changes.append(Amend(key_set.name, candidate.kid, receipts))
    if key_set.policy.token_lifetime > active.life.token_lifetime:
        lifetime = Event(at=at, event="lifetime", token_lifetime=seconds(key_set.policy.token_lifetime))
        changes.append(Amend(key_set.name, active.kid, (lifetime,)))


def _unknown_signer(key_set: KeySet, candidate: Key, site: SitePolicy, at: datetime) -> tuple[str, ...]:
    """Return a warning if *candidate* takes the place of earlier signers of the set, and verifiers may not know it."""
    signed = any(event.event == "activated" for key in key_set.keys for event in key.events)
    mature = mature_at(key_set, candidate, site)
    if not signed or not key_set.rendered or (mature is not None and mature <= at):
        return ()
    return (f"{key_set.name} had no active key: the new one is not known everywhere yet; publish the site at once",)


def _mature_when_made(key_set: KeySet, site: SitePolicy) -> bool:
    """Whether a new key of the set may be active from its first instant on."""
    needed = lead(key_set, key_set.policy.spec.alg)
    return key_set.policy.use == "enc" or not (needed or needs_look(key_set, site))


def _receipts(key_set: KeySet, candidate: Key, at: datetime, live: Live, waiting: list[str]) -> tuple[Event, ...]:
    served = is_served(key_set, candidate, live)
    if served:
        return (Event(at=at, event="published", url=key_set.policy.url),)
    if served is None:
        waiting.append(f"{key_set.name}: {key_set.policy.url} could not be asked, so there is no receipt yet")
    else:
        waiting.append(f"{key_set.name}: {key_set.policy.url} does not serve the next key yet")
    return ()


def plan_replacement(key_sets: Iterable[KeySet], now: datetime, *, note: str) -> Plan:
    """Plan to withdraw the next key of each set, which never signed, and to make another in its place."""
    changes: list[Change] = []
    for key_set in key_sets:
        if key_set.next is not None and not key_set.policy.closing:
            at = effective_instant(key_set, now)
            changes += replace_next(key_set, key_set.next, at, note=note)
    return Plan(tuple(changes))


def plan_revocation(state: VaultState, kid: str, now: datetime, *, reason: Reason, note: str | None = None) -> Plan:
    """
    Plan to drop *kid* from its JWK Set at once.

    If it was active, the next key becomes active even when it is immature: that is worth more than no
    signatures at all. A fresh next key takes the empty place.

    Raises:
        UsageError: There is no such key, or it has left the JWK Set already.
    """
    key = state.find_key(kid)
    if key.state in ("withdrawn", "revoked"):
        raise UsageError(f"key {key.kid} is {key.state} already: it is not in any JWK Set")
    key_set = state.find_set(key.set)
    policy, site = key_set.policy, state.policy.site
    at = effective_instant(key_set, now, emergency=True)
    note = _ahead_note(key_set, at, now, note)
    changes: list[Change] = [Amend(key_set.name, key.kid, (Event(at=at, event="revoked", reason=reason, note=note),))]
    warnings = []
    # The rest speaks of true instants, also where the newest event lies ahead of them.
    began = at if at - now <= policy.clock_skew else now
    if key_set.rendered:
        caches = began + policy.publication_lead
        warnings.append(f"caches may accept the revoked key until {when(caches, now)}; restart verifiers that you own")
    if key.state == "active" and not policy.closing:
        candidate = key_set.next
        why = f"the active key was revoked as {reason}"
        if candidate is not None:
            # Also one of the algorithm before: that verifiers may hold it is worth more than the change.
            mature = mature_at(key_set, candidate, site)
            immature = mature is None or at < mature
            changes.append(
                Amend(key_set.name, candidate.kid, (activated(key_set, at, forced=why if immature else None),))
            )
        elif not policy.external:
            changes.append(new_active(key_set, at, forced=why))
        changes += new_next(key_set, at)
        if candidate is None and policy.external:
            warnings.append(f"{key_set.name} has no active key now: keyvault key import {key_set.name} FILE")
        elif key_set.rendered and policy.use == "sig":
            seen = None if candidate is None else first_seen(key_set, candidate, site)
            bound = min(seen or began, began) + policy.publication_lead
            if seen is None or began < bound:
                warnings.append(
                    f"the new active key is not known everywhere: verifiers may miss it until {when(bound, now)}"
                    + ("" if seen else ", counted from its publication")
                )
            if candidate is not None:
                warnings += _first_signature(key_set, candidate, site)
    elif key.state == "next" and not policy.closing:
        changes += new_next(key_set, at)
    return Plan(tuple(changes), warnings=tuple(warnings))


def _only_repaired(key: Key) -> bool:
    """Whether *key* left its place by a repair: a next key that was published retires in one instant, unused."""
    last = key.events[-3:]
    names = [event.event for event in last]
    return names == ["repaired", "activated", "deactivated"] and len({event.at for event in last}) == 1


def plan_rollback(state: VaultState, name: str, now: datetime, *, note: str | None = None) -> Plan:
    """
    Plan to make the newest retiring key of set *name* active again.

    Raises:
        UsageError: There is no such set.
        KeyVaultError: The set has no previous key that is still published and sealed.
    """
    key_set = state.find_set(name)
    if key_set.policy.closing or key_set.active is None:
        raise UsageError(f"set {name} is closing: there is nothing to roll back")
    usable = (key for key in key_set.retiring if key.sealed or key_set.policy.external)
    previous = next((key for key in usable if not _only_repaired(key)), None)
    if previous is None:
        raise KeyVaultError(
            f"set {name} has no previous key that is still published and sealed",
            hint=f"keyvault rotate {name} goes forward instead",
        )
    at = effective_instant(key_set, now, emergency=True)
    note = _ahead_note(key_set, at, now, note)
    lifetime = seconds(key_set.policy.token_lifetime)
    seen = first_seen(key_set, previous, state.policy.site)
    is_new = previous.public.alg != key_set.active.public.alg and (
        seen is None or at < seen + key_set.policy.lead(new_algorithm=True)
    )
    return Plan(
        (
            Amend(name, previous.kid, (Event(at=at, event="reactivated", token_lifetime=lifetime, note=note),)),
            Amend(name, key_set.active.kid, (deactivated(key_set, key_set.active, at, note=note),)),
        ),
        warnings=_refusals(key_set, previous.public.alg, seen) if is_new else (),
    )


def plan_closing(state: VaultState, name: str, now: datetime, *, forced: str | None = None) -> Plan:
    """
    Plan what removing set *name* does to its keys.

    Signing stops, and what was signed stays verifiable until it has expired; with *forced* every key is
    dropped at once.
    """
    key_set = state.find_set(name)
    at = effective_instant(key_set, now)
    held = [key for key in (key_set.active, key_set.next, *key_set.retiring) if key]
    if forced:
        event = Event(at=at, event="revoked", reason="superseded", forced=forced)
        return Plan(tuple(Amend(name, key.kid, (event,)) for key in held))
    return Plan((*withdrawals(key_set, at), *close(key_set, at)))
