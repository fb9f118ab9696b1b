"""Whether the pages are the HTML that they say they are: html-validate on every page of several sites."""

from __future__ import annotations

import json
import shutil
import subprocess
from pathlib import Path

import pytest

from tests.site.browser.browsing import NODE_MODULES
from tests.site.sites import Rendered, RenderedSite

PROGRAM = NODE_MODULES / "html-validate" / "bin" / "html-validate.mjs"
CONFIG = Path(__file__).with_name("html-validate.config.mjs")

pytestmark = pytest.mark.skipif(
    shutil.which("node") is None or not PROGRAM.is_file(),
    reason="Node.js, or the npm package html-validate in tests/node, is not installed",
)


def faults(pages: dict[str, bytes], folder: Path) -> tuple[int, list[str]]:
    """Return how many *pages* html-validate finds at fault, and what it says of them."""
    for path, data in pages.items():
        target = folder / path
        target.parent.mkdir(parents=True, exist_ok=True)
        target.write_bytes(data)
    done = subprocess.run(
        ["node", str(PROGRAM), "--config", str(CONFIG), "--formatter", "json", *sorted(pages)],
        cwd=folder,
        capture_output=True,
        timeout=60,
    )
    assert done.returncode in (0, 1), done.stderr.decode()
    found = json.loads(done.stdout)
    words = [
        f"{Path(result['filePath']).relative_to(folder)}:{message['line']} {message['ruleId']}: {message['message']}"
        for result in found
        for message in result["messages"]
    ]
    return len(found), words


def test_pages_are_valid_html(site: RenderedSite, tmp_path: Path) -> None:
    """html-validate, with all that it recommends, finds nothing on any page of the site."""
    assert faults(site.pages, tmp_path)[1] == []


@pytest.mark.parametrize(
    ("old", "new", "rule"),
    [
        (b"</main>", b"</mian>", "close-order"),
        (b"</main>", b"<p><div></div></p></main>", "element-permitted-content"),
        (b"</main>", b'<p id="main"></p></main>', "no-dup-id"),
        (b"</main>", b"<img></main>", "element-required-attributes"),
    ],
)
def test_faults_would_be_found(rendered: Rendered, tmp_path: Path, old: bytes, new: bytes, rule: str) -> None:
    """A page that somebody spoiled is found: the test above is not blind."""
    page = rendered("fresh").files["index.html"]
    count, words = faults({"index.html": page.replace(old, new), "fine.html": page}, tmp_path)

    assert count == 1
    assert f" {rule}: " in "\n".join(words)
