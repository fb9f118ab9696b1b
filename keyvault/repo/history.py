"""
Which commit wrote which event of which key.

One ``git log --raw`` stream names every version of every record, one ``cat-file --batch`` reads them; of a
version only its events are looked at, as bytes. Does not judge whether the history is legal.
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence

import msgspec

from keyvault.errors import GitError
from keyvault.repo.git import Git


class _Events(msgspec.Struct):
    """The part of a record that is looked at."""

    events: list[msgspec.Raw]


_decoder = msgspec.json.Decoder(_Events)


def event_commits(git: Git, commit: str, folders: Sequence[str]) -> dict[str, list[tuple[str, int] | None]]:
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
    versions = [change for change in git.log_raw(commit, *folders) if change.new and change.path in present]
    first: dict[str, dict[bytes, tuple[str, int]]] = {}
    final: dict[str, list[bytes]] = {}
    for version, data in zip(versions, git.blobs(str(change.new) for change in versions), strict=True):
        marks = _marks(data)
        known = first.setdefault(version.path, {})
        for mark in marks:
            known.setdefault(mark, (version.commit, version.committed_at))
        if version.new == present[version.path]:
            final[version.path] = marks
    merged = [path for path in present if path not in final]  # a version that only a merge made
    for path, data in zip(merged, git.blobs(present[path] for path in merged), strict=True):
        final[path] = _marks(data)
    return {path: [first.get(path, {}).get(mark) for mark in marks] for path, marks in final.items()}


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
