"""What rows need beside processes: rendered sites, a host that serves one, an object store."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

from fixtures import BENCH, CLOCKED, Workspace
from measure import FailedError


def rendered(workspace: Workspace, vault: Path) -> Path:
    """Return the site of *vault*, rendered once in a run: what renders may have changed since the last one."""
    site = workspace.path("sites") / vault.name
    if not site.exists():
        workspace.run(*CLOCKED, "--vault", vault, "render", "--output", site)
    return site


def served(workspace: Workspace, site: Path) -> str:
    """Return the URL at which *site* is served until the row has ended."""
    return str(_started(workspace, sys.executable, str(BENCH / "serve.py"), str(site))["url"])


def object_store(workspace: Workspace) -> dict[str, str]:
    """Return what publishers to a new SeaweedFS have in their environment; it runs until the row has ended."""
    return _started(workspace, sys.executable, str(BENCH / "store.py"), str(workspace.path("store")))


def _started(workspace: Workspace, *command: str) -> dict[str, str]:
    """Start a program that tells in one line of JSON how it is reached, and ends when its stdin does."""
    process = subprocess.Popen(
        command, env=workspace.environ, stdin=subprocess.PIPE, stdout=subprocess.PIPE, cwd=workspace.work
    )
    assert process.stdin is not None
    assert process.stdout is not None
    workspace.closing.callback(process.wait)
    workspace.closing.callback(process.stdin.close)
    workspace.closing.callback(process.stdout.close)
    line = process.stdout.readline()
    if not line:
        raise FailedError(f"{Path(command[1]).name} does not start")
    told: dict[str, str] = json.loads(line)
    return told
