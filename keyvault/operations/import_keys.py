"""
Take keys in from elsewhere, in one commit.

Says as well what tokens of these keys will verify, and until when. `import_sources` reads them.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from typing import TYPE_CHECKING

from keyvault.core.algorithms import ALGORITHMS, KeySpec
from keyvault.core.events import fold
from keyvault.core.importing import Origin, Role, plan_import
from keyvault.core.jwk import PublicJWK, check_kid, pretty, public_jwk
from keyvault.core.key_parameters import KEY_ALGORITHMS, check_algorithm, usual_algorithm
from keyvault.core.keys import Key
from keyvault.core.plan import Import, Plan
from keyvault.core.policy import check_set_name
from keyvault.core.state import KeySet, VaultState
from keyvault.core.text import elided, nearest, quoted
from keyvault.errors import ConfigError, KeyVaultError, LeakError, UsageError
from keyvault.operations.changes import Outcome, Proposal, carry_out, edited_policy
from keyvault.operations.context import Context
from keyvault.operations.exchange import derived_kid
from keyvault.operations.import_sources import list_reasons
from keyvault.operations.keys import set_members
from keyvault.operations.reports import ImportedKey

if TYPE_CHECKING:
    from keyvault.crypto.generate import PrivateJWK
    from keyvault.crypto.imports import FoundKey

#: Algorithms that JOSE has and nobody should use: what a key for them is for.
_FORMER = {"RSA1_5": "enc"}


@dataclass(frozen=True)
class ImportRequest:
    """
    How keys are to be taken in.

    Attributes:
        role: Their role; None: active in a set without an active key, retiring if they come from a URL, next otherwise.
        alg: The algorithm of a key that names none, or one that sets do not support; None takes the set's, or the
            usual one.
        kid: The kid of the one key; None keeps the one it has.
        kid_from: How each key gets a kid; None keeps the one in the file, and gives the thumbprint to the others.
        only: Kids of the keys to take, of several; empty for all.
        keep: How long retiring keys are kept at least.
        note: Where they come from, for the record.
        forced: Why the gate is to be passed, or None.
        external: Make a new set for keys whose private halves live elsewhere.
        issuer: The issuer of a new set, as it stands in ``iss``.
        at: The place of its JWK Set on the site.
        creates: Whether a set that does not exist is made.
        lenient: Whether keys that do not fit are left out, instead of all being refused.
        left_out: What was left out before, a sentence each.
    """

    role: Role | None = None
    alg: str | None = None
    kid: str | None = None
    kid_from: str | None = None
    only: Sequence[str] = ()
    keep: timedelta = timedelta(0)
    note: str | None = None
    forced: str | None = None
    external: bool = False
    issuer: str | None = None
    at: str | None = None
    creates: bool = True
    lenient: bool = False
    left_out: Sequence[str] = ()


@dataclass(frozen=True)
class ImportOutcome:
    """
    An import.

    Attributes:
        outcome: What was done to the vault, or would be.
        keys: The keys that are in the vault now, those that were there already too.
        left_out: What could not be taken and why, a sentence each.
    """

    outcome: Outcome
    keys: tuple[ImportedKey, ...]
    left_out: tuple[str, ...]


def import_keys(
    context: Context,
    name: str,
    found: Sequence[FoundKey],
    request: ImportRequest,
    *,
    imported: bool = True,
    push: bool = False,
    dry_run: bool = False,
) -> ImportOutcome:
    """
    Take keys into set *name*, in one commit; a set that keyvault.toml does not have is made for them.

    Keys that the vault has already, with that kid, are passed over.

    Args:
        context: The vault.
        name: The set.
        found: The keys.
        request: How they are to be taken in.
        imported: Whether they come from outside.
        push: Whether the commit goes to the remote as well.
        dry_run: Only plan.

    Raises:
        UsageError: If a key does not fit in, or is there with another public half.
        WeakKeyError: If a key is too weak for its algorithm.
        GateError: If a key would become active that no verifier can know.
    """
    present: list[Key] = []
    left_out: list[str] = []

    def propose(state: VaultState) -> Proposal:
        chosen = _chosen(found, request)
        files: dict[str, bytes | None] = {}
        if name not in state.sets:
            if not request.creates or request.role == "next":
                _ = state.find_set(name)  # raises: the next key of a set needs the set
            state, files["keyvault.toml"] = _with_set(context, state, name, chosen[0], request)
        elif request.issuer is not None or request.at is not None:
            raise UsageError(
                f"set {name} is there already: --issuer and --at are for a new set",
                hint=f"edit [sets.{name}] in keyvault.toml",
            )
        key_set = state.find_set(name)
        taken, left_out[:] = _taken(chosen, key_set, request, context.now)
        warnings = [*left_out]
        fresh, present[:] = [], []
        for public, one in taken:
            warnings += [f"key {elided(public.kid)}: {remark}" for remark in one.remarks]
            key = _present(state, name, public)
            if key is None:
                fresh.append((public, one))
            else:
                present.append(key)
                warnings.append(_passed_over(key, one, request))
        if not fresh:
            return Proposal(Plan(warnings=tuple(warnings)), "")
        role = request.role or ("next" if key_set.active else "active")
        _check_halves(key_set, fresh, role)
        plan = plan_import(
            state, name, [public for public, _ in fresh], context.now,
            role=role, origin=Origin(imported, request.note), keep=request.keep, forced=request.forced,
        )  # fmt: skip
        privates = {
            public.kid: {**one.members, "kid": public.kid, "use": public.use, "alg": public.alg}
            for public, one in fresh
            if one.private
        }
        plan = replace(plan, warnings=(*plan.warnings, *warnings))
        many = f"{len(fresh)} keys" if len(fresh) > 1 else f"key {fresh[0][0].kid}"
        return Proposal(
            plan, f"import {many} into {name} as {role}", body=request.forced, files=files, privates=privates
        )

    outcome = carry_out(context, propose, push=push, dry_run=dry_run)
    changed = [_imported(change) for change in outcome.plan.changes if isinstance(change, Import)]
    there = [ImportedKey(key.kid, key.set, key.state, key.life.keep_until, True) for key in present]
    return ImportOutcome(outcome, (*changed, *there), tuple(left_out))


def _imported(change: Import) -> ImportedKey:
    life = fold(change.events)
    return ImportedKey(change.kid, change.set, life.state, life.keep_until, False)


def save_key(context: Context, name: str, private: PrivateJWK) -> Outcome:
    """Make a fresh private JWK the next key of set *name*, in one commit; errors as `import_keys`."""
    from keyvault.core.jwk import thumbprint
    from keyvault.crypto.imports import read_jwk

    request = ImportRequest(role="next", creates=False)
    imported = private["kid"] != thumbprint(private)  # a kid of one's own is what imported keys have
    return import_keys(context, name, [read_jwk(private)], request, imported=imported).outcome


def _chosen(found: Sequence[FoundKey], request: ImportRequest) -> list[FoundKey]:
    kids = [one.kid for one in found if one.kid is not None]
    only = [_find_kid(kid, kids) for kid in request.only]
    chosen = [one for one in found if not only or one.kid in only]
    uses, symmetric = {one.use for one in chosen if one.use}, {one.members["kty"] == "oct" for one in chosen}
    if not request.lenient and (len(uses) > 1 or len(symmetric) > 1):
        # A realm of Keycloak's has keys to sign with, keys to encrypt with, and secrets.
        there = elided(", ".join(f"{one.kid or 'one without a kid'} ({_purpose(one)})" for one in chosen))
        raise UsageError(
            f"no set can have all of these: {there[:600]}",
            hint="--only KID takes one, the beginning is enough; can be repeated",
        )
    return chosen


def _find_kid(given: str, kids: Sequence[str]) -> str:
    """Return the one of *kids* that is *given*, or begins so: messages may show the beginning of a kid alone."""
    if given in kids:
        return given
    begun = given.removesuffix("…")
    fitting = [kid for kid in dict.fromkeys(kids) if begun and kid.startswith(begun)]
    if len(fitting) != 1:
        there = elided(", ".join(kids))[:300] or "none with a kid"
        count = "no key" if not fitting else f"{len(fitting)} keys"
        raise UsageError(
            f"{count} {quoted(given, 140)} {'is' if not fitting else 'are'} there", hint=f"there are: {there}"
        )
    return fitting[0]


def _purpose(one: FoundKey) -> str:
    return " ".join(filter(None, (one.alg or one.members["kty"], one.use)))


def _algorithm(one: FoundKey, spec: KeySpec | None, request: ImportRequest) -> str:
    """
    Return the algorithm that a key is imported for: its own, what was asked for, the set's, or the usual one.

    Raises:
        UsageError: If sets do not support it, or it contradicts what the file says.
    """
    alg = one.alg
    if alg is None:
        alg = request.alg or (spec.alg if spec and _fits(one, spec) else _usual(one))
    elif alg not in ALGORITHMS:
        if request.alg is None:
            raise UsageError(
                f"sets do not support alg {quoted(alg, 40)}",
                hint=nearest(alg, ALGORITHMS) or f"--alg {_usual(one) or 'ALG'} imports it for that algorithm instead",
            )
        use = KEY_ALGORITHMS[alg].use if alg in KEY_ALGORITHMS else _FORMER.get(alg)
        if use and request.alg in ALGORITHMS and ALGORITHMS[request.alg].use != use:
            raise UsageError(f"the key is for {alg}, which is for {use}, and {request.alg} is not")
        alg = request.alg
    elif request.alg not in (None, alg):
        raise UsageError(f"the key is for {alg}, not for {elided(request.alg)[:40]}")
    if alg is None:
        raise UsageError("it does not say which algorithm the key is for", hint="--alg " + ", ".join(ALGORITHMS))
    if alg not in ALGORITHMS:
        raise UsageError(
            f"sets do not support alg {quoted(alg, 40)}",
            hint=nearest(alg, ALGORITHMS) or "--alg " + ", ".join(ALGORITHMS),
        )
    if one.restricted_to and alg not in one.restricted_to:
        kept = "RSASSA-PSS" if len(one.restricted_to) > 1 else one.restricted_to[0]
        raise UsageError(f"the key is for {kept} alone, not for {alg}", hint=f"--alg {one.restricted_to[0]}")
    check_algorithm(one.members, alg)
    if one.use not in (None, ALGORITHMS[alg].use):
        raise UsageError(
            f"the key says that it is for {quoted(one.use, 20)} (use or key_ops), "
            f"and {alg} is for {ALGORITHMS[alg].use}"
        )
    return alg


def _fits(one: FoundKey, spec: KeySpec) -> bool:
    """Return whether a key that names no algorithm can have that of its set."""
    algorithm = ALGORITHMS[spec.alg]
    return (
        algorithm.accepts(one.members)
        and (not one.restricted_to or spec.alg in one.restricted_to)
        and one.use in (None, algorithm.use)
    )


def _labelled(one: FoundKey, key_set: KeySet, request: ImportRequest, now: datetime) -> tuple[PublicJWK, FoundKey]:
    """Return the published form of a key that was found: its own labels, then what was asked for, then the set's."""
    from keyvault.core.strength import check_public_key
    from keyvault.crypto.pairs import check_private_jwk

    alg = _algorithm(one, key_set.policy.spec, request)
    if one.alg not in (None, alg):
        one = replace(one, remarks=(*one.remarks, f"the file says alg {elided(str(one.alg))[:40]}: imported for {alg}"))
    # That the halves belong together was seen when the file was read.
    check = check_private_jwk if one.members["kty"] == "oct" else check_public_key
    check(one.members, alg=alg)
    kid = request.kid or (None if request.kid_from else one.kid)
    kid = kid or _new_kid(one, request.kid_from or "sha-256", ALGORITHMS[alg].use, now)
    _check_publishable(kid)
    if one.members["kty"] == "oct":
        return PublicJWK(kty="oct", kid=check_kid(kid), use=ALGORITHMS[alg].use, alg=alg), one
    return public_jwk(one.members, kid=kid, alg=alg), one


