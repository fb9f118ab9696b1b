"""
What GitHub Actions is told beside what people read: tables in the summary of the run, annotations, outputs.

Only with ``GITHUB_ACTIONS=true``, and not with ``--quiet``. Annotations go to stderr, where the runner finds them
too, so that stdout holds the result and nothing else.

Source: Workflow commands for GitHub Actions.
"""

from __future__ import annotations

import contextlib
import os
import re
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Literal

from keyvault.core.text import printable

Level = Literal["error", "warning", "notice"]

#: Rows of a table; a summary may have 1 MiB, and nobody reads as much.
ROWS_MAX = 200

#: GitHub shows no more than ten annotations of a kind from one step; the last is for the error itself.
ANNOTATIONS_MAX = 9

_MARKDOWN = re.compile(r"([\\`*_{}\[\]()#+!|~-])")


def wanted() -> bool:
    """Return whether this is a step of GitHub Actions."""
    return os.environ.get("GITHUB_ACTIONS") == "true"


def annotate(level: Level, message: str, *, title: str = "keyvault", file: str | None = None) -> None:
    """Show *message* on the page of the run, and beside *file* where a change is looked at."""
    if not wanted():
        return
    properties = ",".join(
        f"{name}={_property(value)}" for name, value in (("file", file), ("title", title)) if value is not None
    )
    print(f"::{level} {properties}::{_data(printable(message))}", file=sys.stderr)


def summarize(title: str, head: Sequence[str], rows: Sequence[Sequence[str]], *, otherwise: str) -> None:
    """Add a table to the summary of the run, or the line *otherwise* where there is no row."""
    if not wanted():
        return
    lines = [f"### {_cell(title)}", ""]
    if rows:
        lines += [_row(head), "|" + "---|" * len(head)]
        lines += [_row([_cell(cell) for cell in row]) for row in rows[:ROWS_MAX]]
        if len(rows) > ROWS_MAX:
            lines += ["", f"And {len(rows) - ROWS_MAX} more."]
    else:
        lines.append(_cell(otherwise))
    _append("GITHUB_STEP_SUMMARY", "\n".join(lines) + "\n\n")


def output(**values: str | int | bool) -> None:
    """Give *values*, which are ours and have one line each, to later steps."""
    if not wanted():
        return
    for name, value in values.items():
        _append("GITHUB_OUTPUT", f"{name}={str(value).lower() if isinstance(value, bool) else value}\n")


def _append(variable: str, text: str) -> None:
    place = os.environ.get(variable)
    # What was done is done: a summary that cannot be written is no reason to fail.
    with contextlib.suppress(OSError):
        if place:
            with Path(place).open("a", encoding="utf-8", newline="\n") as file:
                file.write(text)


def _row(cells: Sequence[str]) -> str:
    return f"| {' | '.join(cells)} |"


def _cell(text: str) -> str:
    """Return *text*, which may come from anybody, as text of Markdown that is nothing but text."""
    escaped = printable(text).replace("&", "&amp;").replace("<", "&lt;")
    return _MARKDOWN.sub(r"\\\1", escaped)


def _data(text: str) -> str:
    return text.replace("%", "%25").replace("\r", "%0D").replace("\n", "%0A")


def _property(text: str) -> str:
    return _data(printable(text)).replace(":", "%3A").replace(",", "%2C")
