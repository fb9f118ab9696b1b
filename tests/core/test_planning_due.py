"""The plans of a scheduled run, to the second."""

from __future__ import annotations

import dataclasses
from datetime import datetime, timedelta
from typing import Any

import pytest

from keyvault.core.events import Event
from keyvault.core.gate import LiveSite, urls_to_fetch
from keyvault.core.keys import Key
from keyvault.core.plan import Amend, Create, Plan
from keyvault.core.planning import plan_due
from keyvault.core.state import VaultState
from keyvault.core.timing import counts_as_published_at, effective_instant, mature_at, rotation_due_at
from keyvault.core.verifiers import KEEP_ALGORITHMS
from tests.core.build import (
    DAY,
    HOUR,
    MINUTE,
    SECOND,
    SITE,
    T0,
    URL,
    active_key,
    apply,
    created,
    events_of,
    make_key,
    next_key,
    only_set,
    published,
    retiring_key,
    revoked,
    serving,
    set_policy,
    vault,
    withdrawn,
)
from tests.errors import fails

ENC, OCT = "ECDH-ES+A256KW", "HS256"
KEEPERS = ", ".join(KEEP_ALGORITHMS)
PERIOD, LEAD = 90 * DAY, 24 * HOUR
#: The sum of an hour of lag, an hour of token lifetime and ten minutes of skew.
KEPT = 2 * HOUR + 10 * MINUTE


def ready(at: datetime = T0, **more: Any) -> tuple[Key, Key]:
    """Return an active and a next key that were created at *at*; the next key was seen then."""
    return active_key(at, **more), next_key(at, seen_at=at, **more)


# --- time -----------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("behind", "expected"),
    [
        (-HOUR, T0 + HOUR),
        (-SECOND, T0 + SECOND),
        (timedelta(0), T0),
        (SECOND, T0),
        (10 * MINUTE - SECOND, T0),
        (10 * MINUTE, T0),
        (10 * MINUTE + SECOND, None),
        (365 * DAY, None),
    ],
)
def test_events_never_run_backwards(behind: timedelta, expected: datetime | None) -> None:
    """A clock that is behind by no more than clock_skew gets the newest instant on record; more is an error."""
    key_set = only_set(vault([active_key(T0)]))
    if expected is not None:
        assert expected == effective_instant(key_set, T0 - behind)
        return
    with fails("clock-behind") as caught:
        effective_instant(key_set, T0 - behind)
    assert "2026-11-23 17:00Z" in caught.value.message
    assert caught.value.hint == "if this clock is right: keyvault repair --dry-run; otherwise set the clock"
    assert effective_instant(key_set, T0 - behind, emergency=True) == T0


def test_events_carry_whole_seconds() -> None:
    """Fractions of a second are cut off, so that the plan can be written."""
    assert effective_instant(only_set(vault()), T0.replace(microsecond=999_999)) == T0


def test_a_clock_far_behind_stops_the_scheduled_run() -> None:
    """Nothing is planned with an impossible clock."""
    with fails("clock-behind") as caught:
        plan_due(vault(ready()), T0 - DAY, live={})
    assert "2026-11-22 17:00Z" in caught.value.message


# --- when a key counts as published ---------------------------------------------------------------------


@pytest.mark.parametrize(
    ("spec", "confirm", "seen", "mature"),
    [
        ("ES256", "live", T0 + HOUR, T0 + HOUR + LEAD),
        ("ES256", "commit", T0, T0 + LEAD),
        (OCT, "live", T0, T0 + LEAD),
        (ENC, "live", T0, T0),
        (ENC, "commit", T0, T0),
    ],
)
def test_proof_of_publication(spec: str, confirm: str, seen: datetime, mature: datetime) -> None:
    """The public URL, if it can be fetched; else the commit. Encryption keys need no lead."""
    key = make_key(created(T0), published(T0 + HOUR), spec=spec)
    state = vault([key], set_policy(spec=spec), confirm=confirm)
    key_set, site = only_set(state), state.policy.site
    assert (seen, mature) == (counts_as_published_at(key_set, key, site), mature_at(key_set, key, site))


