"""
The snippets of a page work as it says: each runs, unchanged, in a project of its language.

Tokens carry instants that are past and future on any clock, so that no verifier depends on today.
"""

from __future__ import annotations

import base64
import hashlib
import hmac
import json
import os
import re
import shutil
import subprocess
import sys
import urllib.request
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from lxml import html

from keyvault.crypto.tokens import TokenSigner
from keyvault.operations import keys
from tests.docs.pages import fenced, read
from tests.interop.programs import JAVA, NODE, PROJECTS, build, compile_java, go_environment, java_libraries, need_node
from tests.interop.sites import AUDIENCE, FUTURE, PAST, Host, hosting
from tests.site.vaults import SITE, Lab, MakeVault, new_lab

pytestmark = pytest.mark.interop

SETS = {alg.lower(): alg for alg in ("RS256", "PS256", "ES256", "ES384", "ES512", "EdDSA")}
LANGUAGES = ("curl", "pyjwt", "jose", "go", "java")
#: Nimbus, which is in Spring, makes a verifier from a Java key, which it cannot make from an Edwards one; the page says so.
UNKNOWN = {"java": {"EdDSA"}, "java in Spring": {"EdDSA"}, "Spring": {"EdDSA", "PS256", "ES384", "ES512"}}


def snippets(page: bytes) -> dict[str, str]:
    """Return the text of each snippet of *page*, as a reader copies it."""
    found = html.fromstring(page.decode()).xpath("//code[@data-snippet]")
    return {code.get("data-snippet"): code.text_content() for code in found}


# --- the site -------------------------------------------------------------------------------------------


@dataclass
class World:
    """
    A site with two issuers, under a path of its host, and a foreign vault that claims the same URL.

    Attributes:
        host: Serves the site.
        lab: Its vault.
        foreign: The foreign vault.
        sets: The set of each algorithm, by issuer.
        pages: The page of each issuer.
    """

    host: Host
    lab: Lab
    foreign: Lab
    sets: dict[str, dict[str, str]]
    pages: dict[str, str]

    def snippets(self, issuer: str) -> dict[str, str]:
        with urllib.request.urlopen(self.pages[issuer]) as response:  # noqa: S310 - http, on this machine
            return snippets(response.read())


TENANT = {"tenant": "ES256", "tenant-rsa": "RS256"}
#: The JWK Set also contains keys that verify nothing.
ENCRYPTION = "mail:ECDH-ES+A256KW"


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory) -> Iterator[World]:
    """A site whose own issuer has a set of each algorithm and one for encryption; a second issuer has two sets."""
    folder = tmp_path_factory.mktemp("snippets")
    specs = [f"{name}:{alg}" for name, alg in {**SETS, **TENANT}.items()]
    with hosting("/keys") as host:
        lab = new_lab(folder / "home" / "vault", *specs, ENCRYPTION, url=host.url)
        tenant = f"{host.url}/tenants/acme.one"
        for name in TENANT:
            lab.edit_policy(f"[sets.{name}]\n", f'[sets.{name}]\nissuer = "{tenant}"\n')
        host.deploy(lab)
        yield World(
            host,
            lab,
            new_lab(folder / "foreign" / "vault", *(f"{name}:{alg}" for name, alg in SETS.items()), url=host.url),
            {host.url: {alg: name for name, alg in SETS.items()}, tenant: {alg: name for name, alg in TENANT.items()}},
            {host.url: f"{host.url}/index.html", tenant: f"{tenant}/index.html"},
        )


def at(world: World, place: str) -> str:
    """Return the issuer that a test calls ``own`` or ``tenant``."""
    own, tenant = world.sets
    return own if place == "own" else tenant


# --- tokens ---------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Case:
    """
    A token, and the result that a verifier for ``AUDIENCE`` must give.

    Attributes:
        token: The token.
        claims: The claims of an accepted token, or None for a refused one.
    """

    token: str
    claims: dict[str, Any] | None = None


