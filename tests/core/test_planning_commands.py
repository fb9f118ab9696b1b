"""Revocation, rollback, closing and replacement."""

from __future__ import annotations

from datetime import datetime, timedelta
from typing import Any

import pytest

from keyvault.core.events import Event
from keyvault.core.keys import Key
from keyvault.core.plan import Amend, Create, Plan
from keyvault.core.planning import plan_closing, plan_due, plan_replacement, plan_revocation, plan_rollback
from keyvault.errors import UsageError
from tests.core.build import (
    DAY,
    HOUR,
    MINUTE,
    SECOND,
    T0,
    activated,
    active_key,
    apply,
    created,
    deactivated,
    events_of,
    make_key,
    next_key,
    only_set,
    public_key,
    published,
    retiring_key,
    revoked,
    serving,
    set_policy,
    vault,
    withdrawn,
)
from tests.errors import fails

LEAD = 24 * HOUR
NOW = T0 + 10 * DAY
ENC, OCT = "ECDH-ES+A256KW", "HS256"
#: 24 hours after NOW, as the output says it.
TOMORROW = "2026-12-04 17:00Z, in 1 day"
CACHES = f"caches may accept the revoked key until {TOMORROW}; restart verifiers that you own"


def revoke(key: Key, *others: Key, now: datetime = NOW, policy: Any = None, **site: str) -> Plan:
    state = vault([key, *others], policy or set_policy(spec=key.public.alg), **site)
    return plan_revocation(state, key.kid, now, reason="compromised", note="found in a log")


@pytest.mark.parametrize(
    ("events", "drops"),
    [
        ((published(), activated()), False),
        ((deactivated(T0, T0),), False),
        ((deactivated(T0, T0), withdrawn(T0)), True),
        ((revoked(T0),), True),
    ],
)
def test_events_that_drop_the_private_half(events: tuple[Event, ...], drops: bool) -> None:
    """The end of a key, after any other event in the same change."""
    assert drops == Amend("id-token", "a", events).drops_private


# --- revocation -----------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("seen_at", "forced", "warning"),
    [
        pytest.param(NOW - LEAD - SECOND, False, None, id="mature for a second"),
        pytest.param(NOW - LEAD, False, None, id="just mature"),
        pytest.param(NOW - LEAD + SECOND, True, "2026-12-03 17:00:01Z, in a moment", id="mature in a second"),
        pytest.param(NOW - HOUR, True, "2026-12-04 16:00Z, in 23 hours", id="seen an hour ago"),
        pytest.param(None, True, f"{TOMORROW}, if the site is published at once", id="never seen"),
    ],
)
def test_revoking_the_active_key(seen_at: datetime | None, forced: bool, warning: str | None) -> None:
    """The next key signs at once, mature or not; the output says until when verifiers may miss it."""
    active, coming = active_key(), next_key(seen_at=seen_at)
    why = "the active key was revoked as compromised" if forced else None
    unknown = f"verifiers may not know the new active key until {warning}"
    expected = Plan(
        (
            Amend(
                "id-token", active.kid, (Event(at=NOW, event="revoked", reason="compromised", note="found in a log"),)
            ),
            Amend("id-token", coming.kid, (activated(NOW, forced=why),)),
            Create("id-token", set_policy().spec, (created(NOW),)),
        ),
        warnings=(CACHES, *([unknown] if warning else [])),
    )
    assert expected == revoke(active, coming)
    assert isinstance(expected.changes[0], Amend)
    assert expected.changes[0].drops_private


def test_revoking_the_active_key_where_no_next_key_is() -> None:
    """A key is created that signs at once: that is better than no signatures at all."""
    active = active_key()
    plan = revoke(active)
    assert plan.changes[1:] == (
        Create(
            "id-token",
            set_policy().spec,
            (created(NOW), activated(NOW, forced="the active key was revoked as compromised")),
        ),
        Create("id-token", set_policy().spec, (created(NOW),)),
    )
    assert len(plan.warnings) == 2


def test_revoking_the_active_key_while_the_algorithm_changes() -> None:
    """The next key takes over though it is of the old kind, since verifiers hold it; the fresh one is of the new."""
    active, coming = active_key(spec="RS256"), next_key(spec="RS256", seen_at=T0)
    state = vault([active, coming], set_policy(spec="ES256"))
    plan = plan_revocation(state, active.kid, NOW, reason="superseded")
    assert events_of(plan) == ["revoked", "activated", "created"]
    after = apply(plan, state).sets["id-token"]
    assert (after.active.public.alg, after.next.public.alg) == ("RS256", "ES256")


