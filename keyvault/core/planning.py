"""
Planners: what a command does to keys, as a value.

Every planner is a pure function ``(state, …, now) → Plan``. A plan says which keys to create and which
events to append; it is printed by ``--dry-run``, compared by tests and applied by ``repo/vault`` in one
commit. Nothing here generates a key, asks a URL or reads a clock.

The timing rule::

    activate(next)    not before  published_at(next) + publication_lead, while the live URL still serves it
    withdraw(retiring)      after keep_until = deactivated_at + signer_lag + token_lifetime + clock_skew

Invariants that hold after every plan: a set that is not closing has exactly one active and one next key;
event lists only grow and never run backwards; what is late is done late and never skipped.

Source: docs/lifecycle.md.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta

import msgspec

from keyvault.core.algorithms import KeySpec
from keyvault.core.events import TEXT_MAX, Event, Reason
from keyvault.core.jwk import PublicJWK
from keyvault.core.keys import Key, KeySet, VaultState, promise
from keyvault.core.policy import SitePolicy
from keyvault.core.text import format_duration, format_instant, relative, when
from keyvault.core.verifiers import KEEP_ALGORITHMS
from keyvault.errors import GateError, KeyVaultError, UsageError

#: What was seen at the URL of a JWK Set: (kid, thumbprint) of each key; None where it could not be asked.
Seen = Collection[tuple[str, str]] | None
Live = Mapping[str, Seen]

_KEEPERS = ", ".join(KEEP_ALGORITHMS)


@dataclass(frozen=True, slots=True)
class Create:
    """Make a key of *spec* in *set*, with these first events."""

    set: str
    spec: KeySpec
    events: tuple[Event, ...]


@dataclass(frozen=True, slots=True)
class Import:
    """Take in the key *public*, which was made elsewhere, with these first events."""

    set: str
    public: PublicJWK
    events: tuple[Event, ...]

    @property
    def kid(self) -> str:
        return self.public.kid


@dataclass(frozen=True, slots=True)
class Amend:
    """Append *events* to the record of *kid*; drop its sealed private half where it ends here."""

    set: str
    kid: str
    events: tuple[Event, ...]

    @property
    def drops_private(self) -> bool:
        return any(event.event in ("withdrawn", "revoked") for event in self.events)


Change = Create | Import | Amend


@dataclass(frozen=True, slots=True)
class Plan:
    """
    What will be done.

    Attributes:
        changes: In the order in which people read them.
        waiting: What has to wait, and why; one sentence each.
        warnings: What somebody must know who applies the plan.
    """

    changes: tuple[Change, ...] = ()
    waiting: tuple[str, ...] = ()
    warnings: tuple[str, ...] = ()

    def __bool__(self) -> bool:
        return bool(self.changes)


class Transition(msgspec.Struct, frozen=True):
    """
    A transition that policy will make.

    Attributes:
        at: The earliest instant; a scheduled run makes it some time after.
        set: Name of the set.
        event: ``created``, ``published``, ``activated``, ``deactivated`` or ``withdrawn``.
        kid: The key, or None for one that does not exist yet.
    """

    at: datetime
    set: str
    event: str
    kid: str | None


# --- time -----------------------------------------------------------------------------------------------


def effective_instant(key_set: KeySet, now: datetime, *, emergency: bool = False) -> datetime:
    """
    Return the instant that new events of *key_set* carry: *now*, or the newest one on record if later.

    Args:
        key_set: The set.
        now: The instant of the command.
        emergency: Whether to go on however far the newest event lies ahead.

    Raises:
        KeyVaultError: If the clock is behind the newest event by more than ``clock_skew``.
    """
    now = now.replace(microsecond=0)
    newest = key_set.newest_at
    if newest is None or newest <= now:
        return now
    if newest - now > key_set.policy.clock_skew and not emergency:
        raise KeyVaultError(
            f"the clock says {format_instant(now)}, but set {key_set.name} has an event at {format_instant(newest)}",
            hint="if this clock is right: keyvault repair --dry-run; else set it",
        )
    return newest


def _ahead_note(key_set: KeySet, at: datetime, now: datetime, note: str | None) -> str | None:
    """Return *note*, and the true instant of an emergency if events of the set lie ahead of it."""
    if at - now.replace(microsecond=0) <= key_set.policy.clock_skew:
        return note
    said = f"; {note}" if note else ""
    return f"done at {format_instant(now.replace(microsecond=0))}, dated after the newest event{said}"[:TEXT_MAX]


def first_seen(key_set: KeySet, key: Key, site: SitePolicy) -> datetime | None:
    """Return since when *key* counts as published, or None while there is no receipt."""
    if not key_set.rendered or key_set.policy.use == "enc" or site.confirm == "commit":
        return key.life.created_at
    return key.life.published.get(key_set.policy.url)


def brings_algorithm(key_set: KeySet, alg: str) -> bool:
    """Whether a key for *alg* would be the first of it that signs in *key_set*, beside others that do."""
    signers = [key.public.alg for key in (key_set.active, *key_set.retiring) if key]
    return bool(signers) and alg not in signers


def lead(key_set: KeySet, alg: str) -> timedelta:
    """Return how long a next key for *alg* must have been seen live before it may sign."""
    return key_set.policy.lead(new_algorithm=key_set.rendered and brings_algorithm(key_set, alg))


def mature_at(key_set: KeySet, key: Key, site: SitePolicy) -> datetime | None:
    """
    Return from when the next *key* may become active, or None while there is no receipt.

    A key for encryption is mature at once: it is not published before it is active, and senders that use
    the old key are served by its retention.
    """
    if key_set.policy.use == "enc":
        return key.life.created_at
    seen = first_seen(key_set, key, site)
    return None if seen is None else seen + lead(key_set, key.public.alg)


def rotation_due_at(key_set: KeySet) -> datetime | None:
    """Return when the active key's cryptoperiod ends, or None without an active key."""
    active = key_set.active
    if active is None or active.life.activated_at is None:
        return None
    return active.life.activated_at + key_set.policy.cryptoperiod


