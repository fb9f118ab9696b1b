"""
Lint's statements about verifiers are true: real ones get each breaking document.

`keyvault.core.lint.measured` has their earlier results; these tests measure again. A library that no
longer refuses what names it is noticed, and so is one that refuses what does not: `make interop` then writes the table
anew.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from pathlib import Path

import pytest

from keyvault.core.lint.consumers import CONSUMERS
from keyvault.core.lint.documents import Source, lint_discovery, lint_jwk_set
from keyvault.core.lint.measured import HURT, HURT_BY_SOME_FORMS
from keyvault.core.lint.rules import CLIENTS, LIBRARIES, PYTHON_JOSE, RULES
from tests.core.lint_cases import AUDIENCE, URL, Case, es_token, jwk, private, rs_token, sound, token
from tests.interop import verdicts
from tests.interop.lint_table import MEASURED, module
from tests.interop.programs import CAP, GO, NODE, VERIFIERS, versions
from tests.interop.verdicts import BY_ISSUER, CONFIGURATION, DISCOVERY, PROGRAMS, Host

pytestmark = pytest.mark.interop


@pytest.fixture(scope="module")
def host() -> Iterator[Host]:
    """A host on this machine."""
    with verdicts.serving() as host:
        yield host


def expected(name: str) -> dict[str, verdicts.Extent]:
    """Return the codes that the table says hurt the library *name*, those of discovery documents apart."""
    every: dict[str, verdicts.Extent] = {code: "all" for code, names in HURT.items() if name in names}
    some: dict[str, verdicts.Extent] = {code: "some" for code, names in HURT_BY_SOME_FORMS.items() if name in names}
    apart = {*DISCOVERY, "redirect-not-followed"}
    return {code: extent for code, extent in {**every, **some}.items() if code not in apart}


@pytest.mark.parametrize(
    "program",
    # Compilers, and another process for each language.
    [pytest.param(name, marks=() if name == "python" else pytest.mark.slow) for name in PROGRAMS],
)
def test_libraries_refuse_the_cases_that_name_them(host: Host, program: str, tmp_path: Path) -> None:
    """Each case gets a fresh client; valid keys beside broken ones verify, and so does the broken one if it can."""
    asked = verdicts.questions(host)

    for name, found in PROGRAMS[program](host, asked, tmp_path).items():
        refused = verdicts.refusals(host, name, asked, found)
        seen = {code: extent for code, extent in verdicts.extents(host, refused).items() if extent != "none"}
        assert seen == expected(name), name


def test_findings_name_the_libraries_of_the_table(host: Host) -> None:
    """The names of a finding are those of its rule, and these come from the table; none is written by hand."""
    for case in host.cases.values():
        for finding in lint_jwk_set(Source("it", case.body, URL, case.response)):
            measured = [LIBRARIES[name] for name in HURT.get(finding.code, ())]
            assert list(finding.hurts[: len(measured)]) == measured
            assert finding.hurts == RULES[finding.code].hurts


def test_the_table_is_as_it_is_written() -> None:
    """The table has the order and form of the program's output: nobody edited it."""
    for table in (HURT, HURT_BY_SOME_FORMS):
        order = [code for code in RULES if code in table]
        assert list(table) == order
        assert all(names == tuple(name for name in LIBRARIES if name in names) for names in table.values())
    written: dict[str, object] = {}
    exec(compile(module(HURT, HURT_BY_SOME_FORMS), MEASURED.name, "exec"), written)  # noqa: S102 - our own text
    assert (written["HURT"], written["HURT_BY_SOME_FORMS"]) == (HURT, HURT_BY_SOME_FORMS)
    assert MEASURED.read_text().startswith(module({}, {}).partition("#:")[0])


@pytest.mark.slow  # go build takes a while
def test_discovery_documents(host: Host, tmp_path: Path) -> None:
    """go-oidc of today and of kube-apiserver refuse the documents whose findings name them, and accept the others."""
    program = verdicts.go_program(tmp_path)
    for code in ("good", *DISCOVERY):
        issuer, body = verdicts.discovery(host, code)
        found = lint_discovery(Source("it", body, issuer + CONFIGURATION), sound())

        assert {finding.code for finding in found} == ({code} if code in DISCOVERY else set())
        refused = verdicts.refused_by_issuer(host, code, program)
        assert refused == {name for name in BY_ISSUER if name in HURT.get(code, ())}, code

    mark = b"\xef\xbb\xbf"
    issuer, body = verdicts.discovery(host, "byte-order-mark", mark)
    found = lint_discovery(Source("it", body, issuer + CONFIGURATION), sound())
    refused = verdicts.refused_by_issuer(host, "byte-order-mark", program, mark)
    assert [(finding.code, finding.hurts) for finding in found] == [
        ("byte-order-mark", tuple(LIBRARIES[name] for name in BY_ISSUER if name in refused))
    ]


