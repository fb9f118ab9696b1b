"""
Results of real verifiers for each breaking JWK Set of lint's tests, and the resulting table of codes and libraries.

A case counts for a code where no other code of the case explains why a library refuses it. A code hurts a library in
all of its forms, in some, or in none.
"""

from __future__ import annotations

import json
import shutil
import subprocess
import threading
import warnings
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any, Literal
from urllib.parse import quote, unquote

import jwt
from joserfc import jwt as joserfc_jwt
from joserfc.jwk import KeySet

from keyvault.core.lint import rules
from keyvault.core.lint.documents import read
from tests.core.lint_cases import AUDIENCE, HEADERS, Case, cases, es_token, rs_token
from tests.interop.programs import (
    CAP,
    GO,
    JAVA,
    NODE,
    build,
    compile_java,
    go_environment,
    need_node,
    rust_program,
)

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
    """Serve every case on this machine."""
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


#: The reason for refusing each question's token; empty if it was accepted.
Verdicts = list[str]
#: From a host, questions, and a folder to compile in, to the verdicts of each library.
Ask = Callable[[Host, list[Question], Path], dict[str, Verdicts]]
#: The input of a library: a URL, bytes, or a parsed document.
Scope = Literal["fetches", "parses", "given"]


@dataclass(frozen=True)
class Library:
    """
    A library that lint names, by the name of `rules.LIBRARIES`.

    Attributes:
        scope: Its input; a case that fails before the library gets its input does not apply.
        program: The program that runs it, in `PROGRAMS`.
    """

    scope: Scope
    program: str


LIBRARIES = {
    "pyjwt": Library("fetches", "python"),
    "jose": Library("fetches", "node"),
    "jwks-rsa": Library("fetches", "node"),
    "go-oidc": Library("fetches", "go"),
    "go-jose": Library("parses", "go"),
    "jwx": Library("fetches", "go"),
    "keyfunc": Library("fetches", "go"),
    "joserfc": Library("given", "python"),
    "authlib": Library("given", "python"),
    "jwcrypto": Library("parses", "python"),
    "nimbus": Library("fetches", "java"),
    "jsonwebtoken": Library("parses", "rust"),
    "kubernetes": Library("fetches", "go"),
    "cap": Library("fetches", "cap"),
    "go-jwt-middleware": Library("fetches", "go"),
    "oauth4webapi": Library("fetches", "node"),
    "jwskate": Library("given", "python"),
}


def applies(scope: Scope, case: Case) -> bool:
    """Whether a library of *scope* reads the document of *case*: only a library that fetches sees the HTTP response."""
    if scope == "fetches":
        return True
    if case.status != 200 or case.redirect is not None or "content-encoding" in case.headers:
        return False
    return scope == "parses" or not {"not-json", "not-utf-8", "utf-16"} & {
        problem.code for problem in read(case.body).problems
    }


# --- the libraries ----------------------------------------------------------------------------------------


def _with_pyjwt(host: Host, question: Question) -> object:
    known = [alg for alg in ALGORITHMS if alg in jwt.algorithms.get_default_algorithms()]
    key = jwt.PyJWKClient(host.jwks_uri(question.case)).get_signing_key_from_jwt(question.token)
    return jwt.decode(question.token, key, algorithms=known, audience=AUDIENCE)


def _with_joserfc(host: Host, question: Question) -> object:
    keys = KeySet.import_key_set(json.loads(host.cases[question.case].body))
    return joserfc_jwt.decode(question.token, keys, algorithms=ALGORITHMS)


def _with_authlib(host: Host, question: Question) -> object:
    from authlib.deprecate import AuthlibDeprecationWarning

    with warnings.catch_warnings():
        # authlib.jose is deprecated.
        warnings.simplefilter("ignore", AuthlibDeprecationWarning)
        from authlib.jose import JsonWebKey, JsonWebToken

        keys = JsonWebKey.import_key_set(json.loads(host.cases[question.case].body))
        return JsonWebToken([alg for alg in ALGORITHMS if alg != "Ed25519"]).decode(question.token, keys)


