"""
Rules about one key of a JWK Set, which is untrusted data.

Checks the members of the key and fetches nothing: URLs in keys are never used. Private members are named, never shown.

Sources: RFC 7517 section 4 (members), RFC 7518 section 6 (members per kty), RFC 9864 (Ed25519, Ed448), the IANA
registry of JOSE algorithms.
"""

from __future__ import annotations

import base64
import binascii
import hashlib
import re
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from keyvault.core.algorithms import ALGORITHMS, CURVE_KTY, RSA_BITS_MAX, RSA_BITS_MIN
from keyvault.core.jwk import PRIVATE_MEMBERS, REQUIRED, b64u, thumbprint
from keyvault.core.labels import few, json_type, shown
from keyvault.core.lint.certificates import is_string_array, lint_certificates
from keyvault.core.lint.exposed import exposed_member_names
from keyvault.core.strength import check_public_key
from keyvault.errors import JWKError, WeakKeyError

#: Key types of registered algorithms that vaults do not support.
_OTHER_ALGS = {
    **dict.fromkeys(("RSA1_5", "RSA-OAEP-384", "RSA-OAEP-512"), "RSA"),
    **dict.fromkeys((f"A{size}GCMKW" for size in (128, 192, 256)), "oct"),
    **dict.fromkeys(("dir", "PBES2-HS256+A128KW", "PBES2-HS384+A192KW", "PBES2-HS512+A256KW"), "oct"),
    **dict.fromkeys(("A128GCM", "A192GCM", "A256GCM", "A128CBC-HS256", "A192CBC-HS384", "A256CBC-HS512"), "oct"),
}
_REGISTERED = _OTHER_ALGS.keys() | ALGORITHMS.keys()
_SIGNATURES = frozenset(name for name, algorithm in ALGORITHMS.items() if algorithm.use == "sig")
_ENCRYPTION = _REGISTERED - _SIGNATURES
_RFC_9864 = ("Ed25519", "Ed448")

_STRING_MEMBERS = ("kty", "use", "alg", "crv", "x", "y", "n", "e")
_LIFETIME = ("nbf", "exp", "iat")
_COMMON_CURVES = ("P-256", "P-384", "P-521", "Ed25519")
#: The input that lenient base64url decoders accept: either alphabet, padded or not.
_BASE64 = re.compile(r"[A-Za-z0-9+/_-]+={0,2}", re.ASCII)


class Object(dict[str, Any]):
    """A JSON object that remembers its duplicate members."""

    duplicates: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Key:
    """
    A key of a JWK Set.

    Attributes:
        place: Its name in findings: its kid, or ``keys[N]``.
        jwk: Its members.
    """

    place: str
    jwk: Mapping[str, Any]

    def text(self, name: str) -> str | None:
        """Return the member *name*; None if it is missing or not a string."""
        value = self.jwk.get(name)
        return value if isinstance(value, str) else None

    @property
    def is_common(self) -> bool:
        """Whether its type and curve are supported by almost all verifiers."""
        return self.text("kty") == "RSA" or (
            self.text("kty") in ("EC", "OKP")
            and self.text("crv") in _COMMON_CURVES
            and CURVE_KTY[self.text("crv") or ""] == self.text("kty")
        )

    @property
    def signs(self) -> bool:
        """Whether it may be for signatures."""
        return self.text("use") != "enc" and self.text("alg") not in _ENCRYPTION

    @property
    def thumbprint(self) -> str | None:
        """The RFC 7638 thumbprint; None if a required member is invalid."""
        try:
            return thumbprint(self.jwk)
        except JWKError:
            return None


def derived_kids(jwk: Mapping[str, Any]) -> Iterator[str]:
    """Yield the kids that issuers derive from the key *jwk*: hashes of its public half and its first certificate."""
    from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

    from keyvault.core.key_objects import load_public

    chain = jwk.get("x5c")
    try:
        yield thumbprint(jwk)
        spki = load_public(jwk).public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)
        certificates = [base64.b64decode(text) for text in chain[:1]] if isinstance(chain, list) else []
    except (JWKError, TypeError, ValueError):
        return
    for der in (spki, *certificates):
        for algorithm in ("sha1", "sha256"):
            digest = hashlib.new(algorithm, der, usedforsecurity=False)
            yield from (b64u(digest.digest()), digest.hexdigest(), digest.hexdigest().upper())


