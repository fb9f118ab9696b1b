"""
Sign and verify JSON Web Tokens with the keys of a vault.

Does not choose the signing key, and does not read the clock.

Sources: RFC 7515 (JWS), RFC 7519 (JWT), RFC 8725 (best practices: alg is taken from the key, never from the
token), RFC 9964 (ML-DSA).
"""

from __future__ import annotations

import json
import re
from collections.abc import Container, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

import msgspec
from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric.utils import decode_dss_signature

from keyvault.core.algorithms import ALGORITHMS
from keyvault.core.claims import NUMERIC_DATES, is_numeric_date
from keyvault.core.jwk import PRIVATE_MEMBERS, REQUIRED, PublicJWK, b64u, b64u_decode
from keyvault.core.key_objects import CURVES, AKPPublicKey, load_public
from keyvault.core.text import quoted
from keyvault.crypto.generate import AKPPrivateKey, PrivateJWK
from keyvault.errors import JWKError, KeyVaultError, UsageError

TOKEN_MAX = 65_536


class TokenSigner:
    """Signs with one private key, which is loaded and checked once."""

    def __init__(self, private: PrivateJWK) -> None:
        """
        Raises:
            JWKError: If the key is malformed, weak or not for signing, or its halves do not belong together.
        """
        from jwcrypto.jwk import JWK

        from keyvault.crypto.pairs import check_private_jwk, private_key

        check_private_jwk(private, alg=private["alg"])
        if private["use"] != "sig" or ALGORITHMS[private["alg"]].use != "sig":
            raise JWKError(f"key {private['kid']} is for encryption and cannot sign tokens", code="use-mismatch")
        self.kid, self.alg = private["kid"], private["alg"]
        kept = (*REQUIRED[private["kty"]], *PRIVATE_MEMBERS)
        self._akp = self._key = None
        if private["kty"] == "AKP":  # jwcrypto does not support it
            self._akp = private_key(private)
        else:
            self._key = JWK(**{name: value for name, value in private.items() if name in kept})

    def sign(self, claims: Mapping[str, Any], *, typ: str = "JWT") -> str:
        """
        Return *claims* as a compact JWS with ``alg``, ``kid`` and ``typ`` in its header.

        Raises:
            UsageError: If the claims cannot be written as JSON.
        """
        from jwcrypto.jws import JWS

        try:
            # msgspec would write NaN and infinity as null.
            payload = json.dumps(claims, allow_nan=False, separators=(",", ":"), ensure_ascii=False).encode()
        except (TypeError, ValueError, RecursionError, OverflowError) as error:
            raise UsageError(f"claims cannot be written as JSON: {error}", code="claims-not-json") from None
        header = msgspec.json.encode({"alg": self.alg, "kid": self.kid, "typ": typ})
        if isinstance(self._akp, AKPPrivateKey):
            signed_input = f"{b64u(header)}.{b64u(payload)}"
            return f"{signed_input}.{b64u(self._akp.sign(signed_input.encode()))}"
        token = JWS(payload)
        token.allowed_algs = [self.alg]
        token.add_signature(self._key, self.alg, header.decode())
        signed: str = token.serialize(compact=True)
        return signed


@dataclass(frozen=True, slots=True)
class Token:
    """A parsed token; nothing in it is verified."""

    header: dict[str, Any]
    claims: dict[str, Any]


#: The prefix of a token in an HTTP header (RFC 6750 section 2.1, RFC 9449 section 7.1).
_SCHEME = re.compile(r"\s*(?:Authorization:\s*)?(Bearer|DPoP)\s+", re.IGNORECASE)


def strip_scheme(text: str) -> tuple[str, str | None]:
    """Return a token without the blanks and the HTTP scheme around it, and that scheme, or None."""
    scheme = _SCHEME.match(text)
    return text[scheme.end() if scheme else 0 :].strip(), scheme[1] if scheme else None


def parse_token(text: str) -> Token:
    """
    Return the header and claims of a compact JWS.

    Raises:
        UsageError: If *text* is not a compact JWS.
    """
    parts = text.split(".")
    if len(parts) == 5 and len(text) <= TOKEN_MAX and parts[0].startswith("eyJ"):
        raise UsageError(
            "the token is encrypted (a JWE of five parts), not signed: only its recipient can open it",
            code="token-encrypted",
        )
    if len(text) > TOKEN_MAX or len(parts) != 3:
        raise UsageError(
            "not a token: a signed token is three base64url parts, separated by dots", code="token-malformed"
        )
    try:
        first, second, _signature = (b64u_decode(part, what="a part") for part in parts)
        header, claims = (msgspec.json.decode(part, type=dict) for part in (first, second))
    except (JWKError, msgspec.MsgspecError, RecursionError, UnicodeDecodeError):
        raise UsageError(
            "not a token: header and claims must be JSON objects in base64url", code="token-malformed"
        ) from None
    return Token(header, claims)


class VerificationError(KeyVaultError):
    """A token does not verify; the message says why."""


