"""key generate."""

from pathlib import Path
from typing import Annotated

import typer

from keyvault.cli.global_options import settings
from keyvault.cli.key_files import check_free, read_password, write_private, write_public
from keyvault.cli.options import Days, OutputFile, PasswordFile, PrintPrivate, Subject, X5c, complete_set
from keyvault.cli.output import emit_bytes, note
from keyvault.errors import UsageError


def register(keys: typer.Typer) -> None:
    """Add the command to *keys*."""
    keys.command("generate")(generate_key)


def generate_key(
    alg: Annotated[
        str | None,
        typer.Option("--alg", metavar="ALG|none", help="JOSE algorithm; default is that of the key type, or ES256."),
    ] = None,
    kty: Annotated[str | None, typer.Option("--kty", metavar="RSA|EC|OKP|oct|AKP", help="Key type.")] = None,
    crv: Annotated[str | None, typer.Option("--crv", metavar="CRV", help="Curve, such as P-384 or X25519.")] = None,
    bits: Annotated[
        int | None, typer.Option("--bits", "--size", metavar="N", help="Bits of an RSA modulus or a secret.")
    ] = None,
    use: Annotated[
        str | None,
        typer.Option("--use", metavar="sig|enc|none", help="Intended use of the key: member use of the JWK."),
    ] = None,
    kid: Annotated[str | None, typer.Option("--kid", metavar="KID", help="Kid of the key.")] = None,
    kid_from: Annotated[
        str,
        typer.Option(
            "--kid-from",
            metavar="sha-256|sha-1|spki|date|timestamp",
            help="How a key without a kid gets one; spki is the form of Kubernetes and Keycloak.",
        ),
    ] = "sha-256",
    form: Annotated[
        str, typer.Option("--format", metavar="jwk|jwks|pem|der|p12|…", help="Format of the private key.")
    ] = "jwk",
    output: OutputFile = None,
    public: Annotated[
        bool, typer.Option("--public", help="Print the public half to stdout as well; needs -o.")
    ] = False,
    x509: Annotated[
        Path | None, typer.Option("--x509", metavar="FILE", help="Write a self-signed certificate to this file.")
    ] = None,
    x5c: X5c = False,
    days: Days = 365,
    subject: Subject = None,
    password_file: PasswordFile = None,
    save: Annotated[
        str | None,
        typer.Option(
            "--save",
            metavar="SET",
            help="Make it the next key of this set, in one commit.",
            autocompletion=complete_set,
        ),
    ] = None,
    force: PrintPrivate = False,
) -> None:
    """
    Generate a key offline, outside of any vault.

    Prints the key, unless -o writes it to a file or --save makes it a key of a set.

    \b
    Examples:
      keyvault key generate --alg EdDSA -o key.jwk --public
      keyvault key generate --kty RSA --bits 3072 --format pem -o key.pem --x509 cert.pem
      keyvault key generate --crv P-384 --use enc --kid-from date
      keyvault key generate --alg ES256 --save access-token
    """
    from keyvault.cli.show import show_outcome
    from keyvault.core.key_parameters import choose_parameters
    from keyvault.crypto.exports import CertificateOptions, encode_keys
    from keyvault.operations import generate_keys as operations
    from keyvault.operations.export_keys import PUBLIC_FORMATS, export_remarks, public_half
    from keyvault.operations.import_keys import save_key

    if public and output is None:
        raise UsageError(
            "--public prints only the public half: the private half would be lost",
            code="option-missing",
            hint="-o FILE keeps it",
        )
    if x509 is not None and output is None:
        raise UsageError(
            "--x509 writes only the certificate: the private key would not be stored",
            code="option-missing",
            hint="-o FILE keeps it",
        )
    if save is not None and (output or password_file or x5c or form != "jwk"):
        raise UsageError(
            "--save stores the key in a set and writes no file", code="option-conflict", hint="keyvault key export"
        )
    parameters = choose_parameters(kty=kty, alg=alg, crv=crv, bits=bits, use=use)
    if public and parameters.kty == "oct":
        raise UsageError("a symmetric key has no public half", code="key-symmetric")
    if x509 is not None:
        check_free(x509, output)
    private = operations.generate_key(parameters, now=settings.now, kid=kid, kid_from=kid_from)
    if save is not None:
        with settings.open() as context:
            outcome = save_key(context, save, private)
        show_outcome(outcome, now=settings.now, dry_run=False, as_json=False, quiet=settings.quiet)
        return
    certificate = CertificateOptions(settings.now, subject, days)
    password = read_password(password_file)
    data = encode_keys([private], form, name="the key", certificate=certificate, password=password, x5c=x5c)
    if x509 is not None:
        certificate_file = encode_keys([private], "x509", name="the key", certificate=certificate)
    write_private(data, output, form, force=force)
    for remark in export_remarks([private], form):
        note(remark)
    if x509 is not None:
        write_public(certificate_file, x509)
    if public:
        emit_bytes(public_half(private, form if form in PUBLIC_FORMATS else "pem"))
