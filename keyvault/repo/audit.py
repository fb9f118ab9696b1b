"""
The audit: walk the whole history of a vault, and judge every commit against its parents.

One ``git log --raw`` names what every commit changed, one ``cat-file --batch`` reads it ahead, another one what turns
out to be needed besides, and one ``diff-tree`` compares merges with each of their parents. What is legal is said in
``core/history``; signatures are judged in `signatures`.
The state of the vault is carried along, so that a commit costs what it changes.

Source: docs/audit.md.
"""

from __future__ import annotations

import contextlib
import fnmatch
from collections import Counter, deque
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence, Set
from dataclasses import dataclass, field
from datetime import datetime
from functools import cache

import msgspec

from keyvault import config
from keyvault.core.envelopes import check_recipient
from keyvault.core.exposure import find_private, find_private_in_note
from keyvault.core.history.findings import (
    MENDABLE,
    MENDED_BY_REPAIR,
    MENDED_BY_RESTORING,
    MENDED_BY_TAKING_BACK,
    MENDED_WITH_A_RECORD,
    Finding,
)
from keyvault.core.history.ledger import Before, Entry, Ledger
from keyvault.core.history.lives import Standing, makes_good, standing_after
from keyvault.core.history.rules import (
    Scene,
    Times,
    instant,
    judge_algorithm,
    judge_events,
    judge_growth,
    judge_order,
    judge_policy,
    judge_record,
    judge_seal,
    judge_set,
    max_skew,
    views,
)
from keyvault.core.history.versions import Problem, read_record
from keyvault.core.keys import Commit, Key, Recipient, sealed_to, share_parts
from keyvault.core.merging import is_join
from keyvault.core.policy import SetPolicy
from keyvault.core.text import elided, printable
from keyvault.errors import ConfigError, GitError, JWKError, RecordError
from keyvault.progress import Progress, quiet, told
from keyvault.repo.git import CommitChanges, Git, TreeChange, can_be_checked_out, describe_mode, is_oid
from keyvault.repo.records import decode_recipients
from keyvault.repo.signatures import Signers, judge_signatures
from keyvault.repo.vault import (
    IDENTITIES,
    KEYS,
    README,
    RECIPIENTS,
    SIGNERS_OPENPGP,
    SIGNERS_SSH,
    is_record_path,
    is_vault_path,
)

#: How many commits are read ahead, and how many of their files: those of a commit with more are read when it is judged.
_COMMITS_AT_ONCE = 100
_FILES_AT_ONCE = 2_000

#: How many commits are given to git at once to check their signatures.
_SIGNATURES_AT_ONCE = 200

Read = Callable[[Sequence[str]], Iterator[bytes]]
Differ = Callable[[str, str], list[TreeChange]]


@dataclass(frozen=True)
class Audit:
    """
    What an audit found.

    Attributes:
        commit: The newest commit that was judged.
        since: The trusted commit that it went on from, or None.
        commits: How many commits were judged.
        findings: What must not be, and what is worth a look, oldest first.
    """

    commit: Commit
    since: Commit | None
    commits: int
    findings: tuple[Finding, ...]

    @property
    def errors(self) -> tuple[Finding, ...]:
        """The findings that are no notes."""
        return tuple(one for one in self.findings if one.level == "error")


class Trust(msgspec.Struct, frozen=True):
    """Who may sign, and whether everybody must: the blobs of the two lists of a commit that is trusted."""

    required: bool = False
    ssh: str | None = None
    openpgp: str | None = None


