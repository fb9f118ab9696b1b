"""
Measure keyvault against other programs: `make bench`.

    python bench/run.py [--quick] [--only NAME…] [--page] [--write] [--check]

Writes build/bench/figures.json after each row, and docs/performance.md with its pictures at the end; prints a table,
and progress to stderr. With --only the other rows keep their earlier figures. A quick run stores its figures in a
separate file, and does not change the page without --write. With --check the exit code is 1 if a bound is missed.
"""

from __future__ import annotations

import argparse
import shutil
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path

import page
import report_text
from catalogue import all_curves, all_rows
from figures import Growth, Report, Result, machine, measure, measure_curve, measured_commit, read
from fixtures import BUILD, QUICK, Size, Workspace, environment
from measure import FailedError, Figures, log


def show(report: Report, names: Sequence[str]) -> None:
    """Print the results of the rows and curves in *names*."""
    print(", ".join(f"{name} {value}" for name, value in report.machine.items()))
    lines: list[Sequence[str]] = [("", "median", "least", "largest", "together")]
    for name in names:
        found: Result | Growth | None = report.rows.get(name) or report.curves.get(name)
        if isinstance(found, Growth):
            lines += [(f"{name}: {report_text.verdict(found)} {'; '.join(found.missed)}".rstrip(),)]
            lines += [(f"  {keys:,} keys", *_cells(side)) for keys, side in found.points]
        elif found is not None:
            lines += [(f"{name}: {found.about}: {found.skipped or _judged(found)}",)]
            lines += [(f"  {side.label}", *_cells(side)) for side in (found.ours, found.peer) if side is not None]
    full = [line for line in lines if len(line) > 1]
    widths = [max(len(line[index]) for line in full) for index in range(5)]
    for line in lines:
        padded = zip(line, widths, strict=False)
        print(line[0] if len(line) == 1 else "  ".join(cell.ljust(width) for cell, width in padded).rstrip())


def _cells(side: Figures) -> tuple[str, ...]:
    return (
        report_text.duration(side.wall),
        report_text.duration(side.least),
        report_text.largest(side),
        report_text.together(side),
    )


def _judged(row: Result) -> str:
    assert row.ratio is not None
    return f"{report_text.number(row.ratio)}, bound {report_text.bound(row)}: {report_text.verdict(row).strip('*')}"


def prepared(file: Path, *, quick: bool) -> Report:
    """Return the earlier report of this machine, or an empty report."""
    here, before = machine(), read(file)
    if before is not None and before.machine != here:
        log("the earlier figures are from another machine or other versions: skipped")
    elif before is not None:
        return before
    return Report(quick, here)


def measure_all(report: Report, file: Path, workspace: Workspace, chosen: Sequence[str]) -> None:
    """Measure the *chosen* rows and curves, and write the report after each."""
    commit = measured_commit()
    for row in all_rows(workspace):
        if row.name in chosen:
            report.rows[row.name] = measure(row, workspace, commit)
            report.write(file)
    for curve in all_curves(workspace):
        if curve.name in chosen:
            report.curves[curve.name] = measure_curve(curve, workspace, commit)
            report.write(file)


def in_order(report: Report, names: Sequence[str]) -> None:
    """Sort the report by *names*, and drop rows and curves that are not among them."""
    report.rows = {name: report.rows[name] for name in names if name in report.rows}
    report.curves = {name: report.curves[name] for name in names if name in report.curves}


def main() -> int:
    """Measure, write, print, and return the exit code."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").strip().splitlines()[0])
    parser.add_argument("--quick", action="store_true", help="small vaults and few runs, to check that it works")
    parser.add_argument("--only", nargs="+", metavar="NAME", default=[], help="only these rows and curves")
    parser.add_argument("--page", action="store_true", help="measure nothing; only write the page")
    parser.add_argument("--write", action="store_true", help="write the page even though the run is quick")
    parser.add_argument("--check", action="store_true", help="exit with 1 if a bound is missed")
    asked = parser.parse_args()
    BUILD.mkdir(parents=True, exist_ok=True)
    folder = Path(tempfile.mkdtemp(prefix="run-", dir=BUILD))
    kept = BUILD / "vaults"
    kept.mkdir(exist_ok=True)
    workspace = Workspace(folder, kept, environment(kept, folder / "bytecode"), QUICK if asked.quick else Size())
    names = [measured.name for measured in (*all_rows(workspace), *all_curves(workspace))]
    for name in asked.only:
        if name not in names:
            parser.error(f"unknown row {name!r}; known: {', '.join(names)}")
    chosen = [] if asked.page else [name for name in names if name in asked.only or not asked.only]
    file = BUILD / ("quick.json" if asked.quick else "figures.json")
    try:
        report = prepared(file, quick=asked.quick)
        measure_all(report, file, workspace, chosen)
        in_order(report, names)
        report.write(file)
        if asked.write or asked.page or not asked.quick:
            page.write(report)
        # Shown before the folder is removed: removing a million files takes minutes.
        show(report, chosen)
    except FailedError as error:
        log(str(error))
        return 1
    finally:
        shutil.rmtree(folder, ignore_errors=True)
    return 1 if asked.check and report.missed else 0


if __name__ == "__main__":
    sys.exit(main())
