"""
Read revisions, trees and blobs of a commit.

Sources: git-cat-file(1), git-ls-tree(1), git-rev-parse(1).
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import NewType

import msgspec

from keyvault.core.state import Commit
from keyvault.core.text import printable
from keyvault.errors import GitError
from keyvault.progress import Progress, quiet
from keyvault.repo.git.paths import ORDINARY_PATH, is_oid
from keyvault.repo.git.process import Runner

#: The full id of a tree.
Tree = NewType("Tree", str)

#: How many objects a request names. The pipe has room for two requests, so the two sides never block each other.
_REQUEST_SIZE = 400

#: Files in git's folder that exist while an operation is in progress, and the operation.
_OPERATIONS = (
    ("rebase-merge", "rebase"),
    ("rebase-apply", "rebase"),
    ("MERGE_HEAD", "merge"),
    ("CHERRY_PICK_HEAD", "cherry-pick"),
    ("REVERT_HEAD", "revert"),
)

#: The limit for paths in a command line of git.
_PATHS_MAX = 100


def _with_folders(path: str) -> Iterator[str]:
    """Yield *path* and every folder above it."""
    while path:
        yield path
        path = path.rpartition("/")[0]


class TreeEntry(msgspec.Struct, frozen=True):
    """A file of a commit."""

    mode: str
    oid: str
    path: str


@dataclass
class ObjectReader(Runner):
    """
    Reads objects of a repository.

    Attributes:
        git_dir: The git directory of this working tree.
        common_dir: The git directory that all working trees share.
        bare: Whether there is no working tree.
        shallow: Whether the clone is shallow.
        root: Top of the working tree, or None.
        prefix: Path of *folder* below the top, with a final slash, or empty.
        object_format: ``sha1`` or ``sha256``.
        progress: Callback for long operations.
    """

    git_dir: Path = Path()
    common_dir: Path = Path()
    bare: bool = False
    shallow: bool = False
    root: Path | None = None
    prefix: str = ""
    object_format: str = "sha1"
    progress: Progress = field(default=quiet, repr=False)

    @property
    def no_object(self) -> str:
        """The id that means no object."""
        return "0" * (64 if self.object_format == "sha256" else 40)

    def resolve(self, revision: str) -> Commit | None:
        """Return the id of the commit that *revision* names, or None."""
        if "\0" in revision:
            return None
        output = self.run(
            "rev-parse", "--verify", "--quiet", "--end-of-options", revision + "^{commit}", ok=(0, 1, 128)
        )
        oid = output.decode().strip()
        return Commit(oid) if is_oid(oid) else None

    def is_ambiguous(self, name: str) -> bool:
        """Whether a branch and a tag have this *name*."""
        if name == "HEAD" or not ORDINARY_PATH.fullmatch(name):
            return False
        output = self.run("for-each-ref", "--format=%(refname)", f"refs/heads/{name}", f"refs/tags/{name}")
        return set(output.decode(errors="replace").split()) == {f"refs/heads/{name}", f"refs/tags/{name}"}

    def branch_and_head(self) -> tuple[str, Commit | None]:
        """
        Return the full name of the current branch, and its commit; None if it has none yet.

        Raises:
            GitError: If HEAD is detached.
        """
        output = self.run("rev-parse", "HEAD^{commit}", "--symbolic-full-name", "HEAD", ok=(0, 128))
        head, _, branch = output.decode(errors="surrogateescape").strip().partition("\n")
        if not is_oid(head):  # a branch without a commit: that command does not print its name
            head = ""
            branch = self.run("symbolic-ref", "--quiet", "HEAD", ok=(0, 1)).decode(errors="surrogateescape").strip()
        if not branch.startswith("refs/heads/"):
            hint = self.operation_hint or "git switch BRANCH"
            raise GitError(
                "HEAD is detached: a new commit would not belong to any branch", code="head-detached", hint=hint
            )
        return branch, Commit(head) if head else None

    @property
    def operation(self) -> str | None:
        """The operation in progress: ``merge``, ``rebase``, ``cherry-pick``, ``revert`` or None."""
        return next((verb for name, verb in _OPERATIONS if (self.git_dir / name).exists()), None)

    @property
    def operation_hint(self) -> str | None:
        """How to end the operation in progress, or None."""
        verb = self.operation
        if verb == "merge":
            # With conflicts, git merge --continue refuses. A repair then mends the damaged records of the commit.
            return "git merge --abort, or: git add keys.enc; git commit --no-edit --no-verify; keyvault repair"
        return verb and f"git {verb} --abort, or git {verb} --continue; then run this command again"

    def tree(self, commit: Commit | Tree, *paths: str) -> list[TreeEntry]:
        """
        Return the files of *commit*, or of a tree, below the vault's folder, with paths relative to it.

        With *paths*, return only the files at or below these.
        """
        # A command line has a limited size: for more paths, list everything and filter it here.
        listed = paths if 0 < len(paths) <= _PATHS_MAX else ("",)
        wanted = [self.prefix + path for path in listed if self.prefix + path]
        chosen = set(paths) if listed != paths else set()
        output = self.run("ls-tree", "-r", "-z", "--full-tree", commit, "--", *wanted)
        entries = []
        for line in output.decode(errors="surrogateescape").split("\0")[:-1]:
            meta, _, path = line.partition("\t")
            mode, _kind, oid = meta.split(" ")
            path = path[len(self.prefix) :]
            if not chosen or not chosen.isdisjoint(_with_folders(path)):
                entries.append(TreeEntry(mode, oid, path))
        return entries

    def blobs(self, oids: Iterable[str]) -> Iterator[bytes]:
        """
        Yield the bytes of each blob, in order, from one git process.

        Raises:
            GitError: If an object is missing or is not a blob.
        """
        wanted = list(oids)
        if wanted:
            with self.blob_reader() as read:
                yield from read(wanted)

    @contextlib.contextmanager
    def blob_reader(self) -> Iterator[Callable[[Sequence[str]], Iterator[bytes]]]:
        """
        Yield a function that yields the bytes of blobs, in order; it uses one git process.

        A call sends the request at once, so that git works ahead until its first answer is read. Read all answers of a
        call before the next call.

        Raises:
            GitError: If an object is missing or is not a blob; the function raises it.
        """

        def request(batches: Sequence[Sequence[str]]) -> None:
            with contextlib.suppress(OSError):  # git ended early: detected below by the end of its output
                for batch in batches:
                    stdin.write("".join([f"contents {oid}\n" for oid in batch]).encode() + b"flush\n")
                    stdin.flush()

        def read(oids: Sequence[str]) -> Iterator[bytes]:
            batches = [oids[start : start + _REQUEST_SIZE] for start in range(0, len(oids), _REQUEST_SIZE)]
            request(batches[:1])
            return answers(batches)

        def answers(batches: Sequence[Sequence[str]]) -> Iterator[bytes]:
            for number, batch in enumerate(batches, 1):
                request(batches[number : number + 1])  # git reads the next batch while the caller handles this one
                for oid in batch:
                    header = stdout.readline().split()
                    if len(header) != 3 or header[1] != b"blob":
                        raise self.missing_object_error(f"object {oid}")
                    yield stdout.read(int(header[2]) + 1)[:-1]

        with self.request_pipes("cat-file", "--batch-command", "--buffer") as (stdin, stdout):
            yield read

    def missing_object_error(self, what: str) -> GitError:
        """Return the error for the missing object *what*, such as ``tree 4b825d…``."""
        for _, name, _ in self.configuration.entries:
            if name.startswith("remote.") and name.endswith(".promisor"):
                remote = printable(name.removeprefix("remote.").removesuffix(".promisor"))
                return GitError(
                    f"{what} is missing because this is a partial clone",
                    code="clone-partial",
                    hint=f"git config --unset remote.{remote}.partialclonefilter; git fetch --refetch {remote}",
                )
        return GitError(
            f"{what} is missing from the repository", code="object-missing", hint="git fsck; git fetch --unshallow"
        )
