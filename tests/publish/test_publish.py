"""`publish` to a folder and to a branch: what is there afterwards, and what is refused."""

from __future__ import annotations

import json
import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest

from keyvault.errors import ConflictError, GateError, KeyVaultError, PublishError, UsageError
from keyvault.operations import publish as module
from keyvault.operations import rotation
from keyvault.operations.publish import live_commit
from keyvault.repo.remote import Remote
from tests.errors import fails
from tests.publish.test_folder import tree
from tests.revisions import publish
from tests.site.vaults import Lab

BRANCH = "branch:gh-pages"


@pytest.fixture
def bare(vault: Lab) -> Path:
    """A bare repository that the vault is pushed to."""
    folder = vault.folder.parent / "origin.git"
    vault.git("init", "--quiet", "--bare", "--initial-branch=main", str(folder))
    vault.git("remote", "add", "origin", str(folder))
    vault.git("push", "--quiet", "origin", "HEAD:main")
    return folder


def git(bare: Path, *arguments: str, stdin: bytes | None = None) -> bytes:
    return subprocess.run(
        ["git", "-C", str(bare), "-c", "user.name=x", "-c", "user.email=x@example.com", *arguments],
        input=stdin,
        capture_output=True,
        check=True,
    ).stdout


def branch(bare: Path, name: str = "gh-pages") -> dict[str, bytes]:
    """Return the files of a branch."""
    paths = git(bare, "ls-tree", "-r", "-z", "--name-only", name).decode().split("\0")[:-1]
    return {path: git(bare, "cat-file", "blob", f"{name}:{path}") for path in paths}


def add_file(bare: Path, path: str, data: bytes, name: str = "gh-pages") -> str:
    """Commit a file to a branch past keyvault, as a host or somebody else does."""
    blob = git(bare, "hash-object", "-w", "--stdin", stdin=data).decode().strip()
    entries = git(bare, "ls-tree", name) if git(bare, "branch", "--list", name) else b""
    tree_id = git(bare, "mktree", stdin=entries + f"100644 blob {blob}\t{path}\n".encode()).decode().strip()
    commit = git(bare, "commit-tree", tree_id, "-m", "by hand").decode().strip()
    git(bare, "update-ref", f"refs/heads/{name}", commit)
    return commit


# --- which commit is live -------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "data",
    [None, b"", b"{", b"[]", b"{}", b'{"commit": 3}', b'{"commit": "HEAD"}', b"\xff", b"[" * 100_000],
    ids=["none", "empty", "cut", "list", "without", "number", "no-id", "no-text", "deep"],
)
def test_a_history_that_tells_no_commit(data: bytes | None) -> None:
    """What a host serves is data: it names a commit, or nothing."""
    assert live_commit(data) is None


# --- a folder -------------------------------------------------------------------------------------------


def test_to_a_folder(vault: Lab, tmp_path: Path) -> None:
    """All of the site, then only what changed, then nothing."""
    place = tmp_path / "www"
    first = publish(vault.context(), str(place))
    assert tree(place) == vault.site()
    assert (first.previous, first.deleted, first.files) == (None, [], len(vault.site()))
    assert sorted(first.uploaded) == sorted(vault.site())

    rotation.rotate(vault.context(), ["id-token"], forced="a drill")
    second = publish(vault.context(), str(place))
    assert tree(place) == vault.site()
    assert second.previous == first.commit
    assert ".well-known/jwks.json" in second.uploaded
    assert "sets/access-token/index.html" not in second.uploaded

    third = publish(vault.context(), str(place))
    assert (third.uploaded, third.deleted) == ([], [])


@pytest.mark.parametrize("place", ["folder", "branch"])
def test_dry_run_lists_and_leaves(vault: Lab, bare: Path, tmp_path: Path, place: str) -> None:
    """What is said beforehand is what is done."""
    destination, read = _place(place, tmp_path, bare)
    would = publish(vault.context(), destination, dry_run=True)
    assert read() == {}
    assert publish(vault.context(), destination) == would
    before = read()
    rotation.rotate(vault.context(), ["id-token"], forced="a drill")
    would = publish(vault.context(), destination, dry_run=True)
    assert read() == before
    assert publish(vault.context(), destination) == would
    assert read() == vault.site()


