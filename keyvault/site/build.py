"""
The site of a commit, path by path.

`build` yields (path, bytes) pairs; every one of them has passed the second wall. What is built from depends on
the commit alone: its state, which commit wrote each event, and the templates.

Source: docs/format.md for the paths.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
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
    HistoryDocument,
    HistoryKey,
    discovery_document,
    history_entries,
    history_key,
    history_schema,
    is_shown,
    public_pem,
)
from keyvault.site.feeds import SITEMAP_MAX, atom_feed, sitemap, upcoming
from keyvault.site.headers import headers_file
from keyvault.site.pages import Pages, Renderer, Templates, any_touched
from keyvault.site.spread import spread
from keyvault.site.views import newest_instant
from keyvault.site.walls import inspect

#: A file of the site: its path, and its bytes, or None where they are those of an earlier site.
File = tuple[str, bytes | None]


@dataclass(frozen=True)
class Earlier:
    """
    What is known of the site of an earlier commit with the same keyvault.toml and templates.

    Attributes:
        touched: The sets whose keys changed since; all other sets are as they were.
        history: What its history.json said of each key of those.
    """

    touched: frozenset[str]
    history: Mapping[str, HistoryKey]


def build(
    state: VaultState, commits: EventCommits, templates: Templates, earlier: Earlier | None = None
) -> Iterator[File]:
    """
    Yield every file of the site as (path, bytes), JWK Sets first.

    Args:
        state: The vault.
        commits: Which commit wrote each event, by record path.
        templates: Files of ``site_template/``, with the vault's own in place of ours.
        earlier: What need not be made again, if anything: of such a file the bytes are None.

    Raises:
        RenderError: A template is broken, a path cannot be, or two things claim one path.
        LeakError: A private member was about to be published.
    """
    # By hash: the folded paths of a large site take as much memory as the paths.
    seen: dict[int, str] = {}
    for path, data in _files(state, commits, templates, earlier):
        check_path(path)
        folded = path.casefold()
        other = seen.get(hash(folded))
        if other is not None and other.casefold() == folded:
            raise RenderError(f"two files of the site claim one path: {other} and {path}")
        seen[hash(folded)] = path
        yield path, data


def made(files: Iterable[File]) -> Iterator[tuple[str, bytes]]:
    """Yield *files* of which none is of an earlier site."""
    for path, data in files:
        assert data is not None
        yield path, data


def _inspected(files: Iterable[File]) -> Iterator[File]:
    """Yield *files*, each after it has passed the second wall; what is of an earlier site passed it then."""
    for path, data in files:
        if data is not None:
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


def _files(state: VaultState, commits: EventCommits, templates: Templates, earlier: Earlier | None) -> Iterator[File]:
    """Yield every file, inspected."""
    touched = None if earlier is None else earlier.touched
    coming = upcoming(state, newest_instant(state))
    extensionless = []
    for path, data in _inspected(_jwk_sets(state, touched)):
        yield path, data
        if "." not in path.rpartition("/")[2]:
            extensionless.append(path)
    for path, data in _inspected(_discovery(state, touched)):
        yield path, data
        if not path.endswith(".json"):
            extensionless.append(path)
    # A set that was symmetric once has keys that stand on no page, in no drawing and in no feed.
    state = replace(state, keys={kid: key for kid, key in state.keys.items() if is_shown(key)})
    renderer = Renderer(templates)
    # Templates of a vault may show of other sets what ours don't.
    pages = Pages(state, commits, renderer, touched if templates.trusted else None)

    def of_set(name: str) -> tuple[list[File], bytes]:
        # Inspected where it is made: the wall takes its share of all cores, too.
        files = list(_inspected(chain(_key_files(pages.sets[name]), pages.of_set(name))))
        return files, history_entries(history_key(key, commits) for key in pages.sets[name])

    listed: list[str] = []
    for path, data in _inspected(pages):
        if path.endswith("index.html"):
            listed.append(path)
        yield path, data
    history = HistoryDocument(state)
    made_anew = spread(of_set, [name for name in pages.sets if touched is None or name in touched])
    for name, keys in pages.sets.items():
        if earlier is None or name in earlier.touched:
            files, entries = next(made_anew)
            yield from files
        else:
            entries = history_entries(earlier.history[key.kid] for key in keys)
            yield from ((path, None) for path in paths_of_set(name, keys))
        history.add(entries)
        if len(listed) < SITEMAP_MAX:
            listed += (path for path in paths_of_set(name, keys) if path.endswith("index.html"))
    made_anew.close()
    urls = [f"{state.policy.site.url}/{path.removesuffix('index.html')}" for path in listed]
    yield from _inspected(_rest(state, renderer, history, coming, urls, extensionless))


def paths_of_set(name: str, keys: Iterable[Key]) -> Iterator[str]:
    """Yield the path of every file that is made of a set and its *keys* alone, but its JWK Set."""
    yield f"sets/{name}/index.html"
    for key in keys:
        stem = file_stem(key.kid)
        yield from (f"keys/{stem}.json", f"keys/{stem}.pem", f"keys/{stem}/index.html")


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
    renderer: Renderer,
    history: HistoryDocument,
    coming: Sequence[Transition],
    urls: Sequence[str],
    extensionless: Sequence[str],
) -> Iterator[tuple[str, bytes]]:
    """Yield what lists all keys or all pages, and what hosts and robots read."""
    yield "history.json", history.finish()
    yield "history.schema.json", history_schema()
    yield "feed.atom", atom_feed(state)
    yield "upcoming.ics", calendar(coming, state)
    yield from renderer.assets.items()
    yield "sitemap.xml", sitemap(urls)
    yield ".nojekyll", b""
    yield "robots.txt", f"User-agent: *\nAllow: /\nSitemap: {state.policy.site.url}/sitemap.xml\n".encode()
    yield "_headers", headers_file(max_age=state.policy.site.max_age, json_paths=extensionless, assets=renderer.assets)


def discovery(state: VaultState) -> Iterator[tuple[str, bytes]]:
    """Yield the discovery document of each issuer, at both of its paths."""
    yield from made(_discovery(state, None))


def _discovery(state: VaultState, touched: Collection[str] | None) -> Iterator[File]:
    if not state.policy.site.discovery:
        return
    for issuer, key_sets in state.issuers.items():
        keys = [key.public for key in state.issuer_keys(issuer)]
        if not any(key.use == "sig" for key in keys):
            continue  # nobody signs in under such an issuer
        document = discovery_document(state.policy, issuer, keys) if any_touched(key_sets, touched) else None
        place = (_place(state, issuer) + CONFIGURATION).lstrip("/")
        yield place, document
        yield place + ".json", document


def _place(state: VaultState, issuer: str) -> str:
    """Return the path of *issuer* below the site's root: empty for the site's own, else with a leading slash."""
    return issuer[len(state.policy.site.url) :]


def jwk_sets(state: VaultState) -> Iterator[tuple[str, bytes]]:
    """Yield every JWK Set of the site as (path, bytes); one without keys is left out."""
    yield from made(_jwk_sets(state, None))


def _jwk_sets(state: VaultState, touched: Collection[str] | None) -> Iterator[File]:
    for issuer, key_sets in state.issuers.items():
        # A verifier that fetches an empty JWK Set forgets every key that it knew: none is rendered.
        published = {key_set.name: key_set.published for key_set in key_sets}
        if not any(published.values()):
            continue
        data = _jwk_set(chain.from_iterable(published.values())) if any_touched(key_sets, touched) else None
        place = _place(state, issuer)
        extra = {path for key_set in key_sets for path in key_set.policy.paths}
        for path in dict.fromkeys((place + WELL_KNOWN, place + "/jwks.json", *sorted(extra))):
            yield path.lstrip("/"), data
        for key_set in key_sets:
            if keys := published[key_set.name]:
                yield f"sets/{key_set.name}/jwks.json", _jwk_set(keys) if any_touched([key_set], touched) else None


def _jwk_set(keys: Iterable[Key]) -> bytes:
    return jwk_set_bytes(key.public for key in keys)
