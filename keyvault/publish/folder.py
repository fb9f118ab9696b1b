"""
Write a site to a folder: assemble it beside the folder, then swap the two, so that a reader never sees half a site.

Sources: docs/format.md; docs/publishing.md.
"""

from __future__ import annotations

import contextlib
import hashlib
import os
import shutil
import stat
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from keyvault.core.files import SiteFile, Unchanged
from keyvault.core.text import elided
from keyvault.errors import RenderError, UsageError
from keyvault.flush import flush
from keyvault.progress import Progress, quiet
from keyvault.publish.destination import (
    HISTORY,
    MARKERS,
    Changes,
    Contents,
    OpenDestination,
    Rendering,
    SitesBelow,
    as_text,
    is_kept,
)
from keyvault.publish.fingerprints import Fingerprints
from keyvault.publish.stamp import Mark, StaleError, Stamp, StampFile, folder_id, mark_of, marks_below
from keyvault.publish.swap import (
    StagingFolder,
    exclusive,
    folder_matches,
    lies_below,
    restore_site,
    site_above,
    spare_of,
)

#: How much of a file is read at once, to compare it.
_BLOCK = 1 << 20


@dataclass(frozen=True, slots=True)
class Written:
    """
    The result of writing a site to a folder.

    Attributes:
        files: How many files the site has.
        changed: How many of them are new or differ from the files that were there.
        changed_paths: Their paths.
        deleted_paths: The paths that were there and are not part of the site.
    """

    files: int
    changed: int
    changed_paths: list[str] = field(default_factory=list, compare=False)
    deleted_paths: list[str] = field(default_factory=list, compare=False)


def write_site(
    files: Iterable[SiteFile],
    output: Path,
    *,
    protected: Path | None = None,
    keep: Sequence[str] = (),
    stamp_file: StampFile | None = None,
    previous: Stamp | None = None,
    progress: Progress = quiet,
) -> Written:
    """
    Write *files* to the folder *output*, in place of the site that is there.

    A file that has the same bytes already stays; if all files do, nothing is touched. Sites below stay.

    Args:
        files: The site; an `Unchanged` file is as *previous* says.
        output: The folder; created if it does not exist.
        protected: A folder that must not be written over: *output* may lie in it, but not be it or hold it.
        keep: Patterns of paths that stay, though the site does not have them.
        stamp_file: The file of the folder's stamp; None to keep no stamp.
        previous: The stamp of the previous site, if files may be `Unchanged`.
        progress: Called with the work that follows the last file.

    Raises:
        StaleError: If the folder differs from *previous*; it is unchanged.
        GateError: If a path lies in a site below *output*.
        UsageError: If *output* is not a folder of ours.
        RenderError: If it cannot be written; the old site is unchanged.
    """
    folder = SiteFolder(output, protected, keep, progress=progress)
    with exclusive(folder.output):
        restore_site(folder.output)
        below = folder.check().below
        if previous is not None and (previous.folder != folder_id(folder.output) or below.folders):
            raise StaleError
        return folder.write(files, below, stamp_file=stamp_file, previous=previous)


def is_stamped(output: Path, stamp: Stamp) -> bool:
    """Whether *output* is, file by file, as its stamp says."""
    output = Path(os.path.abspath(output))  # noqa: PTH100 - as SiteFolder
    try:
        with exclusive(output):
            return stamp.folder == folder_id(output) and marks_below(str(output)) == stamp.files
    except OSError:
        return False


