"""`check`: every kind of drift that a host can have is seen and named, and a good host is clean."""

from __future__ import annotations

import getpass
import json
import re
import shutil
import ssl
import subprocess
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from functools import cached_property
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest

from keyvault.core.drift import CODES, EXPIRY
from keyvault.core.text import printable
from keyvault.errors import LiveError, UsageError
from keyvault.operations import check as module
from keyvault.operations import rotation
from keyvault.operations.check import CheckResult
from tests.docs.pages import first_column, read, sections
from tests.errors import fails
from tests.publish.hostile import BEHAVIOURS, HostileHost
from tests.publish.servers import free_port, wait_for
from tests.revisions import check, publish
from tests.site.vaults import EC_SETS, Lab, MakeVault, new_lab

JWKS = "/.well-known/jwks.json"
DISCOVERY = "/.well-known/openid-configuration"


@dataclass
class Host:
    """
    A web server as GitHub Pages is one, with whatever a test does to it.

    Attributes:
        files: What it serves, by path.
        headers: What it sends beside Content-Type.
        statuses: Other statuses than 200, by path.
        own: Headers of single paths.
        asked: Paths in the order of asking.
        extensionless: The type of files without an extension.
    """

    files: dict[str, bytes] = field(default_factory=dict)
    headers: dict[str, str] = field(default_factory=dict)
    statuses: dict[str, int] = field(default_factory=dict)
    own: dict[str, dict[str, str]] = field(default_factory=dict)
    asked: list[str] = field(default_factory=list)
    context: ssl.SSLContext | None = None
    on_request: Callable[[], None] = lambda: None
    extensionless: str = "application/json"

    @cached_property
    def server(self) -> ThreadingHTTPServer:
        host = self

        class Handler(BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                host.on_request()
                path = self.path + "index.html" if self.path.endswith("/") else self.path
                host.asked.append(path)
                body = host.files.get(path)
                status = host.statuses.get(path, 404 if body is None else 200)
                self.send_response_only(status)
                kinds = {"json": "application/json", "html": "text/html"}
                kind = kinds.get(path.rpartition(".")[2], host.extensionless)
                sent = {"Content-Type": kind, **host.headers, **host.own.get(path, {})}
                for name, value in sent.items():
                    if value:
                        self.send_header(name, value)
                self.end_headers()
                self.wfile.write(body or b"")

            def log_message(self, format: str, *arguments: object) -> None:
                """Say nothing."""

        server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        server.daemon_threads = True
        if self.context is not None:
            server.socket = self.context.wrap_socket(server.socket, server_side=True)
        return server

    @property
    def url(self) -> str:
        scheme = "https" if self.context else "http"
        return f"{scheme}://127.0.0.1:{self.server.server_port}"

    def deploy(self, vault: Lab, revision: str = "HEAD") -> None:
        """Serve the site of a commit."""
        self.files = {f"/{path}": data for path, data in vault.site(revision).items()}

    def jwks(self) -> list[dict[str, Any]]:
        return list(json.loads(self.files[JWKS])["keys"])

    def serve_keys(self, keys: list[dict[str, Any]], path: str = JWKS) -> None:
        self.files[path] = json.dumps({"keys": keys}).encode()

    def change_discovery(self, **members: object) -> None:
        self.files[DISCOVERY] = json.dumps(json.loads(self.files[DISCOVERY]) | members).encode()


@pytest.fixture
def host() -> Iterator[Host]:
    """A host with the headers of GitHub Pages."""
    made = Host(headers={"Cache-Control": "max-age=600", "Access-Control-Allow-Origin": "*"})
    yield from _serving(made)


def _serving(made: Host) -> Iterator[Host]:
    thread = threading.Thread(target=made.server.serve_forever, args=(0.02,), daemon=True)
    thread.start()
    try:
        yield made
    finally:
        made.server.shutdown()
        made.server.server_close()
        thread.join()


@pytest.fixture(scope="module")
def _rotated(tmp_path_factory: pytest.TempPathFactory) -> Lab:
    """What `rotated` gives copies of."""
    vault = new_lab(tmp_path_factory.mktemp("rotated") / "vault", *EC_SETS)
    vault.rotate("id-token")
    vault.wait(timedelta(days=10))
    vault.rotate("id-token")
    rotation.rotate_due(vault.context())
    rotation.rotate(vault.context(), ["access-token"], forced="a drill")
    gone = vault.key("access-token", "retiring")
    rotation.revoke(vault.context(), gone.kid, reason="superseded")
    assert {key.state for key in vault.state.keys.values()} >= {"next", "active", "retiring", "revoked"}
    return vault


@pytest.fixture
def rotated(_rotated: Lab, tmp_path: Path) -> Lab:
    """A vault with a key in each state: next, active, retiring, withdrawn and revoked."""
    return _rotated.copy(tmp_path / "rotated")


def codes(seen: CheckResult) -> set[str]:
    return {one.code for one in seen.findings}


# --- clean ----------------------------------------------------------------------------------------------


def test_a_good_host_is_clean(rotated: Lab, host: Host) -> None:
    """Everything is asked for, and nothing differs."""
    host.deploy(rotated)
    seen = check(rotated.context(), host.url)
    assert seen.findings == []
    assert (seen.commit, seen.live) == (rotated.head, rotated.head)
    documents = [path for path in host.files if path.endswith("jwks.json") or "openid-configuration" in path]
    assert seen.documents == len(documents)
    assert set(documents) | {"/history.json", "/index.html"} == set(host.asked)


def test_white_space_is_no_difference(vault: Lab, host: Host) -> None:
    """A host that writes JSON anew changes nothing that verifiers see."""
    host.deploy(vault)
    host.serve_keys(host.jwks())
    host.change_discovery()
    assert check(vault.context(), host.url).findings == []


# --- each kind of drift ---------------------------------------------------------------------------------


def _without(state: str) -> Callable[[Lab, Host], None]:
    def spoil(vault: Lab, host: Host) -> None:
        gone = vault.key("id-token", state).kid
        host.serve_keys([jwk for jwk in host.jwks() if jwk["kid"] != gone])

    return spoil


def _with(pick: Callable[[Lab], dict[str, Any]]) -> Callable[[Lab, Host], None]:
    def spoil(vault: Lab, host: Host) -> None:
        host.serve_keys([*host.jwks(), pick(vault)])

    return spoil


def _public(vault: Lab, set_name: str, state: str) -> dict[str, Any]:
    import msgspec

    return dict(msgspec.to_builtins(vault.key(set_name, state).public))


def _changed(**members: Any) -> Callable[[Lab, Host], None]:
    def spoil(vault: Lab, host: Host) -> None:
        first, *others = host.jwks()
        host.serve_keys([first | members, *others])

    return spoil


def _body(data: bytes, path: str = JWKS) -> Callable[[Lab, Host], None]:
    return lambda vault, host: host.files.__setitem__(path, data)


def _header(path: str = JWKS, **headers: str) -> Callable[[Lab, Host], None]:
    sent = {name.replace("_", "-"): value for name, value in headers.items()}
    return lambda vault, host: host.own.__setitem__(path, sent)


def _status(status: int, path: str = JWKS) -> Callable[[Lab, Host], None]:
    return lambda vault, host: host.statuses.__setitem__(path, status)


def _redirect(to: str) -> Callable[[Lab, Host], None]:
    def spoil(vault: Lab, host: Host) -> None:
        host.files["/moved.json"] = host.files[JWKS]
        host.statuses[JWKS] = 301
        host.own[JWKS] = {"Location": to}

    return spoil


def _discovery(**members: object) -> Callable[[Lab, Host], None]:
    return lambda vault, host: host.change_discovery(**members)


def _misplaced(vault: Lab, host: Host) -> None:
    host.serve_keys(host.jwks(), "/sets/id-token/jwks.json")


def _older(vault: Lab, host: Host) -> None:
    host.deploy(vault, "HEAD~1")


def _newer(vault: Lab, host: Host) -> None:
    host.deploy(vault)
    vault.git("checkout", "--quiet", "-b", "behind", "HEAD~1")


def _unknown_commit(vault: Lab, host: Host) -> None:
    host.files["/history.json"] = host.files["/history.json"].replace(vault.head.encode(), b"0" * 40)


def _late(vault: Lab, host: Host) -> None:
    vault.wait(timedelta(days=900))


KINDS: dict[str, tuple[str, Callable[[Lab, Host], None]]] = {
    "status": ("status", _status(404)),
    "server-error": ("status", _status(503)),
    "redirect": ("redirect", _redirect("/moved.json")),
    "redirect-elsewhere": ("redirect", _redirect("https://example.com/jwks.json")),
    "redirect-loop": ("redirect", _redirect(JWKS)),
    "too-large": ("too-large", _body(b'{"keys": [' + b" " * 300_000 + b"]}")),
    "compressed": ("compressed", _header(Content_Encoding="gzip")),
    "not-json": ("not-json", _body(b"<html>not found</html>")),
    "cut": ("not-json", lambda vault, host: _body(host.files[JWKS][:200])(vault, host)),
    "not-text": ("not-json", _body(b"\xff\xfe")),
    "deep": ("not-json", _body(b"[" * 100_000)),
    "not-jwks": ("not-jwks", _body(b'{"jwks": []}')),
    "list": ("not-jwks", _body(b"[]")),
    "content-type": ("content-type", _header(Content_Type="text/html; charset=utf-8")),
    "no-type": ("content-type", _header(Content_Type="")),
    "discovery-type": ("discovery-type", _header(DISCOVERY, Content_Type="application/octet-stream")),
    "no-cache": ("cache-control", _header(Cache_Control="no-cache")),
    "no-store": ("cache-control", _header(Cache_Control="max-age=60, no-store")),
    "no-lifetime": ("cache-control", _header(Cache_Control="")),
    "long-lifetime": ("cache-control", _header(Cache_Control="public, max-age=86400")),
    "cache-age": ("cache-age", _header(Age="7200")),
    "cors": ("cors", _header(Access_Control_Allow_Origin="")),
    "cors-one": ("cors", _header(Access_Control_Allow_Origin="https://example.com")),
    "empty": ("empty", _body(b'{"keys": []}')),
    "active-missing": ("active-missing", _without("active")),
    "next-missing": ("next-missing", _without("next")),
    "retiring-missing": ("retiring-missing", _without("retiring")),
    "revoked-served": ("revoked-served", _with(lambda vault: _public(vault, "access-token", "revoked"))),
    "withdrawn-served": ("withdrawn-served", _with(lambda vault: _public(vault, "id-token", "withdrawn"))),
    "misplaced-served": ("misplaced-served", _misplaced),
    "unknown-served": ("unknown-served", _with(lambda vault: {**_public(vault, "id-token", "next"), "kid": "me"})),
    "no-kid": ("unknown-served", _with(lambda vault: {"kty": "oct"})),
    "no-object": ("unknown-served", lambda vault, host: host.serve_keys([*host.jwks(), "key"])),  # type: ignore[list-item] # what a host may serve
    "other-material": ("key-differs", _changed(x="A" * 43)),
    "other-members": ("key-differs", _changed(alg="ES512")),
    "private-member": ("private-member", _changed(d="A" * 43)),
    "duplicate-kid": ("duplicate-kid", lambda vault, host: host.serve_keys([*host.jwks(), host.jwks()[0]])),
    "order": ("order", lambda vault, host: host.serve_keys(host.jwks()[::-1])),
    "discovery-issuer": ("discovery-issuer", _discovery(issuer="https://evil.example.com")),
    "discovery-jwks-uri": ("discovery-jwks-uri", _discovery(jwks_uri="https://evil.example.com/jwks.json")),
    "discovery-differs": ("discovery-differs", _discovery(token_endpoint="https://evil.example.com/token")),
    "discovery-no-json": ("not-json", _body(b"<html>", DISCOVERY)),
    "discovery-missing": ("status", _status(404, DISCOVERY)),
    "stale": ("stale", _older),
    "ahead": ("ahead", _newer),
    "commit-unknown": ("commit-unknown", _unknown_commit),
    "history-missing": ("page-missing", _status(404, "/history.json")),
    "history-empty": ("page-missing", _body(b"{}", "/history.json")),
    "page-missing": ("page-missing", _status(404, "/index.html")),
    "overdue": ("overdue", _late),
}


@pytest.mark.parametrize("kind", KINDS)
def test_drift_is_named(rotated: Lab, host: Host, kind: str) -> None:
    """Each is made on purpose, after the same site was clean."""
    if kind == "withdrawn-served":
        rotated.wait(timedelta(days=3))
        rotation.rotate_due(rotated.context())
    host.deploy(rotated)
    assert check(rotated.context(), host.url).findings == []
    code, spoil = KINDS[kind]
    spoil(rotated, host)
    seen = check(rotated.context(), host.url)
    assert code in codes(seen), seen.findings
    assert all(one.message and "\n" not in one.message for one in seen.findings)


@pytest.mark.parametrize("kind", ["application/octet-stream", "text/plain; charset=utf-8", "", "binary/octet-stream"])
def test_a_type_that_the_host_chooses_is_a_warning(rotated: Lab, host: Host, kind: str) -> None:
    """Pages of GitHub and GitLab: no publishing mends it, so it is no error, and nobody waits for it."""
    host.deploy(rotated)
    host.extensionless = kind
    seen = check(rotated.context(), host.url, wait=timedelta(minutes=10), on_wait=lambda *_: pytest.fail("it waits"))

    assert [(one.code, one.level, one.url) for one in seen.findings] == [
        ("discovery-type", "warning", host.url + DISCOVERY)
    ]
    assert seen.errors == []
    assert ("Spring Security" in seen.findings[0].message) is bool(kind)


def test_a_type_of_a_path_without_an_extension(make_vault: MakeVault, host: Host) -> None:
    """A host that goes by extensions has none to go by there either; at the other paths the same is an error."""
    vault = make_vault()
    vault.edit_policy("[sets.id-token]", '[sets.id-token]\npaths = ["/openid/v1/jwks"]')
    host.deploy(vault)
    assert "/openid/v1/jwks" in host.files
    host.extensionless = "application/octet-stream"
    seen = check(vault.context(), host.url)
    assert {(one.code, one.level, one.url) for one in seen.findings} == {
        ("discovery-type", "warning", host.url + DISCOVERY),
        ("content-type", "warning", f"{host.url}/openid/v1/jwks"),
    }

    host.own[JWKS] = {"Content-Type": "application/octet-stream"}
    assert [one.url for one in check(vault.context(), host.url).errors] == [host.url + JWKS]


def test_every_code_is_made_by_a_test() -> None:
    """Those that need another host are below."""
    elsewhere = {"unreachable", "tls", "tls-expiring", "refused"}
    assert {code for code, _ in KINDS.values()} | elsewhere == set(CODES)


def test_every_code_is_explained() -> None:
    """docs/check.md has each, with its meaning."""
    page = read("docs/check.md")
    assert [cell.strip("`") for cell in first_column(sections(page)["Findings of check"])] == list(CODES)
    assert all(f"| `{code}` | {meaning} |" in page for code, meaning in CODES.items())


def test_only_what_differs_is_named(rotated: Lab, host: Host) -> None:
    """A key that is missing in one document is one finding, with its URL and its kid."""
    host.deploy(rotated)
    _without("active")(rotated, host)
    (one,) = check(rotated.context(), host.url).findings
    assert (one.code, one.url, one.kid) == (
        "active-missing",
        host.url + JWKS,
        rotated.key("id-token", "active").kid,
    )


def test_foreign_text_is_made_printable(vault: Lab, host: Host) -> None:
    """What a host serves does not drive the terminal."""
    host.deploy(vault)
    host.serve_keys([*host.jwks(), {"kid": "\x1b[2J\n\u202e" * 100, "kty": "EC"}])
    host.change_discovery(issuer="\x1b]0;title\x07", **{"\x1b[31m": 1})
    host.own[JWKS] = {"Content-Type": "text/\x1b[2Jhtml"}
    seen = check(vault.context(), host.url)
    assert {"unknown-served", "discovery-issuer", "discovery-differs", "content-type"} <= codes(seen)
    assert not any("\x1b" in one.message or "\n" in one.message or "\u202e" in one.message for one in seen.findings)
    assert max(len(one.message) for one in seen.findings) < 500


# --- the host as a whole --------------------------------------------------------------------------------


def test_a_host_that_is_not_there(vault: Lab) -> None:
    """It is said once, and not for every document."""
    url = f"http://127.0.0.1:{free_port()}"
    (one,) = check(vault.context(), url).findings
    assert one.code == "unreachable"


#: What the JWK Set of a host that behaves so is found to be; what its headers lack is found beside it.
HOSTILE: dict[str, tuple[str, ...]] = {
    "unreachable": (
        *("silent", "slow-headers", "slow-body", "endless-continue", "closes-at-once", "resets", "closes-in-chunk"),
        *("bad-chunk", "no-http", "old-http", "bad-status", "long-header", "many-headers", "length-too-long"),
        "redirect-garbage",
    ),
    "redirect": (
        *("redirect-loop", "redirect-chain", "redirect-once", "redirect-host", "redirect-port", "redirect-long"),
        *("redirect-file", "redirect-link-local", "redirect-escapes"),
    ),
    "status": (
        *("redirect-nowhere", "not-found", "forbidden", "server-error", "unavailable", "partial", "not-modified"),
        *("no-content", "odd-status"),
    ),
    "too-large": ("endless-body", "endless-chunks", "ten-gigabytes", "large"),
    "compressed": ("gzip", "gzip-bomb", "brotli"),
    "not-json": (
        *("html", "nothing", "cut-off", "trailing", "deep", "deep-objects", "utf-16", "latin-1", "byte-order-mark"),
        *("nan", "huge-number", "long-integer", "surrogate", "closes-in-headers"),
        *("length-too-short", "length-negative", "length-garbage"),
    ),
    "not-jwks": ("null", "list", "keys-missing", "keys-object", "keys-text"),
    "unknown-served": ("odd-keys", "many-keys"),
    "empty": ("empty-set",),
}


@pytest.fixture(scope="module")
def still(tmp_path_factory: pytest.TempPathFactory) -> Lab:
    """A vault of one set that nobody changes."""
    return new_lab(tmp_path_factory.mktemp("still") / "vault", "id-token:ES256")


@pytest.fixture(scope="module")
def hostile() -> Iterator[HostileHost]:
    with HostileHost() as made:
        yield made


def test_hostile_hosts_are_all_there() -> None:
    """Each behaviour has its place in the table, once."""
    assert sorted(BEHAVIOURS) == sorted(name for names in HOSTILE.values() for name in names)


@pytest.mark.slow
@pytest.mark.parametrize("behaviour", BEHAVIOURS)
def test_a_hostile_host(still: Lab, hostile: HostileHost, monkeypatch: pytest.MonkeyPatch, behaviour: str) -> None:
    """Whatever a host does in every answer, or in its documents alone, there are findings of one printable line each."""
    monkeypatch.setattr(module.live, "TIMEOUT", 0.3)
    hostile.mode = behaviour
    whole = check(still.context(), hostile.url)
    monkeypatch.setattr(module, "_check_history", lambda *_: (None, []))
    monkeypatch.setattr(module, "_check_page", lambda _: [])
    documents = check(still.context(), hostile.url)
    for seen in (whole, documents):
        assert behaviour in {name for code in codes(seen) for name in HOSTILE.get(code, ())}, seen.findings
        assert all(one.message == printable(one.message) and len(one.message) < 600 for one in seen.findings)


@pytest.mark.parametrize(
    "url",
    ["http://keys.example.com", "https://169.254.169.254", "ftp://example.com", "file:///etc", "foo", "http://[::1"],
)
def test_urls_that_are_not_asked(vault: Lab, url: str) -> None:
    """Plain http elsewhere, addresses that only a machine of a cloud has, and what is no URL: wrong usage."""
    with fails("refused", UsageError):
        check(vault.context(), url)


def _certificate(folder: Path, ends: datetime) -> tuple[Path, ssl.SSLContext]:
    """Return a self-signed certificate of 127.0.0.1, and the context of a server that has it."""
    import ipaddress

    from cryptography import x509
    from cryptography.hazmat.primitives import hashes, serialization
    from cryptography.hazmat.primitives.asymmetric import ec

    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, "127.0.0.1")])
    certificate = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(key.public_key())
        .serial_number(1)
        .not_valid_before(datetime(2020, 1, 1, tzinfo=UTC))
        .not_valid_after(ends)
        .add_extension(x509.SubjectAlternativeName([x509.IPAddress(ipaddress.ip_address("127.0.0.1"))]), False)
        .add_extension(x509.BasicConstraints(ca=True, path_length=None), True)
        .sign(key, hashes.SHA256())
    )
    public, private = folder / "cert.pem", folder / "key.pem"
    public.write_bytes(certificate.public_bytes(serialization.Encoding.PEM))
    private.write_bytes(
        key.private_bytes(serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption())
    )
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(public, private)
    private.unlink()
    return public, context


