"""Fixtures of this folder: one browser for all tests, and one server."""

from __future__ import annotations

import shutil
from collections.abc import Callable, Iterator
from typing import Any

import pytest
from playwright.sync_api import Browser, BrowserContext

from tests.site.browser.browsing import CHROMIUM, HEIGHT, Visit, chromium, page_path, serving, start_visit
from tests.site.sites import Rendered, RenderedSite


@pytest.fixture(scope="package")
def browser() -> Iterator[Browser]:
    """The browser; it ends with this folder, since no other event loop can run beside it."""
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
    """Where the site of the demo is served, with a final slash."""
    with serving(demo_site) as url:
        yield url


#: Opens a page of the demo by its name, or an empty one; more arguments are those of a context of playwright.
Open = Callable[..., Visit]


@pytest.fixture
def visit(browser: Browser, demo_site: RenderedSite, address: str) -> Iterator[Open]:
    """Give a function that opens a page of the demo in a browser without a past."""
    contexts: list[BrowserContext] = []

    def start(name: str | None, *, width: int = 1440, theme: str = "light", at: str = address, **more: Any) -> Visit:
        context = browser.new_context(viewport={"width": width, "height": HEIGHT}, color_scheme=theme, **more)
        contexts.append(context)
        context.set_default_timeout(10_000)
        begun = start_visit(context, at)
        if name is not None:
            begun.open(page_path(demo_site, name))
        return begun

    yield start
    for context in contexts:
        context.close()
