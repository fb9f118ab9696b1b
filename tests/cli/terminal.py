"""A simulated terminal: runs the command line in this process, under the vault's clock and environment."""

from __future__ import annotations

import contextlib
import io
import json
import os
import sys
from collections.abc import Iterable
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Any

import pytest

from keyvault.cli import main, output
from keyvault.cli.global_options import settings
from keyvault.core.gate import ServedKeys
from keyvault.core.state import VaultState
from keyvault.publish import live
from tests.vaults import T0, Vault, environment, refuse_fetch, serving


@dataclass(frozen=True)
class Result:
    """
    What a command did.

    Attributes:
        code: Its exit code.
        out: Its output to stdout.
        err: Its output to stderr.
        problem: The code of the error that it reported, such as ``set-unknown``; None without an error.
    """

    code: int
    out: str
    err: str
    problem: str | None = None

    @property
    def json(self) -> Any:
        return json.loads(self.out)

    @property
    def lines(self) -> list[str]:
        return self.out.splitlines()

    @property
    def error(self) -> str:
        """The message of the error, which is the first line of stderr."""
        return self.err.partition("\n")[0].removeprefix("keyvault: error: ")

    @property
    def hint(self) -> str | None:
        """The hint of the error, or None."""
        hints = [line.removeprefix("keyvault: hint: ") for line in self.err.splitlines()[1:]]
        return "\n".join(hints) or None


class _Screen(io.TextIOWrapper):
    def __init__(self, *, tty: bool) -> None:
        self.bytes = io.BytesIO()
        self._tty = tty
        super().__init__(self.bytes, encoding="utf-8", write_through=True)

    def isatty(self) -> bool:
        return self._tty


class Terminal:
    """
    Runs commands in one folder.

    Attributes:
        vault: The vault, whose clock and environment hold; None before one is made.
        folder: Where commands run.
        environ: All that a command sees of the environment.
        now: The clock.
        served: What the public URL serves; None while it must not be asked.
        tty: Whether stdout and stderr are a terminal.
    """

    def __init__(self, folder: Path, environ: dict[str, str], now: datetime = T0) -> None:
        self.folder, self.environ, self._now = folder, environ, now
        self.vault: Vault | None = None
        self.served: VaultState | None = None
        self.tty = False
        self.everything: list[str] = []

    @classmethod
    def of(cls, vault: Vault) -> Terminal:
        """Return a terminal in *vault*."""
        terminal = cls(vault.folder, vault.environ)
        terminal.vault = vault
        return terminal

    @property
    def now(self) -> datetime:
        return self.vault.now if self.vault else self._now

    def __call__(self, *arguments: str | Path, stdin: str = "", **environ: str) -> Result:
        """Run a command."""
        out, err = _Screen(tty=self.tty), _Screen(tty=self.tty)
        problems: list[str] = []

        def report_error(message: str, hint: str | None, *, code: str, exit_code: int, as_json: bool) -> None:
            problems.append(code)
            output.report_error(message, hint, code=code, exit_code=exit_code, as_json=as_json)

        given = io.TextIOWrapper(io.BytesIO(stdin.encode()), encoding="utf-8")
        with pytest.MonkeyPatch.context() as patch:
            for name in set(os.environ) - {"PYTEST_CURRENT_TEST"}:
                patch.delenv(name)
            for name, value in (self.environ | environ).items():
                patch.setenv(name, value)
            patch.setattr(main, "clock", lambda: self.now)
            patch.setattr(main, "report_error", report_error)
            patch.setattr(live, "fetch_key_ids", self._fetch_key_ids)
            patch.setattr(sys, "stdin", given)
            patch.setattr(sys, "stdout", out)
            patch.setattr(sys, "stderr", err)
            settings.vault, settings.identity, settings.quiet = Path(), None, False
            with contextlib.chdir(self.folder):
                try:
                    code = main.run([str(argument) for argument in arguments])
                except SystemExit as end:  # how completion ends
                    code = int(end.code or 0)
        result = Result(code, out.bytes.getvalue().decode(), err.bytes.getvalue().decode(), next(iter(problems), None))
        self.everything += [result.out, result.err]
        return result

    def ok(self, *arguments: str | Path, **environ: str) -> Result:
        """Run a command that must succeed."""
        result = self(*arguments, **environ)
        assert result.code == 0, result.err
        return result

    def _fetch_key_ids(self, url: str) -> ServedKeys:
        return refuse_fetch(url) if self.served is None else serving(self.served)(url)

    @classmethod
    def in_folder(cls, folder: Path) -> Terminal:
        """Return a terminal in a folder without a vault."""
        work = folder / "work"
        work.mkdir(parents=True)
        return cls(work, environment(folder))


def named(text: str, words: Iterable[tuple[str, str]]) -> str:
    """Return *text* with values that differ from run to run replaced by names, the longest first."""
    for word, name in sorted(words, key=lambda pair: -len(pair[0])):
        text = text.replace(word, name)
    return text
