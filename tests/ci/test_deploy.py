"""
The workflow's own steps push to a protected branch, and deploy to branches, another repository and object stores.

The remotes are real, with hooks that check who pushes. A stand-in replaces ssh; the real ssh resolves its options.
"""

from __future__ import annotations

import json
import threading
from collections.abc import Iterator
from datetime import timedelta
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest

from tests.ci.player import Job
from tests.ci.test_play import PREFIX, Forge, forge, forge_with_store, logs, publishing, results
from tests.publish.servers import BUCKET
from tests.vaults import T0, environment, run_git

__all__ = ["forge", "forge_with_store"]

pytestmark = pytest.mark.slow

KEY = "-----BEGIN OPENSSH PRIVATE KEY-----\nof-the-vault\n-----END OPENSSH PRIVATE KEY-----"
SITE_KEY = KEY.replace("vault", "site")
HOST = "github.com ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIOMqqnkVzrm0SdG6UOoqKLsabgH5C9okWi0dh2l9GKJl"
FORCED = {"set": "id-token", "force": True, "reason": "a laptop was lost"}


def ssh(forge: Forge, **keys: str) -> Path:
    """Make the forge accept deploy keys, and return the repository for a site."""
    site = forge.top / "site.git"
    run_git(forge.top, environment(forge.top), "init", "--quiet", "--bare", "--initial-branch=main", str(site))
    repositories = {"example/keys": str(forge.bare), "example/site": str(site)}
    settings = {"known_hosts": HOST, "keys": keys, "repositories": repositories}
    (forge.top / "ssh.json").write_text(json.dumps(settings))
    return site


def written(forge: Forge) -> list[bytes]:
    """Return the files in the folders of the runner and the forge after a run."""
    own = {forge.top / "ssh.json", forge.bare / "hooks" / "update"}
    return [path.read_bytes() for path in forge.top.rglob("*") if path.is_file() and path not in own]


def files(forge: Forge, repository: Path, branch: str) -> set[str]:
    listed = run_git(repository, environment(forge.top), "ls-tree", "-r", "--name-only", branch)
    return set(listed.splitlines())


# --- a protected branch ---------------------------------------------------------------------------------


def test_a_protected_branch_refuses_the_token_of_the_workflow(forge: Forge) -> None:
    """The run reports it, and publishes the existing commit."""
    forge.protect()

    jobs = forge.player().play("workflow_dispatch", FORCED)

    assert (jobs["rotate"].result, jobs["check"].result) == ("failure", "success"), logs(jobs)
    assert "the branch is protected" in jobs["rotate"].log


@pytest.mark.parametrize("kind", ["token", "app", "key"])
def test_a_protected_branch_takes_a_credential_of_its_own(forge: Forge, kind: str) -> None:
    """By a token, an app or a deploy key that may bypass the rule; no other job sees it, and no file keeps it."""
    ssh(forge, **{KEY: "example/keys"})
    if kind == "token":
        forge.secrets["KEYVAULT_PUSH_TOKEN"] = "github_pat_of_a_bot"
        forge.protect("github_pat_of_a_bot")
    elif kind == "app":
        forge.variables["KEYVAULT_APP_CLIENT_ID"] = "Iv1.app"
        forge.secrets["KEYVAULT_APP_PRIVATE_KEY"] = "the-key-of-the-app"
        forge.protect("ghs_of_the_app")
    else:
        forge.secrets["KEYVAULT_DEPLOY_KEY"] = KEY
        forge.protect("example/keys")
    before = forge.head()

    jobs = forge.player().play("workflow_dispatch", FORCED)

    assert set(results(jobs).values()) == {"success", "skipped"}, logs(jobs)
    assert forge.head() != before
    secrets = set(forge.secrets.values())
    seeing = {name for name, job in jobs.items() for environ in job.environments if secrets & set(environ.values())}
    assert seeing <= {"rotate"}
    assert not [data for data in written(forge) for secret in secrets if secret.encode() in data]


