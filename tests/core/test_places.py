"""Issuers as they stand in ``iss``, and the places of their documents."""

from typing import Any

import pytest

from keyvault.core.places import check_issuer, check_place, path_of_issuer
from keyvault.core.policy import Policy
from keyvault.core.policy_file import parse_policy
from keyvault.errors import ConfigError

SITE = "https://keys.example.com"
AUTH = "https://auth.example.org"


def policy_of(sets: dict[str, dict[str, Any]], **site: Any) -> Policy:
    """Return the policy of a keyvault.toml with these tables; ES256 where a set says nothing."""
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
    """A service has its own domain, an OAuth client a client_id; none of it is changed by a byte."""
    assert check_issuer(value) == value


@pytest.mark.parametrize("value", ["", " ", " x", "x ", "a\tb", "a\nb", "ünï", "x" * 501, 7, None, ["x"]])
def test_texts_that_no_claim_should_carry_are_refused(value: object) -> None:
    """Blanks around it, control characters and look-alikes would make two readers see two issuers."""
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
    """A slash alone is the root of the site."""
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
def test_places_that_the_site_cannot_have(value: str) -> None:
    """No folder takes the place of a file that the site has, or of what git and hosts give a meaning."""
    with pytest.raises(
        ValueError, match="must be a path" if value == "/../a" else "has a name that is reserved for the site"
    ):
        check_place(value)


def test_places_that_differ_by_case() -> None:
    """File systems fold case; where both follow from issuers, as before there were places, the file is still read."""
    with pytest.raises(ConfigError, match="differ only in case"):
        policy_of({"a": {"issuer": "a", "at": "/x"}, "b": {"issuer": "b", "at": "/X"}})
    assert policy_of({"a": {"issuer": f"{SITE}/x"}, "b": {"issuer": f"{SITE}/X"}}).sets


def test_folder_of_an_issuer_holds_no_keys_of_another() -> None:
    """Some verifiers append the well-known path of a JWK Set to the issuer, and ask for no discovery document."""
    sets = {"id": {"issuer": f"{SITE}/blue", "at": "/x"}, "c": {"issuer": "client", "at": "/blue"}}
    with pytest.raises(ConfigError, match="would trust the keys of another"):
        policy_of(sets)
    assert policy_of({**sets, "c": {"issuer": "client", "at": "/c"}}).sets


def test_paths_of_issuers() -> None:
    """OpenID Connect Discovery 1.0 section 4: one terminating slash is no part of the path."""
    base = "https://example.github.io/keys"
    assert path_of_issuer(base, base) == path_of_issuer(base, base + "/") == ""
    assert path_of_issuer(base, base + "/a/b/") == "/a/b"
    for other in ("https://example.github.io", base + "x", base + "//", base + "/a//", "keys", base.upper()):
        assert path_of_issuer(base, other) is None


def test_issuer_of_the_site_may_be_elsewhere() -> None:
    """The most common setup: a service on its own domain, its keys in a bucket."""
    policy = policy_of({"id-token": {}, "access-token": {"alg": "RS256"}}, issuer=AUTH)
    assert {(one.issuer, one.place) for one in policy.sets.values()} == {(AUTH, "")}


def test_one_jwk_set_has_one_issuer() -> None:
    """Whoever can sign for one issuer of a JWK Set can sign for the other, so two need two places."""
    with pytest.raises(ConfigError, match="each could sign for the other") as caught:
        policy_of({"a": {}, "b": {"issuer": "client-b", "at": "/"}})
    assert caught.value.hint == 'at = "/b" gives b a JWK Set of its own'
    assert policy_of({"a": {}, "b": {"issuer": "client-b", "at": "/b"}}).sets["b"].place == "/b"


def test_symmetric_sets_have_no_jwk_set_to_share() -> None:
    """Nothing of them is rendered, so their issuer meets nobody."""
    assert policy_of({"a": {}, "b": {"alg": "HS256", "issuer": "client-b", "at": "/"}}).sets["b"].place == ""


def test_two_issuers_that_differ_by_a_slash_are_read() -> None:
    """A vault in which somebody wrote both must stay readable: keys have to be revoked whatever a file says."""
    policy = policy_of({"a": {}, "b": {"issuer": SITE + "/"}})
    assert [one.issuer for one in policy.sets.values()] == [SITE, SITE + "/"]


def test_client_with_several_jwk_sets() -> None:
    """One client_id at two authorization servers, each of which gets keys of its own."""
    sets = {"staging": {"issuer": "acme", "at": "/staging"}, "production": {"issuer": "acme", "at": "/production"}}
    assert [one.place for one in policy_of(sets).sets.values()] == ["/staging", "/production"]


def test_discovery_document_names_one_jwk_set() -> None:
    """An issuer on this site with two places would need two values of jwks_uri."""
    sets = {"a": {"issuer": f"{SITE}/t"}, "b": {"issuer": f"{SITE}/t/", "at": "/elsewhere"}}
    with pytest.raises(ConfigError, match="would share the discovery document"):
        policy_of(sets)
    assert policy_of(sets, discovery=False).sets["b"].place == "/elsewhere"


def test_issuer_in_a_folder_of_the_site_is_refused() -> None:
    """Its discovery document would stand among pages of keys, wherever its JWK Set lies."""
    with pytest.raises(ConfigError, match="is in a folder that is reserved for the site"):
        policy_of({"a": {"issuer": f"{SITE}/keys/a", "at": "/a"}})


def test_key_types_that_break_others_get_a_place_of_their_own() -> None:
    """Where the issuer is elsewhere, a place is enough to keep ML-DSA apart."""
    sets = {"a": {"issuer": AUTH, "at": "/"}, "pq": {"alg": "ML-DSA-65", "issuer": AUTH, "at": "/"}}
    with pytest.raises(ConfigError, match="break verifiers of") as caught:
        policy_of(sets)
    assert caught.value.hint == 'give it a place of its own: at = "/pq"'
    assert policy_of({**sets, "pq": {**sets["pq"], "at": "/pq"}}).sets["pq"].place == "/pq"
