"""
Write trees and commits, and move branches.

Builds a commit without the working tree and the index: blobs and trees as one pack, then one ``commit-tree``, which
signs if the user's git is configured to. Moves a branch by compare-and-swap.

Sources: git-index-pack(1), git-commit-tree(1), git-update-ref(1); docs/adr/0024.
"""

from __future__ import annotations

import contextlib
import shutil
import tempfile
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from datetime import datetime
from pathlib import Path

from keyvault.core.state import Commit
from keyvault.errors import ConflictError, GitError
from keyvault.progress import with_progress
from keyvault.repo.git.log import HistoryReader
from keyvault.repo.git.objects import Pack, TreeBuilder
from keyvault.repo.git.reader import Tree

#: The prefix of the folder in which git writes objects until they are complete.
QUARANTINE = "keyvault-objects-"

#: The size in bytes up to which a pack stays in memory; a larger one goes to a file.
_IN_MEMORY = 1 << 20

#: From this number of objects on, git stores a pack instead of a file for each object; git's own limit for a push.
_LOOSE_MAX = 100

_SIGNING_HINT = "check user.signingkey and that your agent is running; commit.gpgsign is on"


class ObjectWriter(HistoryReader):
    """Writes to a repository."""

    def write_tree(self, base: Commit | None, files: Iterable[tuple[str, bytes | None]]) -> Tree:
        """
        Write blobs and trees for *base* with *files* changed, and return the id of the tree.

        Args:
            base: The commit to start from, or None for an empty tree.
            files: New content by path in the vault, read one at a time; None removes the file.

        Raises:
            GitError: If a tree of *base* is missing or damaged, or git cannot write.
        """
        objects = self.common_dir / "objects"
        with (
            self._quarantine() as environment,
            tempfile.SpooledTemporaryFile(_IN_MEMORY, dir=environment["GIT_OBJECT_DIRECTORY"]) as file,
            self._tree_of(base) as (oid, read),
        ):
            pack = Pack(file, self.object_format)
            root = TreeBuilder(pack, read, oid)
            for path, content in files:
                name = (self.prefix + path).encode(errors="surrogateescape")
                with _translated_errors(objects):
                    if content is None:
                        root.remove(name)
                    else:
                        root.put(name, content)
            with _translated_errors(objects):
                tree = root.close() or pack.add(b"tree", b"")
            self._store(pack, environment)
        return Tree(tree.hex())

    def write_index_tree(self, index: str | None) -> Tree:
        """
        Write *index*, by default that of the working tree, as a tree, and return its id.

        Raises:
            GitError: If the index has conflicts.
        """
        return Tree(self.run("write-tree", extra={"GIT_INDEX_FILE": index} if index else None).decode().strip())

    def _store(self, pack: Pack, environment: Mapping[str, str]) -> None:
        """Have git store the objects of *pack*: as single files if they are few, otherwise as a pack."""
        if not len(pack):
            return
        command = ("unpack-objects", "-q") if len(pack) < _LOOSE_MAX else ("index-pack", "--stdin")
        with self.stream_input(command, environment) as (stdin, finish):
            for chunk in with_progress(pack.stream(), self.progress, "storing objects", pack.chunks):
                stdin.write(chunk)
            finish()

    @contextlib.contextmanager
    def _tree_of(self, commit: Commit | None) -> Iterator[tuple[bytes | None, Callable[[bytes], bytes]]]:
        """Yield the id of the tree of *commit*, None for no commit, and a function that returns the bytes of a tree."""

        def request(name: str) -> tuple[bytes, bytes]:
            with contextlib.suppress(OSError):  # git ended early: detected below by the end of its output
                stdin.write(b"contents %b\nflush\n" % name.encode())
                stdin.flush()
            header = stdout.readline().split()
            if len(header) != 3 or header[1] != b"tree":
                raise self.missing_object_error(f"tree {name}")
            return bytes.fromhex(header[0].decode()), stdout.read(int(header[2]) + 1)[:-1]

        def read(oid: bytes) -> bytes:
            return request(oid.hex())[1]

        if commit is None:
            yield None, read
            return
        with self.request_pipes("cat-file", "--batch-command", "--buffer") as (stdin, stdout):
            yield request(commit + "^{tree}")[0], read

    @contextlib.contextmanager
    def _quarantine(self) -> Iterator[Mapping[str, str]]:
        """
        Yield an environment in which git writes objects to a separate folder; at the end, move them to the others.

        Otherwise a git that is killed would leave a partial pack, which git removes only after two weeks.
        """
        objects = self.common_dir / "objects"
        with _translated_errors(objects):
            folder = Path(tempfile.mkdtemp(prefix=QUARANTINE, dir=self.common_dir))
        try:
            # Quoted, because a colon would separate two paths.
            alternates = _quoted(str(objects)).decode(errors="surrogateescape")
            yield {"GIT_OBJECT_DIRECTORY": str(folder), "GIT_ALTERNATE_OBJECT_DIRECTORIES": alternates}
            with _translated_errors(objects):
                _move_objects(folder, objects)
        finally:
            shutil.rmtree(folder, ignore_errors=True)

    def commit_tree(self, tree: Tree, parents: Sequence[str], message: str, at: datetime) -> Commit:
        """
        Write a commit and return its id; no branch points at it yet.

        Signs it if the user's configuration sets ``commit.gpgsign``.

        Raises:
            GitError: If no user is configured, or signing failed.
        """
        date = f"{int(at.timestamp())} +0000"
        arguments = ["commit-tree", tree]
        for parent in parents:
            arguments += ["-p", parent]
        signing = self.configuration.flag("commit.gpgsign")
        if signing:
            arguments.append("-S")
        try:
            output = self.run(
                *arguments,
                stdin=message.encode(),
                settings=self.configuration.programs(),
                extra={"GIT_AUTHOR_DATE": date, "GIT_COMMITTER_DATE": date},
            )
        except GitError as error:
            if signing and error.hint is None:
                raise GitError(error.message, code=error.code, hint=_SIGNING_HINT) from None
            raise
        return Commit(output.decode().strip())

    def move_branch(self, branch: str, *, old: Commit | None, new: Commit, reason: str) -> None:
        """
        Move *branch* from *old* to *new*, or fail if it is at another commit.

        Raises:
            ConflictError: If another process moved the branch first.
            GitError: If git failed; it may have moved the branch nevertheless.
        """
        expected = old or self.no_object
        try:
            self.run("update-ref", "--create-reflog", "-m", reason, branch, new, expected)
        except GitError as error:
            if self.resolve(branch) not in (old, new):
                raise ConflictError(
                    f"another process moved {branch.removeprefix('refs/heads/')}",
                    code="branch-moved",
                    hint="run the command again",
                ) from None
            raise error


@contextlib.contextmanager
def _translated_errors(folder: Path) -> Iterator[None]:
    try:
        yield
    except OSError as error:
        raise GitError(f"cannot write to {folder}: {error.strerror}", code="repository-not-writable") from None


def _move_objects(folder: Path, objects: Path) -> None:
    """Move the files in *folder* to *objects*; the index of a pack last, because it makes the pack visible."""
    for subfolder in sorted(folder.iterdir()):
        with contextlib.suppress(OSError):  # there is such a folder already
            subfolder.rename(objects / subfolder.name)
            continue
        for path in sorted(subfolder.iterdir(), key=lambda path: path.suffix == ".idx"):
            path.replace(objects / subfolder.name / path.name)


def _quoted(path: str) -> bytes:
    escaped = path.replace("\\", "\\\\").replace('"', '\\"').replace("\n", "\\n")
    return b'"' + escaped.encode(errors="surrogateescape") + b'"'
