"""Issuers, the values of ``iss``, and the places of their documents."""

from typing import Any

import pytest

from keyvault.core.places import check_issuer, check_place, path_of_issuer
from keyvault.core.policy import Policy
from keyvault.core.policy_file import parse_policy
from keyvault.errors import ConfigError
from tests.errors import fails

SITE = "https://keys.example.com"
AUTH = "https://auth.example.org"


def policy_of(sets: dict[str, dict[str, Any]], **site: Any) -> Policy:
    """Return the policy of a keyvault.toml with these tables; the default algorithm is ES256."""
    tables = {name: {"alg": "ES256", **members} for name, members in sets.items()}
    return parse_policy({"format": 1, "site": {"url": SITE, **site}, "sets": tables})


@pytest.mark.parametrize(
    "value",
    [
        "s6BhdRkqt3",
        "acme/prod client",
        "https://tenant.example.com/",
        "https://tenant.example.com",
        "https://login.example.com/%7Btenant%7D/v2.0",
        "http://auth.internal:8080/realms/main",
        "https://[2001:db8::1]/x",
        "urn:example:issuer",
        "did:web:example.com",
        "spiffe://example.org",
        "x" * 500,
    ],
)
def test_any_string_or_uri_is_an_issuer(value: str) -> None:
    """A service has its own domain, an OAuth client a client_id; neither changes by a byte."""
    assert check_issuer(value) == value


@pytest.mark.parametrize("value", ["", " ", " x", "x ", "a\tb", "a\nb", "ünï", "x" * 501, 7, None, ["x"]])
def test_ambiguous_issuers_are_refused(value: object) -> None:
    """Two readers would see two issuers in text with outer blanks, control characters or look-alikes."""
    with pytest.raises(ValueError, match="printable ASCII"):
        check_issuer(value)


@pytest.mark.parametrize("value", ["a:b c", "https://a b", ":x", "1a:b", "x:", "https://x/%zz", 'https://x/"', "a:<b>"])
def test_text_with_a_colon_must_be_a_uri(value: str) -> None:
    """RFC 7519 section 2: any value that contains a colon is a URI."""
    with pytest.raises(ValueError, match="must be a URI because it has a colon"):
        check_issuer(value)


@pytest.mark.parametrize(
    ("value", "place"), [("/", ""), ("/a", "/a"), ("/clients/acme", "/clients/acme"), ("/a.b/~c", "/a.b/~c")]
)
def test_places(value: str, place: str) -> None:
    """A single slash is the root of the site."""
    assert check_place(value) == place


@pytest.mark.parametrize("value", ["", "a", "/a/", "//", "/a//b", "/a b", "/a?b", 7])
def test_places_that_are_no_path(value: object) -> None:
    """A place is a plain folder."""
    with pytest.raises(ValueError, match="must be a path"):
        check_place(value)


@pytest.mark.parametrize(
    "value",
    [
        *("/keys/a", "/sets", "/assets/x", "/page", "/a/page", "/index.html", "/a/index.html", "/INDEX.html"),
        *("/jwks.json", "/a/jwks.json", "/history.json", "/history.schema.json", "/robots.txt", "/feed.atom"),
        *("/sitemap.xml", "/upcoming.ics", "/404.html", "/_headers", "/.nojekyll", "/.git", "/a/.git/hooks"),
        *("/.well-known", "/a/.well-known", "/.well-known/openid-configuration", "/../a"),
    ],
)
def test_reserved_places(value: str) -> None:
    """No folder may replace a file of the site, or have a name with a meaning for git and hosts."""
    with pytest.raises(
        ValueError, match="must be a path" if value == "/../a" else "has a name that is reserved for the site"
    ):
        check_place(value)


def test_places_that_differ_in_case() -> None:
    """File systems fold case; if both places follow from issuers, as in old files, the policy is accepted."""
    with fails("place-case", ConfigError):
        policy_of({"a": {"issuer": "a", "at": "/x"}, "b": {"issuer": "b", "at": "/X"}})
    assert policy_of({"a": {"issuer": f"{SITE}/x"}, "b": {"issuer": f"{SITE}/X"}}).sets


