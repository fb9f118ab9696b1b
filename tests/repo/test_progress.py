"""Progress: what is told while work goes on, and that it never stands in the way."""

from __future__ import annotations

import pytest

from keyvault.operations import rotation
from keyvault.operations.context import Context
from keyvault.progress import with_progress
from keyvault.repo.audit import blobs
from tests.revisions import audit, render
from tests.vaults import Vault

Told = list[tuple[str, int, int]]


def listening(vault: Vault) -> tuple[Told, Context]:
    """Return what is told of the vault's next commands, and their context."""
    heard: Told = []
    context = vault.context()
    context.progress = lambda label, done, total: heard.append((label, done, total))
    return heard, context


def test_told() -> None:
    """All items come, in order; the first word comes before the first of them, the last behind the last."""
    heard: Told = []
    items = with_progress(iter(range(250)), lambda *word: heard.append(word), "counting", 250)

    assert list(items) == list(range(250))
    assert heard == [("counting", 0, 250), ("counting", 100, 250), ("counting", 200, 250), ("counting", 250, 250)]


def test_told_of_what_nobody_knows_the_number_of() -> None:
    """The end says how many there were."""
    heard: Told = []
    assert list(with_progress("ab", lambda *word: heard.append(word), "counting")) == ["a", "b"]
    assert heard == [("counting", 0, 0), ("counting", 2, 2)]


def test_a_rotation_tells_all_that_takes_long(vault: Vault) -> None:
    """Reading, making, comparing and writing: each grows with the number of keys, so each is told."""
    heard, context = listening(vault)
    rotation.rotate(context, [], forced="a drill")

    labels = list(dict.fromkeys(label for label, *_ in heard))
    assert labels == [
        "reading keys", "making keys", "checking files", "writing objects", "storing objects", "comparing files",
        "writing files",
    ]  # fmt: skip
    assert all(done <= total for _, done, total in heard)
    for label in labels:
        assert [word for word in heard if word[0] == label][-1][1:] in {(2, 2), (3, 3), (4, 4), (6, 6), (8, 8)}


def test_a_remote_is_waited_for(vault: Vault) -> None:
    """A fetch and a push are told of before they begin, and when they have ended."""
    vault.publish_to()
    heard, context = listening(vault)
    rotation.rotate(context, [], forced="a drill", push=True)

    assert [word for word in heard if word[0] in {"fetching", "pushing"}] == [
        ("fetching", 0, 0), ("fetching", 1, 1), ("pushing", 0, 0), ("pushing", 1, 1),
    ]  # fmt: skip


def test_a_render_tells_what_it_reads(vault: Vault) -> None:
    """History and keys are read before the first file is made."""
    heard, context = listening(vault)
    render(context, vault.folder / "public")

    assert [label for label, done, _ in heard if done == 0][:2] == ["reading history", "reading keys"]


def test_an_audit_tells_of_a_large_commit(vault: Vault, monkeypatch: pytest.MonkeyPatch) -> None:
    """One that writes thousands of records is not one step."""
    monkeypatch.setattr(blobs, "_MAX_FILES_AHEAD", 1)
    heard, context = listening(vault)
    found = audit(context)

    assert found.findings == ()
    assert ("reading a large commit", 4, 4) in heard
    assert heard[-1] == ("auditing commits", 1, 1)
