"""
Write a site to a folder: beside it first, then swapped in, so that a reader never sees half a site.

Source: docs/format.md; rename(2).
"""

from __future__ import annotations

import os
import shutil
import tempfile
from collections.abc import Iterable
from pathlib import Path

from keyvault.errors import RenderError, UsageError

#: Marks a folder as one that render made, and so may replace.
MARKER = ".nojekyll"


def write_site(files: Iterable[tuple[str, bytes]], output: Path, *, protected: Path | None = None) -> int:
    """
    Write *files* to the folder *output*, in place of the site that is there.

    Args:
        files: The site, as (path, bytes).
        output: The folder; made where it is missing.
        protected: A folder that must not be written over: *output* may lie in it, but not be it or hold it.

    Returns:
        How many files were written.

    Raises:
        UsageError: *output* is not a folder of ours.
        RenderError: It cannot be written. The old site is as it was.
    """
    output = Path(os.path.abspath(output))  # noqa: PTH100 - resolve() would follow a link that was meant
    _check_output(output, protected)
    try:
        output.parent.mkdir(parents=True, exist_ok=True)
        beside = Path(tempfile.mkdtemp(prefix=f".{output.name}.", suffix=".keyvault-new", dir=output.parent))
    except OSError as error:
        raise RenderError(f"{output} cannot be written: {error.strerror}") from None
    try:
        count = _write(files, beside)
        _swap(beside, output)
    except OSError as error:
        raise RenderError(f"{output} cannot be written: {error.strerror}") from None
    finally:
        shutil.rmtree(beside, ignore_errors=True)
    return count


def _check_output(output: Path, protected: Path | None) -> None:
    if protected is not None and (output == protected or output in protected.parents):
        raise UsageError(f"{output} holds the vault itself: a site is not written over it", hint="render -o public")
    if output.is_symlink() or (output.exists() and not output.is_dir()):
        raise UsageError(f"{output} is not a folder")
    if output.is_dir() and any(output.iterdir()) and not (output / MARKER).exists():
        raise UsageError(
            f"{output} holds files that are not a rendered site", hint="name an empty folder, or one that render made"
        )


def _write(files: Iterable[tuple[str, bytes]], folder: Path) -> int:
    count, made = 0, {folder}
    for path, data in files:
        target = folder / path
        if target.parent not in made:
            target.parent.mkdir(parents=True, exist_ok=True)
            made.add(target.parent)
        target.write_bytes(data)
        count += 1
    folder.chmod(0o755)  # mkdtemp made it for the owner alone; a site is for everybody
    return count


def _swap(beside: Path, output: Path) -> None:
    if not output.exists():
        beside.rename(output)
        return
    old = beside.with_suffix(".keyvault-old")
    output.rename(old)
    try:
        beside.rename(output)
    except OSError:
        old.rename(output)
        raise
    shutil.rmtree(old, ignore_errors=True)
