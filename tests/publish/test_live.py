"""Fetching live JWK Sets: whatever a host does, time and memory are bounded and the error is one clear sentence."""

from __future__ import annotations

import datetime
import json
import re
import socket
import ssl
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, TypeVar

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec

from keyvault.core.algorithms import key_spec
from keyvault.core.gate import ServedKeys
from keyvault.core.jwk import jwk_set_bytes
from keyvault.core.text import printable
from keyvault.errors import GateError, LiveError
from keyvault.operations import keys, rotation
from keyvault.publish import live
from keyvault.publish.live import check_address, fetch_all, fetch_body, fetch_key_ids
from tests.errors import fails
from tests.publish.hostile import BEHAVIOURS, HostileHost
from tests.site.vaults import HOUR, Lab, MakeVault, new_lab

T = TypeVar("T")

#: Behaviours that end only because of the timeout.
SLOW = ("silent", "slow-headers", "slow-body", "endless-continue")
ENDLESS = ("endless-body", "endless-chunks", "ten-gigabytes", "large")

#: The code of the error of every other behaviour, and a value that its message must name.
REFUSED = {
    **dict.fromkeys(ENDLESS, ("too-large", "256 KiB")),
    "long-header": ("unreachable", ""),
    "many-headers": ("unreachable", ""),
    "redirect-loop": ("redirect", "3 times"),
    "redirect-chain": ("redirect", "3 times"),
    "redirect-host": ("redirect", "http://localhost"),
    "redirect-port": ("redirect", "http://127.0.0.1:1/"),
    "redirect-file": ("redirect", "file:///etc/hostname"),
    "redirect-link-local": ("redirect", "http://169.254.169.254"),
    "redirect-nowhere": ("status", "302"),
    "redirect-garbage": ("unreachable|redirect", ""),
    "redirect-escapes": ("redirect", "https://evil.example/"),
    "redirect-long": ("status", "404"),
    "not-found": ("status", "404"),
    "forbidden": ("status", "403"),
    "server-error": ("status", "500"),
    "unavailable": ("status", "503"),
    "partial": ("status", "206"),
    "not-modified": ("status", "304"),
    "no-content": ("status", "204"),
    "odd-status": ("status", "299"),
    **dict.fromkeys(("gzip", "gzip-bomb", "brotli"), ("compressed", "")),
    **dict.fromkeys(("html", "nothing", "cut-off", "trailing", "deep", "deep-objects"), ("not-json", "")),
    **dict.fromkeys(("utf-16", "latin-1", "byte-order-mark", "surrogate"), ("not-json", "")),
    **dict.fromkeys(("nan", "huge-number", "long-integer"), ("not-json", "")),
    **dict.fromkeys(("null", "list", "keys-missing", "keys-object", "keys-text", "many-keys"), ("not-jwks", "")),
    "closes-at-once": ("unreachable", ""),
    "resets": ("unreachable", ""),
    "closes-in-headers": ("unreachable|not-json", ""),
    "closes-in-chunk": ("unreachable", "incomplete"),
    "bad-chunk": ("unreachable", ""),
    "no-http": ("unreachable", "not HTTP"),
    "old-http": ("unreachable", "not HTTP"),
    "bad-status": ("unreachable", "not HTTP"),
    "length-too-long": ("unreachable", "incomplete"),
    "length-too-short": ("not-json", ""),
    "length-negative": ("not-json|unreachable", ""),
    "length-garbage": ("not-json|unreachable", ""),
}
#: JWK Sets in which none of our keys is.
HARMLESS = ("empty-set", "odd-keys", "redirect-once")

#: How a warning, which has no code, says the same as an error of that code.
PHRASES = {
    "too-large": "serves more than",
    "unreachable": "cannot be reached: |did not answer within|did not finish within",
    "redirect": "redirects to another origin: |redirects more than",
    "status": "answers with status",
    "compressed": "compressed body",
    "not-json": "does not serve JSON",
    "not-jwks": "does not serve a JWK Set|serves 1001 keys; the limit is 1000",
}


@pytest.fixture(scope="module")
def host() -> Iterator[HostileHost]:
    with HostileHost() as found:
        yield found


@pytest.fixture
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    """Shorten the timeout."""
    monkeypatch.setattr(live, "TIMEOUT", 0.3)


def bounded(function: Callable[[], T]) -> T:
    """Return the result of *function* or raise its error; fail if it does not end at all."""
    outcome: list[Any] = []

    def run() -> None:
        try:
            outcome.append((function(), None))
        except BaseException as error:
            outcome.append((None, error))

    thread = threading.Thread(target=run, daemon=True)
    thread.start()
    thread.join(60)
    assert outcome, "it did not end"
    value, error = outcome[0]
    if error is not None:
        raise error
    return value  # type: ignore[no-any-return]


