"""Records have one spelling: any other spelling of the same content is refused, in one line."""

from __future__ import annotations

import json
import re
from datetime import timedelta
from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from keyvault.core.events import Event
from keyvault.core.keys import Key, Recipient, WrappedKey
from keyvault.errors import RecordError
from keyvault.repo.records import RECORD_MAX, decode_key, decode_recipients, encode_key, encode_recipients
from tests.core.build import (
    DAY,
    HOUR,
    SEALED,
    T0,
    URL,
    activated,
    created,
    deactivated,
    make_key,
    published,
    reactivated,
    revoked,
    withdrawn,
)
from tests.errors import fails

KEY = make_key(
    created(imported=True),
    published(),
    activated(),
    Event(at=T0, event="lifetime", token_lifetime=7_200, note="longer, ünïcode ☂"),
    deactivated(T0 + HOUR, T0 + DAY),
    reactivated(T0 + 2 * HOUR),
)
DATA = encode_key(KEY)
TEXT = DATA.decode()


def refusal(data: bytes, *, path: str = KEY.path) -> RecordError:
    """Return the error about *data*, which is not a record: one printable line that begins with the path."""
    with pytest.raises(RecordError) as caught:
        decode_key(data, path=path)
    assert caught.value.message.isprintable()
    assert caught.value.message.startswith(f"{path}: ")
    assert len(caught.value.message) < 500
    return caught.value


def change(old: str, new: str) -> bytes:
    """Return the record with the first *old* replaced."""
    assert old in TEXT
    return TEXT.replace(old, new, 1).encode()


# --- round trips ----------------------------------------------------------------------------------------


@pytest.mark.parametrize("spec", ["RS256", "ES256", "EdDSA", "Ed448", "ECDH-ES+A256KW", "HS256", "A256KW"])
@pytest.mark.parametrize(
    "events",
    [
        [created()],
        [created(), published(), activated(forced="because")],
        [created(), activated(), deactivated(T0, T0 + timedelta(days=30_000))],
        [created(), withdrawn(T0)],
        [created(), activated(), revoked(T0)],
    ],
)
def test_a_record_survives_a_round_trip(events: list[Event], spec: str) -> None:
    """Every kind of key in every state decodes to the key that was encoded."""
    key = make_key(*events, spec=spec)
    assert key == decode_key(encode_key(key), path=key.path)


def test_the_bytes_of_a_record() -> None:
    """Fixed order, two spaces, line feeds, one final newline, and no absent members."""
    key = Key(1, "id-token", KEY.public, (created(), published()))
    public = {name: getattr(KEY.public, name) for name in ("kty", "kid", "use", "alg", "crv", "x", "y")}
    expected = {
        "format": 1,
        "set": "id-token",
        "public": public,
        "events": [
            {"at": "2026-11-23T17:00:00Z", "event": "created"},
            {"at": "2026-11-23T17:00:00Z", "event": "published", "url": URL},
        ],
    }
    assert json.dumps(expected, indent=2) + "\n" == encode_key(key).decode()


# --- other spellings of the same ------------------------------------------------------------------------

SPELLINGS: dict[str, bytes] = {
    "no final newline": DATA[:-1],
    "two final newlines": DATA + b"\n",
    "a blank in front": b" " + DATA,
    "CRLF": DATA.replace(b"\n", b"\r\n"),
    "tabs": DATA.replace(b"  ", b"\t"),
    "one line": json.dumps(json.loads(DATA)).encode(),
    "no blanks": msgspec.json.encode(KEY),
    "sorted members": (json.dumps(json.loads(DATA), indent=2, sort_keys=True, ensure_ascii=False) + "\n").encode(),
    "escaped letters": (json.dumps(json.loads(DATA), indent=2) + "\n").encode(),
    "an escaped member name": change('"format"', '"form\\u0061t"'),
    "an escaped slash": change("https://", "https:\\/\\/"),
    "a member twice": change('"format": 1,', '"format": 1,\n  "format": 1,'),
    "a member twice, the first another": change('"set": "id-token"', '"set": "other",\n  "set": "id-token"'),
    "an offset for Z": change("2026-11-23T17:00:00Z", "2026-11-23T17:00:00+00:00"),
    "a negative offset for Z": change("2026-11-23T17:00:00Z", "2026-11-23T17:00:00-00:00"),
    "a small z": change("2026-11-23T17:00:00Z", "2026-11-23T17:00:00z"),
    "a small t": change("2026-11-23T17:00:00Z", "2026-11-23t17:00:00Z"),
    "a blank for T": change("2026-11-23T17:00:00Z", "2026-11-23 17:00:00Z"),
    "zero fractions": change("2026-11-23T17:00:00Z", "2026-11-23T17:00:00.000Z"),
    "a default that is said": change('"event": "published"', '"event": "published",\n      "imported": false'),
    "a null that is said": change('"event": "published"', '"event": "published",\n      "note": null'),
}


