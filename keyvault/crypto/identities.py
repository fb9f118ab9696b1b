"""
Identities: the private halves of recipients, where they are looked for, and how they unwrap.

Everything that can unwrap a content key is an `Identity`. A `Keyring` walks its sources in order, loads each
once and only when it is needed, and asks for a passphrase only for an identity that could help; there is one
key derivation a process, not one a key. Environment and terminal are read by the caller.

Sources: RFC 7516 (JWE), RFC 7518 section 4.8 (PBES2), docs/format.md for the order of places.
"""

from __future__ import annotations

import os
import stat
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Protocol

import msgspec

from keyvault.core.algorithms import key_spec
from keyvault.core.jwk import PRIVATE_MEMBERS, REQUIRED, b64u_decode, check_kid_is_public, pretty, thumbprint
from keyvault.core.keys import Recipient, WrappedKey
from keyvault.core.text import elided, quoted
from keyvault.crypto.generate import PrivateJWK, generate
from keyvault.crypto.pbes2 import Locked, lock
from keyvault.errors import EnvelopeError, IdentityError, JWKError, UsageError

PBES2 = "PBES2-HS512+A256KW"
#: OWASP's figure for PBKDF2 with HMAC-SHA-512 is 210,000; this leaves room.
PBES2_ITERATIONS = 600_000
PBES2_ITERATIONS_MAX = 10_000_000
IDENTITY_MAX = 65_536
PASSPHRASE_MIN = 8


class Identity(Protocol):
    """Something that holds, or can reach, the private half of one recipient."""

    @property
    def kid(self) -> str:
        """The kid of the recipient."""

    def unwrap(self, entry: WrappedKey) -> bytes:
        """
        Return the content key that is wrapped in *entry*.

        Raises:
            EnvelopeError: It does not unwrap.
        """


class JWKIdentity:
    """An identity whose private JWK is in memory."""

    def __init__(self, jwk: PrivateJWK) -> None:
        """
        Raises:
            JWKError: The JWK is malformed, weak, or its halves do not belong together.
        """
        from jwcrypto.jwk import JWK

        from keyvault.crypto.pairs import check_private_jwk

        check_private_jwk(jwk, alg=jwk["alg"])
        self.kid = jwk["kid"]
        self._alg = jwk["alg"]
        members = {
            name: value for name, value in jwk.items() if name in REQUIRED[jwk["kty"]] or name in PRIVATE_MEMBERS
        }
        self._key = JWK(**members)

    def __repr__(self) -> str:
        return f"JWKIdentity({self.kid!r})"

    def unwrap(self, entry: WrappedKey) -> bytes:
        """Return the content key; see `Identity`."""
        from cryptography.hazmat.primitives.keywrap import InvalidUnwrap
        from jwcrypto.common import JWException
        from jwcrypto.jwa import JWA

        from keyvault.core.envelopes import decode_member

        header: dict[str, Any] = {"alg": entry.header.alg, "enc": "A256GCM"}
        if not isinstance(entry.header.epk, msgspec.UnsetType):
            header["epk"] = msgspec.to_builtins(entry.header.epk)
        if entry.header.alg != self._alg:
            raise EnvelopeError(f"identity {self.kid!r} is for {self._alg}, the envelope wants {entry.header.alg}")
        wrapped = decode_member(entry.encrypted_key, "encrypted_key")
        try:
            cek: bytes = JWA.keymgmt_alg(self._alg).unwrap(self._key, 256, wrapped, header)
        except (JWException, InvalidUnwrap, ValueError, TypeError):
            raise EnvelopeError(f"identity {self.kid!r} does not unwrap the content key") from None
        return cek


#: Gives the passphrase for the identity of this kid, or None where there is none to be had.
AskPassphrase = Callable[[str], str | None]


@dataclass(frozen=True)
class Source:
    """
    A place where identities are looked for.

    Attributes:
        where: The place, as an error names it.
        read: Gives the documents found there as (name, bytes); an empty iterator where there is nothing.
    """

    where: str
    read: Callable[[], Iterable[tuple[str, bytes]]]


