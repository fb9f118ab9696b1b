"""
Go through the life of a large vault at a terminal, and strike Ctrl-C at all moments of it: `make life`.

    python bench/interrupts.py [--keys N] [--strikes K] [--only STEP…] [--chain]

Each step is a command as somebody types it, under a pseudo-terminal of its own. It is run whole, which gives the
seconds, what all processes hold together, how many states of a progress bar were seen, and the longest time in which
nothing new was on the screen. Then it is run again and again, and interrupted: in Python's start, and at moments that
are spread over the whole of it. Each time what it left is looked at, at once and after the next run of the same
command. With --chain the next run is the next one that is interrupted, and only the last is run to its end: a step of a
vault of 100,000 keys takes minutes. Writes build/bench/life.json and prints a table; exits with 1 where there was harm.

Harm is: another exit code than 130, a traceback, a repository that `git fsck` refuses, a commit that is neither the old
one nor a whole new one, a site that is neither, a next run that fails, and what is left over behind that. How long
anything takes is never harm.
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

#: When the active keys of the kept vaults have reached the end of their cryptoperiod: everything is due, once.
NOW = "2026-04-08T02:00:00+00:00"
#: What the installed command does, under a clock that stands still. CLOCKED of fixtures.py loads the modules first,
#: outside of what answers Ctrl-C in the start; here the clock is set as soon as its module is loaded.
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
#: A test of this program puts something harmful before it.
CLOCKED = (sys.executable, "-c", os.environ.get("INTERRUPTS_PRELUDE", "") + _CLOCKED)
#: After one rotation each set has three: next, active and retiring.
KEYS_A_SET = 3
#: What a shell reports for a process that Ctrl-C ended, and how one ends which Python has not yet taken the signal of.
INTERRUPTED = (130, -signal.SIGINT)
#: In seconds: when Python is still loading modules, and how long an interrupted command may take to end.
EARLY, PATIENCE = 0.1, 300.0
#: A bar of rich, without its escapes: what is done, how much of it, how long it will take.
_BAR = re.compile(r"(\w[\w ]*?) +[━╸╺ ]+ *(\d+)% ")
_ESCAPE = re.compile(r"\x1b\[[0-9;?]*[A-Za-z]")
_FRAME = re.compile(r'^\s*File "(.+?)"', re.MULTILINE)


# --- a terminal ----------------------------------------------------------------------------------------------


@dataclass
class Run:
    """
    What one run at the terminal was like.

    Attributes:
        code: Exit code; negative where a signal ended it.
        seconds: From start to end.
        states: Distinct states of progress bars.
        still: The longest time in which nothing new was on the screen, in seconds.
        together: What all processes held together at most, in MiB; None where that was not watched.
        struck: When Ctrl-C was typed, in seconds from the start; None where it ended before.
        text: What was on the screen, without escapes.
    """

    code: int = 0
    seconds: float = 0.0
    states: int = 0
    still: float = 0.0
    together: float | None = None
    struck: float | None = None
    text: str = field(default="", repr=False)


def _take_terminal() -> None:
    """Make stdin the terminal of the new session, and let its signals be what they are for a program in a shell."""
    fcntl.ioctl(0, termios.TIOCSCTTY, 0)
    for number in (signal.SIGINT, signal.SIGQUIT, signal.SIGHUP):
        signal.signal(number, signal.SIG_DFL)


def at_terminal(
    command: Sequence[str], folder: Path, environ: dict[str, str], *, strike: float | None = None, watched: bool = False
) -> Run:
    """Run *command* at a terminal of its own; type Ctrl-C after *strike* seconds."""
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
        if strike is not None and done.struck is None and now - begun >= strike:
            os.write(ours, b"\x03")
            done.struck, deadline = now - begun, now + PATIENCE
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
    """Yield what comes from *terminal*, and nothing every 20 ms in which nothing comes, until *process* has ended."""
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
        if not data:  # nobody has it open any more: the process is about to end, or has closed it
            with contextlib.suppress(subprocess.TimeoutExpired):
                process.wait(0.02)
            if process.poll() is not None:
                return
        yield data


class _Screen:
    """Takes what comes to a terminal, and tells what of it had not been there before."""

    def __init__(self, begun: float) -> None:
        self.moved, self.still = begun, 0.0
        self.bars: set[tuple[str, str]] = set()
        self._seen: set[str] = set()
        self._open, self._lines = "", list[str]()

    def show(self, data: bytes, now: float) -> None:
        if not data:
            return
        # A letter may be cut in two between two reads: it is one more state of the screen then, and no harm.
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


# --- what is left --------------------------------------------------------------------------------------------


def picture(folder: Path) -> str:
    """Return a digest of the files of *folder*: names, sizes, times and inodes. The same picture is the same files."""
    found = []
    for place, _, names in os.walk(folder):
        for name in names:
            status = os.lstat(f"{place}/{name}")
            found.append((f"{place}/{name}", status.st_size, status.st_mtime_ns, status.st_ino))
    return hashlib.sha256(repr(sorted(found)).encode()).hexdigest()


def content(folder: Path) -> str:
    """Return a digest of the files of *folder*: names and bytes."""
    digest = hashlib.sha256()
    for place, folders, names in os.walk(folder):
        folders.sort()
        for name in sorted(names):
            data = Path(place, name).read_bytes()
            digest.update(f"{place.removeprefix(str(folder))}/{name}\0{len(data)}\0".encode() + data)
    return digest.hexdigest()


def leftovers(*folders: Path) -> list[str]:
    """Return what an interrupted command left in *folders* that no later one needs."""
    found = []
    for top in folders:
        for place, _, names in os.walk(top):
            inside = ".git/" in f"{place}/" or (top / "HEAD").is_file()
            found += [f"{place}/{name}" for name in names if name.endswith(".keyvault-new")]
            if inside:
                # The lock of the clone is a file that stays; what is locked is the file, not its name.
                locks = [name for name in names if name.endswith(".lock") and name != "keyvault.lock"]
                begun = [name for name in names if name.startswith(("tmp_pack_", "tmp_idx_", "tmp_obj_", "tmp_rev_"))]
                journals = [name for name in names if name.startswith("keyvault.journal")]
                found += [f"{place}/{name}" for name in (*locks, *begun, *journals)]
    return found


def beside(site: Path) -> list[str]:
    """Return what stands beside *site* under a name of ours, but the spare, which is meant to stay."""
    spare = f".{site.name}.keyvault-spare"
    return [str(one) for one in site.parent.glob(f".{site.name}.*") if one.name != spare]


def tracebacks(text: str) -> tuple[bool, bool]:
    """Return whether there is a traceback on the screen, and whether a frame of it is one of keyvault."""
    if "Traceback (most recent call last)" not in text and not re.search(r"^KeyboardInterrupt\b", text, re.MULTILINE):
        return False, False
    package = f"{os.sep}keyvault{os.sep}"
    return True, any(package in f"{Path(name)}" for name in _FRAME.findall(text))


# --- steps ---------------------------------------------------------------------------------------------------


@dataclass
class Strike:
    """
    One interruption.

    Attributes:
        at: When Ctrl-C was typed, in seconds from the start; None where the command ended before.
        code: How it ended.
        ending: How long it took to end from then on.
        state: What was there then: ``old``, ``new``, or something else, which is harm.
        notes: What is worth knowing and no harm.
        harm: What must not be.
        screen: The end of what was on the screen, where there was harm.
    """

    at: float | None
    code: int
    ending: float
    state: str = "old"
    notes: list[str] = field(default_factory=list)
    harm: list[str] = field(default_factory=list)
    screen: str = ""


class Step:
    """A command, and what must be so after it. This one writes nothing: all stays as it is."""

    name = ""
    about = ""

    def __init__(self, life: Life) -> None:
        self.life = life

    def first(self) -> list[str]:
        """Return the command that is run whole."""
        return self.again()

    def again(self) -> list[str]:
        """Return the command that is interrupted, and run once more behind that."""
        return [*CLOCKED, "--vault", str(self.life.vault), *self.arguments()]

    def arguments(self) -> list[str]:
        return [self.name]

    def prepare(self) -> None:
        """Bring all to where there is something to do for `again`."""
        self._head = self.life.git("rev-parse", "HEAD")

    def state(self, harm: list[str]) -> str:
        """Return whether what is there is ``old`` or ``new``, and say in *harm* what must not be."""
        if self.life.git("rev-parse", "HEAD") != self._head:
            harm.append("HEAD is another commit")
        return "old"

    def settled(self, harm: list[str]) -> None:
        """Say in *harm* what must not be after a run that went to its end."""
        self.life.look(harm)


class Rotate(Step):
    name = "rotate"
    about = "rotate --due: every set is due"

    def arguments(self) -> list[str]:
        return ["rotate", "--due"]

    def prepare(self) -> None:
        if self.life.git("rev-parse", "HEAD") != self.life.old:
            self.life.git("reset", "--quiet", "--hard", self.life.old)

    def state(self, harm: list[str]) -> str:
        life = self.life
        life.fsck(life.vault, harm)
        if life.git("rev-parse", "HEAD") == life.old:
            return "old"
        if life.git("rev-parse", "HEAD^") != life.old:
            harm.append("HEAD is neither the old commit nor the one after it")
            return "neither"
        written = life.git("log", "-1", "--format=%B").count("Keyvault-Event: created ")
        records = sum(1 for line in life.git("ls-tree", "-r", "--name-only", "HEAD").splitlines() if "/set-" in line)
        if (written, records) != (life.sets, life.sets * (KEYS_A_SET + 1)):
            harm.append(f"a new commit with {written} new keys and {records} records, in {life.sets} sets")
        return "new"

    def settled(self, harm: list[str]) -> None:
        super().settled(harm)
        if self.state(harm) != "new":
            harm.append("a run to its end has not rotated")


class Render(Step):
    """Renders the old and the new commit in turns, each over the other."""

    name = "render"
    about = "render, of every set, over the site of another commit"

    def __init__(self, life: Life) -> None:
        super().__init__(life)
        self.site = life.workspace.path(f"www-{self.name}") / "site"
        self._shown: str | None = None
        self._picture = ""
        self._contents: dict[str, str] = {}
        #: What a strike left that is not the old site: its digest, and what it should be the site of.
        self._target = life.old

    def arguments(self) -> list[str]:
        return ["render", "--output", str(self.site), "--ref", self._target]

    def first(self) -> list[str]:
        self._target = self.life.old
        return self.again()

    def prepare(self) -> None:
        super().prepare()
        self._target = self.life.new if self._shown == self.life.old else self.life.old
        self._picture = picture(self.site)

    def state(self, harm: list[str]) -> str:
        super().state(harm)
        if picture(self.site) == self._picture:
            return "old"
        self._take(harm)
        return "new"

    def _take(self, harm: list[str]) -> None:
        """Hold the site against what the same commit gave another time."""
        shown = json.loads((self.site / "history.json").read_bytes())["commit"]
        if shown != self._target:
            harm.append("the site is neither as it was nor that of the commit")
        found = content(self.site)
        if self._contents.setdefault(self._target, found) != found:
            harm.append("the site of a commit is not what it is at other times")
        self._shown = self._target

    def settled(self, harm: list[str]) -> None:
        super().settled(harm)
        self._take(harm)
        harm += [f"left over: {Path(one).name}" for one in beside(self.site)]


class PublishFolder(Render):
    name = "publish-folder"
    about = "publish FOLDER, of every set, over the site of another commit"

    def arguments(self) -> list[str]:
        # Every other time it goes back to an older commit.
        return ["publish", str(self.site), "--ref", self._target, "--force"]


class PublishBranch(Step):
    name = "publish"
    about = "publish branch:gh-pages, to a bare repository"

    def __init__(self, life: Life) -> None:
        super().__init__(life)
        self.remote = life.workspace.path("remotes") / "origin.git"
        self._old, self._tree = "", ""

    def first(self) -> list[str]:
        life = self.life
        life.workspace.run("git", "init", "--quiet", "--bare", self.remote)
        life.git("remote", "add", "origin", str(self.remote))
        return [*CLOCKED, "--vault", str(life.vault), "publish", "branch:gh-pages", "--ref", life.old]

    def arguments(self) -> list[str]:
        return ["publish", "branch:gh-pages"]

    def _at(self, revision: str) -> str:
        return self.life.git("rev-parse", "--verify", revision, folder=self.remote)

    def prepare(self) -> None:
        super().prepare()
        self._old = self._old or self._at("refs/heads/gh-pages")
        self.life.git("update-ref", "refs/heads/gh-pages", self._old, folder=self.remote)

    def state(self, harm: list[str]) -> str:
        super().state(harm)
        for folder in (self.life.vault, self.remote):
            self.life.fsck(folder, harm)
        if self._at("refs/heads/gh-pages") == self._old:
            return "old"
        tree = self._at("refs/heads/gh-pages^{tree}")
        self._tree = self._tree or tree
        if tree != self._tree:
            harm.append("the branch has neither the old site nor the new one")
        return "new"

    def settled(self, harm: list[str]) -> None:
        super().settled(harm)
        self.life.remains(self.remote, harm)
        if self.state(harm) != "new":
            harm.append("a run to its end has not published")


class PublishStore(Step):
    """An upload is cut off between two objects: what counts is that the next run completes it."""

    name = "publish-s3"
    about = "publish s3://…, of every set, over the site of another commit"

    def __init__(self, life: Life) -> None:
        super().__init__(life)
        self._environ = sites.object_store(life.workspace)
        self._target = life.new

    def first(self) -> list[str]:
        # It has an upload of its own, of the commit before; the first strike goes on from there.
        self.life.environ.update(self._environ)
        self._target = self.life.old
        return self.again()

    def arguments(self) -> list[str]:
        return ["publish", f"s3://{self._environ['BUCKET']}/site", "--ref", self._target, "--force"]

    def prepare(self) -> None:
        super().prepare()
        if not self._missing():
            self._target = self.life.new if self._target == self.life.old else self.life.old

    def _missing(self) -> int:
        """Return how many objects are not as they should be."""
        command = [*self.again(), "--dry-run", "--json"]
        done = subprocess.run(
            command, env=self.life.environ, cwd=self.life.workspace.work, capture_output=True, check=True
        )
        told = json.loads(done.stdout)
        return len(told["uploaded"]) + len(told["deleted"])

    def state(self, harm: list[str]) -> str:
        super().state(harm)
        return "old" if self._missing() else "new"

    def settled(self, harm: list[str]) -> None:
        super().settled(harm)
        if missing := self._missing():
            harm.append(f"{missing} objects are not as they should be")
        left = list(self.life.workspace.path("tmp").glob("keyvault-*"))
        harm += [f"left over: {one.name}" for one in left]


class Check(Step):
    name = "check"
    about = "check URL, of a server on the same machine"

    def first(self) -> list[str]:
        self.url = sites.served(self.life.workspace, self.life.rendered())
        return self.again()

    def arguments(self) -> list[str]:
        return ["check", self.url]


class Audit(Step):
    name = about = "audit"


class Status(Step):
    name = about = "status"


STEPS: tuple[type[Step], ...] = (Rotate, Render, PublishBranch, PublishFolder, PublishStore, Check, Audit, Status)


# --- the life ------------------------------------------------------------------------------------------------


class Life:
    """
    A vault, and what becomes of it.

    Attributes:
        vault: A copy of one that is kept, rotated once.
        sets: How many it has.
        old: The commit before that rotation.
        new: The commit after it.
        environ: The environment of every command.
    """

    def __init__(self, workspace: Workspace, keys: int, *, chain: bool) -> None:
        self.workspace, self.chain = workspace, chain
        self.sets = -(-keys // KEYS_A_SET)
        self.environ = {**workspace.environ, "TMPDIR": str(workspace.path("tmp"))}
        self.vault = workspace.folder / "vault"
        # All keys of an issuer stand in one JWK Set, and verifiers take 256 KiB of it.
        kept = workspace.vault(self.sets, "rotated", "issuers")
        log("copying the vault")
        workspace.run("cp", "-a", "--reflink=auto", kept, self.vault)
        self.git("update-index", "-q", "--refresh")
        self.old = self.new = self.git("rev-parse", "HEAD")
        self._site: Path | None = None
        self._known: set[str] = set()

    def git(self, *arguments: str, folder: Path | None = None) -> str:
        """Return what git prints in *folder*, the vault where none is named."""
        command = ["git", "-c", "gc.auto=0", *arguments]
        done = subprocess.run(
            command, cwd=folder or self.vault, env=self.workspace.environ, check=True, capture_output=True, text=True
        )
        return done.stdout.strip()

    def fsck(self, folder: Path, harm: list[str]) -> None:
        """Say in *harm* what git finds wrong with a repository."""
        command = ["git", "fsck", "--full", "--no-dangling", "--no-progress"]
        done = subprocess.run(
            command, cwd=folder, env=self.workspace.environ, capture_output=True, text=True, check=False
        )
        if done.returncode or done.stdout.strip():
            harm.append(f"git fsck: {(done.stdout + done.stderr).strip()[:300]}")

    def changed(self) -> int:
        """Return how many files of index and work tree are not as in HEAD."""
        return len(self.git("status", "--porcelain").splitlines())

    def look(self, harm: list[str]) -> None:
        """Say in *harm* what must not be in the vault after a run that went to its end."""
        if changed := self.changed():
            harm.append(f"index and work tree differ from HEAD in {changed} files")
        self.remains(self.vault, harm)

    def remains(self, folder: Path, harm: list[str]) -> None:
        """Say in *harm* what is left over in a repository, once: later steps have to live with it."""
        left = set(leftovers(folder)) - self._known
        self._known |= left
        harm += [f"left over: {Path(one).relative_to(folder)}, {Path(one).stat().st_size:,} bytes" for one in left]

    def rendered(self) -> Path:
        """Return the site of the vault as it is now."""
        if self._site is None:
            self._site = self.workspace.path("served") / "site"
            self.workspace.run(*CLOCKED, "--vault", self.vault, "render", "--output", self._site)
        return self._site

    def rotate(self) -> None:
        """Go on to the commit after the rotation, where `Rotate` has not."""
        if self.git("rev-parse", "HEAD") == self.old:
            log("rotating")
            self.workspace.run(*CLOCKED, "--vault", self.vault, "rotate", "--due")
        self.new = self.git("rev-parse", "HEAD")

    def run(self, command: Sequence[str], *, strike: float | None = None, watched: bool = False) -> Run:
        return at_terminal(command, self.workspace.work, self.environ, strike=strike, watched=watched)

    def go(self, kind: type[Step], strikes: int) -> dict[str, Any]:
        """Run a step whole, then strike; return all that was seen."""
        if kind is not Rotate:
            self.rotate()
        step = kind(self)
        log(f"{step.name}: whole")
        command = step.first()
        if kind is Rotate:
            step.prepare()
        whole = self.run(command, watched=True)
        harm = [] if whole.code == 0 else [f"ended with {whole.code}: {whole.text[-500:]}"]
        if harm:
            return {"about": step.about, "whole": _told(whole), "strikes": [], "harm": harm}
        if kind is not Rotate and not isinstance(step, Render):
            self.look(harm)
        if isinstance(step, Render):
            step.prepare()
            step._target = self.old
            step._take(harm)
        seconds, struck = whole.seconds, list[Strike]()
        for number in range(strikes):
            last = number + 1 == strikes
            if not self.chain or number == 0 or struck[-1].state == "new":
                step.prepare()
            at = moment(number, strikes, seconds)
            log(f"{step.name}: Ctrl-C after {at:.2f} s of {seconds:.1f}, {number + 1} of {strikes}")
            one = self._strike(step, at)
            struck.append(one)
            if self.chain and not last and one.state == "old":
                continue
            after = self.run(step.again())
            if after.code != 0:
                one.harm.append(f"the next run ended with {after.code}: {after.text[-500:]}")
            elif one.state == "old":
                seconds = after.seconds
            step.settled(one.harm)
            for text in one.harm:
                log(f"{step.name}: HARM: {text}")
        return {"about": step.about, "whole": _told(whole), "strikes": [asdict(one) for one in struck], "harm": harm}

    def _strike(self, step: Step, at: float) -> Strike:
        done = self.run(step.again(), strike=at)
        one = Strike(done.struck, done.code, done.seconds - (done.struck or done.seconds))
        if done.struck is None or done.code == 0:
            one.notes.append("ended before")
        elif done.code not in INTERRUPTED:
            one.harm.append(f"exit code {done.code}")
        there, ours = tracebacks(done.text)
        if ours:
            one.harm.append("traceback")
        elif there:
            one.notes.append("traceback of Python's own start")
        one.state = step.state(one.harm)
        if changed := self.changed():
            one.notes.append(f"{changed} files behind HEAD until the next run")
        left = sorted(set(leftovers(self.vault)) - self._known)
        one.notes += [f"until the next run: {Path(name).name}" for name in left[:5]]
        if one.harm or there:
            one.screen = done.text[-1500:]
        return one


def moment(number: int, strikes: int, seconds: float) -> float:
    """Return when the strike of that number comes: in Python's start, then spread over all, the last near the end."""
    if number == 0:
        return min(EARLY, seconds / 2)
    rest = strikes - 1
    return seconds * (0.97 if number == rest and rest > 2 else number / (rest + 1))


