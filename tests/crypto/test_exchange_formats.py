"""Every key survives export and import in every format that supports it."""

from __future__ import annotations

import base64
import hashlib
import json
from collections.abc import Callable

import pytest
from cryptography.hazmat.primitives.serialization import NoEncryption, pkcs12

from keyvault.core.jwk import b64u_decode
from keyvault.core.key_objects import spki_kid
from keyvault.crypto.exports import encode_keys
from keyvault.crypto.imports import FoundKey, read_keys
from keyvault.errors import JWKError, UsageError, WeakKeyError
from keyvault.operations.export_keys import public_half
from tests.crypto.kinds import AGREEMENT, CERTIFICATE, KINDS, ML_DSA, PASSWORD, key, members
from tests.errors import fails

#: Formats of private keys, some of them encrypted; and those that have labels, such as a kid.
FORMATS = ("jwk", "jwks", "pem", "pem encrypted", "der", "der encrypted", "p12")
LABELLED = ("jwk", "jwks")

#: Keys that a format does not support, with the text that names them in the message.
REFUSED = {
    **{("oct", form): "symmetric keys" for form in FORMATS if form not in LABELLED},
    **{(kind, "p12"): f"keys on {kind}" for kind in AGREEMENT},
    **{(kind, "p12"): "keys of type AKP" for kind in ML_DSA},
    **{(kind, "x509"): f"a key on {kind} cannot sign" for kind in AGREEMENT},
    ("oct", "x509"): "symmetric keys",
}


def written(kind: str, form: str) -> bytes:
    """Return the key of *kind* in *form*."""
    name, _, encrypted = form.partition(" ")
    password = PASSWORD if encrypted or form == "p12" else None
    return encode_keys([key(kind)], name, name="the key", certificate=CERTIFICATE, password=password)


def read(data: bytes) -> FoundKey:
    """Return the one key of a file."""
    (found,) = read_keys(data, lambda: PASSWORD)
    return found


@pytest.mark.parametrize("form", [*FORMATS, "x509"])
@pytest.mark.parametrize("kind", KINDS)
def test_a_key_comes_back(kind: str, form: str) -> None:
    """With its kid, use and alg if the format has them, and never as another key."""
    jwk = key(kind)
    if (kind, form) in REFUSED:
        with fails("format-key-unsupported", UsageError) as caught:
            written(kind, form)
        assert REFUSED[kind, form] in caught.value.message
        return

    found = read(written(kind, form))

    if form == "x509":
        assert found.members == {name: value for name, value in members(jwk).items() if name in found.members}
        assert not found.private
        return
    assert found.members == members(jwk)
    assert found.kid == (jwk["kid"] if form in (*LABELLED, "p12") else None)
    assert found.use == (jwk["use"] if form in LABELLED else None)
    assert found.alg == (jwk if form in LABELLED else members(jwk)).get("alg")


@pytest.mark.parametrize("form", ["jwk", "jwks", "pem", "der"])
@pytest.mark.parametrize("kind", KINDS)
def test_a_public_half_comes_back(kind: str, form: str) -> None:
    """Without private members."""
    jwk = key(kind)
    if kind == "oct":
        with fails("key-symmetric", UsageError):
            public_half(jwk, form)
        return

    found = read(public_half(jwk, form))

    assert not found.private
    assert found.public == {name: jwk[name] for name in found.public}
    assert spki_kid(found.public) == spki_kid(members(jwk))
    assert found.kid == (jwk["kid"] if form in LABELLED else None)


@pytest.mark.parametrize("form", ["pem encrypted", "der encrypted", "p12"])
@pytest.mark.parametrize("kind", ["RSA", "P-256", "Ed25519"])
def test_a_wrong_password(kind: str, form: str) -> None:
    """A wrong password and a missing one are different errors."""
    with fails("password-wrong", UsageError):
        read_keys(written(kind, form), lambda: b"wrong")
    with fails("password-missing", UsageError):
        read_keys(written(kind, form))


