"""New keys: the right members, the right lengths, a kid that can be typed."""

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
        # A number has no leading zeros: now and then one is an octet shorter.
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


def test_a_length_can_be_asked_for() -> None:
    """The modulus or secret has as many bits as policy says."""
    assert len(b64u_decode(generate(key_spec("RS256", bits=2056))["n"], what="n")) == 257
    assert len(b64u_decode(generate(key_spec("HS256", bits=512))["k"], what="k")) == 64


def test_no_kid_looks_like_an_option() -> None:
    """One thumbprint in 32 begins with - or _: such a key is drawn again."""
    kids = [generate(key_spec("Ed25519"))["kid"] for _ in range(300)]
    assert not [kid for kid in kids if kid[0] in "-_"]
    assert len(set(kids)) == 300


def test_a_key_with_an_awkward_kid_is_thrown_away(monkeypatch: pytest.MonkeyPatch) -> None:
    """Not renamed: the kid stays the thumbprint of the key that is returned."""
    drawn: list[str] = []
    # One thumbprint in 32 begins so by itself.
    prefixes = iter(["-", "_", "x"])

    def draw(jwk: PrivateJWK) -> str:
        drawn.append(jwk["x"])
        return next(prefixes) + thumbprint(jwk)

    monkeypatch.setattr(module, "thumbprint", draw)
    jwk = generate(key_spec("ES256"))
    assert len(set(drawn)) == 3
    assert drawn[-1] == jwk["x"]


def test_a_key_that_looks_weak_is_thrown_away(monkeypatch: pytest.MonkeyPatch) -> None:
    """A sound RSA key can have the look of a ROCA key by chance: nobody else would take it."""
    looks = iter([True, False])

    def check(jwk: PrivateJWK, *, alg: str) -> None:
        if next(looks):
            raise WeakKeyError("looks weak")

    monkeypatch.setattr(module, "check_public_key", check)
    assert generate(key_spec("ES256"))["alg"] == "ES256"
    assert list(looks) == []


@pytest.mark.parametrize(
    "algs",
    [[], ["ES256"], ["ES256", "EdDSA", "HS256"], ["ES256", "RS256", "EdDSA", "RS256", "PS256", "ES384", "RS256"]],
)
def test_many_keys_come_in_the_order_asked_for(algs: list[str], monkeypatch: pytest.MonkeyPatch) -> None:
    """RSA keys are made on all cores and in batches; the order is that of the plan all the same."""
    monkeypatch.setattr(module, "BATCH", 2)
    assert algs == [jwk["alg"] for jwk in generate_many(key_spec(alg) for alg in algs)]


def test_a_large_plan_does_not_hold_all_private_keys(monkeypatch: pytest.MonkeyPatch) -> None:
    """No more than a batch is made before the first key is taken."""
    made = itertools.count()

    def count(spec: KeySpec) -> PrivateJWK:
        return {"alg": spec.alg, "number": str(next(made))}

    monkeypatch.setattr(module, "generate", count)
    monkeypatch.setattr(module, "BATCH", 10)
    keys: Iterable[PrivateJWK] = generate_many([key_spec("RS256")] * 100)
    assert next(iter(keys))["alg"] == "RS256"
    assert next(made) <= 20
