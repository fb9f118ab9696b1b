"""
Read and write object stores: S3 and compatible stores, Google Cloud Storage, Azure Blob Storage.

Every write is conditional on the version that was read before, so that of two publishers at the same time, the later
is refused. Credentials come from the same sources as for each cloud's own tools.

Sources: the reference of obstore; RFC 9110 section 13.1.1; docs/adr/0018.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from copy import copy
from dataclasses import dataclass
from datetime import timedelta
from typing import TYPE_CHECKING, Any, TypeVar
from urllib.parse import urlsplit

from keyvault.core.text import elided, printable
from keyvault.errors import ConflictError, PublishError, UsageError
from keyvault.publish import aws
from keyvault.publish.store_errors import explain

if TYPE_CHECKING:
    from collections.abc import Callable

#: How many requests run at the same time.
PARALLEL = 16

_ENDPOINTS = ("AWS_ENDPOINT_URL_S3", "AWS_ENDPOINT_URL", "AWS_ENDPOINT")
_LOOPBACK = ("localhost", "127.0.0.1", "::1")

#: A version that no object has: a store that supports conditions refuses to replace it.
_NO_SUCH_STATE = {"e_tag": '"00000000000000000000000000000000"', "version": "1"}

T = TypeVar("T")
R = TypeVar("R")


@dataclass(frozen=True, slots=True)
class Stored:
    """The state of an object: its size in bytes, and the identifiers of its version for a conditional write."""

    size: int
    e_tag: str | None
    version: str | None


@dataclass(frozen=True, slots=True)
class Found:
    """An object that was read: its bytes, its headers, and its state."""

    data: bytes
    headers: Mapping[str, str]
    stored: Stored


class ObjectStore:
    """A bucket or container, or a part of it below a prefix."""

    def __init__(self, destination: str, environ: Mapping[str, str]) -> None:
        """
        Open ``s3://BUCKET/PREFIX``, ``gs://BUCKET/PREFIX`` or ``az://CONTAINER/PREFIX``.

        This sends no request.

        Raises:
            UsageError: If it has no bucket or an invalid prefix, or the extra ``stores`` is not installed.
            PublishError: If the environment has an invalid setting.
        """
        parts = urlsplit(destination)
        form = f"{parts.scheme}://{'CONTAINER' if parts.scheme == 'az' else 'BUCKET'}/PREFIX"
        if "@" in parts.netloc:  # not shown, since it may contain a password
            raise UsageError(
                f"{parts.scheme}:// takes no user: credentials come from the environment",
                code="destination-invalid",
                hint=f"write {form}",
            )
        if not parts.netloc or parts.query or parts.fragment:
            message = f"{elided(destination)[:200]} names no bucket"
            raise UsageError(message, code="destination-invalid", hint=f"write {form}")
        prefix = parts.path.strip("/")
        if printable(destination) != destination or (prefix and {"", ".", ".."} & set(prefix.split("/"))):
            message = f"{elided(destination)[:200]} has an invalid prefix"
            raise UsageError(message, code="destination-invalid", hint=f"write {form}")
        try:
            from obstore.exceptions import BaseError
            from obstore.store import AzureStore, GCSStore, S3Store
        except ImportError:
            raise UsageError(
                f"publishing to {parts.scheme}:// needs obstore, which is not installed",
                code="extra-missing",
                hint="pip install 'jwks-keyvault[stores]'",
            ) from None
        self.name = destination.rstrip("/")
        self._scheme, self._bucket, self._prefix = parts.scheme, parts.netloc, prefix
        options: dict[str, Any] = {"timeout": timedelta(seconds=30), "connect_timeout": timedelta(seconds=10)}
        arguments: dict[str, Any] = {
            "client_options": options,
            "retry_config": {"max_retries": 4, "retry_timeout": timedelta(seconds=60)},
        }
        if parts.scheme == "s3":
            endpoint = next((environ[name] for name in _ENDPOINTS if environ.get(name)), None)
            if endpoint:
                arguments["endpoint"] = endpoint
                # Only a store on this machine may be used without TLS.
                options["allow_http"] = urlsplit(endpoint).hostname in _LOOPBACK
            # A bucket with an object lock requires checksums.
            arguments["checksum_algorithm"] = "SHA256"
            arguments |= aws.credentials(environ)
        kind: Any = {"s3": S3Store, "gs": GCSStore, "az": AzureStore}[parts.scheme]
        self._make: Callable[[str], Any] = lambda prefix: kind(parts.netloc, prefix=prefix or None, **arguments)
        try:
            self._store = self._make(prefix)
        except (BaseError, OSError, ValueError) as error:
            raise explain(self.name, error) from None

    def listing(self) -> dict[str, Stored]:
        """
        Return every object by its path.

        Raises:
            PublishError: If the store cannot be listed.
        """
        import obstore

        try:
            return {
                meta["path"]: Stored(meta["size"], meta.get("e_tag"), meta.get("version"))
                for chunk in obstore.list(self._store, chunk_size=1000)
                for meta in chunk
            }
        except Exception as error:
            raise explain(self.name, error) from None

    def read(self, path: str) -> Found | None:
        """
        Return the object at *path*, or None if there is none.

        Raises:
            PublishError: If it cannot be read.
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
            raise explain(self.name, error) from None

    @property
    def prefix(self) -> str:
        """The prefix, without slashes around it."""
        return self._prefix

    def at(self, prefix: str) -> ObjectStore:
        """Return the part of the same bucket below *prefix*."""
        other = copy(self)
        other.name = f"{self._scheme}://{self._bucket}/{prefix}".rstrip("/")
        other._prefix, other._store = prefix, self._make(prefix)
        return other

    def check_conditions(self, path: str, found: Found) -> None:
        """
        Refuse a store that ignores the conditions of a write.

        Both kinds of condition are tried on the object at *path*, with its own bytes, so that nothing changes.

        Raises:
            PublishError: If the store writes nevertheless, or cannot be reached.
        """
        import obstore
        from obstore.exceptions import AlreadyExistsError, PreconditionError

        for mode in ("create", _NO_SUCH_STATE):
            try:
                obstore.put(
                    self._store,
                    path,
                    found.data,
                    attributes=_attributes(found.headers),
                    mode=mode,  # type: ignore[arg-type]  # a mapping, for this mode
                    use_multipart=False,
                )
            except (AlreadyExistsError, PreconditionError, FileExistsError):
                continue
            except Exception as error:
                raise explain(self.name, error) from None
            raise PublishError(
                f"{self.name}: the store ignores conditional writes: two publishers would overwrite each other",
                code="store-unconditional",
                hint="use a store that supports If-Match and If-None-Match: docs/publishing.md#object-stores",
            )

    def write(self, path: str, data: bytes, headers: Mapping[str, str], *, over: Stored | None) -> None:
        """
        Write an object that replaces *over*, or is new if that is None.

        Raises:
            ConflictError: If the store has another object there.
            PublishError: If it cannot be written.
        """
        import obstore
        from obstore.exceptions import AlreadyExistsError, PreconditionError

        mode: Any = "create"
        if over is not None:
            if self._scheme == "gs" and over.version is None:  # a listing there has no generations
                found = self.read(path)
                over = found.stored if found else over
            named = {"e_tag": over.e_tag, "version": over.version}
            mode = {name: value for name, value in named.items() if value is not None}
        try:
            obstore.put(self._store, path, data, attributes=_attributes(headers), mode=mode, use_multipart=False)
        except (AlreadyExistsError, PreconditionError, FileExistsError):
            # If an answer was lost, the request was sent again, and met the object that the first request wrote.
            found = self.read(path)
            if found is None or found.data != data:
                message = f"another publisher has changed {self.name}/{path} meanwhile"
                raise ConflictError(message, code="publish-conflict", hint="run publish again") from None
        except Exception as error:
            raise explain(self.name, error) from None

    def delete(self, paths: Sequence[str]) -> None:
        """
        Delete objects; an object that does not exist is no error.

        Raises:
            PublishError: If the store refuses.
        """
        import obstore
        from obstore.exceptions import NotFoundError

        def drop(path: str) -> None:
            try:
                obstore.delete(self._store, path)
            except (NotFoundError, FileNotFoundError):
                pass
            except Exception as error:
                raise explain(self.name, error) from None

        for _ in in_parallel(drop, paths):
            pass


def _attributes(headers: Mapping[str, str]) -> Any:
    """Return those of *headers* that stores can keep."""
    return {name: value for name, value in headers.items() if name in ("Content-Type", "Cache-Control")}


def in_parallel(action: Callable[[T], R], items: Iterable[T]) -> Iterator[R]:
    """Yield the result of *action* for each of *items*, in order; the first error stops all that has not begun."""
    with ThreadPoolExecutor(PARALLEL) as pool:
        try:
            yield from pool.map(action, items)
        except BaseException:
            pool.shutdown(cancel_futures=True)
            raise
