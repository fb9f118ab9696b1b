"""
Concurrent commands: slower ones plan again, nothing is lost or done twice, and readers see complete commits.

`test_push` tests single pushes. Here many users and jobs work at the same time, and some of them rewrite the remote.
rewrite what is on the remote.
"""

from __future__ import annotations

import json
import threading
from collections import Counter
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from pathlib import Path

import pytest

from keyvault.errors import ConflictError, GitError
from keyvault.operations import rotation
from keyvault.operations.changes import Outcome
from keyvault.repo.remote import Remote
from tests.errors import fails
from tests.revisions import audit
from tests.vaults import DAY, Vault, make_vault, run_git, tree

PERIOD = 90 * DAY


class Tries:
    """Counts the tries of each push, in any thread."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.counts: list[int] = []
        self._own = threading.local()
        push = Remote.push

        def counted(remote: Remote, commit: str) -> None:
            self._own.count = getattr(self._own, "count", 0) + 1
            push(remote, commit)

        monkeypatch.setattr(Remote, "push", counted)

    def of(self, run: Callable[[], Outcome]) -> Outcome:
        """Run a command that pushes, and record its number of tries."""
        self._own.count = 0
        outcome = run()
        self.counts.append(self._own.count)
        return outcome


def protected_remote(vault: Vault) -> Path:
    """Give *vault* a remote like those of forges: it denies non-fast-forward pushes and deletions."""
    bare = vault.publish_to()
    for rule in ("receive.denyNonFastForwards", "receive.denyDeletes"):
        run_git(bare, vault.environ, "config", rule, "true")
    return bare


def commits(bare: Path, vault: Vault) -> list[str]:
    return run_git(bare, vault.environ, "rev-list", "main").splitlines()


def race(top: Path, tries: Tries, *, clones: int, rounds: int, forced: int) -> None:
    """
    Let clones race, each with its own set, and check that every push succeeded once.

    In each round everything is due, and all clones run the scheduled job at once. Then each rotates its own set by
    force, *forced* times, as fast as it can.
    """
    names = [f"set-{number:02}" for number in range(clones)]
    vault = make_vault(top, sets=[f"{name}:EdDSA" for name in names], confirm="commit")
    bare = protected_remote(vault)
    vaults = [vault.clone(f"clone-{number}", source=bare) for number in range(clones)]
    together = threading.Barrier(clones, timeout=300)

    def work(clone: Vault, name: str) -> list[Outcome]:
        outcomes = []
        for _ in range(rounds):
            together.wait()
            clone.wait(PERIOD)
            outcomes.append(tries.of(lambda: rotation.rotate_due(clone.context(), push=True)))
            for _ in range(forced):
                forcing = partial(rotation.rotate, clone.context(), [name], forced="a drill", push=True)
                outcomes.append(tries.of(forcing))
        return outcomes

    with ThreadPoolExecutor(max_workers=clones) as pool:
        done = [outcome for outcomes in pool.map(work, vaults, names) for outcome in outcomes]

    history = commits(bare, vault)
    written = [outcome.commit for outcome in done if outcome.commit]
    assert len(done) == len(tries.counts) == clones * rounds * (1 + forced)
    assert sorted(history) == sorted([vault.head, *written])  # nothing lost, nothing else added
    assert len(written) == rounds * (1 + clones * forced)  # one rotation each time that they were due
    for clone in vaults:
        clone.git("pull", "--quiet", "--ff-only")
        assert (clone.head, clone.status) == (history[0], [])
    state = vaults[0].state()
    for name in names:
        events = Counter(event.event for key in state.sets[name].keys for event in key.events)
        assert events["activated"] == 1 + rounds * (1 + forced)
        assert events["created"] == 1 + events["activated"]
    assert audit(vaults[0].context()).errors == ()
    assert max(tries.counts) <= 15, Counter(tries.counts)


@pytest.mark.slow
def test_four_clones_race(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Four clones push three times each: all pushes succeed in few tries, and the audit finds nothing."""
    race(tmp_path, Tries(monkeypatch), clones=4, rounds=1, forced=2)


