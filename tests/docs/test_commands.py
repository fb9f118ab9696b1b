"""The program parses every keyvault command in the documentation's blocks."""

from __future__ import annotations

import re
import shlex
from collections.abc import Iterator

import pytest
from typer.main import get_command

from keyvault.cli.main import app
from tests.docs.pages import REPOSITORY, fenced, pages, prose
from tests.docs.test_cli_page import COMMANDS, options

APP = get_command(app)

#: Commands and options that the pages name and the program does not have yet. An entry is removed when it exists.
NOT_YET: dict[str, set[str]] = {}

_OPERATORS = re.compile(r"[();<>|&]+")
_INLINE = re.compile(r"`(keyvault [^`]+)`")


def simple_commands(script: str) -> Iterator[list[str]]:
    """Yield the words of each simple command of *script*, between the operators of a shell."""
    pending = ""
    for line in script.replace("\\\n", " ").splitlines():
        pending += line + "\n"
        lexer = shlex.shlex(pending, posix=True, punctuation_chars=True)
        lexer.whitespace_split = True
        try:
            tokens = list(lexer)
        except ValueError:  # a quotation that continues on the next line
            continue
        pending = ""
        words: list[str] = []
        for token, before in zip([*tokens, ";"], ["", *tokens], strict=True):
            if token in ("<", ">", ">>") or before in ("<", ">", ">>"):
                continue  # a file
            if not _OPERATORS.fullmatch(token):
                words.append(token)
                continue
            yield words
            words = []


def keyvault_commands(text: str) -> Iterator[list[str]]:
    """Yield the arguments of each call of keyvault in the blocks of a page."""
    blocks = fenced(text, "sh")
    for transcript in fenced(text, "console"):
        blocks += re.findall(r"^\$ (.+)$", transcript, re.MULTILINE)
    for block in blocks:
        for words in simple_commands(block):
            while words and re.fullmatch(r"[A-Z_]+=.*|\$|exec|if|then", words[0], re.DOTALL):
                words = words[1:]
            if words[:1] == ["keyvault"]:
                yield words[1:]


def name_of(arguments: list[str]) -> str:
    """Return the name of the command that *arguments* call."""
    words = [word for word in arguments if not word.startswith("-")]
    for length in (2, 1):
        name = " ".join(words[:length])
        if name in COMMANDS or name in NOT_YET:
            return name
    raise AssertionError(f"there is no command {words[:2]}")


BLOCKS = [
    pytest.param(arguments, id=f"{page.relative_to(REPOSITORY)}: {shlex.join(arguments)}")
    for page in pages()
    for arguments in keyvault_commands(page.read_text(encoding="utf-8"))
]
INLINE = sorted({code for page in pages() for code in _INLINE.findall(prose(page.read_text(encoding="utf-8")))})


@pytest.mark.parametrize("arguments", BLOCKS)
def test_a_command_of_a_block_is_parsed(arguments: list[str]) -> None:
    """The program parses it with its options, their values and its arguments, without running it."""
    name = name_of(arguments)
    early = NOT_YET.get(name, set())
    given = {word.partition("=")[0] for word in arguments if word.startswith("--")}
    if given & early or name not in COMMANDS:
        assert given <= early | (options(COMMANDS[name]) if name in COMMANDS else set())
        return
    context = APP.make_context("keyvault", list(arguments))
    command, rest = APP, [*context._protected_args, *context.args]
    while hasattr(command, "commands"):
        found, command, rest = command.resolve_command(context, rest)
        context = command.make_context(found, rest, parent=context)
        rest = [*getattr(context, "_protected_args", []), *context.args]


@pytest.mark.parametrize("code", INLINE)
def test_a_command_in_a_sentence_exists(code: str) -> None:
    """The command exists and has the options in the sentence."""
    words = code.removeprefix("keyvault ").split()
    if not re.fullmatch(r"[a-z]+", words[0]):
        return  # options of any command: keyvault -vv …, keyvault COMMAND --help
    name = name_of(words)
    known = options(COMMANDS[name]) if name in COMMANDS else set()

    assert set(re.findall(r"--[a-z][a-z0-9-]*", code)) - {"--help"} <= known | NOT_YET.get(name, set())


def test_missing_commands_are_missing() -> None:
    """Commands and options on the list do not exist yet."""
    for name, early in NOT_YET.items():
        assert name not in COMMANDS or not early & options(COMMANDS[name])
