"""The commands rotate, revoke, rollback, repair and plan."""

import re
from datetime import timedelta
from pathlib import Path
from typing import Annotated, cast

import typer

from keyvault.cli import github_actions
from keyvault.cli.dash_arguments import DashArgumentCommand
from keyvault.cli.global_options import settings
from keyvault.cli.options import (
    JSON,
    DryRun,
    KidPrefix,
    Note,
    PassGate,
    Push,
    Reason,
    SetName,
    SetNames,
    check_reason_with_force,
    complete_set,
    parse_duration_option,
)
from keyvault.cli.output import columns, emit_json, say
from keyvault.core.text import elided, quoted
from keyvault.errors import UsageError


def register(app: typer.Typer) -> None:
    """Add the commands to *app*."""
    app.command("rotate")(rotate)
    app.command("revoke", cls=DashArgumentCommand)(revoke)
    app.command("rollback")(rollback)
    app.command("repair")(repair)
    app.command("plan")(plan)


def rotate(
    names: Annotated[
        list[str] | None, typer.Argument(metavar="[SET]...", help="Sets to rotate.", autocompletion=complete_set)
    ] = None,
    all_sets: Annotated[bool, typer.Option("--all", help="Rotate every set.")] = False,
    due: Annotated[bool, typer.Option("--due", help="Make every change that is due, in one commit.")] = False,
    alg: Annotated[str | None, typer.Option("--alg", metavar="ALG", help="Move the set to this algorithm.")] = None,
    force: PassGate = False,
    reason: Reason = None,
    push: Push = False,
    dry_run: DryRun = False,
    as_json: JSON = False,
) -> None:
    """
    Rotate sets: make their next keys active.

    The active key becomes retiring, and a new next key is generated.

    Refused with exit code 3 until the next key was seen live for publication_lead; the message says when that is.
    --due makes every change that is due: receipts, withdrawals, rotations, new keys. Schedule it as often as you
    like: it needs no identity.

    --alg publishes a next key of another algorithm, which may sign after algorithm_lead. In that time, restart the
    verifiers that read the algorithms only when they start.

    \b
    Examples:
      keyvault rotate --due --push
      keyvault rotate id-token
      keyvault rotate access-token --alg ES384
      keyvault rotate id-token --force --reason "laptop with the signer was stolen"
    """
    from keyvault.cli.show import show_outcome
    from keyvault.operations import rotation as operations

    given = [bool(names), all_sets, due]
    if not any(given):
        raise UsageError("rotate needs a SET, --all or --due", code="option-missing", hint="keyvault rotate --due")
    if sum(given) > 1:
        raise UsageError(
            "SET, --all and --due exclude each other", code="option-conflict", hint="keyvault rotate --due"
        )
    check_reason_with_force(reason, force=force)
    if due and (force or alg):
        raise UsageError("--due excludes --force and --alg", code="option-conflict", hint="name the set to rotate")
    with settings.open() as context:
        if due:
            outcome = operations.rotate_due(context, push=push, dry_run=dry_run)
        else:
            outcome = operations.rotate(context, names or [], alg=alg, forced=reason, push=push, dry_run=dry_run)
        settings.warn_uncommitted(context, outcome.commit or outcome.before.commit)
    show_outcome(outcome, now=settings.now, dry_run=dry_run, as_json=as_json, quiet=settings.quiet)


def revoke(
    kid: KidPrefix,
    reason: Annotated[
        str, typer.Option("--reason", metavar="REASON", help="compromised, superseded or unspecified; required.")
    ] = "",
    note: Note = None,
    push: Push = False,
    dry_run: DryRun = False,
    as_json: JSON = False,
) -> None:
    """
    Remove a key from its JWK Set at once. If it was active, the next key becomes active.

    Prints until when verifiers may still accept the key from their caches.

    \b
    Examples:
      keyvault revoke Xk3f --reason compromised --note "found in a log" --push
    """
    from keyvault.cli.show import show_outcome
    from keyvault.core import events
    from keyvault.operations import rotation as operations

    if reason not in ("compromised", "superseded", "unspecified"):
        hint = "--reason compromised, superseded or unspecified"
        if not reason:
            raise UsageError("revoke needs a reason", code="option-missing", hint=hint)
        raise UsageError(f"unknown value {quoted(reason, 40)} of --reason", code="option-invalid", hint=hint)
    with settings.open() as context:
        outcome = operations.revoke(
            context, kid, reason=cast(events.Reason, reason), note=note, push=push, dry_run=dry_run
        )
    show_outcome(outcome, now=settings.now, dry_run=dry_run, as_json=as_json, quiet=settings.quiet)