def _place(kind: str, tmp_path: Path, bare: Path) -> tuple[str, Callable[[], dict[str, bytes]]]:
    if kind == "folder":
        return str(tmp_path / "www"), lambda: tree(tmp_path / "www")
    return BRANCH, lambda: branch(bare) if git(bare, "branch", "--list", "gh-pages") else {}


@pytest.mark.parametrize("place", ["folder", "branch"])
def test_never_back_behind_what_is_live(vault: Lab, bare: Path, tmp_path: Path, place: str) -> None:
    """An older commit, or one beside it, is refused; whoever means it says so."""
    destination, read = _place(place, tmp_path, bare)
    old = vault.head
    rotation.rotate(vault.context(), ["id-token"], forced="a drill")
    publish(vault.context(), destination)
    before = read()
    for dry_run in (True, False):
        with fails("live-commit-newer", GateError):
            publish(vault.context(), destination, revision=old, dry_run=dry_run)
    vault.git("checkout", "--quiet", "-b", "beside", old)
    vault.commit({"note.txt": "beside"})
    with fails("live-commit-newer", GateError):
        publish(vault.context(), destination)
    assert read() == before

    publish(vault.context(), destination, force=True)
    assert read() == vault.site()


def test_a_clone_that_does_not_know_the_live_commit(vault: Lab, tmp_path: Path) -> None:
    """It may be older than what is live."""
    place = tmp_path / "www"
    publish(vault.context(), str(place))
    history = json.loads((place / "history.json").read_text())
    (place / "history.json").write_text(json.dumps(history | {"commit": "0" * 40}))
    with fails("live-commit-unknown", GateError) as refused:
        publish(vault.context(), str(place))
    assert "git fetch" in (refused.value.hint or "")


def test_what_is_not_of_the_site_goes_unless_it_is_kept(vault: Lab, tmp_path: Path) -> None:
    """A file that proves a domain to somebody stays; others are deleted, and named."""
    place = tmp_path / "www"
    publish(vault.context(), str(place))
    for name in ("google1.html", "junk.txt", "files/a", "files/b/c"):
        (place / name).parent.mkdir(parents=True, exist_ok=True)
        (place / name).write_text("x")
    done = publish(vault.context(), str(place), keep=["google*.html", "files"])
    assert done.deleted == ["junk.txt"]
    assert set(tree(place)) == set(vault.site()) | {"google1.html", "files/a", "files/b/c"}
    assert publish(vault.context(), str(place), keep=["google*.html", "files"]).deleted == []
    assert publish(vault.context(), str(place)).deleted == ["files/a", "files/b/c", "google1.html"]


def test_a_folder_of_somebody_else_is_left_alone(vault: Lab, tmp_path: Path) -> None:
    """As for render."""
    place = tmp_path / "www"
    place.mkdir()
    (place / "index.html").write_text("mine")
    with fails("place-not-a-site", UsageError):
        publish(vault.context(), str(place))
    assert tree(place) == {"index.html": b"mine"}


# --- a branch -------------------------------------------------------------------------------------------


def test_to_a_branch(vault: Lab, bare: Path) -> None:
    """One commit without a parent; the vault's own branch and work tree are as they were."""
    status, head = vault.git("status", "--porcelain"), vault.head
    done = publish(vault.context(), BRANCH)
    assert branch(bare) == vault.site()
    assert git(bare, "log", "--format=%s", "gh-pages").decode() == f"Publish {head}\n"
    assert (done.previous, done.deleted) == (None, [])
    assert (vault.git("status", "--porcelain"), vault.head) == (status, head)

    rotation.rotate(vault.context(), ["id-token"], forced="a drill")
    assert publish(vault.context(), BRANCH).previous == head
    assert branch(bare) == vault.site()
    assert len(git(bare, "rev-list", "gh-pages").split()) == 1
    assert git(bare, "rev-parse", "main").decode().strip() == head  # nothing else was pushed

    there = git(bare, "rev-parse", "gh-pages")
    assert publish(vault.context(), BRANCH).uploaded == []
    assert git(bare, "rev-parse", "gh-pages") == there


