"""
Rules about whole documents: their bytes, the JWK Set in them, and the discovery document that leads to it.

`read` parses untrusted bytes; `lint_jwk_set` and `lint_discovery` return findings. Fetches nothing.

Sources: RFC 8259 section 8.1 (UTF-8, no byte order mark), RFC 7517 section 5, OpenID Connect Discovery 1.0
sections 3 and 4, OpenID Connect Core 1.0 section 15.1 (RS256).
"""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Any, Literal

from keyvault.core.labels import few, json_type, shown
from keyvault.core.lint.consumers import Consumer, judge
from keyvault.core.lint.exposed import encoded_json, lint_exposed
from keyvault.core.lint.keys import lint_keys, signing_algs
from keyvault.core.lint.members import Object
from keyvault.core.lint.rules import DISCOVERERS, KUBERNETES, LIBRARIES, Finding, finding
from keyvault.core.lint.transport import Response, is_local, lint_address, lint_response, split
from keyvault.core.places import CONFIGURATION

BODY_MAX = 256 * 1024
#: The limit of Nimbus. Spring Security fetches by itself, and reads more.
NIMBUS_MAX = 50 * 1024
LARGE = 32 * 1024

#: Members that OpenID Connect Discovery requires, beside issuer and jwks_uri, and whether each is a list.
_REQUIRED = {
    "authorization_endpoint": False,
    "response_types_supported": True,
    "subject_types_supported": True,
    "id_token_signing_alg_values_supported": True,
}


#: Codes of findings about a discovery document: other programs read it than a JWK Set, so a problem hurts others.
_DISCOVERY_CODES = {
    "redirect": "discovery-redirect",
    "content-type": "discovery-content-type",
    "content-type-octets": "discovery-content-type",
}


@dataclass(frozen=True, slots=True)
class Source:
    """
    A document to check.

    Attributes:
        name: Its name in findings: a path or a URL.
        data: Its bytes, at most `BODY_MAX` + 1 of them.
        url: Its public URL; None for a file.
        response: The response of its host; None if it was not fetched.
        kids: Kids that the user chose: findings may show them in any form.
    """

    name: str
    data: bytes
    url: str | None = None
    response: Response | None = None
    kids: frozenset[str] = frozenset()

    @property
    def is_whole(self) -> bool:
        """Whether it is complete and can be read."""
        if len(self.data) > BODY_MAX:
            return False
        return self.response is None or (self.response.complete and self.response.encoding == "identity")


@dataclass(frozen=True, slots=True)
class Reading:
    """
    The content of a document.

    Attributes:
        value: Its JSON value; None if it is not JSON.
        text: The decoded text.
        problems: The problems of the bytes.
    """

    value: object
    text: str
    problems: tuple[Finding, ...]

    @property
    def kind(self) -> Literal["jwks", "discovery"] | None:
        """The likely kind of the document; None if it is neither."""
        if not isinstance(self.value, dict):
            return None
        if isinstance(self.value.get("keys"), list):
            return "jwks"
        return "discovery" if "jwks_uri" in self.value else None

    @property
    def keys(self) -> list[object] | None:
        """The keys of a JWK Set, or None."""
        keys = self.value.get("keys") if isinstance(self.value, dict) else None
        return keys if isinstance(keys, list) else None


def _object(pairs: list[tuple[str, Any]]) -> Object:
    result = Object(pairs)
    if len(result) != len(pairs):
        result.duplicates = tuple(name for name, count in Counter(name for name, _ in pairs).items() if count > 1)
    return result


def _integer(digits: str) -> int:
    # Python refuses to convert thousands of digits, and no rule needs the value.
    return int(digits) if len(digits) < 100 else 0


def read(data: bytes) -> Reading:
    """Return the content of *data* as a lenient parser reads it, and the problems that strict parsers see."""
    problems = []
    encoding = json.detect_encoding(data)
    if encoding == "utf-8-sig":
        problems.append(finding("byte-order-mark", "begins with a byte order mark"))
    elif encoding != "utf-8":
        problems.append(finding("utf-16", f"is {encoding.upper()}, not UTF-8"))
    try:
        text = data.decode(encoding)
    except UnicodeDecodeError:
        if encoding in ("utf-8", "utf-8-sig"):
            problems.append(finding("not-utf-8", "is not UTF-8"))
        text = data.decode(encoding, errors="replace")
    numbers: list[str] = []

    def constant(name: str) -> float:
        numbers.append(name)
        return 0.0

    try:
        value = json.loads(text, object_pairs_hook=_object, parse_int=_integer, parse_constant=constant)
    except (ValueError, RecursionError):
        return Reading(None, text, (*problems, finding("not-json", "is not JSON")))
    if numbers:
        problems.append(finding("not-a-number", f"contains {numbers[0]}, which is not JSON"))
    if names := getattr(value, "duplicates", ()):
        problems.append(finding("duplicate-top-member", f"{few(names)}: more than once in one object"))
    return Reading(value, text, tuple(problems))


def lint_jwk_set(source: Source, consumers: Sequence[Consumer] = ()) -> list[Finding]:
    """Return the findings about the JWK Set *source*."""
    return list(judge(_jwk_set(source, consumers), consumers, document=source.name))


def _jwk_set(source: Source, consumers: Sequence[Consumer]) -> Iterator[Finding]:
    yield from _transport(source)
    if not source.is_whole:
        return
    reading = read(source.data)
    yield from reading.problems
    findings = list(_keys(reading, source.kids, consumers))
    yield from findings
    reported = any(finding.code in ("private-key", "symmetric-key") for finding in findings)
    yield from lint_exposed(reading.text, reading.value, reported=reported)


