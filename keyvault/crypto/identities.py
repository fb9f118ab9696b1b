"""
Find the identity for a sealed key: the private half of a recipient.

An `Identity` is anything that can unwrap a content key. `Keyring.find` searches its sources in order, reads each source
once and only when needed, and asks for a passphrase only for an identity that fits: key derivation runs once per
process, not once per sealed key. The caller reads the environment and the terminal; `identity_file` knows the format of
files.

Sources: RFC 7516 (JWE), docs/format.md for the order of sources.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Protocol

import msgspec

from keyvault.core.algorithms import key_spec
from keyvault.core.jwk import PRIVATE_MEMBERS, REQUIRED, thumbprint
from keyvault.core.keys import Recipient, WrappedKey
from keyvault.core.text import elided
from keyvault.crypto.generate import PrivateJWK, generate
from keyvault.crypto.identity_file import AskPassphrase, check_recipient_kid, identity_documents, read_identity_file
from keyvault.errors import EnvelopeError, IdentityError, JWKError, UsageError


class Identity(Protocol):
    """Something that holds, or can reach, the private half of one recipient."""

    @property
    def kid(self) -> str:
        """The kid of the recipient."""

    def unwrap(self, entry: WrappedKey) -> bytes:
        """
        Return the content key that is wrapped in *entry*.

        Raises:
            EnvelopeError: If it does not unwrap.
        """


class JWKIdentity:
    """An identity whose private JWK is in memory."""

    def __init__(self, jwk: PrivateJWK) -> None:
        """
        Raises:
            JWKError: If the JWK is malformed or weak, or its halves do not belong together.
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

        from keyvault.core.envelope_form import decode_member

        header: dict[str, Any] = {"alg": entry.header.alg, "enc": "A256GCM"}
        if not isinstance(entry.header.epk, msgspec.UnsetType):
            header["epk"] = msgspec.to_builtins(entry.header.epk)
        if entry.header.alg != self._alg:
            raise EnvelopeError(
                f"identity {self.kid!r} is for {self._alg}, the envelope uses {entry.header.alg}",
                code="identity-alg-mismatch",
            )
        wrapped = decode_member(entry.encrypted_key, "encrypted_key")
        try:
            cek: bytes = JWA.keymgmt_alg(self._alg).unwrap(self._key, 256, wrapped, header)
        except (JWException, InvalidUnwrap, ValueError, TypeError):
            raise EnvelopeError(
                f"identity {self.kid!r} does not unwrap the content key", code="content-key-invalid"
            ) from None
        return cek


@dataclass(frozen=True)
class Source:
    """
    A place that may hold identities.

    Attributes:
        where: The place, as an error names it.
        read: Returns the documents of the place as (name, bytes), or an empty iterable.
    """

    where: str
    read: Callable[[], Iterable[tuple[str, bytes]]]


@dataclass
class Keyring:
    """
    The identities that this process can reach.

    Attributes:
        sources: The places to search, in order.
        ask: Returns the passphrase of an identity.
    """

    sources: Sequence[Source] = ()
    ask: AskPassphrase = lambda kid: None
    _loaded: dict[str, Identity] = field(default_factory=dict)
    _documents: dict[str, list[tuple[str, bytes]]] = field(default_factory=dict)

    def find(self, kids: Sequence[str]) -> Identity:
        """
        Return the first identity for one of *kids*.

        Raises:
            IdentityError: If there is none. The message lists every source, the hint the kids that could open.
        """
        for kid in kids:
            if kid in self._loaded:
                return self._loaded[kid]
        problems: list[str] = []
        hint = f"the key is sealed to {', '.join(kids) or 'no recipient'}; add --identity FILE"
        for source in self.sources:
            documents = self._documents.get(source.where)
            if documents is None:
                documents = self._documents[source.where] = list(source.read())
            for name, data in documents:
                try:
                    identity = self._load(data, kids)
                except (JWKError, IdentityError, UsageError) as error:
                    problems.append(f"{elided(name)}: {error.message}")
                    hint = error.hint or hint
                    continue
                if identity is not None:
                    self._loaded[identity.kid] = identity
                    return identity
        searched = "; ".join(source.where for source in self.sources) or "nothing"
        tail = f" ({'; '.join(problems)})" if problems else ""
        raise IdentityError(f"no identity opens the key: searched {searched}{tail}", code="identity-missing", hint=hint)

    def _load(self, data: bytes, kids: Sequence[str]) -> Identity | None:
        for document in identity_documents(data):
            if document.kid in kids:
                return JWKIdentity(document.open(self.ask))
        return None

    def kids(self) -> Iterator[tuple[str, str, bool]]:
        """Yield (kid, place, encrypted) of every identity in the sources, without decrypting any."""
        for source in self.sources:
            for name, data in source.read():
                try:
                    for document in identity_documents(data):
                        yield document.kid, name, document.encrypted
                except (JWKError, UsageError):
                    continue


# --- sources --------------------------------------------------------------------------------------------


def file_source(path: Path, *, label: str) -> Source:
    """Return a source for one file, which must exist when it is read."""
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


# --- new identities and their recipients ----------------------------------------------------------------


def new_identity(kid: str | None, *, alg: str = "ECDH-ES+A256KW", crv: str | None = None) -> PrivateJWK:
    """Return a new identity; its kid is *kid*, or ``id-`` and the first 12 characters of its thumbprint."""
    jwk = generate(key_spec(alg, crv=crv, bits=3072 if alg.startswith("RSA") else None))
    return {**jwk, "kid": check_recipient_kid(kid or "id-" + jwk["kid"][:12])}


def recipient_of(jwk: Mapping[str, Any]) -> Recipient:
    """
    Return the recipient for *jwk*, a public or private JWK.

    Only the members in the allowlist of public members are copied. ``kid``, ``use`` and ``alg`` get defaults.

    Raises:
        JWKError: If keys cannot be sealed to it.
    """
    from keyvault.core.envelope_form import check_recipient

    kty = jwk.get("kty")
    thumbprint(jwk)
    alg = jwk.get("alg") or ("RSA-OAEP-256" if kty == "RSA" else "ECDH-ES+A256KW")
    if kty == "oct":
        raise JWKError(
            "a symmetric key cannot be a recipient: everybody who can seal could also open", code="recipient-symmetric"
        )
    kid = check_recipient_kid(jwk.get("kid") or "id-" + thumbprint(jwk)[:12])
    members = {name: jwk[name] for name in REQUIRED[str(kty)] if name != "kty"}
    recipient = Recipient(kty=str(kty), kid=kid, use=str(jwk.get("use", "enc")), alg=str(alg), **members)
    check_recipient(recipient)
    return recipient
