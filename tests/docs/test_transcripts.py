"""What the pages show of a terminal is what the commands print, in the order in which a page has them."""

from __future__ import annotations

from datetime import timedelta
from pathlib import Path

import pytest

from tests.docs.elsewhere import bring
from tests.docs.pages import DOCS, fenced
from tests.docs.terminal import Terminal, placeholders

#: A vault that has been at work for a while: pushed, published, its next keys seen live.
AT_WORK = (
    "keyvault init my-keys --url https://keys.example.com",
    "cd my-keys",
    "git init --quiet --bare ../origin.git",
    "git remote add origin ../origin.git",
    "git push --quiet --set-upstream origin HEAD",
    "keyvault publish s3://keys-example-com",
    "keyvault rotate --due --push",
)
BOB = ("keyvault identity new --kid bob-2026 > bob-2026.pub.json", "keyvault recipient add bob-2026.pub.json --push")

#: What comes before the first command of a page; the others begin in an empty home folder.
BEFORE = {
    **{
        f"runbooks/{name}.md": AT_WORK
        for name in (
            *("rotation", "changing-the-algorithm", "leaked-key", "missed-schedules", "moving-the-url"),
            *("damaged-vault", "rewritten-history", "wrong-clock"),
        )
    },
    **{f"runbooks/{name}.md": AT_WORK + BOB for name in ("leaver", "lost-identity")},
    "coming-from.md": AT_WORK,
}

PAGES = [
    name
    for name in (str(page.relative_to(DOCS)) for page in sorted(DOCS.rglob("*.md")))
    if fenced((DOCS / name).read_text(encoding="utf-8"), "console")
]


def test_every_runbook_is_run() -> None:
    """None is left out for want of a transcript."""
    runbooks = {f"runbooks/{path.name}" for path in (DOCS / "runbooks").iterdir()} - {"runbooks/index.md"}

    assert runbooks <= set(PAGES)
    assert set(BEFORE) <= set(PAGES)


#: Pages that show the longest sessions.
LONG = {"coming-from.md", "runbooks/leaver.md", "runbooks/lost-identity.md"}


@pytest.mark.parametrize("name", [pytest.param(name, marks=pytest.mark.slow if name in LONG else ()) for name in PAGES])
def test_a_page_shows_what_its_commands_print(name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """All blocks of a page are one session; kids, commits and labels differ from run to run."""
    transcript = "".join(fenced((DOCS / name).read_text(encoding="utf-8"), "console"))
    terminal = Terminal(tmp_path, monkeypatch)
    if name == "coming-from.md":
        bring(terminal, Path.cwd())
    for line in BEFORE.get(name, ()):
        terminal.run(line)
    terminal.now += timedelta(days=30) if name in BEFORE else timedelta(0)

    played = terminal.play(transcript)

    assert placeholders(played) == placeholders(transcript)
