"""
Join two versions of a vault that have a common ancestor.

A record's event list only grows. Events that the sides added are joined in the order of their instants if the lifecycle
allows that order; otherwise the merge is refused. Nothing is dropped: the joined list contains each side's list, in its
order. Does not read or write files, and does not use git.

Source: docs/adr/0028.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace

import msgspec

from keyvault.core.events import Event, fold
from keyvault.core.keys import Envelope, Key, Recipient
from keyvault.core.state import KeySet, VaultState
from keyvault.errors import MergeError, RecordError


def join_keys(base: Key | None, ours: Key, theirs: Key) -> Key:
    """
    Return the record that joins *ours* and *theirs*.

    Args:
        base: The version of the common ancestor; None if each side added the record.
        ours: The record of this side.
        theirs: The record of the other side.

    Raises:
        MergeError: If no legal record contains the changes of both sides.
    """
    if ours == theirs:
        return ours
    if (ours.set, ours.public, ours.format) != (theirs.set, theirs.public, theirs.format):
        raise MergeError(f"key {ours.kid} has another set or public key on the other side", code="key-conflict")
    older = () if base is None else base.events
    for side in (ours, theirs):
        if side.events[: len(older)] != older:
            raise MergeError(f"a recorded event of key {ours.kid} was changed or removed", code="event-changed")
    events = join_events(ours.events, theirs.events)
    try:
        ended = fold(events).state in ("withdrawn", "revoked")
    except RecordError as error:
        raise MergeError(f"both sides changed key {ours.kid}: {error.message}", code="key-conflict") from None
    private = msgspec.UNSET if ended else _join_private(base, ours, theirs)
    return msgspec.structs.replace(ours, events=events, private=private)


def join_events(ours: Sequence[Event], theirs: Sequence[Event]) -> tuple[Event, ...]:
    """Return the events of both sides: the common ones, then those that only one side has, by instant."""
    common = 0
    while common < min(len(ours), len(theirs)) and ours[common] == theirs[common]:
        common += 1
    left, right = list(ours[common:]), list(theirs[common:])
    joined = list(ours[:common])
    while left and right:
        # The result must not depend on the order of the sides.
        first = min(left[0], right[0], key=lambda event: (event.at, msgspec.json.encode(event)))
        joined.append(first)
        for rest in (left, right):
            if rest[0] == first:
                rest.pop(0)
                break
    return (*joined, *left, *right)


def is_join(events: Sequence[Event], sides: Sequence[Sequence[Event]]) -> bool:
    """Whether *events* is the join of the lists *sides*."""
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
    raise MergeError(f"both sides re-sealed key {ours.kid}", code="seal-conflict")


def join_recipients(
    base: Mapping[str, Recipient], ours: Mapping[str, Recipient], theirs: Mapping[str, Recipient]
) -> dict[str, Recipient]:
    """
    Return the recipients after the additions and removals of both sides.

    Raises:
        MergeError: If both sides changed the same recipient, or no recipient is left.
    """
    joined: dict[str, Recipient] = {}
    for kid in sorted({*base, *ours, *theirs}):
        old, left, right = base.get(kid), ours.get(kid), theirs.get(kid)
        if left == right or right == old:
            found = left
        elif left == old:
            found = right
        else:
            raise MergeError(f"both sides changed recipient {kid}", code="recipient-conflict")
        if found is not None:
            joined[kid] = found
    if not joined:
        raise MergeError("no recipient is left", code="recipients-missing")
    return joined


def join_states(base: VaultState, ours: VaultState, theirs: VaultState) -> VaultState:
    """
    Return the vault that joins *ours* and *theirs*; only one of the sides may have changed keyvault.toml.

    Raises:
        MergeError: If a record cannot be joined, or the result would not be a valid vault.
    """
    if ours.policy == theirs.policy or theirs.policy == base.policy:
        policy = ours.policy
    elif ours.policy == base.policy:
        policy = theirs.policy
    else:
        raise MergeError("both sides changed keyvault.toml", code="policy-conflict")
    keys: dict[str, Key] = {}
    for kid in sorted({*base.keys, *ours.keys, *theirs.keys}):
        old, left, right = base.keys.get(kid), ours.keys.get(kid), theirs.keys.get(kid)
        found = join_keys(old, left, right) if left and right else left or right
        if found is None or (old is not None and not (left and right)):
            raise MergeError(f"the record of key {kid} was removed", code="record-removed")
        keys[kid] = found
    recipients = join_recipients(base.recipients, ours.recipients, theirs.recipients)
    joined = replace(ours, policy=policy, keys=keys, recipients=recipients)
    check_joined(joined)
    _check_roles(joined, (ours, theirs))
    _check_seals(joined, (ours, theirs))
    return joined


def _check_seals(joined: VaultState, sides: Sequence[VaultState]) -> None:
    """Refuse a joined record that is sealed differently than on a side, unless that side has other recipients."""
    for kid, key in joined.keys.items():
        having = [side for side in sides if kid in side.keys]
        if any(side.keys[kid] == key for side in having) or not key.sealed:
            continue
        for side in having:
            if side.keys[kid].private != key.private and side.recipients == joined.recipients:
                raise MergeError(f"key {kid} was re-sealed on one side and changed on the other", code="seal-conflict")


def _check_roles(joined: VaultState, sides: Sequence[VaultState]) -> None:
    """Refuse a set that lacks an active or next key although each side has one: a side revoked the other's new key."""
    for name, key_set in joined.sets.items():
        if key_set.policy.closing or key_set.policy.external:
            continue
        versions = [side.all_sets[name] for side in sides if name in side.all_sets and side.all_sets[name].keys]
        for state in ("active", "next"):
            had, has = all(_has(version, state) for version in versions), _has(key_set, state)
            if versions and had and not has:
                article = "an" if state == "active" else "a"
                raise MergeError(f"set {name} would be left without {article} {state} key", code="key-missing")


def _has(key_set: KeySet, state: str) -> bool:
    return any(key.state == state for key in key_set.keys)


def check_joined(state: VaultState) -> None:
    """
    Check the rules that span several files: no set has two active or two next keys, no kids differ only by case.

    Raises:
        MergeError: If the vault contradicts itself.
    """
    folded: dict[str, str] = {}
    for kid in state.keys:
        other = folded.setdefault(kid.casefold(), kid)
        if other != kid:
            raise MergeError(f"the kids {other} and {kid} differ by case alone", code="kid-case")
    try:
        _ = state.sets
    except RecordError as error:
        raise MergeError(error.message, code=error.code) from None
