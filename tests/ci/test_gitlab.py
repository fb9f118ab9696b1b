"""
The pipeline of GitLab: its keywords, and the effects of its own script lines.

Uses a bare remote behind HTTP with GitLab's rules, a web server, an S3 server, and a token service for roles.
"""

from __future__ import annotations

import contextlib
import importlib.resources
import ipaddress
import json
import os
import shutil
import ssl
import threading
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any
from urllib.parse import parse_qsl, urlsplit

import pytest
import yaml

import keyvault
from keyvault.operations import setup
from keyvault.operations.new_vault import NewVault, parse_sets
from keyvault.operations.scaffold import ci_files
from tests.ci import gitlab
from tests.ci.forked import command
from tests.ci.gitlab import Job, Project
from tests.ci.test_play import PREFIX, Forge, publishing
from tests.publish.servers import BUCKET, Store, seaweedfs
from tests.publish.test_check import Host, _serving
from tests.vaults import DAY, HOUR, T0, environment, run_git

SHIPPED = Path(keyvault.__file__).parent / "ci" / "gitlab" / "gitlab-ci.yml"
ROLE = "arn:aws:iam::123456789012:role/keys"
PUBLISHING = {"rotate", "audit", "lint", "pages", "check", "watchdog"}


# --- what stands in it ----------------------------------------------------------------------------------


def documents() -> tuple[dict[str, Any], dict[str, Any]]:
    header, body = yaml.safe_load_all(SHIPPED.read_text())
    return header, body


def jobs_of(body: dict[str, Any]) -> dict[str, dict[str, Any]]:
    return {name: job for name, job in body.items() if isinstance(job, dict) and "script" in job}


def test_it_follows_the_schema() -> None:
    """The JSON Schema that GitLab's own editor uses."""
    import jsonschema

    vendored = importlib.resources.files("check_jsonschema") / "builtin_schemas" / "vendor" / "gitlab-ci.json"
    validator = jsonschema.Draft7Validator(json.loads(vendored.read_text()))
    for document in documents():
        assert not [error.message for error in validator.iter_errors(document)]


def test_nothing_foreign_is_put_into_a_script() -> None:
    """Inputs become variables, and cannot contain syntax of YAML or bash."""
    header, body = documents()
    for name, job in jobs_of(body).items():
        assert "$[[" not in json.dumps([job["script"], job.get("before_script")]), name
    for rules in header["spec"]["inputs"].values():
        assert {"options", "regex"} & set(rules)


@pytest.mark.parametrize("value", ['"', "$(id)", "`id`", "$HOME", "a\nb", "a\\", "a: b", "a # b", "x\n"])
def test_inputs_that_are_refused(value: str) -> None:
    """GitLab creates no pipeline."""
    with pytest.raises(ValueError, match="required RegEx pattern"):
        gitlab.read(SHIPPED.read_text(), {"reason": value})


def test_jobs_that_write_run_one_at_a_time_and_to_their_end() -> None:
    """In any pipeline; and all jobs that read the vault fetch its whole history."""
    _, body = documents()
    writing = {name for name, job in jobs_of(body).items() if job.get("resource_group") == "keyvault"}
    assert writing == {"rotate", "pages", "store", "branch"}
    assert body["default"]["interruptible"] is False
    assert {name for name, job in jobs_of(body).items() if job.get("interruptible")} == {"review"}
    assert body["variables"]["GIT_DEPTH"] == "0"


def test_only_the_job_that_deploys_to_a_store_proves_who_it_is() -> None:
    """And only the job that pushes is in the scope of its token."""
    _, body = documents()
    assert {name for name, job in jobs_of(body).items() if "id_tokens" in job} == {"store"}
    scopes = {name: job["environment"]["name"] for name, job in jobs_of(body).items() if "environment" in job}
    assert scopes == {"rotate": "keyvault-push", "store": "keyvault-deploy", "branch": "keyvault-deploy"}
    assert {name for name, job in jobs_of(body).items() if "CI_JOB_TOKEN" in str(job)} == {"rotate", "branch"}


