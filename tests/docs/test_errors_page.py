"""docs/errors.md lists every error of the package, with its code."""

from __future__ import annotations

import re

from tests.docs.errors import PAGE, page, raised


def test_the_page_is_up_to_date() -> None:
    """The table equals the source, word for word; `python -m tests.docs.errors` regenerates it."""
    assert PAGE.read_text(encoding="utf-8") == page()


def test_every_error_has_a_code() -> None:
    """A code is lower-case words joined by hyphens, which a program can compare."""
    errors = [error for error in raised() if not error.passed_on]
    wrong = [
        f"{error.where} {error.kind} {error.code!r}" for error in errors if not re.fullmatch(r"[a-z0-9-]+", error.code)
    ]
    assert not wrong
