"""
A vault, its host, its signers and its verifiers, with their own clock.

The model, stated against the verifiers' and signers' worst behaviour:

* a signer may use a key from its activation until ``signer_lag`` after its deactivation;
* a token lives for the longest ``token_lifetime`` in force while its key was active, and a verifier whose
  clock is behind accepts it for ``clock_skew`` more, both ends included;
* a verifier may hold a JWK Set that it fetched up to ``publication_lead`` ago and not fetch another one;
* the host serves what was deployed last; a deploy takes its time, or fails, and the next one catches up.

So a key that was active from *a* to *d* must stand in the host's JWK Set at every instant of the closed span
from ``a - publication_lead`` to ``d + signer_lag + token_lifetime + clock_skew``: exactly then every token
verifies at every instant of its life from every cache. That span is what `World.violations` checks.

Two kinds of keys begin to sign before verifiers can know them, on purpose: the first key of a set, and one that
was forced. For them the span begins when the host first served them.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta

from keyvault.core.gate import LiveSite, urls_to_fetch
from keyvault.core.plan import Create, Plan
from keyvault.core.planning import plan_due
from keyvault.core.policy import SetPolicy
from keyvault.core.state import KeySet, VaultState
from tests.core.build import SECOND, T0, apply, only_set, vault, with_policy


@dataclass(frozen=True)
class Spell:
    """A time span in which a key was active; *end* is None while it lasts."""

    kid: str
    start: datetime
    lifetime: timedelta
    end: datetime | None = None


@dataclass
class World:
    """One set with its host. All times are the test's own; nothing here reads a clock."""

    state: VaultState
    now: datetime = T0
    reachable: bool = True
    spells: list[Spell] = field(default_factory=list)
    #: Keys that became active before verifiers could know them.
    early: set[str] = field(default_factory=set)
    revoked_at: dict[str, datetime] = field(default_factory=dict)
    #: The kids that the host serves from an instant on; each entry holds until the next entry.
    served: list[tuple[datetime, frozenset[str]]] = field(default_factory=list)
    deploying: list[tuple[datetime, frozenset[str]]] = field(default_factory=list)

    def copy(self) -> World:
        """Return an independent copy of this world."""
        return replace(
            self,
            spells=list(self.spells),
            early=set(self.early),
            revoked_at=dict(self.revoked_at),
            served=list(self.served),
            deploying=list(self.deploying),
        )

    @property
    def key_set(self) -> KeySet:
        return only_set(self.state)

    @property
    def policy(self) -> SetPolicy:
        return self.key_set.policy

    def wait(self, duration: timedelta) -> None:
        """Let time pass; deploys that were under way arrive."""
        self.now += duration
        self._arrive()

    def _arrive(self) -> None:
        while self.deploying and self.deploying[0][0] <= self.now:
            self.served.append(self.deploying.pop(0))

    def live(self, *, rotating: tuple[str, ...] = ()) -> LiveSite:
        """Fetch the URLs that must be checked."""
        urls = urls_to_fetch(self.state, self.now, rotating=rotating)
        return {url: self._seen() if self.reachable else None for url in urls}

    def _seen(self) -> frozenset[tuple[str, str]]:
        kids = self.served[-1][1] if self.served else frozenset()
        return frozenset((kid, self.state.keys[kid].public.thumbprint) for kid in kids)

    def tick(self, latency: timedelta | None = timedelta(0)) -> Plan:
        """Run the scheduled job: apply due transitions, then deploy; None means a deploy that fails."""
        plan = plan_due(self.state, self.now, live=self.live())
        self.commit(plan)
        self.deploy(latency)
        return plan

    def deploy(self, latency: timedelta | None) -> None:
        """Begin to deploy the vault as it is; deploys arrive in the order in which they began."""
        kids = frozenset(key.kid for key in self.state.keys_at(self.policy.place))
        latest = self.deploying[-1] if self.deploying else self.served[-1] if self.served else None
        if latency is None or (latest and latest[1] == kids):
            return
        arrival = self.now + latency
        self.deploying.append((max(arrival, latest[0]) if latest else arrival, kids))
        self._arrive()

    def edit_policy(self, policy: SetPolicy) -> None:
        """Change keyvault.toml."""
        self.state = with_policy(self.state, policy)
        self._note_lifetime()

    def commit(self, plan: Plan) -> None:
        """Apply *plan*, after which a set must be whole and no record may have lost anything."""
        if not plan:
            return
        before, self.state = self.state, apply(plan, self.state)
        check_growth(before, self.state)
        check_whole(self.key_set)
        active = self.key_set.active
        for change in plan.changes:
            made = isinstance(change, Create)
            for event in change.events:
                if event.event == "activated" and (made or event.forced) and active:
                    self.early.add(active.kid)
                elif event.event == "revoked" and not made:
                    self.revoked_at[change.kid] = event.at
        self._note_spells()
        self._note_lifetime()

    def _note_spells(self) -> None:
        active = self.key_set.active
        kid = active.kid if active else None
        if self.spells and self.spells[-1].end is None and self.spells[-1].kid != kid:
            self.spells[-1] = replace(self.spells[-1], end=self.now)
        if active and (not self.spells or self.spells[-1].kid != kid):
            self.spells.append(Spell(active.kid, self.now, active.life.token_lifetime))

    def _note_lifetime(self) -> None:
        if self.spells and self.spells[-1].end is None:
            longest = max(self.spells[-1].lifetime, self.policy.token_lifetime)
            self.spells[-1] = replace(self.spells[-1], lifetime=longest)

    # --- judging ----------------------------------------------------------------------------------------

    def spans_served(self, kid: str) -> Iterator[tuple[datetime, datetime]]:
        """Yield the half-open spans in which the host served *kid*; the last one lasts beyond now."""
        start = None
        for at, kids in self.served:
            if kid in kids and start is None:
                start = at
            elif kid not in kids and start is not None:
                yield start, at
                start = None
        if start is not None:
            yield start, self.now + SECOND

    def violations(self) -> list[str]:
        """Return a sentence for each time span in which a token could not be verified somewhere."""
        policy, found = self.policy, []
        for spell in self.spells:
            first = spell.start - policy.publication_lead
            last = self.now
            if spell.end is not None:
                last = min(last, spell.end + policy.signer_lag + spell.lifetime + policy.clock_skew)
            if spell.kid in self.revoked_at:
                last = min(last, self.revoked_at[spell.kid] - SECOND)
            spans = list(self.spans_served(spell.kid))
            if spell.kid in self.early:
                first = max(first, spans[0][0]) if spans else last + SECOND
            if first <= last and not any(start <= first and last < end for start, end in spans):
                found.append(f"{spell.kid} was needed from {first} to {last}, served in {spans}")
        return found


