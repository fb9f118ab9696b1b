"""Reports as text: prints the outcome of a command, the status of a vault, transitions and keys."""

from __future__ import annotations

from datetime import datetime
from pathlib import PurePosixPath
from typing import TYPE_CHECKING

from keyvault.cli import github_actions
from keyvault.cli.output import columns, emit_json, notes, paint, say
from keyvault.core.places import WELL_KNOWN
from keyvault.core.text import format_instant, printable, relative, when
from keyvault.operations.reports import (
    ChangeReport,
    EventReport,
    ImportedKey,
    KeyReport,
    SetReport,
    StatusReport,
    TransitionReport,
    change_report,
    import_report,
    repair_report,
)

if TYPE_CHECKING:
    from keyvault.operations.changes import Outcome
    from keyvault.operations.import_keys import ImportOutcome
    from keyvault.operations.repair import RepairResult

_LABELS = {
    "created": "created",
    "published": "seen live",
    "activated": "active",
    "lifetime": "lifetime",
    "deactivated": "retiring",
    "reactivated": "active",
    "withdrawn": "withdrawn",
    "revoked": "revoked",
    "repaired": "repaired",
}


def show_outcome(outcome: Outcome, *, now: datetime, dry_run: bool, as_json: bool, quiet: bool) -> None:
    """Print the changes that a command made, or would make."""
    report = change_report(outcome, dry_run=dry_run)
    if not quiet:
        _report_to_actions(report, outcome, now)
    if as_json:
        emit_json(report)
        return
    if quiet:
        if outcome.commit:
            say(outcome.commit)
        return
    if report.events:
        say(paint("would write:" if dry_run else "written:", "dim"))
        columns([_event_row(event, now) for event in report.events], indent="  ")
    _say_commit(report, outcome)
    notes(report.waiting, "waiting")
    notes(report.warnings, "warning")


def show_import(imported: ImportOutcome, *, now: datetime, dry_run: bool, as_json: bool, quiet: bool) -> None:
    """Print the changes of an import, and until when tokens that its keys signed elsewhere verify."""
    if as_json:
        if not quiet:
            report = change_report(imported.outcome, dry_run=dry_run)
            _report_to_actions(report, imported.outcome, now)
        emit_json(import_report(imported, dry_run=dry_run))
        return
    show_outcome(imported.outcome, now=now, dry_run=dry_run, as_json=False, quiet=quiet)
    if imported.keys and imported.outcome.plan and not quiet:
        say(paint("tokens that these keys signed elsewhere:", "dim"))
        columns([[key.kid, _verification(key, now)] for key in imported.keys], indent="  ")


def show_repair(repaired: RepairResult, *, now: datetime, dry_run: bool, as_json: bool, quiet: bool) -> None:
    """Print the damage of a vault, and how each finding was repaired."""
    if as_json:
        emit_json(repair_report(repaired, dry_run=dry_run))
        return
    if not quiet:
        none = "no damage that repair can mend" if repaired.errors else "no damage"
        say(paint("found:" if repaired.findings else none, "dim"))
        for finding in repaired.findings:
            is_named = PurePosixPath(finding.path).stem[:12] in finding.message
            where = "" if is_named else f" ({finding.path})"
            say(f"  {finding.code}  {finding.message}{where}")
            say(f"    → {finding.remedy or 'not repaired: a person has to decide'}")
    outcome = repaired.outcome
    if outcome.plan or outcome.files or outcome.pushed or outcome.warnings:
        show_outcome(outcome, now=now, dry_run=dry_run, as_json=False, quiet=quiet)


def _verification(key: ImportedKey, now: datetime) -> str:
    if key.state == "retiring" and key.verifies_until is not None:
        return f"verify until {when(key.verifies_until, now)}"
    if key.state == "active":
        return "verify: it is the active key"
    return "verify: it is published as the next key"


def _report_to_actions(report: ChangeReport, outcome: Outcome, now: datetime) -> None:
    github_actions.summarize(
        f"Keys: commit {outcome.commit[:12]}" if outcome.commit else "Keys",
        ("event", "set", "key", "detail"),
        [_event_row(event, now) for event in report.events],
        empty="Files change, but no events." if report.changed else "Nothing to do.",
    )
    for warning in report.warnings:
        github_actions.annotate("warning", warning)
    github_actions.output(changed=outcome.commit is not None, commit=outcome.commit or outcome.before.commit)


