"""A plan becomes one commit; index and working tree are updated, and the user's changes are never touched."""

from __future__ import annotations

import os
import shutil
import subprocess
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path

import pytest

from keyvault.core.algorithms import key_spec
from keyvault.errors import ConflictError, GitError
from keyvault.operations import keys, recipients, rotation
from keyvault.repo.transaction import transaction
from keyvault.repo.vault import Draft
from tests.errors import fails
from tests.vaults import DAY, HOUR, MINUTE, Vault, make_vault


def seen(vault: Vault) -> Vault:
    """Let the next keys be seen live, and wait until they may sign."""
    rotation.rotate_due(vault.context())
    return vault.wait(DAY)


def changed(vault: Vault, revision: str = "HEAD") -> set[str]:
    """Return the paths that a commit changed."""
    return set(vault.git("show", "--format=", "--name-only", revision).splitlines())


def staged(vault: Vault) -> list[str]:
    return vault.git("ls-files", "--stage").splitlines()


# --- the content of a commit ----------------------------------------------------------------------------


def test_one_commit_for_all_sets(vault: Vault) -> None:
    """All due transitions of all sets are one commit, and the working tree is clean after it."""
    seen(vault).wait(89 * DAY)
    before = vault.head

    outcome = rotation.rotate_due(vault.context())

    assert vault.git("rev-list", "--parents", "-1", "HEAD").split() == [outcome.commit, before]
    assert changed(vault) == {key.path for key, _ in outcome.events}
    assert len({event.event for _, event in outcome.events}) > 2
    assert vault.status == []


def test_nothing_to_do_is_no_commit(vault: Vault) -> None:
    """If there is nothing to do, no commit is written."""
    first = rotation.rotate_due(vault.context())

    second = rotation.rotate_due(vault.context())

    assert (second.commit, vault.head) == (None, first.commit)
    assert not (vault.git_dir / "keyvault.journal").exists()


def test_the_working_tree_equals_the_commit(vault: Vault) -> None:
    """After a commit, every file of the vault on disk equals the committed one, byte for byte."""
    seen(vault)
    rotation.rotate(vault.context(), [])

    for path, data in vault.files().items():
        assert vault.git("hash-object", "--stdin", "--no-filters", stdin=data) == vault.git("rev-parse", f"HEAD:{path}")


def test_dates_are_the_instant_of_the_command(vault: Vault) -> None:
    """Author and committer date are the instant of the command in UTC, whatever the time zone of the machine."""
    vault.environ["TZ"] = "Pacific/Kiritimati"
    vault.environ["GIT_AUTHOR_DATE"] = vault.environ["GIT_COMMITTER_DATE"] = "2001-01-01T00:00:00+05:00"
    vault.wait(HOUR)

    rotation.rotate_due(vault.context())

    expected = vault.now.strftime("%Y-%m-%dT%H:%M:%S+00:00").replace("+00:00", "Z")
    dates = vault.git("log", "-1", "--format=%aI %cI").replace("+00:00", "Z").split()
    assert dates == [expected, expected]


def test_a_clock_that_is_a_little_behind(vault: Vault) -> None:
    """If the clock is behind within clock_skew, a commit has the newest instant of the vault: dates never decrease."""
    newest = vault.now
    seen(vault)
    vault.now = newest - 5 * MINUTE

    rotation.revoke(vault.context(), vault.next().kid, reason="unspecified")

    stamp = int(vault.git("log", "-1", "--format=%ct"))
    assert datetime.fromtimestamp(stamp, UTC) == newest


def test_author_and_committer(vault: Vault) -> None:
    """Author and committer come from git's configuration."""
    rotation.rotate_due(vault.context())

    assert vault.git("log", "-1", "--format=%an <%ae>, %cn <%ce>") == (
        "Ada Author <ada@example.com>, Carl Committer <carl@example.com>"
    )


def trailers(vault: Vault) -> list[str]:
    return vault.git("log", "-1", "--format=%(trailers:key=Keyvault-Event,valueonly)").split("\n")


def test_a_trailer_for_each_event(vault: Vault) -> None:
    """Each event is a trailer, so that `git log` can be searched for a key or a kind of event."""
    seen(vault)
    active, following = vault.active(), vault.next()

    outcome = rotation.rotate(vault.context(), ["id-token"])

    fresh = vault.next()
    assert [line for line in trailers(vault) if line] == [
        f"activated id-token/{following.kid}",
        f"deactivated id-token/{active.kid}",
        f"created id-token/{fresh.kid}",
    ]
    assert len(outcome.events) == 3
    assert vault.log[0] == "rotate id-token"


