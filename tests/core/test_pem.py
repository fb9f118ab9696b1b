"""Public JWKs as key objects, for PEM files and signatures."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

from keyvault.core.pem import load_public
from keyvault.errors import JWKError

RFC8037 = {"kty": "OKP", "crv": "Ed25519", "x": "11qYAYKxCrfVS_7TyWQHOg7hcvPapiMlrwIaaPcHURo"}


@pytest.mark.parametrize("name", ["3_1.ec_public_key", "3_3.rsa_public_key"])
def test_the_keys_of_rfc_7520_become_pem(name: str, vectors: Path) -> None:
    """Published keys load, and can be written as PEM."""
    jwk = json.loads((vectors / "rfc7520" / "jwk" / f"{name}.json").read_text())
    pem = load_public(jwk).public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo)
    assert pem.startswith(b"-----BEGIN PUBLIC KEY-----\n")


def test_an_okp_key_loads() -> None:
    """Octets of an OKP key are its x."""
    raw = load_public(RFC8037).public_bytes(Encoding.Raw, PublicFormat.Raw)
    assert raw.hex() == "d75a980182b10ab7d54bfed3c964073a0ee172f3daa62325af021a68f707511a"


@pytest.mark.parametrize(
    ("jwk", "message"),
    [
        ({"kty": "oct", "k": "AA"}, "a key of type 'oct' has no public half"),
        ({"kty": None}, "a key of type None has no public half"),
        ({"kty": "EC", "crv": "P-256", "x": "AQ", "y": "AQ"}, "malformed EC key"),
        ({"kty": "EC", "crv": "P-000", "x": "AQ", "y": "AQ"}, "malformed EC key"),
        ({"kty": "OKP", "crv": "Ed25519", "x": "AQ"}, "malformed OKP key"),
        ({"kty": "OKP", "crv": "Ed0", "x": "AQ"}, "malformed OKP key"),
        ({"kty": "RSA", "n": "AQ", "e": "AQ"}, "malformed RSA key"),
        ({"kty": "RSA", "n": "AQ"}, "member 'e' must be a base64url string"),
    ],
)
def test_what_is_no_public_key(jwk: dict[str, Any], message: str) -> None:
    """Symmetric and malformed keys are refused by name, without the library's words."""
    with pytest.raises(JWKError) as caught:
        load_public(jwk)
    assert message == caught.value.message
