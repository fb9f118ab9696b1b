"""Fixtures of this folder: a browser and a server for all tests."""

from __future__ import annotations

import shutil
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from playwright.sync_api import Browser, BrowserContext

from tests.site.browser.browsing import CHROMIUM, Visit, chromium, new_context, page_path, serving, start_visit
from tests.site.sites import Rendered, RenderedSite


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Mark these tests as slow: a browser needs a core for itself."""
    for item in items:
        if item.path.is_relative_to(Path(__file__).parent):
            item.add_marker(pytest.mark.slow)


@pytest.fixture(scope="package")
def browser() -> Iterator[Browser]:
    """The browser; it stops after this folder, since no other event loop can run beside it."""
    if shutil.which(CHROMIUM) is None:
        pytest.skip("Chromium is not installed")
    with chromium() as started:
        yield started


@pytest.fixture(scope="session")
def demo_site(rendered: Rendered) -> RenderedSite:
    """The site of the demo."""
    return rendered("demo")


@pytest.fixture(scope="package")
def address(demo_site: RenderedSite) -> Iterator[str]:
    """The address of the demo's site, with a final slash."""
    with serving(demo_site) as url:
        yield url


@pytest.fixture(scope="package")
def contexts(browser: Browser) -> Callable[..., BrowserContext]:
    """Return a function that returns a profile of the browser; equal settings share a profile."""
    made: dict[str, BrowserContext] = {}

    def get(**more: Any) -> BrowserContext:
        settings = repr(sorted(more.items()))
        if settings not in made:
            made[settings] = new_context(browser, **more)
        return made[settings]

    return get


#: Opens a page of the demo by its name, or an empty page; further arguments are for a context of playwright.
Open = Callable[..., Visit]


@pytest.fixture
def visit(contexts: Callable[..., BrowserContext], demo_site: RenderedSite, address: str) -> Iterator[Open]:
    """Return a function that opens a page of the demo in a new tab."""
    visits: list[Visit] = []

    def start(name: str | None, *, width: int = 1440, theme: str = "light", at: str = address, **more: Any) -> Visit:
        visits.append(start_visit(contexts(**more), at, width=width, theme=theme))
        if name is not None:
            visits[-1].open(page_path(demo_site, name))
        return visits[-1]

    yield start
    for opened in visits:
        opened.page.close()


@pytest.fixture(scope="module")
def kept(contexts: Callable[..., BrowserContext], demo_site: RenderedSite, address: str) -> Iterator[Open]:
    """Like `visit`, but reuse an open page, at another width and in another theme."""
    tabs: dict[str, Visit] = {}

    def get(name: str, *, width: int, theme: str, **more: Any) -> Visit:
        wanted = repr((name, sorted(more.items())))
        if wanted not in tabs:
            tabs[wanted] = start_visit(contexts(**more), address, width=width, theme=theme)
            tabs[wanted].open(page_path(demo_site, name))
        tabs[wanted].show(width=width, theme=theme)
        return tabs[wanted]

    yield get
    for tab in tabs.values():
        tab.page.close()
