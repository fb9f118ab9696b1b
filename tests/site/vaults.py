"""
Vaults in temporary folders, created by the real code, and the steps that tests take with them.

A `Lab` is a vault with its own environment and clock, and a host that serves the last deployed commit.
Everything goes through the operations of commands; plain git stands for manual work. A vault with the same sets is
copied instead of created again, since generating keys takes time.
"""

from __future__ import annotations

import json
import os
import shutil
import subprocess
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from filelock import FileLock

from keyvault.core.gate import ServedKeys
from keyvault.core.keys import Key
from keyvault.core.state import VaultState
from keyvault.errors import LiveError
from keyvault.operations import rotation, setup
from keyvault.operations.context import Context
from keyvault.operations.demo import make_demo
from keyvault.operations.new_vault import NewVault, parse_sets
from keyvault.repo.records import encode_key
from keyvault.repo.vault import Repository
from tests import revisions
from tests.platforms import needed_variables

MINUTE, HOUR, DAY = (timedelta(seconds=size) for size in (60, 3_600, 86_400))

#: The instant at which every vault begins.
T0 = datetime(2026, 11, 23, 17, tzinfo=UTC)
SITE = "https://keys.example.com"
#: EC keys take a millisecond each, RSA keys a hundred.
EC_SETS = ("id-token:ES256", "access-token:ES384")


def environment(folder: Path) -> dict[str, str]:
    """Return an environment without the settings of the user who runs the tests; *folder* is its home."""
    return {
        **needed_variables(folder),
        "PATH": os.environ["PATH"],
        "HOME": str(folder),
        "GIT_CONFIG_GLOBAL": os.devnull,
        "GIT_CONFIG_NOSYSTEM": "1",
        "GIT_AUTHOR_NAME": "Ada",
        "GIT_AUTHOR_EMAIL": "ada@example.com",
        "GIT_COMMITTER_NAME": "Ada",
        "GIT_COMMITTER_EMAIL": "ada@example.com",
        "KEYVAULT_CONFIG_DIR": str(folder / "config"),
    }


@dataclass
class Lab:
    """
    A vault and its surroundings.

    Attributes:
        folder: The vault.
        environ: The environment of every command.
        now: The instant of the next command.
        deployed: The state that the host serves; None for a host that cannot be reached.
        live: Whether commands send HTTP requests, instead of using the host in memory.
    """

    folder: Path
    environ: dict[str, str]
    now: datetime = T0
    deployed: VaultState | None = None
    live: bool = False
    _repository: Repository | None = field(default=None, repr=False)

    # --- reading ----------------------------------------------------------------------------------------

    @property
    def repository(self) -> Repository:
        if self._repository is None:
            self._repository = Repository.open(self.folder, self.environ)
        return self._repository

    def context(self) -> Context:
        """Return a new context, as for each command."""
        return Context(self.repository, self.now, self.environ, fetch_key_ids=None if self.live else self.look)

    @property
    def state(self) -> VaultState:
        return self.context().state()

    @property
    def head(self) -> str:
        return self.repository.head()

    def key(self, set_name: str, state: str) -> Key:
        """Return the newest key of *set_name* in *state*."""
        return [key for key in self.state.sets[set_name].keys if key.state == state][-1]

    def site(self, revision: str = "HEAD", *, worktree: bool = False) -> dict[str, bytes]:
        """Return the rendered site by path."""
        _, files = revisions.site_files(self.context(), revision=revision, worktree=worktree)
        return dict(files)

    def kids(self, path: str = ".well-known/jwks.json") -> list[str]:
        """Return the kids of the JWK Set at *path* of the site, in order."""
        return [jwk["kid"] for jwk in json.loads(self.site()[path])["keys"]]

    def copy(self, home: Path) -> Lab:
        """Return a copy of the vault in *home*, with its identity and clock."""
        shutil.copytree(self.folder.parent, home, ignore=shutil.ignore_patterns("*.sample"))  # of git's hooks
        return Lab(home / self.folder.name, environment(home), self.now, self.deployed)

    # --- time and the host ------------------------------------------------------------------------------

    def look(self, url: str) -> ServedKeys:
        """Return the keys that the host in memory serves at *url*."""
        if self.deployed is None:
            raise LiveError(f"{url} cannot be reached", code="unreachable")
        return frozenset((key.kid, key.public.thumbprint) for key in self.deployed.served_at(url))

    def wait(self, span: timedelta) -> None:
        self.now += span

    def deploy(self) -> None:
        """Let the host serve the newest commit."""
        self.deployed = self.state

    def mature(self) -> None:
        """Deploy, record the receipt of every next key, and wait until it may sign."""
        self.deploy()
        rotation.rotate_due(self.context())
        self.wait(24 * HOUR)

    def rotate(self, *names: str) -> None:
        """Rotate *names* in the regular way: receipt, lead, rotation."""
        self.mature()
        rotation.rotate(self.context(), names)

    # --- manual work ------------------------------------------------------------------------------------

    def git(self, *arguments: str, stdin: bytes | None = None) -> str:
        """Run git in the vault at the current instant and return its output."""
        dates = {"GIT_AUTHOR_DATE": self.now.isoformat(), "GIT_COMMITTER_DATE": self.now.isoformat()}
        done = subprocess.run(
            ["git", *arguments], cwd=self.folder, env={**self.environ, **dates}, input=stdin, capture_output=True
        )
        assert done.returncode == 0, done.stderr.decode()
        return done.stdout.decode().strip()

    def commit(self, files: Mapping[str, str | bytes | None], message: str = "by hand") -> str:
        """Write *files* (None deletes a file), commit them with plain git, and return the commit."""
        for path, content in files.items():
            target = self.folder / path
            if content is None:
                target.unlink()
                continue
            target.parent.mkdir(parents=True, exist_ok=True)
            target.write_bytes(content.encode() if isinstance(content, str) else content)
        self.git("add", "--all", "--force", "--", *files)
        self.git("commit", "--quiet", "--allow-empty", "-m", message)
        return self.head

    def commit_key(self, key: Key) -> str:
        """Commit the record *key* with plain git, as a forger would."""
        return self.commit({key.path: encode_key(key)})

    def edit_policy(self, old: str, new: str) -> None:
        """Replace *old* in keyvault.toml by *new*, and commit."""
        text = (self.folder / "keyvault.toml").read_text()
        assert old in text
        self.commit({"keyvault.toml": text.replace(old, new, 1)})

    def append_policy(self, text: str) -> None:
        """Append *text* to keyvault.toml, and commit."""
        self.commit({"keyvault.toml": (self.folder / "keyvault.toml").read_text() + text})


