"""Imports on the command line: kids, algorithms, the verification of old tokens, and `import-check`."""

from __future__ import annotations

import json
import shutil
import subprocess
from pathlib import Path
from typing import Any

import jwt
import pytest

from keyvault.core.jwk import thumbprint
from keyvault.core.key_objects import spki_kid
from keyvault.crypto.exports import CertificateOptions, encode_keys
from keyvault.crypto.pairs import private_pem
from tests.cli.places import Host, Write
from tests.cli.terminal import Terminal
from tests.cli.test_exchange import bare
from tests.crypto.keys import private
from tests.crypto.server_files import keycloak_provider, keycloak_realm
from tests.crypto.test_import_chains import issue
from tests.vaults import DAY, T0, Vault

CERTIFICATE = CertificateOptions(T0)
PASSWORD = b"correct horse"


def public(jwk: dict[str, str], **more: Any) -> dict[str, Any]:
    kept = ("kty", "kid", "use", "alg", "crv", "x", "y", "n", "e", "pub")
    return {name: value for name, value in jwk.items() if name in kept} | more


def served(*keys: dict[str, Any]) -> bytes:
    return json.dumps({"keys": keys}).encode()


# --- chains ---------------------------------------------------------------------------------------------


def test_the_key_of_a_ca_is_never_published(keyvault: Terminal, vault: Vault, write: Write) -> None:
    """Only the leaf of a chain enters an external set: a token that the CA signed does not verify."""
    ca = issue("ca", ca=True)
    leaf = issue("leaf", ca, ca=False)
    keyvault.ok("key", "import", "kms", write("fullchain.pem", leaf.pem + ca.pem), "--external", "--alg", "ES256")

    assert [key.public.x for key in vault.set("kms").keys] == [leaf.members["x"]]
    keyvault.ok("render", "-o", vault.top / "site")
    published = json.loads((vault.top / "site" / "jwks.json").read_bytes())["keys"]
    assert ca.members["x"] not in [jwk.get("x") for jwk in published]
    refused = keyvault("key", "import", "kms", write("ca.pem", ca.pem), "--alg", "ES256")
    assert refused.problem == "key-of-ca"


# --- kids -----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("form", ["sha-256", "spki"])
@pytest.mark.interop
def test_java_lower_cases_and_import_restores(keyvault: Terminal, vault: Vault, write: Write, form: str) -> None:
    """The JDK lower-cases the name of a key; the import restores it if it is the thumbprint of the key."""
    if shutil.which("keytool") is None:
        pytest.skip("keytool of a JDK is not there")
    jwk = bare(private("ES256"))
    kid = thumbprint(jwk) if form == "sha-256" else spki_kid(public(jwk))
    password = write("password", PASSWORD)
    keyvault.ok("key", "import", "first", write("key.json", jwk), "--kid-from", form, "--alg", "ES256")
    ours, theirs = vault.top / "ours.p12", vault.top / "theirs.p12"

    exported = keyvault.ok(
        "key", "export", "first", "--active", "--private", "--format", "p12", "--password-file", password, "-o", ours
    )

    assert f"Java reads the name of this key as {kid.lower()}" in exported.err
    words = ["keytool", "-importkeystore", "-srckeystore", ours, "-destkeystore", theirs, "-deststoretype", "PKCS12"]
    secrets = ["-srcstorepass", PASSWORD.decode(), "-deststorepass", PASSWORD.decode(), "-noprompt"]
    subprocess.run([*words, *secrets], check=True, capture_output=True)
    listed = subprocess.run(
        ["keytool", "-list", "-keystore", theirs, "-storepass", PASSWORD.decode()], check=True, capture_output=True
    )
    assert kid.lower().encode() in listed.stdout
    assert kid.encode() not in listed.stdout
    again = keyvault("key", "import", "second", theirs, "--password-file", password, "--alg", "ES256")
    assert again.problem == "kid-reused"
    assert kid in again.error


