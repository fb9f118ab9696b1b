"""Services that run for half a year, with the caching clients of PyJWT and npm jose, under a test's clock."""

from __future__ import annotations

import json
import subprocess
from datetime import datetime
from pathlib import Path
from types import TracebackType
from typing import Any

import jwt
import jwt.api_jwk
import jwt.jwk_set_cache
import jwt.jwks_client
import pytest

from tests.interop.programs import need_node


class Clock:
    """Replaces the module ``time`` in PyJWT."""

    def __init__(self, now: datetime) -> None:
        self.now = now

    def monotonic(self) -> float:
        return self.now.timestamp()

    time = monotonic


class Verifiers:
    """
    Two services that started at the same instant and never restart.

    Attributes:
        clock: Their clock; a test moves it.
    """

    def __init__(self, jwks_uri: str, issuer: str, audience: str, now: datetime, patch: pytest.MonkeyPatch) -> None:
        need_node()
        self.clock = Clock(now)
        for module in (jwt.api_jwk, jwt.jwk_set_cache, jwt.jwks_client):
            patch.setattr(module, "time", self.clock)
        self._issuer, self._audience = issuer, audience
        self._client = jwt.PyJWKClient(jwks_uri)
        self._node = subprocess.Popen(
            ["node", str(Path(__file__).parent / "jose_clock.mjs"), jwks_uri, issuer, audience],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )

    def verify(self, token: str) -> dict[str, str]:
        """Return each service's error for *token*; empty if it accepts the token."""
        return {"PyJWT": self._pyjwt(token), "jose": self._jose(token)}

    def _pyjwt(self, token: str) -> str:
        try:
            key = self._client.get_signing_key_from_jwt(token)
            # Times are those of the simulation, which PyJWT does not know; jose does.
            options: Any = {"verify_exp": False, "verify_iat": False, "verify_nbf": False}
            algorithms = [jwt.get_unverified_header(token)["alg"]]
            jwt.decode(token, key, algorithms=algorithms, audience=self._audience, issuer=self._issuer, options=options)
        except jwt.PyJWTError as error:
            return f"{type(error).__name__}: {error}"
        return ""

    def _jose(self, token: str) -> str:
        assert self._node.stdin is not None
        assert self._node.stdout is not None
        asked = {"now": int(self.clock.now.timestamp() * 1000), "token": token}
        self._node.stdin.write(json.dumps(asked) + "\n")
        self._node.stdin.flush()
        verdict = json.loads(self._node.stdout.readline())
        return "" if verdict["ok"] else str(verdict["code"])

    def __enter__(self) -> Verifiers:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        for stream in (self._node.stdin, self._node.stdout):
            if stream is not None:
                stream.close()
        self._node.wait(timeout=60)
