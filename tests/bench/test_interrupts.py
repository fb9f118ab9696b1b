"""Ctrl-C does no harm to the commands of a small vault at a terminal; docs/scale.md has the recorded figures."""

from __future__ import annotations

import json
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from tests.docs.pages import read

BENCH = Path(__file__).parents[2] / "bench"
STEPS = ("rotate", "render", "publish", "publish-folder", "check", "audit", "status")

on_linux = pytest.mark.skipif(sys.platform != "linux", reason="pseudo-terminals are opened as on Linux")

#: Prints the page as it is generated from the figures.
_WRITTEN = (
    "import sys; sys.path.insert(0, sys.argv[1]); import scale; print(scale.written(sys.stdin.read(), scale.read()))"
)

#: Code that makes keyvault do harm, by the harm: it runs before the command.
_WORSE = {
    # An interrupted command ends with another exit code.
    "exit code 7": "import signal, os; signal.signal(signal.SIGINT, lambda *_: os._exit(7))",
    # It leaves a half-written pack.
    "left over: .git/objects/pack/tmp_pack_1": (
        "import pathlib, sys; vault = pathlib.Path(sys.argv[sys.argv.index('--vault') + 1]); "
        "(vault / '.git/objects/pack/tmp_pack_1').write_bytes(b'')"
    ),
}


def run_interrupts(folder: Path, *options: str) -> tuple[int, dict[str, Any], str]:
    output = folder / "life.json"
    command = [sys.executable, str(BENCH / "interrupts.py"), "--output", str(output), "--folder", str(folder), *options]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    found: dict[str, Any] = json.loads(output.read_text()) if output.exists() else {}
    return done.returncode, found.get("steps", {}), done.stdout + done.stderr


def harms(found: dict[str, Any]) -> dict[str, list[str]]:
    """Return the harm of each step with harm."""
    all_harm = {
        name: step["harm"] + [text for strike in step["strikes"] for text in strike["harm"]]
        for name, step in found.items()
    }
    return {name: harm for name, harm in all_harm.items() if harm}


@on_linux
@pytest.mark.slow
def test_ctrl_c_does_no_harm(tmp_path: Path) -> None:
    """Neither during Python's start nor later, in any step; durations do not matter."""
    code, found, said = run_interrupts(tmp_path, "--keys", "60", "--strikes", "2", "--only", *STEPS)

    assert list(found) == list(STEPS), said
    assert harms(found) == {}
    assert all(len(step["strikes"]) == 2 for step in found.values())
    assert code == 0, said


@on_linux
@pytest.mark.slow
@pytest.mark.parametrize("harm", _WORSE)
def test_harm_is_found(tmp_path: Path, harm: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Another exit code and leftovers are harm."""
    monkeypatch.setenv("INTERRUPTS_PRELUDE", _WORSE[harm])

    code, found, said = run_interrupts(tmp_path, "--keys", "6", "--strikes", "2", "--only", "status")

    assert code == 1, said
    assert any(text.startswith(harm) for text in harms(found)["status"]), said


def test_the_page_has_the_recorded_figures() -> None:
    """Its tables match the figures, and neither has a path of a machine."""
    page = read("docs/scale.md")

    command = [sys.executable, "-c", _WRITTEN, str(BENCH)]
    done = subprocess.run(command, input=page, capture_output=True, text=True, check=True)

    assert done.stdout.rstrip("\n") == page.rstrip("\n")
    for text in (page, read("bench/scale.json")):
        assert re.findall(r"(?<![\w.])/(?:home|root|work|tmp|Users)/", text) == []
