"""The preview server: the site as a real host should serve it, on this machine only."""

from __future__ import annotations

import http.client
import json
import re
import shutil
import socket
import struct
import subprocess
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

import pytest

from keyvault.errors import UsageError
from keyvault.operations import rotation
from keyvault.operations import serve as operations
from keyvault.publish.preview import make_server
from keyvault.site.headers import CSP, headers
from tests.errors import fails
from tests.publish.serving import Serving, ask
from tests.site.vaults import MINUTE, DemoLab, Lab, MakeVault

FILES = {
    "index.html": b"<h1>index</h1>",
    "404.html": b"<h1>not here</h1>",
    ".well-known/jwks.json": b"{}",
    ".well-known/openid-configuration": b"{}",
    "openid/v1/jwks": b"{}",
    "keys/a~b.json": b"{}",
    "keys/a~b.pem": b"-----BEGIN PUBLIC KEY-----",
    "assets/style.css": b"body {}",
    "assets/favicon.svg": b"<svg/>",
    "assets/a b\u00e4.png": b"PNG",
    "robots.txt": b"User-agent: *",
    "_headers": b"/*",
    ".nojekyll": b"",
}


def page_headers(path: str) -> Mapping[str, str]:
    return headers(path, max_age=10 * MINUTE)


@pytest.fixture
def serve() -> Iterator[Callable[..., str]]:
    """Give a function that serves files and returns the address."""
    servers = []

    def start(files: Mapping[str, bytes] = FILES, *, base: str = "") -> str:
        server = make_server(lambda: files, page_headers, port=0, base=base)
        servers.append(server)
        threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01}, daemon=True).start()
        return f"http://127.0.0.1:{server.server_address[1]}"

    yield start
    for server in servers:
        server.shutdown()
        server.server_close()


# --- headers --------------------------------------------------------------------------------------------

KINDS = {
    "/": "text/html; charset=utf-8",
    "/index.html": "text/html; charset=utf-8",
    "/.well-known/jwks.json": "application/json",
    "/.well-known/openid-configuration": "application/json",
    "/openid/v1/jwks": "application/json",
    "/keys/a~b.json": "application/json",
    "/keys/a~b.pem": "application/x-pem-file",
    "/assets/style.css": "text/css; charset=utf-8",
    "/assets/favicon.svg": "image/svg+xml",
    "/assets/a%20b%C3%A4.png": "image/png",
    "/robots.txt": "text/plain; charset=utf-8",
    "/.nojekyll": "text/plain; charset=utf-8",
}


@pytest.mark.parametrize("path", KINDS)
def test_headers_of_each_kind_of_path(serve: Callable[..., str], path: str) -> None:
    """Content types are right, any origin may read, caches keep files for max_age, and browsers do not sniff."""
    answer = ask(serve(), path)

    assert answer.status == 200
    assert answer.headers["Content-Type"] == KINDS[path]
    assert answer.headers["Cache-Control"] == "public, max-age=600"
    assert answer.headers["Access-Control-Allow-Origin"] == "*"
    assert answer.headers["X-Content-Type-Options"] == "nosniff"
    assert answer.headers["Referrer-Policy"] == "no-referrer"
    assert answer.headers["Content-Length"] == str(len(answer.body))
    assert answer.headers.get("Content-Security-Policy") == (CSP if "html" in KINDS[path] else None)


def test_policy_for_pages_is_strict() -> None:
    """Pages load nothing from other hosts, run nothing inline, send no form, and cannot be framed."""
    rules = dict(rule.strip().split(" ", 1) for rule in CSP.split(";"))

    assert rules["default-src"] == rules["base-uri"] == rules["form-action"] == rules["frame-ancestors"] == "'none'"
    assert set(rules["style-src"].split()) | set(rules["img-src"].split()) == {"'self'"}
    assert "unsafe" not in CSP
    assert "http" not in CSP


