"""check, diff, guard, lint."""

import os
import sys
from collections import Counter
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from keyvault.cli import github_actions, output
from keyvault.cli.global_options import JSON, settings
from keyvault.cli.output import columns, emit_json, note, say
from keyvault.core.text import printable
from keyvault.errors import GitError, KeyVaultError

if TYPE_CHECKING:
    from keyvault.operations.lint import Report

#: How many findings of one code are shown of a document, and how many of those whom one hurts.
SHOWN_MAX = 10
HURT_MAX = 4


def register(app: typer.Typer) -> None:
    """Add the commands to *app*."""
    app.command("check")(check)
    app.command("diff")(diff)
    app.command("guard")(guard)
    app.command("lint")(lint)


def check(
    url: Annotated[
        str | None, typer.Argument(metavar="[URL]", help="Where to look; default is the site's own url.")
    ] = None,
    ref: Annotated[str, typer.Option("--ref", metavar="REV", help="The commit to compare with.")] = "HEAD",
    wait: Annotated[
        str, typer.Option("--wait", metavar="DURATION", help="How long to look again while something differs.")
    ] = "0s",
    as_json: JSON = False,
) -> None:
    """
    Compare the live site with a commit: keys, headers, discovery, certificate, and what is overdue.

    Exits with 4 when something differs. A warning is of what the host decides and no publishing mends: exit code 0.

    \b
    Examples:
      keyvault check
      keyvault check --wait 10m
      keyvault check https://keys.example.com/tenants/a --json
    """
    from keyvault.core.text import parse_duration
    from keyvault.errors import DriftError, UsageError
    from keyvault.operations import check as operation

    try:
        patience = parse_duration(wait)
    except ValueError as error:
        raise UsageError(f"--wait: {error}") from None

    def waiting(seen: operation.Checked, pause: float) -> None:
        one = seen.errors[0]
        more = f", and {len(seen.errors) - 1} more" if len(seen.errors) > 1 else ""
        note(f"{one.code}: {one.url or ''} {one.message}{more}; looking again in {pause:.0f} s")

    with settings.open() as context:
        seen = operation.check(
            context,
            context.repository.head(ref),
            url,
            wait=patience,
            on_wait=(lambda *_: None) if settings.quiet else waiting,
        )
    if not settings.quiet:
        github_actions.summarize(
            f"Live site: {seen.url}",
            ("code", "where", "what"),
            [(one.code, one.url or "the vault", one.message) for one in seen.findings],
            otherwise=f"Nothing differs from commit {seen.commit[:12]}.",
        )
        for one in seen.findings[: github_actions.ANNOTATIONS_MAX]:
            github_actions.annotate(one.level, f"{one.url or 'the vault'}: {one.message}", title=one.code)
        github_actions.output(findings=len(seen.errors))
    if as_json:
        emit_json(
            {
                "commit": seen.commit,
                "live": seen.live,
                "url": seen.url,
                "documents": seen.documents,
                "findings": [
                    {"code": one.code, "level": one.level, "message": one.message, "url": one.url, "kid": one.kid}
                    for one in seen.findings
                ],
            }
        )
    elif settings.quiet:
        for code in dict.fromkeys(one.code for one in seen.findings):
            say(code)
    else:
        rows = [(one.level, one.code, one.url or "the vault", one.message) for one in seen.findings]
        columns([row[1:] for row in rows] if len(rows) == len(seen.errors) else rows)
        if not seen.errors:
            say(f"{seen.url} serves commit {seen.commit[:12]}: {seen.documents} documents compared, nothing differs")
    if seen.errors:
        count = len(seen.errors)
        raise DriftError(
            f"{seen.url} differs from commit {seen.commit[:12]}: {count} {'finding' if count == 1 else 'findings'}",
            hint="docs/check.md says what each means, and what to do",
        )