def is_one_clear_sentence(message: str) -> bool:
    return (
        "\n" not in message
        and printable(message) == message
        and len(message) < 600
        and not message.endswith(".")
        and "Error(" not in message
        and "<urllib3" not in message
    )


def test_tables_name_every_behaviour() -> None:
    """The tables cover every behaviour of the host."""
    assert set(BEHAVIOURS) == set(SLOW) | set(REFUSED) | set(HARMLESS)
    assert len(BEHAVIOURS) > 50


@pytest.mark.parametrize("name", REFUSED)
def test_bad_answer_is_one_clear_error(host: HostileHost, name: str) -> None:
    """The error names the URL and the problem, in one printable line."""
    url = f"{host.url}/{name}/.well-known/jwks.json"
    codes, value = REFUSED[name]
    with pytest.raises(LiveError) as caught:
        bounded(lambda: fetch_key_ids(url))

    assert caught.value.code in codes.split("|")
    assert value in caught.value.message
    assert is_one_clear_sentence(caught.value.message), caught.value.message
    assert caught.value.message.startswith(host.url)


@pytest.mark.usefixtures("quick")
@pytest.mark.parametrize("name", SLOW)
def test_slow_answer_is_given_up(host: HostileHost, name: str) -> None:
    """A request ends after the timeout, whether the host sends its bytes slowly or nothing at all."""
    with fails("unreachable", LiveError) as caught:
        bounded(lambda: fetch_key_ids(f"{host.url}/{name}/.well-known/jwks.json"))

    assert is_one_clear_sentence(caught.value.message), caught.value.message


@pytest.mark.parametrize("name", ENDLESS)
def test_endless_body_is_not_read(host: HostileHost, name: str) -> None:
    """Only the first part of an endless body is read, apart from buffers on the way."""
    path = f"/{name}/memory"
    with fails("too-large", LiveError):
        bounded(lambda: fetch_key_ids(host.url + path))

    assert host.sent[path] < 16 * 1024 * 1024


@pytest.mark.parametrize("name", HARMLESS)
def test_set_with_nothing_of_ours_is_an_answer(host: HostileHost, name: str) -> None:
    """An empty set, and keys that are malformed or of unknown types, are no error: none of them is ours."""
    assert bounded(lambda: fetch_key_ids(f"{host.url}/{name}/.well-known/jwks.json")) == frozenset()


def test_keys_are_compared_by_kid_and_thumbprint(host: HostileHost, vault: Lab) -> None:
    """Another key under the kid of one of our keys is a different key; if the host serves both, both are returned."""
    ours, other = vault.key("id-token", "next").public, vault.key("access-token", "next").public
    borrowed = {**json.loads(jwk_set_bytes([other]))["keys"][0], "kid": ours.kid}
    host.jwks = json.dumps({"keys": [borrowed, json.loads(jwk_set_bytes([ours]))["keys"][0]]}).encode()

    seen = fetch_key_ids(f"{host.url}/.well-known/jwks.json")
    assert seen == {(ours.kid, ours.thumbprint), (ours.kid, other.thumbprint)}


def test_private_members_of_a_live_set_are_not_taken(host: HostileHost) -> None:
    """If a host leaks a private key, the result is still kid and thumbprint only."""
    host.jwks = b'{"keys": [{"kty": "oct", "kid": "leaked", "k": "c2VjcmV0c2VjcmV0c2VjcmV0"}]}'

    assert "c2VjcmV0" not in repr(fetch_key_ids(f"{host.url}/.well-known/jwks.json"))


def test_connection_refused(host: HostileHost) -> None:
    """If nobody listens on the port, the error names the URL and the reason of the system."""
    with HostileHost() as closed:
        url = f"{closed.url}/jwks.json"

    with fails("unreachable", LiveError) as caught:
        fetch_key_ids(url)
    assert re.match(rf"{url} .*[Rr]efused", caught.value.message)
    assert is_one_clear_sentence(caught.value.message)
    assert caught.value.hint == "check the host, then run again"


def test_host_without_address(monkeypatch: pytest.MonkeyPatch) -> None:
    """If the name does not resolve, the error is one clear sentence."""

    def getaddrinfo(*_: object, **__: object) -> None:
        raise socket.gaierror(-2, "Name or service not known")

    monkeypatch.setattr(socket, "getaddrinfo", getaddrinfo)
    with fails("unreachable", LiveError) as caught:
        fetch_key_ids("https://keys.invalid/jwks.json")
    assert re.match(r"https://keys\.invalid/jwks\.json .*: Name or ", caught.value.message)
    assert is_one_clear_sentence(caught.value.message)


