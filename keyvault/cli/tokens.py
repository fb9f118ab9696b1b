"""The commands below token: sign, inspect, verify."""

import sys
from typing import TYPE_CHECKING, Annotated

import typer

from keyvault.cli.global_options import settings
from keyvault.cli.lazy_commands import LazyTyper
from keyvault.cli.options import JSON, complete_set, parse_duration_option
from keyvault.cli.output import emit_json, note, say, say_untrusted_json
from keyvault.errors import GitError, KeyVaultError, UsageError

if TYPE_CHECKING:
    from keyvault.crypto.tokens import Token

TokenText = Annotated[str, typer.Argument(metavar="TOKEN", help="A signed token, or - for stdin.")]

tokens = LazyTyper(help="Tokens: sign, inspect, verify.", no_args_is_help=True, rich_markup_mode=None)


def register(app: typer.Typer) -> None:
    """Add the commands to *app*."""
    app.add_typer(tokens, name="token")


@tokens.command("sign")
def sign(
    name: Annotated[
        str, typer.Argument(metavar="SET", help="The set whose active key signs.", autocompletion=complete_set)
    ],
    claims: Annotated[
        str | None, typer.Option("--claims", metavar="FILE|-", help="File with the claims, a JSON object; - is stdin.")
    ] = None,
    pairs: Annotated[
        list[str] | None,
        typer.Option(
            "--claim",
            metavar="NAME=VALUE",
            help="A claim; a VALUE that parses as JSON is JSON, others are text. Repeatable.",
        ),
    ] = None,
    issuer: Annotated[
        str | None, typer.Option("--iss", metavar="ISS", help="Claim iss; default is the set's issuer.")
    ] = None,
    audience: Annotated[list[str] | None, typer.Option("--aud", metavar="NAME", help="Claim aud. Repeatable.")] = None,
    ttl: Annotated[
        str | None,
        typer.Option(
            "--ttl",
            metavar="DURATION",
            help="Lifetime of the token; default is 10m, or token_lifetime if that is shorter.",
        ),
    ] = None,
    typ: Annotated[str, typer.Option("--typ", metavar="TYPE", help="Header typ, such as at+jwt.")] = "JWT",
) -> None:
    """
    Sign a token with the active key of a set, and print it. Missing iss, iat, exp and jti are filled in.

    \b
    Examples:
      keyvault token sign id-token --claim sub=alice --aud app
      keyvault token sign access-token --claims claims.json --ttl 5m --typ at+jwt
    """
    from keyvault.operations import tokens as operations

    lifetime = None if ttl is None else parse_duration_option("--ttl", ttl)
    stdin = sys.stdin.buffer.read(1024 * 1024) if claims == "-" else None
    payload = operations.read_claims(claims, stdin, pairs or [])
    if issuer is not None:
        payload["iss"] = issuer
    if audience:
        payload["aud"] = audience if len(audience) > 1 else audience[0]
    with settings.open() as context:
        token, _key = operations.sign(context, name, payload, ttl=lifetime, typ=typ)
    say(token)


def _read_token(token: str) -> str:
    from keyvault.crypto.tokens import TOKEN_MAX, strip_scheme

    text, scheme = strip_scheme(sys.stdin.read(TOKEN_MAX + 100) if token == "-" else token)  # noqa: S105 - stdin
    if scheme is not None:
        note(f"ignored {scheme} before the token")
    return text


def _refuse_private(token: "Token") -> None:
    """Refuse to print a token that contains a private key: printed claims end up in logs."""
    import json

    from keyvault.core.leaks import find_private

    if what := find_private(json.dumps([token.header, token.claims]).encode()):
        raise UsageError(
            f"the token is not shown: it contains {what}",
            code="token-holds-private-key",
            hint="revoke that key: everybody who has the token has it",
        )


@tokens.command("inspect")
def inspect(token: TokenText, as_json: JSON = False) -> None:
    """
    Show a token and its key, and whether verifiers accept it.

    \b
    Examples:
      keyvault token inspect eyJhbGciOi…
    """
    from keyvault.operations import tokens as operations
    from keyvault.operations.reports import key_report

    with settings.open() as context:
        found = operations.inspect(context, _read_token(token))
    _refuse_private(found.token)
    if as_json:
        emit_json(
            {
                "header": found.token.header,
                "claims": found.token.claims,
                "key": key_report(found.key) if found.key else None,
                "accepted": not found.problems,
                "problems": found.problems,
            }
        )
        return
    from keyvault.core.text import printable, when

    say_untrusted_json({"header": found.token.header, "claims": found.token.claims})
    if found.key:
        since = when(found.key.life.since, settings.now)
        say(f"key {found.key.kid} of {found.key.set}, {found.key.state} since {since}")
    else:
        say("key: not in this vault")
    for problem in found.problems:
        say(f"a verifier rejects it: {printable(problem)}")
    if not found.problems:
        say("a verifier accepts it")


@tokens.command("verify")
def verify(
    token: TokenText,
    source: Annotated[
        str | None, typer.Argument(metavar="[URL|FILE]", help="A JWK Set; default is the published keys of the vault.")
    ] = None,
    audience: Annotated[str | None, typer.Option("--aud", metavar="NAME", help="Require this audience in aud.")] = None,
    issuer: Annotated[str | None, typer.Option("--iss", metavar="ISS", help="Require this issuer in iss.")] = None,
    as_json: JSON = False,
) -> None:
    """
    Verify a token as a relying party would, and print its claims.

    Exits with 1 if the token is not accepted.

    \b
    Examples:
      keyvault token verify eyJhbGciOi… https://keys.example.com/.well-known/jwks.json
    """
    from keyvault.operations import tokens as operations

    context = None
    if source is None:
        try:
            with settings.open() as opened:
                context = opened
        except GitError as error:
            raise KeyVaultError(error.message, code=error.code, hint="name the URL or file of a JWK Set") from None
    found = operations.verify(
        context, _read_token(token), now=settings.now, source=source, audience=audience, issuer=issuer
    )
    _refuse_private(found)
    if as_json:
        emit_json({"header": found.header, "claims": found.claims})
    else:
        note("the token verifies")
        say_untrusted_json(found.claims)
