"""
The reports of commands: the shapes of ``--json``.

docs/json.md documents them, and a test compares the two. Instants are RFC 3339 in UTC.
"""

from __future__ import annotations

from datetime import datetime, timedelta
from typing import TYPE_CHECKING

import msgspec

from keyvault.core.events import Event, Life
from keyvault.core.jwk import PublicJWK
from keyvault.core.keys import Key
from keyvault.core.outlook import Transition, next_transition, overdue
from keyvault.core.plan import Create, Plan
from keyvault.core.repair import damage_of_sets
from keyvault.core.state import KeySet, VaultState
from keyvault.core.timing import counts_as_published_at, mature_at, rotation_due_at
from keyvault.core.verifiers import KEEP_ALGORITHMS

if TYPE_CHECKING:
    from keyvault.core.rehearsal import Rehearsal
    from keyvault.operations.changes import Outcome
    from keyvault.operations.import_keys import ImportOutcome
    from keyvault.operations.repair import RepairResult


class KeyReport(msgspec.Struct, frozen=True):
    """A key and its state."""

    kid: str
    set: str
    state: str
    alg: str
    use: str
    kty: str
    sealed: bool
    created_at: datetime
    activated_at: datetime | None
    deactivated_at: datetime | None
    keep_until: datetime | None
    ended_at: datetime | None


class KeyDetail(msgspec.Struct, frozen=True):
    """A key with all its events, its public JWK, and its recipients."""

    key: KeyReport
    public: PublicJWK
    events: tuple[Event, ...]
    recipients: list[str]


class TransitionReport(msgspec.Struct, frozen=True):
    """A transition that policy will make."""

    at: datetime
    set: str
    event: str
    kid: str | None


class VerdictReport(msgspec.Struct, frozen=True):
    """The effect of a policy on a verifier; times in seconds."""

    verifier: str
    planned: int
    emergency: int
    revoked: int | None


class RehearsalReport(msgspec.Struct, frozen=True):
    """The result of a rehearsal for a set; times in seconds."""

    set: str
    fine: bool
    schedules: int
    rotations: int
    revocations: int
    rollbacks: int
    too_early: int
    verifiers: list[VerdictReport]
    algorithm_lead: int
    keep_algorithms: list[str]


class SetReport(msgspec.Struct, frozen=True):
    """A set: its live keys and its next transition."""

    name: str
    alg: str
    use: str
    issuer: str
    jwks_uri: str | None
    closing: bool
    external: bool
    keys: list[KeyReport]
    first_seen_at: datetime | None
    mature_at: datetime | None
    rotation_due_at: datetime | None
    next_transition: TransitionReport | None
    signer_lag: int


class DamageReport(msgspec.Struct, frozen=True):
    """A problem of a vault, and how a repair solves or solved it."""

    code: str
    message: str
    path: str
    remedy: str | None = None


class StatusReport(msgspec.Struct, frozen=True):
    """A vault; sets that are damaged are not among its sets."""

    commit: str
    url: str
    sets: list[SetReport]
    recipients: list[str]
    overdue: list[str]
    damage: list[DamageReport]


class EventReport(msgspec.Struct, frozen=True, omit_defaults=True):
    """An event that was, or would be, written."""

    set: str
    kid: str | None
    event: str
    at: datetime
    url: str | None = None
    keep_until: datetime | None = None
    reason: str | None = None
    note: str | None = None
    forced: str | None = None


class ChangeReport(msgspec.Struct, frozen=True):
    """The change that a command made to a vault, or would make."""

    changed: bool
    dry_run: bool
    commit: str | None
    pushed: bool
    events: list[EventReport]
    waiting: list[str]
    warnings: list[str]


class ImportedKey(msgspec.Struct, frozen=True):
    """A key of an import: its state, and until when tokens that it signed elsewhere verify."""

    kid: str
    set: str
    state: str
    verifies_until: datetime | None
    already_there: bool


class RepairReport(ChangeReport, frozen=True):
    """The problems that a repair found, and its change."""

    findings: list[DamageReport]
    removed: list[str]
    errors: list[str]


class ImportReport(ChangeReport, frozen=True):
    """The change that an import made to a vault, and the keys that it skipped."""

    keys: list[ImportedKey]
    left_out: list[str]


def key_report(key: Key) -> KeyReport:
    """Return the report on *key*."""
    life: Life = key.life
    public = key.public
    return KeyReport(
        key.kid, key.set, key.state, public.alg, public.use, public.kty, key.sealed,
        life.created_at, life.activated_at, life.deactivated_at, life.keep_until, life.ended_at,
    )  # fmt: skip


def key_detail(key: Key) -> KeyDetail:
    """Return the full report on *key*."""
    sealed = [] if isinstance(key.private, msgspec.UnsetType) else key.private.recipients
    events = tuple(
        msgspec.structs.replace(event, note=_withhold_private(event.note), forced=_withhold_private(event.forced))
        for event in key.events
    )
    return KeyDetail(key_report(key), key.public, events, [entry.header.kid for entry in sealed])


