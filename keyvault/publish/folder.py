"""
Write a site to a folder: beside it first, then swapped in, so that a reader never sees half a site.

Source: docs/format.md; rename(2).
"""

from __future__ import annotations

import contextlib
import os
import shutil
import stat
import sys
import tempfile
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from fnmatch import fnmatchcase
from pathlib import Path

from keyvault.core.text import elided
from keyvault.errors import RenderError, UsageError
from keyvault.flush import flush
from keyvault.progress import Progress, quiet
from keyvault.publish.stamp import Mark, StaleError, Stamp, Stamps, mark_of, marks_below, place_of

#: What a site says of its keys, and of the commit that it shows.
HISTORY = "history.json"

#: Together they mark a folder as one that render made, and so may replace. The first alone stands in many
#: folders of hand-made pages.
MARKERS = (".nojekyll", HISTORY)


#: How long a run waits for another one that writes beside the same place.
LOCK_WAIT = 60.0

#: Ends of the names of folders in which a site is put together, was moved aside, or is kept for the next render.
_NEW, _OLD, _SPARE = ".keyvault-new", ".keyvault-old", ".keyvault-spare"


@dataclass(frozen=True, slots=True)
class Written:
    """
    What became of a site.

    Attributes:
        files: How many files it has.
        changed: How many of them are new or differ from what was there.
    """

    files: int
    changed: int


def write_site(
    files: Iterable[tuple[str, bytes | None]],
    output: Path,
    *,
    protected: Path | None = None,
    keep: Sequence[str] = (),
    gate: Callable[[], None] = lambda: None,
    served: bool = False,
    stamps: Stamps | None = None,
    known: Stamp | None = None,
    progress: Progress = quiet,
) -> Written:
    """
    Write *files* to the folder *output*, in place of the site that is there.

    A file that is there already, byte for byte, is taken along as it is; where all are, nothing is touched.

    Args:
        files: The site, as (path, bytes); None for what is as *known* says.
        output: The folder; made where it is missing.
        protected: A folder that must not be written over: *output* may lie in it, but not be it or hold it.
        keep: Patterns of paths that stay, though the site does not have them.
        served: Whether the folder is what a host serves: then a loss of power must not leave it with empty files. Of
            any other one the next run writes again what is not as it should be.
        gate: Asked once nobody else writes there any more; it raises where the site must not go there.
        stamps: Where the stamp of the folder is kept; None where nothing stays.
        known: That stamp as it was before, if it is believed.
        progress: Told what is done behind the last file.

    Raises:
        StaleError: The folder is not what *known* says; it is as it was.
        UsageError: *output* is not a folder of ours.
        RenderError: It cannot be written. The old site is as it was.
    """
    output = Path(os.path.abspath(output))  # noqa: PTH100 - resolve() would follow a link that was meant
    with _alone(output):
        _recover(output)
        check_output(output, protected, keep)
        gate()
        if known is not None and known.folder != place_of(output):
            raise StaleError
        return _write(files, output, keep, served, stamps, known, progress)


def is_stamped(output: Path, known: Stamp) -> bool:
    """Whether *output* is, file by file, what its stamp says."""
    try:
        with _alone(output):
            return known.folder == place_of(output) and marks_below(str(output)) == known.files
    except OSError:
        return False


def _write(
    files: Iterable[tuple[str, bytes | None]],
    output: Path,
    keep: Sequence[str],
    served: bool,
    stamps: Stamps | None,
    known: Stamp | None,
    progress: Progress,
) -> Written:
    beside: _Beside | None = None
    #: Every path of the site, with its mark where it stays as it is.
    paths: dict[str, Mark | None] = {}
    changed: list[str] = []
    old = output.is_dir()
    try:
        for path, data in files:
            _check_path(path)
            if data is None:
                if known is None or path not in known.files:
                    raise StaleError
                paths[path] = known.files[path]
            elif old and (mark := holds(output / path, data)):
                paths[path] = mark
            else:
                paths[path] = None
                beside = beside or _Beside(output, known, served=served)
                beside.write(path, data)
                changed.append(path)
        gone = [path for path in (known.files if known else paths_below(output)) if path not in paths]
        kept = [path for path in gone if is_kept(path, keep)]
        if beside is None and old and len(kept) == len(gone):
            if known and not is_as(str(output), paths):
                raise StaleError
            if stamps and not known:  # written before there were stamps, or the stamp was lost
                stamps.save_for(output, paths)
            return Written(len(paths), 0)
        progress("putting the site in place", 0, 0)
        beside = beside or _Beside(output, known, served=served)
        beside.complete(paths, kept)
        if served:
            flush(beside.written)
        if stamps:
            stamps.forget()
        beside.swap()
        if stamps:
            shutil.rmtree(_spare(output), ignore_errors=True)
            if len(paths) >= stamps.least:
                beside.become_spare()
            stamps.save_for(output, paths, spare=place_of(_spare(output)), behind=(*changed, *gone))
    except OSError as error:
        raise RenderError(f"{elided(str(output))} cannot be written: {error.strerror}") from None
    finally:
        if beside is not None and beside.folder.exists():
            progress("removing what is not needed", 0, 0)
            shutil.rmtree(beside.folder, ignore_errors=True)
    return Written(len(paths), len(changed))


