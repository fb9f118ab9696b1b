"""Write docs/performance.md and its pictures from the figures."""

from __future__ import annotations

import tomllib
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path

import plots
import report_text
from figures import Growth, Report, Result, facts
from fixtures import BENCH
from measure import Figures

DOCS = BENCH.parent / "docs"
PAGE = DOCS / "performance.md"
NOTES = BENCH / "notes.toml"

_HEAD = """\
# Performance

After reading this page you can tell how fast keyvault is compared with other programs, how much memory it needs, and
how both grow with the number of keys. To measure it on your machine:

```sh
make bench
```

`make bench` measures whole processes, from start to end, against programs that do the same work or its minimum, and
writes this page.

## Ratios

A ratio is keyvault's time divided by the other program's time; both are medians of alternating runs. Ratios hold on
faster machines; seconds, [below](#seconds-and-memory), do not. A row without a bound is for comparison only.
"""

_MISSED = """\
## Missed bounds, and why
"""

_SECONDS = """\
## Seconds and memory

Times are medians and shortest runs, for one unit: a key or a set if the row says so, else a whole run. *Largest* is the
largest resident set of any single process. *Together* is the memory of a process and all its children at the same time:
the sum of their proportional sets (PSS), which counts a shared page once. It is sampled in a separate run, whose time
does not count. Samples miss most of a script whose processes live only for a moment.
"""

_GROWTH = """\
## Growth

Each command runs on vaults with more and more keys, three in each set: next, active and retiring. `check` asks a server
on the same machine for every JWK Set and every discovery document. Its time includes the server's, its memory does not.
Its vaults have an issuer for each 30 sets, because the JWK Set of an issuer may have 256 KiB. The memory bound is
for the largest vault, and for all processes together: `render` has worker processes. Each vault has been rotated once;
[scale.md](scale.md#commands-after-ten-years) shows the cost of ten years of commits.
"""

_HOW = """\
## How to run it

```sh
make bench                                    # everything, with what it is compared with: half an hour
.venv/bin/python bench/run.py --quick         # small sizes: whether it works
.venv/bin/python bench/run.py --only rsa open # some rows; the others stay as they were
.venv/bin/python bench/run.py --page          # this page again, from what was measured
```

`bench/prepare` installs the other programs: Debian packages, and Go modules that it compiles. If a program is missing,
the page lists its row as left out. Vaults are created once, with a fixed clock, and stay in `build/bench/vaults`.

- The two sides alternate (A B A B) after a warm-up. The preparation of a run, such as a fresh copy of the vault, is not
  measured, and is on the disk before the run begins.
- Programs that handle one key per process get fewer keys, and both times are given for one key.
- Neither side sees the user's settings in its environment. Python's bytecode and all files are cached.
- Work that must not grow, such as git processes and files read, is counted, not timed: `bench/work.py` counts it,
  `bench/work.json` has the counts, and a test fails if a count goes up.
"""


def render(report: Report, notes: Mapping[str, str]) -> str:
    """Return the page."""
    rows, curves = list(report.rows.values()), list(report.curves.values())
    measured = [row for row in rows if not row.skipped]
    parts = [_HEAD, table(("row", "comparison", "ratio", "bound", ""), map(_ratio, rows))]
    if report.quick:
        parts.insert(1, "**Of a quick run, with small sizes: these figures say nothing.**\n")
    skipped = [f"- `{row.name}`: {row.skipped}\n" for row in rows if row.skipped]
    if skipped:
        parts += ["Left out:\n", "".join(skipped)]
    if explained := [*_explained([*rows, *curves], notes)]:
        parts += [_MISSED, "".join(explained)]
    head = ("row", "", "median", "least", "cores", "largest", "together", "runs")
    parts += [_SECONDS, table(head, (line for row in measured for line in _seconds(row)))]
    if any(curve.points for curve in curves):
        parts += [_GROWTH, *(f"![{plot.title}, by the number of keys](images/{plot.file})\n" for plot in plots.PLOTS)]
        parts += [table(*_growth(curves, plot)) for plot in plots.PLOTS]
        parts += [table(("command", "bound of memory", ""), map(_memory, curves))]
    parts += ["## The machine\n", table(("item", "value"), facts(report).items()), _HOW]
    return "\n".join(parts)


def _ratio(row: Result) -> Sequence[str]:
    ratio = "-" if row.ratio is None else report_text.number(row.ratio)
    return f"`{row.name}`", row.about, ratio, report_text.bound(row), report_text.verdict(row)


def _explained(found: Iterable[Result | Growth], notes: Mapping[str, str]) -> Iterable[str]:
    for result in found:
        if result.missed:
            why = notes.get(result.name, "Not explained yet.").strip()
            yield f"- `{result.name}`: {'; '.join(result.missed)}. {why}\n"
        elif result.name in notes:
            yield f"- `{result.name}`: {notes[result.name].strip()}\n"


def _seconds(row: Result) -> Iterable[Sequence[str]]:
    for name, side in ((f"`{row.name}`", row.ours), ("", row.peer)):
        assert side is not None
        label = side.label.replace("|", "\\|")
        yield (
            name,
            label,
            *_times(side),
            f"{side.parallel:.2f}",
            report_text.largest(side),
            report_text.together(side),
            str(side.runs),
        )


def _times(side: Figures) -> tuple[str, str]:
    return report_text.duration(side.wall), report_text.duration(side.least)


def _growth(curves: Sequence[Growth], plot: plots.Plot) -> tuple[Sequence[str], Iterable[Sequence[str]]]:
    keys = sorted({number for curve in curves for number, _ in curve.points})
    return (plot.unit, *(f"{number:,} keys" for number in keys)), (
        (
            f"`{curve.command}`",
            *(_value(plot.of(dict(curve.points)[number]) if number in dict(curve.points) else None) for number in keys),
        )
        for curve in curves
    )


def _value(value: float | None) -> str:
    return "-" if value is None else report_text.number(value)


def _memory(curve: Growth) -> Sequence[str]:
    bound = "-" if curve.memory is None else f"at most {curve.memory} MB"
    return f"`{curve.command}`", bound, report_text.verdict(curve)


def table(head: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    """Return a table in Markdown."""
    lines = [head, ["---"] * len(head), *rows]
    return "".join(f"| {' | '.join(line)} |\n" for line in lines)


def write(report: Report, docs: Path = DOCS) -> None:
    """Write the page and its pictures."""
    curves = [curve for curve in report.curves.values() if curve.points]
    if curves:
        plots.draw(curves, docs / "images")
    (docs / PAGE.name).write_text(render(report, tomllib.loads(NOTES.read_text())), encoding="utf-8")
