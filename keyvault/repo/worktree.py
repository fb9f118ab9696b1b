"""
Files of a work tree: looked at, written beside their place, removed.

Nothing is read or written through a link. Paths are strings here: there are thousands of them, and making a Path of
each takes as long as reading the file.
"""

from __future__ import annotations

import contextlib
import os
import stat
from collections.abc import Callable, Iterable
from functools import lru_cache
from pathlib import Path

from keyvault.flush import flush
from keyvault.repo.git.objects import blob_id

#: The mode of a link in a tree.
_LINK = "120000"


def targets(root: Path) -> Callable[[str], str | None]:
    """Return a function that gives the file at a path below *root*, or None when a link stands in the way to it."""
    top = os.fspath(root)

    @lru_cache(None)  # folders are far fewer than the files in them
    def folder_of(path: str) -> str | None:
        found = target(path)
        return None if found is None or is_link(found) else found

    def target(path: str) -> str | None:
        above, slash, name = path.rpartition("/")
        folder = folder_of(above) if slash else top
        return None if folder is None else os.path.join(folder, name)

    return target


def is_link(target: str) -> bool:
    """Whether *target* is a link, wherever it leads."""
    return os.path.islink(target)


def is_folder(target: str) -> bool:
    """Whether *target* is a folder, and no link to one."""
    return os.path.isdir(target) and not os.path.islink(target)


def hash_file(target: str, like: str | None, object_format: str) -> str | None:
    """
    Return the id of the blob that git would make of *target*.

    It is None where there is no *target*, and a word, which is no id, where git would make no blob of it.

    Args:
        target: The file, or a link.
        like: The id that is expected.
        object_format: ``sha1`` or ``sha256``.
    """
    try:
        mode = os.lstat(target).st_mode
        if stat.S_ISLNK(mode):
            return blob_id(os.fsencode(os.readlink(target)), object_format)
        if not stat.S_ISREG(mode):
            return "no file"  # a pipe would be waited for
        with open(target, "rb", buffering=0) as file:
            data = file.read()
    except FileNotFoundError:
        return None
    except NotADirectoryError:
        return "behind a file"
    except OSError:
        return "unreadable"
    found = blob_id(data, object_format)
    # With core.autocrlf a checkout has CRLF where the blob has LF: that is no change of the user's.
    return blob_id(data.replace(b"\r\n", b"\n"), object_format) if b"\r\n" in data and found != like else found


def beside(target: str) -> str:
    """Return where a new *target* is written, until it takes the place of the old one."""
    folder, name = os.path.split(target)
    return os.path.join(folder, f".{name[:100]}.keyvault-new")


def write(files: Iterable[tuple[str, bytes, str]]) -> None:
    """Write files, each a target, its bytes and its mode in a tree; they take their places when all are on the disk."""
    written = [(write_beside(target, data, mode), target, mode) for target, data, mode in files]
    # Under its name, a file that a loss of power emptied would pass for a change of the user's.
    flush([path for path, _, mode in written if mode != _LINK or not is_link(path)])
    for path, target, _ in written:
        os.replace(path, target)


def write_beside(target: str, data: bytes, mode: str) -> str:
    """Write what *target* is to hold, by its *mode* in a tree a file or a link, and return where it lies."""
    path = beside(target)
    if mode == _LINK:
        os.makedirs(os.path.dirname(target), exist_ok=True)
        with contextlib.suppress(FileNotFoundError):
            os.unlink(path)
        try:
            os.symlink(os.fsdecode(data), path)
        except OSError:  # a system without links gets what git writes there: a file that names the target
            create(path, data)
    else:
        create(path, data, executable=mode == "100755")
    return path


def create(path: str, data: bytes, *, executable: bool = False) -> None:
    """Write the new file *path*; what a dead run, or somebody else, has left in its place is not written through."""
    flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | getattr(os, "O_BINARY", 0)
    mode = 0o777 if executable else 0o666
    try:
        handle = os.open(path, flags, mode)
    except FileNotFoundError:
        os.makedirs(os.path.dirname(path), exist_ok=True)
        handle = os.open(path, flags, mode)
    except FileExistsError:
        os.unlink(path)
        handle = os.open(path, flags, mode)
    with open(handle, "wb") as file:
        file.write(data)


def remove(target: str, root: Path) -> None:
    """Remove *target*, and the folders below *root* that are empty then."""
    with contextlib.suppress(FileNotFoundError):
        os.unlink(target)
    top, folder = os.fspath(root), os.path.dirname(target)
    with contextlib.suppress(OSError):  # a folder that still holds something stays
        while folder != top:
            os.rmdir(folder)
            folder = os.path.dirname(folder)
