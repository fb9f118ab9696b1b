"""
The site of a commit, path by path.

`build` yields (path, bytes) pairs; every one of them has passed the second wall. What is built from depends on
the commit alone: its state, which commit wrote each event, and the templates.

Source: docs/format.md for the paths.
"""

from __future__ import annotations

import io
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from itertools import chain
from typing import IO, NamedTuple

from keyvault.core.jwk import file_stem, jwk_set_bytes, pretty
from keyvault.core.keys import Key
from keyvault.core.outlook import Transition
from keyvault.core.places import CONFIGURATION, WELL_KNOWN, path_of_issuer
from keyvault.core.policy import Policy, SitePolicy
from keyvault.core.state import Commit, VaultState
from keyvault.core.text import quoted
from keyvault.errors import JWKError, RenderError
from keyvault.site.calendar import calendar
from keyvault.site.documents import (
    EventCommits,
    HistoryDocument,
    HistoryKey,
    discovery_document,
    history_entries,
    history_frame,
    history_key,
    history_schema,
    is_shown,
    public_pem,
)
from keyvault.site.feeds import SITEMAP_MAX, atom_feed, sitemap, upcoming
from keyvault.site.headers import headers_file
from keyvault.site.leak_check import inspect
from keyvault.site.pages import Pages, Renderer, Templates, any_touched
from keyvault.site.views import newest_instant
from keyvault.spread import spread

#: What a worker does at a time, and holds in memory.
SETS_A_PART = 32

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
    state: VaultState,
    commits: EventCommits,
    templates: Templates,
    earlier: Earlier | None = None,
    *,
    scratch: Callable[[], IO[bytes]] = io.BytesIO,
) -> Iterator[File]:
    """
    Yield every file of the site as (path, bytes), JWK Sets first.

    Args:
        state: The vault.
        commits: Which commit wrote each event, by record path.
        templates: Files of ``site_template/``, with the vault's own in place of ours.
        earlier: What need not be made again, if anything: of such a file the bytes are None.
        scratch: Gives a file in which history.json waits until it is whole.

    Raises:
        RenderError: A template is broken, a path cannot be, or two things claim one path.
        LeakError: A private member was about to be published.
    """
    # By hash: the folded paths of a large site take as much memory as the paths.
    seen: dict[int, str] = {}
    files = _files(state, commits, templates, earlier, scratch)
    del state, commits, earlier  # they let go of a large vault when its pages are made
    for path, data in files:
        check_path(path)
        if path.startswith("keys/") and path.count("/") == 1:
            # What is to be downloaded of a key lies beside its page, which is looked at.
            yield path, data
            continue
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
        raise RenderError(f"{quoted(path, 200)} cannot be a path of a site")


def _files(
    state: VaultState,
    commits: EventCommits,
    templates: Templates,
    earlier: Earlier | None,
    scratch: Callable[[], IO[bytes]],
) -> Iterator[File]:
    """Yield every file, inspected."""
    touched = None if earlier is None else earlier.touched
    extensionless = []
    for path, data in _inspected(_jwk_sets(state, touched)):
        yield path, data
        if "." not in path.rpartition("/")[2]:
            extensionless.append(path)
    for path, data in _inspected(_discovery(state, touched)):
        yield path, data
        if not path.endswith(".json"):
            extensionless.append(path)
    coming = upcoming(state, newest_instant(state))
    # A set that was symmetric once has keys that stand on no page, in no drawing and in no feed.
    state = replace(state, keys={kid: key for kid, key in state.keys.items() if is_shown(key)})
    renderer = Renderer(templates)
    # Templates of a vault may show of other sets what ours don't.
    pages = Pages(state, commits, renderer, touched if templates.trusted else None)

    listed: list[str] = []
    for path, data in _inspected(pages):
        if path.endswith("index.html"):
            listed.append(path)
        yield path, data
    # As a whole history.json is too large to be inspected: its parts are, wherever they are made.
    frame = history_frame(state)
    inspect("history.json", frame)
    history = HistoryDocument(frame, scratch())
    lists = list(_inspected(_lists(state, coming)))
    names, sets, policy, commit = list(pages.sets), dict(pages.sets), state.policy, state.commit
    del state, pages, coming  # what was rendered of a large vault is let go of, set by set
    made_anew = spread(_Maker(templates), _parts(commit, policy, commits, sets, touched))
    for name in names:
        if earlier is None or name in earlier.touched:
            files, entries = next(made_anew)
            yield from files
            paths = [path for path, _ in files]
        else:
            keys = sets.pop(name)
            entries = _entries(earlier.history[key.kid] for key in keys)
            paths = list(paths_of_set(name, keys))
            yield from ((path, None) for path in paths)
        history.add(entries)
        if len(listed) < SITEMAP_MAX:
            listed += (path for path in paths if path.endswith("index.html"))
    made_anew.close()
    site = policy.site
    del policy, commits, earlier, made_anew, frame  # history.json is as large as a vault
    yield "history.json", history.finish()
    yield from lists
    urls = [f"{site.url}/{path.removesuffix('index.html')}" for path in listed]
    yield from _inspected(_for_hosts(site, renderer, urls, extensionless))


