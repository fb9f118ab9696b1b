"""A small vault goes through its life at a terminal, and Ctrl-C does no harm; docs/scale.md says what was measured."""

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

on_linux = pytest.mark.skipif(sys.platform != "linux", reason="terminals are made as Linux makes them")

#: Prints the page as it would be written again from the figures.
_WRITTEN = (
    "import sys; sys.path.insert(0, sys.argv[1]); import scale; print(scale.written(sys.stdin.read(), scale.read()))"
)

#: Runs interrupts.py on a keyvault that is worse: what the argument names is put before its command line.
_WORSE = {
    # An interrupted command says that it succeeded.
    "exit code 7": "import signal, os; signal.signal(signal.SIGINT, lambda *_: os._exit(7))",
    # It leaves a half-written pack.
    "left over: .git/objects/pack/tmp_pack_1": (
        "import pathlib, sys; vault = pathlib.Path(sys.argv[sys.argv.index('--vault') + 1]); "
        "(vault / '.git/objects/pack/tmp_pack_1').write_bytes(b'')"
    ),
}


def life(folder: Path, *options: str) -> tuple[int, dict[str, Any], str]:
    output = folder / "life.json"
    command = [sys.executable, str(BENCH / "interrupts.py"), "--output", str(output), "--folder", str(folder), *options]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    found: dict[str, Any] = json.loads(output.read_text()) if output.exists() else {}
    return done.returncode, found.get("steps", {}), done.stdout + done.stderr


def harms(found: dict[str, Any]) -> dict[str, list[str]]:
    """Return the harm of each step that did any."""
    all_harm = {
        name: one["harm"] + [text for strike in one["strikes"] for text in strike["harm"]]
        for name, one in found.items()
    }
    return {name: harm for name, harm in all_harm.items() if harm}


@on_linux
@pytest.mark.slow
def test_ctrl_c_does_no_harm(tmp_path: Path) -> None:
    """Neither in Python's start nor later, to none of the steps; how long anything takes plays no part."""
    code, found, said = life(tmp_path, "--keys", "60", "--strikes", "2", "--only", *STEPS)

    assert list(found) == list(STEPS), said
    assert harms(found) == {}
    assert all(len(one["strikes"]) == 2 for one in found.values())
    assert code == 0, said


@on_linux
@pytest.mark.slow
@pytest.mark.parametrize("harm", _WORSE)
def test_harm_is_found(tmp_path: Path, harm: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """A keyvault that ends otherwise, or leaves something behind, is not passed."""
    monkeypatch.setenv("INTERRUPTS_PRELUDE", _WORSE[harm])

    code, found, said = life(tmp_path, "--keys", "6", "--strikes", "2", "--only", "status")

    assert code == 1, said
    assert any(text.startswith(harm) for text in harms(found)["status"]), said


def test_the_page_says_what_was_measured() -> None:
    """Its tables are those that the figures give, and neither names a machine."""
    page = read("docs/scale.md")

    command = [sys.executable, "-c", _WRITTEN, str(BENCH)]
    done = subprocess.run(command, input=page, capture_output=True, text=True, check=True)

    assert done.stdout.rstrip("\n") == page.rstrip("\n")
    for text in (page, read("bench/scale.json")):
        assert re.findall(r"(?<![\w.])/(?:home|root|work|tmp|Users)/", text) == []