# --- what it does ---------------------------------------------------------------------------------------


@dataclass
class Roles:
    """The part of Amazon's token service that publishing uses; over TLS only, as its client requires."""

    url: str
    certificate: Path
    asked: list[dict[str, str]] = field(default_factory=list)


@contextlib.contextmanager
def roles(folder: Path, store: Store) -> Iterator[Roles]:
    """Return the keys of *store* for a token for the role."""
    made = Roles("", folder / "certificate.pem")
    context = _context(made.certificate)

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            self.rfile.read(int(self.headers.get("Content-Length", 0)))
            asked = dict(parse_qsl(urlsplit(self.path).query))
            made.asked.append(asked)
            good = asked["WebIdentityToken"] == "id-token-for-sts.amazonaws.com" and asked["RoleArn"] == ROLE
            answer = (
                "<AssumeRoleWithWebIdentityResponse><AssumeRoleWithWebIdentityResult><Credentials>"
                f"<AccessKeyId>{store.environ['AWS_ACCESS_KEY_ID']}</AccessKeyId>"
                f"<SecretAccessKey>{store.environ['AWS_SECRET_ACCESS_KEY']}</SecretAccessKey>"
                "<SessionToken></SessionToken><Expiration>2099-01-01T00:00:00Z</Expiration>"
                "</Credentials></AssumeRoleWithWebIdentityResult></AssumeRoleWithWebIdentityResponse>"
            )
            self.send_response_only(200 if good else 403)
            self.send_header("Content-Length", str(len(answer) if good else 0))
            self.end_headers()
            if good:
                self.wfile.write(answer.encode())

        def log_message(self, format: str, *arguments: object) -> None:
            """Say nothing."""

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    server.socket = context.wrap_socket(server.socket, server_side=True)
    thread = threading.Thread(target=server.serve_forever, args=(0.02,), daemon=True)
    thread.start()
    made.url = f"https://127.0.0.1:{server.server_port}"
    try:
        yield made
    finally:
        server.shutdown()
        server.server_close()
        thread.join()


def _context(place: Path) -> ssl.SSLContext:
    """Return the TLS context of a server, with a self-signed certificate that is written to *place*."""
    from cryptography import x509
    from cryptography.hazmat.primitives import hashes, serialization
    from cryptography.hazmat.primitives.asymmetric import ec

    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, "127.0.0.1")])
    # The client looks at the clock of the machine here, and not at that of the test.
    now = datetime.now().astimezone()
    made = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(key.public_key())
        .serial_number(1)
        .not_valid_before(now - DAY)
        .not_valid_after(now + DAY)
        .add_extension(x509.SubjectAlternativeName([x509.IPAddress(ipaddress.ip_address("127.0.0.1"))]), False)
        .add_extension(x509.BasicConstraints(ca=False, path_length=None), True)
        .sign(key, hashes.SHA256())
    )
    place.write_bytes(made.public_bytes(serialization.Encoding.PEM))
    private = place.with_suffix(".key")
    private.write_bytes(
        key.private_bytes(serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption())
    )
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(place, private)
    return context


@dataclass
class GitLab(Forge):
    """The forge of the other tests, with pipelines of GitLab."""

    project: Project | None = None

    def run(self, source: str = "schedule", inputs: dict[str, str] | None = None, **more: str) -> dict[str, Job]:
        """Run a pipeline; Pages' files are live at its end, or earlier if a job checks the live site."""
        assert self.project is not None
        return self.project.pipeline(source, inputs, **more)

    def commit(self, message: str, **files: str) -> None:
        environ = environment(self.top)
        for path, text in files.items():
            (self.team / path.replace("_", ".")).write_text(text)
        run_git(self.team, environ, "add", "--all")
        run_git(self.team, environ, "commit", "--quiet", "-m", message, f"--date={self.now.isoformat()}")
        run_git(self.team, environ, "push", "--quiet", "origin", "HEAD")

    def states(self) -> dict[str, str]:
        """Return the active key of each set, as the team sees it after a pull."""
        self.signer_pulls()
        listed = json.loads(self.keyvault(self.team, "key", "list", "--json"))
        return {key["set"]: key["kid"] for key in listed if key["state"] == "active"}


