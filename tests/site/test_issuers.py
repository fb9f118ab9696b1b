"""Issuers that are not on the site, or end with a slash: what is served, what tokens say, what lint tells."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from keyvault.api import Vault
from keyvault.core.algorithms import key_spec
from keyvault.crypto.tokens import parse_token
from keyvault.operations import audit, keys, lint, rotation
from tests.site.vaults import SITE, Lab, new_lab

AUTH = "https://auth.example.org"
JWKS = ".well-known/jwks.json"
CONFIGURATION = ".well-known/openid-configuration"


def document(site: dict[str, bytes], path: str) -> Any:
    return json.loads(site[path])


def iss(lab: Lab, name: str) -> str:
    """Return what stands in the tokens of set *name*."""
    token = Vault.open(lab.folder, environ=lab.environ).signer(name).sign({"sub": "alice"})
    return str(parse_token(token).claims["iss"])


def findings(lab: Lab) -> dict[str, str]:
    """Return what lint says of issuers: messages by code."""
    found = lint.lint_commit(lab.context(), lab.context().repository.head()).findings
    return {one.code: one.message for one in found if one.code.startswith("issuer-")}


@pytest.fixture
def elsewhere(tmp_path: Path) -> Lab:
    """A vault whose tokens say an issuer of another domain than that of its keys."""
    return new_lab(tmp_path / "vault", "id-token:ES256", issuer=AUTH)


def test_issuer_on_its_own_domain_with_keys_in_a_bucket(elsewhere: Lab) -> None:
    """Keys stand at the site's root, tokens say the issuer, and no discovery document claims another one's place."""
    site = elsewhere.site()

    assert iss(elsewhere, "id-token") == AUTH
    assert JWKS in site
    assert not [path for path in site if "openid-configuration" in path]
    page = site["index.html"].decode()
    assert f"<strong>{AUTH}</strong>" in page
    assert f'issuer="{AUTH}"' in page
    assert f'PyJWKClient("{SITE}/{JWKS}")' in page
    (described,) = document(site, "history.json")["sets"]
    assert (described["issuer"], described["jwks_uri"]) == (AUTH, f"{SITE}/{JWKS}")
    assert findings(elsewhere) == {
        "issuer-elsewhere": f"no discovery document is rendered for {AUTH}, which is not on this site: "
        f"give verifiers jwks_uri {SITE}/{JWKS}"
    }


def test_life_of_keys_of_an_issuer_elsewhere(elsewhere: Lab) -> None:
    """Receipts name the URL of the keys, the rotation waits for them, and the audit takes the whole history."""
    elsewhere.rotate("id-token")
    active = elsewhere.key("id-token", "active")

    assert [event.url for event in active.events if event.url] == [f"{SITE}/{JWKS}"]
    assert not audit.audit(elsewhere.context(), elsewhere.context().repository.head()).errors


def test_client_id_is_an_issuer(vault: Lab) -> None:
    """An OAuth client signs as itself: iss is its client_id, and the server gets its jwks_uri."""
    spec = key_spec("Ed25519")
    keys.add_set(vault.context(), "acme", spec=spec, issuer="s6BhdRkqt3", at="/clients/acme")
    site = vault.site()

    assert iss(vault, "acme") == "s6BhdRkqt3"
    assert len(document(site, f"clients/acme/{JWKS}")["keys"]) == 2
    assert f"clients/acme/{CONFIGURATION}" not in site
    assert "s6BhdRkqt3" in site["clients/acme/index.html"].decode()
    assert "clients/acme/index.html" in site["index.html"].decode()
    assert list(findings(vault)) == ["issuer-elsewhere"]
    found = Vault.open(vault.folder, environ=vault.environ)
    assert found.jwks("s6BhdRkqt3") == found.jwks("s6BhdRkqt3", at="/clients/acme")
    assert found.jwks("s6BhdRkqt3") == document(site, f"clients/acme/{JWKS}")


def test_client_id_is_escaped_wherever_it_is_shown(vault: Lab) -> None:
    """A client_id may hold quotes and markup, which pages show as text and snippets as a string."""
    odd = '</code>"x\\'
    keys.add_set(vault.context(), "odd", spec=key_spec("ES256"), issuer=odd, at="/odd")
    page = vault.site()["odd/index.html"].decode()

    assert odd not in page
    assert "</code>&#34;x" not in page.partition("PyJWKClient")[2].partition("</pre>")[0]
    assert json.loads('"' + page.partition('    issuer: "')[2].partition('",\n')[0] + '"') == odd
    assert iss(vault, "odd") == odd


def test_final_slash_of_an_issuer_is_kept(vault: Lab) -> None:
    """Verifiers compare issuers byte for byte; the slash goes only where the path of the document is made."""
    keys.add_set(vault.context(), "tenant", spec=key_spec("ES256"), issuer=f"{SITE}/tenant/")
    site = vault.site()
    found = document(site, f"tenant/{CONFIGURATION}")

    assert iss(vault, "tenant") == f"{SITE}/tenant/"
    assert found["issuer"] == f"{SITE}/tenant/"
    assert found["jwks_uri"] == f"{SITE}/tenant/{JWKS}"
    assert f"tenant/{JWKS}" in site
    assert findings(vault) == {}


def test_final_slash_of_the_issuer_at_the_root(tmp_path: Path) -> None:
    """Auth0 and others issue as https://tenant.example.com/: a site at the root of that host serves both documents."""
    lab = new_lab(tmp_path / "vault", "id-token:ES256", issuer=f"{SITE}/")
    site = lab.site()

    assert document(site, CONFIGURATION)["issuer"] == f"{SITE}/"
    assert document(site, CONFIGURATION)["jwks_uri"] == f"{SITE}/{JWKS}"
    assert lab.state.policy.site.url == SITE
    assert iss(lab, "id-token") == f"{SITE}/"


