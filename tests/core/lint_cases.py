"""
JWK Sets that break verifiers, and tokens to try them with: one table for the tests of lint and for real verifiers.

Every set holds two sound keys and their tokens, ``rs`` and ``es``; what is broken comes in addition, where that is
possible with a token ``own`` of its own. A verifier is hurt when it refuses one of the tokens.
"""

from __future__ import annotations

import base64
import functools
import gzip
import hashlib
import json
import textwrap
from collections.abc import Iterator
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any

from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec, ed448, ed25519, padding, rsa, utils, x448, x25519
from cryptography.hazmat.primitives.serialization import Encoding

from keyvault.core.jwk import b64u
from keyvault.core.lint.transport import Response

ISSUER = "https://issuer.example"
AUDIENCE = "app"
URL = "https://keys.example.com/.well-known/jwks.json"
HEADERS = {
    "content-type": "application/json",
    "cache-control": "public, max-age=600",
    "access-control-allow-origin": "*",
}

JWK = dict[str, Any]
Private = (
    rsa.RSAPrivateKey
    | ec.EllipticCurvePrivateKey
    | ed25519.Ed25519PrivateKey
    | ed448.Ed448PrivateKey
    | x25519.X25519PrivateKey
    | x448.X448PrivateKey
)
_HASHES = {"256": hashes.SHA256(), "384": hashes.SHA384(), "512": hashes.SHA512(), "256K": hashes.SHA256()}
_CURVES = {"P-256": ec.SECP256R1(), "P-384": ec.SECP384R1(), "P-521": ec.SECP521R1(), "secp256k1": ec.SECP256K1()}
_OKP = {
    "Ed25519": ed25519.Ed25519PrivateKey,
    "Ed448": ed448.Ed448PrivateKey,
    "X25519": x25519.X25519PrivateKey,
    "X448": x448.X448PrivateKey,
}


@dataclass(frozen=True)
class Case:
    """
    A breaking document.

    Attributes:
        body: Its bytes.
        codes: All findings of lint.
        tokens: Tokens by label, besides those of the sound keys; an empty mapping with *alone*.
        headers: Headers that differ from good ones; None for one that is not there.
        status: The status of the answer.
        redirect: Where the host sends to before.
        alone: The sound keys are not in the set, and their tokens are not tried.
    """

    body: bytes
    codes: frozenset[str]
    tokens: dict[str, str] = field(default_factory=dict)
    headers: dict[str, str | None] = field(default_factory=dict)
    status: int = 200
    redirect: str | None = None
    alone: bool = False

    @property
    def response(self) -> Response:
        """The HTTP response that lint gets."""
        headers = {name: value for name, value in {**HEADERS, **self.headers}.items() if value is not None}
        return Response(self.status, headers, redirects=() if self.redirect is None else (self.redirect,))

    @property
    def all_tokens(self) -> dict[str, str]:
        """Every token that a verifier of the set should accept."""
        return self.tokens if self.alone else {"rs": rs_token(), "es": es_token(), **self.tokens}


# --- keys -----------------------------------------------------------------------------------------------


@functools.cache
def private(kind: str, label: str = "", *, bits: int = 2048, e: int = 65_537) -> Private:
    """Return the private key called *label*: of type RSA, or on a curve."""
    if kind == "RSA":
        return rsa.generate_private_key(e, bits)
    if kind in _CURVES:
        return ec.generate_private_key(_CURVES[kind])
    return _OKP[kind].generate()