def diff(
    base: Annotated[str, typer.Argument(metavar="BASE", help="The commit to compare with.")],
    head: Annotated[str, typer.Argument(metavar="[HEAD]", help="The commit that changes it.")] = "HEAD",
    as_json: JSON = False,
) -> None:
    """
    Show what a commit changes in the published JWK Sets against another one: for reviews.

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
        (f"{one.set} {one.name}" if one.set else one.name, f"{one.before or 'none'} → {one.after or 'none'}")
        for one in found.settings
    ]
    if not settings.quiet:
        github_actions.summarize(
            "Published keys: what changes", ("", "set", "key", "alg", "state"), rows, otherwise="No key changes."
        )
        if changed:
            github_actions.summarize("Published settings: what changes", ("setting", "change"), changed, otherwise="")
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
        note(f"{found.head[:12]} publishes what {(found.base or '')[:12]} does")


def guard(
    paths: Annotated[list[Path] | None, typer.Argument(metavar="PATH", help="Files and folders to look at.")] = None,
    commits: Annotated[
        list[str] | None,
        typer.Option("--commits", metavar="REV", help="Look at what commits brought: origin/main..HEAD, or HEAD."),
    ] = None,
    exclude: Annotated[
        list[str] | None, typer.Option("--exclude", metavar="GLOB", help="Leave out such paths; may be given again.")
    ] = None,
    as_json: JSON = False,
) -> None:
    """
    Refuse private keys in the clear: in what is staged, in commits, in files and folders.

    Finds private JWKs, PEM, DER, age identities, also in YAML, escaped or in Base64; what is encrypted passes.
    Works in every repository, with or without a vault. Exits with 5 when it finds one.

    \b
    Examples:
      keyvault guard
      keyvault guard public
      keyvault guard --commits origin/main..HEAD --exclude 'tests/data/*'
    """
    from keyvault.errors import ExposedError, UsageError
    from keyvault.operations import guard as operation

    left_out = exclude or []
    if paths and commits:
        raise UsageError("PATH and --commits exclude each other")
    if paths:
        look = operation.guard_paths(paths, exclude=left_out)
    elif commits:
        with output.progress(quiet=settings.quiet) as report:
            look = operation.guard_commits(settings.vault, os.environ, commits, exclude=left_out, progress=report)
    else:
        look = operation.guard_staged(settings.vault, os.environ, exclude=left_out)
    if not settings.quiet:
        github_actions.summarize(
            "Private keys in the clear",
            ("path", "what", "blob"),
            [(one.path, one.what, one.blob[:12]) for one in look.findings],
            otherwise=f"None in {look.files} files.",
        )
        for found in look.findings[: github_actions.ANNOTATIONS_MAX]:
            github_actions.annotate("error", found.what, title="a private key in the clear", file=found.path)
        github_actions.output(findings=len(look.findings))
    if as_json:
        emit_json(
            {
                "files": look.files,
                "findings": [{"path": one.path, "what": one.what, "blob": one.blob} for one in look.findings],
            }
        )
    elif settings.quiet:
        for one in look.findings:
            say(one.path)
    elif look.findings:
        columns([(one.path, one.what, one.blob[:12]) for one in look.findings])
    else:
        note(f"{look.files} files looked at, no private key in the clear")
    if look.findings:
        places = len({one.path for one in look.findings})
        raise ExposedError(
            f"private keys stand in the clear in {places} {'file' if places == 1 else 'files'}",
            hint="take them out of the commit; one that was pushed is known to others: revoke it",
        )


def lint(
    target: Annotated[
        str | None,
        typer.Argument(metavar="[URL|FILE]", help="A JWK Set, discovery document or issuer; - is stdin."),
    ] = None,
    ref: Annotated[
        str | None, typer.Option("--ref", metavar="REV", help="The commit to look at; default is HEAD.")
    ] = None,
    consumers: Annotated[
        list[str] | None,
        typer.Option("--for", metavar="NAME", help="Whom it is for: aws, gcp, pyjwt, …; may be given again."),
    ] = None,
    as_json: JSON = False,
) -> None:
    """
    Say what breaks verifiers, and which: in what a commit would publish, in a file, or at a URL.

    A URL may be that of a JWK Set, of a discovery document, whose keys are then looked at too, or an issuer. A file
    or a URL needs no vault. Exits with 5 on errors and warnings; notes are for those whom --for names.

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
    from keyvault.operations import lint as operation

    named = find_consumers(consumers or [])
    if target is not None and ref is not None:
        raise UsageError("a URL or file and --ref exclude each other")
    if target is None:
        try:
            with settings.open() as opened:
                context = opened
        except GitError as error:
            raise KeyVaultError(error.message, hint="name a URL or a file") from None
        report = operation.lint_commit(context, context.repository.head(ref or "HEAD"), named)
    elif target == "-":
        report = operation.lint_bytes(sys.stdin.buffer.read(BODY_MAX + 1), named, name="stdin")
    elif target.lower().startswith(("https://", "http://")):
        report = operation.lint_url(target, named)
    else:
        report = operation.lint_file(Path(target), named)
    if not settings.quiet:
        _tell_actions(report)
    if as_json:
        emit_json(
            {
                "target": report.target,
                "documents": [
                    {"name": one.name, "kind": one.kind, "octets": one.octets, "keys": one.keys}
                    for one in report.documents
                ],
                "findings": [
                    {
                        "code": one.code,
                        "level": one.level,
                        "message": one.message,
                        "document": one.document,
                        "where": one.where,
                        "hurts": one.hurts,
                    }
                    for one in report.findings
                ],
            }
        )
    elif settings.quiet:
        for code in dict.fromkeys(one.code for one in report.findings):
            say(code)
    else:
        _show(report)
    counts = Counter(one.level for one in report.findings)
    if counts["error"] or counts["warning"]:
        counted = ", ".join(
            f"{counts[level]} {level}{'' if counts[level] == 1 else 's'}" for level in LEVELS if counts[level]
        )
        where = report.target if target is not None else f"what commit {report.target[:12]} would publish"
        raise LintError(f"{counted} in {where}", hint="docs/lint.md says what to do about each code")


