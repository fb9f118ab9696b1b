"""audit."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from keyvault.cli import github_actions
from keyvault.cli.global_options import JSON, settings
from keyvault.cli.output import columns, emit_json, note, say

if TYPE_CHECKING:
    from keyvault.core.history.findings import Finding
    from keyvault.repo.audit import Audit

#: Of one code, this many findings are shown; --json has all of them.
SHOWN_MAX = 10


def register(app: typer.Typer) -> None:
    """Add the command to *app*."""
    app.command("audit")(audit)


def audit(
    ref: Annotated[str, typer.Argument(metavar="[REV]", help="The newest commit to judge.")] = "HEAD",
    since: Annotated[
        str | None, typer.Option("--since", metavar="REV", help="A commit that is trusted with all its history.")
    ] = None,
    pin: Annotated[
        str | None, typer.Option("--pin", metavar="REV", help="A commit that the history must hold.")
    ] = None,
    signers: Annotated[
        list[Path] | None,
        typer.Option("--signers", metavar="FILE", help="Who may sign: SSH allowed signers, or OpenPGP public keys."),
    ] = None,
    exclude: Annotated[
        list[str] | None,
        typer.Option("--exclude", metavar="GLOB", help="Paths in which private keys are not looked for."),
    ] = None,
    as_json: JSON = False,
) -> None:
    """
    Judge the whole history: every commit that ever touched the vault, against its parents.

    A second opinion, with no rule of those that write. Exit code 5 when something must not be.

    \b
    Examples:
      keyvault audit
      keyvault audit --pin 3f2a9c1 --signers ../allowed_signers
      keyvault audit --since v2026-10 --json
    """
    from keyvault.errors import AuditError
    from keyvault.operations import audit as operation

    with settings.open() as context:
        report = operation.audit(
            context,
            context.repository.head(ref),
            since=since,
            pin=pin,
            signers=signers or (),
            exclude=exclude or (),
        )
    if not settings.quiet:
        _tell_actions(report)
    if as_json:
        emit_json(
            {
                "commit": report.commit,
                "since": report.since,
                "commits": report.commits,
                "findings": [
                    {
                        "code": one.code,
                        "level": one.level,
                        "commit": one.commit,
                        "path": one.path,
                        "message": one.message,
                    }
                    for one in report.findings
                ],
            }
        )
    elif settings.quiet:
        for one in report.errors:
            say(f"{one.code} {one.commit}")
    else:
        _show(report)
    if report.errors:
        count = len(report.errors)
        raise AuditError(
            f"{count} finding{'s' if count > 1 else ''} in {_commits(report)}",
            hint="docs/audit.md says what to do about each code",
        )


def _commits(report: Audit) -> str:
    return f"{report.commits} commit{'' if report.commits == 1 else 's'}"


def _row(one: Finding) -> tuple[str, str, str, str]:
    return one.commit[:12], one.code, one.path, one.message


def _show(report: Audit) -> None:
    shown: dict[str, int] = {}
    rows = []
    for one in report.findings:
        shown[one.code] = shown.get(one.code, 0) + 1
        if shown[one.code] <= SHOWN_MAX:
            rows.append(("error" if one.level == "error" else "note", *_row(one)))
    columns(rows)
    for code, count in shown.items():
        if count > SHOWN_MAX:
            note(f"and {count - SHOWN_MAX} more of {code}; --json has them all")
    if not report.errors:
        after = f" after {report.since[:12]}" if report.since else ""
        say(f"{_commits(report)} up to {report.commit[:12]}{after}: nothing that must not be")


def _tell_actions(report: Audit) -> None:
    github_actions.summarize(
        f"Audit of {_commits(report)}",
        ("commit", "code", "file", "what"),
        [_row(one) for one in report.findings],
        otherwise="Nothing was found.",
    )
    for one in report.errors[: github_actions.ANNOTATIONS_MAX]:
        github_actions.annotate("error", f"{one.commit[:12]}: {one.message}", title=one.code, file=one.path or None)
    github_actions.output(findings=len(report.errors))
