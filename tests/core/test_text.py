"""Durations, instants, suggestions for names, and quoted foreign text."""

from __future__ import annotations

import base64
import binascii
from datetime import UTC, datetime, timedelta, timezone

import pytest
from hypothesis import given
from hypothesis import strategies as st

from keyvault.core.text import (
    DURATION_MAX,
    elided,
    format_duration,
    format_instant,
    nearest,
    parse_duration,
    printable,
    quoted,
    relative,
    when,
)

NOW = datetime(2026, 12, 1, 9, tzinfo=UTC)


@pytest.mark.parametrize(
    ("text", "seconds"),
    [
        ("0s", 0),
        ("30s", 30),
        ("10m", 600),
        ("24h", 86_400),
        ("90d", 7_776_000),
        ("2w", 1_209_600),
        ("1d12h", 129_600),
        ("1w2d3h4m5s", 788_645),
        ("36525d", 36_525 * 86_400),
    ],
)
def test_valid_durations(text: str, seconds: int) -> None:
    """A duration is a number and a unit, or several of these from large to small."""
    assert timedelta(seconds=seconds) == parse_duration(text)


@pytest.mark.parametrize(
    "text",
    [
        "",
        " ",
        "24",
        "h",
        "-1h",
        "+1h",
        "1.5h",
        "1h ",
        " 1h",
        "1h 2m",
        "12h1d",
        "1h1h",
        "1y",
        "1H",
        "1000000h",
        "\u0661h",
        "1h\n",
    ],
)
def test_invalid_durations(text: str) -> None:
    """Signs, fractions, blanks, other orders and other digits are refused, and the message has an example."""
    with pytest.raises(ValueError, match="is not a duration such as 10m, 24h, 90d or 1d12h"):
        parse_duration(text)


@pytest.mark.parametrize("text", ["36525d1s", "36526d", "999999w", "999999d"])
def test_durations_longer_than_a_hundred_years(text: str) -> None:
    """One second more than a hundred years is refused: sums of instants stay below year 9999."""
    with pytest.raises(ValueError, match=f"'{text}' is longer than a hundred years"):
        parse_duration(text)


@given(st.integers(0, int(DURATION_MAX.total_seconds())))
def test_a_formatted_duration_parses(seconds: int) -> None:
    """A user can paste a formatted duration into keyvault.toml."""
    duration = timedelta(seconds=seconds)
    assert duration == parse_duration(format_duration(duration))


@pytest.mark.parametrize(
    ("seconds", "expected"),
    [
        (0, "0s"),
        (1, "1s"),
        (60, "1m"),
        (3_661, "1h1m1s"),
        (129_600, "36h"),
        (172_799, "47h59m59s"),
        (172_800, "2d"),
        (216_000, "2d12h"),
        (1_209_600, "14d"),
    ],
)
def test_formatted_durations(seconds: int, expected: str) -> None:
    """Units that are zero are left out, and weeks become days."""
    assert expected == format_duration(timedelta(seconds=seconds))


@pytest.mark.parametrize(
    ("instant", "expected"),
    [
        (NOW, "2026-12-01 09:00Z"),
        (NOW.replace(second=1), "2026-12-01 09:00:01Z"),
        (NOW.astimezone(timezone(timedelta(hours=14))), "2026-12-01 09:00Z"),
    ],
)
def test_formatted_instants(instant: datetime, expected: str) -> None:
    """Instants are in UTC, and have seconds only if these are not zero."""
    assert expected == format_instant(instant)


@pytest.mark.parametrize(
    ("seconds", "expected"),
    [
        (0, "now"),
        (1, "in a moment"),
        (-1, "a moment ago"),
        (59, "in a moment"),
        (60, "in 1 min"),
        (119, "in 1 min"),
        (120, "in 2 min"),
        (3_599, "in 59 min"),
        (3_600, "in 1 hour"),
        (-7_200, "2 hours ago"),
        (86_399, "in 23 hours"),
        (86_400, "in 1 day"),
        (-86_400, "1 day ago"),
        (691_200, "in 8 days"),
    ],
)
def test_relative_instants(seconds: int, expected: str) -> None:
    """The distance is in the largest unit that fits, rounded towards now."""
    assert expected == relative(NOW + timedelta(seconds=seconds), NOW)


def test_an_instant_with_its_distance() -> None:
    """The text has both the instant and the distance."""
    assert when(NOW + timedelta(days=8), NOW) == "2026-12-09 09:00Z, in 8 days"


