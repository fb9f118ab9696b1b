"""
Apply a draft as one commit; push it, planning again when somebody was faster.

A crash at any point leaves the old state or the new one: objects are written first, then the branch moves by
compare-and-swap, then index and work tree follow (`checkout`). What was under way stands in the journal, so the next
run, which holds the one lock of the clone, removes the locks of a dead run and finishes its work.

Source: docs/adr/0006 and 0012.
"""

from __future__ import annotations

import contextlib
import random
import re
import shutil
import signal
import sys
import threading
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from keyvault.core.state import Commit
from keyvault.errors import ConflictError, GitError, KilledError
from keyvault.logs import get_logger
from keyvault.progress import with_progress
from keyvault.repo import journal
from keyvault.repo.checkout import Checkout
from keyvault.repo.git import QUARANTINE, Git, TreeChange
from keyvault.repo.git.objects import blob_id
from keyvault.repo.journal import Move
from keyvault.repo.vault import Draft, Repository

if TYPE_CHECKING:
    from tenacity import RetryCallState

    from keyvault.repo.remote import Remote

logger = get_logger(__name__)

#: How old a folder of objects is, in seconds, that nobody can still be writing to.
_QUARANTINE_MAX = 86_400.0
CONFLICT_TRIES = 5
PUSH_TRIES = 20
PUSH_WAIT_MAX = 30.0

#: Makes a draft on a commit (None: no commit yet); None if there is nothing to do. The second commit is that of the
#: remote, if the draft is to be pushed and the first one was not pushed yet.
Make = Callable[[Commit | None, Commit | None], Draft | None]


@dataclass(frozen=True)
class Applied:
    """
    What became of a draft.

    Attributes:
        commit: The new commit, or None if there was nothing to do.
        pushed: Whether it is on the remote.
        warnings: What the user should know.
    """

    commit: Commit | None
    pushed: bool = False
    warnings: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class _Written:
    """
    A commit that no branch points at yet.

    Attributes:
        commit: Its id.
        changes: What differs from its parent; None if that was not listed.
        contents: Its new files, by path from the top.
    """

    commit: Commit
    changes: Sequence[TreeChange] | None
    contents: Mapping[str, bytes] | None


def apply(repository: Repository, make: Make, *, push: bool = False) -> Applied:
    """
    Make a draft on the present head and turn it into one commit.

    Args:
        repository: The vault.
        make: Makes the draft; called again on the new head when somebody was faster.
        push: Whether the commit goes to the branch's remote as well.

    Raises:
        GitError: If git refused, HEAD is detached, or uncommitted work is in the way.
        ConflictError: If others were faster every time.
    """
    with journal.exclusive_lock(repository.git):
        recover(repository.git)
        if push:
            return _apply_pushing(repository, make)
        for attempt in range(CONFLICT_TRIES):
            try:
                return _apply_once(repository, make)
            except ConflictError:
                if attempt + 1 == CONFLICT_TRIES:
                    raise
        raise AssertionError("unreachable: the last attempt returns or raises")


def _apply_once(repository: Repository, make: Make) -> Applied:
    git = repository.git
    branch, head = git.branch_and_head()
    draft = make(head, None)
    if draft is None:
        return Applied(None)
    checkout = Checkout(git)
    written = _write(repository, checkout, head, draft)
    move = Move(branch, head, written.commit)
    return Applied(written.commit, warnings=_advance(checkout, move, _subject(draft), written))


def _write(repository: Repository, checkout: Checkout, base: Commit | None, draft: Draft) -> _Written:
    """Write *draft* as a child of *base*, which is what index and work tree show."""
    changes = _changes(repository, base, draft)
    checkout.check_clean(changes)
    commit = _commit(repository.git, base, draft)
    prefix = repository.git.prefix
    contents = {prefix + path: data for path, data in draft.files.items() if data is not None}
    # A file that keeps its content may have had another mode: then git says what differs.
    listed = None if any(one.before == one.after for one in changes) else changes
    return _Written(commit, listed, contents if listed else None)


def _changes(repository: Repository, base: Commit | None, draft: Draft) -> list[TreeChange]:
    git = repository.git
    known = repository.ids(base, draft.files) if base else {}
    return [
        TreeChange(
            git.prefix + path, "100644", known.get(path), None if data is None else blob_id(data, git.object_format)
        )
        for path, data in draft.files.items()
    ]