@pytest.mark.parametrize(("host", "key"), [("evil.example ssh-ed25519 AAAA", KEY), (HOST, SITE_KEY)])
def test_a_deploy_key_that_does_not_fit(forge: Forge, host: str, key: str) -> None:
    """A wrong host key, or a key of another repository, fails the push and raises the alarm; the other jobs run."""
    ssh(forge, **{KEY: "example/keys"})
    forge.variables["KEYVAULT_KNOWN_HOSTS"] = host
    forge.secrets["KEYVAULT_DEPLOY_KEY"] = key
    before = forge.head()

    jobs = forge.player().play("workflow_dispatch", FORCED)

    assert (jobs["rotate"].result, jobs["check"].result) == ("failure", "success"), logs(jobs)
    assert forge.head() == before
    assert not [data for data in written(forge) if key.encode() in data]


# --- by pull request ------------------------------------------------------------------------------------


@pytest.fixture
def proposing(forge: Forge) -> Forge:
    """A forge whose main accepts only pull requests; its first keys are published and seen."""
    text = (forge.team / "keyvault.toml").read_text()
    (forge.team / "keyvault.toml").write_text(text.replace('signer_lag = "1h"', 'signer_lag = "1d"'))
    environ = environment(forge.top)
    run_git(forge.team, environ, "commit", "--quiet", "--all", "-m", "signers may lag for a day")
    run_git(forge.team, environ, "push", "--quiet")
    forge.player().play("push")
    forge.at(T0 + timedelta(hours=6))
    forge.player().play()
    forge.protect("the-forge")
    forge.variables["KEYVAULT_PUSH"] = "pull-request"
    forge.at(T0 + timedelta(days=31))
    return forge


def active(forge: Forge) -> dict[str, str]:
    listed = json.loads(forge.keyvault(forge.team, "key", "list", "--json"))
    return {key["set"]: key["kid"] for key in listed if key["state"] == "active"}


def test_a_rotation_by_pull_request(proposing: Forge) -> None:
    """A second run opens no second pull request and generates no key; the merge keeps dates, and is published."""
    forge = proposing
    main, before = forge.head(), active(forge)

    first = forge.player().play()
    assert set(results(first).values()) == {"success", "skipped"}, logs(first)
    proposal = forge.head("keyvault/rotation")
    assert proposal
    assert forge.head() == main
    [pull] = forge.pulls
    assert (pull["headRefName"], pull["baseRefName"], pull["auto"]) == ("keyvault/rotation", "main", True)

    forge.at(forge.now + timedelta(hours=6))
    second = forge.player().play()
    assert set(results(second).values()) == {"success", "skipped"}, logs(second)
    assert (forge.head("keyvault/rotation"), forge.pulls) == (proposal, [pull])

    forge.merge(pull["number"])
    merged = forge.player().play("push")
    assert set(results(merged).values()) == {"success", "skipped"}, logs(merged)
    forge.signer_pulls()
    now = active(forge)
    assert all(now[name] != kid for name, kid in before.items())
    assert set(now.values()) <= {key["kid"] for key in forge.host.jwks()}
    # The branch that was merged is gone, or holds the receipts that are due now.
    assert len(forge.pulls) <= 2
    forge.keyvault(forge.team, "audit")


def test_signers_must_be_allowed_to_lag_for_the_time_of_a_pull_request(forge: Forge) -> None:
    """Otherwise a merge after some hours would withdraw the old key while its last tokens are valid."""
    forge.variables["KEYVAULT_PUSH"] = "pull-request"

    jobs = forge.player().play("push")

    assert (jobs["rotate"].result, jobs["check"].result) == ("failure", "success"), logs(jobs)
    assert "signer_lag in keyvault.toml must be 1d or more" in jobs["rotate"].log
    assert forge.head("keyvault/rotation") == ""


def test_an_old_proposal_is_made_anew(proposing: Forge) -> None:
    """Signers use the old key until the merge, so its record must not say otherwise for long."""
    forge = proposing
    forge.player().play()
    proposal = forge.head("keyvault/rotation")
    forge.at(forge.now + timedelta(hours=13))

    jobs = forge.player().play()

    assert set(results(jobs).values()) == {"success", "skipped"}, logs(jobs)
    again = forge.head("keyvault/rotation")
    assert again not in ("", proposal)
    assert run_git(forge.bare, environment(forge.top), "rev-list", "--count", f"main..{again}") == "1"
    assert [pull["state"] for pull in forge.pulls] == ["OPEN"]


