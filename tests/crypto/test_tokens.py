"""Tokens: what we sign others verify, and what nobody should accept we refuse."""

from __future__ import annotations

import base64
import hashlib
import hmac
import json
from datetime import UTC, datetime, timedelta
from typing import Any

import jwt
import msgspec
import pytest
from cryptography.hazmat.primitives.asymmetric.utils import encode_dss_signature
from joserfc import jws as joserfc_jws
from joserfc.jwk import import_key
from jwcrypto.jwa import JWA
from jwcrypto.jwk import JWK

from keyvault.core.jwk import PublicJWK, b64u
from keyvault.crypto.generate import PrivateJWK
from keyvault.crypto.tokens import (
    TOKEN_MAX,
    Token,
    TokenSigner,
    VerificationError,
    parse_token,
    strip_scheme,
    verify_token,
)
from keyvault.errors import JWKError, UsageError
from tests.crypto.keys import SIGNING, private, public

NOW = datetime(2026, 12, 1, 9, tzinfo=UTC)
STAMP = int(NOW.timestamp())
SKEW = timedelta(minutes=10)
CLAIMS = {"iss": "https://keys.example.com", "aud": ["api", "web"], "sub": "jo", "iat": STAMP, "exp": STAMP + 3_600}

#: What other libraries in Python know.
KNOWN = [(alg, crv) for alg, crv in SIGNING if not alg.startswith("ML-DSA")]
ASYMMETRIC = [(alg, crv) for alg, crv in SIGNING if not alg.startswith("HS")]


def sign(claims: Any = CLAIMS, *, jwk: PrivateJWK | None = None) -> str:
    return TokenSigner(jwk or private("ES256")).sign(claims)


def verify(text: str, *keys: PublicJWK, **more: Any) -> Token:
    return verify_token(text, keys or [public(private("ES256"))], **{"now": NOW, "skew": SKEW, **more})


def forged(header: Any, claims: Any = CLAIMS, *, jwk: PrivateJWK | None = None) -> str:
    """Return a token that is signed by ES256, whatever its header says."""
    jwk = jwk or private("ES256")
    key = JWK(**{name: value for name, value in jwk.items() if name not in ("kid", "use", "alg")})
    signed = ".".join(b64u(json.dumps(part).encode()) for part in (header, claims))
    return f"{signed}.{b64u(JWA.signing_alg('ES256').sign(key, signed.encode()))}"


def header(**members: Any) -> dict[str, Any]:
    return {"alg": "ES256", "kid": private("ES256")["kid"], **members}


# --- signing --------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("alg", "crv"), ASYMMETRIC)
def test_what_we_sign_verifies(alg: str, crv: str | None) -> None:
    """Every algorithm for signatures, with each of its curves."""
    jwk = private(alg, crv)
    token = verify(sign(jwk=jwk), public(private("ES384")), public(jwk))
    assert token == Token({"alg": alg, "kid": jwk["kid"], "typ": "JWT"}, CLAIMS)


@pytest.mark.parametrize(("alg", "crv"), [kind for kind in KNOWN if kind[0] not in ("Ed25519", "Ed448")])
def test_pyjwt_verifies_what_we_sign(alg: str, crv: str | None) -> None:
    """The library that most services in Python use. It does not know the names of RFC 9864 yet."""
    jwk = private(alg, crv)
    shown = msgspec.to_builtins(public(jwk)) if jwk["kty"] != "oct" else jwk
    claims = {**CLAIMS, "exp": 2**40, "iat": 0}
    assert claims == jwt.decode(sign(claims, jwk=jwk), jwt.PyJWK(shown), algorithms=[alg], audience="api")


@pytest.mark.filterwarnings("ignore:EdDSA is deprecated")  # RFC 9864 gave it two names; both are tried
@pytest.mark.parametrize(("alg", "crv"), KNOWN)
def test_joserfc_verifies_what_we_sign(alg: str, crv: str | None) -> None:
    """And one that follows the newest RFCs."""
    jwk = private(alg, crv)
    shown = msgspec.to_builtins(public(jwk)) if jwk["kty"] != "oct" else jwk
    done = joserfc_jws.deserialize_compact(sign(jwk=jwk), import_key(shown), algorithms=[alg])
    assert json.loads(done.payload) == CLAIMS


