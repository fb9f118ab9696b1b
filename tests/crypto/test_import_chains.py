"""A key with its certificate chain is a single key, in PEM and PKCS#12: the key of a CA never becomes a key of a set."""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, rsa
from cryptography.hazmat.primitives.serialization import (
    BestAvailableEncryption,
    Encoding,
    NoEncryption,
    PrivateFormat,
    PublicFormat,
    pkcs12,
)

from keyvault.core.key_objects import public_members
from keyvault.crypto.imports import FoundKey, read_keys
from keyvault.errors import UsageError
from tests.errors import fails

T = datetime(2026, 11, 23, tzinfo=UTC)
PASSWORD = b"correct horse"

_MAKE: dict[str, Callable[[], Any]] = {
    "RSA": lambda: rsa.generate_private_key(65537, 2048),
    "EC": lambda: ec.generate_private_key(ec.SECP256R1()),
    "OKP": ed25519.Ed25519PrivateKey.generate,
}


@dataclass(frozen=True)
class Holder:
    """A key with its certificate."""

    key: Any
    cert: x509.Certificate

    @property
    def pem(self) -> bytes:
        return self.cert.public_bytes(Encoding.PEM)

    @property
    def key_pem(self) -> bytes:
        return self.key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())

    @property
    def members(self) -> dict[str, str]:
        return public_members(self.key.public_key())


def issue(name: str, issuer: Holder | None = None, *, kind: str = "EC", ca: bool | None = None) -> Holder:
    """Return a new key with a certificate of *issuer*, or its own; *ca* None leaves basicConstraints out."""
    key = _MAKE[kind]()
    subject = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, name)])
    builder = (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(issuer.cert.subject if issuer else subject)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(T)
        .not_valid_after(T + timedelta(days=90))
    )
    if ca is not None:
        builder = builder.add_extension(x509.BasicConstraints(ca=ca, path_length=None), critical=True)
    signer = issuer.key if issuer else key
    hashed = None if isinstance(signer, ed25519.Ed25519PrivateKey) else hashes.SHA256()
    return Holder(key, builder.sign(signer, hashed))


@pytest.fixture(scope="module", params=["RSA", "EC", "OKP"])
def chain(request: pytest.FixtureRequest) -> tuple[Holder, Holder, Holder]:
    """A leaf, its issuer and the root, of one type of key."""
    root = issue("root", kind=request.param, ca=True)
    middle = issue("middle", root, kind=request.param, ca=True)
    return issue("leaf", middle, kind=request.param, ca=False), middle, root


def p12(own: Holder, *others: Holder) -> bytes:
    return pkcs12.serialize_key_and_certificates(
        b"mine", own.key, own.cert, [other.cert for other in others], BestAvailableEncryption(PASSWORD)
    )


def read(data: bytes) -> list[FoundKey]:
    return read_keys(data, lambda: PASSWORD)


def test_a_full_chain_is_its_leaf(chain: tuple[Holder, Holder, Holder]) -> None:
    """In whatever order the certificates stand."""
    leaf, middle, root = chain
    for order in ([leaf, middle, root], [root, middle, leaf], [leaf, middle], [leaf, root], [leaf]):
        (found,) = read(b"".join(one.pem for one in order))
        assert (found.members, found.private) == (leaf.members, False)


def test_a_key_with_its_chain_is_that_key(chain: tuple[Holder, Holder, Holder]) -> None:
    """Its certificates add nothing, before it or behind it, in PEM or in PKCS#12."""
    leaf, middle, root = chain
    for data in (
        leaf.key_pem + leaf.pem + middle.pem + root.pem,
        root.pem + middle.pem + leaf.pem + leaf.key_pem,
        leaf.key_pem + leaf.pem,
        p12(leaf, middle, root),
        p12(leaf),
    ):
        (found,) = read(data)
        assert (found.public, found.private, found.remarks) == (leaf.members, True, ())


def test_a_ca_by_its_signature_alone() -> None:
    """An old CA's certificate has no extensions; the certificate that it issued identifies it."""
    ca = issue("old root")
    leaf = issue("leaf", ca)

    (found,) = read(ca.pem + leaf.pem)

    assert found.members == leaf.members


