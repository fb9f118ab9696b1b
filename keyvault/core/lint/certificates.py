"""
Rules about the certificates of one key of a JWK Set: `x5c`, `x5t`, `x5t#S256`, `x5u` and `jku`. Fetches no URL.

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

_STRINGS = ("x5u", "x5t", "x5t#S256")
_HASHES = (("x5t", "sha1"), ("x5t#S256", "sha256"))
_BREAKS = re.compile(r"[\r\n]+")


def is_string_array(value: object) -> bool:
    """Whether *value* is an array of strings."""
    return isinstance(value, list) and all(isinstance(item, str) for item in value)


def lint_certificates(jwk: Mapping[str, Any]) -> Iterator[tuple[str, str]]:
    """Yield (code, message) for each problem of the certificates of the key *jwk*."""
    for name in _STRINGS:
        if name in jwk and not isinstance(jwk[name], str):
            yield "x5-type", f"{name} is {json_type(jwk[name])}, not a string"
    if isinstance(jwk.get("x5u"), str):
        yield "x5u", "x5u refers to an external certificate, which was not fetched"
    if "jku" in jwk:
        yield "jku", "jku belongs in the header of a token, and verifiers ignore it even there; it was not fetched"
    chain = jwk.get("x5c", [])
    if not is_string_array(chain):
        yield "x5-type", "x5c is not an array of strings"
        chain = []
    elif "x5c" in jwk:
        yield "x5c", "x5c: a JWK Set needs no certificates"
    certificates: list[bytes] = []
    code, problem = "", ""
    if any(_BREAKS.search(text) for text in chain):
        yield "x5c-lines", "x5c has line breaks, which Base64 in a JWK must not have"
        chain = [_BREAKS.sub("", text) for text in chain]
    try:
        certificates = [base64.b64decode(text, validate=True) for text in chain]
    except ValueError:
        code, problem = "x5c-not-base64", "x5c is not padded Base64 in the standard alphabet"
    else:
        problem = _chain_problem(jwk, certificates) if certificates else ""
        code = "x5c-mismatch"
    if problem:
        yield code, problem
        certificates = []
    for name, algorithm in _HASHES:
        if isinstance(jwk.get(name), str):
            yield "x5t", f"{name}: a JWK Set needs no certificates"
            yield from _hash(name, jwk[name], algorithm, certificates)


def _hash(name: str, text: str, algorithm: str, chain: Sequence[bytes]) -> Iterator[tuple[str, str]]:
    """Yield the problems of the certificate thumbprint *text*; it must match the first of *chain*, if there is one."""
    held = hashlib.new(algorithm, chain[0], usedforsecurity=False) if chain else None
    size = hashlib.new(algorithm, usedforsecurity=False).digest_size
    try:
        data = base64.urlsafe_b64decode(text + "=" * (-len(text) % 4)) if "=" not in text else b""
    except (binascii.Error, ValueError):
        data = b""
    # Some programs encode the hexadecimal digits of the hash instead of its octets.
    digits = data.decode("ascii", errors="replace").lower()
    is_hex = len(data) == 2 * size and re.fullmatch("[0-9a-f]+", digits) is not None
    if is_hex and held is None:
        yield "x5t-hex", f"{name} encodes the hexadecimal digits of the thumbprint, not its octets"
    elif is_hex and held is not None and digits == held.hexdigest():
        yield "x5t-hex-with-x5c", f"{name} encodes the hexadecimal digits of the thumbprint of x5c, not its octets"
    elif len(data) != size or (held is not None and data != held.digest()):
        where = " in x5c" if held is not None else ""
        yield "x5t-mismatch", f"{name} is not the thumbprint of a certificate{where}"


def _chain_problem(jwk: Mapping[str, Any], chain: Sequence[bytes]) -> str:
    """Return the problem of the certificates *chain* of *jwk*, or an empty string."""
    from cryptography.exceptions import UnsupportedAlgorithm
    from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat
    from cryptography.x509 import load_der_x509_certificate

    from keyvault.core.key_objects import load_public

    try:
        certified, *_ = [load_der_x509_certificate(der).public_key() for der in chain]
        held = load_public(jwk)
    except (ValueError, TypeError, UnsupportedAlgorithm):
        return "x5c contains an invalid certificate"
    except JWKError:
        return ""  # `members` reports problems of the key
    form = (Encoding.DER, PublicFormat.SubjectPublicKeyInfo)
    if certified.public_bytes(*form) != held.public_bytes(*form):
        return "the first certificate of x5c is for another key"
    return ""
