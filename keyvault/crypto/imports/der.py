"""
Read keys and certificates in DER, by their structure and not by their name.

Structures are decoded by the cryptography package. Whatever OpenSSL, Bouncy Castle and ring write beside a private key
is compared with it: its public half (RFC 5958), the expanded key of ML-DSA.

Sources: RFC 5958 (PKCS#8, OneAsymmetricKey), RFC 8017 (PKCS#1), RFC 5915 (SEC1), RFC 4055 (RSASSA-PSS), RFC 9881
(ML-DSA), RFC 5280 (X.509).
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from dataclasses import replace
from functools import partial
from typing import Annotated, Any

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
from keyvault.core.pem import public_members
from keyvault.crypto.generate import members_of
from keyvault.crypto.imports.encrypted import check_rounds, decrypt_pkcs8, try_password
from keyvault.crypto.imports.found import (
    Found,
    FoundCertificate,
    FoundKey,
    Password,
    UnreadableError,
    UnsupportedEncryptionError,
)
from keyvault.crypto.imports.jwk import read_jwk
from keyvault.errors import JWKError, UsageError, WeakKeyError

_UNKNOWN_KIND = "unsupported key type or curve: JOSE does not define it"
_DAMAGED = "the private key is damaged or in an unsupported format (supported: PKCS#1, PKCS#8, SEC1, OpenSSH)"
_ATTRIBUTES = 0xA0

_PSS = ObjectIdentifier("1.2.840.113549.1.1.10")
#: Hashes that JOSE signs RSASSA-PSS with: the algorithm, and how many octets a salt has there.
_PSS_HASHES = {
    ObjectIdentifier("2.16.840.1.101.3.4.2.1"): ("PS256", 32),
    ObjectIdentifier("2.16.840.1.101.3.4.2.2"): ("PS384", 48),
    ObjectIdentifier("2.16.840.1.101.3.4.2.3"): ("PS512", 64),
}
_ML_DSA = frozenset(ObjectIdentifier(f"2.16.840.1.101.3.4.3.{last}") for last in (17, 18, 19))


@asn1.sequence
class _Holder:
    algorithm: list[asn1.TLV]


#: rsaEncryption: a key under RSASSA-PSS is loaded under this name, since the library refuses some parameters of that.
_PLAIN_RSA = asn1.decode_der(_Holder, bytes.fromhex("300f300d06092a864886f70d0101010500")).algorithm


@asn1.sequence
class _OneAsymmetricKey:
    version: int
    algorithm: list[asn1.TLV]
    key: bytes
    attributes: Annotated[list[asn1.TLV] | None, asn1.Implicit(0)]
    public: Annotated[asn1.BitString | None, asn1.Implicit(1)]


@asn1.sequence
class _EarlyRingKey:
    """As old versions of ring write it: the tag of the public key is explicit."""

    version: int
    algorithm: list[asn1.TLV]
    key: bytes
    public: Annotated[asn1.BitString, asn1.Explicit(1)]


@asn1.sequence
class _Both:
    """A seed of ML-DSA, and what it expands to."""

    seed: bytes
    expanded: bytes


@asn1.sequence
class _SubjectPublicKeyInfo:
    algorithm: list[asn1.TLV]
    key: asn1.BitString


@asn1.sequence
class _TBSCertificate:
    version: Annotated[int | None, asn1.Explicit(0)]
    serial: int
    signature: list[asn1.TLV]
    issuer: list[asn1.TLV]
    validity: list[asn1.TLV]
    subject: list[asn1.TLV]
    public: _SubjectPublicKeyInfo
    issuer_id: Annotated[asn1.BitString | None, asn1.Implicit(1)]
    subject_id: Annotated[asn1.BitString | None, asn1.Implicit(2)]
    extensions: Annotated[list[asn1.TLV] | None, asn1.Explicit(3)]


@asn1.sequence
class _Hash:
    name: ObjectIdentifier
    parameters: asn1.Null | None


@asn1.sequence
class _Mask:
    name: ObjectIdentifier
    hash: _Hash


@asn1.sequence
class _PSSParameters:
    hash: Annotated[_Hash | None, asn1.Explicit(0)]
    mask: Annotated[_Mask | None, asn1.Explicit(1)]
    salt: Annotated[int | None, asn1.Explicit(2)]
    trailer: Annotated[int | None, asn1.Explicit(3)]


def load(loader: Callable[..., Any], *arguments: object) -> Any:
    """
    Return what *loader* makes of *arguments*.

    Raises:
        JWKError: If it is of a type that JOSE does not define, or damaged; the library's text is not passed on.
    """
    try:
        return loader(*arguments)
    except UnsupportedAlgorithm:
        raise JWKError(_UNKNOWN_KIND) from None
    except (ValueError, TypeError):
        raise UnreadableError("the key is damaged, or in an unsupported format") from None


def private_found(load_with: Callable[[bytes | None], Any], password: Password) -> FoundKey:
    """Return the private key that *load_with* gives, with the password where it asks for one."""
    try:
        key = load_with(None)
    except UnsupportedAlgorithm:
        raise JWKError(_UNKNOWN_KIND) from None
    except TypeError:  # encrypted
        key = try_password(load_with, password.get())
    except ValueError:
        raise UnreadableError(_DAMAGED) from None
    return read_jwk(members_of(key))


def public_found(key: Any) -> FoundKey:
    """Return the key that *key*, a public key object, is."""
    return read_jwk(public_members(key))


# --- by structure ---------------------------------------------------------------------------------------


def read_der(data: bytes, password: Password) -> list[Found]:
    """
    Return the key or the certificate that *data* is.

    Raises:
        UsageError: If it is none of these, or the password is missing or wrong.
        JWKError: If the key is malformed.
        WeakKeyError: If the key is weak.
    """
    try:
        parts = read_element(data).children
    except ValueError:
        raise UnreadableError("neither a key nor a certificate in DER") from None
    match [part.tag for part in parts]:
        case [0x02, 0x30, 0x04, *_]:
            return [read_pkcs8(data)]
        case [0x30, 0x04]:
            return [read_encrypted(data, password)]
        case [0x30, 0x03]:
            return [_public_of(load(asn1.decode_der, _SubjectPublicKeyInfo, data))]
        case [0x30, 0x30, 0x03]:
            return [_read_signed(data, parts)]
        case [0x02, 0x04, *_] | [0x02, 0x02, 0x02, *_]:  # SEC1 and PKCS#1, or a key for DSA
            _check_primes(data)
            return [private_found(partial(serialization.load_der_private_key, data), password)]
        case [0x02, 0x02]:
            return [public_found(load(serialization.load_der_public_key, data))]
        case [0x06, 0xA0]:
            raise UsageError(
                "it is a bundle of certificates (PKCS#7)",
                hint="openssl pkcs7 -print_certs -in FILE -out certs.pem, with -inform DER if it is no PEM",
            )
    raise UnreadableError("neither a key nor a certificate in DER")


def _check_primes(data: bytes) -> None:
    """Refuse an RSA key in PKCS#1 with more than two primes (RFC 8017 appendix A.1.2): the library reads none."""
    try:
        parts = read_element(data).children
    except ValueError:
        return
    if [part.tag for part in parts] == [INTEGER] * 9 + [SEQUENCE]:
        raise JWKError("RSA keys with more than two primes are not supported", hint="use a key with two primes")