#: Yields (code, message) for each problem of a key.
Rule = Callable[[Key], Iterator[tuple[str, str]]]


def _members(key: Key) -> Iterator[tuple[str, str]]:
    if names := getattr(key.jwk, "duplicates", ()):
        yield "duplicate-member", f"{few(names)}: more than once in one object"
    for name in _STRING_MEMBERS:
        value = key.jwk.get(name, "")
        if value is None and name in ("alg", "use"):
            yield "null-member", f"{name} is null: leave it out"
        elif value is not None and not isinstance(value, str):
            yield "member-not-text", f"{name} is {json_type(value)}, not a string"
    for name in _LIFETIME:
        if name in key.jwk:
            value = key.jwk[name]
            if isinstance(value, int | float) and not isinstance(value, bool):
                yield "lifetime-member", f"{name} has no effect: verifiers ignore it"
            else:
                yield "lifetime-member-type", f"{name} is {json_type(value)}, not a number"
    if "revoked" in key.jwk:
        if isinstance(key.jwk["revoked"], dict):
            yield "lifetime-member", "revoked has no effect: verifiers ignore it; remove a revoked key from the set"
        else:
            yield "lifetime-member-type", f"revoked is {json_type(key.jwk['revoked'])}, not an object"


def _kid(key: Key) -> Iterator[tuple[str, str]]:
    match key.jwk.get("kid", ...):
        case str(kid):
            if not kid:
                yield "empty-kid", "kid is empty"
        case None:
            yield "null-kid", "kid is null"
        case value if value is ...:
            yield "missing-kid", "no kid: tokens cannot refer to the key"
        case value:
            yield "kid-not-text", f"kid is {json_type(value)}, not a string: no token can refer to it"


def _exposure(key: Key) -> Iterator[tuple[str, str]]:
    private = exposed_member_names(key.jwk)
    for name in sorted((PRIVATE_MEMBERS & key.jwk.keys()).difference(private)):
        value = key.jwk[name]
        code = "null-private-member" if value is None else "empty-oth" if name == "oth" else "empty-private-member"
        yield code, f"the private member {name} is {'null' if value is None else 'empty'}"
    if key.text("kty") == "oct":
        if "k" in private:
            yield "symmetric-key", "a symmetric key in the clear: anyone who reads it can sign; replace it"
        else:
            yield "symmetric-key-without-k", "a symmetric key must not be in a public JWK Set, not even without k"
    elif private:
        yield (
            "private-key",
            f"private members {', '.join(private)} in the clear: anyone who reads them can sign; revoke the key",
        )


def _alg(key: Key) -> Iterator[tuple[str, str]]:
    kty, crv, alg = key.text("kty"), key.text("crv"), key.text("alg")
    if "alg" not in key.jwk:
        yield "missing-alg", "no alg: a verifier may use the key for another algorithm"
    if alg is None:
        return
    if alg not in _REGISTERED:
        yield "unknown-alg", f"alg {shown(alg)} is not registered"
    elif kty == "RSA" or (kty in ("EC", "OKP") and crv in CURVE_KTY):
        if alg.startswith("HS"):
            yield "hmac-alg", f"alg {alg} on a public key: a public key must never be an HMAC secret"
        elif not _fits(alg, kty, crv):
            yield "alg-mismatch", f"alg {alg} does not fit a key of type {kty}{f' on {shown(crv)}' if crv else ''}"
    if alg in _RFC_9864:
        yield "rfc-9864-alg", f"few libraries support alg {alg}; most support EdDSA"
    elif kty == "OKP" and crv == "Ed25519" and alg == "EdDSA":
        yield "eddsa", "not all libraries support EdDSA"


def _fits(alg: str, kty: str, crv: str | None) -> bool:
    """Whether a key of type *kty* can be for the registered algorithm *alg*."""
    algorithm = ALGORITHMS.get(alg)
    if algorithm is None:
        return _OTHER_ALGS[alg] == kty
    if algorithm.curves:
        return crv in algorithm.curves and CURVE_KTY[crv] == kty
    return algorithm.kty == kty


