"""
Serve a rendered site on 127.0.0.1 as static files: `python bench/serve.py FOLDER`.

Prints its URL as a line of JSON, and ends at the end of its stdin. Sends the same headers as keyvault's own preview,
and reads each file when it is requested.
"""

from __future__ import annotations

import contextlib
import json
import sys
import threading
from datetime import timedelta
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any
from urllib.parse import unquote, urlsplit

from keyvault.site.headers import headers


class Server(ThreadingHTTPServer):
    """Accepts many connections: `check` opens one for each request."""

    daemon_threads = True
    request_queue_size = 128

    def __init__(self, site: Path) -> None:
        super().__init__(("127.0.0.1", 0), _Handler)
        self.site, self.asked = site, 0
        self.url = f"http://127.0.0.1:{self.server_address[1]}"

    def handle_error(self, request: Any, client_address: Any) -> None:
        """Ignore clients that have disconnected."""
        if not isinstance(sys.exc_info()[1], OSError):
            super().handle_error(request, client_address)


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    # Buffered: with separate packets for headers and body, the client's delayed acknowledgement would cost time.
    wbufsize = -1
    server: Server

    def do_GET(self) -> None:
        self.server.asked += 1
        name = unquote(urlsplit(self.path).path).lstrip("/")
        name = name + "index.html" if name == "" or name.endswith("/") else name
        body = None
        with contextlib.suppress(OSError):
            body = (self.server.site / name).read_bytes()
        self.send_response(200 if body is not None else 404)
        for header, value in headers(name, max_age=timedelta(minutes=10)).items():
            self.send_header(header, value)
        self.send_header("Content-Length", str(len(body or b"")))
        self.end_headers()
        self.wfile.write(body or b"")

    def log_message(self, format: str, *args: Any) -> None:
        """Log nothing."""


@contextlib.contextmanager
def serving(site: Path) -> Any:
    """Serve *site* from a thread; yields the server."""
    with Server(site) as server:
        thread = threading.Thread(target=server.serve_forever, daemon=True)
        thread.start()
        try:
            yield server
        finally:
            server.shutdown()
            thread.join()


def main() -> None:
    """Serve until stdin ends."""
    with serving(Path(sys.argv[1])) as server:
        print(json.dumps({"url": server.url}), flush=True)
        sys.stdin.buffer.read()


if __name__ == "__main__":
    main()
