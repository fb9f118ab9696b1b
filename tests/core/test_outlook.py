"""The announced transitions are those that happen, and late ones are reported."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import datetime, timedelta
from typing import Any

import pytest

from keyvault.core.keys import Key
from keyvault.core.outlook import Transition, next_transition, outlook, overdue
from keyvault.core.plan import Amend
from keyvault.core.planning import plan_due
from keyvault.core.state import VaultState
from keyvault.core.timing import mature_at, rotation_due_at
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
    make_key,
    next_key,
    only_set,
    retiring_key,
    serving,
    set_policy,
    vault,
    withdrawn,
)

LEAD, PERIOD, ZERO = 24 * HOUR, 90 * DAY, timedelta(0)
ENC, OCT = "ECDH-ES+A256KW", "HS256"
UNTIL = T0 + 400 * DAY


def changing_instants(state: VaultState) -> Iterator[datetime]:
    """Yield every instant from which a run may have something to do."""
    for key_set in state.sets.values():
        yield from (key.life.keep_until + SECOND for key in key_set.retiring if key.life.keep_until)
        if (due := rotation_due_at(key_set)) is not None:
            yield due
        if key_set.next and (mature := mature_at(key_set, key_set.next, state.policy.site)) is not None:
            yield mature


def really(state: VaultState, now: datetime, until: datetime) -> list[Transition]:
    """Run the scheduled job at each of these instants, deploying at once, and return its transitions."""
    known, done = set(state.keys), list[Transition]()
    while now <= until:
        while plan := plan_due(state, now, live=serving(state)):
            state = apply(plan, state)
            for change in plan.changes:
                kid = change.kid if isinstance(change, Amend) and change.kid in known else None
                done += [Transition(event.at, change.set, event.event, kid) for event in change.events]
        now = min((at for at in changing_instants(state) if at > now), default=until + SECOND)
    # A new key counts as seen when it is created: its receipt is not announced.
    return [it for it in done if it.event != "lifetime" and (it.event != "published" or it.kid)]


def in_order(transitions: list[Transition]) -> list[tuple[datetime, str, str, str]]:
    return sorted((it.at, it.set, it.event, it.kid or "") for it in transitions)


def pair(spec: str = "ES256", *, at: datetime = T0, seen_at: datetime | None = T0) -> list[Key]:
    return [active_key(at, spec=spec), next_key(at, seen_at=seen_at, spec=spec)]


STORIES: dict[str, tuple[list[Key], Any, dict[str, str]]] = {
    "ordinary": (pair(), set_policy(), {}),
    "not yet seen": (pair(seen_at=None), set_policy(), {}),
    "the commit counts": (pair(seen_at=None), set_policy(), {"confirm": "commit"}),
    "overdue": (pair(at=T0 - 2 * PERIOD, seen_at=T0 - PERIOD), set_policy(), {}),
    "overdue and not seen": (pair(at=T0 - 2 * PERIOD, seen_at=None), set_policy(), {}),
    "keys retire": ([*pair(), retiring_key(T0 - DAY, T0 - HOUR), retiring_key(T0 - HOUR, T0)], set_policy(), {}),
    "long promise": ([active_key(lifetime=30 * DAY), next_key(seen_at=T0)], set_policy(), {}),
    "longer tokens": (pair(), set_policy(token_lifetime=2 * DAY), {}),
    "short lives": (pair(), set_policy(cryptoperiod=30 * HOUR), {}),
    "no lead": (pair(seen_at=None), set_policy(publication_lead=ZERO), {}),
    "encryption": (pair(ENC), set_policy(spec=ENC, retention=100 * DAY), {}),
    "symmetric": (pair(OCT, seen_at=None), set_policy(spec=OCT), {}),
    "other algorithm": (pair("RS256"), set_policy(spec="ES256"), {}),
    "other algorithm, overdue": (pair("RS256", at=T0 - 2 * PERIOD, seen_at=None), set_policy(), {}),
    "other algorithm with a long lead, overdue": (
        [active_key(T0 - 2 * PERIOD, spec="RS256"), next_key(seen_at=T0)],
        set_policy(algorithm_lead=14 * DAY),
        {},
    ),
    "other encryption": (pair(ENC), set_policy(spec="RSA-OAEP-256"), {}),
    "other encryption, overdue": (pair(ENC, at=T0 - PERIOD, seen_at=None), set_policy(spec="RSA-OAEP-256"), {}),
    "new set": ([], set_policy(), {}),
    "new encryption set": ([], set_policy(spec=ENC), {}),
    "next key missing": ([active_key()], set_policy(), {}),
    "next key missing, overdue": ([active_key(T0 - PERIOD)], set_policy(), {}),
    "active key missing": ([next_key()], set_policy(), {}),
    "closing": (pair(), set_policy(closing=True), {}),
    "closing, nearly done": ([retiring_key(T0 - DAY, T0 + DAY)], set_policy(closing=True), {}),
    "opened again": ([retiring_key(T0 - DAY, T0 + DAY), make_key(created(), withdrawn(T0))], set_policy(), {}),
}


@pytest.mark.parametrize("story", STORIES)
def test_runs_do_what_the_outlook_announces(story: str) -> None:
    """The calendar agrees with the scheduler: each transition, to the second, for more than a year."""
    keys, policy, site = STORIES[story]
    state = vault(keys, policy, **site)
    assert in_order(really(state, T0, UNTIL)) == in_order(outlook(state, T0, until=UNTIL))


def test_the_outlook_is_oldest_first_and_ends_where_it_should() -> None:
    """One second of horizon more shows one transition more."""
    state = vault(pair())
    key_set = only_set(state)
    assert key_set.active
    assert key_set.next
    assert outlook(state, T0, until=T0 + PERIOD - SECOND) == []
    assert outlook(state, T0, until=T0 + PERIOD) == [
        Transition(T0 + PERIOD, "id-token", "activated", key_set.next.kid),
        Transition(T0 + PERIOD, "id-token", "created", None),
        Transition(T0 + PERIOD, "id-token", "deactivated", key_set.active.kid),
    ]


def test_the_outlook_of_some_sets() -> None:
    """Sets that were not requested are omitted."""
    keys = [make(set_name=name) for name in "ab" for make in (active_key, next_key)]
    state = vault(keys, set_policy("a"), set_policy("b"))
    assert {it.set for it in outlook(state, T0, until=UNTIL)} == {"a", "b"}
    assert {it.set for it in outlook(state, T0, until=UNTIL, names=["b"])} == {"b"}


@pytest.mark.parametrize("story", STORIES)
def test_the_next_transition_is_the_first_of_the_outlook(story: str) -> None:
    """`status` and `plan` agree."""
    keys, policy, site = STORIES[story]
    state = vault(keys, policy, **site)
    first = next_transition(only_set(state), state.policy.site, T0)
    coming = outlook(state, T0, until=UNTIL)
    assert (first.at if first else None) == (coming[0].at if coming else None)


def test_a_set_that_has_closed_has_no_next_transition() -> None:
    """Nothing happens in it any more."""
    state = vault([make_key(created(), withdrawn(T0))], set_policy(closing=True))
    assert next_transition(only_set(state), state.policy.site, T0) is None


# --- lateness -------------------------------------------------------------------------------------------

RETIRED = retiring_key(T0 - DAY, T0, kid="former")


@pytest.mark.parametrize("grace", [ZERO, HOUR])
@pytest.mark.parametrize(
    ("keys", "at", "sentence"),
    [
        pytest.param(
            [*pair(), RETIRED], T0, "id-token: key former should have been withdrawn {}", id="withdrawal is late"
        ),
        pytest.param(pair(), T0 + PERIOD, "id-token: rotation was due {}", id="rotation is late"),
        pytest.param(
            pair(seen_at=None),
            T0 + LEAD,
            f"id-token: the next key was created 1 day ago and not yet seen at {URL}",
            id="nobody saw the key",
        ),
    ],
)
def test_overdue_transitions_are_reported(keys: list[Key], at: datetime, sentence: str, grace: timedelta) -> None:
    """Not at the instant and not within the grace period, but one second later, with the time since then."""
    state = vault(keys)
    ago = {ZERO: "a moment ago", HOUR: "1 hour ago"}[grace]
    assert overdue(state, at + grace, grace=grace) == []
    assert overdue(state, at + grace + SECOND, grace=grace) == [sentence.format(ago)]


@pytest.mark.parametrize("keys", [[], [active_key()], [next_key()]])
def test_a_missing_key_is_reported(keys: list[Key]) -> None:
    """An incomplete set needs a run."""
    assert overdue(vault(keys), T0) == ["id-token: a key is missing; keyvault rotate --due creates it"]


@pytest.mark.parametrize("spec", [ENC, OCT])
def test_unpublished_keys_are_not_overdue(spec: str) -> None:
    """Without a URL to fetch, there is no receipt to wait for."""
    assert overdue(vault(pair(spec, seen_at=None), set_policy(spec=spec)), T0 + 30 * DAY) == []


def test_a_closing_set_is_late_with_withdrawals_only() -> None:
    """Its keys are not rotated, and none is created."""
    state = vault([RETIRED], set_policy(closing=True))
    assert overdue(state, T0 + MINUTE) == ["id-token: key former should have been withdrawn 1 min ago"]


def test_each_overdue_set_is_reported() -> None:
    """In the order of keyvault.toml, whatever the state of the sets between them."""
    keys = [retiring_key(T0 - DAY, T0, kid=name, set_name=name) for name in "abc"]
    state = vault(keys, set_policy("a", closing=True), set_policy("b"), set_policy("c"))
    late = "{0}: key {0} should have been withdrawn 1 min ago"
    missing = "{}: a key is missing; keyvault rotate --due creates it"
    assert overdue(state, T0 + MINUTE) == [
        late.format("a"),
        late.format("b"),
        missing.format("b"),
        late.format("c"),
        missing.format("c"),
    ]
