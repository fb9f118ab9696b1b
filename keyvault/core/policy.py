"""
Policy: the model of keyvault.toml.

`policy_file` parses and checks the file.

Source: docs/format.md, docs/lifecycle.md for the meaning of the durations.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import timedelta
from functools import lru_cache
from typing import Any, Literal

from keyvault.core.algorithms import KeySpec, Use
from keyvault.core.text import quoted
from keyvault.errors import ConfigError

SET_NAME = re.compile(r"[a-z0-9][a-z0-9._-]{0,63}", re.ASCII)


@dataclass(frozen=True, slots=True)
class SitePolicy:
    """
    The ``[site]`` table.

    Attributes:
        url: The URL at which the rendered site is served, without a trailing slash.
        title: Headline of the site.
        max_age: How long caches may keep a JWK Set, as the host sends it in ``Cache-Control``.
        confirm: ``live``: activation waits for a receipt from the public URL; ``commit``: the commit counts.
        discovery: Whether openid-configuration is rendered.
        metadata: Extra members of the discovery document.
        repo_url: The web address of the repository, or None; see ``site/links``.
        issuer: The issuer of sets that do not name one, the value of ``iss``; None means *url*.
    """

    url: str
    title: str = "Published keys"
    max_age: timedelta = timedelta(minutes=10)
    confirm: Literal["live", "commit"] = "live"
    discovery: bool = True
    metadata: Mapping[str, Any] = field(default_factory=dict)
    repo_url: str | None = None
    issuer: str | None = None

    @property
    def default_issuer(self) -> str:
        """The issuer of sets that do not name one."""
        return self.url if self.issuer is None else self.issuer


@dataclass(frozen=True, slots=True)
class SetPolicy:
    """
    A ``[sets.NAME]`` table, with the members that it inherits from ``[defaults]``.

    Attributes:
        name: Name of the set.
        spec: The parameters of its keys.
        issuer: The issuer of the set, the value of ``iss``.
        url: The public URL of the JWK Set with the set's keys.
        place: The path of that JWK Set's folder below the site's url; empty for the root.
        paths: Extra paths of that JWK Set on the site.
        closing: Whether the set is being removed: no key is created, and the remaining keys retire.
        external: Whether the private keys are kept elsewhere, such as in a KMS: no key is created, and public keys are
            imported.
        cryptoperiod: How long a key signs.
        publication_lead: How long a key must have been seen live before it may sign.
        algorithm_lead: The same for a key of an algorithm with which the set has not signed; None adds nothing.
        token_lifetime: How long tokens live.
        signer_lag: How long a signer may use the old key after a rotation.
        clock_skew: How far clocks may differ.
        retention: How long a decryption key is kept after it left the set.
    """

    name: str
    spec: KeySpec
    issuer: str
    url: str
    place: str = ""
    paths: tuple[str, ...] = ()
    closing: bool = False
    external: bool = False
    cryptoperiod: timedelta = timedelta(days=90)
    publication_lead: timedelta = timedelta(hours=24)
    algorithm_lead: timedelta | None = None
    token_lifetime: timedelta = timedelta(hours=1)
    signer_lag: timedelta = timedelta(hours=1)
    clock_skew: timedelta = timedelta(minutes=10)
    retention: timedelta = timedelta(days=365)

    @property
    def use(self) -> Use:
        return self.spec.use

    @property
    def kty(self) -> str:
        return self.spec.kty

    def lead(self, *, new_algorithm: bool) -> timedelta:
        """Return how long a key must have been seen live before it may sign."""
        longer = self.algorithm_lead if new_algorithm and self.algorithm_lead is not None else timedelta(0)
        return max(self.publication_lead, longer)


@dataclass(frozen=True, slots=True)
class AuditPolicy:
    """
    The ``[audit]`` table.

    Attributes:
        require_signatures: Whether every commit that changes the vault must be signed by a signer that the commit
            before it allows.
        exclude: Patterns of paths, from the top of the repository, that the search for private keys skips; it never
            skips the paths of the vault itself.
    """

    require_signatures: bool = False
    exclude: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Policy:
    """The whole of keyvault.toml."""

    site: SitePolicy
    sets: Mapping[str, SetPolicy]
    audit: AuditPolicy = AuditPolicy()

    @property
    def places_with_mixed_issuers(self) -> frozenset[str]:
        """The places whose sets write their issuer both with and without a trailing slash."""
        issuers: dict[str, set[str]] = {}
        for policy in self.sets.values():
            if policy.kty != "oct":
                issuers.setdefault(policy.place, set()).add(policy.issuer)
        return frozenset(place for place, found in issuers.items() if len(found) > 1)


@lru_cache(4096)  # called for every key
def check_set_name(name: str) -> str:
    """
    Return *name* if it is a valid name of a set: ``[a-z0-9][a-z0-9._-]{0,63}``.

    Raises:
        ConfigError: If it is not valid, for example because Windows reserves it.
    """
    from keyvault.core.jwk import file_stem

    if not SET_NAME.fullmatch(name) or file_stem(name) != name or name == "identities":
        raise ConfigError(
            f"invalid set name {quoted(name)}",
            code="set-name-invalid",
            hint="a name is 1 to 64 of a-z 0-9 . _ -, begins with a letter or digit, and is not a reserved name such "
            "as con or identities",
        )
    return name