@pytest.mark.parametrize("kind", ["RSA", "P-256", "secp256k1", "Ed25519", "Ed448"])
def test_the_friendly_name_of_pkcs12_is_the_kid(kind: str) -> None:
    """Other programs show it, and it is read back; a name that is not a valid kid is dropped."""
    store = pkcs12.load_pkcs12(written(kind, "p12"), PASSWORD)

    assert store.cert is not None
    assert store.cert.friendly_name == key(kind)["kid"].encode()
    assert read(written(kind, "p12")).kid == key(kind)["kid"]
    odd = pkcs12.serialize_key_and_certificates(
        "schlüssel".encode(), store.key, store.cert.certificate, None, NoEncryption()
    )
    assert read(odd).kid is None


def test_several_keys() -> None:
    """A JWK Set and a PEM file hold all of them, in their order."""
    keys = [key(kind) for kind in KINDS if kind != "oct"]
    for form in ("jwks", "pem"):
        data = encode_keys(keys, form, name="keys", certificate=CERTIFICATE)

        assert [one.members for one in read_keys(data)] == [members(jwk) for jwk in keys]


def test_a_key_without_labels() -> None:
    """A key without use and alg is written and read without them."""
    bare = {name: value for name, value in key("P-256").items() if name not in ("use", "alg")}
    data = encode_keys([bare], "jwk", name="the key", certificate=CERTIFICATE)

    assert json.loads(data) == bare
    assert (read(data).use, read(data).alg) == (None, None)


# --- ML-DSA of other programs ---------------------------------------------------------------------------


def _tlv(tag: int, value: bytes) -> bytes:
    size = len(value)
    length = bytes([size]) if size < 128 else b"\x82" + size.to_bytes(2, "big")
    return bytes([tag]) + length + value


def expanded(kind: str, *, other: bool = False, seed: bool = True) -> bytes:
    """
    Return the ML-DSA key of *kind* in PKCS#8 with what its seed expands to, as OpenSSL 3.5 writes it.

    Only rho and tr of the expanded key are right, which identify its public key (FIPS 204 algorithm 24): the rest is
    not checked, and has the right length.

    Args:
        kind: An ML-DSA algorithm.
        other: Whether the expanded key belongs to another key.
        seed: Whether to include the seed.
    """
    public = b64u_decode(key(kind)["pub"], what="pub")
    shown = public if not other else public[::-1]
    size = {"ML-DSA-44": 2560, "ML-DSA-65": 4032, "ML-DSA-87": 4896}[kind]
    long = (shown[:32] + bytes(32) + hashlib.shake_256(shown).digest(64)).ljust(size, b"\1")
    inner = _tlv(0x04, long)
    if seed:
        inner = _tlv(0x30, _tlv(0x04, b64u_decode(key(kind)["priv"], what="priv")) + inner)
    algorithm = _tlv(0x30, _tlv(0x06, bytes.fromhex("608648016503040311")[:-1] + bytes([0x11 + ML_DSA.index(kind)])))
    return _tlv(0x30, b"\x02\x01\x00" + algorithm + _tlv(0x04, inner))


def as_pem(der: bytes) -> bytes:
    return b"-----BEGIN PRIVATE KEY-----\n" + base64.encodebytes(der) + b"-----END PRIVATE KEY-----\n"


@pytest.mark.parametrize("encode_der", [bytes, as_pem], ids=["DER", "PEM"])
@pytest.mark.parametrize("kind", ML_DSA)
def test_ml_dsa_with_seed_and_expanded_key(kind: str, encode_der: Callable[[bytes], bytes]) -> None:
    """The seed is the key; the expanded key must belong to it."""
    assert read(encode_der(expanded(kind))).members == members(key(kind))
    with fails("key-halves-mismatch", WeakKeyError):
        read(encode_der(expanded(kind, other=True)))
    with fails("key-seed-missing", JWKError):
        read(encode_der(expanded(kind, seed=False)))
