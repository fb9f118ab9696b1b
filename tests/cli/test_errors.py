"""Errors: one line that says what and why, a hint that can be typed, an exit code that scripts can use."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

from keyvault.core.algorithms import key_spec
from keyvault.core.events import Event
from keyvault.core.jwk import public_jwk
from keyvault.core.keys import Key
from keyvault.crypto.envelope import Sealer
from keyvault.crypto.generate import generate
from keyvault.errors import KeyVaultError
from keyvault.operations import keys, rotation
from keyvault.repo.git import Git
from keyvault.repo.records import encode_key
from tests.cli.terminal import Terminal
from tests.vaults import CLOCKED, DAY, MINUTE, PROJECT, Vault

# --- exit codes and texts -------------------------------------------------------------------------------


def test_the_gate(live_vault: Vault) -> None:
    """
    A rotation that would break verifiers ends with 3.

    The message names what was seen and when, the hint the instant from which it is safe.
    """
    keyvault = Terminal.of(live_vault)
    keyvault.served = live_vault.state()
    live_vault.wait(20 * MINUTE)
    keyvault.ok("rotate", "--due")
    live_vault.wait(40 * MINUTE)
    before = live_vault.head

    result = keyvault("rotate", "id-token")

    assert (result.code, result.out) == (3, "")
    assert result.err == (
        "keyvault: error: rotating id-token now would break verifiers: its next key was first seen live 40 min ago; "
        "publication_lead is 24h\n"
        'keyvault: hint: wait until 2026-11-24 17:20Z, or use --force --reason "…"; if the active key has leaked: '
        "keyvault revoke KID --reason compromised\n"
    )
    assert live_vault.head == before
    live_vault.wait(23 * 60 * MINUTE + 19 * MINUTE)
    assert keyvault("rotate", "id-token").code == 3
    live_vault.wait(MINUTE)
    assert keyvault("rotate", "id-token").code == 0


def test_the_gate_of_several_sets(keyvault: Terminal, vault: Vault) -> None:
    """All sets rotate or none: the message names the first refused set, then the others."""
    result = keyvault("rotate", "--all")

    assert result.code == 3
    assert result.error == (
        "rotating id-token now would break verifiers: its next key was created now; publication_lead is 24h "
        "(also waiting: access-token)"
    )
    assert vault.log == ["make a vault with id-token, access-token"]


def test_the_gate_before_a_receipt(live_vault: Vault) -> None:
    """Without a receipt the hint says how to get it; a host that serves old keys or none does not open the gate."""
    keyvault = Terminal.of(live_vault)
    keyvault.served = live_vault.state()
    first = live_vault.state()
    assert keyvault("rotate", "id-token").error.endswith(
        "its next key was not yet seen at https://keys.example.com/.well-known/jwks.json"
    )
    keyvault.ok("rotate", "--due")
    live_vault.wait(DAY)
    keyvault.ok("rotate", "--all")
    keyvault.served = live_vault.state()
    keyvault.ok("rotate", "--due")
    live_vault.wait(DAY)

    keyvault.served = first
    result = keyvault("rotate", "id-token")

    assert result.code == 3
    assert "https://keys.example.com/.well-known/jwks.json no longer serves the next key" in result.error
    assert str(result.hint).startswith("publish the site again, then rotate")


def test_the_gate_can_be_passed(keyvault: Terminal, vault: Vault) -> None:
    """--force --reason passes the gate, and the reason is recorded."""
    keyvault.ok("rotate", "id-token", "--force", "--reason", "laptop stolen")

    assert vault.active().events[-1].forced == "laptop stolen"


@pytest.mark.parametrize(
    ("command", "code", "said", "hint"),
    [
        (("rotat",), "usage", "no such command 'rotat'. Did you mean 'rotate'?", "keyvault --help"),
        (("set", "lst"), "usage", "no such command 'lst'. Did you mean 'list'?", "keyvault set --help"),
        (("--quite", "status"), "usage", "no such option: --quite (Possible options: --quiet)", "keyvault --help"),
        (
            ("revoke", "abc", "--reasn", "x"), "usage",
            "no such option: --reasn (Possible options: --json, --reason)", "keyvault revoke --help",
        ),
        (("serve", "--port", "70000"), "usage", "'--port': 70000 is not in the range 0<=x<=65535", None),
        (("key", "export"), "usage", "missing argument 'SET|KID'", "keyvault key export --help"),
        (("rotate", "id-tokn"), "set-unknown", "'id-tokn'", "did you mean 'id-token'?"),
        (("status", "xyz"), "set-unknown", "'xyz'", "the sets are id-token, access-token"),
        (("set", "remove", "nope"), "set-unknown", "'nope'", None),
        (("set", "add", "id-token"), "set-exists", "id-token", "keyvault rotate id-token"),
        (("set", "add", "Capital"), "set-name-invalid", "'Capital'", None),
        (("set", "add", "x", "--alg", "HS265"), "alg-unknown", "'HS265'", "did you mean 'HS256'?"),
        (("set", "add", "x", "--alg", "RS256", "--bits", "1024"), "rsa-modulus-size", "1024", None),
        (("rotate",), "option-missing", "SET, --all or --due", "keyvault rotate --due"),
        (("rotate", "id-token", "--all"), "option-conflict", "SET, --all and --due", "keyvault rotate --due"),
        (("rotate", "--due", "--force", "--reason", "x"), "option-conflict", "--due excludes --force", None),
        (("rotate", "--all", "--force"), "option-conflict", "--reason", '--force --reason "what happened"'),
        (("rotate", "--all", "--reason", "x"), "option-conflict", "--force", '--force --reason "what happened"'),
        (("rotate", "--all", "--alg", "ES256"), "option-conflict", "--alg", "keyvault rotate SET --alg ES256"),
        (("rotate", "id-token", "--alg", "ES265"), "alg-unknown", "'ES265'", "did you mean 'ES256'?"),
        (("revoke", "abc"), "option-missing", "reason", "--reason compromised, superseded or unspecified"),
        (("revoke", "abc", "--reason", "stolen"), "option-invalid", "'stolen' of --reason", None),
        (("revoke", "zzz", "--reason", "compromised"), "kid-unknown", "'zzz'", "keyvault key list --all"),
        (("revoke", "", "--reason", "compromised"), "kid-unknown", "''", "keyvault key list --all"),
        (("plan", "--until", "soon"), "duration-invalid", "--until: 'soon'", None),
        (("plan", "--ical", "/nowhere/x.ics"), "file-unwritable", "/nowhere/x.ics", None),
        (("status", "--grace", "1 day"), "duration-invalid", "--grace: '1 day'", None),
        (("token", "sign", "id-token", "--ttl", "x"), "duration-invalid", "--ttl: 'x'", None),
        (("token", "sign", "id-token", "--claim", "sub"), "option-invalid", "--claim 'sub'", "--claim sub=alice"),
        (("token", "inspect", "abc"), "token-malformed", "", None),
        (("recipient", "remove", "nobody"), "recipient-unknown", "'nobody'", "keyvault recipient list"),
        (("recipient", "add", "missing.json"), "file-unreadable", "missing.json", None),
        (("key", "export", "id-token"), "format-single-key", "2 keys", "--active, a kid, or --format jwks"),
        (("key", "export", "id-token", "--format", "xml"), "option-invalid", "'xml'", "one of jwk, jwks, pem, der"),
        (("identity", "new", "--alg", "none"), "alg-unsupported", "alg", None),
        (("render", "-o", "."), "folder-has-vault", "", "name another folder, such as public"),
        (("init", "."), "option-missing", "URL", "--url https://keys.example.com"),
        (("init", ".", "--url", "https://x.example.com"), "vault-exists", "", "keyvault set add NAME --alg ALG adds a set"),
    ],
    ids=lambda value: " ".join(value) if isinstance(value, tuple) else "",
)  # fmt: skip
def test_wrong_usage(
    keyvault: Terminal, vault: Vault, command: tuple[str, ...], code: str, said: str, hint: str | None
) -> None:
    """Wrong usage exits with 2 and a line with the cause; the hint offers the nearest known word."""
    before = (vault.head, vault.files())

    result = keyvault(*command)

    assert (result.code, result.out) == (2, "")
    assert result.err.startswith("keyvault: error: ")
    assert result.problem == code
    assert said in result.error
    assert hint is None or result.hint == hint
    assert not result.error.endswith(".")
    assert (vault.head, vault.files()) == before


def test_a_misspelt_kid(keyvault: Terminal, vault: Vault) -> None:
    """The hint for a misspelt kid is the nearest kid."""
    kid = vault.active().kid
    wrong = kid[:-2] + ("AA" if kid[-2:] != "AA" else "BB")

    for command in (("key", "show", wrong), ("revoke", wrong, "--reason", "compromised"), ("key", "export", wrong)):
        result = keyvault(*command)
        assert (result.code, result.problem, result.hint) == (2, "kid-unknown", f"did you mean {kid!r}?")


def test_a_kid_that_is_too_short(keyvault: Terminal, vault: Vault) -> None:
    """A prefix that several keys share is refused, and the message names them."""
    kids = [f"abc-{number}" for number in range(6)]
    for number, kid in enumerate(kids):
        plant_key(vault, kid, f"set-{number}")

    result = keyvault("key", "show", "abc")

    assert result.code == 2
    assert result.problem == "kid-ambiguous"
    assert result.error.endswith(": abc-0, abc-1, abc-2, abc-3, …")
    assert result.hint == "give more of the kid"
    assert keyvault.ok("key", "show", "abc-3").lines[0] == "abc-3"


def test_failures_end_with_1(keyvault: Terminal, vault: Vault) -> None:
    """Failures exit with 1 and a message with the cause."""
    result = keyvault("rollback", "id-token")
    assert (result.code, result.error) == (1, "set id-token has no previous key that is still published and sealed")
    assert result.hint == "go forward instead: keyvault rotate id-token"

    result = keyvault("rotate", "--due", "--push")
    assert (result.code, result.problem) == (1, "remote-missing")

    vault.now -= DAY
    result = keyvault("rotate", "--due")
    assert result.code == 1
    assert result.error == "the clock says 2026-11-22 17:00Z, but set id-token has an event at 2026-11-23 17:00Z"
    assert result.hint == "if this clock is right: keyvault repair --dry-run; otherwise set the clock"


def test_no_identity(keyvault: Terminal, vault: Vault) -> None:
    """Without an identity no key opens: the error lists the searched places, the hint the recipients."""
    (vault.top / "config").rename(vault.top / "elsewhere")
    (me,) = vault.state().recipients

    for command in (("token", "sign", "id-token"), ("key", "export", "id-token", "--active", "--private")):
        result = keyvault(*command)
        assert (result.code, result.out) == (1, "")
        assert result.error == (
            f"no identity opens the key: searched {vault.top / 'config' / 'identities'}; keys.enc/identities of the vault"
        )
        assert result.hint == f"the key is sealed to {me}; add --identity FILE"


def test_an_identity_that_was_named_must_be_there(keyvault: Terminal, vault: Vault) -> None:
    """A named identity file must exist, even for commands that need no identity."""
    missing = vault.top / "missing.json"

    result = keyvault("--identity", missing, "recipient", "check")
    assert (result.code, result.error) == (1, f"identity file {missing} cannot be read: No such file or directory")
    result = keyvault("recipient", "check", KEYVAULT_IDENTITY_FILE=str(missing))
    assert result.code == 1


def test_outside_of_a_vault(fresh: Terminal) -> None:
    """Every command that needs a vault says that there is none, and how to create it."""
    for command in ("status", "plan", "render", "serve", "set list", "key list", "recipient list", "identity list"):
        result = fresh(*command.split())
        assert (result.code, result.out) == (1, "")
        assert result.error == f"there is no keyvault.toml in {fresh.folder} or above it"
        assert result.hint == "keyvault init DIR --url https://keys.example.com"


def test_another_folder(keyvault: Terminal, vault: Vault, fresh: Terminal) -> None:
    """--vault or KEYVAULT_DIR names the vault from anywhere; a missing folder is an error."""
    elsewhere = Terminal(vault.top, vault.environ)

    assert elsewhere.ok("--vault", vault.folder, "status").out == keyvault.ok("status").out
    assert elsewhere.ok("status", KEYVAULT_DIR="vault/keys.enc").out == keyvault.ok("status").out
    assert elsewhere("--vault", "nowhere", "status").code == 1


# --- what nobody foresaw --------------------------------------------------------------------------------


def plant_key(vault: Vault, kid: str, set_name: str) -> None:
    """Commit a set with one key of a foreign kid."""
    private = {**generate(key_spec("ES256")), "kid": kid}
    created = Event(at=vault.now, event="created", imported=True)
    events = (created, Event(at=vault.now, event="activated", token_lifetime=3600))
    sealed = Sealer(vault.state().recipients).seal(private, kid=kid, set_name=set_name)
    key = Key(1, set_name, public_jwk(private, kid=kid, alg="ES256"), events, sealed)
    policy = (vault.folder / "keyvault.toml").read_text()
    vault.commit({"keyvault.toml": f'{policy}[sets.{set_name}]\nalg = "ES256"\n', key.path: encode_key(key)})


@pytest.mark.parametrize("kid", ["-abcdefgh-ijkl", "-h", "-oABC", "-vvq", "--", "--json", "--abc", "-", "_x", "~a~"])
def test_kids_that_look_like_options(keyvault: Terminal, vault: Vault, kid: str) -> None:
    """A foreign kid may begin with dashes: it is typed as it is, or after `--` if it is also an option."""
    plant_key(vault, kid, "foreign")
    ambiguous = kid in ("-h", "-oABC") or kid.startswith("--")

    def typed(*words: str) -> list[str]:
        return [*words, "--", kid] if ambiguous else [*words[:-1], kid, *words[-1:]]

    if not ambiguous:
        assert keyvault.ok("key", "show", kid, "--json").json["key"]["kid"] == kid
        assert keyvault.ok("key", "export", kid, "--format", "jwks").json["keys"][0]["kid"] == kid
    assert keyvault.ok("key", "show", "--json", "--", kid).json["key"]["kid"] == kid
    assert keyvault.ok("key", "export", "--", kid).json["kid"] == kid
    report = keyvault.ok(*(["revoke", kid] if not ambiguous else ["revoke"]), "--reason", "compromised",
                         "--note", "-n", "--json", *(["--", kid] if ambiguous else [])).json  # fmt: skip

    assert report["events"][0] | {"at": None} == {
        "set": "foreign", "kid": kid, "event": "revoked", "at": None, "reason": "compromised", "note": "-n"
    }  # fmt: skip


SECRET = "d-is-canary-5up3rs3cr3t"


def test_unforeseen_errors_show_no_secret(keyvault: Terminal, monkeypatch: pytest.MonkeyPatch) -> None:
    """An unexpected error is a single line with its class, since its text may contain key material."""

    def broken(*args: object, **kwargs: object) -> None:
        raise ValueError(SECRET)

    monkeypatch.setattr(rotation, "rotate_due", broken)

    result = keyvault("rotate", "--due")

    assert (result.code, result.out) == (1, "")
    assert result.err == (
        "keyvault: error: unexpected ValueError\nkeyvault: hint: please report it, with the output of: keyvault -vv …\n"
    )
    assert "Traceback" in keyvault("-vv", "rotate", "--due").err
    assert "Traceback" not in keyvault("-v", "rotate", "--due").err


def test_very_verbose_keeps_the_exit_code(keyvault: Terminal) -> None:
    """-vv adds a traceback, and changes neither the line nor the exit code."""
    plain, verbose = keyvault("rotate", "--all"), keyvault("-vv", "rotate", "--all")

    assert (plain.code, verbose.code) == (3, 3)
    assert verbose.err.startswith("Traceback")
    assert verbose.err.endswith(plain.err)


@pytest.mark.parametrize(
    ("error", "line"),
    [
        (OSError(28, "No space left on device"), "no space left on device"),
        (PermissionError(13, "Permission denied", "/etc/x"), "permission denied: /etc/x"),
        (MemoryError(), "unexpected MemoryError"),
        (RecursionError("maximum"), "unexpected RecursionError"),
        (KeyVaultError("a\x1b[31mb\u202ec\nd", code="test"), "a\\x1b[31mb\\u202ec\\nd"),
    ],
)
def test_errors_of_the_machine(
    keyvault: Terminal, monkeypatch: pytest.MonkeyPatch, error: Exception, line: str
) -> None:
    """A full disk or a missing permission is reported in words; control characters never reach the terminal."""

    def broken(*args: object, **kwargs: object) -> None:
        raise error

    monkeypatch.setattr(keys, "add_set", broken)

    result = keyvault("set", "add", "x")

    assert (result.code, result.error) == (1, line)


def test_interrupted(keyvault: Terminal, monkeypatch: pytest.MonkeyPatch) -> None:
    """Ctrl-C exits with 130 and a single line."""

    def interrupt(*args: object, **kwargs: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(Git, "commit_tree", interrupt)

    result = keyvault("set", "add", "x")

    assert (result.code, result.out, result.err) == (130, "", "keyvault: error: interrupted\n")


LONG = "x" * 1_000_000


@pytest.mark.parametrize(
    "command",
    [
        (LONG,),
        ("--" + LONG,),
        ("--vault", LONG, "status"),
        ("--identity", LONG, "recipient", "check"),
        ("status", LONG),
        ("status", "--grace", LONG),
        ("rotate", LONG),
        ("rotate", "--all", "--force", "--reason", LONG),
        ("rotate", "id-token", "--alg", LONG),
        ("revoke", LONG, "--reason", "compromised"),
        ("revoke", "abc", "--reason", LONG),
        ("rollback", LONG),
        ("rollback", "id-token", "--note", LONG),
        ("plan", "--until", "9" * 1_000_000),
        ("plan", "--ical", LONG),
        ("render", "--ref", LONG),
        ("render", "-o", LONG),
        ("set", "add", LONG),
        ("set", "add", "x", "--issuer", "https://keys.example.com/" + LONG),
        ("key", "show", LONG),
        ("key", "generate", "--kid", LONG),
        ("key", "generate", "-o", LONG),
        ("key", "export", LONG),
        ("recipient", "add", LONG),
        ("recipient", "remove", LONG),
        ("identity", "new", "--kid", LONG),
        ("identity", "new", "-o", LONG),
        ("token", "sign", "id-token", "--claim", LONG),
        ("token", "sign", "id-token", "--claims", LONG),
        ("token", "inspect", LONG),
        ("token", "inspect", f"e30.e30.{LONG}"),
        ("token", "verify", LONG),
        ("token", "verify", "a.b.c", LONG),
        ("init", "x", "--url", LONG),
        ("init", "x", "--url", "https://x.example.com", "--set", LONG),
        ("init", "x", "--url", "https://x.example.com", "--title", LONG),
        ("init", "x", "--url", "https://x.example.com", "--recipient", LONG),
        ("init", LONG, "--url", "https://x.example.com"),
        ("demo", LONG),
    ],
    ids=lambda command: " ".join(word[:20] for word in command),
)
def test_arguments_of_a_megabyte(keyvault: Terminal, vault: Vault, command: tuple[str, ...]) -> None:
    """An argument of a megabyte is refused in a few lines, whichever it is."""
    result = keyvault(*command)

    assert result.code in (1, 2)
    assert result.out == ""
    assert len(result.err) < 2_000
    assert "unexpected" not in result.err
    assert vault.status == []


@pytest.mark.parametrize("text", ["\udcff", "\x1b[31m", "\u202e", "", " ", "\n", "ключ", "a" * 300])
def test_odd_arguments(keyvault: Terminal, vault: Vault, text: str) -> None:
    """Every argument accepts or refuses invalid text, control characters and empty strings, in words."""
    for command in (
        ("status", text),
        ("rotate", "--all", "--force", "--reason", text),
        ("rollback", "id-token", "--note", text),
        ("revoke", text, "--reason", "compromised"),
        ("plan", "--until", text),
        ("render", "--ref", text),
        ("set", "add", text),
        ("set", "add", "x", "--issuer", text),
        ("set", "add", "x", "--crv", text),
        ("key", "show", text),
        ("key", "generate", "--kid", text),
        ("recipient", "remove", text),
        ("recipient", "add", text),
        ("identity", "new", "--kid", text),
        ("token", "sign", "id-token", "--claim", text),
        ("token", "sign", "id-token", "--claim", f"x={text}"),
        ("token", "sign", "id-token", "--claims", text),
        ("token", "sign", "id-token", "--typ", text),
        ("token", "inspect", text),
        ("token", "verify", "a.b.c", text),
        ("init", "x", "--url", text),
        ("init", "x", "--url", "https://x.example.com", "--title", text, "--set", "BAD"),
        ("init", "x", "--url", "https://x.example.com", "--set", text),
        ("--vault", text, "status"),
        ("--identity", text, "recipient", "check"),
    ):
        result = keyvault(*command)
        assert "unexpected" not in result.err, command
        assert "\x1b" not in result.err
        assert "\u202e" not in result.err


# --- real processes -------------------------------------------------------------------------------------


def shell(vault: Vault, script: str, **environ: str) -> subprocess.CompletedProcess[str]:
    """Run a shell script in which $KEYVAULT is the command."""
    command = " ".join(f"'{word}'" for word in [sys.executable, "-c", CLOCKED, vault.now.isoformat()])
    return subprocess.run(
        ["bash", "-c", script.replace("$KEYVAULT", command)],
        cwd=vault.folder,
        env=vault.environ | {"PYTHONPATH": str(PROJECT)} | environ,
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        check=False,
        timeout=60,
    )


def test_whoever_reads_has_left(vault: Vault) -> None:
    """If the reader closes the pipe (`| head`), the command ends silently."""
    for command in ("plan --until 50y", "key list", "--help"):
        done = shell(vault, f"$KEYVAULT {command} | head -c 1 > /dev/null; echo ${{PIPESTATUS[0]}}")
        assert done.stderr == ""
        assert done.stdout in ("0\n", "1\n")
    done = shell(vault, "(sleep 0.5; $KEYVAULT plan --until 50y; echo $? >&2) | true")
    assert done.stderr == "1\n"


@pytest.mark.parametrize("streams", [">&-", ">&- 2>&-", "<&-", "<&- >&- 2>&-"])
def test_closed_streams(vault: Vault, streams: str) -> None:
    """With stdin, stdout or stderr closed, commands still work and never write to a wrong file."""
    done = shell(vault, f"$KEYVAULT set add reports {streams}; echo $?")
    assert (done.stdout.splitlines()[-1], done.stderr) == ("0", "")
    done = shell(vault, f"$KEYVAULT token verify - {streams}; echo $?")
    assert done.stdout.splitlines()[-1] == "2"

    assert "reports" in vault.state().sets
    assert vault.status == []
    vault.git("fsck", "--strict")


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="this system has no /dev/full")
def test_output_that_cannot_be_written(vault: Vault) -> None:
    """When the disk that the output goes to is full, the command says so and ends with 1."""
    done = shell(vault, "$KEYVAULT status > /dev/full; echo $?")

    assert done.stdout == "1\n"
    assert done.stderr == "keyvault: error: no space left on device\n"


def test_a_terminal_that_lacks_letters(vault: Vault) -> None:
    """If stdout supports only ASCII, other characters are printed as escapes, and nothing fails."""
    vault.wait(DAY)
    for command in ("rotate --help", "--help", "rotate --all --force --reason ключ"):
        done = shell(vault, f"$KEYVAULT {command}", PYTHONIOENCODING="ascii")
        assert (done.returncode, done.stderr) == (0, ""), done.stderr


def test_as_a_module(vault: Vault) -> None:
    """`python -m keyvault` is the command line."""
    environ = vault.environ | {"PYTHONPATH": str(PROJECT)}
    for arguments, code in ((["--version"], 0), (["key", "list", "--all"], 0), (["status", "nowhere"], 2)):
        done = subprocess.run(
            [sys.executable, "-m", "keyvault", *arguments],
            cwd=vault.folder, env=environ, capture_output=True, check=False,
        )  # fmt: skip
        assert done.returncode == code
        assert b"Traceback" not in done.stderr


def test_the_real_clock_is_read(tmp_path: Path) -> None:
    """With the real clock a new vault has nothing due."""
    terminal = Terminal.in_folder(tmp_path)
    vault = Vault(terminal.folder, terminal.environ)
    for arguments in (
        ["init", "--url", "https://keys.example.com", "--set", "a:ES256", "--confirm", "commit"],
        ["status", "--check", "--grace", "0s"],
        ["rotate", "--due"],
    ):
        done = subprocess.run(
            [sys.executable, "-m", "keyvault", *arguments],
            cwd=vault.folder, env=vault.environ | {"PYTHONPATH": str(PROJECT)}, capture_output=True, check=False,
        )  # fmt: skip
        assert (done.returncode, done.stderr) == (0, b"")
    assert done.stdout == b"nothing to do\n"


#: Interrupts a class body, which Python 3.11 reports as a RuntimeError.
_IN_A_CLASS = """class Interrupted:
                def __set_name__(self, owner, name):
                    raise KeyboardInterrupt
            type("Owner", (), {"member": Interrupted()})"""


@pytest.mark.parametrize("how", ["raise KeyboardInterrupt", _IN_A_CLASS])
@pytest.mark.parametrize("module", ["typer", "keyvault.cli.main", "keyvault.operations.reports"])
def test_ctrl_c_while_modules_are_loaded(module: str, how: str, vault: Vault) -> None:
    """A single line and exit code 130, as at any other time."""
    hook = f"""
