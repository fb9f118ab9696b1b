"""
How the responses of a host differ from the site of a commit. Does no I/O: documents and headers in, findings out.

Responses are untrusted data: they are compared and described, never used.

Sources: docs/check.md; RFC 7517 section 5; RFC 9111 section 5.2; RFC 8414 section 3.3.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any, Literal

import msgspec

from keyvault.core.jwk import thumbprint
from keyvault.core.labels import few, json_type, shown
from keyvault.core.lint.exposed import exposed_member_names
from keyvault.core.lint.keys import key_name
from keyvault.core.lint.rules import RULES
from keyvault.core.places import CONFIGURATION
from keyvault.core.state import VaultState
from keyvault.core.text import format_duration
from keyvault.errors import JWKError

#: Every kind of drift, and what it means. docs/check.md has what to do.
CODES = {
    "unreachable": "the host does not answer",
    "tls": "the certificate is not trusted",
    "tls-expiring": "the certificate expires within two weeks",
    "refused": "the URL must not be fetched",
    "status": "the status is not 200",
    "redirect": "the URL redirects",
    "too-large": "the response is larger than verifiers accept",
    "compressed": "the response is compressed although the request did not allow it",
    "not-json": "the response is not JSON",
    "not-jwks": "the response is not a JWK Set",
    "content-type": "the media type is not a JSON type",
    "discovery-type": "the discovery document has a media type that some clients refuse: a warning",
    "cache-control": "caches keep it for longer than policy says, or not at all",
    "cache-age": "a cache before the host serves a response that is too old",
    "cors": "pages of other origins may not read it",
    "empty": "the JWK Set has no keys",
    "active-missing": "a key that signs is not served",
    "next-missing": "the key that will sign next is not served",
    "retiring-missing": "a key whose tokens are still valid is not served",
    "revoked-served": "a revoked key is served",
    "withdrawn-served": "a withdrawn key is served",
    "misplaced-served": "a key of the vault is served in the wrong JWK Set",
    "unknown-served": "a key that is not in the vault is served",
    "key-differs": "a key differs from the key in the vault",
    "private-member": "private key material is served",
    "duplicate-kid": "two keys have the same kid",
    "order": "the keys are in another order: an active key must be the first among the keys of its set",
    "discovery-issuer": "the discovery document names another issuer",
    "discovery-jwks-uri": "the discovery document names another jwks_uri",
    "discovery-differs": "the discovery document differs in other members",
    "stale": "the site is from an older commit",
    "ahead": "the site is from a newer commit than it is compared with",
    "commit-unknown": "the site is from a commit that is not in this clone",
    "page-missing": "a page is missing",
    "overdue": "a transition is overdue",
}

#: Verifiers that refuse a discovery document whose media type is not JSON.
REFUSE_NON_JSON_DISCOVERY = RULES["discovery-content-type"].hurts

#: How long before its expiry a certificate is a finding: most are renewed a month before.
EXPIRY = timedelta(days=14)
#: Tolerance for the age of a cached response: no cache is exact to the second.
SLACK = timedelta(minutes=1)

# s-maxage is for shared caches only, and counts as much.
_MAX_AGE = re.compile(r'\b(?:s-maxage|max-age)\s*=\s*"?(\d{1,12})"?', re.IGNORECASE)


@dataclass(frozen=True, slots=True)
class Drift:
    """
    One difference.

    Attributes:
        code: One of `CODES`.
        message: The difference in words.
        url: The URL; None for the vault itself.
        kid: The key; None if the difference is not about a key.
        level: A warning is about the host's configuration: the site matches the commit, and publishing cannot fix it.
    """

    code: str
    message: str
    url: str | None = None
    kid: str | None = None
    level: Literal["error", "warning"] = "error"


def response_drift(
    url: str,
    headers: Mapping[str, str],
    *,
    status: int,
    redirects: tuple[str, ...],
    complete: bool,
    expires: datetime | None,
    now: datetime,
    max_age: timedelta,
) -> Iterator[Drift]:
    """
    Yield the problems of a response, except for its body.

    Args:
        url: The URL that was fetched.
        headers: The headers, by lower-case names.
        status: The status of the last response.
        redirects: The targets of redirects, in order.
        complete: Whether the body ended within the size limit.
        expires: When the certificate expires; None if there is no certificate.
        now: The present instant.
        max_age: How long it may be cached by policy.
    """
    if expires is not None and expires - now < EXPIRY:
        yield Drift("tls-expiring", f"the certificate expires at {expires:%Y-%m-%d %H:%M} UTC", url)
    if redirects:
        yield Drift("redirect", f"redirects to {shown(redirects[-1])}: several verifiers do not follow", url)
    if status != 200:
        yield Drift("status", f"answers with status {status}", url)
        return
    if not complete:
        yield Drift("too-large", "serves more than 256 KiB", url)
    encoding = headers.get("content-encoding", "identity")
    if encoding.lower() != "identity":
        yield Drift("compressed", f"is sent as {shown(encoding)}, which was not requested", url)
    yield from _type_drift(url, headers.get("content-type", ""))
    yield from _cache_drift(url, headers, max_age)
    if headers.get("access-control-allow-origin") != "*":
        yield Drift("cors", "has no Access-Control-Allow-Origin: *", url)


def _type_drift(url: str, content_type: str) -> Iterator[Drift]:
    kind = content_type.partition(";")[0].strip().lower()
    subtype = kind.removeprefix("application/")
    if subtype != kind and (subtype == "json" or subtype.endswith("+json")):
        return
    message = f"is sent as {shown(kind)}" if kind else "is sent without Content-Type"
    if url.endswith(CONFIGURATION):
        refused = f": {' and '.join(REFUSE_NON_JSON_DISCOVERY)} refuse it" if kind else ""
        yield Drift("discovery-type", message + refused, url, level="warning")
    elif "." not in url.rpartition("/")[2]:
        # Hosts derive the type from the extension of a file, and this file has none: publishing cannot fix that.
        yield Drift("content-type", message, url, level="warning")
    else:
        yield Drift("content-type", message, url)


def _cache_drift(url: str, headers: Mapping[str, str], max_age: timedelta) -> Iterator[Drift]:
    control = headers.get("cache-control", "")
    longest = max((int(seconds) for seconds in _MAX_AGE.findall(control)), default=None)
    allowed = format_duration(max_age)
    if re.search(r"\bno-(?:store|cache)\b", control, re.IGNORECASE):
        yield Drift("cache-control", "may not be cached: AWS STS and others then fail", url)
    elif longest is None:
        yield Drift("cache-control", "does not say how long it may be cached", url)
    elif longest > max_age.total_seconds():
        yield Drift("cache-control", f"may be cached for {longest} s, policy's max_age is {allowed}", url)
    age = headers.get("age", "")
    if re.fullmatch(r"\d{1,12}", age) and timedelta(seconds=int(age)) > max_age + SLACK:
        yield Drift("cache-age", f"comes from a cache that has held it for {age} s, max_age is {allowed}", url)


def set_drift(url: str, state: VaultState, wanted: bytes, body: bytes) -> Iterator[Drift]:
    """
    Yield the differences between the served JWK Set *body* and *wanted*, which *state* publishes at *url*.

    Messages name keys of the vault with their set and state.
    """
    try:
        served = _decode(body)
    except ValueError:
        yield Drift("not-json", "does not serve JSON", url)
        return
    keys = served.get("keys") if isinstance(served, dict) else None
    if not isinstance(keys, list):
        yield Drift("not-jwks", "does not serve a JWK Set", url)
        return
    if not keys:
        yield Drift("empty", "serves a JWK Set without keys", url)
    expected: dict[str, dict[str, Any]] = {jwk["kid"]: jwk for jwk in _decode(wanted)["keys"]}
    found: dict[str, dict[str, Any]] = {}
    for index, jwk in enumerate(keys):
        kid = jwk.get("kid") if isinstance(jwk, dict) else None
        if not isinstance(kid, str):
            yield Drift("unknown-served", f"serves keys[{index}], which has no kid", url)
            if isinstance(jwk, dict) and exposed_member_names(jwk):
                yield Drift("private-member", f"serves private members in keys[{index}]: revoke that key", url)
            continue
        shown_kid = key_name(jwk, state.keys)
        name = shown_kid or f"keys[{index}]"
        if exposed_member_names(jwk):
            yield Drift("private-member", f"serves private members of {name}: revoke it", url, shown_kid)
        if kid in found:
            yield Drift("duplicate-kid", f"serves the kid of {name} twice", url, shown_kid)
            continue
        found[kid] = jwk
        if kid not in expected:
            yield _unexpected_key(url, state, kid, name, shown_kid)
        elif jwk != expected[kid]:
            difference = "another key" if _thumbprint(jwk) != _thumbprint(expected[kid]) else "other members"
            yield Drift("key-differs", f"serves {difference} as {name}", url, name)
    for kid in expected:
        if kid not in found:
            key = state.keys[kid]
            yield Drift(f"{key.state}-missing", f"does not serve {kid}, the {key.state} key of {key.set}", url, kid)
    common = [kid for kid in found if kid in expected]
    if common != [kid for kid in expected if kid in found]:
        yield Drift("order", "serves its keys in another order", url)


def _unexpected_key(url: str, state: VaultState, kid: str, name: str, shown_kid: str | None) -> Drift:
    key = state.keys.get(kid)
    if key is None:
        return Drift("unknown-served", f"serves {name}, which is not in the vault", url, shown_kid)
    if key.state in ("revoked", "withdrawn"):
        return Drift(f"{key.state}-served", f"serves {kid} of {key.set}, which is {key.state}", url, kid)
    return Drift("misplaced-served", f"serves {kid}, which belongs to {key.set}", url, kid)


def _thumbprint(jwk: Mapping[str, Any]) -> str | None:
    try:
        return thumbprint(jwk)
    except JWKError:
        return None


def discovery_drift(url: str, wanted: bytes, body: bytes) -> Iterator[Drift]:
    """Yield the differences between the served discovery document *body* and *wanted*."""
    try:
        served = _decode(body)
    except ValueError:
        served = None
    if not isinstance(served, dict):
        yield Drift("not-json", "does not serve a JSON object", url)
        return
    expected = _decode(wanted)
    for member, code in (("issuer", "discovery-issuer"), ("jwks_uri", "discovery-jwks-uri")):
        if served.get(member) != expected[member]:
            value = served.get(member)
            served_value = shown(value) if isinstance(value, str) else json_type(value)
            yield Drift(code, f"names {member} {served_value}, not {expected[member]}", url)
    named = {"issuer", "jwks_uri"}
    others = sorted(member for member in {*served, *expected} - named if served.get(member) != expected.get(member))
    if others:
        yield Drift("discovery-differs", f"differs in {few(others, 10)}", url)


def _decode(data: bytes) -> Any:
    """
    Return the JSON value in *data*.

    Raises:
        ValueError: If *data* is not JSON.
    """
    try:
        return msgspec.json.decode(data)
    except (msgspec.MsgspecError, RecursionError) as error:
        raise ValueError from error
