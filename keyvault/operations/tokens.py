"""Sign, inspect and verify tokens with the keys of a vault."""

from __future__ import annotations

import contextlib
import secrets
from collections.abc import Container, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

import msgspec

from keyvault.core.claims import complete_claims
from keyvault.core.jwk import PublicJWK, public_jwk, thumbprint
from keyvault.core.keys import Key
from keyvault.core.state import VaultState
from keyvault.core.text import elided, quoted, when
from keyvault.crypto.tokens import Token, TokenSigner, VerificationError, find_key, parse_token, verify_token
from keyvault.errors import JWKError, KeyVaultError, UsageError
from keyvault.operations.context import Context
from keyvault.operations.keys import open_key

FILE_MAX = 1024 * 1024
TYP_MAX = 100


def sign(
    context: Context, set_name: str, claims: Mapping[str, Any], *, ttl: timedelta | None = None, typ: str = "JWT"
) -> tuple[str, Key]:
    """
    Return a token signed by the active key of *set_name*, and that key.

    ``jti`` is set if *claims* does not have it; the rest is as for `complete_claims`.

    Raises:
        UsageError: If there is no such set, its keys sign no tokens, *typ* is invalid, or the token would outlive
            ``token_lifetime``, for which old keys are kept.
        KeyVaultError: If the set has no active key.
        IdentityError: If no identity opens the key.
    """
    if not (typ.isascii() and typ.isprintable() and 1 <= len(typ) <= TYP_MAX):
        raise UsageError(
            f"--typ must be 1 to {TYP_MAX} printable ASCII characters", code="option-invalid", hint="--typ at+jwt"
        )
    key_set = context.state().find_set(set_name)
    if key_set.policy.use != "sig":
        raise UsageError(f"set {set_name} is for encryption: it signs no tokens", code="use-mismatch")
    if key_set.active is None:
        raise KeyVaultError(
            f"set {set_name} has no active key", code="active-key-missing", hint="keyvault rotate --due"
        )
    named = {"jti": secrets.token_urlsafe(16), **claims}
    full = complete_claims(named, key_set.policy, context.now, ttl=ttl)
    return TokenSigner(open_key(context, key_set.active)).sign(full, typ=typ), key_set.active


@dataclass(frozen=True)
class Inspection:
    """
    A token, and its key in a vault.

    Attributes:
        token: Its header and claims, not verified.
        key: The key that its kid names, or None.
        problems: A sentence for each reason why a verifier would refuse it; empty if it would accept it.
    """

    token: Token
    key: Key | None
    problems: tuple[str, ...]


def inspect(context: Context, text: str) -> Inspection:
    """
    Inspect a token: find its key in the vault, and verify it against the published keys.

    Raises:
        UsageError: If *text* is not a token.
    """
    state = context.state()
    token = parse_token(text)
    keys = _candidates(state, token)
    key = _key_of(state, token, keys)
    problems = []
    try:
        verify_token(text, keys, now=context.now, skew=_skew(state, key), known=state.keys)
    except KeyVaultError as error:
        problems.append(error.message)
        if key is not None and key.state in ("withdrawn", "revoked") and key.life.ended_at:
            problems.append(f"key {key.kid} was {key.state} {when(key.life.ended_at, context.now)}")
    return Inspection(token, key, tuple(problems))


def _candidates(state: VaultState, token: Token) -> list[PublicJWK]:
    """Return the published keys that a verifier tries: those of the issuer, if the vault has it, else all."""
    published = [key_set for key_set in state.sets.values() if key_set.jwk_set]
    own = [key_set for key_set in published if key_set.policy.issuer == token.claims.get("iss")]
    return [key.public for key_set in own or published for key in key_set.jwk_set]


def _key_of(state: VaultState, token: Token, keys: Sequence[PublicJWK]) -> Key | None:
    """Return the key of the vault that *token* names, published or not; without a kid, the only key that fits."""
    kid = token.header.get("kid")
    if kid is None:
        with contextlib.suppress(VerificationError):
            kid = find_key(token, keys).kid
    return state.keys.get(kid) if isinstance(kid, str) else None


def _skew(state: VaultState, key: Key | None) -> timedelta:
    if key is not None and key.set in state.sets:
        return state.sets[key.set].policy.clock_skew
    return timedelta(0)


