"""
Vaults in temporary folders, for tests that go through git or the command line.

The test sets the clock: operations get `now` as a parameter, and a test replaces the clock of the command line. Vaults
read nothing of the machine: no settings of git, no identities, no home folder.
"""

from __future__ import annotations

import contextlib
import functools
import os
import shutil
import subprocess
import sys
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime, timedelta
from functools import cached_property
from pathlib import Path
from typing import Any

from keyvault.core.gate import ServedKeys
from keyvault.core.keys import Key
from keyvault.core.state import KeySet, VaultState
from keyvault.operations import setup
from keyvault.operations.context import Context
from keyvault.operations.new_vault import NewVault, parse_sets
from keyvault.repo.transaction import transaction
from keyvault.repo.vault import Draft, Repository
from tests.platforms import needed_variables

SECOND, MINUTE, HOUR, DAY = (timedelta(seconds=size) for size in (1, 60, 3_600, 86_400))

#: The instant at which vaults are created.
T0 = datetime(2026, 11, 23, 17, tzinfo=UTC)
SITE = "https://keys.example.com"
SETS = ("id-token:ES256", "access-token:EdDSA")
PROJECT = Path(__file__).parent.parent

#: Runs the command line under a clock that its first argument sets. A shell that starts the tests in the background
#: makes them, and their children, ignore SIGINT; a terminal's don't.
CLOCKED = """
import signal
import sys
from datetime import datetime
from keyvault.cli import main
signal.signal(signal.SIGINT, signal.default_int_handler)
main.clock = lambda: datetime.fromisoformat(sys.argv[1])
main.main(sys.argv[2:])
"""


def environment(folder: Path) -> dict[str, str]:
    """Return an environment without settings, in which programs read and write files only in *folder*."""
    for name in ("home", "tmp"):
        (folder / name).mkdir(parents=True, exist_ok=True)
    return {
        **needed_variables(folder / "home"),
        "PATH": os.environ["PATH"],
        "HOME": str(folder / "home"),
        "TMPDIR": str(folder / "tmp"),
        "LANG": "C.UTF-8",
        "GIT_CONFIG_GLOBAL": os.devnull,
        "GIT_CONFIG_NOSYSTEM": "1",
        "GIT_AUTHOR_NAME": "Ada Author",
        "GIT_AUTHOR_EMAIL": "ada@example.com",
        "GIT_COMMITTER_NAME": "Carl Committer",
        "GIT_COMMITTER_EMAIL": "carl@example.com",
        "KEYVAULT_CONFIG_DIR": str(folder / "config"),
    }


def run_git(folder: Path, environ: Mapping[str, str], *arguments: str | Path, stdin: bytes | None = None) -> str:
    """Run git as a user would, and return its output without the final line break."""
    done = subprocess.run(
        ["git", *arguments], cwd=folder, env=environ, input=stdin or b"", capture_output=True, check=False, timeout=60
    )
    assert done.returncode == 0, f"git {arguments}: {done.stderr.decode(errors='replace')}"
    return done.stdout.decode(errors="surrogateescape").rstrip("\n")


def serving(state: VaultState) -> Callable[[str], ServedKeys]:
    """Return a function that fetches kids from a host, which serves the site of *state*."""

    def look(url: str) -> ServedKeys:
        return frozenset((key.kid, key.public.thumbprint) for key in state.served_at(url))

    return look


def serving_head(repository: Repository) -> Callable[[str], ServedKeys]:
    """Return such a function for the present commit, which is read at the first fetch: most tests fetch nothing."""
    head = repository.head()
    state = functools.cache(lambda: repository.read_with_damage(head))

    def look(url: str) -> ServedKeys:
        return serving(state())(url)

    return look


def refuse_fetch(url: str) -> Collection[tuple[str, str]]:
    """Fail, because the test expects that nothing is fetched."""
    raise AssertionError(f"{url} was fetched")


