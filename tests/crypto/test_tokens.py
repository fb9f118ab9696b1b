"""Tokens: other libraries verify the tokens that we sign, and we refuse those that no verifier should accept."""

from __future__ import annotations

import base64
import hashlib
import hmac
import json
import re
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
from tests.errors import fails

NOW = datetime(2026, 12, 1, 9, tzinfo=UTC)
STAMP = int(NOW.timestamp())
SKEW = timedelta(minutes=10)
CLAIMS = {"iss": "https://keys.example.com", "aud": ["api", "web"], "sub": "jo", "iat": STAMP, "exp": STAMP + 3_600}

#: The algorithms that other Python libraries support.
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
    """Most Python services use it. It does not support the names of RFC 9864 yet."""
    jwk = private(alg, crv)
    shown = msgspec.to_builtins(public(jwk)) if jwk["kty"] != "oct" else jwk
    claims = {**CLAIMS, "exp": 2**40, "iat": 0}
    assert claims == jwt.decode(sign(claims, jwk=jwk), jwt.PyJWK(shown), algorithms=[alg], audience="api")


@pytest.mark.filterwarnings("ignore:EdDSA is deprecated")  # RFC 9864 gave it two names; both are tried
@pytest.mark.parametrize(("alg", "crv"), KNOWN)
def test_joserfc_verifies_what_we_sign(alg: str, crv: str | None) -> None:
    """It follows the newest RFCs."""
    jwk = private(alg, crv)
    shown = msgspec.to_builtins(public(jwk)) if jwk["kty"] != "oct" else jwk
    done = joserfc_jws.deserialize_compact(sign(jwk=jwk), import_key(shown), algorithms=[alg])
    assert json.loads(done.payload) == CLAIMS


def test_the_type_of_a_token_can_be_said() -> None:
    """RFC 9068 access tokens say so."""
    assert parse_token(TokenSigner(private("ES256")).sign({}, typ="at+jwt")).header["typ"] == "at+jwt"


@pytest.mark.parametrize("claims", [{"a": object()}, {"a": "\ud800"}, {1.5: [object()]}])
def test_claims_that_are_not_json(claims: Any) -> None:
    """They are refused before anything is signed."""
    with fails("claims-not-json", UsageError):
        sign(claims)


@pytest.mark.parametrize(
    ("jwk", "code"),
    [
        (private("ECDH-ES+A256KW"), "use-mismatch"),
        ({**private("ES256"), "use": "enc"}, "use-mismatch"),
        ({**private("A256KW"), "use": "sig"}, "use-mismatch"),
        ({**private("ES256"), "alg": "ES384"}, "alg-mismatch"),
        ({**private("ES256"), "alg": "none"}, "alg-unknown"),
        ({**private("ES256"), "d": private("ES256", number=1)["d"]}, "key-halves-mismatch"),
        ({**private("HS256"), "k": b64u(bytes(31))}, "secret-size"),
    ],
)
def test_keys_that_cannot_sign(jwk: PrivateJWK, code: str) -> None:
    """Keys for encryption, weak keys and broken keys are refused when they are loaded."""
    with fails(code, JWKError):
        TokenSigner(jwk)


# --- taking a token apart -------------------------------------------------------------------------------


@pytest.mark.parametrize("text", ["", "a", "a.b", "a.b.c.d", "a.b.c.d.e", ".", "x" * (TOKEN_MAX + 1)])
def test_texts_without_three_parts(text: str) -> None:
    """Encrypted tokens have five parts; detached signatures are not tokens."""
    with fails("token-malformed", UsageError):
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
def test_malformed_parts(text: str) -> None:
    """Two JSON objects and a signature, each in canonical base64url."""
    with fails("token-malformed", UsageError):
        parse_token(text)


