"""The commands init, status and demo."""

import os
import shutil
import sys
from pathlib import Path
from typing import Annotated

import typer

from keyvault.cli.global_options import ask_passphrase, settings
from keyvault.cli.options import JSON, SetNames, parse_duration_option
from keyvault.cli.output import emit_json, note, say
from keyvault.core.text import quoted


def register(app: typer.Typer) -> None:
    """Add the commands to *app*."""
    app.command("init")(init)
    app.command("status")(status)
    app.command("demo")(demo)


def init(
    folder: Annotated[Path, typer.Argument(metavar="[DIR]", help="Folder for the vault.")] = Path(),
    url: Annotated[
        str, typer.Option("--url", metavar="URL", help="URL at which the site will be served; required.")
    ] = "",
    issuer: Annotated[
        str | None, typer.Option("--issuer", metavar="ISS", help="Claim iss of tokens; default is the url.")
    ] = None,
    sets: Annotated[
        list[str] | None,
        typer.Option(
            "--set", metavar="NAME:ALG[:FORM]", help="A set to create instead of the default two. Repeatable."
        ),
    ] = None,
    recipients: Annotated[
        list[Path] | None,
        typer.Option(
            "--recipient", metavar="FILE", help="Seal keys to this public JWK instead of a new identity. Repeatable."
        ),
    ] = None,
    passphrase: Annotated[
        bool,
        typer.Option(
            "--passphrase",
            help="Store the identity in the vault, encrypted: the passphrase is in KEYVAULT_PASSPHRASE, or asked for.",
        ),
    ] = False,
    title: Annotated[str | None, typer.Option("--title", metavar="TEXT", help="Headline of the site.")] = None,
    confirm: Annotated[
        str,
        typer.Option(
            "--confirm",
            metavar="live|commit",
            help="Proof that a key is published: it was seen live, or it is committed.",
        ),
    ] = "live",
    ci: Annotated[
        str,
        typer.Option(
            "--ci", metavar="github|gitlab|none", help="Write CI files that rotate, publish and check on a schedule."
        ),
    ] = "none",
    tool: Annotated[
        str | None,
        typer.Option(
            "--tool", metavar="REQUIREMENT", help="Requirement that CI installs; default is the running version."
        ),
    ] = None,
    as_json: JSON = False,
) -> None:
    """
    Create a vault: policy, identity, two sets, first commit.

    Each set has an active and a next key.

    \b
    Examples:
      keyvault init my-keys --url https://keys.example.com
      keyvault init --url https://keys.example.com --set id-token:ES256 --set logs:EdDSA
      keyvault init my-keys --url https://keys.example.com --issuer https://auth.example.org
      keyvault init my-keys --url https://acme.github.io/my-keys --ci github
      keyvault init my-keys --url https://keys.example.com --ci gitlab
      keyvault init app/keys --url https://keys.example.com --ci github
      KEYVAULT_PASSPHRASE=… keyvault init my-keys --url https://keys.example.com --passphrase
    """
    from keyvault.errors import UsageError
    from keyvault.operations import setup
    from keyvault.operations.new_vault import NewVault, parse_sets
    from keyvault.operations.recipients import read_recipient
    from keyvault.operations.scaffold import ci_files

    if not url:
        raise UsageError(
            "init needs the URL at which the site will be served",
            code="option-missing",
            hint="--url https://keys.example.com",
        )
    if confirm not in ("live", "commit"):
        raise UsageError(
            f"unknown value {quoted(confirm, 40)} of --confirm", code="option-invalid", hint="one of live, commit"
        )
    secret = None
    if passphrase:
        secret = os.environ.get("KEYVAULT_PASSPHRASE") or ask_passphrase("passphrase for the new identity: ")
        if not secret:
            raise UsageError(
                "--passphrase needs a passphrase", code="passphrase-missing", hint="set KEYVAULT_PASSPHRASE"
            )
    if not folder.is_absolute():
        folder = settings.vault / folder
    created = setup.init(
        folder,
        settings.now,
        os.environ,
        NewVault(
            url,
            parse_sets(sets or []),
            title=title,
            recipients=[read_recipient(path) for path in recipients or []],
            passphrase=secret,
            confirm=confirm,
            issuer=issuer,
            ci=ci_files(ci, tool=tool),
        ),
    )
    if as_json:
        identity = str(created.identity) if created.identity else None
        emit_json(
            {
                "folder": str(created.folder),
                "commit": created.commit,
                "sets": [name for name, _ in created.sets],
                "recipients": created.recipients,
                "identity": identity,
                "ci": created.ci,
                "ci_kept": created.ci_kept,
            }
        )
        return
    if settings.quiet:
        say(created.commit)
        return
    from keyvault.core.lint.transport import discovery_type_warning
    from keyvault.core.places import WELL_KNOWN, path_of_issuer

    say(f"created a vault in {created.folder}, commit {created.commit[:12]}")
    for name, spec in created.sets:
        say(f"  {name}  {spec}  one active and one next key")
    if created.identity:
        say(f"identity {created.recipients[0]} is in {created.identity}")
        say("  it opens every private key: back it up, and give it to signers only")
    if created.ci:
        say(f"wrote {len(created.ci)} CI files: {', '.join(created.ci)}")
    if created.ci_kept:
        say(f"kept existing files: {', '.join(created.ci_kept)}")
        if created.ci_folder:
            say(f"  if these are workflows of keyvault, set their variable KEYVAULT_DIR to {created.ci_folder}")
    if url.endswith("/") and issuer is None:
        plain = url.rstrip("/")
        say(f"the site's url, and so the issuer, is {plain}, without a trailing slash")
        say(f'  if iss of your tokens ends in a slash, set issuer = "{url}" below [site] in keyvault.toml')
    say("next:")
    if folder.resolve() != Path.cwd():
        say(f"  cd {folder}")
    say("  keyvault status               shows sets, keys and the next transitions")
    say("  keyvault serve                serves a preview of the site")
    if ci == "none":
        say("  keyvault publish DEST         publishes the site to a folder, s3://… or branch:NAME")
        say("  keyvault rotate --due --push  makes due changes; run it on a schedule")
    elif ci == "github":
        say("  git push, then choose GitHub Actions as the source of Pages (docs/publish/github-pages.md)")
    else:
        say("  git push, then let job tokens push and add a schedule (docs/publish/gitlab.md)")
    say("  keyvault merge-driver --install  lets git merge keys; run it once in each clone that merges")
    site = url.rstrip("/")
    if issuer is not None and path_of_issuer(site, issuer) is None:
        note(f"the issuer is not on the site, so no discovery document is rendered: give verifiers {site}{WELL_KNOWN}")
    elif warning := discovery_type_warning(url):
        note(warning)


