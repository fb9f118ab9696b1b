"""Looking at a live JWK Set: whatever a host does, it takes bounded time and memory and ends in one clear sentence."""

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
from keyvault.core.gate import Seen
from keyvault.core.jwk import jwk_set_bytes
from keyvault.core.text import printable
from keyvault.errors import GateError, LiveError
from keyvault.operations import keys, rotation
from keyvault.publish import live
from keyvault.publish.live import check_address, fetch, look, look_at_all
from tests.publish.hostile import BEHAVIOURS, HostileHost
from tests.site.vaults import HOUR, Lab, MakeVault, new_lab

T = TypeVar("T")

#: What ends only because we stop waiting.
SLOW = {
    "silent": r"did not answer within|cannot be reached: .*timed? ?out",
    "slow-headers": r"did not answer within",
    "slow-body": r"did not finish within|cannot be reached: .*timed? ?out|did not answer within",
    "endless-continue": r"did not answer within",
}
ENDLESS = dict.fromkeys(("endless-body", "endless-chunks", "ten-gigabytes", "large"), "serves more than 256 KiB")

#: What every other behaviour ends with.
REFUSED = {
    **ENDLESS,
    "long-header": "cannot be reached: ",
    "many-headers": "cannot be reached: ",
    "redirect-loop": "redirects more than 3 times",
    "redirect-chain": "redirects more than 3 times",
    "redirect-host": "redirects to another host: http://localhost",
    "redirect-port": "redirects to another host: http://127.0.0.1:1/",
    "redirect-file": "redirects to another host: file:///etc/hostname",
    "redirect-link-local": "redirects to another host: http://169.254.169.254",
    "redirect-nowhere": "answers with status 302",
    "redirect-garbage": "cannot be reached: |redirects to another host",
    "redirect-escapes": "redirects to another host: https://evil.example/",
    "redirect-long": "answers with status 404",
    "not-found": "answers with status 404",
    "forbidden": "answers with status 403",
    "server-error": "answers with status 500",
    "unavailable": "answers with status 503",
    "partial": "answers with status 206",
    "not-modified": "answers with status 304",
    "no-content": "answers with status 204",
    "odd-status": "answers with status 299",
    "html": "does not serve JSON",
    "gzip": "sends a compressed body that was not asked for",
    "gzip-bomb": "sends a compressed body that was not asked for",
    "brotli": "sends a compressed body that was not asked for",
    "nothing": "does not serve JSON",
    "cut-off": "does not serve JSON",
    "trailing": "does not serve JSON",
    "null": "does not serve a JWK Set",
    "list": "does not serve a JWK Set",
    "keys-missing": "does not serve a JWK Set",
    "keys-object": "does not serve a JWK Set",
    "keys-text": "does not serve a JWK Set",
    "deep": "does not serve JSON",
    "deep-objects": "does not serve JSON",
    "many-keys": "does not serve a JWK Set",
    "utf-16": "does not serve JSON",
    "latin-1": "does not serve JSON",
    "byte-order-mark": "does not serve JSON",
    "nan": "does not serve JSON",
    "huge-number": "does not serve JSON",
    "long-integer": "does not serve JSON",
    "surrogate": "does not serve JSON",
    "closes-at-once": "cannot be reached: ",
    "resets": "cannot be reached: ",
    "closes-in-headers": "cannot be reached: |does not serve JSON",
    "closes-in-chunk": "cannot be reached: its answer ends too early",
    "bad-chunk": "cannot be reached: ",
    "no-http": "cannot be reached: it does not speak HTTP",
    "old-http": "cannot be reached: it does not speak HTTP",
    "bad-status": "cannot be reached: it does not speak HTTP",
    "length-too-long": "cannot be reached: its answer ends too early",
    "length-too-short": "does not serve JSON",
    "length-negative": "does not serve JSON|cannot be reached: ",
    "length-garbage": "does not serve JSON|cannot be reached: ",
}
#: What is a JWK Set, though none of our keys is in it.
HARMLESS = ("empty-set", "odd-keys", "redirect-once")