@dataclass
class Keyring:
    """
    The identities that this process can reach.

    Attributes:
        sources: Where to look, in order.
        ask: Where a passphrase comes from.
    """

    sources: Sequence[Source] = ()
    ask: AskPassphrase = lambda kid: None
    _found: dict[str, Identity] = field(default_factory=dict)
    _documents: dict[str, list[tuple[str, bytes]]] = field(default_factory=dict)

    def find(self, kids: Sequence[str]) -> Identity:
        """
        Return the first identity for one of *kids*.

        Raises:
            IdentityError: There is none; the message lists every place that was looked at, the hint the kids
                that could open.
        """
        for kid in kids:
            if kid in self._found:
                return self._found[kid]
        problems: list[str] = []
        hint = f"it is sealed to {', '.join(kids) or 'nobody'}; give one with --identity FILE"
        for source in self.sources:
            documents = self._documents.get(source.where)
            if documents is None:
                documents = self._documents[source.where] = list(source.read())
            for name, data in documents:
                try:
                    identity = self._load(name, data, kids)
                except (JWKError, IdentityError, UsageError) as error:
                    problems.append(f"{elided(name)}: {error.message}")
                    hint = error.hint or hint
                    continue
                if identity is not None:
                    self._found[identity.kid] = identity
                    return identity
        looked = "; ".join(source.where for source in self.sources) or "nowhere"
        tail = f" ({'; '.join(problems)})" if problems else ""
        raise IdentityError(
            f"no identity opens this: looked at {looked}{tail}",
            hint=hint,
        )

    def _load(self, name: str, data: bytes, kids: Sequence[str]) -> Identity | None:
        for document in identity_documents(data):
            kid = document.kid
            if kid not in kids:
                continue
            return JWKIdentity(document.open(self.ask))
        return None

    def kids(self) -> Iterator[tuple[str, str, bool]]:
        """Yield (kid, place, encrypted) of everything that the sources hold; nothing is decrypted."""
        for source in self.sources:
            for name, data in source.read():
                try:
                    for document in identity_documents(data):
                        yield document.kid, name, document.encrypted
                except (JWKError, UsageError):
                    continue


@dataclass(frozen=True)
class IdentityDocument:
    """One identity as it is stored: a private JWK, or a JWE that holds one. Its repr shows no key."""

    kid: str
    encrypted: bool
    content: Mapping[str, Any] = field(repr=False)

    def open(self, ask: AskPassphrase) -> PrivateJWK:
        """
        Return the private JWK.

        Raises:
            IdentityError: It needs a passphrase that is missing or wrong.
            JWKError: What was encrypted is no private JWK.
        """
        if not self.encrypted:
            return {name: value for name, value in self.content.items() if isinstance(value, str)}
        passphrase = ask(self.kid)
        if passphrase is None:
            raise IdentityError(f"identity {self.kid} needs a passphrase", hint="set KEYVAULT_PASSPHRASE")
        return _decrypt(self.content, passphrase, self.kid)


def identity_documents(data: bytes) -> list[IdentityDocument]:
    """
    Return the identities in *data*: a JWK, a JWK Set, or a JWE in JSON form made by `encrypt_identity`.

    Raises:
        JWKError: It is none of these.
    """
    if len(data) > IDENTITY_MAX:
        raise JWKError(f"identity of {len(data)} bytes is too large: at most {IDENTITY_MAX}")
    try:
        parsed = msgspec.json.decode(data)
    except (msgspec.MsgspecError, RecursionError, UnicodeDecodeError):
        raise JWKError("not an identity: not JSON") from None
    if not isinstance(parsed, dict):
        raise JWKError("not an identity: not a JSON object")
    if "protected" in parsed:
        header = _pbes2_header(parsed)
        return [IdentityDocument(kid=header["kid"], encrypted=True, content=parsed)]
    keys = parsed.get("keys", [parsed])
    if not isinstance(keys, list):
        raise JWKError("not an identity: 'keys' is not a list")
    return [IdentityDocument(kid=_checked(jwk)["kid"], encrypted=False, content=jwk) for jwk in keys]


