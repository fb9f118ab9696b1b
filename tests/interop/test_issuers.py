"""Every verifier accepts tokens of issuers other than the site's url, exactly as they are written."""

from __future__ import annotations

from dataclasses import dataclass

import pytest

from keyvault.core.algorithms import key_spec
from keyvault.operations import keys
from tests.interop.programs import VERIFIERS, Process, Program
from tests.interop.scenes import signed_by
from tests.interop.sites import hosting
from tests.site.vaults import SITE, Lab, new_lab

pytestmark = pytest.mark.interop

#: Another domain, the client_id of an OAuth client, and a tenant with a slash at its end, which alone is on the site.
ISSUERS = {"service": "https://auth.example.org", "client": "s6BhdRkqt3", "tenant": f"{SITE}/tenant/"}
#: Verifiers that find the keys by the issuer, and so need a discovery document.
BY_ISSUER = ("spring", "kubernetes")


@dataclass(frozen=True)
class World:
    """A vault, and its site."""

    lab: Lab
    site: dict[str, bytes]

    def token(self, name: str, issuer: str) -> str:
        """Return a token that the set *name* signed, with *issuer* in it."""
        return signed_by(self.lab, self.lab.key(name, "active"), issuer)


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory) -> World:
    """A site with a set of each issuer."""
    lab = new_lab(tmp_path_factory.mktemp("issuers") / "home" / "vault", issuer=ISSUERS["service"])
    spec = key_spec("RS256")
    keys.add_set(lab.context(), "service", spec=spec)
    keys.add_set(lab.context(), "client", spec=spec, issuer=ISSUERS["client"], at="/clients/acme")
    keys.add_set(lab.context(), "tenant", spec=spec, issuer=ISSUERS["tenant"])
    return World(lab, lab.site())


@pytest.mark.parametrize("name", [pytest.param(name, marks=pytest.mark.slow) for name in VERIFIERS])
def test_issuers_as_they_are_written(program: Program, world: World, name: str) -> None:
    """A token verifies under its own issuer, but not with a slash added or removed, and not under another set's."""
    verifier = VERIFIERS[name]
    line = program(verifier)
    with hosting(secure=verifier.secure) as host:
        host.files = world.site
        for set_name in ["tenant"] if name in BY_ISSUER else ISSUERS:
            issuer, path = ISSUERS[set_name], world.lab.state.policy.sets[set_name].url.removeprefix(SITE)
            other = issuer.removesuffix("/") if issuer.endswith("/") else f"{issuer}/"
            with Process(line, verifier, host.url + path, issuer, ["RS256"], host.environ) as process:
                assert process.ask(world.token(set_name, issuer)) == ""
                for wrong in (other, *(candidate for candidate in ISSUERS.values() if candidate != issuer)):
                    assert process.ask(world.token(set_name, wrong)), f"{name} takes {wrong} for {issuer}"
