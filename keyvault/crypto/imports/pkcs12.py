"""
Read PKCS#12 files of OpenSSL, Java, Windows and NSS.

The library checks the password and decrypts the certificates. Keys are read bag by bag, because the library returns
only one of them, and ignores secret keys.

Source: RFC 7292.
"""

from __future__ import annotations

import contextlib
from dataclasses import replace
from typing import Any

from cryptography.exceptions import UnsupportedAlgorithm

from keyvault.core.ber import KEY_BAG, SECRET_BAG, SHROUDED_BAG, bags_outside_encryption
from keyvault.core.jwk import check_kid, thumbprint
from keyvault.core.key_objects import spki_kid
from keyvault.crypto.generate import private_members
from keyvault.crypto.imports.der import open_pkcs8, read_certificate, read_pkcs8
from keyvault.crypto.imports.encrypted import check_iterations
from keyvault.crypto.imports.found import (
    Found,
    FoundCertificate,
    FoundKey,
    Password,
    UnreadableError,
    UnsupportedEncryptionError,
    wrong_password,
)
from keyvault.crypto.imports.jwk import read_jwk
from keyvault.errors import JWKError, UsageError

_SECRET_SKIPPED = "skipped: a secret key in the keystore, which only Java reads"  # noqa: S105 - a sentence


def read_pkcs12(data: bytes, password: Password) -> list[Found]:
    """
    Return the keys and certificates of a PKCS#12 file; the friendly name of its certificate is the kid of a key.

    Raises:
        UsageError: If the password is missing or wrong, the file has only a secret key, or not all keys can be read.
        JWKError: If the file is malformed, or a key or the encryption is not supported.
    """
    try:
        check_iterations(data)
        all_bags = bags_outside_encryption(data)
    except (ValueError, IndexError):
        raise UnreadableError("the PKCS#12 file is damaged", code="key-damaged") from None
    store, secret = _open(data, password)
    key_bags = [(kind, value) for kind, value in all_bags if kind in (KEY_BAG, SHROUDED_BAG)]
    keys = _keys(store, key_bags, secret)
    stored = [certificate for certificate in (store.cert, *store.additional_certs) if certificate is not None]
    certificates = [_certificate(certificate) for certificate in stored]
    by_key = {
        frozenset(found.key.public.items()): certificate
        for found, certificate in zip(certificates, stored, strict=True)
        if found.key
    }
    keys = [_with_friendly_name(key, by_key.get(frozenset(key.public.items()))) for key in keys]
    if any(kind == SECRET_BAG for kind, _ in all_bags):
        if not keys:
            raise UsageError(
                "secret keys in PKCS#12 keystores are not supported: only Java reads them",
                code="format-unsupported",
                hint="print it in Java with KeyStore.getKey(ALIAS, PASSWORD).getEncoded(), "
                'and import {"kty": "oct", "k": BASE64URL}',
            )
        keys[0] = replace(keys[0], remarks=(*keys[0].remarks, _SECRET_SKIPPED))
    return [*keys, *certificates]


def _open(data: bytes, password: Password) -> tuple[Any, bytes]:
    """Return the store and its password; no password, which equals an empty one, is tried first."""
    from cryptography.hazmat.primitives.serialization import pkcs12

    for ask in (lambda: None, password.get):
        secret = ask()
        try:
            return pkcs12.load_pkcs12(data, secret), secret or b""
        except UnsupportedAlgorithm:
            raise JWKError(
                "the PKCS#12 file has a key or an encryption that is not supported", code="encryption-unsupported"
            ) from None
        except (ValueError, TypeError):
            continue
    raise wrong_password()


def _keys(store: Any, key_bags: list[tuple[int, bytes]], secret: bytes) -> list[FoundKey]:
    """Return the keys in *key_bags*, and the library's key if only the library can decrypt it."""
    found: list[FoundKey] = []
    for kind, value in key_bags:
        with contextlib.suppress(UnsupportedEncryptionError):  # the library supports more ciphers, for its only key
            key = read_pkcs8(value) if kind == KEY_BAG else open_pkcs8(value, secret)
            found += [key] if key is not None else []
    if store.key is not None and len(found) < max(len(key_bags), 1):
        library_key = read_jwk(private_members(store.key))
        found += [library_key] if library_key.members not in [key.members for key in found] else []
    if len(found) < len(key_bags):
        raise UsageError(
            f"the PKCS#12 file has {len(key_bags)} keys, of which only {len(found)} can be read",
            code="encryption-unsupported",
            hint="keytool -importkeystore -srcalias NAME writes a file with a single key",
        )
    return found


def _certificate(stored: Any) -> FoundCertificate:
    from cryptography.hazmat.primitives.serialization import Encoding

    return read_certificate(stored.certificate.public_bytes(Encoding.DER))


def _with_friendly_name(key: FoundKey, certificate: Any) -> FoundKey:
    """
    Return *key* with its friendly name as its kid, if that is a valid kid.

    Java writes names in lower case. If the name is the key's thumbprint or its kid in Keycloak, its case is restored.
    """
    name = certificate.friendly_name if certificate is not None else None
    try:
        kid = check_kid(name.decode()) if name else None
    except (JWKError, UnicodeDecodeError):
        return key
    if kid is None:
        return key
    for original in (thumbprint(key.members), spki_kid(key.public)):
        if kid != original and kid.lower() == original.lower():
            remark = f"restored the case of kid {original}: the file has it in lower case"
            return replace(key, kid=original, remarks=(*key.remarks, remark))
    return replace(key, kid=kid)
