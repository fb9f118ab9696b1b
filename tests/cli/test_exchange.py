"""`key generate`, `key import` and `key export` on the command line; a refused command leaves the vault unchanged."""

from __future__ import annotations

import base64
import json
import shlex
import stat
import subprocess
from pathlib import Path
from typing import Any

import jwt
import msgspec
import pytest
from cryptography import x509
from cryptography.hazmat.primitives.serialization import (
    Encoding,
    PublicFormat,
    load_pem_private_key,
    load_pem_public_key,
    pkcs12,
)

from keyvault.core.ber import ITERATIONS_MAX
from keyvault.core.jwk import thumbprint
from keyvault.core.key_objects import spki_kid
from keyvault.crypto.imports import FILE_MAX
from keyvault.crypto.pairs import check_private_jwk, private_pem
from tests.cli.places import Host, Write
from tests.cli.terminal import Terminal
from tests.crypto.keys import private
from tests.vaults import DAY, HOUR, MINUTE, Vault


def bare(jwk: dict[str, str]) -> dict[str, str]:
    """Return a JWK without labels."""
    return {name: value for name, value in jwk.items() if name not in ("kid", "use", "alg")}


# --- key generate ---------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("options", "expected"),
    [
        ("", {"kty": "EC", "crv": "P-256", "use": "sig", "alg": "ES256"}),
        ("--kty RSA", {"kty": "RSA", "use": "sig", "alg": "RS256"}),
        ("--kty RSA --use enc", {"kty": "RSA", "use": "enc", "alg": "RSA-OAEP-256"}),
        ("--alg RSA-OAEP-512", {"kty": "RSA", "use": "enc", "alg": "RSA-OAEP-512"}),
        ("--alg PS384 --bits 2056", {"kty": "RSA", "use": "sig", "alg": "PS384"}),
        ("--crv secp256k1", {"kty": "EC", "crv": "secp256k1", "use": "sig", "alg": "ES256K"}),
        ("--kty EC --crv P-521 --use enc", {"kty": "EC", "crv": "P-521", "use": "enc", "alg": "ECDH-ES+A256KW"}),
        ("--kty OKP", {"kty": "OKP", "crv": "Ed25519", "use": "sig", "alg": "EdDSA"}),
        ("--kty OKP --use enc", {"kty": "OKP", "crv": "X25519", "use": "enc", "alg": "ECDH-ES+A256KW"}),
        ("--crv X448 --alg ECDH-ES", {"kty": "OKP", "crv": "X448", "use": "enc", "alg": "ECDH-ES"}),
        ("--kty oct", {"kty": "oct", "use": "sig", "alg": "HS256"}),
        ("--kty oct --bits 512", {"kty": "oct", "use": "sig", "alg": "HS512"}),
        ("--kty oct --bits 192 --use enc", {"kty": "oct", "use": "enc", "alg": "A192KW"}),
        ("--alg A256CBC-HS512", {"kty": "oct", "use": "enc", "alg": "A256CBC-HS512"}),
        ("--alg none", {"kty": "EC", "crv": "P-256", "use": "sig"}),
        ("--use none", {"kty": "EC", "crv": "P-256"}),
        ("--alg ES384 --use none", {"kty": "EC", "crv": "P-384", "alg": "ES384"}),
        ("--alg ML-DSA-44", {"kty": "AKP", "use": "sig", "alg": "ML-DSA-44"}),
    ],
)
def test_a_key_of_any_form(keyvault: Terminal, vault: Vault, options: str, expected: dict[str, str]) -> None:
    """Missing parameters get fitting values; nothing is stored."""
    jwk = keyvault.ok("key", "generate", *options.split()).json
    assert {name: jwk[name] for name in ("kty", "crv", "use", "alg") if name in jwk} == expected
    assert jwk["kid"] == thumbprint(jwk)
    if "alg" in expected and expected["alg"] in ("ES256", "PS384", "EdDSA", "HS256", "ML-DSA-44"):
        check_private_jwk(jwk, alg=jwk["alg"])
    assert vault.status == []


