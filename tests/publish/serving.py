"""``keyvault serve`` as a separate process, and a simple client."""

from __future__ import annotations

import http.client
import signal
import subprocess
import sys
import threading
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from urllib.parse import urlsplit

from tests.site.vaults import Lab

REPOSITORY = Path(__file__).parent.parent.parent

# If a shell starts the tests in the background, they and their child processes ignore SIGINT.
_MAIN = """
import signal, sys
signal.signal(signal.SIGINT, signal.default_int_handler)
from keyvault.cli.main import main
main(sys.argv[1:])
"""


@dataclass(frozen=True)
class Answer:
    """A whole response."""

    status: int
    headers: Mapping[str, str]
    body: bytes


def ask(url: str, path: str = "", *, method: str = "GET") -> Answer:
    """Request exactly *path* from the host of *url*, without normalisation."""
    parts = urlsplit(url)
    connection = http.client.HTTPConnection(str(parts.hostname), parts.port, timeout=30)
    try:
        connection.request(method, path or parts.path)
        response = connection.getresponse()
        return Answer(response.status, dict(response.getheaders()), response.read())
    finally:
        connection.close()


class Serving:
    """
    A running ``keyvault serve``.

    Attributes:
        url: The address that it printed.
        errors: The lines that it wrote to stderr so far.
    """

    def __init__(self, lab: Lab, *options: str) -> None:
        environ = {**lab.environ, "PYTHONPATH": str(REPOSITORY), "PYTHONDONTWRITEBYTECODE": "1"}
        self.process = subprocess.Popen(
            [sys.executable, "-c", _MAIN, "--vault", str(lab.folder), "serve", "--port", "0", *options],
            env=environ,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        self.errors: list[str] = []
        self._reader = threading.Thread(target=self._read, daemon=True)
        self._reader.start()
        assert self.process.stdout is not None
        line = self.process.stdout.readline()
        assert line.startswith("serving http://127.0.0.1:"), (line, self.errors)
        self.url = line.removeprefix("serving ").strip()

    def _read(self) -> None:
        assert self.process.stderr is not None
        self.errors.extend(iter(self.process.stderr.readline, ""))

    def interrupt(self) -> int:
        """Send SIGINT and return the exit code."""
        self.process.send_signal(signal.SIGINT)
        code = self.process.wait(timeout=30)
        self._reader.join()
        return code

    def __enter__(self) -> Serving:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self.process.poll() is None:
            self.process.kill()
            self.process.wait()
        self._reader.join()
        for stream in (self.process.stdout, self.process.stderr):
            assert stream is not None
            stream.close()
