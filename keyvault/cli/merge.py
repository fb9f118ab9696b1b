"""The command merge-driver, which git calls to merge key records."""

import os
from pathlib import Path
from typing import Annotated

import typer

from keyvault.cli.global_options import settings
from keyvault.cli.options import JSON
from keyvault.cli.output import emit_json, note, say


def register(app: typer.Typer) -> None:
    """Add the command to *app*."""
    app.command("merge-driver")(merge_driver)


def merge_driver(
    files: Annotated[
        list[str] | None, typer.Argument(metavar="[BASE OURS THEIRS PATH]", help="Passed by git: %O %A %B %P.")
    ] = None,
    install: Annotated[
        bool, typer.Option("--install", help="Configure the driver and its hooks in this clone.")
    ] = False,
    check: Annotated[bool, typer.Option("--check", help="Check the staged merge, as the hooks do.")] = False,
    as_json: JSON = False,
) -> None:
    """
    Merge two versions of a key record, for git.

    Git calls this command for records that both sides of a merge changed. It joins the events of both sides in the
    order of their instants, or stops with a conflict. --install configures it in this clone, with hooks that refuse
    merges which leave a set with two next keys. .gitattributes names the driver, but a repository cannot name the
    program: run --install once in each clone that merges.

    \b
    Examples:
      keyvault merge-driver --install
    """
    from keyvault.errors import KeyVaultError, MergeError, UsageError
    from keyvault.operations import merge

    arguments = files or []
    if sum((bool(arguments), install, check)) != 1 or (arguments and len(arguments) != 4):
        raise UsageError(
            "expected BASE, OURS, THEIRS and PATH, as git passes them",
            code="option-conflict",
            hint="keyvault merge-driver --install configures git",
        )
    if install:
        installed = merge.install(settings.vault, os.environ)
        if as_json:
            hooks = [str(hook) for hook in installed.hooks]
            emit_json({"driver": installed.driver, "hook": hooks[0] if hooks else None, "hooks": hooks})
            return
        say(f"merge.{merge.DRIVER}.driver is {installed.driver}")
        for hook in installed.hooks:
            say(f"{hook} checks each merge")
        for name in installed.others:
            note(f"{name} hook exists already; add this line to it: keyvault merge-driver --check")
        return
    if check:
        merge.check_staged(settings.vault, os.environ)
        return
    base, ours, theirs = (Path(name) for name in arguments[:3])
    try:
        contents = [path.read_bytes() for path in (base, ours, theirs)]
    except OSError as error:
        raise UsageError(f"{error.filename} cannot be read: {error.strerror}", code="file-unreadable") from None
    try:
        merged = merge.merge_files(contents[0], contents[1], contents[2], arguments[3])
    except UsageError:
        raise
    except KeyVaultError as error:
        raise MergeError(error.message, code=error.code, hint=merge.REFUSED_HINT) from None
    ours.write_bytes(merged)
