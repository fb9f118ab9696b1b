"""
Every deliberate error of keyvault, and the exit code it ends with.

::

    KeyVaultError            1  the command failed
    ├── UsageError           2  an argument is invalid, or does not fit the vault
    ├── GateError            3  a safety gate refused the command
    ├── ConfigError          1  keyvault.toml is invalid
    ├── RecordError          1  a record, a recipient list or an event list is invalid
    │   ├── EnvelopeError    1  a sealed private key is malformed, or does not open
    │   └── MergeError       1  two versions of a vault do not merge into a legal one
    ├── JWKError             1  a JWK is malformed
    │   └── WeakKeyError     1  a JWK is well formed, but too weak to use
    ├── IdentityError        1  no identity opens a sealed key, or an identity is invalid
    ├── GitError             1  git refused, or the repository is not in a usable state
    │   ├── ConflictError    1  somebody else moved the branch first
    │   └── KilledError      1  a git process was killed while it worked for us
    ├── RenderError          1  the site cannot be rendered
    │   └── LeakError        1  a private member was about to be published
    ├── LiveError            1  the live site cannot be fetched
    ├── DriftError           4  the live site differs from the commit
    ├── PublishError         1  the destination cannot be read or written
    ├── ExposedError         5  private keys were found in the clear
    ├── LintError            5  a document breaks verifiers
    └── AuditError           5  the audit of the history failed

Messages are lower case, without a full stop, and never hold key material. A hint is a command to type or a
thing to do next. Programs compare codes: a code stays when a message changes.
"""

from __future__ import annotations

from typing import Any


class KeyVaultError(Exception):
    """
    Base of all deliberate errors.

    Attributes:
        message: One line, lower case, no full stop, no key material.
        code: The stable name of the problem, such as ``set-unknown``. docs/errors.md lists them all.
        hint: What to do next, or None.
        exit_code: The exit code of the command line.
    """

    exit_code = 1

    def __init__(self, message: str, *, code: str, hint: str | None = None) -> None:
        super().__init__(message)
        self.message = message
        self.code = code
        self.hint = hint

    def __reduce__(self) -> tuple[Any, ...]:
        # Worker processes send errors to the process that started them.
        return _restore, (type(self), self.args, self.__dict__)


def _restore(kind: type[KeyVaultError], args: tuple[Any, ...], attributes: dict[str, Any]) -> KeyVaultError:
    error = kind.__new__(kind, *args)
    error.__dict__.update(attributes)
    return error


class UsageError(KeyVaultError):
    """An argument is invalid, or does not fit the vault."""

    exit_code = 2


class GateError(KeyVaultError):
    """A safety gate refused the command; the hint says whether and how to override it."""

    exit_code = 3


class ConfigError(KeyVaultError):
    """keyvault.toml is invalid."""


class RecordError(KeyVaultError):
    """A key record, a recipient list or an event list is invalid."""


class EnvelopeError(RecordError):
    """A sealed private key is malformed, or does not open."""


class MergeError(RecordError):
    """Two versions of a vault do not merge into a legal one."""


class JWKError(KeyVaultError):
    """A JWK is malformed."""


class WeakKeyError(JWKError):
    """A JWK is well formed, but too weak to use."""


class IdentityError(KeyVaultError):
    """No identity opens a sealed key, or an identity is invalid."""


class GitError(KeyVaultError):
    """Git refused, or the repository is not in a usable state."""


class ConflictError(GitError):
    """Somebody else moved the branch first."""


class KilledError(GitError):
    """A git process was killed while it worked for us."""


class RenderError(KeyVaultError):
    """The site cannot be rendered."""


class LeakError(RenderError):
    """A private member was about to be published."""


class LiveError(KeyVaultError):
    """The live site cannot be fetched."""


class DriftError(KeyVaultError):
    """The live site differs from the commit."""

    exit_code = 4


class PublishError(KeyVaultError):
    """The destination cannot be read or written."""


class ExposedError(KeyVaultError):
    """Private keys were found in the clear."""

    exit_code = 5


class LintError(KeyVaultError):
    """A document breaks verifiers."""

    exit_code = 5


class AuditError(KeyVaultError):
    """The audit of a vault's history failed."""

    exit_code = 5