@dataclass
class Vault:
    """
    A vault, with the environment and the clock of its user.

    Attributes:
        folder: The folder with keyvault.toml.
        environ: The environment of every program that it runs.
        now: The clock.
    """

    folder: Path
    environ: dict[str, str]
    now: datetime = T0
    _served: VaultState | None = field(default=None, repr=False)

    @cached_property
    def top(self) -> Path:
        """The folder that contains all files of the test."""
        return Path(self.environ["HOME"]).parent

    @property
    def git_dir(self) -> Path:
        folder = self.folder / ".git"
        return folder if folder.is_dir() else Path(self.git("rev-parse", "--absolute-git-dir"))

    def git(self, *arguments: str | Path, stdin: bytes | None = None) -> str:
        """Run git in the vault, as a user would."""
        return run_git(self.folder, self.environ, *arguments, stdin=stdin)

    @property
    def head(self) -> str:
        """The commit of the current branch, read from its file if it has one: a process of git takes longer."""
        with contextlib.suppress(OSError):
            branch = (self.folder / ".git" / "HEAD").read_text().strip().removeprefix("ref: ")
            return (self.folder / ".git" / branch).read_text().strip()
        return self.git("rev-parse", "HEAD")

    @property
    def status(self) -> list[str]:
        """The lines of ``git status``, one for each file."""
        return self.git("status", "--porcelain", "--untracked-files=all").splitlines()

    @property
    def log(self) -> list[str]:
        """The subjects of all commits, newest first."""
        return self.git("log", "--format=%s").splitlines()

    @property
    def repository(self) -> Repository:
        return Repository.open(self.folder, self.environ)

    def context(self, *, look: Callable[[str], ServedKeys] | None = None) -> Context:
        """Return the context of an operation at the present instant; by default the host serves every commit."""
        context = Context.find(self.folder, self.now, self.environ)
        context.fetch_key_ids = look or serving_head(context.repository)
        return context

    def state(self, revision: str = "HEAD") -> VaultState:
        return Context.find(self.folder, self.now, self.environ).state(self.repository.head(revision))

    def set(self, name: str = "id-token") -> KeySet:
        return self.state().sets[name]

    def active(self, name: str = "id-token") -> Key:
        """Return the active key of a set."""
        key = self.set(name).active
        assert key is not None
        return key

    def next(self, name: str = "id-token") -> Key:
        """Return the next key of a set."""
        key = self.set(name).next
        assert key is not None
        return key

    def wait(self, duration: timedelta) -> Vault:
        """Let time pass."""
        self.now += duration
        return self

    def write(self, path: str, content: str | bytes) -> Path:
        """Write a file of the working tree."""
        target = self.folder / path
        target.parent.mkdir(parents=True, exist_ok=True)
        target.write_bytes(content.encode() if isinstance(content, str) else content)
        return target

    def commit(self, files: Mapping[str, bytes | str | None], message: str = "by hand") -> str:
        """Commit *files* without any checks, as another program could; None removes a file."""
        contents = {path: text.encode() if isinstance(text, str) else text for path, text in files.items()}
        with transaction(self.repository) as changes:
            for _ in changes.heads():
                changes.write(Draft(contents, message + "\n", self.now))
        assert changes.commit is not None
        return changes.commit

    def plant(self, path: str, content: bytes | str, *, mode: str = "100644") -> str:
        """Commit one entry of any mode with plain git, keep the working tree, and return the commit."""
        if mode == "160000":
            oid = str(content)
        else:
            data = content.encode() if isinstance(content, str) else content
            oid = self.git("hash-object", "-w", "--stdin", stdin=data)
        environ = self.environ | {"GIT_INDEX_FILE": str(self.top / "planting.index")}
        run_git(self.folder, environ, "read-tree", "HEAD")
        run_git(self.folder, environ, "update-index", "--add", "--cacheinfo", f"{mode},{oid},{path}")
        written = run_git(self.folder, environ, "write-tree")
        commit = self.git("commit-tree", written, "-p", "HEAD", "-m", f"plant {path}")
        self.git("update-ref", "HEAD", commit)
        return commit

    def edit_policy(self, old: str, new: str) -> None:
        """Replace *old* by *new* in keyvault.toml, and commit the change."""
        text = (self.folder / "keyvault.toml").read_text()
        assert old in text
        self.commit({"keyvault.toml": text.replace(old, new)}, "edit the policy")

    def files(self) -> dict[str, bytes]:
        """Return every file of the working tree, by path."""
        return dict(tree(self.folder))

    def run(self, *arguments: str, **environ: str) -> subprocess.CompletedProcess[str]:
        """Run the command line in its own process, at the present instant."""
        done = subprocess.run(
            self.command(*arguments),
            cwd=self.folder,
            env=self.environ | {"PYTHONPATH": str(PROJECT)} | environ,
            stdin=subprocess.DEVNULL,
            capture_output=True,
            check=False,
            timeout=120,
        )
        return subprocess.CompletedProcess(done.args, done.returncode, done.stdout.decode(), done.stderr.decode())

    def start(self, *arguments: str, **options: Any) -> subprocess.Popen[bytes]:
        """Start the command line in its own process group, at the present instant."""
        environ = self.environ | {"PYTHONPATH": str(PROJECT)} | options.pop("environ", {})
        return subprocess.Popen(
            self.command(*arguments),
            cwd=self.folder,
            env=environ,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            start_new_session=True,
            **options,
        )

    def command(self, *arguments: str) -> list[str]:
        """Return the command line that runs keyvault at the present instant."""
        return [sys.executable, "-c", CLOCKED, self.now.isoformat(), *arguments]

    def clone(self, name: str, *arguments: str, source: Path | str | None = None) -> Vault:
        """Clone the vault, or *source*, beside it, with the same environment."""
        target = self.top / name
        run_git(self.top, self.environ, "clone", "--quiet", *arguments, "--", str(source or self.folder), str(target))
        return replace(self, folder=target)

    def publish_to(self, name: str = "origin.git", *options: str) -> Path:
        """Create a bare repository, push the vault to it, and configure it as the remote."""
        bare = self.add_remote("origin", self.top / name, *options)
        self.git("push", "--quiet", "--set-upstream", "origin", "main")
        return bare

    def add_remote(self, name: str, bare: Path, *options: str) -> Path:
        """Create a bare repository, and add a remote for it to the vault."""
        run_git(self.top, self.environ, "init", "--quiet", "--bare", "--initial-branch=main", *options, str(bare))
        self.git("remote", "add", name, str(bare))
        return bare


