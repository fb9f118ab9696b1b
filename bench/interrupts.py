"""
Interrupt the commands of a large vault at a terminal with Ctrl-C, at many moments: `make life`.

    python bench/interrupts.py [--keys N] [--strikes K] [--only STEP…] [--chain]

Each step is a command that runs under its own pseudo-terminal. First it runs to its end, which gives the seconds, the
memory of all processes together, the number of distinct states of progress bars, and the longest time without new
output. Then it runs several times and is interrupted: during Python's start, and at moments that are spread over the
whole run. The program checks the result each time, at once and after the next complete run of the same command. With
--chain, the next interrupted run takes the place of the complete one, and only the last run is complete: a step of a
vault of 100,000 keys takes minutes. Writes build/bench/life.json and prints a table; the exit code is 1 if there was
harm.

Harm is: an exit code other than 130, a traceback, a repository that `git fsck` refuses, a commit or a site that is
neither the old nor the complete new one, a failing next run, and leftovers after that run. Durations are never harm.
"""

from __future__ import annotations

import argparse
import contextlib
import errno
import fcntl
import hashlib
import json
import os
import pty
import re
import select
import shutil
import signal
import struct
import subprocess
import sys
import tempfile
import termios
import time
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import scale
import sites
from fixtures import BUILD, QUICK, Workspace, environment
from measure import log
from memory import Watch

#: When the cryptoperiod of all active keys in the cached vaults has ended: every set is due, once.
NOW = "2026-04-08T02:00:00+00:00"
#: The installed command under a fixed clock. CLOCKED of fixtures.py loads the modules before the code that handles
#: Ctrl-C during the start; here the clock is set as soon as its module is loaded.
_CLOCKED = f"""
import importlib.util, sys
class Clock:
    def find_spec(self, name, path=None, target=None):
        if name == "keyvault.cli.main":
            sys.meta_path.remove(self)
            spec = importlib.util.find_spec(name)
            load = spec.loader.exec_module
            def exec_module(module):
                from datetime import datetime
                load(module)
                module.clock = lambda: datetime.fromisoformat({NOW!r})
            spec.loader.exec_module = exec_module
            return spec
sys.meta_path.insert(0, Clock())
from keyvault.__main__ import main
main()
"""
#: A test of this program inserts harmful code before it.
CLOCKED = (sys.executable, "-c", os.environ.get("INTERRUPTS_PRELUDE", "") + _CLOCKED)
#: After one rotation each set has three: next, active and retiring.
KEYS_A_SET = 3
#: The exit code that a shell reports after Ctrl-C, and that of a process before Python has set its signal handler.
INTERRUPTED = (130, -signal.SIGINT)
#: In seconds: a moment at which Python still loads modules, and the time limit for an interrupted command to end.
EARLY, PATIENCE = 0.1, 300.0
#: A progress bar of rich, without escapes: the task, the percentage, the remaining time.
_BAR = re.compile(r"(\w[\w ]*?) +[━╸╺ ]+ *(\d+)% ")
_ESCAPE = re.compile(r"\x1b\[[0-9;?]*[A-Za-z]")
_FRAME = re.compile(r'^\s*File "(.+?)"', re.MULTILINE)


# --- a terminal ----------------------------------------------------------------------------------------------


@dataclass
class Run:
    """
    The result of a run at the terminal.

    Attributes:
        code: Exit code; negative if a signal ended it.
        seconds: From start to end.
        states: Distinct states of progress bars.
        still: The longest time without new output, in seconds.
        together: Peak memory of all processes together, in MiB; None if it was not watched.
        interrupted_at: When Ctrl-C was typed, in seconds from the start; None if the run ended before.
        text: The output, without escapes.
    """

    code: int = 0
    seconds: float = 0.0
    states: int = 0
    still: float = 0.0
    together: float | None = None
    interrupted_at: float | None = None
    text: str = field(default="", repr=False)


def _take_terminal() -> None:
    """Make stdin the terminal of the new session, and reset its signals to the defaults, as a shell does."""
    fcntl.ioctl(0, termios.TIOCSCTTY, 0)
    for number in (signal.SIGINT, signal.SIGQUIT, signal.SIGHUP):
        signal.signal(number, signal.SIG_DFL)


