"""Several sites at one destination, some below others: none deletes or overwrites another."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from keyvault.core.files import Rendered, Unchanged
from keyvault.errors import GateError, UsageError
from keyvault.operations import rotation
from keyvault.publish.destination import MARKERS, SitesBelow
from keyvault.publish.folder import write_site
from tests import revisions
from tests.errors import fails
from tests.publish.servers import SERVERS, Store
from tests.publish.test_folder import MARKED, NEW, rendered, tree
from tests.publish.test_publish import BRANCH, add_file, bare, branch, git
from tests.publish.test_stores import put
from tests.revisions import publish
from tests.site.vaults import Lab, MakeVault

__all__ = ["bare"]

BELOW = "https://keys.example.com/b"
COMMIT = b'{"commit": "0123456789012345678901234567890123456789"}'


def below(files: dict[str, bytes], folder: str = "b") -> dict[str, bytes]:
    return {f"{folder}/{path}": data for path, data in files.items()}


# --- how a site is recognised ---------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("files", "found"),
    [
        ({"b/history.json": COMMIT}, ("b",)),
        ({"b/history.json": b"{}", "b/.nojekyll": b""}, ("b",)),
        ({"b/history.json": b"{}"}, ()),
        ({"b/history.json": b'{"keys": []}'}, ()),
        ({"history.json": COMMIT}, ()),
        ({"b/c/history.json": COMMIT, "b/history.json": COMMIT}, ("b",)),
        ({"b/history.json": COMMIT, "b-c/history.json": COMMIT}, ("b", "b-c")),
        ({".b.keyvault-spare/history.json": COMMIT, ".b.x.keyvault-new/history.json": COMMIT}, ()),
        ({"bhistory.json": COMMIT}, ()),
    ],
)
def test_sites_below(files: dict[str, bytes], found: tuple[str, ...]) -> None:
    """A folder is a site if it has both markers, or a history.json that names a commit."""
    assert SitesBelow(files, files.get).folders == found


@pytest.mark.parametrize(
    ("path", "refused"),
    [
        ("b", True),
        ("b/x", True),
        ("b/c/x", True),
        ("bx", False),
        ("a/b", False),
        ("c", True),
        ("c/x", False),
        ("c/d", True),
    ],
)
def test_paths_that_would_lie_in_a_site_below(path: str, refused: bool) -> None:
    """A file must not lie in such a site, nor take the place of a folder that leads to it."""
    files = {"b/history.json": COMMIT, "c/d/history.json": COMMIT}
    site = SitesBelow(files, files.get)
    if refused:
        with fails("site-below", GateError):
            list(site.refuse_below([Unchanged(path)]))
    else:
        assert list(site.refuse_below([Unchanged(path)])) == [Unchanged(path)]


def test_our_own_site_has_no_site_below(make_vault: MakeVault) -> None:
    """With issuers at paths, and a JWK Set that is called history.json, a site holds one history only."""
    vault = make_vault("id-token:ES256", "access-token:ES256")
    vault.edit_policy(
        "[sets.access-token]", '[sets.access-token]\nissuer = "https://keys.example.com/b"\npaths = ["/c/history.json"]'
    )
    site = vault.site()
    assert {"b/.well-known/jwks.json", "c/history.json"} <= site.keys()
    assert SitesBelow(site, site.get).folders == ()


# --- folders --------------------------------------------------------------------------------------------


@pytest.fixture
def two(make_vault: MakeVault) -> tuple[Lab, Lab]:
    """A vault, and a vault whose site lies below that of the first."""
    return make_vault(), make_vault(url=BELOW)


def test_folder_below_a_folder(two: tuple[Lab, Lab], tmp_path: Path) -> None:
    """Each publishes as often as it likes; the other site stays, file by file, links included."""
    top, nested = two
    www = tmp_path / "www"
    publish(top.context(), str(www))
    done = publish(nested.context(), str(www / "b"))
    assert done.site_above == str(www)
    for turn in range(2):
        rotation.rotate(top.context(), ["id-token"], forced=f"drill {turn}")
        (www / "b" / "stray").symlink_to("history.json")
        would = publish(top.context(), str(www), dry_run=True)
        done = publish(top.context(), str(www))
        assert done == would
        assert (done.sites_below, done.site_above) == (("b",), None)
        assert not any(path.startswith("b/") for path in done.deleted)
        assert (www / "b" / "stray").is_symlink()
        (www / "b" / "stray").unlink()
        assert tree(www) == {**top.site(), **below(nested.site())}
        assert publish(top.context(), str(www)).uploaded == []
    rotation.rotate(nested.context(), ["id-token"], forced="a drill")
    publish(nested.context(), str(www / "b"))
    assert tree(www) == {**top.site(), **below(nested.site())}


def test_the_lower_site_may_be_first(two: tuple[Lab, Lab], tmp_path: Path) -> None:
    """A folder that holds nothing but other sites is as good as an empty one."""
    top, nested = two
    www = tmp_path / "www"
    publish(nested.context(), str(www / "a" / "b"))
    assert publish(top.context(), str(www)).sites_below == ("a/b",)
    assert tree(www) == {**top.site(), **below(nested.site(), "a/b")}


def test_a_linked_site_stays_linked(two: tuple[Lab, Lab], tmp_path: Path) -> None:
    """A link that leads to a site elsewhere is kept, and so is that site."""
    top, nested = two
    www, elsewhere = tmp_path / "www", tmp_path / "elsewhere"
    publish(top.context(), str(www))
    publish(nested.context(), str(elsewhere))
    (www / "b").symlink_to(elsewhere)
    rotation.rotate(top.context(), ["id-token"], forced="a drill")
    (www / "c").symlink_to(tmp_path)
    done = publish(top.context(), str(www))
    assert (done.sites_below, done.deleted) == (("b",), ["c"])
    assert ((www / "b").is_symlink(), (www / "c").is_symlink()) == (True, False)
    assert tree(elsewhere) == nested.site()


def test_an_issuer_where_another_site_lies_is_refused(two: tuple[Lab, Lab], tmp_path: Path) -> None:
    """The site of a vault does not take over the folder of another site; nothing is written."""
    top, nested = two
    www = tmp_path / "www"
    publish(top.context(), str(www))
    publish(nested.context(), str(www / "b"))
    before = tree(www)
    top.edit_policy("[sets.access-token]", f'[sets.access-token]\nissuer = "{BELOW}"')
    for dry_run in (True, False):
        with fails("site-below", GateError) as refused:
            publish(top.context(), str(www), dry_run=dry_run, force=True)
        assert refused.value.message.startswith("b/.well-known/jwks.json of this site would lie in b/,")
    with fails("site-below", GateError):
        revisions.render(top.context(), www)
    assert tree(www) == before


def test_a_place_that_an_issuer_of_another_site_has_is_refused(two: tuple[Lab, Lab], tmp_path: Path) -> None:
    """The folder of an issuer is not taken for a free place, and the message names the site that it belongs to."""
    top, nested = two
    top.edit_policy("[sets.access-token]", f'[sets.access-token]\nissuer = "{BELOW}"')
    www = tmp_path / "www"
    publish(top.context(), str(www))
    with fails("place-not-a-site", UsageError) as refused:
        publish(nested.context(), str(www / "b"))
    assert refused.value.message.endswith(f"the site at {www}")
    assert tree(www) == top.site()


def test_render_keeps_a_site_below(two: tuple[Lab, Lab], tmp_path: Path) -> None:
    """As for publish."""
    top, nested = two
    www = tmp_path / "www"
    revisions.render(top.context(), www)
    revisions.render(nested.context(), www / "b")
    rotation.rotate(top.context(), ["id-token"], forced="a drill")
    revisions.render(top.context(), www)
    assert tree(www) == {**top.site(), **below(nested.site())}


def test_who_publishes_below_waits_for_who_publishes_above(tmp_path: Path) -> None:
    """A site that is published while the folder around it is replaced is not lost, at any depth."""
    www = tmp_path / "www"
    write_site(rendered(NEW), www)
    begun, go_on = threading.Event(), threading.Event()

    def slow() -> Iterator[Rendered]:
        begun.set()
        assert go_on.wait(30)
        yield from rendered({**NEW, "index.html": b"newer"})

    first = threading.Thread(target=lambda: write_site(slow(), www))
    first.start()
    assert begun.wait(30)
    others = [
        threading.Thread(target=write_site, args=(rendered({**MARKED, "history.json": COMMIT}), www / place))
        for place in ("b", "c/d/e")
    ]
    for other in others:
        other.start()
    go_on.set()
    for thread in (first, *others):
        thread.join(60)
    # Once more, over the folder that took the place of the first.
    write_site(rendered({**NEW, "index.html": b"newest"}), www)
    assert {path for path in tree(www) if path.endswith("history.json")} == {
        "history.json",
        "b/history.json",
        "c/d/e/history.json",
    }


# --- a branch -------------------------------------------------------------------------------------------


def test_a_site_below_on_a_branch(vault: Lab, bare: Path) -> None:
    """A site that somebody put into a folder of the branch stays."""
    publish(vault.context(), BRANCH)
    blob = git(bare, "hash-object", "-w", "--stdin", stdin=COMMIT).decode().strip()
    inner = git(bare, "mktree", stdin=f"100644 blob {blob}\thistory.json\n".encode()).decode().strip()
    rows = git(bare, "ls-tree", "gh-pages") + f"040000 tree {inner}\tb\n".encode()
    top = git(bare, "mktree", stdin=rows).decode().strip()
    git(bare, "update-ref", "refs/heads/gh-pages", git(bare, "commit-tree", top, "-m", "by hand").decode().strip())
    rotation.rotate(vault.context(), ["id-token"], forced="a drill")
    done = publish(vault.context(), BRANCH)
    assert (done.sites_below, done.deleted) == (("b",), [])
    assert branch(bare) == {**vault.site(), "b/history.json": COMMIT}


def test_an_old_branch_says_how_to_go_on(vault: Lab, bare: Path) -> None:
    """The first publication over a branch of somebody names a file, and three ways that can be typed."""
    add_file(bare, "old.html", b"mine")
    with fails("place-not-a-site", UsageError) as refused:
        publish(vault.context(), BRANCH)
    assert refused.value.message.startswith("origin/gh-pages ")
    assert refused.value.message.endswith(" old.html")
    assert (refused.value.hint or "").splitlines() == [
        "publish to another branch: branch:gh-pages-keys",
        "or give up the old one: git push origin --delete gh-pages",
        "or leave its files there: --keep GLOB",
    ]
    git(bare, "branch", "-D", "gh-pages")
    publish(vault.context(), BRANCH)
    assert branch(bare) == vault.site()


# --- object stores --------------------------------------------------------------------------------------


@pytest.fixture(scope="module", params=SERVERS)
def server(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Store]:
    """Each of the stores, one after the other."""
    with SERVERS[request.param](tmp_path_factory.mktemp("store")) as found:
        yield found


@pytest.mark.slow
def test_prefix_below_a_prefix(two: tuple[Lab, Lab], server: Store) -> None:
    """As for folders; an upload that has written nothing but history.json counts as a site."""
    top, nested = two
    put(top, server, "two")
    assert put(nested, server, "two/b").site_above == server.destination("two")
    server.put("two/half", "history.json", COMMIT)
    rotation.rotate(top.context(), ["id-token"], forced="a drill")
    done = put(top, server, "two")
    assert (done.sites_below, done.deleted) == (("b", "half"), [])
    assert server.site("two") == {**top.site(), **below(nested.site()), "half/history.json": COMMIT}
    assert put(top, server, "two").uploaded == []

    top.edit_policy("[sets.access-token]", f'[sets.access-token]\nissuer = "{BELOW}"')
    before = server.site("two")
    with fails("site-below", GateError):
        put(top, server, "two")
    assert server.site("two") == before


def test_markers_are_those_of_a_site(vault: Lab) -> None:
    """Every site has both."""
    assert set(MARKERS) <= vault.site().keys()
