"""
Reports to GitHub Actions: tables in the summary of the run, annotations, and outputs for later steps.

They need ``GITHUB_ACTIONS=true``; callers omit them with ``--quiet``. Annotations go to stderr, where the runner
reads them too, so that stdout holds only the result.

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

#: Maximum rows of a table. A summary may have 1 MiB, more than anybody reads.
ROWS_MAX = 200

#: GitHub shows at most ten annotations of a kind from one step; the tenth is reserved for the error itself.
ANNOTATIONS_MAX = 9

_MARKDOWN = re.compile(r"([\\`*_{}\[\]()#+!|~-])")


def enabled() -> bool:
    """Return whether this process is a step of GitHub Actions."""
    return os.environ.get("GITHUB_ACTIONS") == "true"


def annotate(level: Level, message: str, *, title: str = "keyvault", file: str | None = None) -> None:
    """Show *message* on the page of the run, and beside *file* in the view of a change."""
    if not enabled():
        return
    properties = ",".join(
        f"{name}={_property(value)}" for name, value in (("file", file), ("title", title)) if value is not None
    )
    print(f"::{level} {properties}::{_data(printable(message))}", file=sys.stderr)


def summarize(title: str, head: Sequence[str], rows: Sequence[Sequence[str]], *, empty: str) -> None:
    """Add a table to the summary of the run, or the line *empty* if there are no rows."""
    if not enabled():
        return
    lines = [f"### {_cell(title)}", ""]
    if rows:
        lines += [_row(head), "|" + "---|" * len(head)]
        lines += [_row([_cell(cell) for cell in row]) for row in rows[:ROWS_MAX]]
        if len(rows) > ROWS_MAX:
            lines += ["", f"And {len(rows) - ROWS_MAX} more."]
    else:
        lines.append(_cell(empty))
    _append("GITHUB_STEP_SUMMARY", "\n".join(lines) + "\n\n")


def output(**values: str | int | bool) -> None:
    """Pass *values* to later steps. They must come from keyvault itself and have one line each."""
    if not enabled():
        return
    for name, value in values.items():
        _append("GITHUB_OUTPUT", f"{name}={str(value).lower() if isinstance(value, bool) else value}\n")


def _append(variable: str, text: str) -> None:
    path = os.environ.get(variable)
    # The command has done its work already: failing to write a summary must not fail it.
    with contextlib.suppress(OSError):
        if path:
            with Path(path).open("a", encoding="utf-8", newline="\n") as file:
                file.write(text)


def _row(cells: Sequence[str]) -> str:
    return f"| {' | '.join(cells)} |"


def _cell(text: str) -> str:
    """Return *text*, which is untrusted, escaped so that Markdown shows it as plain text."""
    escaped = printable(text).replace("&", "&amp;").replace("<", "&lt;")
    return _MARKDOWN.sub(r"\\\1", escaped)


def _data(text: str) -> str:
    return text.replace("%", "%25").replace("\r", "%0D").replace("\n", "%0A")


def _property(text: str) -> str:
    return _data(printable(text)).replace(":", "%3A").replace(",", "%2C")
