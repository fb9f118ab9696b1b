"""
Replace a folder as a whole: lock it, assemble the new folder beside it, swap the two.

Sites below a place are published by others, into the folder that is replaced here. So each writer to a place holds
the locks of all sites that it lies in, of its parent, and of the folder itself, always from the top down.

Sources: rename(2), flock(2).
"""

from __future__ import annotations

import contextlib
import os
import shutil
import stat
import sys
import tempfile
import time
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path

from keyvault.core.text import elided
from keyvault.errors import RenderError
from keyvault.publish.destination import MARKERS, SPARE, STAGING
from keyvault.publish.stamp import Mark, StaleError, Stamp, mark_of, marks_below, place_of

#: How long a run waits for another one that writes to the same place.
LOCK_WAIT = 60.0

#: End of the name of a folder that was moved aside.
OLD = ".keyvault-old"


def site_above(output: Path) -> Path | None:
    """Return the folder of the innermost site that *output* lies in, or None."""
    return next((folder for folder in output.parents if _is_site(folder)), None)


def _is_site(folder: Path) -> bool:
    return all(os.path.isfile(folder / name) for name in MARKERS)  # noqa: PTH113 - is_file() raises without permission


@contextlib.contextmanager
def exclusive(output: Path) -> Iterator[None]:
    """
    Hold the locks of *output*: nobody else writes to it, to the sites below it, or to those that it lies in.

    Folders themselves are locked, so no file is left behind; the operating system drops the locks of a process that
    dies. On a system without such locks, nobody waits.

    Raises:
        RenderError: If another process holds a lock for too long.
    """
    parent = next((folder for folder in output.parents if folder.is_dir()), output)
    above = [folder for folder in reversed(output.parents) if folder != parent and _is_site(folder)]
    with contextlib.ExitStack() as stack:
        for folder in (*above, parent):
            stack.enter_context(_locked(folder, output))
        if output != parent and output.is_dir() and not output.is_symlink():
            stack.enter_context(_locked(output, output))
        yield


@contextlib.contextmanager
def _locked(folder: Path, output: Path) -> Iterator[None]:
    try:
        import fcntl
    except ImportError:
        yield
        return
    deadline = time.monotonic() + LOCK_WAIT
    handle = -1
    try:
        while True:
            if handle < 0:
                handle = os.open(folder, os.O_RDONLY)
            try:
                fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                if time.monotonic() > deadline:
                    raise RenderError(
                        f"another keyvault has been writing beside {output} for {LOCK_WAIT:.0f} s", hint="wait for it"
                    ) from None
                time.sleep(0.05)
                continue
            except OSError:  # a file system without locks
                break
            # The last holder may have replaced the folder: then this is the lock of the old folder.
            if os.path.samestat(os.fstat(handle), os.stat(folder)):  # noqa: PTH116 - the pair of fstat
                break
            os.close(handle)
            handle = -1
    except OSError as error:
        if handle >= 0:
            os.close(handle)
        raise RenderError(f"{elided(str(folder))} cannot be read: {error.strerror}") from None
    except BaseException:
        if handle >= 0:
            os.close(handle)
        raise
    try:
        yield
    finally:
        os.close(handle)


def recover(output: Path) -> None:
    """Put back the site that a dead run had moved aside, and remove what it had begun; nobody else is at work here."""
    prefix = f".{output.name}."
    try:
        left = [folder for folder in output.parent.iterdir() if folder.name.startswith(prefix)]
    except OSError:
        return
    for folder in left:
        if folder.suffix == OLD and not output.exists():
            with contextlib.suppress(OSError):
                folder.rename(output)
        elif folder.suffix in (OLD, STAGING) and folder.is_dir() and not folder.is_symlink():
            shutil.rmtree(folder, ignore_errors=True)


def is_as(folder: str, paths: Mapping[str, Mark | None]) -> bool:
    """Whether *folder* holds just *paths*, each with its mark, or with any where that is None."""
    found = marks_below(folder)
    return len(found) == len(paths) and all(
        path in found and mark in (None, found[path]) for path, mark in paths.items()
    )


def lies_below(path: str) -> bool:
    """Whether *path* is a relative path that does not climb."""
    return bool(path) and not (path.startswith("/") or ".." in path.split("/") or os.path.isabs(path))  # noqa: PTH117 - a string


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


def spare_of(output: Path) -> Path:
    """Return the folder that keeps the site of before, for the next render of *output*."""
    return output.with_name(f".{output.name}{SPARE}")


def _opener(path: str, flags: int) -> int:
    handle = os.open(path, flags, 0o644)
    if os.fstat(handle).st_mode & 0o777 != 0o644:
        os.chmod(path, 0o644)  # noqa: PTH101 - a site is for everybody to read, whatever the umask
    return handle


def exchange(one: Path, other: Path) -> bool:
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


class StagingFolder:
    """
    A folder beside *output* in which the new site is put together.

    Where the stamp *known* names a spare, the site of before, it is made of that: it lacks little.
    """

    def __init__(self, output: Path, known: Stamp | None = None, *, served: bool = False) -> None:
        output.parent.mkdir(parents=True, exist_ok=True)
        self._output, self._known, self._served = output, known, served
        self.folder = Path(tempfile.mkdtemp(prefix=f".{output.name}.", suffix=STAGING, dir=output.parent))
        spare = spare_of(output)
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
                self._keep(path)
        else:
            for path in known.behind:
                if (mark := paths.get(path)) is not None:
                    if mark != _mark(self._output / path):
                        raise StaleError
                    self.take(path)
            for path in {*known.behind, *known.files} - paths.keys():
                if not lies_below(path):
                    raise StaleError
                self._make_way(f"{self.folder}/{path}")
        if self._spare and not is_as(str(self.folder), paths):
            raise StaleError

    def become_spare(self) -> None:
        """Keep the site of before, which is here now, for the next render."""
        if self.folder.is_dir():
            self.folder.rename(spare_of(self._output))

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

    def _keep(self, path: str) -> None:
        """Copy files that are not part of the site, links included."""
        source = self._output / path
        if source.is_symlink():
            os.symlink(os.readlink(source), self._target(path))  # noqa: PTH115, PTH211 - a string, as said above
        else:
            self.take(path)

    def swap(self) -> None:
        """Put the new folder in the place of the old one."""
        if not self._output.exists():
            self.folder.rename(self._output)
            return
        if exchange(self.folder, self._output):
            return
        old = self.folder.with_suffix(OLD)
        self._output.rename(old)
        try:
            self.folder.rename(self._output)
        except OSError:
            old.rename(self._output)
            raise
        shutil.rmtree(old, ignore_errors=True)
