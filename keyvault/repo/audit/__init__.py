"""
Audit the whole history of a vault: judge every commit against its parents.

`walk` goes from parents to children, `commit` judges one commit, `trust` judges signatures, `blobs` reads files,
and `findings` collects. ``core/history`` defines the legal changes.

Source: docs/audit.md.
"""

from __future__ import annotations

import contextlib
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from functools import cache

from keyvault.core.history.findings import Finding
from keyvault.core.state import Commit
from keyvault.core.text import elided
from keyvault.progress import Progress, quiet
from keyvault.repo.audit.blobs import BlobReader
from keyvault.repo.audit.commit import AuditContext
from keyvault.repo.audit.findings import Collector
from keyvault.repo.audit.trust import TrustJudge
from keyvault.repo.audit.walk import Walk
from keyvault.repo.git import Git, is_oid
from keyvault.repo.git.log import refuse_shallow
from keyvault.repo.signatures import Signers


@dataclass(frozen=True)
class Audit:
    """
    The result of an audit.

    Attributes:
        commit: The newest judged commit.
        since: The trusted commit from which the audit started, or None.
        commits: The number of judged commits.
        findings: Errors and notes, oldest first.
    """

    commit: Commit
    since: Commit | None
    commits: int
    findings: tuple[Finding, ...]

    @property
    def errors(self) -> tuple[Finding, ...]:
        """The findings that are errors."""
        return tuple(finding for finding in self.findings if finding.level == "error")


@dataclass(frozen=True)
class AuditOptions:
    """
    The start and the scope of an audit.

    Attributes:
        since: A trusted commit; the audit judges only commits that are not in its history.
        pin: A commit that the history must contain.
        unknown: Names that the user gave for *since* or *pin*, but that name no commit in this clone.
        signers: The allowed signers, from outside the vault; if given, every change of the vault must be signed.
        exclude: Patterns of paths outside the vault that are not searched for private keys.
    """

    since: Commit | None = None
    pin: Commit | None = None
    unknown: Sequence[str] = ()
    signers: Signers | None = None
    exclude: Sequence[str] = ()


def audit(
    git: Git, commit: Commit, now: datetime, options: AuditOptions = AuditOptions(), *, progress: Progress = quiet
) -> Audit:
    """
    Judge the history of *commit*.

    Args:
        git: The repository.
        commit: The newest commit to judge.
        now: The instant of the audit.
        options: The start and the scope of the audit.
        progress: Callback for long operations.

    Raises:
        GitError: If the clone is shallow, or an object is missing.
    """
    refuse_shallow(git)
    findings = Collector()
    outside = [
        trusted
        for trusted in (options.since, options.pin)
        if trusted is not None and not git.is_ancestor(trusted, commit)
    ]
    for trusted in (*outside, *options.unknown):
        shown = trusted[:12] if is_oid(trusted) else elided(trusted)[:100]
        findings.add(commit, "", [("pin-missing", f"the history of {commit[:12]} does not contain {shown}")])
    since = None if options.since in outside else options.since
    with contextlib.ExitStack() as stack:
        read, read_ahead = stack.enter_context(git.blob_reader()), stack.enter_context(git.blob_reader())
        differ = cache(lambda: stack.enter_context(git.tree_differ()))  # only merges need it
        blobs = BlobReader(read, read_ahead, git.prefix, progress)
        trust = TrustJudge(git, blobs, findings, options.signers)
        walk = Walk(git, differ, AuditContext(blobs, findings, now), trust, options.exclude, since)
        count = walk.run(commit, progress)
    return Audit(commit, since, count, tuple(dict.fromkeys(findings.found)))
