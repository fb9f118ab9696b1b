"""
Run all commands of git but fetch and push, in hardened processes.

`environment` hardens, `process` runs, `reader` reads the objects of a commit, `log` reads history, `write` writes
commits. `objects` encodes trees and packs, `paths` checks names. ``repo/remote`` fetches and pushes.

Sources: docs/adr/0006, 0009 and 0024.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from keyvault.core.text import printable
from keyvault.errors import GitError
from keyvault.repo.git.environment import SECRETS
from keyvault.repo.git.log import CommitChanges, TreeChange, WrittenBy
from keyvault.repo.git.paths import as_commit, can_be_checked_out, describe_mode, is_oid
from keyvault.repo.git.process import killed_error
from keyvault.repo.git.reader import Tree, TreeEntry
from keyvault.repo.git.write import QUARANTINE, ObjectWriter

__all__ = [
    "QUARANTINE",
    "SECRETS",
    "CommitChanges",
    "Git",
    "Tree",
    "TreeChange",
    "TreeEntry",
    "WrittenBy",
    "as_commit",
    "can_be_checked_out",
    "describe_mode",
    "is_oid",
    "killed_error",
]


class Git(ObjectWriter):
    """A repository."""

    @classmethod
    def open(cls, folder: Path, environ: Mapping[str, str]) -> Git:
        """
        Return the repository that contains *folder*.

        Raises:
            GitError: If there is none, or git is not installed.
        """
        arguments = (
            "--absolute-git-dir --git-common-dir --is-bare-repository --is-shallow-repository --show-object-format "
            "--show-cdup --show-prefix"
        )
        git = cls(folder, environ)
        try:
            output = git.run("rev-parse", *arguments.split()).decode(errors="surrogateescape")
        except GitError as error:
            if "not a git repository" in error.message:
                raise GitError(
                    f"{folder} is not in a git repository", code="repository-missing", hint="keyvault init creates one"
                ) from None
            raise
        git_dir, common, bare, shallow, git.object_format, up, prefix = (output.split("\n") + [""] * 7)[:7]
        git.git_dir = Path(git_dir)
        git.common_dir = (folder / common).resolve()
        if Path(up).is_absolute():
            raise GitError(
                f"{folder} is outside the working tree of its repository, {printable(up)}",
                code="worktree-elsewhere",
                hint="git config --unset core.worktree",
            )
        git.bare, git.shallow = bare == "true", shallow == "true"
        git.root = None if git.bare else (folder / up).resolve()
        git.prefix = prefix
        return git