def keep_until(key_set: KeySet, key: Key | None, at: datetime) -> datetime:
    """Return until when *key*, deactivated at *at*, must be kept; None stands for a key that is yet to be made."""
    policy = key_set.policy
    if policy.use == "enc":
        return at + policy.retention
    lifetime = policy.token_lifetime if key is None else promise(key, policy)
    return at + policy.signer_lag + lifetime + policy.clock_skew


# --- looking --------------------------------------------------------------------------------------------


def _needs_look(key_set: KeySet, site: SitePolicy) -> bool:
    return site.confirm == "live" and key_set.rendered and key_set.policy.use == "sig" and not key_set.policy.closing


def urls_to_ask(state: VaultState, now: datetime, *, rotating: Collection[str] = ()) -> frozenset[str]:
    """
    Return the URLs of JWK Sets that `plan_due` or `plan_rotation` needs to look at.

    Only sets with a next key that waits for its receipt, or that is about to become active (due, or named
    in *rotating*), need a look.
    """
    urls = set()
    for key_set in state.sets.values():
        candidate = key_set.next
        if candidate is None or not _needs_look(key_set, state.policy.site):
            continue
        mature = mature_at(key_set, candidate, state.policy.site)
        due = rotation_due_at(key_set)
        activating = key_set.name in rotating or (due is not None and due <= now)
        if mature is None or (activating and mature <= now):
            urls.add(key_set.policy.url)
    return frozenset(urls)


def _serves(key_set: KeySet, key: Key, live: Live) -> bool | None:
    """Whether the live URL serves *key*; None where it could not be asked."""
    seen = live.get(key_set.policy.url)
    return None if seen is None else (key.kid, key.public.thumbprint) in seen


def _gate(key_set: KeySet, key: Key, site: SitePolicy, at: datetime, live: Live) -> tuple[str, str] | None:
    """Return why *key* must not become active at *at*, with a hint; None when it may."""
    mature = mature_at(key_set, key, site)
    if mature is None:
        return (
            f"its next key was not yet seen at {key_set.policy.url}",
            "publish the site, then record the receipt with: keyvault rotate --due",
        )
    if at < mature:
        needed = lead(key_set, key.public.alg)
        verb = "made" if site.confirm == "commit" or not key_set.rendered else "first seen live"
        longer = needed > key_set.policy.publication_lead
        which = f"next key, the first for {key.public.alg}," if longer else "next key"
        member = "algorithm_lead" if longer else "publication_lead"
        return (
            f"its {which} was {verb} {relative(mature - needed, at)}, {member} is {format_duration(needed)}",
            f"wait until {format_instant(mature)}",
        )
    if _needs_look(key_set, site):
        serves = _serves(key_set, key, live)
        if serves is None:
            return (f"{key_set.policy.url} cannot be asked whether it still serves the next key", "try again later")
        if not serves:
            return (f"{key_set.policy.url} no longer serves the next key", "publish the site again, then rotate")
    return None


