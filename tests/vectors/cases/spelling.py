"""Records in valid and invalid spellings of JSON."""

from __future__ import annotations

import json
from typing import Any

from tests.vectors.cases.building import (
    ACCEPTED,
    MALFORMED,
    RECORD,
    RFC8259,
    SPELLING,
    T0,
    Doc,
    Vectors,
    place,
    swap,
    text,
    times,
)


def json_vectors(base: Doc) -> Vectors:
    vectors = Vectors("json", "Records in every spelling that JSON has and every one that it has not.")
    good, path = text(base), place(base)
    raw = good.encode()

    def other(name: str, about: str, data: Any, code: str = MALFORMED, source: str = RFC8259) -> None:
        vectors.add(name, about, RECORD, data, code, path=path, source=source)

    vectors.add("good", "a record as it is written", ACCEPTED, good, path=path)
    for name, at, second in [
        ("format", '"format": 1,', '"format": 1,\n  "format": 1,'),
        ("format, the first another", '"format": 1,', '"format": 2,\n  "format": 1,'),
        ("set", '"set": "id-token"', '"set": "other",\n  "set": "id-token"'),
        ("kty", '"kty": "EC"', '"kty": "oct",\n    "kty": "EC"'),
        ("alg", '"alg": "ES256"', '"alg": "none",\n    "alg": "ES256"'),
        ("at", f'"at": "{T0}"', f'"at": "2020-01-01T00:00:00Z",\n      "at": "{T0}"'),
        ("an escaped name", '"format": 1,', '"form\\u0061t": 2,\n  "format": 1,'),
        ("events", '"events": [', '"events": [],\n  "events": ['),
    ]:
        other(
            f"twice: {name}",
            "a member twice: readers take the first, the last or none",
            swap(good, at, second),
            SPELLING,
        )
    for name, number, code in [
        ("NaN", "NaN", MALFORMED), ("Infinity", "Infinity", MALFORMED), ("-Infinity", "-Infinity", MALFORMED),
        ("1e999", "1e999", MALFORMED), ("-1e999", "-1e999", MALFORMED), ("1e-999", "1e-999", MALFORMED),
        ("1.0", "1.0", MALFORMED), ("1e0", "1e0", MALFORMED), ("-0", "-0", MALFORMED), ("-1", "-1", MALFORMED),
        ("0", "0", MALFORMED), ("2", "2", MALFORMED), ("01", "01", MALFORMED), ("+1", "+1", MALFORMED),
        ("0x1", "0x1", MALFORMED), ("1.", "1.", MALFORMED), (".1", ".1", MALFORMED), ("text", '"1"', MALFORMED),
        ("true", "true", MALFORMED), ("null", "null", MALFORMED), ("list", "[1]", MALFORMED),
        ("object", "{}", MALFORMED), ("2^53 + 1", "9007199254740993", MALFORMED),
        ("2^63", "9223372036854775808", MALFORMED), ("2^64", "18446744073709551616", MALFORMED),
        ("nothing", "", MALFORMED), ("full-width one", "\uff11", MALFORMED),
    ]:  # fmt: skip
        other(
            f"format: {name}",
            "a format that is not the number 1",
            swap(good, '"format": 1', f'"format": {number}'),
            code,
        )
    head, tail = good.split('"format": 1', 1)
    other("format: 5,000 digits", "some readers refuse to convert it", [head, '"format": 1', times(5_000, "0"), tail])
    other("format: 200,000 digits", "and in some it takes a minute", [head, '"format": 1', times(200_000, "0"), tail])
    other(
        "format: 1 and 5,000 zeros behind the point",
        "it is the number 1",
        [head, '"format": 1.', times(5_000, "0"), tail],
    )
    for name, deep in [
        ("arrays", [times(100_000, "[")]),
        ("arrays that end", [times(100_000, "["), times(100_000, "]")]),
        ("objects", [times(50_000, '{"a":')]),
        ("objects that end", [times(40_000, '{"a":'), "1", times(40_000, "}")]),
        ("arrays for a number", [head, '"format": ', times(100_000, "["), times(100_000, "]"), tail]),
        (
            "arrays in an unknown member",
            [head, '"x": ', times(100_000, "["), times(100_000, "]"), ', "format": 1', tail],
        ),
        ("mixed", [times(40_000, '[{"a":')]),
    ]:
        other(f"depth: {name}", "a parser that calls itself runs out of stack", deep)
    too_large = "record-too-large"
    other("size: 256 KiB of blanks", "the largest file that is parsed", times(262_144, " "))
    other("size: one octet more", "not even parsed", times(262_145, " "), too_large)
    other("size: 1 MB of digits", "not even parsed", times(1_000_000, "1"), too_large)
    other("size: a good record and blanks", "white space is no content", [good, times(262_145, " ")], too_large)
    before, after = swap(good, '"event": "created"', '"event": "created",\n      "note": "@"').split("@")
    other(
        "size: a note of 200,000 letters",
        "read, and too long for a note",
        [before, times(200_000, "a"), after],
        "event-malformed",
    )
    note = '"event": "created"'
    for name, escape in [
        ("a lone high surrogate", "\\ud800"), ("a lone low surrogate", "\\udc00"), ("a high one at the end", "a\\udbff"),
        ("two high ones", "\\ud800\\ud800"), ("the wrong order", "\\udc00\\ud800"), ("half an escape", "\\u12"),
        ("no hex", "\\uzzzz"), ("an unknown escape", "\\x41"), ("a capital", "\\U00000041"), ("a quote for a quote", "\\'"),
    ]:  # fmt: skip
        other(f"escape: {name}", "a string that is no text", swap(good, note, f'{note},\n      "note": "{escape}"'))
    for name, escaped, plain in [
        ("a letter", "\\u0061", "a"), ("a slash", "\\/", "/"), ("a pair of surrogates", "\\ud83d\\ude00", "\U0001f600"),
        ("a line feed as a number", "\\u000a", None), ("capital digits", "\\u001B", None),
    ]:  # fmt: skip
        data = swap(good, note, f'{note},\n      "note": "x{escaped}"')
        other(f"escape: {name}", "the same text in another spelling", data, SPELLING)
        if plain:
            vectors.add(
                f"plain: {name}",
                "text as it is written",
                ACCEPTED,
                swap(good, note, f'{note},\n      "note": "x{plain}"'),
                path=path,
            )
    other(
        "escape: a member name", "the same name in another spelling", swap(good, '"format"', '"\\u0066ormat"'), SPELLING
    )
    other("escape: a kid", "the same kid in another spelling", swap(good, '"kty": "EC"', '"kty": "\\u0045C"'), SPELLING)
    for name, octets in [
        ("an encoded surrogate", b"\xed\xa0\x80"), ("a pair of encoded surrogates", b"\xed\xa0\xbd\xed\xb8\x80"),
        ("an overlong slash", b"\xc0\xaf"), ("an overlong NUL", b"\xc0\x80"), ("beyond Unicode", b"\xf4\x90\x80\x80"),
        ("0xFF", b"\xff"), ("a lone continuation", b"\x80"), ("a cut sequence", b"\xe2\x82"), ("Latin-1", b"\xe9"),
        ("a raw NUL", b"\0"), ("a raw line feed", b"\n"), ("a raw tab", b"\t"), ("a raw escape", b"\x1b[31m"),
    ]:  # fmt: skip
        data = raw.replace(b'"event": "created"', b'"event": "created",\n      "note": "x' + octets + b'"', 1)
        other(f"octets: {name}", "a string that is not UTF-8, or holds a raw control character", data)
    for name, encoding in [
        ("UTF-8 with a mark", "utf-8-sig"), ("UTF-16 with a mark", "utf-16"), ("UTF-16, little end first", "utf-16-le"),
        ("UTF-16, big end first", "utf-16-be"), ("UTF-32", "utf-32"), ("UTF-7", "utf-7"),
    ]:  # fmt: skip
        # UTF-7 and UTF-8 spell plain letters alike, but not the plus and a few others.
        data = good.encode(encoding)
        if data != raw:
            other(f"encoding: {name}", "JSON is exchanged in UTF-8 without a mark", data, source="RFC 8259 section 8.1")
    for name, data, code in [
        ("nothing", b"", MALFORMED), ("a blank", b" ", MALFORMED), ("a NUL", b"\0", MALFORMED), ("null", b"null\n", MALFORMED),
        ("a string", b'"record"\n', MALFORMED), ("a number", b"1\n", MALFORMED), ("an empty object", b"{}\n", MALFORMED),
        ("an empty list", b"[]\n", MALFORMED), ("a list", b"[" + raw + b"]", MALFORMED), ("half", raw[: len(raw) // 2], MALFORMED),
        ("without its last brace", raw.rstrip()[:-1], MALFORMED), ("a brace too many", raw + b"}", MALFORMED),
        ("two records", raw + raw, MALFORMED), ("a letter behind", raw + b"x", MALFORMED), ("a NUL behind", raw + b"\0", MALFORMED),
        ("a NUL before", b"\0" + raw, MALFORMED), ("a comma behind", raw.rstrip() + b",", MALFORMED),
        ("a comment before", b"// note\n" + raw, MALFORMED), ("a comment inside", raw.replace(b"{", b"{ /* */", 1), MALFORMED),
        ("a comment of a shell", b"# note\n" + raw, MALFORMED), ("single quotes", raw.replace(b'"', b"'"), MALFORMED),
        ("names without quotes", raw.replace(b'"format"', b"format", 1), MALFORMED),
        ("a comma too many", raw.replace(b'"format": 1,', b'"format": 1,,', 1), MALFORMED),
        ("a comma at the end", raw.rstrip()[:-2] + b",\n}\n", MALFORMED), ("a colon missing", raw.replace(b'"format": 1', b'"format" 1', 1), MALFORMED),
        ("a no-break space", raw.replace(b": ", b":\xc2\xa0", 1), MALFORMED), ("a form feed", raw.replace(b": ", b":\x0c", 1), MALFORMED),
        ("HTML behind", raw + b"<!-- served -->", MALFORMED), ("a merge conflict", b"<<<<<<< HEAD\n" + raw, MALFORMED),
        ("gzip", bytes.fromhex("1f8b0800000000000003") + raw[:20], MALFORMED), ("CBOR", bytes.fromhex("a166666f726d617401"), MALFORMED),
        ("YAML", b"format: 1\nset: id-token\n", MALFORMED), ("JSON Lines", json.dumps(base).encode() + b"\n{}\n", MALFORMED),
        ("a record separator", b"\x1e" + raw, MALFORMED),
        ("no final line feed", raw[:-1], SPELLING), ("two final line feeds", raw + b"\n", SPELLING), ("a blank before", b" " + raw, SPELLING),
        ("CRLF", raw.replace(b"\n", b"\r\n"), SPELLING), ("CR", raw.replace(b"\n", b"\r"), SPELLING), ("tabs", raw.replace(b"  ", b"\t"), SPELLING),
        ("one line", json.dumps(base).encode(), SPELLING), ("no blanks", json.dumps(base, separators=(",", ":")).encode(), SPELLING),
        ("four spaces", json.dumps(base, indent=4).encode() + b"\n", SPELLING),
        ("sorted members", json.dumps(base, indent=2, sort_keys=True).encode() + b"\n", SPELLING),
        ("blanks at line ends", raw.replace(b"\n", b" \n"), SPELLING),
        ("a trailing blank", raw + b" ", SPELLING),
    ]:  # fmt: skip
        other(f"document: {name}", "the bytes around the record", data, code)
    return vectors