def test_a_lower_case_kid_needs_no_warning(keyvault: Terminal, vault: Vault, write: Write) -> None:
    """A kid in lower case survives Java; so does every kid in other formats."""
    password, out = write("password", PASSWORD), vault.top / "out"
    words = ("key", "generate", "--kid", "payments-2026", "--format", "p12", "--password-file", password, "-o", out)
    assert "Java" not in keyvault.ok(*words).err
    out.unlink()
    assert "Java reads the name" in keyvault.ok(*words[:3], "Payments", *words[4:]).err
    assert "Java" not in keyvault.ok("key", "export", "id-token", "--active", "--private").err


@pytest.mark.parametrize("container", ["p12", "jwk", "jwks", "realm", "service account"])
def test_kid_from_by_hand_wins(keyvault: Terminal, vault: Vault, write: Write, container: str) -> None:
    """--kid-from overrides the name in the file; without it, the name stays."""
    jwk = private("RS256") | {"kid": "alias"}
    if container == "realm":
        data = keycloak_realm([keycloak_provider(1, "rsa", jwk, kid="alias")])
    elif container == "service account":
        account = {"type": "service_account", "private_key_id": "alias", "private_key": private_pem(jwk).decode()}
        data = json.dumps(account).encode()
    else:
        sealed = PASSWORD if container == "p12" else None
        data = encode_keys([jwk], container, name="key", certificate=CERTIFICATE, password=sealed)
    path, password = write("file", data), write("password", PASSWORD)

    for form, kid in (("spki", spki_kid(public(jwk))), ("sha-256", thumbprint(jwk)), (None, "alias")):
        name = form or "kept"
        chosen = ("--kid-from", form) if form else ()
        given = keyvault.ok("key", "import", name, path, "--password-file", password, *chosen, "--dry-run", "--json")
        assert given.json["events"][0]["kid"] == kid


def test_a_realm_whose_signing_key_is_elsewhere(keyvault: Terminal, vault: Vault, write: Write) -> None:
    """A realm without its signing key is imported with a warning."""
    store = {
        "id": "x",
        "name": "hsm",
        "providerId": "java-keystore",
        "config": {"priority": ["500"], "keyAlias": ["a"], "keystore": ["/k.jks"]},
    }
    realm = keycloak_realm([store, keycloak_provider(1, "rsa-generated", private("RS256"))])

    result = keyvault.ok("key", "import", "keycloak", write("realm.json", realm))

    assert "the realm signs with the key of provider hsm (java-keystore)" in result.err


# --- algorithms -----------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("alg", "kind", "chosen", "taken"),
    [
        ("RSA-OAEP-512", "RSA-OAEP", "RSA-OAEP-256", "RSA-OAEP-256"),
        ("RSA1_5", "RSA-OAEP", "RSA-OAEP", "RSA-OAEP"),
        ("rs256", "RS256", "RS256", "RS256"),
        ("EC", "ES256", "ES256", "ES256"),
        ("A128GCMKW", "A128KW", "A128KW", "A128KW"),
    ],
)
def test_an_alg_that_sets_do_not_support(
    keyvault: Terminal,
    vault: Vault,
    write: Write,
    alg: str,
    kind: str,
    chosen: str,
    taken: str,
) -> None:
    """The error names the unsupported algorithm, and --alg replaces it if the key allows that."""
    path = write("key.json", bare(private(kind)) | {"alg": alg, "kid": "theirs"})

    refused = keyvault("key", "import", "new", path)

    assert (refused.code, f"sets do not support alg {alg!r}" in refused.error) == (2, True), refused.err
    assert refused.hint
    result = keyvault.ok("key", "import", "new", path, "--alg", chosen)
    assert vault.active("new").public.alg == taken
    assert f"the file says alg {alg}: imported for {taken}" in result.err
    assert f"sets do not support alg {alg!r}" in keyvault("key", "import", "id-token", path, "--as", "retiring").error


def test_an_alg_that_contradicts_the_key(keyvault: Terminal, write: Write) -> None:
    """--alg does not turn a key for encryption into a signing key."""
    path = write("key.json", bare(private("RSA-OAEP")) | {"alg": "RSA-OAEP-512", "kid": "theirs"})

    refused = keyvault("key", "import", "new", path, "--alg", "RS256")

    assert refused.error == "the key is for RSA-OAEP-512 (enc), but RS256 is not"
    assert "sets do not support alg 'RS257'" in keyvault("key", "import", "new", path, "--alg", "RS257").error


