"""
Read PEM. The content decides, not the label; lines may be indented, quoted or escaped.

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
from keyvault.crypto.imports.der import from_public_key, load_private_key, with_import_errors
from keyvault.crypto.imports.found import Found, Password, UnreadableError, too_many_iterations
from keyvault.errors import UsageError

BEGIN = "-----BEGIN "
BCRYPT_MAX = 512

_BLOCK = re.compile(r"-----BEGIN ([A-Z0-9 ]{1,40})-----(.*?)-----END \1-----", re.DOTALL)
#: The operator that joins a quoted line to the next one in source code.
_JOINED = re.compile(r"[\"'`][ \t]*[+.][ \t]*$")
_HEADER = re.compile(r"[A-Za-z0-9-]+: [^\n]*\n")
#: The library panics if the IV is truncated.
_DEK_INFO = re.compile(r"DEK-Info: *(?:AES-(?:128|256)-CBC,[0-9A-Fa-f]{32}|DES-EDE3-CBC,[0-9A-Fa-f]{16})\s")
_SKIPPED = frozenset({"EC PARAMETERS", "DSA PARAMETERS", "DH PARAMETERS", "X509 CRL"})
_KINDS = ("PRIVATE KEY", "PUBLIC KEY", "CERTIFICATE", "CERTIFICATE REQUEST", "PKCS7", "CMS", "PKCS12")
_SSH_MAGIC = b"openssh-key-v1\0"
_SSH_CIPHERS = frozenset({b"none", b"aes256-ctr", b"aes256-cbc", b"aes256-gcm@openssh.com"})


def read_pem(text: str, password: Password) -> Iterator[Found]:
    """
    Yield the keys and certificates in the PEM blocks of *text*; skip the text around them.

    Raises:
        UsageError: If a block has no end or no key, or the password is missing or wrong.
        JWKError: If a key is malformed.
        WeakKeyError: If a key is weak.
    """
    plain = text.replace("\\r", "").replace("\\n", "\n").replace("\r\n", "\n")
    blocks = list(_BLOCK.finditer(plain))
    if not blocks:
        raise UsageError("the PEM block has no END line", code="pem-malformed")
    for block in blocks:
        if block[1] not in _SKIPPED:
            yield from _read_block(block[1], block[2], password)


def _read_block(label: str, content: str, password: Password) -> Iterator[Found]:
    # YAML indents lines; source code quotes them and joins them with plus signs.
    lines = [_JOINED.sub("", line).strip(" \t\"'`,\\") + "\n" for line in content.strip().splitlines()]
    headers = [line for line in lines if _HEADER.fullmatch(line)]
    body = "".join(line for line in lines if line not in headers)
    if any("DEK-Info" in line for line in headers):
        if not _DEK_INFO.search("".join(headers)):
            named = re.search(r"DEK-Info: *([\w-]{1,40})", "".join(headers))
            raise UsageError(
                f"the key is encrypted with an unsupported algorithm ({named[1] if named else 'unknown cipher'})",
                code="encryption-unsupported",
                hint="openssl pkey -in FILE -aes256 -out key.pem encrypts it anew",
            )
        rebuilt = f"{BEGIN}{label}-----\n{''.join(headers)}\n{body}-----END {label}-----\n".encode()
        yield load_private_key(partial(serialization.load_pem_private_key, rebuilt), password)
        return
    data = _decode(label, body)
    if data.startswith(_SSH_MAGIC):
        yield _read_openssh(body, data, password)
        return
    if label == "TRUSTED CERTIFICATE":  # OpenSSL appends the purposes for which the certificate is trusted
        data = first_element(data)
    try:
        yield from read_binary(data, password)
    except UnreadableError as error:
        raise _in_block(label, error) from None


def _decode(label: str, body: str) -> bytes:
    try:
        return base64.b64decode("".join(body.split()), validate=True)
    except ValueError:
        raise _in_block(label, UnreadableError("its content is not Base64", code="pem-malformed")) from None


def _in_block(label: str, error: UnreadableError) -> UsageError | UnreadableError:
    """Return *error* with the label of its block; another error if no key has such a label."""
    if not label.endswith(_KINDS):
        return UsageError(f"PEM block {elided(label)} has no key in a supported format", code="format-unsupported")
    return UnreadableError(f"PEM block {elided(label)}: {error.message}", code=error.code)


def _read_openssh(body: str, data: bytes, password: Password) -> Found:
    """Return the key in OpenSSH's own format, after a check of its encryption."""
    try:
        cipher, at = _string(data, len(_SSH_MAGIC))
        kdf, at = _string(data, at)
        options, _ = _string(data, at)
        salt_end = _string(options, 0)[1] if kdf == b"bcrypt" else 0
    except ValueError:
        raise UnreadableError("the OpenSSH key is damaged", code="key-damaged") from None
    if cipher not in _SSH_CIPHERS:
        raise UsageError(
            f"the key is encrypted with an unsupported algorithm ({elided(cipher.decode('latin-1'))[:60]})",
            code="encryption-unsupported",
            hint="ssh-keygen -p -Z aes256-ctr -f FILE encrypts it anew",
        )
    if kdf == b"bcrypt" and int.from_bytes(options[salt_end : salt_end + 4], "big") > BCRYPT_MAX:
        raise too_many_iterations(BCRYPT_MAX)
    text = f"{BEGIN}OPENSSH PRIVATE KEY-----\n{body}-----END OPENSSH PRIVATE KEY-----\n".encode()
    return load_private_key(partial(serialization.load_ssh_private_key, text), password)


def _string(data: bytes, at: int) -> tuple[bytes, int]:
    """Return the string (RFC 4251 section 5) that begins at *at*, and the position of its end."""
    start = at + 4
    end = start + int.from_bytes(data[at:start], "big")
    if start > len(data) or end > len(data):
        raise ValueError("truncated")
    return data[start:end], end


def read_openssh_public(text: str) -> Found:
    """Return the key in a line of ``authorized_keys`` or ``id_….pub``; raise the errors of `with_import_errors`."""
    return from_public_key(with_import_errors(serialization.load_ssh_public_key, text.strip().encode()))