def _tell_actions(report: "Report") -> None:
    from keyvault.core.lint.rules import LEVELS

    found = sorted(report.findings, key=lambda one: LEVELS.index(one.level))
    serious = [one for one in found if one.level != "note"]
    github_actions.summarize(
        "What breaks verifiers",
        ("level", "code", "document", "where", "what", "hurts"),
        [(one.level, one.code, one.document, one.where, one.message, ", ".join(one.hurts)) for one in found],
        otherwise="Nothing.",
    )
    for one in serious[: github_actions.ANNOTATIONS_MAX]:
        level: github_actions.Level = "error" if one.level == "error" else "warning"
        github_actions.annotate(level, f"{one.document} {one.where}: {one.message}", title=one.code)
    github_actions.output(findings=len(serious))


def _show(report: "Report") -> None:
    """Write what was found, by document; of one code only the first findings."""
    from keyvault.core.lint.rules import LEVELS

    # A discovery document may name itself as its keys.
    for name in dict.fromkeys(document.name for document in report.documents):
        found = [one for one in report.findings if one.document == name]
        found.sort(key=lambda one: LEVELS.index(one.level))
        shown: Counter[str] = Counter()
        rows = []
        for one in found:
            shown[one.code] += 1
            if shown[one.code] <= SHOWN_MAX:
                more = f", and {len(one.hurts) - HURT_MAX} more" if len(one.hurts) > HURT_MAX else ""
                hurts = f" (hurts {', '.join(one.hurts[:HURT_MAX])}{more})" if one.hurts else ""
                rows.append((one.level, one.code, one.where, one.message + hurts))
        if rows:
            say(name)
            columns(rows, indent="  ")
        for code, count in shown.items():
            if count > SHOWN_MAX:
                note(f"{code}: and {count - SHOWN_MAX} more; --json has them all")
    if not any(one.level != "note" for one in report.findings):
        count = len(report.documents)
        note(f"{count} document{'' if count == 1 else 's'} looked at, nothing breaks verifiers")
