"""Progress callbacks for long operations."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from typing import TypeVar

Item = TypeVar("Item")

#: Called with a label, how many items are done, and how many there are; 0 if that is not known.
Progress = Callable[[str, int, int], None]

#: The number of items between two calls.
_STEP = 100


def quiet(label: str, done: int, total: int) -> None:
    """Report no progress."""


def with_progress(items: Iterable[Item], progress: Progress, label: str, total: int = 0) -> Iterator[Item]:
    """Yield *items*, of which there are *total*, and report to *progress*."""
    progress(label, 0, total)
    done = 0
    for done, item in enumerate(items, 1):
        yield item
        if done % _STEP == 0:
            progress(label, done, total)
    progress(label, done, total or done)
