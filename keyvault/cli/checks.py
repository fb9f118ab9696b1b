"""guard."""

import os
from pathlib import Path
from typing import Annotated

import typer

from keyvault.cli import output
from keyvault.cli.output import columns, emit_json, note, say
from keyvault.cli.state import settings


def register(app: typer.Typer) -> None:
    """Add the commands to *app*."""
    app.command("guard")(guard)


def guard(
    paths: Annotated[list[Path] | None, typer.Argument(metavar="PATH", help="Files and folders to look at.")] = None,
    commits: Annotated[
        list[str] | None,
        typer.Option("--commits", metavar="REV", help="Look at what commits brought: origin/main..HEAD, or HEAD."),
    ] = None,
    exclude: Annotated[
        list[str] | None, typer.Option("--exclude", metavar="GLOB", help="Leave out such paths; may be given again.")
    ] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON.")] = False,
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
        with output.progress(quiet=settings.quiet) as told:
            look = operation.guard_commits(settings.vault, os.environ, commits, exclude=left_out, progress=told)
    else:
        look = operation.guard_staged(settings.vault, os.environ, exclude=left_out)
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
