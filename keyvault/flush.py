"""Bring written files to the disk, so that a loss of power does not leave them empty under their new names."""

from __future__ import annotations

import os
import sys
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

#: A file system writes many files that are asked for at once in one go, so waiting for them in threads is cheap.
_AT_ONCE = 8

#: From so many files on it is cheaper to have the file system write out all that it has.
_MANY = 64


def flush(paths: Sequence[str | Path]) -> None:
    """
    Return when the data of these files is on the disk.

    Their names are left to the file system: those with a journal keep the order in which names change.

    Args:
        paths: The files; many of them lie in one file system.

    Raises:
        OSError: One of them cannot be opened or written out.
    """
    if len(paths) >= _MANY and _flush_file_system(paths[0]):
        return
    if len(paths) < _AT_ONCE:
        for path in paths:
            _flush(path)
        return
    with ThreadPoolExecutor(_AT_ONCE) as pool:
        for _ in pool.map(_flush, paths):
            pass


def _flush(path: str | Path) -> None:
    # Windows flushes only what is open for writing.
    handle = os.open(path, os.O_RDWR if os.name == "nt" else os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


def _flush_file_system(path: str | Path) -> bool:
    """Flush all of the file system that *path* lies in, or return False where that cannot be done: see syncfs(2)."""
    if sys.platform != "linux":
        return False
    import ctypes

    handle = os.open(path, os.O_RDONLY)
    try:
        return bool(ctypes.CDLL(None, use_errno=True).syncfs(handle) == 0)
    except AttributeError:
        return False
    finally:
        os.close(handle)
