"""
Find private keys in the clear, in files of any kind.

Searches text in the forms in which people and tools store it: JSON, YAML, source code, with escaped quotes, in Base64
as in a Kubernetes Secret, in UTF-16. Also searches DER and PKCS#12. Does not report encrypted keys, unless an empty
password opens them, nor public keys, PEM labels without a key, and descriptions of keys.

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

from keyvault.core.ber import ITERATIONS_MAX, KEY_BAG, bags_outside_encryption, is_pkcs12, iteration_count

_PEM = re.compile(r"-----BEGIN ([A-Z0-9 ]*PRIVATE KEY)-----((?:[A-Za-z0-9+/=\s\"'>|,`]|\\+[nr]){40,})")
_AGE = re.compile(r"age-secret-key-(?:pq-)?1[0-9a-z]{50,}")
# The lookbehind follows "kty" because a pattern that begins with plain letters is many times faster.
_KTY = re.compile(r"kty(?<![\w-]kty)\\*[\"'`]?\s*(?:=>|[:=])\s*\\*[\"'`]?(?:RSA|EC|OKP|oct|AKP)(?![\w-])")
# A symmetric key of 128 bits has 22 letters; no shorter one is sound.
_MEMBER = re.compile(
    r"(?<![\w-])(d|p|q|dp|dq|qi|k|priv)\\*[\"'`]?\s*(?:=>|[:=])\s*\\*[\"'`]?[A-Za-z0-9_-]{22,}(?![A-Za-z0-9_.-])"
)
#: The largest distance between members of a JWK. A private RSA JWK of 8,192 bits over many lines is shorter.
_DISTANCE_MAX = 8_000
# PEM, and JSON that begins with the usual brackets of a JWK, in Base64, which programs wrap after 64 or 76 letters.
# A key in DER begins with MI and a length, or with MC, MD, MF or MH.
_BASE64 = re.compile(
    r"(?:LS0tLS1CRUdJTi|eyJ|eyA|ewo|ewk|ewog|W3s|Wwo|(?<![A-Za-z0-9+/])M[ICDFH][A-Za-z0-9+/]{2})"
    r"(?:[A-Za-z0-9+/]|(?<=[A-Za-z0-9+/]{60})\r?\n\s*){40,}={0,2}"
)
#: The start of an OpenSSH key without a passphrase: its cipher is "none".
_OPENSSH_PLAIN = base64.b64encode(b"openssh-key-v1\0\0\0\0\4none")[:-4].decode()
_DER_MAX = 20_000
_BYTE_ORDER_MARKS = ((codecs.BOM_UTF16_LE, "utf-16-le"), (codecs.BOM_UTF16_BE, "utf-16-be"))


def find_private(data: bytes) -> str | None:
    """Return a description of a private key in the clear in *data*, without key material; None if there is none."""
    if data[:1] == b"\x30" and (what := _in_der(data)):
        return what
    encoding = next((name for mark, name in _BYTE_ORDER_MARKS if data.startswith(mark)), "utf-8")
    text = data.decode(encoding, errors="replace")
    return _find_in_text(text) or _find_in_base64(text)


def find_private_in_note(note: str) -> str | None:
    """
    Return a description of a private key in *note*, alone or beside a public key; None as in `find_private`.

    Records, history.json and pages show notes and reasons beside the members of public keys. So text that is no key by
    itself can look like one there: a ``d`` with a value needs only a ``kty`` near it.
    """
    return find_private(f'"kty":"oct"\n{note}'.encode(errors="replace"))


def _find_in_text(text: str) -> str | None:
    for label, body in _PEM.findall(text):
        if _is_plain(label, body):
            return f"a PEM block {label}"
    if _AGE.search(text.lower()):
        return "an age identity"
    kinds = [found.start() for found in _KTY.finditer(text)]
    for member in _MEMBER.finditer(text) if kinds else ():
        near = bisect_left(kinds, member.start() - _DISTANCE_MAX)
        if near < len(kinds) and kinds[near] <= member.end() + _DISTANCE_MAX:
            return f"a private JWK, with the member {member[1]!r}"
    return None


def _find_in_base64(text: str) -> str | None:
    for found in _BASE64.finditer(text):
        body = re.sub(r"\s", "", found[0]).rstrip("=")
        try:
            inner = base64.b64decode(body + "=" * (-len(body) % 4))
        except binascii.Error:
            continue
        if inner[:1] == b"\x30" and (what := _in_der(inner)):
            return f"{what}, in Base64"
        if what := _find_in_text(inner.decode(errors="replace")):
            return f"{what}, in Base64"
    return None


def _is_plain(label: str, body: str) -> bool:
    """Return whether the PEM block needs no passphrase."""
    if label == "ENCRYPTED PRIVATE KEY":
        return False
    if label == "OPENSSH PRIVATE KEY":
        return re.sub(r"\\[nr]|[^A-Za-z0-9+/]", "", body).startswith(_OPENSSH_PLAIN)
    return True  # a key in the older encrypted format has headers, so its body does not match


def _in_der(data: bytes) -> str | None:
    """Return a description of a private key in the clear in *data*, which is DER or a PKCS#12 file."""
    if len(data) > _DER_MAX:
        return None
    if is_pkcs12(data):
        return "a private key in PKCS#12 without a password" if _opens_without_password(data) else None
    return "a private key in DER" if _is_private_der(data) else None


def _opens_without_password(data: bytes) -> bool:
    """Return whether a PKCS#12 file has a private key without a password, or with an empty one, as Azure writes."""
    from cryptography.exceptions import UnsupportedAlgorithm
    from cryptography.hazmat.primitives.serialization.pkcs12 import load_key_and_certificates

    try:
        if any(kind == KEY_BAG for kind, _ in bags_outside_encryption(data)):
            return True
        # No program requires so many iterations: such a file is meant to exhaust this machine.
        if iteration_count(data) > ITERATIONS_MAX:
            return False
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # about BER from NSS and macOS, and about old ciphers
            return load_key_and_certificates(data, None)[0] is not None
    except (ValueError, TypeError, IndexError, UnsupportedAlgorithm):  # a wrong password, or a damaged file
        return False


def _is_private_der(data: bytes) -> bool:
    from cryptography.exceptions import UnsupportedAlgorithm
    from cryptography.hazmat.primitives.serialization import load_der_private_key

    try:
        load_der_private_key(data, password=None, unsafe_skip_rsa_key_validation=True)
    except UnsupportedAlgorithm:
        return True  # a private key of an unsupported type
    except (ValueError, TypeError):  # not a private key, or encrypted
        return False
    return True
