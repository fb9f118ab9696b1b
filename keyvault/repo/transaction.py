"""
Turn a draft into one commit on the branch, and push it; build it again if somebody else was faster.

A transaction holds the lock of the clone. Its caller plans on each head that it gives, until a draft is written:

    with transaction(repository, push=True) as changes:
        for head in changes.heads():
            changes.write(draft_on(head))

Objects are written first, then the commit is pushed, then the branch moves (`branch`). What to write is for the caller.

Source: docs/adr/0006 and 0012.
"""

from __future__ import annotations

import contextlib
import random
import re
import time
from collections.abc import Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING

from keyvault.core.state import Commit
from keyvault.errors import ConflictError, GitError, KilledError
from keyvault.progress import with_progress
from keyvault.repo import journal
from keyvault.repo.branch import NewCommit, advance, recover
from keyvault.repo.checkout import Checkout
from keyvault.repo.git import Git, TreeChange
from keyvault.repo.git.objects import blob_id
from keyvault.repo.journal import Move
from keyvault.repo.vault import Draft, Repository

if TYPE_CHECKING:
    from keyvault.repo.remote import Remote

CONFLICT_TRIES = 5
PUSH_TRIES = 20
#: The longest pause between two tries of a push, in seconds.
PUSH_WAIT_MAX = 30.0


@dataclass(frozen=True, slots=True)
class Head:
    """
    The commit to build on.

    Attributes:
        commit: Its id; None if the branch has no commit yet.
        public: The commit of the remote if it is older than `commit`, and the draft is pushed; else None.
    """

    commit: Commit | None
    public: Commit | None = None


@contextlib.contextmanager
def transaction(repository: Repository, *, push: bool = False) -> Iterator[Transaction]:
    """
    Hold the lock of the clone, finish the work of a dead run, and give a transaction on the present branch.

    Args:
        repository: The vault.
        push: Whether the commit goes to the branch's remote too.

    Raises:
        GitError: If git refuses, HEAD is detached, or uncommitted work is in the way.
        ConflictError: If others were faster every time.
    """
    with journal.exclusive_lock(repository.git):
        recover(repository.git)
        if not push:
            yield Transaction(repository)
            return
        from keyvault.repo.remote import Remote

        name, head = repository.git.branch_and_head()
        remote = Remote.of(repository.git, name)
        with _leaving_no_locks(repository.git, remote):
            yield _PushingTransaction(repository, name, head, remote)


class Transaction:
    """
    A change to the branch of a clone.

    Attributes:
        commit: The new commit; None if nothing was written.
        pushed: Whether this run pushed the branch.
        warnings: What the user should know.
    """

    tries = CONFLICT_TRIES

    def __init__(self, repository: Repository) -> None:
        self.commit: Commit | None = None
        self.pushed = False
        self.warnings: tuple[str, ...] = ()
        self._repository = repository
        self._git = repository.git
        self._lost: ConflictError | None = None

    def heads(self) -> Iterator[Head]:
        """
        Yield the commit to build on, and once more each time somebody else was faster.

        Raises:
            GitError: If git refuses, HEAD is detached, or the branch and its remote have diverged.
            ConflictError: If others were faster every time.
        """
        worked = 0.0
        for attempt in range(1, self.tries + 1):
            started = time.monotonic()
            head = self._begin()
            self._lost = None
            yield head
            if self._lost is None:
                return
            worked += time.monotonic() - started
            if attempt < self.tries:
                self._pause(attempt, worked)
        assert self._lost is not None
        raise self._lost

    def write(self, draft: Draft | None) -> None:
        """
        Write *draft* as one commit; None if there is nothing to do.

        Raises:
            GitError: If git refuses, or uncommitted work is in the way.
        """
        try:
            self._finish(draft)
        except ConflictError as error:
            self._lost = self._conflict(error)

    def _begin(self) -> Head:
        self._branch, self._head = self._git.branch_and_head()
        return Head(self._head)

    def _finish(self, draft: Draft | None) -> None:
        if draft is None:
            return
        checkout = Checkout(self._git)
        written = self._write_draft(checkout, self._head, draft)
        self.warnings = advance(checkout, Move(self._branch, self._head, written.commit), _reason(draft), written)
        self.commit = written.commit

    def _pause(self, attempt: int, worked: float) -> None:
        """Do not wait: within a clone, the lock keeps others out."""

    def _conflict(self, error: ConflictError) -> ConflictError:
        """Return the error to raise if this was the last try."""
        return error

    def _write_draft(self, checkout: Checkout, base: Commit | None, draft: Draft) -> NewCommit:
        """Write *draft* as a child of *base*, the commit that index and working tree show."""
        changes = self._changes_of(base, draft)
        checkout.check_clean(changes)
        commit = self._write_commit(base, draft)
        prefix = self._git.prefix
        contents = {prefix + path: data for path, data in draft.files.items() if data is not None}
        if any(change.before == change.after for change in changes):
            # A file that keeps its content may have had another mode: only git knows the difference.
            return NewCommit(commit)
        return NewCommit(commit, changes, contents)

    def _changes_of(self, base: Commit | None, draft: Draft) -> list[TreeChange]:
        git = self._git
        known = self._repository.ids(base, draft.files) if base else {}
        return [
            TreeChange(
                git.prefix + path, "100644", known.get(path), None if data is None else blob_id(data, git.object_format)
            )
            for path, data in draft.files.items()
        ]

    def _write_commit(self, base: Commit | None, draft: Draft) -> Commit:
        git = self._git
        files = with_progress(draft.files.items(), git.progress, "writing objects", len(draft.files))
        return git.commit_tree(git.write_tree(base, files), [base] if base else [], draft.message, draft.at)