@pytest.fixture
def make(tmp_path: Path) -> Iterator[Callable[..., GitLab]]:
    """Return a function that creates a project with a vault that has just been pushed."""
    with contextlib.ExitStack() as stack:

        def made(store: Store | None = None, vault: str = "") -> GitLab:
            host = stack.enter_context(contextlib.contextmanager(_serving)(
                Host(headers={"Cache-Control": "max-age=600", "Access-Control-Allow-Origin": "*"})
            ))  # fmt: skip
            clock = tmp_path / "clock"
            clock.write_text(T0.isoformat())
            commands = stack.enter_context(command(clock))
            forge = GitLab(tmp_path, host, store, clock, commands, vault=vault)
            _set_up(forge)
            home = tmp_path / "runner"
            home.mkdir()
            image = gitlab.image(tmp_path / "image", commands)
            (image / "date").write_text(f'#!/bin/sh\nexec "{shutil.which("date")}" -d "$(cat "{clock}")" "$@"\n')
            (image / "date").chmod(0o755)
            environ = {
                "PATH": f"{image}:{os.environ['PATH']}",
                "HOME": str(home),
                "LANG": "C.UTF-8",
            }
            forge.project = Project(forge.bare, tmp_path / "job", environ)
            forge.project.on_pages = lambda files: setattr(host, "files", files)
            stack.enter_context(forge.project.serving())
            return forge

        yield made


def _set_up(forge: GitLab) -> None:
    environ = environment(forge.top)
    sets = parse_sets(["id-token:ES256", "access-token:EdDSA"])
    files = ci_files("gitlab", tool="jwks-keyvault==1.2.3")
    run_git(forge.top, environ, "init", "--quiet", "--initial-branch=main", str(forge.team))
    setup.init(forge.team / forge.vault, T0, environ, NewVault(forge.host.url, sets, ci=files))
    run_git(forge.top, environ, "init", "--quiet", "--bare", "--initial-branch=main", str(forge.bare))
    for name in ("receive.advertisePushOptions", "uploadpack.allowReachableSHA1InWant"):
        run_git(forge.bare, environ, "config", name, "true")
    run_git(forge.team, environ, "remote", "add", "origin", str(forge.bare))
    run_git(forge.team, environ, "push", "--quiet", "--set-upstream", "origin", "main")


def results(jobs: dict[str, Job]) -> dict[str, str]:
    return {name: job.result for name, job in jobs.items()}


def logs(jobs: dict[str, Job]) -> str:
    return "\n".join(f"===== {name}: {job.result}\n{job.log}" for name, job in jobs.items())


def all_good(*, deploy: str = "pages") -> dict[str, str]:
    return dict.fromkeys(PUBLISHING - {"pages"} | ({deploy} if deploy else set()), "success")


@pytest.mark.slow
def test_from_the_first_push_to_a_rotation(make: Callable[..., GitLab]) -> None:
    """The first push publishes; the next run records that; after a period the keys rotate; no job has a secret."""
    forge = make()
    first = forge.run("push")
    assert results(first) == all_good(), logs(first)
    before = forge.states()

    forge.at(T0 + HOUR)
    assert results(forge.run()) == all_good()
    assert forge.project is not None
    assert forge.project.pushed == ["rotate ci.skip"]

    forge.at(T0 + 91 * DAY)
    rotated = forge.run()
    assert results(rotated) == all_good(), logs(rotated)
    after = forge.states()
    assert all(after[name] != before[name] for name in before)
    live = {key["kid"] for key in forge.host.jwks()}
    assert set(after.values()) | set(before.values()) <= live

    for jobs in (first, rotated):
        _no_secret_in(jobs, forge)


