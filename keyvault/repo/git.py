"""
The one door to git: a hardened runner that drives it by plumbing commands.

A repository that one merely looks at must not be able to run anything, so every call gets a configuration
of its own: hooks, fsmonitor, pager, editor, attributes, replace refs and the ``ext`` protocol are off, and a
setting that names a program is taken from the user's own configuration, never from the repository's.

Commits are built beside the work tree and the index (blobs and trees as one pack, one ``commit-tree`` that signs
where the user's git says so) and the branch moves by compare-and-swap.

Sources: git-config(1), git-index-pack(1), git-cat-file(1), gitglossary; docs/adr/0006, 0009 and 0024.
"""

from __future__ import annotations

import contextlib
import io
import os
import re
import shlex
import shutil
import signal
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from functools import cached_property
from pathlib import Path
from typing import IO, NewType

import msgspec

from keyvault.core.keys import Commit
from keyvault.core.text import elided, printable, quoted
from keyvault.errors import ConflictError, GitError, KilledError
from keyvault.progress import Progress, quiet, told
from keyvault.repo.objects import Folder, Pack

#: The full id of a tree.
Tree = NewType("Tree", str)

#: The id of a commit, and when it was committed, in seconds since 1970.
Writer = tuple[str, int]

#: Passed to every git process, above every file of configuration.
HARDENED: tuple[tuple[str, str], ...] = (
    ("core.hooksPath", os.devnull),
    ("core.fsmonitor", "false"),
    ("core.attributesFile", os.devnull),
    ("core.alternateRefsCommand", "true"),
    ("core.fsync", "all"),
    # Git would keep all it has seen of a pack: of a large vault as much as we do, and reading is no slower without.
    ("core.packedGitWindowSize", "256k"),
    ("core.packedGitLimit", "4m"),
    ("core.deltaBaseCacheLimit", "8m"),
    ("core.pager", "cat"),
    ("core.protectHFS", "true"),
    ("core.protectNTFS", "true"),
    ("protocol.ext.allow", "never"),
    ("submodule.recurse", "false"),
    ("fetch.recurseSubmodules", "false"),
    ("push.recurseSubmodules", "no"),
    ("gc.auto", "0"),
    ("maintenance.auto", "false"),
    ("user.useConfigOnly", "true"),
    ("advice.detachedHead", "false"),
    # What a commit says does not depend on how somebody likes his logs.
    ("log.showRoot", "true"),
    ("diff.relative", "false"),
    ("diff.orderFile", os.devnull),
    ("i18n.commitEncoding", "UTF-8"),
    ("i18n.logOutputEncoding", "UTF-8"),
)

#: Settings that name a program, with what holds where the user's own configuration says nothing.
PROGRAMS: dict[str, str] = {
    "core.sshcommand": "ssh",
    "core.askpass": "",
    "gpg.program": "gpg",
    "gpg.openpgp.program": "",
    "gpg.x509.program": "gpgsm",
    "gpg.ssh.program": "ssh-keygen",
    "gpg.ssh.defaultkeycommand": "",
    "credential.helper": "",
}

#: Variables that hold a secret: no program that is run is given them.
SECRETS = ("KEYVAULT_IDENTITY", "KEYVAULT_PASSPHRASE")

#: Variables of the caller that git may still see; all others that begin with GIT_ are withheld.
_KEPT_VARIABLES = frozenset(
    {
        "GIT_AUTHOR_NAME",
        "GIT_AUTHOR_EMAIL",
        "GIT_COMMITTER_NAME",
        "GIT_COMMITTER_EMAIL",
        "GIT_CONFIG_GLOBAL",
        "GIT_CONFIG_SYSTEM",
        "GIT_CONFIG_NOSYSTEM",
        "GIT_SSH",
        "GIT_SSH_COMMAND",
        "GIT_ASKPASS",
        "GIT_PROXY_COMMAND",
        "GIT_TERMINAL_PROMPT",
        "GIT_CEILING_DIRECTORIES",
        "GIT_EXEC_PATH",
    }
)

#: How the name of a folder begins in which git writes objects until they are whole.
QUARANTINE = "keyvault-objects-"

#: How many objects are asked for at once: a pipe holds the names of twice as many, so nobody waits for ever.
_ASKED_AT_ONCE = 400

#: How much of what git answers is taken from its pipe at once, and how much the pipe holds where it may, in bytes.
_BUFFER = 1 << 18
_PIPE = 1 << 20

#: How many bytes of a pack are kept in memory before they go to a file.
_IN_MEMORY = 1 << 20

#: From how many objects on git keeps a pack as it is, instead of a file for each object; its own limit for a push.
_LOOSE_MAX = 100

#: How many paths are given to git on a command line.
_PATHS_MAX = 100

_SIGNING_HINT = "check user.signingkey and that your agent is running; commit.gpgsign is on"
_OID = re.compile(r"[0-9a-f]{40}(?:[0-9a-f]{24})?")
_HINTS = (
    (
        "please tell me who you are",
        'git config --global user.name "Your Name"; git config --global user.email you@example.com',
    ),
    ("empty ident name", 'git config --global user.name "Your Name"; git config --global user.email you@example.com'),
    ("dubious ownership", "git config --global --add safe.directory PATH, if you trust this repository"),
    (".lock': file exists", "another git process is at work here; if there is none: keyvault repair"),
)