@pytest.mark.parametrize(
    ("options", "code", "said", "hint"),
    [
        ("--kty DSA", "option-invalid", "'DSA' of --kty", None),
        ("--alg RSA1_5", "option-invalid", "'RSA1_5' of --alg", None),
        ("--kty RSA --bits 1024", "rsa-modulus-size", "1024", "--bits must be 2048 to 4096, a multiple of 8"),
        ("--kty RSA --bits 2050", "rsa-modulus-size", "2050", None),
        ("--kty RSA --alg ES256", "alg-mismatch", "RSA does not fit ES256", None),
        ("--kty EC --crv Ed25519", "crv-mismatch", "EC has no curve Ed25519", None),
        ("--kty RSA --crv P-256", "crv-unsupported", "RSA", None),
        ("--alg HS256 --crv P-256", "crv-unsupported", "HS256", None),
        ("--alg ES256 --crv P-384", "crv-mismatch", "P-384", "one of P-256"),
        ("--alg ES256 --use enc", "use-mismatch", "enc", None),
        ("--alg ES256 --bits 256", "bits-unsupported", "EC", "remove --bits 256"),
        ("--alg A128KW --bits 256", "secret-size", "256 bits", "--bits must be exactly 128"),
        ("--kty oct --bits 64", "secret-size", "64 bits", None),
        ("--kty AKP", "alg-missing", "AKP", "--alg ML-DSA-65"),
        ("--kid-from md5", "kid-form-unknown", "'md5'", None),
        ("--kty oct --kid-from spki", "kid-form-unsupported", "spki", None),
        ("--kid clé", "kid-invalid", "'clé'", None),
        ("--format xml", "option-invalid", "'xml'", None),
        ("--format p12", "password-missing", "PKCS#12", "--password-file FILE"),
        ("--kty oct --format pem", "format-key-unsupported", "symmetric", None),
        ("--crv X25519 --format x509", "format-key-unsupported", "X25519", None),
        ("--format x509 --subject nonsense", "option-invalid", "--subject 'nonsense'", None),
        ("--format x509 --days 0", "option-invalid", "--days must be 1 to 36525, not 0", None),
        ("--public", "option-missing", "--public", "-o FILE keeps it"),
        ("--x509 cert.pem", "option-missing", "--x509", "-o FILE keeps it"),
    ],
)
def test_a_key_that_is_not_made(keyvault: Terminal, options: str, code: str, said: str, hint: str | None) -> None:
    """The error is a single line, with the exit code of wrong usage."""
    result = keyvault("key", "generate", *options.split())
    assert (result.out, result.problem) == ("", code)
    assert said in result.error
    assert result.code in (1, 2)
    if hint is not None:
        assert result.hint == hint


def test_five_forms_of_a_kid(keyvault: Terminal, vault: Vault) -> None:
    """Kids are thumbprints, the form of Kubernetes, or two forms with the time."""
    stamp = vault.now

    def made(form: str, *more: str) -> Any:
        return keyvault.ok("key", "generate", "--kid-from", form, *more).json

    one = made("sha-1")
    assert len(base64.urlsafe_b64decode(one["kid"] + "=")) == 20
    spki = made("spki")
    assert spki["kid"] == spki_kid(spki)
    assert made("date")["kid"] == f"sig-{stamp:%Y-%m-%dT%H:%M:%SZ}"
    assert made("timestamp", "--use", "enc")["kid"] == f"enc-{int(stamp.timestamp())}"
    assert made("timestamp", "--use", "none")["kid"] == f"{int(stamp.timestamp())}"
    assert keyvault.ok("key", "generate", "--kid", "public:mine").json["kid"] == "public:mine"


def test_all_that_a_new_key_is_written_to(keyvault: Terminal, vault: Vault) -> None:
    """A private PEM that only its owner can read, the public half, and a certificate of both."""
    top = vault.top
    key, cert, words = top / "key.pem", top / "cert.pem", ["--kty", "RSA", "--format", "pem", "--days", "30"]
    shown = keyvault.ok(
        "key", "generate", *words, "-o", key, "--public", "--x509", cert, "--subject", "CN=me,O=Example"
    )
    held = load_pem_private_key(key.read_bytes(), None)
    certificate = x509.load_pem_x509_certificate(cert.read_bytes())
    public = load_pem_public_key(shown.out.encode())
    assert held.public_key() == certificate.public_key() == public
    assert certificate.subject.rfc4514_string() == "CN=me,O=Example"
    assert (certificate.not_valid_after_utc - certificate.not_valid_before_utc).days == 30
    certificate.verify_directly_issued_by(certificate)
    assert stat.S_IMODE(key.stat().st_mode) == 0o600
    jwk = keyvault.ok("key", "generate", "--x5c").json
    chained = x509.load_der_x509_certificate(base64.b64decode(jwk["x5c"][0]))
    assert spki_kid(jwk) == spki_kid({k: v for k, v in jwk.items() if k != "d"})
    assert chained.subject.rfc4514_string() == f"CN={jwk['kid']}"


def test_a_key_is_saved_as_the_next_one_of_a_set(keyvault: Terminal, vault: Vault) -> None:
    """--save replaces the next key; with a kid that is no hash, the key counts as imported."""
    before = vault.set("access-token").next
    keyvault.ok("key", "generate", "--alg", "EdDSA", "--save", "access-token")
    after = vault.set("access-token").next
    assert before is not None
    assert after is not None
    assert (after.kid != before.kid, after.events[0].imported, after.sealed) == (True, False, True)
    keyvault.ok("key", "generate", "--alg", "EdDSA", "--kid", "mine:1", "--save", "access-token")
    mine = vault.set("access-token").next
    assert mine is not None
    assert (mine.kid, mine.events[0].imported) == ("mine:1", True)
    keyvault.ok("key", "generate", "--alg", "EdDSA", "--kid-from", "spki", "--save", "access-token")
    hashed = vault.set("access-token").next
    assert hashed is not None
    assert (hashed.kid, hashed.events[0].imported) == (spki_kid(msgspec.to_builtins(hashed.public)), False)
    result = keyvault("key", "generate", "--alg", "RS256", "--save", "access-token")
    assert (result.code, vault.set("access-token").next) == (2, hashed)
    assert keyvault("audit").code == 0


# --- key import -----------------------------------------------------------------------------------------