def cases(world: World, issuer: str) -> dict[str, Case]:
    """Return tokens of every algorithm, good ones before and after those that must be refused."""
    good, bad, last = {}, {}, {}
    for alg, name in world.sets[issuer].items():
        key = world.lab.key(name, "active")
        signer = TokenSigner(keys.open_key(world.lab.context(), key))
        claims = {"iss": issuer, "sub": "alice", "aud": AUDIENCE, "iat": PAST, "exp": FUTURE}

        regular = signer.sign({**claims, "jti": alg})
        good[f"{alg} regular"] = Case(regular, {**claims, "jti": alg})
        several = {**claims, "aud": ["other", AUDIENCE], "name": 'Zoë "<&>" 😀'}
        good[f"{alg} several audiences"] = Case(signer.sign(several), several)
        last[f"{alg} after refusals"] = Case(regular, {**claims, "jti": alg})

        for label, changed in {
            "other audience": {"aud": "other"},
            "no audience": {"aud": None},
            "expired": {"exp": PAST + 600},
            "no expiry": {"exp": None},
            "not yet valid": {"nbf": FUTURE - 600},
            "other issuer": {"iss": f"{issuer}/other"},
            "issuer with a slash": {"iss": f"{issuer}/"},
            "no issuer": {"iss": None},
        }.items():
            merged = {member: value for member, value in {**claims, **changed}.items() if value is not None}
            bad[f"{alg} {label}"] = Case(signer.sign(merged))

        header, payload, signature = regular.split(".")
        bad[f"{alg} tampered"] = Case(
            ".".join((header, payload, signature[:40] + other(signature[40]) + signature[41:]))
        )
        bad[f"{alg} exchanged claims"] = Case(".".join((header, b64u({**claims, "sub": "mallory"}), signature)))
        bad[f"{alg} unsigned"] = Case(f"{b64u({'alg': 'none', 'kid': key.kid})}.{payload}.")
        # The public key as the secret of an HMAC: works on verifiers that take the algorithm from the token.
        signed = f"{b64u({'alg': 'HS256', 'kid': key.kid})}.{payload}"
        pem = world.host.files[f"keys/{key.kid}.pem"]
        bad[f"{alg} public key as secret"] = Case(f"{signed}.{b64u(hmac.digest(pem, signed.encode(), hashlib.sha256))}")

        # Both have valid claims and algorithms; one has its own kid, the other the kid of our key.
        private = keys.open_key(world.foreign.context(), world.foreign.key(alg.lower(), "active"))
        bad[f"{alg} foreign"] = Case(TokenSigner(private).sign(claims))
        bad[f"{alg} foreign with our kid"] = Case(TokenSigner({**private, "kid": key.kid}).sign(claims))
    elsewhere = next(other for other in world.sets if other != issuer)
    for alg, name in world.sets[elsewhere].items():
        claims = {"iss": issuer, "sub": "alice", "aud": AUDIENCE}
        signer = TokenSigner(keys.open_key(world.lab.context(), world.lab.key(name, "active")))
        bad[f"{alg} key of another issuer of the site"] = Case(signer.sign({**claims, "iat": PAST, "exp": FUTURE}))
    return {**good, **bad, **last}


def b64u(value: object) -> str:
    data = value if isinstance(value, bytes) else json.dumps(value).encode()
    return base64.urlsafe_b64encode(data).decode().rstrip("=")


def other(character: str) -> str:
    return "B" if character == "A" else "A"


# --- projects: from a snippet and tokens to the output for each token -----------------------------------------


def run(command: list[str], project: Path, signed: list[str], **environ: str) -> list[str]:
    """
    Run *command* in *project* and return a line for each of *signed*: claims in JSON, or the reason for a refusal.
    """
    done = subprocess.run(
        command,
        cwd=project,
        env={**os.environ, **environ},
        input="".join(f"{AUDIENCE} {token}\n" for token in signed),
        capture_output=True,
        text=True,
        encoding="utf-8",
        timeout=60,
    )
    assert done.returncode == 0, done.stderr
    lines = done.stdout.splitlines()
    assert len(lines) == len(signed), done.stdout + done.stderr
    return lines


