"""External programs that write and read keys: OpenSSL, jose of Debian, step, keytool of Java."""

from __future__ import annotations

import functools
import os
import re
import shutil
import subprocess
from pathlib import Path

import pytest
from filelock import FileLock

#: A Go module that pins step and its dependencies.
STEP = Path(__file__).parent / "step"


class ForeignError(Exception):
    """The error message of an external program."""


def run(*command: str | Path, stdin: bytes = b"", cwd: Path | None = None) -> bytes:
    """Return the output of *command*, or raise an error with its message."""
    # The C locale gives the messages of the sources; openssl writes no random state to the home folder.
    environ = {**os.environ, "LC_ALL": "C", "RANDFILE": os.devnull, "STEPPATH": str(cwd or os.curdir)}
    done = subprocess.run(
        [*map(str, command)], input=stdin, capture_output=True, cwd=cwd, env=environ, check=False, timeout=60
    )
    if done.returncode:
        raise ForeignError((done.stderr + done.stdout).decode(errors="replace").strip())
    return done.stdout


@functools.cache
def openssl_version() -> tuple[int, int]:
    """Return the version of the program, which may differ from that of Python's library."""
    if not shutil.which("openssl"):
        return 0, 0
    found = re.match(rb"OpenSSL (\d+)\.(\d+)", run("openssl", "version"))
    return (int(found[1]), int(found[2])) if found else (0, 0)


def needs(program: str) -> None:
    """Skip the test if *program* is missing; LibreSSL does not count as OpenSSL."""
    if not shutil.which(program) or (program == "openssl" and openssl_version() < (3, 0)):
        pytest.skip(f"{program} is not installed")


def build_step(folder: Path) -> Path:
    """
    Return the path of step, built from the modules that `make prepare` fetched and compiled.

    Args:
        folder: A folder that all workers of a run share.
    """
    if not shutil.which("go"):
        pytest.skip("Go is not installed")
    # No test fetches anything, neither modules nor a newer Go.
    offline = {**os.environ, "GOPROXY": "off", "GOTOOLCHAIN": "local"}
    package = "github.com/smallstep/cli/cmd/step"
    if subprocess.run(["go", "list", "-deps", package], cwd=STEP, env=offline, capture_output=True).returncode:
        pytest.skip("the Go modules of tests/interop/step are not fetched, or Go is too old for them: make prepare")
    program = folder / "step"
    with FileLock(folder / "step.lock"):
        if not program.exists():
            command = ["go", "build", "-o", str(program), package]
            subprocess.run(command, cwd=STEP, env=offline, check=True, timeout=900)
    return program
