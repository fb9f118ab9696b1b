"""Audit the history of a vault, with the trusted signers and the starting commit that a command names."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from keyvault import config
from keyvault.core.state import Commit
from keyvault.core.text import elided
from keyvault.errors import AuditError, ConfigError, UsageError
from keyvault.operations.context import Context
from keyvault.repo.audit import Audit, AuditOptions
from keyvault.repo.audit import audit as judge
from keyvault.repo.vault import READABLE_MODES

if TYPE_CHECKING:
    from keyvault.repo.signatures import Signers


def audit(
    context: Context,
    commit: Commit,
    *,
    since: str | None = None,
    pin: str | None = None,
    signers: Sequence[Path] = (),
    exclude: Sequence[str] = (),
) -> Audit:
    """
    Audit the history of *commit*.

    Args:
        context: The vault.
        commit: The newest commit to audit.
        since: A revision that is trusted with all its history.
        pin: A revision that the history must contain.
        signers: Files of allowed signers; if empty, the vault's own lists count.
        exclude: Patterns of paths that are not searched for private keys.

    Raises:
        UsageError: If a file of signers cannot be read.
        GitError: If the clone is shallow.
    """
    git = context.repository.git
    named = {name: git.resolve(name) for name in (since, pin) if name is not None}
    options = AuditOptions(
        since=None if since is None else named[since],
        pin=None if pin is None else named[pin],
        # A commit that this clone lacks is not in the history either.
        unknown=[name for name, found in named.items() if found is None],
        signers=read_signers(signers) if signers else None,
        exclude=(*exclude, *_excluded(context, commit)),
    )
    return judge(git, commit, context.now, options, progress=context.progress)


def require_clean(context: Context, commit: Commit, *, since: str | None = None) -> None:
    """
    Refuse a commit whose history fails the audit.

    Raises:
        AuditError: If the audit finds an error.
    """
    found = audit(context, commit, since=since).errors
    if found:
        first = found[0]
        more = f" (and {len(found) - 1} more)" if len(found) > 1 else ""
        where = f" in commit {first.commit[:12]}" if first.commit else ""
        raise AuditError(
            f"audit failed: {first.code}{where}: {first.message}{more}",
            code="audit-failed",
            hint="keyvault repair --dry-run lists what it would repair; keyvault audit lists all findings",
        )


def _excluded(context: Context, commit: Commit) -> Sequence[str]:
    """Return the patterns that keyvault.toml excludes; none if it is invalid."""
    git = context.repository.git
    oids = [entry.oid for entry in git.tree(commit, config.FILE) if entry.mode in READABLE_MODES]
    try:
        return config.read_policy(b"".join(git.blobs(oids))).audit.exclude
    except ConfigError:
        return ()


def read_signers(paths: Sequence[Path]) -> Signers:
    """
    Return the signers that *paths* allow: files of allowed signers (SSH), and of OpenPGP public keys.

    Raises:
        UsageError: If a file is empty or cannot be read.
    """
    from keyvault.repo.signatures import Signers

    ssh: list[bytes] = []
    openpgp: list[bytes] = []
    for path in paths:
        try:
            data = path.read_bytes()
        except OSError as error:
            raise UsageError(f"{elided(str(path))} cannot be read: {error.strerror}", code="file-unreadable") from None
        if not data.strip():
            raise UsageError(f"{elided(str(path))} is empty: it allows no signers", code="signers-empty")
        # A binary keyring begins with a packet tag, whose first bit is set (RFC 9580 section 4.2).
        (openpgp if data.lstrip().startswith(b"-----BEGIN PGP") or data[0] & 0x80 else ssh).append(data)
    return Signers(b"\n".join(ssh), b"\n".join(openpgp))