def test_the_type_of_a_token_can_be_said() -> None:
    """RFC 9068 access tokens say so."""
    assert parse_token(TokenSigner(private("ES256")).sign({}, typ="at+jwt")).header["typ"] == "at+jwt"


@pytest.mark.parametrize("claims", [{"a": object()}, {"a": "\ud800"}, {1.5: [object()]}])
def test_claims_that_are_no_json(claims: Any) -> None:
    """They are refused before anything is signed."""
    with pytest.raises(UsageError, match=r"^claims cannot be written as JSON: "):
        sign(claims)


@pytest.mark.parametrize(
    ("jwk", "message"),
    [
        (private("ECDH-ES+A256KW"), "key .* is for encryption: it signs no tokens"),
        ({**private("ES256"), "use": "enc"}, "key .* is for encryption: it signs no tokens"),
        ({**private("A256KW"), "use": "sig"}, "key .* is for encryption: it signs no tokens"),
        ({**private("ES256"), "alg": "ES384"}, "a key of type 'EC' on 'P-256' does not fit ES384"),
        ({**private("ES256"), "alg": "none"}, "unknown algorithm 'none'"),
        ({**private("ES256"), "d": private("ES256", number=1)["d"]}, "the private half does not belong"),
        ({**private("HS256"), "k": b64u(bytes(31))}, "HS256 does not support a secret of 248 bits"),
    ],
)
def test_keys_that_sign_nothing(jwk: PrivateJWK, message: str) -> None:
    """Keys for encryption, weak keys and broken ones are refused when they are loaded."""
    with pytest.raises(JWKError, match=f"^{message}"):
        TokenSigner(jwk)


# --- taking a token apart -------------------------------------------------------------------------------


@pytest.mark.parametrize("text", ["", "a", "a.b", "a.b.c.d", "a.b.c.d.e", ".", "x" * (TOKEN_MAX + 1)])
def test_what_has_not_three_parts(text: str) -> None:
    """Encrypted tokens have five, detached ones are none."""
    with pytest.raises(
        UsageError, match=r"^not a token: a signed token is three base64url parts with dots between them$"
    ):
        parse_token(text)


def parts(header: bytes = b"{}", claims: bytes = b"{}", signature: str = "AA") -> str:
    return f"{b64u(header)}.{b64u(claims)}.{signature}"


@pytest.mark.parametrize(
    "text",
    [
        "..",
        parts(b""),
        parts(b"[]"),
        parts(claims=b"7"),
        parts(claims=b"\xff"),
        parts(claims=b"[" * 30_000),
        parts(claims=b'{"exp": 1e999}'),
        parts(claims=b'{"exp": NaN}'),
        parts(signature="A"),
        parts(signature="AB"),
        parts(signature="AA=="),
        parts(signature="+A"),
        parts() + "\n",
        " " + parts(),
        "é" + parts(),
    ],
)
def test_parts_that_are_no_objects(text: str) -> None:
    """Two JSON objects and a signature, each in the one encoding that it has."""
    message = r"^not a token: header and claims must be JSON objects in base64url$"
    with pytest.raises(UsageError, match=message):
        parse_token(text)