def test_a_receipt_counts_for_its_url_only() -> None:
    """A key that moves to another issuer has to be seen there."""
    key = make_key(created(T0), published(T0, f"{SITE}/old/.well-known/jwks.json"))
    state = vault([key])
    assert counts_as_published_at(only_set(state), key, state.policy.site) is None
    assert mature_at(only_set(state), key, state.policy.site) is None


def test_a_set_without_an_active_key_is_never_due() -> None:
    """The cryptoperiod is that of the active key."""
    assert rotation_due_at(only_set(vault())) is None
    assert rotation_due_at(only_set(vault([active_key(T0)]))) == T0 + PERIOD


# --- URLs to fetch --------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("keys", "now", "rotating", "asked"),
    [
        pytest.param([active_key()], T0, (), False, id="no next key"),
        pytest.param([active_key(), next_key()], T0, (), True, id="waits for its receipt"),
        pytest.param(ready(), T0 + DAY, (), False, id="has its receipt, not due"),
        pytest.param(ready(), T0 + PERIOD - SECOND, (), False, id="one second before it is due"),
        pytest.param(ready(), T0 + PERIOD, (), True, id="due"),
        pytest.param(ready(), T0 + PERIOD + SECOND, (), True, id="overdue"),
        pytest.param(ready(), T0 + LEAD - SECOND, ("id-token",), False, id="named, one second before it is mature"),
        pytest.param(ready(), T0 + LEAD, ("id-token",), True, id="named and mature"),
        pytest.param(ready(), T0 + LEAD, ("other",), False, id="another one named"),
    ],
)
def test_urls_are_asked_only_where_the_answer_matters(
    keys: list[Key], now: datetime, rotating: tuple[str, ...], asked: bool
) -> None:
    """A URL is fetched only for a key that waits for its receipt, or is about to become active."""
    assert ({URL} if asked else set()) == urls_to_fetch(vault(keys), now, rotating=rotating)


@pytest.mark.parametrize(
    ("policy", "site"),
    [
        (set_policy(), {"confirm": "commit"}),
        (set_policy(closing=True), {}),
        (set_policy(spec=ENC), {}),
        (set_policy(spec=OCT), {}),
    ],
)
def test_some_sets_are_never_asked_for(policy: Any, site: dict[str, str]) -> None:
    """Nothing is asked where the commit counts, where a set closes, or where the site shows no such keys."""
    keys = [active_key(spec=policy.spec), next_key(spec=policy.spec)]
    assert urls_to_fetch(vault(keys, policy, **site), T0 + PERIOD, rotating=("id-token",)) == frozenset()


def test_a_set_that_is_not_asked_for_hides_no_other() -> None:
    """A closing set, or one without a next key, may precede it in keyvault.toml."""
    keys = [active_key(set_name="a"), active_key(set_name="b"), active_key(set_name="c"), next_key(set_name="c")]
    state = vault(keys, set_policy("a"), set_policy("b", closing=True), set_policy("c"))
    assert urls_to_fetch(state, T0) == {URL}


def test_sets_that_share_a_url_ask_it_once() -> None:
    """One request for each issuer, for any number of sets in its JWK Set."""
    keys = [make(set_name=name) for name in ("a", "b") for make in (active_key, next_key)]
    assert urls_to_fetch(vault(keys, set_policy("a"), set_policy("b")), T0) == {URL}


# --- missing keys ---------------------------------------------------------------------------------------


@pytest.mark.parametrize("spec", ["ES256", "RS256", ENC, OCT])
def test_a_new_set_gets_an_active_and_a_next_key(spec: str) -> None:
    """A set that is new in keyvault.toml: one key signs at once, since no verifier holds older ones."""
    policy = set_policy(spec=spec)
    expected = Plan(
        (
            Create("id-token", policy.spec, (created(T0), Event(at=T0, event="activated", token_lifetime=3_600))),
            Create("id-token", policy.spec, (created(T0),)),
        )
    )
    assert expected == plan_due(vault([], policy), T0, live={})


