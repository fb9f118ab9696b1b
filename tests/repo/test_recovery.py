"""A run that died leaves the old or the new state; the next run recovers by itself, and disturbs no living run."""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from keyvault.errors import GitError, UsageError
from keyvault.operations import rotation
from keyvault.repo import branch, journal, worktree
from keyvault.repo.git import Git
from keyvault.repo.git.process import Runner
from tests.errors import fails
from tests.vaults import DAY, HOUR, Vault, copy_vault, environment, make_vault, run_git

#: A program that prints whether SIGINT is blocked for it.
ASK_SIGINT = "import signal; print(signal.SIGINT in signal.pthread_sigmask(signal.SIG_BLOCK, []))"


class Died(BaseException):
    """Simulates the end of a process: nothing catches it."""


def dies(*args: object, **kwargs: object) -> None:
    raise Died


def rotate(vault: Vault) -> str | None:
    return rotation.rotate(vault.context(), [], forced="a drill").commit


def leftovers(vault: Vault) -> list[str]:
    """Return files that no run may leave behind: locks, journals, temporary files."""
    names = ("*.lock", "keyvault.journal", "keyvault.new", "*.keyvault-new")
    found = [path for name in names for path in vault.folder.rglob(name)]
    return sorted(str(path.relative_to(vault.folder)) for path in found if path.name != "keyvault.lock")


@pytest.fixture
def crash(monkeypatch: pytest.MonkeyPatch) -> Callable[[Vault, object, str], None]:
    """A function that rotates, and dies in a given function."""

    def crash(vault: Vault, owner: object, name: str) -> None:
        with monkeypatch.context() as patch:
            patch.setattr(owner, name, dies)
            with pytest.raises(Died):
                rotate(vault)

    return crash


# --- recovery from a dead run ---------------------------------------------------------------------------


def test_death_before_the_branch_moved(vault: Vault, crash: Callable[..., None]) -> None:
    """Nothing changed: the next run starts over and removes the leftovers of the dead one."""
    before = vault.state()
    crash(vault, Git, "move_branch")

    assert (vault.state(), vault.status) == (before, [])
    rotate(vault)
    assert vault.status == []
    assert len(vault.log) == 2
    assert leftovers(vault) == []


def test_ctrl_c_after_the_branch_moved(vault: Vault, monkeypatch: pytest.MonkeyPatch) -> None:
    """The commit exists, so the command finishes and reports it; git does not receive the signal either."""
    follow = branch._follow

    def interrupted(*arguments: Any) -> tuple[str, ...]:
        os.kill(os.getpid(), signal.SIGINT)
        blocked = subprocess.run([sys.executable, "-c", ASK_SIGINT], capture_output=True, check=True).stdout
        assert blocked.decode().strip() == "True"
        return follow(*arguments)

    before = signal.getsignal(signal.SIGINT)
    monkeypatch.setattr(branch, "_follow", interrupted)
    assert rotate(vault) == vault.head

    assert (vault.status, leftovers(vault)) == ([], [])
    assert signal.getsignal(signal.SIGINT) is before


def test_ctrl_c_before_the_branch_moved(vault: Vault, monkeypatch: pytest.MonkeyPatch) -> None:
    """Nothing changed."""
    commit_tree, before = Git.commit_tree, vault.head

    def interrupted(*arguments: Any) -> str:
        commit = commit_tree(*arguments)
        os.kill(os.getpid(), signal.SIGINT)
        return commit

    monkeypatch.setattr(Git, "commit_tree", interrupted)
    with pytest.raises(KeyboardInterrupt):
        rotate(vault)

    assert (vault.head, vault.status, leftovers(vault)) == (before, [], [])


def test_in_a_thread(vault: Vault) -> None:
    """A program may change a vault in another thread, which receives no signals."""
    commits = []
    thread = threading.Thread(target=lambda: commits.append(rotate(vault)))
    thread.start()
    thread.join()

    assert commits == [vault.head]


def test_death_after_the_branch_moved(vault: Vault, crash: Callable[..., None]) -> None:
    """The commit exists: the next run updates the index and the working tree before its own work."""
    crash(vault, branch, "_follow")
    assert len(vault.log) == 2
    assert vault.status != []

    rotate(vault)

    assert vault.status == []
    assert len(vault.log) == 3
    assert leftovers(vault) == []


