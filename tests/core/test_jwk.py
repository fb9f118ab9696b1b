"""Public JWKs: their members, their thumbprints, the names of their files, and the bytes of a JWK Set."""

from __future__ import annotations

import re
from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from keyvault.core.jwk import (
    PRIVATE_MEMBERS,
    REQUIRED,
    PublicJWK,
    b64u,
    b64u_decode,
    check_kid,
    file_stem,
    jwk_set_bytes,
    public_jwk,
    thumbprint,
)
from keyvault.errors import JWKError
from tests.errors import fails

#: RFC 7638 section 3.1.
RFC7638 = {
    "kty": "RSA",
    "n": "0vx7agoebGcQSuuPiLJXZptN9nndrQmbXEps2aiAFbWhM78LhWx4cbbfAAtVT86zwu1RK7aPFFxuhDR1L6tSoc_BJECPebWKRXjBZCi"
    "FV4n3oknjhMstn64tZ_2W-5JsGY4Hc5n9yBXArwl93lqt7_RN5w6Cf0h4QyQ5v-65YGjQR0_FDW2QvzqY368QQMicAtaSqzs8KJZgnYb9c7d0z"
    "gdAZHzu6qMQvRL5hajrn1n91CbOpbISD08qNLyrdkt-bFTWhAI4vMQFh6WeZu0fM4lFd2NcRwr3XPksINHaQ-G_xBniIqbw0Ls1jF44-csFCur"
    "-kEgU8awapJzKnqDKgw",
    "e": "AQAB",
    "alg": "RS256",
    "kid": "2011-04-29",
}
#: RFC 8037 appendix A.1, its thumbprint in A.3.
RFC8037 = {
    "kty": "OKP",
    "crv": "Ed25519",
    "d": "nWGxne_9WmC6hEr0kuwsxERJxWl7MmkZcDusAxyuf2A",
    "x": "11qYAYKxCrfVS_7TyWQHOg7hcvPapiMlrwIaaPcHURo",
}
EC = {"kty": "EC", "crv": "P-256", "x": "eA", "y": "eQ"}
ALG = {"RSA": "RS256", "EC": "ES256", "OKP": "EdDSA", "oct": "HS256", "AKP": "ML-DSA-44"}
CRV = {"EC": "P-256", "OKP": "Ed25519"}


# --- thumbprints ----------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("jwk", "expected"),
    [
        pytest.param(RFC7638, "NzbLsXh8uDCcd-6MNwXF4W_7noWXFZAfHkxZsRGC9Xs", id="RFC 7638 3.1"),
        pytest.param(RFC8037, "kPrK_qmxVWaYVA9wwBF6Iuo3vVzz7TxHCTwXBygrS4k", id="RFC 8037 A.3"),
    ],
)
def test_thumbprints_of_the_rfcs(jwk: dict[str, str], expected: str) -> None:
    """The thumbprints are those in the RFCs."""
    assert expected == thumbprint(jwk)


def test_a_thumbprint_depends_only_on_the_public_key() -> None:
    """The order of members, descriptions and the private half do not change it."""
    assert thumbprint(EC) == thumbprint({"y": "eQ", "use": "sig", "d": "ZA", "x": "eA", "crv": "P-256", "kty": "EC"})


@pytest.mark.parametrize("kty", [None, "", "PKA", 1, ["RSA"], "rsa", "x" * 1_000])
def test_an_unknown_key_type_has_no_thumbprint(kty: object) -> None:
    """The hint lists the known types, and the message shortens a long value."""
    with fails("kty-unknown", JWKError) as caught:
        thumbprint({**EC, "kty": kty})
    assert len(caught.value.message) < 60
    assert caught.value.hint == "kty is one of RSA, EC, OKP, AKP, oct"


@pytest.mark.parametrize(
    ("kty", "member"), [(kty, name) for kty in REQUIRED for name in REQUIRED[kty] if name != "kty"]
)
@pytest.mark.parametrize("value", [None, 1, ["eA"], {}])
def test_a_missing_member_is_named(kty: str, member: str, value: object) -> None:
    """The message names a required member that is missing or not a string."""
    jwk = {**dict.fromkeys(REQUIRED[kty], "eA"), "kty": kty, member: value}
    with fails("member-missing", JWKError) as caught:
        thumbprint(jwk)
    assert caught.value.message.startswith(f"{kty} key ")
    assert f"'{member}'" in caught.value.message


def test_a_lone_surrogate_is_refused() -> None:
    """Python strings may have surrogates, which UTF-8 cannot encode."""
    with fails("member-invalid", JWKError) as caught:
        thumbprint({**EC, "x": "\ud800"})
    assert "'x'" in caught.value.message