def test_reasons_are_in_the_message(vault: Vault) -> None:
    """The user's reason is in the body, and a trailer says that a gate was forced."""
    rotation.rotate(vault.context(), ["id-token"], forced="laptop stolen: Keyvault-Event: revoked x/y")

    assert vault.git("log", "-1", "--format=%b").startswith("laptop stolen: Keyvault-Event: revoked x/y\n")
    assert f"activated id-token/{vault.active().kid} (forced)" in trailers(vault)
    assert not any(line.startswith("revoked") for line in trailers(vault))


def test_a_revocation_names_its_reason(vault: Vault) -> None:
    """The message of a revocation names the key, its set and the reason."""
    kid = vault.active().kid
    rotation.revoke(vault.context(), kid, reason="compromised", note="found in a debug log")

    assert vault.log[0] == f"revoke {kid[:12]} of id-token: compromised"
    assert f"revoked id-token/{kid} compromised" in trailers(vault)
    assert "found in a debug log" in vault.git("log", "-1", "--format=%b")


def test_the_reflog_names_the_tool(vault: Vault) -> None:
    """`git reflog` shows the steps of keyvault, for HEAD and for the branch."""
    rotation.rotate_due(vault.context())

    for ref in ("HEAD", "main"):
        assert vault.git("reflog", "-1", "--format=%gs", ref) == "keyvault: record receipt for id-token, access-token"


def test_no_reflog_is_kept(vault: Vault) -> None:
    """Even a repository without reflogs gets one for our commits, so that they can be found."""
    vault.git("config", "core.logAllRefUpdates", "false")

    assert rotation.rotate_due(vault.context()).commit == vault.head


def test_text_in_many_scripts(vault: Vault) -> None:
    """Notes may be in any script, whatever the locale and the encoding that the repository configures."""
    vault.git("config", "i18n.commitEncoding", "ISO-8859-1")
    vault.environ |= {"LANG": "C", "LC_ALL": "C"}

    rotation.revoke(vault.context(), vault.next().kid, reason="superseded", note="ключ — 鍵 — مفتاح")

    assert "ключ — 鍵 — مفتاح" in vault.git("cat-file", "commit", "HEAD")
    assert "encoding" not in vault.git("cat-file", "commit", "HEAD").partition("\n\n")[0]


# --- the user's own changes -----------------------------------------------------------------------------


def test_other_changes_of_the_user_stay(vault: Vault) -> None:
    """Modified, staged, deleted and untracked files of the user stay unchanged and are not committed."""
    for name in ("modified", "staged", "both", "deleted", "unstaged-new"):
        vault.write(f"docs/{name}.txt", "old\n")
    vault.git("add", "docs")
    vault.git("commit", "--quiet", "-m", "docs")
    vault.git("rm", "--quiet", "--cached", "docs/unstaged-new.txt")
    vault.write("docs/modified.txt", "new\n")
    vault.write("docs/staged.txt", "new\n")
    vault.write("docs/both.txt", "staged\n")
    vault.git("add", "docs/staged.txt", "docs/both.txt")
    vault.write("docs/both.txt", "newer\n")
    vault.git("rm", "--quiet", "docs/deleted.txt")
    vault.write("untracked.txt", "new\n")
    vault.write("intended.txt", "new\n")
    vault.git("add", "--intent-to-add", "intended.txt")
    status, index = vault.status, staged(vault)

    outcome = rotation.rotate_due(vault.context())

    assert vault.status == status
    assert [line for line in staged(vault) if "keys.enc" not in line] == [
        line for line in index if "keys.enc" not in line
    ]
    assert changed(vault) == {key.path for key, _ in outcome.events}
    assert vault.files()["docs/both.txt"] == b"newer\n"


def test_a_merge_in_progress_stays(vault: Vault) -> None:
    """A rotation does not resolve files in conflict, and does not end the merge."""
    vault.write("doc.txt", "base\n")
    vault.git("add", "doc.txt")
    vault.git("commit", "--quiet", "-m", "base")
    for branch in ("left", "right"):
        vault.git("checkout", "--quiet", "-b", branch, "main")
        vault.write("doc.txt", branch + "\n")
        vault.git("commit", "--quiet", "-am", branch)
    with pytest.raises(AssertionError):
        vault.git("merge", "left")
    status = vault.status
    assert "AA doc.txt" in status or "UU doc.txt" in status

    rotation.rotate_due(vault.context())

    assert vault.status == status
    assert (vault.git_dir / "MERGE_HEAD").exists()


