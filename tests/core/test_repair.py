"""Repairs of sets: of two keys for one place one steps back, the future is dated back, nothing published is dropped."""

from __future__ import annotations

from dataclasses import replace
from datetime import datetime

import msgspec
import pytest

from keyvault.core.events import Event, corrected_instants, fold
from keyvault.core.keys import Key
from keyvault.core.plan import Amend, Plan
from keyvault.core.planning import plan_due, plan_revocation, plan_rollback
from keyvault.core.repair import damage_of_sets, plan_late_push, plan_repair
from keyvault.core.state import VaultState
from keyvault.core.timing import mature_at
from keyvault.errors import GateError, RecordError
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

NOW = T0 + 3 * DAY
YEAR = 365 * DAY


def repaired(at: object = T0, **more: object) -> Event:
    return Event(at=at, event="repaired", note="two schedules met", **more)  # type: ignore[arg-type]  # an instant


def mend(state: VaultState, **more: object) -> VaultState:
    """Repair *state*, and see that a second repair finds nothing to do."""
    after = apply(plan_repair(state, NOW, **more), state)  # type: ignore[arg-type]  # what plan_repair takes
    assert not plan_repair(after, NOW).changes
    assert list(damage_of_sets(after, NOW)) == []
    _ = after.sets
    return after


def kept(before: VaultState, after: VaultState) -> bool:
    """Whether all that *before* published is published in *after*, or was never seen."""
    shown = {key.kid for key in only_set(after).jwk_set}
    return all(key.kid in shown for key in before.keys.values() if key.life.published)


# --- the event ------------------------------------------------------------------------------------------


def test_a_repair_dates_back_future_events() -> None:
    """Creation, receipts, activation, retirement and its end: nothing lies after the repair, and no span shrinks."""
    ahead = T0 + YEAR
    events = [created(ahead), published(ahead), activated(ahead), deactivated(ahead + DAY, ahead + 3 * DAY)]
    life = fold([*events, repaired(T0)])

    assert (life.created_at, life.activated_at, life.deactivated_at, life.newest_at) == (T0, T0, T0, T0)
    assert set(life.published.values()) == {T0}
    assert life.keep_until == ahead + 3 * DAY
    assert life.state == "retiring"
    assert fold([*events, repaired(T0, keep_until=T0 + 2 * DAY)]).keep_until == T0 + 2 * DAY
    assert corrected_instants([*events, repaired(T0)]) == [T0] * 5


def test_a_repair_leaves_the_past_alone() -> None:
    """Events before it keep their instants."""
    events = [created(), published(), activated(T0 + DAY), deactivated(T0 + 2 * DAY, T0 + 4 * DAY)]
    assert msgspec.structs.replace(fold([*events, repaired(NOW)]), newest_at=T0 + 2 * DAY) == fold(events)
    assert corrected_instants([*events, repaired(NOW)]) == [event.at for event in events] + [NOW]


def test_a_repair_may_keep_a_key_for_longer_and_not_for_less() -> None:
    """A merge may have dropped a longer time."""
    events = [created(), activated(), deactivated(T0, T0 + DAY)]
    assert fold([*events, repaired(T0, keep_until=T0 + 2 * DAY)]).keep_until == T0 + 2 * DAY
    with fails("keep-until-too-early", RecordError):
        fold([*events, repaired(T0, keep_until=T0 + HOUR)])
    with fails("event-malformed", RecordError) as caught:
        fold([*events[:2], repaired(T0, keep_until=T0 + HOUR)])
    assert "active" in caught.value.message


def test_a_repair_has_a_reason() -> None:
    """An auditor reads its note."""
    with fails("event-malformed", RecordError) as caught:
        fold([created(), Event(at=T0, event="repaired")])
    assert "note" in caught.value.message
    with fails("event-malformed", RecordError) as caught:
        fold([created(), repaired(url="https://keys.example.com")])
    assert "url" in caught.value.message


