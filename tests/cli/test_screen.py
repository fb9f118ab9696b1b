"""Output to a terminal: colours on terminals only, and never foreign control characters."""

from __future__ import annotations

import os
import re
import subprocess
import sys

import msgspec
import pytest

from keyvault.core.events import Event
from keyvault.core.keys import Key
from keyvault.repo.records import encode_key, encode_recipients
from tests.cli.terminal import Terminal
from tests.vaults import DAY, PROJECT, Vault

pty = pytest.importorskip("pty", reason="there is no pseudo-terminal on this system")

#: Escapes that repaint a screen, move its cursor, ring, hide or reverse text.
EVIL = "\x1b[2J\x1b]0;title\x07\x9b31m\u202egnp.exe\u2066\u200f\x08\x7f\r"
RAW = re.compile("[\x00-\x08\x0b-\x1f\x7f-\x9f\u061c\u200e\u200f\u202a-\u202e\u2066-\u2069]")

COMMANDS = (
    "status", "status id-token", "plan", "set list", "key list --all", "recipient list", "recipient check",
    "identity list", "rotate --due --dry-run", "rotate nowhere", "-q status", "-q recipient list", "--help",
)  # fmt: skip


@pytest.mark.parametrize("command", COMMANDS)
def test_pipes_have_no_colours(keyvault: Terminal, command: str) -> None:
    """Output to a pipe or a file has no escapes."""
    result = keyvault(*command.split())

    assert "\x1b" not in result.out + result.err


def test_terminals_have_colours(keyvault: Terminal, vault: Vault) -> None:
    """On a terminal states have a colour each, and errors are red; the text is the same."""
    plain = keyvault.ok("status").out
    keyvault.tty = True

    coloured = keyvault.ok("status").out

    assert "\x1b[32mactive\x1b[0m" in coloured
    assert re.sub(r"\x1b\[[0-9;]*m", "", coloured) == plain
    assert "\x1b[1;31merror\x1b[0m: " in keyvault("rotate", "nowhere").err


@pytest.mark.parametrize("environ", [{"NO_COLOR": "1"}, {"TERM": "dumb"}])
@pytest.mark.parametrize("command", COMMANDS)
def test_colours_can_be_switched_off(keyvault: Terminal, command: str, environ: dict[str, str]) -> None:
    """NO_COLOR and dumb terminals are respected."""
    keyvault.tty = True

    result = keyvault(*command.split(), **environ)

    assert "\x1b" not in result.out + result.err


def test_quiet_and_json_have_no_colours(keyvault: Terminal, vault: Vault) -> None:
    """Ids and JSON are for programs, on a terminal too."""
    keyvault.tty = True
    for command in ("-q status", "status --json", "key list --json", "-q key list", "plan --json"):
        assert "\x1b" not in keyvault.ok(*command.split()).out


def plant(vault: Vault) -> Key:
    """Put the escapes into every text field of a vault, as anybody who can push could."""
    key = vault.active()
    events = (
        *key.events,
        Event(at=vault.now, event="lifetime", token_lifetime=7200, note=EVIL, forced=EVIL),
    )
    evil = msgspec.structs.replace(key, events=events)
    following = msgspec.structs.replace(
        vault.next(), events=(*vault.next().events, Event(at=vault.now, event="published", url=EVIL))
    )
    (me,) = vault.state().recipients.values()
    recipients = {me.kid: me, EVIL: msgspec.structs.replace(me, kid=EVIL)}
    vault.commit(
        {
            evil.path: encode_key(evil),
            following.path: encode_key(following),
            "keys.enc/recipients.json": encode_recipients(recipients),
        }
    )
    return key


@pytest.mark.parametrize("tty", [False, True])
def test_text_of_somebody_else_is_printable(keyvault: Terminal, vault: Vault, tty: bool) -> None:
    """Notes, reasons, urls and labels that hold control characters are shown as escapes, on every path."""
    key = plant(vault)
    keyvault.tty = tty
    vault.wait(DAY)

    results = [keyvault(*command.split(), NO_COLOR="1") for command in COMMANDS]
    results += [
        keyvault(*command, NO_COLOR="1")
        for command in (
            ("key", "show", key.kid),
            ("key", "show", vault.next().kid),
            ("recipient", "remove", EVIL, "--dry-run"),
            ("recipient", "remove", "nobody"),
            ("rotate", "id-token", "--dry-run"),
            ("render",),
            ("rotate", EVIL),
            ("key", "show", EVIL),
            ("set", "add", EVIL),
            ("render", "--ref", EVIL),
            (EVIL,),
            (f"--{EVIL}",),
            ("token", "inspect", EVIL),
        )
    ]

    assert any(r"\x1b[2J" in result.out for result in results)
    for result in results:
        assert not RAW.search(result.out), result.out
        assert not RAW.search(result.err), result.err
    assert not any("unexpected" in result.err for result in results)


