"""Kids of real issuers: each is kept, accepted by every command, and served unchanged."""

from __future__ import annotations

import json
import re
import string

import feedparser
import jwt
import pytest

from tests.cli.places import Host, Write
from tests.cli.terminal import Terminal
from tests.crypto.keys import private
from tests.vaults import Vault

KIDS = {
    "Cognito": "abc/def+gh=",
    "Azure Key Vault": "https://vault.example.net/keys/sign/0f1e2d",
    "DID": "did:web:x#key-1",
    "GUID": "{3F484124-B234-5DFA-A088-90FD217F00D9}",
    "spaces": "my  key of 2026 ",
    "a path": "../../etc/passwd",
    "markup": '<b onclick="x">&amp;\'{{7*7}}|`',
    "a shell": "$(id); `id` \\n % %s %2e",
    "all": "".join(letter for letter in string.printable if " " <= letter <= "~"),
    "long": "x" * 256,
}


@pytest.mark.parametrize("name", KIDS)
def test_a_kid_of_the_world(keyvault: Terminal, vault: Vault, write: Write, name: str) -> None:
    """A foreign kid is imported, shown, used to sign, exported, rendered, published, audited, rotated and revoked."""
    kid = KIDS[name]
    jwk = private("ES256") | {"kid": kid}

    keyvault.ok("key", "import", "moved", write("key.json", jwk))

    active = vault.active("moved")
    assert active.kid == kid
    assert re.fullmatch(r"keys\.enc/moved/(kid-[0-9a-f]{32})\.json", active.path)
    assert kid in [key["kid"] for key in keyvault.ok("key", "list", "moved", "--json").json]
    assert keyvault.ok("key", "show", kid, "--json").json["public"]["kid"] == kid
    assert keyvault.ok("key", "export", kid, "--private").json == jwk
    for command in (("status",), ("plan",), ("key", "list"), ("audit",), ("recipient", "check")):
        keyvault.ok(*command)

    token = keyvault.ok("token", "sign", "moved", "--claim", "sub=jo").out.strip()
    assert jwt.get_unverified_header(token)["kid"] == kid
    keyvault.ok("token", "verify", token)
    assert keyvault.ok("token", "inspect", token, "--json").json["key"]["kid"] == kid

    site = vault.top / "site"
    keyvault.ok("render", "-o", site)
    served = json.loads((site / "jwks.json").read_bytes())["keys"]
    (mine,) = [key for key in served if key["kid"] == kid]
    assert jwt.decode(token, jwt.PyJWK(mine), ["ES256"], options={"verify_exp": False, "verify_iat": False})
    stem = active.path.rpartition("/")[2].removesuffix(".json")
    page = (site / "keys" / stem / "index.html").read_text(encoding="utf-8")
    assert 'onclick="x"' not in page
    assert "<b onclick" not in page
    assert json.loads((site / "keys" / f"{stem}.json").read_bytes())["kid"] == kid
    feed = feedparser.parse(site / "feed.atom")
    assert not feed.bozo
    assert all(re.fullmatch(r"[A-Za-z0-9:/?#\[\]@!$&'()*+,;=._~%-]+", entry.id) for entry in feed.entries)
    assert any(f"/keys/{stem}/" in entry.link for entry in feed.entries)

    keyvault.ok("revoke", kid, "--reason", "superseded")
    assert vault.state().keys[kid].state == "revoked"
    keyvault.ok("audit")
    keyvault.ok("lint")


@pytest.mark.parametrize("name", KIDS)
@pytest.mark.parametrize("form", ["jwk", "jwks", "dotenv", "kubernetes-secret", "p12"])
def test_a_kid_comes_back(keyvault: Terminal, vault: Vault, write: Write, name: str, form: str) -> None:
    """The kid survives every format that has a member for it."""
    jwk = private("ES256") | {"kid": KIDS[name]}
    password = write("password", b"correct horse")
    keyvault.ok("key", "import", "moved", write("key.json", jwk))
    out = vault.top / "out"
    sealed = ("--password-file", password) if form == "p12" else ()

    keyvault.ok("key", "export", "moved", "--active", "--private", "--format", form, "-o", out, *sealed)

    again = keyvault("key", "import", "again", out, "--password-file", password)
    assert (again.problem, KIDS[name] in again.error) == ("kid-reused", True), again.err


def test_a_kid_of_the_world_from_a_url(keyvault: Terminal, vault: Vault, host: Host) -> None:
    """Old tokens verify at the new URL, since none is left out."""
    keys = []
    for number, kid in enumerate(KIDS.values()):
        jwk = private("ES256", number=number) | {"kid": kid}
        keys.append({member: value for member, value in jwk.items() if member != "d"})
    host.serve("/jwks.json", json.dumps({"keys": keys}).encode())

    keyvault.ok("key", "import", "access-token", "--from-url", f"{host.url}/jwks.json")

    assert {key.kid for key in vault.set("access-token").retiring} == set(KIDS.values())
    keyvault.ok("import-check", f"{host.url}/jwks.json")


def test_invalid_kids_are_refused(keyvault: Terminal, write: Write) -> None:
    """Kids with other characters, or too many, are refused."""
    for kid in ("é", "a\nb", "x" * 257, ""):
        result = keyvault("key", "import", "moved", write("key.json", private("ES256") | {"kid": kid}))
        if kid:
            assert (result.code, result.problem) == (1, "kid-invalid"), kid
            assert result.hint == "a kid is 1 to 256 printable ASCII characters"
