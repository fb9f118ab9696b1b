"""Two versions of a vault with a common ancestor: joined if a legal record holds both, otherwise refused."""

from __future__ import annotations

from dataclasses import replace

import msgspec

from keyvault.core.events import Event
from keyvault.core.keys import Key, Recipient
from keyvault.core.merging import is_join, join_events, join_keys, join_recipients, join_states
from keyvault.core.policy import Policy
from keyvault.errors import MergeError
from tests.core.build import (
    DAY,
    HOUR,
    SEALED,
    T0,
    activated,
    active_key,
    created,
    next_key,
    public_key,
    published,
    revoked,
    set_policy,
    vault,
    with_policy,
)
from tests.errors import fails


def add(key: Key, *events: Event) -> Key:
    return msgspec.structs.replace(key, events=(*key.events, *events))


def seal(key: Key, tag: str) -> Key:
    """Return *key* sealed anew; each seal has a tag of its own."""
    return msgspec.structs.replace(key, private=msgspec.structs.replace(SEALED, tag=tag))


def recipient(kid: str) -> Recipient:
    key = public_key("ES256")
    return Recipient(kty=key.kty, kid=kid, use="enc", alg="ECDH-ES+A256KW", crv=key.crv, x=key.x, y=key.y)


# --- records --------------------------------------------------------------------------------------------


def test_events_of_both_sides_are_joined_in_order() -> None:
    """A receipt of one side and the activation of the other: the order of the sides does not change the result."""
    base = next_key()
    ours = add(base, published(T0 + HOUR))
    theirs = add(base, published(T0 + 2 * HOUR), activated(T0 + DAY))
    joined = join_keys(base, ours, theirs)
    assert [(event.event, event.at - T0) for event in joined.events[1:]] == [
        ("published", HOUR), ("published", 2 * HOUR), ("activated", DAY),
    ]  # fmt: skip
    assert joined == join_keys(base, theirs, ours)


def test_a_record_that_only_one_side_changed_is_that_of_this_side() -> None:
    """Whichever side it is."""
    base = next_key()
    changed = add(seal(base, "BB"), activated(T0 + HOUR))
    assert join_keys(base, changed, base) == join_keys(base, base, changed) == changed
    assert join_keys(base, changed, changed) == changed


def test_a_revocation_wins_over_what_was_sealed() -> None:
    """An ended key has no private half, whatever the other side did with it."""
    base = active_key()
    joined = join_keys(base, add(base, revoked(T0 + DAY)), seal(base, "BB"))
    assert (joined.state, joined.sealed) == ("revoked", False)


def test_a_new_seal_of_one_side_joins_with_an_event_of_the_other() -> None:
    """`reseal` on one branch, a rotation on the other."""
    base = next_key()
    ours, theirs = seal(base, "BB"), add(base, activated(T0 + HOUR))
    joined = join_keys(base, ours, theirs)
    assert (joined.private, joined.events) == (ours.private, theirs.events)
    assert joined == join_keys(base, theirs, ours)


def test_conflicts_name_their_reason() -> None:
    """Two activations, another public key, a shortened list, two seals."""
    base = next_key()
    with fails("key-conflict", MergeError):
        join_keys(base, add(base, activated(T0)), add(base, activated(T0 + HOUR)))
    with fails("key-conflict", MergeError):
        join_keys(None, base, next_key())
    with fails("event-changed", MergeError):
        join_keys(add(base, published()), base, add(base, published(), activated(T0 + HOUR)))
    with fails("seal-conflict", MergeError):
        join_keys(base, seal(base, "BB"), seal(base, "CC"))


def test_events_that_are_alike_stand_once() -> None:
    """Two rotations of one second write the same event."""
    events = (created(), published())
    assert join_events((*events, activated(T0 + DAY)), (*events, activated(T0 + DAY))) == (*events, activated(T0 + DAY))


