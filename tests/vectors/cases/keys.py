"""Public keys that must not be used."""

from __future__ import annotations

from keyvault.core.jwk import b64u
from tests.core import test_strength as weak
from tests.vectors.cases.building import (
    ACCEPTED,
    KEY,
    MALFORMED,
    RECORD,
    RFC7518,
    WEAK,
    Doc,
    Vectors,
    but,
    place,
    record,
    text,
)


def key_vectors(ec_key: Doc) -> Vectors:
    vectors = Vectors("keys", "Public keys that must not be used, in records that are well formed.")

    def key(
        name: str, about: str, kind: str, jwk: Doc, *codes: str, alg: str, use: str = "sig", source: str = ""
    ) -> None:
        document = record(jwk, alg=alg, use=use, kid="key")
        vectors.add(name, about, kind, text(document), *codes, path=place(document), source=source)

    def broken(name: str, about: str, document: Doc, *codes: str, kind: str = RECORD) -> None:
        vectors.add(
            name, about, kind, text(document), *codes or ("public-profile",), path=place(document), source=RFC7518
        )

    sound = weak.sound("vector")
    key("RSA: sound", "a number of 2048 bits without small factors", ACCEPTED, weak.rsa(sound), alg="RS256")
    key("RSA: 4096 bits", "the longest", ACCEPTED, weak.rsa(weak.sound("vector", 4096)), alg="PS256")
    for bits in (1024, 2040, 2047, 4097, 8192, 16_384):
        number = weak.digits("vector", bits)
        key(
            f"RSA: {bits} bits",
            "too short, or longer than many verifiers take",
            WEAK,
            weak.rsa(number),
            "key-weak",
            alg="RS256",
            source="SP 800-56B",
        )
    for name, exponent in [
        ("1", 1),
        ("2", 2),
        ("3", 3),
        ("17", 17),
        ("65535", 65_535),
        ("65536", 65_536),
        ("2^256 + 1", 2**256 + 1),
        ("n", sound),
    ]:
        key(
            f"RSA: e = {name}",
            "an exponent that is even, small or huge",
            WEAK,
            weak.rsa(sound, exponent),
            "key-weak",
            alg="RS256",
            source="SP 800-56B",
        )
    for factor in (2, 3, 5, 19_997):
        number = weak.sound("factor", 2064) // factor * factor
        key(
            f"RSA: a factor of {factor}",
            "a modulus with a small factor",
            WEAK,
            weak.rsa(number),
            "key-weak",
            alg="RS256",
        )
    key("RSA: a square", "p = q", WEAK, weak.rsa(weak.sound("square", 1040) ** 2), "key-weak", alg="RS256")
    for steps in (1, 1_000):
        key(
            f"RSA: close primes, {steps}",
            "what Fermat's method finds",
            WEAK,
            weak.rsa(weak.close_product(steps)),
            "key-weak",
            alg="RS256",
            source="CVE-2022-26320",
        )
    key(
        "RSA: ROCA",
        "a power of 65537 modulo many primes",
        WEAK,
        weak.rsa(weak.roca_modulus()),
        "key-weak",
        alg="RS256",
        source="CVE-2017-15361",
    )
    for name, member, value in [
        ("n with a leading zero", "n", "AA" + b64u(sound.to_bytes(256, "big"))), ("n empty", "n", ""), ("n zero", "n", "AA"), ("n padded", "n", weak.uint(sound) + "="),
        ("n with a plus", "n", "+" + weak.uint(sound)[1:]), ("n with stray bits", "n", weak.uint(sound)[:-1] + "B"), ("n with a line feed", "n", weak.uint(sound) + "\n"),
        ("e with a leading zero", "e", "AAEAAQ"), ("e padded", "e", "AQAB===="), ("e empty", "e", ""), ("e in decimal", "e", "65537"), ("n not ASCII", "n", "\u00e9" * 300),
    ]:  # fmt: skip
        document = but(record(weak.rsa(sound), alg="RS256", kid="key"), "public", member, to=value)
        broken(f"RSA: {name}", "a number in another spelling", document, kind=KEY)

    for crv, alg in [("P-256", "ES256"), ("P-384", "ES384"), ("P-521", "ES512"), ("secp256k1", "ES256K")]:
        good = weak.ec_key(crv)
        key(f"EC: {crv}", "a point on its curve", ACCEPTED, good, alg=alg)
        for count, jwk in enumerate(weak.off_curve(crv)):
            about = ("a flipped bit", "swapped", "zeros", "beyond the field", "y is zero")[count]
            key(f"EC: {crv}, {about}", "a point off its curve", WEAK, jwk, "key-weak", alg=alg, source="CVE-2015-7940")
        for name, octets in (("shorter", -1), ("longer", 1)):
            jwk = {**good, "x": b64u(bytes(weak.OCTETS[crv] + octets))}
            key(
                f"EC: {crv}, x {name}",
                "coordinates have the length of the field",
                KEY,
                jwk,
                "public-profile",
                alg=alg,
                source="RFC 7518 section 6.2.1.2",
            )
    key(
        "EC: a point of another curve",
        "of the same length",
        WEAK,
        {**weak.ec_key("P-256"), "crv": "secp256k1"},
        "key-weak",
        alg="ES256K",
    )
    for name, value in [
        ("padded", ec_key["x"] + "="),
        ("empty", ""),
        ("a plus and a slash", "+/" + ec_key["x"][2:]),
        ("stray bits", ec_key["x"][:-1] + "_"),
        ("a blank", " " + ec_key["x"]),
        ("not ASCII", "\u00e9" * 43),
    ]:
        document = but(record(ec_key, kid="key"), "public", "x", to=value)
        broken(f"EC: x {name}", "a coordinate in another spelling", document, kind=KEY)
    for member, value in [("x", None), ("y", None), ("crv", None), ("x", 7), ("y", [])]:
        document = but(record(ec_key, kid="key"), "public", member, to=value)
        broken(f"EC: {member} is {value!r}", "a member that is no text", document, MALFORMED)
    for member in ("x", "y", "crv"):
        broken(f"EC: no {member}", "a public member is missing", but(record(ec_key, kid="key"), "public", member))
    for member, value in [("n", "AA"), ("e", "AQAB")]:
        broken(
            f"EC: with {member}",
            "a member of another type of key",
            but(record(ec_key, kid="key"), "public", member, to=value),
        )
    for crv in ("P-384", "p-256", "P256", "prime256v1", "", "Ed25519"):
        broken(
            f"EC: crv {crv!r}",
            "a curve that the algorithm does not go with",
            but(record(ec_key, kid="key"), "public", "crv", to=crv),
        )
    for kty in ("RSA", "OKP", "ec", "AKP", "", "oct"):
        broken(
            f"EC: kty {kty!r}",
            "another type over the same members",
            but(record(ec_key, kid="key"), "public", "kty", to=kty),
        )
    for alg in ("none", "ES384", "RS256", "HS256", "EdDSA", "es256", "ES256 ", "", "A256KW", "RSA1_5"):
        broken(
            f"EC: alg {alg!r}",
            "an algorithm that does not fit, or that nobody should use",
            but(record(ec_key, kid="key"), "public", "alg", to=alg),
        )
    for use in ("enc", "", "SIG", "sig enc"):
        broken(f"EC: use {use!r}", "use follows from alg", but(record(ec_key, kid="key"), "public", "use", to=use))

    for crv, alg, use in [
        ("Ed25519", "EdDSA", "sig"),
        ("Ed448", "EdDSA", "sig"),
        ("X25519", "ECDH-ES", "enc"),
        ("X448", "ECDH-ES", "enc"),
    ]:
        size = weak.OKP_OCTETS[crv]
        for octets in (size - 1, size + 1, 0):
            key(
                f"OKP: {crv}, {octets} octets",
                "a key of the wrong length",
                KEY,
                weak.okp(crv, bytes(octets)),
                "public-profile",
                alg=alg,
                use=use,
                source="RFC 8037",
            )
    for number, value in enumerate(weak.LOW_ORDER_X25519):
        key(
            f"OKP: X25519 of low order, {number}",
            "everybody knows the shared secret",
            WEAK,
            weak.okp("X25519", value),
            "key-weak",
            alg="ECDH-ES",
            use="enc",
            source="RFC 7748 section 6.1",
        )
    for number, value in enumerate(weak.LOW_ORDER_X448):
        key(
            f"OKP: X448 of low order, {number}",
            "everybody knows the shared secret",
            WEAK,
            weak.okp("X448", value),
            "key-weak",
            alg="ECDH-ES",
            use="enc",
            source="RFC 7748 section 6.2",
        )
    for number, octets_ in enumerate(weak.LOW_ORDER_ED25519):
        key(
            f"OKP: Ed25519 of low order, {number}",
            "one signature fits every message",
            WEAK,
            weak.okp("Ed25519", bytes.fromhex(octets_)),
            "key-weak",
            alg="EdDSA",
            source="RFC 8032",
        )
    for crv, value in [
        ("X25519", weak.P25519 + 9),
        ("X25519", 2**255 + 9),
        ("Ed25519", weak.P25519 + 1),
        ("X448", weak.P448),
        ("Ed448", weak.P448),
    ]:
        alg, use = ("ECDH-ES", "enc") if crv.startswith("X") else ("EdDSA", "sig")
        key(
            f"OKP: {crv}, {'a stray bit' if value > 2**255 and crv == 'X25519' and value != weak.P25519 + 9 else 'not reduced'}",
            "a second spelling of a point",
            WEAK,
            weak.okp(crv, value),
            "key-weak",
            alg=alg,
            use=use,
        )
    return vectors
