"""All rows and curves, in the order in which they are measured and shown."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial

import auditing
import growth
import opening
import rendering
import rotation
import startup
from rows import Curve, Row
from world import World

_FAMILIES: Sequence[Callable[[World], list[Row]]] = (
    startup.rows,
    rotation.rows,
    opening.rows,
    rendering.rows,
    auditing.rows,
    growth.rows,
)


def all_rows(world: World) -> list[Row]:
    """Return all rows."""
    return [row for family in _FAMILIES for row in family(world)]


def all_curves(world: World) -> list[Curve]:
    """Return all curves."""
    points = world.size.curve
    return [
        Curve(f"curve-{command}", command, points, partial(growth.at_keys, command), world.size.runs, memory)
        for command, memory in (("status", 400), ("render", 400), ("check", None), ("audit", 400))
    ]
