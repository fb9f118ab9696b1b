"""Which keys each JOSE algorithm takes."""

from __future__ import annotations

import pytest

from keyvault.core.algorithms import ALGORITHMS, CURVE_KTY, KTY_ORDER, key_spec
from keyvault.errors import ConfigError
from tests.errors import fails


@pytest.mark.parametrize("alg", ALGORITHMS)
def test_every_algorithm_has_a_default_key(alg: str) -> None:
    """Naming the algorithm is enough: curve and length have a default that fits it."""
    spec = key_spec(alg)
    assert spec.kty in KTY_ORDER
    assert spec.use == ALGORITHMS[alg].use
    assert (spec.crv is not None, spec.bits is not None) == (spec.kty in ("EC", "OKP"), spec.kty in ("RSA", "oct"))


@pytest.mark.parametrize(
    ("alg", "crv", "kty"),
    [(alg, crv, CURVE_KTY[crv]) for alg, algorithm in ALGORITHMS.items() for crv in algorithm.curves],
)
def test_an_algorithm_supports_each_of_its_curves(alg: str, crv: str, kty: str) -> None:
    """The key type follows from the curve: ECDH-ES supports EC keys and OKP keys."""
    assert kty == key_spec(alg, crv=crv).kty


@pytest.mark.parametrize(
    ("alg", "expected"),
    [
        ("RS256", "RS256 2048"),
        ("PS512", "PS512 2048"),
        ("ES256", "ES256"),
        ("EdDSA", "EdDSA Ed25519"),
        ("Ed25519", "Ed25519"),
        ("ECDH-ES", "ECDH-ES P-256"),
        ("HS256", "HS256"),
    ],
)
def test_a_specification_is_printed_without_defaults(alg: str, expected: str) -> None:
    """The text has the length of an RSA key, and the curve if the algorithm supports several."""
    assert expected == str(key_spec(alg))


@pytest.mark.parametrize("bits", [2048, 2056, 3072, 4096])
def test_supported_rsa_lengths(bits: int) -> None:
    """RSA keys have 2048 to 4096 bits, in whole octets."""
    assert bits == key_spec("RS256", bits=bits).bits


@pytest.mark.parametrize("bits", [-8, 0, 1024, 2040, 2047, 2049, 4097, 4104, 16384])
def test_unsupported_rsa_lengths(bits: int) -> None:
    """Lengths one step outside of the bounds are refused; the message has the length, the hint the bounds."""
    with fails("rsa-modulus-size", ConfigError) as caught:
        key_spec("RS256", bits=bits)
    assert f" {bits} " in caught.value.message
    assert "2048 to 4096" in str(caught.value.hint)


@pytest.mark.parametrize(
    ("alg", "bits", "supported"),
    [
        ("HS256", 248, False),
        ("HS256", 256, True),
        ("HS256", 257, False),
        ("HS256", 4096, True),
        ("HS256", 4104, False),
        ("HS512", 504, False),
        ("HS512", 512, True),
        ("A128KW", 120, False),
        ("A128KW", 128, True),
        ("A128KW", 136, False),
        ("A256KW", 256, True),
        ("A256KW", 264, False),
    ],
)
def test_lengths_of_secrets(alg: str, bits: int, supported: bool) -> None:
    """HMAC supports longer secrets than its hash, key wrap exactly one length."""
    if supported:
        assert bits == key_spec(alg, bits=bits).bits
    else:
        with fails("secret-size", ConfigError) as caught:
            key_spec(alg, bits=bits)
        assert alg in caught.value.message
        assert f" {bits} " in caught.value.message
        assert str(caught.value.hint).endswith("a multiple of 8") != alg.endswith("KW")


@pytest.mark.parametrize(
    ("alg", "more", "code"),
    [
        ("ES256", {"bits": 256}, "bits-unsupported"),
        ("ML-DSA-44", {"bits": 256}, "bits-unsupported"),
        ("ES256", {"crv": "P-384"}, "crv-mismatch"),
        ("EdDSA", {"crv": "X25519"}, "crv-mismatch"),
        ("ECDH-ES", {"crv": "Ed25519"}, "crv-mismatch"),
        ("RS256", {"crv": "P-256"}, "crv-unsupported"),
        ("HS256", {"crv": "P-256"}, "crv-unsupported"),
        ("none", {}, "alg-unknown"),
        ("RSA1_5", {}, "alg-unknown"),
        ("", {}, "alg-unknown"),
        ("HS256", {"kid_form": "spki"}, "kid-form-unsupported"),
        ("ES256", {"kid_form": "uuid"}, "kid-form-unknown"),
    ],
)
def test_parameters_that_do_not_fit(alg: str, more: dict[str, str | int], code: str) -> None:
    """A curve, a length or a name that does not fit is refused, and the message has the value."""
    with fails(code, ConfigError) as caught:
        key_spec(alg, **more)  # type: ignore[arg-type]  # also unknown names
    assert all(str(value) in caught.value.message for value in more.values() or [alg])


def test_the_hint_has_the_most_similar_algorithm() -> None:
    """If no algorithm is similar, the hint lists all of them."""
    with fails("alg-unknown", ConfigError) as near:
        key_spec("ES265")
    with fails("alg-unknown", ConfigError) as far:
        key_spec("rot13")
    assert near.value.hint == "did you mean 'ES256'?"
    assert str(far.value.hint).startswith("one of RS256, RS384")
