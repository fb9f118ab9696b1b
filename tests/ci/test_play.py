"""
Half a year of the workflow's own steps: a bare remote, a web server, an S3 server, late and dropped schedules, failing
deploys. Services that verify tokens run the whole time and never restart.
"""

from __future__ import annotations

import json
import os
import random
import re
import shutil
import subprocess
import sys
import tarfile
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from keyvault.operations import setup
from keyvault.operations.new_vault import NewVault, parse_sets
from keyvault.operations.scaffold import ci_files
from tests.ci.forked import command
from tests.ci.player import Handler, Job, Player, StepFailure
from tests.ci.verifiers import Verifiers
from tests.publish.servers import BUCKET, Store, seaweedfs
from tests.publish.test_check import Host, _serving
from tests.vaults import T0, environment, run_git

AUDIENCE = "app"
PREFIX = "site"
ROW = re.compile(r"^\| ([a-z\\-]+) \| .*\|$", re.MULTILINE)


class _Objects(dict[str, Any]):
    """Files, or headers of files, as the host in front of a bucket serves them."""

    def __init__(self, store: Store, part: int) -> None:
        super().__init__()
        self._store, self._part = store, part

    def get(self, path: str, default: Any = None) -> Any:
        name = path.lstrip("/")
        try:
            return self._store.get(PREFIX, name)[self._part]
        except self._store.client.exceptions.NoSuchKey:
            return default


