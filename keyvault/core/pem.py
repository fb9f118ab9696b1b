"""
A public JWK as a key object of the cryptography package, which knows PEM and DER.

Judges nothing: see `strength`. Sources: RFC 7518 section 6, RFC 8037 section 2.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from cryptography.hazmat.primitives.asymmetric import ec, ed448, ed25519, rsa, x448, x25519

from keyvault.core.jwk import b64u_decode
from keyvault.errors import JWKError

PublicKey = (
    rsa.RSAPublicKey
    | ec.EllipticCurvePublicKey
    | ed25519.Ed25519PublicKey
    | ed448.Ed448PublicKey
    | x25519.X25519PublicKey
    | x448.X448PublicKey
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


def uint(jwk: Mapping[str, Any], name: str) -> int:
    """Return the member *name* of *jwk*, a Base64urlUInt, as a number."""
    return int.from_bytes(b64u_decode(jwk.get(name), what=f"member {name!r}"), "big")


def load_public(jwk: Mapping[str, Any]) -> PublicKey:
    """
    Return the public half of *jwk* as a key object.

    Raises:
        JWKError: The key is malformed, not on its curve, or symmetric.
    """
    crv = str(jwk.get("crv"))
    try:
        match jwk.get("kty"):
            case "RSA":
                return rsa.RSAPublicNumbers(uint(jwk, "e"), uint(jwk, "n")).public_key()
            case "EC":
                return ec.EllipticCurvePublicNumbers(uint(jwk, "x"), uint(jwk, "y"), CURVES[crv]).public_key()
            case "OKP":
                return _OKP[crv].from_public_bytes(b64u_decode(jwk.get("x"), what="member 'x'"))
    except (ValueError, KeyError):
        raise JWKError(f"malformed {jwk.get('kty')} key") from None
    raise JWKError(f"a key of type {jwk.get('kty')!r:.40} has no public half")
