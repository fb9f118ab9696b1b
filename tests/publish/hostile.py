"""
A host on this machine that misbehaves in many ways.

The first segment of the path selects the behaviour: ``/slow-body/.well-known/jwks.json`` sends slowly. A path
without a behaviour gets the host's JWK Set. The host uses raw sockets, so that it can violate HTTP itself.
"""

from __future__ import annotations

import contextlib
import gzip
import json
import socket
import ssl
import struct
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator
from types import TracebackType

GOOD = b'{"keys": []}'


class Connection:
    """A connection that counts the bytes that the client received."""

    def __init__(self, host: HostileHost, sock: socket.socket, path: str) -> None:
        self.host, self.sock, self.path = host, sock, path

    def send(self, data: bytes) -> None:
        self.sock.sendall(data)
        self.host.sent[self.path] += len(data)

    def trickle(self, data: Iterator[bytes], pause: float) -> None:
        """Send piece by piece, until the host stops or the client disconnects."""
        for piece in data:
            if self.host.stopped.wait(pause):
                return
            self.send(piece)

    def answer(
        self, status: str = "200 OK", body: bytes = b"", *headers: str, length: str | None = None, kind: str = "json"
    ) -> None:
        """Send a whole response."""
        lines = [f"HTTP/1.1 {status}", f"Content-Type: application/{kind}", *headers]
        lines.append(f"Content-Length: {len(body) if length is None else length}")
        self.send("\r\n".join([*lines, "Connection: close", "", ""]).encode("latin-1") + body)


def repeated(data: bytes) -> Iterator[bytes]:
    while True:
        yield data


Behaviour = Callable[[Connection], None]
BEHAVIOURS: dict[str, Behaviour] = {}


def behaviour(function: Behaviour) -> Behaviour:
    """Register *function* under its name, with hyphens."""
    BEHAVIOURS[function.__name__.replace("_", "-").strip("-")] = function
    return function


def answering(name: str, status: str, body: bytes, *headers: str, length: str | None = None) -> None:
    """Register a behaviour that is a plain response."""
    BEHAVIOURS[name] = lambda connection: connection.answer(status, body, *headers, length=length)


# --- slow, endless, large -------------------------------------------------------------------------------


@behaviour
def silent(connection: Connection) -> None:
    connection.host.stopped.wait()


@behaviour
def slow_headers(connection: Connection) -> None:
    connection.send(b"HTTP/1.1 200 OK\r\nX-Slow: ")
    connection.trickle(repeated(b"x"), 0.02)


@behaviour
def slow_body(connection: Connection) -> None:
    connection.send(b"HTTP/1.1 200 OK\r\nContent-Length: 100000\r\n\r\n")
    connection.trickle(repeated(b" "), 0.02)


@behaviour
def endless_continue(connection: Connection) -> None:
    connection.trickle(repeated(b"HTTP/1.1 100 Continue\r\n\r\n"), 0.001)


@behaviour
def endless_body(connection: Connection) -> None:
    connection.send(b"HTTP/1.1 200 OK\r\n\r\n")
    connection.trickle(repeated(b" " * 65_536), 0)


