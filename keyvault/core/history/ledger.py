"""
The files of a vault as one commit holds them, and what is asked of them.

A ledger is carried from commit to commit and changed in place, so that a commit costs what it changes. What a rule
needs of the state before is taken aside first, as a `ParentView`.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
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
        oid: The blob.
        key: What it says. Of a version that cannot be read, what the version before said.
        derived: Where its events lead.
        readable: Whether this version could be read.
        recipients: The blob of the list that its private key was sealed to, or None.
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
    How many keys of a set are in a state.

    Attributes:
        active: How many are active.
        next: How many are next.
        live: How many are next, active or retiring.
        newest_at: The newest instant of the set.
        orphaned: Whether there are live ones, and no table in keyvault.toml.
        signing: How many of the active and retiring ones each algorithm has.
    """

    active: int = 0
    next: int = 0
    live: int = 0
    newest_at: datetime | None = None
    orphaned: bool = False
    signing: Mapping[str, int] = msgspec.field(default_factory=dict)


class ParentView(msgspec.Struct, frozen=True):
    """
    What one parent of a commit had of what the commit touches.

    Attributes:
        policy: Its policy, or None.
        recipients: The blob of its recipients, or None.
        entries: Its records, by path; None where it had none.
        sets: How the keys of each touched set stood.
    """

    policy: Policy | None
    recipients: str | None
    entries: Mapping[str, Entry | None]
    sets: Mapping[str, SetCount]


def _counted(counts: Mapping[str, int], name: str, step: int) -> dict[str, int]:
    """Return *counts* with that of *name* changed by *step*; one of zero is left out."""
    changed = {**counts, name: counts.get(name, 0) + step}
    return {name: count for name, count in changed.items() if count}


@dataclass
class Ledger:
    """
    The vault at one commit.

    Attributes:
        policy: keyvault.toml; of one that cannot be read, the one before.
        policy_oid: Its blob, or None where there is no such file.
        recipients: Whom keys are sealed to, by kid; of a list that is gone or cannot be read, the one before. None
            where there never was one.
        recipients_oid: The blob of that list.
        entries: Records by path.
        sound: By path, what a record was before it went wrong: restoring it is no change.
        counts: How the keys of each set stand.
        kids: Where each kid was used first in this line of history, by its folded form.
        thumbprints: Under which kid each public key was used first.
    """

    policy: Policy | None = None
    policy_oid: str | None = None
    recipients: Mapping[str, Recipient] | None = None
    recipients_oid: str | None = None
    entries: dict[str, Entry] = field(default_factory=dict)
    sound: dict[str, Entry] = field(default_factory=dict)
    counts: dict[str, SetCount] = field(default_factory=dict)
    kids: dict[str, str] = field(default_factory=dict)
    thumbprints: dict[str, str] = field(default_factory=dict)

    def copy(self) -> Ledger:
        """Return a ledger that goes its own way from here."""
        return replace(
            self,
            entries=dict(self.entries),
            sound=dict(self.sound),
            counts=dict(self.counts),
            kids=dict(self.kids),
            thumbprints=dict(self.thumbprints),
        )

    def put(self, path: str, entry: Entry | None) -> None:
        """Put a record at *path*, or take it away; that its kid was used is kept."""
        old = self.entries.pop(path, None)
        if old is not None:
            self._count(old, -1)
        if entry is not None:
            self.entries[path] = entry
            self._count(entry, 1)

    def restore(self, path: str, entry: Entry) -> None:
        """Put back what a record was before it went wrong; its set is then as new as the rest of it."""
        self.put(path, entry)
        self.refresh_newest(entry.key.set)
        del self.sound[path]

    def refresh_newest(self, name: str) -> None:
        """Find out anew which instant of set *name* is the newest: a record went back in time."""
        instants = [one.derived.newest_at for one in self.entries.values() if one.key.set == name]
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
            signing=_counted(old.signing, entry.key.public.alg, step) if derived.state in SIGNED else old.signing,
        )

    def remember(self, key: Key, path: str) -> Iterator[tuple[str, str]]:
        """Note kid and public key of a record that is new here; yield (code, message) where they were used before."""
        folded = key.kid.casefold()
        if folded in self.kids:
            yield "kid-reused", f"kid {key.kid} was used before, in {self.kids[folded]}"
        self.kids.setdefault(folded, path)
        try:
            thumbprint = key.public.thumbprint
        except JWKError:  # no public key at all, which is said where it is read
            return
        if thumbprint == key.kid:
            thumbprint = key.kid  # of a hundred thousand keys, one string instead of two
        if (holder := self.thumbprints.setdefault(thumbprint, key.kid)) != key.kid:
            yield "key-reused", f"the public key of {key.kid} was used before, as {holder}"

    def view(self, paths: Iterable[str], sets: Iterable[str]) -> ParentView:
        """Return what this state has of *paths* and *sets*."""
        return ParentView(
            self.policy,
            self.recipients_oid,
            {path: self.entries.get(path) for path in paths},
            {name: self.count(name) for name in sets},
        )

    def count(self, name: str) -> SetCount:
        """Return how the keys of set *name* stand."""
        count = self.counts.get(name, SetCount())
        orphaned = count.live > 0 and self.policy is not None and name not in self.policy.sets
        return msgspec.structs.replace(count, orphaned=True) if orphaned else count

    def join(self, other: Ledger) -> Iterator[tuple[str, str, str]]:
        """
        Take over what the line of another parent has used; yield (path, code, message) where both used the same.

        What one of the two lines holds both of was said there.
        """
        for folded, theirs in sorted(other.kids.items() - self.kids.items()):
            ours = self.kids.setdefault(folded, theirs)
            if ours != theirs and theirs not in self.entries and ours not in other.entries:
                yield theirs, "kid-reused", f"its kid was used on the other side, in {ours}"
        for thumbprint, their_kid in sorted(other.thumbprints.items() - self.thumbprints.items()):
            our_kid = self.thumbprints.setdefault(thumbprint, their_kid)
            ours, theirs = self.kids[our_kid.casefold()], self.kids[their_kid.casefold()]
            if our_kid != their_kid and theirs not in self.entries and ours not in other.entries:
                yield theirs, "key-reused", f"its public key was used on the other side, as {our_kid}"
