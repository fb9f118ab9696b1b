"""
Look at a live JWK Set, with bounds on everything that a host could do.

One request takes at most 5 s and 256 KiB in all, redirects stay on the same origin, bodies are never
decompressed, and link-local addresses are not asked. What comes back is data.

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

from keyvault.core.gate import Seen
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

#: What the ssl module writes around the words of OpenSSL.
_DECORATION = re.compile(r"^\[[A-Z0-9_: ]*\] | \(_ssl\.c:\d+\)$")

#: Gives what the JWK Set at a URL serves, or raises LiveError.
Look = Callable[[str], Seen]


@dataclass(frozen=True, slots=True)
class Looked:
    """
    What was seen at several URLs.

    Attributes:
        live: By URL; None where it could not be asked.
        problems: Why not, by URL.
    """

    live: Mapping[str, Seen]
    problems: Mapping[str, str]


def look_at_all(urls: Iterable[str], look: Look) -> Looked:
    """
    Look at each of *urls* once, in parallel; a host that does not answer is asked once.

    Never raises for a host's sake: what cannot be asked is None, with its reason.
    """
    by_host: dict[str, list[str]] = {}
    for url in sorted(set(urls)):
        by_host.setdefault(urlsplit(url).netloc, []).append(url)
    answers: queue.Queue[dict[str, Seen | str] | Exception] = queue.Queue()

    def ask(host_urls: list[str]) -> None:
        try:
            answers.put(ask_host(host_urls))
        except Exception as error:  # a bug: whoever waits for the answer hears of it
            answers.put(error)

    def ask_host(host_urls: list[str]) -> dict[str, Seen | str]:
        found: dict[str, Seen | str] = {}
        for url in host_urls:
            try:
                found[url] = look(url)
            except LiveError as error:
                found[url] = error.message
                if error.code in ("unreachable", "tls"):
                    found.update(dict.fromkeys(host_urls[host_urls.index(url) + 1 :], error.message))
                    break
        return found

    for host_urls in by_host.values():
        threading.Thread(target=ask, args=(host_urls,), daemon=True).start()
    live: dict[str, Seen] = {}
    problems: dict[str, str] = {}
    for _ in by_host:
        answered = answers.get()
        if isinstance(answered, Exception):
            raise answered
        for url, answer in answered.items():
            live[url] = None if isinstance(answer, str) else answer
            if isinstance(answer, str):
                problems[url] = answer
    return Looked(live, problems)


@dataclass(frozen=True, slots=True)
class Answer:
    """
    What a host answered.

    Attributes:
        url: What was asked.
        status: The status of the last response.
        headers: Its headers, by lower-case names.
        body: Its body as it was sent.
        complete: Whether that is all of the body.
        redirects: Where the host sent to, in order.
        expires: The end of its certificate; None without TLS.
    """

    url: str
    status: int
    headers: Mapping[str, str]
    body: bytes
    complete: bool
    redirects: tuple[str, ...]
    expires: datetime | None


def look(url: str) -> Seen:
    """
    Return (kid, thumbprint) of each key that the JWK Set at *url* serves.

    Raises:
        LiveError: It cannot be asked, or what comes back is no JWK Set.
    """
    body = fetch(url)
    try:
        document = msgspec.json.decode(body)
    except (msgspec.MsgspecError, RecursionError, UnicodeDecodeError):
        raise LiveError(f"{url} does not serve JSON", code="not-json") from None
    keys = document.get("keys") if isinstance(document, dict) else None
    if not isinstance(keys, list) or len(keys) > KEYS_MAX:
        raise LiveError(f"{url} does not serve a JWK Set", code="not-jwks")
    return frozenset(_identities(keys))


def _identities(keys: list[Any]) -> Iterable[tuple[str, str]]:
    for jwk in keys:
        if isinstance(jwk, dict) and isinstance(jwk.get("kid"), str):
            try:
                yield jwk["kid"], thumbprint(jwk)
            except JWKError:
                continue  # a key type that we do not know is not one of ours


def fetch(url: str) -> bytes:
    """
    Return the body at *url*: status 200, plain, at most 256 KiB, within 5 s in all.

    Raises:
        LiveError: Anything else.
    """
    answer = ask(url)
    if answer.status != 200:
        raise LiveError(f"{_shown(url)} answers with status {answer.status}", code="status")
    if answer.headers.get("content-encoding", "identity").lower() != "identity":
        raise LiveError(f"{_shown(url)} sends a compressed body that was not asked for", code="compressed")
    if not answer.complete:
        raise LiveError(f"{_shown(url)} serves more than {BODY_MAX // 1024} KiB", code="too-large")
    return answer.body


def ask(url: str, *, most: int = BODY_MAX, verify: bool = True) -> Answer:
    """
    Return what the host answers to a GET of *url*, within 5 s in all; of the body at most *most* bytes.

    Args:
        url: The URL.
        most: How much of the body is read, in bytes.
        verify: Whether the certificate of the host must be valid.

    Raises:
        LiveError: It does not answer, or redirects to another host or without end, or is not one to be asked.
    """
    answers: queue.Queue[Answer | Exception] = queue.Queue()

    def run() -> None:
        try:
            answers.put(_ask(url, most, time.monotonic() + TIMEOUT, verify=verify))
        except Exception as error:  # LiveError, or a bug: raised again where it is waited for
            answers.put(error)

    # A host can trickle its headers for ever, each byte within the socket's timeout: the thread is left behind.
    threading.Thread(target=run, daemon=True).start()
    try:
        answer = answers.get(timeout=TIMEOUT + 0.5)
    except queue.Empty:
        raise _unreachable(f"{_shown(url)} did not answer within {TIMEOUT:.0f} s") from None
    if isinstance(answer, Exception):
        raise answer
    return answer


def server_date(url: str) -> datetime | None:
    """
    Return the instant that the host of *url* says it is, or None if it cannot be asked or does not say.

    A clock that is far ahead takes every certificate for expired. So the certificate is not checked the second time:
    the answer can make a command refuse to go on, and nothing else.
    """
    for verify in (True, False):
        try:
            answer = ask(url, most=0, verify=verify)
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


def _unreachable(message: str, code: str = "unreachable") -> LiveError:
    return LiveError(message, code=code, hint="check the host, then run again")


def check_address(url: str) -> None:
    """
    Refuse a URL that must not be asked.

    Raises:
        LiveError: It is not https (http for localhost), or names a link-local address.
    """
    try:
        parts = urlsplit(url)
        host, _ = parts.hostname or "", parts.port
    except ValueError:
        raise LiveError(f"{_shown(url)} is not a URL", code="refused") from None
    local = host in ("localhost", "127.0.0.1", "::1")
    if parts.scheme != "https" and not (parts.scheme == "http" and local):
        raise LiveError(f"{_shown(url)} is not https", code="refused")
    address = _address(host)
    if address is not None and (address.is_link_local or address.is_multicast or address.is_unspecified):
        raise LiveError(f"{_shown(url)} names an address that is not asked", code="refused")


def _address(host: str) -> ipaddress.IPv4Address | ipaddress.IPv6Address | None:
    """Return the address that *host* spells, in any way that a resolver takes, or None for a name."""
    try:
        address = ipaddress.ip_address(host)
    except ValueError:
        try:
            return ipaddress.IPv4Address(socket.inet_aton(host))  # 2852039166, 0xa9fea9fe, 169.254.43518
        except (OSError, ValueError):
            return None
    return getattr(address, "ipv4_mapped", None) or address


def _shown(url: str) -> str:
    """Return *url*, which is that of whoever asks, as a message shows it."""
    return elided(url)[:200]


def _ask(url: str, most: int, deadline: float, *, verify: bool) -> Answer:
    from urllib3 import Timeout
    from urllib3.exceptions import HTTPError, SSLError

    check_address(url)
    asked, origin = url, urlsplit(url)[:2]
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
                    expires = _expires(response.connection)
                    body, complete = _body(_shown(asked), response, most, deadline)
                    headers = {name.lower(): value for name, value in response.headers.items()}
                    return Answer(asked, response.status, headers, body, complete, tuple(redirects), expires)
                url = urljoin(url, target)
            except SSLError as error:
                raise _unreachable(f"{_shown(asked)} cannot be reached: {_reason(error)}", "tls") from None
            except (HTTPError, OSError, ValueError) as error:
                raise _unreachable(f"{_shown(asked)} cannot be reached: {_reason(error)}") from None
            if urlsplit(url)[:2] != origin:
                raise LiveError(f"{origin[0]}://{origin[1]} redirects to another host: {shown(url)}", code="redirect")
            redirects.append(url)
            if len(redirects) > REDIRECTS_MAX:
                raise LiveError(f"{_shown(asked)} redirects more than {REDIRECTS_MAX} times", code="redirect")


def _pool(*, verify: bool) -> PoolManager:
    """Return a pool whose connections keep the certificate: the socket is gone when a host closes early."""
    from urllib3 import HTTPSConnectionPool, PoolManager
    from urllib3.connection import HTTPSConnection

    class Connection(HTTPSConnection):
        certificate: Mapping[str, Any] | None = None

        def connect(self) -> None:
            super().connect()
            self.is_verified = True  # or it warns of what was asked for
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


def _expires(connection: Any) -> datetime | None:
    """Return the end of the certificate of *connection*; its chain was verified already."""
    end = (getattr(connection, "certificate", None) or {}).get("notAfter")
    return datetime.fromtimestamp(ssl.cert_time_to_seconds(end), UTC) if end else None


def _reason(error: BaseException) -> str:
    """Return why, in the words of the innermost error: urllib3 wraps what the system or TLS says."""
    from http.client import BadStatusLine, IncompleteRead, RemoteDisconnected

    causes = (getattr(error, "reason", None), *error.args, error.__cause__)
    inner = next((cause for cause in causes if isinstance(cause, BaseException)), None)
    if inner is not None:
        return _reason(inner)
    if isinstance(error, IncompleteRead):
        return "its answer ends too early"
    if isinstance(error, BadStatusLine) and not isinstance(error, RemoteDisconnected):
        return "it does not speak HTTP"
    text = _DECORATION.sub("", getattr(error, "strerror", None) or str(error))
    return elided(text).rstrip(".")[:120] or type(error).__name__


def _body(url: str, response: Any, most: int, deadline: float) -> tuple[bytes, bool]:
    """Return at most *most* bytes of the body, and whether that is all."""
    body = bytearray()
    while len(body) <= most and (chunk := response.read1(16_384)):
        body += chunk
        if time.monotonic() > deadline:
            raise _unreachable(f"{url} did not finish within {TIMEOUT:.0f} s")
    return bytes(body[:most]), len(body) <= most
