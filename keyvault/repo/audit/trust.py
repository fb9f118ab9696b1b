"""
Decide which signers are allowed for each commit, and judge the signatures.

Two lists in the vault name the allowed signers. In a merge, the lists of the parents may differ: the newest ones count.
A commit that changes the lists must be signed by a signer from the lists before the change.

Source: docs/audit.md, "Signatures".
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence, Set
from dataclasses import dataclass, field

import msgspec

from keyvault import config
from keyvault.core.history.versions import Problem
from keyvault.core.state import Commit
from keyvault.errors import ConfigError
from keyvault.progress import Progress
from keyvault.repo.audit.blobs import BlobReader, is_file
from keyvault.repo.audit.findings import Collector
from keyvault.repo.git import CommitChanges, Git, TreeChange
from keyvault.repo.signatures import Signers, judge_signatures
from keyvault.repo.vault import SIGNERS_OPENPGP, SIGNERS_SSH

#: The number of commits that one git process checks.
_BATCH_SIZE = 200


class Trust(msgspec.Struct, frozen=True):
    """Whether commits must be signed, and the blob ids of the two lists of allowed signers."""

    required: bool = False
    ssh: str | None = None
    openpgp: str | None = None


@dataclass
class TrustJudge:
    """
    Judges signatures.

    Attributes:
        git: The repository.
        blobs: Reads the lists of signers.
        findings: Collects findings.
        signers: The allowed signers, from outside the vault; if given, every change of the vault must be signed.
    """

    git: Git
    blobs: BlobReader
    findings: Collector
    signers: Signers | None
    #: The trust of each commit and, before it, all earlier trust in its history.
    _trust: dict[str, tuple[Trust, ...]] = field(default_factory=dict)
    #: Trust from before the trusted commit: every later commit has it in its history.
    _older: set[Trust] = field(default_factory=set)
    #: Commits whose signatures are still unjudged, by the trust that applies to them.
    _unjudged: dict[Trust, list[str]] = field(default_factory=dict)

    def start_from(self, commit: Commit, trust: Trust, *, older: bool) -> None:
        """Set the trust of *commit*, which is not judged; *older* if it is older than the trusted commit."""
        self._trust[commit] = (trust,)
        if older:
            self._older.add(trust)

    def drop(self, commit: str) -> None:
        """Drop the trust of *commit*, whose children are all judged."""
        self._trust.pop(commit, None)

    def judge(self, step: CommitChanges, inside: Sequence[Mapping[str, TreeChange]]) -> None:
        """Decide which signers are allowed for a commit, and which after it."""
        lines = [self._trust[parent] for parent in step.parents] or [(Trust(),)]
        lists = dict.fromkeys(line[-1] for line in lines)
        newest = _line_with_newest_lists(lines, self._older)
        base = next((index for index, line in enumerate(lines) if line[-1].required), 0) if newest is None else newest
        before, own = lines[base][-1], inside[base]
        after = self._changed_trust(before, own)
        if before == Trust():
            before = after  # the first lists are trusted because of a pin, or on first use
        # Files that a merge only takes from its parents were signed there.
        needed = bool(set.intersection(*(set(changes) for changes in inside)))
        judges = [before]
        if self.signers is None:
            # But an older list may have accepted what a newer one would not: then the merge must be signed, too.
            needed = needed or after != before or newest is None or (len(lists) > 1 and bool(own))
            required = [trust for trust in lists if trust.required]
            judges = required or ([before] if after.required else [])
        if needed and judges:
            after = self._judge_signature(step.commit, judges, before, after)
        self._trust[step.commit] = (*dict.fromkeys(trust for line in lines for trust in line if trust != after), after)

    def _changed_trust(self, before: Trust, changes: Mapping[str, TreeChange]) -> Trust:
        """Return the trust that *changes* of the vault make of *before*."""
        after = before
        if SIGNERS_SSH in changes:
            after = msgspec.structs.replace(after, ssh=changes[SIGNERS_SSH].after)
        if SIGNERS_OPENPGP in changes:
            after = msgspec.structs.replace(after, openpgp=changes[SIGNERS_OPENPGP].after)
        if config.FILE in changes:
            required = self._requires(changes[config.FILE], before.required)
            after = msgspec.structs.replace(after, required=required)
        return after

    def _judge_signature(self, commit: str, judges: Sequence[Trust], before: Trust, after: Trust) -> Trust:
        """Judge the signature of *commit* by each of *judges*, now or later; return the trust after the commit."""
        for judge in judges:
            if after != before:
                # Judged at once, because a commit without a good signature must not change the lists.
                if self._report(judge_signatures(self.git, [commit], self._signers(judge))):
                    after = before
            else:
                self._unjudged.setdefault(judge, []).append(commit)
        if self.signers is None and not self._signers(before):
            problem = "signers-missing", "signatures are required, but no signer is allowed"
            self.findings.add(commit, SIGNERS_SSH, [problem])
        return after

    def _requires(self, change: TreeChange, otherwise: bool) -> bool:
        if not is_file(change):
            return otherwise
        try:
            return config.read_policy(next(self.blobs.read([str(change.after)]))).audit.require_signatures
        except ConfigError:
            return otherwise

    def _signers(self, trust: Trust) -> Signers:
        if self.signers is not None:
            return self.signers
        lists = [next(self.blobs.read([oid])) if oid else b"" for oid in (trust.ssh, trust.openpgp)]
        return Signers(*lists)

    def _report(self, verdicts: Mapping[str, Problem]) -> bool:
        for commit, problem in verdicts.items():
            self.findings.add(commit, "", [problem])
        return bool(verdicts)

    def judge_deferred(self, progress: Progress) -> None:
        """Judge the signatures that `judge` deferred, so that git checks many at once."""
        total, done = sum(map(len, self._unjudged.values())), 0
        for trust, commits in self._unjudged.items():
            signers = self._signers(trust)
            for start in range(0, len(commits), _BATCH_SIZE):
                batch = commits[start : start + _BATCH_SIZE]
                self._report(judge_signatures(self.git, batch, signers))
                done += len(batch)
                progress("checking signatures", done, total)


def _line_with_newest_lists(lines: Sequence[tuple[Trust, ...]], older: Set[Trust]) -> int | None:
    """Return the index of the line with the newest lists: it had those of all other lines before. None if unclear."""
    lists = {line[-1] for line in lines}
    found = {line[-1]: index for index, line in reversed([*enumerate(lines)]) if lists - older <= set(line)}
    return next(iter(found.values())) if len(found) == 1 else None