# --- the pieces that plans are made of ------------------------------------------------------------------


def _seconds(duration: timedelta) -> int:
    return int(duration.total_seconds())


def activated(key_set: KeySet, at: datetime, *, forced: str | None = None) -> Event:
    return Event(at=at, event="activated", token_lifetime=_seconds(key_set.policy.token_lifetime), forced=forced)


def deactivated(key_set: KeySet, key: Key, at: datetime, *, note: str | None = None) -> Event:
    return Event(at=at, event="deactivated", keep_until=keep_until(key_set, key, at), note=note)


def new_next(key_set: KeySet, at: datetime) -> list[Change]:
    """Return what gives the set a next key; of an external one somebody has to import it."""
    if key_set.policy.external:
        return []
    return [Create(key_set.name, key_set.policy.spec, (Event(at=at, event="created"),))]


def new_active(key_set: KeySet, at: datetime, *, forced: str | None = None) -> Create:
    return Create(
        key_set.name, key_set.policy.spec, (Event(at=at, event="created"), activated(key_set, at, forced=forced))
    )


def _swap(
    key_set: KeySet, active: Key, candidate: Key, at: datetime, *, receipts: tuple[Event, ...] = (), forced: str | None
) -> list[Change]:
    return [
        Amend(key_set.name, candidate.kid, (*receipts, activated(key_set, at, forced=forced))),
        Amend(key_set.name, active.kid, (deactivated(key_set, active, at),)),
        *new_next(key_set, at),
    ]


def _replace_next(key_set: KeySet, candidate: Key, at: datetime, *, note: str | None = None) -> list[Change]:
    why = note or f"policy now asks for {key_set.policy.spec}"
    return [
        Amend(key_set.name, candidate.kid, (Event(at=at, event="withdrawn", note=why),)),
        *new_next(key_set, at),
    ]


def _withdrawals(key_set: KeySet, at: datetime) -> list[Change]:
    """Strictly after ``keep_until``: the last token has expired on the slowest clock. Oldest first."""
    return [
        Amend(key_set.name, key.kid, (Event(at=at, event="withdrawn"),))
        for key in reversed(key_set.retiring)
        if key.life.keep_until is not None and at > key.life.keep_until
    ]


def _closing(key_set: KeySet, at: datetime) -> list[Change]:
    note, changes = "the set is closing", list[Change]()
    if key_set.active:
        changes.append(Amend(key_set.name, key_set.active.kid, (deactivated(key_set, key_set.active, at, note=note),)))
    if key_set.next:
        changes.append(Amend(key_set.name, key_set.next.kid, (Event(at=at, event="withdrawn", note=note),)))
    return changes


# --- commands -------------------------------------------------------------------------------------------


def plan_creation(key_set: KeySet, now: datetime) -> Plan:
    """Plan the first two keys of a set: one active, since nobody holds older ones, and one next."""
    if key_set.policy.external:
        return Plan(waiting=(_import_missing(key_set),))
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
            changes += _replace_next(key_set, candidate, at)
            if key_set.policy.external:
                waiting.append(_import_missing(key_set))
            else:
                waiting.append(_new_kind(key_set))
            warnings += _restarts(key_set)
            continue
        refusal = _gate(key_set, candidate, state.policy.site, at, live)
        if refusal and not forced:
            refusals.append((name, *refusal))
            continue
        changes += _swap(key_set, active, candidate, at, forced=forced if refusal else None)
        warnings += _first_signature(key_set, candidate, state.policy.site)
    if refusals:
        _refuse(refusals)
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


