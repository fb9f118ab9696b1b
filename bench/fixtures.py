"""
Provide the fixtures of all rows: sizes, the environment of every process, and cached vaults.

Generating a vault of 100,000 keys takes minutes, so a separate process generates it once. It stays in build/bench,
under a name that contains its parameters. Its clock stands still: keys are created at `MADE_AT` of workloads.py, and
every command runs at `NOW`, so that nothing becomes overdue in a cached vault.
"""

from __future__ import annotations

import contextlib
import itertools
import os
import shutil
import sys
from collections.abc import Callable
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path

from measure import log, run

BENCH = Path(__file__).resolve().parent
BUILD = BENCH.parent / "build" / "bench"
#: Increase this if workloads.py generates other vaults from the same arguments, or if the format of records changes.
FORMAT = 1
#: An hour after the rotation of workloads.py.
NOW = "2026-01-06T02:00:00+00:00"

_MAIN = "from keyvault.cli import main; main.main()"
_CLOCKED = (
    "from datetime import datetime; from keyvault.cli import main; "
    f"main.clock = lambda: datetime.fromisoformat({NOW!r}); main.main()"
)
#: The installed command, wherever it was installed.
KEYVAULT = (sys.executable, "-c", _MAIN)
#: The same under a fixed clock, for cached vaults.
CLOCKED = (sys.executable, "-c", _CLOCKED)
TYPER = (sys.executable, str(BENCH / "bare_typer.py"))
WORKLOADS = (sys.executable, str(BENCH / "workloads.py"))

#: For vaults whose identity has a passphrase.
PASSPHRASE = {"KEYVAULT_PASSPHRASE": "protects nothing here"}

_numbers = itertools.count(1)


@dataclass(frozen=True)
class Size:
    """
    The sizes of a full run, or of ``--quick``.

    Attributes:
        starts: Runs of the rows that take less than a second.
        runs: Runs of the rows that take seconds.
        rotated: Sets that are rotated in one commit.
        jose: Keys that the jose script generates.
        rsa: Sets of RSA keys that are rotated.
        small: Sets of the small vault.
        large: Sets of the large vault, ten times as many.
        opened: Keys that are opened.
        asked: Keys that a peer opens or seals, if it needs a process for each.
        sealed: Keys that are sealed.
        commits: Commits of the long history.
        published: Sets of the published vault, with three keys each; the site has eleven files per set.
        curve: Numbers of keys of the growth curves' vaults.
    """

    starts: int = 15
    runs: int = 3
    rotated: int = 1_000
    jose: int = 30
    rsa: int = 100
    small: int = 1_000
    large: int = 10_000
    opened: int = 1_000
    asked: int = 50
    sealed: int = 300
    commits: int = 10_000
    published: int = 900
    curve: tuple[int, ...] = (100, 1_000, 10_000, 100_000)


QUICK = Size(
    starts=3,
    runs=1,
    rotated=100,
    jose=3,
    rsa=4,
    small=20,
    large=200,
    opened=50,
    asked=5,
    sealed=20,
    commits=200,
    published=10,
    curve=(30, 300),
)


def environment(home: Path, bytecode: Path) -> dict[str, str]:
    """
    Return the environment of every measured process.

    It has none of the user's git settings, identities or Python settings. Bytecode is cached, as for an installed
    program, but not beside the sources.

    Args:
        home: The folder of the identities, beside the cached vaults that they open.
        bytecode: The folder for cached bytecode.
    """
    kept = {name: os.environ[name] for name in ("PATH", "LANG", "SYSTEMROOT", "TMPDIR") if name in os.environ}
    paths = [str(BENCH.parent), *os.environ.get("PYTHONPATH", "").split(os.pathsep)]
    return {
        **kept,
        "HOME": str(home),
        "PYTHONPATH": os.pathsep.join(path for path in paths if path),
        "PYTHONPYCACHEPREFIX": str(bytecode),
        "KEYVAULT_CONFIG_DIR": str(home / "settings"),
        "GIT_CONFIG_NOSYSTEM": "1",
        "GIT_CONFIG_GLOBAL": os.devnull,
        "GIT_AUTHOR_NAME": "Benchmark",
        "GIT_AUTHOR_EMAIL": "bench@example.com",
        "GIT_COMMITTER_NAME": "Benchmark",
        "GIT_COMMITTER_EMAIL": "bench@example.com",
    }


@dataclass(frozen=True)
class Workspace:
    """
    The folders, environment and sizes of a run.

    Attributes:
        folder: A temporary folder, removed at the end.
        kept: The folder of cached vaults, which stays.
        environ: The environment of every process.
        size: The sizes of this run.
        closing: Stops the servers that a row has started.
    """

    folder: Path
    kept: Path
    environ: dict[str, str]
    size: Size
    closing: contextlib.ExitStack = field(default_factory=contextlib.ExitStack)

    @property
    def work(self) -> Path:
        """The working folder of processes that get all files by absolute path."""
        return self.path("work")

    def path(self, name: str) -> Path:
        """Return the folder *name*; create it if it is missing."""
        path = self.folder / name
        path.mkdir(exist_ok=True)
        return path

    def run(self, *command: str | Path, folder: Path | None = None) -> bytes:
        """Run a command without measuring it, and return its output."""
        environ = {**self.environ, **PASSPHRASE}
        return run([*map(str, command)], folder=folder or self.work, environ=environ).output

    def put_aside(self, path: Path) -> None:
        """
        Move *path* away until the whole folder is removed.

        Removing thousands of files now would slow down the next run: ext4 does not reuse recently freed inodes,
        and searches past each of them.
        """
        if path.exists():
            path.rename(self.path("aside") / str(next(_numbers)))

    def fresh_copy(self, source: Path, target: Path) -> None:
        """Copy a folder, and sync it to disk, so that no measured run has to wait for that."""
        self.put_aside(target)
        self.run("cp", "-a", source, target)
        os.sync()

    def keep(self, name: str, generate: Callable[[Path], object]) -> Path:
        """Return the cached vault *name*; if it is missing, *generate* it in a new repository."""
        path = self.kept / f"{name}-v{FORMAT}"
        if not path.exists():
            log(f"generating {path.name}")
            begun = self.kept / f"{path.name}.part"
            shutil.rmtree(begun, ignore_errors=True)
            # The build folder is inside the project's repository: without a repository of its own, the vault would be
            # committed to the project.
            self.run("git", "init", "--quiet", "--initial-branch=main", begun)
            generate(begun)
            begun.rename(path)  # so that an interrupted run leaves no incomplete vault
        return path

    def vault(self, sets: int, *options: str, alg: str = "ES256") -> Path:
        """
        Return a vault of *sets* sets, of two keys each.

        Args:
            sets: The number of sets.
            options: Any of ``rotated`` (three keys a set), ``passphrase``, ``issuers`` (see workloads.py).
            alg: The algorithm of all sets.
        """
        name = "-".join([alg.lower(), str(sets), *options])
        named = ["--alg", alg, *(f"--{option}" for option in options)]
        return self.keep(name, partial(self._workload, "vault", "--sets", str(sets), *named))

    def history(self, commits: int) -> Path:
        """Return a vault of 20 sets with *commits* commits."""
        return self.keep(f"history-{commits}", partial(self._workload, "history", "--commits", str(commits)))

    def _workload(self, command: str, *options: str | Path) -> None:
        *named, folder = options
        self.run(*WORKLOADS, command, folder, *named)