# --- TLS ------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def certificate(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A certificate for localhost with its key, which the machine does not trust by default."""
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, "localhost")])
    now = datetime.datetime.now(datetime.UTC)
    certificate = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(key.public_key())
        .serial_number(1)
        .not_valid_before(now - datetime.timedelta(days=1))
        .not_valid_after(now + datetime.timedelta(days=1))
        .add_extension(x509.SubjectAlternativeName([x509.DNSName("localhost")]), critical=False)
        .add_extension(x509.BasicConstraints(ca=True, path_length=None), critical=True)
        .sign(key, hashes.SHA256())
    )
    path = tmp_path_factory.mktemp("tls") / "localhost.pem"
    path.write_bytes(
        certificate.public_bytes(serialization.Encoding.PEM)
        + key.private_bytes(serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption())
    )
    return path


@pytest.fixture(scope="module")
def tls_host(certificate: Path) -> Iterator[HostileHost]:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(certificate)
    with HostileHost(tls=context) as found:
        yield found


def test_https_is_fetched(tls_host: HostileHost, certificate: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A host whose certificate the machine trusts answers."""
    monkeypatch.setenv("SSL_CERT_FILE", str(certificate))

    assert fetch_key_ids(f"https://localhost:{tls_host.port}/.well-known/jwks.json") == frozenset()


def test_certificate_is_checked(tls_host: HostileHost, certificate: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """An unknown certificate, or one for another name, is refused."""
    with fails("tls", LiveError) as caught:
        fetch_key_ids(f"https://localhost:{tls_host.port}/.well-known/jwks.json")
    assert ": certificate verify failed" in caught.value.message
    assert is_one_clear_sentence(caught.value.message)

    monkeypatch.setenv("SSL_CERT_FILE", str(certificate))
    with fails("tls", LiveError) as caught:
        fetch_key_ids(f"https://127.0.0.1:{tls_host.port}/.well-known/jwks.json")
    assert ": certificate" in caught.value.message
    assert is_one_clear_sentence(caught.value.message)


def test_downgrade_is_refused(
    tls_host: HostileHost, host: HostileHost, certificate: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A redirect from https to http is not followed, not even on the same name."""
    monkeypatch.setenv("SSL_CERT_FILE", str(certificate))
    monkeypatch.setitem(
        BEHAVIOURS,
        "redirect-down",
        lambda connection: connection.answer("302 Found", b"", f"Location: http://localhost:{host.port}/down"),
    )

    with fails("redirect", LiveError) as caught:
        fetch_key_ids(f"https://localhost:{tls_host.port}/redirect-down/jwks.json")
    assert f"http://localhost:{host.port}/down" in caught.value.message
    assert not host.requests["/down"]


def test_tls_to_a_plain_port(host: HostileHost, tls_host: HostileHost) -> None:
    """An https URL of a plain host, or an http URL of a TLS host, gives one clear sentence."""
    for url in (f"https://localhost:{host.port}/jwks.json", f"http://localhost:{tls_host.port}/jwks.json"):
        with pytest.raises(LiveError) as caught:
            bounded(lambda url=url: fetch_key_ids(url))  # type: ignore[misc]  # a lambda with a default
        assert caught.value.code in ("tls", "unreachable")
        assert caught.value.message.startswith(f"{url} ")
        assert is_one_clear_sentence(caught.value.message), caught.value.message


# --- refused URLs ---------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "url",
    [
        "file:///etc/hostname",
        "ftp://keys.example.com/jwks.json",
        "data:application/json,{}",
        "jwks.json",
        "",
        "http://keys.example.com/jwks.json",
        "http://localhost.evil.example/jwks.json",
        "http://127.0.0.1.evil.example/jwks.json",
    ],
)
def test_only_https_is_fetched(url: str) -> None:
    """Files, other schemes and plain http beyond this machine are refused before anything is opened."""
    with fails("refused", LiveError) as caught:
        fetch_body(url)
    assert caught.value.message.endswith("is not https")


