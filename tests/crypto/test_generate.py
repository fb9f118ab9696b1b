"""New keys: the right members and lengths, and a kid that works as an argument."""

from __future__ import annotations

import itertools
from collections.abc import Iterable

import pytest

from keyvault.core.algorithms import ALGORITHMS, KeySpec, key_spec
from keyvault.core.jwk import b64u_decode, thumbprint
from keyvault.crypto import generate as module
from keyvault.crypto.generate import PrivateJWK, generate, generate_many
from keyvault.crypto.pairs import check_private_jwk
from keyvault.errors import WeakKeyError
from tests.crypto.keys import KINDS

COMMON = {"kty", "kid", "use", "alg"}
RSA = {"n": 256, "e": 3, "d": 256, "p": 128, "q": 128, "dp": 128, "dq": 128, "qi": 128}
LENGTHS = {
    "P-256": dict.fromkeys("xyd", 32),
    "P-384": dict.fromkeys("xyd", 48),
    "P-521": dict.fromkeys("xyd", 66),
    "secp256k1": dict.fromkeys("xyd", 32),
    "Ed25519": dict.fromkeys("xd", 32),
    "X25519": dict.fromkeys("xd", 32),
    "Ed448": dict.fromkeys("xd", 57),
    "X448": dict.fromkeys("xd", 56),
    "ML-DSA-44": {"pub": 1312, "priv": 32},
    "ML-DSA-65": {"pub": 1952, "priv": 32},
    "ML-DSA-87": {"pub": 2592, "priv": 32},
}


@pytest.mark.parametrize(("alg", "crv"), KINDS)
def test_a_new_key_has_the_members_of_its_kind(alg: str, crv: str | None) -> None:
    """Exactly the members of the RFC, each of its length; the kid is the thumbprint."""
    spec = key_spec(alg, crv=crv)
    jwk = generate(spec)
    lengths = {name: len(b64u_decode(jwk[name], what=name)) for name in set(jwk) - COMMON - {"crv"}}
    if spec.kty == "RSA":
        assert set(RSA) == set(lengths)
        # A number has no leading zeros, so it is sometimes an octet shorter.
        assert all(expected - 2 <= lengths[name] <= expected for name, expected in RSA.items())
        assert (lengths["n"], jwk["e"]) == (256, "AQAB")
    elif spec.kty == "oct":
        assert lengths == {"k": ALGORITHMS[alg].octets}
    else:
        assert LENGTHS[crv or alg] == lengths
        assert crv == jwk.get("crv")
    assert (spec.kty, spec.use, alg) == (jwk["kty"], jwk["use"], jwk["alg"])
    assert thumbprint(jwk) == jwk["kid"]
    check_private_jwk(jwk, alg=alg)


def test_the_length_comes_from_the_spec() -> None:
    """The modulus or secret has the bits of the spec."""
    assert len(b64u_decode(generate(key_spec("RS256", bits=2056))["n"], what="n")) == 257
    assert len(b64u_decode(generate(key_spec("HS256", bits=512))["k"], what="k")) == 64


def test_no_kid_looks_like_an_option() -> None:
    """One thumbprint in 32 begins with - or _: such a key is discarded."""
    kids = [generate(key_spec("Ed25519"))["kid"] for _ in range(300)]
    assert not [kid for kid in kids if kid[0] in "-_"]
    assert len(set(kids)) == 300


def test_a_key_with_an_awkward_kid_is_discarded(monkeypatch: pytest.MonkeyPatch) -> None:
    """It is not renamed: the kid is the thumbprint of the returned key."""
    generated: list[str] = []
    # One thumbprint in 32 begins so by itself.
    prefixes = iter(["-", "_", "x"])

    def prefixed_thumbprint(jwk: PrivateJWK) -> str:
        generated.append(jwk["x"])
        return next(prefixes) + thumbprint(jwk)

    monkeypatch.setattr(module, "thumbprint", prefixed_thumbprint)
    jwk = generate(key_spec("ES256"))
    assert len(set(generated)) == 3
    assert generated[-1] == jwk["x"]


def test_a_key_that_looks_weak_is_discarded(monkeypatch: pytest.MonkeyPatch) -> None:
    """A sound RSA key can look like a ROCA key by chance: verifiers would refuse it."""
    looks = iter([True, False])

    def check(jwk: PrivateJWK, *, alg: str) -> None:
        if next(looks):
            raise WeakKeyError("looks weak", code="key-weak")

    monkeypatch.setattr(module, "check_public_key", check)
    assert generate(key_spec("ES256"))["alg"] == "ES256"
    assert list(looks) == []


@pytest.mark.parametrize(
    "algs",
    [[], ["ES256"], ["ES256", "EdDSA", "HS256"], ["ES256", "RS256", "EdDSA", "RS256", "PS256", "ES384", "RS256"]],
)
def test_many_keys_keep_their_order(algs: list[str], monkeypatch: pytest.MonkeyPatch) -> None:
    """RSA keys are generated on all cores and in batches, in the order of the plan."""
    monkeypatch.setattr(module, "BATCH", 2)
    assert algs == [jwk["alg"] for jwk in generate_many(key_spec(alg) for alg in algs)]


def test_a_large_plan_does_not_hold_all_private_keys(monkeypatch: pytest.MonkeyPatch) -> None:
    """Only a batch is generated before the first key is returned."""
    numbers = itertools.count()

    def count(spec: KeySpec) -> PrivateJWK:
        return {"alg": spec.alg, "number": str(next(numbers))}

    monkeypatch.setattr(module, "generate", count)
    monkeypatch.setattr(module, "BATCH", 10)
    keys: Iterable[PrivateJWK] = generate_many([key_spec("RS256")] * 100)
    assert next(iter(keys))["alg"] == "RS256"
    assert next(numbers) <= 20
