"""
Encode keys in the formats of other programs, with private halves and certificates.

Does not write files.

Sources: RFC 7517 (JWK, and section 4.7 for x5c), RFC 7468 (PEM), RFC 5958 (PKCS#8), RFC 7292 (PKCS#12), RFC 5280
(X.509).
"""

from __future__ import annotations

import base64
import json
import re
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

from cryptography import x509
from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec, rsa, x448, x25519
from cryptography.hazmat.primitives.serialization import (
    BestAvailableEncryption,
    Encoding,
    KeySerializationEncryption,
    NoEncryption,
    PrivateFormat,
    pkcs12,
)

from keyvault.core.jwk import b64u_decode, pretty
from keyvault.core.text import quoted
from keyvault.crypto.generate import PrivateJWK
from keyvault.crypto.pairs import PrivateKey, private_key
from keyvault.errors import UsageError

#: Formats of exported keys, all but ``x509`` with private halves; those in `BINARY` are not text.
FORMATS = ("jwk", "jwks", "pem", "der", "p12", "x509", "dotenv", "kubernetes-secret")
BINARY = frozenset({"der", "p12"})
DAYS_MAX = 36_525


@dataclass(frozen=True, slots=True)
class CertificateOptions:
    """
    The content of a self-signed certificate.

    Attributes:
        now: The start of its validity.
        subject: Its subject, such as ``CN=issuer.example.com,O=Example``; None takes the kid.
        days: Its validity in days.
    """

    now: datetime
    subject: str | None = None
    days: int = 365


def encode_keys(
    keys: Sequence[PrivateJWK],
    form: str,
    *,
    name: str,
    certificate: CertificateOptions,
    password: bytes | None = None,
    x5c: bool = False,
) -> bytes:
    """
    Return private keys in *form*.

    Args:
        keys: At least one key; exactly one if *form* holds a single key.
        form: One of `FORMATS`.
        name: The name of the set or key, for variables, Kubernetes objects and errors.
        certificate: The content of certificates, for formats that have them.
        password: Encrypts ``pem``, ``der`` and ``p12``.
        x5c: Whether JWKs carry a self-signed certificate.

    Raises:
        UsageError: If *form* holds a single key and there are several, does not support a key or a password, or needs
            a password and there is none.
        JWKError: If a key is malformed.
    """
    if form not in ("jwks", "pem", "x509", "dotenv") and len(keys) != 1:
        raise UsageError(
            f"{name} has {len(keys)} keys, but --format {form} holds a single key",
            code="format-single-key",
            hint="add --active, or name a kid",
        )
    if password is not None and form not in ("pem", "der", "p12"):
        raise UsageError(
            f"--format {form} does not support a password", code="option-conflict", hint="--format pem, der or p12"
        )
    match form:
        case "jwk":
            return pretty(_jwk(keys[0], certificate, x5c=x5c))
        case "jwks":
            return pretty({"keys": [_jwk(key, certificate, x5c=x5c) for key in keys]})
        case "pem":
            return b"".join(_pkcs8(key, Encoding.PEM, password) for key in keys)
        case "der":
            return _pkcs8(keys[0], Encoding.DER, password)
        case "p12":
            return _pkcs12(keys[0], certificate, password)
        case "x509":
            return b"".join(self_signed(key, certificate).public_bytes(Encoding.PEM) for key in keys)
        case "dotenv":
            return _dotenvs(name, keys)
        case "kubernetes-secret":
            return _kubernetes_secret(name, keys[0])
    raise UsageError(
        f"unknown value {quoted(form, 40)} of --format", code="option-invalid", hint="one of " + ", ".join(FORMATS)
    )


def _jwk(key: PrivateJWK, certificate: CertificateOptions, *, x5c: bool) -> dict[str, object]:
    if not x5c:
        return dict(key)
    der = self_signed(key, certificate).public_bytes(Encoding.DER)
    return {**key, "x5c": [base64.b64encode(der).decode()]}


def _load(key: PrivateJWK) -> PrivateKey:
    if key["kty"] == "oct":
        raise UsageError(
            "this format does not support symmetric keys",
            code="format-key-unsupported",
            hint="--format jwk, jwks, dotenv or kubernetes-secret",
        )
    return private_key(key)


def _unsupported_password() -> UsageError:
    return UsageError(
        "this format does not support a password of that length or with those characters", code="password-unsupported"
    )


def _pkcs8(key: PrivateJWK, encoding: Encoding, password: bytes | None) -> bytes:
    encryption: KeySerializationEncryption = BestAvailableEncryption(password) if password else NoEncryption()
    try:
        return _load(key).private_bytes(encoding, PrivateFormat.PKCS8, encryption)
    except ValueError:
        raise _unsupported_password() from None


def _pkcs12(key: PrivateJWK, certificate: CertificateOptions, password: bytes | None) -> bytes:
    if not password:
        raise UsageError("PKCS#12 needs a password", code="password-missing", hint="--password-file FILE")
    loaded: Any = _load(key)
    if isinstance(loaded, x25519.X25519PrivateKey | x448.X448PrivateKey):
        raise UsageError(f"PKCS#12 does not support keys on {key['crv']}", code="format-key-unsupported")
    # Java does not read a private key without a certificate.
    cert = self_signed(key, certificate)
    try:
        return pkcs12.serialize_key_and_certificates(
            key.get("kid", "key").encode(), loaded, cert, None, BestAvailableEncryption(password)
        )
    except ValueError:
        raise _unsupported_password() from None
    except (TypeError, UnsupportedAlgorithm):
        raise UsageError(f"PKCS#12 does not support keys of type {key['kty']}", code="format-key-unsupported") from None


