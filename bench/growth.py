"""Rows and curves of growth: the same command on larger and larger vaults."""

from __future__ import annotations

from functools import partial

import sites
from fixtures import CLOCKED, Workspace
from measure import Side
from rows import Row

#: After one rotation each set has three: next, active and retiring.
KEYS_A_SET = 3
#: Ten times as much, and a tenth for other load of the machine.
_BOUND = 11


def rows(workspace: Workspace) -> list[Row]:
    """Return the rows."""
    size = workspace.size
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


def at_sets(workspace: Workspace, command: str, sets: int) -> Side:
    """Return *command* on a vault of *sets* sets of three keys."""
    # All keys of an issuer are in one JWK Set, and verifiers accept 256 KiB.
    vault = workspace.vault(sets, "rotated", *["issuers"] * (command == "check"))
    label, call = f"keyvault {command}, {sets:,} sets", (*CLOCKED, "--vault", str(vault), command)
    if command == "render":
        site = workspace.folder / f"site-{sets}"
        return Side(label, (*call, "--output", str(site)), workspace.work, after=partial(workspace.put_aside, site))
    if command == "check":
        url = sites.served(workspace, sites.rendered(workspace, vault))
        return Side(label, (*call, url), workspace.work)
    return Side(label, call, workspace.work)


def at_keys(command: str, workspace: Workspace, keys: int) -> Side:
    """Return *command* on a vault of *keys* keys, rounded up to whole sets."""
    return at_sets(workspace, command, -(-keys // KEYS_A_SET))


def audited(workspace: Workspace, commits: int) -> Side:
    """Return an audit of *commits* commits."""
    vault = workspace.history(commits)
    return Side(f"keyvault audit, {commits:,} commits", (*CLOCKED, "--vault", str(vault), "audit"), workspace.work)


def _growth(workspace: Workspace, *, command: str) -> tuple[Side, Side]:
    return at_sets(workspace, command, workspace.size.large), at_sets(workspace, command, workspace.size.small)


def _commits(workspace: Workspace) -> tuple[Side, Side]:
    return audited(workspace, workspace.size.commits), audited(workspace, workspace.size.commits // 10)
