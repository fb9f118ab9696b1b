"""
Read and write identities as files: a private JWK, a JWK Set of them, or a JWE under a passphrase.

Encrypted identities are decrypted only on request. Does not search for identities and does not unwrap with them; see
`identities`. The caller reads the environment and the terminal.

Sources: RFC 7516 (JWE), RFC 7518 section 4.8 (PBES2).
"""

from __future__ import annotations

import os
import stat
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import msgspec

from keyvault.core.jwk import b64u_decode, check_kid_is_public, pretty, thumbprint
from keyvault.core.text import elided, quoted
from keyvault.crypto.generate import PrivateJWK
from keyvault.crypto.pbes2 import PasswordJWE, encrypt_with_password
from keyvault.errors import IdentityError, JWKError, UsageError

PBES2 = "PBES2-HS512+A256KW"
#: OWASP recommends 210,000 iterations for PBKDF2 with HMAC-SHA-512; this leaves room.
PBES2_ITERATIONS = 600_000
PBES2_ITERATIONS_MAX = 10_000_000
IDENTITY_MAX = 65_536
PASSPHRASE_MIN = 8

#: Returns the passphrase of the identity with this kid, or None if there is none.
AskPassphrase = Callable[[str], str | None]


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
            IdentityError: If its passphrase is missing or wrong, or it holds another identity.
            JWKError: If the plaintext is not a private JWK.
        """
        if not self.encrypted:
            return {name: value for name, value in self.content.items() if isinstance(value, str)}
        passphrase = ask(self.kid)
        if passphrase is None:
            raise IdentityError(
                f"identity {self.kid} needs a passphrase", code="passphrase-missing", hint="set KEYVAULT_PASSPHRASE"
            )
        return _decrypt(self.content, passphrase, self.kid)


def identity_documents(data: bytes) -> list[IdentityDocument]:
    """
    Return the identities in *data*: a JWK, a JWK Set, or a JWE in JSON form as `encrypt_identity` writes it.

    Raises:
        JWKError: If *data* has another format.
    """
    if len(data) > IDENTITY_MAX:
        raise JWKError(
            f"identity of {len(data)} bytes is too large; the limit is {IDENTITY_MAX}", code="identity-too-large"
        )
    try:
        parsed = msgspec.json.decode(data)
    except (msgspec.MsgspecError, RecursionError, UnicodeDecodeError):
        raise JWKError("not an identity: invalid JSON", code="identity-malformed") from None
    if not isinstance(parsed, dict):
        raise JWKError("not an identity: expected a JSON object", code="identity-malformed")
    if "protected" in parsed:
        header = _parse_header(parsed)
        return [IdentityDocument(kid=header["kid"], encrypted=True, content=parsed)]
    keys = parsed.get("keys", [parsed])
    if not isinstance(keys, list):
        raise JWKError("not an identity: 'keys' must be an array", code="identity-malformed")
    return [IdentityDocument(kid=_check_identity(jwk)["kid"], encrypted=False, content=jwk) for jwk in keys]


def _check_identity(jwk: object) -> dict[str, Any]:
    if not isinstance(jwk, dict) or "d" not in jwk:
        raise JWKError("not an identity: it has no private JWK", code="identity-malformed")
    check_kid_is_public(jwk)
    kid = check_recipient_kid(jwk.get("kid"))
    if not isinstance(jwk.get("alg"), str):
        raise JWKError(f"identity {kid} has no alg", code="identity-malformed")
    thumbprint(jwk)
    return jwk


def check_recipient_kid(kid: object) -> str:
    """
    Return *kid* if a recipient can have it.

    Raises:
        JWKError: If it is not 1 to 300 printable ASCII characters without any of blank ``"'\\<>`$``.
    """
    if (
        not isinstance(kid, str)
        or not 1 <= len(kid) <= 300
        or not kid.isascii()
        or not kid.isprintable()
        or any(char in " \"'\\<>`$" for char in kid)
    ):
        raise JWKError(
            f"invalid recipient kid {quoted(kid)}",
            code="recipient-kid-invalid",
            hint="use a label such as ops-2026, or a key URI",
        )
    return kid


# --- encryption -----------------------------------------------------------------------------------------


def _parse_header(document: Mapping[str, Any]) -> dict[str, Any]:
    if set(document) != {"protected", "encrypted_key", "iv", "ciphertext", "tag"}:
        raise JWKError(
            "not an encrypted identity: its members must be protected, encrypted_key, iv, ciphertext and tag",
            code="encrypted-identity-malformed",
        )
    if not all(isinstance(value, str) for value in document.values()):
        raise JWKError("not an encrypted identity: a member is not a string", code="encrypted-identity-malformed")
    try:
        header = msgspec.json.decode(b64u_decode(document["protected"], what="member 'protected'"))
    except (msgspec.MsgspecError, RecursionError, UnicodeDecodeError):
        raise JWKError(
            "not an encrypted identity: its protected header is not JSON", code="encrypted-identity-malformed"
        ) from None
    if not isinstance(header, dict) or set(header) != {"alg", "cty", "enc", "kid", "p2c", "p2s"}:
        raise JWKError(
            "not an encrypted identity: the members of its protected header must be alg, cty, enc, kid, p2c and p2s",
            code="encrypted-identity-malformed",
        )
    count = header["p2c"]
    if header["alg"] != PBES2 or header["enc"] != "A256GCM":
        raise JWKError(
            f"encrypted identity has alg {quoted(header['alg'], 40)} and enc {quoted(header['enc'], 40)}; "
            f"expected {PBES2} and A256GCM",
            code="identity-encryption-unsupported",
        )
    if isinstance(count, bool) or not isinstance(count, int) or not PBES2_ITERATIONS <= count <= PBES2_ITERATIONS_MAX:
        raise JWKError(
            f"encrypted identity has p2c {quoted(count, 40)}; it must be {PBES2_ITERATIONS} to {PBES2_ITERATIONS_MAX}",
            code="identity-encryption-unsupported",
        )
    check_recipient_kid(header["kid"])
    return header


def check_passphrase(passphrase: str) -> None:
    """
    Refuse a passphrase that is too short.

    Raises:
        UsageError: If it has less than 8 characters.
    """
    if len(passphrase) < PASSPHRASE_MIN:
        raise UsageError(f"a passphrase must have at least {PASSPHRASE_MIN} characters", code="passphrase-too-short")


def encrypt_identity(jwk: PrivateJWK, passphrase: str) -> bytes:
    """
    Return *jwk* as a JWE (flattened JSON) under *passphrase*.

    Raises:
        UsageError: If the passphrase is shorter than 8 characters.
    """
    check_passphrase(passphrase)
    header = {"alg": PBES2, "cty": "jwk+json", "enc": "A256GCM", "kid": jwk["kid"], "p2c": PBES2_ITERATIONS}
    password = passphrase.encode(errors="surrogateescape")
    return pretty(encrypt_with_password(msgspec.json.encode(jwk), password, header))


def _decrypt(document: Mapping[str, Any], passphrase: str, kid: str) -> PrivateJWK:
    try:
        plaintext = PasswordJWE.parse(document).decrypt(passphrase.encode(errors="surrogateescape"))
        jwk: PrivateJWK = msgspec.json.decode(plaintext, type=dict[str, str])
    except (ValueError, msgspec.MsgspecError):
        raise IdentityError(
            f"wrong passphrase for identity {kid}", code="passphrase-wrong", hint="check KEYVAULT_PASSPHRASE"
        ) from None
    if _check_identity(jwk)["kid"] != kid:
        raise IdentityError(f"the encrypted identity is not {kid}", code="identity-mismatch")
    return jwk


# --- files ----------------------------------------------------------------------------------------------


def write_private_file(path: Path, data: bytes) -> None:
    """
    Write *data* to the new file *path*. Only its owner can read it, and folders created for it, whatever the umask.

    Raises:
        UsageError: If the file exists, or cannot be created.
    """
    try:
        _create_private_folder(path.parent)
        handle = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | getattr(os, "O_NOFOLLOW", 0), 0o600)
    except FileExistsError:
        raise UsageError(
            f"{elided(str(path))} already exists: a private key is never overwritten",
            code="file-exists",
            hint="choose another file name",
        ) from None
    except OSError as error:
        raise UsageError(f"{elided(str(path))} cannot be written: {error.strerror}", code="file-unwritable") from None
    with os.fdopen(handle, "wb") as file:
        if hasattr(os, "fchmod"):
            os.fchmod(file.fileno(), 0o600)
        file.write(data)
        file.flush()
        os.fsync(file.fileno())


def _create_private_folder(folder: Path) -> None:
    """Create *folder* and its missing parents with mode 0700: in an open folder, others can replace a file."""
    if folder.exists():
        return
    _create_private_folder(folder.parent)
    try:
        folder.mkdir(mode=0o700)
    except FileExistsError:  # another process has just created it, or it is a dangling link
        return
    folder.chmod(0o700)  # the umask may have removed the owner's own rights


def read_identity_file(path: Path) -> bytes:
    """
    Return the bytes of an identity file, at most one more than `IDENTITY_MAX`.

    Raises:
        IdentityError: If it cannot be read, or is neither a regular file nor a pipe.
    """
    try:
        with path.open("rb") as file:
            mode = os.fstat(file.fileno()).st_mode
            if not (stat.S_ISREG(mode) or stat.S_ISFIFO(mode)):
                raise IdentityError(f"{elided(str(path))} is not a file", code="file-not-regular")
            data = file.read(IDENTITY_MAX + 1)
    except OSError as error:
        raise IdentityError(
            f"identity file {elided(str(path))} cannot be read: {error.strerror}", code="file-unreadable"
        ) from None
    return data
