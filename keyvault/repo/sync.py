"""
Apply a draft as one commit; push it, planning again when somebody was faster.

A crash at any point leaves the old state or the new one: objects are written first, then the branch moves by
compare-and-swap, then index and work tree follow. What was under way stands in a journal, so the next run,
which holds the one lock of the clone, removes the locks of a dead run and finishes its work.

Work of the user's is never touched: a file of the vault with uncommitted changes stops the command before
anything is written, and index and work tree follow only where they still hold what the old commit held.

Source: docs/adr/0006.
"""

from __future__ import annotations

import contextlib
import json
import os
import random
import shutil
import signal
import sys
import threading
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from keyvault.core.keys import Commit
from keyvault.core.text import printable
from keyvault.errors import ConflictError, GitError
from keyvault.flush import flush
from keyvault.logs import get_logger
from keyvault.progress import told
from keyvault.repo import worktree
from keyvault.repo.git import QUARANTINE, Git, TreeChange, is_oid
from keyvault.repo.objects import blob_id
from keyvault.repo.vault import Draft, Repository

if TYPE_CHECKING:
    from tenacity import RetryCallState

logger = get_logger(__name__)

LOCK_WAIT = 60.0
#: How long a lock of git's is given to vanish before it counts as left behind by a dead run of ours.
STALE_WAIT = 0.5
#: How old a folder of objects is, in seconds, that nobody can still be writing to.
_QUARANTINE_MAX = 86_400.0
CONFLICT_TRIES = 5
PUSH_TRIES = 20
PUSH_WAIT_MAX = 30.0

#: Makes a draft on the commit with this id (None: no commit yet); None where there is nothing to do.
Make = Callable[[Commit | None], Draft | None]


@dataclass(frozen=True)
class Applied:
    """
    What became of a draft.

    Attributes:
        commit: The new commit, or None where there was nothing to do.
        pushed: Whether it is on the remote.
        warnings: What the user should know.
    """

    commit: Commit | None
    pushed: bool = False
    warnings: tuple[str, ...] = ()


def apply(repository: Repository, make: Make, *, push: bool = False) -> Applied:
    """
    Make a draft on the present head and turn it into one commit.

    Args:
        repository: The vault.
        make: Makes the draft; called again on the new head when somebody was faster.
        push: Whether the commit goes to the branch's remote as well.

    Raises:
        GitError: Git refused, HEAD is detached, or uncommitted work is in the way.
        ConflictError: Others were faster every time.
    """
    with _locked(repository.git):
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
    draft = make(head)
    if draft is None:
        return Applied(None)
    commit = _write(git, head, draft)
    warnings = _advance(git, branch, old=head, new=commit, reason=_subject(draft))
    return Applied(commit, warnings=warnings)


def _write(git: Git, base: Commit | None, draft: Draft) -> Commit:
    _check_clean(git, base, draft.files)
    tree = git.write_tree(base, told(draft.files.items(), git.progress, "writing objects", len(draft.files)))
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

    git = repository.git
    branch = git.branch()
    remote = Remote.of(git, branch)
    retrying = Retrying(
        retry=retry_if_exception_type(ConflictError),
        stop=stop_after_attempt(PUSH_TRIES),
        wait=_wait_after,
    )
    try:
        for attempt in retrying:
            with attempt:
                return _push_once(repository, make, branch, remote)
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


