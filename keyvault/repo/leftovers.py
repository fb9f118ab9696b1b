"""
What dead programs leave in a clone: locks of git that nobody holds, an index that shows an older commit.

`journal` and `branch` clear up after a run of keyvault by themselves. This finds what else may block one, for a command
that somebody runs on purpose. Does not touch work of the user's.

Source: gitrepository-layout(5), git-update-index(1).
"""

from __future__ import annotations

import contextlib
import sys
import time
from collections.abc import Iterator
from pathlib import Path

from keyvault.core.state import Commit
from keyvault.repo import journal
from keyvault.repo.checkout import Checkout
from keyvault.repo.git import Git, TreeChange, as_commit
from keyvault.repo.vault import is_vault_path

#: How old, in seconds, a lock is that nobody holds: where running programs can be seen, and where not.
_OLD, _VERY_OLD = 10.0, 3_600.0

#: How the log of HEAD begins where a command of git moved the branch, and index and work tree with it.
_INDEX_FOLLOWS = ("commit", "merge", "pull", "rebase", "cherry-pick", "revert", "checkout", "am")

#: How many commits back an index may be.
_COMMITS_MAX = 100


def dead_locks(git: Git) -> list[Path]:
    """Return the locks of git in this clone that no running program holds."""
    names = [journal.index_lock(git), git.git_dir / "HEAD.lock"]
    names += [git.common_dir / name for name in ("packed-refs.lock", "config.lock", "shallow.lock")]
    names += (git.common_dir / "refs").rglob("*.lock")
    found = [lock for lock in dict.fromkeys(names) if _age(lock) > _OLD]
    if not found:
        return []
    at_work = _git_at_work(git)
    if at_work is None:
        return [lock for lock in found if _age(lock) > _VERY_OLD]
    return [] if at_work else found


def _age(lock: Path) -> float:
    """Return the age of *lock* in seconds, and 0 if there is none."""
    with contextlib.suppress(OSError):
        return time.time() - lock.lstat().st_mtime
    return 0.0


def _last_move(git: Git) -> str:
    """Return what the log of HEAD says of its last move, or nothing."""
    return git.run("log", "-g", "-1", "--format=%gs", "HEAD", "--", ok=(0, 128)).decode(errors="replace")


def _git_at_work(git: Git) -> bool | None:
    """Whether a git process works in this clone; None if running programs cannot be seen."""
    if sys.platform != "linux" or not Path("/proc/self").is_dir():
        return None
    folders = [folder.resolve() for folder in (git.root, git.git_dir, git.common_dir) if folder is not None]
    for process in Path("/proc").iterdir():
        if not process.name.isdigit():
            continue
        with contextlib.suppress(OSError):  # it has ended, or is another user's
            name = (process / "comm").read_text()
            place = (process / "cwd").readlink()
            if name.startswith("git") and any(place.is_relative_to(folder) for folder in folders):
                return True
    return False


def shown_commit(git: Git, head: Commit) -> Commit | None:
    """
    Return the older commit whose vault the index shows, or None if it shows that of *head* or none at all.

    If git itself moved the branch last, the index followed, and what it shows now is the user's work, such as a file
    taken back from an older commit.
    """
    if git.root is None or _last_move(git).startswith(_INDEX_FOLLOWS):
        return None
    index = {path: oid for path, oid in Checkout(git).index_files() if _is_ours(git, path)}
    for commit in _newest_first(git, head):
        entries = {git.prefix + entry.path: entry.oid for entry in git.tree(commit) if is_vault_path(entry.path)}
        if entries == index:
            return None if commit == head else commit
    return None


def catch_up(git: Git, shown: Commit, head: Commit) -> tuple[str, ...]:
    """Bring the index and the work tree of the vault from *shown* to *head*; return warnings."""
    return Checkout(git).follow(_changes(git, shown, head))


def _changes(git: Git, shown: Commit, head: Commit) -> list[TreeChange]:
    return [change for change in git.changes(shown, head) if _is_ours(git, change.path)]


def _is_ours(git: Git, path: str) -> bool:
    return path.startswith(git.prefix) and is_vault_path(path[len(git.prefix) :])


def _newest_first(git: Git, head: Commit) -> Iterator[Commit]:
    lines = git.run("rev-list", "--first-parent", f"--max-count={_COMMITS_MAX}", head).decode().split()
    yield from map(as_commit, lines)
