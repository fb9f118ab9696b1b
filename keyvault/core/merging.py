"""
Join two versions of a vault that both go back to an older one.

A record's event list only grows, so what both sides added is joined in the order of its instants if the lifecycle
allows that order, and refused otherwise. Nothing is dropped: each side's list is found in the joined one, in its order.
Does not read or write files, and knows nothing of git.

Source: docs/adr/0028.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace

import msgspec

from keyvault.core.events import Event, fold
from keyvault.core.keys import Envelope, Key, Recipient
from keyvault.core.state import VaultState
from keyvault.errors import MergeError, RecordError


def join_keys(base: Key | None, ours: Key, theirs: Key) -> Key:
    """
    Return the record that *ours* and *theirs* add up to.

    Args:
        base: The version that both go back to, or None if each side added the record.
        ours: The record of this side.
        theirs: The record of the other side.

    Raises:
        MergeError: If no legal record holds what both sides did.
    """
    if ours == theirs:
        return ours
    if (ours.set, ours.public, ours.format) != (theirs.set, theirs.public, theirs.format):
        raise MergeError(f"key {ours.kid} has another set or public key on the other side")
    older = () if base is None else base.events
    for side in (ours, theirs):
        if side.events[: len(older)] != older:
            raise MergeError(f"an event of key {ours.kid} that was on record was changed or removed")
    events = join_events(ours.events, theirs.events)
    try:
        ended = fold(events).state in ("withdrawn", "revoked")
    except RecordError as error:
        raise MergeError(f"both sides changed key {ours.kid}: {error.message}") from None
    private = msgspec.UNSET if ended else _join_private(base, ours, theirs)
    return msgspec.structs.replace(ours, events=events, private=private)


def join_events(ours: Sequence[Event], theirs: Sequence[Event]) -> tuple[Event, ...]:
    """Return the events of both sides: those that they have in common, then what each added, by instant."""
    common = 0
    while common < min(len(ours), len(theirs)) and ours[common] == theirs[common]:
        common += 1
    left, right = list(ours[common:]), list(theirs[common:])
    joined = list(ours[:common])
    while left and right:
        # The order must not depend on which side is which.
        first = min(left[0], right[0], key=lambda event: (event.at, msgspec.json.encode(event)))
        joined.append(first)
        for rest in (left, right):
            if rest[0] == first:
                rest.pop(0)
                break
    return (*joined, *left, *right)


def is_join(events: Sequence[Event], sides: Sequence[Sequence[Event]]) -> bool:
    """Whether *events* hold the list of each of *sides* in its order, and nothing else."""
    return len(sides) > 1 and tuple(events) == _joined(sides)


def _joined(sides: Sequence[Sequence[Event]]) -> tuple[Event, ...]:
    joined = tuple(sides[0])
    for side in sides[1:]:
        joined = join_events(joined, side)
    return joined


def _join_private(base: Key | None, ours: Key, theirs: Key) -> Envelope | msgspec.UnsetType:
    older = msgspec.UNSET if base is None else base.private
    if ours.private == theirs.private or theirs.private == older:
        return ours.private
    if ours.private == older:
        return theirs.private
    raise MergeError(f"both sides sealed key {ours.kid} again")


def join_recipients(
    base: Mapping[str, Recipient], ours: Mapping[str, Recipient], theirs: Mapping[str, Recipient]
) -> dict[str, Recipient]:
    """
    Return the recipients that both sides leave: what either added, without what either removed.

    Raises:
        MergeError: If both sides gave a recipient another key, or nobody is left.
    """
    joined: dict[str, Recipient] = {}
    for kid in sorted({*base, *ours, *theirs}):
        old, left, right = base.get(kid), ours.get(kid), theirs.get(kid)
        if left == right or right == old:
            found = left
        elif left == old:
            found = right
        else:
            raise MergeError(f"both sides changed recipient {kid}")
        if found is not None:
            joined[kid] = found
    if not joined:
        raise MergeError("no recipient is left")
    return joined


def join_states(base: VaultState, ours: VaultState, theirs: VaultState) -> VaultState:
    """
    Return the vault that *ours* and *theirs* add up to, as a merge makes it; keyvault.toml must be the same on a side.

    Raises:
        MergeError: If a record cannot be joined, or the result would be no vault.
    """
    if ours.policy == theirs.policy or theirs.policy == base.policy:
        policy = ours.policy
    elif ours.policy == base.policy:
        policy = theirs.policy
    else:
        raise MergeError("both sides changed keyvault.toml")
    keys: dict[str, Key] = {}
    for kid in sorted({*base.keys, *ours.keys, *theirs.keys}):
        old, left, right = base.keys.get(kid), ours.keys.get(kid), theirs.keys.get(kid)
        found = join_keys(old, left, right) if left and right else left or right
        if found is None or (old is not None and not (left and right)):
            raise MergeError(f"the record of key {kid} was removed")
        keys[kid] = found
    recipients = join_recipients(base.recipients, ours.recipients, theirs.recipients)
    joined = replace(ours, policy=policy, keys=keys, recipients=recipients)
    check_joined(joined)
    _check_places(joined, (ours, theirs))
    _check_seals(joined, (ours, theirs))
    return joined


def _check_seals(joined: VaultState, sides: Sequence[VaultState]) -> None:
    """Refuse a joined record with a new seal if, seen from a side, nobody was added or removed that explains it."""
    for kid, key in joined.keys.items():
        there = [side for side in sides if kid in side.keys]
        if any(side.keys[kid] == key for side in there) or not key.sealed:
            continue
        for side in there:
            if side.keys[kid].private != key.private and side.recipients == joined.recipients:
                raise MergeError(f"key {kid} was sealed again on one side, and changed on the other")


def _check_places(joined: VaultState, sides: Sequence[VaultState]) -> None:
    """Refuse a set that lacks a key which each side has: one side let a key sign that the other one revoked."""
    for name, key_set in joined.sets.items():
        held = [side.all_sets[name] for side in sides if name in side.all_sets and side.all_sets[name].keys]
        for state in ("active", "next"):
            there = [any(key.state == state for key in each.keys) for each in (*held, key_set)]
            if held and all(there[:-1]) and not there[-1] and not (key_set.policy.closing or key_set.policy.external):
                raise MergeError(f"set {name} would be left without {'an' if state == 'active' else 'a'} {state} key")


def check_joined(state: VaultState) -> None:
    """
    Check what no merge of single files sees: sets with two keys for one place, kids that differ by case alone.

    Raises:
        MergeError: If the vault contradicts itself.
    """
    folded: dict[str, str] = {}
    for kid in state.keys:
        other = folded.setdefault(kid.casefold(), kid)
        if other != kid:
            raise MergeError(f"the kids {other} and {kid} differ by case alone")
    try:
        _ = state.sets
    except RecordError as error:
        raise MergeError(error.message) from None
