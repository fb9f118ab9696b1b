"""key import, and import-check."""

from typing import TYPE_CHECKING, Annotated

import typer

from keyvault.cli import github_actions
from keyvault.cli.global_options import settings
from keyvault.cli.key_files import ask_password, read_input
from keyvault.cli.options import (
    JSON,
    ComparedRef,
    DryRun,
    NewKid,
    PassGate,
    PasswordFile,
    Push,
    Reason,
    check_reason_with_force,
    complete_set,
    parse_duration_option,
)
from keyvault.cli.output import columns, emit_json, say
from keyvault.core.text import elided, quoted
from keyvault.errors import UsageError

if TYPE_CHECKING:
    from keyvault.core.importing import Role
    from keyvault.crypto.imports import AskPassword, FoundKey


def register(app: typer.Typer, keys: typer.Typer) -> None:
    """Add the commands to *app* and *keys*."""
    keys.command("import")(import_key)
    app.command("import-check")(import_check)


def import_key(
    name: Annotated[
        str,
        typer.Argument(
            metavar="SET", help="The set; a new set is added to keyvault.toml.", autocompletion=complete_set
        ),
    ],
    files: Annotated[
        list[str] | None, typer.Argument(metavar="FILE|-", help="Files that hold keys; - is stdin.")
    ] = None,
    from_url: Annotated[
        str | None,
        typer.Option("--from-url", metavar="URL", help="Import the public keys of this JWK Set, as retiring."),
    ] = None,
    role: Annotated[
        str | None,
        typer.Option(
            "--as",
            metavar="active|next|retiring",
            help="State of the imported keys; of several, only the first becomes active.",
        ),
    ] = None,
    alg: Annotated[
        str | None, typer.Option("--alg", metavar="ALG", help="Algorithm for keys that do not name one.")
    ] = None,
    kid: NewKid = None,
    kid_from: Annotated[
        str | None,
        typer.Option(
            "--kid-from",
            metavar="sha-256|sha-1|spki|date|timestamp",
            help="Derive every kid in this form and ignore those in the file; spki is that of Kubernetes and Keycloak.",
        ),
    ] = None,
    only: Annotated[
        list[str] | None,
        typer.Option(
            "--only",
            metavar="KID",
            help="Import only this key, by its kid or the beginning of it. Repeatable.",
        ),
    ] = None,
    keep: Annotated[
        str, typer.Option("--keep", metavar="DURATION", help="Keep retiring keys for at least this long.")
    ] = "0s",
    external: Annotated[
        bool, typer.Option("--external", help="The private halves of a new set live elsewhere.")
    ] = False,
    issuer: Annotated[str | None, typer.Option("--issuer", metavar="ISS", help="Issuer of a new set.")] = None,
    at: Annotated[
        str | None, typer.Option("--at", metavar="PATH", help="Folder on the site for the JWK Set of a new set.")
    ] = None,
    password_file: PasswordFile = None,
    text: Annotated[
        str | None, typer.Option("--note", metavar="TEXT", help="Where the keys come from; it is published.")
    ] = None,
    force: PassGate = False,
    reason: Reason = None,
    push: Push = False,
    dry_run: DryRun = False,
    as_json: JSON = False,
) -> None:
    """
    Import keys into a set, from files or a URL.

    Reads JWK, JWK Set, PEM, DER, PKCS#12, certificates, Kubernetes Secrets, and realms of Keycloak.

    \b
    Examples:
      keyvault key import hydra.openid.id-token hydra.jwks.json
      keyvault key import id-token sa.key --kid-from spki --alg RS256
      keyvault key import id-token --from-url https://old.example.com/jwks.json --keep 7d
      keyvault key import payments kms.pub.pem --external --alg ES256
    """
    from keyvault.cli.show import show_import
    from keyvault.operations import import_keys as operations
    from keyvault.operations.import_selection import ImportRequest
    from keyvault.operations.import_sources import read_url
    from keyvault.operations.rotation import check_text

    check_reason_with_force(reason, force=force)
    if from_url is None and not files:
        raise UsageError("no keys to import", code="option-missing", hint="name FILEs, - for stdin, or --from-url URL")
    if from_url is not None and files:
        raise UsageError("FILE and --from-url exclude each other", code="option-conflict", hint="import in two steps")
    if from_url is not None and role not in (None, "retiring"):
        raise UsageError(
            "a URL serves public keys only, which cannot sign here", code="option-conflict", hint="--as retiring"
        )
    chosen = _role(role)
    left_out: list[str] = []
    with settings.open() as context:
        context.state()  # an unreadable vault is reported before an unreadable key
        if from_url is not None:
            found, left_out = read_url(from_url)
            chosen, text = "retiring", text or f"from {_public_url(from_url)}"[:500]
        else:
            if "-" in (files or []) and password_file == "-":  # noqa: S105 - the name of stdin
                raise UsageError(
                    "stdin cannot be both the key and its password",
                    code="option-conflict",
                    hint="--password-file FILE",
                )
            found = _read_files(files or [], ask_password(password_file))
        if kid is not None and len(found) > 1 and len(only or ()) != 1:
            raise UsageError(
                f"--kid needs exactly one key, but {len(found)} were given",
                code="option-conflict",
                hint="--only KID chooses one",
            )
        request = ImportRequest(
            role=chosen, alg=alg, kid=kid, kid_from=kid_from, only=only or (),
            keep=parse_duration_option("--keep", keep), note=check_text(text, "--note"),
            forced=check_text(reason, "--reason"), external=external, issuer=issuer, at=at,
            lenient=from_url is not None, left_out=left_out,
        )  # fmt: skip
        imported = operations.import_keys(context, name, found, request, push=push, dry_run=dry_run)
    show_import(imported, now=settings.now, dry_run=dry_run, as_json=as_json, quiet=settings.quiet)


