"""
Run a GitHub Actions workflow on this machine: bash runs the `run:` steps of the YAML file itself.

Supports the features that the project's workflows use: `needs`, `if`, `env`, `defaults`, outputs, the step summary, expressions.
A handler of the test plays each action that a job uses; an action without a handler is an error.
"""

from __future__ import annotations

import json
import re
import shutil
import subprocess
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import yaml

_EXPRESSION = re.compile(r"\$\{\{(.*?)\}\}", re.DOTALL)
_TOKEN = re.compile(r"\s*(?:(\|\||&&|==|!=|!|\(|\)|,)|'((?:[^']|'')*)'|([A-Za-z_][\w.*-]*)|(\d+))")
_STATUS = re.compile(r"\b(always|cancelled|failure|success)\(\)")


class StepFailure(Exception):
    """A step ended with an error."""


def evaluate(text: str, context: Mapping[str, Any]) -> Any:
    """Return the value of an expression."""
    tokens = []
    text = text.strip()
    place = 0
    while place < len(text):
        match = _TOKEN.match(text, place)
        assert match, f"{text!r} cannot be read at {text[place:]!r}"
        operator, string, name, number = match.groups()
        if operator:
            tokens.append(("op", operator))
        elif name:
            tokens.append(("name", name))
        else:
            tokens.append(("value", int(number) if number else string.replace("''", "'")))
        place = match.end()
    value, rest = _or(tokens, context)
    assert not rest, f"{text!r} goes on with {rest!r}"
    return value


def _or(tokens: list[Any], context: Mapping[str, Any]) -> tuple[Any, list[Any]]:
    value, tokens = _and(tokens, context)
    while tokens and tokens[0] == ("op", "||"):
        other, tokens = _and(tokens[1:], context)
        value = value or other
    return value, tokens


def _and(tokens: list[Any], context: Mapping[str, Any]) -> tuple[Any, list[Any]]:
    value, tokens = _equal(tokens, context)
    while tokens and tokens[0] == ("op", "&&"):
        other, tokens = _equal(tokens[1:], context)
        value = value and other
    return value, tokens


def _equal(tokens: list[Any], context: Mapping[str, Any]) -> tuple[Any, list[Any]]:
    value, tokens = _unary(tokens, context)
    while tokens and tokens[0] in (("op", "=="), ("op", "!=")):
        wanted = tokens[0][1] == "=="
        other, tokens = _unary(tokens[1:], context)
        value = (value == other) is wanted
    return value, tokens


def _unary(tokens: list[Any], context: Mapping[str, Any]) -> tuple[Any, list[Any]]:
    (kind, value), tokens = tokens[0], tokens[1:]
    if (kind, value) == ("op", "!"):
        found, tokens = _unary(tokens, context)
        return not found, tokens
    if (kind, value) == ("op", "("):
        found, tokens = _or(tokens, context)
        assert tokens[0] == ("op", ")")
        return found, tokens[1:]
    if kind == "value":
        return value, tokens
    if tokens and tokens[0] == ("op", "("):
        arguments, tokens = [], tokens[1:]
        while tokens[0] != ("op", ")"):
            argument, tokens = _or(tokens, context)
            arguments.append(argument)
            if tokens[0] == ("op", ","):
                tokens = tokens[1:]
        return context["functions"][value](*arguments), tokens[1:]
    if value in ("true", "false", "null"):
        return {"true": True, "false": False, "null": None}[value], tokens
    return _lookup(value, context), tokens


def _lookup(path: str, context: Mapping[str, Any]) -> Any:
    first, *others = path.split(".")
    assert first in context, f"{path}: there is no context {first}"
    found: Any = context[first]
    for index, part in enumerate(others):
        if part == "*":
            rest = others[index + 1 :]
            return [_dig(value, rest) for value in found.values()]
        found = _dig(found, [part])
    return found


