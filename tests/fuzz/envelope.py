"""
Envelopes, which give exactly the sealed bytes or an error, and encrypted identities, which share their header format.
"""

from __future__ import annotations

import functools
import json
from random import Random

import msgspec

from keyvault.core.envelope_form import Protected, check_envelope
from keyvault.core.jwk import b64u, b64u_decode
from keyvault.core.keys import Envelope, Key
from keyvault.crypto.envelope import open_bytes
from keyvault.crypto.identity_file import identity_documents
from keyvault.errors import EnvelopeError, JWKError
from tests.fuzz import check_message
from tests.fuzz.mutation import as_record, mutated_json
from tests.vectors.reading import identities, load, octets, read, use

SEALED = ("protected", "iv", "ciphertext", "tag")


@functools.cache
def sealed() -> tuple[Key, bytes]:
    """Return the record of the vectors whose envelope opens, and its plaintext."""
    vector = next(candidate for candidate in load("envelopes")["vectors"] if candidate["name"] == "P-256")
    key = read(octets(vector["data"]), vector["path"])
    return key, use(key) or b""


def check(data: bytes) -> None:
    """Read *data* as the envelope of the vectors' key, and as an encrypted identity."""
    try:
        identity_documents(data)
    except JWKError as error:
        check_message(error.message)
    try:
        envelope = msgspec.json.decode(data, type=Envelope)
    except (msgspec.MsgspecError, RecursionError, UnicodeDecodeError):
        return
    key, plain = sealed()
    try:
        kids = check_envelope(envelope, kid=key.kid, set_name=key.set)
    except EnvelopeError as error:
        check_message(error.message)
        kids = []
    else:
        _check_canonical(envelope)
    for identity in identities().values():
        try:
            opened = open_bytes(envelope, kid=key.kid, set_name=key.set, recipient=identity.kid, unwrap=identity.unwrap)
        except EnvelopeError as error:
            check_message(error.message)
        else:
            assert identity.kid in kids
            assert opened == plain, "an envelope opened to something that was never sealed"


def _check_canonical(envelope: Envelope) -> None:
    header = b64u_decode(envelope.protected, what="protected")
    assert msgspec.json.encode(msgspec.json.decode(header, type=Protected)) == header
    for name in SEALED:
        assert b64u(b64u_decode(getattr(envelope, name), what=name)) == getattr(envelope, name)
    kids = [entry.header.kid for entry in envelope.recipients]
    assert kids == sorted(set(kids))
    assert len(kids) in range(1, 33)


def mutate(data: bytes, rng: Random) -> bytes:
    if rng.randrange(3):
        return mutated_json(data, rng, as_record)
    return _with_header(data, rng)


def _with_header(data: bytes, rng: Random) -> bytes:
    """Return the envelope *data* with its protected header changed."""
    try:
        envelope = json.loads(data)
        header = b64u_decode(envelope["protected"], what="protected")
        changed = mutated_json(header, rng, lambda value: json.dumps(value, separators=(",", ":")).encode())
        return as_record({**envelope, "protected": b64u(changed)})
    except (ValueError, KeyError, TypeError, JWKError, RecursionError):
        return mutated_json(data, rng, as_record)
