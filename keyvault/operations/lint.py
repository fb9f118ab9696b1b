"""Find problems that break verifiers: in the site of a commit, in a file, at a URL."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from keyvault.core.labels import is_label
from keyvault.core.lint.consumers import Consumer, judge
from keyvault.core.lint.documents import BODY_MAX, Source, issuer_of, lint_discovery, lint_jwk_set, read
from keyvault.core.lint.rules import Finding, finding
from keyvault.core.lint.transport import Response, is_local, lint_address, split
from keyvault.core.places import CONFIGURATION, WELL_KNOWN, path_of_issuer
from keyvault.core.state import Commit, KeySet, VaultState
from keyvault.core.text import elided
from keyvault.errors import LiveError, UsageError
from keyvault.operations.context import Context

Kind = Literal["jwks", "discovery"]


@dataclass(frozen=True, slots=True)
class Document:
    """
    A document that was checked.

    Attributes:
        name: Its path on the site, its file or its URL.
        kind: The kind of document that it was checked as.
        octets: Its length.
        keys: How many keys it has; None for a discovery document, or if it cannot be parsed.
    """

    name: str
    kind: Kind
    octets: int
    keys: int | None


@dataclass(frozen=True, slots=True)
class LintResult:
    """
    The result of a check.

    Attributes:
        target: The commit, file or URL that was checked.
        documents: Its documents.
        findings: Their problems.
    """

    target: str
    documents: tuple[Document, ...]
    findings: tuple[Finding, ...]


def _document(source: Source, kind: Kind) -> Document:
    keys = read(source.data).keys if kind == "jwks" and source.is_whole else None
    return Document(source.name, kind, len(source.data), None if keys is None else len(keys))


# --- the site of a commit -------------------------------------------------------------------------------


def lint_commit(context: Context, commit: Commit, consumers: Sequence[Consumer] = ()) -> LintResult:
    """
    Check the JWK Sets and discovery documents of the site of *commit*.

    A document that has several paths is checked once, under the first of them.
    """
    from keyvault.site.build import discovery, jwk_sets

    state = context.state(commit)
    site = state.policy.site.url
    kids = frozenset(state.keys)
    sets = [Source(path, data, f"{site}/{path}", kids=kids) for path, data in jwk_sets(state)]
    by_url = {source.url: source for source in sets}
    seen: set[bytes] = set()
    documents, findings = [], []
    for source in sets:
        documents.append(_document(source, "jwks"))
        if source.data not in seen:
            findings += lint_jwk_set(source, consumers)
        seen.add(source.data)
    for path, data in discovery(state):
        source = Source(path, data, f"{site}/{path}")
        documents.append(_document(source, "discovery"))
        if data not in seen:
            linked = by_url.get(_jwks_uri(source))
            findings += lint_discovery(source, None if linked is None else read(linked.data).keys, consumers)
        seen.add(data)
    for place, key_sets in state.places.items():
        document = f"{place}{WELL_KNOWN}".lstrip("/")
        findings += judge(_issuer_findings(state, place, key_sets), consumers, document=document)
    return LintResult(state.commit, tuple(documents), tuple(findings))


def _issuer_findings(state: VaultState, place: str, key_sets: Sequence[KeySet]) -> Iterator[Finding]:
    """Yield settings that verifiers need by hand, since no discovery document leads them to the JWK Set at *place*."""
    site, issuer = state.policy.site, state.issuer_at(place)
    for policy in (key_set.policy for key_set in key_sets):
        if policy.issuer != issuer:
            yield finding("issuer-mismatch", f"issuer is {issuer}, tokens of {policy.name} say {policy.issuer}")
    if site.discovery and path_of_issuer(site.url, issuer) is None:
        yield finding(
            "issuer-elsewhere",
            f"no discovery document is rendered for {issuer}, which is not on this site: give verifiers "
            f"jwks_uri {key_sets[0].policy.url}",
        )


# --- a file ---------------------------------------------------------------------------------------------


def lint_file(path: Path, consumers: Sequence[Consumer] = ()) -> LintResult:
    """
    Check the JWK Set or discovery document in the file *path*.

    Raises:
        UsageError: If the file cannot be read.
    """
    try:
        with path.open("rb") as file:
            data = file.read(BODY_MAX + 1)
    except OSError as error:
        raise UsageError(
            f"{elided(str(path))} cannot be read: {error.strerror}",
            code="file-unreadable",
            hint="name a file, a URL, or - for stdin",
        ) from None
    return lint_bytes(data, consumers, name=elided(str(path)))


def lint_bytes(data: bytes, consumers: Sequence[Consumer] = (), *, name: str) -> LintResult:
    """Check *data*, a JWK Set or a discovery document of unknown origin, under the name *name*."""
    source = Source(name, data)
    kind = (source.is_whole and read(data).kind) or "jwks"
    lint = lint_jwk_set if kind == "jwks" else lint_discovery
    return LintResult(name, (_document(source, kind),), tuple(lint(source, consumers=consumers)))


# --- a URL ----------------------------------------------------------------------------------------------


def lint_url(url: str, consumers: Sequence[Consumer] = ()) -> LintResult:
    """
    Check a JWK Set, or a discovery document and the JWK Set that it names; *url* may be that of an issuer.

    Raises:
        UsageError: If *url* is not a URL.
        LiveError: If a document cannot be fetched.
    """
    if split(url) is None:
        raise UsageError(f"{elided(url)[:200]} is not a URL", code="url-invalid", hint="https://keys.example.com")
    source, found = _fetch(url, name=elided(url))
    kind = _kind(source)
    if kind is None:
        # An issuer may serve any front page; its discovery document has a fixed path.
        try:
            place = url.rstrip("/") + CONFIGURATION
            configuration, _ = _fetch(place, name=elided(place))
        except LiveError:
            pass
        else:
            if configuration.is_whole and read(configuration.data).kind == "discovery":
                source, found, kind = configuration, [], "discovery"
    documents = [_document(source, kind or "jwks")]
    if kind != "discovery":
        findings = [*found, *(lint_jwk_set(source, consumers) if not found else ())]
        return LintResult(elided(url), tuple(documents), tuple(findings))
    keys = None
    linked: list[Finding] = []
    uri = _jwks_uri(source)
    if uri is not None and _may_follow(uri, url):
        jwks, moved = _fetch_linked(uri, elided(url))
        documents.append(_document(jwks, "jwks"))
        linked = moved or lint_jwk_set(jwks, consumers)
        keys = read(jwks.data).keys if jwks.is_whole else None
    findings = [*found, *(lint_discovery(source, keys, consumers) if not found else ()), *linked]
    return LintResult(elided(url), tuple(documents), tuple(findings))


def _fetch_linked(uri: str, discovery: str) -> tuple[Source, list[Finding]]:
    """
    Fetch the JWK Set at *uri*, foreign text that the document at *discovery* contains.

    Raises:
        LiveError: If the JWK Set cannot be fetched.
    """
    if is_label(uri):
        return _fetch(uri, name=elided(uri))
    try:
        return _fetch(uri, name=f"jwks_uri of {discovery}")
    except LiveError as error:
        # Its message contains the URL, which must not be shown.
        raise LiveError(f"the jwks_uri of {discovery} cannot be fetched", code=error.code, hint=error.hint) from None


def _fetch(url: str, *, name: str) -> tuple[Source, list[Finding]]:
    """Fetch *url*; if it is insecure or redirects elsewhere, return an empty document and the finding."""
    from keyvault.publish import live

    if not is_local(url) and (insecure := [found for found in lint_address(url) if found.level == "error"]):
        return Source(name, b"", url), list(judge(insecure, (), document=name))
    try:
        answer = live.request(url, max_bytes=BODY_MAX)
    except LiveError as error:
        if error.code != "redirect":
            raise
        # The message contains the target of the redirect.
        message = error.message if is_label(error.message) else "redirects to another host, or without end"
        moved = finding("redirect-not-followed", message, hurts=None if issuer_of(url) is None else ())
        return Source(name, b"", url), list(judge([moved], (), document=name))
    response = Response(answer.status, answer.headers, answer.complete, answer.redirects)
    return Source(name, answer.body, url, response), []


def _kind(source: Source) -> Kind | None:
    kind = read(source.data).kind if source.is_whole else None
    return kind or ("discovery" if issuer_of(source.url or "") is not None else None)


def _jwks_uri(source: Source) -> str | None:
    value = read(source.data).value if source.is_whole else None
    uri = value.get("jwks_uri") if isinstance(value, dict) else None
    return uri if isinstance(uri, str) else None


def _may_follow(uri: str, url: str) -> bool:
    """Whether a document at *url* may link to *uri*: not to this machine, unless the document is here, too."""
    parts = split(uri)
    return parts is not None and (is_local(url) if is_local(uri) else parts.scheme == "https")