def _with_jwcrypto(host: Host, question: Question) -> object:
    from jwcrypto.jwk import JWKSet
    from jwcrypto.jwt import JWT

    keys = JWKSet.from_json(host.cases[question.case].body)
    token = JWT(algs=ALGORITHMS, expected_type="JWS")
    token.deserialize(question.token, keys)
    return token.claims


def _with_jwskate(host: Host, question: Question) -> object:
    from jwskate import JwkSet, SignedJwt

    token = SignedJwt(question.token)
    keys = JwkSet(json.loads(host.cases[question.case].body))
    assert token.verify_signature(keys, alg=token.alg), "the signature is not that of the key"
    return token.claims


_PYTHON = {
    "pyjwt": _with_pyjwt,
    "joserfc": _with_joserfc,
    "authlib": _with_authlib,
    "jwcrypto": _with_jwcrypto,
    "jwskate": _with_jwskate,
}


def _why(verify: Callable[[], object]) -> str:
    """Return the reason why *verify* refuses; broken keys raise any exception in real verifiers."""
    try:
        verify()
    except Exception as error:
        return f"{type(error).__name__}: {error}"
    return ""


def _ask_python(host: Host, asked: list[Question], folder: Path) -> dict[str, Verdicts]:
    return {
        name: [
            _why(lambda verify=verify, question=question: verify(host, question))
            if applies(LIBRARIES[name].scope, host.cases[question.case])
            else ""
            for question in asked
        ]
        for name, verify in _PYTHON.items()
    }


def answers(command: list[str], lines: list[str]) -> list[Any]:
    """Run *command* and return its answer to each of *lines*."""
    done = subprocess.run(command, input="\n".join(lines) + "\n", capture_output=True, text=True, timeout=600)
    assert done.returncode == 0, done.stderr
    # Libraries may write to standard output, too.
    found = [json.loads(line) for line in done.stdout.splitlines() if line.startswith("{")]
    assert len(found) == len(lines), done.stderr
    return found


def _ask(command: list[str], host: Host, asked: list[Question]) -> dict[str, Verdicts]:
    lines = [json.dumps({"jwks_uri": host.jwks_uri(question.case), "token": question.token}) for question in asked]
    found = answers(command, lines)
    return {name: [answer[name] for answer in found] for name in found[0]}


def _ask_node(host: Host, asked: list[Question], folder: Path) -> dict[str, Verdicts]:
    need_node(20)
    return _ask(["node", str(NODE / "lint.mjs")], host, asked)


def go_program(folder: Path, source: Path = GO, package: str = "./lint") -> list[str]:
    """Compile a program of the Go module *source* in *folder*, and return its command line; skip where that fails."""
    environ = go_environment(folder, source)
    build(["gofmt", "-l", "."], folder)
    build(["go", "build", "-o", "asked", package], folder, **environ)
    return [str(folder / "asked")]


def _ask_go(host: Host, asked: list[Question], folder: Path) -> dict[str, Verdicts]:
    return _ask(go_program(folder), host, asked)


def _ask_cap(host: Host, asked: list[Question], folder: Path) -> dict[str, Verdicts]:
    return _ask(go_program(folder, CAP, "."), host, asked)


def _ask_java(host: Host, asked: list[Question], folder: Path) -> dict[str, Verdicts]:
    shutil.copy(JAVA / "Lint.java", folder)
    return _ask([*compile_java(folder, "Lint.java"), "Lint"], host, asked)


def _ask_rust(host: Host, asked: list[Question], folder: Path) -> dict[str, Verdicts]:
    return _ask([rust_program("lint")], host, asked)


PROGRAMS: dict[str, Ask] = {
    "python": _ask_python,
    "node": _ask_node,
    "go": _ask_go,
    "cap": _ask_cap,
    "java": _ask_java,
    "rust": _ask_rust,
}


# --- the table --------------------------------------------------------------------------------------------

#: Of each case that a library was asked, by name: why it refused a token, one text a refused token.
Refused = dict[str, list[str]]
Extent = Literal["all", "some", "none"]


