"""Issuers that are not on the site, or end with a slash: served files, tokens, and findings of lint."""

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
    """Return the issuer in tokens of set *name*."""
    token = Vault.open(lab.folder, environ=lab.environ).signer(name).sign({"sub": "alice"})
    return str(parse_token(token).claims["iss"])


def findings(lab: Lab) -> dict[str, str]:
    """Return the findings of lint about issuers: messages by code."""
    found = lint.lint_commit(lab.context(), lab.context().repository.head()).findings
    return {finding.code: finding.message for finding in found if finding.code.startswith("issuer-")}


@pytest.fixture
def elsewhere(tmp_path: Path) -> Lab:
    """A vault whose issuer has another domain than its keys."""
    return new_lab(tmp_path / "vault", "id-token:ES256", issuer=AUTH)


def test_issuer_on_its_own_domain_with_keys_in_a_bucket(elsewhere: Lab) -> None:
    """The keys are at the site's root, tokens have the issuer, and there is no discovery document."""
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
    """Receipts have the URL of the keys, the rotation waits for them, and the audit accepts the whole history."""
    elsewhere.rotate("id-token")
    active = elsewhere.key("id-token", "active")

    assert [event.url for event in active.events if event.url] == [f"{SITE}/{JWKS}"]
    assert not audit.audit(elsewhere.context(), elsewhere.context().repository.head()).errors


def test_client_id_is_an_issuer(vault: Lab) -> None:
    """An OAuth client that signs for itself has its client_id as iss, and a jwks_uri for the server."""
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
    """A client_id may contain quotes and markup, which pages show as text and snippets as a string."""
    odd = '</code>"x\\'
    keys.add_set(vault.context(), "odd", spec=key_spec("ES256"), issuer=odd, at="/odd")
    page = vault.site()["odd/index.html"].decode()

    assert odd not in page
    assert "</code>&#34;x" not in page.partition("PyJWKClient")[2].partition("</pre>")[0]
    assert json.loads('"' + page.partition('    issuer: "')[2].partition('",\n')[0] + '"') == odd
    assert iss(vault, "odd") == odd


def test_final_slash_of_an_issuer_is_kept(vault: Lab) -> None:
    """Verifiers compare issuers byte for byte: only the path of the discovery document drops the slash."""
    keys.add_set(vault.context(), "tenant", spec=key_spec("ES256"), issuer=f"{SITE}/tenant/")
    site = vault.site()
    found = document(site, f"tenant/{CONFIGURATION}")

    assert iss(vault, "tenant") == f"{SITE}/tenant/"
    assert found["issuer"] == f"{SITE}/tenant/"
    assert found["jwks_uri"] == f"{SITE}/tenant/{JWKS}"
    assert f"tenant/{JWKS}" in site
    assert findings(vault) == {}


def test_final_slash_of_the_issuer_at_the_root(tmp_path: Path) -> None:
    """Auth0 and others use https://tenant.example.com/: a site at the root of that host serves both documents."""
    lab = new_lab(tmp_path / "vault", "id-token:ES256", issuer=f"{SITE}/")
    site = lab.site()

    assert document(site, CONFIGURATION)["issuer"] == f"{SITE}/"
    assert document(site, CONFIGURATION)["jwks_uri"] == f"{SITE}/{JWKS}"
    assert lab.state.policy.site.url == SITE
    assert iss(lab, "id-token") == f"{SITE}/"


def test_discovery_document_is_at_the_issuer_and_names_the_place(vault: Lab) -> None:
    """An issuer on this site, with its keys at another path, has a discovery document with that jwks_uri."""
    spec = key_spec("ES256")
    keys.add_set(vault.context(), "moved", spec=spec, issuer=f"{SITE}/tenant", at="/new/place")
    site = vault.site()

    assert document(site, f"tenant/{CONFIGURATION}")["jwks_uri"] == f"{SITE}/new/place/{JWKS}"
    assert f"new/place/{CONFIGURATION}" not in site
    assert f"{SITE}/tenant/{CONFIGURATION}" in site["new/place/index.html"].decode()


def test_mixed_slashes_are_a_finding(vault: Lab) -> None:
    """If sets of a JWK Set have their issuer with and without the slash, commands work, and lint has a finding."""
    vault.edit_policy("[sets.id-token]\n", f'[sets.id-token]\nissuer = "{SITE}/"\n')

    assert document(vault.site(), CONFIGURATION)["issuer"] == SITE
    assert findings(vault) == {"issuer-mismatch": f"issuer is {SITE}, tokens of id-token say {SITE}/"}
    assert rotation.revoke(vault.context(), vault.key("id-token", "active").kid, reason="compromised").commit


def test_place_of_a_set_may_change(vault: Lab) -> None:
    """At a new URL, the next key needs a new receipt; the old path can be kept."""
    vault.mature()
    vault.edit_policy(
        "[sets.id-token]\n", '[sets.id-token]\nissuer = "acme"\nat = "/acme"\npaths = ["/old/jwks.json"]\n'
    )
    outcome = rotation.rotate_due(vault.context(), dry_run=True)

    assert outcome.plan.waiting == (f"id-token: {SITE}/acme/{JWKS} does not serve the next key yet",)
    assert vault.site()["old/jwks.json"] == vault.site()[f"acme/{JWKS}"]
