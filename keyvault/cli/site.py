"""The commands render, serve and publish."""

from pathlib import Path
from typing import Annotated

import typer

from keyvault.cli.global_options import settings
from keyvault.cli.options import JSON
from keyvault.cli.output import columns, emit_json, note, notes, say
from keyvault.core.text import elided


def register(app: typer.Typer) -> None:
    """Add the commands to *app*."""
    app.command("render")(render)
    app.command("serve")(serve)
    app.command("publish")(publish)


def render(
    output: Annotated[
        Path | None,
        typer.Option("--output", "-o", metavar="DIR", help="Folder to write to; default is public/ in the vault."),
    ] = None,
    ref: Annotated[str, typer.Option("--ref", metavar="REV", help="The commit to render.")] = "HEAD",
    worktree: Annotated[
        bool, typer.Option("--worktree", help="Use the templates of the working tree, to try them out.")
    ] = False,
    as_json: JSON = False,
) -> None:
    """
    Render the site of a commit. The same commit renders to the same bytes on every machine.

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
        changed = "" if written.changed == written.files else f", {written.changed} changed"
        say(f"rendered commit {commit[:12]} into {elided(str(target))}: {written.files} files{changed}")


def serve(
    port: Annotated[
        int, typer.Option("--port", metavar="PORT", min=0, max=65535, help="TCP port; 0 picks a free one.")
    ] = 8000,
) -> None:
    """
    Serve a preview of the site on 127.0.0.1.

    It has the headers of a real host, and is rendered again when the vault or a template changes.

    \b
    Examples:
      keyvault serve
      keyvault serve --port 0
    """
    from keyvault.errors import KeyVaultError
    from keyvault.operations.serve import serve as serve_site

    def note_failure(error: Exception) -> None:
        message = error.message if isinstance(error, KeyVaultError) else type(error).__name__
        note(f"not rendered, still serving the previous site: {message}")

    def print_address(address: str) -> None:
        print(f"serving {address}", flush=True)

    with settings.open() as context:
        try:
            serve_site(
                context,
                port=port,
                on_ready=print_address,
                on_render=lambda commit: note(f"rendered commit {commit[:12]}"),
                on_error=note_failure,
            )
        except KeyboardInterrupt:
            note("stopped")


def publish(
    destination: Annotated[
        str, typer.Argument(metavar="DEST", help="DIR, s3://BUCKET, gs://BUCKET, az://CONTAINER or branch:NAME.")
    ],
    ref: Annotated[str, typer.Option("--ref", metavar="REV", help="The commit to publish.")] = "HEAD",
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="Show the uploads and deletions, and change nothing.")
    ] = False,
    force: Annotated[
        bool, typer.Option("--force", help="Publish without the audit, and over a newer live commit.")
    ] = False,
    keep: Annotated[
        list[str] | None,
        typer.Option("--keep", metavar="GLOB", help="Keep matching files that are not part of the site. Repeatable."),
    ] = None,
    audited: Annotated[
        str | None,
        typer.Option("--audited", metavar="REV", help="A trusted commit: audit only what came after it."),
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
    Publish the site to a folder, an object store or a branch.

    Uploads the files whose content differs, and deletes files that are not part of the site. Refuses to replace a
    newer commit. An address may have a prefix (s3://BUCKET/PREFIX). Credentials come from the environment.

    \b
    Examples:
      keyvault publish s3://keys-example-com --dry-run
      keyvault publish branch:gh-pages
      keyvault publish /srv/www --keep google1234.html
      keyvault publish s3://keys-example-com --invalidate cloudfront:E1EXAMPLE
    """
    from keyvault.operations.publish import publish as operation

    with settings.open() as context:
        published = operation(
            context,
            context.repository.head(ref),
            destination,
            dry_run=dry_run,
            force=force,
            keep=keep or [],
            audited=audited,
            invalidate=invalidate or [],
        )
    notes([f"kept {elided(folder)}/, which is a site of its own" for folder in published.sites_below], "warning")
    if published.site_above is not None:
        note(f"warning: this destination lies inside the site at {elided(published.site_above)}, which keeps it")
    if as_json:
        emit_json(
            {
                "commit": published.commit,
                "previous": published.previous,
                "destination": destination,
                "dry_run": dry_run,
                "files": published.files,
                "uploaded": published.uploaded,
                "deleted": published.deleted,
                "sites_below": list(published.sites_below),
                "site_above": published.site_above,
                "purged": published.purged,
            }
        )
    elif settings.quiet:
        say(published.commit)
    else:
        if dry_run:
            rows = {"upload": published.uploaded, "delete": published.deleted, "purge": published.purged}
            columns([(verb, path) for verb, paths in rows.items() for path in paths])
        counts = f"{published.files} files, {len(published.uploaded)} uploaded, {len(published.deleted)} deleted"
        if dry_run:
            counts = f"{published.files} files, {len(published.uploaded)} to upload, {len(published.deleted)} to delete"
        if published.purged:
            counts += f", {len(published.purged)} {'to purge' if dry_run else 'purged'}"
        verb = "would publish" if dry_run else "published"
        say(f"{verb} commit {published.commit[:12]} to {elided(destination)}: {counts}")
