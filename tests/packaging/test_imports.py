"""Imports point downwards only, and functions import heavy libraries where they use them."""

from __future__ import annotations

import ast
import functools
import re
import subprocess
import sys
from collections.abc import Collection, Iterator
from pathlib import Path

import pytest

from tests.site.vaults import DemoLab, environment

PACKAGE = Path(__file__).parent.parent.parent / "keyvault"

#: The subpackages, and those that each may import from.
ALLOWED = {
    "errors": set(),
    "flush": set(),
    "logs": set(),
    "progress": set(),
    "spread": {"errors"},
    "core": {"errors", "core"},
    "config": {"errors", "core"},
    "crypto": {"errors", "core", "crypto"},
    "repo": {"errors", "core", "config", "flush", "logs", "progress", "repo"},
    "site": {"errors", "core", "spread", "site"},
    "publish": {"errors", "core", "flush", "progress", "publish"},
    "operations": {
        *("errors", "core", "config", "flush", "logs", "progress", "crypto", "repo", "site", "publish", "operations")
    },
    "api": {"errors", "core", "crypto", "logs", "operations"},
}
ALLOWED["cli"] = {*ALLOWED, "cli"}
ALLOWED["__init__"] = {"errors", "api"}
ALLOWED["__main__"] = {"cli"}


@functools.cache
def modules() -> list[tuple[str, str, ast.Module]]:
    """Return (subpackage, path, syntax tree) of every module."""
    return [
        (
            path.relative_to(PACKAGE).parts[0].removesuffix(".py"),
            str(path.relative_to(PACKAGE)),
            ast.parse(path.read_text()),
        )
        for path in sorted(PACKAGE.rglob("*.py"))
    ]


@functools.cache
def imported(tree: ast.Module) -> list[str]:
    """Return the full name of every imported module, including imports inside functions."""
    names: list[str] = []
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            names += [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom) and node.module:
            names += [node.module, *(f"{node.module}.{alias.name}" for alias in node.names)]
    return names


def test_no_files_import_each_other() -> None:
    """There are no import cycles, even inside functions; imports for type checkers do not count."""
    names = {("keyvault." + path[:-3].replace("/", ".")).removesuffix(".__init__"): tree for _, path, tree in modules()}
    graph = {name: set(run_imports(tree, names)) - {name} for name, tree in names.items()}
    assert [name for name in graph if name in reachable(graph, name)] == []


def run_imports(node: ast.AST, names: Collection[str]) -> Iterator[str]:
    """Yield each of the modules *names* that is imported when the code runs."""
    for child in ast.iter_child_nodes(node):
        if isinstance(child, ast.If) and "TYPE_CHECKING" in ast.unparse(child.test):
            continue
        if isinstance(child, ast.ImportFrom) and child.module:
            # An import from a package names either a module of it, or a name in the package's own file.
            found = {f"{child.module}.{alias.name}" for alias in child.names}
            yield from {name if name in names else child.module for name in found} & set(names)
        yield from run_imports(child, names)


def reachable(graph: dict[str, set[str]], start: str) -> set[str]:
    """Return the modules that *start* imports, directly or indirectly."""
    found, waiting = set[str](), [*graph[start]]
    while waiting:
        name = waiting.pop()
        if name not in found:
            found.add(name)
            waiting += graph[name]
    return found


def test_imports_point_downwards_only() -> None:
    """The core does not know git, the site does not know private keys, and only cli knows the command line."""
    for package, path, tree in modules():
        for name in imported(tree):
            if name.startswith("keyvault."):
                assert name.split(".")[1] in ALLOWED[package], f"{path} imports {name}"


def test_the_audit_has_its_own_rules() -> None:
    """The audit is a second opinion: of the code that writes vaults, its core imports only the form of an event."""
    found = {
        f"{name}.{alias.name}" if isinstance(node, ast.ImportFrom) else alias.name
        for _, path, tree in modules()
        if path.startswith("core/history/")
        for node in ast.walk(tree)
        if isinstance(node, ast.Import | ast.ImportFrom)
        for name in [getattr(node, "module", None)]
        for alias in node.names
    }
    assert "keyvault.core.events.Event" in found
    events = {name for name in found if name.startswith("keyvault.core.events")}
    planning = {name for name in found if "planning" in name or name == "keyvault.core"}
    assert (events, planning) == ({"keyvault.core.events.Event"}, set())


def test_the_audit_derives_states_itself() -> None:
    """The audit does not use the states that keys and sets derive by the rules of the planners."""
    for _, path, tree in modules():
        if path.startswith(("core/history/", "repo/audit/")):
            attributes = {ast.unparse(node) for node in ast.walk(tree) if isinstance(node, ast.Attribute)}
            assert not {name for name in attributes if name.endswith((".life", "key.state"))}, path
            assert not set(imported(tree)) & {
                f"keyvault.core.state.{name}" for name in ("KeySet", "VaultState", "longest_token_lifetime")
            }


@pytest.mark.parametrize(
    ("names", "packages"),
    [
        ({"subprocess"}, {"repo", "spread"}),
        ({"git"}, {"repo"}),
        ({"socket", "http", "urllib.request", "urllib3", "http.server"}, {"publish"}),
        ({"pickle"}, {"spread"}),
        ({"jwcrypto", "secrets"}, {"crypto", "operations"}),
        ({"typer", "rich"}, {"cli"}),
    ],
)
def test_access_to_the_world_is_confined(names: set[str], packages: set[str]) -> None:
    """Processes, sockets, key material and terminals are each used in one subpackage."""
    for package, path, tree in modules():
        for name in imported(tree):
            if name in names or name.split(".")[0] in names:
                assert package in packages, f"{path} imports {name}"


def test_nothing_below_operations_reads_clock_environment_or_prints() -> None:
    """`now` and the environment are parameters."""
    below = {"core", "config", "crypto", "site"}
    for package, path, tree in modules():
        if package not in below:
            continue
        found = re.findall(
            r"\b(?:datetime\.now|time\.time|date\.today|os\.environ|os\.getenv|print\()", ast.unparse(tree)
        )
        assert not found, f"{path} has {found}"


HEAVY = ("git", "jwcrypto", "jinja2", "rich", "urllib3", "cryptography", "tomlkit", "icalendar")


def loaded_by(*arguments: str, folder: Path) -> set[str]:
    """Return the modules that a command has loaded when it ends."""
    code = (
        "import sys\nfrom keyvault.cli.main import run\n"
        f"run({list(arguments)!r})\n"
        "print('\\n' + ' '.join(sorted({name.split('.')[0] for name in sys.modules})))"
    )
    own = {**environment(folder.parent), "PYTHONPATH": str(PACKAGE.parent)}
    done = subprocess.run([sys.executable, "-c", code], cwd=folder, env=own, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    return set(done.stdout.splitlines()[-1].split())


@pytest.mark.parametrize("arguments", [("--help",), ("status", "--help"), ("--version",)])
def test_help_loads_nothing_heavy(arguments: tuple[str, ...], tmp_path: Path) -> None:
    """Help starts fast."""
    assert not loaded_by(*arguments, folder=tmp_path) & {*HEAVY, "msgspec", "logging"}


def test_status_loads_nothing_heavy(demo: DemoLab) -> None:
    """`status` needs git's processes and our own rules, but no library for keys or pages."""
    assert not loaded_by("status", folder=demo.folder) & set(HEAVY)
