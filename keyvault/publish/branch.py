"""
Publish a site as a branch of a remote: one commit without a parent, since the vault has the history.

`keyvault.repo` does all work with git; the protocol `Branch` states the operations that this module needs.
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterable, Iterator, Sequence
from typing import Protocol

from keyvault.publish.destination import (
    HISTORY,
    Changes,
    Contents,
    OpenDestination,
    Rendering,
    SitesBelow,
    as_text,
    is_kept,
)
from keyvault.publish.fingerprints import Fingerprints

#: GitHub Pages reads the domain of a branch from this file.
BRANCH_KEEPS = ("CNAME",)


class Branch(Protocol):
    """A branch of a remote."""

    @property
    def name(self) -> str:
        """The name of the branch in messages."""

    @property
    def alternative(self) -> str:
        """A hint for the user if the branch holds files that are not a site."""

    def fetch(self) -> dict[str, str]:
        """Fetch the branch, and return the id of each of its files by path."""

    def read(self, oid: str) -> bytes:
        """Return the file with the id *oid*."""

    def write(self, files: Iterable[tuple[str, bytes | None]]) -> dict[str, str]:
        """Change *files* of the branch, None deletes a file; return ids as `fetch` does. Nothing is pushed yet."""

    def push(self, message: str) -> None:
        """Push the files that were written, as a commit without a parent, over the commit that was fetched."""


class BranchDestination:
    """A branch as a destination of `publish`."""

    def __init__(self, branch: Branch) -> None:
        """
        Args:
            branch: The branch.
        """
        self._branch = branch

    @property
    def name(self) -> str:
        """The name of the branch in messages."""
        return self._branch.name

    @property
    def alternative(self) -> str:
        """A hint for the user if the branch holds files that are not a site."""
        return self._branch.alternative

    @contextlib.contextmanager
    def open(self, keep: Sequence[str], *, dry_run: bool) -> Iterator[OpenDestination]:
        """Fetch the branch; see `Destination`."""
        yield _OpenBranch(self._branch, (*BRANCH_KEEPS, *keep))


class _OpenBranch:
    """A branch that was fetched."""

    def __init__(self, branch: Branch, keep: Sequence[str]) -> None:
        self._branch, self._there = branch, branch.fetch()
        below = SitesBelow(self._there, self._read)
        own = {path for path in self._there if not below.hold(path) and not is_kept(path, keep)}
        self.contents = Contents(own, self._read(HISTORY), below)

    def _read(self, path: str) -> bytes | None:
        return self._branch.read(self._there[path]) if path in self._there else None

    def holds(self, site: Fingerprints) -> bool:
        """Return False: git compares by its own ids, which fingerprints do not have."""
        return False

    def write(self, rendering: Rendering, *, dry_run: bool) -> Changes:
        """Write the site as a tree, and push it; see `OpenDestination`."""
        there, own = self._there, self.contents.paths
        files: dict[str, None] = {}

        def changed() -> Iterator[tuple[str, bytes | None]]:
            for path, data in self.contents.below.refuse_below(rendering.files):
                files[path] = None
                yield path, data
            yield from ((path, None) for path in there if path in own and path not in files)

        # The new tree starts from the old one, so that files that stay are neither read nor written.
        written = self._branch.write(changed())
        uploaded = [path for path in files if there.get(path) != written[path]]
        deleted = as_text(path for path in there if path not in written)
        if not dry_run and (uploaded or deleted):
            self._branch.push(f"Publish {rendering.commit}\n")
        return Changes(len(files), uploaded, deleted)