def transition_report(transition: Transition) -> TransitionReport:
    """Return the report on *transition*."""
    return TransitionReport(transition.at, transition.set, transition.event, transition.kid)


def rehearsal_report(rehearsal: Rehearsal) -> RehearsalReport:
    """Return the report on *rehearsal*."""
    return RehearsalReport(
        rehearsal.set,
        rehearsal.fine,
        rehearsal.schedules,
        rehearsal.rotations,
        rehearsal.revocations,
        rehearsal.rollbacks,
        _whole_seconds(rehearsal.too_early),
        [
            VerdictReport(
                verdict.verifier.name,
                _whole_seconds(verdict.planned),
                _whole_seconds(verdict.emergency),
                None if verdict.revoked is None else _whole_seconds(verdict.revoked),
            )
            for verdict in rehearsal.verdicts
        ],
        _whole_seconds(rehearsal.algorithm_lead),
        list(KEEP_ALGORITHMS),
    )


def _whole_seconds(duration: timedelta) -> int:
    return int(duration.total_seconds())


def status_report(
    state: VaultState, now: datetime, *, names: list[str] | None = None, grace: timedelta
) -> StatusReport:
    """
    Return the report on a vault at *now*.

    Args:
        state: The vault.
        now: The instant.
        names: Only these sets; default is all.
        grace: Grace period before a transition counts as overdue.
    """
    damage = [*state.damage, *(problem for problem in damage_of_sets(state, now) if problem.usable)]
    chosen = [state.find_set(name) for name in names] if names else list(state.sets.values())
    late = overdue(state, now, grace=grace, names=[key_set.name for key_set in chosen])
    return StatusReport(
        state.commit,
        state.policy.site.url,
        [_set_report(state, key_set, now) for key_set in chosen],
        sorted(state.recipients),
        late,
        [DamageReport(problem.code, problem.message, problem.path) for problem in damage],
    )


def _set_report(state: VaultState, key_set: KeySet, now: datetime) -> SetReport:
    policy, site = key_set.policy, state.policy.site
    coming = next_transition(key_set, site, now)
    candidate = key_set.next
    return SetReport(
        name=key_set.name,
        alg=str(policy.spec),
        use=policy.use,
        issuer=policy.issuer,
        jwks_uri=policy.url if key_set.rendered else None,
        closing=policy.closing,
        external=policy.external,
        keys=[key_report(key) for key in key_set.live],
        first_seen_at=counts_as_published_at(key_set, candidate, site) if candidate else None,
        mature_at=mature_at(key_set, candidate, site) if candidate else None,
        rotation_due_at=None if policy.closing else rotation_due_at(key_set),
        next_transition=transition_report(coming) if coming else None,
        signer_lag=int(policy.signer_lag.total_seconds()),
    )


def change_report(outcome: Outcome, *, dry_run: bool) -> ChangeReport:
    """Return the report on *outcome*."""
    events = [_event(key.set, key.kid, event) for key, event in outcome.events]
    if dry_run:
        events = _planned_events(outcome.plan)
    return ChangeReport(
        changed=bool(outcome.commit) or (dry_run and bool(outcome.plan or outcome.files)),
        dry_run=dry_run,
        commit=outcome.commit,
        pushed=outcome.pushed,
        events=events,
        waiting=list(outcome.plan.waiting),
        warnings=list(outcome.warnings),
    )


def import_report(imported: ImportOutcome, *, dry_run: bool) -> ImportReport:
    """Return the report on an import, made or planned."""
    change = change_report(imported.outcome, dry_run=dry_run)
    members = {name: getattr(change, name) for name in change.__struct_fields__}
    return ImportReport(**members, keys=list(imported.keys), left_out=list(imported.left_out))


def repair_report(result: RepairResult, *, dry_run: bool) -> RepairReport:
    """Return the report on a repair, made or planned."""
    change = change_report(result.outcome, dry_run=dry_run)
    members = {name: getattr(change, name) for name in change.__struct_fields__}
    findings = [
        DamageReport(finding.code, finding.message, finding.path, finding.remedy) for finding in result.findings
    ]
    return RepairReport(
        **members,
        findings=findings,
        removed=[str(path) for path in result.removed],
        errors=[f"{finding.code} in commit {finding.commit}" for finding in result.errors],
    )


def _planned_events(plan: Plan) -> list[EventReport]:
    return [
        _event(change.set, None if isinstance(change, Create) else change.kid, event)
        for change in plan.changes
        for event in change.events
    ]


def _withhold_private(text: str | None) -> str | None:
    """Return a text of a record, unless another tool has written a private key into it."""
    from keyvault.core.leaks import find_private_in_note

    what = find_private_in_note(text) if text else None
    return f"withheld: it holds {what}" if what else text


def _event(set_name: str, kid: str | None, event: Event) -> EventReport:
    return EventReport(
        set_name,
        kid,
        event.event,
        event.at,
        event.url,
        event.keep_until,
        event.reason,
        _withhold_private(event.note),
        _withhold_private(event.forced),
    )
