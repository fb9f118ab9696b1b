"""
Fetch live JWK Sets, with limits on everything that a host could do.

A request takes at most 5 s and 256 KiB in all, redirects stay on the same origin, bodies are never decompressed, and
literal link-local addresses are refused, but not names that resolve to one. The result is data, which nobody has
checked.

Sources: docs/publishing.md; RFC 9110 sections 12.5.3 and 15.4.
"""

from __future__ import annotations

import ipaddress
import queue
import re
import socket
import ssl
import threading
import time
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from typing import TYPE_CHECKING, Any
from urllib.parse import urljoin, urlsplit

import msgspec

from keyvault.core.gate import ServedKeys
from keyvault.core.jwk import thumbprint
from keyvault.core.labels import shown
from keyvault.core.text import elided
from keyvault.errors import JWKError, LiveError

if TYPE_CHECKING:
    from urllib3 import PoolManager

TIMEOUT = 5.0
BODY_MAX = 256 * 1024
REDIRECTS_MAX = 3
KEYS_MAX = 1_000

_HINT = "check the host, then run again"

#: Text that the ssl module adds around the messages of OpenSSL.
_DECORATION = re.compile(r"^\[[A-Z0-9_: ]*\] | \(_ssl\.c:\d+\)$")

#: Returns (kid, thumbprint) of each key that the JWK Set at a URL serves, or raises LiveError.
FetchKeyIds = Callable[[str], ServedKeys]


@dataclass(frozen=True, slots=True)
class Fetched:
    """
    The results of several URLs.

    Attributes:
        live: The keys that each URL serves; None if it could not be fetched.
        problems: The error of each URL that could not be fetched.
    """

    live: Mapping[str, ServedKeys]
    problems: Mapping[str, str]


def fetch_all(urls: Iterable[str], fetch: FetchKeyIds) -> Fetched:
    """
    Fetch each of *urls* once, all hosts in parallel; after a host cannot be reached, its other URLs are skipped.

    Never raises because of a host: a URL that cannot be fetched gets None and a problem.
    """
    by_host: dict[str, list[str]] = {}
    for url in sorted(set(urls)):
        by_host.setdefault(urlsplit(url).netloc, []).append(url)
    answers: queue.Queue[dict[str, ServedKeys | str] | Exception] = queue.Queue()

    def run(host_urls: list[str]) -> None:
        try:
            answers.put(fetch_from_host(host_urls))
        except Exception as error:  # a bug, which is raised in the main thread
            answers.put(error)

    def fetch_from_host(host_urls: list[str]) -> dict[str, ServedKeys | str]:
        found: dict[str, ServedKeys | str] = {}
        for url in host_urls:
            try:
                found[url] = fetch(url)
            except LiveError as error:
                found[url] = error.message
                if error.code in ("unreachable", "tls"):
                    found.update(dict.fromkeys(host_urls[host_urls.index(url) + 1 :], error.message))
                    break
        return found

    for host_urls in by_host.values():
        threading.Thread(target=run, args=(host_urls,), daemon=True).start()
    live: dict[str, ServedKeys] = {}
    problems: dict[str, str] = {}
    for _ in by_host:
        answered = answers.get()
        if isinstance(answered, Exception):
            raise answered
        for url, answer in answered.items():
            live[url] = None if isinstance(answer, str) else answer
            if isinstance(answer, str):
                problems[url] = answer
    return Fetched(live, problems)


@dataclass(frozen=True, slots=True)
class Answer:
    """
    The answer of a host.

    Attributes:
        url: The URL of the request.
        status: The status of the last response.
        headers: Its headers, by lower-case names.
        body: Its body as it was sent.
        complete: Whether *body* is the whole body.
        redirects: The targets of redirects, in order.
        certificate_expires_at: The end of its certificate; None without TLS.
    """

    url: str
    status: int
    headers: Mapping[str, str]
    body: bytes
    complete: bool
    redirects: tuple[str, ...]
    certificate_expires_at: datetime | None


def fetch_key_ids(url: str) -> ServedKeys:
    """
    Return (kid, thumbprint) of each key that the JWK Set at *url* serves.

    Raises:
        LiveError: If it cannot be fetched, or is not a JWK Set.
    """
    body = fetch_body(url)
    try:
        document = msgspec.json.decode(body)
    except (msgspec.MsgspecError, RecursionError, UnicodeDecodeError):
        raise LiveError(f"{url} does not serve JSON", code="not-json") from None
    keys = document.get("keys") if isinstance(document, dict) else None
    if not isinstance(keys, list):
        raise LiveError(f"{url} does not serve a JWK Set", code="not-jwks")
    if len(keys) > KEYS_MAX:
        raise LiveError(f"{url} serves {len(keys)} keys; the limit is {KEYS_MAX}", code="not-jwks")
    return frozenset(_kids_and_thumbprints(keys))


