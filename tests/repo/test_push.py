"""`--push` pushes the commit first, then moves the local branch; after a lost race it plans again."""

from __future__ import annotations

import shutil
import subprocess
from pathlib import Path
from typing import Any

import pytest

from keyvault.core.algorithms import key_spec
from keyvault.errors import ConflictError, GateError, GitError, UsageError
from keyvault.operations import keys, rotation
from keyvault.repo import transaction, worktree
from keyvault.repo.vault import Draft
from tests.errors import fails
from tests.revisions import audit
from tests.vaults import DAY, HOUR, MINUTE, Vault, make_vault, run_git, serving


@pytest.fixture
def origin(vault: Vault) -> Path:
    """The bare repository to which the vault is pushed."""
    return vault.publish_to()


def tip(bare: Path, vault: Vault, branch: str = "main") -> str:
    return run_git(bare, vault.environ, "rev-parse", f"refs/heads/{branch}")


def untouched(vault: Vault) -> tuple[object, ...]:
    return vault.head, vault.git("ls-files", "--stage"), vault.status, vault.files()


def hook(bare: Path, name: str, script: str) -> None:
    path = bare / "hooks" / name
    path.parent.mkdir(exist_ok=True)
    path.write_text("#!/bin/sh\n" + script)
    path.chmod(0o755)


# --- the usual cases ------------------------------------------------------------------------------------


def test_a_commit_is_pushed(vault: Vault, origin: Path) -> None:
    """The commit is on the remote, on the local branch and on the remote-tracking branch."""
    outcome = rotation.rotate_due(vault.context(), push=True)

    assert outcome.pushed
    assert outcome.commit == vault.head == tip(origin, vault) == vault.git("rev-parse", "origin/main")
    assert vault.git("status", "--short", "--branch") == "## main...origin/main"


def test_nothing_to_do_pushes_nothing(vault: Vault, origin: Path) -> None:
    """If there is nothing to do, nothing is pushed."""
    rotation.rotate_due(vault.context(), push=True)
    hook(origin, "pre-receive", "exit 1\n")

    outcome = rotation.rotate_due(vault.context(), push=True)

    assert (outcome.commit, outcome.pushed) == (None, False)


def test_behind(vault: Vault, origin: Path) -> None:
    """If a colleague pushed first, the new commit is a child of theirs, and the working tree gets their changes."""
    colleague = vault.clone("colleague", source=origin)
    keys.add_set(colleague.context(), "reports", spec=key_spec("ES256"), push=True)
    colleague.commit({"docs/readme.txt": "hello\n", ".gitignore": None})
    colleague.git("push", "--quiet")

    outcome = rotation.rotate_due(vault.context(), push=True)

    assert outcome.commit == vault.head == tip(origin, vault)
    assert vault.git("rev-parse", "HEAD~1") == colleague.head
    assert set(vault.state().sets) == {"id-token", "access-token", "reports"}
    assert {key.set for key, _ in outcome.events} == {"id-token", "access-token"}
    assert vault.status == []
    assert outcome.warnings == ()


def test_a_transition_of_a_colleague_is_not_repeated(vault: Vault, origin: Path) -> None:
    """If a transition is already on the remote, no commit is written; the local branch is updated."""
    colleague = vault.clone("colleague", source=origin)
    rotation.rotate_due(colleague.context(), push=True)

    outcome = rotation.rotate_due(vault.context(), push=True)

    assert (outcome.commit, outcome.pushed) == (None, False)
    assert vault.head == tip(origin, vault) == colleague.head
    assert vault.status == []