def test_death_before_the_index_was_written(vault: Vault, monkeypatch: pytest.MonkeyPatch) -> None:
    """Files were written, but not the index: the next run writes it."""
    run = Runner.run

    def dies_there(self: Runner, *arguments: str, **options: object) -> bytes:
        if arguments[0] == "update-index":
            raise Died
        return run(self, *arguments, **options)  # type: ignore[arg-type]  # whatever it was called with

    with monkeypatch.context() as patch:
        patch.setattr(Runner, "run", dies_there)
        with pytest.raises(Died):
            rotate(vault)

    rotate(vault)

    assert vault.status == []


@pytest.mark.parametrize("where", ["while they are written", "while they get their names"])
def test_death_between_two_files(vault: Vault, monkeypatch: pytest.MonkeyPatch, where: str) -> None:
    """Some files are written, or a temporary file is incomplete: the next run writes them all."""
    write, replace = worktree.write_temporary, os.replace
    done: list[str] = []

    def writes_half(target: str, data: bytes, mode: str) -> str:
        if done:
            write(target, data[:10], mode)
            raise Died
        done.append(target)
        return write(target, data, mode)

    def replaces_one(source: str, target: str) -> None:
        if done:
            raise Died
        done.extend([target] if os.fspath(target).endswith(".json") else [])
        replace(source, target)

    with monkeypatch.context() as patch:
        if where == "while they are written":
            patch.setattr(worktree, "write_temporary", writes_half)
        else:
            patch.setattr(os, "replace", replaces_one)
        with pytest.raises(Died):
            rotate(vault)
    assert leftovers(vault) != []

    rotate(vault)

    assert vault.status == []
    assert leftovers(vault) == []


def test_git_fails_after_it_has_moved_the_branch(vault: Vault, monkeypatch: pytest.MonkeyPatch) -> None:
    """If git fails after it moved the branch, such as on a full disk, the commit exists and counts."""
    move = Git.move_branch

    def moves_and_fails(self: Git, branch: str, *, old: str | None, new: str, reason: str) -> None:
        move(self, branch, old=old, new=new, reason=reason)
        raise GitError("git update-ref: no space left on device", code="git-failed")

    with monkeypatch.context() as patch:
        patch.setattr(Git, "move_branch", moves_and_fails)
        commit = rotate(vault)

    assert commit == vault.head
    assert (vault.status, leftovers(vault)) == ([], [])
    assert len(vault.log) == 2


@pytest.mark.parametrize("owner", [branch, Git])
def test_init_dies(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, owner: object) -> None:
    """
    If an `init` died before its commit, the next one starts over; if it died after it, the next one finishes it.

    The next one then fails because there is a vault: without its keyvault.toml, no command would find it.
    """
    with monkeypatch.context() as patch:
        patch.setattr(owner, "_follow" if owner is branch else "move_branch", dies)
        with pytest.raises(Died):
            make_vault(tmp_path)
    vault = Vault(tmp_path / "vault", environment(tmp_path))
    assert not (vault.folder / "keyvault.toml").exists()

    if owner is branch:
        with fails("vault-exists", UsageError):
            make_vault(tmp_path)
    else:
        make_vault(tmp_path)

    assert (len(vault.log), vault.status, leftovers(vault)) == (1, [], [])