# --- certificates ---------------------------------------------------------------------------------------

_HASHES: dict[str, type[hashes.SHA256] | type[hashes.SHA384] | type[hashes.SHA512]] = {
    "P-384": hashes.SHA384,
    "P-521": hashes.SHA512,
}


def self_signed(key: PrivateJWK, certificate: CertificateOptions) -> x509.Certificate:
    """
    Return a self-signed certificate of *key*.

    Raises:
        UsageError: If the key cannot sign, or the subject or the days are invalid.
    """
    loaded = _load(key)
    if isinstance(loaded, x25519.X25519PrivateKey | x448.X448PrivateKey):
        raise UsageError(
            f"a key on {key['crv']} cannot sign a certificate: it is for key agreement", code="format-key-unsupported"
        )
    if not 1 <= certificate.days <= DAYS_MAX:
        raise UsageError(f"--days must be 1 to {DAYS_MAX}, not {certificate.days}", code="option-invalid")
    name = _subject(certificate.subject, key.get("kid", "key"))
    signs = key.get("use", "sig") == "sig"
    agrees = not signs and isinstance(loaded, ec.EllipticCurvePrivateKey)
    usage = x509.KeyUsage(
        digital_signature=signs, content_commitment=False, key_encipherment=not signs and not agrees,
        data_encipherment=False, key_agreement=agrees, key_cert_sign=False, crl_sign=False, encipher_only=False,
        decipher_only=False,
    )  # fmt: skip
    public = loaded.public_key()
    builder = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(public)
        .serial_number(x509.random_serial_number())
        .not_valid_before(certificate.now)
        .not_valid_after(certificate.now + timedelta(days=certificate.days))
        .add_extension(x509.BasicConstraints(ca=False, path_length=None), critical=True)
        .add_extension(usage, critical=True)
        .add_extension(x509.SubjectKeyIdentifier.from_public_key(public), critical=False)
    )
    hashed = isinstance(loaded, rsa.RSAPrivateKey | ec.EllipticCurvePrivateKey)
    algorithm = _HASHES.get(key.get("crv", ""), hashes.SHA256)() if hashed else None
    try:
        return builder.sign(loaded, algorithm)
    except (TypeError, ValueError, UnsupportedAlgorithm):
        raise UsageError(
            f"certificates do not support keys of type {key['kty']}", code="format-key-unsupported"
        ) from None


def _subject(text: str | None, kid: str) -> x509.Name:
    if text is None:
        return x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, kid[:64])])
    try:
        return x509.Name.from_rfc4514_string(text)
    except ValueError:
        raise UsageError(
            f"--subject {quoted(text)} is not a distinguished name",
            code="option-invalid",
            hint='--subject "CN=issuer,O=Example"',
        ) from None


# --- dotenv and Kubernetes ------------------------------------------------------------------------------


def _dotenvs(name: str, keys: Sequence[PrivateJWK]) -> bytes:
    texts = {_variable(name if len(keys) == 1 else f"{name}_{key['kid']}"): key for key in keys}
    if len(texts) < len(keys):
        raise UsageError(
            "two kids give the same variable name", code="variable-name-ambiguous", hint="add --active, or name a kid"
        )
    lines = []
    for prefix, key in texts.items():
        members = {"KID": key["kid"], "ALG": key.get("alg"), "JWK": json.dumps(key, separators=(",", ":"))}
        lines += [f"{prefix}_{member}={_quoted(value)}" for member, value in members.items() if value is not None]
    return ("\n".join(lines) + "\n").encode()


def _quoted(value: str) -> str:
    """Return *value* in quotes for shells and dotenv readers; a kid may contain an apostrophe."""
    if "'" not in value:
        return f"'{value}'"
    return '"' + re.sub(r'([\\"$`])', r"\\\1", value) + '"'


def _variable(name: str) -> str:
    prefix = re.sub(r"[^A-Z0-9]+", "_", name.upper()).strip("_")
    return prefix if prefix and not prefix[0].isdigit() else f"KEY_{prefix}"


def _kubernetes_secret(name: str, key: PrivateJWK) -> bytes:
    data = {"kid": key["kid"].encode(), "jwk.json": pretty(key)}
    if key["kty"] == "oct":
        data["secret"] = b64u_decode(key["k"], what="member 'k'")
    else:
        data["key.pem"] = _pkcs8(key, Encoding.PEM, None)
    lines = [
        "apiVersion: v1",
        "kind: Secret",
        "metadata:",
        f"  name: {re.sub(r'[^a-z0-9.-]+', '-', name.lower()).strip('-.') or 'keyvault'}",
        "type: Opaque",
        "data:",
        *(f"  {member}: {base64.b64encode(value).decode()}" for member, value in data.items()),
    ]
    return ("\n".join(lines) + "\n").encode()