#: Makes a vault: sets as NAME:ALG, and more properties of `NewVault`.
MakeVault = Callable[..., Lab]


def new_lab(folder: Path, *sets: str, url: str = SITE, environ: Mapping[str, str] | None = None, **more: Any) -> Lab:
    """Make a vault in *folder*, with its identity beside it."""
    own = environment(folder.parent) | dict(environ or {})
    specs = parse_sets(sets) if sets else {}
    setup.init(folder, T0, own, NewVault(url, specs, **more))
    return Lab(folder, own)


@pytest.fixture(scope="session")
def _prepared(tmp_path_factory: pytest.TempPathFactory) -> Callable[[tuple[str, ...], str], Lab]:
    made: dict[tuple[tuple[str, ...], str], Lab] = {}

    def prepare(sets: tuple[str, ...], url: str) -> Lab:
        if (sets, url) not in made:
            made[sets, url] = new_lab(tmp_path_factory.mktemp("prepared") / "vault", *sets, url=url)
        return made[sets, url]

    return prepare


@pytest.fixture
def make_vault(_prepared: Callable[[tuple[str, ...], str], Lab], tmp_path: Path) -> MakeVault:
    """Return a function that makes a new vault, by default with two EC sets."""
    count = 0

    def make(*sets: str, url: str = SITE, empty: bool = False) -> Lab:
        nonlocal count
        count += 1
        pattern = _prepared(() if empty else sets or EC_SETS, url)
        return pattern.copy(tmp_path / f"home-{count}")

    return make


@pytest.fixture
def vault(make_vault: MakeVault) -> Lab:
    """A fresh vault with two EC sets."""
    return make_vault()


@dataclass(frozen=True)
class DemoLab:
    """The demo, made once for all tests, which only read it."""

    lab: Lab
    folder: Path


@pytest.fixture(scope="session")
def demo(tmp_path_factory: pytest.TempPathFactory, worker_id: str) -> DemoLab:
    """The demo at a fixed instant; workers that run in parallel share it."""
    base = tmp_path_factory.getbasetemp()
    home = (base if worker_id == "master" else base.parent) / "demo-home"
    own = environment(home)
    folder = home / "demo"
    with FileLock(str(home) + ".lock"):
        if not (home / "done").exists():
            make_demo(folder, T0 + 17 * MINUTE, own, progress=lambda label, done, total: None)
            (home / "done").touch()
    return DemoLab(Lab(folder, own, now=T0 + 17 * MINUTE), folder)
