"""
What is known of large vaults, kept in bench/scale.json: the figures, tables and pictures of docs/scale.md.

The page is written by hand. What stands in it between two comments is written from the figures, by name.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

from world import BENCH

FILE = BENCH / "scale.json"
PAGE = BENCH.parent / "docs" / "scale.md"


def record(part: str, found: Mapping[str, Any]) -> None:
    """Put what was *found* into the file of figures; what else is there stays."""
    figures = json.loads(FILE.read_text()) if FILE.exists() else {}
    figures.setdefault(part, {}).update(found)
    FILE.write_text(json.dumps(figures, indent=1) + "\n")


def write() -> None:
    """Write the tables and the pictures again."""
