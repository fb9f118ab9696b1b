"""recipient and identity commands."""

import os
from pathlib import Path
from typing import Annotated

import typer

from keyvault.cli.global_options import JSON, ask_passphrase, settings
from keyvault.cli.lazy_commands import LateTyper
from keyvault.cli.output import columns, emit_json, note, say
from keyvault.cli.rotation import DryRun, Push
from keyvault.errors import KeyVaultError, UsageError

Kid = Annotated[str, typer.Argument(metavar="KID", help="The recipient.")]
File = Annotated[Path, typer.Argument(metavar="FILE", help="A public JWK, or an identity whose public half is taken.")]
Label = Annotated[str | None, typer.Option("--kid", metavar="KID", help="A label instead of the one in the file.")]

recipients = LateTyper(help="Recipients: who can open private keys.", no_args_is_help=True, rich_markup_mode=None)
identities = LateTyper(
    help="Identities: the private halves of recipients.", no_args_is_help=True, rich_markup_mode=None
)


def register(app: typer.Typer) -> None:
    """Add the commands to *app*."""
    app.add_typer(recipients, name="recipient")
    app.add_typer(identities, name="identity")


@recipients.command("list")
def list_recipients(as_json: JSON = False) -> None:
    """
    List whom private keys are sealed to.

    \b
    Examples:
      keyvault recipient list
    """
    from keyvault.core.text import printable
    from keyvault.operations.recipients import readable_by

    with settings.open() as context:
        state = context.state()
    if as_json:
        emit_json([state.recipients[kid] for kid in sorted(state.recipients)])
    elif settings.quiet:
        for kid in sorted(state.recipients):
            say(printable(kid))
    else:
        rows = []
        for kid in sorted(state.recipients):
            one = state.recipients[kid]
            count = sum(map(len, readable_by(state, kid).by_set.values()))
            rows.append([kid, one.alg, one.kty if one.kty == "RSA" else str(one.crv), f"opens {count} keys"])
        columns(rows)


@recipients.command("add")
def add_recipient(
    file: File, kid: Label = None, push: Push = False, dry_run: DryRun = False, as_json: JSON = False
) -> None:
    """
    Let somebody open every private key; all are re-sealed in one commit.

    \b
    Examples:
      keyvault recipient add alice.pub.json
      keyvault recipient add signer.pub.json --kid signer-2026 --push
    """
    from keyvault.cli.show import show_outcome
    from keyvault.operations import recipients

    with settings.open() as context:
        recipient = recipients.read_recipient(file, kid=kid)
        outcome = recipients.add_recipient(context, recipient, push=push, dry_run=dry_run)
    if not as_json and not settings.quiet:
        say(f"{'would add' if dry_run else 'added'} recipient {recipient.kid}")
    show_outcome(outcome, now=settings.now, dry_run=dry_run, as_json=as_json, quiet=settings.quiet)


@recipients.command("remove")
def remove_recipient(
    kid: Kid,
    rotate: Annotated[
        bool, typer.Option("--rotate", help="Replace the next keys that it could read, in the same commit.")
    ] = False,
    push: Push = False,
    dry_run: DryRun = False,
    as_json: JSON = False,
) -> None:
    """
    Take somebody off the list; all keys are re-sealed without them, in one commit.

    Says which keys they could read: those stay known to them. With --rotate their next keys are replaced at
    once; rotate to the new ones as soon as they are mature.

    \b
    Examples:
      keyvault recipient remove alice --rotate --push
    """
    from keyvault.cli.show import show_outcome
    from keyvault.core.text import printable
    from keyvault.operations import recipients

    with settings.open() as context:
        outcome, readable = recipients.remove_recipient(context, kid, rotate=rotate, push=push, dry_run=dry_run)
    if as_json or settings.quiet:
        show_outcome(outcome, now=settings.now, dry_run=dry_run, as_json=as_json, quiet=settings.quiet)
        return
    say(f"{'would remove' if dry_run else 'removed'} recipient {printable(kid)}")
    if readable.by_set:
        say("it could read, and may have kept:")
        columns([[name, *[" ".join(kids)]] for name, kids in readable.by_set.items()], indent="  ")
    show_outcome(outcome, now=settings.now, dry_run=dry_run, as_json=False, quiet=False)
    if readable.by_set and not rotate:
        note("hint: those keys are known to the leaver; recipient remove --rotate replaces the next ones in the same")
        note("hint: commit. Now:  keyvault rotate " + " ".join(readable.by_set) + "  twice, each when it is mature")
    elif readable.by_set:
        names = " ".join(readable.by_set)
        note(f"hint: the active keys sign on until the new next ones are mature; then: keyvault rotate {names}")


