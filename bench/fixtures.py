"""
Where rows work: sizes, the environment of every process, vaults that are made once and kept.

A vault of 100,000 keys takes minutes to make. It is made by a process of its own and kept in build/bench, under a
name that says all that it was made with. Its clock stands still: keys are made at `MADE_AT`, and every command that
looks at them is told that it is `NOW`, so that nothing becomes overdue in a vault that is kept.
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
#: Goes up when workloads.py makes other vaults than before from the same arguments, or records change.
FORMAT = 1
#: An hour after the rotation of workloads.py.
NOW = "2026-01-06T02:00:00+00:00"

_MAIN = "from keyvault.cli import main; main.main()"
_CLOCKED = (
    "from datetime import datetime; from keyvault.cli import main; "
    f"main.clock = lambda: datetime.fromisoformat({NOW!r}); main.main()"
)
#: What the installed command does, without knowing where it was installed.
KEYVAULT = (sys.executable, "-c", _MAIN)
#: The same for vaults that are kept: under a clock that stands still.
CLOCKED = (sys.executable, "-c", _CLOCKED)
TYPER = (sys.executable, str(BENCH / "bare_typer.py"))
WORKLOADS = (sys.executable, str(BENCH / "workloads.py"))

#: Given where a vault keeps its identity under one.
PASSPHRASE = {"KEYVAULT_PASSPHRASE": "protects nothing here"}

_numbers = itertools.count(1)


@dataclass(frozen=True)
class Size:
    """
    How much is done: all of it, or what ``--quick`` leaves.

    Attributes:
        starts: Runs of the rows that take a moment.
        runs: Runs of the rows that take seconds.
        rotated: Sets that are rotated in one commit.
        jose: Keys that the jose script makes.
        rsa: Sets of RSA keys that are rotated.
        small: Sets of the small vault.
        large: Sets of the large vault, ten times as many.
        opened: Keys that are opened.
        asked: Keys that a peer opens or seals which needs a process for each.
        sealed: Keys that are sealed.
        commits: Commits of the long history.
        published: Sets of the vault that is published, of three keys: eleven files of the site each.
        curve: Keys of the vaults of the growth curves.
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

    Nothing of the user's git settings, identities or Python settings is in it. Bytecode is cached, as it is for an
    installed program, but not beside the sources.

    Args:
        home: Where identities lie: beside the vaults, since those who kept one have to open it.
        bytecode: Where bytecode is cached.
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
    Where rows work.

    Attributes:
        folder: A temporary folder, removed at the end.
        kept: The folder of vaults, which stays.
        environ: The environment of every process.
        size: How much is done.
        closing: What a row has started, to be ended behind it.
    """

    folder: Path
    kept: Path
    environ: dict[str, str]
    size: Size
    closing: contextlib.ExitStack = field(default_factory=contextlib.ExitStack)

    @property
    def work(self) -> Path:
        """The folder in which processes run that name all their files."""
        return self.path("work")

    def path(self, name: str) -> Path:
        """Return a folder of that name, made where it is missing."""
        path = self.folder / name
        path.mkdir(exist_ok=True)
        return path

    def run(self, *command: str | Path, folder: Path | None = None) -> bytes:
        """Run what is not measured, and return what it prints."""
        environ = {**self.environ, **PASSPHRASE}
        return run([*map(str, command)], folder=folder or self.work, environ=environ).output

    def put_aside(self, path: Path) -> None:
        """
        Take *path* out of the way, until the whole folder is removed.

        Removing thousands of files now would slow down the next run: ext4 does not use an inode again that
        was freed a moment ago, and searches past each of them.
        """
        if path.exists():
            path.rename(self.path("aside") / str(next(_numbers)))

    def fresh_copy(self, source: Path, target: Path) -> None:
        """Copy a folder; what follows does not have to wait until the copy is on the disk."""
        self.put_aside(target)
        self.run("cp", "-a", source, target)
        os.sync()

    def keep(self, name: str, make: Callable[[Path], object]) -> Path:
        """Return the vault that is kept under *name*; *make* makes it in a new repository where it is missing."""
        path = self.kept / f"{name}-v{FORMAT}"
        if not path.exists():
            log(f"making {path.name}")
            begun = self.kept / f"{path.name}.part"
            shutil.rmtree(begun, ignore_errors=True)
            # The folder of builds lies in the repository of the project: without one of its own, a vault would be
            # committed there.
            self.run("git", "init", "--quiet", "--initial-branch=main", begun)
            make(begun)
            begun.rename(path)  # what was cut short is never taken for a whole vault
        return path

    def vault(self, sets: int, *options: str, alg: str = "ES256") -> Path:
        """
        Return a vault of *sets* sets, of two keys each.

        Args:
            sets: How many.
            options: Of ``rotated`` (each set has three keys), ``passphrase``, ``issuers`` (as workloads.py says).
            alg: The algorithm of all.
        """
        name = "-".join([alg.lower(), str(sets), *options])
        named = ["--alg", alg, *(f"--{option}" for option in options)]
        return self.keep(name, partial(self._workload, "vault", "--sets", str(sets), *named))

    def history(self, commits: int) -> Path:
        """Return a vault of 20 sets with a history of *commits*."""
        return self.keep(f"history-{commits}", partial(self._workload, "history", "--commits", str(commits)))

    def _workload(self, command: str, *options: str | Path) -> None:
        *named, folder = options
        self.run(*WORKLOADS, command, folder, *named)