@dataclass
class Forge:
    """
    A forge, a host and a team.

    Attributes:
        top: The folder of everything.
        bare: The repository.
        host: The host of the site.
        store: The S3 server; None if the run publishes to none.
        clock: The file of the clock.
        now: The present instant.
        deploys_fail: Whether the next deploy fails.
        branch: The branch that is checked out.
    """

    top: Path
    host: Host
    store: Store | None
    clock: Path
    commands: Path
    now: datetime = T0
    deploys_fail: bool = False
    variables: dict[str, str] = field(default_factory=dict)
    secrets: dict[str, str] = field(default_factory=dict)
    artifact: bytes | None = None
    branch: str = "main"
    vault: str = ""

    @property
    def bare(self) -> Path:
        return self.top / "origin.git"

    @property
    def team(self) -> Path:
        return self.top / "team"

    @property
    def issues(self) -> list[dict[str, Any]]:
        place = self.top / "issues.json"
        return list(json.loads(place.read_text())["issues"]) if place.exists() else []

    def at(self, now: datetime) -> None:
        self.now = now
        self.clock.write_text(now.isoformat())

    def player(self, workflow: str = "rotate-and-publish.yml") -> Player:
        programs = self.top / "programs"
        if not programs.exists():
            programs.mkdir()
            (programs / "gh").write_text(
                f'#!/bin/sh\nexec "{sys.executable}" "{Path(__file__).parent / "gh.py"}" "$@"\n'
            )
            (programs / "ssh").write_text(
                f'#!/bin/sh\nexec "{sys.executable}" "{Path(__file__).parent / "ssh.py"}" "$@"\n'
            )
            (programs / "date").write_text(
                f'#!/bin/sh\nexec "{shutil.which("date")}" -d "$(cat "{self.clock}")" "$@"\n'
            )
            for name in ("gh", "ssh", "date"):
                (programs / name).chmod(0o755)
        home = self.top / "runner"
        home.mkdir(exist_ok=True)
        environ = {
            "PATH": f"{programs}:{os.environ['PATH']}",
            "HOME": str(home),
            "LANG": "C.UTF-8",
            "FAKE_GH": str(self.top / "issues.json"),
            "FAKE_SSH": str(self.top / "ssh.json"),
            "REAL_SSH": shutil.which("ssh") or "",
        }
        handlers: dict[str, Handler] = {
            "actions/checkout": self._checkout,
            "./.github/actions/keyvault": self._install,
            "actions/upload-pages-artifact": self._upload,
            "actions/deploy-pages": self._deploy,
            "aws-actions/configure-aws-credentials": self._assume_role,
            "google-github-actions/auth": self._google_token,
            "actions/create-github-app-token": self._app_token,
        }
        secrets = {"UNRELATED": "a-secret-of-the-repository", **self.secrets}
        # The files that `init --ci github` wrote into the team's repository.
        return Player(
            self.team / ".github" / "workflows" / workflow, self.top / "job", environ, handlers, self.variables, secrets
        )

    def _checkout(self, job: Job, given: dict[str, str]) -> dict[str, str]:
        depth = int(given.get("fetch-depth", "1"))
        options = ["--depth", str(depth)] if depth else []
        options += ["--branch", self.branch]
        run_git(job.folder, job.environ, "clone", "--quiet", *options, f"file://{self.bare}", ".")
        if given.get("persist-credentials", "true") != "true" or job.permissions.get("contents") != "write":
            run_git(job.folder, job.environ, "remote", "set-url", "--push", "origin", str(self.top / "not-allowed"))
        else:
            # Hooks over there see who pushes.
            job.environ["FORGE_TOKEN"] = given.get("token", str(job.context["github"]["token"]))
        return {}

    def _install(self, job: Job, given: dict[str, str]) -> dict[str, str]:
        job.environ["PATH"] = f"{self.commands}:{job.environ['PATH']}"
        return {}

    def _upload(self, job: Job, given: dict[str, str]) -> dict[str, str]:
        hidden = given.get("include-hidden-files") == "true"
        place = job.temp / "artifact.tar"
        with tarfile.open(place, "w") as tar:
            for path in sorted(Path(given["path"]).rglob("*")):
                name = path.relative_to(given["path"])
                if path.is_file() and (hidden or not any(part.startswith(".") for part in name.parts)):
                    tar.add(path, f"./{name.as_posix()}")
        self.artifact = place.read_bytes()
        return {}

    def _deploy(self, job: Job, given: dict[str, str]) -> dict[str, str]:
        assert job.permissions == {"pages": "write", "id-token": "write"}
        if self.deploys_fail:
            raise StepFailure("Deployment failed, try again later.")
        assert self.artifact is not None
        import io

        files = {}
        with tarfile.open(fileobj=io.BytesIO(self.artifact)) as tar:
            for member in tar:
                found = tar.extractfile(member)
                assert found is not None
                files[member.name.removeprefix(".")] = found.read()
        self.host.files = files
        return {"page_url": self.host.url}

    def _assume_role(self, job: Job, given: dict[str, str]) -> dict[str, str]:
        assert job.permissions.get("id-token") == "write"
        assert given == {"role-to-assume": "arn:aws:iam::123456789012:role/keys", "aws-region": "us-east-1"}
        if self.deploys_fail:
            raise StepFailure("Could not assume role with OIDC")
        assert self.store is not None
        job.environ |= dict(self.store.environ)
        return {}

    def _google_token(self, job: Job, given: dict[str, str]) -> dict[str, str]:
        assert job.permissions == {"contents": "read", "id-token": "write"}
        provider = "projects/1/locations/global/workloadIdentityPools/github/providers/keys"
        assert given == {
            "workload_identity_provider": provider, "service_account": "publisher@example.iam.gserviceaccount.com",
            "token_format": "access_token", "create_credentials_file": "false",
        }  # fmt: skip
        return {"access_token": "a-token-of-google"}

    def _app_token(self, job: Job, given: dict[str, str]) -> dict[str, str]:
        wanted = {f"permission-{name}": value for name, value in job.permissions.items()}
        assert given == {"client-id": "Iv1.app", "private-key": "the-key-of-the-app", **wanted}
        return {"token": "ghs_of_the_app"}

    def protect(self, *pushers: str) -> None:
        """Let only *pushers*, tokens or deploy keys, push to main."""
        allowed = "|".join(pushers) or "nobody"
        hook = self.bare / "hooks" / "update"
        hook.parent.mkdir(exist_ok=True)
        hook.write_text(
            "#!/bin/sh\n[ $1 = refs/heads/main ] || exit 0\n"
            f"case ${{FORGE_KEY:-$FORGE_TOKEN}} in {allowed}) exit 0 ;; esac\n"
            'echo "GH006: Protected branch update failed for $1." >&2\nexit 1\n'
        )
        hook.chmod(0o755)

    @property
    def pulls(self) -> list[dict[str, Any]]:
        place = self.top / "issues.json"
        return list(json.loads(place.read_text()).get("pulls", [])) if place.exists() else []

    def merge(self, number: int) -> None:
        """Merge a pull request like the forge: with a merge commit, when its checks pass."""
        known = json.loads((self.top / "issues.json").read_text())
        [pull] = [pull for pull in known["pulls"] if pull["number"] == number]
        assert (pull["state"], pull["auto"]) == ("OPEN", True)
        environ = environment(self.top) | {"FORGE_TOKEN": "the-forge"}
        clone = self.top / f"merge-{number}"
        run_git(self.top, environ, "clone", "--quiet", str(self.bare), clone)
        run_git(clone, environ, "merge", "--quiet", "--no-ff", "--no-edit", f"origin/{pull['headRefName']}")
        run_git(clone, environ, "push", "--quiet", "origin", "HEAD:main")
        pull["state"] = "MERGED"
        (self.top / "issues.json").write_text(json.dumps(known))

    def head(self, branch: str = "main") -> str:
        """Return the commit of a branch of the remote, empty if there is none."""
        return run_git(self.top, environment(self.top), "ls-remote", str(self.bare), f"refs/heads/{branch}")[:40]

    def move_to_s3(self) -> None:
        """Publish to S3 from now on; the host in front of it has the same address as before."""
        self.variables |= {
            "KEYVAULT_DEPLOY": f"s3://{BUCKET}/{PREFIX}",
            "AWS_ROLE_ARN": "arn:aws:iam::123456789012:role/keys",
            "AWS_REGION": "us-east-1",
        }

    def serve_s3(self) -> None:
        assert self.store is not None
        self.host.files, self.host.own = _Objects(self.store, 0), _Objects(self.store, 1)
        self.host.headers = {"Access-Control-Allow-Origin": "*"}

    def keyvault(self, folder: Path, *arguments: str) -> str:
        """Run a command on the team's machine."""
        environ = environment(self.top) | {"PATH": f"{self.commands}:{os.environ['PATH']}"}
        done = subprocess.run(["keyvault", *arguments], cwd=folder, env=environ, capture_output=True, text=True)
        assert done.returncode == 0, (arguments, done.stderr)
        return done.stdout

    def signer_pulls(self) -> None:
        run_git(self.team, environment(self.top), "pull", "--quiet", "--ff-only")

    def sign(self, name: str) -> str:
        return self.keyvault(
            self.team / self.vault, "token", "sign", name, "--claim", f"aud={AUDIENCE}", "--ttl", "1h"
        ).strip()


