"""
A client of an authorization server proves who it is with a key of a vault: both ends are real, and read what we publish.

The server is oidc-provider; the clients sign with a private JWK, as ``keyvault key export --active --private`` gives it.
"""

from __future__ import annotations

import json
import subprocess
from collections.abc import Mapping, Sequence

import pytest

from keyvault.crypto.generate import PrivateJWK
from keyvault.operations import keys, rotation
from tests.interop.programs import NODE, newer_node
from tests.interop.sites import Host, hosting
from tests.site.vaults import Lab, MakeVault

pytestmark = [pytest.mark.interop, pytest.mark.slow]

CLIENT = "client-of-the-tests"
ALGORITHMS = ("RS256", "PS256", "ES256", "EdDSA", "Ed25519")
SETS = tuple(f"{alg.lower()}:{alg}" for alg in ALGORITHMS)
LIBRARIES = ("openid-client", "oauth4webapi")


def private(lab: Lab, alg: str) -> PrivateJWK:
    """Return the private JWK of the active key of the set of *alg*."""
    return keys.open_key(lab.context(), lab.key(alg.lower(), "active"))


def tried(host: Host, requests: Sequence[tuple[str, PrivateJWK]]) -> list[Mapping[str, str]]:
    """Return what a server that reads the set of *host* says to each client: its library and its private JWK."""
    done = subprocess.run(
        [newer_node(), "--no-warnings", str(NODE / "assertions.mjs"), f"{host.url}/.well-known/jwks.json", CLIENT],
        input="".join(json.dumps({"library": library, "jwk": jwk}) + "\n" for library, jwk in requests),
        capture_output=True,
        text=True,
        timeout=60,
    )
    assert done.returncode == 0, done.stderr
    return [json.loads(line) for line in done.stdout.splitlines()]


def test_clients_prove_themselves_with_a_key_of_the_vault(make_vault: MakeVault) -> None:
    """
    Each algorithm works at both ends, but EdDSA: these clients name it Ed25519, and the server then finds no key.

    So a set of such a client is one of Ed25519, as docs/recipes/private-key-jwt.md says.
    """
    lab = make_vault(*SETS)
    pairs = [(library, alg) for library in LIBRARIES for alg in ALGORITHMS]
    with hosting() as host:
        host.deploy(lab)
        answers = tried(host, [(library, private(lab, alg)) for library, alg in pairs])

    for (library, alg), answer in zip(pairs, answers, strict=True):
        if alg == "EdDSA":
            assert "no applicable key found" in answer["error"], library
        else:
            assert answer == {"ok": alg}, library


def test_a_revoked_key_proves_nothing(make_vault: MakeVault) -> None:
    """A server that starts after the deploy refuses a client that still has the key, and takes one with the new key."""
    lab = make_vault(*SETS)
    stolen = [private(lab, alg) for alg in ALGORITHMS]
    for alg in ALGORITHMS:
        rotation.revoke(lab.context(), lab.key(alg.lower(), "active").kid, reason="compromised")
    with hosting() as host:
        host.deploy(lab)
        *refused, taken = tried(host, [("openid-client", jwk) for jwk in (*stolen, private(lab, "ES256"))])

    assert len(refused) == len(ALGORITHMS)
    assert all("no applicable key found" in answer["error"] for answer in refused)
    assert taken == {"ok": "ES256"}