def _import_missing(key_set: KeySet) -> str:
    """Return what somebody has to do for an external set, which makes no keys by itself."""
    what = f"next {key_set.policy.spec} key" if key_set.active else "key that signs"
    return f"{key_set.name}: there is no {what}; keyvault key import {key_set.name} FILE"


def _refuse(refusals: list[tuple[str, str, str]]) -> None:
    name, why, hint = refusals[0]
    others = f" (and so for {', '.join(other[0] for other in refusals[1:])})" if len(refusals) > 1 else ""
    raise GateError(
        f"rotating {name} now would break verifiers: {why}{others}",
        hint=f'{hint}, or use --force --reason "…" if the active key has leaked',
    )


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
    changes += _withdrawals(key_set, at)
    active, candidate = key_set.active, key_set.next
    if key_set.policy.closing:
        changes += _closing(key_set, at)
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
        changes += _replace_next(key_set, candidate, at) if candidate else new_next(key_set, at)
        warnings += _restarts(key_set)
        if key_set.policy.external:
            waiting.append(_import_missing(key_set))
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
        if _needs_look(key_set, site) and first_seen(key_set, candidate, site) is None:
            receipts = _receipts(key_set, candidate, at, live, waiting)
            candidate = msgspec.structs.replace(candidate, events=(*candidate.events, *receipts))
        refusal = _gate(key_set, candidate, site, at, live) if due else None
        if due and refusal is None:
            changes += _swap(key_set, active, candidate, at, receipts=receipts, forced=None)
            warnings += _first_signature(key_set, candidate, site)
            return
        if due_at is not None and refusal is not None:
            waiting.append(f"{key_set.name}: rotation is due since {format_instant(due_at)}, but {refusal[0]}")
        if receipts:
            changes.append(Amend(key_set.name, candidate.kid, receipts))
    if key_set.policy.token_lifetime > active.life.token_lifetime:
        lifetime = Event(at=at, event="lifetime", token_lifetime=_seconds(key_set.policy.token_lifetime))
        changes.append(Amend(key_set.name, active.kid, (lifetime,)))


def _unknown_signer(key_set: KeySet, candidate: Key, site: SitePolicy, at: datetime) -> tuple[str, ...]:
    """Return a warning if *candidate* takes the place of earlier signers of the set, and verifiers may not know it."""
    signed = any(event.event in ("activated", "reactivated") for key in key_set.keys for event in key.events)
    mature = mature_at(key_set, candidate, site)
    if not signed or not key_set.rendered or key_set.policy.use == "enc" or (mature is not None and mature <= at):
        return ()
    return (f"{key_set.name} had no active key: the new one is not known everywhere yet; publish the site at once",)


def _mature_when_made(key_set: KeySet, site: SitePolicy) -> bool:
    """Whether a new key of the set may be active from its first instant on."""
    needed = lead(key_set, key_set.policy.spec.alg)
    return key_set.policy.use == "enc" or not (needed or _needs_look(key_set, site))


def _receipts(key_set: KeySet, candidate: Key, at: datetime, live: Live, waiting: list[str]) -> tuple[Event, ...]:
    serves = _serves(key_set, candidate, live)
    if serves:
        return (Event(at=at, event="published", url=key_set.policy.url),)
    if serves is None:
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
            changes += _replace_next(key_set, key_set.next, at, note=note)
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
    began = at if at - now <= policy.clock_skew else now.replace(microsecond=0)
    if key_set.rendered:
        caches = began + policy.publication_lead
        warnings.append(f"caches may accept the revoked key until {when(caches, now)}; restart verifiers that you own")
    if key.state == "active" and not policy.closing:
        candidate = key_set.next
        why = f"the active key was revoked as {reason}"
        mature = None
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
    previous = next((key for key in key_set.retiring if key.sealed or key_set.policy.external), None)
    if previous is None:
        raise KeyVaultError(
            f"set {name} has no previous key that is still published and sealed",
            hint=f"keyvault rotate {name} goes forward instead",
        )
    at = effective_instant(key_set, now, emergency=True)
    note = _ahead_note(key_set, at, now, note)
    lifetime = _seconds(key_set.policy.token_lifetime)
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
    return Plan((*_withdrawals(key_set, at), *_closing(key_set, at)))


# --- looking ahead --------------------------------------------------------------------------------------


