"""
Check the form of a sealed private key, as far as that needs no private key.

The protected header is ``{"cty":"jwk+json","enc":"A256GCM","kv":{…}}``. ``kv`` names the format, the kid, the set and
the sorted kids of all recipients, because a JWE's tag does not cover its recipients. Does not seal or open envelopes:
see ``crypto/envelope``.

Sources: RFC 7516 sections 4 and 7.2.1; RFC 7518 sections 4.3, 4.6 and 5.3; docs/format.md.
"""

from __future__ import annotations

import msgspec

from keyvault.core.jwk import b64u_decode
from keyvault.core.keys import Envelope, EphemeralKey, Recipient, WrappedKey
from keyvault.core.strength import check_public_key
from keyvault.core.text import elided, quoted
from keyvault.errors import EnvelopeError, JWKError

ENC = "A256GCM"
CONTENT_TYPE = "jwk+json"
WRAP_ALGORITHMS = ("ECDH-ES+A256KW", "RSA-OAEP-256")
RECIPIENTS_MAX = 32
#: An RSA-4096 private JWK has 3.2 kB.
PLAINTEXT_MAX = 16_384

CEK_OCTETS, IV_OCTETS, TAG_OCTETS = 32, 12, 16


class Binding(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """The ``kv`` member: the key, the set and the recipients of the envelope."""

    format: int
    kid: str
    recipients: list[str]
    set: str


class Protected(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """The protected header, its members in the order of the canonical form."""

    cty: str
    enc: str
    kv: Binding


def check_recipient(recipient: Recipient) -> dict[str, str]:
    """
    Return the members of *recipient* if keys can be sealed to it.

    Raises:
        JWKError: If it is malformed or weak, or its algorithm is not one of `WRAP_ALGORITHMS`.
    """
    members: dict[str, str] = msgspec.to_builtins(recipient)
    if recipient.use != "enc" or recipient.alg not in WRAP_ALGORITHMS:
        raise JWKError(
            f"recipient {quoted(recipient.kid)} has use {quoted(recipient.use, 20)} "
            f"and alg {quoted(recipient.alg, 40)}",
            code="recipient-alg-unsupported",
            hint=f"use must be enc, alg one of {', '.join(WRAP_ALGORITHMS)}",
        )
    if recipient.alg.startswith("ECDH") and recipient.crv not in ("P-256", "X25519"):
        raise JWKError(
            f"recipient {quoted(recipient.kid)} has unsupported curve {quoted(recipient.crv, 20)}",
            code="recipient-crv-unsupported",
            hint="crv must be P-256 or X25519",
        )
    check_public_key(members, alg=recipient.alg)
    return members


def check_envelope(envelope: Envelope, *, kid: str, set_name: str) -> list[str]:
    """
    Check *envelope*, as far as that needs no private key, and return the kids of its recipients.

    Raises:
        EnvelopeError: If `Sealer` would not write it for *kid* in *set_name*.
    """
    header = _protected(envelope)
    if (header.cty, header.enc) != (CONTENT_TYPE, ENC):
        raise EnvelopeError(
            f"envelope has cty {quoted(header.cty, 40)} and enc {quoted(header.enc, 40)}; "
            f"they must be {CONTENT_TYPE} and {ENC}",
            code="envelope-alg-unsupported",
        )
    kids = [entry.header.kid for entry in envelope.recipients]
    if not 1 <= len(kids) <= RECIPIENTS_MAX:
        limit = f"the limit is {RECIPIENTS_MAX}" if kids else "it must have at least 1"
        raise EnvelopeError(f"envelope has {len(kids)} recipients; {limit}", code="envelope-recipient-count")
    if len(set(kids)) != len(kids):
        raise EnvelopeError("envelope has a recipient twice", code="envelope-recipient-twice")
    bound = header.kv
    if bound.format != 1:
        raise EnvelopeError(
            f"envelope has format {bound.format}; this version of keyvault reads 1", code="envelope-format"
        )
    if bound.recipients != kids or kids != sorted(kids):
        raise EnvelopeError(
            "the recipients of the envelope differ from those in its protected header, or are not sorted",
            code="envelope-recipients",
        )
    if bound.kid != kid or bound.set != set_name:
        raise EnvelopeError(
            f"envelope belongs to key {quoted(bound.kid, 140)} of set {quoted(bound.set)}", code="envelope-misplaced"
        )
    for entry in envelope.recipients:
        _check_entry(entry)
    for name, octets in (("iv", IV_OCTETS), ("tag", TAG_OCTETS)):
        if len(decode_member(getattr(envelope, name), name)) != octets:
            raise EnvelopeError(f"envelope member {name!r} must have {octets} octets", code="envelope-member-length")
    if not 0 < len(decode_member(envelope.ciphertext, "ciphertext")) <= PLAINTEXT_MAX:
        raise EnvelopeError(
            f"envelope member 'ciphertext' must have 1 to {PLAINTEXT_MAX} octets", code="envelope-member-length"
        )
    return kids


def decode_member(text: str, name: str) -> bytes:
    """Return the bytes of the envelope's member *name*; EnvelopeError if *text* is not canonical base64url."""
    try:
        return b64u_decode(text, what=f"envelope member {name!r}")
    except JWKError as error:
        raise EnvelopeError(error.message, code=error.code) from None


def _protected(envelope: Envelope) -> Protected:
    data = decode_member(envelope.protected, "protected")
    try:
        header = msgspec.json.decode(data, type=Protected)
    except (msgspec.MsgspecError, RecursionError, UnicodeDecodeError) as error:
        raise EnvelopeError(
            f"protected header is malformed: {elided(str(error))[:120]}", code="envelope-header-malformed"
        ) from None
    if msgspec.json.encode(header) != data:
        raise EnvelopeError("protected header is not in its canonical form", code="envelope-not-canonical")
    return header


def _check_entry(entry: WrappedKey) -> None:
    header = entry.header
    if header.alg not in WRAP_ALGORITHMS:
        raise EnvelopeError(
            f"recipient {quoted(header.kid)} has unsupported alg {quoted(header.alg, 40)}",
            code="recipient-alg-unsupported",
            hint=f"alg must be one of {', '.join(WRAP_ALGORITHMS)}",
        )
    size = len(decode_member(entry.encrypted_key, "encrypted_key"))
    if header.alg == "RSA-OAEP-256":
        if header.epk is not msgspec.UNSET or not 256 <= size <= 512:
            raise EnvelopeError(
                f"the RSA-OAEP-256 entry of recipient {quoted(header.kid)} is malformed",
                code="envelope-entry-malformed",
            )
        return
    if isinstance(header.epk, msgspec.UnsetType) or size != CEK_OCTETS + 8 or _has_stray_y(header.epk):
        raise EnvelopeError(
            f"the ECDH-ES+A256KW entry of recipient {quoted(header.kid)} is malformed", code="envelope-entry-malformed"
        )
    if header.epk.crv not in ("P-256", "X25519"):
        raise EnvelopeError(
            f"recipient {quoted(header.kid)} has an ephemeral key on unsupported curve {quoted(header.epk.crv, 20)}",
            code="recipient-crv-unsupported",
        )
    try:
        check_public_key(msgspec.to_builtins(header.epk), alg=header.alg)
    except JWKError as error:
        raise EnvelopeError(
            f"ephemeral key of recipient {quoted(header.kid)}: {error.message}", code=error.code
        ) from None


def _has_stray_y(epk: EphemeralKey) -> bool:
    return epk.kty == "OKP" and epk.y is not msgspec.UNSET
