"""
Load private JWKs as key objects, and check that the private half belongs to the public half.

OpenSSL does the arithmetic: it checks that the factors are prime, d against e, and the public point against d.

Sources: RFC 7518 section 6.2.2 and 6.3.2, RFC 8037 section 2, RFC 9964 section 3.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives.asymmetric import ec, ed448, ed25519, rsa, x448, x25519
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat, PublicFormat

from keyvault.core.jwk import b64u_decode
from keyvault.core.key_objects import CURVES, uint, unsupported_by_openssl
from keyvault.core.strength import check_public_key, check_secret_length
from keyvault.crypto.generate import AKP, OKP, AKPPrivateKey
from keyvault.errors import JWKError, WeakKeyError

PrivateKey = (
    rsa.RSAPrivateKey
    | ec.EllipticCurvePrivateKey
    | ed25519.Ed25519PrivateKey
    | ed448.Ed448PrivateKey
    | x25519.X25519PrivateKey
    | x448.X448PrivateKey
    | AKPPrivateKey
)


def _mismatch() -> WeakKeyError:
    return WeakKeyError("the private half does not belong to the public half", code="key-halves-mismatch")


def private_key(jwk: Mapping[str, Any]) -> PrivateKey:
    """
    Return *jwk* as a key object, after checking that its halves belong together.

    Raises:
        JWKError: If the key is malformed, or OpenSSL does not support it.
        WeakKeyError: If the public half is weak, or the private half does not belong to it.
    """
    check_public_key(jwk)
    try:
        return _load(jwk)
    except UnsupportedAlgorithm:
        raise unsupported_by_openssl(jwk) from None
    except ValueError:
        # The library's message may quote numbers of the key, so it is dropped.
        raise _mismatch() from None


def _load(jwk: Mapping[str, Any]) -> PrivateKey:
    crv = str(jwk.get("crv"))
    if jwk["kty"] == "RSA":
        return _load_rsa(jwk)
    if jwk["kty"] == "AKP":
        akp = AKP[str(jwk["alg"])].from_seed_bytes(b64u_decode(jwk.get("priv"), what="member 'priv'"))
        if akp.public_key().public_bytes_raw() != b64u_decode(jwk["pub"], what="member 'pub'"):
            raise _mismatch()
        return akp
    secret = b64u_decode(jwk.get("d"), what="member 'd'")
    if jwk["kty"] == "EC":
        public = ec.EllipticCurvePublicNumbers(uint(jwk, "x"), uint(jwk, "y"), CURVES[crv])
        if len(secret) != len(b64u_decode(jwk["x"], what="member 'x'")):
            raise JWKError(f"member 'd' has the wrong length for {crv}", code="key-length")
        key = ec.derive_private_key(int.from_bytes(secret, "big"), CURVES[crv])
        if key.public_key().public_numbers() != public:
            raise _mismatch()
        return key
    if jwk["kty"] == "OKP":
        okp = OKP[crv].from_private_bytes(secret)
        raw = okp.public_key().public_bytes(Encoding.Raw, PublicFormat.Raw)
        if raw != b64u_decode(jwk["x"], what="member 'x'"):
            raise _mismatch()
        return okp
    raise JWKError("a symmetric key has no public half", code="key-symmetric")


def multi_prime() -> JWKError:
    """Return the error for an RSA key with more than two primes, which the cryptography package does not support."""
    return JWKError(
        "RSA keys with more than two primes are not supported",
        code="rsa-multi-prime",
        hint="use a key with two primes",
    )


def _load_rsa(jwk: Mapping[str, Any]) -> rsa.RSAPrivateKey:
    if "oth" in jwk:
        raise multi_prime()
    n, e, d = uint(jwk, "n"), uint(jwk, "e"), uint(jwk, "d")
    if not 1 < d < n:
        # Otherwise, the author of d could choose how long it takes to recover the factors.
        raise _mismatch()
    given = [name for name in ("p", "q", "dp", "dq", "qi") if name in jwk]
    if not given:
        p, q = rsa.rsa_recover_prime_factors(n, e, d)
        crt = (rsa.rsa_crt_dmp1(d, p), rsa.rsa_crt_dmq1(d, q), rsa.rsa_crt_iqmp(p, q))
    elif len(given) == 5:
        p, q = uint(jwk, "p"), uint(jwk, "q")
        crt = (uint(jwk, "dp"), uint(jwk, "dq"), uint(jwk, "qi"))
    else:
        raise JWKError("an RSA key must have all of p, q, dp, dq and qi, or none of them", code="member-missing")
    return rsa.RSAPrivateNumbers(p, q, d, *crt, rsa.RSAPublicNumbers(e, n)).private_key()


def check_private_jwk(jwk: Mapping[str, Any], *, alg: str) -> None:
    """
    Refuse a private JWK that must not enter a vault.

    Raises:
        JWKError: If it is malformed.
        WeakKeyError: If it is weak, does not fit *alg*, or its halves do not belong together.
    """
    check_public_key(jwk, alg=alg)
    if jwk["kty"] == "oct":
        check_secret_length(len(b64u_decode(jwk.get("k"), what="member 'k'")), alg=alg)
    else:
        private_key(jwk)


def private_pem(jwk: Mapping[str, Any]) -> bytes:
    """
    Return a private JWK as unencrypted PKCS#8 in PEM.

    Raises:
        JWKError: If it is malformed, weak or symmetric, or its halves do not belong together.
    """
    return private_key(jwk).private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())
