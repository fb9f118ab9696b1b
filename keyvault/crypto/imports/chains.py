"""
Tell keys from the certificates around them: a chain is one key with its chain.

The certificate of a private key, or the first one, is the key. A certificate that issued another one of the file, or
says that it is a CA's, is never a key of a set: whoever holds that key could sign tokens.

Source: RFC 5280 sections 4.2.1.3 and 4.2.1.9 (key usage, basic constraints).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from cryptography import x509
from cryptography.exceptions import InvalidSignature, UnsupportedAlgorithm
from cryptography.hazmat.primitives.asymmetric import ec, ed448, ed25519, padding, rsa

from keyvault.core.pem import load_public
from keyvault.core.text import elided
from keyvault.crypto.imports.found import Found, FoundCertificate, FoundKey
from keyvault.errors import JWKError, UsageError


def keys_of(found: Sequence[Found]) -> list[FoundKey]:
    """
    Return the keys of a file, in its order.

    A certificate of a key that is there adds the restriction that it has. Beside a key all other certificates are
    passed over; without one, each certificate that is no CA's and issued none of the others is a key. The private key
    of a CA is passed over, too.

    Raises:
        UsageError: If there are certificates, or keys, of CAs alone.
        JWKError: If the certificate of no CA has a key of a type that JOSE does not define.
    """
    keys = [item for item in found if isinstance(item, FoundKey)]
    certificates = _distinct([item for item in found if isinstance(item, FoundCertificate)])
    if not certificates:
        return keys
    if keys:
        return _beside(keys, certificates)
    issuers = [_is_issuer(item, certificates) for item in certificates]
    leaves = [item for item, issues in zip(certificates, issuers, strict=True) if not issues]
    if not leaves:
        raise UsageError(
            f"it holds certificates of CAs alone ({_subject(certificates[0])}): the key of a CA signs no tokens",
            hint="name the signer's certificate; if this is it, take its key out: openssl x509 -noout -pubkey -in FILE",
        )
    return [_key_of(item) for item in leaves]


def _distinct(certificates: Sequence[FoundCertificate]) -> list[FoundCertificate]:
    return list({item.certificate: item for item in certificates}.values())


def _key_of(item: FoundCertificate) -> FoundKey:
    if item.key is None:
        raise JWKError(f"{_subject(item)}: unsupported key type or curve: JOSE does not define it")
    return item.key


def _beside(keys: list[FoundKey], certificates: list[FoundCertificate]) -> list[FoundKey]:
    """Return *keys* as their certificates restrict them, with remarks on those in nobody's chain."""
    own = {frozenset(item.key.public.items()): item for item in certificates if item.key}
    held = [frozenset(key.public.items()) for key in keys]
    restricted, chain, passed, authorities = [], [], [], []
    for key in keys:
        mine = own.get(frozenset(key.public.items()))
        if mine is not None:
            if _is_authority(mine, certificates, [own[public] for public in held if public in own]):
                authorities.append(f"of the CA {_subject(mine)}")
                passed.append(mine)
                continue
            chain.append(mine)
            assert mine.key is not None
            key = replace(key, only=key.only or mine.key.only)
        elif issued := next((item for item in certificates if _signed(key, item.certificate)), None):
            authorities.append(f"that issued the certificate of {_subject(issued)}")
            continue
        restricted.append(key)
    if not restricted:
        raise UsageError(
            f"it holds the key {authorities[0]}, which signs certificates and no tokens",
            hint="name the file of the signer's key",
        )
    rest = [item for item in certificates if item not in chain and item not in passed]
    while issuers := [item for item in rest if any(_issued(item, below) for below in chain)]:
        chain += issuers
        rest = [item for item in rest if item not in issuers]
    remarks = tuple(
        f"skipped: the certificate of {_subject(item)} is in the chain of no key here (import it alone if needed)"
        for item in rest
    ) + tuple(f"skipped: the key {which} signs certificates and no tokens" for which in authorities)
    restricted[0] = replace(restricted[0], remarks=(*restricted[0].remarks, *remarks))
    return restricted


def _is_authority(item: FoundCertificate, among: Sequence[FoundCertificate], owned: Sequence[FoundCertificate]) -> bool:
    """
    Return whether the private key beside *item* is that of a CA.

    `openssl req -x509` calls each self-signed certificate that of a CA, also that of a signer: alone, it says nothing.

    Args:
        item: The certificate of the key.
        among: All certificates.
        owned: The certificates of the keys that are there.
    """
    certificate = item.certificate
    if any(_issued(item, other) for other in among if other.certificate != certificate):
        return True
    is_alone = certificate.issuer == certificate.subject and all(_is_ca(other.certificate) for other in owned)
    return _is_ca(certificate) and not is_alone


def _is_issuer(item: FoundCertificate, among: Sequence[FoundCertificate]) -> bool:
    return _is_ca(item.certificate) or any(_issued(item, other) for other in among if other is not item)


def _is_ca(certificate: x509.Certificate) -> bool:
    try:
        extensions = certificate.extensions
    except (ValueError, x509.DuplicateExtension, x509.UnsupportedGeneralNameType):
        raise JWKError("the certificate has malformed extensions") from None
    for extension in extensions:
        value = extension.value
        if isinstance(value, x509.BasicConstraints) and value.ca:
            return True
        if isinstance(value, x509.KeyUsage) and value.key_cert_sign:
            return True
    return False


def _issued(issuer: FoundCertificate, item: FoundCertificate) -> bool:
    """Return whether *issuer* issued *item*; by their names alone if the signature cannot be verified here."""
    if item is issuer or item.certificate.issuer != issuer.certificate.subject:
        return False
    try:
        item.certificate.verify_directly_issued_by(issuer.certificate)
    except (InvalidSignature, ValueError):
        return False
    except (TypeError, UnsupportedAlgorithm):
        return True
    return True


def _signed(key: FoundKey, certificate: x509.Certificate) -> bool:
    """Return whether *key* signed the *certificate* of another key."""
    if key.members["kty"] not in ("RSA", "EC", "OKP"):
        return False
    public = load_public(key.public)
    signature, signed = certificate.signature, certificate.tbs_certificate_bytes
    parameters = certificate.signature_algorithm_parameters
    try:
        match public, parameters:
            case rsa.RSAPublicKey(), padding.PSS() | padding.PKCS1v15():
                hashed = certificate.signature_hash_algorithm
                assert hashed is not None
                public.verify(signature, signed, parameters, hashed)
            case ec.EllipticCurvePublicKey(), ec.ECDSA():
                public.verify(signature, signed, parameters)
            case ((ed25519.Ed25519PublicKey() | ed448.Ed448PublicKey()), None):
                public.verify(signature, signed)
            case _:
                return False
    except (InvalidSignature, UnsupportedAlgorithm, ValueError):
        return False
    return certificate.issuer != certificate.subject


def _subject(item: FoundCertificate) -> str:
    return elided(item.certificate.subject.rfc4514_string())[:120] or "no subject"
