"""Drift between host and vault: each difference is reported, and an empty response is an error."""

from __future__ import annotations

import json
from collections.abc import Mapping
from datetime import timedelta
from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from keyvault.core.drift import EXPIRY, discovery_drift, response_drift, set_drift
from keyvault.core.state import VaultState
from tests.core.build import (
    DAY,
    HOUR,
    SECOND,
    SITE,
    T0,
    URL,
    active_key,
    created,
    make_key,
    next_key,
    public_key,
    retiring_key,
    revoked,
    set_policy,
    vault,
    withdrawn,
)

GOOD = {"cache-control": "max-age=600", "content-type": "application/json", "access-control-allow-origin": "*"}


# --- responses ------------------------------------------------------------------------------------------


def found_in(url: str = URL, *, headers: Mapping[str, str] = {}, **how: Any) -> list[str]:  # never changed
    answer = {"status": 200, "redirects": (), "complete": True, "expires": None, **how}
    found = response_drift(url, {**GOOD, **headers}, now=T0, max_age=timedelta(minutes=10), **answer)
    return [finding.code for finding in found]


@pytest.mark.parametrize(
    ("control", "found"),
    [
        ("max-age=600, s-maxage=600", []),
        ("max-age=600, s-maxage=86400", ["cache-control"]),
        ("s-maxage=601", ["cache-control"]),
        ("no-store", ["cache-control"]),
        ("public", ["cache-control"]),
    ],
)
def test_how_long_an_answer_may_be_cached(control: str, found: list[str]) -> None:
    """As long as policy says; a proxy keeps it for as long as s-maxage says."""
    assert found_in(headers={"cache-control": control}) == found


def test_an_answer_that_a_cache_has_kept_for_too_long() -> None:
    """A minute more than policy is as exact as caches are."""
    assert found_in(headers={"age": "660"}) == []
    assert found_in(headers={"age": "661"}) == ["cache-age"]


@pytest.mark.parametrize(
    ("url", "kind", "found"),
    [
        (URL, "application/json; charset=utf-8", []),
        (URL, "application/jwk-set+json", []),
        (URL, "text/plain", ["content-type"]),
        (f"{SITE}/.well-known/openid-configuration", "", ["discovery-type"]),
        (f"{SITE}/.well-known/openid-configuration", "application/octet-stream", ["discovery-type"]),
        (f"{SITE}/keys", "application/octet-stream", ["content-type"]),
    ],
)
def test_how_an_answer_is_labelled(url: str, kind: str, found: list[str]) -> None:
    """As JSON of any kind; where the name of a file has no extension, the host chooses, and it is a warning."""
    assert found_in(url, headers={"content-type": kind}) == found
    answer = response_drift(
        url, {**GOOD, "content-type": kind}, status=200, redirects=(), complete=True, expires=None, now=T0, max_age=DAY
    )
    assert {finding.level for finding in answer} <= ({"warning"} if "." not in url.rpartition("/")[2] else {"error"})


@pytest.mark.parametrize(
    ("how", "found"),
    [
        ({"status": 404, "complete": False}, ["status"]),
        ({"complete": False}, ["too-large"]),
        ({"redirects": (f"{SITE}/other",)}, ["redirect"]),
        ({"expires": T0 + EXPIRY}, []),
        ({"expires": T0 + EXPIRY - SECOND}, ["tls-expiring"]),
        ({"headers": {"content-encoding": "gzip"}}, ["compressed"]),
        ({"headers": {"access-control-allow-origin": SITE}}, ["cors"]),
    ],
)
def test_other_problems_of_a_response(how: dict[str, Any], found: list[str]) -> None:
    """With another status than 200, there is no other finding."""
    assert found_in(**how) == found


# --- JWK Sets -------------------------------------------------------------------------------------------

KEYS = {
    "active": active_key(kid="active"),
    "next": next_key(kid="next"),
    "retiring": retiring_key(T0, T0 + HOUR, kid="retiring"),
    "revoked": make_key(created(), revoked(T0), kid="revoked"),
    "withdrawn": make_key(created(), withdrawn(T0), kid="withdrawn"),
    "elsewhere": active_key(kid="elsewhere", set_name="other"),
}
STATE = vault(KEYS.values(), set_policy(), set_policy("other", issuer=f"{SITE}/other"))
WANTED = [msgspec.to_builtins(KEYS[name].public) for name in ("active", "next", "retiring")]


def encode(keys: list[Any]) -> bytes:
    return json.dumps({"keys": keys}).encode()


def drifts(keys: list[Any], state: VaultState = STATE) -> list[str]:
    return [finding.code for finding in set_drift(URL, state, encode(WANTED), encode(keys))]


