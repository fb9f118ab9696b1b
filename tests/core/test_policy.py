"""The members of keyvault.toml: their bounds, their contradictions, and the schema for editors."""

from __future__ import annotations

import copy
import re
from datetime import timedelta
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from keyvault.core.algorithms import KeySpec
from keyvault.core.places import check_url
from keyvault.core.policy import Policy, SetPolicy, SitePolicy, check_set_name
from keyvault.core.policy_file import parse_policy
from keyvault.core.policy_members import schema
from keyvault.errors import ConfigError
from tests.core.build import DAY, HOUR, MINUTE, SITE
from tests.errors import fails

DOCUMENT: dict[str, Any] = {
    "format": 1,
    "site": {"url": SITE},
    "defaults": {},
    "sets": {"id-token": {"alg": "ES256"}},
}


def document(*, site: Any = None, defaults: Any = None, member: Any = None, **more: Any) -> dict[str, Any]:
    """Return a keyvault.toml with members added to its tables, or with another value in place of a table."""
    changed = copy.deepcopy(DOCUMENT)
    for name, table in (("site", site), ("defaults", defaults)):
        if table is not None:
            changed[name] = {**changed[name], **table} if isinstance(table, dict) else table
    changed["sets"]["id-token"] |= member or {}
    return {**changed, **more}


def the_set(policy: Policy) -> SetPolicy:
    return policy.sets["id-token"]


# --- valid policies -------------------------------------------------------------------------------------


def test_the_shortest_policy() -> None:
    """A URL and an algorithm are enough; the other members have the defaults of docs/format.md."""
    expected = SetPolicy(
        name="id-token",
        spec=KeySpec("ES256", crv="P-256"),
        issuer=SITE,
        url=f"{SITE}/.well-known/jwks.json",
        place="",
        paths=(),
        closing=False,
        cryptoperiod=90 * DAY,
        publication_lead=24 * HOUR,
        token_lifetime=HOUR,
        signer_lag=HOUR,
        clock_skew=10 * MINUTE,
        retention=365 * DAY,
    )
    policy = parse_policy({"format": 1, "site": {"url": SITE}, "sets": {"id-token": {"alg": "ES256"}}})
    assert Policy(SitePolicy(SITE), {"id-token": expected}) == policy
    assert (expected.use, expected.kty, expected.url) == ("sig", "EC", f"{SITE}/.well-known/jwks.json")


def test_all_members() -> None:
    """Every member is read, and the members of a set override the defaults."""
    policy = parse_policy(
        document(
            site={
                "url": f"{SITE}/",
                "title": "Example keys",
                "max_age": "1h",
                "confirm": "commit",
                "discovery": False,
                "metadata": {"scopes_supported": ["openid"], "require": True, "n": 1, "deep": {"er": {}}},
            },
            defaults={"cryptoperiod": "30d", "signer_lag": "0s", "allow_short_lead": True},
            member={
                "alg": "EdDSA",
                "crv": "Ed448",
                "issuer": f"{SITE}/api/",
                "paths": ["/keys.json", "/openid/v1/jwks"],
                "closing": True,
                "cryptoperiod": "10d",
                "publication_lead": "1h",
                "token_lifetime": "2h",
                "clock_skew": "1d",
                "retention": "2w",
            },
        )
    )
    assert policy.site.url == SITE
    assert (policy.site.title, policy.site.max_age, policy.site.confirm) == ("Example keys", HOUR, "commit")
    assert not policy.site.discovery
    assert policy.site.metadata["n"] == 1
    assert the_set(policy) == SetPolicy(
        name="id-token",
        spec=KeySpec("EdDSA", crv="Ed448"),
        issuer=f"{SITE}/api/",  # verifiers compare it byte for byte
        url=f"{SITE}/api/.well-known/jwks.json",
        place="/api",
        paths=("/keys.json", "/openid/v1/jwks"),
        closing=True,
        cryptoperiod=10 * DAY,
        publication_lead=HOUR,
        token_lifetime=2 * HOUR,
        signer_lag=timedelta(0),
        clock_skew=DAY,
        retention=14 * DAY,
    )


