"""
Spread the work on many pages over all cores.

Each worker is a fork of this process: it has the vault and the parsed templates already. Where a process cannot
be forked safely (all systems but Linux), and for little work, all is done here; the result is the same.
"""

from __future__ import annotations

import gc
import os
import signal
import sys
from collections.abc import Callable, Generator, Sequence
from typing import TYPE_CHECKING, TypeVar

from keyvault.errors import RenderError

if TYPE_CHECKING:
    from multiprocessing.connection import Connection

Item = TypeVar("Item")
Result = TypeVar("Result")

#: Items that a worker does at a time: what it holds in memory, and the least that is worth a worker.
CHUNK = 32


def spread(work: Callable[[Item], Result], items: Sequence[Item]) -> Generator[Result, None, None]:
    """
    Yield what *work* makes of each of *items*, in order.

    A worker does no more than its next chunk ahead: memory does not grow with the number of items. Closing the
    generator ends the workers.

    Args:
        work: A function without side effects; its results can be pickled.
        items: What it is called with.

    Raises:
        Exception: What *work* raised.
        RenderError: A worker was killed.
    """
    chunks = [items[start : start + CHUNK] for start in range(0, len(items), CHUNK)]
    count = min(_cores(), len(chunks))
    if count < 2 or sys.platform != "linux":
        yield from map(work, items)
        return
    # Loaded only here: a small site needs none of it.
    from multiprocessing import get_context

    context = get_context("fork")
    workers = []
    readers = []
    # What is there is shared memory as long as nobody walks through it, which is what the collector does.
    gc.collect()
    gc.freeze()
    try:
        for number in range(count):
            reader, writer = context.Pipe(duplex=False)
            readers.append(reader)
            worker = context.Process(
                target=_serve, args=(work, chunks[number::count], reader, writer), daemon=True, name="render"
            )
            worker.start()
            workers.append(worker)
            writer.close()
        for number in range(len(chunks)):
            try:
                results, error = readers[number % count].recv()
            except EOFError:
                raise RenderError(
                    "a worker was killed before it was done", hint="is there too little memory? Render again"
                ) from None
            yield from results
            if error is not None:
                raise error
    finally:
        for reader in readers:
            reader.close()
        for worker in workers:
            worker.terminate()
            worker.join()
        gc.unfreeze()


def _serve(
    work: Callable[[Item], Result], chunks: Sequence[Sequence[Item]], reader: Connection, writer: Connection
) -> None:
    """Do *chunks* one after the other in a worker, and send what became of each."""
    # Ctrl-C reaches the whole group; the parent ends its workers itself.
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    signal.signal(signal.SIGTERM, signal.SIG_DFL)
    reader.close()
    for chunk in chunks:
        results: list[Result] = []
        error = None
        try:
            results.extend(map(work, chunk))
        except Exception as raised:
            error = raised
        try:
            writer.send((results, error))
        except BrokenPipeError:  # nobody wants the rest
            return
        if error is not None:
            return


def _cores() -> int:
    """Return on how many cores this process may run."""
    if sys.platform == "linux":
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1
