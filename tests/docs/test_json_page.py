"""docs/json.md names the members of ``--json`` in their order."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import msgspec
import pytest

from keyvault.operations import reports
from tests.docs.pages import first_column, read, sections
from tests.docs.terminal import Terminal
from tests.docs.test_cli_page import COMMANDS, options

SECTIONS = sections(read("docs/json.md"))

STRUCTS = {
    "Change": reports.ChangeReport,
    "Import": reports.ImportReport,
    "Imported key": reports.ImportedKey,
    "Repair": reports.RepairReport,
    "Damage": reports.DamageReport,
    "Event": reports.EventReport,
    "Status": reports.StatusReport,
    "Set": reports.SetReport,
    "Key": reports.KeyReport,
    "Key with its life": reports.KeyDetail,
    "Transition": reports.TransitionReport,
    "Rehearsal": reports.RehearsalReport,
    "Verdict": reports.VerdictReport,
}


def members(section: str) -> list[str]:
    """Return the member names in the table of *section*."""
    return [cell.strip("`") for cell in first_column(SECTIONS[section])]


def test_every_report_has_a_section() -> None:
    """Each struct of the reports has a section."""
    defined = {
        value
        for value in vars(reports).values()
        if isinstance(value, type) and issubclass(value, msgspec.Struct) and value.__module__ == reports.__name__
    }

    assert set(STRUCTS.values()) == defined


@pytest.mark.parametrize("section", STRUCTS)
def test_members_of_a_report(section: str) -> None:
    """Names and order equal those of the struct."""
    assert members(section) == list(STRUCTS[section].__struct_fields__)


def test_every_command_with_json_is_listed() -> None:
    """The table at the top lists each command."""
    listed = {name for cell in first_column(SECTIONS["JSON output"]) for name in cell.replace("`", "").split(", ")}

    assert listed == {name for name, command in COMMANDS.items() if "--json" in options(command)}


def test_members_that_commands_print(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Shapes without a struct equal the output of the commands."""
    terminal = Terminal(tmp_path, monkeypatch)

    def ask(line: str) -> Any:
        terminal.run(f"keyvault {line} > answer")
        return json.loads(Path("answer").read_text())

    assert list(ask("init my-keys --url https://keys.example.com --json")) == members("init")
    terminal.run("cd my-keys")
    assert list(ask("render --json")) == members("render")
    assert list(ask("publish www --json")) == members("publish")
    assert list(ask("audit --json")) == members("audit")
    assert list(ask("plan --simulate --json")[0]) == members("Rehearsal")
    assert list(ask("check --json")) == members("check")
    assert list(ask("diff HEAD HEAD --json")) == members("diff")
    assert list(ask("guard --json")) == members("guard")
    assert list(ask("merge-driver --install --json")) == members("merge-driver")
    assert list(ask("repair --json")) == members("Repair")
    linted = ask("lint --for entra --json")
    assert list(linted) == members("lint")
    for name, rows in (("documents", linted["documents"]), ("findings", linted["findings"])):
        row = next(line for line in SECTIONS["lint"].splitlines() if line.startswith(f"| `{name}`"))
        assert [member for member in rows[0] if f"`{member}`" not in row] == []
    assert list(ask("recipient check --json")) == members("recipient check")
    assert [list(entry) for entry in ask("identity list --json")] == [members("identity list")]
    terminal.run("keyvault token sign id-token > token")
    token = Path("token").read_text().strip()
    assert list(ask(f"token inspect {token} --json")) == members("token inspect")
    assert list(ask(f"token verify {token} --json")) == members("token verify")
    assert list(ask("status --json")) == members("Status")
    assert list(ask("set list --json")[0]) == members("Set")
    assert list(ask("key list --json")[0]) == members("Key")
    assert list(ask("plan --json")[0]) == members("Transition")
    changed = ask('rotate id-token --force --reason "as a test" --json')
    assert list(changed) == members("Change")
    assert set(changed["events"][0]) <= set(members("Event"))
    assert list(ask(f"key show {changed['events'][0]['kid']} --json")) == members("Key with its life")