def test_a_vault_may_have_no_sets_yet() -> None:
    """A new vault is empty."""
    assert parse_policy({"format": 1, "site": {"url": SITE}}).sets == {}


# --- members and types ----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("changed", "named", "hint"),
    [
        (document(stie={}), "'stie' in keyvault.toml", "did you mean 'site'?"),
        (document(xyzzy={}), "'xyzzy' in keyvault.toml", "one of format, site, defaults, audit, sets"),
        (document(site={"ulr": 1}), "'ulr' in [site]", "did you mean 'url'?"),
        (
            document(defaults={"crypto_period": "1d"}),
            "'crypto_period' in [defaults]",
            "did you mean 'cryptoperiod'?",
        ),
        (
            document(defaults={"alg": "ES256"}),
            "'alg' in [defaults]",
            "alg belongs in the table of a set, [sets.NAME]",
        ),
        (document(member={"algo": "ES256"}), "'algo' in [sets.id-token]", "did you mean 'alg'?"),
    ],
)
def test_unknown_members(changed: dict[str, Any], named: str, hint: str) -> None:
    """A misspelt member is refused instead of ignored; the hint has the most similar name."""
    with fails("policy-member-unknown", ConfigError) as caught:
        parse_policy(changed)
    assert named in caught.value.message
    assert hint == caught.value.hint


@pytest.mark.parametrize("value", [None, 0, 2, "1", True, 1.5, [1], "x" * 1_000])
def test_another_format_is_refused(value: object) -> None:
    """A file of another version is refused before any other member is read."""
    with fails("policy-format", ConfigError) as caught:
        parse_policy({"format": value, "site": {"url": SITE}})
    assert len(caught.value.message) < 110
    assert caught.value.hint == "the first line must be: format = 1"


@pytest.mark.parametrize(
    ("changed", "code", "named"),
    [
        (document(site=[]), "policy-member-invalid", "[site]"),
        (document(defaults="x"), "policy-member-invalid", "[defaults]"),
        (document(sets=[]), "policy-member-invalid", "[sets]"),
        (document(sets={"a": 1}), "policy-member-invalid", "[sets.a]"),
        ({"format": 1}, "policy-member-missing", "[site] url"),
        (document(sets={"a": {}}), "policy-member-missing", "[sets.a]"),
        (document(sets={"a": {"alg": "RS256", "bits": 1024}}), "rsa-modulus-size", "[sets.a]"),
        (document(sets={"a": {"alg": "ES256", "crv": "P-384"}}), "crv-mismatch", "[sets.a]"),
    ],
)
def test_missing_members_and_values_that_are_not_tables(changed: dict[str, Any], code: str, named: str) -> None:
    """The message names the table."""
    with fails(code, ConfigError) as caught:
        parse_policy(changed)
    assert named in caught.value.message
    assert "keyvault.toml" in caught.value.message


ONE_LINE = "must be one line of 1 to 200 printable characters"
QUOTES = 'must be a duration in quotes, such as "24h"'
PLAIN = "must consist of text, whole numbers, true, false, lists and tables"
LIST = 'must be a list of paths such as ["/openid/v1/jwks"]'