def audit(
    git: Git,
    commit: Commit,
    now: datetime,
    *,
    since: Commit | None = None,
    pin: Commit | None = None,
    unknown: Sequence[str] = (),
    signers: Signers | None = None,
    exclude: Sequence[str] = (),
    progress: Progress = quiet,
) -> Audit:
    """
    Judge the history of *commit*.

    Args:
        git: The repository.
        commit: The newest commit to judge.
        now: The instant of the audit.
        since: A commit that is trusted with all its history; only what came after is judged.
        pin: A commit that the history must hold.
        unknown: Names that were given for the two and name no commit here: then the history does not hold them.
        signers: Who may sign, from outside; every commit that touches the vault must then be signed.
        exclude: Patterns of paths, outside of the vault, in which private keys are not looked for.
        progress: Told how far it is.

    Raises:
        GitError: History was cut off, or an object is missing.
    """
    if git.shallow:
        raise GitError("history was cut off: there is nothing to judge", hint="git fetch --unshallow")
    found: list[Finding] = []
    outside = [trusted for trusted in (since, pin) if trusted is not None and not git.is_ancestor(trusted, commit)]
    for trusted in (*outside, *unknown):
        shown = trusted[:12] if is_oid(trusted) else elided(trusted)[:100]
        found.append(Finding("pin-missing", f"the history of {commit[:12]} does not hold {shown}", commit=commit))
    since = None if since in outside else since
    with contextlib.ExitStack() as stack:
        read, read_ahead = stack.enter_context(git.blob_reader()), stack.enter_context(git.blob_reader())
        differ = cache(lambda: stack.enter_context(git.tree_differ()))  # only merges need it
        walk = _Walk(git, read, read_ahead, differ, now, signers, exclude, found, since, progress)
        count = walk.run(commit)
    return Audit(commit, since, count, tuple(dict.fromkeys(found)))


