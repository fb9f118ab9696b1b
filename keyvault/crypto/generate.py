"""
Make keys.

Randomness is the operating system's, through the cryptography package. Every key passes the same checks as
an imported one before it leaves here. Does not store, seal or print anything.

Sources: RFC 7518 section 6 and RFC 8037 section 2 for the members of each key type.
"""

from __future__ import annotations

import os
import secrets
from collections.abc import Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor

from cryptography.hazmat.primitives.asymmetric import ec, ed448, ed25519, rsa, x448, x25519
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat, PublicFormat

from keyvault.core.algorithms import KeySpec
from keyvault.core.jwk import b64u, thumbprint
from keyvault.core.pem import CURVES
from keyvault.core.strength import check_public_key
from keyvault.errors import WeakKeyError

#: A private JWK: only string members.
PrivateJWK = dict[str, str]

#: The private key class of each OKP curve.
OKP: dict[
    str,
    type[ed25519.Ed25519PrivateKey]
    | type[ed448.Ed448PrivateKey]
    | type[x25519.X25519PrivateKey]
    | type[x448.X448PrivateKey],
] = {
    "Ed25519": ed25519.Ed25519PrivateKey,
    "Ed448": ed448.Ed448PrivateKey,
    "X25519": x25519.X25519PrivateKey,
    "X448": x448.X448PrivateKey,
}

#: Keys are made in batches of this size, so that a large plan does not hold all private keys at once.
BATCH = 256


def generate(spec: KeySpec) -> PrivateJWK:
    """
    Return a fresh private JWK of *spec*, with ``kid``, ``use`` and ``alg``.

    The kid is the RFC 7638 thumbprint; a key whose thumbprint begins with ``-`` or ``_`` is thrown away and
    drawn again, so that every kid can be typed as an argument and named as a file.
    """
    while True:
        members = _members(spec)
        kid = thumbprint(members)
        if kid[0] in "-_":
            continue
        try:
            check_public_key(members, alg=spec.alg)
        except WeakKeyError:  # about one sound RSA key in 2^27 has the look of a ROCA key
            continue
        return {"kty": members["kty"], "kid": kid, "use": spec.use, "alg": spec.alg, **members}


def generate_many(specs: Iterable[KeySpec]) -> Iterator[PrivateJWK]:
    """
    Yield a fresh private JWK for each of *specs*, in order.

    RSA keys are made on all cores: OpenSSL works without the interpreter's lock.
    """
    pending = list(specs)
    if sum(spec.kty == "RSA" for spec in pending) < 2:
        yield from map(generate, pending)
        return
    with ThreadPoolExecutor(max_workers=os.cpu_count() or 1) as pool:
        for start in range(0, len(pending), BATCH):
            yield from pool.map(generate, pending[start : start + BATCH])


def uint(value: int, octets: int | None = None) -> str:
    """Return *value* as Base64urlUInt (RFC 7518 section 2), left-padded to *octets* where given."""
    return b64u(value.to_bytes(octets or (value.bit_length() + 7) // 8, "big"))


def _members(spec: KeySpec) -> PrivateJWK:
    if spec.kty == "RSA":
        return rsa_members(rsa.generate_private_key(65_537, spec.bits or 0))
    if spec.kty == "oct":
        return {"kty": "oct", "k": b64u(secrets.token_bytes((spec.bits or 0) // 8))}
    crv = str(spec.crv)
    if spec.kty == "EC":
        return ec_members(ec.generate_private_key(CURVES[crv]), crv)
    return okp_members(OKP[crv].generate(), crv)


def rsa_members(key: rsa.RSAPrivateKey) -> PrivateJWK:
    """Return the JWK members of an RSA key."""
    numbers = key.private_numbers()
    public = numbers.public_numbers
    return {
        "kty": "RSA",
        "n": uint(public.n),
        "e": uint(public.e),
        "d": uint(numbers.d),
        "p": uint(numbers.p),
        "q": uint(numbers.q),
        "dp": uint(numbers.dmp1),
        "dq": uint(numbers.dmq1),
        "qi": uint(numbers.iqmp),
    }


def ec_members(key: ec.EllipticCurvePrivateKey, crv: str) -> PrivateJWK:
    """Return the JWK members of an EC key; coordinates and d have the length of the field."""
    numbers = key.private_numbers()
    octets = (key.key_size + 7) // 8
    public = numbers.public_numbers
    return {
        "kty": "EC",
        "crv": crv,
        "x": uint(public.x, octets),
        "y": uint(public.y, octets),
        "d": uint(numbers.private_value, octets),
    }


def okp_members(
    key: ed25519.Ed25519PrivateKey | ed448.Ed448PrivateKey | x25519.X25519PrivateKey | x448.X448PrivateKey, crv: str
) -> PrivateJWK:
    """Return the JWK members of an OKP key."""
    return {
        "kty": "OKP",
        "crv": crv,
        "x": b64u(key.public_key().public_bytes(Encoding.Raw, PublicFormat.Raw)),
        "d": b64u(key.private_bytes(Encoding.Raw, PrivateFormat.Raw, NoEncryption())),
    }
