"""docs/mutation.md lists survivors in existing code, as many as its table counts."""

from __future__ import annotations

import ast
import re
import tomllib

import pytest

from tests.docs.pages import REPOSITORY, fenced, first_column, read, sections

PAGE = read("docs/mutation.md")
SETTINGS = tomllib.loads(read("pyproject.toml"))["tool"]["mutmut"]
DIFFS = fenced(PAGE, "diff")
TABLE = sections(PAGE)["Mutation testing of the rules"]


@pytest.mark.parametrize("diff", DIFFS, ids=lambda diff: diff.splitlines()[0].rpartition(" ")[2])
def test_survivors_are_in_existing_code(diff: str) -> None:
    """Each line that a mutant changes exists in the named function."""
    head, *lines = diff.splitlines()
    path, name = head.removeprefix("# ").split(": ")
    source = read(path)
    functions = [node for node in ast.walk(ast.parse(source)) if isinstance(node, ast.FunctionDef)]
    (function,) = [ast.get_source_segment(source, node) for node in functions if node.name == name]
    old, new = ([line[1:].strip() for line in lines if line.startswith(sign)] for sign in "-+")
    assert len(old) == len(new) > 0
    assert [line for line in old if line not in str(function)] == []
    assert [line for line in new if line in str(function)] == []


def test_every_survivor_is_explained() -> None:
    """The numbers of the table and of the text are equal, and each survivor has its diff."""
    explained = [int(count) for count in re.findall(r"^\*\*(\d+) of `\w+`\*\*: ", PAGE, re.MULTILINE)]
    counted = [int(row.split("|")[5]) for row in TABLE.splitlines() if row.startswith("| `")]
    assert sum(explained) == sum(counted)
    assert len(explained) == len(DIFFS)


def test_the_table_lists_the_mutated_modules() -> None:
    """The table lists every module of the settings; the files exist."""
    mutated, judging = SETTINGS["only_mutate"], SETTINGS["pytest_add_cli_args_test_selection"]
    modules = sorted("/".join(path.removesuffix(".py").split("/")[1:3]) for path in mutated)
    assert modules == [name.strip("`") for name in first_column(TABLE)]
    assert [path for path in (*mutated, *judging) if not list(REPOSITORY.glob(path))] == []


def test_the_percentages_of_the_table() -> None:
    """Timeouts count as killed, and every mutant was judged."""
    for row in TABLE.splitlines():
        if row.startswith("| `"):
            mutants, killed, endless, survived = map(int, row.split("|")[2:6])
            assert mutants == killed + endless + survived
            assert row.split("|")[6].strip() == f"{100 * (killed + endless) / mutants:.1f} %"
