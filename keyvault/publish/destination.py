"""
Places that a site is published to, and the rules that hold for each of them: folders, object stores and branches.

A place may hold several sites, some below others. Each site is recognised by its history.json, and no site writes or
deletes below the root of another site.

Source: docs/publishing.md.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from fnmatch import fnmatchcase
from typing import Protocol, TypeVar

import msgspec

from keyvault.core.text import elided
from keyvault.errors import GateError
from keyvault.publish.fingerprints import Fingerprints

#: States the keys of a site, and the commit that the site shows.
HISTORY = "history.json"

#: Together they mark a folder that `render` wrote, and so may replace. The first alone stands in many folders of
#: hand-made pages.
MARKERS = (".nojekyll", HISTORY)

#: Ends of the names of folders in which a site is assembled, or kept for the next render.
STAGING, SPARE = ".keyvault-new", ".keyvault-spare"

_COMMIT = re.compile(r"[0-9a-f]{40}(?:[0-9a-f]{24})?")

T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class Contents:
    """
    The files of a place before it is published to.

    Attributes:
        paths: The path of each file that is neither kept nor part of a site below the place.
        history: Its history.json, or None.
        above: The site that the place lies in, or None.
    """

    paths: Collection[str]
    history: bytes | None
    above: str | None = None


@dataclass(frozen=True, slots=True)
class Changes:
    """
    The changes of a publication, or of a dry run.

    Attributes:
        files: How many files the site has.
        documents: Paths of the files that verifiers read.
        uploaded: Paths that were new or different there, in the order of writing.
        deleted: Paths that were there and are not part of the site.
        sites_below: Folders of the place that are sites of their own: they stay.
        site_above: The site that the place lies in, or None.
    """

    files: int
    documents: Collection[str]
    uploaded: list[str]
    deleted: list[str]
    sites_below: tuple[str, ...] = ()
    site_above: str | None = None


@dataclass(frozen=True, slots=True)
class Rendering:
    """
    A site that is being rendered.

    Attributes:
        files: The files, one by one, JWK Sets first.
        documents: Paths of the files that verifiers read.
        headers: Returns the headers of a path.
    """

    files: Iterator[tuple[str, bytes]]
    documents: Collection[str]
    headers: Callable[[str], Mapping[str, str]]


@dataclass(frozen=True, slots=True)
class Site:
    """
    The site of a commit.

    Attributes:
        commit: The commit.
        known: Fingerprints of all files, if this commit was rendered before.
        render: Starts to render the site.
    """

    commit: str
    known: Fingerprints | None
    render: Callable[[], Rendering]


#: Raises if the site must not go to a place with such contents.
Gate = Callable[[Contents], None]


class Destination(Protocol):
    """A place that a site can be published to."""

    @property
    def name(self) -> str:
        """The name of the place in messages."""

    @property
    def alternative(self) -> str:
        """What to do if the place holds files that are not a site."""

    def put(self, site: Site, gate: Gate, *, keep: Sequence[str], dry_run: bool) -> Changes:
        """
        Make the place hold *site*, files that match *keep*, and the sites below it; in a dry run, only compare.

        Nothing is written before the whole site is rendered and *gate* has passed.

        Raises:
            GateError: If a path of the site lies in a site below.
            ConflictError: If somebody else publishes at the same time.
            KeyVaultError: If *gate* refuses, or the place cannot be read or written.
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

    def without(self, files: Iterator[tuple[str, T]]) -> Iterator[tuple[str, T]]:
        """
        Yield *files*, none of which lies in such a site.

        Raises:
            GateError: If a file does, or stands in the way of one.
        """
        for path, data in files:
            if self.folders and (path in self._parents or self.hold(path)):
                site = next(one for one in self.folders if f"{path}/".startswith(f"{one}/") or one.startswith(path))
                raise GateError(
                    f"{elided(path)} of this site would lie in {elided(site)}/, which is another site",
                    hint=f"publish elsewhere, or remove {elided(site)}/ first if nobody needs that site",
                )
            yield path, data


def _folders_above(path: str) -> Iterator[str]:
    parts = path.split("/")
    return ("/".join(parts[:count]) for count in range(1, len(parts)))
