"""
Read the history: which commits there are, and what each of them changed.

Sources: git-log(1), git-diff-tree(1), git-rev-list(1); docs/adr/0009.
"""

from __future__ import annotations

import contextlib
import io
import sys
from collections.abc import Callable, Iterator, Sequence
from datetime import UTC, datetime
from typing import IO

import msgspec

from keyvault.core.state import Commit
from keyvault.core.text import quoted
from keyvault.errors import GitError
from keyvault.repo.git.paths import can_be_checked_out
from keyvault.repo.git.reader import ObjectReader

#: The id of a commit, and its committer date, in seconds since 1970.
Writer = tuple[str, int]


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


class HistoryReader(ObjectReader):
    """Reads the history of a repository."""

    def log_raw(self, commit: Commit, *paths: str, first_parent: bool = False) -> Iterator[tuple[Writer, TreeChange]]:
        """
        Yield every change below *paths* of the vault with the commit that made it, up to *commit*, oldest first.

        Merges are not compared with their parents; with *first_parent*, they are compared with the first one, and the
        others are left out. The order is a topological one that follows from the history alone.
        """
        command = [
            "log", "--raw", "-z", "--no-renames", "--no-abbrev", "--reverse", "--topo-order", "--full-history",
            "--no-show-signature", "--no-ext-diff", "--no-textconv", "--format=%x01%H %ct",
            *(("--first-parent", "--diff-merges=first-parent") if first_parent else ()), commit, "--",
            *(":(top,literal)" + self.prefix + path for path in paths),
        ]  # fmt: skip
        with self.reading(command) as stdout:
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
        with self.reading(command) as stdout:
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
    def tree_differ(self) -> Iterator[Callable[[str, str], list[TreeChange]]]:
        """Give a function that returns every file that differs between two trees, all from one git process."""

        def differ(old: str, new: str) -> list[TreeChange]:
            # Git echoes a line that is not a pair of ids, and no path of a tree can contain the tree's own id.
            end = f"end of {new}\n".encode()
            answer = b""
            with contextlib.suppress(OSError):  # git went away: the end of its output, below, says so
                stdin.write(f"{old} {new}\n".encode() + end)
                stdin.flush()
            while not answer.endswith(end):
                chunk = _some(stdout)
                if not chunk:
                    raise self.missing(f"tree {new}")
                answer += chunk
            listing = answer.removesuffix(end).partition(b"\n")[2]
            fields = listing.decode(errors="surrogateescape").split("\0")[:-1]
            return [_tree_change(meta, path) for meta, path in zip(fields[::2], fields[1::2], strict=True)]

        command = ("diff-tree", "--stdin", "-r", "-z", "--no-renames", "--raw", "--no-abbrev")
        with self.talking(*command) as (stdin, stdout):
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
        # For a hook, git names the index of the commit in the environment.
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


def _tree_change(meta: str, path: str) -> TreeChange:
    """Return the change that one entry of git's raw output tells."""
    old_mode, mode, before, after, _status = meta.lstrip(":").split(" ")
    present = _present(after)
    return TreeChange(path, sys.intern(mode if present else old_mode), _present(before), present)


def _present(oid: str) -> str | None:
    return oid if oid.strip("0") else None
