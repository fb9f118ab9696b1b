"""Look for what breaks verifiers: in what a commit would publish, in a file, at a URL."""

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
    A document that was looked at.

    Attributes:
        name: Its path on the site, its file or its URL.
        kind: What it is taken for.
        octets: How long it is.
        keys: How many keys it has, None for what has none to count.
    """

    name: str
    kind: Kind
    octets: int
    keys: int | None


@dataclass(frozen=True, slots=True)
class Report:
    """
    What a look found.

    Attributes:
        target: What was looked at.
        documents: Its documents.
        findings: What is wrong with them.
    """

    target: str
    documents: tuple[Document, ...]
    findings: tuple[Finding, ...]


def _document(source: Source, kind: Kind) -> Document:
    keys = read(source.data).keys if kind == "jwks" and source.is_whole else None
    return Document(source.name, kind, len(source.data), None if keys is None else len(keys))


# --- what a commit would publish ------------------------------------------------------------------------


def lint_commit(context: Context, commit: Commit, consumers: Sequence[Consumer] = ()) -> Report:
    """
    Look at the JWK Sets and discovery documents of the site of *commit*.

    What stands at several paths is looked at once, under the first of them.
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
        findings += judge(_issuer(state, place, key_sets), consumers, document=document)
    return Report(state.commit, tuple(documents), tuple(findings))


def _issuer(state: VaultState, place: str, key_sets: Sequence[KeySet]) -> Iterator[Finding]:
    """Yield what verifiers must be given by hand, since no discovery document leads them to the JWK Set at *place*."""
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


def lint_file(path: Path, consumers: Sequence[Consumer] = ()) -> Report:
    """
    Look at the JWK Set or discovery document in the file *path*.

    Raises:
        UsageError: It cannot be read.
    """
    try:
        with path.open("rb") as file:
            data = file.read(BODY_MAX + 1)
    except OSError as error:
        raise UsageError(
            f"{elided(str(path))} cannot be read: {error.strerror}", hint="name a file, a URL, or - for stdin"
        ) from None
    return lint_bytes(data, consumers, name=elided(str(path)))


def lint_bytes(data: bytes, consumers: Sequence[Consumer] = (), *, name: str) -> Report:
    """Look at *data*, a JWK Set or a discovery document of unknown origin that is called *name*."""
    source = Source(name, data)
    kind = (source.is_whole and read(data).kind) or "jwks"
    lint = lint_jwk_set if kind == "jwks" else lint_discovery
    return Report(name, (_document(source, kind),), tuple(lint(source, consumers=consumers)))


# --- a URL ----------------------------------------------------------------------------------------------


def lint_url(url: str, consumers: Sequence[Consumer] = ()) -> Report:
    """
    Look at a JWK Set, at a discovery document and the JWK Set that it names, or at those of an issuer.

    Raises:
        UsageError: It is no URL.
        LiveError: A host cannot be asked.
    """
    if split(url) is None:
        raise UsageError(f"{elided(url)[:200]} is no URL", hint="https://keys.example.com")
    source, found = _ask(url, name=elided(url))
    kind = _kind(source)
    if kind is None:
        # Whatever an issuer has on its front page, its documents stand at one place.
        try:
            place = url.rstrip("/") + CONFIGURATION
            configuration, _ = _ask(place, name=elided(place))
        except LiveError:
            pass
        else:
            if configuration.is_whole and read(configuration.data).kind == "discovery":
                source, found, kind = configuration, [], "discovery"
    documents = [_document(source, kind or "jwks")]
    if kind != "discovery":
        findings = [*found, *(lint_jwk_set(source, consumers) if not found else ())]
        return Report(elided(url), tuple(documents), tuple(findings))
    keys = None
    linked: list[Finding] = []
    uri = _jwks_uri(source)
    if uri is not None and _may_follow(uri, url):
        jwks, moved = _ask_linked(uri, elided(url))
        documents.append(_document(jwks, "jwks"))
        linked = moved or lint_jwk_set(jwks, consumers)
        keys = read(jwks.data).keys if jwks.is_whole else None
    findings = [*found, *(lint_discovery(source, keys, consumers) if not found else ()), *linked]
    return Report(elided(url), tuple(documents), tuple(findings))


def _ask_linked(uri: str, discovery: str) -> tuple[Source, list[Finding]]:
    """
    Return what stands at *uri*, which is foreign: the document at *discovery* names it.

    Raises:
        LiveError: The host cannot be asked.
    """
    if is_label(uri):
        return _ask(uri, name=elided(uri))
    try:
        return _ask(uri, name=f"jwks_uri of {discovery}")
    except LiveError as error:
        # Its message has the URL.
        raise LiveError(f"the jwks_uri of {discovery} cannot be asked", code=error.code, hint=error.hint) from None


def _ask(url: str, *, name: str) -> tuple[Source, list[Finding]]:
    """Return what stands at *url*; where nobody must ask, or the host sends away, nothing, and why."""
    from keyvault.publish import live

    if not is_local(url) and (insecure := [one for one in lint_address(url) if one.level == "error"]):
        return Source(name, b"", url), list(judge(insecure, (), document=name))
    try:
        answer = live.request(url, max_bytes=BODY_MAX)
    except LiveError as error:
        if error.code != "redirect":
            raise
        # The message has where the host sends to.
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
    """Whether a document at *url* may send us to *uri*: not to our own machine, unless it is there itself."""
    parts = split(uri)
    return parts is not None and (is_local(url) if is_local(uri) else parts.scheme == "https")
