"""
How keyvault speaks to a terminal.

Rules: results go to stdout, everything else to stderr. Text from a vault or a host is made printable before
it is shown. Colours only on a terminal, and never with NO_COLOR. No key material, ever.
"""

from __future__ import annotations

import contextlib
import os
import sys
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any, TextIO

from keyvault.core.text import printable

MESSAGE_MAX = 1_000

_COLOURS = {
    "active": "32",
    "next": "36",
    "retiring": "33",
    "withdrawn": "2",
    "revoked": "31",
    "error": "1;31",
    "warning": "33",
    "note": "2",
    "dim": "2",
}


def _coloured(stream: TextIO) -> bool:
    return stream.isatty() and not os.environ.get("NO_COLOR") and os.environ.get("TERM") != "dumb"


def paint(text: str, kind: str, *, stream: TextIO | None = None) -> str:
    """Return *text* in the colour of *kind* where *stream* (default stdout) takes colours."""
    code = _COLOURS.get(kind)
    return f"\x1b[{code}m{text}\x1b[0m" if code and _coloured(stream or sys.stdout) else text


def say(text: str = "") -> None:
    """Write a line of the result."""
    print(text)


def note(text: str) -> None:
    """Write a line that is not the result."""
    print(f"keyvault: {printable(text)}", file=sys.stderr)


def notes(lines: Sequence[str], label: str, *, most: int = 10) -> None:
    """Write *lines* as notes, each behind *label*; of a long list only the first ones and how many there are."""
    for line in lines[:most]:
        note(f"{label}: {line}")
    if len(lines) > most:
        note(f"{label}: and {len(lines) - most} more; --json has them all")


def report_error(message: str, hint: str | None) -> None:
    """Write an error to stderr: one line, then a hint that can be typed."""
    if len(message) > MESSAGE_MAX:  # somebody's argument of a megabyte
        message = f"{message[: MESSAGE_MAX - 200]} … {message[-200:]}"
    label = paint("error", "error", stream=sys.stderr)
    print(f"keyvault: {label}: {printable(message)}", file=sys.stderr)
    if hint:
        for line in hint.splitlines():
            print(f"keyvault: hint: {printable(line)}", file=sys.stderr)


@dataclass
class Printed:
    """
    What the command has printed so far.

    Attributes:
        document: Whether stdout has a JSON document, which must stay the only one.
    """

    document: bool = False


printed = Printed()


def emit_json(value: Any) -> None:
    """Write *value* as JSON to stdout."""
    from keyvault.core.jwk import pretty

    printed.document = True
    sys.stdout.write(pretty(value).decode())


def say_document(value: Any) -> None:
    """Write *value*, which may come from anybody, as JSON that a terminal can take."""
    import json

    from keyvault.core.jwk import pretty

    for line in pretty(value).decode().rstrip("\n").split("\n"):
        # Escaped as JSON does it, so that it is still the same JSON.
        say("".join(char if printable(char) == char else json.dumps(char)[1:-1] for char in line))


def emit_bytes(data: bytes) -> None:
    """Write *data* as it is."""
    sys.stdout.flush()  # what was said before stands before it
    sys.stdout.buffer.write(data)
    sys.stdout.buffer.flush()


def columns(rows: Sequence[Sequence[str]], *, indent: str = "") -> None:
    """Write *rows* in aligned columns; the first cell of each has the colour of what it says."""
    if not rows:
        return
    cleaned = [[printable(cell) for cell in row] for row in rows]
    widths = [max(len(row[index]) for row in cleaned) for index in range(len(cleaned[0]) - 1)]
    for row in cleaned:
        head = [cell.ljust(width) for cell, width in zip(row, widths, strict=False)]
        if head:
            head[0] = head[0].replace(row[0], paint(row[0], row[0]), 1)
        say((indent + "  ".join([*head, row[-1]])).rstrip())


@contextlib.contextmanager
def progress(*, quiet: bool) -> Iterator[Callable[[str, int, int], None]]:
    """
    Give a progress callback for long operations: it draws a bar on stderr if that is a terminal.

    It draws nothing for operations that take less than a second.
    """
    if quiet or not sys.stderr.isatty():
        yield lambda label, done, total: None
        return
    import time

    started: dict[str, float] = {}
    bar: Any = None
    tasks: dict[str, Any] = {}

    def report(label: str, done: int, total: int) -> None:
        nonlocal bar
        begun = started.setdefault(label, time.monotonic())
        if bar is None:
            if time.monotonic() - begun < 1:
                return
            from rich.console import Console
            from rich.progress import Progress, TimeElapsedColumn

            # The time goes on while a step reports nothing.
            columns = (*Progress.get_default_columns(), TimeElapsedColumn())
            bar = Progress(*columns, console=Console(stderr=True), transient=True)
            bar.start()
        if label not in tasks:
            tasks[label] = bar.add_task(label, total=None)
        bar.update(tasks[label], completed=done, total=total or None)

    try:
        yield report
    finally:
        if bar is not None:
            bar.stop()
