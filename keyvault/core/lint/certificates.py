"""
Rules about the certificates of one key of a JWK Set: `x5c`, `x5t`, `x5t#S256`, `x5u` and `jku`. No URL is asked.

Sources: RFC 7517 sections 4.6 to 4.9.
"""

from __future__ import annotations

import base64
import binascii
import hashlib
import re
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from keyvault.core.labels import json_type
from keyvault.errors import JWKError

_TEXTS = ("x5u", "x5t", "x5t#S256")
_HASHES = (("x5t", "sha1"), ("x5t#S256", "sha256"))
_BREAKS = re.compile(r"[\r\n]+")


def is_texts(value: object) -> bool:
    """Whether *value* is an array of texts."""
    return isinstance(value, list) and all(isinstance(item, str) for item in value)


def lint_certificates(jwk: Mapping[str, Any]) -> Iterator[tuple[str, str]]:
    """Yield codes and messages of what is wrong with the certificates of the key *jwk*."""
    for name in _TEXTS:
        if name in jwk and not isinstance(jwk[name], str):
            yield "x5-type", f"{name} is not text but {json_type(jwk[name])}"
    if isinstance(jwk.get("x5u"), str):
        yield "x5u", "x5u points to a certificate elsewhere; it was not fetched"
    if "jku" in jwk:
        yield "jku", "jku belongs in the header of a token, where verifiers ignore it; it was not fetched"
    chain = jwk.get("x5c", [])
    if not is_texts(chain):
        yield "x5-type", "x5c is not an array of texts"
        chain = []
    elif "x5c" in jwk:
        yield "x5c", "x5c: a set needs no certificates"
    certificates: list[bytes] = []
    code, problem = "", ""
    if any(_BREAKS.search(text) for text in chain):
        yield "x5c-lines", "x5c has line breaks, which Base64 in a JWK does not have"
        chain = [_BREAKS.sub("", text) for text in chain]
    try:
        certificates = [base64.b64decode(text, validate=True) for text in chain]
    except ValueError:
        code, problem = "x5c-not-base64", "x5c is not padded Base64 in its plain alphabet"
    else:
        problem = _chain_problem(jwk, certificates) if certificates else ""
        code = "x5c-mismatch"
    if problem:
        yield code, problem
        certificates = []
    for name, algorithm in _HASHES:
        if isinstance(jwk.get(name), str):
            yield "x5t", f"{name}: a set needs no certificates"
            yield from _hash(name, jwk[name], algorithm, certificates)


def _hash(name: str, text: str, algorithm: str, chain: Sequence[bytes]) -> Iterator[tuple[str, str]]:
    """Yield what is wrong with the thumbprint *text* of a certificate, the first of *chain* if that is there."""
    held = hashlib.new(algorithm, chain[0], usedforsecurity=False) if chain else None
    size = hashlib.new(algorithm, usedforsecurity=False).digest_size
    try:
        data = base64.urlsafe_b64decode(text + "=" * (-len(text) % 4)) if "=" not in text else b""
    except (binascii.Error, ValueError):
        data = b""
    # Programs exist that encode the digits of the hash, not its octets.
    digits = data.decode("ascii", errors="replace").lower()
    is_hex = len(data) == 2 * size and re.fullmatch("[0-9a-f]+", digits) is not None
    if is_hex and held is None:
        yield "x5t-hex", f"{name} is the thumbprint in hexadecimal digits, not in octets"
    elif is_hex and held is not None and digits == held.hexdigest():
        yield "x5t-hex-with-x5c", f"{name} is the thumbprint in hexadecimal digits, beside x5c"
    elif len(data) != size or (held is not None and data != held.digest()):
        where = " in x5c" if held is not None else ""
        yield "x5t-mismatch", f"{name} is not the thumbprint of a certificate{where}"


def _chain_problem(jwk: Mapping[str, Any], chain: Sequence[bytes]) -> str:
    """Return what is wrong with the certificates *chain* of *jwk*; empty if nothing is."""
    from cryptography.exceptions import UnsupportedAlgorithm
    from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat
    from cryptography.x509 import load_der_x509_certificate

    from keyvault.core.pem import load_public

    try:
        certified, *_ = [load_der_x509_certificate(der).public_key() for der in chain]
        held = load_public(jwk)
    except (ValueError, TypeError, UnsupportedAlgorithm):
        return "x5c holds something that is not a certificate"
    except JWKError:
        return ""  # what is wrong with the key is said elsewhere
    form = (Encoding.DER, PublicFormat.SubjectPublicKeyInfo)
    if certified.public_bytes(*form) != held.public_bytes(*form):
        return "the first certificate of x5c is that of another key"
    return ""