def _told(run: Run) -> dict[str, Any]:
    told = asdict(run)
    del told["text"], told["struck"]
    return told


def table(steps: dict[str, dict[str, Any]]) -> Iterator[str]:
    """Yield the lines of a table of all *steps*."""
    form = "{:15} {:>8} {:>8} {:>6} {:>7} {:>8} {:>7} {:>6}"
    yield form.format("step", "seconds", "MiB", "states", "still", "strikes", "ending", "harm")
    for name, one in steps.items():
        whole, strikes = one["whole"], one["strikes"]
        ending = max((strike["ending"] for strike in strikes), default=0.0)
        harm = len(one["harm"]) + sum(len(strike["harm"]) for strike in strikes)
        cells = (f"{whole['seconds']:.1f}", f"{whole['together'] or 0:.0f}", whole["states"], f"{whole['still']:.1f}")
        yield form.format(name, *cells, len(strikes), f"{ending:.2f}", harm)


def main() -> int:
    """Go through it, and return the exit code."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").strip().splitlines()[0])
    parser.add_argument("--keys", type=int, default=100_000)
    parser.add_argument("--strikes", type=int, default=8)
    parser.add_argument("--only", nargs="+", metavar="STEP", choices=[kind.name for kind in STEPS])
    parser.add_argument("--chain", action="store_true", help="only the last interrupted run is followed by a whole one")
    parser.add_argument("--record", action="store_true", help="put the figures into bench/scale.json, for the page")
    parser.add_argument("--output", type=Path, default=BUILD / "life.json")
    parser.add_argument(
        "--folder", type=Path, default=BUILD, help="where copies and sites lie, a million files of them"
    )
    asked = parser.parse_args()
    kept = BUILD / "vaults"
    kept.mkdir(parents=True, exist_ok=True)
    folder = Path(tempfile.mkdtemp(prefix="life-", dir=asked.folder))
    workspace = Workspace(folder, kept, environment(kept, BUILD / "bytecode"), QUICK)
    found: dict[str, dict[str, Any]] = {}
    try:
        life = Life(workspace, asked.keys, chain=asked.chain)
        for kind in STEPS:
            if asked.only and kind.name not in asked.only:
                continue
            with workspace.closing:
                found[kind.name] = life.go(kind, asked.strikes)
            asked.output.write_text(json.dumps({"sets": life.sets, "chain": asked.chain, "steps": found}, indent=1))
    finally:
        shutil.rmtree(folder, ignore_errors=True)
    if asked.record:
        size = str(life.sets * KEYS_A_SET)
        # Steps that were not chosen stay as they were seen.
        before = scale.read().get("life", {}).get(size, {})
        scale.record("life", {size: {**before, **scale.interrupt_figures(found)}})
    print("\n".join(table(found)))
    harms = [
        f"{name}, Ctrl-C after {strike['at']}: {text}\n{strike['screen']}"
        for name, one in found.items()
        for strike in [{"at": None, "screen": "", "harm": one["harm"]}, *one["strikes"]]
        for text in strike["harm"]
    ]
    print("\n".join(harms))
    return 1 if harms else 0


if __name__ == "__main__":
    sys.exit(main())
