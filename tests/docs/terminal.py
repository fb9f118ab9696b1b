"""
A terminal for the transcripts in the docs: runs their commands in process, under a clock of its own.

Knows ``keyvault`` with ``> FILE`` and ``< FILE``, ``cd``, ``echo $?`` and one way to publish (``rsync``), after
which the host of the vault's URL serves what was rendered. Each command takes a minute. What differs from one
run to the next (kids, commit ids, labels, folders) is replaced by placeholders before texts are compared.
"""

from __future__ import annotations

import io
import re
import shlex
import shutil
import sys
from datetime import UTC, datetime, timedelta
from pathlib import Path
from urllib.parse import urlsplit

import pytest

from keyvault.cli import main
from keyvault.publish import live

START = datetime(2026, 11, 23, 17, tzinfo=UTC)
HOME = "/home/ada"


class Terminal:
    """Runs commands in *folder*, as somebody called ada whose home it is."""

    def __init__(self, folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        self._home, self._monkeypatch = folder / "home", monkeypatch
        self._home.mkdir()
        self._host = folder / "host"
        self.now = START
        self._code = 0
        settings = self._home / ".config" / "keyvault"
        for name in ("KEYVAULT_DIR", "KEYVAULT_IDENTITY", "KEYVAULT_IDENTITY_FILE", "KEYVAULT_PASSPHRASE"):
            monkeypatch.delenv(name, raising=False)
        for name, value in {
            "LOGNAME": "ada",
            "KEYVAULT_CONFIG_DIR": str(settings),
            "GIT_CONFIG_NOSYSTEM": "1",
            "GIT_CONFIG_GLOBAL": "/dev/null",
            "GIT_AUTHOR_NAME": "Ada",
            "GIT_AUTHOR_EMAIL": "ada@example.com",
            "GIT_COMMITTER_NAME": "Ada",
            "GIT_COMMITTER_EMAIL": "ada@example.com",
        }.items():
            monkeypatch.setenv(name, value)
        monkeypatch.setattr(main, "clock", lambda: self.now)
        monkeypatch.setattr(live, "ask", self._ask)
        monkeypatch.chdir(self._home)

    def _ask(self, url: str, *, most: int = live.BODY_MAX) -> live.Answer:
        """Return what the host answers at *url*, with the headers of GitHub Pages."""
        path = self._host / urlsplit(url).path.lstrip("/")
        path = path / "index.html" if path.is_dir() else path
        kinds = {".json": "application/json", ".html": "text/html"}
        headers = {
            "content-type": kinds.get(path.suffix, "application/octet-stream"),
            "cache-control": "max-age=600",
            "access-control-allow-origin": "*",
        }
        found = path.is_file()
        body = path.read_bytes() if found else b""
        return live.Answer(url, 200 if found else 404, headers, body[:most], len(body) <= most, (), None)

    def run(self, line: str) -> str:
        """Return what the command *line* prints, with the folder of this test replaced by a home folder."""
        words = shlex.split(line, comments=True)
        match words:
            case ["cd", folder]:
                self._monkeypatch.chdir(folder)
                return ""
            case ["echo", "$?"]:
                return f"{self._code}\n"
            case ["rsync", "-a", "public/", _]:
                shutil.copytree("public", self._host, dirs_exist_ok=True)
                return ""
            case ["keyvault", *arguments]:
                printed = self._keyvault(arguments)
                self.now += timedelta(minutes=1)
                return printed.replace(str(self._home), HOME)
        raise AssertionError(f"this terminal does not know the command {line!r}")

    def _keyvault(self, arguments: list[str]) -> str:
        source, target = None, None
        if "<" in arguments:
            *arguments, _, source = arguments
        if ">" in arguments:
            *arguments, _, target = arguments
        screen, redirected = io.BytesIO(), io.BytesIO()
        stderr = io.TextIOWrapper(screen, encoding="utf-8", write_through=True)
        stdout = io.TextIOWrapper(redirected, encoding="utf-8", write_through=True) if target else stderr
        with self._monkeypatch.context() as patched:
            patched.setattr(sys, "stdin", io.StringIO(Path(source).read_text() if source else ""))
            patched.setattr(sys, "stdout", stdout)
            patched.setattr(sys, "stderr", stderr)
            self._code = main.run(arguments)
        if target:
            Path(target).write_bytes(redirected.getvalue())
        return screen.getvalue().decode()

    def play(self, transcript: str) -> str:
        """Run the commands of *transcript*, its lines that begin with ``$``; return it with what they print."""
        played = []
        for line in transcript.splitlines(keepends=True):
            if line.startswith("$ "):
                played += [line, self.run(line.removeprefix("$ ").strip())]
        return "".join(played)


_CHANGING = re.compile(
    r"(?P<kid>(?<![\w-])[A-Za-z0-9_-]{43}(?![\w-]))"
    r"|(?P<commit>(?<=commit )[0-9a-f]{12}\b)"
    r"|(?P<label>(?<=-)[0-9a-f]{6}\b)"
    r"|(?P<jti>(?<=\"jti\": \")[A-Za-z0-9_-]{22}(?=\"))",
    re.ASCII,
)


def placeholders(text: str) -> str:
    """Return *text* with what is random in it numbered in the order of its first appearance."""
    names: dict[str, str] = {}

    def name(match: re.Match[str]) -> str:
        return names.setdefault(match[0], f"<{match.lastgroup} {len(names) + 1}>")

    return _CHANGING.sub(name, text)
