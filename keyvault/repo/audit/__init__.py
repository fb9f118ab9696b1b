"""
The audit: walk the whole history of a vault, and judge every commit against its parents.

`walk` goes from parents to children, `commit` judges one commit, `trust` judges signatures, `blobs` reads files,
and `findings` collects. Which changes are legal is said in ``core/history``.

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
from keyvault.errors import GitError
from keyvault.progress import Progress, quiet
from keyvault.repo.audit.blobs import BlobReader
from keyvault.repo.audit.commit import Shared
from keyvault.repo.audit.findings import Collector
from keyvault.repo.audit.trust import TrustJudge
from keyvault.repo.audit.walk import Walk
from keyvault.repo.git import Git, is_oid
from keyvault.repo.signatures import Signers


@dataclass(frozen=True)
class Audit:
    """
    What an audit found.

    Attributes:
        commit: The newest commit that was judged.
        since: The trusted commit that it went on from, or None.
        commits: How many commits were judged.
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
class Options:
    """
    What an audit starts from, and what it leaves out.

    Attributes:
        since: A commit that is trusted with all its history; only later commits are judged.
        pin: A commit that the history must contain.
        unknown: Names that were given for the two and name no commit here: the history does not contain them.
        signers: Who may sign, from outside of the vault; every commit that touches the vault must then be signed.
        exclude: Patterns of paths, outside of the vault, that are not searched for private keys.
    """

    since: Commit | None = None
    pin: Commit | None = None
    unknown: Sequence[str] = ()
    signers: Signers | None = None
    exclude: Sequence[str] = ()


def audit(
    git: Git, commit: Commit, now: datetime, options: Options = Options(), *, progress: Progress = quiet
) -> Audit:
    """
    Judge the history of *commit*.

    Args:
        git: The repository.
        commit: The newest commit to judge.
        now: The instant of the audit.
        options: What the audit starts from, and what it leaves out.
        progress: Callback for long operations.

    Raises:
        GitError: If history was cut off, or an object is missing.
    """
    if git.shallow:
        raise GitError("history was cut off: there is nothing to judge", hint="git fetch --unshallow")
    findings = Collector()
    outside = [
        trusted
        for trusted in (options.since, options.pin)
        if trusted is not None and not git.is_ancestor(trusted, commit)
    ]
    for trusted in (*outside, *options.unknown):
        shown = trusted[:12] if is_oid(trusted) else elided(trusted)[:100]
        findings.add(commit, "", [("pin-missing", f"the history of {commit[:12]} does not hold {shown}")])
    since = None if options.since in outside else options.since
    with contextlib.ExitStack() as stack:
        read, read_ahead = stack.enter_context(git.blob_reader()), stack.enter_context(git.blob_reader())
        differ = cache(lambda: stack.enter_context(git.tree_differ()))  # only merges need it
        blobs = BlobReader(read, read_ahead, git.prefix, progress)
        trust = TrustJudge(git, blobs, findings, options.signers)
        walk = Walk(git, differ, Shared(blobs, findings, now), trust, options.exclude, since)
        count = walk.run(commit, progress)
    return Audit(commit, since, count, tuple(dict.fromkeys(findings.found)))