def _no_secret_in(jobs: dict[str, Job], forge: GitLab) -> None:
    """A job has only the token that GitLab gives to each job."""
    identities = [path.read_text() for path in forge.top.rglob("*.json") if "identities" in path.parts]
    assert identities
    for job in jobs.values():
        names = {name for name in job.environ if not name.startswith(("CI_", "GIT_"))}
        assert names <= {
            "PATH", "HOME", "LANG", "TMPDIR", "CI", "GITLAB_CI", "KEYVAULT_DO", "KEYVAULT_DEPLOY", "KEYVAULT_IMAGE", "KEYVAULT_DIR",
            "PIP_DISABLE_PIP_VERSION_CHECK", "PIP_ROOT_USER_ACTION", "SET", "FORCE", "REASON",
        }  # fmt: skip
    assert not [path for path in (forge.top / "runner").rglob("*") if path.is_file()]


@pytest.mark.slow
def test_a_deploy_that_failed_is_mended_by_the_next_run(make: Callable[..., GitLab]) -> None:
    """No key signs before it was seen live, and a failed pipeline is the alarm."""
    forge = make()
    assert forge.project is not None
    forge.project.pages_fail = True
    failed = forge.run("push")
    assert results(failed) == all_good() | {"check": "failed"}, logs(failed)
    forge.at(T0 + 30 * DAY)
    overdue = forge.run()
    assert results(overdue) == all_good() | {"check": "failed", "watchdog": "failed"}, logs(overdue)

    forge.project.pages_fail = False
    forge.run()
    forge.at(forge.now + HOUR)
    mended = forge.run()
    assert results(mended) == all_good(), logs(mended)


@pytest.mark.slow
def test_by_hand(make: Callable[..., GitLab]) -> None:
    """Without force the gate refuses the set, and the other jobs run; force overrides it, with a reason."""
    forge = make()
    before = forge.states()
    refused = forge.run("web", {"set": "id-token"})
    assert results(refused) == all_good() | {"rotate": "failed"}, logs(refused)
    forced = forge.run("web", {"set": "id-token", "force": "true", "reason": "a laptop was lost, (see 12/4)"})
    assert results(forced) == all_good(), logs(forced)
    assert forge.states()["id-token"] != before["id-token"]
    shown = forge.keyvault(forge.team, "key", "show", "--json", "--", forge.states()["id-token"])
    assert "a laptop was lost, (see 12/4)" in shown


@pytest.mark.slow
def test_who_may_push(make: Callable[..., GitLab]) -> None:
    """Without the setting the job fails with a hint; a project access token works, and only rotate sees it."""
    forge = make()
    assert forge.project is not None
    forge.project.job_tokens_push = False
    inputs = {"set": "id-token", "force": "true", "reason": "a test"}
    refused = forge.run("web", inputs)
    assert results(refused) == all_good() | {"rotate": "failed"}, logs(refused)
    assert "403" in refused["rotate"].log

    token = "glpat-of-a-test"
    forge.project.tokens[token] = "project_1_bot"
    forge.project.variables["KEYVAULT_PUSH_TOKEN", "keyvault-push"] = token
    pushed = forge.run("web", inputs)
    assert results(pushed) == all_good(), logs(pushed)
    assert forge.project.pushed == ["project_1_bot ci.skip"]
    assert {name for name, job in pushed.items() if token in job.environ.values()} == {"rotate"}
    assert not [path for path in forge.top.rglob("*") if path.is_file() and token.encode() in path.read_bytes()]


@pytest.mark.slow
def test_never_back_behind_what_is_live(make: Callable[..., GitLab]) -> None:
    """The job does not replace a site of a commit that the branch does not have."""
    forge = make()
    forge.commit("one more", notes_txt="hello")
    forge.run("push")
    run_git(forge.bare, environment(forge.top), "update-ref", "refs/heads/main", "main~1")
    assert forge.project is not None
    forge.project.job_tokens_push = False  # so that no new commit hides it
    live = dict(forge.host.files)
    behind = forge.run()
    assert behind["pages"].result == "failed", logs(behind)
    assert "is not an ancestor of this commit" in behind["pages"].log
    assert behind["check"].result == "skipped"
    assert forge.host.files == live