def tree(folder: Path) -> Iterator[tuple[str, bytes]]:
    """Yield the path and bytes of every file below *folder*, except those of git."""
    for path in sorted(folder.rglob("*")):
        relative = path.relative_to(folder)
        if relative.parts[0] != ".git" and path.is_file():
            yield relative.as_posix(), path.read_bytes()


def make_vault(
    top: Path,
    *,
    sets: Sequence[str] = SETS,
    url: str = SITE,
    confirm: str = "live",
    folder: str = "vault",
    environ: Mapping[str, str] | None = None,
    **options: Any,
) -> Vault:
    """Create a vault in *top*, with an identity beside it."""
    own = environment(top) | dict(environ or {})
    target = top / folder
    setup.init(target, T0, own, NewVault(url, parse_sets(sets), confirm=confirm, **options))
    return Vault(target, own)


def copy_vault(vault: Vault, top: Path) -> Vault:
    """Return a copy of *vault*, its identities and its environment in *top*, without git's example hooks."""
    shutil.copytree(vault.top, top, symlinks=True, dirs_exist_ok=True, ignore=shutil.ignore_patterns("*.sample"))
    moved = {
        name: value.replace(str(vault.top), str(top)) if name != "PATH" else value
        for name, value in vault.environ.items()
    }
    return Vault(top / vault.folder.relative_to(vault.top), moved, vault.now)
