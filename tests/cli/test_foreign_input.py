"""
Nothing secret in any output: documents that hold a private key are given to every command and to the library, and all
that comes out is searched for it.

What comes out is stdout, stderr at -vv, JSON, log records, and files outside of the vault. A leak is a run of twelve
characters of the key, in any form. `test_the_search_finds_what_is_there` shows that the search can fail.
"""

from __future__ import annotations

import contextlib
import functools
import http.server
import json
import logging
import threading
import traceback
from collections.abc import Callable, Iterator
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
import typer

from keyvault import KeyVaultError
from keyvault import Vault as Library
from keyvault.cli.main import app
from tests.cli.foreign import DAMAGES, DOCUMENTS, JWK, PEM, SECRET, TOKENS, D, leaks
from tests.cli.session import commands
from tests.cli.terminal import Terminal
from tests.vaults import Vault

#: How each command is run in an intact vault. None: the comment says why it is not run.
LINES: dict[str, str | None] = {
    "init": "init ../new --url https://keys.example.com --set a:ES256",
    "status": "status",
    "demo": None,  # reads nothing
    "rotate": "rotate --due",
    "revoke": "revoke {next} --reason superseded --dry-run",
    "rollback": "rollback id-token --dry-run",
    "repair": "repair",
    "merge-driver": "merge-driver --check",
    "plan": "plan",
    "render": "render",
    "serve": None,  # runs until it is stopped; what it reads, render and render --worktree read
    "publish": "publish ../www",
    "check": "check http://127.0.0.1:1",
    "diff": "diff HEAD~1",
    "guard": "guard --commits HEAD",
    "lint": "lint",
    "audit": "audit",
    "set list": "set list",
    "set add": "set add reports --alg EdDSA --dry-run",
    "set remove": "set remove id-token --dry-run",
    "key list": "key list --all",
    "key show": "key show {next}",
    "key generate": "key generate --alg EdDSA --public",
    "key import": "key import new ../public.jwk --dry-run",
    "key export": "key export id-token",
    "recipient list": "recipient list",
    "import-check": "import-check https://127.0.0.1:1/jwks.json",
    "recipient add": "recipient add ../public.jwk --dry-run",
    "recipient remove": "recipient remove ada --dry-run",
    "recipient replace": "recipient replace ada ../public.jwk --dry-run",
    "recipient check": "recipient check",
    "identity new": "identity new -o ../identity.json",
    "identity list": "identity list",
    "token sign": "token sign id-token",
    "token inspect": "token inspect e30.e30.AA",
    "token verify": "token verify e30.e30.AA",
}

#: Command lines that read a file, `{file}`, a document of a host, `{url}`, or an identity; with their environment.
READERS: tuple[tuple[str, dict[str, str]], ...] = (
    ("key import new{number} {file}", {}),
    ("key import new{number} {file} --alg ES256 --as retiring --external --dry-run", {}),
    ("key import new{number} {file} --kid-from spki --only x --dry-run", {}),
    ("key import new{number} {file} --password-file {file} --dry-run", {}),
    ("key import new{number} --from-url {url} --dry-run", {}),
    ("import-check {url}", {}),
    ("key export id-token --private --password-file {file} --format pem", {}),
    ("lint {file}", {}),
    ("lint {file} --for kubernetes --for aws", {}),
    ("lint {url}", {}),
    ("guard {file}", {}),
    ("recipient add {file} --dry-run", {}),
    ("merge-driver {file} {file} {file} keys.enc/id-token/key.json", {}),
    ("merge-driver {file} {file} {file} keys.enc/recipients.json", {}),
    ("recipient replace ada {file} --dry-run", {}),
    ("init ../new{number} --url https://keys.example.com --recipient {file}", {}),
    ("audit --signers {file}", {}),
    ("token sign id-token --claims {file} --ttl x", {}),
    ("token verify e30.e30.AA {file}", {}),
    ("token verify {token} {file}", {}),
    ("token verify e30.e30.AA {url}", {}),
    ("check {url}", {}),
    ("--identity {file} recipient check", {"KEYVAULT_CONFIG_DIR": "/nowhere"}),
    ("--identity {file} token sign id-token", {"KEYVAULT_CONFIG_DIR": "/nowhere", "KEYVAULT_PASSPHRASE": "12345678"}),
    ("identity list", {"KEYVAULT_IDENTITY_FILE": "{file}"}),
    ("recipient check", {"KEYVAULT_IDENTITY_FILE": "{file}", "KEYVAULT_CONFIG_DIR": "/nowhere"}),
    ("recipient check", {"KEYVAULT_IDENTITY": "{text}", "KEYVAULT_CONFIG_DIR": "/nowhere"}),
    ("--vault {file} status", {}),
)
#: Command lines that read stdin.
STDIN = ("lint -", "key import new{number} - --dry-run", "token verify -", "token sign id-token --claims - --ttl x")