def test_after_a_repair_time_runs_on() -> None:
    """The next event must not be older than the repair, but may be older than the events that it dated back."""
    events = [created(T0 + YEAR), repaired(T0)]
    assert fold([*events, published(T0 + HOUR)]).state == "next"
    with fails("instant-decreases", RecordError):
        fold([*events, published(T0 - SECOND)])


# --- doubled keys ---------------------------------------------------------------------------------------


def test_of_two_next_keys_the_unseen_one_is_withdrawn() -> None:
    """No token and no verifier knows it."""
    state = vault([active_key(), next_key(seen_at=T0 + HOUR), next_key(T0 - DAY)])
    seen, unseen = (key for key in state.keys.values() if key.state == "next")
    after = mend(state)

    assert only_set(after).next == seen
    assert [event.event for event in after.keys[unseen.kid].events] == ["created", "repaired", "withdrawn"]
    assert after.keys[unseen.kid].events[1].note == f"the set had 2 next keys: {seen.kid[:12]} stays"


def test_of_two_next_keys_that_were_seen_one_retires() -> None:
    """Verifiers may hold it: it stays published until policy lets it go."""
    first, second = next_key(seen_at=T0 + HOUR), next_key(seen_at=T0)
    state = vault([active_key(), first, second])
    after = mend(state, reason="two schedules met")

    assert only_set(after).next == second
    assert [key.kid for key in only_set(after).retiring] == [first.kid]
    assert kept(state, after)
    assert after.keys[first.kid].events[2].note == "two schedules met"
    assert after.keys[first.kid].events[3].forced == "it was published, and retires without having signed"


def test_of_two_active_keys_one_retires_and_keeps_its_promise() -> None:
    """Both may have signed."""
    state = vault([active_key(T0 + HOUR), active_key(T0 + DAY), next_key()])
    older, newer = (key for key in state.keys.values() if key.state == "active")
    after = mend(state)

    assert only_set(after).active == older
    life = after.keys[newer.kid].life
    assert (life.state, life.keep_until) == ("retiring", NOW + 2 * HOUR + 10 * MINUTE)


def test_three_of_each() -> None:
    """More than two branches may have met."""
    state = vault([active_key(), active_key(), active_key(), next_key(), next_key(seen_at=T0), next_key()])
    after = mend(state)
    assert sorted(key.state for key in after.keys.values()) == [
        "active", "next", "retiring", "retiring", "withdrawn", "withdrawn",
    ]  # fmt: skip


def test_keys_that_were_never_published_are_withdrawn() -> None:
    """No JWK Set contains next keys for encryption."""
    policy = set_policy(spec="ECDH-ES")
    state = vault([active_key(spec="ECDH-ES"), next_key(spec="ECDH-ES"), next_key(spec="ECDH-ES")], policy)
    assert sorted(key.state for key in mend(state).keys.values()) == ["active", "next", "withdrawn"]


def test_with_the_commit_as_proof_each_next_key_counts_as_published() -> None:
    """If the live URL is not fetched, the site of any commit may have been served."""
    state = vault([active_key(), next_key(), next_key(T0 + HOUR)], confirm="commit")
    assert sorted(key.state for key in mend(state).keys.values()) == ["active", "next", "retiring"]


def test_a_sound_vault_needs_nothing() -> None:
    """The plan is empty."""
    state = vault([active_key(), next_key(), retiring_key(T0, T0 + DAY)])
    assert plan_repair(state, NOW).changes == ()
    assert list(damage_of_sets(state, NOW)) == []


# --- the clock ------------------------------------------------------------------------------------------


def test_a_clock_that_was_ahead() -> None:
    """After the repair, the schedule continues as if the run had been now; emergency commands worked before it, too."""
    ahead = NOW + YEAR
    state = vault([retiring_key(ahead, ahead + 2 * HOUR), active_key(ahead), next_key(ahead, seen_at=ahead)])
    with fails("clock-behind"):
        plan_due(state, NOW, live=serving(state))
    assert [(damage.code, damage.usable) for damage in damage_of_sets(state, NOW)] == [("instant-future", True)]

    after = mend(state)
    key_set = only_set(after)
    assert key_set.newest_at == NOW
    assert mature_at(key_set, key_set.next, after.policy.site) == NOW + DAY  # type: ignore[arg-type]  # it is there
    assert plan_due(after, NOW + 3 * HOUR, live={}).changes[0].events[0].event == "withdrawn"


