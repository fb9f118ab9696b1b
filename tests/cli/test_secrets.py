"""
No private byte outside an envelope, ever.

A session of all commands at full verbosity, as real processes that are recorded; then every place that it could have
left something in is searched for every private member of every key that was made, and for passphrases. That the search
finds what is there is shown in test_canaries.
"""

from __future__ import annotations

import functools
import http.server
import json
import re
import stat
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import NoReturn

import pytest

from keyvault.cli import main
from keyvault.errors import KeyVaultError
from tests.cli.canaries import JWK, PASSPHRASE, search, secrets_of, watch
from tests.cli.recording import Processes, Recording
from tests.cli.session import commands, left, objects, session
from tests.cli.terminal import Terminal
from tests.vaults import DAY, SITE, Vault


@pytest.fixture
def made(monkeypatch: pytest.MonkeyPatch) -> list[JWK]:
    """Every private JWK that this process generates while the test runs."""
    found: list[JWK] = []
    watch(found.append, monkeypatch.setattr)
    return found


class _Quiet(http.server.SimpleHTTPRequestHandler):
    def log_message(self, format: str, *args: object) -> None:
        """Log nothing."""


@pytest.fixture
def host(tmp_path: Path) -> Iterator[str]:
    """The URL of a host on this machine that serves the folder ``www``."""
    handler = functools.partial(_Quiet, directory=str(tmp_path / "www"))
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler) as server:
        threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01}, daemon=True).start()
        yield f"http://127.0.0.1:{server.server_address[1]}"
        server.shutdown()


# --- a session of all commands --------------------------------------------------------------------------


def test_no_private_byte_in_daily_work(fresh: Terminal, made: list[JWK]) -> None:
    """
    What is printed at full verbosity, committed, rendered and left holds no private member of any key, but for the
    identity and the export that were asked for: and those are 0600.
    """
    vault = Vault(fresh.folder, fresh.environ)
    export = vault.top / "export.json"
    fresh.ok("-vv", "init", "--url", SITE, "--set", "id-token:RS256", "--set", "mac:HS256", "--confirm", "commit")
    fresh.vault = vault.wait(DAY)
    for line in (
        "recipient check",
        "token sign id-token",
        "rotate --all",
        "render",
        f"key export mac --active --private -o {export}",
    ):
        fresh.ok("-vv", *line.split())

    files = {export, *vault.top.glob("config/identities/*.json")}
    printed = {f"output {number}": text.encode() for number, text in enumerate(fresh.everything)}
    assert search(secrets_of(made), printed | objects(vault) | left(vault, files)) == []
    assert sorted(search(secrets_of(made), left(vault, ()))) == sorted(map(str, files))
    assert [stat.S_IMODE(path.stat().st_mode) for path in files] == [0o600, 0o600]


@pytest.mark.slow
def test_no_private_byte_anywhere(fresh: Terminal, host: str, recording: Recording) -> None:
    """
    After all commands, as real processes, no private member of any key, and no passphrase, is in what was printed, in
    the arguments of any process, the environment of any child, what goes through pipes and sockets, any object of any
    repository, the site, or any file that was ever written, wherever, if only for a moment; but for identities and
    exports that were asked for: and those are 0600.
    """
    keyvault = Processes.recorded(fresh, recording)
    done = session(keyvault, host)
    made, vault = recording.keys, keyvault.vault
    assert vault is not None
    assert set(commands()) - done.ran.keys() == set()
    assert len(made) > 30
    assert {jwk["kty"] for jwk in made} == {"RSA", "EC", "OKP", "AKP", "oct"}

    meant = {str(path) for path in done.files}
    records = [one for one in recording.records() if not one.known and one.path not in meant]
    places = {f"output {number}": text.encode() for number, text in enumerate(keyvault.everything)}
    places |= {f"{number} {one}": one.data for number, one in enumerate(records)}
    places |= objects(vault) | left(vault, done.files)
    assert sum(name.startswith("objects of ") for name in places) == 5
    assert {"history.json", "feed.atom"} < {Path(name).name for name in places}
    secrets = secrets_of(made)
    assert search(secrets, places) == []
    elsewhere = {one.path for one in records if one.kind == "file" and not one.path.startswith(f"{vault.top}/")}
    assert elsewhere == set()

    # The search finds everything except the encrypted identity, and Base64 in Base64.
    private = {str(path): path.read_bytes() for path in done.files}
    assert meant - set(search(secrets, private)) == {
        str(vault.top / "people" / "ci.json"),
        str(vault.top / "exports" / "rsa.kubernetes-secret"),
    }
    assert {stat.S_IMODE(path.stat().st_mode) for path in done.files} == {0o600}
    runs, names = sum(done.ran.values()), {name for name, _ in commands()}
    print(len(made), "keys", runs, "runs of", len(names), "commands", len(places), "places")


@pytest.mark.parametrize("signed", [False, True], ids=["plain", "signed"])
def test_no_program_is_given_an_identity(keyvault: Terminal, vault: Vault, recording: Recording, signed: bool) -> None:
    """keyvault reads an identity and a passphrase from the environment, but passes them neither to git nor to its children: hooks, gpg, ssh."""
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
    assert (
        search(secrets, {str(number): one.data for number, one in enumerate(records) if one.kind != "environment"})
        == []
    )
    environments = {f"{number} {one}": one.data for number, one in enumerate(records) if one.kind == "environment"}
    assert [one for one in search(secrets, environments) if "child" in one] == []
    assert len(search(secrets, environments)) == 3
    ran = b"".join(one.data for one in records if one.kind == "arguments" and not one.ours)
    assert b"hooks/update" in ran
    assert b"nowhere.example.com" in ran
    assert (b"--status-fd" in ran) == signed


