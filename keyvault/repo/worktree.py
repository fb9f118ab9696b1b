"""
Hash, write and remove files of a working tree.

Never reads or writes through a link. New files are written under a temporary name first. Paths are strings here: there
are thousands of them, and creating a Path takes as long as reading the file.
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

#: In place of the id of a blob: there is something at the path from which git could not create a blob.
NOT_A_FILE = "not a file"
BEHIND_A_FILE = "behind a file"
BEHIND_A_LINK = "behind a link"
NOT_READABLE = "not readable"

#: The mode of a link in a tree.
_LINK = "120000"


def target_finder(root: Path) -> Callable[[str], str | None]:
    """Return a function that maps a path below *root* to its file, or to None if a folder on the way is a link."""
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
    """Whether *target* is a folder, not a link to one."""
    return os.path.isdir(target) and not os.path.islink(target)


def hash_file(target: str, like: str | None, object_format: str) -> str | None:
    """
    Return the id of the blob that git would create from *target*.

    None if there is no *target*; `NOT_A_FILE`, `BEHIND_A_FILE` or `NOT_READABLE` if it cannot become a blob.

    Args:
        target: The file, or a link.
        like: The expected id.
        object_format: ``sha1`` or ``sha256``.
    """
    try:
        mode = os.lstat(target).st_mode
        if stat.S_ISLNK(mode):
            return blob_id(os.fsencode(os.readlink(target)), object_format)
        if not stat.S_ISREG(mode):
            return NOT_A_FILE  # reading a pipe would block
        with open(target, "rb", buffering=0) as file:
            data = file.read()
    except FileNotFoundError:
        return None
    except NotADirectoryError:
        return BEHIND_A_FILE
    except OSError:
        return NOT_READABLE
    found = blob_id(data, object_format)
    # With core.autocrlf a checkout has CRLF where the blob has LF: the user changed nothing.
    return blob_id(data.replace(b"\r\n", b"\n"), object_format) if b"\r\n" in data and found != like else found


def temporary_path(target: str) -> str:
    """Return the path at which a new *target* is written before it replaces the old one."""
    folder, name = os.path.split(target)
    return os.path.join(folder, f".{name[:100]}.keyvault-new")


def write(files: Iterable[tuple[str, bytes, str]]) -> None:
    """Write files, each a target, its bytes and its mode in a tree; replace the old ones when all are on the disk."""
    written = [(write_temporary(target, data, mode), target, mode) for target, data, mode in files]
    # If a loss of power emptied a file under its final name, it would look like a change of the user's.
    flush([path for path, _, mode in written if mode != _LINK or not is_link(path)])
    for path, target, _ in written:
        os.replace(path, target)


def write_temporary(target: str, data: bytes, mode: str) -> str:
    """Write the new content of *target*, by *mode* a file or a link, under a temporary name; return its path."""
    path = temporary_path(target)
    if mode == _LINK:
        os.makedirs(os.path.dirname(target), exist_ok=True)
        with contextlib.suppress(FileNotFoundError):
            os.unlink(path)
        try:
            os.symlink(os.fsdecode(data), path)
        except OSError:  # on a system without links, do as git does: write a file that contains the target
            create(path, data)
    else:
        create(path, data, executable=mode == "100755")
    return path


def create(path: str, data: bytes, *, executable: bool = False) -> None:
    """Create the file *path*; a file or a link that a dead run left there is removed, not written through."""
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
    """Remove *target*, and each folder below *root* that becomes empty."""
    with contextlib.suppress(FileNotFoundError):
        os.unlink(target)
    top, folder = os.fspath(root), os.path.dirname(target)
    with contextlib.suppress(OSError):  # a folder that is not empty stays
        while folder != top:
            os.rmdir(folder)
            folder = os.path.dirname(folder)
