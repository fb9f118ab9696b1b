"""docs/lint.md lists every rule with its level and the libraries it hurts, and no others."""

from __future__ import annotations

import re

import pytest

from keyvault.core.lint.consumers import CONSUMERS
from keyvault.core.lint.rules import LEVELS, RULES
from tests.docs.pages import read, sections
from tests.interop.lint_table import hurt_cell, page

SECTIONS = sections(read("docs/lint.md"))


def rows(section: str) -> list[list[str]]:
    """Return the cells of each row of the table of *section*, without its header."""
    lines = [line for line in SECTIONS[section].splitlines() if line.startswith("|")]
    return [[cell.strip() for cell in re.split(r"(?<!\\)\|", line)[1:-1]] for line in lines[2:]]


#: The rows of each rule, by its code.
ROWS = {
    cells[0].strip("`"): cells
    for section in list(SECTIONS)[list(SECTIONS).index("Codes") + 1 :]
    for cells in rows(section)
}


def test_every_rule_has_a_row() -> None:
    """Each rule has one row, in the order of the code."""
    assert list(ROWS) == list(RULES)


@pytest.mark.parametrize("code", RULES)
def test_row_of_a_rule(code: str) -> None:
    """Level and libraries equal those of the code; the row explains the meaning and the remedy."""
    rule = RULES[code]
    _, level, means, hurts, advice = ROWS[code]

    assert level == rule.level
    assert hurts == hurt_cell(code)
    assert means
    assert advice


def test_names_are_written_by_the_program() -> None:
    """`make interop` would not change the page."""
    assert page(read("docs/lint.md")) == read("docs/lint.md")


def test_levels() -> None:
    """Errors, and warnings, give exit code 5."""
    assert [(cells[0], cells[-1]) for cells in rows("Levels")] == [
        (level, "0" if level == "note" else "5") for level in LEVELS
    ]


def test_consumers() -> None:
    """The page lists each name for --for, its name in findings, and its algorithms."""
    assert [(name.strip("`"), label, algs) for name, label, algs in rows("Where this comes from")] == [
        (name, consumer.label, " ".join(consumer.algs)) for name, consumer in CONSUMERS.items()
    ]