class SiteFolder:
    """A folder that a site is written to."""

    def __init__(
        self,
        output: Path,
        protected: Path | None,
        keep: Sequence[str] = (),
        *,
        served: bool = False,
        progress: Progress = quiet,
    ) -> None:
        """
        Args:
            output: As for `write_site`.
            protected: As for `write_site`.
            keep: As for `write_site`.
            served: Whether a host serves the folder itself: then a power failure must not leave it with empty files.
                Any other folder is repaired by the next run.
            progress: As for `write_site`.
        """
        self.output = Path(os.path.abspath(output))  # noqa: PTH100 - resolve() would follow a link that was meant
        self._protected, self._keep, self._served, self._progress = protected, keep, served, progress
        #: The paths below the folder when it was checked.
        self._present: set[str] = set()

    def check(self) -> Contents:
        """
        Return the contents of the folder.

        Raises:
            UsageError: If it holds the vault, is not a folder, or holds files that are not part of a site.
        """
        output = self.output
        real = os.path.realpath(output)  # resolve() raises where links go round in circles
        if self._protected is not None and self._protected.resolve().is_relative_to(real):
            raise UsageError(
                f"{output} contains the vault, which a site must not replace",
                code="folder-has-vault",
                hint="name another folder, such as public",
            )
        _check_is_folder(output)
        paths = self._present = set(paths_below(output))
        # A link that leads to a site is a site, too.
        linked = {f"{path}/{HISTORY}" for path in paths if os.path.islink(f"{output}/{path}")}  # noqa: PTH114 - strings
        below = SitesBelow(paths | linked, self._read)
        own = {path for path in paths if not below.hold(path) and not is_kept(path, self._keep)}
        above = site_above(output)
        is_ours = not output.is_dir() or all((output / name).is_file() for name in MARKERS)
        # Empty folders may belong to somebody, unless files to keep, or sites below, explain them.
        explained = bool(self._keep or below.folders)
        if not is_ours and (own or (not explained and any(output.iterdir()))):
            raise self._foreign(min(own, default=None), above)
        return Contents(own, self._read(HISTORY), below, None if above is None else str(above))

    def _foreign(self, path: str | None, above: Path | None) -> UsageError:
        example = "" if path is None else f", such as {elided(path)[:100]}"
        owner = "" if above is None else f"; it lies in the site at {elided(str(above))}"
        return UsageError(
            f"{elided(str(self.output))} holds files that are not a rendered site{example}{owner}",
            code="place-not-a-site",
            hint="name an empty folder, or one that render wrote"
            + ("; --keep GLOB leaves files there" if self._served else ""),
        )

    def _read(self, path: str) -> bytes | None:
        try:
            return (self.output / path).read_bytes()
        except OSError:
            return None

    def write(
        self,
        files: Iterable[SiteFile],
        below: SitesBelow,
        *,
        stamp_file: StampFile | None = None,
        previous: Stamp | None = None,
        dry_run: bool = False,
    ) -> Written:
        """Write *files*, as `write_site`; the folder is locked, and was checked. A dry run only compares."""
        output, staging = self.output, None
        #: Every path of the site, with its mark if the file stays as it is.
        paths: dict[str, Mark | None] = {}
        changed: list[str] = []
        old = output.is_dir()
        try:
            for file in below.refuse_below(files):
                path = file.path
                _check_path(path)
                if isinstance(file, Unchanged):
                    if previous is None or path not in previous.files:
                        raise StaleError
                    paths[path] = previous.files[path]
                elif old and (mark := mark_if_equal(output / path, file.data)):
                    paths[path] = mark
                else:
                    paths[path] = None
                    changed.append(path)
                    if not dry_run:
                        staging = staging or StagingFolder(output, previous, served=self._served)
                        staging.write(path, file.data)
            gone = [path for path in (previous.files if previous else self._present) if path not in paths]
            kept = [path for path in gone if is_kept(path, self._keep) or below.hold(path)]
            written = Written(len(paths), len(changed), changed, as_text(set(gone).difference(kept)))
            if dry_run:
                return written
            if staging is None and old and len(kept) == len(gone):
                if previous and not folder_matches(str(output), paths):
                    raise StaleError
                if stamp_file and not previous:  # an old program wrote the folder, or its stamp was lost
                    stamp_file.save_for(output, paths)
                return written
            self._progress("putting the site in place", 0, 0)
            staging = staging or StagingFolder(output, previous, served=self._served)
            staging.fill_unchanged(paths, kept)
            if self._served:
                flush(staging.written)
            if stamp_file:
                stamp_file.forget()
            staging.swap()
            if stamp_file:
                shutil.rmtree(spare_of(output), ignore_errors=True)
                if len(paths) >= stamp_file.least:
                    staging.keep_as_spare()
                stamp_file.save_for(output, paths, spare=folder_id(spare_of(output)), changed=(*changed, *gone))
        except OSError as error:
            raise RenderError(
                f"{elided(str(output))} cannot be written: {error.strerror}", code="folder-not-writable"
            ) from None
        finally:
            if staging is not None and staging.folder.exists():
                self._progress("removing temporary files", 0, 0)
                shutil.rmtree(staging.folder, ignore_errors=True)
        return written


