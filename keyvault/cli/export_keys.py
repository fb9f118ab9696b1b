"""key export."""

from pathlib import Path
from typing import Annotated

import typer

from keyvault.cli.dash_arguments import DashArgumentCommand
from keyvault.cli.global_options import settings
from keyvault.cli.key_files import check_free, print_key, read_password, write_private, write_public
from keyvault.cli.options import Days, OutputFile, PasswordFile, PrintPrivate, Subject, X5c, complete_set
from keyvault.cli.output import note
from keyvault.errors import UsageError


def register(keys: typer.Typer) -> None:
    """Add the command to *keys*."""
    keys.command("export", cls=DashArgumentCommand)(export_key)


def export_key(
    name: Annotated[
        str, typer.Argument(metavar="SET|KID", help="A set, or a key by its kid.", autocompletion=complete_set)
    ],
    private: Annotated[bool, typer.Option("--private", help="Export the private halves; needs an identity.")] = False,
    active: Annotated[bool, typer.Option("--active", help="Only the active key of the set.")] = False,
    form: Annotated[
        str,
        typer.Option(
            "--format",
            metavar="FORMAT",
            help="jwk, jwks, pem, der; with --private also p12, x509, dotenv, kubernetes-secret, apiserver.",
        ),
    ] = "jwk",
    output: OutputFile = None,
    x5c: X5c = False,
    days: Days = 365,
    subject: Subject = None,
    password_file: PasswordFile = None,
    force: PrintPrivate = False,
) -> None:
    """
    Export keys in a format of other tools.

    Exports public halves, or private ones with --private.

    \b
    Examples:
      keyvault key export id-token --format jwks
      keyvault key export id-token --active --private --format pem -o signer.pem
      keyvault key export id-token --active --private --format kubernetes-secret | kubectl apply -f -
      keyvault key export id-token --private --format apiserver -o /etc/kubernetes/pki
    """
    from keyvault.crypto.exports import CertificateOptions
    from keyvault.operations import export_keys as operations

    if not private:
        if x5c or password_file:
            raise UsageError("--x5c and --password-file need the private half", code="option-missing", hint="--private")
        with settings.open() as context:
            data = operations.export_public(context, name, active=active, form=form)
        if output is not None:
            write_public(data, output)
        else:
            print_key(data, form)
        return
    if form == "apiserver":
        if password_file or x5c:
            raise UsageError(
                "--format apiserver supports neither encryption nor certificates",
                code="option-conflict",
                hint="--format pem, der or p12",
            )
        _write_apiserver(name, output)
        return
    with settings.open() as context:
        data, remarks = operations.export_private(
            context, name, certificate=CertificateOptions(settings.now, subject, days), active=active, form=form,
            password=read_password(password_file), x5c=x5c,
        )  # fmt: skip
    write_private(data, output, form, force=force)
    for remark in remarks:
        note(remark)


def _write_apiserver(name: str, output: Path | None) -> None:
    from keyvault.crypto.identity_file import write_private_file
    from keyvault.operations.export_keys import export_apiserver

    if output is None:
        raise UsageError("--format apiserver writes two files", code="option-missing", hint="-o DIR says where")
    check_free(output / "sa.pub", output / "sa.key")
    with settings.open() as context:
        files = export_apiserver(context, name)
    write_private_file(output / "sa.key", files["sa.key"])
    write_public(files["sa.pub"], output / "sa.pub")
    note(f"wrote {output / 'sa.key'}, readable by you alone, and {output / 'sa.pub'}")