def _commit(git: Git, base: Commit | None, draft: Draft) -> Commit:
    tree = git.write_tree(base, with_progress(draft.files.items(), git.progress, "writing objects", len(draft.files)))
    return git.commit_tree(tree, [base] if base else [], draft.message, draft.at)


def _subject(draft: Draft) -> str:
    return "keyvault: " + draft.message.partition("\n")[0]


# --- pushing --------------------------------------------------------------------------------------------


def _apply_pushing(repository: Repository, make: Make) -> Applied:
    """
    Build on the newer of the local and the remote head, push, and only then move the local branch.

    A push that lost a race leaves nothing to undo.
    """
    from tenacity import RetryError, Retrying, retry_if_exception_type, stop_after_attempt

    from keyvault.repo.remote import Remote

    branch, head = repository.git.branch_and_head()
    remote = Remote.of(repository.git, branch)
    retrying = Retrying(
        retry=retry_if_exception_type(ConflictError),
        stop=stop_after_attempt(PUSH_TRIES),
        wait=_wait_after,
    )
    try:
        for attempt in retrying:
            if attempt.retry_state.attempt_number > 1:
                head = repository.git.resolve(branch)
            with attempt, _leaving_no_locks(repository.git, remote):
                return _push_once(repository, make, branch, head, remote)
    except RetryError as error:
        raise ConflictError(
            f"{remote.name} moved {PUSH_TRIES} times while this commit was pushed", hint="run the command again"
        ) from error
    raise AssertionError("unreachable: the last attempt returns or raises")


def _wait_after(state: RetryCallState) -> float:
    """
    Return how many seconds to wait after a race that was lost.

    Whoever pushes while another one is between its fetch and its push makes that one lose. So the wait is counted in
    what a try takes: waits that are shorter than that keep everybody in everybody's way, on a slow machine above all.
    """
    took = ((state.seconds_since_start or 0) - state.idle_for) / state.attempt_number
    return random.uniform(0, min(took * 2 ** min(state.attempt_number, 6), PUSH_WAIT_MAX))  # noqa: S311 - no secret


@contextlib.contextmanager
def _leaving_no_locks(git: Git, remote: Remote) -> Iterator[None]:
    """Note which locks a fetch or a push leaves if it is killed, and remove them if it was."""
    entry = journal.write(git, remote.locks)
    try:
        yield
    except KilledError:
        journal.remove_stale(entry)
        raise
    finally:
        # Once the branch has moved, the journal is that of the move.
        if journal.read(git) == entry:
            journal.remove(git)


def _push_once(repository: Repository, make: Make, branch: str, local: Commit | None, remote: Remote) -> Applied:
    git = repository.git
    theirs = remote.fetch()
    if local is None or theirs is None or git.is_ancestor(theirs, local):
        base = local
    elif git.is_ancestor(local, theirs):
        base = theirs
        git.changes(local, theirs)  # what can't be checked out is refused before anything is written
    else:
        raise _diverged(git, branch, local, theirs, remote)
    draft = make(base, theirs if theirs != base else None)
    checkout = Checkout(git)
    if draft is None:
        if base is None:
            return Applied(None)
        if base != theirs:
            remote.push(base)  # earlier commits that were not pushed yet
            return Applied(None, pushed=True)
        if base == local:
            return Applied(None)
        # What a run that died after its push had still to do, or somebody else's work.
        journal.wait_for_index(git)
        return Applied(None, warnings=_advance(checkout, Move(branch, local, base), f"keyvault: {remote.name}"))
    if base == local:
        written = _write(repository, checkout, base, draft)
    else:
        checkout.check_clean(_changes(repository, local, draft))
        written = _Written(_commit(git, base, draft), None, None)
    remote.push(written.commit)
    try:
        warnings = _advance(checkout, Move(branch, local, written.commit), _subject(draft), written)
    except ConflictError:
        warnings = (f"the commit is on {remote.name}, but the local branch moved meanwhile: git pull",)
    return Applied(written.commit, pushed=True, warnings=warnings)