@pytest.mark.parametrize(
    "address",
    [
        "169.254.169.254",
        "[fe80::1]",
        "[fe80::1%25eth0]",
        "[::ffff:169.254.169.254]",
        "[::ffff:a9fe:a9fe]",
        "2852039166",
        "0xa9fea9fe",
        "0251.0376.0251.0376",
        "169.254.43518",
        "0.0.0.0",  # noqa: S104 - an address to refuse
        "0",
        "[::]",
        "224.0.0.1",
        "[ff02::1]",
    ],
)
def test_addresses_of_the_machine_itself_are_refused(address: str) -> None:
    """A link-local address, where clouds keep credentials, is refused in every notation that a resolver accepts."""
    with fails("refused", LiveError) as caught:
        check_address(f"https://{address}/latest/meta-data/")
    assert "link-local, multicast or unspecified" in caught.value.message


@pytest.mark.parametrize(
    "host", ["keys.example.com", "203.0.113.7", "[2001:db8::7]", "localhost", "127.0.0.1", "[::1]"]
)
def test_other_addresses_are_allowed(host: str) -> None:
    """Public names and addresses are allowed over https, this machine over http too."""
    check_address(f"https://{host}/jwks.json")
    if host in ("localhost", "127.0.0.1", "[::1]"):
        check_address(f"http://{host}:8000/jwks.json")


# --- several URLs ---------------------------------------------------------------------------------------


@pytest.mark.usefixtures("quick")
def test_host_that_is_down_gets_one_request(make_vault: MakeVault) -> None:
    """Three issuers on a host that does not answer cost one timeout, and each has its problem."""
    with HostileHost() as host:
        urls = [f"{host.url}/silent/{name}" for name in "abc"]
        fetched = bounded(lambda: fetch_all(urls, fetch_key_ids))

        assert host.connections == 1
    assert fetched.live == dict.fromkeys(urls)
    assert set(fetched.problems) == set(urls)
    assert len(set(fetched.problems.values())) == 1


def test_each_url_of_a_host_is_fetched_once() -> None:
    """Every URL of a host that answers is fetched once; the error of a URL does not hide the others."""
    with HostileHost() as host:
        urls = [f"{host.url}/{name}/jwks.json" for name in ("a", "not-found", "z")]
        fetched = bounded(lambda: fetch_all([*urls, *urls], fetch_key_ids))

        assert host.requests == dict.fromkeys((f"/{name}/jwks.json" for name in ("a", "not-found", "z")), 1)
    assert fetched.live == {urls[0]: frozenset(), urls[1]: None, urls[2]: frozenset()}
    assert list(fetched.problems) == [urls[1]]


@pytest.mark.usefixtures("quick")
def test_slow_host_does_not_hold_up_another() -> None:
    """Requests to different hosts run in parallel: no host waits for another."""
    with HostileHost() as slow, HostileHost() as good:
        urls = [f"{slow.url}/silent/a", f"{good.url}/.well-known/jwks.json"]
        fetched = bounded(lambda: fetch_all(urls, fetch_key_ids))

    assert fetched.live == {urls[0]: None, urls[1]: frozenset()}
    assert list(fetched.problems) == [urls[0]]


def test_no_url_makes_no_request() -> None:
    """Without a URL, no thread is started."""
    assert bounded(lambda: fetch_all([], fetch_key_ids)) == live.Fetched({}, {})


def test_bug_while_fetching_does_not_hang(monkeypatch: pytest.MonkeyPatch) -> None:
    """An unexpected error ends the command as usual: it neither hangs nor looks like a timeout."""

    def broken(*_: object, **_options: object) -> ServedKeys:
        raise TypeError("a bug")

    with pytest.raises(TypeError, match="a bug"):
        bounded(lambda: fetch_all(["https://keys.example.com/a", "https://example.com/b"], broken))
    monkeypatch.setattr(live, "_request", broken)
    with pytest.raises(TypeError, match="a bug"):
        bounded(lambda: fetch_body("https://keys.example.com/a"))


# --- the scheduled run ----------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def waiting_vault(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Lab, HostileHost]]:
    """A vault whose next key waits for its receipt, and the host of its site."""
    with HostileHost() as host:
        lab = new_lab(tmp_path_factory.mktemp("waiting") / "vault", "id-token:ES256", url=host.url)
        lab.live = True
        yield lab, host


