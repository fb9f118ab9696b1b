"""
ASN.1 structures of keys and certificates, for the decoder of the cryptography package.

Sources: RFC 5958 (OneAsymmetricKey), RFC 5280 (X.509), RFC 4055 (RSASSA-PSS), RFC 9881 (ML-DSA).
"""

from __future__ import annotations

from typing import Annotated

from cryptography.hazmat import asn1
from cryptography.x509 import ObjectIdentifier


@asn1.sequence
class AlgorithmHolder:
    algorithm: list[asn1.TLV]


#: rsaEncryption. RSASSA-PSS keys are loaded with this algorithm, because the library refuses some PSS parameters.
PLAIN_RSA = asn1.decode_der(AlgorithmHolder, bytes.fromhex("300f300d06092a864886f70d0101010500")).algorithm


@asn1.sequence
class OneAsymmetricKey:
    version: int
    algorithm: list[asn1.TLV]
    key: bytes
    attributes: Annotated[list[asn1.TLV] | None, asn1.Implicit(0)]
    public: Annotated[asn1.BitString | None, asn1.Implicit(1)]


@asn1.sequence
class EarlyRingKey:
    """The form of old versions of ring, with an explicit tag for the public key."""

    version: int
    algorithm: list[asn1.TLV]
    key: bytes
    public: Annotated[asn1.BitString, asn1.Explicit(1)]


@asn1.sequence
class SeedAndExpandedKey:
    """An ML-DSA seed and the key that it expands to."""

    seed: bytes
    expanded: bytes


@asn1.sequence
class SubjectPublicKeyInfo:
    algorithm: list[asn1.TLV]
    key: asn1.BitString


@asn1.sequence
class TBSCertificate:
    version: Annotated[int | None, asn1.Explicit(0)]
    serial: int
    signature: list[asn1.TLV]
    issuer: list[asn1.TLV]
    validity: list[asn1.TLV]
    subject: list[asn1.TLV]
    public: SubjectPublicKeyInfo
    issuer_id: Annotated[asn1.BitString | None, asn1.Implicit(1)]
    subject_id: Annotated[asn1.BitString | None, asn1.Implicit(2)]
    extensions: Annotated[list[asn1.TLV] | None, asn1.Explicit(3)]


@asn1.sequence
class Hash:
    name: ObjectIdentifier
    parameters: asn1.Null | None


@asn1.sequence
class Mask:
    name: ObjectIdentifier
    hash: Hash


@asn1.sequence
class PSSParameters:
    hash: Annotated[Hash | None, asn1.Explicit(0)]
    mask: Annotated[Mask | None, asn1.Explicit(1)]
    salt: Annotated[int | None, asn1.Explicit(2)]
    trailer: Annotated[int | None, asn1.Explicit(3)]
