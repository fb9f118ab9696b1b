"""
The site of a commit, path by path.

`build` yields (path, bytes) pairs; every one of them has passed the second wall. What is built from depends on
the commit alone: its state, which commit wrote each event, and the templates.

Source: docs/format.md for the paths.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import replace
from itertools import chain

from keyvault.core.jwk import file_stem, jwk_set_bytes, pretty
from keyvault.core.keys import Key, VaultState
from keyvault.core.planning import Transition
from keyvault.core.policy import CONFIGURATION, WELL_KNOWN
from keyvault.core.text import printable
from keyvault.errors import JWKError, RenderError
from keyvault.site.calendar import calendar
from keyvault.site.documents import (
    EventCommits,
    discovery_document,
    history_document,
    history_key,
    history_schema,
    is_shown,
    public_pem,
)
from keyvault.site.feeds import atom_feed, sitemap, upcoming
from keyvault.site.headers import headers_file
from keyvault.site.pages import Pages, Renderer, Templates
from keyvault.site.spread import spread
from keyvault.site.views import newest_instant
from keyvault.site.walls import inspect


def build(state: VaultState, commits: EventCommits, templates: Templates) -> Iterator[tuple[str, bytes]]:
    """
    Yield every file of the site as (path, bytes), JWK Sets first.

    Args:
        state: The vault.
        commits: Which commit wrote each event, by record path.
        templates: Files of ``site_template/``, with the vault's own in place of ours.

    Raises:
        RenderError: A template is broken, a path cannot be, or two things claim one path.
        LeakError: A private member was about to be published.
    """
    seen: dict[str, str] = {}
    for path, data in _files(state, commits, templates):
        check_path(path)
        folded = path.casefold()
        if folded in seen:
            raise RenderError(f"two files of the site claim one path: {seen[folded]} and {path}")
        seen[folded] = path
        yield path, data


def _inspected(files: Iterable[tuple[str, bytes]]) -> Iterator[tuple[str, bytes]]:
    """Yield *files*, each after it has passed the second wall."""
    for path, data in files:
        inspect(path, data)
        yield path, data


def check_path(path: str) -> None:
    """
    Refuse a path that does not lie below the site's root on every system.

    Trees of git may hold names that git itself never writes, such as ``..``.

    Raises:
        RenderError: It is such a path.
    """
    if "\\" in path or ":" in path or any(part in ("", ".", "..") for part in path.split("/")):
        raise RenderError(f"{printable(path)!r:.200} cannot be a path of a site")


def _files(state: VaultState, commits: EventCommits, templates: Templates) -> Iterator[tuple[str, bytes]]:
    """Yield every file, inspected."""
    coming = upcoming(state, newest_instant(state))
    extensionless = []
    for path, data in _inspected(jwk_sets(state)):
        yield path, data
        if "." not in path.rpartition("/")[2]:
            extensionless.append(path)
    for path, data in _inspected(discovery(state)):
        yield path, data
        if not path.endswith(".json"):
            extensionless.append(path)
    # A set that was symmetric once has keys that stand on no page, in no drawing and in no feed.
    state = replace(state, keys={kid: key for kid, key in state.keys.items() if is_shown(key)})
    renderer = Renderer(templates)
    pages = Pages(state, commits, renderer)

    def of_set(name: str) -> list[tuple[str, bytes]]:
        # Inspected where it is made: the wall takes its share of all cores, too.
        return list(_inspected(chain(_key_files(pages.sets[name]), pages.of_set(name))))

    urls = []
    for path, data in chain(_inspected(pages), chain.from_iterable(spread(of_set, list(pages.sets)))):
        if path.endswith("index.html"):
            urls.append(f"{state.policy.site.url}/{path.removesuffix('index.html')}")
        yield path, data
    yield from _inspected(
        _rest(state, commits, renderer, chain.from_iterable(pages.sets.values()), coming, urls, extensionless)
    )


def _key_files(keys: Iterable[Key]) -> Iterator[tuple[str, bytes]]:
    """Yield the files to download of each of *keys*."""
    for key in keys:
        stem = file_stem(key.kid)
        yield f"keys/{stem}.json", pretty(key.public)
        try:
            pem = public_pem(key.public)
        except JWKError as error:
            raise RenderError(f"{key.path}: {error.message}") from None
        yield f"keys/{stem}.pem", pem


def _rest(
    state: VaultState,
    commits: EventCommits,
    renderer: Renderer,
    keys: Iterable[Key],
    coming: Sequence[Transition],
    urls: Sequence[str],
    extensionless: Sequence[str],
) -> Iterator[tuple[str, bytes]]:
    """Yield what lists all keys or all pages, and what hosts and robots read."""
    history = [history_key(key, file_stem(key.kid), commits) for key in keys]
    yield "history.json", history_document(state, history)
    yield "history.schema.json", history_schema()
    yield "feed.atom", atom_feed(state, history)
    yield "upcoming.ics", calendar(coming, state)
    yield from renderer.assets.items()
    yield "sitemap.xml", sitemap(urls)
    yield ".nojekyll", b""
    yield "robots.txt", f"User-agent: *\nAllow: /\nSitemap: {state.policy.site.url}/sitemap.xml\n".encode()
    yield "_headers", headers_file(max_age=state.policy.site.max_age, json_paths=extensionless, assets=renderer.assets)


def discovery(state: VaultState) -> Iterator[tuple[str, bytes]]:
    """Yield the discovery document of each issuer, at both of its paths."""
    if not state.policy.site.discovery:
        return
    for issuer in state.issuers:
        keys = [key.public for key in state.issuer_keys(issuer)]
        if not any(key.use == "sig" for key in keys):
            continue  # nobody signs in under such an issuer
        document = discovery_document(state.policy, issuer, keys)
        place = (_place(state, issuer) + CONFIGURATION).lstrip("/")
        yield place, document
        yield place + ".json", document


def _place(state: VaultState, issuer: str) -> str:
    """Return the path of *issuer* below the site's root: empty for the site's own, else with a leading slash."""
    return issuer[len(state.policy.site.url) :]


def jwk_sets(state: VaultState) -> Iterator[tuple[str, bytes]]:
    """Yield every JWK Set of the site as (path, bytes); one without keys is left out."""
    for issuer, key_sets in state.issuers.items():
        data = _jwk_set(state.issuer_keys(issuer))
        if data is None:
            continue
        place = _place(state, issuer)
        extra = {path for key_set in key_sets for path in key_set.policy.paths}
        for path in dict.fromkeys((place + WELL_KNOWN, place + "/jwks.json", *sorted(extra))):
            yield path.lstrip("/"), data
        for key_set in key_sets:
            alone = _jwk_set(iter(key_set.published))
            if alone is not None:
                yield f"sets/{key_set.name}/jwks.json", alone


def _jwk_set(keys: Iterator[Key]) -> bytes | None:
    # A verifier that fetches an empty JWK Set forgets every key that it knew: none is rendered.
    published = [key.public for key in keys]
    return jwk_set_bytes(published) if published else None
