"""Malformed and unusual envelopes."""

from __future__ import annotations

import copy
import json
import os
from collections.abc import Callable, Iterable
from typing import Any

from cryptography.hazmat.primitives.asymmetric import ec, rsa
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from jwcrypto.jwa import JWA
from jwcrypto.jwk import JWK

from keyvault.core.jwk import b64u, b64u_decode
from keyvault.crypto.identities import new_identity
from tests.core import test_strength as weak
from tests.vectors.cases.building import (
    ACCEPTED,
    ENVELOPE,
    KEY,
    MALFORMED,
    PUBLIC,
    RECORD,
    RFC7515,
    RFC7516,
    SPELLING,
    WEAK,
    Doc,
    Vectors,
    but,
    flipped,
    place,
    record,
    stray_bits,
    text,
    times,
)

OPS, LAPTOP, KMS = "ops", "laptop", "awskms:///arn:aws:kms:eu-west-1:1:key/2"


def wrap(identity: Doc, cek: bytes, alg: str | None = None) -> Doc:
    """Return the entry of one recipient."""
    alg = alg or identity["alg"]
    public = {name: identity[name] for name in ("kty", *PUBLIC[identity["kty"]])}
    wrapped = JWA.keymgmt_alg(alg).wrap(JWK(**public), 256, cek, {"alg": alg, "enc": "A256GCM"})
    epk = wrapped.get("header", {}).get("epk")
    header = {"alg": alg, "kid": identity["kid"]}
    if epk:
        header["epk"] = {name: epk[name] for name in ("kty", "crv", "x", "y") if name in epk}
    return {"header": header, "encrypted_key": b64u(wrapped["ek"])}


def compact(value: Any) -> bytes:
    return json.dumps(value, separators=(",", ":")).encode()


