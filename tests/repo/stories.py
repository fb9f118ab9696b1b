"""
Random legal histories, written by the real planners.

A story is a vault on a main branch, with a host that deploys late or not at all, machines whose clocks differ, users
who edit keyvault.toml by hand, recipients that change, and branches that git would merge by itself. Public keys are
real, because the audit checks them; envelopes are well formed but empty.
"""

from __future__ import annotations

import contextlib
import copy
import functools
import hashlib
import itertools
import random
from collections.abc import Callable, Container, Iterator, Mapping
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta
from typing import Any

import msgspec
from cryptography.hazmat.primitives.asymmetric import ec

from keyvault import config
from keyvault.core import planning, timing
from keyvault.core.algorithms import KeySpec, key_spec
from keyvault.core.envelope_form import CONTENT_TYPE, ENC, Binding, Protected
from keyvault.core.gate import LiveSite, urls_to_fetch
from keyvault.core.importing import ROLES, Role, plan_import
from keyvault.core.jwk import PublicJWK, b64u, public_jwk, thumbprint
from keyvault.core.key_objects import CURVES
from keyvault.core.keys import Envelope, EphemeralKey, Key, Recipient, RecipientHeader, WrappedKey, sealed_to
from keyvault.core.plan import Amend, Create, Import, Plan
from keyvault.core.policy import Policy
from keyvault.core.state import KeySet, VaultState
from keyvault.core.text import format_duration
from keyvault.crypto.generate import OKP, ec_members, okp_members
from keyvault.errors import ConfigError, KeyVaultError
from keyvault.operations.changes import amended
from keyvault.repo.records import encode_key, encode_recipients
from keyvault.repo.vault import RECIPIENTS
from tests.core.build import DAY, HOUR, MINUTE, SECOND, T0, serving
from tests.repo.memory import MemoryGit

SITES = ("https://keys.example.com", "https://keys.example.org/jwks")
ALGORITHMS = ("ES256", "ES384", "EdDSA", "ES256K", "ECDH-ES", "ECDH-ES+A256KW", "HS256", "A128KW")
DURATIONS: dict[str, tuple[timedelta, ...]] = {
    "cryptoperiod": (5 * DAY, 9 * DAY, 30 * DAY),
    "publication_lead": (0 * HOUR, 3 * HOUR, 24 * HOUR, 4 * DAY),
    "token_lifetime": (SECOND, HOUR, 5 * HOUR, 2 * DAY),
    "signer_lag": (0 * HOUR, HOUR, DAY),
    "clock_skew": (0 * HOUR, 10 * MINUTE, HOUR),
    "retention": (2 * DAY, 20 * DAY),
}
REASONS = ("compromised", "superseded", "unspecified")


