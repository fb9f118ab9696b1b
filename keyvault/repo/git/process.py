"""
Start git processes, and turn their failures into errors.

Every process gets the hardened environment of `environment`. Knows no git command.

Source: docs/adr/0009.
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

#: Texts in git's messages about a missing user name or email.
_NO_USER = ("please tell me who you are", "empty ident", "auto-detection is disabled")


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
            ok: Exit codes that mean success.

        Raises:
            GitError: If git failed, or is not installed.
        """
        with self._process(arguments, stderr=subprocess.PIPE, settings=settings, extra=extra) as process:
            output, errors = process.communicate(stdin or b"")
        if process.returncode not in ok:
            raise git_error(arguments[0], errors.decode(errors="replace"), process.returncode)
        return output

    @contextlib.contextmanager
    def stream_output(self, command: Sequence[str]) -> Iterator[IO[bytes]]:
        """Run git and yield its stdout; GitError at the end if git failed."""
        with self._process(command, stderr=subprocess.PIPE) as process:
            assert process.stdin is not None
            assert process.stdout is not None
            assert process.stderr is not None
            process.stdin.close()
            yield process.stdout
            # We have read all output, so git has ended or is about to, and its messages are short.
            errors = process.stderr.read()
            if process.wait():
                raise git_error(command[0], errors.decode(errors="replace"), process.returncode)

    @contextlib.contextmanager
    def request_pipes(self, *command: str) -> Iterator[tuple[IO[bytes], IO[bytes]]]:
        """Run a git command that answers requests, and yield its stdin and stdout; kill it when the context ends."""
        with self._process(command, stderr=subprocess.DEVNULL) as process:
            assert process.stdin is not None
            assert process.stdout is not None
            _enlarge(process.stdout)
            yield process.stdin, process.stdout

    @contextlib.contextmanager
    def stream_input(
        self, command: Sequence[str], extra: Mapping[str, str]
    ) -> Iterator[tuple[IO[bytes], Callable[[], bytes]]]:
        """Run git; yield its stdin, and a function that waits for its end and returns its stdout. Raises as `run`."""
        with tempfile.TemporaryFile() as errors, self._process(command, stderr=errors, extra=extra) as process:
            assert process.stdin is not None
            assert process.stdout is not None
            stdin, stdout = process.stdin, process.stdout

            def error_of_process() -> GitError:
                code = process.wait()
                errors.seek(0)
                return git_error(command[0], errors.read().decode(errors="replace"), code)

            def finish() -> bytes:
                stdin.close()
                output = stdout.read()
                if process.wait():
                    raise error_of_process()
                return output

            try:
                yield stdin, finish
            except BrokenPipeError:  # git ended early; its stderr says why
                raise error_of_process() from None

    @contextlib.contextmanager
    def _process(
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
                raise GitError(f"{self.folder} is not a folder", code="not-a-folder") from None
            raise GitError("git is not installed", code="program-missing", hint="install git 2.38 or newer") from None
        except OSError as error:
            raise GitError(f"cannot run git in {self.folder}: {error.strerror}", code="git-failed") from None
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


def _enlarge(pipe: IO[bytes]) -> None:
    """Enlarge the buffer of *pipe*, so that git works ahead, if the system supports and allows it."""
    if sys.platform == "linux":
        import fcntl

        with contextlib.suppress(OSError):
            fcntl.fcntl(pipe, fcntl.F_SETPIPE_SZ, _PIPE)


def killed_error(command: str, number: int) -> KilledError:
    """Return the error for a git command that a signal killed."""
    try:
        name = signal.Signals(number).name
    except ValueError:
        name = f"signal {number}"
    return KilledError(f"git {command} was killed ({name})", code="git-killed", hint="run the command again")


def no_user_error() -> GitError:
    """Return the error for a clone without a name and email for the committer."""
    return GitError(
        "git does not know who you are: user.name and user.email are not set",
        code="git-user-missing",
        hint='git config --global user.name "Your Name"; git config --global user.email you@example.com',
    )


def git_error(command: str, stderr: str, code: int) -> GitError:
    """Return the error for a git command that failed: its first error line and a hint, or the signal that killed it."""
    if code < 0:
        return killed_error(command, -code)
    lowered = stderr.lower()
    if any(text in lowered for text in _NO_USER):
        return no_user_error()
    lines = [line.strip() for line in stderr.splitlines() if line.strip()]
    reasons = [line for line in lines if line.startswith(("fatal:", "error:", "remote:", "! "))] or lines
    reason = reasons[0] if reasons else f"exit code {code}"
    reason = reason.removeprefix("fatal: ").removeprefix("error: ").rstrip(".")
    message = f"git {command}: {elided(reason)[:300]}"
    if "dubious ownership" in lowered:
        return GitError(
            message,
            code="repository-untrusted",
            hint="if you trust this repository: git config --global --add safe.directory PATH",
        )
    if ".lock': file exists" in lowered:
        return GitError(
            message,
            code="git-locked",
            hint="another git process is running here: wait for it; if there is none: keyvault repair",
        )
    return GitError(message, code="git-failed")
