"""The demo: a vault with two years of history, created by the real code."""

from __future__ import annotations

import json
from collections.abc import Mapping
from datetime import timedelta
from pathlib import Path

import pytest

from keyvault.errors import UsageError
from keyvault.operations import demo as operations
from keyvault.repo.vault import Repository
from keyvault.site.leak_check import refuse_private
from tests.errors import fails
from tests.site.vaults import DAY, MINUTE, T0, DemoLab, Lab, environment


def short(folder: Path, environ: Mapping[str, str], *, replace: bool = False) -> operations.Demo:
    """Make a demo of only a few days, which is fast."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(operations, "_SPAN", timedelta(days=3))
        return operations.make_demo(folder, T0, environ, replace=replace, progress=lambda label, done, total: None)


# --- its folder -----------------------------------------------------------------------------------------


def test_demo_reports_its_figures(tmp_path: Path) -> None:
    """The reported figures agree with git and the file system."""
    made = short(tmp_path / "demo", environment(tmp_path))
    lab = Lab(made.vault, environment(tmp_path))

    assert made.commit == lab.head
    assert made.commits == int(lab.git("rev-list", "--count", "HEAD"))
    assert made.keys == len(lab.state.keys)
    assert made.sets == len(lab.state.sets)
    assert made.files == sum(path.is_file() for path in made.site.rglob("*"))
    assert (made.site / "index.html").is_file()


def test_demo_in_a_work_tree_is_a_repository_of_its_own(vault: Lab) -> None:
    """Inside another repository, such as the source tree, the demo commits nothing to that."""
    before = vault.git("rev-parse", "HEAD"), vault.git("status", "--porcelain")
    made = short(vault.folder / "public" / "demo", vault.environ)

    assert (vault.git("rev-parse", "HEAD"), vault.git("status", "--porcelain")) == before
    assert Repository.open(made.vault, vault.environ).git.root == made.vault
    assert (made.vault / ".git" / "HEAD").is_file()


def test_older_demo_is_replaced_only_with_the_option(tmp_path: Path) -> None:
    """A second demo in the same folder needs --replace, and is then a new vault."""
    own = environment(tmp_path)
    first = short(tmp_path / "demo", own)
    (tmp_path / "demo" / "mine.txt").write_text("left here")

    with fails("folder-not-empty", UsageError) as caught:
        short(tmp_path / "demo", own)
    assert caught.value.hint == "--replace builds it again"
    assert Lab(tmp_path / "demo", own).head == first.commit

    second = short(tmp_path / "demo", own, replace=True)
    assert second.commit != first.commit
    assert not (tmp_path / "demo" / "mine.txt").exists()


@pytest.mark.parametrize("replace", [False, True])
def test_folder_of_somebody_else_is_refused(tmp_path: Path, vault: Lab, replace: bool) -> None:
    """Even with --replace, a folder with files, a real vault, a file, or a link is not replaced."""
    full = tmp_path / "full"
    full.mkdir()
    (full / "thesis.txt").write_text("years of work")
    link = tmp_path / "link"
    made = short(tmp_path / "demo", environment(tmp_path))
    link.symlink_to(made.vault)
    file = tmp_path / "file"
    file.write_text("a file")

    for folder in (full, vault.folder, file, link):
        with fails("folder-not-empty", UsageError) as caught:
            short(folder, vault.environ, replace=replace)
        assert caught.value.hint == "name another folder"
    assert (full / "thesis.txt").read_text() == "years of work"
    assert file.read_text() == "a file"
    assert vault.state.sets
    assert (made.vault / "keyvault.toml").is_file()


def test_folder_that_cannot_be_created_is_a_usage_error(tmp_path: Path) -> None:
    """A path below a file is an error of one line."""
    (tmp_path / "file").write_text("")

    with fails("folder-not-writable", UsageError) as caught:
        short(tmp_path / "file" / "demo", environment(tmp_path))
    assert "file/demo" in caught.value.message
    assert "Not a directory" in caught.value.message


def test_empty_folder_is_used(tmp_path: Path) -> None:
    """The folder may exist, if it is empty."""
    (tmp_path / "demo").mkdir()

    assert short(tmp_path / "demo", environment(tmp_path)).keys >= 4


def test_demo_takes_nothing_of_the_user(tmp_path: Path) -> None:
    """The demo ignores the user's git settings, signing key and identities, and writes nothing elsewhere."""
    home = tmp_path / "home"
    home.mkdir()
    (home / "gitconfig").write_text(
        "[user]\nname = Eve\nemail = eve@example.com\n[commit]\ngpgsign = true\n[gpg]\nprogram = /bin/false\n"
        "[init]\ndefaultBranch = trunk\n"
    )
    own = {**environment(home), "GIT_CONFIG_GLOBAL": str(home / "gitconfig"), "KEYVAULT_IDENTITY": "nonsense"}
    before = sorted(home.rglob("*"))
    made = short(tmp_path / "demo", own)
    lab = Lab(made.vault, environment(tmp_path))

    assert sorted(home.rglob("*")) == before
    assert set(lab.git("log", "--format=%an <%ae> %cn <%ce>").splitlines()) == {
        "Rotation Bot <bot@keys.example.com> Rotation Bot <bot@keys.example.com>"
    }


