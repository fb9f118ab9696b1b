"""Select the keys to import, and give each its algorithm, its kid and its use."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from typing import TYPE_CHECKING

from keyvault.core.algorithms import ALGORITHMS, KeySpec
from keyvault.core.importing import Role
from keyvault.core.jwk import PublicJWK, check_kid, pretty, public_jwk
from keyvault.core.key_parameters import KEY_ALGORITHMS, check_algorithm, usual_algorithm
from keyvault.core.state import KeySet
from keyvault.core.text import elided, nearest, quoted
from keyvault.errors import KeyVaultError, LeakError, UsageError
from keyvault.operations.generate_keys import derived_kid
from keyvault.operations.import_sources import list_reasons

if TYPE_CHECKING:
    from keyvault.crypto.generate import PrivateJWK
    from keyvault.crypto.imports import FoundKey

#: The use of algorithms that JOSE defines but nobody should use.
_FORMER = {"RSA1_5": "enc"}


@dataclass(frozen=True)
class ImportRequest:
    """
    How to import keys.

    Attributes:
        role: Their role; None: next if the set has an active key, else active.
        alg: The algorithm of keys that name none, or that name one which sets do not support; None takes that of the
            set, or the usual one.
        kid: The kid of a single key; None keeps the one in the file.
        kid_from: How to derive a kid for each key; None keeps the one in the file, and derives the thumbprint if there
            is none.
        only: Kids of the keys to import; empty for all.
        keep: The minimum time for which retiring keys are kept.
        note: Their origin, for the record.
        forced: The reason to override the gate, or None.
        external: Create a new set for keys whose private halves live elsewhere.
        issuer: The issuer of a new set, as it stands in ``iss``.
        at: The place of its JWK Set on the site.
        creates: Whether to create the set if it does not exist.
        lenient: Whether to skip keys that do not fit, instead of refusing all.
        left_out: A sentence for each key that was skipped before.
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


def select_keys(found: Sequence[FoundKey], request: ImportRequest) -> list[FoundKey]:
    """
    Return the keys of *found* that *request* asks for.

    Raises:
        UsageError: If a kid is unknown or ambiguous, or no single set can have all of the keys.
    """
    kids = [key.kid for key in found if key.kid is not None]
    only = [_find_kid(kid, kids) for kid in request.only]
    selected = [key for key in found if not only or key.kid in only]
    uses, symmetric = {key.use for key in selected if key.use}, {key.members["kty"] == "oct" for key in selected}
    if not request.lenient and (len(uses) > 1 or len(symmetric) > 1):
        # A realm of Keycloak has signing keys, encryption keys and secrets.
        names = elided(", ".join(f"{key.kid or 'a key without a kid'} ({_purpose(key)})" for key in selected))
        raise UsageError(
            f"no set can have all of these keys: {names[:600]}",
            code="keys-mixed",
            hint="--only KID takes one of them, by its kid or the beginning of it; repeatable",
        )
    return selected


def _find_kid(given: str, kids: Sequence[str]) -> str:
    """Return the kid of *kids* that is *given* or begins with it: messages may show only the beginning of a kid."""
    if given in kids:
        return given
    prefix = given.removesuffix("…")
    matches = [kid for kid in dict.fromkeys(kids) if prefix and kid.startswith(prefix)]
    if not matches:
        raise UsageError(
            f"no key {quoted(given, 140)} found",
            code="kid-unknown",
            hint=f"found: {elided(', '.join(kids))[:300] or 'no key with a kid'}",
        )
    if len(matches) > 1:
        raise UsageError(
            f"{len(matches)} keys begin with {quoted(given, 140)}",
            code="kid-ambiguous",
            hint=f"found: {elided(', '.join(kids))[:300]}",
        )
    return matches[0]


def _purpose(key: FoundKey) -> str:
    return " ".join(filter(None, (key.alg or key.members["kty"], key.use)))


def label_keys(
    selected: Sequence[FoundKey], key_set: KeySet, request: ImportRequest, now: datetime
) -> tuple[list[tuple[PublicJWK, FoundKey]], list[str]]:
    """
    Return the published form of each key, and a sentence for each key that was skipped.

    Raises:
        UsageError: If a key does not fit and *request* is not lenient, or none is left.
        WeakKeyError: If a key is too weak for its algorithm.
    """
    labelled, left_out = [], list(request.left_out)
    for found in selected:
        try:
            public, _ = pair = _label(found, key_set, request, now)
            if request.lenient and (
                public.use != key_set.policy.use or (public.kty == "AKP") != (key_set.policy.kty == "AKP")
            ):
                raise UsageError(f"it is {public.kty} for {public.use}", code="use-mismatch")
            labelled.append(pair)
        except KeyVaultError as error:
            if not request.lenient:
                raise
            left_out.append(f"skipped key {found.kid or 'without a kid'}: {error.message}")
    if not labelled:
        raise UsageError(f"no key can be imported{list_reasons(left_out)}", code="nothing-to-import")
    return labelled, left_out