# --- paths ----------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "path",
    [
        "/nothing.json",
        "/keys",
        "/keys/",
        "/keys/../index.html",
        "/../../../../etc/hostname",
        "/..%2f..%2f..%2fetc%2fhostname",
        "/%00",
        "/index.html/",
        "/INDEX.HTML",
        "/jwks.json%0d%0aX-Evil:%201",
        "/\\..\\windows",
    ],
)
def test_unknown_path_gets_the_404_page(serve: Callable[..., str], path: str) -> None:
    """A path that is not on the site gets a 404 with the site's own page; no file of this machine is read."""
    answer = ask(serve(), path)

    assert answer.status == 404
    assert answer.body == FILES["404.html"]
    assert answer.headers["Content-Type"] == "text/html; charset=utf-8"
    assert answer.headers["Content-Security-Policy"] == CSP
    assert "X-Evil" not in answer.headers


def test_query_is_ignored(serve: Callable[..., str]) -> None:
    """Verifiers that add a parameter to avoid caches get the same file."""
    assert ask(serve(), "/.well-known/jwks.json?v=2&x=/../").body == b"{}"


@pytest.mark.parametrize("path", ["/", "/.well-known/jwks.json", "/nothing"])
def test_head_is_get_without_the_body(serve: Callable[..., str], path: str) -> None:
    """HEAD has the status, the length and the headers of GET, and no body."""
    url = serve()
    full, head = ask(url, path), ask(url, path, method="HEAD")

    assert head.body == b""
    assert full.body != b""
    assert head.status == full.status
    assert {**head.headers, "Date": ""} == {**full.headers, "Date": ""}


@pytest.mark.parametrize("method", ["POST", "PUT", "DELETE", "OPTIONS"])
def test_other_methods_are_refused(serve: Callable[..., str], method: str) -> None:
    """A static host takes no writes."""
    assert ask(serve(), "/", method=method).status == 501


def test_connection_is_kept_for_the_next_request(serve: Callable[..., str]) -> None:
    """A client may send several requests over one connection, including a HEAD and a 404."""
    connection = http.client.HTTPConnection(serve().removeprefix("http://"), timeout=30)
    for method, path, status in (("GET", "/", 200), ("HEAD", "/", 200), ("GET", "/no", 404), ("GET", "/", 200)):
        connection.request(method, path)
        response = connection.getresponse()
        response.read()
        assert response.status == status
    connection.close()


def test_site_below_a_path(serve: Callable[..., str]) -> None:
    """A site at https://host/base is served below /base, and no other path exists."""
    url = serve(base="/base")

    assert ask(url, "/base/").body == ask(url, "/base/index.html").body == ask(url, "/base").body == FILES["index.html"]
    assert ask(url, "/base/.well-known/jwks.json").status == 200
    for path in ("/", "/index.html", "/.well-known/jwks.json", "/base.well-known/jwks.json", "/baseindex.html"):
        assert ask(url, path).status == 404, path


def test_site_without_pages_still_answers(serve: Callable[..., str]) -> None:
    """Before the first successful render, every path is a 404."""
    answer = ask(serve({}), "/")

    assert (answer.status, answer.body) == (404, b"")


def test_only_this_machine_is_served() -> None:
    """The preview listens on the loopback address alone."""
    server = make_server(lambda: FILES, page_headers, port=0)
    try:
        assert server.server_address[0] == "127.0.0.1"
    finally:
        server.server_close()


def test_port_in_use_is_an_error_of_usage() -> None:
    """The error names the port, and the hint says what to do."""
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        with fails("port-unavailable", UsageError) as caught:
            make_server(lambda: FILES, page_headers, port=port)
    assert str(port) in caught.value.message
    assert caught.value.message.endswith("Address already in use")
    assert caught.value.hint == "--port 0 selects a free port"


def test_client_that_hangs_up_prints_nothing(serve: Callable[..., str], capfd: pytest.CaptureFixture[str]) -> None:
    """If a browser disconnects in the middle of a page, no traceback appears on the terminal."""
    url = serve({**FILES, "large.txt": b"x" * 20_000_000})
    port = int(url.rpartition(":")[2])
    for request in (b"GET /large.txt HTTP/1.1\r\nHost: x\r\n\r\n", b"GET / HT", b"\x16\x03\x01 nonsense\r\n\r\n"):
        client = socket.create_connection(("127.0.0.1", port))
        client.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        client.sendall(request)
        if b"large" in request:
            client.recv(10)
        client.close()
    ask(url, "/")
    time.sleep(0.2)  # the threads of the connections above end by themselves

    assert capfd.readouterr() == ("", "")


