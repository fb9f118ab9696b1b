"""
Serve a rendered site on this machine, with the headers that a host should send.

For previews and tests: no TLS, and no access from other machines.
"""

from __future__ import annotations

import contextlib
import socket
import sys
from collections.abc import Callable, Mapping
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any
from urllib.parse import unquote, urlsplit

from keyvault.errors import UsageError

#: Returns the current site, by path.
Site = Callable[[], Mapping[str, bytes]]
Headers = Callable[[str], Mapping[str, str]]


class _Server(ThreadingHTTPServer):
    """Waits for its threads at the end: a thread that reads or prints while Python shuts down aborts the process."""

    daemon_threads = False

    def __init__(self, address: tuple[str, int], handler: type[BaseHTTPRequestHandler]) -> None:
        self._open: set[Any] = set()
        super().__init__(address, handler)

    def process_request(self, request: Any, client_address: Any) -> None:
        self._open.add(request)
        super().process_request(request, client_address)

    def shutdown_request(self, request: Any) -> None:
        self._open.discard(request)
        super().shutdown_request(request)

    def server_close(self) -> None:
        for connection in list(self._open):
            with contextlib.suppress(OSError):
                connection.shutdown(socket.SHUT_RDWR)
        super().server_close()

    def handle_error(self, request: Any, client_address: Any) -> None:
        """Ignore a connection that broke; anything else is a bug of ours."""
        if not isinstance(sys.exc_info()[1], OSError):
            super().handle_error(request, client_address)


def make_server(site: Site, headers: Headers, *, port: int, base: str = "") -> ThreadingHTTPServer:
    """
    Return a server on 127.0.0.1 that is ready to serve.

    Args:
        site: Returns the files to serve; called for each request.
        headers: Returns the headers of a path.
        port: The port to listen on; 0 selects a free port.
        base: The path of the site, as in ``https://host/base/``.

    Raises:
        UsageError: If the port is not available.
    """

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"
        server_version = "keyvault"

        def do_GET(self) -> None:
            self._answer(with_body=True)

        def do_HEAD(self) -> None:
            self._answer(with_body=False)

        def _answer(self, *, with_body: bool) -> None:
            files = site()
            path = unquote(urlsplit(self.path).path)
            name = path.removeprefix(base).lstrip("/") if f"{path}/".startswith(f"{base}/") else "?"
            if name in ("", "index.html") or name.endswith("/"):
                name = name.removesuffix("index.html") + "index.html"
            status = 200 if name in files else 404
            served = name if status == 200 else "404.html"
            body = files.get(served, b"")
            self.send_response(status)
            for header, value in headers(served).items():
                self.send_header(header, value)
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            if with_body:
                self.wfile.write(body)

        def log_message(self, format: str, *args: Any) -> None:
            """Log nothing: a request line is foreign text, which could contain escapes for the terminal."""

    try:
        return _Server(("127.0.0.1", port), Handler)
    except OSError as error:
        message = f"port {port} is not available: {error.strerror}"
        raise UsageError(message, code="port-unavailable", hint="--port 0 selects a free port") from None
