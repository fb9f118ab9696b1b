"""Proxies in front of an object store that behave like other stores: they check, refuse, or ignore headers."""

from __future__ import annotations

import contextlib
import http.client
import threading
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer


@dataclass(frozen=True)
class Request:
    """A request: method, path, headers by lower-case names, and body."""

    method: str
    path: str
    headers: Mapping[str, str]
    body: bytes


@dataclass
class Front:
    """
    A proxy.

    Attributes:
        url: Its address.
        requests: All requests so far.
    """

    url: str
    requests: list[Request] = field(default_factory=list)


#: Returns the answer to a request that is not passed on: status, headers and body.
Refuse = Callable[[Request], tuple[int, Mapping[str, str], bytes] | None]


def error_body(code: str, message: str, more: str = "") -> bytes:
    """Return an error of S3; it contains parts of the signature, which must not be printed."""
    return (
        f'<?xml version="1.0" encoding="UTF-8"?>\n<Error><Code>{code}</Code><Message>{message}</Message>{more}'
        "<AWSAccessKeyId>AKIDEXAMPLE</AWSAccessKeyId><StringToSign>AWS4-HMAC-SHA256 of-a-request</StringToSign></Error>"
    ).encode()


@contextlib.contextmanager
def front(target: str | None, refuse: Refuse = lambda _: None, *, without: tuple[str, ...] = ()) -> Iterator[Front]:
    """
    Run a proxy in front of the store at the URL *target*.

    Args:
        target: The store; None if *refuse* answers every request.
        refuse: Returns an answer in place of the store's, or None.
        without: Lower-case names of headers that are dropped.
    """

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def forward(self) -> None:
            body = self.rfile.read(int(self.headers.get("Content-Length", 0)))
            headers = {name.lower(): value for name, value in self.headers.items()}
            request = Request(self.command, self.path, headers, body)
            found.requests.append(request)
            status, answered, data = refuse(request) or self.passed_on(request)
            self.send_response_only(status)
            for name, value in answered.items():
                self.send_header(name, value)
            if "content-length" not in {name.lower() for name in answered}:
                self.send_header("Content-Length", str(len(data)))
            self.end_headers()
            self.wfile.write(data)

        def passed_on(self, request: Request) -> tuple[int, Mapping[str, str], bytes]:
            assert target is not None, request
            host, port = target.removeprefix("http://").split(":")
            upstream = http.client.HTTPConnection(host, int(port), timeout=30)
            upstream.putrequest(request.method, request.path, skip_host=True, skip_accept_encoding=True)
            for name, value in request.headers.items():
                if name != "connection" and name not in without:
                    upstream.putheader(name, value)
            upstream.endheaders(request.body)
            response = upstream.getresponse()
            data = response.read()
            upstream.close()
            dropped = {"connection", "transfer-encoding"} | (set() if request.method == "HEAD" else {"content-length"})
            kept = {name: value for name, value in response.getheaders() if name.lower() not in dropped}
            return response.status, kept, data

        do_GET = do_PUT = do_DELETE = do_HEAD = do_POST = forward

        def log_message(self, format: str, *arguments: object) -> None:
            """Log nothing."""

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    server.daemon_threads = True
    thread = threading.Thread(target=server.serve_forever, args=(0.02,), daemon=True)
    thread.start()
    found = Front(f"http://127.0.0.1:{server.server_port}")
    try:
        yield found
    finally:
        server.shutdown()
        server.server_close()
        thread.join()
