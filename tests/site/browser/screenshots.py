"""
Write screenshots of the demo's pages: ``python -m tests.site.browser.screenshots FOLDER [--readme]``.

Every page of the browser tests at every width and in both themes, at its full height. The clock of the demo
is fixed, but its keys, and so their ids, are new each time.
"""

from __future__ import annotations

import argparse
import shutil
import sys
import tempfile
from pathlib import Path

from playwright.sync_api import Browser

from keyvault.operations.demo import make_demo
from tests.site.browser.browsing import (
    CHROMIUM,
    HEIGHT,
    PAGES,
    THEMES,
    WIDTHS,
    chromium,
    new_context,
    page_path,
    serving,
    start_visit,
)
from tests.site.sites import RenderedSite
from tests.site.vaults import MINUTE, T0, Lab, environment

README_IMAGE = Path(__file__).parents[3] / "docs" / "images" / "site.png"
#: The limit of the picture in the README, in bytes, since readers load it over the network.
README_MAX = 250_000


def demo_site(home: Path) -> RenderedSite:
    """Make the demo in *home* and return its site."""
    own = environment(home)
    made = make_demo(home / "demo", T0 + 17 * MINUTE, own, progress=lambda label, done, total: None)
    lab = Lab(made.vault, own, now=T0 + 17 * MINUTE)
    return RenderedSite(lab, lab.site(), lab.state.policy.site.url)


def photograph(browser: Browser, site: RenderedSite, address: str, folder: Path) -> None:
    """Write a screenshot of every page, at every width and in both themes, to *folder*."""
    context = new_context(browser)
    for name in PAGES:
        for width in WIDTHS:
            for theme in THEMES:
                visit = start_visit(context, address, width=width, height=HEIGHT, theme=theme)
                visit.open(page_path(site, name))
                visit.page.screenshot(path=folder / f"{name}-{width}-{theme}.png", full_page=True)
                visit.page.close()


def photograph_for_readme(browser: Browser, address: str) -> None:
    """Write a screenshot of the top of the first page to the folder of the documentation."""
    visit = start_visit(new_context(browser), address, width=1280, height=800, theme="light")
    visit.open("")
    picture = visit.page.screenshot()
    if len(picture) > README_MAX:
        sys.exit(f"the picture for the README has {len(picture)} bytes, more than {README_MAX}")
    README_IMAGE.parent.mkdir(parents=True, exist_ok=True)
    README_IMAGE.write_bytes(picture)


def main() -> None:
    """Run the script."""
    parser = argparse.ArgumentParser(description="Write screenshots of the demo's pages.")
    parser.add_argument("folder", type=Path, help="where the pictures go")
    parser.add_argument("--readme", action="store_true", help="also write docs/images/site.png")
    arguments = parser.parse_args()
    if shutil.which(CHROMIUM) is None:
        sys.exit("Chromium is not installed")
    arguments.folder.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory() as home:
        site = demo_site(Path(home))
        with serving(site) as address, chromium() as browser:
            photograph(browser, site, address, arguments.folder)
            if arguments.readme:
                photograph_for_readme(browser, address)


if __name__ == "__main__":
    main()