def test_revoking_the_next_key() -> None:
    """It never signed: another one takes its place."""
    coming = next_key()
    plan = revoke(coming, active_key())
    assert plan.changes[1:] == (Create("id-token", set_policy().spec, (created(NOW),)),)
    assert events_of(plan) == ["revoked", "created"]
    assert plan.warnings == (CACHES,)


def test_revoking_a_retiring_key() -> None:
    """The key is withdrawn at once; its tokens no longer verify."""
    plan = revoke(retiring_key(T0, T0 + 90 * DAY), active_key(), next_key())
    assert events_of(plan) == ["revoked"]
    assert plan.warnings == (CACHES,)


@pytest.mark.parametrize("make", [active_key, next_key])
def test_revoking_in_a_closing_set_makes_no_new_key(make: Any) -> None:
    """A closing set gets no new key."""
    plan = revoke(make(), policy=set_policy(closing=True))
    assert events_of(plan) == ["revoked"]


@pytest.mark.parametrize(("spec", "warnings"), [(ENC, (CACHES,)), (OCT, ())])
def test_warnings_fit_the_kind_of_set(spec: str, warnings: tuple[str, ...]) -> None:
    """Senders may use a revoked encryption key from a cache; symmetric keys are in no cache of ours."""
    assert warnings == revoke(active_key(spec=spec), next_key(spec=spec)).warnings


@pytest.mark.parametrize("end", [withdrawn, revoked])
def test_an_ended_key_cannot_be_revoked(end: Any) -> None:
    """No JWK Set contains it; the message names its state."""
    key = make_key(created(), end(T0))
    with fails("key-ended", UsageError) as caught:
        revoke(key, active_key(), next_key())
    assert key.kid in caught.value.message
    assert key.state in caught.value.message


def test_a_prefix_is_enough_to_revoke() -> None:
    """A prefix of a kid suffices in an emergency; a prefix of two kids is refused."""
    keys = [make_key(created(), activated(), kid="abc"), make_key(created(), kid="abd")]
    assert plan_revocation(vault(keys), "abd", NOW, reason="unspecified").changes[0].events[0].reason == "unspecified"
    with fails("kid-ambiguous", UsageError) as caught:
        plan_revocation(vault(keys), "ab", NOW, reason="unspecified")
    assert "abc, abd" in caught.value.message


# --- rollback -------------------------------------------------------------------------------------------


def test_a_rollback_swaps_the_last_two_keys() -> None:
    """The former key signs again, the present one retires with its own keep_until; no key is created."""
    former, active = retiring_key(T0, NOW + DAY), active_key()
    plan = plan_rollback(vault([former, active, next_key()]), "id-token", NOW, note="bad release")
    kept = NOW + 2 * HOUR + 10 * MINUTE
    assert plan == Plan(
        (
            Amend(
                "id-token", former.kid, (Event(at=NOW, event="reactivated", token_lifetime=3_600, note="bad release"),)
            ),
            Amend("id-token", active.kid, (Event(at=NOW, event="deactivated", keep_until=kept, note="bad release"),)),
        )
    )


def test_a_rollback_takes_the_newest_key_that_is_still_sealed() -> None:
    """A key whose private half is elsewhere cannot sign here."""
    older, newer = retiring_key(T0, NOW + DAY), retiring_key(T0 + HOUR, NOW + DAY)
    public_only = Key(1, "id-token", public_key(), (created(), activated(), deactivated(T0 + 2 * HOUR, NOW + DAY)))
    plan = plan_rollback(vault([older, newer, public_only, active_key(), next_key()]), "id-token", NOW)
    assert isinstance(plan.changes[0], Amend)
    assert plan.changes[0].kid == newer.kid


@pytest.mark.parametrize(("after", "there"), [(timedelta(0), True), (SECOND, True), (DAY, True)])
def test_a_rollback_works_until_the_key_is_withdrawn(after: timedelta, there: bool) -> None:
    """It can sign while the JWK Set contains it, even if its withdrawal is late."""
    state = vault([retiring_key(T0, T0 + HOUR), active_key(), next_key()])
    assert there == bool(plan_rollback(state, "id-token", T0 + HOUR + after))


def test_no_rollback_without_a_former_key() -> None:
    """After the withdrawal there is only the way forward."""
    state = vault([active_key(), next_key(), make_key(created(), withdrawn(T0))])
    with fails("previous-key-missing") as caught:
        plan_rollback(state, "id-token", NOW)
    assert caught.value.hint == "go forward instead: keyvault rotate id-token"


