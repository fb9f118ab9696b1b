"""The paths of a site, and the content of JWK Sets, discovery documents and host files."""

from __future__ import annotations

import json
from typing import Any

import msgspec
import pytest

from keyvault.core.algorithms import key_spec
from keyvault.core.jwk import jwk_set_bytes
from keyvault.core.places import SITE_PATHS
from keyvault.core.state import VaultState
from keyvault.errors import ConfigError, RecordError, RenderError
from keyvault.operations import keys, rotation
from keyvault.operations.site import default_templates
from keyvault.site.build import build
from keyvault.site.pages import Templates
from tests.errors import fails
from tests.site.vaults import DAY, HOUR, MINUTE, SITE, Lab, MakeVault

#: The paths that every site has.
FIXED = {
    *Templates(default_templates()).assets.values(),
    "history.json",
    "index.html",
    "404.html",
    "feed.atom",
    "history.schema.json",
    "sitemap.xml",
    "upcoming.ics",
    ".nojekyll",
    "robots.txt",
    "_headers",
}
ROOT = {
    ".well-known/jwks.json",
    "jwks.json",
    ".well-known/openid-configuration",
    ".well-known/openid-configuration.json",
}


def of_issuer(place: str) -> set[str]:
    """Return the paths of the issuer at *place*."""
    return {f"{place}/{path}" for path in ROOT}


def key_files(state: VaultState, *, without: str = "") -> set[str]:
    """Return the paths of single keys, except those of the set *without*."""
    kids = [key.kid for key in state.keys.values() if key.set != without]
    return {f"keys/{kid}{form}" for kid in kids for form in (".json", ".pem", "/index.html")}


def set_files(*names: str) -> set[str]:
    """Return the paths of single sets."""
    return {f"sets/{name}/{file}" for name in names for file in ("jwks.json", "index.html")}


def document(site: dict[str, bytes], path: str) -> Any:
    return json.loads(site[path])


def kids(site: dict[str, bytes], path: str) -> list[str]:
    return [jwk["kid"] for jwk in document(site, path)["keys"]]


def test_fresh_vault_has_exactly_the_documented_paths(vault: Lab) -> None:
    """The site of a new vault is complete: JWK Sets, discovery, pages, single keys and host files."""
    expected = FIXED | ROOT | set_files("id-token", "access-token") | key_files(vault.state)

    assert set(vault.site()) == expected
    assert len(key_files(vault.state)) == 12


def test_both_names_of_a_jwk_set_serve_the_same_bytes(vault: Lab) -> None:
    """Both paths serve the same JWK Set, which has the active and next key of every set."""
    site, state = vault.site(), vault.state

    assert site[".well-known/jwks.json"] == site["jwks.json"]
    expected = [state.sets[name].jwk_set for name in ("access-token", "id-token")]
    assert site["jwks.json"] == jwk_set_bytes(key.public for keys in expected for key in keys)
    assert [key.state for key in expected[0]] == ["active", "next"]


def test_jwk_set_of_one_set_holds_that_set_alone(vault: Lab) -> None:
    """Each set has a JWK Set of its own."""
    site, state = vault.site(), vault.state

    assert kids(site, "sets/id-token/jwks.json") == [key.kid for key in state.sets["id-token"].jwk_set]


def test_discovery_document_says_issuer_jwks_uri_and_algorithms(vault: Lab) -> None:
    """The document has every required member, and leads from the issuer to the keys."""
    site = vault.site()

    assert site[".well-known/openid-configuration"] == site[".well-known/openid-configuration.json"]
    assert document(site, ".well-known/openid-configuration") == {
        "issuer": SITE,
        "jwks_uri": f"{SITE}/.well-known/jwks.json",
        "authorization_endpoint": "urn:kubernetes:programmatic_authorization",
        "response_types_supported": ["id_token"],
        "subject_types_supported": ["public"],
        "id_token_signing_alg_values_supported": ["ES256", "ES384"],
        "claims_supported": ["iss", "sub", "aud", "exp", "iat"],
    }


