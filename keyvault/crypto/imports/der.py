"""
Read keys and certificates in DER. Their structure decides, not a label.

The cryptography package decodes the structures. OpenSSL, Bouncy Castle and ring store redundant values with a private
key, which are compared with it: its public half (RFC 5958), and the expanded key of ML-DSA.

Sources: RFC 5958 (PKCS#8, OneAsymmetricKey), RFC 8017 (PKCS#1), RFC 5915 (SEC1), RFC 4055 (RSASSA-PSS), RFC 9881
(ML-DSA), RFC 5280 (X.509).
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from dataclasses import replace
from functools import partial
from typing import Any

from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat import asn1
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509 import ObjectIdentifier

from keyvault.core.ber import (
    INTEGER,
    SEQUENCE,
    Element,
    read_element,
)
from keyvault.core.key_objects import public_members
from keyvault.crypto.generate import private_members, unsupported_key
from keyvault.crypto.imports.encrypted import check_iterations, decrypt_pkcs8, try_password
from keyvault.crypto.imports.found import (
    Found,
    FoundCertificate,
    FoundKey,
    Password,
    UnreadableError,
    UnsupportedEncryptionError,
    damaged_key,
)
from keyvault.crypto.imports.jwk import read_jwk
from keyvault.crypto.imports.structures import (
    PLAIN_RSA,
    EarlyRingKey,
    OneAsymmetricKey,
    PSSParameters,
    SeedAndExpandedKey,
    SubjectPublicKeyInfo,
    TBSCertificate,
)
from keyvault.crypto.pairs import multi_prime
from keyvault.errors import JWKError, UsageError, WeakKeyError

_ATTRIBUTES = 0xA0

_PSS = ObjectIdentifier("1.2.840.113549.1.1.10")
#: Hashes of RSASSA-PSS in JOSE: the algorithm, and the length of its salt in octets.
_PSS_HASHES = {
    ObjectIdentifier("2.16.840.1.101.3.4.2.1"): ("PS256", 32),
    ObjectIdentifier("2.16.840.1.101.3.4.2.2"): ("PS384", 48),
    ObjectIdentifier("2.16.840.1.101.3.4.2.3"): ("PS512", 64),
}
_ML_DSA = frozenset(ObjectIdentifier(f"2.16.840.1.101.3.4.3.{last}") for last in (17, 18, 19))


def with_import_errors(loader: Callable[..., Any], *arguments: object) -> Any:
    """
    Return the result of *loader* for *arguments*; translate the errors of the library.

    Raises:
        JWKError: If the key is damaged or not supported. The library's message is dropped.
    """
    try:
        return loader(*arguments)
    except UnsupportedAlgorithm:
        raise unsupported_key() from None
    except (ValueError, TypeError):
        raise UnreadableError("the key is damaged or in an unsupported format", code="key-damaged") from None


def load_private_key(load_with: Callable[[bytes | None], Any], password: Password) -> FoundKey:
    """Return the private key that *load_with* loads; ask for the password only if the key is encrypted."""
    try:
        key = load_with(None)
    except UnsupportedAlgorithm:
        raise unsupported_key() from None
    except TypeError:  # encrypted
        key = try_password(load_with, password.get())
    except ValueError:
        raise damaged_key() from None
    return read_jwk(private_members(key))


def from_public_key(key: Any) -> FoundKey:
    """Return *key*, a public key object, as a `FoundKey`."""
    return read_jwk(public_members(key))


# --- by structure ---------------------------------------------------------------------------------------


def read_der(data: bytes, password: Password) -> list[Found]:
    """
    Return the key or the certificate in *data*.

    Raises:
        UsageError: If it is a request or a PKCS#7 file, or the password is missing or wrong.
        JWKError: If it is neither a key nor a certificate, or is malformed.
        WeakKeyError: If the key is weak.
    """
    try:
        parts = read_element(data).children
    except ValueError:
        raise _unrecognized() from None
    match [part.tag for part in parts]:
        case [0x02, 0x30, 0x04, *_]:  # PKCS#8: version, algorithm, key
            return [read_pkcs8(data)]
        case [0x30, 0x04]:  # encrypted PKCS#8: algorithm, ciphertext
            return [read_encrypted(data, password)]
        case [0x30, 0x03]:  # SubjectPublicKeyInfo: algorithm, key
            return [_read_spki(with_import_errors(asn1.decode_der, SubjectPublicKeyInfo, data))]
        case [0x30, 0x30, 0x03]:  # a certificate or a request: content, algorithm, signature
            return [_read_signed(data, parts)]
        case [0x02, 0x04, *_] | [0x02, 0x02, 0x02, *_]:  # SEC1: version, key; PKCS#1 and DSA: version, numbers
            _check_primes(data)
            return [load_private_key(partial(serialization.load_der_private_key, data), password)]
        case [0x02, 0x02]:  # a public key in PKCS#1: n, e
            return [from_public_key(with_import_errors(serialization.load_der_public_key, data))]
        case [0x06, 0xA0]:  # PKCS#7: content type, content
            raise UsageError(
                "PKCS#7 bundles of certificates are not supported",
                code="format-unsupported",
                hint="openssl pkcs7 -print_certs -in FILE -out certs.pem; add -inform DER if it is not PEM",
            )
    raise _unrecognized()


def _unrecognized() -> UnreadableError:
    return UnreadableError("neither a key nor a certificate in DER", code="format-unrecognized")


def _check_primes(data: bytes) -> None:
    """Refuse an RSA key in PKCS#1 with more than two primes (RFC 8017 appendix A.1.2)."""
    try:
        parts = read_element(data).children
    except ValueError:
        return
    if [part.tag for part in parts] == [INTEGER] * 9 + [SEQUENCE]:
        raise multi_prime()


