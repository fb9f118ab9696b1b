"""
A client authenticates to an authorization server with a key of a vault, with real programs on both ends.

The server is oidc-provider; the clients sign with a private JWK of ``keyvault key export --active --private``.
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
    """Return the private JWK of the active key of the set for *alg*."""
    return keys.open_key(lab.context(), lab.key(alg.lower(), "active"))


def tried(host: Host, requests: Sequence[tuple[str, PrivateJWK]]) -> list[Mapping[str, str]]:
    """Return the server's response to each client (its library and its private JWK), with the set of *host*."""
    done = subprocess.run(
        [newer_node(), "--no-warnings", str(NODE / "assertions.mjs"), f"{host.url}/.well-known/jwks.json", CLIENT],
        input="".join(json.dumps({"library": library, "jwk": jwk}) + "\n" for library, jwk in requests),
        capture_output=True,
        text=True,
        timeout=60,
    )
    assert done.returncode == 0, done.stderr
    return [json.loads(line) for line in done.stdout.splitlines()]


def test_clients_authenticate_with_a_key_of_the_vault(make_vault: MakeVault) -> None:
    """
    Each algorithm works on both ends except EdDSA: these clients call it Ed25519, and the server then finds no key. So
    such a client needs a set of Ed25519, as docs/recipes/private-key-jwt.md says.
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


def test_a_revoked_key_does_not_authenticate(make_vault: MakeVault) -> None:
    """A server that starts after the deploy refuses a client with the revoked key, and accepts one with the new key."""
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
