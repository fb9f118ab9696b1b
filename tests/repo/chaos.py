"""
Nights and mondays: three clones, one remote, a host and a signer, and everything that goes wrong between them.

A `Chaos` takes steps by chance: rotations, revocations, merges of every strategy, rebases, forced pushes, clocks that
jump, commands that die, deploys that fail, records that a hand spoils, and repairs. After each step it looks at what
matters: every token that the signer made verifies at the live set, unless the tool had said that it would not. Nothing
but errors of the tool's own may come out of a command. In the end the documented ways out lead to a vault that is sound.
"""

from __future__ import annotations

import json
import random
import re
import subprocess
import sys
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

from keyvault.core.gate import Seen
from keyvault.core.jwk import thumbprint
from keyvault.core.state import VaultState
from keyvault.errors import KeyVaultError
from keyvault.operations import merge, rotation
from keyvault.operations.context import Context
from keyvault.operations.repair import repair
from keyvault.publish import swap
from keyvault.repo.git.process import Runner
from tests.revisions import audit, publish
from tests.vaults import DAY, HOUR, MINUTE, SECOND, Vault, make_vault

SET = "id-token"
LIFETIME, LAG, SKEW = HOUR, HOUR, 10 * MINUTE


class DiedError(BaseException):
    """Stands for the end of a process: nothing catches it."""


class DeployError(Exception):
    """A disk or a network that gives up in the middle."""


@dataclass(frozen=True)
class Token:
    """A token: who signed it, and until when the slowest clock accepts it."""

    kid: str
    until: datetime


