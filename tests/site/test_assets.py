"""Style, script and icon of the pages; and links, all of which have a target."""

from __future__ import annotations

import hashlib
import re
from urllib.parse import urljoin

import pytest
from lxml import etree

from tests.site.sites import Rendered, RenderedSite

#: Elements and attributes by which a page loads or links other files.
POINTERS = "//a/@href | //link/@href | //script/@src | //img/@src | //form/@action | //iframe/@src"
EVERYWHERE = ("data:", "mailto:", "javascript:")


def tree(page: bytes) -> etree._Element:
    return etree.HTML(page.decode())


@pytest.mark.parametrize(("suffix", "most"), [(".css", 15_000), (".js", 6_000)])
def test_there_is_one_small_file_of_each(rendered: Rendered, suffix: str, most: int) -> None:
    """The site has one style sheet of less than 15 kB and one script of less than 6 kB."""
    (data,) = [data for path, data in rendered("demo").files.items() if path.endswith(suffix)]

    assert 0 < len(data) < most


def test_names_of_assets_carry_the_hash_of_their_content(rendered: Rendered) -> None:
    """A changed asset has a new name, so that no cache combines an old asset with a new page."""
    assets = {path: data for path, data in rendered("demo").files.items() if path.startswith("assets/")}

    assert {path.rpartition(".")[2] for path in assets} == {"css", "js", "svg"}
    for path, data in assets.items():
        (digest,) = re.findall(r"-([0-9a-f]{8,64})\.\w+$", path)
        assert hashlib.sha256(data).hexdigest().startswith(digest)


def test_assets_load_nothing(rendered: Rendered) -> None:
    """Neither style nor script loads other files."""
    for path, data in rendered("demo").files.items():
        if path.endswith((".css", ".js")):
            assert not re.search(rb"url\(|@import|fetch\(|XMLHttpRequest|WebSocket|sendBeacon|import[ (]", data)


def test_pages_have_nothing_inline(site: RenderedSite) -> None:
    """No page contains a style, script or handler, which the content security policy would block."""
    for path, data in site.pages.items():
        page = tree(data)
        assert page.xpath("//style | //*[@style] | //script[not(@src)] | //@*[starts-with(name(), 'on')]") == [], path


def test_links_of_pages_lead_to_files_of_the_site(site: RenderedSite) -> None:
    """Every link of a page has a file of the site as its target, with the anchor in it."""
    dead = []
    for path, data in site.pages.items():
        for pointer in tree(data).xpath(POINTERS):
            assert not pointer.startswith(EVERYWHERE)
            target = urljoin(f"{site.url}/{path}", str(pointer))
            file = site.file(target)
            anchor = target.partition("#")[2]
            if file is None or (anchor and not tree(site.files[file]).xpath("//*[@id=$id]", id=anchor)):
                dead.append((path, str(pointer)))
    assert dead == []


def test_pages_point_to_each_other_relatively(site: RenderedSite) -> None:
    """On a disk or a mirror, a page loads its own style and links to the pages beside it."""
    for path, data in site.pages.items():
        if path == "404.html":
            continue  # served at any depth, so it can't
        page = tree(data)
        found = page.xpath("//script/@src | //link[@rel='stylesheet' or @rel='icon']/@href | //a/@href")
        own = [pointer for pointer in found if not pointer.startswith(("https:", "#"))]
        assert not [pointer for pointer in own if pointer.startswith("/")]
        assert len(own) > 5


def test_every_page_is_reached_from_the_first(site: RenderedSite) -> None:
    """Links lead from the first page to every page of the site."""
    seen: set[str] = set()
    ahead = ["index.html"]
    while ahead:
        path = ahead.pop()
        if path in seen or path not in site.pages:
            continue
        seen.add(path)
        links = (urljoin(f"{site.url}/{path}", str(href)) for href in tree(site.files[path]).xpath("//a/@href"))
        ahead += [file for link in links if (file := site.file(link))]

    assert seen == set(site.pages) - {"404.html"}