def _read_signed(data: bytes, parts: tuple[Element, ...]) -> FoundCertificate:
    """Read a certificate; a request for one, or a list of revoked ones, has the same outer form."""
    inner = [part.tag for part in load(lambda: parts[0].children)]
    if inner[:4] == [INTEGER, SEQUENCE, SEQUENCE, _ATTRIBUTES]:
        raise UsageError(
            "it is a certificate request", hint="openssl req -in FILE -noout -pubkey -out key.pub.pem takes the key out"
        )
    return read_certificate(data)


def read_certificate(data: bytes) -> FoundCertificate:
    """Return the certificate in *data*; its key may be none of JOSE."""
    from cryptography import x509

    certificate = load(x509.load_der_x509_certificate, data)
    load(lambda: (certificate.subject, certificate.issuer))  # parsed when they are asked for
    tbs = load(asn1.decode_der, _TBSCertificate, certificate.tbs_certificate_bytes)
    try:
        found = _public_of(tbs.public)
    except UnreadableError:
        raise
    except JWKError as error:
        if type(error) is not JWKError:  # weak
            raise
        return FoundCertificate(certificate, None)
    return FoundCertificate(certificate, found)


def _public_of(spki: _SubjectPublicKeyInfo) -> FoundKey:
    only = _restriction(spki.algorithm)
    plain = _SubjectPublicKeyInfo(algorithm=_PLAIN_RSA if only else spki.algorithm, key=spki.key)
    return replace(public_found(load(serialization.load_der_public_key, asn1.encode_der(plain))), only=only)


# --- PKCS#8 ---------------------------------------------------------------------------------------------


def read_encrypted(data: bytes, password: Password) -> FoundKey:
    """Return the key in an EncryptedPrivateKeyInfo; errors as `read_der`."""
    try:
        check_rounds(data)
    except (ValueError, IndexError):
        raise UnreadableError(_DAMAGED) from None
    by_library = partial(private_found, partial(serialization.load_der_private_key, data), password)
    try:
        found = open_pkcs8(data, password.get())
    except UnsupportedEncryptionError as error:
        try:
            return by_library()  # it has some old ciphers more
        except UnsupportedEncryptionError:
            raise error from None  # which names the algorithm
    return by_library() if found is None else found


def open_pkcs8(data: bytes, secret: bytes) -> FoundKey | None:
    """Return the key in an EncryptedPrivateKeyInfo under PBES2, None under an older scheme; errors as `read_der`."""
    try:
        plain = decrypt_pkcs8(data, secret)
    except (ValueError, IndexError):
        raise UnreadableError(_DAMAGED) from None
    return None if plain is None else read_pkcs8(plain)


