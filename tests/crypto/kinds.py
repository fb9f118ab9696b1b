"""One private key of every kind outside a vault: each type, each curve, each size of ML-DSA."""

from __future__ import annotations

import functools
from datetime import UTC, datetime

from keyvault.core.key_parameters import choose_parameters
from keyvault.crypto.exports import CertificateOptions
from keyvault.crypto.generate import PrivateJWK
from keyvault.operations.generate_keys import generate_key

#: The instant at which they are generated, and from which their certificates are valid.
NOW = datetime(2026, 11, 23, 17, tzinfo=UTC)
CERTIFICATE = CertificateOptions(NOW)
PASSWORD = b"correct horse"

#: By name: type, curve, algorithm, as options of `key generate`.
KINDS: dict[str, dict[str, str]] = {
    "RSA": {"kty": "RSA"},
    **{crv: {"kty": "EC", "crv": crv} for crv in ("P-256", "P-384", "P-521", "secp256k1")},
    **{crv: {"kty": "OKP", "crv": crv} for crv in ("Ed25519", "Ed448", "X25519", "X448")},
    "oct": {"kty": "oct"},
    **{alg: {"alg": alg} for alg in ("ML-DSA-44", "ML-DSA-65", "ML-DSA-87")},
}
AGREEMENT = ("X25519", "X448")
ML_DSA = ("ML-DSA-44", "ML-DSA-65", "ML-DSA-87")


@functools.cache
def _generated(kind: str) -> PrivateJWK:
    return generate_key(choose_parameters(**KINDS[kind]), now=NOW)


def key(kind: str) -> PrivateJWK:
    """Return the key of *kind*, always the same key."""
    return dict(_generated(kind))


def members(jwk: PrivateJWK) -> PrivateJWK:
    """Return *jwk* without its labels, as `FoundKey.members` has it; ``alg`` is a member of AKP keys."""
    labels = ("kid", "use") if jwk["kty"] == "AKP" else ("kid", "use", "alg")
    return {name: value for name, value in jwk.items() if name not in labels}
