"""
Pages for people: which there are, and the templates that make them.

Templates come from ``site_template/``; a vault overrides single ones. Text from a vault is escaped and never
markup; templates of a vault run in Jinja's sandbox and never run code. The context of each is in
docs/templates.md.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from keyvault.core.jwk import file_stem
from keyvault.core.keys import Key, KeySet, VaultState
from keyvault.core.text import printable
from keyvault.errors import RenderError
from keyvault.site.documents import EventCommits
from keyvault.site.headers import CSP_META
from keyvault.site.timeline import LANES_MAX, timeline
from keyvault.site.views import KeyView, by_age, issuer_view, key_page_view, key_view, newest_instant, set_view

_ASSETS = "assets/"
#: A page lists so many sets, and leads on to the next.
SETS_PER_PAGE = 200
#: With more keys than this the history is on the pages of the sets alone.
HISTORY_MAX = 600


@dataclass(frozen=True)
class Templates:
    """
    The files of ``site_template/``.

    Attributes:
        files: By path; a vault's own in place of ours.
        trusted: Whether all are ours: only then they run outside the sandbox.
    """

    files: Mapping[str, bytes]
    trusted: bool = False


class Renderer:
    """The templates of a site, parsed once."""

    def __init__(self, templates: Templates) -> None:
        """
        Raises:
            RenderError: A template is not UTF-8.
        """
        from jinja2 import Environment, FunctionLoader, StrictUndefined
        from jinja2.sandbox import ImmutableSandboxedEnvironment

        sources: dict[str, str] = {}
        for name, data in templates.files.items():
            if name.endswith(".html"):
                try:
                    sources[name] = data.decode()
                except UnicodeDecodeError:
                    raise RenderError(f"template {printable(name)} is not UTF-8") from None
        self._sources = sources
        self.assets = {
            _hashed(name, data): data for name, data in sorted(templates.files.items()) if name.startswith(_ASSETS)
        }
        kind = Environment if templates.trusted else ImmutableSandboxedEnvironment
        self._environment = kind(
            # Each template gets its name as its file name, which is what a traceback shows.
            loader=FunctionLoader(lambda name: (sources[name], name, None) if name in sources else None),
            autoescape=True,
            undefined=StrictUndefined,
            trim_blocks=True,
            lstrip_blocks=True,
            keep_trailing_newline=True,
        )
        self._environment.globals["assets"] = {
            name.removeprefix(_ASSETS): _hashed(name, data)
            for name, data in templates.files.items()
            if name.startswith(_ASSETS)
        }

    def __call__(self, name: str, context: Mapping[str, Any]) -> bytes:
        """
        Return the page that template *name* makes of *context*.

        Raises:
            RenderError: A template is missing or broken; the message names it and the line.
        """
        from jinja2 import TemplateError, TemplateNotFound, TemplateSyntaxError

        try:
            return self._environment.get_template(name).render(context).encode()
        except TemplateNotFound as error:
            raise RenderError(f"template {printable(str(error.name))} is missing") from None
        except TemplateSyntaxError as error:
            where = f"template {printable(str(error.name))}, line {error.lineno}"
            raise RenderError(f"{where}: {printable(str(error.message))[:200]}") from None
        except (
            TemplateError, TypeError, ValueError, ArithmeticError, LookupError, AttributeError,
            RuntimeError, MemoryError,  # a template that includes itself, or asks for too much
        ) as error:  # fmt: skip
            raise RenderError(f"{self._where(error, name)}: {printable(str(error))[:200]}") from None

    def _where(self, error: BaseException, page: str) -> str:
        """Return the template and line in which *error* was raised: Jinja rewrites tracebacks to show them."""
        where, trace = f"template {page}", error.__traceback__
        while trace is not None:
            name = trace.tb_frame.f_code.co_filename
            if name in self._sources:
                where = f"template {printable(name)}, line {trace.tb_lineno}"
            trace = trace.tb_next
        return where


def _hashed(name: str, data: bytes) -> str:
    """Return *name* with a hash of its content in it, so that hosts may let it be cached for ever."""
    stem, dot, extension = name.rpartition(".")
    return f"{stem or name}-{hashlib.sha256(data).hexdigest()[:10]}{dot}{extension if stem else ''}"


class Pages:
    """All pages of one state of a vault, made one after the other."""

    def __init__(self, state: VaultState, commits: EventCommits, renderer: Renderer) -> None:
        self._state, self._commits, self._render = state, commits, renderer
        self._site = state.policy.site
        self._newest = newest_instant(state)
        shown = (key for key in state.keys.values() if key.public.kty != "oct")
        self._shown = {key.kid: key_view(key, commits, self._site) for key in shown}

    def __iter__(self) -> Iterator[tuple[str, bytes]]:
        """Yield (path, bytes) of every page."""
        issuers = self._state.issuers or {self._site.url: ()}
        views = [issuer_view(self._state, issuer, key_sets) for issuer, key_sets in issuers.items()]
        if all(view.place for view in views):
            # No set has the site's own issuer: the front page lists the others.
            yield self._page("index.html", "front.html", issuers=views)
        for view, key_sets in zip(views, issuers.values(), strict=True):
            yield from self._issuer(view, key_sets, [other for other in views if other is not view])
        for key_set in self._state.sets.values():
            if key_set.rendered:
                yield self._set(key_set)
        for name, keys in self._state.former_sets.items():
            yield self._former(name, keys)
        for kid, shown in self._shown.items():
            yield self._key(self._state.keys[kid], shown)
        yield self._page("404.html", "404.html", root=self._site.url + "/")

    def _page(self, path: str, template: str, *, root: str | None = None, **context: Any) -> tuple[str, bytes]:
        """Return *path* and what *template* makes of *context* and of what every page has."""
        canonical = path.removesuffix("index.html")
        common = {
            "title": self._site.title,
            "url": self._site.url,
            "canonical": f"{self._site.url}/{canonical}",
            "root": "../" * path.count("/") if root is None else root,
            "commit": self._state.commit,
            "commit_url": self._site.commit_url(self._state.commit) or "",
            "as_of": "" if self._newest is None else f"{self._newest:%Y-%m-%d %H:%M}",
            "csp": CSP_META,
        }
        return path, self._render(template, {**common, **context})

    def _issuer(self, view: Any, key_sets: Sequence[KeySet], others: list[Any]) -> Iterator[tuple[str, bytes]]:
        keys = [key for key_set in key_sets for key in key_set.keys]
        if not view.place:
            keys += [key for former in self._state.former_sets.values() for key in former if key.kid in self._shown]
        few = len(keys) <= HISTORY_MAX
        count = max(1, -(-len(key_sets) // SETS_PER_PAGE))
        for number in range(count):
            part = key_sets[number * SETS_PER_PAGE : (number + 1) * SETS_PER_PAGE]
            folder = view.place + (f"page/{number + 1}/" if number else "")
            yield self._page(
                folder + "index.html",
                "issuer.html",
                issuer=view,
                others=others if number == 0 else [],
                sets=[set_view(key_set, self._shown, self._site) for key_set in part],
                timeline=self._timeline(part) if len(part) <= LANES_MAX else "",
                history=self._views(keys) if few and number == 0 else [],
                total=len(keys),
                pages=count,
                number=number + 1,
            )

    def _set(self, key_set: KeySet) -> tuple[str, bytes]:
        return self._page(
            f"sets/{key_set.name}/index.html",
            "set.html",
            name=key_set.name,
            set=set_view(key_set, self._shown, self._site),
            timeline=self._timeline([key_set]),
            history=self._views(key_set.keys),
        )

    def _former(self, name: str, keys: Sequence[Key]) -> tuple[str, bytes]:
        shown = [key for key in keys if key.kid in self._shown]
        return self._page(
            f"sets/{name}/index.html", "set.html", name=name, set=None, timeline="", history=self._views(shown)
        )

    def _key(self, key: Key, view: KeyView) -> tuple[str, bytes]:
        page = key_page_view(key, view, self._commits, self._state)
        return self._page(f"keys/{file_stem(key.kid)}/index.html", "key.html", page=page)

    def _views(self, keys: Iterable[Key]) -> list[KeyView]:
        return [self._shown[key.kid] for key in by_age(keys)]

    def _timeline(self, key_sets: Sequence[KeySet]) -> str:
        from markupsafe import Markup

        if self._newest is None:
            return ""
        return Markup(timeline([(key_set.name, key_set.keys) for key_set in key_sets], self._newest))  # noqa: S704 - made of numbers and escaped names