#: Intended output: the claims of a token that a command shows or signs.
MEANT = ("token inspect", "token verify", "token sign")


def leaf_commands() -> dict[str, Any]:
    """Return every command by its path."""
    found = {}

    def walk(command: Any, path: str) -> None:
        below = getattr(command, "commands", None)
        if below is None:
            found[path] = command
        for name, one in (below or {}).items():
            walk(one, f"{path} {name}".strip())

    walk(typer.main.get_command(app), "")
    return found


class Watch:
    """Runs command lines in a vault, and collects leaks."""

    def __init__(self, vault: Vault, caplog: pytest.LogCaptureFixture) -> None:
        self.vault, self.caplog = vault, caplog
        self.terminal = Terminal.of(vault)
        self.found: dict[str, list[str]] = {}
        self.ran = 0
        caplog.set_level(logging.DEBUG)

    def run(self, about: str, words: list[str], *, stdin: str = "", only_errors: bool = False, **environ: str) -> None:
        """Run a command at -vv, and again with --json if it has that option."""
        name = next((path for path in leaf_commands() if " ".join(words).find(path) >= 0 and _is(path, words)), "")
        has_json = name and any("--json" in parameter.opts for parameter in leaf_commands()[name].params)
        for more in ([], ["--json"]) if has_json else ([],):
            self.caplog.clear()
            end = words.index("--") if "--" in words else len(words)
            result = self.terminal("-vv", *words[:end], *more, *words[end:], stdin=stdin, **environ)
            self.ran += 1
            assert "error: unexpected " not in result.err, (words, result.err)
            if only_errors and result.code == 0:
                continue
            out = "" if name in MEANT and result.code == 0 else result.out
            self.look(f"{about}: {' '.join(words[:3])[:60]} {''.join(more)}", out, result.err, *self.logged)

    @property
    def logged(self) -> list[str]:
        """The log of keyvault; other libraries log paths of the caller."""
        return [record.getMessage() for record in self.caplog.records if record.name.startswith("keyvault")]

    def look(self, about: str, *texts: str) -> None:
        for text in texts:
            if leaked := leaks(text.encode(errors="backslashreplace")):
                self.found.setdefault(about, []).extend(line[:300] for line in leaked)

    def report(self) -> str:
        return "\n".join(f"{about}\n    {line}" for about, lines in self.found.items() for line in lines)


def _is(path: str, words: list[str]) -> bool:
    bare = [word for word in words if not word.startswith("-")]
    return any(bare[at : at + len(path.split())] == path.split() for at in range(min(3, len(bare))))


@pytest.fixture
def watch(vault: Vault, caplog: pytest.LogCaptureFixture) -> Watch:
    public = {name: value for name, value in JWK.items() if name != "d"}
    (vault.top / "public.jwk").write_text(json.dumps(public))
    return Watch(vault, caplog)


class _Host(http.server.BaseHTTPRequestHandler):
    """Serves the document whose name is the path, under every path below it."""

    def do_GET(self) -> None:
        names = list(DOCUMENTS)
        number = self.path.split("/")[1]
        body = DOCUMENTS[names[int(number)]] if number.isdigit() else b"{}"
        self.send_response(200)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, format: str, *args: object) -> None:
        """Log nothing."""


@pytest.fixture
def host() -> Iterator[str]:
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), _Host) as server:
        threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01}, daemon=True).start()
        yield f"http://127.0.0.1:{server.server_address[1]}"
        server.shutdown()