@functools.cache
def _public(spec: KeySpec, number: int) -> PublicJWK:
    """Return public key *number* of a kind: valid, and the same in every run, so that stories are reproducible."""
    for attempt in itertools.count():
        drawn = hashlib.shake_128(f"{spec} {number} {attempt}".encode()).digest(66)
        if spec.kty == "oct":
            return PublicJWK(kty="oct", kid="o" + b64u(drawn[:31]), use=spec.use, alg=spec.alg)
        if spec.kty == "EC":
            curve = CURVES[str(spec.crv)]
            scalar = int.from_bytes(drawn[: curve.key_size // 8], "big") >> 1
            members = ec_members(ec.derive_private_key(scalar, curve))
        else:
            members = okp_members(OKP[str(spec.crv)].from_private_bytes(drawn[:32]))
        kid = thumbprint(members)
        if kid[0] not in "-_":
            return public_jwk(members, kid=kid, alg=spec.alg)
    raise AssertionError("unreachable")


@functools.cache
def _recipients() -> tuple[Recipient, ...]:
    kinds = [KeySpec("ECDH-ES+A256KW", crv=crv) for crv in ("P-256", "X25519")] * 3
    keys = (_public(spec, -number) for number, spec in enumerate(kinds, 1))
    return tuple(
        Recipient(kty=key.kty, kid=f"somebody-{n}", use="enc", alg=key.alg, crv=key.crv, x=key.x, y=key.y)
        for n, key in enumerate(keys)
    )


def _ephemeral(recipient: Recipient) -> EphemeralKey:
    """Return an ephemeral key; unlike a sealer, the audit does not need a new one each time."""
    return EphemeralKey(kty=recipient.kty, crv=str(recipient.crv), x=str(recipient.x), y=recipient.y)


def sealed(number: int, recipients: Mapping[str, Recipient], *, kid: str, set_name: str) -> Envelope:
    """Return a well-formed envelope that is unique for *number*; nobody can open it."""
    binding = Binding(format=1, kid=kid, recipients=sorted(recipients), set=set_name)
    entries = [
        WrappedKey(RecipientHeader(recipients[name].alg, name, _ephemeral(recipients[name])), b64u(bytes(40)))
        for name in binding.recipients
    ]
    protected = b64u(msgspec.json.encode(Protected(cty=CONTENT_TYPE, enc=ENC, kv=binding)))
    return Envelope(protected, entries, b64u(number.to_bytes(12, "big")), b64u(bytes(60)), b64u(bytes(16)))


@functools.lru_cache(maxsize=256)
def _policy(data: bytes) -> Policy:
    return config.read_policy(data)


Document = dict[str, dict[str, Any]]


def toml(document: Document) -> bytes:
    """Return the keyvault.toml of *document*: the table of the site, and a table for each set."""
    lines = ["format = 1"]
    for name, table in document.items():
        lines += ["", f"[{name}]" if name == "site" else f"[sets.{name}]"]
        lines += [f"{member} = {_value(value)}" for member, value in table.items()]
    return ("\n".join(lines) + "\n").encode()


def _value(value: object) -> str:
    if isinstance(value, timedelta):
        return f'"{format_duration(value)}"'
    return str(value).lower() if isinstance(value, bool) else f'"{value}"'


@dataclass(frozen=True)
class Line:
    """
    A branch: its newest commit, and the content of the vault there.

    Attributes:
        commit: The id, or empty before the first commit.
        document: keyvault.toml, by table.
        keys: Every record by kid.
        recipients: The recipients of sealed keys.
        sets: The sets that this branch changes; None for all.
    """

    commit: str
    document: Document
    keys: Mapping[str, Key]
    recipients: Mapping[str, Recipient]
    sets: frozenset[str] | None = None

    @functools.cached_property
    def state(self) -> VaultState:
        return VaultState(self.commit, _policy(toml(self.document)), self.keys, self.recipients)

    @functools.cached_property
    def own(self) -> VaultState:
        """The state with only the sets that this branch changes."""
        state = self.state
        if self.sets is None:
            return state
        policy = replace(
            state.policy, sets={name: table for name, table in state.policy.sets.items() if name in self.sets}
        )
        keys = {kid: key for kid, key in state.keys.items() if key.set in self.sets}
        return replace(state, policy=policy, keys=keys)


@dataclass
class Story:
    """A vault and its surroundings; the seed determines all steps."""

    seed: int
    git: MemoryGit = field(default_factory=MemoryGit)
    now: datetime = T0
    served: LiveSite = field(default_factory=dict)
    deploying: list[tuple[datetime, LiveSite]] = field(default_factory=list)
    #: The names of the steps.
    steps: list[str] = field(default_factory=list)
    #: The narrowest clock_skew that any set ever had.
    least_skew: timedelta = DAY

    def __post_init__(self) -> None:
        self.chance = random.Random(self.seed)  # noqa: S311 - a story, no secret
        self._numbers = itertools.count(1)
        self._used: dict[KeySpec, int] = {}
        self._names = itertools.count(1)
        self._begin()
        length = self.chance.randint(15, 40)
        for _ in range(20 * length):
            if len(self.git.history) >= length:
                break
            if len(self.git.history) > 3 and self.chance.random() < 0.04:
                self._branch()
            else:
                self._step()

    # --- time, clocks and the host ----------------------------------------------------------------------

    def _wait(self) -> None:
        """Let time pass, often to a second around a boundary of a rule."""
        if self.chance.random() < 0.5:
            instants = sorted({at for at in self._boundaries() if at > self.now})
            if instants:
                self.now = self.chance.choice(instants[:4])
        else:
            self.now += self.chance.choice((SECOND, MINUTE, HOUR, 7 * HOUR, DAY, 3 * DAY, 8 * DAY))
        while self.deploying and self.deploying[0][0] <= self.now:
            self.served = self.deploying.pop(0)[1]

    def _boundaries(self) -> Iterator[datetime]:
        state = self.main.state
        for key_set in state.sets.values():
            due = timing.rotation_due_at(key_set)
            mature = timing.mature_at(key_set, key_set.next, state.policy.site) if key_set.next else None
            instants = [due, mature, *(key.life.keep_until for key in key_set.retiring)]
            for at in instants:
                yield from (at + offset for offset in (-SECOND, timedelta(0), SECOND)) if at else ()
        yield from (at for at, _ in self.deploying)

    def clock(self, line: Line | None = None) -> datetime:
        """Return the instant on the clock of a machine: slightly wrong, but no two differ by more than clock_skew."""
        sets = (line or self.main).state.policy.sets.values()
        seconds = int(min((table.clock_skew for table in sets), default=timedelta(0)).total_seconds() / 2)
        exact = self.chance.random() < 0.5
        return self.now + timedelta(seconds=0 if exact else self.chance.randint(-seconds, seconds))

    def auditor(self) -> datetime:
        """Return the instant on an auditor's clock, within the narrowest clock_skew of the story."""
        seconds = int(self.least_skew.total_seconds() / 2)
        return self.now + timedelta(seconds=self.chance.randint(-seconds, seconds))

    def _look(self, state: VaultState, now: datetime, rotating: tuple[str, ...] = ()) -> LiveSite:
        reachable = self.chance.random() < 0.85
        return {
            url: self.served.get(url, ()) if reachable else None for url in urls_to_fetch(state, now, rotating=rotating)
        }

    def _deploy(self) -> None:
        fate = self.chance.random()
        if fate < 0.8:
            latency = timedelta(0) if fate < 0.4 else self.chance.choice((MINUTE, 2 * HOUR, DAY))
            latest = self.deploying[-1][0] if self.deploying else self.now
            self.deploying.append((max(self.now + latency, latest), serving(self.main.state)))

    # --- commits ----------------------------------------------------------------------------------------

    def _next_public(self, spec: KeySpec) -> PublicJWK:
        self._used[spec] = self._used.get(spec, 0) + 1
        return _public(spec, self._used[spec])

    def _seal(self, key: Key, recipients: Mapping[str, Recipient]) -> Key:
        envelope = sealed(next(self._numbers), recipients, kid=key.kid, set_name=key.set)
        return msgspec.structs.replace(key, private=envelope)

    def _commit(
        self,
        line: Line,
        now: datetime,
        plan: Plan = Plan(),  # noqa: B008 - a value that nobody can change
        *,
        document: Document | None = None,
        recipients: Mapping[str, Recipient] | None = None,
        files: Mapping[str, bytes | None] | None = None,
        privates: Container[str] = (),
        what: str = "",
    ) -> Line:
        """
        Carry out a plan as a command does: generate its keys, seal them, and write one commit.

        The imported keys in *privates* have private halves.
        """
        keys = dict(line.keys)
        changed: dict[str, Key] = {}
        instants = [now]
        for change in plan.changes:
            instants += [event.at for event in change.events]
            if isinstance(change, Create):
                key = Key(1, change.set, self._next_public(change.spec), change.events)
                key = self._seal(key, recipients or line.recipients)
            elif isinstance(change, Import):
                key = Key(1, change.set, change.public, change.events)
                key = self._seal(key, recipients or line.recipients) if key.kid in privates else key
            else:
                key = amended(changed.get(change.kid) or keys[change.kid], change)
            changed[key.kid] = key
        if recipients is not None:
            held = {kid: key for kid, key in {**keys, **changed}.items() if key.sealed}
            changed.update((kid, self._seal(key, recipients)) for kid, key in held.items())
        after = replace(
            line,
            document=line.document if document is None else document,
            keys={**keys, **changed},
            recipients=line.recipients if recipients is None else recipients,
        )
        _ = after.state.sets  # as the command does, refuse what could not be read again
        self.least_skew = min([self.least_skew, *(table.clock_skew for table in after.state.policy.sets.values())])
        written: dict[str, bytes | None] = {key.path: encode_key(key) for key in changed.values()}
        if document is not None:
            written[config.FILE] = toml(document)
        if recipients is not None:
            written[RECIPIENTS] = encode_recipients(recipients)
        written.update(files or {})
        parents = (line.commit,) if line.commit else ()
        if not written and parents:
            return line
        commit = self.git.commit(parents, written, int(max(instants).timestamp()))
        self.steps += [what, *(event.event for change in plan.changes for event in change.events)]
        return replace(after, commit=commit)

    def _begin(self) -> None:
        document: Document = {"site": {"url": SITES[0], "confirm": self.chance.choice(("live", "live", "commit"))}}
        for _ in range(self.chance.randint(1, 4)):
            document[f"set-{next(self._names)}"] = self._table()
        recipients = self._some_recipients()
        self.main = Line("", document, {}, recipients)
        plan = _together(planning.plan_creation(key_set, self.now) for key_set in self.main.state.sets.values())
        self.main = self._commit(
            self.main,
            self.now,
            plan,
            document=document,
            recipients=recipients,
            files={"README.md": b"# Keys\n"},
            what="init",
        )
        self._deploy()

    def _table(self) -> dict[str, Any]:
        """Return the table of a new set; other members have their defaults."""
        table: dict[str, Any] = {"alg": self.chance.choice((*ALGORITHMS, "ES256", "EdDSA"))}
        for member, choices in DURATIONS.items():
            if self.chance.random() < 0.5:
                table[member] = self.chance.choice(choices)
        table["allow_short_lead"] = True
        if self.chance.random() < 0.1:
            table["external"] = True
        return table

    def _some_recipients(self) -> dict[str, Recipient]:
        chosen = self.chance.sample(_recipients(), self.chance.randint(1, 3))
        return {recipient.kid: recipient for recipient in chosen}

    # --- steps of users and machines --------------------------------------------------------------------

    def _step(self) -> None:
        before = self.main.commit
        self._wait()
        self.main = self._act(self.main)
        if self.main.commit != before:
            self._deploy()

    def _act(self, line: Line) -> Line:
        """Take a step on a branch, or none if a command refuses."""
        weights: dict[Callable[[Line, datetime], Line], int] = {
            self._due: 12,
            self._rotate: 4,
            self._force: 2,
            self._change_algorithm: 1,
            self._revoke: 2,
            self._roll_back: 2,
            self._close: 1,
            self._open: 1,
            self._add: 1,
            self._import: 3,
            self._edit: 4,
            self._write_elsewhere: 1,
        }
        if line.sets is None:
            weights[self._change_recipients] = 2
            weights[self._seal_again] = 5 if self._stale(line) else 0
        (action,) = self.chance.choices(list(weights), list(weights.values()))
        try:
            return action(line, self.clock(line))
        except KeyVaultError:  # a gate, a clock that is behind, a set that is closing
            return line

    def _pick(self, line: Line) -> KeySet:
        sets = list(line.own.sets.values())
        if not sets:
            raise KeyVaultError("no sets", code="vault-without-sets")
        return self.chance.choice(sets)

    def _due(self, line: Line, now: datetime) -> Line:
        state = line.own
        return self._commit(line, now, planning.plan_due(state, now, live=self._look(state, now)), what="due")

    def _rotate(self, line: Line, now: datetime, forced: str | None = None) -> Line:
        state, name = line.own, self._pick(line).name
        open_sets = [name for name, key_set in state.sets.items() if not key_set.policy.closing]
        names = tuple(open_sets) if self.chance.random() < 0.2 else (name,)
        live = self._look(state, now, names)
        return self._commit(
            line, now, planning.plan_rotation(state, names, now, live=live, forced=forced), what="rotate"
        )

    def _force(self, line: Line, now: datetime) -> Line:
        return self._rotate(line, now, forced="a drill")

    def _change_algorithm(self, line: Line, now: datetime) -> Line:
        """``rotate SET --alg ALG``: one commit contains the edit and the new next key."""
        name = self._pick(line).name
        document = copy.deepcopy(line.document)
        document[name]["alg"] = self.chance.choice(ALGORITHMS)
        state = replace(line, document=document).own
        plan = planning.plan_rotation(state, [name], now, live=self._look(state, now, (name,)))
        return self._commit(line, now, plan, document=document, what="--alg")

    def _revoke(self, line: Line, now: datetime) -> Line:
        held = [
            key
            for key_set in line.own.sets.values()
            for key in key_set.keys
            if key.state in ("next", "active", "retiring")
        ]
        if not held:
            return line
        kid, reason = self.chance.choice(held).kid, self.chance.choice(REASONS)
        return self._commit(line, now, planning.plan_revocation(line.own, kid, now, reason=reason), what="revoke")

    def _roll_back(self, line: Line, now: datetime) -> Line:
        previous = [key_set.name for key_set in line.own.sets.values() if key_set.retiring]
        if not previous:
            return line
        plan = planning.plan_rollback(line.own, self.chance.choice(previous), now, note="it did not work out")
        return self._commit(line, now, plan, what="roll back")

    def _close(self, line: Line, now: datetime) -> Line:
        """``set remove``: the first call closes, a later one removes the table."""
        if len(line.document) < 3:
            return line
        key_set = self._pick(line)
        forced = "it was a test" if self.chance.random() < 0.3 else None
        plan = planning.plan_closing(line.own, key_set.name, now, forced=forced)
        left = {change.kid for change in plan.changes if isinstance(change, Amend) and change.drops_private}
        kept = [key for key in key_set.keys if key.state in ("active", "next", "retiring") and key.kid not in left]
        document = copy.deepcopy(line.document)
        if kept:
            document[key_set.name]["closing"] = True
        else:
            del document[key_set.name]
        return self._commit(line, now, plan, document=document, what="close" if kept else "remove")

    def _open(self, line: Line, now: datetime) -> Line:
        """Open a closing set again, by hand or with ``set add``."""
        closing = [key_set.name for key_set in line.own.sets.values() if key_set.policy.closing]
        if not closing:
            return line
        name = self.chance.choice(closing)
        document = copy.deepcopy(line.document)
        del document[name]["closing"]
        if self.chance.random() < 0.5:
            return self._commit(line, now, document=document, what="open by hand")
        document[name]["alg"] = self.chance.choice(ALGORITHMS)
        state = replace(line, document=document).own
        key_set = state.sets[name]
        if key_set.active is None and key_set.next is None:
            plan = planning.plan_creation(key_set, now)
        else:
            alone = replace(state, policy=replace(state.policy, sets={name: key_set.policy}))
            alone = replace(alone, keys={key.kid: key for key in key_set.keys})
            plan = planning.plan_due(alone, now, live={})
        return self._commit(line, now, plan, document=document, what="open")

    def _add(self, line: Line, now: datetime) -> Line:
        """Add a set, sometimes with the name of an earlier one; if added by hand, the next run creates its keys."""
        gone = {key.set for key in line.keys.values()} - set(line.document)
        if len(line.document) > 5 or line.sets is not None:
            return line
        name = self.chance.choice(sorted(gone)) if gone and self.chance.random() < 0.5 else f"set-{next(self._names)}"
        document = {**copy.deepcopy(line.document), name: self._table()}
        if self.chance.random() < 0.4:
            return self._commit(line, now, document=document, what="add by hand")
        key_set = replace(line, document=document).own.find_set(name)
        return self._commit(line, now, planning.plan_creation(key_set, now), document=document, what="add")

    def _import(self, line: Line, now: datetime) -> Line:
        """``key import``, with or without a kid of its own, and with its private half if possible."""
        key_set = self._pick(line)
        role: Role = self.chance.choice(ROLES) if key_set.active else "active"
        spec = (
            key_set.policy.spec
            if role == "next"
            else key_spec(self.chance.choice((key_set.policy.spec.alg, *ALGORITHMS)))
        )
        count = 1 if role == "next" else self.chance.choice((1, 1, 3))
        publics = [self._next_public(spec) for _ in range(count)]
        if self.chance.random() < 0.5:
            publics = [msgspec.structs.replace(public, kid=f"old:{next(self._numbers)}") for public in publics]
        external = key_set.policy.external or (role == "retiring" and self.chance.random() < 0.5)
        forced = "the old server is gone" if role == "active" and self.chance.random() < 0.7 else None
        keep = self.chance.choice((timedelta(0), HOUR, 9 * DAY))
        plan = plan_import(line.own, key_set.name, publics, now, role=role, keep=keep, forced=forced)
        privates = () if external else {public.kid for public in publics}
        return self._commit(line, now, plan, privates=privates, what=f"import as {role}")

    def _edit(self, line: Line, now: datetime) -> Line:
        """Edit keyvault.toml by hand; an invalid policy is not saved."""
        document = copy.deepcopy(line.document)
        name = self._pick(line).name
        what = self.chance.choice((*DURATIONS, "alg", "closing", "external", "site", "confirm", "issuer"))
        if what in ("site", "confirm") and line.sets is not None:
            return line
        if what == "site":
            document["site"]["url"] = self.chance.choice(SITES)
            for table in document.values():
                table.pop("issuer", None)
        elif what == "confirm":
            document["site"]["confirm"] = self.chance.choice(("live", "commit"))
        elif what == "alg":
            document[name]["alg"] = self.chance.choice(ALGORITHMS)
        elif what == "closing":
            document[name]["closing"] = True
        elif what == "external":
            document[name]["external"] = not document[name].get("external", False)
        elif what == "issuer":
            document[name]["issuer"] = document["site"]["url"] + "/" + self.chance.choice(("one", "two"))
        else:
            document[name][what] = self.chance.choice(DURATIONS[what])
        if document == line.document:
            return line
        try:
            return self._commit(line, now, document=document, what=f"edit {what}")
        except ConfigError:
            return line

    def _change_recipients(self, line: Line, now: datetime) -> Line:
        """``recipient add``, ``remove`` or ``replace``: the same commit re-seals every sealed key."""
        recipients = self._some_recipients()
        if recipients == line.recipients:
            return line
        plan = Plan()
        if self.chance.random() < 0.4:
            plan = planning.plan_replacement(line.own.sets.values(), now, note="somebody left")
        return self._commit(line, now, plan, recipients=recipients, what="recipients")

    def _seal_again(self, line: Line, now: datetime) -> Line:
        """``recipient replace`` with the same key: re-seals keys that a merge left sealed to other recipients."""
        keys = [self._seal(key, line.recipients) for key in self._stale(line)]
        files: dict[str, bytes | None] = {key.path: encode_key(key) for key in keys}
        line = replace(line, keys={**line.keys, **{key.kid: key for key in keys}})
        return self._commit(line, now, files=files, what="seal again")

    @staticmethod
    def _stale(line: Line) -> list[Key]:
        return [key for key in line.keys.values() if key.sealed and sealed_to(key) != sorted(line.recipients)]

    def _write_elsewhere(self, line: Line, now: datetime) -> Line:
        """Commit a file outside the vault."""
        text = f"# Keys\n\nEdition {next(self._numbers)}.\n".encode()
        return self._commit(line, now, files={"README.md": text}, what="elsewhere")

    # --- branches ---------------------------------------------------------------------------------------

    def _branch(self) -> None:
        """Let two or three branches change different sets, and merge them as git does by itself."""
        names = list(self.main.state.policy.sets)
        if len(names) < 2:
            return
        base = self.main
        self.chance.shuffle(names)
        count = min(len(names), self.chance.choice((2, 2, 2, 3)))
        lines = [replace(base, sets=frozenset(names[number::count])) for number in range(count)]
        if self.chance.random() < 0.3:
            with contextlib.suppress(KeyVaultError):
                changed = self._change_recipients(base, self.now)
                lines[0] = replace(changed, sets=lines[0].sets)
        for _ in range(self.chance.randint(count, 3 * count)):
            self._wait()
            number = self.chance.randrange(count)
            lines[number] = self._act(lines[number])
        self._wait()
        moved = [line for line in lines if line.commit != base.commit]
        self.main = replace(moved[0], sets=None) if moved else base
        if len(moved) > 1:
            try:
                self._merge(base, moved)
            except _ConflictError:
                self.steps.append("conflict")
        self._deploy()

    def _merge(self, base: Line, lines: list[Line]) -> None:
        self.chance.shuffle(lines)
        document, keys, recipients = dict(base.document), dict(base.keys), dict(base.recipients)
        for line in lines:
            for name in (*base.document, *(name for name in line.document if name not in base.document)):
                _take(document, name, base.document.get(name), line.document.get(name))
            for kid, key in line.keys.items():
                keys[kid] = _merged(base.keys.get(kid), keys.get(kid), key)
            if line.recipients != base.recipients:
                recipients = dict(line.recipients)
        first = lines[0]
        files: dict[str, bytes | None] = {config.FILE: toml(document), RECIPIENTS: encode_recipients(recipients)}
        files.update((key.path, encode_key(key)) for key in keys.values())
        # The machine that writes a merge may have another clock than those of the events.
        at = int((self.now + self.chance.choice((-DAY, timedelta(0), DAY))).timestamp())
        commit = self.git.commit([line.commit for line in lines], files, at)
        self.main = replace(first, commit=commit, document=document, keys=keys, recipients=recipients, sets=None)
        self.steps.append("merge")


class _ConflictError(Exception):
    """Two branches changed the same lines: git would report a conflict."""


def _take(document: Document, name: str, old: dict[str, Any] | None, new: dict[str, Any] | None) -> None:
    if new == old:
        return
    if document.get(name) != old:
        raise _ConflictError
    if new is None:
        del document[name]
    else:
        document[name] = new


def _merged(base: Key | None, ours: Key | None, theirs: Key) -> Key:
    """Merge a record line by line, the events before the envelope."""
    if ours is None or ours == base:
        return theirs
    if theirs in (base, ours):
        return ours
    assert base is not None
    longer = theirs if ours.events == base.events else ours
    other = ours if longer is theirs else theirs
    if other.events != base.events or longer.private != base.private:
        raise _ConflictError
    return msgspec.structs.replace(longer, private=other.private)


def _together(plans: Iterator[Plan]) -> Plan:
    return Plan(tuple(change for plan in plans for change in plan.changes))


def export(git: MemoryGit) -> bytes:
    """Return input for ``git fast-import`` that creates the same history; the mark of a commit is its number."""
    marks = {commit: number for number, commit in enumerate(git.history, 1)}
    stream = []
    for commit_id, commit in git.history.items():
        stream.append(
            b"commit refs/heads/main\nmark :%d\ncommitter x <x> %d +0000\ndata 0\n"
            % (marks[commit_id], commit.authored_at)
        )
        if not commit.parents:
            stream.append(b"deleteall\n")
        for number, parent in enumerate(commit.parents):
            stream.append(b"%b :%d\n" % (b"merge" if number else b"from", marks[parent]))
        before = git.history[commit.parents[0]].tree if commit.parents else {}
        for path in sorted(before.keys() | commit.tree.keys()):
            oid = commit.tree.get(path)
            if oid is None:
                stream.append(b"D %b\n" % path.encode())
            elif oid != before.get(path):
                data = git.objects[oid]
                stream.append(b"M 100644 inline %b\ndata %d\n%b\n" % (path.encode(), len(data), data))
    return b"".join(stream)
