"""
Build the site of a commit, path by path.

`build` yields files, and each has passed `leak_check`. The site depends on the commit alone: its state,
the commit that wrote each event, and the templates.

Source: docs/format.md for the paths.
"""

from __future__ import annotations

import io
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property, partial
from itertools import chain, starmap
from typing import IO, NamedTuple, TypeVar, overload

from keyvault.core.files import Rendered, SiteFile, Unchanged
from keyvault.core.jwk import file_stem, jwk_set_bytes, pretty
from keyvault.core.keys import Key
from keyvault.core.outlook import Transition
from keyvault.core.places import CONFIGURATION, WELL_KNOWN, path_of_issuer
from keyvault.core.policy import Policy, SitePolicy
from keyvault.core.state import Commit, KeySet, VaultState
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
from keyvault.site.leak_check import refuse_private
from keyvault.site.pages import Pages, Renderer, Templates, any_changed
from keyvault.site.views import newest_instant
from keyvault.spread import spread

#: How many sets a worker process renders at a time, and holds in memory.
SETS_PER_PART = 32


File = TypeVar("File", bound=SiteFile)


@dataclass(frozen=True)
class PreviousSite:
    """
    The site of an earlier commit with the same keyvault.toml and templates.

    Attributes:
        changed_sets: The sets whose keys have changed since then.
        history: The entry of history.json for each key of the other sets, by kid.
    """

    changed_sets: frozenset[str]
    history: Mapping[str, HistoryKey]


@overload
def build(
    state: VaultState,
    commits: EventCommits,
    templates: Templates,
    previous: None = None,
    *,
    scratch: Callable[[], IO[bytes]] = io.BytesIO,
) -> Iterator[Rendered]: ...
@overload
def build(
    state: VaultState,
    commits: EventCommits,
    templates: Templates,
    previous: PreviousSite,
    *,
    scratch: Callable[[], IO[bytes]] = io.BytesIO,
) -> Iterator[SiteFile]: ...
def build(
    state: VaultState,
    commits: EventCommits,
    templates: Templates,
    previous: PreviousSite | None = None,
    *,
    scratch: Callable[[], IO[bytes]] = io.BytesIO,
) -> Iterator[SiteFile]:
    """
    Yield every file of the site, JWK Sets first.

    Args:
        state: The vault.
        commits: The commit that wrote each event, by record path.
        templates: The files of ``site_template/``.
        previous: If given, its files that cannot have changed are `Unchanged`; all others are `Rendered`.
        scratch: Returns a temporary file, which collects history.json.

    Raises:
        RenderError: If a template is broken, a path is invalid, or two files have the same path.
        LeakError: If a file contains private key material.
    """
    # By hash: the folded paths of a large site take as much memory as the paths.
    seen: dict[int, str] = {}
    files = _files(state, commits, templates, previous, scratch)
    del state, commits, previous  # `_files` drops a large vault as it renders: no reference may remain here
    for file in files:
        path = file.path
        check_path(path)
        if path.startswith("keys/") and path.count("/") == 1:
            # A key's downloads share the name of its page's folder: the page's path is checked below.
            yield file
            continue
        folded = path.casefold()
        other = seen.get(hash(folded))
        if other is not None and other.casefold() == folded:
            raise RenderError(f"two files of the site have the same path: {other} and {path}", code="site-path-taken")
        seen[hash(folded)] = path
        yield file


def _leak_checked(files: Iterable[File]) -> Iterator[File]:
    """Yield *files*, each after `leak_check`; a file of the previous site passed it then."""
    for file in files:
        if isinstance(file, Rendered):
            refuse_private(file.path, file.data)
        yield file


def check_path(path: str) -> None:
    """
    Refuse a path that does not lie below the site's root on every system.

    Git trees may hold names that git itself never writes, such as ``..``.

    Raises:
        RenderError: If it is such a path.
    """
    if "\\" in path or ":" in path or any(part in ("", ".", "..") for part in path.split("/")):
        raise RenderError(f"invalid path of a site: {quoted(path, 200)}", code="site-path-invalid")


