"""
Output of the command line.

Rules: results go to stdout, everything else to stderr. Text from a vault or a host is made printable before
it is shown. Colours appear only on a terminal, and never with NO_COLOR. Messages never contain key material.
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
    """Return *text* in the colour of *kind* if *stream* (default stdout) supports colours."""
    code = _COLOURS.get(kind)
    return f"\x1b[{code}m{text}\x1b[0m" if code and _coloured(stream or sys.stdout) else text


def say(text: str = "") -> None:
    """Print a line of the result to stdout."""
    print(text)


def note(text: str) -> None:
    """Print a line that is not part of the result to stderr."""
    print(f"keyvault: {printable(text)}", file=sys.stderr)


def notes(lines: Sequence[str], label: str, *, shown_max: int = 10) -> None:
    """Print *lines* as notes, each after *label*; of a long list, only the first lines and the number of the rest."""
    for line in lines[:shown_max]:
        note(f"{label}: {line}")
    if len(lines) > shown_max:
        note(f"{label}: and {len(lines) - shown_max} more; --json prints all")


def report_error(message: str, hint: str | None, *, code: str, exit_code: int, as_json: bool) -> None:
    """Print an error to stderr, and with *as_json* also to stdout, unless that has a JSON document already."""
    shown = message
    if len(message) > MESSAGE_MAX:  # an argument may have a megabyte
        shown = f"{message[: MESSAGE_MAX - 200]} … {message[-200:]}"
    label = paint("error", "error", stream=sys.stderr)
    print(f"keyvault: {label}: {printable(shown)}", file=sys.stderr)
    if hint:
        for line in hint.splitlines():
            print(f"keyvault: hint: {printable(line)}", file=sys.stderr)
    if as_json and not printed.document:
        emit_json({"error": {"code": code, "exit_code": exit_code, "hint": hint, "message": message}})


@dataclass
class Printed:
    """
    The state of stdout.

    Attributes:
        document: Whether a JSON document was printed; it must stay the only one.
    """

    document: bool = False


printed = Printed()


def emit_json(value: Any) -> None:
    """Print *value* as JSON to stdout."""
    from keyvault.core.jwk import pretty

    printed.document = True
    sys.stdout.write(pretty(value).decode())


def say_untrusted_json(value: Any) -> None:
    """Print *value*, which is untrusted, as JSON without control characters."""
    import json

    from keyvault.core.jwk import pretty

    for line in pretty(value).decode().rstrip("\n").split("\n"):
        # JSON escapes keep it the same JSON value.
        say("".join(char if printable(char) == char else json.dumps(char)[1:-1] for char in line))


def emit_bytes(data: bytes) -> None:
    """Write *data* to stdout as it is."""
    sys.stdout.flush()  # keep the order of text and bytes
    sys.stdout.buffer.write(data)
    sys.stdout.buffer.flush()


def columns(rows: Sequence[Sequence[str]], *, indent: str = "") -> None:
    """Print *rows* in aligned columns; the first cell of each, such as ``error``, has the colour of its word."""
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
    Yield a progress callback that draws a bar on stderr, if that is a terminal.

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

            # The elapsed time keeps running while a step reports nothing.
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