class _Part(NamedTuple):
    """Some sets of a vault, with all that their pages show."""

    state: VaultState
    commits: EventCommits


def _parts(
    commit: Commit,
    policy: Policy,
    commits: EventCommits,
    sets: dict[str, tuple[Key, ...]],
    touched: Collection[str] | None,
) -> Iterator[_Part]:
    """Take a few of *sets* at a time out of them; of those that are *touched*, which is None for all."""
    names = [name for name in sets if touched is None or name in touched]
    for start in range(0, len(names), SETS_A_PART):
        few = {name: sets.pop(name) for name in names[start : start + SETS_A_PART]}
        tables = {name: policy.sets[name] for name in few if name in policy.sets}
        keys = {key.kid: key for of_set in few.values() for key in of_set}
        written = {path: commits[path] for key in keys.values() if (path := key.path) in commits}
        yield _Part(VaultState(commit, replace(policy, sets=tables), keys), written)


class _Maker:
    """Makes the files of sets, and what history.json says of them."""

    def __init__(self, templates: Templates) -> None:
        self._templates = templates

    @cached_property
    def _renderer(self) -> Renderer:
        return Renderer(self._templates)

    def __call__(self, part: _Part) -> Iterator[tuple[list[File], bytes]]:
        """Yield the files of each set of *part*, inspected, with its entries of history.json."""
        pages = Pages(part.state, part.commits, self._renderer)
        for name, keys in pages.sets.items():
            # Inspected where it is made: the wall takes its share of all cores, too.
            files = list(_inspected(chain(_key_files(keys), pages.of_set(name))))
            yield files, _entries(history_key(key, part.commits) for key in keys)


def _entries(keys: Iterable[HistoryKey]) -> bytes:
    """Return what history.json says of *keys*, inspected."""
    entries = history_entries(keys)
    inspect("history.json", b"[%b]" % entries)
    return entries


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


def _lists(state: VaultState, coming: Sequence[Transition]) -> Iterator[tuple[str, bytes]]:
    """Yield what programs are told of all keys, but history.json."""
    yield "history.schema.json", history_schema()
    yield "feed.atom", atom_feed(state)
    yield "upcoming.ics", calendar(coming, state)


def _for_hosts(
    site: SitePolicy, renderer: Renderer, urls: Sequence[str], extensionless: Sequence[str]
) -> Iterator[tuple[str, bytes]]:
    """Yield what pages load, and what hosts and robots read."""
    yield from renderer.assets.items()
    yield "sitemap.xml", sitemap(urls)
    yield ".nojekyll", b""
    yield "robots.txt", f"User-agent: *\nAllow: /\nSitemap: {site.url}/sitemap.xml\n".encode()
    yield "_headers", headers_file(max_age=site.max_age, json_paths=extensionless, assets=renderer.assets)


def discovery(state: VaultState) -> Iterator[tuple[str, bytes]]:
    """Yield the discovery document of each issuer, at both of its paths."""
    yield from made(_discovery(state, None))


def _discovery(state: VaultState, touched: Collection[str] | None) -> Iterator[File]:
    if not state.policy.site.discovery:
        return
    for place, key_sets in state.places.items():
        issuer = state.issuer_at(place)
        home = path_of_issuer(state.policy.site.url, issuer)
        if home is None:
            continue  # OpenID Connect looks for the document at the issuer, which is not on this site
        keys = [key.public for key in state.keys_at(place)]
        if not any(key.use == "sig" for key in keys):
            continue  # nobody signs in under such an issuer
        made_anew = any_touched(key_sets, touched)
        document = discovery_document(state.policy, issuer, key_sets[0].policy.url, keys) if made_anew else None
        path = (home + CONFIGURATION).lstrip("/")
        yield path, document
        yield path + ".json", document


def jwk_sets(state: VaultState) -> Iterator[tuple[str, bytes]]:
    """Yield every JWK Set of the site as (path, bytes); one without keys is left out."""
    yield from made(_jwk_sets(state, None))


def _jwk_sets(state: VaultState, touched: Collection[str] | None) -> Iterator[File]:
    for place, key_sets in state.places.items():
        # A verifier that fetches an empty JWK Set forgets every key that it knew: none is rendered.
        published = {key_set.name: key_set.published for key_set in key_sets}
        if not any(published.values()):
            continue
        data = _jwk_set(chain.from_iterable(published.values())) if any_touched(key_sets, touched) else None
        extra = {path for key_set in key_sets for path in key_set.policy.paths}
        for path in dict.fromkeys((place + WELL_KNOWN, place + "/jwks.json", *sorted(extra))):
            yield path.lstrip("/"), data
        for key_set in key_sets:
            if keys := published[key_set.name]:
                yield f"sets/{key_set.name}/jwks.json", _jwk_set(keys) if any_touched([key_set], touched) else None


def _jwk_set(keys: Iterable[Key]) -> bytes:
    return jwk_set_bytes(key.public for key in keys)