def test_a_set_is_made_for_what_is_imported(keyvault: Terminal, vault: Vault, write: Write) -> None:
    """The first key of a foreign JWK Set signs, the older keys stay published, and all keep their kids."""
    keys = [private("RS256", number=number) | {"kid": f"public:{number}"} for number in (1, 2)]
    result = keyvault.ok("key", "import", "hydra.openid.id-token", write("hydra.json", {"set": "x", "keys": keys}))
    key_set = vault.set("hydra.openid.id-token")
    assert key_set.active is not None
    assert (key_set.active.kid, [key.kid for key in key_set.retiring]) == ("public:1", ["public:2"])
    assert key_set.policy.spec.alg == "RS256"
    assert "import 2 keys into hydra.openid.id-token as active" in vault.log[0]
    assert "public:1" in result.out
    token = keyvault.ok("token", "sign", "hydra.openid.id-token", "--claim", "sub=jo").out.strip()
    assert jwt.get_unverified_header(token)["kid"] == "public:1"
    keyvault.ok("token", "verify", token)
    exported = keyvault.ok("key", "export", "hydra.openid.id-token", "--active", "--private").json
    assert exported == keys[0]
    keyvault.ok("audit")
    keyvault.ok("render", "-o", vault.top / "site")
    published = json.loads((vault.top / "site" / "jwks.json").read_bytes())
    assert {"public:1", "public:2"} <= {jwk["kid"] for jwk in published["keys"]}
    assert not any("d" in jwk for jwk in published["keys"])


def test_what_is_there_already_is_passed_over(keyvault: Terminal, vault: Vault, write: Write) -> None:
    """A repeated import changes nothing."""
    path = write("key.json", private("ES256"))
    keyvault.ok("key", "import", "new", path)
    commits = len(vault.log)
    again = keyvault.ok("key", "import", "new", path)
    assert (again.out, len(vault.log)) == ("nothing to do\n", commits)


def test_an_active_key_is_replaced_by_force_alone(keyvault: Terminal, vault: Vault, write: Write) -> None:
    """Exit code 3 and the safe instant; --force is recorded."""
    path = write("sa.key", private_pem(private("RS256")))
    words = ("key", "import", "id-token", path, "--kid-from", "spki", "--as", "active")
    before = vault.state()
    refused = keyvault(*words)
    assert (refused.code, vault.state()) == (3, before)
    assert "would break verifiers" in refused.error
    keyvault.ok(*words, "--force", "--reason", "moved from the cluster")
    active = vault.active("id-token")
    assert (active.kid, active.events[-1].forced) == (spki_kid(private("RS256")), "moved from the cluster")
    assert keyvault("key", "import", "id-token", path, "--force").code == 2


def test_moving_house_by_url(keyvault: Terminal, vault: Vault, host: Host) -> None:
    """Foreign public keys are published until their tokens have expired; unsupported keys are left out."""
    old = [private("RS256") | {"kid": "old-1"}, private("ES256") | {"kid": "old-2"}]
    public = [
        {name: jwk[name] for name in ("kty", "kid", "use", "alg", "n", "e", "crv", "x", "y") if name in jwk}
        for jwk in old
    ]
    host.serve("/jwks.json", json.dumps({"keys": [*public, {"kty": "LMS", "kid": "odd"}]}).encode())
    url = f"{host.url}/jwks.json"
    result = keyvault.ok("key", "import", "id-token", "--from-url", url, "--keep", "7d")
    assert "skipped key 3: unknown key type 'LMS'" in result.err
    retiring = {key.kid: key for key in vault.set("id-token").retiring}
    assert set(retiring) == {"old-1", "old-2"}
    assert all(key.life.keep_until == vault.now + 7 * DAY for key in retiring.values())
    assert all(key.events[0].note == f"from {url}" for key in retiring.values())
    token = jwt.encode({"sub": "jo", "exp": 2**40}, private_pem(old[0]), "RS256", headers={"kid": "old-1"})
    keyvault.ok("token", "verify", token)
    keyvault.ok("audit")
    again = keyvault.ok("key", "import", "id-token", "--from-url", url)
    assert again.out == "nothing to do\n"
    vault.wait(7 * DAY + MINUTE)
    keyvault.ok("rotate", "--due")
    assert keyvault("token", "verify", token).code == 1


@pytest.mark.parametrize(
    ("body", "code", "said"),
    [
        (b"<html>", "not-json", "/jwks.json"),
        (b"[]", "not-jwks", "/jwks.json"),
        (b'{"keys": []}', "nothing-to-import", "no keys"),
        (json.dumps({"keys": [private("ES256")]}).encode(), "private-key-exposed", "/jwks.json"),
        (json.dumps({"keys": [private("HS256")]}).encode(), "private-key-exposed", "/jwks.json"),
        (
            json.dumps({"keys": [{"kty": "EC"}, 7, {"kty": "RSA", "n": "AQAB", "e": "AQAB"}]}).encode(),
            "nothing-to-import",
            "3 keys, none of which can be imported: skipped key 1: unknown curve None",
        ),
    ],
)
def test_a_url_that_gives_nothing(
    keyvault: Terminal, vault: Vault, host: Host, body: bytes, code: str, said: str
) -> None:
    """Each error is a single line, and the vault is unchanged."""
    host.serve("/jwks.json", body)
    before = vault.state()
    result = keyvault("key", "import", "id-token", "--from-url", f"{host.url}/jwks.json")
    assert result.code != 0
    assert result.problem == code
    assert said in result.error
    assert vault.state() == before


