"""
Encode blobs and trees as git stores them: compute their ids, and build a pack of many of them.

Keeps one table for each folder, however wide it is. Starts no process and only knows the bytes of git's two formats.

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

#: Returns the bytes of the tree with an id.
ReadTree = Callable[[bytes], bytes]


def blob_id(data: bytes, object_format: str) -> str:
    """Return the id of the blob with the content *data*, in hex."""
    found: str = _hash_of(object_format)(b"blob %d\0" % len(data) + data).hexdigest()
    return found


@cache
def _hash_of(object_format: str) -> Callable[..., Any]:
    # The repository's format prescribes SHA-1; it is not our choice.
    return partial(getattr(hashlib, object_format), usedforsecurity=False)


class Pack:
    """
    A pack of objects in the order of their addition, each once, without deltas.

    Args:
        file: Stores the objects until the pack is complete; must be readable and seekable.
        object_format: ``sha1`` or ``sha256``.
    """

    def __init__(self, file: IO[bytes], object_format: str) -> None:
        self._file = file
        self._hash = _hash_of(object_format)
        self._ids: set[bytes] = set()

    def __len__(self) -> int:
        """The number of objects."""
        return len(self._ids)

    def add(self, kind: bytes, data: bytes, existing: bytes | None = None) -> bytes:
        """Add an object of a *kind*, ``blob`` or ``tree``, unless its id is *existing*; return its id."""
        oid: bytes = self._hash(b"%b %d\0" % (kind, len(data)) + data).digest()
        if oid == existing or oid in self._ids:
            return oid
        self._ids.add(oid)
        # The kind and the length: four bits of the length, then seven in each byte; the last byte has no high bit.
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
        """The number of chunks that `stream` yields."""
        return 2 + -(-self._file.tell() // _CHUNK)

    def stream(self) -> Iterator[bytes]:
        """Yield the pack in chunks; call it once, after all objects were added."""
        total = self._hash()
        header = b"PACK" + _VERSION.to_bytes(4, "big") + len(self).to_bytes(4, "big")
        total.update(header)
        yield header
        self._file.seek(0)
        while chunk := self._file.read(_CHUNK):
            total.update(chunk)
            yield chunk
        yield total.digest()


class TreeBuilder:
    """
    Builds a tree from changes to another one; reads a folder only if something in it changes.

    Args:
        pack: Receives new blobs and trees.
        read: Returns the bytes of existing trees.
        oid: The tree to start from; None for an empty one.

    Raises:
        GitError: If an existing tree is damaged.
    """

    __slots__ = ("_entries", "_folders", "_oid", "_pack", "_read")

    def __init__(self, pack: Pack, read: ReadTree, oid: bytes | None = None) -> None:
        self._pack, self._read, self._oid = pack, read, oid
        # The bytes of each entry by name. The entry of a folder in *_folders* is out of date.
        self._entries: dict[bytes, bytes] = _parse_tree(read(oid), len(oid)) if oid else {}
        self._folders: dict[bytes, TreeBuilder] = {}

    def put(self, path: bytes, data: bytes) -> None:
        """Write the file *path*, replacing a file or folder in its way."""
        name, slash, rest = path.partition(b"/")
        if slash:
            self._folder(name).put(rest, data)
            return
        self._folders.pop(name, None)
        oid = self._pack.add(b"blob", data, existing=_id_of(self._entries.get(name, b"")))
        self._entries[name] = b"%b %b\0%b" % (_FILE, name, oid)

    def remove(self, path: bytes) -> None:
        """Remove the file *path*; do nothing if there is none, or if it is a folder."""
        name, slash, rest = path.partition(b"/")
        is_folder = name in self._folders or self._tree_of(name) is not None
        if slash and is_folder:
            self._folder(name).remove(rest)
        elif not slash and not is_folder:
            self._entries.pop(name, None)

    def close(self) -> bytes | None:
        """Write the trees that changed, and return the id of this one; None if it is empty."""
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
        return self._pack.add(b"tree", data, existing=self._oid)

    def _folder(self, name: bytes) -> TreeBuilder:
        """Return the builder of the folder *name*, which `close` closes; an empty one if there is no such folder."""
        found = self._folders.get(name)
        if found is None:
            found = self._folders[name] = TreeBuilder(self._pack, self._read, self._tree_of(name))
        return found

    def _tree_of(self, name: bytes) -> bytes | None:
        """Return the id of the folder *name*, or None if there is none."""
        entry = self._entries.get(name, b"")
        return _id_of(entry) if entry.startswith(_FOLDER + b" ") else None


def _id_of(entry: bytes) -> bytes:
    return entry.partition(b"\0")[2]


def _sortable(item: tuple[bytes, bytes]) -> tuple[bytes, bytes]:
    # Git sorts a folder as if its name ended with a slash.
    name, entry = item
    return (name + b"/" if entry.startswith(_FOLDER + b" ") else name), entry


def _parse_tree(data: bytes, id_length: int) -> dict[bytes, bytes]:
    entries: dict[bytes, bytes] = {}
    start = 0
    while start < len(data):
        space = data.find(b" ", start)
        end = data.find(b"\0", space) + 1 + id_length
        if space < 0 or end <= id_length or end > len(data):
            raise GitError("a tree of the repository is damaged", code="object-damaged", hint="git fsck")
        # Some programs write 040000, which means the same.
        entries[data[space + 1 : end - 1 - id_length]] = data[start:end].lstrip(b"0")
        start = end
    return entries
