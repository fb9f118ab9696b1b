"""rotate, revoke, rollback, plan."""

import re
from datetime import timedelta
from pathlib import Path
from typing import Annotated, cast

import typer

from keyvault.cli import github_actions
from keyvault.cli.dash_arguments import DashedCommand
from keyvault.cli.global_options import JSON, complete_kid, complete_set, settings
from keyvault.cli.output import columns, emit_json, say
from keyvault.core.text import elided, quoted
from keyvault.errors import UsageError

Push = Annotated[bool, typer.Option("--push", help="Push the commit; plan again when somebody was faster.")]
DryRun = Annotated[bool, typer.Option("--dry-run", help="Show what would be written, and write nothing.")]
Note = Annotated[str | None, typer.Option("--note", metavar="TEXT", help="What readers of the history should know.")]


def register(app: typer.Typer) -> None:
    """Add the commands to *app*."""
    app.command("rotate")(rotate)
    app.command("revoke", cls=DashedCommand)(revoke)
    app.command("rollback")(rollback)
    app.command("repair")(repair)
    app.command("plan")(plan)


def rotate(
    names: Annotated[
        list[str] | None, typer.Argument(metavar="[SET]...", help="Sets to rotate.", autocompletion=complete_set)
    ] = None,
    all_sets: Annotated[bool, typer.Option("--all", help="Rotate every set.")] = False,
    due: Annotated[bool, typer.Option("--due", help="Do everything that is due, in one commit or none.")] = False,
    alg: Annotated[
        str | None, typer.Option("--alg", metavar="ALG", help="Change the set to another algorithm.")
    ] = None,
    force: Annotated[bool, typer.Option("--force", help="Go past the safety gate; needs --reason.")] = False,
    reason: Annotated[str | None, typer.Option("--reason", metavar="TEXT", help="Why; it is recorded.")] = None,
    push: Push = False,
    dry_run: DryRun = False,
    as_json: JSON = False,
) -> None:
    """
    Make the next key of a set active: next → active, active → retiring, and a fresh next.

    Refused with exit code 3 while the next key was not seen live for publication_lead; the message says from
    when it is safe. With --due this is the whole schedule: receipts, withdrawals, rotations, new keys. Run it
    as often as you like; it holds no secret.

    With --alg it publishes a next key of another algorithm, which signs after algorithm_lead: verifiers that
    learn algorithms only when they start have to be restarted in that time.

    \b
    Examples:
      keyvault rotate --due --push
      keyvault rotate id-token
      keyvault rotate access-token --alg ES384
      keyvault rotate id-token --force --reason "laptop with the signer was stolen"
    """
    from keyvault.cli.show import show_outcome
    from keyvault.operations import rotation

    given = [bool(names), all_sets, due]
    if sum(given) != 1:
        raise UsageError(
            "name the sets to rotate, or say --all or --due"
            if not any(given)
            else "SET, --all and --due exclude each other",
            hint="keyvault rotate --due",
        )
    if force != (reason is not None):
        raise UsageError("--force and --reason go together", hint='--force --reason "what happened"')
    if due and (force or alg):
        raise UsageError("--due takes neither --force nor --alg", hint="name the set to rotate")
    with settings.open() as context:
        if due:
            outcome = rotation.rotate_due(context, push=push, dry_run=dry_run)
        else:
            outcome = rotation.rotate(context, names or [], alg=alg, forced=reason, push=push, dry_run=dry_run)
        settings.warn_uncommitted(context, outcome.commit or outcome.before.commit)
    show_outcome(outcome, now=settings.now, dry_run=dry_run, as_json=as_json, quiet=settings.quiet)


def revoke(
    kid: Annotated[
        str, typer.Argument(metavar="KID", help="A key, or the beginning of its kid.", autocompletion=complete_kid)
    ],
    reason: Annotated[
        str, typer.Option("--reason", metavar="REASON", help="compromised, superseded or unspecified.")
    ] = "",
    note: Note = None,
    push: Push = False,
    dry_run: DryRun = False,
    as_json: JSON = False,
) -> None:
    """
    Drop a key from its JWK Set at once. If it was active, the next key takes over.

    Says until when caches may still accept the key: removal is not revocation for a verifier that keeps its
    copy.

    \b
    Examples:
      keyvault revoke Xk3f --reason compromised --note "found in a log" --push
    """
    from keyvault.cli.show import show_outcome
    from keyvault.core.events import Reason
    from keyvault.operations import rotation

    if reason not in ("compromised", "superseded", "unspecified"):
        raise UsageError(
            f"--reason {quoted(reason, 40)} is not known" if reason else "revoke needs a reason",
            hint="--reason compromised, superseded or unspecified",
        )
    with settings.open() as context:
        outcome = rotation.revoke(context, kid, reason=cast(Reason, reason), note=note, push=push, dry_run=dry_run)
    show_outcome(outcome, now=settings.now, dry_run=dry_run, as_json=as_json, quiet=settings.quiet)


def rollback(
    name: Annotated[str, typer.Argument(metavar="SET", help="The set.", autocompletion=complete_set)],
    note: Note = None,
    push: Push = False,
    dry_run: DryRun = False,
    as_json: JSON = False,
) -> None:
    """
    Make the previous key of a set active again, while it is still published.

    \b
    Examples:
      keyvault rollback id-token --note "the HSM at the edge has the old key only"
    """
    from keyvault.cli.show import show_outcome
    from keyvault.operations import rotation

    with settings.open() as context:
        outcome = rotation.rollback(context, name, note=note, push=push, dry_run=dry_run)
    show_outcome(outcome, now=settings.now, dry_run=dry_run, as_json=as_json, quiet=settings.quiet)