def test_files_of_every_kind_come_along(vault: Vault, origin: Path) -> None:
    """Links, executables, submodules and files that became folders are updated as by `git pull`."""
    vault.commit({"a": "a\n", "tool": "#!/bin/sh\n", "folder/x": "x\n", "was-a-link": "1\n", "gone": "1\n"})
    vault.git("push", "--quiet")
    colleague = vault.clone("colleague", source=origin)
    work = colleague.folder
    (work / "link").symlink_to("keyvault.toml")
    (work / "nowhere").symlink_to("/nonexistent/ключ")
    (work / "tool").chmod(0o755)
    (work / "new-tool").write_text("#!/bin/sh\n")
    (work / "new-tool").chmod(0o755)
    shutil.rmtree(work / "folder")
    (work / "folder").write_text("now a file\n")
    (work / "a").unlink()
    (work / "a").mkdir()
    (work / "a" / "b").write_text("now in a folder\n")
    (work / "was-a-link").unlink()
    (work / "was-a-link").symlink_to("a")
    (work / "gone").unlink()
    (work / "Ünï cödé \t\"'").write_text("odd name\n")
    colleague.git("add", "--all")
    colleague.git("update-index", "--add", "--cacheinfo", f"160000,{colleague.head},module")
    colleague.git("commit", "--quiet", "-m", "all kinds")
    colleague.git("push", "--quiet")

    outcome = rotation.rotate_due(vault.context(), push=True)

    assert outcome.warnings == ()
    assert [line for line in vault.status if "module" not in line] == []
    assert (vault.folder / "link").readlink() == Path("keyvault.toml")
    assert (vault.folder / "was-a-link").is_symlink()
    assert (vault.folder / "tool").stat().st_mode & 0o111
    assert (vault.folder / "new-tool").stat().st_mode & 0o111
    assert not (vault.folder / "gone").exists()
    assert (vault.folder / "a" / "b").read_text() == "now in a folder\n"

    # And back to plain files.
    for name in ("link", "was-a-link", "tool", "new-tool"):
        (work / name).unlink(missing_ok=True)
        (work / name).write_text("plain\n")
    colleague.git("pull", "--quiet")
    colleague.git("commit", "--quiet", "-am", "plain files")
    colleague.git("push", "--quiet")
    rotation.rotate(vault.wait(DAY).context(), [], push=True)

    assert [line for line in vault.status if "module" not in line] == []


def test_changes_of_the_user_stay_if_a_colleague_changed_the_same_file(vault: Vault, origin: Path) -> None:
    """A file that both changed keeps the user's content, and a warning names it."""
    vault.commit({"doc.txt": "old\n"})
    vault.git("push", "--quiet")
    colleague = vault.clone("colleague", source=origin)
    colleague.commit({"doc.txt": "theirs\n"})
    colleague.git("push", "--quiet")
    vault.write("doc.txt", "mine\n")

    outcome = rotation.rotate_due(vault.context(), push=True)

    assert vault.files()["doc.txt"] == b"mine\n"
    assert vault.status == [" M doc.txt"]
    (warning,) = outcome.warnings
    assert warning.endswith(": doc.txt")


def test_ahead(vault: Vault, origin: Path) -> None:
    """A push includes earlier commits that were written without --push."""
    rotation.rotate_due(vault.context())
    keys.add_set(vault.context(), "reports", spec=key_spec("ES256"), push=True)

    assert tip(origin, vault) == vault.head
    assert len(vault.log) == 3


def test_ahead_and_nothing_to_do(vault: Vault, origin: Path) -> None:
    """Earlier commits are pushed even if there is nothing new to commit."""
    rotation.rotate_due(vault.context())

    outcome = rotation.rotate_due(vault.context(), push=True)

    assert (outcome.commit, outcome.pushed) == (None, True)
    assert tip(origin, vault) == vault.head


def test_diverged(vault: Vault, origin: Path) -> None:
    """If the branches diverged, the hint says how to join them, and nothing is written on either side."""
    colleague = vault.clone("colleague", source=origin)
    keys.add_set(colleague.context(), "reports", spec=key_spec("ES256"), push=True)
    rotation.rotate_due(vault.context())
    before = untouched(vault)

    with fails("branch-diverged", GitError) as caught:
        keys.add_set(vault.context(), "mail", spec=key_spec("ES256"), push=True)

    assert "git switch -C main origin/main" in str(caught.value.hint)
    assert untouched(vault) == before
    assert tip(origin, vault) == colleague.head
    vault.git("switch", "--quiet", "-C", "main", "origin/main")
    keys.add_set(vault.context(), "mail", spec=key_spec("ES256"), push=True)
    assert tip(origin, vault) == vault.head


def test_diverged_with_commits_of_the_user(vault: Vault, origin: Path) -> None:
    """The user's own commits must not be dropped: the hint is a rebase."""
    colleague = vault.clone("colleague", source=origin)
    keys.add_set(colleague.context(), "reports", spec=key_spec("ES256"), push=True)
    vault.commit({"README.md": "# Mine\n"})

    with fails("branch-diverged", GitError) as caught:
        keys.add_set(vault.context(), "mail", spec=key_spec("ES256"), push=True)

    assert caught.value.hint == "git pull --rebase origin"


