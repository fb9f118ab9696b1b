"""
Generate keys.

Randomness comes from the operating system, through the cryptography package. Every key passes the checks of imported
keys before it is returned. Does not store, seal or print anything.

Sources: RFC 7518 section 6, RFC 8037 section 2 and RFC 9964 section 3 for the members of each key type.
"""

from __future__ import annotations

import os
import secrets
from collections.abc import Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor

from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives.asymmetric import ec, ed448, ed25519, mldsa, rsa, x448, x25519

from keyvault.core.algorithms import KeySpec
from keyvault.core.jwk import b64u, thumbprint
from keyvault.core.key_objects import CURVES, b64u_uint, public_members, spki_kid, unsupported_by_openssl
from keyvault.core.key_parameters import KeyParameters
from keyvault.core.strength import check_public_key
from keyvault.errors import JWKError, WeakKeyError

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

AKPPrivateKey = mldsa.MLDSA44PrivateKey | mldsa.MLDSA65PrivateKey | mldsa.MLDSA87PrivateKey

#: The private key class of each ML-DSA parameter set.
AKP: dict[str, type[mldsa.MLDSA44PrivateKey] | type[mldsa.MLDSA65PrivateKey] | type[mldsa.MLDSA87PrivateKey]] = {
    "ML-DSA-44": mldsa.MLDSA44PrivateKey,
    "ML-DSA-65": mldsa.MLDSA65PrivateKey,
    "ML-DSA-87": mldsa.MLDSA87PrivateKey,
}

#: Keys are generated in batches of this size, so that a large plan does not hold all private keys at once.
BATCH = 256


def generate(spec: KeySpec) -> PrivateJWK:
    """
    Return a fresh private JWK of *spec*, with ``kid``, ``use`` and ``alg``.

    *spec* chooses the form of the kid. A key whose kid begins with ``-`` or ``_`` is discarded and generated anew, so
    that every kid works as a command-line argument and as a file name.
    """
    while True:
        members = new_members(spec.kty, crv=spec.crv, bits=spec.bits, alg=spec.alg)
        kid = spki_kid(members) if spec.kid_form == "spki" else thumbprint(members)
        if kid[0] in "-_":
            continue
        try:
            check_public_key(members, alg=spec.alg)
        except WeakKeyError:  # about one sound RSA key in 2^27 looks like a ROCA key
            continue
        return {"kty": members["kty"], "kid": kid, "use": spec.use, "alg": spec.alg, **members}


def generate_from_parameters(parameters: KeyParameters) -> PrivateJWK:
    """Return a fresh private JWK of *parameters*, with their ``use`` and ``alg`` and without a kid."""
    while True:
        members = new_members(parameters.kty, crv=parameters.crv, bits=parameters.bits, alg=parameters.alg)
        try:
            check_public_key(members)
        except WeakKeyError:  # as in `generate`
            continue
        labels = {
            name: value for name, value in (("use", parameters.use), ("alg", parameters.alg)) if value is not None
        }
        return {"kty": members["kty"], **labels, **members}


def generate_many(specs: Iterable[KeySpec]) -> Iterator[PrivateJWK]:
    """
    Yield a fresh private JWK for each of *specs*, in order.

    RSA keys are generated on all cores: OpenSSL releases the interpreter's lock.
    """
    pending = list(specs)
    if sum(spec.kty == "RSA" for spec in pending) < 2:
        yield from map(generate, pending)
        return
    with ThreadPoolExecutor(max_workers=os.cpu_count() or 1) as pool:
        for start in range(0, len(pending), BATCH):
            yield from pool.map(generate, pending[start : start + BATCH])


def new_members(kty: str, *, crv: str | None = None, bits: int | None = None, alg: str | None = None) -> PrivateJWK:
    """Return the members of a fresh key, without labels; ``alg`` is a required member of AKP keys."""
    if kty == "RSA":
        return rsa_members(rsa.generate_private_key(65_537, bits or 0))
    if kty == "oct":
        return {"kty": "oct", "k": b64u(secrets.token_bytes((bits or 0) // 8))}
    if kty == "AKP":
        return akp_members(_new_akp(str(alg)))
    if kty == "EC":
        return ec_members(ec.generate_private_key(CURVES[str(crv)]))
    return okp_members(OKP[str(crv)].generate())


def _new_akp(alg: str) -> AKPPrivateKey:
    try:
        return AKP[alg].generate()
    except UnsupportedAlgorithm:
        raise unsupported_by_openssl({"kty": "AKP", "alg": alg}) from None


def unsupported_key() -> JWKError:
    """Return the error for a key that OpenSSL does not load: it may be of a type that JOSE does not define."""
    return JWKError(
        "unsupported key type or curve: JOSE does not define it, or this machine's OpenSSL does not support it",
        code="kty-unknown",
    )


def private_members(key: object) -> PrivateJWK:
    """
    Return the JWK members of a private key object, without labels.

    Raises:
        JWKError: If JOSE does not define its type or curve.
    """
    match key:
        case rsa.RSAPrivateKey():
            return rsa_members(key)
        case ec.EllipticCurvePrivateKey():
            return ec_members(key)
        case ed25519.Ed25519PrivateKey() | ed448.Ed448PrivateKey() | x25519.X25519PrivateKey() | x448.X448PrivateKey():
            return okp_members(key)
        case mldsa.MLDSA44PrivateKey() | mldsa.MLDSA65PrivateKey() | mldsa.MLDSA87PrivateKey():
            return akp_members(key)
    raise JWKError("unsupported key type or curve: JOSE does not define it", code="kty-unknown")


def rsa_members(key: rsa.RSAPrivateKey) -> PrivateJWK:
    """Return the JWK members of an RSA key."""
    numbers = key.private_numbers()
    return {
        **public_members(key.public_key()),
        "d": b64u_uint(numbers.d),
        "p": b64u_uint(numbers.p),
        "q": b64u_uint(numbers.q),
        "dp": b64u_uint(numbers.dmp1),
        "dq": b64u_uint(numbers.dmq1),
        "qi": b64u_uint(numbers.iqmp),
    }


def ec_members(key: ec.EllipticCurvePrivateKey) -> PrivateJWK:
    """Return the JWK members of an EC key; coordinates and ``d`` have the length of the field."""
    d = b64u_uint(key.private_numbers().private_value, (key.key_size + 7) // 8)
    return {**public_members(key.public_key()), "d": d}


def okp_members(
    key: ed25519.Ed25519PrivateKey | ed448.Ed448PrivateKey | x25519.X25519PrivateKey | x448.X448PrivateKey,
) -> PrivateJWK:
    """Return the JWK members of an OKP key."""
    return {**public_members(key.public_key()), "d": b64u(key.private_bytes_raw())}


def akp_members(key: AKPPrivateKey) -> PrivateJWK:
    """Return the JWK members of an ML-DSA key; ``priv`` is its seed."""
    return {**public_members(key.public_key()), "priv": b64u(key.private_bytes_raw())}
