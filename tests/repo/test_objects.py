"""Blobs, trees and packs equal those that git creates from the same files, and git accepts them."""

from __future__ import annotations

import gc
import io
import sys
from collections import Counter
from pathlib import Path
from types import FrameType

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from keyvault.errors import GitError
from keyvault.repo.git import Git
from keyvault.repo.git.objects import Pack, TreeBuilder, blob_id
from tests.errors import fails
from tests.vaults import environment, run_git

FORMATS = ("sha1", "sha256")
#: Sizes on both sides of the limits of length bytes, and of the part that is kept in memory.
LENGTHS = (0, 1, 15, 16, 2_047, 2_048, 262_143, 262_144, 3_000_000)
#: Bytes by path.
Files = dict[str, bytes]
Changes = list[tuple[str, bytes | None]]


class Place:
    """A repository without files, to compare our objects with git's own."""

    def __init__(self, folder: Path, object_format: str = "sha1") -> None:
        self.folder, self.environ = folder, environment(folder.parent)
        run_git(
            folder.parent, self.environ, "init", "--quiet", "--bare", f"--object-format={object_format}", folder.name
        )
        self.keyvault = Git.open(folder, self.environ)

    def git(self, *arguments: str, stdin: bytes | None = None) -> str:
        return run_git(self.folder, self.environ, *arguments, stdin=stdin)

    def commit(self, tree: str) -> str:
        return self.git("-c", "user.name=a", "-c", "user.email=a@b.c", "commit-tree", "-m", "x", tree)

    def tree_of(self, files: Files) -> str:
        """Return the tree that git creates from an index with *files*."""
        index = {**self.environ, "GIT_INDEX_FILE": str(self.folder / "own-index")}
        (self.folder / "own-index").unlink(missing_ok=True)
        oids = {path: self.git("hash-object", "-w", "--stdin", stdin=data) for path, data in files.items()}
        lines = "".join(f"100644 {oid}\t{path}\n" for path, oid in oids.items())
        run_git(self.folder, index, "update-index", "--add", "--index-info", stdin=lines.encode())
        return run_git(self.folder, index, "write-tree")


@pytest.fixture(params=FORMATS)
def place(request: pytest.FixtureRequest, tmp_path: Path) -> Place:
    return Place(tmp_path / "place.git", request.param)


@pytest.fixture
def own(tmp_path: Path) -> Place:
    return Place(tmp_path / "place.git")