def test_a_token_as_large_as_it_may_be() -> None:
    """64 KiB are read, one character more is not."""
    rest = TOKEN_MAX - len(parts(signature=""))
    assert parse_token(parts(signature=b64u(bytes(rest * 3 // 4)))).header == {}


# --- verifying ------------------------------------------------------------------------------------------


def test_a_key_that_is_not_in_the_set() -> None:
    """The kid decides; the message shows its beginning, or all of one that cannot be mistaken for a key."""
    with pytest.raises(VerificationError, match=r"^token was signed with key '.{8}…', which is not in the JWK Set$"):
        verify(sign(jwk=private("ES256", number=1)))
    with pytest.raises(VerificationError, match=r"^token was signed with key 'ops-2026', which is not in the JWK Set$"):
        verify(forged(header(kid="ops-2026")))
    with pytest.raises(VerificationError, match="which is not in the JWK Set"):
        verify_token(sign(), [], now=NOW, skew=SKEW)


@pytest.mark.parametrize("kid", [None, 7, ["a"], {}])
def test_a_kid_is_a_string(kid: object) -> None:
    """Any other value is an error of whoever made the token (RFC 7515 section 4.1.4)."""
    with pytest.raises(VerificationError, match=r"^token has a kid that is not a string$"):
        verify(forged({"alg": "ES256", "kid": kid}))


@pytest.mark.parametrize("kid", ["", "x" * 10_000])
def test_a_kid_that_no_key_has(kid: str) -> None:
    """A kid that is there decides, whatever it is: nothing is tried out."""
    with pytest.raises(VerificationError, match=r"^token was signed with key .{0,140}, which is not in the JWK Set$"):
        verify(forged({"alg": "ES256", "kid": kid}))


NO_KID = r"^token names no key \(its header has no kid\), and {0} for alg 'ES256' in the JWK Set$"


@pytest.mark.parametrize(
    ("keys", "count"),
    [
        ([("ES256", 0)], 1),
        ([("ES256", 0), ("ES384", 0), ("EdDSA", 0)], 1),
        ([("ES256", 0), ("ES256", 1)], 2),
        ([("ES384", 0), ("EdDSA", 0)], 0),
        ([], 0),
    ],
)
def test_a_token_that_names_no_key(keys: list[tuple[str, int]], count: int) -> None:
    """It verifies where one key fits, as at relying parties; else the message says what is missing."""
    text, found = forged({"alg": "ES256"}), [public(private(alg, number=number)) for alg, number in keys]
    if count == 1:
        assert verify_token(text, found, now=NOW, skew=SKEW).claims == CLAIMS
        return
    with pytest.raises(VerificationError, match=NO_KID.format("2 keys are" if count else "no key is")) as caught:
        verify_token(text, found, now=NOW, skew=SKEW)
    assert str(caught.value.hint).startswith("have the signer set kid in the header")


@pytest.mark.parametrize(("alg", "crv"), ASYMMETRIC)
def test_a_token_that_names_no_key_of_any_kind(alg: str, crv: str | None) -> None:
    """Whichever its algorithm, the one key that fits decides; a key for encryption never does."""
    jwk = private(alg, crv)
    bare = f"{b64u(json.dumps({'alg': alg}).encode())}.{b64u(b'{}')}.{b64u(bytes(64))}"
    others = [msgspec.structs.replace(public(private("ES256")), use="enc", alg=alg)]
    with pytest.raises(VerificationError, match=r"^the signature does not match key .{43}$"):
        verify_token(bare, [public(jwk), *others], now=NOW, skew=SKEW)
    with pytest.raises(VerificationError, match="token names no key"):
        verify_token(bare, others, now=NOW, skew=SKEW)


@pytest.mark.parametrize("alg", ["none", "None", "HS256", "ES384", "RS256", "EdDSA", "", None, 7, ["ES256"], "x" * 500])
def test_the_token_does_not_choose_the_algorithm(alg: object) -> None:
    """RFC 8725 3.1: the algorithm is that of the key; `none` and HMAC under a public key are the classics."""
    with pytest.raises(VerificationError, match=r"^token says alg .{1,40}, key .{43} is for ES256$"):
        verify(forged(header(alg=alg)))


def test_hmac_under_a_public_key() -> None:
    """A public key is no secret: a MAC that was made with it proves nothing."""
    jwk = private("RS256")
    secret = json.dumps(msgspec.to_builtins(public(jwk))).encode()
    signed = f"{b64u(json.dumps({'alg': 'HS256', 'kid': jwk['kid']}).encode())}.{b64u(b'{}')}"
    mac = b64u(hmac.digest(secret, signed.encode(), hashlib.sha256))
    with pytest.raises(VerificationError, match=r"^token says alg 'HS256', key .{43} is for RS256$"):
        verify(f"{signed}.{mac}", public(jwk))


def test_a_token_without_a_signature() -> None:
    """alg none, spelt out, with nothing behind the last dot."""
    bare = f"{b64u(json.dumps({'alg': 'none', 'kid': private('ES256')['kid']}).encode())}.{b64u(b'{}')}."
    with pytest.raises(VerificationError, match="token says alg 'none'"):
        verify(bare)
    with pytest.raises(VerificationError, match=r"^the signature does not match key .{43}$"):
        verify(sign().rpartition(".")[0] + ".")


def test_a_key_for_encryption_verifies_nothing() -> None:
    """One key, one use."""
    jwk = {**private("ES256"), "kid": "key-1"}
    key = msgspec.structs.replace(public(jwk), use="enc")
    with pytest.raises(VerificationError, match=r"^token says alg 'ES256', key key-1 is for ES256$"):
        verify(sign(jwk=jwk), key)


def test_a_symmetric_key_verifies_nothing() -> None:
    """Its published form has no secret to verify with."""
    jwk = private("HS256")
    with pytest.raises(VerificationError, match=r"^key .{43} is symmetric: its JWK Set verifies nothing$"):
        verify(sign(jwk=jwk), public(jwk))


@pytest.mark.parametrize("more", [{"crit": ["exp"]}, {"crit": []}, {"b64": False}, {"b64": True}, {"crit": None}])
def test_extensions_that_nobody_understands(more: dict[str, Any]) -> None:
    """A critical extension that is not understood makes a token invalid (RFC 7515 4.1.11)."""
    with pytest.raises(VerificationError, match=r"^token has header extensions that nobody here understands$"):
        verify(forged(header(**more)))


@pytest.mark.parametrize("more", [{"jwk": {"kty": "oct", "k": "AA"}}, {"jku": "https://evil.example"}, {"x5c": ["AA"]}])
def test_keys_that_a_token_brings_are_not_used(more: dict[str, Any]) -> None:
    """The key comes from the JWK Set alone, whatever the header offers."""
    other = private("ES256", number=1)
    with pytest.raises(VerificationError, match=r"^the signature does not match key .{43}$"):
        verify(forged(header(**more), jwk=other))


@pytest.mark.parametrize(("alg", "crv"), ASYMMETRIC)
def test_a_signature_that_was_touched(alg: str, crv: str | None) -> None:
    """One bit of the first octet, or of the claims."""
    jwk = private(alg, crv)
    first, second, signature = sign(jwk=jwk).split(".")
    octets = bytearray(base64.urlsafe_b64decode(signature + "=="))
    octets[0] ^= 1
    other = b64u(json.dumps({**CLAIMS, "sub": "eve"}).encode())
    for text in (f"{first}.{second}.{b64u(bytes(octets))}", f"{first}.{other}.{signature}", f"{first}.{second}.AAAA"):
        with pytest.raises(VerificationError, match=r"^the signature does not match key .{43}$"):
            verify(text, public(jwk))


@pytest.mark.parametrize("alg", ["ES256", "ES384", "ES512", "ES256K"])
def test_a_signature_in_der(alg: str) -> None:
    """As a KMS writes it: no verifier takes it, and the message says what it is and what to do."""
    jwk = private(alg)
    first, second, signature = sign(jwk=jwk).split(".")
    raw = base64.urlsafe_b64decode(signature + "==")
    half = len(raw) // 2
    der = encode_dss_signature(int.from_bytes(raw[:half], "big"), int.from_bytes(raw[half:], "big"))
    said = "the signature does not match key .{43}: it is in DER, as a KMS or OpenSSL writes it"
    with pytest.raises(VerificationError, match=f"^{said}; converted, it does$") as caught:
        verify(f"{first}.{second}.{b64u(der)}", public(jwk))
    assert caught.value.hint == (
        f"write R and S of {half} octets each side by side, before base64url (RFC 7518 section 3.4)"
    )
    with pytest.raises(VerificationError, match=f"^{said}, and would not if converted$"):
        verify(f"{first}.{second}.{b64u(bytes.fromhex('3006020101020101'))}", public(jwk))


@pytest.mark.parametrize("der", ["30", "3006020101020101ff", "3006020180020101", "300602010102020100", "0" * 144])
def test_a_signature_that_only_looks_like_der(der: str) -> None:
    """What is no pair of numbers of the key's size is a signature that does not match."""
    first, second, _ = sign().split(".")
    with pytest.raises(VerificationError, match=r"^the signature does not match key .{43}"):
        verify(f"{first}.{second}.{b64u(bytes.fromhex(der))}")


@pytest.mark.parametrize(
    ("text", "scheme"),
    [
        ("eyJ.e30.AA", None),
        (" eyJ.e30.AA\n", None),
        ("Bearer eyJ.e30.AA", "Bearer"),
        ("bearer  eyJ.e30.AA\n", "bearer"),
        ("Authorization: Bearer eyJ.e30.AA", "Bearer"),
        ("authorization:DPoP\teyJ.e30.AA", "DPoP"),
    ],
)
def test_a_token_as_it_stands_in_a_header(text: str, scheme: str | None) -> None:
    """The scheme of HTTP is left out, and said."""
    assert strip_scheme(text) == ("eyJ.e30.AA", scheme)


def test_a_scheme_needs_a_blank() -> None:
    """A token is never shortened."""
    assert strip_scheme("BearereyJ.e30.AA") == ("BearereyJ.e30.AA", None)


def test_an_encrypted_token_is_called_so() -> None:
    """Five parts are a JWE: nothing is wrong with it, but nobody can verify it."""
    with pytest.raises(UsageError, match=r"^the token is encrypted \(a JWE of five parts\), not signed"):
        parse_token("eyJhbGciOiJkaXIifQ..AA.AA.AA")


# --- claims ---------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("claim", "value", "message"),
    [
        ("exp", STAMP - 601, "token has expired"),
        ("exp", STAMP - 600, "token has expired"),
        ("exp", STAMP - 599, None),
        ("exp", STAMP, None),
        ("exp", -1, "token has expired"),
        ("nbf", STAMP + 601, "token is not valid yet"),
        ("nbf", STAMP + 600, None),
        ("nbf", STAMP + 599, None),
        ("nbf", 0, None),
        ("iat", STAMP + 601, "token was issued in the future"),
        ("iat", STAMP + 600, None),
        ("iat", STAMP - 10**9, None),
        ("exp", STAMP - 599.5, None),
        ("nbf", STAMP + 600.5, "token is not valid yet"),
    ],
)
def test_instants_in_claims(claim: str, value: float, message: str | None) -> None:
    """One second before each bound, at it, and after it; the skew is granted on both sides."""
    text = sign({claim: value})
    if message is None:
        assert verify(text).claims == {claim: value}
    else:
        with pytest.raises(VerificationError, match=f"^{message}$"):
            verify(text)


@pytest.mark.parametrize("claim", ["exp", "nbf", "iat"])
@pytest.mark.parametrize("value", ["1", None, True, [], {}, 2**53, -(2**53), 10**400, 1e300])
def test_instants_that_are_none(claim: str, value: object) -> None:
    """Text, nothing, truth, and numbers that no clock will ever show."""
    with pytest.raises(VerificationError, match=rf"^claim {claim} is not a number of seconds since 1970$"):
        verify(forged(header(), {claim: value}))


def test_a_token_without_instants() -> None:
    """They are optional; whoever wants them asks for them."""
    assert verify(sign({})).claims == {}


@pytest.mark.parametrize(
    ("named", "asked", "taken"),
    [
        ("api", "api", True),
        (["web", "api"], "api", True),
        (["web"], "api", False),
        ("apis", "api", False),
        ([], "api", False),
        (None, "api", False),
        ({"api": 1}, "api", False),
        ("anything", None, True),
    ],
)
def test_audiences(named: object, asked: str | None, taken: bool) -> None:
    """One name or a list of them; a verifier that names none does not look."""
    text = sign({"aud": named})
    if taken:
        assert verify(text, audience=asked)
    else:
        with pytest.raises(VerificationError, match=r"^token is not for audience 'api'$"):
            verify(text, audience=asked)


def test_issuers() -> None:
    """Exactly the one that was asked for: a slash more is another issuer."""
    assert verify(sign(), issuer="https://keys.example.com")
    with pytest.raises(
        VerificationError,
        match=r"^token has issuer 'https://keys\.example\.com' instead of 'https://keys\.example\.com/'$",
    ):
        verify(sign(), issuer="https://keys.example.com/")
    with pytest.raises(VerificationError, match=r"^token has issuer None instead of 'x'$"):
        verify(sign({}), issuer="x")


@pytest.mark.parametrize("value", [float("nan"), float("inf"), -float("inf")])
def test_numbers_that_json_does_not_have_are_refused(value: float) -> None:
    """They would be signed as null, which says something else."""
    with pytest.raises(UsageError, match="claims cannot be written as JSON"):
        TokenSigner(private("ES256")).sign({"level": value})
