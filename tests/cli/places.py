"""Files beside the vault and hosts on this machine, for the tests of the command line."""

from __future__ import annotations

import json
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from keyvault.publish.preview import make_server
from tests.vaults import Vault

Write = Callable[[str, Any], Path]


@pytest.fixture
def write(vault: Vault) -> Write:
    """Write a file beside the vault: bytes, or JSON."""

    def write(name: str, content: Any) -> Path:
        path = vault.top / name
        path.write_bytes(content if isinstance(content, bytes) else json.dumps(content).encode())
        return path

    return write


class Host:
    """A web server on this machine that serves given documents."""

    def __init__(self) -> None:
        self.files: dict[str, bytes] = {}
        self.server = make_server(lambda: self.files, lambda path: {}, port=0)
        threading.Thread(target=self.server.serve_forever, args=(0.02,), daemon=True).start()

    @property
    def url(self) -> str:
        return f"http://localhost:{self.server.server_address[1]}"

    def serve(self, path: str, body: bytes) -> None:
        self.files = {path.removeprefix("/"): body}


@pytest.fixture
def host() -> Iterator[Host]:
    """A host that serves nothing yet."""
    host = Host()
    yield host
    host.server.shutdown()
    host.server.server_close()