def _dig(found: Any, parts: list[str]) -> Any:
    for part in parts:
        found = found.get(part, "") if isinstance(found, Mapping) else ""
    return found


def _bare(condition: Any) -> str:
    """Return a condition without its optional braces."""
    text = text_of(condition).strip()
    match = _EXPRESSION.fullmatch(text)
    return match[1] if match else text


def text_of(value: Any) -> str:
    """Return *value* as text, as an expression inserts it."""
    if isinstance(value, bool):
        return "true" if value else "false"
    return "" if value is None else str(value)


def filled(value: Any, context: Mapping[str, Any]) -> str:
    """Return *value* with its expressions evaluated."""
    return _EXPRESSION.sub(lambda match: text_of(evaluate(match[1], context)), text_of(value))


@dataclass
class Job:
    """
    A job and its result.

    Attributes:
        name: Its id.
        definition: Its YAML.
        folder: The workspace.
        temp: ``RUNNER_TEMP``.
        environ: The environment of its next step.
        context: The contexts of its expressions.
        environments: The environment of each `run:` step, in order.
        summary: The text of the step summary.
        log: What was printed.
    """

    name: str
    definition: Mapping[str, Any]
    folder: Path
    temp: Path
    environ: dict[str, str]
    context: dict[str, Any]
    environments: list[dict[str, str]] = field(default_factory=list)
    summary: str = ""
    log: str = ""
    result: str = "skipped"
    outputs: dict[str, str] = field(default_factory=dict)

    @property
    def permissions(self) -> Mapping[str, str]:
        return self.definition.get("permissions") or {}


#: Plays an action: gets the job and its inputs, returns its outputs.
Handler = Callable[[Job, dict[str, str]], dict[str, str]]


