"""
Find and repair what dead programs left in a clone: stale locks of git, and an index that shows an older commit.

For ``keyvault repair``: `journal` and `branch` clean up after a run of keyvault by themselves. Never overwrites the
user's changes.

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

#: The age of a lock, in seconds, at which it may be stale.
_STALE_AGE = 10.0

#: The age of a stale lock, in seconds, if the running programs cannot be listed.
_STALE_AGE_UNKNOWN = 3_600.0

#: How an entry in the reflog of HEAD begins if git moved the index and the working tree along with the branch.
_INDEX_FOLLOWS = ("commit", "merge", "pull", "rebase", "cherry-pick", "revert", "checkout", "am")

#: How many commits back the index may be.
_COMMITS_MAX = 100


def stale_locks(git: Git) -> list[Path]:
    """Return the locks of git in this clone that probably no program holds."""
    names = [journal.index_lock(git), git.git_dir / "HEAD.lock"]
    names += [git.common_dir / name for name in ("packed-refs.lock", "config.lock", "shallow.lock")]
    names += (git.common_dir / "refs").rglob("*.lock")
    found = [lock for lock in dict.fromkeys(names) if _age(lock) > _STALE_AGE]
    if not found:
        return []
    running = _git_is_running(git)
    if running is None:
        return [lock for lock in found if _age(lock) > _STALE_AGE_UNKNOWN]
    return [] if running else found


def _age(lock: Path) -> float:
    """Return the age of *lock* in seconds, or 0 if there is none."""
    with contextlib.suppress(OSError):
        return time.time() - lock.lstat().st_mtime
    return 0.0


def _last_move(git: Git) -> str:
    """Return the newest entry in the reflog of HEAD, or an empty text."""
    return git.run("log", "-g", "-1", "--format=%gs", "HEAD", "--", ok=(0, 128)).decode(errors="replace")


def _git_is_running(git: Git) -> bool | None:
    """Whether a git process runs in this clone; None if running programs cannot be listed."""
    if sys.platform != "linux" or not Path("/proc/self").is_dir():
        return None
    folders = [folder.resolve() for folder in (git.root, git.git_dir, git.common_dir) if folder is not None]
    for process in Path("/proc").iterdir():
        if not process.name.isdigit():
            continue
        with contextlib.suppress(OSError):  # the process has ended, or belongs to another user
            name = (process / "comm").read_text()
            working_directory = (process / "cwd").readlink()
            if name.startswith("git") and any(working_directory.is_relative_to(folder) for folder in folders):
                return True
    return False


def commit_of_index(git: Git, head: Commit) -> Commit | None:
    """
    Return the commit before *head* whose vault is in the index; None if the vault of *head* is, or of no commit.

    None if git itself moved the branch last: then the index followed, and a difference is the user's change, such as a
    file restored from an older commit.
    """
    if git.root is None or _last_move(git).startswith(_INDEX_FOLLOWS):
        return None
    index = {path: oid for path, oid in Checkout(git).index_files() if _is_in_vault(git, path)}
    for commit in _newest_first(git, head):
        entries = {git.prefix + entry.path: entry.oid for entry in git.tree(commit) if is_vault_path(entry.path)}
        if entries == index:
            return None if commit == head else commit
    return None


def update_checkout(git: Git, old: Commit, head: Commit) -> tuple[str, ...]:
    """Update the index and the working tree of the vault from commit *old* to *head*; return warnings."""
    return Checkout(git).follow(_vault_changes(git, old, head))


def _vault_changes(git: Git, old: Commit, head: Commit) -> list[TreeChange]:
    return [change for change in git.changes(old, head) if _is_in_vault(git, change.path)]


def _is_in_vault(git: Git, path: str) -> bool:
    return path.startswith(git.prefix) and is_vault_path(path[len(git.prefix) :])


def _newest_first(git: Git, head: Commit) -> Iterator[Commit]:
    lines = git.run("rev-list", "--first-parent", f"--max-count={_COMMITS_MAX}", head).decode().split()
    yield from map(as_commit, lines)
