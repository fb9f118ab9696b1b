"""
No private byte outside an envelope, ever.

A session of all commands at full verbosity; then every place that it could have left something in is searched
for every private member of every key that was made.
"""

from __future__ import annotations

import base64
import json
import stat
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from keyvault.crypto import generate
from keyvault.operations import changes
from tests.cli.terminal import Terminal
from tests.vaults import DAY, HOUR, MINUTE, SETS, SITE, Vault, run_git

PRIVATE = ("d", "p", "q", "dp", "dq", "qi", "k")
PASSPHRASE = "canary correct horse battery"


@pytest.fixture
def made(monkeypatch: pytest.MonkeyPatch) -> list[dict[str, Any]]:
    """Every private JWK that is made while the test runs."""
    found: list[dict[str, Any]] = []
    original = generate.generate

    def watched(spec: Any) -> dict[str, Any]:
        jwk: dict[str, Any] = original(spec)
        found.append(jwk)
        return jwk

    def watched_many(specs: Any) -> Iterator[dict[str, Any]]:
        return (watched(spec) for spec in specs)

    monkeypatch.setattr(generate, "generate", watched)
    monkeypatch.setattr(generate, "generate_many", watched_many)
    monkeypatch.setattr("keyvault.crypto.identities.generate", watched)
    return found


def forms(secret: str) -> Iterator[bytes]:
    """Yield a private member in every form in which it could leak: base64url, base64, hex, raw, decimal."""
    raw = base64.urlsafe_b64decode(secret + "=" * (-len(secret) % 4))
    yield secret.encode()
    yield raw
    yield raw.hex().encode()
    yield raw.hex().upper().encode()
    yield base64.b64encode(raw).rstrip(b"=")
    yield str(int.from_bytes(raw, "big")).encode()


def secrets_of(jwks: list[dict[str, Any]]) -> list[bytes]:
    return [form for jwk in jwks for name in PRIVATE if name in jwk for form in forms(jwk[name])]


def search(secrets: list[bytes], places: dict[str, bytes]) -> list[str]:
    """Return the places in which a secret occurs."""
    return [place for place, data in places.items() if any(secret in data for secret in secrets)]


def session(keyvault: Terminal, vault: Vault) -> set[Path]:
    """Make a vault and run every command at -vv; return the files that are meant to hold private keys."""
    keyvault.ok("-vv", "init", "--url", SITE, *(word for one in SETS for word in ("--set", one)), "--confirm", "commit")
    keyvault.vault = vault
    people, exports = vault.top / "people", vault.top / "exports"
    exports.mkdir()

    def run(*arguments: str | Path, **environ: str) -> Any:
        return keyvault("-vv", *arguments, **environ)

    bea = people / "bea.json"
    public = run("identity", "new", "--kid", "bea", "-o", bea)
    (vault.top / "bea.pub").write_text(public.out)
    run("identity", "new", "--kid", "ci", "--passphrase", "-o", people / "ci.json", KEYVAULT_PASSPHRASE=PASSPHRASE)
    for alg, name in (("HS256", "hmac"), ("ECDH-ES+A256KW", "mail"), ("EdDSA", "reports"), ("RS256", "rsa")):
        assert run("set", "add", name, "--alg", alg).code == 0
    run("recipient", "add", vault.top / "bea.pub")
    run("recipient", "add", people / "ci.json", "--kid", "ci", KEYVAULT_PASSPHRASE=PASSPHRASE)
    for command in (
        "status",
        "plan",
        "set list",
        "key list --all",
        "recipient list",
        "recipient check",
        "identity list",
    ):
        run(*command.split())
        run(*command.split(), "--json")
    run("--identity", bea, "recipient", "check", KEYVAULT_CONFIG_DIR="/nowhere")
    run("--identity", people / "ci.json", "recipient", "check", KEYVAULT_PASSPHRASE=PASSPHRASE)
    run("--identity", people / "ci.json", "recipient", "check", KEYVAULT_PASSPHRASE=PASSPHRASE + "x")
    run("recipient", "check", KEYVAULT_IDENTITY=bea.read_text())
    run("recipient", "check", KEYVAULT_IDENTITY=bea.read_text()[:-20])
    run("recipient", "check", KEYVAULT_IDENTITY=bea.read_text().replace('"kty": "EC"', '"kty": "OKP"'))
    for name in vault.state().sets:
        token = run("token", "sign", name, "--claim", "sub=alice").out.strip()
        run("token", "inspect", token)
        run("token", "verify", token)
        for form in ("jwk", "jwks", "pem"):
            run("key", "export", name, "--format", form)
            run("key", "export", name, "--active", "--format", form)
            run("key", "export", name, "--active", "--private", "--format", form, "-o", exports / f"{name}.{form}")
        run("key", "export", name, "--private", "--format", "jwks", KEYVAULT_CONFIG_DIR="/nowhere")
    run("key", "generate", "-o", exports / "new.jwk", "--public")
    run("key", "generate", "-o", exports / "new.jwk")
    vault.wait(DAY)
    run("rotate", "--due")
    run("rotate", "--all")
    run("rotate", "id-token", "--alg", "ES384")
    vault.wait(MINUTE)
    run("rotate", "access-token", "--force", "--reason", "a drill")
    run("rollback", "access-token")
    run("revoke", vault.active("reports").kid, "--reason", "compromised", "--note", "a drill")
    run("recipient", "replace", "bea", bea, "--kid", "bea-2")
    run("recipient", "remove", "bea-2", "--rotate")
    run("set", "remove", "hmac")
    run("set", "remove", "mail", "--force", "--reason", "a drill")
    vault.wait(3 * HOUR)
    run("rotate", "--due")
    run("render")
    run("render", "-o", vault.top / "site", "--ref", "HEAD~3")
    run("nonsense")
    run("revoke", "x" * 40, "--reason", "compromised")
    identities = set(vault.top.glob("config/identities/*.json"))
    return {bea, people / "ci.json", *identities, *exports.iterdir()}


