"""Keys in the files of other servers: which keys, in which order, with which kid, use and alg."""

from __future__ import annotations

import base64
import hashlib
from typing import Any

import pytest

from keyvault.core.jwk import b64u, thumbprint
from keyvault.core.key_parameters import KeyParameters
from keyvault.crypto.generate import PrivateJWK, generate_from_parameters
from keyvault.crypto.imports import FoundKey, read_keys
from keyvault.errors import UsageError
from tests.crypto.server_files import (
    ES256,
    RS256,
    hydra_1_set,
    hydra_cli,
    hydra_keys,
    hydra_set,
    keycloak_provider,
    keycloak_realm,
    masked,
    new_uuid,
    spki,
    transit_export,
    vault_oidc_keys,
)
from tests.errors import fails


def kid_of(key: PrivateJWK) -> str:
    """Return the kid that Keycloak gives a key: the SHA-256 of its public half in DER (KeyUtils.createKeyId)."""
    return b64u(hashlib.sha256(spki(key)).digest())


def labels(found: list[FoundKey]) -> list[tuple[Any, ...]]:
    return [(key.kid, key.use, key.alg) for key in found]


@pytest.fixture(scope="module")
def rsa() -> PrivateJWK:
    return generate_from_parameters(RS256)


# --- Ory Hydra --------------------------------------------------------------------------------------------


def test_hydra_2() -> None:
    """A set from the admin API and from the command line, which prints one key without a set around it."""
    keys = hydra_keys(2, ES256)
    expected = [(key["kid"], "sig", "ES256") for key in keys]

    for data in (hydra_set(keys), hydra_cli(keys, "demo")):
        assert labels(read_keys(data)) == expected
    assert labels(read_keys(hydra_cli(keys[:1], "demo"))) == expected[:1]


def test_hydra_1() -> None:
    """Each half has its own kid: the private half's is taken, and ``--kid`` sets the other."""
    (key,) = hydra_keys(1, ES256)

    (found,) = read_keys(hydra_1_set([key]))

    assert (found.kid, found.private) == (f"private:{key['kid']}", True)


# --- Keycloak ---------------------------------------------------------------------------------------------

_KINDS: dict[str, tuple[KeyParameters, dict[str, str], tuple[str, str | None]]] = {
    "rsa-generated": (RS256, {"algorithm": "PS256"}, ("sig", "PS256")),
    "rsa-enc-generated": (RS256, {"keyUse": "ENC", "algorithm": "RSA-OAEP-256"}, ("enc", "RSA-OAEP-256")),
    "rsa": (RS256, {}, ("sig", "RS256")),
    "ecdsa-generated": (ES256, {"ecdsaEllipticCurveKey": "P-256"}, ("sig", None)),
    "ecdh-generated": (ES256, {"ecdhAlgorithm": "ECDH-ES+A128KW"}, ("enc", "ECDH-ES+A128KW")),
    "eddsa-generated": (KeyParameters("OKP", crv="Ed25519"), {"eddsaEllipticCurveKey": "Ed25519"}, ("sig", None)),
    "mldsa-generated": (KeyParameters("AKP", alg="ML-DSA-65"), {"mldsaAlgorithmKey": "ML-DSA-65"}, ("sig", None)),
}


@pytest.mark.parametrize("kind", _KINDS)
def test_keycloak_providers(kind: str, rsa: PrivateJWK) -> None:
    """Each kind: its key under Keycloak's own kid, its use, and its algorithm if the provider names it."""
    form, config, (use, alg) = _KINDS[kind]
    key = rsa if form == RS256 else generate_from_parameters(form)

    (found,) = read_keys(keycloak_realm([keycloak_provider(1, kind, key, **config)]))

    assert (found.kid, found.use, found.alg) == (kid_of(key), use, alg)
    assert found.private
    assert thumbprint(found.members) == thumbprint(key)


def test_keycloak_secrets() -> None:
    """Symmetric keys are read if they sign; the AES key is internal to Keycloak."""
    secret = generate_from_parameters(KeyParameters("oct", bits=512))
    providers = [
        keycloak_provider(1, "hmac-generated", secret, algorithm="HS512"),
        keycloak_provider(2, "aes-generated", secret),
    ]

    (found,) = read_keys(keycloak_realm(providers))

    assert (found.kid, found.use, found.alg) == (new_uuid(1), "sig", "HS512")
    assert found.members["k"] == secret["k"]


def test_keycloak_order() -> None:
    """Keycloak's signing key is first, before a passive key of a higher priority; a disabled key is skipped."""
    keys = [generate_from_parameters(ES256) for _ in range(4)]
    configs = ({"priority": "50"}, {"priority": "200", "active": "false"}, {"priority": "300", "enabled": "false"}, {})
    providers = [
        keycloak_provider(number, "ecdsa-generated", key, **config)
        for number, (key, config) in enumerate(zip(keys, configs, strict=True))
    ]

    found = read_keys(keycloak_realm(providers))

    assert [key.kid for key in found] == [kid_of(keys[3]), kid_of(keys[0]), kid_of(keys[1])]


def test_keycloak_kid_of_its_own(rsa: PrivateJWK) -> None:
    """A provider for RSA may set its kid."""
    (found,) = read_keys(keycloak_realm([keycloak_provider(1, "rsa", rsa, kid="given")]))

    assert found.kid == "given"


def test_keycloak_masked(rsa: PrivateJWK) -> None:
    """The partial export of the admin console has no keys."""
    with fails("realm-keys-masked", UsageError) as caught:
        read_keys(masked(keycloak_realm([keycloak_provider(1, "rsa-generated", rsa)])))

    assert "kc.sh export" in (caught.value.hint or "")


# --- HashiCorp Vault --------------------------------------------------------------------------------------


def test_vault_serves_public_keys() -> None:
    """The identity engine keeps the private halves."""
    keys = hydra_keys(2, ES256)

    found = read_keys(vault_oidc_keys(keys))

    assert labels(found) == [(key["kid"], "sig", "ES256") for key in keys]
    assert not any(key.private for key in found)


def test_transit_exports_json() -> None:
    """PEM inside other JSON is not read: jq -r extracts it."""
    with fails("format-unsupported", UsageError):
        read_keys(transit_export("demo", generate_from_parameters(ES256)))


def test_invalid_base64_in_a_realm(rsa: PrivateJWK) -> None:
    """The error quotes nothing of the file."""
    provider = keycloak_provider(1, "rsa-generated", rsa)
    provider["config"]["privateKey"] = [base64.b64encode(b"no key").decode()]

    with fails("format-unrecognized"):
        read_keys(keycloak_realm([provider]))
