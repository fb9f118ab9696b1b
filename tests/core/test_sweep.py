"""
Two years of scheduled runs, and every schedule of a short time: every token verifies until it has expired.

Ticks are dropped, deploys are late or fail, the host cannot be reached; the test sets the clock. The same
judge must condemn four rules that are wrong by little: otherwise its praise would be worth nothing.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterator
from datetime import datetime, timedelta

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from keyvault.core.policy import SetPolicy
from tests.core.build import DAY, HOUR, MINUTE, SECOND, T0, set_policy
from tests.core.mutants import MUTANTS, forgets_the_signers, removes_at_exactly, replace_rule
from tests.core.simulation import Spell, World, begin, token_fails

POLICIES = {
    "default": set_policy(),
    "weekly": set_policy(cryptoperiod=7 * DAY, token_lifetime=12 * HOUR, signer_lag=6 * HOUR),
    "daily": set_policy(cryptoperiod=DAY, publication_lead=23 * HOUR, token_lifetime=HOUR, signer_lag=22 * HOUR),
    "long tokens": set_policy(cryptoperiod=60 * DAY, token_lifetime=45 * DAY, signer_lag=14 * DAY),
    "no slack": set_policy(cryptoperiod=30 * DAY, signer_lag=0 * HOUR, clock_skew=0 * HOUR, token_lifetime=SECOND),
}

#: If each part of a rule takes one step, an error of one step is visible.
STEP = HOUR
UNIT = set_policy(
    cryptoperiod=3 * STEP, publication_lead=2 * STEP, token_lifetime=STEP, signer_lag=STEP, clock_skew=STEP
)


class Chance:
    """Pseudo-random numbers that are the same everywhere (a linear congruential generator)."""

    def __init__(self, seed: int) -> None:
        self.state = seed * 2_654_435_761 % 2**32

    def below(self, bound: int) -> int:
        """Return a number from 0 to *bound* - 1."""
        self.state = (self.state * 1_664_525 + 1_013_904_223) % 2**32
        return (self.state >> 8) % bound


def live_through(world: World, *, until: datetime, every: timedelta, chance: Chance, trouble: int) -> World:
    """Run the scheduled job *every* so often; *trouble* is how many of ten ticks and deploys go wrong."""
    while world.now < until:
        world.wait(every)
        if chance.below(10) < trouble:
            continue
        world.reachable = chance.below(10) >= trouble
        failed = chance.below(10) < trouble
        world.tick(None if failed else chance.below(1 + 3 * trouble) * 20 * MINUTE)
    return world


SCHEDULES = [
    pytest.param(
        every, trouble, id=f"every {every}, {trouble} of 10 fail", marks=pytest.mark.slow if every == HOUR else ()
    )
    for every, trouble in [(HOUR, 0), (6 * HOUR, 2), (DAY, 0), (DAY, 5), (7 * DAY, 3), (5 * HOUR, 9)]
]


@pytest.mark.unmeasured
@pytest.mark.parametrize(("every", "trouble"), SCHEDULES)
@pytest.mark.parametrize("name", POLICIES)
def test_two_years_of_scheduled_runs_never_break_a_token(name: str, every: timedelta, trouble: int) -> None:
    """However late, dropped or failed the runs are: each token verifies until it expires, from any cache."""
    chance = Chance(1 + trouble)
    world = begin(POLICIES[name], latency=chance.below(3) * HOUR)
    live_through(world, until=T0 + 730 * DAY, every=every, chance=chance, trouble=trouble)
    assert world.violations() == []
    assert len(world.spells) > 4  # it did rotate
    assert len(world.key_set.jwk_set) <= 2 + 2


@pytest.mark.slow
@pytest.mark.parametrize("seed", range(40))
def test_two_years_of_many_schedules_never_break_a_token(seed: int) -> None:
    """The same, for many more mixtures of trouble."""
    chance = Chance(1_000 + seed)
    for policy in POLICIES.values():
        every = (HOUR, 3 * HOUR, DAY, 2 * DAY)[chance.below(4)] + chance.below(2) * 7 * SECOND
        world = begin(policy, latency=chance.below(30) * HOUR)
        live_through(world, until=T0 + 730 * DAY, every=every, chance=chance, trouble=chance.below(10))
        assert world.violations() == []


# --- every schedule of a short time ---------------------------------------------------------------------

#: The outcomes of a tick: it is dropped, its deploy takes this long, or its deploy fails.
DROPPED = "dropped"
Fate = timedelta | str | None


def every_schedule(
    fates: tuple[Fate, ...],
    ticks: int,
    *,
    policy: SetPolicy = UNIT,
    first: tuple[timedelta, ...] = (0 * STEP, 2 * STEP),
) -> Iterator[World]:
    """Yield the world at the end of every way in which *ticks* ticks can go."""

    def branch(world: World, left: int) -> Iterator[World]:
        if not left:
            yield world
            return
        for fate in fates:
            after = world.copy()
            after.wait(STEP)
            if not isinstance(fate, str):
                after.tick(fate)
            yield from branch(after, left - 1)

    for latency in first:
        yield from branch(begin(policy, latency), ticks)


@pytest.mark.slow
@pytest.mark.unmeasured
def test_every_schedule_of_eight_ticks_keeps_every_token_verifiable() -> None:
    """No way to drop ticks and delay deploys breaks a token: 13,122 schedules, each exact to the step."""
    worlds = 0
    for world in every_schedule((DROPPED, 0 * STEP, 2 * STEP), 8):
        assert world.violations() == []
        worlds += 1
    assert worlds == 2 * 3**8


@pytest.mark.slow
def test_a_million_schedules_keep_every_token_verifiable() -> None:
    """The same with failing deploys and more ticks: 1,048,576 schedules."""
    worlds = 0
    for world in every_schedule((DROPPED, None, 0 * STEP, 2 * STEP), 10, first=(STEP,)):
        assert world.violations() == []
        worlds += 1
    assert worlds == 4**10


# --- rules that are wrong by little ---------------------------------------------------------------------


@pytest.mark.unmeasured
@pytest.mark.parametrize(("name", "mutant"), MUTANTS)
def test_the_sweep_catches_a_rule_that_is_wrong_by_little(
    name: str, mutant: Callable[..., object], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Each of the four wrong timing rules breaks a token in some schedule, and the judge says so."""
    replace_rule(monkeypatch, name, mutant)
    worlds = every_schedule((0 * STEP, 2 * STEP), 8)
    assert any(world.violations() for world in worlds)


