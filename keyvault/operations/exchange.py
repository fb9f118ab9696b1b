"""Keys in and out: make one that no vault knows, take keys in from elsewhere, write them for others."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from typing import TYPE_CHECKING

from keyvault.core.algorithms import ALGORITHMS, KeySpec
from keyvault.core.forms import Form, check_label, derive_kid, usual_algorithm
from keyvault.core.importing import Role, plan_import
from keyvault.core.jwk import PRIVATE_MEMBERS, PublicJWK, check_kid, jwk_set_bytes, pretty, public_jwk
from keyvault.core.keys import Key, KeySet, VaultState
from keyvault.core.planning import Plan
from keyvault.core.policy import check_set_name
from keyvault.core.text import elided, printable, quoted
from keyvault.errors import ConfigError, KeyVaultError, UsageError
from keyvault.operations.changes import Outcome, Proposal, carry_out, edited_policy
from keyvault.operations.context import Context
from keyvault.operations.keys import open_keys, select, set_members

if TYPE_CHECKING:
    from keyvault.crypto.exports import Certificate
    from keyvault.crypto.generate import PrivateJWK
    from keyvault.crypto.imports import AskPassword, FoundKey

#: What public keys can be written as.
PUBLIC_FORMATS = ("jwk", "jwks", "pem", "der")


# --- making ---------------------------------------------------------------------------------------------


def generate_key(form: Form, *, now: datetime, kid: str | None = None, kid_from: str = "sha-256") -> PrivateJWK:
    """
    Return a fresh private JWK of *form* that no vault knows.

    Its kid is *kid*, or is made as *kid_from* says; one that would begin with ``-`` or ``_`` is drawn again, with the
    key.
    """
    from keyvault.crypto.generate import generate_form

    while True:
        private = generate_form(form)
        chosen = check_kid(kid) if kid is not None else _derived(private, kid_from, now)
        if kid is not None or chosen[0] not in "-_":
            return {"kty": private["kty"], "kid": chosen, **private}


def _derived(members: PrivateJWK, kid_from: str, now: datetime) -> str:
    from keyvault.core.pem import public_der

    needs_der = kid_from == "spki" and members["kty"] != "oct"
    return derive_kid(members, kid_from, now=now, der=public_der(members) if needs_der else None)


def encode_public(keys: Sequence[PublicJWK], form: str, *, name: str) -> bytes:
    """
    Return public keys in *form*, one of `PUBLIC_FORMATS`.

    Raises:
        UsageError: A key is symmetric, the form is not known, or holds one key and there are more.
    """
    from keyvault.site.documents import public_der, public_pem

    if form in ("p12", "x509", "dotenv", "kubernetes-secret", "apiserver"):
        raise UsageError(f"--format {form} needs the private half", hint="--private")
    if form not in PUBLIC_FORMATS:
        raise UsageError(f"--format {quoted(form, 40)} is not known", hint="one of " + ", ".join(PUBLIC_FORMATS))
    if any(key.kty == "oct" for key in keys):
        raise UsageError("a symmetric key has no public half", hint="--private")
    if form in ("jwk", "der") and len(keys) != 1:
        raise UsageError(f"{name} has {len(keys)} keys, {form} holds one", hint="--active, a kid, or --format jwks")
    if form == "pem":
        return b"".join(public_pem(key) for key in keys)
    if form == "der":
        return public_der(keys[0])
    return pretty(keys[0]) if form == "jwk" else jwk_set_bytes(keys)


def public_half(private: PrivateJWK, form: str) -> bytes:
    """Return the public half of a private JWK in *form*, with the labels that it has."""
    if "alg" in private and "use" in private and private["alg"] in ALGORITHMS:
        return encode_public([public_jwk(private, kid=private["kid"], alg=private["alg"])], form, name="the key")
    return _unlabelled_half(private, form)


def _unlabelled_half(private: PrivateJWK, form: str) -> bytes:
    from keyvault.core.jwk import REQUIRED
    from keyvault.core.pem import public_der
    from keyvault.site.documents import pem

    if private["kty"] == "oct":
        raise UsageError("a symmetric key has no public half", hint="--private")
    kept = ("kty", "kid", "use", "alg", *REQUIRED[private["kty"]])
    public = {name: value for name, value in private.items() if name in kept}
    if form == "jwk":
        return pretty(public)
    if form == "jwks":
        return pretty({"keys": [public]})
    der = public_der(private)
    return pem(der) if form == "pem" else der


def save_key(context: Context, name: str, private: PrivateJWK) -> Outcome:
    """Make a fresh private JWK the next key of set *name*, in one commit; errors as `import_keys`."""
    from keyvault.core.jwk import thumbprint
    from keyvault.crypto.imports import read_jwk

    wish = Wish(role="next", creates=False)
    imported = private["kid"] != thumbprint(private)  # a kid of one's own is what imported keys have
    return import_keys(context, name, [read_jwk(private)], wish, imported=imported)


# --- taking in ------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Wish:
    """
    How keys are to be taken in.

    Attributes:
        role: What they become; None: active in a set without an active key, retiring where they come from a URL,
            next otherwise.
        alg: What a key without ``alg`` is for; None takes the set's, or the usual one.
        kid: The kid of the one key; None keeps the one it has.
        kid_from: How a key without a kid gets one.
        only: Kids of the keys to take, of several; empty for all.
        keep: How long retiring keys are kept at least.
        note: Where they come from, for the record.
        forced: Why the gate is to be passed, or None.
        external: Make a set that is new for keys whose private halves live elsewhere.
        issuer: The issuer of a set that is new.
        creates: Whether a set that is not there is made.
        lenient: Whether what does not fit is left out, instead of all being refused.
        left_out: What was left out before, a sentence each.
    """

    role: Role | None = None
    alg: str | None = None
    kid: str | None = None
    kid_from: str = "sha-256"
    only: Sequence[str] = ()
    keep: timedelta = timedelta(0)
    note: str | None = None
    forced: str | None = None
    external: bool = False
    issuer: str | None = None
    creates: bool = True
    lenient: bool = False
    left_out: Sequence[str] = ()


def read_file(data: bytes, ask: AskPassword, source: str) -> list[FoundKey]:
    """
    Return the keys of a file; errors as `read_keys`, with the name of the file before them.

    Raises:
        KeyVaultError: As said.
    """
    from keyvault.crypto.imports import read_keys

    try:
        return read_keys(data, ask)
    except KeyVaultError as error:
        raise type(error)(f"{elided(source)[:200]}: {error.message}", hint=error.hint) from None


def read_url(url: str) -> tuple[list[FoundKey], list[str]]:
    """
    Return the public keys that the JWK Set at *url* serves, and why others of it are not taken, a sentence each.

    Raises:
        LiveError: It cannot be had.
        UsageError: It is no JWK Set, has no key that can be taken, or serves a private key.
    """
    import msgspec

    from keyvault.crypto.imports import KEYS_MAX, read_jwk
    from keyvault.publish.live import fetch

    shown = elided(url)[:200]
    try:
        document = msgspec.json.decode(fetch(url))
    except (msgspec.MsgspecError, RecursionError, UnicodeDecodeError):
        raise UsageError(f"{shown} does not serve JSON") from None
    keys = document.get("keys") if isinstance(document, dict) else None
    if not isinstance(keys, list):
        raise UsageError(f"{shown} does not serve a JWK Set")
    found: list[FoundKey] = []
    left_out: list[str] = []
    for number, jwk in enumerate(keys[: KEYS_MAX + 1], 1):
        members = jwk if isinstance(jwk, dict) else {}
        if PRIVATE_MEMBERS & members.keys():
            raise UsageError(f"{shown} serves a private key: whoever asks can sign", hint="take it from there first")
        try:
            found.append(read_jwk(members))
        except KeyVaultError as error:
            left_out.append(f"key {number} is left out: {error.message}")
    if not found or len(keys) > KEYS_MAX:
        raise UsageError(f"{shown} serves {len(keys)} keys: none that can be taken, or too many")
    return found, left_out


def import_keys(
    context: Context,
    name: str,
    found: Sequence[FoundKey],
    wish: Wish,
    *,
    imported: bool = True,
    push: bool = False,
    dry_run: bool = False,
) -> Outcome:
    """
    Take keys into set *name*, in one commit; a set that keyvault.toml does not have is made for them.

    What the vault has already, with that kid, is passed over.

    Args:
        context: The vault.
        name: The set.
        found: The keys.
        wish: How they are to be taken in.
        imported: Whether they come from outside.
        push: Whether the commit goes to the remote as well.
        dry_run: Only plan.

    Raises:
        UsageError: A key does not fit in, or is there with another public half.
        WeakKeyError: A key is too weak for its algorithm.
        GateError: A key would become active that no verifier can know.
    """

    def propose(state: VaultState) -> Proposal:
        chosen = _chosen(found, wish)
        files: dict[str, bytes | None] = {}
        if name not in state.sets:
            if not wish.creates or wish.role == "next":
                _ = state.find_set(name)  # raises: the next key of a set needs the set
            state, files["keyvault.toml"] = _with_set(context, state, name, chosen[0], wish)
        key_set = state.find_set(name)
        taken, warnings = _taken(chosen, key_set, wish, context.now)
        fresh = []
        for public, one in taken:
            key = _present(state, name, public)
            if key is None:
                fresh.append((public, one))
            else:
                warnings.append(_passed_over(key, one, wish))
        if not fresh:
            return Proposal(Plan(warnings=tuple(warnings)), "")
        role = wish.role or ("next" if key_set.active else "active")
        _check_halves(key_set, fresh, role)
        plan = plan_import(
            state, name, [public for public, _ in fresh], context.now,
            role=role, imported=imported, keep=wish.keep, note=wish.note, forced=wish.forced,
        )  # fmt: skip
        privates = {
            public.kid: {**one.members, "kid": public.kid, "use": public.use, "alg": public.alg}
            for public, one in fresh
            if one.private
        }
        plan = replace(plan, warnings=(*plan.warnings, *warnings))
        many = f"{len(fresh)} keys" if len(fresh) > 1 else f"key {fresh[0][0].kid}"
        return Proposal(plan, f"import {many} into {name} as {role}", body=wish.forced, files=files, privates=privates)

    return carry_out(context, propose, push=push, dry_run=dry_run)


def _chosen(found: Sequence[FoundKey], wish: Wish) -> list[FoundKey]:
    unknown = [kid for kid in wish.only if kid not in {one.kid for one in found}]
    if unknown:
        there = ", ".join(one.kid or "one without a kid" for one in found)
        raise UsageError(f"no key {quoted(unknown[0], 140)} is there", hint=f"there are: {elided(there)[:300]}")
    chosen = [one for one in found if not wish.only or one.kid in wish.only]
    uses, symmetric = {one.use for one in chosen if one.use}, {one.members["kty"] == "oct" for one in chosen}
    if not wish.lenient and (len(uses) > 1 or len(symmetric) > 1):
        # A realm of Keycloak's has keys to sign with, keys to encrypt with, and secrets.
        there = printable(", ".join(f"{one.kid or 'one without a kid'} ({_purpose(one)})" for one in chosen))
        raise UsageError(f"no set can have all of these: {there[:600]}", hint="--only KID takes one; can be repeated")
    return chosen


def _purpose(one: FoundKey) -> str:
    return " ".join(filter(None, (one.alg or one.members["kty"], one.use)))


def _labelled(one: FoundKey, key_set: KeySet, wish: Wish, now: datetime) -> tuple[PublicJWK, FoundKey]:
    """Return the published form of a key that was found: its own labels, then what was asked for, then the set's."""
    from keyvault.core.strength import check_public_key
    from keyvault.crypto.pairs import check_private_jwk

    policy = key_set.policy
    alg = wish.alg if wish.alg and one.alg is None else one.alg
    if alg is None:
        fits_set = ALGORITHMS[policy.spec.alg].takes(one.members) and (not one.pss or policy.spec.alg[:2] == "PS")
        alg = policy.spec.alg if fits_set else _usual(one)
    if one.pss and alg is not None and alg[:2] != "PS":
        raise UsageError(f"the key is for RSASSA-PSS alone, not for {elided(alg)[:40]}", hint="--alg PS256")
    if alg is None or alg not in ALGORITHMS:
        raise UsageError(
            f"a key for {elided(alg)[:40]} is none that a set can have"
            if alg
            else "it does not say which algorithm the key is for",
            hint="--alg " + ", ".join(ALGORITHMS),
        )
    if wish.alg not in (None, alg):
        raise UsageError(f"the key is for {alg}, not for {elided(str(wish.alg))[:40]}")
    check_label(one.members, alg)
    if one.use not in (None, ALGORITHMS[alg].use):
        raise UsageError(f"the key says use {quoted(one.use, 20)}, and {alg} is for {ALGORITHMS[alg].use}")
    # That the halves belong together was seen when the file was read.
    check = check_private_jwk if one.members["kty"] == "oct" else check_public_key
    check(one.members, alg=alg)
    kid = wish.kid or one.kid or _new_kid(one, wish.kid_from, ALGORITHMS[alg].use, now)
    if one.members["kty"] == "oct":
        return PublicJWK(kty="oct", kid=check_kid(kid), use=ALGORITHMS[alg].use, alg=alg), one
    return public_jwk(one.members, kid=kid, alg=alg), one


