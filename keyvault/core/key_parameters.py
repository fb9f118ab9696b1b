"""
Choose the parameters of a single key outside of a vault: any key type, any use, and a matching algorithm or none.

A set has one algorithm, from `algorithms`. A key that is only generated or imported may have other values of ``alg``
and ``use``, or none. Also derives the kid of such a key.

Sources: RFC 7517 section 4, RFC 7518 sections 3.1, 4.1 and 5.1; RFC 7638; mkjwk.org for the forms of a kid.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any

import msgspec

from keyvault.core.algorithms import (
    ALGORITHMS,
    CURVE_KTY,
    RSA_BITS_DEFAULT,
    RSA_BITS_MAX,
    RSA_BITS_MIN,
    Algorithm,
    Use,
)
from keyvault.core.jwk import REQUIRED, b64u, thumbprint
from keyvault.core.text import nearest, quoted
from keyvault.errors import JWKError, UsageError

#: The algorithms of keys: those of sets, and more. RSA1_5 is missing because of RFC 8725 section 3.2.
KEY_ALGORITHMS: dict[str, Algorithm] = ALGORITHMS | {
    algorithm.name: algorithm
    for algorithm in (
        *(Algorithm(f"RSA-OAEP-{size}", "RSA", "enc") for size in (384, 512)),
        *(Algorithm(f"A{size}GCMKW", "oct", "enc", octets=size // 8) for size in (128, 192, 256)),
        *(Algorithm(f"A{size}GCM", "oct", "enc", octets=size // 8) for size in (128, 192, 256)),
        *(Algorithm(f"A{size}CBC-HS{size * 2}", "oct", "enc", octets=size // 4) for size in (128, 192, 256)),
    )
}

KTYS = ("RSA", "EC", "OKP", "oct", "AKP")
#: The forms of the kid of a single key: sha-256 is the form that sets call thumbprint.
SINGLE_KEY_KID_FORMS = ("sha-256", "sha-1", "spki", "date", "timestamp")
SECRET_BITS_DEFAULT = 256
SECRET_BITS_MIN, SECRET_BITS_MAX = 128, 4096

_SIGNATURE_ALGORITHMS = {"P-256": "ES256", "P-384": "ES384", "P-521": "ES512", "secp256k1": "ES256K"}


@dataclass(frozen=True, slots=True)
class KeyParameters:
    """
    The parameters of a key.

    Attributes:
        kty: Its type.
        crv: Its curve, for EC and OKP.
        bits: Length of its modulus or secret.
        use: The value of its member ``use``, or None.
        alg: The value of its member ``alg``, or None.
    """

    kty: str
    crv: str | None = None
    bits: int | None = None
    use: Use | None = None
    alg: str | None = None


def choose_parameters(
    *,
    kty: str | None = None,
    alg: str | None = None,
    crv: str | None = None,
    bits: int | None = None,
    use: str | None = None,
) -> KeyParameters:
    """
    Return the requested parameters of a key, with defaults for those that are None.

    Args:
        kty: A key type; default is that of *alg* or *crv*, or else EC.
        alg: A JOSE algorithm, or ``none`` for a key without ``alg``; default is the usual algorithm of the type.
        crv: A curve; default is the first that *kty* and *alg* support.
        bits: Length of an RSA modulus (2048 to 4096, a multiple of 8) or of a secret.
        use: ``sig``, ``enc``, or ``none`` for a key without ``use``; default is that of *alg*, or sig.

    Raises:
        UsageError: If a parameter is unknown, or does not fit the others.
    """
    _check_choice("kty", kty, KTYS)
    _check_choice("crv", crv, tuple(CURVE_KTY))
    _check_choice("use", use, ("sig", "enc", "none"))
    _check_choice("alg", alg, ("none", *KEY_ALGORITHMS))
    if alg in (None, "none"):
        kty = kty or (CURVE_KTY[crv] if crv else "EC")
        if kty == "AKP":
            raise UsageError("a key of type AKP must have an alg", code="alg-missing", hint="--alg ML-DSA-65")
        crv = _curve(kty, crv, use)
        bits = _bits(kty, bits)
        named: Use = "enc" if use == "enc" or (crv in ("X25519", "X448") and use != "sig") else "sig"
        usual = _usual(kty, crv, bits, named)
        if alg is None and use != "none":
            alg = usual
        return KeyParameters(kty, crv, bits, None if use == "none" else named, None if alg == "none" else alg)
    algorithm = KEY_ALGORITHMS[str(alg)]
    if crv and algorithm.curves and crv not in algorithm.curves:
        raise UsageError(
            f"{alg} does not support curve {crv}", code="crv-mismatch", hint="one of " + ", ".join(algorithm.curves)
        )
    # Only ECDH-ES supports curves of two key types.
    curves = [curve for curve in algorithm.curves if kty is None or CURVE_KTY[curve] == kty]
    if (algorithm.curves and not curves) or (not algorithm.curves and kty not in (None, algorithm.kty)):
        raise UsageError(f"a key of type {kty} does not fit {alg}", code="alg-mismatch")
    if use not in (None, "none", algorithm.use):
        raise UsageError(f"{alg} is for {algorithm.use}, not for {use}", code="use-mismatch")
    if algorithm.curves:
        chosen = crv or curves[0]
        if kty not in (None, CURVE_KTY[chosen]):
            raise UsageError(f"a key of type {kty} has no curve {chosen}", code="crv-mismatch")
        kty, crv = CURVE_KTY[chosen], chosen
    elif crv is not None:
        raise UsageError(f"{alg} has no curve", code="crv-unsupported", hint=f"remove --crv {crv}")
    else:
        kty = algorithm.kty
    bits = _bits(kty, bits, algorithm)
    return KeyParameters(kty, crv, bits, None if use == "none" else algorithm.use, alg)


def _check_choice(name: str, value: str | None, known: tuple[str, ...]) -> None:
    if value is not None and value not in known:
        raise UsageError(
            f"unknown value {quoted(value, 40)} of --{name}",
            code="option-invalid",
            hint=nearest(value, known) or "one of " + ", ".join(known),
        )


def _curve(kty: str, crv: str | None, use: str | None) -> str | None:
    if kty not in ("EC", "OKP"):
        if crv is not None:
            raise UsageError(f"a key of type {kty} has no curve", code="crv-unsupported", hint=f"remove --crv {crv}")
        return None
    chosen = crv or ("P-256" if kty == "EC" else "X25519" if use == "enc" else "Ed25519")
    if CURVE_KTY[chosen] != kty:
        raise UsageError(
            f"a key of type {kty} has no curve {chosen}",
            code="crv-mismatch",
            hint="one of " + ", ".join(name for name, owner in CURVE_KTY.items() if owner == kty),
        )
    return chosen


def _bits(kty: str, bits: int | None, algorithm: Algorithm | None = None) -> int | None:
    if kty == "RSA":
        length = RSA_BITS_DEFAULT if bits is None else bits
        if not RSA_BITS_MIN <= length <= RSA_BITS_MAX or length % 8:
            raise UsageError(
                f"RSA keys of {length} bits are not supported",
                code="rsa-modulus-size",
                hint=f"--bits must be {RSA_BITS_MIN} to {RSA_BITS_MAX}, a multiple of 8",
            )
        return length
    if kty != "oct":
        if bits is not None:
            raise UsageError(
                f"a key of type {kty} has a fixed length", code="bits-unsupported", hint=f"remove --bits {bits}"
            )
        return None
    least = algorithm.octets * 8 if algorithm else SECRET_BITS_MIN
    length = bits if bits is not None else least if algorithm else SECRET_BITS_DEFAULT
    exact = algorithm is not None and algorithm.use == "enc"
    if length % 8 or not least <= length <= SECRET_BITS_MAX or (exact and length != least):
        what = algorithm.name if algorithm else "a JOSE key"
        bound = f"exactly {least}" if exact else f"{least} to {SECRET_BITS_MAX}, a multiple of 8"
        raise UsageError(
            f"{what} does not support a secret of {length} bits", code="secret-size", hint=f"--bits must be {bound}"
        )
    return length


def usual_algorithm(jwk: Mapping[str, Any], use: str | None = None) -> str | None:
    """Return the most likely algorithm of a key without ``alg``, or None if no algorithm fits it."""
    kty, crv = str(jwk.get("kty")), jwk.get("crv")
    if kty == "AKP":
        return str(jwk.get("alg"))
    octets = len(str(jwk.get("k", ""))) * 3 // 4
    named: Use = "enc" if use == "enc" or (use is None and crv in ("X25519", "X448")) else "sig"
    return _usual(kty, None if crv is None else str(crv), octets * 8, named)


def _usual(kty: str, crv: str | None, bits: int | None, use: Use) -> str | None:
    match kty, use:
        case "RSA", "sig":
            return "RS256"
        case "RSA", _:
            return "RSA-OAEP-256"
        case "EC", "sig":
            return _SIGNATURE_ALGORITHMS.get(str(crv))
        case "OKP", "sig":
            return "EdDSA" if str(crv).startswith("Ed") else None
        case "oct", "sig":
            return f"HS{max([size for size in (256, 384, 512) if size <= (bits or 0)], default=256)}"
        case "oct", _:
            return f"A{bits}KW" if bits in (128, 192, 256) else None
        case _:
            return "ECDH-ES+A256KW" if crv and crv != "secp256k1" and not crv.startswith("Ed") else None


def derive_kid(jwk: Mapping[str, Any], form: str, *, now: datetime, der: bytes | None = None) -> str:
    """
    Return a kid for *jwk*.

    Args:
        jwk: The key, public or private.
        form: ``sha-256`` or ``sha-1``, the thumbprint of RFC 7638; ``spki``, the SHA-256 of the public key in DER, as
            in Kubernetes and Keycloak; ``date`` or ``timestamp``, after the key's use.
        now: The instant of ``date`` and ``timestamp``.
        der: The public key as SubjectPublicKeyInfo, for ``spki``.

    Raises:
        UsageError: If the form is unknown, or the key does not support it.
        JWKError: If the key is malformed.
    """
    prefix = f"{jwk['use']}-" if jwk.get("use") else ""
    match form:
        case "sha-256":
            return thumbprint(jwk)
        case "sha-1":
            thumbprint(jwk)  # raises if a member is missing
            members = {name: jwk[name] for name in REQUIRED[str(jwk["kty"])]}
            # RFC 7638 allows any hash function, and a kid need not resist collisions.
            return b64u(hashlib.sha1(msgspec.json.encode(members), usedforsecurity=False).digest())
        case "spki":
            if der is None:
                raise UsageError(
                    "a kid of the form spki needs a public key, and this key is symmetric", code="kid-form-unsupported"
                )
            return b64u(hashlib.sha256(der).digest())
        case "date":
            return f"{prefix}{now:%Y-%m-%dT%H:%M:%SZ}"
        case "timestamp":
            return f"{prefix}{int(now.timestamp())}"
    raise UsageError(
        f"unknown value {quoted(form, 40)} of --kid-from",
        code="kid-form-unknown",
        hint="one of " + ", ".join(SINGLE_KEY_KID_FORMS),
    )


def check_algorithm(jwk: Mapping[str, Any], alg: str) -> Algorithm:
    """
    Return the algorithm *alg* if *jwk* fits it.

    Raises:
        JWKError: If *alg* is unknown, or the key does not fit it.
    """
    algorithm = KEY_ALGORITHMS.get(alg)
    if algorithm is None:
        raise JWKError(f"unknown algorithm {quoted(alg, 40)}", code="alg-unknown", hint=nearest(alg, KEY_ALGORITHMS))
    if not algorithm.accepts(jwk):
        crv = jwk.get("crv")
        raise JWKError(
            f"a key of type {quoted(jwk.get('kty'), 20)}{f' on {quoted(crv, 20)}' if crv else ''} does not fit {alg}",
            code="alg-mismatch",
        )
    return algorithm
