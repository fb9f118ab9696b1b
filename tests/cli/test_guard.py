"""`guard`: in the index, in commits, in files and folders, and as a hook of git."""

from __future__ import annotations

import stat
import subprocess
import sys
from pathlib import Path

import pytest
from cryptography.hazmat.primitives.asymmetric import ed25519
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat

from tests.cli.terminal import Terminal
from tests.vaults import environment, run_git

KEY = ed25519.Ed25519PrivateKey.generate().private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())
BODY = KEY.decode().splitlines()[1]


@pytest.fixture
def terminal(tmp_path: Path) -> Terminal:
    """A terminal in a repository without a vault and without a commit."""
    environ = environment(tmp_path)
    folder = tmp_path / "repo"
    run_git(tmp_path, environ, "init", "-q", "-b", "main", folder)
    return Terminal(folder, environ)


def git(terminal: Terminal, *arguments: str | Path) -> str:
    return run_git(terminal.folder, terminal.environ, *arguments)


def put(terminal: Terminal, path: str, data: bytes = KEY) -> Path:
    target = terminal.folder / path
    target.parent.mkdir(parents=True, exist_ok=True)
    target.write_bytes(data)
    return target


def test_what_is_staged_is_looked_at(terminal: Terminal) -> None:
    """The index is searched, before and after the first commit; unstaged files are not."""
    put(terminal, "a.txt", b"harmless")
    put(terminal, "key.pem")
    git(terminal, "add", "a.txt")
    assert terminal("guard").err == "keyvault: searched 1 files: no private keys in the clear\n"

    git(terminal, "add", "key.pem")
    result = terminal("guard")
    assert (result.code, result.problem) == (5, "private-in-clear")
    assert result.lines[0].split()[:3] == ["key.pem", "a", "PEM"]

    git(terminal, "rm", "-q", "--cached", "key.pem")
    git(terminal, "commit", "-qm", "first")
    put(terminal, "a.txt")
    assert terminal("guard").code == 0
    git(terminal, "add", "a.txt")
    assert terminal("guard").code == 5


def test_the_index_counts_not_the_file(terminal: Terminal) -> None:
    """A key that was staged and then removed from the file would still be committed."""
    path = put(terminal, "a.txt")
    git(terminal, "add", "a.txt")
    path.write_bytes(b"harmless")

    assert terminal("guard").code == 5


def test_from_a_folder_below_all_is_looked_at(terminal: Terminal) -> None:
    """The whole index is searched from any folder, since git commits all of it."""
    put(terminal, "deep/er/a.txt", b"harmless")
    put(terminal, "key.pem")
    git(terminal, "add", ".")
    terminal.folder /= "deep/er"

    assert terminal("guard").code == 5


def test_every_version_in_commits(terminal: Terminal) -> None:
    """A key that a later commit removed is still in history, and so is a key from a merge commit."""
    put(terminal, "a.txt", b"harmless")
    git(terminal, "add", ".")
    git(terminal, "commit", "-qm", "one")
    git(terminal, "tag", "base")
    put(terminal, "a.txt")
    git(terminal, "commit", "-qam", "two")
    put(terminal, "a.txt", b"gone")
    git(terminal, "commit", "-qam", "three")

    assert terminal("guard", "--commits", "base..HEAD").code == 5
    assert terminal("guard", "--commits", "HEAD~2").code == 0
    assert terminal("guard", "--commits", "HEAD~1..HEAD").code == 0

    git(terminal, "switch", "-qc", "side", "base")
    put(terminal, "b.txt", b"harmless, too")
    git(terminal, "add", ".")
    git(terminal, "commit", "-qm", "side")
    git(terminal, "merge", "-q", "--no-commit", "main")
    put(terminal, "c.pem", KEY + b"\n")
    git(terminal, "add", ".")
    git(terminal, "commit", "-qm", "merge")
    result = terminal("guard", "--commits", "main..HEAD", "--json")
    assert (result.code, [one["path"] for one in result.json["findings"]]) == (5, ["c.pem"])
    assert git(terminal, "cat-file", "-t", result.json["findings"][0]["blob"]).strip() == "blob"


def test_a_file_or_a_folder(terminal: Terminal) -> None:
    """Links are not followed, and git's own folder is not searched."""
    put(terminal, "public/a/key.pem")
    put(terminal, "public/b.txt", b"harmless")
    put(terminal, "public/.git/key.pem")
    outside = put(terminal, "elsewhere/key.pem")
    (terminal.folder / "public/link.pem").symlink_to(outside)

    result = terminal("guard", "public", "--json")
    assert (result.code, result.json["files"]) == (5, 2)
    assert [one["path"] for one in result.json["findings"]] == [str(Path("public/a/key.pem"))]
    assert terminal("guard", "public/b.txt").code == 0
    assert terminal("-q", "guard", "public").out == f"{Path('public/a/key.pem')}\n"