def rollback(
    name: SetName,
    note: Note = None,
    push: Push = False,
    dry_run: DryRun = False,
    as_json: JSON = False,
) -> None:
    """
    Make the previous key of a set active again.

    The key must still be published.

    \b
    Examples:
      keyvault rollback id-token --note "the HSM at the edge has the old key only"
    """
    from keyvault.cli.show import show_outcome
    from keyvault.operations import rotation as operations

    with settings.open() as context:
        outcome = operations.rollback(context, name, note=note, push=push, dry_run=dry_run)
    show_outcome(outcome, now=settings.now, dry_run=dry_run, as_json=as_json, quiet=settings.quiet)


def repair(
    reason: Annotated[
        str | None,
        typer.Option(
            "--reason", metavar="TEXT", help="Reason; it is published. Default is the damage that each repair mends."
        ),
    ] = None,
    force: Annotated[
        bool, typer.Option("--force", help="Trust the clock of this machine even if no host can confirm it.")
    ] = False,
    push: Push = False,
    dry_run: DryRun = False,
    as_json: JSON = False,
) -> None:
    """
    Find and repair damage to the vault, in one commit.

    Damage comes from merges, wrong clocks, crashes or manual edits.

    Unreadable records return to their last readable version, and foreign files are removed. If a set has two active or
    two next keys, all but one step back. Events dated in the future are dated back to now. A published key stays
    published until its tokens have expired. Locks of dead git processes are removed, and a stale index is updated.
    Needs no identity. If events lie in the future, the host of the site is asked for the time.

    Exits with 1 if damage is left that needs a decision, with 3 if the clock is wrong or cannot be confirmed, and with
    5 if the audit still finds an error.

    \b
    Examples:
      keyvault repair --dry-run
      keyvault repair --reason "two schedules met in a merge" --push
    """
    from keyvault.cli.show import show_repair
    from keyvault.errors import AuditError, RecordError
    from keyvault.operations.repair import repair as mend

    with settings.open() as context:
        repaired = mend(context, reason=reason, push=push, dry_run=dry_run, trust_clock=force)
    show_repair(repaired, now=settings.now, dry_run=dry_run, as_json=as_json, quiet=settings.quiet)
    if repaired.unresolved:
        unresolved = repaired.unresolved[0]
        raise RecordError(
            f"not repaired: {unresolved.message}",
            code="repair-incomplete",
            hint="docs/runbooks/damaged-vault.md says how to decide",
        )
    if repaired.errors:
        # An undone revocation is the worst error that an audit can find.
        worst = next((error for error in repaired.errors if "revoked" in error.message), repaired.errors[-1])
        raise AuditError(
            f"the audit still finds {worst.code} in commit {worst.commit[:12]}: {worst.message}",
            code="audit-failed",
            hint="keyvault audit lists every error; docs/audit.md explains each code",
        )


