"""
One version of a file by itself: its form, its profile, its strength, its envelope.

The content of a version is judged even if its form is wrong; a version that cannot be read is None.

Source: docs/format.md.
"""

from __future__ import annotations

from collections.abc import Iterator
from datetime import datetime, timedelta

import msgspec

from keyvault.core.algorithms import ALGORITHMS
from keyvault.core.compact import intern_strings, summarize_envelope
from keyvault.core.envelope_form import check_envelope
from keyvault.core.jwk import PublicJWK, check_kid, pretty, public_jwk
from keyvault.core.key_objects import spki_kid
from keyvault.core.keys import Key
from keyvault.core.policy import check_set_name
from keyvault.core.strength import check_public_key
from keyvault.core.text import INSTANT_END, elided
from keyvault.errors import ConfigError, EnvelopeError, JWKError, WeakKeyError

RECORD_MAX = 256 * 1024

_NO_OFFSET = timedelta(0)

_decoder = msgspec.json.Decoder(Key)

#: The (code, message) of a problem.
Problem = tuple[str, str]


def read_record(data: bytes, path: str, previous: Key | None) -> tuple[Key | None, list[Problem]]:
    """
    Return the key record in *data*, or None if it cannot be read, with its problems.

    The key keeps only `summarize_envelope` of its envelope: the rules only compare envelopes and read their recipients.

    Args:
        data: The file.
        path: Its path in the vault.
        previous: The version before it, or None; unchanged parts are not judged again.
    """
    if len(data) > RECORD_MAX:
        return None, [("record-too-large", f"the record has {len(data)} bytes; the limit is {RECORD_MAX}")]
    try:
        key = _decoder.decode(data)
        canonical = pretty(key)
    except (msgspec.MsgspecError, RecursionError, UnicodeError, ValueError, OverflowError) as error:
        return None, [("record-malformed", f"not a key record: {elided(str(error))[:200]}")]
    if key.format != 1:
        return None, [("record-malformed", f"record format {key.format} is not supported (supported: 1)")]
    # The rules compare instants and add durations to them.
    if any(instant.utcoffset() != _NO_OFFSET or instant >= INSTANT_END for instant in _instants(key)):
        return None, [("event-malformed", f"an instant is not in UTC, or not before the year {INSTANT_END.year}")]
    if previous is None:  # later versions share the strings of the version before
        intern_strings(key)
    found: list[Problem] = []
    if not key.events:
        found.append(("event-malformed", "the record has no events"))
    if canonical != data:
        found.append(("record-not-canonical", "the file is not in its canonical form"))
    if key.path != path:
        found.append(("record-misplaced", f"the record belongs at {elided(key.path)[:250]}"))
    if previous is None or key.set != previous.set:
        found += _set_problems(key)
    if previous is None or key.public != previous.public:
        found += _public_problems(key)
    seal = summarize_envelope(key.private)
    changed = previous is None or seal != summarize_envelope(previous.private)
    if changed and not isinstance(key.private, msgspec.UnsetType):
        try:
            check_envelope(key.private, kid=key.kid, set_name=key.set)
        except EnvelopeError as error:
            found.append(("envelope-malformed", error.message))
    msgspec.structs.force_setattr(key, "private", seal)
    return key, found


def _set_problems(key: Key) -> Iterator[Problem]:
    try:
        check_set_name(key.set)
    except ConfigError as error:
        yield "record-malformed", error.message


def _instants(key: Key) -> Iterator[datetime]:
    for event in key.events:
        yield event.at
        if event.keep_until is not None:
            yield event.keep_until


def _public_problems(key: Key) -> Iterator[Problem]:
    public = key.public
    try:
        check_kid(public.kid)
        if public.kty == "oct":
            yield from _symmetric_problems(public)
            return
        members = msgspec.to_builtins(public)
        if public_jwk(members, kid=public.kid, alg=public.alg) != public:
            yield "public-profile", "the public key has members that are not in the published profile"
            return
        check_public_key(members, alg=public.alg)
        imported = bool(key.events) and key.events[0].imported
        if not imported and public.kid != public.thumbprint and public.kid != spki_kid(members):
            yield "kid-mismatch", "the kid is not a hash of the public key"
    except WeakKeyError as error:
        yield "key-weak", error.message
    except JWKError as error:
        yield "public-profile", error.message


def _symmetric_problems(public: PublicJWK) -> Iterator[Problem]:
    algorithm = ALGORITHMS.get(public.alg)
    plain = PublicJWK(kty="oct", kid=public.kid, use=public.use, alg=public.alg)
    if algorithm is None or algorithm.kty != "oct" or public.use != algorithm.use or public != plain:
        yield "public-profile", "a symmetric key may only have kty, kid, use and alg"