def _check_publishable(kid: str) -> None:
    """Refuse a kid that is a private key, or that the last check before publication would take for one."""
    from keyvault.core.leaks import find_private
    from keyvault.site.leak_check import refuse_private

    try:
        if find_private(kid.encode(errors="replace")):
            raise LeakError("the kid is one")
        refuse_private("kid", kid.encode(errors="replace"))
        refuse_private("kid.json", pretty({"kid": kid}))
    except LeakError:
        raise UsageError("the kid of the key looks like a private key", hint="--kid gives it another") from None


def _usual(one: FoundKey) -> str | None:
    return one.restricted_to[0] if one.restricted_to else usual_algorithm(one.members, one.use)


def _new_kid(one: FoundKey, kid_from: str, use: str, now: datetime) -> str:
    if one.members["kty"] == "oct":
        # The thumbprint would be a hash of the secret, in the clear: whoever guesses the secret could tell.
        import secrets

        return secrets.token_hex(16)
    return derived_kid({**one.members, "use": use}, kid_from, now)


def _taken(
    chosen: Sequence[FoundKey], key_set: KeySet, request: ImportRequest, now: datetime
) -> tuple[list[tuple[PublicJWK, FoundKey]], list[str]]:
    """Return the published forms of what was found, and of foreign sets what is left out, a sentence each."""
    taken, left_out = [], list(request.left_out)
    for one in chosen:
        try:
            public, _ = labelled = _labelled(one, key_set, request, now)
            if request.lenient and (
                public.use != key_set.policy.use or (public.kty == "AKP") != (key_set.policy.kty == "AKP")
            ):
                raise UsageError(f"it is {public.kty} for {public.use}")
            taken.append(labelled)
        except KeyVaultError as error:
            if not request.lenient:
                raise
            left_out.append(f"key {one.kid or 'without a kid'} is left out: {error.message}")
    if not taken:
        raise UsageError(f"no key can be imported{list_reasons(left_out)}")
    return taken, left_out