@pytest.fixture
def forge(tmp_path: Path) -> Iterator[Forge]:
    """A repository with a vault that has just been pushed."""
    yield from _forge(tmp_path, None)


@pytest.fixture
def forge_with_store(tmp_path: Path) -> Iterator[Forge]:
    """The same, with an S3 server."""
    (tmp_path / "s3").mkdir()
    with seaweedfs(tmp_path / "s3") as store:
        yield from _forge(tmp_path, store)


@pytest.fixture
def forge_below(tmp_path: Path) -> Iterator[Forge]:
    """A repository with the vault in a folder."""
    yield from _forge(tmp_path, None, vault="app/keys")


def _forge(top: Path, store: Store | None, vault: str = "") -> Iterator[Forge]:
    made = Host(headers={"Cache-Control": "max-age=600", "Access-Control-Allow-Origin": "*"})
    clock = top / "clock"
    clock.write_text(T0.isoformat())
    with command(clock) as commands:
        for host in _serving(made):
            yield _set_up(Forge(top, host, store, clock, commands, vault=vault))


def _set_up(forge: Forge) -> Forge:
    environ = environment(forge.top)
    sets = parse_sets(["id-token:ES256", "access-token:EdDSA"])
    files = ci_files("github", tool="jwks-keyvault==1.2.3")
    run_git(forge.top, environ, "init", "--quiet", "--initial-branch=main", str(forge.team))
    vault = forge.team / forge.vault
    setup.init(vault, T0, environ, NewVault(forge.host.url, sets, ci=files))
    text = (vault / "keyvault.toml").read_text()
    (vault / "keyvault.toml").write_text(text.replace('cryptoperiod = "90d"', 'cryptoperiod = "30d"'))
    assert text.count('cryptoperiod = "90d"') >= 1
    run_git(forge.top, environ, "init", "--quiet", "--bare", "--initial-branch=main", str(forge.bare))
    run_git(forge.team, environ, "add", "--update")
    run_git(forge.team, environ, "commit", "--quiet", "-m", "keys sign for 30 days")
    run_git(forge.team, environ, "remote", "add", "origin", str(forge.bare))
    run_git(forge.team, environ, "push", "--quiet", "--set-upstream", "origin", "main")
    return forge


