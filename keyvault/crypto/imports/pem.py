"""
Read PEM by its content: a label may say something else, and lines may be indented, quoted or escaped.

Sources: RFC 7468 (PEM), RFC 1421 section 4.6.1.3 (how OpenSSL encrypted keys before PKCS#8), PROTOCOL.key of OpenSSH.
"""

from __future__ import annotations

import base64
import re
from collections.abc import Iterator
from functools import partial

from cryptography.hazmat.primitives import serialization

from keyvault.core.ber import first_element
from keyvault.core.text import elided
from keyvault.crypto.imports.binary import read_binary
from keyvault.crypto.imports.der import load, private_found, public_found
from keyvault.crypto.imports.encrypted import TOO_MANY_ROUNDS
from keyvault.crypto.imports.found import Found, Password, UnreadableError
from keyvault.errors import UsageError

BEGIN = "-----BEGIN "
BCRYPT_MAX = 512

_BLOCK = re.compile(r"-----BEGIN ([A-Z0-9 ]{1,40})-----(.*?)-----END \1-----", re.DOTALL)
#: How source code goes on after a line in quotes.
_JOINED = re.compile(r"[\"'`][ \t]*[+.][ \t]*$")
_HEADER = re.compile(r"[A-Za-z0-9-]+: [^\n]*\n")
#: The library panics if the IV is cut short.
_DEK_INFO = re.compile(r"DEK-Info: *(?:AES-(?:128|256)-CBC,[0-9A-Fa-f]{32}|DES-EDE3-CBC,[0-9A-Fa-f]{16})\s")
_SKIPPED = frozenset({"EC PARAMETERS", "DSA PARAMETERS", "DH PARAMETERS", "X509 CRL"})
_KINDS = ("PRIVATE KEY", "PUBLIC KEY", "CERTIFICATE", "CERTIFICATE REQUEST", "PKCS7", "CMS", "PKCS12")
_SSH_MAGIC = b"openssh-key-v1\0"
_SSH_CIPHERS = frozenset({b"none", b"aes256-ctr", b"aes256-cbc", b"aes256-gcm@openssh.com"})


def read_pem(text: str, password: Password) -> Iterator[Found]:
    """
    Yield what the blocks of PEM in *text* hold; text around them is passed over.

    Raises:
        UsageError: If a block has no end, or no key, or the password is missing or wrong.
        JWKError: If a key is malformed.
        WeakKeyError: If a key is weak.
    """
    plain = text.replace("\\r", "").replace("\\n", "\n").replace("\r\n", "\n")
    blocks = list(_BLOCK.finditer(plain))
    if not blocks:
        raise UsageError("the PEM block has no end")
    for block in blocks:
        if block[1] not in _SKIPPED:
            yield from _read_block(block[1], block[2], password)


def _read_block(label: str, content: str, password: Password) -> Iterator[Found]:
    # Indented, quoted or joined with plus signs, as YAML and source code have it.
    lines = [_JOINED.sub("", line).strip(" \t\"'`,\\") + "\n" for line in content.strip().splitlines()]
    headers = [line for line in lines if _HEADER.fullmatch(line)]
    body = "".join(line for line in lines if line not in headers)
    if any("DEK-Info" in line for line in headers):
        if not _DEK_INFO.search("".join(headers)):
            named = re.search(r"DEK-Info: *([\w-]{1,40})", "".join(headers))
            raise UsageError(
                f"the key is encrypted with {named[1] if named else 'a cipher'}, which is not supported",
                hint="openssl pkey -in FILE -aes256 -out key.pem encrypts it anew",
            )
        rebuilt = f"{BEGIN}{label}-----\n{''.join(headers)}\n{body}-----END {label}-----\n".encode()
        yield private_found(partial(serialization.load_pem_private_key, rebuilt), password)
        return
    try:
        data = base64.b64decode("".join(body.split()), validate=True)
    except ValueError:
        raise _unreadable(label, "its content is not Base64") from None
    if data.startswith(_SSH_MAGIC):
        yield _read_openssh(body, data, password)
        return
    if label == "TRUSTED CERTIFICATE":  # OpenSSL adds what it trusts the certificate with
        data = first_element(data)
    try:
        yield from read_binary(data, password)
    except UnreadableError as error:
        raise _unreadable(label, error.message) from None


def _unreadable(label: str, reason: str) -> Exception:
    if not label.endswith(_KINDS):
        return UsageError(f"a PEM block {elided(label)} holds no key of a supported format")
    return UnreadableError(f"a PEM block {elided(label)}: {reason}")


def _read_openssh(body: str, data: bytes, password: Password) -> Found:
    """Read OpenSSH's own format, after a look at how it is encrypted."""
    try:
        cipher, at = _string(data, len(_SSH_MAGIC))
        kdf, at = _string(data, at)
        options, _ = _string(data, at)
        salt_end = _string(options, 0)[1] if kdf == b"bcrypt" else 0
    except ValueError:
        raise UnreadableError("the OpenSSH key is damaged") from None
    if cipher not in _SSH_CIPHERS:
        raise UsageError(
            f"the OpenSSH key is encrypted with {elided(cipher.decode('latin-1'))[:60]}, which is not supported",
            hint="ssh-keygen -p -Z aes256-ctr -f FILE encrypts it anew",
        )
    if kdf == b"bcrypt" and int.from_bytes(options[salt_end : salt_end + 4], "big") > BCRYPT_MAX:
        raise UsageError(TOO_MANY_ROUNDS)
    text = f"{BEGIN}OPENSSH PRIVATE KEY-----\n{body}-----END OPENSSH PRIVATE KEY-----\n".encode()
    return private_found(partial(serialization.load_ssh_private_key, text), password)


def _string(data: bytes, at: int) -> tuple[bytes, int]:
    """Return the string of RFC 4251 section 5 that begins at *at*, and where it ends."""
    start = at + 4
    end = start + int.from_bytes(data[at:start], "big")
    if start > len(data) or end > len(data):
        raise ValueError("cut off")
    return data[start:end], end


def read_openssh_public(text: str) -> Found:
    """Return the key in a line of an ``authorized_keys`` file or an ``id_….pub``; errors as `load`."""
    return public_found(load(serialization.load_ssh_public_key, text.strip().encode()))
