"""
The errors of the package, read from its source, and docs/errors.md, which lists them.

    python -m tests.docs.errors         regenerate the page after a message changed
"""

from __future__ import annotations

import ast
import functools
import importlib
import re
from collections.abc import Iterator
from dataclasses import dataclass

from keyvault import errors
from tests.docs.pages import DOCS, REPOSITORY

PAGE = DOCS / "errors.md"
MARK = "<!-- generated from the source: python -m tests.docs.errors -->\n"


@dataclass(frozen=True, order=True)
class Raised:
    """
    A place in the source that creates an error.

    Attributes:
        code: Its code; empty if it has none, or passes on the code of another error.
        passed_on: Whether it passes on the code of another error, ``code=error.code``.
        kind: The name of its class.
        message: Its message, with names in braces for the values.
        hint: Its hint in the same form, or an empty text.
        where: The file and line.
    """

    code: str
    kind: str
    message: str
    hint: str
    where: str
    passed_on: bool = False


def raised() -> list[Raised]:
    """Return every place in the package that creates an error, sorted by code."""
    found: list[Raised] = []
    names = set(_classes())
    for path in sorted((REPOSITORY / "keyvault").rglob("*.py")):
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if isinstance(node, ast.Call) and isinstance(node.func, ast.Name) and node.func.id in names:
                found.append(_raised(node, node.func.id, f"{path.relative_to(REPOSITORY).as_posix()}:{node.lineno}"))
    return sorted(found)


def exit_code(kind: str) -> int:
    """Return the exit code of the class of errors named *kind*."""
    return int(_classes()[kind].exit_code)


@functools.cache
def _classes() -> dict[str, type[errors.KeyVaultError]]:
    """Return all error classes of the package, by name."""
    for path in sorted((REPOSITORY / "keyvault").rglob("*.py")):
        if re.search(r"^class \w+Error\(", path.read_text(encoding="utf-8"), re.MULTILINE):
            importlib.import_module(
                ".".join(path.relative_to(REPOSITORY).with_suffix("").parts).removesuffix(".__init__")
            )
    return {kind.__name__: kind for kind in _below(errors.KeyVaultError)}


def _below(kind: type[errors.KeyVaultError]) -> Iterator[type[errors.KeyVaultError]]:
    yield kind
    for child in kind.__subclasses__():
        yield from _below(child)


def _raised(call: ast.Call, kind: str, where: str) -> Raised:
    given = {keyword.arg: keyword.value for keyword in call.keywords}
    code = given.get("code")
    return Raised(
        code=code.value if isinstance(code, ast.Constant) and isinstance(code.value, str) else "",
        kind=kind,
        message=_template(call.args[0]) if call.args else "",
        hint=_template(given["hint"]) if "hint" in given else "",
        where=where,
        passed_on=isinstance(code, ast.Attribute) and code.attr == "code",
    )


def _template(node: ast.expr) -> str:
    """Return the text of an expression, with names in braces for the values."""
    if isinstance(node, ast.Constant):
        return str(node.value) if node.value is not None else ""
    if isinstance(node, ast.JoinedStr):
        return "".join(_template(part) for part in node.values)
    if isinstance(node, ast.FormattedValue):
        return "{" + _name(node.value) + "}"
    if isinstance(node, ast.BinOp) and isinstance(node.op, ast.Add):
        return _template(node.left) + _template(node.right)
    if isinstance(node, ast.IfExp):
        return f"{_template(node.body)} | {_template(node.orelse)}"
    return "{" + _name(node) + "}"


def _name(node: ast.expr) -> str:
    """Return the name of the value in an expression, for readers of the page."""
    if isinstance(node, ast.Call) and node.args:
        return _name(node.args[0])
    if isinstance(node, ast.Call):
        return _name(node.func.value if isinstance(node.func, ast.Attribute) else node.func)
    if isinstance(node, ast.Attribute):
        return node.attr.strip("_").lower()
    if isinstance(node, ast.Name):
        return node.id.strip("_").lower()
    if isinstance(node, ast.Subscript):
        return _name(node.value)
    return "…"


def page() -> str:
    """Return docs/errors.md as it should be: the text above the mark, and the table."""
    head = PAGE.read_text(encoding="utf-8").partition(MARK)[0]
    rows = dict.fromkeys(
        (error.code, exit_code(error.kind), error.message.replace("|", "\\|"), error.hint.replace("|", "\\|"))
        for error in raised()
        if not error.passed_on
    )
    lines = ["| code | exit | message | hint |", "|---|---|---|---|"]
    lines += [f"| `{code}` | {number} | {_cell(message)} | {_cell(hint)} |" for code, number, message, hint in rows]
    return head + MARK + "\n" + "\n".join(lines) + "\n"


def _cell(text: str) -> str:
    return " ".join(text.split()).replace("<", "&lt;")


if __name__ == "__main__":
    PAGE.write_text(page(), encoding="utf-8")
