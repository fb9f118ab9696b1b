"""
Read the files of commits: those of the next commits ahead of time, others on demand.

One ``git cat-file`` reads ahead, a second one on demand. The files of a very large commit are read while it is
judged, so that they are never all in memory.

Source: git-cat-file(1).
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field

from keyvault.progress import Progress, with_progress
from keyvault.repo.git import CommitChanges, TreeChange
from keyvault.repo.vault import is_vault_path

#: The limits for commits to read ahead, and for their files.
_MAX_COMMITS_AHEAD = 100
_MAX_FILES_AHEAD = 2_000

Read = Callable[[Sequence[str]], Iterator[bytes]]


@dataclass
class BlobReader:
    """
    Reads the new files of commits.

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

    def prefetch(self, commits: Iterator[CommitChanges]) -> Iterator[CommitChanges]:
        """Yield *commits*, while git reads the files of the next ones."""
        batch, contents = self._request(commits)
        while batch:
            self._contents = dict(contents)
            # A commit that needs much memory by itself is judged before the next ones are read.
            next_batch = None if _is_large(batch[-1]) else self._request(commits)
            while batch:
                yield batch.popleft()
            batch, contents = next_batch or self._request(commits)

    def _request(self, commits: Iterator[CommitChanges]) -> tuple[deque[CommitChanges], Iterator[tuple[str, bytes]]]:
        """Return the next batch of *commits*, and the files of the vault that they write, by id."""
        batch: deque[CommitChanges] = deque()
        wanted: dict[str, None] = {}
        files = 0
        for commit in commits:
            batch.append(commit)
            files += len(commit.changes)
            if not _is_large(commit):
                wanted.update(
                    (str(change.after), None) for change in self.inside(commit.changes).values() if is_file(change)
                )
            if len(batch) >= _MAX_COMMITS_AHEAD or files >= _MAX_FILES_AHEAD:
                break
        return batch, zip(wanted, self.read_ahead(list(wanted)), strict=True)

    def inside(self, changes: Sequence[TreeChange]) -> dict[str, TreeChange]:
        """Return the *changes* inside the vault, by path in it."""
        prefix = self.prefix
        found = {}
        for change in changes:
            if change.path.startswith(prefix):
                path = change.path[len(prefix) :]
                if is_vault_path(path):
                    found[path] = change
        return found

    def contents(self, changes: Mapping[str, TreeChange]) -> dict[str, bytes]:
        """Return the new files of *changes*, by path."""
        return {path: data for path, data in self.each(changes) if data is not None}

    def each(self, changes: Mapping[str, TreeChange]) -> Iterator[tuple[str, bytes | None]]:
        """Yield the path of each of *changes* with its new file, or None if there is none."""
        fetched = self._contents
        oids = {path: str(change.after) if is_file(change) else None for path, change in changes.items()}
        missing = self.read([oid for oid in oids.values() if oid is not None and oid not in fetched])
        large = len(oids) > _MAX_FILES_AHEAD
        files = (
            with_progress(oids.items(), self.progress, "reading a large commit", len(oids)) if large else oids.items()
        )
        for path, oid in files:
            yield path, None if oid is None else fetched[oid] if oid in fetched else next(missing)


def _is_large(commit: CommitChanges) -> bool:
    return len(commit.changes) > _MAX_FILES_AHEAD


def is_file(change: TreeChange) -> bool:
    """Whether there is a file after *change*: neither a removal nor a submodule."""
    return change.after is not None and change.mode != "160000"
