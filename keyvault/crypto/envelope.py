"""
Seal and open private keys: JWE general JSON serialization with its recipients bound.

The protected header is ``{"cty":"jwk+json","enc":"A256GCM","kv":{…}}``; ``kv`` names format, kid, set and
the sorted kids of all recipients, since a JWE's tag does not cover its recipients. Other JOSE tools ignore
it. The content key and IV are fresh each time. Sealing needs public keys only.

Opening refuses everything that sealing does not write, before any cryptography runs.

Sources: RFC 7516 sections 5.1, 5.2 and 7.2.1; RFC 7518 sections 4.3, 4.6 and 5.3; docs/format.md.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import msgspec
from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from jwcrypto.jwa import JWA
from jwcrypto.jwk import JWK

from keyvault.core.jwk import REQUIRED, PublicJWK, b64u, b64u_decode
from keyvault.core.keys import Envelope, EphemeralKey, Key, Recipient, RecipientHeader, SealedTo
from keyvault.core.strength import check_public_key
from keyvault.crypto.generate import PrivateJWK
from keyvault.errors import EnvelopeError, JWKError

ENC = "A256GCM"
CONTENT_TYPE = "jwk+json"
WRAP_ALGORITHMS = ("ECDH-ES+A256KW", "RSA-OAEP-256")
RECIPIENTS_MAX = 32
#: An RSA-4096 private JWK takes 3.2 kB.
PLAINTEXT_MAX = 16_384

_CEK_OCTETS, _IV_OCTETS, _TAG_OCTETS = 32, 12, 16


class Binding(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """The ``kv`` member: what the envelope belongs to."""

    format: int
    kid: str
    recipients: list[str]
    set: str


class Protected(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """The protected header; members in the order in which they are written."""

    cty: str
    enc: str
    kv: Binding


class Sealer:
    """
    Seals private keys to a fixed list of recipients.

    Recipients are parsed and checked once, however many keys are sealed.
    """

    def __init__(self, recipients: Mapping[str, Recipient]) -> None:
        """
        Raises:
            EnvelopeError: There are no recipients, or more than 32.
            JWKError: A recipient is malformed or weak.
        """
        if not recipients:
            raise EnvelopeError("there is nobody to seal to", hint="keyvault recipient add FILE")
        if len(recipients) > RECIPIENTS_MAX:
            raise EnvelopeError(f"{len(recipients)} recipients are too many: at most {RECIPIENTS_MAX}")
        self._recipients = [
            (kid, recipients[kid].alg, JWK(**_public_members(recipients[kid]))) for kid in sorted(recipients)
        ]
        self._kids = sorted(recipients)

    def seal(self, private: PrivateJWK, *, kid: str, set_name: str) -> Envelope:
        """Return *private* sealed to every recipient, bound to *kid* and *set_name*."""
        return self.seal_bytes(msgspec.json.encode(private), kid=kid, set_name=set_name)

    def seal_bytes(self, plaintext: bytes, *, kid: str, set_name: str) -> Envelope:
        """Return *plaintext*, a private JWK as JSON, sealed; nothing of it is parsed."""
        if len(plaintext) > PLAINTEXT_MAX:
            raise EnvelopeError(f"private key of {len(plaintext)} bytes is too large: at most {PLAINTEXT_MAX}")
        binding = Binding(format=1, kid=kid, recipients=self._kids, set=set_name)
        protected = b64u(msgspec.json.encode(Protected(cty=CONTENT_TYPE, enc=ENC, kv=binding)))
        cek, iv = os.urandom(_CEK_OCTETS), os.urandom(_IV_OCTETS)
        sealed = AESGCM(cek).encrypt(iv, plaintext, protected.encode())
        return Envelope(
            protected=protected,
            recipients=[_wrap(label, alg, key, cek) for label, alg, key in self._recipients],
            iv=b64u(iv),
            ciphertext=b64u(sealed[:-_TAG_OCTETS]),
            tag=b64u(sealed[-_TAG_OCTETS:]),
        )


def _public_members(recipient: Recipient) -> dict[str, str]:
    members = check_recipient(recipient)
    return {name: members[name] for name in REQUIRED[recipient.kty]}


def check_recipient(recipient: Recipient) -> dict[str, str]:
    """
    Return the members of *recipient* if keys can be sealed to it.

    Raises:
        JWKError: It is malformed or weak, or its algorithm is not one of `WRAP_ALGORITHMS`.
    """
    members: dict[str, str] = msgspec.to_builtins(recipient)
    if recipient.use != "enc" or recipient.alg not in WRAP_ALGORITHMS:
        raise JWKError(
            f"recipient {recipient.kid!r:.80} has use {recipient.use!r:.20} and alg {recipient.alg!r:.40}",
            hint=f"use is enc, alg is one of {', '.join(WRAP_ALGORITHMS)}",
        )
    if recipient.alg.startswith("ECDH") and recipient.crv not in ("P-256", "X25519"):
        raise JWKError(
            f"recipient {recipient.kid!r:.80} has curve {recipient.crv!r:.20}", hint="crv is P-256 or X25519"
        )
    check_public_key(members, alg=recipient.alg)
    return members


def _wrap(label: str, alg: str, key: JWK, cek: bytes) -> SealedTo:
    wrapped = JWA.keymgmt_alg(alg).wrap(key, _CEK_OCTETS * 8, cek, {"alg": alg, "enc": ENC})
    epk = wrapped.get("header", {}).get("epk")
    header = RecipientHeader(alg=alg, kid=label, epk=_ephemeral(epk) if epk else msgspec.UNSET)
    return SealedTo(header=header, encrypted_key=b64u(wrapped["ek"]))


def _ephemeral(epk: Mapping[str, str]) -> EphemeralKey:
    return EphemeralKey(kty=epk["kty"], crv=epk["crv"], x=epk["x"], y=epk.get("y", msgspec.UNSET))


# --- opening --------------------------------------------------------------------------------------------

#: Unwraps a content key: takes the entry of one recipient, gives 32 bytes, or raises EnvelopeError.
Unwrap = Callable[[SealedTo], bytes]


def check_envelope(envelope: Envelope, *, kid: str, set_name: str) -> list[str]:
    """
    Check everything about *envelope* that can be seen without a private key.

    Returns:
        The kids of the recipients that can open it.

    Raises:
        EnvelopeError: It is not what `Sealer` writes for *kid* in *set_name*.
    """
    header = _protected(envelope)
    if (header.cty, header.enc) != (CONTENT_TYPE, ENC):
        raise EnvelopeError(
            f"envelope has cty {header.cty!r:.40} and enc {header.enc!r:.40}: it must be {CONTENT_TYPE}, {ENC}"
        )
    kids = [entry.header.kid for entry in envelope.recipients]
    if not 1 <= len(kids) <= RECIPIENTS_MAX:
        raise EnvelopeError(f"envelope has {len(kids)} recipients: 1 to {RECIPIENTS_MAX} can be")
    if len(set(kids)) != len(kids):
        raise EnvelopeError("envelope names a recipient twice")
    bound = header.kv
    if bound.format != 1 or bound.recipients != kids or kids != sorted(kids):
        raise EnvelopeError("the recipients of the envelope are not those that it was sealed to")
    if bound.kid != kid or bound.set != set_name:
        raise EnvelopeError(f"envelope belongs to key {bound.kid!r:.140} of set {bound.set!r:.80}")
    for entry in envelope.recipients:
        _check_entry(entry)
    for name, octets in (("iv", _IV_OCTETS), ("tag", _TAG_OCTETS)):
        if len(_decode(getattr(envelope, name), name)) != octets:
            raise EnvelopeError(f"envelope member {name!r} must have {octets} octets")
    if not 0 < len(_decode(envelope.ciphertext, "ciphertext")) <= PLAINTEXT_MAX:
        raise EnvelopeError(f"envelope member 'ciphertext' must have 1 to {PLAINTEXT_MAX} octets")
    return kids


def _decode(text: str, name: str) -> bytes:
    try:
        return b64u_decode(text, what=f"envelope member {name!r}")
    except JWKError as error:
        raise EnvelopeError(error.message) from None


def _protected(envelope: Envelope) -> Protected:
    data = _decode(envelope.protected, "protected")
    try:
        header = msgspec.json.decode(data, type=Protected)
    except (msgspec.MsgspecError, RecursionError, UnicodeDecodeError) as error:
        raise EnvelopeError(f"protected header cannot be read: {error!s:.120}") from None
    if msgspec.json.encode(header) != data:
        raise EnvelopeError("protected header is not in its canonical form")
    return header


def _check_entry(entry: SealedTo) -> None:
    header = entry.header
    if header.alg not in WRAP_ALGORITHMS:
        raise EnvelopeError(
            f"recipient {header.kid!r:.80} has alg {header.alg!r:.40}", hint=f"one of {', '.join(WRAP_ALGORITHMS)}"
        )
    size = len(_decode(entry.encrypted_key, "encrypted_key"))
    if header.alg == "RSA-OAEP-256":
        if header.epk is not msgspec.UNSET or not 256 <= size <= 512:
            raise EnvelopeError(f"recipient {header.kid!r:.80} is not a well-formed RSA-OAEP-256 entry")
        return
    if isinstance(header.epk, msgspec.UnsetType) or size != _CEK_OCTETS + 8 or _has_stray_y(header.epk):
        raise EnvelopeError(f"recipient {header.kid!r:.80} is not a well-formed ECDH-ES+A256KW entry")
    if header.epk.crv not in ("P-256", "X25519"):
        raise EnvelopeError(f"recipient {header.kid!r:.80} has an ephemeral key on {header.epk.crv!r:.20}")
    try:
        check_public_key(msgspec.to_builtins(header.epk), alg=header.alg)
    except JWKError as error:
        raise EnvelopeError(f"ephemeral key of recipient {header.kid!r:.80}: {error.message}") from None


def _has_stray_y(epk: EphemeralKey) -> bool:
    return epk.kty == "OKP" and epk.y is not msgspec.UNSET


def open_bytes(envelope: Envelope, *, kid: str, set_name: str, recipient: str, unwrap: Unwrap) -> bytes:
    """
    Return the sealed bytes of *envelope*.

    Args:
        envelope: What to open; checked as a whole first.
        kid: The key that it must belong to.
        set_name: The set that it must belong to.
        recipient: Kid of the recipient whose private half *unwrap* holds.
        unwrap: Unwraps the content key.

    Raises:
        EnvelopeError: It is malformed, belongs elsewhere, or does not open.
    """
    check_envelope(envelope, kid=kid, set_name=set_name)
    entry = next((entry for entry in envelope.recipients if entry.header.kid == recipient), None)
    if entry is None:
        raise EnvelopeError(f"envelope of key {kid} is not sealed to {recipient!r:.80}")
    cek = unwrap(entry)
    if len(cek) != _CEK_OCTETS:
        raise EnvelopeError(f"the content key of {kid} has {len(cek)} octets instead of {_CEK_OCTETS}")
    sealed = _decode(envelope.ciphertext, "ciphertext") + _decode(envelope.tag, "tag")
    try:
        return AESGCM(cek).decrypt(_decode(envelope.iv, "iv"), sealed, envelope.protected.encode())
    except InvalidTag:
        raise EnvelopeError(f"the envelope of key {kid} was tampered with, or sealed with another key") from None


def parse_private(plaintext: bytes, public: PublicJWK) -> PrivateJWK:
    """
    Return *plaintext* as a private JWK whose public half is *public*.

    The halves are compared by their members; that the private members belong to the public ones is checked
    by ``pairs`` where the key is used.

    Raises:
        EnvelopeError: It is not a JWK, or belongs to another public key.
    """
    try:
        private: Any = msgspec.json.decode(plaintext, type=dict[str, str])
    except (msgspec.MsgspecError, RecursionError, UnicodeDecodeError):
        raise EnvelopeError(f"what is sealed for key {public.kid} is not a JWK") from None
    published = msgspec.to_builtins(public)
    if any(private.get(name) != value for name, value in published.items() if name in ("kty", *REQUIRED[public.kty])):
        raise EnvelopeError(f"what is sealed for key {public.kid} is the private half of another key")
    if "k" not in private and "d" not in private:
        raise EnvelopeError(f"what is sealed for key {public.kid} has no private half")
    return {**private, "kid": public.kid, "use": public.use, "alg": public.alg}


def envelope_of(key: Key) -> Envelope:
    """
    Return the envelope of *key*.

    Raises:
        EnvelopeError: Its private half is not in the vault.
    """
    if isinstance(key.private, msgspec.UnsetType):
        where = "left the vault" if key.state in ("withdrawn", "revoked") else "lives elsewhere"
        raise EnvelopeError(f"key {key.kid} is {key.state}: its private half {where}")
    return key.private


def recipients_of(sealed: Sequence[SealedTo]) -> list[str]:
    """Return the kids of the recipients of an envelope."""
    return [entry.header.kid for entry in sealed]
