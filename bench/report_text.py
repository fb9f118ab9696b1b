"""Format figures for the terminal and for the page."""

from __future__ import annotations

from figures import Growth, Result
from measure import Figures


def duration(seconds: float) -> str:
    """Return *seconds* with three digits."""
    for unit, size in (("s", 1.0), ("ms", 1e-3)):
        if seconds >= size:
            value = seconds / size
            return f"{value:.{_digits(value)}f} {unit}"
    return f"{seconds * 1e6:.0f} µs"


def _digits(value: float) -> int:
    return 0 if value >= 100 else 1 if value >= 10 else 2


def number(value: float) -> str:
    """Return a ratio with two or three significant digits."""
    return f"{value:.3f}" if value < 0.1 else f"{value:.{_digits(value)}f}"


def largest(side: Figures) -> str:
    """Return the memory of the largest process; no value below that of the measuring program can be seen."""
    return f"{side.rss:.0f} MiB" if side.rss > side.floor * 1.02 else f"< {side.floor:.0f} MiB"


def together(side: Figures) -> str:
    """Return the memory of all processes together."""
    return "-" if side.together is None else f"{side.together:.0f} MiB"


def bound(result: Result) -> str:
    """Return the bounds of a row, in words."""
    ratio = f"at most {result.bound:g}" if result.bound is not None else None
    return ", ".join(part for part in (ratio, result.also) if part) or "-"


def verdict(found: Result | Growth) -> str:
    """Return whether the bounds hold."""
    if isinstance(found, Result):
        if found.skipped:
            return "left out"
        if found.bound is None and found.also is None:
            return "-"
    elif found.memory is None:
        return "missed" if found.missed else "-"
    return "**missed**" if found.missed else "reached"
