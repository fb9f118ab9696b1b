"""The files of other tools that docs/coming-from.md imports, generated when the tests run."""

from __future__ import annotations

import itertools
import json
from collections.abc import Iterator
from pathlib import Path

from keyvault.core.jwk import b64u
from keyvault.core.key_objects import spki_kid
from keyvault.core.key_parameters import KeyParameters
from keyvault.crypto.exports import CertificateOptions, encode_keys
from keyvault.crypto.generate import PrivateJWK, generate_from_parameters
from keyvault.operations.export_keys import public_half
from tests.crypto.server_files import (
    ES256,
    RS256,
    hydra_1_set,
    hydra_cli,
    hydra_keys,
    keycloak_provider,
    keycloak_realm,
    new_uuid,
    transit_export,
    vault_oidc_keys,
)
from tests.docs.terminal import START, Terminal

#: The files that step, OpenSSL and jose write on the page, for machines without these tools.
STAND_INS = ("key.json", "encrypted.pem", "jose.jwk")
PASSWORD = b"correct horse"


def _keys(form: KeyParameters) -> Iterator[PrivateJWK]:
    """Yield keys whose kid at Keycloak or Kubernetes can be typed: it does not begin like an option."""
    while True:
        key = generate_from_parameters(form)
        if spki_kid({name: key[name] for name in ("kty", "n", "e", "crv", "x", "y") if name in key})[0] not in "-_":
            yield key


def _encrypted(key: PrivateJWK) -> bytes:
    """Return an encrypted JWK as step writes it (smallstep/crypto, jose/encrypt.go), with fewer iterations."""
    from jwcrypto.jwe import JWE
    from jwcrypto.jwk import JWK

    header = {"alg": "PBES2-HS256+A128KW", "enc": "A256GCM", "cty": "jwk+json"}
    token = JWE(json.dumps(key), json.dumps(header))
    token.add_recipient(JWK(kty="oct", k=b64u(PASSWORD)))
    return str(token.serialize()).encode()


def write_files(terminal: Terminal, folder: Path) -> None:
    """Write the files to *folder*, and publish JWK Sets on hosts."""
    new, number = _keys(ES256), iter(range(100, 200))

    def named(key: PrivateJWK) -> PrivateJWK:
        return {**key, "kid": new_uuid(next(number))}

    def put(name: str, data: bytes) -> None:
        (folder / name).write_bytes(data)

    put("hydra.jwks.json", hydra_cli(hydra_keys(2, ES256), "hydra.openid.id-token"))
    put("hydra-1.jwks.json", hydra_1_set([named(next(new))]))
    rsa = list(itertools.islice(_keys(RS256), 3))
    put(
        "demo-realm.json",
        keycloak_realm(
            [
                keycloak_provider(1, "rsa-generated", rsa[0], algorithm="RS256"),
                keycloak_provider(2, "rsa-generated", rsa[1], algorithm="RS256", priority="50", active="false"),
                keycloak_provider(3, "rsa-enc-generated", rsa[2], algorithm="RSA-OAEP", keyUse="ENC"),
                keycloak_provider(
                    4, "hmac-generated", generate_from_parameters(KeyParameters("oct", bits=512)), algorithm="HS512"
                ),
                keycloak_provider(5, "aes-generated", generate_from_parameters(KeyParameters("oct", bits=128))),
            ]
        ),
    )
    put("rsa-kid", spki_kid({name: rsa[0][name] for name in ("kty", "n", "e")}).encode())
    certificate = CertificateOptions(START)
    put("sa.key", encode_keys([next(_keys(RS256))], "pem", name="sa", certificate=certificate))
    put("key.jwk", encode_keys([named(next(new))], "jwk", name="key", certificate=certificate))
    put("retired.jwk", public_half(named(next(new)), "jwk"))
    put("key.pem", encode_keys([named(next(new))], "pem", name="key", certificate=certificate))
    put("pw", PASSWORD + b"\n")
    put("key.p12", encode_keys([named(next(new))], "p12", name="key", certificate=certificate, password=PASSWORD))
    transit = next(new)
    put("transit.pem", json.loads(transit_export("payments", transit))["data"]["keys"]["1"].encode())
    put("transit.pub.pem", public_half(named(next(new)), "pem"))
    put("key.json", _encrypted(named(next(new))))
    put("encrypted.pem", encode_keys([next(new)], "pem", name="key", certificate=certificate, password=PASSWORD))
    put("jose.jwk", encode_keys([next(new)], "jwk", name="key", certificate=certificate))
    terminal.serve(
        "https://vault.example.com/v1/identity/oidc/.well-known/keys",
        vault_oidc_keys([named(next(new)), named(next(new))]),
    )
    terminal.serve(
        "https://sso.example.com/realms/demo/protocol/openid-connect/certs", vault_oidc_keys([named(next(new))])
    )