def _usual(one: FoundKey) -> str | None:
    return "PS256" if one.pss else usual_algorithm(one.members, one.use)


def _new_kid(one: FoundKey, kid_from: str, use: str, now: datetime) -> str:
    if one.members["kty"] == "oct":
        # The thumbprint would be a hash of the secret, in the clear: whoever guesses the secret could tell.
        import secrets

        return secrets.token_hex(16)
    return _derived({**one.members, "use": use}, kid_from, now)


def _taken(
    chosen: Sequence[FoundKey], key_set: KeySet, wish: Wish, now: datetime
) -> tuple[list[tuple[PublicJWK, FoundKey]], list[str]]:
    """Return the published forms of what was found, and of foreign sets what is left out, a sentence each."""
    taken, left_out = [], list(wish.left_out)
    for one in chosen:
        try:
            public, _ = labelled = _labelled(one, key_set, wish, now)
            if wish.lenient and (
                public.use != key_set.policy.use or (public.kty == "AKP") != (key_set.policy.kty == "AKP")
            ):
                raise UsageError(f"it is {public.kty} for {public.use}")
            taken.append(labelled)
        except KeyVaultError as error:
            if not wish.lenient:
                raise
            left_out.append(f"key {one.kid or 'without a kid'} is left out: {error.message}")
    if not taken:
        raise UsageError("there is no key that can be taken", hint="; ".join(left_out)[:300])
    return taken, left_out


