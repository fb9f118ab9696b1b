"""Private keys for tests: real ones, each generated once a process, since RSA takes its time."""

from __future__ import annotations

import functools
from typing import Any

from keyvault.core.algorithms import ALGORITHMS, key_spec
from keyvault.core.jwk import PublicJWK, b64u, b64u_decode, public_jwk
from keyvault.core.keys import Recipient
from keyvault.crypto.generate import PrivateJWK, generate
from keyvault.crypto.identities import JWKIdentity, new_identity, recipient_of

#: Every algorithm with each of its curves.
KINDS = [(name, crv) for name, algorithm in ALGORITHMS.items() for crv in algorithm.curves or (None,)]
SIGNING = [(alg, crv) for alg, crv in KINDS if ALGORITHMS[alg].use == "sig"]


@functools.cache
def _generated(alg: str, crv: str | None, number: int) -> PrivateJWK:
    return generate(key_spec(alg, crv=crv))


def private(alg: str = "ES256", crv: str | None = None, *, number: int = 0) -> PrivateJWK:
    """Return a private key; each *number* is another key, and all RSA algorithms share a key."""
    if ALGORITHMS[alg].kty == "RSA":
        return {**_generated("RS256", None, number), "alg": alg, "use": ALGORITHMS[alg].use}
    return dict(_generated(alg, crv, number))


def public(jwk: PrivateJWK) -> PublicJWK:
    """Return the published form of *jwk*."""
    return public_jwk(jwk, kid=jwk["kid"], alg=jwk["alg"])


@functools.cache
def _identity(kid: str, alg: str, crv: str | None) -> PrivateJWK:
    return new_identity(kid, alg=alg, crv=crv)


def identity(kid: str = "ops", alg: str = "ECDH-ES+A256KW", crv: str | None = None) -> PrivateJWK:
    """Return the identity of that kid; all RSA identities share a key."""
    if alg.startswith("RSA"):
        return {**private(alg), "kid": kid}
    return dict(_identity(kid, alg, crv))


def recipient(kid: str = "ops", alg: str = "ECDH-ES+A256KW", crv: str | None = None) -> Recipient:
    """Return the recipient that `identity` of the same arguments belongs to."""
    return recipient_of(identity(kid, alg, crv))


@functools.cache
def unwrapper(kid: str = "ops", alg: str = "ECDH-ES+A256KW", crv: str | None = None) -> JWKIdentity:
    """Return the identity that `identity` of the same arguments loads, ready to unwrap."""
    return JWKIdentity(identity(kid, alg, crv))


def changed(text: str, *, at: int = 0, bits: int = 1) -> str:
    """Return base64url *text* with bits of one octet flipped."""
    data = bytearray(b64u_decode(text, what="text"))
    data[at] ^= bits
    return b64u(bytes(data))


def number(jwk: dict[str, Any], name: str) -> int:
    """Return the member *name* as a number."""
    return int.from_bytes(b64u_decode(jwk[name], what=name), "big")


def text(value: int, octets: int | None = None) -> str:
    """Return a number as the text of a member."""
    return b64u(value.to_bytes(octets or max(1, (value.bit_length() + 7) // 8), "big"))
