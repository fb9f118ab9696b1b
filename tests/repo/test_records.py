"""Records have one spelling: whatever else says the same is refused, in one line."""

from __future__ import annotations

import json
import re
from collections.abc import Callable
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


def refusal(data: bytes, *, path: str = KEY.path) -> str:
    """Return the one line that says why *data* is no record."""
    with pytest.raises(RecordError) as caught:
        decode_key(data, path=path)
    assert caught.value.message.isprintable()
    assert caught.value.message.startswith(f"{path}: ")
    assert len(caught.value.message) < 500
    return caught.value.message.removeprefix(f"{path}: ")


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
def test_what_is_written_is_read(events: list[Event], spec: str) -> None:
    """Every kind of key in every state comes back as it was."""
    key = make_key(*events, spec=spec)
    assert key == decode_key(encode_key(key), path=key.path)


def test_a_record_as_it_is_stored() -> None:
    """Fixed order, two spaces, line feeds, one final newline, nothing for what is absent."""
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
    with pytest.raises(RecordError) as caught:
        decode_key(SPELLINGS[name], path=KEY.path)
    assert caught.value.message == f"{KEY.path}: record is not in its canonical form"


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
def test_what_is_no_record(name: str) -> None:
    """Whatever the bytes are: one printable line of bearable length, and no other exception."""
    assert refusal(MALFORMED[name]).startswith("not a key record: ")


@pytest.mark.parametrize(
    ("size", "message"), [(RECORD_MAX, "not a key record"), (RECORD_MAX + 1, "record of 262145 bytes is too large")]
)
def test_the_size_of_a_record(size: int, message: str) -> None:
    """A quarter of a mebibyte; one byte more is not even parsed."""
    assert refusal(b" " * size).startswith(message)


@given(st.integers(0, len(DATA) - 1), st.integers(0, 255))
def test_a_byte_that_changed(index: int, byte: int) -> None:
    """Each byte replaced by any other: refused, or another canonical record; never a crash."""
    data = DATA[:index] + bytes([byte]) + DATA[index + 1 :]
    try:
        key = decode_key(data, path=KEY.path)
    except RecordError as error:
        assert "\n" not in error.message  # noqa: PT017 - both outcomes are legal, one has a message
        return
    assert data == encode_key(key)


@given(st.binary(max_size=200))
def test_any_bytes_at_all(data: bytes) -> None:
    """Nothing but a RecordError comes out of nonsense."""
    with pytest.raises(RecordError):
        decode_key(data, path=KEY.path)
    with pytest.raises(RecordError):
        decode_recipients(data, path="keys.enc/recipients.json")


# --- what a record may not say --------------------------------------------------------------------------


def saying(key: Key = KEY, **members: Any) -> bytes:
    return encode_key(msgspec.structs.replace(key, **members))


def showing(key: Key = KEY, **members: Any) -> bytes:
    return saying(key, public=msgspec.structs.replace(key.public, **members))


ENDED = msgspec.structs.replace(KEY, events=(created(), revoked(T0)))
ENTRY = SEALED.recipients[0]