def test_a_key_that_a_clock_withdrew_too_early_is_published_again() -> None:
    """Until the instant that was promised; then it is withdrawn as ever. Its private half is gone."""
    gone = make_key(created(), activated(), deactivated(T0, NOW + 2 * HOUR), withdrawn(NOW + 5 * HOUR))
    state = vault([active_key(), next_key(), gone])
    after = mend(state)
    key = after.keys[gone.kid]
    assert (key.state, key.sealed, key.life.keep_until) == ("retiring", False, NOW + 2 * HOUR)
    assert key.life.ended_at is None
    later = plan_due(after, NOW + 3 * HOUR, live=serving(after))
    assert [change.events[0].event for change in later.changes if getattr(change, "kid", "") == gone.kid] == [
        "withdrawn"
    ]
    with fails("previous-key-missing"):
        plan_rollback(after, "id-token", NOW)


def test_a_key_that_was_withdrawn_in_time_does_not_come_back() -> None:
    """Neither one whose tokens have expired, nor one that was revoked; an event that says so is refused."""
    over = make_key(created(), activated(), deactivated(T0, T0 + HOUR), withdrawn(NOW + 5 * HOUR))
    state = vault([active_key(), next_key(), over])
    assert mend(state).keys[over.kid].state == "withdrawn"

    events = [created(), activated(), deactivated(T0, T0 + DAY), withdrawn(T0 + 2 * DAY)]
    with fails("key-not-restorable", RecordError) as caught:
        fold([*events, repaired(NOW, keep_until=NOW + DAY)])
    assert "withdrawn" in caught.value.message
    with fails("key-not-restorable", RecordError):
        fold([*events[:-1], revoked(NOW + DAY), repaired(NOW, keep_until=NOW + DAY)])


def test_emergencies_do_not_wait_for_a_clock() -> None:
    """They carry the later instant, and a note of the true one."""
    ahead = NOW + YEAR
    state = vault([active_key(ahead), next_key(ahead), retiring_key(ahead, ahead + DAY)])
    active = only_set(state).active
    assert active is not None
    plan = plan_revocation(state, active.kid, NOW, reason="compromised", note="found in a log")
    event = plan.changes[0].events[0]
    assert event.at == ahead
    assert event.note == "done at 2026-11-26 17:00Z, dated after the newest event; found in a log"
    assert "until 2026-11-27 17:00Z" in plan.warnings[0]
    back = plan_rollback(state, "id-token", NOW).changes[0].events[0]
    assert (back.at, back.note) == (ahead, "done at 2026-11-26 17:00Z, dated after the newest event")
    assert plan_revocation(state, active.kid, ahead, reason="compromised").changes[0].events[0].note is None


# --- events that a merge dropped ------------------------------------------------------------------------


def with_events(key: Key, *events: Event) -> Key:
    return msgspec.structs.replace(key, events=(*key.events, *events))


def test_a_revocation_that_a_merge_dropped_holds_again() -> None:
    """The next key takes over, and a new one takes its place: the set is never left without."""
    state = vault([active_key(), next_key(seen_at=T0)])
    active, candidate = only_set(state).active, only_set(state).next
    assert active is not None
    assert candidate is not None
    after = mend(state, dropped={active.kid: [with_events(active, revoked(T0 + DAY))]})

    assert after.keys[active.kid].state == "revoked"
    assert only_set(after).active == after.keys[candidate.kid]
    assert only_set(after).next is not None