def refusals(host: Host, name: str, asked: list[Question], verdicts: Verdicts) -> Refused:
    """Return the refusals of the library *name*, by case; an accepted case has an empty list."""
    found: Refused = {}
    for question, verdict in zip(asked, verdicts, strict=True):
        if applies(LIBRARIES[name].scope, host.cases[question.case]):
            found.setdefault(question.case, []).extend([f"{question.label}: {verdict}"] if verdict else [])
    assert found["clean"] == [], f"{name} refuses the clean set: {found['clean']}"
    return found


def extents(host: Host, refused: Refused) -> dict[str, Extent]:
    """
    Return to which extent each code hurts a library that *refused* what it did.

    Raises:
        AssertionError: If none of the codes of a refused case explains it.
    """
    by_code: dict[str, list[str]] = {}
    for name in refused:
        for code in host.cases[name].codes:
            by_code.setdefault(code, []).append(name)
    found: dict[str, Extent] = {}
    # Codes that are alone in some case come first: they explain other cases, or are ruled out.
    for code in sorted(by_code, key=lambda code: min(len(host.cases[name].codes) for name in by_code[code])):
        own = [
            name
            for name in by_code[code]
            if all(found.get(other, "all") == "none" for other in host.cases[name].codes - {code})
            or not (host.cases[name].codes - {code})
        ]
        hurt = [bool(refused[name]) for name in own]
        found[code] = "none" if not any(hurt) else "all" if all(hurt) else "some"
    for name, reasons in refused.items():
        explained = any(found[code] != "none" for code in host.cases[name].codes)
        assert explained or not reasons, f"{name}: no code tells why: {reasons}"
    return found


# --- discovery documents ----------------------------------------------------------------------------------

#: Changes of a good discovery document, and the code of the resulting finding.
DISCOVERY: dict[str, dict[str, Any]] = {
    "issuer-mismatch": {"issuer": "https://other.example"},
    "no-jwks-uri": {"jwks_uri": None},
    "alg-not-listed": {"id_token_signing_alg_values_supported": ["RS256"]},
    "discovery-incomplete": {"subject_types_supported": None},
    "alg-without-key": {"id_token_signing_alg_values_supported": ["ES256", "PS256", "RS256"]},
}
#: The libraries that read discovery documents.
BY_ISSUER = ("go-oidc", "kubernetes")
CONFIGURATION = "/.well-known/openid-configuration"


def discovery(host: Host, code: str, mark: bytes = b"") -> tuple[str, bytes]:
    """Serve a discovery document with a finding of the rule *code*, and return its issuer and its bytes."""
    issuer = f"{host.url}/{code}"
    members = {
        "issuer": issuer,
        "jwks_uri": host.jwks_uri("clean"),
        "authorization_endpoint": f"{issuer}/authorize",
        "response_types_supported": ["id_token"],
        "subject_types_supported": ["public"],
        "id_token_signing_alg_values_supported": ["ES256", "RS256"],
        **DISCOVERY.get(code, {}),
    }
    body = mark + json.dumps({member: value for member, value in members.items() if value is not None}).encode()
    host.documents[f"{code}{CONFIGURATION}"] = body
    return issuer, body


def refused_by_issuer(host: Host, code: str, program: list[str], mark: bytes = b"") -> set[str]:
    """
    Return the members of `BY_ISSUER` that refuse a token of an issuer whose discovery document has the finding *code*.
    """
    issuer, _ = discovery(host, code, mark)
    lines = [json.dumps({"issuer": issuer, "token": token}) for token in (rs_token(), es_token())]
    found = answers(program, lines)
    return {name for name in BY_ISSUER if any(answer[name] for answer in found)}


# --- the whole table --------------------------------------------------------------------------------------

Table = dict[str, tuple[str, ...]]


def tables(extents_of: Mapping[str, Mapping[str, Extent]]) -> tuple[Table, Table]:
    """Return the libraries that each code hurts in all of its forms, and in some, in the order of `rules.LIBRARIES`."""
    every: Table = {}
    some: Table = {}
    for code in rules.RULES:
        for extent, table in (("all", every), ("some", some)):
            names = tuple(name for name in rules.LIBRARIES if extents_of[name].get(code) == extent)
            if names:
                table[code] = names
    return every, some