def test_a_missing_next_key_is_created() -> None:
    """Whatever happened to the next key, the next run creates another."""
    assert plan_due(vault([active_key()]), T0 + HOUR, live={}).changes == (
        Create("id-token", set_policy().spec, (created(T0 + HOUR),)),
    )


def test_a_next_key_alone_becomes_active() -> None:
    """A set with a standby and nothing that signs begins with the standby."""
    plan = plan_due(vault([next_key()]), T0 + HOUR, live={})
    assert events_of(plan) == ["activated", "created"]


def test_a_set_that_is_opened_again_begins_anew() -> None:
    """Former keys keep their state; two new keys are created."""
    former = [retiring_key(T0, T0 + DAY), make_key(created(), withdrawn(T0)), make_key(created(), revoked(T0))]
    plan = plan_due(vault(former), T0 + HOUR, live={})
    assert events_of(plan) == ["created", "activated", "created"]


# --- receipts -------------------------------------------------------------------------------------------


def test_a_key_that_is_seen_gets_its_receipt() -> None:
    """The receipt says when, and where."""
    keys = [active_key(), next_key()]
    plan = plan_due(vault(keys), T0 + HOUR, live=serving(vault(keys)))
    assert plan == Plan((Amend("id-token", keys[1].kid, (published(T0 + HOUR),)),))


@pytest.mark.parametrize(
    ("live", "sentence"),
    [
        ({}, f"id-token: {URL} could not be fetched, so there is no receipt yet"),
        ({URL: None}, f"id-token: {URL} could not be fetched, so there is no receipt yet"),
        ({URL: set()}, f"id-token: {URL} does not serve the next key yet"),
    ],
)
def test_a_key_that_is_not_seen_waits(live: LiveSite, sentence: str) -> None:
    """Nothing is planned, and the reason is said."""
    assert plan_due(vault([active_key(), next_key()]), T0 + DAY, live=live) == Plan(waiting=(sentence,))


def test_the_kid_alone_is_no_proof() -> None:
    """A host that shows another key under our kid does not serve our key."""
    coming = next_key()
    live = {URL: {(coming.kid, "another thumbprint")}}
    assert not plan_due(vault([active_key(), coming]), T0 + HOUR, live=live)


# --- rotations ------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("after", "rotates"), [(-SECOND, False), (0 * SECOND, True), (SECOND, True), (DAY, True)])
def test_a_rotation_is_due_when_the_cryptoperiod_ends(after: timedelta, rotates: bool) -> None:
    """Not a second before its end; at it, or at the first run after it."""
    state = vault(ready())
    plan = plan_due(state, T0 + PERIOD + after, live=serving(state))
    assert (["activated", "deactivated", "created"] if rotates else []) == events_of(plan)


@pytest.mark.parametrize(("after", "rotates"), [(-SECOND, False), (0 * SECOND, True), (SECOND, True)])
def test_a_rotation_waits_for_the_lead(after: timedelta, rotates: bool) -> None:
    """A key that was seen late signs late: the lead counts from the receipt."""
    seen = T0 + PERIOD - HOUR
    state = vault([active_key(), next_key(T0, seen_at=seen)])
    plan = plan_due(state, seen + LEAD + after, live=serving(state))
    if rotates:
        assert events_of(plan) == ["activated", "deactivated", "created"]
    else:
        assert plan == Plan(
            waiting=(
                "id-token: rotation is due since 2027-02-21 17:00Z, but its next key was first seen live "
                "23 hours ago; publication_lead is 24h",
            )
        )


def test_events_of_a_rotation() -> None:
    """One key begins to sign, one stops and is kept until its last token has expired, and a new next key is created."""
    state = vault(ready())
    key_set, at = only_set(state), T0 + PERIOD
    assert key_set.active
    assert key_set.next
    expected = Plan(
        (
            Amend("id-token", key_set.next.kid, (Event(at=at, event="activated", token_lifetime=3_600),)),
            Amend("id-token", key_set.active.kid, (Event(at=at, event="deactivated", keep_until=at + KEPT),)),
            Create("id-token", key_set.policy.spec, (created(at),)),
        )
    )
    assert expected == plan_due(state, at, live=serving(state))