def _present(state: VaultState, name: str, public: PublicJWK) -> Key | None:
    """Return the key of the set that *public* is, unless it has left."""
    key = state.keys.get(public.kid)
    if key is None or key.state in ("withdrawn", "revoked") or key.set != name or public.kty == "oct":
        return None
    return key if key.public == public else None


def _passed_over(key: Key, one: FoundKey, wish: Wish) -> str:
    """
    Return what to say of a key that is there already.

    Raises:
        UsageError: More was asked for than to have it.
    """
    if one.private and not key.sealed:
        raise UsageError(
            f"key {key.kid} is in the vault by its public half alone: its private half is not added later",
            hint="keep it where it is; a key that is to sign here is made anew",
        )
    if wish.role not in (None, key.state) and not wish.lenient:
        raise UsageError(f"key {key.kid} is there already: it is {key.state}", hint="keyvault rotate, or rollback")
    return f"key {key.kid} is there already: it is {key.state}"


def _check_halves(key_set: KeySet, fresh: Sequence[tuple[PublicJWK, FoundKey]], role: Role) -> None:
    for public, one in fresh:
        if key_set.policy.external and one.private:
            raise UsageError(
                f"set {key_set.name} is external: of key {public.kid} it takes the public half alone",
                hint="openssl pkey -pubout, or keyvault key export",
            )
        if not key_set.policy.external and not one.private and role != "retiring":
            raise UsageError(
                f"key {public.kid} has no private half here, so nobody could sign with it",
                hint="--as retiring; or where the private one lives elsewhere: external = true in the set's table, "
                "--external for a set that is new",
            )


