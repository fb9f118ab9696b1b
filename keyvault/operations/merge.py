"""
Merge records for git: a driver for single files, and a check of the merged vault.

Git calls the driver for each record that both sides changed. It calls a hook before it commits a merge, since two
rotations can each add a next key without changing the same file. A repository cannot configure programs, so a command
sets up both in a clone.

Source: gitattributes(5) on merge drivers, githooks(5) on pre-merge-commit and pre-commit; docs/adr/0028.
"""

from __future__ import annotations

import os
import shlex
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from keyvault.core.merging import check_joined, join_keys, join_recipients
from keyvault.core.text import quoted
from keyvault.errors import GitError, MergeError, UsageError
from keyvault.repo.records import decode_key, decode_recipients, encode_key, encode_recipients
from keyvault.repo.vault import KEYS, RECIPIENTS, Repository, find_vault, is_record_path

#: The name of the driver in .gitattributes.
DRIVER = "keyvault"

_COMMAND = "keyvault merge-driver %O %A %B %P"
_HOOK = """#!/bin/sh
# Refuse a merge that leaves a vault which no command could read.
"""
#: The hooks of git that check a merge, with their first lines: git runs pre-merge-commit if a merge had no conflict,
#: and pre-commit for every commit; the latter checks only commits that end a merge with conflicts.
_HOOKS = {
    "pre-merge-commit": _HOOK,
    "pre-commit": _HOOK + 'test -e "$(git rev-parse --git-path MERGE_HEAD)" || exit 0\n',
}
#: The hint of a refused merge.
REFUSED_HINT = f"git add {KEYS}; git commit --no-edit --no-verify; keyvault repair; or else: git merge --abort"


@dataclass(frozen=True, slots=True)
class Installed:
    """
    The driver and the hooks of a clone.

    Attributes:
        driver: The command line of the driver.
        hooks: The hooks that check merges.
        others: Names of hooks that keyvault did not write and left unchanged.
    """

    driver: str
    hooks: tuple[Path, ...]
    others: tuple[str, ...]


def merge_files(base: bytes, ours: bytes, theirs: bytes, path: str) -> bytes:
    """
    Merge two versions of a record, or of the list of recipients, and return the merged file.

    Args:
        base: The common ancestor; empty if there is none.
        ours: The file on this side.
        theirs: The file on the other side.
        path: Its path from the top of the repository.

    Raises:
        MergeError: If no legal file can hold the changes of both sides.
        RecordError: If a version is malformed.
        UsageError: If keyvault does not merge such a file.
    """
    inner = path[path.rfind(f"{KEYS}/") :] if f"{KEYS}/" in path else path
    if inner == RECIPIENTS:
        older = decode_recipients(base, path=inner) if base else {}
        sides = (decode_recipients(data, path=inner) for data in (ours, theirs))
        return encode_recipients(join_recipients(older, *sides))
    if not is_record_path(inner):
        raise UsageError(
            f"{quoted(path, 200)} is neither a record nor the list of recipients", code="merge-path-unsupported"
        )
    before = decode_key(base, path=inner) if base else None
    return encode_key(join_keys(before, decode_key(ours, path=inner), decode_key(theirs, path=inner)))


def check_staged(start: Path, environ: Mapping[str, str]) -> None:
    """
    Check the vault in the index, which a merge has written and nobody has committed yet.

    Raises:
        MergeError: If no command could read the vault.
    """
    repository = Repository.open(find_vault(start), environ)
    # Git may set a path relative to the working folder of the hook, which is the top of the repository.
    index = environ.get("GIT_INDEX_FILE")
    tree = repository.git.write_index_tree(os.path.abspath(index) if index else None)  # noqa: PTH100 - a string for git
    state = repository.read_tree(tree, repository.git.resolve("HEAD"))
    if state.damage:
        raise MergeError(state.damage[0].message, code="merge-damaged", hint=REFUSED_HINT)
    check_joined(state)


def install(start: Path, environ: Mapping[str, str]) -> Installed:
    """
    Set up the driver and the hooks in the clone that *start* lies in.

    Raises:
        GitError: If git refuses, or a hook cannot be written.
    """
    git = Repository.open(find_vault(start), environ).git
    git.run("config", "--local", f"merge.{DRIVER}.name", "join records of keyvault")
    git.run("config", "--local", f"merge.{DRIVER}.driver", _COMMAND)
    # Git runs hooks at the top of the repository.
    check = f"keyvault --vault {shlex.quote(git.prefix or '.')} merge-driver --check || exit\n"
    hooks, others = [], []
    for name, beginning in _HOOKS.items():
        hook = git.common_dir / "hooks" / name
        try:
            present = hook.read_text(errors="replace") if hook.exists() else beginning
            if not present.startswith(beginning):
                others.append(name)
                continue
            hook.parent.mkdir(exist_ok=True)
            hook.write_text(present if check in present else present + check)
            hook.chmod(0o755)
        except OSError as error:
            raise GitError(f"cannot write {hook}: {error.strerror}", code="repository-not-writable") from None
        hooks.append(hook)
    return Installed(_COMMAND, tuple(hooks), tuple(others))
