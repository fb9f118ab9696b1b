"""
Verifiers of several languages, and the programs that run them: found, compiled, started and asked.

Each language has one small program, which is told the verifier, the URL of a JWK Set, the issuer, the audience and the
algorithms to expect. It reads a token a line and answers a JSON line: ``{"ok": sub}`` or ``{"error": text}``. Where
something is missing on this machine, the test is skipped and says what. No test fetches anything.
"""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
import sys
import threading
import tomllib
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType

import pytest

from tests.interop.sites import AUDIENCE
from tests.site.vaults import SITE

HERE = Path(__file__).parent
NODE = HERE.parent / "node"
GO, CAP, JAVA, RUST = HERE / "go", HERE / "cap", HERE / "java", HERE / "rust"

#: How long a program may take for all that a test asks of it, in seconds.
PATIENCE = 120


@dataclass(frozen=True)
class Verifier:
    """
    A library, or the module of a server, that verifies tokens.

    Attributes:
        name: What programs and expected.toml call it.
        title: What the documentation calls it, with the class or function that fetches.
        language: The folder of its program.
        packages: What it consists of, as its lock file has it.
        consumer: What ``keyvault lint --for`` calls it; empty where it does not know it.
    """

    name: str
    title: str
    language: str
    packages: tuple[str, ...]
    consumer: str = ""


VERIFIERS = {
    verifier.name: verifier
    for verifier in (
        Verifier("pyjwt", "PyJWT, `PyJWKClient`", "python", ("pyjwt",), "pyjwt"),
        Verifier("joserfc", "joserfc", "python", ("joserfc",), "joserfc"),
        Verifier("authlib", "Authlib, `authlib.jose`", "python", ("authlib",), "authlib"),
        Verifier("jwcrypto", "jwcrypto", "python", ("jwcrypto",), "jwcrypto"),
        Verifier("jose", "jose, `createRemoteJWKSet`", "node", ("jose",), "jose"),
        Verifier("jwks-rsa", "jwks-rsa with jsonwebtoken", "node", ("jwks-rsa", "jsonwebtoken"), "jwks-rsa"),
        Verifier("fast-jwt", "fast-jwt with get-jwks", "node", ("fast-jwt", "get-jwks")),
        Verifier("go-oidc", "go-oidc, `RemoteKeySet`", "go", ("github.com/coreos/go-oidc/v3",), "go-oidc"),
        Verifier("go-jose", "go-jose", "go", ("github.com/go-jose/go-jose/v4",), "go-jose"),
        Verifier("jwx", "jwx, `jwk.Cache`", "go", ("github.com/lestrrat-go/jwx/v3",), "jwx"),
        Verifier("nimbus", "Nimbus, `JWKSourceBuilder`", "java", ("nimbus-jose-jwt",), "nimbus"),
        Verifier("jose4j", "jose4j, `HttpsJwks`", "java", ("jose4j",)),
        Verifier("jsonwebtoken", "jsonwebtoken", "rust", ("jsonwebtoken",), "jsonwebtoken"),
        Verifier("mod_oauth2", "mod_oauth2", "apache", ("libapache2-mod-oauth2", "liboauth2-0", "libcjose0")),
    )
}
#: The name of each language's ecosystem, as the documentation has it.
LANGUAGES = {
    "python": "Python",
    "node": "Node.js",
    "go": "Go",
    "java": "Java",
    "rust": "Rust",
    "apache": "Apache",
}


# --- versions: what the lock file of each language says -----------------------------------------------------


