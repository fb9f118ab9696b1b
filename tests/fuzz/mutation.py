"""
New inputs from old ones: bytes, JSON documents and lines of TOML, with one or a few changes.

The same generator of random numbers gives the same input on every machine.
"""

from __future__ import annotations

import binascii
import json
from collections.abc import Callable
from random import Random
from typing import Any

from keyvault.core.jwk import b64u, b64u_decode
from keyvault.errors import JWKError

#: Values that developers often forget.
VALUES: tuple[Any, ...] = (
    *(None, True, False, 0, 1, -1, 2, 2**31, 2**63, 2**64, 10**30, 1.0, 0.5, 1e300, "", "A", "AA", "AQAB", "e30", "none", "dir"),
    *([], {}, [[]], [{}], {"": None}, "2026-11-23T17:00:00Z", "2026-11-23T17:00:00", "9999-12-31T23:59:59Z", "sig", "enc"),
    *("\ud800", "\0", "\x1b[31m", "\u202e", "\u2028", "\U0001f511", "../../x", "CON", "-rf", "x" * 200, "x" * 10_000),
    *("RSA", "EC", "OKP", "oct", "AKP", "P-256", "P-384", "Ed25519", "X25519", "X448", "RS256", "ES256", "EdDSA", "HS256"),
    *("ECDH-ES+A256KW", "RSA-OAEP-256", "PBES2-HS512+A256KW", "A256GCM", "jwk+json", "https://keys.example.com", "0", "1e999"),
)  # fmt: skip
NAMES = (
    *("kty", "kid", "use", "alg", "crv", "x", "y", "n", "e", "d", "p", "q", "dp", "dq", "qi", "k", "oth", "priv", "keys"),
    *("format", "set", "public", "private", "events", "at", "event", "note", "forced", "imported", "url", "keep_until"),
    *("token_lifetime", "reason", "protected", "recipients", "header", "encrypted_key", "iv", "ciphertext", "tag", "epk"),
    *("zip", "crit", "aad", "unprotected", "p2c", "p2s", "kv", "enc", "cty", "x5c", "x5t", "x5u", "key_ops", "issuer"),
    *("jwks_uri", "id_token_signing_alg_values_supported", "\ud800", "\x1b[31m", ""),
)  # fmt: skip
RAW = (
    *(b"NaN", b"1e999", b"1" + b"0" * 5_000, b"[" * 5_000, b"\0", b"\xff", b"\xed\xa0\x80", b"\xef\xbb\xbf", b"\\ud800"),
    *(b"\r\n", b'"', b"\\", b"{", b"}", b"[", b"]", b",", b":", b"//", b"'", b"=", b"#", b'"""', b"\x7f", b"\xe2\x80\xa8"),
)  # fmt: skip


def mutated_bytes(data: bytes, rng: Random) -> bytes:
    """Return *data* with a few octets changed, repeated, moved or removed."""
    changed = bytearray(data)
    for _ in range(rng.choice((1, 1, 2, 4))):
        at, length = rng.randrange(len(changed) + 1), rng.choice((1, 1, 2, 8, 40))
        match rng.randrange(5):
            case 0 if at < len(changed):
                changed[at] ^= 1 << rng.randrange(8)
            case 1:
                changed[at:at] = rng.choice(RAW)
            case 2:
                del changed[at : at + length]
            case 3:
                changed[at:at] = changed[at : at + length]
            case _:
                start = rng.randrange(len(changed) + 1)
                changed[at : at + length] = changed[start : start + length]
    return bytes(changed)


def mutated_json(data: bytes, rng: Random, write: Callable[[Any], bytes]) -> bytes:
    """
    Return *data* with one node changed, encoded by *write*; with octets changed if it is not JSON or no change fits.
    """
    if rng.randrange(4) == 0:
        return mutated_bytes(data, rng)
    try:
        document = json.loads(data)
        for _ in range(rng.choice((1, 1, 1, 2, 3))):
            document = _changed(document, rng)
        return write(document)
    except (ValueError, RecursionError, OverflowError):
        return mutated_bytes(data, rng)


def as_record(document: Any) -> bytes:
    """Encode *document* in the form of records."""
    return (json.dumps(document, indent=2, ensure_ascii=False) + "\n").encode()


def _changed(value: Any, rng: Random) -> Any:
    """Return *value* with one of its nodes changed; deep nodes are as likely as shallow ones."""
    inner = list(value) if isinstance(value, dict) else list(range(len(value))) if isinstance(value, list) else []
    if inner and rng.randrange(8):
        at = rng.choice(inner)
        value = value.copy()
        value[at] = _changed(value[at], rng)
        return value
    if isinstance(value, dict):
        return _changed_object(value, rng)
    if isinstance(value, list):
        return _changed_list(value, rng)
    if isinstance(value, str) and rng.randrange(4):
        return _changed_text(value, rng)
    if isinstance(value, int) and rng.randrange(2):
        return value + rng.choice((-1, 1, -value, value, 2**31, 86_400))
    return rng.choice(VALUES)


