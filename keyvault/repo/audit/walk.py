"""
Walk the history of a vault from parents to children, and judge each commit.

A ledger keeps the state of the vault along the way, so that the cost of a commit depends only on its changes. One
``git log --raw`` names the changes of every commit, and one ``diff-tree`` compares merges with each of their parents.

Sources: git-log(1), git-diff-tree(1); docs/audit.md.
"""

from __future__ import annotations

import contextlib
import fnmatch
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field

from keyvault import config
from keyvault.core.history.derived_state import derive_state
from keyvault.core.history.ledger import Entry, Ledger
from keyvault.core.history.versions import Problem, read_record
from keyvault.core.keys import sealed_to
from keyvault.core.leaks import find_private
from keyvault.core.state import Commit
from keyvault.errors import ConfigError, RecordError
from keyvault.progress import Progress
from keyvault.repo.audit.commit import AuditContext, CommitJudge
from keyvault.repo.audit.trust import Trust, TrustJudge
from keyvault.repo.git import CommitChanges, Git, TreeChange, can_be_checked_out, describe_mode
from keyvault.repo.records import decode_recipients
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

Differ = Callable[[str, str], list[TreeChange]]


@dataclass
class Walk:
    """
    The walk through one history.

    Attributes:
        git: The repository.
        differ: Returns a function that compares two trees; called for merges only.
        context: The state of the whole audit.
        trust: Judges signatures.
        exclude: Patterns of paths outside the vault that are not searched for private keys.
        since: The trusted commit; only later commits are judged.
    """

    git: Git
    differ: Callable[[], Differ]
    context: AuditContext
    trust: TrustJudge
    exclude: Sequence[str]
    since: Commit | None
    #: The number of unjudged children of each commit; at zero, its ledger and its tree are dropped.
    _children: Counter[str] = field(default_factory=Counter)
    _ledgers: dict[str, Ledger] = field(default_factory=dict)
    _trees: dict[str, str] = field(default_factory=dict)

    def run(self, commit: Commit, progress: Progress) -> int:
        """Judge every commit up to *commit*, and return their number."""
        revisions = (commit,) if self.since is None else (commit, f"^{self.since}")
        total = 0
        for line in self.git.run("rev-list", "--parents", *revisions).decode().splitlines():
            self._children.update(line.split(" ")[1:])
            total += 1
        order: dict[str, int] = {}
        for step in self.context.blobs.prefetch(self.git.commits(*revisions)):
            order[step.commit] = len(order)
            self._step(step)
            progress("auditing commits", len(order), total)
        self.trust.judge_deferred(progress)
        self.context.findings.found.sort(key=lambda finding: order.get(finding.commit, 0))
        return total

    def _step(self, step: CommitChanges) -> None:
        blobs, findings = self.context.blobs, self.context.findings
        self._trees[step.commit] = step.tree
        parents = [self._parent(parent) for parent in step.parents]
        if len(parents) > 1:
            differences = [self.differ()(self._trees[parent], step.tree) for parent in step.parents]
        else:
            differences = [step.changes]
        inside = [blobs.inside(changes) for changes in differences]
        self._judge_paths(step.commit, _new_everywhere(differences))
        after = self._ledger_to_change(step.parents, parents)
        for parent in parents[1:]:
            for path, code, message in after.join(parent):
                findings.add(step.commit, path, [(code, message)])
        if any(inside):
            CommitJudge(self.context, step, parents, inside, after).judge()
        self.trust.judge(step, inside)
        self._ledgers[step.commit] = after
        self._drop(step.parents)

    def _parent(self, commit: Commit) -> Ledger:
        """Return the ledger of a parent; read it from the commit if that is not judged."""
        if commit not in self._ledgers:
            self._trees[commit] = self.git.run("rev-parse", f"{commit}^{{tree}}").decode().strip()
            self._ledgers[commit] = self._read_ledger(commit)
        return self._ledgers[commit]

    def _ledger_to_change(self, commits: Sequence[str], parents: Sequence[Ledger]) -> Ledger:
        """Return the ledger of the first parent, or a copy if another child needs it."""
        if not parents:
            return Ledger()
        return parents[0] if self._children[commits[0]] == 1 else parents[0].copy()

    def _drop(self, parents: Sequence[str]) -> None:
        """Drop the ledgers and trees of *parents* whose children are all judged."""
        for parent in parents:
            self._children[parent] -= 1
            if not self._children[parent]:
                del self._ledgers[parent], self._trees[parent]
                self.trust.drop(parent)

    def _judge_paths(self, commit: str, changes: Sequence[TreeChange]) -> None:
        """Judge the paths of files, and search all files but records, which are judged later, for private keys."""
        findings, prefix = self.context.findings, self.git.prefix
        wanted = []
        for change in changes:
            if change.after is None:
                if change.path.startswith(prefix):
                    findings.mend_removed(commit, change.path[len(prefix) :])
                continue
            if not can_be_checked_out(change.path):
                findings.add(commit, change.path, [("unsafe-path", "a path that git does not check out")])
            inner = change.path[len(prefix) :] if change.path.startswith(prefix) else ""
            in_vault = is_vault_path(inner)
            if in_vault:
                problems = list(_path_problems(inner, change.mode))
                findings.add(commit, inner, problems)
                if not problems:
                    findings.mend(commit, inner, {"unexpected-mode"})
            excluded = not in_vault and any(fnmatch.fnmatchcase(change.path, pattern) for pattern in self.exclude)
            if change.mode != "160000" and not is_record_path(inner) and not excluded:
                wanted.append(change)
        for change, data in zip(wanted, self.context.blobs.read([str(change.after) for change in wanted]), strict=True):
            self.context.report_private(commit, change.path, find_private(data))

    def _read_ledger(self, commit: Commit) -> Ledger:
        """Return the ledger of a commit that is not judged, from its files."""
        ledger = Ledger()
        entries = {
            entry.path: entry.oid for entry in self.git.tree(commit, config.FILE, KEYS) if entry.mode != "160000"
        }
        records = {path: oid for path, oid in entries.items() if is_record_path(path)}
        others = {path: oid for path, oid in entries.items() if path in (config.FILE, RECIPIENTS)}
        contents = dict(zip(others, self.context.blobs.read(list(others.values())), strict=True))
        if config.FILE in contents:
            with contextlib.suppress(ConfigError):
                ledger.policy = config.read_policy(contents[config.FILE])
                ledger.policy_oid = entries[config.FILE]
        if RECIPIENTS in contents:
            with contextlib.suppress(RecordError):
                ledger.recipients = decode_recipients(contents[RECIPIENTS], path=RECIPIENTS)
                ledger.recipients_oid = entries[RECIPIENTS]
        for (path, oid), data in zip(records.items(), self.context.blobs.read(list(records.values())), strict=True):
            key = read_record(data, path, None)[0]
            if key is not None:
                # After a merge, a key may be sealed to other recipients than the list names.
                recipients = ledger.recipients_oid if sealed_to(key) == sorted(ledger.recipients or ()) else None
                ledger.put(path, Entry(oid, key, derive_state(key.events), recipients=recipients))
                ledger.remember(key, path)  # this commit is not judged, so its problems are ignored
        self.context.vault_begun = self.context.vault_begun or ledger.policy_oid is not None
        required = ledger.policy is not None and ledger.policy.audit.require_signatures
        trust = Trust(required, entries.get(SIGNERS_SSH), entries.get(SIGNERS_OPENPGP))
        self.trust.start_from(commit, trust, older=commit != self.since)
        return ledger


def _new_everywhere(differences: Sequence[Sequence[TreeChange]]) -> list[TreeChange]:
    """Return the changes of a commit against all of its parents."""
    if len(differences) < 2:
        return list(differences[0]) if differences else []
    common = set.intersection(*({(change.path, change.after) for change in changes} for changes in differences))
    return [change for change in differences[0] if (change.path, change.after) in common]


def _path_problems(path: str, mode: str) -> Iterator[Problem]:
    if mode != "100644":
        yield "unexpected-mode", f"the file is {describe_mode(mode)}; a vault must contain only plain files"
    known = path in (config.FILE, README, RECIPIENTS, SIGNERS_SSH, SIGNERS_OPENPGP)
    identity = path.startswith(IDENTITIES + "/") and path.endswith(".json") and path.count("/") == 2
    if not known and not identity and not is_record_path(path):
        yield "unexpected-path", "the file does not belong in a vault"