def verify_token(
    text: str,
    keys: Sequence[PublicJWK],
    *,
    now: datetime,
    skew: timedelta,
    audience: str | None = None,
    issuer: str | None = None,
    known: Container[str] = (),
) -> Token:
    """
    Return the token if a verifier that holds *keys* accepts it at *now*.

    Args:
        text: A compact JWS.
        keys: The published keys.
        now: The verifier's time.
        skew: Leeway for ``exp``, ``nbf`` and ``iat``.
        audience: A value that ``aud`` must contain; None skips the check.
        issuer: The value of ``iss``; None skips the check.
        known: Kids that messages may show in full, although their keys may not be published.

    Raises:
        UsageError: If it is not a token.
        VerificationError: If the verifier rejects it.
    """
    token = parse_token(text)
    key = find_key(token, keys, known)
    if key.use != "sig" or token.header.get("alg") != key.alg:
        raise VerificationError(
            f"token has alg {quoted(token.header.get('alg'), 40)}, key {key.kid} is for {key.alg}",
            code="token-alg-mismatch",
        )
    if key.kty == "oct":
        raise VerificationError(
            f"key {key.kid} is symmetric: a JWK Set cannot verify its tokens", code="token-key-symmetric"
        )
    if "crit" in token.header or "b64" in token.header:
        raise VerificationError("token has unsupported header extensions", code="token-extension-unsupported")
    if not _matches(text, key):
        _refuse_der(text, key)
        raise VerificationError(f"the signature does not match key {key.kid}", code="token-signature-invalid")
    _check_claims(token.claims, now, skew, audience, issuer)
    return token


def find_key(token: Token, keys: Sequence[PublicJWK], known: Container[str] = ()) -> PublicJWK:
    """
    Return the key that verifies *token*: the key with its kid, or without a kid the only key for its algorithm.

    Raises:
        VerificationError: If no key has the kid, or no key or several keys are for the algorithm.
    """
    kid = token.header.get("kid")
    if isinstance(kid, str):
        named = next((key for key in keys if key.kid == kid), None)
        if named is None:
            shown = repr(kid) if kid in known else quoted(kid, 140)
            raise VerificationError(
                f"token was signed with key {shown}, which is not in the JWK Set", code="token-kid-unknown"
            )
        return named
    if "kid" in token.header:
        raise VerificationError("token has a kid that is not a string", code="token-kid-invalid")
    alg = token.header.get("alg")
    fitting = [key for key in keys if key.alg == alg and key.use == "sig" and key.kty != "oct"]
    if len(fitting) == 1:
        return fitting[0]
    count = f"{len(fitting)} keys are" if fitting else "no key is"
    raise VerificationError(
        f"token has no kid in its header, and {count} for alg {quoted(alg, 40)} in the JWK Set",
        code="token-kid-missing",
        hint="have the signer set kid in the header" + (": verifiers cannot choose among several" if fitting else ""),
    )


def _matches(text: str, key: PublicJWK) -> bool:
    """Return whether *key* verifies the signature of a compact JWS."""
    from jwcrypto.common import JWException
    from jwcrypto.jwk import JWK
    from jwcrypto.jws import JWS

    jws = JWS()
    jws.allowed_algs = [key.alg]
    members = msgspec.to_builtins(key)
    try:
        if key.kty == "AKP":
            _verify_akp(text, members)
        else:
            jws.deserialize(text, JWK(**{name: members[name] for name in REQUIRED[key.kty]}), alg=key.alg)
    except (JWException, InvalidSignature, ValueError):
        return False
    return True


def _refuse_der(text: str, key: PublicJWK) -> None:
    """
    Refuse an ECDSA signature in DER, as a KMS or OpenSSL writes it.

    Raises:
        VerificationError: If the signature is in DER.
    """
    if key.kty != "EC" or not isinstance(key.crv, str):
        return
    signed_input, _, signature = text.rpartition(".")
    octets = (CURVES[key.crv].key_size + 7) // 8
    try:
        pair = decode_dss_signature(b64u_decode(signature, what="the signature"))
        raw = b"".join(number.to_bytes(octets, "big") for number in pair)
    except (ValueError, OverflowError, JWKError):
        return
    matches = _matches(f"{signed_input}.{b64u(raw)}", key)
    converted = "it matches after conversion" if matches else "it does not match after conversion either"
    raise VerificationError(
        f"the signature does not match key {key.kid}: it is in DER, as a KMS or OpenSSL writes it; {converted}",
        code="token-signature-der",
        hint=f"concatenate R and S, {octets} octets each, before base64url (RFC 7518 section 3.4)",
    )


def _verify_akp(text: str, jwk: Mapping[str, Any]) -> None:
    """Verify a compact JWS with an ML-DSA key (RFC 9964 section 5), which jwcrypto does not support."""
    signed_input, _, signature = text.rpartition(".")
    key = load_public(jwk)
    assert isinstance(key, AKPPublicKey)
    key.verify(b64u_decode(signature, what="the signature"), signed_input.encode())


def _check_claims(
    claims: Mapping[str, Any], now: datetime, skew: timedelta, audience: str | None, issuer: str | None
) -> None:
    stamp, leeway = now.timestamp(), skew.total_seconds()
    for name in NUMERIC_DATES:
        if name in claims and not is_numeric_date(claims[name]):
            raise VerificationError(f"claim {name} is not a number of seconds since 1970", code="token-claim-invalid")
    if "exp" in claims and stamp >= claims["exp"] + leeway:
        raise VerificationError("token has expired", code="token-expired")
    if "nbf" in claims and stamp < claims["nbf"] - leeway:
        raise VerificationError("token is not valid yet", code="token-not-yet-valid")
    if "iat" in claims and stamp < claims["iat"] - leeway:
        raise VerificationError("token was issued in the future", code="token-issued-in-future")
    if audience is not None:
        named = claims.get("aud")
        if audience not in (named if isinstance(named, list) else [named]):
            raise VerificationError(
                f"token is not for audience {quoted(audience, 140)}", code="token-audience-mismatch"
            )
    if issuer is not None and claims.get("iss") != issuer:
        raise VerificationError(
            f"token has issuer {quoted(claims.get('iss'), 140)}; expected {quoted(issuer, 140)}",
            code="token-issuer-mismatch",
        )
