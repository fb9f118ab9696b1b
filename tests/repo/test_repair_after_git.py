"""
Repair a vault after merges, rewritten branches, hand edits and wrong clocks.

After one repair, the audit finds no error, no revocation is lost, and the site can be published.
"""

from __future__ import annotations

import subprocess
from pathlib import Path

import pytest

from keyvault.core.algorithms import key_spec
from keyvault.errors import GitError
from keyvault.operations import keys, merge, rotation
from keyvault.operations.repair import repair
from tests.errors import fails
from tests.repo.test_repair import active_of, later, look
from tests.revisions import audit, publish
from tests.vaults import DAY, HOUR, Vault, run_git


@pytest.fixture
def origin(vault: Vault) -> Path:
    return vault.publish_to()


def mend(vault: Vault, *, publishes: bool = True) -> None:
    """Repair once; check that audit and a second repair find nothing, and that the site can be published."""
    done = repair(vault.context())
    assert not done.unresolved
    found = audit(vault.context())
    assert found.errors == (), found.errors
    assert repair(vault.context()).findings == ()
    assert vault.status == []
    if publishes:
        publish(vault.context(), str(vault.top / "www"))


def revoke(vault: Vault, kid: str) -> None:
    rotation.revoke(vault.context(), kid, reason="compromised")


def merge_git(vault: Vault, *arguments: str) -> None:
    """Merge, and leave a conflict unresolved."""
    command = ["git", "merge", "--quiet", "--no-edit", *arguments]
    subprocess.run(command, cwd=vault.folder, env=vault.environ, capture_output=True, check=False)


# --- merges ---------------------------------------------------------------------------------------------


@pytest.mark.parametrize("order", [("rotated", "revoked"), ("revoked", "rotated")])
def test_an_octopus_that_took_nothing_of_its_branches(vault: Vault, order: tuple[str, str]) -> None:
    """If one side revoked the key that the other retired, it is revoked."""
    kid = active_of(vault, "id-token")
    for name in ("rotated", "revoked"):
        vault.git("switch", "--quiet", "-c", name, "main")
        if name == "rotated":
            rotation.rotate(vault.context(), ["id-token"], forced="a drill")
        else:
            revoke(vault, kid)
    vault.git("switch", "--quiet", "main")
    vault.git("merge", "--quiet", "--no-edit", "-s", "ours", *order)

    done = repair(vault.context())

    assert "it is revoked again" in [finding.remedy for finding in done.findings]
    assert look(vault).keys[kid].state == "revoked"
    assert audit(vault.context()).errors == ()


def test_a_conflict_that_was_committed(vault: Vault, origin: Path) -> None:
    """If the records contain conflict markers, our side is restored and the other side's events are taken back."""
    other = vault.clone("other", source=origin)
    rotation.rotate(other.context(), ["id-token"], forced="a drill", push=True)
    rotation.rotate(later(vault, HOUR).context(), ["id-token"], forced="a drill, too")
    vault.git("fetch", "--quiet", "origin")
    merge_git(vault, "origin/main")
    vault.git("add", "--all")
    vault.git("commit", "--quiet", "-m", "merged")
    mend(later(vault, 2 * HOUR))


@pytest.mark.parametrize("driver", [False, True], ids=["ours", "with the driver"])
def test_a_rotation_meets_a_revocation(vault: Vault, origin: Path, driver: bool) -> None:
    """The key stays revoked, and its private half is removed again."""
    other, kid = vault.clone("other", source=origin), active_of(vault, "id-token")
    revoke(other, kid)
    other.git("push", "--quiet", "origin", "main")
    rotation.rotate(vault.context(), ["id-token"], forced="a drill")
    vault.git("fetch", "--quiet", "origin")
    if driver:
        merge.install(vault.folder, vault.environ)
        merge_git(vault, "origin/main")
        vault.git("add", "keys.enc")
        vault.git("commit", "--quiet", "--no-edit", "--no-verify")
    else:
        merge_git(vault, "-s", "ours", "origin/main")

    mend(vault)

    assert (look(vault).keys[kid].state, look(vault).keys[kid].sealed) == ("revoked", False)


@pytest.mark.parametrize("side", ["ours", "theirs"])
@pytest.mark.parametrize("revoked", [False, True], ids=["rotations", "a revocation"])
def test_two_repairs_of_one_merge_meet(vault: Vault, side: str, revoked: bool) -> None:
    """If each side merged and repaired the same two rotations, a third repair takes back the dropped events."""
    kid = active_of(vault, "id-token")
    vault.git("branch", "other")
    rotation.rotate(vault.context(), ["id-token"], forced="a drill")
    vault.git("branch", "first")
    vault.git("switch", "--quiet", "other")
    hours = [later(vault, hour * HOUR) for hour in range(5)]
    if revoked:
        revoke(hours[1], kid)
    else:
        rotation.rotate(hours[1].context(), ["id-token"], forced="a drill, too")
    vault.git("branch", "second")
    merge_git(vault, "-X", "ours", "first")
    repair(hours[2].context())
    vault.git("switch", "--quiet", "main")
    merge_git(vault, "-X", "ours", "second")
    repair(hours[3].context())
    kept = look(vault).keys[kid].life.keep_until
    merge_git(vault, "-X", side, "other")

    mend(hours[4])

    after = look(vault).keys[kid]
    assert after.state == ("revoked" if revoked else "retiring")
    assert revoked or (after.life.keep_until is not None and kept is not None and after.life.keep_until >= kept)


