"""
Start git processes, and turn their failures into errors.

Every process gets the hardened environment of `environment`. Knows no git command.

Source: docs/adr/0006.
"""

from __future__ import annotations

import contextlib
import signal
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import IO

from keyvault.core.text import elided
from keyvault.errors import GitError, KilledError
from keyvault.repo.git.environment import Configuration, process_environment

#: The size of our buffer for git's output, and of the pipe if the system allows it, in bytes.
_BUFFER = 1 << 18
_PIPE = 1 << 20

_HINTS = (
    (
        "please tell me who you are",
        'git config --global user.name "Your Name"; git config --global user.email you@example.com',
    ),
    ("empty ident name", 'git config --global user.name "Your Name"; git config --global user.email you@example.com'),
    ("dubious ownership", "git config --global --add safe.directory PATH, if you trust this repository"),
    (".lock': file exists", "another git process is at work here; if there is none: keyvault repair"),
)


@dataclass
class Runner:
    """
    Runs git in a folder.

    Attributes:
        folder: The working directory of git.
        environ: The caller's environment.
    """

    folder: Path
    environ: Mapping[str, str] = field(repr=False)

    @cached_property
    def configuration(self) -> Configuration:
        """All settings that git sees in the folder."""
        return Configuration.parse(self.run("config", "--list", "--show-scope", "-z"), self.environ)

    def environment(self, settings: Iterable[tuple[str, str]] = ()) -> dict[str, str]:
        """Return the environment of a git process, with *settings* above all configuration files."""
        return process_environment(self.environ, settings)

    def run(
        self,
        *arguments: str,
        stdin: bytes | None = None,
        settings: Iterable[tuple[str, str]] = (),
        extra: Mapping[str, str] | None = None,
        ok: Sequence[int] = (0,),
    ) -> bytes:
        """
        Run git and return its output.

        Args:
            arguments: The command line after ``git``.
            stdin: The input of git; none by default.
            settings: Configuration for this call.
            extra: Environment for this call.
            ok: Exit codes that are no failure.

        Raises:
            GitError: If git failed, or is not installed.
        """
        with self._started(arguments, stderr=subprocess.PIPE, settings=settings, extra=extra) as process:
            output, errors = process.communicate(stdin or b"")
        if process.returncode not in ok:
            raise failure(arguments[0], errors.decode(errors="replace"), process.returncode)
        return output

    @contextlib.contextmanager
    def reading(self, command: Sequence[str]) -> Iterator[IO[bytes]]:
        """Run git and give its output as it comes; GitError at the end if git failed."""
        with self._started(command, stderr=subprocess.PIPE) as process:
            assert process.stdin is not None
            assert process.stdout is not None
            assert process.stderr is not None
            process.stdin.close()
            yield process.stdout
            # All output was read, so git has ended or is about to, and its messages are few.
            errors = process.stderr.read()
            if process.wait():
                raise failure(command[0], errors.decode(errors="replace"), process.returncode)

    @contextlib.contextmanager
    def talking(self, *command: str) -> Iterator[tuple[IO[bytes], IO[bytes]]]:
        """Run git, give its stdin and stdout, and end it."""
        with self._started(command, stderr=subprocess.DEVNULL) as process:
            assert process.stdin is not None
            assert process.stdout is not None
            _widen(process.stdout)
            yield process.stdin, process.stdout

    @contextlib.contextmanager
    def feeding(
        self, command: Sequence[str], extra: Mapping[str, str]
    ) -> Iterator[tuple[IO[bytes], Callable[[], bytes]]]:
        """Run git, give its stdin and a function that waits for its end and returns its output; GitError as `run`."""
        with tempfile.TemporaryFile() as errors, self._started(command, stderr=errors, extra=extra) as process:
            assert process.stdin is not None
            assert process.stdout is not None
            stdin, stdout = process.stdin, process.stdout

            def failed() -> GitError:
                code = process.wait()
                errors.seek(0)
                return failure(command[0], errors.read().decode(errors="replace"), code)

            def ended() -> bytes:
                stdin.close()
                output = stdout.read()
                if process.wait():
                    raise failed()
                return output

            try:
                yield stdin, ended
            except BrokenPipeError:  # git went away, and has said why
                raise failed() from None

    @contextlib.contextmanager
    def _started(
        self,
        command: Sequence[str],
        *,
        stderr: int | IO[bytes],
        settings: Iterable[tuple[str, str]] = (),
        extra: Mapping[str, str] | None = None,
    ) -> Iterator[subprocess.Popen[bytes]]:
        """Start git with pipes to its stdin and stdout, and end it."""
        try:
            process = subprocess.Popen(
                ["git", *command],
                cwd=self.folder,
                env={**self.environment(settings), **(extra or {})},
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=stderr,
                bufsize=_BUFFER,
            )
        except FileNotFoundError:
            if not self.folder.is_dir():
                raise GitError(f"{self.folder} is not a folder") from None
            raise GitError("git is not installed", hint="install git 2.38 or newer") from None
        except OSError as error:
            raise GitError(f"git cannot be run in {self.folder}: {error.strerror}") from None
        try:
            yield process
        finally:
            for stream in (process.stdout, process.stderr):
                if stream is not None:
                    stream.close()
            if process.poll() is None:
                process.kill()
            process.wait()
            if process.stdin is not None:
                with contextlib.suppress(OSError):
                    process.stdin.close()


def _widen(pipe: IO[bytes]) -> None:
    """Let *pipe* hold more, so that git works ahead, where the system can and the user may."""
    if sys.platform == "linux":
        import fcntl

        with contextlib.suppress(OSError):
            fcntl.fcntl(pipe, fcntl.F_SETPIPE_SZ, _PIPE)


def killed(command: str, number: int) -> KilledError:
    """Return the error for a git command that a signal ended."""
    try:
        name = signal.Signals(number).name
    except ValueError:
        name = f"signal {number}"
    return KilledError(f"git {command} was killed ({name})", hint="run the command again")


def failure(command: str, stderr: str, code: int) -> GitError:
    """Return the error for a git command that failed: its last fatal line and a hint, or the signal that killed it."""
    if code < 0:
        return killed(command, -code)
    lines = [line.strip() for line in stderr.splitlines() if line.strip()]
    telling = [line for line in lines if line.startswith(("fatal:", "error:", "remote:", "! "))] or lines
    text = telling[0] if telling else f"exit code {code}"
    text = text.removeprefix("fatal: ").removeprefix("error: ").rstrip(".")
    lowered = stderr.lower()
    hint = next((hint for needle, hint in _HINTS if needle in lowered), None)
    if "please tell me who you are" in lowered or "empty ident" in lowered or "auto-detection is disabled" in lowered:
        text, hint = "git does not know who you are: user.name and user.email are not set", _HINTS[0][1]
    return GitError(f"git {command}: {elided(text)[:300]}" if hint is not _HINTS[0][1] else text, hint=hint)