def verify(
    context: Context | None,
    text: str,
    *,
    now: datetime,
    source: str | None = None,
    audience: str | None = None,
    issuer: str | None = None,
) -> Token:
    """
    Return the token if a verifier accepts it.

    Args:
        context: The vault; may be None if *source* is given.
        text: The token.
        now: The verifier's time.
        source: URL or file of a JWK Set; None takes the published keys of the vault.
        audience: The value that ``aud`` must contain, or None.
        issuer: The value that ``iss`` must have, or None.

    Raises:
        UsageError: If *text* is not a token, or *source* cannot be read.
        VerificationError: If the token is not accepted.
    """
    if source is not None:
        known: Container[str] = ()
        keys, skew = _read_set(source, str(parse_token(text).header.get("alg"))), timedelta(0)
    else:
        if context is None:
            raise UsageError("there is no vault here", code="vault-missing", hint="name the URL or file of a JWK Set")
        state = context.state()
        token = parse_token(text)
        keys, known = _candidates(state, token), state.keys
        skew = _skew(state, _key_of(state, token, keys))
    return verify_token(text, keys, now=now, skew=skew, audience=audience, issuer=issuer, known=known)


def _read_set(source: str, alg: str) -> list[PublicJWK]:
    if source.startswith(("https://", "http://")):
        from keyvault.publish.live import fetch_body

        data = fetch_body(source)
    else:
        try:
            with Path(source).open("rb") as file:
                data = file.read(FILE_MAX + 1)
        except OSError as error:
            raise UsageError(
                f"{elided(source)[:200]} cannot be read: {error.strerror}", code="file-unreadable"
            ) from None
    if len(data) > FILE_MAX:
        raise UsageError(f"{elided(source)[:200]} has more than {FILE_MAX} bytes", code="file-too-large")
    try:
        document = msgspec.json.decode(data)
    except (msgspec.MsgspecError, RecursionError, UnicodeDecodeError):
        raise UsageError(f"{elided(source)[:200]} is not JSON", code="not-json") from None
    keys = document.get("keys") if isinstance(document, dict) else None
    if not isinstance(keys, list):
        raise UsageError(f"{elided(source)[:200]} is not a JWK Set", code="not-jwks")
    found = []
    for jwk in keys:
        try:
            # A key without alg supports every algorithm of its type: the token names the algorithm.
            key = public_jwk(jwk, kid=jwk.get("kid", thumbprint(jwk)), alg=jwk.get("alg", alg))
            # A key without a kid serves tokens without a kid. A kid is ASCII, so no token names this one.
            found.append(key if "kid" in jwk else msgspec.structs.replace(key, kid=f"«{key.kid}»"))
        except (JWKError, KeyError, TypeError, AttributeError):
            continue  # as verifiers do, ignore keys that cannot be used
    return found


def _read_bounded(source: str, stdin: bytes | None) -> bytes:
    if source == "-" and stdin is not None:
        return stdin
    with Path(source).open("rb") as file:
        return file.read(FILE_MAX)  # a truncated file is not JSON


def read_claims(source: str | None, stdin: bytes | None, pairs: list[str]) -> dict[str, Any]:
    """
    Return claims from a file (or *stdin* for ``-``) and from ``NAME=VALUE`` pairs, which win.

    A value that is JSON is taken as JSON, any other as text.

    Raises:
        UsageError: If the file cannot be read, or a pair is invalid.
    """
    claims: dict[str, Any] = {}
    if source is not None:
        try:
            claims = msgspec.json.decode(_read_bounded(source, stdin), type=dict)
        except OSError as error:
            raise UsageError(
                f"{elided(source)[:200]} cannot be read: {error.strerror}", code="file-unreadable"
            ) from None
        except (msgspec.MsgspecError, RecursionError, UnicodeDecodeError):
            raise UsageError(f"{elided(source)[:200]} is not a JSON object", code="not-json") from None
    for pair in pairs:
        name, equals, value = pair.partition("=")
        if not equals or not name:
            raise UsageError(
                f"--claim {quoted(pair)} is not NAME=VALUE", code="option-invalid", hint="--claim sub=alice"
            )
        try:
            claims[name] = msgspec.json.decode(value.encode())
        except UnicodeEncodeError:
            raise UsageError(f"--claim {quoted(pair)} is not UTF-8", code="option-invalid") from None
        except (msgspec.MsgspecError, RecursionError):
            claims[name] = value
    return claims