class FolderDestination:
    """A folder as a destination of `publish`."""

    def __init__(self, output: Path, protected: Path, progress: Progress) -> None:
        """
        Args:
            output: The folder.
            protected: The vault, which must not be written over.
            progress: Called with the work that follows the last file.
        """
        self._output, self._protected, self._progress = output, protected, progress

    @property
    def name(self) -> str:
        """The name of the folder in messages."""
        return elided(str(self._output))

    @property
    def alternative(self) -> str:
        """A hint for the user if the folder holds files that are not a site."""
        return "name an empty folder; --keep GLOB leaves files there"

    @contextlib.contextmanager
    def open(self, keep: Sequence[str], *, dry_run: bool) -> Iterator[OpenDestination]:
        """Lock the folder and list its files; see `Destination`."""
        folder = SiteFolder(self._output, self._protected, keep, served=True, progress=self._progress)
        with contextlib.nullcontext() if dry_run else exclusive(folder.output):
            if not dry_run:
                restore_site(folder.output)
            yield _OpenFolder(folder, keep)


class _OpenFolder:
    """A folder that is locked, and was listed."""

    def __init__(self, folder: SiteFolder, keep: Sequence[str]) -> None:
        self._folder, self._keep = folder, keep
        self.contents = folder.check()

    def holds(self, site: Fingerprints) -> bool:
        """Whether the folder has just the files of *site*; see `OpenDestination`."""
        output, files = self._folder.output, site.files
        others = [path for path in paths_below(output) if path not in files]
        if not all(is_kept(path, self._keep) or self.contents.below.hold(path) for path in others):
            return False
        return all(_has_digest(f"{output}/{path}", *wanted) for path, wanted in files.items())

    def write(self, rendering: Rendering, *, dry_run: bool) -> Changes:
        """Write the site beside the folder, and swap it in; see `OpenDestination`."""
        done = self._folder.write(rendering.files, self.contents.below, dry_run=dry_run)
        return Changes(done.files, done.changed_paths, done.deleted_paths)


def _has_digest(target: str, size: int, _md5: bytes, sha256: bytes) -> bool:
    try:
        found = os.lstat(target)
        if not stat.S_ISREG(found.st_mode) or found.st_size != size:
            return False
        with Path(target).open("rb", buffering=0) as file:
            digest = hashlib.sha256()
            while block := file.read(_BLOCK):
                digest.update(block)
    except OSError:
        return False
    return digest.digest() == sha256


def paths_below(folder: Path) -> Iterator[str]:
    """
    Yield the path of everything below *folder* that is not a folder, relative to it.

    A link to a folder counts as a file. A folder that does not exist has no paths.
    """
    pending = [""]
    while pending:
        below = pending.pop()
        try:
            with os.scandir(f"{folder}/{below}") as entries:
                for entry in entries:
                    if entry.is_dir(follow_symlinks=False):
                        pending.append(f"{below}{entry.name}/")
                    else:
                        yield below + entry.name
        except (FileNotFoundError, NotADirectoryError):
            continue


def _check_path(path: str) -> None:
    if not lies_below(path):
        raise RenderError(f"{path!r:.200} does not lie in the site: nothing was written", code="path-outside-site")


def mark_if_equal(target: Path, data: bytes) -> Mark | None:
    """Return the mark of *target* if it is a plain file with just these bytes."""
    try:
        found = target.lstat()
        same = stat.S_ISREG(found.st_mode) and found.st_size == len(data) and target.read_bytes() == data
    except (FileNotFoundError, NotADirectoryError):
        return None
    return mark_of(found) if same else None


def _check_is_folder(output: Path) -> None:
    if output.is_symlink():
        target = os.readlink(output)  # noqa: PTH115 - a string, to be shown
        raise UsageError(
            f"{elided(str(output))} is not a folder but a symbolic link to {elided(target)}",
            code="folder-is-link",
            hint=f"name the folder itself: {elided(os.path.realpath(output))}",
        )
    if output.exists() and not output.is_dir():
        raise UsageError(f"{elided(str(output))} is not a folder", code="not-a-folder")
