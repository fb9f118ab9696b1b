"""
Read a JWK as other programs write it.

Empty private members are skipped, and Base64 that is not canonical base64url is normalised, both with a remark. The
result passes the checks of `pairs` and ``core/strength``.

Sources: RFC 7517 (JWK, and section 4.3 for key_ops), RFC 7518 section 6 (members).
"""

from __future__ import annotations

import base64
import re
from collections.abc import Mapping
from dataclasses import replace
from typing import Any

from keyvault.core.algorithms import CURVE_KTY
from keyvault.core.jwk import PRIVATE_MEMBERS, REQUIRED, b64u, b64u_decode, check_kid_is_public
from keyvault.core.strength import COORDINATE_OCTETS, check_public_key
from keyvault.core.text import quoted
from keyvault.crypto.generate import private_members
from keyvault.crypto.imports.found import FoundKey
from keyvault.crypto.pairs import private_key
from keyvault.errors import JWKError

_SIGNS = frozenset({"sign", "verify"})
_ENCRYPTS = frozenset({"encrypt", "decrypt", "wrapKey", "unwrapKey", "deriveKey", "deriveBits"})

_STANDARD = str.maketrans("-_", "+/")
_BASE64URL = re.compile(r"[A-Za-z0-9_-]*", re.ASCII)


def holds_private(jwk: Mapping[str, Any]) -> bool:
    """Return whether *jwk* has a private member that is not empty: .NET writes empty ones into public keys."""
    return any(jwk[name] not in (None, "", []) for name in PRIVATE_MEMBERS & jwk.keys())


def is_supported(jwk: Mapping[str, Any]) -> bool:
    """Return whether the type and the curve of *jwk* are supported; True if it names neither."""
    kty, crv = jwk.get("kty"), jwk.get("crv")
    if not isinstance(kty, str):
        return True
    return kty in REQUIRED and (not isinstance(crv, str) or crv in CURVE_KTY)


def read_jwk(jwk: Mapping[str, Any]) -> FoundKey:
    """
    Return *jwk* as a `FoundKey`, without unknown members.

    Raises:
        JWKError: If it is malformed, or ``use`` contradicts ``key_ops``.
        WeakKeyError: If it is weak, or its halves do not belong together.
    """
    check_kid_is_public(jwk)
    kty = jwk.get("kty")
    empty = sorted(name for name in PRIVATE_MEMBERS & jwk.keys() if jwk[name] in (None, "", []))
    held, normalised = _canonical({name: value for name, value in jwk.items() if name not in empty})
    if kty == "oct":
        members = {"kty": "oct", "k": b64u(b64u_decode(held.get("k"), what="member 'k'"))}
    elif held.keys() & PRIVATE_MEMBERS:
        members = private_members(private_key(held))
    else:
        check_public_key(held)
        members = {name: held[name] for name in REQUIRED[str(kty)]}
    found = FoundKey(members, _label(jwk, "kid"), _use(jwk), _label(jwk, "alg"))
    remarks = []
    if empty:
        remarks.append(f"skipped empty private members: {', '.join(empty)}")
    if normalised:
        remarks.append(f"normalised members that were not canonical base64url: {', '.join(normalised)}")
    return replace(found, remarks=tuple(remarks))


def _label(jwk: Mapping[str, Any], name: str) -> str | None:
    value = jwk.get(name)
    if value is not None and not isinstance(value, str):
        raise JWKError(f"member {name!r} must be a string", code="member-invalid")
    return value


def _use(jwk: Mapping[str, Any]) -> str | None:
    """Return the use of a JWK, by ``use`` or by ``key_ops``."""
    use, operations = _label(jwk, "use"), jwk.get("key_ops")
    if operations is None:
        return use
    if not isinstance(operations, list) or not all(isinstance(operation, str) for operation in operations):
        raise JWKError("member 'key_ops' must be an array of strings", code="member-invalid")
    signs, encrypts = bool(_SIGNS & set(operations)), bool(_ENCRYPTS & set(operations))
    if signs == encrypts:
        return use
    meant = "sig" if signs else "enc"
    if use not in (None, meant):
        raise JWKError(f"use {quoted(use, 20)} contradicts key_ops, which are for {meant}", code="jwk-use-ambiguous")
    return meant


def _canonical(jwk: dict[str, Any]) -> tuple[dict[str, Any], list[str]]:
    """
    Return *jwk* with its numbers and octets in canonical base64url, and the names of the members that changed.

    Firebase adds padding, Java writes a zero octet before a number, and old libraries use the standard alphabet.
    """
    kty, crv = jwk.get("kty"), jwk.get("crv")
    names = PRIVATE_MEMBERS | {name for name in REQUIRED.get(str(kty), ()) if name not in ("kty", "crv", "alg")}
    changed = []
    for name in sorted(names & jwk.keys()):
        text = jwk[name]
        if isinstance(text, str) and (canonical := _respell(str(kty), str(crv), text)) not in (None, text):
            jwk[name] = canonical
            changed.append(name)
    return jwk, changed


def _respell(kty: str, crv: str, text: str) -> str | None:
    """Return the canonical base64url of *text*; None if it is canonical already, or not Base64."""
    if _is_canonical(kty, crv, text):
        return None
    try:
        plain = "".join(text.split()).translate(_STANDARD).rstrip("=")
        octets = base64.b64decode(plain + "=" * (-len(plain) % 4), validate=True)
    except ValueError:
        return None
    if kty == "RSA":
        octets = octets.lstrip(b"\0") or octets
    elif kty == "EC" and crv in COORDINATE_OCTETS:
        number = octets.lstrip(b"\0")
        octets = number.rjust(COORDINATE_OCTETS[crv], b"\0") if len(number) <= COORDINATE_OCTETS[crv] else octets
    return b64u(octets)


def _is_canonical(kty: str, crv: str, text: str) -> bool:
    """Return whether *text*, a member of a key of type *kty*, needs no change."""
    if not _BASE64URL.fullmatch(text):
        return False
    match kty:
        case "RSA":  # an A at the start may be a zero octet before the number
            return text[:1] != "A"
        case "EC":  # coordinates and d have the length of the field, which Base64 makes four thirds as long
            return len(text) == -(-COORDINATE_OCTETS.get(crv, 0) * 4 // 3)
        case _:  # octets, which have no leading zeros to remove
            return True