@pytest.mark.slow
def test_sixteen_clones_race(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The same for sixteen clones that push ten times each; no push needs more than fifteen tries."""
    tries = Tries(monkeypatch)
    race(tmp_path, tries, clones=16, rounds=2, forced=4)
    print(f"pushes by the tries that they took: {sorted(Counter(tries.counts).items())}")


# --- one clone ------------------------------------------------------------------------------------------


def read_on(vault: Vault, stop: threading.Event, folder: Path) -> list[str]:
    """Read a vault until *stop* is set, without a lock; return the commits that were read."""
    seen = []
    while not stop.is_set():
        done = vault.run("status", "--json")
        assert (done.returncode, done.stderr) == (0, "")
        status = json.loads(done.stdout)
        for key_set in status["sets"]:
            states = [key["state"] for key in key_set["keys"]]
            assert (states.count("active"), states.count("next")) == (1, 1)
        seen.append(status["commit"])
        done = vault.run("render", "-o", str(folder / f"site-{len(seen)}"))
        assert (done.returncode, done.stderr) == (0, "")
    return seen


def rotations(vault: Vault, readers: int, writers: int, each: int) -> None:
    """Let writers rotate in one clone while readers read, and check that readers saw complete commits."""
    stop = threading.Event()

    def write(_: int) -> list[str | None]:
        return [rotation.rotate(vault.context(), [], forced="a drill").commit for _ in range(each)]

    with ThreadPoolExecutor(max_workers=readers + writers) as pool:
        reading = [pool.submit(read_on, vault, stop, vault.top / f"reader-{number}") for number in range(readers)]
        try:
            written = [commit for commits in pool.map(write, range(writers)) for commit in commits]
        finally:
            stop.set()
        seen = [commit for future in reading for commit in future.result()]
    history = vault.git("rev-list", "HEAD").splitlines()
    assert len(history) == 1 + writers * each
    assert sorted(history[:-1]) == sorted(map(str, written))
    assert set(seen) <= set(history)
    assert vault.status == []
    assert audit(vault.context()).errors == ()
    for site in vault.top.glob("reader-*/site-*"):
        commit = json.loads((site / "history.json").read_bytes())["commit"]
        again = vault.top / "again" / commit
        if not again.exists():
            done = vault.run("render", "-o", str(again), "--ref", commit)
            assert done.returncode == 0, done.stderr
        assert dict(tree(site)) == dict(tree(again))


@pytest.mark.slow
def test_readers_see_whole_commits(vault: Vault) -> None:
    """While two users rotate in a clone, `status` and `render` show one commit or another, never a mixture."""
    rotations(vault, readers=1, writers=2, each=2)


@pytest.mark.slow
def test_many_readers_see_whole_commits(vault: Vault) -> None:
    """The same with three readers and three writers, for longer."""
    rotations(vault, readers=3, writers=3, each=5)


@pytest.mark.slow
def test_many_jobs_in_one_clone_do_what_is_due_once(tmp_path: Path) -> None:
    """Eight scheduled jobs that start at once in one clone write one commit together; all succeed."""
    vault = make_vault(tmp_path, sets=["id-token:EdDSA"], confirm="commit").wait(PERIOD)

    jobs = [vault.start("rotate", "--due", "--json") for _ in range(8)]
    results = [(job.communicate(timeout=120), job.returncode) for job in jobs]

    assert {code for _, code in results} == {0}, results
    written = [commit for (output, _), _ in results if (commit := json.loads(output)["commit"])]
    assert written == [vault.head]
    assert vault.log == ["rotate id-token", "make a vault with id-token"]
    assert vault.status == []


# --- changes of the remote by others --------------------------------------------------------------------


def overwrite(bare: Path, vault: Vault, commit: str) -> None:
    """Put another commit on the remote's branch, as `git push --force` does."""
    vault.git("push", "--quiet", "--force", str(bare), f"{commit}:refs/heads/main")


def foreign_commit(vault: Vault, *parents: str) -> str:
    """Create a commit that no clone has: the present vault, with other parents."""
    named = [word for parent in parents for word in ("-p", parent)]
    return vault.git("commit-tree", "HEAD^{tree}", *named, "-m", "rewritten")


def test_the_remote_was_set_back(vault: Vault) -> None:
    """If somebody reset the remote to an older commit, the next push restores the dropped commits of this clone."""
    bare = vault.publish_to()
    first = vault.head
    second = rotation.rotate(vault.context(), [], forced="a drill", push=True).commit
    overwrite(bare, vault, first)

    outcome = rotation.rotate(vault.context(), [], forced="a drill", push=True)

    assert commits(bare, vault) == [outcome.commit, second, first]


@pytest.mark.parametrize("related", [True, False], ids=["diverged", "unrelated"])
def test_the_remote_was_rewritten(vault: Vault, related: bool) -> None:
    """If somebody pushed another history by force, nothing is written, and the user must decide."""
    bare = vault.publish_to()
    first = vault.head
    rotation.rotate(vault.context(), [], forced="a drill", push=True)
    before, foreign = (vault.head, vault.files()), foreign_commit(vault, *([first] if related else []))
    overwrite(bare, vault, foreign)

    with fails("branch-diverged", GitError):
        rotation.rotate(vault.context(), [], forced="a drill", push=True)

    assert commits(bare, vault)[0] == foreign
    assert (vault.head, vault.files(), vault.status) == (before[0], before[1], [])
    # After switching to the other history, a pin detects that.
    vault.git("reset", "--quiet", "--hard", "origin/main")
    assert "pin-missing" in {finding.code for finding in audit(vault.context(), pin=before[0]).errors}


def test_the_remote_is_rewritten_during_the_push(vault: Vault, monkeypatch: pytest.MonkeyPatch) -> None:
    """If somebody pushes another history by force between fetch and push, the next try reports it."""
    bare = vault.publish_to()
    before = vault.head, vault.files()
    foreign = foreign_commit(vault)
    push = Remote.push

    def push_later(remote: Remote, commit: str) -> None:
        overwrite(bare, vault, foreign)
        push(remote, commit)

    monkeypatch.setattr(Remote, "push", push_later)

    with fails("branch-diverged", GitError):
        rotation.rotate(vault.context(), [], forced="a drill", push=True)

    assert commits(bare, vault) == [foreign]
    assert (vault.head, vault.files(), vault.status) == (*before, [])


def test_the_branch_is_deleted_on_the_remote(vault: Vault) -> None:
    """If somebody deleted the branch on the remote, the next push creates it with all of its history."""
    bare = vault.publish_to()
    first = vault.head
    run_git(bare, vault.environ, "update-ref", "-d", "refs/heads/main")

    outcome = rotation.rotate(vault.context(), [], forced="a drill", push=True)

    assert commits(bare, vault) == [outcome.commit, first]


def test_a_rewritten_history_cannot_be_forced_onto_a_protected_remote(vault: Vault) -> None:
    """A remote that denies non-fast-forward pushes refuses a rewritten history, but no ordinary pushes."""
    bare = protected_remote(vault)
    rotation.rotate(vault.context(), [], forced="a drill", push=True)
    before = commits(bare, vault)

    with pytest.raises(AssertionError, match="denying non-fast-forward"):
        overwrite(bare, vault, foreign_commit(vault))

    assert commits(bare, vault) == before
    outcome = rotation.rotate(vault.context(), [], forced="a drill", push=True)
    assert commits(bare, vault) == [outcome.commit, *before]


def test_a_branch_that_is_checked_out_on_the_remote(vault: Vault) -> None:
    """If the remote is a clone with the branch checked out, it refuses the push; both sides stay unchanged."""
    other = vault.clone("other")
    vault.git("remote", "add", "origin", str(other.folder))
    before = vault.head, vault.files()

    with fails("push-refused", GitError) as caught:
        rotation.rotate(vault.context(), [], forced="a drill", push=True)

    assert "[remote rejected] (branch is currently " in caught.value.message
    assert not isinstance(caught.value, ConflictError)
    assert (vault.head, vault.files(), vault.status) == (*before, [])
    assert (other.head, other.status) == (before[0], [])


HOOK = """#!/bin/sh
# Accepts every third push.
number=$(($(cat "{count}" 2>/dev/null || echo 0) + 1))
echo $number > "{count}"
[ $((number % 3)) -eq 0 ] && exit 0
echo 'try later' >&2
exit 1
"""


@pytest.mark.slow
def test_a_hook_that_declines_some_pushes_of_a_race(vault: Vault) -> None:
    """If a hook of the remote declines a push, the command fails and changes nothing; the other pushes succeed."""
    bare = vault.publish_to()
    hook = bare / "hooks" / "pre-receive"
    hook.parent.mkdir(exist_ok=True)
    hook.write_text(HOOK.format(count=vault.top / "count"))
    hook.chmod(0o755)
    clones = [vault.clone(f"clone-{number}", source=bare) for number in range(3)]

    def attempt(clone: Vault) -> str | GitError:
        try:
            return str(rotation.rotate(clone.context(), [], forced="a drill", push=True).commit)
        except GitError as error:
            return error

    def work(clone: Vault) -> tuple[list[str], list[GitError]]:
        written: list[str] = []
        declined: list[GitError] = []
        for _ in range(4):
            before = clone.head
            outcome = attempt(clone)
            if isinstance(outcome, GitError):
                declined.append(outcome)
                assert clone.head == before
            else:
                written.append(outcome)
                assert clone.head == outcome
            assert clone.status == []
        return written, declined

    with ThreadPoolExecutor(max_workers=len(clones)) as pool:
        results = list(pool.map(work, clones))

    written = [commit for commits, _ in results for commit in commits]
    declined = [error for _, errors in results for error in errors]
    assert sorted(commits(bare, vault)) == sorted([vault.head, *written])
    assert {error.code for error in declined} == {"push-refused"}
    assert all("hook of the remote" in str(error.hint) for error in declined)
    assert (len(written) + len(declined), len(written) > 0) == (12, True)
