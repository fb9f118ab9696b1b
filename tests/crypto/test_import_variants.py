"""
Random combinations of containers, key types, encodings, labels and passwords.

Each document is valid. The result must be the right key, or the error of a missing or wrong password: OpenSSL, through
the cryptography package, has read each container before, so none may be reported as damaged.
"""

from __future__ import annotations

import base64
import json
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import pytest
import yaml
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.serialization import (
    BestAvailableEncryption,
    Encoding,
    NoEncryption,
    PrivateFormat,
    PublicFormat,
    load_der_private_key,
    load_pem_private_key,
    pkcs12,
)
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from keyvault.core.key_objects import spki_kid
from keyvault.crypto.exports import self_signed
from keyvault.crypto.imports import read_keys
from keyvault.crypto.pairs import private_key
from tests.crypto.kinds import AGREEMENT, CERTIFICATE, KINDS, ML_DSA, key, members
from tests.crypto.server_files import hydra_cli, keycloak_provider, keycloak_realm
from tests.crypto.test_exchange_formats import expanded
from tests.crypto.test_import_chains import issue
from tests.crypto.test_import_jwk import SPELLINGS
from tests.crypto.test_import_pkcs8 import armored, public_bits, version_2
from tests.crypto.test_import_texts import secret
from tests.errors import fails

PASSWORD = b"correct horse"
PAIRS = tuple(kind for kind in KINDS if kind != "oct")
SIGNING = tuple(kind for kind in PAIRS if kind not in AGREEMENT)
CLASSIC = tuple(kind for kind in SIGNING if kind not in ML_DSA)


@dataclass(frozen=True)
class Document:
    """
    A valid document of one key.

    Attributes:
        data: Its octets, or its text.
        binary: Whether it is DER, so that it can be put into PEM.
        locked: Whether it needs the password.
        private: Whether the private half is there.
        kid: The kid that it says, or None.
        labels: The labels that PEM gives to it, the right one first.
    """

    data: bytes
    binary: bool = False
    locked: bool = False
    private: bool = True
    kid: str | None = None
    labels: tuple[str, ...] = (
        "PRIVATE KEY",
        "RSA PRIVATE KEY",
        "EC PRIVATE KEY",
        "CERTIFICATE",
        "PUBLIC KEY",
        "ANY PRIVATE KEY",
    )


def _bytes(kind: str, form: PrivateFormat, encoding: Encoding = Encoding.DER, locked: Any = None) -> bytes:
    return private_key(key(kind)).private_bytes(encoding, form, locked or NoEncryption())


def _pkcs8(kind: str) -> Document:
    data = _bytes(kind, PrivateFormat.PKCS8)
    load_der_private_key(data, None)
    return Document(data, binary=True)


def _sealed_pkcs8(kind: str) -> Document:
    data = _bytes(kind, PrivateFormat.PKCS8, locked=BestAvailableEncryption(PASSWORD))
    load_der_private_key(data, PASSWORD)
    return Document(data, binary=True, locked=True, labels=("ENCRYPTED PRIVATE KEY", "PRIVATE KEY", "RSA PRIVATE KEY"))


def _traditional(kind: str) -> Document:
    data = _bytes(kind, PrivateFormat.TraditionalOpenSSL)
    load_der_private_key(data, None)
    return Document(data, binary=True, labels=("RSA PRIVATE KEY", "EC PRIVATE KEY", "PRIVATE KEY", "PUBLIC KEY"))


def _sealed_traditional(kind: str) -> Document:
    data = _bytes(kind, PrivateFormat.TraditionalOpenSSL, Encoding.PEM, BestAvailableEncryption(PASSWORD))
    load_pem_private_key(data, PASSWORD)
    return Document(data, locked=True)