@dataclass
class _Walk:
    """The walk from parents to children; what is no longer needed is let go of."""

    git: Git
    read: Read
    read_ahead: Read
    differ: Callable[[], Differ]
    now: datetime
    signers: Signers | None
    exclude: Sequence[str]
    found: list[Finding]
    since: Commit | None
    progress: Progress
    children: Counter[str] = field(default_factory=Counter)
    ledgers: dict[str, Ledger] = field(default_factory=dict)
    #: By commit, who may sign after it, behind those who could before.
    trust: dict[str, tuple[Trust, ...]] = field(default_factory=dict)
    #: Who might sign before the trusted commit: every line after it has had these.
    older: set[Trust] = field(default_factory=set)
    trees: dict[str, str] = field(default_factory=dict)
    contents: dict[str, bytes] = field(default_factory=dict)
    begun: bool = False
    #: Findings that a later commit may mend, as their places in *found*, by the path or the name of a set.
    mendable: dict[str, list[int]] = field(default_factory=dict)
    #: By the path of a record, merges that took one side's version of it, with where the other side's stood.
    dropped: dict[str, list[tuple[str, Standing]]] = field(default_factory=dict)
    #: Commits whose signatures are still to be judged, by who may sign.
    unjudged: dict[Trust, list[str]] = field(default_factory=dict)

    def run(self, commit: Commit) -> int:
        """Judge every commit up to *commit*, and return how many there are."""
        revisions = (commit,) if self.since is None else (commit, f"^{self.since}")
        total = 0
        for line in self.git.run("rev-list", "--parents", *revisions).decode().splitlines():
            self.children.update(line.split(" ")[1:])
            total += 1
        order: dict[str, int] = {}
        steps = self.git.commits(*revisions)
        few, contents = self._begin(steps)
        while few:
            self.contents = dict(contents)
            # Git reads the next ones while these are judged; but not beside a commit that takes much memory by itself.
            coming = None if _is_large(few[-1]) else self._begin(steps)
            while few:
                step = few.popleft()
                order[step.commit] = len(order)
                self._step(step)
                self.progress("auditing commits", len(order), total)
            few, contents = coming or self._begin(steps)
        self._judge_signatures()
        self.found.sort(key=lambda one: order.get(one.commit, 0))
        return total

    def _say(
        self, commit: str, path: str, problems: Iterator[Problem] | Sequence[Problem], *, key_set: str = ""
    ) -> None:
        for code, message in problems:  # nearly always there are none, and this is asked ten times a commit
            if code in MENDABLE:
                self.mendable.setdefault(path or key_set, []).append(len(self.found))
            self.found.append(Finding(code, printable(message), printable(path), commit))

    def mend(self, commit: str, place: str, codes: Set[str], only: Set[str] | None = None) -> None:
        """
        Turn what was found at *place*, a path or the name of a set, into notes, since *commit* mended it.

        Args:
            commit: The commit that mended it.
            place: The path, or the name of the set.
            codes: The codes of what it mended.
            only: The commits whose findings it mended; None for all.
        """
        for index in self.mendable.get(place, ()):
            old = self.found[index]
            if old.code in codes and old.commit != commit and (only is None or old.commit in only):
                message = f"{old.code}, mended in {commit[:12]}: {old.message}"
                self.found[index] = msgspec.structs.replace(old, code="mended", message=message)

    def _begin(self, steps: Iterator[CommitChanges]) -> tuple[deque[CommitChanges], Iterator[tuple[str, bytes]]]:
        """Return the next few of *steps*, and the files of the vault that they write, by id."""
        few: deque[CommitChanges] = deque()
        wanted: dict[str, None] = {}
        files = 0
        for step in steps:
            few.append(step)
            files += len(step.changes)
            if not _is_large(step):
                wanted.update((str(one.after), None) for one in self._inside(step.changes).values() if _is_file(one))
            if len(few) >= _COMMITS_AT_ONCE or files >= _FILES_AT_ONCE:
                break
        return few, zip(wanted, self.read_ahead(list(wanted)), strict=True)

    # --- one commit -------------------------------------------------------------------------------------

    def _step(self, step: CommitChanges) -> None:
        self.trees[step.commit] = step.tree
        parents = [self._parent(parent) for parent in step.parents]
        if len(parents) > 1:
            differences = [self.differ()(self.trees[parent], step.tree) for parent in step.parents]
        else:
            differences = [step.changes]
        inside = [self._inside(changes) for changes in differences]
        self._judge_places(step.commit, _new_everywhere(differences))
        after = self._taken(step.parents, parents)
        for parent in parents[1:]:
            for path, code, message in after.join(parent):
                self._say(step.commit, path, [(code, message)])
        if any(inside):
            _Commit(self, step, parents, inside, after).judge()
        self._judge_trust(step, inside)
        self.ledgers[step.commit] = after
        self._let_go(step.parents)

    def _parent(self, commit: Commit) -> Ledger:
        """Return the ledger of a parent; one before the trusted commit is read as a whole, and trusted."""
        if commit not in self.ledgers:
            self.trees[commit] = self.git.run("rev-parse", f"{commit}^{{tree}}").decode().strip()
            self.ledgers[commit] = self._trusted(commit)
        return self.ledgers[commit]

    def _taken(self, commits: Sequence[str], parents: Sequence[Ledger]) -> Ledger:
        """Return the ledger of the first parent, to be changed: itself, where no other child needs it."""
        if not parents:
            return Ledger()
        return parents[0] if self.children[commits[0]] == 1 else parents[0].copy()

    def _let_go(self, parents: Sequence[str]) -> None:
        for parent in parents:
            self.children[parent] -= 1
            if not self.children[parent]:
                del self.ledgers[parent], self.trees[parent]
                self.trust.pop(parent, None)

    def _inside(self, changes: Sequence[TreeChange]) -> dict[str, TreeChange]:
        """Return the changes of the vault, by path in it."""
        prefix = self.git.prefix
        found = {}
        for change in changes:
            if change.path.startswith(prefix):
                path = change.path[len(prefix) :]
                if is_vault_path(path):
                    found[path] = change
        return found

    def _judge_places(self, commit: str, changes: Sequence[TreeChange]) -> None:
        """Judge where files lie, and look for private keys in those that are no records: a record is judged later."""
        prefix = self.git.prefix
        wanted = []
        for change in changes:
            if change.after is None:
                self._mend_removed(commit, change.path.removeprefix(prefix))
                continue
            if not can_be_checked_out(change.path):
                self._say(commit, change.path, [("unsafe-path", "a path that git does not check out")])
            inner = change.path[len(prefix) :] if change.path.startswith(prefix) else ""
            ours = is_vault_path(inner)
            if ours:
                problems = list(_place_problems(inner, change.mode))
                self._say(commit, inner, problems)
                if not problems:
                    self.mend(commit, inner, {"unexpected-mode"})
            excluded = not ours and any(fnmatch.fnmatchcase(change.path, pattern) for pattern in self.exclude)
            if change.mode != "160000" and not is_record_path(inner) and not excluded:
                wanted.append(change)
        for change, data in zip(wanted, self.read([str(change.after) for change in wanted]), strict=True):
            self.look_for_private(commit, change.path, data)

    def _mend_removed(self, commit: str, path: str) -> None:
        """Take note that a file is gone which did not belong; of a record in a wrong place, its kid and set too."""
        misplaced = any(self.found[index].code == "record-misplaced" for index in self.mendable.get(path, ()))
        self.mend(commit, path, MENDED_BY_RESTORING | ({"kid-reused", "key-reused"} if misplaced else set()))
        if misplaced:
            self.mend(commit, path.split("/")[1], MENDED_WITH_A_RECORD | {"two-active", "two-next"})

    def look_for_private(self, commit: str, path: str, data: bytes) -> None:
        """Say so where *data* holds a private key in the clear."""
        self.say_private(commit, path, find_private(data))

    def say_private(self, commit: str, path: str, what: str | None) -> None:
        """Say that a private key stands in the clear, where *what* says which."""
        if what:
            self._say(commit, path, [("private-in-clear", f"the file holds {what}")])

    # --- what is trusted --------------------------------------------------------------------------------

    def _trusted(self, commit: Commit) -> Ledger:
        """Return the ledger of a commit that is not judged."""
        ledger = Ledger()
        entries = {
            entry.path: entry.oid for entry in self.git.tree(commit, config.FILE, KEYS) if entry.mode != "160000"
        }
        records = {path: oid for path, oid in entries.items() if is_record_path(path)}
        others = {path: oid for path, oid in entries.items() if path in (config.FILE, RECIPIENTS)}
        contents = dict(zip(others, self.read(list(others.values())), strict=True))
        if config.FILE in contents:
            with contextlib.suppress(ConfigError):
                ledger.policy = config.read_policy(contents[config.FILE])
                ledger.policy_oid = entries[config.FILE]
        if RECIPIENTS in contents:
            with contextlib.suppress(RecordError):
                ledger.recipients = decode_recipients(contents[RECIPIENTS], path=RECIPIENTS)
                ledger.recipients_oid = entries[RECIPIENTS]
        for (path, oid), data in zip(records.items(), self.read(list(records.values())), strict=True):
            key = read_record(data, path, None)[0]
            if key is not None:
                # A merge may have left it sealed to another list than the one beside it.
                beside = ledger.recipients_oid if sealed_to(key) == sorted(ledger.recipients or ()) else None
                ledger.put(path, Entry(oid, key, standing_after(key.events), recipients=beside))
                for _ in ledger.remember(key, path):
                    pass
        self.begun = self.begun or ledger.policy_oid is not None
        required = ledger.policy is not None and ledger.policy.audit.require_signatures
        trust = Trust(required, entries.get(SIGNERS_SSH), entries.get(SIGNERS_OPENPGP))
        self.trust[commit] = (trust,)
        if commit != self.since:
            self.older.add(trust)
        return ledger

    def _judge_trust(self, step: CommitChanges, inside: Sequence[Mapping[str, TreeChange]]) -> None:
        """Decide by whom a commit must be signed, and who may sign after it."""
        lines = [self.trust[parent] for parent in step.parents] or [(Trust(),)]
        lists = dict.fromkeys(line[-1] for line in lines)
        newest = _newest(lines, self.older)
        base = next((n for n, line in enumerate(lines) if line[-1].required), 0) if newest is None else newest
        before, own = lines[base][-1], inside[base]
        after = before
        if SIGNERS_SSH in own:
            after = msgspec.structs.replace(after, ssh=own[SIGNERS_SSH].after)
        if SIGNERS_OPENPGP in own:
            after = msgspec.structs.replace(after, openpgp=own[SIGNERS_OPENPGP].after)
        if config.FILE in own:
            required = self._requires(own[config.FILE], before.required)
            after = msgspec.structs.replace(after, required=required)
        if before == Trust():
            before = after  # who names the first signers is trusted by a pin, or on first use
        # What a merge only brings together was signed where it was written.
        needed = bool(set.intersection(*(set(changes) for changes in inside)))
        required, judges = True, [before]
        if self.signers is None:
            required = after.required or any(one.required for one in lists)
            judges = [one for one in lists if one.required] or judges
            # But what an older list let in is not what the newer one would: somebody has to answer for it.
            needed = needed or after != before or newest is None or (len(lists) > 1 and bool(own))
        if needed and required:
            for judge in judges:
                if after != before:
                    # An untrusted commit changes nothing about who is trusted: it is judged at once.
                    if self._report(judge_signatures(self.git, [step.commit], self._signers(judge))):
                        after = before
                else:
                    self.unjudged.setdefault(judge, []).append(step.commit)
            if self.signers is None and not self._signers(before):
                self._say(step.commit, SIGNERS_SSH, [("signers-missing", "signatures are required, of nobody")])
        self.trust[step.commit] = (*dict.fromkeys(one for line in lines for one in line if one != after), after)

    def _requires(self, change: TreeChange, otherwise: bool) -> bool:
        if not _is_file(change):
            return otherwise
        try:
            return config.read_policy(next(self.read([str(change.after)]))).audit.require_signatures
        except ConfigError:
            return otherwise

    def _signers(self, trust: Trust) -> Signers:
        if self.signers is not None:
            return self.signers
        lists = [next(self.read([oid])) if oid else b"" for oid in (trust.ssh, trust.openpgp)]
        return Signers(*lists)

    def _report(self, verdicts: Mapping[str, Problem]) -> bool:
        for commit, problem in verdicts.items():
            self._say(commit, "", [problem])
        return bool(verdicts)

    def _judge_signatures(self) -> None:
        total, done = sum(map(len, self.unjudged.values())), 0
        for trust, commits in self.unjudged.items():
            signers = self._signers(trust)
            for start in range(0, len(commits), _SIGNATURES_AT_ONCE):
                few = commits[start : start + _SIGNATURES_AT_ONCE]
                self._report(judge_signatures(self.git, few, signers))
                done += len(few)
                self.progress("checking signatures", done, total)