@recipients.command("replace")
def replace_recipient(
    kid: Kid, file: File, label: Label = None, push: Push = False, dry_run: DryRun = False, as_json: JSON = False
) -> None:
    """
    Put another public key in the place of a recipient; all keys are re-sealed in one commit.

    \b
    Examples:
      keyvault recipient replace ops-2025 ops-2026.pub.json
    """
    from keyvault.cli.show import show_outcome
    from keyvault.core.text import printable
    from keyvault.operations import recipients

    with settings.open() as context:
        recipient = recipients.read_recipient(file, kid=label)
        outcome = recipients.replace_recipient(context, kid, recipient, push=push, dry_run=dry_run)
    if outcome.files and not as_json and not settings.quiet:
        say(f"{'would replace' if dry_run else 'replaced'} recipient {printable(kid)} by {recipient.kid}")
    show_outcome(outcome, now=settings.now, dry_run=dry_run, as_json=as_json, quiet=settings.quiet)


@recipients.command("check")
def check_recipients(as_json: JSON = False) -> None:
    """
    Check that every private key is sealed to exactly the recipients, and opens.

    \b
    Examples:
      keyvault recipient check
    """
    from keyvault.operations import recipients

    with settings.open() as context:
        report = recipients.check_recipients(context)
    if as_json:
        emit_json({"keys": report.keys, "opened": report.opened, "problems": report.problems})
    else:
        opened = "no identity here to open them with" if report.opened is None else f"{report.opened} opened"
        say(f"{report.keys} sealed keys, {opened}")
    if report.problems:
        more = f" (and {len(report.problems) - 1} more)" if len(report.problems) > 1 else ""
        raise KeyVaultError(report.problems[0] + more, hint="git log -p keys.enc shows who changed it")


@identities.command("new")
def new_identity(
    kid: Annotated[str | None, typer.Option("--kid", metavar="KID", help="A label, such as ops-2026.")] = None,
    alg: Annotated[
        str, typer.Option("--alg", metavar="ALG", help="ECDH-ES+A256KW or RSA-OAEP-256.")
    ] = "ECDH-ES+A256KW",
    crv: Annotated[str | None, typer.Option("--crv", metavar="CRV", help="P-256 or X25519.")] = None,
    output: Annotated[Path | None, typer.Option("--output", "-o", metavar="FILE", help="A new file, 0600.")] = None,
    passphrase: Annotated[bool, typer.Option("--passphrase", help="Encrypt it under KEYVAULT_PASSPHRASE.")] = False,
    as_json: JSON = False,
) -> None:
    """
    Make an identity; prints its public half, which somebody adds to a vault.

    \b
    Examples:
      keyvault identity new --kid alice-2026 > alice.pub.json
      keyvault identity new --kid ci --passphrase -o ci.identity.json
    """
    from keyvault.errors import GitError
    from keyvault.operations import recipients
    from keyvault.repo.git import Git

    if alg not in ("ECDH-ES+A256KW", "RSA-OAEP-256") or crv not in (None, "P-256", "X25519"):
        raise UsageError("an identity has alg ECDH-ES+A256KW (crv P-256 or X25519) or RSA-OAEP-256")
    secret = None
    if passphrase:
        secret = os.environ.get("KEYVAULT_PASSPHRASE") or ask_passphrase(kid or "new")
        if not secret:
            raise UsageError("--passphrase needs a passphrase", hint="set KEYVAULT_PASSPHRASE")
    place = output.resolve() if output else Path.cwd()
    while not place.is_dir():  # folders that are missing will be made
        place = place.parent
    try:
        forbidden = Git.open(place, os.environ).root
    except GitError:
        forbidden = None
    recipient, path = recipients.create_identity(
        os.environ, kid=kid, alg=alg, crv=crv, output=output, passphrase=secret, forbidden=forbidden
    )
    note(f"identity {recipient.kid} is in {path}, readable by you alone; its public half is on stdout")
    if settings.quiet:
        say(recipient.kid)
    else:
        emit_json(recipient)


@identities.command("list")
def list_identities(as_json: JSON = False) -> None:
    """
    List the identities that can be reached here, in the order in which they are tried.

    \b
    Examples:
      keyvault identity list
    """
    with settings.open() as context:
        state = context.state()
        found = [
            {"kid": kid, "place": place, "encrypted": encrypted, "recipient": kid in state.recipients}
            for kid, place, encrypted in context.keyring.kids()
        ]
        places = [source.where for source in context.keyring.sources]
    if as_json:
        emit_json(found)
    elif settings.quiet:
        for one in found:
            say(str(one["kid"]))
    elif found:
        for one in found:
            marks = ("opens this vault" if one["recipient"] else "no recipient here") + (
                ", under a passphrase" if one["encrypted"] else ""
            )
            say(f"{one['kid']}  {marks}  {one['place']}")
    else:
        say("none; looked at " + "; ".join(places))
