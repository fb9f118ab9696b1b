"""
The one lock of a clone, and the journal of the work that is under way in it.

A journal names the locks of git that a run may leave behind and, once the branch moves, the two commits. The next run
holds the lock of the clone, so the run that wrote the journal is dead: its locks are removed, and its work is finished.
Does not know what has to be finished: that is for `branch`.

Source: docs/adr/0006.
"""

from __future__ import annotations

import contextlib
import json
import os
import time
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path

from keyvault.core.state import Commit
from keyvault.errors import GitError
from keyvault.flush import flush
from keyvault.repo import worktree
from keyvault.repo.git import Git, as_commit, is_oid

#: How long, in seconds, to wait for another keyvault in the same clone.
LOCK_WAIT = 60.0
#: How long, in seconds, a lock of git's may take to vanish before it counts as left behind by a dead run of ours.
STALE_WAIT = 0.5
#: Clocks of file systems are coarse: a lock may seem to be so much older than the journal, in seconds, that is older.
_COARSE = 1.0


@dataclass(frozen=True, slots=True)
class Move:
    """
    A branch that moves.

    Attributes:
        branch: Its full name.
        old: The commit that it leaves, or None for a new branch.
        new: The commit that it moves to.
    """

    branch: str
    old: Commit | None
    new: Commit


@dataclass(frozen=True, slots=True)
class Entry:
    """
    What a journal says.

    Attributes:
        locks: Locks of git that the run may have left behind.
        begun: When it began, by the clock of the file system, in seconds since 1970.
        move: The branch that it moved, or was about to move; None if it had not come to that.
    """

    locks: tuple[Path, ...]
    begun: float
    move: Move | None = None


@contextlib.contextmanager
def exclusive_lock(git: Git) -> Iterator[None]:
    """
    Hold the one lock of this clone; the operating system drops it when its holder dies.

    Raises:
        GitError: If another keyvault holds it for a minute, or it cannot be made.
    """
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
        yield
    finally:
        lock.release()


# --- the journal ----------------------------------------------------------------------------------------


def write(git: Git, locks: Iterable[Path], move: Move | None = None) -> Entry:
    """
    Write the journal of this clone, in the place of an older one, and return what it says.

    Args:
        git: The repository.
        locks: Locks of git that a run which dies now may leave behind.
        move: The branch that is about to move, if it has come to that.

    Raises:
        GitError: If it cannot be written.
    """
    path, names = _path(git), [os.path.relpath(lock, git.common_dir) for lock in locks]
    document: dict[str, object] = {"locks": names}
    if move is not None:
        document |= {"branch": move.branch, "old": move.old, "new": move.new}
    beside = path.with_suffix(".new")
    try:
        worktree.create(os.fspath(beside), json.dumps(document).encode())
        flush([beside])
        beside.replace(path)
        return Entry(tuple(locks), path.stat().st_mtime, move)
    except OSError as error:
        raise GitError(f"cannot write to {git.git_dir}: {error.strerror}") from None


def read(git: Git) -> Entry | None:
    """Return what the journal of this clone says; None if there is none, or it was cut off while it was written."""
    path = _path(git)
    try:
        begun = path.stat().st_mtime
        document = json.loads(path.read_bytes())
        locks = tuple(_lock(git, name) for name in document["locks"])
        move = _move(document) if "branch" in document else None
    except FileNotFoundError:
        return None
    except (OSError, ValueError, KeyError, TypeError, AttributeError, RecursionError):
        remove(git)
        return None
    return Entry(locks, begun, move)


def remove(git: Git) -> None:
    """Remove the journal of this clone: the work is finished."""
    _path(git).unlink(missing_ok=True)


def _path(git: Git) -> Path:
    return git.git_dir / "keyvault.journal"


def _lock(git: Git, name: object) -> Path:
    """Return the lock that a journal calls *name*; ValueError if it is not one of this repository's."""
    path = Path(os.path.normpath(git.common_dir / str(name)))
    if path.suffix != ".lock" or not any(path.is_relative_to(folder) for folder in (git.common_dir, git.git_dir)):
        raise ValueError(name)
    return path


def _move(document: dict[str, object]) -> Move:
    branch, old, new = document["branch"], document["old"], document["new"]
    if not (_is_branch(branch) and is_oid(new) and (old is None or is_oid(old))):
        raise ValueError(document)
    return Move(str(branch), None if old is None else as_commit(str(old)), as_commit(str(new)))


def _is_branch(name: object) -> bool:
    return (
        isinstance(name, str)
        and name.startswith("refs/heads/")
        and name.isprintable()
        and not {"", ".", ".."} & set(name.split("/"))
    )


# --- locks of git ---------------------------------------------------------------------------------------


def ref_locks(git: Git, branch: str) -> tuple[Path, Path]:
    """Return the locks that git holds while it moves *branch*, a full name."""
    return git.common_dir / f"{branch}.lock", git.git_dir / "HEAD.lock"


def index_lock(git: Git) -> Path:
    """Return the lock that a program holds while it writes the index of this work tree."""
    return git.git_dir / "index.lock"


def wait_for_index(git: Git) -> None:
    """
    Wait a moment for the index to be free.

    Raises:
        GitError: If somebody else, such as a ``git commit`` whose editor is open, holds it.
    """
    lock = index_lock(git)
    deadline = time.monotonic() + STALE_WAIT
    while lock.exists():
        if time.monotonic() > deadline:
            raise held(lock)
        time.sleep(0.05)


def held(lock: Path) -> GitError:
    """Return the error for a *lock* of git that somebody else holds."""
    return GitError(
        f"another git process is at work here: it holds {lock}", hint="wait for it; if there is none: keyvault repair"
    )


def remove_stale(entry: Entry) -> None:
    """Remove the locks that the dead run of *entry* left: those that are not older than it and do not vanish."""
    for lock in entry.locks:
        deadline = time.monotonic() + STALE_WAIT
        while lock.exists():
            with contextlib.suppress(FileNotFoundError):
                if lock.stat().st_mtime < entry.begun - _COARSE:
                    break
            if time.monotonic() > deadline:
                lock.unlink(missing_ok=True)
                break
            time.sleep(0.05)
