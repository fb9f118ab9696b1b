"""Plans for imported keys, and for sets whose private keys are kept elsewhere."""

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
from tests.errors import fails

NOW = T0 + 10 * DAY
KEPT = HOUR + HOUR + 10 * MINUTE


def held() -> VaultState:
    return vault([active_key(), next_key(seen_at=T0)])


# --- the state of an imported key -----------------------------------------------------------------------


def test_an_imported_next_key_replaces_the_present_next_key() -> None:
    """The old key never signed and is withdrawn; the new key waits for its receipt like any next key."""
    state, public = held(), public_key()
    plan = plan_import(state, "id-token", [public], NOW, role="next", origin=Origin(note="from Hydra"))

    old = only_set(state).next
    assert old is not None
    replaced = Event(at=NOW, event="withdrawn", note="an imported key takes its place")
    added = created(NOW, imported=True, note="from Hydra")
    assert plan.changes == (Amend("id-token", old.kid, (replaced,)), Import("id-token", public, (added,)))
    after = only_set(apply(plan, state, sealed=[public.kid]))
    assert after.next is not None
    assert after.next.kid == public.kid
    with fails("rotation-too-early", GateError) as caught:
        plan_rotation(apply(plan, state), ["id-token"], NOW + DAY, live={})
    assert "next key was not yet seen" in caught.value.message


@pytest.mark.parametrize("count", [1, 3])
def test_the_first_of_several_keys_is_active_in_a_new_set(count: int) -> None:
    """The key that signed elsewhere is active, older keys stay published, and the plan generates a next key."""
    publics = [public_key() for _ in range(count)]
    state = vault([])
    plan = plan_import(state, "id-token", publics, NOW, role="active")

    after = only_set(apply(plan, state, sealed=[public.kid for public in publics]))
    assert after.active is not None
    assert after.active.kid == publics[0].kid
    assert after.next is not None
    assert {key.kid for key in after.retiring} == {public.kid for public in publics[1:]}
    assert all(key.life.keep_until == NOW + KEPT for key in after.retiring)


def test_a_new_set_of_retiring_keys_gets_generated_keys() -> None:
    """Old tokens verify from the first commit on, and a generated key signs; an external set waits for its keys."""
    plan = plan_import(vault([]), "id-token", [public_key(), public_key()], NOW, role="retiring")
    after = only_set(apply(plan, vault([])))
    assert after.active is not None
    assert after.next is not None
    assert len(after.retiring) == 2
    outside_plan = plan_import(outside(), "id-token", [public_key()], NOW, role="retiring")
    assert events_of(outside_plan) == ["created", "activated", "deactivated"]


def test_replacing_an_active_key_needs_force() -> None:
    """No verifier knows the new key yet, so the gate refuses it; the record has the reason of an override."""
    state, public = held(), public_key()
    with fails("key-unseen", GateError) as caught:
        plan_import(state, "id-token", [public], NOW, role="active")
    assert public.kid[:8] in caught.value.message
    assert caught.value.hint == 'import it --as next, or use --force --reason "…"'

    plan = plan_import(state, "id-token", [public], NOW, role="active", forced="the old server is gone")
    after = only_set(apply(plan, state))
    assert after.active is not None
    assert (after.active.kid, after.active.events[-1].forced) == (public.kid, "the old server is gone")
    assert after.next == only_set(state).next
    assert len(after.retiring) == 1


def test_a_retiring_key_is_kept_for_tokens_signed_elsewhere() -> None:
    """Policy sets its end; an import may request a later end but not an earlier one."""
    for keep, expected in ((timedelta(0), KEPT), (HOUR, KEPT), (7 * DAY, 7 * DAY)):
        state, public = held(), public_key("RS256")
        plan = plan_import(state, "id-token", [public], NOW, role="retiring", keep=keep)
        assert events_of(plan) == ["created", "activated", "deactivated"]
        (key,) = only_set(apply(plan, state)).retiring
        assert key.life.keep_until == NOW + expected
        assert key.public in {published.public for published in only_set(apply(plan, state)).jwk_set}
        gone = plan_due(apply(plan, state), NOW + expected + timedelta(seconds=1), live={})
        assert ("withdrawn", key.kid) in {
            (event.event, change.kid) for change in gone.changes if isinstance(change, Amend) for event in change.events
        }