# --- identities under a passphrase, and errors ----------------------------------------------------------


def test_an_encrypted_identity_shows_nothing(keyvault: Terminal, vault: Vault, made: list[JWK]) -> None:
    """The private half of an encrypted identity is in no file."""
    keyvault.ok(
        "init", "../other", "--url", "https://x.example.com", "--set", "a:ES256", "--passphrase",
        KEYVAULT_PASSPHRASE=PASSPHRASE,
    )  # fmt: skip

    everything = {str(path): path.read_bytes() for path in vault.top.rglob("*") if path.is_file()}
    assert len(made) == 3
    assert search(secrets_of(made), everything) == []


# --- errors ---------------------------------------------------------------------------------------------

#: Functions that fail while private keys are in memory: they take them, or run between generating and sealing.
WHERE = {
    "generate": "keyvault.operations.changes.public_jwk",
    "seal": "keyvault.crypto.envelope.Sealer.seal",
    "fold": "keyvault.operations.changes.record_files",
    "commit": "keyvault.repo.git.Git.commit_tree",
}


class Panic(BaseException):
    """Like the panic of a Rust library, which is not an Exception."""


def plain(made: object) -> NoReturn:
    raise RuntimeError("broken", made)


def chained(made: object) -> NoReturn:
    try:
        raise KeyError(made)
    except KeyError as error:
        error.add_note(str(made))
        raise ValueError(f"not {made}") from error


def ours(made: object) -> NoReturn:
    try:
        raise RuntimeError(made)
    except RuntimeError:
        raise KeyVaultError("a message of ours", code="test")  # noqa: B904 - what came before is shown by its kind alone


def grouped(made: object) -> NoReturn:
    raise ExceptionGroup(str(made), [ValueError(made)])


def of_the_system(made: object) -> NoReturn:
    raise OSError(made)


def out_of_memory(made: object) -> NoReturn:
    raise MemoryError(made)


def panic(made: object) -> NoReturn:
    raise Panic(made)


def interrupt(made: object) -> NoReturn:
    raise KeyboardInterrupt(made)


HOW: dict[Callable[[object], NoReturn], tuple[int, str]] = {
    plain: (1, "unexpected RuntimeError"),
    chained: (1, "unexpected ValueError"),
    ours: (1, "a message of ours"),
    grouped: (1, "unexpected ExceptionGroup"),
    of_the_system: (1, "oserror"),
    out_of_memory: (1, "unexpected MemoryError"),
    panic: (1, "unexpected Panic"),
    interrupt: (130, "interrupted"),
}


@pytest.mark.parametrize("how", HOW, ids=lambda how: how.__name__)
@pytest.mark.parametrize("where", WHERE)
def test_an_error_in_the_middle_shows_nothing(
    keyvault: Terminal,
    vault: Vault,
    made: list[JWK],
    monkeypatch: pytest.MonkeyPatch,
    where: str,
    how: Callable[[object], NoReturn],
) -> None:
    """
    When something breaks while keys are in memory, whatever it says, one line tells its kind. A traceback at -vv, on a
    terminal too, shows neither what it says nor local variables; nothing is left behind.
    """

    def broken(*args: object, **kwargs: object) -> None:
        key = list(made)  # a local variable that would be telling
        how(key)

    monkeypatch.setattr(WHERE[where], broken)
    code, message = HOW[how]
    for keyvault.tty in (False, True):
        for flags in ((), ("-vv",)):
            result = keyvault(*flags, "set", "add", "reports", "--alg", "EdDSA")
            assert result.code == code
            assert message in re.sub(r"\x1b\[[0-9;]*m", "", result.err)
            assert ("in broken" in result.err) == (flags != () and how is not interrupt)

    secrets = secrets_of(made)
    assert search(secrets, {str(n): text.encode() for n, text in enumerate(keyvault.everything)}) == []
    assert search(secrets, {str(p): p.read_bytes() for p in vault.top.rglob("*") if p.is_file()}) == []
    assert vault.status == []


def test_a_traceback_names_every_error_that_led_to_it(
    keyvault: Terminal, made: list[JWK], monkeypatch: pytest.MonkeyPatch
) -> None:
    """A traceback shows classes and places of the first and the last error."""
    monkeypatch.setattr(WHERE["fold"], lambda *args, **kwargs: chained("a secret"))
    lines = keyvault("-vv", "set", "add", "reports").err.splitlines()
    assert [line for line in lines if not line.startswith("  ")] == [
        "Traceback (most recent call last):",
        "KeyError",
        "Traceback (most recent call last):",
        "ValueError",
        "keyvault: error: unexpected ValueError",
        "keyvault: hint: please report it, with the output of: keyvault -vv …",
    ]
    assert sum("in chained" in line for line in lines) == 2


def test_no_local_variables_are_ever_shown() -> None:
    """Typer's own tracebacks, which can show them, are off."""
    assert (main.app.pretty_exceptions_enable, main.app.pretty_exceptions_show_locals) == (False, False)


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
