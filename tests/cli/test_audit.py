"""`audit` on the command line: its output, its exit codes, and `publish` after a failed audit."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from keyvault.cli.audit import SHOWN_MAX
from tests.cli.terminal import Terminal
from tests.cli.test_actions import Step, annotations, rows
from tests.vaults import HOUR, Vault, copy_vault

NASTY = "keys.enc/\x1b[2J\u202eevil|`x`.txt"


@pytest.fixture
def bad(vault: Vault) -> str:
    """The commit that removed the record of the active key."""
    vault.wait(HOUR)
    commit = vault.commit({vault.active().path: None})
    vault.commit({"README.md": "hello"})
    return commit


def test_a_good_history(keyvault: Terminal, vault: Vault) -> None:
    """A single line names the audited commits; exit code 0."""
    result = keyvault("audit")
    assert (result.code, result.err) == (0, "")
    assert result.out == f"audited 1 commit up to {vault.head[:12]}: no errors\n"
    vault.commit({"README.md": "hello"})
    assert keyvault.ok("audit").out == f"audited 2 commits up to {vault.head[:12]}: no errors\n"
    assert keyvault.ok("-q", "audit").out == ""


def test_findings(keyvault: Terminal, vault: Vault, bad: str) -> None:
    """Each finding is a line with commit, code, file and message; exit code 5, with a hint where codes are explained."""
    result = keyvault("audit")
    assert result.code == 5
    assert [line.split()[:3] for line in result.lines] == [
        ["error", bad[:12], "record-removed"],
        ["error", bad[:12], "active-missing"],
    ]
    assert "the record of" in result.lines[0]
    assert result.error == "audit failed: 2 errors in 3 commits"
    assert result.hint == "docs/audit.md explains each code"


def test_notes_are_no_errors(keyvault: Terminal, vault: Vault) -> None:
    """A forced rotation is a note: it is shown, and the exit code is 0."""
    keyvault.ok("rotate", "id-token", "--force", "--reason", "a test")
    result = keyvault.ok("audit")
    assert result.lines[0].split()[:3] == ["note", vault.head[:12], "forced"]
    assert result.lines[1].endswith(": no errors")
    assert keyvault.ok("-q", "audit").out == ""


def test_json(keyvault: Terminal, vault: Vault, bad: str) -> None:
    """JSON has all findings; the exit code is the same."""
    result = keyvault("audit", "--json")
    assert result.code == 5
    assert {name: result.json[name] for name in ("commit", "since", "commits")} == {
        "commit": vault.head,
        "since": None,
        "commits": 3,
    }
    assert [(one["code"], one["level"], one["commit"]) for one in result.json["findings"]] == [
        ("record-removed", "error", bad),
        ("active-missing", "error", bad),
    ]
    assert {"path", "message"} < set(result.json["findings"][0])


def test_quietly(keyvault: Terminal, vault: Vault, bad: str) -> None:
    """With -q, stdout has only the codes and commits of errors."""
    keyvault("rotate", "access-token", "--force", "--reason", "a test")
    result = keyvault("-q", "audit")
    assert (result.code, result.lines) == (5, [f"record-removed {bad}", f"active-missing {bad}"])


def test_many_of_a_code(keyvault: Terminal, vault: Vault) -> None:
    """Of each code, the first findings are shown, and the number of the rest."""
    vault.commit({f"keys.enc/{number}.txt": "hello" for number in range(SHOWN_MAX + 3)})
    result = keyvault("audit")
    assert len(result.lines) == SHOWN_MAX
    assert "and 3 more unexpected-path; --json prints all" in result.err
    assert len(keyvault("audit", "--json").json["findings"]) == SHOWN_MAX + 3


def test_a_revision(keyvault: Terminal, vault: Vault, bad: str) -> None:
    """An older commit can be audited; an unknown commit is an error."""
    assert keyvault.ok("audit", f"{bad}~1").out.startswith("audited 1 commit up to ")
    missing = keyvault("audit", "no-such-branch")
    assert (missing.code, missing.problem, "'no-such-branch'" in missing.error) == (1, "revision-unknown", True)
    assert keyvault("audit", "--all").code == 2


def test_since(keyvault: Terminal, vault: Vault, bad: str) -> None:
    """After a trusted commit fewer commits are audited, and the output names that commit."""
    result = keyvault.ok("audit", "--since", bad)
    assert result.out == f"audited 1 commit up to {vault.head[:12]} after {bad[:12]}: no errors\n"
    assert keyvault.ok("audit", "--since", bad, "--json").json["since"] == bad
    assert keyvault.ok("audit", "--since", "HEAD").out.startswith("audited 0 commits up to ")
    unknown = keyvault("audit", "--since", "no-such-commit")
    assert unknown.code == 5
    assert "pin-missing" in [line.split()[2] for line in unknown.lines]


@pytest.mark.parametrize("pin", ["1" * 40, "no-such-tag", "--all", "-h"])
def test_a_pin_that_is_not_there(pin: str, keyvault: Terminal, vault: Vault) -> None:
    """An unknown pin is a finding: the commit may have been part of an earlier history."""
    result = keyvault("audit", f"--pin={pin}")
    assert (result.code, result.lines[0].split()[:3]) == (5, ["error", vault.head[:12], "pin-missing"])
    assert result.error == "audit failed: 1 error in 1 commit"


def test_a_pin(keyvault: Terminal, vault: Vault, bad: str) -> None:
    """A pin in the history is no finding, however it is spelled."""
    for pin in (f"{bad}~1", bad[:10], "HEAD", "main"):
        assert "pin-missing" not in keyvault("audit", "--pin", pin).out


def test_signers(keyvault: Terminal, vault: Vault, tmp_path: Path) -> None:
    """An unreadable or empty file is wrong usage; with the keys of others, every commit is unsigned."""
    lines = tmp_path / "signers"
    for path, code in (
        (tmp_path / "none", "file-unreadable"),
        (tmp_path, "file-unreadable"),
        (lines, "signers-empty"),
    ):
        lines.write_text("\n")
        result = keyvault("audit", "--signers", path)
        assert (result.code, result.out, result.problem) == (2, "", code)
        assert str(path) in result.error
    lines.write_text("ada@example.com ssh-ed25519 AAAA\n")
    result = keyvault("-q", "audit", "--signers", lines)
    assert (result.code, result.lines) == (5, [f"unsigned {vault.head}"])


def test_exclude(keyvault: Terminal, vault: Vault) -> None:
    """--exclude skips paths outside of the vault."""
    pem = "-----BEGIN PRIVATE KEY-----\n" + "A" * 64 + "\n-----END PRIVATE KEY-----\n"
    vault.commit({"tests/key.pem": pem})
    assert keyvault("-q", "audit").lines == [f"private-in-clear {vault.head}"]
    assert keyvault("audit", "--exclude", "docs/*").code == 5
    assert keyvault("audit", "--exclude", "docs/*", "--exclude", "tests/*").code == 0


def test_history_that_was_cut_off(keyvault: Terminal, vault: Vault, bad: str) -> None:
    """An audit of a shallow clone fails."""
    shallow = copy_vault(vault, vault.top / "copy").clone("shallow", "--depth=1", source=vault.folder.as_uri())
    result = Terminal.of(shallow)("audit")
    assert (result.code, result.out) == (1, "")
    assert result.problem == "clone-shallow"
    assert "git fetch --unshallow" in str(result.hint)


def test_outside_of_a_vault(fresh: Terminal) -> None:
    """Without a vault the audit fails."""
    assert fresh("audit").code == 1


def test_nothing_raw_reaches_the_terminal(keyvault: Terminal, vault: Vault) -> None:
    """Escapes, overrides and line breaks in paths, notes and names are shown, not obeyed."""
    key = vault.active()
    vault.plant(NASTY, "hello")
    record = vault.files()[key.path].decode()
    nasty = "\\u001b[31m\\u202e\\n::set-output::" + "\u2066x"
    vault.plant(
        key.path, record.replace('"event": "activated",', f'"event": "activated",\n      "note": "{nasty}",', 1)
    )
    vault.plant(f"keys.enc/id\u202e/{key.kid}.json", record.replace('"id-token"', '"id\u202e"'))
    for arguments in (("audit",), ("-q", "audit"), ("audit", "--pin", "\x1b[2J\u202e"), ("audit", "\x1b[2J")):
        keyvault.tty = True
        result = keyvault(*arguments, NO_COLOR="1")
        assert result.code in (1, 5)
        for text in (result.out, result.err):
            assert all(char == "\n" or char.isprintable() for char in text), ascii(text)
    keyvault.tty = False
    assert NASTY.encode("unicode_escape").decode() in keyvault("audit").out
    assert "\u202e" not in keyvault("audit", "--json").out


@pytest.fixture
def step(keyvault: Terminal, tmp_path: Path) -> Step:
    made = Step(tmp_path)
    keyvault.environ.update(made.environ)
    return made


def test_github_actions(keyvault: Terminal, vault: Vault, bad: str, step: Step) -> None:
    """The step gets a table, an annotation for each error beside its file, and the number of errors."""
    vault.plant(NASTY, "hello")
    result = keyvault("audit", "--json")
    found = result.json["findings"]
    assert step.outputs == {"findings": str(len(found))} == {"findings": "3"}
    assert [row[1].replace("\\", "") for row in rows(step.summary)] == [one["code"] for one in found]
    assert step.summary.startswith("### Audit of 4 commits\n")
    assert re.search(r"\\\|\\`x\\`", step.summary)
    assert [level for level, _ in annotations(result.err)] == ["error"] * 4
    assert re.findall(r"^::error file=([^,]*),title=", result.err, re.MULTILINE)[0] == found[0]["path"]


def test_github_actions_where_all_is_well(keyvault: Terminal, vault: Vault, step: Step) -> None:
    """The summary says that there are no findings; with --quiet nothing is reported."""
    keyvault.ok("-q", "audit")
    assert (step.summary, step.outputs) == ("", {})
    keyvault.ok("audit")
    assert "No findings." in step.summary
    assert step.outputs == {"findings": "0"}


# --- publish --------------------------------------------------------------------------------------------


def test_publish_refuses(keyvault: Terminal, vault: Vault, bad: str, tmp_path: Path) -> None:
    """`publish` refuses if the audit fails, and writes nothing; --force publishes."""
    place = tmp_path / "www"
    result = keyvault("publish", str(place))
    assert (result.code, result.out) == (5, "")
    assert result.error == (
        f"audit failed: record-removed in commit {bad[:12]}: "
        f"{keyvault('audit', '--json').json['findings'][0]['message']} (and 1 more)"
    )
    assert result.hint == "keyvault repair --dry-run lists what it would repair; keyvault audit lists all findings"
    assert not place.exists()
    assert keyvault("publish", str(place), "--dry-run").code == 5

    keyvault.ok("publish", str(place), "--force")
    assert (place / ".well-known" / "jwks.json").is_file()


def test_publish_goes_on_after_notes(keyvault: Terminal, vault: Vault, tmp_path: Path) -> None:
    """Notes do not stop `publish`."""
    keyvault.ok("rotate", "id-token", "--force", "--reason", "a test")
    assert {one["level"] for one in keyvault.ok("audit", "--json").json["findings"]} == {"note"}
    keyvault.ok("publish", str(tmp_path / "www"))


def test_publish_of_an_older_commit(keyvault: Terminal, vault: Vault, bad: str, tmp_path: Path) -> None:
    """Only the history of the published commit is audited."""
    keyvault.ok("publish", str(tmp_path / "www"), "--ref", f"{bad}~1")


# --- in a process of its own ----------------------------------------------------------------------------


def test_as_a_process(vault: Vault) -> None:
    """The exit code and the streams are those of the program; no traceback, whatever the vault holds."""
    assert vault.run("audit").returncode == 0
    vault.commit({"keyvault.toml": "[[", "keys.enc/recipients.json": "{", vault.active().path: "["})
    done = vault.run("audit")
    assert done.returncode == 5
    assert {line.split()[2] for line in done.stdout.splitlines()} == {
        "policy-malformed",
        "recipients-malformed",
        "record-malformed",
    }
    assert "Traceback" not in done.stderr


def test_help(fresh: Terminal) -> None:
    """Help explains the exit code and every option; tests of all commands check its examples."""
    text = fresh.ok("audit", "--help").out
    for word in ("Exits with 5", "--since", "--pin", "--signers", "--exclude", "--json", "keyvault audit --pin"):
        assert word in text
