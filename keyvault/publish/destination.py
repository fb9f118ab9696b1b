"""
What folders, object stores and branches have in common as destinations of a site.

A place may hold several sites, some below others. Each site is recognised by its history.json, and no site writes or
deletes below the root of another site.

Source: docs/publishing.md.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass
from fnmatch import fnmatchcase
from typing import Protocol, TypeVar

import msgspec

from keyvault.core.files import Rendered, SiteFile
from keyvault.core.text import elided
from keyvault.errors import GateError
from keyvault.publish.fingerprints import Fingerprints

#: The document that lists the keys of a site and names its commit.
HISTORY = "history.json"

#: Together they mark a folder that `render` wrote, and so may replace. Many folders of hand-made pages have the first.
MARKERS = (".nojekyll", HISTORY)

#: Ends of the names of folders in which a site is assembled, or kept for the next render.
STAGING, SPARE = ".keyvault-new", ".keyvault-spare"

_COMMIT = re.compile(r"[0-9a-f]{40}(?:[0-9a-f]{24})?")

File = TypeVar("File", bound=SiteFile)


@dataclass(frozen=True, slots=True)
class Contents:
    """
    The files of a place before a publication.

    Attributes:
        paths: The path of each file that is neither kept nor part of a site below the place.
        history: The bytes of its history.json, or None.
        below: The sites below the place, which stay.
        above: The name of the site that the place lies in, or None.
    """

    paths: Collection[str]
    history: bytes | None
    below: SitesBelow
    above: str | None = None


@dataclass(frozen=True, slots=True)
class Rendering:
    """
    A site while it is rendered.

    Attributes:
        commit: The commit that the site shows.
        files: Its files, JWK Sets first.
        documents: The paths of the files that verifiers read.
        headers: Returns the headers of a path.
    """

    commit: str
    files: Iterator[Rendered]
    documents: Collection[str]
    headers: Callable[[str], Mapping[str, str]]


@dataclass(frozen=True, slots=True)
class Changes:
    """
    The changes of a publication, or of a dry run.

    Attributes:
        files: The number of files of the site.
        uploaded: The paths that were new or different at the place, in the order of writing.
        deleted: The paths that were at the place and are not part of the site.
    """

    files: int
    uploaded: list[str]
    deleted: list[str]


class OpenDestination(Protocol):
    """An open destination: its files are listed, and other publishers wait if the place has locks."""

    @property
    def contents(self) -> Contents:
        """The files of the place before the publication."""

    def holds(self, site: Fingerprints) -> bool:
        """Whether the place has just the files of *site*, by content, besides those that stay."""

    def write(self, rendering: Rendering, *, dry_run: bool) -> Changes:
        """
        Make the place hold the rendered site, kept files and the sites below; in a dry run, only compare.

        Nothing is written before the whole site is rendered.

        Raises:
            GateError: If a path of the site lies in a site below.
            ConflictError: If somebody else publishes at the same time.
            PublishError: If the place cannot be read or written; RenderError if it is a folder.
        """


class Destination(Protocol):
    """A place that a site can be published to."""

    @property
    def name(self) -> str:
        """The name of the place in messages."""

    @property
    def alternative(self) -> str:
        """A hint for the user if the place holds files that are not a site."""

    def open(self, keep: Sequence[str], *, dry_run: bool) -> AbstractContextManager[OpenDestination]:
        """
        Open the place.

        Args:
            keep: Patterns of paths that stay though they are not part of the site.
            dry_run: Whether nothing will be written: then nobody waits, and nothing is repaired.

        Raises:
            KeyVaultError: If the place cannot be read, or is not fit for a site.
        """


def live_commit(history: bytes | None) -> str | None:
    """Return the commit that the history.json of a site names, or None."""
    try:
        document = msgspec.json.decode(history or b"")
    except (msgspec.MsgspecError, RecursionError, UnicodeDecodeError):
        return None
    commit = document.get("commit") if isinstance(document, dict) else None
    return commit if isinstance(commit, str) and _COMMIT.fullmatch(commit) else None


def is_kept(path: str, keep: Sequence[str]) -> bool:
    """Whether a pattern of *keep* matches *path*, or a folder that it lies in."""
    return any(fnmatchcase(path, pattern) or fnmatchcase(path, f"{pattern.rstrip('/')}/*") for pattern in keep)


def as_text(paths: Iterable[str]) -> list[str]:
    """Return *paths* sorted, and as JSON can hold them: the name of a file need not be text."""
    return sorted(path.encode(errors="surrogateescape").decode(errors="backslashreplace") for path in paths)


# --- sites below others ---------------------------------------------------------------------------------


class SitesBelow:
    """
    The sites that lie below the root of a place.

    Attributes:
        folders: The folder of each, sorted; of a site within such a site, only the outer folder.
    """

    def __init__(self, paths: Collection[str], read: Callable[[str], bytes | None]) -> None:
        """
        Find the sites among *paths*.

        A folder is a site if it has both markers, or a history.json that names a commit: an upload to an object store
        begins with that file. Our own sites have no second history.json that does.

        Args:
            paths: The paths of all files.
            read: Returns the file at a path, or None.
        """
        found = [path.removesuffix(f"/{HISTORY}") for path in paths if path.endswith(f"/{HISTORY}")]
        self.folders: tuple[str, ...] = ()
        for folder in sorted(found, key=lambda name: name.split("/")):
            if self.hold(folder) or folder.endswith((STAGING, SPARE)):
                continue
            if f"{folder}/{MARKERS[0]}" in paths or live_commit(read(f"{folder}/{HISTORY}")):
                self.folders += (folder,)
        self._parents = {above for folder in self.folders for above in _folders_above(folder)}

    def hold(self, path: str) -> bool:
        """Whether *path* is, or lies in, such a site."""
        return bool(self.folders) and (path in self.folders or any(up in self.folders for up in _folders_above(path)))

    def refuse_below(self, files: Iterable[File]) -> Iterator[File]:
        """
        Yield *files*, and refuse any that lies in such a site.

        Raises:
            GateError: If a file lies in such a site, or has the path of a folder that such a site lies in.
        """
        for file in files:
            path = file.path
            if self.folders and (path in self._parents or self.hold(path)):
                site = next(name for name in self.folders if f"{path}/".startswith(f"{name}/") or name.startswith(path))
                raise GateError(
                    f"{elided(path)} of this site would lie in {elided(site)}/, which is another site",
                    code="site-below",
                    hint=f"publish elsewhere, or remove {elided(site)}/ first if nobody needs that site",
                )
            yield file


def _folders_above(path: str) -> Iterator[str]:
    parts = path.split("/")
    return ("/".join(parts[:count]) for count in range(1, len(parts)))
