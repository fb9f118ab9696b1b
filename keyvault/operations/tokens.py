"""Sign, take apart and verify tokens with the keys of a vault."""

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

    ``jti`` is set where *claims* does not have it; the rest is as for `complete_claims`.

    Raises:
        UsageError: If there is no such set, its keys sign no tokens, *typ* is invalid, or the token would outlive the
            ``token_lifetime`` that the old keys are kept for.
        KeyVaultError: If the set has no active key.
        IdentityError: If no identity opens the key.
    """
    if not (typ.isascii() and typ.isprintable() and 1 <= len(typ) <= TYP_MAX):
        raise UsageError(f"--typ takes 1 to {TYP_MAX} printable ASCII characters", hint="--typ at+jwt")
    key_set = context.state().find_set(set_name)
    if key_set.policy.use != "sig":
        raise UsageError(f"set {set_name} is for encryption: it signs no tokens")
    if key_set.active is None:
        raise KeyVaultError(f"set {set_name} has no active key", hint="keyvault rotate --due")
    named = {"jti": secrets.token_urlsafe(16), **claims}
    full = complete_claims(named, key_set.policy, context.now, ttl=ttl)
    return TokenSigner(open_key(context, key_set.active)).sign(full, typ=typ), key_set.active


@dataclass(frozen=True)
class Inspection:
    """
    What a vault knows about a token.

    Attributes:
        token: Its header and claims, not verified.
        key: The key that its kid names, or None.
        problems: What a verifier would say against it, one sentence each; empty when it would accept it.
    """

    token: Token
    key: Key | None
    problems: tuple[str, ...]


def inspect(context: Context, text: str) -> Inspection:
    """
    Return what the vault knows about a token, and what a verifier of the published keys would say.

    Raises:
        UsageError: It is no token.
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
    """Return the published keys among which a verifier looks: those of the issuer, if the vault has it."""
    published = [key_set for key_set in state.sets.values() if key_set.published]
    own = [key_set for key_set in published if key_set.policy.issuer == token.claims.get("iss")]
    return [key.public for key_set in own or published for key in key_set.published]


def _key_of(state: VaultState, token: Token, keys: Sequence[PublicJWK]) -> Key | None:
    """Return the key of the vault that *token* names, published or not, or the only one that fits."""
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
        context: The vault; may be None where *source* is given.
        text: The token.
        now: The verifier's time.
        source: URL or file of a JWK Set; None takes what the vault publishes.
        audience: What ``aud`` must contain, if anything.
        issuer: What ``iss`` must be, if anything.

    Raises:
        UsageError: It is no token, or *source* cannot be read.
        VerificationError: It is not accepted.
    """
    if source is not None:
        known: Container[str] = ()
        keys, skew = _read_set(source, str(parse_token(text).header.get("alg"))), timedelta(0)
    else:
        if context is None:
            raise UsageError("there is no vault here", hint="name the URL or file of a JWK Set")
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
            raise UsageError(f"{elided(source)[:200]} cannot be read: {error.strerror}") from None
    try:
        document = msgspec.json.decode(data)
    except (msgspec.MsgspecError, RecursionError, UnicodeDecodeError):
        raise UsageError(f"{elided(source)[:200]} is not JSON") from None
    keys = document.get("keys") if isinstance(document, dict) else None
    if len(data) > FILE_MAX or not isinstance(keys, list):
        raise UsageError(f"{elided(source)[:200]} is not a JWK Set")
    found = []
    for jwk in keys:
        try:
            # Without alg, a key is for whatever its type can do: then the token says which.
            key = public_jwk(jwk, kid=jwk.get("kid", thumbprint(jwk)), alg=jwk.get("alg", alg))
            # A key without a kid is there for tokens that name none. A kid is ASCII, so no other token names it.
            found.append(key if "kid" in jwk else msgspec.structs.replace(key, kid=f"«{key.kid}»"))
        except (JWKError, KeyError, TypeError, AttributeError):
            continue  # as a verifier does: a key that it cannot use is not there
    return found


def _bounded(source: str, stdin: bytes | None) -> bytes:
    if source == "-" and stdin is not None:
        return stdin
    with Path(source).open("rb") as file:
        return file.read(FILE_MAX)  # what is cut off is no JSON


def read_claims(source: str | None, stdin: bytes | None, pairs: list[str]) -> dict[str, Any]:
    """
    Return claims from a file (or *stdin* for ``-``) and from ``NAME=VALUE`` pairs, which win.

    A value that is JSON is taken as JSON, any other as text.

    Raises:
        UsageError: They cannot be read.
    """
    claims: dict[str, Any] = {}
    if source is not None:
        try:
            claims = msgspec.json.decode(_bounded(source, stdin), type=dict)
        except OSError as error:
            raise UsageError(f"{elided(source)[:200]} cannot be read: {error.strerror}") from None
        except (msgspec.MsgspecError, RecursionError, UnicodeDecodeError):
            raise UsageError(f"{elided(source)[:200]} does not hold a JSON object") from None
    for pair in pairs:
        name, equals, value = pair.partition("=")
        if not equals or not name:
            raise UsageError(f"--claim {quoted(pair)} is not NAME=VALUE", hint="--claim sub=alice")
        try:
            claims[name] = msgspec.json.decode(value.encode())
        except UnicodeEncodeError:
            raise UsageError(f"--claim {quoted(pair)} is not text in UTF-8") from None
        except (msgspec.MsgspecError, RecursionError):
            claims[name] = value
    return claims
