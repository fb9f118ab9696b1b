"""The transcripts of the pages equal the output of the commands, in the order of each page."""

from __future__ import annotations

from datetime import timedelta
from pathlib import Path

import pytest

from tests.docs.other_tools import write_files
from tests.docs.pages import DOCS, fenced
from tests.docs.terminal import Terminal, placeholders

#: A vault in use: pushed, published, its next keys seen live.
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

#: The commands before the first command of a page; other pages begin in an empty home folder.
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
    """Every runbook has a transcript."""
    runbooks = {f"runbooks/{path.name}" for path in (DOCS / "runbooks").iterdir()} - {"runbooks/index.md"}

    assert runbooks <= set(PAGES)
    assert set(BEFORE) <= set(PAGES)


#: The pages with the longest sessions.
LONG = {"coming-from.md", "runbooks/leaver.md", "runbooks/lost-identity.md"}


@pytest.mark.parametrize("name", [pytest.param(name, marks=pytest.mark.slow if name in LONG else ()) for name in PAGES])
def test_transcripts_equal_the_output(name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """All blocks of a page are one session; kids, commits and labels differ between runs."""
    transcript = "".join(fenced((DOCS / name).read_text(encoding="utf-8"), "console"))
    terminal = Terminal(tmp_path, monkeypatch)
    if name == "coming-from.md":
        write_files(terminal, Path.cwd())
    for line in BEFORE.get(name, ()):
        terminal.run(line)
    terminal.now += timedelta(days=30) if name in BEFORE else timedelta(0)

    played = terminal.play(transcript)

    assert placeholders(played) == placeholders(transcript)
