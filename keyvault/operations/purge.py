"""
Purge the documents that a publication changed from the caches in front of the destination.

If a purge fails, a note in the git directory makes the next publication to the same destination retry it. If an upload
is interrupted before its purge, the next publication purges all documents.
"""

from __future__ import annotations

import contextlib
import hashlib
from collections.abc import Collection, Iterator, Sequence
from typing import TYPE_CHECKING
from urllib.parse import quote

import msgspec

from keyvault.core.state import Commit
from keyvault.errors import AuditError, GateError, PublishError, RenderError, UsageError
from keyvault.operations.context import Context

if TYPE_CHECKING:
    from keyvault.publish.destination import Changes
    from keyvault.publish.invalidate import Cache

#: Errors that are raised before anything is written.
_NOTHING_WRITTEN = (UsageError, GateError, AuditError, RenderError)


class Purge:
    """The purge that follows a publication."""

    def __init__(self, context: Context, commit: Commit, destination: str, caches: Sequence[Cache]) -> None:
        """
        Args:
            context: The vault.
            commit: The commit that is published.
            destination: The destination, as the command names it.
            caches: The caches in front of it.
        """
        self._context, self._commit, self._caches = context, commit, caches
        name = hashlib.sha256("\n".join([destination, *(cache.name for cache in caches)]).encode()).hexdigest()[:32]
        self._note = context.repository.git.git_dir / "keyvault-rendered" / f"purge-{name}"
        #: Paths whose purge an earlier run did not finish; None for all documents.
        self._unfinished: list[str] | None = []

    @contextlib.contextmanager
    def pending(self, *, dry_run: bool) -> Iterator[None]:
        """Note that documents may change: if this run is interrupted, the next run purges them."""
        if not self._caches:
            yield
            return
        self._unfinished = self._read()
        if dry_run:
            yield
            return
        self._write(None)
        try:
            yield
        except _NOTHING_WRITTEN:
            self._write(self._unfinished)
            raise

    def finish(self, changes: Changes, documents: Collection[str], *, dry_run: bool) -> list[str]:
        """
        Purge the documents that *changes* names and those of unfinished runs, and return their URLs.

        Raises:
            PublishError: If a cache cannot be purged: the site is published, and the next publication retries.
        """
        if not self._caches:
            return []
        if self._unfinished is None:
            paths = sorted(documents)
        else:
            changed = {path for path in changes.uploaded if path in documents}
            paths = sorted(changed.union(self._unfinished, filter(_is_document, changes.deleted)))
        base = self._context.state(self._commit, envelopes=False).policy.site.url if paths else ""
        urls = [f"{base}/{quote(path)}" for path in paths]
        if dry_run:
            return urls
        if urls:
            self._write(paths)
            for cache in self._caches:
                self._purge(cache, urls)
        self._write([])
        return urls

    def _purge(self, cache: Cache, urls: Sequence[str]) -> None:
        try:
            cache.purge(urls, reference=self._commit)
        except PublishError as error:
            raise PublishError(
                f"the site is published, but {cache.name} still serves old copies: {error.message}",
                code="purge-failed",
                hint=f"run publish again, or purge by hand: {cache.manual_command(urls)}",
            ) from None

    def _read(self) -> list[str] | None:
        try:
            return msgspec.json.decode(self._note.read_bytes(), type=list[str] | None)
        except FileNotFoundError:
            return []
        except (OSError, msgspec.MsgspecError, UnicodeDecodeError):
            return None

    def _write(self, paths: list[str] | None) -> None:
        with contextlib.suppress(OSError):  # without a note, only the retry is lost
            if paths == []:
                self._note.unlink(missing_ok=True)
                return
            self._note.parent.mkdir(exist_ok=True)
            self._note.write_bytes(msgspec.json.encode(paths))


def _is_document(path: str) -> bool:
    """Whether *path* may be a document that verifiers fetch: a JWK Set or a discovery document."""
    from keyvault.site.headers import content_type

    return content_type(path) == "application/json" and not path.startswith(("keys/", "assets/", "history."))
