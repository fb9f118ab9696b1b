"""
Read keys as other programs store them: JWK, JWK Set, PEM, DER, PKCS#12, certificates, realms, Secrets.

Says what a file holds. Every private key that leaves here has halves that belong together and passed the checks of
`pairs`; every public one those of ``core/strength``. What a library says about a broken key is never passed on, since
it may quote the key. `texts` takes layers off, `pem`, `der`, `pkcs12`, `jwk` and `keycloak` read a container each,
`encrypted` opens, and `chains` tells keys from the certificates around them.

Sources: RFC 7517 (JWK, and section 7 for encrypted ones), and those that each module names.
"""

from __future__ import annotations

import warnings
from dataclasses import replace

from keyvault.crypto.imports.found import P2C_MAX, AskPassword, Found, FoundKey, Password
from keyvault.crypto.imports.jwk import holds_private, read_jwk
from keyvault.crypto.imports.texts import read_layers
from keyvault.errors import UsageError

FILE_MAX = 1024 * 1024
KEYS_MAX = 64

__all__ = [
    "FILE_MAX",
    "KEYS_MAX",
    "P2C_MAX",
    "AskPassword",
    "FoundKey",
    "distinct_keys",
    "holds_private",
    "read_jwk",
    "read_keys",
]


def read_keys(data: bytes, ask: AskPassword = lambda: None) -> list[FoundKey]:
    """
    Return the keys that *data* holds, in its order; a public key beside its private half is not said twice.

    Args:
        data: A whole file.
        ask: Where the password of what is encrypted comes from.

    Raises:
        UsageError: If it holds no key, is too large, or the password is missing or wrong.
        JWKError: If a key is malformed.
        WeakKeyError: If a key is weak, or its halves do not belong together.
    """
    if len(data) > FILE_MAX:
        raise UsageError(f"more than {FILE_MAX // 1024 // 1024} MiB is no file of keys")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # old curves and ciphers: what is not taken is said below
        found = _keys_of(list(read_layers(data, Password(ask))))
    if not found:
        raise UsageError("there is no key in it")
    distinct = distinct_keys(found)
    if len(distinct) > KEYS_MAX:
        raise UsageError(f"{len(distinct)} keys are too many: at most {KEYS_MAX} at once")
    return distinct


def _keys_of(found: list[Found]) -> list[FoundKey]:
    keys = [item for item in found if isinstance(item, FoundKey)]
    if len(keys) == len(found):
        return keys
    from keyvault.crypto.imports.chains import keys_of

    return keys_of(found)


def distinct_keys(found: list[FoundKey]) -> list[FoundKey]:
    """
    Return each key of one or several files once, with what the others of its kind say of it.

    A public key beside its private half goes, whatever it is called; of two equal keys, the one without a kid.
    """
    halves = {frozenset(key.public.items()) for key in found if key.private}
    named = {frozenset(key.members.items()) for key in found if key.kid is not None}
    kept: list[FoundKey] = []
    bare = set()
    for key in found:
        whole = frozenset(key.members.items())
        if not key.private and frozenset(key.public.items()) in halves:
            continue
        if key.kid is None and (whole in named or whole in bare):
            continue
        if key.kid is None:
            bare.add(whole)
        kept.append(key)
    return [_restricted(key, found) for key in kept]


def _restricted(key: FoundKey, found: list[FoundKey]) -> FoundKey:
    """Return *key* with the restriction that its other half has in the file."""
    if key.only:
        return key
    only = next((other.only for other in found if other.only and other.public == key.public), ())
    return replace(key, only=only)
