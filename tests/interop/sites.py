"""Hosts on this machine that serve rendered sites to foreign programs, with the headers that a host should send."""

from __future__ import annotations

import threading
from collections import Counter
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field

from keyvault.publish.preview import make_server
from keyvault.site.headers import headers
from tests.site.vaults import MINUTE, Lab

#: Whom tokens are for.
AUDIENCE = "app"
#: Instants that are past and future on any clock, so that no verifier depends on today.
PAST, FUTURE = 1_700_000_000, 4_102_444_800


@dataclass
class Host:
    """
    A static host on this machine that serves what was deployed last.

    Attributes:
        url: Its address.
        files: What it serves.
        asked: How often it was asked for each path.
    """

    url: str = ""
    files: Mapping[str, bytes] = field(default_factory=dict)
    asked: Counter[str] = field(default_factory=Counter)

    def deploy(self, lab: Lab) -> None:
        self.files = lab.site()


@contextmanager
def hosting(base: str = "") -> Iterator[Host]:
    """Give a host that serves a site under the path *base*."""
    host = Host()

    def answer(path: str) -> Mapping[str, str]:
        host.asked[path] += 1
        return headers(path, max_age=10 * MINUTE)

    server = make_server(lambda: host.files, answer, port=0, base=base)
    # It looks as often whether it shall end, and hundreds of tests have a host each.
    thread = threading.Thread(target=server.serve_forever, args=(0.02,), daemon=True)
    thread.start()
    host.url = f"http://localhost:{server.server_address[1]}{base}"
    try:
        yield host
    finally:
        server.shutdown()
        thread.join()
        server.server_close()