@pytest.mark.parametrize(
    ("kind", "operations", "alg"),
    [
        ("ES256", ["deriveKey", "deriveBits"], "ECDH-ES+A256KW"),
        ("RS256", ["decrypt"], "RSA-OAEP-256"),
        ("HS256", ["wrapKey", "unwrapKey"], "A256KW"),
        ("ES256", ["sign"], "ES256"),
        ("HS256", ["sign", "verify"], "HS256"),
    ],
)
def test_key_ops_choose_the_algorithm(
    keyvault: Terminal,
    vault: Vault,
    write: Write,
    kind: str,
    operations: list[str],
    alg: str,
) -> None:
    """key_ops decides if use and alg are missing, as in exports of WebCrypto; contradictions are refused."""
    path = write("key.json", bare(private(kind)) | {"key_ops": operations, "ext": True, "kid": "theirs"})
    other = {"RS256": "RS256", "ES256": "ECDH-ES" if "sign" in operations else "ES256", "HS256": "A256KW"}[kind]
    other = "HS256" if alg == "A256KW" else other

    refused = keyvault("key", "import", "new", path, "--alg", other)
    assert "(use or key_ops), but " in refused.error

    keyvault.ok("key", "import", "new", path)
    assert vault.active("new").public.alg == alg


def test_pss_binds_the_algorithm(keyvault: Terminal, vault: Vault, tmp_path: Path) -> None:
    """A key for RSASSA-PSS with SHA-512 is published for PS512, and for nothing else."""
    path = tmp_path / "pss.pem"
    words = ["openssl", "genpkey", "-algorithm", "RSA-PSS", "-out", str(path)]
    for option in ("rsa_pss_keygen_md:sha512", "rsa_pss_keygen_mgf1_md:sha512", "rsa_pss_keygen_saltlen:64"):
        words += ["-pkeyopt", option]
    subprocess.run(words, check=True, capture_output=True)

    for alg in ("PS256", "PS384", "RS512"):
        refused = keyvault("key", "import", "pss", path, "--alg", alg)
        assert (refused.error, refused.hint) == (f"the key is for PS512 only, not for {alg}", "--alg PS512")
    keyvault.ok("set", "add", "ps256", "--alg", "PS256")
    assert "PS512" in keyvault("key", "import", "ps256", path, "--as", "next").error
    keyvault.ok("key", "import", "pss", path)
    assert vault.active("pss").public.alg == "PS512"


def test_size_is_another_word_for_bits(keyvault: Terminal) -> None:
    """mkjwk and step use this name."""
    assert len(keyvault.ok("key", "generate", "--kty", "oct", "--size", "384").json["k"]) == 64
    assert keyvault("key", "generate", "--kty", "RSA", "--size", "1024").code == 2


# --- from a URL, and the report -------------------------------------------------------------------------


def test_every_reason_is_shown(keyvault: Terminal, host: Host) -> None:
    """If no key can be imported, the error has the reason for each; otherwise warnings have it for the rest."""
    bad = [{"kty": "LMS"}, public(private("RS256")) | {"n": "AQAB"}, public(private("ES256")) | {"x": "AA"}, 7]
    host.serve("/jwks.json", served(*bad))  # type: ignore[arg-type]  # one is no object
    url = f"{host.url}/jwks.json"

    refused = keyvault("key", "import", "id-token", "--from-url", url)

    assert refused.code == 2
    for number, reason in enumerate(
        ("unknown key type 'LMS'", "has 17 bits", "the point is not on P-256", "unknown"), 1
    ):
        assert f"skipped key {number}: " in refused.error
        assert reason in refused.error
    host.serve("/jwks.json", served(*bad, public(private("ES256")) | {"use": "enc", "alg": "ES256"}))  # type: ignore[arg-type]  # one is no object
    refused = keyvault("key", "import", "id-token", "--from-url", url)
    assert "no key can be imported: " in refused.error
    assert "unknown key type 'LMS'" in refused.error
    assert "is for 'enc'" in refused.error
    host.serve("/jwks.json", served(*bad, public(private("ES256"))))  # type: ignore[arg-type]  # one is no object
    report = keyvault.ok("key", "import", "id-token", "--from-url", url, "--json").json
    assert len(report["left_out"]) == 4
    assert len(report["keys"]) == 1


