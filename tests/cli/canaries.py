"""Canaries: private members and passphrases, and the search for all their forms in all places."""

from __future__ import annotations

import base64
import re
import zlib
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping
from typing import Any

from keyvault.crypto import generate, identities

PRIVATE = ("d", "p", "q", "dp", "dq", "qi", "k", "priv")
PASSPHRASE = "canary correct horse battery"

#: How much of a form is looked up at once; one that is shorter than two of these could be missed.
_STEP = 8
_ZLIB = re.compile(rb"\x78[\x01\x5e\x9c\xda]")

JWK = dict[str, Any]


def watch(keep: Callable[[JWK], None], put: Callable[[object, str, object], None] = setattr) -> None:
    """Have *keep* told of every private JWK that is made from now on; *put* puts a function in the place of another."""
    original, original_form = generate.generate, generate.generate_from_parameters

    def watched(spec: Any) -> JWK:
        jwk: JWK = original(spec)
        keep(jwk)
        return jwk

    def watched_form(form: Any) -> JWK:
        jwk: JWK = original_form(form)
        keep(jwk)
        return jwk

    def watched_many(specs: Iterable[Any]) -> Iterator[JWK]:
        return map(watched, specs)

    put(generate, "generate", watched)
    put(generate, "generate_from_parameters", watched_form)
    put(generate, "generate_many", watched_many)
    put(identities, "generate", watched)


def forms(secret: bytes) -> Iterator[bytes]:
    """
    Yield *secret* in every form in which it could leak.

    As it is, as in DER, and as Python shows bytes; in hexadecimal and in decimal digits; in Base64 of both alphabets,
    alone or at any place of something longer, as in PEM.
    """
    secret = secret.lstrip(b"\0")  # a number may be written with and without
    number = int.from_bytes(secret, "big")
    yield secret
    yield repr(secret)[2:-1].encode()
    yield f"{number:x}".encode()
    yield f"{number:X}".encode()
    yield str(number).encode()
    for before in range(3):
        # Letters at both ends depend on what stands beside it.
        letters = base64.b64encode(bytes(before) + secret)[-(-before * 8 // 6) : (before + len(secret)) * 8 // 6]
        yield letters
        yield letters.translate(bytes.maketrans(b"+/", b"-_"))


def members(jwk: JWK) -> dict[str, bytes]:
    """Return the private members of *jwk* as bytes."""
    return {name: base64.urlsafe_b64decode(jwk[name] + "==") for name in PRIVATE if name in jwk}


def secrets_of(jwks: Iterable[JWK]) -> list[bytes]:
    """Return every private member of *jwks*, and the passphrase, in every form."""
    return [form for secret in (PASSPHRASE.encode(), *_every(jwks)) for form in forms(secret)]


def _every(jwks: Iterable[JWK]) -> Iterator[bytes]:
    for jwk in jwks:
        yield from members(jwk).values()


def unfolded(data: bytes) -> Iterator[bytes]:
    """Yield *data*, every zlib stream in it, as in git's objects and packs, and each without blanks and line breaks."""
    parts = [data]
    for found in _ZLIB.finditer(data):
        try:
            parts.append(zlib.decompressobj().decompress(data[found.start() :]))
        except zlib.error:
            continue
    for part in parts:
        yield part
        yield part.replace(b"\\n", b"").translate(None, b" \t\r\n:\"'")


def search(secrets: Collection[bytes], places: Mapping[str, bytes]) -> list[str]:
    """Return the places that contain a secret."""
    assert min(map(len, secrets)) >= 2 * _STEP - 1
    # Wherever a secret lies, one of its first blocks lies at a multiple of the step: thousands of them in one pass.
    blocks = {secret[at : at + _STEP] for secret in secrets for at in range(_STEP)}
    known: dict[bytes, bool] = {}

    def holds(data: bytes) -> bool:
        return not blocks.isdisjoint(data[at : at + _STEP] for at in range(0, len(data), _STEP)) and any(
            secret in data for secret in secrets
        )

    for data in places.values():
        if data not in known:
            known[data] = any(map(holds, unfolded(data)))
    return [place for place, data in places.items() if known[data]]
