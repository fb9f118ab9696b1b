"""docs/coming-from.md: the tests run each line of its tables, after the line of the other tool if that is installed."""

from __future__ import annotations

import json
import re
import shlex
import shutil
from datetime import timedelta
from pathlib import Path

import pytest

from tests.docs.other_tools import STAND_INS, write_files
from tests.docs.pages import read
from tests.docs.terminal import Terminal
from tests.docs.test_transcripts import AT_WORK
from tests.interop.foreign import build_step, needs, run

PAGE = read("docs/coming-from.md")

_CODE = re.compile(r"`([^`]+)`")


def tables() -> dict[str, list[list[str]]]:
    """Return the cells of each row below each heading, without table headers."""
    found: dict[str, list[list[str]]] = {}
    for part in re.split(r"^#+ ", PAGE, flags=re.MULTILINE)[1:]:
        title, *lines = part.splitlines()
        for line, after in zip(lines, [*lines[1:], ""], strict=True):
            if line.startswith("| ") and not after.startswith("|--"):
                cells = [cell.strip() for cell in re.split(r"(?<!\\)\|", line)[1:-1]]
                found.setdefault(title, []).append(cells)
    return found


TABLES = tables()


@pytest.fixture(scope="module")
def prepared(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a folder with a vault that has been in use for a month, and with files of other tools."""
    folder = tmp_path_factory.mktemp("coming-from")
    with pytest.MonkeyPatch.context() as patched:
        terminal = Terminal(folder, patched)
        # ES256 keys are generated fastest.
        for line in (f"{AT_WORK[0]} --set id-token:ES256 --set access-token:ES256", *AT_WORK[1:]):
            terminal.run(line)
        write_files(terminal, folder / "home" / "my-keys")
    return folder


@pytest.fixture
def terminal(prepared: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Terminal:
    """Return a terminal in a copy of that vault."""
    terminal = Terminal(tmp_path, monkeypatch)
    shutil.copytree(prepared, tmp_path, dirs_exist_ok=True)
    terminal.now += timedelta(days=30)
    monkeypatch.chdir(tmp_path / "home" / "my-keys")
    return terminal


def _token(terminal: Terminal) -> str:
    return terminal.run("keyvault token sign id-token --claim aud=app").strip()


def _kid(terminal: Terminal) -> str:
    listed = json.loads(terminal.run("keyvault key list access-token --json"))
    return next(key["kid"] for key in listed if key["state"] == "next")


def ours(terminal: Terminal, line: str) -> None:
    """Run a line of keyvault, which must succeed."""
    if "KID" in line.split():
        line = line.replace("KID", _kid(terminal))
    if "RSA-KID" in line:
        line = line.replace("RSA-KID", Path("rsa-kid").read_text())
    if "TOKEN" in line:
        line = line.replace("TOKEN", _token(terminal))
    for name in re.findall(r"(?:-o|--x509) (\S+\.\S+)", line):
        Path(name).unlink(missing_ok=True)

    printed = terminal.run(line)

    assert terminal.code == 0, f"{line}\n{printed}"


@pytest.mark.slow
@pytest.mark.parametrize("title", TABLES)
def test_each_line_of_a_table_works(title: str, terminal: Terminal) -> None:
    """The lines run in the order of the page."""
    for cells in TABLES[title]:
        (line,) = _CODE.findall(cells[1])
        assert line.startswith("keyvault ")
        ours(terminal, line)


def test_commands_are_in_tables_or_transcripts() -> None:
    """Commands are in tables, or in transcripts, which test_transcripts plays."""
    prose = "\n".join(line for line in PAGE.splitlines() if not line.startswith("|"))

    assert [code for code in _CODE.findall(prose) if code.startswith("keyvault ")] == []


def without_stand_ins() -> None:
    """Remove the files that the tools write themselves."""
    for name in STAND_INS:
        Path(name).unlink()


def theirs(line: str, step: Path | None = None) -> None:
    """Run a line of another tool; *step* is the path of step, if the line runs it."""
    words = shlex.split(line)
    source, target = b"", None
    if "<" in words:
        *words, _, name = words
        source = Path(name).read_bytes()
    if ">" in words:
        *words, _, target = words
    printed = run(*([step, *words[1:]] if step else words), stdin=source, cwd=Path.cwd())
    if target:
        Path(target).write_bytes(printed)


@pytest.mark.interop
def test_openssl_and_jose(terminal: Terminal) -> None:
    """The other tool writes a file, then keyvault reads it."""
    without_stand_ins()
    needs("openssl")
    needs("jose")
    for cells in TABLES["OpenSSL and jose"]:
        (line,) = _CODE.findall(cells[0])
        theirs(line)
        ours(terminal, _CODE.findall(cells[1])[0])


@pytest.mark.slow
@pytest.mark.interop
def test_step(terminal: Terminal, tmp_path: Path, tmp_path_factory: pytest.TempPathFactory) -> None:
    """The other tool runs first, then keyvault. `jwt verify` uses the machine's clock, so tests/interop covers it."""
    step = build_step(tmp_path_factory.mktemp("step"))
    without_stand_ins()
    Path("jwks.json").write_text('{"keys": []}')
    for cells in TABLES["step"]:
        (line,) = _CODE.findall(cells[0])
        if " jwt " not in line or " sign " in line:
            theirs(line, step)
        ours(terminal, _CODE.findall(cells[1])[0])
