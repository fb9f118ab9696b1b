"""
Publish a site to an object store.

history.json is written first: it names the commit that the upload leads to. JWK Sets and discovery documents follow,
then the rest; deletions come last. Each file is compared as soon as it is rendered. Files that differ wait in one
temporary file until the whole site is rendered.

Source: docs/adr/0018.
"""

from __future__ import annotations

import contextlib
import re
import tempfile
import threading
from collections import deque
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from typing import IO, TypeVar

from keyvault.errors import ConflictError, PublishError
from keyvault.progress import Progress
from keyvault.publish.destination import (
    HISTORY,
    Changes,
    Contents,
    OpenDestination,
    Rendering,
    SitesBelow,
    is_kept,
    live_commit,
)
from keyvault.publish.fingerprints import Fingerprint, Fingerprints, fingerprint
from keyvault.publish.stores import PARALLEL, Found, ObjectStore, Stored, in_parallel

_MD5 = re.compile(r'"?([0-9a-f]{32})"?')

#: Headers that are compared.
_HEADERS = ("Content-Type", "Cache-Control")

#: How many files wait at most for an answer of the store, and how many prefixes above are read.
_WAITING, _ABOVE_MAX = 8 * PARALLEL, 8

#: Returns the headers of a path.
Headers = Callable[[str], Mapping[str, str]]
T = TypeVar("T")


class StoreDestination:
    """An object store as a destination of `publish`."""

    def __init__(self, store: ObjectStore, headers: Callable[[int], Headers], progress: Progress) -> None:
        """
        Args:
            store: The store.
            headers: Returns the headers of each path, for an age in seconds that JWK Sets may be cached.
            progress: Called with how many files were uploaded.
        """
        self._store, self._headers, self._progress = store, headers, progress

    @property
    def name(self) -> str:
        """The address of the store."""
        return self._store.name

    @property
    def alternative(self) -> str:
        """A hint for the user if the store holds files that are not a site."""
        return f"name an empty place, or a prefix below it: {self.name}/PREFIX; --keep GLOB leaves files there"

    @contextlib.contextmanager
    def open(self, keep: Sequence[str], *, dry_run: bool) -> Iterator[OpenDestination]:
        """List the store; see `Destination`."""
        yield _OpenStore(self._store, self._headers, self._progress, keep)


class _OpenStore:
    """An object store that was listed. Stores have no locks: conditional writes find other publishers."""

    def __init__(
        self, store: ObjectStore, headers: Callable[[int], Headers], progress: Progress, keep: Sequence[str]
    ) -> None:
        self._store, self._headers, self._progress = store, headers, progress
        self._there = there = store.listing()
        self._history = store.read(HISTORY) if HISTORY in there else None
        below = SitesBelow(there, self._read)
        own = {path for path in there if not below.hold(path) and not is_kept(path, keep)}
        self.contents = Contents(own, self._history.data if self._history else None, below, self._site_above())

    def _read(self, path: str) -> bytes | None:
        found = self._store.read(path)
        return None if found is None else found.data

    def _site_above(self) -> str | None:
        """Return the innermost site that the prefix lies in; a prefix without read access counts as none."""
        parts = self._store.prefix.split("/")
        for count in range(len(parts) - 1, -1, -1)[:_ABOVE_MAX] if self._store.prefix else ():
            above = self._store.at("/".join(parts[:count]))
            try:
                found = above.read(HISTORY)
            except PublishError:
                continue
            if found is not None and live_commit(found.data):
                return above.name
        return None

    def holds(self, site: Fingerprints) -> bool:
        """Whether the store has just the objects of *site*; see `OpenDestination`."""
        there = self._there
        if any(path not in site.files for path in self.contents.paths) or any(path not in there for path in site.files):
            return False
        comparison = _Comparison(self._store, there, self._history, site.documents, self._headers(site.max_age))
        items = ((path, wanted, None) for path, wanted in site.files.items())
        return next(comparison.differing(items), None) is None

    def write(self, rendering: Rendering, *, dry_run: bool) -> Changes:
        """Compare each file as it is rendered, and upload those that differ; see `OpenDestination`."""
        with tempfile.TemporaryFile() as file:
            files, spool = self.contents.below.refuse_below(rendering.files), _Spool(file)
            comparison = _Comparison(self._store, self._there, self._history, rendering.documents, rendering.headers)
            paths: dict[str, int] = {}

            def fingerprinted() -> Iterator[tuple[str, Fingerprint, bytes]]:
                for path, data in files:
                    paths[path] = len(paths)
                    yield path, fingerprint(data), data

            for path, data in comparison.differing(fingerprinted()):
                spool.add(path, data)
            phases = _phases(rendering.documents, sorted(spool.paths, key=paths.__getitem__))
            deleted = sorted(path for path in self.contents.paths if path not in paths)
            uploaded = [path for phase in phases for path in phase]
            if not dry_run and (uploaded or deleted):
                self._upload(phases, spool, rendering, comparison.seen)
                self._check_history(rendering.commit)
                self._store.delete(deleted)
        return Changes(len(paths), uploaded, deleted)

    def _upload(
        self,
        phases: Sequence[Sequence[str]],
        spool: _Spool,
        rendering: Rendering,
        seen: Mapping[str, Stored],
    ) -> None:
        """Write the files of *phases*, each phase after the previous phase is complete."""
        store, done, total = self._store, 0, sum(map(len, phases))

        def upload(path: str) -> None:
            store.write(path, spool.read(path), rendering.headers(path), over=seen.get(path))

        # Rendering takes a while, and a newer publication must not be overwritten: so refuse a store that ignores
        # conditions.
        history = store.read(HISTORY)
        if history is not None:
            store.check_conditions(HISTORY, history)
        for phase in phases:
            for _ in in_parallel(upload, phase):
                done += 1
                self._progress("uploading", done, total)
            if history is None and HISTORY in phase and (history := store.read(HISTORY)) is not None:
                store.check_conditions(HISTORY, history)

    def _check_history(self, commit: str) -> None:
        last = self._store.read(HISTORY)
        if last is None or live_commit(last.data) != commit:
            raise ConflictError(
                f"{self._store.name} is being published by somebody else",
                code="publish-conflict",
                hint="run publish again, at the newest commit",
            )