def blobs(folder: Path, environ: dict[str, str]) -> dict[str, bytes]:
    """Return every object of a repository, those that nothing points at too, with its content."""
    listing = run_git(folder, environ, "cat-file", "--batch-all-objects", "--batch-check").splitlines()
    return {line: run_git(folder, environ, "cat-file", *line.split()[1::-1]).encode(errors="surrogateescape")
            for line in listing}  # fmt: skip


def test_no_private_byte_anywhere(fresh: Terminal, made: list[dict[str, Any]]) -> None:
    """
    After a session of all commands no private member of any key is in what was printed, committed, rendered,
    or left in any file, but for identities and exports that were asked for: and those are 0600.
    """
    keyvault, vault = fresh, Vault(fresh.folder, fresh.environ)
    files = session(keyvault, vault)
    secrets = secrets_of(made)
    assert len(made) > 20
    assert {jwk["kty"] for jwk in made} == {"RSA", "EC", "OKP", "oct"}

    printed = {f"output {number}": text.encode() for number, text in enumerate(keyvault.everything)}
    assert search(secrets, printed) == []
    assert search(secrets, blobs(vault.folder, vault.environ)) == []
    left = {str(path): path.read_bytes() for path in vault.top.rglob("*") if path.is_file() and path not in files}
    assert any(name.endswith("history.json") for name in left)
    assert search(secrets, left) == []
    private = {str(path): path.read_bytes() for path in files}
    # The search finds what is there; PEM holds it at another offset of base64, and one identity is encrypted.
    in_the_clear = [name for name in private if not name.endswith((".pem", "/ci.json"))]
    assert sorted(search(secrets, private)) == sorted(in_the_clear)
    assert len(in_the_clear) == 15
    for path in files:
        assert stat.S_IMODE(path.stat().st_mode) == 0o600, path
    assert PASSPHRASE not in "".join(keyvault.everything)
    assert search([PASSPHRASE.encode()], left | private) == []


def test_an_encrypted_identity_shows_nothing(keyvault: Terminal, vault: Vault, made: list[dict[str, Any]]) -> None:
    """The private half of an identity under a passphrase is in no file at all."""
    keyvault.ok(
        "init", "../other", "--url", "https://x.example.com", "--set", "a:ES256", "--passphrase",
        KEYVAULT_PASSPHRASE=PASSPHRASE,
    )  # fmt: skip

    everything = {str(path): path.read_bytes() for path in vault.top.rglob("*") if path.is_file()}
    assert len(made) == 3
    assert search(secrets_of(made), everything) == []


@pytest.mark.parametrize("where", ["generate", "seal", "fold", "commit"])
def test_an_error_in_the_middle_shows_nothing(
    keyvault: Terminal, vault: Vault, made: list[dict[str, Any]], monkeypatch: pytest.MonkeyPatch, where: str
) -> None:
    """When something breaks while keys are in memory, no traceback at -vv shows any of them, and none is left behind."""

    def broken(*args: object, **kwargs: object) -> None:
        raise RuntimeError("broken")

    target: dict[str, Callable[[], None]] = {
        "generate": lambda: monkeypatch.setattr("keyvault.operations.changes.public_jwk", broken),
        "seal": lambda: monkeypatch.setattr("keyvault.crypto.envelope.Sealer.seal", broken),
        "fold": lambda: monkeypatch.setattr(changes, "record_files", broken),
        "commit": lambda: monkeypatch.setattr("keyvault.repo.git.Git.commit_tree", broken),
    }
    target[where]()

    for flags in ((), ("-vv",)):
        result = keyvault(*flags, "set", "add", "reports", "--alg", "EdDSA")
        assert result.code == 1
    secrets = secrets_of(made)
    assert secrets
    assert search(secrets, {str(n): text.encode() for n, text in enumerate(keyvault.everything)}) == []
    assert search(secrets, {str(p): p.read_bytes() for p in vault.top.rglob("*") if p.is_file()}) == []
    assert vault.status == []


def test_private_keys_are_sealed_with_fresh_randomness(keyvault: Terminal, vault: Vault) -> None:
    """Two seals of one key share neither content key nor nonce: nothing can be learnt from comparing them."""
    file = vault.top / "bea.json"
    keyvault.ok("identity", "new", "--kid", "bea", "-o", file)
    before = {
        kid: json.loads((vault.folder / key.path).read_bytes())["private"] for kid, key in vault.state().keys.items()
    }

    keyvault.ok("recipient", "add", file)

    for kid, key in vault.state().keys.items():
        after = json.loads((vault.folder / key.path).read_bytes())["private"]
        assert after["iv"] != before[kid]["iv"]
        assert after["ciphertext"] != before[kid]["ciphertext"]
        assert after["recipients"][-1]["encrypted_key"] != before[kid]["recipients"][0]["encrypted_key"]