def run_at_terminal(
    command: Sequence[str],
    folder: Path,
    environ: dict[str, str],
    *,
    interrupt_at: float | None = None,
    watched: bool = False,
) -> Run:
    """Run *command* at its own terminal; type Ctrl-C after *interrupt_at* seconds."""
    ours, theirs = pty.openpty()
    fcntl.ioctl(theirs, termios.TIOCSWINSZ, struct.pack("HHHH", 30, 100, 0, 0))
    begun = time.monotonic()
    process = subprocess.Popen(
        command,
        cwd=folder,
        env={**environ, "TERM": "xterm-256color"},
        stdin=theirs,
        stdout=theirs,
        stderr=theirs,
        start_new_session=True,
        preexec_fn=_take_terminal,  # no thread of ours runs yet
    )
    os.close(theirs)
    watch = Watch(process.pid) if watched else None
    done, screen, deadline = Run(), _Screen(begun), None
    for data in _read(ours, process):
        now = time.monotonic()
        screen.show(data, now)
        if interrupt_at is not None and done.interrupted_at is None and now - begun >= interrupt_at:
            os.write(ours, b"\x03")
            done.interrupted_at, deadline = now - begun, now + PATIENCE
        if deadline is not None and now > deadline:
            process.kill()
    done.code = process.wait()
    ended = time.monotonic()
    done.together = watch.end() if watch else None
    done.seconds, done.still = ended - begun, max(screen.still, ended - screen.moved)
    done.states, done.text = len(screen.bars), screen.text()
    os.close(ours)
    return done


def _read(terminal: int, process: subprocess.Popen[bytes]) -> Iterator[bytes]:
    """Yield the output at *terminal*, and empty bytes every 20 ms without output, until *process* has ended."""
    while True:
        ended = process.poll() is not None
        ready, _, _ = select.select([terminal], [], [], 0 if ended else 0.02)
        if not ready:
            if ended:
                return
            yield b""
            continue
        try:
            data = os.read(terminal, 65_536)
        except OSError as error:
            if error.errno != errno.EIO:
                raise
            data = b""
        if not data:  # the process has closed it, or is about to end
            with contextlib.suppress(subprocess.TimeoutExpired):
                process.wait(0.02)
            if process.poll() is not None:
                return
        yield data


class _Screen:
    """Collects the output at a terminal, and the times at which it was new."""

    def __init__(self, begun: float) -> None:
        self.moved, self.still = begun, 0.0
        self.bars: set[tuple[str, str]] = set()
        self._seen: set[str] = set()
        self._open, self._lines = "", list[str]()

    def show(self, data: bytes, now: float) -> None:
        if not data:
            return
        # A read may end within a character: that only adds a state of the screen.
        *whole, self._open = re.split(r"[\r\n]", self._open + _ESCAPE.sub("", data.decode(errors="replace")))
        for line in (*whole, self._open):
            line = line.strip()
            if not line or line in self._seen:
                continue
            self._seen.add(line)
            bar = _BAR.search(line)
            if bar:
                self.bars.add((bar[1], bar[2]))
            self.still, self.moved = max(self.still, now - self.moved), now
        self._lines += (line for line in whole if line and not _BAR.search(line))

    def text(self) -> str:
        return "\n".join([*self._lines, self._open])


# --- state after a run ---------------------------------------------------------------------------------------


def file_stats_digest(folder: Path) -> str:
    """Return a digest of the files of *folder*: names, sizes, times and inodes. Equal digests mean untouched files."""
    found = []
    for place, _, names in os.walk(folder):
        for name in names:
            status = os.lstat(f"{place}/{name}")
            found.append((f"{place}/{name}", status.st_size, status.st_mtime_ns, status.st_ino))
    return hashlib.sha256(repr(sorted(found)).encode()).hexdigest()


def content_digest(folder: Path) -> str:
    """Return a digest of the files of *folder*: names and bytes."""
    digest = hashlib.sha256()
    for place, folders, names in os.walk(folder):
        folders.sort()
        for name in sorted(names):
            data = Path(place, name).read_bytes()
            digest.update(f"{place.removeprefix(str(folder))}/{name}\0{len(data)}\0".encode() + data)
    return digest.hexdigest()