def test_the_same_name_is_no_issuer() -> None:
    """Two self-signed certificates with the same name are two keys."""
    first, second = issue("signer"), issue("signer")

    assert [one.members for one in read(first.pem + second.pem)] == [first.members, second.members]


def test_unrelated_leaves() -> None:
    """They are several keys; the CA of one of them is not a key."""
    ca = issue("root", ca=True)
    leaves = [issue("a", ca, ca=False), issue("b"), issue("c", kind="RSA", ca=False)]

    found = read(b"".join(one.pem for one in (leaves[0], ca, *leaves[1:])))

    assert [one.members for one in found] == [one.members for one in leaves]


def test_only_ca_certificates() -> None:
    """They have no key for a set; the error names the CA, and the hint the command that extracts the key."""
    root = issue("root", ca=True)
    for data in (root.pem, issue("middle", root, ca=True).pem + root.pem, root.cert.public_bytes(Encoding.DER)):
        with fails("key-of-ca", UsageError) as caught:
            read(data)
        assert "(CN=" in caught.value.message
        assert "openssl x509 -noout -pubkey" in (caught.value.hint or "")


def test_the_key_of_a_certificate_that_calls_itself_a_ca() -> None:
    """`openssl req -x509` writes such a certificate: its private key is imported."""
    own = issue("signer", ca=True)

    for data in (own.key_pem + own.pem, p12(own)):
        (found,) = read(data)
        assert (found.public, found.private) == (own.members, True)


def test_the_certificate_of_a_partner() -> None:
    """It is in no key's chain: it is skipped, and a remark names it."""
    own, partner = issue("own"), issue("partner", kind="RSA")

    for data in (p12(own, partner), own.key_pem + own.pem + partner.pem):
        (found,) = read(data)
        assert found.public == own.members
        assert any("CN=partner" in remark for remark in found.remarks)


def test_public_keys_beside_a_private_one() -> None:
    """They are separate keys, as in the files of a kube-apiserver; a chain is not."""
    own, other = issue("own"), issue("other")
    public = other.key.public_key().public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo)

    found = read(own.key_pem + public)

    assert [(one.public, one.private) for one in found] == [(own.members, True), (other.members, False)]


def test_a_trust_store() -> None:
    """A PKCS#12 file without a key is like the same certificates in PEM."""
    root = issue("root", ca=True)
    leaf = issue("leaf", root, ca=False)
    data = pkcs12.serialize_java_truststore(
        [pkcs12.PKCS12Certificate(one.cert, one.cert.subject.rfc4514_string().encode()) for one in (root, leaf)],
        BestAvailableEncryption(PASSWORD),
    )

    (found,) = read(data)

    assert (found.members, found.private) == (leaf.members, False)


def test_private_key_of_a_ca_is_left_out(chain: tuple[Holder, Holder, Holder]) -> None:
    """In any order beside the key of a signer, with or without its certificate; a remark names the CA."""
    leaf, middle, root = chain
    signer = leaf.key_pem + leaf.pem
    for data in (
        root.key_pem + root.pem + middle.key_pem + middle.pem + signer,
        middle.key_pem + middle.pem + signer,
        signer + root.key_pem + root.pem,
        middle.key_pem + signer,
    ):
        (found,) = read(data)
        assert (found.public, found.private) == (leaf.members, True)
        assert "signs certificates and not tokens" in "".join(found.remarks)


def test_private_key_of_a_ca_alone_is_refused(chain: tuple[Holder, Holder, Holder]) -> None:
    """With the certificate that it issued, or as an intermediate's; a lone self-signed one may be a signer's."""
    leaf, middle, root = chain
    for data in (
        middle.key_pem + middle.pem,
        middle.key_pem + leaf.pem,
        root.key_pem + root.pem + middle.pem,
        p12(middle),
    ):
        with fails("key-of-ca", UsageError) as caught:
            read(data)
        assert re.search(r"the key (of the CA|that issued the certificate of) CN=", caught.value.message)
    (found,) = read(root.key_pem + root.pem)
    assert found.public == root.members
