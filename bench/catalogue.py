"""List all rows and curves, in the order in which they are measured and shown."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial

import auditing
import growth
import opening
import rendering
import rotation
import startup
from fixtures import Workspace
from rows import Curve, Row

_FAMILIES: Sequence[Callable[[Workspace], list[Row]]] = (
    startup.rows,
    rotation.rows,
    opening.rows,
    rendering.rows,
    auditing.rows,
    growth.rows,
)


def all_rows(workspace: Workspace) -> list[Row]:
    """Return all rows."""
    return [row for family in _FAMILIES for row in family(workspace)]


def all_curves(workspace: Workspace) -> list[Curve]:
    """Return all curves."""
    points = workspace.size.curve
    return [
        Curve(f"curve-{command}", command, points, partial(growth.at_keys, command), workspace.size.runs, memory)
        for command, memory in (("status", 400), ("render", 400), ("check", None), ("audit", 400))
    ]
