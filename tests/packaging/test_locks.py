"""Lock files pin by hash, and contain no address of an index or mirror."""

from __future__ import annotations

import re
import subprocess
from pathlib import Path

import pytest

PROJECT = Path(__file__).parent.parent.parent
LOCKS = ("*.lock", "*package-lock.json", "*go.sum")


def locks() -> list[str]:
    """
    Return the lock files in git, or none outside of a clone; lock files that tools write beside them do not count.
    """
    command = ["git", "ls-files", "-z", "--", *LOCKS]
    listed = subprocess.run(command, cwd=PROJECT, capture_output=True, text=True, check=False).stdout
    return sorted(name for name in listed.split("\0") if name)


@pytest.mark.parametrize("name", locks())
def test_a_lock_file_has_no_address(name: str) -> None:
    """A lock file names no index, no mirror and no funding page."""
    assert re.findall(r"https?://\S+", (PROJECT / name).read_text(encoding="utf-8")) == []
