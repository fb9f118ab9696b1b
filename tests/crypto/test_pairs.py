"""Whether a private half belongs to its public half."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat, load_pem_private_key

from keyvault.core.algorithms import ALGORITHMS
from keyvault.core.jwk import b64u, thumbprint
from keyvault.core.key_objects import load_public
from keyvault.crypto.generate import AKP
from keyvault.crypto.pairs import check_private_jwk, private_key, private_pem
from keyvault.errors import JWKError, WeakKeyError
from tests.crypto.keys import KINDS, changed, number, private, text
from tests.errors import fails

ASYMMETRIC = [(alg, crv) for alg, crv in KINDS if ALGORITHMS[alg].kty != "oct"]
MISMATCH = ("key-halves-mismatch", "the private half does not belong to the public half")
CRT = ("p", "q", "dp", "dq", "qi")


def spki(jwk: dict[str, str]) -> bytes:
    return load_public(jwk).public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)


@pytest.mark.parametrize(("alg", "crv"), ASYMMETRIC)
def test_halves_that_belong_together(alg: str, crv: str | None) -> None:
    """The key object has the public half that the JWK shows."""
    jwk = private(alg, crv)
    loaded = private_key(jwk).public_key().public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)
    assert spki(jwk) == loaded


@pytest.mark.parametrize(("alg", "crv"), [kind for kind in ASYMMETRIC if kind != ("RSA-OAEP", None)])
def test_the_half_of_another_key(alg: str, crv: str | None) -> None:
    """A private member of another key is refused, for every type of key."""
    jwk, other = private(alg, crv), private(alg, crv, number=1)
    for member in set(jwk) & {"d", *CRT}:
        with fails("key-halves-mismatch", WeakKeyError):
            private_key({**jwk, member: other[member]})


@pytest.mark.parametrize(("alg", "crv"), [("ES256", None), ("ES512", None), ("EdDSA", "Ed448"), ("ECDH-ES", "X448")])
def test_a_flipped_bit_in_the_private_half(alg: str, crv: str | None) -> None:
    """One bit is enough. (X25519 and X448 ignore five bits of d: they are not the highest here.)"""
    jwk = private(alg, crv)
    with pytest.raises(JWKError):
        private_key({**jwk, "d": changed(jwk["d"], at=10)})


@pytest.mark.parametrize("crv", ["P-256", "P-384", "P-521", "secp256k1"])
@pytest.mark.parametrize("length", [-1, 1])
def test_an_ec_secret_of_the_wrong_length(crv: str, length: int) -> None:
    """d has the length of the field, as the coordinates have."""
    jwk = private({"P-256": "ES256", "P-384": "ES384", "P-521": "ES512", "secp256k1": "ES256K"}[crv])
    octets = len(jwk["d"]) * 6 // 8 + length
    with fails("key-length", JWKError):
        private_key({**jwk, "d": text(1, octets)})


@pytest.mark.parametrize("value", [0, 0xFFFFFFFF00000000FFFFFFFFFFFFFFFFBCE6FAADA7179E84F3B9CAC2FC632551, 2**256 - 1])
def test_an_ec_secret_that_is_no_scalar(value: int) -> None:
    """Zero and the order of the group are not private keys."""
    with fails("key-halves-mismatch", WeakKeyError):
        private_key({**private("ES256"), "d": text(value, 32)})


@pytest.mark.parametrize("crv", ["Ed25519", "X25519"])
def test_an_okp_secret_of_the_wrong_length(crv: str) -> None:
    """The library's message is dropped, because it may quote the key."""
    jwk = private("EdDSA" if crv == "Ed25519" else "ECDH-ES", crv)
    for octets in (0, 31, 33):
        with fails("key-halves-mismatch", WeakKeyError) as caught:
            private_key({**jwk, "d": b64u(bytes(octets))})
        assert caught.value.__cause__ is None
        assert caught.value.__suppress_context__


@pytest.mark.parametrize(
    ("jwk", "code", "member"),
    [
        ({"kty": "oct", "k": "AA"}, "base64url-invalid", "'d'"),
        ({"kty": "oct", "d": "AA"}, "key-symmetric", ""),
        ({**private("EdDSA"), "d": 7}, "base64url-invalid", "'d'"),
        ({**private("ES256"), "d": "*"}, "base64url-invalid", "'d'"),
        ({"kty": "PKA"}, "kty-unknown", "'PKA'"),
        ({"kty": "AKP"}, "alg-unknown", "None"),
        ({**private("ML-DSA-44"), "priv": "AA"}, "key-halves-mismatch", ""),
        ({**private("ML-DSA-44"), "priv": private("ML-DSA-65")["priv"]}, "key-halves-mismatch", ""),
    ],
)
def test_keys_without_a_private_half(jwk: dict[str, Any], code: str, member: str) -> None:
    """The message names a member that is missing or malformed."""
    with fails(code, JWKError) as caught:
        private_key(jwk)
    assert member in caught.value.message


class Unsupported:
    """An algorithm that this machine's OpenSSL lacks."""

    @staticmethod
    def from_seed_bytes(data: bytes) -> None:
        raise UnsupportedAlgorithm("not supported by this version of OpenSSL")


def test_an_algorithm_that_openssl_lacks(monkeypatch: pytest.MonkeyPatch) -> None:
    """The key may be sound: the error blames OpenSSL."""
    monkeypatch.setitem(AKP, "ML-DSA-44", Unsupported)
    with fails("openssl-unsupported", JWKError) as caught:
        private_key(private("ML-DSA-44"))
    assert "ML-DSA-44" in caught.value.message


# --- RSA ------------------------------------------------------------------------------------------------


def rsa(**members: Any) -> dict[str, Any]:
    return {**private("RS256"), **members}