@pytest.mark.parametrize(
    ("trusted", "left", "found"),
    [(True, EXPIRY * 2, set()), (True, EXPIRY / 2, {"tls-expiring"}), (False, EXPIRY * 2, {"tls"})],
    ids=["good", "expiring", "untrusted"],
)
def test_certificates(
    vault: Lab, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, trusted: bool, left: timedelta, found: set[str]
) -> None:
    """The certificate is verified, and its end is looked at."""
    # TLS goes by the clock of the machine: the certificate is valid far beyond both, and the vault's clock moves.
    ends = datetime(2099, 1, 1, tzinfo=UTC)
    public, context = _certificate(tmp_path, ends)
    if trusted:
        monkeypatch.setenv("SSL_CERT_FILE", str(public))
    made = Host(headers={"Cache-Control": "max-age=600", "Access-Control-Allow-Origin": "*"}, context=context)
    for host in _serving(made):
        host.deploy(vault)
        vault.now = ends - left
        assert codes(check(vault.context(), host.url)) - {"overdue"} == found


# --- URLs -----------------------------------------------------------------------------------------------


def test_an_issuer_with_a_path(make_vault: MakeVault, host: Host, monkeypatch: pytest.MonkeyPatch) -> None:
    """Only what lies below the URL is looked at; a URL of somewhere else is where the whole site is."""
    vault = make_vault()
    vault.append_policy(f'\n[sets.tenant]\nalg = "ES256"\nissuer = "{vault.state.policy.site.url}/tenants/a"\n')
    rotation.rotate_due(vault.context())
    host.deploy(vault)
    whole = check(vault.context(), host.url)
    assert whole.findings == []

    real = module.live.request
    own = vault.state.policy.site.url
    monkeypatch.setattr(module.live, "request", lambda url, **more: real(url.replace(own, host.url), **more))
    assert check(vault.context()).documents == whole.documents
    host.asked.clear()
    seen = check(vault.context(), f"{own}/tenants/a/")
    assert seen.findings == []
    assert 0 < seen.documents < whole.documents
    assert all(path.startswith("/tenants/a/") or path in ("/history.json", "/index.html") for path in host.asked)
    assert check(vault.context(), f"{own}{JWKS}").documents == 1
    with fails("refused", LiveError) as caught:
        check(vault.context(), f"{own}/tenants/b")
    assert f"below {own}/tenants/b" in caught.value.message


