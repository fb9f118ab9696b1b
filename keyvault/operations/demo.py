"""
A vault with two years of history, made by the real code under a clock of its own.

Scheduled runs, a host that deploys a tick late, a compromise, a rollback, people who come and go: everything
goes through the same operations that commands use. Nothing here writes a record by itself.
"""

from __future__ import annotations

import os
import shutil
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from pathlib import Path

from keyvault.core.algorithms import key_spec
from keyvault.core.gate import Seen, urls_to_ask
from keyvault.core.planning import plan_due
from keyvault.core.state import VaultState
from keyvault.errors import UsageError
from keyvault.operations import keys, recipients, rotation, setup
from keyvault.operations.context import Context, identity_folder
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
    What was made.

    Attributes:
        vault: The folder of the vault.
        site: The rendered site in it.
        commit: The newest commit.
        commits: How many there are.
        keys: How many keys there ever were.
        sets: How many sets there are.
        files: How many files the site has.
        identity: The identity that opens its keys; it lies where git does not look.
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
class _World:
    """The vault under its own clock, and a host that serves what was deployed at the tick before."""

    repository: Repository
    environ: Mapping[str, str]
    now: datetime
    state: VaultState
    served: VaultState
    commits: int = 1
    people: dict[str, Path] = field(default_factory=dict)

    def context(self) -> Context:
        return Context(self.repository, self.now, self.environ, look=self.look)

    def look(self, url: str) -> Seen:
        """Return what the host serves at *url*."""
        return frozenset((key.kid, key.public.thumbprint) for key in self.served.served_at(url))

    def do(self, action: Callable[[Context], object]) -> None:
        """Carry out one command at the present instant."""
        action(self.context())
        self.state = self.context().state()
        self.commits += 1

    def tick(self) -> None:
        """Let time pass by one tick, with a scheduled run; the host deploys what was committed before."""
        self.now += _TICK
        live = {url: self.look(url) for url in urls_to_ask(self.state, self.now)}
        # Most ticks find nothing to do; asking the planner first spares the demo a thousand git processes.
        if plan_due(self.state, self.now, live=live):
            self.do(rotation.rotate_due)
        self.served = self.state


def make_demo(
    folder: Path, now: datetime, environ: Mapping[str, str], *, replace: bool = False, progress: Progress
) -> Demo:
    """
    Make the demo in *folder*, its last tick at *now*, and render it.

    Args:
        folder: Where; must not exist, unless it is an older demo and *replace* is set.
        now: When the two years end.
        environ: The caller's environment.
        replace: Whether to remove an older demo.
        progress: Told how far it is.

    Raises:
        UsageError: There is something in *folder* already.
    """
    if folder.is_symlink() or (folder.exists() and (not folder.is_dir() or any(folder.iterdir()))):
        if folder.is_symlink() or not (folder / ".git" / _MARKER).is_dir():
            raise UsageError(f"{folder} is not empty, and no demo", hint="name another folder")
        if not replace:
            raise UsageError(f"{folder} holds a demo already", hint="--replace makes it anew")
        shutil.rmtree(folder)
    own = _environment(folder, environ)
    start = now.replace(minute=17, second=0, microsecond=0) - _SPAN
    world = _begin(folder, start, own)
    while world.now + _TICK <= now:
        day = (world.now - start).days
        progress("two years of rotations", day, _SPAN.days)
        world.tick()
        for due, action in _STORY.items():
            if day < due <= (world.now - start).days:
                action(world)
    context = Context(world.repository, now, own)
    output = folder / "public"
    commit = context.repository.head()
    written, state = render(context, commit, output), context.state(commit)
    identity = next(identity_folder(own).glob("*.json"))
    return Demo(folder, output, state.commit, world.commits, len(state.keys), len(state.sets), written.files, identity)


def _environment(folder: Path, environ: Mapping[str, str]) -> dict[str, str]:
    """Return an environment without the user's git settings and identities: the demo signs and tells nobody."""
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


def _begin(folder: Path, start: datetime, environ: Mapping[str, str]) -> _World:
    try:
        (folder / ".git" / _MARKER).mkdir(parents=True)
    except OSError as error:
        raise UsageError(f"{folder} cannot be made: {error.strerror}") from None
    setup.init(
        folder,
        start,
        environ,
        url=URL,
        title="Example Corp signing keys",
        sets=setup.parse_sets(["id-token:RS256", "access-token:ES256"]),
    )
    repository = Repository.open(folder, environ)
    state = repository.read(repository.head())
    return _World(repository, environ, start, state, state)


# --- what happens in the two years ----------------------------------------------------------------------


def _add_reports(world: _World) -> None:
    spec = key_spec("EdDSA")
    world.do(lambda context: keys.add_set(context, "reports", spec=spec, issuer=f"{URL}/reports"))


def _add_mail(world: _World) -> None:
    spec = key_spec("ECDH-ES+A256KW")
    world.do(lambda context: keys.add_set(context, "mail", spec=spec))


def _hire(world: _World) -> None:
    folder = Path(world.environ["KEYVAULT_CONFIG_DIR"])
    recipient, world.people["bea"] = recipients.create_identity(
        world.environ, kid="bea-laptop", output=folder / "bea" / "identity.json"
    )
    world.do(lambda context: recipients.add_recipient(context, recipient))


def _dismiss(world: _World) -> None:
    world.do(lambda context: recipients.remove_recipient(context, "bea-laptop", rotate=True))


def _compromise(world: _World) -> None:
    active = world.state.sets["access-token"].active
    assert active is not None
    note = "a debug log of the token service held the private key"
    world.do(lambda context: rotation.revoke(context, active.kid, reason="compromised", note=note))


def _rotate_and_roll_back(world: _World) -> None:
    world.do(lambda context: rotation.rotate(context, ["id-token"]))
    world.now += timedelta(minutes=35)
    note = "a gateway in Lisbon had pinned the old key"
    world.do(lambda context: rotation.rollback(context, "id-token", note=note))


def _change_algorithm(world: _World) -> None:
    world.do(lambda context: rotation.rotate(context, ["access-token"], alg="ES384"))


#: What people did, by the day.
_STORY: dict[int, Callable[[_World], None]] = {
    47: _add_reports,
    90: _hire,
    161: _compromise,
    230: _add_mail,
    308: _rotate_and_roll_back,
    402: _dismiss,
    520: _change_algorithm,
}