import sys
class Interrupts:
    def find_spec(self, name, path=None, target=None):
        if name == {module!r}:
            {how}
sys.meta_path.insert(0, Interrupts())
from keyvault.__main__ import main
main()
"""
    done = subprocess.run(
        [sys.executable, "-c", hook, "status"], cwd=vault.folder, env=vault.environ | {"PYTHONPATH": str(PROJECT)},
        stdin=subprocess.DEVNULL, capture_output=True, check=False,
    )  # fmt: skip

    assert (done.returncode, done.stdout, done.stderr.decode()) == (130, b"", "keyvault: error: interrupted\n")


# --- the same for programs ------------------------------------------------------------------------------


def test_an_error_is_a_document_with_json(keyvault: Terminal) -> None:
    """With --json, stdout has a document with the error of stderr and its stable code."""
    result = keyvault("rotate", "reports", "--json")

    error = json.loads(result.out)["error"]
    assert result.code == error["exit_code"] == 2
    assert error["code"]
    assert result.err.startswith(f"keyvault: error: {error['message']}\n")
    assert error["hint"] in result.err


def test_wrong_usage_is_a_document_with_json(keyvault: Terminal) -> None:
    """A command line that does not parse is a document too, if it contains --json."""
    result = keyvault("status", "--json", "--nonsense")

    assert json.loads(result.out)["error"]["code"] == "usage"
    assert result.code == 2


def test_a_report_stays_the_only_document(keyvault: Terminal, vault: Vault) -> None:
    """A command that printed its report prints no second document."""
    result = keyvault("recipient", "check", "--json")

    json.loads(result.out)
    assert "error" not in json.loads(result.out)
