"""The commands check, diff, guard and lint."""

import os
import sys
from collections import Counter
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from keyvault.cli import github_actions, output
from keyvault.cli.global_options import settings
from keyvault.cli.options import JSON, ComparedRef, parse_duration_option
from keyvault.cli.output import columns, emit_json, note, say
from keyvault.core.text import printable
from keyvault.errors import GitError, KeyVaultError

if TYPE_CHECKING:
    from keyvault.operations.lint import LintResult

#: How many findings of one code are printed for a document, and how many affected verifiers for a finding.
SHOWN_MAX = 10
VERIFIERS_MAX = 4


def register(app: typer.Typer) -> None:
    """Add the commands to *app*."""
    app.command("check")(check)
    app.command("diff")(diff)
    app.command("guard")(guard)
    app.command("lint")(lint)


def check(
    url: Annotated[str | None, typer.Argument(metavar="[URL]", help="URL to check; default is the site's own.")] = None,
    ref: ComparedRef = "HEAD",
    wait: Annotated[
        str, typer.Option("--wait", metavar="DURATION", help="Retry for this long while something differs.")
    ] = "0s",
    as_json: JSON = False,
) -> None:
    """
    Compare the live site with a commit.

    Compares keys, headers, discovery documents and the certificate, and reports overdue transitions.
    Exits with 4 if something differs. Warnings are about settings of the host, which publishing cannot change; they
    leave the exit code at 0.

    \b
    Examples:
      keyvault check
      keyvault check --wait 10m
      keyvault check https://keys.example.com/tenants/a --json
    """
    from keyvault.errors import DriftError
    from keyvault.operations import check as operations

    patience = parse_duration_option("--wait", wait)

    def note_retry(report: operations.CheckResult, pause: float) -> None:
        first = report.errors[0]
        more = f", and {len(report.errors) - 1} more" if len(report.errors) > 1 else ""
        note(f"{first.code}: {first.url or ''} {first.message}{more}; retrying in {pause:.0f} s")

    with settings.open() as context:
        report = operations.check(
            context,
            context.repository.head(ref),
            url,
            wait=patience,
            on_wait=(lambda *_: None) if settings.quiet else note_retry,
        )
    if not settings.quiet:
        github_actions.summarize(
            f"Live site: {report.url}",
            ("code", "where", "message"),
            [(finding.code, finding.url or "the vault", finding.message) for finding in report.findings],
            empty=f"Nothing differs from commit {report.commit[:12]}.",
        )
        for finding in report.findings[: github_actions.ANNOTATIONS_MAX]:
            github_actions.annotate(
                finding.level, f"{finding.url or 'the vault'}: {finding.message}", title=finding.code
            )
        github_actions.output(findings=len(report.errors))
    if as_json:
        emit_json(
            {
                "commit": report.commit,
                "live": report.live,
                "url": report.url,
                "documents": report.documents,
                "findings": [
                    {
                        "code": finding.code,
                        "level": finding.level,
                        "message": finding.message,
                        "url": finding.url,
                        "kid": finding.kid,
                    }
                    for finding in report.findings
                ],
            }
        )
    elif settings.quiet:
        for code in dict.fromkeys(finding.code for finding in report.findings):
            say(code)
    else:
        rows = [
            (finding.level, finding.code, finding.url or "the vault", finding.message) for finding in report.findings
        ]
        columns([row[1:] for row in rows] if len(rows) == len(report.errors) else rows)
        if not report.errors:
            count = report.documents
            say(f"{report.url} serves commit {report.commit[:12]}: compared {count} documents, nothing differs")
    if report.errors:
        count = len(report.errors)
        raise DriftError(
            f"{report.url} differs from commit {report.commit[:12]}: {count} {'finding' if count == 1 else 'findings'}",
            code="site-differs",
            hint="docs/check.md explains each finding",
        )


