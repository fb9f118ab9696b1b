"""What keyvault.toml may say: each bound, each contradiction with its figures, and the schema for editors."""

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

DOCUMENT: dict[str, Any] = {
    "format": 1,
    "site": {"url": SITE},
    "defaults": {},
    "sets": {"id-token": {"alg": "ES256"}},
}


def document(*, site: Any = None, defaults: Any = None, member: Any = None, **more: Any) -> dict[str, Any]:
    """Return a keyvault.toml with members added to its tables, or with something in the place of a table."""
    changed = copy.deepcopy(DOCUMENT)
    for name, table in (("site", site), ("defaults", defaults)):
        if table is not None:
            changed[name] = {**changed[name], **table} if isinstance(table, dict) else table
    changed["sets"]["id-token"] |= member or {}
    return {**changed, **more}


def the_set(policy: Policy) -> SetPolicy:
    return policy.sets["id-token"]


# --- what may be said -----------------------------------------------------------------------------------


def test_the_shortest_policy() -> None:
    """A URL and an algorithm are enough; the rest has the defaults of docs/format.md."""
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


def test_everything_that_can_be_said() -> None:
    """Every member is read into what it means; a set says more than the defaults do."""
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
    """A vault begins empty."""
    assert parse_policy({"format": 1, "site": {"url": SITE}}).sets == {}


# --- members and types ----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("changed", "message", "hint"),
    [
        (document(stie={}), "unknown member 'stie' in keyvault.toml", "did you mean 'site'?"),
        (
            document(xyzzy={}),
            "unknown member 'xyzzy' in keyvault.toml",
            "known are format, site, defaults, audit, sets",
        ),
        (document(site={"ulr": 1}), "unknown member 'ulr' in [site] of keyvault.toml", "did you mean 'url'?"),
        (
            document(defaults={"crypto_period": "1d"}),
            "unknown member 'crypto_period' in [defaults] of keyvault.toml",
            "did you mean 'cryptoperiod'?",
        ),
        (
            document(defaults={"alg": "ES256"}),
            "unknown member 'alg' in [defaults] of keyvault.toml",
            "alg goes into the table of a set, [sets.NAME]",
        ),
        (
            document(member={"algo": "ES256"}),
            "unknown member 'algo' in [sets.id-token] of keyvault.toml",
            "did you mean 'alg'?",
        ),
    ],
)
def test_an_unknown_member_gets_the_nearest_one(changed: dict[str, Any], message: str, hint: str) -> None:
    """A misspelt member would silently be a default: it is refused, with what was probably meant."""
    with pytest.raises(ConfigError) as caught:
        parse_policy(changed)
    assert (message, hint) == (caught.value.message, caught.value.hint)


@pytest.mark.parametrize("value", [None, 0, 2, "1", True, 1.5, [1], "x" * 1_000])
def test_another_format_is_not_guessed_at(value: object) -> None:
    """A file of another version is refused before anything else in it is read."""
    with pytest.raises(
        ConfigError, match=r"^keyvault\.toml has format .{1,40}; this version reads format 1$"
    ) as caught:
        parse_policy({"format": value, "site": {"url": SITE}})
    assert caught.value.hint == "the first line is: format = 1"


@pytest.mark.parametrize(
    ("changed", "message"),
    [
        (document(site=[]), "[site] in keyvault.toml must be a table"),
        (document(defaults="x"), "[defaults] in keyvault.toml must be a table"),
        (document(sets=[]), "[sets] in keyvault.toml must hold one table a set"),
        (document(sets={"a": 1}), "[sets.a] in keyvault.toml must be a table"),
        ({"format": 1}, "keyvault.toml has no [site] url"),
        (document(sets={"a": {}}), "[sets.a] in keyvault.toml has no alg"),
        (
            document(sets={"a": {"alg": "RS256", "bits": 1024}}),
            "[sets.a] in keyvault.toml: RSA keys of 1024 bits are not supported",
        ),
        (
            document(sets={"a": {"alg": "ES256", "crv": "P-384"}}),
            "[sets.a] in keyvault.toml: ES256 does not support curve 'P-384'",
        ),
    ],
)
def test_what_is_missing_or_no_table(changed: dict[str, Any], message: str) -> None:
    """The message names the place."""
    with pytest.raises(ConfigError) as caught:
        parse_policy(changed)
    assert message == caught.value.message


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
        ("max_age", "10 m", "cannot be '10 m': '10 m' is not a duration such as 10m, 24h, 90d or 1d12h"),
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
    """Each member says what it takes."""
    with pytest.raises(ConfigError) as caught:
        parse_policy(document(site={name: value}))
    assert f"{name} in [site] of keyvault.toml {reason}" == caught.value.message


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
    """The same for a set."""
    with pytest.raises(ConfigError) as caught:
        parse_policy(document(member={name: value}))
    assert f"{name} in [sets.id-token] of keyvault.toml {reason}" == caught.value.message


# --- durations ------------------------------------------------------------------------------------------

DURATIONS = ["cryptoperiod", "publication_lead", "token_lifetime", "signer_lag", "clock_skew", "retention"]