@pytest.mark.parametrize("role", ROLES)
def test_keys_that_cannot_be_imported(role: Role) -> None:
    """Each is refused in every role, and the message names the key."""
    active, gone = active_key(), make_key(created(), withdrawn(T0))
    state = vault([active, next_key(seen_at=T0), gone])
    fresh, same = public_key(), msgspec.structs.replace(active.public, kid="another")
    for code, named, publics in (
        ("key-set-mismatch", "is EC for enc, set id-token is for ES256", [public_key("ECDH-ES+A256KW")]),
        ("key-set-mismatch", "is oct for sig, set id-token is for ES256", [public_key("HS256")]),
        ("kid-reused", active.kid, [public_key(kid=active.kid)]),
        ("kid-reused", gone.kid, [public_key(kid=gone.kid.swapcase())]),
        ("key-reused", f"key another: it is {active.kid} of id-token", [same]),
        ("kid-case", "old and OLD", [public_key(kid="old"), public_key(kid="OLD")]),
        ("key-repeated", "", [fresh, fresh]),
        ("key-repeated", "", [fresh, msgspec.structs.replace(fresh, kid="another")]),
    ):
        with fails(code, UsageError) as caught:
            plan_import(state, "id-token", publics, NOW, role=role, forced="a test")
        assert named in caught.value.message
    with fails("set-unknown", UsageError) as caught:
        plan_import(state, "nope", [public_key()], NOW, role=role)
    assert "'nope'" in caught.value.message
    closing = vault([active_key()], set_policy(closing=True))
    with fails("set-closing", UsageError) as caught:
        plan_import(closing, "id-token", [public_key()], NOW, role=role)
    assert "id-token" in caught.value.message


def test_a_next_key_must_fit_the_policy() -> None:
    """`rotate --due` would withdraw another key; a set has one next key, and only beside an active key."""
    with fails("next-key-mismatch", UsageError) as caught:
        plan_import(held(), "id-token", [public_key("ES384")], NOW, role="next")
    assert "is ES384 P-384, the next key of id-token must be ES256" in caught.value.message
    with fails("next-key-ambiguous", UsageError) as caught:
        plan_import(held(), "id-token", [public_key(), public_key()], NOW, role="next")
    assert " 2 " in caught.value.message
    with fails("active-key-missing", UsageError):
        plan_import(vault([]), "id-token", [public_key()], NOW, role="next")


# --- sets whose private keys are kept elsewhere ----------------------------------------------------------


def outside(*keys: Any) -> VaultState:
    return vault(keys, set_policy(external=True))


def test_an_external_set_generates_no_key_and_reports_the_missing_key() -> None:
    """The plan has no changes, and names the command that imports the missing key."""
    empty = outside()
    plan = plan_due(empty, NOW, live={})
    assert plan == Plan(waiting=("id-token: there is no active key; keyvault key import id-token FILE",))
    assert overdue(empty, NOW) == list(plan.waiting)
    assert outlook(empty, NOW, until=NOW + 365 * DAY) == []

    alone = outside(active_key(T0))
    plan = plan_due(alone, NOW, live={})
    assert plan == Plan(waiting=("id-token: there is no next ES256 key; keyvault key import id-token FILE",))
    with fails("key-missing", KeyVaultError) as caught:
        plan_rotation(alone, ["id-token"], NOW, live={})
    assert caught.value.hint == "keyvault key import id-token FILE"