def number(value: int, octets: int | None = None) -> str:
    return b64u(value.to_bytes(octets or (value.bit_length() + 7) // 8, "big"))


def jwk(key: Private, **more: Any) -> JWK:
    """Return the public JWK of *key*, for signatures, with the members of *more*; None removes a member."""
    made: JWK
    if isinstance(key, rsa.RSAPrivateKey):
        numbers = key.public_key().public_numbers()
        made = {"kty": "RSA", "alg": "RS256", "n": number(numbers.n), "e": number(numbers.e)}
    elif isinstance(key, ec.EllipticCurvePrivateKey):
        point, size = key.public_key().public_numbers(), (key.key_size + 7) // 8
        crv, alg = {
            "secp256r1": ("P-256", "ES256"),
            "secp384r1": ("P-384", "ES384"),
            "secp521r1": ("P-521", "ES512"),
            "secp256k1": ("secp256k1", "ES256K"),
        }[key.curve.name]
        made = {"kty": "EC", "alg": alg, "crv": crv, "x": number(point.x, size), "y": number(point.y, size)}
    else:
        crv = next(name for name, kind in _OKP.items() if isinstance(key, kind))
        alg = "EdDSA" if crv.startswith("Ed") else "ECDH-ES"
        made = {"kty": "OKP", "alg": alg, "crv": crv, "x": b64u(key.public_key().public_bytes_raw())}
    made = {"kid": "own", "use": "enc" if made["alg"] == "ECDH-ES" else "sig", **made, **more}
    return {name: value for name, value in made.items() if value is not None}


def token(key: Private, alg: str, kid: str | None = "own") -> str:
    """Return a token signed by *key*; its instants are past and future on any clock."""
    header = {"alg": alg, "typ": "JWT"} | ({} if kid is None else {"kid": kid})
    claims = {"iss": ISSUER, "aud": AUDIENCE, "sub": "alice", "iat": 1_700_000_000, "exp": 4_102_444_800}
    text = ".".join(b64u(json.dumps(part).encode()) for part in (header, claims))
    return f"{text}.{b64u(_signature(key, alg, text.encode()))}"


def _signature(key: Private, alg: str, data: bytes) -> bytes:
    if isinstance(key, rsa.RSAPrivateKey):
        algorithm = _HASHES[alg[2:]]
        if alg.startswith("PS"):
            return key.sign(data, padding.PSS(padding.MGF1(algorithm), algorithm.digest_size), algorithm)
        return key.sign(data, padding.PKCS1v15(), algorithm)
    if isinstance(key, ec.EllipticCurvePrivateKey):
        size = (key.key_size + 7) // 8
        halves = utils.decode_dss_signature(key.sign(data, ec.ECDSA(_HASHES[alg[2:]])))
        return b"".join(half.to_bytes(size, "big") for half in halves)
    assert isinstance(key, ed25519.Ed25519PrivateKey | ed448.Ed448PrivateKey)
    return key.sign(data)


@functools.cache
def rs_token() -> str:
    return token(private("RSA", "rs"), "RS256", "rs")


@functools.cache
def es_token() -> str:
    return token(private("P-256", "es"), "ES256", "es")


def sound() -> list[JWK]:
    """Return the keys of every set."""
    return [jwk(private("RSA", "rs"), kid="rs"), jwk(private("P-256", "es"), kid="es")]


def certificate(key: Private) -> bytes:
    """Return a certificate of *key*."""
    assert isinstance(key, rsa.RSAPrivateKey)
    name = x509.Name([x509.NameAttribute(x509.oid.NameOID.COMMON_NAME, "issuer.example")])
    start, end = datetime(2020, 1, 1, tzinfo=UTC), datetime(2100, 1, 1, tzinfo=UTC)
    builder = x509.CertificateBuilder(name, name, key.public_key(), 1, start, end)
    return builder.sign(key, hashes.SHA256()).public_bytes(Encoding.DER)


# --- documents ------------------------------------------------------------------------------------------


def document(*more: Any, **members: Any) -> bytes:
    """Return a JWK Set of the sound keys and *more*."""
    return json.dumps({"keys": [*sound(), *more], **members}).encode()


def one(key: Any, *codes: str, alg: str | None = None, signer: Private | None = None, kid: str | None = "own") -> Case:
    """Return the sound set with *key* in addition, whose tokens *signer* signs with *alg*."""
    tokens = {"own": token(signer, alg, kid)} if signer is not None and alg is not None else {}
    return Case(document(key), frozenset(codes), tokens)


def sent(
    *codes: str, status: int = 200, redirect: str | None = None, body: bytes | None = None, **headers: Any
) -> Case:
    """Return the sound set, sent in another way."""
    named = {name.replace("_", "-"): value for name, value in headers.items()}
    return Case(body or document(), frozenset(codes), headers=named, status=status, redirect=redirect)


def raw(body: bytes, *codes: str) -> Case:
    """Return other bytes than JSON would have."""
    return Case(body, frozenset(codes))


def cases() -> Iterator[tuple[str, Case]]:
    """Yield every case by its name."""
    yield "clean", Case(document(), frozenset())
    yield from _responses()
    yield from _bytes()
    yield from _sets()
    yield from _types()
    yield from _members()
    yield from _kids()
    yield from _algorithms()
    yield from _certificates()
    yield from _material()


def _responses() -> Iterator[tuple[str, Case]]:
    for status in (404, 500, 304):
        yield f"status {status}", sent("status", status=status)
    for status in (201, 203):
        yield f"status {status}", sent("status-not-200", status=status)
    yield "redirect", sent("redirect", redirect="/clean")
    yield "gzip", sent("compressed", body=gzip.compress(document(), mtime=0), content_encoding="gzip")
    yield "no-cache", sent("cache-forbidden", cache_control="no-cache")
    yield "no-store", sent("cache-forbidden", cache_control="private, no-store, max-age=600")
    yield "no cache-control", sent("cache-unsaid", cache_control=None)
    yield "no max-age", sent("cache-unsaid", cache_control="public, s-maxage=600")
    yield "max-age 299", sent("cache-short", cache_control="public, max-age=299")
    yield "max-age 3601", sent("cache-long", cache_control="max-age=3601")
    yield "html", sent("content-type", content_type="text/html; charset=utf-8")
    yield "octets", sent("content-type", content_type="application/octet-stream")
    yield "no content-type", sent("no-content-type", content_type=None)
    yield "no cors", sent("no-cors", access_control_allow_origin=None)


def _bytes() -> Iterator[tuple[str, Case]]:
    good = document()
    yield "32 KiB", raw(document(pad="x" * 33_000), "over-32-kib")
    yield "50 KiB", raw(document(pad="x" * 52_000), "over-50-kib")
    yield "256 KiB", raw(document(pad="x" * 262_144), "too-large")
    yield "byte order mark", raw(b"\xef\xbb\xbf" + good, "byte-order-mark")
    yield "utf-16", raw(good.decode().encode("utf-16-le"), "utf-16")
    yield "utf-16 with a mark", raw(good.decode().encode("utf-16"), "utf-16")
    yield "latin-1", raw(document(jwk(private("RSA", "own"), kid="@")).replace(b"@", b"\xe4"), "not-utf-8")
    yield "html body", raw(b"<!doctype html>", "not-json")
    yield "nothing", raw(b"", "not-json")
    yield "trailing", raw(good + b"<!-- made by hand -->", "not-json")
    yield "comma", raw(good[:-2] + b",]}", "not-json")
    yield "cut off", raw(good[:-1], "not-json")
    yield "nan", raw(document(note=float("nan")), "not-a-number")
    twice = json.dumps(jwk(private("RSA", "own"))).encode()
    twice = good[:-2] + b"," + twice.replace(b'"kid": "own"', b'"kid": "own", "kid": "own"') + b"]}"
    yield "member twice", raw(twice, "duplicate-member")
    yield "keys twice", raw(b'{"keys": [],' + good[1:], "duplicate-top-member")


def _sets() -> Iterator[tuple[str, Case]]:
    yield "array", raw(json.dumps(sound()).encode(), "not-object")
    yield "null", raw(b"null", "not-object")
    yield "no keys", raw(b"{}", "no-keys")
    yield "keys null", raw(b'{"keys": null}', "no-keys")
    yield "keys object", raw(json.dumps({"keys": {"rs": sound()[0]}}).encode(), "no-keys")
    yield "single jwk", raw(json.dumps(sound()[0]).encode(), "no-keys")
    yield "empty", raw(b'{"keys": []}', "empty-set")
    for name, member in {"null": None, "text": "x", "number": 7, "array": []}.items():
        yield f"{name} among keys", one(member, "key-not-object")
    many = [jwk(private("P-256", f"many {index}"), kid=f"many {index}") for index in range(101)]
    yield "9 keys", Case(document(*many[:7]), frozenset({"over-8-keys"}))
    yield "102 keys", Case(document(*many), frozenset({"over-8-keys", "over-100-keys"}))
    many = [jwk(private("P-256", f"many {index}"), kid=f"{index}") for index in range(1_000)]
    codes = {"over-8-keys", "over-100-keys", "over-1000-keys", "over-50-kib"}
    yield "1002 keys", Case(document(*many), frozenset(codes))


def _types() -> Iterator[tuple[str, Case]]:
    own = private("RSA", "own")
    yield (
        "akp",
        one({"kty": "AKP", "kid": "own", "use": "sig", "alg": "ML-DSA-44", "pub": b64u(b"x" * 1312)}, "unknown-kty"),
    )
    yield "unknown kty", one({"kty": "LMS", "kid": "own", "use": "sig"}, "unknown-kty", "missing-alg")
    yield "no kty", one(jwk(own, kty=None), "missing-kty", alg="RS256", signer=own)
    point = jwk(private("P-256", "own"))
    yield "unknown ec curve", one(point | {"crv": "P-257", "alg": "ES256"}, "unknown-ec-curve")
    yield "unknown okp curve", one(jwk(private("Ed25519", "own"), crv="Ed1337"), "unknown-okp-curve")
    edwards, k1 = private("Ed448", "own"), private("secp256k1", "own")
    yield "ed448", one(jwk(edwards), "ed448", alg="EdDSA", signer=edwards)
    yield "x25519", one(jwk(private("X25519", "own")), "x25519")
    yield "x448", one(jwk(private("X448", "own")), "x25519")
    yield "secp256k1", one(jwk(k1), "secp256k1", alg="ES256K", signer=k1)
    yield (
        "secp256k1 alone",
        Case(json.dumps({"keys": [jwk(k1)]}).encode(), frozenset({"uncommon-keys"}), alone=True),
    )
    ed = private("Ed25519", "own")
    yield "eddsa", one(jwk(ed), "eddsa", alg="EdDSA", signer=ed)
    yield "ed25519", one(jwk(ed, alg="Ed25519"), "rfc-9864-alg", alg="Ed25519", signer=ed)
    yield "rsa for encryption", one(jwk(own, use="enc", alg="RSA-OAEP-256"))
    yield "ec for encryption", one(jwk(private("P-256", "own"), use="enc", alg="ECDH-ES"))


def _members() -> Iterator[tuple[str, Case]]:
    own = private("RSA", "own")
    values = own.private_numbers() if isinstance(own, rsa.RSAPrivateKey) else None
    assert values is not None
    names = {"d": values.d, "p": values.p, "q": values.q, "dp": values.dmp1, "dq": values.dmq1, "qi": values.iqmp}
    exposed = {name: number(value) for name, value in names.items()}
    yield "private", one(jwk(own, **exposed), "private-key", alg="RS256", signer=own)
    point, edwards = private("P-256", "own"), private("Ed25519", "own")
    for name, value in {"null": None, "empty": ""}.items():
        yield f"d {name}", one({**jwk(own), "d": value}, f"{name}-private-member", alg="RS256", signer=own)
        yield f"d {name} on ec", one({**jwk(point), "d": value}, f"{name}-private-member", alg="ES256", signer=point)
        yield (
            f"d {name} on okp",
            one({**jwk(edwards), "d": value}, f"{name}-private-member", "eddsa", alg="EdDSA", signer=edwards),
        )
    without = jwk(own) | dict.fromkeys(names)
    yield "private members null", one(without, "null-private-member", alg="RS256", signer=own)
    yield "crt null", one(without | {"d": ""}, "null-private-member", "empty-private-member", alg="RS256", signer=own)
    yield "oth empty", one(jwk(own, oth=[]), "empty-oth", alg="RS256", signer=own)
    net = jwk(own, key_ops=[], oth=[], x5c=[])
    yield "key_ops oth x5c empty", one(net, "key-ops", "key-ops-empty", "empty-oth", "x5c", alg="RS256", signer=own)
    yield "key_ops empty", one(jwk(own, key_ops=[]), "key-ops", "key-ops-empty", alg="RS256", signer=own)
    yield "oct", one({"kty": "oct", "kid": "own", "use": "sig", "alg": "HS256", "k": b64u(b"k" * 32)}, "symmetric-key")
    yield "oct without k", one({"kty": "oct", "kid": "own", "use": "sig", "alg": "HS256"}, "symmetric-key-without-k")
    for member, value in {"kty": 7, "use": 7, "alg": 7, "n": 7, "e": True}.items():
        codes = {"n": ("malformed-key",), "e": ("malformed-key",)}.get(member, ())
        yield f"{member} no text", one(jwk(own, **{member: value}), "member-not-text", *codes, alg="RS256", signer=own)
    for name, value in {"array": ["RS256"], "object": {"a": 1}}.items():
        yield f"alg {name}", one(jwk(own, alg=value), "member-not-text", alg="RS256", signer=own)
    yield "alg null", one({**jwk(own), "alg": None}, "null-member", alg="RS256", signer=own)
    yield "use null", one({**jwk(own), "use": None}, "null-member", alg="RS256", signer=own)
    yield "lifetime", one(jwk(own, nbf=1, exp=4_102_444_800, iat=1.5), "lifetime-member", alg="RS256", signer=own)
    yield "revoked object", one(jwk(own, revoked={"revoked_at": 1}), "lifetime-member", alg="RS256", signer=own)
    yield "revoked", one(jwk(own, revoked=False), "lifetime-member-type", alg="RS256", signer=own)
    yield "exp text", one(jwk(own, exp="2030-01-01"), "lifetime-member-type", alg="RS256", signer=own)
    yield "key_ops", one(jwk(own, key_ops=["verify"]), "key-ops", alg="RS256", signer=own)
    yield "key_ops sign", one(jwk(own, key_ops=["sign"]), "key-ops", "key-ops-not-verify", alg="RS256", signer=own)
    yield "key_ops text", one(jwk(own, key_ops="verify"), "key-ops-type", alg="RS256", signer=own)
    yield "key_ops numbers", one(jwk(own, key_ops=[7]), "key-ops-type", alg="RS256", signer=own)


def _kids() -> Iterator[tuple[str, Case]]:
    first, second = private("RSA", "own"), private("RSA", "second")
    other = private("P-384", "own")
    # Verifiers that select a key by alg alone have one candidate.
    yield "no kid", one(jwk(other, kid=None), "missing-kid", alg="ES384", signer=other, kid=None)
    yield "null kid", one({**jwk(other), "kid": None}, "null-kid", alg="ES384", signer=other, kid=None)
    yield "empty kid", one(jwk(other, kid=""), "empty-kid", alg="ES384", signer=other, kid="")
    yield "number kid", one(jwk(first, kid=7), "kid-not-text", alg="RS256", signer=first, kid="7")
    yield "array kid", one(jwk(first, kid=["own"]), "kid-not-text", alg="RS256", signer=first)

    def several(*keys: JWK, codes: set[str], **tokens: str) -> Case:
        return Case(document(*keys), frozenset(codes), tokens)

    own = token(first, "RS256")
    yield "kid twice", several(
        jwk(first), jwk(second), codes={"duplicate-kid"}, own=own, second=token(second, "RS256")
    )  # fmt: skip
    yield "kid across types", several(
        jwk(first), jwk(other), codes={"duplicate-kid-across-types"}, own=own, second=token(other, "ES384")
    )  # fmt: skip
    yield "key repeated", several(jwk(first), jwk(first), codes={"repeated-key"}, own=own)
    yield "kid with two algs", several(
        jwk(first), jwk(first, alg="PS256"), codes={"kid-with-two-algs"}, own=own, second=token(first, "PS256")
    )  # fmt: skip
    yield "key with two kids", several(
        jwk(first), jwk(first, kid="more"), codes={"same-key-twice"}, own=own, second=token(first, "RS256", "more")
    )  # fmt: skip


def _algorithms() -> Iterator[tuple[str, Case]]:
    own, point = private("RSA", "own"), private("P-256", "own")

    def rsa_key(*codes: str, **more: Any) -> Case:
        return one(jwk(own, **more), *codes, alg="RS256", signer=own)

    yield "no alg", rsa_key("missing-alg", alg=None)
    yield "unknown alg", rsa_key("unknown-alg", alg="RS999")
    yield "hmac alg", rsa_key("hmac-alg", alg="HS256")
    yield "alg of ec on rsa", rsa_key("alg-mismatch", alg="ES256")
    yield "alg of rsa on ec", one(jwk(point, alg="RS256"), "alg-mismatch", alg="ES256", signer=point)
    yield "alg of another curve", one(jwk(point, alg="ES384"), "alg-mismatch", alg="ES256", signer=point)
    yield "no use", rsa_key("missing-use", use=None)
    yield "unknown use", rsa_key("unknown-use", use="tls")
    yield "use in capitals", rsa_key("unknown-use", use="SIG")
    yield "use enc, alg sig", rsa_key("use-enc-alg-sig", use="enc")
    yield "use sig, alg enc", rsa_key("use-sig-alg-enc", alg="RSA-OAEP-256")


def _certificates() -> Iterator[tuple[str, Case]]:
    own, other = private("RSA", "own"), private("RSA", "second")
    right, wrong = certificate(own), certificate(other)
    sha1, sha256 = (b64u(hashlib.new(name, right, usedforsecurity=False).digest()) for name in ("sha1", "sha256"))

    def certified(*codes: str, **more: Any) -> Case:
        return one({**jwk(own), **more}, *codes, alg="RS256", signer=own)

    def chain(*certificates: bytes) -> list[str]:
        return [base64.b64encode(der).decode() for der in certificates]

    yield "x5c", certified("x5c", x5c=chain(right))
    yield "x5c empty", certified("x5c", x5c=[])
    lines = ["\n".join(textwrap.wrap(text, 64)) for text in chain(right)]
    yield "x5c in lines", certified("x5c", "x5c-lines", x5c=lines)
    yield "x5c in lines of windows", certified("x5c", "x5c-lines", x5c=[text.replace("\n", "\r\n") for text in lines])
    yield "x5c in the other alphabet", certified("x5c", "x5c-not-base64", x5c=[b64u(right)])
    yield "x5c padded too little", certified("x5c", "x5c-not-base64", x5c=[chain(right)[0].rstrip("=")])
    hexes = {name: hashlib.new(name, right, usedforsecurity=False).hexdigest() for name in ("sha1", "sha256")}
    for case, change in {"small": str.lower, "large": str.upper}.items():
        digest = b64u(change(hexes["sha1"]).encode())
        yield f"x5t of {case} hex", certified("x5t", "x5t-hex", x5t=digest)
        yield f"x5t of {case} hex with x5c", certified("x5t", "x5c", "x5t-hex-with-x5c", x5t=digest, x5c=chain(right))
    sha256_hex = b64u(hexes["sha256"].encode())
    yield "x5t#S256 of hex", certified("x5t", "x5t-hex", **{"x5t#S256": sha256_hex})
    sha256_hexes = {"x5t#S256": sha256_hex, "x5c": chain(right)}
    yield "x5t#S256 of hex with x5c", certified("x5t", "x5c", "x5t-hex-with-x5c", **sha256_hexes)
    foreign = b64u(b"0123456789" * 4)
    yield "x5t of another hex", certified("x5t", "x5c", "x5t-mismatch", x5t=foreign, x5c=chain(right))
    yield "x5t in hex", certified("x5t", "x5t-mismatch", x5t=hexes["sha1"])
    yield "x5t", certified("x5t", x5t=sha1)
    yield "x5t with x5c", certified("x5t", "x5c", **{"x5t": sha1, "x5t#S256": sha256, "x5c": chain(right)})
    yield "x5c of another key", certified("x5c", "x5c-mismatch", x5c=chain(wrong))
    yield "x5c garbage", certified("x5c", "x5c-mismatch", x5c=["AAAA"])
    yield "x5c text", certified("x5-type", x5c="AAAA")
    yield "x5t number", certified("x5-type", x5t=7)
    yield "x5t short", certified("x5t", "x5t-mismatch", x5t="AAAA")
    yield "x5t of one letter", certified("x5t", "x5t-mismatch", x5t="A")
    yield "x5t padded", certified("x5t", "x5t-mismatch", x5t=f"{sha1}=")
    yield "x5t of another", certified("x5t", "x5c", "x5t-mismatch", x5c=chain(right), x5t=b64u(b"x" * 20))
    yield "x5u", certified("x5u", x5u="https://keys.example.com/certificate.pem")
    yield "jku", certified("jku", jku="https://keys.example.com/jwks.json")


def _material() -> Iterator[tuple[str, Case]]:
    own, point, ed = private("RSA", "own"), private("P-256", "own"), private("Ed25519", "own")

    def rsa_key(*codes: str, key: Private = own, **more: Any) -> Case:
        return one(jwk(key, **more), *codes, alg="RS256", signer=key)

    def point_key(*codes: str, **more: Any) -> Case:
        return one(jwk(point, **more), *codes, alg="ES256", signer=point)

    n = str(jwk(own)["n"])
    yield "n missing", rsa_key("malformed-key", n=None)
    yield "n garbage", rsa_key("malformed-key", n="!!")
    yield "n of one letter", rsa_key("malformed-key", n="A")
    yield "n padded", rsa_key("not-base64url", n=f"{n}==")
    standard = base64.b64encode(base64.urlsafe_b64decode(f"{n}==")).decode().rstrip("=")
    yield "n in another alphabet", rsa_key("not-base64url", n=f"{standard}==")
    yield "n with a zero", rsa_key("leading-zero", n=b64u(b"\0" + base64.urlsafe_b64decode(f"{n}==")))
    yield "y missing", point_key("malformed-key", y=None)
    yield "y short", point_key("malformed-key", y="BQ")
    yield "off the curve", point_key("malformed-key", y=number(5, 32))
    yield "x of ed25519 missing", one(jwk(ed, x=None), "malformed-key", "eddsa", alg="EdDSA", signer=ed)
    yield "x of ed25519 short", one(jwk(ed, x="AAAA"), "malformed-key", "eddsa", alg="EdDSA", signer=ed)
    yield "1024 bits", rsa_key("short-rsa-key", key=private("RSA", "short", bits=1024))
    yield "4104 bits", rsa_key("long-rsa-key", key=private("RSA", "long", bits=4104))
    yield "exponent 3", rsa_key("weak-key", key=private("RSA", "three", e=3))
