"""Requested rotations: the gate, its messages, and all sets or none."""

from __future__ import annotations

from datetime import timedelta

import pytest

from keyvault.core.events import Event
from keyvault.core.gate import LiveSite
from keyvault.core.plan import Amend, Create, Plan
from keyvault.core.planning import plan_rotation
from keyvault.core.state import VaultState
from keyvault.errors import GateError, UsageError
from tests.core.build import (
    DAY,
    HOUR,
    MINUTE,
    SECOND,
    T0,
    URL,
    active_key,
    apply,
    created,
    events_of,
    next_key,
    only_set,
    retiring_key,
    serving,
    set_policy,
    vault,
)
from tests.errors import fails

LEAD = 24 * HOUR
NAMES = ["id-token"]
OR_FORCE = ', or use --force --reason "…"; if the active key has leaked: keyvault revoke KID --reason compromised'


def ready(**more: object) -> VaultState:
    """Return a vault whose next key was seen at T0."""
    return vault([active_key(), next_key(seen_at=T0)], set_policy(**more))  # type: ignore[arg-type]  # members of a policy


def refusal(state: VaultState, now: timedelta, live: LiveSite) -> tuple[str, str | None]:
    """Return the reason and the hint of the gate."""
    with fails("rotation-too-early", GateError) as caught:
        plan_rotation(state, NAMES, T0 + now, live=live)
    return caught.value.message.partition("verifiers: ")[2], caught.value.hint


def test_a_rotation_is_one_commit() -> None:
    """next → active, active → retiring, and a fresh next."""
    state, at = ready(), T0 + 30 * DAY
    key_set = only_set(state)
    assert key_set.active
    assert key_set.next
    kept = at + HOUR + HOUR + 10 * MINUTE
    expected = Plan(
        (
            Amend("id-token", key_set.next.kid, (Event(at=at, event="activated", token_lifetime=3_600),)),
            Amend("id-token", key_set.active.kid, (Event(at=at, event="deactivated", keep_until=kept),)),
            Create("id-token", key_set.policy.spec, (created(at),)),
        )
    )
    assert expected == plan_rotation(state, NAMES, at, live=serving(state))


# --- the gate -------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("after", "passes"), [(-SECOND, False), (0 * SECOND, True), (SECOND, True)])
def test_the_gate_opens_when_the_lead_is_over(after: timedelta, passes: bool) -> None:
    """Not a second earlier; the hint names the instant."""
    state = ready()
    if passes:
        assert plan_rotation(state, NAMES, T0 + LEAD + after, live=serving(state))
    else:
        assert refusal(state, LEAD + after, serving(state)) == (
            "its next key was first seen live 23 hours ago; publication_lead is 24h",
            "wait until 2026-11-24 17:00Z" + OR_FORCE,
        )


def test_the_gate_is_closed_without_a_receipt() -> None:
    """A commit is no proof: the site must be published and fetched."""
    assert refusal(vault([active_key(), next_key()]), 365 * DAY, {}) == (
        f"its next key was not yet seen at {URL}",
        "publish the site, then record the receipt: keyvault rotate --due" + OR_FORCE,
    )


def test_the_gate_names_the_commit_where_that_counts() -> None:
    """With confirm = "commit", the message gives the age of the key."""
    state = vault([active_key(), next_key()], confirm="commit")
    assert refusal(state, HOUR, {}) == (
        "its next key was created 1 hour ago; publication_lead is 24h",
        "wait until 2026-11-24 17:00Z" + OR_FORCE,
    )


def test_the_gate_of_a_symmetric_set_counts_from_the_creation() -> None:
    """There is no URL to fetch; verifiers get the key by hand, which takes time."""
    state = vault([active_key(spec="HS256"), next_key(spec="HS256")], set_policy(spec="HS256"))
    assert refusal(state, HOUR, {})[0] == "its next key was created 1 hour ago; publication_lead is 24h"
    assert plan_rotation(state, NAMES, T0 + LEAD, live={})


@pytest.mark.parametrize(
    ("live", "verb", "reason", "hint"),
    [
        ({}, "might", f"{URL} could not be fetched to check that it still serves the next key", "try again later"),
        (
            {URL: None},
            "might",
            f"{URL} could not be fetched to check that it still serves the next key",
            "try again later",
        ),
        ({URL: set()}, "would", f"{URL} no longer serves the next key", "publish the site again, then rotate"),
    ],
)
def test_the_gate_looks_once_more(live: LiveSite, verb: str, reason: str, hint: str) -> None:
    """A receipt can go stale: the rotation fetches the URL again. If that fails, the message says "might"."""
    with fails("rotation-too-early", GateError) as caught:
        plan_rotation(ready(), NAMES, T0 + LEAD, live=live)
    assert caught.value.message == f"rotating id-token now {verb} break verifiers: {reason}"
    assert caught.value.hint == hint + OR_FORCE


def test_encryption_keys_pass_the_gate_at_once() -> None:
    """Senders that still use the old key are served by its retention."""
    spec = "ECDH-ES+A256KW"
    state = vault([active_key(spec=spec), next_key(spec=spec)], set_policy(spec=spec))
    assert events_of(plan_rotation(state, NAMES, T0, live={})) == ["activated", "deactivated", "created"]


