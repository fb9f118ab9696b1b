"""
What lint says of verifiers is true: each breaking JWK Set is fed to real ones.

A finding that names a verifier in the version that runs here must make it refuse a token, and where no finding names
it, it must accept all: of the sound keys that stand in every set, and of the broken one. So a version that no longer
chokes is noticed, and so is a verifier that a rule forgot.
"""

from __future__ import annotations

import json
import subprocess
import threading
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any
from urllib.parse import quote, unquote

import jwt
import pytest
from joserfc import jwt as joserfc_jwt
from joserfc.jwk import KeySet

from keyvault.core.lint.consumers import CONSUMERS
from keyvault.core.lint.documents import Source, lint_discovery, lint_jwk_set, read
from keyvault.core.lint.rules import GO_JOSE, GO_OIDC, JOSE, JOSERFC, PYJWT
from tests.core.lint_cases import AUDIENCE, HEADERS, URL, Case, cases, es_token, rs_token, sound
from tests.interop.programs import NODE, VERIFIERS, build, go_environment, need_node, versions

pytestmark = pytest.mark.interop

ALGORITHMS = ["RS256", "ES256", "ES384", "PS256", "ES256K", "EdDSA", "Ed25519"]


@dataclass
class Host:
    """A host that serves every case, and documents that a test adds, at a path of its name."""

    url: str
    cases: dict[str, Case]
    documents: dict[str, bytes]

    def jwks_uri(self, name: str) -> str:
        return f"{self.url}/{quote(name)}"


class _Handler(BaseHTTPRequestHandler):
    host: Host

    def log_message(self, format: str, *args: Any) -> None:
        """Say nothing."""

    def do_GET(self) -> None:
        name = unquote(self.path[1:])
        case = self.host.cases.get(name)
        if case is None:
            self._send(200, HEADERS, self.host.documents[name])
        elif case.redirect is not None:
            self._send(301, {"location": case.redirect}, b"")
        else:
            # 304 has no body.
            self._send(case.status, {**HEADERS, **case.headers}, b"" if case.status == 304 else case.body)

    def _send(self, status: int, headers: Mapping[str, str | None], body: bytes) -> None:
        self.send_response(status)
        for name, value in headers.items():
            if value is not None:
                self.send_header(name, value)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)


@contextmanager
def serving() -> Iterator[Host]:
    host = Host("", dict(cases()), {})
    server = ThreadingHTTPServer(("127.0.0.1", 0), type("Handler", (_Handler,), {"host": host}))
    thread = threading.Thread(target=server.serve_forever, args=(0.02,), daemon=True)
    thread.start()
    host.url = f"http://127.0.0.1:{server.server_address[1]}"
    try:
        yield host
    finally:
        server.shutdown()
        thread.join()
        server.server_close()


@pytest.fixture(scope="module")
def host() -> Iterator[Host]:
    """A host on this machine."""
    with serving() as host:
        yield host


@dataclass(frozen=True)
class Question:
    """A token of a case, by its label."""

    case: str
    label: str
    token: str


def questions(host: Host) -> list[Question]:
    return [
        Question(name, label, token) for name, case in host.cases.items() for label, token in case.all_tokens.items()
    ]


#: Why each question's token was refused; empty where it was accepted.
Verdicts = list[str]
Verify = Callable[[Host, list[Question]], Verdicts]


def why(verify: Callable[[], object]) -> str:
    """Return why *verify* refuses; broken keys raise anything in real verifiers."""
    try:
        verify()
    except Exception as error:
        return f"{type(error).__name__}: {error}"
    return ""


def with_pyjwt(host: Host, asked: list[Question]) -> Verdicts:
    known = [alg for alg in ALGORITHMS if alg in jwt.algorithms.get_default_algorithms()]

    def verify(question: Question) -> object:
        key = jwt.PyJWKClient(host.jwks_uri(question.case)).get_signing_key_from_jwt(question.token)
        return jwt.decode(question.token, key, algorithms=known, audience=AUDIENCE)

    return [why(lambda question=question: verify(question)) for question in asked]


def with_joserfc(host: Host, asked: list[Question]) -> Verdicts:
    def verify(question: Question) -> object:
        keys = KeySet.import_key_set(json.loads(host.cases[question.case].body))
        return joserfc_jwt.decode(question.token, keys, algorithms=ALGORITHMS)

    return [why(lambda question=question: verify(question)) for question in asked]


def with_jose(host: Host, asked: list[Question]) -> Verdicts:
    need_node()
    lines = [json.dumps({"jwks_uri": host.jwks_uri(one.case), "token": one.token}) for one in asked]
    return answers(["node", str(NODE / "lint.mjs")], lines)


def answers(command: list[str], lines: list[str]) -> list[Any]:
    """Run *command* and return what it answers to each of *lines*."""
    done = subprocess.run(command, input="\n".join(lines) + "\n", capture_output=True, text=True, timeout=300)
    assert done.returncode == 0, done.stderr
    found = [json.loads(line) for line in done.stdout.splitlines()]
    assert len(found) == len(lines), done.stderr
    return found


@pytest.fixture(scope="module")
def go(tmp_path_factory: pytest.TempPathFactory) -> list[str]:
    """The command that runs the Go program of these tests."""
    project = tmp_path_factory.mktemp("go")
    environ = go_environment(project)
    build(["gofmt", "-l", "."], project)
    build(["go", "build", "-o", "asked", "./lint"], project, **environ)
    return [str(project / "asked")]


