"""docs/architecture.md is true: its picture shows the imports of the code, and the functions of its flows exist."""

from __future__ import annotations

import importlib
import itertools
import re
from collections.abc import Iterator

import pytest

from tests.docs.pages import fenced, read
from tests.packaging.test_imports import imported, modules

PAGE = read("docs/architecture.md")
ARROWS = {
    tuple(line.split(" --> ")) for line in re.findall(r"^  (\w+ --> \w+)$", fenced(PAGE, "mermaid")[0], re.MULTILINE)
}
PACKAGES = {package for arrow in ARROWS for package in arrow}
FLOWS = {part.split("`")[1]: part for part in PAGE.split("\n### ")[1:]}


def imports() -> set[tuple[str, str]]:
    """Return the packages that each package imports from."""
    found = {
        (room, name.split(".")[1]) for room, _, tree in modules() for name in imported(tree) if "keyvault." in name
    }
    return {(one, other) for one, other in found if one != other and {one, other} <= PACKAGES}


def below(package: str) -> set[str]:
    """Return the packages that the arrows lead to, directly or indirectly."""
    direct = {end for start, end in ARROWS if start == package}
    return direct.union(*map(below, direct))


def functions(flow: str) -> Iterator[str]:
    """Yield the functions of a flow, in order."""
    for row in re.findall(r"^\| \d+ \| (.*?) \|", FLOWS[flow], re.MULTILINE):
        yield from re.findall(r"`([\w.]+)`", row)


def test_the_picture_shows_the_imports() -> None:
    """Every arrow is an import of the code, and every import follows the arrows."""
    found = imports()
    assert found >= ARROWS
    assert [(one, other) for one, other in found if other not in below(one)] == []


@pytest.mark.parametrize("flow", FLOWS)
def test_the_functions_of_a_flow_exist(flow: str) -> None:
    """Each function exists under the name that the page gives."""
    names = list(functions(flow))
    assert len(names) > 5
    for name in names:
        parts, found = name.split("."), None
        for count in range(len(parts), 0, -1):
            try:
                found = importlib.import_module(".".join(["keyvault", *parts[:count]]))
            except ModuleNotFoundError:
                continue
            for part in parts[count:]:
                found = getattr(found, part)
            break
        assert found is not None, name


@pytest.mark.parametrize("flow", FLOWS)
def test_a_flow_enters_each_package_twice_at_most(flow: str) -> None:
    """Once on the way down, and once on the way up."""
    rooms = [room for room, _ in itertools.groupby(name.split(".")[0] for name in functions(flow))]
    assert max(map(rooms.count, rooms)) <= 2, rooms
    assert rooms[0] == rooms[-1] == "cli"