# --- rendering again ------------------------------------------------------------------------------------


class Reports:
    """The reports of a preview."""

    def __init__(self, lab: Lab, monkeypatch: pytest.MonkeyPatch) -> None:
        self.rendered: list[str] = []
        self.errors: list[Exception] = []
        self.clock = 1_000.0
        monkeypatch.setattr("keyvault.operations.serve.time.monotonic", lambda: self.clock)
        self.preview = operations.Preview(lab.context(), on_render=self.rendered.append, on_error=self.errors.append)

    def after(self, seconds: float) -> Mapping[str, bytes]:
        self.clock += seconds
        return self.preview()


def test_preview_follows_commits(vault: Lab, monkeypatch: pytest.MonkeyPatch) -> None:
    """The next request renders a new commit; an unchanged vault is not rendered again."""
    reports = Reports(vault, monkeypatch)
    first = reports.after(0)
    assert reports.after(10) is first

    vault.rotate("id-token")
    assert reports.after(10) == vault.site()
    assert reports.rendered == [vault.git("rev-parse", "HEAD~2"), vault.head]
    assert reports.errors == []


def test_preview_follows_templates_of_the_work_tree(vault: Lab, monkeypatch: pytest.MonkeyPatch) -> None:
    """A designer saves or deletes a file and reloads the page: no commit is needed."""
    reports = Reports(vault, monkeypatch)
    ours = reports.after(0)["404.html"]
    template = vault.folder / "site_template" / "404.html"
    template.parent.mkdir()
    template.write_text("<h1>ours</h1>")
    assert reports.after(1)["404.html"] == b"<h1>ours</h1>"

    template.unlink()
    assert reports.after(1)["404.html"] == ours


def test_preview_goes_on_with_the_last_good_site(vault: Lab, monkeypatch: pytest.MonkeyPatch) -> None:
    """While a template is broken, the last good site is served and the error reported; once fixed, it renders again."""
    reports = Reports(vault, monkeypatch)
    good = reports.after(0)
    template = vault.folder / "site_template" / "issuer.html"
    template.parent.mkdir()
    template.write_text("{{ titel }}")

    assert reports.after(1) is good
    assert [str(error) for error in reports.errors] == ["template issuer.html, line 1: 'titel' is undefined"]
    reports.after(60)
    assert len(reports.errors) == 1, "each error is reported once"

    template.write_text("{{ title }}")
    assert reports.after(1)["index.html"] == b"Published keys"


def test_preview_asks_git_at_most_twice_a_second(vault: Lab, monkeypatch: pytest.MonkeyPatch) -> None:
    """A page with many files does not start a git process for each file."""
    reports = Reports(vault, monkeypatch)
    reports.after(0)
    vault.rotate("id-token")

    assert [len(reports.rendered) for _ in range(5) if reports.after(0.05)] == [1] * 5
    reports.after(0.5)
    assert len(reports.rendered) == 2


def test_preview_survives_a_file_that_vanishes(vault: Lab, monkeypatch: pytest.MonkeyPatch) -> None:
    """If an editor replaces a file at the wrong moment, the server goes on."""
    reports = Reports(vault, monkeypatch)
    good = reports.after(0)
    folder = vault.folder / "site_template"
    folder.mkdir()
    monkeypatch.setattr(operations, "files_below", lambda _: iter([folder / "gone.html"]))

    assert reports.after(1) is good
    assert len(reports.errors) == 1


# --- as a process ---------------------------------------------------------------------------------------


def until(condition: Callable[[], bool]) -> None:
    """Wait until *condition* is true; fail after a minute."""
    deadline = time.monotonic() + 60
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.05)


def test_serve_prints_its_address_and_stops_at_ctrl_c(vault: Lab) -> None:
    """stdout has only the address; Ctrl-C ends with exit code 0, even with open connections."""
    with Serving(vault) as serving:
        assert ask(serving.url, "/.well-known/jwks.json").body == vault.site()[".well-known/jwks.json"]
        port = int(serving.url.split(":")[2].strip("/"))
        idle = [socket.create_connection(("127.0.0.1", port)) for _ in range(5)]
        assert serving.interrupt() == 0, serving.errors
        for connection in idle:
            connection.close()
        assert serving.errors == [f"keyvault: rendered commit {vault.head[:12]}\n", "keyvault: stopped\n"]