def _pkcs12(kind: str) -> Document:
    own = private_key(key(kind))
    builder = PrivateFormat.PKCS12.encryption_builder().kdf_rounds(100).hmac_hash(SHA256())
    locked = builder.key_cert_algorithm(pkcs12.PBES.PBESv2SHA256AndAES256CBC).build(PASSWORD)
    ca = issue("partner").cert
    data = pkcs12.serialize_key_and_certificates(
        key(kind)["kid"].encode(),
        own,
        self_signed(key(kind), CERTIFICATE),
        [ca],
        locked,  # type: ignore[arg-type]  # any key that PKCS#12 holds
    )
    return Document(data, binary=True, locked=True, kid=key(kind)["kid"], labels=("PKCS12", "PRIVATE KEY"))


def _open_pkcs12(kind: str) -> Document:
    cert = self_signed(key(kind), CERTIFICATE)
    data = pkcs12.serialize_key_and_certificates(None, private_key(key(kind)), cert, None, NoEncryption())  # type: ignore[arg-type]  # any key that PKCS#12 holds
    return Document(data, binary=True, labels=("PKCS12", "PRIVATE KEY"))


def _spki(kind: str) -> Document:
    public = private_key(key(kind)).public_key()
    data = public.public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)
    return Document(
        data, binary=True, private=False, labels=("PUBLIC KEY", "RSA PUBLIC KEY", "CERTIFICATE", "PRIVATE KEY")
    )


def _certificate(kind: str) -> Document:
    data = self_signed(key(kind), CERTIFICATE).public_bytes(Encoding.DER)
    return Document(data, binary=True, private=False, labels=("CERTIFICATE", "X509 CERTIFICATE", "TRUSTED CERTIFICATE"))


def _with_certificate(kind: str) -> Document:
    cert = self_signed(key(kind), CERTIFICATE).public_bytes(Encoding.PEM)
    return Document(cert + issue("ca", ca=True).pem + armored(_bytes(kind, PrivateFormat.PKCS8)))


def _realm(kind: str) -> Document:
    provider = {"RSA": "rsa-generated", "Ed25519": "eddsa-generated", "Ed448": "eddsa-generated"}.get(kind)
    provider = provider or ("mldsa-generated" if kind in ML_DSA else "ecdsa-generated")
    return Document(keycloak_realm([keycloak_provider(1, provider, key(kind))]), kid=spki_kid(members(key(kind))))


def _account(kind: str) -> Document:
    pem = armored(_bytes(kind, PrivateFormat.PKCS8)).decode()
    text = json.dumps({"type": "service_account", "private_key_id": "0f1e", "private_key": pem})
    return Document(text.encode(), kid="0f1e")


#: Containers, with the kinds of keys that they hold.
CONTAINERS: dict[str, tuple[tuple[str, ...], Callable[[str], Document]]] = {
    "PKCS#8": (PAIRS, _pkcs8),
    "PKCS#8, encrypted": (PAIRS, _sealed_pkcs8),
    "PKCS#8, version 2": (PAIRS, lambda kind: Document(version_2(kind, public_bits(kind)), binary=True)),
    "PKCS#8 of early ring": (
        PAIRS,
        lambda kind: Document(version_2(kind, public_bits(kind), explicit=True), binary=True),
    ),
    "PKCS#8, expanded": (ML_DSA, lambda kind: Document(expanded(kind), binary=True)),
    "PKCS#1 or SEC1": (("RSA", "P-256", "P-384", "P-521", "secp256k1"), _traditional),
    "PKCS#1 or SEC1, encrypted": (("RSA", "P-256", "P-384", "P-521", "secp256k1"), _sealed_traditional),
    "OpenSSH": (
        ("RSA", "P-256", "P-384", "P-521", "Ed25519"),
        lambda kind: Document(_bytes(kind, PrivateFormat.OpenSSH, Encoding.PEM)),
    ),
    "PKCS#12": (CLASSIC, _pkcs12),
    "PKCS#12, no password": (CLASSIC, _open_pkcs12),
    "SubjectPublicKeyInfo": (PAIRS, _spki),
    "certificate": (SIGNING, _certificate),
    "key and chain": (SIGNING, _with_certificate),
    "realm": (SIGNING, _realm),
    "service account": (("RSA",), _account),
    "JWK Set": (tuple(KINDS), lambda kind: Document(hydra_cli([key(kind)], "set"), kid=key(kind)["kid"])),
}

