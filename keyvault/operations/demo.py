"""
Build a vault with two years of history, by the real operations under a simulated clock.

Scheduled runs, a host that deploys a tick late, a compromise, a rollback, recipients who come and go: all of them
are the operations that commands use. No record is written here directly.
"""

from __future__ import annotations

import os
import shutil
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from pathlib import Path

from keyvault.core.algorithms import key_spec
from keyvault.core.gate import ServedKeys, urls_to_fetch
from keyvault.core.planning import plan_due
from keyvault.core.state import VaultState
from keyvault.errors import UsageError
from keyvault.operations import keys, recipients, rotation, setup
from keyvault.operations.context import Context, identity_folder
from keyvault.operations.new_vault import NewVault, parse_sets
from keyvault.operations.render import render
from keyvault.progress import Progress
from keyvault.repo.vault import Repository

_MARKER = "keyvault-demo"
_SPAN = timedelta(days=730)
_TICK = timedelta(hours=12)
URL = "https://keys.example.com"


@dataclass(frozen=True)
class Demo:
    """
    A demo.

    Attributes:
        vault: The folder of the vault.
        site: The rendered site in it.
        commit: The newest commit.
        commits: How many commits it has.
        keys: How many keys it ever had.
        sets: How many sets it has.
        files: How many files the site has.
        identity: The file of the identity that opens its keys, in the git directory.
    """

    vault: Path
    site: Path
    commit: str
    commits: int
    keys: int
    sets: int
    files: int
    identity: Path


@dataclass
class _Simulation:
    """The vault under a simulated clock, and a host that serves the state of the tick before."""

    repository: Repository
    environ: Mapping[str, str]
    now: datetime
    state: VaultState
    served: VaultState
    commits: int = 1
    identities: dict[str, Path] = field(default_factory=dict)

    def context(self) -> Context:
        return Context(self.repository, self.now, self.environ, fetch_key_ids=self.served_keys)

    def served_keys(self, url: str) -> ServedKeys:
        """Return the keys that the host serves at *url*."""
        return frozenset((key.kid, key.public.thumbprint) for key in self.served.served_at(url))

    def do(self, action: Callable[[Context], object]) -> None:
        """Carry out a command at the present instant."""
        action(self.context())
        self.state = self.context().state()
        self.commits += 1

    def tick(self) -> None:
        """Advance the clock by a tick, with a scheduled run; then the host deploys the newest commit."""
        self.now += _TICK
        live = {url: self.served_keys(url) for url in urls_to_fetch(self.state, self.now)}
        # Most ticks find nothing to do: calling the planner first saves a thousand git processes.
        if plan_due(self.state, self.now, live=live):
            self.do(rotation.rotate_due)
        self.served = self.state


def make_demo(
    folder: Path, now: datetime, environ: Mapping[str, str], *, replace: bool = False, progress: Progress
) -> Demo:
    """
    Build the demo in *folder*, its last tick at *now*, and render it.

    Args:
        folder: The folder; must be empty or missing, unless it is an older demo and *replace* is set.
        now: The end of the two years.
        environ: The caller's environment.
        replace: Whether to remove an older demo.
        progress: Receives progress reports.

    Raises:
        UsageError: If *folder* is not empty, or cannot be created.
    """
    if folder.is_symlink() or (folder.exists() and (not folder.is_dir() or any(folder.iterdir()))):
        if folder.is_symlink() or not (folder / ".git" / _MARKER).is_dir():
            raise UsageError(
                f"{folder} is not empty, and not a demo", code="folder-not-empty", hint="name another folder"
            )
        if not replace:
            raise UsageError(
                f"{folder} already holds a demo", code="folder-not-empty", hint="--replace builds it again"
            )
        shutil.rmtree(folder)
    own = _environment(folder, environ)
    start = now.replace(minute=17, second=0, microsecond=0) - _SPAN
    simulation = _begin(folder, start, own)
    while simulation.now + _TICK <= now:
        day = (simulation.now - start).days
        progress("two years of rotations", day, _SPAN.days)
        simulation.tick()
        for due, action in _ACTIONS_BY_DAY.items():
            if day < due <= (simulation.now - start).days:
                action(simulation)
    context = Context(simulation.repository, now, own)
    output = folder / "public"
    commit = context.repository.head()
    written, state = render(context, commit, output), context.state(commit)
    identity = next(identity_folder(own).glob("*.json"))
    return Demo(
        folder, output, state.commit, simulation.commits, len(state.keys), len(state.sets), written.files, identity
    )