def _read_signed(data: bytes, parts: tuple[Element, ...]) -> FoundCertificate:
    """Return a certificate; refuse a certificate request, which has the same outer form."""
    inner = [part.tag for part in with_import_errors(lambda: parts[0].children)]
    if inner[:4] == [INTEGER, SEQUENCE, SEQUENCE, _ATTRIBUTES]:
        raise UsageError(
            "certificate requests are not supported",
            code="format-unsupported",
            hint="openssl req -in FILE -noout -pubkey -out key.pub.pem extracts the key",
        )
    return read_certificate(data)


def read_certificate(data: bytes) -> FoundCertificate:
    """Return the certificate in *data*, without its key if JOSE does not define the key's type."""
    from cryptography import x509

    certificate = with_import_errors(x509.load_der_x509_certificate, data)
    with_import_errors(lambda: (certificate.subject, certificate.issuer))  # parsed on first access
    tbs = with_import_errors(asn1.decode_der, TBSCertificate, certificate.tbs_certificate_bytes)
    try:
        found = _read_spki(tbs.public)
    except UnreadableError:
        raise
    except JWKError as error:
        if type(error) is not JWKError:  # weak
            raise
        return FoundCertificate(certificate, None)
    return FoundCertificate(certificate, found)


def _read_spki(spki: SubjectPublicKeyInfo) -> FoundKey:
    algs = _restriction(spki.algorithm)
    plain = SubjectPublicKeyInfo(algorithm=PLAIN_RSA if algs else spki.algorithm, key=spki.key)
    key = with_import_errors(serialization.load_der_public_key, asn1.encode_der(plain))
    return replace(from_public_key(key), restricted_to=algs)


# --- PKCS#8 ---------------------------------------------------------------------------------------------


def read_encrypted(data: bytes, password: Password) -> FoundKey:
    """Return the key in an EncryptedPrivateKeyInfo; raise the errors of `read_der`."""
    try:
        check_iterations(data)
    except (ValueError, IndexError):
        raise damaged_key() from None
    by_library = partial(load_private_key, partial(serialization.load_der_private_key, data), password)
    try:
        found = open_pkcs8(data, password.get())
    except UnsupportedEncryptionError as error:
        try:
            return by_library()  # supports more old ciphers
        except UnsupportedEncryptionError:
            raise error from None  # names the algorithm
    return by_library() if found is None else found


def open_pkcs8(data: bytes, secret: bytes) -> FoundKey | None:
    """
    Return the key in an EncryptedPrivateKeyInfo under PBES2; None under an older scheme.

    Raise the errors of `read_der`.
    """
    try:
        plain = decrypt_pkcs8(data, secret)
    except (ValueError, IndexError):
        raise damaged_key() from None
    return None if plain is None else read_pkcs8(plain)


