"""
Judge paths, modes and ids as a tree of git holds them.

Source: docs/adr/0006.
"""

from __future__ import annotations

import os
import re

from keyvault.core.state import Commit

_OID = re.compile(r"[0-9a-f]{40}(?:[0-9a-f]{24})?")

#: Paths, of records above all, that mean themselves everywhere: no part begins or ends with a point or has a tilde.
ORDINARY_PATH = re.compile(r"[A-Za-z0-9_-]+(?:[./][A-Za-z0-9_-]+)*", re.ASCII)

#: Characters that HFS+ ignores in names.
_IGNORED = dict.fromkeys([*range(0x200C, 0x2010), *range(0x202A, 0x202F), *range(0x206A, 0x2070), 0xFEFF])


def can_be_checked_out(path: str) -> bool:
    """Whether no part of *path* means the git folder, or a folder further up, on any file system."""
    if ORDINARY_PATH.fullmatch(path):
        return True
    parts = path.split("/") if os.sep == "/" else re.split(r"[/\\]", path)
    bare = (part.translate(_IGNORED).casefold().partition(":")[0].rstrip(". ") for part in parts)
    return not {"", ".", ".."} & set(parts) and not {".git", "git~1"} & set(bare)


def as_commit(oid: str) -> Commit:
    """Return the id of a commit that git gave out before, such as to a journal."""
    assert is_oid(oid)
    return Commit(oid)


def is_oid(value: object) -> bool:
    """Whether *value* is the full id of an object."""
    return isinstance(value, str) and _OID.fullmatch(value) is not None


def describe_mode(mode: str) -> str:
    """Return what a file of *mode*, as a tree has it, is."""
    kinds = {"100755": "executable", "120000": "a symbolic link", "160000": "a submodule"}
    return kinds.get(mode, f"of mode {mode}")
