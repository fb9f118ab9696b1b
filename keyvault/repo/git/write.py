"""
Write trees and commits, and move branches.

A commit is built beside the work tree and the index: blobs and trees as one pack, then one ``commit-tree``, which
signs if the user's git is set to. The branch moves by compare-and-swap.

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
from keyvault.repo.git.objects import Folder, Pack
from keyvault.repo.git.reader import Tree

#: The prefix of the folder in which git writes objects until they are complete.
QUARANTINE = "keyvault-objects-"

#: How many bytes of a pack stay in memory before they go to a file.
_IN_MEMORY = 1 << 20

#: From how many objects on git keeps a pack, instead of a file for each object; git's own limit for a push.
_LOOSE_MAX = 100

_SIGNING_HINT = "check user.signingkey and that your agent is running; commit.gpgsign is on"


class ObjectWriter(HistoryReader):
    """Writes to a repository."""

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
        with self.feeding(command, apart) as (stdin, ended):
            for chunk in with_progress(pack.stream(), self.progress, "storing objects", pack.chunks):
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
                raise self.missing(f"tree {name}")
            return bytes.fromhex(header[0].decode()), stdout.read(int(header[2]) + 1)[:-1]

        def read(oid: bytes) -> bytes:
            return ask(oid.hex())[1]

        if commit is None:
            yield None, read
            return
        with self.talking("cat-file", "--batch-command", "--buffer") as (stdin, stdout):
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
