"""Warnings of plans: verifiers to restart, verifiers that may not know a key yet, and caches that still contain a key."""

from __future__ import annotations

from datetime import datetime, timedelta
from typing import Any

import pytest

from keyvault.core.outlook import outlook
from keyvault.core.plan import Plan
from keyvault.core.planning import plan_due, plan_revocation, plan_rollback, plan_rotation
from keyvault.core.verifiers import KEEP_ALGORITHMS
from keyvault.errors import GateError
from tests.core.build import (
    DAY,
    HOUR,
    MINUTE,
    SECOND,
    T0,
    activated,
    active_key,
    created,
    deactivated,
    make_key,
    next_key,
    published,
    retiring_key,
    serving,
    set_policy,
    vault,
    withdrawn,
)
from tests.errors import fails

NOW = T0 + 30 * DAY
ENC = "ECDH-ES+A256KW"
KEEPERS = ", ".join(KEEP_ALGORITHMS)
UNKNOWN = "id-token had no active key: verifiers may not know the new active key yet; publish the site at once"


def signs_with(alg: str, since: str) -> str:
    return (
        f"id-token signs with {alg} from now on: {KEEPERS} refuse it unless they were restarted since {since}; "
        "keyvault rollback id-token goes back"
    )


# --- no active key --------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("signed", "seen_at", "more", "warned"),
    [
        pytest.param([activated()], NOW, {}, True, id="seen just now"),
        pytest.param([activated()], None, {}, True, id="never seen"),
        pytest.param([activated()], NOW - DAY, {}, False, id="seen for its lead"),
        pytest.param([activated()], NOW - DAY + SECOND, {}, True, id="a second less"),
        pytest.param([], None, {}, False, id="a set that has not signed yet"),
        pytest.param([activated()], None, {"spec": ENC}, False, id="for encryption"),
        pytest.param([activated()], None, {"spec": "HS256"}, False, id="in no JWK Set"),
        pytest.param([activated()], None, {"spec": "HS256", "at": NOW}, False, id="in no JWK Set, just made"),
        pytest.param([activated()], None, {"spec": ENC, "at": NOW}, False, id="for encryption, just made"),
    ],
)
def test_a_next_key_that_takes_an_empty_place(
    signed: list[object], seen_at: datetime | None, more: dict[str, Any], warned: bool
) -> None:
    """Verifiers of earlier tokens may not know the key; a set that never signed has no verifiers."""
    made = more.get("at", T0)
    more = {name: value for name, value in more.items() if name != "at"}
    former = make_key(created(), *signed, deactivated(T0, T0 + HOUR), withdrawn(T0 + DAY), **more) if signed else None  # type: ignore[arg-type]  # events and a spec
    state = vault([*([former] if former else []), next_key(made, seen_at=seen_at, **more)], set_policy(**more))
    assert plan_due(state, NOW, live=serving(state)).warnings == ((UNKNOWN,) if warned else ())


# --- another algorithm ----------------------------------------------------------------------------------


@pytest.mark.parametrize(("spec", "rendered"), [("ES256", True), (ENC, True), ("HS256", False)])
@pytest.mark.parametrize("longer", [False, True])
def test_the_wait_of_a_next_key_of_another_kind(spec: str, rendered: bool, longer: bool) -> None:
    """Its receipt, if the set is published, and the longer of its leads."""
    old = {"ES256": "RS256", ENC: "RSA-OAEP-256", "HS256": "HS512"}[spec]
    policy = set_policy(spec=spec, algorithm_lead=7 * DAY if longer else None)
    plan = plan_rotation(vault([active_key(spec=old), next_key(spec=old)], policy), ["id-token"], NOW, live={})
    kind = policy.spec
    if spec == ENC:
        assert plan.waiting == (f"id-token: the new {kind} key takes over at the next rotation",)
        return
    receipt = "its own receipt and " if rendered else ""
    lead = "algorithm_lead, 7d" if longer and rendered else "publication_lead"
    assert plan.waiting == (f"id-token: the new {kind} key waits for {receipt}{lead}",)


