"""The controls of pages: copy, filter, sort; none is shown where it would do nothing."""

from __future__ import annotations

from typing import Any

import pytest
from playwright.sync_api import Page, expect

from tests.site.browser.browsing import page_path
from tests.site.browser.conftest import Open
from tests.site.sites import RenderedSite

WITH_TABLE = ("index", "set")
CONTROLS = ("button.copy", "[data-filter]", "th button")
CLIPBOARD = ["clipboard-read", "clipboard-write"]
COLLATED = """([texts, sign]) => {
  const { compare } = new Intl.Collator("en");
  return texts.every((text, index) => !index || sign * compare(texts[index - 1], text) <= 0);
}"""


def cells(page: Page) -> list[list[str]]:
    """Return the text of every visible cell of the history, by row."""
    return page.evaluate(
        """[...document.querySelectorAll("table.history tbody tr")].filter((row) => row.offsetParent !== null)
        .map((row) => [...row.cells].map((cell) => cell.textContent.trim()))"""
    )


def keys_on(site: RenderedSite, name: str) -> set[str]:
    """Return the kids of all keys in the history of the page *name*."""
    state = site.lab.state
    if name == "index":  # the keys of the site's own issuer; others have pages of their own
        return {key.kid for key_set in state.places[""] for key in key_set.keys}
    return {key.kid for key in state.sets[page_path(site, name).split("/")[1]].keys}


# --- copy -----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", WITH_TABLE)
def test_copy_copies_the_url_beside_it(visit: Open, demo_site: RenderedSite, name: str) -> None:
    """Each button copies the URL beside it, which is that of a file of the site, and confirms it."""
    page = visit(name, permissions=CLIPBOARD).page
    buttons = page.locator("button.copy")
    copied = []
    for index in range(buttons.count()):
        button = buttons.nth(index)
        before = button.inner_text()
        button.click()
        expect(button).not_to_have_text(before)
        copied.append(page.evaluate("navigator.clipboard.readText()"))
        assert copied[-1] == button.locator("xpath=..").locator("a").inner_text()

    assert copied == [button.get_attribute("data-copy") for button in buttons.all()]
    files = [demo_site.file(text) for text in copied]
    assert files[0] == ".well-known/jwks.json"
    assert None not in files


def test_copy_is_not_offered_without_a_clipboard(visit: Open) -> None:
    """If the browser has no clipboard, as on plain HTTP, there are no copy buttons."""
    shown = visit(None)
    shown.page.add_init_script("Object.defineProperty(navigator, 'clipboard', { value: undefined })")
    shown.open("")

    assert shown.page.locator("button.copy:visible").count() == 0
    assert shown.page.locator("th button:visible").count() > 5
    assert shown.complaints == []


# --- filter ---------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", WITH_TABLE)
@pytest.mark.parametrize("words", ["revoked", "WITHDRAWN", "es256 withdrawn", "  active ", "nothing-like-it"])
def test_filter_hides_the_other_rows_and_counts(kept: Open, name: str, words: str) -> None:
    """Rows with all the words, in any case, stay visible, and the status shows how many of how many there are."""
    page = kept(name, width=1440, theme="light").page
    page.locator("[data-filter]").fill("")
    everything = cells(page)
    page.locator("[data-filter]").fill(words)
    wanted = [row for row in everything if all(word in " ".join(row).lower() for word in words.lower().split())]

    assert cells(page) == wanted
    assert len(wanted) < len(everything)
    said = page.get_by_role("status")
    expect(said).to_contain_text(str(len(wanted)))
    expect(said).to_contain_text(str(len(everything)))


@pytest.mark.parametrize("name", WITH_TABLE)
def test_empty_filter_shows_all_rows(visit: Open, demo_site: RenderedSite, name: str) -> None:
    """Without words, every key is visible, and the status is empty."""
    page = visit(name).page
    everything = cells(page)
    assert len(everything) == len(keys_on(demo_site, name))
    page.locator("[data-filter]").fill("revoked")
    page.locator("[data-filter]").fill(" ")

    assert cells(page) == everything
    expect(page.get_by_role("status")).to_have_text("")


# --- sort -----------------------------------------------------------------------------------------------


def sorted_by(page: Page) -> list[tuple[int, str]]:
    """Return the columns that are marked as sorted, with their order."""
    found: list[list[Any]] = page.evaluate(
        """[...document.querySelectorAll("table.history th")]
        .map((cell, index) => [index, cell.getAttribute("aria-sort")]).filter(([, sort]) => sort)"""
    )
    return [(index, sort) for index, sort in found]


