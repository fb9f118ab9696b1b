"""
Rules about the address of a document, and about how a host sends it.

Sources: docs/publishing.md (headers), OpenID Connect Discovery 1.0 section 4.2 (content type), RFC 9111 section
5.2 (Cache-Control).
"""

from __future__ import annotations

import ipaddress
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from urllib.parse import SplitResult, urlsplit

from keyvault.core.labels import shown
from keyvault.core.lint.rules import RULES, Finding, finding
from keyvault.core.policy_file import MAX_AGE_MAX, MAX_AGE_MIN

_MAX_AGE = re.compile(r"(?:^|[,\s])max-age\s*=\s*\"?(\d{1,10})", re.ASCII | re.IGNORECASE)
_FORBIDDEN = re.compile(r"(?:^|[,\s])(no-cache|no-store)(?:$|[,\s=])", re.ASCII | re.IGNORECASE)
_ODD_ADDRESS = re.compile(r"(?:.*\.)?(?:[0-9]+|0x[0-9a-f]*)", re.ASCII)
_JSON_TYPES = ("application/json", "application/jwk-set+json")
_OCTETS = "application/octet-stream"
#: Hosts that nobody can tell the type of a file: the ending of their names, what they send for openid-configuration,
#: and the page about them.
_PAGES = {
    ".github.io": ("GitHub Pages", _OCTETS, "docs/publish/github-pages.md"),
    ".gitlab.io": ("GitLab Pages", "text/plain", "docs/publish/gitlab.md"),
}


@dataclass(frozen=True, slots=True)
class Response:
    """
    How a host sent a document.

    Attributes:
        status: The status of the last response.
        headers: Its headers, by lower-case names.
        complete: Whether all of the body was read.
        redirects: Where the host sent to, in order.
    """

    status: int
    headers: Mapping[str, str]
    complete: bool = True
    redirects: tuple[str, ...] = ()

    @property
    def encoding(self) -> str:
        """How the body is compressed; ``identity`` when it is not."""
        return self.headers.get("content-encoding", "").strip().lower() or "identity"


def split(url: str) -> SplitResult | None:
    """Return the parts of *url*, or None for what is no URL."""
    try:
        parts = urlsplit(url)
        _ = parts.port
    except ValueError:
        return None
    return parts if parts.scheme and parts.hostname else None


def is_local(url: str) -> bool:
    """Whether *url* is on the machine that asks, in any spelling: no verifier of others reads it there."""
    parts = split(url)
    host = (parts and parts.hostname) or ""
    try:
        address = ipaddress.ip_address(host)
    except ValueError:
        # No name ends in a number: resolvers take 2130706433, 0x7f.1 and the like for addresses.
        return host == "localhost" or host.endswith(".localhost") or _ODD_ADDRESS.fullmatch(host) is not None
    address = getattr(address, "ipv4_mapped", None) or address
    return address.is_loopback or address.is_unspecified


def pages_warning(url: str) -> str | None:
    """Return who cannot use discovery at *url*, where the host chooses types by itself; None for any other host."""
    host = ((parts := split(url)) and parts.hostname) or ""
    for ending, (name, kind, page) in _PAGES.items():
        if host.endswith(ending):
            who = " and ".join(RULES["discovery-content-type"].hurts)
            return f"{name} sends openid-configuration as {kind}, which {who} refuse: see {page}"
    return None


def lint_address(url: str, where: str = "") -> Iterator[Finding]:
    """Yield what is wrong with *url*, which is the address of a document or the value of the member *where*."""
    if is_local(url):
        return
    parts = split(url)
    if parts is None or parts.scheme.lower() != "https":
        yield finding("not-https", f"{where or 'the address'} is not https", where)
        return
    if parts.port is not None:
        yield finding("url-port", f"{where or 'the address'} names a port", where)
    if parts.query or parts.fragment:
        yield finding("url-query", f"{where or 'the address'} has a query or a fragment", where)


def lint_response(response: Response, url: str) -> Iterator[Finding]:
    """Yield what is wrong with how the document at *url* was sent."""
    if response.redirects:
        yield finding("redirect", f"redirects to {shown(response.redirects[-1])}")
    if response.status != 200:
        is_close = 200 <= response.status < 300
        yield finding("status-not-200" if is_close else "status", f"answers with status {response.status}")
        if not is_close:
            return
    if response.encoding != "identity":
        message = f"sends {shown(response.encoding)} though none was asked for: its content was not looked at"
        yield finding("compressed", message)
    yield from _caching(response.headers.get("cache-control"))
    yield from _content_type(response.headers.get("content-type", ""), url)
    if "access-control-allow-origin" not in response.headers:
        yield finding("no-cors", "no Access-Control-Allow-Origin")


def _caching(header: str | None) -> Iterator[Finding]:
    if header is None:
        yield finding("cache-unsaid", "no Cache-Control")
        return
    forbidden, max_age = _FORBIDDEN.search(header), _MAX_AGE.search(header)
    if forbidden:
        yield finding("cache-forbidden", f"Cache-Control says {forbidden[1].lower()}")
    elif max_age is None:
        yield finding("cache-unsaid", f"Cache-Control says no max-age: {shown(header)}")
    elif int(max_age[1]) < MAX_AGE_MIN.total_seconds():
        yield finding("cache-short", f"max-age={max_age[1]} is below 5 min: clients ask too often")
    elif int(max_age[1]) > MAX_AGE_MAX.total_seconds():
        yield finding("cache-long", f"max-age={max_age[1]} is above 1 h: a new key is late")


def _content_type(header: str, url: str) -> Iterator[Finding]:
    kind = header.partition(";")[0].strip().lower()
    if kind in _JSON_TYPES:
        return
    parts = split(url)
    extensionless = parts is not None and "." not in parts.path.rpartition("/")[2]
    if not kind:
        yield finding("no-content-type", "no Content-Type")
    elif kind == _OCTETS and extensionless:
        yield finding("content-type-octets", f"Content-Type is {_OCTETS}, as of a file without an extension")
    else:
        yield finding("content-type", f"Content-Type is {shown(kind)}")
