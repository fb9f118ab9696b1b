"""key import, and import-check."""

import functools
import sys
from typing import TYPE_CHECKING, Annotated

import typer

from keyvault.cli import github_actions
from keyvault.cli.exchange import Kid, PasswordFile, read_input, read_password
from keyvault.cli.global_options import JSON, complete_set, settings
from keyvault.cli.output import columns, emit_json, say
from keyvault.cli.rotation import DryRun, Push
from keyvault.core.text import elided, quoted
from keyvault.errors import UsageError

if TYPE_CHECKING:
    from datetime import timedelta

    from keyvault.core.importing import Role
    from keyvault.crypto.imports import AskPassword, FoundKey

KidFrom = Annotated[
    str | None,
    typer.Option(
        "--kid-from",
        metavar="sha-256|sha-1|spki|date|timestamp",
        help="Give each key such a kid, whatever the file says; spki is that of Kubernetes and Keycloak.",
    ),
]


def register(app: typer.Typer, keys: typer.Typer) -> None:
    """Add the commands to *app* and *keys*."""
    keys.command("import")(import_key)
    app.command("import-check")(import_check)


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
    kid_from: KidFrom = None,
    only: Annotated[
        list[str] | None,
        typer.Option(
            "--only",
            metavar="KID",
            help="Of several keys, take this one, by its kid or the beginning of it; can be repeated.",
        ),
    ] = None,
    keep: Annotated[
        str | None, typer.Option("--keep", metavar="DURATION", help="Keep retiring keys for at least so long.")
    ] = None,
    external: Annotated[
        bool, typer.Option("--external", help="A new set is for keys whose private halves live elsewhere.")
    ] = False,
    issuer: Annotated[str | None, typer.Option("--issuer", metavar="ISS", help="Issuer of a new set.")] = None,
    at: Annotated[
        str | None, typer.Option("--at", metavar="PATH", help="Where on the site the JWK Set of a new set lies.")
    ] = None,
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
    from keyvault.cli.show import show_import
    from keyvault.operations import import_keys as operations
    from keyvault.operations.import_sources import read_url
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
            found, left_out = read_url(from_url)
            chosen, text = "retiring", text or f"from {_place(from_url)}"[:500]
        else:
            if "-" in (files or []) and password_file == "-":  # noqa: S105 - the name of stdin
                raise UsageError("stdin cannot be both the key and its password", hint="--password-file FILE")
            found = _read_files(files or [], _ask_password(password_file))
        if kid is not None and len(found) > 1 and len(only or ()) != 1:
            raise UsageError(f"--kid names one key, these are {len(found)}", hint="--only KID chooses one")
        request = operations.ImportRequest(
            role=chosen, alg=alg, kid=kid, kid_from=kid_from, only=only or (), keep=_duration(keep),
            note=check_text(text, "--note"), forced=check_text(reason, "--reason"), external=external, issuer=issuer,
            at=at, lenient=from_url is not None, left_out=left_out,
        )  # fmt: skip
        imported = operations.import_keys(context, name, found, request, push=push, dry_run=dry_run)
    show_import(imported, now=settings.now, dry_run=dry_run, as_json=as_json, quiet=settings.quiet)


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
    from keyvault.crypto.imports import distinct_keys
    from keyvault.operations.import_sources import read_file

    found = [key for name in files for key in read_file(read_input(name), ask, "stdin" if name == "-" else name)]
    # A key in one file and its certificate, or its public half, in another are one key.
    return distinct_keys(found)


def _ask_password(source: str | None) -> "AskPassword":
    @functools.cache
    def ask() -> bytes | None:
        if source is not None:
            return read_password(source)
        if not sys.stdin.isatty():
            return None
        import getpass

        return getpass.getpass("Password of the file: ", stream=sys.stderr).encode()

    return ask


def import_check(
    url: Annotated[str, typer.Argument(metavar="URL", help="The JWK Set of the old server.")],
    ref: Annotated[str, typer.Option("--ref", metavar="REV", help="The commit to compare with.")] = "HEAD",
    as_json: JSON = False,
) -> None:
    """
    Check before a move that every key of an old JWK Set, live, is served by this vault under its kid.

    Exits with 5 when a key is missing or different.

    \b
    Examples:
      keyvault import-check https://old.example.com/jwks.json
      keyvault import-check https://old.example.com/jwks.json --json
    """
    from keyvault.errors import LintError
    from keyvault.operations.import_check import check_import

    with settings.open() as context:
        seen = check_import(context, context.repository.head(ref), url)
    shown, count = elided(_place(url))[:200], len(seen.findings)
    if not settings.quiet:
        github_actions.summarize(
            f"Move from {shown}",
            ("code", "kid", "what"),
            [(finding.code, elided(finding.kid or ""), finding.message) for finding in seen.findings],
            otherwise="Every key of the old set is served under its kid.",
        )
        for finding in seen.findings[: github_actions.ANNOTATIONS_MAX]:
            github_actions.annotate("error", finding.message, title=finding.code)
        github_actions.output(findings=count)
    if as_json:
        emit_json(
            {
                "url": shown,
                "commit": seen.commit,
                "path": seen.path,
                "keys": seen.keys,
                "findings": [
                    {"code": one.code, "kid": one.kid and elided(one.kid), "message": one.message}
                    for one in seen.findings
                ],
            }
        )
    elif settings.quiet:
        for finding in seen.findings:
            say(elided(finding.kid) if finding.kid else finding.code)
    elif seen.findings:
        columns([(finding.code, finding.message) for finding in seen.findings])
    else:
        keys = f"all {seen.keys} keys" if seen.keys != 1 else "the key"
        say(f"{keys} of {shown} are served under their kids in {seen.path} of commit {seen.commit[:12]}")
    if seen.findings:
        raise LintError(
            f"{count} of {seen.keys} keys of {shown} {'is' if count == 1 else 'are'} missing or different",
            hint=_move_hint({finding.code for finding in seen.findings}, shown),
        )


def _move_hint(codes: set[str], url: str) -> str:
    """Return what to do about the first of *codes* that something can be done about."""
    if "missing" in codes:
        return f"keyvault key import SET --from-url {url}"
    if "other-kid" in codes:
        return (
            "a key keeps its kid: import the private half with --kid OLD-KID, in a set where the key is not there yet"
        )
    if codes & {"other-key", "other-alg"}:
        return "keep the old URL until tokens of these keys have expired"
    return "docs/coming-from.md says which keys can be imported"
