"""
Hold the exclusive lock of a clone, and keep a journal of the run that holds it.

A journal names the locks of git that a run may leave behind and, once the branch moves, the two commits. The next run
holds the lock of the clone, so if it finds a journal, the run that wrote it is dead. It removes the locks of the dead
run and finishes its work. Does not know how to finish it: `branch` does.

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

#: How long to wait for another keyvault in the same clone, in seconds.
LOCK_TIMEOUT = 60.0
#: How long to wait for a lock of git, in seconds, before it counts as stale or as held.
STALE_TIMEOUT = 0.5
#: How much older than the journal a lock of the same run may seem, in seconds: clocks of file systems are coarse.
_CLOCK_TOLERANCE = 1.0


@dataclass(frozen=True, slots=True)
class Move:
    """
    A branch that moves.

    Attributes:
        branch: Its full name.
        old: The commit that it leaves, or None for a new branch.
        new: The commit that it reaches.
    """

    branch: str
    old: Commit | None
    new: Commit


@dataclass(frozen=True, slots=True)
class Journal:
    """
    The content of a journal.

    Attributes:
        locks: Locks of git that the run may have left behind.
        written_at: When the journal was written, by the clock of the file system, in seconds since 1970.
        move: The branch that it moved or was about to move; None before that.
    """

    locks: tuple[Path, ...]
    written_at: float
    move: Move | None = None


@contextlib.contextmanager
def exclusive_lock(git: Git) -> Iterator[None]:
    """
    Hold the exclusive lock of this clone; the operating system releases it when its holder dies.

    Raises:
        GitError: If another keyvault holds it for a minute, or it cannot be created.
    """
    from filelock import FileLock, Timeout

    lock = FileLock(git.common_dir / "keyvault.lock")
    try:
        lock.acquire(timeout=LOCK_TIMEOUT)
    except Timeout:
        raise GitError(
            f"another keyvault has been running in this clone for {LOCK_TIMEOUT:.0f} s",
            code="clone-locked",
            hint="wait for it, or end it",
        ) from None
    except OSError as error:
        raise GitError(f"cannot write to {git.common_dir}: {error.strerror}", code="repository-not-writable") from None
    try:
        yield
    finally:
        lock.release()


# --- the journal ----------------------------------------------------------------------------------------


def write(git: Git, locks: Iterable[Path], move: Move | None = None) -> Journal:
    """
    Write the journal of this working tree, replacing an older one, and return it.

    Args:
        git: The repository.
        locks: Locks of git that stay behind if this run dies.
        move: The branch that is about to move, or None.

    Raises:
        GitError: If it cannot be written.
    """
    path, names = _path(git), [os.path.relpath(lock, git.common_dir) for lock in locks]
    document: dict[str, object] = {"locks": names}
    if move is not None:
        document |= {"branch": move.branch, "old": move.old, "new": move.new}
    new_path = path.with_suffix(".new")
    try:
        worktree.create(os.fspath(new_path), json.dumps(document).encode())
        flush([new_path])
        new_path.replace(path)
        return Journal(tuple(locks), path.stat().st_mtime, move)
    except OSError as error:
        raise GitError(f"cannot write to {git.git_dir}: {error.strerror}", code="repository-not-writable") from None


def read(git: Git) -> Journal | None:
    """Return the journal of this working tree; None if there is none, or a crash truncated it."""
    path = _path(git)
    try:
        written_at = path.stat().st_mtime
        document = json.loads(path.read_bytes())
        locks = tuple(_lock(git, name) for name in document["locks"])
        move = _move(document) if "branch" in document else None
    except FileNotFoundError:
        return None
    except (OSError, ValueError, KeyError, TypeError, AttributeError, RecursionError):
        remove(git)
        return None
    return Journal(locks, written_at, move)


def remove(git: Git) -> None:
    """Remove the journal of this working tree: the work is finished."""
    _path(git).unlink(missing_ok=True)


def _path(git: Git) -> Path:
    return git.git_dir / "keyvault.journal"


def _lock(git: Git, name: object) -> Path:
    """Return the path of the lock *name* in a journal; ValueError if it is not a lock in this repository."""
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
    """Return the lock that a program holds while it writes the index of this working tree."""
    return git.git_dir / "index.lock"


def wait_for_index(git: Git) -> None:
    """
    Wait a moment for the index to be free.

    Raises:
        GitError: If another process holds its lock, such as a ``git commit`` whose editor is open.
    """
    lock = index_lock(git)
    deadline = time.monotonic() + STALE_TIMEOUT
    while lock.exists():
        if time.monotonic() > deadline:
            raise lock_held_error(lock)
        time.sleep(0.05)


def lock_held_error(lock: Path) -> GitError:
    """Return the error for a *lock* of git that another process holds."""
    return GitError(
        f"another git process is running here: it holds {lock}",
        code="git-locked",
        hint="wait for it; if there is none: keyvault repair",
    )


def remove_stale(entry: Journal) -> None:
    """Remove the locks of *entry* that still exist after a moment, unless they are older than it."""
    for lock in entry.locks:
        deadline = time.monotonic() + STALE_TIMEOUT
        while lock.exists():
            with contextlib.suppress(FileNotFoundError):
                if lock.stat().st_mtime < entry.written_at - _CLOCK_TOLERANCE:
                    break
            if time.monotonic() > deadline:
                lock.unlink(missing_ok=True)
                break
            time.sleep(0.05)