def assert_sorted(page: Page, column: int, *, up: bool, of: list[list[str]]) -> None:
    """Expect the rows *of* in the order of *column*, with rows without a value at the end."""
    rows = cells(page)
    texts = [row[column] for row in rows]
    filled = [text for text in texts if text]

    assert sorted_by(page) == [(column, "ascending" if up else "descending")]
    assert sorted(rows) == sorted(of)
    assert texts == filled + [""] * (len(texts) - len(filled))
    assert page.evaluate(COLLATED, [filled, 1 if up else -1])
    if all(text[:2] == "20" for text in filled):
        assert filled == sorted(filled, reverse=not up)


@pytest.mark.parametrize("name", WITH_TABLE)
def test_sort_by_every_column_and_back(visit: Open, name: str) -> None:
    """A click on the head of a column sorts by it, a second click reverses the order, and the head shows it."""
    page = visit(name).page
    everything = cells(page)
    heads = page.locator("table.history th button")
    assert heads.count() == len(everything[0])
    assert sorted_by(page) == []

    for column in range(heads.count()):
        for up in (True, False):
            heads.nth(column).click()
            assert_sorted(page, column, up=up, of=everything)


def test_sort_by_keyboard(visit: Open) -> None:
    """The heads of the columns are buttons, which the keyboard can press."""
    page = visit("set").page
    everything = cells(page)
    page.locator("table.history th button").first.focus()
    page.keyboard.press("Enter")
    assert_sorted(page, 0, up=True, of=everything)
    page.keyboard.press("Space")
    assert_sorted(page, 0, up=False, of=everything)


def test_sort_keeps_the_filter(visit: Open) -> None:
    """Sorting shows no filtered row, and the filter does not change the order."""
    page = visit("set").page
    page.locator("[data-filter]").fill("withdrawn")
    shown = cells(page)
    page.locator("table.history th button").first.click()
    assert_sorted(page, 0, up=True, of=shown)
    page.locator("[data-filter]").fill("")

    assert_sorted(page, 0, up=True, of=cells(page))
    assert len(cells(page)) > len(shown)


# --- without script, and on paper -----------------------------------------------------------------------


@pytest.mark.parametrize("name", WITH_TABLE)
def test_page_is_complete_without_script(visit: Open, demo_site: RenderedSite, name: str) -> None:
    """Without script, no control is visible, and the table has every key with a link to its page."""
    page = visit(name, java_script_enabled=False).page
    links = page.locator("table.history tbody tr").locator("a").all()

    assert [page.locator(f"{control}:visible").count() for control in CONTROLS] == [0, 0, 0]
    assert len(cells(page)) == len(keys_on(demo_site, name))
    assert {str(link.get_attribute("href")).split("/")[-2] for link in links} >= keys_on(demo_site, name)
    assert all(page.locator("table.history th").nth(index).inner_text() for index in range(len(cells(page)[0])))


@pytest.mark.parametrize("name", WITH_TABLE)
def test_controls_are_visible_with_script(visit: Open, name: str) -> None:
    """With script, each of the controls is visible: the test above is not blind."""
    page = visit(name).page

    assert all(page.locator(f"{control}:visible").count() for control in CONTROLS)


@pytest.mark.parametrize("name", WITH_TABLE)
def test_controls_are_not_printed(visit: Open, demo_site: RenderedSite, name: str) -> None:
    """On paper, the only controls are the heads of the columns, as text, and the table has every key."""
    page = visit(name).page
    page.emulate_media(media="print")

    assert page.locator("button.copy:visible, [data-filter]:visible, nav:visible").count() == 0
    assert page.locator("label:visible").count() == 0
    assert len(cells(page)) == len(keys_on(demo_site, name))
    assert page.evaluate("getComputedStyle(document.body).backgroundColor") == "rgb(255, 255, 255)"


@pytest.mark.parametrize("name", [*WITH_TABLE, "active-key"])
@pytest.mark.parametrize("theme", ["light", "dark"])
def test_print_is_dark_on_white_and_fits(visit: Open, name: str, theme: str) -> None:
    """On a sheet of A4 with margins of a centimetre, nothing is cut off, and a dark theme prints as a light theme."""
    page = visit(name, width=718, theme=theme).page
    page.emulate_media(media="print", color_scheme=theme)
    contrasts = page.evaluate("""() => {
      const numbers = (colour) => colour.match(/[\\d.]+/g).map(Number);
      const paper = (element) => {
        for (let box = element; box; box = box.parentElement) {
          const [red, green, blue, alpha = 1] = numbers(getComputedStyle(box).backgroundColor);
          if (alpha) return red + green + blue;
        }
        return 765;
      };
      return [...document.querySelectorAll("p, td, th, li, h1, h2, a, code, span, summary, text")].map((element) => {
        const style = getComputedStyle(element);
        const [red, green, blue] = numbers(element.localName === "text" ? style.fill : style.color);
        return [red + green + blue, paper(element)];
      });
    }""")

    assert page.evaluate("document.documentElement.scrollWidth <= document.documentElement.clientWidth")
    assert len(contrasts) > 20
    assert all(ink < 330 and paper > 690 for ink, paper in contrasts)
