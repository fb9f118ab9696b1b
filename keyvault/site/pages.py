"""
Pages for people: templates and their context.

Templates come from ``site_template/``; a vault overrides single ones, and then all run in Jinja's sandbox. With
autoescaping and strict undefined names text from a vault is never markup, and a template of a vault never runs
code. `PageKey` and `PageSet` are the documented context.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from keyvault.core.keys import Key, KeySet, VaultState
from keyvault.core.policy import WELL_KNOWN
from keyvault.core.text import format_duration, printable
from keyvault.errors import RenderError
from keyvault.site.documents import CONFIGURATION, HistoryKey
from keyvault.site.headers import CSP_META

_PAGES = ("index.html", "404.html")
_ASSETS = "assets/"


@dataclass(frozen=True, slots=True)
class PageKey:
    """
    A key as a page shows it.

    Attributes:
        kid: Its kid.
        stem: Name of its files under ``keys/``.
        alg: Its algorithm.
        state: next, active, retiring, withdrawn or revoked.
        since: Since when it is in that state, ``2026-12-01 09:00Z``.
        note: Why it was revoked, until when it is kept, or empty.
    """

    kid: str
    stem: str
    alg: str
    state: str
    since: str
    note: str


@dataclass(frozen=True, slots=True)
class PageSet:
    """
    A set as a page shows it.

    Attributes:
        name: Its name.
        alg: The algorithm that policy asks for.
        use: sig or enc.
        issuer: Its issuer.
        jwks_uri: URL of the JWK Set that its keys stand in.
        cryptoperiod: How long a key signs, ``90d``.
        keys: The published ones, in the order of the JWK Set.
    """

    name: str
    alg: str
    use: str
    issuer: str
    jwks_uri: str
    cryptoperiod: str
    keys: tuple[PageKey, ...]


def _stamp(instant: str) -> str:
    """Return ``2026-12-01 09:00Z`` for ``2026-12-01T09:00:00Z``."""
    return f"{instant[:10]} {instant[11:16]}Z"


def _page_key(key: HistoryKey) -> PageKey:
    last = key.events[-1]
    since = next(
        event.at
        for event in reversed(key.events)
        if event.event in ("created", "activated", "reactivated", "deactivated", "withdrawn", "revoked")
    )
    note = ""
    if key.state == "revoked":
        note = f"revoked: {last.reason}" + (f" ({last.note})" if last.note else "")
    elif key.state == "retiring":
        kept = next((event.keep_until for event in reversed(key.events) if event.keep_until), None)
        note = f"kept until {_stamp(kept)}" if kept else ""
    stem = str(key.jwk).removeprefix("keys/").removesuffix(".json")
    return PageKey(key.kid, stem, key.alg, key.state, _stamp(since), note)


class Pages:
    """The templates of a site, parsed once."""

    def __init__(self, templates: Mapping[str, bytes], *, trusted: bool = False) -> None:
        """
        Args:
            templates: Files by path below ``site_template/``.
            trusted: Whether all of them are ours: only then they run outside the sandbox.

        Raises:
            RenderError: A template is not UTF-8.
        """
        from jinja2 import Environment, FunctionLoader, StrictUndefined
        from jinja2.sandbox import ImmutableSandboxedEnvironment

        sources: dict[str, str] = {}
        for name, data in templates.items():
            if name.endswith(".html"):
                try:
                    sources[name] = data.decode()
                except UnicodeDecodeError:
                    raise RenderError(f"template {printable(name)} is not UTF-8") from None
        self._sources = sources
        self._assets = {name: data for name, data in templates.items() if name.startswith(_ASSETS)}
        kind = Environment if trusted else ImmutableSandboxedEnvironment
        self._environment = kind(
            # Each template gets its name as its file name, which is what a traceback shows.
            loader=FunctionLoader(lambda name: (sources[name], name, None) if name in sources else None),
            autoescape=True,
            undefined=StrictUndefined,
            trim_blocks=True,
            lstrip_blocks=True,
            keep_trailing_newline=True,
        )

    def assets(self) -> Iterator[tuple[str, bytes]]:
        """Yield the files that are published as they are."""
        yield from sorted(self._assets.items())

    def render(self, state: VaultState, history: list[HistoryKey]) -> Iterator[tuple[str, bytes]]:
        """
        Yield the pages.

        Raises:
            RenderError: A template is missing or broken; the message names it and the line.
        """
        shown = {key.kid: _page_key(key) for key in history}
        context = {
            "title": state.policy.site.title,
            "url": state.policy.site.url,
            "commit": state.commit,
            "csp": CSP_META,
            "issuers": list(_issuers(state, shown)),
            "history": history,
            "keys": shown,
            "stamp": _stamp,
        }
        for page in _PAGES:
            yield page, self._one(page, context)

    def _one(self, name: str, context: Mapping[str, Any]) -> bytes:
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


def _issuers(state: VaultState, shown: Mapping[str, PageKey]) -> Iterator[dict[str, Any]]:
    for issuer, key_sets in state.issuers.items():
        yield {
            "url": issuer,
            "jwks_uri": issuer + WELL_KNOWN,
            "configuration": issuer + CONFIGURATION if state.policy.site.discovery else None,
            "sets": [_page_set(key_set, key_set.published, shown) for key_set in key_sets],
        }


def _page_set(key_set: KeySet, keys: Iterable[Key], shown: Mapping[str, PageKey]) -> PageSet:
    policy = key_set.policy
    return PageSet(
        name=key_set.name,
        alg=str(policy.spec),
        use=policy.use,
        issuer=policy.issuer,
        jwks_uri=policy.url,
        cryptoperiod=format_duration(policy.cryptoperiod),
        keys=tuple(shown[key.kid] for key in keys),
    )