@pytest.mark.parametrize(
    ("name", "value", "reason"),
    [
        ("title", "", ONE_LINE),
        ("title", "  ", ONE_LINE),
        ("title", 7, ONE_LINE),
        ("title", "x" * 201, ONE_LINE),
        ("title", "two\nlines", ONE_LINE),
        ("title", "\x1b[31mred", ONE_LINE),
        ("title", "\u202eright to left", ONE_LINE),
        ("max_age", 600, QUOTES),
        ("max_age", "10 m", "'10 m' is not a duration such as 10m, 24h, 90d or 1d12h"),
        ("confirm", "yes", 'must be "live" or "commit"'),
        ("confirm", ["live"], 'must be "live" or "commit"'),
        ("discovery", "true", "must be true or false"),
        ("discovery", 1, "must be true or false"),
        ("metadata", [], "must be a table"),
        ("metadata", {"issuer": "x"}, "cannot set issuer: it follows from the site's url"),
        ("metadata", {"jwks_uri": "x"}, "cannot set jwks_uri: it follows from the site's url"),
        ("metadata", {"k": "x", "d": "x"}, "cannot set d, k: reserved for private keys"),
        ("metadata", {"a": 1.5}, PLAIN),
        ("metadata", {"a": [{"b": None}]}, PLAIN),
        ("metadata", {"a": [[[[[[1]]]]]]}, "is nested too deeply"),
        ("metadata", {"a": {"b": {"c": {"d": {"e": {"f": {}}}}}}}, "is nested too deeply"),
    ],
)
def test_members_of_the_site(name: str, value: object, reason: str) -> None:
    """The message names the member and the valid values."""
    with fails("policy-member-invalid", ConfigError) as caught:
        parse_policy(document(site={name: value}))
    assert caught.value.message.startswith(f"{name} in [site] of keyvault.toml")
    assert caught.value.message.endswith(f" {reason}")


@pytest.mark.parametrize(
    ("name", "value", "reason"),
    [
        ("alg", "ES265", "is not a supported algorithm; did you mean 'ES256'?"),
        ("alg", "rot13", "is not a supported algorithm"),
        ("alg", 256, "is not a supported algorithm"),
        ("crv", 256, ONE_LINE),
        ("bits", "2048", "must be a whole number"),
        ("bits", True, "must be a whole number"),
        ("bits", 2048.0, "must be a whole number"),
        ("closing", "no", "must be true or false"),
        ("paths", "/keys.json", LIST),
        ("paths", [7], LIST),
        ("allow_short_lead", 1, "must be true or false"),
        ("signer_lag", 0, 'must be a duration in quotes, such as "10m"'),
    ],
)
def test_members_of_a_set(name: str, value: object, reason: str) -> None:
    """The message names the member and the valid values."""
    with fails("policy-member-invalid", ConfigError) as caught:
        parse_policy(document(member={name: value}))
    assert caught.value.message.startswith(f"{name} in [sets.id-token] of keyvault.toml")
    assert caught.value.message.endswith(f" {reason}")


# --- durations ------------------------------------------------------------------------------------------

DURATIONS = ["cryptoperiod", "publication_lead", "token_lifetime", "signer_lag", "clock_skew", "retention"]


@pytest.mark.parametrize("name", DURATIONS)
def test_durations_at_zero(name: str) -> None:
    """A lag, a skew or a lead may be zero; a period, a lifetime or a retention may not."""
    changed = document(defaults={name: "0s", "allow_short_lead": True})
    if name in ("publication_lead", "signer_lag", "clock_skew"):
        assert timedelta(0) == getattr(the_set(parse_policy(changed)), name)
    else:
        with fails("policy-member-invalid", ConfigError) as caught:
            parse_policy(changed)
        assert f"{name} in [defaults] of keyvault.toml must be longer than zero" == caught.value.message


@pytest.mark.parametrize("name", DURATIONS)
@pytest.mark.parametrize("value", ["-1s", "-24h", "1000000000d", "1e9s", "0x10s", "infinity"])
def test_invalid_durations(name: str, value: str) -> None:
    """Negative and very long durations are refused, and the message has the value."""
    with fails("policy-member-invalid", ConfigError) as caught:
        parse_policy(document(defaults={name: value}))
    assert f"{name} in [defaults] of keyvault.toml: '{value}' " in caught.value.message


