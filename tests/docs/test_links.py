"""The documentation's links resolve, and its index is complete."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from tests.docs.pages import DOCS, REPOSITORY, anchors, pages, prose

_LINK = re.compile(r"\[[^\]]+\]\(([^)\s]+)\)")
_NAMED = re.compile(r"docs/[\w/.-]+")


@pytest.mark.parametrize("page", pages(), ids=lambda page: str(page.relative_to(REPOSITORY)))
def test_relative_links_resolve(page: Path) -> None:
    """The file exists, and so does the heading of an anchor."""
    for link in _LINK.findall(prose(page.read_text(encoding="utf-8"))):
        if link.startswith(("https://", "mailto:")):
            continue
        path, _, anchor = link.partition("#")
        target = page.parent / path if path else page
        assert target.exists(), f"{page.name} links to {link}"
        if anchor:
            assert anchor in anchors(target.read_text(encoding="utf-8")), f"{page.name} links to {link}"


def test_the_index_lists_every_page() -> None:
    """A reader of the index finds every page in docs."""
    linked = {(DOCS / link).resolve() for link in _LINK.findall((DOCS / "index.md").read_text(encoding="utf-8"))}

    present = {
        path.resolve()
        for path in DOCS.rglob("*")
        if path.is_file() and path.name != "index.md" and path.parent.name != "images"
    }

    assert present <= linked


def test_decisions_are_numbered_without_gaps() -> None:
    """0001, 0002, … and the title of each page begins with its number."""
    decisions = sorted((DOCS / "adr").iterdir())

    assert [int(path.name[:4]) for path in decisions] == list(range(1, len(decisions) + 1))
    for path in decisions:
        text = path.read_text(encoding="utf-8")
        assert text.startswith(f"# {int(path.name[:4])}. ")
        assert re.findall(r"^## (.+)$", text, re.MULTILINE) == ["Context", "Decision", "Consequences"]


def test_pages_that_the_code_names_exist() -> None:
    """Pages that docstrings give as their source exist."""
    named = {
        match.rstrip(".")
        for path in (REPOSITORY / "keyvault").rglob("*.py")
        for match in _NAMED.findall(path.read_text(encoding="utf-8"))
    }

    assert named
    for name in named:
        found = list(REPOSITORY.glob(f"{name}*"))
        assert found, f"the code names {name}"
