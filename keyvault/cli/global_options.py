"""What the options before the command say, and how commands come to a vault."""

from __future__ import annotations

import getpass
import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from keyvault.cli import output
from keyvault.errors import KeyVaultError

if TYPE_CHECKING:
    from keyvault.core.state import Commit
    from keyvault.operations.context import Context


def clock() -> datetime:
    """Return the present instant, in UTC and whole seconds. Read once a command."""
    return datetime.now(UTC).replace(microsecond=0)


def ask_passphrase(kid: str) -> str | None:
    """Ask on the terminal for the passphrase of identity *kid*; None where there is no terminal."""
    if not sys.stdin.isatty():
        return None
    try:
        return getpass.getpass(f"passphrase of identity {kid}: ")
    except EOFError:
        return None


@dataclass
class Settings:
    """
    The options before the command.

    Attributes:
        vault: Where to look for the vault.
        identity: An identity file, or None.
        quiet: Print ids only.
        verbose: How often ``-v`` was given.
        now: The instant of the command.
        as_json: Whether ``--json`` was given, which also decides how an error is reported.
    """

    vault: Path = Path()
    identity: Path | None = None
    quiet: bool = False
    verbose: int = 0
    now: datetime = field(default_factory=clock)
    as_json: bool = False

    @contextmanager
    def open(self) -> Iterator[Context]:
        """Give the context of the vault, with progress bars while it is open."""
        from keyvault.operations.context import Context

        context = Context.find(self.vault, self.now, os.environ)
        context.identity_file = self.identity
        context.ask = ask_passphrase
        with output.progress(quiet=self.quiet) as report:
            context.progress = report
            yield context

    def warn_uncommitted(self, context: Context, commit: Commit) -> None:
        """Say so when keyvault.toml in the work tree is not the one of *commit*, which is what counts."""
        if context.repository.uncommitted_config(commit):
            output.note("keyvault.toml has uncommitted changes, which do not count yet: git commit")


#: Filled by the callback of the app, before any command runs.
settings = Settings()


#: ``--json``, the same for every command.
JSON = Annotated[bool, typer.Option("--json", help="Print JSON.")]


def complete_set(incomplete: str) -> list[str]:
    """Return the names of sets that begin with *incomplete*, for the shell."""
    return [name for name in _known("sets") if name.startswith(incomplete)]


def complete_kid(incomplete: str) -> list[str]:
    """Return the kids that begin with *incomplete*, for the shell."""
    return [kid for kid in _known("keys") if kid.startswith(incomplete)]


def _known(attribute: str) -> list[str]:
    try:
        with settings.open() as context:
            return list(getattr(context.state(envelopes=False), attribute))
    except KeyVaultError:
        return []