@pytest.mark.parametrize("name", DURATIONS)
def test_durations_at_zero(name: str) -> None:
    """A lag, a skew or a lead may be nothing; a period, a lifetime or a retention may not."""
    changed = document(defaults={name: "0s", "allow_short_lead": True})
    if name in ("publication_lead", "signer_lag", "clock_skew"):
        assert timedelta(0) == getattr(the_set(parse_policy(changed)), name)
    else:
        with pytest.raises(ConfigError, match=rf"^{name} in \[defaults\] of keyvault\.toml must be longer than zero$"):
            parse_policy(changed)


@pytest.mark.parametrize("name", DURATIONS)
@pytest.mark.parametrize("value", ["-1s", "-24h", "1000000000d", "1e9s", "0x10s", "infinity"])
def test_durations_that_are_none(name: str, value: str) -> None:
    """Negative and absurd ones are refused, with the text that was given."""
    with pytest.raises(ConfigError, match=rf"^{name} in \[defaults\] of keyvault\.toml cannot be '{value}'"):
        parse_policy(document(defaults={name: value}))


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("cryptoperiod", None),
        (
            "publication_lead",
            "[sets.id-token]: publication_lead 11574d1h46m40s must be less than cryptoperiod 90d",
        ),
        (
            "token_lifetime",
            "[sets.id-token]: token_lifetime 11574d1h46m40s + signer_lag 1h must be less than cryptoperiod 90d",
        ),
        (
            "signer_lag",
            "[sets.id-token]: token_lifetime 1h + signer_lag 11574d1h46m40s must be less than cryptoperiod 90d",
        ),
        ("clock_skew", "[sets.id-token]: clock_skew 11574d1h46m40s must be at most 24h"),
        ("retention", None),
    ],
)
def test_durations_of_a_billion_seconds(name: str, message: str | None) -> None:
    """Thirty years are a period or a retention that somebody may want; anything else contradicts the rest."""
    changed = document(defaults={name: "277777h46m40s"})
    if message is None:
        assert timedelta(seconds=1_000_000_000) == getattr(the_set(parse_policy(changed)), name)
    else:
        with pytest.raises(ConfigError) as caught:
            parse_policy(changed)
        assert message == caught.value.message


# --- members that contradict each other -----------------------------------------------------------------


@pytest.mark.parametrize(
    ("timing", "message"),
    [
        ({"cryptoperiod": "48h", "token_lifetime": "23h", "signer_lag": "24h59m59s"}, None),
        (
            {"cryptoperiod": "48h", "token_lifetime": "23h", "signer_lag": "25h"},
            "token_lifetime 23h + signer_lag 25h must be less than cryptoperiod 2d",
        ),
        (
            {"cryptoperiod": "48h", "token_lifetime": "23h", "signer_lag": "25h1s"},
            "token_lifetime 23h + signer_lag 25h1s must be less than cryptoperiod 2d",
        ),
        ({"cryptoperiod": "48h", "publication_lead": "47h59m59s"}, None),
        (
            {"cryptoperiod": "48h", "publication_lead": "48h"},
            "publication_lead 2d must be less than cryptoperiod 2d",
        ),
        (
            {"cryptoperiod": "48h", "publication_lead": "48h1s"},
            "publication_lead 2d1s must be less than cryptoperiod 2d",
        ),
        ({"publication_lead": "3h1s"}, None),
        ({"publication_lead": "3h"}, None),
        (
            {"publication_lead": "2h59m59s"},
            "publication_lead 2h59m59s is shorter than 3h: verifiers exist that keep a JWK Set for 2h",
        ),
        ({"publication_lead": "2h59m59s", "allow_short_lead": True}, None),
        ({"clock_skew": "23h59m59s"}, None),
        ({"clock_skew": "1d"}, None),
        ({"clock_skew": "1d1s"}, "clock_skew 24h1s must be at most 24h"),
    ],
)
def test_timing_that_contradicts_itself(timing: dict[str, Any], message: str | None) -> None:
    """One second before each bound, at it, and after it; the message has the figures of both sides."""
    if message is None:
        parse_policy(document(member=timing))
    else:
        with pytest.raises(ConfigError) as caught:
            parse_policy(document(member=timing))
        assert f"[sets.id-token]: {message}" == caught.value.message


def test_what_is_missing_is_shown() -> None:
    """The hints can be pasted."""
    with pytest.raises(ConfigError) as no_alg:
        parse_policy(document(sets={"a": {}}))
    with pytest.raises(ConfigError) as no_url:
        parse_policy({"format": 1})
    assert no_alg.value.hint == 'for example: alg = "ES256"'
    assert no_url.value.hint == '[site]\nurl = "https://keys.example.com"'


def test_a_short_lead_can_be_allowed() -> None:
    """The hint names the member that accepts the risk."""
    with pytest.raises(ConfigError) as caught:
        parse_policy(document(defaults={"publication_lead": "1h"}))
    assert caught.value.hint == "raise it, or say allow_short_lead = true where you know every verifier"