def _with_set(context: Context, state: VaultState, name: str, first: FoundKey, wish: Wish) -> tuple[VaultState, bytes]:
    """Return *state* with a set for keys such as *first*, and the keyvault.toml that says so."""
    try:
        check_set_name(name)
        alg = first.alg or wish.alg or _usual(first)
        if alg is None or alg not in ALGORITHMS:
            raise UsageError("it does not say which algorithm the key is for", hint="--alg ES256")
        spec = spec_of(first.members, alg)
    except ConfigError as error:
        raise UsageError(error.message, hint=error.hint) from None
    members = set_members(spec, issuer=wish.issuer, external=wish.external)
    return edited_policy(context, state, {name: members})


def spec_of(members: PrivateJWK, alg: str) -> KeySpec:
    """
    Return what a set must ask for, to have keys like this one.

    Raises:
        JWKError: *alg* does not fit the key.
        ConfigError: No set can ask for it.
    """
    from keyvault.core.algorithms import key_spec
    from keyvault.core.jwk import b64u_decode

    check_label(members, alg)
    bits = None
    if members["kty"] == "RSA":
        bits = len(b64u_decode(members["n"], what="member 'n'")) * 8
    elif members["kty"] == "oct":
        bits = len(b64u_decode(members["k"], what="member 'k'")) * 8
    return key_spec(alg, crv=members.get("crv"), bits=bits)