def _modified(vault: Vault, path: str) -> None:
    vault.write(path, (vault.folder / path).read_bytes() + b"\n")


def _staged(vault: Vault, path: str) -> None:
    content = (vault.folder / path).read_bytes()
    _modified(vault, path)
    vault.git("add", path)
    vault.write(path, content)


def _linked(vault: Vault, path: str) -> None:
    target = vault.folder / path
    target.rename(vault.top / "moved")
    target.symlink_to(vault.top / "moved")


def _folder(vault: Vault, path: str) -> None:
    (vault.folder / path).unlink()
    (vault.folder / path).mkdir()


def _pipe(vault: Vault, path: str) -> None:
    (vault.folder / path).unlink()
    os.mkfifo(vault.folder / path)


@pytest.mark.parametrize("dirty", [_modified, _staged, _linked, _folder, _pipe])
def test_uncommitted_changes_of_a_record_stop_the_command(vault: Vault, dirty: object) -> None:
    """The error names a record with the user's changes, and nothing is written."""
    assert callable(dirty)
    path = vault.next().path
    dirty(vault, path)
    before = (vault.head, vault.status, staged(vault), vault.files())

    with fails("uncommitted-changes", GitError) as caught:
        rotation.rotate_due(vault.context())

    assert caught.value.message.endswith(f" {path}")
    assert caught.value.hint == f"commit them, or: git restore --staged --worktree :/{path}"
    assert (vault.head, vault.status, staged(vault), vault.files()) == before


@pytest.mark.parametrize("dirty", [_modified, _staged])
def test_uncommitted_changes_of_the_policy_stop_commands_that_edit_it(vault: Vault, dirty: object) -> None:
    """An edit of keyvault.toml would overwrite the user's own edit: the command stops and names the file."""
    assert callable(dirty)
    dirty(vault, "keyvault.toml")
    before = (vault.head, vault.status, staged(vault), vault.files())

    with fails("uncommitted-changes", GitError) as caught:
        keys.add_set(vault.context(), "reports", spec=key_spec("ES256"))

    assert caught.value.message.endswith(" keyvault.toml")
    assert (vault.head, vault.status, staged(vault), vault.files()) == before


def test_many_dirty_files_are_counted(vault: Vault) -> None:
    """The error names the first five of many files, and counts the others."""
    for number in range(4):
        keys.add_set(vault.context(), f"set-{number}", spec=key_spec("ES256"))
    for key in vault.state().keys.values():
        _modified(vault, key.path)
    recipient, _path = recipients.create_identity(vault.environ, kid="bea", output=vault.top / "bea.json")

    with fails("uncommitted-changes", GitError) as caught:
        recipients.add_recipient(vault.context(), recipient)

    assert caught.value.message.endswith(" and 7 more")


def test_an_untracked_file_is_in_the_way(vault: Vault) -> None:
    """The error names an untracked file at the path of a new one; the file is not overwritten."""
    vault.write("keys.enc/README.md", "committed\n")
    vault.git("commit", "--quiet", "-am", "readme")
    vault.write("notes.txt", "mine\n")

    with fails("uncommitted-changes", GitError) as caught:
        vault.commit({"notes.txt": "theirs\n"})

    assert caught.value.message.endswith(" notes.txt")
    assert vault.files()["notes.txt"] == b"mine\n"


def test_a_file_in_the_place_of_a_folder_is_in_the_way(vault: Vault) -> None:
    """If the records of a set cannot be written, nothing is written."""
    (folder := vault.folder / "keys.enc" / "id-token").rename(vault.top / "moved")
    folder.write_text("mine\n")
    before = vault.head, vault.status, vault.files()

    with fails("uncommitted-changes", GitError) as caught:
        rotation.rotate(vault.context(), ["id-token"], forced="a drill")

    assert " keys.enc/id-token/" in caught.value.message
    assert (vault.head, vault.status, vault.files()) == before


def test_deleted_files_are_not_restored(vault: Vault) -> None:
    """A record that the user removed from the working tree stays removed there; the commit contains it."""
    path = vault.next().path
    (vault.folder / path).unlink()

    outcome = rotation.rotate_due(vault.context())

    assert outcome.commit == vault.head
    assert vault.status == [f" D {path}"]
    assert any(path in warning for warning in outcome.warnings)


def test_the_last_record_of_a_set_leaves_no_empty_folder(vault: Vault) -> None:
    """A folder is removed with its last file, as git does."""
    vault.commit({"notes/deep/one.txt": "1"})
    assert (vault.folder / "notes" / "deep" / "one.txt").exists()

    vault.commit({"notes/deep/one.txt": None})

    assert not (vault.folder / "notes").exists()
    assert vault.status == []


