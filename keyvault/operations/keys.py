"""Sets and keys: add, remove, generate, open, export."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from datetime import datetime
from typing import TYPE_CHECKING

from keyvault.core.algorithms import KeySpec, key_spec
from keyvault.core.jwk import jwk_set_bytes, pretty, public_jwk
from keyvault.core.keys import Key, VaultState
from keyvault.core.planning import Amend, Plan, plan_closing, plan_creation, plan_due
from keyvault.core.policy import Policy, check_set_name, check_url
from keyvault.errors import ConfigError, UsageError
from keyvault.operations.changes import Outcome, Proposal, carry_out, edited_policy
from keyvault.operations.context import Context

if TYPE_CHECKING:
    from keyvault.crypto.generate import PrivateJWK

FORMATS = ("jwk", "jwks", "pem")


def add_set(
    context: Context, name: str, *, spec: KeySpec, issuer: str | None = None, push: bool = False, dry_run: bool = False
) -> Outcome:
    """
    Add a set to keyvault.toml and make its active and its next key, in one commit.

    Raises:
        UsageError: There is such a set already, or the name or the issuer cannot be.
        ConfigError: The issuer does not fit in with the others.
    """
    try:
        check_set_name(name)
        issuer = None if issuer is None else check_url(issuer)
    except ConfigError as error:
        raise UsageError(error.message, hint=error.hint) from None
    except ValueError as error:
        raise UsageError(f"--issuer: {error}") from None

    def propose(state: VaultState) -> Proposal:
        if name in state.sets and not state.sets[name].policy.closing:
            raise UsageError(f"there is a set {name} already", hint=f"keyvault rotate {name}")
        default = key_spec(spec.alg)
        members = {
            "alg": spec.alg,
            "crv": spec.crv if spec.crv != default.crv else None,
            "bits": spec.bits if spec.bits != default.bits else None,
            "issuer": issuer,
            "closing": None,
        }
        state, data = edited_policy(context, state, {name: members})
        plan = _plan_opening(state, name, context.now)
        return Proposal(plan, f"add set {name} ({spec})", files={"keyvault.toml": data})

    return carry_out(context, propose, push=push, dry_run=dry_run)


def _plan_opening(state: VaultState, name: str, now: datetime) -> Plan:
    """Plan both keys of a new set; of one that was closing, what it lacks."""
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
    has expired. When all have left, the next call takes the table out of keyvault.toml. With *forced* every
    key is revoked at once and the table goes too. History stays in any case.

    Raises:
        UsageError: There is no such set.
    """

    def propose(state: VaultState) -> Proposal:
        key_set = state.find_set(name)
        plan = plan_closing(state, name, context.now, forced=forced)
        left = {change.kid for change in plan.changes if isinstance(change, Amend) and change.drops_private}
        kept = [key for key in key_set.keys if key.state in ("active", "next", "retiring") and key.kid not in left]
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
        IdentityError: No identity opens it.
        EnvelopeError: It is not in the vault, or was tampered with.
    """
    return next(open_keys(context, [key]))


def open_keys(context: Context, keys: Iterable[Key]) -> Iterator[PrivateJWK]:
    """Yield the private JWK of each of *keys*; an identity is unlocked once, errors as `open_key`."""
    from keyvault.crypto.envelope import parse_private

    for key in keys:
        yield parse_private(open_sealed(context, key), key.public)


def open_sealed(context: Context, key: Key) -> bytes:
    """Return the sealed bytes of *key* as they were sealed; errors as `open_key`."""
    from keyvault.crypto.envelope import envelope_of, open_bytes, recipients_of

    envelope = envelope_of(key)
    identity = context.keyring.find(recipients_of(envelope.recipients))
    return open_bytes(envelope, kid=key.kid, set_name=key.set, recipient=identity.kid, unwrap=identity.unwrap)


def generate_key(spec: KeySpec, *, kid: str | None = None) -> PrivateJWK:
    """Return a fresh private JWK that no vault knows; the kid is its thumbprint, or *kid*."""
    from keyvault.core.jwk import check_kid
    from keyvault.crypto.generate import generate

    private = generate(spec)
    return {**private, "kid": check_kid(kid)} if kid is not None else private


def select(state: VaultState, name: str) -> list[Key]:
    """
    Return the keys that *name* means: those of a set that have not left, or the one key of that kid.

    Raises:
        UsageError: It is neither.
    """
    if name in state.sets:
        key_set = state.sets[name]
        found = [key for key in (key_set.active, key_set.next, *key_set.retiring) if key]
        if not found:
            raise UsageError(f"set {name} has no keys yet", hint="keyvault rotate --due")
        return found
    return [state.find_key(name)]


def export(context: Context, name: str, *, private: bool = False, active: bool = False, form: str = "jwk") -> bytes:
    """
    Return keys in a format that other tools read.

    Args:
        context: The vault.
        name: A set, or a kid.
        private: Whether to open the private halves.
        active: Of a set, only the active key.
        form: ``jwk``, ``jwks`` or ``pem``.

    Raises:
        UsageError: There is no such set or key, or several keys do not fit in the format.
        IdentityError: No identity opens a key.
    """
    state = context.state()
    keys = select(state, name)
    if active:
        keys = [key for key in keys if key.state == "active"]
        if not keys:
            raise UsageError(f"{name} has no active key")
    if form == "jwk" and len(keys) != 1:
        raise UsageError(f"{name} has {len(keys)} keys, a JWK is one", hint="--active, a kid, or --format jwks")
    if private:
        keys = [key for key in keys if key.sealed]
        if not keys:
            raise UsageError(f"no private half of {name} is in the vault")
        return encode_private(list(open_keys(context, keys)), form)
    return encode_public(keys, form)


def encode_private(keys: list[PrivateJWK], form: str) -> bytes:
    """Return private JWKs as ``jwk``, ``jwks`` or ``pem`` (PKCS#8)."""
    if form == "pem":
        from keyvault.crypto.pairs import private_pem

        return b"".join(private_pem(key) for key in keys)
    return pretty(keys[0] if form == "jwk" else {"keys": keys})


def encode_public(keys: list[Key], form: str) -> bytes:
    """Return the public halves of *keys* as ``jwk``, ``jwks`` or ``pem``."""
    if any(key.public.kty == "oct" for key in keys):
        raise UsageError("a symmetric key has no public half", hint="--private")
    if form == "pem":
        from keyvault.site.documents import public_pem

        return b"".join(public_pem(key.public) for key in keys)
    return pretty(keys[0].public) if form == "jwk" else jwk_set_bytes(key.public for key in keys)


def public_half(private: PrivateJWK, form: str) -> bytes:
    """Return the public half of a fresh private JWK in *form*."""
    if private["kty"] == "oct":
        raise UsageError("a symmetric key has no public half")
    public = public_jwk(private, kid=private["kid"], alg=private["alg"])
    if form == "pem":
        from keyvault.site.documents import public_pem

        return public_pem(public)
    return pretty(public) if form == "jwk" else jwk_set_bytes([public])
