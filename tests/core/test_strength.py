"""Weak and malformed public keys are refused, whatever their origin."""

from __future__ import annotations

import functools
import hashlib
import json
import math
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from cryptography.hazmat.primitives.asymmetric import ec, ed448, ed25519, x448, x25519
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

from keyvault.core.jwk import b64u, b64u_decode
from keyvault.core.key_objects import CURVES
from keyvault.core.strength import FERMAT_STEPS, SMALL_FACTOR_MAX, check_public_key, check_secret_length
from keyvault.errors import JWKError, WeakKeyError
from tests.errors import fails

P25519 = 2**255 - 19
P448 = 2**448 - 2**224 - 1


# --- RSA ------------------------------------------------------------------------------------------------
#
# The check does not factor the modulus. So numbers without small factors take the place of products of two primes,
# and the tests need not find primes.


@functools.cache
def small_primes() -> tuple[int, ...]:
    return tuple(n for n in range(2, SMALL_FACTOR_MAX + 100) if all(n % d for d in range(2, math.isqrt(n) + 1)))


@functools.cache
def primorial() -> int:
    return math.prod(small_primes())


def digits(seed: str, bits: int) -> int:
    """Return an odd number of *bits* that depends only on *seed*."""
    data = int.from_bytes(hashlib.shake_256(seed.encode()).digest((bits + 7) // 8), "big")
    return data % 2**bits | 1 << (bits - 1) | 1


def sound(seed: str, bits: int = 2048) -> int:
    """Return a number of *bits* without small factors."""
    number = digits(seed, bits)
    while math.gcd(number, primorial()) != 1:
        number += 2
    return number


def uint(number: int) -> str:
    return b64u(number.to_bytes((number.bit_length() + 7) // 8, "big"))


def rsa(n: int, e: int = 65_537) -> dict[str, str]:
    return {"kty": "RSA", "n": uint(n), "e": uint(e)}


@pytest.mark.parametrize("bits", [1024, 2040, 2047, 4097, 8192, 16_384])
def test_rsa_lengths_that_are_refused(bits: int) -> None:
    """Lengths outside of 2048 to 4096 are refused, and the message has the length and the bounds."""
    with fails("rsa-modulus-size", WeakKeyError) as caught:
        check_public_key(rsa(sound("length", bits) if bits < 5_000 else digits("length", bits)))
    assert f" {bits} bits" in caught.value.message
    assert caught.value.message.endswith("2048 to 4096")


@pytest.mark.parametrize("bits", [2048, 2049, 3072, 4095, 4096])
def test_rsa_lengths_that_are_accepted(bits: int) -> None:
    """An imported key may have every length between the bounds."""
    check_public_key(rsa(sound("length", bits)), alg="RS256")


def test_a_very_long_modulus_is_not_decoded() -> None:
    """The message has the number of its characters, not of its bits."""
    with fails("rsa-modulus-size", WeakKeyError) as caught:
        check_public_key({"kty": "RSA", "n": "A" * 1_000_000, "e": "AQAB"})
    assert " 1000000 characters" in caught.value.message


@pytest.mark.parametrize(
    ("exponent", "valid"),
    [
        (1, False),
        (2, False),
        (3, False),
        (17, False),
        (65_535, False),
        (65_536, False),
        (65_537, True),
        (65_538, False),
        (65_539, True),
        (2**256 - 1, True),
        (2**256 + 1, False),
        (2**2047 + 1, False),
    ],
)
def test_rsa_exponents(exponent: int, valid: bool) -> None:
    """An exponent must be odd, at least 65537 and below 2^256 (SP 800-56B)."""
    if valid:
        check_public_key(rsa(sound("e"), exponent))
    else:
        with fails("rsa-exponent", WeakKeyError):
            check_public_key(rsa(sound("e"), exponent))


LAST_PRIME, NEXT_PRIME = 19_997, 20_011


@pytest.mark.parametrize("factor", [2, 3, 5, 65_537 % 251 or 3, 7_919, LAST_PRIME])
def test_an_rsa_modulus_with_a_small_factor(factor: int) -> None:
    """Broken generators write even moduli, and moduli with a factor up to 20,000."""
    modulus = sound("factor", 2064) // factor * factor
    with fails("rsa-small-factor", WeakKeyError):
        check_public_key(rsa(modulus))


def test_the_bound_of_trial_division() -> None:
    """The check finds the last prime below the bound, and does not try the next prime."""
    assert SMALL_FACTOR_MAX == 20_000
    assert {LAST_PRIME, NEXT_PRIME} == set(small_primes()) & set(range(LAST_PRIME, NEXT_PRIME + 1))
    check_public_key(rsa(sound("rest", 2048) * NEXT_PRIME))


def test_an_rsa_modulus_that_is_a_square() -> None:
    """If p = q, the root is a factor."""
    with fails("rsa-close-primes", WeakKeyError):
        check_public_key(rsa(sound("square", 1040) ** 2))


def close_product(steps: int) -> int:
    """Return a product of two numbers that Fermat's method finds after *steps*."""
    half_sum = digits("close", 1040)
    while True:
        half_sum += 1
        difference = math.isqrt(2 * half_sum * steps)
        for candidate in range(difference - 3, difference + 4):
            modulus = half_sum**2 - candidate**2
            if half_sum - math.isqrt(modulus) == steps and math.gcd(modulus, primorial()) == 1:
                return modulus


@pytest.mark.parametrize(
    ("steps", "found"), [(1, True), (2, True), (500, True), (FERMAT_STEPS, True), (FERMAT_STEPS + 1, False)]
)
def test_an_rsa_modulus_of_close_primes(steps: int, found: bool) -> None:
    """A product that Fermat's method factors in a thousand steps is refused; real printers had such keys."""
    key = rsa(close_product(steps))
    if found:
        with fails("rsa-close-primes", WeakKeyError):
            check_public_key(key)
    else:
        check_public_key(key)


def roca_modulus() -> int:
    """Return a modulus with the structure of the Infineon library: a power of 65537 modulo many primes."""
    product = math.prod(prime for prime in small_primes() if prime <= 167)
    modulus = pow(65_537, 123_456_789, product) + digits("roca", 2048) // product * product
    while modulus % 2 == 0 or math.gcd(modulus, primorial()) != 1:
        modulus += product
    return modulus


def test_an_rsa_modulus_with_the_roca_structure() -> None:
    """Attackers can factor such moduli (CVE-2017-15361)."""
    with fails("rsa-roca", WeakKeyError):
        check_public_key(rsa(roca_modulus()))


@pytest.mark.parametrize(
    ("member", "value", "code"),
    [
        ("n", None, "base64url-invalid"),
        ("n", 7, "base64url-invalid"),
        ("n", "", "member-invalid"),
        ("n", "AAAB", "member-invalid"),
        ("n", "AB", "base64url-not-canonical"),
        ("n", "*", "base64url-invalid"),
        ("e", "", "member-invalid"),
        ("e", "AAEAAQ", "member-invalid"),
        ("e", "AQAB==", "base64url-not-canonical"),
    ],
)
def test_malformed_rsa_members(member: str, value: object, code: str) -> None:
    """Each number has one encoding: leading zeros are refused like stray bits."""
    with fails(code, JWKError) as caught:
        check_public_key({**rsa(sound("e")), member: value})
    assert caught.value.message.startswith(f"member '{member}' ")
    assert not isinstance(caught.value, WeakKeyError)


# --- EC -------------------------------------------------------------------------------------------------

OCTETS = {"P-256": 32, "P-384": 48, "P-521": 66, "secp256k1": 32}


@functools.cache
def ec_key(crv: str) -> dict[str, str]:
    numbers = ec.generate_private_key(CURVES[crv]).public_key().public_numbers()
    x, y = (b64u(value.to_bytes(OCTETS[crv], "big")) for value in (numbers.x, numbers.y))
    return {"kty": "EC", "crv": crv, "x": x, "y": y}


@pytest.mark.parametrize("crv", OCTETS)
def test_points_on_their_curve(crv: str) -> None:
    """A sound key passes."""
    check_public_key(ec_key(crv))


def off_curve(crv: str) -> Iterator[dict[str, str]]:
    octets, key = OCTETS[crv], ec_key(crv)
    zero, full = b64u(bytes(octets)), b64u(b"\xff" * octets)
    y = bytearray(b64u_decode(key["y"], what="y"))
    y[-1] ^= 1
    yield {**key, "y": b64u(bytes(y))}
    yield {**key, "x": key["y"], "y": key["x"]}
    yield {**key, "x": zero, "y": zero}
    yield {**key, "x": full, "y": full}
    yield {**key, "y": zero}


@pytest.mark.parametrize("crv", OCTETS)
def test_points_off_their_curve(crv: str) -> None:
    """A flipped bit, swapped coordinates, the point at infinity, and coordinates outside of the field are refused."""
    for key in off_curve(crv):
        with fails("point-not-on-curve", WeakKeyError) as caught:
            check_public_key(key)
        assert caught.value.message.endswith(f" {crv}")


@pytest.mark.parametrize("crv", OCTETS)
@pytest.mark.parametrize("change", [-1, 1])
def test_coordinates_of_the_wrong_length(crv: str, change: int) -> None:
    """Coordinates have the length of the field, leading zeros included (RFC 7518 6.2.1.2)."""
    octets = OCTETS[crv] + change
    with fails("key-length", JWKError) as caught:
        check_public_key({**ec_key(crv), "x": b64u(bytes(octets))})
    assert caught.value.message.startswith(f"coordinates on {crv} must have {OCTETS[crv]} octets")
    assert caught.value.message.endswith(f" {octets} and {OCTETS[crv]}")


def test_a_point_of_another_curve() -> None:
    """P-256 and secp256k1 have coordinates of the same length and different points."""
    with fails("point-not-on-curve", WeakKeyError):
        check_public_key({**ec_key("P-256"), "crv": "secp256k1"})


# --- OKP ------------------------------------------------------------------------------------------------

OKP = {
    "Ed25519": ed25519.Ed25519PrivateKey,
    "Ed448": ed448.Ed448PrivateKey,
    "X25519": x25519.X25519PrivateKey,
    "X448": x448.X448PrivateKey,
}
OKP_OCTETS = {"Ed25519": 32, "Ed448": 57, "X25519": 32, "X448": 56}


def okp(crv: str, value: int | bytes) -> dict[str, str]:
    data = value if isinstance(value, bytes) else value.to_bytes(OKP_OCTETS[crv], "little")
    return {"kty": "OKP", "crv": crv, "x": b64u(data)}


@pytest.mark.parametrize("crv", OKP)
def test_sound_okp_keys(crv: str) -> None:
    """Keys from a sound generator always pass."""
    for _ in range(20):
        check_public_key(okp(crv, OKP[crv].generate().public_key().public_bytes(Encoding.Raw, PublicFormat.Raw)))


@pytest.mark.parametrize("crv", OKP)
@pytest.mark.parametrize("change", [-1, 1])
def test_okp_keys_of_the_wrong_length(crv: str, change: int) -> None:
    """A key has the number of octets in RFC 8037."""
    octets = OKP_OCTETS[crv]
    with fails("key-length", JWKError) as caught:
        check_public_key(okp(crv, bytes(octets + change)))
    assert caught.value.message.startswith(f"a key on {crv} must have {octets} octets")
    assert caught.value.message.endswith(f" {octets + change}")


#: The u of every point of low order on Curve25519 and its twist (cr.yp.to/ecdh.html), from 0 to p - 1.
LOW_ORDER_X25519 = [
    0,
    1,
    325606250916557431795983626356110631294008115727848805560023387167927233504,
    39382357235489614581723060781553021112529911719440698176882885853963445705823,
    P25519 - 1,
]
LOW_ORDER_X448 = [0, 1, P448 - 1]
#: The y of the eight points of low order on edwards25519, as octets; either sign of x.
LOW_ORDER_ED25519 = [
    "0000000000000000000000000000000000000000000000000000000000000000",
    "0100000000000000000000000000000000000000000000000000000000000000",
    "26e8958fc2b227b045c3f489f2ef98f0d5dfac05d3c63339b13802886d53fc05",
    "c7176a703d4dd84fba3c0b760d10670f2a2053fa2c39ccc64ec7fd7792ac037a",
    "ecffffffffffffffffffffffffffffffffffffffffffffffffffffffffffff7f",
]


@pytest.mark.parametrize(
    ("crv", "u"), [("X25519", u) for u in LOW_ORDER_X25519] + [("X448", u) for u in LOW_ORDER_X448]
)
def test_low_order_points_of_the_montgomery_curves(crv: str, u: int) -> None:
    """Everybody knows the shared secret of such a key; OpenSSL refuses it too."""
    data = u.to_bytes(OKP_OCTETS[crv], "little")
    with fails("point-low-order", WeakKeyError) as caught:
        check_public_key(okp(crv, data))
    assert f" {crv} " in caught.value.message
    if crv == "X25519":
        exchange = functools.partial(
            x25519.X25519PrivateKey.generate().exchange, x25519.X25519PublicKey.from_public_bytes(data)
        )
    else:
        exchange = functools.partial(
            x448.X448PrivateKey.generate().exchange, x448.X448PublicKey.from_public_bytes(data)
        )
    with pytest.raises(ValueError, match="shared key"):
        exchange()


@pytest.mark.parametrize("sign", [0, 0x80])
@pytest.mark.parametrize("octets", LOW_ORDER_ED25519)
def test_low_order_points_of_ed25519(octets: str, sign: int) -> None:
    """With such a key, the same signature is valid for every message."""
    data = bytearray(bytes.fromhex(octets))
    data[31] |= sign
    with fails("point-low-order", WeakKeyError):
        check_public_key(okp("Ed25519", bytes(data)))


def test_the_low_order_points_of_ed25519_have_order_eight() -> None:
    """Doubling each of them three times gives the neutral element, which proves the list in another way."""
    d = -121665 * pow(121666, -1, P25519) % P25519
    for octets in LOW_ORDER_ED25519:
        y = int.from_bytes(bytes.fromhex(octets), "little")
        for _ in range(3):  # y of the double, by -x² + y² = 1 + dx²y²
            xx = (y * y - 1) * pow(d * y * y + 1, -1, P25519) % P25519
            y = (y * y + xx) * pow(2 + xx - y * y, -1, P25519) % P25519
        assert y == 1


@pytest.mark.parametrize("sign", [0, 0x80])
@pytest.mark.parametrize("y", [0, 1, P448 - 1])
def test_low_order_points_of_ed448(y: int, sign: int) -> None:
    """The cofactor of Ed448 is 4, so four points have low order."""
    with fails("point-low-order", WeakKeyError):
        check_public_key(okp("Ed448", y.to_bytes(56, "little") + bytes([sign])))


@pytest.mark.parametrize(
    ("crv", "value"),
    [
        ("X25519", P25519),
        ("X25519", P25519 + 9),
        ("X25519", 2**255 - 1),
        ("X25519", 2**255 + 9),
        ("X448", P448),
        ("X448", 2**448 - 1),
        ("Ed25519", P25519),
        ("Ed25519", P25519 + 1),
        ("Ed25519", 2**255 - 1),
        ("Ed25519", 2**256 - 1),
        ("Ed448", P448),
        ("Ed448", 2**448 - 1),
    ],
)
def test_a_point_has_one_encoding(crv: str, value: int) -> None:
    """A coordinate that is not reduced, or has a stray bit, is another encoding of a point, and is refused."""
    with fails("point-not-canonical", WeakKeyError) as caught:
        check_public_key(okp(crv, value))
    assert f" {crv} " in caught.value.message


def test_points_off_the_edwards_curves() -> None:
    """About half of all y belong to no point."""
    for crv, bits in (("Ed25519", 254), ("Ed448", 440)):
        codes = [refusal(okp(crv, digits(f"{crv} {count}", bits))) for count in range(40)]
        assert {None, "point-not-on-curve"} == set(codes)
        assert 5 < codes.count(None) < 35


def refusal(jwk: dict[str, str]) -> str | None:
    """Return the code of the error that refuses *jwk*, or None if it is accepted."""
    try:
        check_public_key(jwk)
    except JWKError as error:
        return error.code
    return None


@pytest.mark.parametrize("octet", [0x01, 0x7F, 0xFF])
def test_the_last_octet_of_ed448_is_a_sign(octet: int) -> None:
    """The seven other bits of that octet must be zero."""
    with fails("point-not-on-curve", WeakKeyError):
        check_public_key(okp("Ed448", (2).to_bytes(56, "little") + bytes([octet])))


# --- types and algorithms -------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("jwk", "alg", "code", "named"),
    [
        ({"kty": None}, None, "kty-unknown", ["None"]),
        ({"kty": "PKA"}, None, "kty-unknown", ["'PKA'"]),
        ({"kty": "x" * 500}, None, "kty-unknown", ["'" + "x" * 37 + "…'"]),
        ({"kty": "EC", "crv": "P-224"}, None, "crv-unknown", ["'P-224'", "EC"]),
        ({"kty": "EC", "crv": "X25519"}, None, "crv-unknown", ["'X25519'", "EC"]),
        ({"kty": "EC", "crv": ["P-256"]}, None, "crv-unknown", ["['P-256']", "EC"]),
        ({"kty": "EC", "crv": "P-256", "x": "AA"}, None, "base64url-invalid", ["'y'"]),
        ({"kty": "OKP", "crv": "P-256"}, None, "crv-unknown", ["'P-256'", "OKP"]),
        ({"kty": "OKP", "crv": None}, None, "crv-unknown", ["None", "OKP"]),
        ({"kty": "OKP", "crv": "Ed25519"}, None, "base64url-invalid", ["'x'"]),
        ({"kty": "AKP", "alg": "ES256"}, None, "alg-unknown", ["'ES256'", "AKP"]),
        ({"kty": "AKP", "alg": "ML-DSA-44", "pub": "AA"}, None, "key-length", ["ML-DSA-44", " 1312 ", " 1"]),
        ({"kty": "oct"}, "none", "alg-unknown", ["'none'"]),
        ({"kty": "RSA"}, "ES256", "alg-mismatch", ["'RSA'", "ES256"]),
        ({"kty": "EC", "crv": "P-384"}, "ES256", "alg-mismatch", ["'EC'", "'P-384'", "ES256"]),
        ({"kty": "EC", "crv": "Ed25519"}, "EdDSA", "alg-mismatch", ["'EC'", "'Ed25519'", "EdDSA"]),
        ({"kty": "OKP", "crv": ["Ed25519"]}, "EdDSA", "alg-mismatch", ["'OKP'", "['Ed25519']", "EdDSA"]),
        ({"kty": "RSA"}, "HS256", "alg-mismatch", ["'RSA'", "HS256"]),
        ({"kty": "oct"}, "RS256", "alg-mismatch", ["'oct'", "RS256"]),
    ],
)
def test_types_that_are_unknown_or_do_not_fit(
    jwk: dict[str, Any], alg: str | None, code: str, named: list[str]
) -> None:
    """A key is for one algorithm (RFC 8725); the message for a key that does not fit names both."""
    with fails(code, JWKError) as caught:
        check_public_key(jwk, alg=alg)
    assert all(value in caught.value.message for value in named)


@pytest.mark.parametrize(
    ("kty", "hint"),
    [
        ("EC", "crv is one of P-256, P-384, P-521, secp256k1"),
        ("OKP", "crv is one of Ed25519, X25519, Ed448, X448"),
        ("PKA", "kty is one of RSA, EC, OKP, AKP, oct"),
    ],
)
def test_hints_list_the_known_values(kty: str, hint: str) -> None:
    """They list the curves of the key type, or the key types."""
    with pytest.raises(JWKError) as caught:
        check_public_key({"kty": kty, "crv": "x"})
    assert hint == caught.value.hint


def test_a_symmetric_key_has_no_public_half_to_check() -> None:
    """`check_secret` judges its secret."""
    check_public_key({"kty": "oct"}, alg="HS256")


@pytest.mark.parametrize(
    ("octets", "alg", "bound"),
    [
        (31, "HS256", "at least 256"),
        (32, "HS256", None),
        (33, "HS256", None),
        (0, "HS512", "at least 512"),
        (63, "HS512", "at least 512"),
        (64, "HS512", None),
        (15, "A128KW", "exactly 128"),
        (16, "A128KW", None),
        (17, "A128KW", "exactly 128"),
        (33, "A256KW", "exactly 256"),
    ],
)
def test_lengths_of_secrets(octets: int, alg: str, bound: str | None) -> None:
    """A secret for HMAC is at least as long as the hash, for key wrap exactly as long as the key."""
    if bound is None:
        check_secret_length(octets, alg=alg)
    else:
        with fails("secret-size", WeakKeyError) as caught:
            check_secret_length(octets, alg=alg)
        assert alg in caught.value.message
        assert f" {octets * 8} bits" in caught.value.message
        assert caught.value.message.endswith(bound)


# --- vectors of other projects --------------------------------------------------------------------------


def test_wycheproof_x25519(vectors: Path) -> None:
    """Each of 531 public keys is accepted, or refused for a flag in Wycheproof."""
    unsafe = {"LowOrderPublic", "NonCanonicalPublic", "InvalidPublic", "ZeroSharedSecret"}
    document = json.loads((vectors / "wycheproof" / "x25519_jwk_test.json").read_text())
    wrong = []
    for group in document["testGroups"]:
        for test in group["tests"]:
            key = test["public"]
            accepted = (key.get("kty"), key.get("crv")) == ("OKP", "X25519") and refusal(key) is None
            if accepted == bool(unsafe & set(test["flags"])):
                wrong.append((test["tcId"], test["flags"], key))
    assert wrong == []


def test_wycheproof_ed25519(vectors: Path) -> None:
    """Every public key of the signature vectors is sound."""
    document = json.loads((vectors / "wycheproof" / "ed25519_test.json").read_text())
    keys = [group["publicKeyJwk"] for group in document["testGroups"]]
    for key in keys:
        check_public_key(key, alg="EdDSA")
    assert len(keys) > 50