def test_without_a_vault_it_ends_green_and_says_so(make: Callable[..., GitLab]) -> None:
    """As in a project that was created from the template; on merge requests, too."""
    forge = make()
    (forge.team / "keyvault.toml").unlink()
    forge.commit("no vault")
    for source in ("push", "schedule", "merge_request_event"):
        jobs = forge.run(source)
        assert results(jobs) == {"no-vault": "success"}
        assert "no vault here yet" in jobs["no-vault"].log


@pytest.mark.slow
def test_a_vault_in_a_folder(make: Callable[..., GitLab]) -> None:
    """KEYVAULT_DIR names it."""
    forge = make()
    environ = environment(forge.top)
    (forge.team / "keys").mkdir()
    run_git(forge.team, environ, "mv", "keyvault.toml", "keys.enc", "keys")
    forge.commit("into a folder")
    assert set(forge.run("push")) == {"no-vault"}
    assert forge.project is not None
    forge.project.variables["KEYVAULT_DIR"] = "keys"
    jobs = forge.run("push")
    assert results(jobs) == all_good(), logs(jobs)
    assert "/history.json" in forge.host.files


@pytest.mark.slow
def test_a_vault_in_a_folder_from_the_first_push(make: Callable[..., GitLab]) -> None:
    """`init` names the folder in the pipeline at the top, without any variable."""
    forge = make(vault="app/keys")
    first = forge.run("push")
    assert results(first) == all_good(), logs(first)
    forge.at(T0 + HOUR)
    forge.run()
    published = {key["kid"] for key in forge.host.jwks()}
    forge.at(T0 + 91 * DAY)

    rotated = forge.run()

    assert results(rotated) == all_good(), logs(rotated)
    assert {key["kid"] for key in forge.host.jwks()} > published


@pytest.mark.slow
def test_a_rotation_by_merge_request(make: Callable[..., GitLab]) -> None:
    """A push opens it, a second run pushes nothing; GitLab merges it when its pipeline succeeds, with a merge commit."""
    forge = make()
    assert forge.project is not None
    forge.project.variables["KEYVAULT_PUSH"] = "merge-request"
    refused = forge.run("push")
    assert "signer_lag in keyvault.toml must be 1d or more" in refused["rotate"].log
    del forge.project.variables["KEYVAULT_PUSH"]
    toml = forge.team / "keyvault.toml"
    forge.commit("signers may lag", keyvault_toml=toml.read_text().replace('signer_lag = "1h"', 'signer_lag = "1d"'))
    forge.run("push")
    forge.at(T0 + HOUR)
    forge.run()
    token = "glpat-of-a-test"
    forge.project.tokens[token] = "project_1_bot"
    forge.project.variables |= {("KEYVAULT_PUSH_TOKEN", "keyvault-push"): token, "KEYVAULT_PUSH": "merge-request"}
    forge.project.pushed.clear()
    main = forge.head()
    forge.at(T0 + 91 * DAY)

    first = forge.run()
    assert first["rotate"].result == "success", logs(first)
    proposal = forge.head("keyvault/rotation")
    assert proposal
    assert forge.head() == main
    forge.at(forge.now + 6 * HOUR)
    second = forge.run()
    assert second["rotate"].result == "success", logs(second)
    assert (forge.head("keyvault/rotation"), forge.head()) == (proposal, main)
    options = ["create", "target", "title", "remove_source_branch", "merge_when_pipeline_succeeds"]
    assert forge.project.pushed == [" ".join(["project_1_bot", *(f"merge_request.{option}" for option in options)])]

    forge.at(forge.now + 7 * HOUR)
    forge.run()
    again = forge.head("keyvault/rotation")
    assert again != proposal  # it waited for too long
    environ = environment(forge.top)
    forge.signer_pulls()
    run_git(forge.team, environ, "fetch", "--quiet", "origin", "keyvault/rotation")
    run_git(forge.team, environ, "merge", "--quiet", "--no-ff", "--no-edit", "FETCH_HEAD")
    run_git(forge.team, environ, "push", "--quiet", "origin", "main")
    merged = forge.run("push")
    assert merged["audit"].result == merged["pages"].result == "success", logs(merged)
    assert forge.head("keyvault/rotation") != again