@pytest.fixture(scope="module")
def host() -> Iterator[HostileHost]:
    with HostileHost() as found:
        yield found


@pytest.fixture
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    """Do not wait long for what never comes."""
    monkeypatch.setattr(live, "TIMEOUT", 0.3)


def bounded(function: Callable[[], T]) -> T:
    """Return what *function* returns or raise what it raises; fail when it does not end at all."""
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
    """No behaviour of the host is left out below, and there are more than the twenty that are asked for."""
    assert set(BEHAVIOURS) == set(SLOW) | set(REFUSED) | set(HARMLESS)
    assert len(BEHAVIOURS) > 50


@pytest.mark.parametrize("name", REFUSED)
def test_bad_answer_is_one_clear_error(host: HostileHost, name: str) -> None:
    """The error says which URL, and what is wrong with it, in one printable line."""
    url = f"{host.url}/{name}/.well-known/jwks.json"
    with pytest.raises(LiveError, match=REFUSED[name]) as caught:
        bounded(lambda: look(url))

    assert is_one_clear_sentence(caught.value.message), caught.value.message
    assert caught.value.message.startswith(host.url)


@pytest.mark.usefixtures("quick")
@pytest.mark.parametrize("name", SLOW)
def test_slow_answer_is_given_up(host: HostileHost, name: str) -> None:
    """A host that trickles, or says nothing, is left after the timeout, however it slices its bytes."""
    with pytest.raises(LiveError, match=SLOW[name]) as caught:
        bounded(lambda: look(f"{host.url}/{name}/.well-known/jwks.json"))

    assert is_one_clear_sentence(caught.value.message), caught.value.message


@pytest.mark.parametrize("name", ENDLESS)
def test_endless_body_is_not_read(host: HostileHost, name: str) -> None:
    """Of a body without an end only the first part is taken, beyond what sits in buffers on the way."""
    path = f"/{name}/memory"
    with pytest.raises(LiveError, match="serves more than 256 KiB"):
        bounded(lambda: look(host.url + path))

    assert host.sent[path] < 16 * 1024 * 1024


@pytest.mark.parametrize("name", HARMLESS)
def test_set_with_nothing_of_ours_is_an_answer(host: HostileHost, name: str) -> None:
    """An empty set, keys of unknown kinds and malformed ones are no error: they are just none of our keys."""
    assert bounded(lambda: look(f"{host.url}/{name}/.well-known/jwks.json")) == frozenset()


def test_keys_are_compared_by_kid_and_thumbprint(host: HostileHost, vault: Lab) -> None:
    """A key that only borrows the kid of one of ours is another key; one listed twice under two keys is both."""
    ours, other = vault.key("id-token", "next").public, vault.key("access-token", "next").public
    borrowed = {**json.loads(jwk_set_bytes([other]))["keys"][0], "kid": ours.kid}
    host.jwks = json.dumps({"keys": [borrowed, json.loads(jwk_set_bytes([ours]))["keys"][0]]}).encode()

    seen = look(f"{host.url}/.well-known/jwks.json")
    assert seen == {(ours.kid, ours.thumbprint), (ours.kid, other.thumbprint)}


def test_private_members_of_a_live_set_are_not_taken(host: HostileHost) -> None:
    """A host that leaks a private key is looked at like any other: only kid and thumbprint come back."""
    host.jwks = b'{"keys": [{"kty": "oct", "kid": "leaked", "k": "c2VjcmV0c2VjcmV0c2VjcmV0"}]}'

    assert "c2VjcmV0" not in repr(look(f"{host.url}/.well-known/jwks.json"))


def test_connection_refused(host: HostileHost) -> None:
    """A port on which nobody listens is named with the reason that the system gives."""
    with HostileHost() as closed:
        url = f"{closed.url}/jwks.json"

    with pytest.raises(LiveError, match=r"cannot be reached: .*[Rr]efused") as caught:
        look(url)
    assert is_one_clear_sentence(caught.value.message)
    assert caught.value.hint == "check the host, then run again"


