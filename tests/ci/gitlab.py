"""
Run a GitLab pipeline on this machine: bash runs the script lines of the YAML file itself.

Supports the keywords of the project's pipeline: `spec: inputs`, `workflow`, `rules`, `needs`, `default`, `variables`,
environments as a scope of variables, `id_tokens`, `pages`. An unknown keyword is an error.

Sources: CI/CD YAML syntax reference, Predefined CI/CD variables reference, of GitLab 18.
"""

from __future__ import annotations

import base64
import contextlib
import os
import re
import secrets
import shutil
import stat
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import yaml

from tests.vaults import run_git

_TOKEN = re.compile(
    r"""\s*(?:(\|\||&&|==|!=|=~|!~|\(|\))|\$(\w+)|"([^"]*)"|/((?:[^/\\]|\\.)*)/|(null))""",
)
_KEYWORDS = {
    "stage", "rules", "needs", "script", "before_script", "variables", "resource_group", "environment", "id_tokens",
    "pages", "artifacts", "allow_failure", "interruptible",
}  # fmt: skip
_DEFAULTS = {"image", "interruptible", "timeout", "before_script"}


def holds(text: str, variables: Mapping[str, str]) -> bool:
    """Return whether a condition of `rules: if` holds; && binds more tightly than ||."""
    tokens: list[tuple[str, str]] = []
    place = 0
    while place < len(text.rstrip()):
        match = _TOKEN.match(text, place)
        assert match, f"{text!r} cannot be read at {text[place:]!r}"
        kind = ("operator", "variable", "text", "pattern", "null")[
            next(i for i, group in enumerate(match.groups()) if group is not None)
        ]
        tokens.append((kind, next(group for group in match.groups() if group is not None)))
        place = match.end()

    def value() -> str | None:
        kind, said = tokens.pop(0)
        assert kind != "operator", text
        return variables.get(said) if kind == "variable" else None if kind == "null" else said

    def comparison() -> bool:
        if tokens[0] == ("operator", "("):
            tokens.pop(0)
            found = either()
            assert tokens.pop(0) == ("operator", ")"), text
            return found
        left = value()
        if not tokens or tokens[0][1] not in ("==", "!=", "=~", "!~"):
            return bool(left)
        operator = tokens.pop(0)[1]
        right = value()
        if operator in ("==", "!="):
            return (left == right) is (operator == "==")
        found = left is not None and re.search((right or "").replace("\\/", "/"), left) is not None
        return found is (operator == "=~")

    def both() -> bool:
        found = comparison()
        while tokens and tokens[0] == ("operator", "&&"):
            tokens.pop(0)
            found = comparison() and found
        return found

    def either() -> bool:
        found = both()
        while tokens and tokens[0] == ("operator", "||"):
            tokens.pop(0)
            found = both() or found
        return found

    answer = either()
    assert not tokens, f"{text!r} goes on with {tokens!r}"
    return answer


def expanded(text: str, variables: Mapping[str, str]) -> str:
    """Return *text* with its variables replaced; unknown variables stay."""
    return re.sub(r"\$(\w+)", lambda match: variables.get(match[1], match[0]), text)


def read(text: str, inputs: Mapping[str, str]) -> dict[str, Any]:
    """Return the pipeline of a file with a header; like GitLab, insert *inputs* before parsing the rest."""
    header, _, body = text.partition("\n---\n")
    known = yaml.safe_load(header)["spec"]["inputs"]
    assert set(inputs) <= set(known), f"there is no input {set(inputs) - set(known)}"
    for name, rules in known.items():
        given = inputs.get(name, rules["default"])
        assert isinstance(given, str), "an input of another type is put in as such, and no variable takes it"
        if given not in rules.get("options", [given]):
            raise ValueError(
                f"`{name}` input: `{given}` cannot be used because it is not in the list of allowed options"
            )
        # RE2's $ is the end of the text, and Python's may stand before a newline as well.
        if "regex" in rules and not re.search(rules["regex"].replace("$", r"\Z"), given):
            raise ValueError(f"`{name}` input: provided value does not match required RegEx pattern")
        body = body.replace(f"$[[ inputs.{name} ]]", given)
    assert "$[[" not in body
    return dict(yaml.safe_load(body))


