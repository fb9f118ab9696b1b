"""
Purge documents that changed from the caches of a content delivery network: CloudFront and Cloudflare.

A purge names URLs, never a whole zone. It contains no secret, and repeating it is harmless.

Sources: CreateInvalidation of the CloudFront API (2020-05-31); "Purge cached content" of the Cloudflare API v4.
"""

from __future__ import annotations

import hashlib
import re
import time
from collections.abc import Mapping, Sequence
from typing import Protocol
from urllib.parse import urlsplit

import msgspec

from keyvault.core.text import elided, quoted
from keyvault.errors import PublishError, UsageError
from keyvault.publish import aws

#: The timeouts of a request, and of all requests of a purge, in seconds.
REQUEST_TIME, PURGE_TIME = 15.0, 120.0

#: The limit of Cloudflare: URLs in a request.
BATCH = 30

#: CloudFront accepts 3,000 paths at a time; a purge of more than this is a single path with a wildcard.
PATHS_MAX = 1_000

_ANSWER_MAX = 64 * 1024
_LOOPBACK = ("localhost", "127.0.0.1", "::1")
_FORMS = "--invalidate cloudfront:DISTRIBUTION_ID, or --invalidate cloudflare:ZONE_ID"


class Cache(Protocol):
    """The caches of a content delivery network."""

    @property
    def name(self) -> str:
        """The name in messages, as on the command line."""

    def purge(self, urls: Sequence[str], *, reference: str) -> None:
        """
        Drop the copies of *urls*; purges with the same *reference* count as one purge.

        Raises:
            PublishError: If the network refuses, or cannot be reached.
        """

    def manual_command(self, urls: Sequence[str]) -> str:
        """Return a shell command for the user that purges *urls*."""


def open_cache(text: str, environ: Mapping[str, str]) -> Cache:
    """
    Return the caches that *text* names: ``cloudfront:DISTRIBUTION_ID`` or ``cloudflare:ZONE_ID``.

    Raises:
        UsageError: If it names none, or a token or an extra that it needs is missing.
        PublishError: If the environment sets an endpoint without TLS.
    """
    kind, _, name = text.partition(":")
    if kind == "cloudfront" and re.fullmatch(r"[A-Z0-9]{8,20}", name):
        return CloudFront(name, environ)
    if kind == "cloudflare" and re.fullmatch(r"[0-9a-f]{32}", name):
        return Cloudflare(name, environ)
    raise UsageError(f"unsupported cache: {quoted(text, 100)}", code="cache-unsupported", hint=_FORMS)


def _check_endpoint(url: str) -> str:
    parts = urlsplit(url)
    if parts.scheme != "https" and not (parts.scheme == "http" and parts.hostname in _LOOPBACK):
        message = f"{elided(url)[:200]} is not https: credentials would be sent in the clear"
        raise PublishError(message, code="endpoint-not-https")
    return url.rstrip("/")


class CloudFront:
    """A distribution of Amazon CloudFront."""

    def __init__(self, distribution: str, environ: Mapping[str, str]) -> None:
        """
        Args:
            distribution: Its id.
            environ: Has the credentials, as for S3.
        """
        session = aws.session(environ)  # first, since it reports a missing boto3
        from botocore.config import Config

        self._distribution = distribution
        config = Config(
            connect_timeout=REQUEST_TIME,
            read_timeout=REQUEST_TIME,
            retries={"mode": "standard", "total_max_attempts": 3},
        )
        self._client = session.client("cloudfront", region_name="us-east-1", config=config)
        _check_endpoint(self._client.meta.endpoint_url)

    @property
    def name(self) -> str:
        """The name, as on the command line."""
        return f"cloudfront:{self._distribution}"

    def purge(self, urls: Sequence[str], *, reference: str) -> None:
        """Drop the copies of *urls*; see `Cache`."""
        from botocore.exceptions import BotoCoreError, ClientError

        paths = _paths(urls)
        # CloudFront refuses a reference that it knows with other paths.
        digest = hashlib.sha256("\n".join(paths).encode()).hexdigest()[:16]
        batch = {
            "Paths": {"Quantity": len(paths), "Items": paths},
            "CallerReference": f"keyvault-{reference}-{digest}",
        }
        try:
            self._client.create_invalidation(DistributionId=self._distribution, InvalidationBatch=batch)
        except ClientError as error:
            details = error.response.get("Error", {})
            raise PublishError(_line(f"{details.get('Code')}: {details.get('Message')}"), code="purge-failed") from None
        except BotoCoreError as error:
            raise PublishError(_line(str(error)), code="purge-failed") from None

    def manual_command(self, urls: Sequence[str]) -> str:
        """Return a command that purges *urls*; if they are more than `BATCH`, it purges the whole distribution."""
        paths = " ".join(f"'{path}'" for path in (_paths(urls) if len(urls) <= BATCH else ["/*"]))
        return f"aws cloudfront create-invalidation --distribution-id {self._distribution} --paths {paths}"