def test_a_list_is_known_as_a_join_of_its_sides() -> None:
    """A list is not the merge if it lacks an event of a side, has another one, or is that of a single side."""
    ours, theirs = (created(), published(T0 + HOUR)), (created(), activated(T0 + DAY))
    joined = join_events(ours, theirs)
    assert is_join(joined, [ours, theirs])
    assert not is_join(joined[:-1], [ours, theirs])
    assert not is_join((*joined, revoked(T0 + 2 * DAY)), [ours, theirs])
    assert not is_join(ours, [ours])


# --- recipients -----------------------------------------------------------------------------------------


def test_recipients_of_both_sides() -> None:
    """Additions and removals of both sides apply; a recipient with two keys is refused, and an empty list too."""
    ada, bea, cyd = (recipient(kid) for kid in ("ada", "bea", "cyd"))
    known = {ada.kid: ada, bea.kid: bea}
    assert join_recipients(known, {**known, cyd.kid: cyd}, {ada.kid: ada}) == {ada.kid: ada, cyd.kid: cyd}
    assert join_recipients(known, {ada.kid: ada}, {**known, cyd.kid: cyd}) == {ada.kid: ada, cyd.kid: cyd}
    other = recipient("ada")
    with fails("recipient-conflict", MergeError):
        join_recipients({}, {ada.kid: ada}, {ada.kid: other})
    with fails("recipients-missing", MergeError):
        join_recipients(known, {bea.kid: bea}, {ada.kid: ada})


# --- vaults ---------------------------------------------------------------------------------------------

OPS = {"ops": recipient("ops")}


def test_rotations_of_two_sets_join() -> None:
    """Each side created a key; a table that one side edited is taken from that side."""
    policies = set_policy("id-token"), set_policy("access-token")
    base = replace(vault([active_key(), active_key(set_name="access-token")], *policies), recipients=OPS)
    ours, theirs = next_key(), next_key(set_name="access-token")
    one = replace(base, keys={**base.keys, ours.kid: ours})
    longer = replace(with_policy(base, set_policy("access-token", token_lifetime=2 * HOUR)), recipients=OPS)
    other = replace(longer, keys={**base.keys, theirs.kid: theirs})
    for joined in (join_states(base, one, other), join_states(base, other, one)):
        assert joined.keys == {**base.keys, ours.kid: ours, theirs.kid: theirs}
        assert joined.policy == other.policy


def test_conflicting_vaults() -> None:
    """A record that a side removed, two edits of keyvault.toml, two next keys, two kids of one file."""
    base = replace(vault([active_key()]), recipients=OPS)
    kid = next(iter(base.keys))
    less = replace(base, keys={})
    with fails("record-removed", MergeError) as caught:
        join_states(base, base, less)
    assert kid in caught.value.message

    edits = [
        replace(base, policy=Policy(base.policy.site, {"id-token": set_policy(token_lifetime=n * HOUR)}))
        for n in (2, 3)
    ]
    with fails("policy-conflict", MergeError):
        join_states(base, *edits)

    ours, theirs = (replace(base, keys={**base.keys, key.kid: key}) for key in (next_key(), next_key()))
    with fails("two-next", MergeError):
        join_states(base, ours, theirs)

    upper, lower = (replace(base, keys={**base.keys, kid: next_key(kid=kid)}) for kid in ("Ops", "ops"))
    with fails("kid-case", MergeError) as caught:
        join_states(base, upper, lower)
    assert "Ops and ops" in caught.value.message


def test_a_set_that_would_be_left_without_a_key() -> None:
    """One side let the next key sign after a revocation, the other side revoked that key: no key would sign."""
    active, candidate, fresh = active_key(), next_key(), next_key()
    base = replace(vault([active, candidate]), recipients=OPS)
    ours = replace(
        base,
        keys={
            active.kid: msgspec.structs.replace(add(active, revoked(T0 + HOUR)), private=msgspec.UNSET),
            candidate.kid: add(candidate, activated(T0 + HOUR)),
        },
    )
    gone = msgspec.structs.replace(add(candidate, revoked(T0 + DAY)), private=msgspec.UNSET)
    theirs = replace(base, keys={active.kid: active, candidate.kid: gone, fresh.kid: fresh})
    with fails("key-missing", MergeError):
        join_states(base, ours, theirs)