def test_force_goes_past_the_gate_and_says_why() -> None:
    """The event contains the reason permanently."""
    state = vault([active_key(), next_key()])
    plan = plan_rotation(state, NAMES, T0 + HOUR, live={}, forced="the key has leaked")
    assert plan.changes[0].events == (
        Event(at=T0 + HOUR, event="activated", token_lifetime=3_600, forced="the key has leaked"),
    )


def test_force_leaves_no_trace_where_the_gate_is_open() -> None:
    """An audit shows only events that bypassed a gate."""
    state = ready()
    plan = plan_rotation(state, NAMES, T0 + LEAD, live=serving(state), forced="to be sure")
    assert plan.changes[0].events[0].forced is None


# --- refused rotations ----------------------------------------------------------------------------------


def test_a_closing_set_is_not_rotated() -> None:
    """It is a mistake to ask for it."""
    with fails("set-closing", UsageError):
        plan_rotation(ready(closing=True), NAMES, T0 + LEAD, live={})


def test_an_unknown_set_is_not_rotated() -> None:
    """The nearest name is suggested."""
    with fails("set-unknown", UsageError) as caught:
        plan_rotation(ready(), ["id-tokne"], T0 + LEAD, live={})
    assert "'id-tokne'" in caught.value.message


@pytest.mark.parametrize("state", [vault(), vault([active_key()]), vault([next_key()])])
def test_a_set_that_lacks_a_key_is_not_rotated(state: VaultState) -> None:
    """The scheduled job creates missing keys."""
    with fails("key-missing") as caught:
        plan_rotation(state, NAMES, T0 + LEAD, live={})
    assert caught.value.hint == "keyvault rotate --due creates missing keys"


def test_another_algorithm_is_prepared_and_not_yet_used() -> None:
    """A next key of the old kind is replaced; the new one waits for its own receipt and lead."""
    keys = [active_key(spec="RS256"), next_key(spec="RS256", seen_at=T0)]
    state = vault(keys, set_policy(spec="EdDSA"))
    plan = plan_rotation(state, NAMES, T0 + LEAD, live={})
    assert events_of(plan) == ["withdrawn", "created"]
    assert plan.waiting == ("id-token: the new EdDSA Ed25519 key waits for its own receipt and publication_lead",)
    after = apply(plan, state)
    assert [key.public.alg for key in only_set(after).jwk_set] == ["RS256", "EdDSA"]


# --- several sets ---------------------------------------------------------------------------------------


def test_a_change_of_algorithm_stops_no_other_set() -> None:
    """The same plan contains the changes of the sets before and after it."""
    keys = [key for name in "abc" for key in (active_key(set_name=name), next_key(set_name=name, seen_at=T0))]
    state = vault(keys, set_policy("a"), set_policy("b", spec="EdDSA"), set_policy("c"))
    plan = plan_rotation(state, "abc", T0 + LEAD, live=serving(state))
    assert [change.set for change in plan.changes] == [*"aaabbccc"]


def four_sets() -> VaultState:
    """Return a vault in which only set `a` may be rotated."""
    keys = [
        make(T0, set_name=name, **({"seen_at": seen} if make is next_key else {}))
        for name, seen in (("a", T0), ("b", T0 + HOUR), ("c", None), ("d", None))
        for make in (active_key, next_key)
    ]
    return vault(keys, *(set_policy(name) for name in "abcd"))


@pytest.mark.parametrize(
    ("names", "others"), [("ab", ""), ("abc", " (also waiting: c)"), ("abcd", " (also waiting: c, d)")]
)
def test_all_sets_or_none(names: str, others: str) -> None:
    """One refusal refuses all; the message names the first, and the others."""
    state = four_sets()
    with fails("rotation-too-early", GateError) as caught:
        plan_rotation(state, names, T0 + LEAD, live=serving(state))
    assert caught.value.message == (
        "rotating b now would break verifiers: its next key was first seen live 23 hours ago; "
        f"publication_lead is 24h{others}"
    )
    assert caught.value.exit_code == 3


def test_force_marks_only_the_sets_that_needed_it() -> None:
    """In one commit, with a reason where a gate was passed."""
    state = four_sets()
    plan = plan_rotation(state, ["a", "b", "c"], T0 + LEAD, live=serving(state), forced="leak")
    forced = {change.set: change.events[0].forced for change in plan.changes if change.events[0].event == "activated"}
    assert forced == {"a": None, "b": "leak", "c": "leak"}


def test_a_set_that_is_named_twice_is_rotated_once() -> None:
    """Names are a set of names."""
    state = ready()
    once = plan_rotation(state, NAMES, T0 + LEAD, live=serving(state))
    assert once == plan_rotation(state, NAMES * 2, T0 + LEAD, live=serving(state))


def test_retiring_keys_do_not_mind_a_rotation() -> None:
    """Each keeps the instant that it was promised."""
    former = retiring_key(T0, T0 + 90 * DAY)
    state = vault([active_key(), next_key(seen_at=T0), former])
    after = apply(plan_rotation(state, NAMES, T0 + LEAD, live=serving(state)), state)
    assert after.keys[former.kid] == former
    assert len(only_set(after).jwk_set) == 4