def repair(
    reason: Annotated[
        str | None, typer.Option("--reason", metavar="TEXT", help="Why; it is recorded with each repair.")
    ] = None,
    force: Annotated[
        bool, typer.Option("--force", help="Trust the clock of this machine even if no host can confirm it.")
    ] = False,
    push: Push = False,
    dry_run: DryRun = False,
    as_json: JSON = False,
) -> None:
    """
    Find what a merge, a clock, a crash or a hand has damaged, and mend it in one commit.

    Records that cannot be read go back to their last version that can, files that do not belong are removed, of two
    keys for one place one steps back, and instants in the future are dated back to now. A key that was published stays
    published until its tokens have expired. Locks of dead git processes are removed, and an index that shows an older
    commit follows the branch. Needs no identity. Asks the site's host for the time if events lie in the future.

    Exits with 1 if something is left that somebody has to decide, with 3 if the clock is wrong or cannot be confirmed,
    and with 5 if the audit still finds an error.

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
    if repaired.left:
        left = repaired.left[0]
        raise RecordError(f"not repaired: {left.message}", hint="docs/runbooks/damaged-vault.md says how to decide")
    if repaired.errors:
        # A revocation that was undone is the worst that an audit can find.
        worst = next((error for error in repaired.errors if "revoked" in error.message), repaired.errors[-1])
        raise AuditError(
            f"the audit still finds {worst.code} in commit {worst.commit[:12]}: {worst.message}",
            hint="keyvault audit shows all; docs/audit.md says what to do about each code",
        )


def plan(
    names: Annotated[
        list[str] | None, typer.Argument(metavar="[SET]...", help="Only these sets.", autocompletion=complete_set)
    ] = None,
    until: Annotated[str, typer.Option("--until", metavar="DURATION", help="How far to look ahead.")] = "1y",
    ical: Annotated[
        Path | None, typer.Option("--ical", metavar="FILE", help="Write an iCalendar file as well.")
    ] = None,
    simulate: Annotated[
        bool, typer.Option("--simulate", help="Rehearse the policy instead: what it would break, and where.")
    ] = False,
    as_json: JSON = False,
) -> None:
    """
    Show the transitions that policy will make from now on.

    With --simulate the policy goes through hundreds of schedules on which runs are late or dropped, deploys fail and
    keys are revoked, against the caches of known verifiers. Exit code 5 when a planned rotation breaks one of them.

    \b
    Examples:
      keyvault plan
      keyvault plan id-token --until 30d --ical rotations.ics
      keyvault plan --simulate
    """
    if simulate:
        _rehearse(names, as_json=as_json)
        return
    from keyvault.cli.show import show_transitions
    from keyvault.core.outlook import outlook
    from keyvault.core.text import format_instant, parse_duration
    from keyvault.operations.reports import transition_report

    try:
        # Years are for looking ahead only: in a policy nobody should have to ask how long one is.
        years = re.fullmatch(r"(\d{1,2})y", until)
        horizon = settings.now + (timedelta(days=365 * int(years[1])) if years else parse_duration(until))
    except ValueError as error:
        raise UsageError(f"--until: {error}") from None
    with settings.open() as context:
        state = context.state()
        chosen = [state.find_set(name).name for name in names] if names else None
        transitions = outlook(state, settings.now, until=horizon, names=chosen)
    if ical is not None:
        from keyvault.site.calendar import calendar

        try:
            ical.write_bytes(calendar(transitions, state))
        except OSError as error:
            raise UsageError(f"{elided(str(ical))} cannot be written: {error.strerror}") from None
    reports = [transition_report(one) for one in transitions]
    if not settings.quiet:
        github_actions.summarize(
            f"What comes within {until}",
            ("at", "set", "what", "key"),
            [(format_instant(one.at), one.set, one.event, one.kid or "(a key not made yet)") for one in reports],
            otherwise="Nothing.",
        )
    if as_json:
        emit_json(reports)
    elif reports:
        show_transitions(reports, now=settings.now)
    else:
        say("nothing to come")


def _rehearse(names: list[str] | None, *, as_json: bool) -> None:
    """Show what the policy of each set does to verifiers."""
    from keyvault.core.rehearsal import rehearse
    from keyvault.core.text import format_duration
    from keyvault.core.verifiers import KEEP_ALGORITHMS
    from keyvault.errors import LintError
    from keyvault.operations.reports import rehearsal_report

    with settings.open() as context:
        state = context.state()
        chosen = [state.find_set(name) for name in names] if names else list(state.sets.values())
        suited = [one.policy for one in chosen if one.rendered and one.policy.use == "sig" and not one.policy.closing]
        rehearsals = []
        for done, policy in enumerate(suited, 1):
            rehearsals.append(rehearse(policy, state.policy.site))
            context.progress("rehearsing", done, len(suited))
    reports = [rehearsal_report(one) for one in rehearsals]
    broken = [one.set for one in rehearsals if not one.fine]
    if as_json:
        emit_json(reports)
    elif settings.quiet:
        for name in broken:
            say(name)
    else:
        for one in rehearsals:
            say(
                f"{one.set}: {one.schedules} schedules, {one.rotations} planned rotations, {one.revocations} "
                f"revocations, {one.rollbacks} rollbacks"
            )
            if one.too_early:
                say(f"  keys leave while tokens of them are valid, by up to {format_duration(one.too_early)}")
            rows = [("verifier", "planned rotation", "after a revocation", "accepts a revoked key")]
            for verdict in one.verdicts:
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
                f"live for {format_duration(one.algorithm_lead)} before it signs"
            )
    if not rehearsals and not as_json:
        say("no set that is published and signs")
    if broken:
        raise LintError(
            f"planned rotations of {', '.join(broken)} break verifiers",
            hint="raise publication_lead; docs/publishing.md says what verifiers cache",
        )