_PYTHON = """
import json, sys
import jwt
from verify import verify
for line in sys.stdin:
    audience, token = line.split()
    try:
        print(json.dumps(verify(token, audience)))
    except jwt.PyJWTError as error:
        print("refused:", error)
"""


def with_pyjwt(snippet: str, project: Path, signed: list[str]) -> list[str]:
    (project / "verify.py").write_text(snippet)
    return run([sys.executable, "-c", _PYTHON], project, signed)


_JAVASCRIPT = """
import { webcrypto } from "node:crypto";
import { createInterface } from "node:readline";
// Node.js 18 has no global for Web Crypto, which jose looks for.
globalThis.crypto ??= webcrypto;
const { verify } = await import("./verify.mjs");
for await (const line of createInterface({ input: process.stdin })) {
  const [audience, token] = line.split(" ");
  try {
    console.log(JSON.stringify(await verify(token, audience)));
  } catch (error) {
    if (!error.code?.startsWith("ERR_J")) throw error;
    console.log(`refused: ${error.message}`);
  }
}
"""


def with_jose(snippet: str, project: Path, signed: list[str]) -> list[str]:
    need_node()
    (project / "verify.mjs").write_text(snippet)
    (project / "node_modules").symlink_to(NODE / "node_modules")
    return run(["node", "--input-type=module", "--eval", _JAVASCRIPT], project, signed)


def with_go(snippet: str, project: Path, signed: list[str]) -> list[str]:
    offline = go_environment(project)
    (project / "verify").mkdir()
    (project / "verify" / "verify.go").write_text(snippet)
    build(["gofmt", "-l", "."], project)
    build(["go", "build", "-o", "snippet", "."], project, **offline)
    return run([str(project / "snippet")], project, signed)


def with_java(snippet: str, project: Path, signed: list[str]) -> list[str]:
    (project / "Verifier.java").write_text(snippet, encoding="utf-8")
    shutil.copy(JAVA / "Main.java", project)
    return run([*compile_java(project, "Main.java", "Verifier.java"), "Main"], project, signed)


def run_spring(project: Path, signed: list[str], **sources: str) -> list[str]:
    """Compile *sources*, by the name of their class, and give tokens to their class ``Decoder``."""
    spring = PROJECTS["spring"].folder
    for name, source in sources.items():
        (project / f"{name}.java").write_text(source, encoding="utf-8")
    shutil.copy(spring / "Main.java", project)
    files = [f"{name}.java" for name in ("Main", *sources)]
    return run([*compile_java(project, *files, libraries=java_libraries(spring)), "Main"], project, signed)


def spring_recipes() -> list[str]:
    """Return the two beans of the recipe: one with all settings, and one from the snippet of a page."""
    return fenced(read("docs/recipes/verifiers.md"), "java")


Program = Callable[[str, Path, list[str]], list[str]]
PROGRAMS: dict[str, Program] = {
    "pyjwt": with_pyjwt,
    "jose": with_jose,
    "go": with_go,
    "java": with_java,
}


@pytest.mark.parametrize("place", ["own", "tenant"])
@pytest.mark.parametrize(
    "language",
    ["pyjwt", *(pytest.param(name, marks=pytest.mark.slow) for name in ("jose", "go", "java"))],
)
def test_snippet_verifies_and_refuses(world: World, tmp_path: Path, language: str, place: str) -> None:
    """Unchanged, it gives the claims of good tokens of each algorithm and refuses all others, on each issuer's page."""
    issuer = at(world, place)
    expected = cases(world, issuer)
    lines = PROGRAMS[language](world.snippets(issuer)[language], tmp_path, [case.token for case in expected.values()])

    assert_verdicts(expected, lines, UNKNOWN.get(language, set()))


@pytest.mark.slow
@pytest.mark.parametrize("bean", ["Spring", "java in Spring"])
def test_beans_of_spring_verify_and_refuse(world: World, tmp_path: Path, bean: str) -> None:
    """The Java snippet of a page holds for Spring, too; so does the bean of the recipe, for the algorithms that it names."""
    issuer = at(world, "own")
    expected = cases(world, issuer)
    told, made_of_snippet = spring_recipes()
    signed = [case.token for case in expected.values()]
    if bean == "Spring":
        lines = run_spring(tmp_path, signed, Decoder=told.replace(SITE, issuer))
    else:
        lines = run_spring(tmp_path, signed, Decoder=made_of_snippet, Verifier=world.snippets(issuer)["java"])

    assert_verdicts(expected, lines, UNKNOWN[bean])