# --- its content ----------------------------------------------------------------------------------------


@pytest.mark.slow
def test_demo_shows_what_can_happen_in_two_years(demo: DemoLab) -> None:
    """Sets are added, an algorithm changes, a key is compromised, a rotation is rolled back, each with its reason."""
    state = demo.lab.state
    events = [event for key in state.keys.values() for event in key.events]

    assert list(state.sets) == ["id-token", "access-token", "reports", "mail"]
    assert {key.public.alg for key in state.sets["access-token"].keys} == {"ES256", "ES384"}
    (revoked,) = [event for event in events if event.event == "revoked"]
    assert (revoked.reason, revoked.note) == ("compromised", "a debug log of the token service held the private key")
    (back,) = [event for event in events if event.event == "reactivated"]
    assert back.note == "a gateway in Lisbon had pinned the old key"
    assert sum(event.event == "activated" for event in events) > 20
    assert sum(event.event == "published" for event in events) > 20
    assert {key.state for key in state.keys.values()} >= {"active", "next", "withdrawn", "revoked"}


@pytest.mark.slow
def test_demo_spans_two_years_up_to_its_instant(demo: DemoLab) -> None:
    """The first event is two years old, none is in the future, and nothing is overdue."""
    from keyvault.core.outlook import overdue

    state = demo.lab.state
    instants = [event.at for key in state.keys.values() for event in key.events]

    assert T0 - 731 * DAY <= min(instants) <= T0 - 729 * DAY
    assert T0 - 60 * DAY < max(instants) <= T0 + 17 * MINUTE
    assert overdue(state, demo.lab.now, grace=DAY) == []


@pytest.mark.slow
def test_demo_removed_a_recipient_for_good(demo: DemoLab) -> None:
    """A recipient was added and removed: later keys are not sealed to her, and older keys were replaced."""
    lab = demo.lab
    subjects = lab.git("log", "--format=%s").splitlines()

    assert {"add recipient bea-laptop", "remove recipient bea-laptop"} <= set(subjects)
    assert "bea-laptop" not in lab.state.recipients
    for path in (lab.folder / "keys.enc").rglob("*.json"):
        assert "bea-laptop" not in json.dumps(json.loads(path.read_bytes()).get("private", {}))
    notes = {event.note for key in lab.state.keys.values() for event in key.events}
    assert "recipient bea-laptop was removed" in notes


@pytest.mark.slow
def test_every_commit_of_the_demo_has_one_active_and_one_next_key_a_set(demo: DemoLab) -> None:
    """At every commit of the two years, each set has exactly one active and one next key."""
    lab = demo.lab
    for commit in lab.git("rev-list", "HEAD").split():
        for key_set in lab.repository.read(commit).sets.values():
            states = [key.state for key in key_set.keys]
            assert states.count("active") == 1
            assert states.count("next") == 1


@pytest.mark.slow
def test_site_of_the_demo_is_that_of_its_commit(demo: DemoLab) -> None:
    """public/ holds the rendered commit, byte for byte, and every file passes the leak check."""
    site = demo.lab.site()
    public = demo.folder / "public"

    assert {path.relative_to(public).as_posix() for path in public.rglob("*") if path.is_file()} == set(site)
    for path, data in site.items():
        assert (public / path).read_bytes() == data
        refuse_private(path, data)


@pytest.mark.slow
def test_git_has_nothing_to_say_about_the_demo(demo: DemoLab) -> None:
    """Plain git finds no fault in the repository, and its working tree is clean."""
    lab = demo.lab

    assert lab.git("fsck", "--strict", "--full", "--no-dangling") == ""
    assert lab.git("status", "--porcelain") == ""
    assert lab.git("symbolic-ref", "HEAD") == "refs/heads/main"
    assert lab.git("for-each-ref", "--format=%(refname)") == "refs/heads/main"


@pytest.mark.slow
def test_keys_of_the_demo_can_be_used(demo: DemoLab) -> None:
    """The demo's own identity signs tokens that its JWK Set verifies."""
    from keyvault.operations import tokens

    lab = Lab(demo.folder, {**demo.lab.environ, "KEYVAULT_CONFIG_DIR": str(demo.folder / ".git" / "keyvault-demo")})
    lab.now = demo.lab.now
    for name in ("id-token", "access-token", "reports"):
        token, key = tokens.sign(lab.context(), name, {"sub": "alice"}, ttl=10 * MINUTE)
        assert tokens.inspect(lab.context(), token).problems == ()
        assert key.state == "active"