def _files(
    state: VaultState,
    commits: EventCommits,
    templates: Templates,
    previous: PreviousSite | None,
    scratch: Callable[[], IO[bytes]],
) -> Iterator[SiteFile]:
    """Yield every file, after `leak_check`."""
    changed_sets = None if previous is None else previous.changed_sets
    extensionless = []
    for file in _leak_checked(_files_of(_jwk_sets(state), changed_sets)):
        yield file
        if "." not in file.path.rpartition("/")[2]:
            extensionless.append(file.path)
    for file in _leak_checked(_files_of(_discovery(state), changed_sets)):
        yield file
        if not file.path.endswith(".json"):
            extensionless.append(file.path)
    transitions = upcoming(state, newest_instant(state))
    # A set that was symmetric once has keys that no page, timeline or feed shows.
    state = replace(state, keys={kid: key for kid, key in state.keys.items() if is_shown(key)})
    renderer = Renderer(templates)
    # The page of an unchanged set may differ all the same if a template of the vault shows other sets on it.
    pages = Pages(state, commits, renderer, changed_sets if templates.trusted else None)

    listed: list[str] = []
    for file in _leak_checked(pages):
        if file.path.endswith("index.html"):
            listed.append(file.path)
        yield file
    # As a whole, history.json is too large for `leak_check`: each part is checked where it is built.
    frame = history_frame(state)
    refuse_private("history.json", frame)
    history = HistoryDocument(frame, scratch())
    feeds = list(_leak_checked(_feeds(state, transitions)))
    # To free each set of a large vault once it is rendered, `_parts` removes the changed sets from `sets`, and the loop
    # removes the others. `rendered` yields the changed sets in the order of `names`.
    names, sets, policy, commit = list(pages.sets), dict(pages.sets), state.policy, state.commit
    del state, pages, transitions  # they hold the keys of all sets
    rendered = spread(_SetRenderer(templates), _parts(commit, policy, commits, sets, changed_sets))
    for name in names:
        if previous is None or name in previous.changed_sets:
            files, entries = next(rendered)
            yield from files
            paths = [file.path for file in files]
        else:
            keys = sets.pop(name)
            entries = _entries(previous.history[key.kid] for key in keys)
            paths = list(paths_of_set(name, keys))
            yield from map(Unchanged, paths)
        history.add(entries)
        if len(listed) < SITEMAP_MAX:
            listed += (path for path in paths if path.endswith("index.html"))
    rendered.close()
    site = policy.site
    del policy, commits, previous, rendered, frame  # to make room: history.json is as large as the vault
    yield Rendered("history.json", history.finish())
    yield from feeds
    urls = [f"{site.url}/{path.removesuffix('index.html')}" for path in listed]
    yield from _leak_checked(_host_files(site, renderer, urls, extensionless))


class _Part(NamedTuple):
    """Some sets of a vault, with everything that their pages show."""

    state: VaultState
    commits: EventCommits


def _parts(
    commit: Commit,
    policy: Policy,
    commits: EventCommits,
    sets: dict[str, tuple[Key, ...]],
    changed_sets: Collection[str] | None,
) -> Iterator[_Part]:
    """Yield those of *sets* that are in *changed_sets* (None for all), a few at a time, and remove them from *sets*."""
    names = [name for name in sets if changed_sets is None or name in changed_sets]
    for start in range(0, len(names), SETS_PER_PART):
        few = {name: sets.pop(name) for name in names[start : start + SETS_PER_PART]}
        tables = {name: policy.sets[name] for name in few if name in policy.sets}
        keys = {key.kid: key for of_set in few.values() for key in of_set}
        written = {path: commits[path] for key in keys.values() if (path := key.path) in commits}
        yield _Part(VaultState(commit, replace(policy, sets=tables), keys), written)


class _SetRenderer:
    """Renders the files of sets, and their entries of history.json."""

    def __init__(self, templates: Templates) -> None:
        self._templates = templates

    @cached_property
    def _renderer(self) -> Renderer:
        return Renderer(self._templates)

    def __call__(self, part: _Part) -> Iterator[tuple[list[Rendered], bytes]]:
        """Yield the files of each set of *part*, after `leak_check`, with its entries of history.json."""
        pages = Pages(part.state, part.commits, self._renderer)
        for name, keys in pages.sets.items():
            # Checked here, in the worker process, since that takes time on all cores, too.
            files = list(_leak_checked(chain(_key_files(keys), pages.of_set(name))))
            yield files, _entries(history_key(key, part.commits) for key in keys)


def _entries(keys: Iterable[HistoryKey]) -> bytes:
    """Return the entries of history.json for *keys*, after `leak_check`."""
    entries = history_entries(keys)
    refuse_private("history.json", b"[%b]" % entries)
    return entries


def paths_of_set(name: str, keys: Iterable[Key]) -> Iterator[str]:
    """Yield the path of each file that depends on a set and its *keys* alone, except its JWK Set."""
    yield f"sets/{name}/index.html"
    for key in keys:
        stem = file_stem(key.kid)
        yield from (f"keys/{stem}.json", f"keys/{stem}.pem", f"keys/{stem}/index.html")


