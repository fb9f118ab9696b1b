"""
The rows of the benchmark: what is compared with what, and the bounds that must hold.

A row prepares its two sides in a temporary folder when it is asked to. Figures that depend on the machine
(seconds) have no bound; ratios of two processes that met the same machine do.
"""

from __future__ import annotations

import itertools
import os
import shutil
import sys
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from pathlib import Path

from measure import Side, run, tell

BENCH = Path(__file__).resolve().parent
#: What the installed command does, without knowing where it was installed.
KEYVAULT = (sys.executable, "-c", "from keyvault.cli.main import main; main()")
TYPER = (sys.executable, str(BENCH / "bare_typer.py"))
WORKLOADS = (sys.executable, str(BENCH / "workloads.py"))

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
        rsa: RSA keys.
        small: Sets of the small vault.
        large: Sets of the large vault, ten times as many.
        opened: Keys that are opened.
        commits: Commits of the long history.
    """

    starts: int = 15
    runs: int = 3
    rotated: int = 1_000
    jose: int = 30
    rsa: int = 40
    small: int = 1_000
    large: int = 10_000
    opened: int = 1_000
    commits: int = 10_000


QUICK = Size(starts=5, runs=1, rotated=400, jose=5, rsa=8, small=100, large=1_000, opened=100, commits=1_000)


@dataclass(frozen=True)
class World:
    """
    Where rows work.

    Attributes:
        folder: A temporary folder, removed at the end.
        environ: The environment of every process.
        size: How much is done.
    """

    folder: Path
    environ: dict[str, str]
    size: Size

    def path(self, name: str) -> Path:
        """Return a folder of that name, made where it is missing."""
        path = self.folder / name
        path.mkdir(exist_ok=True)
        return path

    def put_aside(self, path: Path) -> None:
        """
        Take *path* out of the way, until the whole folder is removed.

        Removing thousands of files now would slow down the next run: ext4 does not use an inode again that
        was freed a moment ago, and searches past each of them.
        """
        if path.exists():
            path.rename(self.path("aside") / str(next(_numbers)))

    def vault(
        self, name: str, sets: int, *, alg: str = "ES256", rotated: bool = False, passphrase: bool = False
    ) -> Path:
        """Return a vault of *sets* sets, made by another process where it is missing."""
        path = self.folder / "vaults" / name
        if not path.exists():
            tell(f"making a vault of {sets:,} sets")
            options = ["--alg", alg, *["--rotated"] * rotated, *["--passphrase"] * passphrase]
            command = (*WORKLOADS, "vault", str(path), "--sets", str(sets), *options)
            run(command, folder=self.path("work"), environ=self.environ)
        return path


@dataclass(frozen=True)
class Row:
    """
    One comparison.

    Attributes:
        name: What ``--only`` takes.
        about: What it shows, in one line.
        sides: Prepares ours and the peer's side.
        runs: Runs of each side, after a warm-up.
        bound: The ratio that must not be passed, if there is one.
        memory: MiB that our side must not pass, if there is a bound.
        exact: A member of what our side reports on stdout as JSON, and what it must be.
        needs: Programs without which there is no peer.
    """

    name: str
    about: str
    sides: Callable[[], tuple[Side, Side]]
    runs: int
    bound: float | None = None
    memory: int | None = None
    exact: tuple[str, int] | None = None
    needs: tuple[str, ...] = ()

    def missing(self) -> str | None:
        """Return why the row cannot be measured here, or None."""
        lacking = [program for program in self.needs if shutil.which(program) is None]
        return f"{', '.join(lacking)} not installed" if lacking else None


def rows(world: World) -> list[Row]:
    """Return all rows, in the order in which they are measured."""
    size = world.size
    return [
        Row("help", "start-up: keyvault --help", partial(_help, world), size.starts, bound=1.3),
        Row("status", "start-up: status of a vault of two sets", partial(_status, world), size.starts, bound=2.5),
        Row(
            "rotate",
            f"{size.rotated:,} ES256 sets rotated in one commit, a set",
            partial(_rotate, world),
            size.runs,
            bound=0.25,
            needs=("jose", "git"),
        ),
        Row("rsa", f"{size.rsa} keys of RSA-2048 on {os.cpu_count()} cores", partial(_rsa, world), size.runs),
        Row(
            "status-growth",
            f"status, from {size.small:,} to {size.large:,} sets of three keys",
            partial(_growth, world, "status"),
            size.runs,
            bound=11,
            memory=400,
        ),
        Row(
            "render-growth",
            f"render, from {size.small:,} to {size.large:,} sets of three keys",
            partial(_growth, world, "render"),
            size.runs,
            bound=11,
            memory=400,
        ),
        Row(
            "render",
            f"render {size.large:,} sets of three keys, against writing the same files",
            partial(_render, world),
            size.runs,
            bound=4,
        ),
        Row(
            "audit",
            f"audit of {size.commits:,} commits, against git reading the same files",
            partial(_audit, world),
            size.runs,
            bound=10,
            memory=300,
        ),
        Row(
            "audit-growth",
            f"audit, from {size.commits // 10:,} to {size.commits:,} commits",
            partial(_audit_growth, world),
            size.runs,
            bound=11,
        ),
        Row(
            "open",
            f"{size.opened:,} keys under a passphrase: one key derivation",
            partial(_open, world),
            size.runs,
            exact=("derivations", 1),
        ),
    ]


def _help(world: World) -> tuple[Side, Side]:
    folder = world.path("work")
    return (
        Side("keyvault --help", (*KEYVAULT, "--help"), folder),
        Side("bare Typer program, --help", (*TYPER, "--help"), folder),
    )


def _status(world: World) -> tuple[Side, Side]:
    folder = world.path("work")
    vault = world.folder / "vaults" / "default"
    if not vault.exists():
        init = (*KEYVAULT, "init", str(vault), "--url", "https://keys.example.com")
        run(init, folder=folder, environ=world.environ)
    return (
        Side("keyvault status", (*KEYVAULT, "--vault", str(vault), "status"), folder),
        Side("bare Typer program, a command", (*TYPER, "hello"), folder),
    )


def _rotate(world: World) -> tuple[Side, Side]:
    pristine = world.vault("rotate", world.size.rotated)
    ours, theirs = world.folder / "rotate-ours", world.folder / "rotate-jose"

    def fresh_vault() -> None:
        shutil.copytree(pristine, ours, symlinks=True)

    def fresh_repository() -> None:
        theirs.mkdir()
        run(("git", "init", "--quiet", "."), folder=theirs, environ=world.environ)

    recipient = world.folder / "recipient.jwk"
    if not recipient.exists():
        work = world.path("work")
        made = run(
            ("jose", "jwk", "gen", "-i", '{"kty":"EC","crv":"P-256"}'),
            folder=work,
            environ=world.environ,
        )
        recipient.write_bytes(made.output)
    command = (*KEYVAULT, "--vault", str(ours), "rotate", "--all", "--force", "--reason", "benchmark")
    script = (str(BENCH / "jose_and_git.sh"), str(world.size.jose), str(recipient))
    return (
        Side(
            f"keyvault rotate, {world.size.rotated:,} sets",
            command,
            world.path("work"),
            units=world.size.rotated,
            before=fresh_vault,
            after=partial(world.put_aside, ours),
        ),
        Side(
            f"jose jwk gen | jose jwe enc, git commit, {world.size.jose} keys",
            ("sh", *script),
            theirs,
            units=world.size.jose,
            before=fresh_repository,
            after=partial(world.put_aside, theirs),
        ),
    )


def _rsa(world: World) -> tuple[Side, Side]:
    folder, count = world.path("work"), world.size.rsa
    return (
        Side("all cores, a key", (*WORKLOADS, "generate", str(count)), folder, units=count),
        Side(
            "one at a time, a key",
            (*WORKLOADS, "generate", str(count), "--one-at-a-time"),
            folder,
            units=count,
        ),
    )


def _growth(world: World, command: str) -> tuple[Side, Side]:
    return (
        _grown(world, command, "large", world.size.large),
        _grown(world, command, "small", world.size.small),
    )


def _grown(world: World, command: str, name: str, sets: int) -> Side:
    vault = world.vault(name, sets, rotated=True)
    label, work = f"keyvault {command}, {sets:,} sets", world.path("work")
    call = (*KEYVAULT, "--vault", str(vault), command)
    if command != "render":
        return Side(label, call, work)
    site = world.folder / f"site-{name}"
    return Side(label, (*call, "--output", str(site)), work, after=partial(world.put_aside, site))


def _render(world: World) -> tuple[Side, Side]:
    ours = _grown(world, "render", "large", world.size.large)
    site, packed, written = world.folder / "site-large", world.folder / "site.pickle", world.folder / "written"
    run(ours.command, folder=ours.folder, environ=world.environ)
    run((*WORKLOADS, "pack", str(site), str(packed)), folder=ours.folder, environ=world.environ)
    world.put_aside(site)
    return (
        ours,
        Side(
            "writing the same files from Python",
            (*WORKLOADS, "unpack", str(packed), str(written)),
            ours.folder,
            after=partial(world.put_aside, written),
        ),
    )


def _history(world: World, commits: int) -> Path:
    path = world.folder / "vaults" / f"history-{commits}"
    if not path.exists():
        tell(f"making a history of {commits:,} commits")
        command = (*WORKLOADS, "history", str(path), "--commits", str(commits))
        run(command, folder=world.path("work"), environ=world.environ)
    return path


def _audited(world: World, commits: int) -> Side:
    vault = _history(world, commits)
    return Side(f"keyvault audit, {commits:,} commits", (*KEYVAULT, "--vault", str(vault), "audit"), world.path("work"))


def _audit(world: World) -> tuple[Side, Side]:
    vault = _history(world, world.size.commits)
    pipe = "git log --raw --no-renames --no-abbrev | awk '/^:/ { print $4 }' | git cat-file --batch >/dev/null"
    return (
        _audited(world, world.size.commits),
        Side("git log --raw | git cat-file --batch", ("sh", "-c", pipe), vault),
    )


def _audit_growth(world: World) -> tuple[Side, Side]:
    return _audited(world, world.size.commits), _audited(world, world.size.commits // 10)


def _open(world: World) -> tuple[Side, Side]:
    # Two keys a set.
    vault = world.vault("passphrase", (world.size.opened + 1) // 2, passphrase=True)
    folder = world.path("work")
    return (
        Side(
            f"opening {world.size.opened:,} keys",
            (*WORKLOADS, "open", str(vault), str(world.size.opened)),
            folder,
        ),
        Side("opening 1 key", (*WORKLOADS, "open", str(vault), "1"), folder),
    )
