"""The pages of docs/how-to-add are true: diffs apply to the code, and paths, names, commands and targets exist."""

from __future__ import annotations

import ast
import functools
import re
from collections.abc import Iterable, Iterator
from pathlib import Path

import pytest

from tests.docs.pages import DOCS, REPOSITORY, fenced, prose

FOLDER = DOCS / "how-to-add"
PAGES = sorted(path.name for path in FOLDER.glob("*.md"))
LINES_MAX = 120

_MARK = re.compile(r"`([^`\n]+)`")
_PATH = re.compile(r"[\w.-]*(?:/[\w.-]+)+/?|[\w.-]+/")
_DOTTED = re.compile(r"[a-z_]\w*(?:\.\w+)+")
_MODULE = re.compile(r"-m ([a-z_]\w*(?:\.\w+)+)")
_TARGET = re.compile(r"\bmake ([a-z-]+)")
#: Ends of names of files, which a dot does not make names of modules.
_FILES = (".json", ".md", ".py", ".toml", ".txt")


def text(page: str) -> str:
    return (FOLDER / page).read_text(encoding="utf-8")


def marks(page: str) -> list[str]:
    """Return the texts in code marks, and the lines of commands."""
    blocks = [line for block in fenced(text(page), "sh") for line in block.splitlines()]
    return [*_MARK.findall(prose(text(page))), *blocks]


# --- names ----------------------------------------------------------------------------------------------


def module_file(name: str) -> Path | None:
    """Return the file or folder of the module *name*: of the tests, or of the package without its own name."""
    parts = name.split(".")
    base = REPOSITORY if parts[0] == "tests" else REPOSITORY / "keyvault"
    path = base.joinpath(*parts)
    if path.with_suffix(".py").is_file():
        return path.with_suffix(".py")
    return path / "__init__.py" if (path / "__init__.py").is_file() else None


@functools.cache
def syntax(path: Path) -> ast.Module:
    return ast.parse(path.read_text(encoding="utf-8"))


def defined(body: Iterable[ast.stmt]) -> Iterator[tuple[str, ast.stmt]]:
    """Yield each name that a module or class defines, with the statement."""
    for statement in body:
        if isinstance(statement, ast.FunctionDef | ast.ClassDef):
            yield statement.name, statement
        elif isinstance(statement, ast.Assign | ast.AnnAssign):
            targets = statement.targets if isinstance(statement, ast.Assign) else [statement.target]
            for target in targets:
                yield from ((node.id, statement) for node in ast.walk(target) if isinstance(node, ast.Name))


def exists(name: str) -> bool:
    """Return whether *name* is a module, or a definition in a module or in a class."""
    parts = name.split(".")
    for count in range(len(parts), 0, -1):
        path = module_file(".".join(parts[:count]))
        if path is None:
            continue
        body = syntax(path).body
        for part in parts[count:]:
            statement = dict(defined(body)).get(part)
            if statement is None:
                return False
            body = statement.body if isinstance(statement, ast.ClassDef) else []
        return True
    return False


@pytest.mark.parametrize("page", PAGES)
def test_names_exist(page: str) -> None:
    """Each `module.name` in code marks, and each module that a command runs."""
    names = [mark for mark in marks(page) if _DOTTED.fullmatch(mark) and not mark.endswith(_FILES)]
    names += [name for mark in marks(page) for name in _MODULE.findall(mark)]

    assert [name for name in names if not exists(name)] == []


@pytest.mark.parametrize("page", PAGES)
def test_paths_exist(page: str) -> None:
    """Each path in code marks and commands is in the tree."""
    words = [word for mark in marks(page) for word in mark.split() if "://" not in word and ".venv/" not in word]
    paths = [word for word in words if _PATH.fullmatch(word)]

    assert [path for path in paths if not (REPOSITORY / path).exists()] == []


@pytest.mark.parametrize("page", PAGES)
def test_targets_exist(page: str) -> None:
    """Each `make` target is one of the Makefile."""
    makefile = (REPOSITORY / "Makefile").read_text(encoding="utf-8")
    targets = [target for mark in marks(page) for target in _TARGET.findall(mark)]

    assert [target for target in targets if not re.search(rf"^{target}:", makefile, re.MULTILINE)] == []


# --- diffs ----------------------------------------------------------------------------------------------


def hunks(page: str) -> Iterator[tuple[str, str, str]]:
    """Yield (path, old text, new text) for each hunk of the diffs of *page*."""
    for block in fenced(text(page), "diff"):
        for part in re.split(r"^\+\+\+ ", block, flags=re.MULTILINE)[1:]:
            path, _, body = part.partition("\n")
            for hunk in re.split(r"^@@\n", body, flags=re.MULTILINE):
                lines = hunk.splitlines()
                old, new = (
                    "".join(f"{line[1:]}\n" for line in lines if not line.startswith(sign)) for sign in ("+", "-")
                )
                yield path, old, new


@pytest.mark.parametrize("page", [page for page in PAGES if page != "index.md"])
def test_diffs_apply(page: str) -> None:
    """Each hunk is found once in its file, and the files that result from a page are valid Python."""
    changed: dict[str, str] = {}
    for path, old, new in hunks(page):
        before = changed.setdefault(path, (REPOSITORY / path).read_text(encoding="utf-8"))
        assert f"\n{before}".count(f"\n{old}") == 1, f"{path}:\n{old}"
        assert old != new
        changed[path] = before.replace(old, new)

    assert changed
    for path, after in changed.items():
        if path.endswith(".py"):
            ast.parse(after, path)


# --- form -----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("page", PAGES)
def test_a_page_is_short_and_says_what_it_is_for(page: str) -> None:
    """At most 120 lines; the first paragraph names what the reader can do."""
    lines = text(page).splitlines()

    assert len(lines) <= LINES_MAX
    assert lines[2].startswith("After reading this page you can ")


def test_the_index_lists_every_page() -> None:
    """In the table of the folder."""
    linked = re.findall(r"^\| \[([\w-]+\.md)\]", text("index.md"), re.MULTILINE)

    assert sorted(linked) == [page for page in PAGES if page != "index.md"]