def _say_commit(report: ChangeReport, outcome: Outcome) -> None:
    if report.commit:
        say(f"commit {report.commit[:12]}" + (", pushed" if report.pushed else ""))
    elif report.pushed:
        say("pushed earlier commits")
    elif not report.changed:
        say("nothing to do")


def _event_row(event: EventReport, now: datetime) -> list[str]:
    detail = ""
    if event.keep_until:
        detail = f"kept until {when(event.keep_until, now)}"
    elif event.url:
        detail = event.url
    elif event.reason:
        detail = event.reason
    if event.note:
        detail += f" ({event.note})"
    if event.forced:
        detail += f" forced: {event.forced}"
    return [_LABELS[event.event], event.set, event.kid or "(a new key)", detail.strip()]


def show_status(report: StatusReport, *, now: datetime, quiet: bool) -> None:
    """Print the status of a vault."""
    if quiet:
        for key_set in report.sets:
            for key in key_set.keys:
                say(key.kid)
        return
    say(f"{printable(report.url)}  {paint('commit ' + report.commit[:12], 'dim')}")
    for key_set in report.sets:
        say()
        say(f"{key_set.name}  {paint(key_set.alg, 'dim')}{'  closing' if key_set.closing else ''}")
        if key_set.jwks_uri and key_set.issuer + WELL_KNOWN != key_set.jwks_uri:
            say("  " + paint("iss", "dim") + f" {key_set.issuer}  " + paint("keys", "dim") + f" {key_set.jwks_uri}")
        columns([[key.state, key.kid, _key_note(key, key_set, now)] for key in key_set.keys], indent="  ")
        if not key_set.keys:
            remedy = f"key import {key_set.name} FILE" if key_set.external else "rotate --due creates them"
            say(f"  no keys yet: keyvault {remedy}")
        if key_set.next_transition:
            say("  " + paint("then", "dim") + " " + _transition(key_set.next_transition, key_set, now))
    if not report.sets and not report.damage:
        say("no sets yet: keyvault set add NAME --alg ES256")
    notes(report.overdue, "overdue")
    notes([damage.message for damage in report.damage], "damaged")
    if report.damage:
        notes(["keyvault repair --dry-run shows how each would be repaired"], "hint")


def _key_note(key: KeyReport, key_set: SetReport, now: datetime) -> str:
    if key.state == "active":
        since = f"since {when(key.activated_at, now)}" if key.activated_at else ""
        return since if key.sealed else since + "  (private half elsewhere)"
    if key.state == "retiring" and key.keep_until:
        return f"kept until {when(key.keep_until, now)}"
    if key.state == "next":
        if key_set.mature_at is None:
            return "not yet seen live"
        ready = "may sign since" if key_set.mature_at <= now else "may sign from"
        return f"{ready} {when(key_set.mature_at, now)}"
    return ""


def _transition(transition: TransitionReport, key_set: SetReport, now: datetime) -> str:
    verbs = {
        "activated": "rotate",
        "deactivated": "rotate",
        "withdrawn": f"withdraw {(transition.kid or '')[:12]}",
        "published": "record the receipt of the next key, once it is seen live",
        "created": "generate the missing key",
    }
    verb = verbs[transition.event]
    if transition.event == "published":
        return verb
    if transition.event in ("activated", "deactivated") and key_set.mature_at is None and key_set.use == "sig":
        return f"{verb} {when(transition.at, now)}, once the next key was seen live long enough"
    return f"{verb} {when(transition.at, now)}"


def show_transitions(transitions: list[TransitionReport], *, now: datetime) -> None:
    """Print *transitions* as a table."""
    rows = [
        [
            format_instant(transition.at),
            relative(transition.at, now),
            transition.set,
            transition.event,
            transition.kid or "(a new key)",
        ]
        for transition in transitions
    ]
    columns(rows)


def show_keys(keys: list[KeyReport], *, now: datetime) -> None:
    """Print *keys* as a table."""
    rows = []
    for key in keys:
        since = key.ended_at or key.deactivated_at or key.activated_at or key.created_at
        rows.append([key.state, key.set, key.alg, key.kid, f"since {format_instant(since)}"])
    columns(rows)