# --- writing out ----------------------------------------------------------------------------------------


def chosen_keys(state: VaultState, name: str, *, active: bool = False) -> list[Key]:
    """
    Return the keys that *name*, a set or a kid, means; of a set only the active one, where that is asked for.

    Raises:
        UsageError: There is no such set or key, or no active one.
    """
    keys = select(state, name)
    if active:
        keys = [key for key in keys if key.state == "active"]
        if not keys:
            raise UsageError(f"{name} has no active key")
    return keys


def export_public(context: Context, name: str, *, active: bool = False, form: str = "jwk") -> bytes:
    """Return public keys of *name* in *form*; errors as `chosen_keys` and `encode_public`."""
    keys = chosen_keys(context.state(), name, active=active)
    return encode_public([key.public for key in keys], form, name=name)


def export_private(
    context: Context,
    name: str,
    *,
    certificate: Certificate,
    active: bool = False,
    form: str = "jwk",
    password: bytes | None = None,
    x5c: bool = False,
) -> tuple[bytes, list[str]]:
    """
    Return private keys of *name* in *form*, and the kids of those whose private half is not here.

    Args:
        context: The vault.
        name: A set, or a kid.
        certificate: What a certificate says, where the form has one.
        active: Of a set, only the active key.
        form: One of `exports.FORMATS`.
        password: Encrypts what can be.
        x5c: Whether JWKs carry a self-signed certificate.

    Raises:
        UsageError: There is no such key, its private half is elsewhere, or it cannot be written so.
        IdentityError: No identity opens it.
    """
    from keyvault.crypto.exports import encode

    chosen = chosen_keys(context.state(), name, active=active)
    keys = [key for key in chosen if key.sealed]
    if not keys:
        raise UsageError(f"no private half of {name} is in the vault")
    opened = list(open_keys(context, keys))
    data = encode(opened, form, name=name, certificate=certificate, password=password, x5c=x5c)
    return data, [key.kid for key in chosen if not key.sealed]


def export_apiserver(context: Context, name: str) -> dict[str, bytes]:
    """
    Return the two files that a kube-apiserver needs: what it signs with, and what it verifies with.

    Raises:
        UsageError: The set has no active key whose private half is here.
        IdentityError: No identity opens it.
    """
    from keyvault.crypto.pairs import private_pem

    state = context.state()
    (active,) = chosen_keys(state, name, active=True)
    (private,) = open_keys(context, [active])
    keys = [key.public for key in state.find_set(name).published] if name in state.sets else [active.public]
    return {"sa.key": private_pem(private), "sa.pub": encode_public(keys, "pem", name=name)}