def _new_everywhere(differences: Sequence[Sequence[TreeChange]]) -> list[TreeChange]:
    """Return the changes that a commit makes against all of its parents."""
    if len(differences) < 2:
        return list(differences[0]) if differences else []
    common = set.intersection(*({(change.path, change.after) for change in changes} for changes in differences))
    return [change for change in differences[0] if (change.path, change.after) in common]


def _newest(lines: Sequence[tuple[Trust, ...]], older: Set[Trust]) -> int | None:
    """Return which of *lines* had the lists of all others, and has another one since; None where that is not one."""
    lists = {line[-1] for line in lines}
    found = {line[-1]: index for index, line in reversed([*enumerate(lines)]) if lists - older <= set(line)}
    return next(iter(found.values())) if len(found) == 1 else None


def _is_large(step: CommitChanges) -> bool:
    return len(step.changes) > _FILES_AT_ONCE


def _is_file(change: TreeChange) -> bool:
    return change.after is not None and change.mode != "160000"


def _place_problems(path: str, mode: str) -> Iterator[Problem]:
    if mode != "100644":
        yield "unexpected-mode", f"the file is {describe_mode(mode)}: a vault holds plain files"
    known = path in (config.FILE, README, RECIPIENTS, SIGNERS_SSH, SIGNERS_OPENPGP)
    identity = path.startswith(IDENTITIES + "/") and path.endswith(".json") and path.count("/") == 2
    if not known and not identity and not is_record_path(path):
        yield "unexpected-path", "the file does not belong in a vault"