def test_another_process_holds_the_index(vault: Vault) -> None:
    """While a `git commit` has its editor open, nothing is written; the error names the lock."""
    lock = vault.git_dir / "index.lock"
    lock.write_text("")
    before = vault.head

    with fails("git-locked", GitError) as caught:
        rotation.rotate_due(vault.context())

    assert str(lock) in caught.value.message
    assert (vault.head, lock.exists()) == (before, True)


# --- line ends, modes -----------------------------------------------------------------------------------


@pytest.mark.parametrize("value", ["true", "input"])
def test_autocrlf(tmp_path: Path, value: str) -> None:
    """With core.autocrlf, on or only for input, a vault stays clean when it is created, cloned and rotated."""
    settings = tmp_path / "gitconfig"
    settings.write_text(f"[core]\n\tautocrlf = {value}\n")
    vault = make_vault(tmp_path, environ={"GIT_CONFIG_GLOBAL": str(settings)})
    clone = vault.clone("clone")

    for each in (vault, clone):
        seen(each)
        rotation.rotate(each.context(), [])
        keys.add_set(each.context(), "reports", spec=key_spec("ES256"))
        assert each.status == []


def test_autocrlf_without_attributes(vault: Vault) -> None:
    """If .gitattributes was lost and a checkout has CRLF, that alone does not count as a change of the user's."""
    vault.commit({".gitattributes": None})
    vault.git("config", "core.autocrlf", "true")
    for path in vault.git("ls-files").splitlines():
        (vault.folder / path).unlink()
    vault.git("checkout", "--quiet", "--force", "HEAD")
    vault.git("checkout", "--quiet", "--", ".")
    assert b"\r\n" in (vault.folder / vault.next().path).read_bytes()

    seen(vault)
    rotation.rotate(vault.context(), [])

    assert vault.status == []
    assert vault.active().path


def test_the_umask_does_not_affect_the_commit(vault: Vault) -> None:
    """Files of a commit have the mode 100644, whatever the umask."""
    rotation.rotate(vault.context(), [], forced="a drill")

    assert {line.split()[0] for line in vault.git("ls-tree", "-r", "HEAD").splitlines()} == {"100644"}


# --- signatures -----------------------------------------------------------------------------------------


def ssh_signer(top: Path, *, sign: str = "commit.gpgsign=true") -> dict[str, str]:
    """Generate an SSH key, and return an environment in which the user's git signs commits with it."""
    key = top / "home" / "signer"
    key.parent.mkdir(parents=True, exist_ok=True)
    subprocess.run(["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", str(key)], check=True)
    allowed = top / "home" / "allowed_signers"
    allowed.write_text(f"carl@example.com {key.with_suffix('.pub').read_text()}")
    settings = top / "gitconfig"
    name, _, value = sign.partition("=")
    section, _, member = name.partition(".")
    settings.write_text(
        f"[gpg]\n\tformat = ssh\n[user]\n\tsigningkey = {key}\n[{section}]\n\t{member} = {value}\n"
        f'[gpg "ssh"]\n\tallowedSignersFile = {allowed}\n'
    )
    return {"GIT_CONFIG_GLOBAL": str(settings)}


needs_ssh_keygen = pytest.mark.skipif(shutil.which("ssh-keygen") is None, reason="no ssh-keygen on the PATH")


@needs_ssh_keygen
def test_commits_are_signed(tmp_path: Path) -> None:
    """If the user's git signs commits, all commits are signed, and `git verify-commit` accepts them."""
    vault = make_vault(tmp_path, environ=ssh_signer(tmp_path))
    rotation.rotate_due(vault.context())

    for commit in vault.git("rev-list", "HEAD").split():
        vault.git("verify-commit", commit)


@needs_ssh_keygen
@pytest.mark.parametrize("setting", ["commit.gpgsign=false", "commit.gpgsign=", "commit.other=true"])
def test_commits_are_not_signed_unasked(tmp_path: Path, setting: str) -> None:
    """If the user's git does not sign commits, they are not signed."""
    vault = make_vault(tmp_path, environ=ssh_signer(tmp_path, sign=setting))

    assert "gpgsig" not in vault.git("cat-file", "commit", "HEAD")