def test_a_proposal_whose_base_moved_is_made_anew(proposing: Forge) -> None:
    """It is based on the head of the default branch, so no merge combines two rotations; a manual rotation ends it."""
    forge = proposing
    forge.player().play()
    environ = environment(forge.top) | {"FORGE_TOKEN": "the-forge"}
    forge.signer_pulls()
    (forge.team / "notes.txt").write_text("hello\n")
    run_git(forge.team, environ, "add", "notes.txt")
    run_git(forge.team, environ, "commit", "--quiet", "-m", "notes")
    run_git(forge.team, environ, "push", "--quiet")

    forge.player().play()
    proposal = forge.head("keyvault/rotation")
    parent = run_git(forge.bare, environ, "rev-parse", f"{proposal}^").strip()
    assert parent == forge.head()

    forge.keyvault(forge.team, "rotate", "--due")
    run_git(forge.team, environ, "push", "--quiet")
    jobs = forge.player().play()
    assert set(results(jobs).values()) == {"success", "skipped"}, logs(jobs)
    # The keys of that rotation are published now, and what is left to propose is at most that they were seen.
    assert forge.head("keyvault/rotation") != proposal
    assert [pull["state"] for pull in forge.pulls] == ["OPEN"]


def test_a_pull_request_of_a_fork_is_none_of_ours(proposing: Forge) -> None:
    """A stranger's branch of the same name is not merged."""
    forge = proposing
    known: dict[str, Any] = json.loads((forge.top / "issues.json").read_text())
    stranger = {"number": 7, "headRefName": "keyvault/rotation", "baseRefName": "main", "state": "OPEN"}
    known["pulls"] = [{**stranger, "isCrossRepository": True, "auto": False, "by": "stranger"}]
    (forge.top / "issues.json").write_text(json.dumps(known))

    jobs = forge.player().play()

    assert jobs["propose"].result == "success", logs(jobs)
    assert [(pull["isCrossRepository"], pull["auto"]) for pull in forge.pulls] == [(True, False), (False, True)]


def test_an_app_proposes(proposing: Forge) -> None:
    """So that checks run: a pull request by the workflow's own token starts none."""
    forge = proposing
    forge.variables["KEYVAULT_APP_CLIENT_ID"] = "Iv1.app"
    forge.secrets["KEYVAULT_APP_PRIVATE_KEY"] = "the-key-of-the-app"

    jobs = forge.player().play()

    assert jobs["propose"].result == "success", logs(jobs)
    assert [pull["by"] for pull in forge.pulls] == ["ghs_of_the_app"]


# --- where to ---------------------------------------------------------------------------------------------


def deploys(jobs: dict[str, Job]) -> set[str]:
    return {name for name, job in jobs.items() if name.startswith("deploy") and job.result == "success"}


def test_to_a_branch_of_the_same_repository(forge: Forge) -> None:
    """One commit without a parent, without any secret. Only the job that deploys purges caches."""
    forge.variables |= {"KEYVAULT_DEPLOY": "branch:gh-pages"}

    jobs = forge.player().play("push")

    assert deploys(jobs) == {"deploy-branch"}, logs(jobs)
    assert {"history.json", ".nojekyll", ".well-known/jwks.json"} <= files(forge, forge.bare, "gh-pages")
    # Nothing has changed by now, so that no cache is asked.
    forge.variables |= {"KEYVAULT_INVALIDATE": f"cloudflare:{'0123456789abcdef' * 2}"}
    forge.secrets["CLOUDFLARE_API_TOKEN"] = "a-token"
    jobs = forge.player().play("push")
    assert deploys(jobs) == {"deploy-branch"}, logs(jobs)
    seeing = {name for name, job in jobs.items() for environ in job.environments if environ.get("KEYVAULT_INVALIDATE")}
    assert seeing == {"deploy-branch"}


