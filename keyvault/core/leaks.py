"""
Find private keys in the clear, in files of any kind.

Looks at text as people and tools store it: JSON, YAML, source code, with quotes escaped, in Base64 as in a
Kubernetes Secret, in UTF-16; and at DER and PKCS#12. Encrypted keys pass, unless an empty password opens them. A
public key, a label without a key behind it and a key's description pass, too.

Sources: RFC 7517 and 7518 (private members), RFC 7468 (PEM labels), RFC 5958 (PKCS#8), PROTOCOL.key of OpenSSH,
RFC 7292 (PKCS#12), age's format.
"""

from __future__ import annotations

import base64
import binascii
import codecs
import re
import warnings
from bisect import bisect_left

from keyvault.core.ber import KEY_BAG, is_pkcs12, iteration_count, unencrypted_bags

_PEM = re.compile(r"-----BEGIN ([A-Z0-9 ]*PRIVATE KEY)-----((?:[A-Za-z0-9+/=\s\"'>|,`]|\\+[nr]){40,})")
_AGE = re.compile(r"age-secret-key-(?:pq-)?1[0-9a-z]{50,}")
# What stands before it is looked at second: a pattern that begins with plain letters is found many times faster.
_KTY = re.compile(r"kty(?<![\w-]kty)\\*[\"'`]?\s*(?:=>|[:=])\s*\\*[\"'`]?(?:RSA|EC|OKP|oct|AKP)(?![\w-])")
# A symmetric key of 128 bits has 22 letters; no shorter one is sound.
_MEMBER = re.compile(
    r"(?<![\w-])(d|p|q|dp|dq|qi|k|priv)\\*[\"'`]?\s*(?:=>|[:=])\s*\\*[\"'`]?[A-Za-z0-9_-]{22,}(?![A-Za-z0-9_.-])"
)
#: A private RSA JWK of 8,192 bits, written over many lines, is not longer than this.
_REACH = 8_000
# What PEM, and JSON that begins with a JWK's usual brackets, look like in Base64.
# Programs wrap it after 64 or 76 letters. A key in DER begins with MI and a length, or with MC, MD, MF or MH.
_BASE64 = re.compile(
    r"(?:LS0tLS1CRUdJTi|eyJ|eyA|ewo|ewk|ewog|W3s|Wwo|(?<![A-Za-z0-9+/])M[ICDFH][A-Za-z0-9+/]{2})"
    r"(?:[A-Za-z0-9+/]|(?<=[A-Za-z0-9+/]{60})\r?\n\s*){40,}={0,2}"
)
#: The key of OpenSSH that has no passphrase: its cipher is "none".
_OPENSSH_PLAIN = base64.b64encode(b"openssh-key-v1\0\0\0\0\4none")[:-4].decode()
_DER_MAX = 20_000
_ROUNDS_MAX = 2_000_000
_MARKS = ((codecs.BOM_UTF16_LE, "utf-16-le"), (codecs.BOM_UTF16_BE, "utf-16-be"))


def find_private(data: bytes) -> str | None:
    """Return what private key *data* holds in the clear, in words and without any of it; None if it holds none."""
    if data[:1] == b"\x30" and (what := _in_der(data)):
        return what
    encoding = next((name for mark, name in _MARKS if data.startswith(mark)), "utf-8")
    text = data.decode(encoding, errors="replace")
    return _find(text) or _find_encoded(text)


def find_private_in_note(note: str) -> str | None:
    """
    Return what private key *note* holds, or would seem to hold where it stands; the result is as for `find_private`.

    Notes and reasons stand in records, in history.json and on pages, beside the members of public keys. So text that is
    no key by itself can look like one there: a ``d`` with a value needs no more than a ``kty`` near it.
    """
    return find_private(f'"kty":"oct"\n{note}'.encode(errors="replace"))


def _find(text: str) -> str | None:
    for label, body in _PEM.findall(text):
        if _is_plain(label, body):
            return f"a PEM block {label}"
    if _AGE.search(text.lower()):
        return "an age identity"
    kinds = [found.start() for found in _KTY.finditer(text)]
    for member in _MEMBER.finditer(text) if kinds else ():
        near = bisect_left(kinds, member.start() - _REACH)
        if near < len(kinds) and kinds[near] <= member.end() + _REACH:
            return f"a private JWK, with the member {member[1]!r}"
    return None


def _find_encoded(text: str) -> str | None:
    for found in _BASE64.finditer(text):
        body = re.sub(r"\s", "", found[0]).rstrip("=")
        try:
            inner = base64.b64decode(body + "=" * (-len(body) % 4))
        except binascii.Error:
            continue
        if inner[:1] == b"\x30" and (what := _in_der(inner)):
            return f"{what}, in Base64"
        if what := _find(inner.decode(errors="replace")):
            return f"{what}, in Base64"
    return None


def _is_plain(label: str, body: str) -> bool:
    """Whether the PEM block needs no passphrase."""
    if label == "ENCRYPTED PRIVATE KEY":
        return False
    if label == "OPENSSH PRIVATE KEY":
        return re.sub(r"\\[nr]|[^A-Za-z0-9+/]", "", body).startswith(_OPENSSH_PLAIN)
    return True  # the old way to encrypt has headers, which no body matches


def _in_der(data: bytes) -> str | None:
    """Return what private key the DER, or the PKCS#12 file, *data* holds in the clear, in words."""
    if len(data) > _DER_MAX:
        return None
    if is_pkcs12(data):
        return "a private key in PKCS#12 without a password" if _opens_without_password(data) else None
    return "a private key in DER" if _is_private_der(data) else None


def _opens_without_password(data: bytes) -> bool:
    """Return whether a PKCS#12 file has a private key that no password protects, or an empty one, as Azure writes."""
    from cryptography.exceptions import UnsupportedAlgorithm
    from cryptography.hazmat.primitives.serialization.pkcs12 import load_key_and_certificates

    try:
        if any(kind == KEY_BAG for kind, _ in unencrypted_bags(data)):
            return True
        # More rounds of hashing than any program asks for only serve to keep us busy.
        if iteration_count(data) > _ROUNDS_MAX:
            return False
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # BER, as NSS and macOS write it, and old ciphers
            return load_key_and_certificates(data, None)[0] is not None
    except (ValueError, TypeError, IndexError, UnsupportedAlgorithm):  # another password, or a damaged file
        return False


def _is_private_der(data: bytes) -> bool:
    from cryptography.exceptions import UnsupportedAlgorithm
    from cryptography.hazmat.primitives.serialization import load_der_private_key

    try:
        load_der_private_key(data, password=None, unsafe_skip_rsa_key_validation=True)
    except UnsupportedAlgorithm:
        return True  # a private key of a kind that is not known here
    except (ValueError, TypeError):  # none, or encrypted
        return False
    return True