def _key_files(keys: Iterable[Key]) -> Iterator[Rendered]:
    """Yield the downloads of each of *keys*."""
    for key in keys:
        stem = file_stem(key.kid)
        yield Rendered(f"keys/{stem}.json", pretty(key.public))
        try:
            pem = public_pem(key.public)
        except JWKError as error:
            raise RenderError(f"{key.path}: {error.message}", code=error.code) from None
        yield Rendered(f"keys/{stem}.pem", pem)


def _feeds(state: VaultState, transitions: Sequence[Transition]) -> Iterator[Rendered]:
    """Yield the documents for programs that cover all keys, except history.json."""
    yield Rendered("history.schema.json", history_schema())
    yield Rendered("feed.atom", atom_feed(state))
    yield Rendered("upcoming.ics", calendar(transitions, state))


def _host_files(
    site: SitePolicy, renderer: Renderer, urls: Sequence[str], extensionless: Sequence[str]
) -> Iterator[Rendered]:
    """Yield the assets of pages, and the files that hosts and robots read."""
    yield from starmap(Rendered, renderer.assets.items())
    yield Rendered("sitemap.xml", sitemap(urls))
    yield Rendered(".nojekyll", b"")
    yield Rendered("robots.txt", f"User-agent: *\nAllow: /\nSitemap: {site.url}/sitemap.xml\n".encode())
    headers = headers_file(max_age=site.max_age, json_paths=extensionless, assets=renderer.assets)
    yield Rendered("_headers", headers)


class _Document(NamedTuple):
    """
    A document for verifiers.

    Attributes:
        paths: Its paths; it has the same bytes at each.
        key_sets: The sets that it depends on.
        render: Returns its bytes.
    """

    paths: Sequence[str]
    key_sets: Sequence[KeySet]
    render: Callable[[], bytes]


def _files_of(documents: Iterable[_Document], changed_sets: Collection[str] | None) -> Iterator[SiteFile]:
    """Yield the files of *documents*: rendered if they depend on *changed_sets* (None for all), else `Unchanged`."""
    for document in documents:
        if any_changed(document.key_sets, changed_sets):
            yield from _render_documents([document])
        else:
            yield from map(Unchanged, document.paths)


def _render_documents(documents: Iterable[_Document]) -> Iterator[Rendered]:
    for document in documents:
        data = document.render()
        yield from (Rendered(path, data) for path in document.paths)


def discovery(state: VaultState) -> Iterator[Rendered]:
    """Yield the discovery document of each issuer, at both of its paths."""
    return _render_documents(_discovery(state))


def _discovery(state: VaultState) -> Iterator[_Document]:
    if not state.policy.site.discovery:
        return
    for place, key_sets in state.places.items():
        issuer = state.issuer_at(place)
        home = path_of_issuer(state.policy.site.url, issuer)
        if home is None:
            continue  # OpenID Connect looks for the document at the issuer, which is not on this site
        keys = [key.public for key in state.keys_at(place)]
        if not any(key.use == "sig" for key in keys):
            continue  # no token has such an issuer
        path = (home + CONFIGURATION).lstrip("/")
        render = partial(discovery_document, state.policy, issuer, key_sets[0].policy.url, keys)
        yield _Document((path, path + ".json"), key_sets, render)


def jwk_sets(state: VaultState) -> Iterator[Rendered]:
    """Yield every JWK Set of the site that has keys."""
    return _render_documents(_jwk_sets(state))


def _jwk_sets(state: VaultState) -> Iterator[_Document]:
    for place, key_sets in state.places.items():
        # No empty JWK Set is rendered: a verifier that fetches one drops every key from its cache.
        published = {key_set.name: key_set.jwk_set for key_set in key_sets}
        if not any(published.values()):
            continue
        extra = {path for key_set in key_sets for path in key_set.policy.paths}
        paths = dict.fromkeys((place + WELL_KNOWN, place + "/jwks.json", *sorted(extra)))
        keys = [key for of_set in published.values() for key in of_set]
        yield _Document([path.lstrip("/") for path in paths], key_sets, partial(_jwk_set, keys))
        for key_set in key_sets:
            if keys := list(published[key_set.name]):
                yield _Document([f"sets/{key_set.name}/jwks.json"], [key_set], partial(_jwk_set, keys))


def _jwk_set(keys: Iterable[Key]) -> bytes:
    return jwk_set_bytes(key.public for key in keys)