# --- the files of a commit ------------------------------------------------------------------------------


@dataclass
class _Commit:
    """A commit that changes the vault: its files are read into the ledger, then judged against each parent."""

    walk: _Walk
    step: CommitChanges
    parents: Sequence[Ledger]
    inside: Sequence[Mapping[str, TreeChange]]
    ledger: Ledger
    #: Records that were put back to what they were before they went wrong.
    mended: set[str] = field(default_factory=set)
    #: Sets with a record that was repaired.
    repaired: set[str] = field(default_factory=set)
    #: Records that a merge joined from both of its sides.
    joined: set[str] = field(default_factory=set)
    #: Records into which a merge wrote an event that none of its sides had.
    invented: set[str] = field(default_factory=set)

    def judge(self) -> None:
        step, ledger, first = self.step, self.ledger, len(self.walk.found)
        empty = not any(parent.entries for parent in self.parents)
        own = self.inside[0]
        records = sorted({path for changes in self.inside for path in changes if is_record_path(path)})
        sets = {path.split("/")[1] for path in records}
        if config.FILE in own:
            sets |= set(ledger.policy.sets if ledger.policy else ()) | set(ledger.counts)
        before = [parent.before(records, sets) for parent in self.parents]
        contents = self._contents({path: change for path, change in own.items() if not is_record_path(path)})
        self._read_policy(own.get(config.FILE), contents, before)
        if ledger.policy is not None:
            sets |= set(ledger.policy.sets) if config.FILE in own else set()
        self._read_recipients(own.get(RECIPIENTS), contents)
        self._read_identities(own, contents)
        times = Times(instant(step.authored_at), self.walk.now, max_skew(ledger.policy))
        for path, data in self._records([path for path in records if path in own]):
            self._read_record(path, own[path], data, before, times)
        for name in self.repaired:
            ledger.recount(name)
        self._judge_growth(before)
        self._judge_seals(before, records)
        for name in sorted(sets):
            count = ledger.count(name)
            problems = judge_set(name, ledger.policy, count, views(before, name))
            self.walk._say(self.step.commit, "", problems, key_set=name)
            if name in self.repaired:
                codes = {"two-active"} if count.active < 2 else set()
                codes |= {"two-next"} if count.next < 2 else set()
                codes |= {"active-missing"} if count.active == 1 else set()
                codes |= {"next-missing"} if count.next == 1 else set()
                self.walk.mend(self.step.commit, name, codes)
        if config.FILE in own:
            self._judge_beginning(own[config.FILE], before, empty=empty)
        wrong = {one.path for one in self.walk.found[first:] if one.level == "error"}
        for path in set(records) - self.mended:
            olds = [entry for one in before if (entry := one.entries.get(path)) is not None and entry.readable]
            old = olds[0] if olds else None
            if printable(path) not in wrong and path not in own:
                continue  # it is as in the first parent, where it was judged
            if printable(path) not in wrong:
                if ledger.sound.pop(path, None):
                    self._restored(path)
                else:
                    self.walk.mend(self.step.commit, path, MENDED_BY_RESTORING)
            elif old is not None:
                ledger.sound.setdefault(path, old)

    def _judge_beginning(self, change: TreeChange, before: Sequence[Before], *, empty: bool) -> None:
        """A vault has one beginning, and from then on its keyvault.toml."""
        if not _is_file(change):
            if self.ledger.entries and self._is_new(config.FILE):
                self._say(config.FILE, [("policy-missing", "the vault was left without its keyvault.toml")])
            return
        anew = empty and not self.mended and change.before is None and self._is_new(config.FILE)
        if self.walk.begun and (anew or not any(one.policy for one in before)):
            self._say(config.FILE, [("vault-begun-twice", "another vault began here, beside the one that there was")])
        self.walk.begun = True

    def _is_new(self, path: str) -> bool:
        """Whether the commit wrote the file itself; what a merge takes from a parent was judged there."""
        return all(path in changes for changes in self.inside)

    def _say(self, path: str, problems: Iterator[Problem] | Sequence[Problem]) -> None:
        self.walk._say(self.step.commit, path, problems)

    def _contents(self, changes: Mapping[str, TreeChange]) -> dict[str, bytes]:
        """Return the files that *changes* leave, by path."""
        return {path: data for path, data in self._each(changes) if data is not None}

    def _records(self, paths: Sequence[str]) -> Iterator[tuple[str, bytes | None]]:
        """Yield the records at *paths*, which differ from the first parent, as `_each`."""
        return self._each({path: self.inside[0][path] for path in paths})

    def _each(self, changes: Mapping[str, TreeChange]) -> Iterator[tuple[str, bytes | None]]:
        """
        Yield the path of each of *changes* with the file that it leaves, or None.

        What was not read ahead, of a large commit or of a merge, is read while it is judged, and never all of it held.
        """
        known = self.walk.contents
        oids = {path: str(one.after) if _is_file(one) else None for path, one in changes.items()}
        missing = self.walk.read([oid for oid in oids.values() if oid is not None and oid not in known])
        large = len(oids) > _FILES_AT_ONCE
        files = told(oids.items(), self.walk.progress, "reading a large commit", len(oids)) if large else oids.items()
        for path, oid in files:
            yield path, None if oid is None else known[oid] if oid in known else next(missing)

    def _read_policy(self, change: TreeChange | None, contents: Mapping[str, bytes], before: Sequence[Before]) -> None:
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
                self._say(config.FILE, [("policy-malformed", error.message)])
            return
        self.walk.mend(self.step.commit, config.FILE, MENDED_BY_RESTORING)
        olds = [one.policy for one in before if one.policy is not None]
        if olds and new:
            self._say(config.FILE, judge_policy(olds, policy))
        ledger.policy = policy

    def _read_recipients(self, change: TreeChange | None, contents: Mapping[str, bytes]) -> None:
        if change is None:
            return
        ledger, new = self.ledger, self._is_new(RECIPIENTS)
        data = contents.get(RECIPIENTS)
        if data is None:
            if new and any(entry.sealed for entry in ledger.entries.values()):
                self._say(RECIPIENTS, [("recipients-missing", "keys are sealed, and nobody is said to open them")])
            return
        known = [one for parent in self.parents for one in (parent.recipients or {}).values()]
        was = ledger.recipients
        try:
            ledger.recipients = decode_recipients(data, path=RECIPIENTS)
        except RecordError as error:
            if new:
                self._say(RECIPIENTS, [("recipients-malformed", error.message)])
            return
        self.walk.mend(self.step.commit, RECIPIENTS, MENDED_BY_RESTORING)
        ledger.recipients_oid = change.after
        if new and was is not None:
            self._say(RECIPIENTS, _recipient_changes(was, ledger.recipients))
        self._say(RECIPIENTS, _weak_recipients(one for one in ledger.recipients.values() if one not in known))

    def _read_identities(self, changes: Mapping[str, TreeChange], contents: Mapping[str, bytes]) -> None:
        for path in changes:
            identity = path.startswith(IDENTITIES + "/") and path in contents
            if identity and self._is_new(path) and not _is_jwe(contents[path]):
                self._say(path, [("identity-malformed", "an identity in a vault is encrypted under a passphrase")])

    def _read_record(
        self, path: str, change: TreeChange, data: bytes | None, before: Sequence[Before], times: Times
    ) -> None:
        ledger = self.ledger
        known = [entry for one in before if (entry := one.entries.get(path)) is not None]
        if data is None or change.after is None:
            ledger.put(path, None)
            return
        same = next((entry for entry in known if entry.oid == change.after), None)
        if same is not None:  # a merge took the version of another parent, where it was judged
            ledger.put(path, same)
            return
        sound = ledger.sound.get(path)
        if sound is not None and sound.oid == change.after:
            ledger.restore(path, sound)
            self.mended.add(path)
            self._restored(path)
            return
        if not known and sound is not None:
            known = [sound]  # it was removed, and is back: it goes on from there
        best = max(known, key=lambda entry: len(entry.key.events), default=None)
        key, problems = read_record(data, path, best.key if best else None)
        self._say(path, problems)
        table = ledger.policy.sets.get(key.set) if ledger.policy and key else None
        # Of a record of good form only what people wrote can hold a key: the rest is public, or sealed.
        if key is None or problems:
            self.walk.look_for_private(self.step.commit, path, data)
        else:
            # Each by itself, as the command looked at it when it was written.
            found = map(find_private_in_note, _texts(key, best.key if best else None, table))
            self.walk.say_private(self.step.commit, path, next(filter(None, found), None))
        if key is None:
            ledger.put(path, msgspec.structs.replace(best, oid=change.after, readable=False) if best else None)
            return
        if best is None:
            self._say(path, list(ledger.remember(key, path)))
            self._say(path, judge_algorithm(key, table))
        kept = len(best.key.events) if best else 0
        if is_join(key.events, [entry.key.events for entry in known]):
            self.joined.add(path)
            standing, problems = judge_order(key.events)
            self._say(path, problems)
        elif key.path != path or (best is not None and key.events[:kept] != best.key.events):
            standing, problems = judge_order(key.events)
            if len(self.parents) > 1:  # a merge of lines, which may have put together what never was
                self._say(path, problems)
                if any(all(event not in entry.key.events for entry in known) for event in key.events):
                    self.invented.add(path)
        else:
            start = best.standing if best else Standing()
            scene = Scene(key, ledger.policy, table, views(before, key.set), best is None, times)
            standing, problems = judge_events(scene, start, key.events[kept:])
            self._say(path, problems)
            if any(event.event == "repaired" for event in key.events[kept:]):
                self.repaired.add(key.set)
                self.walk.mend(self.step.commit, path, MENDED_BY_REPAIR)
                if standing.ended:
                    self.walk.mend(self.step.commit, path, {"private-removed"})
                dropped = self.walk.dropped.get(path, ())
                if all(makes_good(standing, other) for _, other in dropped):
                    merges = {merge for merge, _ in dropped}
                    self.walk.mend(self.step.commit, path, MENDED_BY_TAKING_BACK, only=merges)
        self._say(path, judge_record(key, standing, created=best is None))
        if best is not None:
            share_parts(key, best.key)
        beside = next((one.recipients for one in known if one.key.private == key.private), ledger.recipients_oid)
        ledger.put(path, Entry(change.after, key, standing, recipients=beside))

    def _restored(self, path: str) -> None:
        """Take note that a record is what it was before, and so its set."""
        self.walk.mend(self.step.commit, path, MENDED_BY_RESTORING)
        self.walk.mend(self.step.commit, path.split("/")[1], MENDED_WITH_A_RECORD)

    def _judge_growth(self, before: Sequence[Before]) -> None:
        """Nothing that a parent had may be lost."""
        for one, changes in zip(before, self.inside, strict=bool(before)):  # the first commit has no parent
            for path in changes.keys() - self.mended:
                old = one.entries.get(path)
                if old is None:
                    continue
                new = self.ledger.entries.get(path)
                if new is None and old.key.path != path:
                    continue  # it did not belong there
                taken = new is not None and any(
                    entry.oid == new.oid for other in before if (entry := other.entries.get(path)) is not None
                )
                changed = one.recipients != self.ledger.recipients_oid
                # A merge may have left a key sealed to another list.
                stale = old.recipients != self.ledger.recipients_oid
                joined = path in self.joined
                problems = list(judge_growth(old, new, reseal=taken or changed or stale, joined=joined))
                by_merge = len(self.parents) > 1 and path not in self.invented
                if by_merge and any(code in MENDED_BY_TAKING_BACK for code, _ in problems):
                    self.walk.dropped.setdefault(path, []).append((self.step.commit, old.standing))
                self._say(path, problems)

    def _judge_seals(self, before: Sequence[Before], records: Sequence[str]) -> None:
        for path in self.ledger.entries if RECIPIENTS in self.inside[0] else records:
            entry = self.ledger.entries.get(path)
            if entry is not None and entry.readable:
                # What a commit does not touch is in each parent as it is here.
                same = [
                    one.recipients == self.ledger.recipients_oid
                    for one in before
                    if (old := one.entries.get(path, entry)) is not None and old.key.private == entry.key.private
                ]
                self._say(path, judge_seal(entry, self.ledger, fresh=not same, known=any(same)))