def disagreements(host: Host, label: str, asked: list[Question], verdicts: Verdicts) -> list[str]:
    """Return where lint and the verifier that it calls *label* are not of one mind."""
    refused: dict[str, list[str]] = {}
    for question, verdict in zip(asked, verdicts, strict=True):
        refused.setdefault(question.case, []).extend([f"{question.label}: {verdict}"] if verdict else [])
    wrong = []
    for name, reasons in refused.items():
        case = host.cases[name]
        found = lint_jwk_set(Source("it", case.body, URL, case.response))
        named = [one.code for one in found if any(text.startswith(label) for text in one.hurts)]
        if bool(named) != bool(reasons):
            wrong.append(f"{name}: lint says {named or 'nothing'}, {label} says {reasons or 'nothing'}")
    return wrong


def is_clean(asked: list[Question], verdicts: Verdicts) -> bool:
    """Whether both tokens of the clean set were accepted."""
    return [verdict for question, verdict in zip(asked, verdicts, strict=True) if question.case == "clean"] == ["", ""]


@pytest.mark.slow
@pytest.mark.parametrize(("label", "verify"), [(PYJWT, with_pyjwt), (JOSE, with_jose)])
def test_lint_is_right_about(host: Host, label: str, verify: Verify) -> None:
    """Each case over HTTP, in a fresh client."""
    asked = questions(host)
    verdicts = verify(host, asked)

    assert is_clean(asked, verdicts)
    assert disagreements(host, label, asked, verdicts) == []


def test_lint_is_right_about_joserfc(host: Host) -> None:
    """It takes a set that somebody else fetched and parsed: what cannot be parsed never comes there."""
    asked = [one for one in questions(host) if is_given(host.cases[one.case])]
    verdicts = with_joserfc(host, asked)

    assert is_clean(asked, verdicts)
    assert disagreements(host, JOSERFC, asked, verdicts) == []


def is_given(case: Case) -> bool:
    """Whether a client without a mind of its own gets at the document."""
    reading = read(case.body)
    codes = {one.code for one in reading.problems}
    return not {"not-json", "not-utf-8", "utf-16"} & codes and case.status == 200 and case.redirect is None


@pytest.mark.slow  # go build takes a while
def test_lint_is_right_about_go(host: Host, go: list[str]) -> None:
    """go-oidc over HTTP; go-jose below it, whose set fails where that of go-oidc does not."""
    asked = questions(host)
    lines = [json.dumps({"jwks_uri": host.jwks_uri(one.case), "token": one.token}) for one in asked]
    verdicts = answers(go, lines)

    of_oidc = [one["go-oidc"] for one in verdicts]
    assert is_clean(asked, of_oidc)
    assert disagreements(host, GO_OIDC, asked, of_oidc) == []

    # How a host answers is not go-jose's concern.
    pairs = [
        (question, one["go-jose"])
        for question, one in zip(asked, verdicts, strict=True)
        if host.cases[question.case].status == 200 and host.cases[question.case].redirect is None
    ]
    parsed, of_jose = [question for question, _ in pairs], [verdict for _, verdict in pairs]
    assert is_clean(parsed, of_jose)
    assert disagreements(host, GO_JOSE, parsed, of_jose) == []


@pytest.mark.slow  # go build takes a while
@pytest.mark.parametrize(
    ("changes", "code"),
    [
        ({}, None),
        ({}, "byte-order-mark"),
        ({"issuer": "https://other.example"}, "issuer-mismatch"),
        ({"jwks_uri": None}, "no-jwks-uri"),
        ({"id_token_signing_alg_values_supported": ["RS256"]}, "alg-not-listed"),
        ({"subject_types_supported": None}, "discovery-incomplete"),
        ({"id_token_signing_alg_values_supported": ["ES256", "PS256", "RS256"]}, "alg-without-key"),
    ],
)
def test_lint_is_right_about_go_oidc_and_discovery(
    host: Host, go: list[str], changes: dict[str, Any], code: str | None
) -> None:
    """It refuses what names it, and takes what lint only has a word for."""
    name = "/.well-known/openid-configuration"
    issuer = f"{host.url}/{code or 'good'}"
    members = {
        "issuer": issuer,
        "jwks_uri": host.jwks_uri("clean"),
        "authorization_endpoint": f"{issuer}/authorize",
        "response_types_supported": ["id_token"],
        "subject_types_supported": ["public"],
        "id_token_signing_alg_values_supported": ["ES256", "RS256"],
        **changes,
    }
    body = json.dumps({member: value for member, value in members.items() if value is not None}).encode()
    if code == "byte-order-mark":
        body = b"\xef\xbb\xbf" + body
    host.documents[f"{code or 'good'}{name}"] = body
    lines = [json.dumps({"issuer": issuer, "token": token}) for token in (rs_token(), es_token())]
    refused = any(answer["go-oidc"] for answer in answers(go, lines))

    found = lint_discovery(Source("it", body, issuer + name), sound())

    assert {one.code for one in found} == ({code} if code else set())
    assert any(GO_OIDC in one.hurts for one in found) == refused


@pytest.mark.parametrize("name", [name for name, verifier in VERIFIERS.items() if verifier.consumer])
def test_versions_that_findings_name_are_those_that_run_here(name: str) -> None:
    """A newer version that was not measured is not vouched for."""
    label = CONSUMERS[VERIFIERS[name].consumer].label.split()[1]
    version = next(iter(versions(VERIFIERS[name]).values()))

    assert f"{version}.".startswith(f"{label}.")