@dataclass
class Job:
    """
    The result of a job.

    Attributes:
        name: Its name.
        environ: The environment of its script.
        log: Its output.
        result: success, failed, warning (it failed and may), or skipped.
        token: Its ``CI_JOB_TOKEN``.
    """

    name: str
    environ: dict[str, str] = field(default_factory=dict)
    log: str = ""
    result: str = "skipped"
    token: str = ""


@dataclass
class Project:
    """
    A project on a GitLab: its repository behind HTTP, its variables, its jobs.

    Attributes:
        bare: The repository.
        folder: The folder of the jobs' clones.
        environ: The initial environment of every job.
        variables: Variables of the project; only jobs of the environment see ``(NAME, SCOPE)``.
        protected: Variables that merge requests do not see.
        job_tokens_push: Whether Git push requests with a job token are allowed.
        tokens: Users and their tokens that may push, besides jobs.
        places: The projects of tokens for other projects.
        pages_fail: Whether deploys of Pages fail.
        on_pages: Gets what Pages serves from now on.
        pushed: Job or name of a token that pushed, and its push options.
    """

    bare: Path
    folder: Path
    environ: Mapping[str, str]
    variables: dict[str | tuple[str, str], str] = field(default_factory=dict)
    protected: dict[str, str] = field(default_factory=dict)
    job_tokens_push: bool = True
    tokens: dict[str, str] = field(default_factory=dict)
    places: dict[str, str] = field(default_factory=dict)
    pages_fail: bool = False
    on_pages: Callable[[dict[str, bytes]], None] = lambda files: None
    pushed: list[str] = field(default_factory=list)
    url: str = ""
    running: dict[str, str] = field(default_factory=dict)

    def pipeline(
        self,
        source: str = "schedule",
        inputs: Mapping[str, str] | None = None,
        *,
        branch: str = "main",
        base: str = "",
    ) -> dict[str, Job]:
        """Run every job that the rules select, and return them by name; none if there is no pipeline."""
        commit = run_git(self.bare, self.environ, "rev-parse", branch).strip()
        document = read(run_git(self.bare, self.environ, "show", f"{commit}:.gitlab-ci.yml"), inputs or {})
        variables = {
            "CI": "true",
            "GITLAB_CI": "true",
            "CI_PIPELINE_SOURCE": source,
            "CI_COMMIT_SHA": commit,
            "CI_DEFAULT_BRANCH": "main",
            "CI_PROJECT_URL": self.url,
            "CI_SERVER_URL": self.url.rpartition("/")[0],
            "CI_SERVER_HOST": "gitlab.example.com",
        }
        if source == "merge_request_event":
            variables |= {"CI_MERGE_REQUEST_IID": "1", "CI_MERGE_REQUEST_DIFF_BASE_SHA": base}
        else:
            variables |= {"CI_COMMIT_BRANCH": branch, **self.protected}
        variables = (
            document.pop("variables") | variables | {k: v for k, v in self.variables.items() if isinstance(k, str)}
        )
        default, stages = document.pop("default"), document.pop("stages")
        assert set(default) <= _DEFAULTS, default
        rule = self._matching(document.pop("workflow")["rules"], variables, commit)
        if rule is None:
            return {}
        # Variables of the project win over those of the file.
        variables = {**rule.get("variables", {}), **variables}
        wanted = {}
        for name, definition in document.items():
            assert set(definition) <= _KEYWORDS, (name, set(definition) - _KEYWORDS)
            rule = self._matching(definition["rules"], variables, commit)
            if rule is not None:
                wanted[name] = (definition, rule.get("when", "on_success"))
        assert wanted, "a pipeline without a job is an error"
        jobs: dict[str, Job] = {}
        for name, (definition, when) in sorted(wanted.items(), key=lambda item: stages.index(item[1][0]["stage"])):
            jobs[name] = Job(name)
            needs = self._needs(definition, wanted, stages)
            if when == "always" or all(jobs[job].result in ("success", "warning") for job in needs):
                self._run(jobs[name], {**default, **definition}, variables, commit)
        return jobs

    def _matching(self, rules: list[Any], variables: Mapping[str, str], commit: str) -> dict[str, Any] | None:
        for rule in rules:
            assert set(rule) <= {"if", "exists", "variables", "when", "auto_cancel"}, rule
            paths = {expanded(path, variables) for path in rule.get("exists", ())}
            files = set(run_git(self.bare, self.environ, "ls-tree", "-r", "--name-only", commit).splitlines())
            if holds(rule["if"], variables) and (not paths or paths & files):
                return dict(rule)
        return None

    @staticmethod
    def _needs(definition: Mapping[str, Any], wanted: Mapping[str, Any], stages: list[str]) -> list[str]:
        if "needs" not in definition:
            before = stages[: stages.index(definition["stage"])]
            return [name for name, (other, _) in wanted.items() if other["stage"] in before]
        needs = [{"job": need} if isinstance(need, str) else need for need in definition["needs"]]
        for need in needs:
            assert need["job"] in wanted or need.get("optional"), f"there is no job {need['job']}: no pipeline"
        return [need["job"] for need in needs if need["job"] in wanted]

    def _run(self, job: Job, definition: Mapping[str, Any], variables: Mapping[str, str], commit: str) -> None:
        shutil.rmtree(self.folder, ignore_errors=True)
        work = self.folder / "builds" / "keys"
        temp = self.folder / "tmp"
        for path in (work, temp):
            path.mkdir(parents=True)
        job.token = f"glcbt-{secrets.token_hex(8)}"
        self.running[job.token] = job.name
        # Variables of the project win over those of a job.
        own = definition.get("variables", {}) | {
            k: v for k, v in variables.items() if k not in definition.get("variables", {})
        }
        scope = definition.get("environment", {}).get("name")
        assert scope is None or definition["environment"]["action"] == "access"
        own |= {key[0]: value for key, value in self.variables.items() if isinstance(key, tuple) and key[1] == scope}
        own |= {name: f"id-token-for-{token['aud']}" for name, token in definition.get("id_tokens", {}).items()}
        own |= {"CI_PROJECT_DIR": str(work), "CI_JOB_TOKEN": job.token, "CI_JOB_NAME": job.name, "TMPDIR": str(temp)}
        own = {name: expanded(str(value), own) for name, value in own.items()}
        job.environ = {**self.environ, **own}
        if own.get("GIT_STRATEGY") != "none":
            self._clone(job, work, int(own.get("GIT_DEPTH", "20")), commit)
        # What does not come in a second does not come in ten minutes either: here a deploy is done or has failed.
        lines = [line.replace("--wait 10m", "--wait 1s") for line in definition["before_script"] + definition["script"]]
        done = subprocess.run(
            # A runner executes all lines in one shell, and stops at the first failure.
            ["bash", "--noprofile", "--norc", "-eo", "pipefail", "-c", "\n".join(lines)],
            cwd=work,
            env=job.environ,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            timeout=900,
        )
        job.log += done.stdout.decode(errors="replace")
        del self.running[job.token]
        assert job.token not in job.log
        assert not [path for path in work.rglob("config") if path.is_file() and b"glpat" in path.read_bytes()]
        job.result = "success" if done.returncode == 0 else "warning" if definition.get("allow_failure") else "failed"
        if definition.get("pages") and job.result == "success" and not self.pages_fail:
            public = work / definition["artifacts"]["paths"][0]
            files = [path for path in public.rglob("*") if path.is_file()]
            self.on_pages({f"/{path.relative_to(public).as_posix()}": path.read_bytes() for path in files})

    def _clone(self, job: Job, work: Path, depth: int, commit: str) -> None:
        url = self.url.replace("://", f"://gitlab-ci-token:{job.token}@") + ".git"
        environ = {**self.environ, "GIT_TERMINAL_PROMPT": "0"}
        run_git(work, environ, "init", "--quiet")
        run_git(work, environ, "remote", "add", "origin", url)
        options = ["--depth", str(depth)] if depth else []
        run_git(work, environ, "fetch", "--quiet", *options, "origin", commit)
        run_git(work, environ, "checkout", "--quiet", "--detach", commit)

    # --- its repository, over HTTP ----------------------------------------------------------------------

    @contextlib.contextmanager
    def serving(self) -> Iterator[Project]:
        """Serve the repository like GitLab: running jobs may read; the attributes above say which tokens may push."""
        project = self

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.0"

            def answer(self) -> None:
                path, _, query = self.path.partition("?")
                pushes = "git-receive-pack" in self.path
                user, _, password = (
                    base64.b64decode(self.headers.get("Authorization", "Basic ").removeprefix("Basic "))
                    .decode()
                    .partition(":")
                )
                known = project.running if user == "gitlab-ci-token" else project.tokens
                who = known.get(password)
                place = project.places.get(password, f"/{project.bare.name}")
                if who is None or not path.startswith(f"{place}/"):
                    self.send_response_only(401)
                    self.send_header("WWW-Authenticate", 'Basic realm="GitLab"')
                    self.end_headers()
                    return
                if pushes and password not in project.tokens and not project.job_tokens_push:
                    self.send_response_only(403)
                    self.end_headers()
                    self.wfile.write(b"You are not allowed to upload code.")
                    return
                body = self.rfile.read(int(self.headers.get("Content-Length", 0)))
                if self.command == "POST" and pushes:
                    options = re.findall(rb"ci\.skip|merge_request\.[a-z_]+", body.partition(b"PACK")[0])
                    project.pushed.append(" ".join([who, *(option.decode() for option in options)]))
                environ = {
                    "PATH": os.environ["PATH"],
                    "GIT_PROJECT_ROOT": str(project.bare.parent),
                    "GIT_HTTP_EXPORT_ALL": "1",
                    "PATH_INFO": path,
                    "QUERY_STRING": query,
                    "REQUEST_METHOD": self.command,
                    "REMOTE_USER": who,
                    "CONTENT_TYPE": self.headers.get("Content-Type", ""),
                    "CONTENT_LENGTH": str(len(body)),
                    "HTTP_CONTENT_ENCODING": self.headers.get("Content-Encoding", ""),
                    "GIT_PROTOCOL": self.headers.get("Git-Protocol", ""),
                }
                done = subprocess.run(["git", "http-backend"], input=body, env=environ, capture_output=True)
                head, _, data = done.stdout.partition(b"\r\n\r\n")
                fields = [line.partition(": ")[::2] for line in head.decode().split("\r\n")]
                self.send_response_only(int(dict(fields).get("Status", "200").split()[0]))
                for name, value in fields:
                    if name != "Status":
                        self.send_header(name, value)
                self.end_headers()
                self.wfile.write(data)

            do_GET = do_POST = answer

            def log_message(self, format: str, *arguments: object) -> None:
                """Say nothing."""

        server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        thread = threading.Thread(target=server.serve_forever, args=(0.02,), daemon=True)
        thread.start()
        self.url = f"http://127.0.0.1:{server.server_port}/{self.bare.name.removesuffix('.git')}"
        try:
            yield self
        finally:
            server.shutdown()
            server.server_close()
            thread.join()