class TreeEntry(msgspec.Struct, frozen=True):
    """One file of a commit."""

    mode: str
    oid: str
    path: str


class CommitChanges(msgspec.Struct, frozen=True):
    """
    A commit and what it changed.

    Attributes:
        commit: Its id.
        tree: Its tree.
        parents: Its parents.
        authored_at: When it says that it was written, in seconds since 1970; rewriting it later keeps that.
        changes: Every file that differs from the first parent, or from nothing; of a merge, none.
    """

    commit: Commit
    tree: str
    parents: tuple[Commit, ...]
    authored_at: int
    changes: list[TreeChange]


class TreeChange(msgspec.Struct, frozen=True):
    """One file that differs between two commits: its path from the top, its mode, its old and its new id."""

    path: str
    mode: str
    before: str | None
    after: str | None


@dataclass
class Git:
    """
    A repository.

    Attributes:
        folder: Where git is run.
        git_dir: The git directory of this work tree.
        common_dir: The git directory that all work trees share.
        bare: Whether there is no work tree.
        shallow: Whether history was cut off.
        root: Top of the work tree, or None.
        prefix: Path of *folder* below the top, with a final slash, or empty.
        environ: The caller's environment.
        object_format: ``sha1`` or ``sha256``.
        progress: Told about long work.
    """

    folder: Path
    git_dir: Path
    common_dir: Path
    bare: bool
    shallow: bool
    root: Path | None
    prefix: str
    environ: Mapping[str, str] = field(repr=False)
    object_format: str = "sha1"
    progress: Progress = field(default=quiet, repr=False)

    @classmethod
    def open(cls, folder: Path, environ: Mapping[str, str]) -> Git:
        """
        Return the repository that *folder* lies in.

        Raises:
            GitError: There is none, or git is not installed.
        """
        arguments = (
            "--absolute-git-dir --git-common-dir --is-bare-repository --is-shallow-repository --show-object-format "
            "--show-cdup --show-prefix"
        )
        git = cls(folder, folder, folder, False, False, None, "", environ)
        try:
            output = git.run("rev-parse", *arguments.split()).decode(errors="surrogateescape")
        except GitError as error:
            if "not a git repository" in error.message:
                raise GitError(f"{folder} is not in a git repository", hint="keyvault init makes one") from None
            raise
        git_dir, common, bare, shallow, git.object_format, up, prefix = (output.split("\n") + [""] * 7)[:7]
        git.git_dir = Path(git_dir)
        git.common_dir = (folder / common).resolve()
        if Path(up).is_absolute():
            raise GitError(
                f"{folder} lies outside of the work tree of its repository, {printable(up)}",
                hint="git config --unset core.worktree",
            )
        git.bare, git.shallow = bare == "true", shallow == "true"
        git.root = None if git.bare else (folder / up).resolve()
        git.prefix = prefix
        return git

    @property
    def no_object(self) -> str:
        """The id that stands for no object."""
        return "0" * (64 if self.object_format == "sha256" else 40)

    # --- running ----------------------------------------------------------------------------------------

    def environment(self, settings: Iterable[tuple[str, str]] = ()) -> dict[str, str]:
        """Return the environment of a git process: hardened, and with *settings* above all files."""
        kept = {
            name: value
            for name, value in self.environ.items()
            if not name.startswith("GIT_") or name in _KEPT_VARIABLES
        }
        for name in SECRETS:
            kept.pop(name, None)
        pairs = (*HARDENED, *settings)
        numbered = {}
        for index, (name, value) in enumerate(pairs):
            numbered[f"GIT_CONFIG_KEY_{index}"] = name
            numbered[f"GIT_CONFIG_VALUE_{index}"] = value
        return {
            **kept,
            **numbered,
            "GIT_CONFIG_COUNT": str(len(pairs)),
            "GIT_NO_REPLACE_OBJECTS": "1",
            "GIT_GRAFT_FILE": os.devnull,
            # Nothing is fetched on the way, such as objects that a partial clone left out.
            "GIT_NO_LAZY_FETCH": "1",
            "GIT_ALLOW_PROTOCOL": "none",
            "GIT_OPTIONAL_LOCKS": "0",
            "GIT_PAGER": "cat",
            "GIT_EDITOR": "false",
            "GIT_TERMINAL_PROMPT": self.environ.get("GIT_TERMINAL_PROMPT", "0"),
            "LC_ALL": "C",
        }

    def run(
        self,
        *arguments: str,
        stdin: bytes | None = None,
        settings: Iterable[tuple[str, str]] = (),
        extra: Mapping[str, str] | None = None,
        ok: Sequence[int] = (0,),
    ) -> bytes:
        """
        Run git and return what it wrote to stdout.

        Args:
            arguments: The command line after ``git``.
            stdin: What git reads.
            settings: Configuration for this call.
            extra: Environment for this call.
            ok: Exit codes that are no failure.

        Raises:
            GitError: Git failed, or is not installed.
        """
        try:
            done = subprocess.run(
                ["git", *arguments],
                cwd=self.folder,
                env={**self.environment(settings), **(extra or {})},
                input=b"" if stdin is None else stdin,
                capture_output=True,
                check=False,
            )
        except FileNotFoundError:
            if not self.folder.is_dir():
                raise GitError(f"{self.folder} is not a folder") from None
            raise GitError("git is not installed", hint="install git 2.38 or newer") from None
        except OSError as error:
            raise GitError(f"git cannot be run in {self.folder}: {error.strerror}") from None
        if done.returncode not in ok:
            if done.returncode < 0:
                raise killed(arguments[0], -done.returncode)
            raise failure(arguments[0], done.stderr.decode(errors="replace"), done.returncode)
        return done.stdout

    @cached_property
    def _configuration(self) -> list[tuple[str, str, str]]:
        """Every setting as (scope, name, value); the name in lower case, but for a subsection in the middle."""
        parts = self.run("config", "--list", "--show-scope", "-z").decode(errors="surrogateescape").split("\0")
        entries = []
        for scope, setting in zip(parts[::2], parts[1::2], strict=False):
            name, newline, value = setting.partition("\n")
            entries.append((scope, name, value if newline else "true"))
        return entries

    def setting(self, name: str) -> str | None:
        """Return a setting that names no program, the repository's own included."""
        section, dot, rest = name.partition(".")
        middle, _, member = rest.rpartition(".")
        name = section.lower() + dot + (f"{middle}." if middle else "") + member.lower()
        assert name not in PROGRAMS
        values = [value for scope, known, value in self._configuration if known == name and scope != "command"]
        return values[-1] if values else None

    def settings_below(self, *sections: str) -> list[str]:
        """Return the names and values of all settings whose names begin with one of *sections*."""
        found = [(name, value) for _, name, value in self._configuration if name.startswith(sections)]
        return [text for pair in found for text in pair]

    def flag(self, name: str) -> bool:
        """Return a boolean setting, false where it is not set."""
        value = self.setting(name)
        return value is not None and value.lower() in ("true", "yes", "on", "1")

    def programs(self) -> list[tuple[str, str]]:
        """Return settings that pin every program to the user's own choice."""
        pinned = []
        for name, default in PROGRAMS.items():
            own = [
                value for scope, known, value in self._configuration if known == name and scope in ("system", "global")
            ]
            if name == "credential.helper":
                # A list: the empty value forgets what any file has said, then the user's own follow.
                pinned += [(name, ""), *((name, value) for value in own if value)]
            elif name == "gpg.openpgp.program" and not own:
                pinned.append((name, dict(pinned)["gpg.program"]))  # another name of the same setting
            elif name == "core.sshcommand" and not own and self.environ.get("GIT_SSH"):
                pinned.append((name, shlex.quote(self.environ["GIT_SSH"])))
            else:
                pinned.append((name, own[-1] if own else default))
        pinned += [
            (name, "")
            for name in sorted({name for scope, name, _ in self._configuration if scope in ("local", "worktree")})
            if name.startswith("credential.") and name.endswith(".helper") and name not in PROGRAMS
        ]
        return pinned

    @cached_property
    def programs_of_repository(self) -> frozenset[str]:
        """The settings of the repository's own that name a program and so are passed over, in lower case."""
        return frozenset(
            name
            for scope, name, value in self._configuration
            if scope in ("local", "worktree") and name in PROGRAMS and value
        )

    def proxy(self) -> dict[str, str]:
        """Return the environment that keeps the repository's own ``core.gitProxy`` from being run."""
        # Of that setting the first value counts, so ours would come too late.
        named = ("local", "core.gitproxy"), ("worktree", "core.gitproxy")
        if any((scope, name) in named for scope, name, _ in self._configuration):
            return {"GIT_PROXY_COMMAND": self.environ.get("GIT_PROXY_COMMAND", "")}
        return {}

    # --- reading ----------------------------------------------------------------------------------------

    def resolve(self, revision: str) -> Commit | None:
        """Return the id of the commit that *revision* names, or None."""
        if "\0" in revision:
            return None
        output = self.run(
            "rev-parse", "--verify", "--quiet", "--end-of-options", revision + "^{commit}", ok=(0, 1, 128)
        )
        oid = output.decode().strip()
        return Commit(oid) if _OID.fullmatch(oid) else None

    def is_ambiguous(self, name: str) -> bool:
        """Whether a branch and a tag have this *name*."""
        if name == "HEAD" or not _ORDINARY_PATH.fullmatch(name):
            return False
        output = self.run("for-each-ref", "--format=%(refname)", f"refs/heads/{name}", f"refs/tags/{name}")
        return set(output.decode(errors="replace").split()) == {f"refs/heads/{name}", f"refs/tags/{name}"}

    def branch_and_head(self) -> tuple[str, Commit | None]:
        """
        Return the full name of the branch that HEAD is on, and its commit; None if it has none yet.

        Raises:
            GitError: If HEAD is detached.
        """
        output = self.run("rev-parse", "HEAD^{commit}", "--symbolic-full-name", "HEAD", ok=(0, 128))
        head, _, branch = output.decode(errors="surrogateescape").strip().partition("\n")
        if not _OID.fullmatch(head):  # a branch without a commit, which that command does not name
            head = ""
            branch = self.run("symbolic-ref", "--quiet", "HEAD", ok=(0, 1)).decode(errors="surrogateescape").strip()
        if not branch.startswith("refs/heads/"):
            raise GitError("HEAD is detached: a commit made here would belong to no branch", hint="git switch BRANCH")
        return branch, Commit(head) if head else None

    def tree(self, commit: Commit | Tree, *paths: str) -> list[TreeEntry]:
        """Return the files of *commit*, or of a tree, at or below *paths*, relative to the vault's folder."""
        # A command line holds only so many paths: beyond that everything is listed and sifted here.
        few = len(paths) <= _PATHS_MAX
        wanted = [self.prefix + path for path in paths] if few else [self.prefix] if self.prefix else []
        chosen = set() if few else set(paths)
        output = self.run("ls-tree", "-r", "-z", "--full-tree", commit, "--", *wanted)
        entries = []
        for line in output.decode(errors="surrogateescape").split("\0")[:-1]:
            meta, _, path = line.partition("\t")
            mode, _kind, oid = meta.split(" ")
            path = path[len(self.prefix) :]
            if few or path in chosen:
                entries.append(TreeEntry(mode, oid, path))
        return entries

    def blobs(self, oids: Iterable[str]) -> Iterator[bytes]:
        """
        Yield the bytes of each blob, in order, from one git process.

        Raises:
            GitError: An object is missing or is no blob.
        """
        wanted = list(oids)
        if wanted:
            with self.blob_reader() as read:
                yield from read(wanted)

    @contextlib.contextmanager
    def blob_reader(self) -> Iterator[Callable[[Sequence[str]], Iterator[bytes]]]:
        """
        Give a function that yields the bytes of blobs, in order, all from one git process.

        Git is asked when the function is called, not when its first answer is taken: it works ahead meanwhile. All the
        answers to one call are taken before the next one.

        Raises:
            GitError: As the function: an object is missing or is no blob.
        """

        def ask(batches: Sequence[Sequence[str]]) -> None:
            with contextlib.suppress(OSError):  # git went away: the end of its output, below, says so
                for few in batches:
                    stdin.write("".join([f"contents {oid}\n" for oid in few]).encode() + b"flush\n")
                    stdin.flush()

        def read(oids: Sequence[str]) -> Iterator[bytes]:
            batches = [oids[start : start + _ASKED_AT_ONCE] for start in range(0, len(oids), _ASKED_AT_ONCE)]
            ask(batches[:1])
            return answers(batches)

        def answers(batches: Sequence[Sequence[str]]) -> Iterator[bytes]:
            for number, few in enumerate(batches, 1):
                ask(batches[number : number + 1])  # git looks for these while the ones before are looked at
                for oid in few:
                    header = stdout.readline().split()
                    if len(header) != 3 or header[1] != b"blob":
                        raise self._missing(f"object {oid}")
                    yield stdout.read(int(header[2]) + 1)[:-1]

        with self._talking("cat-file", "--batch-command", "--buffer") as (stdin, stdout):
            yield read

    def _missing(self, what: str) -> GitError:
        for _, name, _ in self._configuration:
            if name.startswith("remote.") and name.endswith(".promisor"):
                remote = printable(name.removeprefix("remote.").removesuffix(".promisor"))
                return GitError(
                    f"{what} was left out of this clone, which is a partial one",
                    hint=f"git config --unset remote.{remote}.partialclonefilter; git fetch --refetch {remote}",
                )
        return GitError(f"{what} is missing from the repository", hint="git fsck; git fetch --unshallow")

    def log_raw(self, commit: Commit, *paths: str) -> Iterator[tuple[Writer, TreeChange]]:
        """
        Yield every change below *paths* of the vault with the commit that made it: those of *commit*, oldest first.

        Merges are not compared with their parents. The order is a topological one that follows from the
        history alone.
        """
        command = [
            "log", "--raw", "-z", "--no-renames", "--no-abbrev", "--reverse", "--topo-order", "--full-history",
            "--no-show-signature", "--no-ext-diff", "--no-textconv", "--format=%x01%H %ct", commit, "--",
            *(":(top,literal)" + self.prefix + path for path in paths),
        ]  # fmt: skip
        with self._reading(command) as stdout:
            writer: Writer = ("", 0)
            fields = _fields(stdout)
            for item in fields:
                text = item.lstrip("\n")
                if text.startswith("\x01"):
                    commit_id, _, seconds = text[1:].strip().partition(" ")
                    writer = (commit_id, int(seconds))
                elif text.startswith(":"):
                    yield writer, _tree_change(text, next(fields)[len(self.prefix) :])

    def commits(self, *revisions: str) -> Iterator[CommitChanges]:
        """
        Yield the commits of *revisions*, parents before children, while git still reads on.

        Paths are from the top of the repository.

        Raises:
            GitError: There is no such revision, or an object is missing.
        """
        command = [
            "log", "--raw", "-z", "--no-renames", "--no-abbrev", "--reverse", "--topo-order",
            "--no-show-signature", "--no-ext-diff", "--no-textconv", "--format=%x01%H %T %at %P", *revisions, "--",
        ]  # fmt: skip
        with self._reading(command) as stdout:
            current: CommitChanges | None = None
            fields = _fields(stdout)
            for item in fields:
                text = item.lstrip("\n")
                if text.startswith("\x01"):
                    if current is not None:
                        yield current
                    commit, tree, at, *parents = text[1:].split(" ")
                    stamp = int(at) if at.lstrip("-").isdigit() else 0
                    current = CommitChanges(
                        Commit(commit), tree, tuple(Commit(parent) for parent in parents if parent), stamp, []
                    )
                elif text.startswith(":") and current is not None:
                    current.changes.append(_tree_change(text, next(fields)))
            if current is not None:
                yield current

    @contextlib.contextmanager
    def _reading(self, command: Sequence[str]) -> Iterator[IO[bytes]]:
        """Run git, give what it writes as it comes, and end it; GitError where it failed."""
        process = subprocess.Popen(
            ["git", *command],
            cwd=self.folder,
            env=self.environment(),
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            bufsize=_BUFFER,
        )
        assert process.stdout is not None
        assert process.stderr is not None
        try:
            yield process.stdout
            # Where all was read, git has ended or is about to; its messages are few.
            error = process.stderr.read()
            if process.wait():
                raise failure(command[0], error.decode(errors="replace"), process.returncode)
        finally:
            process.stdout.close()
            process.stderr.close()
            if process.poll() is None:
                process.kill()
            process.wait()

    @contextlib.contextmanager
    def _talking(self, *command: str) -> Iterator[tuple[IO[bytes], IO[bytes]]]:
        """Run git, give its stdin and stdout, and end it."""
        with self._started(command, stderr=subprocess.DEVNULL) as process:
            assert process.stdin is not None
            assert process.stdout is not None
            _widen(process.stdout)
            yield process.stdin, process.stdout

    @contextlib.contextmanager
    def _started(
        self, command: Sequence[str], *, stderr: int | IO[bytes], extra: Mapping[str, str] | None = None
    ) -> Iterator[subprocess.Popen[bytes]]:
        """Start git with pipes to its stdin and stdout, and end it."""
        process = subprocess.Popen(
            ["git", *command],
            cwd=self.folder,
            env={**self.environment(), **(extra or {})},
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=stderr,
            bufsize=_BUFFER,
        )
        assert process.stdin is not None
        assert process.stdout is not None
        try:
            yield process
        finally:
            process.stdout.close()
            if process.poll() is None:
                process.kill()
            process.wait()
            with contextlib.suppress(OSError):
                process.stdin.close()

    @contextlib.contextmanager
    def tree_differ(self) -> Iterator[Callable[[str, str], list[TreeChange]]]:
        """Give a function that returns every file that differs between two trees, all from one git process."""

        def differ(old: str, new: str) -> list[TreeChange]:
            # What is no pair of ids is given back as it is, and no path of a tree can hold the tree's own id.
            end = f"end of {new}\n".encode()
            answer = b""
            with contextlib.suppress(OSError):  # git went away: the end of its output, below, says so
                stdin.write(f"{old} {new}\n".encode() + end)
                stdin.flush()
            while not answer.endswith(end):
                chunk = _some(stdout)
                if not chunk:
                    raise self._missing(f"tree {new}")
                answer += chunk
            listing = answer.removesuffix(end).partition(b"\n")[2]
            fields = listing.decode(errors="surrogateescape").split("\0")[:-1]
            return [_tree_change(meta, path) for meta, path in zip(fields[::2], fields[1::2], strict=True)]

        command = ("diff-tree", "--stdin", "-r", "-z", "--no-renames", "--raw", "--no-abbrev")
        with self._talking(*command) as (stdin, stdout):
            yield differ

    def changes(self, old: str | None, new: str) -> list[TreeChange]:
        """
        Return every file that differs between two commits; None stands for no commit yet.

        Raises:
            GitError: One of them could not be checked out, such as a file in a folder ``.git``.
        """
        if old is None:
            listing = self.run("ls-tree", "-r", "-z", "--full-tree", new).decode(errors="surrogateescape")
            found = []
            for line in listing.split("\0")[:-1]:
                meta, _, path = line.partition("\t")
                mode, _kind, oid = meta.split(" ")
                found.append(TreeChange(path, mode, None, oid))
        else:
            output = self.run("diff-tree", "-r", "-z", "--no-renames", "--raw", "--no-abbrev", old, new)
            fields = output.decode(errors="surrogateescape").split("\0")[:-1]
            found = [_tree_change(meta, path) for meta, path in zip(fields[::2], fields[1::2], strict=True)]
        for change in found:
            if not can_be_checked_out(change.path):
                raise GitError(
                    f"commit {new[:12]} has {quoted(change.path, 200)}, a path that git does not check out",
                    hint="git log --all -- PATH shows who wrote it",
                )
        return found

    def staged(self) -> list[tuple[str, str]]:
        """Return (path, id) of every file that the index holds and HEAD does not hold so."""
        # A hook of git is told which index the commit is made from.
        index = self.environ.get("GIT_INDEX_FILE")
        base = self.resolve("HEAD") or self.run("hash-object", "-t", "tree", "--stdin").decode().strip()
        output = self.run(
            "diff-index", "--cached", "--raw", "-z", "--no-renames", "--no-abbrev", "--diff-filter=d",
            "--ignore-submodules", base,
            extra={"GIT_INDEX_FILE": index} if index else None,
        )  # fmt: skip
        fields = output.decode(errors="surrogateescape").split("\0")[:-1]
        return [(path, meta.split(" ")[3]) for meta, path in zip(fields[::2], fields[1::2], strict=True)]

    def new_blobs(self, revisions: Sequence[str]) -> list[tuple[str, str]]:
        """
        Return (path, id) of every file that commits brought, in each of its versions, merges included.

        Args:
            revisions: As git names them, such as ``origin/main..HEAD``.

        Raises:
            GitError: There is no such revision, or history was cut off.
        """
        if self.shallow:
            raise GitError("history was cut off", hint="git fetch --unshallow")
        output = self.run("rev-list", "--objects", "--filter=object:type=blob", "--end-of-options", *revisions, "--")
        lines = (line.partition(" ") for line in output.decode(errors="surrogateescape").split("\n"))
        return [(path, oid) for oid, space, path in lines if space and path]

    def is_ancestor(self, old: str, new: str) -> bool:
        """Whether *old* is *new* or one of its ancestors."""
        if old == new:
            return True
        base = self.run("merge-base", old, new, ok=(0, 1)).decode().strip()
        return base == old

    def is_straight(self, old: str, new: str) -> bool:
        """
        Whether *old* is *new* or one of its ancestors, and no merge lies between them.

        Raises:
            GitError: There is no such commit.
        """
        if old == new:
            return True
        lines = self.run("rev-list", "--parents", "--reverse", new, f"^{old}", "--").decode().split("\n")[:-1]
        chain = [line.split(" ") for line in lines]
        before = [old, *(commit for commit, *_ in chain)]
        return all(parents == [last] for (_, *parents), last in zip(chain, before, strict=False)) and before[-1] == new

    def messages(self, commit: Commit, known: Commit) -> list[str]:
        """Return the message of each commit that *commit* has and *known* has not, newest first."""
        output = self.run("log", "-z", "--format=%B", "--no-show-signature", commit, f"^{known}", "--")
        return [message for message in output.decode(errors="replace").split("\0") if message]

    def merges(self, commit: Commit, most: int) -> list[tuple[Commit, tuple[Commit, ...]]]:
        """Return the newest *most* merges up to *commit*, each with its parents."""
        lines = self.run("rev-list", "--merges", "--parents", f"--max-count={most}", commit, "--").decode().split("\n")
        found = [[Commit(oid) for oid in line.split(" ")] for line in lines if line]
        return [(merge, tuple(parents)) for merge, *parents in found]

    def first_commit_after(self, old: Commit) -> datetime | None:
        """
        Return the date of the oldest commit that HEAD has and *old* does not know, or None if there is none.

        Raises:
            GitError: If one of the two is missing.
        """
        lines = self.run("log", "--format=%ct", f"^{old}", "HEAD", "--").split()
        return min((datetime.fromtimestamp(int(seconds), UTC) for seconds in lines), default=None)

    # --- writing ----------------------------------------------------------------------------------------

    def write_tree(self, base: Commit | None, files: Iterable[tuple[str, bytes | None]]) -> Tree:
        """
        Write blobs and trees for *base* with *files* changed, and return the id of the tree.

        Args:
            base: The commit to start from, or None for an empty tree.
            files: New content by path in the vault, taken one by one; None removes the file.

        Raises:
            GitError: A tree of *base* is missing or damaged, or git cannot write.
        """
        objects = self.common_dir / "objects"
        with (
            self._quarantine() as apart,
            tempfile.SpooledTemporaryFile(_IN_MEMORY, dir=apart["GIT_OBJECT_DIRECTORY"]) as file,
            self._tree_of(base) as (oid, read),
        ):
            pack = Pack(file, self.object_format)
            root = Folder(pack, read, oid)
            for path, content in files:
                name = (self.prefix + path).encode(errors="surrogateescape")
                with _writing(objects):
                    if content is None:
                        root.remove(name)
                    else:
                        root.put(name, content)
            with _writing(objects):
                tree = root.close() or pack.add(b"tree", b"")
            self._take(pack, apart)
        return Tree(tree.hex())

    def write_index(self, index: str | None) -> Commit:
        """
        Write what *index* holds, by default that of the work tree, as a tree, and return its id.

        It is the tree of a commit that is about to be made, and is read as that commit will be.

        Raises:
            GitError: If the index has conflicts.
        """
        return Commit(self.run("write-tree", extra={"GIT_INDEX_FILE": index} if index else None).decode().strip())

    def _take(self, pack: Pack, apart: Mapping[str, str]) -> None:
        """Have git take in what *pack* holds: few objects one by one, many as they are."""
        if not len(pack):
            return
        command = ("unpack-objects", "-q") if len(pack) < _LOOSE_MAX else ("index-pack", "--stdin")
        with self._feeding(command, apart) as (stdin, ended):
            for chunk in told(pack.stream(), self.progress, "storing objects", pack.chunks):
                stdin.write(chunk)
            ended()

    @contextlib.contextmanager
    def _tree_of(self, commit: Commit | None) -> Iterator[tuple[bytes | None, Callable[[bytes], bytes]]]:
        """Give the id of the tree of *commit*, None for no commit, and a function that returns the bytes of a tree."""

        def ask(name: str) -> tuple[bytes, bytes]:
            with contextlib.suppress(OSError):  # git went away: the end of its output, below, says so
                stdin.write(b"contents %b\nflush\n" % name.encode())
                stdin.flush()
            header = stdout.readline().split()
            if len(header) != 3 or header[1] != b"tree":
                raise self._missing(f"tree {name}")
            return bytes.fromhex(header[0].decode()), stdout.read(int(header[2]) + 1)[:-1]

        def read(oid: bytes) -> bytes:
            return ask(oid.hex())[1]

        if commit is None:
            yield None, read
            return
        with self._talking("cat-file", "--batch-command", "--buffer") as (stdin, stdout):
            yield ask(commit + "^{tree}")[0], read

    @contextlib.contextmanager
    def _quarantine(self) -> Iterator[Mapping[str, str]]:
        """
        Give the environment in which git writes objects apart from all others, and take them in at the end.

        A git that is ended before leaves half a pack, which nobody would remove for two weeks.
        """
        objects = self.common_dir / "objects"
        with _writing(objects):
            folder = Path(tempfile.mkdtemp(prefix=QUARANTINE, dir=self.common_dir))
        try:
            # Quoted, since a colon in it would part it in two.
            others = _quoted(str(objects)).decode(errors="surrogateescape")
            yield {"GIT_OBJECT_DIRECTORY": str(folder), "GIT_ALTERNATE_OBJECT_DIRECTORIES": others}
            with _writing(objects):
                _take_in(folder, objects)
        finally:
            shutil.rmtree(folder, ignore_errors=True)

    @contextlib.contextmanager
    def _feeding(
        self, command: Sequence[str], extra: Mapping[str, str]
    ) -> Iterator[tuple[IO[bytes], Callable[[], bytes]]]:
        """Run git, give its stdin and a function that waits for its end and returns its stdout; GitError as `run`."""
        with tempfile.TemporaryFile() as errors, self._started(command, stderr=errors, extra=extra) as process:
            assert process.stdin is not None
            assert process.stdout is not None
            stdin, stdout = process.stdin, process.stdout

            def failed() -> GitError:
                code = process.wait()
                errors.seek(0)
                return failure(command[0], errors.read().decode(errors="replace"), code)

            def ended() -> bytes:
                stdin.close()
                output = stdout.read()
                if process.wait():
                    raise failed()
                return output

            try:
                yield stdin, ended
            except BrokenPipeError:  # git went away, and has said why
                raise failed() from None

    def commit_tree(self, tree: Tree, parents: Sequence[str], message: str, at: datetime) -> Commit:
        """
        Write a commit and return its id; nothing points at it yet.

        It is signed when the user's configuration says ``commit.gpgsign``.

        Raises:
            GitError: No user is configured, or signing failed.
        """
        date = f"{int(at.timestamp())} +0000"
        arguments = ["commit-tree", tree]
        for parent in parents:
            arguments += ["-p", parent]
        signing = self.flag("commit.gpgsign")
        if signing:
            arguments.append("-S")
        try:
            output = self.run(
                *arguments,
                stdin=message.encode(),
                settings=self.programs(),
                extra={"GIT_AUTHOR_DATE": date, "GIT_COMMITTER_DATE": date},
            )
        except GitError as error:
            if signing and error.hint is None:
                raise GitError(error.message, hint=_SIGNING_HINT) from None
            raise
        return Commit(output.decode().strip())

    def move_branch(self, branch: str, *, old: Commit | None, new: Commit, reason: str) -> None:
        """
        Move *branch* from *old* to *new*, or fail when it is somewhere else.

        Raises:
            ConflictError: If somebody moved the branch first.
            GitError: If git failed; it may have moved the branch all the same.
        """
        expected = old or self.no_object
        try:
            self.run("update-ref", "--create-reflog", "-m", reason, branch, new, expected)
        except GitError as error:
            if self.resolve(branch) not in (old, new):
                raise ConflictError(
                    f"{branch.removeprefix('refs/heads/')} was moved by somebody else", hint="run the command again"
                ) from None
            raise error