def test_pushes_to_another_repository(vault: Vault, origin: Path, tmp_path: Path) -> None:
    """If the push URL names another repository, every push loses a race; the command stops with an error."""
    elsewhere = tmp_path / "elsewhere.git"
    run_git(vault.top, vault.environ, "clone", "--quiet", "--bare", str(origin), str(elsewhere))
    colleague = vault.clone("colleague", source=elsewhere)
    keys.add_set(colleague.context(), "reports", spec=key_spec("ES256"), push=True)
    vault.git("remote", "set-url", "--push", "origin", str(elsewhere))

    with fails("remote-url-differs", GitError) as caught:
        keys.add_set(vault.context(), "mail", spec=key_spec("ES256"), push=True)

    assert "git remote set-url --push origin URL" in str(caught.value.hint)


@pytest.mark.parametrize(
    ("name", "value", "instead"),
    [
        ("core.sshCommand", "ssh -i key", "GIT_SSH_COMMAND"),
        ("credential.helper", "store", "git config --global credential.helper"),
        ("core.askPass", "/bin/true", "GIT_ASKPASS"),
    ],
)
def test_a_program_that_the_repository_names(vault: Vault, name: str, value: str, instead: str) -> None:
    """It is not started: the error names the ignored setting, and the hint replaces it."""
    vault.git("remote", "add", "origin", "ssh://nobody@localhost:1/nothing.git")
    vault.git("config", name, value)

    with fails("remote-failed", GitError) as caught:
        rotation.rotate(vault.context(), ["id-token"], forced="a drill", push=True)

    assert f"{name.lower()} of this repository" in caught.value.message
    assert instead in str(caught.value.hint)


def test_a_url_of_two_lines(vault: Vault) -> None:
    """Git lists each remote on a line, so such a URL could look like another one."""
    vault.git("config", "remote.origin.url", "elsewhere\n/inside")
    with fails("remote-url-invalid", GitError):
        rotation.rotate(vault.context(), ["id-token"], forced="a drill", push=True)


def test_the_remote_is_empty(vault: Vault) -> None:
    """The first push creates the branch on the remote."""
    bare = vault.top / "empty.git"
    run_git(vault.top, vault.environ, "init", "--quiet", "--bare", str(bare))
    vault.git("remote", "add", "origin", str(bare))

    outcome = rotation.rotate_due(vault.context(), push=True)

    assert outcome.pushed
    assert tip(bare, vault) == vault.head
    assert len(run_git(bare, vault.environ, "rev-list", "main").splitlines()) == 2


def test_another_branch(vault: Vault, origin: Path) -> None:
    """A push uses the remote and the branch that are configured, even with capitals and slashes in their names."""
    other = vault.add_remote("Other", vault.top / "other.git")
    vault.git("checkout", "--quiet", "-b", "Feature/Keys")
    vault.git("config", "branch.Feature/Keys.remote", "Other")
    vault.git("config", "branch.Feature/Keys.merge", "refs/heads/Trunk/Keys")
    vault.git("config", "branch.feature/keys.remote", "origin")
    vault.git("config", "branch.feature/keys.merge", "refs/heads/elsewhere")

    outcome = rotation.rotate_due(vault.context(), push=True)

    assert tip(other, vault, "Trunk/Keys") == outcome.commit == vault.head
    assert run_git(origin, vault.environ, "for-each-ref", "--format=%(refname)") == "refs/heads/main"


def test_from_a_linked_worktree(vault: Vault, origin: Path) -> None:
    """Pushing works from a linked worktree."""
    other = Vault(vault.top / "other", vault.environ, vault.now)
    vault.git("worktree", "add", "--quiet", "-b", "side", str(other.folder))

    outcome = rotation.rotate_due(other.context(), push=True)

    assert tip(origin, vault, "side") == outcome.commit == other.head
    assert other.status == []


def test_from_a_bare_clone(vault: Vault, origin: Path) -> None:
    """Pushing works from a bare clone, such as on a server."""
    bare = vault.clone("bare.git", "--bare", source=origin)

    outcome = rotation.rotate_due(bare.context(), push=True)

    assert tip(origin, vault) == outcome.commit == bare.head


