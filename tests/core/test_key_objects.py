"""Public JWKs as key objects, for PEM files and signatures."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

from keyvault.core.key_objects import load_public
from keyvault.errors import JWKError
from tests.errors import fails

RFC8037 = {"kty": "OKP", "crv": "Ed25519", "x": "11qYAYKxCrfVS_7TyWQHOg7hcvPapiMlrwIaaPcHURo"}


@pytest.mark.parametrize("name", ["3_1.ec_public_key", "3_3.rsa_public_key"])
def test_the_keys_of_rfc_7520_become_pem(name: str, vectors: Path) -> None:
    """Published keys load, and export as PEM."""
    jwk = json.loads((vectors / "rfc7520" / "jwk" / f"{name}.json").read_text())
    pem = load_public(jwk).public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo)
    assert pem.startswith(b"-----BEGIN PUBLIC KEY-----\n")


def test_an_okp_key_loads() -> None:
    """The octets of an OKP key are its member x."""
    raw = load_public(RFC8037).public_bytes(Encoding.Raw, PublicFormat.Raw)
    assert raw.hex() == "d75a980182b10ab7d54bfed3c964073a0ee172f3daa62325af021a68f707511a"


@pytest.mark.parametrize(
    ("jwk", "code", "named"),
    [
        ({"kty": "oct", "k": "AA"}, "public-half-missing", "'oct'"),
        ({"kty": None}, "public-half-missing", "None"),
        ({"kty": "EC", "crv": "P-256", "x": "AQ", "y": "AQ"}, "key-malformed", "EC"),
        ({"kty": "EC", "crv": "P-000", "x": "AQ", "y": "AQ"}, "key-malformed", "EC"),
        ({"kty": "OKP", "crv": "Ed25519", "x": "AQ"}, "key-malformed", "OKP"),
        ({"kty": "OKP", "crv": "Ed0", "x": "AQ"}, "key-malformed", "OKP"),
        ({"kty": "RSA", "n": "AQ", "e": "AQ"}, "key-malformed", "RSA"),
        ({"kty": "RSA", "n": "AQ"}, "base64url-invalid", "member 'e'"),
    ],
)
def test_keys_that_do_not_load(jwk: dict[str, Any], code: str, named: str) -> None:
    """The message for a symmetric or malformed key names its type or member, without the library's words."""
    with fails(code, JWKError) as caught:
        load_public(jwk)
    assert named in caught.value.message
    assert len(caught.value.message) < 50
