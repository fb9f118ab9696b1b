"""docs/cli.md lists every command and every option, and no others."""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Any

import pytest
from typer.main import get_command

from keyvault import errors
from keyvault.cli.main import app
from tests.docs.pages import first_column, read, sections

PAGE = read("docs/cli.md")
SECTIONS = sections(PAGE)

_OPTION = re.compile(r"`(--?[a-z][a-z0-9-]*)")


def commands(group: Any, *above: str) -> Iterator[tuple[str, Any]]:
    """Yield (name, command) of every executable command below *group*."""
    for name, command in group.commands.items():
        if hasattr(command, "commands"):
            yield from commands(command, *above, name)
        else:
            yield " ".join((*above, name)), command


COMMANDS = dict(commands(get_command(app)))


def options(command: Any) -> set[str]:
    """Return the spellings of the options of *command*, without ``--help``."""
    spelled = {
        name for parameter in command.params for name in (*parameter.opts, *parameter.secondary_opts) if name[0] == "-"
    }
    return spelled - {"--help", "-h"}


def test_every_command_has_a_section() -> None:
    """Other sections belong to the page itself."""
    own = {
        "Commands",
        "Options before the command",
        "Input and output",
        "Exit codes",
        "Environment",
        "In GitHub Actions",
    }
    own |= {"In your own workflow"}
    groups = {"The vault", "Rotation", "The site", "Checks", "Sets and keys", "Who can open what", "Tokens"}

    assert set(SECTIONS) - own - groups == set(COMMANDS)


@pytest.mark.parametrize("name", COMMANDS)
def test_a_command_has_its_options(name: str) -> None:
    """The table of a command lists each of its options and no other."""
    section = SECTIONS[name]
    documented = {option for cell in first_column(section) for option in _OPTION.findall(cell)}

    assert documented == options(COMMANDS[name])
    assert f"`keyvault {name}" in section


def test_options_before_the_command() -> None:
    """The page lists the options of the app itself, too."""
    documented = {
        option for cell in first_column(SECTIONS["Options before the command"]) for option in _OPTION.findall(cell)
    }

    assert documented - {"--help", "-h"} == options(get_command(app))


def test_every_exit_code_is_explained() -> None:
    """The page explains the exit codes of the error classes and of main."""
    classes = [value for value in vars(errors).values() if isinstance(value, type)]
    codes = {found.exit_code for found in classes if issubclass(found, errors.KeyVaultError)}

    assert {str(code) for code in codes | {0, 130}} == set(first_column(SECTIONS["Exit codes"]))