def _push_once(repository: Repository, make: Make, branch: str, remote: Any) -> Applied:
    git = repository.git
    local, theirs = git.resolve("HEAD"), remote.fetch()
    if local is None or theirs is None or git.is_ancestor(theirs, local):
        base = local
    elif git.is_ancestor(local, theirs):
        base = theirs
        git.changes(local, theirs)  # what can't be checked out is refused before anything is written
    else:
        raise GitError(
            f"{branch.removeprefix('refs/heads/')} and {remote.name} have diverged",
            hint=f"git pull --rebase {remote.remote}",
        )
    draft = make(base)
    if draft is None:
        if base is None:
            return Applied(None)
        if base != theirs:
            remote.push(base)  # earlier commits that were not pushed yet
            return Applied(None, pushed=True)
        if base == local:
            return Applied(None)
        # What a run that died after its push had still to do, or somebody else's work.
        _wait_for_index(git)
        return Applied(None, warnings=_advance(git, branch, old=local, new=base, reason=f"keyvault: {remote.name}"))
    _check_clean(git, local, draft.files)
    commit = _write(git, base, draft) if base == local else _write_on_remote(git, base, draft)
    remote.push(commit)
    try:
        warnings = _advance(git, branch, old=local, new=commit, reason=_subject(draft))
    except ConflictError:
        warnings = (f"the commit is on {remote.name}, but the local branch moved meanwhile: git pull",)
    return Applied(commit, pushed=True, warnings=warnings)


def _write_on_remote(git: Git, base: Commit | None, draft: Draft) -> Commit:
    tree = git.write_tree(base, told(draft.files.items(), git.progress, "writing objects", len(draft.files)))
    return git.commit_tree(tree, [base] if base else [], draft.message, draft.at)


# --- the branch, the index and the work tree ------------------------------------------------------------


def _advance(git: Git, branch: str, *, old: Commit | None, new: Commit, reason: str) -> tuple[str, ...]:
    journal = _journal(git)
    entry = {"branch": branch, "old": old, "new": new}
    try:
        _write_durably(journal, json.dumps(entry).encode())
        begun = journal.stat().st_mtime
    except OSError as error:
        raise GitError(f"cannot write to {git.git_dir}: {error.strerror}") from None
    with _uninterrupted():
        try:
            git.move_branch(branch, old=old, new=new, reason=reason)
        except GitError:
            # Git can fail after it has moved the branch, such as on a full disk: then the commit stands.
            if git.resolve(branch) != new:
                journal.unlink(missing_ok=True)
                raise
        # Git says nothing where it could not remove a lock of its own; it would be in the way of the next run.
        for lock in _ref_locks(git, branch):
            _remove_stale(lock, begun)
        try:
            warnings = _follow(git, old, new)
        except (GitError, OSError) as error:
            # The commit stands. The journal stays too, so that the next run brings the work tree along; it says
            # that this one did not die, so a lock that stands in the way is somebody else's.
            with contextlib.suppress(OSError):
                _write_durably(journal, json.dumps({**entry, "ended": True}).encode())
            why = error.message if isinstance(error, GitError) else f"{error.strerror}"
            return (f"the commit is made, but index and work tree do not follow yet: {why}",)
        journal.unlink(missing_ok=True)
    logger.info("%s is at commit %s", branch, new)
    return warnings


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


def _check_clean(git: Git, base: Commit | None, files: Mapping[str, bytes | None]) -> None:
    """Stop when a file that is to be written has changes of the user's, in the work tree or staged."""
    if git.root is None:
        return
    _wait_for_index(git)
    known = {entry.path: entry.oid for entry in git.tree(base, *files)} if base else {}
    (staged, _), target_of = _index(git), worktree.targets(git.root)
    dirty = []
    for path, content in told(files.items(), git.progress, "checking files", len(files)):
        target = target_of(git.prefix + path)
        plain = target is not None and not worktree.is_link(target)
        present = worktree.hash_file(target, known.get(path), git.object_format) if target and plain else "a link"
        wanted = None if content is None else blob_id(content, git.object_format)
        in_index = staged.get(git.prefix + path, known.get(path))
        expected = (known.get(path), wanted)
        if (present is not None and present not in expected) or in_index not in expected:
            dirty.append(path)
    if dirty:
        shown = ", ".join(printable(path) for path in dirty[:5]) + (
            f" and {len(dirty) - 5} more" if len(dirty) > 5 else ""
        )
        raise GitError(
            f"there are uncommitted changes in {shown}", hint="commit them, or: git restore --staged --worktree PATH"
        )


