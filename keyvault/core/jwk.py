"""
Public JWKs: the profile that is published, thumbprints, and the bytes of a JWK Set.

Public JWKs are *built from an allowlist* of members per key type, never made by deleting members from a
private one. Nothing here reads a private member. Whether a key is strong enough is said in `strength`.

Sources: RFC 7517 (JWK), RFC 7518 section 6 (members per kty), RFC 7638 (thumbprint), RFC 8037 (OKP), RFC 9964 (AKP).
"""

from __future__ import annotations

import binascii
import hashlib
import re
from collections.abc import Iterable, Mapping
from typing import Any

import msgspec
from msgspec import UNSET, UnsetType

from keyvault.core.algorithms import ALGORITHMS
from keyvault.core.text import quoted
from keyvault.errors import JWKError

#: The members that identify a key and that RFC 7638 hashes, in the order that it hashes them.
REQUIRED = {
    "RSA": ("e", "kty", "n"),
    "EC": ("crv", "kty", "x", "y"),
    "OKP": ("crv", "kty", "x"),
    "AKP": ("alg", "kty", "pub"),
    "oct": ("k", "kty"),
}

#: The two letters that base64url has of its own (RFC 4648 section 5).
_TO_URL, _TO_STANDARD = bytes.maketrans(b"+/", b"-_"), bytes.maketrans(b"-_", b"+/")

#: Every member that carries private or symmetric key material, of any key type (RFC 7518, RFC 9964).
PRIVATE_MEMBERS = frozenset({"d", "p", "q", "dp", "dq", "qi", "oth", "k", "priv"})

#: What servers give: base64url, UUIDs, Base64 with slashes, URLs, DIDs, GUIDs in braces, words with spaces.
_KID = re.compile(r"[ -~]{1,256}", re.ASCII)
#: A thumbprint of ours, as nearly every kid is one: it means the same to every system.
_THUMBPRINT_STEM = re.compile(r"[A-Za-z0-9_][A-Za-z0-9_-]{42}", re.ASCII)
#: No longer: file systems take 255 octets, the extension and the names of temporary files included.
_PLAIN_STEM = re.compile(r"[A-Za-z0-9_][A-Za-z0-9._~-]{0,127}", re.ASCII)
_RESERVED_STEM = re.compile(r"(?:con|prn|aux|nul|com[0-9]|lpt[0-9])(?:\..*)?|.*\.|.*~[0-9].*|.*\.lock|index", re.I)


class PublicJWK(msgspec.Struct, frozen=True, forbid_unknown_fields=True, omit_defaults=True):
    """
    A public JWK in the published profile: ``kty, kid, use, alg`` and the public members, nothing else.

    For ``oct`` there are no public members: such a JWK names a key and is never rendered.
    """

    kty: str
    kid: str
    use: str
    alg: str
    crv: str | UnsetType = UNSET
    x: str | UnsetType = UNSET
    y: str | UnsetType = UNSET
    n: str | UnsetType = UNSET
    e: str | UnsetType = UNSET
    pub: str | UnsetType = UNSET

    @property
    def thumbprint(self) -> str:
        """The RFC 7638 thumbprint; for ``oct`` the kid, since the secret is not here to be hashed."""
        return self.kid if self.kty == "oct" else thumbprint(msgspec.to_builtins(self))


def b64u(data: bytes) -> str:
    """Return *data* in base64url without padding."""
    return binascii.b2a_base64(data, newline=False).translate(_TO_URL, b"=").decode()


def b64u_decode(text: object, *, what: str) -> bytes:
    """
    Return the bytes of *text*, which must be canonical base64url without padding.

    Raises:
        JWKError: Not a string, not base64url, or not the one canonical encoding of its bytes.
    """
    if not isinstance(text, str):
        raise JWKError(f"{what} must be a string of base64url")
    try:
        padded = text.encode() + b"=" * (-len(text) % 4)
        data = binascii.a2b_base64(padded.translate(_TO_STANDARD), strict_mode=True)
    except ValueError:  # binascii.Error and UnicodeEncodeError are
        raise JWKError(f"{what} is not base64url") from None
    if b64u(data) != text:
        raise JWKError(f"{what} is not canonical base64url")
    return data


