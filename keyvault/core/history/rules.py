"""
Judge a commit against its parents: records only grow, and new events follow the policy of that commit.

A merge is judged against each of its parents: nothing that a parent has may be lost. Events that a parent has were
judged there; the timing rule applies to events that no parent has.

Source: docs/lifecycle.md, the timing rule; docs/audit.md explains every code.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from datetime import UTC, datetime, timedelta
from itertools import zip_longest

import msgspec

from keyvault.core.events import Event
from keyvault.core.history.derived_state import DerivedState, advance, event_problems
from keyvault.core.history.ledger import Entry, Ledger, ParentView, SetCount
from keyvault.core.history.versions import Problem
from keyvault.core.keys import Key
from keyvault.core.policy import Policy, SetPolicy
from keyvault.core.text import INSTANT_END, elided, format_duration, format_instant, printable

SKEW_DEFAULT = timedelta(minutes=10)


class ClockBounds(msgspec.Struct, frozen=True):
    """
    The instants that bound the instants of new events.

    Attributes:
        authored_at: The author date of the commit.
        now: The instant of the audit.
        skew: How far clocks may differ.
    """

    authored_at: datetime
    now: datetime
    skew: timedelta


def instant(seconds: int) -> datetime:
    """Return the instant of a commit, limited to comparable instants: its timestamp may be any number."""
    return datetime.fromtimestamp(min(max(seconds, 0), INSTANT_END.timestamp()), UTC)


# --- records --------------------------------------------------------------------------------------------


def judge_record_change(old: Entry, new: Entry | None, *, reseal: bool, joined: bool = False) -> Iterator[Problem]:
    """
    Yield the illegal changes of a record against its version in one parent.

    Args:
        old: The version in the parent.
        new: The version in the commit; None if it was removed.
        reseal: Whether there was a reason to re-seal the key.
        joined: Whether the commit is a merge whose record contains the events of all sides, and no others.
    """
    if new is None:
        yield "record-removed", f"the record of {old.key.kid} was removed: records must be kept"
        return
    if not new.readable:
        return
    was, now = old.key, new.key
    common = min(len(was.events), len(now.events))
    if joined:
        pass
    elif was.events[:common] != now.events[:common]:
        yield "event-changed", "a recorded event was changed"
    elif len(now.events) < len(was.events):
        lost = ", ".join(event.event for event in was.events[common:])
        yield "event-removed", f"recorded events were removed: {lost}"
    if was.public != now.public:
        yield "public-changed", "the public key was changed"
    if old.sealed and not new.sealed and not new.derived.ended:
        yield "private-removed", f"the sealed private key was removed, but the key is {new.derived.state}"
    if new.sealed and not old.sealed:
        yield "private-added", "a sealed private key was added to a record that had none"
    if old.sealed and new.sealed and was.private != now.private and not reseal:
        yield "resealed", "the sealed private key was replaced, but the recipients were not changed"


def judge_record(key: Key, derived: DerivedState, *, created: bool) -> Iterator[Problem]:
    """Yield the problems of a record in a commit."""
    sealed = not isinstance(key.private, msgspec.UnsetType)
    if derived.ended and sealed:
        yield "private-kept", f"the key is {derived.state} and still has a sealed private key"
    if created and not sealed and not derived.ended and not (key.events and key.events[0].imported):
        yield "private-missing", "a key was created without a sealed private key"


def judge_seal(entry: Entry, ledger: Ledger, *, fresh: bool, known: bool) -> Iterator[Problem]:
    """
    Yield a problem if a key is not sealed to exactly the recipients of its commit.

    Args:
        entry: The record.
        ledger: The vault at the commit.
        fresh: Whether no parent has this envelope.
        known: Whether a parent has this envelope and the same recipients.
    """
    private = entry.key.private
    if isinstance(private, msgspec.UnsetType) or known:
        return
    if ledger.recipients is None:
        yield "recipients-missing", f"key {entry.key.kid} is sealed, but the vault has no recipients"
        return
    kids, wanted = [sealed.header.kid for sealed in private.recipients], sorted(ledger.recipients)
    if not fresh:
        if entry.recipients != ledger.recipients_oid:
            yield "not-resealed", f"key {entry.key.kid} was not re-sealed when the recipients were changed"
    elif kids != wanted:
        yield (
            "envelope-recipients",
            f"key {entry.key.kid} is sealed to {', '.join(map(elided, kids))[:200]} "
            f"instead of {', '.join(wanted)[:200]}",
        )


# --- events ---------------------------------------------------------------------------------------------


class EventContext(msgspec.Struct, frozen=True):
    """
    The context in which new events of a key are judged.

    Attributes:
        key: The record.
        policy: keyvault.toml of the commit, or None.
        set_policy: Its table for the set, or None.
        parents: The counts of the set in each parent.
        created: Whether no parent has the record.
        clock: The instants of the commit and of the audit.
    """

    key: Key
    policy: Policy | None
    set_policy: SetPolicy | None
    parents: Sequence[SetCount]
    created: bool
    clock: ClockBounds


def judge_events(
    context: EventContext, derived: DerivedState, events: Sequence[Event]
) -> tuple[DerivedState, list[Problem]]:
    """Return the state after the new *events*, which follow *derived*, and their problems."""
    found: list[Problem] = []
    for event, following in zip_longest(events, events[1:]):
        found += event_problems(derived, event)
        found += _instants(context, event)
        if event.forced is not None:
            found.append(("forced", f"{event.event} of {context.key.kid} was forced: {elided(event.forced)}"))
        if event.event == "repaired":
            found.append(("repaired", f"key {context.key.kid} was repaired: {elided(str(event.note))}"))
        if context.policy is not None and context.set_policy is not None:
            found += _timing(context, context.set_policy, derived, event)
            if event.event == "activated" and event.forced is None and not _never_signs(context, event, following):
                found += _activation(context, context.policy, context.set_policy, derived, event)
        derived = advance(derived, event)
    return derived, found


def judge_joined(events: Sequence[Event]) -> tuple[DerivedState, list[Problem]]:
    """Return the state after all *events* of a joined record, and the problems of their order."""
    derived, found = DerivedState(), list[Problem]()
    for event in events:
        found += event_problems(derived, event)
        derived = advance(derived, event)
    return derived, found


def _never_signs(context: EventContext, event: Event, following: Event | None) -> bool:
    """Whether a key is imported as retiring: it is active for no time, so verifiers need not know it before."""
    return (
        context.created
        and context.key.events[0].imported
        and following is not None
        and (following.event, following.at) == ("deactivated", event.at)
    )


def _instants(context: EventContext, event: Event) -> Iterator[Problem]:
    at, authored, now, skew = event.at, context.clock.authored_at, context.clock.now, context.clock.skew
    # Differences, not sums: there is no instant after the last one.
    if at - authored > skew or at - now > skew:
        bound = "the audit" if at - now > skew else f"its commit of {format_instant(authored)}"
        yield "instant-future", f"event {event.event} at {format_instant(at)} is later than {bound}"
    elif authored - at > skew:
        yield (
            "instant-backdated",
            f"event {event.event} at {format_instant(at)} is older than its commit of {format_instant(authored)}",
        )
    newest = max((count.newest_at for count in context.parents if count.newest_at is not None), default=None)
    if newest is not None and at < newest and event.event != "repaired":
        yield (
            "instant-before-set",
            f"event {event.event} at {format_instant(at)} is older than the newest event of its set, at "
            f"{format_instant(newest)}",
        )


def max_skew(policy: Policy | None) -> timedelta:
    """Return how far the clocks of a vault may differ: the largest ``clock_skew`` of its sets."""
    sets = policy.sets.values() if policy else ()
    return max((table.clock_skew for table in sets), default=SKEW_DEFAULT)


def _timing(context: EventContext, set_policy: SetPolicy, derived: DerivedState, event: Event) -> Iterator[Problem]:
    """Yield a problem if *event* is earlier than policy allows, or promises less than policy requires."""
    if event.event in ("activated", "reactivated", "lifetime"):
        expected = int(set_policy.token_lifetime.total_seconds())
        if event.token_lifetime not in (None, expected):
            yield (
                "token-lifetime",
                f"event {event.event} has token_lifetime {event.token_lifetime} s, but policy says {expected} s",
            )
    match event.event:
        case "published":
            if event.url != set_policy.url:
                yield "receipt-url", f"the receipt is for {elided(str(event.url))[:200]}, not for {set_policy.url}"
            if context.created:
                yield "receipt-too-soon", "a receipt in the commit that created the key: no host could serve it yet"
        case "deactivated" if event.keep_until is not None:
            promised = max(derived.lifetime, set_policy.token_lifetime)
            if set_policy.use == "enc":
                least = set_policy.retention
            else:
                least = set_policy.signer_lag + promised + set_policy.clock_skew
            kept = max(event.keep_until - event.at, timedelta(0))
            if kept < least:
                yield (
                    "kept-too-short",
                    f"the key is kept for {format_duration(kept)}, but must be kept for {format_duration(least)}",
                )
        case "withdrawn" if event.forced is None:
            if derived.keep_until is not None and event.at <= derived.keep_until:
                yield (
                    "withdrawn-early",
                    f"the key was withdrawn at {format_instant(event.at)}, but must be kept until "
                    f"{format_instant(derived.keep_until)}",
                )


def _activation(
    context: EventContext, policy: Policy, set_policy: SetPolicy, derived: DerivedState, event: Event
) -> Iterator[Problem]:
    """Yield a problem if a key signs before verifiers can know it; the first key of a set may sign at once."""
    if set_policy.use == "enc" or not any(count.active for count in context.parents):
        return
    if policy.site.confirm == "commit" or set_policy.kty == "oct":
        seen, verb = derived.created_at, "created"
    else:
        seen, verb = derived.receipts.get(set_policy.url), "first seen live"
    alg = context.key.public.alg
    is_new = set_policy.kty != "oct" and not any(alg in count.signing for count in context.parents)
    lead = set_policy.lead(new_algorithm=is_new)
    if seen is None:
        yield "activated-unseen", f"the key was activated, but was never seen at {set_policy.url}"
    elif event.at - seen < lead:
        yield (
            "activated-early",
            f"the key was activated at {format_instant(event.at)}, but {verb} at {format_instant(seen)}: "
            f"{'publication_lead' if lead == set_policy.publication_lead else 'algorithm_lead'} is "
            f"{format_duration(lead)}",
        )


# --- sets -----------------------------------------------------------------------------------------------


def judge_set(name: str, policy: Policy | None, after: SetCount, before: Sequence[SetCount]) -> Iterator[Problem]:
    """Yield the problems of a set that a commit introduced; a problem that a parent has was reported there."""
    if after.active > 1 and not any(count.active > 1 for count in before):
        yield "two-active", f"set {name} has {after.active} active keys"
    if after.next > 1 and not any(count.next > 1 for count in before):
        yield "two-next", f"set {name} has {after.next} next keys"
    if policy is None:
        return
    table = policy.sets.get(name)
    if table is None:
        if after.live and not any(count.orphaned for count in before):
            yield "set-orphaned", f"set {printable(name)} has live keys but no table in keyvault.toml"
    elif not table.closing and not table.external:
        # One parent of a merge may have closed the set and opened it again, still without keys.
        used = [count for count in before if count.newest_at is not None]
        if used and not after.active and all(count.active for count in used):
            yield "active-missing", f"set {name} was left without an active key"
        if used and not after.next and all(count.next for count in used):
            yield "next-missing", f"set {name} was left without a next key"


def judge_algorithm(key: Key, table: SetPolicy | None) -> Iterator[Problem]:
    """Yield a problem if a new key is of another kind than policy asks for; imported keys may be."""
    imported = bool(key.events) and key.events[0].imported
    if table is not None and not imported and not key.fits(table.spec):
        yield "algorithm-differs", f"a key for {key.public.alg} was created, but policy asks for {table.spec}"


# --- policy ---------------------------------------------------------------------------------------------


def judge_policy(olds: Sequence[Policy], new: Policy) -> Iterator[Problem]:
    """
    Yield the members of *new* that are less strict than in each of *olds*, the policies of the parents.

    That is legal, but worth a look. A change that a merge takes over from a parent was reported there.
    """
    if new.site.confirm == "commit" and all(old.site.confirm == "live" for old in olds):
        yield "policy-loosened", 'confirm went from "live" to "commit": activation no longer waits for the live URL'
    if not new.audit.require_signatures and all(old.audit.require_signatures for old in olds):
        yield "policy-loosened", "commits no longer have to be signed"
    if more := set(new.audit.exclude).difference(*(old.audit.exclude for old in olds)):
        yield (
            "policy-loosened",
            f"the audit no longer searches {printable(', '.join(sorted(more)))[:200]} for private keys",
        )
    for name, table in new.sets.items():
        tables = [old.sets[name] for old in olds if name in old.sets]
        lead = min((was.publication_lead for was in tables), default=timedelta(0))
        if table.publication_lead < lead:
            yield (
                "policy-loosened",
                f"publication_lead of {name} went from {format_duration(lead)} to "
                f"{format_duration(table.publication_lead)}",
            )
        old_lead = min((was.lead(new_algorithm=True) for was in tables), default=lead)
        new_lead = table.lead(new_algorithm=True)
        if old_lead > max(lead, new_lead):
            yield (
                "policy-loosened",
                f"algorithm_lead of {name} went from {format_duration(old_lead)} to {format_duration(new_lead)}",
            )
        skew = max((was.clock_skew for was in tables), default=table.clock_skew)
        if table.clock_skew > skew:
            yield (
                "policy-loosened",
                f"clock_skew of {name} went from {format_duration(skew)} to {format_duration(table.clock_skew)}: "
                "instants may be that far from their commits",
            )


def parent_counts(parents: Sequence[ParentView], name: str) -> list[SetCount]:
    """Return the counts of set *name* in each parent."""
    return [parent.sets.get(name, SetCount()) for parent in parents]