def _weak() -> dict[str, str]:
    return {
        "kty": "RSA",
        "n": base64.urlsafe_b64encode(b"\xff" * 128).rstrip(b"=").decode(),
        "e": "AQAB",
        "alg": "RS256",
    }


REFUSED: dict[str, tuple[Any, str, str]] = {
    "weak": (_weak(), "", "rsa-modulus-size"),
    "mismatching halves": (
        private("ES256") | {"d": private("ES256", number=1)["d"]},
        "",
        "key-halves-mismatch",
    ),
    "public where private is needed": (
        {name: value for name, value in private("RS256").items() if name in ("kty", "kid", "n", "e", "alg", "use")},
        "",
        "private-half-missing",
    ),
    "another algorithm": (private("RS256"), "", "next-key-mismatch"),
    "another use": (private("RSA-OAEP-256"), "", "key-set-mismatch"),
    "a secret": (private("HS256"), "", "key-set-mismatch"),
    "alg against alg": (private("RS256"), "--alg PS256", "alg-mismatch"),
    "a kid that cannot be": (private("RS256") | {"kid": "a\nb"}, "", "kid-invalid"),
    "a kid that is no text": (private("RS256") | {"kid": 7}, "", "member-invalid"),
    "two for next": (
        {"keys": [private("ES256"), private("ES256", number=1)]},
        "",
        "next-key-ambiguous",
    ),
    "a kid for two": (
        {"keys": [private("RS256"), private("PS256")]},
        "--kid x",
        "option-conflict",
    ),
    "none of that kid": (private("RS256"), "--only nope", "kid-unknown"),
    "two that begin so": (
        {"keys": [private("RS256") | {"kid": "ab"}, private("PS256") | {"kid": "ac"}]},
        "--only a",
        "kid-ambiguous",
    ),
    "a kid like a key": (
        private("ES256")
        | {"kid": base64.b64encode(bytes.fromhex("302e020100300506032b657004220420") + bytes(range(32))).decode()},
        "",
        "kid-private",
    ),
    "a kid like PEM": (private("ES256") | {"kid": "-----BEGIN PRIVATE KEY-----"}, "", "kid-private"),
    "an issuer of a set that is there": (private("ES256"), "--issuer a --at /a", "set-exists"),
    "a member twice": (b'{"kty": "EC", "kty": "RSA"}', "", "json-member-duplicate"),
    "not a number": (b'{"kty": "EC", "x": NaN}', "", "format-unrecognized"),
    "deep": (b"[" * 100_000, "", "format-unrecognized"),
    "10 MB": (bytes(10_000_000), "", "file-too-large"),
    "nothing": (b"", "", "key-not-found"),
    "no key": (b'{"keys": []}', "", "key-not-found"),
    "other JSON": (b'{"a": 1}', "", "format-unsupported"),
    "PEM without end": (b"-----BEGIN PRIVATE KEY-----\nMIIE", "", "pem-malformed"),
    "PEM of something": (
        b"-----BEGIN PGP MESSAGE-----\nAAAA\n-----END PGP MESSAGE-----\n",
        "",
        "format-unsupported",
    ),
    "damaged PEM": (
        b"-----BEGIN PRIVATE KEY-----\nAAAA\n-----END PRIVATE KEY-----\n",
        "",
        "format-unrecognized",
    ),
    "damaged DER": (b"\x30\x03\x02\x01\x00", "", "format-unrecognized"),
    "masked realm": (
        {
            "components": {
                "org.keycloak.keys.KeyProvider": [{"providerId": "rsa", "config": {"privateKey": ["**********"]}}]
            }
        },
        "",
        "realm-keys-masked",
    ),
}


def test_a_kid_may_be_shortened(keyvault: Terminal, vault: Vault, write: Write) -> None:
    """`--only` accepts the beginning of a kid, since messages shorten long kids."""
    keys = [private("RS256") | {"kid": "b" * 100}, private("PS256") | {"kid": "other"}]

    keyvault.ok("key", "import", "of-a-realm", write("given", {"keys": keys}), "--only", "bbb…", "--as", "active")

    assert vault.active("of-a-realm").kid == "b" * 100


@pytest.mark.parametrize("name", REFUSED)
def test_an_import_that_is_refused(keyvault: Terminal, vault: Vault, write: Write, name: str) -> None:
    """A single line names the problem and the file; the vault is unchanged."""
    content, options, code = REFUSED[name]
    path = write("given", content)
    before = vault.git("rev-parse", "HEAD")
    result = keyvault("key", "import", "id-token", path, *shlex.split(options))
    assert (result.code in (1, 2), result.out) == (True, "")
    assert result.problem == code
    assert len(result.err.splitlines()) <= 3
    assert (vault.git("rev-parse", "HEAD"), vault.status) == (before, [])


