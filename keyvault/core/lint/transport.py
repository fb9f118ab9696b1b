"""
Rules about the address of a document and the response of its host.

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
#: Hosts without configurable media types: the ending of their names, the type that they send for openid-configuration,
#: and the page about them.
_PAGES = {
    ".github.io": ("GitHub Pages", _OCTETS, "docs/publish/github-pages.md"),
    ".gitlab.io": ("GitLab Pages", "text/plain", "docs/publish/gitlab.md"),
}


@dataclass(frozen=True, slots=True)
class Response:
    """
    The response of a host.

    Attributes:
        status: The status of the last response.
        headers: Its headers, by lower-case names.
        complete: Whether the whole body was read.
        redirects: The targets of redirects, in order.
    """

    status: int
    headers: Mapping[str, str]
    complete: bool = True
    redirects: tuple[str, ...] = ()

    @property
    def encoding(self) -> str:
        """The content encoding of the body; ``identity`` if it is not compressed."""
        return self.headers.get("content-encoding", "").strip().lower() or "identity"


def split(url: str) -> SplitResult | None:
    """Return the parts of *url*; None if it is not a URL."""
    try:
        parts = urlsplit(url)
        _ = parts.port
    except ValueError:
        return None
    return parts if parts.scheme and parts.hostname else None


def is_local(url: str) -> bool:
    """Whether *url* is on the local machine, in any spelling: verifiers elsewhere cannot read it."""
    parts = split(url)
    host = (parts and parts.hostname) or ""
    try:
        address = ipaddress.ip_address(host)
    except ValueError:
        # A host name never ends in a number. Resolvers read 2130706433 or 0x7f.1 as an address.
        return host == "localhost" or host.endswith(".localhost") or _ODD_ADDRESS.fullmatch(host) is not None
    address = getattr(address, "ipv4_mapped", None) or address
    return address.is_loopback or address.is_unspecified


def discovery_type_warning(url: str) -> str | None:
    """Return a warning if the host of *url* sends discovery documents with a type that verifiers refuse, or None."""
    host = ((parts := split(url)) and parts.hostname) or ""
    for ending, (name, kind, page) in _PAGES.items():
        if host.endswith(ending):
            verifiers = " and ".join(RULES["discovery-content-type"].hurts)
            return f"{name} sends openid-configuration as {kind}, which {verifiers} refuse: see {page}"
    return None


def lint_address(url: str, where: str = "") -> Iterator[Finding]:
    """Yield the findings about *url*, the address of a document or the value of the member *where*."""
    if is_local(url):
        return
    parts = split(url)
    if parts is None or parts.scheme.lower() != "https":
        yield finding("not-https", f"{where or 'the address'} is not https", where)
        return
    if parts.port is not None:
        yield finding("url-port", f"{where or 'the address'} has a port", where)
    if parts.query or parts.fragment:
        yield finding("url-query", f"{where or 'the address'} has a query or a fragment", where)


def lint_response(response: Response, url: str) -> Iterator[Finding]:
    """Yield the findings about the response that contained the document at *url*."""
    if response.redirects:
        yield finding("redirect", f"redirects to {shown(response.redirects[-1])}")
    if response.status != 200:
        is_close = 200 <= response.status < 300
        yield finding("status-not-200" if is_close else "status", f"answers with status {response.status}")
        if not is_close:
            return
    if response.encoding != "identity":
        message = f"is sent as {shown(response.encoding)}, which was not requested: its content was not checked"
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
        yield finding("cache-unsaid", f"Cache-Control has no max-age: {shown(header)}")
    elif int(max_age[1]) < MAX_AGE_MIN.total_seconds():
        yield finding("cache-short", f"max-age={max_age[1]} is below 5 min: clients fetch too often")
    elif int(max_age[1]) > MAX_AGE_MAX.total_seconds():
        yield finding("cache-long", f"max-age={max_age[1]} is above 1 h: new keys reach clients late")


def _content_type(header: str, url: str) -> Iterator[Finding]:
    kind = header.partition(";")[0].strip().lower()
    if kind in _JSON_TYPES:
        return
    parts = split(url)
    extensionless = parts is not None and "." not in parts.path.rpartition("/")[2]
    if not kind:
        yield finding("no-content-type", "no Content-Type")
    elif kind == _OCTETS and extensionless:
        yield finding("content-type-octets", f"Content-Type is {_OCTETS}, as for a file without an extension")
    else:
        yield finding("content-type", f"Content-Type is {shown(kind)}")
