"""
Render the HTML pages of the site from templates.

Templates come from ``site_template/``; a vault may override some of them. Text from a vault is escaped and is never
markup; templates of a vault run in Jinja's sandbox and never run code. docs/templates.md documents the context of
each template.
"""

from __future__ import annotations

import hashlib
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import lru_cache
from itertools import chain
from typing import Any, TypeVar
from urllib.parse import urlsplit

from keyvault.core.files import Rendered, SiteFile, Unchanged
from keyvault.core.jwk import file_stem
from keyvault.core.keys import Key
from keyvault.core.state import KeySet, VaultState
from keyvault.core.text import elided, printable
from keyvault.errors import RenderError
from keyvault.site.documents import EventCommits, shown_sets
from keyvault.site.headers import CSP_META
from keyvault.site.links import commit_url
from keyvault.site.timeline import LANES_MAX, timeline
from keyvault.site.views import (
    IssuerView,
    KeyView,
    change_view,
    issuer_view,
    key_page_view,
    key_view,
    newest_first,
    set_view,
)

Item = TypeVar("Item")

_ASSETS = "assets/"
#: How many sets, or issuers, a page lists before it links to the next page.
LISTED_PER_PAGE = 200
#: With more keys than this, only the pages of the sets show the history.
HISTORY_MAX = 600


@dataclass(frozen=True)
class Templates:
    """
    The files of ``site_template/``, by path.

    Attributes:
        defaults: Those that ship with the package.
        overrides: Those of the vault, which replace defaults or add to them.
    """

    defaults: Mapping[str, bytes]
    overrides: Mapping[str, bytes] = field(default_factory=dict)

    @property
    def files(self) -> dict[str, bytes]:
        """All templates and assets, by path."""
        return {**self.defaults, **self.overrides}

    @property
    def trusted(self) -> bool:
        """Whether all are ours: only then do they run outside the sandbox."""
        return self.files == self.defaults

    @property
    def assets(self) -> dict[str, str]:
        """
        The path at which each asset is published, by its name.

        Our assets, and their replacements, have a hash in their names. Assets that a vault adds keep their names: a
        style sheet may refer to them.
        """
        return {
            name.removeprefix(_ASSETS): _hashed(name, data) if name in self.defaults else name
            for name, data in sorted(self.files.items())
            if name.startswith(_ASSETS)
        }


class Renderer:
    """The templates of a site, parsed once."""

    def __init__(self, templates: Templates) -> None:
        """
        Raises:
            RenderError: If a template is not UTF-8.
        """
        from jinja2 import Environment, FunctionLoader, StrictUndefined
        from jinja2.sandbox import ImmutableSandboxedEnvironment

        sources: dict[str, str] = {}
        files = templates.files
        for name, data in files.items():
            if name.endswith(".html"):
                try:
                    sources[name] = data.decode()
                except UnicodeDecodeError:
                    raise RenderError(f"template {printable(name)} is not UTF-8", code="template-not-utf8") from None
        self._sources = sources
        self.assets = {path: files[_ASSETS + name] for name, path in templates.assets.items()}
        kind = Environment if templates.trusted else ImmutableSandboxedEnvironment
        self._environment = kind(
            # The name of a template is also its file name, so that `_location` finds it in a traceback.
            loader=FunctionLoader(lambda name: (sources[name], name, None) if name in sources else None),
            autoescape=True,
            undefined=StrictUndefined,
            trim_blocks=True,
            lstrip_blocks=True,
            keep_trailing_newline=True,
            # The text of a template never changes.
            auto_reload=False,
            cache_size=-1,
        )
        defined = {**self._environment.globals, "assets": templates.assets}
        # Nothing adds globals later. Jinja allows for that by copying the globals one by one for each page and import,
        # which is a tenth of the cost of a page.
        vars(self._environment)["make_globals"] = lambda more: {**defined, **(more or {})}

    def __call__(self, name: str, context: Mapping[str, Any]) -> bytes:
        """
        Return the page that template *name* renders with *context*.

        Raises:
            RenderError: If a template is missing or broken; the message names it and the line.
        """
        from jinja2 import TemplateError, TemplateNotFound, TemplateSyntaxError

        try:
            return self._environment.get_template(name).render(context).encode()
        except TemplateNotFound as error:
            raise RenderError(f"template not found: {elided(str(error.name))}", code="template-missing") from None
        except TemplateSyntaxError as error:
            where = f"template {elided(str(error.name))}, line {error.lineno}"
            raise RenderError(f"{where}: {elided(str(error.message))[:200]}", code="template-broken") from None
        except (
            TemplateError, TypeError, ValueError, ArithmeticError, LookupError, AttributeError,
            RuntimeError, MemoryError,  # a template that includes itself, or needs too much memory
        ) as error:  # fmt: skip
            where = self._location(error, name)
            raise RenderError(f"{where}: {elided(str(error))[:200]}", code="template-broken") from None

    def _location(self, error: BaseException, page: str) -> str:
        """Return the template and line that raised *error*: Jinja rewrites tracebacks to show them."""
        where, trace = f"template {page}", error.__traceback__
        while trace is not None:
            name = trace.tb_frame.f_code.co_filename
            if name in self._sources:
                where = f"template {printable(name)}, line {trace.tb_lineno}"
            trace = trace.tb_next
        return where