def is_as(folder: str, paths: Mapping[str, Mark | None]) -> bool:
    """Whether *folder* holds just *paths*, each with its mark, or with any where that is None."""
    found = marks_below(folder)
    return len(found) == len(paths) and all(
        path in found and mark in (None, found[path]) for path, mark in paths.items()
    )


@contextlib.contextmanager
def _alone(output: Path) -> Iterator[None]:
    """
    Hold the lock of the folder that *output* lies in; the operating system lets go of it when its holder dies.

    It is the folder itself that is locked, so no file is left behind. Where a system cannot, nobody waits.
    """
    try:
        import fcntl
    except ImportError:
        yield
        return
    folder = output.parent
    while not folder.is_dir() and folder != folder.parent:
        folder = folder.parent
    try:
        handle = os.open(folder, os.O_RDONLY)
    except OSError as error:
        raise RenderError(f"{elided(str(folder))} cannot be read: {error.strerror}") from None
    try:
        deadline = time.monotonic() + LOCK_WAIT
        while True:
            try:
                fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
                break
            except BlockingIOError:
                if time.monotonic() > deadline:
                    raise RenderError(
                        f"another keyvault has been writing beside {output} for {LOCK_WAIT:.0f} s", hint="wait for it"
                    ) from None
                time.sleep(0.05)
            except OSError:  # a file system without locks
                break
        yield
    finally:
        os.close(handle)


def _recover(output: Path) -> None:
    """Put back the site that a dead run had moved aside, and remove what it had begun; nobody else is at work here."""
    prefix = f".{output.name}."
    try:
        left = [one for one in output.parent.iterdir() if one.name.startswith(prefix)]
    except OSError:
        return
    for one in left:
        if one.suffix == _OLD and not output.exists():
            with contextlib.suppress(OSError):
                one.rename(output)
        elif one.suffix in (_OLD, _NEW) and one.is_dir() and not one.is_symlink():
            shutil.rmtree(one, ignore_errors=True)


def paths_below(folder: Path) -> Iterator[str]:
    """Yield the path of each file below *folder*, relative to it; none where there is no such folder."""
    for place, _, names in os.walk(folder):
        below = "" if place == str(folder) else Path(place).relative_to(folder).as_posix() + "/"
        yield from (below + name for name in names)


def is_kept(path: str, keep: Sequence[str]) -> bool:
    """Whether one of the patterns *keep* is that of *path*, or of a folder that it lies in."""
    return any(fnmatchcase(path, pattern) or fnmatchcase(path, f"{pattern.rstrip('/')}/*") for pattern in keep)


def _lies_below(path: str) -> bool:
    return bool(path) and not (path.startswith("/") or ".." in path.split("/") or os.path.isabs(path))  # noqa: PTH117 - a string


def _check_path(path: str) -> None:
    if not _lies_below(path):
        raise RenderError(f"{path!r:.200} does not lie in the site: nothing was written")


def holds(target: Path, data: bytes) -> Mark | None:
    """Return the mark of *target* if it is a plain file with just these bytes."""
    try:
        found = target.lstat()
        same = stat.S_ISREG(found.st_mode) and found.st_size == len(data) and target.read_bytes() == data
    except (FileNotFoundError, NotADirectoryError):
        return None
    return mark_of(found) if same else None


def check_output(output: Path, protected: Path | None, keep: Sequence[str] = ()) -> None:
    """
    Refuse a folder that a site is not written to; what *keep* names may lie in any.

    Raises:
        UsageError: It holds *protected*, is no folder, or holds files that are no site.
    """
    real = os.path.realpath(output)  # resolve() raises where links go round in circles
    if protected is not None and protected.resolve().is_relative_to(real):
        raise UsageError(f"{output} holds the vault itself: a site is not written over it", hint="render -o public")
    if output.is_symlink() or (output.exists() and not output.is_dir()):
        raise UsageError(f"{output} is not a folder")
    foreign = output.is_dir() and not all((output / name).is_file() for name in MARKERS)
    if foreign and (
        any(not is_kept(path, keep) for path in paths_below(output)) or (not keep and any(output.iterdir()))
    ):
        raise UsageError(
            f"{elided(str(output))} holds files that are not a rendered site",
            hint="name an empty folder, or one that render made",
        )


def _mode(path: str) -> int:
    try:
        return os.lstat(path).st_mode
    except FileNotFoundError:
        return 0


def _mark(path: Path) -> Mark | None:
    try:
        return mark_of(os.lstat(path))
    except (FileNotFoundError, NotADirectoryError):
        return None


def _spare(output: Path) -> Path:
    return output.with_name(f".{output.name}{_SPARE}")