def leftovers(*folders: Path) -> list[str]:
    """Return the files in *folders* that an interrupted command left, and that no later command needs."""
    found = []
    for top in folders:
        for place, _, names in os.walk(top):
            inside = ".git/" in f"{place}/" or (top / "HEAD").is_file()
            found += [f"{place}/{name}" for name in names if name.endswith(".keyvault-new")]
            if inside:
                # The lock file of the clone stays: the lock is on the file, not its existence.
                locks = [name for name in names if name.endswith(".lock") and name != "keyvault.lock"]
                begun = [name for name in names if name.startswith(("tmp_pack_", "tmp_idx_", "tmp_obj_", "tmp_rev_"))]
                journals = [name for name in names if name.startswith("keyvault.journal")]
                found += [f"{place}/{name}" for name in (*locks, *begun, *journals)]
    return found


def leftovers_beside(site: Path) -> list[str]:
    """Return the files beside *site* that keyvault left, except the spare, which stays on purpose."""
    spare = f".{site.name}.keyvault-spare"
    return [str(path) for path in site.parent.glob(f".{site.name}.*") if path.name != spare]


def tracebacks(text: str) -> tuple[bool, bool]:
    """Return whether *text* has a traceback, and whether a frame of it is in keyvault."""
    if "Traceback (most recent call last)" not in text and not re.search(r"^KeyboardInterrupt\b", text, re.MULTILINE):
        return False, False
    package = f"{os.sep}keyvault{os.sep}"
    return True, any(package in f"{Path(name)}" for name in _FRAME.findall(text))


# --- steps ---------------------------------------------------------------------------------------------------


@dataclass
class Interrupt:
    """
    The result of an interrupted run.

    Attributes:
        at: When Ctrl-C was typed, in seconds from the start; None if the command ended before.
        code: Its exit code.
        ending: Seconds from Ctrl-C to its end.
        state: The state after it: ``old``, ``new``, or something else, which is harm.
        notes: Observations that are no harm.
        harm: The harm that was found.
        screen: The end of the output, if there was harm.
    """

    at: float | None
    code: int
    ending: float
    state: str = "old"
    notes: list[str] = field(default_factory=list)
    harm: list[str] = field(default_factory=list)
    screen: str = ""


class Step:
    """A command with the checks after it. The base class is for commands that write nothing."""

    name = ""
    about = ""

    def __init__(self, scenario: Scenario) -> None:
        self.scenario = scenario

    def first_command(self) -> list[str]:
        """Return the command of the first, complete run."""
        return self.command()

    def command(self) -> list[str]:
        """Return the command that is interrupted, and then runs again."""
        return [*CLOCKED, "--vault", str(self.scenario.vault), *self.arguments()]

    def arguments(self) -> list[str]:
        return [self.name]

    def prepare(self) -> None:
        """Bring the vault into a state in which `command` has work to do."""
        self._head = self.scenario.git("rev-parse", "HEAD")

    def state(self, harm: list[str]) -> str:
        """Return whether the state is ``old`` or ``new``, and add to *harm*."""
        if self.scenario.git("rev-parse", "HEAD") != self._head:
            harm.append("HEAD is another commit")
        return "old"

    def check_finished(self, harm: list[str]) -> None:
        """Add to *harm* after a complete run."""
        self.scenario.check_vault(harm)


