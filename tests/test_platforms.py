"""The tables of tests that a system leaves out name tests that are there."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.platforms import _LACKING, reason_to_skip

PROJECT = Path(__file__).parent.parent


@pytest.mark.parametrize("start", sorted({start for table in _LACKING.values() for start in table}))
def test_skipped_tests_exist(start: str) -> None:
    """Every entry names an existing test: otherwise a renamed test would run on a system that cannot run it."""
    path, _, name = start.partition("::")
    assert (PROJECT / path).exists()
    assert not name or f"def {name}(" in (PROJECT / path).read_text(encoding="utf-8")


def test_linux_skips_nothing() -> None:
    """Linux skips no test, and other systems skip only the tests of their table."""
    shell = "tests/cli/test_errors.py::test_closed_streams[>&-]"

    assert reason_to_skip(shell, "linux") is None
    assert reason_to_skip(shell, "darwin") is None
    assert reason_to_skip(shell, "win32") == "there is no sh"
    assert reason_to_skip("tests/core/test_keys.py::test_one", "win32") is None