def test_host_files_say_how_to_serve(vault: Lab) -> None:
    """_headers sets JSON for names without extension, .nojekyll keeps dot files, and robots.txt allows all."""
    site = vault.site()
    lines = site["_headers"].decode().splitlines()

    assert site[".nojekyll"] == b""
    assert site["robots.txt"] == b"User-agent: *\nAllow: /\nSitemap: https://keys.example.com/sitemap.xml\n"
    assert lines[0] == "/*"
    assert "  Cache-Control: public, max-age=600" in lines
    assert "  Access-Control-Allow-Origin: *" in lines
    assert "  X-Content-Type-Options: nosniff" in lines
    place = lines.index("/.well-known/openid-configuration")
    assert lines[place + 1] == "  Content-Type: application/json"


def test_max_age_of_policy_reaches_the_host_file(vault: Lab) -> None:
    """_headers has the max_age of policy."""
    vault.edit_policy('max_age = "10m"', 'max_age = "45m"')

    assert b"max-age=2700\n" in vault.site()["_headers"]


# --- issuers and extra paths ----------------------------------------------------------------------------


def test_issuers_have_own_paths_and_own_sets(vault: Lab) -> None:
    """Each issuer below the site's url has a folder with only its own keys."""
    for name in ("api", "deep/er"):
        keys.add_set(vault.context(), name.replace("/", "-"), spec=key_spec("ES256"), issuer=f"{SITE}/{name}")
    site, state = vault.site(), vault.state

    sets = set_files(*state.sets) | {"api/index.html", "deep/er/index.html"}
    assert set(site) == FIXED | ROOT | of_issuer("api") | of_issuer("deep/er") | sets | key_files(state)
    assert kids(site, "api/jwks.json") == [key.kid for key in state.sets["api"].jwk_set]
    assert not set(kids(site, "jwks.json")) & set(kids(site, "api/jwks.json"))
    assert document(site, "deep/er/.well-known/openid-configuration")["issuer"] == f"{SITE}/deep/er"
    assert (
        document(site, "deep/er/.well-known/openid-configuration")["jwks_uri"]
        == f"{SITE}/deep/er/.well-known/jwks.json"
    )


def test_sets_of_one_issuer_share_one_jwk_set(make_vault: MakeVault) -> None:
    """Two sets with the same issuer share a JWK Set, and the root has none."""
    lab = make_vault()
    for name in ("id-token", "access-token"):
        lab.edit_policy(f"[sets.{name}]\n", f'[sets.{name}]\nissuer = "{SITE}/login"\n')
    site = lab.site()

    assert len(kids(site, "login/jwks.json")) == 4
    assert not ROOT & set(site)


def test_extra_paths_serve_the_jwk_set_of_the_issuer(vault: Lab) -> None:
    """An extra path, as for Kubernetes or an older deployment, serves the same bytes, as JSON."""
    vault.edit_policy("[sets.id-token]\n", '[sets.id-token]\npaths = ["/keys.json", "/openid/v1/jwks"]\n')
    site = vault.site()

    assert site["keys.json"] == site["openid/v1/jwks"] == site["jwks.json"]
    assert b"/openid/v1/jwks\n  Content-Type: application/json\n" in site["_headers"]
    assert b"/keys.json" not in site["_headers"]


def test_site_below_a_path_keeps_paths_relative(make_vault: MakeVault) -> None:
    """The files of a site at https://host/base, including those of issuers, are relative to base."""
    base = "https://user.example.io/keys-of-mine"
    lab = make_vault(url=base)
    keys.add_set(lab.context(), "api", spec=key_spec("ES256"), issuer=f"{base}/api")
    site = lab.site()

    sets = set_files(*lab.state.sets) | {"api/index.html"}
    assert set(site) == FIXED | ROOT | of_issuer("api") | sets | key_files(lab.state)
    found = document(site, "api/.well-known/openid-configuration")
    assert found["issuer"] == f"{base}/api"
    assert found["jwks_uri"] == f"{base}/api/.well-known/jwks.json"
    assert f'<a href="{base}/.well-known/jwks.json">' in site["index.html"].decode()


