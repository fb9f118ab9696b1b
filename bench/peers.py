"""Find the other programs and their versions. bench/prepare installs them."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
from collections.abc import Iterable
from pathlib import Path

from fixtures import BENCH, BUILD

#: Compiled from source; a go.mod has the version of the module.
_COMPILED = {
    "sops": (BENCH / "peers" / "sops", "github.com/getsops/sops/v3"),
    "hydra": (BENCH / "peers" / "hydra", "github.com/ory/hydra/v2"),
    "step": (BENCH.parent / "tests" / "interop" / "step", "github.com/smallstep/cli"),
}
#: Installed from packages, with the arguments that print their versions.
_INSTALLED = {
    "age": ("--version",),
    "git": ("--version",),
    "hugo": ("version",),
    "openssl": ("version",),
    "rclone": ("version",),
}
_NUMBER = re.compile(r"\d+(?:\.\d+)+")
BIN = BUILD / "bin"


def path(name: str) -> Path | None:
    """Return the path of the program *name*, or None."""
    # Programs of Python packages are beside the interpreter, which may not be on the PATH.
    folders = [str(BIN), str(Path(sys.executable).parent), os.environ.get("PATH", os.defpath)]
    found = shutil.which(name, path=os.pathsep.join(folders))
    return Path(found) if found else None


def program(name: str) -> str:
    """Return the program *name*, which a row needs, as an argument."""
    found = path(name)
    assert found is not None, name
    return str(found)


def lacking(names: Iterable[str]) -> str | None:
    """Return a message that names the missing programs among *names*, or None."""
    missing = [name for name in names if path(name) is None]
    return f"{', '.join(missing)} not here: bench/prepare" if missing else None


def versions() -> dict[str, str]:
    """Return the version of each installed program."""
    found = {}
    for name, (project, module) in _COMPILED.items():
        match = re.search(rf"{re.escape(module)} v(\S+)", (project / "go.mod").read_text())
        if path(name) and match:
            found[name] = match[1]
    for name, arguments in _INSTALLED.items():
        if path(name):
            match = _NUMBER.search(_printed(name, *arguments))
            found[name] = match[0] if match else "?"
    if path("jose"):
        # It can't print its version; the package manager can.
        said = _printed("dpkg-query", "--show", "--showformat=${Version}", "jose") if path("dpkg-query") else ""
        found["jose"] = said.partition("-")[0] or "?"
    return dict(sorted(found.items()))


def _printed(name: str, *arguments: str) -> str:
    return subprocess.run([program(name), *arguments], capture_output=True, text=True, check=False).stdout
