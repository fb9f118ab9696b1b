"""
Verify tokens like a service with one of Python's libraries.

usage: python verify.py VERIFIER JWKS_URL ISSUER AUDIENCE ALG[,ALG…] <tokens

Reads one token a line and prints one JSON line for each, in the same order: {"ok": "the sub of the token"} or
{"error": "the message of the library"}. All tokens of a run share the library's cache. For a library that fetches
nothing, the program fetches the JWK Set once.
"""

from __future__ import annotations

import json
import sys
import urllib.request
import warnings
from collections.abc import Callable
from typing import Any

#: From a token to its claims.
Verify = Callable[[str], dict[str, Any]]


def fetch(url: str) -> bytes:
    with urllib.request.urlopen(url) as response:  # noqa: S310 - the URL is a test's
        body: bytes = response.read()
    return body


def pyjwt(url: str, issuer: str, audience: str, algs: list[str]) -> Verify:
    import jwt

    client = jwt.PyJWKClient(url)

    def verify(token: str) -> dict[str, Any]:
        key = client.get_signing_key_from_jwt(token)
        return jwt.decode(token, key, algorithms=algs, issuer=issuer, audience=audience)

    return verify


def joserfc(url: str, issuer: str, audience: str, algs: list[str]) -> Verify:
    from joserfc import jwt
    from joserfc.jwk import KeySet

    keys = KeySet.import_key_set(json.loads(fetch(url)))
    registry = jwt.JWTClaimsRegistry(
        iss={"essential": True, "value": issuer}, aud={"essential": True, "value": audience}
    )

    def verify(token: str) -> dict[str, Any]:
        decoded = jwt.decode(token, keys, algorithms=algs)
        registry.validate(decoded.claims)
        return decoded.claims

    return verify


def authlib(url: str, issuer: str, audience: str, algs: list[str]) -> Verify:
    from authlib.deprecate import AuthlibDeprecationWarning

    # authlib.jose is deprecated.
    warnings.simplefilter("ignore", AuthlibDeprecationWarning)
    from authlib.jose import JsonWebKey, JsonWebToken

    keys = JsonWebKey.import_key_set(json.loads(fetch(url)))
    expected = {"iss": {"essential": True, "value": issuer}, "aud": {"essential": True, "value": audience}}

    def verify(token: str) -> dict[str, Any]:
        claims = JsonWebToken(algs).decode(token, keys, claims_options=expected)
        claims.validate()
        return dict(claims)

    return verify


def jwcrypto(url: str, issuer: str, audience: str, algs: list[str]) -> Verify:
    from jwcrypto.jwk import JWKSet
    from jwcrypto.jwt import JWT

    keys = JWKSet.from_json(fetch(url))

    def verify(token: str) -> dict[str, Any]:
        decoded = JWT(algs=algs, check_claims={"iss": issuer, "aud": audience}, expected_type="JWS")
        decoded.deserialize(token, keys)
        claims: dict[str, Any] = json.loads(decoded.claims)
        return claims

    return verify


def google_auth(url: str, issuer: str, audience: str, algs: list[str]) -> Verify:
    from google.auth.transport.requests import Request
    from google.oauth2.id_token import verify_token

    request = Request()

    def verify(token: str) -> dict[str, Any]:
        # It uses the algorithm of the key, and the caller checks the issuer.
        claims = dict(verify_token(token, request, audience=audience, certs_url=url))
        if claims["iss"] != issuer:
            raise ValueError("wrong issuer")
        return claims

    return verify


def cryptojwt(url: str, issuer: str, audience: str, algs: list[str]) -> Verify:
    from cryptojwt.jwt import JWT
    from cryptojwt.key_jar import KeyJar

    jar = KeyJar()
    jar.add_url(issuer, url)

    def verify(token: str) -> dict[str, Any]:
        # It finds keys by the issuer in the token. The caller checks the audience.
        claims: dict[str, Any] = JWT(key_jar=jar, allowed_sign_algs=algs).unpack(token)
        if audience not in claims["aud"]:
            raise ValueError("wrong audience")
        return claims

    return verify


VERIFIERS = {
    "pyjwt": pyjwt,
    "joserfc": joserfc,
    "authlib": authlib,
    "jwcrypto": jwcrypto,
    "google-auth": google_auth,
    "cryptojwt": cryptojwt,
}


def main(name: str, url: str, issuer: str, audience: str, algs: str) -> None:
    verify: Verify | None = None
    for line in sys.stdin:
        try:
            verify = verify or VERIFIERS[name](url, issuer, audience, algs.split(","))
            answer = {"ok": verify(line.strip())["sub"]}
        # Broken keys raise anything in real verifiers.
        except Exception as error:
            answer = {"error": f"{type(error).__name__}: {error}"}
        print(json.dumps(answer), flush=True)


if __name__ == "__main__":
    main(*sys.argv[1:])
