"""`publish` to real object stores: objects, headers, and the result of an interrupted upload."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Iterator, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from keyvault.errors import ConflictError, GateError, PublishError, UsageError
from keyvault.operations import rotation
from keyvault.operations.publish import Published
from keyvault.publish.stores import ObjectStore
from keyvault.site.headers import headers
from tests.errors import fails
from tests.publish.servers import BUCKET, SERVERS, Store, cutting
from tests.revisions import publish
from tests.site.vaults import Lab, MakeVault
from tests.vaults import CLOCKED, PROJECT

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module", params=SERVERS)
def server(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Store]:
    """Each of the stores, one after the other."""
    with SERVERS[request.param](tmp_path_factory.mktemp("store")) as found:
        yield found


@pytest.fixture(scope="module")
def s3(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Store]:
    """A store that checks signatures and conditions."""
    with SERVERS["seaweedfs"](tmp_path_factory.mktemp("store")) as found:
        yield found


@pytest.fixture
def prefix(request: pytest.FixtureRequest) -> str:
    """A separate prefix for each test."""
    return "".join(char if char.isalnum() else "-" for char in request.node.name)


def put(vault: Lab, store: Store, prefix: str, **options: Any) -> Published:
    """Publish with the environment that the store needs."""
    with pytest.MonkeyPatch.context() as patch:
        for name, value in store.environ.items():
            patch.setenv(name, value)  # obstore reads the process's own
        return publish(context(vault, store.environ), store.destination(prefix), **options)


def context(vault: Lab, environ: Mapping[str, str]) -> Any:
    return Lab(vault.folder, vault.environ | dict(environ), vault.now).context()


# --- every store ----------------------------------------------------------------------------------------


def test_the_site_with_its_headers(vault: Lab, server: Store, prefix: str) -> None:
    """Every file arrives byte for byte, with its Content-Type and Cache-Control."""
    server.put(f"{prefix}-beside", "other.txt", b"of somebody else")
    first = put(vault, server, prefix)
    site = vault.site()
    assert server.site(prefix) == site
    assert sorted(first.uploaded) == sorted(site)
    for path in site:
        wanted = headers(path, max_age=vault.state.policy.site.max_age)
        found = server.get(prefix, path)[1]
        assert found == {name: wanted[name] for name in ("Content-Type", "Cache-Control")}, path
    assert server.site(f"{prefix}-beside") == {"other.txt": b"of somebody else"}


def test_a_second_time_only_what_changed(vault: Lab, server: Store, prefix: str) -> None:
    """Unchanged files are not uploaded again; files that are no longer part of the site are deleted."""
    put(vault, server, prefix)
    again = put(vault, server, prefix)
    assert (again.uploaded, again.deleted) == ([], [])

    server.put(prefix, "junk.txt", b"x")
    server.put(prefix, "google1.html", b"x")
    rotation.rotate(vault.context(), ["id-token"], forced="a drill")
    would = put(vault, server, prefix, keep=["google*.html"], dry_run=True)
    assert "junk.txt" in server.names(prefix)
    done = put(vault, server, prefix, keep=["google*.html"])
    assert done == would
    assert done.deleted == ["junk.txt"]
    assert "sets/access-token/index.html" not in done.uploaded
    assert server.site(prefix) == vault.site() | {"google1.html": b"x"}


def test_sets_of_equal_length_are_told_apart(make_vault: MakeVault, server: Store, prefix: str) -> None:
    """A rotated JWK Set has the length of the old one: a comparison by size would miss the change."""
    vault = make_vault("id-token:ES256")
    old = vault.head
    put(vault, server, prefix)
    before = server.get(prefix, ".well-known/jwks.json")[0]
    # Two keys before, two keys after: the next key became active, and a new one was created.
    vault.mature()
    rotation.rotate(vault.context(), ["id-token"])
    vault.edit_policy("max_age", "max_age")
    sets = {path: data for path, data in vault.site().items() if path.endswith("jwks.json")}
    shortened = json.loads(sets[".well-known/jwks.json"])
    assert [key["kid"] for key in shortened["keys"]] != [key["kid"] for key in json.loads(before)["keys"]]
    put(vault, server, prefix)
    assert {path: server.get(prefix, path)[0] for path in sets} == sets

    # The same bytes in another order, at the same length, put there by another program.
    swapped = sets[".well-known/jwks.json"].replace(b"ES256", b"ES265")
    assert len(swapped) == len(sets[".well-known/jwks.json"])
    server.put(prefix, ".well-known/jwks.json", swapped)
    assert put(vault, server, prefix).uploaded == [".well-known/jwks.json"]
    assert {path: server.get(prefix, path)[0] for path in sets} == sets
    assert old != vault.head


def test_an_older_commit_is_refused(vault: Lab, server: Store, prefix: str) -> None:
    """A late job does not publish an older commit, unless forced."""
    old = vault.head
    rotation.rotate(vault.context(), ["id-token"], forced="a drill")
    put(vault, server, prefix)
    before = server.site(prefix)
    with fails("live-commit-newer", GateError):
        put(vault, server, prefix, revision=old)
    assert server.site(prefix) == before
    put(vault, server, prefix, revision=old, force=True)
    assert server.site(prefix) == vault.site(old)


def test_a_place_of_somebody_else_is_left_alone(vault: Lab, server: Store, prefix: str) -> None:
    """A wrong name does not empty a bucket."""
    server.put(prefix, "index.html", b"mine")
    with fails("place-not-a-site", UsageError):
        put(vault, server, prefix, force=True)
    assert server.site(prefix) == {"index.html": b"mine"}


def test_another_max_age_reaches_every_object(vault: Lab, server: Store, prefix: str) -> None:
    """Headers are compared, too, not only bytes."""
    put(vault, server, prefix)
    age = vault.state.policy.site.max_age
    vault.commit({"keyvault.toml": _with_max_age((vault.folder / "keyvault.toml").read_text(), "20m")})
    assert vault.state.policy.site.max_age != age
    put(vault, server, prefix)
    for path in (".well-known/jwks.json", "index.html", "history.json"):
        assert server.get(prefix, path)[1]["Cache-Control"] == "public, max-age=1200"


def _with_max_age(text: str, age: str) -> str:
    lines = [line for line in text.splitlines() if not line.startswith("max_age")]
    lines.insert(lines.index("[site]") + 1, f'max_age = "{age}"')
    return "\n".join(lines) + "\n"


def test_a_write_over_something_else_is_refused(vault: Lab, server: Store, prefix: str) -> None:
    """Of two publishers at the same time, the later gets an error, and the object of the first stays."""
    with pytest.MonkeyPatch.context() as patch:
        for name, value in server.environ.items():
            patch.setenv(name, value)
        store = ObjectStore(server.destination(prefix), server.environ)
        store.write("a.json", b"1", {"Content-Type": "application/json"}, over=None)
        seen = store.listing()["a.json"]
        with fails("publish-conflict", ConflictError):
            store.write("a.json", b"2", {"Content-Type": "application/json"}, over=None)
        server.put(prefix, "a.json", b"3")
        with fails("publish-conflict", ConflictError):
            store.write("a.json", b"4", {"Content-Type": "application/json"}, over=seen)
        assert server.get(prefix, "a.json")[0] == b"3"
        # The same bytes, as if the answer was lost and the request sent again.
        store.write("a.json", b"3", {"Content-Type": "application/json"}, over=None)
        store.delete(["a.json", "never-there.json"])
        assert store.listing() == {}


# --- failures -------------------------------------------------------------------------------------------


def test_wrong_credentials(vault: Lab, s3: Store, prefix: str) -> None:
    """The error is one line without a secret, and the hint says what to check."""
    wrong = replace(s3, environ={**s3.environ, "AWS_SECRET_ACCESS_KEY": "another-secret"})
    with fails("store-failed", PublishError) as refused:
        put(vault, wrong, prefix)
    assert "\n" not in refused.value.message
    assert "another-secret" not in refused.value.message + str(refused.value.hint)
    assert "credentials" in (refused.value.hint or "")


def test_a_bucket_that_is_not_there(vault: Lab, s3: Store) -> None:
    """The error is one line."""
    with pytest.MonkeyPatch.context() as patch:
        for name, value in s3.environ.items():
            patch.setenv(name, value)
        with fails("store-failed", PublishError) as refused:
            publish(context(vault, s3.environ), "s3://no-such-bucket-anywhere")
    assert "\n" not in refused.value.message


def run(vault: Lab, environ: Mapping[str, str], destination: str) -> subprocess.Popen[bytes]:
    """Start ``keyvault publish`` in a process of its own."""
    return subprocess.Popen(
        [sys.executable, "-c", CLOCKED, vault.now.isoformat(), "publish", destination],
        cwd=vault.folder,
        env={**vault.environ, **environ, "PYTHONPATH": str(PROJECT), "PYTHONDONTWRITEBYTECODE": "1"},
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
    )


def test_an_upload_that_is_killed_at_each_request(make_vault: MakeVault, s3: Store) -> None:
    """Every JWK Set is old or new, never half; nothing is deleted too early; the next run completes the upload."""
    vault = make_vault("id-token:ES256")
    old_site, old = vault.site(), vault.head
    vault.mature()
    rotation.rotate(vault.context(), ["id-token"])
    new_site = vault.site()
    documents = [path for path in new_site if path.endswith("jwks.json") or "openid-configuration" in path]
    assert old_site[".well-known/jwks.json"] != new_site[".well-known/jwks.json"]
    with cutting(s3.environ["AWS_ENDPOINT_URL"]) as proxy:
        environ = {**s3.environ, "AWS_ENDPOINT_URL": proxy.url}
        after = states = 0
        while True:
            prefix = f"killed-{after}"
            proxy.victim = proxy.after = None
            put(vault, s3, prefix, revision=old)
            s3.put(prefix, "keys/gone.json", b"{}")
            proxy.requests.clear()
            proxy.after = after
            proxy.victim = run(vault, environ, s3.destination(prefix))
            out, _ = proxy.victim.communicate(timeout=60)
            there = s3.site(prefix)
            # Each document is whole, and one of the two.
            for path in documents:
                assert there.get(path) in (old_site.get(path), new_site[path]), (path, proxy.requests)
            # history.json is written first, and files are deleted last.
            changed = {path for path in new_site if there.get(path) != old_site.get(path)}
            if changed:
                assert there["history.json"] == new_site["history.json"]
            if changed - set(documents) - {"history.json"}:
                assert all(there[path] == new_site[path] for path in documents)
            if "keys/gone.json" not in there:
                assert there == new_site
            finished = proxy.victim.returncode == 0
            proxy.victim = proxy.after = None
            put(vault, s3, prefix)
            assert s3.site(prefix) == new_site
            states += 0 < len(changed) < len({path for path in new_site if new_site[path] != old_site.get(path)})
            if finished:
                assert b"published commit" in out
                break
            after += 1
    # The loop has interrupted runs before, during and after the writes.
    assert after > 10
    assert states > 5


def test_two_at_once(vault: Lab, s3: Store, prefix: str) -> None:
    """If two jobs publish the same commit, at least one succeeds, without a traceback, and the site is complete."""
    put(vault, s3, prefix)
    rotation.rotate(vault.context(), ["id-token"], forced="a drill")
    jobs = [run(vault, s3.environ, s3.destination(prefix)) for _ in range(2)]
    outs = [job.communicate(timeout=120)[0].decode() for job in jobs]
    assert sorted(job.returncode for job in jobs) in ([0, 0], [0, 1]), outs
    assert not any("Traceback" in out for out in outs), outs
    put(vault, s3, prefix)
    assert s3.site(prefix) == vault.site()


def test_command_on_a_real_store(vault: Lab, s3: Store, prefix: str, tmp_path: Path) -> None:
    """The command as a user types it: a dry run, a publication, JSON, a refusal with its exit code."""
    destination = s3.destination(prefix)

    def ask(*arguments: str) -> tuple[int, str, str]:
        done = subprocess.run(
            [sys.executable, "-c", CLOCKED, vault.now.isoformat(), *arguments],
            cwd=vault.folder,
            env={**vault.environ, **s3.environ, "PYTHONPATH": str(PROJECT)},
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            timeout=120,
        )
        return done.returncode, done.stdout, done.stderr

    code, out, _ = ask("publish", destination, "--dry-run")
    assert code == 0
    assert "upload  .well-known/jwks.json" in out
    assert out.splitlines()[-1].startswith(f"would publish commit {vault.head[:12]} to {destination}: ")
    assert s3.names(prefix) == set()
    code, out, _ = ask("publish", destination)
    assert (code, len(out.splitlines())) == (0, 1)
    code, out, _ = ask("publish", destination, "--json")
    answer = json.loads(out)
    assert (answer["previous"], answer["uploaded"], answer["deleted"]) == (vault.head, [], [])
    old = vault.head
    rotation.rotate(vault.context(), ["id-token"], forced="a drill")
    assert ask("-q", "publish", destination) == (0, vault.head + "\n", "")
    code, out, err = ask("publish", destination, "--ref", old)
    assert (code, out) == (3, "")
    assert err.startswith("keyvault: error: ")
    assert os.linesep * 2 not in err
    assert BUCKET in err


def test_a_first_upload_that_is_killed_is_finished(vault: Lab, s3: Store) -> None:
    """After any of its requests, the next run recognises the place and completes the upload."""
    with cutting(s3.environ["AWS_ENDPOINT_URL"]) as proxy:
        environ = {**s3.environ, "AWS_ENDPOINT_URL": proxy.url}
        for after in (1, 2, 3, 5, 9, 17):
            prefix = f"first-{after}"
            proxy.requests.clear()
            proxy.after = after
            proxy.victim = run(vault, environ, s3.destination(prefix))
            proxy.victim.communicate(timeout=60)
            proxy.victim = proxy.after = None
            put(vault, s3, prefix)
            assert s3.site(prefix) == vault.site()