def _follow(git: Git, old: str | None, new: str) -> tuple[str, ...]:
    """
    Bring index and work tree from *old* to *new*, only where they still hold what *old* holds.

    Doing it twice is doing it once: that is what recovery relies on.
    """
    if git.root is None:
        return ()
    index, left_out = _index(git)
    updates, unseen, skipped = [], [], []
    target_of = worktree.targets(git.root)
    pending: list[tuple[TreeChange, str]] = []
    changes = git.changes(old, new)
    # What leaves goes first: a folder may become a file, a link a folder.
    changes.sort(key=lambda change: change.after is not None)
    for change in told(changes, git.progress, "comparing files", len(changes)):
        path, before, after = change.path, change.before, change.after
        target = target_of(path)
        # In a sparse checkout most files are in the index alone, and so is what joins them.
        absent = path in left_out or (before is None and path.rpartition("/")[0] in left_out)
        absent = absent and target is not None and not os.path.lexists(target)
        if index.get(path) not in (before, after):
            skipped.append(path)
        elif index.get(path) != after or before == after:
            updates.append(f"{change.mode if after else '0'} {after or git.no_object}\t{path}\0")
            unseen += [f"{path}\0"] if absent and after else []
        if absent or change.mode == "160000":
            continue  # as git does: the index names the submodule's commit, its folder is left alone
        present = worktree.hash_file(target, before or after, git.object_format) if target else "behind a link"
        if target is None or present not in (before, after):
            skipped.append(path)
        elif after is None:
            worktree.remove(target, git.root)
        elif present != after or before == after:
            pending.append((change, target))
    contents = told(git.blobs(str(change.after) for change, _ in pending), git.progress, "writing files", len(pending))
    worktree.write((target, data, change.mode) for (change, target), data in zip(pending, contents, strict=True))
    if updates:
        _update_index(git, updates, unseen)
    names = ", ".join(printable(path) for path in sorted(set(skipped))[:5])
    return (f"left as it is in the work tree, since it was changed there: {names}",) if skipped else ()


def _update_index(git: Git, updates: Sequence[str], unseen: Sequence[str]) -> None:
    """Bring *updates* into the index, and note of the paths *unseen* that they are not in the work tree."""
    _wait_for_index(git)
    lines = "".join(updates).encode(errors="surrogateescape")
    if not unseen:
        git.run("update-index", "-z", "--index-info", stdin=lines)
        return
    # Git needs two steps for it. A run that died between them would leave an index that says that files were removed.
    index, lock = git.git_dir / "index", git.git_dir / "index.lock"
    try:
        with lock.open("xb") as file:
            file.write(index.read_bytes())
    except FileExistsError:
        raise _held(lock) from None
    try:
        own = {"GIT_INDEX_FILE": str(lock)}
        git.run("update-index", "-z", "--index-info", stdin=lines, extra=own)
        paths = "".join(unseen).encode(errors="surrogateescape")
        git.run("update-index", "-z", "--skip-worktree", "--stdin", stdin=paths, extra=own)
        lock.replace(index)
    finally:
        lock.unlink(missing_ok=True)


def _index(git: Git) -> tuple[dict[str, str], set[str]]:
    """
    Return the id of each file of the index by its path, and the paths that a sparse checkout has left out.

    A folder is among these where all its files are.
    """
    output = git.run("ls-files", "-t", "--stage", "-z", "--full-name", ":/").decode(errors="surrogateescape")
    entries, left_out, folders = {}, set(), set()
    for line in output.split("\0")[:-1]:
        meta, _, path = line.partition("\t")
        tag, _mode, oid, _stage = meta.split(" ")
        entries[path] = oid
        if tag == "S":
            left_out.add(path)
        else:
            folders.add(path.rpartition("/")[0])
    left_out |= {folder for path in left_out if (folder := path.rpartition("/")[0]) not in folders}
    return entries, left_out


