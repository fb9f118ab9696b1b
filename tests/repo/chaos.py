"""
Simulate three clones, a remote, a host and a signer, and everything that goes wrong between them.

`Chaos` takes random steps: rotations, revocations, merges of every strategy, rebases, forced pushes, clocks that jump,
commands that die, deployments that fail, records that somebody damages, and repairs. After each step, every token of
the signer must verify with the live set, unless the tool warned that it would not. A command may only raise errors of
the tool. In the end, the documented repairs must lead to a vault without damage.
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

from keyvault.core.gate import ServedKeys
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
    """Simulates the end of a process: nothing catches it."""


class DeployError(Exception):
    """A disk or a network that fails in the middle."""


@dataclass(frozen=True)
class Token:
    """A token: the kid of its key, and the instant until which the slowest clock accepts it."""

    kid: str
    until: datetime


@dataclass
class Chaos:
    """The simulated world; the seed determines every step."""

    seed: int
    top: Path
    now: datetime = field(init=False)
    tokens: list[Token] = field(default_factory=list)
    #: Keys whose tokens may fail, because the tool warned of it: revoked, or activated by force.
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

    # --- views ------------------------------------------------------------------------------------------

    def live(self) -> dict[str, str]:
        """Return the thumbprint of each key of the live set, by kid."""
        keys = json.loads((self.www / ".well-known" / "jwks.json").read_bytes())["keys"]
        return {key["kid"]: thumbprint(key) for key in keys}

    def look(self, url: str) -> ServedKeys:
        return frozenset(self.live().items())

    def context(self, clone: Vault, offset: timedelta = timedelta(0)) -> Context:
        context = Context.find(clone.folder, self.now + offset, clone.environ)
        context.fetch_key_ids = self.look
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
        """Take *steps*, checking the tokens after each; then repair everything."""
        for _ in range(steps):
            self.step()
            self.check()
        self.repair_all()

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
        """Run a command; it may raise only errors of the tool."""
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
        """Pull to the signer's clone, and sign with the active key."""
        self.git(self.signer, "fetch", "--quiet", "origin")
        self.git(self.signer, "reset", "--quiet", "--hard", "origin/main")
        state = self.state(self.signer)
        key_set = state.sets.get(SET) if state else None
        if key_set is None or key_set.active is None:
            return  # the signer keeps the last good key, within signer_lag
        active = key_set.active
        last = active.events[-1]
        if any(event.forced for event in active.events) or last.event == "repaired":
            # Verifiers may not know it yet: the rotation or the repair warned of that.
            seen = active.life.published.get(key_set.policy.url)
            if seen is None or active.kid not in self.live():
                self.excused.add(active.kid)
        self.tokens.append(Token(active.kid, self.now + LIFETIME + SKEW))

    def due(self, clone: Vault) -> None:
        done = self.command(lambda: rotation.rotate_due(self.context(clone), push=self.chance.random() < 0.8))
        if done and any("may not know the new active key" in warning for warning in done.warnings):
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
        """Drop the commits that were not pushed, as the hint says."""
        self.git(clone, "fetch", "--quiet", "origin")
        self.git(clone, "switch", "--quiet", "-C", "main", "origin/main")

    def pull(self, clone: Vault) -> None:
        self.git(clone, "pull", "--quiet", "--ff-only", "origin", "main")

    def force_push(self, clone: Vault) -> None:
        """Push without the tool, which would keep old keys for longer if a rotation is pushed late."""
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
        """Let a command die before one of its git processes."""
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
        if not self.git(clone, "merge-base", "--is-ancestor", "HEAD", "origin/main"):  # publish only pushed commits
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

    # --- invariants -------------------------------------------------------------------------------------

    def check(self) -> None:
        """Check that every valid token verifies with the live set, unless the tool warned that it would not."""
        self.tokens = [token for token in self.tokens if self.now <= token.until]
        live = self.live()
        for clone in self.clones:
            state = self.state(clone)
            if state is not None:
                self.excused |= {key.kid for key in state.keys.values() if key.state == "revoked"}
        for token in self.tokens:
            assert token.kid in live or token.kid in self.excused, self.failure(f"a token of {token.kid} fails")

    def failure(self, reason: str) -> str:
        return f"seed {self.seed}, step {len(self.story)}: {reason}\n" + "\n".join(self.story[-60:])

    def repair_all(self) -> None:
        """Follow the runbooks: repair, drop unpushed commits, publish; all clones end with the same undamaged vault."""
        first, *others = self.clones
        self.now += HOUR
        for clone in self.clones:
            self.git(clone, "merge", "--abort")
            self.git(clone, "reset", "--quiet", "--hard")
        self.git(first, "fetch", "--quiet", "origin")
        self.git(first, "reset", "--quiet", "--hard", "origin/main")
        live = json.loads((self.www / "history.json").read_bytes())["commit"]
        if self.git(first, "merge-base", "--is-ancestor", live, "HEAD"):
            # A forced push dropped the published commit: fetch it from a clone that has it.
            for other in self.clones:
                self.git(first, "fetch", "--quiet", str(other.folder), live)
            if self.git(first, "merge", "--quiet", "--no-edit", "-X", "theirs", live):
                # With the driver, git keeps our version of a record that both sides changed; the repair adds the other.
                self.git(first, "add", "--all")
                assert not self.git(first, "commit", "--quiet", "--no-edit", "--no-verify"), self.failure("no merge")
            self.went["published commit restored"] += 1
        mended = repair(self.context(first), reason="the end of the run")
        again = repair(self.context(first)).findings
        assert set(again) <= set(mended.unresolved), self.failure(f"a second repair finds {again}")
        self.went.update(f"left: {finding.code}" for finding in mended.unresolved)
        _ = first.repository.read(first.repository.head()).sets
        self.git(first, "push", "--quiet", "--force", "origin", "main")
        found = audit(self.context(first)).errors
        self.went.update(f"audit: {finding.code}" for finding in found)
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
        assert key_set.active is not None, self.failure("no active key")
        assert key_set.next is not None, self.failure("no next key")
        assert set(audit(self.context(first)).errors) <= set(found), self.failure("the audit finds more than before")


def install_driver(clone: Vault) -> None:
    """Set up the merge driver in *clone*, with a command line that needs no program on the PATH."""
    merge.install(clone.folder, clone.environ)
    program = f"{sys.executable} -m keyvault"
    clone.git("config", "merge.keyvault.driver", f"{program} merge-driver %O %A %B %P")
    for name in ("pre-merge-commit", "pre-commit"):
        hook = clone.git_dir / "hooks" / name
        hook.write_text(re.sub(r"^keyvault --vault", f"{program} --vault", hook.read_text(), flags=re.MULTILINE))


@contextmanager
def dying(call: int) -> Iterator[None]:
    """Let the process die before git process number *call*."""
    run, count = Runner.run, 0

    def counted(self: Runner, *arguments: str, **options: Any) -> bytes:
        nonlocal count
        count += 1
        if count == call:
            raise DiedError
        return run(self, *arguments, **options)

    Runner.run = counted  # type: ignore[method-assign]  # temporarily
    try:
        yield
    finally:
        Runner.run = run  # type: ignore[method-assign]  # restored


@contextmanager
def failing_swaps() -> Iterator[None]:
    """Let a publication fail before its folder replaces the old one."""
    before = swap.StagingFolder.swap

    def fails(self: swap.StagingFolder) -> None:
        raise DeployError

    swap.StagingFolder.swap = fails  # type: ignore[method-assign]  # temporarily
    try:
        yield
    finally:
        swap.StagingFolder.swap = before  # type: ignore[method-assign]  # restored
