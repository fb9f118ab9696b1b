"""Search for private keys in the clear: in staged files, in commits, in files and folders."""

from __future__ import annotations

import fnmatch
import os
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from keyvault.core.leaks import find_private
from keyvault.core.text import elided, printable
from keyvault.errors import UsageError
from keyvault.progress import Progress, quiet, with_progress
from keyvault.repo.git import Git


@dataclass(frozen=True, slots=True)
class GuardFinding:
    """
    A private key in the clear.

    Attributes:
        path: The file that holds it.
        what: A description of the key.
        blob: The git object, or empty for a file of a folder.
    """

    path: str
    what: str
    blob: str


@dataclass(frozen=True, slots=True)
class GuardResult:
    """
    The result of a search.

    Attributes:
        files: How many files, or versions of files, were searched.
        findings: The private keys that were found.
    """

    files: int
    findings: tuple[GuardFinding, ...]


def guard_staged(folder: Path, environ: Mapping[str, str], *, exclude: Sequence[str] = ()) -> GuardResult:
    """Search the files that ``git commit`` would add in the repository of *folder*."""
    git = Git.open(folder, environ)
    return _search(_blobs(git, [(path, oid) for path, oid in git.staged() if not _is_excluded(path, exclude)]))


def guard_commits(
    folder: Path,
    environ: Mapping[str, str],
    revisions: Sequence[str],
    *,
    exclude: Sequence[str] = (),
    progress: Progress = quiet,
) -> GuardResult:
    """
    Search every version of every file that commits added.

    Args:
        folder: A folder in the repository.
        environ: The caller's environment.
        revisions: As git names them: ``HEAD`` for all of its history, ``origin/main..HEAD`` for new commits.
        exclude: Patterns of paths that are not searched.
        progress: Receives progress reports.

    Raises:
        GitError: If there is no such revision, or the clone is shallow.
    """
    git = Git.open(folder, environ)
    files = [(path, oid) for path, oid in git.new_blobs(revisions) if not _is_excluded(path, exclude)]
    return _search(with_progress(_blobs(git, files), progress, "searching", len(files)))


def guard_paths(paths: Iterable[Path], *, exclude: Sequence[str] = ()) -> GuardResult:
    """
    Search files, and every file below folders. Links are not followed, and ``.git`` is skipped.

    Raises:
        UsageError: If one of *paths* does not exist or cannot be read.
    """
    return _search(_files(paths, exclude))


def _search(files: Iterable[tuple[str, str, bytes]]) -> GuardResult:
    count, findings = 0, []
    for path, oid, data in files:
        count += 1
        if what := find_private(data):
            findings.append(GuardFinding(printable(path), what, oid))
    return GuardResult(count, tuple(findings))


def _blobs(git: Git, files: Sequence[tuple[str, str]]) -> Iterator[tuple[str, str, bytes]]:
    for (path, oid), data in zip(files, git.blobs(oid for _, oid in files), strict=True):
        yield path, oid, data


def _files(paths: Iterable[Path], exclude: Sequence[str]) -> Iterator[tuple[str, str, bytes]]:
    for path in paths:
        if not path.exists():
            raise UsageError(f"{elided(str(path))} does not exist", code="file-not-found")
        for file in sorted(_below(path)):
            if not _is_excluded(file.as_posix(), exclude):
                try:
                    yield str(file), "", file.read_bytes()
                except OSError as error:
                    raise UsageError(
                        f"{elided(str(file))} cannot be read: {error.strerror}", code="file-unreadable"
                    ) from None


def _below(path: Path) -> Iterator[Path]:
    if not path.is_dir():
        yield path
        return
    for folder, folders, names in os.walk(path):
        if ".git" in folders:
            folders.remove(".git")
        for name in names:
            file = Path(folder, name)
            if file.is_file() and not file.is_symlink():
                yield file


def _is_excluded(path: str, patterns: Sequence[str]) -> bool:
    return any(fnmatch.fnmatchcase(path, pattern) for pattern in patterns)
