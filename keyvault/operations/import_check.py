"""
Compare the live JWK Set of an old server with the JWK Set that a commit of the vault serves.

If the vault serves each key of the old set under its old kid, verifiers that switch find the keys of all tokens.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import msgspec

from keyvault.core.jwk import thumbprint
from keyvault.core.state import Commit, VaultState
from keyvault.core.text import elided
from keyvault.errors import KeyVaultError, UsageError
from keyvault.operations.context import Context
from keyvault.operations.import_sources import fetch_keys
from keyvault.site.build import jwk_sets

#: The folder of the JWK Sets of single sets. Verifiers fetch the JWK Set of an issuer, so these are not compared.
_SINGLE_SETS = "sets/"


@dataclass(frozen=True, slots=True)
class ImportCheckFinding:
    """
    A key of the old set that verifiers would not find.

    Attributes:
        code: ``missing``, ``other-kid``, ``other-key``, ``other-alg`` or ``not-importable``.
        kid: Its kid in the old set, or None if it has none.
        message: The difference, and what to do.
    """

    code: str
    kid: str | None
    message: str


@dataclass(frozen=True, slots=True)
class ImportCheck:
    """
    A comparison.

    Attributes:
        url: The old JWK Set.
        commit: The commit that was compared with.
        path: The path of the JWK Set on its site.
        keys: How many keys the old set has.
        findings: The keys that verifiers would not find there.
    """

    url: str
    commit: str
    path: str
    keys: int
    findings: tuple[ImportCheckFinding, ...]


def check_import(context: Context, commit: Commit, url: str) -> ImportCheck:
    """
    Compare the JWK Set at *url* with the site of *commit*: with the JWK Set there that shares most kids with it.

    Raises:
        LiveError: If the old set cannot be fetched.
        UsageError: If it is not a JWK Set or serves a private key, or one of the two has no keys.
    """
    state = context.state(commit, envelopes=False)
    old = fetch_keys(url)
    if not old:
        raise UsageError(
            f"{elided(url)[:200]} serves no keys, so there is nothing to compare",
            code="jwks-empty",
            hint="check the URL",
        )
    served = {
        path: {jwk["kid"]: jwk for jwk in msgspec.json.decode(data)["keys"]}
        for path, data in jwk_sets(state)
        if not path.startswith(_SINGLE_SETS)
    }
    if not served:
        raise UsageError(
            "the commit serves no keys yet", code="site-without-keys", hint="keyvault key import SET --from-url URL"
        )
    kids = {str(jwk.get("kid")) for jwk in old}
    path = max(served, key=lambda candidate: len(kids & served[candidate].keys()))
    findings = tuple(_findings(state, old, served[path]))
    return ImportCheck(url, state.commit, path, len(old), findings)


def _findings(
    state: VaultState, old: list[dict[str, Any]], served: Mapping[str, Mapping[str, Any]]
) -> Iterator[ImportCheckFinding]:
    from keyvault.crypto.imports import read_jwk

    thumbprints = {thumbprint(jwk): kid for kid, jwk in served.items()}
    for number, jwk in enumerate(old, 1):
        given = jwk.get("kid")
        kid = given if isinstance(given, str) else None
        name = f"key {elided(kid)[:256]}" if kid is not None else f"key {number}, which has no kid,"
        try:
            found = read_jwk(jwk)
        except KeyVaultError as error:
            yield ImportCheckFinding("not-importable", kid, f"{name} cannot be imported: {error.message}")
            continue
        same = thumbprints.get(thumbprint(found.members))
        new = served.get(kid) if kid is not None else served.get(same or "")
        if new is None and same is not None:
            yield ImportCheckFinding("other-kid", kid, f"{name} is served as {same}: tokens that name the old kid fail")
        elif new is None:
            yield ImportCheckFinding("missing", kid, f"{name} is not served{_reason(state, kid)}")
        elif thumbprint(new) != thumbprint(found.members):
            yield ImportCheckFinding("other-key", kid, f"{name} is served, but it is another key")
        elif found.alg not in (None, new["alg"]):
            alg = elided(str(found.alg))[:40]
            yield ImportCheckFinding(
                "other-alg", kid, f"{name} is for {alg} in the old set, and served for {new['alg']}"
            )


def _reason(state: VaultState, kid: str | None) -> str:
    key = state.keys.get(kid or "")
    if key is None:
        return ": it is not in the vault"
    return f": it is {key.state} in set {key.set}" + (
        "" if key.state in ("withdrawn", "revoked") else ", whose keys stand in another JWK Set or in none"
    )
