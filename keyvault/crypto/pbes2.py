"""
Encrypt and decrypt JSON Web Encryption under a password: PBES2 with AES key wrap.

The cryptography package derives the key: jwcrypto limits the iterations by a setting of the whole process, which
belongs to the program that imports us. Does not decide how many iterations are enough, or too many.

Sources: RFC 7518 section 4.8 (PBES2), RFC 7516 section 7.2 (JSON serialization), RFC 3394 (AES key wrap).
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import msgspec
from cryptography.exceptions import InvalidSignature, InvalidTag
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.kdf.pbkdf2 import PBKDF2HMAC
from cryptography.hazmat.primitives.keywrap import InvalidUnwrap, aes_key_unwrap, aes_key_wrap

from keyvault.core.jwk import b64u, b64u_decode
from keyvault.errors import JWKError

#: By algorithm: the hash of its PBKDF2, and the length of its AES key in octets.
ALGORITHMS: dict[str, tuple[type[hashes.HashAlgorithm], int]] = {
    "PBES2-HS256+A128KW": (hashes.SHA256, 16),
    "PBES2-HS384+A192KW": (hashes.SHA384, 24),
    "PBES2-HS512+A256KW": (hashes.SHA512, 32),
}
_CONTENT = ("A128GCM", "A192GCM", "A256GCM", "A128CBC-HS256", "A192CBC-HS384", "A256CBC-HS512")
_SALT_MIN = 8


def _wrapping_key(header: Mapping[str, Any], password: bytes) -> bytes:
    kind, length = ALGORITHMS[header["alg"]]
    salt = b64u_decode(header["p2s"], what="member 'p2s'")
    if len(salt) < _SALT_MIN:
        raise ValueError("the salt is too short")
    # The algorithm's name precedes the salt, so that one password gives each algorithm a different key.
    salt = header["alg"].encode() + b"\0" + salt
    return PBKDF2HMAC(algorithm=kind(), length=length, salt=salt, iterations=header["p2c"]).derive(password)


@dataclass(frozen=True, slots=True)
class PasswordJWE:
    """
    A parsed JWE for one password; nothing in it is verified.

    Attributes:
        header: The whole header, protected and unprotected members.
        members: The encoded members of the JSON, those of its only recipient included.
    """

    header: Mapping[str, Any]
    members: Mapping[str, str] = field(repr=False)

    @classmethod
    def parse(cls, document: Mapping[str, Any]) -> PasswordJWE:
        """
        Parse *document*, a JWE in flattened JSON, or in general JSON with one recipient.

        Raises:
            ValueError: If it is neither, or is not encrypted under a password with supported algorithms.
        """
        flat = dict(document)
        if "recipients" in flat:
            match flat.pop("recipients"):
                case [dict() as recipient] if not recipient.keys() & flat.keys():
                    flat |= recipient
                case _:
                    raise ValueError("expected exactly one recipient")
        headers = [flat.pop(name, {}) for name in ("header", "unprotected")]
        if not all(isinstance(value, str) for value in flat.values()):
            raise ValueError("a member is not a string")
        try:
            protected = b64u_decode(flat.get("protected"), what="member 'protected'")
            headers.append(msgspec.json.decode(protected, type=dict))
        except (JWKError, msgspec.MsgspecError, RecursionError, UnicodeDecodeError):
            raise ValueError("the protected header is not JSON in base64url") from None
        if not all(isinstance(header, dict) for header in headers):
            raise ValueError("a header is not an object")
        merged = {name: value for header in headers for name, value in header.items()}
        if len(merged) != sum(map(len, headers)) or merged.keys() & {"zip", "crit"}:
            raise ValueError("the header is ambiguous, or has an extension")
        if str(merged.get("alg")) not in ALGORITHMS or str(merged.get("enc")) not in _CONTENT:
            raise ValueError("unsupported algorithm")
        iterations = merged.get("p2c")
        if isinstance(iterations, bool) or not isinstance(iterations, int) or iterations < 1:
            raise ValueError("invalid number of iterations")
        return cls(merged, flat)

    def decrypt(self, password: bytes) -> bytes:
        """
        Return the plaintext.

        Raises:
            ValueError: If the password is wrong, or a member was changed.
        """
        from jwcrypto.common import JWException
        from jwcrypto.jwa import JWA

        try:
            wrapped, iv, ciphertext, tag = (
                b64u_decode(self.members.get(name), what=name) for name in ("encrypted_key", "iv", "ciphertext", "tag")
            )
            cek = aes_key_unwrap(_wrapping_key(self.header, password), wrapped)
            aad = ".".join(self.members[name] for name in ("protected", "aad") if name in self.members)
            plaintext: bytes = JWA.encryption_alg(self.header["enc"]).decrypt(cek, aad.encode(), iv, ciphertext, tag)
        except (JWKError, JWException, InvalidUnwrap, InvalidTag, InvalidSignature, ValueError, TypeError, KeyError):
            raise ValueError("wrong password") from None
        return plaintext


def encrypt_with_password(plaintext: bytes, password: bytes, header: Mapping[str, Any]) -> dict[str, str]:
    """
    Return *plaintext* encrypted under *password*, as a JWE in flattened JSON.

    Args:
        plaintext: Any bytes.
        password: The password.
        header: The protected header without the salt: ``alg``, ``enc``, ``p2c``, and any other members.
    """
    from jwcrypto.jwa import JWA

    full = {**header, "p2s": b64u(os.urandom(16))}
    content = JWA.encryption_alg(full["enc"])
    cek = os.urandom(content.wrap_key_size // 8)
    protected = b64u(msgspec.json.encode(full))
    iv, ciphertext, tag = content.encrypt(cek, protected.encode(), plaintext)
    return {
        "protected": protected,
        "encrypted_key": b64u(aes_key_wrap(_wrapping_key(full, password), cek)),
        "iv": b64u(iv),
        "ciphertext": b64u(ciphertext),
        "tag": b64u(tag),
    }