@pytest.mark.parametrize(
    ("name", "expected"),
    [("id-tokne", "did you mean 'id-token'?"), ("xyzzy", None), ("", None), ("a" * 10_000, None)],
)
def test_the_most_similar_name(name: str, expected: str | None) -> None:
    """The suggestion for a misspelt name is the most similar name; a very long name is compared in no time."""
    assert expected == nearest(name, ["access-token", "id-token"])


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("plain text, ünïcode and 鍵", "plain text, ünïcode and 鍵"),
        ("\x1b[31mred\x1b[0m", r"\x1b[31mred\x1b[0m"),
        ("two\nlines\r\ttab", r"two\nlines\r\ttab"),
        ("\u202eright to left", r"\u202eright to left"),
        ("\u2066isolate\u2069", r"\u2066isolate\u2069"),
        ("\u200f\u200e\u061c", r"\u200f\u200e\u061c"),
        ("\x00\x7f\x9b", r"\x00\x7f\x9b"),
        ("\u2028line separator", r"\u2028line separator"),
        ("\ud800", r"\ud800"),
        ("\U000e0041tag", r"\U000e0041tag"),
    ],
)
def test_foreign_text_cannot_repaint_the_screen(text: str, expected: str) -> None:
    """Escape sequences, line breaks and changes of direction become escapes."""
    assert expected == printable(text)


@given(st.text(st.characters(exclude_categories=[])))
def test_printable_text_is_one_printable_line(text: str) -> None:
    """Any text becomes one line that a terminal does not interpret."""
    shown = printable(text)
    assert shown.isprintable()
    assert printable(shown) == shown


# --- foreign text ---------------------------------------------------------------------------------------

KID = "6XI9s1wvhaX6Jdmw29WUbmKUZZguL_Z6gazIo9f23NI"
PEM = "-----BEGIN PRIVATE KEY-----\nMIGHAgEAMBMGByqGSM49AgEGCCqGSM49AwEHBG0w\n-----END PRIVATE KEY-----\n"


@pytest.mark.parametrize(
    "text",
    [
        "", "ops-2026", "ada-2026-11-23-42ede2", "token_liftime", "serviceAccountToken", "RSA-OAEP-256",
        "PBES2-HS512+A256KW", "ECDH-ES+A256KW", "550e8400-e29b-41d4-a716-446655440000", "/home/ada/my-keys/keys.enc",
        "https://vault.example.net/keys/sign/0f1e2d", "urn:ietf:params:oauth:grant-type:jwt-bearer", "2026-11-23T17:00:00Z",
        "keys.enc/id-token/kid-9cdf6a50100a862e14286c7a334296da.json", "x" * 500, "-1", "a b", "grüße",
    ],
)  # fmt: skip
def test_words_are_quoted_whole(text: str) -> None:
    """Names, labels, paths, URLs and algorithms are not key material."""
    assert elided(text) == text
    assert quoted(text, 600) == repr(text)


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        (KID, "6XI9s1wv…"),
        (f"kid {KID} of {KID}", "kid 6XI9s1wv… of 6XI9s1wv…"),
        (f"keys.enc/id-token/{KID}.json", "keys.enc/id-token/6XI9s1wv….json"),
        (f'{{"kty":"EC","d":"{KID}"}}', '{"kty":"EC","d":"6XI9s1wv…"}'),
        (PEM, "-----BEGIN PRIVATE KEY-----…"),
        (f"it says {PEM}", "it says -----BEGIN PRIVATE KEY-----…"),
        ("0f" * 16, "0f0f0f0f…"),
        ("0F:" * 16, "0F:0F:0F…0F"[:9]),
        ("9" * 77, "99999999…"),
        ("\\u0041" * 9, "\\u0041\\u…"),
        ("https://ada:hunter2@keys.example.com/x", "https://…@keys.example.com/x"),
        ("\udc81\udc87\x02\x01\udcff\udc80", "binary data"),
        ("\x1b[31mred", "\\x1b[31mred"),
    ],
)
def test_text_that_looks_like_a_key_is_cut(text: str, shown: str) -> None:
    """A message shows at most eight characters of it, in any surroundings."""
    assert elided(text) == shown


@given(st.binary(min_size=32, max_size=64), st.sampled_from(["b64", "b64url", "hex"]))
def test_random_octets_are_cut(octets: bytes, form: str) -> None:
    """A message shows almost nothing of random octets as long as a key, in any usual form."""
    if len(set(octets)) < 24:  # keys do not have this form
        return
    text = {"b64": base64.b64encode, "b64url": base64.urlsafe_b64encode, "hex": binascii.hexlify}[form](octets).decode()
    assert len(elided(text).rstrip("=")) <= 12


@pytest.mark.parametrize(
    ("value", "shown"),
    [
        (7, "7"), (None, "None"), (["a"], "['a']"), ({"d": KID}, "{'d': '6XI9s1wv…'}"), (b"\x00", "b'\\x00'"),
        ("a'b", '"a\'b"'), ("x" * 100, "'" + "x" * 77 + "…'"), (list(range(100)), str(list(range(100)))[:79] + "…"),
    ],
)  # fmt: skip
def test_quoting(value: object, shown: str) -> None:
    """Any value becomes one line of at most 80 characters."""
    assert quoted(value) == shown