def test_the_domain_of_a_branch_stays(vault: Lab, bare: Path) -> None:
    """GitHub keeps the name of a custom domain in CNAME."""
    publish(vault.context(), BRANCH)
    add_file(bare, "CNAME", b"keys.example.com\n")
    rotation.rotate(vault.context(), ["id-token"], forced="a drill")
    assert publish(vault.context(), BRANCH).deleted == []
    assert branch(bare) == vault.site() | {"CNAME": b"keys.example.com\n"}


def test_a_branch_that_was_changed_by_hand(vault: Lab, bare: Path) -> None:
    """Files where the site has folders, folders where it has files, a program: all is as it should be again."""
    publish(vault.context(), BRANCH)
    rows = {row.split(b"\t")[1]: row for row in git(bare, "ls-tree", "gh-pages").splitlines()}
    (blob, folder), link = (rows[name].split()[2].decode() for name in (b"index.html", b"keys")), "CNAME"
    rows |= {
        b"keys": f"100644 blob {blob}\tkeys".encode(),
        b"feed.atom": f"040000 tree {folder}\tfeed.atom".encode(),
        b"robots.txt": rows[b"robots.txt"].replace(b"100644", b"100755"),
        b"extra": f"040000 tree {folder}\textra".encode(),
        b"link": f"120000 blob {blob}\t{link}".encode(),
    }
    assert {b"feed.atom", b"robots.txt"} <= rows.keys()
    tree_id = git(bare, "mktree", stdin=b"".join(row + b"\n" for row in rows.values())).decode().strip()
    git(bare, "update-ref", "refs/heads/gh-pages", git(bare, "commit-tree", tree_id, "-m", "by hand").decode().strip())

    done = publish(vault.context(), BRANCH)

    assert {"keys", *(f"feed.atom/{path.name}" for path in map(Path, vault.site()) if path.parent == Path("keys"))} <= {
        *done.deleted
    }
    modes = dict(
        reversed(row.split(None, 3)[::3]) for row in git(bare, "ls-tree", "-r", "gh-pages").decode().splitlines()
    )
    assert modes == {**dict.fromkeys(vault.site(), "100644"), link: "120000"}
    assert branch(bare) == vault.site() | {link: vault.site()["index.html"]}


def test_a_name_on_the_branch_that_is_no_text(vault: Lab, bare: Path) -> None:
    """It is removed, and told of in letters that every terminal has."""
    publish(vault.context(), BRANCH)
    rows = git(bare, "ls-tree", "gh-pages").replace(b"\trobots.txt", b"\tro\xffbots")
    commit = (
        git(bare, "commit-tree", git(bare, "mktree", stdin=rows).decode().strip(), "-m", "by hand").decode().strip()
    )
    git(bare, "update-ref", "refs/heads/gh-pages", commit)

    done = publish(vault.context(), BRANCH)

    assert done.deleted == ["ro\\xffbots"]
    assert branch(bare) == vault.site()


def test_a_branch_of_somebody_else_is_left_alone(vault: Lab, bare: Path) -> None:
    """A branch that is no site keeps what it has, also with --force."""
    commit = add_file(bare, "index.html", b"mine")
    with fails("place-not-a-site", UsageError):
        publish(vault.context(), BRANCH, force=True)
    assert git(bare, "rev-parse", "gh-pages").decode().strip() == commit