@pytest.mark.slow
def test_a_way_to_push_that_is_none(make: Callable[..., GitLab]) -> None:
    """The rotate job reports it; the existing commit is published."""
    forge = make()
    assert forge.project is not None
    forge.project.variables["KEYVAULT_PUSH"] = "force"
    found = forge.run("push")
    assert results(found) == all_good() | {"rotate": "failed"}, logs(found)
    assert "KEYVAULT_PUSH must be direct or merge-request" in found["rotate"].log


@pytest.mark.slow
def test_to_a_branch(make: Callable[..., GitLab]) -> None:
    """Of the same project, by the token of the job."""
    forge = make()
    assert forge.project is not None
    forge.project.variables["KEYVAULT_DEPLOY"] = "branch:site"
    found = forge.run("push")
    assert found["branch"].result == "success", logs(found)
    listed = run_git(forge.bare, environment(forge.top), "ls-tree", "-r", "--name-only", "site").splitlines()
    assert ".well-known/jwks.json" in listed
    assert forge.project.pushed == ["branch ci.skip"]


@pytest.mark.slow
@pytest.mark.parametrize("branch", ["site", "main"])
def test_to_another_project(make: Callable[..., GitLab], branch: str) -> None:
    """By a token of that project only, which only the deploy job sees."""
    forge = make()
    assert forge.project is not None
    environ = environment(forge.top)
    site = forge.top / "group" / "site.git"
    site.parent.mkdir()
    run_git(forge.top, environ, "init", "--quiet", "--bare", "--initial-branch=main", str(site))
    forge.project.variables |= {"KEYVAULT_DEPLOY": f"branch:{branch}", "KEYVAULT_DEPLOY_PROJECT": "group/site"}
    missing = forge.run("push")
    assert missing["branch"].result == "failed"
    assert "KEYVAULT_DEPLOY_TOKEN is missing" in missing["branch"].log
    token = "glpat-of-the-site"
    forge.project.tokens[token] = "project_2_bot"
    forge.project.places[token] = "/group/site.git"
    forge.project.variables["KEYVAULT_DEPLOY_TOKEN", "keyvault-deploy"] = token

    found = forge.run("push")

    assert found["branch"].result == "success", logs(found)
    assert ".well-known/jwks.json" in run_git(site, environ, "ls-tree", "-r", "--name-only", branch).splitlines()
    assert forge.project.pushed == ["project_2_bot"]
    assert {name for name, job in found.items() if token in job.environ.values()} == {"branch"}
    assert not [path for path in forge.top.rglob("*") if path.is_file() and token.encode() in path.read_bytes()]


@pytest.mark.parametrize("path", ["site", "../x/y", "-o/x y", "$(id)/x", "https://host/x"])
@pytest.mark.slow
def test_another_project_that_cannot_be(make: Callable[..., GitLab], path: str) -> None:
    """Only the path of a project becomes part of a URL."""
    forge = make()
    assert forge.project is not None
    forge.project.variables |= {"KEYVAULT_DEPLOY": "branch:site", "KEYVAULT_DEPLOY_PROJECT": path}
    found = forge.run("push")
    assert found["branch"].result == "failed"
    assert "must be the path of a project" in found["branch"].log