def _checked(jwk: object) -> dict[str, Any]:
    if not isinstance(jwk, dict) or "d" not in jwk:
        raise JWKError("not an identity: no private JWK in it")
    check_kid_is_public(jwk)
    kid = check_label(jwk.get("kid"))
    if not isinstance(jwk.get("alg"), str):
        raise JWKError(f"identity {kid} has no alg")
    thumbprint(jwk)
    return jwk


def check_label(label: object) -> str:
    """
    Return *label* if a recipient can have it as its kid.

    Raises:
        JWKError: It is not 1 to 300 of printable ASCII without blanks, quotes or backslashes.
    """
    if (
        not isinstance(label, str)
        or not 1 <= len(label) <= 300
        or not label.isascii()
        or not label.isprintable()
        or any(char in " \"'\\<>`$" for char in label)
    ):
        raise JWKError(f"recipient kid {quoted(label)} cannot be used", hint="a label such as ops-2026, or a key URI")
    return label


def new_identity(kid: str | None, *, alg: str = "ECDH-ES+A256KW", crv: str | None = None) -> PrivateJWK:
    """Return a fresh identity; the kid is *kid*, or ``id-`` and the beginning of its thumbprint."""
    jwk = generate(key_spec(alg, crv=crv, bits=3072 if alg.startswith("RSA") else None))
    return {**jwk, "kid": check_label(kid or "id-" + jwk["kid"][:12])}


def recipient_of(jwk: Mapping[str, Any]) -> Recipient:
    """
    Return the recipient for *jwk*, a public or private JWK with a kid.

    Built from the allowlist of public members. ``use`` and ``alg`` are completed where they are missing.

    Raises:
        JWKError: Keys cannot be sealed to it.
    """
    from keyvault.core.envelopes import check_recipient

    kty = jwk.get("kty")
    thumbprint(jwk)
    alg = jwk.get("alg") or ("RSA-OAEP-256" if kty == "RSA" else "ECDH-ES+A256KW")
    if kty == "oct":
        raise JWKError("a symmetric key cannot be a recipient: everybody who seals could open")
    kid = check_label(jwk.get("kid") or "id-" + thumbprint(jwk)[:12])
    members = {name: jwk[name] for name in REQUIRED[str(kty)] if name != "kty"}
    recipient = Recipient(kty=str(kty), kid=kid, use=str(jwk.get("use", "enc")), alg=str(alg), **members)
    check_recipient(recipient)
    return recipient


# --- passphrases ----------------------------------------------------------------------------------------


def _pbes2_header(document: Mapping[str, Any]) -> dict[str, Any]:
    if set(document) != {"protected", "encrypted_key", "iv", "ciphertext", "tag"}:
        raise JWKError("not an encrypted identity: members are protected, encrypted_key, iv, ciphertext and tag")
    if not all(isinstance(value, str) for value in document.values()):
        raise JWKError("not an encrypted identity: a member is not a string")
    try:
        header = msgspec.json.decode(b64u_decode(document["protected"], what="member 'protected'"))
    except (msgspec.MsgspecError, RecursionError, UnicodeDecodeError):
        raise JWKError("not an encrypted identity: its protected header is not JSON") from None
    if not isinstance(header, dict) or set(header) != {"alg", "cty", "enc", "kid", "p2c", "p2s"}:
        raise JWKError("not an encrypted identity: its protected header has other members")
    count = header["p2c"]
    if header["alg"] != PBES2 or header["enc"] != "A256GCM":
        raise JWKError(f"encrypted identity has alg {quoted(header['alg'], 40)} and enc {quoted(header['enc'], 40)}")
    if isinstance(count, bool) or not isinstance(count, int) or not PBES2_ITERATIONS <= count <= PBES2_ITERATIONS_MAX:
        raise JWKError(
            f"encrypted identity has p2c {quoted(count, 40)}: {PBES2_ITERATIONS} to {PBES2_ITERATIONS_MAX} can be"
        )
    check_label(header["kid"])
    return header