@pytest.mark.parametrize(
    ("data", "message"),
    [
        (saying(format=2), "record has format 2, this version reads format 1"),
        (saying(format=-1), "record has format -1, this version reads format 1"),
        (saying(set="../x"), "invalid set name '../x'"),
        (saying(set="identities"), "invalid set name 'identities'"),
        (saying(set="other"), f"record belongs at keys.enc/other/{KEY.kid[:8]}….json"),
        (showing(kid="another"), "record belongs at keys.enc/id-token/another.json"),
        (showing(kid=""), "invalid kid ''"),
        (showing(kid="../../x"), "record belongs at keys.enc/id-token/kid-9cdf6a50100a862e14286c7a334296da.json"),
        (showing(kid="a\nb"), "invalid kid 'a\\nb'"),
        (showing(kid="x" * 257), "kid 'xxxx"),
        (showing(use="enc"), "the public key is not in the published profile"),
        (showing(n="AA"), "the public key is not in the published profile"),
        (showing(alg="none"), "unknown algorithm 'none'"),
        (showing(alg="RS256"), "a key of type EC on 'P-256' does not fit RS256"),
        (showing(crv="P-384"), "a key of type EC on 'P-384' does not fit ES256"),
        (showing(kty="OKP"), "a key of type OKP on 'P-256' does not fit ES256"),
        (showing(kty="x"), "unknown key type 'x'"),
        (showing(x=msgspec.UNSET), "EC key lacks the member 'x'"),
        (saying(events=()), "a key must have at least the event created"),
        (saying(events=(activated(),)), "event activated cannot follow the state before creation"),
        (saying(events=(created(), created())), "event created cannot follow the state next"),
        (saying(events=(created(T0), published(T0 - HOUR))), "event published at 2026-11-23 16:00Z is older than"),
        (saying(events=(created(note=" "),)), "note must be 1 to 500 characters"),
        (saying(events=(created(url=URL),)), "event created has url instead of nothing"),
        (
            saying(events=(created(T0.replace(microsecond=5)),)),
            "instant 2026-11-23T17:00:00.000005+00:00 is not in UTC",
        ),
        (saying(events=(created(T0.replace(tzinfo=None)),)), "instant 2026-11-23T17:00:00 is not in UTC"),
        (
            change("2026-11-23T17:00:00Z", "2026-11-23T18:00:00+01:00"),
            "instant 2026-11-23T18:00:00+01:00 is not in UTC",
        ),
        (encode_key(ENDED), "key is revoked and still has a sealed private half"),
        (
            saying(private=msgspec.structs.replace(SEALED, recipients=[])),
            "envelope has 0 recipients; it must have at least 1",
        ),
        (
            saying(private=msgspec.structs.replace(SEALED, recipients=[ENTRY] * 33)),
            "envelope has 33 recipients; the limit is 32",
        ),
    ],
)
def test_what_a_record_may_not_say(data: bytes, message: str) -> None:
    """Canonical bytes that contradict themselves, their place or the rules are refused by name."""
    assert refusal(data).startswith(message)


@pytest.mark.parametrize(
    "path", ["keys.enc/id-token/x.json", "keys.enc/other/{}.json", "keys.enc/id-token/{}", "{}.json", ""]
)
def test_a_record_in_the_wrong_place(path: str) -> None:
    """A record that was moved or copied is refused: the message names its place."""
    wrong = path.format(KEY.kid)
    assert refusal(DATA, path=wrong) == f"record belongs at keys.enc/id-token/{KEY.kid[:8]}….json"


def test_a_symmetric_record_has_no_public_members() -> None:
    """Nothing about its secret stands in the clear."""
    key = make_key(created(), spec="HS256")
    assert key == decode_key(encode_key(key), path=key.path)
    for members in ({"x": "AA"}, {"n": "AA"}, {"crv": "P-256"}):
        assert refusal(showing(key, **members), path=key.path) == "a symmetric key has no public members"


@pytest.mark.parametrize(("alg", "use"), [("RS256", "sig"), ("none", "sig"), ("HS256", "enc"), ("A256KW", "sig")])
def test_a_symmetric_record_has_an_algorithm_for_secrets(alg: str, use: str) -> None:
    """A key for everything is a key for confusion: alg is one that takes a secret, and use follows from it."""
    key = make_key(created(), spec="HS256")
    assert refusal(showing(key, alg=alg, use=use), path=key.path)


@pytest.mark.parametrize("data", [DATA, DATA + b"\n", saying(format=2), b" " * (RECORD_MAX + 1)])
def test_a_path_cannot_repaint_a_screen(data: bytes) -> None:
    """Names in a hostile repository are shown, not obeyed."""
    with pytest.raises(RecordError) as caught:
        decode_key(data, path="keys.enc/x\n\x1b[31m/y.json")
    assert caught.value.message.isprintable()