# --- the search itself ----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "text",
    [
        D,
        D[7:19],
        f'"d": "{D[:12]}…',
        SECRET.hex(),
        SECRET.hex().upper()[3:15],
        SECRET.hex(":"),
        str(int.from_bytes(SECRET, "big"))[:12],
        "".join(f"\\u{ord(char):04x}" for char in D[:12]),
        "".join(f"%{ord(char):02x}" for char in D[:12]),
        PEM.splitlines()[2],
        json.dumps(json.dumps(JWK)),
        repr(SECRET),
    ],
    ids=range(12),
)
def test_the_search_finds_what_is_there(text: str) -> None:
    """The search finds every form and any twelve characters of it, but not eleven."""
    assert leaks(f"before {text} after".encode())


def test_the_search_finds_nothing_else() -> None:
    """The public half, kids and eleven characters of the key are no leak."""
    public = {name: value for name, value in JWK.items() if name != "d"}
    assert leaks(json.dumps(public).encode() + D[:11].encode() + b" " + SECRET.hex()[:11].encode()) == []


def test_every_command_is_here() -> None:
    """A new command without a line of its own fails this test."""
    assert set(LINES) == set(leaf_commands()) == {name for name, _ in commands() if name}


# --- what commands read ---------------------------------------------------------------------------------


@pytest.mark.slow
@pytest.mark.parametrize(
    "line",
    range(len(READERS)),
    ids=lambda number: READERS[number][0][:50],
)
def test_documents_leave_no_trace(watch: Watch, host: str, line: int) -> None:
    """No reader of any document prints or logs any part of the key."""
    words, environ = READERS[line]
    vault = watch.vault
    token = watch.terminal.ok("token", "sign", "id-token").out.strip()
    for number, (name, data) in enumerate(DOCUMENTS.items()):
        file = vault.top / "document"
        file.write_bytes(data)
        file.chmod(0o600)
        text = data.decode(errors="surrogateescape").replace("\0", "")
        values = {"file": str(file), "url": f"{host}/{number}", "number": str(number), "token": token}
        given = {key: value.replace("{text}", text).replace("{file}", str(file)) for key, value in environ.items()}
        watch.run(name, [word.format(**values) for word in words.split()], **given)

    assert watch.report() == ""
    assert watch.ran >= len(DOCUMENTS)
    written = {
        str(path): path.read_bytes()
        for path in vault.top.rglob("*")
        if path.is_file() and path != vault.top / "document"
    }
    assert [path for path, data in written.items() if leaks(data)] == []


@pytest.mark.slow
@pytest.mark.parametrize("line", STDIN)
def test_stdin_leaves_no_trace(watch: Watch, line: str) -> None:
    """The same for stdin."""
    documents = {name: data.decode() for name, data in DOCUMENTS.items() if data.isascii()}
    for number, (name, text) in enumerate({**documents, **TOKENS}.items()):
        watch.run(name, line.format(number=number).split(), stdin=text)
    assert watch.report() == ""


@pytest.mark.slow
@pytest.mark.parametrize("command", ["token inspect", "token verify"])
def test_tokens_leave_no_trace(watch: Watch, command: str) -> None:
    """No part of a refused token is shown, nor of text that was pasted in place of a token."""
    for name, text in TOKENS.items():
        watch.run(name, [*command.split(), "--", text])
        watch.run(f"Bearer {name}", [*command.split(), f"Bearer {text}"])
    assert watch.report() == ""


# --- what somebody pastes in the wrong place ------------------------------------------------------------

PASTED = {"jwk": json.dumps(JWK), "pem": PEM, "url": f"https://u:{D}@keys.example.com/x", "path": f"../{D}/x"}


