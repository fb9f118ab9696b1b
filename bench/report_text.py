"""How figures are written, on the terminal and on the page."""

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
    """Return a ratio with two or three digits that say something."""
    return f"{value:.3f}" if value < 0.1 else f"{value:.{_digits(value)}f}"


def largest(side: Figures) -> str:
    """Return the memory of the largest process; what is not above our own cannot be told from it."""
    return f"{side.rss:.0f} MiB" if side.rss > side.floor * 1.02 else f"< {side.floor:.0f} MiB"


def together(side: Figures) -> str:
    """Return the memory of all processes together."""
    return "-" if side.together is None else f"{side.together:.0f} MiB"


def bound(result: Result) -> str:
    """Return what must hold of a row, in words."""
    ratio = f"at most {result.bound:g}" if result.bound is not None else None
    return ", ".join(part for part in (ratio, result.also) if part) or "-"


def verdict(one: Result | Growth) -> str:
    """Return whether the bounds hold."""
    if isinstance(one, Result):
        if one.skipped:
            return "left out"
        if one.bound is None and one.also is None:
            return "-"
    elif one.memory is None:
        return "missed" if one.missed else "-"
    return "**missed**" if one.missed else "reached"