def _texts(key: Key, known: Key | None, table: SetPolicy | None) -> Iterator[str]:
    """Yield what people wrote into *key* since it was *known*."""
    kept = len(known.events) if known is not None and key.events[: len(known.events)] == known.events else 0
    url = table.url if table else None
    for event in key.events[kept:]:
        yield from filter(None, (event.note, event.forced, event.url if event.url != url else None))


def _recipient_changes(old: Mapping[str, Recipient], new: Mapping[str, Recipient]) -> Iterator[Problem]:
    for kid in sorted(new):
        if old.get(kid) != new[kid]:
            what = "has another key" if kid in old else "is new"
            yield "recipients-changed", f"recipient {kid} {what}: it opens what is made from now on"


def _weak_recipients(recipients: Iterable[Recipient]) -> Iterator[Problem]:
    for recipient in recipients:
        try:
            check_recipient(recipient)
        except JWKError as error:
            yield "recipient-weak", error.message


class _JWE(msgspec.Struct):
    """What an encrypted identity has, whatever else."""

    ciphertext: str
    iv: str
    tag: str


def _is_jwe(data: bytes) -> bool:
    try:
        msgspec.json.decode(data, type=_JWE)
    except (msgspec.MsgspecError, RecursionError, UnicodeDecodeError):
        return False
    return True
