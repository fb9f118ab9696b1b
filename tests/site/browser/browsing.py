"""
The demo's site on a server of this machine, and a browser that shows it.

Shared by the tests of this folder and by the script that takes screenshots.
"""

from __future__ import annotations

import contextlib
import os
import shutil
import threading
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from playwright.sync_api import Browser, BrowserContext, Page, Request, Response, sync_playwright

from keyvault.publish.preview import make_server
from keyvault.site.headers import headers
from tests.site.sites import RenderedSite

NODE_MODULES = Path(__file__).parents[2] / "node" / "node_modules"
CHROMIUM = "chromium"
HEIGHT = 900
WIDTHS = (360, 768, 1440)
THEMES = ("light", "dark")
#: The pages of the tests; all others are rendered from the same templates.
PAGES = ("index", "set", "active-key", "withdrawn-key", "revoked-key", "missing")
_SET = "access-token"


def page_path(site: RenderedSite, name: str) -> str:
    """Return the path of the page of the demo that is *name* in `PAGES`."""
    if name == "index":
        return ""
    if name == "set":
        return f"sets/{_SET}/index.html"
    if name == "missing":
        return "keys/nothing/here.html"
    key = site.lab.key(_SET, name.removesuffix("-key"))
    return f"keys/{key.kid}/index.html"


@contextlib.contextmanager
def serving(site: RenderedSite) -> Iterator[str]:
    """Serve *site* as ``keyvault serve`` does, and yield its address, with a final slash."""
    max_age = site.lab.state.policy.site.max_age
    server = make_server(lambda: site.files, lambda path: headers(path, max_age=max_age), port=0, base=site.base)
    loop = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.05}, daemon=True)
    loop.start()
    try:
        yield f"http://127.0.0.1:{server.server_address[1]}{site.base}/"
    finally:
        server.shutdown()
        server.server_close()
        loop.join()


@contextlib.contextmanager
def chromium() -> Iterator[Browser]:
    """Start the Chromium of this system, which must be installed, without a window."""
    # Chromium refuses to run its sandbox as root, the user of containers.
    arguments = ["--no-sandbox"] if os.geteuid() == 0 else []
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=shutil.which(CHROMIUM), args=arguments)
        try:
            yield browser
        finally:
            browser.close()


# Runs before the page's own script, in every document.
_REPORT_VIOLATIONS = """
addEventListener("securitypolicyviolation", (event) =>
  console.error(`forbidden by policy: ${event.effectiveDirective} ${event.blockedURI}`));
"""


@dataclass
class Visit:
    """
    A page in a browser, and the complaints about it.

    Attributes:
        page: The page.
        address: The address of the site, with a final slash.
        complaints: Errors, warnings, failed requests, and requests to other hosts, in words.
        response: The response of the server.
    """

    page: Page
    address: str
    complaints: list[str] = field(default_factory=list)
    response: Response | None = None

    def listen(self) -> None:
        """Begin to record complaints."""
        self.page.on("console", self._console)
        self.page.on("pageerror", lambda error: self.complaints.append(f"exception: {error}"))
        self.page.on("request", self._request)
        self.page.on("requestfailed", lambda request: self.complaints.append(f"failed: {request.url}"))
        self.page.on("response", self._response)

    def show(self, *, width: int, theme: str, height: int = HEIGHT) -> None:
        """Show the page at this width and height, in this theme."""
        self.page.set_viewport_size({"width": width, "height": height})
        self.page.emulate_media(color_scheme="dark" if theme == "dark" else "light")

    def open(self, path: str) -> None:
        """Go to *path* of the site."""
        self.response = self.page.goto(self.address + path, wait_until="load")

    @property
    def status(self) -> int:
        assert self.response is not None
        return self.response.status

    def _console(self, message: Any) -> None:
        # Chromium logs the status of a missing document, which a test may request on purpose.
        if "404" in message.text and message.location.get("url") == self.page.url:
            return
        if message.type in ("error", "warning", "assert"):
            self.complaints.append(f"{message.type}: {message.text}")

    def _request(self, request: Request) -> None:
        if urlsplit(request.url).netloc != urlsplit(self.address).netloc:
            self.complaints.append(f"foreign: {request.url}")

    def _response(self, response: Response) -> None:
        if not response.ok and not response.request.is_navigation_request():
            self.complaints.append(f"status {response.status}: {response.url}")


def new_context(browser: Browser, **more: Any) -> BrowserContext:
    """Return a new profile of *browser*, whose console logs violations of the content security policy."""
    context = browser.new_context(**more)
    context.set_default_timeout(10_000)
    context.add_init_script(_REPORT_VIOLATIONS)
    return context


def start_visit(context: BrowserContext, address: str, *, width: int, theme: str, height: int = HEIGHT) -> Visit:
    """Open an empty page in *context* that records complaints from its first document on."""
    visit = Visit(context.new_page(), address)
    visit.show(width=width, theme=theme, height=height)
    visit.listen()
    return visit
