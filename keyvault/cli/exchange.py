"""key generate and key export."""

import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from keyvault.cli.dash_arguments import DashedCommand
from keyvault.cli.global_options import complete_set, settings
from keyvault.cli.output import emit_bytes, note
from keyvault.core.text import elided
from keyvault.errors import UsageError

if TYPE_CHECKING:
    from keyvault.crypto.exports import Certificate

Force = Annotated[bool, typer.Option("--force", help="Print a private key to a terminal.")]
Output = Annotated[
    Path | None, typer.Option("--output", "-o", metavar="FILE", help="A new file, 0600, instead of stdout.")
]
Kid = Annotated[str | None, typer.Option("--kid", metavar="KID", help="The kid of the key.")]
KidFrom = Annotated[
    str,
    typer.Option(
        "--kid-from",
        metavar="sha-256|sha-1|spki|date|timestamp",
        help="How a key without a kid gets one; spki is what Kubernetes and Keycloak do.",
    ),
]
PasswordFile = Annotated[
    str | None, typer.Option("--password-file", metavar="FILE", help="The password is its first line; - is stdin.")
]
X5c = Annotated[bool, typer.Option("--x5c", help="Put a self-signed certificate into the JWK.")]
Days = Annotated[int, typer.Option("--days", metavar="N", help="How long a certificate is valid.")]
Subject = Annotated[
    str | None, typer.Option("--subject", metavar="NAME", help='Whom a certificate names, "CN=issuer,O=Example".')
]


def register(keys: typer.Typer) -> None:
    """Add the commands to *keys*."""
    keys.command("generate")(generate_key)
    keys.command("export", cls=DashedCommand)(export_key)


def generate_key(
    alg: Annotated[
        str | None, typer.Option("--alg", metavar="ALG|none", help="JOSE algorithm; default is ES256.")
    ] = None,
    kty: Annotated[str | None, typer.Option("--kty", metavar="RSA|EC|OKP|oct|AKP", help="Key type.")] = None,
    crv: Annotated[str | None, typer.Option("--crv", metavar="CRV", help="Curve, such as P-384 or X25519.")] = None,
    bits: Annotated[
        int | None, typer.Option("--bits", "--size", metavar="N", help="Length of a modulus or a secret.")
    ] = None,
    use: Annotated[str | None, typer.Option("--use", metavar="sig|enc|none", help="What the key is for.")] = None,
    kid: Kid = None,
    kid_from: KidFrom = "sha-256",
    form: Annotated[
        str, typer.Option("--format", metavar="jwk|jwks|pem|der|p12|…", help="Format of the private key.")
    ] = "jwk",
    output: Output = None,
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
        typer.Option("--save", metavar="SET", help="Make it the next key of a set.", autocompletion=complete_set),
    ] = None,
    force: Force = False,
) -> None:
    """
    Make a key that no vault knows, offline. Nothing is stored, unless you say where.

    \b
    Examples:
      keyvault key generate --alg EdDSA -o key.jwk --public
      keyvault key generate --kty RSA --bits 3072 --format pem -o key.pem --x509 cert.pem
      keyvault key generate --crv P-384 --use enc --kid-from date
      keyvault key generate --alg ES256 --save access-token
    """
    from keyvault.cli.show import show_outcome
    from keyvault.core.key_parameters import choose_parameters
    from keyvault.crypto.exports import encode
    from keyvault.operations import exchange as operations
    from keyvault.operations.import_keys import save_key

    if public and output is None:
        raise UsageError("--public prints the public half, the private one would be lost", hint="-o FILE keeps it")
    if x509 is not None and output is None:
        raise UsageError("--x509 writes the certificate, the private key would be lost", hint="-o FILE keeps it")
    if save is not None and (output or password_file or x5c or form != "jwk"):
        raise UsageError("--save puts the key into a set: no file is written", hint="keyvault key export")
    chosen = choose_parameters(kty=kty, alg=alg, crv=crv, bits=bits, use=use)
    if public and chosen.kty == "oct":
        raise UsageError("a symmetric key has no public half")
    if x509 is not None:
        _check_free(x509, output)
    private = operations.generate_key(chosen, now=settings.now, kid=kid, kid_from=kid_from)
    if save is not None:
        with settings.open() as context:
            outcome = save_key(context, save, private)
        show_outcome(outcome, now=settings.now, dry_run=False, as_json=False, quiet=settings.quiet)
        return
    certificate = _certificate(subject, days)
    password = read_password(password_file)
    data = encode([private], form, name="the key", certificate=certificate, password=password, x5c=x5c)
    if x509 is not None:
        cert = encode([private], "x509", name="the key", certificate=certificate)
    _write_private(data, output, form, force=force)
    for remark in operations.export_remarks([private], form):
        note(remark)
    if x509 is not None:
        _write_public(cert, x509)
    if public:
        emit_bytes(operations.public_half(private, form if form in operations.PUBLIC_FORMATS else "pem"))