@behaviour
def endless_chunks(connection: Connection) -> None:
    connection.send(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n")
    connection.trickle(repeated(b"10000\r\n" + b" " * 65_536 + b"\r\n"), 0)


@behaviour
def ten_gigabytes(connection: Connection) -> None:
    connection.send(b"HTTP/1.1 200 OK\r\nContent-Length: 10000000000\r\n\r\n")
    connection.trickle(repeated(b" " * 65_536), 0)


answering("large", "200 OK", b'{"keys": [' + b" " * 300 * 1024 + b"]}")
answering("long-header", "200 OK", GOOD, "X-Long: " + "x" * 100_000)
answering("many-headers", "200 OK", GOOD, *(f"X-{number}: x" for number in range(500)))

# --- redirects ------------------------------------------------------------------------------------------


@behaviour
def redirect_loop(connection: Connection) -> None:
    connection.answer("302 Found", b"", f"Location: {connection.path}")


@behaviour
def redirect_chain(connection: Connection) -> None:
    connection.answer("302 Found", b"", f"Location: {connection.path}x")


@behaviour
def redirect_once(connection: Connection) -> None:
    connection.answer("301 Moved Permanently", b"", "Location: /landed")


@behaviour
def redirect_host(connection: Connection) -> None:
    connection.answer("302 Found", b"", f"Location: http://localhost:{connection.host.port}/.well-known/jwks.json")


@behaviour
def redirect_port(connection: Connection) -> None:
    connection.answer("302 Found", b"", "Location: http://127.0.0.1:1/jwks.json")


@behaviour
def redirect_long(connection: Connection) -> None:
    connection.answer("302 Found", b"", "Location: /not-found/" + "x" * 30_000)


answering("redirect-file", "302 Found", b"", "Location: file:///etc/hostname")
answering("redirect-link-local", "302 Found", b"", "Location: http://169.254.169.254/latest/meta-data/")
answering("redirect-nowhere", "302 Found", b"")
answering("redirect-garbage", "302 Found", b"", "Location: http://[::1/jwks.json")
answering("redirect-escapes", "302 Found", b"", "Location: https://evil.example/\x1b[31m\x07\xae")

# --- status and content ---------------------------------------------------------------------------------

answering("not-found", "404 Not Found", GOOD)
answering("forbidden", "403 \x1b[31mForbidden", GOOD)
answering("server-error", "500 Internal Server Error", GOOD)
answering("unavailable", "503 Service Unavailable", GOOD, "Retry-After: 3600")
answering("partial", "206 Partial Content", GOOD)
answering("not-modified", "304 Not Modified", b"")
answering("odd-status", "299 Whatever", GOOD)
answering("html", "200 OK", b"<!doctype html><title>Not found</title>")
answering("gzip", "200 OK", gzip.compress(GOOD), "Content-Encoding: gzip")
answering("gzip-bomb", "200 OK", gzip.compress(b" " * 50_000_000), "Content-Encoding: gzip")
answering("brotli", "200 OK", GOOD, "Content-Encoding: br")
answering("nothing", "200 OK", b"")
answering("cut-off", "200 OK", b'{"keys": [')
answering("trailing", "200 OK", GOOD + b" <!-- served by nginx -->")
answering("null", "200 OK", b"null")
answering("list", "200 OK", b"[]")
answering("keys-missing", "200 OK", b"{}")
answering("keys-object", "200 OK", b'{"keys": {}}')
answering("keys-text", "200 OK", b'{"keys": "none"}')
answering("deep", "200 OK", b'{"keys": ' + b"[" * 100_000 + b"]" * 100_000 + b"}")
answering("deep-objects", "200 OK", b'{"keys": ' + b'{"a":' * 30_000 + b"1" + b"}" * 30_000 + b"}")
answering("many-keys", "200 OK", b'{"keys": [' + b",".join([b"{}"] * 1_001) + b"]}")
answering("utf-16", "200 OK", GOOD.decode().encode("utf-16"))
answering("latin-1", "200 OK", b'{"keys": [{"kid": "\xe4"}]}')
answering("byte-order-mark", "200 OK", b"\xef\xbb\xbf" + GOOD)
answering("nan", "200 OK", b'{"keys": [NaN]}')
answering("huge-number", "200 OK", b'{"keys": [1e999]}')
answering("surrogate", "200 OK", b'{"keys": [{"kid": "\\ud800"}]}')
answering("empty-set", "200 OK", GOOD)
answering("long-integer", "200 OK", b'{"keys": [' + b"9" * 5_000 + b"]}")
answering(
    "odd-keys",
    "200 OK",
    json.dumps(
        {
            "keys": [
                None,
                1,
                "x",
                [],
                {},
                {"kid": None},
                {"kid": 7, "kty": "EC"},
                {"kid": "a", "kty": "LMS"},
                {"kid": "b", "kty": "EC", "crv": "P-256"},
                {"kid": "c", "kty": "EC", "crv": ["P-256"], "x": {}, "y": 1},
                {"kid": "d", "kty": {"EC": 1}},
                {"kid": "x" * 10_000, "kty": "oct"},
            ]
        }
    ).encode(),
)

# --- broken HTTP ----------------------------------------------------------------------------------------


@behaviour
def closes_at_once(connection: Connection) -> None:
    pass


@behaviour
def resets(connection: Connection) -> None:
    connection.sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))


