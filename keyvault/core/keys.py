"""
Key records and recipients, as they are stored.

``repo/records`` reads and writes their bytes. Two rules hold for every record: no other key of the vault has its kid,
in any letter case, because file systems fold case; and a withdrawn or revoked key has no sealed private half.

Source: docs/format.md.
"""

from __future__ import annotations

from functools import cached_property

import msgspec
from msgspec import UNSET, UnsetType

from keyvault.core.algorithms import KeySpec
from keyvault.core.events import Event, Life, State, fold
from keyvault.core.jwk import PublicJWK, file_stem


class EphemeralKey(msgspec.Struct, frozen=True, forbid_unknown_fields=True, omit_defaults=True):
    """The ``epk`` of an ECDH-ES recipient (RFC 7518 section 4.6.1.1)."""

    kty: str
    crv: str
    x: str
    y: str | UnsetType = UNSET


class RecipientHeader(msgspec.Struct, frozen=True, forbid_unknown_fields=True, omit_defaults=True):
    """The header of a recipient's entry: the wrapping algorithm and the recipient's kid."""

    alg: str
    kid: str
    epk: EphemeralKey | UnsetType = UNSET


class WrappedKey(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """The content key, encrypted to one recipient."""

    header: RecipientHeader
    encrypted_key: str


class Envelope(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """A sealed private key: JWE general JSON serialization (RFC 7516 section 7.2.1)."""

    protected: str
    recipients: list[WrappedKey]
    iv: str
    ciphertext: str
    tag: str


class EnvelopeSummary(Envelope, frozen=True, forbid_unknown_fields=True):
    """
    An envelope reduced to its recipients, which is never opened or written. See `compact`.

    ``tag`` is a digest of the whole envelope, or empty; all other members are empty.
    """


class Recipient(msgspec.Struct, frozen=True, forbid_unknown_fields=True, omit_defaults=True):
    """A public key that private keys are sealed to: one JWK of ``keys.enc/recipients.json``."""

    kty: str
    kid: str
    use: str
    alg: str
    crv: str | UnsetType = UNSET
    x: str | UnsetType = UNSET
    y: str | UnsetType = UNSET
    n: str | UnsetType = UNSET
    e: str | UnsetType = UNSET


class Key(msgspec.Struct, frozen=True, forbid_unknown_fields=True, omit_defaults=True, dict=True):
    """
    A key record, as it is stored.

    Attributes:
        format: 1.
        set: The set that the key belongs to.
        public: Its published form.
        events: Its events, oldest first; the list only grows.
        private: The sealed private JWK; absent once the key is withdrawn or revoked, and for keys whose private half
            is kept elsewhere.
    """

    format: int
    set: str
    public: PublicJWK
    events: tuple[Event, ...]
    private: Envelope | UnsetType = UNSET

    @property
    def kid(self) -> str:
        return self.public.kid

    @cached_property
    def life(self) -> Life:
        """The state and the dates that follow from the events."""
        return fold(self.events)

    @property
    def state(self) -> State:
        return self.life.state

    @property
    def sealed(self) -> bool:
        """Whether the private half is in the vault."""
        return self.private is not UNSET

    @property
    def thumbprint(self) -> str:
        """The RFC 7638 thumbprint, which is the kid of a generated key by default."""
        return self.public.thumbprint

    @property
    def path(self) -> str:
        """The path of the record in the vault."""
        return f"keys.enc/{self.set}/{file_stem(self.kid)}.json"

    @property
    def rsa_bits(self) -> int | None:
        """Length of the modulus, for RSA."""
        if isinstance(self.public.n, UnsetType):
            return None
        return len(self.public.n) * 6 // 8 * 8

    def fits(self, spec: KeySpec) -> bool:
        """Return whether the key has the algorithm, type, curve and length of *spec*."""
        public = self.public
        crv = None if isinstance(public.crv, UnsetType) else public.crv
        bits_fit = public.kty != "RSA" or self.rsa_bits == spec.bits
        return public.alg == spec.alg and public.kty == spec.kty and crv == spec.crv and bits_fit


def sealed_to(key: Key) -> list[str]:
    """Return the kids of the recipients of the private half of *key*, as its envelope lists them."""
    return [] if isinstance(key.private, UnsetType) else [entry.header.kid for entry in key.private.recipients]