@pytest.fixture
def google() -> Iterator[tuple[str, list[tuple[str, str, dict[str, Any]]]]]:
    """Google's two token services: their URL, and path, credentials and body of each request."""
    asked: list[tuple[str, str, dict[str, Any]]] = []

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
            asked.append((self.path, self.headers.get("Authorization", ""), body))
            answer = json.dumps({"access_token": "federated", "accessToken": "of-the-account"}).encode()
            self.send_response_only(200)
            self.send_header("Content-Length", str(len(answer)))
            self.end_headers()
            self.wfile.write(answer)

        def log_message(self, format: str, *arguments: object) -> None:
            """Say nothing."""

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=server.serve_forever, args=(0.02,), daemon=True)
    thread.start()
    yield f"http://127.0.0.1:{server.server_port}", asked
    server.shutdown()
    server.server_close()
    thread.join()


@pytest.mark.slow
def test_to_google(make: Callable[..., GitLab], google: tuple[str, list[tuple[str, str, dict[str, Any]]]]) -> None:
    """Two requests of workload identity federation exchange the job's token for a service account's."""
    url, asked = google
    forge = make()
    assert forge.project is not None
    provider = "projects/1/locations/global/workloadIdentityPools/gitlab/providers/keys"
    forge.project.variables |= {
        "KEYVAULT_DEPLOY": "gs://keys-example-com",
        "GOOGLE_WORKLOAD_PROVIDER": provider,
        "GOOGLE_SERVICE_ACCOUNT_EMAIL": "publisher@example.iam.gserviceaccount.com",
        "GOOGLE_STS_URL": url,
        "GOOGLE_CREDENTIALS_URL": url,
    }
    given = publishing(forge)

    found = forge.run("push")

    assert found["store"].result == "success", logs(found)
    assert given()["arguments"] == ["publish", "gs://keys-example-com"]
    assert given()["environ"]["GOOGLE_BEARER_TOKEN"] == "of-the-account"
    assert not {name for name in given()["environ"] if name.startswith("KEYVAULT_") and name.endswith("_TOKEN")}
    (first, _, exchange), (second, authorization, _) = asked
    assert (first, exchange["audience"]) == ("/v1/token", f"//iam.googleapis.com/{provider}")
    assert exchange["subjectToken"] == f"id-token-for-https://iam.googleapis.com/{provider}"
    account = "projects/-/serviceAccounts/publisher@example.iam.gserviceaccount.com"
    assert (second, authorization) == (f"/v1/{account}:generateAccessToken", "Bearer federated")


@pytest.mark.slow
def test_to_azure(make: Callable[..., GitLab]) -> None:
    """The job's token for Azure is in a file until the job ends."""
    forge = make()
    assert forge.project is not None
    forge.project.variables |= {
        "KEYVAULT_DEPLOY": "az://$web",
        "AZURE_STORAGE_ACCOUNT_NAME": "keys",
        "AZURE_CLIENT_ID": "a-client",
        "AZURE_TENANT_ID": "a-tenant",
    }
    given = publishing(forge)

    found = forge.run("push")

    assert found["store"].result == "success", logs(found)
    assert given()["token"] == "id-token-for-api://AzureADTokenExchange"
    assert not Path(given()["environ"]["AZURE_FEDERATED_TOKEN_FILE"]).exists()


def test_pipelines_that_are_not_made(make: Callable[..., GitLab]) -> None:
    """Pushes to other branches and other sources start no pipeline."""
    forge = make()
    run_git(forge.bare, environment(forge.top), "branch", "other", "main")
    assert forge.run("push", branch="other") == {}
    assert forge.run("parent_pipeline") == {}


@pytest.mark.slow
@pytest.mark.parametrize(("deploy", "jobs"), [("none", all_good(deploy="")), ("ftp://host", None), ("s3://", None)])
def test_where_to_deploy(make: Callable[..., GitLab], deploy: str, jobs: dict[str, str] | None) -> None:
    """`none` deploys nothing; an invalid destination is an error."""
    forge = make()
    assert forge.project is not None
    forge.project.variables["KEYVAULT_DEPLOY"] = deploy
    found = forge.run("push")
    if jobs is not None:
        # Nobody has published, so there is nothing to see.
        assert results(found) == jobs | {"check": "failed"}, logs(found)
        return
    assert found["unknown-deploy"].result == "failed"
    assert found["check"].result == "skipped"
    assert "must be pages, none, s3://BUCKET, gs://BUCKET, az://CONTAINER or branch:NAME" in found["unknown-deploy"].log