def test_a_token_as_large_as_it_may_be() -> None:
    """64 KiB are read, one character more is not."""
    rest = TOKEN_MAX - len(parts(signature=""))
    assert parse_token(parts(signature=b64u(bytes(rest * 3 // 4)))).header == {}


# --- verifying ------------------------------------------------------------------------------------------


def test_a_key_that_is_not_in_the_set() -> None:
    """The kid decides; the message shows its beginning, or all of a kid that cannot be a key."""
    with fails("token-kid-unknown", VerificationError) as caught:
        verify(sign(jwk=private("ES256", number=1)))
    assert re.search(r" '.{8}…'", caught.value.message)
    with fails("token-kid-unknown", VerificationError) as caught:
        verify(forged(header(kid="ops-2026")))
    assert "'ops-2026'" in caught.value.message
    with fails("token-kid-unknown", VerificationError):
        verify_token(sign(), [], now=NOW, skew=SKEW)


@pytest.mark.parametrize("kid", [None, 7, ["a"], {}])
def test_a_kid_is_a_string(kid: object) -> None:
    """Any other value is an error of the token's signer (RFC 7515 section 4.1.4)."""
    with fails("token-kid-invalid", VerificationError):
        verify(forged({"alg": "ES256", "kid": kid}))


@pytest.mark.parametrize("kid", ["", "x" * 10_000])
def test_a_kid_that_no_key_has(kid: str) -> None:
    """A kid in the header decides, whatever it is: other keys are not tried, and the message stays short."""
    with fails("token-kid-unknown", VerificationError) as caught:
        verify(forged({"alg": "ES256", "kid": kid}))
    assert len(caught.value.message) < 200


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
    """It verifies if a single key fits, as at relying parties; else the message says how many keys fit."""
    text, found = forged({"alg": "ES256"}), [public(private(alg, number=number)) for alg, number in keys]
    if count == 1:
        assert verify_token(text, found, now=NOW, skew=SKEW).claims == CLAIMS
        return
    with fails("token-kid-missing", VerificationError) as caught:
        verify_token(text, found, now=NOW, skew=SKEW)
    assert f"{'2 keys are' if count else 'no key is'} for alg 'ES256'" in caught.value.message
    assert str(caught.value.hint).startswith("have the signer set kid in the header")


@pytest.mark.parametrize(("alg", "crv"), ASYMMETRIC)
def test_a_token_that_names_no_key_of_any_kind(alg: str, crv: str | None) -> None:
    """Whatever its algorithm, the only key that fits decides; a key for encryption never does."""
    jwk = private(alg, crv)
    bare = f"{b64u(json.dumps({'alg': alg}).encode())}.{b64u(b'{}')}.{b64u(bytes(64))}"
    others = [msgspec.structs.replace(public(private("ES256")), use="enc", alg=alg)]
    with fails("token-signature-invalid", VerificationError) as caught:
        verify_token(bare, [public(jwk), *others], now=NOW, skew=SKEW)
    assert jwk["kid"] in caught.value.message
    with fails("token-kid-missing", VerificationError):
        verify_token(bare, others, now=NOW, skew=SKEW)


@pytest.mark.parametrize("alg", ["none", "None", "HS256", "ES384", "RS256", "EdDSA", "", None, 7, ["ES256"], "x" * 500])
def test_the_token_does_not_choose_the_algorithm(alg: object) -> None:
    """RFC 8725 3.1: the algorithm is that of the key; `none` and HMAC under a public key are the classics."""
    with fails("token-alg-mismatch", VerificationError) as caught:
        verify(forged(header(alg=alg)))
    assert re.search(r" alg .{1,40}, key .{43} .*\bES256$", caught.value.message)


def test_hmac_under_a_public_key() -> None:
    """A public key is not a secret: a MAC under it proves nothing."""
    jwk = private("RS256")
    secret = json.dumps(msgspec.to_builtins(public(jwk))).encode()
    signed = f"{b64u(json.dumps({'alg': 'HS256', 'kid': jwk['kid']}).encode())}.{b64u(b'{}')}"
    mac = b64u(hmac.digest(secret, signed.encode(), hashlib.sha256))
    with fails("token-alg-mismatch", VerificationError):
        verify(f"{signed}.{mac}", public(jwk))


def test_a_token_without_a_signature() -> None:
    """alg none, with nothing after the last dot."""
    bare = f"{b64u(json.dumps({'alg': 'none', 'kid': private('ES256')['kid']}).encode())}.{b64u(b'{}')}."
    with fails("token-alg-mismatch", VerificationError) as caught:
        verify(bare)
    assert "'none'" in caught.value.message
    with fails("token-signature-invalid", VerificationError):
        verify(sign().rpartition(".")[0] + ".")


def test_a_key_for_encryption_verifies_nothing() -> None:
    """Its use does not allow signatures."""
    jwk = {**private("ES256"), "kid": "key-1"}
    key = msgspec.structs.replace(public(jwk), use="enc")
    with fails("token-alg-mismatch", VerificationError):
        verify(sign(jwk=jwk), key)


def test_a_symmetric_key_verifies_nothing() -> None:
    """Its published form has no secret to verify with."""
    jwk = private("HS256")
    with fails("token-key-symmetric", VerificationError):
        verify(sign(jwk=jwk), public(jwk))


@pytest.mark.parametrize("more", [{"crit": ["exp"]}, {"crit": []}, {"b64": False}, {"b64": True}, {"crit": None}])
def test_unsupported_header_extensions(more: dict[str, Any]) -> None:
    """A critical extension that is not understood makes a token invalid (RFC 7515 4.1.11)."""
    with fails("token-extension-unsupported", VerificationError):
        verify(forged(header(**more)))


@pytest.mark.parametrize("more", [{"jwk": {"kty": "oct", "k": "AA"}}, {"jku": "https://evil.example"}, {"x5c": ["AA"]}])
def test_keys_in_a_header_are_not_used(more: dict[str, Any]) -> None:
    """The key comes from the JWK Set alone, whatever the header offers."""
    other = private("ES256", number=1)
    with fails("token-signature-invalid", VerificationError):
        verify(forged(header(**more), jwk=other))


@pytest.mark.parametrize(("alg", "crv"), ASYMMETRIC)
def test_a_changed_signature(alg: str, crv: str | None) -> None:
    """One bit of the first octet, or of the claims."""
    jwk = private(alg, crv)
    first, second, signature = sign(jwk=jwk).split(".")
    octets = bytearray(base64.urlsafe_b64decode(signature + "=="))
    octets[0] ^= 1
    other = b64u(json.dumps({**CLAIMS, "sub": "eve"}).encode())
    for text in (f"{first}.{second}.{b64u(bytes(octets))}", f"{first}.{other}.{signature}", f"{first}.{second}.AAAA"):
        with fails("token-signature-invalid", VerificationError):
            verify(text, public(jwk))


@pytest.mark.parametrize("alg", ["ES256", "ES384", "ES512", "ES256K"])
def test_a_signature_in_der(alg: str) -> None:
    """As a KMS writes it: no verifier accepts it; the message names the encoding, and the hint the remedy."""
    jwk = private(alg)
    first, second, signature = sign(jwk=jwk).split(".")
    raw = base64.urlsafe_b64decode(signature + "==")
    half = len(raw) // 2
    der = encode_dss_signature(int.from_bytes(raw[:half], "big"), int.from_bytes(raw[half:], "big"))
    with fails("token-signature-der", VerificationError) as caught:
        verify(f"{first}.{second}.{b64u(der)}", public(jwk))
    assert caught.value.message.endswith("; it matches after conversion")
    assert f"{half} octets each" in (caught.value.hint or "")
    with fails("token-signature-der", VerificationError) as caught:
        verify(f"{first}.{second}.{b64u(bytes.fromhex('3006020101020101'))}", public(jwk))
    assert caught.value.message.endswith("; it does not match after conversion either")


@pytest.mark.parametrize("der", ["30", "3006020101020101ff", "3006020180020101", "300602010102020100", "0" * 144])
def test_a_signature_that_only_looks_like_der(der: str) -> None:
    """Without two numbers of the key's size, the signature just does not match."""
    first, second, _ = sign().split(".")
    with fails("token-signature-invalid", VerificationError) as caught:
        verify(f"{first}.{second}.{b64u(bytes.fromhex(der))}")
    assert re.search(r" key [\w-]{43}$", caught.value.message)


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
def test_a_token_from_an_http_header(text: str, scheme: str | None) -> None:
    """The HTTP scheme is removed, and returned."""
    assert strip_scheme(text) == ("eyJ.e30.AA", scheme)


def test_a_scheme_needs_a_blank() -> None:
    """A token is never shortened."""
    assert strip_scheme("BearereyJ.e30.AA") == ("BearereyJ.e30.AA", None)


def test_an_encrypted_token() -> None:
    """Five parts are a JWE: it may be valid, but it cannot be verified."""
    with fails("token-encrypted", UsageError):
        parse_token("eyJhbGciOiJkaXIifQ..AA.AA.AA")


# --- claims ---------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("claim", "value", "code"),
    [
        ("exp", STAMP - 601, "token-expired"),
        ("exp", STAMP - 600, "token-expired"),
        ("exp", STAMP - 599, None),
        ("exp", STAMP, None),
        ("exp", -1, "token-expired"),
        ("nbf", STAMP + 601, "token-not-yet-valid"),
        ("nbf", STAMP + 600, None),
        ("nbf", STAMP + 599, None),
        ("nbf", 0, None),
        ("iat", STAMP + 601, "token-issued-in-future"),
        ("iat", STAMP + 600, None),
        ("iat", STAMP - 10**9, None),
        ("exp", STAMP - 599.5, None),
        ("nbf", STAMP + 600.5, "token-not-yet-valid"),
    ],
)
def test_instants_in_claims(claim: str, value: float, code: str | None) -> None:
    """One second before each bound, at it, and after it; the skew is granted on both sides."""
    text = sign({claim: value})
    if code is None:
        assert verify(text).claims == {claim: value}
    else:
        with fails(code, VerificationError):
            verify(text)


@pytest.mark.parametrize("claim", ["exp", "nbf", "iat"])
@pytest.mark.parametrize("value", ["1", None, True, [], {}, 2**53, -(2**53), 10**400, 1e300])
def test_invalid_instants(claim: str, value: object) -> None:
    """Text, null, booleans, and numbers beyond any clock."""
    with fails("token-claim-invalid", VerificationError) as caught:
        verify(forged(header(), {claim: value}))
    assert f"claim {claim} " in caught.value.message


def test_a_token_without_instants() -> None:
    """They are optional."""
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
    """One name or a list of names; a verifier without an audience does not check."""
    text = sign({"aud": named})
    if taken:
        assert verify(text, audience=asked)
    else:
        with fails("token-audience-mismatch", VerificationError) as caught:
            verify(text, audience=asked)
        assert "'api'" in caught.value.message


def test_issuers() -> None:
    """The whole text counts: with one more slash it is another issuer."""
    assert verify(sign(), issuer="https://keys.example.com")
    with fails("token-issuer-mismatch", VerificationError) as caught:
        verify(sign(), issuer="https://keys.example.com/")
    assert "'https://keys.example.com'" in caught.value.message
    assert "'https://keys.example.com/'" in caught.value.message
    with fails("token-issuer-mismatch", VerificationError) as caught:
        verify(sign({}), issuer="x")
    assert "issuer None; expected 'x'" in caught.value.message


@pytest.mark.parametrize("value", [float("nan"), float("inf"), -float("inf")])
def test_numbers_that_json_does_not_have_are_refused(value: float) -> None:
    """They would be signed as null, which means something else."""
    with fails("claims-not-json", UsageError):
        TokenSigner(private("ES256")).sign({"level": value})
