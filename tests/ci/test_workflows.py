"""The workflows are pinned, need no secrets, equal the shipped copies, and pass zizmor."""

from __future__ import annotations

import re
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import yaml

import keyvault

PROJECT = Path(__file__).parent.parent.parent
WORKFLOWS = sorted((PROJECT / ".github" / "workflows").glob("*.yml"))
ACTIONS = sorted((PROJECT / ".github" / "actions").glob("*/action.yml"))
SHIPPED = Path(keyvault.__file__).parent / "ci" / "github"
MAIN = PROJECT / ".github" / "workflows" / "rotate-and-publish.yml"


def load(path: Path) -> dict[Any, Any]:
    return dict(yaml.safe_load(path.read_text()))


def test_what_is_shipped_is_what_runs_here() -> None:
    """The repository's workflows, action and lock files equal the shipped ones."""
    for name in ("rotate-and-publish.yml", "pull-request.yml"):
        assert (SHIPPED / name).read_bytes() == (PROJECT / ".github/workflows" / name).read_bytes()
    for name in ("requirements.lock", "requirements-build.lock"):
        assert (SHIPPED.parent / name).read_bytes() == (PROJECT / name).read_bytes()
    assert (SHIPPED / "action.yml").read_bytes() == (PROJECT / ".github/actions/keyvault/action.yml").read_bytes()


@pytest.mark.parametrize("path", [*WORKFLOWS, *ACTIONS], ids=lambda path: path.parent.name + "-" + path.stem)
def test_actions_are_pinned_by_commit(path: Path) -> None:
    """A tag can be moved; a commit cannot. The version is in a comment, for readers."""
    for line in path.read_text().splitlines():
        match = re.match(r"\s*(?:- )?uses: (\S+)(.*)", line)
        if match and not match[1].startswith("./"):
            assert re.fullmatch(r"[\w.-]+/[\w./-]+@[0-9a-f]{40}", match[1]), line
            assert re.fullmatch(r" # v\d+\.\d+\.\d+", match[2]), line


@pytest.mark.parametrize("path", WORKFLOWS, ids=lambda path: path.stem)
def test_permissions_are_given_one_by_one(path: Path) -> None:
    """The workflow has no permissions; each job lists those that it needs, with reasons."""
    workflow = load(path)
    assert workflow["permissions"] == {}
    for job in workflow["jobs"].values():
        assert isinstance(job["permissions"], dict)
    for line in path.read_text().splitlines():
        if re.match(r"\s+[a-z-]+: (?:read|write)\b", line):
            assert " # " in line, line


PUSHING = {"KEYVAULT_PUSH_TOKEN", "KEYVAULT_APP_PRIVATE_KEY"}


def test_who_may_do_what() -> None:
    """Jobs that deploy cannot push to the vault; only for a branch GitHub has no narrower permission."""
    jobs = load(MAIN)["jobs"]
    assert jobs["rotate"]["permissions"] == {"contents": "write"}
    writing = {name for name, job in jobs.items() if job["permissions"].get("contents") == "write"}
    assert writing == {"rotate", "propose", "deploy-branch"}
    assert jobs["deploy-repository"]["permissions"] == {"contents": "read"}
    assert jobs["keepalive"]["permissions"] == {"actions": "write"}
    # Only what deploys proves who it is, and it runs nothing of the repository before.
    assert {name for name, job in jobs.items() if "id-token" in job["permissions"]} == {"deploy-pages", "deploy-store"}


def test_which_job_sees_which_secret() -> None:
    """Each secret is visible only to the jobs and steps that need it."""
    seen: dict[str, set[str]] = {}
    for name, job in load(MAIN)["jobs"].items():
        assert "secrets." not in str(job.get("env", {}))
        for step in job["steps"]:
            secrets = set(re.findall(r"secrets\.(\w+)", str(step)))
            if secrets:
                seen.setdefault(name, set()).update(secrets)
                assert step.get("name") in ("Rotate", "Publish", "One pull request, merged when its checks pass") or (
                    secrets <= PUSHING and "uses" in step
                )
    assert seen == {
        "rotate": {*PUSHING, "KEYVAULT_DEPLOY_KEY"},
        "propose": PUSHING,
        "deploy-store": {"AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY", "CLOUDFLARE_API_TOKEN"},
        "deploy-branch": {"CLOUDFLARE_API_TOKEN"},
        "deploy-repository": {"KEYVAULT_DEPLOY_REPOSITORY_KEY", "CLOUDFLARE_API_TOKEN"},
    }


def test_nothing_foreign_is_put_into_a_script() -> None:
    """Expressions appear only in `env:`, `if:` and `with:`, so their values are data."""
    for path in (*WORKFLOWS, *ACTIONS):
        document = load(path)
        jobs = document.get("jobs", {"action": document.get("runs", {})})
        for job in jobs.values():
            for step in job["steps"]:
                assert "${{" not in step.get("run", ""), (path.name, step.get("name"))


def test_every_checkout_leaves_no_credentials_but_the_one_that_pushes() -> None:
    """And all jobs that read the vault fetch its whole history."""
    for name, job in load(MAIN)["jobs"].items():
        for step in job["steps"]:
            if "actions/checkout@" in step.get("uses", ""):
                assert step["with"]["persist-credentials"] is (name in ("rotate", "deploy-branch")), name
                assert name == "look" or step["with"]["fetch-depth"] == 0, name


def test_zizmor_has_no_complaint() -> None:
    """In its strictest mode."""
    program = shutil.which("zizmor", path=str(Path(sys.executable).parent))
    assert program is not None
    done = subprocess.run(
        [program, "--persona", "pedantic", "--offline", "--no-progress", str(PROJECT / ".github")],
        capture_output=True,
        text=True,
        timeout=120,
    )
    assert done.returncode == 0, done.stdout + done.stderr
