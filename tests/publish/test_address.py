"""Addresses of destinations: valid ones, and the hints for misspelt ones."""

from __future__ import annotations

from pathlib import Path

import pytest

from keyvault.errors import UsageError
from keyvault.publish.address import Address, parse
from tests.errors import fails
from tests.revisions import publish, render
from tests.site.vaults import Lab


@pytest.mark.parametrize(
    ("text", "address"),
    [
        ("www", Address("folder", "www")),
        ("/srv/www", Address("folder", "/srv/www")),
        ("./s3", Address("folder", "./s3")),
        ("./s3:bucket", Address("folder", "./s3:bucket")),
        ("./branch:x", Address("folder", "./branch:x")),
        ("www/a:b", Address("folder", "www/a:b")),
        ("s3/bucket", Address("folder", "s3/bucket")),
        ("./s3//bucket", Address("folder", "./s3//bucket")),
        ("build//site", Address("folder", "build//site")),
        ("branches", Address("folder", "branches")),
        ("a@b", Address("folder", "a@b")),
        ("s3://bucket", Address("store", "s3://bucket")),
        ("gs://bucket/a/b", Address("store", "gs://bucket/a/b")),
        ("az://$web", Address("store", "az://$web")),
        ("branch:gh-pages", Address("branch", "gh-pages")),
        ("branch:site/keys", Address("branch", "site/keys")),
        ("branch:", Address("branch", "")),
    ],
)
def test_addresses(text: str, address: Address) -> None:
    """A folder whose name looks like an address needs ./ before it."""
    assert parse(text) == address


GIT = "git remote add origin URL, then publish to branch:NAME"
FORMS = "a folder, s3://BUCKET, gs://BUCKET, az://CONTAINER, or branch:NAME"


@pytest.mark.parametrize(
    ("text", "hint"),
    [
        ("s3:bucket", "s3://bucket"),
        ("s3:/bucket/a", "s3://bucket/a"),
        ("S3://bucket", "s3://bucket"),
        (" s3://bucket", "s3://bucket"),
        ("s3:", "s3://BUCKET/PREFIX"),
        ("s3", "s3://BUCKET/PREFIX; ./s3 is a folder of that name"),
        ("s3a://bucket", "s3://bucket"),
        ("s3//bucket", "s3://bucket; ./s3//bucket is a folder of that name"),
        ("GS//bucket", "gs://bucket; ./GS//bucket is a folder of that name"),
        ("branch//gh-pages", "branch:gh-pages; ./branch//gh-pages is a folder of that name"),
        ("gs:x", "gs://x"),
        ("GCS://x", "gs://x"),
        ("gs", "gs://BUCKET/PREFIX; ./gs is a folder of that name"),
        ("az:c", "az://c"),
        ("azure://c/p", "az://c/p"),
        ("az", "az://CONTAINER/PREFIX; ./az is a folder of that name"),
        ("branch", "branch:gh-pages; ./branch is a folder of that name"),
        ("branch:refs/heads/x", "branch:x"),
        ("branch:refs/tags/x", "branch:gh-pages"),
        ("branch://gh-pages", "branch:gh-pages"),
        ("Branch:gh-pages", "branch:gh-pages"),
        ("file:///srv/www", "name the folder: /srv/www"),
        ("file:www", "name the folder: www"),
        ("https://keys.example.com", FORMS),
        ("http://keys.example.com", FORMS),
        ("ftp://host/x", FORMS),
        ("https:keys", f"{FORMS}; ./https:keys is a folder of that name"),
        ("host:/srv/www", f"{FORMS}; ./host:/srv/www is a folder of that name"),
        ("ssh://git@host/x.git", GIT),
        ("git@github.com:owner/repo.git", GIT),
        ("deploy@host:/srv/www", GIT),
        ("", FORMS),
        ("  ", FORMS),
    ],
)
def test_misspelt_addresses(text: str, hint: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, vault: Lab) -> None:
    """Each is refused with a hint that has the right form, and no folder is created."""
    monkeypatch.chdir(tmp_path)
    before = sorted(tmp_path.iterdir())
    with fails("destination-unsupported", UsageError) as refused:
        publish(vault.context(), text)
    assert refused.value.hint == hint
    assert sorted(tmp_path.iterdir()) == before


def test_no_secret_is_shown() -> None:
    """The message does not show a password in an address."""
    with fails("destination-unsupported", UsageError) as refused:
        parse("ftp://ada:correct-horse@host/x")
    assert "correct-horse" not in f"{refused.value.message} {refused.value.hint}"


@pytest.mark.parametrize(
    ("text", "address"), [("s3://bucket/a", "s3://bucket/a"), ("branch:gh-pages",) * 2, ("s3:bucket", "s3://bucket")]
)
def test_render_takes_folders_only(
    text: str, address: str, vault: Lab, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """`render` refuses an address that `publish` would take, instead of creating a folder of that name."""
    monkeypatch.chdir(tmp_path)
    with fails("not-a-folder", UsageError) as refused:
        render(vault.context(), Path(text))
    assert refused.value.hint == f"keyvault publish {address}"


def test_a_linked_folder_names_its_target(vault: Lab, tmp_path: Path) -> None:
    """A destination that is a symbolic link is refused with the folder that it leads to."""
    (tmp_path / "real").mkdir()
    (tmp_path / "www").symlink_to("real")
    with fails("folder-is-link", UsageError) as refused:
        publish(vault.context(), str(tmp_path / "www"))
    assert refused.value.message.endswith(" real")
    assert refused.value.hint == f"name the folder itself: {tmp_path / 'real'}"
    publish(vault.context(), str(tmp_path / "real"))
