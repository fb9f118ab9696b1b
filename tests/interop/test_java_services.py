"""
Java services that are configured as our pages recommend, and as they warn against: Spring Security, SmallRye JWT, Keycloak.

Source: docs/recipes/verifiers.md.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import tomllib
from collections.abc import Sequence
from pathlib import Path

import pytest

from tests.docs.pages import fenced, read
from tests.interop.programs import HERE, PROJECTS, VERIFIERS, Process, command, compile_java, java_libraries
from tests.interop.scenes import sign
from tests.interop.sites import Host, hosting
from tests.site.vaults import SITE, Lab, MakeVault

pytestmark = [pytest.mark.interop, pytest.mark.slow]

SETS = ("rs256:RS256", "es256:ES256")
#: The types of GitHub Pages, which depend on the extension; without one, the type is application/octet-stream.
GITHUB_PAGES = {".well-known/openid-configuration": "application/octet-stream"}


def said(name: str, host: Host, line: Sequence[str], algs: Sequence[str], lab: Lab) -> dict[str, str]:
    """Return a verifier's reason to refuse a token of each set; empty if it accepts it."""
    jwks_uri = f"{host.url}/.well-known/jwks.json"
    with Process(line, VERIFIERS[name], jwks_uri, SITE, algs, host.environ) as process:
        return {alg: process.ask(sign(lab, alg)) for alg in ("RS256", "ES256")}


@pytest.mark.parametrize("name", ["spring-jwks", "smallrye"])
def test_only_rs256_is_trusted_by_default(make_vault: MakeVault, tmp_path: Path, name: str) -> None:
    """With the JWK Set but no algorithm, it refuses each ES256 token; with both, it accepts both tokens."""
    lab, line = make_vault(*SETS), command(VERIFIERS[name].project, tmp_path)
    with hosting() as host:
        host.deploy(lab)
        untold = said(name, host, line, [""], lab)
        told = said(name, host, line, ["RS256", "ES256"], lab)

    assert untold["RS256"] == ""
    assert untold["ES256"]
    assert told == {"RS256": "", "ES256": ""}


def test_spring_on_github_pages(make_vault: MakeVault, tmp_path: Path) -> None:
    """By issuer, Spring starts with our types but not with those of GitHub Pages; by JWK Set, it starts with both."""
    lab, line = make_vault(*SETS), command("spring", tmp_path)
    with hosting(secure=True) as host:
        host.deploy(lab)
        assert said("spring", host, line, ["RS256", "ES256"], lab) == {"RS256": "", "ES256": ""}

        host.types = GITHUB_PAGES
        for refusal in said("spring", host, line, ["RS256", "ES256"], lab).values():
            assert "no suitable HttpMessageConverter" in refusal
            assert "application/octet-stream" in refusal
        assert said("spring-jwks", host, line, ["RS256", "ES256"], lab) == {"RS256": "", "ES256": ""}


def java(folder: Path, project: Path, name: str) -> list[str]:
    """Compile the class *name* of *project* in *folder*, and return its command line."""
    shutil.copy(project / f"{name}.java", folder)
    return [*compile_java(folder, f"{name}.java", libraries=java_libraries(project)), name]


def metadata(member: str) -> str:
    """Return the block of the recipe that sets *member* last in ``[site.metadata]``."""
    (block,) = [
        block
        for block in fenced(read("docs/recipes/verifiers.md"), "toml")
        if list(tomllib.loads(block)["site"]["metadata"])[-1] == member
    ]
    return f"\n{block}"


def test_a_login_needs_the_endpoints_of_a_provider(make_vault: MakeVault, tmp_path: Path) -> None:
    """A static issuer supports no login; an issuer with a login server names its endpoints, as the recipe shows."""
    line = [*java(tmp_path, PROJECTS["spring"].folder, "Login"), SITE]

    def login(lab: Lab) -> str:
        with hosting(secure=True) as host:
            host.deploy(lab)
            environ = {**os.environ, **host.environ}
            done = subprocess.run(line, env=environ, capture_output=True, text=True, check=True, timeout=60)
            return done.stdout.strip()

    lab = make_vault(*SETS)
    assert login(lab).startswith("refused: ")

    lab.append_policy(metadata("response_types_supported"))
    assert login(lab) == "https://login.example.com/authorize https://login.example.com/token"


def test_keycloak_imports_the_document_of_the_recipe(make_vault: MakeVault, tmp_path: Path) -> None:
    """Keycloak's importer refuses the URN in place of an endpoint, and accepts the front page of the site."""
    line = java(tmp_path, HERE / "keycloak", "Import")

    def imported(lab: Lab) -> str:
        document = lab.site()[".well-known/openid-configuration"]
        return subprocess.run(line, input=document, capture_output=True, check=True, timeout=60).stdout.decode().strip()

    lab = make_vault(*SETS)
    assert imported(lab) == "refused: The url [authorization_url] is malformed"

    lab.append_policy(metadata("authorization_endpoint"))
    assert imported(lab) == f"{SITE}/.well-known/jwks.json"
