"""
The files of a vault at one commit, with the counts and indexes that the rules need.

The audit carries a ledger from commit to commit and changes it in place, so that the cost of a commit depends only on
the number of its changes. The parts of the parent's state that the rules need are copied first, as a `ParentView`.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace
from datetime import datetime

import msgspec

from keyvault.core.history.derived_state import DerivedState
from keyvault.core.keys import Key, Recipient
from keyvault.core.policy import Policy
from keyvault.errors import JWKError

LIVE = ("next", "active", "retiring")
SIGNED = ("active", "retiring")


class Entry(msgspec.Struct, frozen=True):
    """
    One record.

    Attributes:
        oid: Its blob.
        key: Its content; if this version cannot be read, the content of the version before.
        derived: The state after its events.
        readable: Whether this version can be read.
        recipients: The blob of the recipient list that its private key was sealed to, or None.
    """

    oid: str
    key: Key
    derived: DerivedState
    readable: bool = True
    recipients: str | None = None

    @property
    def sealed(self) -> bool:
        return self.key.private is not msgspec.UNSET


class SetCount(msgspec.Struct, frozen=True):
    """
    The numbers of keys of a set by state.

    Attributes:
        active: The number of active keys.
        next: The number of next keys.
        live: The number of next, active and retiring keys.
        newest_at: The newest instant of the set, or None.
        orphaned: Whether the set has live keys but no table in keyvault.toml.
        signing: The number of active and retiring keys of each algorithm.
    """

    active: int = 0
    next: int = 0
    live: int = 0
    newest_at: datetime | None = None
    orphaned: bool = False
    signing: Mapping[str, int] = msgspec.field(default_factory=dict)


class ParentView(msgspec.Struct, frozen=True):
    """
    The state of one parent of a commit, limited to the files and sets that the commit changes.

    Attributes:
        policy: Its policy, or None.
        recipients: The blob of its recipients, or None.
        entries: Its records, by path; None if it has none there.
        sets: The counts of each changed set.
    """

    policy: Policy | None
    recipients: str | None
    entries: Mapping[str, Entry | None]
    sets: Mapping[str, SetCount]


def _add_count(counts: Mapping[str, int], name: str, step: int) -> dict[str, int]:
    """Return *counts* with the count of *name* changed by *step*, without counts of zero."""
    changed = {**counts, name: counts.get(name, 0) + step}
    return {name: count for name, count in changed.items() if count}


@dataclass
class Ledger:
    """
    The vault at one commit.

    Attributes:
        policy: keyvault.toml; if it cannot be read, the version before. None if there never was one.
        policy_oid: The blob of keyvault.toml; None if there is no such file.
        recipients: The recipients of private keys, by kid; if the list is missing or cannot be read, the version
            before. None if there never was one.
        recipients_oid: The blob of that list.
        entries: Records by path.
        last_valid: The last valid version of each damaged record, by path: restoring it is not a change.
        counts: The counts of each set.
        kids: The path at which each kid was used first in this line of history, by its case-folded form.
        thumbprints: The kid under which each public key was used first.
    """

    policy: Policy | None = None
    policy_oid: str | None = None
    recipients: Mapping[str, Recipient] | None = None
    recipients_oid: str | None = None
    entries: dict[str, Entry] = field(default_factory=dict)
    last_valid: dict[str, Entry] = field(default_factory=dict)
    counts: dict[str, SetCount] = field(default_factory=dict)
    kids: dict[str, str] = field(default_factory=dict)
    thumbprints: dict[str, str] = field(default_factory=dict)

    def copy(self) -> Ledger:
        """Return an independent copy."""
        return replace(
            self,
            entries=dict(self.entries),
            last_valid=dict(self.last_valid),
            counts=dict(self.counts),
            kids=dict(self.kids),
            thumbprints=dict(self.thumbprints),
        )

    def put(self, path: str, entry: Entry | None) -> None:
        """Put a record at *path*, or remove it; its kid still counts as used."""
        old = self.entries.pop(path, None)
        if old is not None:
            self._count(old, -1)
        if entry is not None:
            self.entries[path] = entry
            self._count(entry, 1)

    def restore(self, path: str, entry: Entry) -> None:
        """Restore the last valid version of a record, and the newest instant of its set."""
        self.put(path, entry)
        self.refresh_newest(entry.key.set)
        del self.last_valid[path]

    def refresh_newest(self, name: str) -> None:
        """Compute the newest instant of set *name* again, after a record went back in time."""
        instants = [entry.derived.newest_at for entry in self.entries.values() if entry.key.set == name]
        newest_at = max((at for at in instants if at is not None), default=None)
        self.counts[name] = msgspec.structs.replace(self.counts[name], newest_at=newest_at)

    def _count(self, entry: Entry, step: int) -> None:
        name, derived = entry.key.set, entry.derived
        old = self.counts.get(name, SetCount())
        newest, at = old.newest_at, derived.newest_at
        if newest is None or (at is not None and at > newest):
            newest = at
        self.counts[name] = SetCount(
            old.active + step * (derived.state == "active"),
            old.next + step * (derived.state == "next"),
            old.live + step * (derived.state in LIVE),
            newest,
            signing=_add_count(old.signing, entry.key.public.alg, step) if derived.state in SIGNED else old.signing,
        )

    def remember(self, key: Key, path: str) -> list[tuple[str, str]]:
        """Register the kid and public key of a new record; return (code, message) of each that was used before."""
        problems: list[tuple[str, str]] = []
        folded = key.kid.casefold()
        if folded in self.kids:
            problems.append(("kid-reused", f"kid {key.kid} was used before, in {self.kids[folded]}"))
        self.kids.setdefault(folded, path)
        try:
            thumbprint = key.public.thumbprint
        except JWKError:  # no valid public key, which `versions` reports
            return problems
        if thumbprint == key.kid:
            thumbprint = key.kid  # share the string: a large vault has a hundred thousand keys
        if (holder := self.thumbprints.setdefault(thumbprint, key.kid)) != key.kid:
            problems.append(("key-reused", f"the public key of {key.kid} was used before, as {holder}"))
        return problems

    def view(self, paths: Iterable[str], sets: Iterable[str]) -> ParentView:
        """Return the records at *paths* and the counts of *sets* in this state."""
        return ParentView(
            self.policy,
            self.recipients_oid,
            {path: self.entries.get(path) for path in paths},
            {name: self.count(name) for name in sets},
        )

    def count(self, name: str) -> SetCount:
        """Return the counts of set *name*."""
        count = self.counts.get(name, SetCount())
        orphaned = count.live > 0 and self.policy is not None and name not in self.policy.sets
        return msgspec.structs.replace(count, orphaned=True) if orphaned else count

    def join(self, other: Ledger) -> list[tuple[str, str, str]]:
        """
        Add the kids and public keys of another parent's line; return (path, code, message) of each that both used.

        A line that contains both uses was already judged by itself.
        """
        problems: list[tuple[str, str, str]] = []
        for folded, theirs in sorted(other.kids.items() - self.kids.items()):
            ours = self.kids.setdefault(folded, theirs)
            if ours != theirs and theirs not in self.entries and ours not in other.entries:
                problems.append((theirs, "kid-reused", f"its kid was used on the other side, in {ours}"))
        for thumbprint, their_kid in sorted(other.thumbprints.items() - self.thumbprints.items()):
            our_kid = self.thumbprints.setdefault(thumbprint, their_kid)
            ours, theirs = self.kids[our_kid.casefold()], self.kids[their_kid.casefold()]
            if our_kid != their_kid and theirs not in self.entries and ours not in other.entries:
                problems.append((theirs, "key-reused", f"its public key was used on the other side, as {our_kid}"))
        return problems