def read_input(name: str) -> bytes:
    """Return the octets of a file, or of stdin; UsageError if it cannot be read."""
    from keyvault.crypto.imports import FILE_MAX

    if name == "-":
        return sys.stdin.buffer.read(FILE_MAX + 1)
    try:
        with Path(name).open("rb") as file:
            return file.read(FILE_MAX + 1)
    except OSError as error:
        raise UsageError(f"{elided(name)} cannot be read: {error.strerror}") from None


def read_password(source: str | None) -> bytes | None:
    """Return the first line of a file of passwords; UsageError if it is empty."""
    if source is None:
        return None
    lines = read_input(source).splitlines()
    if not lines or not lines[0]:
        raise UsageError(f"--password-file {source} has an empty first line")
    return lines[0]


def export_key(
    name: Annotated[str, typer.Argument(metavar="SET|KID", help="A set, or a key.", autocompletion=complete_set)],
    private: Annotated[bool, typer.Option("--private", help="Open the private halves; needs an identity.")] = False,
    active: Annotated[bool, typer.Option("--active", help="Of a set, only the active key.")] = False,
    form: Annotated[
        str,
        typer.Option(
            "--format",
            metavar="FORMAT",
            help="jwk, jwks, pem or der; private ones also p12, x509, dotenv, kubernetes-secret or apiserver.",
        ),
    ] = "jwk",
    output: Output = None,
    x5c: X5c = False,
    days: Days = 365,
    subject: Subject = None,
    password_file: PasswordFile = None,
    force: Force = False,
) -> None:
    """
    Write keys in a format that other tools read; public halves, unless you say --private.

    \b
    Examples:
      keyvault key export id-token --format jwks
      keyvault key export id-token --active --private --format pem -o signer.pem
      keyvault key export id-token --active --private --format kubernetes-secret | kubectl apply -f -
      keyvault key export id-token --private --format apiserver -o /etc/kubernetes/pki
    """
    from keyvault.operations import exchange as operations

    if not private:
        if x5c or password_file:
            raise UsageError("a certificate or a password needs the private half", hint="--private")
        with settings.open() as context:
            data = operations.export_public(context, name, active=active, form=form)
        if output is not None:
            _write_public(data, output)
        else:
            _emit(data, form)
        return
    if form == "apiserver":
        if password_file or x5c:
            raise UsageError("--format apiserver is not encrypted, and has no certificate", hint="pem, der or p12")
        _write_apiserver(name, output)
        return
    with settings.open() as context:
        data, remarks = operations.export_private(
            context, name, certificate=_certificate(subject, days), active=active, form=form,
            password=read_password(password_file), x5c=x5c,
        )  # fmt: skip
    _write_private(data, output, form, force=force)
    for remark in remarks:
        note(remark)


def _write_apiserver(name: str, output: Path | None) -> None:
    from keyvault.crypto.identities import write_private_file
    from keyvault.operations.exchange import export_apiserver

    if output is None:
        raise UsageError("two files are written", hint="-o DIR says where")
    _check_free(output / "sa.pub", output / "sa.key")
    with settings.open() as context:
        files = export_apiserver(context, name)
    write_private_file(output / "sa.key", files["sa.key"])
    _write_public(files["sa.pub"], output / "sa.pub")
    note(f"wrote {output / 'sa.key'}, readable by you alone, and {output / 'sa.pub'}")


def _certificate(subject: str | None, days: int) -> "Certificate":
    from keyvault.crypto.exports import Certificate

    return Certificate(settings.now, subject, days)


def _emit(data: bytes, form: str) -> None:
    from keyvault.crypto.exports import BINARY

    if form in BINARY and sys.stdout.isatty():
        raise UsageError(f"{form} is no text for a terminal", hint="-o FILE, or a pipe")
    emit_bytes(data)


def _check_free(place: Path, beside: Path | None = None) -> None:
    """Refuse, before the private file *beside* is written, a public one that could not be: then there would be half."""
    if place == beside:
        raise UsageError(f"{elided(str(place))} cannot be two files at once")
    if place.exists() or place.is_symlink():
        raise UsageError(f"{elided(str(place))} exists already: nothing is written over", hint="name another file")
    if not place.parent.is_dir() and (beside is None or place.parent != beside.parent):
        raise UsageError(f"there is no folder {place.parent}")


def _write_public(data: bytes, output: Path) -> None:
    try:
        with output.open("xb") as file:
            file.write(data)
    except FileExistsError:
        raise UsageError(
            f"{elided(str(output))} exists already: nothing is written over",
            hint="remove it, or print to stdout with > FILE",
        ) from None
    except OSError as error:
        raise UsageError(f"{elided(str(output))} cannot be written: {error.strerror}") from None


def _write_private(data: bytes, output: Path | None, form: str, *, force: bool) -> None:
    from keyvault.crypto.identities import write_private_file

    if output is not None:
        write_private_file(output, data)
        note(f"wrote {output}, readable by you alone")
    elif sys.stdout.isatty() and not force:
        raise UsageError("a private key is not printed to a terminal", hint="-o FILE, a pipe, or --force")
    else:
        _emit(data, form)