@pytest.mark.parametrize("how", [(), ("--commits", "HEAD"), (".",)])
def test_paths_can_be_left_out(terminal: Terminal, how: tuple[str, ...]) -> None:
    """--exclude skips fixtures of tests by their path."""
    put(terminal, "tests/data/key.pem")
    git(terminal, "add", ".")
    if how == ("--commits", "HEAD"):
        git(terminal, "commit", "-qm", "fixtures")

    assert terminal("guard", *how).code == 5
    assert terminal("guard", *how, "--exclude", "tests/data/*").code == 0
    assert terminal("guard", *how, "--exclude", "other/*").code == 5


@pytest.mark.parametrize(
    ("arguments", "code", "problem", "said"),
    [
        (("nowhere",), 2, "file-not-found", "nowhere"),
        ((".", "--commits", "HEAD"), 2, "option-conflict", "--commits"),
        (("--commits", "no-such-branch"), 1, "git-failed", "no-such-branch"),
        (("--commits", "--all"), 1, "git-failed", "--all"),
    ],
)
def test_bad_input(terminal: Terminal, arguments: tuple[str, ...], code: int, problem: str, said: str) -> None:
    """The error is a single line, with the documented exit code."""
    result = terminal("guard", *arguments)

    assert (result.code, result.problem) == (code, problem)
    assert said in result.error


def test_a_shallow_clone_is_refused_for_commits(terminal: Terminal, tmp_path: Path) -> None:
    """A shallow clone cannot be searched, and fails."""
    for text in (b"one", b"two"):
        put(terminal, "a.txt", text)
        git(terminal, "add", ".")
        git(terminal, "commit", "-qm", text.decode())
    git(terminal, "clone", "-q", "--depth", "1", f"file://{terminal.folder}", tmp_path / "cut")

    result = Terminal(tmp_path / "cut", terminal.environ)("guard", "--commits", "HEAD")

    assert (result.code, result.problem) == (1, "clone-shallow")
    assert "git fetch --unshallow" in str(result.hint)


@pytest.mark.parametrize("name", ["key\n.pem", "key\x1b[31m.pem", "schlüssel.pem", "a b.pem"])
@pytest.mark.skipif(sys.platform == "win32", reason="Windows has no such names")
def test_odd_names(terminal: Terminal, name: str) -> None:
    """File names are printed without control characters."""
    put(terminal, name)
    git(terminal, "add", ".")

    result = terminal("guard")

    assert result.code == 5
    assert "\x1b" not in result.out
    assert len(result.lines) == 1


def test_no_key_in_the_output(terminal: Terminal) -> None:
    """Output names the place of a key, never the key itself."""
    put(terminal, "key.pem")
    git(terminal, "add", ".")

    for result in (terminal("guard"), terminal("guard", "--json"), terminal("-vv", "guard", "key.pem")):
        assert result.code == 5
        assert BODY[:16] not in result.out + result.err


def test_git_runs_it_as_a_hook(terminal: Terminal) -> None:
    """A commit with a key is refused, also with named files, for which git uses a separate index."""
    hook = terminal.folder / ".git/hooks/pre-commit"
    hook.parent.mkdir(exist_ok=True)
    hook.write_text(f'#!/bin/sh\nexec "{sys.executable}" -m keyvault guard\n')
    hook.chmod(hook.stat().st_mode | stat.S_IXUSR)
    environ = terminal.environ | {"PYTHONPATH": str(Path.cwd())}

    def commit(*arguments: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            ["git", "commit", "-qm", "x", *arguments],
            cwd=terminal.folder, env=environ, capture_output=True, text=True, check=False,
        )  # fmt: skip

    put(terminal, "a.txt", b"harmless")
    put(terminal, "b.txt", b"harmless, too")
    git(terminal, "add", ".")
    assert commit().returncode == 0

    put(terminal, "b.txt")
    put(terminal, "a.txt", b"changed")
    assert commit("a.txt").returncode == 0  # only this file is in the commit
    refused = commit("b.txt")
    assert refused.returncode != 0
    assert "private keys in the clear" in refused.stderr
    assert commit("-a").returncode != 0
    assert git(terminal, "rev-list", "--count", "HEAD").strip() == "2"