def _kids_and_thumbprints(keys: list[Any]) -> Iterable[tuple[str, str]]:
    for jwk in keys:
        if isinstance(jwk, dict) and isinstance(jwk.get("kid"), str):
            try:
                yield jwk["kid"], thumbprint(jwk)
            except JWKError:
                continue  # a key of an unknown type cannot be ours


def fetch_body(url: str) -> bytes:
    """
    Return the body at *url*: status 200, not compressed, at most 256 KiB, within 5 s in all.

    Raises:
        LiveError: If the answer is anything else.
    """
    answer = request(url)
    if answer.status != 200:
        raise LiveError(f"{_printable(url)} answers with status {answer.status}", code="status")
    if answer.headers.get("content-encoding", "identity").lower() != "identity":
        raise LiveError(f"{_printable(url)} sends a compressed body, which was not requested", code="compressed")
    if not answer.complete:
        raise LiveError(f"{_printable(url)} serves more than {BODY_MAX // 1024} KiB", code="too-large")
    return answer.body


def request(url: str, *, max_bytes: int = BODY_MAX, verify: bool = True) -> Answer:
    """
    Return the answer of the host to a GET of *url*, within 5 s in all.

    Args:
        url: The URL.
        max_bytes: The limit of the body; the rest is not read.
        verify: Whether the certificate of the host must be valid.

    Raises:
        LiveError: If the URL is refused, or the host does not answer, or redirects to another host or endlessly.
    """
    answers: queue.Queue[Answer | Exception] = queue.Queue()

    def run() -> None:
        try:
            answers.put(_request(url, max_bytes, time.monotonic() + TIMEOUT, verify=verify))
        except Exception as error:  # LiveError, or a bug, which is raised in the main thread
            answers.put(error)

    # A host can send headers forever, each byte within the socket's timeout: the thread is then abandoned.
    threading.Thread(target=run, daemon=True).start()
    try:
        answer = answers.get(timeout=TIMEOUT + 0.5)
    except queue.Empty:
        message = f"{_printable(url)} did not answer within {TIMEOUT:.0f} s"
        raise LiveError(message, code="unreachable", hint=_HINT) from None
    if isinstance(answer, Exception):
        raise answer
    return answer


def server_date(url: str) -> datetime | None:
    """
    Return the date that the host of *url* sends, or None if it does not answer or sends none.

    To a clock that is far ahead, every certificate has expired. So a second request does not check the certificate: the
    worst that a forged date can do is to make a command refuse to go on.
    """
    for verify in (True, False):
        try:
            answer = request(url, max_bytes=0, verify=verify)
        except LiveError as error:
            if error.code != "tls":
                return None
            continue
        try:
            date = parsedate_to_datetime(answer.headers.get("date", ""))
        except ValueError:
            return None
        return date.astimezone(UTC) if date.tzinfo else None
    return None


def check_address(url: str) -> None:
    """
    Refuse a URL that must not be requested.

    Raises:
        LiveError: If it is not https (http for localhost), or its host is a literal link-local, multicast or
            unspecified address.
    """
    try:
        parts = urlsplit(url)
        host, _ = parts.hostname or "", parts.port
    except ValueError:
        raise LiveError(f"{_printable(url)} is not a URL", code="refused") from None
    local = host in ("localhost", "127.0.0.1", "::1")
    if parts.scheme != "https" and not (parts.scheme == "http" and local):
        raise LiveError(f"{_printable(url)} is not https", code="refused")
    address = _address(host)
    if address is not None and (address.is_link_local or address.is_multicast or address.is_unspecified):
        message = f"{_printable(url)} has a link-local, multicast or unspecified address"
        raise LiveError(message, code="refused")


def _address(host: str) -> ipaddress.IPv4Address | ipaddress.IPv6Address | None:
    """Return the address that *host* is, in any notation that a resolver accepts, or None for a name."""
    try:
        address = ipaddress.ip_address(host)
    except ValueError:
        try:
            return ipaddress.IPv4Address(socket.inet_aton(host))  # 2852039166, 0xa9fea9fe, 169.254.43518
        except (OSError, ValueError):
            return None
    return getattr(address, "ipv4_mapped", None) or address


