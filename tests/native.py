"""Libraries in C that are preloaded into programs, to count, interrupt or record their operations."""

from __future__ import annotations

import shutil
import subprocess
import sys
from pathlib import Path

import pytest


def build(source: Path, folder: Path) -> Path:
    """Return the library that *source* compiles to, in *folder*; skip the test if it cannot be compiled here."""
    compiler = shutil.which("cc") or shutil.which("gcc") or shutil.which("clang")
    if compiler is None or not sys.platform.startswith("linux"):
        pytest.skip("needs Linux and a C compiler")
    library = folder / source.with_suffix(".so").name
    subprocess.run([compiler, "-shared", "-fPIC", "-O1", "-o", str(library), str(source), "-ldl"], check=True)
    return library
