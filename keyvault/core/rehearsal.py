"""
Rehearse a policy: run the real planners under simulated failures, against the known caches of verifiers.

Runs are late or dropped, deploys are slow or fail, caches of the host serve old copies, the clocks of verifiers are
behind the clock of the runs, a signer uses the old key for as long as it may. Sometimes a key is revoked, or a rotation
is rolled back. The caller gives the random seed, so a policy gets the same verdict everywhere.

For each activation the question is: from when on does every copy that a verifier may hold or fetch contain the key?
Until then its tokens fail there.

Source: docs/lifecycle.md, the timing rule; ``verifiers`` for the caches.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime, timedelta

import msgspec

from keyvault.core.gate import LiveSite, urls_to_fetch
from keyvault.core.jwk import PublicJWK, b64u
from keyvault.core.keys import Envelope, Key
from keyvault.core.plan import Amend, Create, Plan
from keyvault.core.planning import plan_due, plan_revocation, plan_rollback
from keyvault.core.policy import Policy, SetPolicy, SitePolicy
from keyvault.core.state import NO_COMMIT, KeySet, VaultState
from keyvault.core.timing import mature_at, rotation_due_at
from keyvault.core.verifiers import VERIFIERS, Verifier
from keyvault.errors import KeyVaultError

_BEGIN = datetime(2000, 1, 1, tzinfo=UTC)
_SECOND, _MINUTE, _HOUR = timedelta(seconds=1), timedelta(minutes=1), timedelta(hours=1)

#: Intervals of the schedule, the share of dropped runs and of failed deploys, and delays of runs and deploys.
_EVERY = (_SECOND, _MINUTE, _HOUR, 6 * _HOUR, 24 * _HOUR)
_DROPPED, _FAILED = 20, 20  # of 100
_LATE = (timedelta(0), 3 * _MINUTE, 20 * _MINUTE, 4 * _HOUR)
_DEPLOY = (timedelta(0), _MINUTE, 5 * _MINUTE, 30 * _MINUTE)

ROTATIONS = 4

#: What may happen after a rotation; each has the same chance.
_NOTHING, _REVOCATION, _ROLLBACK = _INCIDENTS = range(3)


@dataclass(frozen=True, slots=True)
class Verdict:
    """
    The effects of a policy on one verifier.

    Attributes:
        verifier: The verifier.
        planned: For how long tokens of a new key can fail there after a planned rotation; zero is fine.
        emergency: The same after a revocation of the active key.
        revoked: For how long it can accept a revoked key; None if until it restarts or meets an unknown kid.
    """

    verifier: Verifier
    planned: timedelta
    emergency: timedelta
    revoked: timedelta | None


@dataclass(frozen=True, slots=True)
class Rehearsal:
    """
    The result of a rehearsal of one set.

    Attributes:
        set: Its name.
        schedules: The number of simulated schedules.
        rotations: The number of planned rotations in them.
        revocations: The number of revoked active keys.
        rollbacks: The number of rollbacks.
        too_early: For how long, at worst, the host lacked a key while its tokens were valid; zero is fine.
        verdicts: One for each verifier.
        algorithm_lead: How long the first key of a new algorithm is live before it signs: the time in which the
            verifiers of `verifiers.KEEP_ALGORITHMS` must be restarted.
    """

    set: str
    schedules: int
    rotations: int
    revocations: int
    rollbacks: int
    too_early: timedelta
    verdicts: tuple[Verdict, ...]
    algorithm_lead: timedelta

    @property
    def fine(self) -> bool:
        """Whether no token of a planned rotation can fail anywhere."""
        return not self.too_early and not any(verdict.planned for verdict in self.verdicts)


def rehearse(policy: SetPolicy, site: SitePolicy, *, schedules: int = 200, seed: int = 1) -> Rehearsal:
    """
    Return the effects of *policy* on verifiers over a number of simulated *schedules*.

    The set must be a published set for signatures.
    """
    gaps = {(verifier, urgent): timedelta(0) for verifier in VERIFIERS for urgent in (False, True)}
    too_early, rotations, revocations, rollbacks = timedelta(0), 0, 0, 0
    for number in range(schedules):
        # The timing of an external set is the same, so its keys are simply generated here.
        simulation = _Simulation(replace(policy, external=False), site, _Random(seed * 1_000_003 + number))
        simulation.run()
        for index, period in enumerate(simulation.periods):
            too_early = max(too_early, simulation.removed_too_early(period))
            # The first key of a set has no predecessor: no verifier holds a copy of the set yet.
            if index and not period.resumed:
                for verifier in VERIFIERS:
                    case = verifier, period.urgent
                    gaps[case] = max(gaps[case], simulation.gap(period, verifier))
        rotations, revocations = rotations + simulation.rotations, revocations + simulation.revocations
        rollbacks += simulation.rollbacks
    verdicts = tuple(
        Verdict(
            verifier,
            gaps[verifier, False],
            gaps[verifier, True],
            verifier.trusts_removed_keys_for(site.max_age),
        )
        for verifier in VERIFIERS
    )
    longer = policy.lead(new_algorithm=True)
    return Rehearsal(policy.name, schedules, rotations, revocations, rollbacks, too_early, verdicts, longer)


class _Random:
    """Reproducible pseudo-random numbers (a linear congruential generator)."""

    def __init__(self, seed: int) -> None:
        self._state = seed * 2_654_435_761 % 2**32

    def below(self, bound: int) -> int:
        """Return a number from 0 to *bound* - 1."""
        self._state = (self._state * 1_664_525 + 1_013_904_223) % 2**32
        return (self._state >> 8) % bound

    def choose(self, values: tuple[timedelta, ...]) -> timedelta:
        """Return a random element of *values*."""
        return values[self.below(len(values))]


@dataclass
class _SigningPeriod:
    """
    A period in which one key was active.

    Attributes:
        kid: The key.
        start: When it was activated.
        urgent: Whether the key before it was revoked.
        resumed: Whether it was active before.
        end: When it was deactivated; None if it still signs.
        revoked: Whether it was revoked then or later.
    """

    kid: str
    start: datetime
    urgent: bool
    resumed: bool
    end: datetime | None = None
    revoked: bool = False


@dataclass
class _Simulation:
    """The simulation of one set, its host and its schedule."""

    policy: SetPolicy
    site: SitePolicy
    random: _Random
    now: datetime = _BEGIN
    every: timedelta = _HOUR
    keys: dict[str, Key] = field(default_factory=dict)
    periods: list[_SigningPeriod] = field(default_factory=list)
    served: list[tuple[datetime, frozenset[str]]] = field(default_factory=list)
    deploying: list[tuple[datetime, frozenset[str]]] = field(default_factory=list)
    rotations: int = 0
    revocations: int = 0
    rollbacks: int = 0

    def run(self) -> None:
        """Simulate a few cryptoperiods with at most two incidents."""
        self.every = self.random.choose(_EVERY)
        self._run_job(reliable=True)
        incidents = {self.random.below(ROTATIONS): self.random.below(len(_INCIDENTS)) for _ in range(2)}
        while self.rotations < ROTATIONS:
            before = self.rotations
            self._wait_until_due()
            self._run_job()
            incident = incidents.pop(self.rotations - 1, _NOTHING) if self.rotations > before else _NOTHING
            if incident != _NOTHING:
                self.now += self.random.below(1 + int(self.policy.cryptoperiod.total_seconds()) // 2) * _SECOND
                self._complete_deploys()
                self._incident(incident)

    @property
    def state(self) -> VaultState:
        return VaultState(NO_COMMIT, Policy(self.site, {self.policy.name: self.policy}), self.keys)

    @property
    def key_set(self) -> KeySet:
        return self.state.sets[self.policy.name]

    # --- time -------------------------------------------------------------------------------------------

    def _wait_until_due(self) -> None:
        """Advance the time to the first run with a due transition; earlier runs would plan nothing."""
        key_set = self.key_set
        instants = [rotation_due_at(key_set), *(at for at, _ in self.deploying)]
        instants += [key.life.keep_until for key in key_set.retiring]
        if key_set.next is not None:
            instants.append(mature_at(key_set, key_set.next, self.site) or self.now)
        coming = min((at for at in instants if at is not None and at > self.now), default=self.now)
        runs = max(1, -((self.now - coming) // self.every))
        while self.random.below(100) < _DROPPED:
            runs += 1
        begun = _BEGIN + ((self.now - _BEGIN) // self.every + runs) * self.every
        self.now = max(self.now + _SECOND, begun + self.random.choose(_LATE))
        self._complete_deploys()

    def _complete_deploys(self) -> None:
        while self.deploying and self.deploying[0][0] <= self.now:
            self.served.append(self.deploying.pop(0))

    # --- actions ----------------------------------------------------------------------------------------

    def _run_job(self, *, reliable: bool = False) -> None:
        """Run the scheduled job and deploy its result."""
        kids = self.served[-1][1] if self.served else frozenset()
        seen = frozenset((kid, self.keys[kid].public.thumbprint) for kid in kids)
        live: LiveSite = dict.fromkeys(urls_to_fetch(self.state, self.now), seen)
        plan = plan_due(self.state, self.now, live=live)
        if any(event.event == "activated" for change in plan.changes for event in change.events) and self.periods:
            self.rotations += 1
        self._apply(plan)
        self._deploy(fails=not reliable and self.random.below(100) < _FAILED)

    def _incident(self, incident: int) -> None:
        """Revoke the active key or roll back the last rotation; the operator deploys at once."""
        active = self.key_set.active
        assert active is not None
        if incident == _REVOCATION:
            self._apply(plan_revocation(self.state, active.kid, self.now, reason="compromised"))
            self.revocations += 1
            for period in self.periods:
                period.revoked = period.revoked or period.kid == active.kid
        else:
            try:
                self._apply(plan_rollback(self.state, self.policy.name, self.now))
            except KeyVaultError:
                return  # the previous key has left the set
            self.rollbacks += 1
        self._deploy(fails=False)

    def _apply(self, plan: Plan) -> None:
        before = self.key_set.active
        for change in plan.changes:
            if isinstance(change, Create):
                key = Key(1, change.set, _public(change.spec.alg, len(self.keys), self.policy), change.events, _SEALED)
            elif isinstance(change, Amend):
                old = self.keys[change.kid]
                private = msgspec.UNSET if change.drops_private else old.private
                key = msgspec.structs.replace(old, events=(*old.events, *change.events), private=private)
            self.keys[key.kid] = key
        active = self.key_set.active
        if active is None or (before is not None and active.kid == before.kid):
            return
        if self.periods:
            self.periods[-1].end = self.now
        urgent = before is not None and self.keys[before.kid].state == "revoked"
        resumed = any(period.kid == active.kid for period in self.periods)
        self.periods.append(_SigningPeriod(active.kid, self.now, urgent, resumed))

    def _deploy(self, *, fails: bool) -> None:
        kids = frozenset(key.kid for key in self.key_set.jwk_set)
        latest = self.deploying[-1] if self.deploying else self.served[-1] if self.served else None
        if fails or (latest is not None and latest[1] == kids):
            return
        arrival = self.now + (self.random.choose(_DEPLOY) if self.served else timedelta(0))
        self.deploying.append((max(arrival, latest[0]) if latest else arrival, kids))
        self._complete_deploys()

    # --- results ----------------------------------------------------------------------------------------

    def gap(self, period: _SigningPeriod, verifier: Verifier) -> timedelta:
        """Return for how long after the start of *period* tokens of its key can fail at *verifier*."""
        first = next((at for at, kids in self._all_served() if period.kid in kids), None)
        if first is None:
            return self.now - period.start
        # From then on every response contains the key, even from a cache between the host and the verifier.
        known = first + self.site.max_age
        if verifier.refetches:
            late = known - period.start
            return late + verifier.pause if late > timedelta(0) else timedelta(0)
        keeps = verifier.keeps_at_most(self.site.max_age)
        assert keeps is not None
        return max(timedelta(0), known + keeps - period.start)

    def removed_too_early(self, period: _SigningPeriod) -> timedelta:
        """
        Return for how long the host lacked the key of *period* while its tokens were valid.

        0 if the key was revoked, was never served, or followed a revoked key.
        """
        if period.end is None or period.revoked:
            return timedelta(0)
        lifetime = self.policy.token_lifetime
        needed = period.end + self.policy.signer_lag + lifetime + self.policy.clock_skew
        gone = next(
            (at for at, kids in self._all_served() if at > period.start and period.kid not in kids and at <= needed),
            None,
        )
        served = any(period.kid in kids for _, kids in self._all_served())
        return timedelta(0) if gone is None or not served or period.urgent else needed - gone + _SECOND

    def _all_served(self) -> Iterator[tuple[datetime, frozenset[str]]]:
        yield from self.served
        yield from self.deploying


def _public(alg: str, number: int, policy: SetPolicy) -> PublicJWK:
    """Return a public JWK that is unique to *number*; planners do not check its members."""
    name = b64u(hashlib.sha256(b"%d" % number).digest())
    spec = policy.spec
    if spec.kty == "RSA":
        return PublicJWK("RSA", name, spec.use, alg, n="A" * ((spec.bits or 0) // 8 * 8 // 6 + 1), e="AQAB")
    return PublicJWK(spec.kty, name, spec.use, alg, crv=spec.crv or msgspec.UNSET, x=name, y=name)


#: A stand-in for a sealed private key: a rollback checks that there is one.
_SEALED = Envelope(protected="", recipients=[], iv="", ciphertext="", tag="")
