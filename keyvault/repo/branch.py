"""
Move a branch to a new commit, update index and working tree; finish this for an earlier run that died.

A crash at any point leaves the old state or the new one: the branch moves by compare-and-swap, after the journal says
where to, and the next run completes what the journal describes. Writing commits is for `transaction`, files and index
are for `checkout`.

Source: docs/adr/0006 and 0012.
"""

from __future__ import annotations

import contextlib
import shutil
import signal
import sys
import threading
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

from keyvault.core.state import Commit
from keyvault.errors import GitError, KilledError
from keyvault.logs import get_logger
from keyvault.repo import journal
from keyvault.repo.checkout import Checkout
from keyvault.repo.git import QUARANTINE, Git, TreeChange
from keyvault.repo.journal import Move

logger = get_logger(__name__)

#: The age, in seconds, at which a folder of objects counts as abandoned.
_QUARANTINE_MAX = 86_400.0


@dataclass(frozen=True, slots=True)
class NewCommit:
    """
    A commit that no branch points at yet.

    Attributes:
        commit: Its id.
        changes: The differences from its parent; None if they are not known.
        contents: Its new files, by path from the top; None if they are not known.
    """

    commit: Commit
    changes: Sequence[TreeChange] | None = None
    contents: Mapping[str, bytes] | None = None


def advance(checkout: Checkout, move: Move, reason: str, written: NewCommit | None = None) -> tuple[str, ...]:
    """
    Move a branch, and let index and working tree follow.

    Args:
        checkout: The index and the working tree.
        move: The branch, and the two commits.
        reason: The message for the reflog.
        written: The new commit, if this run wrote it.

    Returns:
        What the user should know.

    Raises:
        ConflictError: If somebody else moved the branch.
        GitError: If git refused.
    """
    git = checkout.git
    entry = journal.write(git, (*journal.ref_locks(git, move.branch), journal.index_lock(git)), move)
    with _uninterrupted():
        try:
            git.move_branch(move.branch, old=move.old, new=move.new, reason=reason)
        except GitError as error:
            # Git can fail after it has moved the branch, for example on a full disk: then the commit stands.
            moved = git.resolve(move.branch) == move.new
            if isinstance(error, KilledError):
                journal.remove_stale(entry)
            if not moved:
                journal.remove(git)
                raise
        else:
            # Git reports no error if it cannot remove its own lock, which would block the next run.
            journal.remove_stale(journal.Journal(journal.ref_locks(git, move.branch), entry.written_at))
        try:
            warnings = _follow(checkout, move, written)
        except (GitError, OSError) as error:
            # The commit stands. The journal stays too, so that the next run updates the working tree; it names no
            # lock, since this run did not die: a lock that is in the way belongs to somebody else.
            with contextlib.suppress(GitError):
                journal.write(git, (), move)
            why = error.message if isinstance(error, GitError) else f"{error.strerror}"
            problem = f"the commit is written, but index and working tree are not updated yet ({why})"
            return (f"{problem}; the next change updates them",)
        journal.remove(git)
    logger.info("%s is at commit %s", move.branch, move.new)
    return warnings


def _follow(checkout: Checkout, move: Move, written: NewCommit | None = None) -> tuple[str, ...]:
    """Update index and working tree after a branch moved; run a git that is killed on the way once more."""
    if written is None or written.changes is None:
        changes, contents = checkout.git.changes(move.old, move.new), None
    else:
        changes, contents = list(written.changes), written.contents
    try:
        return checkout.follow(changes, contents)
    except KilledError:
        return checkout.follow(changes, contents)


@contextlib.contextmanager
def _uninterrupted() -> Iterator[None]:
    """
    Ignore Ctrl-C for a moment, here and in git.

    Once the branch moves the commit stands, so "interrupted" would be wrong; the rest of the work is short.
    """
    if threading.current_thread() is not threading.main_thread():  # Ctrl-C reaches the main thread only
        yield
        return
    before = signal.signal(signal.SIGINT, signal.SIG_IGN)
    # Git handles even signals that are ignored, and removes its locks; a blocked signal does not reach it.
    mask = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT}) if sys.platform != "win32" else set()
    try:
        yield
    finally:
        if sys.platform != "win32":
            signal.pthread_sigmask(signal.SIG_SETMASK, mask)
        # None means a handler that Python did not set, and cannot restore.
        signal.signal(signal.SIGINT, signal.SIG_DFL if before is None else before)


def recover(git: Git) -> None:
    """Finish the work of a dead run. The caller must hold the lock of the clone, which proves that the run is dead."""
    for folder in git.common_dir.glob(QUARANTINE + "*"):
        # `publish` writes here without the lock, but never for a day.
        if time.time() - folder.lstat().st_mtime > _QUARANTINE_MAX:
            shutil.rmtree(folder, ignore_errors=True)
    entry = journal.read(git)
    if entry is None:
        return
    journal.remove_stale(entry)
    move = entry.move
    if move is not None and git.branch_and_head() == (move.branch, move.new):
        checkout = Checkout(git)
        _follow(checkout, move)
        # A temporary file may remain beside its target.
        checkout.remove_temporary(git.changes(move.old, move.new))
    journal.remove(git)