def results(jobs: dict[str, Job]) -> dict[str, str]:
    return {name: job.result for name, job in jobs.items()}


def logs(jobs: dict[str, Job]) -> str:
    return "\n".join(f"===== {name}: {job.result}\n{job.log}" for name, job in jobs.items())


def publishing(forge: Forge) -> Any:
    """Make `keyvault publish` record its environment and arguments instead of using a cloud; all else is real."""
    note = forge.top / "published.json"
    shim = forge.commands / "keyvault"
    (forge.commands / "real").mkdir()
    real = shim.rename(forge.commands / "real" / "keyvault")
    shim.write_text(
        f"#!{sys.executable}\n"
        "import json, os, stat, sys\n"
        f"if sys.argv[1] != 'publish': os.execv({str(real)!r}, sys.argv)\n"
        "path = os.environ.get('AZURE_FEDERATED_TOKEN_FILE')\n"
        "token = open(path).read() if path else None\n"
        "mode = stat.S_IMODE(os.stat(path).st_mode) if path else None\n"
        "seen = {'arguments': sys.argv[1:], 'environ': dict(os.environ), 'token': token, 'mode': mode}\n"
        f"json.dump(seen, open({str(note)!r}, 'w'))\n"
    )
    shim.chmod(0o755)
    return lambda: json.loads(note.read_text())


def test_without_a_vault_it_ends_green_and_says_so(forge: Forge) -> None:
    """As in a repository that was created from the template."""
    environ = environment(forge.top)
    run_git(forge.team, environ, "rm", "--quiet", "keyvault.toml")
    run_git(forge.team, environ, "commit", "--quiet", "-m", "no vault")
    run_git(forge.team, environ, "push", "--quiet")
    jobs = forge.player().play("push")
    assert set(results(jobs).values()) == {"success", "skipped"}
    assert "no vault here yet" in jobs["look"].summary


@pytest.mark.slow
def test_one_run_by_hand(forge: Forge) -> None:
    """Force rotates a set, with a reason; without force the gate refuses, and all else works."""
    first = forge.player().play("push")
    assert results(first) == {
        "look": "success", "rotate": "success", "audit": "success", "render": "success", "deploy-pages": "success",
        "deploy-store": "skipped", "deploy-branch": "skipped", "deploy-repository": "skipped", "propose": "skipped",
        "check": "success", "keepalive": "skipped", "watchdog": "success",
    }, logs(first)  # fmt: skip
    forge.at(forge.now + timedelta(hours=1))
    refused = forge.player().play("workflow_dispatch", {"set": "id-token", "force": False, "reason": ""})
    assert refused["rotate"].result == "failure"
    assert refused["check"].result == "success", logs(refused)
    assert [issue["state"] for issue in forge.issues] == ["OPEN"]
    hostile = "lost; $(touch pwned) `id` \" ' \\"
    forced = forge.player().play("workflow_dispatch", {"set": "id-token", "force": True, "reason": hostile})
    assert set(results(forced).values()) == {"success", "skipped"}, logs(forced)
    assert [issue["state"] for issue in forge.issues] == ["CLOSED"]
    forge.signer_pulls()
    kids = [key["kid"] for key in json.loads(forge.keyvault(forge.team, "key", "list", "--json"))]
    shown = [json.loads(forge.keyvault(forge.team, "key", "show", "--json", "--", kid)) for kid in kids]
    assert hostile in {event.get("forced") for key in shown for event in key["events"]}
    assert not list(forge.top.rglob("pwned"))


