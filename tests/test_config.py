"""keyvault.toml as bytes: what is read, and edits that leave the rest as people wrote it."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from keyvault.config import CONFIG_MAX, edit_sets, read_policy
from keyvault.errors import ConfigError

TOML = b"""\
# The keys of Example.
format = 1

[site]
url = "https://keys.example.com"   # served by Pages

[defaults]
cryptoperiod = "90d"

# Tokens that people log in with.
[sets.id-token]
alg = "RS256"   # every client knows it
bits = 2048

[sets.access-token]
alg = "ES256"
"""


def test_a_file_is_a_policy() -> None:
    """The bytes of docs/format.md are read."""
    assert list(read_policy(TOML).sets) == ["id-token", "access-token"]


@pytest.mark.parametrize(
    ("data", "message"),
    [
        (b"\xff", "keyvault.toml is not UTF-8"),
        ("format = 1".encode("utf-16"), "keyvault.toml is not UTF-8"),
        (b"format = ", "keyvault.toml is not TOML: "),
        (b"format = 1\nformat = 1", "keyvault.toml is not TOML: "),
        (b"a = " + b"[" * 100_000, "keyvault.toml is not TOML: "),
        (b"a = 1" + b"0" * 5_000, "keyvault.toml is not TOML: "),
        (b'a = "\0"', "keyvault.toml is not TOML: "),
        (b"", "keyvault.toml has format None; this version reads format 1"),
        (b"format = 1", "keyvault.toml has no [site] url"),
        (TOML.replace(b"alg", b"algo", 1), "unknown member 'algo' in [sets.id-token] of keyvault.toml"),
        (TOML.replace(b"90d", b"90 d"), "cryptoperiod in [defaults] of keyvault.toml cannot be '90 d'"),
        (TOML + b"lag = 1979-05-27", "unknown member 'lag' in [sets.access-token] of keyvault.toml"),
        (b"#" * (CONFIG_MAX + 1), "keyvault.toml of 4194305 bytes is too large: at most 4194304"),
    ],
)
def test_what_is_no_policy(data: bytes, message: str) -> None:
    """One line, whatever the bytes are."""
    with pytest.raises(ConfigError) as caught:
        read_policy(data)
    assert caught.value.message.startswith(message)
    assert "\n" not in caught.value.message
    assert len(caught.value.message) < 300


@given(st.binary(max_size=100))
def test_any_bytes_at_all(data: bytes) -> None:
    """Nothing but a ConfigError comes out of nonsense."""
    with pytest.raises(ConfigError):
        read_policy(data)


@given(st.integers(0, len(TOML) - 1), st.integers(0, 255))
def test_a_byte_that_changed(index: int, byte: int) -> None:
    """A policy, or a ConfigError."""
    try:
        read_policy(TOML[:index] + bytes([byte]) + TOML[index + 1 :])
    except ConfigError:
        return


# --- edits ----------------------------------------------------------------------------------------------


def test_an_edit_leaves_everything_else_alone() -> None:
    """Comments, order and blanks are the user's; one line changes."""
    edited = edit_sets(TOML, {"id-token": {"bits": 3072}})
    assert TOML.replace(b"bits = 2048", b"bits = 3072") == edited


@pytest.mark.parametrize(
    ("changes", "expected"),
    [
        ({}, TOML),
        ({"access-token": {"closing": True}}, TOML + b"closing = true\n"),
        ({"id-token": {"bits": None}}, TOML.replace(b"bits = 2048\n", b"")),
        ({"id-token": {"crv": None}}, TOML),
        ({"missing": None}, TOML),
    ],
)
def test_members_that_are_set_and_removed(changes: dict[str, Any], expected: bytes) -> None:
    """A member that is not there can be removed too."""
    assert expected == edit_sets(TOML, changes)


def test_an_algorithm_can_change() -> None:
    """All members of one edit are judged together: RS256's bits go while ES256 comes."""
    edited = read_policy(edit_sets(TOML, {"id-token": {"alg": "ES256", "crv": None, "bits": None}}))
    assert str(edited.sets["id-token"].spec) == "ES256"


