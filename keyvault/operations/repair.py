"""
Repair a vault that a merge, a wrong clock, an interrupted write or a manual edit has damaged.

A repair is one commit: it restores the last readable version of files, removes files that do not belong in a vault, and
resolves sets with two active or two next keys (``core/repair``). Published keys stay published. It also removes the
locks and files that dead programs left in this clone (``repo/leftovers``).
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from itertools import takewhile
from pathlib import Path

import msgspec

from keyvault import config
from keyvault.core.events import Event
from keyvault.core.history.findings import Finding as AuditFinding
from keyvault.core.keys import Key
from keyvault.core.plan import Amend, Plan
from keyvault.core.repair import damage_of_sets, plan_repair
from keyvault.core.state import Commit, Damage, VaultState
from keyvault.errors import ConfigError, GateError, GitError, RecordError
from keyvault.operations.audit import audit
from keyvault.operations.changes import Outcome, Proposal, carry_out
from keyvault.operations.clock import check_clock
from keyvault.operations.context import Context
from keyvault.operations.rotation import check_text
from keyvault.repo import branch, journal, leftovers
from keyvault.repo.records import decode_key, decode_recipients, encode_key, salvage_key
from keyvault.repo.vault import KEYS, RECIPIENTS, is_record_path

#: How many merges a repair searches for dropped events, the newest first.
_MERGES_MAX = 50


#: The outcome for one of two keys that were both active or both next, by the last event that a repair writes.
_OUTCOMES = {
    "activated": "signs",
    "deactivated": "retires, and stays published",
    "withdrawn": "is withdrawn",
    "revoked": "is revoked",
}


@dataclass(frozen=True, slots=True)
class RepairFinding:
    """
    A problem, and how a repair solves it.

    Attributes:
        code: A code of the audit, or ``stale-lock`` or ``stale-index``.
        message: The problem.
        path: The file, or empty.
        remedy: The solution, or None if a person has to decide.
    """

    code: str
    message: str
    path: str
    remedy: str | None


@dataclass(frozen=True, slots=True)
class RepairResult:
    """
    The result of a repair, made or planned.

    Attributes:
        findings: The problems.
        outcome: The commit.
        removed: Locks of dead programs that were removed.
        errors: Errors of the audit that remain afterwards; none for a dry run.
    """

    findings: tuple[RepairFinding, ...]
    outcome: Outcome
    removed: tuple[Path, ...]
    errors: tuple[AuditFinding, ...] = ()

    @property
    def unresolved(self) -> list[RepairFinding]:
        """The findings that a person has to decide."""
        return [finding for finding in self.findings if finding.remedy is None]


def repair(
    context: Context,
    *,
    reason: str | None = None,
    push: bool = False,
    dry_run: bool = False,
    trust_clock: bool = False,
) -> RepairResult:
    """
    Find the problems of a vault and its clone, and repair them.

    Args:
        context: The vault.
        reason: The recorded reason; the default describes the problems.
        push: Whether to push the commit.
        dry_run: Whether to only find problems.
        trust_clock: Whether to date events back by a clock that could not be compared with another.

    Raises:
        UsageError: If the reason is not a line of text.
        GateError: If the clock of this machine is wrong, or events must be dated back and it cannot be compared.
        GitError: If git refuses, or there are uncommitted changes or an unfinished merge.
        ConfigError: If no version of keyvault.toml can be read.
    """
    reason = check_text(reason, "--reason")
    if verb := context.repository.git.operation:
        raise GitError(
            f"a {verb} is under way in this clone", code="git-under-way", hint=context.repository.git.operation_hint
        )
    state = context.repository.read_with_damage(context.repository.head(), envelopes=False)
    confirmed = check_clock(context, state, behind=True)
    git = context.repository.git
    locks = leftovers.stale_locks(git)
    found = [
        RepairFinding("stale-lock", f"probably no program holds {lock.name}", str(lock), "it is removed")
        for lock in locks
    ]
    if not dry_run:
        for lock in locks:
            lock.unlink(missing_ok=True)
        with journal.exclusive_lock(git):
            branch.recover(git)  # the journal identifies files of a run of ours, however young they are
    young = [lock for lock in (journal.index_lock(git), git.git_dir / "HEAD.lock") if lock not in locks]
    found += [
        RepairFinding("stale-lock", f"{lock.name} is held, or was left just now", str(lock), None)
        for lock in young
        if lock.exists()
    ]
    head = context.repository.head()
    shown = leftovers.commit_of_index(git, head)
    if shown is not None:
        message = f"index and working tree show commit {shown[:12]}, but the branch is at {head[:12]}"
        found.append(RepairFinding("stale-index", message, "", "they follow the branch"))
        if not dry_run:
            _catch_up(context, shown, head)
    proposals: list[_RepairProposal] = []

    def propose(state: VaultState) -> Proposal:
        proposals.append(_propose(context, state, reason, clock_confirmed=confirmed))
        ahead = [finding for finding in proposals[-1].findings if finding.code == "instant-future"]
        if ahead and not (confirmed or trust_clock or dry_run):
            raise GateError(
                f"{ahead[0].message}, and the clock of this machine could not be compared with another",
                code="clock-unconfirmed",
                hint="if this clock is right: keyvault repair --force; else set it",
            )
        return proposals[-1].proposal

    outcome = carry_out(context, propose, push=push, dry_run=dry_run, damaged=True)
    findings = (*found, *proposals[-1].findings)
    if dry_run:
        return RepairResult(findings, outcome, ())
    errors = audit(context, outcome.commit or context.repository.head()).errors
    return RepairResult(findings, outcome, tuple(locks), errors)


def _catch_up(context: Context, shown: Commit, head: Commit) -> None:
    git = context.repository.git
    with journal.exclusive_lock(git):
        leftovers.update_checkout(git, shown, head)


# --- the commit -----------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class _RepairProposal:
    findings: tuple[RepairFinding, ...]
    proposal: Proposal


def _propose(context: Context, state: VaultState, reason: str | None, *, clock_confirmed: bool) -> _RepairProposal:
    found: list[RepairFinding] = []
    files: dict[str, bytes | None] = {}
    restored: dict[str, Key] = {}
    for damage in (*state.damage, *_lost_files(context, state)):
        if not damage.path:
            continue  # damage of a set: repaired below, once its records can be read
        data, remedy = _repaired_file(context, state, damage)
        found.append(RepairFinding(damage.code, damage.message, damage.path, remedy))
        if remedy is not None:
            files[damage.path] = data
            if data is not None and is_record_path(damage.path):
                key = decode_key(data, path=damage.path)
                restored[key.kid] = key
    readable = replace(state, keys={**state.keys, **restored}, damage=())
    dropped = _versions_dropped_by_merges(context, readable)
    plan = plan_repair(readable, context.now, reason=reason, dropped=dropped, clock_confirmed=clock_confirmed)
    amended = {change.kid for change in plan.changes if isinstance(change, Amend)}
    for kid, others in dropped.items():
        finding = _dropped_finding(readable.keys[kid], others, amended=kid in amended)
        if finding is not None:
            found.append(finding)
    repaired = {change.set for change in plan.changes}
    for damage in damage_of_sets(readable, context.now):
        remedy = None
        if damage.code != "set-orphaned":
            remedy = "; ".join(_remedies(readable, plan, damage))
        found.append(RepairFinding(damage.code, damage.message, "", remedy or None))
    subject = "repair " + ", ".join([*sorted(repaired), *sorted(files)][:4]) if repaired or files else "nothing to do"
    lines = [f"{finding.code}: {finding.message}" for finding in found if finding.remedy]
    body = "\n".join(([reason] if reason else []) + lines)
    return _RepairProposal(
        tuple(found), Proposal(plan, subject, body=body or None, files=files, restored=restored, urgent=True)
    )


def _dropped_finding(key: Key, others: Sequence[Key], *, amended: bool) -> RepairFinding | None:
    """
    Return the finding about events of *key* that merges dropped, or None if they promised nothing to anybody.

    Args:
        key: The record as it is.
        others: The versions of the other sides of the merges.
        amended: Whether the repair appends events to the record.
    """
    states = {other.state for other in others}
    names = ", ".join(dict.fromkeys(event.event for other in others for event in _missing_events(key, other)))
    message = f"a merge dropped events of key {key.kid[:12]} that the other side had recorded: {names}"
    if key.state == "withdrawn" and states & {"active", "retiring"}:
        message += "; it signed there, and was withdrawn here: its tokens no longer verify"
        return RepairFinding("event-removed", message, key.path, None)
    if states == {"withdrawn"}:
        return None
    remedy = "it is revoked again" if "revoked" in states else "the promises of both sides hold again"
    return RepairFinding("event-removed", message, key.path, remedy if amended else None)


def _remedies(state: VaultState, plan: Plan, damage: Damage) -> Iterator[str]:
    """Yield how *plan* repairs the *damage* of a set, a phrase for each key."""
    for change in plan.changes:
        if damage.set != change.set or not isinstance(change, Amend):
            continue
        key, last = state.keys[change.kid], change.events[-1].event
        if damage.code == "instant-future" and key.state == "withdrawn" and change.events[0].keep_until:
            yield f"key {key.kid[:12]} is published again until its tokens have expired"
        elif damage.code == "instant-future" and key.life.newest_at > change.events[0].at:
            yield f"key {key.kid[:12]} is dated back to now"
        elif damage.code == "active-missing" and last == "activated":
            yield f"key {key.kid[:12]} signs"
        elif damage.code == f"two-{key.state}" and last in _OUTCOMES:
            yield f"key {key.kid[:12]} {_OUTCOMES[last]}"


def _lost_files(context: Context, state: VaultState) -> Iterator[Damage]:
    """Yield the files that the audit found removed or executable, if they still are."""
    repository, seen = context.repository, {damage.path for damage in state.damage}
    modes = {entry.path: entry.mode for entry in repository.git.tree(state.commit, config.FILE, KEYS)}
    for finding in audit(context, state.commit).errors:
        path = finding.path
        gone = finding.code in ("record-removed", "recipients-missing") and path not in modes
        executable = finding.code == "unexpected-mode" and modes.get(path) == "100755"
        if (gone or executable) and path not in seen:
            seen.add(path)
            yield Damage(finding.code, finding.message, path)


def _repaired_file(context: Context, state: VaultState, damage: Damage) -> tuple[bytes | None, str | None]:
    """Return the content that replaces a damaged file, None to remove it; and the remedy, None if there is none."""
    repository, path, commit = context.repository, damage.path, state.commit
    if damage.code == "unexpected-path":
        return None, "it is removed"
    if damage.code == "unexpected-mode" and (plain := _read_file(context, commit, path)) is not None:
        return plain, "it is a plain file again"
    if path == config.FILE:
        return repository.last_readable(commit, path, config.read_policy), "the last readable version is restored"
    if path == RECIPIENTS:
        data = repository.last_readable(commit, path, lambda data: decode_recipients(data, path=RECIPIENTS))
        return data, "the last readable version is restored" if data else None
    if not is_record_path(path):
        return None, "it is removed"
    return _repaired_record(context, commit, path)


def _repaired_record(context: Context, commit: Commit, path: str) -> tuple[bytes | None, str | None]:
    repository = context.repository
    sound: Key | None = None
    # Event lists only grow: the longest is the newest. Of two equally long lists, that of our own side of a merge
    # counts, as for the audit; the repair then restores the promises of the other side.
    for own_side in (True, False):
        for data in repository.versions(commit, path, first_parent=own_side):
            try:
                key = decode_key(data, path=path)
            except (RecordError, ConfigError):
                continue
            longer = 1 if sound is None else len(key.events) - len(sound.events)
            if longer > 0 or (longer == 0 and own_side):
                sound = key
    found = salvage_key(_read_file(context, commit, path) or b"")
    if found is not None and found.path == path and (sound is None or _extends(found, sound)):
        return encode_key(found), "it is written in its canonical form"
    if sound is not None:
        return encode_key(sound), "the last readable version is restored"
    return None, "it is removed: no version of it can be read"


def _extends(found: Key, sound: Key) -> bool:
    """Whether *found* only adds events to *sound*."""
    ended = found.state in ("withdrawn", "revoked")
    private_kept = found.private == sound.private or (ended and found.private is msgspec.UNSET)
    return found.events[: len(sound.events)] == sound.events and found.public == sound.public and private_kept


def _versions_dropped_by_merges(context: Context, state: VaultState) -> dict[str, list[Key]]:
    """Return by kid the versions of records that merges dropped for those of another side, unless repaired since."""
    git, found = context.repository.git, dict[str, list[Key]]()
    for merge, parents in git.merges(state.commit, _MERGES_MAX):
        for parent in parents:
            changes = [change for change in git.changes(parent, merge) if change.path.startswith(git.prefix)]
            changed = [change for change in changes if is_record_path(change.path[len(git.prefix) :]) and change.before]
            before = map(salvage_key, git.blobs(str(change.before) for change in changed))
            for change, other in zip(changed, before, strict=True):
                key = state.keys.get(other.kid) if other else None
                if other is None or key is None or other in found.get(key.kid, ()) or not _missing_events(key, other):
                    continue
                merged = salvage_key(next(git.blobs([change.after]))) if change.after else None
                if not _is_repaired_since(key, merged or _record_at(context, parents[0], change.path)):
                    found.setdefault(key.kid, []).append(other)
    keys = [state.keys[kid] for kid in found]
    keys.sort(key=lambda key: (key.set, key.state, key.life.created_at, key.kid))
    return {key.kid: found[key.kid] for key in keys}


def _record_at(context: Context, commit: Commit, path: str) -> Key | None:
    """Return the record at *path* from the top of the repository, as *commit* has it, or None."""
    data = _read_file(context, commit, path[len(context.repository.git.prefix) :])
    return salvage_key(data) if data else None


def _is_repaired_since(key: Key, merged: Key | None) -> bool:
    """Whether *key* was repaired after the merge that left it as *merged*."""
    known = len(merged.events) if merged and key.events[: len(merged.events)] == merged.events else 0
    return any(event.event == "repaired" for event in key.events[known:])


def _missing_events(key: Key, other: Key) -> list[Event]:
    """Return the events that *key* lacks and its version *other* has."""
    common = len(list(takewhile(lambda pair: pair[0] == pair[1], zip(key.events, other.events, strict=False))))
    rest = key.events[common:]
    return [event for event in other.events[common:] if event not in rest]


def _read_file(context: Context, commit: Commit, path: str) -> bytes | None:
    """Return the file *path* of *commit*; None if there is none, or a link or a submodule."""
    try:
        return context.repository.files(commit, path).get(path)
    except RecordError:
        return None