def read_pkcs8(data: bytes) -> FoundKey:
    """
    Return the key in a PKCS#8, of version 1 or 2.

    Raises:
        JWKError: If it is malformed, or of a type that JOSE does not define.
        WeakKeyError: If it is weak, or what stands beside it belongs to another key.
    """
    public: asn1.BitString | None = None
    try:
        held = asn1.decode_der(_OneAsymmetricKey, data)
        algorithm, key, public = held.algorithm, held.key, held.public
    except ValueError:
        try:
            early = asn1.decode_der(_EarlyRingKey, data)
        except ValueError:
            raise UnreadableError(_DAMAGED) from None
        algorithm, key, public = early.algorithm, early.key, early.public
    only = _restriction(algorithm)
    _check_primes(key)
    seed = _seed_alone(_name(algorithm), key)
    alone = _OneAsymmetricKey(
        version=0, algorithm=_PLAIN_RSA if only else algorithm, key=seed or key, attributes=None, public=None
    )
    loaded = _load_private(asn1.encode_der(alone))
    if seed is not None:
        _check_expanded(loaded, key)
    if public is not None:
        _check_public(loaded, public.as_bytes())
    return replace(read_jwk(members_of(loaded)), only=only)


def _load_private(data: bytes) -> Any:
    try:
        return serialization.load_der_private_key(data, None)
    except UnsupportedAlgorithm:
        raise JWKError(_UNKNOWN_KIND) from None
    except (ValueError, TypeError):
        raise UnreadableError(_DAMAGED) from None


def _check_public(key: Any, written: bytes) -> None:
    """Refuse a key whose public half, as it stands beside it, is that of another key."""
    spki = key.public_key().public_bytes(serialization.Encoding.DER, serialization.PublicFormat.SubjectPublicKeyInfo)
    own = {read_element(spki).children[1].value[1:]}
    if isinstance(key, ec.EllipticCurvePrivateKey):
        own |= {
            key.public_key().public_bytes(serialization.Encoding.X962, form)
            for form in (serialization.PublicFormat.CompressedPoint, serialization.PublicFormat.UncompressedPoint)
        }
    if written not in own:
        raise WeakKeyError("the private half does not belong to the public half beside it")


def _seed_alone(name: ObjectIdentifier, key: bytes) -> bytes | None:
    """
    Return the seed of an ML-DSA key in its own form, where OpenSSL and Bouncy Castle write the expanded key beside it.

    The cryptography package reads the seed alone. Other keys give None.
    """
    if name not in _ML_DSA:
        return None
    form = key[:1]
    if form == b"\x04":
        raise JWKError("an ML-DSA key without its seed cannot be a JWK")
    if form != b"\x30":
        return None
    seed = load(asn1.decode_der, _Both, key).seed
    return b"\x80" + bytes([len(seed)]) + bytes(seed)


def _check_expanded(key: Any, written: bytes) -> None:
    """Refuse an expanded ML-DSA key that its seed does not expand to."""
    raw = key.public_key().public_bytes_raw()
    expanded = asn1.decode_der(_Both, written).expanded
    # It begins with rho, K and tr (FIPS 204 algorithm 24); tr is a hash of the public key.
    if expanded[:32] != raw[:32] or expanded[64:128] != hashlib.shake_256(raw).digest(64):
        raise WeakKeyError("the seed of the ML-DSA key belongs to another key")


# --- RSASSA-PSS -----------------------------------------------------------------------------------------


def _restriction(algorithm: list[asn1.TLV]) -> tuple[str, ...]:
    """
    Return the algorithms that an AlgorithmIdentifier keeps an RSA key to; nothing if it does not.

    Raises:
        JWKError: If no JOSE algorithm has its parameters.

    Source: RFC 4055 sections 1.2 and 3.1; RFC 7518 section 3.5 for the length of salts.
    """
    if _name(algorithm) != _PSS:
        return ()
    if len(algorithm) < 2 or algorithm[1].tag_bytes != b"\x30":
        return tuple(name for name, _ in _PSS_HASHES.values())
    parameters = load(algorithm[1].parse, _PSSParameters)
    hashed = parameters.hash.name if parameters.hash else None
    masked = parameters.mask.hash.name if parameters.mask else None
    salt = 20 if parameters.salt is None else parameters.salt
    if hashed not in _PSS_HASHES or masked != hashed or salt > _PSS_HASHES[hashed][1]:
        raise JWKError(
            "the key is restricted to RSASSA-PSS with parameters that no JOSE algorithm has",
            hint="PS256, PS384 and PS512: the same hash for MGF1, and a salt as long as the hash",
        )
    return (_PSS_HASHES[hashed][0],)


def _name(algorithm: list[asn1.TLV]) -> ObjectIdentifier:
    if not algorithm:
        raise UnreadableError("the key names no algorithm")
    name: ObjectIdentifier = load(algorithm[0].parse, ObjectIdentifier)
    return name
