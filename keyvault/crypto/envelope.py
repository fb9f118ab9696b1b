"""
Seal and open private keys: JWE general JSON serialization with its recipients bound.

The content key and IV are fresh each time. Sealing needs public keys only. Before any cryptography runs, opening
refuses every envelope that sealing would not write; ``core/envelope_form`` defines the form.

Sources: RFC 7516 sections 5.1, 5.2 and 7.2.1; RFC 7518 sections 4.3, 4.6 and 5.3; RFC 8037 section 3.2;
docs/format.md.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping
from typing import Any

import msgspec
from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.asymmetric import ec, x25519
from cryptography.hazmat.primitives.asymmetric.padding import MGF1, OAEP
from cryptography.hazmat.primitives.asymmetric.rsa import RSAPublicKey
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.kdf.concatkdf import ConcatKDFHash
from cryptography.hazmat.primitives.keywrap import aes_key_wrap

from keyvault.core.envelope_form import (
    CEK_OCTETS,
    CONTENT_TYPE,
    ENC,
    IV_OCTETS,
    PLAINTEXT_MAX,
    RECIPIENTS_MAX,
    TAG_OCTETS,
    Binding,
    Protected,
    check_envelope,
    check_recipient,
    decode_member,
)
from keyvault.core.jwk import REQUIRED, PublicJWK, b64u
from keyvault.core.key_objects import PublicKey, load_public, public_members
from keyvault.core.keys import Envelope, EnvelopeSummary, EphemeralKey, Key, Recipient, RecipientHeader, WrappedKey
from keyvault.core.text import quoted
from keyvault.crypto.generate import PrivateJWK
from keyvault.errors import EnvelopeError

#: Octets of the key that wraps the content key in ECDH-ES+A256KW.
_KEK_OCTETS = 32


class Sealer:
    """
    Seals private keys to a fixed list of recipients.

    Recipients are parsed and checked once, however many keys are sealed.
    """

    def __init__(self, recipients: Mapping[str, Recipient]) -> None:
        """
        Raises:
            EnvelopeError: If there are no recipients, or more than 32.
            JWKError: If a recipient is malformed or weak.
        """
        if not recipients:
            raise EnvelopeError(
                "there are no recipients to seal to",
                code="recipients-missing",
                hint="keyvault repair --dry-run, if the list was lost; else keyvault recipient add FILE",
            )
        if len(recipients) > RECIPIENTS_MAX:
            raise EnvelopeError(
                f"there are {len(recipients)} recipients; the limit is {RECIPIENTS_MAX}", code="recipients-too-many"
            )
        self._recipients = [
            (kid, recipients[kid].alg, load_public(check_recipient(recipients[kid]))) for kid in sorted(recipients)
        ]
        self._kids = sorted(recipients)

    def seal(self, private: PrivateJWK, *, kid: str, set_name: str) -> Envelope:
        """Return *private* sealed to every recipient, bound to *kid* and *set_name*."""
        return self.seal_bytes(msgspec.json.encode(private), kid=kid, set_name=set_name)

    def seal_bytes(self, plaintext: bytes, *, kid: str, set_name: str) -> Envelope:
        """Seal *plaintext*, a private JWK as JSON, without parsing it."""
        if len(plaintext) > PLAINTEXT_MAX:
            raise EnvelopeError(
                f"private key of {len(plaintext)} bytes is too large; the limit is {PLAINTEXT_MAX}",
                code="private-key-too-large",
            )
        binding = Binding(format=1, kid=kid, recipients=self._kids, set=set_name)
        protected = b64u(msgspec.json.encode(Protected(cty=CONTENT_TYPE, enc=ENC, kv=binding)))
        cek, iv = os.urandom(CEK_OCTETS), os.urandom(IV_OCTETS)
        sealed = AESGCM(cek).encrypt(iv, plaintext, protected.encode())
        return Envelope(
            protected=protected,
            recipients=[_wrap(kid, alg, key, cek) for kid, alg, key in self._recipients],
            iv=b64u(iv),
            ciphertext=b64u(sealed[:-TAG_OCTETS]),
            tag=b64u(sealed[-TAG_OCTETS:]),
        )


def _wrap(kid: str, alg: str, key: PublicKey, cek: bytes) -> WrappedKey:
    if isinstance(key, RSAPublicKey):
        wrapped = key.encrypt(cek, OAEP(MGF1(SHA256()), SHA256(), label=None))
        return WrappedKey(RecipientHeader(alg=alg, kid=kid), b64u(wrapped))
    epk, shared = _agree(key)
    # RFC 7518 section 4.6.2: AlgorithmID, empty PartyUInfo and PartyVInfo, and the length of the key in bits.
    other_info = len(alg).to_bytes(4) + alg.encode() + bytes(8) + (_KEK_OCTETS * 8).to_bytes(4)
    kek = ConcatKDFHash(SHA256(), _KEK_OCTETS, other_info).derive(shared)
    return WrappedKey(RecipientHeader(alg=alg, kid=kid, epk=epk), b64u(aes_key_wrap(kek, cek)))


def _agree(key: PublicKey) -> tuple[EphemeralKey, bytes]:
    """Return a fresh ephemeral public key on the curve of *key*, and the shared secret."""
    if isinstance(key, ec.EllipticCurvePublicKey):
        ephemeral_ec = ec.generate_private_key(key.curve)
        return EphemeralKey(**public_members(ephemeral_ec.public_key())), ephemeral_ec.exchange(ec.ECDH(), key)
    assert isinstance(key, x25519.X25519PublicKey)  # `Sealer` checks each recipient
    ephemeral = x25519.X25519PrivateKey.generate()
    return EphemeralKey(**public_members(ephemeral.public_key())), ephemeral.exchange(key)


# --- opening --------------------------------------------------------------------------------------------

#: Takes the entry of one recipient and returns the content key, 32 bytes, or raises EnvelopeError.
Unwrap = Callable[[WrappedKey], bytes]


def open_bytes(envelope: Envelope, *, kid: str, set_name: str, recipient: str, unwrap: Unwrap) -> bytes:
    """
    Return the sealed bytes of *envelope*.

    Args:
        envelope: The envelope, which is checked as a whole first.
        kid: The key that it must belong to.
        set_name: The set that it must belong to.
        recipient: Kid of the recipient whose private half *unwrap* uses.
        unwrap: Unwraps the content key.

    Raises:
        EnvelopeError: If it is malformed, belongs to another key or set, or does not open.
    """
    check_envelope(envelope, kid=kid, set_name=set_name)
    entry = next((entry for entry in envelope.recipients if entry.header.kid == recipient), None)
    if entry is None:
        raise EnvelopeError(
            f"envelope of key {kid} is not sealed to {quoted(recipient)}", code="envelope-recipient-unknown"
        )
    cek = unwrap(entry)
    if len(cek) != CEK_OCTETS:
        raise EnvelopeError(
            f"the content key of {kid} has {len(cek)} octets; expected {CEK_OCTETS}", code="content-key-invalid"
        )
    sealed = decode_member(envelope.ciphertext, "ciphertext") + decode_member(envelope.tag, "tag")
    try:
        return AESGCM(cek).decrypt(decode_member(envelope.iv, "iv"), sealed, envelope.protected.encode())
    except InvalidTag:
        raise EnvelopeError(
            f"the envelope of key {kid} was tampered with, or sealed with another key", code="envelope-tampered"
        ) from None


def parse_private(plaintext: bytes, public: PublicJWK) -> PrivateJWK:
    """
    Return *plaintext* as a private JWK whose public half is *public*.

    Only the public members are compared. ``pairs`` checks that the private ones belong to them when the key is used.

    Raises:
        EnvelopeError: If it is not a JWK, has no private half, or belongs to another public key.
    """
    try:
        private: Any = msgspec.json.decode(plaintext, type=dict[str, str])
    except (msgspec.MsgspecError, RecursionError, UnicodeDecodeError):
        raise EnvelopeError(f"the plaintext of key {public.kid} is not a JWK", code="plaintext-malformed") from None
    published = msgspec.to_builtins(public)
    if any(private.get(name) != value for name, value in published.items() if name in REQUIRED[public.kty]):
        raise EnvelopeError(
            f"the plaintext of key {public.kid} is the private half of another key", code="plaintext-of-other-key"
        )
    if not {"k", "d", "priv"} & private.keys():
        raise EnvelopeError(f"the plaintext of key {public.kid} has no private half", code="plaintext-malformed")
    return {**private, "kid": public.kid, "use": public.use, "alg": public.alg}


def envelope_of(key: Key) -> Envelope:
    """
    Return the envelope of *key*.

    Raises:
        EnvelopeError: If its private half is not in the vault.
    """
    if isinstance(key.private, msgspec.UnsetType):
        where = "was removed from the vault" if key.state in ("withdrawn", "revoked") else "is not in the vault"
        raise EnvelopeError(f"key {key.kid} is {key.state}: its private half {where}", code="private-half-missing")
    assert not isinstance(key.private, EnvelopeSummary)
    return key.private