def test_text_of_a_token_is_printable(keyvault: Terminal, vault: Vault) -> None:
    """Header and claims of a token are untrusted: they are printed without control characters, as valid JSON."""
    token = keyvault.ok("token", "sign", "id-token", "--claim", f"sub={EVIL}", "--claim", f"{EVIL}=1").out.strip()

    for command in ("inspect", "verify"):
        result = keyvault.ok("token", command, token)
        assert not RAW.search(result.out)
    assert keyvault.ok("token", "verify", token).json["sub"] == EVIL


def test_text_of_a_remote_is_printable(keyvault: Terminal, vault: Vault) -> None:
    """Output of a remote's hooks is shown on a single line of printable characters."""
    bare = vault.publish_to()
    hook = bare / "hooks" / "pre-receive"
    hook.parent.mkdir(exist_ok=True)
    hook.write_text("#!/bin/sh\nprintf '\\033[2J\\033]0;title\\007 no\\n' >&2\nexit 1\n")
    hook.chmod(0o755)

    result = keyvault("set", "add", "reports", "--push")

    assert result.code == 1
    assert result.problem == "push-refused"
    assert not RAW.search(result.err)


def test_a_private_key_is_not_printed_to_a_terminal(keyvault: Terminal, vault: Vault) -> None:
    """A private key goes to a file or a pipe; to a screen only with --force."""
    keyvault.tty = True
    for command in (("key", "generate"), ("key", "export", "id-token", "--active", "--private")):
        refused = keyvault(*command)
        assert (refused.code, refused.out) == (2, "")
        assert refused.problem == "output-is-terminal"
        assert '"d"' in keyvault.ok(*command, "--force").out


def screen(vault: Vault, *arguments: str, **environ: str) -> tuple[int, str]:
    """Run a command on a real pseudo-terminal, and return its exit code and its output."""
    ours, theirs = pty.openpty()
    process = subprocess.Popen(
        vault.command(*arguments),
        cwd=vault.folder,
        env=vault.environ | {"PYTHONPATH": str(PROJECT), "TERM": "xterm", "COLUMNS": "40"} | environ,
        stdin=theirs, stdout=theirs, stderr=theirs, close_fds=True,
    )  # fmt: skip
    os.close(theirs)
    shown = b""
    while True:
        try:
            data = os.read(ours, 65_536)
        except OSError:  # Linux says so when the other end is closed
            break
        if not data:
            break
        shown += data
    os.close(ours)
    return process.wait(), shown.decode()


@pytest.mark.skipif(sys.platform == "win32", reason="no pseudo-terminals")
def test_a_real_terminal(vault: Vault) -> None:
    """On a real terminal of 40 columns commands print colours, help fits, and nothing else appears."""
    code, shown = screen(vault, "status")
    assert code == 0
    assert "\x1b[32mactive\x1b[0m" in shown
    code, shown = screen(vault, "status", NO_COLOR="1")
    assert "\x1b" not in shown
    code, shown = screen(vault, "rotate", "--help")
    assert code == 0
    assert "\x1b" not in shown


def answer_prompt(vault: Vault, prompt: str, *arguments: str) -> bytes:
    """Run keyvault on a terminal, answer *prompt* with a passphrase, and return stdout; the answer has no echo."""
    ours, theirs = pty.openpty()
    process = subprocess.Popen(
        vault.command(*arguments),
        cwd=vault.folder,
        env=vault.environ | {"PYTHONPATH": str(PROJECT)},
        stdin=theirs, stdout=subprocess.PIPE, stderr=theirs, start_new_session=True,
    )  # fmt: skip
    os.close(theirs)
    shown = b""
    while prompt.encode() not in shown:
        shown += os.read(ours, 1024)
    assert shown.decode() == prompt
    os.write(ours, b"correct horse battery\n")
    out, _ = process.communicate(timeout=30)
    while True:
        try:
            shown += os.read(ours, 1024)
        except OSError:
            break
    os.close(ours)
    assert process.returncode == 0
    assert b"horse" not in shown + out
    return out


@pytest.mark.skipif(sys.platform == "win32", reason="no pseudo-terminals")
def test_a_passphrase_is_asked_for(vault: Vault) -> None:
    """On a terminal the passphrase of an identity is asked for, without an echo: to encrypt it, and to open it."""
    new = ("identity", "new", "--passphrase", "-o")
    prompt = "passphrase for the new identity"

    assert b'"kid": ' in answer_prompt(vault, f"{prompt}: ", *new, "any.json")
    public = answer_prompt(vault, f"{prompt} bea: ", *new, "bea.json", "--kid", "bea")
    answer_prompt(vault, f"{prompt}: ", "init", "other", "--url", "https://keys.example.com", "--passphrase")

    assert b'"kid": "bea"' in public
    assert b"horse" not in (vault.folder / "bea.json").read_bytes()
    (vault.folder / "bea.pub.json").write_bytes(public)
    vault.run("recipient", "add", "bea.pub.json")
    checked = answer_prompt(vault, "passphrase of identity bea: ", "--identity", "bea.json", "recipient", "check")
    assert checked == b"4 sealed keys, 4 opened\n"