def test_the_folder_of_an_issuer_has_no_keys_of_another() -> None:
    """Some verifiers append the well-known path of a JWK Set to the issuer, and fetch no discovery document."""
    sets = {"id": {"issuer": f"{SITE}/blue", "at": "/x"}, "c": {"issuer": "client", "at": "/blue"}}
    with fails("place-conflict", ConfigError):
        policy_of(sets)
    assert policy_of({**sets, "c": {"issuer": "client", "at": "/c"}}).sets


def test_paths_of_issuers() -> None:
    """OpenID Connect Discovery 1.0 section 4: a terminating slash is not part of the path."""
    base = "https://example.github.io/keys"
    assert path_of_issuer(base, base) == path_of_issuer(base, base + "/") == ""
    assert path_of_issuer(base, base + "/a/b/") == "/a/b"
    for other in ("https://example.github.io", base + "x", base + "//", base + "/a//", "keys", base.upper()):
        assert path_of_issuer(base, other) is None


def test_issuer_of_the_site_may_be_elsewhere() -> None:
    """The most common setup is a service on its own domain, with its keys in a bucket."""
    policy = policy_of({"id-token": {}, "access-token": {"alg": "RS256"}}, issuer=AUTH)
    assert {(key_set.issuer, key_set.place) for key_set in policy.sets.values()} == {(AUTH, "")}


def test_a_jwk_set_has_only_one_issuer() -> None:
    """Two issuers with the same JWK Set could sign for each other, so they need two places."""
    with fails("issuer-conflict", ConfigError) as caught:
        policy_of({"a": {}, "b": {"issuer": "client-b", "at": "/"}})
    assert caught.value.hint == 'at = "/b" gives b a JWK Set of its own'
    assert policy_of({"a": {}, "b": {"issuer": "client-b", "at": "/b"}}).sets["b"].place == "/b"


def test_symmetric_sets_have_no_jwk_set_to_share() -> None:
    """The site does not render them, so their issuer conflicts with no other."""
    assert policy_of({"a": {}, "b": {"alg": "HS256", "issuer": "client-b", "at": "/"}}).sets["b"].place == ""


def test_two_issuers_that_differ_by_a_slash_are_read() -> None:
    """A vault with both spellings must stay readable, because revocation must always be possible."""
    policy = policy_of({"a": {}, "b": {"issuer": SITE + "/"}})
    assert [key_set.issuer for key_set in policy.sets.values()] == [SITE, SITE + "/"]


def test_client_with_several_jwk_sets() -> None:
    """A client_id may be used at two authorization servers, with separate keys for each."""
    sets = {"staging": {"issuer": "acme", "at": "/staging"}, "production": {"issuer": "acme", "at": "/production"}}
    assert [key_set.place for key_set in policy_of(sets).sets.values()] == ["/staging", "/production"]


def test_a_discovery_document_names_only_one_jwk_set() -> None:
    """An issuer on this site with two places would need two values of jwks_uri."""
    sets = {"a": {"issuer": f"{SITE}/t"}, "b": {"issuer": f"{SITE}/t/", "at": "/elsewhere"}}
    with fails("discovery-conflict", ConfigError):
        policy_of(sets)
    assert policy_of(sets, discovery=False).sets["b"].place == "/elsewhere"


def test_issuer_in_a_folder_of_the_site_is_refused() -> None:
    """Its discovery document would be among pages of keys, even if its JWK Set is elsewhere."""
    with fails("place-reserved", ConfigError):
        policy_of({"a": {"issuer": f"{SITE}/keys/a", "at": "/a"}})


def test_key_types_that_break_others_get_a_place_of_their_own() -> None:
    """If the issuer is not on the site, a separate place is enough for ML-DSA."""
    sets = {"a": {"issuer": AUTH, "at": "/"}, "pq": {"alg": "ML-DSA-65", "issuer": AUTH, "at": "/"}}
    with fails("akp-not-alone", ConfigError) as caught:
        policy_of(sets)
    assert caught.value.hint == 'give it a place of its own: at = "/pq"'
    assert policy_of({**sets, "pq": {**sets["pq"], "at": "/pq"}}).sets["pq"].place == "/pq"