@pytest.mark.parametrize(
    ("name", "figures"),
    [
        ("cryptoperiod", None),
        ("publication_lead", ["publication_lead 11574d1h46m40s", "cryptoperiod 90d"]),
        ("token_lifetime", ["token_lifetime 11574d1h46m40s + signer_lag 1h", "cryptoperiod 90d"]),
        ("signer_lag", ["token_lifetime 1h + signer_lag 11574d1h46m40s", "cryptoperiod 90d"]),
        ("clock_skew", ["clock_skew 11574d1h46m40s", "24h"]),
        ("retention", None),
    ],
)
def test_durations_of_a_billion_seconds(name: str, figures: list[str] | None) -> None:
    """A period or a retention may have thirty years; any other member would contradict the rest."""
    changed = document(defaults={name: "277777h46m40s"})
    if figures is None:
        assert timedelta(seconds=1_000_000_000) == getattr(the_set(parse_policy(changed)), name)
    else:
        with fails("policy-timing", ConfigError) as caught:
            parse_policy(changed)
        assert caught.value.message.startswith("[sets.id-token]: ")
        assert all(figure in caught.value.message for figure in figures)


# --- members that contradict each other -----------------------------------------------------------------


@pytest.mark.parametrize(
    ("timing", "figures"),
    [
        ({"cryptoperiod": "48h", "token_lifetime": "23h", "signer_lag": "24h59m59s"}, None),
        (
            {"cryptoperiod": "48h", "token_lifetime": "23h", "signer_lag": "25h"},
            ["token_lifetime 23h + signer_lag 25h ", "cryptoperiod 2d"],
        ),
        (
            {"cryptoperiod": "48h", "token_lifetime": "23h", "signer_lag": "25h1s"},
            ["token_lifetime 23h + signer_lag 25h1s ", "cryptoperiod 2d"],
        ),
        ({"cryptoperiod": "48h", "publication_lead": "47h59m59s"}, None),
        ({"cryptoperiod": "48h", "publication_lead": "48h"}, ["publication_lead 2d ", "cryptoperiod 2d"]),
        ({"cryptoperiod": "48h", "publication_lead": "48h1s"}, ["publication_lead 2d1s ", "cryptoperiod 2d"]),
        ({"publication_lead": "3h1s"}, None),
        ({"publication_lead": "3h"}, None),
        ({"publication_lead": "2h59m59s", "allow_short_lead": True}, None),
        ({"clock_skew": "23h59m59s"}, None),
        ({"clock_skew": "1d"}, None),
        ({"clock_skew": "1d1s"}, ["clock_skew 24h1s ", " 24h"]),
    ],
)
def test_timing_that_contradicts_itself(timing: dict[str, Any], figures: list[str] | None) -> None:
    """The cases are a second before each bound, at it, and after it; the message has both values."""
    if figures is None:
        parse_policy(document(member=timing))
    else:
        with fails("policy-timing", ConfigError) as caught:
            parse_policy(document(member=timing))
        assert caught.value.message.startswith("[sets.id-token]: ")
        assert all(figure in caught.value.message for figure in figures)


def test_hints_show_missing_members() -> None:
    """A user can paste them into keyvault.toml."""
    with fails("policy-member-missing", ConfigError) as no_alg:
        parse_policy(document(sets={"a": {}}))
    with fails("policy-member-missing", ConfigError) as no_url:
        parse_policy({"format": 1})
    assert no_alg.value.hint == 'for example: alg = "ES256"'
    assert no_url.value.hint == '[site]\nurl = "https://keys.example.com"'


def test_a_short_lead_can_be_allowed() -> None:
    """The message has the lead and its bound; the hint names the member that accepts the risk."""
    with fails("lead-too-short", ConfigError) as caught:
        parse_policy(document(defaults={"publication_lead": "2h59m59s"}))
    assert "[sets.id-token]: publication_lead 2h59m59s is shorter than 3h" in caught.value.message
    assert "allow_short_lead = true" in str(caught.value.hint)


