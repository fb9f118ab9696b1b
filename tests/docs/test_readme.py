"""The README's transcript and examples work as it says."""

from __future__ import annotations

import base64
import json
import shutil
import subprocess
from datetime import UTC, datetime
from pathlib import Path

import pytest

from keyvault.cli import main
from tests.docs.pages import fenced, read
from tests.docs.terminal import Terminal, placeholders

README = read("README.md")


def test_the_transcript_equals_the_output(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Kids, commits and labels differ between runs; everything else is compared, even instants."""
    [transcript] = fenced(README, "console")

    played = Terminal(tmp_path, monkeypatch).play(transcript)

    assert placeholders(played) == placeholders(transcript)


def test_the_terminal_refuses_unknown_commands(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A new command in the README is never skipped silently."""
    with pytest.raises(AssertionError, match="does not know"):
        Terminal(tmp_path, monkeypatch).play("$ ls\n")


@pytest.fixture
def vault(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Return a vault called my-keys in the working directory, created at the present instant."""
    terminal = Terminal(tmp_path, monkeypatch)
    monkeypatch.setattr(main, "clock", lambda: datetime.now(UTC).replace(microsecond=0))
    terminal.run("keyvault init my-keys --url https://keys.example.com")
    return Path("my-keys")


def test_the_python_example_runs(vault: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Its token verifies, and it prints every key and the planned transitions."""
    [example] = fenced(README, "python")
    names: dict[str, object] = {}

    exec(compile(example, "README.md", "exec"), names)  # noqa: S102 - the example is ours

    printed = capsys.readouterr().out.splitlines()
    assert sum(line.endswith(("RS256", "ES256")) for line in printed) == 4
    assert any(line.endswith("id-token activated") for line in printed)
    assert main.run(["--vault", str(vault), "token", "verify", str(names["token"]), "--aud", "app"]) == 0


@pytest.mark.interop
@pytest.mark.skipif(not (shutil.which("jose") and shutil.which("jq")), reason="jose and jq are not installed")
def test_other_tools_open_a_private_key(vault: Path) -> None:
    """The jq and jose line, with its capitals replaced, prints the private JWK."""
    [line] = [line for block in fenced(README, "sh") for line in block.splitlines() if line.startswith("jq ")]
    [identity] = (Path.cwd() / ".config" / "keyvault" / "identities").glob("*.json")
    record = next(path for path in (vault / "keys.enc" / "access-token").glob("*.json"))
    line = line.replace("SET/KID.json", f"access-token/{record.name}").replace("IDENTITY.json", str(identity))

    opened = subprocess.run(["sh", "-c", line], cwd=vault, capture_output=True, check=True)

    private = json.loads(opened.stdout)
    assert private["kid"] == record.stem
    assert len(base64.urlsafe_b64decode(private["d"] + "=")) == 32
