"""
The index and the work tree, which follow the branch.

Work of the user's is never touched: `Checkout.check_clean` stops a command before anything is written if a file of its
draft has uncommitted changes, and `Checkout.follow` changes only what still holds what the old commit held.

Source: docs/adr/0006.
"""

from __future__ import annotations

import contextlib
import os
import shlex
from collections.abc import Iterable, Mapping, Sequence, Set
from dataclasses import dataclass, field
from pathlib import Path, PurePosixPath

from keyvault.core.text import printable
from keyvault.errors import GitError
from keyvault.progress import with_progress
from keyvault.repo import journal, worktree
from keyvault.repo.git import Git, TreeChange

#: Where an index is written before it takes the place of the old one.
_INDEX_BESIDE = "keyvault.index"

#: What shows that a file was not changed: its inode, size, and the instants of its data and its inode.
Fingerprint = tuple[int, int, int, int]


@dataclass(frozen=True, slots=True)
class _Index:
    """
    What the index holds.

    Attributes:
        files: The id of each file by its path.
        left_out: The paths that a sparse checkout has left out; a folder is among them if all its files are.
    """

    files: Mapping[str, str]
    left_out: frozenset[str]


@dataclass
class Checkout:
    """
    The index and the work tree of a repository; without a work tree, every step does nothing.

    What was read once is used again while the file that it was read from is the same.
    """

    git: Git
    _index: tuple[Fingerprint | None, _Index] | None = field(default=None, repr=False)
    _hashes: dict[str, tuple[Fingerprint | None, str | None]] = field(default_factory=dict, repr=False)

    def check_clean(self, changes: Sequence[TreeChange]) -> None:
        """
        Stop if a file of *changes* has changes of the user's, in the work tree or staged.

        Raises:
            GitError: If it has, or somebody else holds the index.
        """
        git = self.git
        if git.root is None:
            return
        journal.wait_for_index(git)
        staged, target_of = self._read_index().files, worktree.targets(git.root)
        dirty = []
        leaving = {change.path for change in changes if change.after is None}
        for change in with_progress(changes, git.progress, "checking files", len(changes)):
            target = target_of(change.path)
            present = self._hash(target, change) if target else "behind a link"
            expected = (change.before, change.after)
            changed = present is not None and present not in expected and not _gives_way(git.root, change, leaving)
            if changed or staged.get(change.path, change.before) not in expected:
                dirty.append(change.path)
        if dirty:
            more = f" and {len(dirty) - 5} more" if len(dirty) > 5 else ""
            shown = ", ".join(printable(path[len(git.prefix) :]) for path in dirty[:5]) + more
            paths = " ".join(shlex.quote(":/" + path) for path in dirty[:5]) + (" …" if more else "")
            hint = f"commit them, or: git restore --staged --worktree {printable(paths)}"
            during = f" of a {git.under_way} that is under way" if git.under_way else ""
            raise GitError(f"there are uncommitted changes{during} in {shown}", hint=git.under_way_hint or hint)

    def follow(self, changes: Iterable[TreeChange], contents: Mapping[str, bytes] | None = None) -> tuple[str, ...]:
        """
        Make *changes* in index and work tree, only where these hold the old version. Idempotent.

        Args:
            changes: What differs between the old and the new commit.
            contents: New files by path from the top, where they are at hand; git is asked otherwise.

        Raises:
            GitError: If somebody else holds the index, or git fails.
            OSError: If a file cannot be written.
        """
        git = self.git
        if git.root is None:
            return ()
        index = self._read_index()
        updates, unseen, skipped = [], [], []
        target_of = worktree.targets(git.root)
        pending: list[tuple[TreeChange, str]] = []
        # What leaves goes first: a folder may become a file, a link a folder.
        ordered = sorted(changes, key=lambda change: change.after is not None)
        for change in with_progress(ordered, git.progress, "comparing files", len(ordered)):
            path, before, after = change.path, change.before, change.after
            target = target_of(path)
            # In a sparse checkout most files are in the index alone, and so is what joins them.
            absent = path in index.left_out or (before is None and path.rpartition("/")[0] in index.left_out)
            absent = absent and target is not None and not os.path.lexists(target)
            if index.files.get(path) not in (before, after):
                skipped.append(path)
            elif index.files.get(path) != after or before == after:
                updates.append(f"{change.mode if after else '0'} {after or git.no_object}\t{path}\0")
                unseen += [f"{path}\0"] if absent and after else []
            if absent or change.mode == "160000" or (after is None and target and worktree.is_folder(target)):
                continue  # as git does: the index names the submodule's commit, its folder is left alone
            present = self._hash(target, change) if target else "behind a link"
            if target is None or present not in (before, after):
                skipped.append(path)
            elif after is None:
                worktree.remove(target, git.root)
            elif present != after or before == after:
                pending.append((change, target))
        self._write(pending, contents)
        if updates:
            self._update_index(updates, unseen)
        names = ", ".join(printable(path) for path in sorted(set(skipped))[:5])
        return (f"left as it is in the work tree, since it was changed there: {names}",) if skipped else ()

    def remove_beside(self, changes: Iterable[TreeChange]) -> None:
        """Remove what a run that died left beside the files of *changes*."""
        if self.git.root is None:
            return
        target_of = worktree.targets(self.git.root)
        for change in changes:
            target = target_of(change.path)
            if target is not None:
                Path(worktree.beside(target)).unlink(missing_ok=True)

    def _write(self, pending: Sequence[tuple[TreeChange, str]], contents: Mapping[str, bytes] | None) -> None:
        git = self.git
        wanted: Iterable[bytes]
        if contents is None:
            wanted = git.blobs(str(change.after) for change, _ in pending)
        else:
            wanted = (contents[change.path] for change, _ in pending)
        wanted = with_progress(wanted, git.progress, "writing files", len(pending))
        worktree.write((target, data, change.mode) for (change, target), data in zip(pending, wanted, strict=True))

    def _hash(self, target: str, change: TreeChange) -> str | None:
        """Return what `worktree.hash_file` does, which is asked once while the file stays as it is."""
        found = _fingerprint(target)
        known = self._hashes.get(target)
        if known is None or known[0] != found:
            oid = worktree.hash_file(target, change.before or change.after, self.git.object_format)
            known = self._hashes[target] = found, oid
        return known[1]

    # --- the index --------------------------------------------------------------------------------------

    def index_files(self) -> Iterable[tuple[str, str]]:
        """Return the path and the id of each file of the index."""
        return self._read_index().files.items()

    def _read_index(self) -> _Index:
        found = _fingerprint(os.fspath(self.git.git_dir / "index"))
        if self._index is None or self._index[0] != found:
            self._index = found, self._listed()
        return self._index[1]

    def _listed(self) -> _Index:
        output = self.git.run("ls-files", "-t", "--stage", "-z", "--full-name", ":/").decode(errors="surrogateescape")
        files, left_out, folders = {}, set(), set()
        for line in output.split("\0")[:-1]:
            meta, _, path = line.partition("\t")
            tag, _mode, oid, _stage = meta.split(" ")
            files[path] = oid
            if tag == "S":
                left_out.add(path)
            else:
                folders.add(path.rpartition("/")[0])
        left_out |= {folder for path in left_out if (folder := path.rpartition("/")[0]) not in folders}
        return _Index(files, frozenset(left_out))

    def _update_index(self, updates: Sequence[str], unseen: Sequence[str]) -> None:
        """
        Bring *updates* into the index, and note of the paths *unseen* that they are not in the work tree.

        The lock of the index is held here, and git writes beside it: a git that is killed leaves nothing that blocks,
        and a run that dies between the two steps leaves no index that says that files were removed.
        """
        git = self.git
        journal.wait_for_index(git)
        lock, index, beside = journal.index_lock(git), git.git_dir / "index", git.git_dir / _INDEX_BESIDE
        own = {"GIT_INDEX_FILE": str(beside)}
        try:
            lock.open("xb").close()
        except FileExistsError:
            raise journal.held(lock) from None
        left = [path for path in (beside, _lock_of(beside)) if path.exists()]  # by a run that died here
        try:
            for path in left:
                path.unlink()
            with contextlib.suppress(FileNotFoundError):  # a repository without a commit has no index yet
                worktree.create(os.fspath(beside), index.read_bytes())
            lines = "".join(updates).encode(errors="surrogateescape")
            git.run("update-index", "-z", "--index-info", stdin=lines, extra=own)
            if unseen:
                paths = "".join(unseen).encode(errors="surrogateescape")
                git.run("update-index", "-z", "--skip-worktree", "--stdin", stdin=paths, extra=own)
            beside.replace(index)
        except BaseException:
            for path in (beside, _lock_of(beside)):
                path.unlink(missing_ok=True)
            raise
        finally:
            try:
                lock.unlink(missing_ok=True)
            except OSError:  # of a moment: a lock that stays would block every later run, ours and git's
                lock.unlink(missing_ok=True)


def _gives_way(root: Path, change: TreeChange, leaving: Set[str]) -> bool:
    """Whether a folder or a link in the place of *change* is removed by the same changes."""
    if any(str(parent) in leaving for parent in PurePosixPath(change.path).parents):
        return True
    folder = root / change.path
    if folder.is_symlink() or not folder.is_dir():
        return False
    files = [path for path in folder.rglob("*") if path.is_symlink() or not path.is_dir()]
    if not files:
        return change.after is None  # the folder of a submodule that leaves, which git leaves alone too
    return all(path.relative_to(root).as_posix() in leaving for path in files)


def _lock_of(path: Path) -> Path:
    return path.with_name(path.name + ".lock")


def _fingerprint(target: str) -> Fingerprint | None:
    """Return what shows that *target* was not changed; None if it is not there."""
    try:
        status = os.lstat(target)
    except OSError:
        return None
    return status.st_ino, status.st_size, status.st_mtime_ns, status.st_ctime_ns