def test_a_longer_promise_that_a_merge_dropped_holds_again() -> None:
    """The later keep_until counts, and the longer life of tokens."""
    gone = make_key(created(), activated(), deactivated(T0 + DAY, T0 + 2 * DAY))
    state = vault([active_key(), next_key(), gone])
    other = make_key(created(), activated(), deactivated(T0 + DAY + HOUR, T0 + 2 * DAY + HOUR))
    after = mend(state, dropped={gone.kid: [msgspec.structs.replace(other, public=gone.public)]})
    assert after.keys[gone.kid].life.keep_until == T0 + 2 * DAY + HOUR

    active = only_set(state).active
    assert active is not None
    longer = with_events(active, Event(at=T0 + DAY, event="lifetime", token_lifetime=7_200))
    after = mend(state, dropped={active.kid: [longer]})
    assert after.keys[active.kid].life.token_lifetime == 2 * HOUR


def test_a_key_that_signed_on_the_side_that_was_dropped_stays_published() -> None:
    """Here it is still next, there it was active already."""
    state = vault([active_key(), next_key(), next_key()])
    first = next(key for key in state.keys.values() if key.state == "next")
    after = mend(state, dropped={first.kid: [with_events(first, activated(T0 + DAY))]})
    assert after.keys[first.kid].state == "retiring"
    assert after.keys[first.kid].events[-2].forced == "it signed on the other side of a merge"


def test_a_key_that_took_over_on_the_side_that_was_dropped_takes_over_here() -> None:
    """The active key was revoked there, and its successor signed: both hold, and a next key is created."""
    state = vault([active_key(), next_key(seen_at=T0)])
    active, candidate = only_set(state).active, only_set(state).next
    assert active is not None
    assert candidate is not None
    after = mend(
        state,
        dropped={
            candidate.kid: [with_events(candidate, activated(T0 + DAY))],
            active.kid: [with_events(active, revoked(T0 + DAY))],
        },
    )
    assert only_set(after).active == after.keys[candidate.kid]
    assert after.keys[candidate.kid].events[-1].forced == "it signed on the other side of a merge"
    assert only_set(after).next is not None


@pytest.mark.parametrize("kids", [("a", "b"), ("b", "a")], ids=["active first", "next first"])
def test_a_rotation_that_was_dropped_holds_again_whatever_the_kids(kids: tuple[str, str]) -> None:
    """The key that signs there signs here; which of the two kids sorts first decides nothing."""
    old, new = active_key(kid=kids[0]), next_key(seen_at=T0, kid=kids[1])
    dropped = {
        old.kid: [with_events(old, deactivated(T0 + DAY, T0 + 2 * DAY))],
        new.kid: [with_events(new, activated(T0 + DAY))],
    }
    after = mend(vault([old, new]), dropped=dropped)
    assert only_set(after).active == after.keys[new.kid]
    assert [key.kid for key in only_set(after).retiring] == [old.kid]


@pytest.mark.parametrize("first", ["revoked", "retired"])
def test_of_several_versions_that_were_dropped_each_holds_again(first: str) -> None:
    """A merge of three lines: one revoked the key, another retired it. The revocation counts."""
    old, new = active_key(), next_key(seen_at=T0)
    versions = [with_events(old, revoked(T0 + DAY)), with_events(old, deactivated(T0 + DAY, T0 + 2 * DAY))]
    dropped = {old.kid: versions if first == "revoked" else versions[::-1]}
    after = mend(vault([old, new]), dropped=dropped)
    assert after.keys[old.kid].state == "revoked"
    assert only_set(after).active == after.keys[new.kid]


def test_a_rollback_after_a_repair_goes_to_a_key_that_signed() -> None:
    """Not to a next key that was only published, and retired with the repair."""
    state = vault([active_key(T0 + DAY), retiring_key(T0 + DAY, NOW + DAY), next_key(), next_key(seen_at=T0)])
    before = next(key for key in state.keys.values() if key.state == "retiring")
    after = mend(vault(state.keys.values(), confirm="commit"))
    assert len(only_set(after).retiring) == 2
    assert plan_rollback(after, "id-token", NOW).changes[0].kid == before.kid


