"""
Check paths, modes and ids of entries in git's trees.

Source: docs/adr/0006.
"""

from __future__ import annotations

import os
import re

from keyvault.core.state import Commit

_OID = re.compile(r"[0-9a-f]{40}(?:[0-9a-f]{24})?")

#: Paths that every file system takes literally, such as those of records: no part begins or ends with a dot, or has a
#: tilde.
ORDINARY_PATH = re.compile(r"[A-Za-z0-9_-]+(?:[./][A-Za-z0-9_-]+)*", re.ASCII)

#: Characters that HFS+ ignores in names.
_IGNORED = dict.fromkeys([*range(0x200C, 0x2010), *range(0x202A, 0x202F), *range(0x206A, 0x2070), 0xFEFF])


def can_be_checked_out(path: str) -> bool:
    """Whether no part of *path* means the git folder, or a parent folder, on any file system."""
    if ORDINARY_PATH.fullmatch(path):
        return True
    parts = path.split("/") if os.sep == "/" else re.split(r"[/\\]", path)
    bare = (part.translate(_IGNORED).casefold().partition(":")[0].rstrip(". ") for part in parts)
    return not {"", ".", ".."} & set(parts) and not {".git", "git~1"} & set(bare)


def as_commit(oid: str) -> Commit:
    """Return *oid*, which git printed before, as the id of a commit."""
    assert is_oid(oid)
    return Commit(oid)


def is_oid(value: object) -> bool:
    """Whether *value* is the full id of an object."""
    return isinstance(value, str) and _OID.fullmatch(value) is not None


def describe_mode(mode: str) -> str:
    """Return a description of a file with this *mode* in a tree, such as "a symbolic link"."""
    kinds = {"100755": "executable", "120000": "a symbolic link", "160000": "a submodule"}
    return kinds.get(mode, f"of mode {mode}")
