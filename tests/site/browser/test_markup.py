"""Validity of the HTML: html-validate on every page of several sites."""

from __future__ import annotations

import json
import shutil
import subprocess

import pytest

from tests.site.browser.browsing import NODE_MODULES
from tests.site.sites import Rendered, RenderedSite

SCRIPT = NODE_MODULES.parent / "validate.mjs"

pytestmark = pytest.mark.skipif(
    shutil.which("node") is None or not (NODE_MODULES / "html-validate").is_dir(),
    reason="Node.js, or the npm package html-validate in tests/node, is not installed",
)


def faults(pages: dict[str, bytes]) -> list[str]:
    """Return the findings of html-validate about *pages*."""
    given = json.dumps({path: data.decode() for path, data in pages.items()})
    done = subprocess.run(["node", str(SCRIPT)], input=given, text=True, capture_output=True, timeout=60)
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)


def test_pages_are_valid_html(site: RenderedSite) -> None:
    """html-validate, with its recommended rules, finds no fault on any page of the site."""
    assert faults(site.pages) == []


@pytest.mark.parametrize(
    ("old", "new", "rule"),
    [
        (b"</main>", b"</mian>", "close-order"),
        (b"</main>", b"<ul><p>text</p></ul></main>", "element-permitted-content"),
        (b"</main>", b'<p id="main"></p></main>', "no-dup-id"),
        (b"</main>", b"<img></main>", "element-required-attributes"),
    ],
)
def test_faults_would_be_found(rendered: Rendered, old: bytes, new: bytes, rule: str) -> None:
    """html-validate finds the faults of a broken page: the test above is not blind."""
    page = rendered("fresh").files["index.html"]
    found = faults({"spoiled.html": page.replace(old, new), "fine.html": page})

    assert any(f" {rule}: " in words for words in found)
    assert all(words.startswith("spoiled.html:") for words in found)
