"""
Object stores: S3 and what speaks like it, Google Cloud Storage, Azure Blob Storage.

Every write is conditional on what was seen before, so that of two publishers that meet the later one is told.
Credentials come from where each cloud's own tools look for them in the environment.

Sources: the reference of obstore; RFC 9110 section 13.1.1; docs/adr/0018.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from datetime import timedelta
from typing import TYPE_CHECKING, Any, TypeVar
from urllib.parse import urlsplit

from keyvault.core.text import elided, printable
from keyvault.errors import ConflictError, PublishError, UsageError

if TYPE_CHECKING:
    from collections.abc import Callable

#: By the scheme of a destination.
SCHEMES = ("s3", "gs", "az")

#: How many requests are under way at once.
PARALLEL = 16

_ENDPOINTS = ("AWS_ENDPOINT_URL_S3", "AWS_ENDPOINT_URL", "AWS_ENDPOINT")
_STATUS = re.compile(r"status code: (\d{3}) ([A-Za-z ]+)")
_MD5 = re.compile(r'"?([0-9a-f]{32})"?')
_LOOPBACK = ("localhost", "127.0.0.1", "::1")

T = TypeVar("T")
R = TypeVar("R")


@dataclass(frozen=True, slots=True)
class Stored:
    """What a store says of an object: its size in bytes, and what a conditional write of it has to name."""

    size: int
    e_tag: str | None
    version: str | None


@dataclass(frozen=True, slots=True)
class Found:
    """An object that was read: its bytes, its headers, and what is stored."""

    data: bytes
    headers: Mapping[str, str]
    stored: Stored


class ObjectStore:
    """A bucket or container, or a part of it below a prefix."""

    def __init__(self, destination: str, environ: Mapping[str, str]) -> None:
        """
        Open ``s3://BUCKET/PREFIX``, ``gs://BUCKET/PREFIX`` or ``az://CONTAINER/PREFIX``.

        Nothing is asked yet.

        Raises:
            UsageError: It names no bucket, or the extra ``stores`` is not installed.
            PublishError: The environment says something that cannot be.
        """
        parts = urlsplit(destination)
        form = f"{parts.scheme}://{'CONTAINER' if parts.scheme == 'az' else 'BUCKET'}/PREFIX"
        if "@" in parts.netloc:  # not shown: a password may stand there
            raise UsageError(
                f"{parts.scheme}:// takes no user: credentials come from the environment", hint=f"write {form}"
            )
        if not parts.netloc or parts.query or parts.fragment:
            raise UsageError(f"{elided(destination)[:200]} names no bucket", hint=f"write {form}")
        prefix = parts.path.strip("/")
        if printable(destination) != destination or (prefix and {"", ".", ".."} & set(prefix.split("/"))):
            raise UsageError(f"{elided(destination)[:200]} has a prefix that cannot be", hint=f"write {form}")
        try:
            from obstore.exceptions import BaseError
            from obstore.store import AzureStore, GCSStore, S3Store
        except ImportError:
            raise UsageError(
                f"publishing to {parts.scheme}:// needs obstore, which is not installed",
                hint="pip install 'jwks-keyvault[stores]'",
            ) from None
        self.name = destination.rstrip("/")
        self._scheme = parts.scheme
        options: dict[str, Any] = {"timeout": timedelta(seconds=30), "connect_timeout": timedelta(seconds=10)}
        endpoint = next((environ[name] for name in _ENDPOINTS if environ.get(name)), None)
        if parts.scheme == "s3" and endpoint and urlsplit(endpoint).hostname in _LOOPBACK:
            options["allow_http"] = True  # a store on this machine; any other has to speak TLS
        arguments: dict[str, Any] = {
            "prefix": prefix or None,
            "client_options": options,
            "retry_config": {"max_retries": 4, "retry_timeout": timedelta(seconds=60)},
        }
        store: Any
        try:
            if parts.scheme == "s3":
                if endpoint:
                    arguments["endpoint"] = endpoint
                store = S3Store(parts.netloc, **arguments)
            elif parts.scheme == "gs":
                store = GCSStore(parts.netloc, **arguments)
            else:
                store = AzureStore(parts.netloc, **arguments)
        except (BaseError, OSError, ValueError) as error:
            raise self._failure(error) from None
        self._store = store

    def _failure(self, error: Exception) -> PublishError:
        """Return what *error*, of obstore, says in short: the rest are Rust's own structures and the body."""
        text = re.split(r"\n|\s*Debug source:", str(error))[0]
        status = _STATUS.search(text)
        if status:
            text = f"the store answers {status[1]} {status[2]}"
        denied = type(error).__name__ in ("PermissionDeniedError", "UnauthenticatedError") or (
            status is not None and status[1] in ("401", "403")
        )
        hint = "check the credentials, and what they may do: list, read, write, delete" if denied else None
        return PublishError(f"{self.name}: {elided(text).strip().rstrip('.')[:300]}", hint=hint)

    def listing(self) -> dict[str, Stored]:
        """
        Return every object by its path.

        Raises:
            PublishError: The store cannot be listed.
        """
        import obstore

        try:
            return {
                meta["path"]: Stored(meta["size"], meta.get("e_tag"), meta.get("version"))
                for chunk in obstore.list(self._store, chunk_size=1000)
                for meta in chunk
            }
        except Exception as error:
            raise self._failure(error) from None

    def read(self, path: str) -> Found | None:
        """
        Return the object at *path*, or None where there is none.

        Raises:
            PublishError: It cannot be read.
        """
        import obstore
        from obstore.exceptions import NotFoundError

        try:
            result = obstore.get(self._store, path)
            meta, attributes = result.meta, result.attributes
            headers = {str(name): str(value) for name, value in attributes.items()}
            return Found(bytes(result.bytes()), headers, Stored(meta["size"], meta.get("e_tag"), meta.get("version")))
        except (NotFoundError, FileNotFoundError):
            return None
        except Exception as error:
            raise self._failure(error) from None

    def holds(self, path: str, stored: Stored, data: bytes) -> bool:
        """Whether the object at *path*, stored so, has just these bytes; it is read where its ETag does not tell."""
        if stored.size != len(data):
            return False
        match = _MD5.fullmatch(stored.e_tag or "")
        if match and match[1] == hashlib.md5(data, usedforsecurity=False).hexdigest():
            return True
        found = self.read(path)
        return found is not None and found.data == data

    def write(self, path: str, data: bytes, headers: Mapping[str, str], *, over: Stored | None) -> None:
        """
        Write an object in the place of *over*, or of nothing.

        Raises:
            ConflictError: Something else is there.
            PublishError: It cannot be written.
        """
        import obstore
        from obstore.exceptions import AlreadyExistsError, PreconditionError

        mode: Any = "create"
        if over is not None:
            if self._scheme == "gs" and over.version is None:  # a listing there does not tell the generation
                found = self.read(path)
                over = found.stored if found else over
            named = {"e_tag": over.e_tag, "version": over.version}
            mode = {name: value for name, value in named.items() if value is not None}
        attributes: Any = {name: value for name, value in headers.items() if name in ("Content-Type", "Cache-Control")}
        try:
            obstore.put(self._store, path, data, attributes=attributes, mode=mode, use_multipart=False)
        except (AlreadyExistsError, PreconditionError, FileExistsError):
            # An answer that was lost is asked for again, and then meets what the first request wrote.
            found = self.read(path)
            if found is None or found.data != data:
                raise ConflictError(
                    f"{self.name}/{path} was written by somebody else meanwhile", hint="run publish again"
                ) from None
        except Exception as error:
            raise self._failure(error) from None

    def delete(self, paths: Sequence[str]) -> None:
        """
        Delete objects; one that is not there is no error.

        Raises:
            PublishError: The store refuses.
        """
        import obstore
        from obstore.exceptions import NotFoundError

        def drop(path: str) -> None:
            try:
                obstore.delete(self._store, path)
            except (NotFoundError, FileNotFoundError):
                pass
            except Exception as error:
                raise self._failure(error) from None

        for _ in in_parallel(drop, paths):
            pass


def in_parallel(action: Callable[[T], R], items: Iterable[T]) -> Iterator[R]:
    """Yield what *action* gives for each of *items*, in order; after the first error nothing more is begun."""
    with ThreadPoolExecutor(PARALLEL) as pool:
        try:
            yield from pool.map(action, items)
        except BaseException:
            pool.shutdown(cancel_futures=True)
            raise