def _use(key: Key) -> Iterator[tuple[str, str]]:
    use, alg = key.text("use"), key.text("alg")
    if "use" not in key.jwk:
        yield "missing-use", "no use: say sig or enc"
    elif use is not None and use not in ("sig", "enc"):
        yield "unknown-use", f"use is {shown(use)!r}, expected sig or enc"
    elif use == "enc" and alg in _SIGNATURES:
        yield "use-enc-alg-sig", f"use is enc, but alg {alg} is for signatures"
    elif use == "sig" and alg in _ENCRYPTION:
        yield "use-sig-alg-enc", f"use is sig, but alg {alg} is for encryption"


def _key_ops(key: Key) -> Iterator[tuple[str, str]]:
    if "key_ops" not in key.jwk:
        return
    operations = key.jwk["key_ops"]
    if not is_string_array(operations):
        yield "key-ops-type", "key_ops is not an array of strings"
        return
    yield "key-ops", "key_ops is redundant: use is enough"
    if not operations:
        yield "key-ops-empty", "key_ops is empty: it allows no operation"
    elif key.signs and "verify" not in operations:
        yield "key-ops-not-verify", "key_ops lacks verify"


def _certificates(key: Key) -> Iterator[tuple[str, str]]:
    yield from lint_certificates(key.jwk)


def _strength(key: Key) -> Iterator[tuple[str, str]]:
    kty, crv = key.text("kty"), key.text("crv")
    if kty not in ("RSA", "EC", "OKP") or (kty != "RSA" and CURVE_KTY.get(crv or "") != kty):
        return
    jwk: dict[str, Any] = {"kty": kty, **({} if crv is None else {"crv": crv})}
    for name in REQUIRED[kty]:
        if name in ("kty", "crv"):
            continue
        text = key.text(name)
        data = None if text is None else _decode(text)
        if not data:
            yield "malformed-key", f"{name} is {'not base64url' if name in key.jwk else 'missing'}"
            return
        if text != b64u(data):
            yield "not-base64url", f"{name} is padded or not in the base64url alphabet"
        if kty == "RSA" and data[0] == 0:
            yield "leading-zero", f"{name} begins with a zero octet"
            data = data.lstrip(b"\0")
        jwk[name] = b64u(data)
        if name == "n":
            bits = int.from_bytes(data, "big").bit_length()
            if bits < RSA_BITS_MIN:
                yield "short-rsa-key", f"an RSA key of {bits} bits; the minimum is {RSA_BITS_MIN}"
                return
            if bits > RSA_BITS_MAX:
                yield "long-rsa-key", f"an RSA key of {bits} bits; some verifiers support at most {RSA_BITS_MAX}"
                return
    try:
        check_public_key(jwk)
    except WeakKeyError as error:
        yield "malformed-key" if kty == "EC" else "weak-key", error.message
    except JWKError as error:
        yield "malformed-key", error.message


def _decode(text: str) -> bytes | None:
    """Return the octets of *text* as lenient decoders read it, or None."""
    if not _BASE64.fullmatch(text):
        return None
    body = text.rstrip("=").translate({ord("+"): "-", ord("/"): "_"})
    try:
        return base64.urlsafe_b64decode(body + "=" * (-len(body) % 4))
    except binascii.Error:
        return None


RULES: tuple[Rule, ...] = (_members, _kid, _exposure, _alg, _use, _key_ops, _certificates, _strength)


def lint_type(key: Key, *, has_common: bool) -> Iterator[tuple[str, str]]:
    """
    Yield (code, message) if verifiers may not support the type or curve of *key*.

    In a set without common keys (not *has_common*) that is not a problem: its verifiers expect such keys.
    """
    kty, crv = key.text("kty"), key.text("crv")
    if kty is None:
        if not key.jwk.get("kty"):
            yield "missing-kty", "no kty"
        return
    own = ": give it a JWK Set of its own"
    if kty not in REQUIRED or kty == "AKP":  # RFC 9964 is new: few verifiers support it
        if has_common:
            yield "unknown-kty", f"a key of type {shown(kty)} among common ones{own}"
    elif kty in ("EC", "OKP") and crv is not None and not key.is_common:
        code = {"secp256k1": "secp256k1", "Ed448": "ed448", "X25519": "x25519", "X448": "x25519"}.get(crv)
        if CURVE_KTY.get(crv) != kty:
            yield f"unknown-{kty.lower()}-curve", f"curve {shown(crv)} is not a curve of type {kty}"
        elif code is not None and has_common:
            yield code, f"a key on {crv} among common ones{own}"