#: Paths, of records above all, that mean themselves everywhere: no part begins or ends with a point or has a tilde.
_ORDINARY_PATH = re.compile(r"[A-Za-z0-9_-]+(?:[./][A-Za-z0-9_-]+)*", re.ASCII)

#: Characters that HFS+ ignores in names.
_IGNORED = dict.fromkeys([*range(0x200C, 0x2010), *range(0x202A, 0x202F), *range(0x206A, 0x2070), 0xFEFF])


def can_be_checked_out(path: str) -> bool:
    """Whether no part of *path* means the git folder, or a folder further up, on any file system."""
    if _ORDINARY_PATH.fullmatch(path):
        return True
    parts = path.split("/") if os.sep == "/" else re.split(r"[/\\]", path)
    bare = (part.translate(_IGNORED).casefold().partition(":")[0].rstrip(". ") for part in parts)
    return not {"", ".", ".."} & set(parts) and not {".git", "git~1"} & set(bare)


def as_commit(oid: str) -> Commit:
    """Return the id of a commit that git gave out before, such as to a journal."""
    assert is_oid(oid)
    return Commit(oid)


def is_oid(value: object) -> bool:
    """Whether *value* is the full id of an object."""
    return isinstance(value, str) and _OID.fullmatch(value) is not None


def _fields(stream: IO[bytes]) -> Iterator[str]:
    """Yield what stands between the NULs of *stream*."""
    rest = b""
    while chunk := _some(stream):
        *fields, rest = (rest + chunk).split(b"\0")
        yield from (field.decode(errors="surrogateescape") for field in fields)
    if rest:
        yield rest.decode(errors="surrogateescape")