# --- kinds of sets --------------------------------------------------------------------------------------


def test_encryption_set_publishes_only_its_active_key(vault: Lab) -> None:
    """Senders must encrypt to the active key only: next and retiring keys are not listed."""
    keys.add_set(vault.context(), "mail", spec=key_spec("ECDH-ES+A256KW"))
    vault.wait(DAY)
    rotation.rotate(vault.context(), ["mail"])
    site, mail = vault.site(), vault.state.sets["mail"]

    assert [key.state for key in mail.keys].count("retiring") == 1
    assert mail.active is not None
    assert kids(site, "sets/mail/jwks.json") == [mail.active.kid]
    assert [kid for kid in kids(site, "jwks.json") if kid in {key.kid for key in mail.keys}] == [mail.active.kid]
    assert document(site, f"keys/{mail.active.kid}.json")["use"] == "enc"


def test_algorithms_for_encryption_are_no_signing_algorithms(vault: Lab) -> None:
    """The discovery document lists signing algorithms only."""
    keys.add_set(vault.context(), "mail", spec=key_spec("ECDH-ES+A256KW"))
    found = document(vault.site(), ".well-known/openid-configuration")

    assert found["id_token_signing_alg_values_supported"] == ["ES256", "ES384"]


def test_symmetric_set_is_nowhere_on_the_site(vault: Lab) -> None:
    """A symmetric set is stored and rotated, but the site does not mention it or its keys."""
    keys.add_set(vault.context(), "cookie-secret", spec=key_spec("HS256"))
    vault.wait(2 * DAY)
    rotation.rotate(vault.context(), ["cookie-secret"])
    site, state = vault.site(), vault.state

    secret = [key.kid for key in state.sets["cookie-secret"].keys]
    assert len(secret) == 3
    assert set(site) == FIXED | ROOT | set_files("id-token", "access-token") | key_files(state, without="cookie-secret")
    everything = b"".join(site.values())
    for text in (*secret, "cookie-secret", '"oct"', "HS256"):
        assert text.encode() not in everything


def test_symmetric_set_stays_hidden_after_it_was_removed(vault: Lab) -> None:
    """After its set was removed, a symmetric key still does not appear in the history."""
    keys.add_set(vault.context(), "cookie-secret", spec=key_spec("HS256"))
    secret = [key.kid for key in vault.state.sets["cookie-secret"].keys]
    keys.remove_set(vault.context(), "cookie-secret", forced="not needed")
    site = vault.site()

    assert "cookie-secret" not in vault.state.sets
    assert not [kid for kid in (*secret, "cookie-secret") if kid.encode() in b"".join(site.values())]


def test_vault_of_symmetric_sets_only_has_no_jwk_set(make_vault: MakeVault) -> None:
    """If nothing may be published, the site renders without a JWK Set."""
    site = make_vault("cookie-secret:HS256").site()

    assert set(site) == FIXED
    assert b"No set is published yet." in site["index.html"]


def test_closing_set_keeps_serving_issued_tokens_until_they_expire(vault: Lab) -> None:
    """A removed set stops signing, and its last key stays published until keep_until."""
    active, following = vault.key("id-token", "active"), vault.key("id-token", "next")
    vault.wait(HOUR)
    keys.remove_set(vault.context(), "id-token")
    site = vault.site()

    assert kids(site, "sets/id-token/jwks.json") == [active.kid]
    assert f"keys/{following.kid}.json" in site

    vault.wait(3 * HOUR)
    rotation.rotate_due(vault.context())
    site = vault.site()
    assert "sets/id-token/jwks.json" not in site
    assert active.kid not in kids(site, "jwks.json")


def test_removed_set_stays_in_history(vault: Lab) -> None:
    """After a set was removed from keyvault.toml, the site still shows its keys and events, and has their files."""
    gone = [key.kid for key in vault.state.sets["id-token"].keys]
    keys.remove_set(vault.context(), "id-token", forced="never went live")
    site = vault.site()

    history = document(site, "history.json")
    assert [entry["name"] for entry in history["sets"]] == ["access-token"]
    shown = {key["kid"]: key for key in history["keys"]}
    for kid in gone:
        assert shown[kid]["state"] == "revoked"
        assert shown[kid]["events"][-1]["forced"] == "never went live"
        assert {f"keys/{kid}.json", f"keys/{kid}.pem"} <= set(site)
        assert kid in site["index.html"].decode()
        assert kid not in site["jwks.json"].decode()


