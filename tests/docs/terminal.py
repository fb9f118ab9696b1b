"""
A terminal that runs the commands of the docs' transcripts, with its own clock.

It knows ``keyvault``, in process, with ``> FILE``, ``< FILE`` and assignments before it; ``cd``; ``echo $?``; and a few
ordinary programs. Two ways of publishing reach a host that then serves the site: ``rsync`` to a host, and buckets named
after a host (keys.example.com serves ``s3://keys-example-com``). Each command takes a minute, a line such as
``# 25 hours later`` moves the clock forward, and ``earlier`` moves it back. Kids, commit ids, labels and folders differ
between runs: placeholders replace them before texts are compared, and the terminal translates them in commands.
"""

from __future__ import annotations

import io
import os
import re
import shlex
import shutil
import subprocess
import sys
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from email.utils import format_datetime
from pathlib import Path
from urllib.parse import urlsplit

import pytest

from keyvault.cli import main
from keyvault.publish import live

START = datetime(2026, 11, 23, 17, tzinfo=UTC)
HOME = "/home/ada"

#: Programs that run unchanged.
ORDINARY = ("cp", "git", "jq", "rm", "sed")

_BUCKET = re.compile(r"s3://([a-z-]+)")
_LATER = re.compile(r"# (\d+) (minutes|hours|days) (later|earlier)\n?")
_ASSIGNMENT = re.compile(r"([A-Z_]+)=(.*)", re.DOTALL)


