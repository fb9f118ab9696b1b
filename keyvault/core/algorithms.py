"""
List every JOSE algorithm that sets support, in one table.

The table gives the key type, the curves and the use of each algorithm. Does not generate keys, sign, or judge the
strength of a key.

Sources: RFC 7518 sections 3.1 and 4.1, RFC 8037, RFC 8812 (ES256K), RFC 9864 (Ed25519, Ed448), RFC 9964 (ML-DSA).
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any, Literal, get_args

from keyvault.core.text import nearest, quoted
from keyvault.errors import ConfigError

Use = Literal["sig", "enc"]
KidForm = Literal["thumbprint", "spki"]
KID_FORMS: tuple[KidForm, ...] = get_args(KidForm)

#: Published JWK Sets list RSA first and OKP last: old verifiers stop at a key type that they do not know, and have
#: then read the keys that they can use.
KTY_ORDER = ("RSA", "EC", "OKP", "AKP", "oct")

RSA_BITS_DEFAULT = 2048
RSA_BITS_MIN = 2048
RSA_BITS_MAX = 4096


@dataclass(frozen=True, slots=True)
class Algorithm:
    """
    One JOSE ``alg`` value.

    Attributes:
        name: The value of ``alg``.
        kty: Its key type; ECDH-ES, listed as EC, also accepts OKP.
        use: The use of its keys: signatures or encryption.
        curves: The curves that it supports, the default first; empty for RSA and oct.
        octets: Length of an ``oct`` key in octets (a minimum for HMAC, exact for key wrap); 0 for other types.
    """

    name: str
    kty: str
    use: Use
    curves: tuple[str, ...] = ()
    octets: int = 0

    def accepts(self, jwk: Mapping[str, Any]) -> bool:
        """Return whether the algorithm supports the key type and the curve of *jwk*."""
        kty, crv = jwk.get("kty"), jwk.get("crv")
        if self.curves:
            return isinstance(crv, str) and crv in self.curves and CURVE_KTY[crv] == kty
        # The algorithm is a part of an AKP key.
        return kty == self.kty and (kty != "AKP" or jwk.get("alg") == self.name)


_NIST = ("P-256", "P-384", "P-521")
_AGREEMENT = (*_NIST, "X25519", "X448")

ALGORITHMS: dict[str, Algorithm] = {
    algorithm.name: algorithm
    for algorithm in (
        *(Algorithm(f"{family}{size}", "RSA", "sig") for family in ("RS", "PS") for size in (256, 384, 512)),
        Algorithm("ES256", "EC", "sig", ("P-256",)),
        Algorithm("ES384", "EC", "sig", ("P-384",)),
        Algorithm("ES512", "EC", "sig", ("P-521",)),
        Algorithm("ES256K", "EC", "sig", ("secp256k1",)),
        Algorithm("EdDSA", "OKP", "sig", ("Ed25519", "Ed448")),
        Algorithm("Ed25519", "OKP", "sig", ("Ed25519",)),
        Algorithm("Ed448", "OKP", "sig", ("Ed448",)),
        *(Algorithm(f"ML-DSA-{size}", "AKP", "sig") for size in (44, 65, 87)),
        Algorithm("RSA-OAEP", "RSA", "enc"),
        Algorithm("RSA-OAEP-256", "RSA", "enc"),
        Algorithm("ECDH-ES", "EC", "enc", _AGREEMENT),
        Algorithm("ECDH-ES+A128KW", "EC", "enc", _AGREEMENT),
        Algorithm("ECDH-ES+A192KW", "EC", "enc", _AGREEMENT),
        Algorithm("ECDH-ES+A256KW", "EC", "enc", _AGREEMENT),
        *(Algorithm(f"HS{size}", "oct", "sig", octets=size // 8) for size in (256, 384, 512)),
        *(Algorithm(f"A{size}KW", "oct", "enc", octets=size // 8) for size in (128, 192, 256)),
    )
}

#: Key type of each curve. Only ECDH-ES supports curves of two key types.
CURVE_KTY = {
    **dict.fromkeys((*_NIST, "secp256k1"), "EC"),
    **dict.fromkeys(("Ed25519", "Ed448", "X25519", "X448"), "OKP"),
}


@dataclass(frozen=True, slots=True)
class KeySpec:
    """
    The parameters from which a key is generated.

    Attributes:
        alg: A name from `ALGORITHMS`.
        crv: The curve, for EC and OKP; None for other types.
        bits: Length of the modulus for RSA, of the secret for oct; None for other types.
        kid_form: How the kid is derived: ``thumbprint`` (RFC 7638, with SHA-256), or ``spki``, the SHA-256 of the
            public key in DER, as in kube-apiserver and Keycloak.
    """

    alg: str
    crv: str | None = None
    bits: int | None = None
    kid_form: KidForm = "thumbprint"

    @property
    def kty(self) -> str:
        return CURVE_KTY[self.crv] if self.crv else ALGORITHMS[self.alg].kty

    @property
    def use(self) -> Use:
        return ALGORITHMS[self.alg].use

    def __str__(self) -> str:
        if self.kty == "RSA":
            return f"{self.alg} {self.bits}"
        return f"{self.alg} {self.crv}" if len(ALGORITHMS[self.alg].curves) > 1 else self.alg


def key_spec(alg: str, *, crv: str | None = None, bits: int | None = None, kid_form: str | None = None) -> KeySpec:
    """
    Return the checked specification of a key.

    Args:
        alg: A JOSE algorithm name.
        crv: A curve, if the algorithm supports more than one; default is the algorithm's first.
        bits: Modulus length for RSA (2048 to 4096, a multiple of 8), secret length for HMAC.
        kid_form: ``thumbprint``, the default, or ``spki``.

    Raises:
        ConfigError: If the algorithm is unknown, or does not support the curve, the length or the form of the kid.
    """
    spec = _spec(alg, crv, bits)
    form = next((form for form in KID_FORMS if form == (kid_form or "thumbprint")), None)
    if form is None:
        raise ConfigError(
            f"unknown form of kid {quoted(kid_form)}", code="kid-form-unknown", hint=f"one of {', '.join(KID_FORMS)}"
        )
    if form == "spki" and spec.kty == "oct":
        raise ConfigError(
            f"a kid of the form spki needs a public key, and {alg} keys are symmetric", code="kid-form-unsupported"
        )
    return replace(spec, kid_form=form)


def _spec(alg: str, crv: str | None, bits: int | None) -> KeySpec:
    algorithm = ALGORITHMS.get(alg)
    if algorithm is None:
        raise ConfigError(
            f"unknown algorithm {quoted(alg)}",
            code="alg-unknown",
            hint=nearest(alg, ALGORITHMS) or "one of " + ", ".join(ALGORITHMS),
        )
    if algorithm.curves:
        if bits is not None:
            raise ConfigError(
                f"{alg} has a curve, not a length: bits = {bits} is not supported",
                code="bits-unsupported",
                hint="remove bits",
            )
        chosen = crv or algorithm.curves[0]
        if chosen not in algorithm.curves:
            raise ConfigError(
                f"{alg} does not support curve {quoted(crv)}",
                code="crv-mismatch",
                hint="one of " + ", ".join(algorithm.curves),
            )
        return KeySpec(alg, crv=chosen)
    if crv is not None:
        raise ConfigError(
            f"{alg} has no curve: crv = {quoted(crv)} is not supported", code="crv-unsupported", hint="remove crv"
        )
    if algorithm.kty == "RSA":
        length = RSA_BITS_DEFAULT if bits is None else bits
        if not RSA_BITS_MIN <= length <= RSA_BITS_MAX or length % 8:
            raise ConfigError(
                f"RSA keys of {length} bits are not supported",
                code="rsa-modulus-size",
                hint=f"bits must be {RSA_BITS_MIN} to {RSA_BITS_MAX}, a multiple of 8",
            )
        return KeySpec(alg, bits=length)
    if algorithm.kty == "AKP":
        if bits is not None:
            raise ConfigError(
                f"{alg} keys have a fixed length: bits = {bits} is not supported",
                code="bits-unsupported",
                hint="remove bits",
            )
        return KeySpec(alg)
    length = algorithm.octets * 8 if bits is None else bits
    exact = algorithm.use == "enc"
    if length % 8 or length < algorithm.octets * 8 or length > 4096 or (exact and length != algorithm.octets * 8):
        raise ConfigError(
            f"{alg} does not support a secret of {length} bits",
            code="secret-size",
            hint=f"bits must be {algorithm.octets * 8}" + ("" if exact else " to 4096, a multiple of 8"),
        )
    return KeySpec(alg, bits=length)
