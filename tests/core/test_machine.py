"""
Any order of commands and mishaps: the invariants hold on the real planners.

Hypothesis makes up the story: runs, waits, forced rotations, revocations, rollbacks, edits of the policy,
deploys that are late or fail. After each step a set is whole, its records have only grown, and every token
that was promised to verify does.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Iterator
from datetime import datetime, timedelta

import pytest
from hypothesis import Phase, seed, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, rule, run_state_machine_as_test

from keyvault.core.algorithms import key_spec
from keyvault.core.planning import plan_due, plan_revocation, plan_rollback, plan_rotation
from keyvault.errors import GateError
from tests.core.build import DAY, HOUR, MINUTE, SECOND, restart, set_policy
from tests.core.mutants import MUTANTS, replace_rule
from tests.core.simulation import World, begin
from tests.errors import fails

LEAD, PERIOD = 24 * HOUR, 10 * DAY

waits = st.sampled_from([SECOND, MINUTE, HOUR, DAY, 3 * PERIOD])
nearest = st.sampled_from([0, 0, 0, 1, 1, 2, 3])
latencies = st.sampled_from([timedelta(0), MINUTE, 5 * HOUR, 2 * DAY, None])
lifetimes = st.sampled_from([SECOND, HOUR, 5 * HOUR, 2 * DAY])
algorithms = st.sampled_from(["ES256", "EdDSA", "RS256"])


class Story(RuleBasedStateMachine):
    """Commands on a set, and events of its host."""

    world: World

    @initialize(latency=latencies)
    def begin(self, latency: timedelta | None) -> None:
        restart()
        self.world = begin(set_policy(cryptoperiod=PERIOD, publication_lead=LEAD), latency)

    @rule(duration=waits)
    def wait(self, duration: timedelta) -> None:
        self.world.wait(duration)

    @rule(which=nearest, offset=st.sampled_from([-SECOND, timedelta(0), SECOND]), latency=latencies)
    def run_at_a_boundary(self, which: int, offset: timedelta, latency: timedelta | None) -> None:
        """Run one second before, at, or after an instant at which something changes."""
        instants = sorted({at + offset for at in self._boundaries() if at + offset > self.world.now})
        if instants:
            self.world.wait(instants[which % len(instants)] - self.world.now)
            self.scheduled_run(latency)

    def _boundaries(self) -> Iterator[datetime]:
        world, policy = self.world, self.world.policy
        for spell in world.spells:
            yield spell.start + policy.cryptoperiod
            if spell.end is not None:
                yield spell.end + policy.signer_lag + spell.lifetime + policy.clock_skew
        yield from (since + policy.publication_lead for since, _ in world.served)
        yield from (since for since, _ in world.deploying)

    @rule(reachable=st.booleans())
    def host(self, reachable: bool) -> None:
        self.world.reachable = reachable

    @rule(latency=latencies)
    def run_now(self, latency: timedelta | None) -> None:
        self.scheduled_run(latency)

    def scheduled_run(self, latency: timedelta | None) -> None:
        self.world.tick(latency)
        again = plan_due(self.world.state, self.world.now, live=self.world.live())
        if latency != timedelta(0):  # otherwise the host changed meanwhile
            assert again.changes == ()

    @rule(latency=latencies, forced=st.sampled_from([None, None, "the key has leaked"]))
    def rotate(self, latency: timedelta | None, forced: str | None) -> None:
        world = self.world
        name = world.policy.name
        try:
            plan = plan_rotation(world.state, [name], world.now, live=world.live(rotating=(name,)), forced=forced)
        except GateError:
            assert forced is None
            return
        world.commit(plan)
        world.deploy(latency)

    @rule(latency=latencies, which=st.integers(0, 5))
    def revoke(self, latency: timedelta | None, which: int) -> None:
        world = self.world
        held = [key for key in world.key_set.keys if key.state in ("active", "next", "retiring")]
        kid = held[which % len(held)].kid
        world.commit(plan_revocation(world.state, kid, world.now, reason="compromised"))
        world.deploy(latency)

    @rule(latency=latencies)
    def roll_back(self, latency: timedelta | None) -> None:
        world = self.world
        if not world.key_set.retiring:
            with fails("previous-key-missing"):
                plan_rollback(world.state, world.policy.name, world.now)
            return
        world.commit(plan_rollback(world.state, world.policy.name, world.now))
        world.deploy(latency)
        assert world.key_set.active
        assert world.key_set.active.life.activated_at == world.now

    @rule(alg=algorithms, latency=latencies)
    def change_algorithm(self, alg: str, latency: timedelta | None) -> None:
        self.world.edit_policy(dataclasses.replace(self.world.policy, spec=key_spec(alg)))
        self.world.tick(latency)

    @rule(lifetime=lifetimes)
    def change_lifetime(self, lifetime: timedelta) -> None:
        # The commands that edit keyvault.toml plan in the same commit; the next run deploys.
        world = self.world
        world.edit_policy(dataclasses.replace(world.policy, token_lifetime=lifetime))
        world.commit(plan_due(world.state, world.now, live={}))

    @invariant()
    def every_token_verifies(self) -> None:
        assert self.world.violations() == []

    @invariant()
    def published_is_what_signs_or_did(self) -> None:
        assert {key.state for key in self.world.key_set.jwk_set} <= {"active", "next", "retiring"}


@pytest.mark.unmeasured
def test_any_order_of_commands_keeps_the_invariants() -> None:
    """After any operations in any order: one active key, one next key, and every token verifies."""
    run_state_machine_as_test(Story, settings=settings(max_examples=150, stateful_step_count=40))


@pytest.mark.slow
def test_any_order_of_commands_keeps_the_invariants_for_long() -> None:
    """The same, with longer stories and many more of them."""
    run_state_machine_as_test(Story, settings=settings(max_examples=1_500, stateful_step_count=80))


@pytest.mark.parametrize(("name", "mutant"), MUTANTS)
def test_the_stories_catch_a_rule_that_is_wrong_by_little(
    name: str, mutant: Callable[..., object], monkeypatch: pytest.MonkeyPatch
) -> None:
    """The stories are rich enough to meet each of the four wrong timing rules."""
    replace_rule(monkeypatch, name, mutant)
    # With most seeds, a story that meets the rule comes within a hundred examples; with some, after thousands.
    stories = seed(3)(type("Stories", (Story,), {}))
    quick = settings(max_examples=10_000, stateful_step_count=40, phases=[Phase.generate])
    with pytest.raises(AssertionError, match="was needed from"):
        run_state_machine_as_test(stories, settings=quick)