# --- the allowlist --------------------------------------------------------------------------------------


def full_jwk(kty: str) -> dict[str, Any]:
    """Return a private JWK with every member that a specification or a vendor knows."""
    known = ["d", "p", "q", "dp", "dq", "qi", "oth", "k", "priv", "pub", "key_ops", "ext", "x5c", "x5t", "x5u", "exp"]
    return {
        **dict.fromkeys(known, "SECRET"),
        **dict.fromkeys(REQUIRED[kty], "eA"),
        "kty": kty,
        **({"alg": ALG[kty]} if kty == "AKP" else {}),
        **({"crv": CRV[kty]} if kty in CRV else {}),
    }


@pytest.mark.parametrize("kty", REQUIRED)
def test_only_the_profile_is_published(kty: str) -> None:
    """The public form of a private JWK with every known member has only kty, kid, use, alg and the public members."""
    published = msgspec.to_builtins(public_jwk(full_jwk(kty), kid="key-1", alg=ALG[kty]))
    assert {"kty", "kid", "use", "alg", *REQUIRED[kty]} - {"k"} == set(published)
    assert "SECRET" not in published.values()


names = st.one_of(st.sampled_from(sorted(PRIVATE_MEMBERS)), st.text(max_size=10))


@given(st.sampled_from(list(REQUIRED)), st.dictionaries(names, st.text(st.characters(codec="utf-8"), max_size=20)))
def test_no_other_member_is_published(kty: str, more: dict[str, str]) -> None:
    """No other member of a JWK, of any key type, reaches the published form."""
    jwk = {**more, **{name: value for name, value in full_jwk(kty).items() if name in ("crv", *REQUIRED[kty])}}
    published = msgspec.json.decode(msgspec.json.encode(public_jwk(jwk, kid="key-1", alg=ALG[kty])))
    assert set(published) <= {"kty", "kid", "use", "alg", "crv", "x", "y", "n", "e", "pub"}
    assert not PRIVATE_MEMBERS & set(published)
    assert {name: jwk[name] for name in REQUIRED[kty] if name != "k"}.items() <= published.items()


@pytest.mark.parametrize(
    ("jwk", "alg", "code", "named"),
    [
        (EC, "none", "alg-unknown", ["'none'"]),
        (EC, "RS256", "alg-mismatch", ["EC", "'P-256'", "RS256"]),
        (EC, "ES384", "alg-mismatch", ["EC", "'P-256'", "ES384"]),
        (RFC7638, "ES256", "alg-mismatch", ["RSA", "ES256"]),
        (RFC8037, "ES256", "alg-mismatch", ["OKP", "'Ed25519'", "ES256"]),
        ({**EC, "crv": "Ed25519"}, "EdDSA", "alg-mismatch", ["EC", "'Ed25519'", "EdDSA"]),
        ({**EC, "crv": ["P-256"]}, "ES256", "member-missing", ["EC", "'crv'"]),
        ({"kty": "oct", "k": "eA"}, "RS256", "alg-mismatch", ["oct", "RS256"]),
    ],
)
def test_an_algorithm_that_does_not_fit(jwk: dict[str, Any], alg: str, code: str, named: list[str]) -> None:
    """A key is published only for an algorithm that fits its type and curve."""
    with fails(code, JWKError) as caught:
        public_jwk(jwk, kid="key-1", alg=alg)
    assert all(value in caught.value.message for value in named)


def test_a_public_symmetric_key_has_only_labels() -> None:
    """The thumbprint of a secret would let everybody test guesses of it, so its kid takes the place of that."""
    public = public_jwk({"kty": "oct", "k": "c2VjcmV0"}, kid="shared-1", alg="HS256")
    assert public == PublicJWK(kty="oct", kid="shared-1", use="sig", alg="HS256")
    assert public.thumbprint == "shared-1"


def test_a_jwk_set_is_bytes_in_the_given_order() -> None:
    """Two spaces, line feeds, one final newline; absent members are absent, not null."""
    keys = [public_jwk(EC, kid=kid, alg="ES256") for kid in ("b", "a")]
    expected = """{
  "keys": [
    {
      "kty": "EC",
      "kid": "b",
      "use": "sig",
      "alg": "ES256",
      "crv": "P-256",
      "x": "eA",
      "y": "eQ"
    },
    {
      "kty": "EC",
      "kid": "a",
      "use": "sig",
      "alg": "ES256",
      "crv": "P-256",
      "x": "eA",
      "y": "eQ"
    }
  ]
}
"""
    assert expected == jwk_set_bytes(keys).decode()


# --- base64url ------------------------------------------------------------------------------------------