@pytest.mark.parametrize(
    ("keys", "closing", "code"),
    [
        ([retiring_key(T0, NOW)], False, "active-key-missing"),
        ([active_key(), retiring_key(T0, NOW)], True, "set-closing"),
        ([retiring_key(T0, NOW)], True, "set-closing"),
    ],
)
def test_no_rollback_of_a_set_that_does_not_sign(keys: list[Key], closing: bool, code: str) -> None:
    """A closing set must not sign again, and without an active key there is nothing to roll back."""
    with fails(code, UsageError):
        plan_rollback(vault(keys, set_policy(closing=closing)), "id-token", NOW)


def test_a_rollback_is_not_undone_by_the_next_run() -> None:
    """Its cryptoperiod counts from the rollback, also where the old one was over long ago."""
    former = make_key(created(T0 - 90 * DAY), activated(T0 - 90 * DAY), deactivated(T0, T0 + DAY))
    state = vault([former, active_key(), next_key(T0 - 2 * DAY, seen_at=T0 - 2 * DAY)])
    back = T0 + HOUR
    state = apply(plan_rollback(state, "id-token", back), state)
    assert not plan_due(state, back, live=serving(state))
    assert "activated" not in events_of(plan_due(state, back + 90 * DAY - SECOND, live=serving(state)))
    assert "activated" in events_of(plan_due(state, back + 90 * DAY, live=serving(state)))


@pytest.mark.parametrize("plan", [plan_rollback, plan_closing])
def test_a_key_that_stops_keeps_its_promise(plan: Any) -> None:
    """The tokens that it signed may live longer than those of today."""
    keys = [active_key(lifetime=5 * HOUR), retiring_key(T0, NOW + DAY), next_key()]
    events = [event for change in plan(vault(keys), "id-token", NOW).changes for event in change.events]
    assert [event.keep_until for event in events if event.event == "deactivated"] == [NOW + 6 * HOUR + 10 * MINUTE]


def test_a_rollback_can_be_rolled_back() -> None:
    """To and fro, with the same two keys."""
    former, active = retiring_key(T0, NOW + DAY), active_key()
    state = vault([former, active, next_key()])
    for expected in (former, active, former):
        state = apply(plan_rollback(state, "id-token", NOW), state)
        signing = only_set(state).active
        assert signing
        assert expected.kid == signing.kid


# --- closing --------------------------------------------------------------------------------------------


def test_closing_a_set_keeps_its_tokens_verifiable() -> None:
    """Signing stops, the standby key is withdrawn, and tokens verify until they expire."""
    keys = [active_key(), next_key(), retiring_key(T0, T0 + DAY), retiring_key(T0, NOW + DAY)]
    plan = plan_closing(vault(keys), "id-token", NOW)
    assert [(change.kid, change.events[0].event) for change in plan.changes if isinstance(change, Amend)] == [
        (keys[2].kid, "withdrawn"),
        (keys[0].kid, "deactivated"),
        (keys[1].kid, "withdrawn"),
    ]
    assert plan.changes[1].events[0].keep_until == NOW + 2 * HOUR + 10 * MINUTE
    assert {event.note for change in plan.changes[1:] for event in change.events} == {"the set is closing"}


def test_closing_a_set_by_force_drops_everything() -> None:
    """Every key leaves the JWK Set at once, and the records say why."""
    keys = [active_key(), next_key(), retiring_key(T0, NOW + DAY), make_key(created(), withdrawn(T0))]
    plan = plan_closing(vault(keys), "id-token", NOW, forced="the service is gone")
    event = Event(at=NOW, event="revoked", reason="superseded", forced="the service is gone")
    assert plan == Plan(tuple(Amend("id-token", key.kid, (event,)) for key in keys[:3]))


def test_closing_an_empty_set_does_nothing() -> None:
    """There is nothing to close."""
    assert plan_closing(vault(), "id-token", NOW) == Plan()


# --- replacement ----------------------------------------------------------------------------------------


def test_next_keys_can_be_replaced() -> None:
    """A removed recipient could read them; they never signed, so new keys replace them."""
    coming = {name: next_key(set_name=name) for name in "ad"}
    keys = [active_key(set_name="a"), active_key(set_name="b"), next_key(set_name="c"), *coming.values()]
    state = vault(keys, set_policy("a"), set_policy("b"), set_policy("c", closing=True), set_policy("d"))
    plan = plan_replacement(state.sets.values(), NOW, note="recipient bob left")
    assert plan == Plan(
        tuple(
            change
            for name, key in coming.items()
            for change in (
                Amend(name, key.kid, (Event(at=NOW, event="withdrawn", note="recipient bob left"),)),
                Create(name, set_policy().spec, (created(NOW),)),
            )
        )
    )
