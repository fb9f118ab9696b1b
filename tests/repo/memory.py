"""
A git in memory with the methods that the audit uses, for more histories than a real git could handle in time.

Commits are created one after the other, so their order has parents before children. Tests compare it with a real git.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field

from keyvault.repo.git import CommitChanges, TreeChange, TreeEntry

MODE = "100644"
Tree = dict[str, str]


@dataclass(frozen=True)
class Commit:
    """A commit: its files by path, its parents, and its date."""

    tree: Tree
    parents: tuple[str, ...]
    authored_at: int


@dataclass
class MemoryGit:
    """A repository whose objects are Python values; all files are plain ones."""

    prefix: str = ""
    shallow: bool = False
    objects: dict[str, bytes] = field(default_factory=dict)
    history: dict[str, Commit] = field(default_factory=dict)

    def commit(self, parents: Sequence[str], files: Mapping[str, bytes | None], at: int) -> str:
        """Write *files* on top of the first parent and return the commit's id; None removes a file."""
        tree = dict(self.history[parents[0]].tree) if parents else {}
        for path, data in files.items():
            if data is None:
                tree.pop(path, None)
            else:
                tree[path] = _oid(b"blob", data)
                self.objects[tree[path]] = data
        # The number of the commit distinguishes two commits with the same content.
        content = f"{len(self.history)} {sorted(tree.items())} {parents} {at}"
        commit = _oid(b"commit", content.encode())
        self.history[commit] = Commit(tree, tuple(parents), at)
        return commit

    def ancestors(self, commit: str) -> set[str]:
        """Return *commit* and all its ancestors."""
        found, waiting = set[str](), [commit]
        while waiting:
            one = waiting.pop()
            if one not in found:
                found.add(one)
                waiting += self.history[one].parents
        return found

    # --- methods for the audit --------------------------------------------------------------------------

    def _range(self, revisions: Iterable[str]) -> list[str]:
        wanted, without = set[str](), set[str]()
        for revision in revisions:
            if revision.startswith("^"):
                without |= self.ancestors(revision[1:])
            else:
                wanted |= self.ancestors(revision)
        return [commit for commit in self.history if commit in wanted - without]

    def run(self, *arguments: str) -> bytes:
        match arguments:
            case ("rev-list", "--parents", *revisions):
                # Newest first, as git does.
                lines = [
                    " ".join((commit, *self.history[commit].parents)) for commit in reversed(self._range(revisions))
                ]
                return "".join(line + "\n" for line in lines).encode()
            case ("rev-parse", name):
                return f"{_tree_id(name.removesuffix('^{tree}'))}\n".encode()
            case _:
                raise AssertionError(f"not supported in memory: git {arguments}")

    def resolve(self, revision: str) -> str | None:
        return revision if revision in self.history else None

    def is_ancestor(self, old: str, new: str) -> bool:
        return old in self.ancestors(new)

    def commits(self, *revisions: str) -> Iterator[CommitChanges]:
        for oid in self._range(revisions):
            commit = self.history[oid]
            changes = []
            if len(commit.parents) < 2:
                before = self.history[commit.parents[0]].tree if commit.parents else {}
                changes = _difference(before, commit.tree)
            yield CommitChanges(oid, _tree_id(oid), commit.parents, commit.authored_at, changes)

    def tree(self, commit: str, *paths: str) -> list[TreeEntry]:
        return [
            TreeEntry(MODE, oid, path)
            for path, oid in sorted(self.history[commit].tree.items())
            if any(path == wanted or path.startswith(wanted + "/") for wanted in paths)
        ]

    @contextmanager
    def blob_reader(self) -> Iterator[Callable[[Sequence[str]], Iterator[bytes]]]:
        yield lambda oids: (self.objects[oid] for oid in oids)

    @contextmanager
    def tree_differ(self) -> Iterator[Callable[[str, str], list[TreeChange]]]:
        def tree(name: str) -> Tree:
            return self.history[name.removeprefix("tree of ")].tree

        yield lambda old, new: _difference(tree(old), tree(new))


def _tree_id(commit: str) -> str:
    return f"tree of {commit}"


def _oid(kind: bytes, data: bytes) -> str:
    return hashlib.sha1(b"%b %d\0%b" % (kind, len(data), data), usedforsecurity=False).hexdigest()


def _difference(old: Tree, new: Tree) -> list[TreeChange]:
    changed = sorted({path for path, _ in old.items() ^ new.items()})
    return [TreeChange(path, MODE, old.get(path), new.get(path)) for path in changed]