@behaviour
def closes_in_headers(connection: Connection) -> None:
    connection.send(b"HTTP/1.1 200 OK\r\nContent-Ty")


@behaviour
def closes_in_chunk(connection: Connection) -> None:
    connection.send(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n20\r\n{")


@behaviour
def bad_chunk(connection: Connection) -> None:
    connection.send(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\nZZZ\r\n" + GOOD)


@behaviour
def no_http(connection: Connection) -> None:
    connection.send(b"SSH-2.0-OpenSSH_9.2p1 \x1b[31m\r\n")


@behaviour
def old_http(connection: Connection) -> None:
    connection.send(GOOD)


@behaviour
def bad_status(connection: Connection) -> None:
    connection.send(b"HTTP/1.1 9999999999999999999999 What\r\n\r\n")


@behaviour
def no_content(connection: Connection) -> None:
    connection.send(b"HTTP/1.1 204 No Content\r\n\r\n")


answering("length-too-long", "200 OK", GOOD, length="5000")
answering("length-too-short", "200 OK", GOOD, length="5")
answering("length-negative", "200 OK", b"<html>", length="-1")
answering("length-garbage", "200 OK", b"<html>", length="many")


class HostileHost:
    """
    Listens on 127.0.0.1 until it is closed.

    Attributes:
        port: The port.
        jwks: The response to a path without a behaviour.
        mode: The behaviour of every path that does not select one, if any.
        requests: The number of requests for each path.
        connections: The number of connections.
        sent: The number of bytes of each path that the client received.
    """

    def __init__(self, *, tls: ssl.SSLContext | None = None) -> None:
        self.jwks = GOOD
        self.mode: str | None = None
        self.requests: Counter[str] = Counter()
        self.sent: Counter[str] = Counter()
        self.connections = 0
        self.stopped = threading.Event()
        self._tls = tls
        self._listener = socket.create_server(("127.0.0.1", 0), backlog=64)
        self.port: int = self._listener.getsockname()[1]
        threading.Thread(target=self._accept, daemon=True).start()

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    def __enter__(self) -> HostileHost:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.stopped.set()
        # A close alone does not wake up a thread that waits in accept.
        with contextlib.suppress(OSError):
            self._listener.shutdown(socket.SHUT_RDWR)
        self._listener.close()

    def _accept(self) -> None:
        while True:
            try:
                sock, _ = self._listener.accept()
            except OSError:
                return
            self.connections += 1
            threading.Thread(target=self._serve, args=(sock,), daemon=True).start()

    def _serve(self, sock: socket.socket) -> None:
        with contextlib.suppress(OSError), sock:
            if self._tls is not None:
                sock = self._tls.wrap_socket(sock, server_side=True)
            with sock:
                request = b""
                while b"\r\n\r\n" not in request:
                    data = sock.recv(65_536)
                    if not data:
                        return
                    if data[0] == 0x16:  # a TLS handshake
                        sock.sendall(b"HTTP/1.1 400 Bad Request\r\nContent-Length: 0\r\n\r\n")
                        return
                    request += data
                path = request.split(b" ", 2)[1].decode()
                self.requests[path] += 1
                act = BEHAVIOURS.get(path.split("/")[1]) or BEHAVIOURS.get(self.mode or "")
                act = None if path == "/landed" else act
                connection = Connection(self, sock, path)
                if act is None:
                    connection.answer("200 OK", self.jwks)
                else:
                    act(connection)
                if act is not resets:
                    _drain(sock)


def _drain(sock: socket.socket) -> None:
    """Close in order: a socket that is closed with data unread resets the connection."""
    with contextlib.suppress(OSError):
        sock.shutdown(socket.SHUT_WR)
        sock.settimeout(1)
        deadline = time.monotonic() + 1
        while sock.recv(4_096) and time.monotonic() < deadline:
            pass