def diff(
    base: Annotated[str, typer.Argument(metavar="BASE", help="The commit to compare with.")],
    head: Annotated[str, typer.Argument(metavar="[HEAD]", help="The commit to compare.")] = "HEAD",
    as_json: JSON = False,
) -> None:
    """
    Show how the published JWK Sets of two commits differ.

    \b
    Examples:
      keyvault diff origin/main
      keyvault diff v1.2 v1.3 --json
    """
    from keyvault.operations.diff import difference

    with settings.open() as context:
        resolve = context.repository.head
        found = difference(context, resolve(base), resolve(head))
    rows = []
    for key in found.keys:
        sign = "+" if key.before is None else "-" if key.after is None else "~"
        states = " → ".join(state for state in (key.before, key.after) if state)
        rows.append((sign, key.set, key.kid, key.alg, states))
    changed = [
        (
            f"{setting.set} {setting.name}" if setting.set else setting.name,
            f"{setting.before or 'none'} → {setting.after or 'none'}",
        )
        for setting in found.settings
    ]
    if not settings.quiet:
        github_actions.summarize(
            "Changes of published keys", ("", "set", "key", "alg", "state"), rows, empty="No key changes."
        )
        if changed:
            github_actions.summarize("Changes of published settings", ("setting", "change"), changed, empty="")
        github_actions.output(changed=bool(rows or changed))
    if as_json:
        emit_json(found)
        return
    if settings.quiet:
        for key in found.keys:
            say(key.kid)
        return
    columns(rows)
    for where, change in changed:
        say(f"{where}: {printable(change)}")
    if not rows and not changed:
        note(f"{found.head[:12]} publishes the same as {(found.base or '')[:12]}")


def guard(
    paths: Annotated[list[Path] | None, typer.Argument(metavar="PATH", help="Files and folders to search.")] = None,
    commits: Annotated[
        list[str] | None,
        typer.Option(
            "--commits",
            metavar="REV",
            help="Search the commits of a range, such as origin/main..HEAD, or of HEAD. Repeatable.",
        ),
    ] = None,
    exclude: Annotated[
        list[str] | None, typer.Option("--exclude", metavar="GLOB", help="Skip matching paths. Repeatable.")
    ] = None,
    as_json: JSON = False,
) -> None:
    """
    Search for unencrypted private keys.

    Searches the index, or the files, folders or commits that you name.
    Finds private JWKs, PEM, DER and age identities, also inside YAML, escaped, or in Base64. Encrypted keys pass.
    Needs no vault. Exits with 5 if it finds a key.

    \b
    Examples:
      keyvault guard
      keyvault guard public
      keyvault guard --commits origin/main..HEAD --exclude 'tests/data/*'
    """
    from keyvault.errors import ExposedError, UsageError
    from keyvault.operations import guard as operations

    excluded = exclude or []
    if paths and commits:
        raise UsageError(
            "PATH and --commits exclude each other", code="option-conflict", hint="run keyvault guard once for each"
        )
    if paths:
        report = operations.guard_paths(paths, exclude=excluded)
    elif commits:
        with output.progress(quiet=settings.quiet) as progress:
            report = operations.guard_commits(settings.vault, os.environ, commits, exclude=excluded, progress=progress)
    else:
        report = operations.guard_staged(settings.vault, os.environ, exclude=excluded)
    if not settings.quiet:
        github_actions.summarize(
            "Private keys in the clear",
            ("path", "what", "blob"),
            [(finding.path, finding.what, finding.blob[:12]) for finding in report.findings],
            empty=f"None in {report.files} files.",
        )
        for finding in report.findings[: github_actions.ANNOTATIONS_MAX]:
            github_actions.annotate("error", finding.what, title="a private key in the clear", file=finding.path)
        github_actions.output(findings=len(report.findings))
    if as_json:
        emit_json(
            {
                "files": report.files,
                "findings": [
                    {"path": finding.path, "what": finding.what, "blob": finding.blob} for finding in report.findings
                ],
            }
        )
    elif settings.quiet:
        for finding in report.findings:
            say(finding.path)
    elif report.findings:
        columns([(finding.path, finding.what, finding.blob[:12]) for finding in report.findings])
    else:
        note(f"searched {report.files} files: no private keys in the clear")
    if report.findings:
        count = len({finding.path for finding in report.findings})
        raise ExposedError(
            f"{count} {'file holds' if count == 1 else 'files hold'} private keys in the clear",
            code="private-in-clear",
            hint="remove them from the commit, and revoke every key that was pushed already",
        )