def status(
    names: SetNames = None,
    check: Annotated[bool, typer.Option("--check", help="Exit with 4 if something is overdue or damaged.")] = False,
    grace: Annotated[
        str, typer.Option("--grace", metavar="DURATION", help="Grace period before a transition counts as overdue.")
    ] = "2d",
    as_json: JSON = False,
) -> None:
    """
    Show sets, keys, states and the next transitions.

    \b
    Examples:
      keyvault status
      keyvault status id-token --json
      keyvault status --check --grace 1d
    """
    from keyvault.cli.show import show_status
    from keyvault.operations.reports import status_report

    grace_period = parse_duration_option("--grace", grace)
    with settings.open() as context:
        state = context.repository.read_with_damage(context.repository.head(), envelopes=False)
        report = status_report(state, settings.now, names=names, grace=grace_period)
        settings.warn_uncommitted(context, state.commit)
    if as_json:
        emit_json(report)
    else:
        show_status(report, now=settings.now, quiet=settings.quiet)
    if check and (report.overdue or report.damage):
        raise typer.Exit(4)


def demo(
    folder: Annotated[Path, typer.Argument(metavar="[DIR]", help="Folder for the demo.")] = Path("keyvault-demo"),
    replace: Annotated[bool, typer.Option("--replace", help="Replace an existing demo.")] = False,
) -> None:
    """
    Create an example vault with two years of history.

    Its site is rendered too. Explore both before you create a vault of your own.

    \b
    Examples:
      keyvault demo
      keyvault demo /tmp/demo --replace
    """
    from keyvault.cli import output
    from keyvault.operations.demo import make_demo

    note("running two years of rotations under a simulated clock; this takes a moment")
    with output.progress(quiet=settings.quiet) as report:
        created = make_demo(folder, settings.now, os.environ, replace=replace, progress=report)
    if settings.quiet:
        say(created.commit)
        return
    say(f"vault   {created.vault}")
    keys = f"{created.keys} keys in {created.sets} sets"
    say(f"        {created.commits} commits, {keys}, rendered into {created.files} files")
    say(f"site    {created.site / 'index.html'}")
    # After `make demo` the program is not on the PATH, but the printed commands must work.
    program = "keyvault" if shutil.which("keyvault") else sys.argv[0]
    say("explore:")
    say(f"  {program} --vault {created.vault} serve     then open the address that it prints")
    say(f"  {program} --vault {created.vault} status    shows sets, keys and the next transitions")
    say(f"  git -C {created.vault} log --oneline")
    say("sign:")
    say(f"  {program} --vault {created.vault} --identity {created.identity} token sign id-token --claim sub=alice")