# --- discovery and metadata -----------------------------------------------------------------------------


def test_discovery_off_leaves_the_documents_out(vault: Lab) -> None:
    """With discovery off, the site has no discovery document and no link to one."""
    vault.edit_policy("discovery = true ", "discovery = false ")
    site = vault.site()

    assert not [path for path in site if "openid-configuration" in path]
    assert b"openid-configuration" not in site["index.html"]
    assert b"openid-configuration" not in site["_headers"]


def test_metadata_replaces_and_adds_members(vault: Lab) -> None:
    """[site.metadata] replaces members and adds others."""
    vault.append_policy(
        '\n[site.metadata]\nauthorization_endpoint = "https://login.example.com/authorize"\n'
        'scopes_supported = ["openid"]\nresponse_types_supported = ["code"]\n'
    )
    found = document(vault.site(), ".well-known/openid-configuration")

    assert found["authorization_endpoint"] == "https://login.example.com/authorize"
    assert found["scopes_supported"] == ["openid"]
    assert found["response_types_supported"] == ["code"]
    assert found["issuer"] == SITE


@pytest.mark.parametrize("member", ["issuer", "jwks_uri"])
def test_metadata_cannot_say_where_the_keys_are(vault: Lab, member: str) -> None:
    """issuer and jwks_uri follow from the url: a document that contradicts its own URL would be an attack."""
    vault.append_policy(f'\n[site.metadata]\n{member} = "https://evil.example"\n')

    with fails("policy-member-invalid", ConfigError) as caught:
        vault.site()
    assert f" {member}:" in caught.value.message


# --- the order, and never empty -------------------------------------------------------------------------


def test_order_of_a_jwk_set(make_vault: MakeVault) -> None:
    """The order is RSA, EC, OKP; then sets by name; then active, next, and retiring keys, newest first."""
    lab = make_vault("a-okp:EdDSA", "c-ec:ES256", "b-ec:ES384", "z-rsa:RS256")
    lab.rotate("b-ec")
    lab.wait(30 * MINUTE)
    rotation.rotate(lab.context(), ["b-ec"], forced="a second key is to retire")
    sets = lab.state.sets
    site = lab.site()

    assert [key.state for key in sets["b-ec"].jwk_set] == ["active", "next", "retiring", "retiring"]
    newest, oldest = sets["b-ec"].jwk_set[2:]
    assert newest.life.deactivated_at is not None
    assert oldest.life.deactivated_at is not None
    assert newest.life.deactivated_at > oldest.life.deactivated_at
    expected = [key.kid for name in ("z-rsa", "b-ec", "c-ec", "a-okp") for key in sets[name].jwk_set]
    assert kids(site, "jwks.json") == expected


def test_set_without_keys_has_no_jwk_set(vault: Lab) -> None:
    """A new set has no JWK Set before its first key: an empty one would make verifiers drop their keys."""
    vault.append_policy(f'\n[sets.fresh]\nalg = "ES256"\nissuer = "{SITE}/fresh"\n')
    site = vault.site()

    assert [path for path in site if "fresh" in path] == ["fresh/index.html", "sets/fresh/index.html"]
    assert b"No key is published yet." in site["fresh/index.html"]
    assert b"jwks.json" not in site["fresh/index.html"] + site["sets/fresh/index.html"]

    rotation.rotate_due(vault.context())
    assert len(kids(vault.site(), "fresh/jwks.json")) == 2


def test_no_json_on_the_site_is_an_empty_jwk_set(make_vault: MakeVault) -> None:
    """A vault without sets renders, and its site has nothing that looks like a JWK Set."""
    site = make_vault(empty=True).site()

    assert set(site) == FIXED
    assert not [path for path, data in site.items() if b'"keys": []' in data and path != "history.json"]


