"""A crash with a private key in memory leaves no copy of that memory."""

from __future__ import annotations

import json
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from tests.cli.canaries import forms, members
from tests.cli.recording import Processes, Recording
from tests.cli.terminal import Terminal
from tests.vaults import PROJECT, SITE, Vault

resource = pytest.importorskip("resource", reason="core dumps have no limits there")

PATTERN = Path("/proc/sys/kernel/core_pattern")

#: Opens a private key and dies from a signal; the second argument names the function of keyvault that is disabled.
CRASHING = """
import os, sys
from keyvault.cli import main
from keyvault.crypto import tokens
def crash(*_, **__):
    os.kill(os.getpid(), int(sys.argv[1]))
tokens.TokenSigner.sign = crash
if sys.argv[2]:
    setattr(main, sys.argv[2], lambda: None)
main.main(["-vv", "token", "sign", "id-token"])
"""


def allow_dumps() -> None:
    """Remove the limit of core dumps, as ``ulimit -c unlimited`` does."""
    hard = resource.getrlimit(resource.RLIMIT_CORE)[1]
    resource.setrlimit(resource.RLIMIT_CORE, (hard, hard))


def crash(vault: Vault, number: int, without: str = "") -> list[Path]:
    """Sign and crash; return the core dumps."""
    done = subprocess.run(
        [sys.executable, "-c", CRASHING, str(int(number)), without],
        cwd=vault.folder, env=vault.environ | {"PYTHONPATH": str(PROJECT)},
        stdin=subprocess.DEVNULL, capture_output=True, check=False, preexec_fn=allow_dumps,
    )  # fmt: skip
    assert done.returncode == -number, done.stderr.decode()
    return sorted(vault.folder.glob("core*"))


@pytest.fixture
def dumping() -> None:
    """Skip the test if core dumps are not written to the working folder."""
    pattern = PATTERN.read_text().strip() if PATTERN.exists() else "that of another system"
    if not pattern.startswith("core"):
        pytest.skip(f"core dumps are no files of the working folder here: the pattern is {pattern!r}")
    if resource.getrlimit(resource.RLIMIT_CORE)[1] != resource.RLIM_INFINITY:
        pytest.skip("core dumps are limited here already")


@pytest.mark.parametrize("number", [signal.SIGABRT, signal.SIGSEGV])
@pytest.mark.usefixtures("dumping")
def test_a_crash_leaves_no_core_dump(vault: Vault, number: signal.Signals) -> None:
    """Even if system and shell allow core dumps while the key is in memory."""
    assert crash(vault, number) == []


@pytest.mark.usefixtures("dumping")
def test_a_core_dump_would_hold_the_key(vault: Vault) -> None:
    """Without the limit the same crash writes a core dump with the identity, so the test above can fail."""
    identity = json.loads(next((vault.top / "config" / "identities").glob("*.json")).read_text())

    (dump,) = crash(vault, signal.SIGABRT, without="_forbid_core_dumps")

    data = dump.read_bytes()
    assert any(form in data for form in forms(members(identity)["d"]))


def test_core_dumps_are_limited_everywhere(keyvault: Terminal, vault: Vault, recording: Recording) -> None:
    """
    Keyvault and all that it runs have a limit of one byte, hard and soft: so whatever core_pattern says, a program
    that takes dumps included, Linux writes none.
    """
    processes = Processes.recorded(keyvault, recording)
    processes.ok("set", "add", "reports")
    limits = [one.data.decode() for one in recording.records() if one.kind == "limits" and not one.ours]
    lines = {
        line.split() and tuple(line.split()[4:6]) for text in limits for line in text.splitlines() if "core" in line
    }
    assert len(limits) > 3
    assert lines == {("1", "1")}

    server = processes.start("--vault", str(vault.folder), "serve", "--port", "0")
    assert server.stdout is not None
    assert server.stdout.readline().startswith(b"serving")
    limit = resource.prlimit(server.pid, resource.RLIMIT_CORE)
    server.terminate()
    server.communicate(timeout=60)
    assert limit == (1, 1)


def test_a_limit_of_nothing_stays(vault: Vault, tmp_path: Path) -> None:
    """If core dumps are forbidden already, the limit is not changed and nothing fails."""
    code = (
        "import resource, sys; from keyvault.cli import main\n"
        "resource.setrlimit(resource.RLIMIT_CORE, (0, 0))\n"
        "resource.setrlimit = lambda *_: (_ for _ in ()).throw(ValueError('not allowed to raise maximum limit'))\n"
        "main.main(['set', 'list', '--json'])"
    )
    done = subprocess.run(
        [sys.executable, "-c", code], cwd=vault.folder, env=vault.environ | {"PYTHONPATH": str(PROJECT)},
        capture_output=True, check=False,
    )  # fmt: skip
    assert (done.returncode, done.stderr) == (0, b"")
    assert SITE in done.stdout.decode()
