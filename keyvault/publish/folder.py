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

#: Together they mark a folder as one that render made, and so may replace. The first alone stands in many
#: folders of hand-made pages.
MARKERS = (".nojekyll", "history.json")


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
    real = os.path.realpath(output)  # resolve() raises where links go round in circles
    if protected is not None and protected.resolve().is_relative_to(real):
        raise UsageError(f"{output} holds the vault itself: a site is not written over it", hint="render -o public")
    if output.is_symlink() or (output.exists() and not output.is_dir()):
        raise UsageError(f"{output} is not a folder")
    if output.is_dir() and any(output.iterdir()) and not all((output / name).is_file() for name in MARKERS):
        raise UsageError(
            f"{output} holds files that are not a rendered site", hint="name an empty folder, or one that render made"
        )


def _write(files: Iterable[tuple[str, bytes]], folder: Path) -> int:
    count, folders = 0, {folder}
    for path, data in files:
        if path.startswith("/") or ".." in path.split("/") or Path(path).anchor:
            raise RenderError(f"{path!r:.200} does not lie in the site: nothing was written")
        target = folder / path
        if target.parent not in folders:
            target.parent.mkdir(parents=True, exist_ok=True)
            folders.update(parent for parent in target.parents if parent.is_relative_to(folder))
        target.write_bytes(data)
        target.chmod(0o644)
        count += 1
    # A site is for everybody to read, whatever the umask of the job that renders it.
    for made in folders:
        made.chmod(0o755)
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