def _public_url(url: str) -> str:
    """Return *url* without user, query and fragment, which may hold secrets: notes are published."""
    from urllib.parse import urlsplit

    parts = urlsplit(url)
    return f"{parts.scheme}://{parts.netloc.rpartition('@')[2]}{parts.path}"


def _role(text: str | None) -> "Role | None":
    from keyvault.core.importing import ROLES

    for role in ROLES:
        if role == text:
            return role
    if text is not None:
        raise UsageError(
            f"unknown value {quoted(text, 40)} of --as", code="option-invalid", hint="one of " + ", ".join(ROLES)
        )
    return None


def _read_files(files: list[str], ask: "AskPassword") -> "list[FoundKey]":
    from keyvault.crypto.imports import distinct_keys
    from keyvault.operations.import_sources import read_file

    found = [key for name in files for key in read_file(read_input(name), ask, "stdin" if name == "-" else name)]
    # A key in one file and its certificate or public half in another are the same key.
    return distinct_keys(found)


def import_check(
    url: Annotated[str, typer.Argument(metavar="URL", help="URL of the old server's JWK Set.")],
    ref: ComparedRef = "HEAD",
    as_json: JSON = False,
) -> None:
    """
    Compare an old, live JWK Set with this vault, before a move.

    Exits with 5 unless the vault serves every key of the old set under the same kid.

    \b
    Examples:
      keyvault import-check https://old.example.com/jwks.json
      keyvault import-check https://old.example.com/jwks.json --json
    """
    from keyvault.errors import LintError
    from keyvault.operations.import_check import check_import

    with settings.open() as context:
        result = check_import(context, context.repository.head(ref), url)
    shown, count = elided(_public_url(url))[:200], len(result.findings)
    if not settings.quiet:
        github_actions.summarize(
            f"Move from {shown}",
            ("code", "kid", "message"),
            [(finding.code, elided(finding.kid or ""), finding.message) for finding in result.findings],
            empty="Every key of the old set is served under its kid.",
        )
        for finding in result.findings[: github_actions.ANNOTATIONS_MAX]:
            github_actions.annotate("error", finding.message, title=finding.code)
        github_actions.output(findings=count)
    if as_json:
        emit_json(
            {
                "url": shown,
                "commit": result.commit,
                "path": result.path,
                "keys": result.keys,
                "findings": [
                    {"code": finding.code, "kid": finding.kid and elided(finding.kid), "message": finding.message}
                    for finding in result.findings
                ],
            }
        )
    elif settings.quiet:
        for finding in result.findings:
            say(elided(finding.kid) if finding.kid else finding.code)
    elif result.findings:
        columns([(finding.code, finding.message) for finding in result.findings])
    else:
        keys = f"all {result.keys} keys" if result.keys != 1 else "the key"
        say(f"{keys} of {shown} are served under their kids in {result.path} of commit {result.commit[:12]}")
    if result.findings:
        raise LintError(
            f"{count} of {result.keys} keys of {shown} {'is' if count == 1 else 'are'} missing or different",
            code="import-incomplete",
            hint=_move_hint({finding.code for finding in result.findings}, shown),
        )


def _move_hint(codes: set[str], url: str) -> str:
    """Return the remedy for the most urgent of *codes* that has one."""
    if "missing" in codes:
        return f"keyvault key import SET --from-url {url}"
    if "other-kid" in codes:
        return (
            "a key keeps its kid: import the private half with --kid OLD-KID, in a set where the key is not there yet"
        )
    if codes & {"other-key", "other-alg"}:
        return "keep the old URL until tokens of these keys have expired"
    return "docs/coming-from.md says which keys can be imported"
