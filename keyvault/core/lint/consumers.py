"""The verifiers and clouds that ``--for`` names, and the algorithms that they accept."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, replace

from keyvault.core.lint.rules import AWS_IAM, ENTRA, GCP, KUBERNETES, LIBRARIES, PYTHON_JOSE, SPRING, Finding
from keyvault.core.text import nearest, quoted
from keyvault.errors import UsageError

_RS, _PS, _ES = (tuple(f"{family}{size}" for size in (256, 384, 512)) for family in ("RS", "PS", "ES"))
_RFC_7518 = (*_RS, *_PS, *_ES)
_ML_DSA = ("ML-DSA-44", "ML-DSA-65", "ML-DSA-87")


@dataclass(frozen=True, slots=True)
class Consumer:
    """
    A verifier or cloud that ``--for`` names.

    Attributes:
        label: Its name in findings, with its version.
        algs: The signature algorithms that it accepts.
        default_algs: The algorithms that it accepts by default if it is configured with the URL of the set and no
            issuer; None if that makes no difference.
    """

    label: str
    algs: tuple[str, ...]
    default_algs: tuple[str, ...] | None = None

    def is_hurt_by(self, finding: Finding) -> bool:
        """Whether *finding* names it, in any version; the services of AWS count as the same."""
        name = self.label.split()[0]
        return any(label.split()[0] == name for label in finding.hurts)


_CAP = Consumer(LIBRARIES["cap"], (*_RFC_7518, "EdDSA"))
_OAUTH4WEBAPI = Consumer(LIBRARIES["oauth4webapi"], (*_RFC_7518, "EdDSA", "Ed25519", *_ML_DSA))

#: By the name that ``--for`` takes. Algorithms of libraries were tested, those of clouds are from their documentation.
CONSUMERS = {
    "aws": Consumer(AWS_IAM, (*_RS, *_ES)),
    "gcp": Consumer(GCP, ("RS256", "ES256")),
    "entra": Consumer(ENTRA, ("RS256",)),
    "kubernetes": Consumer(KUBERNETES, _RFC_7518),
    "authlib": Consumer(LIBRARIES["authlib"], (*_RFC_7518, "ES256K", "EdDSA")),
    "go-jose": Consumer(LIBRARIES["go-jose"], (*_RFC_7518, "EdDSA")),
    "go-oidc": Consumer(LIBRARIES["go-oidc"], (*_RFC_7518, "EdDSA")),
    "jose": Consumer(LIBRARIES["jose"], (*_RFC_7518, "EdDSA", "Ed25519", *_ML_DSA)),
    "joserfc": Consumer(LIBRARIES["joserfc"], (*_RFC_7518, "ES256K", "EdDSA", "Ed25519", "Ed448")),
    "jsonwebtoken": Consumer(LIBRARIES["jsonwebtoken"], (*_RS, *_PS, "ES256", "ES384", "EdDSA")),
    "jwcrypto": Consumer(LIBRARIES["jwcrypto"], (*_RFC_7518, "ES256K", "EdDSA", "Ed25519", "Ed448", *_ML_DSA)),
    "jwks-rsa": Consumer(LIBRARIES["jwks-rsa"], _RFC_7518),
    "jwx": Consumer(LIBRARIES["jwx"], (*_RFC_7518, "EdDSA", "Ed25519")),
    "keyfunc": Consumer(LIBRARIES["keyfunc"], (*_RFC_7518, "EdDSA")),
    "nimbus": Consumer(LIBRARIES["nimbus"], _RFC_7518),
    "pyjwt": Consumer(LIBRARIES["pyjwt"], (*_RFC_7518, "ES256K", "EdDSA")),
    "python-jose": Consumer(PYTHON_JOSE, (*_RS, *_ES)),
    "cap": _CAP,
    "openbao": _CAP,
    "go-jwt-middleware": Consumer(LIBRARIES["go-jwt-middleware"], (*_RFC_7518, "EdDSA")),
    "oauth4webapi": _OAUTH4WEBAPI,
    "openid-client": _OAUTH4WEBAPI,
    "spring": Consumer(SPRING, _RFC_7518, default_algs=("RS256",)),
}


def find_consumers(names: Iterable[str]) -> tuple[Consumer, ...]:
    """
    Return the consumers called *names*.

    Raises:
        UsageError: If a name is unknown; the hint lists all names.
    """
    consumers = []
    for name in dict.fromkeys(names):
        consumer = CONSUMERS.get(name.lower())
        if consumer is None:
            known = "one of " + ", ".join(CONSUMERS)
            near = nearest(name, CONSUMERS)
            raise UsageError(
                f"--for {quoted(name)} is not known",
                code="consumer-unknown",
                hint=f"{near}\n{known}" if near else known,
            )
        consumers.append(consumer)
    return tuple(consumers)


def judge(findings: Iterable[Finding], consumers: Sequence[Consumer], *, document: str) -> Iterator[Finding]:
    """Yield *findings* with the name of their *document*; a note that hurts one of *consumers* becomes a warning."""
    for finding in findings:
        hurt = finding.level == "note" and any(consumer.is_hurt_by(finding) for consumer in consumers)
        yield replace(finding, level="warning" if hurt else finding.level, document=document)