@pytest.mark.parametrize("name", SPELLINGS)
def test_another_spelling_of_a_record(name: str) -> None:
    """The same content in other bytes is refused."""
    assert refusal(SPELLINGS[name]).code == "record-not-canonical"


MALFORMED: dict[str, bytes] = {
    "empty": b"",
    "a NUL": b"\0" + DATA,
    "UTF-16": TEXT.encode("utf-16"),
    "UTF-16 without a mark": TEXT.encode("utf-16-le"),
    "Latin-1": TEXT.encode("latin-1", errors="replace"),
    "truncated": DATA[: len(DATA) // 2],
    "something behind it": DATA + b"x",
    "a second record behind it": DATA + DATA,
    "a comma too many": change('"format": 1,', '"format": 1,,'),
    "a comment": b"// hello\n" + DATA,
    "a list": b"[" + DATA + b"]",
    "depth": b"[" * 100_000,
    "depth in a member": change('"format": 1', '"format": ' + "[" * 100_000),
    "NaN": change('"format": 1', '"format": NaN'),
    "Infinity": change('"format": 1', '"format": Infinity'),
    "1e999": change('"format": 1', '"format": 1e999'),
    "5,000 digits": change('"format": 1', '"format": 1' + "0" * 5_000),
    "a number as text": change('"format": 1', '"format": "1"'),
    "a leading zero": change('"format": 1', '"format": 01'),
    "truth": change('"format": 1', '"format": true'),
    "a lone surrogate": change('"id-token"', '"\\ud800"'),
    "a lone low surrogate": change('"id-token"', '"\\udc00x"'),
    "encoded surrogates": DATA.replace(b"longer", b"\xed\xa0\x80"),
    "a raw control character": change("longer", "lon\nger"),
    "an unknown member": change('"format": 1,', '"format": 1,\n  "x": 1,'),
    "an unknown member of the key": change('"use"', '"x5c": [],\n    "use"'),
    "a private member in public": change('"use"', '"d": "AA",\n    "use"'),
    "an unknown member of an event": change('"event": "created"', '"event": "created",\n      "x": 1'),
    "a missing member": change('"format": 1,\n', "\n"),
    "an unknown event": change('"event": "created"', '"event": "born"'),
    "an instant without a zone at all": change("2026-11-23T17:00:00Z", "2026-11-23"),
    "an instant that is a number": change('"2026-11-23T17:00:00Z"', "1795453200"),
    "the 61st second": change("2026-11-23T17:00:00Z", "2026-11-23T17:00:60Z"),
    "the 30th of February": change("2026-11-23T17:00:00Z", "2026-02-30T17:00:00Z"),
    "the year 10000": change("2026-11-23T17:00:00Z", "10000-11-23T17:00:00Z"),
    "an envelope with zip": change('"protected"', '"zip": "DEF",\n    "protected"'),
    "an envelope with aad": change('"protected"', '"aad": "AA",\n    "protected"'),
    "an envelope with unprotected": change('"protected"', '"unprotected": {},\n    "protected"'),
    "a recipient with a salt": change('"kid": "ops"', '"kid": "ops",\n          "p2s": "AA"'),
}


@pytest.mark.parametrize("name", MALFORMED)
def test_malformed_records(name: str) -> None:
    """Any bytes cause one printable line of limited length, and no other exception."""
    assert refusal(MALFORMED[name]).code == "record-malformed"


@pytest.mark.parametrize(("size", "code"), [(RECORD_MAX, "record-malformed"), (RECORD_MAX + 1, "record-too-large")])
def test_the_size_of_a_record(size: int, code: str) -> None:
    """The limit is a quarter of a mebibyte; a larger file is not even parsed."""
    assert refusal(b" " * size).code == code


@given(st.integers(0, len(DATA) - 1), st.integers(0, 255))
def test_a_changed_byte(index: int, byte: int) -> None:
    """A record with a changed byte is refused, or is another canonical record; it never causes a crash."""
    data = DATA[:index] + bytes([byte]) + DATA[index + 1 :]
    try:
        key = decode_key(data, path=KEY.path)
    except RecordError as error:
        assert "\n" not in error.message  # noqa: PT017 - both outcomes are legal, one has a message
        return
    assert data == encode_key(key)


@given(st.binary(max_size=200))
def test_random_bytes(data: bytes) -> None:
    """Random bytes cause a RecordError and no other exception."""
    with pytest.raises(RecordError):
        decode_key(data, path=KEY.path)
    with pytest.raises(RecordError):
        decode_recipients(data, path="keys.enc/recipients.json")


# --- illegal records ------------------------------------------------------------------------------------


def with_members(key: Key = KEY, **members: Any) -> bytes:
    return encode_key(msgspec.structs.replace(key, **members))


def with_public(key: Key = KEY, **members: Any) -> bytes:
    return with_members(key, public=msgspec.structs.replace(key.public, **members))


ENDED = msgspec.structs.replace(KEY, events=(created(), revoked(T0)))
ENTRY = SEALED.recipients[0]


@pytest.mark.parametrize(
    ("data", "code", "value"),
    [
        (with_members(format=2), "record-format", "format 2"),
        (with_members(format=-1), "record-format", "format -1"),
        (with_members(set="other"), "record-misplaced", f"keys.enc/other/{KEY.kid[:8]}….json"),
        (with_public(kid="another"), "record-misplaced", "keys.enc/id-token/another.json"),
        (
            with_public(kid="../../x"),
            "record-misplaced",
            "keys.enc/id-token/kid-9cdf6a50100a862e14286c7a334296da.json",
        ),
        (with_public(use="enc"), "public-profile", ""),
        (with_public(n="AA"), "public-profile", ""),
        (encode_key(ENDED), "private-kept", "revoked"),
        (
            with_members(private=msgspec.structs.replace(SEALED, recipients=[])),
            "envelope-recipient-count",
            "0 recipients",
        ),
        (
            with_members(private=msgspec.structs.replace(SEALED, recipients=[ENTRY] * 33)),
            "envelope-recipient-count",
            "33 recipients",
        ),
    ],
)
def test_illegal_records(data: bytes, code: str, value: str) -> None:
    """Canonical bytes that contradict themselves or their place are refused."""
    error = refusal(data)
    assert error.code == code
    assert value in error.message


@pytest.mark.parametrize(
    ("data", "code", "value"),
    [
        (with_members(set="../x"), "set-name-invalid", "'../x'"),
        (with_members(set="identities"), "set-name-invalid", "'identities'"),
        (with_public(kid=""), "kid-invalid", "''"),
        (with_public(kid="a\nb"), "kid-invalid", "'a\\nb'"),
        (with_public(kid="x" * 257), "kid-invalid", "xxxx"),
        (with_public(alg="none"), "alg-unknown", "'none'"),
        (with_public(alg="RS256"), "alg-mismatch", "RS256"),
        (with_public(crv="P-384"), "alg-mismatch", "'P-384'"),
        (with_public(kty="OKP"), "alg-mismatch", "OKP"),
        (with_public(kty="x"), "kty-unknown", "'x'"),
        (with_public(x=msgspec.UNSET), "member-missing", "'x'"),
        (with_members(events=()), "events-missing", "created"),
        (with_members(events=(activated(),)), "event-order", "activated"),
        (with_members(events=(created(), created())), "event-order", "created"),
        (with_members(events=(created(T0), published(T0 - HOUR))), "instant-decreases", "2026-11-23 16:00Z"),
        (with_members(events=(created(note=" "),)), "text-invalid", "note"),
        (with_members(events=(created(url=URL),)), "event-malformed", "url"),
        (
            with_members(events=(created(T0.replace(microsecond=5)),)),
            "instant-invalid",
            "2026-11-23T17:00:00.000005+00:00",
        ),
        (with_members(events=(created(T0.replace(tzinfo=None)),)), "instant-invalid", "2026-11-23T17:00:00"),
        (
            change("2026-11-23T17:00:00Z", "2026-11-23T18:00:00+01:00"),
            "instant-invalid",
            "2026-11-23T18:00:00+01:00",
        ),
    ],
)
def test_records_that_break_the_rules(data: bytes, code: str, value: str) -> None:
    """Canonical bytes that break the rules of names, keys or events are refused; the message names the value."""
    error = refusal(data)
    assert error.code == code
    assert value in error.message


@pytest.mark.parametrize(
    "path", ["keys.enc/id-token/x.json", "keys.enc/other/{}.json", "keys.enc/id-token/{}", "{}.json", ""]
)
def test_a_record_in_the_wrong_place(path: str) -> None:
    """A record that was moved or copied is refused; the message names its right path."""
    error = refusal(DATA, path=path.format(KEY.kid))
    assert error.code == "record-misplaced"
    assert f"keys.enc/id-token/{KEY.kid[:8]}….json" in error.message


def test_a_symmetric_record_has_no_public_members() -> None:
    """A record contains nothing of a secret in the clear."""
    key = make_key(created(), spec="HS256")
    assert key == decode_key(encode_key(key), path=key.path)
    for members in ({"x": "AA"}, {"n": "AA"}, {"crv": "P-256"}):
        assert refusal(with_public(key, **members), path=key.path).code == "public-profile"


@pytest.mark.parametrize(("alg", "use"), [("RS256", "sig"), ("none", "sig"), ("HS256", "enc"), ("A256KW", "sig")])
def test_a_symmetric_record_has_an_algorithm_for_secrets(alg: str, use: str) -> None:
    """To avoid confusion between algorithms, alg must be for a secret, and use must match it."""
    key = make_key(created(), spec="HS256")
    error = refusal(with_public(key, alg=alg, use=use), path=key.path)
    assert error.code == "public-profile"
    assert repr(alg) in error.message


@pytest.mark.parametrize("data", [DATA, DATA + b"\n", with_members(format=2), b" " * (RECORD_MAX + 1)])
def test_a_path_with_control_characters(data: bytes) -> None:
    """Control characters in names of a hostile repository do not reach the terminal."""
    with pytest.raises(RecordError) as caught:
        decode_key(data, path="keys.enc/x\n\x1b[31m/y.json")
    assert caught.value.message.isprintable()


def test_an_awkward_kid_has_its_safe_path() -> None:
    """If a kid is not a valid file name, its hash is the file name."""
    key = make_key(created(imported=True), kid="..")
    assert re.fullmatch(r"keys\.enc/id-token/kid-[0-9a-f]{32}\.json", key.path)
    assert key == decode_key(encode_key(key), path=key.path)


def test_a_changed_public_key_is_detected_without_an_identity() -> None:
    """The kid of a generated key is its thumbprint, so another public key under it is refused."""
    key, other = make_key(created()), make_key(created())
    assert key == decode_key(encode_key(key), path=key.path)
    swapped = msgspec.structs.replace(key, public=msgspec.structs.replace(other.public, kid=key.kid))
    assert refusal(encode_key(swapped), path=key.path).code == "kid-mismatch"


def test_many_recipients() -> None:
    """A key may have 32 recipients."""
    entries: list[WrappedKey] = [ENTRY] * 32
    data = with_members(private=msgspec.structs.replace(SEALED, recipients=entries))
    assert decode_key(data, path=KEY.path).sealed


# --- recipients -----------------------------------------------------------------------------------------

PATH = "keys.enc/recipients.json"


def recipient_list(count: int) -> dict[str, Recipient]:
    kids = [f"person-{index:02}" for index in range(count)]
    return {kid: Recipient("EC", kid, "enc", "ECDH-ES+A256KW", crv="P-256", x="AA", y="AA") for kid in kids}


@pytest.mark.parametrize("count", [1, 2, 32])
def test_recipients_survive_a_round_trip(count: int) -> None:
    """The list is sorted by kid."""
    expected = recipient_list(count)
    data = encode_recipients(dict(reversed(expected.items())))
    assert expected == decode_recipients(data, path=PATH)
    assert list(expected) == list(decode_recipients(data, path=PATH))


LIST = encode_recipients(recipient_list(2))
FIRST, SECOND = json.loads(LIST)["keys"]


def listing(*entries: Any, **more: Any) -> bytes:
    return (json.dumps({"keys": list(entries), **more}, indent=2) + "\n").encode()


@pytest.mark.parametrize(
    "data",
    [
        listing(),
        encode_recipients(recipient_list(33)),
        listing(FIRST, FIRST),
        b"",
        b"[]",
        b"{}",
        b"\xef\xbb\xbf" + LIST,
        LIST.decode().encode("utf-16"),
        b"[" * 100_000,
        LIST + b"x",
        listing({**FIRST, "d": "AA"}),
        listing({**FIRST, "kid": 7}),
        listing(FIRST, format=1),
        LIST.replace(b"person", b"\\ud800"),
    ],
)
def test_malformed_lists_of_recipients(data: bytes) -> None:
    """Private members, duplicates and too many recipients are refused in one line."""
    with fails("recipients-malformed", RecordError) as caught:
        decode_recipients(data, path=PATH)
    assert caught.value.message.startswith(f"{PATH}: ")
    assert caught.value.message.isprintable()


@pytest.mark.parametrize(
    "data",
    [
        listing(SECOND, FIRST),
        LIST + b"\n",
        LIST.replace(b"\n", b"\r\n"),
        json.dumps(json.loads(LIST)).encode(),
        LIST.replace(b'"use": "enc"', b'"use": "sig",\n      "use": "enc"', 1),
    ],
)
def test_other_spellings_of_a_list_of_recipients(data: bytes) -> None:
    """Another order or spelling is refused in one line."""
    with fails("recipients-not-canonical", RecordError) as caught:
        decode_recipients(data, path=PATH)
    assert caught.value.message.startswith(f"{PATH}: ")


def test_errors_are_reproducible() -> None:
    """The same bytes give the same message each time: decoders keep no state."""
    assert refusal(MALFORMED["1e999"]).message == refusal(MALFORMED["1e999"]).message