def _paths(urls: Sequence[str]) -> list[str]:
    """Return the paths of *urls*; if there are too many, a single wildcard that matches all of them."""
    paths = sorted({urlsplit(url).path for url in urls})
    if len(paths) <= PATHS_MAX:
        return paths
    first, last = paths[0], paths[-1]
    common = next((count for count, pair in enumerate(zip(first, last, strict=False)) if len({*pair}) > 1), len(first))
    return [first[:common].rpartition("/")[0] + "/*"]


class Cloudflare:
    """A zone of Cloudflare."""

    def __init__(self, zone: str, environ: Mapping[str, str]) -> None:
        """
        Args:
            zone: Its id.
            environ: Has ``CLOUDFLARE_API_TOKEN``, a token with permission to purge the cache.
        """
        self._zone = zone
        self._token = environ.get("CLOUDFLARE_API_TOKEN", "").strip()
        if not self._token or not re.fullmatch(r"[!-~]+", self._token):
            raise UsageError(
                "purging cloudflare needs a token with permission to purge the cache",
                code="token-missing",
                hint="export CLOUDFLARE_API_TOKEN=TOKEN",
            )
        base = environ.get("CLOUDFLARE_API_BASE_URL") or "https://api.cloudflare.com/client/v4"
        self._url = f"{_check_endpoint(base)}/zones/{zone}/purge_cache"

    @property
    def name(self) -> str:
        """The name, as on the command line."""
        return f"cloudflare:{self._zone}"

    def purge(self, urls: Sequence[str], *, reference: str) -> None:
        """Drop the copies of *urls*; see `Cache`. Cloudflare has no references: each purge is new."""
        deadline = time.monotonic() + PURGE_TIME
        for start in range(0, len(urls), BATCH):
            if time.monotonic() > deadline:
                message = f"only {start} of {len(urls)} URLs were purged within {PURGE_TIME:.0f} s"
                raise PublishError(message, code="purge-failed")
            self._purge(urls[start : start + BATCH])

    def _purge(self, urls: Sequence[str]) -> None:
        from urllib3 import PoolManager, Retry, Timeout
        from urllib3.exceptions import HTTPError

        retries = Retry(
            2,
            redirect=False,
            allowed_methods=["POST"],
            status_forcelist=[429, 500, 502, 503, 504],
            backoff_factor=0.5,
            respect_retry_after_header=False,
            raise_on_status=False,
        )
        headers = {
            "Authorization": f"Bearer {self._token}",
            "Content-Type": "application/json",
            "User-Agent": "keyvault",
        }
        try:
            with PoolManager() as pool:
                response = pool.request(
                    "POST",
                    self._url,
                    body=msgspec.json.encode({"files": list(urls)}),
                    headers=headers,
                    retries=retries,
                    timeout=Timeout(total=REQUEST_TIME),
                    preload_content=False,
                )
                body = response.read(_ANSWER_MAX)
        except (HTTPError, OSError) as error:
            reason = type(getattr(error, "reason", None) or error).__name__
            message = _line(f"{urlsplit(self._url).hostname} cannot be reached: {reason}")
            raise PublishError(message, code="purge-failed") from None
        _check_answer(response.status, body)

    def manual_command(self, urls: Sequence[str]) -> str:
        """Return a command that purges *urls*; if they are more than `BATCH`, only the first ones, as in a request."""
        files = ",".join(f'"{url}"' for url in urls[:BATCH])
        return (
            f"curl -X POST https://api.cloudflare.com/client/v4/zones/{self._zone}/purge_cache"
            f" -H \"Authorization: Bearer $CLOUDFLARE_API_TOKEN\" -H 'Content-Type: application/json'"
            f" --data '{{\"files\":[{files}]}}'"
        )


def _check_answer(status: int, body: bytes) -> None:
    try:
        answer = msgspec.json.decode(body)
    except (msgspec.MsgspecError, RecursionError, UnicodeDecodeError):
        answer = None
    if status == 200 and isinstance(answer, dict) and answer.get("success") is True:
        return
    errors = answer.get("errors") if isinstance(answer, dict) else None
    first = errors[0] if isinstance(errors, list) and errors and isinstance(errors[0], dict) else {}
    details = f": {first.get('code')} {first.get('message')}" if first else ""
    raise PublishError(_line(f"it answers with status {status}{details}"), code="purge-failed")


def _line(text: str) -> str:
    """Return *text* of a server as part of a message."""
    return elided(" ".join(text.split()))[:300].rstrip(".")
