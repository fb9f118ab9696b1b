"""Public JWKs: what is published of a key, under which name, in which bytes."""

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
    """The kid that we give a key is the one that the RFCs give it."""
    assert expected == thumbprint(jwk)


def test_a_thumbprint_depends_on_the_key_alone() -> None:
    """Order of members, descriptions and the private half do not change the kid."""
    assert thumbprint(EC) == thumbprint({"y": "eQ", "use": "sig", "d": "ZA", "x": "eA", "crv": "P-256", "kty": "EC"})


@pytest.mark.parametrize("kty", [None, "", "PKA", 1, ["RSA"], "rsa", "x" * 1_000])
def test_an_unknown_key_type_has_no_thumbprint(kty: object) -> None:
    """The error says what kty can be, and does not repeat a page of nonsense."""
    with pytest.raises(JWKError, match=r"^unknown key type .{1,40}$") as caught:
        thumbprint({**EC, "kty": kty})
    assert caught.value.hint == "kty is one of RSA, EC, OKP, AKP, oct"


@pytest.mark.parametrize(
    ("kty", "member"), [(kty, name) for kty in REQUIRED for name in REQUIRED[kty] if name != "kty"]
)
@pytest.mark.parametrize("value", [None, 1, ["eA"], {}])
def test_a_missing_member_is_named(kty: str, member: str, value: object) -> None:
    """A required member that is missing, or no string, is named."""
    jwk = {**dict.fromkeys(REQUIRED[kty], "eA"), "kty": kty, member: value}
    with pytest.raises(JWKError, match=f"^{kty} key lacks the member '{member}'$"):
        thumbprint(jwk)


def test_half_a_surrogate_is_no_text() -> None:
    """A string of Python can hold what UTF-8 cannot."""
    with pytest.raises(JWKError, match=r"^EC key has a member that is no text$"):
        thumbprint({**EC, "x": "\ud800"})


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
    """Of a private JWK with everything in it, exactly kty, kid, use, alg and the public members come out."""
    published = msgspec.to_builtins(public_jwk(full_jwk(kty), kid="key-1", alg=ALG[kty]))
    assert {"kty", "kid", "use", "alg", *REQUIRED[kty]} - {"k"} == set(published)
    assert "SECRET" not in published.values()


names = st.one_of(st.sampled_from(sorted(PRIVATE_MEMBERS)), st.text(max_size=10))


@given(st.sampled_from(list(REQUIRED)), st.dictionaries(names, st.text(st.characters(codec="utf-8"), max_size=20)))
def test_no_other_member_gets_through(kty: str, more: dict[str, str]) -> None:
    """Whatever else stands in a JWK, of any key type: it never reaches the published form."""
    jwk = {**more, **{name: value for name, value in full_jwk(kty).items() if name in ("crv", *REQUIRED[kty])}}
    published = msgspec.json.decode(msgspec.json.encode(public_jwk(jwk, kid="key-1", alg=ALG[kty])))
    assert set(published) <= {"kty", "kid", "use", "alg", "crv", "x", "y", "n", "e", "pub"}
    assert not PRIVATE_MEMBERS & set(published)
    assert {name: jwk[name] for name in REQUIRED[kty] if name != "k"}.items() <= published.items()


@pytest.mark.parametrize(
    ("jwk", "alg", "message"),
    [
        (EC, "none", "unknown algorithm 'none'"),
        (EC, "RS256", "a key of type EC on 'P-256' does not fit RS256"),
        (EC, "ES384", "a key of type EC on 'P-256' does not fit ES384"),
        (RFC7638, "ES256", "a key of type RSA does not fit ES256"),
        (RFC8037, "ES256", "a key of type OKP on 'Ed25519' does not fit ES256"),
        ({**EC, "crv": "Ed25519"}, "EdDSA", "a key of type EC on 'Ed25519' does not fit EdDSA"),
        ({**EC, "crv": ["P-256"]}, "ES256", "EC key lacks the member 'crv'"),
        ({"kty": "oct", "k": "eA"}, "RS256", "a key of type oct does not fit RS256"),
    ],
)
def test_an_algorithm_that_does_not_fit(jwk: dict[str, Any], alg: str, message: str) -> None:
    """A key is published for one algorithm, and only for one that its type and curve can do."""
    with pytest.raises(JWKError) as caught:
        public_jwk(jwk, kid="key-1", alg=alg)
    assert message == caught.value.message


def test_a_symmetric_key_has_a_name_and_nothing_else() -> None:
    """The thumbprint of a secret would let everybody test guesses of it: its kid stands for it."""
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
def test_base64url_goes_both_ways(data: bytes) -> None:
    """Every string of octets has an encoding, and comes back from it."""
    assert data == b64u_decode(b64u(data), what="it")


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (None, "it must be a base64url string"),
        (7, "it must be a base64url string"),
        (b"AA", "it must be a base64url string"),
        ("A", "it is not base64url"),
        ("AAAAA", "it is not base64url"),
        ("é", "it is not base64url"),
        ("\ud800", "it is not base64url"),
        ("AA AA", "it is not base64url"),
        ("AB", "it is not canonical base64url"),
        ("AA==", "it is not canonical base64url"),
        ("++++", "it is not canonical base64url"),
        ("////", "it is not canonical base64url"),
    ],
)
def test_one_encoding_for_each_string_of_octets(text: object, message: str) -> None:
    """Padding, the other alphabet and stray bits would be second spellings of the same octets: refused."""
    with pytest.raises(JWKError) as caught:
        b64u_decode(text, what="it")
    assert message == caught.value.message


@given(st.text(st.sampled_from("AQBgw9-_+/= \n"), max_size=8))
def test_what_is_decoded_encodes_to_the_same_text(text: str) -> None:
    """There is no second spelling that is accepted."""
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
def test_kids_that_can_be(kid: str) -> None:
    """Imported keys keep any kid of 1 to 256 printable ASCII characters, such as other servers give."""
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
def test_kids_that_cannot_be(kid: object) -> None:
    """Control characters, other alphabets and other types are refused, in one line of bearable length."""
    with pytest.raises(JWKError, match=r"^invalid kid .{1,80}$") as caught:
        check_kid(kid)
    assert caught.value.hint == "a kid is 1 to 256 printable ASCII characters"


@pytest.mark.parametrize(
    "kid", ["a", "NzbLsXh8uDCcd-6MNwXF4W_7noWXFZAfHkxZsRGC9Xs", "2011-04-29", "_x", "con1", "indexes", "a~b"]
)
def test_a_plain_kid_names_its_file(kid: str) -> None:
    """Most kids are file names as they are."""
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
    """Options, dots, devices, short names and lock files: no file system, shell or git sees them."""
    stem = file_stem(kid)
    assert re.fullmatch("kid-[0-9a-f]{32}", stem)
    assert stem == file_stem(stem)


@given(st.from_regex(r"[ -~]{1,256}", fullmatch=True))
def test_no_kid_has_a_file_name_that_could_hurt(kid: str) -> None:
    """Whatever the kid is, its file name begins with a letter, digit or underscore and stays in its folder."""
    assert kid == check_kid(kid)
    assert re.fullmatch(r"[A-Za-z0-9_][A-Za-z0-9._~-]{0,127}", file_stem(kid))


def test_kids_that_differ_have_file_names_that_differ() -> None:
    """Two awkward kids never share a file."""
    kids = ["-x", "-y", "..", "...", "CON", "con", "index", "INDEX", "a/b", "a\\b", "a b", "A b", "%61"]
    assert len(kids) == len({file_stem(kid) for kid in kids})
