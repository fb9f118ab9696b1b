"""Receipts: with a simulated fetch, and over real HTTP."""

from __future__ import annotations

import socket
import threading
from collections.abc import Iterator
from http.server import ThreadingHTTPServer
from pathlib import Path

import pytest

from keyvault.core.gate import ServedKeys
from keyvault.errors import LiveError
from keyvault.operations import rotation
from keyvault.publish import live
from keyvault.publish.preview import make_server
from tests import revisions
from tests.cli.terminal import Terminal
from tests.vaults import DAY, HOUR, MINUTE, Vault, make_vault, refuse_fetch, serving

# --- a look of the test's own ---------------------------------------------------------------------------


def test_receipts_are_recorded_once(live_vault: Vault) -> None:
    """The first run that sees the next keys live records when and where; later runs do not ask again."""
    live_vault.wait(HOUR)
    outcome = rotation.rotate_due(live_vault.context())

    assert [event.event for _, event in outcome.events] == ["published", "published"]
    for name in ("id-token", "access-token"):
        assert live_vault.next(name).life.published == {
            "https://keys.example.com/.well-known/jwks.json": live_vault.now
        }
    assert rotation.rotate_due(live_vault.context(look=refuse_fetch)).commit is None


def test_a_url_is_asked_once_for_all_its_sets(live_vault: Vault) -> None:
    """Sets that share a JWK Set are fetched with a single request."""
    asked: list[str] = []

    def look(url: str) -> ServedKeys:
        asked.append(url)
        return serving(live_vault.state())(url)

    rotation.rotate_due(live_vault.context(look=look))

    assert asked == ["https://keys.example.com/.well-known/jwks.json"]


def test_what_is_not_served_has_no_receipt(live_vault: Vault) -> None:
    """If the host serves other keys or does not answer, there is no receipt: the run reports what waits."""
    nothing = rotation.rotate_due(live_vault.context(look=lambda url: frozenset()))
    assert nothing.commit is None
    assert nothing.plan.waiting[0] == (
        "id-token: https://keys.example.com/.well-known/jwks.json does not serve the next key yet"
    )

    def unreachable(url: str) -> None:
        raise LiveError(f"{url} cannot be reached: connection refused", code="unreachable")

    failed = rotation.rotate_due(live_vault.context(look=unreachable))
    assert failed.commit is None
    assert "could not be fetched, so there is no receipt yet" in failed.plan.waiting[0]
    assert failed.warnings == ("https://keys.example.com/.well-known/jwks.json cannot be reached: connection refused",)


def test_a_kid_with_another_key_is_no_receipt(live_vault: Vault) -> None:
    """A host that serves the kid with other key material does not serve the key."""
    kids = [key.kid for key in live_vault.state().keys.values()]

    outcome = rotation.rotate_due(live_vault.context(look=lambda url: frozenset((kid, "x" * 43) for kid in kids)))

    assert outcome.commit is None


def test_a_rotation_that_is_due_waits_for_the_host(live_vault: Vault) -> None:
    """If a rotation is due and the host does not serve the next key, that set waits and all others proceed."""
    before = live_vault.state()
    rotation.rotate_due(live_vault.context())
    live_vault.wait(DAY)
    rotation.rotate(live_vault.context(), ["access-token"])
    live_vault.wait(90 * DAY)

    outcome = rotation.rotate_due(live_vault.context(look=serving(before)))

    assert [(key.set, event.event) for key, event in outcome.events] == [
        ("id-token", "activated"),
        ("id-token", "deactivated"),
        ("id-token", "created"),
        ("access-token", "withdrawn"),
    ]
    assert outcome.plan.waiting[-1] == (
        "access-token: rotation is due since 2027-02-22 17:00Z, but its next key was not yet seen at "
        "https://keys.example.com/.well-known/jwks.json"
    )


def test_looking_at_reports_needs_no_host(live_vault: Vault) -> None:
    """Commands that only read the vault fetch no URL, and neither do those that need no receipt."""
    keyvault = Terminal.of(live_vault)
    for command in ("status", "plan", "render", "key list", "recipient check", "set add reports"):
        keyvault.ok(*command.split())
    keyvault.ok("revoke", live_vault.active().kid, "--reason", "compromised")


# --- a real host ----------------------------------------------------------------------------------------


