"""Publishing a site that is there already: found by content, without rendering it again, and each file is read once."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections import Counter
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from keyvault.operations import publish as module
from keyvault.operations import rotation
from tests.publish.fronts import front
from tests.publish.servers import SERVERS, Store
from tests.publish.test_folder import tree
from tests.publish.test_stores import put
from tests.revisions import publish
from tests.site.vaults import Lab
from tests.vaults import CLOCKED, PROJECT


@pytest.fixture
def renders(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """The commits that were rendered; fingerprints are noted of small sites, too."""
    found: list[str] = []
    real = module.site_files

    def noting(context: object, commit: str) -> object:
        found.append(commit)
        return real(context, commit)  # type: ignore[arg-type]

    monkeypatch.setattr(module, "site_files", noting)
    monkeypatch.setattr(module, "MIN_FILES_FOR_STAMP", 1)
    return found


@pytest.fixture(params=["folder", "seaweedfs", "azurite"])
def place(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Place]:
    """A folder; a store whose ETags are MD5; and a store whose objects have to be read."""
    if request.param == "folder":
        yield Place(None, tmp_path / "www")
        return
    (tmp_path / "server").mkdir()
    with SERVERS[request.param](tmp_path / "server") as store:
        yield Place(store, tmp_path)


class Place:
    """A place to publish to, seen past keyvault."""

    def __init__(self, store: Store | None, folder: Path) -> None:
        self.store, self.folder = store, folder

    def publish(self, vault: Lab, **options: object) -> module.Published:
        if self.store is None:
            return publish(vault.context(), str(self.folder), **options)
        return put(vault, self.store, "site", **options)

    def write(self, path: str, data: bytes) -> None:
        """Write a file with the time that it has, as somebody does who leaves no trace."""
        if self.store is not None:
            self.store.put("site", path, data)
            return
        target = self.folder / path
        target.parent.mkdir(exist_ok=True)
        times = (target.stat().st_atime_ns, target.stat().st_mtime_ns) if target.exists() else (0, 0)
        target.write_bytes(data)
        os.utime(target, ns=times)

    def site(self) -> dict[str, bytes]:
        return tree(self.folder) if self.store is None else self.store.site("site")


@pytest.mark.slow
def test_what_is_there_is_not_rendered_again(vault: Lab, place: Place, renders: list[str]) -> None:
    """Only a commit that was not rendered before is; whatever differs from it is found by content, and mended."""
    place.publish(vault)
    assert renders == [vault.head]
    unchanged = place.publish(vault)
    assert (unchanged.uploaded, unchanged.deleted, unchanged.files) == ([], [], len(vault.site()))
    assert place.publish(vault, dry_run=True) == unchanged
    assert renders == [vault.head]

    page = vault.site()["index.html"]
    for path, data in (("index.html", page[::-1]), ("keys/stray.json", b"{}")):
        place.write(path, data)
        done = place.publish(vault)
        assert (done.uploaded, done.deleted) == (([path], []) if path in vault.site() else ([], [path]))
        assert place.site() == vault.site()
    assert renders == [vault.head] * 3

    rotation.rotate(vault.context(), ["id-token"], forced="a drill")
    place.publish(vault)
    place.publish(vault)
    assert renders[3:] == [vault.head]
    assert place.site() == vault.site()


@pytest.mark.parametrize("data", [b"", b"\xff", b"\x95", b"\xdd\xff\xff\xff\xff" * 3])
def test_fingerprints_that_cannot_be_read(vault: Lab, renders: list[str], tmp_path: Path, data: bytes) -> None:
    """The site is rendered, and they are noted anew."""
    publish(vault.context(), str(tmp_path / "www"))
    file = vault.folder / ".git" / "keyvault-rendered" / "published"
    good = file.read_bytes()
    file.write_bytes(data)
    assert publish(vault.context(), str(tmp_path / "www")).uploaded == []
    assert (len(renders), file.read_bytes()) == (2, good)


def test_another_program_renders_anew(
    vault: Lab, renders: list[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A new version, or other libraries, may render the same commit to other bytes."""
    publish(vault.context(), str(tmp_path / "www"))
    monkeypatch.setattr(module, "builder_digest", lambda _: "another program")
    publish(vault.context(), str(tmp_path / "www"))
    assert len(renders) == 2


def test_a_small_site_leaves_no_note(vault: Lab, tmp_path: Path) -> None:
    """Rendering it takes a moment."""
    publish(vault.context(), str(tmp_path / "www"))
    assert not (vault.folder / ".git" / "keyvault-rendered" / "published").exists()


@pytest.mark.slow
@pytest.mark.parametrize("known", [False, True])
@pytest.mark.parametrize("name", ["seaweedfs", "azurite"])
def test_each_object_is_read_once(
    vault: Lab, tmp_path: Path, name: str, known: bool, request: pytest.FixtureRequest
) -> None:
    """And of a store whose ETags are MD5, only documents and history.json are."""
    if known:
        request.getfixturevalue("renders")
    with SERVERS[name](tmp_path) as store:
        put(vault, store, "site")
        [variable] = [one for one in ("AWS_ENDPOINT_URL", "AZURITE_BLOB_STORAGE_URL") if one in store.environ]
        with front(store.environ[variable]) as proxy:
            done = put(vault, replace(store, environ={**store.environ, variable: proxy.url}), "site")
    assert done.uploaded == []
    reads = Counter(
        request.path.partition("/site/")[2]
        for request in proxy.requests
        if "/site/" in request.path and "?" not in request.path
    )
    assert set(reads.values()) == {1}
    documents = {path for path in vault.site() if path.endswith("jwks.json") or "openid-configuration" in path}
    wanted = documents | {"history.json"}
    assert wanted <= reads.keys() <= vault.site().keys()
    if name == "seaweedfs":
        assert reads.keys() == wanted
    assert {request.method for request in proxy.requests} <= {"GET", "HEAD"}


_COUNTED = """
import collections, json, runpy, sys
from pathlib import Path
opened = collections.Counter()
sys.addaudithook(lambda event, values: opened.update([str(values[0])]) if event == "open" else None)
place = sys.argv.pop(1)
try:
    exec(sys.argv.pop(1))
finally:
    found = {name.removeprefix(place + "/"): count for name, count in opened.items() if name.startswith(place + "/")}
    print(json.dumps(found))
"""


@pytest.mark.parametrize("dry_run", [False, True])
def test_each_file_of_a_folder_is_read_once(vault: Lab, tmp_path: Path, dry_run: bool) -> None:
    """But history.json, which is also asked for the commit that is live."""
    place = tmp_path / "www"
    publish(vault.context(), str(place))
    done = subprocess.run(
        [sys.executable, "-c", _COUNTED, str(place), CLOCKED, vault.now.isoformat(), "publish", str(place)]
        + ["--dry-run"] * dry_run,
        cwd=vault.folder,
        env={**vault.environ, "PYTHONPATH": str(PROJECT)},
        capture_output=True,
        text=True,
        timeout=120,
    )
    opened = json.loads(done.stdout.splitlines()[-1])
    assert opened == {**dict.fromkeys(vault.site(), 1), "history.json": 2}, done.stderr