def _diverged(git: Git, branch: str, local: Commit, theirs: Commit, remote: Remote) -> GitError:
    short, messages = branch.removeprefix("refs/heads/"), git.messages(local, theirs)
    ours = all("\nKeyvault-Event: " in message for message in messages)
    if ours and (any(map(_is_emergency, messages)) or remote.had_any(local, theirs)):
        # Dropped, a revocation would be lost in silence; and what was pushed once may be published.
        hint = (
            f"git merge -X ours {remote.name}; then keyvault repair, and run this again: your side must not be dropped"
        )
    elif ours:
        count = f"{len(messages)} commit{'s' if len(messages) != 1 else ''}"
        # Unlike reset, switch looks at the work tree again before it compares it.
        hint = (
            f"nobody has the {count} of keyvault that you did not push: git switch -C {short} {remote.name} drops "
            f"{'them' if len(messages) != 1 else 'it'}; then run this again"
        )
    else:
        hint = f"git pull --rebase {remote.remote}"
    return GitError(f"{short} and {remote.name} have diverged", hint=hint)


def _is_emergency(message: str) -> bool:
    """Whether a commit with this message must not be dropped, because nobody would do again what it did."""
    events = re.findall(r"^Keyvault-Event: (\w+) (.*)$", message, re.MULTILINE)
    return any(event in ("revoked", "reactivated", "repaired") or rest.endswith("(forced)") for event, rest in events)


# --- the branch -----------------------------------------------------------------------------------------


def _advance(checkout: Checkout, move: Move, reason: str, written: _Written | None = None) -> tuple[str, ...]:
    """
    Move the branch, and bring index and work tree along.

    Args:
        checkout: The index and the work tree.
        move: The branch, and the two commits.
        reason: What its log says.
        written: The new commit, if it was written here.
    """
    git = checkout.git
    entry = journal.write(git, (*journal.ref_locks(git, move.branch), journal.index_lock(git)), move)
    with _uninterrupted():
        try:
            git.move_branch(move.branch, old=move.old, new=move.new, reason=reason)
        except GitError as error:
            # Git can fail after it has moved the branch, such as on a full disk: then the commit stands.
            stands = git.resolve(move.branch) == move.new
            if isinstance(error, KilledError):
                journal.remove_stale(entry)
            if not stands:
                journal.remove(git)
                raise
        else:
            # Git says nothing if it could not remove a lock of its own; it would be in the way of the next run.
            journal.remove_stale(journal.Entry(journal.ref_locks(git, move.branch), entry.begun))
        try:
            warnings = _follow(checkout, move, written)
        except (GitError, OSError) as error:
            # The commit stands. The journal stays too, so that the next run brings the work tree along; it names no
            # lock, since this run did not die: one that stands in the way is somebody else's.
            with contextlib.suppress(GitError):
                journal.write(git, (), move)
            why = error.message if isinstance(error, GitError) else f"{error.strerror}"
            return (f"the commit is made, but index and work tree do not follow yet: {why}",)
        journal.remove(git)
    logger.info("%s is at commit %s", move.branch, move.new)
    return warnings


def _follow(checkout: Checkout, move: Move, written: _Written | None = None) -> tuple[str, ...]:
    """Bring index and work tree along with a branch that moved; a git that is killed on the way is run once more."""
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
    Let Ctrl-C do nothing for a moment, neither here nor in git.

    From the branch's move on the commit stands, so "interrupted" would not be true; what is left to do is short.
    """
    if threading.current_thread() is not threading.main_thread():  # it is the main thread that Ctrl-C reaches
        yield
        return
    before = signal.signal(signal.SIGINT, signal.SIG_IGN)
    # Git answers signals that it was told to ignore, and removes its locks; those that are held back don't reach it.
    mask = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT}) if sys.platform != "win32" else set()
    try:
        yield
    finally:
        if sys.platform != "win32":
            signal.pthread_sigmask(signal.SIG_SETMASK, mask)
        # None stands for a handler that was not set by Python, which cannot be put back.
        signal.signal(signal.SIGINT, signal.SIG_DFL if before is None else before)


def recover(git: Git) -> None:
    """Finish what a dead run had begun; the caller holds its lock, so it is dead."""
    for folder in git.common_dir.glob(QUARANTINE + "*"):
        # A publication holds no lock, and none takes so long.
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
        # A file may have been cut off beside its target.
        checkout.remove_beside(git.changes(move.old, move.new))
    journal.remove(git)
