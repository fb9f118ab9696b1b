"""What a file of keys holds: keys, certificates, and the password that opens them."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from keyvault.core.jwk import REQUIRED
from keyvault.crypto.generate import PrivateJWK
from keyvault.errors import JWKError, UsageError

if TYPE_CHECKING:
    from cryptography.x509 import Certificate

#: Give the password of a file, or None if nobody has one; called at most once.
AskPassword = Callable[[], bytes | None]

#: More rounds of hashing than this only serve to keep us busy.
P2C_MAX = 2_000_000

WRONG_PASSWORD = "the password is wrong, or the file is damaged"  # noqa: S105 - a sentence


@dataclass(frozen=True, slots=True)
class FoundKey:
    """
    A key of a file.

    Attributes:
        members: ``kty`` and the members of the key, private ones too if the file has them; no labels.
        kid: Its kid in the file, or None.
        use: ``sig`` or ``enc``, or None.
        alg: Its algorithm, or None; sets may not support it.
        only: The algorithms that the file restricts it to, the usual one first; empty for no restriction.
        remarks: What the user should know about how it was read, a sentence each.
    """

    members: PrivateJWK = field(repr=False)
    kid: str | None = None
    use: str | None = None
    alg: str | None = None
    only: tuple[str, ...] = ()
    remarks: tuple[str, ...] = ()

    @property
    def private(self) -> bool:
        """Whether the private half is there."""
        return self.members.keys() != set(REQUIRED[self.members["kty"]]) or self.members["kty"] == "oct"

    @property
    def public(self) -> dict[str, str]:
        """The public members."""
        return {name: self.members[name] for name in REQUIRED[self.members["kty"]] if name != "k"}


@dataclass(frozen=True, slots=True)
class FoundCertificate:
    """
    A certificate of a file.

    Attributes:
        certificate: The certificate.
        key: Its public key; None if it is of a type that JOSE does not define.
    """

    certificate: Certificate
    key: FoundKey | None


Found = FoundKey | FoundCertificate


class NoKeyError(UsageError):
    """There is nothing in these bytes that could be a key."""


class UnsupportedEncryptionError(UsageError):
    """The key is encrypted in a way that is not opened here."""


class UnreadableError(JWKError):
    """The bytes are nothing of the kind that was tried."""


class Password:
    """Asks once, when the first encrypted thing is met."""

    def __init__(self, ask: AskPassword) -> None:
        self._ask, self._known, self._value = ask, False, b""

    def get(self) -> bytes:
        """Return the password; UsageError if there is none."""
        if not self._known:
            self._value, self._known = self._ask() or b"", True
        if not self._value:
            raise UsageError("the key is encrypted, and there is no password", hint="--password-file FILE")
        return self._value
