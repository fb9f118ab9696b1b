"""`init --ci`, and what a review of a change is shown."""

from __future__ import annotations

import shutil
import subprocess
import sys
from pathlib import Path

import pytest
import yaml

from tests.ci.test_workflows import PROJECT, SHIPPED
from tests.cli.terminal import Terminal
from tests.vaults import environment, run_git

TOOL = "jwks-keyvault==1.2.3"
INIT = ("init", "--url", "https://keys.example.com", "--set", "id-token:ES256")


@pytest.fixture
def terminal(tmp_path: Path) -> Terminal:
    """A terminal in a repository with nothing in it."""
    environ = environment(tmp_path)
    folder = tmp_path / "repo"
    run_git(tmp_path, environ, "init", "-q", "-b", "main", folder)
    return Terminal(folder, environ)


def test_a_vault_with_workflows(terminal: Terminal) -> None:
    """All in the first commit; the locks are those that this version is tested with."""
    made = terminal(*INIT, "--ci", "github", "--tool", TOOL, "--json")

    assert made.code == 0, made.err
    written = made.json["ci"]
    committed = run_git(terminal.folder, terminal.environ, "ls-tree", "-r", "--name-only", "HEAD").split()
    assert set(written) <= set(committed)
    action = terminal.folder / ".github/actions/keyvault"
    assert (action / "tool.txt").read_text() == TOOL + "\n"
    assert (action / "action.yml").read_bytes() == (SHIPPED / "action.yml").read_bytes()
    for name in ("requirements.lock", "requirements-build.lock"):
        assert (action / name).read_bytes() == (PROJECT / name).read_bytes()
    for name in ("rotate-and-publish", "pull-request"):
        workflow = terminal.folder / f".github/workflows/{name}.yml"
        assert yaml.safe_load(workflow.read_text())["permissions"] == {}
    [updates] = yaml.safe_load((terminal.folder / ".github/dependabot.yml").read_text())["updates"]
    assert updates["cooldown"] == {"default-days": 7}


def test_a_vault_with_a_pipeline(terminal: Terminal) -> None:
    """One file for GitLab, and the same locks; what comes next is said for GitLab."""
    made = terminal(*INIT, "--ci", "gitlab", "--tool", TOOL)

    assert made.code == 0, made.err
    assert "docs/publish/gitlab.md" in made.out
    committed = run_git(terminal.folder, terminal.environ, "ls-tree", "-r", "--name-only", "HEAD").split()
    names = ("requirements-build.lock", "requirements.lock", "tool.txt")
    written = [".gitlab-ci.yml", *(f".gitlab/keyvault/{name}" for name in names)]
    assert [path for path in committed if (path.startswith(".git") and "/" in path) or path in written] == written
    assert (terminal.folder / ".gitlab/keyvault/tool.txt").read_text() == TOOL + "\n"
    for name in names[:2]:
        assert (terminal.folder / ".gitlab/keyvault" / name).read_bytes() == (PROJECT / name).read_bytes()
    shipped = SHIPPED.parent / "gitlab" / "gitlab-ci.yml"
    assert (terminal.folder / ".gitlab-ci.yml").read_bytes() == shipped.read_bytes()


def test_zizmor_has_no_complaint_about_it(terminal: Terminal) -> None:
    """At its strictest, about a repository of a user."""
    assert terminal(*INIT, "--ci", "github", "--tool", TOOL).code == 0
    program = shutil.which("zizmor", path=str(Path(sys.executable).parent))
    assert program is not None
    command = [program, "--persona", "pedantic", "--offline", "--no-progress", str(terminal.folder / ".github")]

    done = subprocess.run(command, capture_output=True, text=True, timeout=120)

    assert done.returncode == 0, done.stdout + done.stderr


