"""
Draw the growth curves as SVG: the same figures give the same bytes.

Text stays text. The background is white, so that a dark page shows the picture, too.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from figures import Growth
from measure import Figures

#: Okabe and Ito's colours, which people with any kind of colour vision can tell apart; and a marker each.
_STYLES = {"status": ("#0072B2", "o"), "render": ("#D55E00", "s"), "check": ("#009E73", "^"), "audit": ("#CC79A7", "D")}


@dataclass(frozen=True)
class Plot:
    """A picture: its file, its title, and the value of a figure that it shows."""

    file: str
    title: str
    unit: str
    of: Callable[[Figures], float | None]


PLOTS = (
    Plot("growth-seconds.svg", "Seconds by the clock", "seconds", lambda side: side.wall),
    Plot("growth-memory.svg", "Memory of all processes together", "MiB", lambda side: side.together),
)


def draw(curves: Sequence[Growth], folder: Path) -> None:
    """Write a picture of each of `PLOTS` to *folder*."""
    # Loaded only here, so that the measuring program stays small.
    import matplotlib as mpl

    mpl.use("svg")
    from matplotlib import pyplot
    from matplotlib.ticker import FuncFormatter, LogLocator, NullFormatter

    # The viewer sets the text, and ids inside the picture do not change between runs.
    settings = {"svg.fonttype": "none", "svg.hashsalt": "keyvault", "font.family": "sans-serif", "font.size": 10}
    folder.mkdir(parents=True, exist_ok=True)
    with mpl.rc_context(settings):
        for plot in PLOTS:
            figure, axes = pyplot.subplots(figsize=(6.4, 4.2))
            lines = [(curve.command, _points(curve, plot)) for curve in curves]
            for command, points in lines:
                colour, mark = _STYLES[command]
                axes.plot(*zip(*points, strict=True), color=colour, marker=mark, label=command)
            _guide(axes, [point for _, points in lines for point in points])
            axes.set(xscale="log", yscale="log", xlabel="keys", ylabel=plot.unit, title=plot.title)
            # With powers of ten alone, an axis could have no label: all values may be between two of them.
            for axis in (axes.xaxis, axes.yaxis):
                axis.set_major_locator(LogLocator(subs=(1.0,) if axis is axes.xaxis else (1.0, 2.0, 5.0)))
                axis.set_major_formatter(FuncFormatter(lambda value, place: f"{value:,.10g}"))
                axis.set_minor_formatter(NullFormatter())
            axes.grid(True, which="major", color="#dddddd", linewidth=0.6)
            axes.legend(frameon=False)
            figure.tight_layout()
            figure.savefig(folder / plot.file, metadata={"Date": None}, facecolor="white")
            pyplot.close(figure)


def _points(curve: Growth, plot: Plot) -> list[tuple[int, float]]:
    found = ((keys, plot.of(side)) for keys, side in curve.points)
    return [(keys, value) for keys, value in found if value is not None]


def _guide(axes: Any, points: Sequence[tuple[int, float]]) -> None:
    """Draw a line of linear growth that ends at the end of the highest curve."""
    most = max(keys for keys, _ in points)
    least, top = min(keys for keys, _ in points), max(value for keys, value in points if keys == most)
    bottom = min(value for _, value in points)
    # It starts where it enters the picture.
    first = max(float(least), most * bottom / top)
    line = ([first, most], [top * first / most, top])
    axes.plot(*line, color="#888888", linestyle="--", linewidth=1, label="linear")