def envelope_vectors(private: Doc, other: Doc) -> tuple[Vectors, Doc]:
    ops, laptop = new_identity(OPS), new_identity(LAPTOP, crv="X25519")
    kms = {**new_identity(KMS, alg="RSA-OAEP-256")}
    stranger = new_identity("stranger")
    vectors = Vectors(
        "envelopes",
        "Records whose sealed private key is odd. What can be authenticated is, so that only the check itself refuses it.",
        warning="The identities are test keys in the clear: they protect nothing.",
        identities=[ops, laptop, kms],
    )
    public = record(private)
    path, kid = place(public), public["public"]["kid"]
    plain = compact(private)

    def binding(kids: Iterable[str], **more: Any) -> Doc:
        return {"format": 1, "kid": kid, "recipients": sorted(kids), "set": "id-token", **more}

    def seal(
        *recipients: Doc,
        header: Any = None,
        plain: bytes = plain,
        cek: bytes | None = None,
        iv: int = 12,
        aad: str = "",
        entries: Any = None,
    ) -> Doc:
        """Return an envelope that authenticates, whatever *header* contains."""
        recipients = tuple(sorted(recipients or (ops,), key=lambda recipient: recipient["kid"]))
        cek = os.urandom(32) if cek is None else cek
        nonce = os.urandom(iv)
        if header is None:
            header = {"cty": "jwk+json", "enc": "A256GCM", "kv": binding(recipient["kid"] for recipient in recipients)}
        protected = b64u(header if isinstance(header, bytes) else compact(header))
        seen = protected + (f".{aad}" if aad else "")
        sealed = (
            AESGCM(cek).encrypt(nonce, plain, seen.encode())
            if iv >= 8 and len(cek) in (16, 24, 32)
            else os.urandom(200)
        )
        entries = [wrap(recipient, cek) for recipient in recipients] if entries is None else entries
        return {
            "protected": protected,
            "recipients": entries,
            "iv": b64u(nonce),
            "ciphertext": b64u(sealed[:-16]),
            "tag": b64u(sealed[-16:]),
        }

    def add(name: str, about: str, kind: str, envelope: Any, *codes: str, source: str = RFC7516) -> None:
        vectors.add(name, about, kind, text({**public, "private": envelope}), *codes, path=path, source=source)

    def bad(name: str, about: str, envelope: Any, source: str = RFC7516) -> None:
        add(name, about, ENVELOPE, envelope, "envelope-malformed", source=source)

    def unread(name: str, about: str, envelope: Any, source: str = RFC7516) -> None:
        add(name, about, RECORD, envelope, MALFORMED, source=source)

    def shut(name: str, about: str, envelope: Any, kind: str = ENVELOPE) -> None:
        add(name, about, kind, envelope)

    good = seal()
    add("P-256", "one recipient", ACCEPTED, good)
    add("X25519", "one recipient", ACCEPTED, seal(laptop))
    add("RSA", "one recipient", ACCEPTED, seal(kms))
    add("three kinds", "any one of them opens it", ACCEPTED, seal(ops, laptop, kms))
    crowd = [{**stranger, "kid": f"person-{number:02}"} for number in range(33)]
    add("17 recipients", "16 others and one of ours", ACCEPTED, seal(ops, *crowd[:16]))
    add("32 recipients", "the most", ACCEPTED, seal(ops, *crowd[:31]))
    add("33 recipients", "one too many", RECORD, seal(ops, *crowd[:32]), "envelope-malformed")
    whole = text({**public, "private": {**good, "recipients": []}})
    head, tail = whole.split('"recipients": []', 1)
    many = [times(4_999, compact(good["recipients"][0]).decode() + ","), compact(good["recipients"][0]).decode()]
    vectors.add(
        "5,000 recipients",
        "larger than a record can be",
        RECORD,
        [head, '"recipients": [', *many, "]", tail],
        "record-too-large",
        path=path,
    )
    small = compact({"header": {"alg": "x", "kid": "x"}, "encrypted_key": ""}).decode()
    vectors.add(
        "4,000 small recipients",
        "counted, and never tried",
        RECORD,
        [head, '"recipients": [', times(3_999, small + ","), small, "]", tail],
        SPELLING,
        "envelope-malformed",
        path=path,
    )
    add("no recipients", "nobody could open it", RECORD, {**good, "recipients": []}, "envelope-malformed")
    add(
        "no recipients, and bound so",
        "nobody could open it",
        RECORD,
        seal(entries=[], header={"cty": "jwk+json", "enc": "A256GCM", "kv": binding([])}),
        "envelope-malformed",
    )
    bad("a recipient twice", "which of the two would be meant?", {**good, "recipients": good["recipients"] * 2})
    twice = seal(header={"cty": "jwk+json", "enc": "A256GCM", "kv": binding([OPS, OPS])})
    bad(
        "a recipient twice, and bound so",
        "an authentic header does not help",
        {**twice, "recipients": twice["recipients"] * 2},
    )
    two = seal(ops, laptop)
    bad("a recipient removed", "its tag does not cover the list", {**two, "recipients": two["recipients"][1:]})
    bad(
        "a recipient added",
        "somebody adds themselves",
        {**good, "recipients": [*good["recipients"], wrap(stranger, bytes(32))]},
    )
    bad("recipients in another order", "one spelling", {**two, "recipients": two["recipients"][::-1]})
    cek = os.urandom(32)
    backwards = seal(
        cek=cek,
        entries=[wrap(ops, cek), wrap(laptop, cek)],
        header={"cty": "jwk+json", "enc": "A256GCM", "kv": binding([]) | {"recipients": [OPS, LAPTOP]}},
    )
    bad("recipients bound in another order", "one spelling", backwards)
    swapped = copy.deepcopy(two)
    for one, name in zip(swapped["recipients"], (OPS, LAPTOP), strict=True):
        one["header"]["kid"] = name
    swapped["recipients"].reverse()
    shut("names of recipients exchanged", "each entry is for another key", swapped)
    renamed = but(good, "recipients", 0, "header", "kid", to="stranger")
    bad("a recipient renamed", "a label is bound", renamed)
    shut("sealed to a stranger alone", "well formed, and not for us", seal(stranger))

    for name, key_, value in [
        ("kid", "kid", other["kid"]), ("set", "set", "access-token"), ("kid and case", "kid", kid.swapcase()), ("an empty set", "set", ""), ("an empty kid", "kid", ""),
        ("a set with a blank", "set", "id-token "), ("format 2", "format", 2), ("format 0", "format", 0), ("a stranger", "recipients", ["stranger"]), ("nobody", "recipients", []),
        ("one more", "recipients", [OPS, "zed"]),
    ]:  # fmt: skip
        bad(
            f"kv: {name}",
            "an envelope of another key, set, format or people, authentic in itself",
            seal(header={"cty": "jwk+json", "enc": "A256GCM", "kv": binding([OPS]) | {key_: value}}),
        )
    for name, kv in [
        ("missing", ...), ("null", None), ("empty", {}), ("text", "id-token"), ("a list", []), ("without kid", {k: v for k, v in binding([OPS]).items() if k != "kid"}),
        ("without set", {k: v for k, v in binding([OPS]).items() if k != "set"}), ("without recipients", {k: v for k, v in binding([OPS]).items() if k != "recipients"}),
        ("without format", {k: v for k, v in binding([OPS]).items() if k != "format"}), ("an unknown member", binding([OPS], x=1)), ("a number for a kid", binding([OPS], kid=7)),
        ("format true", binding([OPS], format=True)), ("format 1.0", binding([OPS], format=1.0)), ("text for a list", binding([OPS], recipients=OPS)),
    ]:  # fmt: skip
        header = {"cty": "jwk+json", "enc": "A256GCM", "kv": kv}
        bad(
            f"kv is {name}",
            "the binding is not there, or not what it must be",
            seal(header={n: v for n, v in header.items() if v is not ...}),
        )
    elsewhere = seal(
        header={"cty": "jwk+json", "enc": "A256GCM", "kv": binding([OPS], kid=other["kid"])}, plain=compact(other)
    )
    bad("the envelope of another key", "copied from its record", elsewhere)

    fine = {"cty": "jwk+json", "enc": "A256GCM", "kv": binding([OPS])}
    for enc in ("A128GCM", "A192GCM", "A128CBC-HS256", "A256CBC-HS512", "XC20P", "a256gcm", "none", "", "A256GCM "):
        bad(f"enc: {enc!r}", "another content encryption", seal(header={**fine, "enc": enc}), "RFC 7518 section 5")
    for cty in ("JWK", "jwk+JSON", "application/jwk+json", "jwk-set+json", "", "JWT"):
        bad(f"cty: {cty!r}", "another content", seal(header={**fine, "cty": cty}))
    for member, value in [
        ("zip", "DEF"), ("crit", ["exp"]), ("crit", []), ("alg", "dir"), ("alg", "ECDH-ES+A256KW"), ("alg", "none"), ("kid", OPS), ("p2c", 0), ("p2s", "AA"), ("b64", False),
        ("epk", {}), ("apu", "AA"), ("jku", "https://example.com"), ("jwk", {"kty": "oct"}), ("x5c", []), ("typ", "JWE"), ("iv", "AA"), ("tag", "AA"), ("url", "x"), ("ENC", "none"),
    ]:  # fmt: skip
        bad(
            f"protected {member}: {json.dumps(value)}",
            "a member that our header has not, authentic in itself",
            seal(header={**fine, member: value}),
        )
    for name, header in [
        ("not JSON", b"kv"), ("empty", b""), ("an empty object", b"{}"), ("a list", b"[]"), ("null", b"null"), ("not UTF-8", b"\xff"), ("a mark", b"\xef\xbb\xbf" + compact(fine)),
        ("blanks", json.dumps(fine).encode()), ("a final line feed", compact(fine) + b"\n"), ("something behind", compact(fine) + b"{}"), ("a NUL behind", compact(fine) + b"\0"),
        ("another order", compact({"enc": "A256GCM", "cty": "jwk+json", "kv": binding([OPS])})), ("enc twice", compact(fine).replace(b'"enc"', b'"enc":"none","enc"', 1)),
        ("kv twice", compact(fine).replace(b'"kv"', b'"kv":{},"kv"', 1)), ("kid twice", compact(fine).replace(b'"kid"', b'"kid":"x","kid"', 1)), ("an escaped name", compact(fine).replace(b'"enc"', b'"\\u0065nc"', 1)),
        ("UTF-16", compact(fine).decode().encode("utf-16")), ("NaN", compact(fine).replace(b'"format":1', b'"format":NaN')), ("1e999", compact(fine).replace(b'"format":1', b'"format":1e999')),
        ("5,000 digits", compact(fine).replace(b'"format":1', b'"format":1' + b"0" * 5_000)), ("a lone surrogate", compact(fine).replace(b'"id-token"', b'"\\ud800"')),
        ("without enc", compact({"cty": "jwk+json", "kv": binding([OPS])})), ("without cty", compact({"enc": "A256GCM", "kv": binding([OPS])})),
    ]:  # fmt: skip
        bad(f"protected is {name}", "the header has one spelling", seal(header=header), RFC7515)
    deep_head, deep_tail = text({**public, "private": {**good, "protected": "@"}}).split("@")
    # W1tb is base64url for three brackets.
    vectors.add(
        "protected is deep",
        "nested 100,002 deep",
        ENVELOPE,
        [deep_head, times(33_334, "W1tb"), deep_tail],
        "envelope-malformed",
        path=path,
    )

    for member in ("protected", "iv", "ciphertext", "tag"):
        old = good[member]
        bad(
            f"{member}: padded",
            "canonical base64url has no padding",
            {**good, member: old + "=" * (-len(old) % 4 or 4)},
            "RFC 7515 section 2",
        )
        bad(
            f"{member}: a plus and a slash",
            "the other alphabet",
            {**good, member: "+/" + old[2:]},
            "RFC 4648 section 5",
        )
        bad(f"{member}: a line feed", "no white space", {**good, member: old[:4] + "\n" + old[4:]})
        bad(f"{member}: a blank behind", "no white space", {**good, member: old + " "})
        bad(
            f"{member}: a letter behind",
            "stray bits or another length",
            {**good, member: old + ("A" if len(old) % 4 != 3 else "AA")},
        )
        bad(f"{member}: not ASCII", "an accent", {**good, member: "\u00e9" + old[1:]})
        bad(f"{member}: empty", "nothing there", {**good, member: ""})
        unread(f"{member}: missing", "a member is not there", {n: v for n, v in good.items() if n != member})
        unread(f"{member}: null", "a member of another type", {**good, member: None})
        unread(f"{member}: a number", "a member of another type", {**good, member: 7})
    bad(
        "tag: stray bits",
        "another spelling of the same octets",
        {**good, "tag": stray_bits(good["tag"])},
        "RFC 4648 section 3.5",
    )
    for size in (0, 7, 8, 11, 13, 16, 64):
        bad(
            f"iv of {size} octets",
            "96 bits",
            {**good, "iv": b64u(bytes(size))} if size < 8 else seal(iv=size),
            "RFC 7518 section 5.3",
        )
    for size in (0, 1, 4, 8, 12, 15, 17, 32):
        data = b64u_decode(good["tag"], what="tag") * 2
        bad(
            f"tag of {size} octets",
            "128 bits; short tags are forged",
            {**good, "tag": b64u(data[:size])},
            "RFC 7518 section 5.3",
        )
    bad("ciphertext of 16,385 octets", "larger than any key", seal(plain=b" " * 16_385))
    shut("ciphertext of 16,384 octets", "the largest, and no JWK", seal(plain=b" " * 16_384))
    for member in ("iv", "ciphertext", "tag"):
        shut(f"{member}: a flipped bit", "authenticated", {**good, member: flipped(good[member])})
    shut(
        "ciphertext: cut", "authenticated", {**good, "ciphertext": b64u(b64u_decode(good["ciphertext"], what="")[:-1])}
    )
    shut("tag of zeros", "authenticated", {**good, "tag": b64u(bytes(16))})
    shut("tag and iv of another", "authenticated", {**good, "tag": two["tag"], "iv": two["iv"]})
    shut("aad in the computation", "authenticated with an aad that is not there", seal(aad="AA"))

    for member, value in [
        ("unprotected", {}),
        ("unprotected", {"zip": "DEF"}),
        ("aad", "AA"),
        ("aad", ""),
        ("header", {"alg": "dir"}),
        ("encrypted_key", "AA"),
        ("zip", "DEF"),
        ("crit", []),
        ("x", 1),
        ("signatures", []),
    ]:
        unread(
            f"{member} beside: {json.dumps(value)}",
            "a member that general JSON may have and ours has not, or that it may not",
            {**good, member: value},
            "RFC 7516 section 7.2.1",
        )
    parts = [good["protected"], good["recipients"][0]["encrypted_key"], good["iv"], good["ciphertext"], good["tag"]]
    unread("compact form", "text with four dots", ".".join(parts), "RFC 7516 section 7.1")
    flat = {n: v for n, v in good.items() if n != "recipients"}
    unread(
        "flattened form", "one recipient without a list", {**flat, **good["recipients"][0]}, "RFC 7516 section 7.2.2"
    )
    unread("flattened and general form", "both", {**good, **good["recipients"][0]}, "RFC 7516 section 7.2.2")
    unread("the private key itself", "in the clear", private)
    unread("a list of envelopes", "one is enough", [good])
    unread("recipients is an object", "a list is meant", {**good, "recipients": good["recipients"][0]})
    for name, value in [("null", None), ("text", "ops"), ("empty", {}), ("a list", [])]:
        unread(f"a recipient that is {name}", "an object is meant", {**good, "recipients": [value]})

    def entry_of(*where: Any, to: Any = ..., of: Doc = good) -> Doc:
        return but(of, "recipients", 0, *where, to=to)

    for alg in (
        *("none", "dir", "RSA1_5", "RSA-OAEP", "RSA-OAEP-384", "RSA-OAEP-512", "A128KW", "A256KW", "A256GCMKW", "ECDH-ES"),
        *("ECDH-ES+A128KW", "PBES2-HS512+A256KW", "PBES2-HS256+A128KW", "ecdh-es+a256kw", "ECDH-ES+A256KW ", "", "ECDH-1PU"),
    ):  # fmt: skip
        bad(
            f"alg: {alg!r}",
            "another way to wrap the content key",
            entry_of("header", "alg", to=alg),
            "RFC 7518 section 4",
        )
    bad("alg: RSA-OAEP-256 with an ephemeral key", "two ways at once", entry_of("header", "alg", to="RSA-OAEP-256"))
    for name, count in [
        ("0", 0),
        ("-1", -1),
        ("2^31", 2**31),
        ("2^63", 2**63),
        ("a fraction", 1.5),
        ("1e999", "@"),
        ("true", True),
        ("text", "600000"),
    ]:
        header = {"alg": "PBES2-HS512+A256KW", "kid": OPS, "p2c": count, "p2s": b64u(bytes(16))}
        data = text(
            {**public, "private": {**good, "recipients": [{"header": header, "encrypted_key": b64u(bytes(40))}]}}
        )
        vectors.add(
            f"p2c: {name}",
            "a count of rounds that somebody else chose",
            RECORD,
            data.replace('"@"', "1e999"),
            MALFORMED,
            path=path,
            source="CVE-2022-36083",
        )
    for member, value in [
        ("zip", "DEF"),
        ("enc", "A256GCM"),
        ("crit", ["b64"]),
        ("apu", "AA"),
        ("apv", "AA"),
        ("p2s", "AA"),
        ("iv", "AA"),
        ("tag", "AA"),
        ("jku", "https://example.com"),
        ("d", "AA"),
        ("cty", "JWK"),
    ]:
        unread(
            f"recipient with {member}",
            "a member that a header of ours has not, or that stands in the protected one",
            entry_of("header", member, to=value),
            "RFC 7516 section 4",
        )
    for member in ("alg", "kid"):
        unread(f"recipient without {member}", "every entry says how and for whom", entry_of("header", member))
        unread(f"recipient with {member} null", "a member of another type", entry_of("header", member, to=None))
    unread("recipient without header", "a member is missing", entry_of("header"))
    unread("recipient without encrypted_key", "a member is missing", entry_of("encrypted_key"))
    unread("recipient with another member", "an unknown one", entry_of("x", to=1))
    wrapped = good["recipients"][0]["encrypted_key"]
    for name, value in [
        ("empty", ""), ("39 octets", b64u(bytes(39))), ("41 octets", b64u(bytes(41))), ("16 octets", b64u(bytes(16))), ("48 octets", b64u(bytes(48))), ("padded", wrapped + "="), ("stray bits", stray_bits(wrapped)),
        ("a plus", "+" + wrapped[1:]), ("not ASCII", "\u00e9" + wrapped[1:]), ("100,000 octets", b64u(bytes(100_000))),
    ]:  # fmt: skip
        if name == "100,000 octets":
            first, last_part = text({**public, "private": entry_of("encrypted_key", to="@")}).split("@")
            vectors.add(
                f"encrypted_key: {name}",
                "32 octets, wrapped",
                ENVELOPE,
                [first, times(33_334, "AAAA"), last_part],
                "envelope-malformed",
                path=path,
            )
        else:
            bad(
                f"encrypted_key: {name}",
                "32 octets, wrapped, in canonical base64url",
                entry_of("encrypted_key", to=value),
                "RFC 3394",
            )
    unread("encrypted_key: null", "a member of another type", entry_of("encrypted_key", to=None))
    shut("encrypted_key: zeros", "it does not unwrap", entry_of("encrypted_key", to=b64u(bytes(40))))
    shut(
        "encrypted_key: of another",
        "it does not unwrap",
        entry_of("encrypted_key", to=two["recipients"][1]["encrypted_key"]),
    )
    for size in (16, 24):
        short = os.urandom(size)
        bad(f"a content key of {size} octets", "wrapped in the right way, and too short", seal(cek=short))
    rsa_good = seal(kms)
    for size in (0, 128, 255, 513, 1024):
        bad(
            f"RSA: encrypted_key of {size} octets",
            "the length of the modulus",
            entry_of("encrypted_key", to=b64u(bytes(size)), of=rsa_good),
            "RFC 8017 section 7.1",
        )
    for size in (256, 384, 512):
        shut(
            f"RSA: encrypted_key of {size} zeros",
            "it does not unwrap",
            entry_of("encrypted_key", to=b64u(bytes(size)), of=rsa_good),
        )
    shut(
        "RSA: a flipped bit",
        "it does not unwrap",
        entry_of("encrypted_key", to=flipped(rsa_good["recipients"][0]["encrypted_key"]), of=rsa_good),
    )
    short_cek = seal(kms, cek=os.urandom(16))
    shut("RSA: a content key of 16 octets", "wrapped in the right way, and too short", short_cek)
    shut(
        "RSA: wrapped with SHA-1",
        "RSA-OAEP under the name of RSA-OAEP-256",
        relabel(seal, wrap, kms, "RSA-OAEP", "RSA-OAEP-256"),
    )
    shut(
        "RSA: wrapped with PKCS #1 v1.5",
        "RSA1_5 under the name of RSA-OAEP-256",
        relabel(seal, pkcs1, kms, "RSA1_5", "RSA-OAEP-256"),
    )
    bad(
        "RSA: with an ephemeral key",
        "two ways at once",
        entry_of("header", "epk", to=good["recipients"][0]["header"]["epk"], of=rsa_good),
    )

    point = good["recipients"][0]["header"]["epk"]
    p384 = weak.ec_key("P-384")
    okp = {"kty": "OKP", "crv": "X25519"}
    invalid = "CVE-2017-16007"
    for name, epk in [
        ("off the curve", {**point, "y": point["x"]}), ("zeros", {**point, "x": b64u(bytes(32)), "y": b64u(bytes(32))}), ("beyond the field", {**point, "x": b64u(b"\xff" * 32)}),
        ("short", {**point, "x": b64u(bytes(31))}), ("long", {**point, "x": b64u(bytes(33))}), ("padded", {**point, "x": point["x"] + "="}), ("empty", {**point, "x": "", "y": ""}),
        ("of secp256k1", weak.ec_key("secp256k1")), ("of secp256k1 under the name of P-256", {**weak.ec_key("secp256k1"), "crv": "P-256"}), ("on P-384", p384), ("on P-384 under the name of P-256", {**p384, "crv": "P-256"}),
        ("of kty OKP", {**point, "kty": "OKP"}), ("of kty RSA", {**point, "kty": "RSA"}), ("of kty oct", {**point, "kty": "oct"}), ("without y", {n: v for n, v in point.items() if n != "y"}),
        ("on an unknown curve", {**point, "crv": "P-192"}), ("with a small letter", {**point, "crv": "p-256"}), ("X25519, zero", {**okp, "x": b64u(bytes(32))}), ("X25519, one", {**okp, "x": b64u(b"\1" + bytes(31))}),
        ("X25519, of low order", weak.okp("X25519", weak.LOW_ORDER_X25519[2])), ("X25519, not reduced", weak.okp("X25519", weak.P25519 + 9)), ("X25519 with y", {**okp, "x": b64u(b"\x09" + bytes(31)), "y": "AA"}),
        ("X25519 of 31 octets", {**okp, "x": b64u(bytes(31))}), ("X448", weak.okp("X448", 5)), ("Ed25519", {**okp, "crv": "Ed25519", "x": b64u(b"\x58" + b"\x66" * 31)}), ("X25519 of kty EC", {**okp, "kty": "EC", "x": b64u(b"\x09" + bytes(31))}),
    ]:  # fmt: skip
        bad(
            f"epk: {name}",
            "an ephemeral key that would leak bits of ours, or is none",
            entry_of("header", "epk", to=epk),
            invalid,
        )
    bad("epk: missing", "ECDH needs one", entry_of("header", "epk"))
    for name, value in [
        ("null", None),
        ("text", point["x"]),
        ("a list", []),
        ("an empty object", {}),
        ("with d", {**point, "d": "AA"}),
        ("with kid", {**point, "kid": "x"}),
        ("with k", {"kty": "oct", "k": "AA"}),
        ("with a number", {**point, "x": 5}),
    ]:
        unread(
            f"epk: {name}",
            "no ephemeral key, or one with stray members",
            entry_of("header", "epk", to=value),
            "RFC 7518 section 4.6.1.1",
        )
    fresh = ec.generate_private_key(ec.SECP256R1()).public_key().public_numbers()
    stray = {**point, "x": b64u(fresh.x.to_bytes(32, "big")), "y": b64u(fresh.y.to_bytes(32, "big"))}
    shut("epk: another point", "it does not unwrap", entry_of("header", "epk", to=stray))
    shut(
        "epk: of the other curve that we have",
        "it does not unwrap",
        entry_of("header", "epk", to=two["recipients"][0]["header"]["epk"]),
    )

    for name, content, kind in [
        ("empty object", b"{}", ENVELOPE), ("not JSON", b"secret", ENVELOPE), ("not UTF-8", b"\xff\xfe", ENVELOPE), ("a list", compact([private]), ENVELOPE), ("PEM", b"-----BEGIN PRIVATE KEY-----", ENVELOPE),
        ("another key", compact(other), ENVELOPE), ("the public half", compact({n: v for n, v in private.items() if n != "d"}), ENVELOPE), ("a number for d", compact({**private, "d": 7}), ENVELOPE),
        ("the d of another", compact({**private, "d": other["d"]}), WEAK), ("d zero", compact({**private, "d": b64u(bytes(32))}), WEAK), ("d too short", compact({**private, "d": b64u(bytes(31))}), KEY),
        ("d padded", compact({**private, "d": private["d"] + "="}), KEY), ("k beside d", compact({**private, "k": "AA"}), ACCEPTED), ("another kid and alg", compact({**private, "kid": "x", "alg": "none"}), ACCEPTED),
        ("depth", b"[" * 16_000, ENVELOPE), ("d twice", compact(private)[:-1] + b',"d":"AA"}', KEY), ("a JWK Set", compact({"keys": [private]}), ENVELOPE), ("x of another", compact({**private, "x": other["x"]}), ENVELOPE),
    ]:  # fmt: skip
        shut(f"inside: {name}", "whoever can seal can seal anything", seal(plain=content), kind)
    return vectors, {**public, "private": good}


def pkcs1(identity: Doc, cek: bytes, alg: str) -> Doc:
    """Return an entry that is wrapped with RSAES-PKCS1-v1_5."""
    from cryptography.hazmat.primitives.asymmetric.padding import PKCS1v15

    numbers = [int.from_bytes(b64u_decode(identity[name], what=name), "big") for name in ("e", "n")]
    wrapped = rsa.RSAPublicNumbers(*numbers).public_key().encrypt(cek, PKCS1v15())
    return {"header": {"alg": alg, "kid": identity["kid"]}, "encrypted_key": b64u(wrapped)}


def relabel(seal: Callable[..., Doc], how: Callable[..., Doc], identity: Doc, real: str, said: str) -> Doc:
    """Return an envelope whose entry was wrapped by *real* but names *said*."""
    cek = os.urandom(32)
    return but(seal(identity, cek=cek, entries=[how(identity, cek, real)]), "recipients", 0, "header", "alg", to=said)
