"""
Replace a folder as a whole: lock it, assemble the new folder beside it, swap the two.

Other runs may publish sites below a folder that is replaced here. So each writer holds the locks of all sites that its
folder lies in, of the parent, and of the folder itself, always from the top down.

Sources: rename(2), flock(2).
"""

from __future__ import annotations

import contextlib
import os
import re
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
from keyvault.publish.stamp import Mark, StaleError, Stamp, folder_id, mark_of, marks_below

#: How long, in seconds, a run waits for another run that writes to the same place.
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
    Hold the locks of *output*: no other run writes to it, to sites below it, or to sites that it lies in.

    The folders themselves are locked, so no lock file is left behind; the operating system releases the locks of a
    process that dies. On a system without such locks, nobody waits. Source: docs/adr/0030.

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
                        f"another keyvault has been writing beside {output} for {LOCK_WAIT:.0f} s",
                        code="place-locked",
                        hint="wait for it",
                    ) from None
                time.sleep(0.05)
                continue
            except OSError:  # a file system without locks
                break
            # The previous holder may have replaced the folder: then this is the lock of the old folder.
            if os.path.samestat(os.fstat(handle), os.stat(folder)):  # noqa: PTH116 - the pair of fstat
                break
            os.close(handle)
            handle = -1
    except OSError as error:
        if handle >= 0:
            os.close(handle)
        raise RenderError(
            f"{elided(str(folder))} cannot be read: {error.strerror}", code="folder-not-readable"
        ) from None
    except BaseException:
        if handle >= 0:
            os.close(handle)
        raise
    try:
        yield
    finally:
        os.close(handle)


def restore_site(output: Path) -> None:
    """Restore a site that a dead run moved aside, and remove its temporary folders; the caller holds the lock."""
    # The random part has no dot: `.keys.example.com.RANDOM.keyvault-old` belongs to keys.example.com, not to keys.
    name = re.compile(rf"\.{re.escape(output.name)}\.[^.]+({re.escape(OLD)}|{re.escape(STAGING)})")
    try:
        left = [folder for folder in output.parent.iterdir() if name.fullmatch(folder.name)]
    except OSError:
        return
    for folder in left:
        if folder.suffix == OLD and not output.exists():
            with contextlib.suppress(OSError):
                folder.rename(output)
        elif folder.suffix in (OLD, STAGING) and folder.is_dir() and not folder.is_symlink():
            shutil.rmtree(folder, ignore_errors=True)


def folder_matches(folder: str, paths: Mapping[str, Mark | None]) -> bool:
    """Whether *folder* has just *paths*, each with its mark; None stands for any mark."""
    found = marks_below(folder)
    return len(found) == len(paths) and all(
        path in found and mark in (None, found[path]) for path, mark in paths.items()
    )


def lies_below(path: str) -> bool:
    """Whether *path* is a relative path without ``..``."""
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
    """Return the folder that keeps the previous site of *output* for the next render."""
    return output.with_name(f".{output.name}{SPARE}")


def _opener(path: str, flags: int) -> int:
    handle = os.open(path, flags, 0o644)
    if os.fstat(handle).st_mode & 0o777 != 0o644:
        os.chmod(path, 0o644)  # noqa: PTH101 - a site is for everybody to read, whatever the umask
    return handle


def exchange(one: Path, other: Path) -> bool:
    """Swap the names of two folders in one step; return False if system or file system cannot do that."""
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
    A folder beside *output* in which the new site is assembled.

    If the stamp *previous* names a spare with the previous site, assembly starts from the spare.
    """

    def __init__(self, output: Path, previous: Stamp | None = None, *, served: bool = False) -> None:
        output.parent.mkdir(parents=True, exist_ok=True)
        self._output, self._previous, self._served = output, previous, served
        self.folder = Path(tempfile.mkdtemp(prefix=f".{output.name}.", suffix=STAGING, dir=output.parent))
        spare = spare_of(output)
        self._spare = previous is not None and previous.spare is not None and previous.spare == folder_id(spare)
        if self._spare:
            # Under the name of a temporary folder: if this run dies, it must not count as a spare.
            self.folder.rmdir()
            spare.rename(self.folder)
        # Everybody may read a site, whatever the umask of the job that renders it.
        self.folder.chmod(0o755)
        self._folders = {""}
        #: Files with new data, if a host serves the folder.
        self.written: list[str] = []

    def _target(self, path: str) -> str:
        # Strings, since a site may have a hundred thousand files and a Path takes as long as writing one.
        folder = path.rpartition("/")[0]
        missing = []
        while folder not in self._folders:
            missing.append(folder)
            folder = folder.rpartition("/")[0]
        for folder in reversed(missing):
            target = f"{self.folder}/{folder}"
            # This fails if anything is in the way, such as a link that leads out of the site.
            if not (self._spare and stat.S_ISDIR(_mode(target))):
                os.mkdir(target)  # noqa: PTH102 - a string, as said above
                os.chmod(target, 0o755)  # noqa: PTH101, S103 - everybody reads a site
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
        # A file of a spare may be a hard link to the served site's file: it is never written into.
        if self._spare:
            with contextlib.suppress(FileNotFoundError):
                os.unlink(target)  # noqa: PTH108 - a string, as said above

    def fill_unchanged(self, paths: dict[str, Mark | None], kept: Iterable[str]) -> None:
        """
        Complete the folder with *kept*, and with the files of *paths* that were not written.

        Without a spare, all of them are linked from the old folder; a file that has to be copied loses its mark in
        *paths*. A spare has them already: only files that changed since then are linked, and files that are no longer
        part of the site are removed.

        Raises:
            StaleError: If a file does not fit the stamp.
        """
        previous = self._previous
        if not self._spare or previous is None:
            for path, mark in paths.items():
                if mark is None:
                    continue
                if previous is not None and mark != _mark(self._output / path):
                    raise StaleError
                if not self.link_from_old(path):
                    paths[path] = None  # a copy has another mark
            for path in kept:
                self._keep(path)
        else:
            for path in previous.paths_changed_since_spare:
                if (mark := paths.get(path)) is not None:
                    if mark != _mark(self._output / path):
                        raise StaleError
                    self.link_from_old(path)
            for path in {*previous.paths_changed_since_spare, *previous.files} - paths.keys():
                if not lies_below(path):
                    raise StaleError
                self._make_way(f"{self.folder}/{path}")
        if self._spare and not folder_matches(str(self.folder), paths):
            raise StaleError

    def keep_as_spare(self) -> None:
        """Keep the previous site, which this folder holds after the swap, for the next render."""
        if self.folder.is_dir():
            self.folder.rename(spare_of(self._output))

    def link_from_old(self, path: str) -> bool:
        """
        Link a file of the old site into the new one: it keeps its times, so that programs like rsync see no change.

        Returns:
            Whether it is the same file; False if it is a copy.
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
            self.link_from_old(path)

    def swap(self) -> None:
        """Replace the old folder by the new one."""
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