def plan(
    names: SetNames = None,
    until: Annotated[str, typer.Option("--until", metavar="DURATION", help="How far to plan ahead.")] = "1y",
    ical: Annotated[Path | None, typer.Option("--ical", metavar="FILE", help="Also write an iCalendar file.")] = None,
    simulate: Annotated[
        bool, typer.Option("--simulate", help="Simulate the policy instead, and show which verifiers it breaks.")
    ] = False,
    as_json: JSON = False,
) -> None:
    """
    Show the transitions that policy will make from now on.

    --simulate runs the policy through hundreds of schedules with late and dropped runs, failed deploys and revoked
    keys, against the caches of known verifiers. Exits with 5 if a planned rotation breaks one of them.

    \b
    Examples:
      keyvault plan
      keyvault plan id-token --until 30d --ical rotations.ics
      keyvault plan --simulate
    """
    if simulate:
        _simulate(names, as_json=as_json)
        return
    from keyvault.cli.show import show_transitions
    from keyvault.core.outlook import outlook
    from keyvault.core.text import format_instant
    from keyvault.operations.reports import transition_report

    # Only this option takes years: in a policy, the length of a year would be ambiguous.
    years = re.fullmatch(r"(\d{1,2})y", until)
    horizon = settings.now + (timedelta(days=365 * int(years[1])) if years else parse_duration_option("--until", until))
    with settings.open() as context:
        state = context.state()
        chosen = [state.find_set(name).name for name in names] if names else None
        transitions = outlook(state, settings.now, until=horizon, names=chosen)
    if ical is not None:
        from keyvault.site.calendar import calendar

        try:
            ical.write_bytes(calendar(transitions, state))
        except OSError as error:
            raise UsageError(
                f"{elided(str(ical))} cannot be written: {error.strerror}", code="file-unwritable"
            ) from None
    reports = [transition_report(transition) for transition in transitions]
    if not settings.quiet:
        github_actions.summarize(
            f"Planned within {until}",
            ("at", "set", "event", "key"),
            [(format_instant(report.at), report.set, report.event, report.kid or "(a new key)") for report in reports],
            empty="Nothing.",
        )
    if as_json:
        emit_json(reports)
    elif reports:
        show_transitions(reports, now=settings.now)
    else:
        say("nothing planned")


def _simulate(names: list[str] | None, *, as_json: bool) -> None:
    """Simulate the policy of each set, and show what it does to verifiers."""
    from keyvault.core.rehearsal import rehearse
    from keyvault.core.text import format_duration
    from keyvault.core.verifiers import KEEP_ALGORITHMS
    from keyvault.errors import LintError
    from keyvault.operations.reports import rehearsal_report

    with settings.open() as context:
        state = context.state()
        chosen = [state.find_set(name) for name in names] if names else list(state.sets.values())
        policies = [
            key_set.policy
            for key_set in chosen
            if key_set.rendered and key_set.policy.use == "sig" and not key_set.policy.closing
        ]
        rehearsals = []
        for done, policy in enumerate(policies, 1):
            rehearsals.append(rehearse(policy, state.policy.site))
            context.progress("simulating", done, len(policies))
    reports = [rehearsal_report(rehearsal) for rehearsal in rehearsals]
    broken = [rehearsal.set for rehearsal in rehearsals if not rehearsal.fine]
    if as_json:
        emit_json(reports)
    elif settings.quiet:
        for name in broken:
            say(name)
    else:
        for rehearsal in rehearsals:
            say(
                f"{rehearsal.set}: {rehearsal.schedules} schedules, {rehearsal.rotations} planned rotations, "
                f"{rehearsal.revocations} revocations, {rehearsal.rollbacks} rollbacks"
            )
            if rehearsal.too_early:
                early = format_duration(rehearsal.too_early)
                say(f"  keys leave up to {early} before the last of their tokens expires")
            rows = [("verifier", "planned rotation", "after a revocation", "accepts a revoked key")]
            for verdict in rehearsal.verdicts:
                planned, emergency = (
                    f"fails for up to {format_duration(gap)}" if gap else "fine"
                    for gap in (verdict.planned, verdict.emergency)
                )
                kept = verdict.revoked
                accepts = "until restarted" if kept is None else f"for up to {format_duration(kept)}"
                rows.append((verdict.verifier.name, planned, emergency, accepts))
            columns(rows, indent="  ")
            say(
                f"  a new algorithm: {', '.join(KEEP_ALGORITHMS)} refuse it until they are restarted; its first key is "
                f"live for {format_duration(rehearsal.algorithm_lead)} before it signs"
            )
    if not rehearsals and not as_json:
        say("no published set signs tokens")
    if broken:
        raise LintError(
            f"planned rotations of {', '.join(broken)} break verifiers",
            code="simulation-failed",
            hint="raise publication_lead; docs/publishing.md lists the caches of verifiers",
        )