def _some(stream: IO[bytes]) -> bytes:
    """Return what *stream* has next, without waiting until it is much."""
    assert isinstance(stream, io.BufferedReader)
    return stream.read1(1 << 16)


def _widen(pipe: IO[bytes]) -> None:
    """Let *pipe* hold more, so that git works ahead, where the system can and the user may."""
    if sys.platform == "linux":
        import fcntl

        with contextlib.suppress(OSError):
            fcntl.fcntl(pipe, fcntl.F_SETPIPE_SZ, _PIPE)


def _tree_change(meta: str, path: str) -> TreeChange:
    """Return the change that one entry of git's raw output tells."""
    old_mode, mode, before, after, _status = meta.lstrip(":").split(" ")
    present = _present(after)
    return TreeChange(path, sys.intern(mode if present else old_mode), _present(before), present)


def _present(oid: str) -> str | None:
    return oid if oid.strip("0") else None


@contextlib.contextmanager
def _writing(folder: Path) -> Iterator[None]:
    try:
        yield
    except OSError as error:
        raise GitError(f"cannot write to {folder}: {error.strerror}") from None


def _take_in(folder: Path, objects: Path) -> None:
    """Move what git wrote in *folder* to the other *objects*; an index last, since it makes its pack be seen."""
    for place in sorted(folder.iterdir()):
        with contextlib.suppress(OSError):  # there is such a folder already
            place.rename(objects / place.name)
            continue
        for path in sorted(place.iterdir(), key=lambda path: path.suffix == ".idx"):
            path.replace(objects / place.name / path.name)


