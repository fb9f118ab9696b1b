"""
Measure whole processes, and compare two of them.

A process is measured by what the kernel says about it when it ends (wait4: CPU time, and the largest resident
set of any process among it and the children that it waited for) and by the wall clock. The two sides of a comparison
take turns (A B A B), so that a machine that slows down or speeds up meanwhile does so for both. What a process and
its children hold together is watched in the warm-up, whose time is not looked at (see ``memory``).

On Linux a new process begins with the resident set of its parent as its maximum, so nothing smaller than the
program that measures can be seen. It stays small: it imports neither keyvault nor what keyvault imports, and
vaults are made by other processes.
"""

from __future__ import annotations

import os
import re
import resource
import shlex
import statistics
import subprocess
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from memory import Watch

#: A path of this machine: a message may end up on the page, and must not tell where it came from.
_PATH = re.compile(r"(?<![\w:/.])(?:/[\w.+@-]+){2,}")


class FailedError(Exception):
    """A measured process did not do what it should."""


@dataclass(frozen=True)
class Sample:
    """
    One process.

    Attributes:
        wall: Seconds by the clock.
        cpu: Seconds of processor time, in user and kernel mode.
        rss: Largest resident set of one process in MiB.
        together: What it and its children held together at most, in MiB, where that was watched.
        output: What it wrote to stdout.
    """

    wall: float
    cpu: float
    rss: float
    together: float | None = None
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
        environ: What it has in its environment beside what all have.
        before: Prepares each run; not measured.
        after: Cleans up after each run; not measured.
    """

    label: str
    command: Sequence[str]
    folder: Path
    units: int = 1
    environ: Mapping[str, str] = field(default_factory=dict)
    before: Callable[[], None] | None = None
    after: Callable[[], None] | None = None


def log(text: str) -> None:
    """Say on stderr what is being done."""
    print(f"bench: {text}", file=sys.stderr, flush=True)


def run(command: Sequence[str], *, folder: Path, environ: Mapping[str, str], watched: bool = False) -> Sample:
    """
    Run a process to its end and return what it took; where it is *watched*, its time is not worth much.

    Raises:
        FailedError: It ended with another exit code than 0.
    """
    output, errors = folder / ".stdout", folder / ".stderr"
    with output.open("wb") as stdout, errors.open("wb") as stderr:
        begun = time.perf_counter()
        process = subprocess.Popen(
            command, cwd=folder, env=dict(environ), stdin=subprocess.DEVNULL, stdout=stdout, stderr=stderr
        )
        watch = Watch(process.pid) if watched else None
        _, status, usage = os.wait4(process.pid, 0)
        wall = time.perf_counter() - begun
        together = watch.end() if watch else None
    process.returncode = os.waitstatus_to_exitcode(status)
    if process.returncode != 0:
        told = errors.read_text(errors="replace").strip().splitlines()
        log(f"failed: {shlex.join(command)}")
        said = _PATH.sub("…", " / ".join(told[-3:]))
        raise FailedError(f"ended with {process.returncode}: {said}")
    return Sample(wall, usage.ru_utime + usage.ru_stime, _mebibytes(usage), together, output.read_bytes())


def _mebibytes(usage: resource.struct_rusage) -> float:
    # The kernel counts in KiB, except that of macOS, which counts in bytes.
    return usage.ru_maxrss / (1024 * 1024 if sys.platform == "darwin" else 1024)


def _self_size() -> float:
    """Return the largest resident set of this process in MiB."""
    return _mebibytes(resource.getrusage(resource.RUSAGE_SELF))


def sample(side: Side, *, environ: Mapping[str, str], watched: bool = False) -> Sample:
    """Prepare *side*, run it once, and clean up after it."""
    if side.before:
        side.before()
    try:
        return run(side.command, folder=side.folder, environ={**environ, **side.environ}, watched=watched)
    finally:
        if side.after:
            side.after()


def alternate(sides: Sequence[Side], *, runs: int, environ: Mapping[str, str], name: str) -> list[SideRuns]:
    """Return what each of *sides* took: a warm-up in which memory is watched, then *runs* of each, in turns."""
    log(f"{name}: warm-up")
    watched = [sample(side, environ=environ, watched=True).together for side in sides]
    samples: list[list[Sample]] = [[] for _ in sides]
    for number in range(runs):
        log(f"{name}: run {number + 1} of {runs}")
        for side, taken in zip(sides, samples, strict=True):
            taken.append(sample(side, environ=environ))
    return [SideRuns(*found) for found in zip(sides, samples, watched, strict=True)]


@dataclass(frozen=True)
class SideRuns:
    """
    All runs of one side.

    Attributes:
        side: What was run.
        samples: The timed runs.
        together: What it and its children held together in the warm-up, in MiB; None where nobody can see that.
    """

    side: Side
    samples: list[Sample]
    together: float | None

    def walls(self) -> list[float]:
        """Return the seconds of each run, for one unit."""
        return [sample.wall / self.side.units for sample in self.samples]


@dataclass(frozen=True)
class Figures:
    """
    Medians of one side, in seconds and MiB.

    Attributes:
        label: What was measured.
        runs: How often.
        units: How many things a run did; times are those of one.
        wall: Seconds by the clock.
        least: The shortest of them.
        cpu: Seconds of processor time.
        rss: Largest resident set of one process.
        floor: That of the program that measures, below which nothing can be seen.
        together: What all processes held together; None where nobody can see that.
        parallel: Processor time over wall time: how many cores it kept busy.
    """

    label: str
    runs: int
    units: int
    wall: float
    least: float
    cpu: float
    rss: float
    floor: float
    together: float | None
    parallel: float


def figures(taken: SideRuns) -> Figures:
    """Return the medians of what was *taken*."""
    side, samples = taken.side, taken.samples
    return Figures(
        side.label,
        len(samples),
        side.units,
        statistics.median(taken.walls()),
        min(taken.walls()),
        statistics.median(sample.cpu for sample in samples) / side.units,
        statistics.median(sample.rss for sample in samples),
        _self_size(),
        taken.together,
        statistics.median(sample.cpu / sample.wall for sample in samples),
    )