def test_init_dies_while_git_makes_a_repository(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A repository is moved into its place when it is complete: a partial one with a lock does not block `init`."""
    run = Runner.run

    def dies_there(self: Runner, *arguments: str, **options: object) -> bytes:
        if arguments[0] != "init":
            return run(self, *arguments, **options)  # type: ignore[arg-type]  # whatever it was called with
        (self.folder / ".git").mkdir()
        (self.folder / ".git" / "config.lock").write_text("")
        raise Died

    with monkeypatch.context() as patch:
        patch.setattr(Runner, "run", dies_there)
        patch.setattr(shutil, "rmtree", lambda *args, **options: None)  # a dead process does not clean up
        with pytest.raises(Died):
            make_vault(tmp_path)
    assert [path.name for path in (tmp_path / "vault").iterdir()] == [".keyvault-init"]

    vault = make_vault(tmp_path)

    assert (len(vault.log), vault.status) == (1, [])
    assert not (vault.folder / ".keyvault-init").exists()


def test_recovery_dies_too(vault: Vault, crash: Callable[..., None]) -> None:
    """If a run dies during a recovery, the next one recovers."""
    crash(vault, branch, "_follow")
    crash(vault, branch, "_follow")

    rotate(vault)

    assert vault.status == []
    assert len(vault.log) == 3


def test_work_of_the_user_after_a_crash_stays(vault: Vault, crash: Callable[..., None]) -> None:
    """The recovery does not overwrite changes that the user made since the crash."""
    path = vault.next().path
    crash(vault, branch, "_follow")
    vault.write(path, "mine\n")
    vault.write("mine.txt", "mine\n")

    with fails("uncommitted-changes", GitError):
        rotate(vault)

    assert vault.files()[path] == b"mine\n"
    assert vault.files()["mine.txt"] == b"mine\n"
    vault.git("checkout", "HEAD", "--", path)
    rotate(vault)
    assert vault.status == ["?? mine.txt"]


def test_the_branch_went_on_after_a_crash(vault: Vault, crash: Callable[..., None]) -> None:
    """If somebody committed since the crash, the journal is out of date and is removed."""
    crash(vault, branch, "_follow")
    vault.git("reset", "--quiet", "--hard")
    vault.git("commit", "--quiet", "--allow-empty", "-m", "since")

    rotate(vault)

    assert vault.status == []
    assert vault.log[1] == "since"


def test_another_branch_is_checked_out_after_a_crash(vault: Vault, crash: Callable[..., None]) -> None:
    """A journal of a branch does not affect the files of another branch."""
    vault.git("branch", "side")
    crash(vault, branch, "_follow")
    vault.git("reset", "--quiet", "--hard")
    vault.git("checkout", "--quiet", "side")

    rotate(vault)

    assert vault.status == []
    assert len(vault.log) == 2
    vault.git("checkout", "--quiet", "main")
    assert vault.status == []


@pytest.mark.parametrize("name", ["refs/heads/main.lock", "HEAD.lock", "index.lock"])
@pytest.mark.parametrize("moved", [False, True])
def test_locks_of_a_dead_run(vault: Vault, crash: Callable[..., None], name: str, moved: bool) -> None:
    """Locks that a killed git left are removed: they would block every later commit."""
    crash(vault, *((branch, "_follow") if moved else (Git, "move_branch")))
    (vault.git_dir / name).write_text("")

    rotate(vault)

    assert leftovers(vault) == []
    assert vault.status == []
    assert len(vault.log) == (3 if moved else 2)
    vault.git("commit", "--quiet", "--allow-empty", "-m", "git works too")


def test_a_lock_that_is_older_than_the_dead_run(vault: Vault, crash: Callable[..., None]) -> None:
    """A lock that existed before the dead run started is not removed."""
    crash(vault, Git, "move_branch")
    lock = vault.git_dir / "index.lock"
    lock.write_text("")
    old = (vault.git_dir / "keyvault.journal").stat().st_mtime - 60
    os.utime(lock, (old, old))

    with fails("git-locked", GitError):
        rotate(vault)

    assert lock.exists()


def test_a_lock_that_comes_when_the_branch_has_moved(vault: Vault, monkeypatch: pytest.MonkeyPatch) -> None:
    """
    If another process locks the index just after the branch moved, the commit exists and there is a warning.

    Its lock is not removed, then or later; without it, the next run updates the working tree.
    """
    lock = vault.git_dir / "index.lock"
    move = Git.move_branch

    def taken(self: Git, branch: str, *, old: str | None, new: str, reason: str) -> None:
        move(self, branch, old=old, new=new, reason=reason)
        lock.write_text("")

    with monkeypatch.context() as patch:
        patch.setattr(Git, "move_branch", taken)
        outcome = rotation.rotate(vault.context(), [], forced="a drill")

    assert outcome.commit == vault.head
    assert len(outcome.warnings) == 1
    assert outcome.warnings[0].startswith("the commit is written, but index and working tree are not updated yet (")
    with pytest.raises(GitError):
        rotate(vault)
    assert lock.exists()
    assert vault.head == outcome.commit

    lock.unlink()
    rotate(vault)
    assert vault.status == []
    assert len(vault.log) == 3


@pytest.mark.parametrize("cut", [0, 1, 20, 60, -1])
def test_a_journal_that_was_cut_off(vault: Vault, crash: Callable[..., None], cut: int) -> None:
    """A truncated journal means that the branch had not moved yet: it is removed."""
    crash(vault, Git, "move_branch")
    journal = vault.git_dir / "keyvault.journal"
    journal.write_bytes(journal.read_bytes()[:cut])

    rotate(vault)

    assert leftovers(vault) == []
    assert len(vault.log) == 2


def test_reading_does_not_need_recovery(vault: Vault, crash: Callable[..., None]) -> None:
    """After a crash, the new state is readable at once."""
    crash(vault, branch, "_follow")
    journal = vault.git_dir / "keyvault.journal"

    assert vault.state().commit == vault.head
    assert journal.exists()


# --- one at a time --------------------------------------------------------------------------------------


@contextmanager
def holding(vault: Vault) -> Iterator[subprocess.Popen[str]]:
    """Hold the lock of the clone in another process."""
    script = "import sys, filelock\nlock = filelock.FileLock(sys.argv[1])\nlock.acquire()\nprint('held', flush=True)\ninput()\n"
    command = [sys.executable, "-c", script, str(vault.git_dir / "keyvault.lock")]
    process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
    assert process.stdout is not None
    process.stdout.readline()
    try:
        yield process
    finally:
        process.kill()
        process.communicate()


def test_another_keyvault_is_running(vault: Vault, monkeypatch: pytest.MonkeyPatch) -> None:
    """A second command waits for the first; after a timeout it fails and has written nothing."""
    monkeypatch.setattr(journal, "LOCK_TIMEOUT", 0.1)
    before = vault.head

    with holding(vault), fails("clone-locked", GitError) as caught:
        rotate(vault)

    assert caught.value.hint == "wait for it, or end it"
    assert vault.head == before


def test_the_holder_of_the_lock_is_killed(vault: Vault) -> None:
    """The lock of a killed process blocks no other."""
    with holding(vault) as process:
        process.kill()
        process.wait()

        assert rotate(vault) == vault.head


def test_reading_needs_no_lock(vault: Vault) -> None:
    """The vault is readable while another process holds the lock."""
    with holding(vault):
        assert vault.state().commit == vault.head


# --- crashes of real processes --------------------------------------------------------------------------

WRAPPER = """#!/bin/sh
# Kills its process group at a given call of git: before it, after it, or in the middle of it.
number=$(($(cat "{count}") + 1))
echo $number > "{count}"
if [ $number -eq {at} ]; then
    case {how} in
    before) kill -9 0 ;;
    after) {git} "$@"; kill -9 0 ;;
    during) exec 3<&0; {git} "$@" <&3 & sleep {delay}; kill -9 0 ;;
    esac