def test_what_others_spell_otherwise(keyvault: Terminal, vault: Vault, host: Host) -> None:
    """Padding, a leading zero and empty private members are no reason to leave a key out."""
    first, second = public(private("RS256")), public(private("ES256"))
    padded = {**first, "kid": "padded", "n": first["n"] + "=" * (-len(first["n"]) % 4), "e": "AQAB"}
    empty = {**second, "kid": "empty", "oth": [], "d": None, "key_ops": []}
    host.serve("/jwks.json", served(padded, empty))

    result = keyvault.ok("key", "import", "id-token", "--from-url", f"{host.url}/jwks.json")

    retiring = {key.kid: key.public for key in vault.set("id-token").retiring}
    assert retiring["padded"].n == first["n"]
    assert retiring["empty"].x == second["x"]
    assert "key empty: skipped empty private members: d, oth" in result.err


def test_the_report_of_an_import(keyvault: Terminal, vault: Vault, write: Write) -> None:
    """Text and JSON say until when tokens of each key verify."""
    keys = [private("RS256", number=number) | {"kid": f"old-{number}"} for number in (1, 2)]
    path = write("set.json", {"keys": keys})

    planned = keyvault.ok("key", "import", "moved", path, "--keep", "7d", "--dry-run").out
    report = keyvault.ok("key", "import", "moved", path, "--keep", "7d", "--json").json

    assert "old-1  verify: it is the active key" in planned
    assert f"old-2  verify until {vault.now + 7 * DAY:%Y-%m-%d}" in planned
    assert [(key["kid"], key["set"], key["state"]) for key in report["keys"]] == [
        ("old-1", "moved", "active"),
        ("old-2", "moved", "retiring"),
    ]
    assert report["keys"][0]["verifies_until"] is None
    assert report["keys"][1]["verifies_until"] == f"{vault.now + 7 * DAY:%Y-%m-%dT%H:%M:%SZ}"
    assert (report["left_out"], report["changed"]) == ([], True)
    again = keyvault.ok("key", "import", "moved", path, "--json").json
    assert [key["already_there"] for key in again["keys"]] == [True, True]
    token = jwt.encode({"sub": "jo", "exp": 2**40}, private_pem(keys[1]), "RS256", headers={"kid": "old-2"})
    keyvault.ok("token", "verify", token)


# --- import-check ---------------------------------------------------------------------------------------


def test_a_move_that_is_complete(keyvault: Terminal, vault: Vault, host: Host) -> None:
    """Every key of the old set is served under its kid, or without a kid if it has none."""
    keys = [public(private("RS256")) | {"kid": "a b"}, public(private("ES256")) | {"kid": "x/y="}]
    del keys[1]["alg"]
    host.serve("/old.json", served(*keys))
    url = f"{host.url}/old.json"
    before = keyvault("import-check", url)
    assert before.code == 5
    keyvault.ok("key", "import", "id-token", "--from-url", url)

    done = keyvault.ok("import-check", url)

    assert done.out.startswith(f"all 2 keys of {url} are served under their kids in ")
    assert keyvault.ok("import-check", url, "--json").json == {
        "url": url,
        "commit": vault.git("rev-parse", "HEAD"),
        "path": ".well-known/jwks.json",
        "keys": 2,
        "findings": [],
    }
    host.serve("/old.json", served({name: value for name, value in keys[0].items() if name != "kid"}))
    keyvault.ok("import-check", url)


