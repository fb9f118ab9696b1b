"""
What a row is, and what a curve is; catalogue.py has the list of all.

A row prepares its two sides when it is measured. Figures that depend on the machine (seconds) have no bound; ratios
of two processes that met the same machine do. A curve is one command on vaults of growing size.
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
        name: What ``--only`` takes.
        about: What it shows, in one line.
        sides: Prepares ours and the peer's side.
        runs: Runs of each side, after a warm-up.
        bound: The ratio that must not be passed, if there is one.
        exact: A member of what our side reports on stdout as JSON, and what it must be.
        needs: Programs without which there is no peer.
    """

    name: str
    about: str
    sides: Sides
    runs: int
    bound: float | None = None
    exact: tuple[str, int] | None = None
    needs: tuple[str, ...] = ()

    def missing(self) -> str | None:
        """Return why the row cannot be measured here, or None."""
        return peers.lacking(self.needs)


@dataclass(frozen=True)
class Curve:
    """
    One command, on vaults of growing size.

    Attributes:
        name: What ``--only`` takes.
        command: The command.
        points: The numbers of keys.
        side: Prepares the run on a vault of so many keys.
        runs: Runs of each; the largest takes one.
        memory: Megabytes (of 10^6 bytes) that all its processes must not pass together, if there is a bound.
    """

    name: str
    command: str
    points: tuple[int, ...]
    side: Callable[[Workspace, int], Side]
    runs: int
    memory: int | None = None