class Terminal:
    """Runs commands in *folder*, the home of a user called ada."""

    def __init__(self, folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        self._home, self._monkeypatch = folder / "home", monkeypatch
        self._home.mkdir()
        self._hosts = folder / "hosts"
        self.now = START
        self.code = 0
        self._renamed: dict[str, str] = {}
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
        monkeypatch.setattr(live, "request", self._request)
        monkeypatch.chdir(self._home)

    def _request(self, url: str, *, max_bytes: int = live.BODY_MAX, verify: bool = True) -> live.Answer:
        """Return the host's response to *url*, with the headers of GitHub Pages."""
        parts = urlsplit(url)
        path = self._hosts / parts.netloc / parts.path.lstrip("/")
        path = path / "index.html" if path.is_dir() else path
        kinds = {".json": "application/json", ".html": "text/html"}
        headers = {
            "content-type": kinds.get(path.suffix, "application/octet-stream"),
            "cache-control": "max-age=600",
            "access-control-allow-origin": "*",
            "date": format_datetime(self.now, usegmt=True),
        }
        found = path.is_file()
        body = path.read_bytes() if found else b""
        return live.Answer(url, 200 if found else 404, headers, body[:max_bytes], len(body) <= max_bytes, (), None)

    def serve(self, url: str, body: bytes) -> None:
        """Make a host serve *body* at *url*."""
        parts = urlsplit(url)
        path = self._hosts / parts.netloc / parts.path.lstrip("/")
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(body)

    def run(self, line: str) -> str:
        """Return the output of the command *line*, with a home folder in place of the folder of this test."""
        words = shlex.split(line, comments=True)
        match words:
            case ["cd", folder]:
                self._monkeypatch.chdir(folder)
                return ""
            case ["echo", "$?"]:
                return f"{self.code}\n"
            case ["rsync", "-a", "public/", target]:
                shutil.copytree("public", self._hosts / target.partition(":")[0], dirs_exist_ok=True)
                return ""
            case [program, *arguments] if program in ORDINARY:
                return self._ordinary(program, arguments)
        assigned = {}
        while words and (match := _ASSIGNMENT.fullmatch(words[0])):
            assigned[match[1]] = match[2]
            words = words[1:]
        if words[:1] != ["keyvault"]:
            raise AssertionError(f"this terminal does not know the command {line!r}")
        with self._monkeypatch.context() as patched:
            for name, value in assigned.items():
                patched.setenv(name, value)
            printed = self._keyvault(words[1:])
        self.now += timedelta(minutes=1)
        return printed.replace(str(self._home), HOME)

    def _ordinary(self, program: str, arguments: list[str]) -> str:
        target = None
        if ">" in arguments:
            *arguments, _, target = arguments
        done = subprocess.run(
            [program, *arguments],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            check=False,
            env=os.environ | {"GIT_AUTHOR_DATE": self.now.isoformat(), "GIT_COMMITTER_DATE": self.now.isoformat()},
        )
        self.code = done.returncode
        if target:
            Path(target).write_bytes(done.stdout)
            return ""
        return done.stdout.decode().replace(str(self._home), HOME)

    def _keyvault(self, arguments: list[str]) -> str:
        source, target, bucket = None, None, None
        if "<" in arguments:
            *arguments, _, source = arguments
        if ">" in arguments:
            *arguments, _, target = arguments
        if arguments[0] == "publish" and (bucket := _BUCKET.fullmatch(arguments[1])):
            host = str(self._hosts / bucket[1].replace("-", "."))
            arguments = ["publish", host, *arguments[2:]]
        screen, redirected = io.BytesIO(), io.BytesIO()
        stderr = io.TextIOWrapper(screen, encoding="utf-8", write_through=True)
        stdout = io.TextIOWrapper(redirected, encoding="utf-8", write_through=True) if target else stderr
        with self._monkeypatch.context() as patched:
            typed = io.BytesIO(Path(source).read_bytes() if source else b"")
            patched.setattr(sys, "stdin", io.TextIOWrapper(typed, encoding="utf-8"))
            patched.setattr(sys, "stdout", stdout)
            patched.setattr(sys, "stderr", stderr)
            self.code = main.run(arguments)
        if target:
            Path(target).write_bytes(redirected.getvalue())
        printed = screen.getvalue().decode()
        return printed.replace(host, bucket[0]) if bucket else printed

    def play(self, transcript: str) -> str:
        """Run the commands of *transcript*, its lines that begin with ``$``, and return it with their output."""
        played = []
        for command, written in _steps(transcript):
            if later := _LATER.fullmatch(command):
                self.now += timedelta(**{later[2]: int(later[1])}) * (1 if later[3] == "later" else -1)
                played.append(command)
                continue
            for name, value in self._renamed.items():
                command = command.replace(name, value)
            printed = self.run(self._unabridged(command.removeprefix("$ ")))
            played += [command, printed]
            found, expected = ([match[0] for match in _CHANGING.finditer(text)] for text in (printed, written))
            if len(found) == len(expected):
                for written_name, name in zip(expected, found, strict=True):
                    self._renamed.setdefault(written_name, name)
        return "".join(played)

    def _unabridged(self, command: str) -> str:
        """Return *command* with whole kids in place of their beginnings."""
        for word in re.findall(r"(?<= )[A-Za-z0-9_-]{4,42}(?=\s|$)", command):
            kids = [
                actual for written, actual in self._renamed.items() if len(written) == 43 and written.startswith(word)
            ]
            if len(kids) == 1:
                command = re.sub(rf"(?<= ){re.escape(word)}(?=\s|$)", kids[0], command)
        return command


def _steps(transcript: str) -> Iterator[tuple[str, str]]:
    """Yield each command of *transcript*, or line that moves the clock, with its expected output."""
    command, written = "", ""
    for line in transcript.splitlines(keepends=True):
        if line.startswith("$ ") or _LATER.fullmatch(line):
            if command:
                yield command, written
            command, written = line, ""
        else:
            written += line
    if command:
        yield command, written


_CHANGING = re.compile(
    r"(?P<kid>(?<![\w-])[A-Za-z0-9_-]{43}(?![\w-]))"
    r"|(?P<beginning>(?<![\w-])[A-Za-z0-9_-]{8}…)"
    r"|(?P<start>(?:(?<=withdraw )|(?<=key )|(?<=keys: ))[A-Za-z0-9_-]{12}(?=[ :]))"
    r"|(?P<commit>(?<=commit )[0-9a-f]{12}\b)"
    r"|(?P<label>(?<=-)[0-9a-f]{6}\b)"
    r"|(?P<jti>(?<=\"jti\": \")[A-Za-z0-9_-]{22}(?=\"))",
    re.ASCII,
)


_SEVERAL = re.compile(r"<kid \d+>(?: <kid \d+>)+")


def placeholders(text: str) -> str:
    """Return *text* with its random parts numbered in the order of their first appearance."""
    names: dict[str, str] = {}

    def name(match: re.Match[str]) -> str:
        return names.setdefault(match[0], f"<{match.lastgroup} {len(names) + 1}>")

    # Several kids in a row are sorted, and the order of random names is random.
    return _SEVERAL.sub(lambda row: " ".join(sorted(re.findall(r"<.*?>", row[0]))), _CHANGING.sub(name, text))
