"""
The action that installs keyvault, run by bash: in a vault, in this repository, and from another repository by `uses:`.

Stand-ins for ``python`` and ``pip`` record their arguments, and download nothing.
"""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import pytest
import yaml

from tests.ci.test_scaffold import INIT, TOOL
from tests.ci.test_workflows import PROJECT
from tests.cli.terminal import Terminal
from tests.vaults import run_git

ACTION = Path(".github/actions/keyvault")
LOCKS = ("requirements.lock", "requirements-build.lock")

#: `python -m venv FOLDER` makes FOLDER/bin with a pip, which is this file too, and with the programs that pip brings.
STAND_IN = """#!{python}
import json, os, shutil, sys
from pathlib import Path
me = Path(sys.argv[0])
with open(os.environ["CALLS"], "a") as calls:
    calls.write(json.dumps([me.name, *sys.argv[1:]]) + "\\n")
if me.name == "python":
    programs = Path(sys.argv[3]) / "bin"
    programs.mkdir(parents=True)
    for name in ("pip", "python", "keyvault", "jsonschema"):
        shutil.copy(me, programs / name)
sys.exit(me.name == "pip" and os.environ["FAILS"] in sys.argv)
"""


@dataclass(frozen=True)
class Installed:
    """
    What the action did.

    Attributes:
        code: Its exit code.
        calls: The programs that it ran, with their arguments.
        path: What it put on the PATH of the steps that follow.
        temp: The folder of the runner for what nobody needs later.
    """

    code: int
    calls: list[list[str]]
    path: list[str]
    temp: Path

    @property
    def pip(self) -> list[list[str]]:
        return [call[1:] for call in self.calls if call[0] == "pip"]


Install = Callable[..., Installed]


@pytest.fixture
def install(tmp_path: Path) -> Install:
    """Run the `run:` steps of the action in a folder."""

    def run(action: Path, *, fails: str = "") -> Installed:
        programs, temp, work = (tmp_path / name for name in ("programs", "runner", "work space"))
        for folder in (programs, temp, work):
            folder.mkdir()
        (programs / "python").write_text(STAND_IN.format(python=sys.executable))
        (programs / "python").chmod(0o755)
        calls, path = tmp_path / "calls", tmp_path / "path"
        path.touch()
        environ = {
            "PATH": f"{programs}{os.pathsep}{os.environ['PATH']}",
            "CALLS": str(calls),
            "FAILS": fails,
            "GITHUB_ACTION_PATH": str(action),
            "GITHUB_PATH": str(path),
            "RUNNER_TEMP": str(temp),
        }
        steps = yaml.safe_load((action / "action.yml").read_text())["runs"]["steps"]
        [step] = [step for step in steps if "run" in step]
        # As GitHub runs `shell: bash`.
        command = ["bash", "--noprofile", "--norc", "-eo", "pipefail", "-c", step["run"]]
        done = subprocess.run(command, cwd=work, env=environ | step["env"], capture_output=True, timeout=60)
        made = [json.loads(line) for line in calls.read_text().splitlines()]
        return Installed(done.returncode, made, path.read_text().splitlines(), temp)

    return run


@pytest.fixture
def vault(tmp_path: Path) -> Path:
    """The action in a vault that `init --ci github` created."""
    terminal = Terminal.in_folder(tmp_path / "vault")
    run_git(terminal.folder, terminal.environ, "init", "-q", "-b", "main")
    terminal.ok(*INIT, "--ci", "github", "--tool", TOOL)
    return terminal.folder / ACTION


@pytest.fixture(params=["here", "elsewhere"])
def tree(request: pytest.FixtureRequest, tmp_path: Path) -> Path:
    """The action in a source tree of keyvault: ours, and a runner's copy for `uses: OWNER/keyvault/…`."""
    if request.param == "here":
        return PROJECT / ACTION
    top = tmp_path / "_actions" / "owner" / "keyvault" / "0123abc"
    shutil.copytree(PROJECT / ACTION, top / ACTION)
    for name in LOCKS:
        shutil.copy(PROJECT / name, top)
    return top / ACTION


def test_in_a_vault(vault: Path, install: Install) -> None:
    """It installs the lock files beside the action, with hashes, then the tool in tool.txt, and nothing else."""
    done = install(vault)

    assert done.code == 0
    locked, tool = done.pip
    assert locked == [
        "install", "--quiet", "--require-hashes",
        "--requirement", str(vault / LOCKS[0]), "--requirement", str(vault / LOCKS[1]),
    ]  # fmt: skip
    assert tool == [
        "install", "--quiet", "--no-deps", "--no-build-isolation", "--requirement", str(vault / "tool.txt"),
    ]  # fmt: skip


def test_in_the_source_tree(tree: Path, install: Install) -> None:
    """It installs the lock files of the tree, and the tree itself: the commit that `uses:` names runs."""
    done = install(tree)

    assert done.code == 0
    locked, tool = done.pip
    top = tree.parents[2].resolve()
    assert locked[:3] == ["install", "--quiet", "--require-hashes"]
    assert [locked[3], locked[5]] == ["--requirement", "--requirement"]
    assert [Path(locked[4]).resolve(), Path(locked[6]).resolve()] == [top / name for name in LOCKS]
    assert tool[:-1] == ["install", "--quiet", "--no-deps", "--no-build-isolation"]
    assert Path(tool[-1]).resolve() == top


def test_one_command_is_put_on_the_path(vault: Path, install: Install) -> None:
    """A folder with only `keyvault` in it: neither the environment's python nor programs of its packages."""
    done = install(vault)

    [folder] = done.path
    assert [path.name for path in Path(folder).iterdir()] == ["keyvault"]
    assert (Path(folder) / "keyvault").readlink() == done.temp / "keyvault" / "bin" / "keyvault"
    assert done.calls[-1] == ["keyvault", "--version"]


@pytest.mark.parametrize("option", ["--require-hashes", "--no-deps"])
def test_a_failed_install_ends_the_job(vault: Path, install: Install, option: str) -> None:
    """A wrong hash stops the action: it installs nothing more, and changes no PATH."""
    done = install(vault, fails=option)

    assert done.code == 1
    assert option in done.pip[-1]
    assert done.path == []
