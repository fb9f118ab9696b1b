"""
Measure what docs and design promise: `make bench`.

    python bench/run.py [--quick] [--only NAME]… [--json FILE] [--check]

Prints a table of medians and ratios; progress goes to stderr. Vaults are made in a temporary folder that is
removed at the end. With --check the exit code is 1 when a bound is missed.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import shutil
import subprocess
import sys
import tempfile
from dataclasses import asdict, dataclass
from importlib.metadata import version
from pathlib import Path

from measure import FailedError, Figures, Sample, figures, ratio, take_turns, tell
from rows import BENCH, QUICK, Row, Size, World, rows


@dataclass(frozen=True)
class Result:
    """
    What became of a row.

    Attributes:
        name: The row.
        about: What it shows.
        ours: Our figures; None where the row was skipped.
        peer: The peer's.
        ratio: Ours over the peer's, turn by turn.
        bounds: What must hold, one phrase each.
        missed: The bounds that were missed, one phrase each.
        skipped: Why nothing was measured.
    """

    name: str
    about: str
    ours: Figures | None = None
    peer: Figures | None = None
    ratio: float | None = None
    bounds: tuple[str, ...] = ()
    missed: tuple[str, ...] = ()
    skipped: str | None = None


def environment(folder: Path) -> dict[str, str]:
    """
    Return the environment of every measured process.

    Nothing of the user's git settings, identities or Python settings is in it. Bytecode is cached, as it is
    for an installed program, but in the temporary folder.
    """
    kept = {name: os.environ[name] for name in ("PATH", "LANG", "SYSTEMROOT", "TMPDIR") if name in os.environ}
    paths = [str(BENCH.parent), *os.environ.get("PYTHONPATH", "").split(os.pathsep)]
    return {
        **kept,
        "HOME": str(folder),
        "PYTHONPATH": os.pathsep.join(path for path in paths if path),
        "PYTHONPYCACHEPREFIX": str(folder / "bytecode"),
        "KEYVAULT_CONFIG_DIR": str(folder / "settings"),
        "KEYVAULT_PASSPHRASE": "protects nothing here",
        "GIT_CONFIG_NOSYSTEM": "1",
        "GIT_CONFIG_GLOBAL": os.devnull,
        "GIT_AUTHOR_NAME": "Benchmark",
        "GIT_AUTHOR_EMAIL": "bench@example.com",
        "GIT_COMMITTER_NAME": "Benchmark",
        "GIT_COMMITTER_EMAIL": "bench@example.com",
    }


def measure(row: Row, world: World) -> Result:
    """Measure one row."""
    if reason := row.missing():
        return Result(row.name, row.about, skipped=reason)
    ours, peer = row.sides()
    mine, others = take_turns(ours, peer, runs=row.runs, environ=world.environ, name=row.name)
    found = ratio(mine, others, ours_units=ours.units, peer_units=peer.units)
    first = figures(ours, mine)
    bounds, missed = judge(row, found, first, mine)
    return Result(row.name, row.about, first, figures(peer, others), found, bounds, missed)


def judge(row: Row, found: float, ours: Figures, samples: list[Sample]) -> tuple[tuple[str, ...], tuple[str, ...]]:
    """Return the bounds of *row*, and those that were missed, in words."""
    bounds, missed = [], []
    if row.bound is not None:
        bounds.append(f"ratio at most {row.bound:g}")
        if found > row.bound:
            missed.append(f"ratio {found:.2f} is above {row.bound:g}")
    if row.memory is not None:
        bounds.append(f"at most {row.memory} MiB")
        if ours.rss > row.memory:
            missed.append(f"{ours.rss:.0f} MiB are above {row.memory} MiB")
    if row.exact is not None:
        member, expected = row.exact
        bounds.append(f"{member} = {expected}")
        seen = {json.loads(sample.output)[member] for sample in samples}
        if seen != {expected}:
            missed.append(f"{member}: {', '.join(map(str, sorted(seen)))} instead of {expected}")
    return tuple(bounds), tuple(missed)


# --- the table ------------------------------------------------------------------------------------------


def duration(seconds: float) -> str:
    """Return *seconds* with three digits."""
    value, unit = (seconds, "s") if seconds >= 1 else (seconds * 1000, "ms")
    digits = 0 if value >= 100 else 1 if value >= 10 else 2
    return f"{value:.{digits}f} {unit}"


def memory(side: Figures) -> str:
    """Return the memory of *side*; what is not above our own cannot be told from it (see ``measure``)."""
    return f"{side.rss:.0f} MiB" if side.rss > side.floor * 1.02 else f"< {side.floor:.0f} MiB"


def machine() -> dict[str, str]:
    """Return what the figures depend on."""
    git = subprocess.run(["git", "--version"], capture_output=True, text=True, check=True).stdout
    return {
        "python": platform.python_version(),
        "git": git.removeprefix("git version ").strip(),
        "typer": version("typer"),
        "cryptography": version("cryptography"),
        "jwcrypto": version("jwcrypto"),
        "system": f"{platform.system()} {platform.machine()}, {os.cpu_count()} cores",
    }


def lines(result: Result) -> list[list[str]]:
    """Return the cells of *result*: what is shown, then a line for each side."""
    if result.skipped:
        return [[f"{result.name}: {result.about}"], [f"  skipped: {result.skipped}"]]
    assert result.ours is not None
    assert result.peer is not None
    verdict = "MISSED: " + "; ".join(result.missed) if result.missed else ", ".join(result.bounds) + ": met"
    head = [f"{result.name}: {result.about}" + (f" ({verdict})" if result.bounds else "")]
    ours, peer = (
        [
            "  " + side.label,
            duration(side.wall),
            duration(side.cpu),
            f"{side.parallel:.2f}",
            memory(side),
        ]
        for side in (result.ours, result.peer)
    )
    return [head, [*ours, f"{result.ratio:.2f}"], [*peer, ""]]


def show(results: list[Result]) -> None:
    """Print the table."""
    titles = ["", "wall", "cpu", "cpu/wall", "memory", "ratio"]
    body = [lines(result) for result in results]
    cells = [titles, *(row for block in body for row in block if len(row) > 1)]
    widths = [max(len(row[index]) for row in cells) for index in range(len(titles))]
    print(_aligned(titles, widths))
    for block in body:
        for row in block:
            print(row[0] if len(row) == 1 else _aligned(row, widths))


def _aligned(row: list[str], widths: list[int]) -> str:
    head = row[0].ljust(widths[0])
    return "  ".join([head, *(cell.rjust(width) for cell, width in zip(row[1:], widths[1:], strict=True))]).rstrip()


def main() -> int:
    """Measure, print, and return the exit code."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").strip().splitlines()[0])
    parser.add_argument("--quick", action="store_true", help="small vaults and few runs: to see that it works")
    parser.add_argument("--only", action="append", metavar="NAME", help="only this row; may be given again")
    parser.add_argument("--json", type=Path, metavar="FILE", help="write the figures as JSON as well")
    parser.add_argument("--check", action="store_true", help="exit with 1 when a bound is missed")
    chosen = parser.parse_args()
    folder = Path(tempfile.mkdtemp(prefix="keyvault-bench-"))
    try:
        world = World(folder, environment(folder), QUICK if chosen.quick else Size())
        (folder / "vaults").mkdir()
        known = rows(world)
        names = [row.name for row in known]
        for name in chosen.only or []:
            if name not in names:
                parser.error(f"no row {name!r}: one of {', '.join(names)}")
        results = [measure(row, world) for row in known if not chosen.only or row.name in chosen.only]
        about = machine()
        print(", ".join(f"{name} {value}" if name != "system" else value for name, value in about.items()))
        # Shown before the folder is removed, which takes minutes where it held a million files.
        show(results)
    except FailedError as error:
        tell(str(error))
        return 1
    finally:
        shutil.rmtree(folder, ignore_errors=True)
    if chosen.json:
        document = {"quick": chosen.quick, "machine": about, "rows": [asdict(result) for result in results]}
        chosen.json.write_text(json.dumps(document, indent=2) + "\n")
    return 1 if chosen.check and any(result.missed for result in results) else 0


if __name__ == "__main__":
    sys.exit(main())