fi
exec {git} "$@"
"""


def killed(vault: Vault, at: int, how: str, *arguments: str, delay: float = 0.002) -> bool:
    """Run a command that is killed at call number *at* of git; return whether there were that many calls."""
    folder = vault.top / "bin"
    folder.mkdir(exist_ok=True)
    count, wrapper = folder / "count", folder / "git"
    count.write_text("0\n")
    git = shutil.which("git", path=vault.environ["PATH"])
    wrapper.write_text(WRAPPER.format(count=count, at=at, how=how, git=git, delay=delay))
    wrapper.chmod(0o755)
    process = vault.start(*arguments, environ={"PATH": f"{folder}{os.pathsep}{vault.environ['PATH']}"})
    output, errors = process.communicate(timeout=60)
    assert process.returncode in (0, -signal.SIGKILL), (output, errors)
    return int(count.read_text()) >= at


def check(vault: Vault, base: int, most: int) -> None:
    """Check that a vault is consistent: old or new state, nothing damaged, no key created twice."""
    vault.git("fsck", "--strict", "--no-dangling")
    state = vault.state()  # refuses two active or two next keys
    for key_set in state.sets.values():
        assert key_set.active is not None
        assert key_set.next is not None
    assert base <= len(vault.log) <= most


def due_vault(top: Path) -> Vault:
    """Return a vault that needs no host, with two sets that are due."""
    return make_vault(top, confirm="commit").wait(90 * DAY)


@pytest.mark.slow
@pytest.mark.parametrize("how", ["before", "after", "during"])
@pytest.mark.parametrize("push", [False, True], ids=["local", "push"])
def test_killed_at_every_call_of_git(tmp_path: Path, how: str, push: bool) -> None:
    """
    After kill -9 of all processes at any call of git, the state is old or new, and a rerun completes it.

    The scheduled job is killed at its first call, its second and so on, until it succeeds.
    """
    template = due_vault(tmp_path / "template")
    if push:
        template.publish_to()
    command = ["rotate", "--due", *(["--push"] if push else [])]
    for at in range(1, 100):
        vault = copy_vault(template, tmp_path / f"{at}")
        if push:
            vault.git("remote", "set-url", "origin", str(vault.top / "origin.git"))
        succeeded = not killed(vault, at, how, *command, delay=0.001 * (at % 7))
        check(vault, 1, 2)

        done = vault.run(*command)

        assert (done.returncode, done.stderr) == (0, ""), (at, done.stderr)
        check(vault, 2, 2)
        assert vault.log[0] == "rotate id-token, access-token"
        assert (vault.status, leftovers(vault)) == ([], []), at
        if push:
            assert run_git(vault.top / "origin.git", vault.environ, "rev-parse", "main") == vault.head
        shutil.rmtree(vault.top)
        if succeeded:
            assert at > 8
            return
    raise AssertionError("a rotation takes a hundred calls of git")


@pytest.mark.slow
def test_killed_at_any_instant(tmp_path: Path) -> None:
    """After kill -9 within 400 ms, 50 times in one clone, no run blocks the next one."""
    vault = due_vault(tmp_path)
    commits = 1
    for number in range(50):
        vault.wait(HOUR)
        process = vault.start("rotate", "--all", "--force", "--reason", "a drill")
        time.sleep(number * 0.008)
        os.killpg(process.pid, signal.SIGKILL)
        process.communicate()
        check(vault, commits, commits + 1)
        commits = len(vault.log)

    done = vault.wait(HOUR).run("rotate", "--all", "--force", "--reason", "the last")

    assert done.returncode == 0, done.stderr
    assert vault.log[0] == "rotate id-token, access-token"
    assert (vault.status, leftovers(vault)) == ([], [])


@pytest.mark.slow
def test_interrupted(tmp_path: Path) -> None:
    """After Ctrl-C at any instant, the exit code is 130 with one line, or the work is done; the next run works."""
    vault = due_vault(tmp_path)
    for number in range(20):
        vault.wait(HOUR)
        process = vault.start("rotate", "--all", "--force", "--reason", "a drill")
        time.sleep(0.15 + number * 0.015)
        os.killpg(process.pid, signal.SIGINT)
        _output, errors = process.communicate(timeout=60)
        assert process.returncode in (0, 130, -signal.SIGINT), errors
        if process.returncode == 130:
            assert errors.decode() == "keyvault: error: interrupted\n"

    assert vault.wait(HOUR).run("rotate", "--all", "--force", "--reason", "the last").returncode == 0
    assert (vault.status, leftovers(vault)) == ([], [])


#: The remote process of a fetch or a push on this machine; after an interrupt, it needs a moment to clean up.
OTHER_END = """#!/bin/sh
trap 'kill $!; sleep 0.5; touch cleaned-up; exit 130' INT
sleep 60 >/dev/null 2>&1 &
touch begun
wait
"""


def wait_for(sign: Path, process: subprocess.Popen[bytes]) -> None:
    """Wait until *process* has created the file *sign*."""
    while not sign.exists():
        assert process.poll() is None, process.communicate()
        time.sleep(0.01)


def test_an_interrupted_push_waits_for_the_remote_process(vault: Vault) -> None:
    """When an interrupted command ends, the remote process has ended, too."""
    ssh = vault.top / "ssh"
    ssh.write_text(OTHER_END)
    ssh.chmod(0o755)
    vault.git("remote", "add", "origin", "ssh://git.example.com/keys.git")
    process = vault.start("rotate", "--due", "--push", environ={"GIT_SSH_COMMAND": str(ssh)})
    wait_for(vault.folder / "begun", process)
    os.killpg(process.pid, signal.SIGINT)
    _output, errors = process.communicate(timeout=60)

    assert (vault.folder / "cleaned-up").exists()
    assert (process.returncode, errors.decode()) == (130, "keyvault: error: interrupted\n")


def test_a_push_that_completes_after_ctrl_c(tmp_path: Path) -> None:
    """Git did not receive the Ctrl-C, and the remote accepted the commit: "interrupted" would be wrong."""
    vault = due_vault(tmp_path)
    bare = vault.publish_to()
    hook = bare / "hooks" / "pre-receive"
    hook.parent.mkdir(exist_ok=True)
    hook.write_text(f"#!/bin/sh\ntouch '{vault.top}/begun'\nsleep 0.5\n")
    hook.chmod(0o755)
    process = vault.start("rotate", "--due", "--push")
    wait_for(vault.top / "begun", process)
    process.send_signal(signal.SIGINT)
    _output, errors = process.communicate(timeout=60)

    assert (process.returncode, errors.decode()) == (0, "")
    assert vault.head == run_git(bare, vault.environ, "rev-parse", "main")
    assert vault.log[0] == "rotate id-token, access-token"
    assert (vault.status, leftovers(vault)) == ([], [])


# --- races of real processes ----------------------------------------------------------------------------


def finish(processes: list[subprocess.Popen[bytes]]) -> list[tuple[int, str]]:
    done = []
    for process in processes:
        _output, errors = process.communicate(timeout=300)
        done.append((process.returncode, errors.decode()))
    return done


@pytest.mark.slow
def test_many_clones_push_at_once(tmp_path: Path) -> None:
    """
    Four jobs in each of six clones, all due at the same instant, cause one rotation, and every job succeeds.

    Slower jobs plan again on the new head, and have nothing left to do.
    """
    vault = due_vault(tmp_path)
    bare = vault.publish_to()
    clones = [vault.clone(f"clone-{number}", source=bare) for number in range(6)]

    results = finish([clone.start("rotate", "--due", "--push") for clone in clones for _ in range(4)])

    assert {code for code, _ in results} == {0}, results
    log = run_git(bare, vault.environ, "log", "--format=%s", "main").splitlines()
    assert log == ["rotate id-token, access-token", "make a vault with id-token, access-token"]
    for clone in clones:
        clone.git("pull", "--quiet", "--ff-only")
        assert (clone.log, clone.status) == (log, [])


@pytest.mark.slow
def test_many_clones_push_different_things(tmp_path: Path) -> None:
    """If four clones push three new sets each at once, all of them are pushed."""
    vault = due_vault(tmp_path)
    bare = vault.publish_to()
    clones = [vault.clone(f"clone-{number}", source=bare) for number in range(4)]
    names = [f"set-{clone}-{number}" for clone in range(4) for number in range(3)]

    results = finish([clones[int(name.split("-")[1])].start("set", "add", name, "--push") for name in names])

    assert {code for code, _ in results} == {0}, results
    vault.git("pull", "--quiet")
    assert set(vault.state().sets) == {"id-token", "access-token", *names}


@pytest.mark.slow
def test_many_processes_in_one_clone(tmp_path: Path) -> None:
    """Ten commands at once in one clone run one after the other: each writes its commit, with its own files only."""
    vault = due_vault(tmp_path)
    names = [f"set-{number}" for number in range(10)]

    results = finish([vault.start("set", "add", name) for name in names])

    assert {code for code, _ in results} == {0}, results
    assert set(vault.state().sets) == {"id-token", "access-token", *names}
    assert len(vault.log) == 11
    assert vault.status == []


@pytest.mark.slow
def test_beside_plain_git(tmp_path: Path) -> None:
    """While somebody commits with plain git in the same clone, no commit is lost or mixed with another."""
    vault = due_vault(tmp_path)
    loop = 'for i in $(seq 40); do git commit --quiet --allow-empty -m "plain $i" && echo $i; done'
    plain = subprocess.Popen(
        ["sh", "-c", loop], cwd=vault.folder, env=vault.environ, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL
    )
    ours = []
    for number in range(8):
        done = vault.run("set", "add", f"set-{number}", "--json")
        assert done.returncode in (0, 1), done.stderr
        if done.returncode == 0:
            ours.append(json.loads(done.stdout)["commit"])
    output, _ = plain.communicate(timeout=120)
    # If plain git held the index at the wrong moment, the next run updates the working tree.
    ours.append(json.loads(vault.run("set", "add", "the-last", "--json").stdout)["commit"])

    history = vault.git("rev-list", "HEAD").split()
    assert set(ours) <= set(history)
    assert len(history) == 1 + len(ours) + len(output.split())
    assert vault.status == []