class Rotate(Step):
    name = "rotate"
    about = "rotate --due: every set is due"

    def arguments(self) -> list[str]:
        return ["rotate", "--due"]

    def prepare(self) -> None:
        if self.scenario.git("rev-parse", "HEAD") != self.scenario.old:
            self.scenario.git("reset", "--quiet", "--hard", self.scenario.old)

    def state(self, harm: list[str]) -> str:
        scenario = self.scenario
        scenario.fsck(scenario.vault, harm)
        if scenario.git("rev-parse", "HEAD") == scenario.old:
            return "old"
        if scenario.git("rev-parse", "HEAD^") != scenario.old:
            harm.append("HEAD is neither the old commit nor the one after it")
            return "neither"
        written = scenario.git("log", "-1", "--format=%B").count("Keyvault-Event: created ")
        records = sum(
            1 for line in scenario.git("ls-tree", "-r", "--name-only", "HEAD").splitlines() if "/set-" in line
        )
        if (written, records) != (scenario.sets, scenario.sets * (KEYS_A_SET + 1)):
            harm.append(f"a new commit with {written} new keys and {records} records, in {scenario.sets} sets")
        return "new"

    def check_finished(self, harm: list[str]) -> None:
        super().check_finished(harm)
        if self.state(harm) != "new":
            harm.append("a complete run has not rotated")


class Render(Step):
    """Renders the old and the new commit alternately, each over the other."""

    name = "render"
    about = "render, of every set, over the site of another commit"

    def __init__(self, scenario: Scenario) -> None:
        super().__init__(scenario)
        self.site = scenario.workspace.path(f"www-{self.name}") / "site"
        self._shown: str | None = None
        self._picture = ""
        self._contents: dict[str, str] = {}
        #: The commit that the next run renders.
        self._target = scenario.old

    def arguments(self) -> list[str]:
        return ["render", "--output", str(self.site), "--ref", self._target]

    def first_command(self) -> list[str]:
        self._target = self.scenario.old
        return self.command()

    def prepare(self) -> None:
        super().prepare()
        self._target = self.scenario.new if self._shown == self.scenario.old else self.scenario.old
        self._picture = file_stats_digest(self.site)

    def state(self, harm: list[str]) -> str:
        super().state(harm)
        if file_stats_digest(self.site) == self._picture:
            return "old"
        self._compare_site(harm)
        return "new"

    def _compare_site(self, harm: list[str]) -> None:
        """Compare the site with an earlier one of the same commit."""
        shown = json.loads((self.site / "history.json").read_bytes())["commit"]
        if shown != self._target:
            harm.append("the site is neither the old one nor that of the commit")
        found = content_digest(self.site)
        if self._contents.setdefault(self._target, found) != found:
            harm.append("the site differs from an earlier site of the same commit")
        self._shown = self._target

    def check_finished(self, harm: list[str]) -> None:
        super().check_finished(harm)
        self._compare_site(harm)
        harm += [f"left over: {Path(path).name}" for path in leftovers_beside(self.site)]


class PublishFolder(Render):
    name = "publish-folder"
    about = "publish FOLDER, of every set, over the site of another commit"

    def arguments(self) -> list[str]:
        # --force, because every second run goes back to an older commit.
        return ["publish", str(self.site), "--ref", self._target, "--force"]


class PublishBranch(Step):
    name = "publish"
    about = "publish branch:gh-pages, to a bare repository"

    def __init__(self, scenario: Scenario) -> None:
        super().__init__(scenario)
        self.remote = scenario.workspace.path("remotes") / "origin.git"
        self._old, self._tree = "", ""

    def first_command(self) -> list[str]:
        scenario = self.scenario
        scenario.workspace.run("git", "init", "--quiet", "--bare", self.remote)
        scenario.git("remote", "add", "origin", str(self.remote))
        return [*CLOCKED, "--vault", str(scenario.vault), "publish", "branch:gh-pages", "--ref", scenario.old]

    def arguments(self) -> list[str]:
        return ["publish", "branch:gh-pages"]

    def _at(self, revision: str) -> str:
        return self.scenario.git("rev-parse", "--verify", revision, folder=self.remote)

    def prepare(self) -> None:
        super().prepare()
        self._old = self._old or self._at("refs/heads/gh-pages")
        self.scenario.git("update-ref", "refs/heads/gh-pages", self._old, folder=self.remote)

    def state(self, harm: list[str]) -> str:
        super().state(harm)
        for folder in (self.scenario.vault, self.remote):
            self.scenario.fsck(folder, harm)
        if self._at("refs/heads/gh-pages") == self._old:
            return "old"
        tree = self._at("refs/heads/gh-pages^{tree}")
        self._tree = self._tree or tree
        if tree != self._tree:
            harm.append("the branch has neither the old site nor the new one")
        return "new"

    def check_finished(self, harm: list[str]) -> None:
        super().check_finished(harm)
        self.scenario.check_leftovers(self.remote, harm)
        if self.state(harm) != "new":
            harm.append("a complete run has not published")