def _opener(path: str, flags: int) -> int:
    handle = os.open(path, flags, 0o644)
    if os.fstat(handle).st_mode & 0o777 != 0o644:
        os.chmod(path, 0o644)  # noqa: PTH101 - a site is for everybody to read, whatever the umask
    return handle


def _exchange(one: Path, other: Path) -> bool:
    """Let two folders swap their names in one step, where system and file system can do that."""
    import ctypes

    swap, here = 2, -100  # RENAME_EXCHANGE, RENAME_SWAP; AT_FDCWD
    try:
        library = ctypes.CDLL(None)
        if sys.platform == "darwin":
            return bool(library.renamex_np(os.fsencode(one), os.fsencode(other), swap) == 0)
        return bool(library.renameat2(here, os.fsencode(one), here, os.fsencode(other), swap) == 0)
    except (AttributeError, OSError, TypeError):  # no such call; Windows has no library of that name
        return False


class _Beside:
    """
    A folder beside *output* in which the new site is put together.

    Where the stamp *known* names a spare, the site of before, it is made of that: it lacks little.
    """

    def __init__(self, output: Path, known: Stamp | None = None, *, served: bool = False) -> None:
        output.parent.mkdir(parents=True, exist_ok=True)
        self._output, self._known, self._served = output, known, served
        self.folder = Path(tempfile.mkdtemp(prefix=f".{output.name}.", suffix=_NEW, dir=output.parent))
        spare = _spare(output)
        self._spare = known is not None and known.spare is not None and known.spare == place_of(spare)
        if self._spare:
            # Under the name of what is begun: should this run die, it is no spare any more.
            self.folder.rmdir()
            spare.rename(self.folder)
        # A site is for everybody to read, whatever the umask of the job that renders it.
        self.folder.chmod(0o755)
        self._folders = {""}
        #: What has data of its own, in the new folder of a site that is served.
        self.written: list[str] = []

    def _target(self, path: str) -> str:
        # Strings, since a site may have a hundred thousand files and a Path takes as long as writing one.
        folder = path.rpartition("/")[0]
        missing = []
        while folder not in self._folders:
            missing.append(folder)
            folder = folder.rpartition("/")[0]
        for folder in reversed(missing):
            made = f"{self.folder}/{folder}"
            # What stands in the way, such as a link that leads out of the site, makes this fail.
            if not (self._spare and stat.S_ISDIR(_mode(made))):
                os.mkdir(made)  # noqa: PTH102 - a string, as said above
                os.chmod(made, 0o755)  # noqa: PTH101, S103 - everybody reads a site
            self._folders.add(folder)
        return f"{self.folder}/{path}"

    def write(self, path: str, data: bytes) -> None:
        """Write a file that is new or has changed."""
        target = self._target(path)
        self._make_way(target)
        with open(target, "wb", opener=_opener) as file:
            file.write(data)
        self._note(target)

    def _note(self, target: str) -> None:
        if self._served:
            self.written.append(target)

    def _make_way(self, target: str) -> None:
        # A file of a spare may be that of the served site, too: it is never written into.
        if self._spare:
            with contextlib.suppress(FileNotFoundError):
                os.unlink(target)  # noqa: PTH108 - a string, as said above

    def complete(self, paths: dict[str, Mark | None], kept: Iterable[str]) -> None:
        """
        Take along all of *paths* that was not written, and *kept*.

        Raises:
            StaleError: A file is not what the stamp says.
        """
        known = self._known
        if not self._spare or known is None:
            for path, mark in paths.items():
                if mark is None:
                    continue
                if known is not None and mark != _mark(self._output / path):
                    raise StaleError
                if not self.take(path):
                    paths[path] = None  # a copy is another file
            for path in kept:
                self.take(path)
        else:
            for path in known.behind:
                if (mark := paths.get(path)) is not None:
                    if mark != _mark(self._output / path):
                        raise StaleError
                    self.take(path)
            for path in {*known.behind, *known.files} - paths.keys():
                if not _lies_below(path):
                    raise StaleError
                self._make_way(f"{self.folder}/{path}")
        if self._spare and not is_as(str(self.folder), paths):
            raise StaleError

    def become_spare(self) -> None:
        """Keep the site of before, which is here now, for the next render."""
        if self.folder.is_dir():
            self.folder.rename(_spare(self._output))

    def take(self, path: str) -> bool:
        """
        Take a file of the old site along: it keeps its times, so that what syncs by them sees no change.

        Returns:
            Whether it is the very file; else it is a copy.
        """
        target = self._target(path)
        self._make_way(target)
        try:
            os.link(self._output / path, target)
        except OSError:  # a file system without hard links
            shutil.copy2(self._output / path, target)
            self._note(target)
            return False
        return True

    def swap(self) -> None:
        """Put the new folder in the place of the old one."""
        if not self._output.exists():
            self.folder.rename(self._output)
            return
        if _exchange(self.folder, self._output):
            return
        old = self.folder.with_suffix(_OLD)
        self._output.rename(old)
        try:
            self.folder.rename(self._output)
        except OSError:
            old.rename(self._output)
            raise
        shutil.rmtree(old, ignore_errors=True)
