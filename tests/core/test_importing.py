"""What is planned for keys from elsewhere, and for sets whose private keys live elsewhere."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

import msgspec
import pytest

from keyvault.core.events import Event
from keyvault.core.importing import ROLES, Origin, Role, plan_import
from keyvault.core.outlook import outlook, overdue
from keyvault.core.plan import Amend, Create, Import, Plan
from keyvault.core.planning import plan_due, plan_revocation, plan_rollback, plan_rotation
from keyvault.core.state import VaultState
from keyvault.errors import GateError, KeyVaultError, UsageError
from tests.core.build import (
    DAY,
    HOUR,
    MINUTE,
    T0,
    active_key,
    apply,
    created,
    events_of,
    make_key,
    next_key,
    only_set,
    public_key,
    retiring_key,
    serving,
    set_policy,
    vault,
    withdrawn,
)

NOW = T0 + 10 * DAY
KEPT = HOUR + HOUR + 10 * MINUTE


def held() -> VaultState:
    return vault([active_key(), next_key(seen_at=T0)])


# --- what an imported key becomes -----------------------------------------------------------------------


def test_a_next_key_takes_the_place_of_the_one_that_is_there() -> None:
    """The old one never signed and leaves; the new one waits for its receipt as any does."""
    state, public = held(), public_key()
    plan = plan_import(state, "id-token", [public], NOW, role="next", origin=Origin(note="from Hydra"))

    old = only_set(state).next
    assert old is not None
    left = Event(at=NOW, event="withdrawn", note="an imported key takes its place")
    made = created(NOW, imported=True, note="from Hydra")
    assert plan.changes == (Amend("id-token", old.kid, (left,)), Import("id-token", public, (made,)))
    after = only_set(apply(plan, state, sealed=[public.kid]))
    assert after.next is not None
    assert after.next.kid == public.kid
    with pytest.raises(GateError, match="its next key was not yet seen"):
        plan_rotation(apply(plan, state), ["id-token"], NOW + DAY, live={})


@pytest.mark.parametrize("count", [1, 3])
def test_the_first_of_several_is_active_where_nobody_was(count: int) -> None:
    """A set without keys begins with the one that signed elsewhere; older ones stay published, and a next one is made."""
    publics = [public_key() for _ in range(count)]
    state = vault([])
    plan = plan_import(state, "id-token", publics, NOW, role="active")

    after = only_set(apply(plan, state, sealed=[one.kid for one in publics]))
    assert after.active is not None
    assert after.active.kid == publics[0].kid
    assert after.next is not None
    assert {key.kid for key in after.retiring} == {one.kid for one in publics[1:]}
    assert all(key.life.keep_until == NOW + KEPT for key in after.retiring)


def test_a_new_set_of_foreign_keys_gets_keys_of_its_own() -> None:
    """Old tokens verify there from the first commit on, and somebody signs; an external one waits for its own."""
    plan = plan_import(vault([]), "id-token", [public_key(), public_key()], NOW, role="retiring")
    after = only_set(apply(plan, vault([])))
    assert after.active is not None
    assert after.next is not None
    assert len(after.retiring) == 2
    outside_plan = plan_import(outside(), "id-token", [public_key()], NOW, role="retiring")
    assert events_of(outside_plan) == ["created", "activated", "deactivated"]


def test_an_active_key_in_the_place_of_another_needs_force() -> None:
    """No verifier can know it yet: that is refused, and recorded where somebody insists."""
    state, public = held(), public_key()
    with pytest.raises(GateError, match="none can know it yet") as caught:
        plan_import(state, "id-token", [public], NOW, role="active")
    assert caught.value.hint == 'take it in --as next, or use --force --reason "…"'

    plan = plan_import(state, "id-token", [public], NOW, role="active", forced="the old server is gone")
    after = only_set(apply(plan, state))
    assert after.active is not None
    assert (after.active.kid, after.active.events[-1].forced) == (public.kid, "the old server is gone")
    assert after.next == only_set(state).next
    assert len(after.retiring) == 1


def test_a_retiring_key_is_kept_for_what_was_signed_elsewhere() -> None:
    """Its end follows from policy; more can be asked for, less cannot."""
    for keep, expected in ((timedelta(0), KEPT), (HOUR, KEPT), (7 * DAY, 7 * DAY)):
        state, public = held(), public_key("RS256")
        plan = plan_import(state, "id-token", [public], NOW, role="retiring", keep=keep)
        assert events_of(plan) == ["created", "activated", "deactivated"]
        (key,) = only_set(apply(plan, state)).retiring
        assert key.life.keep_until == NOW + expected
        assert key.public in {one.public for one in only_set(apply(plan, state)).published}
        gone = plan_due(apply(plan, state), NOW + expected + timedelta(seconds=1), live={})
        assert ("withdrawn", key.kid) in {
            (event.event, change.kid) for change in gone.changes if isinstance(change, Amend) for event in change.events
        }


@pytest.mark.parametrize("role", ROLES)
def test_what_cannot_come_in(role: Role) -> None:
    """Each in one sentence, whatever the key is to become."""
    active, gone = active_key(), make_key(created(), withdrawn(T0))
    state = vault([active, next_key(seen_at=T0), gone])
    fresh, same = public_key(), msgspec.structs.replace(active.public, kid="another")
    for message, publics in (
        ("is EC for enc, set id-token is for ES256", [public_key("ECDH-ES+A256KW")]),
        ("is oct for sig, set id-token is for ES256", [public_key("HS256")]),
        (f"the vault already has a key {active.kid}", [public_key(kid=active.kid)]),
        (f"the vault already has a key {gone.kid}", [public_key(kid=gone.kid.swapcase())]),
        (f"key another is in the vault already: it is {active.kid} of id-token", [same]),
        ("stands there twice", [fresh, fresh]),
        ("stands there twice", [fresh, msgspec.structs.replace(fresh, kid="another")]),
    ):
        with pytest.raises(UsageError, match=message):
            plan_import(state, "id-token", publics, NOW, role=role, forced="a test")
    with pytest.raises(UsageError, match="no set 'nope'"):
        plan_import(state, "nope", [public_key()], NOW, role=role)
    closing = vault([active_key()], set_policy(closing=True))
    with pytest.raises(UsageError, match="set id-token is closing"):
        plan_import(closing, "id-token", [public_key()], NOW, role=role)


def test_a_next_key_must_be_one_and_of_the_kind_that_policy_asks_for() -> None:
    """`rotate --due` would take another one away again."""
    with pytest.raises(UsageError, match=r"key .* is ES384 P-384, the next key of id-token must be ES256"):
        plan_import(held(), "id-token", [public_key("ES384")], NOW, role="next")
    with pytest.raises(UsageError, match="a set has only one next key, but 2 are given"):
        plan_import(held(), "id-token", [public_key(), public_key()], NOW, role="next")


# --- sets whose private keys live elsewhere --------------------------------------------------------------


def outside(*keys: Any) -> VaultState:
    return vault(keys, set_policy(external=True))


def test_an_external_set_makes_no_key_and_says_what_is_missing() -> None:
    """Nothing is created; the schedule goes on, and what somebody has to do is said."""
    empty = outside()
    plan = plan_due(empty, NOW, live={})
    assert plan == Plan(waiting=("id-token: there is no key that signs; keyvault key import id-token FILE",))
    assert overdue(empty, NOW) == list(plan.waiting)
    assert outlook(empty, NOW, until=NOW + 365 * DAY) == []

    alone = outside(active_key(T0))
    plan = plan_due(alone, NOW, live={})
    assert plan == Plan(waiting=("id-token: there is no next ES256 key; keyvault key import id-token FILE",))
    with pytest.raises(KeyVaultError, match="lacks an active or a next key") as caught:
        plan_rotation(alone, ["id-token"], NOW, live={})
    assert caught.value.hint == "keyvault key import id-token FILE"


def test_the_outlook_of_an_external_set_ends_with_its_next_key() -> None:
    """What comes after that is for whoever imports the one after it."""
    state = outside(active_key(), next_key(seen_at=T0))
    coming = [(one.at, one.event) for one in outlook(state, NOW, until=T0 + 400 * DAY)]
    due = T0 + 90 * DAY
    assert coming == [(due, "activated"), (due, "deactivated"), (due + KEPT + timedelta(seconds=1), "withdrawn")]


def test_a_missing_next_key_is_an_alarm_when_there_is_just_time_for_its_lead() -> None:
    """Until then nobody is waked up."""
    alone = outside(active_key(T0))
    due = T0 + 90 * DAY
    assert overdue(alone, due - DAY) == []
    assert overdue(alone, due - DAY + timedelta(seconds=1)) == [
        "id-token: there is no next ES256 key; keyvault key import id-token FILE"
    ]


def test_the_life_of_an_external_set() -> None:
    """Import, receipt, rotation, rollback, revocation: as with any set, and no key is made at any step."""
    state = outside()
    steps: list[Plan] = []

    def step(plan: Plan) -> None:
        nonlocal state
        steps.append(plan)
        state = apply(plan, state)

    first, second = public_key(), public_key()
    step(plan_import(state, "id-token", [first], T0, role="active"))
    step(plan_import(state, "id-token", [second], T0 + DAY, role="next"))
    step(plan_due(state, T0 + DAY + HOUR, live=serving(state)))
    assert events_of(steps[-1]) == ["published"]
    step(plan_due(state, T0 + 90 * DAY, live=serving(state)))
    assert events_of(steps[-1]) == ["activated", "deactivated"]
    assert [one.event for one in outlook(state, T0 + 90 * DAY, until=T0 + 300 * DAY)] == ["withdrawn"]
    step(plan_rollback(state, "id-token", T0 + 90 * DAY + MINUTE))
    assert only_set(state).active == state.keys[first.kid]
    step(plan_revocation(state, first.kid, T0 + 91 * DAY, reason="compromised"))
    assert events_of(steps[-1]) == ["revoked"]
    assert steps[-1].warnings[-1] == "id-token has no active key now: keyvault key import id-token FILE"
    third = public_key()
    step(plan_import(state, "id-token", [third], T0 + 91 * DAY + HOUR, role="active"))
    assert only_set(state).active == state.keys[third.kid]
    assert not any(isinstance(change, Create) for plan in steps for change in plan.changes)


def test_a_next_key_of_another_kind_leaves_an_external_set() -> None:
    """As in any set; the one of the new kind is asked for."""
    state = vault([active_key(), next_key(seen_at=T0)], set_policy(spec="ES384", external=True))
    for plan in (plan_due(state, NOW, live={}), plan_rotation(state, ["id-token"], NOW, live={})):
        assert events_of(plan) == ["withdrawn"]
        assert plan.waiting == ("id-token: there is no next ES384 key; keyvault key import id-token FILE",)


def test_revoking_the_next_key_of_an_external_set() -> None:
    """It leaves, and nothing is made in its place."""
    state = outside(active_key(), next_key(seen_at=T0))
    candidate = only_set(state).next
    assert candidate is not None
    assert events_of(plan_revocation(state, candidate.kid, NOW, reason="superseded")) == ["revoked"]


def test_revoking_the_active_key_of_an_external_set_warns_of_the_new_one() -> None:
    """The next key signs before verifiers can know it, as in any set; nobody is told to import another."""
    state = outside(active_key(), next_key(seen_at=NOW))
    active = only_set(state).active
    assert active is not None
    plan = plan_revocation(state, active.kid, NOW, reason="compromised")
    assert "the new active key is not known everywhere" in plan.warnings[-1]


def test_a_set_of_keys_in_the_vault_rolls_back_to_sealed_ones_alone() -> None:
    """A key that came in by its public half cannot sign here."""
    state = held()
    plan = plan_import(state, "id-token", [public_key()], NOW, role="retiring")
    with pytest.raises(KeyVaultError, match="no previous key that is still published and sealed"):
        plan_rollback(apply(plan, state), "id-token", NOW + MINUTE)
    kept = apply(plan, state, sealed=[change.kid for change in plan.changes if isinstance(change, Import)])
    assert events_of(plan_rollback(kept, "id-token", NOW + MINUTE)) == ["reactivated", "deactivated"]


def test_retiring_keys_of_before_are_left_alone() -> None:
    """An import touches no key but those that it names."""
    old = retiring_key(T0, NOW + DAY)
    state = vault([active_key(), next_key(seen_at=T0), old])
    plan = plan_import(state, "id-token", [public_key()], NOW, role="next")
    assert old.kid not in {change.kid for change in plan.changes if isinstance(change, Amend)}