def _hashed(name: str, data: bytes) -> str:
    """Return *name* with a hash of its content, so that clients may cache it forever."""
    stem, dot, extension = name.rpartition(".")
    return f"{stem or name}-{hashlib.sha256(data).hexdigest()[:10]}{dot}{extension if stem else ''}"


def _page_count(*listed: Sequence[Any]) -> int:
    """Return the number of pages that list the longest of *listed*."""
    return max(1, *(-(-len(items) // LISTED_PER_PAGE) for items in listed))


def _slice(items: Sequence[Item], number: int) -> Sequence[Item]:
    """Return those of *items* that page *number* lists; the first page is 1."""
    return items[(number - 1) * LISTED_PER_PAGE : number * LISTED_PER_PAGE]


def _page_path(folder: str, number: int) -> str:
    """Return the path of page *number* of the issuer in *folder*, which ends with a slash; empty for the root."""
    return folder + (f"page/{number}/" if number > 1 else "") + "index.html"


def any_changed(key_sets: Iterable[KeySet], changed_sets: Collection[str] | None) -> bool:
    """Whether any of *key_sets* is in *changed_sets*, which is None for all."""
    return changed_sets is None or any(key_set.name in changed_sets for key_set in key_sets)


class Pages:
    """
    The pages of the site: iteration yields those of issuers, and `of_set` those of a set and its keys.

    Attributes:
        sets: The sets that have a page, with the keys that it shows.
    """

    def __init__(
        self,
        state: VaultState,
        commits: EventCommits,
        renderer: Renderer,
        changed_sets: Collection[str] | None = None,
    ) -> None:
        """
        Args:
            state: The vault.
            commits: The commit that wrote each event, by record path.
            renderer: The templates.
            changed_sets: The sets whose keys have changed since the previous site; None for all.
        """
        self._state, self._commits, self._render, self._changed_sets = state, commits, renderer, changed_sets
        self._site = state.policy.site
        self.sets = shown_sets(state)
        self._former = {name: keys for name, keys in self.sets.items() if name not in state.sets}
        # The pages of its issuer, of its set, and of the key itself show it, soon after one another.
        self._view = lru_cache(1_000)(lambda kid: key_view(state.keys[kid], commits, state.policy.site))

    def __iter__(self) -> Iterator[SiteFile]:
        """Yield every page except those of sets and keys."""
        places = self._state.places or {"": ()}
        views = [issuer_view(self._state, place, key_sets) for place, key_sets in places.items()]
        others = [view for view in views if view.place]
        if len(others) == len(views):
            # No JWK Set is at the root: the front page lists the issuers.
            yield from self._front(others, places.values())
        for view, key_sets in zip(views, places.values(), strict=True):
            yield from self._issuer(view, key_sets, [] if view.place else others)
        yield self._page("404.html", "404.html", (), root=urlsplit(self._site.url).path + "/")

    def of_set(self, name: str) -> Iterator[Rendered]:
        """Yield the page of a set that is in `sets`, and the pages of its keys."""
        keys = self.sets[name]
        key_set = self._state.sets.get(name)
        if key_set is not None and not key_set.rendered:
            key_set = None
        yield self._page(
            f"sets/{name}/index.html",
            "set.html",
            keys,
            name=name,
            set=set_view(key_set, self._view, self._site) if key_set else None,
            timeline=self._timeline([key_set], f"Timeline of the keys of {name}") if key_set else "",
            history=self._views(keys),
        )
        for key in keys:
            page = key_page_view(key, self._view(key.kid), self._commits, self._state)
            yield self._page(f"keys/{file_stem(key.kid)}/index.html", "key.html", (key,), page=page)

    def _page(
        self, path: str, template: str, keys: Iterable[Key], *, root: str | None = None, **context: Any
    ) -> Rendered:
        """Return the page that *template* renders with *context*; the page shows *keys*."""
        common = {
            "title": printable(self._site.title),
            "url": self._site.url,
            "canonical": f"{self._site.url}/{path.removesuffix('index.html')}",
            "root": "../" * path.count("/") if root is None else root,
            # Only the first page changes with every commit.
            "rendered": self._rendered if path == "index.html" else None,
            "changed": change_view(keys, self._commits, self._site),
            "csp": CSP_META,
        }
        return Rendered(path, self._render(template, {**common, **context}))

    @property
    def _rendered(self) -> dict[str, str]:
        commit = self._state.commit
        return {"commit": commit, "commit_url": commit_url(self._site, commit) or ""}

    def _front(self, issuers: Sequence[IssuerView], sets: Iterable[Sequence[KeySet]]) -> Iterator[SiteFile]:
        count, sets = _page_count(issuers), list(sets)
        for number in range(1, count + 1):
            path, part = _page_path("", number), _slice(issuers, number)
            if number > 1 and not any(any_changed(key_sets, self._changed_sets) for key_sets in _slice(sets, number)):
                yield Unchanged(path)
                continue
            yield self._page(
                path,
                "front.html",
                self._state.keys.values() if number == 1 else (),
                issuers=part,
                former=list(self._former) if number == 1 else [],
                place="",
                pages=count,
                number=number,
            )

    def _issuer(self, view: IssuerView, key_sets: Sequence[KeySet], others: Sequence[IssuerView]) -> Iterator[SiteFile]:
        folder = view.place  # its name in templates
        if folder and not any_changed(key_sets, self._changed_sets):
            numbers = range(1, _page_count(key_sets, others) + 1)
            yield from (Unchanged(_page_path(folder, number)) for number in numbers)
            return
        keys = [key for key_set in key_sets for key in key_set.keys]
        former = {} if folder else self._former
        keys += chain.from_iterable(former.values())
        count = _page_count(key_sets, others)
        for number in range(1, count + 1):
            first, part = number == 1, _slice(key_sets, number)
            if not first and not _slice(others, number) and not any_changed(part, self._changed_sets):
                yield Unchanged(_page_path(folder, number))
                continue
            yield self._page(
                _page_path(folder, number),
                "issuer.html",
                keys if first else [key for key_set in part for key in key_set.keys],
                issuer=view,
                others=_slice(others, number),
                former=list(former) if first else [],
                sets=[set_view(key_set, self._view, self._site) for key_set in part],
                timeline=self._timeline(part, "Timeline of the keys") if len(part) <= LANES_MAX else "",
                history=self._views(keys) if first and len(keys) <= HISTORY_MAX else [],
                total=len(keys),
                place=folder,
                pages=count,
                number=number,
            )

    def _views(self, keys: Iterable[Key]) -> list[KeyView]:
        return [self._view(key.kid) for key in newest_first(keys)]

    @staticmethod
    def _timeline(key_sets: Sequence[KeySet], title: str) -> str:
        from markupsafe import Markup

        return Markup(timeline(key_sets, title=title))  # noqa: S704 - built from numbers and escaped names
