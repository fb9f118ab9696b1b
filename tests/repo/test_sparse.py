"""A sparse checkout stays sparse, and for a partial clone the hint completes it."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import pytest

from keyvault.core.algorithms import key_spec
from keyvault.errors import GitError
from keyvault.operations import keys, rotation
from keyvault.repo.git import Git
from tests.errors import fails
from tests.vaults import HOUR, Vault, make_vault


@pytest.fixture
def sparse(vault: Vault) -> Vault:
    """Return a vault whose working tree contains one of its two sets."""
    vault.git("update-index", "-q", "--refresh")  # git removes no file before a refresh
    vault.git("sparse-checkout", "set", "--cone", "keys.enc/id-token")
    assert not (vault.folder / "keys.enc" / "access-token").exists()
    return vault.wait(HOUR)


def rotate(vault: Vault, *names: str) -> None:
    done = rotation.rotate(vault.context(), names, forced="a drill")
    assert done.commit == vault.head
    assert done.warnings == ()


def left_out(vault: Vault) -> list[str]:
    """Return the paths that are in the index but not in the working tree."""
    lines = vault.git("ls-files", "-t").splitlines()
    return [line.removeprefix("S ") for line in lines if line.startswith("S ")]


def committed(vault: Vault, folder: str) -> list[str]:
    return vault.git("ls-tree", "-r", "--name-only", "HEAD", folder + "/").splitlines()


@pytest.mark.parametrize("names", [["access-token"], ["id-token"], []])
def test_what_is_left_out_stays_so(sparse: Vault, names: Sequence[str]) -> None:
    """The new key of a left-out set is left out, too, and nothing seems to be removed."""
    rotate(sparse, *names)

    assert sparse.status == []
    assert left_out(sparse) == committed(sparse, "keys.enc/access-token")
    assert not (sparse.folder / "keys.enc" / "access-token").exists()
    for path in committed(sparse, "keys.enc/id-token"):
        assert (sparse.folder / path).read_text() == sparse.git("show", f"HEAD:{path}") + "\n"


def test_the_rest_can_be_brought_back(sparse: Vault) -> None:
    """After a rotation the whole working tree is that of the commit."""
    rotate(sparse)
    sparse.git("sparse-checkout", "disable")

    assert sparse.status == []
    assert left_out(sparse) == []
    assert all((sparse.folder / path).is_file() for path in committed(sparse, "keys.enc"))


def test_a_file_that_is_there_is_kept_up(sparse: Vault) -> None:
    """A left-out file that the user restored gets its new content."""
    key = sparse.active("access-token")
    sparse.write(key.path, sparse.git("show", f"HEAD:{key.path}") + "\n")
    rotate(sparse)

    assert (sparse.folder / key.path).read_text() == sparse.git("show", f"HEAD:{key.path}") + "\n"
    assert sparse.status == []


def test_a_new_set_is_there(sparse: Vault) -> None:
    """A set without files does not count as left out."""
    keys.add_set(sparse.context(), "refresh", spec=key_spec("ES256"))

    assert sparse.status == []
    assert all((sparse.folder / path).is_file() for path in committed(sparse, "keys.enc/refresh"))


def test_a_changed_file_is_not_overwritten(sparse: Vault) -> None:
    """A user's file at the path of a left-out file stops a rotation."""
    path = sparse.active("access-token").path
    sparse.write(path, "mine\n")
    before = sparse.head
    with fails("uncommitted-changes", GitError):
        rotate(sparse)

    assert sparse.head == before
    assert (sparse.folder / path).read_text() == "mine\n"


def test_death_between_the_two_steps(sparse: Vault, monkeypatch: pytest.MonkeyPatch) -> None:
    """The index is the old one or the new one; the next run finishes the work."""

    class Died(BaseException):
        """Simulates the end of a process."""

    run = Git.run

    def dying(self: Git, *arguments: str, **options: Any) -> bytes:
        if "--skip-worktree" in arguments:
            raise Died
        return run(self, *arguments, **options)

    with monkeypatch.context() as patch:
        patch.setattr(Git, "run", dying)
        with pytest.raises(Died):
            rotate(sparse)
    rotate(sparse.wait(HOUR))

    assert sparse.status == []
    assert left_out(sparse) == committed(sparse, "keys.enc/access-token")
    assert not list(sparse.git_dir.glob("*.lock.lock"))


def test_a_lock_of_another_process(sparse: Vault, monkeypatch: pytest.MonkeyPatch) -> None:
    """The lock of another process stays; the next run updates the working tree."""
    lock, move = sparse.git_dir / "index.lock", Git.move_branch

    def locking(self: Git, *arguments: Any, **options: Any) -> None:
        move(self, *arguments, **options)
        lock.touch()

    monkeypatch.setattr(Git, "move_branch", locking)
    done = rotation.rotate(sparse.context(), [], forced="a drill")
    monkeypatch.undo()

    assert str(lock) in done.warnings[-1]
    assert lock.read_bytes() == b""
    lock.unlink()
    rotate(sparse.wait(HOUR))
    assert sparse.status == []
    assert left_out(sparse) == committed(sparse, "keys.enc/access-token")


def test_partial_clone(tmp_path: Any) -> None:
    """Nothing is fetched automatically: the error names the missing object, and the hint fetches it."""
    vault = make_vault(tmp_path, confirm="commit")
    bare = vault.publish_to()
    vault.git("-C", str(bare), "config", "uploadpack.allowFilter", "true")
    clone = vault.clone("part", "--filter=blob:none", "--sparse", source=bare.as_uri())
    with fails("clone-partial", GitError) as raised:
        clone.state()

    assert raised.value.hint is not None
    for command in raised.value.hint.split("; "):
        clone.git(*command.split()[1:])
    assert clone.state().keys == vault.state().keys
    rotate(clone.wait(HOUR))
    assert clone.status == []
    assert left_out(clone) == committed(clone, "keys.enc")
