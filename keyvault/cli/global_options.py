"""The options before the command, and how commands open the vault that they name."""

from __future__ import annotations

import getpass
import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING

from keyvault.cli import output

if TYPE_CHECKING:
    from keyvault.core.state import Commit
    from keyvault.operations.context import Context


def clock() -> datetime:
    """Return the present instant, in UTC and whole seconds. Each command reads it once."""
    return datetime.now(UTC).replace(microsecond=0)


def ask_passphrase(prompt: str) -> str | None:
    """Show *prompt* on the terminal and return the passphrase; None if there is no terminal."""
    if not sys.stdin.isatty():
        return None
    try:
        return getpass.getpass(prompt)
    except EOFError:
        return None


@dataclass
class Settings:
    """
    The options before the command.

    Attributes:
        vault: Folder where the search for the vault starts.
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
        """Open the vault and yield its context, with progress bars while it is open."""
        from keyvault.operations.context import Context

        context = Context.find(self.vault, self.now, os.environ)
        context.identity_file = self.identity
        context.ask = lambda kid: ask_passphrase(f"passphrase of identity {kid}: ")
        with output.progress(quiet=self.quiet) as report:
            context.progress = report
            yield context

    def warn_uncommitted(self, context: Context, commit: Commit) -> None:
        """Warn if keyvault.toml in the working tree differs from the one in *commit*, which is the one that counts."""
        if context.repository.uncommitted_config(commit):
            output.note("keyvault.toml has uncommitted changes, which do not count yet: git commit")


#: The callback of the app fills it before any command runs.
settings = Settings()
