"""
Which commit wrote which event of which key.

One ``git log --raw`` stream names every version of every record, one ``cat-file --batch`` reads them; of a
version only its events are decoded. Does not judge whether the history is legal.
"""

from __future__ import annotations

from typing import Any

import msgspec

from keyvault.errors import GitError
from keyvault.repo.git import Git


class _Events(msgspec.Struct):
    """The part of a record that is looked at: how many events it has."""

    events: list[msgspec.Raw]


_decoder = msgspec.json.Decoder(_Events)


def event_commits(git: Git, commit: str) -> dict[str, list[tuple[str, int] | None]]:
    """
    Return the commit that first held each event, as (id, committed at), by the path of the record.

    An event that only a merge brought has None.

    Raises:
        GitError: History was cut off (a shallow clone).
    """
    if git.shallow:
        raise GitError(
            "this clone is shallow, the history is incomplete", hint="git fetch --unshallow (in CI: fetch-depth: 0)"
        )
    versions = [change for change in git.log_raw(commit, "keys.enc") if change.new and change.path.count("/") == 2]
    found: dict[str, list[tuple[str, int] | None]] = {}
    for version, data in zip(versions, git.blobs(str(change.new) for change in versions), strict=True):
        events = _count(data)
        known = found.setdefault(version.path, [])
        known.extend([(version.commit, version.committed_at)] * (events - len(known)))
    return found


def _count(data: bytes) -> int:
    try:
        record: Any = _decoder.decode(data)
    except (msgspec.MsgspecError, RecursionError):
        return 0  # some old version that never was a record; the audit has the word on it
    return len(record.events)