class PublishStore(Step):
    """An interrupt stops an upload between two objects; the next run must complete it."""

    name = "publish-s3"
    about = "publish s3://…, of every set, over the site of another commit"

    def __init__(self, scenario: Scenario) -> None:
        super().__init__(scenario)
        self._environ = sites.object_store(scenario.workspace)
        self._target = scenario.new

    def first_command(self) -> list[str]:
        # The first run uploads the old commit; the first interrupted run starts from there.
        self.scenario.environ.update(self._environ)
        self._target = self.scenario.old
        return self.command()

    def arguments(self) -> list[str]:
        return ["publish", f"s3://{self._environ['BUCKET']}/site", "--ref", self._target, "--force"]

    def prepare(self) -> None:
        super().prepare()
        if not self._missing():
            self._target = self.scenario.new if self._target == self.scenario.old else self.scenario.old

    def _missing(self) -> int:
        """Return the number of missing, outdated and surplus objects."""
        command = [*self.command(), "--dry-run", "--json"]
        done = subprocess.run(
            command, env=self.scenario.environ, cwd=self.scenario.workspace.work, capture_output=True, check=True
        )
        plan = json.loads(done.stdout)
        return len(plan["uploaded"]) + len(plan["deleted"])

    def state(self, harm: list[str]) -> str:
        super().state(harm)
        return "old" if self._missing() else "new"

    def check_finished(self, harm: list[str]) -> None:
        super().check_finished(harm)
        if missing := self._missing():
            harm.append(f"{missing} objects are missing, outdated or surplus")
        left = list(self.scenario.workspace.path("tmp").glob("keyvault-*"))
        harm += [f"left over: {path.name}" for path in left]


class Check(Step):
    name = "check"
    about = "check URL, of a server on the same machine"

    def first_command(self) -> list[str]:
        self.url = sites.served(self.scenario.workspace, self.scenario.rendered())
        return self.command()

    def arguments(self) -> list[str]:
        return ["check", self.url]


class Audit(Step):
    name = about = "audit"


class Status(Step):
    name = about = "status"


STEPS: tuple[type[Step], ...] = (Rotate, Render, PublishBranch, PublishFolder, PublishStore, Check, Audit, Status)


# --- the scenario --------------------------------------------------------------------------------------------


