"""
Blobs and trees as git stores them: their ids, and the bytes in which git takes many of them in at once.

What a folder holds is one table here, however wide it is; no process, and nothing but the bytes of git's two formats.

Sources: gitformat-pack(5); "Git Objects" in Pro Git for trees; docs/adr/0024.
"""

from __future__ import annotations

import hashlib
import zlib
from collections.abc import Callable, Iterator
from functools import cache, partial
from typing import IO, Any

from keyvault.errors import GitError

_FILE = b"100644"
_FOLDER = b"40000"

#: The number of a kind of object in a pack.
_KINDS = {b"tree": 2, b"blob": 3}
_VERSION = 2

_CHUNK = 1 << 20

#: Gives the bytes of the tree with an id.
ReadTree = Callable[[bytes], bytes]


def blob_id(data: bytes, object_format: str) -> str:
    """Return the id of the blob that holds *data*, in hex."""
    found: str = _hash_of(object_format)(b"blob %d\0" % len(data) + data).hexdigest()
    return found


@cache
def _hash_of(object_format: str) -> Callable[..., Any]:
    # SHA-1 is what the repository's format says, not a choice of ours.
    return partial(getattr(hashlib, object_format), usedforsecurity=False)


class Pack:
    """
    Objects in the order in which they come, each of them once, without deltas.

    Args:
        file: Where they are kept until all have come; it can be read and sought.
        object_format: ``sha1`` or ``sha256``.
    """

    def __init__(self, file: IO[bytes], object_format: str) -> None:
        self._file = file
        self._hash = _hash_of(object_format)
        self._ids: set[bytes] = set()

    def __len__(self) -> int:
        """How many objects there are."""
        return len(self._ids)

    def add(self, kind: bytes, data: bytes, known: bytes | None = None) -> bytes:
        """Take in an object of a *kind*, ``blob`` or ``tree``, unless it is the one that is *known*; return its id."""
        oid: bytes = self._hash(b"%b %d\0" % (kind, len(data)) + data).digest()
        if oid == known or oid in self._ids:
            return oid
        self._ids.add(oid)
        # The kind and the length: four bits of it, then seven in each byte, of which the last has no high bit.
        header = bytearray([_KINDS[kind] << 4 | len(data) & 0x0F])
        rest = len(data) >> 4
        while rest:
            header[-1] |= 0x80
            header.append(rest & 0x7F)
            rest >>= 7
        self._file.write(header + zlib.compress(data))
        return oid

    @property
    def chunks(self) -> int:
        """How many pieces `stream` has."""
        return 2 + -(-self._file.tell() // _CHUNK)

    def stream(self) -> Iterator[bytes]:
        """Yield the pack in pieces, once, when all objects have come."""
        total = self._hash()
        header = b"PACK" + _VERSION.to_bytes(4, "big") + len(self).to_bytes(4, "big")
        total.update(header)
        yield header
        self._file.seek(0)
        while chunk := self._file.read(_CHUNK):
            total.update(chunk)
            yield chunk
        yield total.digest()


class Folder:
    """
    A tree that changes; its folders are read when something in them changes.

    Args:
        pack: Takes what is written.
        read: Gives the bytes of trees that are there already.
        oid: The tree to begin with; None for an empty one.

    Raises:
        GitError: What was read is no tree.
    """

    __slots__ = ("_entries", "_folders", "_oid", "_pack", "_read")

    def __init__(self, pack: Pack, read: ReadTree, oid: bytes | None = None) -> None:
        self._pack, self._read, self._oid = pack, read, oid
        # The entry of each name, as it stands in the tree. That of a folder in *_folders* no longer holds.
        self._entries: dict[bytes, bytes] = _parsed(read(oid), len(oid)) if oid else {}
        self._folders: dict[bytes, Folder] = {}

    def put(self, path: bytes, data: bytes) -> None:
        """Write the file *path*; it takes the place of what is in its way."""
        name, slash, rest = path.partition(b"/")
        if slash:
            self._folder(name).put(rest, data)
            return
        self._folders.pop(name, None)
        oid = self._pack.add(b"blob", data, known=_id_of(self._entries.get(name, b"")))
        self._entries[name] = b"%b %b\0%b" % (_FILE, name, oid)

    def remove(self, path: bytes) -> None:
        """Remove the file *path*; where there is none, or a folder, nothing is removed."""
        name, slash, rest = path.partition(b"/")
        is_folder = name in self._folders or self._tree_of(name) is not None
        if slash and is_folder:
            self._folder(name).remove(rest)
        elif not slash and not is_folder:
            self._entries.pop(name, None)

    def close(self) -> bytes | None:
        """Write the trees that differ from what they were, and return the id of this one; None where it is empty."""
        for name, folder in self._folders.items():
            oid = folder.close()
            if oid is None:
                self._entries.pop(name, None)
            else:
                self._entries[name] = b"%b %b\0%b" % (_FOLDER, name, oid)
        self._folders = {}
        if not self._entries:
            return None
        data = b"".join(entry for _, entry in sorted(map(_sortable, self._entries.items())))
        return self._pack.add(b"tree", data, known=self._oid)

    def _folder(self, name: bytes) -> Folder:
        """Return the folder *name*, an empty one where there is none; it has to be closed."""
        found = self._folders.get(name)
        if found is None:
            found = self._folders[name] = Folder(self._pack, self._read, self._tree_of(name))
        return found

    def _tree_of(self, name: bytes) -> bytes | None:
        """Return the id of the folder *name*, or None where there is none."""
        entry = self._entries.get(name, b"")
        return _id_of(entry) if entry.startswith(_FOLDER + b" ") else None


def _id_of(entry: bytes) -> bytes:
    return entry.partition(b"\0")[2]


def _sortable(item: tuple[bytes, bytes]) -> tuple[bytes, bytes]:
    # A folder has its place among the others as if its name ended with a slash.
    name, entry = item
    return (name + b"/" if entry.startswith(_FOLDER + b" ") else name), entry


def _parsed(data: bytes, id_length: int) -> dict[bytes, bytes]:
    entries: dict[bytes, bytes] = {}
    start = 0
    while start < len(data):
        space = data.find(b" ", start)
        end = data.find(b"\0", space) + 1 + id_length
        if space < 0 or end <= id_length or end > len(data):
            raise GitError("a tree of the repository is damaged", hint="git fsck")
        # Some programs write 040000, which means the same.
        entries[data[space + 1 : end - 1 - id_length]] = data[start:end].lstrip(b"0")
        start = end
    return entries