@pytest.mark.slow
def test_settings_that_are_wrong_raise_the_alarm(forge: Forge) -> None:
    """A folder without a vault, or an invalid destination, fails the run."""
    for name, value in (
        ("KEYVAULT_DIR", "elsewhere"),
        ("KEYVAULT_DEPLOY", "ftp://x"),
        ("KEYVAULT_DEPLOY", "public"),
        ("KEYVAULT_DEPLOY", "branch:"),
        ("KEYVAULT_DEPLOY_REPOSITORY", "example/site"),
        ("KEYVAULT_PUSH", "force"),
    ):
        forge.variables[name] = value
        jobs = forge.player().play("push")
        assert (jobs["look"].result, jobs["rotate"].result) == ("failure", "skipped"), logs(jobs)
        assert name in jobs["look"].log
        assert [issue["state"] for issue in forge.issues].count("OPEN") == 1, logs(jobs)
        del forge.variables[name]
        assert forge.player().play("push")["check"].result == "success"
        assert {issue["state"] for issue in forge.issues} == {"CLOSED"}


@pytest.mark.slow
def test_a_tool_that_cannot_be_installed_raises_the_alarm(forge: Forge, monkeypatch: pytest.MonkeyPatch) -> None:
    """The alarm works without keyvault."""

    def broken(job: Job, given: dict[str, str]) -> dict[str, str]:
        raise StepFailure("no matching distribution")

    monkeypatch.setattr(forge, "_install", broken)
    jobs = forge.player().play("push")
    assert {jobs["rotate"].result, jobs["audit"].result, jobs["watchdog"].result} == {"failure"}, logs(jobs)
    assert [issue["state"] for issue in forge.issues] == ["OPEN"]


def test_only_the_default_branch_is_published(forge: Forge) -> None:
    """A push to another branch, or a run by hand on it, does nothing."""
    payload = {"repository": {"default_branch": "trunk"}}
    for event in ("push", "workflow_dispatch"):
        jobs = forge.player().play(event, payload=payload)
        assert set(results(jobs).values()) == {"skipped"}, logs(jobs)


@pytest.mark.slow
def test_force_without_a_set_is_refused(forge: Forge) -> None:
    """Force requires the name of a set."""
    jobs = forge.player().play("workflow_dispatch", {"set": "", "force": True, "reason": "lost"})
    assert jobs["rotate"].result == "failure"
    assert "name the set" in jobs["rotate"].log


@pytest.mark.slow
def test_a_mistake_that_was_mended_is_accepted_by_name(forge: Forge) -> None:
    """Findings of the audit block the deploy; an accepted commit in the settings outside of git allows it again."""
    environ = environment(forge.top)
    record = next((forge.team / "keys.enc" / "id-token").iterdir())
    sound = record.read_text()
    # A hand that changes an event is found for ever, also once the record is what it was.
    for message, content in (("by hand", re.sub(r'(?<="at": ")\d{4}', "2020", sound, count=1)), ("mended", sound)):
        record.write_text(content)
        run_git(forge.team, environ, "add", "--all")
        run_git(forge.team, environ, "commit", "--quiet", "-m", message)
    run_git(forge.team, environ, "push", "--quiet")
    refused = forge.player().play("push")
    assert (refused["audit"].result, refused["deploy-pages"].result) == ("failure", "skipped")
    forge.variables["KEYVAULT_AUDITED"] = run_git(forge.team, environ, "rev-parse", "HEAD").strip()
    accepted = forge.player().play("push")
    assert set(results(accepted).values()) == {"success", "skipped"}, logs(accepted)