# --- the lock and the journal ---------------------------------------------------------------------------


def _journal(git: Git) -> Path:
    return git.git_dir / "keyvault.journal"


def _write_durably(path: Path, data: bytes) -> None:
    beside = path.with_suffix(".new")
    worktree.create(os.fspath(beside), data)
    flush([beside])
    beside.replace(path)


@contextlib.contextmanager
def _locked(git: Git) -> Iterator[None]:
    """Hold the one lock of this clone; the operating system lets go of it when its holder dies."""
    from filelock import FileLock, Timeout

    lock = FileLock(git.common_dir / "keyvault.lock")
    try:
        lock.acquire(timeout=LOCK_WAIT)
    except Timeout:
        raise GitError(
            f"another keyvault has been at work in this clone for {LOCK_WAIT:.0f} s", hint="wait for it, or end it"
        ) from None
    except OSError as error:
        raise GitError(f"cannot write to {git.common_dir}: {error.strerror}") from None
    try:
        _recover(git)
        yield
    finally:
        lock.release()


def _recover(git: Git) -> None:
    """Finish what a dead run had begun; we hold its lock, so it is dead."""
    for folder in git.common_dir.glob(QUARANTINE + "*"):
        # One that publishes holds no lock, and none takes so long.
        if time.time() - folder.lstat().st_mtime > _QUARANTINE_MAX:
            shutil.rmtree(folder, ignore_errors=True)
    journal = _journal(git)
    try:
        begun = journal.stat().st_mtime
        entry = json.loads(journal.read_bytes())
        branch, old, new, ended = entry["branch"], entry["old"], entry["new"], entry.get("ended", False)
    except FileNotFoundError:
        return
    except (ValueError, KeyError, TypeError, AttributeError, RecursionError):
        journal.unlink(missing_ok=True)  # cut off while it was written: nothing had begun
        return
    if not (_is_branch(branch) and is_oid(new) and (old is None or is_oid(old))):
        journal.unlink(missing_ok=True)  # it is not of our making
        return
    for lock in () if ended else (*_ref_locks(git, branch), git.git_dir / "index.lock"):
        _remove_stale(lock, begun)
    if git.resolve(branch) == new and git.branch() == branch:
        _follow(git, old, new)
        # A file may have been cut off beside its target.
        if git.root:
            target_of = worktree.targets(git.root)
            for change in git.changes(old, new):
                target = target_of(change.path)
                if target is not None:
                    Path(worktree.beside(target)).unlink(missing_ok=True)
    journal.unlink(missing_ok=True)


def _ref_locks(git: Git, branch: str) -> tuple[Path, Path]:
    return git.common_dir / f"{branch}.lock", git.git_dir / "HEAD.lock"


def _is_branch(name: object) -> bool:
    return (
        isinstance(name, str)
        and name.startswith("refs/heads/")
        and name.isprintable()
        and not {"", ".", ".."} & set(name.split("/"))
    )


def _wait_for_index(git: Git) -> None:
    """Stop when somebody else, such as a `git commit` whose editor is open, holds the index."""
    lock = git.git_dir / "index.lock"
    deadline = time.monotonic() + STALE_WAIT
    while lock.exists():
        if time.monotonic() > deadline:
            raise _held(lock)
        time.sleep(0.05)


def _held(lock: Path) -> GitError:
    return GitError(
        f"another git process is at work here: it holds {lock}", hint="wait for it; if there is none, remove it"
    )


def _remove_stale(lock: Path, begun: float) -> None:
    """Remove a lock of git's that the dead run left: one not older than its journal, that does not vanish."""
    deadline = time.monotonic() + STALE_WAIT
    while lock.exists():
        with contextlib.suppress(FileNotFoundError):
            if lock.stat().st_mtime < begun - 1:
                return
        if time.monotonic() > deadline:
            lock.unlink(missing_ok=True)
            return
        time.sleep(0.05)