def read_pkcs8(data: bytes) -> FoundKey:
    """
    Return the key in PKCS#8, version 1 or 2.

    Raises:
        JWKError: If it is malformed, or of a type that JOSE does not define.
        WeakKeyError: If it is weak, or the public half or expanded key in it belongs to another key.
    """
    public: asn1.BitString | None = None
    try:
        parsed = asn1.decode_der(OneAsymmetricKey, data)
        algorithm, key, public = parsed.algorithm, parsed.key, parsed.public
    except ValueError:
        try:
            early = asn1.decode_der(EarlyRingKey, data)
        except ValueError:
            raise damaged_key() from None
        algorithm, key, public = early.algorithm, early.key, early.public
    algs = _restriction(algorithm)
    _check_primes(key)
    seed = _seed_only(_name(algorithm), key)
    plain = OneAsymmetricKey(
        version=0, algorithm=PLAIN_RSA if algs else algorithm, key=seed or key, attributes=None, public=None
    )
    loaded = _load_pkcs8(asn1.encode_der(plain))
    if seed is not None:
        _check_expanded(loaded, key)
    if public is not None:
        _check_public(loaded, public.as_bytes())
    return replace(read_jwk(private_members(loaded)), restricted_to=algs)


def _load_pkcs8(data: bytes) -> Any:
    try:
        return serialization.load_der_private_key(data, None)
    except UnsupportedAlgorithm:
        raise unsupported_key() from None
    except (ValueError, TypeError):
        raise damaged_key() from None


def _check_public(key: Any, written: bytes) -> None:
    """Refuse a private key that is stored with the public half of another key."""
    spki = key.public_key().public_bytes(serialization.Encoding.DER, serialization.PublicFormat.SubjectPublicKeyInfo)
    own = {read_element(spki).children[1].value[1:]}
    if isinstance(key, ec.EllipticCurvePrivateKey):
        own |= {
            key.public_key().public_bytes(serialization.Encoding.X962, form)
            for form in (serialization.PublicFormat.CompressedPoint, serialization.PublicFormat.UncompressedPoint)
        }
    if written not in own:
        raise WeakKeyError(
            "the private half does not belong to the public half in the same file", code="key-halves-mismatch"
        )


def _seed_only(name: ObjectIdentifier, key: bytes) -> bytes | None:
    """
    Return the seed of an ML-DSA key without the expanded key that OpenSSL and Bouncy Castle store with it.

    The cryptography package reads only that form. Return None for all other keys.
    """
    if name not in _ML_DSA:
        return None
    form = key[:1]
    if form == b"\x04":
        raise JWKError("an ML-DSA key without its seed cannot be a JWK", code="key-seed-missing")
    if form != b"\x30":
        return None
    seed = with_import_errors(asn1.decode_der, SeedAndExpandedKey, key).seed
    return b"\x80" + bytes([len(seed)]) + bytes(seed)


def _check_expanded(key: Any, written: bytes) -> None:
    """Refuse an expanded ML-DSA key that its seed does not expand to."""
    raw = key.public_key().public_bytes_raw()
    expanded = asn1.decode_der(SeedAndExpandedKey, written).expanded
    # An expanded key begins with rho, K and tr (FIPS 204 algorithm 24); tr is a hash of the public key.
    if expanded[:32] != raw[:32] or expanded[64:128] != hashlib.shake_256(raw).digest(64):
        raise WeakKeyError("the seed of the ML-DSA key belongs to another key", code="key-halves-mismatch")


# --- RSASSA-PSS -----------------------------------------------------------------------------------------


def _restriction(algorithm: list[asn1.TLV]) -> tuple[str, ...]:
    """
    Return the algorithms to which an AlgorithmIdentifier restricts an RSA key; empty if it does not.

    Raises:
        JWKError: If no JOSE algorithm has its parameters.

    Source: RFC 4055 sections 1.2 and 3.1; RFC 7518 section 3.5 for the length of salts.
    """
    if _name(algorithm) != _PSS:
        return ()
    if len(algorithm) < 2 or algorithm[1].tag_bytes != b"\x30":
        return tuple(name for name, _ in _PSS_HASHES.values())
    parameters = with_import_errors(algorithm[1].parse, PSSParameters)
    hashed = parameters.hash.name if parameters.hash else None
    mgf1_hash = parameters.mask.hash.name if parameters.mask else None
    salt = 20 if parameters.salt is None else parameters.salt
    if hashed not in _PSS_HASHES or mgf1_hash != hashed or salt > _PSS_HASHES[hashed][1]:
        raise JWKError(
            "the key is restricted to RSASSA-PSS with parameters that no JOSE algorithm has",
            code="rsa-pss-unsupported",
            hint="PS256, PS384 and PS512 use the same hash for MGF1, and a salt as long as the hash",
        )
    return (_PSS_HASHES[hashed][0],)


def _name(algorithm: list[asn1.TLV]) -> ObjectIdentifier:
    if not algorithm:
        raise UnreadableError("the key names no algorithm", code="key-damaged")
    name: ObjectIdentifier = with_import_errors(algorithm[0].parse, ObjectIdentifier)
    return name
