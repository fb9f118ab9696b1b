"""Every verifier takes tokens of issuers that are not the site's url, exactly as they are written."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import pytest

from keyvault.core.algorithms import key_spec
from keyvault.operations import keys, tokens
from tests.interop.programs import VERIFIERS, Process
from tests.interop.scenes import CLAIMS
from tests.interop.sites import Host, hosting
from tests.interop.test_matrix import Program, program
from tests.site.vaults import MINUTE, Lab, new_lab

__all__ = ["program"]

pytestmark = pytest.mark.interop

#: An issuer of another domain, the client_id of an OAuth client, and a tenant with a slash at its end.
SETS = ("service", "client", "tenant")


@dataclass(frozen=True)
class World:
    """A host, and a vault that is served there."""

    host: Host
    lab: Lab

    def issuer(self, name: str) -> str:
        return self.lab.state.policy.sets[name].issuer

    def jwks_uri(self, name: str) -> str:
        return self.lab.state.policy.sets[name].url

    def token(self, name: str, **claims: str) -> str:
        return tokens.sign(self.lab.context(), name, {**CLAIMS, **claims}, ttl=10 * MINUTE)[0]


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory) -> Iterator[World]:
    """A site with three issuers, of which only the last one is on it."""
    folder = tmp_path_factory.mktemp("issuers")
    with hosting() as host:
        lab = new_lab(folder / "home" / "vault", url=host.url, issuer="https://auth.example.org")
        spec = key_spec("RS256")
        keys.add_set(lab.context(), "service", spec=spec)
        keys.add_set(lab.context(), "client", spec=spec, issuer="s6BhdRkqt3", at="/clients/acme")
        keys.add_set(lab.context(), "tenant", spec=spec, issuer=f"{host.url}/tenant/")
        host.deploy(lab)
        yield World(host, lab)


@pytest.mark.parametrize("name", [pytest.param(name, marks=pytest.mark.slow) for name in VERIFIERS])
def test_issuers_as_they_are_written(program: Program, world: World, name: str) -> None:
    """A token verifies under its own issuer, and under none that differs by a slash or is that of another set."""
    verifier = VERIFIERS[name]
    for set_name in SETS:
        issuer, address = world.issuer(set_name), world.jwks_uri(set_name)
        with Process(program(verifier), verifier, address, issuer, ["RS256"]) as process:
            assert process.ask(world.token(set_name)) == ""
            other = issuer.removesuffix("/") if issuer.endswith("/") else issuer + "/"
            for wrong in (other, *(world.issuer(one) for one in SETS if one != set_name)):
                assert process.ask(world.token(set_name, iss=wrong)), f"{name} takes {wrong} for {issuer}"
