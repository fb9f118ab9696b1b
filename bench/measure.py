"""
Measure whole processes, and compare two of them.

The figures of a process are its wall time, and the kernel's numbers when it ends (wait4: CPU time, and the largest
resident set of any process among it and the children that it waited for). The two sides of a comparison alternate
(A B A B), so that a machine that slows down or speeds up meanwhile affects both. The memory of a process and its
children together is sampled in the warm-up, whose time does not count (see ``memory``).

On Linux a new process starts with its parent's resident set as its maximum, so no value below the measuring program's
own is visible. That program stays small: it imports neither keyvault nor keyvault's dependencies, and other processes
generate the vaults.
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

#: A path of this machine: messages may appear on the page, which must not show such paths.
_PATH = re.compile(r"(?<![\w:/.])(?:/[\w.+@-]+){2,}")


class FailedError(Exception):
    """A measured process failed."""


@dataclass(frozen=True)
class Sample:
    """
    One process.

    Attributes:
        wall: Seconds by the clock.
        cpu: Seconds of processor time, in user and kernel mode.
        rss: Largest resident set of one process in MiB.
        together: Peak memory of the process and its children together in MiB; None if it was not watched.
        output: Its stdout.
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
        label: Its description in the table.
        command: Its arguments.
        folder: Its working folder.
        units: The number of items it processes; times are given per item.
        environ: Its additional environment variables.
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
    """Report progress on stderr."""
    print(f"bench: {text}", file=sys.stderr, flush=True)


def run(command: Sequence[str], *, folder: Path, environ: Mapping[str, str], watched: bool = False) -> Sample:
    """
    Run a process to its end and return its figures; if it is *watched*, its time is not accurate.

    Raises:
        FailedError: If its exit code is not 0.
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
        lines = errors.read_text(errors="replace").strip().splitlines()
        log(f"failed: {shlex.join(command)}")
        message = _PATH.sub("…", " / ".join(lines[-3:]))
        raise FailedError(f"exit code {process.returncode}: {message}")
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
    """Return the runs of each of *sides*: a warm-up that watches memory, then *runs* timed runs, alternating."""
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
        side: The measured side.
        samples: The timed runs.
        together: Peak memory of all its processes together in the warm-up, in MiB; None if the system can't tell.
    """

    side: Side
    samples: list[Sample]
    together: float | None

    def walls(self) -> list[float]:
        """Return the seconds of each run, per unit."""
        return [sample.wall / self.side.units for sample in self.samples]


@dataclass(frozen=True)
class Figures:
    """
    Medians of one side, in seconds and MiB.

    Attributes:
        label: The label of the side.
        runs: The number of timed runs.
        units: The number of items in a run; times are given per item.
        wall: Median of the wall time.
        least: The shortest wall time.
        cpu: Seconds of processor time.
        rss: Largest resident set of one process.
        floor: Resident set of the measuring program; no lower value is visible.
        together: Peak memory of all processes together; None if the system can't tell.
        parallel: Processor time divided by wall time: the number of busy cores.
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
    """Return the medians of the runs in *taken*."""
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
