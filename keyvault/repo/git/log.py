"""
Read the history: the commits, and the changes of each.

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
WrittenBy = tuple[str, int]


class CommitChanges(msgspec.Struct, frozen=True):
    """
    A commit and its changes.

    Attributes:
        commit: Its id.
        tree: Its tree.
        parents: Its parents.
        authored_at: Its author date, in seconds since 1970; rewriting the commit keeps that.
        changes: Every file that differs from the parent, or every file of a root commit; empty for a merge.
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


def refuse_shallow(git: ObjectReader) -> None:
    """
    Refuse a shallow clone, whose history is incomplete.

    Raises:
        GitError: If the clone is shallow.
    """
    if git.shallow:
        raise GitError(
            "this clone is shallow: its history is incomplete",
            code="clone-shallow",
            hint="git fetch --unshallow (in CI: fetch-depth: 0)",
        )


class HistoryReader(ObjectReader):
    """Reads the history of a repository."""

    def log_raw(
        self, commit: Commit, *paths: str, first_parent: bool = False
    ) -> Iterator[tuple[WrittenBy, TreeChange]]:
        """
        Yield every change below *paths* of the vault with its commit, up to *commit*, oldest first.

        Merges have no changes. With *first_parent*, they are compared with their first parent, and the commits of other
        parents are left out. The order is topological and depends on the history alone.
        """
        command = [
            "log", "--raw", "-z", "--no-renames", "--no-abbrev", "--reverse", "--topo-order", "--full-history",
            "--no-show-signature", "--no-ext-diff", "--no-textconv", "--format=%x01%H %ct",
            *(("--first-parent", "--diff-merges=first-parent") if first_parent else ()), commit, "--",
            *(":(top,literal)" + self.prefix + path for path in paths),
        ]  # fmt: skip
        with self.stream_output(command) as stdout:
            writer: WrittenBy = ("", 0)
            fields = _read_fields(stdout)
            for item in fields:
                text = item.lstrip("\n")
                if text.startswith("\x01"):
                    commit_id, _, seconds = text[1:].strip().partition(" ")
                    writer = (commit_id, int(seconds))
                elif text.startswith(":"):
                    yield writer, _tree_change(text, next(fields)[len(self.prefix) :])

    def commits(self, *revisions: str) -> Iterator[CommitChanges]:
        """
        Yield the commits of *revisions*, parents before children, while git reads the next ones.

        Paths are from the top of the repository.

        Raises:
            GitError: If there is no such revision, or an object is missing.
        """
        command = [
            "log", "--raw", "-z", "--no-renames", "--no-abbrev", "--reverse", "--topo-order",
            "--no-show-signature", "--no-ext-diff", "--no-textconv", "--format=%x01%H %T %at %P", *revisions, "--",
        ]  # fmt: skip
        with self.stream_output(command) as stdout:
            current: CommitChanges | None = None
            fields = _read_fields(stdout)
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
        """Yield a function that returns every file that differs between two trees; it uses one git process."""

        def differ(old: str, new: str) -> list[TreeChange]:
            # Git echoes a line that is not a pair of ids, and no path of a tree can contain the tree's own id.
            end = f"end of {new}\n".encode()
            answer = b""
            with contextlib.suppress(OSError):  # git ended early: detected below by the end of its output
                stdin.write(f"{old} {new}\n".encode() + end)
                stdin.flush()
            while not answer.endswith(end):
                chunk = _read_available(stdout)
                if not chunk:
                    raise self.missing_object_error(f"tree {new}")
                answer += chunk
            listing = answer.removesuffix(end).partition(b"\n")[2]
            fields = listing.decode(errors="surrogateescape").split("\0")[:-1]
            return [_tree_change(meta, path) for meta, path in zip(fields[::2], fields[1::2], strict=True)]

        command = ("diff-tree", "--stdin", "-r", "-z", "--no-renames", "--raw", "--no-abbrev")
        with self.request_pipes(*command) as (stdin, stdout):
            yield differ

    def changes(self, old: str | None, new: str) -> list[TreeChange]:
        """
        Return every file that differs between two commits; *old* is None for no commit.

        Raises:
            GitError: If git refuses to check out a path, such as a file in a folder ``.git``.
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
                    code="unsafe-path",
                    hint="git log --all -- PATH shows who wrote it",
                )
        return found

    def staged(self) -> list[tuple[str, str]]:
        """Return (path, id) of every file in the index that is not in HEAD, or differs there."""
        # In a hook, the environment names the index of the commit.
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
        Return (path, id) of every version of every file that commits added, including merges.

        Args:
            revisions: In git's notation, such as ``origin/main..HEAD``.

        Raises:
            GitError: If there is no such revision, or the clone is shallow.
        """
        refuse_shallow(self)
        output = self.run("rev-list", "--objects", "--filter=object:type=blob", "--end-of-options", *revisions, "--")
        lines = (line.partition(" ") for line in output.decode(errors="surrogateescape").split("\n"))
        return [(path, oid) for oid, space, path in lines if space and path]

    def is_ancestor(self, old: str, new: str) -> bool:
        """Whether *old* is *new* or one of its ancestors."""
        if old == new:
            return True
        base = self.run("merge-base", old, new, ok=(0, 1)).decode().strip()
        return base == old

    def is_linear(self, old: str, new: str) -> bool:
        """
        Whether *old* is *new* or one of its ancestors, without a merge between them.

        Raises:
            GitError: If there is no such commit.
        """
        if old == new:
            return True
        lines = self.run("rev-list", "--parents", "--reverse", new, f"^{old}", "--").decode().split("\n")[:-1]
        chain = [line.split(" ") for line in lines]
        before = [old, *(commit for commit, *_ in chain)]
        return all(parents == [last] for (_, *parents), last in zip(chain, before, strict=False)) and before[-1] == new

    def messages(self, commit: Commit, known: Commit) -> list[str]:
        """Return the message of each commit in the history of *commit* but not in that of *known*, newest first."""
        output = self.run("log", "-z", "--format=%B", "--no-show-signature", commit, f"^{known}", "--")
        return [message for message in output.decode(errors="replace").split("\0") if message]

    def merges(self, commit: Commit, limit: int) -> list[tuple[Commit, tuple[Commit, ...]]]:
        """Return at most *limit* merges up to *commit*, newest first, each with its parents."""
        lines = self.run("rev-list", "--merges", "--parents", f"--max-count={limit}", commit, "--").decode().split("\n")
        found = [[Commit(oid) for oid in line.split(" ")] for line in lines if line]
        return [(merge, tuple(parents)) for merge, *parents in found]

    def date_of_first_commit_after(self, old: Commit) -> datetime | None:
        """
        Return the date of the oldest commit in the history of HEAD but not in that of *old*; None if there is none.

        Raises:
            GitError: If *old* or HEAD is missing.
        """
        lines = self.run("log", "--format=%ct", f"^{old}", "HEAD", "--").split()
        return min((datetime.fromtimestamp(int(seconds), UTC) for seconds in lines), default=None)


def _read_fields(stream: IO[bytes]) -> Iterator[str]:
    """Yield the fields of *stream*, which NULs separate."""
    rest = b""
    while chunk := _read_available(stream):
        *fields, rest = (rest + chunk).split(b"\0")
        yield from (field.decode(errors="surrogateescape") for field in fields)
    if rest:
        yield rest.decode(errors="surrogateescape")


def _read_available(stream: IO[bytes]) -> bytes:
    """Return the next bytes of *stream*, without waiting for more."""
    assert isinstance(stream, io.BufferedReader)
    return stream.read1(1 << 16)


def _tree_change(meta: str, path: str) -> TreeChange:
    """Return the change in an entry of git's raw output."""
    old_mode, mode, before, after, _status = meta.lstrip(":").split(" ")
    present = _none_if_zero(after)
    return TreeChange(path, sys.intern(mode if present else old_mode), _none_if_zero(before), present)


def _none_if_zero(oid: str) -> str | None:
    return oid if oid.strip("0") else None
