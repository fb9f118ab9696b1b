"""The programs that keys come from and go to: OpenSSL, jose of Debian, step, keytool of Java."""

from __future__ import annotations

import functools
import os
import re
import shutil
import subprocess
from pathlib import Path

import pytest
from filelock import FileLock

#: A Go module that names step and all that it is made of.
STEP = Path(__file__).parent / "step"


class ForeignError(Exception):
    """What a program says when it does not do what it was asked."""


def run(*command: str | Path, stdin: bytes = b"", cwd: Path | None = None) -> bytes:
    """Return what *command* prints; a message of its own where it fails."""
    # In C, messages are those of the sources; openssl writes no random state into the home of whoever tests.
    environ = {**os.environ, "LC_ALL": "C", "RANDFILE": os.devnull, "STEPPATH": str(cwd or os.curdir)}
    done = subprocess.run(
        [*map(str, command)], input=stdin, capture_output=True, cwd=cwd, env=environ, check=False, timeout=60
    )
    if done.returncode:
        raise ForeignError((done.stderr + done.stdout).decode(errors="replace").strip())
    return done.stdout


@functools.cache
def openssl_version() -> tuple[int, int]:
    """Return the version of the program, which need not be that of Python's library."""
    if not shutil.which("openssl"):
        return 0, 0
    found = re.match(rb"OpenSSL (\d+)\.(\d+)", run("openssl", "version"))
    return (int(found[1]), int(found[2])) if found else (0, 0)


def needs(program: str) -> None:
    """Skip the test where *program* is missing; LibreSSL is no OpenSSL."""
    if not shutil.which(program) or (program == "openssl" and openssl_version() < (3, 0)):
        pytest.skip(f"{program} is not installed")


def build_step(folder: Path) -> Path:
    """
    Return step, made of the modules that `make prepare` fetched and compiled.

    Args:
        folder: One that all workers of a run share.
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
