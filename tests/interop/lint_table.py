"""
Write what libraries make of breaking documents into keyvault/core/lint/measured.py, and the names into docs/lint.md.

usage: python -m tests.interop.lint_table [--page]

Runs every library on every case of lint's tests. With --page nothing is run: the page gets the names that the table has.
"""

from __future__ import annotations

import re
import subprocess
import sys
import tempfile
from pathlib import Path

from keyvault.core.lint.consumers import CONSUMERS
from keyvault.core.lint.rules import ALL, CLIENTS, RULES
from tests.interop.verdicts import (
    DISCOVERY,
    LIBRARIES,
    PROGRAMS,
    Extent,
    Table,
    extents,
    go_program,
    questions,
    refusals,
    refused_by_issuer,
    serving,
    tables,
)

ROOT = Path(__file__).parents[2]
MEASURED = ROOT / "keyvault" / "core" / "lint" / "measured.py"
PAGE = ROOT / "docs" / "lint.md"

_HEAD = '''\
"""
Which libraries each rule of lint hurts, by the names of `rules.LIBRARIES`.

Written by `make interop`, which feeds every breaking document to every library, with tokens that sound keys and the
broken one signed: a library is hurt where it refuses one. Tests repeat that. Never edit it by hand.
"""

from __future__ import annotations

'''


def measure() -> tuple[Table, Table]:
    """Run all libraries, and return what follows."""
    found: dict[str, dict[str, Extent]] = {}
    with serving() as host:
        asked = questions(host)
        for ask in PROGRAMS.values():
            with tempfile.TemporaryDirectory() as folder:
                for name, verdicts in ask(host, asked, Path(folder)).items():
                    found[name] = extents(host, refusals(host, name, asked, verdicts))
        with tempfile.TemporaryDirectory() as folder:
            program = go_program(Path(folder))
            for code in DISCOVERY:
                for name in refused_by_issuer(host, code, program):
                    found[name][code] = "all"
    assert found.keys() == LIBRARIES.keys()
    # What is said of a redirect on the same host holds for any other.
    for name in found:
        found[name]["redirect-not-followed"] = found[name].get("redirect", "none")
    return tables(found)


def module(every: Table, some: Table) -> str:
    """Return the text of the module."""
    parts = [_HEAD]
    for name, about, table in (
        ("HURT", "Libraries that every form of a rule hurts.", every),
        ("HURT_BY_SOME_FORMS", "Libraries that some forms of a rule hurt, and others do not.", some),
    ):
        parts += [f"#: {about}\n{name}: dict[str, tuple[str, ...]] = {{\n"]
        for code, names in table.items():
            listed = ", ".join(f'"{one}"' for one in names)
            parts.append(f'    "{code}": ({listed}{"," if len(names) == 1 else ""}),\n')
        parts.append("}\n")
    return "".join(parts)


def hurt_cell(code: str) -> str:
    """Return what docs/lint.md says of whom the rule *code* hurts."""
    rule = RULES[code]
    named = {ALL: "all", CLIENTS: "all that fetch", (): ""}.get(rule.hurts, ", ".join(rule.hurts))
    some = f"in some forms {', '.join(rule.hurts_in_some_forms)}" if rule.hurts_in_some_forms else ""
    return "; ".join(filter(None, (named, some))) or "nobody"


def page(text: str) -> str:
    """Return docs/lint.md *text* with the names that the table has, and the algorithms of whom --for names."""
    consumers = "".join(
        f"| `{name}` | {consumer.label} | {' '.join(consumer.algs)} |\n" for name, consumer in CONSUMERS.items()
    )
    text = re.sub(
        r"(?<=\n\|---\|---\|---\|\n)(?:\| `[\w-]+` \| [^|\n]+ \| [^|\n]+ \|\n)+", lambda _: consumers, text, count=1
    )
    return re.sub(
        r"^(\| `([\w-]+)` \| (?:error|warning|note) \| (?:[^|\n]|\\\|)+ \| )[^|\n]+( \| [^|\n]+ \|)$",
        lambda row: f"{row[1]}{hurt_cell(row[2])}{row[3]}",
        text,
        flags=re.MULTILINE,
    )


def main() -> None:
    """Write both."""
    if sys.argv[1:] == ["--page"]:
        PAGE.write_text(page(PAGE.read_text(encoding="utf-8")), encoding="utf-8")
        return
    MEASURED.write_text(module(*measure()), encoding="utf-8")
    subprocess.run([sys.executable, "-m", "ruff", "format", "--quiet", str(MEASURED)], check=True)
    # With the table that was just written.
    subprocess.run([sys.executable, "-m", "tests.interop.lint_table", "--page"], check=True)


if __name__ == "__main__":
    main()
