"""Help: every command shows its usage, and its examples parse."""

from __future__ import annotations

import re
import shlex
from collections.abc import Iterator
from typing import Any

import pytest
from typer.main import get_command

from keyvault.cli.main import app
from tests.cli.terminal import Terminal
from tests.vaults import Vault

ROOT: Any = get_command(app)


def commands(group: Any, *above: str) -> Iterator[tuple[tuple[str, ...], Any]]:
    """Yield the words and the object of every command below *group*."""
    for name, command in group.commands.items():
        if hasattr(command, "commands"):
            yield from commands(command, *above, name)
        else:
            yield (*above, name), command


ALL = dict(commands(ROOT))
GROUPS = [(), *sorted({words[:1] for words in ALL if len(words) > 1})]


def examples(command: Any) -> list[str]:
    """Return the lines below "Examples:" in a command's help."""
    _, _, rest = command.help.partition("\b\nExamples:\n")
    return [line.strip() for line in rest.splitlines() if line.strip()]


@pytest.mark.parametrize("words", ALL, ids=" ".join)
def test_every_command_has_examples(words: tuple[str, ...]) -> None:
    """The help of every command ends with lines that can be copied."""
    lines = examples(ALL[words])

    assert lines
    for line in lines:
        assert re.match(rf"(?:[A-Z_]+=\S+ )?keyvault {' '.join(words)}\b", line), line


@pytest.mark.parametrize("words", ALL, ids=" ".join)
def test_examples_can_be_typed(words: tuple[str, ...]) -> None:
    """Every example is a command line that is accepted."""
    for line in examples(ALL[words]):
        _, _, typed = line.partition("keyvault ")
        arguments = shlex.split(re.split(r"\s[|>]\s", typed)[0])
        context = ROOT.make_context("keyvault", list(arguments), resilient_parsing=False)
        command, rest = ROOT, [*context._protected_args, *context.args]
        while hasattr(command, "commands"):
            _name, command, rest = command.resolve_command(context, rest)
            if hasattr(command, "commands"):
                context = command.make_context("x", rest, parent=context)
                rest = [*context._protected_args, *context.args]
        command.make_context("x", rest, parent=context)


@pytest.mark.parametrize("option", ["--help", "-h"])
@pytest.mark.parametrize("words", [*ALL, *GROUPS], ids=" ".join)
def test_help_is_printed(fresh: Terminal, words: tuple[str, ...], option: str) -> None:
    """--help and -h print the help of a command to stdout, outside of a vault too."""
    result = fresh(*words, option)

    assert (result.code, result.err) == (0, "")
    assert result.out.startswith(f"Usage: {' '.join(('keyvault', *words))} ")
    assert "Examples:" in result.out or words in GROUPS
    assert "\x1b" not in result.out


@pytest.mark.parametrize("words", GROUPS, ids=" ".join)
def test_a_group_alone_shows_its_help(fresh: Terminal, words: tuple[str, ...]) -> None:
    """A group without a command is wrong usage, and prints its help."""
    result = fresh(*words)

    assert (result.code, result.out) == (2, "")
    assert result.err.startswith("Usage: keyvault")


def test_every_option_is_explained() -> None:
    """Help explains every option and argument."""
    for words, command in ALL.items():
        for parameter in command.params:
            assert parameter.help, (words, parameter.name)
            assert parameter.help.endswith("."), (words, parameter.name)


def test_the_version(fresh: Terminal) -> None:
    """--version prints the version of the installed package; a source tree has none."""
    result = fresh("--version")

    assert (result.code, result.err) == (0, "")
    assert re.fullmatch(r"keyvault \d+\.\d+\.\d+\S*\n|keyvault, from a source tree that is not installed\n", result.out)


@pytest.mark.parametrize("shell", ["bash", "zsh", "fish"])
def test_completion_can_be_installed(fresh: Terminal, shell: str) -> None:
    """A shell gets its completion script from `_KEYVAULT_COMPLETE=source_SHELL keyvault`."""
    result = fresh(_KEYVAULT_COMPLETE=f"source_{shell}")

    assert (result.code, result.err) == (0, "")
    assert "_KEYVAULT_COMPLETE=complete_" in result.out


def complete(keyvault: Terminal, line: str) -> list[str]:
    words = line.split(" ")
    result = keyvault(_KEYVAULT_COMPLETE="complete_bash", COMP_WORDS=line, COMP_CWORD=str(len(words) - 1))
    assert (result.code, result.err) == (0, "")
    return result.lines


def test_completion(keyvault: Terminal, vault: Vault) -> None:
    """Commands, options, sets and kids are completed."""
    assert complete(keyvault, "keyvault rot") == ["rotate"]
    assert complete(keyvault, "keyvault set a") == ["add"]
    assert complete(keyvault, "keyvault rotate --du") == ["--due"]
    assert complete(keyvault, "keyvault rotate id") == ["id-token"]
    assert complete(keyvault, "keyvault rollback ac") == ["access-token"]
    kid = vault.active().kid
    assert complete(keyvault, f"keyvault revoke {kid[:10]}") == [kid]


def test_completion_outside_of_a_vault(fresh: Terminal) -> None:
    """Without a vault nothing is completed, and there is no error."""
    assert "".join(complete(fresh, "keyvault rotate id")) == ""
