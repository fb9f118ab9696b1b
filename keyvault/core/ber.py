"""
Read BER, the encoding of encrypted keys and PKCS#12 files.

Finds the keys in a PKCS#12 file, and the number of hash iterations that a file requires, before anything is hashed.
Does not decrypt. This reader exists because `cryptography.hazmat.asn1` decodes only DER, and NSS and macOS write
PKCS#12 files in BER with indefinite lengths, which OpenSSL reads.

Sources: X.690 (BER), RFC 7292 (PKCS#12), RFC 5958 (PKCS#8), RFC 8018 (PBES1, PBES2, PBKDF2), RFC 7914 (scrypt).
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

INTEGER, OCTET_STRING, OID, SEQUENCE = 0x02, 0x04, 0x06, 0x30
_CONSTRUCTED = 0x20
_DEPTH_MAX = 64

#: The limit of `iteration_count` for PBKDF2, PBES1, PKCS#12 and scrypt: only an attacker asks for more. Scrypt needs at
#: most 256 MiB of memory then.
ITERATIONS_MAX = 2_000_000

_DATA = bytes.fromhex("2a864886f70d010701")  # 1.2.840.113549.1.7.1, the content type data
_BAG = bytes.fromhex("2a864886f70d010c0a01")  # 1.2.840.113549.1.12.10.1, the kinds of bags
#: The kinds of bags in a PKCS#12 file, by the last octet of their object identifiers.
KEY_BAG, SHROUDED_BAG, SECRET_BAG = 1, 2, 5

#: PBES1 is 1.2.840.113549.1.5.x: MD2, MD5 or SHA-1, each with DES or RC2.
_PBES1 = tuple(bytes.fromhex("2a864886f70d0105") + bytes([last]) for last in (1, 3, 4, 6, 10, 11))
#: The algorithms of PKCS#12 are 1.2.840.113549.1.12.1.x: SHA-1 with RC4, Triple DES or RC2.
_PKCS12_PBE = tuple(bytes.fromhex("2a864886f70d010c01") + bytes([last]) for last in range(1, 7))
PBKDF2 = bytes.fromhex("2a864886f70d01050c")  # 1.2.840.113549.1.5.12
PBES2 = bytes.fromhex("2a864886f70d01050d")  # 1.2.840.113549.1.5.13
SCRYPT = bytes.fromhex("2b06010401da47040b")  # 1.3.6.1.4.1.11591.4.11
#: Algorithms whose parameters begin with a salt and an iteration count.
_ITERATED = frozenset({*_PBES1, *_PKCS12_PBE, PBKDF2})


@dataclass(frozen=True, slots=True)
class Element:
    """
    An element of BER.

    Attributes:
        tag: Its identifier octet.
        value: Its contents, without the end-of-contents octets of an indefinite length.
    """

    tag: int
    value: bytes

    @property
    def children(self) -> tuple[Element, ...]:
        """The elements in a constructed element, empty for a primitive element; ValueError if they are malformed."""
        return tuple(_elements(self.value)) if self.tag & _CONSTRUCTED else ()

    @property
    def octets(self) -> bytes:
        """The contents of an OCTET STRING, which BER may split into parts; ValueError if a part is malformed."""
        return _octets(self, 0)

    @property
    def number(self) -> int:
        """The value of an INTEGER."""
        return int.from_bytes(self.value, "big", signed=True)


def _octets(element: Element, depth: int) -> bytes:
    if depth > _DEPTH_MAX:
        raise ValueError("elements are nested too deeply")
    if not element.tag & _CONSTRUCTED:
        return element.value
    return b"".join(_octets(child, depth + 1) for child in element.children)


def read_element(data: bytes) -> Element:
    """
    Return *data* as an element.

    Raises:
        ValueError: If the element is malformed, or octets follow it.
    """
    element, end = _element(data, 0, 0)
    if end != len(data):
        raise ValueError("octets follow the element")
    return element


def first_element(data: bytes) -> bytes:
    """Return the octets of the first element of *data*; all of *data* if that is malformed."""
    try:
        return data[: _element(data, 0, 0)[1]]
    except ValueError:
        return data


def _elements(data: bytes) -> Iterator[Element]:
    at = 0
    while at < len(data):
        element, at = _element(data, at, 0)
        yield element


def _element(data: bytes, at: int, depth: int) -> tuple[Element, int]:
    """Return the element that begins at *at*, and the position of its end."""
    if at + 2 > len(data) or data[at] & 0x1F == 0x1F or depth > _DEPTH_MAX:
        raise ValueError("the element is malformed")
    tag, length, start = data[at], data[at + 1], at + 2
    if length == 0x80:
        if not tag & _CONSTRUCTED:
            raise ValueError("a primitive element has an indefinite length")
        end = start
        while data[end : end + 2] != b"\0\0":
            _, end = _element(data, end, depth + 1)
        return Element(tag, data[start:end]), end + 2
    if length & 0x80:
        count = length & 0x7F
        length, start = int.from_bytes(data[start : start + count], "big"), start + count
    if start + length > len(data):
        raise ValueError("the element is cut off")
    return Element(tag, data[start : start + length]), start + length


def is_pkcs12(data: bytes) -> bool:
    """Return whether *data* is a PFX (RFC 7292 section 4): a sequence of the version 3 and a ContentInfo."""
    if data[:1] != b"\x30":
        return False
    try:
        parts = read_element(data).children
        return (
            len(parts) in (2, 3)
            and (parts[0].tag, parts[0].value) == (INTEGER, b"\x03")
            and parts[1].tag == SEQUENCE
            and parts[1].children[:1] != ()
            and parts[1].children[0].tag == OID
        )
    except ValueError:
        return False


def bags_outside_encryption(pfx: bytes) -> list[tuple[int, bytes]]:
    """
    Return the kind and the value of each bag of a PKCS#12 file outside of encrypted contents.

    A bag may hold a key, a secret or a certificate; a shrouded key is encrypted itself.

    Raises:
        ValueError: If the file is malformed.
    """
    found: list[tuple[int, bytes]] = []
    for content in _data_of(read_element(pfx).children[1]):
        for info in content.children:
            for safe in _data_of(info):
                for bag in safe.children:
                    kind, value, *_ = bag.children
                    if kind.value[:-1] == _BAG:
                        found.append((kind.value[-1], value.value))
    return found


def _data_of(info: Element) -> list[Element]:
    """Return the decoded contents of a ContentInfo of the type data; empty for other types."""
    parts = info.children
    if len(parts) != 2 or (parts[0].tag, parts[0].value) != (OID, _DATA) or parts[1].tag != 0xA0:
        return []
    return [read_element(octets.octets) for octets in parts[1].children]


def iteration_count(data: bytes) -> int:
    """
    Return the largest number of hash iterations that an encrypted PKCS#8 or a PKCS#12 file requires; 0 if none.

    For scrypt it is the product of its parameters: a million means 128 MiB of memory.

    Raises:
        ValueError: If the file is malformed.
    """
    root = read_element(data)
    counts = list(_iteration_counts(root, 0))
    if is_pkcs12(data) and len(root.children) == 3 and len(root.children[2].children) == 3:
        counts.append(root.children[2].children[2].number)
    return max(counts, default=0)


def _iteration_counts(element: Element, depth: int) -> Iterator[int]:
    if depth > _DEPTH_MAX:
        raise ValueError("elements are nested too deeply")
    parts = element.children
    if len(parts) == 2 and parts[0].tag == OID and parts[1].tag == SEQUENCE:
        numbers = [part.number for part in parts[1].children[1:] if part.tag == INTEGER]
        if parts[0].value in _ITERATED and numbers:
            yield numbers[0]
        elif parts[0].value == SCRYPT and len(numbers) >= 3:
            yield numbers[0] * numbers[1] * numbers[2]
    for inner in (*parts, *_data_of(element)):
        yield from _iteration_counts(inner, depth + 1)