class Host:
    """A web server on this machine that serves what was deployed."""

    def __init__(self) -> None:
        self.files: dict[str, bytes] = {}
        self.requests = 0
        self.server: ThreadingHTTPServer = make_server(self._site, lambda path: {}, port=0)
        threading.Thread(target=self.server.serve_forever, args=(0.02,), daemon=True).start()

    def _site(self) -> dict[str, bytes]:
        self.requests += 1
        return self.files

    @property
    def url(self) -> str:
        return f"http://localhost:{self.server.server_address[1]}"

    def deploy(self, vault: Vault) -> None:
        """Serve the site of the vault's newest commit from now on."""
        self.files = dict(revisions.site_files(vault.context(look=refuse_fetch))[1])

    def stop(self) -> None:
        self.server.shutdown()
        self.server.server_close()


@pytest.fixture
def host() -> Iterator[Host]:
    """A host that serves nothing yet."""
    host = Host()
    yield host
    host.stop()


@pytest.fixture
def published(tmp_path: Path, host: Host) -> Vault:
    """A vault whose public URL is that host."""
    return make_vault(tmp_path, url=host.url)


def run(vault: Vault, *arguments: str) -> tuple[int, str, str]:
    """Run the command line in a separate process, which reaches the host only over HTTP."""
    done = vault.run(*arguments)
    return done.returncode, done.stdout, done.stderr


def test_a_rotation_over_http(published: Vault, host: Host) -> None:
    """
    The whole way, by real processes and a real host: deploy, receipt, lead, rotation.

    Before the deploy there is no receipt, before the lead is over no rotation.
    """
    code, out, err = run(published, "rotate", "--due")
    assert (code, out) == (0, "nothing to do\n")
    assert f"waiting: id-token: {host.url}/.well-known/jwks.json could not be fetched" in err
    assert "answers with status 404" in err

    host.deploy(published)
    published.wait(20 * MINUTE)
    code, out, err = run(published, "rotate", "--due")
    assert (code, err) == (0, "")
    assert published.log[0] == "record receipt for id-token, access-token"

    published.wait(DAY - MINUTE)
    code, _, err = run(published, "rotate", "id-token")
    assert code == 3
    assert "first seen live 23 hours ago" in err
    published.wait(MINUTE)
    code, _, err = run(published, "rotate", "id-token")
    assert (code, err) == (0, "")
    assert published.log[0] == "rotate id-token"


def test_one_request_a_run(published: Vault, host: Host) -> None:
    """A run sends a single request to the host, however many sets it serves, and none if none is needed."""
    host.deploy(published)

    run(published, "rotate", "--due")
    assert host.requests == 1
    run(published, "rotate", "--due")
    assert host.requests == 1


def test_a_host_that_was_rolled_back(published: Vault, host: Host) -> None:
    """A reverted deploy closes the gate again; with --force the reason is recorded."""
    host.deploy(published)
    run(published, "rotate", "--due")
    host.files = {}
    published.wait(DAY)

    code, _, err = run(published, "rotate", "id-token")
    assert code == 3
    assert "could not be fetched to check that it still serves the next key" in err
    code, _, err = run(published, "rotate", "id-token", "--force", "--reason", "the host is gone")
    assert (code, published.active().events[-1].forced) == (0, "the host is gone")


def test_a_host_that_is_down(tmp_path: Path) -> None:
    """If the host is down, the scheduled run makes the other changes, and exits with 0."""
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        vault = make_vault(tmp_path, url=f"http://localhost:{taken.getsockname()[1]}")
        vault.edit_policy("[sets.id-token]", '[sets.reports]\nalg = "ES256"\n\n[sets.id-token]')

        code, _, err = run(vault, "rotate", "--due")

    assert code == 0
    assert vault.log[0] == "create 2 keys of reports"
    assert "cannot be reached" in err


def test_serve(vault: Vault) -> None:
    """`serve` shows the site on this machine until it is interrupted, and its JWK Set is the vault's."""
    process = vault.start("serve", "--port", "0")
    try:
        assert process.stdout is not None
        address = process.stdout.readline().decode().removeprefix("serving ").strip()
        assert address.startswith("http://127.0.0.1:")
        served = live.fetch_key_ids(address + ".well-known/jwks.json")
        assert served == serving(vault.state())("https://keys.example.com/.well-known/jwks.json")
    finally:
        process.send_signal(2)
        _out, err = process.communicate(timeout=30)
    assert process.returncode == 0
    assert err.decode().endswith("keyvault: stopped\n")


def test_serve_on_a_port_that_is_taken(keyvault: Terminal) -> None:
    """A port that is taken is wrong usage, with a hint that works."""
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()

        result = keyvault("serve", "--port", str(taken.getsockname()[1]))

    assert (result.code, result.hint) == (2, "--port 0 selects a free port")