def image(folder: Path, commands: Path) -> Path:
    """
    Return a folder for the PATH: its ``python3`` creates environments with a pip that downloads nothing.

    Args:
        folder: The folder to create.
        commands: The folder of the ``keyvault`` that pip installs.
    """
    folder.mkdir()
    pip = folder / "pip"
    pip.write_text(
        "#!/bin/bash\n"
        "# Every requested file exists; only the tool is not pinned by hash.\n"
        "[[ $1 == install ]] || exit 2\n"
        'for path in "$@"; do [[ $path != */requirements*.lock || -s $path ]] || exit 3; done\n'
        'if [[ " $* " == *" --no-deps "* ]]; then\n'
        "  [[ -s ${!#} ]] || exit 4\n"
        f'  ln -s "{commands}/keyvault" "$(dirname "$0")/keyvault"\n'
        "else\n"
        '  [[ " $* " == *" --require-hashes "* ]] || exit 5\n'
        "fi\n"
    )
    python = folder / "python3"
    python.write_text(
        f'#!/bin/bash\n[[ $1 == -m && $2 == venv ]] || exec "{sys.executable}" "$@"\n'
        f'mkdir -p "$3/bin"\ncp "{pip}" "$3/bin/pip"\n'
    )
    for program in (pip, python):
        program.chmod(program.stat().st_mode | stat.S_IXUSR)
    return folder