def _environment(folder: Path, environ: Mapping[str, str]) -> dict[str, str]:
    """Return an environment without the user's git settings and identities, so that the demo uses neither."""
    return {
        **{name: value for name, value in environ.items() if not name.startswith(("GIT_", "KEYVAULT_"))},
        "GIT_CONFIG_NOSYSTEM": "1",
        "GIT_CONFIG_GLOBAL": os.devnull,
        # A demo inside a work tree, such as our own source tree, is a repository of its own.
        "GIT_CEILING_DIRECTORIES": str(folder.absolute().parent),
        "GIT_AUTHOR_NAME": "Rotation Bot",
        "GIT_AUTHOR_EMAIL": "bot@keys.example.com",
        "GIT_COMMITTER_NAME": "Rotation Bot",
        "GIT_COMMITTER_EMAIL": "bot@keys.example.com",
        "KEYVAULT_CONFIG_DIR": str(folder.absolute() / ".git" / _MARKER),
    }


def _begin(folder: Path, start: datetime, environ: Mapping[str, str]) -> _Simulation:
    try:
        (folder / ".git" / _MARKER).mkdir(parents=True)
    except OSError as error:
        raise UsageError(f"{folder} cannot be created: {error.strerror}", code="folder-not-writable") from None
    sets = parse_sets(["id-token:RS256", "access-token:ES256"])
    setup.init(folder, start, environ, NewVault(URL, sets, title="Example Corp signing keys"))
    repository = Repository.open(folder, environ)
    state = repository.read(repository.head())
    return _Simulation(repository, environ, start, state, state)


# --- events of the two years ----------------------------------------------------------------------------


def _add_reports(simulation: _Simulation) -> None:
    spec = key_spec("EdDSA")
    simulation.do(lambda context: keys.add_set(context, "reports", spec=spec, issuer=f"{URL}/reports"))


def _add_mail(simulation: _Simulation) -> None:
    spec = key_spec("ECDH-ES+A256KW")
    simulation.do(lambda context: keys.add_set(context, "mail", spec=spec))


def _hire(simulation: _Simulation) -> None:
    folder = Path(simulation.environ["KEYVAULT_CONFIG_DIR"])
    recipient, simulation.identities["bea"] = recipients.create_identity(
        simulation.environ, kid="bea-laptop", output=folder / "bea" / "identity.json"
    )
    simulation.do(lambda context: recipients.add_recipient(context, recipient))


def _dismiss(simulation: _Simulation) -> None:
    simulation.do(lambda context: recipients.remove_recipient(context, "bea-laptop", rotate=True))


def _compromise(simulation: _Simulation) -> None:
    active = simulation.state.sets["access-token"].active
    assert active is not None
    note = "a debug log of the token service held the private key"
    simulation.do(lambda context: rotation.revoke(context, active.kid, reason="compromised", note=note))


def _rotate_and_roll_back(simulation: _Simulation) -> None:
    simulation.do(lambda context: rotation.rotate(context, ["id-token"]))
    simulation.now += timedelta(minutes=35)
    note = "a gateway in Lisbon had pinned the old key"
    simulation.do(lambda context: rotation.rollback(context, "id-token", note=note))


def _change_algorithm(simulation: _Simulation) -> None:
    simulation.do(lambda context: rotation.rotate(context, ["access-token"], alg="ES384"))


#: Manual actions, by the day on which they happen.
_ACTIONS_BY_DAY: dict[int, Callable[[_Simulation], None]] = {
    47: _add_reports,
    90: _hire,
    161: _compromise,
    230: _add_mail,
    308: _rotate_and_roll_back,
    402: _dismiss,
    520: _change_algorithm,
}