# --- conflicting paths ----------------------------------------------------------------------------------


def test_kids_that_differ_only_by_case_are_refused_in_a_commit(vault: Lab) -> None:
    """Two keys whose files would collide on a Mac are refused in a vault."""
    key = vault.key("id-token", "next")
    for kid in ("Imported", "imported"):
        public = msgspec.structs.replace(key.public, kid=kid)
        created = msgspec.structs.replace(key.events[0], imported=True)
        events = (created, msgspec.structs.replace(key.events[0], event="withdrawn"))
        forged = msgspec.structs.replace(key, public=public, events=events, private=msgspec.UNSET)
        vault.commit_key(forged)

    with fails("kid-in-use", RecordError):
        vault.site()


def test_two_files_with_the_same_path_are_refused(vault: Lab) -> None:
    """If a state has two such keys all the same, rendering fails, and neither overwrites the other."""
    key = vault.key("id-token", "next")
    other = msgspec.structs.replace(key, public=msgspec.structs.replace(key.public, kid=key.kid.swapcase()))
    other = msgspec.structs.replace(
        other, events=(*key.events, msgspec.structs.replace(key.events[0], event="withdrawn"))
    )
    state = vault.state
    both = VaultState(state.commit, state.policy, {**state.keys, other.kid: other}, state.recipients)

    with fails("site-path-taken", RenderError) as caught:
        list(build(both, {}, Templates(default_templates())))
    assert key.kid in caught.value.message
    assert other.kid in caught.value.message


@pytest.mark.parametrize("path", ["/.nojekyll", "/_headers", "/.well-known/openid-configuration"])
def test_extra_path_on_a_file_of_the_site_is_refused(vault: Lab, path: str) -> None:
    """An extra path that would replace a file of the site is an error that names the path."""
    vault.edit_policy("[sets.id-token]\n", f'[sets.id-token]\npaths = ["{path}"]\n')

    with fails("policy-member-invalid", ConfigError) as caught:
        vault.site()
    assert path in caught.value.message


def test_a_set_that_was_symmetric_once_shows_only_what_came_after(make_vault: MakeVault) -> None:
    """After a change from HS256 to ES256, a set publishes its new keys, and never an old key."""
    lab = make_vault("cookie:HS256")
    secret = [key.kid for key in lab.state.keys.values()]
    rotation.rotate(lab.context(), ["cookie"], alg="ES256")
    for _ in range(3):
        site = lab.site()
        public = [key.kid for key in lab.state.sets["cookie"].keys if key.kid not in secret]

        assert set(kids(site, "jwks.json")) <= set(public)
        assert f"keys/{public[0]}/index.html" in site
        assert not [kid for kid in secret if kid.encode() in b"".join(site.values())]
        lab.wait(HOUR)
        rotation.rotate(lab.context(), ["cookie"], forced="a drill")


def test_a_set_that_became_symmetric_keeps_the_pages_of_its_public_keys(make_vault: MakeVault) -> None:
    """After a change from ES256 to HS256, the set has no JWK Set; its page and those of its old keys remain."""
    lab = make_vault("cookie:ES256")
    public = [key.kid for key in lab.state.keys.values()]
    lab.edit_policy('alg = "ES256"', 'alg = "HS256"')
    for _ in range(3):
        rotation.rotate(lab.context(), ["cookie"], forced="a drill")
        lab.wait(HOUR)
    site = lab.site()

    assert not lab.state.sets["cookie"].rendered
    assert b"no longer in use" in site["sets/cookie/index.html"]
    assert all(f"keys/{kid}/index.html" in site and f"keys/{kid}.json" in site for kid in public)
    assert not [kid for kid in lab.state.keys if kid not in public and kid.encode() in b"".join(site.values())]


def test_no_file_at_the_root_is_a_valid_extra_path(vault: Lab) -> None:
    """Every file that the site itself has at its root, apart from the JWK Set, is reserved."""
    own = {path for path in vault.site() if "/" not in path and path != "jwks.json"}

    assert {f"/{path}" for path in own} <= SITE_PATHS