def test_from_a_shallow_clone(vault: Vault, origin: Path) -> None:
    """Rotating needs no history: a scheduled job may use a clone of depth one."""
    rotation.rotate_due(vault.context(), push=True)
    shallow = vault.clone("shallow", "--depth=1", source=f"file://{origin}")

    outcome = rotation.rotate(shallow.wait(DAY).context(), [], push=True)

    assert tip(origin, vault) == outcome.commit == shallow.head


def test_from_a_shallow_clone_that_is_behind(vault: Vault, origin: Path) -> None:
    """A shallow clone that is behind the remote is updated."""
    rotation.rotate_due(vault.context(), push=True)
    shallow = vault.clone("shallow", "--depth=1", source=f"file://{origin}")
    keys.add_set(vault.context(), "reports", spec=key_spec("ES256"), push=True)

    outcome = rotation.rotate(shallow.wait(DAY).context(), ["id-token"], push=True)

    assert tip(origin, vault) == outcome.commit == shallow.head
    assert shallow.status == []


def test_sha256(tmp_path: Path, environ: dict[str, str]) -> None:
    """Pushing works between SHA-256 repositories."""
    folder = tmp_path / "vault"
    run_git(tmp_path, environ, "init", "--quiet", "--object-format=sha256", "--initial-branch=main", str(folder))
    vault = make_vault(tmp_path, environ=environ)
    bare = vault.publish_to("origin.git", "--object-format=sha256")

    outcome = rotation.rotate_due(vault.context(), push=True)

    assert tip(bare, vault) == outcome.commit == vault.head


