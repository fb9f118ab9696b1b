"""
Rehearse a policy: the real planners under schedules that go wrong, against what verifiers are known to cache.

Runs are late or dropped, deploys take their time or fail, the host's caches serve what is old, the clocks of verifiers
are behind that of the runs, a signer uses the old key for as long as it may; now and then a key is revoked, or a
rotation taken back. Chance is a number that the caller gives, so the same policy gets the same verdict everywhere.

What is asked of each activation: from when on does every copy that a verifier may hold, or fetch, have the key? Until
then its tokens fail there.

Source: docs/lifecycle.md, the timing rule; ``verifiers`` for the caches.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime, timedelta

import msgspec

from keyvault.core.gate import Live, urls_to_ask
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

#: How often somebody or something runs, by the schedule; and what may become of a run and its deploy.
_EVERY = (_SECOND, _MINUTE, _HOUR, 6 * _HOUR, 24 * _HOUR)
_DROPPED, _FAILED = 20, 20  # of 100
_LATE = (timedelta(0), 3 * _MINUTE, 20 * _MINUTE, 4 * _HOUR)
_DEPLOY = (timedelta(0), _MINUTE, 5 * _MINUTE, 30 * _MINUTE)

ROTATIONS = 4


@dataclass(frozen=True, slots=True)
class Verdict:
    """
    What a policy does to one verifier.

    Attributes:
        verifier: Which.
        planned: For how long tokens of a new key can fail there after a planned rotation; zero is fine.
        emergency: The same after the active key was revoked.
        revoked: For how long it can accept a revoked key; None until it is restarted, or meets an unknown kid.
    """

    verifier: Verifier
    planned: timedelta
    emergency: timedelta
    revoked: timedelta | None


@dataclass(frozen=True, slots=True)
class Rehearsal:
    """
    What became of a set.

    Attributes:
        set: Its name.
        schedules: How many were gone through.
        rotations: How many planned rotations there were in them.
        revocations: How many active keys were revoked.
        rollbacks: How many rotations were taken back.
        too_early: For how long, at worst, a key had left the host while tokens of it were valid; zero is fine.
        verdicts: One a verifier.
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
    Return what *policy* does to verifiers, over so many schedules.

    The set must be one that is published and signs.
    """
    gaps = {(verifier, urgent): timedelta(0) for verifier in VERIFIERS for urgent in (False, True)}
    too_early, rotations, revocations, rollbacks = timedelta(0), 0, 0, 0
    for number in range(schedules):
        # Time is the same for keys that live elsewhere: here, too, somebody makes them.
        world = _World(replace(policy, external=False), site, _Chance(seed * 1_000_003 + number))
        world.live()
        for index, spell in enumerate(world.spells):
            too_early = max(too_early, world.missing_at_the_end(spell))
            # The first key of a set has none before it: nobody holds a copy yet.
            if index and not spell.again:
                for verifier in VERIFIERS:
                    place = verifier, spell.urgent
                    gaps[place] = max(gaps[place], world.gap(spell, verifier))
        rotations, revocations = rotations + world.rotations, revocations + world.revocations
        rollbacks += world.rollbacks
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


class _Chance:
    """Numbers that look random and are the same everywhere (a linear congruential generator)."""

    def __init__(self, seed: int) -> None:
        self._state = seed * 2_654_435_761 % 2**32

    def below(self, bound: int) -> int:
        """Return a number from 0 to *bound* - 1."""
        self._state = (self._state * 1_664_525 + 1_013_904_223) % 2**32
        return (self._state >> 8) % bound

    def one_of(self, values: tuple[timedelta, ...]) -> timedelta:
        """Return one of *values*."""
        return values[self.below(len(values))]


@dataclass
class _Spell:
    """
    A time in which one key was active.

    Attributes:
        kid: The key.
        start: When it was activated.
        urgent: Whether the key before it was revoked.
        again: Whether it was active before.
        end: When it was deactivated, or None.
        revoked: Whether it was revoked then, or later.
    """

    kid: str
    start: datetime
    urgent: bool
    again: bool
    end: datetime | None = None
    revoked: bool = False


@dataclass
class _World:
    """One set, its host and its schedule."""

    policy: SetPolicy
    site: SitePolicy
    chance: _Chance
    now: datetime = _BEGIN
    every: timedelta = _HOUR
    keys: dict[str, Key] = field(default_factory=dict)
    spells: list[_Spell] = field(default_factory=list)
    served: list[tuple[datetime, frozenset[str]]] = field(default_factory=list)
    deploying: list[tuple[datetime, frozenset[str]]] = field(default_factory=list)
    rotations: int = 0
    revocations: int = 0
    rollbacks: int = 0

    def live(self) -> None:
        """Go through a few cryptoperiods, with an incident or two."""
        self.every = self.chance.one_of(_EVERY)
        self._tick(reliable=True)
        incidents = {self.chance.below(ROTATIONS): self.chance.below(3) for _ in range(2)}
        while self.rotations < ROTATIONS:
            before = self.rotations
            self._wait_for_something()
            self._tick()
            if self.rotations > before and (kind := incidents.pop(self.rotations - 1, 0)):
                self.now += self.chance.below(1 + int(self.policy.cryptoperiod.total_seconds()) // 2) * _SECOND
                self._arrive()
                self._incident(kind)

    @property
    def state(self) -> VaultState:
        return VaultState(NO_COMMIT, Policy(self.site, {self.policy.name: self.policy}), self.keys)

    @property
    def key_set(self) -> KeySet:
        return self.state.sets[self.policy.name]

    # --- time -------------------------------------------------------------------------------------------

    def _wait_for_something(self) -> None:
        """Let time pass to the first run at which there may be something to do: those before it find nothing."""
        key_set = self.key_set
        instants = [rotation_due_at(key_set), *(at for at, _ in self.deploying)]
        instants += [key.life.keep_until for key in key_set.retiring]
        if key_set.next is not None:
            instants.append(mature_at(key_set, key_set.next, self.site) or self.now)
        coming = min((at for at in instants if at is not None and at > self.now), default=self.now)
        runs = max(1, -((self.now - coming) // self.every))
        while self.chance.below(100) < _DROPPED:
            runs += 1
        begun = _BEGIN + ((self.now - _BEGIN) // self.every + runs) * self.every
        self.now = max(self.now + _SECOND, begun + self.chance.one_of(_LATE))
        self._arrive()

    def _arrive(self) -> None:
        while self.deploying and self.deploying[0][0] <= self.now:
            self.served.append(self.deploying.pop(0))

    # --- what is done -----------------------------------------------------------------------------------

    def _tick(self, *, reliable: bool = False) -> None:
        """Run the scheduled job and deploy what it leaves."""
        kids = self.served[-1][1] if self.served else frozenset()
        seen = frozenset((kid, self.keys[kid].public.thumbprint) for kid in kids)
        live: Live = dict.fromkeys(urls_to_ask(self.state, self.now), seen)
        plan = plan_due(self.state, self.now, live=live)
        if any(event.event == "activated" for change in plan.changes for event in change.events) and self.spells:
            self.rotations += 1
        self._apply(plan)
        self._deploy(fails=not reliable and self.chance.below(100) < _FAILED)

    def _incident(self, kind: int) -> None:
        """Revoke the active key, or take the last rotation back; somebody is there and deploys at once."""
        active = self.key_set.active
        assert active is not None
        if kind == 1:
            self._apply(plan_revocation(self.state, active.kid, self.now, reason="compromised"))
            self.revocations += 1
            for spell in self.spells:
                spell.revoked = spell.revoked or spell.kid == active.kid
        else:
            try:
                self._apply(plan_rollback(self.state, self.policy.name, self.now))
            except KeyVaultError:
                return  # the key before has left the set
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
        if self.spells:
            self.spells[-1].end = self.now
        urgent = before is not None and self.keys[before.kid].state == "revoked"
        again = any(spell.kid == active.kid for spell in self.spells)
        self.spells.append(_Spell(active.kid, self.now, urgent, again))

    def _deploy(self, *, fails: bool) -> None:
        kids = frozenset(key.kid for key in self.key_set.published)
        latest = self.deploying[-1] if self.deploying else self.served[-1] if self.served else None
        if fails or (latest is not None and latest[1] == kids):
            return
        arrival = self.now + (self.chance.one_of(_DEPLOY) if self.served else timedelta(0))
        self.deploying.append((max(arrival, latest[0]) if latest else arrival, kids))
        self._arrive()

    # --- what came of it --------------------------------------------------------------------------------

    def gap(self, spell: _Spell, verifier: Verifier) -> timedelta:
        """Return for how long after its activation tokens of a key can fail at *verifier*."""
        first = next((at for at, kids in self._all_served() if spell.kid in kids), None)
        if first is None:
            return self.now - spell.start
        # From here on every answer has the key, also from a cache between the host and the verifier.
        known = first + self.site.max_age
        if verifier.refetches:
            late = known - spell.start
            return late + verifier.pause if late > timedelta(0) else timedelta(0)
        keeps = verifier.keeps_at_most(self.site.max_age)
        assert keeps is not None
        return max(timedelta(0), known + keeps - spell.start)

    def missing_at_the_end(self, spell: _Spell) -> timedelta:
        """Return for how long a key had left the host while tokens of it were valid; a revoked key is meant to."""
        if spell.end is None or spell.revoked:
            return timedelta(0)
        lifetime = self.policy.token_lifetime
        needed = spell.end + self.policy.signer_lag + lifetime + self.policy.clock_skew
        gone = next(
            (at for at, kids in self._all_served() if at > spell.start and spell.kid not in kids and at <= needed), None
        )
        served = any(spell.kid in kids for _, kids in self._all_served())
        return timedelta(0) if gone is None or not served or spell.urgent else needed - gone + _SECOND

    def _all_served(self) -> Iterator[tuple[datetime, frozenset[str]]]:
        yield from self.served
        yield from self.deploying


def _public(alg: str, number: int, policy: SetPolicy) -> PublicJWK:
    """Return a public JWK that no other number gets; planners never look closer."""
    name = b64u(hashlib.sha256(b"%d" % number).digest())
    spec = policy.spec
    if spec.kty == "RSA":
        return PublicJWK("RSA", name, spec.use, alg, n="A" * ((spec.bits or 0) // 8 * 8 // 6 + 1), e="AQAB")
    return PublicJWK(spec.kty, name, spec.use, alg, crv=spec.crv or msgspec.UNSET, x=name, y=name)


#: Stands for a sealed private half: a rollback asks whether there is one.
_SEALED = Envelope(protected="", recipients=[], iv="", ciphertext="", tag="")
