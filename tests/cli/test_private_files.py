"""Only the owner can read files with private content, whatever the umask, and existing files are never replaced."""

from __future__ import annotations

import json
import os
import shutil
import stat
import subprocess
from collections.abc import Callable, Mapping
from pathlib import Path

import pytest

from tests.cli.canaries import search, secrets_of
from tests.cli.recording import Processes, Recording
from tests.cli.terminal import Terminal
from tests.vaults import PROJECT, Vault

#: Commands that write a private file to a given path.
WRITING: Mapping[str, tuple[str, ...]] = {
    "identity": ("identity", "new", "--kid", "ada", "-o"),
    "generate": ("key", "generate", "-o"),
    "export": ("key", "export", "id-token", "--active", "--private", "-o"),
}
MASKS = (0o000, 0o022, 0o077, 0o777)


def mode(path: Path) -> int:
    return stat.S_IMODE(path.stat().st_mode)


def masked(terminal: Terminal, mask: int, *arguments: str | Path) -> None:
    """Run a command under a umask, and assert that it succeeds."""
    before = os.umask(mask)
    try:
        terminal.ok(*arguments)
    finally:
        os.umask(before)


@pytest.fixture
def processes(keyvault: Terminal, recording: Recording) -> Processes:
    """A terminal in the vault that runs real processes."""
    return Processes.recorded(keyvault, recording)


@pytest.mark.parametrize("mask", MASKS, ids=oct)
@pytest.mark.parametrize("command", WRITING)
def test_a_private_file_is_its_owners_alone(keyvault: Terminal, vault: Vault, command: str, mask: int) -> None:
    """The file has mode 0600 and each new folder 0700; existing folders keep their modes."""
    vault.top.chmod(0o755)
    path = vault.top / "made" / "below" / "key.json"

    masked(keyvault, mask, *WRITING[command], path)

    assert (mode(path), mode(path.parent), mode(path.parent.parent)) == (0o600, 0o700, 0o700)
    assert mode(vault.top) == 0o755
    assert path.stat().st_size > 0


@pytest.mark.parametrize("mask", MASKS, ids=oct)
def test_so_are_identities_that_are_nowhere_named(fresh: Terminal, mask: int) -> None:
    """The same for an identity in the configuration folder, which is created."""
    home = fresh.folder.parent / "home"
    del fresh.environ["KEYVAULT_CONFIG_DIR"]

    masked(fresh, mask, "identity", "new")

    (path,) = home.rglob("*.json")
    made = [folder for folder in path.parents if folder.is_relative_to(home) and folder != home]
    assert mode(path) == 0o600
    assert {folder.name: mode(folder) for folder in made} == {folder.name: 0o700 for folder in made}
    assert {"keyvault", "identities"} < {folder.name for folder in made}


def test_init_in_an_open_folder(fresh: Terminal) -> None:
    """The same for the identity in the configuration folder; others may read an encrypted identity in the vault."""
    masked(fresh, 0, "init", "one", "--url", "https://keys.example.com", "--set", "a:ES256")
    config = fresh.folder.parent / "config"
    (path,) = config.rglob("*.json")
    assert (mode(path), mode(path.parent), mode(config)) == (0o600, 0o700, 0o700)

    fresh.environ["KEYVAULT_PASSPHRASE"] = "correct horse battery"
    masked(fresh, 0, "init", "two", "--url", "https://keys.example.com", "--set", "a:ES256", "--passphrase")
    (path,) = (fresh.folder / "two").rglob("identities/*.json")
    assert mode(path) == 0o600


def a_file(path: Path) -> None:
    path.write_bytes(b"open")
    path.chmod(0o644)


def a_link(path: Path) -> None:
    a_file(path.with_name("elsewhere"))
    path.symlink_to(path.with_name("elsewhere"))


def a_hard_link(path: Path) -> None:
    a_file(path.with_name("elsewhere"))
    path.hardlink_to(path.with_name("elsewhere"))


TAKEN: Mapping[str, Callable[[Path], None]] = {
    "file": a_file,
    "link": a_link,
    "link-to-nowhere": lambda path: path.symlink_to(path.with_name("nowhere")),
    "hard-link": a_hard_link,
    "pipe": lambda path: os.mkfifo(path),
    "folder": Path.mkdir,
}


def everything(folder: Path) -> dict[str, tuple[int, bytes | None]]:
    """Return the mode and the bytes of every file in a folder; links are not followed."""
    return {
        path.name: (path.lstat().st_mode, path.read_bytes() if path.is_file() else None) for path in folder.iterdir()
    }


@pytest.mark.parametrize("there", TAKEN)
@pytest.mark.parametrize("command", WRITING)
def test_a_place_that_is_taken_is_refused(keyvault: Terminal, vault: Vault, command: str, there: str) -> None:
    """Whatever exists at the path is not opened, followed, replaced or waited for, and no part of the key is written."""
    folder = vault.top / "place"
    folder.mkdir()
    path = folder / "key.json"
    TAKEN[there](path)
    before = everything(folder)

    result = keyvault(*WRITING[command], path)

    assert (result.code, result.problem, str(path) in result.error) == (2, "file-exists", True)
    assert everything(folder) == before


@pytest.mark.parametrize("command", WRITING)
def test_a_folder_that_cannot_be_written(vault: Vault, command: str) -> None:
    """A single line has the cause; no other path is used instead."""
    folder = vault.top / "place"
    folder.mkdir(mode=0o500)
    words = vault.command(*WRITING[command], str(folder / "below" / "key.json"))
    if os.geteuid() == 0:  # root writes everywhere, but for the right that is taken away here
        setpriv = shutil.which("setpriv")
        taken = "-dac_override,-dac_read_search"
        without = [str(setpriv), f"--bounding-set={taken}", f"--inh-caps={taken}"]
        if setpriv is None or subprocess.run([*without, "true"], capture_output=True, check=False).returncode:
            pytest.skip("root needs setpriv, to do without the right to write everywhere")
        words = [*without, *words]

    environ = vault.environ | {"PYTHONPATH": str(PROJECT)}
    done = subprocess.run(words, cwd=vault.folder, env=environ, capture_output=True, text=True, check=False)

    assert (done.returncode, done.stdout) == (2, "")
    assert done.stderr == f"keyvault: error: {folder / 'below' / 'key.json'} cannot be written: Permission denied\n"
    assert list(folder.iterdir()) == []


def test_no_private_file_is_written_on_the_way(processes: Processes, vault: Vault, recording: Recording) -> None:
    """The key is written once, to its path, without copies beside it or in temporary folders."""
    paths = {name: vault.top / "files" / name for name in WRITING}
    for name, words in WRITING.items():
        masked(processes, 0, *words, paths[name])
        assert mode(paths[name]) == 0o600

    exported = json.loads(paths["export"].read_text())
    records = [one for one in recording.records() if one.kind == "file"]
    for jwks, meant in ((recording.keys, ("identity", "generate")), ([exported], ("export",))):
        secrets = secrets_of(jwks)
        assert {one.path for one in records if search(secrets, {"": one.data})} == {str(paths[name]) for name in meant}