def test_a_site_below_a_path(make_vault: MakeVault, host: Host) -> None:
    """As a project page of GitHub."""
    vault = make_vault(url="https://example.github.io/keys")
    host.files = {f"/keys/{path}": data for path, data in vault.site().items()}
    assert check(vault.context(), f"{host.url}/keys").findings == []
    assert "status" in codes(check(vault.context(), host.url))


# --- waiting --------------------------------------------------------------------------------------------


def test_wait_until_a_deploy_is_seen(vault: Lab, host: Host, monkeypatch: pytest.MonkeyPatch) -> None:
    """It looks again while something differs, and ends well as soon as nothing does."""
    host.deploy(vault)
    rotation.rotate(vault.context(), ["id-token"], forced="a drill")
    pauses: list[float] = []
    monkeypatch.setattr(time, "sleep", lambda seconds: host.deploy(vault) if len(pauses) == 3 else None)
    seen = check(
        vault.context(), host.url, wait=timedelta(minutes=10), on_wait=lambda checked, pause: pauses.append(pause)
    )
    assert seen.findings == []
    assert pauses == [2.0, 3.0, 4.5]


def test_wait_comes_to_an_end(vault: Lab, host: Host, monkeypatch: pytest.MonkeyPatch) -> None:
    """What never comes is named after the time that was given."""
    host.deploy(vault)
    rotation.rotate(vault.context(), ["id-token"], forced="a drill")
    clock = [0.0]
    monkeypatch.setattr(time, "monotonic", lambda: clock[0])
    monkeypatch.setattr(time, "sleep", lambda seconds: clock.__setitem__(0, clock[0] + seconds))
    seen = check(vault.context(), host.url, wait=timedelta(minutes=1))
    assert {"stale", "next-missing"} <= codes(seen)
    assert clock[0] == 60


