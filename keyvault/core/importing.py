"""
Plan to take in keys that were made elsewhere.

As with every planner, the plan is a value: nothing is read, sealed or written here.

Source: docs/lifecycle.md.
"""

from __future__ import annotations

from collections.abc import Sequence
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

#: What an imported key becomes.
Role = Literal["next", "active", "retiring"]
ROLES: tuple[Role, ...] = ("next", "active", "retiring")


def plan_import(
    state: VaultState,
    name: str,
    keys: Sequence[PublicJWK],
    now: datetime,
    *,
    role: Role,
    imported: bool = True,
    keep: timedelta = timedelta(0),
    note: str | None = None,
    forced: str | None = None,
) -> Plan:
    """
    Plan to take *keys* into set *name*.

    A next key takes the place of the one that is there. Of several keys that become active the first does, and the
    others become retiring, as servers list them. A retiring key never signs: it is published until what was signed
    with it elsewhere has expired; a set without keys gets keys of its own beside it.

    Args:
        state: The vault.
        name: The set.
        keys: Their public halves.
        now: The instant of the import.
        role: What they become.
        imported: Whether they come from outside; a kid that is no thumbprint must.
        keep: How long retiring keys are kept at least; policy may ask for more.
        note: Where they come from.
        forced: Why the gate is to be passed, or None to respect it.

    Raises:
        UsageError: There is no such set, it is closing, or a key does not fit in.
        GateError: A key would become active in a set that has an active key: no verifier can know it.
    """
    key_set = state.find_set(name)
    if key_set.policy.closing:
        raise UsageError(f"set {name} is closing: no key is taken into it any more")
    _check_new(state, key_set, keys)
    at = effective_instant(key_set, now)
    made = Event(at=at, event="created", imported=imported, note=note)
    changes: list[Change] = []
    if role == "next":
        changes += _take_next(key_set, keys, made)
    else:
        old = list(keys)
        if role == "active":
            changes += _take_active(key_set, old.pop(0), made, forced)
        for public in old:
            kept = max(keep_until(key_set, None, at), at + keep)
            events = (made, activated(key_set, at), Event(at=at, event="deactivated", keep_until=kept))
            changes.append(Import(name, public, events))
        if role == "retiring" and key_set.active is None and key_set.next is None:
            # A set that is new: somebody has to sign, and nobody here holds a key of it.
            changes += plan_creation(key_set, now).changes
    return Plan(tuple(changes))


def _check_new(state: VaultState, key_set: KeySet, keys: Sequence[PublicJWK]) -> None:
    policy = key_set.policy
    names = {kid.lower(): kid for kid in state.keys}
    halves = {key.public.thumbprint: key for key in state.keys.values()}
    for public in keys:
        # Symmetric keys are not published, and keys of the type AKP cost most verifiers the whole JWK Set.
        if public.use != policy.use or any((public.kty == one) != (policy.kty == one) for one in ("oct", "AKP")):
            raise UsageError(f"key {elided(public.kid)} is {_kind(public)}, set {key_set.name} is for {policy.spec}")
        # File systems fold case, and a kid is used once in the life of a vault.
        other = names.setdefault(public.kid.lower(), public.kid)
        if other in state.keys:
            raise UsageError(f"there is a key {other} already", hint="a kid is used once; --kid gives another")
        if other != public.kid:
            raise UsageError(
                f"kids {elided(other)} and {elided(public.kid)} differ by case alone",
                hint="--only chooses, --kid gives another",
            )
        same = halves.get(public.thumbprint)
        if same is not None:
            raise UsageError(f"key {elided(public.kid)} is in the vault already: it is {same.kid} of {same.set}")
    if len({public.thumbprint for public in keys}) < len(keys) or len({public.kid for public in keys}) < len(keys):
        raise UsageError("the same key, or the same kid, stands there twice")


def _kind(public: PublicJWK) -> str:
    return f"{public.kty} for {public.use}"


def _take_next(key_set: KeySet, keys: Sequence[PublicJWK], made: Event) -> list[Change]:
    if key_set.active is None:
        raise UsageError(f"set {key_set.name} has no active key, so nothing is next", hint="--as active")
    if len(keys) != 1:
        raise UsageError(f"a set has one next key, these are {len(keys)}", hint="--only KID, or --as retiring")
    fresh = Key(format=1, set=key_set.name, public=keys[0], events=(made,))
    if not fresh.fits(key_set.policy.spec):
        raise UsageError(
            f"key {elided(fresh.kid)} is {_describe(fresh)}, "
            f"the next key of {key_set.name} must be {key_set.policy.spec}",
            hint="change the set's alg in keyvault.toml first, or take it in --as retiring",
        )
    changes: list[Change] = []
    if key_set.next is not None:
        left = Event(at=made.at, event="withdrawn", note="an imported key takes its place")
        changes.append(Amend(key_set.name, key_set.next.kid, (left,)))
    return [*changes, Import(key_set.name, keys[0], (made,))]


def _describe(key: Key) -> str:
    public = key.public
    size = f" {key.rsa_bits}" if key.rsa_bits else f" {public.crv}" if isinstance(public.crv, str) else ""
    return f"{public.alg}{size}"


def _take_active(key_set: KeySet, public: PublicJWK, made: Event, forced: str | None) -> list[Change]:
    name, at, active = key_set.name, made.at, key_set.active
    if active is None:
        changes: list[Change] = [Import(name, public, (made, activated(key_set, at)))]
    elif forced is None:
        raise GateError(
            f"making key {elided(public.kid)} the active one of {name} now would break verifiers: none can know it yet",
            hint='take it in --as next, or use --force --reason "…"',
        )
    else:
        changes = [
            Import(name, public, (made, activated(key_set, at, forced=forced))),
            Amend(name, active.kid, (deactivated(key_set, active, at),)),
        ]
    return changes + (new_next(key_set, at) if key_set.next is None else [])
