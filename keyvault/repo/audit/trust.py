"""
Decide who may sign each commit, and judge the signatures.

Who may sign after a commit is said by two files of the vault. A merge brings lines together that may say different
things: the line with the newest lists counts, and a commit that changes them must be signed by those listed before.

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

#: How many commits one call of git checks.
_SIGNATURES_AT_ONCE = 200


class Trust(msgspec.Struct, frozen=True):
    """Whether commits must be signed, and by whom: the blobs of the two lists of signers."""

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
        findings: Where findings go.
        signers: Who may sign, from outside of the vault; every commit must then be signed.
    """

    git: Git
    blobs: BlobReader
    findings: Collector
    signers: Signers | None
    #: By commit, who may sign after it, behind those who could before.
    _trust: dict[str, tuple[Trust, ...]] = field(default_factory=dict)
    #: Who could sign before the trusted commit: every line after it has had these.
    _older: set[Trust] = field(default_factory=set)
    #: Commits whose signatures are still to be judged, by who may sign.
    _unjudged: dict[Trust, list[str]] = field(default_factory=dict)

    def begin(self, commit: Commit, trust: Trust, *, older: bool) -> None:
        """Take *trust* for that of *commit*, which is not judged; *older* if it lies before the trusted commit."""
        self._trust[commit] = (trust,)
        if older:
            self._older.add(trust)

    def drop(self, commit: str) -> None:
        """Forget *commit*, whose children are all judged."""
        self._trust.pop(commit, None)

    def judge(self, step: CommitChanges, inside: Sequence[Mapping[str, TreeChange]]) -> None:
        """Decide by whom a commit must be signed, and who may sign after it."""
        lines = [self._trust[parent] for parent in step.parents] or [(Trust(),)]
        lists = dict.fromkeys(line[-1] for line in lines)
        newest = _line_with_newest_lists(lines, self._older)
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
                    self._unjudged.setdefault(judge, []).append(step.commit)
            if self.signers is None and not self._signers(before):
                self.findings.add(step.commit, SIGNERS_SSH, [("signers-missing", "signatures are required, of nobody")])
        self._trust[step.commit] = (*dict.fromkeys(one for line in lines for one in line if one != after), after)

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

    def judge_signatures(self, progress: Progress) -> None:
        """Judge the signatures that were put off: git checks many at once."""
        total, done = sum(map(len, self._unjudged.values())), 0
        for trust, commits in self._unjudged.items():
            signers = self._signers(trust)
            for start in range(0, len(commits), _SIGNATURES_AT_ONCE):
                few = commits[start : start + _SIGNATURES_AT_ONCE]
                self._report(judge_signatures(self.git, few, signers))
                done += len(few)
                progress("checking signatures", done, total)


def _line_with_newest_lists(lines: Sequence[tuple[Trust, ...]], older: Set[Trust]) -> int | None:
    """Return which of *lines* had the lists of all others, and has another one since; None where that is not one."""
    lists = {line[-1] for line in lines}
    found = {line[-1]: index for index, line in reversed([*enumerate(lines)]) if lists - older <= set(line)}
    return next(iter(found.values())) if len(found) == 1 else None