def check_whole(key_set: KeySet) -> None:
    """A set has exactly one active and exactly one next key, and each retiring key knows until when."""
    states = [key.state for key in key_set.keys]
    assert (states.count("active"), states.count("next")) == (1, 1)
    assert all(key.life.keep_until for key in key_set.retiring)


def check_growth(before: VaultState, after: VaultState) -> None:
    """Event lists only grow, ended lives stay ended, and a public key never changes and is never removed."""
    for kid, key in before.keys.items():
        now = after.keys[kid]
        if now is key:
            continue
        assert now.events[: len(key.events)] == key.events
        assert now.public == key.public
        if key.state in ("withdrawn", "revoked"):
            assert now.events == key.events
        if now.state in ("withdrawn", "revoked"):
            assert not now.sealed


def begin(policy: SetPolicy, latency: timedelta | None = timedelta(0), **site: str) -> World:
    """Return a world with a new vault and its first deploy under way."""
    world = World(vault([], policy, **site))
    world.tick(latency)
    return world


def token_fails(world: World, spell: Spell, *, signed_at: datetime, at: datetime, fetched_at: datetime) -> bool:
    """Whether the JWK Set fetched at *fetched_at* lacks the key of a token of *spell*: the model, spelt out."""
    policy = world.policy
    assert spell.end is not None
    assert spell.start <= signed_at <= spell.end + policy.signer_lag
    assert signed_at <= at <= signed_at + spell.lifetime + policy.clock_skew
    assert at - policy.publication_lead <= fetched_at <= at
    held = [kids for since, kids in world.served if since <= fetched_at]
    return not held or spell.kid not in held[-1]
