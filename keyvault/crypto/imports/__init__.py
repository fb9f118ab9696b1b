"""
Read keys as other programs store them: JWK, JWK Set, PEM, DER, PKCS#12, certificates, realms, Secrets.

Does not choose among the keys of a file. Every private key passes the checks of `pairs`, so its halves belong together;
every public key passes those of ``core/strength``. A library's message about a broken key may quote the key, so it is
dropped. `texts` unwraps the layers around keys; `pem`, `der`, `pkcs12`, `jwk` and `keycloak` read a container each;
`encrypted` decrypts; `chains` separates keys from the certificates around them.

Sources: RFC 7517 (JWK, and section 7 for encrypted JWKs), and the sources of each module.
"""

from __future__ import annotations

import warnings
from dataclasses import replace

from keyvault.crypto.imports.found import AskPassword, Found, FoundKey, Password
from keyvault.crypto.imports.jwk import holds_private, read_jwk
from keyvault.crypto.imports.texts import read_layers
from keyvault.errors import UsageError

FILE_MAX = 1024 * 1024
KEYS_MAX = 64

__all__ = [
    "FILE_MAX",
    "KEYS_MAX",
    "AskPassword",
    "FoundKey",
    "distinct_keys",
    "holds_private",
    "read_jwk",
    "read_keys",
]


def read_keys(data: bytes, ask: AskPassword = lambda: None) -> list[FoundKey]:
    """
    Return the keys in *data*, in its order, without the copies that `distinct_keys` drops.

    Args:
        data: A whole file.
        ask: Returns the password of encrypted keys, or None.

    Raises:
        UsageError: If *data* has no key or is too large, or the password is missing or wrong.
        JWKError: If a key is malformed.
        WeakKeyError: If a key is weak, or its halves do not belong together.
    """
    if len(data) > FILE_MAX:
        raise UsageError(f"the file is larger than {FILE_MAX // 1024 // 1024} MiB", code="file-too-large")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # about old curves and ciphers: unsupported ones raise errors below
        found = _keys_of(list(read_layers(data, Password(ask))))
    if not found:
        raise UsageError("the file has no key", code="key-not-found")
    distinct = distinct_keys(found)
    if len(distinct) > KEYS_MAX:
        raise UsageError(f"the file has {len(distinct)} keys; the limit is {KEYS_MAX}", code="keys-too-many")
    return distinct


def _keys_of(found: list[Found]) -> list[FoundKey]:
    keys = [item for item in found if isinstance(item, FoundKey)]
    if len(keys) == len(found):
        return keys
    from keyvault.crypto.imports.chains import resolve_certificates

    return resolve_certificates(found)


def distinct_keys(found: list[FoundKey]) -> list[FoundKey]:
    """
    Return the keys of one or several files without redundant copies, with the restriction that any copy has.

    A public key is redundant if its private half is there, whatever its kid. A key without a kid is redundant if an
    equal key is there. All other keys with kids are kept, even if they are equal.
    """
    halves = {frozenset(key.public.items()) for key in found if key.private}
    named = {frozenset(key.members.items()) for key in found if key.kid is not None}
    kept: list[FoundKey] = []
    bare = set()
    for key in found:
        members = frozenset(key.members.items())
        if not key.private and frozenset(key.public.items()) in halves:
            continue
        if key.kid is None and (members in named or members in bare):
            continue
        if key.kid is None:
            bare.add(members)
        kept.append(key)
    return [_restricted(key, found) for key in kept]


def _restricted(key: FoundKey, found: list[FoundKey]) -> FoundKey:
    """Return *key* with its own restriction, or else that of any of its copies: keys with the same public half."""
    if key.restricted_to:
        return key
    copies = (other.restricted_to for other in found if other.restricted_to and other.public == key.public)
    return replace(key, restricted_to=next(copies, ()))
