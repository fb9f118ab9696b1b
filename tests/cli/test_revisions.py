"""A command works on the commit that it resolved, whatever is committed or pulled while it runs."""

from __future__ import annotations

import ast
import json
import shutil
from pathlib import Path

import pytest

import keyvault as package
from keyvault.crypto.identities import new_identity
from tests.cli.terminal import Terminal
from tests.vaults import Vault

#: Moves the branch once HEAD is resolved, as a concurrent `git pull` would.
GIT = """#!/bin/sh
{git} "$@"
code=$?
case "$*" in
  *"HEAD^{{commit}}"*) {git} --git-dir={folder} update-ref refs/heads/main {commit} ;;
esac
exit $code
"""


@pytest.fixture
def commits(vault: Vault) -> tuple[str, str]:
    """
    The commit that HEAD names when a command begins, and the one that it names once the command resolved it.

    The second one rotates a set, and holds a private key in the clear: no audit lets it pass.
    """
    first = vault.head
    assert vault.run("rotate", "id-token", "--force", "--reason", "a drill").returncode == 0
    second = vault.plant("backup.json", json.dumps(new_identity("ops")))
    vault.git("update-ref", "HEAD", first)
    vault.git("reset", "--quiet", "--hard")
    git, wrapper = shutil.which("git"), vault.top / "bin" / "git"
    wrapper.parent.mkdir()
    wrapper.write_text(GIT.format(git=git, folder=vault.git_dir, commit=second))
    wrapper.chmod(0o755)
    vault.environ["PATH"] = f"{wrapper.parent}:{vault.environ['PATH']}"
    return first, second


def kids(text: str) -> list[str]:
    return [key["kid"] for key in json.loads(text)["keys"]]


def test_what_was_not_audited_is_not_published(keyvault: Terminal, vault: Vault, commits: tuple[str, str]) -> None:
    """Audit and site use the same commit; the next run refuses the other commit."""
    first, second = commits
    place = vault.top / "www"

    assert keyvault.ok("publish", place, "--json").json["commit"] == first
    assert vault.head == second
    assert json.loads((place / "history.json").read_text())["commit"] == first
    published = kids((place / "jwks.json").read_text())
    assert sorted(published) == sorted(key.kid for key in vault.state(first).keys_at(""))

    result = keyvault("publish", place)
    assert (result.code, "private-in-clear" in result.error) == (5, True)
    assert json.loads((place / "history.json").read_text())["commit"] == first


def test_a_branch_gets_what_was_audited(keyvault: Terminal, vault: Vault, commits: tuple[str, str]) -> None:
    """The same goes for a branch: its site and the message of its commit name the audited commit."""
    vault.publish_to()
    vault.git("update-ref", "HEAD", commits[0])
    assert keyvault.ok("publish", "branch:pages", "--json").json["commit"] == commits[0]
    assert json.loads(vault.git("show", "origin/pages:history.json"))["commit"] == commits[0]
    assert vault.git("log", "-1", "--format=%s", "origin/pages") == f"Publish {commits[0]}"


@pytest.mark.parametrize(
    ("line", "where", "code"),
    [
        ("render", "commit", 0),
        ("audit", "commit", 0),
        ("lint", "target", 0),
        ("check http://127.0.0.1:1", "commit", 4),
        ("diff {first}", "head", 0),
        ("diff HEAD {first}", "base", 0),
    ],
)
def test_every_command_stays_with_its_commit(
    keyvault: Terminal, vault: Vault, commits: tuple[str, str], line: str, where: str, code: int
) -> None:
    """A command reports on the commit that it names, which is the commit that it resolved first."""
    first, second = commits
    result = keyvault(*line.format(first=first).split(), "--json")

    assert (result.code, result.json[where]) == (code, first)
    if line.startswith("diff"):
        assert (result.json["keys"], result.json["settings"]) == ([], [])
    if line == "render":
        assert json.loads((vault.folder / "public" / "history.json").read_text())["commit"] == first
    assert vault.head == second


def test_only_git_says_what_a_commit_is() -> None:
    """
    No module below the command makes the id of a commit out of text: mypy holds everybody to `Commit`, and it is made
    where git resolves a revision or writes a commit.
    """
    folder = Path(package.__file__).parent
    makers = {
        path.relative_to(folder).as_posix()
        for path in folder.rglob("*.py")
        for node in ast.walk(ast.parse(path.read_text()))
        if isinstance(node, ast.Call) and isinstance(node.func, ast.Name) and node.func.id == "Commit"
    }
    assert makers == {"core/state.py", *(f"repo/git/{name}.py" for name in ("log", "paths", "reader", "write"))}


def test_a_name_that_is_a_branch_and_a_tag(keyvault: Terminal, vault: Vault) -> None:
    """Git would choose the tag; the command refuses the ambiguous name."""
    vault.git("tag", "main")
    refused = keyvault("render", "--ref", "main")
    assert (refused.code, refused.problem) == (1, "revision-ambiguous")
    assert refused.hint == "use heads/main or tags/main"
    keyvault.ok("render", "--ref", "heads/main")
