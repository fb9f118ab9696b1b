"""docs/performance.md has every row and curve, by the names that notes and figures use."""

from __future__ import annotations

import json
import re
import subprocess
import sys
import tomllib
from pathlib import Path

from tests.docs.pages import DOCS, first_column, read, sections

BENCH = Path(__file__).parents[2] / "bench"
PAGE = read("docs/performance.md")

#: Prints the names of rows and curves, without measuring any.
_NAMES = """
import json, sys
from pathlib import Path
sys.path.insert(0, sys.argv[1])
from catalogue import all_curves, all_rows
from fixtures import Size, Workspace
workspace = Workspace(Path(), Path(), {}, Size())
print(json.dumps([[measured.name for measured in found(workspace)] for found in (all_rows, all_curves)]))
"""


def names() -> tuple[list[str], list[str]]:
    done = subprocess.run([sys.executable, "-c", _NAMES, str(BENCH)], capture_output=True, text=True, check=True)
    rows, curves = json.loads(done.stdout)
    return rows, curves


def test_every_row_is_on_the_page() -> None:
    """In the order of the catalogue, and the curves with their pictures."""
    rows, curves = names()
    assert [name.strip("`") for name in first_column(sections(PAGE)["Ratios"])] == rows
    assert [f"curve-{name}" for name in re.findall(r"^\| `(\w+)` \| (?:at most|-)", PAGE, re.MULTILINE)] == curves
    pictures = re.findall(r"\]\((images/[\w-]+\.svg)\)", PAGE)
    assert len(pictures) == 2
    assert all((DOCS / picture).is_file() for picture in pictures)


def test_notes_are_about_rows() -> None:
    """Each note is for an existing row or curve."""
    rows, curves = names()
    assert tomllib.loads(read("bench/notes.toml")).keys() <= {*rows, *curves}


def test_the_page_names_no_machine() -> None:
    """It has no path or address of the measuring machine."""
    assert re.findall(r"/(?:home|root|work|tmp|Users)/|https?://(?!github\.com)\S+", PAGE) == []
