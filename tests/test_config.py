"""keyvault.toml as bytes: reading it, and edits that keep comments and order."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from keyvault.config import CONFIG_MAX, edit_sets, read_policy
from keyvault.errors import ConfigError
from tests.errors import fails

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


def test_a_valid_file() -> None:
    """The sets are in the order of the file."""
    assert list(read_policy(TOML).sets) == ["id-token", "access-token"]


@pytest.mark.parametrize(
    ("data", "code", "named"),
    [
        (b"\xff", "policy-not-utf8", ""),
        ("format = 1".encode("utf-16"), "policy-not-utf8", ""),
        (b"format = ", "policy-not-toml", ""),
        (b"format = 1\nformat = 1", "policy-not-toml", ""),
        (b"a = " + b"[" * 100_000, "policy-not-toml", ""),
        (b"a = 1" + b"0" * 5_000, "policy-not-toml", ""),
        (b'a = "\0"', "policy-not-toml", ""),
        (b"", "policy-format", "None"),
        (b"format = 1", "policy-member-missing", "[site] url"),
        (TOML.replace(b"alg", b"algo", 1), "policy-member-unknown", "'algo' in [sets.id-token]"),
        (
            TOML.replace(b"90d", b"90 d"),
            "policy-member-invalid",
            "cryptoperiod in [defaults] of keyvault.toml: '90 d' ",
        ),
        (TOML + b"lag = 1979-05-27", "policy-member-unknown", "'lag' in [sets.access-token]"),
        (b"#" * (CONFIG_MAX + 1), "policy-too-large", "4194305 bytes"),
    ],
)
def test_invalid_files(data: bytes, code: str, named: str) -> None:
    """The message is one short line, and names the problem."""
    with fails(code, ConfigError) as caught:
        read_policy(data)
    assert named in caught.value.message
    assert "keyvault.toml" in caught.value.message
    assert "\n" not in caught.value.message
    assert len(caught.value.message) < 300


@given(st.binary(max_size=100))
def test_any_bytes(data: bytes) -> None:
    """Random bytes raise only ConfigError."""
    with pytest.raises(ConfigError):
        read_policy(data)


@given(st.integers(0, len(TOML) - 1), st.integers(0, 255))
def test_a_byte_that_changed(index: int, byte: int) -> None:
    """The file is a policy, or raises ConfigError."""
    try:
        read_policy(TOML[:index] + bytes([byte]) + TOML[index + 1 :])
    except ConfigError:
        return


# --- edits ----------------------------------------------------------------------------------------------


def test_an_edit_keeps_the_rest() -> None:
    """Comments, order and blanks stay, and only one line changes."""
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
def test_setting_and_removing_members(changes: dict[str, Any], expected: bytes) -> None:
    """Removing a member that does not exist changes nothing."""
    assert expected == edit_sets(TOML, changes)


def test_an_algorithm_can_change() -> None:
    """All members of an edit are checked together: it sets ES256 and removes the bits of RS256."""
    edited = read_policy(edit_sets(TOML, {"id-token": {"alg": "ES256", "crv": None, "bits": None}}))
    assert str(edited.sets["id-token"].spec) == "ES256"


def test_a_set_can_be_added() -> None:
    """The new table is the last."""
    edited = edit_sets(TOML, {"api": {"alg": "EdDSA", "paths": ["/api.json"]}})
    assert edited.startswith(TOML.rstrip())
    assert b'[sets.api]\nalg = "EdDSA"\npaths = ["/api.json"]' in edited
    assert list(read_policy(edited).sets) == ["id-token", "access-token", "api"]


def test_the_first_set_can_be_added() -> None:
    """A new vault has no sets, and no [sets] table."""
    bare = b'format = 1\n\n[site]\nurl = "https://keys.example.com"\n'
    edited = edit_sets(bare, {"api": {"alg": "ES256"}})
    assert edited.startswith(bare)
    assert b'[sets.api]\nalg = "ES256"' in edited


def test_a_set_can_be_removed() -> None:
    """Its table is removed; the others stay."""
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
    """TOML has several, and all can be edited."""
    data = b'format = 1\nsite.url = "https://keys.example.com"\n' + sets
    edited = edit_sets(data, {"id-token": {"alg": "EdDSA"}, "new": {"alg": "PS256"}})
    policy = read_policy(edited)
    assert policy.sets["id-token"].spec.alg == "EdDSA"
    assert policy.sets["new"].spec.alg == "PS256"


def test_sets_in_one_line_are_not_edited() -> None:
    """TOML does not allow adding a table to an inline table; the hint shows another way to write sets."""
    data = b'format = 1\nsite.url = "https://keys.example.com"\nsets = {id-token = {alg = "ES256"}}\n'
    with fails("policy-inline-sets", ConfigError) as caught:
        edit_sets(data, {"new": {"alg": "PS256"}})
    assert caught.value.hint == "write [sets.NAME] tables"


@pytest.mark.parametrize(
    ("data", "changes", "code", "named"),
    [
        (TOML, {"id-token": {"alg": "none"}}, "policy-member-invalid", "alg in [sets.id-token]"),
        (TOML, {"Bad Name": {"alg": "ES256"}}, "set-name-invalid", "'Bad Name'"),
        (TOML, {"id-token": {"alg": None}}, "policy-member-missing", "[sets.id-token]"),
        (b"nonsense", {"id-token": {}}, "policy-not-toml", ""),
    ],
)
def test_an_edit_that_would_break_the_policy(data: bytes, changes: dict[str, Any], code: str, named: str) -> None:
    """The file is checked before and after the edit."""
    with fails(code, ConfigError) as caught:
        edit_sets(data, changes)
    assert named in caught.value.message


@pytest.mark.parametrize("mark", [b"", b"\xef\xbb\xbf"], ids=["plain", "byte order mark"])
@pytest.mark.parametrize("ends", [b"\n", b"\r\n"], ids=["LF", "CRLF"])
def test_an_editor_of_windows(mark: bytes, ends: bytes) -> None:
    """A byte order mark and CRLF are accepted, and an edit keeps them."""
    data = mark + TOML.replace(b"\n", ends)
    assert read_policy(data) == read_policy(TOML)
    assert edit_sets(data, {}) == data

    edited = edit_sets(data, {"new": {"alg": "PS256"}})

    assert edited.startswith(mark)
    assert edited.count(b"\n") == edited.count(ends) > data.count(ends)
    assert edited.replace(b"\r\n", b"\n").removeprefix(mark) == edit_sets(TOML, {"new": {"alg": "PS256"}})