def test_what_stands_there_stays(terminal: Terminal) -> None:
    """A workflow of the user's is not replaced; a folder of the action is taken as a whole or left alone."""
    own = {".github/workflows/rotate-and-publish.yml": "name: mine\n", ".github/actions/keyvault/action.yml": "own\n"}
    for path, text in own.items():
        (terminal.folder / path).parent.mkdir(parents=True, exist_ok=True)
        (terminal.folder / path).write_text(text)

    made = terminal(*INIT, "--ci", "github", "--tool", TOOL, "--json")

    assert made.json["ci"] == [".github/dependabot.yml", ".github/workflows/pull-request.yml"]
    assert {path: (terminal.folder / path).read_text() for path in own} == own
    assert not (terminal.folder / ".github/actions/keyvault/tool.txt").exists()


@pytest.mark.parametrize(
    ("own", "written"),
    [
        (".gitlab-ci.yml", [f".gitlab/keyvault/{name}" for name in ("requirements-build.lock", "requirements.lock", "tool.txt")]),
        (".gitlab/keyvault/requirements.lock", [".gitlab-ci.yml"]),
    ],
)  # fmt: skip
def test_what_stands_there_for_gitlab_stays(terminal: Terminal, own: str, written: list[str]) -> None:
    """A pipeline of the user's is not replaced; the folder of the locks is taken as a whole or left alone."""
    (terminal.folder / own).parent.mkdir(parents=True, exist_ok=True)
    (terminal.folder / own).write_text("own: {}\n")

    made = terminal(*INIT, "--ci", "gitlab", "--tool", TOOL, "--json")

    assert made.json["ci"] == written
    assert (terminal.folder / own).read_text() == "own: {}\n"


@pytest.mark.parametrize(
    ("kind", "workflow", "named"),
    [
        ("github", ".github/workflows/rotate-and-publish.yml", "  KEYVAULT_DIR: ${{ vars.KEYVAULT_DIR || 'app/keys' }}\n"),
        ("github", ".github/workflows/pull-request.yml", "  KEYVAULT_DIR: ${{ vars.KEYVAULT_DIR || 'app/keys' }}\n"),
        ("gitlab", ".gitlab-ci.yml", '  KEYVAULT_DIR: "app/keys"\n'),
        ("gitlab", ".gitlab-ci.yml", "        - app/keys/keyvault.toml\n"),
    ],
)  # fmt: skip
def test_a_vault_in_a_folder_of_a_repository(terminal: Terminal, kind: str, workflow: str, named: str) -> None:
    """Forges read workflows at the top of a repository only; those that `init` writes there name the vault's folder."""
    (terminal.folder / "app.py").write_text("print()\n")
    run_git(terminal.folder, terminal.environ, "add", "app.py")
    run_git(terminal.folder, terminal.environ, "commit", "-q", "-m", "an app")

    made = terminal("init", "app/keys", *INIT[1:], "--ci", kind, "--tool", TOOL, "--json")

    assert made.code == 0, made.err
    assert workflow in made.json["ci"]
    committed = run_git(terminal.folder, terminal.environ, "ls-tree", "-r", "--name-only", "HEAD").split()
    assert {*made.json["ci"], "app/keys/keyvault.toml", "app.py"} <= set(committed)
    assert not (terminal.folder / "app/keys/.github").exists()
    assert named in (terminal.folder / workflow).read_text()
    assert run_git(terminal.folder, terminal.environ, "status", "--porcelain") == ""
    assert Terminal(terminal.folder / "app/keys", terminal.environ).ok("status").out


@pytest.mark.parametrize("folder", ["1e3", "true", "1.10", "..keys"])
def test_a_folder_whose_name_looks_like_another_type(terminal: Terminal, folder: str) -> None:
    """It stays text in YAML."""
    terminal.ok("init", folder, *INIT[1:], "--ci", "gitlab", "--tool", TOOL)

    _, pipeline = yaml.safe_load_all((terminal.folder / ".gitlab-ci.yml").read_text())

    assert pipeline["variables"]["KEYVAULT_DIR"] == folder
    assert f"{folder}/keyvault.toml" in pipeline["workflow"]["rules"][0]["exists"]


