"""
Decrypt keys: PKCS#8 under PBES2, and encrypted JWKs.

PBES2 is decrypted here and not by the library, so that the PKCS#8 inside is read like any other: with its restriction
to RSASSA-PSS, its public half and its seed. The library decrypts older schemes. An unsupported algorithm is never
reported as a wrong password.

Sources: RFC 8018 (PBES1, PBES2), RFC 7914 (scrypt), RFC 7516 and 7518 section 4.8 (JWE, PBES2).
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from cryptography.exceptions import InvalidTag, UnsupportedAlgorithm
from cryptography.hazmat.decrepit.ciphers.algorithms import TripleDES
from cryptography.hazmat.primitives import hashes, padding
from cryptography.hazmat.primitives.ciphers import Cipher
from cryptography.hazmat.primitives.ciphers.algorithms import AES
from cryptography.hazmat.primitives.ciphers.modes import CBC
from cryptography.hazmat.primitives.kdf.pbkdf2 import PBKDF2HMAC
from cryptography.hazmat.primitives.kdf.scrypt import Scrypt

from keyvault.core.ber import INTEGER, ITERATIONS_MAX, PBES2, PBKDF2, SCRYPT, Element, iteration_count, read_element
from keyvault.crypto.imports.found import UnsupportedEncryptionError, too_many_iterations, wrong_password
from keyvault.crypto.pbes2 import PasswordJWE
from keyvault.errors import UsageError

_HMAC = bytes.fromhex("2a864886f70d02")
_HASHES: dict[bytes, type[hashes.HashAlgorithm]] = {
    _HMAC + bytes([last]): kind
    for last, kind in (
        (7, hashes.SHA1),
        (8, hashes.SHA224),
        (9, hashes.SHA256),
        (10, hashes.SHA384),
        (11, hashes.SHA512),
    )
}
_AES = bytes.fromhex("6086480165030401")
#: Ciphers in CBC mode, with the length of their keys in octets.
_CIPHERS: dict[bytes, tuple[type[AES] | type[TripleDES], int]] = {
    **{_AES + bytes([last]): (AES, octets) for last, octets in ((2, 16), (22, 24), (42, 32))},
    bytes.fromhex("2a864886f70d0307"): (TripleDES, 24),
}


def unsupported_encryption(what: str) -> UnsupportedEncryptionError:
    """Return the error for a key that is encrypted with an unsupported algorithm."""
    return UnsupportedEncryptionError(
        f"the key is encrypted with an unsupported algorithm ({what})",
        code="encryption-unsupported",
        hint="openssl pkcs8 -topk8 -in FILE -out key.pem encrypts it anew",
    )


def check_iterations(data: bytes) -> None:
    """
    Refuse a PKCS#8 or PKCS#12 file that asks for so many iterations of its key derivation that it would take hours.

    Raises:
        UsageError: If it asks for more than `ITERATIONS_MAX`.
        ValueError: If it is malformed.
    """
    if iteration_count(data) > ITERATIONS_MAX:
        raise too_many_iterations()


def decrypt_pkcs8(data: bytes, password: bytes) -> bytes | None:
    """
    Return the PKCS#8 in an EncryptedPrivateKeyInfo under PBES2; None under another scheme.

    Raises:
        UsageError: If the password is wrong, or an algorithm is not supported.
        ValueError: If it is malformed.
    """
    scheme, sealed = read_element(data).children
    name, *parameters = scheme.children
    if name.value != PBES2:
        return None
    kdf, cipher = parameters[0].children
    mode = cipher.children[0].value
    if mode not in _CIPHERS:
        raise unsupported_encryption(f"cipher {_dotted(mode)}")
    algorithm, octets = _CIPHERS[mode]
    key = _derive(kdf, password, octets)
    decryptor = Cipher(algorithm(key), CBC(cipher.children[1].value)).decryptor()
    unpadder = padding.PKCS7(algorithm(key).block_size).unpadder()
    try:
        plain = decryptor.update(sealed.octets) + decryptor.finalize()
        plain = unpadder.update(plain) + unpadder.finalize()
        read_element(plain)
    except ValueError:
        raise wrong_password() from None
    return bytes(plain)


def _derive(kdf: Element, password: bytes, octets: int) -> bytes:
    name, parameters = kdf.children
    salt, *rest = parameters.children
    numbers = [part.number for part in rest if part.tag == INTEGER]
    if name.value == PBKDF2:
        prf = next((part.children[0].value for part in rest if part.tag != INTEGER), _HMAC + b"\x07")
        if prf not in _HASHES:
            raise unsupported_encryption(f"pseudorandom function {_dotted(prf)}")
        return PBKDF2HMAC(_HASHES[prf](), octets, salt.value, numbers[0]).derive(password)
    if name.value == SCRYPT:
        return Scrypt(salt.value, octets, *numbers[:3]).derive(password)
    raise unsupported_encryption(f"key derivation {_dotted(name.value)}")


def _dotted(oid: bytes) -> str:
    """Return an object identifier in dotted decimal form."""
    if not oid:
        return "none"
    numbers, number = [*divmod(oid[0], 40)], 0
    for octet in oid[1:]:
        number = number << 7 | octet & 0x7F
        if not octet & 0x80:
            numbers.append(number)
            number = 0
    return ".".join(map(str, numbers))[:80]


def try_password(load: Any, secret: bytes) -> Any:
    """
    Return the key that *load* decrypts with *secret*.

    Raises:
        UsageError: If the password is wrong, or the encryption is not supported.
    """
    try:
        return load(secret)
    except UnsupportedAlgorithm:
        raise unsupported_encryption("the cryptography package does not support it") from None
    except InvalidTag:
        raise wrong_password() from None
    except (ValueError, TypeError) as error:
        if "Unknown key encryption algorithm" in str(error):
            raise unsupported_encryption("the cryptography package does not support it") from None
        raise wrong_password() from None


def decrypt_jwk(document: Mapping[str, Any], password: bytes) -> bytes:
    """
    Return the plaintext of an encrypted JWK, such as `step crypto jwk create` writes.

    Raises:
        UsageError: If the encryption is not supported, or the password is wrong.
    """
    try:
        jwe = PasswordJWE.parse(document)
    except ValueError:
        jwe = None
    if jwe is not None and jwe.header["p2c"] > ITERATIONS_MAX:
        raise too_many_iterations()
    if jwe is None:
        raise UsageError(
            "the encrypted JWK does not use a password, or its encryption is not supported",
            code="encryption-unsupported",
        )
    try:
        return jwe.decrypt(password)
    except ValueError:
        raise wrong_password() from None