def test_an_awkward_kid_has_its_safe_path() -> None:
    """A kid that is no file name lies under the hash of it."""
    key = make_key(created(imported=True), kid="..")
    assert re.fullmatch(r"keys\.enc/id-token/kid-[0-9a-f]{32}\.json", key.path)
    assert key == decode_key(encode_key(key), path=key.path)


def test_a_changed_public_key_is_seen_without_an_identity() -> None:
    """The kid of a key that was made here is its thumbprint: somebody else's public key under it is refused."""
    key, other = make_key(created()), make_key(created())
    assert key == decode_key(encode_key(key), path=key.path)
    swapped = msgspec.structs.replace(key, public=msgspec.structs.replace(other.public, kid=key.kid))
    wrong = "the public key is not the one that its kid is a hash of"
    assert refusal(encode_key(swapped), path=key.path) == wrong


def test_many_recipients_are_read() -> None:
    """32 is the most that a key is sealed to."""
    entries: list[WrappedKey] = [ENTRY] * 32
    data = saying(private=msgspec.structs.replace(SEALED, recipients=entries))
    assert decode_key(data, path=KEY.path).sealed


# --- recipients -----------------------------------------------------------------------------------------

PATH = "keys.enc/recipients.json"


def people(count: int) -> dict[str, Recipient]:
    kids = [f"person-{index:02}" for index in range(count)]
    return {kid: Recipient("EC", kid, "enc", "ECDH-ES+A256KW", crv="P-256", x="AA", y="AA") for kid in kids}


@pytest.mark.parametrize("count", [1, 2, 32])
def test_recipients_that_are_written_are_read(count: int) -> None:
    """Sorted by kid, whatever the order was."""
    expected = people(count)
    data = encode_recipients(dict(reversed(expected.items())))
    assert expected == decode_recipients(data, path=PATH)
    assert list(expected) == list(decode_recipients(data, path=PATH))


LIST = encode_recipients(people(2))
FIRST, SECOND = json.loads(LIST)["keys"]


def listing(*entries: Any, **more: Any) -> bytes:
    return (json.dumps({"keys": list(entries), **more}, indent=2) + "\n").encode()


ONCE = "must name 1 to 32 recipients, each once"
CANONICAL = "the list of recipients is not in its canonical form"


@pytest.mark.parametrize(
    ("data", "message"),
    [
        (listing(), ONCE),
        (encode_recipients(people(33)), ONCE),
        (listing(FIRST, FIRST), ONCE),
        (listing(SECOND, FIRST), CANONICAL),
        (LIST + b"\n", CANONICAL),
        (LIST.replace(b"\n", b"\r\n"), CANONICAL),
        (json.dumps(json.loads(LIST)).encode(), CANONICAL),
        (LIST.replace(b'"use": "enc"', b'"use": "sig",\n      "use": "enc"', 1), CANONICAL),
        (b"", "not a list of recipients: "),
        (b"[]", "not a list of recipients: "),
        (b"{}", "not a list of recipients: "),
        (b"\xef\xbb\xbf" + LIST, "not a list of recipients: "),
        (LIST.decode().encode("utf-16"), "not a list of recipients: "),
        (b"[" * 100_000, "not a list of recipients: "),
        (LIST + b"x", "not a list of recipients: "),
        (listing({**FIRST, "d": "AA"}), "not a list of recipients: "),
        (listing({**FIRST, "kid": 7}), "not a list of recipients: "),
        (listing(FIRST, format=1), "not a list of recipients: "),
        (LIST.replace(b"person", b"\\ud800"), "not a list of recipients: "),
    ],
)
def test_what_is_no_list_of_recipients(data: bytes, message: str) -> None:
    """Private members, duplicates, other orders and other spellings: refused in one line."""
    with pytest.raises(RecordError, match="^" + re.escape(f"{PATH}: {message}")) as caught:
        decode_recipients(data, path=PATH)
    assert caught.value.message.isprintable()


def test_errors_do_not_depend_on_who_asks() -> None:
    """The same bytes give the same words each time: decoders keep nothing."""
    ask: Callable[[], str] = lambda: refusal(MALFORMED["1e999"])  # noqa: E731 - shorter than a function
    assert ask() == ask()
