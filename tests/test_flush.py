"""Written files are brought to the disk, one by one or all at once."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

from keyvault import flush


@pytest.mark.skipif(sys.platform != "linux", reason="syncfs(2) is a call of Linux")
def test_many_files_are_flushed_at_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """From 64 files on the file system is asked once, and it does as it is asked."""
    one_by_one: list[object] = []
    monkeypatch.setattr(flush.os, "fsync", one_by_one.append)
    files = [tmp_path / str(number) for number in range(64)]
    for file in files:
        file.write_bytes(b"data")

    flush.flush(files)
    assert not one_by_one

    flush.flush(files[:63])
    assert len(one_by_one) == 63


def test_each_file_is_flushed_where_a_system_cannot_flush_all(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Where there is no syncfs each file is flushed by itself, however many there are."""
    one_by_one: list[object] = []
    monkeypatch.setattr(flush.os, "fsync", one_by_one.append)
    monkeypatch.setattr(flush.sys, "platform", "other")
    files = [tmp_path / str(number) for number in range(70)]
    for file in files:
        file.write_bytes(b"data")

    flush.flush(files)

    assert len(one_by_one) == 70


def test_a_file_that_is_gone_is_no_success(tmp_path: Path) -> None:
    """What cannot be opened was not flushed."""
    with pytest.raises(FileNotFoundError):
        flush.flush([tmp_path / "gone"] * 64)
    with pytest.raises(FileNotFoundError):
        flush.flush([tmp_path / "gone"])
