"""A small vault goes through its life at a terminal, and Ctrl-C does no harm; how long anything takes plays no part."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

BENCH = Path(__file__).parents[2] / "bench"
pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(sys.platform != "linux", reason="terminals are made as Linux makes them"),
]


def life(folder: Path, *options: str) -> tuple[int, dict[str, Any], str]:
    output = folder / "life.json"
    command = [sys.executable, str(BENCH / "life.py"), "--output", str(output), *options]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    found: dict[str, Any] = json.loads(output.read_text()) if output.exists() else {}
    return done.returncode, found.get("steps", {}), done.stdout + done.stderr


def test_ctrl_c_does_no_harm(tmp_path: Path) -> None:
    """Neither in Python's start nor later, to none of the steps."""
    steps = ("rotate", "render", "publish", "publish-folder", "check", "audit", "status")

    code, found, said = life(tmp_path, "--keys", "60", "--strikes", "2", "--only", *steps)

    assert list(found) == list(steps), said
    harms = {name: one["harm"] + [text for strike in one["strikes"] for text in strike["harm"]] for name, one in found.items()}
    assert {name: harm for name, harm in harms.items() if harm} == {}
    assert all(len(one["strikes"]) == 2 for one in found.values())
    assert code == 0, said