@given(st.binary(max_size=100))
def test_base64url_round_trips(data: bytes) -> None:
    """Every string of octets has an encoding, and decoding returns it."""
    assert data == b64u_decode(b64u(data), what="it")


@pytest.mark.parametrize(
    ("text", "code"),
    [
        (None, "base64url-invalid"),
        (7, "base64url-invalid"),
        (b"AA", "base64url-invalid"),
        ("A", "base64url-invalid"),
        ("AAAAA", "base64url-invalid"),
        ("é", "base64url-invalid"),
        ("\ud800", "base64url-invalid"),
        ("AA AA", "base64url-invalid"),
        ("AB", "base64url-not-canonical"),
        ("AA==", "base64url-not-canonical"),
        ("++++", "base64url-not-canonical"),
        ("////", "base64url-not-canonical"),
    ],
)
def test_only_the_canonical_encoding_is_decoded(text: object, code: str) -> None:
    """Padding, the other alphabet and stray bits would be other encodings of the same octets: they are refused."""
    with fails(code, JWKError) as caught:
        b64u_decode(text, what="it")
    assert caught.value.message.startswith("it ")


@given(st.text(st.sampled_from("AQBgw9-_+/= \n"), max_size=8))
def test_decoding_accepts_one_encoding(text: str) -> None:
    """No other encoding is accepted."""
    try:
        data = b64u_decode(text, what="it")
    except JWKError:
        return
    assert text == b64u(data)


# --- kids and file names --------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "kid",
    [
        "a", "2011-04-29", "-x", "..", "A.b_c~d-", "public:a", "sig-2026-11-25T02:30:00Z", "abc/def+gh=", "x" * 256,
        "https://vault.example.net/keys/sign/0f1e2d", "did:web:x#key-1", "{3F484124}", "a b", " ", "%41", "a,b", "a\\b",
        "../../x", '"\'<>&`$', "~",
    ],
)  # fmt: skip
def test_valid_kids(kid: str) -> None:
    """Imported keys keep any kid of 1 to 256 printable ASCII characters, such as those of other servers."""
    assert kid == check_kid(kid)


@pytest.mark.parametrize(
    "kid",
    [
        "",
        None,
        7,
        1.5,
        ["a"],
        "a\n",
        "a\tb",
        "a\x7f",
        "é",
        "🔑",
        "a\u202eb",
        "x" * 257,
        "x" * 10_000,
    ],
)
def test_invalid_kids(kid: object) -> None:
    """Control characters, other alphabets and other types are refused, and the message is one short line."""
    with fails("kid-invalid", JWKError) as caught:
        check_kid(kid)
    assert len(caught.value.message) < 100
    assert "\n" not in caught.value.message
    assert caught.value.hint == "a kid is 1 to 256 printable ASCII characters"


@pytest.mark.parametrize(
    "kid", ["a", "NzbLsXh8uDCcd-6MNwXF4W_7noWXFZAfHkxZsRGC9Xs", "2011-04-29", "_x", "con1", "indexes", "a~b"]
)
def test_a_plain_kid_is_the_name_of_its_file(kid: str) -> None:
    """Most kids are valid file names."""
    assert kid == file_stem(kid)


@pytest.mark.parametrize(
    "kid",
    [
        "-x", "--help", ".", "..", ".git", "~root", "CON", "con", "nul.txt", "COM1", "lpt9", "aux",
        "git~1", "GIT~1", "a.", "a..", "index", "Index", "main.lock", "x.LOCK", "a/b", "../../x", "a\\b", "a b", " ",
        "https://vault.example.net/keys/1", "{a}", "%2e%2e", "x" * 129, "$(id)",
    ],
)  # fmt: skip
def test_an_awkward_kid_gets_a_safe_file_name(kid: str) -> None:
    """Options, dots, devices, short names and lock files never reach a file system, shell or git."""
    stem = file_stem(kid)
    assert re.fullmatch("kid-[0-9a-f]{32}", stem)
    assert stem == file_stem(stem)


@given(st.from_regex(r"[ -~]{1,256}", fullmatch=True))
def test_file_names_of_kids_are_safe(kid: str) -> None:
    """The file name of any kid begins with a letter, digit or underscore and stays in its folder."""
    assert kid == check_kid(kid)
    assert re.fullmatch(r"[A-Za-z0-9_][A-Za-z0-9._~-]{0,127}", file_stem(kid))


def test_different_kids_have_different_file_names() -> None:
    """Two awkward kids never share a file."""
    kids = ["-x", "-y", "..", "...", "CON", "con", "index", "INDEX", "a/b", "a\\b", "a b", "A b", "%61"]
    assert len(kids) == len({file_stem(kid) for kid in kids})
