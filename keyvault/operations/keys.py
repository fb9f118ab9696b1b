"""Sets and keys: add, remove, select, open."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from datetime import datetime
from typing import TYPE_CHECKING

from keyvault.core.algorithms import KeySpec, key_spec
from keyvault.core.keys import Key, sealed_to
from keyvault.core.places import check_issuer, check_place
from keyvault.core.plan import Amend, Plan
from keyvault.core.planning import plan_closing, plan_creation, plan_due
from keyvault.core.policy import Policy, check_set_name
from keyvault.core.state import VaultState
from keyvault.errors import ConfigError, UsageError
from keyvault.operations.changes import Outcome, Proposal, carry_out, edited_policy
from keyvault.operations.context import Context

if TYPE_CHECKING:
    from keyvault.crypto.generate import PrivateJWK


def add_set(
    context: Context,
    name: str,
    *,
    spec: KeySpec,
    issuer: str | None = None,
    at: str | None = None,
    external: bool = False,
    push: bool = False,
    dry_run: bool = False,
) -> Outcome:
    """
    Add a set to keyvault.toml and generate its active and its next key, in one commit.

    An external set gets no keys: its private halves live elsewhere, and the public halves are imported.

    Raises:
        UsageError: If the set already exists, or the name, the issuer or the place is invalid.
        ConfigError: If issuer or place conflict with those of other sets.
    """
    try:
        check_set_name(name)
    except ConfigError as error:
        raise UsageError(error.message, code=error.code, hint=error.hint) from None
    members = set_members(spec, issuer=issuer, at=at, external=external)

    def propose(state: VaultState) -> Proposal:
        if name in state.sets and not state.sets[name].policy.closing:
            raise UsageError(f"set {name} already exists", code="set-exists", hint=f"keyvault rotate {name}")
        state, data = edited_policy(context, state, {name: members})
        plan = _plan_opening(state, name, context.now)
        return Proposal(plan, f"add set {name} ({spec})", files={"keyvault.toml": data})

    return carry_out(context, propose, push=push, dry_run=dry_run)


def set_members(
    spec: KeySpec, *, issuer: str | None = None, at: str | None = None, external: bool = False
) -> dict[str, object]:
    """
    Return the members of a set's table in keyvault.toml; None removes a member.

    Raises:
        UsageError: If the issuer or the place is invalid.
    """
    try:
        if issuer is not None:
            check_issuer(issuer)
    except ValueError as error:
        raise UsageError(f"--issuer: {error}", code="issuer-invalid") from None
    try:
        if at is not None:
            check_place(at)
    except ValueError as error:
        raise UsageError(f"--at: {error}", code="place-invalid") from None
    default = key_spec(spec.alg)
    return {
        "alg": spec.alg,
        "crv": spec.crv if spec.crv != default.crv else None,
        "bits": spec.bits if spec.bits != default.bits else None,
        "kid": spec.kid_form if spec.kid_form != default.kid_form else None,
        "issuer": issuer,
        "at": at,
        "external": external or None,
        "closing": None,
    }


def _plan_opening(state: VaultState, name: str, now: datetime) -> Plan:
    """Plan both keys of a new set, or the missing keys of a set that was closing."""
    key_set = state.find_set(name)
    if key_set.active is None and key_set.next is None:
        return plan_creation(key_set, now)
    alone = Policy(state.policy.site, {name: key_set.policy})
    keys = {key.kid: key for key in key_set.keys}
    return plan_due(VaultState(state.commit, alone, keys), now, live={})


def remove_set(
    context: Context, name: str, *, forced: str | None = None, push: bool = False, dry_run: bool = False
) -> Outcome:
    """
    Take a set out of service.

    The first call stops signing and marks the set as closing; its keys stay published until the last token
    has expired. When all keys are withdrawn, the next call removes the table from keyvault.toml. With *forced* every
    key is revoked at once, and the table is removed in the same commit. The records stay in any case.

    Raises:
        UsageError: If there is no such set.
    """

    def propose(state: VaultState) -> Proposal:
        key_set = state.find_set(name)
        plan = plan_closing(state, name, context.now, forced=forced)
        ending = {change.kid for change in plan.changes if isinstance(change, Amend) and change.drops_private}
        kept = [key for key in key_set.keys if key.state in ("active", "next", "retiring") and key.kid not in ending]
        table = {"closing": True} if kept else None
        if key_set.policy.closing and kept and not plan:
            return Proposal(plan, "")
        _, data = edited_policy(context, state, {name: table})
        subject = f"close set {name}" if kept else f"remove set {name}"
        return Proposal(plan, subject, body=forced, files={"keyvault.toml": data})

    return carry_out(context, propose, push=push, dry_run=dry_run)


def open_key(context: Context, key: Key) -> PrivateJWK:
    """
    Return the private JWK of *key*.

    Raises:
        IdentityError: If no identity opens it.
        EnvelopeError: If it is not in the vault, or was tampered with.
    """
    return next(open_keys(context, [key]))


def open_keys(context: Context, keys: Iterable[Key]) -> Iterator[PrivateJWK]:
    """Yield the private JWK of each of *keys*; unlock each identity once. Raises the errors of `open_key`."""
    from keyvault.crypto.envelope import parse_private

    for key in keys:
        yield parse_private(open_sealed(context, key), key.public)


def open_sealed(context: Context, key: Key) -> bytes:
    """Return the plaintext of the envelope of *key*. Raises the errors of `open_key`."""
    from keyvault.crypto.envelope import envelope_of, open_bytes

    envelope = envelope_of(key)
    identity = context.keyring.find(sealed_to(key))
    return open_bytes(envelope, kid=key.kid, set_name=key.set, recipient=identity.kid, unwrap=identity.unwrap)


def select(state: VaultState, name: str) -> tuple[Key, ...]:
    """
    Return the keys that *name* means: the live keys of a set, or the key with that kid.

    Raises:
        UsageError: If there is no such set or key, or the set has no keys.
    """
    if name in state.sets:
        if not state.sets[name].live:
            raise UsageError(f"set {name} has no keys yet", code="set-empty", hint="keyvault rotate --due")
        return state.sets[name].live
    return (state.find_key(name),)