@pytest.mark.parametrize(
    ("live", "reason"),
    [
        ({}, f"{URL} could not be fetched to check that it still serves the next key"),
        ({URL: None}, f"{URL} could not be fetched to check that it still serves the next key"),
        ({URL: frozenset()}, f"{URL} no longer serves the next key"),
    ],
)
def test_a_receipt_can_go_stale(live: LiveSite, reason: str) -> None:
    """A host that was rolled back, or cannot be reached, delays a rotation; the old key continues to sign."""
    plan = plan_due(vault(ready()), T0 + PERIOD, live=live)
    assert plan == Plan(waiting=(f"id-token: rotation is due since 2027-02-21 17:00Z, but {reason}",))


def test_a_receipt_is_recorded_even_if_the_rotation_is_overdue() -> None:
    """A key that was never seen gets its receipt now, and its lead begins; both are reported."""
    keys = [active_key(), next_key()]
    plan = plan_due(vault(keys), T0 + PERIOD, live=serving(vault(keys)))
    assert plan == Plan(
        (Amend("id-token", keys[1].kid, (published(T0 + PERIOD),)),),
        waiting=(
            "id-token: rotation is due since 2027-02-21 17:00Z, but its next key was first seen live now; "
            "publication_lead is 24h",
        ),
    )


def test_an_overdue_rotation_says_that_it_was_never_seen() -> None:
    """The message names the waiting key and the event that it waits for."""
    plan = plan_due(vault([active_key(), next_key()]), T0 + PERIOD, live={URL: set()})
    assert plan == Plan(
        waiting=(
            f"id-token: {URL} does not serve the next key yet",
            f"id-token: rotation is due since 2027-02-21 17:00Z, but its next key was not yet seen at {URL}",
        )
    )


def test_confirm_commit_fetches_nothing() -> None:
    """With confirm = "commit", a mature key is activated without a fetch."""
    state = vault([active_key(), next_key()], confirm="commit")
    assert events_of(plan_due(state, T0 + PERIOD, live={})) == ["activated", "deactivated", "created"]
    fresh = vault([active_key(), next_key(T0 + PERIOD - HOUR)], confirm="commit")
    assert plan_due(fresh, T0 + PERIOD, live={}).waiting == (
        "id-token: rotation is due since 2027-02-21 17:00Z, but its next key was created 1 hour ago; "
        "publication_lead is 24h",
    )


@pytest.mark.parametrize("spec", [ENC, OCT])
def test_sets_without_a_fetch_rotate_by_their_dates(spec: str) -> None:
    """Encryption keys are not published before they are used, symmetric ones never."""
    state = vault([active_key(spec=spec), next_key(spec=spec)], set_policy(spec=spec))
    assert events_of(plan_due(state, T0 + PERIOD - SECOND, live={})) == []
    assert events_of(plan_due(state, T0 + PERIOD, live={})) == ["activated", "deactivated", "created"]


def test_a_decryption_key_is_kept_for_its_retention() -> None:
    """Old messages can be opened long after the key left the JWK Set."""
    state = vault([active_key(spec=ENC), next_key(spec=ENC)], set_policy(spec=ENC, retention=30 * DAY))
    plan = plan_due(state, T0 + PERIOD, live={})
    assert plan.changes[1].events[0].keep_until == T0 + PERIOD + 30 * DAY


# --- withdrawals ----------------------------------------------------------------------------------------


@pytest.mark.parametrize(("after", "gone"), [(-SECOND, False), (0 * SECOND, False), (SECOND, True), (DAY, True)])
def test_a_retiring_key_is_withdrawn_strictly_after_its_time(after: timedelta, gone: bool) -> None:
    """At the instant of keep_until its last token may still be verified; one second later it is withdrawn."""
    former = retiring_key(T0, T0 + KEPT)
    plan = plan_due(vault([*ready(), former]), T0 + KEPT + after, live={})
    expected = (Amend("id-token", former.kid, (withdrawn(T0 + KEPT + after),)),) if gone else ()
    assert expected == plan.changes
    assert all(change.drops_private for change in plan.changes if isinstance(change, Amend))