@pytest.mark.parametrize("command", [name for name in LINES if name not in ("demo", "serve")])
def test_a_key_as_an_argument_is_not_repeated(watch: Watch, command: str) -> None:
    """
    As the value of any argument or option: an error may say which, and does not repeat it into a log. A command that
    succeeds was given a name, and says that name.
    """
    line = str(LINES[command]).format(next=watch.vault.next().kid).split()
    begin = len(command.split())
    for parameter in leaf_commands()[command].params:
        if getattr(parameter, "is_flag", False) or parameter.name == "help" or parameter.opts[0] in ("--x509",):
            continue
        for name, text in PASTED.items():
            option = [parameter.opts[-1], text] if parameter.param_type_name == "option" else None
            words = [*line, *option] if option else [*line[:begin], text, *line[begin + 1 :]]
            watch.run(f"{name} as {parameter.opts[0]}", words, only_errors=True)
    assert watch.report() == ""


# --- damaged vaults -------------------------------------------------------------------------------------


@pytest.mark.slow
@pytest.mark.parametrize("damage", DAMAGES)
def test_a_damaged_vault_leaves_no_trace(watch: Watch, damage: str) -> None:
    """Every command in a vault with a pasted key, in its files or in git's own."""
    vault = watch.vault
    kid = vault.next().kid
    vault.publish_to()
    DAMAGES[damage](vault)
    with contextlib.suppress(AssertionError):
        vault.git("reset", "--quiet", "--hard")  # the work tree shows it, too
    more = ("rotate --all --push", "render --worktree", "publish branch:pages", "rotate id-token --dry-run", "guard .")
    for line in (
        *filter(None, LINES.values()),
        *more,
        "rotate id-token --force --reason x",
        "plan --simulate id-token",
    ):
        watch.run(damage, line.format(next=kid).split())
    assert watch.report() == ""


# --- the library ----------------------------------------------------------------------------------------


def _said(call: Callable[[], object]) -> str:
    """Return everything that a service could log about an error."""
    try:
        call()
    except KeyVaultError as error:
        return "\n".join((error.message, error.hint or "", "".join(traceback.format_exception_only(error))))
    except (TypeError, ValueError) as error:
        return str(error)
    return ""


def _calls(vault: Vault, file: Path, text: str) -> dict[str, Callable[[], object]]:
    """Return calls of the library that read a document: *text*, which is in *file*, too."""
    elsewhere = {**vault.environ, "KEYVAULT_CONFIG_DIR": "/nowhere"}
    library = Library.open(vault.folder, environ=vault.environ)

    def signer_with(**variables: str) -> object:
        return Library.open(vault.folder, environ={**elsewhere, **variables}).signer("id-token")

    return {
        "identity": lambda: Library.open(vault.folder, environ=elsewhere, identity=file).signer("id-token"),
        "KEYVAULT_IDENTITY": lambda: signer_with(KEYVAULT_IDENTITY=text),
        "KEYVAULT_IDENTITY_FILE": lambda: signer_with(KEYVAULT_IDENTITY_FILE=str(file)),
        "open": lambda: Library.open(text, environ=vault.environ),
        "signer": lambda: library.signer(text),
        "jwks": lambda: library.jwks(text),
        "plan": lambda: library.plan(sets=[text]),
        "exp": lambda: library.signer("id-token").sign({"exp": text}),
        "iat": lambda: library.signer("id-token").sign({"iat": [text]}),
        "claims": lambda: library.signer("id-token").sign({text: {1, 2}}),
    }


@pytest.mark.slow
def test_the_library_leaves_no_trace(watch: Watch) -> None:
    """Invalid identities, and documents in place of names and claims, appear in no error and no log record."""
    file = watch.vault.top / "document"
    for name, data in DOCUMENTS.items():
        file.write_bytes(data)
        for call, function in _calls(watch.vault, file, data.decode(errors="surrogateescape")).items():
            watch.caplog.clear()
            watch.look(f"{name} as {call}", _said(function), *watch.logged)
    assert watch.report() == ""


@pytest.mark.parametrize("damage", DAMAGES)
def test_a_signer_leaves_no_trace_of_a_damaged_vault(watch: Watch, damage: str) -> None:
    """A signer reports in its log and its errors why it cannot read the vault, without showing a value of it."""
    signer = Library.open(watch.vault.folder, environ=watch.vault.environ).signer("id-token", refresh=timedelta(0))
    DAMAGES[damage](watch.vault)
    watch.caplog.clear()
    watch.look(damage, _said(functools.partial(signer.sign, {})), *watch.logged)
    assert watch.report() == ""
