"""Commands do no more work than bench/work.json records, in total and per set; time does not matter."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

BENCH = Path(__file__).parents[2] / "bench"
pytestmark = pytest.mark.skipif(
    sys.platform != "linux", reason="forked workers generate pages, and removals are traced, on Linux only"
)

#: Prints the counts that are worse than the recorded ones. The benchmark is no package: it runs from its own folder.
_COUNT = """
import json, sys
from pathlib import Path
sys.path.insert(0, sys.argv[1])
import work
sizes = json.loads(sys.argv[3])
found = work.count(Path(sys.argv[2]), sizes, prelude=sys.argv[4])
recorded = {name: {sets: counts[sets] for sets in sizes} for name, counts in work.recorded().items()}
assert found.keys() == recorded.keys()
print(json.dumps(work.worse(found, recorded)))
"""

#: Each read of the vault starts a git process for each set, and parses a key for each key.
_TOO_MUCH = """
from keyvault.repo.vault import Repository
read = Repository._read
def slow(self, *arguments, **options):
    from cryptography.hazmat.primitives.asymmetric import ec
    state = read(self, *arguments, **options)
    for name in state.sets:
        self.git.run("rev-parse", "HEAD")
    for key in state.keys:
        ec.derive_private_key(7, ec.SECP256R1())
    return state
Repository._read = slow
"""


def worse(folder: Path, sizes: list[int], prelude: str = "") -> list[str]:
    command = [sys.executable, "-c", _COUNT, str(BENCH), str(folder), json.dumps(sizes), prelude]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    found: list[str] = json.loads(done.stdout)
    return found


@pytest.mark.slow
def test_no_command_does_more_than_is_recorded(tmp_path: Path) -> None:
    """Neither with 8 sets, nor with 80, and no kind of work grows faster between them."""
    assert worse(tmp_path, [8, 80]) == []


@pytest.mark.slow
def test_a_regression_is_found(tmp_path: Path) -> None:
    """Additional git processes for each set, and parsed keys for each key, at every read of the vault."""
    found = worse(tmp_path, [8], _TOO_MUCH)
    for kind in ("git", "loaded"):
        commands = {line.partition(", 8 sets")[0] for line in found if f": {kind} " in line}
        assert {"status", "rotate one", "render", "render, unchanged", "check"} <= commands


def test_faster_growth_is_found() -> None:
    """Even if both counts are no larger than before; fewer of everything is no finding."""
    expected = {"status": {8: {"git": 4, "read": 8}, 80: {"git": 4, "read": 80}}}
    assert _judged({"status": {8: {"git": 4, "read": 4}, 80: {"git": 4, "read": 40}}}, expected) == []
    (line,) = _judged({"status": {8: {"git": 4, "read": 4}, 80: {"git": 4, "read": 80}}}, expected)
    assert line == "status: read grows 20.00 times instead of 10.00: if that is intended, record it"


def _judged(counts: Any, expected: Any) -> list[str]:
    asked = f"work.worse({counts!r}, {expected!r})"
    source = f"import json, sys; sys.path.insert(0, sys.argv[1]); import work; print(json.dumps({asked}))"
    done = subprocess.run([sys.executable, "-c", source, str(BENCH)], capture_output=True, text=True, check=True)
    found: list[str] = json.loads(done.stdout)
    return found
