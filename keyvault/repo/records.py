"""
Encode records as canonical bytes, and decode them.

`decode_key` refuses a file that does not re-encode to its own bytes. This one comparison catches another order of
members, blanks, duplicate members, and other spellings of a number or an instant. Does not read files.

Source: docs/format.md.
"""

from __future__ import annotations

from collections.abc import Mapping

import msgspec
from msgspec import UnsetType

from keyvault.core.algorithms import ALGORITHMS
from keyvault.core.compact import intern_strings
from keyvault.core.jwk import PublicJWK, check_kid, pretty, public_jwk
from keyvault.core.keys import EnvelopeSummary, Key, Recipient
from keyvault.core.policy import check_set_name
from keyvault.core.text import elided, printable, quoted
from keyvault.errors import JWKError, KeyVaultError, RecordError

RECORD_MAX = 256 * 1024

#: How files begin that git, or a tool beside it, writes in place of a record.
_NOT_RECORDS = (
    (b"version https://git-lfs", "a Git LFS pointer"),
    (b"<<<<<<< ", "a merge conflict"),
    (b"\xef\xbb\xbf", "text with a byte order mark"),
)

_records = msgspec.json.Decoder(Key)


class _RecipientList(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    keys: list[Recipient]


_recipients = msgspec.json.Decoder(_RecipientList)


def encode_key(key: Key) -> bytes:
    """Return the canonical bytes of a key record whose envelope was not dropped."""
    assert not isinstance(key.private, EnvelopeSummary)
    return pretty(key)


def decode_key(data: bytes, *, path: str) -> Key:
    """
    Return the key record in *data*, found at *path* of the vault.

    Raises:
        RecordError: If it is malformed, not canonical, at the wrong path, or its events contradict each other.
    """
    shown = printable(path)[:300]
    if len(data) > RECORD_MAX:
        raise RecordError(f"{shown}: record has {len(data)} bytes; the limit is {RECORD_MAX}", code="record-too-large")
    if found := next((kind for start, kind in _NOT_RECORDS if data.startswith(start)), None):
        raise RecordError(f"{shown}: {found}, not a key record", code="record-malformed")
    try:
        key = _records.decode(data)
        canonical = pretty(key)
    except (msgspec.MsgspecError, RecursionError, UnicodeError, ValueError, OverflowError) as error:
        raise RecordError(f"{shown}: not a key record: {elided(str(error))[:200]}", code="record-malformed") from None
    if canonical != data:
        raise RecordError(f"{shown}: record is not in its canonical form", code="record-not-canonical")
    try:
        _check_key(key, path)
    except KeyVaultError as error:
        raise RecordError(f"{shown}: {error.message}", code=error.code, hint=error.hint) from None
    intern_strings(key)
    return key


def salvage_key(data: bytes) -> Key | None:
    """Return the key record in *data*, canonical or not, or None if there is none."""
    try:
        key = _records.decode(data[:RECORD_MAX])
        _check_key(key, key.path)
    except (msgspec.MsgspecError, KeyVaultError, RecursionError, UnicodeError, ValueError, OverflowError):
        return None
    return key


def _check_key(key: Key, path: str) -> None:
    if key.format != 1:
        raise RecordError(f"record has format {key.format}; this version reads format 1", code="record-format")
    check_set_name(key.set)
    check_kid(key.kid)
    if key.path != path:
        raise RecordError(f"record belongs at {elided(key.path)}", code="record-misplaced")
    public = key.public
    if public.kty == "oct":
        _check_symmetric(public)
    elif public_jwk(msgspec.to_builtins(public), kid=public.kid, alg=public.alg) != public:
        raise RecordError("the public key does not match the published profile", code="public-profile")
    elif not (key.events and key.events[0].imported) and not _kid_is_hash(public):
        # So a changed public key is detected without an identity. Only imported keys may have a kid of their own.
        raise RecordError("the kid is not a hash of the public key", code="kid-mismatch")
    if key.state in ("withdrawn", "revoked") and key.sealed:
        raise RecordError(f"key is {key.state} but still has a sealed private half", code="private-kept")
    if not isinstance(key.private, UnsetType) and not 1 <= len(key.private.recipients) <= 32:
        count = len(key.private.recipients)
        limit = "the limit is 32" if count else "it must have at least 1"
        raise RecordError(f"envelope has {count} recipients; {limit}", code="envelope-recipient-count")


def _kid_is_hash(public: PublicJWK) -> bool:
    """Whether the kid of *public* is one of the two hashes that name new keys."""
    if public.kid == public.thumbprint:
        return True
    from keyvault.core.key_objects import spki_kid

    try:
        return public.kid == spki_kid(msgspec.to_builtins(public))
    except JWKError:  # not a valid key
        return False


def _check_symmetric(public: PublicJWK) -> None:
    algorithm = ALGORITHMS.get(public.alg)
    if algorithm is None or algorithm.kty != "oct" or public.use != algorithm.use:
        alg, use = quoted(public.alg, 40), quoted(public.use, 40)
        raise RecordError(f"a symmetric key must not have alg {alg} and use {use}", code="public-profile")
    if public != PublicJWK(kty="oct", kid=public.kid, use=public.use, alg=public.alg):
        raise RecordError("a symmetric key must not have public members", code="public-profile")


def encode_recipients(recipients: Mapping[str, Recipient]) -> bytes:
    """Return the canonical bytes of ``keys.enc/recipients.json``, sorted by kid."""
    return pretty(_RecipientList([recipients[kid] for kid in sorted(recipients)]))


def decode_recipients(data: bytes, *, path: str) -> dict[str, Recipient]:
    """
    Return the recipients in *data* by kid.

    Does not check whether keys may be sealed to them.

    Raises:
        RecordError: If the list is malformed, not canonical, empty, or names a kid twice.
    """
    if len(data) > RECORD_MAX:
        raise RecordError(f"{path}: list has {len(data)} bytes; the limit is {RECORD_MAX}", code="recipients-malformed")
    try:
        listed = _recipients.decode(data).keys
    except (msgspec.MsgspecError, RecursionError, UnicodeError) as error:
        raise RecordError(
            f"{path}: not a list of recipients: {elided(str(error))[:200]}", code="recipients-malformed"
        ) from None
    recipients = {recipient.kid: recipient for recipient in listed}
    if not listed or len(listed) > 32 or len(recipients) != len(listed):
        raise RecordError(f"{path}: must name 1 to 32 recipients, each once", code="recipients-malformed")
    if encode_recipients(recipients) != data:
        raise RecordError(
            f"{path}: the list of recipients is not in its canonical form", code="recipients-not-canonical"
        )
    return recipients