@pytest.mark.parametrize("branch", ["gh-pages", "main"])
def test_to_another_repository(forge: Forge, branch: str) -> None:
    """By a deploy key of that repository, which no other job sees; the branch may have the vault branch's name."""
    site = ssh(forge, **{SITE_KEY: "example/site"})
    forge.variables |= {"KEYVAULT_DEPLOY": f"branch:{branch}", "KEYVAULT_DEPLOY_REPOSITORY": "example/site"}
    forge.secrets["KEYVAULT_DEPLOY_REPOSITORY_KEY"] = SITE_KEY
    before = forge.head()

    jobs = forge.player().play("push")

    assert deploys(jobs) == {"deploy-repository"}, logs(jobs)
    assert ".well-known/jwks.json" in files(forge, site, branch)
    assert "keyvault.toml" not in files(forge, site, branch)
    assert forge.head() == before
    seeing = {name for name, job in jobs.items() for environ in job.environments if SITE_KEY in environ.values()}
    assert seeing == {"deploy-repository"}
    assert not [data for data in written(forge) if SITE_KEY.encode() in data]
    # A second run has nothing to do there.
    pushed = run_git(site, environment(forge.top), "rev-parse", branch)
    assert deploys(forge.player().play("push")) == {"deploy-repository"}
    assert run_git(site, environment(forge.top), "rev-parse", branch) == pushed


def test_to_another_repository_without_its_key(forge: Forge) -> None:
    """The error names the secret, and the watchdog raises the alarm."""
    forge.variables |= {"KEYVAULT_DEPLOY": "branch:gh-pages", "KEYVAULT_DEPLOY_REPOSITORY": "example/site"}

    jobs = forge.player().play("push")

    assert jobs["deploy-repository"].result == "failure"
    assert "KEYVAULT_DEPLOY_REPOSITORY_KEY is missing" in jobs["deploy-repository"].log
    assert [issue["state"] for issue in forge.issues] == ["OPEN"]


@pytest.mark.parametrize(
    "name", ["example", "example/site/x", "ex ample/site", "../site", "-o/../x", "$(id)/x", "git@host:x/y"]
)
def test_another_repository_that_cannot_be(forge: Forge, name: str) -> None:
    """The workflow refuses anything but OWNER/NAME before a deploy job begins."""
    forge.variables |= {"KEYVAULT_DEPLOY": "branch:gh-pages", "KEYVAULT_DEPLOY_REPOSITORY": name}

    jobs = forge.player().play("push")

    assert jobs["look"].result == "failure"
    assert "must be OWNER/NAME" in jobs["look"].log


def test_to_a_store_that_knows_no_roles(forge_with_store: Forge) -> None:
    """By an access key that only the publishing step sees."""
    forge = forge_with_store
    assert forge.store is not None
    forge.serve_s3()
    forge.variables |= {"KEYVAULT_DEPLOY": f"s3://{BUCKET}/{PREFIX}", "AWS_REGION": "us-east-1"}
    forge.variables["AWS_ENDPOINT_URL"] = forge.store.environ["AWS_ENDPOINT_URL"]
    names = ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY")
    forge.secrets |= {name: forge.store.environ[name] for name in names}

    jobs = forge.player().play("push")

    assert set(results(jobs).values()) == {"success", "skipped"}, logs(jobs)
    assert ".well-known/jwks.json" in forge.store.names(PREFIX)
    secrets = set(forge.secrets.values())
    seeing = {name for name, job in jobs.items() for environ in job.environments if secrets & set(environ.values())}
    assert seeing == {"deploy-store"}


@pytest.fixture
def cloud() -> Iterator[tuple[str, list[tuple[str, str, str]]]]:
    """A server that issues GitHub's tokens and refuses all else; it records requests with their credentials."""
    asked: list[tuple[str, str, str]] = []

    class Handler(BaseHTTPRequestHandler):
        def answer(self) -> None:
            self.rfile.read(int(self.headers.get("Content-Length", 0)))
            asked.append((self.command, self.path, self.headers.get("Authorization", "")))
            body = json.dumps({"value": "an-id-token"}).encode() if self.path.startswith("/token") else b""
            self.send_response_only(200 if body else 403)
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        do_GET = do_POST = do_PUT = answer

        def log_message(self, format: str, *arguments: object) -> None:
            """Say nothing."""

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=server.serve_forever, args=(0.02,), daemon=True)
    thread.start()
    yield f"http://127.0.0.1:{server.server_port}", asked
    server.shutdown()
    server.server_close()
    thread.join()


