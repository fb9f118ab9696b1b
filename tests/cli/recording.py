"""Records of real processes: their input, everything that they wrote, even for a moment, and what they passed to children."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from tests.cli.canaries import JWK
from tests.cli.terminal import Result, Terminal
from tests.vaults import PROJECT

SOURCE = Path(__file__).with_name("recording.c")


@dataclass(frozen=True)
class Record:
    """
    Something that was recorded.

    Attributes:
        kind: ``arguments``, ``environment``, ``limits``, ``file`` or ``stream``.
        ours: Whether the process is one that the test itself started, and none that this one ran.
        path: The path of a file, the number of a stream.
        data: What was in it.
    """

    kind: str
    ours: bool
    path: str
    data: bytes

    @property
    def known(self) -> bool:
        """Whether it is input from the test or output of keyvault, which are searched separately."""
        printed = self.kind == "stream" and self.path in ("1", "2")
        return self.ours and (printed or self.kind == "environment")

    def __str__(self) -> str:
        return f"{self.kind} of {'keyvault' if self.ours else 'a child'} {self.path}".rstrip()


class Recording:
    """A folder of records, and the environment that enables recording."""

    def __init__(self, folder: Path, library: Path) -> None:
        """
        Args:
            folder: Where records are kept, resolved.
            library: What recording.c was built to.
        """
        self.folder = folder
        self.environ = {"LD_PRELOAD": str(library), "RECORDING": str(self.folder)}
        #: Where `tests.cli.watched` notes the keys that it makes; what lies in this folder is not recorded.
        self.made = self.folder / "made"
        self.made.touch()

    @property
    def keys(self) -> list[JWK]:
        """Every private JWK that was generated."""
        return [json.loads(line) for line in self.made.read_text().splitlines()]

    def records(self) -> Iterator[Record]:
        """Yield every record."""
        for path in sorted(self.folder.glob("*-*")):
            kind, _pid, parent, rest = path.name.split("-", 3)
            data = path.read_bytes()
            if kind == "file":
                name, _, data = data.partition(b"\0")
                rest = os.fsdecode(name)
            yield Record(kind, parent == str(os.getpid()), rest if kind in ("file", "stream") else "", data)


class Processes(Terminal):
    """A terminal that runs each command in a recorded process."""

    recording: Recording

    @classmethod
    def recorded(cls, terminal: Terminal, recording: Recording) -> Processes:
        """Return a terminal in the folder of *terminal*."""
        made = cls(terminal.folder, terminal.environ, terminal.now)
        made.vault, made.recording = terminal.vault, recording
        return made

    def _options(self, arguments: tuple[str | Path, ...], environ: dict[str, str]) -> tuple[list[str], dict[str, str]]:
        words = ["-m", "tests.cli.watched", self.now.isoformat(), str(self.recording.made), *map(str, arguments)]
        base = {**self.environ, "PYTHONPATH": str(PROJECT), "PYTHONDONTWRITEBYTECODE": "1"}
        return [sys.executable, *words], base | self.recording.environ | environ

    def __call__(self, *arguments: str | Path, stdin: str = "", **environ: str) -> Result:
        """Run a command."""
        command, environ = self._options(arguments, environ)
        done = subprocess.run(
            command, cwd=self.folder, env=environ, input=stdin.encode(), capture_output=True, check=False, timeout=120
        )
        result = Result(done.returncode, done.stdout.decode(), done.stderr.decode())
        self.everything += [result.out, result.err]
        return result

    def start(self, *arguments: str) -> subprocess.Popen[bytes]:
        """Start a command that runs until it is stopped."""
        command, environ = self._options(arguments, {})
        return subprocess.Popen(
            command, cwd=self.folder, env=environ, stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE, stderr=subprocess.PIPE,
        )  # fmt: skip
