"""Members, sets, kids and paths."""

from __future__ import annotations

from typing import Any

from keyvault.core.jwk import b64u, file_stem
from tests.vectors.cases.building import (
    ACCEPTED,
    MALFORMED,
    RECORD,
    RFC7517,
    RFC7518,
    Doc,
    Vectors,
    but,
    event,
    place,
    record,
    text,
)


def record_vectors(base: Doc, secret: Doc) -> Vectors:
    vectors = Vectors(
        "records", "Records with members, sets, kids and places that cannot be, and some odd ones that can."
    )
    path = place(base)

    def bad(
        name: str, about: str, document: Doc, *codes: str, at: str = path, kind: str = RECORD, source: str = ""
    ) -> None:
        vectors.add(name, about, kind, text(document), *codes or (MALFORMED,), path=at, source=source)

    for member in ("format", "set", "public", "events"):
        bad(f"no {member}", "a member is missing", but(base, member))
        for kind, value in [
            ("null", None),
            ("a list", []),
            ("an object", {}),
            ("a number", 7.5),
            ("text", "x"),
            ("true", True),
        ]:
            if (member, kind) not in (("events", "a list"), ("set", "text")):
                bad(f"{member}: {kind}", "a member of another type", but(base, member, to=value))
    for member in ("kty", "kid", "use", "alg"):
        bad(f"no {member}", "the key lacks a member", but(base, "public", member), source=RFC7517)
    for name, value in [("null", None), ("empty", {}), ("text", "e30")]:
        bad(f"private: {name}", "no envelope; a public-only key has no such member", {**base, "private": value})
    for where in ((), ("public",), ("events", 0)):
        shown = where[0] if where else "the record"
        for name in ("x-note", "Format", "", "__proto__", "\u202eformat"):
            bad(f"unknown in {shown}: {name!a}", "an unknown member", but(base, *where, name, to=1))
    for member in ("d", "p", "q", "dp", "dq", "qi", "oth", "k", "priv"):
        value: Any = [{"r": "AQ"}] if member == "oct" else b64u(bytes(range(32)))
        bad(
            f"public with {member}",
            "a private member in the public key",
            but(base, "public", member, to=value),
            source=RFC7518,
        )
    for member, value in [
        ("x5c", []), ("x5t", "AA"), ("x5u", "https://example.com"), ("key_ops", ["verify"]), ("ext", True), ("iat", 1),
        ("D", "AA"), ("d ", "AA"), ("exp", 1),
    ]:  # fmt: skip
        bad(
            f"public with {member!r}",
            "a member that the published profile has not",
            but(base, "public", member, to=value),
            source=RFC7517,
        )

    for name, kid in [
        ("empty", ""), ("257 letters", "x" * 257), ("10 kB", "x" * 10_000), ("a line feed", "a\nb"), ("a NUL", "a\0b"),
        ("a tab", "a\tb"), ("DEL", "a\x7f"), ("an ANSI escape", "\x1b[31mred"), ("right to left", "\u202emoc"),
        ("an emoji", "\U0001f511"), ("an accent", "cl\u00e9"), ("full-width", "\uff4b\uff49\uff44"),
        ("a zero-width space", "a\u200bb"), ("Kelvin", "\u212aid"),
    ]:  # fmt: skip
        odd = but(but(base, "public", "kid", to=kid), "events", 0, "imported", to=True)
        stem = file_stem(kid)
        bad(
            f"kid: {name}",
            "a kid of other letters, or of another length",
            odd,
            "public-profile",
            at=f"keys.enc/id-token/{stem}.json",
        )
    for name, value in [("a number", 7), ("null", None), ("a list", ["a"]), ("an object", {}), ("true", True)]:
        bad(f"kid: {name}", "a kid that is no text", but(base, "public", "kid", to=value), source=RFC7517)
    for name, kid in [
        ("CON", "CON"), ("a leading hyphen", "-rf"), ("a dot", "."), ("two dots", ".."), ("a tilde", "git~1"), ("128 letters", "x" * 128),
        ("one letter", "a"), ("index", "index"), ("a lock", "HEAD.lock"), ("a hidden file", ".git"), ("a hyphen", "--"), ("a last dot", "a."),
        ("nul.txt", "nul.txt"), ("COM1", "com1"), ("a kid as others have it", "2024-01-prod_key.v1"),
        ("129 letters", "x" * 129), ("256 letters", "x" * 256), ("a path up", "../../x"), ("a path", "a/b"), ("absolute", "/etc/passwd"),
        ("backslashes", "..\\x"), ("a blank", "a b"), ("a blank alone", " "), ("blanks around it", " a "), ("a percent", "%2e%2e"),
        ("HTML", "<script>"), ("a quote", '"><img'), ("an apostrophe", "it's"), ("a template", "{{7*7}}"), ("a workflow", "${{github.token}}"),
        ("a comma", "C,x"), ("a shell", "$(id)"), ("a KMS address", "awskms:///x"), ("a bar", "a|b"), ("a question mark", "a?"),
        ("Base64", "abc/def+gh="), ("a URL", "https://vault.example.net/keys/sign/0f1e2d"), ("a DID", "did:web:x#key-1"),
        ("a GUID", "{3f484124-b234-5dfa-a088-90fd217f00d9}"), ("all that can be", "".join(map(chr, range(32, 127)))),
    ]:  # fmt: skip
        odd = but(but(base, "public", "kid", to=kid), "events", 0, "imported", to=True)
        vectors.add(
            f"kid: {name}",
            "an odd kid of an imported key, at a path that every system takes",
            ACCEPTED,
            text(odd),
            path=place(odd),
        )
    for stem in ("..", "CON", "-rf", "."):
        odd = but(but(base, "public", "kid", to=stem), "events", 0, "imported", to=True)
        bad(
            f"an odd kid as a file name: {stem}",
            "such a kid lies under its hash",
            odd,
            "record-misplaced",
            at=f"keys.enc/id-token/{stem}.json",
        )
    bad(
        "kid: not the thumbprint",
        "a key that was made here has its thumbprint as kid",
        but(base, "public", "kid", to="mine"),
        "kid-mismatch",
        at="keys.enc/id-token/mine.json",
        source="RFC 7638",
    )

    for name, value in [
        ("empty", ""), ("a path up", "../x"), ("two dots", ".."), ("a dot", "."), ("a path", "a/b"), ("capitals", "Upper"), ("65 letters", "a" * 65),
        ("a leading hyphen", "-x"), ("a leading dot", ".git"), ("con", "con"), ("identities", "identities"), ("an emoji", "\U0001f511"),
        ("right to left", "\u202eid"), ("a blank", "a b"), ("a line feed", "a\n"), ("a NUL", "a\0"), ("a last dot", "a."), ("a tilde", "git~1"),
        ("HTML", "<b>"), ("a lock", "a.lock"), ("index", "index"), ("10 kB", "a" * 10_000),
    ]:  # fmt: skip
        odd = {**base, "set": value}
        bad(f"set: {name}", "a name that no set can have", odd, at=place(odd))
        ended = {**odd, "events": [event("created"), event("revoked")]}
        if name in ("capitals", "con"):
            bad(
                f"set of a key that has left: {name}",
                "no table of keyvault.toml names it any more",
                ended,
                at=place(odd),
            )
    for name in ("a", "0", "a" * 64, "a.b_c-d", "api-v2"):
        vectors.add(
            f"set: {name[:10]}",
            "a name that a set can have",
            ACCEPTED,
            text({**base, "set": name}),
            path=place({**base, "set": name}),
        )

    for name, at in [
        ("another set", f"keys.enc/other/{path.split('/')[2]}"), ("another name", "keys.enc/id-token/x.json"), ("no folder", "keys.enc/x.json"),
        ("deeper", f"keys.enc/id-token/x/{path.split('/')[2]}"), ("elsewhere", "x.json"), ("no extension", path[:-5]), ("capitals", path.upper()),
        ("a blank behind", path + " "), ("nothing", ""), ("a NUL", path + "\0"), ("an escape", "keys.enc/\x1b[31m/x.json"),
    ]:  # fmt: skip
        bad(f"misplaced: {name}", "a record that was moved or copied", base, "record-misplaced", at=at)

    key = record({"kty": "oct", "k": secret["k"]}, alg="HS256", kid="secret")
    vectors.add("a symmetric key", "it names a key and has no public half", ACCEPTED, text(key), path=place(key))
    bad(
        "a symmetric key with k",
        "the secret in the clear",
        but(key, "public", "k", to=secret["k"]),
        at=place(key),
        source=RFC7518,
    )
    for member, value in [("x", "AA"), ("y", "AA"), ("n", "AA"), ("e", "AQAB"), ("crv", "P-256")]:
        bad(
            f"a symmetric key with {member}",
            "it has no public members",
            but(key, "public", member, to=value),
            "public-profile",
            at=place(key),
        )
    for alg, use in [
        ("none", "sig"),
        ("RS256", "sig"),
        ("ES256", "sig"),
        ("HS256", "enc"),
        ("A256KW", "sig"),
        ("hs256", "sig"),
        ("HS1", "sig"),
        ("", ""),
    ]:
        odd = but(but(key, "public", "alg", to=alg), "public", "use", to=use)
        bad(
            f"a symmetric key for {alg or 'nothing'}, {use or 'nothing'}",
            "alg is one that takes a secret, and use follows",
            odd,
            "public-profile",
            at=place(key),
        )
    return vectors