@pytest.mark.parametrize(
    ("max_age", "valid"),
    [("4m59s", False), ("5m", True), ("5m1s", True), ("59m59s", True), ("1h", True), ("1h1s", False)],
)
def test_bounds_of_max_age(max_age: str, valid: bool) -> None:
    """The bounds are five minutes and an hour, both included."""
    if valid:
        parse_policy(document(site={"max_age": max_age}))
    else:
        with fails("policy-timing", ConfigError) as caught:
            parse_policy(document(site={"max_age": max_age}))
        assert f"max_age of {max_age} in [site] must be 5m to 1h" == caught.value.message


# --- URLs, paths, names ---------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        ("https://keys.example.com", "https://keys.example.com"),
        ("https://keys.example.com/", "https://keys.example.com"),
        ("https://keys.example.com:8443/a/b_c~d.e-f/", "https://keys.example.com:8443/a/b_c~d.e-f"),
        ("https://192.0.2.1", "https://192.0.2.1"),
        ("https://[2001:db8::1]/x", "https://[2001:db8::1]/x"),
        ("https://under_score.example", "https://under_score.example"),
        ("http://localhost:8000", "http://localhost:8000"),
        ("http://127.0.0.1", "http://127.0.0.1"),
        ("http://[::1]:80", "http://[::1]:80"),
    ],
)
def test_valid_urls(value: str, expected: str) -> None:
    """A URL is https, or http on this machine, and loses a trailing slash."""
    assert expected == check_url(value)


BEGIN = "must begin with https:// (http:// is for localhost)"


@pytest.mark.parametrize(
    ("value", "reason"),
    [
        (7, "must be an absolute URL in ASCII"),
        ("https://ünï.example", "must be an absolute URL in ASCII"),
        ("https://x\n", "must be an absolute URL in ASCII"),
        ("https://" + "x" * 493, "must be an absolute URL in ASCII"),
        ("https://x:99999", "is not a URL"),
        ("https://x:port", "is not a URL"),
        ("https://[::1", "is not a URL"),
        ("", BEGIN),
        ("keys.example.com", BEGIN),
        ("//keys.example.com", BEGIN),
        ("http://keys.example.com", BEGIN),
        ("http://localhost.example.com", BEGIN),
        ("ftp://localhost", BEGIN),
        ("file:///etc/passwd", BEGIN),
        ("javascript:alert(1)", BEGIN),
        ("https://", "must have a host, and no query, fragment or user"),
        ("https:///path", "must have a host, and no query, fragment or user"),
        ("https://x?", "must have a host, and no query, fragment or user"),
        ("https://x/?a=b", "must have a host, and no query, fragment or user"),
        ("https://x#", "must have a host, and no query, fragment or user"),
        ("https://user@x", "must have a host, and no query, fragment or user"),
        ("https://:secret@x", "must have a host, and no query, fragment or user"),
        ("https://a b", "has an invalid host name"),
        ("https://a\\b", "has an invalid host name"),
        ("https://<script>", "has an invalid host name"),
        ("https://x:", "has an invalid host name"),
        ("https://-x", "has an invalid host name"),
        ("https://x.", "has an invalid host name"),
        ("https://x/..", "has an invalid path"),
        ("https://x/a/./b", "has an invalid path"),
        ("https://x/a//b", "has an invalid path"),
        ("https://x/%2e%2e", "has an invalid path"),
        ("https://x/a b", "has an invalid path"),
    ],
)
def test_invalid_urls(value: object, reason: str) -> None:
    """A URL that two programs could read as two issuers is refused."""
    with pytest.raises(ValueError, match=re.escape(reason)):
        check_url(value)


@given(st.text(st.characters(codec="ascii"), max_size=30))
def test_an_accepted_url_is_what_it_looks_like(tail: str) -> None:
    """No accepted URL has blanks, quotes, markup or another host."""
    try:
        url = check_url("https://" + tail)
    except ValueError:
        return
    assert re.fullmatch(r"https://[A-Za-z0-9._:\[\]-]+(/[A-Za-z0-9._~-]+)*", url)