class _Comparison:
    """
    Compares the files of a site with objects.

    JWK Sets, discovery documents and history.json are read and compared with their headers. For other objects the
    ETag is compared if it is an MD5; if not, they are read.

    Attributes:
        seen: The stored object at each path; a conditional write names it.
    """

    def __init__(
        self,
        store: ObjectStore,
        there: Mapping[str, Stored],
        history: Found | None,
        documents: Collection[str],
        headers: Headers,
    ) -> None:
        self._store, self._there, self._documents, self._headers = store, there, documents, headers
        # A policy that changed max_age changes the headers of all objects, and the bytes of none.
        self._headers_hold = history is not None and self._has_headers(HISTORY, history)
        self._history = history
        self.seen: dict[str, Stored] = dict(there)
        if history is not None:
            self.seen[HISTORY] = history.stored

    def _has_headers(self, path: str, found: Found) -> bool:
        wanted = self._headers(path)
        return all(found.headers.get(name) == wanted[name] for name in _HEADERS)

    def differing(self, items: Iterable[tuple[str, Fingerprint, T]]) -> Iterator[tuple[str, T]]:
        """Yield (path, data) of each item that the store does not have; only a few wait for an answer at a time."""
        waiting: deque[tuple[str, T, Future[bool]]] = deque()
        with ThreadPoolExecutor(PARALLEL) as pool:
            try:
                for path, wanted, data in items:
                    differs = self._by_listing(path, wanted)
                    if differs is None:
                        waiting.append((path, data, pool.submit(self._by_reading, path, wanted)))
                    elif differs:
                        yield path, data
                    while len(waiting) > _WAITING or (waiting and waiting[0][2].done()):
                        first, kept, answer = waiting.popleft()
                        if answer.result():
                            yield first, kept
                for first, kept, answer in waiting:
                    if answer.result():
                        yield first, kept
            except BaseException:
                pool.shutdown(cancel_futures=True)
                raise

    def _by_listing(self, path: str, wanted: Fingerprint) -> bool | None:
        """Return whether the object differs, or None if it has to be read."""
        stored = self._there.get(path)
        if stored is None:
            return True
        if path == HISTORY and self._history is not None:
            return not self._headers_hold or fingerprint(self._history.data) != wanted
        if path in self._documents:
            return None
        if not self._headers_hold or stored.size != wanted.size:
            return True
        match = _MD5.fullmatch(stored.e_tag or "")
        return False if match and bytes.fromhex(match[1]) == wanted.md5 else None

    def _by_reading(self, path: str, wanted: Fingerprint) -> bool:
        found = self._store.read(path)
        if found is None:
            self.seen.pop(path, None)
            return True
        self.seen[path] = found.stored
        headers_differ = path in self._documents and not self._has_headers(path, found)
        return headers_differ or fingerprint(found.data) != wanted


class _Spool:
    """Files that wait for their upload, one after the other in one temporary file."""

    def __init__(self, file: IO[bytes]) -> None:
        self._file, self._lock = file, threading.Lock()
        self._places: dict[str, tuple[int, int]] = {}

    @property
    def paths(self) -> Iterable[str]:
        return self._places

    def add(self, path: str, data: bytes) -> None:
        self._places[path] = (self._file.tell(), len(data))
        self._file.write(data)

    def read(self, path: str) -> bytes:
        offset, length = self._places[path]
        with self._lock:
            self._file.seek(offset)
            return self._file.read(length)


def _phases(documents: Collection[str], changed: Iterable[str]) -> list[list[str]]:
    """Return *changed* as groups, each of which is written after the previous group is complete."""
    groups: list[list[str]] = [[], [], [], []]
    for path in changed:
        if path == HISTORY:
            groups[0].append(path)
        elif path in documents:
            groups[1].append(path)
        elif path.startswith("assets/"):  # a page without its style is half a page
            groups[2].append(path)
        else:
            groups[3].append(path)
    return groups