def test_serve_shows_a_commit_that_was_made_meanwhile(vault: Lab) -> None:
    """A rotation in another terminal appears at the next reload."""
    with Serving(vault) as serving:
        vault.deploy()
        rotation.rotate_due(vault.context())
        expected = vault.site()["history.json"]
        until(lambda: ask(serving.url, "/history.json").body == expected)
        assert serving.interrupt() == 0
    assert serving.errors[1] == f"keyvault: rendered commit {vault.head[:12]}\n"


def test_serve_below_a_path_prints_the_path(make_vault: MakeVault) -> None:
    """The printed address includes the path of the site's url."""
    with Serving(make_vault(url="https://user.example.io/mine")) as serving:
        assert re.fullmatch(r"http://127\.0\.0\.1:\d+/mine/", serving.url)
        assert ask(serving.url).status == 200
        assert ask(serving.url, "/").status == 404
        assert serving.interrupt() == 0


# --- in a browser ---------------------------------------------------------------------------------------

CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")


class Browsed:
    """The result of loading a page in a headless browser: elements, console, and requests."""

    def __init__(self, folder: Path, url: str) -> None:
        if CHROMIUM is None:
            pytest.skip("no chromium is installed")
        log = folder / "net.json"
        done = subprocess.run(
            [
                CHROMIUM,
                "--headless",
                "--no-sandbox",
                "--disable-gpu",
                "--disable-background-networking",
                "--disable-component-update",
                "--disable-sync",
                "--disable-dev-shm-usage",
                "--no-first-run",
                # The browser's own requests fail.
                "--host-resolver-rules=MAP * ~NOTFOUND, EXCLUDE 127.0.0.1",
                f"--user-data-dir={folder / 'profile'}",
                "--enable-logging=stderr",
                f"--log-net-log={log}",
                "--virtual-time-budget=5000",
                "--dump-dom",
                url,
            ],
            capture_output=True,
            timeout=120,
        )
        assert done.returncode == 0, done.stderr.decode()[-2_000:]
        self.dom = done.stdout.decode()
        self.console = [line for line in done.stderr.decode().splitlines() if ":CONSOLE" in line]
        self.asked: set[str] = set()
        origin = url.rstrip("/")
        for event in json.loads(log.read_bytes())["events"]:
            details: dict[str, Any] = event.get("params", {})
            by_page = str(details.get("initiator", "")).startswith(origin)
            if "url" in details and (by_page or details["url"].startswith(origin)):
                self.asked.add(details["url"].removeprefix(origin))


@pytest.mark.slow
def test_browser_opens_the_demo_without_a_complaint(demo: DemoLab, tmp_path: Path) -> None:
    """The page of the demo loads under its own policy: no console message, no request to another host."""
    with Serving(demo.lab) as serving:
        browsed = Browsed(tmp_path, serving.url)
        assert serving.interrupt() == 0

    assert browsed.console == []
    assert browsed.asked == {"/", *(path for path in ("/" + name for name in demo.lab.site()) if "/assets/" in path)}
    assert "Example Corp signing keys" in browsed.dom
    assert browsed.dom.count('<span class="pill active">active</span>') == 6, "each of three sets, twice"


@pytest.mark.slow
def test_browser_blocks_what_a_template_tries(vault: Lab, tmp_path: Path) -> None:
    """Markup that a template lets in by mistake loads nothing from other hosts and runs nothing."""
    vault.commit(
        {
            "site_template/issuer.html": "<!doctype html><title>{{ title }}</title><h1>quiet</h1>"
            "<script>document.querySelector('h1').textContent = 'loud'</script>"
            "<img src='https://evil.example/pixel.png' onerror=\"document.title = 'loud'\">"
            "<link rel=stylesheet href='https://evil.example/style.css'>"
            "<iframe src='https://evil.example/'></iframe>"
        }
    )
    with Serving(vault) as serving:
        browsed = Browsed(tmp_path, serving.url)
        serving.interrupt()

    assert "<h1>quiet</h1>" in browsed.dom
    assert "loud</title>" not in browsed.dom
    assert not [url for url in browsed.asked if "evil" in url]
    assert len([line for line in browsed.console if "Content Security Policy" in line]) >= 4
