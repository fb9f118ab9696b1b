"""Simulates some weeks of small vaults, and of other layouts, with the code that measures ten years."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

#: The measurement takes seconds; both tests use it.
pytestmark = pytest.mark.slow

BENCH = Path(__file__).parents[2] / "bench"

#: Measures two sets for three weeks, and minimal layouts, in a separate workspace.
_MEASURED = """
import json, sys
from pathlib import Path
sys.path.insert(0, sys.argv[1])
import ten_years
from fixtures import QUICK, Workspace, environment
folder = Path(sys.argv[2])
kept = folder / "kept"
kept.mkdir()
workspace = Workspace(folder, kept, environment(kept, folder / "bytecode"), QUICK)
print(json.dumps({
    "decade": ten_years.TenYears(workspace, 2, 3).measure(),
    "wide": ten_years.measure_wide(folder, 50),
    "long": ten_years.measure_long(folder, 2, 60),
}))
"""


@pytest.fixture(scope="module")
def measured(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    command = [sys.executable, "-c", _MEASURED, str(BENCH), str(tmp_path_factory.mktemp("decade"))]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    found: dict[str, Any] = json.loads(done.stdout)
    return found


def test_weeks_of_a_vault(measured: dict[str, Any]) -> None:
    """Each week has a commit and a new key for each set; a clone has all of them, a shallow clone has less."""
    found = measured["decade"]
    first, last = found["years"]

    assert (first["week"], first["commits"], last["week"], last["commits"]) == (0, 2, 3, 5)
    assert last["keys"] == 2 * 3
    assert found["packed"]["commits"] == found["grown"]["commits"] == 5
    assert found["packed"]["packs"] == 1
    assert found["clones"]["shallow"]["git_bytes"] < found["packed"]["git_bytes"]
    assert found["site"]["files"] > 0


def test_layouts(measured: dict[str, Any]) -> None:
    """The layout determines the width of its folders; all layouts have the same records."""
    wide, long = measured["wide"], measured["long"]

    assert {name: figures["widest"] for name, figures in wide.items()} == {"flat": 200, "sets": 50, "sharded": 50}
    assert wide["sharded"]["commit_bytes"] > 0
    # A year has 52 weeks, so the second year has its own folder.
    assert long["years"]["trees"]["objects"] > long["sets"]["trees"]["objects"]