@pytest.mark.parametrize(
    ("issuer", "place"),
    [
        (SITE, ""),
        (f"{SITE}/", ""),
        (f"{SITE}/api", "/api"),
        (f"{SITE}/api/", "/api"),
        (f"{SITE}.evil.example", None),
        (f"{SITE}x", None),
        (f"{SITE}/a%20b", None),
        (f"{SITE}/api//", None),
        (f"{SITE}/a?tenant=b", None),
        ("https://other.example.com", None),
        ("acme-client-id", None),
        ("urn:example:issuer", None),
    ],
)
def test_issuers_are_kept_as_written(issuer: str, place: str | None) -> None:
    """The place of an issuer on the site is its path; any other issuer needs ``at``."""
    if place is not None:
        found = the_set(parse_policy(document(member={"issuer": issuer})))
        assert (found.issuer, found.place) == (issuer, place)
    else:
        with fails("place-missing", ConfigError) as caught:
            parse_policy(document(member={"issuer": issuer}))
        assert caught.value.message.startswith(f"issuer {issuer} of [sets.id-token] ")
        assert str(caught.value.hint).startswith('at = "/id-token"; ')
    found = the_set(parse_policy(document(member={"issuer": issuer, "at": "/clients/acme"})))
    assert (found.issuer, found.url) == (issuer, f"{SITE}/clients/acme/.well-known/jwks.json")


@pytest.mark.parametrize(
    ("path", "reason"),
    [
        ("keys.json", "must begin with / and have plain path segments"),
        ("/", "must begin with / and have plain path segments"),
        ("", "must begin with / and have plain path segments"),
        ("/a/", "must begin with / and have plain path segments"),
        ("/../x", "must begin with / and have plain path segments"),
        ("/a/./b", "must begin with / and have plain path segments"),
        ("/a b", "must begin with / and have plain path segments"),
        ("/a?b", "must begin with / and have plain path segments"),
        ("/" + "x" * 200, "must begin with / and have plain path segments"),
        ("/index.html", "is reserved for the site"),
        ("/history.json", "is reserved for the site"),
        ("/keys/a.json", "is reserved for the site"),
        ("/sets/a", "is reserved for the site"),
        ("/assets/a", "is reserved for the site"),
    ],
)
def test_invalid_paths(path: str, reason: str) -> None:
    """An extra path of a JWK Set is on the site, and no path that the site uses."""
    with fails("policy-member-invalid", ConfigError) as caught:
        parse_policy(document(member={"paths": [path]}))
    assert f"{path!r} {reason}" in caught.value.message


def test_two_issuers_cannot_share_a_path() -> None:
    """A path has only one JWK Set; two sets of the same issuer may both name it."""
    api = {"alg": "ES256", "issuer": f"{SITE}/api"}
    parse_policy(document(sets={"a": {**api, "paths": ["/x"]}, "b": {**api, "paths": ["/x"]}}))
    with fails("path-conflict", ConfigError) as caught:
        parse_policy(document(sets={"a": {**api, "paths": ["/x"]}, "b": {"alg": "ES256", "paths": ["/x"]}}))
    assert caught.value.message.startswith("path /x of [sets.b] ")
    assert f" {SITE}/api " in caught.value.message
    taken = {"a": {"alg": "ES256"}, "b": {**api, "paths": ["/.well-known/jwks.json"]}}
    with fails("path-conflict", ConfigError) as caught:
        parse_policy(document(sets=taken))
    assert f" {SITE} " in caught.value.message


@pytest.mark.parametrize("paths", [["/x", "/x/y"], ["/x/y", "/x"], ["/.well-known"], ["/.well-known/jwks.json/x"]])
def test_a_path_is_a_file_or_a_folder(paths: list[str]) -> None:
    """A file cannot also be the folder of another file."""
    with fails("path-file-and-folder", ConfigError) as caught:
        parse_policy(document(member={"paths": paths}))
    assert " of [sets.id-token] " in caught.value.message


