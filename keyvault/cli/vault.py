"""init, status, demo."""

import os
import shutil
import sys
from pathlib import Path
from typing import Annotated

import typer

from keyvault.cli.global_options import JSON, ask_passphrase, complete_set, settings
from keyvault.cli.output import emit_json, note, say
from keyvault.core.text import quoted


def register(app: typer.Typer) -> None:
    """Add the commands to *app*."""
    app.command("init")(init)
    app.command("status")(status)
    app.command("demo")(demo)


def init(
    folder: Annotated[Path, typer.Argument(metavar="[DIR]", help="Where to make the vault.")] = Path(),
    url: Annotated[str, typer.Option("--url", metavar="URL", help="Where the site will be served.")] = "",
    issuer: Annotated[
        str | None, typer.Option("--issuer", metavar="ISS", help="What stands in iss; default is the url.")
    ] = None,
    sets: Annotated[
        list[str] | None,
        typer.Option("--set", metavar="NAME:ALG[:KID]", help="A set to make, instead of the default two."),
    ] = None,
    recipients: Annotated[
        list[Path] | None,
        typer.Option("--recipient", metavar="FILE", help="A public JWK to seal keys to, instead of a new identity."),
    ] = None,
    passphrase: Annotated[
        bool, typer.Option("--passphrase", help="Keep the identity in the vault, under KEYVAULT_PASSPHRASE.")
    ] = False,
    title: Annotated[str | None, typer.Option("--title", help="Headline of the site.")] = None,
    confirm: Annotated[
        str, typer.Option("--confirm", metavar="live|commit", help="What counts as proof of publication.")
    ] = "live",
    ci: Annotated[
        str, typer.Option("--ci", metavar="github|gitlab|none", help="Write workflows that rotate and publish.")
    ] = "none",
    tool: Annotated[
        str | None,
        typer.Option("--tool", metavar="REQUIREMENT", help="What CI installs; default is this very version."),
    ] = None,
    as_json: JSON = False,
) -> None:
    """
    Make a vault: policy, an identity, two sets with two keys each, and the first commit.

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
    from keyvault.operations.recipients import read_recipient
    from keyvault.operations.scaffold import ci_files

    if not url:
        raise UsageError("init needs the URL at which the site will be served", hint="--url https://keys.example.com")
    if confirm not in ("live", "commit"):
        raise UsageError(f"--confirm {quoted(confirm, 40)} is neither live nor commit")
    secret = None
    if passphrase:
        secret = os.environ.get("KEYVAULT_PASSPHRASE") or ask_passphrase("of the new vault")
        if not secret:
            raise UsageError("--passphrase needs a passphrase", hint="set KEYVAULT_PASSPHRASE")
    if not folder.is_absolute():
        folder = settings.vault / folder
    made = setup.init(
        folder,
        settings.now,
        os.environ,
        url=url,
        issuer=issuer,
        sets=setup.parse_sets(sets or []),
        title=title,
        recipients=[read_recipient(path) for path in recipients or []],
        passphrase=secret,
        confirm=confirm,
        ci=ci_files(ci, tool=tool),
    )
    if as_json:
        identity = str(made.identity) if made.identity else None
        emit_json(
            {
                "folder": str(made.folder),
                "commit": made.commit,
                "sets": [name for name, _ in made.sets],
                "recipients": made.recipients,
                "identity": identity,
                "ci": made.ci,
                "ci_kept": made.ci_kept,
            }
        )
        return
    if settings.quiet:
        say(made.commit)
        return
    from keyvault.core.lint.transport import pages_warning
    from keyvault.core.places import WELL_KNOWN, path_of_issuer

    say(f"made a vault in {made.folder}, commit {made.commit[:12]}")
    for name, spec in made.sets:
        say(f"  {name}  {spec}  one active and one next key")
    if made.identity:
        say(f"identity {made.recipients[0]} is in {made.identity}")
        say("  it opens every private key: back it up, and give it to signers only")
    step = "" if folder.resolve() == Path.cwd() else f"cd {folder} && "
    if made.ci:
        say(f"CI is set up by {len(made.ci)} files: {', '.join(made.ci)}")
    if made.ci_kept:
        say(f"not changed, since they exist: {', '.join(made.ci_kept)}")
        if made.ci_folder:
            say(f"  where these are workflows of keyvault, set the variable KEYVAULT_DIR to {made.ci_folder}")
    if url.endswith("/") and issuer is None:
        plain = url.rstrip("/")
        say(f"the site's url, and so the issuer, is {plain}, without the slash at its end")
        say(f'  where tokens carry the slash in iss: issuer = "{url}" below [site] in keyvault.toml')
    say("next:")
    say(f"  {step}keyvault status        what is there, and what comes when")
    say(f"  {step}keyvault serve         the site, as a preview")
    if ci == "none":
        say("  keyvault publish DEST         brings it to the URL above: a folder, s3://…, branch:NAME")
        say("  keyvault rotate --due --push  is what a schedule runs")
    elif ci == "github":
        say("  git push; as the source of Pages take GitHub Actions (docs/publish/github-pages.md)")
    else:
        say("  git push; let job tokens push, and make a schedule (docs/publish/gitlab.md)")
    say("  keyvault merge-driver --install  once in each clone that merges branches")
    site = url.rstrip("/")
    if issuer is not None and path_of_issuer(site, issuer) is None:
        note(
            f"no discovery document is rendered, since the issuer is not on the site: give verifiers {site}{WELL_KNOWN}"
        )
    elif warning := pages_warning(url):
        note(warning)


def status(
    names: Annotated[
        list[str] | None, typer.Argument(metavar="[SET]...", help="Only these sets.", autocompletion=complete_set)
    ] = None,
    check: Annotated[bool, typer.Option("--check", help="Exit with 4 if something is overdue or damaged.")] = False,
    grace: Annotated[
        str, typer.Option("--grace", metavar="DURATION", help="How late is not overdue: schedules are never exact.")
    ] = "2d",
    as_json: JSON = False,
) -> None:
    """
    Show sets, keys, states, and what comes next and when.

    \b
    Examples:
      keyvault status
      keyvault status id-token --json
      keyvault status --check --grace 1d
    """
    from keyvault.cli.show import show_status
    from keyvault.core.text import parse_duration
    from keyvault.errors import UsageError
    from keyvault.operations.reports import status_report

    try:
        allowed = parse_duration(grace)
    except ValueError as error:
        raise UsageError(f"--grace: {error}") from None
    with settings.open() as context:
        state = context.repository.look(context.repository.head(), envelopes=False)
        report = status_report(state, settings.now, names=names, grace=allowed)
        settings.warn_uncommitted(context, state.commit)
    if as_json:
        emit_json(report)
    else:
        show_status(report, now=settings.now, quiet=settings.quiet)
    if check and (report.overdue or report.damage):
        raise typer.Exit(4)


def demo(
    folder: Annotated[Path, typer.Argument(metavar="[DIR]", help="Where to make it.")] = Path("keyvault-demo"),
    replace: Annotated[bool, typer.Option("--replace", help="Replace a demo that was made before.")] = False,
) -> None:
    """
    Make a vault with two years of history, rendered: to look at before you make your own.

    \b
    Examples:
      keyvault demo
      keyvault demo /tmp/demo --replace
    """
    from keyvault.cli import output
    from keyvault.operations.demo import make_demo

    note("two years of rotations, made by the real code under a clock of its own; this takes a moment")
    with output.progress(quiet=settings.quiet) as report:
        made = make_demo(folder, settings.now, os.environ, replace=replace, progress=report)
    if settings.quiet:
        say(made.commit)
        return
    say(f"vault   {made.vault}")
    say(f"        {made.commits} commits, {made.keys} keys in {made.sets} sets, rendered into {made.files} files")
    say(f"site    {made.site / 'index.html'}")
    # From `make demo` the program is not on the PATH: what is printed must work when it is typed.
    program = "keyvault" if shutil.which("keyvault") else sys.argv[0]
    say("look:")
    say(f"  {program} --vault {made.vault} serve     then open the address that it prints")
    say(f"  {program} --vault {made.vault} status    what is there, and what comes when")
    say(f"  git -C {made.vault} log --oneline")
    say("sign:")
    say(f"  {program} --vault {made.vault} --identity {made.identity} token sign id-token --claim sub=alice")