def test_overdue_is_not_waited_for(vault: Lab, host: Host, monkeypatch: pytest.MonkeyPatch) -> None:
    """No deploy mends it."""
    host.deploy(vault)
    vault.wait(timedelta(days=900))
    monkeypatch.setattr(time, "sleep", lambda seconds: pytest.fail("it waited"))
    assert codes(check(vault.context(), host.url, wait=timedelta(minutes=10))) == {"overdue"}


# --- a real web server ----------------------------------------------------------------------------------

#: What GitHub Pages does: types by extension, ten minutes, any origin, no headers of the site's own.
_NGINX = """
user {user}; worker_processes 1; daemon off; pid {folder}/nginx.pid; error_log {folder}/error.log;
events {{ worker_connections 64; }}
http {{
  access_log off; types {{ application/json json; text/html html; text/css css; }}
  default_type application/octet-stream; gzip on; gzip_types application/json; gzip_min_length 1;
  client_body_temp_path {folder}/a; proxy_temp_path {folder}/b; fastcgi_temp_path {folder}/c;
  uwsgi_temp_path {folder}/d; scgi_temp_path {folder}/e;
  server {{
    listen 127.0.0.1:{port}; root {root};
    add_header Cache-Control max-age=600; add_header Access-Control-Allow-Origin *;
  }}
}}
"""