CASES = [(name, kind) for name, (kinds, _) in CONTAINERS.items() for kind in kinds]


def _text(data: bytes) -> str:
    return data.decode()


def _b64(data: bytes) -> str:
    return base64.b64encode(data).decode()


#: Encodings around a text.
AROUND: dict[str, Callable[[bytes], bytes | str]] = {
    "as it is": bytes,
    "Windows": lambda data: data.replace(b"\n", b"\r\n"),
    "UTF-16": lambda data: ("\ufeff" + _text(data)).encode("utf-16-le"),
    "a mark": lambda data: b"\xef\xbb\xbf" + data,
    "Base64": _b64,
    "Base64 in lines": base64.encodebytes,
    "a JSON string": lambda data: json.dumps(_text(data)),
    "Secret": lambda data: json.dumps(secret(data={"key": _b64(data), "user": _b64(b"jo")})),
    "Secret, text": lambda data: json.dumps(secret(stringData={"key": _text(data)})),
    "Secret, YAML": lambda data: yaml.safe_dump(secret(data={"key": _b64(data)})),
    "Secret, YAML text": lambda data: yaml.safe_dump(secret(stringData={"key": _text(data)}), width=10_000),
    "dotenv": lambda data: f"PORT=80\nKEY={_b64(data)}\n",
}
#: Those that hold octets, too.
AROUND_BINARY = ("as it is", "Base64", "Base64 in lines", "Secret", "Secret, YAML", "dotenv")


def check(container: str, kind: str, around: str, label: int, secret_given: bytes | None, spelling: str | None) -> None:
    """Read one document, and compare."""
    document = CONTAINERS[container][1](kind)
    data: bytes | str = document.data
    if document.binary and (label or around not in AROUND_BINARY):
        data = armored(document.data, document.labels[label % len(document.labels)])
    if container == "JWK Set" and spelling:
        jwk = json.loads(document.data)
        kept = ("kty", "crv", "alg", "use", "kid", "set")
        spell = SPELLINGS[spelling]
        jwk = {name: value if name in kept else spell(value) for name, value in jwk.items()}
        data = json.dumps(jwk).encode()
    data = AROUND[around](data if isinstance(data, bytes) else data.encode())
    given_data = data if isinstance(data, bytes) else data.encode()
    if document.locked and secret_given != PASSWORD:
        with fails("password-missing" if secret_given is None else "password-wrong") as caught:
            read_keys(given_data, lambda: secret_given)
        assert "\n" not in caught.value.message
        return
    (found,) = read_keys(given_data, lambda: secret_given)
    wanted = members(key(kind))
    assert found.private == document.private
    assert found.members == (wanted if document.private else {name: wanted[name] for name in found.members})
    assert found.kid == document.kid


VARIANTS = given(
    case=st.sampled_from(CASES),
    around=st.sampled_from(sorted(AROUND)),
    label=st.integers(0, 6),
    secret_given=st.sampled_from([PASSWORD, PASSWORD, b"another", None]),
    spelling=st.sampled_from([None, "padded", "standard", "wrapped"]),
)
_QUIET = [HealthCheck.too_slow]


@settings(max_examples=150, deadline=None, suppress_health_check=_QUIET)
@VARIANTS
def test_variants(case: tuple[str, str], **rest: Any) -> None:
    """A random sample, another one in each run."""
    check(*case, **rest)


@pytest.mark.slow
@settings(max_examples=2_000, deadline=None, suppress_health_check=_QUIET)
@VARIANTS
def test_many_variants(case: tuple[str, str], **rest: Any) -> None:
    """Two thousand."""
    check(*case, **rest)


@pytest.mark.parametrize(("container", "kind"), CASES)
def test_each_container_as_it_is(container: str, kind: str) -> None:
    """Every container and key type, without an encoding around it."""
    check(container, kind, "as it is", 0, PASSWORD, None)
