"""The pages in a browser: they load and fit, at every width, in both themes, with and without script."""

from __future__ import annotations

import pytest
from playwright.sync_api import Route

from tests.site.browser.browsing import PAGES, THEMES, WIDTHS, serving
from tests.site.browser.conftest import Open
from tests.site.sites import Rendered, RenderedSite

#: The excess width of the page over its window, in pixels, and the elements that cause it.
OVERFLOW = """() => {
  const { scrollWidth, clientWidth } = document.documentElement;
  if (scrollWidth <= clientWidth) return [];
  const wide = [...document.body.querySelectorAll("*")].filter(
    (element) => element.getBoundingClientRect().right > clientWidth);
  return [`${scrollWidth} > ${clientWidth}`, ...wide.slice(0, 5).map((element) => element.outerHTML.slice(0, 120))];
}"""


@pytest.mark.parametrize("script", [True, False], ids=["script", "no-script"])
@pytest.mark.parametrize("theme", THEMES)
@pytest.mark.parametrize("width", WIDTHS)
@pytest.mark.parametrize("name", PAGES)
def test_page_loads_without_a_complaint_and_fits(kept: Open, name: str, width: int, theme: str, script: bool) -> None:
    """
    No error or warning, no request to another host, no violation of the policy, and no sideways scrolling.

    The status of a missing page is 404, that of every other page 200.
    """
    shown = kept(name, width=width, theme=theme, java_script_enabled=script)

    assert shown.status == (404 if name == "missing" else 200)
    assert shown.complaints == []
    assert shown.page.evaluate(OVERFLOW) == []
    assert shown.page.locator("h1").is_visible()


@pytest.mark.parametrize("name", PAGES)
def test_themes_differ(kept: Open, name: str) -> None:
    """The page follows the theme of the system: dark text on light paper, or the reverse."""
    paper = "getComputedStyle(document.body).backgroundColor.match(/\\d+/g).slice(0, 3).map(Number)"
    ink = "getComputedStyle(document.body).color.match(/\\d+/g).slice(0, 3).map(Number)"
    colours = {
        theme: [
            sum(kept(name, width=1440, theme=theme, java_script_enabled=True).page.evaluate(what))
            for what in (ink, paper)
        ]
        for theme in THEMES
    }

    assert colours["light"][0] < 200 < 600 < colours["light"][1]
    assert colours["dark"][1] < 200 < 600 < colours["dark"][0]


@pytest.mark.parametrize(
    ("markup", "complaint"),
    [
        ("<script>1</script>", "forbidden by policy: script-src-elem inline"),
        ('<p style="color: red">red</p>', "forbidden by policy: style-src-attr inline"),
        ('<img src="https://example.com/pixel.png" alt="">', "forbidden by policy: img-src https://example.com"),
        ('<img src="nothing.svg" alt="">', "status 404"),
        ('<iframe src="index.html" title="frame"></iframe>', "forbidden by policy: frame-src"),
    ],
)
def test_violations_would_be_found(visit: Open, demo_site: RenderedSite, markup: str, complaint: str) -> None:
    """Inline, foreign or missing content gives a complaint: the tests above are not blind."""
    shown = visit(None)

    def doctor(route: Route) -> None:
        answer = route.fetch()
        route.fulfill(response=answer, body=answer.text().replace("</main>", f"{markup}</main>"))

    shown.page.route(shown.address, doctor)
    shown.open("")

    # The event of a violation is a separate task, which may run after the load event.
    for _ in range(100):
        if complaint in "\n".join(shown.complaints):
            break
        shown.page.wait_for_timeout(50)
    assert complaint in "\n".join(shown.complaints)


@pytest.mark.parametrize("path", ["nothing", "keys/nothing/", "a/b/c/d/nothing.html?q=1"])
@pytest.mark.parametrize("kind", ["demo", "below-a-path"])
def test_page_for_missing_paths_works_at_any_depth(visit: Open, rendered: Rendered, kind: str, path: str) -> None:
    """At any depth of the missing path, the page has its style and links to the first page of the site."""
    with serving(rendered(kind)) as address:
        shown = visit(None, at=address)
        shown.open(path)

        assert shown.status == 404
        assert shown.complaints == []
        assert shown.page.evaluate("[...document.styleSheets].map((sheet) => sheet.cssRules.length > 10)") == [True]
        with shown.page.expect_navigation() as navigation:
            shown.page.locator("main a").first.click()
        assert navigation.value.status == 200
        assert navigation.value.url == f"{address}index.html"


@pytest.mark.parametrize("name", PAGES)
def test_keyboard_reaches_the_content_first(visit: Open, name: str) -> None:
    """The tab key first reaches a visible link that skips the head of the page."""
    page = visit(name).page
    page.keyboard.press("Tab")
    focus = page.locator(":focus")

    assert focus.get_attribute("href") == "#main"
    box = focus.bounding_box()
    assert box is not None
    assert box["x"] >= 0


@pytest.mark.parametrize("name", ["index", "set"])
def test_wide_parts_scroll_by_themselves(visit: Open, name: str) -> None:
    """On a narrow screen, the table of keys scrolls in its own box, which the keyboard reaches."""
    page = visit(name, width=360).page
    boxes = page.evaluate("""[...document.querySelectorAll("table.history, svg.timeline")].map((wide) => {
      for (let box = wide; box; box = box.parentElement)
        if (/auto|scroll/.test(getComputedStyle(box).overflowX)) return box.tabIndex;
      return null;
    })""")

    assert boxes == [0, 0]
