"""render, serve, publish."""

from pathlib import Path
from typing import Annotated

import typer

from keyvault.cli.global_options import JSON, settings
from keyvault.cli.output import columns, emit_json, note, notes, say
from keyvault.core.text import elided


def register(app: typer.Typer) -> None:
    """Add the commands to *app*."""
    app.command("render")(render)
    app.command("serve")(serve)
    app.command("publish")(publish)


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
    from keyvault.operations.render import render as render_site

    with settings.open() as context:
        target = output if output is not None else context.repository.folder / "public"
        commit = context.repository.head(ref)
        written = render_site(context, commit, target, worktree=worktree)
    if as_json:
        emit_json({"commit": commit, "folder": str(target), "files": written.files, "changed": written.changed})
    elif settings.quiet:
        say(commit)
    else:
        kept = "" if written.changed == written.files else f", {written.changed} changed"
        say(f"rendered commit {commit[:12]} into {elided(str(target))}: {written.files} files{kept}")


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
    from keyvault.operations.serve import serve as serve_site

    def failed(error: Exception) -> None:
        message = error.message if isinstance(error, KeyVaultError) else type(error).__name__
        note(f"not rendered, the last good site is served: {message}")

    def ready(address: str) -> None:
        print(f"serving {address}", flush=True)

    with settings.open() as context:
        try:
            serve_site(
                context,
                port=port,
                on_ready=ready,
                on_render=lambda commit: note(f"rendered commit {commit[:12]}"),
                on_error=failed,
            )
        except KeyboardInterrupt:
            note("stopped")


def publish(
    destination: Annotated[
        str, typer.Argument(metavar="DEST", help="DIR, s3://BUCKET, gs://BUCKET, az://CONTAINER or branch:NAME.")
    ],
    ref: Annotated[str, typer.Option("--ref", metavar="REV", help="The commit to publish.")] = "HEAD",
    dry_run: Annotated[bool, typer.Option("--dry-run", help="List what would be done, do nothing.")] = False,
    force: Annotated[
        bool, typer.Option("--force", help="Publish even if the live commit is newer or the audit fails.")
    ] = False,
    keep: Annotated[
        list[str] | None,
        typer.Option("--keep", metavar="GLOB", help="Keep matching files that are not part of the site. Repeatable."),
    ] = None,
    audited: Annotated[
        str | None,
        typer.Option("--audited", metavar="REV", help="A trusted commit: only what came after is audited."),
    ] = None,
    invalidate: Annotated[
        list[str] | None,
        typer.Option(
            "--invalidate",
            metavar="CACHE",
            envvar="KEYVAULT_INVALIDATE",
            help="Purge changed documents from cloudfront:ID or cloudflare:ZONE. Repeatable.",
        ),
    ] = None,
    as_json: JSON = False,
) -> None:
    """
    Publish the site of a commit to a folder, an object store, or a branch.

    Uploads what differs, by content, and deletes what is not of the site. Refuses to go back behind the commit
    that is live. Object stores may have a prefix (s3://BUCKET/PREFIX); their credentials come from the environment.

    \b
    Examples:
      keyvault publish s3://keys-example-com --dry-run
      keyvault publish branch:gh-pages
      keyvault publish /srv/www --keep google1234.html
      keyvault publish s3://keys-example-com --invalidate cloudfront:E1EXAMPLE
    """
    from keyvault.operations.publish import publish as operation

    with settings.open() as context:
        done = operation(
            context,
            context.repository.head(ref),
            destination,
            dry_run=dry_run,
            force=force,
            keep=keep or [],
            audited=audited,
            invalidate=invalidate or [],
        )
    notes([f"{elided(folder)}/ is a site of its own: it stays" for folder in done.sites_below], "warning")
    if done.site_above is not None:
        note(f"warning: this place lies in another site, at {elided(done.site_above)}, which leaves it alone")
    if as_json:
        emit_json(
            {
                "commit": done.commit,
                "previous": done.previous,
                "destination": destination,
                "dry_run": dry_run,
                "files": done.files,
                "uploaded": done.uploaded,
                "deleted": done.deleted,
                "sites_below": list(done.sites_below),
                "site_above": done.site_above,
                "purged": done.purged,
            }
        )
    elif settings.quiet:
        say(done.commit)
    else:
        if dry_run:
            rows = {"upload": done.uploaded, "delete": done.deleted, "purge": done.purged}
            columns([(verb, path) for verb, paths in rows.items() for path in paths])
        counts = f"{done.files} files, {len(done.uploaded)} uploaded, {len(done.deleted)} deleted"
        if dry_run:
            counts = f"{done.files} files, {len(done.uploaded)} to upload, {len(done.deleted)} to delete"
        if done.purged:
            counts += f", {len(done.purged)} {'to purge' if dry_run else 'purged'}"
        verb = "would publish" if dry_run else "published"
        say(f"{verb} commit {done.commit[:12]} to {elided(destination)}: {counts}")
