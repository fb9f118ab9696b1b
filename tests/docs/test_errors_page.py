"""docs/errors.md lists every error of the package, with its code."""

from __future__ import annotations

import re

from tests.docs.errors import PAGE, page, raised


def test_the_page_is_up_to_date() -> None:
    """The table equals the source, word for word; `python -m tests.docs.errors` regenerates it."""
    assert PAGE.read_text(encoding="utf-8") == page()


def test_every_error_has_a_code() -> None:
    """A code is lower-case words joined by hyphens, which a program can compare."""
    made = [one for one in raised() if not one.passed_on]
    wrong = [f"{one.where} {one.kind} {one.code!r}" for one in made if not re.fullmatch(r"[a-z0-9-]+", one.code)]
    assert not wrong