def test_passwords(keyvault: Terminal, vault: Vault, write: Write) -> None:
    """The terminal asks for the password of encrypted files; wrong passwords are refused; no option takes a password."""
    jwk = private("ES256")
    good, bad, empty = write("good", b"open sesame\nsecond line"), write("bad", b"sesame"), write("empty", b"\n")
    keyvault.ok("key", "import", "new", write("key.json", jwk))
    for form in ("pem", "der", "p12"):
        path = vault.top / f"key.{form}"
        keyvault.ok(
            "key", "export", "new", "--active", "--private", "--format", form, "--password-file", good, "-o", path
        )
        for options, error in (
            ((), "the key is encrypted and there is no password"),
            (("--password-file", bad), "the password is wrong, or the file is damaged"),
            (("--password-file", empty), f"--password-file {empty} has an empty first line"),
        ):
            result = keyvault("key", "import", "other", path, "--alg", "ES256", *options)
            assert (result.code, error in result.error) == (2, True), (form, result.err)
        result = keyvault("key", "import", "other", path, "--password-file", good)
        assert f"the vault already has a key {jwk['kid']}" in result.error
    loaded, certificate, _ = pkcs12.load_key_and_certificates((vault.top / "key.p12").read_bytes(), b"open sesame")
    assert loaded is not None
    assert certificate is not None
    assert loaded.public_key() == certificate.public_key()


def test_a_realm_of_keycloak(keyvault: Terminal, vault: Vault, write: Write) -> None:
    """The key with the highest priority signs, kids are those of Keycloak, and disabled keys are left out."""

    def der(jwk: dict[str, str]) -> str:
        return "".join(private_pem(jwk).decode().splitlines()[1:-1])

    first, second = private("RS256"), private("RS256", number=1)
    providers = [
        {
            "providerId": "rsa-generated",
            "config": {"privateKey": [der(second)], "priority": ["50"], "algorithm": ["RS256"]},
        },
        {"providerId": "rsa-generated", "config": {"privateKey": [der(first)], "priority": ["100"], "keyUse": ["SIG"]}},
        {"providerId": "rsa", "config": {"privateKey": [der(private("RSA-OAEP"))], "enabled": ["false"]}},
        {"providerId": "aes-generated", "config": {"secret": ["AAAA"], "kid": ["x"]}},
    ]
    realm = write("realm.json", {"realm": "r", "components": {"org.keycloak.keys.KeyProvider": providers}})
    keyvault.ok("key", "import", "keycloak", realm)
    key_set = vault.set("keycloak")
    assert key_set.active is not None
    assert key_set.active.kid == spki_kid(first)
    assert [key.kid for key in key_set.retiring] == [spki_kid(second)]


def test_a_secret_without_a_kid_gets_a_random_one(keyvault: Terminal, vault: Vault, write: Write) -> None:
    """The thumbprint of a secret would be a hash to guess it by."""
    jwk = bare(private("HS256"))
    keyvault.ok("key", "import", "hmac", write("secret.json", jwk), "--alg", "HS256")
    active = vault.active("hmac")
    assert active.kid != thumbprint(jwk)
    assert keyvault.ok("key", "export", "hmac", "--active", "--private").json["k"] == jwk["k"]


