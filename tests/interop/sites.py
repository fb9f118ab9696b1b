"""
Hosts on this machine that serve rendered sites to foreign programs, with the headers that a host should send.

A secure host speaks TLS with a certificate of a test authority, as on a test system: at its own address, and through a
proxy at the URL that the site was rendered for.
"""

from __future__ import annotations

import contextlib
import functools
import ipaddress
import os
import socket
import socketserver
import ssl
import tempfile
import threading
from collections import Counter
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from urllib.parse import urlsplit

from keyvault.publish.preview import make_server
from keyvault.site.headers import headers
from tests.site.vaults import MINUTE, SITE, Lab

#: The audience of tokens. It is a URL, since a token is also an assertion for an authorization server.
AUDIENCE = "https://app.example.com"
#: Instants that are past and future on any clock, so that no verifier depends on today.
PAST, FUTURE = 1_700_000_000, 4_102_444_800


@dataclass
class Host:
    """
    A static host on this machine that serves the last deployed site.

    Attributes:
        url: Its address.
        environ: Variables that make a program trust a secure host, and reach it at every https URL but those of this
            machine.
        files: The files that it serves.
        asked: The number of requests for each path.
        types: The Content-Type of a path, if it is not the one that a host should send.
    """

    url: str = ""
    environ: Mapping[str, str] = field(default_factory=dict)
    files: Mapping[str, bytes] = field(default_factory=dict)
    asked: Counter[str] = field(default_factory=Counter)
    types: Mapping[str, str] = field(default_factory=dict)

    def deploy(self, lab: Lab) -> None:
        self.files = lab.site()

    def _answer(self, path: str) -> Mapping[str, str]:
        self.asked[path] += 1
        found = dict(headers(path, max_age=10 * MINUTE))
        return {**found, "Content-Type": self.types[path]} if path in self.types else found


@contextmanager
def hosting(base: str = "", *, secure: bool = False) -> Iterator[Host]:
    """Give a host that serves a site under the path *base*, over https if it is *secure*."""
    host = Host()
    server = make_server(lambda: host.files, host._answer, port=0, base=base)
    port = server.server_address[1]
    with ExitStack() as stack:
        if secure:
            context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
            context.load_cert_chain(authority() / "host.pem")
            # The thread of a connection does the handshake, so that the accepting thread does not wait for a client.
            server.socket = context.wrap_socket(server.socket, server_side=True, do_handshake_on_connect=False)
            host.environ = environment(stack.enter_context(_proxying(port)))
        stack.enter_context(_serving(server))
        host.url = f"{'https' if secure else 'http'}://localhost:{port}{base}"
        yield host


@contextmanager
def _serving(server: socketserver.BaseServer) -> Iterator[None]:
    # The server checks this often whether to stop, and each of hundreds of tests has its own host.
    thread = threading.Thread(target=server.serve_forever, args=(0.02,), daemon=True)
    thread.start()
    try:
        yield
    finally:
        server.shutdown()
        thread.join()
        server.server_close()


# --- a test authority, and a proxy -----------------------------------------------------------------------------


@contextmanager
def _proxying(target: int) -> Iterator[int]:
    """Give the port of a proxy that connects requests for any host to the port *target* of this machine."""

    class Tunnel(socketserver.StreamRequestHandler):
        def handle(self) -> None:
            while self.rfile.readline().strip():
                pass
            with contextlib.suppress(OSError), socket.create_connection(("127.0.0.1", target)) as there:
                self.connection.sendall(b"HTTP/1.1 200 OK\r\n\r\n")
                back = threading.Thread(target=_pump, args=(there, self.connection), daemon=True)
                back.start()
                _pump(self.connection, there)
                back.join()

    class Proxy(socketserver.ThreadingTCPServer):
        daemon_threads = True

    with Proxy(("127.0.0.1", 0), Tunnel) as proxy, _serving(proxy):
        yield proxy.server_address[1]


def _pump(source: socket.socket, target: socket.socket) -> None:
    """Forward the bytes of *source* until it ends."""
    with contextlib.suppress(OSError):
        while data := source.recv(65536):
            target.sendall(data)
    with contextlib.suppress(OSError):
        target.shutdown(socket.SHUT_WR)


def environment(proxy: int) -> dict[str, str]:
    """Return the variables by which Go, Node.js, Java and OpenSSL trust the authority; Go and Java heed the proxy, too."""
    certificate = str(authority() / "ca.pem")
    java = {
        "javax.net.ssl.trustStore": str(authority() / "ca.p12"),
        "https.proxyHost": "localhost",
        "https.proxyPort": str(proxy),
    }
    return {
        "HTTPS_PROXY": f"http://localhost:{proxy}",
        "SSL_CERT_FILE": certificate,
        "NODE_EXTRA_CA_CERTS": certificate,
        "JDK_JAVA_OPTIONS": " ".join(f"-D{name}={value}" for name, value in java.items()),
    }


@functools.cache
def authority() -> Path:
    """Create a certificate authority that signs one certificate, for this machine and the host of `SITE`."""
    from cryptography import x509
    from cryptography.hazmat.primitives import hashes
    from cryptography.hazmat.primitives.asymmetric import ec
    from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat
    from cryptography.hazmat.primitives.serialization.pkcs12 import PKCS12Certificate, serialize_java_truststore
    from cryptography.x509.oid import NameOID

    def certificate(name: str, key: ec.EllipticCurvePrivateKey, *, ca: bool) -> x509.Certificate:
        subject = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name)])
        names = [x509.DNSName("localhost"), x509.DNSName(str(urlsplit(SITE).hostname))]
        addresses = [x509.IPAddress(ipaddress.ip_address("127.0.0.1"))]
        builder = x509.CertificateBuilder(
            issuer_name=x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "test authority")]),
            subject_name=subject,
            public_key=key.public_key(),
            serial_number=x509.random_serial_number(),
            not_valid_before=datetime.fromtimestamp(PAST, UTC),
            not_valid_after=datetime.fromtimestamp(FUTURE, UTC),
        ).add_extension(x509.BasicConstraints(ca=ca, path_length=None), critical=True)
        if not ca:
            builder = builder.add_extension(x509.SubjectAlternativeName([*names, *addresses]), critical=False)
        return builder.sign(signer, hashes.SHA256())

    signer, key = ec.generate_private_key(ec.SECP256R1()), ec.generate_private_key(ec.SECP256R1())
    ca, leaf = certificate("test authority", signer, ca=True), certificate("localhost", key, ca=False)
    folder = Path(_folder().name)
    private = key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())
    (folder / "host.pem").write_bytes(private + leaf.public_bytes(Encoding.PEM))
    (folder / "ca.pem").write_bytes(ca.public_bytes(Encoding.PEM))
    (folder / "ca.p12").write_bytes(serialize_java_truststore([PKCS12Certificate(ca, b"ca")], NoEncryption()))
    return folder


@functools.cache
def _folder() -> tempfile.TemporaryDirectory[str]:
    """Return a folder that is removed when the process ends."""
    return tempfile.TemporaryDirectory(prefix=f"authority-{os.getpid()}-")
