"""Flush written files to the disk, so that a power failure does not leave them empty under their new names."""

from __future__ import annotations

import os
import sys
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

#: A file system combines flushes that are requested at the same time, so waiting for them in threads is cheap.
_THREADS = 8

#: From this number of files on, flushing the whole file system is cheaper.
_SYNCFS_MIN = 64


def flush(paths: Sequence[str | Path]) -> None:
    """
    Return when the data of these files is on the disk.

    Does not flush their names: a file system with a journal keeps the order in which names change.

    Args:
        paths: The files; if there are many, they lie in one file system.

    Raises:
        OSError: If a file cannot be opened or flushed.
    """
    if len(paths) >= _SYNCFS_MIN and _flush_file_system(paths[0]):
        return
    if len(paths) < _THREADS:
        for path in paths:
            _flush(path)
        return
    with ThreadPoolExecutor(_THREADS) as pool:
        for _ in pool.map(_flush, paths):
            pass


def _flush(path: str | Path) -> None:
    # Windows flushes a file only through a handle that is open for writing.
    handle = os.open(path, os.O_RDWR if os.name == "nt" else os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


def _flush_file_system(path: str | Path) -> bool:
    """Flush the whole file system of *path*, or return False if this system has no syncfs(2)."""
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
