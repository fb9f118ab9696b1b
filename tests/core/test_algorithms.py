"""Which keys each JOSE algorithm takes."""

from __future__ import annotations

import pytest

from keyvault.core.algorithms import ALGORITHMS, CURVE_KTY, KTY_ORDER, key_spec
from keyvault.errors import ConfigError


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
def test_an_algorithm_takes_each_of_its_curves(alg: str, crv: str, kty: str) -> None:
    """The key type follows the curve: ECDH-ES takes EC keys and OKP keys."""
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
def test_a_specification_reads_as_short_as_it_can(alg: str, expected: str) -> None:
    """People see the length of an RSA key, and the curve where the algorithm leaves a choice."""
    assert expected == str(key_spec(alg))


@pytest.mark.parametrize("bits", [2048, 2056, 3072, 4096])
def test_rsa_lengths_that_are_made(bits: int) -> None:
    """RSA keys have 2048 to 4096 bits, in whole octets."""
    assert bits == key_spec("RS256", bits=bits).bits


@pytest.mark.parametrize("bits", [-8, 0, 1024, 2040, 2047, 2049, 4097, 4104, 16384])
def test_rsa_lengths_that_are_refused(bits: int) -> None:
    """One step outside of the bounds is refused, with the bounds in the hint."""
    with pytest.raises(ConfigError, match=f"RSA keys of {bits} bits are not supported") as caught:
        key_spec("RS256", bits=bits)
    assert caught.value.hint == "bits is 2048 to 4096, a multiple of 8"


@pytest.mark.parametrize(
    ("alg", "bits", "taken"),
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
def test_lengths_of_secrets(alg: str, bits: int, taken: bool) -> None:
    """HMAC takes longer secrets than its hash, key wrap exactly one length."""
    if taken:
        assert bits == key_spec(alg, bits=bits).bits
    else:
        with pytest.raises(ConfigError, match=f"{alg} does not support a secret of {bits} bits") as caught:
            key_spec(alg, bits=bits)
        assert ("exactly" if alg.endswith("KW") else "at least") in str(caught.value.hint)


@pytest.mark.parametrize(
    ("alg", "more", "message"),
    [
        ("ES256", {"bits": 256}, "ES256 has a curve, not a length: bits = 256 cannot be"),
        ("ES256", {"crv": "P-384"}, "ES256 does not support curve 'P-384'"),
        ("EdDSA", {"crv": "X25519"}, "EdDSA does not support curve 'X25519'"),
        ("ECDH-ES", {"crv": "Ed25519"}, "ECDH-ES does not support curve 'Ed25519'"),
        ("RS256", {"crv": "P-256"}, "RS256 has no curve: crv = 'P-256' cannot be"),
        ("HS256", {"crv": "P-256"}, "HS256 has no curve: crv = 'P-256' cannot be"),
        ("none", {}, "unknown algorithm 'none'"),
        ("RSA1_5", {}, "unknown algorithm 'RSA1_5'"),
        ("", {}, "unknown algorithm ''"),
    ],
)
def test_what_no_key_can_be(alg: str, more: dict[str, str | int], message: str) -> None:
    """A curve, a length or a name that does not fit is refused, and the message has both."""
    with pytest.raises(ConfigError) as caught:
        key_spec(alg, **more)  # type: ignore[arg-type]  # also unknown names
    assert message == caught.value.message


def test_a_misspelt_algorithm_gets_the_nearest_one() -> None:
    """The hint names what was probably meant, or everything that there is."""
    with pytest.raises(ConfigError) as near:
        key_spec("ES265")
    with pytest.raises(ConfigError) as far:
        key_spec("rot13")
    assert near.value.hint == "did you mean 'ES256'?"
    assert str(far.value.hint).startswith("one of RS256, RS384")