def jwk(name: str) -> dict[str, Any]:
    made: dict[str, Any] = msgspec.to_builtins(KEYS[name].public)
    return made


@pytest.mark.parametrize(
    ("keys", "found"),
    [
        pytest.param(WANTED, [], id="as the vault says"),
        pytest.param([], ["empty", "active-missing", "next-missing", "retiring-missing"], id="no keys"),
        pytest.param(WANTED[1:], ["active-missing"], id="without the key that signs"),
        pytest.param(WANTED[:1], ["next-missing", "retiring-missing"], id="only the key that signs"),
        pytest.param(WANTED[::-1], ["order"], id="in another order"),
        pytest.param([*WANTED, jwk("revoked")], ["revoked-served"], id="a revoked key"),
        pytest.param([*WANTED, jwk("withdrawn")], ["withdrawn-served"], id="a withdrawn key"),
        pytest.param([*WANTED, jwk("elsewhere")], ["misplaced-served"], id="a key of another place"),
        pytest.param([*WANTED, WANTED[0]], ["duplicate-kid"], id="a kid twice"),
        pytest.param([*WANTED, msgspec.to_builtins(public_key())], ["unknown-served"], id="a stranger's key"),
        pytest.param([{**WANTED[0], "alg": "ES384"}, *WANTED[1:]], ["key-differs"], id="another alg"),
        pytest.param([{**WANTED[0], "x": WANTED[1]["x"]}, *WANTED[1:]], ["key-differs"], id="another key"),
        pytest.param([{**WANTED[0], "kty": []}, *WANTED[1:]], ["key-differs"], id="no key"),
        pytest.param([*WANTED, None], ["unknown-served"], id="null"),
        pytest.param([*WANTED, {"kty": "EC"}], ["unknown-served"], id="no kid"),
        pytest.param(
            [*WANTED, {"kty": "oct", "k": "c2VjcmV0"}], ["unknown-served", "private-member"], id="private, no kid"
        ),
        pytest.param([{**WANTED[0], "d": "AA"}, *WANTED[1:]], ["private-member", "key-differs"], id="private"),
    ],
)
def test_how_a_jwk_set_differs(keys: list[Any], found: list[str]) -> None:
    """Each served key is compared with the vault's record of it."""
    assert drifts(keys) == found


@pytest.mark.parametrize(
    ("body", "code"), [(b"<html>", "not-json"), (b"[]", "not-jwks"), (b'{"keys": {}}', "not-jwks"), (b"", "not-json")]
)
def test_a_body_that_is_not_a_jwk_set(body: bytes, code: str) -> None:
    """It has no other finding."""
    assert [finding.code for finding in set_drift(URL, STATE, encode(WANTED), body)] == [code]


def test_a_private_member_of_a_key_names_the_key() -> None:
    """The finding names the key but does not contain the member's value."""
    found = list(set_drift(URL, STATE, encode(WANTED), encode([{**WANTED[0], "d": "c2VjcmV0"}, *WANTED[1:]])))
    assert (found[0].message, found[0].kid) == ("serves private members of active: revoke it", "active")


# --- discovery documents --------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("change", "messages"),
    [
        ({}, []),
        ({"issuer": "https://evil.example"}, [f"names issuer https://evil.example, not {SITE}"]),
        ({"issuer": 1, "jwks_uri": None}, [f"names issuer a number, not {SITE}", f"names jwks_uri null, not {URL}"]),
        ({"scopes_supported": ["openid"]}, ["differs in scopes_supported"]),
    ],
)
def test_how_a_discovery_document_differs(change: dict[str, Any], messages: list[str]) -> None:
    """The two members that verifiers trust are named with both values, the others by name."""
    wanted = {"issuer": SITE, "jwks_uri": URL}
    found = discovery_drift(URL, json.dumps(wanted).encode(), json.dumps({**wanted, **change}).encode())
    assert [finding.message for finding in found] == messages


@given(
    st.binary(max_size=200)
    | st.recursive(
        st.none() | st.integers() | st.text(max_size=9),
        _json := lambda inner: (
            st.lists(inner, max_size=4)
            | st.dictionaries(st.sampled_from(["keys", "kid", "kty", "d", "x", "issuer"]), inner, max_size=4)
        ),
    ).map(lambda value: json.dumps(value).encode())
)
def test_nothing_that_a_host_serves_is_an_error(body: bytes) -> None:
    """Whatever it is, there is a finding and no exception."""
    list(set_drift(URL, vault(), encode([]), body))
    list(discovery_drift(URL, json.dumps({"issuer": SITE, "jwks_uri": URL}).encode(), body))
