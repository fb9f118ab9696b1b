"""Provide rendered sites, a server for a site, and an object store."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

from fixtures import BENCH, CLOCKED, Workspace
from measure import FailedError


def rendered(workspace: Workspace, vault: Path) -> Path:
    """Return the site of *vault*. Each run renders it once: keyvault may have changed since the last run."""
    site = workspace.path("sites") / vault.name
    if not site.exists():
        workspace.run(*CLOCKED, "--vault", vault, "render", "--output", site)
    return site


def served(workspace: Workspace, site: Path) -> str:
    """Serve *site* until the row has ended, and return its URL."""
    return str(_started(workspace, sys.executable, str(BENCH / "serve.py"), str(site))["url"])


def object_store(workspace: Workspace) -> dict[str, str]:
    """Run a new SeaweedFS until the row has ended, and return the environment for publishers."""
    return _started(workspace, sys.executable, str(BENCH / "store.py"), str(workspace.path("store")))


def _started(workspace: Workspace, *command: str) -> dict[str, str]:
    """Start a program that prints its address as a line of JSON, and ends at the end of its stdin."""
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
        raise FailedError(f"{Path(command[1]).name} did not start")
    address: dict[str, str] = json.loads(line)
    return address