def test_a_rotation_to_another_algorithm_says_since_when_its_key_is_seen() -> None:
    """Verifiers that restarted since then know it."""
    state = vault([active_key(spec="RS256"), next_key(seen_at=T0 + DAY)])
    plan = plan_rotation(state, ["id-token"], NOW, live=serving(state))
    assert plan.warnings == (signs_with("ES256", "2026-11-24 17:00Z"),)


@pytest.mark.parametrize(("seen_at", "since"), [(T0 + DAY, "2026-11-24 17:00Z"), (None, "the key was published")])
def test_a_revocation_to_another_algorithm_says_who_refuses_it(seen_at: datetime | None, since: str) -> None:
    """The warning is given even if no verifier has seen the key yet."""
    active = active_key(spec="RS256")
    retiring = retiring_key(NOW - DAY, NOW + DAY, spec="RS256")
    state = vault([active, retiring, next_key(seen_at=seen_at)])
    plan = plan_revocation(state, active.kid, NOW, reason="compromised")
    assert plan.warnings[-1] == signs_with("ES256", since)


@pytest.mark.parametrize(
    ("seen_at", "since"),
    [
        (NOW - HOUR, "2026-12-23 16:00Z"),
        (NOW - 7 * DAY + SECOND, "2026-12-16 17:00:01Z"),
        (NOW - 7 * DAY, None),
        (None, "the key was published"),
    ],
)
def test_a_rollback_to_another_algorithm_says_who_refuses_it(seen_at: datetime | None, since: str | None) -> None:
    """Unless its key has been seen for as long as a new algorithm takes."""
    receipts = [] if seen_at is None else [published(seen_at)]
    back = make_key(created(), *receipts, activated(seen_at or T0), deactivated(NOW, NOW + DAY), spec="RS256")
    state = vault([active_key(NOW), next_key(), back], set_policy(algorithm_lead=7 * DAY))
    plan = plan_rollback(state, "id-token", NOW)
    assert plan.warnings == ((signs_with("RS256", since),) if since else ())


def test_a_rollback_to_a_secret_of_another_kind_warns_of_nothing() -> None:
    """No verifier fetches it."""
    back = make_key(created(NOW), activated(NOW), deactivated(NOW, NOW + DAY), spec="HS512")
    state = vault([active_key(NOW, spec="HS256"), next_key(spec="HS256"), back], set_policy(spec="HS256"))
    assert plan_rollback(state, "id-token", NOW).warnings == ()


def test_a_change_of_algorithm_says_who_is_restarted_and_how_long_there_is() -> None:
    """In every set that a rotation names, and by a run of the schedule too."""
    names = ("id-token", "mail")
    policies = [set_policy(name, algorithm_lead=7 * DAY if name == "mail" else None) for name in names]
    keys = [make(spec="RS256", set_name=name) for name in names for make in (active_key, next_key)]
    said = [
        f"{name} changes to ES256: restart {KEEPERS} once the next key is seen live, since they learn algorithms only "
        f"when they start; {how}"
        for name, how in zip(names, ("set algorithm_lead to leave time for it", "algorithm_lead is 7d"), strict=True)
    ]
    state = vault(keys, *policies)
    assert list(plan_rotation(state, names, NOW, live={}).warnings) == said
    assert list(plan_due(state, T0 + DAY, live={}).warnings) == said


def test_the_gate_of_a_new_algorithm_names_its_lead() -> None:
    """The usual lead is over."""
    policy = set_policy(algorithm_lead=7 * DAY)
    state = vault([active_key(spec="RS256"), next_key(seen_at=NOW - 2 * DAY)], policy)
    with fails("rotation-too-early", GateError) as caught:
        plan_rotation(state, ["id-token"], NOW, live=serving(state))
    assert "the first for ES256" in caught.value.message
    assert caught.value.message.endswith("algorithm_lead is 7d")


