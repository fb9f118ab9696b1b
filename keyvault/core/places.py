"""
Check issuers, and the places of their documents on the site.

An issuer is the value of ``iss``. Verifiers compare it byte for byte, so no function changes it. A place is a path
below the site's url at which a JWK Set is served. The two are independent: the issuer may be a URL of another host, or
the ``client_id`` of an OAuth client.

Does not know sets; see `policy`.

Sources: RFC 7519 section 2 (StringOrURI), RFC 3986 section 2 (characters of a URI), RFC 6749 appendix A.1 (characters
of a ``client_id``), OpenID Connect Discovery 1.0 section 4 (the path of a discovery document).
"""

from __future__ import annotations

import re
from urllib.parse import urlsplit

from keyvault.core.text import quoted

WELL_KNOWN = "/.well-known/jwks.json"
CONFIGURATION = "/.well-known/openid-configuration"

ISSUER_MAX = 500
PATH_MAX = 200

_HOST = re.compile(r"[a-z0-9](?:[a-z0-9._-]*[a-z0-9])?|[0-9a-f:.]+", re.ASCII)
_WEB_PATH = re.compile(r"(?:/[A-Za-z0-9._~-]+)+", re.ASCII)
#: A text of visible characters, with blanks only between them.
_TEXT = re.compile(r"[!-~](?:[ -~]*[!-~])?", re.ASCII)
_URI = re.compile(r"[A-Za-z][A-Za-z0-9+.-]*:(?:[A-Za-z0-9._~:/?#\[\]@!$&'()*+,;=-]|%[0-9A-Fa-f]{2})+", re.ASCII)

#: Paths that the site uses; no extra path of a JWK Set may be among them.
SITE_PATHS = frozenset(
    {
        "/index.html",
        "/404.html",
        "/history.json",
        "/history.schema.json",
        "/robots.txt",
        "/sitemap.xml",
        "/feed.atom",
        "/upcoming.ics",
        "/_headers",
        "/.nojekyll",
        "/.well-known/openid-configuration",
        "/.well-known/openid-configuration.json",
    }
)
SITE_FOLDERS = frozenset({"keys", "sets", "assets"})
#: Names of files and folders that the site writes at each place, or at its root: no folder of a place may have one.
_SITE_NAMES = SITE_FOLDERS | {
    *("index.html", "404.html", "page", "jwks.json", "history.json", "history.schema.json", "robots.txt", "feed.atom"),
    *("upcoming.ics", "sitemap.xml", "_headers"),
}


def check_url(value: object) -> str:
    """
    Return *value* without its trailing slash if it is a valid URL of a site.

    Raises:
        ValueError: If it is not https (http for localhost), or has a query, fragment, user or unusual path.
    """
    if not isinstance(value, str) or not value.isascii() or not value.isprintable() or len(value) > ISSUER_MAX:
        raise ValueError("must be an absolute URL in ASCII")
    try:
        parts = urlsplit(value)
        host, port = parts.hostname, parts.port
    except ValueError:
        raise ValueError(f"{quoted(value, 520)} is not a URL") from None
    local = host in ("localhost", "127.0.0.1", "::1")
    if parts.scheme != "https" and not (parts.scheme == "http" and local):
        raise ValueError(f"{quoted(value, 520)} must begin with https:// (http:// is for localhost)")
    if not host or parts.query or parts.fragment or "?" in value or "#" in value or parts.username is not None:
        raise ValueError(f"{quoted(value, 520)} must have a host, and no query, fragment or user")
    del port  # read above because only reading it checks its range
    if not _HOST.fullmatch(host) or parts.netloc.endswith(":"):
        raise ValueError(f"{quoted(value, 520)} has an invalid host name")
    path = parts.path.rstrip("/")
    if path and not is_web_path(path):
        raise ValueError(f"{quoted(value, 520)} has an invalid path")
    return value.rstrip("/")


def check_issuer(value: object) -> str:
    """
    Return *value*, unchanged, if it is a valid ``iss``.

    Raises:
        ValueError: If it is not 1 to `ISSUER_MAX` printable ASCII characters, or has a colon and is not a URI.
    """
    if not isinstance(value, str) or not _TEXT.fullmatch(value) or len(value) > ISSUER_MAX:
        raise ValueError(f"must be 1 to {ISSUER_MAX} printable ASCII characters without blanks around them")
    if ":" in value and not _URI.fullmatch(value):
        raise ValueError(f"{quoted(value, 520)} must be a URI because it has a colon (RFC 7519 section 2)")
    return value


def check_place(value: object) -> str:
    """
    Return the place *value*, or an empty text for ``/``, the root of the site.

    Raises:
        ValueError: If it is neither ``/`` nor a path of plain names that the site does not use.
    """
    if value == "/":
        return ""
    if not isinstance(value, str) or not is_web_path(value):
        raise ValueError('must be a path without a trailing slash, such as "/clients/acme", or "/"')
    if any(part.casefold() in _SITE_NAMES or part.startswith(".") for part in value.split("/")):
        raise ValueError(f"{quoted(value, 520)} has a name that is reserved for the site, or that begins with a dot")
    return value


def is_web_path(path: str) -> bool:
    """Return whether *path* begins with a slash and has only plain segments."""
    plain = _WEB_PATH.fullmatch(path) is not None and len(path) <= PATH_MAX
    return plain and not any(part in (".", "..") for part in path.split("/"))


def is_reserved(path: str) -> bool:
    """Return whether *path*, which begins with a slash, is in a folder that the site uses."""
    return path.split("/")[1] in SITE_FOLDERS


def path_of_issuer(site_url: str, issuer: str) -> str | None:
    """
    Return the path below *site_url* of the documents of *issuer*, or None if the issuer is not on the site.

    A trailing slash belongs to the issuer, and not to the path: "any terminating / MUST be removed before appending
    /.well-known/openid-configuration".
    """
    plain = issuer.removesuffix("/")
    if plain == site_url:
        return ""
    path = plain.removeprefix(site_url)
    return path if path != plain and is_web_path(path) else None
