"""
Reading vectors: their bytes, the identities of the vector files, and every function that reads a record.

Three readers judge each record: the reader of every command, the audit's own reader, and the code that opens the key. The
vectors contain the expected results; this module only calls the readers.
"""

from __future__ import annotations

import base64
import functools
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import msgspec

from keyvault.core.history import derived_state
from keyvault.core.history.rules import judge_record
from keyvault.core.history.versions import read_record
from keyvault.core.keys import Key, sealed_to
from keyvault.core.strength import check_public_key
from keyvault.crypto.envelope import open_bytes, parse_private
from keyvault.crypto.identities import JWKIdentity
from keyvault.crypto.pairs import check_private_jwk
from keyvault.repo.records import decode_key, encode_key

FOLDER = Path(__file__).parent
FILES = ("json", "records", "keys", "events", "envelopes")

#: Findings of the audit for a readable record; commands check the key where they use it.
JUDGED_LATER = frozenset({"key-weak", "public-profile", "envelope-malformed"})


@functools.cache
def load(name: str) -> dict[str, Any]:
    """Return the vector file *name*."""
    document: dict[str, Any] = json.loads((FOLDER / f"{name}.json").read_bytes())
    return document


def vectors() -> Iterator[tuple[str, dict[str, Any]]]:
    """Yield (file, vector) of every file."""
    for name in FILES:
        for vector in load(name)["vectors"]:
            yield name, vector


def octets(data: Any) -> bytes:
    """
    Return the bytes that *data* of a vector describes.

    It is text, to be taken as UTF-8; ``{"base64": …}``; ``{"repeat": data, "times": …}``; or a list of these.
    """
    if isinstance(data, str):
        return data.encode()
    if isinstance(data, list):
        return b"".join(map(octets, data))
    if "base64" in data:
        return base64.b64decode(data["base64"], validate=True)
    return octets(data["repeat"]) * int(data["times"])


@functools.cache
def identities() -> dict[str, JWKIdentity]:
    """Return the test identities that the envelopes of the vectors are sealed to, by kid."""
    return {jwk["kid"]: JWKIdentity(jwk) for jwk in load("envelopes")["identities"]}


def audit(data: bytes, path: str) -> list[str]:
    """Return the codes that the audit finds in the record *data* alone, each once, in the order of finding."""
    key, problems = read_record(data, path, None)
    codes = [code for code, _ in problems]
    if key is not None:
        derived = derived_state.DerivedState()
        for event in key.events:
            codes += [code for code, _ in derived_state.event_problems(derived, event)]
            derived = derived_state.advance(derived, event)
        codes += [code for code, _ in judge_record(key, derived, created=False)]
    return list(dict.fromkeys(codes))


def use(key: Key) -> bytes | None:
    """
    Use *key* with the test identities: check it, open it, check the private key.

    Returns:
        The plaintext, or None for a record without an envelope.

    Raises:
        KeyVaultError: If the key must not be used, or does not open.
    """
    public = msgspec.to_builtins(key.public)
    check_public_key(public, alg=key.public.alg)
    if isinstance(key.private, msgspec.UnsetType):
        return None
    known = [kid for kid in sealed_to(key) if kid in identities()]
    identity = identities()[known[0] if known else "ops"]
    plain = open_bytes(key.private, kid=key.kid, set_name=key.set, recipient=identity.kid, unwrap=identity.unwrap)
    check_private_jwk(parse_private(plain, key.public), alg=key.public.alg)
    return plain


def read(data: bytes, path: str) -> Key:
    """Return the record in *data*, as every command reads it; an accepted record has one spelling."""
    key = decode_key(data, path=path)
    assert encode_key(key) == data, "a record that is not canonical was accepted"
    return key
