"""
Find the commit that wrote each event of a key.

One ``git log --raw`` stream names every version of every record, and one ``git cat-file`` reads them. Events are
compared as bytes; the rest of a version is ignored. Does not judge whether the history is legal.
"""

from __future__ import annotations

import hashlib
import itertools
from collections.abc import Sequence

import msgspec

from keyvault.core.state import Commit
from keyvault.progress import with_progress
from keyvault.repo.git import Git, WrittenBy
from keyvault.repo.git.log import refuse_shallow

#: How many versions of records to read at once.
_BATCH_SIZE = 2_000


#: The commit that wrote each event of a record, as (id, committed at); None if only a merge added the event.
EventWriters = tuple[WrittenBy | None, ...]


class _Events(msgspec.Struct):
    """The part of a record that is compared."""

    events: list[msgspec.Raw]


_decoder = msgspec.json.Decoder(_Events)


def event_commits(git: Git, commit: Commit, folders: Sequence[str]) -> dict[str, EventWriters]:
    """
    Return the commit that first held each event, as (id, committed at), by the path of the record below *folders*.

    If two branches wrote to one record, an event belongs to the commit that wrote exactly this event at exactly this
    position of the list. An event that only a merge added has None.

    Raises:
        GitError: If the clone is shallow.
    """
    refuse_shallow(git)
    present = {entry.path: entry.oid for entry in git.tree(commit, *folders) if entry.path.count("/") == 2}
    changes = with_progress(git.log_raw(commit, *folders), git.progress, "reading history")
    versions = ((writer, change) for writer, change in changes if change.after and change.path in present)
    first: dict[str, dict[bytes, WrittenBy]] = {}
    final: dict[str, list[bytes]] = {}
    interned_writers: dict[WrittenBy, WrittenBy] = {}
    with git.blob_reader() as read:
        while batch := list(itertools.islice(versions, _BATCH_SIZE)):
            for (writer, version), data in zip(batch, read([str(change.after) for _, change in batch]), strict=True):
                digests = _event_digests(data)
                writer_of = first.setdefault(version.path, {})
                writer = interned_writers.setdefault(writer, writer)
                for digest in digests:
                    writer_of.setdefault(digest, writer)
                if version.after == present[version.path]:
                    final[version.path] = digests
        merged = [path for path in present if path not in final]  # their present version comes from a merge alone
        for path, data in zip(merged, read([present[path] for path in merged]), strict=True):
            final[path] = _event_digests(data)
    found: dict[str, EventWriters] = {}
    interned: dict[EventWriters, EventWriters] = {}
    for path in list(final):
        writer_of = first.pop(path, {})  # popped, so that memory is freed on the way
        writers = tuple(writer_of.get(digest) for digest in final.pop(path))
        found[path] = interned.setdefault(writers, writers)  # thousands of keys share few distinct values
    return found


def _event_digests(data: bytes) -> list[bytes]:
    """Return a short digest of each event of a record, with its position in the list."""
    try:
        record = _decoder.decode(data)
    except (msgspec.MsgspecError, RecursionError, UnicodeDecodeError):
        return []  # an old version that is not a record; the audit reports it
    return [
        hashlib.blake2b(bytes(event), digest_size=12, salt=index.to_bytes(8, "big")).digest()
        for index, event in enumerate(record.events)
    ]
