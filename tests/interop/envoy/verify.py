"""
Verify tokens with Envoy, which protects a route with jwt_authn; Istio's RequestAuthentication uses that filter.

usage: python verify.py ENVOY VERIFIER JWKS_URL ISSUER AUDIENCE ALG[,ALG…] <tokens

Reads one token a line and prints one JSON line for each, in the same order: {"ok": "the sub of the token"} or
{"error": "the body of Envoy's response"}. All tokens of a run go to the same server, with the filter's own cache. The
filter accepts every algorithm that it supports; it has no setting for the expected ones.
"""

from __future__ import annotations

import base64
import json
import socket
import subprocess
import sys
import tempfile
import time
import urllib.error
import urllib.request
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit


def configuration(port: int, url: str, issuer: str, audience: str) -> dict[str, Any]:
    """Return a configuration for a server that responds to a valid token with a header of its claims."""
    prefix = "type.googleapis.com/envoy.extensions.filters"
    place = urlsplit(url)
    address = {"socket_address": {"address": "127.0.0.1", "port_value": place.port}}
    provider = {
        "issuer": issuer,
        "audiences": [audience],
        "forward_payload_header": "claims",
        "remote_jwks": {"http_uri": {"uri": url, "cluster": "host", "timeout": "5s"}},
    }
    authentication = {
        "@type": f"{prefix}.http.jwt_authn.v3.JwtAuthentication",
        "providers": {"keyvault": provider},
        "rules": [{"match": {"prefix": "/"}, "requires": {"provider_name": "keyvault"}}],
    }
    route = {
        "match": {"prefix": "/"},
        "direct_response": {"status": 200},
        "response_headers_to_add": [{"header": {"key": "claims", "value": "%REQ(claims)%"}}],
    }
    manager = {
        "@type": f"{prefix}.network.http_connection_manager.v3.HttpConnectionManager",
        "stat_prefix": "it",
        "route_config": {"virtual_hosts": [{"name": "it", "domains": ["*"], "routes": [route]}]},
        "http_filters": [
            {"name": "jwt_authn", "typed_config": authentication},
            {"name": "router", "typed_config": {"@type": f"{prefix}.http.router.v3.Router"}},
        ],
    }
    return {
        "static_resources": {
            "listeners": [
                {
                    "address": {"socket_address": {"address": "127.0.0.1", "port_value": port}},
                    "filter_chains": [{"filters": [{"name": "http", "typed_config": manager}]}],
                }
            ],
            "clusters": [
                {
                    "name": "host",
                    "type": "STATIC",
                    "load_assignment": {
                        "cluster_name": "host",
                        "endpoints": [{"lb_endpoints": [{"endpoint": {"address": address}}]}],
                    },
                }
            ],
        }
    }


def main(envoy: str, _name: str, url: str, issuer: str, audience: str, _algs: str) -> None:
    with tempfile.TemporaryDirectory() as name, socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
        free.close()
        path = Path(name) / "envoy.json"
        path.write_text(json.dumps(configuration(port, url, issuer, audience)))
        command = [
            envoy,
            "--config-path",
            str(path),
            "--concurrency",
            "1",
            "--disable-hot-restart",
            "--log-level",
            "off",
        ]
        server = subprocess.Popen(command)
        try:
            for line in sys.stdin:
                print(json.dumps(ask(f"http://127.0.0.1:{port}/", line.strip())), flush=True)
        finally:
            server.terminate()
            server.wait()


def ask(url: str, token: str) -> dict[str, str]:
    for _ in range(200):
        try:
            request = urllib.request.Request(url, headers={"Authorization": f"Bearer {token}"})  # noqa: S310 - http, on this machine
            with urllib.request.urlopen(request) as response:  # noqa: S310 - the same
                return {"ok": json.loads(base64.urlsafe_b64decode(response.headers["claims"] + "=="))["sub"]}
        except urllib.error.HTTPError as error:
            return {"error": f"{error.code}: {error.read().decode()}"}
        except (urllib.error.URLError, ConnectionError):
            # The server does not listen yet.
            time.sleep(0.05)
    return {"error": "Envoy did not start"}


if __name__ == "__main__":
    main(*sys.argv[1:])
