"""
Store measured figures and their verdicts in build/bench/figures.json.

A run of some rows replaces those rows and keeps the others, so that a long run can be split. Figures of another
machine or of other sizes are never mixed with them.
"""

from __future__ import annotations

import json
import os
import platform
import statistics
import subprocess
from dataclasses import asdict, dataclass, field
from importlib.metadata import version
from pathlib import Path
from typing import Any

import peers
from fixtures import BENCH, Workspace
from measure import FailedError, Figures, SideRuns, alternate, figures
from rows import Curve, Row

_FORMAT = 1
_MEGABYTES = 1024 * 1024 / 1e6


@dataclass(frozen=True)
class Result:
    """
    The result of a row.

    Attributes:
        name: The row.
        about: Its description.
        commit: The measured commit of keyvault.
        ours: Our figures; None if the row was skipped.
        peer: The peer's figures.
        ratio: Our median divided by the peer's.
        turns: The median of the ratios of each pair of runs, which ran under the same load.
        bound: The maximum of the ratio, if there is a bound.
        also: Another bound, in words.
        missed: The missed bounds, a phrase each.
        skipped: The reason if nothing was measured.
    """

    name: str
    about: str
    commit: str
    ours: Figures | None = None
    peer: Figures | None = None
    ratio: float | None = None
    turns: float | None = None
    bound: float | None = None
    also: str | None = None
    missed: tuple[str, ...] = ()
    skipped: str | None = None


@dataclass(frozen=True)
class Growth:
    """
    The result of a curve.

    Attributes:
        name: The curve.
        command: The command.
        commit: The measured commit of keyvault.
        points: Numbers of keys, and the figures of each.
        memory: The maximum of memory in megabytes, if there is a bound.
        missed: The missed bounds, a phrase each.
    """

    name: str
    command: str
    commit: str
    points: tuple[tuple[int, Figures], ...] = ()
    memory: int | None = None
    missed: tuple[str, ...] = ()


@dataclass
class Report:
    """
    All results of a machine.

    Attributes:
        quick: Whether the sizes were those of ``--quick``.
        machine: The hardware and versions that the figures depend on.
        rows: The rows, by name.
        curves: The curves, by name.
    """

    quick: bool
    machine: dict[str, str]
    rows: dict[str, Result] = field(default_factory=dict)
    curves: dict[str, Growth] = field(default_factory=dict)

    @property
    def missed(self) -> bool:
        """Whether any bound was missed."""
        return any(found.missed for found in (*self.rows.values(), *self.curves.values()))

    def write(self, file: Path) -> None:
        """Write the report atomically: an interrupted run leaves the old file or the new one."""
        beside = file.with_suffix(".new")
        beside.write_text(json.dumps({"format": _FORMAT, **asdict(self)}, indent=2) + "\n")
        beside.replace(file)


def read(file: Path) -> Report | None:
    """Return the stored report, or None if there is none in this format."""
    if not file.exists():
        return None
    found = json.loads(file.read_bytes())
    if found.get("format") != _FORMAT:
        return None
    rows = {name: _result(row) for name, row in found["rows"].items()}
    curves = {name: _growth(curve) for name, curve in found["curves"].items()}
    return Report(found["quick"], found["machine"], rows, curves)


def _result(found: dict[str, Any]) -> Result:
    sides = {name: Figures(**found[name]) if found[name] else None for name in ("ours", "peer")}
    return Result(**{**found, **sides, "missed": tuple(found["missed"])})


def _growth(found: dict[str, Any]) -> Growth:
    points = tuple((keys, Figures(**members)) for keys, members in found["points"])
    return Growth(**{**found, "points": points, "missed": tuple(found["missed"])})


def machine() -> dict[str, str]:
    """Return the hardware and versions that the figures depend on, without any name of the machine."""
    git = subprocess.run(["git", "--version"], capture_output=True, text=True, check=True).stdout
    return {
        "cores": str(os.cpu_count()),
        "system": f"{platform.system()} {platform.machine()}",
        "Python": platform.python_version(),
        "git": git.removeprefix("git version ").strip(),
        **{name: version(name) for name in ("typer", "cryptography", "jwcrypto", "msgspec", "jinja2", "obstore")},
    }


def measured_commit() -> str:
    """Return the measured commit of keyvault, with a ``+`` if its files have changed since."""
    git = ("git", "-C", str(BENCH.parent))
    changed = subprocess.run([*git, "status", "--porcelain", "keyvault"], capture_output=True, text=True, check=False)
    commit = subprocess.run(
        [*git, "log", "-1", "--format=%h", "--", "keyvault"], capture_output=True, text=True, check=False
    )
    return commit.stdout.strip() + ("+" if changed.stdout else "")


def measure(row: Row, workspace: Workspace, commit: str) -> Result:
    """Measure a row; a failed row is skipped, so that the others still run."""
    if reason := row.missing():
        return Result(row.name, row.about, commit, bound=row.bound, skipped=reason)
    try:
        with workspace.closing:
            ours, peer = alternate(row.sides(workspace), runs=row.runs, environ=workspace.environ, name=row.name)
    except FailedError as error:
        return Result(row.name, row.about, commit, bound=row.bound, skipped=str(error))
    mine, others = figures(ours), figures(peer)
    ratio = mine.wall / others.wall
    turns = statistics.median(wall / other for wall, other in zip(ours.walls(), peer.walls(), strict=True))
    missed = [f"ratio {ratio:.2f} is above {row.bound:g}"] if row.bound is not None and ratio > row.bound else []
    also = None
    if row.exact is not None:
        member, expected = row.exact
        also = f"{member} = {expected}"
        missed += _exact_misses(ours, member, expected)
    return Result(row.name, row.about, commit, mine, others, ratio, turns, row.bound, also, tuple(missed))


def _exact_misses(taken: SideRuns, member: str, expected: int) -> list[str]:
    seen = {json.loads(sample.output)[member] for sample in taken.samples}
    return [] if seen == {expected} else [f"{member}: {', '.join(map(str, sorted(seen)))} instead of {expected}"]


def measure_curve(curve: Curve, workspace: Workspace, commit: str) -> Growth:
    """Measure a curve, point by point; the largest point has a single run."""
    points, missed = [], []
    for keys in curve.points:
        runs = 1 if keys == max(curve.points) else curve.runs
        try:
            with workspace.closing:
                side = curve.side(workspace, keys)
                (taken,) = alternate([side], runs=runs, environ=workspace.environ, name=f"{curve.name}, {keys:,} keys")
        except FailedError as error:
            missed.append(str(error))
            break
        points.append((keys, figures(taken)))
    if points and curve.memory is not None:
        keys, last = points[-1]
        most = max(last.rss, last.together or 0.0) * _MEGABYTES
        if most > curve.memory:
            missed.append(f"{most:.0f} MB at {keys:,} keys are above {curve.memory} MB")
    return Growth(curve.name, curve.command, commit, tuple(points), curve.memory, tuple(missed))


def facts(report: Report) -> dict[str, str]:
    """Return the machine, the peers' versions and the measured commits, for the page."""
    commits = sorted({found.commit for found in (*report.rows.values(), *report.curves.values())})
    return {**report.machine, **peers.versions(), "commit": ", ".join(commits)}
