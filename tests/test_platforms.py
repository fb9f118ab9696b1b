"""The tables of tests that a system leaves out name tests that are there."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.platforms import _LACKING, reason_to_skip

PROJECT = Path(__file__).parent.parent


@pytest.mark.parametrize("start", sorted({start for table in _LACKING.values() for start in table}))
def test_what_is_left_out_is_there(start: str) -> None:
    """A test that was renamed would run where it cannot."""
    path, _, name = start.partition("::")
    assert (PROJECT / path).exists()
    assert not name or f"def {name}(" in (PROJECT / path).read_text(encoding="utf-8")


def test_linux_leaves_out_nothing() -> None:
    """And the others no more than what their table says."""
    shell = "tests/cli/test_errors.py::test_closed_streams[>&-]"

    assert reason_to_skip(shell, "linux") is None
    assert reason_to_skip(shell, "darwin") is None
    assert reason_to_skip(shell, "win32") == "there is no sh"
    assert reason_to_skip("tests/core/test_keys.py::test_one", "win32") is None