def test_host_without_address(monkeypatch: pytest.MonkeyPatch) -> None:
    """A name that does not resolve is one clear sentence."""

    def getaddrinfo(*_: object, **__: object) -> None:
        raise socket.gaierror(-2, "Name or service not known")

    monkeypatch.setattr(socket, "getaddrinfo", getaddrinfo)
    with pytest.raises(LiveError, match=r"https://keys\.invalid/jwks\.json cannot be reached: Name or ") as caught:
        look("https://keys.invalid/jwks.json")
    assert is_one_clear_sentence(caught.value.message)


# --- TLS ------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def certificate(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A certificate for localhost with its key, which nobody trusts by default."""
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


def test_https_is_asked(tls_host: HostileHost, certificate: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A host with a certificate that the machine trusts is read."""
    monkeypatch.setenv("SSL_CERT_FILE", str(certificate))

    assert look(f"https://localhost:{tls_host.port}/.well-known/jwks.json") == frozenset()


def test_certificate_is_checked(tls_host: HostileHost, certificate: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """An unknown certificate, or one for another name, is refused."""
    with pytest.raises(LiveError, match="cannot be reached: certificate verify failed") as caught:
        look(f"https://localhost:{tls_host.port}/.well-known/jwks.json")
    assert is_one_clear_sentence(caught.value.message)

    monkeypatch.setenv("SSL_CERT_FILE", str(certificate))
    with pytest.raises(LiveError, match="cannot be reached: certificate") as caught:
        look(f"https://127.0.0.1:{tls_host.port}/.well-known/jwks.json")
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

    with pytest.raises(LiveError, match=f"redirects to another host: http://localhost:{host.port}/down"):
        look(f"https://localhost:{tls_host.port}/redirect-down/jwks.json")
    assert not host.requests["/down"]


def test_tls_to_a_plain_port(host: HostileHost, tls_host: HostileHost) -> None:
    """A URL that says https for a plain host, or http for a TLS one, ends in one clear sentence."""
    for url in (f"https://localhost:{host.port}/jwks.json", f"http://localhost:{tls_host.port}/jwks.json"):
        with pytest.raises(LiveError, match=f"^{url} cannot be reached: ") as caught:
            bounded(lambda url=url: look(url))  # type: ignore[misc]
        assert is_one_clear_sentence(caught.value.message), caught.value.message


# --- what is never asked --------------------------------------------------------------------------------


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
def test_only_https_is_asked(url: str) -> None:
    """Files, other schemes and plain http beyond this machine are refused before anything is opened."""
    with pytest.raises(LiveError, match=r"is not https$"):
        fetch(url)


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
def test_addresses_of_the_machine_itself_are_not_asked(address: str) -> None:
    """A link-local address, where clouds keep credentials, is refused in every spelling that a resolver takes."""
    with pytest.raises(LiveError, match=r"names an address that is not asked$"):
        check_address(f"https://{address}/latest/meta-data/")


@pytest.mark.parametrize(
    "host", ["keys.example.com", "203.0.113.7", "[2001:db8::7]", "localhost", "127.0.0.1", "[::1]"]
)
def test_other_addresses_are_asked(host: str) -> None:
    """Public names and addresses are fine over https, this machine over http too."""
    check_address(f"https://{host}/jwks.json")
    if host in ("localhost", "127.0.0.1", "[::1]"):
        check_address(f"http://{host}:8000/jwks.json")


# --- looking at several ---------------------------------------------------------------------------------


@pytest.mark.usefixtures("quick")
def test_host_that_is_down_is_asked_once(make_vault: MakeVault) -> None:
    """Three issuers on a host that does not answer cost one wait, and each is told why."""
    with HostileHost() as host:
        urls = [f"{host.url}/silent/{name}" for name in "abc"]
        looked = bounded(lambda: look_at_all(urls, look))

        assert host.connections == 1
    assert looked.live == dict.fromkeys(urls)
    assert set(looked.problems) == set(urls)
    assert len(set(looked.problems.values())) == 1


def test_each_url_of_a_host_is_asked_once() -> None:
    """A host that answers is asked for every URL once, an error of one URL does not hide the others."""
    with HostileHost() as host:
        urls = [f"{host.url}/{name}/jwks.json" for name in ("a", "not-found", "z")]
        looked = bounded(lambda: look_at_all([*urls, *urls], look))

        assert host.requests == dict.fromkeys((f"/{name}/jwks.json" for name in ("a", "not-found", "z")), 1)
    assert looked.live == {urls[0]: frozenset(), urls[1]: None, urls[2]: frozenset()}
    assert list(looked.problems) == [urls[1]]


@pytest.mark.usefixtures("quick")
def test_slow_host_does_not_hold_up_another() -> None:
    """Hosts are asked at the same time: the answer of one does not depend on the other."""
    with HostileHost() as slow, HostileHost() as good:
        urls = [f"{slow.url}/silent/a", f"{good.url}/.well-known/jwks.json"]
        looked = bounded(lambda: look_at_all(urls, look))

    assert looked.live == {urls[0]: None, urls[1]: frozenset()}
    assert list(looked.problems) == [urls[0]]


def test_nothing_to_ask_asks_nothing() -> None:
    """Without a URL no thread is started and nothing is waited for."""
    assert bounded(lambda: look_at_all([], look)) == live.Looked({}, {})


def test_bug_while_looking_does_not_hang(monkeypatch: pytest.MonkeyPatch) -> None:
    """An error that nobody foresaw ends the command as anywhere else, instead of hanging it or posing as a timeout."""

    def broken(*_: object, **_options: object) -> Seen:
        raise TypeError("a bug")

    with pytest.raises(TypeError, match="a bug"):
        bounded(lambda: look_at_all(["https://keys.example.com/a", "https://example.com/b"], broken))
    monkeypatch.setattr(live, "_ask", broken)
    with pytest.raises(TypeError, match="a bug"):
        bounded(lambda: fetch("https://keys.example.com/a"))


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
    """Whatever the site does, the vault stays as it is, and the run says in one line why it waits."""
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
        assert re.search({**REFUSED, **SLOW}[name], warning)
        assert is_one_clear_sentence(warning), warning
        assert waiting == f"id-token: {url} could not be asked, so there is no receipt yet"


def serve(host: HostileHost, lab: Lab, issuer: str) -> None:
    """Let the good paths of *host* serve the JWK Set of *issuer*."""
    host.jwks = jwk_set_bytes(key.public for key in lab.state.keys_at(lab.state.find_place(issuer)))


@pytest.mark.parametrize("name", ["server-error", "html", "silent", "closes-at-once", "redirect-host"])
def test_other_sets_go_on(make_vault: MakeVault, name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """A set whose place is broken waits; the receipts of others and what needs no look are done in the same run."""
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
    """A host that serves another key under the kid of the next one has not published it."""
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


def test_sets_of_one_issuer_are_asked_together(make_vault: MakeVault) -> None:
    """Two sets in one JWK Set cost one request a run."""
    with HostileHost() as host:
        lab = make_vault("id-token:ES256", "access-token:ES256", url=host.url)
        serve(host, lab, host.url)
        lab.live = True
        outcome = rotation.rotate_due(lab.context())

        assert host.requests == {"/.well-known/jwks.json": 1}
    assert [event.event for _, event in outcome.events] == ["published", "published"]


def test_nothing_is_asked_where_nothing_waits(make_vault: MakeVault) -> None:
    """Once the receipt is there and nothing is due, the host hears nothing of a run."""
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
    """A host that was rolled back after the receipt is noticed before the next key signs."""
    with HostileHost() as host:
        lab = make_vault("id-token:ES256", url=host.url)
        serve(host, lab, host.url)
        lab.live = True
        rotation.rotate_due(lab.context())
        lab.wait(25 * HOUR)
        host.jwks = b'{"keys": []}'
        with pytest.raises(GateError, match="no longer serves the next key"):
            rotation.rotate(lab.context(), ["id-token"])

        serve(host, lab, host.url)
        assert rotation.rotate(lab.context(), ["id-token"]).commit is not None