def test_stdin_dry_run_and_json(
    keyvault: Terminal, vault: Vault, write: Write, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Keys come from stdin, a dry run writes nothing, and reports are JSON."""
    path = write("key.json", private("ES256"))
    before = vault.state()
    planned = keyvault.ok("key", "import", "new", path, "--dry-run", "--json").json
    assert [event["event"] for event in planned["events"]] == ["created", "activated", "created"]
    assert (planned["dry_run"], planned["commit"], vault.state()) == (True, None, before)
    assert keyvault("key", "import", "new").code == 2
    assert keyvault("key", "import", "new", path, "--from-url", "https://x").code == 2
    assert keyvault("key", "import", "new", "--from-url", "https://x", "--as", "next").code == 2
    assert keyvault("key", "import", "new", path, "--as", "nothing").problem == "option-invalid"
    assert keyvault("key", "import", "new", vault.top / "nope").error.endswith(
        "cannot be read: No such file or directory"
    )


# --- sets whose private keys live elsewhere --------------------------------------------------------------


def test_the_life_of_an_external_set(keyvault: Terminal, vault: Vault, write: Write) -> None:
    """An external set has only public halves; signing fails with a message that says where the keys live."""
    pems = []
    for number in range(3):
        held = load_pem_private_key(private_pem(private("RS256", number=number)), None)
        pem = held.public_key().public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo)
        pems.append(write(f"{number}.pem", pem))
    keyvault.ok("set", "add", "kms", "--alg", "RS256", "--external")
    assert "keyvault key import kms FILE" in keyvault.ok("status", "kms").out
    assert keyvault("status", "kms", "--check").code == 4
    keyvault.ok("key", "import", "kms", pems[0])
    keyvault.ok("key", "import", "kms", pems[1])
    assert all(not key.sealed for key in vault.set("kms").keys)
    assert "its private half is not in the vault" in keyvault("token", "sign", "kms").error
    result = keyvault("key", "import", "kms", write("private.pem", private_pem(private("RS256", number=3))))
    assert "set kms is external" in result.error
    vault.wait(91 * DAY)
    keyvault.ok("rotate", "kms")
    key_set = vault.set("kms")
    assert (key_set.next, len(key_set.retiring)) == (None, 1)
    keyvault.ok("rollback", "kms")
    vault.wait(HOUR)
    keyvault.ok("key", "import", "kms", pems[2])
    keyvault.ok("revoke", vault.active("kms").kid, "--reason", "compromised")
    keyvault.ok("recipient", "check")
    keyvault.ok("audit")
    keyvault.ok("render", "-o", vault.top / "site")


# --- key export -----------------------------------------------------------------------------------------


def test_what_programs_read(keyvault: Terminal, vault: Vault) -> None:
    """Exports a Secret for Kubernetes, two files for its API server, and variables for a shell."""
    kid = vault.active("id-token").kid
    words = ("key", "export", "id-token", "--active", "--private", "--format")
    manifest = dict(
        line.strip().split(": ") for line in keyvault.ok(*words, "kubernetes-secret").out.splitlines() if ": " in line
    )
    assert (manifest["kind"], manifest["name"], base64.b64decode(manifest["kid"])) == (
        "Secret",
        "id-token",
        kid.encode(),
    )
    held = load_pem_private_key(base64.b64decode(manifest["key.pem"]), None)
    assert json.loads(base64.b64decode(manifest["jwk.json"]))["kid"] == kid

    files = vault.top / "pki"
    keyvault.ok("key", "export", "id-token", "--private", "--format", "apiserver", "-o", files)
    assert load_pem_private_key((files / "sa.key").read_bytes(), None).public_key() == held.public_key()
    assert (files / "sa.pub").read_bytes().count(b"BEGIN PUBLIC KEY") == len(vault.set("id-token").jwk_set)
    assert stat.S_IMODE((files / "sa.key").stat().st_mode) == 0o600

    lines = dict(line.split("=", 1) for line in keyvault.ok(*words, "dotenv").out.splitlines())
    assert shlex.split(lines["ID_TOKEN_KID"]) == [kid]
    assert json.loads(shlex.split(lines["ID_TOKEN_JWK"])[0])["kid"] == kid
    certificate = x509.load_pem_x509_certificate(keyvault.ok(*words, "x509", "--subject", "CN=x").out.encode())
    assert certificate.public_key() == held.public_key()


@pytest.mark.parametrize(
    ("options", "code", "said"),
    [
        ("id-token --format p12", "option-missing", "--format p12"),
        ("id-token --format der", "format-single-key", "id-token has 2 keys"),
        ("id-token --x5c", "option-missing", "--x5c"),
        ("id-token --private --format kubernetes-secret", "format-single-key", "id-token has 2 keys"),
        ("id-token --private --format apiserver", "option-missing", "--format apiserver"),
        ("id-token --private --active --format jwk --password-file PASSWORD", "option-conflict", "--format jwk"),
    ],
)
def test_an_export_that_is_refused(keyvault: Terminal, write: Write, options: str, code: str, said: str) -> None:
    """Each error is a single line."""
    words = options.replace("PASSWORD", str(write("password", b"secret")))
    result = keyvault("key", "export", *words.split())
    assert (result.code, result.out) == (2, "")
    assert result.problem == code
    assert said in result.error


def test_the_limit_of_a_file() -> None:
    """A JWK Set of 64 large keys is far below it."""
    assert len(json.dumps(private("ML-DSA-87"))) * 64 < FILE_MAX


def test_the_example_key_of_ory(keyvault: Terminal, vault: Vault, vectors: Path, tmp_path: Path) -> None:
    """Such a key is imported, published and signs; with private members none of it is published."""
    example = vectors / "ory-example.jwks.json"
    (jwk,) = json.loads(example.read_bytes())["keys"]
    keyvault.ok("key", "import", "hydra", example)
    assert vault.active("hydra").kid == "ory-example"
    keyvault.ok("publish", tmp_path / "www")
    served = json.loads((tmp_path / "www" / ".well-known" / "jwks.json").read_bytes())["keys"]
    (shown,) = [one for one in served if one["kid"] == "ory-example"]
    assert shown == {name: jwk[name] for name in ("kty", "kid", "use", "alg", "n", "e")}
    token = keyvault.ok("token", "sign", "hydra", "--claim", "sub=jo", "--aud", "app").out.strip()
    verified = jwt.decode(
        token, jwt.PyJWK(shown), ["RS256"], audience="app", options={"verify_exp": False, "verify_iat": False}
    )
    assert verified["sub"] == "jo"

    # In a file that somebody would serve, in a commit, and in what is rendered.
    assert "private-key" in keyvault("lint", example).out
    assert keyvault("guard", example).code == 5
    override = vault.folder / "site_template" / "404.html"
    override.parent.mkdir()
    override.write_bytes(example.read_bytes())
    vault.git("add", ".")
    vault.git("commit", "--quiet", "-m", "a page")
    before = {path: path.read_bytes() for path in (tmp_path / "www").rglob("*") if path.is_file()}
    refused = keyvault("publish", tmp_path / "www", "--force")
    assert (refused.code != 0, "private" in refused.error) == (True, True), refused.err
    assert jwk["d"][:20] not in refused.out + refused.err
    assert before == {path: path.read_bytes() for path in (tmp_path / "www").rglob("*") if path.is_file()}


# --- what somebody tried --------------------------------------------------------------------------------


def test_kids_that_differ_by_case_alone(keyvault: Terminal, vault: Vault, write: Write) -> None:
    """A vault with both kids would be unreadable."""
    first, second = private("ES256") | {"kid": "public:x"}, private("ES256", number=1) | {"kid": "PUBLIC:X"}
    result = keyvault("key", "import", "both", write("both.json", {"keys": [first, second]}))
    assert (result.code, result.problem) == (2, "kid-case")
    keyvault.ok("key", "import", "one", write("first.json", first))
    before = vault.git("rev-parse", "HEAD")
    result = keyvault("key", "import", "other", write("second.json", second))
    assert (result.code, result.problem) == (2, "kid-reused")
    assert vault.git("rev-parse", "HEAD") == before
    keyvault.ok("status")


def test_no_file_is_written_over(keyvault: Terminal, vault: Vault) -> None:
    """A certificate never overwrites the private key, nor a public export an existing file."""
    key, cert = vault.top / "key.pem", vault.top / "cert.pem"
    result = keyvault("key", "generate", "-o", key, "--x509", key)
    assert (result.code, key.exists()) == (2, False)
    keyvault.ok("key", "generate", "-o", key, "--x509", cert)
    held = key.read_bytes()
    for words in (
        ("key", "export", "id-token", "--active", "-o", key),
        ("key", "generate", "-o", vault.top / "other", "--x509", key),
        ("key", "generate", "-o", vault.top / "other", "--x509", vault.top / "nowhere" / "x"),
        ("key", "generate", "--kty", "oct", "-o", vault.top / "other", "--public"),
    ):
        assert keyvault(*words).code == 2
        assert (key.read_bytes(), (vault.top / "other").exists()) == (held, False)
    folder = vault.top / "pki"
    folder.mkdir()
    (folder / "sa.pub").write_text("mine")
    assert keyvault("key", "export", "id-token", "--private", "--format", "apiserver", "-o", folder).code == 2
    assert not (folder / "sa.key").exists()


def test_a_private_half_that_comes_later(keyvault: Terminal, write: Write) -> None:
    """A private half for an existing public key is refused, not ignored; so is another role."""
    jwk = private("ES256")
    public = {name: value for name, value in jwk.items() if name != "d"}
    keyvault.ok("key", "import", "id-token", write("public.json", public), "--as", "retiring")
    for more in ((), ("--as", "retiring"), ("--as", "active", "--force", "--reason", "mine")):
        result = keyvault("key", "import", "id-token", write("private.json", jwk), *more)
        assert result.code == 2
        assert "private half cannot be added later" in result.error
    again = keyvault(
        "key", "import", "id-token", write("public.json", public), "--as", "active", "--force", "--reason", "x"
    )
    assert again.error == f"key {jwk['kid']} is already in the vault: it is retiring"
    passed = keyvault.ok("key", "import", "id-token", write("public.json", public))
    assert f"key {jwk['kid']} is already in the vault: it is retiring" in passed.err


def test_a_note_has_no_secret_of_the_url(keyvault: Terminal, vault: Vault, host: Host) -> None:
    """Notes are published."""
    jwk = {name: value for name, value in private("ES256").items() if name != "d"}
    host.serve("/jwks.json", json.dumps({"keys": [jwk]}).encode())
    keyvault.ok("key", "import", "id-token", "--from-url", f"{host.url}/jwks.json?token=s3cret")
    assert vault.state().keys[jwk["kid"]].events[0].note == f"from {host.url}/jwks.json"


def test_what_does_not_fit_at_a_url_is_left_out(keyvault: Terminal, vault: Vault, host: Host) -> None:
    """Keys for encryption and keys with unsupported algorithms are left out."""

    def public(alg: str, kid: str, number: int) -> dict[str, str]:
        jwk = private(alg, number=number)
        return {"kty": "RSA", "kid": kid, "n": jwk["n"], "e": jwk["e"], "alg": alg, "use": jwk["use"]}

    old = public("RS256", "old", 0) | {"alg": "RSA1_5", "use": "enc"}
    keys = [
        public("RS256", "sig", 1),
        public("RSA-OAEP", "enc", 2),
        old,
        public("RS256", "a\tb", 3),
        private("ML-DSA-44"),
    ]
    del keys[-1]["priv"]
    host.serve("/jwks.json", json.dumps({"keys": keys}).encode())
    result = keyvault.ok("key", "import", "id-token", "--from-url", f"{host.url}/jwks.json", "--json").json
    assert [key.kid for key in vault.set("id-token").retiring] == ["sig"]
    assert len(result["warnings"]) == 4
    keys[0]["p"] = keys[0]["n"]
    host.serve("/jwks.json", json.dumps({"keys": keys}).encode())
    assert "serves a private key" in keyvault("key", "import", "id-token", "--from-url", f"{host.url}/jwks.json").error


def test_an_akp_key_does_not_get_into_a_shared_jwk_set(keyvault: Terminal, write: Write) -> None:
    """It would make verifiers refuse the keys that they know."""
    result = keyvault("key", "import", "id-token", write("ml.json", private("ML-DSA-44")), "--as", "retiring")
    assert (result.code, "is AKP for sig, set id-token is for ES256" in result.error) == (2, True)


def test_keys_for_pss_stay_with_pss(keyvault: Terminal, vault: Vault, tmp_path: Path) -> None:
    """A key that its file restricts to PSS is not published for other algorithms."""
    path = tmp_path / "pss.pem"
    subprocess.run(["openssl", "genpkey", "-algorithm", "RSA-PSS", "-out", path], check=True, capture_output=True)
    assert "for RSASSA-PSS only, not for RS256" in keyvault("key", "import", "pss", path, "--alg", "RS256").error
    keyvault.ok("key", "import", "pss", path)
    assert vault.active("pss").public.alg == "PS256"


@pytest.mark.slow
@pytest.mark.parametrize("form", ["pem", "der", "p12"])
def test_a_file_that_asks_for_hours(keyvault: Terminal, write: Write, tmp_path: Path, form: str) -> None:
    """The number of iterations is in the file, and is checked before hashing."""
    key, slow = write("key.pem", private_pem(private("ES256"))), tmp_path / "slow"
    options = ["-out", slow, "-passout", "pass:secret", "-iter", str(ITERATIONS_MAX + 1)]
    if form == "p12":
        command = ["openssl", "pkcs12", "-export", "-nocerts", "-inkey", key, *options]
    else:
        command = ["openssl", "pkcs8", "-topk8", "-in", key, "-outform", form.upper(), *options]
    subprocess.run(command, check=True, capture_output=True)
    result = keyvault("key", "import", "new", slow, "--password-file", write("password", b"secret"))
    assert (result.code, result.problem) == (2, "kdf-rounds-too-many"), result.error


def test_saving_is_all_that_saving_does(keyvault: Terminal, vault: Vault) -> None:
    """--save writes no file, and never creates a set."""
    before = vault.git("rev-parse", "HEAD")
    assert keyvault("key", "generate", "--alg", "EdDSA", "--save", "access-token", "-o", vault.top / "x").code == 2
    assert (
        keyvault("key", "generate", "--alg", "EdDSA", "--save", "acess-token").error
        == "no set 'acess-token' in this vault"
    )
    assert (vault.git("rev-parse", "HEAD"), (vault.top / "x").exists()) == (before, False)


def test_a_new_set_has_no_next_key_alone(keyvault: Terminal, write: Write) -> None:
    """No key would sign until a run activated it without a receipt."""
    result = keyvault("key", "import", "new", write("key.json", private("ES256")), "--as", "next")
    assert (result.code, result.problem) == (2, "set-unknown")


def test_odd_exports(keyvault: Terminal, vault: Vault, write: Write) -> None:
    """Each format reports what is wrong or left out."""
    assert "KID=" in keyvault.ok("key", "generate", "--alg", "none", "--format", "dotenv").out
    long = write("long", b"x" * 2_000)
    assert keyvault("key", "generate", "--format", "pem", "--password-file", long).code == 2
    words = ("key", "export", "id-token", "--private", "--format")
    assert keyvault(*words, "apiserver", "--password-file", long, "-o", vault.top / "pki").code == 2
    public = {name: value for name, value in private("ES256").items() if name != "d"}
    keyvault.ok("key", "import", "id-token", write("public.json", public), "--as", "retiring")
    result = keyvault.ok(*words, "jwks")
    assert len(result.json["keys"]) == 2
    assert f"skipped keys without a private half here: {public['kid']}" in result.err
    for number, kid in enumerate(("a.b", "a-b")):
        keyvault.ok(
            "key",
            "import",
            "id-token",
            write("k", private("ES256", number=number + 5) | {"kid": kid}),
            "--as",
            "retiring",
        )
    assert keyvault(*words, "dotenv").problem == "variable-name-ambiguous"


def test_a_password_is_read_once(
    keyvault: Terminal, vault: Vault, write: Write, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The password is for all files; stdin cannot be both the key and its password."""
    password = write("password", b"secret")
    paths = []
    for name in ("id-token", "access-token"):
        path = vault.top / f"{name}.pem"
        keyvault.ok(
            "key", "export", name, "--active", "--private", "--format", "pem", "--password-file", password, "-o", path
        )
        paths.append(path)
    given = keyvault("key", "import", "new", *paths, "--password-file", password, "--alg", "ES256")
    assert given.problem != "password-missing"
    result = keyvault("key", "import", "new", "-", "--password-file", "-")
    assert result.problem == "option-conflict"


@pytest.mark.parametrize("claim", ["exp=9999999999", "exp=soon", "exp=true"])
def test_an_exp_that_cannot_be_kept(keyvault: Terminal, claim: str) -> None:
    """It is refused as a --ttl that is too long."""
    assert keyvault("token", "sign", "id-token", "--claim", claim).code == 2


def test_a_jwk_set_without_alg_verifies(keyvault: Terminal, write: Write) -> None:
    """The member is optional, and large providers omit it."""
    token = keyvault.ok("token", "sign", "id-token").out.strip()
    keys = keyvault.ok("key", "export", "id-token", "--format", "jwks").json
    for jwk in keys["keys"]:
        del jwk["alg"]
    keyvault.ok("token", "verify", token, write("jwks.json", keys))
