"""
Measure whole processes, and compare two of them.

A process is measured by what the kernel says about it when it ends (wait4: CPU time and the largest resident
set, children that it waited for included) and by the wall clock. The two sides of a comparison take turns
(A B A B), so that a machine that slows down or speeds up meanwhile does so for both.

On Linux a new process begins with the resident set of its parent as its maximum, so nothing smaller than the
program that measures can be seen. It stays small: it imports neither keyvault nor what keyvault imports, and
vaults are made by other processes.
"""

from __future__ import annotations

import os
import resource
import statistics
import subprocess
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path


class FailedError(Exception):
    """A measured process did not do what it should."""


@dataclass(frozen=True)
class Sample:
    """
    One process.

    Attributes:
        wall: Seconds by the clock.
        cpu: Seconds of processor time, in user and kernel mode.
        rss: Largest resident set in MiB.
        output: What it wrote to stdout.
    """

    wall: float
    cpu: float
    rss: float
    output: bytes = field(default=b"", repr=False)


@dataclass(frozen=True)
class Side:
    """
    One of the two processes of a comparison.

    Attributes:
        label: What it does, for the table.
        command: Its arguments.
        folder: Where it runs.
        units: How many things it does: times are given for one of them.
        before: Prepares each run; not measured.
        after: Cleans up after each run; not measured.
    """

    label: str
    command: Sequence[str]
    folder: Path
    units: int = 1
    before: Callable[[], None] | None = None
    after: Callable[[], None] | None = None


def tell(text: str) -> None:
    """Say on stderr what is being done."""
    print(f"bench: {text}", file=sys.stderr, flush=True)


def run(command: Sequence[str], *, folder: Path, environ: Mapping[str, str]) -> Sample:
    """
    Run a process to its end and return what it took.

    Raises:
        FailedError: It ended with another exit code than 0.
    """
    output, errors = folder / ".stdout", folder / ".stderr"
    with output.open("wb") as stdout, errors.open("wb") as stderr:
        begun = time.perf_counter()
        process = subprocess.Popen(
            command, cwd=folder, env=dict(environ), stdin=subprocess.DEVNULL, stdout=stdout, stderr=stderr
        )
        _, status, usage = os.wait4(process.pid, 0)
        wall = time.perf_counter() - begun
    process.returncode = os.waitstatus_to_exitcode(status)
    if process.returncode != 0:
        told = errors.read_text(errors="replace").strip().splitlines()
        raise FailedError(f"{' '.join(command)[:200]} ended with {process.returncode}: {' / '.join(told[-3:])}")
    return Sample(wall, usage.ru_utime + usage.ru_stime, _mebibytes(usage), output.read_bytes())


def _mebibytes(usage: resource.struct_rusage) -> float:
    # The kernel counts in KiB, except that of macOS, which counts in bytes.
    return usage.ru_maxrss / (1024 * 1024 if sys.platform == "darwin" else 1024)


def _self_size() -> float:
    """Return the largest resident set of this process in MiB."""
    return _mebibytes(resource.getrusage(resource.RUSAGE_SELF))


def take_turns(
    ours: Side, peer: Side, *, runs: int, environ: Mapping[str, str], name: str
) -> tuple[list[Sample], list[Sample]]:
    """Return the samples of both sides: a warm-up that is thrown away, then *runs* of each, in turns."""
    found: tuple[list[Sample], list[Sample]] = ([], [])
    for number in range(runs + 1):
        tell(f"{name}: {f'run {number} of {runs}' if number else 'warm-up'}")
        for side, samples in zip((ours, peer), found, strict=True):
            if side.before:
                side.before()
            try:
                sample = run(side.command, folder=side.folder, environ=environ)
            finally:
                if side.after:
                    side.after()
            if number:
                samples.append(sample)
    return found


@dataclass(frozen=True)
class Figures:
    """
    Medians of one side, in seconds and MiB.

    Attributes:
        label: What was measured.
        runs: How often.
        wall: Seconds by the clock, for one unit.
        cpu: Seconds of processor time, for one unit.
        rss: Largest resident set in MiB.
        floor: That of the program that measures, below which nothing can be seen.
        parallel: Processor time over wall time: how many cores it kept busy.
    """

    label: str
    runs: int
    wall: float
    cpu: float
    rss: float
    floor: float
    parallel: float


def figures(side: Side, samples: Sequence[Sample]) -> Figures:
    """Return the medians of *samples*."""
    return Figures(
        side.label,
        len(samples),
        statistics.median(sample.wall for sample in samples) / side.units,
        statistics.median(sample.cpu for sample in samples) / side.units,
        statistics.median(sample.rss for sample in samples),
        _self_size(),
        statistics.median(sample.cpu / sample.wall for sample in samples),
    )


def ratio(ours: Sequence[Sample], peer: Sequence[Sample], *, ours_units: int, peer_units: int) -> float:
    """Return the median of ours over peer, turn by turn: each turn's two runs met the same machine."""
    return statistics.median(
        (mine.wall / ours_units) / (other.wall / peer_units) for mine, other in zip(ours, peer, strict=True)
    )