def check_kid_is_public(jwk: Mapping[str, Any]) -> None:
    """
    Refuse a private JWK whose kid holds its private half: kids are published.

    Raises:
        JWKError: If it does.
    """
    kid = jwk.get("kid")
    secrets = (jwk.get(name) for name in PRIVATE_MEMBERS)
    if isinstance(kid, str) and any(isinstance(secret, str) and secret and secret in kid for secret in secrets):
        raise JWKError("the kid of the key holds its private half, and a kid is public", hint="give it another kid")


def check_kid(kid: object) -> str:
    """
    Return *kid* if it is a string of 1 to 256 printable ASCII characters, a space among them.

    It is data and never a path: `file_stem` names the files about it.

    Raises:
        JWKError: If it is not.
    """
    if not isinstance(kid, str) or not _KID.fullmatch(kid):
        raise JWKError(f"kid {quoted(kid)} cannot be used", hint="a kid is 1 to 256 printable ASCII characters")
    return kid


def file_stem(kid: str) -> str:
    """
    Return the name, without extension, of the files about *kid* in the vault and on the site.

    It is the kid itself if every file system, shell and git take it as a plain name. Any other kid, such as
    ``-x``, ``..``, ``CON``, ``git~1`` or a URL, gets ``kid-`` and the first 32 hexadecimal digits of its SHA-256.
    """
    if _THUMBPRINT_STEM.fullmatch(kid) or (_PLAIN_STEM.fullmatch(kid) and not _RESERVED_STEM.fullmatch(kid)):
        return kid
    return "kid-" + hashlib.sha256(kid.encode()).hexdigest()[:32]


def thumbprint(jwk: Mapping[str, Any]) -> str:
    """
    Return the SHA-256 thumbprint of *jwk*, the value we use as ``kid``.

    The private half and descriptive members do not change it.

    Returns:
        43 base64url characters, without padding (256 bits).

    Raises:
        JWKError: The key type is unknown, or a required member is missing or not a string.

    Source: RFC 7638 section 3.
    """
    # The required members stand in lexicographic order in the table, as the RFC demands.
    return b64u(hashlib.sha256(msgspec.json.encode(_required(jwk))).digest())


def _required(jwk: Mapping[str, Any]) -> dict[str, str]:
    """Return the members that identify *jwk*; JWKError where its type is unknown or one is missing."""
    kty = jwk.get("kty")
    if not isinstance(kty, str) or kty not in REQUIRED:
        raise JWKError(f"unknown key type {quoted(kty, 40)}", hint="kty is one of " + ", ".join(REQUIRED))
    members = {}
    for name in REQUIRED[kty]:
        value = jwk.get(name)
        if not isinstance(value, str):
            raise JWKError(f"{kty} key lacks the member {name!r}")
        try:
            value.encode()
        except UnicodeEncodeError:
            raise JWKError(f"{kty} key has a member that is no text") from None
        members[name] = value
    return members


def public_jwk(jwk: Mapping[str, Any], *, kid: str, alg: str) -> PublicJWK:
    """
    Return the published form of *jwk*, a public or private JWK, under *kid* for use with *alg*.

    Raises:
        JWKError: The key is malformed, or *alg* does not fit its type and curve.
    """
    algorithm = ALGORITHMS.get(alg)
    if algorithm is None:
        raise JWKError(f"unknown algorithm {quoted(alg, 40)}")
    required = _required(jwk)
    kty, crv = required["kty"], jwk.get("crv", UNSET)
    if not algorithm.accepts(jwk):
        raise JWKError(f"a key of type {kty}{'' if crv is UNSET else ' on ' + quoted(crv, 40)} does not fit {alg}")
    # This is an allowlist: a member that is not named here never reaches the public site.
    members = {name: value for name, value in required.items() if name not in ("kty", "alg", "k")}
    return PublicJWK(kty=kty, kid=check_kid(kid), use=algorithm.use, alg=alg, **members)


def jwk_set_bytes(keys: Iterable[PublicJWK]) -> bytes:
    """Return a JWK Set document with *keys* in the given order: two spaces, LF, one final newline."""
    return pretty({"keys": list(keys)})


def pretty(value: object) -> bytes:
    """Return *value* as JSON for people and machines: two spaces, LF, one final newline."""
    return msgspec.json.format(msgspec.json.encode(value), indent=2) + b"\n"
