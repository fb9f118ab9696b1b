"""
Spread the work on many pages over all cores.

Workers are new processes of this program that are given their work part by part, and hold no more than that: a fork of
this one would hold, once it has looked at it, the vault a second time. For little work all is done here; the result is
the same.
"""

from __future__ import annotations

import contextlib
import os
import pickle
import signal
import subprocess
import sys
from collections import deque
from collections.abc import Callable, Generator, Iterable, Iterator
from itertools import chain, islice
from pathlib import Path
from typing import TypeVar

from keyvault.errors import RenderError

Item = TypeVar("Item")
Result = TypeVar("Result")

#: Fewer items than this are not worth the start of a worker.
LEAST = 4

#: More than these would wait for whoever writes what they make.
_WORKERS_MAX = 16

#: What a worker writes first.
_READY = b"ready"

#: What a worker runs. Its path is that of this process, however that came to be.
_BOOT = "import pickle, sys; sys.path[:] = pickle.load(sys.stdin.buffer); from keyvault.spread import serve; serve()"


def spread(work: Callable[[Item], Iterable[Result]], items: Iterable[Item]) -> Generator[Result, None, None]:
    """
    Yield what *work* makes of each of *items*, in order.

    A worker is given its next item when what it made of the one before was taken: memory does not grow with the number
    of items. Closing the generator ends the workers.

    Args:
        work: Without side effects; it, the items and the results can be pickled.
        items: What it is called with, taken when a worker is free.

    Raises:
        Exception: What *work* raised.
        RenderError: A worker was killed.
    """
    waiting = iter(items)
    first = list(islice(waiting, _WORKERS_MAX))
    waiting = chain(first, waiting)
    count = min(_cores(), len(first))
    workers: list[subprocess.Popen[bytes]] = []
    try:
        if len(first) >= LEAST and count > 1 and _can_start():
            workers += [_started(work) for _ in range(count)]
        if not workers or not all(map(_is_ready, workers)):
            for item in waiting:
                yield from work(item)
            return
        try:
            yield from _shared_out(workers, waiting)
        except BrokenPipeError:
            raise _killed() from None
    finally:
        for worker in workers:
            worker.kill()
        for worker in workers:
            worker.communicate()


def _can_start() -> bool:
    """Whether this interpreter can be started again: one that is built into another program cannot."""
    return bool(sys.executable) and not getattr(sys, "frozen", False)


def _started(work: object) -> subprocess.Popen[bytes]:
    # Isolated: a module in the folder where somebody works, such as a vault, is none of this program's.
    command = [sys.executable, "-I", *["-O"] * sys.flags.optimize, *["-B"] * sys.flags.dont_write_bytecode]
    if sys.pycache_prefix is not None:
        command += ["-X", f"pycache_prefix={sys.pycache_prefix}"]
    worker = subprocess.Popen(  # noqa: S603 - this program itself
        [*command, "-c", _BOOT],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        # Identities and passphrases are for nobody else.
        env={name: value for name, value in os.environ.items() if not name.startswith("KEYVAULT_")},
    )
    package = Path(__file__).resolve().parents[1]
    with contextlib.suppress(BrokenPipeError):  # it ended at once, and is not going to be ready
        _give(worker, [*filter(None, sys.path), str(package)])
        _give(worker, work)
    return worker


def _is_ready(worker: subprocess.Popen[bytes]) -> bool:
    """Wait until *worker* has begun, and return whether it has; where it could not, the parent does without."""
    assert worker.stdout is not None
    return worker.stdout.read(len(_READY)) == _READY


def _shared_out(workers: Iterable[subprocess.Popen[bytes]], waiting: Iterator[object]) -> Iterator[Result]:
    """Give *workers* what is *waiting* by turns, and yield what they make of it in that order."""
    busy: deque[subprocess.Popen[bytes]] = deque()
    for worker, item in zip(workers, waiting, strict=False):
        _give(worker, item)
        busy.append(worker)
    while busy:
        worker = busy.popleft()
        assert worker.stdout is not None
        try:
            results, error = pickle.load(worker.stdout)  # noqa: S301 - from a process of our own
        except (EOFError, pickle.UnpicklingError):
            raise _killed() from None
        if error is None:
            for item in islice(waiting, 1):
                _give(worker, item)
                busy.append(worker)
        yield from results
        if error is not None:
            raise error


def _give(worker: subprocess.Popen[bytes], item: object) -> None:
    assert worker.stdin is not None
    pickle.dump(item, worker.stdin, pickle.HIGHEST_PROTOCOL)
    worker.stdin.flush()


def _killed() -> RenderError:
    return RenderError("a worker was killed before it was done", hint="is there too little memory? Render again")


def serve() -> None:
    """Be a worker: read what is to be done from stdin, and write what became of it to stdout."""
    # Ctrl-C reaches the whole group; the parent ends its workers itself.
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    source, target = sys.stdin.buffer, sys.stdout.buffer
    sys.stdout = sys.stderr  # what a library has to say is no result
    try:
        work = pickle.load(source)  # noqa: S301 - from the process that started this one
        target.write(_READY)
        target.flush()
        while True:
            item = pickle.load(source)  # noqa: S301 - as above
            results: list[object] = []
            error = None
            try:
                results.extend(work(item))
            except Exception as raised:
                error = raised
            pickle.dump((results, error), target, pickle.HIGHEST_PROTOCOL)
            target.flush()
    except (EOFError, BrokenPipeError):  # the parent is done, or has ended
        os._exit(0)


def _cores() -> int:
    """Return on how many cores this process may run."""
    if sys.platform == "linux":
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1
