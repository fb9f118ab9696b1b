"""
Convert public JWKs to key objects of the cryptography package, which reads and writes PEM and DER, and back.

Does not judge keys: see `strength`. Sources: RFC 7518 section 6, RFC 8037 section 2, RFC 9964 section 3.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from typing import Any

from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives.asymmetric import ec, ed448, ed25519, mldsa, rsa, x448, x25519
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

from keyvault.core.jwk import b64u, b64u_decode
from keyvault.errors import JWKError

AKPPublicKey = mldsa.MLDSA44PublicKey | mldsa.MLDSA65PublicKey | mldsa.MLDSA87PublicKey

PublicKey = (
    rsa.RSAPublicKey
    | ec.EllipticCurvePublicKey
    | ed25519.Ed25519PublicKey
    | ed448.Ed448PublicKey
    | x25519.X25519PublicKey
    | x448.X448PublicKey
    | AKPPublicKey
)

CURVES: dict[str, ec.EllipticCurve] = {
    "P-256": ec.SECP256R1(),
    "P-384": ec.SECP384R1(),
    "P-521": ec.SECP521R1(),
    "secp256k1": ec.SECP256K1(),
}
_OKP: dict[
    str,
    type[ed25519.Ed25519PublicKey]
    | type[ed448.Ed448PublicKey]
    | type[x25519.X25519PublicKey]
    | type[x448.X448PublicKey],
] = {
    "Ed25519": ed25519.Ed25519PublicKey,
    "Ed448": ed448.Ed448PublicKey,
    "X25519": x25519.X25519PublicKey,
    "X448": x448.X448PublicKey,
}


_AKP: dict[str, type[mldsa.MLDSA44PublicKey] | type[mldsa.MLDSA65PublicKey] | type[mldsa.MLDSA87PublicKey]] = {
    "ML-DSA-44": mldsa.MLDSA44PublicKey,
    "ML-DSA-65": mldsa.MLDSA65PublicKey,
    "ML-DSA-87": mldsa.MLDSA87PublicKey,
}


def uint(jwk: Mapping[str, Any], name: str) -> int:
    """Return the member *name* of *jwk*, a Base64urlUInt, as a number."""
    return int.from_bytes(b64u_decode(jwk.get(name), what=f"member {name!r}"), "big")


def curve_name(curve: ec.EllipticCurve) -> str:
    """
    Return the JOSE name of *curve*.

    Raises:
        JWKError: If JOSE does not define the curve.
    """
    for name, known in CURVES.items():
        if known.name == curve.name:
            return name
    raise JWKError(
        f"unsupported curve {curve.name}: JOSE does not define it",
        code="crv-unknown",
        hint="one of " + ", ".join(CURVES),
    )


def public_members(key: object) -> dict[str, str]:
    """
    Return the JWK members of a public key object, without labels.

    Raises:
        JWKError: If JOSE does not define its type or curve.
    """
    match key:
        case rsa.RSAPublicKey():
            numbers = key.public_numbers()
            return {"kty": "RSA", "n": b64u_uint(numbers.n), "e": b64u_uint(numbers.e)}
        case ec.EllipticCurvePublicKey():
            crv, point, octets = curve_name(key.curve), key.public_numbers(), (key.key_size + 7) // 8
            return {"kty": "EC", "crv": crv, "x": b64u_uint(point.x, octets), "y": b64u_uint(point.y, octets)}
        case ed25519.Ed25519PublicKey() | ed448.Ed448PublicKey() | x25519.X25519PublicKey() | x448.X448PublicKey():
            crv = next(name for name, kind in _OKP.items() if isinstance(key, kind))
            return {"kty": "OKP", "crv": crv, "x": b64u(key.public_bytes_raw())}
        case mldsa.MLDSA44PublicKey() | mldsa.MLDSA65PublicKey() | mldsa.MLDSA87PublicKey():
            alg = next(name for name, kind in _AKP.items() if isinstance(key, kind))
            return {"kty": "AKP", "alg": alg, "pub": b64u(key.public_bytes_raw())}
    raise JWKError("unsupported type of public key: JOSE does not define it", code="kty-unknown")


def b64u_uint(value: int, octets: int | None = None) -> str:
    """Return *value* as Base64urlUInt (RFC 7518 section 2), left-padded to *octets* if given."""
    return b64u(value.to_bytes(octets or (value.bit_length() + 7) // 8, "big"))


def load_public(jwk: Mapping[str, Any]) -> PublicKey:
    """
    Return the public half of *jwk* as a key object.

    Raises:
        JWKError: If the key is malformed, not on its curve, or symmetric.
    """
    crv = str(jwk.get("crv"))
    try:
        match jwk.get("kty"):
            case "RSA":
                return rsa.RSAPublicNumbers(uint(jwk, "e"), uint(jwk, "n")).public_key()
            case "EC":
                curve = CURVES[crv]
                octets = (curve.key_size + 7) // 8
                x, y = (b64u_decode(jwk.get(name), what=f"member {name!r}").rjust(octets, b"\0") for name in ("x", "y"))
                return load_point(crv, x, y)
            case "OKP":
                return _OKP[crv].from_public_bytes(b64u_decode(jwk.get("x"), what="member 'x'"))
            case "AKP":
                return _AKP[str(jwk.get("alg"))].from_public_bytes(b64u_decode(jwk.get("pub"), what="member 'pub'"))
    except UnsupportedAlgorithm:
        raise unsupported_by_openssl(jwk) from None
    except (ValueError, KeyError):
        raise JWKError(f"malformed {jwk.get('kty')} key", code="key-malformed") from None
    raise JWKError(f"a key of type {jwk.get('kty')!r:.40} has no public half", code="public-half-missing")


def unsupported_by_openssl(jwk: Mapping[str, Any]) -> JWKError:
    """Return the error for a valid *jwk* that this machine's OpenSSL cannot load."""
    # Only the parameter that JOSE defines for the type: other members of a foreign key may be anything.
    kty = jwk.get("kty")
    name = {"EC": jwk.get("crv"), "OKP": jwk.get("crv"), "AKP": jwk.get("alg")}.get(str(kty), kty)
    return JWKError(
        f"this machine's OpenSSL does not support {name}",
        code="openssl-unsupported",
        hint="pip install --upgrade cryptography",
    )


def load_point(crv: str, x: bytes, y: bytes) -> ec.EllipticCurvePublicKey:
    """
    Return the key at the point (*x*, *y*) of *crv*; the coordinates have full length.

    Raises:
        ValueError: If the point is not on the curve.
    """
    return ec.EllipticCurvePublicKey.from_encoded_point(CURVES[crv], b"\x04" + x + y)


def spki_kid(jwk: Mapping[str, Any]) -> str:
    """Return the kid of *jwk* in kube-apiserver and Keycloak: the SHA-256 of its SubjectPublicKeyInfo."""
    return b64u(hashlib.sha256(public_der(jwk)).digest())


def public_der(jwk: Mapping[str, Any]) -> bytes:
    """Return the public half of *jwk* as SubjectPublicKeyInfo (RFC 5280 section 4.1); errors as `load_public`."""
    return load_public(jwk).public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)
