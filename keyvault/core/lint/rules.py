"""
The one table of lint's rules: the level of each, and whom it hurts.

A text such as ``PyJWT 2.15`` means that this version was fed the breaking document and choked on it; tests repeat
that for the verifiers that they can run, and fail when a version no longer does. Older versions are named as such.
What clouds do is taken from their documentation.

Levels:

* error: a current verifier reads no key of the document at all, most of them lose one, or a key is not safe;
* warning: some verifier loses a key, an older one the document, or a new key arrives late;
* note: nothing fails, unless whom it names reads the document: ``--for`` makes it a warning.

Source: docs/lint.md explains every code.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

from keyvault.core.text import printable

Level = Literal["error", "warning", "note"]

LEVELS: tuple[Level, ...] = ("error", "warning", "note")

#: How much of a foreign text a message shows.
TEXT_MAX = 80

PYJWT = "PyJWT 2.15"
JOSE = "jose 6"
JWKS_RSA = "jwks-rsa 4"
GO_OIDC = "go-oidc 3.21"
GO_JOSE = "go-jose 4.1"
JWX = "jwx 3.3"
KEYFUNC = "keyfunc 3.9"
JOSERFC = "joserfc 1.8"
AUTHLIB = "Authlib 1.9"
JWCRYPTO = "jwcrypto 1.6"
NIMBUS = "Nimbus 10.10"
RUST = "jsonwebtoken 11 (Rust)"
PYTHON_JOSE = "python-jose 3.5"
#: kube-apiserver reads tokens with go-oidc 2, and go-jose 2 below it.
KUBERNETES = "Kubernetes (go-oidc 2)"
AWS_IAM = "AWS IAM"
AWS_STS = "AWS STS"
GCP = "GCP"
ENTRA = "Entra"

#: Libraries that ask a host for a set themselves.
CLIENTS = (PYJWT, JOSE, JWKS_RSA, GO_OIDC, JWX, KEYFUNC, NIMBUS, KUBERNETES)
#: Every library that was tried; kube-apiserver stands among them for the one in it.
ALL = (PYJWT, JOSE, JWKS_RSA, GO_OIDC, GO_JOSE, JWX, KEYFUNC, JOSERFC, AUTHLIB, JWCRYPTO, NIMBUS, RUST, KUBERNETES)
#: Who reads discovery documents; everybody else is not hurt by what is wrong with one.
DISCOVERERS = (GO_OIDC, KUBERNETES, AWS_IAM, AWS_STS, GCP, ENTRA, "CloudFront", "verifiers in browsers")


@dataclass(frozen=True, slots=True)
class Rule:
    """
    One rule.

    Attributes:
        level: How bad it is.
        hurts: Verifiers and clouds, with their versions; empty where none fails.
    """

    level: Level
    hurts: tuple[str, ...] = ()


RULES: dict[str, Rule] = {
    # --- the address, and how it answers
    "not-https": Rule("error", (KUBERNETES, AWS_IAM, GCP, ENTRA)),
    "url-port": Rule("note", (AWS_IAM,)),
    "url-query": Rule("note", (AWS_IAM,)),
    "status": Rule("error", CLIENTS),
    "status-not-200": Rule("error", (JOSE, GO_OIDC, JWX, KEYFUNC, KUBERNETES)),
    "redirect": Rule("error", (PYJWT, JOSE, JWKS_RSA)),
    "redirect-not-followed": Rule("error", (PYJWT, JOSE, JWKS_RSA)),
    "compressed": Rule("error", (PYJWT, JWKS_RSA, NIMBUS, "jose 5")),
    "cache-forbidden": Rule("warning", (AWS_STS,)),
    "cache-unsaid": Rule("warning", ("CloudFront",)),
    "cache-short": Rule("note"),
    "cache-long": Rule("warning", (JWX, KUBERNETES, "CloudFront")),
    "content-type": Rule("warning"),
    "content-type-octets": Rule("note"),
    "no-cors": Rule("note", ("verifiers in browsers",)),
    # --- the bytes
    "too-large": Rule("error", (NIMBUS,)),
    "over-50-kib": Rule("error", (NIMBUS,)),
    "over-32-kib": Rule("note"),
    "byte-order-mark": Rule("error", (JWKS_RSA, GO_OIDC, GO_JOSE, JWX, KEYFUNC, JWCRYPTO, RUST, KUBERNETES)),
    "utf-16": Rule("error", (JOSE, JWKS_RSA, GO_OIDC, GO_JOSE, JWX, KEYFUNC, JWCRYPTO, NIMBUS, RUST, KUBERNETES)),
    "not-utf-8": Rule("error", (PYJWT, JWCRYPTO, RUST)),
    "not-json": Rule("error", (PYJWT, JOSE, JWKS_RSA, GO_OIDC, GO_JOSE, JWX, JWCRYPTO, NIMBUS, RUST, KUBERNETES)),
    "not-a-number": Rule("error", (JOSE, JWKS_RSA, GO_OIDC, GO_JOSE, JWX, KEYFUNC, NIMBUS, RUST, KUBERNETES)),
    "duplicate-member": Rule("error", (GO_OIDC, GO_JOSE, RUST, KUBERNETES)),
    "duplicate-top-member": Rule("error", (NIMBUS, RUST)),
    # --- the set
    "not-object": Rule(
        "error", (PYJWT, JOSE, JWKS_RSA, GO_OIDC, GO_JOSE, JWX, KEYFUNC, JOSERFC, JWCRYPTO, NIMBUS, RUST, KUBERNETES)
    ),
    "no-keys": Rule("error", ALL),
    "empty-set": Rule("error", ALL),
    "key-not-object": Rule(
        "error", (JOSE, GO_OIDC, GO_JOSE, JWX, AUTHLIB, JWCRYPTO, NIMBUS, RUST, KUBERNETES, "PyJWT before 2.15")
    ),
    "over-8-keys": Rule("note", (GCP,)),
    "over-100-keys": Rule("note", (AWS_IAM,)),
    "over-1000-keys": Rule("error", (JWX,)),
    # --- which keys
    "private-key": Rule("error", (PYJWT, JOSE, JWKS_RSA, GO_OIDC, GO_JOSE, KUBERNETES)),
    "symmetric-key": Rule("error"),
    "symmetric-key-without-k": Rule(
        "error", (PYJWT, GO_JOSE, JWX, KEYFUNC, JOSERFC, AUTHLIB, JWCRYPTO, NIMBUS, KUBERNETES, "go-oidc before 3.20")
    ),
    "missing-kty": Rule("error", ALL),
    "unknown-kty": Rule("error", (GO_JOSE, JWX, AUTHLIB, KUBERNETES, "go-oidc before 3.21")),
    "unknown-ec-curve": Rule(
        "error",
        (GO_JOSE, JWX, JOSERFC, NIMBUS, KUBERNETES, "go-oidc 3.21 with go-jose before 4.1.9", "go-oidc before 3.20"),
    ),
    "unknown-okp-curve": Rule("error", (GO_JOSE, JWX, JOSERFC, NIMBUS, KUBERNETES, "go-oidc before 3.21")),
    "secp256k1": Rule(
        "error", (JOSE, JWKS_RSA, GO_OIDC, GO_JOSE, JWX, KEYFUNC, NIMBUS, RUST, KUBERNETES, "go-oidc before 3.20")
    ),
    "ed448": Rule(
        "error", (JOSE, JWKS_RSA, GO_OIDC, GO_JOSE, JWX, KEYFUNC, NIMBUS, RUST, KUBERNETES, "go-oidc before 3.21")
    ),
    "x25519": Rule("error", (GO_JOSE, KUBERNETES, "go-oidc before 3.20")),
    "uncommon-keys": Rule("note"),
    "eddsa": Rule("note", (JWKS_RSA, NIMBUS, KUBERNETES)),
    "rfc-9864-alg": Rule("warning", (PYJWT, JWKS_RSA, GO_OIDC, GO_JOSE, KEYFUNC, AUTHLIB, NIMBUS, RUST, KUBERNETES)),
    # --- what a key says about itself
    "kid-not-text": Rule("error", ALL),
    "member-not-text": Rule(
        "error", (PYJWT, JOSE, JWKS_RSA, GO_OIDC, GO_JOSE, JWX, KEYFUNC, JOSERFC, NIMBUS, RUST, KUBERNETES)
    ),
    "null-member": Rule("error", (JOSE, JOSERFC)),
    "missing-kid": Rule("warning", (PYJWT, JWKS_RSA, GO_JOSE, JWX, JOSERFC, RUST, AWS_STS, GCP)),
    "null-kid": Rule("error", (PYJWT, JWKS_RSA, GO_JOSE, JWX, JOSERFC, RUST, AWS_STS, GCP)),
    "empty-kid": Rule("warning", (PYJWT, JWKS_RSA, GO_JOSE)),
    "duplicate-kid": Rule("error", (PYJWT, JOSE, JWKS_RSA, GO_JOSE, JWX, KEYFUNC, JOSERFC, AUTHLIB, RUST)),
    "duplicate-kid-across-types": Rule("error", (PYJWT, JWKS_RSA, GO_JOSE, JWX, KEYFUNC, AUTHLIB, RUST)),
    "repeated-key": Rule("warning", (JOSE,)),
    "kid-with-two-algs": Rule("warning", (PYJWT, JWX, KEYFUNC)),
    "same-key-twice": Rule("warning"),
    "missing-alg": Rule("warning", (JWX, "libjwt 3.0 to 3.3.2")),
    "unknown-alg": Rule("error", (PYJWT, JOSE, JWKS_RSA, GO_OIDC, JWX, KEYFUNC, JOSERFC, NIMBUS)),
    "hmac-alg": Rule("error", (PYJWT, JOSE, JWKS_RSA, GO_OIDC, JWX, KEYFUNC, JOSERFC, NIMBUS)),
    "alg-mismatch": Rule("warning", (PYJWT, JOSE, JWKS_RSA, JWX, KEYFUNC, JOSERFC, NIMBUS)),
    "missing-use": Rule("note"),
    "unknown-use": Rule("error", (PYJWT, JOSE, JWKS_RSA, JWX, KEYFUNC, JOSERFC, AUTHLIB, JWCRYPTO, NIMBUS)),
    "use-enc-alg-sig": Rule("warning", (PYJWT, JOSE, JWKS_RSA, JWX, JOSERFC, AUTHLIB, JWCRYPTO, NIMBUS)),
    "use-sig-alg-enc": Rule("warning", (PYJWT, JOSE, GO_OIDC, JWX, KEYFUNC, JOSERFC, NIMBUS)),
    "key-ops": Rule("note", (AWS_STS,)),
    "key-ops-not-verify": Rule("warning", (JOSE, JWKS_RSA, JOSERFC, AUTHLIB, JWCRYPTO)),
    "key-ops-type": Rule("error", (JOSE, JWKS_RSA, JWX, KEYFUNC, JOSERFC, JWCRYPTO, NIMBUS, RUST)),
    "x5c": Rule("note", (GCP,)),
    "x5t": Rule("note", (GCP,)),
    "x5c-mismatch": Rule("error", (GO_OIDC, GO_JOSE, KEYFUNC, NIMBUS, KUBERNETES)),
    "x5t-mismatch": Rule("error", (GO_OIDC, GO_JOSE, KUBERNETES)),
    "x5-type": Rule("error", (GO_OIDC, GO_JOSE, JWX, KEYFUNC, JOSERFC, NIMBUS, RUST, KUBERNETES)),
    "x5u": Rule("warning", (KUBERNETES,)),
    "jku": Rule("warning"),
    "lifetime-member": Rule("note"),
    "lifetime-member-type": Rule("error", (NIMBUS,)),
    # --- the key itself
    "malformed-key": Rule("error", ALL),
    "not-base64url": Rule("error", (GO_OIDC, GO_JOSE, JOSERFC, RUST, KUBERNETES)),
    "leading-zero": Rule("warning", (RUST,)),
    "short-rsa-key": Rule("error", (JOSE, JWX, RUST)),
    "long-rsa-key": Rule("warning", ("go-jose from 4.1.6",)),
    "weak-key": Rule("error"),
    # --- the discovery document
    "no-jwks-uri": Rule("error", (GO_OIDC, KUBERNETES, AWS_IAM)),
    "jwks-uri-other-host": Rule("note"),
    "jwks-uri-local": Rule("error", CLIENTS),
    "issuer-mismatch": Rule("error", (GO_OIDC, KUBERNETES, AWS_IAM)),
    "issuer-elsewhere": Rule("note", (KUBERNETES, AWS_IAM, ENTRA)),
    "discovery-redirect": Rule("note"),
    "discovery-incomplete": Rule("warning"),
    "no-rs256": Rule("note", (ENTRA,)),
    "alg-not-listed": Rule("warning", (GO_OIDC,)),
    "alg-without-key": Rule("note"),
    # --- only with --for
    "algorithm-refused": Rule("warning"),
    "mixed-key-types": Rule("warning", (PYTHON_JOSE,)),
}


@dataclass(frozen=True, slots=True)
class Finding:
    """
    One thing that breaks verifiers.

    Attributes:
        code: Its rule, in `RULES`.
        level: How bad it is.
        message: What is wrong, in one printable line without key material.
        where: The kid or place of a key, or a member; empty for the whole document.
        hurts: Whom it hurts, with versions.
        document: The document: a path or a URL.
    """

    code: str
    level: Level
    message: str
    where: str = ""
    hurts: tuple[str, ...] = ()
    document: str = ""


def finding(code: str, message: str, where: str = "", *, hurts: tuple[str, ...] | None = None) -> Finding:
    """Return a finding of the rule *code*; what it shows is made printable."""
    rule = RULES[code]
    return Finding(code, rule.level, printable(message), where, rule.hurts if hurts is None else hurts)


def shown(value: object) -> str:
    """Return a foreign *value* as a message shows it: short, on one line."""
    text = value if isinstance(value, str) else type(value).__name__
    return printable(text[: TEXT_MAX - 1] + "…" if len(text) > TEXT_MAX else text)


def few(texts: Sequence[str], most: int = 3) -> str:
    """Return the first of *texts*, which are foreign, as a message lists them."""
    return ", ".join(shown(text) for text in texts[:most]) + (", …" if len(texts) > most else "")
