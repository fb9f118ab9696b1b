"""Reports to GitHub Actions: the summary of the run, annotations and outputs; none of them elsewhere."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from tests.cli.terminal import Terminal
from tests.vaults import Vault


class Step:
    """The files that a step gets from the runner, and their contents."""

    def __init__(self, folder: Path) -> None:
        self.files = {name: folder / name.lower() for name in ("GITHUB_STEP_SUMMARY", "GITHUB_OUTPUT")}
        self.environ = {"GITHUB_ACTIONS": "true", **{name: str(path) for name, path in self.files.items()}}

    @property
    def summary(self) -> str:
        return self._text("GITHUB_STEP_SUMMARY")

    @property
    def outputs(self) -> dict[str, str]:
        return dict(line.split("=", 1) for line in self._text("GITHUB_OUTPUT").splitlines())

    def _text(self, name: str) -> str:
        return self.files[name].read_text() if self.files[name].exists() else ""


@pytest.fixture
def step(keyvault: Terminal, vault: Vault, tmp_path: Path) -> Step:
    made = Step(tmp_path)
    keyvault.environ.update(made.environ)
    return made


def annotations(text: str) -> list[tuple[str, str]]:
    """Return the level and message of each annotation."""
    return re.findall(r"^::(error|warning|notice) [^:\n]*::(.*)$", text, re.MULTILINE)


def rows(summary: str) -> list[list[str]]:
    """Return the cells of the tables, without their heads."""
    found = [line.strip("| ").split(" | ") for line in summary.splitlines() if line.startswith("| ")]
    return found[1:]


def test_a_rotation(keyvault: Terminal, vault: Vault, step: Step) -> None:
    """The step gets a table of events, the output `changed`, and the commit."""
    done = keyvault.ok("rotate", "id-token", "--force", "--reason", "a | test <b>", "--json")

    assert step.outputs == {"changed": "true", "commit": done.json["commit"]}
    assert [row[:2] for row in rows(step.summary)] == [
        [event["event"].replace("deactivated", "retiring").replace("activated", "active"), r"id\-token"]
        for event in done.json["events"]
    ]
    assert r"a \| test &lt;b>" in step.summary
    assert done.json["commit"][:12] in step.summary


def test_a_rotation_that_is_refused(keyvault: Terminal, vault: Vault, step: Step) -> None:
    """The error is an annotation on one line; stdout holds the JSON document of the error, and nothing else."""
    refused = keyvault("rotate", "id-token", "--json")

    message = refused.json["error"]["message"]
    assert refused.code == 3
    assert annotations(refused.err) == [("error", message)]
    assert f"keyvault: error: {message}\n" in refused.err


def test_nothing_was_due(keyvault: Terminal, vault: Vault, step: Step) -> None:
    """The summary says that there was nothing to do, and so does an output."""
    keyvault.ok("rotate", "--due")
    step.files["GITHUB_OUTPUT"].unlink()
    head = vault.git("rev-parse", "HEAD").strip()

    keyvault.ok("rotate", "--due")

    assert step.outputs == {"changed": "false", "commit": head}
    assert "Nothing to do." in step.summary


def test_check_shows_each_difference(keyvault: Terminal, vault: Vault, step: Step) -> None:
    """Each difference has a row and an annotation with its code."""
    seen = keyvault("check", "--json")

    assert seen.code == 4
    codes = [one["code"] for one in seen.json["findings"]]
    assert codes
    assert [row[0].replace("\\", "") for row in rows(step.summary)] == codes
    titles = re.findall(r"^::error title=([\w-]+)::", seen.err, re.MULTILINE)
    assert titles == [*codes[:9], "keyvault"]
    assert step.outputs == {"findings": str(len(codes))}


def test_guard_shows_where(keyvault: Terminal, vault: Vault, step: Step) -> None:
    """The annotation names the file, with characters of workflow commands escaped."""
    name = "a%0A::set-env,x=y::.pem"
    (vault.folder / name).write_text(
        "-----BEGIN PRIVATE KEY-----\n"
        "MC4CAQAwBQYDK2VwBCIEINTuctv5E1hK1bbY8fdp+K06/nwoy/HU++CXqI9EdVhC\n"
        "-----END PRIVATE KEY-----\n"
    )

    found = keyvault("guard", name)

    assert found.code == 5
    assert "::error file=a%250A%3A%3Aset-env%2Cx=y%3A%3A.pem,title=" in found.err
    assert not [line for line in found.err.splitlines() if line.startswith("::set-env")]
    assert step.outputs == {"findings": "1"}


def test_lint_diff_and_plan(keyvault: Terminal, vault: Vault, step: Step) -> None:
    """The commands of a review have tables and annotations."""
    keyvault.ok("rotate", "id-token", "--force", "--reason", "a test")
    step.files["GITHUB_STEP_SUMMARY"].unlink()

    keyvault.ok("diff", "HEAD~1", "HEAD")
    keyvault.ok("plan", "--until", "90d")
    keyvault("lint")

    titles = re.findall("^### (.*)$", step.summary, re.MULTILINE)
    assert titles == ["Changes of published keys", "Planned within 90d", "Problems that break verifiers"]
    assert {row[0] for row in rows(step.summary) if row[1] == r"id\-token"} >= {r"\+", r"\~"}


def test_elsewhere_and_quietly_nothing_is_told(keyvault: Terminal, vault: Vault, step: Step) -> None:
    """Without GITHUB_ACTIONS, or with --quiet, nothing is reported."""
    assert keyvault("--quiet", "check").err.count("::") == 0
    del keyvault.environ["GITHUB_ACTIONS"]
    assert "::" not in keyvault("check").err.replace("://", "")
    assert (step.summary, step.outputs) == ("", {})


def test_a_summary_that_cannot_be_written(keyvault: Terminal, vault: Vault, step: Step) -> None:
    """The commit stays, and the exit code is 0."""
    keyvault.environ["GITHUB_STEP_SUMMARY"] = str(vault.folder / "no" / "such" / "folder")
    assert keyvault("rotate", "id-token", "--force", "--reason", "a test").code == 0
