"""
Define rows and curves; catalogue.py lists all of them.

A row prepares its two sides when it is measured. Figures that depend on the machine (seconds) have no bound; ratios
of two processes on the same machine do. A curve is one command on vaults of growing size.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import peers
from fixtures import Workspace
from measure import Side

Sides = Callable[[Workspace], tuple[Side, Side]]


@dataclass(frozen=True)
class Row:
    """
    One comparison.

    Attributes:
        name: Its name for ``--only``.
        about: Its description, in one line.
        sides: Prepares ours and the peer's side.
        runs: Runs of each side, after a warm-up.
        bound: The maximum of the ratio, if there is a bound.
        exact: A member of the JSON that our side prints, and the value that it must have.
        needs: Programs that the peer needs.
    """

    name: str
    about: str
    sides: Sides
    runs: int
    bound: float | None = None
    exact: tuple[str, int] | None = None
    needs: tuple[str, ...] = ()

    def missing(self) -> str | None:
        """Return why the row cannot be measured here; None if it can."""
        return peers.lacking(self.needs)


@dataclass(frozen=True)
class Curve:
    """
    One command, on vaults of growing size.

    Attributes:
        name: Its name for ``--only``.
        command: The command.
        points: The numbers of keys.
        side: Prepares the run on a vault with a number of keys.
        runs: Runs of each point; the largest point has a single run.
        memory: The maximum of all processes' memory together, in megabytes of 10^6 bytes, if there is a bound.
    """

    name: str
    command: str
    points: tuple[int, ...]
    side: Callable[[Workspace, int], Side]
    runs: int
    memory: int | None = None