class _PushingTransaction(Transaction):
    """
    A change that is pushed before the local branch moves.

    It builds on the newer of the local and the remote head. A push that lost a race leaves nothing to undo.
    """

    tries = PUSH_TRIES

    def __init__(self, repository: Repository, branch: str, head: Commit | None, remote: Remote) -> None:
        super().__init__(repository)
        self._branch, self._local, self._remote = branch, head, remote

    def _begin(self) -> Head:
        git = self._git
        if self._lost is not None:
            self._local = git.resolve(self._branch)
        local, theirs = self._local, self._remote.fetch()
        if local is None or theirs is None or git.is_ancestor(theirs, local):
            base = local
        elif git.is_ancestor(local, theirs):
            base = theirs
            git.changes(local, theirs)  # raises if a path cannot be checked out, before anything is written
        else:
            raise _diverged(git, self._branch, local, theirs, self._remote)
        self._head, self._theirs = base, theirs
        return Head(base, theirs if theirs != base else None)

    def _finish(self, draft: Draft | None) -> None:
        if draft is None:
            self._catch_up()
            return
        checkout = Checkout(self._git)
        if self._head == self._local:
            written = self._write_draft(checkout, self._head, draft)
        else:
            checkout.check_clean(self._changes_of(self._local, draft))
            written = NewCommit(self._write_commit(self._head, draft))
        self._remote.push(written.commit)
        try:
            self.warnings = advance(checkout, Move(self._branch, self._local, written.commit), _reason(draft), written)
        except ConflictError:
            self.warnings = (f"the commit is on {self._remote.name}, but the local branch moved meanwhile: git pull",)
        self.commit, self.pushed = written.commit, True

    def _catch_up(self) -> None:
        """Push earlier commits, or move the local branch to those of the remote."""
        if self._head is None:
            return
        if self._head != self._theirs:
            self._remote.push(self._head)
            self.pushed = True
        elif self._head != self._local:
            # A run that died after its push, or somebody else, wrote these commits.
            journal.wait_for_index(self._git)
            move = Move(self._branch, self._local, self._head)
            self.warnings = advance(Checkout(self._git), move, f"keyvault: {self._remote.name}")

    def _pause(self, attempt: int, worked: float) -> None:
        """
        Wait for a random time, measured in tries.

        A clone loses the race if another one pushes between its fetch and its push. On a slow machine a try takes long;
        if pauses were shorter than a try, the clones would go on colliding.
        """
        time.sleep(random.uniform(0, min(worked / attempt * 2 ** min(attempt, 6), PUSH_WAIT_MAX)))  # noqa: S311 - no secret

    def _conflict(self, error: ConflictError) -> ConflictError:
        conflict = ConflictError(
            f"{self._remote.name} moved {self.tries} times while this commit was pushed",
            code="push-conflict",
            hint="run the command again",
        )
        conflict.__cause__ = error
        return conflict


def _reason(draft: Draft) -> str:
    return "keyvault: " + draft.message.partition("\n")[0]


@contextlib.contextmanager
def _leaving_no_locks(git: Git, remote: Remote) -> Iterator[None]:
    """Record the locks that a killed fetch or push would leave behind, and remove them if one is killed."""
    entry = journal.write(git, remote.locks)
    try:
        yield
    except KilledError:
        journal.remove_stale(entry)
        raise
    finally:
        # Once the branch has moved, the journal describes the move.
        if journal.read(git) == entry:
            journal.remove(git)


def _diverged(git: Git, branch: str, local: Commit, theirs: Commit, remote: Remote) -> GitError:
    short, messages = branch.removeprefix("refs/heads/"), git.messages(local, theirs)
    ours = all("\nKeyvault-Event: " in message for message in messages)
    if ours and (any(map(_is_emergency, messages)) or remote.was_rewound(local, theirs)):
        # Dropping the commits would silently lose a revocation; and a commit that was once pushed may be published.
        hint = (
            f"git merge -X ours {remote.name}; then keyvault repair, and run this again: your commits must not be lost"
        )
    elif ours:
        which, them = ("this commit", "it") if len(messages) == 1 else (f"these {len(messages)} commits", "them")
        # Unlike reset, switch reads the working tree again before it compares it.
        hint = (
            f"only this clone has {which} of keyvault: git switch -C {short} {remote.name} drops {them}; "
            "then run this again"
        )
    else:
        hint = f"git pull --rebase {remote.remote}"
    return GitError(f"{short} and {remote.name} have diverged", code="branch-diverged", hint=hint)


def _is_emergency(message: str) -> bool:
    """Whether a commit with this message must not be dropped, because nobody would repeat its change."""
    events = re.findall(r"^Keyvault-Event: (\w+) (.*)$", message, re.MULTILINE)
    return any(event in ("revoked", "reactivated", "repaired") or rest.endswith("(forced)") for event, rest in events)
