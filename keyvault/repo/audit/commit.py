"""
Judge one commit of a vault: read its files into the ledger, then compare them with each parent.

``core/history`` defines the legal changes.

Source: docs/audit.md.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime

import msgspec

from keyvault import config
from keyvault.core.compact import share_unchanged
from keyvault.core.envelope_form import check_recipient
from keyvault.core.history.derived_state import DerivedState, keeps_promises
from keyvault.core.history.findings import (
    MENDED_BY_REPAIR,
    MENDED_BY_RESTORING,
    MENDED_BY_TAKING_BACK,
    MENDED_WITH_A_RECORD,
)
from keyvault.core.history.ledger import Entry, Ledger, ParentView
from keyvault.core.history.rules import (
    ClockBounds,
    EventContext,
    instant,
    judge_algorithm,
    judge_events,
    judge_joined,
    judge_policy,
    judge_record,
    judge_record_change,
    judge_seal,
    judge_set,
    max_skew,
    parent_counts,
)
from keyvault.core.history.versions import Problem, read_record
from keyvault.core.keys import Key, Recipient
from keyvault.core.leaks import find_private, find_private_in_note
from keyvault.core.merging import is_join
from keyvault.core.policy import SetPolicy
from keyvault.core.text import printable
from keyvault.errors import ConfigError, JWKError, RecordError
from keyvault.repo.audit.blobs import BlobReader, is_file
from keyvault.repo.audit.findings import Collector
from keyvault.repo.git import CommitChanges, TreeChange
from keyvault.repo.records import decode_recipients
from keyvault.repo.vault import IDENTITIES, RECIPIENTS, is_record_path


@dataclass
class AuditContext:
    """
    The state of an audit that the judges of all commits share.

    Attributes:
        blobs: Reads the files of commits.
        findings: Collects findings.
        now: The instant of the audit.
        vault_begun: Whether an earlier commit began a vault.
        dropped: By the path of a record, merges that took one side of it, with the state of the other side.
    """

    blobs: BlobReader
    findings: Collector
    now: datetime
    vault_begun: bool = False
    dropped: dict[str, list[tuple[str, DerivedState]]] = field(default_factory=dict)

    def report_private(self, commit: str, path: str, description: str | None) -> None:
        """Report a private key in the clear, unless its *description* is None."""
        if description:
            self.findings.add(commit, path, [("private-in-clear", f"the file contains {description}")])


@dataclass
class CommitJudge:
    """
    Judges one commit that changes the vault.

    Attributes:
        context: The state of the whole audit.
        step: The commit.
        parents: The ledger of each parent.
        inside: The changes of the vault against each parent, by path.
        ledger: The ledger to update to the commit.
    """

    context: AuditContext
    step: CommitChanges
    parents: Sequence[Ledger]
    inside: Sequence[Mapping[str, TreeChange]]
    ledger: Ledger
    #: Records that the commit restored to their last version without an error.
    restored: set[str] = field(default_factory=set)
    #: Sets with a repaired record, and the instant of the repair.
    repaired: dict[str, datetime] = field(default_factory=dict)
    #: Records with events that seem older than their set, the oldest of these events, and their problems.
    early: list[tuple[Key, datetime, list[Problem]]] = field(default_factory=list)
    #: Records that a merge joined from both of its sides.
    joined: set[str] = field(default_factory=set)
    #: Records to which a merge added an event that neither side had.
    invented: set[str] = field(default_factory=set)

    def judge(self) -> None:
        """
        Report the problems of the commit, and bring the ledger from its first parent to its own state.

        In the end, `last_valid` has the last valid version of each record that is damaged since, so that a later commit
        can restore it.
        """
        step, ledger, first = self.step, self.ledger, len(self.context.findings.found)
        empty = not any(parent.entries for parent in self.parents)
        own = self.inside[0]
        records = sorted({path for changes in self.inside for path in changes if is_record_path(path)})
        sets = {path.split("/")[1] for path in records}
        if config.FILE in own:
            sets |= set(ledger.policy.sets if ledger.policy else ()) | set(ledger.counts)
        before = [parent.view(records, sets) for parent in self.parents]
        contents = self.context.blobs.contents(
            {path: change for path, change in own.items() if not is_record_path(path)}
        )
        self._read_policy(own.get(config.FILE), contents, before)
        if ledger.policy is not None:
            sets |= set(ledger.policy.sets) if config.FILE in own else set()
        self._read_recipients(own.get(RECIPIENTS), contents)
        self._read_identities(own, contents)
        clock = ClockBounds(instant(step.authored_at), self.context.now, max_skew(ledger.policy))
        for path, data in self.context.blobs.each({path: own[path] for path in records if path in own}):
            self._read_record(path, own[path], data, before, clock)
        for key, oldest, early in self.early:
            # A repair dates back later events of its set, so an event at or after the repair is not too early.
            if key.set not in self.repaired or oldest < self.repaired[key.set]:
                self._report(key.path, early)
        for name in self.repaired:
            ledger.refresh_newest(name)
        self._judge_record_changes(before)
        self._judge_seals(before, records)
        for name in sorted(sets):
            count = ledger.count(name)
            problems = judge_set(name, ledger.policy, count, parent_counts(before, name))
            self.context.findings.add(self.step.commit, "", problems, key_set=name)
            if ledger.policy is not None and name in ledger.policy.sets:
                self.context.findings.mend(self.step.commit, name, {"set-orphaned"})
            if name in self.repaired:
                codes = {"two-active"} if count.active < 2 else set()
                codes |= {"two-next"} if count.next < 2 else set()
                codes |= {"active-missing"} if count.active == 1 else set()
                codes |= {"next-missing"} if count.next == 1 else set()
                self.context.findings.mend(self.step.commit, name, codes)
        if config.FILE in own:
            self._judge_beginning(own[config.FILE], before, empty=empty)
        wrong = {finding.path for finding in self.context.findings.found[first:] if finding.level == "error"}
        for path in sorted(set(records) - self.restored):
            olds = [entry for parent in before if (entry := parent.entries.get(path)) is not None and entry.readable]
            old = olds[0] if olds else None
            if printable(path) not in wrong and path not in own:
                continue  # the same as in the first parent, where it was judged
            if printable(path) not in wrong:
                if ledger.last_valid.pop(path, None):
                    self._mend_restored(path)
                else:
                    self.context.findings.mend(self.step.commit, path, MENDED_BY_RESTORING)
            elif old is not None:
                ledger.last_valid.setdefault(path, old)

    def _judge_beginning(self, change: TreeChange, before: Sequence[ParentView], *, empty: bool) -> None:
        """Check that a vault begins only once in a history, and keeps its keyvault.toml from then on."""
        if not is_file(change):
            if self.ledger.entries and self._is_new(config.FILE):
                self._report(config.FILE, [("policy-missing", "the commit removed keyvault.toml from the vault")])
            return
        anew = empty and not self.restored and change.before is None and self._is_new(config.FILE)
        if self.context.vault_begun and (anew or not any(parent.policy for parent in before)):
            self._report(config.FILE, [("vault-begun-twice", "a second vault begins here, in the history of another")])
        self.context.vault_begun = True

    def _is_new(self, path: str) -> bool:
        """Whether the commit itself wrote the file, not only a merge that takes it from a parent."""
        return all(path in changes for changes in self.inside)

    def _report(self, path: str, problems: Iterator[Problem] | Sequence[Problem]) -> None:
        self.context.findings.add(self.step.commit, path, problems)

    def _read_policy(
        self, change: TreeChange | None, contents: Mapping[str, bytes], before: Sequence[ParentView]
    ) -> None:
        if change is None:
            return
        ledger, new = self.ledger, self._is_new(config.FILE)
        ledger.policy_oid = change.after
        data = contents.get(config.FILE)
        if data is None:
            return
        try:
            policy = config.read_policy(data)
        except ConfigError as error:
            if new:
                self._report(config.FILE, [("policy-malformed", error.message)])
            return
        self.context.findings.mend(self.step.commit, config.FILE, MENDED_BY_RESTORING)
        olds = [parent.policy for parent in before if parent.policy is not None]
        if olds and new:
            self._report(config.FILE, judge_policy(olds, policy))
        ledger.policy = policy

    def _read_recipients(self, change: TreeChange | None, contents: Mapping[str, bytes]) -> None:
        if change is None:
            return
        ledger, new = self.ledger, self._is_new(RECIPIENTS)
        data = contents.get(RECIPIENTS)
        if data is None:
            if new and any(entry.sealed for entry in ledger.entries.values()):
                problem = "recipients-missing", "there are sealed keys, but no list of recipients"
                self._report(RECIPIENTS, [problem])
            return
        known = [recipient for parent in self.parents for recipient in (parent.recipients or {}).values()]
        old = ledger.recipients
        try:
            ledger.recipients = decode_recipients(data, path=RECIPIENTS)
        except RecordError as error:
            if new:
                self._report(RECIPIENTS, [("recipients-malformed", error.message)])
            return
        self.context.findings.mend(self.step.commit, RECIPIENTS, MENDED_BY_RESTORING)
        ledger.recipients_oid = change.after
        if new and old is not None:
            self._report(RECIPIENTS, _recipient_changes(old, ledger.recipients))
        unknown = [recipient for recipient in ledger.recipients.values() if recipient not in known]
        self._report(RECIPIENTS, _weak_recipients(unknown))

    def _read_identities(self, changes: Mapping[str, TreeChange], contents: Mapping[str, bytes]) -> None:
        for path in changes:
            identity = path.startswith(IDENTITIES + "/") and path in contents
            if identity and self._is_new(path) and not _is_jwe(contents[path]):
                problem = "identity-malformed", "an identity in a vault must be encrypted under a passphrase"
                self._report(path, [problem])

    def _read_record(
        self, path: str, change: TreeChange, data: bytes | None, before: Sequence[ParentView], clock: ClockBounds
    ) -> None:
        ledger = self.ledger
        known = [entry for parent in before if (entry := parent.entries.get(path)) is not None]
        if data is None or change.after is None:
            ledger.put(path, None)
            return
        same = next((entry for entry in known if entry.oid == change.after), None)
        if same is not None:  # a merge took the version of another parent, which was judged there
            ledger.put(path, same)
            return
        sound = ledger.last_valid.get(path)
        if sound is not None and sound.oid == change.after:
            ledger.restore(path, sound)
            self.restored.add(path)
            self._mend_restored(path)
            return
        best = max(known, key=lambda entry: len(entry.key.events), default=None)
        key, problems = read_record(data, path, best.key if best else None)
        if not known and sound is not None and key is not None and _continues(sound.key, key):
            known, best = [sound], sound  # an earlier commit removed it, and this one restores it with more events
        self._report(path, problems)
        table = ledger.policy.sets.get(key.set) if ledger.policy and key else None
        # In a well-formed record only texts of users can contain a private key: the rest is public or sealed.
        if key is None or problems:
            self.context.report_private(self.step.commit, path, find_private(data))
        else:
            # Each text by itself, as the command checked it when it wrote the event.
            found = map(find_private_in_note, _new_texts(key, best.key if best else None, table))
            self.context.report_private(self.step.commit, path, next(filter(None, found), None))
        if key is None:
            ledger.put(path, msgspec.structs.replace(best, oid=change.after, readable=False) if best else None)
            return
        if best is None:
            self._report(path, ledger.remember(key, path))
            self._report(path, judge_algorithm(key, table))
        kept = len(best.key.events) if best else 0
        if is_join(key.events, [entry.key.events for entry in known]):
            self.joined.add(path)
            derived, problems = judge_joined(key.events)
            self._report(path, problems)
        elif key.path != path or (best is not None and key.events[:kept] != best.key.events):
            derived, problems = judge_joined(key.events)
            if len(self.parents) > 1:  # a merge may combine events into an order that no line had
                self._report(path, problems)
                if any(all(event not in entry.key.events for entry in known) for event in key.events):
                    self.invented.add(path)
        else:
            start = best.derived if best else DerivedState()
            context = EventContext(key, ledger.policy, table, parent_counts(before, key.set), best is None, clock)
            derived, problems = judge_events(context, start, key.events[kept:])
            early = [problem for problem in problems if problem[0] == "instant-before-set"]
            if early:
                self.early.append((key, min(event.at for event in key.events[kept:]), early))
            self._report(path, [problem for problem in problems if problem not in early])
            if repairs := [event.at for event in key.events[kept:] if event.event == "repaired"]:
                self.repaired[key.set] = min(repairs[0], self.repaired.get(key.set, repairs[0]))
                self.context.findings.mend(self.step.commit, path, MENDED_BY_REPAIR)
                if derived.ended:
                    self.context.findings.mend(self.step.commit, path, {"private-removed"})
                dropped = self.context.dropped.get(path, ())
                if all(keeps_promises(derived, other) for _, other in dropped):
                    merges = {merge for merge, _ in dropped}
                    codes = MENDED_BY_TAKING_BACK | ({"private-added"} if derived.ended else set())
                    self.context.findings.mend(self.step.commit, path, codes, only=merges)
        self._report(path, judge_record(key, derived, created=best is None))
        if best is not None:
            share_unchanged(key, best.key)
        unchanged = (entry.recipients for entry in known if entry.key.private == key.private)
        ledger.put(path, Entry(change.after, key, derived, recipients=next(unchanged, ledger.recipients_oid)))

    def _mend_restored(self, path: str) -> None:
        """Mend the findings about a record that has its last good version again, and those about its set."""
        self.context.findings.mend(self.step.commit, path, MENDED_BY_RESTORING)
        self.context.findings.mend(self.step.commit, path.split("/")[1], MENDED_WITH_A_RECORD)

    def _judge_record_changes(self, before: Sequence[ParentView]) -> None:
        """Check that the commit loses nothing of any parent."""
        for parent, changes in zip(before, self.inside, strict=bool(before)):  # the first commit has no parent
            for path in sorted(changes.keys() - self.restored):
                old = parent.entries.get(path)
                if old is None:
                    continue
                new = self.ledger.entries.get(path)
                if new is None and old.key.path != path:
                    continue  # a misplaced record may be removed
                taken = new is not None and any(
                    entry.oid == new.oid for other in before if (entry := other.entries.get(path)) is not None
                )
                changed = parent.recipients != self.ledger.recipients_oid
                # After a merge, a key may be sealed to another list.
                stale = old.recipients != self.ledger.recipients_oid
                joined = path in self.joined
                problems = list(judge_record_change(old, new, reseal=taken or changed or stale, joined=joined))
                by_merge = len(self.parents) > 1 and path not in self.invented
                if by_merge and any(code in MENDED_BY_TAKING_BACK for code, _ in problems):
                    self.context.dropped.setdefault(path, []).append((self.step.commit, old.derived))
                self._report(path, problems)

    def _judge_seals(self, before: Sequence[ParentView], records: Sequence[str]) -> None:
        for path in self.ledger.entries if RECIPIENTS in self.inside[0] else records:
            entry = self.ledger.entries.get(path)
            if entry is not None and entry.readable:
                # A record that the commit does not change is the same in each parent.
                same = [
                    parent.recipients == self.ledger.recipients_oid
                    for parent in before
                    if (old := parent.entries.get(path, entry)) is not None and old.key.private == entry.key.private
                ]
                self._report(path, judge_seal(entry, self.ledger, fresh=not same, known=any(same)))


def _continues(old: Key, new: Key) -> bool:
    """Whether *new* is the record *old* with more events; if they end the key, it has no private half any more."""
    private = new.private in (old.private, msgspec.UNSET)
    return private and (new.set, new.public) == (old.set, old.public) and new.events[: len(old.events)] == old.events


def _new_texts(key: Key, old: Key | None, table: SetPolicy | None) -> Iterator[str]:
    """Yield the texts of users in *key* that are not in *old*."""
    kept = len(old.events) if old is not None and key.events[: len(old.events)] == old.events else 0
    url = table.url if table else None
    for event in key.events[kept:]:
        yield from filter(None, (event.note, event.forced, event.url if event.url != url else None))


def _recipient_changes(old: Mapping[str, Recipient], new: Mapping[str, Recipient]) -> Iterator[Problem]:
    for kid in sorted(new):
        if old.get(kid) != new[kid]:
            change = "has another key" if kid in old else "is new"
            yield "recipients-changed", f"recipient {kid} {change}: it opens keys that are sealed from now on"


def _weak_recipients(recipients: Iterable[Recipient]) -> Iterator[Problem]:
    for recipient in recipients:
        try:
            check_recipient(recipient)
        except JWKError as error:
            yield "recipient-weak", error.message


class _JWE(msgspec.Struct):
    """The members that every encrypted identity has."""

    ciphertext: str
    iv: str
    tag: str


def _is_jwe(data: bytes) -> bool:
    try:
        msgspec.json.decode(data, type=_JWE)
    except (msgspec.MsgspecError, RecursionError, UnicodeDecodeError):
        return False
    return True