def test_inside_a_git_hook(vault: Vault, origin: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The variables that git sets for its hooks do not lead into another repository."""
    other = make_vault(vault.top / "another")
    for name, value in {
        "GIT_DIR": str(other.git_dir),
        "GIT_WORK_TREE": str(other.folder),
        "GIT_INDEX_FILE": str(other.git_dir / "index"),
        "GIT_OBJECT_DIRECTORY": str(other.git_dir / "objects"),
    }.items():
        monkeypatch.setenv(name, value)
        vault.environ[name] = value
    before = untouched(other)

    outcome = rotation.rotate_due(vault.context(), push=True)

    for name in ("GIT_DIR", "GIT_WORK_TREE", "GIT_INDEX_FILE", "GIT_OBJECT_DIRECTORY"):
        del vault.environ[name]
    assert tip(origin, vault) == outcome.commit == vault.head
    assert untouched(other) == before


# --- refusals -------------------------------------------------------------------------------------------


def test_no_remote(vault: Vault) -> None:
    """Without a remote, the hint adds one, and nothing is written."""
    before = untouched(vault)

    with fails("remote-missing", GitError) as caught:
        rotation.rotate_due(vault.context(), push=True)

    assert "'origin'" in caught.value.message
    assert caught.value.hint == "git remote add origin URL"
    assert untouched(vault) == before


@pytest.mark.parametrize("name", ["-evil", "--upload-pack=evil", "nowhere", "ключ\x1b[31m"])
def test_an_unknown_remote(vault: Vault, origin: Path, name: str) -> None:
    """If the branch follows an unknown remote, the error names it in printable characters."""
    vault.git("config", "branch.main.remote", name)

    with fails("remote-missing", GitError) as caught:
        rotation.rotate_due(vault.context(), push=True)

    assert "\x1b" not in caught.value.message
    assert name.partition("\x1b")[0] in caught.value.message


def test_the_remote_is_gone(vault: Vault, origin: Path) -> None:
    """If the remote cannot be reached, the error is one line with a hint, and nothing is written."""
    shutil.rmtree(origin)
    before = untouched(vault)

    with fails("remote-failed", GitError) as caught:
        rotation.rotate_due(vault.context(), push=True)

    assert "fetch origin/main" in caught.value.message
    assert "\n" not in caught.value.message
    assert caught.value.hint == "check the remote: git remote -v"
    assert untouched(vault) == before


def test_a_transport_that_starts_programs(vault: Vault, origin: Path) -> None:
    """A URL that names a program is refused, even if the repository allows it; the user may allow it."""
    vault.git("config", "remote.origin.url", f"ext::git %S {origin}")
    vault.git("config", "protocol.ext.allow", "always")

    with fails("remote-failed", GitError) as caught:
        rotation.rotate_due(vault.context(), push=True)

    assert "transport 'ext'" in caught.value.message
    assert "GIT_ALLOW_PROTOCOL=file:git:http:https:ssh:NAME" in str(caught.value.hint)


@pytest.mark.parametrize(
    ("script", "hint"),
    [
        ("echo 'rejected: too late in the day' >&2\nexit 1\n", "hook of the remote"),
        (
            "echo 'error: GH006: Protected branch update failed for refs/heads/main.' >&2\nexit 1\n",
            "branch is protected",
        ),
        ("printf '\\033[31mred\\007\\n' >&2\nexit 1\n", "hook of the remote"),
    ],
)
@pytest.mark.parametrize("name", ["pre-receive", "update"])
def test_the_remote_declines(vault: Vault, origin: Path, name: str, script: str, hint: str) -> None:
    """If a hook or a rule of the remote declines, both sides stay unchanged, and the hint names the cause."""
    hook(origin, name, script)
    before, there = untouched(vault), tip(origin, vault)

    with fails("push-refused", GitError) as caught:
        rotation.rotate_due(vault.context(), push=True)

    assert caught.value.message.startswith("origin/main ")
    assert caught.value.message.isprintable()
    assert hint in str(caught.value.hint)
    assert not isinstance(caught.value, ConflictError)
    assert (untouched(vault), tip(origin, vault)) == (before, there)


def test_a_dirty_record_stops_before_the_push(vault: Vault, origin: Path) -> None:
    """Uncommitted changes of a record stop the command before anything is pushed."""
    path = vault.next().path
    vault.write(path, "mine\n")
    there = tip(origin, vault)

    with fails("uncommitted-changes", GitError):
        rotation.rotate_due(vault.context(), push=True)

    assert tip(origin, vault) == there
    assert vault.files()[path] == b"mine\n"


def test_a_detached_head_is_not_pushed(vault: Vault, origin: Path) -> None:
    """A detached HEAD belongs to no branch, so nothing is pushed."""
    vault.git("checkout", "--quiet", "--detach")

    with fails("head-detached", GitError):
        rotation.rotate_due(vault.context(), push=True)


# --- somebody is faster ---------------------------------------------------------------------------------


def race(vault: Vault, origin: Path, times: int) -> list[str | None]:
    """Push while a colleague is faster *times* times; return the heads that were planned on."""
    colleague = vault.clone("colleague", source=origin)
    bases: list[str | None] = []

    with pytest.MonkeyPatch.context() as patch, transaction.transaction(vault.repository, push=True) as changes:
        patch.setattr(transaction, "PUSH_WAIT_MAX", 0.01)  # the colleague is as fast as we are slow
        for head in changes.heads():
            bases.append(head.commit)
            if len(bases) <= times:
                colleague.commit({f"faster-{len(bases)}.txt": "x\n"}, f"faster {len(bases)}")
                colleague.git("push", "--quiet")
            changes.write(Draft({"mine.txt": b"%d\n" % len(bases)}, "mine\n", vault.now))
    return bases


def test_a_lost_race_is_planned_again(vault: Vault, origin: Path) -> None:
    """If a colleague pushes between fetch and push, the command plans again on their commit."""
    bases = race(vault, origin, 3)

    assert len(set(bases)) == 4
    assert vault.log[:4] == ["mine", "faster 3", "faster 2", "faster 1"]
    assert tip(origin, vault) == vault.head
    assert vault.status == []


def test_a_race_that_is_lost_every_time(vault: Vault, origin: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """If every try loses a race, the command fails; the local branch stays unchanged."""
    monkeypatch.setattr(transaction._PushingTransaction, "tries", 3)
    before = untouched(vault)

    with fails("push-conflict", ConflictError) as caught:
        race(vault, origin, 3)

    assert "origin/main" in caught.value.message
    assert "3 times" in caught.value.message
    assert caught.value.hint == "run the command again"
    assert untouched(vault) == before


def test_the_local_branch_moves_during_the_push(vault: Vault, origin: Path) -> None:
    """If somebody commits locally during the push, a warning says that the commit is on the remote."""
    with transaction.transaction(vault.repository, push=True) as changes:
        for _ in changes.heads():
            vault.git("commit", "--quiet", "--allow-empty", "-m", "meanwhile")
            changes.write(Draft({"mine.txt": b"1\n"}, "mine\n", vault.now))

    assert changes.pushed
    assert changes.warnings == ("the commit is on origin/main, but the local branch moved meanwhile: git pull",)
    assert tip(origin, vault) == changes.commit
    assert vault.log[0] == "meanwhile"


# --- late pushes ----------------------------------------------------------------------------------------


def test_a_rotation_that_is_pushed_late_keeps_its_key_for_longer(vault: Vault, origin: Path) -> None:
    """Signers used the old key until the push, so the time for which it is kept counts from there."""
    old = vault.active().kid
    rotation.rotate(vault.context(), ["id-token"], forced="a drill")
    vault.wait(90 * MINUTE)

    outcome = rotation.rotate_due(vault.context(), push=True)

    key = vault.state().keys[old]
    assert [event.event for event in key.events[-2:]] == ["deactivated", "repaired"]
    assert key.life.keep_until == vault.now + 2 * HOUR + 10 * MINUTE
    assert "was pushed late" in str(key.events[-1].note)
    assert outcome.pushed
    assert tip(origin, vault) == vault.head
    assert "Keyvault-Event: repaired id-token/" in vault.git("log", "-1", "--format=%B")
    assert audit(vault.context()).errors == ()
    assert rotation.rotate_due(vault.context(), push=True).commit is None


def test_a_rotation_that_is_pushed_soon_is_left_alone(vault: Vault, origin: Path) -> None:
    """A delay within the clock skew changes nothing."""
    rotation.rotate(vault.context(), ["id-token"], forced="a drill")
    vault.wait(10 * MINUTE)
    outcome = rotation.rotate_due(vault.context(), push=True)
    assert {event.event for _, event in outcome.events} == {"published"}
    assert tip(origin, vault) == vault.head


def test_a_key_that_was_withdrawn_before_its_rotation_was_pushed(vault: Vault, origin: Path) -> None:
    """Signers of the remote still use it: nothing is pushed, and the hint drops the commits."""
    rotation.rotate(vault.context(), ["id-token"], forced="a drill")
    rotation.rotate_due(vault.wait(3 * HOUR).context())
    before = tip(origin, vault)

    with fails("withdrawal-unpushed", GateError) as caught:
        rotation.rotate_due(vault.context(), push=True)

    assert (
        caught.value.hint == "git update-index -q --refresh; git reset --keep @{upstream}; then run the command again"
    )
    assert tip(origin, vault) == before
    vault.git("update-index", "-q", "--refresh")
    vault.git("reset", "--quiet", "--keep", "@{upstream}")
    rotation.rotate(vault.context(), ["id-token"], forced="a drill", push=True)


def test_a_revocation_that_the_remote_has_already(vault: Vault, origin: Path) -> None:
    """A clone that is behind follows the revocation, so that it no longer signs with the key."""
    behind = vault.clone("behind", source=origin)
    kid = vault.active().kid
    rotation.revoke(vault.context(), kid, reason="compromised", push=True)

    outcome = rotation.revoke(behind.context(), kid, reason="compromised", push=True)

    assert (outcome.commit, behind.head, behind.status) == (None, vault.head, [])
    assert kid in outcome.warnings[0]
    assert behind.active().kid != kid
    with fails("key-ended", UsageError):
        rotation.revoke(behind.context(), kid, reason="compromised", push=True)


# --- the amount of work ---------------------------------------------------------------------------------


def test_a_push_reads_everything_once(vault: Vault, origin: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A push needs 15 git processes if it neither signs nor merges, and hashes each file of the draft once."""
    started: list[str] = []
    hashed: list[str] = []
    start, hash_file = subprocess.Popen.__init__, worktree.hash_file

    def counted(self: Any, arguments: Any, *rest: Any, **options: Any) -> None:
        started.append(arguments[1])
        start(self, arguments, *rest, **options)

    def noted(target: str, like: str | None, object_format: str) -> str | None:
        hashed.append(target)
        return hash_file(target, like, object_format)

    context = vault.context()
    rotation.rotate(vault.context(), ["access-token"], forced="GitPython is imported", push=True)
    context = vault.context(look=serving(vault.state()))
    monkeypatch.setattr(subprocess.Popen, "__init__", counted)
    monkeypatch.setattr(worktree, "hash_file", noted)

    rotation.rotate(context, ["id-token"], forced="a drill", push=True)

    # Opening the context, before the count, needs one process more.
    assert len(started) + 1 <= 15, started
    assert len(hashed) == len(set(hashed)) == 3