@pytest.mark.parametrize(
    ("max_age", "taken"),
    [("4m59s", False), ("5m", True), ("5m1s", True), ("59m59s", True), ("1h", True), ("1h1s", False)],
)
def test_how_long_hosts_let_others_cache(max_age: str, taken: bool) -> None:
    """Between five minutes and an hour, both included."""
    if taken:
        parse_policy(document(site={"max_age": max_age}))
    else:
        with pytest.raises(ConfigError, match=rf"^max_age of {max_age} in \[site\] must be 5m to 1h$"):
            parse_policy(document(site={"max_age": max_age}))


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
def test_urls_that_can_be(value: str, expected: str) -> None:
    """https, or http on this machine; a slash at the end is dropped."""
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
def test_urls_that_cannot_be(value: object, reason: str) -> None:
    """Whatever would make two readers see two issuers is refused."""
    with pytest.raises(ValueError, match=re.escape(reason)):
        check_url(value)


@given(st.text(st.characters(codec="ascii"), max_size=30))
def test_an_accepted_url_is_what_it_looks_like(tail: str) -> None:
    """No text after https:// smuggles in blanks, quotes, markup or another host."""
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
    """An issuer on the site has its path as its place; any other one needs a place of its own."""
    if place is not None:
        found = the_set(parse_policy(document(member={"issuer": issuer})))
        assert (found.issuer, found.place) == (issuer, place)
    else:
        with pytest.raises(ConfigError) as caught:
            parse_policy(document(member={"issuer": issuer}))
        where = f"does not lie under the site's url {SITE}: say where its JWK Set is served"
        assert f"issuer {issuer} of [sets.id-token] {where}" == caught.value.message
        assert caught.value.hint == 'at = "/id-token"; or issuer in [site], where it is the issuer of all sets'
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
def test_paths_that_cannot_be(path: str, reason: str) -> None:
    """An extra place of a JWK Set stays on the site, and away from what else stands there."""
    with pytest.raises(ConfigError, match=re.escape(f"{path!r} {reason}")):
        parse_policy(document(member={"paths": [path]}))


def test_two_issuers_cannot_share_a_place() -> None:
    """One path holds one JWK Set; two sets of one issuer may both name it."""
    api = {"alg": "ES256", "issuer": f"{SITE}/api"}
    parse_policy(document(sets={"a": {**api, "paths": ["/x"]}, "b": {**api, "paths": ["/x"]}}))
    with pytest.raises(ConfigError, match=rf"^path /x of \[sets\.b\] belongs to the issuer {SITE}/api already$"):
        parse_policy(document(sets={"a": {**api, "paths": ["/x"]}, "b": {"alg": "ES256", "paths": ["/x"]}}))
    taken = {"a": {"alg": "ES256"}, "b": {**api, "paths": ["/.well-known/jwks.json"]}}
    with pytest.raises(ConfigError, match=rf"belongs to the issuer {SITE} already$"):
        parse_policy(document(sets=taken))


@pytest.mark.parametrize("paths", [["/x", "/x/y"], ["/x/y", "/x"], ["/.well-known"], ["/.well-known/jwks.json/x"]])
def test_a_place_is_a_file_or_a_folder(paths: list[str]) -> None:
    """A file cannot also be the folder of another one."""
    with pytest.raises(ConfigError, match=r"^path .* of \[sets\.id-token\] would be both a file and a folder$"):
        parse_policy(document(member={"paths": paths}))


@pytest.mark.parametrize("name", ["a", "0", "id-token", "a.b_c-d", "x" * 64])
def test_set_names_that_can_be(name: str) -> None:
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
def test_set_names_that_cannot_be(name: str) -> None:
    """Names that some file system, shell or git would take for something else are refused."""
    with pytest.raises(ConfigError, match=r"^invalid set name .{1,80}$") as caught:
        check_set_name(name)
    assert caught.value.hint == "a name is 1 to 64 of a-z 0-9 . _ - and begins with a letter or digit"
    with pytest.raises(ConfigError, match="cannot be used"):
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
    ("example", "taken"),
    [*((example, True) for example in BOTH_ACCEPT), *((example, False) for example in BOTH_REFUSE)],
)
def test_the_schema_says_what_the_parser_does(example: dict[str, Any], taken: bool) -> None:
    """An editor marks what the tool would refuse, as far as a schema can say it."""
    jsonschema = pytest.importorskip("jsonschema", reason="the jsonschema package is not installed")
    assert taken == jsonschema.Draft202012Validator(schema()).is_valid(example)
    if taken:
        parse_policy(example)
    else:
        with pytest.raises(ConfigError):
            parse_policy(example)


def test_the_schema_is_a_schema_and_explains_itself() -> None:
    """It is valid, and every member has a sentence that an editor can show."""
    jsonschema = pytest.importorskip("jsonschema", reason="the jsonschema package is not installed")
    jsonschema.Draft202012Validator.check_schema(schema())
    properties = schema()["properties"]
    tables = [properties["site"], properties["defaults"], properties["sets"]["additionalProperties"]]
    assert all(member["description"] for table in tables for member in table["properties"].values())