def check_passphrase(passphrase: str) -> None:
    """
    Refuse a passphrase that is too short.

    Raises:
        UsageError: It has less than 8 characters.
    """
    if len(passphrase) < PASSPHRASE_MIN:
        raise UsageError(f"a passphrase has at least {PASSPHRASE_MIN} characters")


def encrypt_identity(jwk: PrivateJWK, passphrase: str) -> bytes:
    """
    Return *jwk* as a JWE (flattened JSON) under *passphrase*.

    Raises:
        UsageError: The passphrase is shorter than 8 characters.
    """
    check_passphrase(passphrase)
    header = {"alg": PBES2, "cty": "jwk+json", "enc": "A256GCM", "kid": jwk["kid"], "p2c": PBES2_ITERATIONS}
    return pretty(lock(msgspec.json.encode(jwk), passphrase.encode(errors="surrogateescape"), header))


def _decrypt(document: Mapping[str, Any], passphrase: str, kid: str) -> PrivateJWK:
    try:
        opened = Locked.read(document).open(passphrase.encode(errors="surrogateescape"))
        jwk: PrivateJWK = msgspec.json.decode(opened, type=dict[str, str])
    except (ValueError, msgspec.MsgspecError):
        raise IdentityError(f"wrong passphrase for identity {kid}", hint="check KEYVAULT_PASSPHRASE") from None
    if _checked(jwk)["kid"] != kid:
        raise IdentityError(f"the identity inside is not {kid}")
    return jwk


# --- files ----------------------------------------------------------------------------------------------


def write_private_file(path: Path, data: bytes) -> None:
    """
    Write *data* to the new file *path*, readable by its owner alone, whatever the umask; so are folders made for it.

    Raises:
        UsageError: The file exists already, or cannot be made.
    """
    try:
        _make_private_folder(path.parent)
        handle = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | getattr(os, "O_NOFOLLOW", 0), 0o600)
    except FileExistsError:
        raise UsageError(
            f"{elided(str(path))} exists already: a private key is never overwritten", hint="name another file"
        ) from None
    except OSError as error:
        raise UsageError(f"{elided(str(path))} cannot be written: {error.strerror}") from None
    with os.fdopen(handle, "wb") as file:
        if hasattr(os, "fchmod"):
            os.fchmod(file.fileno(), 0o600)
        file.write(data)
        file.flush()
        os.fsync(file.fileno())


def _make_private_folder(folder: Path) -> None:
    """Make *folder*, and those above it that are missing, each 0700: in an open one a file can be exchanged."""
    if folder.exists():
        return
    _make_private_folder(folder.parent)
    try:
        folder.mkdir(mode=0o700)
    except FileExistsError:  # somebody else has just made it, or a link leads nowhere
        return
    folder.chmod(0o700)  # a umask may have taken the owner's own rights


def read_identity_file(path: Path) -> bytes:
    """
    Return the bytes of an identity file.

    Raises:
        IdentityError: It cannot be read, is no regular file or pipe, or is too large.
    """
    try:
        with path.open("rb") as file:
            mode = os.fstat(file.fileno()).st_mode
            if not (stat.S_ISREG(mode) or stat.S_ISFIFO(mode)):
                raise IdentityError(f"{elided(str(path))} is not a file")
            data = file.read(IDENTITY_MAX + 1)
    except OSError as error:
        raise IdentityError(f"identity file {elided(str(path))} cannot be read: {error.strerror}") from None
    return data


def file_source(path: Path, *, label: str) -> Source:
    """Return a source for one file that must be there."""
    return Source(f"{label} {elided(str(path))}", lambda: [(str(path), read_identity_file(path))])


def folder_source(folder: Path) -> Source:
    """Return a source for every ``*.json`` of *folder*, which may be missing."""

    def read() -> Iterator[tuple[str, bytes]]:
        if folder.is_dir():
            for path in sorted(folder.glob("*.json")):
                yield str(path), read_identity_file(path)

    return Source(str(folder), read)


def text_source(label: str, text: str) -> Source:
    """Return a source for an identity in an environment variable."""
    return Source(label, lambda: [(label, text.encode(errors="surrogateescape"))])