def test_discovery_document_lies_at_the_issuer_and_leads_to_the_place(vault: Lab) -> None:
    """An issuer on this site whose keys lie elsewhere on it keeps its discovery document, with another jwks_uri."""
    spec = key_spec("ES256")
    keys.add_set(vault.context(), "moved", spec=spec, issuer=f"{SITE}/tenant", at="/new/place")
    site = vault.site()

    assert document(site, f"tenant/{CONFIGURATION}")["jwks_uri"] == f"{SITE}/new/place/{JWKS}"
    assert f"new/place/{CONFIGURATION}" not in site
    assert f"{SITE}/tenant/{CONFIGURATION}" in site["new/place/index.html"].decode()


def test_mixed_slashes_are_said(vault: Lab) -> None:
    """Two sets of one JWK Set that write their issuer with and without the slash: every command goes on, lint tells."""
    vault.edit_policy("[sets.id-token]\n", f'[sets.id-token]\nissuer = "{SITE}/"\n')

    assert document(vault.site(), CONFIGURATION)["issuer"] == SITE
    assert findings(vault) == {"issuer-mismatch": f"issuer is {SITE}, tokens of id-token say {SITE}/"}
    assert rotation.revoke(vault.context(), vault.key("id-token", "active").kid, reason="compromised").commit


def test_place_of_a_set_may_change(vault: Lab) -> None:
    """At a new URL nobody has seen the next key, so it waits for a receipt of its own; the old path can be kept."""
    vault.mature()
    vault.edit_policy(
        "[sets.id-token]\n", '[sets.id-token]\nissuer = "acme"\nat = "/acme"\npaths = ["/old/jwks.json"]\n'
    )
    outcome = rotation.rotate_due(vault.context(), dry_run=True)

    assert outcome.plan.waiting == (f"id-token: {SITE}/acme/{JWKS} does not serve the next key yet",)
    assert vault.site()["old/jwks.json"] == vault.site()[f"acme/{JWKS}"]