def test_several_keys_leave_oldest_first() -> None:
    """A long outage ends in one run."""
    older, newer = retiring_key(T0, T0 + HOUR), retiring_key(T0 + HOUR, T0 + DAY)
    plan = plan_due(vault([*ready(), newer, older]), T0 + 2 * DAY, live={})
    assert [change.kid for change in plan.changes if isinstance(change, Amend)] == [older.kid, newer.kid]


def test_withdrawals_do_not_wait_for_the_host() -> None:
    """Transitions that need no live check are planned even if the host cannot be reached."""
    former = retiring_key(T0, T0 + HOUR)
    plan = plan_due(vault([active_key(), next_key(), former]), T0 + DAY, live={URL: None})
    assert events_of(plan) == ["withdrawn"]
    assert plan.waiting == (f"id-token: {URL} could not be fetched, so there is no receipt yet",)


# --- when policy changes --------------------------------------------------------------------------------


def test_another_algorithm_replaces_the_next_key() -> None:
    """The standby of the old kind leaves, one of the new kind takes its place and waits like any other."""
    keys = ready(spec="RS256")
    policy = set_policy(spec="ES256")
    plan = plan_due(vault(keys, policy), T0 + DAY, live={})
    note = "policy now asks for ES256"
    assert plan == Plan(
        (
            Amend("id-token", keys[1].kid, (Event(at=T0 + DAY, event="withdrawn", note=note),)),
            Create("id-token", policy.spec, (created(T0 + DAY),)),
        ),
        warnings=(
            f"id-token changes to ES256: restart {KEEPERS} once the next key is seen live, since they learn algorithms "
            "only when they start; set algorithm_lead to leave time for it",
        ),
    )


def test_another_algorithm_does_not_skip_the_lead() -> None:
    """Also where a rotation is due: the new kind is seen first, then used."""
    state = vault(ready(spec="RS256"), set_policy(spec="ES256"))
    state = apply(plan_due(state, T0 + PERIOD, live=serving(state)), state)
    state = apply(plan_due(state, T0 + PERIOD + HOUR, live=serving(state)), state)
    assert not plan_due(state, T0 + PERIOD + HOUR + LEAD - SECOND, live=serving(state))
    last = plan_due(state, T0 + PERIOD + HOUR + LEAD, live=serving(state))
    assert events_of(last) == ["activated", "deactivated", "created"]


@pytest.mark.parametrize(("after", "signs"), [(-SECOND, False), (0 * SECOND, True)])
def test_key_of_a_new_algorithm_waits_for_algorithm_lead(after: timedelta, signs: bool) -> None:
    """Verifiers that learn algorithms only when they start have time to be restarted, to the second."""
    policy = set_policy(spec="ES256", algorithm_lead=7 * DAY)
    state = vault([active_key(spec="RS256"), next_key(spec="ES256", seen_at=T0 + PERIOD)], policy)
    now = T0 + PERIOD + 7 * DAY + after
    plan = plan_due(state, now, live=serving(state))

    assert bool(plan) is signs
    assert mature_at(only_set(state), state.sets["id-token"].next, state.policy.site) == T0 + PERIOD + 7 * DAY  # type: ignore[arg-type]  # it has a next key
    if not signs:
        assert plan.waiting[0].endswith("the first for ES256, was first seen live 6 days ago; algorithm_lead is 7d")
    else:
        [warning] = plan.warnings
        assert warning.startswith(
            f"id-token signs with ES256 from now on: {KEEPERS} refuse it unless they were restarted"
        )
        assert plan_due(apply(plan, state), now + LEAD, live=serving(apply(plan, state))).warnings == ()


def test_key_of_an_algorithm_that_still_retires_waits_for_the_usual_lead() -> None:
    """After a rollback the algorithm is not new: keys of it are published."""
    policy = set_policy(spec="ES256", algorithm_lead=7 * DAY)
    former = retiring_key(T0, T0 + 2 * PERIOD, spec="ES256")
    state = vault([active_key(spec="RS256"), next_key(spec="ES256", seen_at=T0), former], policy)

    assert mature_at(only_set(state), only_set(state).next, state.policy.site) == T0 + LEAD  # type: ignore[arg-type]  # it has a next key
    assert not plan_due(state, T0 + PERIOD, live=serving(state)).warnings