def _quoted(path: str) -> bytes:
    escaped = path.replace("\\", "\\\\").replace('"', '\\"').replace("\n", "\\n")
    return b'"' + escaped.encode(errors="surrogateescape") + b'"'


def describe_mode(mode: str) -> str:
    """Return what a file of *mode*, as a tree has it, is."""
    kinds = {"100755": "executable", "120000": "a symbolic link", "160000": "a submodule"}
    return kinds.get(mode, f"of mode {mode}")


def killed(command: str, number: int) -> KilledError:
    """Return the error for a git command that a signal ended."""
    try:
        name = signal.Signals(number).name
    except ValueError:
        name = f"signal {number}"
    return KilledError(f"git {command} was killed ({name})", hint="run the command again")


def failure(command: str, stderr: str, code: int) -> GitError:
    """Return the error for a git command that failed: its last fatal line, and what to do about it."""
    lines = [line.strip() for line in stderr.splitlines() if line.strip()]
    telling = [line for line in lines if line.startswith(("fatal:", "error:", "remote:", "! "))] or lines
    text = telling[0] if telling else f"exit code {code}"
    text = text.removeprefix("fatal: ").removeprefix("error: ").rstrip(".")
    lowered = stderr.lower()
    hint = next((hint for needle, hint in _HINTS if needle in lowered), None)
    if "please tell me who you are" in lowered or "empty ident" in lowered or "auto-detection is disabled" in lowered:
        text, hint = "git does not know who you are: user.name and user.email are not set", _HINTS[0][1]
    return GitError(f"git {command}: {elided(text)[:300]}" if hint is not _HINTS[0][1] else text, hint=hint)