def _locked(language: str) -> dict[str, str]:
    """Return the version of each package that the lock file of *language* names."""
    if language == "python":
        text = (HERE.parents[1] / "requirements-dev.lock").read_text()
        return dict(re.findall(r"^([\w.-]+)==(\S+)", text, re.MULTILINE))
    if language == "node":
        packages = json.loads((NODE / "package-lock.json").read_bytes())["packages"]
        return {path.removeprefix("node_modules/"): one.get("version", "") for path, one in packages.items()}
    if language == "go":
        return dict(re.findall(r"^(?:require |\t)(\S+) v(\S+)", (GO / "go.mod").read_text(), re.MULTILINE))
    if language == "java":
        text = (JAVA / "pom.xml").read_text()
        return dict(re.findall(r"<artifactId>(.+)</artifactId>\s*<version>(.+)</version>", text))
    if language == "rust":
        crates = tomllib.loads((RUST / "crates.lock").read_text())["package"]
        return {crate["name"]: crate["version"] for crate in crates}
    return dict(line.split() for line in (HERE / "apache" / "packages").read_text().splitlines())


def versions(verifier: Verifier) -> dict[str, str]:
    """Return the pinned version of each package of *verifier*."""
    locked = _locked(verifier.language)
    return {package: locked[package] for package in verifier.packages}


# --- programs ---------------------------------------------------------------------------------------------


def need(verifier: Verifier) -> None:
    """Skip where the language of *verifier* is there, but too old for it."""
    if verifier.language == "node" and verifier.name != "jose":
        # jwks-rsa, fast-jwt and get-jwks say so.
        need_node(20)


def command(language: str, folder: Path) -> list[str]:
    """Return the command line of the program of *language*, which is compiled in *folder*; skip where it cannot be."""
    return {"python": _python, "node": _node, "go": _go, "java": _java, "rust": _rust, "apache": _apache}[language](
        folder
    )


def build(line: Sequence[str], project: Path, **environ: str) -> None:
    """Run *line*, which checks or compiles *project* and has nothing to print."""
    done = subprocess.run(line, cwd=project, env={**os.environ, **environ}, capture_output=True, text=True)
    # On standard error a Java virtual machine may tell which options it picked up.
    assert (done.returncode, done.stdout) == (0, ""), done.stderr


def numbers(version: str) -> list[int]:
    """Return the numbers of a version; a release candidate counts as its release."""
    return [int(number) for number in re.findall(r"\d+", re.split("rc|beta", version)[0])]


def _python(folder: Path) -> list[str]:
    return [sys.executable, "-W", "ignore", str(HERE / "python" / "verify.py")]


def need_node(oldest: int = 18) -> None:
    """Skip where Node.js is missing or too old, or its packages are."""
    if not shutil.which("node") or not (NODE / "node_modules" / "jose").is_dir():
        pytest.skip("Node.js, or the npm package jose in tests/node, is not installed")
    there = subprocess.run(["node", "--version"], capture_output=True, text=True, check=True).stdout.strip()
    if numbers(there)[0] < oldest:
        pytest.skip(f"Node.js {there} is too old: {oldest} is needed")


def _node(folder: Path) -> list[str]:
    need_node()
    return ["node", str(NODE / "verify.mjs")]


def go_environment(project: Path, source: Path = GO) -> dict[str, str]:
    """Copy the Go module *source* to *project*, and return what its builds need; skip where there is no Go."""
    if not shutil.which("go"):
        pytest.skip("Go is not installed")
    # No test fetches anything, neither modules nor a newer Go.
    offline = {"GOPROXY": "off", "GOTOOLCHAIN": "local"}
    shutil.copytree(source, project, dirs_exist_ok=True)
    needed = re.search(r"^go (\S+)$", (project / "go.mod").read_text(), re.MULTILINE)
    there = subprocess.run(["go", "version"], capture_output=True, text=True, check=True).stdout.split()[2]
    assert needed is not None
    if numbers(there) < numbers(needed[1]):
        pytest.skip(f"Go {there.removeprefix('go')} is too old: {needed[1]} is needed")
    fetched = subprocess.run(["go", "mod", "download"], cwd=project, env={**os.environ, **offline}, capture_output=True)
    if fetched.returncode:
        pytest.skip(f"the Go modules of tests/interop/{source.name} are not fetched: make prepare")
    return offline


def _go(folder: Path) -> list[str]:
    offline = go_environment(folder)
    build(["gofmt", "-l", "."], folder)
    build(["go", "build", "-o", "verify", "./matrix"], folder, **offline)
    return [str(folder / "verify")]


