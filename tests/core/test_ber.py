"""BER as NSS, macOS and OpenSSL write it: every form of length, and the hash parameters in a file."""

from __future__ import annotations

import pytest
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.serialization import (
    BestAvailableEncryption,
    Encoding,
    NoEncryption,
    PrivateFormat,
    pkcs12,
)

from keyvault.core.ber import (
    KEY_BAG,
    SHROUDED_BAG,
    Element,
    bags_outside_encryption,
    first_element,
    is_pkcs12,
    iteration_count,
    read_element,
)
from keyvault.core.key_objects import public_members
from keyvault.core.leaks import find_private
from keyvault.crypto.imports import read_keys

EC = ec.generate_private_key(ec.SECP256R1())
PASSWORD = b"correct horse"


def pfx(password: bytes | None = PASSWORD, rounds: int = 3077) -> bytes:
    if password is None:
        return pkcs12.serialize_key_and_certificates(b"mine", EC, None, None, NoEncryption())
    builder = PrivateFormat.PKCS12.encryption_builder().kdf_rounds(rounds).hmac_hash(SHA256())
    locked = builder.key_cert_algorithm(pkcs12.PBES.PBESv2SHA256AndAES256CBC).build(password)
    return pkcs12.serialize_key_and_certificates(b"mine", EC, None, None, locked)


def der(element: Element) -> bytes:
    """Return *element* in DER."""
    size = len(element.value)
    if size < 128:
        return bytes([element.tag, size]) + element.value
    octets = size.to_bytes((size.bit_length() + 7) // 8, "big")
    return bytes([element.tag, 0x80 | len(octets)]) + octets + element.value


def indefinite(tag: int, *parts: bytes) -> bytes:
    return bytes([tag, 0x80]) + b"".join(parts) + b"\0\0"


def as_nss_writes_it(data: bytes) -> bytes:
    """Return a PKCS#12 file with indefinite lengths, its content in pieces; the code that authenticates it stays."""
    version, content, *mac = read_element(data).children
    name, wrapped = content.children
    octets = wrapped.children[0].octets
    pieces = [der(Element(0x04, octets[at : at + 100])) for at in range(0, len(octets), 100)]
    inner = indefinite(0x30, der(name), indefinite(0xA0, indefinite(0x24, *pieces)))
    return indefinite(0x30, der(version), inner, *(der(part) for part in mac))


def long_lengths(data: bytes) -> bytes:
    """Return *data* with the length of its outer element in more octets than it takes."""
    value = read_element(data).value
    return b"\x30\x84" + len(value).to_bytes(4, "big") + value


@pytest.mark.filterwarnings("ignore:PKCS#12 bundle could not be parsed as DER")
@pytest.mark.parametrize("spell", [bytes, as_nss_writes_it, long_lengths])
def test_pkcs12_in_every_spelling(spell: object) -> None:
    """Files that OpenSSL reads are recognised, counted, opened, and found by guard if they have no password."""
    data = spell(pfx())  # type: ignore[operator]  # a function, listed above

    assert is_pkcs12(data)
    assert [kind for kind, _ in bags_outside_encryption(data)] == [SHROUDED_BAG]
    assert iteration_count(data) == 3077
    assert pkcs12.load_pkcs12(data, PASSWORD).key is not None
    (found,) = read_keys(data, lambda: PASSWORD)
    assert found.public == public_members(EC.public_key())
    assert find_private(data) is None
    plain = spell(pfx(None))  # type: ignore[operator]  # as above
    assert "in PKCS#12 without a password" in (find_private(plain) or "")
    assert [kind for kind, _ in bags_outside_encryption(plain)] in ([KEY_BAG], [SHROUDED_BAG])
    assert read_keys(plain)[0].private


def test_the_iterations_of_the_mac_count() -> None:
    """The MAC of a PKCS#12 file is checked first, so its iterations count too."""
    assert iteration_count(pfx(rounds=3123)) == 3123
    assert iteration_count(pfx(rounds=1)) == 2048  # the library's own count for that code
    sealed = EC.private_bytes(Encoding.DER, PrivateFormat.PKCS8, BestAvailableEncryption(PASSWORD))
    assert iteration_count(sealed) > 1
    assert iteration_count(EC.private_bytes(Encoding.DER, PrivateFormat.PKCS8, NoEncryption())) == 0


@pytest.mark.parametrize(
    "data",
    [b"", b"\x30", b"\x30\x05\x02", b"\x30\x80\x02\x01\x03", b"\x04\x80\x00\x00", b"\x1f\x81\x01\x00", b"\x30\x00\x00"],
    ids=bytes.hex,
)
def test_malformed_ber(data: bytes) -> None:
    """Data that is cut off, without an end, of an unsupported form, or followed by octets is refused."""
    with pytest.raises(ValueError, match=r"element"):
        read_element(data)
    assert not is_pkcs12(data)
    assert first_element(b"\x04\x01a" + b"rest") == b"\x04\x01a"