def assert_verdicts(expected: dict[str, Case], lines: list[str], unknown: set[str]) -> None:
    """Fail unless each good token gave its claims, and every other one a refusal."""
    verdicts = dict(zip(expected, lines, strict=True))
    for label, case in expected.items():
        line = verdicts[label]
        if case.claims is None or label.split()[0] in unknown:
            assert line.startswith("refused:"), f"{label}: {line}"
        else:
            assert not line.startswith("refused:"), f"{label}: {line}"
            given = json.loads(line)
            # One audience may come as text or as a list: RFC 7519 says that they are the same.
            assert listed(given) == listed(case.claims), label


def listed(claims: dict[str, Any]) -> dict[str, Any]:
    audience = claims["aud"]
    return {**claims, "aud": audience if isinstance(audience, list) else [audience]}


@pytest.mark.parametrize("place", ["own", "tenant"])
def test_curl_prints_the_jwk_set(world: World, place: str) -> None:
    """The command, pasted into a shell, prints the issuer's JWK Set and nothing else."""
    if not shutil.which("curl"):
        pytest.skip("curl is not installed")
    issuer = at(world, place)
    done = subprocess.run(["sh", "-c", world.snippets(issuer)["curl"]], capture_output=True, check=True)

    path = issuer.removeprefix(world.host.url).lstrip("/")
    assert done.stdout == world.host.files[f"{path}/.well-known/jwks.json".lstrip("/")]
    assert done.stderr == b""
    kids = {jwk["kid"] for jwk in json.loads(done.stdout)["keys"]}
    assert {world.lab.key(name, "active").kid for name in world.sets[issuer].values()} <= kids


# --- the text of the page ---------------------------------------------------------------------------------


@pytest.mark.parametrize("url", [SITE, f"{SITE}/some/path"])
def test_each_page_names_its_own_issuer(make_vault: MakeVault, url: str) -> None:
    """Snippets of each issuer hold its URL, its JWK Set and the algorithms of its own sets, and no other's."""
    lab = make_vault(url=url)
    lab.edit_policy("[sets.access-token]\n", f'[sets.access-token]\nissuer = "{url}/tenants/a"\n')
    site = lab.site()

    for issuer, alg, page in ((url, "ES256", "index.html"), (f"{url}/tenants/a", "ES384", "tenants/a/index.html")):
        texts = snippets(site[page])
        assert tuple(texts) == LANGUAGES
        for language, text in texts.items():
            assert text.count(f"{issuer}/.well-known/jwks.json") == 1, language
            assert re.findall(r"\b(?:[REP]S\d+|EdDSA)\b", text) == ([] if language == "curl" else [alg])
            named = {f"{issuer}/.well-known/jwks.json"} | (set() if language == "curl" else {issuer})
            assert set(re.findall(r"https://[^\s\"]+", text)) == named


def test_no_snippets_without_a_key_that_signs(make_vault: MakeVault) -> None:
    """The page of an issuer with no keys, or only encryption keys, has no section for verifying."""
    assert snippets(make_vault().site()["index.html"])

    for lab in (make_vault("mail:ECDH-ES+A256KW"), make_vault("cookies:HS256"), make_vault(empty=True)):
        page = lab.site()["index.html"]
        assert snippets(page) == {}
        assert b"How to verify" not in page


@pytest.mark.parametrize(("alg", "warned"), [("ES256", False), ("EdDSA", True), ("Ed25519", True)])
def test_page_says_what_nimbus_refuses(make_vault: MakeVault, alg: str, warned: bool) -> None:
    """If a set signs with an Edwards curve, the Java snippet says that it cannot verify that."""
    page = make_vault(f"id-token:{alg}").site()["index.html"]

    assert (b"it rejects tokens signed with EdDSA" in page) is warned
