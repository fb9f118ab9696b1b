"""
Plan the import of keys that were generated elsewhere.

As with every planner, the plan is a value: this module does not read, seal or write.

Source: docs/lifecycle.md.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Literal

from keyvault.core.events import Event
from keyvault.core.jwk import PublicJWK
from keyvault.core.keys import Key
from keyvault.core.plan import Amend, Change, Import, Plan
from keyvault.core.planning import plan_creation
from keyvault.core.state import KeySet, VaultState
from keyvault.core.steps import activated, deactivated, new_next
from keyvault.core.text import elided
from keyvault.core.timing import effective_instant, keep_until
from keyvault.errors import GateError, UsageError

#: The state of a key after its import.
Role = Literal["next", "active", "retiring"]
ROLES: tuple[Role, ...] = ("next", "active", "retiring")


@dataclass(frozen=True, slots=True)
class Origin:
    """
    The origin of imported keys, as their records state it.

    Attributes:
        imported: Whether they were generated outside of the vault; must be true if a kid is no hash of its key.
        note: A comment on their source, or None.
    """

    imported: bool = True
    note: str | None = None


def plan_import(
    state: VaultState,
    name: str,
    keys: Sequence[PublicJWK],
    now: datetime,
    *,
    role: Role,
    origin: Origin = Origin(),
    keep: timedelta = timedelta(0),
    forced: str | None = None,
) -> Plan:
    """
    Plan to import *keys* into set *name*.

    A next key replaces the present next key. If several keys become active, the first does, and the others retire:
    servers list the active key first. A retiring key never signs: it is published until the tokens that it signed
    elsewhere have expired.

    Unless the set is external, the plan also generates missing keys: the next key beside an imported active key, and
    both keys beside imported retiring keys if the set has neither.

    Args:
        state: The vault.
        name: The set.
        keys: Their public halves.
        now: The instant of the import.
        role: The state that the keys enter.
        origin: The origin of the keys.
        keep: How long retiring keys are kept at least; policy may require more.
        forced: The reason to override the gate, or None.

    Raises:
        UsageError: If the set does not exist or is closing, or a key does not fit the set.
        GateError: If a key would become active in a set that has an active key: no verifier knows the new key.
    """
    key_set = state.find_set(name)
    if key_set.policy.closing:
        raise UsageError(f"set {name} is closing and accepts no new keys", code="set-closing")
    _check_new(state, key_set, keys)
    at = effective_instant(key_set, now)
    created = Event(at=at, event="created", imported=origin.imported, note=origin.note)
    changes: list[Change] = []
    if role == "next":
        changes += _import_next(key_set, keys, created)
    else:
        retiring = list(keys)
        if role == "active":
            changes += _import_active(key_set, retiring.pop(0), created, forced)
        for public in retiring:
            kept = max(keep_until(key_set, None, at), at + keep)
            events = (created, activated(key_set, at), Event(at=at, event="deactivated", keep_until=kept))
            changes.append(Import(name, public, events))
        if role == "retiring" and key_set.active is None and key_set.next is None:
            # The set is new: it needs a key that signs, and the vault has no private key for it. Nothing is generated
            # for an external set.
            changes += plan_creation(key_set, now).changes
    return Plan(tuple(changes))


def _check_new(state: VaultState, key_set: KeySet, keys: Sequence[PublicJWK]) -> None:
    policy = key_set.policy
    kids = {kid.lower(): kid for kid in state.keys}
    by_thumbprint = {key.public.thumbprint: key for key in state.keys.values()}
    for public in keys:
        # Symmetric keys are not published, and most verifiers reject a whole JWK Set for a key of the type AKP.
        if public.use != policy.use or any((public.kty == kty) != (policy.kty == kty) for kty in ("oct", "AKP")):
            raise UsageError(
                f"key {elided(public.kid)} is {public.kty} for {public.use}, set {key_set.name} is for {policy.spec}",
                code="key-set-mismatch",
            )
        # File systems fold case, and a vault never uses a kid twice.
        other = kids.setdefault(public.kid.lower(), public.kid)
        if other in state.keys:
            raise UsageError(
                f"the vault already has a key {other}", code="kid-reused", hint="choose another kid: --kid KID"
            )
        if other != public.kid:
            raise UsageError(
                f"kids {elided(other)} and {elided(public.kid)} differ only in case",
                code="kid-case",
                hint="--only KID imports one of them, --kid KID renames it",
            )
        same = by_thumbprint.get(public.thumbprint)
        if same is not None:
            raise UsageError(
                f"the vault already has key {elided(public.kid)}: it is {same.kid} of {same.set}", code="key-reused"
            )
    if len({public.thumbprint for public in keys}) < len(keys) or len({public.kid for public in keys}) < len(keys):
        raise UsageError("the same key, or the same kid, is given twice", code="key-repeated")


def _import_next(key_set: KeySet, keys: Sequence[PublicJWK], created: Event) -> list[Change]:
    if key_set.active is None:
        raise UsageError(
            f"set {key_set.name} has no active key, so it cannot have a next key",
            code="active-key-missing",
            hint="--as active",
        )
    if len(keys) != 1:
        raise UsageError(
            f"a set has only one next key, but {len(keys)} are given",
            code="next-key-ambiguous",
            hint="--only KID, or --as retiring",
        )
    imported = Key(format=1, set=key_set.name, public=keys[0], events=(created,))
    if not imported.fits(key_set.policy.spec):
        raise UsageError(
            f"key {elided(imported.kid)} is {_describe(imported)}, "
            f"the next key of {key_set.name} must be {key_set.policy.spec}",
            code="next-key-mismatch",
            hint="change the set's alg in keyvault.toml first, or import the key --as retiring",
        )
    changes: list[Change] = []
    if key_set.next is not None:
        replaced = Event(at=created.at, event="withdrawn", note="an imported key takes its place")
        changes.append(Amend(key_set.name, key_set.next.kid, (replaced,)))
    return [*changes, Import(key_set.name, keys[0], (created,))]


def _describe(key: Key) -> str:
    public = key.public
    size = f" {key.rsa_bits}" if key.rsa_bits else f" {public.crv}" if isinstance(public.crv, str) else ""
    return f"{public.alg}{size}"


def _import_active(key_set: KeySet, public: PublicJWK, created: Event, forced: str | None) -> list[Change]:
    name, at, active = key_set.name, created.at, key_set.active
    if active is None:
        changes: list[Change] = [Import(name, public, (created, activated(key_set, at)))]
    elif forced is None:
        raise GateError(
            f"activating key {elided(public.kid)} in {name} now would break verifiers: none knows it yet",
            code="key-unseen",
            hint='import it --as next, or use --force --reason "…"',
        )
    else:
        changes = [
            Import(name, public, (created, activated(key_set, at, forced=forced))),
            Amend(name, active.kid, (deactivated(key_set, active, at),)),
        ]
    return changes + (new_next(key_set, at) if key_set.next is None else [])