def _changed_object(value: dict[str, Any], rng: Random) -> Any:
    names = list(value)
    match rng.randrange(4):
        case 0 if names:
            gone = rng.choice(names)
            return {name: item for name, item in value.items() if name != gone}
        case 1:
            return {**value, rng.choice(NAMES): rng.choice(VALUES)}
        case 2 if len(names) > 1:
            first, second = rng.sample(names, 2)
            return {**value, first: value[second], second: value[first]}
        case _:
            return rng.choice((value, [value], *VALUES))


def _changed_list(value: list[Any], rng: Random) -> Any:
    at = rng.randrange(len(value) + 1)
    match rng.randrange(5):
        case 0:
            return value[:at] + value[at + 1 :]
        case 1:
            return [*value[:at], rng.choice(VALUES), *value[at:]]
        case 2:
            return value * rng.choice((2, 2, 33))
        case 3:
            return rng.sample(value, len(value))
        case _:
            return [*value, *value[:1]]


def _changed_text(value: str, rng: Random) -> str:
    if rng.randrange(2):
        try:
            return b64u(mutated_bytes(b64u_decode(value, what="text"), rng))
        except (JWKError, binascii.Error):
            pass
    at = rng.randrange(len(value) + 1)
    odd = rng.choice(("A", "=", "+", " ", "\n", "\ud800", "\u202e", "\x1b", "é", ".", "/", "-", "Z", "0"))
    return rng.choice((value[:at] + odd + value[at:], value[:at] + odd + value[at + 1 :], value[:at], value.swapcase()))


def mutated_toml(data: bytes, rng: Random) -> bytes:
    """Return *data* with lines changed, moved, repeated or removed, or with values exchanged."""
    if rng.randrange(3) == 0:
        return mutated_bytes(data, rng)
    lines = data.decode(errors="surrogateescape").split("\n")
    for _ in range(rng.choice((1, 1, 2, 3))):
        at, other = rng.randrange(len(lines)), rng.randrange(len(lines))
        match rng.randrange(6):
            case 0:
                del lines[at : at + 1]
                lines = lines or [""]
            case 1:
                lines.insert(at, lines[other])
            case 2:
                lines[at], lines[other] = lines[other], lines[at]
            case 3 if "=" in lines[at]:
                lines[at] = f"{lines[at].partition('=')[0]}= {rng.choice(TOML_VALUES)}"
            case 4 if "=" in lines[other]:
                lines.insert(at, f"{rng.choice(TOML_NAMES)} ={lines[other].partition('=')[2]}")
            case _:
                lines.insert(at, rng.choice(TOML_LINES))
    return "\n".join(lines).encode(errors="surrogateescape")


TOML_NAMES = (
    *("format", "url", "title", "max_age", "confirm", "discovery", "repo_url", "alg", "crv", "bits", "issuer", "paths"),
    *("closing", "cryptoperiod", "publication_lead", "token_lifetime", "signer_lag", "clock_skew", "retention"),
    *("allow_short_lead", "require_signatures", "exclude", "metadata", "metadata.a.b", "sets.x.alg", '"a b"', "''", "d", "k"),
)  # fmt: skip
TOML_VALUES = (
    *("0", "1", "-1", "true", "false", '""', '"0s"', '"1s"', '"30d"', '"36525d"', '"36526d"', '"999999w"', '"-1d"', '"1d12h"'),
    *('"RS256"', '"ES256"', '"EdDSA"', '"HS256"', '"ECDH-ES+A256KW"', '"Ed448"', '"P-256"', "2048", "1024", "4096", "16384"),
    *('"https://keys.example.com/a"', '"http://localhost:1"', '"https://[::1"', '"https://x/../y"', '"/a/b"', '["/a", "/b"]'),
    *('["/index.html"]', "[]", "{}", '{ alg = "ES256" }', "[[1], [2.5]]", "inf", "nan", "1e999", "9" * 30, "0x10", "1979-05-27T07:32:00Z"),
    *("07:32:00", '"""a\nb"""', "'''x'''", '"\\u202e"', '"\\u001b"', '"live"', '"commit"', '"<b>"', '"{commit}"', '["tests/*"]', "[1, 'a']"),
)  # fmt: skip
TOML_LINES = (
    *("[sets]", "[sets.x]", '[sets."y"]', "[sets.x.y]", "[[sets.z]]", "[site]", "[site.metadata]", "[site.metadata.d]", "[defaults]"),
    *("[audit]", "[]", "[x]", "# comment", "", "=", "a", '"', "sets = {}", 'sets = { x = { alg = "ES256" } }', "[sets.identities]"),
    *('[sets.x]\nalg = "ES256"', '[sets.x]\nalg = "EdDSA"\ncrv = "Ed448"', '[sets]\nx.alg = "ES256"', '[sets.x]\nalg="HS256"\r', "\tformat = 1", "\ufeff"),
)  # fmt: skip