class Scenario:
    """
    A vault and the steps that run on it.

    Attributes:
        vault: A copy of a cached vault, rotated once.
        sets: The number of its sets.
        old: The commit before that rotation.
        new: The commit after it.
        environ: The environment of every command.
    """

    def __init__(self, workspace: Workspace, keys: int, *, chain: bool) -> None:
        self.workspace, self.chain = workspace, chain
        self.sets = -(-keys // KEYS_A_SET)
        self.environ = {**workspace.environ, "TMPDIR": str(workspace.path("tmp"))}
        self.vault = workspace.folder / "vault"
        # All keys of an issuer are in one JWK Set, and verifiers accept 256 KiB.
        kept = workspace.vault(self.sets, "rotated", "issuers")
        log("copying the vault")
        workspace.run("cp", "-a", "--reflink=auto", kept, self.vault)
        self.git("update-index", "-q", "--refresh")
        self.old = self.new = self.git("rev-parse", "HEAD")
        self._site: Path | None = None
        self._known: set[str] = set()

    def git(self, *arguments: str, folder: Path | None = None) -> str:
        """Return the output of git in *folder*, by default the vault."""
        command = ["git", "-c", "gc.auto=0", *arguments]
        done = subprocess.run(
            command, cwd=folder or self.vault, env=self.workspace.environ, check=True, capture_output=True, text=True
        )
        return done.stdout.strip()

    def fsck(self, folder: Path, harm: list[str]) -> None:
        """Add the findings of `git fsck` to *harm*."""
        command = ["git", "fsck", "--full", "--no-dangling", "--no-progress"]
        done = subprocess.run(
            command, cwd=folder, env=self.workspace.environ, capture_output=True, text=True, check=False
        )
        if done.returncode or done.stdout.strip():
            harm.append(f"git fsck: {(done.stdout + done.stderr).strip()[:300]}")

    def changed(self) -> int:
        """Return the number of files in index and working tree that differ from HEAD."""
        return len(self.git("status", "--porcelain").splitlines())

    def check_vault(self, harm: list[str]) -> None:
        """Add differences from HEAD and leftovers in the vault to *harm*, after a complete run."""
        if changed := self.changed():
            harm.append(f"index and working tree differ from HEAD in {changed} files")
        self.check_leftovers(self.vault, harm)

    def check_leftovers(self, folder: Path, harm: list[str]) -> None:
        """Add leftovers in a repository to *harm*, each once: they stay during later steps."""
        left = set(leftovers(folder)) - self._known
        self._known |= left
        harm += [f"left over: {Path(path).relative_to(folder)}, {Path(path).stat().st_size:,} bytes" for path in left]

    def rendered(self) -> Path:
        """Return the site of the current vault, rendered once."""
        if self._site is None:
            self._site = self.workspace.path("served") / "site"
            self.workspace.run(*CLOCKED, "--vault", self.vault, "render", "--output", self._site)
        return self._site

    def rotate(self) -> None:
        """Rotate, unless `Rotate` has done so."""
        if self.git("rev-parse", "HEAD") == self.old:
            log("rotating")
            self.workspace.run(*CLOCKED, "--vault", self.vault, "rotate", "--due")
        self.new = self.git("rev-parse", "HEAD")

    def run(self, command: Sequence[str], *, interrupt_at: float | None = None, watched: bool = False) -> Run:
        return run_at_terminal(command, self.workspace.work, self.environ, interrupt_at=interrupt_at, watched=watched)

    def run_step(self, kind: type[Step], strikes: int) -> dict[str, Any]:
        """Run a step completely, then interrupt it; return all results."""
        if kind is not Rotate:
            self.rotate()
        step = kind(self)
        log(f"{step.name}: complete run")
        command = step.first_command()
        if kind is Rotate:
            step.prepare()
        whole = self.run(command, watched=True)
        harm = [] if whole.code == 0 else [f"ended with {whole.code}: {whole.text[-500:]}"]
        if harm:
            return {"about": step.about, "whole": _run_figures(whole), "strikes": [], "harm": harm}
        if kind is not Rotate and not isinstance(step, Render):
            self.check_vault(harm)
        if isinstance(step, Render):
            step.prepare()
            step._target = self.old
            step._compare_site(harm)
        seconds, interrupts = whole.seconds, list[Interrupt]()
        for number in range(strikes):
            last = number + 1 == strikes
            if not self.chain or number == 0 or interrupts[-1].state == "new":
                step.prepare()
            at = interrupt_time(number, strikes, seconds)
            log(f"{step.name}: Ctrl-C after {at:.2f} s of {seconds:.1f}, {number + 1} of {strikes}")
            interrupted = self._interrupt(step, at)
            interrupts.append(interrupted)
            if self.chain and not last and interrupted.state == "old":
                continue
            after = self.run(step.command())
            if after.code != 0:
                interrupted.harm.append(f"the next run ended with {after.code}: {after.text[-500:]}")
            elif interrupted.state == "old":
                seconds = after.seconds
            step.check_finished(interrupted.harm)
            for text in interrupted.harm:
                log(f"{step.name}: HARM: {text}")
        return {
            "about": step.about,
            "whole": _run_figures(whole),
            "strikes": list(map(asdict, interrupts)),
            "harm": harm,
        }

    def _interrupt(self, step: Step, at: float) -> Interrupt:
        done = self.run(step.command(), interrupt_at=at)
        interrupted = Interrupt(done.interrupted_at, done.code, done.seconds - (done.interrupted_at or done.seconds))
        if done.interrupted_at is None or done.code == 0:
            interrupted.notes.append("ended before")
        elif done.code not in INTERRUPTED:
            interrupted.harm.append(f"exit code {done.code}")
        there, ours = tracebacks(done.text)
        if ours:
            interrupted.harm.append("traceback")
        elif there:
            interrupted.notes.append("traceback of Python's own start")
        interrupted.state = step.state(interrupted.harm)
        if changed := self.changed():
            interrupted.notes.append(f"{changed} files behind HEAD until the next run")
        left = sorted(set(leftovers(self.vault)) - self._known)
        interrupted.notes += [f"until the next run: {Path(name).name}" for name in left[:5]]
        if interrupted.harm or there:
            interrupted.screen = done.text[-1500:]
        return interrupted


def interrupt_time(number: int, strikes: int, seconds: float) -> float:
    """Return when to interrupt run *number*: the first in Python's start, the last near the end, others between."""
    if number == 0:
        return min(EARLY, seconds / 2)
    rest = strikes - 1
    return seconds * (0.97 if number == rest and rest > 2 else number / (rest + 1))


def _run_figures(run: Run) -> dict[str, Any]:
    figures = asdict(run)
    del figures["text"], figures["interrupted_at"]
    return figures


def table(steps: dict[str, dict[str, Any]]) -> Iterator[str]:
    """Yield the lines of a table with all *steps*."""
    row = "{:15} {:>8} {:>8} {:>6} {:>7} {:>8} {:>7} {:>6}"
    yield row.format("step", "seconds", "MiB", "states", "still", "strikes", "ending", "harm")
    for name, step in steps.items():
        whole, strikes = step["whole"], step["strikes"]
        ending = max((strike["ending"] for strike in strikes), default=0.0)
        harm = len(step["harm"]) + sum(len(strike["harm"]) for strike in strikes)
        cells = (f"{whole['seconds']:.1f}", f"{whole['together'] or 0:.0f}", whole["states"], f"{whole['still']:.1f}")
        yield row.format(name, *cells, len(strikes), f"{ending:.2f}", harm)


def main() -> int:
    """Run the chosen steps, and return the exit code."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").strip().splitlines()[0])
    parser.add_argument("--keys", type=int, default=100_000)
    parser.add_argument("--strikes", type=int, default=8)
    parser.add_argument("--only", nargs="+", metavar="STEP", choices=[kind.name for kind in STEPS])
    parser.add_argument("--chain", action="store_true", help="a complete run follows only the last interrupted run")
    parser.add_argument("--record", action="store_true", help="store the figures in bench/scale.json, for the page")
    parser.add_argument("--output", type=Path, default=BUILD / "life.json")
    parser.add_argument("--folder", type=Path, default=BUILD, help="folder for copies and sites, a million files")
    asked = parser.parse_args()
    kept = BUILD / "vaults"
    kept.mkdir(parents=True, exist_ok=True)
    folder = Path(tempfile.mkdtemp(prefix="life-", dir=asked.folder))
    workspace = Workspace(folder, kept, environment(kept, BUILD / "bytecode"), QUICK)
    found: dict[str, dict[str, Any]] = {}
    try:
        scenario = Scenario(workspace, asked.keys, chain=asked.chain)
        for kind in STEPS:
            if asked.only and kind.name not in asked.only:
                continue
            with workspace.closing:
                found[kind.name] = scenario.run_step(kind, asked.strikes)
            asked.output.write_text(json.dumps({"sets": scenario.sets, "chain": asked.chain, "steps": found}, indent=1))
    finally:
        shutil.rmtree(folder, ignore_errors=True)
    if asked.record:
        size = str(scenario.sets * KEYS_A_SET)
        # Steps that were not chosen keep their earlier figures.
        before = scale.read().get("life", {}).get(size, {})
        scale.record("life", {size: {**before, **scale.interrupt_figures(found)}})
    print("\n".join(table(found)))
    harms = [
        f"{name}, Ctrl-C after {strike['at']}: {text}\n{strike['screen']}"
        for name, step in found.items()
        for strike in [{"at": None, "screen": "", "harm": step["harm"]}, *step["strikes"]]
        for text in strike["harm"]
    ]
    print("\n".join(harms))
    return 1 if harms else 0


if __name__ == "__main__":
    sys.exit(main())