def test_what_a_repair_says_is_what_it_writes(vault: Vault) -> None:
    """Of two next keys, the one that takes over signs; one that is revoked in the same run is not kept."""
    kid = active_of(vault, "id-token")
    vault.git("switch", "--quiet", "--create", "side")
    revoke(vault, kid)
    vault.git("switch", "--quiet", "main")
    rotation.rotate(later(vault, 365 * DAY).context(), ["id-token"], forced="a drill")
    merge_git(vault, "-X", "ours", "side")

    done = repair(later(vault, HOUR).context(), trust_clock=True)

    assert look(vault).keys[kid].state == "revoked"
    assert not any(kid in warning and "stays published" in warning for warning in done.outcome.warnings)
    said = {finding.code: finding.remedy or "" for finding in done.findings}
    signs = look(vault).sets["id-token"].active
    assert signs is not None
    assert f"key {signs.kid[:12]} retires" not in said.get("two-next", "")


def test_a_clock_that_was_ahead_meets_a_merge(vault: Vault, origin: Path) -> None:
    """One commit mends both."""
    other = vault.clone("other", source=origin)
    rotation.rotate(later(vault, 365 * DAY).context(), ["id-token"], forced="a drill")
    rotation.rotate(other.context(), ["id-token"], forced="a drill", push=True)
    vault.git("fetch", "--quiet", "origin")
    merge_git(vault, "-X", "ours", "origin/main")
    context = later(vault, HOUR).context()
    context.server_date = lambda url: context.now
    repair(context)
    found = audit(later(vault, HOUR).context())
    assert found.errors == (), found.errors


def test_a_clock_a_few_hours_ahead_withdrew_a_key(vault: Vault) -> None:
    """If its tokens are still valid, it is published again, and the audit finds no error."""
    kid = active_of(vault, "id-token")
    rotation.rotate(vault.context(), ["id-token"], forced="a drill")
    rotation.rotate_due(later(vault, 5 * HOUR).context())
    assert look(vault).keys[kid].state == "withdrawn"
    now = later(vault, HOUR)
    context = now.context()
    context.server_date = lambda url: now.now

    done = repair(context)

    assert any("is published again until" in warning for warning in done.outcome.warnings)
    assert look(vault).keys[kid].state == "retiring"
    assert audit(now.context()).errors == ()
    publish(now.context(), str(vault.top / "www"))
    served = (vault.top / "www" / ".well-known" / "jwks.json").read_text()
    assert kid in served
    rotation.rotate_due(later(vault, 6 * HOUR).context())
    assert look(vault).keys[kid].state == "withdrawn"
    assert audit(later(vault, 6 * HOUR).context()).errors == ()


# --- branches that have diverged ------------------------------------------------------------------------


@pytest.mark.parametrize("pushed", [True, False], ids=["pushed over", "not pushed"])
def test_a_revocation_must_not_be_dropped(vault: Vault, origin: Path, pushed: bool) -> None:
    """If the branches diverged, the hint merges them; following it keeps the key revoked."""
    other, kid = vault.clone("other", source=origin), active_of(vault, "id-token")
    revoke(vault, kid)
    if pushed:
        vault.git("push", "--quiet", "origin", "main")
        vault.git("fetch", "--quiet", "origin")
    rotation.rotate(later(other, HOUR).context(), ["access-token"], forced="a drill")
    other.git("push", "--quiet", "--force", "origin", "main")

    with fails("branch-diverged", GitError) as caught:
        rotation.rotate_due(later(vault, HOUR).context(), push=True)
    assert str(caught.value.hint).startswith("git merge -X ours origin/main; then keyvault repair")
    merge_git(vault, "-X", "ours", "origin/main")
    mend(later(vault, 2 * HOUR))
    assert look(vault).keys[kid].state == "revoked"
    rotation.rotate_due(later(vault, 2 * HOUR).context(), push=True)
    assert run_git(vault.top, vault.environ, "--git-dir", str(origin), "rev-parse", "main").strip() == vault.head


def test_pushed_commits_must_not_be_dropped(vault: Vault, origin: Path) -> None:
    """They may be published already, even if they contain no emergency."""
    other = vault.clone("other", source=origin)
    keys.add_set(vault.context(), "more", spec=key_spec("ES256"), push=True)
    vault.git("fetch", "--quiet", "origin")
    keys.add_set(other.context(), "others", spec=key_spec("ES256"))
    other.git("push", "--quiet", "--force", "origin", "main")
    with fails("branch-diverged", GitError) as caught:
        rotation.rotate(vault.context(), ["id-token"], forced="a drill", push=True)
    assert "git merge -X ours origin/main" in str(caught.value.hint)