@pytest.mark.parametrize("name", [*REFUSED, *SLOW, *HARMLESS])
def test_scheduled_run_survives_every_host(
    waiting_vault: tuple[Lab, HostileHost], name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Whatever the site does, the vault does not change, and the run says in one line why it waits."""
    lab, host = waiting_vault
    host.mode = name
    if name in SLOW:
        monkeypatch.setattr(live, "TIMEOUT", 0.3)
    before = lab.head
    outcome = bounded(lambda: rotation.rotate_due(lab.context()))

    assert outcome.commit is None
    assert lab.head == before
    assert lab.git("status", "--porcelain") == ""
    (waiting,) = outcome.plan.waiting
    url = f"{host.url}/.well-known/jwks.json"
    if name in HARMLESS:
        assert outcome.warnings == ()
        assert waiting == f"id-token: {url} does not serve the next key yet"
    else:
        (warning,) = outcome.warnings
        codes, value = REFUSED.get(name, ("unreachable", ""))
        assert any(re.search(PHRASES[code], warning) for code in codes.split("|")), warning
        assert value in warning
        assert is_one_clear_sentence(warning), warning
        assert waiting == f"id-token: {url} could not be fetched, so there is no receipt yet"


def serve(host: HostileHost, lab: Lab, issuer: str) -> None:
    """Let the good paths of *host* serve the JWK Set of *issuer*."""
    host.jwks = jwk_set_bytes(key.public for key in lab.state.keys_at(lab.state.find_place(issuer)))


@pytest.mark.parametrize("name", ["server-error", "html", "silent", "closes-at-once", "redirect-host"])
def test_other_sets_go_on(make_vault: MakeVault, name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """A set with a broken URL waits; the same run records receipts of other sets and withdraws keys."""
    if name in SLOW:
        monkeypatch.setattr(live, "TIMEOUT", 1)
    with HostileHost() as host:
        lab = make_vault("good:ES256", url=host.url)
        spec = key_spec("ES256")
        keys.add_set(lab.context(), "bad", spec=spec, issuer=f"{host.url}/{name}")
        rotation.rotate(lab.context(), ["bad"], forced="so that a key retires")
        retiring = lab.key("bad", "retiring")
        lab.wait(4 * HOUR)
        serve(host, lab, host.url)
        lab.live = True
        outcome = bounded(lambda: rotation.rotate_due(lab.context()))

    written = {(key.kid, event.event) for key, event in outcome.events}
    assert written == {(lab.key("good", "next").kid, "published"), (retiring.kid, "withdrawn")}
    assert len(outcome.plan.waiting) == len(outcome.warnings) == 1
    assert outcome.plan.waiting[0].startswith("bad: ")


def test_impostor_is_no_receipt(make_vault: MakeVault) -> None:
    """A host that serves another key under the kid of the next key has not published the next key."""
    with HostileHost() as host:
        lab = make_vault("id-token:ES256", url=host.url)
        other = make_vault("id-token:ES256", url=f"{host.url}/other").key("id-token", "next").public
        served = json.loads(jwk_set_bytes([other]))
        served["keys"][0]["kid"] = lab.key("id-token", "next").kid
        host.jwks = json.dumps(served).encode()
        lab.live = True
        outcome = rotation.rotate_due(lab.context())

    assert outcome.commit is None
    assert outcome.plan.waiting[0].endswith("does not serve the next key yet")


def test_sets_of_one_issuer_share_a_request(make_vault: MakeVault) -> None:
    """Two sets in one JWK Set cost one request a run."""
    with HostileHost() as host:
        lab = make_vault("id-token:ES256", "access-token:ES256", url=host.url)
        serve(host, lab, host.url)
        lab.live = True
        outcome = rotation.rotate_due(lab.context())

        assert host.requests == {"/.well-known/jwks.json": 1}
    assert [event.event for _, event in outcome.events] == ["published", "published"]


def test_no_request_if_nothing_waits(make_vault: MakeVault) -> None:
    """After the receipt, and while nothing is due, a run makes no request."""
    with HostileHost() as host:
        lab = make_vault("id-token:ES256", url=host.url)
        serve(host, lab, host.url)
        lab.live = True
        rotation.rotate_due(lab.context())
        for _ in range(3):
            lab.wait(HOUR)
            assert rotation.rotate_due(lab.context()).commit is None

        assert host.connections == 1


def test_stale_host_stops_a_rotation(make_vault: MakeVault) -> None:
    """If a host was rolled back after the receipt, the rotation is refused before the next key signs."""
    with HostileHost() as host:
        lab = make_vault("id-token:ES256", url=host.url)
        serve(host, lab, host.url)
        lab.live = True
        rotation.rotate_due(lab.context())
        lab.wait(25 * HOUR)
        host.jwks = b'{"keys": []}'
        with fails("rotation-too-early", GateError) as refused:
            rotation.rotate(lab.context(), ["id-token"])
        assert "no longer serves the next key" in refused.value.message

        serve(host, lab, host.url)
        assert rotation.rotate(lab.context(), ["id-token"]).commit is not None