def _label(found: FoundKey, key_set: KeySet, request: ImportRequest, now: datetime) -> tuple[PublicJWK, FoundKey]:
    """Return the published form of a key: its labels come from the key, else from the request, else from the set."""
    from keyvault.core.strength import check_public_key
    from keyvault.crypto.pairs import check_private_jwk

    alg = choose_algorithm(found, key_set.policy.spec, request)
    if found.alg not in (None, alg):
        remark = f"the file says alg {elided(str(found.alg))[:40]}: imported for {alg}"
        found = replace(found, remarks=(*found.remarks, remark))
    # The reader of the file has checked that the halves of an asymmetric key belong together.
    check = check_private_jwk if found.members["kty"] == "oct" else check_public_key
    check(found.members, alg=alg)
    kid = request.kid or (None if request.kid_from else found.kid)
    kid = kid or _new_kid(found, request.kid_from or "sha-256", ALGORITHMS[alg].use, now)
    _check_publishable(kid)
    if found.members["kty"] == "oct":
        return PublicJWK(kty="oct", kid=check_kid(kid), use=ALGORITHMS[alg].use, alg=alg), found
    return public_jwk(found.members, kid=kid, alg=alg), found


def choose_algorithm(found: FoundKey, spec: KeySpec | None, request: ImportRequest) -> str:
    """
    Return the algorithm of a key: its own, the requested one, that of the set with *spec*, or the usual one.

    Raises:
        UsageError: If sets do not support it, or it contradicts the file.
    """
    alg = found.alg
    if alg is None:
        alg = request.alg or (spec.alg if spec and _fits(found, spec) else _usual(found))
    elif alg not in ALGORITHMS:
        if request.alg is None:
            usual = _usual(found) or "ALG"
            raise UsageError(
                f"sets do not support alg {quoted(alg, 40)}",
                code="alg-unsupported",
                hint=nearest(alg, ALGORITHMS) or f"--alg {usual} imports it for that algorithm instead",
            )
        use = KEY_ALGORITHMS[alg].use if alg in KEY_ALGORITHMS else _FORMER.get(alg)
        if use and request.alg in ALGORITHMS and ALGORITHMS[request.alg].use != use:
            raise UsageError(f"the key is for {alg} ({use}), but {request.alg} is not", code="alg-mismatch")
        alg = request.alg
    elif request.alg not in (None, alg):
        raise UsageError(f"the key is for {alg}, not for {elided(request.alg)[:40]}", code="alg-mismatch")
    if alg is None:
        raise UsageError("the key names no algorithm", code="alg-missing", hint="--alg " + ", ".join(ALGORITHMS))
    if alg not in ALGORITHMS:
        raise UsageError(
            f"sets do not support alg {quoted(alg, 40)}",
            code="alg-unsupported",
            hint=nearest(alg, ALGORITHMS) or "--alg " + ", ".join(ALGORITHMS),
        )
    if found.restricted_to and alg not in found.restricted_to:
        allowed = "RSASSA-PSS" if len(found.restricted_to) > 1 else found.restricted_to[0]
        raise UsageError(
            f"the key is for {allowed} only, not for {alg}", code="alg-mismatch", hint=f"--alg {found.restricted_to[0]}"
        )
    check_algorithm(found.members, alg)
    if found.use not in (None, ALGORITHMS[alg].use):
        raise UsageError(
            f"the key is for {quoted(found.use, 20)} (use or key_ops), but {alg} is for {ALGORITHMS[alg].use}",
            code="use-mismatch",
        )
    return alg


def _fits(found: FoundKey, spec: KeySpec) -> bool:
    """Return whether a key that names no algorithm can have that of its set."""
    algorithm = ALGORITHMS[spec.alg]
    return (
        algorithm.accepts(found.members)
        and (not found.restricted_to or spec.alg in found.restricted_to)
        and found.use in (None, algorithm.use)
    )


def _usual(found: FoundKey) -> str | None:
    return found.restricted_to[0] if found.restricted_to else usual_algorithm(found.members, found.use)


def _check_publishable(kid: str) -> None:
    """Refuse a kid that is a private key, or that the leak check of the site would mistake for one."""
    from keyvault.core.leaks import find_private
    from keyvault.site.leak_check import refuse_private

    try:
        leaks = find_private(kid.encode(errors="replace")) is not None
        refuse_private("kid", kid.encode(errors="replace"))
        refuse_private("kid.json", pretty({"kid": kid}))
    except LeakError:
        leaks = True
    if leaks:
        raise UsageError("the kid looks like a private key", code="kid-private", hint="--kid gives it another kid")


def _new_kid(found: FoundKey, kid_from: str, use: str, now: datetime) -> str:
    if found.members["kty"] == "oct":
        # The thumbprint would be a hash of the secret, in the clear: it would confirm a guess.
        import secrets

        return secrets.token_hex(16)
    return derived_kid({**found.members, "use": use}, kid_from, now)


def spec_of(members: PrivateJWK, alg: str) -> KeySpec:
    """
    Return the key specification of a set for keys like this one.

    Raises:
        JWKError: If *alg* does not fit the key.
        ConfigError: If sets do not support such keys.
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
