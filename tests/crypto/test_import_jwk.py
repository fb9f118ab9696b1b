"""JWKs of other programs: with empty members, other Base64, and ``key_ops`` instead of ``use``."""

from __future__ import annotations

import base64
import json
from typing import Any

import pytest

from keyvault.core.jwk import REQUIRED, b64u_decode, thumbprint
from keyvault.crypto.imports import FoundKey, holds_private, read_jwk, read_keys
from keyvault.errors import JWKError, WeakKeyError
from tests.crypto.kinds import KINDS, key, members
from tests.errors import fails

PUBLIC = [kind for kind in KINDS if kind != "oct"]


def public(kind: str) -> dict[str, Any]:
    return {name: value for name, value in key(kind).items() if name in (*REQUIRED[key(kind)["kty"]], "kid")}


# --- empty members --------------------------------------------------------------------------------------


@pytest.mark.parametrize("kind", PUBLIC)
@pytest.mark.parametrize(
    "empty", [{"oth": []}, {"d": None}, {"d": "", "p": ""}, {"k": None, "priv": None, "oth": None}], ids=str
)
def test_empty_private_members_beside_a_public_key(kind: str, empty: dict[str, Any]) -> None:
    """The public half is imported, with a remark; the key does not count as private."""
    jwk = {**public(kind), "key_ops": [], "x5c": [], **empty}

    found = read_jwk(jwk)

    assert not holds_private(jwk)
    assert (found.private, found.kid, found.use) == (False, key(kind)["kid"], None)
    assert found.public == {name: value for name, value in public(kind).items() if name != "kid"}
    assert found.remarks == (f"skipped empty private members: {', '.join(sorted(empty))}",)


@pytest.mark.parametrize("left", [(), ("p", "q", "dp", "dq", "qi")], ids=["all null", "all there"])
def test_a_private_rsa_key_whose_crt_members_are_null(left: tuple[str, ...]) -> None:
    """They follow from n, e and d."""
    jwk: dict[str, Any] = {**key("RSA"), "oth": []}
    jwk |= {name: None for name in ("p", "q", "dp", "dq", "qi") if name not in left}

    found = read_jwk(jwk)

    assert found.private
    assert thumbprint(found.members) == thumbprint(key("RSA"))
    assert {found.members["p"], found.members["q"]} == {key("RSA")["p"], key("RSA")["q"]}


def test_some_crt_members_alone() -> None:
    """They are refused."""
    with fails("member-missing", JWKError):
        read_jwk({**key("RSA"), "dp": None})


def test_a_private_member_that_is_not_empty() -> None:
    """It makes the key private, whatever other members there are."""
    assert holds_private({**public("RSA"), "d": "AQ"})
    assert holds_private({**public("RSA"), "oth": [{"r": "AQ"}]})
    with fails("key-halves-mismatch", WeakKeyError):
        read_jwk({**public("P-256"), "d": key("secp256k1")["d"]})


# --- Base64 ---------------------------------------------------------------------------------------------


def _padded(text: str) -> str:
    return text + "=" * (-len(text) % 4)


def _standard(text: str) -> str:
    return _padded(text).replace("-", "+").replace("_", "/")


def _wrapped(text: str) -> str:
    return "\n".join(text[at : at + 64] for at in range(0, len(text), 64))


def _with_zero(text: str) -> str:
    return base64.urlsafe_b64encode(b"\0" + b64u_decode(text, what="it")).rstrip(b"=").decode()


SPELLINGS = {"padded": _padded, "standard": _standard, "wrapped": _wrapped, "a zero octet": _with_zero}


#: Where the members are octets and not numbers, one more zero is another key.
SPELT = [
    (kind, spelling)
    for kind in KINDS
    for spelling in SPELLINGS
    if spelling != "a zero octet" or key(kind)["kty"] in ("RSA", "EC")
]


@pytest.mark.parametrize(("kind", "spelling"), SPELT)
@pytest.mark.parametrize("half", ["private", "public"])
def test_other_spellings_are_normalised(kind: str, spelling: str, half: str) -> None:
    """The thumbprint is that of the canonical form, and the kid stays."""
    held = key(kind) if half == "private" or kind == "oct" else public(kind)
    spell = SPELLINGS[spelling]
    kept = ("kty", "crv", "alg", "use", "kid")
    jwk = {name: value if name in kept else spell(value) for name, value in held.items()} | {"kid": "given"}

    found = read_jwk(jwk)

    assert found.kid == "given"
    assert thumbprint(found.members) == thumbprint(key(kind))
    if half == "private":
        assert found.members == members(key(kind))
    if jwk != held | {"kid": "given"}:
        assert found.remarks[0].startswith("normalised members")
    assert json.dumps(found.members).isascii()


def test_a_short_coordinate_is_filled_up() -> None:
    """Java writes numbers without their leading zeros."""
    jwk = {"kty": "EC", "crv": "P-521", **{name: key("P-521")[name] for name in ("x", "y", "d")}}
    short = {
        name: base64.urlsafe_b64encode(b64u_decode(jwk[name], what=name).lstrip(b"\0")).rstrip(b"=").decode()
        for name in ("x", "y", "d")
    }

    assert read_jwk(jwk | short).members == members(key("P-521"))


@pytest.mark.parametrize("value", ["%%%", "AQAB*", "A", "é"])
def test_what_is_no_base64(value: str) -> None:
    """It is refused, with the name of the member."""
    with fails("base64url-invalid", JWKError) as caught:
        read_jwk({**public("RSA"), "n": value})
    assert "'n'" in caught.value.message


# --- what a key is for ----------------------------------------------------------------------------------


def _found(kind: str, **labels: Any) -> FoundKey:
    (found,) = read_keys(json.dumps({**members(key(kind)), **labels}).encode())
    return found


@pytest.mark.parametrize(
    ("labels", "use"),
    [
        ({"key_ops": ["sign"]}, "sig"),
        ({"key_ops": ["verify"]}, "sig"),
        ({"key_ops": ["sign", "verify"], "use": "sig"}, "sig"),
        ({"key_ops": ["deriveKey", "deriveBits"]}, "enc"),
        ({"key_ops": ["decrypt", "unwrapKey"]}, "enc"),
        ({"key_ops": ["wrapKey"], "use": "enc"}, "enc"),
        ({"key_ops": []}, None),
        ({"key_ops": [], "use": "sig"}, "sig"),
        ({"key_ops": ["somethingElse"]}, None),
        ({"key_ops": ["sign", "decrypt"]}, None),
        ({"key_ops": None}, None),
    ],
    ids=str,
)
@pytest.mark.parametrize("kind", ["RSA", "P-256", "oct"])
def test_key_ops_tell_the_use_of_a_key(kind: str, labels: dict[str, Any], use: str | None) -> None:
    """As ``use`` does."""
    assert _found(kind, **labels).use == use


@pytest.mark.parametrize(
    ("labels", "code", "named"),
    [
        ({"use": "sig", "key_ops": ["deriveKey"]}, "jwk-use-ambiguous", "use 'sig' contradicts key_ops"),
        ({"use": "enc", "key_ops": ["verify"]}, "jwk-use-ambiguous", "use 'enc' contradicts key_ops"),
        ({"key_ops": "sign"}, "member-invalid", "'key_ops'"),
        ({"key_ops": [1]}, "member-invalid", "'key_ops'"),
    ],
)
def test_invalid_key_ops(labels: dict[str, Any], code: str, named: str) -> None:
    """The message names the member."""
    with fails(code, JWKError) as caught:
        _found("P-256", **labels)
    assert named in caught.value.message
