"""
Every deliberate error of keyvault, and the exit code it ends with.

::

    KeyVaultError            1  failed; the vault is as it was
    ├── UsageError           2  the command line asks for something that cannot be
    ├── GateError            3  refused by a safety gate
    ├── ConfigError          1  keyvault.toml says something that cannot be
    ├── RecordError          1  a record, a recipient list or an event list is not what it must be
    │   ├── EnvelopeError    1  a sealed private key is malformed, or does not open
    │   └── MergeError       1  two versions of a vault do not add up to a legal one
    ├── JWKError             1  a JWK is malformed
    │   └── WeakKeyError     1  a JWK is well formed and must not be used
    ├── IdentityError        1  no identity opens what has to be opened
    ├── GitError             1  git refused, or the repository is not in a usable state
    │   ├── ConflictError    1  somebody else moved the branch first
    │   └── KilledError      1  a git process was killed while it worked for us
    ├── RenderError          1  the site cannot be rendered
    │   └── LeakError        1  a private member was about to be published
    ├── LiveError            1  the live site cannot be asked
    ├── DriftError           4  what is served differs from the commit
    ├── PublishError         1  the place to publish to cannot be read or written
    ├── ExposedError         5  private keys stand in the clear where they must not
    ├── LintError            5  what was looked at breaks verifiers
    └── AuditError           5  the history holds what must not be

Messages are lower case, without a full stop, and never hold key material. A hint is something that
can be typed or done next. A code is what a program compares: it stays when a message changes.
"""

from __future__ import annotations


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

    def __init__(self, message: str, *, code: str = "failed", hint: str | None = None) -> None:
        super().__init__(message)
        self.message = message
        self.code = code
        self.hint = hint


class UsageError(KeyVaultError):
    """The command line asks for something that cannot be."""

    exit_code = 2


class GateError(KeyVaultError):
    """A safety gate refused; ``--force --reason`` would go on."""

    exit_code = 3


class ConfigError(KeyVaultError):
    """keyvault.toml says something that cannot be."""


class RecordError(KeyVaultError):
    """A key record, a recipient list or an event list is not what it must be."""


class EnvelopeError(RecordError):
    """A sealed private key is malformed, or does not open."""


class MergeError(RecordError):
    """Two versions of a vault do not add up to a legal one."""


class JWKError(KeyVaultError):
    """A JWK is malformed."""


class WeakKeyError(JWKError):
    """A JWK is well formed and must not be used."""


class IdentityError(KeyVaultError):
    """No identity opens what has to be opened."""


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
    """What is served differs from the commit."""

    exit_code = 4


class PublishError(KeyVaultError):
    """The place to publish to cannot be read or written."""


class ExposedError(KeyVaultError):
    """Private keys stand in the clear where they must not."""

    exit_code = 5


class LintError(KeyVaultError):
    """What was looked at breaks verifiers."""

    exit_code = 5


class AuditError(KeyVaultError):
    """The history of a vault holds what must not be."""

    exit_code = 5