def test_a_set_can_be_added() -> None:
    """A table of its own, behind the others."""
    edited = edit_sets(TOML, {"api": {"alg": "EdDSA", "paths": ["/api.json"]}})
    assert edited.startswith(TOML.rstrip())
    assert b'[sets.api]\nalg = "EdDSA"\npaths = ["/api.json"]' in edited
    assert list(read_policy(edited).sets) == ["id-token", "access-token", "api"]


def test_the_first_set_can_be_added() -> None:
    """A vault begins without sets, and without a [sets] table."""
    bare = b'format = 1\n\n[site]\nurl = "https://keys.example.com"\n'
    edited = edit_sets(bare, {"api": {"alg": "ES256"}})
    assert edited.startswith(bare)
    assert b'[sets.api]\nalg = "ES256"' in edited


def test_a_set_can_be_removed() -> None:
    """Its table goes; the others stay."""
    edited = edit_sets(TOML, {"access-token": None})
    assert list(read_policy(edited).sets) == ["id-token"]
    assert b"# every client knows it" in edited


@pytest.mark.parametrize(
    "sets",
    [
        b'sets.id-token.alg = "ES256"\n',
        b'[sets]\nid-token = {alg = "ES256"}\n',
        b'[sets]\n[sets.id-token]\nalg = "ES256"\n',
        b'[sets.id-token]\nalg = "ES256"\n[defaults]\n[sets.other]\nalg = "ES384"\n',
    ],
)
def test_other_ways_to_write_tables(sets: bytes) -> None:
    """TOML has several; each of them can be edited."""
    data = b'format = 1\nsite.url = "https://keys.example.com"\n' + sets
    edited = edit_sets(data, {"id-token": {"alg": "EdDSA"}, "new": {"alg": "PS256"}})
    policy = read_policy(edited)
    assert policy.sets["id-token"].spec.alg == "EdDSA"
    assert policy.sets["new"].spec.alg == "PS256"


def test_sets_in_one_line_are_not_edited() -> None:
    """TOML cannot grow such a line by a table: the error says how to write them."""
    data = b'format = 1\nsite.url = "https://keys.example.com"\nsets = {id-token = {alg = "ES256"}}\n'
    with pytest.raises(ConfigError, match="stand in one line") as caught:
        edit_sets(data, {"new": {"alg": "PS256"}})
    assert caught.value.hint == "write them as [sets.NAME]"


@pytest.mark.parametrize(
    ("data", "changes", "message"),
    [
        (TOML, {"id-token": {"alg": "none"}}, "alg in [sets.id-token] of keyvault.toml is not a supported algorithm"),
        (TOML, {"Bad Name": {"alg": "ES256"}}, "invalid set name 'Bad Name'"),
        (TOML, {"id-token": {"alg": None}}, "[sets.id-token] in keyvault.toml has no alg"),
        (b"nonsense", {"id-token": {}}, "keyvault.toml is not TOML"),
    ],
)
def test_an_edit_that_would_break_the_policy(data: bytes, changes: dict[str, Any], message: str) -> None:
    """What comes out is judged like any file, and so is what goes in."""
    with pytest.raises(ConfigError) as caught:
        edit_sets(data, changes)
    assert caught.value.message.startswith(message)


@pytest.mark.parametrize("mark", [b"", b"\xef\xbb\xbf"], ids=["plain", "byte order mark"])
@pytest.mark.parametrize("ends", [b"\n", b"\r\n"], ids=["LF", "CRLF"])
def test_an_editor_of_windows(mark: bytes, ends: bytes) -> None:
    """A mark at the beginning and the ends of lines are read, and an edit keeps them everywhere."""
    data = mark + TOML.replace(b"\n", ends)
    assert read_policy(data) == read_policy(TOML)
    assert edit_sets(data, {}) == data

    edited = edit_sets(data, {"new": {"alg": "PS256"}})

    assert edited.startswith(mark)
    assert edited.count(b"\n") == edited.count(ends) > data.count(ends)
    assert edited.replace(b"\r\n", b"\n").removeprefix(mark) == edit_sets(TOML, {"new": {"alg": "PS256"}})
