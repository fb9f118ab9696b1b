"""
Functions that a worker process runs for `test_spread`.

A worker finds them by the name of this module, so the module imports little: each test starts several workers.
"""

from __future__ import annotations

import os
import signal
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from keyvault.errors import LeakError


def twice(item: int) -> Iterator[int]:
    yield item
    yield item * 2


def process(_item: int) -> list[int]:
    return [os.getpid()]


def environment(_item: int) -> list[dict[str, str]]:
    return [dict(os.environ)]


def printing(item: int) -> list[int]:
    print("what a library has to say")
    return [item]


def failing(item: int) -> Iterator[int]:
    yield item
    if item == 5:
        raise LeakError("x.json contains it", code="a-code", hint="look")
    yield item


@dataclass
class Killed:
    """Work whose process is killed, unless that is *spared*."""

    spared: int

    def __call__(self, item: int) -> list[int]:
        if item == 7 and os.getpid() != self.spared:
            os.kill(os.getpid(), signal.SIGKILL)
        return [item]


@dataclass
class Noting:
    """Work that leaves a file for each item, and returns more than a pipe holds."""

    folder: Path

    def __call__(self, item: int) -> list[bytes]:
        (self.folder / str(item)).touch()
        return [bytes(200_000)]