def test_algorithm_lead_never_shortens_a_lead() -> None:
    """The longer of the two counts."""
    policy = set_policy(spec="ES256", algorithm_lead=HOUR)
    state = vault([active_key(spec="RS256"), next_key(spec="ES256", seen_at=T0)], policy)

    assert mature_at(only_set(state), only_set(state).next, state.policy.site) == T0 + LEAD  # type: ignore[arg-type]  # it has a next key


@pytest.mark.parametrize(("spec", "new"), [(ENC, "RSA-OAEP-256"), (OCT, "HS512")])
def test_keys_that_no_verifier_fetches_need_no_restart(spec: str, new: str) -> None:
    """These are keys for encryption, and secrets."""
    state = vault(ready(spec=spec), set_policy(spec=new))
    assert plan_due(state, T0 + DAY, live={}).warnings == ()


@pytest.mark.parametrize(("spec", "new"), [(ENC, "RSA-OAEP-256"), (OCT, "HS512")])
def test_a_key_that_needs_no_head_start_is_active_in_the_same_run(spec: str, new: str) -> None:
    """Encryption keys, and keys without a lead: a change of algorithm that is due takes one run, not two."""
    lead = timedelta(0) if spec == OCT else LEAD
    state = vault([active_key(spec=spec), next_key(spec=spec)], set_policy(spec=new, publication_lead=lead))
    plan = plan_due(state, T0 + PERIOD, live={})
    assert events_of(plan) == ["withdrawn", "created", "activated", "deactivated", "created"]
    after = apply(plan, state)
    assert only_set(after).active
    assert [key.public.alg for key in only_set(after).jwk_set[:1]] == ([new] if spec == ENC else [])
    assert not plan_due(after, T0 + PERIOD, live={})


@pytest.mark.parametrize(
    ("spec", "lead", "confirm"),
    [
        pytest.param("ES256", timedelta(0), "live", id="without a lead, yet to be seen"),
        pytest.param("ES256", LEAD, "commit", id="with a lead, not to be seen"),
        pytest.param(OCT, LEAD, "live", id="symmetric, with a lead"),
    ],
)
def test_a_key_that_needs_a_head_start_gets_it(spec: str, lead: timedelta, confirm: str) -> None:
    """A missing lead or a missing fetch delays the rotation, even if it is due."""
    keys = [active_key(spec="RS256"), next_key(spec="RS256")]
    state = vault(keys, set_policy(spec=spec, publication_lead=lead), confirm=confirm)
    assert events_of(plan_due(state, T0 + PERIOD, live={})) == ["withdrawn", "created"]


@pytest.mark.parametrize("spec", [OCT, "ES256"])
def test_a_change_of_algorithm_keeps_the_old_key_long_enough(spec: str) -> None:
    """The key that retires is kept for the tokens that it signed, however short those of today live."""
    keys = [active_key(spec="RS256", lifetime=5 * HOUR), next_key(spec="RS256")]
    state = vault(keys, set_policy(spec=spec, publication_lead=timedelta(0)), confirm="commit")
    plan = plan_due(state, T0 + PERIOD, live={})
    kept = [event.keep_until for change in plan.changes for event in change.events if event.event == "deactivated"]
    assert kept == [T0 + PERIOD + 6 * HOUR + 10 * MINUTE]


def test_without_a_lead_receipt_and_rotation_come_in_one_run() -> None:
    """A second run has nothing left to do."""
    keys = [active_key(), next_key()]
    state = vault(keys, set_policy(publication_lead=timedelta(0)))
    plan = plan_due(state, T0 + PERIOD, live=serving(state))
    assert events_of(plan) == ["published", "activated", "deactivated", "created"]
    assert not plan_due(apply(plan, state), T0 + PERIOD, live=serving(state))


def test_a_longer_token_lifetime_is_recorded() -> None:
    """The longest token_lifetime on record for the key counts."""
    keys = ready()
    plan = plan_due(vault(keys, set_policy(token_lifetime=2 * HOUR)), T0 + HOUR, live={})
    assert plan == Plan(
        (Amend("id-token", keys[0].kid, (Event(at=T0 + HOUR, event="lifetime", token_lifetime=7_200),)),)
    )


