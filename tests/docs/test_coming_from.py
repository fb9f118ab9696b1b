"""docs/coming-from.md: each line of its tables is run, and where the other tool is there, its line before ours."""

from __future__ import annotations

import json
import re
import shlex
import shutil
from datetime import timedelta
from pathlib import Path

import pytest

from tests.docs.elsewhere import STAND_INS, bring
from tests.docs.pages import read
from tests.docs.terminal import Terminal
from tests.docs.test_transcripts import AT_WORK
from tests.interop.foreign import build_step, needs, run

PAGE = read("docs/coming-from.md")

_CODE = re.compile(r"`([^`]+)`")


def tables() -> dict[str, list[list[str]]]:
    """Return the cells of each row below each heading, without the heads of tables."""
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
    """The folder of somebody whose vault has been at work for a month, with files of other tools in it."""
    folder = tmp_path_factory.mktemp("coming-from")
    with pytest.MonkeyPatch.context() as patched:
        terminal = Terminal(folder, patched)
        # Keys for ES256 are made in no time.
        for line in (f"{AT_WORK[0]} --set id-token:ES256 --set access-token:ES256", *AT_WORK[1:]):
            terminal.run(line)
        bring(terminal, folder / "home" / "my-keys")
    return folder


@pytest.fixture
def terminal(prepared: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Terminal:
    """A terminal in a copy of that vault."""
    terminal = Terminal(tmp_path, monkeypatch)
    shutil.copytree(prepared, tmp_path, dirs_exist_ok=True)
    terminal.now += timedelta(days=30)
    monkeypatch.chdir(tmp_path / "home" / "my-keys")
    return terminal


def _token(terminal: Terminal) -> str:
    return terminal.run("keyvault token sign id-token --claim aud=app").strip()


def _kid(terminal: Terminal) -> str:
    listed = json.loads(terminal.run("keyvault key list access-token --json"))
    return next(one["kid"] for one in listed if one["state"] == "next")


def ours(terminal: Terminal, line: str) -> None:
    """Run a line of ours, which must do what it says."""
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
    """In the order of the page."""
    for cells in TABLES[title]:
        (line,) = _CODE.findall(cells[1])
        assert line.startswith("keyvault ")
        ours(terminal, line)


def test_no_line_stands_elsewhere() -> None:
    """What is not in a table is in a transcript, which test_transcripts plays."""
    prose = "\n".join(line for line in PAGE.splitlines() if not line.startswith("|"))

    assert [code for code in _CODE.findall(prose) if code.startswith("keyvault ")] == []


def without_stand_ins() -> None:
    """Take away what the tools write themselves."""
    for name in STAND_INS:
        Path(name).unlink()


def theirs(line: str, step: Path | None = None) -> None:
    """Run a line of another tool; *step* is where that lies, if it is the one."""
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
    """Theirs, then ours, which reads what theirs has written."""
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
    """Theirs, then ours. `jwt verify` asks the machine's clock, so it is left to tests/interop."""
    step = build_step(tmp_path_factory.mktemp("step"))
    without_stand_ins()
    Path("jwks.json").write_text('{"keys": []}')
    for cells in TABLES["step"]:
        (line,) = _CODE.findall(cells[0])
        if " jwt " not in line or " sign " in line:
            theirs(line, step)
        ours(terminal, _CODE.findall(cells[1])[0])
