"""The commands recipient and identity."""

import os
from pathlib import Path
from typing import Annotated

import typer

from keyvault.cli.global_options import ask_passphrase, settings
from keyvault.cli.lazy_commands import LazyTyper
from keyvault.cli.options import JSON, DryRun, NewKid, Push
from keyvault.cli.output import columns, emit_json, note, say
from keyvault.errors import KeyVaultError, UsageError

RecipientKid = Annotated[str, typer.Argument(metavar="KID", help="The recipient, by its kid.")]
RecipientFile = Annotated[
    Path, typer.Argument(metavar="FILE", help="A public JWK, or an identity, of which only the public half is read.")
]

recipients = LazyTyper(
    help="Recipients: the public keys that private keys are sealed to.", no_args_is_help=True, rich_markup_mode=None
)
identities = LazyTyper(
    help="Identities: the private halves of recipients.", no_args_is_help=True, rich_markup_mode=None
)


def register(app: typer.Typer) -> None:
    """Add the commands to *app*."""
    app.add_typer(recipients, name="recipient")
    app.add_typer(identities, name="identity")


@recipients.command("list")
def list_recipients(as_json: JSON = False) -> None:
    """
    List the recipients of the private keys.

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
            recipient = state.recipients[kid]
            count = sum(map(len, readable_by(state, kid).by_set.values()))
            curve = recipient.kty if recipient.kty == "RSA" else str(recipient.crv)
            rows.append([kid, recipient.alg, curve, f"opens {count} keys"])
        columns(rows)


@recipients.command("add")
def add_recipient(
    file: RecipientFile, kid: NewKid = None, push: Push = False, dry_run: DryRun = False, as_json: JSON = False
) -> None:
    """
    Add a recipient, who can then open every private key. All keys are re-sealed in one commit.

    \b
    Examples:
      keyvault recipient add alice.pub.json
      keyvault recipient add signer.pub.json --kid signer-2026 --push
    """
    from keyvault.cli.show import show_outcome
    from keyvault.operations import recipients as operations

    with settings.open() as context:
        recipient = operations.read_recipient(file, kid=kid)
        outcome = operations.add_recipient(context, recipient, push=push, dry_run=dry_run)
    if not as_json and not settings.quiet:
        say(f"{'would add' if dry_run else 'added'} recipient {recipient.kid}")
    show_outcome(outcome, now=settings.now, dry_run=dry_run, as_json=as_json, quiet=settings.quiet)


@recipients.command("remove")
def remove_recipient(
    kid: RecipientKid,
    rotate: Annotated[
        bool, typer.Option("--rotate", help="Replace the next keys that the recipient could open, in the same commit.")
    ] = False,
    push: Push = False,
    dry_run: DryRun = False,
    as_json: JSON = False,
) -> None:
    """
    Remove a recipient. All keys are re-sealed without it, in one commit.

    Prints the keys that the recipient could open and may have kept. --rotate replaces the next keys among them at
    once: rotate to the new keys as soon as they are mature.

    \b
    Examples:
      keyvault recipient remove alice --rotate --push
    """
    from keyvault.cli.show import show_outcome
    from keyvault.core.text import printable
    from keyvault.operations import recipients as operations

    with settings.open() as context:
        outcome, readable = operations.remove_recipient(context, kid, rotate=rotate, push=push, dry_run=dry_run)
    if as_json or settings.quiet:
        show_outcome(outcome, now=settings.now, dry_run=dry_run, as_json=as_json, quiet=settings.quiet)
        return
    say(f"{'would remove' if dry_run else 'removed'} recipient {printable(kid)}")
    if readable.by_set:
        say("it could open, and may have kept:")
        columns([[name, *[" ".join(kids)]] for name, kids in readable.by_set.items()], indent="  ")
    show_outcome(outcome, now=settings.now, dry_run=dry_run, as_json=False, quiet=False)
    if readable.by_set and not rotate:
        note("hint: the removed recipient knows these keys; two rotations replace the active and the next ones")
        note(
            "hint: run this twice, each time after the next keys have matured: keyvault rotate "
            + " ".join(readable.by_set)
        )
    elif readable.by_set:
        names = " ".join(readable.by_set)
        note(f"hint: the active keys sign until the new next keys are mature; then: keyvault rotate {names}")


@recipients.command("replace")
def replace_recipient(
    kid: RecipientKid,
    file: RecipientFile,
    new_kid: NewKid = None,
    push: Push = False,
    dry_run: DryRun = False,
    as_json: JSON = False,
) -> None:
    """
    Replace a recipient by another public key. All keys are re-sealed in one commit.

    \b
    Examples:
      keyvault recipient replace ops-2025 ops-2026.pub.json
    """
    from keyvault.cli.show import show_outcome
    from keyvault.core.text import printable
    from keyvault.operations import recipients as operations

    with settings.open() as context:
        recipient = operations.read_recipient(file, kid=new_kid)
        outcome = operations.replace_recipient(context, kid, recipient, push=push, dry_run=dry_run)
    if outcome.files and not as_json and not settings.quiet:
        say(f"{'would replace' if dry_run else 'replaced'} recipient {printable(kid)} by {recipient.kid}")
    show_outcome(outcome, now=settings.now, dry_run=dry_run, as_json=as_json, quiet=settings.quiet)


@recipients.command("check")
def check_recipients(as_json: JSON = False) -> None:
    """
    Check that every private key is sealed to exactly the recipients and can be opened.

    Exits with 1 if a check fails.

    \b
    Examples:
      keyvault recipient check
    """
    from keyvault.operations import recipients as operations

    with settings.open() as context:
        report = operations.check_recipients(context)
    if as_json:
        emit_json({"keys": report.keys, "opened": report.opened, "problems": report.problems})
    else:
        opened = "not opened, since there is no identity" if report.opened is None else f"{report.opened} opened"
        say(f"{report.keys} sealed keys, {opened}")
    if report.problems:
        more = f" (and {len(report.problems) - 1} more)" if len(report.problems) > 1 else ""
        raise KeyVaultError(
            report.problems[0] + more, code="recipient-check-failed", hint="git log -p keys.enc shows who changed it"
        )


@identities.command("new")
def new_identity(
    kid: Annotated[
        str | None,
        typer.Option("--kid", metavar="KID", help="Its kid, such as ops-2026; default is derived from its thumbprint."),
    ] = None,
    alg: Annotated[
        str, typer.Option("--alg", metavar="ALG", help="ECDH-ES+A256KW or RSA-OAEP-256.")
    ] = "ECDH-ES+A256KW",
    crv: Annotated[str | None, typer.Option("--crv", metavar="CRV", help="P-256 (default) or X25519.")] = None,
    output: Annotated[
        Path | None,
        typer.Option(
            "--output",
            "-o",
            metavar="FILE",
            help="Write to this new file, with mode 0600; default is in your configuration folder.",
        ),
    ] = None,
    passphrase: Annotated[
        bool,
        typer.Option("--passphrase", help="Encrypt it: the passphrase is in KEYVAULT_PASSPHRASE, or asked for."),
    ] = False,
    as_json: JSON = False,
) -> None:
    """
    Generate an identity, and print its public half for recipient add.

    \b
    Examples:
      keyvault identity new --kid alice-2026 > alice.pub.json
      keyvault identity new --kid ci --passphrase -o ci.identity.json
    """
    from keyvault.errors import GitError
    from keyvault.operations import recipients as operations
    from keyvault.repo.git import Git

    if alg not in ("ECDH-ES+A256KW", "RSA-OAEP-256") or crv not in (None, "P-256", "X25519"):
        raise UsageError(
            "identities do not support this alg or crv",
            code="alg-unsupported",
            hint="--alg ECDH-ES+A256KW (--crv P-256 or X25519), or --alg RSA-OAEP-256",
        )
    secret = None
    if passphrase:
        prompt = f"passphrase for the new identity{f' {kid}' if kid else ''}: "
        secret = os.environ.get("KEYVAULT_PASSPHRASE") or ask_passphrase(prompt)
        if not secret:
            raise UsageError(
                "--passphrase needs a passphrase", code="passphrase-missing", hint="set KEYVAULT_PASSPHRASE"
            )
    folder = output.resolve() if output else Path.cwd()
    while not folder.is_dir():  # create_identity creates missing folders
        folder = folder.parent
    try:
        worktree = Git.open(folder, os.environ).root
    except GitError:
        worktree = None
    recipient, path = operations.create_identity(
        os.environ, kid=kid, alg=alg, crv=crv, output=output, passphrase=secret, worktree=worktree
    )
    note(f"identity {recipient.kid} is in {path}, readable by you alone; its public half is on stdout")
    if settings.quiet:
        say(recipient.kid)
    else:
        emit_json(recipient)


@identities.command("list")
def list_identities(as_json: JSON = False) -> None:
    """
    List the identities that are available here, in the order in which they are tried.

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
        for identity in found:
            say(str(identity["kid"]))
    elif found:
        for identity in found:
            marks = "opens this vault" if identity["recipient"] else "no recipient of this vault"
            if identity["encrypted"]:
                marks += ", encrypted with a passphrase"
            say(f"{identity['kid']}  {marks}  {identity['place']}")
    else:
        say("no identities; searched " + "; ".join(places))
