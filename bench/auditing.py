"""Rows of reading: status and audit, against git reading the same bytes."""

from __future__ import annotations

import shlex
from pathlib import Path

from fixtures import WORKLOADS, Workspace
from growth import at_sets, audited
from measure import Side
from rows import Row


def rows(workspace: Workspace) -> list[Row]:
    """Return the rows."""
    size = workspace.size
    return [
        Row(
            "status-scale",
            f"status of {size.large:,} sets of three keys against `git cat-file --batch` and Python's `json`",
            _status,
            size.runs,
            bound=3,
        ),
        Row(
            "audit",
            f"audit of {size.commits:,} commits against `git log --raw` and `git cat-file --batch`",
            _audit,
            size.runs,
            bound=5,
        ),
    ]


def blobs(vault: Path) -> str:
    """Return a shell pipe that writes all records of *vault*."""
    git = f"git -C {shlex.quote(str(vault))}"
    return f"{git} ls-tree -r HEAD keys.enc | awk '{{ print $3 }}' | {git} cat-file --batch"


def _status(workspace: Workspace) -> tuple[Side, Side]:
    sets = workspace.size.large
    pipe = f"{blobs(workspace.vault(sets, 'rotated'))} | {shlex.join(WORKLOADS)} decode"
    return (
        at_sets(workspace, "status", sets),
        Side("git cat-file --batch | json.loads", ("sh", "-c", pipe), workspace.work),
    )


def _audit(workspace: Workspace) -> tuple[Side, Side]:
    pipe = "git log --raw --no-renames --no-abbrev | awk '/^:/ { print $4 }' | git cat-file --batch >/dev/null"
    folder = workspace.history(workspace.size.commits)
    return (
        audited(workspace, workspace.size.commits),
        Side(
            "git log --raw | git cat-file --batch",
            ("sh", "-c", f"cd {shlex.quote(str(folder))} && {pipe}"),
            workspace.work,
        ),
    )