@pytest.mark.unmeasured
@pytest.mark.parametrize(("name", "mutant"), MUTANTS)
def test_ordinary_schedules_catch_a_rule_that_is_wrong_by_little(
    name: str, mutant: Callable[..., object], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Two months of hourly runs with ordinary trouble are enough to see each of the four."""
    policy = set_policy(
        cryptoperiod=25 * HOUR, publication_lead=24 * HOUR, token_lifetime=HOUR, signer_lag=HOUR, clock_skew=HOUR
    )
    honest = live_through(begin(policy), until=T0 + 60 * DAY, every=HOUR, chance=Chance(7), trouble=1)
    assert honest.violations() == []
    replace_rule(monkeypatch, name, mutant)
    wrong = live_through(begin(policy), until=T0 + 60 * DAY, every=HOUR, chance=Chance(7), trouble=1)
    assert wrong.violations() != []


def all_tokens(world: World) -> Iterator[tuple[Spell, datetime, datetime, datetime]]:
    """Yield every token of the spells that were over early enough, at every instant, with every cache."""
    policy = world.policy
    for spell in world.spells[1:]:
        if spell.end is None or spell.end + policy.signer_lag + spell.lifetime + policy.clock_skew > world.now:
            continue
        for signed_at in steps(spell.start, spell.end + policy.signer_lag):
            for at in steps(signed_at, signed_at + spell.lifetime + policy.clock_skew):
                for fetched_at in steps(at - policy.publication_lead, at):
                    yield spell, signed_at, at, fetched_at


def steps(start: datetime, end: datetime) -> Iterator[datetime]:
    return itertools.takewhile(lambda at: at <= end, (start + count * STEP for count in itertools.count()))


@pytest.mark.unmeasured
@pytest.mark.parametrize("mutant", [None, forgets_the_signers, removes_at_exactly])
@settings(max_examples=25)
@given(fates=st.lists(st.sampled_from([DROPPED, 0 * STEP, 2 * STEP]), min_size=12, max_size=16))
def test_the_judge_agrees_with_looking_at_every_single_token(
    mutant: Callable[..., datetime] | None, fates: list[Fate]
) -> None:
    """The span that the judge checks is the same as each token, at each instant, from each cache."""
    with pytest.MonkeyPatch.context() as patch:
        if mutant:
            replace_rule(patch, "keep_until", mutant)
        world = begin(UNIT)
        for fate in fates:
            world.wait(STEP)
            if not isinstance(fate, str):
                world.tick(fate)
    broken = {
        spell
        for spell, signed_at, at, fetched_at in all_tokens(world)
        if token_fails(world, spell, signed_at=signed_at, at=at, fetched_at=fetched_at)
    }
    complete = {spell for spell, *_ in all_tokens(world)}
    judged = {spell for spell in complete if any(spell.kid in line for line in world.violations())}
    assert broken == judged
    assert mutant or judged == set()
