"""
A change of algorithm, before, during and after, for verifiers that keep running and for those that restart in time.

These learn the algorithms of an issuer when they start: Spring Security from the keys of the JWK Set, zitadel/oidc and
openid-client from the discovery document. A restart while the next key is published is all that they need.
"""

from __future__ import annotations

import json
import subprocess
import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import timedelta

import pytest

from keyvault.crypto.tokens import TokenSigner
from keyvault.errors import GateError
from keyvault.operations import audit, keys, rotation
from tests.errors import fails
from tests.interop.programs import HERE, NODE, PATIENCE, VERIFIERS, Program, build, go_environment, need_node
from tests.interop.scenes import claims_of
from tests.interop.sites import AUDIENCE, Host, hosting
from tests.site.vaults import Lab, new_lab

pytestmark = [pytest.mark.interop, pytest.mark.slow]

DAY = timedelta(days=1)


@dataclass
class World:
    """
    A vault whose set changes from RS256 to ES256, and its host.

    Attributes:
        host: Serves one of the sites.
        lab: The vault; its issuer is the address of the host.
        sites: The site ``before`` the change, ``during`` it and ``after`` it.
        tokens: Tokens of the active key, ``before`` and ``after`` the change.
    """

    host: Host
    lab: Lab
    sites: dict[str, dict[str, bytes]]
    tokens: dict[str, str]


def sign(lab: Lab) -> str:
    private = keys.open_key(lab.context(), lab.key("id-token", "active"))
    return TokenSigner(private).sign({**claims_of(lab.state.policy.site.url), "nonce": "nonce"})


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory) -> Iterator[World]:
    """Run the commands of the runbook, with the waits of the policy."""
    with hosting() as host:
        lab = new_lab(tmp_path_factory.mktemp("algorithm") / "vault", "id-token:RS256", url=host.url)
        sites, tokens = {"before": lab.site()}, {"before": sign(lab)}
        rotation.rotate(lab.context(), ["id-token"], alg="ES256")
        lab.deploy()
        rotation.rotate_due(lab.context())
        sites["during"] = lab.site()
        lab.wait(6 * DAY)
        with fails("rotation-too-early", GateError) as refused:
            rotation.rotate(lab.context(), ["id-token"])
        assert "the first for ES256" in refused.value.message
        lab.wait(DAY)
        rotation.rotate(lab.context(), ["id-token"])
        sites["after"], tokens["after"] = lab.site(), sign(lab)
        assert not audit.audit(lab.context(), lab.context().repository.head()).errors
        yield World(host, lab, sites, tokens)


@pytest.fixture(scope="module")
def lines(program: Program, tmp_path_factory: pytest.TempPathFactory) -> dict[str, Sequence[str]]:
    """Return the command line of each verifier that this machine has."""

    def zitadel() -> Sequence[str]:
        folder = tmp_path_factory.mktemp("zitadel")
        environ = go_environment(folder, HERE / "zitadel")
        build(["go", "build", "-o", "verify", "."], folder, **environ)
        return [str(folder / "verify")]

    def openid_client() -> Sequence[str]:
        need_node(20)
        return ["node", str(NODE / "discover.mjs")]

    found: dict[str, Sequence[str]] = {}
    for name, find in (
        ("spring", lambda: program(VERIFIERS["spring"])),
        ("zitadel", zitadel),
        ("openid-client", openid_client),
    ):
        try:
            found[name] = find()
        except pytest.skip.Exception as reason:
            found[name] = ()
            print(f"{name}: {reason}")
    return found


class Running:
    """A verifier that has started, and so knows its algorithms."""

    def __init__(self, process: subprocess.Popen[str]) -> None:
        self._process = process

    def takes(self, token: str) -> bool:
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        self._process.stdin.write(token + "\n")
        self._process.stdin.flush()
        answer = json.loads(self._process.stdout.readline())
        assert ("ok" in answer) != ("error" in answer), answer
        return "ok" in answer


@contextmanager
def started(name: str, line: Sequence[str], world: World) -> Iterator[Running]:
    """Start a verifier on the site that the host serves now, and end it with the block."""
    issuer = world.host.url
    arguments = ["spring", f"{issuer}/.well-known/jwks.json", issuer, AUDIENCE, ""]
    command = [*line, *(arguments if name == "spring" else [issuer, AUDIENCE])]
    pipe = subprocess.PIPE
    with subprocess.Popen(command, stdin=pipe, stdout=pipe, text=True, encoding="utf-8") as process:
        timer = threading.Timer(PATIENCE, process.kill)
        timer.start()
        try:
            running = Running(process)
            if name == "spring":
                # It reads the issuer's documents for its first token.
                assert running.takes(world.tokens["before"])
            else:
                assert process.stdout is not None
                assert json.loads(process.stdout.readline()) == {"ready": True}
            yield running
        finally:
            process.communicate()
            timer.cancel()


@pytest.mark.parametrize("name", ["spring", "zitadel", "openid-client"])
def test_verifier_that_is_restarted_in_time(world: World, lines: dict[str, Sequence[str]], name: str) -> None:
    """A verifier that restarts accepts every token; one that does not refuses only tokens of the new algorithm."""
    if not lines[name]:
        pytest.skip(f"{name} is not here: make prepare")
    old, new = world.tokens["before"], world.tokens["after"]
    world.host.files = world.sites["before"]
    with started(name, lines[name], world) as kept:
        assert kept.takes(old)
        world.host.files = world.sites["during"]
        assert kept.takes(old)
        with started(name, lines[name], world) as restarted:
            assert restarted.takes(old)
            world.host.files = world.sites["after"]
            assert restarted.takes(new)
            assert restarted.takes(old)
        assert not kept.takes(new)
        assert kept.takes(old)