def test_a_merge_request(make: Callable[..., GitLab]) -> None:
    """It shows changes, coming transitions and problems; it sees no protected variable, and a private key fails it."""
    forge = make()
    environ = environment(forge.top)
    base = run_git(forge.team, environ, "rev-parse", "HEAD").strip()
    run_git(forge.team, environ, "switch", "--quiet", "--create", "change")
    forge.keyvault(forge.team, "rotate", "id-token", "--force", "--reason", "a laptop was lost")
    run_git(forge.team, environ, "push", "--quiet", "origin", "change")
    assert forge.project is not None
    forge.project.protected["DEPLOY_KEY"] = "a-secret-of-the-project"

    def review() -> Job:
        jobs = forge.run("merge_request_event", branch="change", base=base)
        assert set(jobs) == {"review"}
        assert "a-secret-of-the-project" not in jobs["review"].environ.values()
        return jobs["review"]

    shown = review()
    assert shown.result == "success", shown.log
    [active] = [key for key in json.loads(forge.keyvault(forge.team, "key", "list", "--json"))
                if key["set"] == "id-token" and key["state"] == "active"]  # fmt: skip
    assert active["kid"] in shown.log
    assert forge.project.pushed == []

    key = "-----BEGIN PRIVATE KEY-----\nMC4CAQAwBQYDK2VwBCIEINTuctv5E1hK1bbY8fdp+K06/nwoy/HU++CXqI9EdVhC\n"
    forge.commit("notes", notes_txt=key + "-----END PRIVATE KEY-----\n")
    refused = review()
    assert refused.result == "failed"
    assert "notes.txt" in refused.log


@pytest.mark.slow
def test_half_a_year_and_a_move_to_s3(make: Callable[..., GitLab], tmp_path: Path) -> None:
    """Keys rotate while deploys fail and recover; halfway the site moves to S3, without a stored access key."""
    (tmp_path / "s3").mkdir()
    with seaweedfs(tmp_path / "s3") as store, roles(tmp_path, store) as service:
        forge = make(store)
        project = forge.project
        assert project is not None
        forge.run("push")
        seen: set[str] = set()
        for day in range(1, 181):
            if day % 3:
                continue  # dropped
            forge.at(T0 + timedelta(days=day, hours=day % 5))
            project.pages_fail = day % 30 == 0
            if day == 90:
                project.pages_fail = False
                project.variables |= {
                    "KEYVAULT_DEPLOY": f"s3://{BUCKET}/{PREFIX}",
                    "AWS_ROLE_ARN": ROLE,
                    "AWS_REGION": "us-east-1",
                    "AWS_ENDPOINT_URL": store.environ["AWS_ENDPOINT_URL"],
                    "AWS_ENDPOINT_URL_STS": service.url,
                    "SSL_CERT_FILE": str(service.certificate),
                }
                moving = forge.run()
                assert moving["store"].result == "success", logs(moving)
                forge.serve_s3()
            jobs = forge.run()
            deploy = "pages" if day < 90 else "store"
            assert jobs["rotate"].result == jobs[deploy].result == "success", logs(jobs)
            seen |= set(forge.states().values())
        assert len(seen) >= 6
        last = forge.run()
        assert results(last) == all_good(deploy="store"), logs(last)
        assert service.asked
        assert {job.name for job in last.values() if "KEYVAULT_ID_TOKEN" in job.environ} == {"store"}
        secrets = {store.environ["AWS_ACCESS_KEY_ID"], store.environ["AWS_SECRET_ACCESS_KEY"]}
        assert not [job.name for job in last.values() if secrets & set(job.environ.values())]
