"""
Compute the headers with which a host should serve each path of the site.

The preview server, publishers that set metadata on objects, and the ``_headers`` file use them.
Source: docs/publishing.md.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from datetime import timedelta

_TYPES = {
    ".json": "application/json",
    ".html": "text/html; charset=utf-8",
    ".css": "text/css; charset=utf-8",
    ".js": "text/javascript; charset=utf-8",
    ".pem": "application/x-pem-file",
    ".txt": "text/plain; charset=utf-8",
    ".svg": "image/svg+xml",
    ".png": "image/png",
    ".ico": "image/x-icon",
    ".atom": "application/atom+xml",
    ".ics": "text/calendar; charset=utf-8",
    ".xml": "application/xml",
}

#: No request to another host, nothing inline, no frame.
CSP = (
    "default-src 'none'; style-src 'self'; img-src 'self'; script-src 'self'; "
    "base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
)
#: frame-ancestors has no meaning in a meta element.
CSP_META = CSP.rpartition(";")[0]


#: For files whose names change with their content: a year.
IMMUTABLE = "max-age=31536000, immutable"
_HASHED = re.compile(r"^assets/.*-[0-9a-f]{10}(\.[a-z0-9]+)?$")


def content_type(path: str) -> str:
    """Return the media type of *path*; files without a known extension are JSON (openid-configuration, JWK Sets)."""
    name = path.rpartition("/")[2]
    stem, dot, extension = name.rpartition(".")
    if not dot or not stem:
        return "application/json" if not dot else "text/plain; charset=utf-8"
    return _TYPES.get("." + extension, "application/json")


def headers(path: str, *, max_age: timedelta) -> dict[str, str]:
    """Return the headers for *path*, relative to the site's root; JWK Sets may be cached for *max_age*."""
    kind = content_type(path)
    age = f"max-age={int(max_age.total_seconds())}"
    found = {
        "Content-Type": kind,
        "Cache-Control": f"public, {IMMUTABLE if _HASHED.search(path) else age}",
        "Access-Control-Allow-Origin": "*",
        "X-Content-Type-Options": "nosniff",
        "Referrer-Policy": "no-referrer",
    }
    if kind.startswith("text/html"):
        found["Content-Security-Policy"] = CSP
    return found


def headers_file(*, max_age: timedelta, json_paths: Sequence[str], assets: Iterable[str] = ()) -> bytes:
    """
    Return the ``_headers`` file that Cloudflare Pages and Netlify read.

    Args:
        max_age: How long JWK Sets may be cached.
        json_paths: Paths of JSON files without an extension.
        assets: Paths of assets; those whose names change with their content may be cached forever.
    """
    common = headers("index.html", max_age=max_age)
    lines = ["/*", *(f"  {name}: {value}" for name, value in common.items() if name != "Content-Type")]
    for path in json_paths:
        lines += [f"/{path}", "  Content-Type: application/json"]
    for path in assets:
        if _HASHED.search(path):
            # Hosts join the values of a header from all rules that match: "!" removes that of the general rule.
            lines += [f"/{path}", "  ! Cache-Control", f"  Cache-Control: public, {IMMUTABLE}"]
    return ("\n".join(lines) + "\n").encode()