@pytest.mark.parametrize("name", ["a", "0", "id-token", "a.b_c-d", "x" * 64])
def test_valid_set_names(name: str) -> None:
    """A name is a folder of the vault and of the site."""
    assert name == check_set_name(name)


@pytest.mark.parametrize(
    "name",
    [
        "",
        "-a",
        ".a",
        "_a",
        "A",
        "a b",
        "a/b",
        "..",
        "é",
        "a\n",
        "x" * 65,
        "identities",
        "con",
        "nul.x",
        "a.",
        "a.lock",
        "index",
    ],
)
def test_invalid_set_names(name: str) -> None:
    """Names with a special meaning for a file system, a shell or git are refused."""
    with fails("set-name-invalid", ConfigError) as caught:
        check_set_name(name)
    assert len(caught.value.message) < 100
    assert caught.value.hint == (
        "a name is 1 to 64 of a-z 0-9 . _ -, begins with a letter or digit, and is not a reserved name such as con or "
        "identities"
    )
    with fails("set-name-invalid", ConfigError):
        parse_policy(document(sets={name: {"alg": "ES256"}}))


# --- the schema for editors -----------------------------------------------------------------------------

BOTH_ACCEPT = [
    document(),
    {"format": 1, "site": {"url": SITE}},
    document(site={"max_age": "1h", "confirm": "commit", "discovery": False, "metadata": {"a": ["b"]}}),
    document(defaults={"cryptoperiod": "1w2d3h4m5s", "allow_short_lead": True}),
    document(member={"alg": "RS256", "bits": 3072, "paths": ["/x"], "closing": True, "issuer": f"{SITE}/a"}),
    document(member={"alg": "EdDSA", "crv": "Ed448"}),
]
BOTH_REFUSE = [
    {},
    {"format": 2, "site": {"url": SITE}},
    {"format": 1},
    {"format": 1, "site": {}},
    document(stie={}),
    document(site={"ulr": "x"}),
    document(site={"title": 7}),
    document(site={"title": "x" * 201}),
    document(site={"confirm": "yes"}),
    document(site={"discovery": "yes"}),
    document(site={"metadata": []}),
    document(defaults={"alg": "ES256"}),
    document(defaults={"cryptoperiod": 90}),
    document(defaults={"cryptoperiod": "90"}),
    document(defaults={"cryptoperiod": ""}),
    document(defaults={"cryptoperiod": "-1d"}),
    document(member={"alg": "ES265"}),
    document(member={"crv": "P-224"}),
    document(member={"bits": "2048"}),
    document(member={"paths": "/x"}),
    document(member={"paths": [7]}),
    document(member={"closing": 1}),
    document(sets={"a": {}}),
    document(sets={"A": {"alg": "ES256"}}),
    document(sets={"x" * 65: {"alg": "ES256"}}),
    document(sets=[]),
]


@pytest.mark.parametrize(
    ("example", "valid"),
    [*((example, True) for example in BOTH_ACCEPT), *((example, False) for example in BOTH_REFUSE)],
)
def test_the_schema_agrees_with_the_parser(example: dict[str, Any], valid: bool) -> None:
    """An editor marks invalid members, as far as a schema can express that."""
    jsonschema = pytest.importorskip("jsonschema", reason="the jsonschema package is not installed")
    assert valid == jsonschema.Draft202012Validator(schema()).is_valid(example)
    if valid:
        parse_policy(example)
    else:
        with pytest.raises(ConfigError):
            parse_policy(example)


def test_the_schema_is_valid_and_has_descriptions() -> None:
    """Every member has a description that an editor can show."""
    jsonschema = pytest.importorskip("jsonschema", reason="the jsonschema package is not installed")
    jsonschema.Draft202012Validator.check_schema(schema())
    properties = schema()["properties"]
    tables = [properties["site"], properties["defaults"], properties["sets"]["additionalProperties"]]
    assert all(member["description"] for table in tables for member in table["properties"].values())