def java_libraries() -> str:
    """Return the class path of what Maven fetched; skip where there is no Java."""
    if not shutil.which("javac") or not shutil.which("java"):
        pytest.skip("the Java development kit is not installed")
    if not (JAVA / "target" / "complete").exists():
        pytest.skip("the Maven dependencies of tests/interop/java are not fetched: make prepare")
    return str(JAVA / "target" / "lib" / "*")


def compile_java(project: Path, *sources: str) -> list[str]:
    """Compile *sources* in *project*, and return the command line up to the name of the class to run."""
    libraries = java_libraries()
    # Compilers of the JVM run for a second: the optimising one would only get in their way.
    build(["javac", "-J-XX:TieredStopAtLevel=1", "-Xlint:all", "-Werror", "-cp", libraries, *sources], project)
    classes = os.pathsep.join((str(project), libraries))
    return ["java", "-XX:TieredStopAtLevel=1", "-Dfile.encoding=UTF-8", "-cp", classes]


def _java(folder: Path) -> list[str]:
    shutil.copy(JAVA / "Matrix.java", folder)
    return [*compile_java(folder, "Matrix.java"), "Matrix"]


def rust_program(name: str) -> str:
    """Compile the Rust programs, and return the path of the one called *name*; skip where that is not possible."""
    if not shutil.which("cargo"):
        pytest.skip("Rust is not installed")
    there = subprocess.run(["cargo", "--version"], capture_output=True, text=True, check=True).stdout.split()[1]
    needed = tomllib.loads((RUST / "Cargo.toml").read_text())["package"]["rust-version"]
    if numbers(there) < numbers(needed):
        pytest.skip(f"Rust {there} is too old: {needed} is needed")
    if not (RUST / "target" / "complete").exists():
        pytest.skip("the crates of tests/interop/rust are not fetched: make prepare")
    # With what `make prepare` compiled, this takes no time.
    build(["cargo", "build", "--quiet", "--locked", "--offline"], RUST)
    return str(RUST / "target" / "debug" / name)


def _rust(folder: Path) -> list[str]:
    return [rust_program("verify")]


def _apache(folder: Path) -> list[str]:
    if not shutil.which("dpkg-query") or not Path("/usr/sbin/apache2").exists():
        pytest.skip("Apache of Debian is not installed")
    for package, pinned in _locked("apache").items():
        done = subprocess.run(["dpkg-query", "-W", "-f", "${Version}", package], capture_output=True, text=True)
        if not done.stdout.startswith(f"{pinned}-"):
            pytest.skip(f"{package} is {done.stdout or 'not installed'}, and {pinned} is what expected.toml is about")
    return [sys.executable, str(HERE / "apache" / "verify.py")]


class Process:
    """A verifier that runs, with its own cache, until the block ends."""

    def __init__(
        self, line: Sequence[str], verifier: Verifier, jwks_uri: str, issuer: str, algs: Sequence[str]
    ) -> None:
        self._line = [*line, verifier.name, jwks_uri, issuer, AUDIENCE, ",".join(algs)]

    def __enter__(self) -> Process:
        self._process = subprocess.Popen(
            self._line, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, encoding="utf-8"
        )
        self._timer = threading.Timer(PATIENCE, self._process.kill)
        self._timer.start()
        return self

    def ask(self, token: str) -> str:
        """Return what the verifier has against *token*, in one line; empty where it accepts it."""
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        self._process.stdin.write(token + "\n")
        self._process.stdin.flush()
        line = self._process.stdout.readline()
        assert line, f"{self._line} ended without an answer"
        answer = json.loads(line)
        assert answer.get("ok") == "alice" or answer["error"], answer
        return " ".join(answer.get("error", "").split())

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        # At the end of its input a program ends.
        self._process.communicate()
        self._timer.cancel()


def published_at(issuer: str) -> str:
    """Return the path of the JWK Set of *issuer* in the site."""
    return f"{issuer.removeprefix(SITE)}/.well-known/jwks.json".lstrip("/")