def test_a_move_that_lacks_something(keyvault: Terminal, vault: Vault, host: Host) -> None:
    """Each key that verifiers would not find is listed, with the reason; exit code 5."""
    there = public(private("RS256")) | {"kid": "there"}
    host.serve("/old.json", served(there, public(private("ES256")) | {"kid": "gone"}))
    url = f"{host.url}/old.json"
    keyvault.ok("key", "import", "id-token", "--from-url", url)
    keyvault.ok("revoke", "gone", "--reason", "superseded")
    host.serve(
        "/old.json",
        served(
            there,
            {**there, "kid": "renamed"},
            public(private("ES256")) | {"kid": "gone"},
            {**there, "alg": "PS256"},
            {**public(private("RS256", number=1)), "kid": "there"},
            {"kty": "LMS", "kid": "odd"},
            public(private("ES256", number=1)) | {"kid": "never"},
        ),
    )

    result = keyvault("import-check", url, "--json")

    assert result.code == 5
    assert [(found["code"], found["kid"]) for found in result.json["findings"]] == [
        ("other-kid", "renamed"),
        ("missing", "gone"),
        ("other-alg", "there"),
        ("other-key", "there"),
        ("not-importable", "odd"),
        ("missing", "never"),
    ]
    assert "it is revoked in set id-token" in result.json["findings"][1]["message"]
    assert "it is not in the vault" in result.json["findings"][5]["message"]
    assert result.error == f"6 of 7 keys of {url} are missing or different"
    assert keyvault("-q", "import-check", url).out.splitlines() == ["renamed", "gone", "there", "there", "odd", "never"]
    text = keyvault("import-check", url)
    assert "other-kid" in text.out
    assert (text.code, text.hint) == (5, f"keyvault key import SET --from-url {url}")


def test_a_move_of_nothing(keyvault: Terminal, host: Host) -> None:
    """An empty old set means a wrong URL, not a complete move."""
    host.serve("/old.json", served())

    result = keyvault("import-check", f"{host.url}/old.json")

    assert (result.code, result.hint) == (2, "check the URL")
    assert "serves no keys, so there is nothing to compare" in result.error


def test_a_move_from_a_set_that_serves_private_keys(keyvault: Terminal, host: Host) -> None:
    """No part of the private key is shown."""
    jwk = private("ES256")
    host.serve("/old.json", served(jwk))

    result = keyvault("import-check", f"{host.url}/old.json")

    assert (result.code, "serves a private key" in result.error) == (2, True)
    assert jwk["d"] not in result.out + result.err


def test_what_a_kube_apiserver_has(keyvault: Terminal, vault: Vault, tmp_path: Path) -> None:
    """The two files of `key export` are imported together: the first holds the signing key, the second the published keys."""
    keyvault.ok("key", "import", "id-token", "--as", "retiring", _public_pem(tmp_path))
    folder = tmp_path / "pki"
    keyvault.ok("key", "export", "id-token", "--private", "--format", "apiserver", "-o", folder)
    published = [key.kid for key in vault.set("id-token").jwk_set]
    other = Terminal.in_folder(tmp_path / "other")
    other.ok("init", "vault", "--url", "https://other.example.com", "--set", "unused:ES256")

    report = other.ok(
        "--vault", "vault", "key", "import", "cluster", folder / "sa.key", folder / "sa.pub", "--as", "active",
        "--alg", "ES256", "--json",
    ).json  # fmt: skip

    assert len(published) == 3
    assert report["keys"][0]["state"] == "active"
    assert report["keys"][0]["kid"] == vault.active("id-token").kid
    assert [key["state"] for key in report["keys"][1:]] == ["retiring", "retiring"]
    assert {key["kid"] for key in report["keys"]} == set(published)
    other.ok("--vault", "vault", "audit")


def _public_pem(folder: Path) -> Path:
    path = folder / "old.pub.pem"
    path.write_bytes(encode_keys([private("ES256", number=3)], "x509", name="old", certificate=CERTIFICATE))
    return path


def test_a_key_and_its_certificate_in_two_files(keyvault: Terminal, vault: Vault, write: Write) -> None:
    """Both files are the same key."""
    ca = issue("ca", ca=True)
    leaf = issue("leaf", ca, ca=False)
    keyvault.ok("key", "import", "new", write("key.pem", leaf.key_pem), write("chain.pem", leaf.pem + ca.pem))

    assert vault.active("new").public.x == leaf.members["x"]
    assert vault.set("new").retiring == ()
