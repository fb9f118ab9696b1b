"""
Fingerprints of the files of a rendered site: they show without rendering that a place has the same site already.

A site depends on its commit and on the program alone. So the fingerprints that a publication records in the git
directory of the vault are valid for the next publication of the same commit, to any place. Each file of the place is
still compared by content; if anything differs, the site is rendered.

Source: docs/adr/0022 for the place of the file.
"""

from __future__ import annotations

import contextlib
import hashlib
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import NamedTuple

import msgspec

from keyvault.core.files import Rendered


class Fingerprint(NamedTuple):
    """Size of a file in bytes, and its digests: object stores return an MD5, everything else is compared by SHA-256."""

    size: int
    md5: bytes
    sha256: bytes


class Fingerprints(msgspec.Struct, frozen=True, array_like=True):
    """
    The fingerprints of a site.

    Attributes:
        builder: Digest of everything that the site depends on besides the commit, as in `keyvault.publish.stamp`.
        commit: The commit.
        max_age: The seconds for which a JWK Set may be cached.
        documents: Paths of the files that verifiers read.
        files: The fingerprint of each file, by path.
    """

    builder: str
    commit: str
    max_age: int
    documents: frozenset[str]
    files: dict[str, Fingerprint]


_decoder = msgspec.msgpack.Decoder(Fingerprints)


def fingerprint(data: bytes) -> Fingerprint:
    """Return the fingerprint of *data*."""
    md5 = hashlib.md5(data, usedforsecurity=False).digest()
    return Fingerprint(len(data), md5, hashlib.sha256(data).digest())


def load(file: Path, *, builder: str, commit: str) -> Fingerprints | None:
    """Return the fingerprints in *file*, or None if they belong to another builder or commit."""
    try:
        found = _decoder.decode(file.read_bytes())
    except (OSError, msgspec.MsgspecError, UnicodeDecodeError, RecursionError):
        return None
    return found if (found.builder, found.commit) == (builder, commit) else None


def save(file: Path, prints: Fingerprints) -> None:
    """Write *prints* to *file*. If that fails, the next publication renders the site."""
    beside = file.with_suffix(".new")
    with contextlib.suppress(OSError):
        file.parent.mkdir(exist_ok=True)
        beside.write_bytes(msgspec.msgpack.encode(prints))
        beside.replace(file)


def recording(files: Iterable[Rendered], into: dict[str, Fingerprint]) -> Iterator[Rendered]:
    """Yield *files*, and record the fingerprint of each in *into*."""
    for file in files:
        into[file.path] = fingerprint(file.data)
        yield file