@pytest.mark.slow
def test_a_pull_request(forge: Forge) -> None:
    """The summary shows changes, coming transitions and problems; the job may not write, and a private key fails it."""
    environ = environment(forge.top)
    base = run_git(forge.team, environ, "rev-parse", "HEAD").strip()
    run_git(forge.team, environ, "switch", "--quiet", "--create", "change")
    forge.keyvault(forge.team, "rotate", "id-token", "--force", "--reason", "a laptop was lost")
    run_git(forge.team, environ, "push", "--quiet", "origin", "change")
    forge.branch = "change"
    payload = {"pull_request": {"base": {"sha": base}}}

    def review() -> Job:
        jobs = forge.player("pull-request.yml").play("pull_request", payload=payload)
        assert all(job.permissions == {"contents": "read"} for job in jobs.values())
        return jobs["review"]

    shown = review()
    assert shown.result == "success", shown.log
    for title in ("Changes of published keys", "Planned within 90d", "Problems that break verifiers"):
        assert f"### {title}" in shown.summary
    [active] = [key for key in json.loads(forge.keyvault(forge.team, "key", "list", "--json"))
                if key["set"] == "id-token" and key["state"] == "active"]  # fmt: skip
    assert active["kid"] in shown.summary.replace("\\", "")

    key = "-----BEGIN PRIVATE KEY-----\nMC4CAQAwBQYDK2VwBCIEINTuctv5E1hK1bbY8fdp+K06/nwoy/HU++CXqI9EdVhC\n"
    (forge.team / "notes.txt").write_text(key + "-----END PRIVATE KEY-----\n")
    run_git(forge.team, environ, "add", "notes.txt")
    run_git(forge.team, environ, "commit", "--quiet", "-m", "notes")
    run_git(forge.team, environ, "push", "--quiet", "origin", "change")
    refused = review()
    assert refused.result == "failure"
    assert "::error file=notes.txt," in refused.log
    assert r"| notes.txt |" in refused.summary


@pytest.mark.slow
def test_a_vault_in_a_folder_rotates_and_publishes(forge_below: Forge) -> None:
    """Without any variable: the workflow at the top names the folder."""
    forge = forge_below
    first = forge.player().play("push")
    assert first["check"].result == "success", logs(first)
    published = {key["kid"] for key in forge.host.jwks()}
    forge.at(T0 + timedelta(hours=6))
    forge.player().play()
    forge.at(T0 + timedelta(days=31))

    rotated = forge.player().play()

    assert set(results(rotated).values()) == {"success", "skipped"}, logs(rotated)
    assert {key["kid"] for key in forge.host.jwks()} > published
    forge.signer_pulls()
    changed = run_git(forge.team, environment(forge.top), "show", "--format=", "--name-only", "HEAD").splitlines()
    assert changed
    assert all(path.startswith("app/keys/keys.enc/") for path in changed)


