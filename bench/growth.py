"""Rows and curves of growth: one command, on vaults of more and more keys."""

from __future__ import annotations

from functools import partial

import sites
from measure import Side
from rows import Row
from world import CLOCKED, World

#: After one rotation each set has three: next, active and retiring.
KEYS_A_SET = 3
#: Ten times as much, and a tenth for what a machine does beside.
_BOUND = 11


def rows(world: World) -> list[Row]:
    """Return the rows."""
    size = world.size
    found = [
        Row(
            f"{command}-growth",
            f"{command}, from {size.small:,} to {size.large:,} sets of three keys",
            partial(_growth, command=command),
            size.runs,
            bound=_BOUND,
        )
        for command in ("status", "render", "audit")
    ]
    commits = f"audit, from {size.commits // 10:,} to {size.commits:,} commits"
    return [*found, Row("audit-commits-growth", commits, _commits, size.runs, bound=_BOUND)]


def at_sets(world: World, command: str, sets: int) -> Side:
    """Return *command* on a vault of *sets* sets of three keys."""
    # All keys of an issuer stand in one JWK Set, and verifiers take 256 KiB of it.
    vault = world.vault(sets, "rotated", *["issuers"] * (command == "check"))
    label, call = f"keyvault {command}, {sets:,} sets", (*CLOCKED, "--vault", str(vault), command)
    if command == "render":
        site = world.folder / f"site-{sets}"
        return Side(label, (*call, "--output", str(site)), world.work, after=partial(world.put_aside, site))
    if command == "check":
        url = sites.served(world, sites.rendered(world, vault))
        return Side(label, (*call, url), world.work)
    return Side(label, call, world.work)


def at_keys(command: str, world: World, keys: int) -> Side:
    """Return *command* on a vault of *keys* keys, or as many more as its last set needs."""
    return at_sets(world, command, -(-keys // KEYS_A_SET))


def audited(world: World, commits: int) -> Side:
    """Return the audit of a history of *commits*."""
    vault = world.history(commits)
    return Side(f"keyvault audit, {commits:,} commits", (*CLOCKED, "--vault", str(vault), "audit"), world.work)


def _growth(world: World, *, command: str) -> tuple[Side, Side]:
    return at_sets(world, command, world.size.large), at_sets(world, command, world.size.small)


def _commits(world: World) -> tuple[Side, Side]:
    return audited(world, world.size.commits), audited(world, world.size.commits // 10)