def _present(state: VaultState, name: str, public: PublicJWK) -> Key | None:
    """Return the key of the set that *public* is, unless it has left."""
    key = state.keys.get(public.kid)
    if key is None or key.state in ("withdrawn", "revoked") or key.set != name or public.kty == "oct":
        return None
    return key if key.public == public else None


def _passed_over(key: Key, one: FoundKey, request: ImportRequest) -> str:
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
    if request.role not in (None, key.state) and not request.lenient:
        raise UsageError(f"key {key.kid} is there already: it is {key.state}", hint="keyvault rotate, or rollback")
    return f"key {key.kid} is there already: it is {key.state}"


def _check_halves(key_set: KeySet, fresh: Sequence[tuple[PublicJWK, FoundKey]], role: Role) -> None:
    for public, one in fresh:
        if key_set.policy.external and one.private:
            raise UsageError(
                f"set {key_set.name} is external: of key {elided(public.kid)} it takes the public half alone",
                hint="openssl pkey -pubout, or keyvault key export",
            )
        # Of several keys that become active only the first does.
        signs = role == "next" or (role == "active" and public is fresh[0][0])
        if not key_set.policy.external and not one.private and signs:
            raise UsageError(
                f"key {elided(public.kid)} has no private half here, so nobody could sign with it",
                hint="--as retiring; or where the private one lives elsewhere: external = true in the set's table, "
                "--external for a set that is new",
            )


def _with_set(
    context: Context, state: VaultState, name: str, first: FoundKey, request: ImportRequest
) -> tuple[VaultState, bytes]:
    """Return *state* with a set for keys such as *first*, and the keyvault.toml that says so."""
    try:
        check_set_name(name)
        spec = spec_of(first.members, _algorithm(first, None, request))
    except ConfigError as error:
        raise UsageError(error.message, hint=error.hint) from None
    members = set_members(spec, issuer=request.issuer, at=request.at, external=request.external)
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

    check_algorithm(members, alg)
    bits = None
    if members["kty"] == "RSA":
        bits = len(b64u_decode(members["n"], what="member 'n'")) * 8
    elif members["kty"] == "oct":
        bits = len(b64u_decode(members["k"], what="member 'k'")) * 8
    return key_spec(alg, crv=members.get("crv"), bits=bits)
