"""Incremental rendering of a large site: only changed files are rendered, and the result equals a full render."""

from __future__ import annotations

import os
import shutil
from collections.abc import Callable, Iterator
from datetime import datetime, timedelta
from pathlib import Path

import msgspec
import pytest

from keyvault.core.algorithms import key_spec
from keyvault.core.keys import Key
from keyvault.errors import RenderError
from keyvault.operations import incremental, keys, rotation
from keyvault.publish.folder import Written
from keyvault.publish.stamp import Stamp
from keyvault.site import build as building
from keyvault.site import pages
from tests import revisions
from tests.errors import fails
from tests.site.vaults import SITE, Lab, MakeVault


@pytest.fixture
def lab(make_vault: MakeVault, monkeypatch: pytest.MonkeyPatch) -> Lab:
    """A vault of three sets and two issuers, whose site counts as large and whose lists have many pages."""
    monkeypatch.setattr(incremental, "MIN_FILES_FOR_STAMP", 1)
    monkeypatch.setattr(pages, "LISTED_PER_PAGE", 1)
    lab = make_vault("id-token:ES256", "access-token:EdDSA")
    keys.add_set(lab.context(), "reports", spec=key_spec("EdDSA"), issuer=f"{SITE}/reports")
    return lab


def tree(folder: Path) -> dict[str, bytes]:
    return {path.relative_to(folder).as_posix(): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


@pytest.fixture
def rendered_paths(monkeypatch: pytest.MonkeyPatch) -> Iterator[list[str]]:
    """Return the paths of the files that are rendered, in order."""
    paths: list[str] = []
    refuse_private = building.refuse_private

    def noting(path: str, data: bytes) -> None:
        paths.append(path)
        refuse_private(path, data)

    monkeypatch.setattr(building, "refuse_private", noting)
    return paths


def render(lab: Lab, folder: str = "public") -> Written:
    return revisions.render(lab.context(), lab.folder / folder)


def check(lab: Lab) -> None:
    """Assert that the folder equals a full render."""
    assert tree(lab.folder / "public") == lab.site()


def rotate(lab: Lab, *names: str) -> None:
    lab.wait(timedelta(days=1))
    rotation.rotate(lab.context(), names, forced="a test")


def test_one_set_is_rotated(lab: Lab, rendered_paths: list[str]) -> None:
    """Only the files of that set, the page that lists it, and the files about all sets are rendered."""
    render(lab)
    name = sorted(lab.state.sets)[0]
    rotate(lab, name)
    rendered_paths.clear()

    written, paths = render(lab), list(rendered_paths)

    check(lab)
    assert written.changed < written.files
    others = {key.kid for key in lab.state.keys.values() if key.set != name}
    assert [path for path in paths if any(kid in path for kid in others)] == []
    assert [path for path in paths if path.startswith("sets/") and path.split("/")[1] != name] == []


def test_many_renders(lab: Lab) -> None:
    """The previous site is kept beside the folder as a spare, and updated."""
    render(lab)
    for name in sorted(lab.state.sets) * 2:
        rotate(lab, name)
        render(lab)
        check(lab)
    beside = [path.name for path in lab.folder.iterdir() if "keyvault-" in path.name]
    assert beside == [".public.keyvault-spare"]


def test_unchanged(lab: Lab, rendered_paths: list[str]) -> None:
    """For the same commit, nothing is rendered and nothing is written."""
    first = render(lab)
    before = tree(lab.folder / "public")
    rendered_paths.clear()

    assert render(lab) == Written(first.files, 0)

    assert rendered_paths == []
    assert tree(lab.folder / "public") == before


def _edit(lab: Lab) -> None:
    page = lab.folder / "public" / "index.html"
    page.write_bytes(page.read_bytes() + b"<!-- mine -->")


def _edit_a_key(lab: Lab) -> None:
    page = min((lab.folder / "public" / "keys").glob("*/index.html"))
    page.write_bytes(b"")


def _remove_old(lab: Lab) -> None:
    (lab.folder / "public" / "keys" / f"{min(lab.state.keys.values(), key=_made_at).kid}.pem").unlink()


def _remove_new(lab: Lab) -> None:
    (lab.folder / "public" / "keys" / f"{max(lab.state.keys.values(), key=_made_at).kid}.pem").unlink()


def _made_at(key: Key) -> tuple[datetime, str]:
    return key.life.created_at, key.kid


def _add(lab: Lab) -> None:
    (lab.folder / "public" / "keys" / "mine.txt").write_text("mine")


def _replace_the_folder(lab: Lab) -> None:
    public = lab.folder / "public"
    shutil.copytree(public, lab.folder / "copy")
    shutil.rmtree(public)
    (lab.folder / "copy").rename(public)
    _edit_a_key(lab)


def _remove_the_folder(lab: Lab) -> None:
    shutil.rmtree(lab.folder / "public")


def _cut_the_stamp(lab: Lab) -> None:
    for stamp in (lab.folder / ".git" / "keyvault-rendered").iterdir():
        stamp.write_bytes(stamp.read_bytes()[:-5])
    _edit_a_key(lab)


def _link(lab: Lab) -> None:
    page = min((lab.folder / "public" / "keys").glob("*.pem"))
    page.rename(lab.folder / "elsewhere.pem")
    page.symlink_to(lab.folder / "elsewhere.pem")


@pytest.mark.parametrize("rotated", [False, True], ids=["same commit", "another commit"])
@pytest.mark.parametrize(
    "change",
    [
        _edit,
        _edit_a_key,
        _remove_old,
        _remove_new,
        _add,
        _replace_the_folder,
        _remove_the_folder,
        _cut_the_stamp,
        _link,
    ],
)
@pytest.mark.parametrize("renders", [1, pytest.param(3, marks=pytest.mark.slow)])
def test_folder_was_modified(lab: Lab, change: Callable[[Lab], None], renders: int, rotated: bool) -> None:
    """Modified files are repaired, with or without a spare."""
    names = sorted(lab.state.sets)
    for name in names[:renders]:
        rotate(lab, name)
        render(lab)
    change(lab)
    if rotated:
        rotate(lab, names[0])

    render(lab)

    check(lab)


def test_spare_was_modified(lab: Lab) -> None:
    """Modified files of the spare do not reach the folder."""
    names = sorted(lab.state.sets)
    spare = lab.folder / ".public.keyvault-spare"
    for change in (
        lambda: (spare / "mine.txt").write_text("mine"),
        lambda: min((spare / "keys").glob("*.json")).unlink(),
        lambda: shutil.rmtree(spare),
        lambda: (shutil.rmtree(spare), spare.mkdir()),
    ):
        for name in names[:2]:
            rotate(lab, name)
            render(lab)
        assert spare.is_dir()
        change()
        rotate(lab, names[0])

        render(lab)

        check(lab)


def test_links_in_the_spare_are_not_followed(lab: Lab) -> None:
    """A render does not write through a link in the spare."""
    names = sorted(lab.state.sets)
    for name in names[:2]:
        rotate(lab, name)
        render(lab)
    outside = lab.folder / "outside"
    spare = lab.folder / ".public.keyvault-spare"
    (spare / "keys").rename(outside)
    (spare / "keys").symlink_to(outside)
    before = tree(outside)
    rotate(lab, names[0])

    with fails("folder-not-writable", RenderError):
        render(lab)
    assert tree(outside) == before

    render(lab)
    check(lab)
    assert tree(outside) == before


def test_a_stamp_that_names_files_elsewhere(lab: Lab) -> None:
    """Paths in a stamp that are outside the folder are ignored."""
    names = sorted(lab.state.sets)
    for name in names[:2]:
        rotate(lab, name)
        render(lab)
    (file,) = (lab.folder / ".git" / "keyvault-rendered").iterdir()
    stamp = msgspec.msgpack.decode(file.read_bytes(), type=Stamp)
    precious = lab.folder / "precious"
    precious.write_text("precious")
    paths = (*stamp.paths_changed_since_spare, "../precious", str(precious))
    forged = msgspec.structs.replace(stamp, paths_changed_since_spare=paths)
    file.write_bytes(msgspec.msgpack.encode(forged))
    rotate(lab, names[0])

    render(lab)

    check(lab)
    assert precious.read_text() == "precious"


def _policy(lab: Lab) -> None:
    lab.edit_policy("discovery = true", "discovery = false")


def _template(lab: Lab) -> None:
    lab.commit({"site_template/404.html": "gone"})


def _branch(lab: Lab) -> None:
    lab.git("switch", "--quiet", "--create", "other")
    rotate(lab, "id-token")
    lab.git("switch", "--quiet", "main")
    rotate(lab, "reports")
    lab.git("merge", "--quiet", "--no-edit", "other")


def _back(lab: Lab) -> None:
    lab.git("reset", "--quiet", "--hard", "HEAD~2")


def _outside(lab: Lab) -> None:
    lab.commit({"notes.md": "notes"})


def _revoke(lab: Lab) -> None:
    rotation.revoke(lab.context(), lab.key("reports", "active").kid, reason="compromised")


@pytest.mark.parametrize("change", [_policy, _template, _branch, _back, _outside, _revoke])
def test_other_changes(lab: Lab, change: Callable[[Lab], None]) -> None:
    """After any change of a commit, the folder has its site."""
    render(lab)
    rotate(lab, "id-token")
    render(lab)

    change(lab)
    render(lab)

    check(lab)


def test_own_templates_may_show_anything(lab: Lab) -> None:
    """With a template of the vault, every page of a list is rendered, since it may show other things than ours."""
    lab.commit({"site_template/issuer.html": "{{ total }} {{ sets|length }} {{ rendered }}"})
    render(lab)
    rotate(lab, sorted(lab.state.sets)[0])

    render(lab)

    check(lab)


def test_another_program(lab: Lab, monkeypatch: pytest.MonkeyPatch, rendered_paths: list[str]) -> None:
    """Files that another version rendered are rendered again."""
    render(lab)
    rendered_paths.clear()
    monkeypatch.setattr(incremental, "version", lambda name: "0")

    render(lab)

    assert len([path for path in rendered_paths if path.startswith("keys/")]) > 3


def test_a_stamp_that_was_lost(lab: Lab, rendered_paths: list[str]) -> None:
    """A folder with the right site gets its stamp again."""
    render(lab)
    shutil.rmtree(lab.folder / ".git" / "keyvault-rendered")
    assert render(lab).changed == 0
    rendered_paths.clear()

    assert render(lab).changed == 0

    assert rendered_paths == []


def test_small_sites_have_no_stamp(lab: Lab, monkeypatch: pytest.MonkeyPatch) -> None:
    """A small site, which is rendered quickly, leaves nothing beside the folder."""
    monkeypatch.setattr(incremental, "MIN_FILES_FOR_STAMP", 100_000)
    render(lab)
    rotate(lab, sorted(lab.state.sets)[0])
    render(lab)

    assert not (lab.folder / ".git" / "keyvault-rendered").exists()
    assert [path.name for path in lab.folder.iterdir() if "keyvault-" in path.name] == []


def test_a_file_system_without_links(lab: Lab, monkeypatch: pytest.MonkeyPatch) -> None:
    """If files cannot be linked, they are copied."""

    def refused(*_: object, **__: object) -> None:
        raise OSError

    render(lab)
    monkeypatch.setattr(os, "link", refused)
    for _ in range(2):
        rotate(lab, sorted(lab.state.sets)[0])
        render(lab)
        check(lab)
