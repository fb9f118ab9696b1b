"""`init --ci`, and the diff that a review shows."""

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
    """A terminal in an empty repository."""
    environ = environment(tmp_path)
    folder = tmp_path / "repo"
    run_git(tmp_path, environ, "init", "-q", "-b", "main", folder)
    return Terminal(folder, environ)


def test_a_vault_with_workflows(terminal: Terminal) -> None:
    """All files are in the first commit; the lock files are those that this version is tested with."""
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
    """One file for GitLab, and the same lock files; the printed next steps are those for GitLab."""
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


def test_zizmor_accepts_the_workflows(terminal: Terminal) -> None:
    """In its strictest mode, in a user's repository."""
    assert terminal(*INIT, "--ci", "github", "--tool", TOOL).code == 0
    program = shutil.which("zizmor", path=str(Path(sys.executable).parent))
    assert program is not None
    command = [program, "--persona", "pedantic", "--offline", "--no-progress", str(terminal.folder / ".github")]

    done = subprocess.run(command, capture_output=True, text=True, timeout=120)

    assert done.returncode == 0, done.stdout + done.stderr


def test_existing_files_stay(terminal: Terminal) -> None:
    """`init` does not replace a user's workflow; it writes the action's folder as a whole or not at all."""
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
def test_existing_files_for_gitlab_stay(terminal: Terminal, own: str, written: list[str]) -> None:
    """`init` does not replace a user's pipeline; it writes the folder of lock files as a whole or not at all."""
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
    """Forges read workflows only at the top of a repository; `init` writes them there, with the vault's folder."""
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
    """Its name contains syntax of YAML, expressions or bash; without --ci, `init` accepts it."""
    made = terminal("init", folder, *INIT[1:], "--ci", kind, "--tool", TOOL)

    assert (made.code, made.out) == (2, "")
    assert made.problem == "path-invalid"
    assert [path.name for path in terminal.folder.iterdir()] == [".git"]
    assert terminal("init", folder, *INIT[1:]).code == 0


def test_a_second_vault_in_the_repository(terminal: Terminal) -> None:
    """The workflows of the first vault stay, and `init` prints the variable that points them to the second."""
    terminal.ok("init", "a", *INIT[1:], "--ci", "github", "--tool", TOOL)

    made = terminal.ok("init", "b", *INIT[1:], "--ci", "github", "--tool", TOOL)

    assert "kept existing files: .github/actions/keyvault/action.yml" in made.out
    assert "set their variable KEYVAULT_DIR to b" in made.out
    assert "|| 'a' }}" in (terminal.folder / ".github/workflows/rotate-and-publish.yml").read_text()


@pytest.mark.parametrize(
    ("arguments", "problem"),
    [
        (["--ci", "jenkins"], "option-invalid"),
        (["--tool", TOOL], "option-conflict"),
        (["--ci", "github", "--tool", "--index-url=https://evil.example"], "option-invalid"),
        (["--ci", "github", "--tool", "a\nb"], "option-invalid"),
        (["--ci", "gitlab", "--tool", " "], "option-invalid"),
    ],
)
def test_invalid_arguments(terminal: Terminal, arguments: list[str], problem: str) -> None:
    """One line, exit code 2, and no vault."""
    made = terminal(*INIT, *arguments)

    assert made.code == 2
    assert made.problem == problem
    assert not (terminal.folder / "keyvault.toml").exists()


def test_diff_of_a_rotation(terminal: Terminal) -> None:
    """A forced rotation: the next key is active, the active one retires, and a new one appears."""
    assert terminal(*INIT, "--confirm", "commit").code == 0
    keys = {key["state"]: key["kid"] for key in terminal("key", "list", "--json").json}
    assert terminal("rotate", "id-token", "--force", "--reason", "a test").code == 0

    found = terminal("diff", "HEAD~1", "--json").json

    changes = {(key["kid"], key["before"], key["after"]) for key in found["keys"]}
    assert {(keys["active"], "active", "retiring"), (keys["next"], "next", "active")} < changes
    [created] = changes - {(keys["active"], "active", "retiring"), (keys["next"], "next", "active")}
    assert created[1:] == (None, "next")
    assert found["settings"] == []
    shown = terminal("diff", "HEAD~1").lines
    assert sorted(line.split()[0] for line in shown) == ["+", "~", "~"]


def test_diff_of_the_first_commit_and_of_nothing(terminal: Terminal) -> None:
    """If the base has no vault, everything is new; a commit does not differ from itself."""
    run_git(terminal.folder, terminal.environ, "commit", "-q", "--allow-empty", "-m", "begin")
    assert terminal(*INIT).code == 0

    found = terminal("diff", "HEAD~1", "--json").json
    assert found["base"] is None
    assert {key["before"] for key in found["keys"]} == {None}
    assert {setting["name"] for setting in found["settings"]} >= {"url", "max_age", "alg"}
    assert terminal("diff", "HEAD").out == ""
    assert terminal("diff", "nowhere").code == 1
