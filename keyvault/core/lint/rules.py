"""
The table of lint's rules: the level of each, and the verifiers that it hurts.

The libraries that a rule hurts are measured by running them on breaking documents: see `measured`. Clouds and other
programs are listed here by their documentation.

Levels:

* error: a current verifier rejects the whole document, most verifiers reject a key, or a key is not safe;
* warning: some verifier rejects a key, a few reject the document, or a new key arrives late;
* note: nothing fails unless a verifier that the finding names reads the document: ``--for`` then makes it a warning.

Source: docs/lint.md explains every code.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from keyvault.core.lint.measured import HURT, HURT_BY_SOME_FORMS
from keyvault.core.text import printable

Level = Literal["error", "warning", "note"]

LEVELS: tuple[Level, ...] = ("error", "warning", "note")

#: The measured libraries: their names in findings, by short name. Most short names are values of ``--for``.
LIBRARIES = {
    "pyjwt": "PyJWT 2.15",
    "jose": "jose 6",
    "jwks-rsa": "jwks-rsa 4",
    "go-oidc": "go-oidc 3.21",
    "go-jose": "go-jose 4.1",
    "jwx": "jwx 3.3",
    "keyfunc": "keyfunc 3.9",
    "joserfc": "joserfc 1.8",
    "authlib": "Authlib 1.9",
    "jwcrypto": "jwcrypto 1.6",
    "nimbus": "Nimbus 10.10",
    "jsonwebtoken": "jsonwebtoken 11 (Rust)",
    # kube-apiserver reads tokens with go-oidc 2, and go-jose 2 below it.
    "kubernetes": "Kubernetes (go-oidc 2)",
    "cap": "hashicorp/cap 0.16 (OpenBao)",
    "go-jwt-middleware": "go-jwt-middleware 2.3",
    "oauth4webapi": "oauth4webapi 3 (openid-client)",
    "jwskate": "jwskate 0.12",
}
#: It fails on sets of several key types: it is measured with sets of a single type only.
PYTHON_JOSE = "python-jose 3.5"
# Tested by hand: no automatic test runs these.
SPRING = "Spring Security 6.5 and 7.1 (by issuer)"
RUST_OIDC = "openidconnect 4.1 (Rust)"
BISCUIT = "biscuit 0.8 (Rust)"
ENVOY = "Envoy 1.39"
AWS_JWT_VERIFY = "aws-jwt-verify 5"
AWS_IAM = "AWS IAM"
AWS_STS = "AWS STS"
GCP = "GCP"
ENTRA = "Entra"
CLOUDFRONT = "CloudFront"
BROWSERS = "verifiers in browsers"
KUBERNETES = LIBRARIES["kubernetes"]
JWX = LIBRARIES["jwx"]

#: Every measured library.
ALL = tuple(LIBRARIES.values())
#: Libraries that fetch JWK Sets themselves.
CLIENTS = tuple(
    label
    for name, label in LIBRARIES.items()
    if name not in ("go-jose", "joserfc", "authlib", "jwcrypto", "jsonwebtoken", "jwskate")
)
#: Verifiers that read discovery documents; problems of these hurt no other.
DISCOVERERS = (LIBRARIES["go-oidc"], KUBERNETES, SPRING, RUST_OIDC, AWS_IAM, AWS_STS, GCP, ENTRA, CLOUDFRONT, BROWSERS)


@dataclass(frozen=True, slots=True)
class Rule:
    """
    A rule.

    Attributes:
        level: Its severity.
        hurts: Verifiers and clouds, with their versions, that fail on every form of it.
        hurts_in_some_forms: Verifiers that fail on some forms of it only.
    """

    level: Level
    hurts: tuple[str, ...] = ()
    hurts_in_some_forms: tuple[str, ...] = ()


#: The level of each rule, and the clouds or programs that it hurts besides the measured libraries.
_TABLE: dict[str, tuple[Level, *tuple[str, ...]]] = {
    # --- the address and the response
    "not-https": ("error", KUBERNETES, AWS_IAM, GCP, ENTRA),
    "url-port": ("note", AWS_IAM),
    "url-query": ("note", AWS_IAM),
    "status": ("error",),
    "status-not-200": ("error",),
    "redirect": ("error", RUST_OIDC, ENVOY, AWS_JWT_VERIFY),
    "redirect-not-followed": ("error", RUST_OIDC, ENVOY, AWS_JWT_VERIFY),
    "compressed": ("error",),
    "cache-forbidden": ("warning", AWS_STS),
    "cache-unsaid": ("warning", CLOUDFRONT),
    "cache-short": ("note",),
    "cache-long": ("warning", JWX, KUBERNETES, CLOUDFRONT),
    "content-type": ("warning", RUST_OIDC),
    "content-type-octets": ("warning", RUST_OIDC),
    "no-content-type": ("note",),
    "no-cors": ("note", BROWSERS),
    # --- the bytes
    "too-large": ("error",),
    "over-50-kib": ("error",),
    "over-32-kib": ("note",),
    "byte-order-mark": ("error",),
    "utf-16": ("error",),
    "not-utf-8": ("error",),
    "not-json": ("error",),
    "not-a-number": ("error",),
    "duplicate-member": ("error",),
    "duplicate-top-member": ("error",),
    # --- the set
    "not-object": ("error",),
    "no-keys": ("error",),
    "empty-set": ("error",),
    "key-not-object": ("error",),
    "over-8-keys": ("note", GCP),
    "over-100-keys": ("note", AWS_IAM),
    "over-1000-keys": ("error",),
    # --- kinds of keys
    "private-key": ("error",),
    "null-private-member": ("warning",),
    "empty-private-member": ("warning",),
    "empty-oth": ("warning",),
    "symmetric-key": ("error",),
    "symmetric-key-without-k": ("error",),
    "missing-kty": ("error",),
    "unknown-kty": ("error",),
    "unknown-ec-curve": ("error",),
    "unknown-okp-curve": ("error",),
    "secp256k1": ("error",),
    "ed448": ("error",),
    "x25519": ("error",),
    "uncommon-keys": ("note",),
    "eddsa": ("note", BISCUIT),
    "rfc-9864-alg": ("warning", BISCUIT),
    # --- the members of a key
    "kid-not-text": ("error",),
    "member-not-text": ("error",),
    "null-member": ("error",),
    "missing-kid": ("warning", AWS_STS, GCP),
    "null-kid": ("error", AWS_STS, GCP),
    "empty-kid": ("warning",),
    "duplicate-kid": ("error",),
    "duplicate-kid-across-types": ("error",),
    "repeated-key": ("warning",),
    "kid-with-two-algs": ("warning",),
    "same-key-twice": ("warning",),
    "missing-alg": ("warning",),
    "unknown-alg": ("error",),
    "hmac-alg": ("error",),
    "alg-mismatch": ("warning",),
    "missing-use": ("note",),
    "unknown-use": ("error",),
    "use-enc-alg-sig": ("warning",),
    "use-sig-alg-enc": ("warning",),
    "key-ops": ("note", AWS_STS),
    "key-ops-empty": ("warning",),
    "key-ops-not-verify": ("warning",),
    "key-ops-type": ("error",),
    "x5c": ("note", GCP),
    "x5t": ("note", GCP),
    "x5c-lines": ("note",),
    "x5c-not-base64": ("error",),
    "x5c-mismatch": ("error",),
    "x5t-hex": ("note",),
    "x5t-hex-with-x5c": ("warning",),
    "x5t-mismatch": ("error",),
    "x5-type": ("error",),
    "x5u": ("warning",),
    "jku": ("warning",),
    "lifetime-member": ("note",),
    "lifetime-member-type": ("error",),
    # --- the key itself
    "malformed-key": ("error",),
    "not-base64url": ("error",),
    "leading-zero": ("warning",),
    "short-rsa-key": ("error",),
    "long-rsa-key": ("warning",),
    "weak-key": ("error",),
    # --- the discovery document
    "no-jwks-uri": ("error", AWS_IAM),
    "jwks-uri-other-host": ("note",),
    "jwks-uri-local": ("error", *CLIENTS),
    "issuer-mismatch": ("error", AWS_IAM),
    "issuer-elsewhere": ("note", KUBERNETES, AWS_IAM, ENTRA),
    "discovery-redirect": ("note",),
    "discovery-content-type": ("warning", SPRING, RUST_OIDC),
    "discovery-incomplete": ("warning",),
    "no-rs256": ("note", ENTRA),
    "alg-not-listed": ("warning",),
    "alg-without-key": ("note",),
    # --- only with --for
    "algorithm-refused": ("warning",),
    "algorithm-untold": ("note",),
    "mixed-key-types": ("warning", PYTHON_JOSE),
}

RULES = {
    code: Rule(
        level,
        (*(LIBRARIES[name] for name in HURT.get(code, ())), *documented),
        tuple(LIBRARIES[name] for name in HURT_BY_SOME_FORMS.get(code, ())),
    )
    for code, (level, *documented) in _TABLE.items()
}


@dataclass(frozen=True, slots=True)
class Finding:
    """
    A problem that breaks verifiers.

    Attributes:
        code: Its rule, in `RULES`.
        level: Its severity.
        message: The problem in one printable line without key material.
        where: The kid or index of a key, or a member; empty for the whole document.
        hurts: The verifiers that it hurts, with versions.
        document: The document: a path or a URL.
    """

    code: str
    level: Level
    message: str
    where: str = ""
    hurts: tuple[str, ...] = ()
    document: str = ""


def finding(code: str, message: str, where: str = "", *, hurts: tuple[str, ...] | None = None) -> Finding:
    """Return a finding of the rule *code* with a printable *message*."""
    rule = RULES[code]
    return Finding(code, rule.level, printable(message), where, rule.hurts if hurts is None else hurts)
