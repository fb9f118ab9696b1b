"""
Publish a site as a branch of a remote: one commit without a parent, whose history is that of the vault.

All work with git is done by `keyvault.repo`; this module states what it needs of it.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from typing import Protocol

from keyvault.publish.destination import HISTORY, Changes, Contents, Gate, Site, SitesBelow, as_text, is_kept

#: A branch that GitHub Pages serves has the name of its domain in this file.
BRANCH_KEEPS = ("CNAME",)


class Branch(Protocol):
    """A branch of a remote, as `put` needs it."""

    @property
    def name(self) -> str:
        """The name of the branch in messages."""

    @property
    def alternative(self) -> str:
        """What to do if the branch holds files that are not a site."""

    def fetch(self) -> dict[str, str]:
        """Fetch the branch, and return the id of each of its files by path."""

    def read(self, oid: str) -> bytes:
        """Return the file with the id *oid*."""

    def write(self, files: Iterable[tuple[str, bytes | None]]) -> dict[str, str]:
        """Prepare the branch with *files* changed, None for a file that goes, and return ids as `fetch` does."""

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
        """What to do if the branch holds files that are not a site."""
        return self._branch.alternative

    def put(self, site: Site, gate: Gate, *, keep: Sequence[str], dry_run: bool) -> Changes:
        """Make the branch hold *site*; see `Destination`."""
        keep = (*BRANCH_KEEPS, *keep)
        there = self._branch.fetch()

        def read(path: str) -> bytes | None:
            return self._branch.read(there[path]) if path in there else None

        below = SitesBelow(there, read)
        own = {path for path in there if not below.hold(path) and not is_kept(path, keep)}
        gate(Contents(own, read(HISTORY)))
        rendering = site.render()
        files: dict[str, None] = {}

        def changed() -> Iterator[tuple[str, bytes | None]]:
            for path, data in below.without(rendering.files):
                files[path] = None
                yield path, data
            yield from ((path, None) for path in there if path in own and path not in files)

        # Begun on the branch as it is, so that files that stay are neither read nor written again.
        written = self._branch.write(changed())
        uploaded = [path for path in files if there.get(path) != written[path]]
        deleted = as_text(path for path in there if path not in written)
        if not dry_run and (uploaded or deleted):
            self._branch.push(f"Publish {site.commit}\n")
        return Changes(len(files), rendering.documents, uploaded, deleted, below.folders)