# --- hand edits -----------------------------------------------------------------------------------------


def test_a_restored_table(vault: Vault) -> None:
    """A set without a table is an error until it has one again, and a note afterwards."""
    document = vault.files()["keyvault.toml"]
    vault.plant("keyvault.toml", document.replace(b"[sets.id-token]", b"[sets.other]"))
    assert "set-orphaned" in [finding.code for finding in audit(vault.context()).errors]
    vault.plant("keyvault.toml", document)
    assert audit(vault.context()).errors == ()
    assert "mended" in [finding.code for finding in audit(vault.context()).findings]


def test_the_order_of_findings(vault: Vault) -> None:
    """It does not depend on the order of Python's sets."""
    for path in sorted(vault.files()):
        if path.count("/") == 2 and "identities" not in path:
            vault.git("rm", "--quiet", path)
    vault.git("commit", "--quiet", "-m", "gone")
    paths = [finding.path for finding in audit(vault.context()).errors if finding.code == "record-removed"]
    assert len(paths) > 3
    assert paths == sorted(paths)


@pytest.mark.parametrize("kind", ["a folder", "a link for the folder", "a submodule"])
def test_a_folder_or_link_at_the_path_of_a_record(vault: Vault, kind: str) -> None:
    """The record replaces it, in the commit and in the working tree."""
    path = vault.next().path
    before = vault.files()[path]
    folder = path.rpartition("/")[0]
    if kind == "a folder":
        vault.git("rm", "--quiet", path)
        vault.write(f"{path}/note", b"mine")
    elif kind == "a link for the folder":
        vault.git("rm", "--quiet", "-r", folder)
        (vault.folder / folder).symlink_to("../elsewhere")
    else:
        vault.plant(f"{folder}/sub", vault.head, mode="160000")
        vault.git("reset", "--quiet", "--hard")
    if kind != "a submodule":
        vault.git("add", "--all")
        vault.git("commit", "--quiet", "-m", "by hand")
    repair(vault.context())
    assert vault.files()[path] == before
    assert (vault.folder / path).read_bytes() == before
    assert repair(vault.context()).findings == ()
    _ = vault.state().sets


# --- git operations in progress -------------------------------------------------------------------------


def test_a_merge_in_progress(vault: Vault, origin: Path) -> None:
    """Repairs and other commands stop, and the hint ends the merge."""
    other, kid = vault.clone("other", source=origin), active_of(vault, "id-token")
    rotation.rotate(other.context(), ["id-token"], forced="a drill", push=True)
    rotation.rotate(later(vault, HOUR).context(), ["id-token"], forced="a drill, too")
    vault.git("fetch", "--quiet", "origin")
    merge_git(vault, "origin/main")
    hint = "git merge --abort, or: git add keys.enc; git commit --no-edit --no-verify; keyvault repair"
    with fails("git-under-way", GitError) as caught:
        repair(vault.context())
    assert caught.value.hint == hint
    with fails("uncommitted-changes", GitError) as caught:
        revoke(vault, kid)
    assert caught.value.hint == hint
    vault.git("merge", "--abort")
    revoke(vault, kid)


def test_a_rebase_in_progress(vault: Vault, origin: Path) -> None:
    """HEAD is detached during a rebase: the hint ends it, because git refuses to switch."""
    other = vault.clone("other", source=origin)
    rotation.rotate(other.context(), ["id-token"], forced="a drill", push=True)
    rotation.rotate(later(vault, HOUR).context(), ["id-token"], forced="a drill, too")
    vault.git("fetch", "--quiet", "origin")
    command = ["git", "rebase", "--quiet", "origin/main"]
    subprocess.run(command, cwd=vault.folder, env=vault.environ, capture_output=True, check=False)
    with fails("head-detached", GitError) as caught:
        rotation.rotate_due(vault.context())
    assert "git rebase --abort" in str(caught.value.hint)


def test_a_file_from_an_older_commit_stays(vault: Vault) -> None:
    """A file that the user restored from an older commit looks like a stale index, but stays."""
    document = vault.files()["keyvault.toml"]
    vault.write("keyvault.toml", document.replace(b"[sets.id-token]", b"[sets.other]"))
    vault.git("commit", "--quiet", "--all", "--message", "rename a set")
    vault.git("checkout", "--quiet", "HEAD~", "--", "keyvault.toml")
    assert "stale-index" not in [finding.code for finding in repair(vault.context(), dry_run=True).findings]
    repair(vault.context())
    assert (vault.folder / "keyvault.toml").read_bytes() == document
    assert vault.status == ["M  keyvault.toml"]