@needs_ssh_keygen
def test_signing_fails(vault: Vault) -> None:
    """If signing fails, nothing is written, and the hint names the settings to check."""
    vault.environ |= ssh_signer(vault.top)
    vault.publish_to()
    (vault.top / "home" / "signer").unlink()
    before = (vault.head, vault.status, staged(vault), vault.files(), vault.git("ls-remote", "origin"))

    for push in (False, True):
        with fails("git-failed", GitError) as caught:
            rotation.rotate_due(vault.context(), push=push)

        assert "\n" not in caught.value.message
        assert "user.signingkey" in str(caught.value.hint)
    assert (vault.head, vault.status, staged(vault), vault.files(), vault.git("ls-remote", "origin")) == before
    assert not (vault.git_dir / "keyvault.journal").exists()


# --- somebody is faster ---------------------------------------------------------------------------------


def racing(vault: Vault, times: int) -> list[str | None]:
    """Commit while somebody else is faster *times* times; return the heads that were planned on."""
    heads: list[str | None] = []

    with transaction(vault.repository) as changes:
        for head in changes.heads():
            heads.append(head.commit)
            if len(heads) <= times:
                vault.git("commit", "--quiet", "--allow-empty", "-m", f"faster {len(heads)}")
            changes.write(Draft({"mine.txt": b"%d\n" % len(heads)}, "mine\n", vault.now))
    return heads


def test_a_lost_race_is_planned_again(vault: Vault) -> None:
    """If somebody commits between plan and commit, the command plans again on the new head, so nothing is lost."""
    first = vault.head

    heads = racing(vault, 2)

    assert heads[0] == first
    assert len(set(heads)) == 3
    assert vault.log[:3] == ["mine", "faster 2", "faster 1"]
    assert (vault.files()["mine.txt"], vault.status) == (b"3\n", [])


def test_a_race_that_is_lost_every_time(vault: Vault) -> None:
    """After five lost races the command fails and has written nothing."""
    with fails("branch-moved", ConflictError) as caught:
        racing(vault, 5)

    assert "main" in caught.value.message
    assert caught.value.hint == "run the command again"
    assert vault.log[0] == "faster 5"
    assert vault.status == []
    assert not (vault.git_dir / "keyvault.journal").exists()


# --- incomplete objects ---------------------------------------------------------------------------------


def everything(folder: Path) -> set[str]:
    return {path.relative_to(folder).as_posix() for path in folder.rglob("*")}


@pytest.mark.parametrize("error", [KeyboardInterrupt, MemoryError])
def test_an_interrupted_write_leaves_no_objects(vault: Vault, error: type[BaseException]) -> None:
    """If git ends in the middle of a pack, nothing of it stays."""
    git = vault.repository.git
    before = everything(vault.git_dir)

    def files() -> Iterator[tuple[str, bytes | None]]:
        for number in range(2_000):
            yield f"{number}.txt", b"%d" % number * 1_000
        raise error

    with pytest.raises(error):
        git.write_tree(vault.head, files())

    assert everything(vault.git_dir) == before


@pytest.mark.parametrize("count", [1, 3, 300])
def test_objects_are_stored(vault: Vault, count: int) -> None:
    """Few objects are stored as files, many as a pack; git can read them all, and nothing else is left."""
    git = vault.repository.git
    tree = git.write_tree(vault.head, ((f"new/{number}.txt", b"%d\n" % number) for number in range(count)))
    again = git.write_tree(vault.head, ((f"new/{number}.txt", b"%d\n" % number) for number in range(count)))

    assert tree == again
    assert len(vault.git("ls-tree", "-r", "--name-only", tree, "new/").splitlines()) == count
    assert vault.git("cat-file", "-p", f"{tree}:new/{count - 1}.txt") == str(count - 1)
    vault.git("fsck", "--strict")
    assert not list(vault.git_dir.glob("keyvault-objects-*"))


def test_a_folder_with_a_colon(tmp_path: Path) -> None:
    """A colon separates folders in a list; here it is part of a name."""
    vault = make_vault(tmp_path, folder='a:b "c"')
    rotation.rotate(vault.context(), [], forced="a drill")

    assert vault.status == []


def test_a_folder_of_objects_that_a_killed_run_left(vault: Vault) -> None:
    """It is removed once it is too old for a running process."""
    old, new = (vault.git_dir / f"keyvault-objects-{name}" for name in ("old", "new"))
    for folder in (old, new):
        (folder / "pack").mkdir(parents=True)
        (folder / "pack" / "tmp_pack_x").touch()
    os.utime(old, (0, 0))
    rotation.rotate(vault.context(), [], forced="a drill")

    assert (old.exists(), new.exists()) == (False, True)
