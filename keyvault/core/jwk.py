"""
Public JWKs: the profile that is published, thumbprints, and the bytes of a JWK Set.

Public JWKs are *built from an allowlist* of members per key type, never by deleting members from a private one. No
private member reaches the result. `strength` judges whether a key is strong enough.

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

#: The two letters in which base64url differs from Base64 (RFC 4648 section 5).
_TO_URL, _TO_STANDARD = bytes.maketrans(b"+/", b"-_"), bytes.maketrans(b"-_", b"+/")

#: Every member that carries private or symmetric key material, of any key type (RFC 7518, RFC 9964).
PRIVATE_MEMBERS = frozenset({"d", "p", "q", "dp", "dq", "qi", "oth", "k", "priv"})

#: Servers use base64url, UUIDs, Base64 with slashes, URLs, DIDs, GUIDs in braces, and words with spaces.
_KID = re.compile(r"[ -~]{1,256}", re.ASCII)
#: A thumbprint that is a plain file name on every system; nearly every kid is one.
_THUMBPRINT_STEM = re.compile(r"[A-Za-z0-9_][A-Za-z0-9_-]{42}", re.ASCII)
#: The limit leaves room for extensions and the names of temporary files: file systems support 255 octets.
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
        """The RFC 7638 thumbprint; for ``oct`` the kid, because the secret to hash is missing."""
        return self.kid if self.kty == "oct" else thumbprint(msgspec.to_builtins(self))


def b64u(data: bytes) -> str:
    """Return *data* in base64url without padding."""
    return binascii.b2a_base64(data, newline=False).translate(_TO_URL, b"=").decode()


def b64u_decode(text: object, *, what: str) -> bytes:
    """
    Return the bytes of *text*, which must be canonical base64url without padding.

    Raises:
        JWKError: If *text* is not a string, not base64url, or not the canonical encoding of its bytes.
    """
    if not isinstance(text, str):
        raise JWKError(f"{what} must be a base64url string", code="base64url-invalid")
    try:
        padded = text.encode() + b"=" * (-len(text) % 4)
        data = binascii.a2b_base64(padded.translate(_TO_STANDARD), strict_mode=True)
    except ValueError:  # the base of binascii.Error and UnicodeEncodeError
        raise JWKError(f"{what} is not base64url", code="base64url-invalid") from None
    if b64u(data) != text:
        raise JWKError(f"{what} is not canonical base64url", code="base64url-not-canonical")
    return data


def check_kid_is_public(jwk: Mapping[str, Any]) -> None:
    """
    Refuse a private JWK whose kid contains one of its private members: kids are published.

    Raises:
        JWKError: If the kid contains a private member.
    """
    kid = jwk.get("kid")
    secrets = (jwk.get(name) for name in PRIVATE_MEMBERS)
    if isinstance(kid, str) and any(isinstance(secret, str) and secret and secret in kid for secret in secrets):
        raise JWKError(
            "the kid contains the private key, and kids are published",
            code="kid-private",
            hint="give the key another kid",
        )


def check_kid(kid: object) -> str:
    """
    Return *kid* if it is a string of 1 to 256 printable ASCII characters, spaces included.

    A kid is data and never a path: `file_stem` gives the name of its files.

    Raises:
        JWKError: If *kid* is not such a string.
    """
    if not isinstance(kid, str) or not _KID.fullmatch(kid):
        raise JWKError(
            f"invalid kid {quoted(kid)}", code="kid-invalid", hint="a kid is 1 to 256 printable ASCII characters"
        )
    return kid


def file_stem(kid: str) -> str:
    """
    Return the name, without extension, of the files of *kid* in the vault and on the site.

    It is the kid itself if that is a plain name for every file system, shell and git. For any other kid, such as
    ``-x``, ``..``, ``CON``, ``git~1`` or a URL, it is ``kid-`` and the first 32 hexadecimal digits of its SHA-256.
    """
    if _THUMBPRINT_STEM.fullmatch(kid) or (_PLAIN_STEM.fullmatch(kid) and not _RESERVED_STEM.fullmatch(kid)):
        return kid
    return "kid-" + hashlib.sha256(kid.encode()).hexdigest()[:32]


def thumbprint(jwk: Mapping[str, Any]) -> str:
    """
    Return the SHA-256 thumbprint of *jwk*, the default ``kid``.

    Private and descriptive members do not change it.

    Returns:
        43 base64url characters, without padding (256 bits).

    Raises:
        JWKError: If the key type is unknown, or a required member is missing or not a string.

    Source: RFC 7638 section 3.
    """
    # The table lists the required members in lexicographic order, as the RFC demands.
    return b64u(hashlib.sha256(msgspec.json.encode(_required(jwk))).digest())


def _required(jwk: Mapping[str, Any]) -> dict[str, str]:
    """Return the members that identify *jwk*; JWKError if its type is unknown or a member is missing."""
    kty = jwk.get("kty")
    if not isinstance(kty, str) or kty not in REQUIRED:
        raise JWKError(
            f"unknown key type {quoted(kty, 40)}", code="kty-unknown", hint="kty is one of " + ", ".join(REQUIRED)
        )
    members = {}
    for name in REQUIRED[kty]:
        value = jwk.get(name)
        if not isinstance(value, str):
            raise JWKError(f"{kty} key lacks the member {name!r}", code="member-missing")
        try:
            value.encode()
        except UnicodeEncodeError:
            raise JWKError(f"member {name!r} of the {kty} key is not valid Unicode", code="member-invalid") from None
        members[name] = value
    return members


def public_jwk(jwk: Mapping[str, Any], *, kid: str, alg: str) -> PublicJWK:
    """
    Return the published form of *jwk*, a public or private JWK, under *kid* for use with *alg*.

    Raises:
        JWKError: If the key is malformed, or *alg* does not fit its type and curve.
    """
    algorithm = ALGORITHMS.get(alg)
    if algorithm is None:
        raise JWKError(f"unknown algorithm {quoted(alg, 40)}", code="alg-unknown")
    required = _required(jwk)
    kty, crv = required["kty"], jwk.get("crv", UNSET)
    if not algorithm.accepts(jwk):
        raise JWKError(
            f"a key of type {kty}{'' if crv is UNSET else ' on ' + quoted(crv, 40)} does not fit {alg}",
            code="alg-mismatch",
        )
    # This is an allowlist: a member that is not named here never reaches the public site.
    members = {name: value for name, value in required.items() if name not in ("kty", "alg", "k")}
    return PublicJWK(kty=kty, kid=check_kid(kid), use=algorithm.use, alg=alg, **members)


def jwk_set_bytes(keys: Iterable[PublicJWK]) -> bytes:
    """Return a JWK Set document with *keys* in the given order: two spaces, LF, one final newline."""
    return pretty({"keys": list(keys)})


def pretty(value: object) -> bytes:
    """Return *value* as indented JSON: two spaces, LF, one final newline."""
    return msgspec.json.format(msgspec.json.encode(value), indent=2) + b"\n"