def test_the_outlook_of_an_external_set_ends_with_its_next_key() -> None:
    """The later events depend on the import of another key."""
    state = outside(active_key(), next_key(seen_at=T0))
    coming = [(transition.at, transition.event) for transition in outlook(state, NOW, until=T0 + 400 * DAY)]
    due = T0 + 90 * DAY
    assert coming == [(due, "activated"), (due, "deactivated"), (due + KEPT + timedelta(seconds=1), "withdrawn")]


def test_a_missing_next_key_is_overdue_when_its_lead_must_begin() -> None:
    """Until then there is no alarm."""
    alone = outside(active_key(T0))
    due = T0 + 90 * DAY
    assert overdue(alone, due - DAY) == []
    assert overdue(alone, due - DAY + timedelta(seconds=1)) == [
        "id-token: there is no next ES256 key; keyvault key import id-token FILE"
    ]


def test_the_life_of_an_external_set() -> None:
    """Import, receipt, rotation, rollback and revocation work as in any set, and no step generates a key."""
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
    assert [transition.event for transition in outlook(state, T0 + 90 * DAY, until=T0 + 300 * DAY)] == ["withdrawn"]
    step(plan_rollback(state, "id-token", T0 + 90 * DAY + MINUTE))
    assert only_set(state).active == state.keys[first.kid]
    step(plan_revocation(state, first.kid, T0 + 91 * DAY, reason="compromised"))
    assert events_of(steps[-1]) == ["revoked"]
    assert steps[-1].warnings[-1] == "id-token has no active key now; keyvault key import id-token FILE"
    third = public_key()
    step(plan_import(state, "id-token", [third], T0 + 91 * DAY + HOUR, role="active"))
    assert only_set(state).active == state.keys[third.kid]
    assert not any(isinstance(change, Create) for plan in steps for change in plan.changes)


def test_a_next_key_of_the_old_algorithm_leaves_an_external_set() -> None:
    """It is withdrawn as in any set, and the plan asks for a key of the new algorithm."""
    state = vault([active_key(), next_key(seen_at=T0)], set_policy(spec="ES384", external=True))
    for plan in (plan_due(state, NOW, live={}), plan_rotation(state, ["id-token"], NOW, live={})):
        assert events_of(plan) == ["withdrawn"]
        assert plan.waiting == ("id-token: there is no next ES384 key; keyvault key import id-token FILE",)


def test_revoking_the_next_key_of_an_external_set() -> None:
    """The key leaves, and no key is generated in its place."""
    state = outside(active_key(), next_key(seen_at=T0))
    candidate = only_set(state).next
    assert candidate is not None
    assert events_of(plan_revocation(state, candidate.kid, NOW, reason="superseded")) == ["revoked"]


def test_revoking_the_active_key_of_an_external_set_warns_of_the_new_one() -> None:
    """The next key signs before all verifiers know it, as in any set; the plan does not ask for another import."""
    state = outside(active_key(), next_key(seen_at=NOW))
    active = only_set(state).active
    assert active is not None
    plan = plan_revocation(state, active.kid, NOW, reason="compromised")
    assert "verifiers may not know the new active key" in plan.warnings[-1]


def test_a_rollback_needs_a_sealed_key() -> None:
    """A key of which only the public half was imported cannot sign."""
    state = held()
    plan = plan_import(state, "id-token", [public_key()], NOW, role="retiring")
    with fails("previous-key-missing", KeyVaultError):
        plan_rollback(apply(plan, state), "id-token", NOW + MINUTE)
    kept = apply(plan, state, sealed=[change.kid for change in plan.changes if isinstance(change, Import)])
    assert events_of(plan_rollback(kept, "id-token", NOW + MINUTE)) == ["reactivated", "deactivated"]


def test_an_import_does_not_change_retiring_keys() -> None:
    """An import changes no keys other than those that it replaces."""
    old = retiring_key(T0, NOW + DAY)
    state = vault([active_key(), next_key(seen_at=T0), old])
    plan = plan_import(state, "id-token", [public_key()], NOW, role="next")
    assert old.kid not in {change.kid for change in plan.changes if isinstance(change, Amend)}
