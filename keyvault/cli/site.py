"""render, serve."""

from pathlib import Path
from typing import Annotated

import typer

from keyvault.cli.output import emit_json, note, say
from keyvault.cli.state import settings

JSON = Annotated[bool, typer.Option("--json", help="Print JSON.")]


def register(app: typer.Typer) -> None:
    """Add the commands to *app*."""
    app.command("render")(render)
    app.command("serve")(serve)


def render(
    output: Annotated[
        Path | None, typer.Option("--output", "-o", metavar="DIR", help="Where to; default is public/ in the vault.")
    ] = None,
    ref: Annotated[str, typer.Option("--ref", metavar="REV", help="The commit to render.")] = "HEAD",
    worktree: Annotated[
        bool, typer.Option("--worktree", help="Take templates from the work tree, to try them out.")
    ] = False,
    as_json: JSON = False,
) -> None:
    """
    Render the site of a commit. The same commit gives the same bytes, on any machine.

    \b
    Examples:
      keyvault render
      keyvault render -o /srv/www --ref v1.2
    """
    from keyvault.operations import site

    with settings.open() as context:
        target = output if output is not None else context.repository.folder / "public"
        state, written = site.render(context, target, revision=ref, worktree=worktree)
    if as_json:
        emit_json({"commit": state.commit, "folder": str(target), "files": written.files, "changed": written.changed})
    elif settings.quiet:
        say(state.commit)
    else:
        kept = "" if written.changed == written.files else f", {written.changed} changed"
        say(f"rendered commit {state.commit[:12]} into {target}: {written.files} files{kept}")


def serve(
    port: Annotated[int, typer.Option("--port", min=0, max=65535, help="Where to listen; 0 takes a free one.")] = 8000,
) -> None:
    """
    Serve a preview on this machine, with the headers of a real host; renders again on change.

    \b
    Examples:
      keyvault serve
      keyvault serve --port 0
    """
    from keyvault.errors import KeyVaultError
    from keyvault.operations import site

    def failed(error: Exception) -> None:
        message = error.message if isinstance(error, KeyVaultError) else type(error).__name__
        note(f"not rendered, the last good site is served: {message}")

    def ready(address: str) -> None:
        print(f"serving {address}", flush=True)

    with settings.open() as context:
        try:
            site.serve(
                context,
                port=port,
                on_ready=ready,
                on_render=lambda commit: note(f"rendered commit {commit[:12]}"),
                on_error=failed,
            )
        except KeyboardInterrupt:
            note("stopped")