def _keys(reading: Reading, kids: frozenset[str], consumers: Sequence[Consumer]) -> Iterator[Finding]:
    """Yield the findings about the JWK Set *reading* and its keys."""
    if reading.value is None and reading.problems:
        return
    if not isinstance(reading.value, dict):
        yield _not_object(reading.value)
    elif reading.keys is None:
        single = ": it is a single JWK, put it into an array" if "kty" in reading.value else ""
        yield finding("no-keys", f"has no array keys{single}")
        if single:
            yield from lint_keys([reading.value], consumers, kids)
    elif not reading.keys:
        yield finding("empty-set", "has no keys: verifiers that fetch it drop all cached keys")
    else:
        yield from lint_keys(reading.keys, consumers, kids)


def _not_object(value: object) -> Finding:
    twice = isinstance(value, str) and encoded_json(value) is not None
    return finding("not-object", f"is {json_type(value)}, not an object{': JSON encoded twice' if twice else ''}")


def _transport(source: Source) -> Iterator[Finding]:
    """Yield the findings about the address, the response and the size."""
    if source.url is not None:
        yield from lint_address(source.url)
    if source.response is not None:
        yield from lint_response(source.response, source.url or "")
    size = len(source.data)
    if size > BODY_MAX or (source.response is not None and not source.response.complete):
        yield finding("too-large", f"has more than {BODY_MAX // 1024} KiB: its content was not checked")
    elif size > NIMBUS_MAX:
        yield finding("over-50-kib", f"has {size} octets: some verifiers stop at {NIMBUS_MAX}")
    elif size > LARGE:
        yield finding("over-32-kib", f"has {size} octets, close to the limit of some verifiers")


def lint_discovery(
    source: Source, keys: Sequence[object] | None = None, consumers: Sequence[Consumer] = ()
) -> list[Finding]:
    """
    Return the findings about the discovery document *source*.

    Args:
        source: The document.
        keys: The keys of the JWK Set at its ``jwks_uri``; None if that was not read.
        consumers: The verifiers that must be able to use it.
    """
    return list(judge(_discovery(source, keys), consumers, document=source.name))


def _discovery(source: Source, keys: Sequence[object] | None) -> Iterator[Finding]:
    reading = read(source.data) if source.is_whole else None
    for found in (*_transport(source), *(() if reading is None else reading.problems)):
        if found.code in _DISCOVERY_CODES:
            yield finding(_DISCOVERY_CODES[found.code], found.message)
        else:
            yield replace(found, hurts=tuple(label for label in found.hurts if label in DISCOVERERS))
    if reading is None:
        return
    yield from lint_exposed(reading.text, reading.value, reported=False)
    document = reading.value
    if not isinstance(document, dict):
        if document is not None or not reading.problems:
            yield replace(_not_object(document), hurts=(LIBRARIES["go-oidc"], KUBERNETES))
        return
    yield from _issuer(document.get("issuer"), source.url)
    yield from _jwks_uri(document.get("jwks_uri"), source.url)
    for name, is_list in _REQUIRED.items():
        value = document.get(name)
        if name not in document:
            yield finding("discovery-incomplete", f"{name} is missing; the standard requires it", name)
        elif not (isinstance(value, list) if is_list else isinstance(value, str)):
            yield finding(
                "discovery-incomplete",
                f"{name} is {json_type(value)}, not {'an array' if is_list else 'a string'}",
                name,
            )
    yield from _algs(document.get("id_token_signing_alg_values_supported"), keys)


def issuer_of(url: str) -> str | None:
    """Return the issuer whose discovery document is at *url*; None if no discovery document can be there."""
    for ending in (CONFIGURATION, f"{CONFIGURATION}.json"):
        if url.endswith(ending):
            return url.removesuffix(ending)
    return None


def _issuer(issuer: object, url: str | None) -> Iterator[Finding]:
    if not isinstance(issuer, str):
        yield finding("issuer-mismatch", "issuer is missing or not a string", "issuer")
        return
    yield from lint_address(issuer, "issuer")
    expected = None if url is None else issuer_of(url)
    # The address does not show whether the issuer ends with a slash.
    if expected is not None and issuer not in (expected, f"{expected}/"):
        yield finding("issuer-mismatch", f"issuer is {shown(issuer)}, not {shown(expected)}", "issuer")


def _jwks_uri(uri: object, url: str | None) -> Iterator[Finding]:
    if not isinstance(uri, str) or split(uri) is None:
        yield finding("no-jwks-uri", "jwks_uri is missing or not a URL", "jwks_uri")
        return
    if url is None:
        yield from lint_address(uri, "jwks_uri")
        return
    if is_local(uri) and not is_local(url):
        yield finding("jwks-uri-local", f"jwks_uri {shown(uri)} is on the reader's own machine", "jwks_uri")
        return
    yield from lint_address(uri, "jwks_uri")
    ours, theirs = split(url), split(uri)
    if ours is not None and theirs is not None and ours.netloc != theirs.netloc:
        yield finding("jwks-uri-other-host", f"the keys are on another host: {shown(theirs.netloc)}", "jwks_uri")


def _algs(listed: object, keys: Sequence[object] | None) -> Iterator[Finding]:
    where = "id_token_signing_alg_values_supported"
    if not isinstance(listed, list):
        return
    algs = [alg for alg in listed if isinstance(alg, str)]
    if "RS256" not in algs:
        yield finding("no-rs256", "RS256 is not listed; the standard requires it", where)
    if keys is None:
        return
    used = signing_algs(keys)
    if missing := sorted(used - set(algs)):
        yield finding("alg-not-listed", f"keys have alg {few(missing)}, which is not listed", where)
    if unused := sorted(alg for alg in set(algs) - used if alg != "none" and not alg.startswith("HS")):
        yield finding("alg-without-key", f"{few(unused)}: listed, but no key has it", where)