def _printable(url: str) -> str:
    """Return *url*, the URL of the caller, in a form for messages."""
    return elided(url)[:200]


def _request(url: str, max_bytes: int, deadline: float, *, verify: bool) -> Answer:
    from urllib3 import Timeout
    from urllib3.exceptions import HTTPError, SSLError

    check_address(url)
    requested, origin = url, urlsplit(url)[:2]
    redirects: list[str] = []
    with _pool(verify=verify) as pool:
        while True:
            check_address(url)
            remaining = deadline - time.monotonic()
            try:
                response = pool.request(
                    "GET",
                    url,
                    headers={"Accept": "application/json", "Accept-Encoding": "identity", "User-Agent": "keyvault"},
                    timeout=Timeout(total=max(remaining, 0.1)),
                    redirect=False,
                    preload_content=False,
                    decode_content=False,
                )
                target = response.get_redirect_location()
                if not target:
                    expires_at = _certificate_expires_at(response.connection)
                    body, complete = _read_body(_printable(requested), response, max_bytes, deadline)
                    headers = {name.lower(): value for name, value in response.headers.items()}
                    return Answer(requested, response.status, headers, body, complete, tuple(redirects), expires_at)
                url = urljoin(url, target)
            except SSLError as error:
                message = f"{_printable(requested)} cannot be reached: {_reason(error)}"
                raise LiveError(message, code="tls", hint=_HINT) from None
            except (HTTPError, OSError, ValueError) as error:
                message = f"{_printable(requested)} cannot be reached: {_reason(error)}"
                raise LiveError(message, code="unreachable", hint=_HINT) from None
            if urlsplit(url)[:2] != origin:
                raise LiveError(f"{origin[0]}://{origin[1]} redirects to another origin: {shown(url)}", code="redirect")
            redirects.append(url)
            if len(redirects) > REDIRECTS_MAX:
                raise LiveError(f"{_printable(requested)} redirects more than {REDIRECTS_MAX} times", code="redirect")


def _pool(*, verify: bool) -> PoolManager:
    """Return a pool whose connections remember the certificate, since the socket is gone if a host closes early."""
    from urllib3 import HTTPSConnectionPool, PoolManager
    from urllib3.connection import HTTPSConnection

    class Connection(HTTPSConnection):
        certificate: Mapping[str, Any] | None = None

        def connect(self) -> None:
            super().connect()
            self.is_verified = True  # otherwise it warns if the caller wanted no check
            if isinstance(self.sock, ssl.SSLSocket):
                self.certificate = self.sock.getpeercert()

    class Pool(HTTPSConnectionPool):
        ConnectionCls = Connection

    if verify:
        pool = PoolManager(retries=False)
    else:
        pool = PoolManager(retries=False, cert_reqs="CERT_NONE", assert_hostname=False)
    pool.pool_classes_by_scheme = {**pool.pool_classes_by_scheme, "https": Pool}
    return pool


def _certificate_expires_at(connection: Any) -> datetime | None:
    """Return the end of the certificate of *connection*, whose chain was verified before."""
    end = (getattr(connection, "certificate", None) or {}).get("notAfter")
    return datetime.fromtimestamp(ssl.cert_time_to_seconds(end), UTC) if end else None


def _reason(error: BaseException) -> str:
    """Return the reason of the innermost error: urllib3 wraps those of the system and of TLS."""
    from http.client import BadStatusLine, IncompleteRead, RemoteDisconnected

    causes = (getattr(error, "reason", None), *error.args, error.__cause__)
    inner = next((cause for cause in causes if isinstance(cause, BaseException)), None)
    if inner is not None:
        return _reason(inner)
    if isinstance(error, IncompleteRead):
        return "the response is incomplete"
    if isinstance(error, BadStatusLine) and not isinstance(error, RemoteDisconnected):
        return "the response is not HTTP"
    text = _DECORATION.sub("", getattr(error, "strerror", None) or str(error))
    return elided(text).rstrip(".")[:120] or type(error).__name__


def _read_body(url: str, response: Any, max_bytes: int, deadline: float) -> tuple[bytes, bool]:
    """Return at most *max_bytes* of the body, and whether that is the whole body."""
    body = bytearray()
    while len(body) <= max_bytes and (chunk := response.read1(16_384)):
        body += chunk
        if time.monotonic() > deadline:
            raise LiveError(f"{url} did not finish within {TIMEOUT:.0f} s", code="unreachable", hint=_HINT)
    return bytes(body[:max_bytes]), len(body) <= max_bytes
