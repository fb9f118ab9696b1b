"""
Interrupt commands at every file operation, including those of git: kill all processes, lose power, send SIGINT, fail
the operation, fill the disk, or kill only the git process.

A library that is preloaded into keyvault and its child processes counts file operations and interrupts at a given one.
Afterwards the branch is at the old or the new commit, no private key is in the clear, and the next run needs no help.
"""

from __future__ import annotations

import json
import os
import shutil
import stat
import subprocess
import sys
import zlib
from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from types import MappingProxyType

import pytest

from keyvault.core.algorithms import key_spec
from keyvault.core.leaks import find_private
from keyvault.crypto.generate import generate
from keyvault.operations import rotation
from tests.ci.forked import command
from tests.native import build
from tests.repo.test_recovery import leftovers
from tests.revisions import audit
from tests.vaults import DAY, HOUR, Vault, copy_vault, environment, make_vault, tree

SOURCE = Path(__file__).with_name("failing.c")
HOW = ("kill", "git", "power", "INT", "EIO", "ENOSPC")


@pytest.fixture(scope="session")
def failing(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The library that counts operations and interrupts one."""
    return build(SOURCE, tmp_path_factory.mktemp("failing"))


@dataclass(frozen=True)
class Case:
    """
    A command to interrupt, and the command that follows.

    Attributes:
        prepare: Creates the vault; each run gets a copy.
        command: The command to interrupt.
        again: The command to run afterwards if the branch has moved and *command* would do more, or refuse.
        commits: The number of commits that the command writes.
    """

    prepare: Callable[[Path], Vault]
    command: tuple[str, ...]
    again: tuple[str, ...] | None = None
    commits: int = 1


def due_vault(top: Path) -> Vault:
    return make_vault(top, sets=["id-token:ES256", "access-token:EdDSA"], confirm="commit").wait(90 * DAY)


def idle_vault(top: Path) -> Vault:
    return make_vault(top, sets=["id-token:ES256", "access-token:EdDSA"], confirm="commit").wait(DAY)


def pushed_vault(top: Path) -> Vault:
    """Create a vault with a remote beside it, outside the folder whose operations count."""
    vault = due_vault(top)
    vault.add_remote("origin", remote_of(vault))
    vault.git("push", "--quiet", "--set-upstream", "origin", "main")
    return vault


def remote_of(vault: Vault) -> Path:
    return vault.top.with_suffix(".git")


def published_vault(top: Path) -> Vault:
    vault = due_vault(top)
    for words in (("publish", str(top / "site")), DUE):
        assert vault.run(*words).returncode == 0
    return vault


def no_vault(top: Path) -> Vault:
    return Vault(top / "vault", environment(top))


def vault_of_two(top: Path) -> Vault:
    vault = idle_vault(top)
    identity = top / "bea.json"
    assert vault.run("identity", "new", "--kid", "bea", "-o", str(identity)).returncode == 0
    assert vault.run("recipient", "add", str(identity)).returncode == 0
    return vault


def rotated_vault(top: Path) -> Vault:
    vault = due_vault(top)
    assert vault.run(*DUE).returncode == 0
    return vault.wait(HOUR)


def vault_with_a_file(top: Path) -> Vault:
    """Create a vault with a key of another system beside it."""
    vault = idle_vault(top)
    (top / "old.jwk").write_text(json.dumps(generate(key_spec("ES256"))))
    (top / "old.jwk").chmod(0o600)
    return vault


def damaged_vault(top: Path) -> Vault:
    """Create a vault after a merge of two rotations, with a malformed record."""
    vault = idle_vault(top)
    vault.git("branch", "side")
    rotation.rotate(vault.context(), ["id-token"], forced="a drill")
    vault.git("checkout", "--quiet", "side")
    rotation.rotate(vault.wait(HOUR).context(), ["id-token"], forced="a drill")
    vault.git("merge", "--quiet", "--no-edit", "--strategy-option=ours", "main")
    vault.plant(vault.state().all_sets["access-token"].keys[0].path, "{}\n")
    vault.git("reset", "--quiet", "--hard")
    return vault.wait(HOUR)


DUE = ("rotate", "--due")
CHECK = ("recipient", "check")
SITE = "https://keys.example.com"
SETS = ("--set", "id-token:ES256", "--set", "access-token:EdDSA")
CASES = {
    "init": Case(no_vault, ("init", "vault", "--url", SITE, "--confirm", "commit", *SETS), again=CHECK),
    "rotate": Case(due_vault, DUE),
    "rotate --push": Case(pushed_vault, (*DUE, "--push")),
    "revoke": Case(idle_vault, ("revoke", "{active}", "--reason", "compromised"), again=DUE),
    "rollback": Case(rotated_vault, ("rollback", "id-token"), again=DUE),
    "import": Case(vault_with_a_file, ("key", "import", "reports", "{top}/old.jwk", "--as", "active"), again=DUE),
    "repair": Case(damaged_vault, ("repair",)),
    "recipient remove": Case(vault_of_two, ("recipient", "remove", "bea", "--rotate"), again=DUE),
    "render": Case(due_vault, ("render", "-o", "{top}/site"), commits=0),
    "publish": Case(published_vault, ("publish", "{top}/site"), commits=0),
}


@dataclass
class Figures:
    """The number of operations of a command, and the results of the interrupted runs."""

    operations: int = 0
    points: int = 0
    old: int = 0
    new: int = 0


class Sweep:
    """Runs a command once to its end, to count its operations and keep its output; then interrupts it."""

    def __init__(self, template: Vault, case: Case, library: Path, programs: Path) -> None:
        self.template, self.case, self.library, self.programs = template, case, library, programs
        self.top = template.top.parent
        self.base = self.commits(self.template)
        self.active = self.template.active().kid if "{active}" in self.case.command else ""
        vault = self.copy("whole")
        self.figures = Figures(operations=self.run_interrupted(vault, 0, "kill"))
        assert self.commits(vault) == self.base + self.case.commits
        self.sites = [self.output(self.template), self.output(vault)]

    def copy(self, name: str) -> Vault:
        vault = copy_vault(self.template, self.top / name)
        if remote_of(self.template).exists():
            shutil.copytree(remote_of(self.template), remote_of(vault))
            vault.git("remote", "set-url", "origin", str(remote_of(vault)))
        return vault

    @staticmethod
    def commits(vault: Vault) -> int:
        done = subprocess.run(
            ["git", "rev-list", "--count", "HEAD"],
            cwd=vault.folder if vault.folder.exists() else vault.top,
            env=vault.environ | {"GIT_CEILING_DIRECTORIES": str(vault.top)},
            capture_output=True,
            check=False,
        )
        return int(done.stdout) if done.returncode == 0 else 0

    @staticmethod
    def output(vault: Vault) -> dict[str, bytes]:
        site = vault.top / "site"
        return dict(tree(site)) if site.exists() else {}

    def words(self, vault: Vault, command: tuple[str, ...]) -> list[str]:
        return [word.format(top=vault.top, active=self.active) for word in command]

    def run_interrupted(self, vault: Vault, at: int, how: str) -> int:
        """Run the command, interrupt it at operation *at* (0 for never), and return the number of operations."""
        counter = vault.top.with_suffix(".count")
        counter.write_bytes(bytes(8))
        environ = {
            "LD_PRELOAD": str(self.library),
            "FAILING_ROOT": str(vault.top),
            "FAILING_COUNT": str(counter),
            "FAILING_AT": str(at or 2**62),
            "FAILING_HOW": "kill" if how == "power" else how,
        }
        log = vault.top.with_suffix(".log")
        if how == "power":
            environ["FAILING_LOG"] = str(log)
        standing = replace(vault, folder=vault.top) if not self.base else vault
        done = self.run_forked(standing, *self.words(vault, self.case.command), environ=environ)
        assert "Traceback" not in done.stderr, done.stderr
        if how == "INT":
            assert done.returncode in (0, 130), done.stderr
        if how == "power":
            lose_power(vault.top, log.read_text())
            log.unlink()
        return int.from_bytes(counter.read_bytes(), sys.byteorder)

    def run_forked(
        self, vault: Vault, *words: str, environ: Mapping[str, str] = MappingProxyType({})
    ) -> subprocess.CompletedProcess[str]:
        """Run a command in a process that is forked from one with all modules imported."""
        line = [str(self.programs / "keyvault"), *words]
        environ = {**vault.environ, **environ}
        return subprocess.run(
            line, cwd=vault.folder, env=environ, capture_output=True, text=True, check=False, timeout=120
        )

    def check(self, at: int, how: str) -> None:
        """Interrupt at one operation; check that the vault is consistent and that the next run finishes the work."""
        where = f"{how} at operation {at}"
        vault = self.copy(f"{how}-{at}")
        self.run_interrupted(vault, at, how)
        moved = self.commits(vault) - self.base
        assert moved in (0, self.case.commits), where
        assert in_the_clear(vault) == [], where
        if self.commits(vault):
            vault.git("fsck", "--strict", "--no-dangling")
        # A rendered site need not survive a loss of power: it can be rendered again.
        if (self.case.command[0], how) != ("render", "power"):
            assert self.output(vault) in self.sites, where
        standing = vault if self.base else replace(vault, folder=vault.top)
        if moved and not self.base:
            done = self.run_forked(standing, *self.words(vault, self.case.command))
            assert (done.returncode, "already" in done.stderr) == (2, True), (where, done.stderr)
            standing = vault
        again = self.case.again if moved and self.case.again else self.case.command
        done = self.run_forked(standing, *self.words(vault, again))
        assert done.returncode == 0, (where, done.stderr)
        if self.case.commits:
            done = self.run_forked(vault, *CHECK)
            assert (done.returncode, "no identity" in done.stdout) == (0, False), (where, done.stdout, done.stderr)
        assert self.commits(vault) == self.base + self.case.commits, where
        if remote_of(vault).exists():
            assert vault.git("ls-remote", "origin", "main").split() == [vault.head, "refs/heads/main"], where
            shutil.rmtree(remote_of(vault))
        assert self.output(vault) == self.sites[1], where
        assert (vault.status, leftovers(vault)) == ([], []), where
        assert audit(vault.context()).errors == (), where
        for key_set in vault.state().sets.values():
            assert key_set.active is not None
            assert key_set.next is not None
        shutil.rmtree(vault.top)
        self.figures.points += 1
        self.figures.new += bool(moved)
        self.figures.old += not moved

    def run(self, how: str, *, most: int | None = None) -> None:
        """Interrupt at every operation, or at about *most* of them at equal distances."""
        every = range(1, self.figures.operations + 1)
        step = 1 if most is None else max(1, len(every) // most)
        with ThreadPoolExecutor(max_workers=2) as pool:
            for _ in pool.map(lambda at: self.check(at, how), every[step // 2 :: step]):
                pass


@contextmanager
def sweep(name: str, top: Path, library: Path) -> Iterator[Sweep]:
    """Give the sweep of the case *name*, in the folder *top*; *library* interrupts the commands."""
    case = CASES[name]
    template, clock = case.prepare(top / "template"), top / "clock"
    clock.write_text(template.now.isoformat())
    with command(clock, library) as programs:
        yield Sweep(template, case, library, programs)


def lose_power(top: Path, log: str) -> None:
    """
    Truncate the files below *top* to the data that was flushed.

    Names stay: a file system with a journal keeps the order of changes of names, but not of data.
    """
    durable: dict[int, int] = {}
    for line in log.splitlines():
        what, inode, size = line.split()
        if what == "A":
            durable.clear()
        elif what == "S":
            durable.pop(int(inode), None)
        else:
            durable.setdefault(int(inode), int(size))
            if what == "T":
                durable[int(inode)] = 0
    for path in top.rglob("*"):
        found = path.lstat()
        if stat.S_ISREG(found.st_mode) and durable.get(found.st_ino, found.st_size) < found.st_size:
            path.chmod(found.st_mode | stat.S_IWUSR)
            os.truncate(path, durable[found.st_ino])
            path.chmod(found.st_mode)


def in_the_clear(vault: Vault) -> list[str]:
    """Return files with a private key in the clear, including git's objects, but not identities in their place."""
    found = []
    for path in sorted(vault.top.rglob("*")):
        own = "config" in path.relative_to(vault.top).parts[:1] or path.name in ("bea.json", "old.jwk")
        if not path.is_file() or own:
            continue
        data = path.read_bytes()
        if path.parent.parent.name == "objects":
            data = zlib.decompressobj().decompress(data) if data[:1] == b"x" else data
        if find_private(data):
            found.append(str(path.relative_to(vault.top)))
    return found


@pytest.mark.parametrize(
    "how", [how if how in ("kill", "git") else pytest.param(how, marks=pytest.mark.slow) for how in HOW]
)
def test_a_rotation_survives_interrupts(failing: Path, tmp_path: Path, how: str) -> None:
    """After an interrupt at some operations of a rotation, the vault has the old or the new state, consistently."""
    with sweep("rotate", tmp_path, failing) as rotations:
        rotations.run(how, most=3)


@pytest.mark.slow
@pytest.mark.parametrize("how", HOW)
def test_a_rotation_survives_an_interrupt_at_every_operation(failing: Path, tmp_path: Path, how: str) -> None:
    """The same for every operation: nothing blocks the next run, no third state exists, no key is created twice."""
    with sweep("rotate", tmp_path, failing) as rotations:
        rotations.run(how)
    print(how, rotations.figures)


@pytest.mark.slow
@pytest.mark.parametrize("how", HOW)
def test_a_pushed_rotation_survives_interrupts(failing: Path, tmp_path: Path, how: str) -> None:
    """Interrupt at every operation of git's child processes, which push, and at every fifth of the others."""
    with sweep("rotate --push", tmp_path, failing) as rotations:
        rotations.run(how, most=None if how == "git" else rotations.figures.operations // 5)
    print(how, rotations.figures)


@pytest.mark.slow
@pytest.mark.parametrize("how", HOW)
@pytest.mark.parametrize("name", sorted(CASES.keys() - {"rotate", "rotate --push"}))
def test_a_command_survives_interrupts(failing: Path, tmp_path: Path, name: str, how: str) -> None:
    """The same for the other commands, at some of their operations."""
    with sweep(name, tmp_path, failing) as commands:
        commands.run(how, most=10)
    print(name, how, commands.figures)
