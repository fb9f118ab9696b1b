"""
Which commit wrote which event of which key.

One ``git log --raw`` stream names every version of every record, one ``cat-file --batch`` reads them; of a
version only its events are looked at, as bytes. Does not judge whether the history is legal.
"""

from __future__ import annotations

import hashlib
import itertools
from collections.abc import Sequence

import msgspec

from keyvault.core.state import Commit
from keyvault.errors import GitError
from keyvault.progress import with_progress
from keyvault.repo.git import Git, Writer

#: How many versions of records are read at once.
_VERSIONS_AT_ONCE = 2_000


#: Which commit wrote each event of a record, as (id, committed at); None where only a merge brought it.
EventWriters = tuple[Writer | None, ...]


class _Events(msgspec.Struct):
    """The part of a record that is looked at."""

    events: list[msgspec.Raw]


_decoder = msgspec.json.Decoder(_Events)


def event_commits(git: Git, commit: Commit, folders: Sequence[str]) -> dict[str, EventWriters]:
    """
    Return the commit that first held each event, as (id, committed at), by the path of the record below *folders*.

    Where two branches wrote to one record, an event belongs to the commit that wrote just this event at just
    this place of the list. An event that only a merge brought has None.

    Raises:
        GitError: History was cut off (a shallow clone).
    """
    if git.shallow:
        raise GitError(
            "this clone is shallow, the history is incomplete", hint="git fetch --unshallow (in CI: fetch-depth: 0)"
        )
    present = {entry.path: entry.oid for entry in git.tree(commit, *folders) if entry.path.count("/") == 2}
    changes = with_progress(git.log_raw(commit, *folders), git.progress, "reading history")
    versions = ((writer, change) for writer, change in changes if change.after and change.path in present)
    first: dict[str, dict[bytes, Writer]] = {}
    final: dict[str, list[bytes]] = {}
    writers: dict[Writer, Writer] = {}
    with git.blob_reader() as read:
        while few := list(itertools.islice(versions, _VERSIONS_AT_ONCE)):
            for (writer, version), data in zip(few, read([str(one.after) for _, one in few]), strict=True):
                marks = _marks(data)
                known = first.setdefault(version.path, {})
                writer = writers.setdefault(writer, writer)
                for mark in marks:
                    known.setdefault(mark, writer)
                if version.after == present[version.path]:
                    final[version.path] = marks
        merged = [path for path in present if path not in final]  # a version that only a merge made
        for path, data in zip(merged, read([present[path] for path in merged]), strict=True):
            final[path] = _marks(data)
    found: dict[str, EventWriters] = {}
    shared: dict[EventWriters, EventWriters] = {}
    for path in list(final):
        known = first.pop(path, {})  # let go of as soon as its events are told
        told_by = tuple(known.get(mark) for mark in final.pop(path))
        found[path] = shared.setdefault(told_by, told_by)  # of thousands of keys, few differ
    return found


def _marks(data: bytes) -> list[bytes]:
    """Return a short digest of each event of a record, with its place in the list."""
    try:
        record = _decoder.decode(data)
    except (msgspec.MsgspecError, RecursionError, UnicodeDecodeError):
        return []  # some old version that never was a record; the audit has the word on it
    return [
        hashlib.blake2b(bytes(event), digest_size=12, salt=index.to_bytes(8, "big")).digest()
        for index, event in enumerate(record.events)
    ]