def without(*names: str) -> dict[str, Any]:
    return {name: value for name, value in private("RS256").items() if name not in names}


def test_an_rsa_key_without_its_factors() -> None:
    """Some tools write only n, e and d: the factors are recovered."""
    assert spki(private("RS256")) == private_key(without(*CRT)).public_key().public_bytes(
        Encoding.DER, PublicFormat.SubjectPublicKeyInfo
    )


@pytest.mark.parametrize("missing", CRT)
def test_an_rsa_key_with_some_of_its_factors(missing: str) -> None:
    """All of p, q, dp, dq and qi, or none of them (RFC 7518 6.3.2)."""
    with fails("member-missing", JWKError):
        private_key(without(missing))


def test_an_rsa_key_of_three_primes() -> None:
    """Hardly any library supports one."""
    with fails("rsa-multi-prime", JWKError):
        private_key(rsa(oth=[{"r": "AQ", "d": "AQ", "t": "AQ"}]))


def wrong_rsa() -> Iterator[tuple[str, dict[str, Any]]]:
    jwk = private("RS256")
    for name in ("d", *CRT):
        yield f"{name} + 2", rsa(**{name: text(number(jwk, name) + 2)})
        yield f"{name} = 1", rsa(**{name: "AQ"})
    yield "p and q swapped, the rest not", rsa(p=jwk["q"], q=jwk["p"])
    yield "p = n, q = 1", rsa(p=jwk["n"], q="AQ")
    yield "d = n", rsa(d=jwk["n"])
    yield "e of another key", rsa(e=text(65_539))
    for name, octets in (("d", 40_000), ("p", 40_000), ("dp", 40_000)):
        yield f"{name} of {octets} octets", rsa(**{name: b64u(b"\xff" * octets)})
    yield "d alone of 40,000 octets", {**without(*CRT), "d": b64u(b"\xff" * 40_000)}
    yield "d alone, wrong", {**without(*CRT), "d": text(number(jwk, "d") - 2)}
    yield "d alone, even", {**without(*CRT), "d": text(number(jwk, "d") - 1)}


def test_rsa_members_that_contradict_each_other() -> None:
    """Whatever is wrong with the numbers, the error comes soon, and quotes none of them."""
    refusals = {name: refusal(jwk) for name, jwk in wrong_rsa()}
    assert refusals == dict.fromkeys(refusals, MISMATCH)


def refusal(jwk: dict[str, Any]) -> tuple[str, str] | None:
    """Return code and message of the error for *jwk*; None if it is accepted."""
    try:
        private_key(jwk)
    except WeakKeyError as error:
        return error.code, error.message
    return None


# --- secrets --------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("jwk", "alg", "code"),
    [
        ({"kty": "oct", "k": b64u(bytes(32))}, "HS256", None),
        ({"kty": "oct", "k": b64u(bytes(31))}, "HS256", "secret-size"),
        ({"kty": "oct", "k": b64u(bytes(33))}, "A256KW", "secret-size"),
        ({"kty": "oct"}, "HS256", "base64url-invalid"),
        (private("ES256"), "ES256", None),
        (private("ES256"), "ES384", "alg-mismatch"),
        (private("ES256"), "HS256", "alg-mismatch"),
    ],
)
def test_keys_that_may_enter_a_vault(jwk: dict[str, Any], alg: str, code: str | None) -> None:
    """They are sound, fit their algorithm, and have both halves."""
    if code is None:
        check_private_jwk(jwk, alg=alg)
    else:
        with fails(code, JWKError):
            check_private_jwk(jwk, alg=alg)


@pytest.mark.parametrize(("alg", "crv"), [("RS256", None), ("ES384", None), ("EdDSA", "Ed448"), ("ECDH-ES", "X25519")])
def test_a_private_key_as_pem(alg: str, crv: str | None) -> None:
    """It is PKCS#8, which OpenSSL and most servers read, with the public half of the JWK."""
    jwk = private(alg, crv)
    pem = private_pem(jwk)
    assert pem.startswith(b"-----BEGIN PRIVATE KEY-----\n")
    loaded = load_pem_private_key(pem, None).public_key()
    assert spki(jwk) == loaded.public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)


def test_a_broken_key_does_not_become_pem() -> None:
    """It is checked before it is written."""
    with fails("key-halves-mismatch", WeakKeyError):
        private_pem({**private("ES256"), "d": private("ES256", number=1)["d"]})


# --- keys of others -------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("name", "alg"),
    [
        ("3_2.ec_private_key", "ES512"),
        ("3_4.rsa_private_key", "RS256"),
        ("3_5.symmetric_key_mac_computation", "HS256"),
        ("3_6.symmetric_key_encryption", "A256KW"),
    ],
)
def test_the_keys_of_rfc_7520(name: str, alg: str, vectors: Path) -> None:
    """The cookbook's keys of each type are accepted."""
    check_private_jwk(json.loads((vectors / "rfc7520" / "jwk" / f"{name}.json").read_text()), alg=alg)


def test_the_keys_of_rfc_8037(vectors: Path) -> None:
    """Keys on the newer curves are accepted, too."""
    folder = vectors / "rfc7520" / "curve25519"
    check_private_jwk(json.loads((folder / "jws.json").read_text())["input"]["key"], alg="EdDSA")


def test_the_example_of_ory(vectors: Path) -> None:
    """A JWK Set with private members from another product is accepted."""
    (jwk,) = json.loads((vectors / "ory-example.jwks.json").read_text())["keys"]
    check_private_jwk(jwk, alg="RS256")
    assert jwk["kid"] == "ory-example"


def test_a_private_half_does_not_change_the_thumbprint() -> None:
    """A key and its public half have one name."""
    jwk = private("RS256")
    assert thumbprint(jwk) == thumbprint(without("d", *CRT))
