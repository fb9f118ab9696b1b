"""
What a render notes of the folder that it wrote, so that the next one need not make again what is there.

A stamp lies in the git directory of the vault, never in the site. It is believed only as far as it still fits: the
folder has the inode that it names, and each file its size, its time and its inode, as git does with its index. Where
it does not fit, or cannot be read, all is made anew.

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
Place = tuple[int, int]


class Stamp(msgspec.Struct, frozen=True, array_like=True):
    """
    A folder as a render left it.

    Attributes:
        builder: What the site depends on besides the commit: the program, the libraries and the templates, as a digest.
        commit: The commit that was rendered.
        folder: The folder.
        files: Every file of the site, by path.
        spare: The folder beside it that holds the site of before, or None.
        behind: The paths in which the two differ.
    """

    builder: str
    commit: str
    folder: Place
    files: dict[str, Mark]
    spare: Place | None = None
    behind: tuple[str, ...] = ()


_decoder = msgspec.msgpack.Decoder(Stamp)


class StaleError(Exception):
    """The folder is not what its stamp says; never leaves the package."""


@dataclass(frozen=True)
class Stamps:
    """
    Where the stamp of a folder is kept, and what it is to say.

    Attributes:
        file: The file of the stamp.
        builder: Gives what `Stamp` calls so; asked only where there is a stamp, or is to be one.
        commit: The commit that is rendered.
        least: How many files a site has at least that is worth a stamp.
    """

    file: Path
    builder: Callable[[], str]
    commit: str
    least: int

    @classmethod
    def of(cls, git_dir: Path, output: Path, *, builder: Callable[[], str], commit: str, least: int) -> Stamps:
        """Return those of the folder *output*, for the vault whose git directory is *git_dir*."""
        name = hashlib.sha256(os.fsencode(os.path.abspath(output))).hexdigest()[:32]  # noqa: PTH100 - as write_site
        return cls(git_dir / "keyvault-rendered" / name, builder, commit, least)

    def load(self, output: Path) -> Stamp | None:
        """Return the stamp of *output* if it is one of this builder's."""
        try:
            stamp = _decoder.decode(self.file.read_bytes())
        except (OSError, msgspec.MsgspecError, UnicodeDecodeError, RecursionError):
            return None
        return stamp if stamp.folder == place_of(output) and stamp.builder == self.builder() else None

    def forget(self) -> None:
        """Remove the stamp: the folder is about to be another one."""
        with contextlib.suppress(OSError):
            self.file.unlink(missing_ok=True)

    def save_for(
        self,
        output: Path,
        paths: Mapping[str, Mark | None],
        *,
        spare: Place | None = None,
        behind: tuple[str, ...] = (),
    ) -> None:
        """
        Keep the stamp of *output*; where that is not possible, or not worth it, the next render makes all anew.

        Args:
            output: The folder, as it is now.
            paths: Every file of the site, with its mark where that is known.
            spare: As in `Stamp`.
            behind: As in `Stamp`.
        """
        place, beside = place_of(output), self.file.with_suffix(".new")
        if place is None or len(paths) < self.least:
            return
        with contextlib.suppress(OSError):
            files = {path: mark or mark_of(os.lstat(f"{output}/{path}")) for path, mark in paths.items()}
            self.file.parent.mkdir(exist_ok=True)
            beside.write_bytes(msgspec.msgpack.encode(Stamp(self.builder(), self.commit, place, files, spare, behind)))
            beside.replace(self.file)


def place_of(folder: Path) -> Place | None:
    """Return the place of *folder*, or None where there is no such folder."""
    try:
        found = folder.lstat()
    except OSError:
        return None
    return (found.st_dev, found.st_ino) if stat.S_ISDIR(found.st_mode) else None


def mark_of(found: os.stat_result) -> Mark:
    """Return the mark of a file; of what is no plain file, one that no file has."""
    return (found.st_size, found.st_mtime_ns, found.st_ino) if stat.S_ISREG(found.st_mode) else (-1, -1, -1)


def marks_below(folder: str) -> dict[str, Mark]:
    """Return the mark of everything below *folder* that is no folder, by path."""
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
