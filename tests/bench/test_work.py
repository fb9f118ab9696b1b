"""Commands do no more work than bench/work.json says, and no more of it for each set; time plays no part."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

BENCH = Path(__file__).parents[2] / "bench"
pytestmark = pytest.mark.skipif(
    sys.platform != "linux", reason="pages are made by forked workers, and removals followed, on Linux only"
)

#: Prints what is worse than recorded. The benchmark is no package: it runs from its own folder.
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

#: Whenever the vault is read, asks git for each set in a process of its own, and parses a key for each key.
_TOO_MUCH = """
from keyvault.repo.vault import Repository
read = Repository._read
def slow(self, commit, **options):
    from cryptography.hazmat.primitives.asymmetric import ec
    state = read(self, commit, **options)
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
    """Neither in a vault of 8 sets, nor in one of 80, nor does any work grow faster between them."""
    assert worse(tmp_path, [8, 80]) == []


@pytest.mark.slow
def test_a_regression_is_found(tmp_path: Path) -> None:
    """A process of git for each set, and a key that is parsed for each key, at every reading of the vault."""
    found = worse(tmp_path, [8], _TOO_MUCH)
    for kind in ("git", "loaded"):
        commands = {line.partition(", 8 sets")[0] for line in found if f": {kind} " in line}
        assert {"status", "rotate one", "render", "render, unchanged", "check"} <= commands


def test_what_grows_faster_is_found() -> None:
    """Even where both counts are no larger than they were; less of everything is no finding."""
    expected = {"status": {8: {"git": 4, "read": 8}, 80: {"git": 4, "read": 80}}}
    assert _judged({"status": {8: {"git": 4, "read": 4}, 80: {"git": 4, "read": 40}}}, expected) == []
    (line,) = _judged({"status": {8: {"git": 4, "read": 4}, 80: {"git": 4, "read": 80}}}, expected)
    assert line == "status: read grows 20.00 times instead of 10.00: if that is as it should be, record it"


def _judged(counts: Any, expected: Any) -> list[str]:
    asked = f"work.worse({counts!r}, {expected!r})"
    source = f"import json, sys; sys.path.insert(0, sys.argv[1]); import work; print(json.dumps({asked}))"
    done = subprocess.run([sys.executable, "-c", source, str(BENCH)], capture_output=True, text=True, check=True)
    found: list[str] = json.loads(done.stdout)
    return found
