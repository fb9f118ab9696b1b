"""Accessibility of the pages, as far as a program can check it: axe-core on each page."""

from __future__ import annotations

from functools import cache

import pytest

from tests.site.browser.browsing import NODE_MODULES, PAGES, THEMES, Visit
from tests.site.browser.conftest import Open

AXE = NODE_MODULES / "axe-core" / "axe.min.js"
# The style sheets are on the page's own host, so axe can read them without preloading.
RUN = """async () => (await axe.run(document, { resultTypes: ["violations"], preload: false })).violations.map(
  ({ id, nodes }) => `${id}: ${nodes.map((node) => node.html.slice(0, 100)).slice(0, 3).join(" | ")}`)"""

pytestmark = pytest.mark.skipif(not AXE.is_file(), reason="the npm package axe-core in tests/node is not installed")


@cache
def axe_source() -> str:
    return AXE.read_text()


def violations(visit: Visit) -> list[str]:
    """Return the violations that axe-core finds, with the elements."""
    if not visit.page.evaluate("'axe' in window"):
        visit.page.evaluate(axe_source())
    return visit.page.evaluate(RUN)


@pytest.mark.parametrize("width", [360, 1440])
@pytest.mark.parametrize("theme", THEMES)
@pytest.mark.parametrize("name", PAGES)
def test_axe_finds_nothing(kept: Open, name: str, theme: str, width: int) -> None:
    """axe-core, with all its rules, finds no violation: contrast, names, roles, headings, landmarks."""
    assert violations(kept(name, theme=theme, width=width, bypass_csp=True)) == []


@pytest.mark.parametrize("theme", THEMES)
def test_axe_finds_nothing_in_a_filtered_table(visit: Open, theme: str) -> None:
    """A filtered and sorted table is as accessible as before."""
    shown = visit("set", theme=theme, bypass_csp=True)
    shown.page.locator("[data-filter]").fill("withdrawn")
    shown.page.locator("table.history th button").first.click()

    assert violations(shown) == []


@pytest.mark.parametrize(
    ("change", "rule"),
    [
        ("document.documentElement.removeAttribute('lang')", "html-has-lang"),
        (
            "document.querySelector('h1').style.color = '#ccc'",
            "color-contrast",
        ),
        ("document.querySelector('a.home').replaceChildren()", "link-name"),
    ],
)
def test_axe_would_find_something(visit: Open, change: str, rule: str) -> None:
    """axe-core finds the violations of a broken page: the tests above are not blind."""
    shown = visit("active-key", bypass_csp=True)
    shown.page.evaluate(change)

    assert rule in [violation.partition(":")[0] for violation in violations(shown)]