@pytest.mark.parametrize("many", [0, 200], ids=["loose", "in a pack"])
def test_bytes_come_back(place: Place, many: int) -> None:
    """Files of any length and content, few or many, pass git's checks."""
    files = {f"{length}.bin": bytes(range(256)) * (length // 256) + b"x" * (length % 256) for length in LENGTHS}
    files |= {f"many/{number}.txt": b"%d\n" % number for number in range(many)}
    tree = place.keyvault.write_tree(None, files.items())

    assert tree == place.tree_of(files)
    found = list(place.keyvault.tree(tree))
    assert {entry.path: entry.oid for entry in found} == {
        path: blob_id(data, place.keyvault.object_format) for path, data in files.items()
    }
    assert list(place.keyvault.blobs(entry.oid for entry in found)) == [files[entry.path] for entry in found]
    assert "missing" not in place.git("fsck", "--strict", "--full")
    assert len(list((place.folder / "objects" / "pack").glob("*.pack"))) == bool(many)


#: Names that are prefixes of each other; a folder sorts as if it ended with a slash.
_NAMES = st.sampled_from(["a", "a.b", "a-b", "a0", "b", "ü", "a b", 'q"\\', "\n"])
_PATHS = st.lists(_NAMES, min_size=1, max_size=3).map("/".join)
_CHANGES = st.lists(st.tuples(_PATHS, st.one_of(st.none(), st.sampled_from([b"", b"one", b"two"]))), max_size=12)


@pytest.fixture(scope="module")
def shared(tmp_path_factory: pytest.TempPathFactory) -> Place:
    return Place(tmp_path_factory.mktemp("objects") / "place.git")


def _changed(files: Files, changes: Changes) -> Files:
    """Return the files after *changes*: a new file replaces a file or folder in its way."""
    files = dict(files)
    for path, data in changes:
        if data is None:
            files.pop(path, None)
            continue
        parts = path.split("/")
        above = {"/".join(parts[:count]) for count in range(1, len(parts) + 1)}
        files = {one: old for one, old in files.items() if one not in above and not one.startswith(path + "/")}
        files[path] = data
    return files


@given(before=_CHANGES, after=_CHANGES)
@settings(max_examples=60, deadline=None)
def test_trees_are_those_of_git(shared: Place, before: Changes, after: Changes) -> None:
    """Any writes and removals in any order, without and with a base commit."""
    old = _changed({}, before)
    tree = shared.keyvault.write_tree(None, before)
    assert _listed(shared, tree) == old

    again = shared.keyvault.write_tree(shared.commit(tree), after)

    new = _changed(old, after)
    assert _listed(shared, again) == new
    assert again == shared.keyvault.write_tree(None, new.items())


def _listed(place: Place, tree: str) -> Files:
    """Return the files of *tree*, after git has checked it."""
    place.git("fsck", "--strict", "--no-dangling", tree)
    entries = place.keyvault.tree(tree)
    return dict(zip((one.path for one in entries), place.keyvault.blobs(one.oid for one in entries), strict=True))


def test_what_is_there_is_neither_read_nor_written_again(shared: Place) -> None:
    """Only folders on the way to a change are read, and existing objects are not written again."""
    files = {f"{top}/{below}/{name}": b"same" + name.encode() for top in "abc" for below in "abc" for name in "xyz"}
    base = shared.commit(shared.keyvault.write_tree(None, files.items()))
    trees = {path: shared.git("rev-parse", f"{base}:{path}") for path in ("", "a", "a/b", "c", "c/c")}
    read: list[str] = []
    pack = Pack(io.BytesIO(), "sha1")

    def reading(oid: bytes) -> bytes:
        read.append(oid.hex())
        return shared.keyvault.run("cat-file", "tree", oid.hex())

    root = TreeBuilder(pack, reading, bytes.fromhex(trees[""]))
    root.put(b"a/b/x", b"another")
    root.put(b"c/c/x", b"samex")
    root.remove(b"b")
    root.remove(b"a/c")
    root.remove(b"nowhere/x")
    root.close()

    assert sorted(read) == sorted(trees.values())
    assert len(pack) == 4  # the blob, and the three trees above it


def test_other_modes_stay(own: Place) -> None:
    """Other entries of a commit stay unchanged: a program, a link, a submodule, a mode of old programs."""
    blob = own.git("hash-object", "-w", "--stdin", stdin=b"keys.example.com")
    below = own.git("mktree", stdin=f"100644 blob {blob}\told\n".encode())
    kept = f"120000 blob {blob}\tlink\n100755 blob {blob}\tprogram\n160000 commit {'1' * 40}\tsub\n"
    rows = f"040000 tree {below}\tfolder\n" + kept
    base = own.git("mktree", "--missing", stdin=rows.encode())
    ours = own.keyvault.write_tree(own.commit(base), [("folder/new", b"1"), ("folder/old", None)])

    assert kept.strip() in own.git("ls-tree", ours)
    assert own.git("ls-tree", "-r", "--name-only", ours).split() == ["folder/new", "link", "program", "sub"]
    padded = b"040000 folder\0" + bytes.fromhex(below) + b"100644 x\0" + bytes.fromhex(blob)
    tree = own.git("hash-object", "-t", "tree", "-w", "--literally", "--stdin", stdin=padded)
    ours = own.keyvault.write_tree(own.commit(tree), [("folder/new", b"1")])
    assert own.git("ls-tree", "-r", "--name-only", ours).split() == ["folder/new", "folder/old", "x"]
    assert own.git("cat-file", "tree", ours).startswith("40000 folder\0")


@pytest.mark.parametrize("cut", [1, 10, 21, 30, 40])
def test_a_damaged_tree(cut: int) -> None:
    """A damaged tree causes an error; it is never read in part."""
    whole = b"100644 a\0" + b"1" * 20 + b"40000 b\0" + b"2" * 20
    with fails("object-damaged", GitError):
        TreeBuilder(Pack(io.BytesIO(), "sha1"), lambda oid: whole[:cut], b"3" * 20)


def test_a_tree_that_is_missing(own: Place) -> None:
    """The error names a missing tree; changes elsewhere do not need it."""
    files = {"a/x": b"1", "b/x": b"2"}
    base = own.commit(own.keyvault.write_tree(None, files.items()))
    tree = own.git("rev-parse", f"{base}:b")
    (own.folder / "objects" / tree[:2] / tree[2:]).unlink()

    assert own.keyvault.write_tree(base, [("a/x", b"3")])
    with fails("object-missing", GitError) as caught:
        own.keyvault.write_tree(base, [("b/x", b"4")])
    assert f"tree {tree}" in caught.value.message


def test_the_cost_of_a_wide_folder_is_linear() -> None:
    """Ten times as many entries need at most ten times as many calls."""

    def written(count: int) -> int:
        calls = Counter[str]()

        def called(frame: FrameType, event: str, argument: object) -> None:
            calls[event] += 1

        folder = TreeBuilder(Pack(io.BytesIO(), "sha1"), _nothing, None)
        before = sys.getprofile()
        gc.collect()
        gc.disable()  # what other tests left behind may call something when it goes
        sys.setprofile(called)
        try:
            for number in range(count):
                folder.put(b"keys/%d.json" % number, b"")
            folder.close()
        finally:
            sys.setprofile(before)
            gc.enable()
        return calls.total()

    assert 0 < written(5_000) <= 10 * written(500)


def _nothing(oid: bytes) -> bytes:
    raise AssertionError("there is no tree to read")
