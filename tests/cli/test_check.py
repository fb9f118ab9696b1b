"""``check`` and ``publish`` on the command line."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import pytest

from keyvault.core.drift import CODES
from keyvault.publish import live
from tests.cli.terminal import Terminal
from tests.vaults import SITE, make_vault

GOOD = {
    "content-type": "application/json",
    "cache-control": "max-age=600",
    "access-control-allow-origin": "*",
}


#: What the host sends for a file without an extension.
EXTENSIONLESS = {"type": "application/json"}


@pytest.fixture
def terminal(tmp_path: Path) -> Terminal:
    """A terminal in a vault whose site was rendered to the folder www beside it."""
    terminal = Terminal.of(make_vault(tmp_path, sets=("id-token:ES256",)))
    terminal.ok("publish", tmp_path / "www")
    return terminal


@pytest.fixture
def served(terminal: Terminal, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[[], Path]:
    """A host that serves the folder www."""
    folder = tmp_path / "www"

    def request(url: str, *, max_bytes: int = live.BODY_MAX, verify: bool = True) -> live.Answer:
        path = folder / (url.removeprefix(SITE).strip("/") or "index.html")
        found = path.is_file()
        body = path.read_bytes() if found else b""
        kind = {"content-type": EXTENSIONLESS["type"]} if "." not in path.name else {}
        return live.Answer(
            url, 200 if found else 404, {**GOOD, **kind}, body[:max_bytes], len(body) <= max_bytes, (), None
        )

    monkeypatch.setattr(live, "request", request)
    monkeypatch.setitem(EXTENSIONLESS, "type", "application/json")
    return lambda: folder


def test_nothing_differs(terminal: Terminal, served: Callable[[], Path]) -> None:
    """A single line is printed, none with -q; exit code 0."""
    done = terminal.ok("check")
    assert done.lines == [
        f"{SITE} serves commit {terminal.vault.head[:12]}: compared 5 documents, nothing differs"  # type: ignore[union-attr] # it has a vault
    ]
    assert terminal.ok("-q", "check").out == ""
    assert terminal.ok("check", "--json").json["findings"] == []


def test_a_warning_is_said_and_ends_with_zero(terminal: Terminal, served: Callable[[], Path]) -> None:
    """Warnings leave the exit code at 0: a scheduled check of GitHub Pages must not fail at every run."""
    EXTENSIONLESS["type"] = "application/octet-stream"
    done = terminal.ok("check")

    assert done.lines[-1].endswith("documents, nothing differs")
    assert done.lines[0].split()[:3] == ["warning", "discovery-type", f"{SITE}/.well-known/openid-configuration"]
    assert "Spring Security" in done.lines[0]
    assert terminal.ok("-q", "check").lines == ["discovery-type"]
    assert [one["level"] for one in terminal.ok("check", "--json").json["findings"]] == ["warning"]

    (served() / ".well-known/jwks.json").write_text('{"keys": []}')
    done = terminal("check")
    assert (done.code, [line.split()[:2] for line in done.lines]) == (
        4,
        [["error", "empty"], ["error", "active-missing"], ["error", "next-missing"], ["warning", "discovery-type"]],
    )
    assert done.error.endswith(": 3 findings")


def test_findings_are_a_table_and_exit_code_four(terminal: Terminal, served: Callable[[], Path]) -> None:
    """Each row has code, place and message; the error counts the rows and names the page that explains them."""
    (served() / ".well-known/jwks.json").write_text('{"keys": []}')
    done = terminal("check")
    assert done.code == 4
    assert [line.split()[0] for line in done.lines] == ["empty", "active-missing", "next-missing"]
    assert done.error.endswith(": 3 findings")
    assert "docs/check.md" in (done.hint or "")
    assert terminal("-q", "check").lines == ["empty", "active-missing", "next-missing"]
    found = terminal("check", "--json")
    assert (found.code, {one["code"] for one in found.json["findings"]} <= set(CODES)) == (4, True)


@pytest.mark.parametrize(
    ("arguments", "code", "message"),
    [
        (("check", "--wait", "soon"), 2, "--wait"),
        (("check", "--wait", "-1m"), 2, ""),
        (("check", "--ref", "nowhere"), 1, "nowhere"),
        (("check", f"{SITE}/nowhere"), 1, "nothing is published below"),
        (("publish",), 2, "DEST"),
        (("publish", "ftp://x"), 2, "unsupported destination: "),
        (("publish", "www", "--ref", "nowhere"), 1, "nowhere"),
    ],
)
def test_bad_input(terminal: Terminal, arguments: tuple[str, ...], code: int, message: str) -> None:
    """The error is a single line, with the documented exit code."""
    done = terminal(*arguments)
    assert (done.code, done.out) == (code, "")
    assert message in done.err
    assert "Traceback" not in done.err


def test_publish_says_what_it_did(terminal: Terminal, tmp_path: Path) -> None:
    """A single line is printed; a dry run lists the changes, -q prints the commit, JSON has everything."""
    head = terminal.vault.head  # type: ignore[union-attr] # it has a vault
    would = terminal.ok("publish", tmp_path / "new", "--dry-run")
    assert {line.split()[0] for line in would.lines[:-1]} == {"upload"}
    assert would.lines[-1].startswith(f"would publish commit {head[:12]} to {tmp_path}/new: ")
    done = terminal.ok("publish", tmp_path / "new")
    assert len(done.lines) == 1
    assert "0 deleted" in done.out
    (tmp_path / "new" / "junk").touch()
    assert "delete  junk" in terminal.ok("publish", tmp_path / "new", "--dry-run").out
    answer = terminal.ok("publish", tmp_path / "new", "--json").json
    assert (answer["previous"], answer["uploaded"], answer["deleted"]) == (head, [], ["junk"])
    assert terminal.ok("-q", "publish", tmp_path / "new").out == head + "\n"
    assert json.loads((tmp_path / "new" / "history.json").read_text())["commit"] == head
