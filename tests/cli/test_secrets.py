"""
No private byte outside an envelope, ever.

A session of all commands at full verbosity, in this process and as real ones that are recorded; then every place that
it could have left something in is searched for every private member of every key that was made, and for passphrases.
"""

from __future__ import annotations

import functools
import http.server
import json
import os
import shutil
import signal
import stat
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from datetime import timedelta
from pathlib import Path

import pytest
import typer
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat
from jwcrypto.jwk import JWK as JoseKey

from keyvault.cli import main
from keyvault.cli.state import settings
from keyvault.core.algorithms import key_spec
from keyvault.crypto import generate
from keyvault.operations import changes, demo
from tests.cli.canaries import JWK, PASSPHRASE, forms, members, search, secrets_of, watch
from tests.cli.recording import Processes, Recording
from tests.cli.session import Session, commands, form_of, left, objects, session
from tests.cli.terminal import Terminal
from tests.vaults import DAY, Vault


@pytest.fixture
def made(monkeypatch: pytest.MonkeyPatch) -> list[JWK]:
    """Every private JWK that is made in this process while the test runs."""
    found: list[JWK] = []
    watch(found.append, monkeypatch.setattr)
    return found


class _Quiet(http.server.SimpleHTTPRequestHandler):
    def log_message(self, format: str, *args: object) -> None:
        """Say nothing."""


@pytest.fixture
def host(tmp_path: Path) -> Iterator[str]:
    """The URL of a host on this machine that serves the folder ``www``."""
    handler = functools.partial(_Quiet, directory=str(tmp_path / "www"))
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler) as server:
        threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01}, daemon=True).start()
        yield f"http://127.0.0.1:{server.server_address[1]}"
        server.shutdown()


# --- a session of all commands --------------------------------------------------------------------------


def check(keyvault: Terminal, done: Session, made: list[JWK]) -> dict[str, bytes]:
    """See that all was run, and that nothing private is in what was printed or left; return what was searched."""
    assert set(commands()) - done.ran == set()
    assert len(made) > 30
    assert {jwk["kty"] for jwk in made} == {"RSA", "EC", "OKP", "oct"}
    vault = keyvault.vault
    assert vault is not None
    places = {f"output {number}": text.encode() for number, text in enumerate(keyvault.everything)}
    places |= objects(vault) | left(vault, done.files)
    assert sum(name.startswith("objects of ") for name in places) == 5
    assert any(name.endswith("history.json") for name in places)
    secrets = secrets_of(made)
    assert search(secrets, places) == []
    # The search finds what is there: all but the identity under a passphrase.
    private = {str(path): path.read_bytes() for path in done.files}
    assert set(private) - set(search(secrets, private)) == {str(vault.top / "people" / "ci.json")}
    for path in done.files:
        assert stat.S_IMODE(path.stat().st_mode) == 0o600, path
    return places


def test_no_private_byte_anywhere(
    fresh: Terminal, host: str, made: list[JWK], monkeypatch: pytest.MonkeyPatch
) -> None:
    """
    After a session of all commands no private member of any key is in what was printed, committed, rendered,
    or left in any file, but for identities and exports that were asked for: and those are 0600.
    """
    monkeypatch.setattr(demo, "_SPAN", timedelta(days=3))
    done = session(fresh, host)
    check(fresh, done, made)


@pytest.mark.slow
def test_no_private_byte_passes_through_anything(fresh: Terminal, host: str, recording: Recording) -> None:
    """
    The same commands as real processes: nothing private is in the arguments of any process, the environment of any
    child, what goes through pipes and sockets, or any file that was ever written, wherever, if only for a moment.
    """
    keyvault = Processes.recorded(fresh, recording)
    done = session(keyvault, host)
    made = recording.keys
    places = check(keyvault, done, made)

    vault = keyvault.vault
    assert vault is not None
    meant = {str(path) for path in done.files}
    records = [one for one in recording.records() if not one.known and one.path not in meant]
    found = {f"{number} {one}": one.data for number, one in enumerate(records)}
    assert search(secrets_of(made), found) == []
    elsewhere = {one.path for one in records if one.kind == "file" and not one.path.startswith(f"{vault.top}/")}
    assert elsewhere == set()
    print(len(made), "keys", len(done.ran), "forms of commands", len(places) + len(found), "places")


@pytest.mark.parametrize("signed", [False, True], ids=["plain", "signed"])
def test_no_program_is_given_an_identity(
    keyvault: Terminal, vault: Vault, recording: Recording, signed: bool
) -> None:
    """An identity and a passphrase in the environment reach neither git nor what git runs: hooks, gpg, ssh; keyvault opens by them."""
    identity = next((vault.top / "config" / "identities").glob("*.json"))
    key = json.loads(identity.read_text())
    identity.rename(vault.top / "identity.json")
    hook, settings = vault.publish_to() / "hooks" / "update", vault.top / "gitconfig"
    gpg, ssh = vault.top / "gpg", vault.top / "ssh"
    hook.write_text("#!/bin/sh\nexit 0\n")
    gpg.write_text('#!/bin/sh\ncat >/dev/null\necho "\n[GNUPG:] SIG_CREATED " >&2\necho signature\n')
    ssh.write_text("#!/bin/sh\nexit 1\n")
    for program in (hook, gpg, ssh):
        program.chmod(0o755)
    settings.write_text(f"[gpg]\nprogram = {gpg}\n[core]\nsshCommand = {ssh}\n[commit]\ngpgsign = {signed}\n")
    vault.wait(DAY)
    terminal = Processes.recorded(keyvault, recording)
    given = {
        "KEYVAULT_IDENTITY": json.dumps(key),
        "KEYVAULT_PASSPHRASE": PASSPHRASE,
        "GIT_CONFIG_GLOBAL": str(settings),
    }

    terminal.ok("recipient", "check", **given)
    terminal.ok("rotate", "--all", "--push", **given)
    vault.git("remote", "set-url", "origin", "ssh://nowhere.example.com/vault")
    terminal("set", "add", "reports", "--push", **given)

    secrets = secrets_of([key])
    records = list(recording.records())
    assert search(secrets, {str(number): one.data for number, one in enumerate(records) if one.kind != "environment"}) == []
    environments = {f"{number} {one}": one.data for number, one in enumerate(records) if one.kind == "environment"}
    assert [one for one in search(secrets, environments) if "child" in one] == []
    assert len(search(secrets, environments)) == 3
    ran = b"".join(one.data for one in records if one.kind == "arguments" and not one.ours)
    assert b"hooks/update" in ran
    assert b"nowhere.example.com" in ran
    assert (b"--status-fd" in ran) == signed


# --- identities under a passphrase, and errors ----------------------------------------------------------


def test_an_encrypted_identity_shows_nothing(keyvault: Terminal, vault: Vault, made: list[JWK]) -> None:
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
    keyvault: Terminal, vault: Vault, made: list[JWK], monkeypatch: pytest.MonkeyPatch, where: str
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