@pytest.mark.slow
def test_nginx_as_github_pages(rotated: Lab, tmp_path: Path) -> None:
    """A site published to a folder that nginx serves is clean but for the type of discovery, before and after."""
    nginx = shutil.which("nginx") or shutil.which("nginx", path="/usr/sbin")
    if nginx is None:
        pytest.skip("nginx is not installed")
    port, root = free_port(), tmp_path / "www"
    url = f"http://127.0.0.1:{port}"
    publish(rotated.context(), str(root))
    (tmp_path / "nginx.conf").write_text(_NGINX.format(user=getpass.getuser(), folder=tmp_path, port=port, root=root))
    with (tmp_path / "log").open("wb") as log:
        process = subprocess.Popen(
            [nginx, "-c", str(tmp_path / "nginx.conf"), "-p", str(tmp_path)], stdout=log, stderr=log
        )
    try:
        wait_for(url, process, tmp_path / "log")
        assert codes(check(rotated.context(), url)) == {"discovery-type"}
        rotation.rotate(rotated.context(), ["id-token"], forced="a drill")
        assert {"stale", "next-missing"} <= codes(check(rotated.context(), url))
        publish(rotated.context(), str(root))
        seen = check(rotated.context(), url)
        assert (codes(seen), seen.errors) == ({"discovery-type"}, [])
    finally:
        process.terminate()
        process.wait()


def test_messages_are_of_one_kind() -> None:
    """Meanings are sentences without a capital and a full stop, as the tables want them."""
    assert all(re.fullmatch(r"[a-z-]+", code) and not text.endswith(".") for code, text in CODES.items())
