"""
Read PKCS#12 files, as OpenSSL, Java, Windows and NSS write them.

The library checks the password and opens the certificates. The keys are counted and read bag by bag, since the library
gives one alone, and says nothing of a secret.

Source: RFC 7292.
"""

from __future__ import annotations

import contextlib
from dataclasses import replace
from typing import Any

from cryptography.exceptions import UnsupportedAlgorithm

from keyvault.core.ber import KEY_BAG, SECRET_BAG, SHROUDED_BAG, unencrypted_bags
from keyvault.core.jwk import check_kid, thumbprint
from keyvault.core.pem import spki_kid
from keyvault.crypto.generate import members_of
from keyvault.crypto.imports.der import open_pkcs8, read_certificate, read_pkcs8
from keyvault.crypto.imports.encrypted import check_rounds
from keyvault.crypto.imports.found import (
    WRONG_PASSWORD,
    Found,
    FoundCertificate,
    FoundKey,
    Password,
    UnreadableError,
    UnsupportedEncryptionError,
)
from keyvault.crypto.imports.jwk import read_jwk
from keyvault.errors import JWKError, UsageError

_SECRET = "the keystore holds a secret key, which no tool but Java reads"  # noqa: S105 - a sentence
_SECRET_REMEDY = (
    'print it in Java (KeyStore.getKey(ALIAS, PASSWORD).getEncoded()); import {"kty": "oct", "k": BASE64URL}'  # noqa: S105 - a hint
)


def read_pkcs12(data: bytes, password: Password) -> list[Found]:
    """
    Return the keys and certificates of a PKCS#12 file; the kid of a key is the name that its certificate has there.

    Raises:
        UsageError: If the password is missing or wrong, it holds a secret alone, or its encryption is not supported.
        JWKError: If it is malformed, or a key is of a type that JOSE does not define.
    """
    try:
        check_rounds(data)
        held = unencrypted_bags(data)
    except (ValueError, IndexError):
        raise UnreadableError("the PKCS#12 file is damaged") from None
    store, secret = _open(data, password)
    sealed = [(kind, value) for kind, value in held if kind in (KEY_BAG, SHROUDED_BAG)]
    keys = _keys(store, sealed, secret)
    named = [one for one in (store.cert, *store.additional_certs) if one is not None]
    certificates = [_certificate(one) for one in named]
    names = {
        frozenset(found.key.public.items()): one for found, one in zip(certificates, named, strict=True) if found.key
    }
    keys = [_named(key, names.get(frozenset(key.public.items()))) for key in keys]
    if any(kind == SECRET_BAG for kind, _ in held):
        if not keys:
            raise UsageError(_SECRET, hint=_SECRET_REMEDY)
        keys[0] = replace(keys[0], remarks=(*keys[0].remarks, f"skipped: {_SECRET}"))
    return [*keys, *certificates]


def _open(data: bytes, password: Password) -> tuple[Any, bytes]:
    """Return the store, and the password that opens it; none, which is an empty one too, is tried first."""
    from cryptography.hazmat.primitives.serialization import pkcs12

    for ask in (lambda: None, password.get):
        secret = ask()
        try:
            return pkcs12.load_pkcs12(data, secret), secret or b""
        except UnsupportedAlgorithm:
            raise JWKError("the PKCS#12 file holds a key or uses encryption that is not supported") from None
        except (ValueError, TypeError):
            continue
    raise UsageError(WRONG_PASSWORD)


def _keys(store: Any, sealed: list[tuple[int, bytes]], secret: bytes) -> list[FoundKey]:
    """Return the keys in bags; one that only the library opens is the one that it gives."""
    found: list[FoundKey] = []
    for kind, value in sealed:
        with contextlib.suppress(UnsupportedEncryptionError):  # the library has more ciphers for the one that it gives
            key = read_pkcs8(value) if kind == KEY_BAG else open_pkcs8(value, secret)
            found += [key] if key is not None else []
    if store.key is not None and len(found) < max(len(sealed), 1):
        own = read_jwk(members_of(store.key))
        found += [own] if own.members not in [key.members for key in found] else []
    if len(found) < len(sealed):
        raise UsageError(
            f"the PKCS#12 file holds {len(sealed)} keys, of which {len(found)} can be read",
            hint="keytool -importkeystore -srcalias NAME makes a file of one",
        )
    return found


def _certificate(held: Any) -> FoundCertificate:
    from cryptography.hazmat.primitives.serialization import Encoding

    return read_certificate(held.certificate.public_bytes(Encoding.DER))


def _named(key: FoundKey, certificate: Any) -> FoundKey:
    """
    Return *key* with the name that it has in the file, if that can be a kid.

    Java writes names in lower case: a thumbprint, or Keycloak's kid, of the very key is restored.
    """
    name = certificate.friendly_name if certificate is not None else None
    try:
        kid = check_kid(name.decode()) if name else None
    except (JWKError, UnicodeDecodeError):
        return key
    if kid is None:
        return key
    for own in (thumbprint(key.members), spki_kid(key.public)):
        if kid != own and kid.lower() == own.lower():
            return replace(key, kid=own, remarks=(*key.remarks, f"kid {own} was in lower case in the file: restored"))
    return replace(key, kid=kid)
