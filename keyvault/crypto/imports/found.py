"""The contents of a file of keys: keys and certificates, the password that decrypts them, and errors about them."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from keyvault.core.ber import ITERATIONS_MAX
from keyvault.core.jwk import REQUIRED
from keyvault.crypto.generate import PrivateJWK
from keyvault.errors import JWKError, UsageError

if TYPE_CHECKING:
    from cryptography.x509 import Certificate

#: Returns the password of a file, or None if there is none; called at most once.
AskPassword = Callable[[], bytes | None]


@dataclass(frozen=True, slots=True)
class FoundKey:
    """
    A key of a file.

    Attributes:
        members: ``kty`` and the members of the key, private members too if the file has them; no labels.
        kid: Its kid in the file, or None.
        use: ``sig`` or ``enc``, or None.
        alg: Its algorithm, or None; sets may not support it.
        restricted_to: The algorithms that the file restricts it to, the usual algorithm first; empty if it does not.
        remarks: Messages for the user about how the file was read.
    """

    members: PrivateJWK = field(repr=False)
    kid: str | None = None
    use: str | None = None
    alg: str | None = None
    restricted_to: tuple[str, ...] = ()
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
    """The bytes cannot be a key."""


class UnsupportedEncryptionError(UsageError):
    """The key is encrypted with an unsupported algorithm."""


class UnreadableError(JWKError):
    """The bytes do not have the expected format."""


def wrong_password() -> UsageError:
    """Return the error for a key that the password does not decrypt."""
    return UsageError("the password is wrong, or the file is damaged", code="password-wrong")


def damaged_key() -> UnreadableError:
    """Return the error for a private key that does not parse."""
    return UnreadableError(
        "the private key is damaged or in an unsupported format (supported: PKCS#1, PKCS#8, SEC1, OpenSSH)",
        code="key-damaged",
    )


def too_many_iterations(limit: int = ITERATIONS_MAX) -> UsageError:
    """Return the error for a file with more than *limit* iterations."""
    return UsageError(
        f"the file asks for more than {limit} iterations of its key derivation",
        code="kdf-rounds-too-many",
    )


class Password:
    """Asks for the password once, for the first encrypted key."""

    def __init__(self, ask: AskPassword) -> None:
        self._ask, self._asked, self._value = ask, False, b""

    def get(self) -> bytes:
        """
        Return the password.

        Raises:
            UsageError: If there is none.
        """
        if not self._asked:
            self._value, self._asked = self._ask() or b"", True
        if not self._value:
            raise UsageError(
                "the key is encrypted and there is no password", code="password-missing", hint="--password-file FILE"
            )
        return self._value
