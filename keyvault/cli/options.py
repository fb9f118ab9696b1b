"""Options and arguments that several commands share, and the checks of their values."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from keyvault.cli.global_options import settings
from keyvault.errors import KeyVaultError, UsageError

if TYPE_CHECKING:
    from datetime import timedelta


def complete_set(incomplete: str) -> list[str]:
    """Return the names of sets that begin with *incomplete*, for the shell."""
    return [name for name in _names_in_vault("sets") if name.startswith(incomplete)]


def complete_kid(incomplete: str) -> list[str]:
    """Return the kids that begin with *incomplete*, for the shell."""
    return [kid for kid in _names_in_vault("keys") if kid.startswith(incomplete)]


def _names_in_vault(attribute: str) -> list[str]:
    try:
        with settings.open() as context:
            return list(getattr(context.state(envelopes=False), attribute))
    except KeyVaultError:
        return []


SetName = Annotated[str, typer.Argument(metavar="SET", help="The set.", autocompletion=complete_set)]
SetNames = Annotated[
    list[str] | None, typer.Argument(metavar="[SET]...", help="Only these sets.", autocompletion=complete_set)
]
KidPrefix = Annotated[
    str, typer.Argument(metavar="KID", help="A key: its kid or the beginning of it.", autocompletion=complete_kid)
]

JSON = Annotated[bool, typer.Option("--json", help="Print JSON.")]
Push = Annotated[
    bool, typer.Option("--push", help="Push the commit; if the remote branch has moved, plan again on its new head.")
]
DryRun = Annotated[bool, typer.Option("--dry-run", help="Show the changes, and write nothing.")]
Note = Annotated[
    str | None, typer.Option("--note", metavar="TEXT", help="A remark for readers of the history; it is published.")
]
PassGate = Annotated[bool, typer.Option("--force", help="Pass the safety gate; needs --reason.")]
Reason = Annotated[str | None, typer.Option("--reason", metavar="TEXT", help="Reason for --force; it is published.")]
ComparedRef = Annotated[str, typer.Option("--ref", metavar="REV", help="The commit to compare with.")]
NewKid = Annotated[
    str | None, typer.Option("--kid", metavar="KID", help="Use this kid instead of the one in the file.")
]
PasswordFile = Annotated[
    str | None,
    typer.Option("--password-file", metavar="FILE|-", help="File whose first line is the password; - is stdin."),
]
OutputFile = Annotated[
    Path | None,
    typer.Option(
        "--output", "-o", metavar="FILE", help="Write to this new file instead of stdout; a private key gets mode 0600."
    ),
]
X5c = Annotated[bool, typer.Option("--x5c", help="Put a self-signed certificate into the JWK.")]
Days = Annotated[int, typer.Option("--days", metavar="N", help="Validity of the certificate, in days.")]
Subject = Annotated[
    str | None,
    typer.Option("--subject", metavar="NAME", help='Subject of the certificate, such as "CN=issuer,O=Example".'),
]
PrintPrivate = Annotated[bool, typer.Option("--force", help="Print a private key even to a terminal.")]


def parse_duration_option(option: str, text: str) -> timedelta:
    """
    Return the duration that *option* was given.

    Raises:
        UsageError: If *text* is not a duration such as ``10m`` or ``1d12h``.
    """
    from keyvault.core.text import parse_duration

    try:
        return parse_duration(text)
    except ValueError as error:
        raise UsageError(f"{option}: {error}", code="duration-invalid") from None


def check_reason_with_force(reason: str | None, *, force: bool) -> None:
    """
    Check that ``--force`` and ``--reason`` are given together or not at all.

    Raises:
        UsageError: If one is given without the other.
    """
    if force != (reason is not None):
        raise UsageError(
            "--force and --reason go together", code="option-conflict", hint='--force --reason "what happened"'
        )
