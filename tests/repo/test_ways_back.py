"""
Ways back from what people do to a vault in git: merges, rewritten branches, hand edits, clocks.

After each, one repair leaves a vault of which the audit finds no error, no revocation is lost, and the site can be
published.
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
    """Repair once: the audit finds no error, a second repair finds nothing, and the site can be published."""
    done = repair(vault.context())
    assert not done.left
    found = audit(vault.context())
    assert found.errors == (), found.errors
    assert repair(vault.context()).findings == ()
    assert vault.status == []
    if publishes:
        publish(vault.context(), str(vault.top / "www"))


def revoke(vault: Vault, kid: str) -> None:
    rotation.revoke(vault.context(), kid, reason="compromised")


def merge_git(vault: Vault, *arguments: str) -> None:
    """Merge; a conflict stays as it is."""
    command = ["git", "merge", "--quiet", "--no-edit", *arguments]
    subprocess.run(command, cwd=vault.folder, env=vault.environ, capture_output=True, check=False)


# --- merges ---------------------------------------------------------------------------------------------


@pytest.mark.parametrize("order", [("rotated", "revoked"), ("revoked", "rotated")])
def test_an_octopus_that_took_nothing_of_its_branches(vault: Vault, order: tuple[str, str]) -> None:
    """One of them revoked the key that the other one retired: it is revoked."""
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
    """The marks of the conflict stand in the records: our side is restored, and what the other did is taken back."""
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
    """The key stays revoked, and its private half is gone again."""
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
    """Each side joined the same two rotations and mended what came out: a third repair takes back what was dropped."""
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
    """A next key that was doubled and takes over signs; one that is revoked in the same run stays nowhere."""
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
    """Both are mended in one commit."""
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
    """Its tokens still live: it is published again, and the audit finds no error."""
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
def test_a_revocation_is_never_to_be_dropped(vault: Vault, origin: Path, pushed: bool) -> None:
    """The hint of branches that have diverged merges it; typed, it leaves the key revoked."""
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


def test_what_was_pushed_before_is_not_to_be_dropped(vault: Vault, origin: Path) -> None:
    """It may be published, even though it is routine."""
    other = vault.clone("other", source=origin)
    keys.add_set(vault.context(), "more", spec=key_spec("ES256"), push=True)
    vault.git("fetch", "--quiet", "origin")
    keys.add_set(other.context(), "others", spec=key_spec("ES256"))
    other.git("push", "--quiet", "--force", "origin", "main")
    with fails("branch-diverged", GitError) as caught:
        rotation.rotate(vault.context(), ["id-token"], forced="a drill", push=True)
    assert "git merge -X ours origin/main" in str(caught.value.hint)


# --- hand edits -----------------------------------------------------------------------------------------


def test_a_table_that_came_back(vault: Vault) -> None:
    """A set without a table is an error until it has one again, and a note afterwards."""
    document = vault.files()["keyvault.toml"]
    vault.plant("keyvault.toml", document.replace(b"[sets.id-token]", b"[sets.other]"))
    assert "set-orphaned" in [finding.code for finding in audit(vault.context()).errors]
    vault.plant("keyvault.toml", document)
    assert audit(vault.context()).errors == ()
    assert "mended" in [finding.code for finding in audit(vault.context()).findings]


def test_findings_stand_in_one_order(vault: Vault) -> None:
    """Whatever order sets of Python have in a run."""
    for path in sorted(vault.files()):
        if path.count("/") == 2 and "identities" not in path:
            vault.git("rm", "--quiet", path)
    vault.git("commit", "--quiet", "-m", "gone")
    paths = [finding.path for finding in audit(vault.context()).errors if finding.code == "record-removed"]
    assert len(paths) > 3
    assert paths == sorted(paths)


@pytest.mark.parametrize("kind", ["a folder", "a link for the folder", "a submodule"])
def test_what_stands_in_the_place_of_a_record(vault: Vault, kind: str) -> None:
    """It gives way to the record, in the commit and in the work tree."""
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


# --- operations of git that wait ------------------------------------------------------------------------


def test_a_merge_that_waits_for_the_user(vault: Vault, origin: Path) -> None:
    """It is named, with the way to end it, by repairs and by what would write beside it."""
    other, kid = vault.clone("other", source=origin), active_of(vault, "id-token")
    rotation.rotate(other.context(), ["id-token"], forced="a drill", push=True)
    rotation.rotate(later(vault, HOUR).context(), ["id-token"], forced="a drill, too")
    vault.git("fetch", "--quiet", "origin")
    merge_git(vault, "origin/main")
    hint = "git merge --abort, or: git add keys.enc; git commit --no-edit --no-verify; keyvault repair"
    with pytest.raises(GitError, match=r"^a merge is under way in this clone$") as caught:
        repair(vault.context())
    assert caught.value.hint == hint
    with fails("uncommitted-changes", GitError) as caught:
        revoke(vault, kid)
    assert caught.value.hint == hint
    vault.git("merge", "--abort")
    revoke(vault, kid)


def test_a_rebase_that_waits_for_the_user(vault: Vault, origin: Path) -> None:
    """HEAD is detached meanwhile: the hint is not to switch, which git refuses then."""
    other = vault.clone("other", source=origin)
    rotation.rotate(other.context(), ["id-token"], forced="a drill", push=True)
    rotation.rotate(later(vault, HOUR).context(), ["id-token"], forced="a drill, too")
    vault.git("fetch", "--quiet", "origin")
    command = ["git", "rebase", "--quiet", "origin/main"]
    subprocess.run(command, cwd=vault.folder, env=vault.environ, capture_output=True, check=False)
    with fails("head-detached", GitError) as caught:
        rotation.rotate_due(vault.context())
    assert "git rebase --abort" in str(caught.value.hint)


def test_what_was_just_taken_back_from_an_older_commit_stays(vault: Vault) -> None:
    """It equals an index that stayed behind, but somebody wrote it after the branch had moved."""
    document = vault.files()["keyvault.toml"]
    vault.write("keyvault.toml", document.replace(b"[sets.id-token]", b"[sets.other]"))
    vault.git("commit", "--quiet", "--all", "--message", "rename a set")
    vault.git("checkout", "--quiet", "HEAD~", "--", "keyvault.toml")
    assert "stale-index" not in [finding.code for finding in repair(vault.context(), dry_run=True).findings]
    repair(vault.context())
    assert (vault.folder / "keyvault.toml").read_bytes() == document
    assert vault.status == ["M  keyvault.toml"]
