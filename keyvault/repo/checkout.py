"""
Update the index and the working tree after the branch moved.

Never overwrites the user's changes: `Checkout.check_clean` stops a command before it writes anything if a file of its
draft has uncommitted changes, and `Checkout.follow` updates only files that still have the content of the old commit.

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

#: The name of a new index before it replaces the old one.
_NEW_INDEX = "keyvault.index"

#: Shows that a file was not changed: its inode, size, and the last changes of its data and its inode.
FileMark = tuple[int, int, int, int]


@dataclass(frozen=True, slots=True)
class _Index:
    """
    The content of the index.

    Attributes:
        files: The id of each file by its path.
        sparse: Paths that a sparse checkout leaves out of the working tree; includes a folder if it has no other files.
    """

    files: Mapping[str, str]
    sparse: frozenset[str]


@dataclass
class Checkout:
    """
    The index and the working tree of a repository; every method but `index_files` does nothing without a working tree.

    Caches the index and the hashes of files while their stamps stay the same.
    """

    git: Git
    _index: tuple[FileMark | None, _Index] | None = field(default=None, repr=False)
    _hashes: dict[str, tuple[FileMark | None, str | None]] = field(default_factory=dict, repr=False)

    def check_clean(self, changes: Sequence[TreeChange]) -> None:
        """
        Refuse if a file of *changes* has uncommitted changes, in the working tree or staged.

        Raises:
            GitError: If it has, or another process holds the lock of the index.
        """
        git = self.git
        if git.root is None:
            return
        journal.wait_for_index(git)
        staged, target_of = self._read_index().files, worktree.target_finder(git.root)
        dirty = []
        removed = {change.path for change in changes if change.after is None}
        for change in with_progress(changes, git.progress, "checking files", len(changes)):
            target = target_of(change.path)
            present = self._hash(target, change) if target else worktree.BEHIND_A_LINK
            expected = (change.before, change.after)
            changed = present is not None and present not in expected and not _is_replaced(git.root, change, removed)
            if changed or staged.get(change.path, change.before) not in expected:
                dirty.append(change.path)
        if dirty:
            more = f" and {len(dirty) - 5} more" if len(dirty) > 5 else ""
            shown = ", ".join(printable(path[len(git.prefix) :]) for path in dirty[:5]) + more
            paths = " ".join(shlex.quote(":/" + path) for path in dirty[:5]) + (" …" if more else "")
            hint = f"commit them, or: git restore --staged --worktree {printable(paths)}"
            during = f" of a {git.operation} in progress" if git.operation else ""
            raise GitError(
                f"there are uncommitted changes{during} in {shown}",
                code="uncommitted-changes",
                hint=git.operation_hint or hint,
            )

    def follow(self, changes: Iterable[TreeChange], contents: Mapping[str, bytes] | None = None) -> tuple[str, ...]:
        """
        Update the files of *changes* that have the old content, in index and working tree; return warnings. Idempotent.

        Args:
            changes: The differences between the old and the new commit.
            contents: The new files by path from the top; None to read them from git.

        Raises:
            GitError: If another process holds the lock of the index, or git fails.
            OSError: If a file cannot be written.
        """
        git = self.git
        if git.root is None:
            return ()
        index = self._read_index()
        updates, newly_sparse, skipped = [], [], []
        target_of = worktree.target_finder(git.root)
        pending: list[tuple[TreeChange, str]] = []
        # Removals come first: a folder may become a file, or a link a folder.
        ordered = sorted(changes, key=lambda change: change.after is not None)
        for change in with_progress(ordered, git.progress, "comparing files", len(ordered)):
            path, before, after = change.path, change.before, change.after
            mode_changed = before == after  # otherwise the file would not be among the changes
            target = target_of(path)
            # In a sparse checkout most files are only in the index, and so is a new file in a folder of such files.
            absent = path in index.sparse or (before is None and path.rpartition("/")[0] in index.sparse)
            absent = absent and target is not None and not os.path.lexists(target)
            if index.files.get(path) not in (before, after):
                skipped.append(path)
            elif index.files.get(path) != after or mode_changed:
                updates.append(f"{change.mode if after else '0'} {after or git.no_object}\t{path}\0")
                newly_sparse += [f"{path}\0"] if absent and after else []
            if absent or change.mode == "160000" or (after is None and target and worktree.is_folder(target)):
                continue  # as git does: it updates the commit of a submodule in the index, not its folder
            present = self._hash(target, change) if target else worktree.BEHIND_A_LINK
            if target is None or present not in (before, after):
                skipped.append(path)
            elif after is None:
                worktree.remove(target, git.root)
            elif present != after or mode_changed:
                pending.append((change, target))
        self._write(pending, contents)
        if updates:
            self._update_index(updates, newly_sparse)
        if not skipped:
            return ()
        paths = sorted(set(skipped))
        names = ", ".join(map(printable, paths[:5])) + (f", and {len(paths) - 5} more" if len(paths) > 5 else "")
        return (f"not updated, because changed here: {names}",)

    def remove_temporary(self, changes: Iterable[TreeChange]) -> None:
        """Remove the temporary files that a dead run left beside the files of *changes*."""
        if self.git.root is None:
            return
        target_of = worktree.target_finder(self.git.root)
        for change in changes:
            target = target_of(change.path)
            if target is not None:
                Path(worktree.temporary_path(target)).unlink(missing_ok=True)

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
        """Return the result of `worktree.hash_file`, cached while the file stays the same."""
        stamp = _file_stamp(target)
        cached = self._hashes.get(target)
        if cached is None or cached[0] != stamp:
            oid = worktree.hash_file(target, change.before or change.after, self.git.object_format)
            cached = self._hashes[target] = stamp, oid
        return cached[1]

    # --- the index --------------------------------------------------------------------------------------

    def index_files(self) -> Iterable[tuple[str, str]]:
        """Return the path and the id of each file of the index."""
        return self._read_index().files.items()

    def _read_index(self) -> _Index:
        stamp = _file_stamp(os.fspath(self.git.git_dir / "index"))
        if self._index is None or self._index[0] != stamp:
            self._index = stamp, self._list_index()
        return self._index[1]

    def _list_index(self) -> _Index:
        output = self.git.run("ls-files", "-t", "--stage", "-z", "--full-name", ":/").decode(errors="surrogateescape")
        files, sparse, folders = {}, set(), set()
        for line in output.split("\0")[:-1]:
            meta, _, path = line.partition("\t")
            tag, _mode, oid, _stage = meta.split(" ")
            files[path] = oid
            if tag == "S":
                sparse.add(path)
            else:
                folders.add(path.rpartition("/")[0])
        sparse |= {folder for path in sparse if (folder := path.rpartition("/")[0]) not in folders}
        return _Index(files, frozenset(sparse))

    def _update_index(self, updates: Sequence[str], newly_sparse: Sequence[str]) -> None:
        """
        Apply *updates* to the index, and mark the paths *newly_sparse* as left out of the working tree.

        We hold the lock of the index while git writes to a copy. So a git that is killed leaves no lock behind, and a
        run that dies between the two steps leaves no index that shows files as removed.
        """
        git = self.git
        journal.wait_for_index(git)
        lock, index, new_index = journal.index_lock(git), git.git_dir / "index", git.git_dir / _NEW_INDEX
        environment = {"GIT_INDEX_FILE": str(new_index)}
        try:
            lock.open("xb").close()
        except FileExistsError:
            raise journal.lock_held_error(lock) from None
        stale = [path for path in (new_index, _lock_of(new_index)) if path.exists()]  # of a run that died here
        try:
            for path in stale:
                path.unlink()
            with contextlib.suppress(FileNotFoundError):  # a repository without a commit has no index yet
                worktree.create(os.fspath(new_index), index.read_bytes())
            lines = "".join(updates).encode(errors="surrogateescape")
            git.run("update-index", "-z", "--index-info", stdin=lines, extra=environment)
            if newly_sparse:
                paths = "".join(newly_sparse).encode(errors="surrogateescape")
                git.run("update-index", "-z", "--skip-worktree", "--stdin", stdin=paths, extra=environment)
            new_index.replace(index)
        except BaseException:
            for path in (new_index, _lock_of(new_index)):
                path.unlink(missing_ok=True)
            raise
        finally:
            try:
                lock.unlink(missing_ok=True)
            except OSError:  # maybe a transient error; a lock that stays would block every later run, ours and git's
                lock.unlink(missing_ok=True)


def _is_replaced(root: Path, change: TreeChange, removed: Set[str]) -> bool:
    """Whether the changes that remove *removed* also remove the folder or the link at the path of *change*."""
    if any(str(parent) in removed for parent in PurePosixPath(change.path).parents):
        return True
    folder = root / change.path
    if folder.is_symlink() or not folder.is_dir():
        return False
    files = [path for path in folder.rglob("*") if path.is_symlink() or not path.is_dir()]
    if not files:
        return change.after is None  # the folder of a removed submodule, which git does not remove either
    return all(path.relative_to(root).as_posix() in removed for path in files)


def _lock_of(path: Path) -> Path:
    return path.with_name(path.name + ".lock")


def _file_stamp(target: str) -> FileMark | None:
    """Return the stamp of *target*, or None if there is no such file."""
    try:
        status = os.lstat(target)
    except OSError:
        return None
    return status.st_ino, status.st_size, status.st_mtime_ns, status.st_ctime_ns
