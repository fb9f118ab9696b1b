"""
Key files in the formats of other servers, with keys that are generated during the tests.

Each function names the source of its format. No real key is here.
"""

from __future__ import annotations

import base64
import json
import uuid
from collections.abc import Mapping, Sequence
from typing import Any

from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat, PublicFormat

from keyvault.core.key_parameters import KeyParameters
from keyvault.crypto.generate import PrivateJWK, generate_from_parameters
from keyvault.crypto.pairs import private_key

RS256 = KeyParameters("RSA", bits=2048, use="sig", alg="RS256")
ES256 = KeyParameters("EC", crv="P-256", use="sig", alg="ES256")

PRIVATE = ("d", "p", "q", "dp", "dq", "qi", "k", "priv")


def new_uuid(number: int) -> str:
    """Return a UUID, always the same for the same number."""
    return str(uuid.uuid5(uuid.NAMESPACE_DNS, f"key-{number}.example.com"))


def public_half(jwk: Mapping[str, Any]) -> dict[str, Any]:
    """Return *jwk* without its private members."""
    return {name: value for name, value in jwk.items() if name not in PRIVATE}


def _pkcs8(jwk: PrivateJWK) -> bytes:
    return private_key(jwk).private_bytes(Encoding.DER, PrivateFormat.PKCS8, NoEncryption())


def spki(jwk: PrivateJWK) -> bytes:
    """Return the public half of *jwk* in DER."""
    return private_key(jwk).public_key().public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)


# --- Ory Hydra --------------------------------------------------------------------------------------------


def hydra_keys(count: int = 2, form: KeyParameters = RS256) -> list[PrivateJWK]:
    """Return keys like those of Hydra 2: the kid is a UUID (ory/hydra, jwk/generate.go), newest first."""
    return [{**generate_from_parameters(form), "kid": new_uuid(number)} for number in range(count)]


def hydra_set(keys: Sequence[PrivateJWK]) -> bytes:
    """Return the response of GET /admin/keys/{set}: a JWK Set of go-jose (ory/hydra, jwk/handler.go)."""
    order = ("use", "kty", "kid", "crv", "alg", "k", "n", "e", "x", "y", "d", "p", "q", "dp", "dq", "qi")
    return json.dumps({"keys": [{name: key[name] for name in order if name in key} for key in keys]}).encode() + b"\n"


def hydra_cli(keys: Sequence[PrivateJWK], name: str) -> bytes:
    """Return the output of `hydra get jwk SET --format json`: ``set`` in each key (ory/hydra, cmd/output_jwks.go)."""
    shown = [{**key, "set": name} for key in keys]
    return json.dumps(shown[0] if len(shown) == 1 else {"set": name, "keys": shown}).encode() + b"\n"


def hydra_1_set(keys: Sequence[PrivateJWK]) -> bytes:
    """Return a set of Hydra 1, which stores each half under its own kid (ory/hydra v1.9.2, jwk/generator_*.go)."""
    halves = []
    for key in keys:
        private = {**key, "kid": f"private:{key['kid']}"}
        halves += [private, {**public_half(key), "kid": f"public:{key['kid']}"}]
    return hydra_set(halves)


# --- Keycloak ---------------------------------------------------------------------------------------------

#: Each kind of provider, and the member of its configuration that has the key (keycloak/keycloak, org.keycloak.keys).
PROVIDERS = {
    "rsa-generated": "privateKey",
    "rsa-enc-generated": "privateKey",
    "rsa": "privateKey",
    "ecdsa-generated": "ecdsaPrivateKey",
    "ecdh-generated": "ecdhPrivateKey",
    "eddsa-generated": "eddsaPrivateKey",
    "mldsa-generated": "mldsaPrivateKey",
    "hmac-generated": "secret",
    "aes-generated": "secret",
}


def keycloak_provider(number: int, kind: str, key: PrivateJWK, **config: str) -> dict[str, Any]:
    """Return a provider as ``kc.sh export`` writes it: every value is a list of strings."""
    member = PROVIDERS[kind]
    plain = {"priority": "100", **config}
    if member == "secret":
        plain = {"kid": new_uuid(number), "secret": key["k"], **plain}
    elif kind == "rsa":  # an uploaded key, in its original PEM
        plain[member] = private_key(key).private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()).decode()
    else:
        plain[member] = base64.b64encode(_pkcs8(key)).decode()
    if kind.startswith(("ecdsa", "ecdh", "eddsa", "mldsa")):
        plain[member.replace("Private", "Public")] = base64.b64encode(spki(key)).decode()
    return {
        "id": new_uuid(number),
        "name": kind,
        "providerId": kind,
        "subComponents": {},
        "config": {name: [value] for name, value in plain.items()},
    }


def keycloak_realm(providers: Sequence[Mapping[str, Any]]) -> bytes:
    """Return the output of ``kc.sh export --realm demo --file …``, shortened."""
    components = {"org.keycloak.keys.KeyProvider": list(providers), "org.keycloak.storage.UserStorageProvider": []}
    return json.dumps({"id": new_uuid(0), "realm": "demo", "components": components}, indent=2).encode() + b"\n"


def masked(realm: bytes) -> bytes:
    """Return *realm* as in the admin console's partial export: each secret is ten asterisks."""
    document = json.loads(realm)
    for provider in document["components"]["org.keycloak.keys.KeyProvider"]:
        for name in provider["config"].keys() & {*PROVIDERS.values()}:
            provider["config"][name] = ["**********"]
    return json.dumps(document).encode()


# --- HashiCorp Vault --------------------------------------------------------------------------------------


def vault_oidc_keys(keys: Sequence[PrivateJWK]) -> bytes:
    """Return the response of identity/oidc/.well-known/keys (hashicorp/vault, website/content/api-docs)."""
    order = ("use", "kty", "kid", "crv", "alg", "n", "e", "x", "y")
    return json.dumps({"keys": [{name: key[name] for name in order if name in key} for key in keys]}).encode()


def transit_export(name: str, key: PrivateJWK, version: int = 1) -> bytes:
    """
    Return the response of transit/export/signing-key/NAME: PEM by version, in JSON.

    RSA keys are in PKCS#1, EC keys in SEC 1 (hashicorp/vault, builtin/logical/transit/path_export.go).
    """
    pem = private_key(key).private_bytes(Encoding.PEM, PrivateFormat.TraditionalOpenSSL, NoEncryption()).decode()
    return json.dumps({"data": {"keys": {str(version): pem}, "name": name}}).encode()
