"""
Canonical bytes ↔ records.

A file that does not re-encode to its own bytes is refused: member order, blanks, duplicate members, other
spellings of a number or an instant are all caught by that one comparison. Does not read files.

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

#: What git, or a tool beside it, puts in the place of a file.
_IN_PLACE = (
    (b"version https://git-lfs", "a pointer of Git LFS"),
    (b"<<<<<<< ", "a conflict of a merge"),
    (b"\xef\xbb\xbf", "text with a byte order mark"),
)

_records = msgspec.json.Decoder(Key)


class _RecipientList(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    keys: list[Recipient]


_recipients = msgspec.json.Decoder(_RecipientList)


def encode_key(key: Key) -> bytes:
    """Return the canonical bytes of a key record, which must have been read as a whole."""
    assert not isinstance(key.private, EnvelopeSummary)
    return pretty(key)


def decode_key(data: bytes, *, path: str) -> Key:
    """
    Return the key record in *data*, found at *path* of the vault.

    Raises:
        RecordError: It is malformed, not canonical, lies at the wrong path, or its events contradict each
            other.
    """
    shown = printable(path)[:300]
    if len(data) > RECORD_MAX:
        raise RecordError(f"{shown}: record of {len(data)} bytes is too large: at most {RECORD_MAX}")
    if found := next((what for start, what in _IN_PLACE if data.startswith(start)), None):
        raise RecordError(f"{shown}: {found}, not a key record")
    try:
        key = _records.decode(data)
        canonical = pretty(key)
    except (msgspec.MsgspecError, RecursionError, UnicodeError, ValueError, OverflowError) as error:
        raise RecordError(f"{shown}: not a key record: {elided(str(error))[:200]}") from None
    if canonical != data:
        raise RecordError(f"{shown}: record is not in its canonical form")
    try:
        _check_key(key, path)
    except KeyVaultError as error:
        raise RecordError(f"{shown}: {error.message}", hint=error.hint) from None
    intern_strings(key)
    return key


def salvage_key(data: bytes) -> Key | None:
    """Return the key record that *data* says in another form than the canonical one, or None if it says none."""
    try:
        key = _records.decode(data[:RECORD_MAX])
        _check_key(key, key.path)
    except (msgspec.MsgspecError, KeyVaultError, RecursionError, UnicodeError, ValueError, OverflowError):
        return None
    return key


def _check_key(key: Key, path: str) -> None:
    if key.format != 1:
        raise RecordError(f"record has format {key.format}, this version reads format 1")
    check_set_name(key.set)
    check_kid(key.kid)
    if key.path != path:
        raise RecordError(f"record belongs at {elided(key.path)}")
    public = key.public
    if public.kty == "oct":
        _check_symmetric(public)
    elif public_jwk(msgspec.to_builtins(public), kid=public.kid, alg=public.alg) != public:
        raise RecordError("the public key is not in the published profile")
    elif not (key.events and key.events[0].imported) and not _is_kid_of(public):
        # A changed public key is seen without an identity; only imported keys may have a kid of their own.
        raise RecordError("the public key is not the one that its kid is a hash of")
    if key.state in ("withdrawn", "revoked") and key.sealed:
        raise RecordError(f"key is {key.state} and still has a sealed private half")
    if not isinstance(key.private, UnsetType) and not 1 <= len(key.private.recipients) <= 32:
        raise RecordError(f"envelope has {len(key.private.recipients)} recipients: 1 to 32 can be")


def _is_kid_of(public: PublicJWK) -> bool:
    """Whether the kid of *public* is one of the two hashes that new keys are named by."""
    if public.kid == public.thumbprint:
        return True
    from keyvault.core.pem import spki_kid

    try:
        return public.kid == spki_kid(msgspec.to_builtins(public))
    except JWKError:  # it is not even a key
        return False


def _check_symmetric(public: PublicJWK) -> None:
    algorithm = ALGORITHMS.get(public.alg)
    if algorithm is None or algorithm.kty != "oct" or public.use != algorithm.use:
        raise RecordError(f"a symmetric key has alg {quoted(public.alg, 40)} and use {quoted(public.use, 40)}")
    if public != PublicJWK(kty="oct", kid=public.kid, use=public.use, alg=public.alg):
        raise RecordError("a symmetric key has no public members")


def encode_recipients(recipients: Mapping[str, Recipient]) -> bytes:
    """Return the canonical bytes of ``keys.enc/recipients.json``, sorted by kid."""
    return pretty(_RecipientList([recipients[kid] for kid in sorted(recipients)]))


def decode_recipients(data: bytes, *, path: str) -> dict[str, Recipient]:
    """
    Return the recipients in *data* by kid.

    Whether keys may be sealed to them is checked where that happens.

    Raises:
        RecordError: The list is malformed, not canonical, empty, or names a kid twice.
    """
    if len(data) > RECORD_MAX:
        raise RecordError(f"{path}: list of {len(data)} bytes is too large: at most {RECORD_MAX}")
    try:
        listed = _recipients.decode(data).keys
    except (msgspec.MsgspecError, RecursionError, UnicodeError) as error:
        raise RecordError(f"{path}: not a list of recipients: {elided(str(error))[:200]}") from None
    recipients = {recipient.kid: recipient for recipient in listed}
    if not listed or len(listed) > 32 or len(recipients) != len(listed):
        raise RecordError(f"{path}: must name 1 to 32 recipients, each once")
    if encode_recipients(recipients) != data:
        raise RecordError(f"{path}: the list of recipients is not in its canonical form")
    return recipients
