"""docs/audit.md explains every finding of the audit, and no others."""

from __future__ import annotations

import re

import pytest

from keyvault.core.history.findings import ERRORS, NOTES
from tests.docs.pages import read

PAGE = read("docs/audit.md")
HEADINGS = re.findall(r"^### (\S+)$", PAGE, re.MULTILINE)


def test_every_code_has_a_section() -> None:
    """Each code has one section, in the order of the code."""
    assert [*ERRORS, *NOTES] == HEADINGS


@pytest.mark.parametrize("code", [*ERRORS, *NOTES])
def test_a_section_says_more_than_its_name(code: str) -> None:
    """The section explains the meaning, the cause and the remedy."""
    section = PAGE.partition(f"### {code}\n")[2].partition("\n#")[0]

    assert len(section.split()) >= 15