@pytest.mark.slow  # go build takes a while
@pytest.mark.parametrize(
    ("program", "names"), [("go", ["keyfunc", "go-jwt-middleware"]), ("cap", ["cap"]), ("node", ["oauth4webapi"])]
)
def test_algorithms_that_for_names(host: Host, program: str, names: list[str], tmp_path: Path) -> None:
    """Of libraries that the matrix does not have: each algorithm alone, but ML-DSA, which takes a newer Node.js."""
    kinds = {
        **dict.fromkeys(("RS256", "RS384", "RS512", "PS256", "PS384", "PS512"), "RSA"),
        **{"ES256": "P-256", "ES384": "P-384", "ES512": "P-521", "ES256K": "secp256k1"},
        **{"EdDSA": "Ed25519", "Ed25519": "Ed25519", "Ed448": "Ed448"},
    }
    for alg, kind in kinds.items():
        host.cases[f"alg {alg}"] = Case(
            json.dumps({"keys": [jwk(private(kind, "own"), alg=alg)]}).encode(), frozenset()
        )
    asked = [
        verdicts.Question(f"alg {alg}", "own", token(private(kind, "own"), alg)) for alg, kind in kinds.items()
    ]  # fmt: skip
    try:
        found = PROGRAMS[program](host, asked, tmp_path)
    finally:
        for alg in kinds:
            del host.cases[f"alg {alg}"]

    for name in names:
        taken = [alg for alg, verdict in zip(kinds, found[name], strict=True) if not verdict]
        assert taken == [alg for alg in CONSUMERS[name].algs if not alg.startswith("ML-DSA")], found[name]


@pytest.mark.parametrize("name", [name for name, verifier in VERIFIERS.items() if verifier.consumer])
def test_versions_that_findings_name_are_those_that_run_here(name: str) -> None:
    """Findings name only measured versions."""
    label = CONSUMERS[VERIFIERS[name].consumer].label.split()[1]
    version = next(iter(versions(VERIFIERS[name]).values()))

    assert f"{version}.".startswith(f"{label}.")


@pytest.mark.parametrize(
    ("name", "project", "module"),
    [
        ("keyfunc", GO, "github.com/MicahParks/keyfunc/v3"),
        ("kubernetes", GO, "github.com/coreos/go-oidc"),
        ("go-jwt-middleware", GO, "github.com/auth0/go-jwt-middleware/v2"),
        ("cap", CAP, "github.com/hashicorp/cap"),
    ],
)
def test_versions_of_modules_that_the_matrix_does_not_have(name: str, project: Path, module: str) -> None:
    """The versions equal those of go.mod."""
    number = re.findall(r"\d[\d.]*", LIBRARIES[name])[-1]

    assert f"{module} v{number}." in (project / "go.mod").read_text()


def test_python_jose_and_sets_of_several_types() -> None:
    """python-jose, with the whole set, refuses a key's token if a key of another type precedes it: mixed-key-types."""
    from jose import JOSEError
    from jose import jwt as python_jose

    def takes(token: str, *keys: dict[str, object]) -> bool:
        try:
            python_jose.decode(token, {"keys": list(keys)}, algorithms=["RS256", "ES256"], audience=AUDIENCE)
        except JOSEError:
            return False
        return True

    rs, es = sound()
    assert (takes(rs_token(), rs), takes(es_token(), es)) == (True, True)
    assert (takes(rs_token(), rs, es), takes(es_token(), rs, es)) == (True, False)
    assert RULES["mixed-key-types"].hurts == (PYTHON_JOSE,)


@pytest.mark.parametrize(("name", "package"), [(PYTHON_JOSE, "python-jose"), (LIBRARIES["jwskate"], "jwskate")])
def test_versions_of_python_libraries_that_the_matrix_does_not_have(name: str, package: str) -> None:
    """The versions equal those of the lock file."""
    lock = (Path(__file__).parents[2] / "requirements-dev.lock").read_text()

    assert f"\n{package}=={name.split()[1]}." in lock


def test_version_of_oauth4webapi() -> None:
    """The version equals that of npm's lock file."""
    lock = json.loads((NODE / "package-lock.json").read_bytes())

    assert lock["packages"]["node_modules/oauth4webapi"]["version"].startswith(LIBRARIES["oauth4webapi"].split()[1])


def test_every_library_is_run() -> None:
    """The tests run every library that findings can name."""
    assert list(verdicts.LIBRARIES) == list(LIBRARIES)
    assert {library.program for library in verdicts.LIBRARIES.values()} == set(PROGRAMS)
    assert [LIBRARIES[name] for name, library in verdicts.LIBRARIES.items() if library.scope == "fetches"] == list(
        CLIENTS
    )