@dataclass
class Chaos:
    """The world; all of it follows from the seed."""

    seed: int
    top: Path
    now: datetime = field(init=False)
    tokens: list[Token] = field(default_factory=list)
    #: Keys whose tokens may fail, since the tool said so: revoked, or made active by force.
    excused: set[str] = field(default_factory=set)
    went: Counter[str] = field(default_factory=Counter)
    story: list[str] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.chance = random.Random(self.seed)  # noqa: S311 - a story, no secret
        first = make_vault(self.top, sets=[f"{SET}:ES256"])
        first.publish_to()
        self.www = self.top / "www"
        self.clones = [first, *(first.clone(f"clone-{n}", source=self.top / "origin.git") for n in (2, 3))]
        self.signer = first.clone("signer", source=self.top / "origin.git")
        if self.chance.random() < 0.5:
            install_driver(self.clones[1])
        self.now = first.now
        publish(self.context(first), str(self.www))

    # --- what everybody sees ----------------------------------------------------------------------------

    def live(self) -> dict[str, str]:
        """Return the thumbprint of each key of the live set, by kid."""
        keys = json.loads((self.www / ".well-known" / "jwks.json").read_bytes())["keys"]
        return {key["kid"]: thumbprint(key) for key in keys}

    def look(self, url: str) -> Seen:
        return frozenset(self.live().items())

    def context(self, clone: Vault, offset: timedelta = timedelta(0)) -> Context:
        context = Context.find(clone.folder, self.now + offset, clone.environ)
        context.look = self.look
        context.server_date = lambda url: self.now
        return context

    def state(self, clone: Vault) -> VaultState | None:
        repository = clone.repository
        try:
            return repository.read_with_damage(repository.head())
        except KeyVaultError:
            return None

    def git(self, clone: Vault, *arguments: str) -> int:
        stamp = {"GIT_AUTHOR_DATE": self.now.isoformat(), "GIT_COMMITTER_DATE": self.now.isoformat()}
        done = subprocess.run(
            ["git", "-c", "advice.detachedHead=false", *arguments],
            cwd=clone.folder, env=clone.environ | stamp | {"GIT_EDITOR": "true"}, capture_output=True, check=False,
            stdin=subprocess.DEVNULL, timeout=60,
        )  # fmt: skip
        return done.returncode

    # --- the run ----------------------------------------------------------------------------------------

    def run(self, steps: int) -> None:
        """Take *steps*, looking at the world after each; then lead everybody out."""
        for _ in range(steps):
            self.step()
            self.check()
        self.way_out()

    def step(self) -> None:
        actions: dict[Callable[[Vault], None], int] = {
            self.wait: 8, self.sign: 8, self.due: 8, self.deploy: 6, self.force: 3, self.revoke: 1, self.roll_back: 2,
            self.merge: 5, self.rebase: 2, self.reset: 2, self.force_push: 1, self.wrong_clock: 2, self.die: 3,
            self.failing_deploy: 1, self.spoil: 1, self.mend: 3, self.pull: 4,
        }  # fmt: skip
        (action,) = self.chance.choices(list(actions), list(actions.values()))
        clone = self.chance.choice(self.clones)
        self.story.append(f"{action.__name__} in {clone.folder.name}")
        action(clone)

    def command(self, action: Callable[[], Any]) -> Any:
        """Run a command; one that refuses says what to do next, and that is all that may come out of it."""
        try:
            done = action()
        except KeyVaultError as error:
            self.went[type(error).__name__] += 1
            self.story.append(f"  {error.message} [{error.hint}]")
            return None
        self.went["done"] += 1
        return done

    # --- steps ------------------------------------------------------------------------------------------

    def wait(self, clone: Vault) -> None:
        self.now += self.chance.choice((SECOND, 5 * MINUTE, HOUR, 3 * HOUR, DAY, 20 * DAY))

    def sign(self, clone: Vault) -> None:
        """The signer pulls what is on the remote, and signs with the key that is active there."""
        self.git(self.signer, "fetch", "--quiet", "origin")
        self.git(self.signer, "reset", "--quiet", "--hard", "origin/main")
        state = self.state(self.signer)
        key_set = state.sets.get(SET) if state else None
        if key_set is None or key_set.active is None:
            return  # the last good key goes on, within signer_lag
        active = key_set.active
        last = active.events[-1]
        if any(event.forced for event in active.events) or last.event == "repaired":
            # Verifiers may not know it yet: the rotation, or the repair, said so.
            seen = active.life.published.get(key_set.policy.url)
            if seen is None or active.kid not in self.live():
                self.excused.add(active.kid)
        self.tokens.append(Token(active.kid, self.now + LIFETIME + SKEW))

    def due(self, clone: Vault) -> None:
        done = self.command(lambda: rotation.rotate_due(self.context(clone), push=self.chance.random() < 0.8))
        if done and any("is not known everywhere" in warning for warning in done.warnings):
            self.excused |= {key.kid for key, event in done.events if event.event == "activated"}

    def force(self, clone: Vault) -> None:
        push = self.chance.random() < 0.5
        self.command(lambda: rotation.rotate(self.context(clone), [SET], forced="a drill", push=push))

    def revoke(self, clone: Vault) -> None:
        state = self.state(clone)
        live = [key for key in state.keys.values() if key.state in ("next", "active", "retiring")] if state else []
        if live:
            kid, push = self.chance.choice(live).kid, self.chance.random() < 0.7
            done = self.command(lambda: rotation.revoke(self.context(clone), kid, reason="compromised", push=push))
            if done:
                self.excused.add(kid)

    def roll_back(self, clone: Vault) -> None:
        self.command(lambda: rotation.rollback(self.context(clone), SET, push=self.chance.random() < 0.7))

    def merge(self, clone: Vault) -> None:
        self.git(clone, "fetch", "--quiet", "origin")
        strategy = self.chance.choice(((), ("-X", "ours"), ("-X", "theirs"), ("-s", "ours"), ("--no-ff",)))
        if self.git(clone, "merge", "--quiet", "--no-edit", *strategy, "origin/main"):
            self.went["merge refused"] += 1
            if self.chance.random() < 0.3 and not self.git(clone, "commit", "--all", "--quiet", "--no-edit", "-n"):
                self.went["conflict committed"] += 1
            else:
                self.git(clone, "merge", "--abort")
                self.git(clone, "reset", "--quiet", "--hard")
        else:
            self.went["merge"] += 1

    def rebase(self, clone: Vault) -> None:
        self.git(clone, "fetch", "--quiet", "origin")
        if self.git(clone, "rebase", "--quiet", "origin/main"):
            self.git(clone, "rebase", "--abort")

    def reset(self, clone: Vault) -> None:
        """Drop what was not pushed, as the hint says."""
        self.git(clone, "fetch", "--quiet", "origin")
        self.git(clone, "switch", "--quiet", "-C", "main", "origin/main")

    def pull(self, clone: Vault) -> None:
        self.git(clone, "pull", "--quiet", "--ff-only", "origin", "main")

    def force_push(self, clone: Vault) -> None:
        """Past the tool, which keeps old keys for longer if a rotation is pushed late."""
        self.git(clone, "fetch", "--quiet", "origin")
        repository, state = clone.repository, self.state(clone)
        public = repository.read_with_damage(repository.head("origin/main"))
        self.excused |= {
            kid
            for kid, key in public.keys.items()
            if state is None or kid not in state.keys or state.keys[kid].state != key.state
        }
        self.git(clone, "push", "--quiet", "--force", "origin", "main")

    def wrong_clock(self, clone: Vault) -> None:
        offset = self.chance.choice((-30 * DAY, -HOUR, HOUR, 3 * DAY, 400 * DAY))
        forced = "a clock that is wrong" if self.chance.random() < 0.3 else None
        context = self.context(clone, offset)
        if forced:
            self.command(lambda: rotation.rotate(context, [SET], forced=forced, push=self.chance.random() < 0.5))
        else:
            self.command(lambda: rotation.rotate_due(context, push=self.chance.random() < 0.5))

    def die(self, clone: Vault) -> None:
        """A command dies before one of its git processes."""
        with dying(self.chance.randint(3, 18)):
            try:
                self.command(
                    lambda: rotation.rotate(
                        self.context(clone), [SET], forced="a drill", push=self.chance.random() < 0.5
                    )
                )
            except DiedError:
                self.went["died"] += 1

    def deploy(self, clone: Vault) -> None:
        self.git(clone, "fetch", "--quiet", "origin")
        if not self.git(clone, "merge-base", "--is-ancestor", "HEAD", "origin/main"):  # what is on the remote goes out
            self.command(lambda: publish(self.context(clone), str(self.www)))

    def failing_deploy(self, clone: Vault) -> None:
        before = self.live()
        with failing_swaps():
            try:
                self.deploy(clone)
            except DeployError:
                self.went["deploy failed"] += 1
                assert self.live() == before

    def spoil(self, clone: Vault) -> None:
        state = self.state(clone)
        if state is None or not state.keys:
            return
        path = clone.folder / self.chance.choice(sorted(key.path for key in state.keys.values()))
        if path.is_file():
            data = path.read_bytes()
            spoilt = self.chance.choice((data[: len(data) // 2], data.replace(b"\n", b"\r\n"), b"{}\n"))
            path.write_bytes(spoilt)
            self.git(clone, "commit", "--quiet", "--all", "--message", "by hand")

    def mend(self, clone: Vault) -> None:
        done = self.command(lambda: repair(self.context(clone), push=self.chance.random() < 0.5))
        if done:
            self.went.update(finding.code for finding in done.findings)

    # --- what must hold ---------------------------------------------------------------------------------

    def check(self) -> None:
        """Every token that lives verifies at the live set, unless the tool had said that it would not."""
        self.tokens = [token for token in self.tokens if self.now <= token.until]
        live = self.live()
        for clone in self.clones:
            state = self.state(clone)
            if state is not None:
                self.excused |= {key.kid for key in state.keys.values() if key.state == "revoked"}
        for token in self.tokens:
            assert token.kid in live or token.kid in self.excused, self.told(f"a token of {token.kid} fails")

    def told(self, what: str) -> str:
        return f"seed {self.seed}, step {len(self.story)}: {what}\n" + "\n".join(self.story[-60:])

    def way_out(self) -> None:
        """Follow the runbooks: repair, drop what was not pushed, publish; everybody ends with the same sound vault."""
        first, *others = self.clones
        self.now += HOUR
        for clone in self.clones:
            self.git(clone, "merge", "--abort")
            self.git(clone, "reset", "--quiet", "--hard")
        self.git(first, "fetch", "--quiet", "origin")
        self.git(first, "reset", "--quiet", "--hard", "origin/main")
        live = json.loads((self.www / "history.json").read_bytes())["commit"]
        if self.git(first, "merge-base", "--is-ancestor", live, "HEAD"):
            # A forced push left the published commit behind: bring it back, from a clone that has it.
            for other in self.clones:
                self.git(first, "fetch", "--quiet", str(other.folder), live)
            if self.git(first, "merge", "--quiet", "--no-edit", "-X", "theirs", live):
                # With the driver, git leaves our version of what both sides changed; the repair takes the other one in.
                self.git(first, "add", "--all")
                assert not self.git(first, "commit", "--quiet", "--no-edit", "--no-verify"), self.told("no merge")
            self.went["published commit brought back"] += 1
        mended = repair(self.context(first), reason="the end of the night")
        again = repair(self.context(first)).findings
        assert set(again) <= set(mended.left), self.told(f"a second repair finds {again}")
        self.went.update(f"left: {finding.code}" for finding in mended.left)
        _ = first.repository.read(first.repository.head()).sets
        self.git(first, "push", "--quiet", "--force", "origin", "main")
        found = audit(self.context(first)).errors
        self.went.update(f"audit: {one.code}" for one in found)
        publish(self.context(first), str(self.www), audited=first.head if found else None)
        self.check()
        for other in others:
            self.reset(other)
            self.git(other, "reset", "--quiet", "--hard", "origin/main")
            rotation.rotate_due(self.context(other), push=True)
        for _ in range(3):
            self.now += 2 * DAY
            self.git(first, "pull", "--quiet", "--ff-only", "origin", "main")
            rotation.rotate_due(self.context(first), push=True)
            publish(self.context(first), str(self.www), audited=first.head if found else None)
        state = first.repository.read(first.repository.head())
        key_set = state.sets[SET]
        assert key_set.active is not None, self.told("no active key")
        assert key_set.next is not None, self.told("no next key")
        assert set(audit(self.context(first)).errors) <= set(found), self.told("the audit finds more than before")


def install_driver(clone: Vault) -> None:
    """Set up the merge driver in *clone*, by a command line that needs no program on anybody's path."""
    merge.install(clone.folder, clone.environ)
    program = f"{sys.executable} -m keyvault"
    clone.git("config", "merge.keyvault.driver", f"{program} merge-driver %O %A %B %P")
    for name in ("pre-merge-commit", "pre-commit"):
        hook = clone.git_dir / "hooks" / name
        hook.write_text(re.sub(r"^keyvault --vault", f"{program} --vault", hook.read_text(), flags=re.MULTILINE))


@contextmanager
def dying(call: int) -> Iterator[None]:
    """Let the process die before the git process of that number."""
    run, count = Runner.run, 0

    def counted(self: Runner, *arguments: str, **options: Any) -> bytes:
        nonlocal count
        count += 1
        if count == call:
            raise DiedError
        return run(self, *arguments, **options)

    Runner.run = counted  # type: ignore[method-assign]  # for a moment
    try:
        yield
    finally:
        Runner.run = run  # type: ignore[method-assign]  # as it was


@contextmanager
def failing_swaps() -> Iterator[None]:
    """Let a publication fail when its folder would take its place."""
    before = swap.StagingFolder.swap

    def fails(self: swap.StagingFolder) -> None:
        raise DeployError

    swap.StagingFolder.swap = fails  # type: ignore[method-assign]  # for a moment
    try:
        yield
    finally:
        swap.StagingFolder.swap = before  # type: ignore[method-assign]  # as it was