def test_a_shorter_token_lifetime_shortens_no_promise() -> None:
    """Tokens that were issued for five hours verify for five hours."""
    keys = [active_key(lifetime=5 * HOUR), next_key(seen_at=T0)]
    state = vault(keys, set_policy(token_lifetime=MINUTE))
    assert not plan_due(state, T0 + HOUR, live={})
    plan = plan_due(state, T0 + PERIOD, live=serving(state))
    assert plan.changes[1].events[0].keep_until == T0 + PERIOD + HOUR + 5 * HOUR + 10 * MINUTE


def test_a_closing_set_winds_down() -> None:
    """No key is created; the active key is deactivated, the next key withdrawn, retiring keys stay."""
    keys = ready()
    state = vault(keys, set_policy(closing=True))
    plan = plan_due(state, T0 + HOUR, live={})
    kept, note = T0 + HOUR + KEPT, "the set is closing"
    assert plan == Plan(
        (
            Amend("id-token", keys[0].kid, (Event(at=T0 + HOUR, event="deactivated", keep_until=kept, note=note),)),
            Amend("id-token", keys[1].kid, (Event(at=T0 + HOUR, event="withdrawn", note=note),)),
        )
    )
    state = apply(plan, state)
    assert not plan_due(state, kept, live={})
    assert events_of(plan_due(state, kept + SECOND, live={})) == ["withdrawn"]


# --- several sets ---------------------------------------------------------------------------------------


def several() -> VaultState:
    """Return sets of which each has something else to do at T0 + PERIOD."""
    keys = [
        *ready(set_name="due"),
        *ready(T0 + DAY, set_name="quiet"),
        active_key(T0 + DAY, set_name="incomplete"),
        active_key(T0 + DAY, set_name="late"),
        next_key(T0 + DAY, set_name="late"),
        retiring_key(T0, T0 + HOUR, set_name="quiet"),
    ]
    return vault(keys, *(set_policy(name) for name in ("due", "quiet", "incomplete", "late", "new")))


def test_one_plan_holds_what_all_sets_need() -> None:
    """One run, one plan, one commit."""
    state = several()
    plan = plan_due(state, T0 + PERIOD, live=serving(state))
    done = [(change.set, event.event) for change in plan.changes for event in change.events]
    assert done == [
        ("due", "activated"),
        ("due", "deactivated"),
        ("due", "created"),
        ("quiet", "withdrawn"),
        ("incomplete", "created"),
        ("late", "published"),
        ("new", "created"),
        ("new", "activated"),
        ("new", "created"),
    ]


@pytest.mark.parametrize("policy", [set_policy(), set_policy(spec=ENC), set_policy(spec=OCT), set_policy(closing=True)])
@pytest.mark.parametrize("spec", ["ES256", ENC, OCT])
@pytest.mark.parametrize("age", [timedelta(0), HOUR, PERIOD - SECOND, PERIOD, 2 * PERIOD])
@pytest.mark.parametrize("confirm", ["live", "commit"])
@pytest.mark.parametrize("lead", [timedelta(0), LEAD])
def test_a_second_run_does_nothing(policy: Any, spec: str, age: timedelta, confirm: str, lead: timedelta) -> None:
    """A second run at the same instant does nothing, whatever the first run did."""
    policy = dataclasses.replace(policy, publication_lead=lead, token_lifetime=2 * HOUR)
    for keys in (
        [],
        [active_key(spec=spec)],
        [active_key(spec=spec), next_key(spec=spec), retiring_key(T0, T0 + HOUR)],
    ):
        state = vault(keys, policy, confirm=confirm)
        for live in ({}, serving(state)):
            after = apply(plan_due(state, T0 + age, live=live), state)
            assert plan_due(after, T0 + age, live=live).changes == ()


def test_a_plan_with_nothing_to_do_is_false() -> None:
    """`if plan:` reads as it is meant."""
    assert not Plan(waiting=("something",))
    assert Plan((Create("a", set_policy().spec, (created(),)),))