def test_a_key_of_the_same_algorithm_waits_for_the_usual_lead() -> None:
    """algorithm_lead does not apply to it: neither at the gate, nor for a key that does not exist yet."""
    policy = set_policy(algorithm_lead=7 * DAY)
    state = vault([active_key(), next_key(seen_at=NOW - HOUR)], policy)
    with fails("rotation-too-early", GateError) as caught:
        plan_rotation(state, ["id-token"], NOW, live=serving(state))
    assert caught.value.message.endswith("publication_lead is 24h")
    other = vault([active_key(spec="ES256"), next_key(spec="ES384")], set_policy(spec="ES256", algorithm_lead=7 * DAY))
    assert plan_rotation(other, ["id-token"], NOW, live={}).waiting[0].endswith("its own receipt and publication_lead")
    coming = outlook(vault([active_key()], policy), T0 + 90 * DAY, until=T0 + 365 * DAY)
    assert next(each.at for each in coming if each.event == "activated") == T0 + 91 * DAY


def test_a_new_algorithm_with_a_lead_of_its_own_is_not_active_at_once() -> None:
    """Where the usual lead is nothing and the commit is proof, the algorithm still waits."""
    policy = set_policy(publication_lead=0 * DAY, algorithm_lead=7 * DAY, cryptoperiod=30 * DAY)
    state = vault([active_key(spec="RS256"), next_key(spec="RS256")], policy, confirm="commit")
    assert "activated" not in [
        event.event for change in plan_due(state, NOW, live={}).changes for event in change.events
    ]


# --- clocks ---------------------------------------------------------------------------------------------


@pytest.mark.parametrize("ahead", [10 * MINUTE, 10 * MINUTE + SECOND, DAY])
def test_a_revocation_reckons_with_the_true_time(ahead: timedelta) -> None:
    """Where events lie ahead by more than clocks may differ, caches hold the key from now on, not from then."""
    active = active_key(NOW + ahead)
    state = vault([active, next_key(NOW + ahead, seen_at=NOW + ahead)])
    plan: Plan = plan_revocation(state, active.kid, NOW + SECOND / 2, reason="compromised")
    began = NOW + ahead if ahead == 10 * MINUTE else NOW
    note = plan.changes[0].events[0].note
    assert plan.changes[0].events[0].at == NOW + ahead
    assert f"until {began + DAY:%Y-%m-%d %H:%MZ}" in plan.warnings[0]
    true = "done at 2026-12-23 17:00Z, dated after the newest event"
    assert note == (None if ahead == 10 * MINUTE else true)
    spoken = plan_revocation(state, active.kid, NOW + SECOND / 2, reason="compromised", note="found in a log")
    assert spoken.changes[0].events[0].note == ("found in a log" if ahead == 10 * MINUTE else f"{true}; found in a log")
    back = vault([retiring_key(NOW, NOW + DAY), *state.keys.values()])
    rolled = plan_rollback(back, "id-token", NOW + SECOND / 2).changes[0].events[0]
    assert (rolled.at, rolled.note) == (NOW + ahead, None if ahead == 10 * MINUTE else true)


def test_an_unpublished_set_warns_of_no_cache() -> None:
    """Secrets are in no cache of a JWK Set."""
    for spec, warnings in (("HS256", 0), (ENC, 1)):
        active = active_key(NOW, spec=spec)
        state = vault([active, next_key(NOW, spec=spec)], set_policy(spec=spec))
        plan = plan_revocation(state, active.kid, NOW, reason="compromised")
        assert len(plan.warnings) == warnings


@pytest.mark.parametrize("ahead", [10 * MINUTE, 10 * MINUTE + SECOND])
def test_clocks_may_differ_by_exactly_what_policy_says(ahead: timedelta) -> None:
    """Up to it the newest event is the present; a second more, and the true time is."""
    active = active_key(NOW + ahead)
    plan = plan_revocation(vault([active, next_key(NOW + ahead)]), active.kid, NOW, reason="compromised")
    began = NOW + ahead if ahead == 10 * MINUTE else NOW
    assert f"until {began + DAY:%Y-%m-%d %H:%MZ}" in plan.warnings[0]
    assert (plan.changes[0].events[0].note is None) is (ahead == 10 * MINUTE)