def test_to_google(forge: Forge) -> None:
    """The publishing step gets the service account's token, in the variable that its client reads."""
    forge.variables |= {
        "KEYVAULT_DEPLOY": "gs://keys-example-com",
        "GOOGLE_WORKLOAD_PROVIDER": "projects/1/locations/global/workloadIdentityPools/github/providers/keys",
        "GOOGLE_SERVICE_ACCOUNT_EMAIL": "publisher@example.iam.gserviceaccount.com",
    }
    given = publishing(forge)

    jobs = forge.player().play("push")

    assert deploys(jobs) == {"deploy-store"}, logs(jobs)
    assert given()["arguments"] == ["publish", "gs://keys-example-com"]
    assert given()["environ"]["GOOGLE_BEARER_TOKEN"] == "a-token-of-google"
    assert not {name for name in given()["environ"] if name.startswith(("OWN_", "AWS_", "AZURE_"))}


def test_to_azure(forge: Forge, cloud: tuple[str, list[tuple[str, str, str]]]) -> None:
    """The job's token, valid for Azure only, is in a private file until the job ends."""
    url, asked = cloud
    forge.variables |= {
        "KEYVAULT_DEPLOY": "az://$web",
        "AZURE_STORAGE_ACCOUNT_NAME": "keys",
        "AZURE_CLIENT_ID": "a-client",
        "AZURE_TENANT_ID": "a-tenant",
    }
    given = publishing(forge)
    player = forge.player()
    player.environ = {
        **player.environ,
        "ACTIONS_ID_TOKEN_REQUEST_URL": f"{url}/token?api-version=1",
        "ACTIONS_ID_TOKEN_REQUEST_TOKEN": "of-the-runner",
    }

    jobs = player.play("push")

    assert deploys(jobs) == {"deploy-store"}, logs(jobs)
    assert asked == [("GET", "/token?api-version=1&audience=api://AzureADTokenExchange", "bearer of-the-runner")]
    assert given()["arguments"] == ["publish", "az://$web"]
    assert (given()["token"], given()["mode"]) == ("an-id-token", 0o600)
    assert given()["environ"]["AZURE_CLIENT_ID"] == "a-client"
    assert not Path(given()["environ"]["AZURE_FEDERATED_TOKEN_FILE"]).exists()


# --- a schedule that falls asleep --------------------------------------------------------------------------


@pytest.mark.parametrize(("days", "private", "alarm"), [(44, False, False), (46, False, True), (46, True, False)])
def test_an_alarm_before_the_schedule_is_turned_off(forge: Forge, days: int, private: bool, alarm: bool) -> None:
    """GitHub disables it in public repositories after 60 days without activity; the alarm comes two weeks before."""
    text = (forge.team / "keyvault.toml").read_text()
    (forge.team / "keyvault.toml").write_text(text.replace('cryptoperiod = "30d"', 'cryptoperiod = "90d"'))
    environ = environment(forge.top)
    run_git(forge.team, environ, "commit", "--quiet", "--all", "-m", "keys sign for 90 days")
    run_git(forge.team, environ, "push", "--quiet")
    forge.player().play("push")
    forge.at(T0 + timedelta(hours=6))
    forge.player().play()
    (forge.top / "issues.json").write_text(json.dumps({"issues": [], "labels": [], "private": private}))
    forge.at(forge.now + timedelta(days=days))

    jobs = forge.player().play()

    assert {job.result for job in jobs.values()} == {"success", "skipped"}, logs(jobs)
    assert [issue["state"] for issue in forge.issues] == (["OPEN"] if alarm else [])
    if alarm:
        assert f"the last commit is {days} days old" in forge.issues[0]["body"]
        forge.variables["KEYVAULT_KEEPALIVE"] = "true"
        kept = forge.player().play()
        assert kept["keepalive"].result == "success"
        known = json.loads((forge.top / "issues.json").read_text())
        path = "repos/example/keys/actions/workflows/rotate-and-publish.yml/enable"
        assert known["calls"] == [["PUT", path, "ghs_of_a_test"]]
        assert [issue["state"] for issue in forge.issues] == ["CLOSED"]