@dataclass
class Player:
    """
    A workflow and the forge that runs it.

    Attributes:
        workflow: The YAML file.
        folder: The folder of the jobs' workspaces.
        environ: The initial environment of every step.
        handlers: The handler of each action, by its name without the version.
        variables: Variables of the repository.
        secrets: Secrets of the repository.
        token: ``github.token``.
    """

    workflow: Path
    folder: Path
    environ: Mapping[str, str]
    handlers: Mapping[str, Handler]
    variables: Mapping[str, str] = field(default_factory=dict)
    secrets: Mapping[str, str] = field(default_factory=dict)
    token: str = "ghs_of_a_test"

    def play(
        self,
        event: str = "schedule",
        inputs: Mapping[str, Any] | None = None,
        payload: Mapping[str, Any] | None = None,
    ) -> dict[str, Job]:
        """Run every job once, and return them by id; *payload* is ``github.event``."""
        document = yaml.safe_load(self.workflow.read_text())
        jobs: dict[str, Job] = {}
        for name, definition in document["jobs"].items():
            jobs[name] = self._job(name, definition, document, event, inputs or {}, payload or {}, jobs)
        return jobs

    def _job(
        self,
        name: str,
        definition: Mapping[str, Any],
        document: Mapping[str, Any],
        event: str,
        inputs: Mapping[str, Any],
        payload: Mapping[str, Any],
        done: Mapping[str, Job],
    ) -> Job:
        needs = definition.get("needs") or []
        needs = [needs] if isinstance(needs, str) else needs
        shutil.rmtree(self.folder, ignore_errors=True)
        folder, temp = self.folder / "work", self.folder / "temp"
        for path in (folder, temp):
            path.mkdir(parents=True)
        known = {need: {"result": done[need].result, "outputs": done[need].outputs} for need in needs}
        good = all(need["result"] == "success" for need in known.values())
        context: dict[str, Any] = {
            "github": {
                "token": self.token,
                "repository": "example/keys",
                "workflow_ref": "example/keys/.github/workflows/rotate-and-publish.yml@refs/heads/main",
                "server_url": "https://github.com",
                "run_id": "1",
                "ref_name": "main",
                "event_name": event,
                "event": {"repository": {"default_branch": "main"}, **payload},
            },
            "inputs": inputs,
            "vars": self.variables,
            "secrets": self.secrets,
            "needs": known,
            "steps": {},
            "runner": {"temp": str(temp)},
            "functions": {
                "always": lambda: True,
                "cancelled": lambda: False,
                "success": lambda: good,
                "failure": lambda: not good,
                "contains": lambda where, what: what in where,
                "format": lambda form, *values: form.format(*values),
                "toJSON": json.dumps,
            },
        }
        environ = {**self.environ, "GITHUB_ACTIONS": "true", "CI": "true", "RUNNER_TEMP": str(temp)}
        environ |= {"GITHUB_WORKSPACE": str(folder), "GITHUB_EVENT_NAME": event, "GITHUB_REF_NAME": "main"}
        job = Job(name, definition, folder, temp, environ, context)
        condition = _bare(definition.get("if", "success()"))
        if not _STATUS.search(condition):
            condition = f"success() && ({condition})"
        if not evaluate(condition, context):
            return job
        job.environ |= {key: filled(value, context) for key, value in (document.get("env") or {}).items()}
        job.environ |= {key: filled(value, context) for key, value in (definition.get("env") or {}).items()}
        job.result = "success"
        for step in definition["steps"]:
            condition = _bare(step.get("if", "success()"))
            if job.result == "failure" and not _STATUS.search(condition.replace("success()", "")):
                continue
            if "if" in step and not evaluate(condition, context):
                continue
            try:
                self._step(job, step)
            except StepFailure as error:
                job.log += f"{error}\n"
                if step.get("continue-on-error") is not True:
                    job.result = "failure"
        outputs = definition.get("outputs") or {}
        job.outputs = {key: filled(value, context) for key, value in outputs.items()}
        return job

    def _step(self, job: Job, step: Mapping[str, Any]) -> None:
        outputs: dict[str, str] = {}
        if "uses" in step:
            action = str(step["uses"]).partition("@")[0]
            assert action in self.handlers, f"nobody plays {action}"
            given = {key: filled(value, job.context) for key, value in (step.get("with") or {}).items()}
            outputs = self.handlers[action](job, given)
        else:
            outputs = self._run(job, step)
        if "id" in step:
            job.context["steps"][step["id"]] = {"outputs": outputs}

    def _run(self, job: Job, step: Mapping[str, Any]) -> dict[str, str]:
        # A deploy is done or has failed when its job ends here: there is nothing to wait for.
        script = str(step["run"]).replace("--wait 10m", "--wait 1s")
        assert "${{" not in script, "what is put into a script is run by it"
        files = {
            name: job.temp / name.lower()
            for name in ("GITHUB_OUTPUT", "GITHUB_STEP_SUMMARY", "GITHUB_ENV", "GITHUB_PATH")
        }
        for path in files.values():
            path.write_text("")
        own = {key: filled(value, job.context) for key, value in (step.get("env") or {}).items()}
        environ = {**job.environ, **own, **{name: str(path) for name, path in files.items()}}
        job.environments.append(environ)
        done = subprocess.run(
            ["bash", "--noprofile", "--norc", "-eo", "pipefail", "-c", script],
            cwd=job.folder,
            env=environ,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            timeout=900,
        )
        job.log += f"--- {step.get('name')}\n{done.stdout.decode(errors='replace')}"
        job.summary += files["GITHUB_STEP_SUMMARY"].read_text()
        job.environ |= dict(_pairs(files["GITHUB_ENV"]))
        if done.returncode:
            raise StepFailure(f"{step.get('name')}: exit code {done.returncode}")
        return dict(_pairs(files["GITHUB_OUTPUT"]))


def _pairs(path: Path) -> Iterator[tuple[str, str]]:
    for line in path.read_text().splitlines():
        name, equals, value = line.partition("=")
        assert equals, f"{line!r} is no NAME=VALUE"
        yield name, value
