"""The command that git calls when it merges records."""

import os
from pathlib import Path
from typing import Annotated

import typer

from keyvault.cli.global_options import JSON, settings
from keyvault.cli.output import emit_json, note, say


def register(app: typer.Typer) -> None:
    """Add the command to *app*."""
    app.command("merge-driver")(merge_driver)


def merge_driver(
    files: Annotated[
        list[str] | None, typer.Argument(metavar="[BASE OURS THEIRS PATH]", help="Given by git: %O %A %B %P.")
    ] = None,
    install: Annotated[bool, typer.Option("--install", help="Set it up in this clone.")] = False,
    check: Annotated[bool, typer.Option("--check", help="Check the merge that is staged, as a hook.")] = False,
    as_json: JSON = False,
) -> None:
    """
    Merge two versions of a key record for git, if the lifecycle allows it.

    Git calls it for records that both sides of a merge changed: what both sides did is joined in the order in which it
    happened, or the merge stops with a conflict. With --install it is set up in this clone, with hooks that refuse a
    merge which leaves a set two next keys. .gitattributes names the driver; a repository names no program by itself, so
    each clone that merges runs this once.

    \b
    Examples:
      keyvault merge-driver --install
    """
    from keyvault.errors import KeyVaultError, MergeError, UsageError
    from keyvault.operations import merge

    given = files or []
    if sum((bool(given), install, check)) != 1 or (given and len(given) != 4):
        raise UsageError("git gives BASE, OURS, THEIRS and PATH", hint="keyvault merge-driver --install sets it up")
    if install:
        done = merge.install(settings.vault, os.environ)
        if as_json:
            hooks = [str(hook) for hook in done.hooks]
            emit_json({"driver": done.driver, "hook": hooks[0] if hooks else None, "hooks": hooks})
            return
        say(f"merge.{merge.DRIVER}.driver is {done.driver}")
        for hook in done.hooks:
            say(f"{hook} checks each merge")
        for name in done.others:
            note(f"another {name} hook is there: add to it: keyvault merge-driver --check")
        return
    if check:
        merge.check_staged(settings.vault, os.environ)
        return
    base, ours, theirs = (Path(name) for name in given[:3])
    try:
        contents = [path.read_bytes() for path in (base, ours, theirs)]
    except OSError as error:
        raise UsageError(f"{error.filename} cannot be read: {error.strerror}") from None
    try:
        joined = merge.merge_files(contents[0], contents[1], contents[2], given[3])
    except UsageError:
        raise
    except KeyVaultError as error:
        raise MergeError(error.message, hint=merge.WAY_OUT) from None
    ours.write_bytes(joined)