def test_of_two_publishers_the_later_is_told(vault: Lab, bare: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """What somebody else put there meanwhile is not overwritten."""
    publish(vault.context(), BRANCH)
    rotation.rotate(vault.context(), ["id-token"], forced="a drill")
    real = Remote.replace

    def late(remote: Remote, commit: str, *, old: str | None) -> None:
        monkeypatch.setattr(Remote, "replace", real)
        add_file(bare, "CNAME", b"keys.example.com\n")
        real(remote, commit, old=old)

    monkeypatch.setattr(Remote, "replace", late)
    with pytest.raises(ConflictError):
        publish(vault.context(), BRANCH)
    assert "CNAME" in branch(bare)
    publish(vault.context(), BRANCH)
    assert branch(bare) == vault.site() | {"CNAME": b"keys.example.com\n"}


def test_a_vault_below_the_top_of_its_repository(vault: Lab, bare: Path, tmp_path: Path) -> None:
    """The branch has the site at its top, wherever the vault lies."""
    vault.git("checkout", "--quiet", "-b", "deep")
    (vault.folder / "ops").mkdir()
    vault.git("mv", "keyvault.toml", "keys.enc", "ops/")
    vault.git("commit", "--quiet", "-m", "move the vault")
    below = Lab(vault.folder / "ops", vault.environ)
    publish(below.context(), BRANCH)
    assert branch(bare) == below.site()


# --- refusals -------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("destination", "code", "words"),
    [
        ("branch:", "branch-invalid", "not a valid branch"),
        ("branch:-x", "branch-invalid", "not a valid branch"),
        ("branch:a..b", "branch-invalid", "not a valid branch"),
        ("branch:@{-1}", "branch-invalid", "not a valid branch"),
        ("branch:main", "branch-invalid", "branch of the vault itself"),
        ("ftp://host/x", "destination-unsupported", ""),
        ("https://keys.example.com", "destination-unsupported", ""),
        ("S3://bucket", "destination-unsupported", ""),
        ("s3:///prefix", "destination-invalid", "no bucket"),
        ("s3://user:secret@bucket/", "destination-invalid", "takes no user"),
        ("s3://bucket/a//b", "destination-invalid", "invalid prefix"),
        ("s3://bucket/../b", "destination-invalid", "invalid prefix"),
        ("s3://bucket/a\nb", "destination-invalid", "invalid prefix"),
        ("s3://bucket/?x=1", "destination-invalid", "no bucket"),
        (".", "folder-has-vault", ""),
    ],
)
def test_invalid_destinations(
    vault: Lab, destination: str, code: str, words: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """`publish` refuses an invalid destination before it does anything, and does not show a password in it."""
    monkeypatch.chdir(vault.folder)
    with fails(code, UsageError) as refused:
        publish(vault.context(), destination)
    assert words in refused.value.message
    assert "secret" not in refused.value.message


def test_without_a_remote(vault: Lab) -> None:
    """The error says what to type."""
    with fails("remote-missing") as refused:
        publish(vault.context(), BRANCH)
    assert "git remote add" in (refused.value.hint or "")


def test_without_the_extra(vault: Lab, monkeypatch: pytest.MonkeyPatch) -> None:
    """Without the extra ``stores``, the error says how to install it."""
    import sys

    monkeypatch.setitem(sys.modules, "obstore.store", None)
    with fails("extra-missing", UsageError) as refused:
        publish(vault.context(), "s3://bucket")
    assert "obstore" in refused.value.message
    assert refused.value.hint == "pip install 'jwks-keyvault[stores]'"


def test_http_is_for_this_machine_only(vault: Lab, monkeypatch: pytest.MonkeyPatch) -> None:
    """An endpoint elsewhere has to speak TLS: what is sent there is signed with a credential."""
    for name, value in {
        "AWS_ENDPOINT_URL": "http://203.0.113.7:9",
        "AWS_ACCESS_KEY_ID": "AKIDEXAMPLE",
        "AWS_SECRET_ACCESS_KEY": "not-a-secret-of-anybody",
        "AWS_REGION": "us-east-1",
    }.items():
        monkeypatch.setenv(name, value)
        vault.environ[name] = value
    with fails("store-failed", PublishError) as refused:
        publish(vault.context(), "s3://bucket")
    assert "http" in refused.value.message.lower()
    assert "not-a-secret" not in str(refused.value)


def test_a_site_that_cannot_be_rendered_is_not_published(vault: Lab, tmp_path: Path) -> None:
    """What is live stays as it was."""
    place = tmp_path / "www"
    publish(vault.context(), str(place))
    before = tree(place)
    vault.commit({"site_template/key.html": '{% include "nowhere" %}{{'})
    with pytest.raises(KeyVaultError):
        publish(vault.context(), str(place))
    assert tree(place) == before
    assert module.HISTORY in before