@pytest.mark.parametrize("kind", ["github", "gitlab"])
@pytest.mark.parametrize("folder", ["my keys", "it's", "$(id)", "a/-b", "schlüssel", "${{ github.token }}"])
def test_a_folder_that_workflows_cannot_name(terminal: Terminal, kind: str, folder: str) -> None:
    """Its name would mean something to YAML, an expression or bash; without --ci it is a vault like others."""
    made = terminal("init", folder, *INIT[1:], "--ci", kind, "--tool", TOOL)

    assert (made.code, made.out) == (2, "")
    assert "workflows name it" in made.error
    assert [path.name for path in terminal.folder.iterdir()] == [".git"]
    assert terminal("init", folder, *INIT[1:]).code == 0


def test_a_second_vault_in_the_repository(terminal: Terminal) -> None:
    """The workflows of the first one stay, and `init` says which variable leads them to the second."""
    terminal.ok("init", "a", *INIT[1:], "--ci", "github", "--tool", TOOL)

    made = terminal.ok("init", "b", *INIT[1:], "--ci", "github", "--tool", TOOL)

    assert "kept existing files: .github/actions/keyvault/action.yml" in made.out
    assert "set the variable KEYVAULT_DIR to b" in made.out
    assert "|| 'a' }}" in (terminal.folder / ".github/workflows/rotate-and-publish.yml").read_text()


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--ci", "jenkins"], "unknown value 'jenkins' of --ci"),
        (["--tool", TOOL], "--tool needs --ci github or --ci gitlab"),
        (["--ci", "github", "--tool", "--index-url=https://evil.example"], "is not a line of a requirements file"),
        (["--ci", "github", "--tool", "a\nb"], "is not a line of a requirements file"),
        (["--ci", "gitlab", "--tool", " "], "is not a line of a requirements file"),
    ],
)
def test_arguments_that_cannot_be(terminal: Terminal, arguments: list[str], message: str) -> None:
    """One line, exit code 2, and no vault."""
    made = terminal(*INIT, *arguments)

    assert made.code == 2
    assert message in made.error
    assert not (terminal.folder / "keyvault.toml").exists()


def test_diff_of_a_rotation(terminal: Terminal) -> None:
    """A forced rotation: the next key is active, the active one retires, and a new one appears."""
    assert terminal(*INIT, "--confirm", "commit").code == 0
    keys = {one["state"]: one["kid"] for one in terminal("key", "list", "--json").json}
    assert terminal("rotate", "id-token", "--force", "--reason", "a test").code == 0

    found = terminal("diff", "HEAD~1", "--json").json

    changes = {(one["kid"], one["before"], one["after"]) for one in found["keys"]}
    assert {(keys["active"], "active", "retiring"), (keys["next"], "next", "active")} < changes
    [created] = changes - {(keys["active"], "active", "retiring"), (keys["next"], "next", "active")}
    assert created[1:] == (None, "next")
    assert found["settings"] == []
    shown = terminal("diff", "HEAD~1").lines
    assert sorted(line.split()[0] for line in shown) == ["+", "~", "~"]


def test_diff_of_the_first_commit_and_of_nothing(terminal: Terminal) -> None:
    """Where there was no vault everything is new; a commit does not differ from itself."""
    run_git(terminal.folder, terminal.environ, "commit", "-q", "--allow-empty", "-m", "begin")
    assert terminal(*INIT).code == 0

    found = terminal("diff", "HEAD~1", "--json").json
    assert found["base"] is None
    assert {one["before"] for one in found["keys"]} == {None}
    assert {one["name"] for one in found["settings"]} >= {"url", "max_age", "alg"}
    assert terminal("diff", "HEAD").out == ""
    assert terminal("diff", "nowhere").code == 1
