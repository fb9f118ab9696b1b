"""
Separate keys from the certificates around them: a key with its certificate chain is a single key.

The key of a CA never becomes a key of a set, because its holder could then sign tokens. A certificate belongs to a CA
if it says so, or issued another certificate of the file.

Source: RFC 5280 sections 4.2.1.3 and 4.2.1.9 (key usage, basic constraints).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from cryptography import x509
from cryptography.exceptions import InvalidSignature, UnsupportedAlgorithm
from cryptography.hazmat.primitives.asymmetric import ec, ed448, ed25519, padding, rsa

from keyvault.core.key_objects import load_public
from keyvault.core.text import elided
from keyvault.crypto.generate import unsupported_key
from keyvault.crypto.imports.found import Found, FoundCertificate, FoundKey
from keyvault.errors import JWKError, UsageError


def resolve_certificates(found: Sequence[Found]) -> list[FoundKey]:
    """
    Return the keys of a file, in its order.

    If the file has keys, they take the restrictions of their certificates, other certificates are skipped, and so are
    the private keys of CAs. If it has certificates only, each certificate that does not belong to a CA is a key.

    Raises:
        UsageError: If all certificates, or all keys, belong to CAs.
        JWKError: If a certificate, not of a CA, has a key of a type that JOSE does not define.
    """
    keys = [item for item in found if isinstance(item, FoundKey)]
    certificates = _distinct([item for item in found if isinstance(item, FoundCertificate)])
    if not certificates:
        return keys
    if keys:
        return _apply_certificates(keys, certificates)
    issuers = [_is_issuer(item, certificates) for item in certificates]
    leaves = [item for item, issues in zip(certificates, issuers, strict=True) if not issues]
    if not leaves:
        raise UsageError(
            f"the file has only CA certificates ({_subject(certificates[0])}); keys of CAs must not sign tokens",
            code="key-of-ca",
            hint="use the signer's certificate; if this is it, extract its key: openssl x509 -noout -pubkey -in FILE",
        )
    return [_key_of(item) for item in leaves]


def _distinct(certificates: Sequence[FoundCertificate]) -> list[FoundCertificate]:
    return list({item.certificate: item for item in certificates}.values())


def _key_of(item: FoundCertificate) -> FoundKey:
    if item.key is None:
        error = unsupported_key()
        raise JWKError(f"{_subject(item)}: {error.message}", code=error.code)
    return item.key


def _apply_certificates(keys: list[FoundKey], certificates: list[FoundCertificate]) -> list[FoundKey]:
    """Return *keys* without those of CAs, as their certificates restrict them, with remarks on skipped items."""
    certificate_of = {frozenset(item.key.public.items()): item for item in certificates if item.key}
    publics = [frozenset(key.public.items()) for key in keys]
    restricted, chain, ca_certificates, ca_keys = [], [], [], []
    for key in keys:
        own = certificate_of.get(frozenset(key.public.items()))
        if own is not None:
            if _is_ca_key(
                own, certificates, [certificate_of[public] for public in publics if public in certificate_of]
            ):
                ca_keys.append(f"of the CA {_subject(own)}")
                ca_certificates.append(own)
                continue
            chain.append(own)
            assert own.key is not None
            key = replace(key, restricted_to=key.restricted_to or own.key.restricted_to)
        elif issued := next((item for item in certificates if _signed(key, item.certificate)), None):
            ca_keys.append(f"that issued the certificate of {_subject(issued)}")
            continue
        restricted.append(key)
    if not restricted:
        raise UsageError(
            f"the file has only the key {ca_keys[0]}, which signs certificates and not tokens",
            code="key-of-ca",
            hint="use the file with the signer's key",
        )
    rest = [item for item in certificates if item not in chain and item not in ca_certificates]
    while issuers := [item for item in rest if any(_issued(item, below) for below in chain)]:
        chain += issuers
        rest = [item for item in rest if item not in issuers]
    remarks = tuple(
        f"skipped: the certificate of {_subject(item)} is not in the chain of a key here (if needed, import it alone)"
        for item in rest
    ) + tuple(f"skipped: the key {which} signs certificates and not tokens" for which in ca_keys)
    restricted[0] = replace(restricted[0], remarks=(*restricted[0].remarks, *remarks))
    return restricted


def _is_ca_key(item: FoundCertificate, among: Sequence[FoundCertificate], owned: Sequence[FoundCertificate]) -> bool:
    """
    Return whether the private key of *item* belongs to a CA.

    `openssl req -x509` marks every self-signed certificate as a CA's, a signer's too. So the mark of a self-signed
    certificate proves nothing if all certificates of keys in the file have it.

    Args:
        item: The certificate of the key.
        among: All certificates.
        owned: The certificates whose keys are in the file.
    """
    certificate = item.certificate
    if any(_issued(item, other) for other in among if other.certificate != certificate):
        return True
    mark_proves_nothing = certificate.issuer == certificate.subject and all(
        _is_ca(other.certificate) for other in owned
    )
    return _is_ca(certificate) and not mark_proves_nothing


def _is_issuer(item: FoundCertificate, among: Sequence[FoundCertificate]) -> bool:
    return _is_ca(item.certificate) or any(_issued(item, other) for other in among if other is not item)


def _is_ca(certificate: x509.Certificate) -> bool:
    try:
        extensions = certificate.extensions
    except (ValueError, x509.DuplicateExtension, x509.UnsupportedGeneralNameType):
        raise JWKError("the certificate has malformed extensions", code="certificate-malformed") from None
    for extension in extensions:
        value = extension.value
        if isinstance(value, x509.BasicConstraints) and value.ca:
            return True
        if isinstance(value, x509.KeyUsage) and value.key_cert_sign:
            return True
    return False


def _issued(issuer: FoundCertificate, item: FoundCertificate) -> bool:
    """Return whether *issuer* issued *item*; if the signature algorithm is not supported, the names decide."""
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
    """Return whether *key* signed *certificate*, which belongs to another key."""
    if key.members["kty"] not in ("RSA", "EC", "OKP"):
        return False
    public = load_public(key.public)
    signature, signed = certificate.signature, certificate.tbs_certificate_bytes
    parameters = certificate.signature_algorithm_parameters
    try:
        match public, parameters:
            case rsa.RSAPublicKey(), padding.PSS() | padding.PKCS1v15():
                algorithm = certificate.signature_hash_algorithm
                assert algorithm is not None
                public.verify(signature, signed, parameters, algorithm)
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
