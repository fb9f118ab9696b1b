"""
Record the state of a rendered folder, so that the next render can reuse its files.

A stamp lies in the git directory of the vault, never in the site. It is valid while the folder has the recorded inode
and each file its recorded size, time and inode, as in the index of git. If a stamp does not fit, or cannot be read,
the whole site is rendered.

Source: docs/adr/0022.
"""

from __future__ import annotations

import contextlib
import hashlib
import os
import stat
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path

import msgspec

#: Size in bytes, time of the last change in nanoseconds, and inode of a file.
Mark = tuple[int, int, int]

#: Device and inode of a folder.
FolderId = tuple[int, int]


class Stamp(msgspec.Struct, frozen=True, array_like=True):
    """
    The state of a folder after a render.

    Attributes:
        builder: Digest of everything that the site depends on besides the commit.
        commit: The commit that was rendered.
        folder: The folder.
        files: The mark of every file of the site, by path.
        spare: The folder beside it with the previous site, or None.
        paths_changed_since_spare: The paths in which the two sites differ.
    """

    builder: str
    commit: str
    folder: FolderId
    files: dict[str, Mark]
    spare: FolderId | None = None
    paths_changed_since_spare: tuple[str, ...] = ()


_decoder = msgspec.msgpack.Decoder(Stamp)


class StaleError(Exception):
    """The folder does not fit its stamp: the whole site must be rendered. Never reaches the user."""


@dataclass(frozen=True)
class StampFile:
    """
    The file of a folder's stamp, and the values of the next stamp.

    Attributes:
        path: The file.
        builder: Returns the digest for `Stamp.builder`; called only if a stamp is read or written.
        commit: The commit to render.
        least: The number of files from which a site gets a stamp.
    """

    path: Path
    builder: Callable[[], str]
    commit: str
    least: int

    @classmethod
    def of(cls, git_dir: Path, output: Path, *, builder: Callable[[], str], commit: str, least: int) -> StampFile:
        """Return the stamp file of the folder *output*, for the vault with the git directory *git_dir*."""
        name = hashlib.sha256(os.fsencode(os.path.abspath(output))).hexdigest()[:32]  # noqa: PTH100 - as write_site
        return cls(git_dir / "keyvault-rendered" / name, builder, commit, least)

    def load(self, output: Path) -> Stamp | None:
        """Return the stamp of *output*, or None if there is none that this builder wrote."""
        try:
            stamp = _decoder.decode(self.path.read_bytes())
        except (OSError, msgspec.MsgspecError, UnicodeDecodeError, RecursionError):
            return None
        return stamp if stamp.folder == folder_id(output) and stamp.builder == self.builder() else None

    def forget(self) -> None:
        """Remove the stamp, before the folder is replaced."""
        with contextlib.suppress(OSError):
            self.path.unlink(missing_ok=True)

    def save_for(
        self,
        output: Path,
        paths: Mapping[str, Mark | None],
        *,
        spare: FolderId | None = None,
        changed: tuple[str, ...] = (),
    ) -> None:
        """
        Write the stamp of *output*. If that fails, the next render renders the whole site.

        Args:
            output: The folder.
            paths: Every file of the site, with its mark if that is known.
            spare: As in `Stamp`.
            changed: The paths changed since the spare, as in `Stamp`.
        """
        folder, beside = folder_id(output), self.path.with_suffix(".new")
        if folder is None or len(paths) < self.least:
            return
        with contextlib.suppress(OSError):
            files = {path: mark or mark_of(os.lstat(f"{output}/{path}")) for path, mark in paths.items()}
            self.path.parent.mkdir(exist_ok=True)
            stamp = Stamp(self.builder(), self.commit, folder, files, spare, changed)
            beside.write_bytes(msgspec.msgpack.encode(stamp))
            beside.replace(self.path)


def folder_id(folder: Path) -> FolderId | None:
    """Return device and inode of *folder*, or None if there is no such folder."""
    try:
        found = folder.lstat()
    except OSError:
        return None
    return (found.st_dev, found.st_ino) if stat.S_ISDIR(found.st_mode) else None


def mark_of(found: os.stat_result) -> Mark:
    """Return the mark of a file; for anything else, a mark that no file has."""
    return (found.st_size, found.st_mtime_ns, found.st_ino) if stat.S_ISREG(found.st_mode) else (-1, -1, -1)


def marks_below(folder: str) -> dict[str, Mark]:
    """Return the mark of everything below *folder* that is not a folder, by path."""
    found: dict[str, Mark] = {}
    pending = [""]
    while pending:
        below = pending.pop()
        with os.scandir(f"{folder}/{below}") as entries:
            for entry in entries:
                if entry.is_dir(follow_symlinks=False):
                    pending.append(f"{below}{entry.name}/")
                else:
                    found[below + entry.name] = mark_of(entry.stat(follow_symlinks=False))
    return found
