"""
Spread the work on many pages over all cores.

Worker processes are new processes of this program. Each gets one item at a time, so it holds no more than that; a fork
of this process would hold the vault a second time as soon as it touched it. Little work is done in this process; the
results are the same.
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

#: Fewer items than this are not worth the start of a worker process.
MIN_ITEMS_FOR_WORKERS = 4

#: More workers than this would wait for the process that writes their results.
_WORKERS_MAX = 16

#: The first bytes that a worker writes.
_READY = b"ready"

#: The program of a worker. It gets the module path of this process, since that may have been changed after the start.
_BOOT = (
    "import pickle, sys; sys.path[:] = pickle.load(sys.stdin.buffer); from keyvault.spread import run_worker; "
    "run_worker()"
)


def spread(work: Callable[[Item], Iterable[Result]], items: Iterable[Item]) -> Generator[Result, None, None]:
    """
    Yield the results of *work* for each of *items*, in order.

    A worker gets its next item when the results of its last one were taken, so memory does not grow with the number of
    items. Closing the generator ends the workers.

    Args:
        work: A function without side effects; it, the items and the results can be pickled.
        items: Its arguments, taken when a worker is free.

    Raises:
        Exception: If *work* raises; the same exception.
        RenderError: If a worker was killed.
    """
    waiting = iter(items)
    first = list(islice(waiting, _WORKERS_MAX))
    waiting = chain(first, waiting)
    count = min(_cores(), len(first))
    workers: list[subprocess.Popen[bytes]] = []
    try:
        if len(first) >= MIN_ITEMS_FOR_WORKERS and count > 1 and _can_start():
            workers += [_start_worker(work) for _ in range(count)]
        if not workers or not all(map(_is_ready, workers)):
            for item in waiting:
                yield from work(item)
            return
        try:
            yield from _distribute(workers, waiting)
        except BrokenPipeError:
            raise RenderError(
                "a worker process was killed before it finished",
                code="worker-killed",
                hint="if the machine is short of memory, free some; then run the command again",
            ) from None
    finally:
        for worker in workers:
            worker.kill()
        for worker in workers:
            worker.communicate()


def _can_start() -> bool:
    """Return whether this interpreter can be started again: an embedded interpreter cannot."""
    return bool(sys.executable) and not getattr(sys, "frozen", False)


def _start_worker(work: object) -> subprocess.Popen[bytes]:
    # Isolated: modules in the current folder, such as a vault, must not be imported.
    command = [sys.executable, "-I", *["-O"] * sys.flags.optimize, *["-B"] * sys.flags.dont_write_bytecode]
    if sys.pycache_prefix is not None:
        command += ["-X", f"pycache_prefix={sys.pycache_prefix}"]
    worker = subprocess.Popen(  # noqa: S603 - this program itself
        [*command, "-c", _BOOT],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        # A worker needs no identity and no passphrase.
        env={name: value for name, value in os.environ.items() if not name.startswith("KEYVAULT_")},
    )
    package = Path(__file__).resolve().parents[1]
    with contextlib.suppress(BrokenPipeError):  # it ended at once, which `_is_ready` reports
        _send(worker, [*filter(None, sys.path), str(package)])
        _send(worker, work)
    return worker


def _is_ready(worker: subprocess.Popen[bytes]) -> bool:
    """Wait until *worker* has started, and return whether it has; without workers this process does all the work."""
    assert worker.stdout is not None
    return worker.stdout.read(len(_READY)) == _READY


def _distribute(workers: Iterable[subprocess.Popen[bytes]], waiting: Iterator[object]) -> Iterator[Result]:
    """Send the *waiting* items to *workers* in turns, and yield the results in that order."""
    busy: deque[subprocess.Popen[bytes]] = deque()
    for worker, item in zip(workers, waiting, strict=False):
        _send(worker, item)
        busy.append(worker)
    while busy:
        worker = busy.popleft()
        assert worker.stdout is not None
        try:
            results, error = pickle.load(worker.stdout)  # noqa: S301 - from a process of our own
        except (EOFError, pickle.UnpicklingError):
            raise BrokenPipeError from None  # killed while it worked, as while it waited
        if error is None:
            for item in islice(waiting, 1):
                _send(worker, item)
                busy.append(worker)
        yield from results
        if error is not None:
            raise error


def _send(worker: subprocess.Popen[bytes], item: object) -> None:
    assert worker.stdin is not None
    pickle.dump(item, worker.stdin, pickle.HIGHEST_PROTOCOL)
    worker.stdin.flush()


def run_worker() -> None:
    """Run as a worker: read the work and its items from stdin, and write the results to stdout."""
    # Ctrl-C reaches the whole group; the parent ends its workers itself.
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    source, target = sys.stdin.buffer, sys.stdout.buffer
    sys.stdout = sys.stderr  # stdout is for results; libraries that print write to stderr
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
    except (EOFError, BrokenPipeError):  # the parent has finished or ended
        os._exit(0)


def _cores() -> int:
    """Return the number of cores that this process may use."""
    if sys.platform == "linux":
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1
