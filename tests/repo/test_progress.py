"""Progress reports of long operations."""

from __future__ import annotations

import pytest

from keyvault.operations import rotation
from keyvault.operations.context import Context
from keyvault.progress import with_progress
from keyvault.repo.audit import blobs
from tests.revisions import audit, render
from tests.vaults import Vault

Reports = list[tuple[str, int, int]]


def recording(vault: Vault) -> tuple[Reports, Context]:
    """Return a list that receives the progress reports of the context, and the context."""
    reports: Reports = []
    context = vault.context()
    context.progress = lambda label, done, total: reports.append((label, done, total))
    return reports, context


def test_a_known_number_of_items() -> None:
    """All items are yielded in order; the first report comes before the first item, the last after the last."""
    reports: Reports = []
    items = with_progress(iter(range(250)), lambda *report: reports.append(report), "counting", 250)

    assert list(items) == list(range(250))
    assert reports == [("counting", 0, 250), ("counting", 100, 250), ("counting", 200, 250), ("counting", 250, 250)]


def test_an_unknown_number_of_items() -> None:
    """The last report has the number of items."""
    reports: Reports = []
    assert list(with_progress("ab", lambda *report: reports.append(report), "counting")) == ["a", "b"]
    assert reports == [("counting", 0, 0), ("counting", 2, 2)]


def test_a_rotation_reports_every_long_step(vault: Vault) -> None:
    """Steps whose duration grows with the number of keys are reported."""
    reports, context = recording(vault)
    rotation.rotate(context, [], forced="a drill")

    labels = list(dict.fromkeys(label for label, *_ in reports))
    assert labels == [
        "reading keys", "generating keys", "checking files", "writing objects", "storing objects", "comparing files",
        "writing files",
    ]  # fmt: skip
    assert all(done <= total for _, done, total in reports)
    for label in labels:
        assert [report for report in reports if report[0] == label][-1][1:] in {(2, 2), (3, 3), (4, 4), (6, 6), (8, 8)}


def test_a_fetch_and_a_push_are_reported(vault: Vault) -> None:
    """There is a report before a fetch or a push starts, and one after it ends."""
    vault.publish_to()
    reports, context = recording(vault)
    rotation.rotate(context, [], forced="a drill", push=True)

    assert [report for report in reports if report[0] in {"fetching", "pushing"}] == [
        ("fetching", 0, 0), ("fetching", 1, 1), ("pushing", 0, 0), ("pushing", 1, 1),
    ]  # fmt: skip


def test_a_render_reports_reading(vault: Vault) -> None:
    """History and keys are read before the first file is generated."""
    reports, context = recording(vault)
    render(context, vault.folder / "public")

    assert [label for label, done, _ in reports if done == 0][:2] == ["reading history", "reading keys"]


def test_an_audit_reports_a_large_commit(vault: Vault, monkeypatch: pytest.MonkeyPatch) -> None:
    """A commit that writes thousands of records is not one step."""
    monkeypatch.setattr(blobs, "_MAX_FILES_AHEAD", 1)
    reports, context = recording(vault)
    found = audit(context)

    assert found.findings == ()
    assert ("reading a large commit", 4, 4) in reports
    assert reports[-1] == ("auditing commits", 1, 1)
