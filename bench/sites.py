"""What rows need beside processes: rendered sites, a host that serves one, an object store."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

from measure import FailedError
from world import BENCH, CLOCKED, World


def rendered(world: World, vault: Path) -> Path:
    """Return the site of *vault*, rendered once in a run: what renders may have changed since the last one."""
    site = world.path("sites") / vault.name
    if not site.exists():
        world.run(*CLOCKED, "--vault", vault, "render", "--output", site)
    return site


def served(world: World, site: Path) -> str:
    """Return the URL at which *site* is served until the row has ended."""
    return str(_started(world, sys.executable, str(BENCH / "serve.py"), str(site))["url"])


def object_store(world: World) -> dict[str, str]:
    """Return what publishers to a new SeaweedFS have in their environment; it runs until the row has ended."""
    return _started(world, sys.executable, str(BENCH / "store.py"), str(world.path("store")))


def _started(world: World, *command: str) -> dict[str, str]:
    """Start a program that tells in one line of JSON how it is reached, and ends when its stdin does."""
    process = subprocess.Popen(
        command, env=world.environ, stdin=subprocess.PIPE, stdout=subprocess.PIPE, cwd=world.work
    )
    assert process.stdin is not None
    assert process.stdout is not None
    world.closing.callback(process.wait)
    world.closing.callback(process.stdin.close)
    world.closing.callback(process.stdout.close)
    line = process.stdout.readline()
    if not line:
        raise FailedError(f"{Path(command[1]).name} does not start")
    told: dict[str, str] = json.loads(line)
    return told
