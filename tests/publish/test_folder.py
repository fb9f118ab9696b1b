"""Writing a site to a folder: whole or not at all, and never over something that is no site."""

from __future__ import annotations

import os
import stat
import threading
from collections.abc import Iterator
from itertools import starmap
from pathlib import Path

import pytest

from keyvault.core.files import Rendered
from keyvault.errors import RenderError, UsageError
from keyvault.operations import render as operations
from keyvault.operations import rotation
from keyvault.progress import quiet
from keyvault.publish import swap as module
from keyvault.publish.destination import MARKERS
from keyvault.publish.folder import FolderDestination, Written, write_site
from tests import revisions
from tests.errors import fails
from tests.site.vaults import Lab, new_lab

MARKED = dict.fromkeys(MARKERS, b"")
OLD = {**MARKED, "index.html": b"old", "keys/a.json": b"{}", "gone/soon.txt": b"old"}
NEW = {**MARKED, "index.html": b"new", "keys/b.json": b"{}", ".well-known/jwks.json": b"{}"}


def rendered(files: dict[str, bytes]) -> Iterator[Rendered]:
    return starmap(Rendered, files.items())


def tree(folder: Path) -> dict[str, bytes]:
    return {path.relative_to(folder).as_posix(): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


@pytest.fixture
def output(tmp_path: Path) -> Path:
    """A folder that holds an older site."""
    folder = tmp_path / "www"
    assert write_site(rendered(OLD), folder) == Written(len(OLD), changed=len(OLD))
    assert tree(folder) == OLD
    return folder


def mark(folder: Path) -> None:
    """Make *folder* look like one that render made."""
    for name in MARKERS:
        (folder / name).touch()


def left_behind(output: Path) -> list[str]:
    return [path.name for path in output.parent.iterdir() if path != output]


def test_site_replaces_the_older_one(output: Path) -> None:
    """The folder holds exactly the new site: files that it no longer has are gone."""
    assert write_site(rendered(NEW), output) == Written(len(NEW), changed=3)

    assert tree(output) == NEW
    assert not (output / "gone").exists()
    assert left_behind(output) == []


def test_missing_folders_are_made(tmp_path: Path) -> None:
    """The first rendering needs no mkdir before it."""
    write_site(rendered(NEW), tmp_path / "a" / "b" / "c")

    assert tree(tmp_path / "a" / "b" / "c") == NEW


def test_empty_folder_is_taken(tmp_path: Path) -> None:
    """A folder that somebody made beforehand is as good as none."""
    (tmp_path / "www").mkdir()
    write_site(rendered(NEW), tmp_path / "www")

    assert tree(tmp_path / "www") == NEW
    assert left_behind(tmp_path / "www") == []


def test_relative_folder_is_below_the_current_one(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A relative name means what it means in a shell, ``..`` included."""
    (tmp_path / "here").mkdir()
    monkeypatch.chdir(tmp_path / "here")
    write_site(rendered(NEW), Path("../www"))

    assert tree(tmp_path / "www") == NEW


# --- failures -------------------------------------------------------------------------------------------


@pytest.mark.parametrize("after", range(len(NEW) + 1))
@pytest.mark.parametrize(
    "error",
    [RenderError("template broken", code="template-broken"), KeyboardInterrupt(), ValueError("a bug")],
    ids=repr,
)
def test_failure_leaves_the_old_site(output: Path, error: BaseException, after: int) -> None:
    """Wherever the rendering breaks off, the old site is served on, and nothing lies about."""

    def broken() -> Iterator[Rendered]:
        yield from list(rendered(NEW))[:after]
        raise error

    with pytest.raises(type(error)):
        write_site(broken(), output)
    assert tree(output) == OLD
    assert left_behind(output) == []


def test_failure_makes_no_folder(tmp_path: Path) -> None:
    """Where there was no site, there is none after a failure either."""

    def broken() -> Iterator[Rendered]:
        yield Rendered("index.html", b"")
        raise RenderError("template broken", code="template-broken")

    with pytest.raises(RenderError):
        write_site(broken(), tmp_path / "www")
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("step", [0, 1])
def test_swap_that_fails_leaves_the_old_site(output: Path, monkeypatch: pytest.MonkeyPatch, step: int) -> None:
    """If the new folder cannot be put in place by two renames either, the old one stands again where it stood."""
    monkeypatch.setattr(module, "exchange", lambda one, other: False)
    real, calls = Path.rename, 0

    def rename(self: Path, target: Path) -> Path:
        nonlocal calls
        calls += 1
        if calls == step + 1:
            raise OSError(28, "No space left on device")
        return real(self, target)

    monkeypatch.setattr(Path, "rename", rename)
    with fails("folder-not-writable", RenderError) as refused:
        write_site(rendered(NEW), output)
    assert refused.value.message.startswith(f"{output} ")
    assert refused.value.message.endswith(": No space left on device")
    assert tree(output) == OLD
    assert left_behind(output) == []


def test_full_disk_is_one_clear_error(output: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A disk that fills up while writing is named, and the old site is whole."""

    def full(path: str, *_: object, **__: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(module, "open", full, raising=False)
    with fails("folder-not-writable", RenderError) as refused:
        write_site(rendered(NEW), output)
    assert refused.value.message.startswith(f"{output} ")
    assert refused.value.message.endswith(": No space left on device")
    assert tree(output) == OLD
    assert left_behind(output) == []


def test_parent_that_is_a_file_is_one_clear_error(tmp_path: Path) -> None:
    """An output below a file cannot be made, and says so."""
    (tmp_path / "file").write_text("")

    with fails("folder-not-writable", RenderError) as refused:
        write_site(rendered(NEW), tmp_path / "file" / "www")
    assert refused.value.message.endswith((": Not a directory", ": File exists"))


def test_reader_never_sees_half_a_site(output: Path) -> None:
    """While sites are swapped a hundred times, whoever lists the folder sees one of them whole."""
    names = [{f"keys/{version}-{number}.json": b"" for number in range(20)} | MARKED for version in "ab"]
    write_site(rendered(names[0]), output)
    wrong: list[set[str]] = []
    stop = threading.Event()

    def read() -> None:
        while not stop.is_set():
            try:
                # One open folder is one site, whatever is swapped meanwhile.
                handle = os.open(output / "keys", os.O_RDONLY)
            except FileNotFoundError:
                continue  # it was swapped out, and removed, while its name was looked up
            try:
                seen = {f"keys/{name}" for name in os.listdir(handle)} | set(MARKED)  # noqa: PTH208 - an open folder
            finally:
                os.close(handle)
            if seen not in (set(MARKED), set(names[0]), set(names[1])) and not left(seen):
                wrong.append(seen)

    def left(seen: set[str]) -> bool:
        # A folder that was swapped out is being removed: what is left of it is of one site.
        return seen < set(names[0]) or seen < set(names[1])

    reader = threading.Thread(target=read)
    reader.start()
    try:
        for turn in range(100):
            write_site(rendered(names[turn % 2]), output)
    finally:
        stop.set()
        reader.join()
    assert wrong == []


# --- what is refused ------------------------------------------------------------------------------------


def test_folder_with_other_files_is_refused(tmp_path: Path) -> None:
    """A folder that holds something else is never replaced, a single hidden file in it is enough."""
    for name in ("thesis.txt", ".hidden"):
        folder = tmp_path / name.strip(".")
        folder.mkdir()
        (folder / name).write_text("years of work")

        with fails("place-not-a-site", UsageError) as caught:
            write_site(rendered(NEW), folder)
        assert caught.value.hint == "name an empty folder, or one that render wrote"
        assert tree(folder) == {name: b"years of work"}


@pytest.mark.parametrize("name", MARKERS)
def test_hand_made_pages_are_refused(tmp_path: Path, name: str) -> None:
    """A folder of hand-made pages is no site of ours, though it may hold a file that our sites hold too."""
    (tmp_path / "docs").mkdir()
    (tmp_path / "docs" / name).touch()
    (tmp_path / "docs" / "index.html").write_text("by hand")

    with fails("place-not-a-site", UsageError):
        write_site(rendered(NEW), tmp_path / "docs")
    assert (tmp_path / "docs" / "index.html").read_text() == "by hand"


def test_file_is_refused(tmp_path: Path) -> None:
    """A file of that name is not replaced by a folder."""
    (tmp_path / "www").write_text("a file")

    with fails("not-a-folder", UsageError) as refused:
        write_site(rendered(NEW), tmp_path / "www")
    assert "www" in refused.value.message
    assert (tmp_path / "www").read_text() == "a file"


@pytest.mark.parametrize("target", ["site", "nowhere", "file", "www"])
def test_link_is_refused(tmp_path: Path, target: str) -> None:
    """A symbolic link in the place of the folder is neither followed nor replaced, nor is one that leads to itself."""
    write_site(rendered(OLD), tmp_path / "site")
    (tmp_path / "file").write_text("a file")
    link = tmp_path / "www"
    link.symlink_to(tmp_path / target)

    with fails("folder-is-link", UsageError) as refused:
        write_site(rendered(NEW), link, protected=tmp_path / "vault")
    assert "www" in refused.value.message
    assert link.is_symlink()
    assert tree(tmp_path / "site") == OLD


def test_special_file_is_refused(tmp_path: Path) -> None:
    """A pipe is no folder."""
    os.mkfifo(tmp_path / "www")

    with fails("not-a-folder", UsageError) as refused:
        write_site(rendered(NEW), tmp_path / "www")
    assert "www" in refused.value.message
    assert stat.S_ISFIFO((tmp_path / "www").stat().st_mode)


@pytest.mark.parametrize("marked", [False, True])
def test_vault_is_never_written_over(vault: Lab, marked: bool) -> None:
    """Neither the vault, nor a folder above it, nor / is an output, not even with the marker of a site in it."""
    if marked:
        mark(vault.folder)
        mark(vault.folder.parent)
    before = vault.git("status", "--porcelain"), vault.head

    for output in (vault.folder, vault.folder / "public" / "..", vault.folder.parent, Path("/")):
        with fails("folder-has-vault", UsageError) as caught:
            revisions.render(vault.context(), output)
        assert caught.value.hint == "name another folder, such as public"
    assert (vault.git("status", "--porcelain"), vault.head) == before
    assert vault.state.sets


def test_vault_is_not_written_over_through_a_link(vault: Lab) -> None:
    """A path that leads to the vault through a linked folder is the vault all the same."""
    mark(vault.folder)
    link = vault.folder.parent / "link"
    link.symlink_to(vault.folder.parent)

    with fails("folder-has-vault", UsageError):
        revisions.render(vault.context(), link / "vault")
    assert (vault.folder / "keyvault.toml").is_file()


def test_vault_in_a_subfolder_is_never_written_over(vault: Lab) -> None:
    """A vault that is a folder of a larger repository is protected, and so is that repository."""
    lab = new_lab(vault.folder / "vaults" / "second", environ=vault.environ)
    for folder in (lab.folder, lab.folder.parent, vault.folder):
        mark(folder)
        with fails("folder-has-vault", UsageError):
            revisions.render(lab.context(), folder)
    revisions.render(lab.context(), vault.folder / "public")


def test_bare_repository_is_never_written_over(vault: Lab) -> None:
    """A bare repository is protected as a work tree is."""
    bare = vault.folder.parent / "bare.git"
    vault.git("clone", "--quiet", "--bare", str(vault.folder), str(bare))
    mark(bare)

    with fails("folder-has-vault", UsageError):
        revisions.render(Lab(bare, vault.environ).context(), bare)
    assert (bare / "HEAD").is_file()


@pytest.mark.parametrize("folder", ["keys.enc", ".git", ".git/objects", "keys.enc/id-token"])
def test_folders_of_the_vault_are_refused(vault: Lab, folder: str) -> None:
    """What git or the vault needs inside is no output either."""
    with fails("place-not-a-site", UsageError):
        revisions.render(vault.context(), vault.folder / folder)
    assert vault.git("fsck", "--no-dangling") == ""
    assert vault.git("status", "--porcelain") == ""


@pytest.mark.parametrize("path", ["../escaped.txt", "a/../../escaped.txt", "/tmp/escaped-from-site.txt", "..", "a/.."])  # noqa: S108
def test_path_outside_the_folder_is_refused(output: Path, path: str) -> None:
    """A path that climbs out of the site, or is absolute, is written nowhere."""
    with fails("path-outside-site", RenderError):
        write_site(rendered({**MARKED, path: b"escaped"}), output)

    assert tree(output) == OLD
    assert left_behind(output) == []
    assert not Path("/tmp/escaped-from-site.txt").exists()  # noqa: S108


# --- what lands on disk ---------------------------------------------------------------------------------


def test_modes_are_those_of_a_public_site(output: Path) -> None:
    """Every folder is 0755 and every file 0644: the web server runs as somebody else."""
    write_site(rendered(NEW), output)

    found = {path.relative_to(output).as_posix(): stat.S_IMODE(path.stat().st_mode) for path in output.rglob("*")}
    assert stat.S_IMODE(output.stat().st_mode) == 0o755
    assert {mode for path, mode in found.items() if (output / path).is_dir()} == {0o755}
    assert {mode for path, mode in found.items() if (output / path).is_file()} == {0o644}


def test_site_is_complete_before_it_is_swapped_in(output: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """At the moment of the swap the new folder holds every file, beside the old one on the same file system."""
    seen: list[dict[str, bytes]] = []
    real = module.exchange

    def exchange(one: Path, other: Path) -> bool:
        seen.append(tree(one))
        assert (tree(other), one.parent) == (OLD, other.parent)
        return real(one, other)

    monkeypatch.setattr(module, "exchange", exchange)
    write_site(rendered(NEW), output)
    assert seen == [NEW]
    assert tree(output) == NEW


def test_a_system_without_an_exchange_gets_two_renames(output: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Where two folders cannot swap their names in one step, the old one is moved aside first."""
    monkeypatch.setattr(module, "exchange", lambda one, other: False)
    write_site(rendered(NEW), output)
    assert tree(output) == NEW
    assert left_behind(output) == []


def test_rendering_a_vault_reports_what_it_wrote(vault: Lab) -> None:
    """The count that is printed is the number of files in the folder."""
    written = revisions.render(vault.context(), vault.folder / "public")

    assert tree(vault.folder / "public") == vault.site()
    assert written.files == written.changed == len(vault.site())
    assert vault.git("status", "--porcelain") == "", "public/ is ignored by git"


def stats(folder: Path) -> dict[str, tuple[int, int]]:
    """Return the inode and the time of change of everything in *folder*."""
    return {str(path): (path.stat().st_ino, path.stat().st_mtime_ns) for path in [folder, *folder.rglob("*")]}


def test_same_commit_twice_touches_no_file(vault: Lab) -> None:
    """Rendering what is there already writes nothing: no file, no folder, no time of change."""
    output = vault.folder / "public"
    revisions.render(vault.context(), output)
    before = stats(output)
    written = revisions.render(vault.context(), output)

    assert stats(output) == before
    assert written == Written(len(vault.site()), changed=0)


def test_a_rotation_changes_only_what_shows_its_set(vault: Lab) -> None:
    """What shows other sets keeps its file, with its times: whoever copies the site on by time copies little."""
    output = vault.folder / "public"
    revisions.render(vault.context(), output)
    before = stats(output)
    others = [key.kid for key in vault.state.sets["access-token"].keys]
    rotation.rotate(vault.context(), ["id-token"], forced="a drill")
    written = revisions.render(vault.context(), output)
    after = stats(output)

    kept = {"sets/access-token/index.html", "404.html", *(f"keys/{kid}/index.html" for kid in others)}
    assert {path for path in kept if before[f"{output}/{path}"] != after[f"{output}/{path}"]} == set()
    assert tree(output) == vault.site()
    assert 0 < written.changed < written.files


def test_files_that_somebody_put_in_are_gone_again(output: Path) -> None:
    """A site that is the same but for a stray file, a changed file or a link is made whole."""
    (output / "stray.txt").write_text("by hand")
    assert write_site(rendered(OLD), output) == Written(len(OLD), changed=0)
    assert tree(output) == OLD

    (output / "index.html").unlink()
    (output / "index.html").symlink_to(output / "keys" / "a.json")
    assert write_site(rendered(OLD), output) == Written(len(OLD), changed=1)
    assert tree(output) == OLD
    assert not (output / "index.html").is_symlink()


def test_long_rendering_tells_its_progress(vault: Lab, monkeypatch: pytest.MonkeyPatch) -> None:
    """Whoever renders thousands of keys hears how far it is, and never more than all."""
    monkeypatch.setattr(
        operations, "site_files_with", lambda *_, **__: (vault.state, (Rendered(f"{n}", b"") for n in range(250)))
    )
    told: list[tuple[str, int, int]] = []
    context = vault.context()
    context.progress = lambda label, done, total: told.append((label, done, total))
    revisions.render(context, vault.folder / "public")

    rendering = [(done, total) for label, done, total in told if label == "rendering"]
    assert [done for done, _ in rendering] == [100, 200]
    assert all(done <= total for done, total in rendering)
    assert told[-1] == ("putting the site in place", 0, 0)


# --- one at a time ----------------------------------------------------------------------------------------


def test_what_a_dead_run_left_is_put_back_and_removed(output: Path) -> None:
    """Killed between its two renames, a run leaves no site at its place: the next one finds the old one."""
    aside = output.parent / f".{output.name}.abc.keyvault-old"
    output.rename(aside)
    (output.parent / f".{output.name}.abc.keyvault-new").mkdir()
    (output.parent / f".{output.name}.abc.keyvault-new" / "half").write_text("")
    with FolderDestination(output, output.parent / "vault", quiet).open([], dry_run=False):
        assert tree(output) == OLD
    write_site(rendered(NEW), output)
    assert tree(output) == NEW
    assert left_behind(output) == []


def test_what_a_dead_run_left_of_another_site_stays(output: Path) -> None:
    """A site beside it, whose name begins with the name of this one, restores its own folders."""
    others = [output.parent / f".{output.name}.example.com.abc{end}" for end in (".keyvault-old", ".keyvault-new")]
    for folder in others:
        folder.mkdir()
    output.rename(output.parent / "elsewhere")

    write_site(rendered(NEW), output)

    assert tree(output) == NEW
    assert all(folder.is_dir() for folder in others)


def test_a_second_writer_waits_and_sees_the_first_site(output: Path) -> None:
    """The later of two writers lists the place after the earlier one has finished."""
    begun, go_on, order = threading.Event(), threading.Event(), []

    def slow() -> Iterator[Rendered]:
        begun.set()
        assert go_on.wait(30)
        yield from rendered(NEW)

    def later() -> None:
        with FolderDestination(output, output.parent / "vault", quiet).open([], dry_run=False):
            order.append(tree(output))
        write_site(rendered(OLD), output)

    first = threading.Thread(target=lambda: order.append(write_site(slow(), output)))
    second = threading.Thread(target=later)
    first.start()
    assert begun.wait(30)
    second.start()
    go_on.set()
    for thread in (first, second):
        thread.join(60)
    assert order[1] == NEW
    assert tree(output) == OLD


def test_what_is_kept_may_lie_there_before_the_first_site(tmp_path: Path) -> None:
    """A page that proves a domain does not make a folder that of somebody else, where it is named."""
    place = tmp_path / "www"
    place.mkdir()
    (place / "google1.html").write_bytes(b"x")
    write_site(rendered(NEW), place, keep=["google*.html"])
    assert tree(place) == {**NEW, "google1.html": b"x"}