def outlook(
    state: VaultState, now: datetime, *, until: datetime, names: Collection[str] | None = None
) -> list[Transition]:
    """
    Return the transitions that policy will make up to *until*, oldest first.

    Each stands at its earliest instant, under the assumption that scheduled runs come in time and that a
    new key is seen live as soon as it is made.
    """
    transitions: list[Transition] = []
    for name, key_set in state.sets.items():
        if names is None or name in names:
            transitions += _outlook_set(key_set, state.policy.site, now, until)
    return sorted((t for t in transitions if t.at <= until), key=lambda t: (t.at, t.set, t.event))


def next_transition(key_set: KeySet, site: SitePolicy, now: datetime) -> Transition | None:
    """Return the first transition that policy will make in *key_set*, or None."""
    due = max(rotation_due_at(key_set) or now, now)
    found = _outlook_set(key_set, site, now, due + key_set.policy.publication_lead)
    return min(found, key=lambda transition: transition.at, default=None)


def _outlook_set(key_set: KeySet, site: SitePolicy, now: datetime, until: datetime) -> list[Transition]:
    policy = key_set.policy
    found: list[Transition] = []

    def add(at: datetime, event: str, key: Key | None) -> None:
        found.append(Transition(at, key_set.name, event, key.kid if key else None))

    def retire(at: datetime, key: Key | None) -> None:
        add(at, "deactivated", key)
        add(keep_until(key_set, key, at) + timedelta(seconds=1), "withdrawn", key)

    for key in key_set.retiring:
        if key.life.keep_until is not None:
            add(max(now, key.life.keep_until + timedelta(seconds=1)), "withdrawn", key)
    active, candidate = key_set.active, key_set.next
    if policy.closing:
        if candidate is not None:
            add(now, "withdrawn", candidate)
        if active is not None:
            retire(now, active)
        return found
    usual, first = (
        (timedelta(0), timedelta(0))
        if policy.use == "enc"
        else (policy.publication_lead, lead(key_set, policy.spec.alg))
    )
    due, mature = rotation_due_at(key_set), now + first
    if policy.external and candidate is None:
        return found  # who imports the next key decides
    if due is None:
        if candidate is None:
            add(now, "created", None)
        add(now, "activated", candidate)
        active, candidate, due = candidate, None, now + policy.cryptoperiod
    elif candidate is not None and not candidate.fits(policy.spec):
        add(now, "withdrawn", candidate)
        candidate = None
    if candidate is None:
        add(now, "created", None)
    elif (known := mature_at(key_set, candidate, site)) is None:
        add(now, "published", candidate)
    else:
        mature = known
    while (at := max(due, mature, now)) <= until:
        add(at, "activated", candidate)
        retire(at, active)
        if policy.external:
            break
        add(at, "created", None)
        active, candidate = candidate, None
        due, mature = at + policy.cryptoperiod, at + usual
    return found


def overdue(state: VaultState, now: datetime, *, grace: timedelta = timedelta(0)) -> list[str]:
    """
    Return what should have happened more than *grace* ago, one sentence each.

    Lateness is safe: the old key goes on signing and old keys stay published. It is still worth an alarm.
    """
    found = []
    site = state.policy.site
    for name, key_set in state.sets.items():
        found += [
            f"{name}: key {key.kid} should have been withdrawn {relative(key.life.keep_until, now)}"
            for key in key_set.retiring
            if key.life.keep_until is not None and now > key.life.keep_until + grace
        ]
        if key_set.policy.closing:
            continue
        candidate, due = key_set.next, rotation_due_at(key_set)
        if key_set.active is None or candidate is None:
            if not key_set.policy.external:
                found.append(f"{name}: a key is missing; keyvault rotate --due creates it")
            elif due is None or now > due - key_set.policy.publication_lead:
                found.append(_import_missing(key_set))
            continue
        if due is not None and now > max(due, mature_at(key_set, candidate, site) or due) + grace:
            found.append(f"{name}: rotation was due {relative(due, now)}")
        if first_seen(key_set, candidate, site) is None:
            made = candidate.life.created_at
            if now > made + key_set.policy.publication_lead + grace:
                found.append(
                    f"{name}: the next key was made {relative(made, now)} and not yet seen at {key_set.policy.url}"
                )
    return found