def lint(
    target: Annotated[
        str | None,
        typer.Argument(metavar="[URL|FILE]", help="A JWK Set, discovery document or issuer; - is stdin."),
    ] = None,
    ref: Annotated[
        str | None, typer.Option("--ref", metavar="REV", help="The commit to lint; default is HEAD.")
    ] = None,
    consumers: Annotated[
        list[str] | None,
        typer.Option("--for", metavar="NAME", help="A verifier to support: aws, gcp, pyjwt, … Repeatable."),
    ] = None,
    as_json: JSON = False,
) -> None:
    """
    Find problems in JWK Sets that break verifiers.

    Lints the site of a commit, a file or a URL, and names the verifiers that each problem breaks.
    A URL is that of a JWK Set, an issuer, or a discovery document, whose keys are linted too. Files and URLs need no
    vault. Exits with 5 on errors and warnings. Notes are about the verifiers that --for names.

    \b
    Examples:
      keyvault lint
      keyvault lint --for aws --for kubernetes
      keyvault lint https://keys.example.com
      keyvault lint jwks.json --json
    """
    from keyvault.core.lint.consumers import find_consumers
    from keyvault.core.lint.documents import BODY_MAX
    from keyvault.core.lint.rules import LEVELS
    from keyvault.errors import LintError, UsageError
    from keyvault.operations import lint as operations

    named = find_consumers(consumers or [])
    if target is not None and ref is not None:
        raise UsageError(
            "a URL or file and --ref exclude each other", code="option-conflict", hint="keyvault lint --ref REV"
        )
    if target is None:
        try:
            with settings.open() as opened:
                context = opened
        except GitError as error:
            raise KeyVaultError(error.message, code=error.code, hint="name a URL or a file") from None
        report = operations.lint_commit(context, context.repository.head(ref or "HEAD"), named)
    elif target == "-":
        report = operations.lint_bytes(sys.stdin.buffer.read(BODY_MAX + 1), named, name="stdin")
    elif target.lower().startswith(("https://", "http://")):
        report = operations.lint_url(target, named)
    else:
        report = operations.lint_file(Path(target), named)
    if not settings.quiet:
        _report_to_actions(report)
    if as_json:
        emit_json(
            {
                "target": report.target,
                "documents": [
                    {
                        "name": document.name,
                        "kind": document.kind,
                        "octets": document.octets,
                        "keys": document.keys,
                    }
                    for document in report.documents
                ],
                "findings": [
                    {
                        "code": finding.code,
                        "level": finding.level,
                        "message": finding.message,
                        "document": finding.document,
                        "where": finding.where,
                        "hurts": finding.hurts,
                    }
                    for finding in report.findings
                ],
            }
        )
    elif settings.quiet:
        for code in dict.fromkeys(finding.code for finding in report.findings):
            say(code)
    else:
        _show(report)
    counts = Counter(finding.level for finding in report.findings)
    if counts["error"] or counts["warning"]:
        counted = ", ".join(
            f"{counts[level]} {level}{'' if counts[level] == 1 else 's'}" for level in LEVELS if counts[level]
        )
        where = report.target if target is not None else f"the site of commit {report.target[:12]}"
        raise LintError(f"{counted} in {where}", code="lint-failed", hint="docs/lint.md explains each code")


def _report_to_actions(report: "LintResult") -> None:
    from keyvault.core.lint.rules import LEVELS

    findings = sorted(report.findings, key=lambda finding: LEVELS.index(finding.level))
    serious = [finding for finding in findings if finding.level != "note"]
    github_actions.summarize(
        "Problems that break verifiers",
        ("level", "code", "document", "where", "message", "hurts"),
        [
            (
                finding.level,
                finding.code,
                finding.document,
                finding.where,
                finding.message,
                ", ".join(finding.hurts),
            )
            for finding in findings
        ],
        empty="None.",
    )
    for finding in serious[: github_actions.ANNOTATIONS_MAX]:
        level: github_actions.Level = "error" if finding.level == "error" else "warning"
        github_actions.annotate(level, f"{finding.document} {finding.where}: {finding.message}", title=finding.code)
    github_actions.output(findings=len(serious))


def _show(report: "LintResult") -> None:
    """Print the findings of each document, of each code only the first `SHOWN_MAX`."""
    from keyvault.core.lint.rules import LEVELS

    # A discovery document may name itself as its JWK Set, and then appears twice.
    for name in dict.fromkeys(document.name for document in report.documents):
        findings = [finding for finding in report.findings if finding.document == name]
        findings.sort(key=lambda finding: LEVELS.index(finding.level))
        shown: Counter[str] = Counter()
        rows = []
        for finding in findings:
            shown[finding.code] += 1
            if shown[finding.code] <= SHOWN_MAX:
                left = len(finding.hurts) - VERIFIERS_MAX
                more = f", and {left} more" if left > 0 else ""
                hurts = f" (hurts {', '.join(finding.hurts[:VERIFIERS_MAX])}{more})" if finding.hurts else ""
                rows.append((finding.level, finding.code, finding.where, finding.message + hurts))
        if rows:
            say(name)
            columns(rows, indent="  ")
        for code, count in shown.items():
            if count > SHOWN_MAX:
                note(f"{code}: and {count - SHOWN_MAX} more; --json prints all")
    if not any(finding.level != "note" for finding in report.findings):
        count = len(report.documents)
        note(f"checked {count} document{'' if count == 1 else 's'}: nothing breaks verifiers")