def test_a_set_is_never_left_without_an_active_key() -> None:
    """There is no next key to activate: a key is created, as after a revocation."""
    state = vault([active_key()])
    active = only_set(state).active
    assert active is not None
    after = mend(state, dropped={active.kid: [with_events(active, revoked(T0 + DAY))]})
    made = only_set(after).active
    assert made is not None
    assert made.kid not in state.keys


def test_a_key_withdrawn_on_the_dropped_side_stays_live() -> None:
    """The repair reports the dropped event, and the key stays live."""
    state = vault([active_key(), next_key()])
    candidate = only_set(state).next
    assert candidate is not None
    after = mend(state, dropped={candidate.kid: [with_events(candidate, withdrawn(T0 + DAY))]})
    assert after.keys[candidate.kid].state == "next"
    assert after.keys[candidate.kid].events[-1].note == "a merge dropped events of the other side"


def test_a_set_that_signs_elsewhere_gets_no_key() -> None:
    """Its private keys are somewhere else: a warning is all that a repair can do."""
    state = vault([active_key()], set_policy(external=True))
    (kid,) = state.keys
    plan = plan_repair(state, NOW, dropped={kid: [with_events(state.keys[kid], revoked(T0 + DAY))]})
    assert [type(change).__name__ for change in plan.changes] == ["Amend"]
    assert "had no active key" in plan.warnings[0]


# --- sets without a table -------------------------------------------------------------------------------


def test_live_keys_of_a_set_without_a_table_are_found() -> None:
    """Ended keys may be without a table."""
    live, gone = active_key(set_name="former"), make_key(created(), revoked(T0), set_name="older")
    assert [(damage.code, damage.set) for damage in damage_of_sets(vault([live, gone]))] == [("set-orphaned", "former")]


def test_dropped_events_of_a_set_without_a_table() -> None:
    """An ended record says that it was seen; of a live one its table is asked for first."""
    live, gone = active_key(set_name="former"), make_key(created(), revoked(T0), set_name="older")
    dropped = {gone.kid: [make_key(created(), activated())], live.kid: [make_key(created(), revoked(T0))]}
    (change,) = plan_repair(vault([live, gone]), NOW, dropped=dropped, reason="two schedules met").changes
    assert change == Amend("older", gone.kid, (repaired(NOW),))


# --- a rotation that is pushed late ---------------------------------------------------------------------

ROTATED = T0 + DAY


def rotate_late(now: datetime, *more: Event) -> tuple[str, Plan]:
    """Plan the push at *now* of a rotation of `ROTATED`; *more* are the later events of the key that signed."""
    before = vault([active_key(), next_key(seen_at=T0)])
    key, successor = only_set(before).active, only_set(before).next
    assert key is not None
    assert successor is not None
    until = ROTATED + 2 * HOUR
    keys = {
        key.kid: with_events(key, deactivated(ROTATED, until), *more),
        successor.kid: with_events(successor, activated(ROTATED)),
    }
    return key.kid, plan_late_push(replace(before, keys=keys), before, now)


def test_a_rotation_that_is_pushed_late_keeps_the_old_key_for_longer() -> None:
    """Signers use it until they see the push."""
    kid, plan = rotate_late(ROTATED + DAY)
    (change,) = plan.changes
    assert isinstance(change, Amend)
    (event,) = change.events
    assert (change.kid, event.event, event.at) == (kid, "repaired", ROTATED + DAY)
    assert event.keep_until == ROTATED + DAY + 2 * HOUR + 10 * MINUTE
    assert event.note == "its rotation of 2026-11-24 17:00Z was pushed late"


def test_a_push_within_the_clock_skew_is_not_late() -> None:
    """Nothing is written."""
    assert rotate_late(ROTATED + 10 * MINUTE)[1].changes == ()


def test_a_key_that_was_withdrawn_before_it_was_pushed() -> None:
    """It signs still: there is nothing to keep, and the way out is to begin again from the remote."""
    with fails("withdrawal-unpushed", GateError):
        rotate_late(ROTATED + DAY, withdrawn(ROTATED + 3 * HOUR))
