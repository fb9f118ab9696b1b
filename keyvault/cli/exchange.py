"""key generate, import and export."""

import functools
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from keyvault.cli.dashed import DashedCommand
from keyvault.cli.output import emit_bytes, note
from keyvault.cli.rotation import DryRun, Push
from keyvault.cli.state import complete_set, settings
from keyvault.core.text import elided, quoted
from keyvault.errors import UsageError

if TYPE_CHECKING:
    from datetime import timedelta

    from keyvault.core.importing import Role
    from keyvault.crypto.exports import Certificate
    from keyvault.crypto.imports import AskPassword, FoundKey

JSON = Annotated[bool, typer.Option("--json", help="Print JSON.")]
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
    keys.command("import")(import_key)
    keys.command("export", cls=DashedCommand)(export_key)


def generate_key(
    alg: Annotated[
        str | None, typer.Option("--alg", metavar="ALG|none", help="JOSE algorithm; default is ES256.")
    ] = None,
    kty: Annotated[str | None, typer.Option("--kty", metavar="RSA|EC|OKP|oct|AKP", help="Key type.")] = None,
    crv: Annotated[str | None, typer.Option("--crv", metavar="CRV", help="Curve, such as P-384 or X25519.")] = None,
    bits: Annotated[int | None, typer.Option("--bits", metavar="N", help="Length of a modulus or a secret.")] = None,
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
    from keyvault.core.forms import choose_form
    from keyvault.crypto.exports import encode
    from keyvault.operations import exchange as operations

    if public and output is None:
        raise UsageError("--public prints the public half, the private one would be lost", hint="-o FILE keeps it")
    if x509 is not None and output is None:
        raise UsageError("--x509 writes the certificate, the private key would be lost", hint="-o FILE keeps it")
    if save is not None and (output or password_file or x5c or form != "jwk"):
        raise UsageError("--save puts the key into a set: no file is written", hint="keyvault key export")
    chosen = choose_form(kty=kty, alg=alg, crv=crv, bits=bits, use=use)
    if public and chosen.kty == "oct":
        raise UsageError("a symmetric key has no public half")
    if x509 is not None:
        _check_free(x509, output)
    private = operations.generate_key(chosen, now=settings.now, kid=kid, kid_from=kid_from)
    if save is not None:
        with settings.open() as context:
            outcome = operations.save_key(context, save, private)
        show_outcome(outcome, now=settings.now, dry_run=False, as_json=False, quiet=settings.quiet)
        return
    certificate = _certificate(subject, days)
    password = _password(password_file)
    data = encode([private], form, name="the key", certificate=certificate, password=password, x5c=x5c)
    if x509 is not None:
        cert = encode([private], "x509", name="the key", certificate=certificate)
    _write_private(data, output, form, force=force)
    if x509 is not None:
        _write_public(cert, x509)
    if public:
        emit_bytes(operations.public_half(private, form if form in operations.PUBLIC_FORMATS else "pem"))


def import_key(
    name: Annotated[
        str, typer.Argument(metavar="SET", help="The set; a new one is made.", autocompletion=complete_set)
    ],
    files: Annotated[list[str] | None, typer.Argument(metavar="FILE|-", help="Files of keys.")] = None,
    from_url: Annotated[
        str | None, typer.Option("--from-url", metavar="URL", help="Public keys that a JWK Set serves.")
    ] = None,
    role: Annotated[
        str | None,
        typer.Option("--as", metavar="active|next|retiring", help="What they become; of several, active is the first."),
    ] = None,
    alg: Annotated[
        str | None, typer.Option("--alg", metavar="ALG", help="Algorithm of a key that does not name one.")
    ] = None,
    kid: Kid = None,
    kid_from: KidFrom = "sha-256",
    only: Annotated[
        list[str] | None, typer.Option("--only", metavar="KID", help="Of several keys, take this one; can be repeated.")
    ] = None,
    keep: Annotated[
        str | None, typer.Option("--keep", metavar="DURATION", help="Keep retiring keys for at least so long.")
    ] = None,
    external: Annotated[
        bool, typer.Option("--external", help="A new set is for keys whose private halves live elsewhere.")
    ] = False,
    issuer: Annotated[str | None, typer.Option("--issuer", metavar="URL", help="Issuer of a new set.")] = None,
    password_file: PasswordFile = None,
    text: Annotated[str | None, typer.Option("--note", metavar="TEXT", help="Where they come from; recorded.")] = None,
    force: Annotated[bool, typer.Option("--force", help="Go past the gate; needs --reason.")] = False,
    reason: Annotated[str | None, typer.Option("--reason", metavar="TEXT", help="Why; it is recorded.")] = None,
    push: Push = False,
    dry_run: DryRun = False,
    as_json: JSON = False,
) -> None:
    """
    Take keys in: JWK, JWK Set, PEM, DER, PKCS#12, certificates, a realm of Keycloak's, or a URL.

    \b
    Examples:
      keyvault key import hydra.openid.id-token hydra.jwks.json
      keyvault key import id-token sa.key --kid-from spki --alg RS256
      keyvault key import id-token --from-url https://old.example.com/jwks.json --keep 7d
      keyvault key import payments kms.pub.pem --external --alg ES256
    """
    from keyvault.cli.show import show_outcome
    from keyvault.operations import exchange as operations
    from keyvault.operations.rotation import check_text

    if force != (reason is not None):
        raise UsageError("--force and --reason go together", hint='--force --reason "what happened"')
    if (from_url is None) == (not files):
        raise UsageError("name files, - for stdin, or --from-url URL")
    if from_url is not None and role not in (None, "retiring"):
        raise UsageError("a URL has public keys alone: nobody can sign with them here", hint="--as retiring")
    chosen = _role(role)
    left_out: list[str] = []
    with settings.open() as context:
        context.state()  # a vault that cannot be read is said first
        if from_url is not None:
            found, left_out = operations.read_url(from_url)
            chosen, text = "retiring", text or f"from {_place(from_url)}"[:500]
        else:
            if "-" in (files or []) and password_file == "-":  # noqa: S105 - the name of stdin
                raise UsageError("stdin cannot be both the key and its password", hint="--password-file FILE")
            found = _read_files(files or [], _ask_password(password_file))
        if kid is not None and len(found) > 1 and len(only or ()) != 1:
            raise UsageError(f"--kid names one key, these are {len(found)}", hint="--only KID chooses one")
        wish = operations.Wish(
            role=chosen, alg=alg, kid=kid, kid_from=kid_from, only=only or (), keep=_duration(keep),
            note=check_text(text, "--note"), forced=check_text(reason, "--reason"), external=external, issuer=issuer,
            lenient=from_url is not None, left_out=left_out,
        )  # fmt: skip
        outcome = operations.import_keys(context, name, found, wish, push=push, dry_run=dry_run)
    show_outcome(outcome, now=settings.now, dry_run=dry_run, as_json=as_json, quiet=settings.quiet)


def _place(url: str) -> str:
    """Return *url* without what may be a secret in it: notes are published."""
    from urllib.parse import urlsplit

    parts = urlsplit(url)
    return f"{parts.scheme}://{parts.netloc.rpartition('@')[2]}{parts.path}"


def _role(text: str | None) -> "Role | None":
    from keyvault.core.importing import ROLES

    for one in ROLES:
        if one == text:
            return one
    if text is not None:
        raise UsageError(f"--as {quoted(text, 40)} is not known", hint="one of " + ", ".join(ROLES))
    return None


def _duration(text: str | None) -> "timedelta":
    from datetime import timedelta

    from keyvault.core.text import parse_duration

    try:
        return timedelta(0) if text is None else parse_duration(text)
    except ValueError as error:
        raise UsageError(f"--keep: {error}") from None


def _read_files(files: list[str], ask: "AskPassword") -> "list[FoundKey]":
    from keyvault.operations.exchange import read_file

    return [key for name in files for key in read_file(_read(name), ask, "stdin" if name == "-" else name)]


def _read(name: str) -> bytes:
    from keyvault.crypto.imports import FILE_MAX

    if name == "-":
        return sys.stdin.buffer.read(FILE_MAX + 1)
    try:
        with Path(name).open("rb") as file:
            return file.read(FILE_MAX + 1)
    except OSError as error:
        raise UsageError(f"{elided(str(name))} cannot be read: {error.strerror}") from None


def _password(source: str | None) -> bytes | None:
    if source is None:
        return None
    lines = _read(source).splitlines()
    if not lines or not lines[0]:
        raise UsageError(f"--password-file {elided(str(source))} has an empty first line")
    return lines[0]


def _ask_password(source: str | None) -> "AskPassword":
    @functools.cache
    def ask() -> bytes | None:
        if source is not None:
            return _password(source)
        if not sys.stdin.isatty():
            return None
        import getpass

        return getpass.getpass("Password of the file: ", stream=sys.stderr).encode()

    return ask


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
        data, left_out = operations.export_private(
            context, name, certificate=_certificate(subject, days), active=active, form=form,
            password=_password(password_file), x5c=x5c,
        )  # fmt: skip
    _write_private(data, output, form, force=force)
    if left_out:
        note(f"left out, since their private halves are not here: {', '.join(left_out)}")


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
            f"{output} exists already: nothing is written over", hint="remove it, or print to stdout with > FILE"
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
