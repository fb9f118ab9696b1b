"""The command audit."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from keyvault.cli import github_actions
from keyvault.cli.global_options import settings
from keyvault.cli.options import JSON
from keyvault.cli.output import columns, emit_json, note, say

if TYPE_CHECKING:
    from keyvault.core.history.findings import Finding
    from keyvault.repo.audit import Audit

#: How many findings of one code are printed; --json prints all.
SHOWN_MAX = 10


def register(app: typer.Typer) -> None:
    """Add the command to *app*."""
    app.command("audit")(audit)


def audit(
    ref: Annotated[str, typer.Argument(metavar="[REV]", help="The newest commit to audit.")] = "HEAD",
    since: Annotated[
        str | None, typer.Option("--since", metavar="REV", help="A trusted commit: audit only what came after it.")
    ] = None,
    pin: Annotated[
        str | None, typer.Option("--pin", metavar="REV", help="Fail unless this commit is part of the history.")
    ] = None,
    signers: Annotated[
        list[Path] | None,
        typer.Option(
            "--signers",
            metavar="FILE",
            help="Require signatures by these keys: SSH allowed signers, or OpenPGP public keys. Repeatable.",
        ),
    ] = None,
    exclude: Annotated[
        list[str] | None,
        typer.Option("--exclude", metavar="GLOB", help="Do not search matching files for private keys. Repeatable."),
    ] = None,
    as_json: JSON = False,
) -> None:
    """
    Audit the whole history of the vault.

    Compares every commit that touched the vault with its parents. The audit shares no rules with the code that writes
    vaults. Exits with 5 if it finds an error.

    \b
    Examples:
      keyvault audit
      keyvault audit --pin 3f2a9c1 --signers ../allowed_signers
      keyvault audit --since v2026-10 --json
    """
    from keyvault.errors import AuditError
    from keyvault.operations import audit as operations

    with settings.open() as context:
        report = operations.audit(
            context,
            context.repository.head(ref),
            since=since,
            pin=pin,
            signers=signers or (),
            exclude=exclude or (),
        )
    if not settings.quiet:
        _report_to_actions(report)
    if as_json:
        emit_json(
            {
                "commit": report.commit,
                "since": report.since,
                "commits": report.commits,
                "findings": [
                    {
                        "code": finding.code,
                        "level": finding.level,
                        "commit": finding.commit,
                        "path": finding.path,
                        "message": finding.message,
                    }
                    for finding in report.findings
                ],
            }
        )
    elif settings.quiet:
        for finding in report.errors:
            say(f"{finding.code} {finding.commit}")
    else:
        _show(report)
    if report.errors:
        count = len(report.errors)
        raise AuditError(
            f"audit failed: {count} error{'s' if count > 1 else ''} in {_commits(report)}",
            code="audit-failed",
            hint="docs/audit.md explains each code",
        )


def _commits(report: "Audit") -> str:
    return f"{report.commits} commit{'' if report.commits == 1 else 's'}"


def _row(finding: "Finding") -> tuple[str, str, str, str]:
    return finding.commit[:12], finding.code, finding.path, finding.message


def _show(report: "Audit") -> None:
    shown: dict[str, int] = {}
    rows = []
    for finding in report.findings:
        shown[finding.code] = shown.get(finding.code, 0) + 1
        if shown[finding.code] <= SHOWN_MAX:
            rows.append(("error" if finding.level == "error" else "note", *_row(finding)))
    columns(rows)
    for code, count in shown.items():
        if count > SHOWN_MAX:
            note(f"and {count - SHOWN_MAX} more {code}; --json prints all")
    if not report.errors:
        after = f" after {report.since[:12]}" if report.since else ""
        say(f"audited {_commits(report)} up to {report.commit[:12]}{after}: no errors")


def _report_to_actions(report: "Audit") -> None:
    github_actions.summarize(
        f"Audit of {_commits(report)}",
        ("commit", "code", "file", "message"),
        [_row(finding) for finding in report.findings],
        empty="No findings.",
    )
    for finding in report.errors[: github_actions.ANNOTATIONS_MAX]:
        github_actions.annotate(
            "error", f"{finding.commit[:12]}: {finding.message}", title=finding.code, file=finding.path or None
        )
    github_actions.output(findings=len(report.errors))
