"""How long work tells how far it is; whoever is told may draw a bar."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from typing import TypeVar

Item = TypeVar("Item")

#: Told what is being done, how much of it is done, and how much there is: 0 where nobody knows.
Progress = Callable[[str, int, int], None]

#: How much is done between two words about it.
_STEP = 100


def quiet(label: str, done: int, total: int) -> None:
    """Report no progress."""


def told(items: Iterable[Item], progress: Progress, label: str, total: int = 0) -> Iterator[Item]:
    """Yield *items*, of which there are *total*, and tell *progress* how far it is."""
    progress(label, 0, total)
    done = 0
    for done, item in enumerate(items, 1):
        yield item
        if done % _STEP == 0:
            progress(label, done, total)
    progress(label, done, total or done)
