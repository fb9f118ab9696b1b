"""
Input for verifiers: rendered sites, and tokens that they must accept or refuse.

The real operations generate everything once, with their own clock; a test then serves a site and queries verifiers.
"""

from __future__ import annotations

import base64
import json
import secrets
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

from keyvault.core.algorithms import KeySpec, key_spec
from keyvault.core.keys import Key
from keyvault.crypto.tokens import TokenSigner
from keyvault.operations import keys, rotation, setup
from keyvault.operations.new_vault import NewVault
from tests.interop.sites import AUDIENCE, FUTURE, PAST
from tests.site.vaults import HOUR, SITE, T0, Lab, environment

#: Every algorithm of published signing keys, by its name in the matrix. EdDSA has two curves.
SPECS: dict[str, KeySpec] = {
    **{alg: key_spec(alg) for alg in ("RS256", "RS384", "RS512", "PS256", "PS384", "PS512")},
    **{alg: key_spec(alg) for alg in ("ES256", "ES384", "ES512", "ES256K", "EdDSA")},
    "EdDSA Ed448": key_spec("EdDSA", crv="Ed448"),
    **{alg: key_spec(alg) for alg in ("Ed25519", "Ed448", "ML-DSA-44", "ML-DSA-65", "ML-DSA-87")},
}
#: The algorithms that may share a JWK Set: a key of type AKP never shares one.
SHARED = tuple(label for label, spec in SPECS.items() if spec.kty != "AKP")
#: The algorithms of a set for all verifiers, by alg.
MIXED = ("RS256", "ES256", "EdDSA")


def claims_of(issuer: str) -> dict[str, object]:
    """Return the claims of a token of *issuer*, which is also its assertion to an authorization server (RFC 7523)."""
    return {"iss": issuer, "sub": issuer, "aud": AUDIENCE, "iat": PAST, "exp": FUTURE}


def set_name(label: str) -> str:
    return label.lower().replace(" ", "-")


def alg_of(label: str) -> str:
    """Return the alg of the algorithm that the matrix calls *label*."""
    return SPECS[label].alg


def make(folder: Path, labels: tuple[str, ...], *, apart: bool = False) -> Lab:
    """Make a vault with a set of each of *labels*; *apart*, each has an issuer and a JWK Set of its own."""
    own = environment(folder / "home")
    setup.init(folder / "home" / "vault", T0, own, NewVault(SITE, {}))
    lab = Lab(folder / "home" / "vault", own)
    lines = []
    for label in labels:
        spec = SPECS[label]
        lines += ["", f"[sets.{set_name(label)}]", f'alg = "{spec.alg}"']
        lines += [f'crv = "{spec.crv}"'] if spec.crv else []
        lines += [f'issuer = "{issuer_of(label)}"'] if apart else []
    lab.append_policy("\n".join([*lines, ""]))
    lab.deploy()
    rotation.rotate_due(lab.context())
    return lab


def issuer_of(label: str) -> str:
    """Return the issuer of the set of *label*, where each has its own."""
    return f"{SITE}/{set_name(label)}"


def sign(lab: Lab, label: str, issuer: str = SITE) -> str:
    """Return a token that the active key of the set of *label* signed, for the issuer *issuer*."""
    return signed_by(lab, lab.key(set_name(label), "active"), issuer)


def signed_by(lab: Lab, key: Key, issuer: str, *, kid: str = "") -> str:
    """Return a token that *key* of *lab* has signed, under its kid or another *kid*."""
    private = keys.open_key(lab.context(), key)
    return TokenSigner({**private, "kid": kid or key.kid}).sign({**claims_of(issuer), "jti": secrets.token_urlsafe(16)})


def changed(token: str) -> str:
    """Return *token* with another payload below the same signature, which is the only thing wrong with it."""
    header, payload, signature = token.split(".")
    claims = json.loads(base64.urlsafe_b64decode(payload + "=="))
    forged = base64.urlsafe_b64encode(json.dumps({**claims, "scope": "admin"}).encode()).decode().rstrip("=")
    return ".".join((header, forged, signature))


@dataclass(frozen=True)
class Shown:
    """
    A site and tokens of each algorithm.

    Attributes:
        site: The site.
        good: Tokens that its keys have signed, by label.
        bad: Tokens to refuse, by label and by their defect.
    """

    site: Mapping[str, bytes]
    good: Mapping[str, str]
    bad: Mapping[str, Mapping[str, str]] = field(default_factory=dict)


def alone(folder: Path) -> Shown:
    """Each algorithm in a JWK Set of its own, with an active and a next key."""
    lab = make(folder / "ours", tuple(SPECS), apart=True)
    foreign = make(folder / "foreign", tuple(SPECS), apart=True)
    good, bad = {}, {}
    for label in SPECS:
        good[label] = sign(lab, label, issuer_of(label))
        theirs, ours = (each.key(set_name(label), "active") for each in (foreign, lab))
        bad[label] = {
            "changed": changed(good[label]),
            "foreign": signed_by(foreign, theirs, issuer_of(label), kid=ours.kid),
        }
    return Shown(lab.site(), good, bad)


def crowd(folder: Path) -> Shown:
    """Return a site with one JWK Set of all algorithms that may share one."""
    lab = make(folder, SHARED)
    return Shown(lab.site(), {label: sign(lab, label) for label in SHARED})


@dataclass(frozen=True)
class Story:
    """
    A JWK Set of three key types through a rotation, a rollback and a revocation.

    Attributes:
        sites: The site that the host serves after each step: ``mixed``, ``rotated``, ``back``, ``revoked``.
        tokens: By who signed them and by alg: the keys that were ``retiring`` and ``active`` when the story begins, the
            ``next`` one, and the ``later`` one, which nobody knew before the rotation. The active ones signed others
            ``again``.
    """

    sites: Mapping[str, Mapping[str, bytes]]
    tokens: Mapping[str, Mapping[str, str]]


def story(folder: Path) -> Story:
    """
    Rotate, rotate again, take that back, revoke.

    A set begins with a next, an active and a retiring key. The second rotation withdraws the latter. The rollback makes
    the second key active again, and the revocation drops it: then a key signs that the first site has not shown.
    """
    lab = make(folder, MIXED)
    names = [set_name(label) for label in MIXED]
    sites, signed = {}, {}

    def sign_all() -> dict[str, str]:
        return {label: sign(lab, label) for label in MIXED}

    signed["retiring"] = sign_all()
    lab.rotate(*names)
    signed["active"], signed["again"] = sign_all(), sign_all()
    sites["mixed"] = lab.site()

    lab.rotate(*names)
    signed["next"] = sign_all()
    lab.wait(HOUR)
    rotation.rotate_due(lab.context())
    sites["rotated"] = lab.site()

    for name in names:
        rotation.rollback(lab.context(), name)
    sites["back"] = lab.site()
    assert {label: kid(token) for label, token in sign_all().items()} == {
        label: kid(token) for label, token in signed["active"].items()
    }

    for name in names:
        rotation.revoke(lab.context(), lab.key(name, "active").kid, reason="compromised")
    signed["later"] = sign_all()
    sites["revoked"] = lab.site()
    return Story(sites, signed)


def kid(token: str) -> str:
    """Return the kid of *token*."""
    header = json.loads(base64.urlsafe_b64decode(token.split(".")[0] + "=="))
    return str(header["kid"])
