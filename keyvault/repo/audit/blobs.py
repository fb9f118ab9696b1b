"""
Read the files of commits: those of the next commits ahead, others when they are needed.

One ``cat-file --batch`` reads ahead, a second one on demand. A commit with very many files is read while it is judged,
so that they are never all in memory.

Source: git-cat-file(1).
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field

from keyvault.progress import Progress, with_progress
from keyvault.repo.git import CommitChanges, TreeChange
from keyvault.repo.vault import is_vault_path

#: How many commits are read ahead at once, and at most how many of their files.
_COMMITS_AT_ONCE = 100
_FILES_AT_ONCE = 2_000

Read = Callable[[Sequence[str]], Iterator[bytes]]


@dataclass
class BlobReader:
    """
    Reads the files that commits leave.

    Attributes:
        read: Yields the bytes of blobs, in order, on demand.
        read_ahead: Another such function, for the files of the next commits.
        prefix: The folder of the vault in its repository, with a final slash, or empty.
        progress: Callback for long operations.
    """

    read: Read
    read_ahead: Read
    prefix: str
    progress: Progress
    _contents: dict[str, bytes] = field(default_factory=dict)

    def follow(self, commits: Iterator[CommitChanges]) -> Iterator[CommitChanges]:
        """Yield *commits*, while git reads the files of the next ones."""
        few, contents = self._begin(commits)
        while few:
            self._contents = dict(contents)
            # A commit that takes much memory by itself is judged before the next ones are read.
            coming = None if _is_large(few[-1]) else self._begin(commits)
            while few:
                yield few.popleft()
            few, contents = coming or self._begin(commits)

    def _begin(self, commits: Iterator[CommitChanges]) -> tuple[deque[CommitChanges], Iterator[tuple[str, bytes]]]:
        """Return the next few of *commits*, and the files of the vault that they write, by id."""
        few: deque[CommitChanges] = deque()
        wanted: dict[str, None] = {}
        files = 0
        for commit in commits:
            few.append(commit)
            files += len(commit.changes)
            if not _is_large(commit):
                wanted.update(
                    (str(change.after), None) for change in self.inside(commit.changes).values() if is_file(change)
                )
            if len(few) >= _COMMITS_AT_ONCE or files >= _FILES_AT_ONCE:
                break
        return few, zip(wanted, self.read_ahead(list(wanted)), strict=True)

    def inside(self, changes: Sequence[TreeChange]) -> dict[str, TreeChange]:
        """Return those of *changes* that lie in the vault, by path in it."""
        prefix = self.prefix
        found = {}
        for change in changes:
            if change.path.startswith(prefix):
                path = change.path[len(prefix) :]
                if is_vault_path(path):
                    found[path] = change
        return found

    def contents(self, changes: Mapping[str, TreeChange]) -> dict[str, bytes]:
        """Return the files that *changes* leave, by path."""
        return {path: data for path, data in self.each(changes) if data is not None}

    def each(self, changes: Mapping[str, TreeChange]) -> Iterator[tuple[str, bytes | None]]:
        """Yield the path of each of *changes* with the file that it leaves, or None."""
        known = self._contents
        oids = {path: str(change.after) if is_file(change) else None for path, change in changes.items()}
        missing = self.read([oid for oid in oids.values() if oid is not None and oid not in known])
        large = len(oids) > _FILES_AT_ONCE
        files = (
            with_progress(oids.items(), self.progress, "reading a large commit", len(oids)) if large else oids.items()
        )
        for path, oid in files:
            yield path, None if oid is None else known[oid] if oid in known else next(missing)


def _is_large(commit: CommitChanges) -> bool:
    return len(commit.changes) > _FILES_AT_ONCE


def is_file(change: TreeChange) -> bool:
    """Whether *change* leaves a file: it was not removed, and is no submodule."""
    return change.after is not None and change.mode != "160000"
