"""Parts of the documentation's pages: fenced blocks, headings, sections, tables."""

from __future__ import annotations

import re
import textwrap
from pathlib import Path

REPOSITORY = Path(__file__).resolve().parents[2]
DOCS = REPOSITORY / "docs"

_FENCE = re.compile(r"^( *)```(\w*)\n(.*?)^\1```$", re.MULTILINE | re.DOTALL)


def read(path: str) -> str:
    """Return the page at *path*, relative to the repository."""
    return (REPOSITORY / path).read_text(encoding="utf-8")


def pages() -> list[Path]:
    """Return every page of the documentation."""
    top = ("README.md", "SECURITY.md", "CHANGELOG.md", "keys.enc/README.md")
    return [*(REPOSITORY / path for path in top), *sorted(DOCS.rglob("*.md"))]


def fenced(text: str, language: str) -> list[str]:
    """Return the contents of every fenced block of *language*, without the indentation of a list."""
    return [textwrap.dedent(body) for _, name, body in _FENCE.findall(text) if name == language]


def prose(text: str) -> str:
    """Return *text* without its fenced blocks."""
    return _FENCE.sub("", text)


def anchors(text: str) -> set[str]:
    """Return the anchors of a page's headings, as code hosts generate them."""
    headings = re.findall(r"^#+ (.+)$", prose(text), re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-") for heading in headings}


def sections(text: str) -> dict[str, str]:
    """Return the text below each heading of a page, up to the next heading of any level."""
    parts = re.split(r"^#+ (.+)$\n", prose(text), flags=re.MULTILINE)
    return dict(zip(parts[1::2], parts[2::2], strict=True))


def first_column(section: str) -> list[str]:
    """Return the first cell of each row of the table in *section*, without its header."""
    rows = [line for line in section.splitlines() if line.startswith("|")]
    return [re.split(r"(?<!\\)\|", row)[1].strip() for row in rows[2:]]
