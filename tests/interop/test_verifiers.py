"""
Real verifiers read the rendered site over HTTP, before, during and after a rotation.

Tokens carry instants that are past and future on any clock, so that no verifier depends on today.
"""

from __future__ import annotations

import json
import shutil
import subprocess
import threading
import urllib.request
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import jwt
import pytest
from joserfc import jwt as joserfc_jwt
from joserfc.errors import JoseError
from joserfc.jwk import KeySet

from keyvault.operations import rotation, tokens
from keyvault.publish.preview import make_server
from keyvault.site.headers import headers
from tests.site.vaults import HOUR, MINUTE, Lab, new_lab

pytestmark = pytest.mark.interop

SETS = {alg.lower(): alg for alg in ("RS256", "PS256", "ES256", "ES384", "ES512", "EdDSA")}
AUDIENCE = "app"
NODE = Path(__file__).parents[1] / "node"


@dataclass
class Host:
    """
    A static host on this machine that serves what was deployed last.

    Attributes:
        url: Its address, which is the site's url too.
        files: What it serves.
    """

    url: str
    files: dict[str, bytes]

    def deploy(self, lab: Lab) -> None:
        self.files = lab.site()

    @property
    def jwks(self) -> str:
        return f"{self.url}/.well-known/jwks.json"


@contextmanager
def hosting(base: str = "") -> Iterator[Host]:
    """Give a host that serves a site under the path *base*."""
    host = Host("", {})
    server = make_server(lambda: host.files, lambda path: headers(path, max_age=10 * MINUTE), port=0, base=base)
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    host.url = f"http://localhost:{server.server_address[1]}{base}"
    try:
        yield host
    finally:
        server.shutdown()
        thread.join()
        server.server_close()


@pytest.fixture
def world(tmp_path: Path) -> Iterator[tuple[Lab, Host]]:
    """A vault with a set of each algorithm, deployed to a host that commands really ask."""
    with hosting() as host:
        lab = new_lab(tmp_path / "home" / "vault", *(f"{name}:{alg}" for name, alg in SETS.items()), url=host.url)
        lab.live = True
        host.deploy(lab)
        yield lab, host


def sign_all(lab: Lab) -> list[str]:
    """Sign a token with the active key of every set."""
    claims = {"sub": "alice", "aud": AUDIENCE, "iat": 1_700_000_000, "exp": 4_102_444_800}
    return [tokens.sign(lab.context(), name, claims, ttl=10 * MINUTE)[0] for name in SETS]


# --- verifiers: JWK Set URL, issuer and tokens in, one verdict a token out -------------------------------


def with_pyjwt(host: Host, signed: list[str]) -> list[bool]:
    client = jwt.PyJWKClient(host.jwks)
    verdicts = []
    for token in signed:
        try:
            key = client.get_signing_key_from_jwt(token)
            jwt.decode(token, key, algorithms=list(SETS.values()), audience=AUDIENCE, issuer=host.url)
            verdicts.append(True)
        except jwt.PyJWTError:
            verdicts.append(False)
    return verdicts


def with_joserfc(host: Host, signed: list[str]) -> list[bool]:
    with urllib.request.urlopen(host.jwks) as response:  # noqa: S310 - http, on this machine
        keys = KeySet.import_key_set(json.load(response))
    verdicts = []
    for token in signed:
        try:
            decoded = joserfc_jwt.decode(token, keys, algorithms=list(SETS.values()))
            claims = joserfc_jwt.JWTClaimsRegistry(
                iss={"essential": True, "value": host.url}, aud={"essential": True, "value": AUDIENCE}
            )
            claims.validate(decoded.claims)
            verdicts.append(True)
        except (JoseError, ValueError):
            verdicts.append(False)
    return verdicts


def with_npm_jose(host: Host, signed: list[str]) -> list[bool]:
    if not shutil.which("node") or not (NODE / "node_modules" / "jose").is_dir():
        pytest.skip("Node.js, or the npm package jose in tests/node, is not installed")
    done = subprocess.run(
        ["node", str(NODE / "verify.mjs"), host.jwks, host.url, AUDIENCE],
        input="\n".join(signed) + "\n",
        capture_output=True,
        text=True,
        check=True,
    )
    return [json.loads(line)["ok"] for line in done.stdout.splitlines()]


Verify = Callable[[Host, list[str]], list[bool]]
ALL = [True] * len(SETS)
NONE = [False] * len(SETS)


@pytest.mark.parametrize("verify", [with_pyjwt, with_joserfc, with_npm_jose])
def test_tokens_verify_before_during_and_after_a_rotation(world: tuple[Lab, Host], verify: Verify) -> None:
    """A fresh verifier accepts each token for as long as it was promised, and none whose key was withdrawn."""
    lab, host = world
    before = sign_all(lab)
    assert verify(host, before) == ALL

    assert rotation.rotate_due(lab.context()).commit, "the host was asked, and the receipts are on record"
    lab.wait(24 * HOUR)
    rotation.rotate(lab.context(), list(SETS))
    during = sign_all(lab)
    # Verifiers hold the next keys already: the site of before the rotation is enough for the new tokens.
    assert verify(host, during) == ALL
    host.deploy(lab)
    assert verify(host, before) == ALL
    assert verify(host, during) == ALL

    lab.wait(2 * HOUR + 11 * MINUTE)
    rotation.rotate_due(lab.context())
    host.deploy(lab)
    assert verify(host, during) == ALL
    assert verify(host, before) == NONE


@pytest.mark.parametrize("verify", [with_pyjwt, with_joserfc, with_npm_jose])
def test_a_revoked_key_is_refused_by_a_fresh_verifier(world: tuple[Lab, Host], verify: Verify) -> None:
    """After a revocation and a deploy the old tokens are refused, and those of the next key verify."""
    lab, host = world
    old = sign_all(lab)
    for name in SETS:
        rotation.revoke(lab.context(), lab.key(name, "active").kid, reason="compromised")
    new = sign_all(lab)
    host.deploy(lab)
    assert verify(host, old) == NONE
    assert verify(host, new) == ALL


@pytest.mark.parametrize("verify", [with_pyjwt, with_joserfc, with_npm_jose])
def test_a_rollback_is_accepted(world: tuple[Lab, Host], verify: Verify) -> None:
    """Tokens of the key that came back, and of the one that went, both verify."""
    lab, host = world
    rotation.rotate_due(lab.context())
    lab.wait(24 * HOUR)
    rotation.rotate(lab.context(), list(SETS))
    rotated = sign_all(lab)
    for name in SETS:
        rotation.rollback(lab.context(), name)
    host.deploy(lab)
    assert verify(host, rotated) == ALL
    assert verify(host, sign_all(lab)) == ALL