@pytest.mark.slow
def test_half_a_year(forge_with_store: Forge, monkeypatch: pytest.MonkeyPatch) -> None:
    """Keys rotate, receipts are recorded, and every token verifies with every service at every step."""
    forge = forge_with_store
    chance = random.Random(20261124)  # noqa: S311 - a seed makes the run the same each time
    seen: Counter[str] = Counter()
    names = ("id-token", "access-token")
    forge.player().play("push")
    jwks_uri = f"{forge.host.url}/.well-known/jwks.json"
    rotating_environments: list[dict[str, str]] = []
    valid: list[tuple[datetime, str]] = []
    with Verifiers(jwks_uri, forge.host.url, AUDIENCE, forge.now, monkeypatch) as verifiers:

        def services() -> None:
            """Sign a token, and verify it and all valid older tokens with both services."""
            verifiers.clock.now = forge.now
            valid[:] = [(until, token) for until, token in valid if until > forge.now]
            valid.extend((forge.now + timedelta(minutes=59), forge.sign(name)) for name in names)
            for _, token in valid:
                verdict = verifiers.verify(token)
                assert not any(verdict.values()), (forge.now, verdict)
                seen["verified"] += 1

        moved = False
        for day in range(180):
            for hour in (3, 9, 15, 21):
                planned = T0.replace(hour=0, minute=17) + timedelta(days=day + 1, hours=hour)
                if chance.random() < 0.85:  # dropped
                    seen["dropped"] += 1
                    continue
                late = timedelta(minutes=chance.choice([0, 3, 20, 90, 240]))
                forge.at(max(planned + late, forge.now + timedelta(minutes=5)))
                forge.signer_pulls()
                services()
                forge.deploys_fail = chance.random() < 0.2
                if day >= 90 and not moved:
                    forge.move_to_s3()
                    forge.deploys_fail = False
                    # The bucket is filled before the name leads to it.
                    jobs = forge.player().play()
                    assert jobs["deploy-store"].result == "success", logs(jobs)
                    forge.serve_s3()
                    moved = True
                jobs = forge.player().play()
                seen["ticks"] += 1
                rotating_environments += jobs["rotate"].environments
                deployed = jobs["deploy-pages"].result == "success" or jobs["deploy-store"].result == "success"
                assert deployed is not forge.deploys_fail, logs(jobs)
                assert jobs["rotate"].result == "success", logs(jobs)
                seen["failed deploys"] += not deployed
                late_by_days = deployed and jobs["check"].result == "failure"
                if late_by_days:
                    # Deploys failed and ticks were dropped for so long that the alarm is right until the next tick.
                    seen["overdue"] += 1
                    assert set(ROW.findall(jobs["check"].summary)) == {"code", "overdue"}
                open_issues = [issue["state"] for issue in forge.issues].count("OPEN")
                assert open_issues == (not deployed or late_by_days), logs(jobs)
                forge.at(forge.now + timedelta(minutes=chance.choice([1, 10, 30])))
                services()  # the signer has not pulled yet
                forge.signer_pulls()
                services()
    forge.deploys_fail = False
    for _ in range(2):
        forge.at(forge.now + timedelta(hours=1))
        last = forge.player().play()
    assert set(results(last).values()) == {"success", "skipped"}, logs(last)
    forge.signer_pulls()
    log = run_git(forge.team, environment(forge.top), "log", "--format=%B")
    keys = json.loads(forge.keyvault(forge.team, "key", "list", "--all", "--json"))
    for name in names:
        lived = [key for key in keys if key["set"] == name and key["activated_at"]]
        seen[f"{name} active"] = len(lived)
        assert len(lived) >= 6  # at the start, and after each of five periods of thirty days
    assert "receipt" in log or "published" in log
    assert seen["ticks"] > 80
    assert seen["failed deploys"] > 10
    assert seen["verified"] > 500
    assert {issue["state"] for issue in forge.issues} == {"CLOSED"}
    _no_secret_in(rotating_environments, forge)
    print(dict(seen))


def _no_secret_in(environments: list[dict[str, str]], forge: Forge) -> None:
    assert forge.store is not None
    secrets = {"a-secret-of-the-repository", "ghs_of_a_test", *forge.store.environ.values()}
    assert environments
    for environ in environments:
        # FORGE_TOKEN stands for the credentials that checkout leaves for git.
        assert not secrets & {value for name, value in environ.items() if name != "FORGE_TOKEN"}
        allowed = {"KEYVAULT_DIR", "SET", "FORCE", "REASON", "PATH", "HOME", "LANG", "CI", "RUNNER_TEMP", "FAKE_GH"}
        allowed |= {"PUSH", "DEPLOY_KEY", "KNOWN_HOSTS", "SERVER", "REPOSITORY", "FAKE_SSH", "REAL_SSH", "FORGE_TOKEN"}
        assert {name for name in environ if not name.startswith("GITHUB_")} == allowed
        assert environ["DEPLOY_KEY"] == ""
    runner = forge.top / "runner"
    assert not [path for path in runner.rglob("*") if "identit" in path.name]
    shutil.rmtree(runner)
