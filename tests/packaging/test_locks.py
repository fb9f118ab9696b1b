"""Lock files pin by hash, and say nothing of where somebody once fetched things from."""

from __future__ import annotations

import re
import subprocess
from pathlib import Path

import pytest

PROJECT = Path(__file__).parent.parent.parent
LOCKS = ("*.lock", "*package-lock.json", "*go.sum")


def locks() -> list[str]:
    """Return the lock files that git has, none outside of a clone; what tools make beside them is not the project's."""
    command = ["git", "ls-files", "-z", "--", *LOCKS]
    listed = subprocess.run(command, cwd=PROJECT, capture_output=True, text=True, check=False).stdout
    return sorted(name for name in listed.split("\0") if name)


@pytest.mark.parametrize("name", locks())
def test_a_lock_file_has_no_address(name: str) -> None:
    """Neither an index nor a mirror, nor the web page of somebody who wants money."""
    assert re.findall(r"https?://\S+", (PROJECT / name).read_text(encoding="utf-8")) == []
