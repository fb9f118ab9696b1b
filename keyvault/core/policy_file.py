"""
Parse keyvault.toml into a policy, and check that its members agree.

``config`` decodes the TOML. Does no I/O.

Source: docs/format.md; docs/publishing.md for the bounds of ``publication_lead`` and ``max_age``.
"""

from __future__ import annotations

from collections.abc import Mapping
from datetime import timedelta
from typing import Any

from keyvault.core.algorithms import key_spec
from keyvault.core.places import CONFIGURATION, WELL_KNOWN, is_reserved, path_of_issuer
from keyvault.core.policy import AuditPolicy, Policy, SetPolicy, SitePolicy, check_set_name
from keyvault.core.policy_members import AUDIT, FORMAT, SET, SITE, TIMING, TOP, Member
from keyvault.core.text import elided, format_duration, nearest, quoted
from keyvault.errors import ConfigError

#: Some verifiers keep a JWK Set for 2 h (AWS API Gateway) and, with skew and the host's TTL, need 3 h.
LEAD_MIN = timedelta(hours=3)
MAX_AGE_MIN = timedelta(minutes=5)
MAX_AGE_MAX = timedelta(hours=1)


def _read(where: str, table: object, members: Mapping[str, Member]) -> dict[str, Any]:
    if not isinstance(table, Mapping):
        raise ConfigError(f"{where} in keyvault.toml must be a table", code="policy-member-invalid")
    values = {}
    for name, value in table.items():
        member = members.get(name)
        if member is None:
            raise ConfigError(
                f"unknown member {quoted(name)} in {where} of keyvault.toml",
                code="policy-member-unknown",
                hint=_hint(name, members),
            )
        try:
            values[name] = member.read(value)
        except (ValueError, OverflowError) as error:
            raise ConfigError(
                f"{name} in {where} of keyvault.toml{_reason(error)}", code="policy-member-invalid"
            ) from None
    return values


def _hint(name: str, members: Mapping[str, Member]) -> str:
    if members is TIMING and name in SET:
        return f"{name} belongs in the table of a set, [sets.NAME]"
    return nearest(name, members) or "one of " + ", ".join(members)


def _reason(error: Exception) -> str:
    """Return the reason in *error*, which continues the sentence about a member or is a sentence of its own."""
    text = str(error)
    return f" {text}" if text.startswith(("must", "is ", "cannot")) else f": {text}"


def parse_policy(document: Mapping[str, Any]) -> Policy:
    """
    Return the policy that *document*, the parsed keyvault.toml, states.

    Raises:
        ConfigError: If a member is unknown or malformed, or members contradict each other; the message has the values.
    """
    for name in document:
        if name not in TOP:
            raise ConfigError(
                f"unknown member {quoted(name)} in keyvault.toml",
                code="policy-member-unknown",
                hint=nearest(name, TOP) or "one of " + ", ".join(TOP),
            )
    if document.get("format") != FORMAT or isinstance(document.get("format"), bool):
        raise ConfigError(
            f"keyvault.toml has format {quoted(document.get('format'), 40)}; this version reads format {FORMAT}",
            code="policy-format",
            hint=f"the first line must be: format = {FORMAT}",
        )
    site_values = _read("[site]", document.get("site", {}), SITE)
    if "url" not in site_values:
        raise ConfigError(
            "keyvault.toml has no [site] url",
            code="policy-member-missing",
            hint='[site]\nurl = "https://keys.example.com"',
        )
    site = SitePolicy(**site_values)
    if not MAX_AGE_MIN <= site.max_age <= MAX_AGE_MAX:
        raise ConfigError(
            f"max_age of {format_duration(site.max_age)} in [site] must be "
            f"{format_duration(MAX_AGE_MIN)} to {format_duration(MAX_AGE_MAX)}",
            code="policy-timing",
        )
    defaults = _read("[defaults]", document.get("defaults", {}), TIMING)
    audit = AuditPolicy(**_read("[audit]", document.get("audit", {}), AUDIT))
    tables = document.get("sets", {})
    if not isinstance(tables, Mapping):
        raise ConfigError("[sets] in keyvault.toml must have a table for each set", code="policy-member-invalid")
    sets = {}
    for name, table in tables.items():
        check_set_name(name)
        sets[name] = _set_policy(name, {**defaults, **_read(f"[sets.{name}]", table, SET)}, site)
    _check_places(site, sets)
    _check_paths(site, sets)
    _check_akp_alone_at_place(site, sets)
    return Policy(site, sets, audit)


def _set_policy(name: str, values: dict[str, Any], site: SitePolicy) -> SetPolicy:
    where = f"[sets.{name}]"
    if "alg" not in values:
        raise ConfigError(
            f"{where} in keyvault.toml has no alg", code="policy-member-missing", hint='for example: alg = "ES256"'
        )
    try:
        alg, crv, bits, kid_form = (values.pop(name, None) for name in ("alg", "crv", "bits", "kid"))
        spec = key_spec(alg, crv=crv, bits=bits, kid_form=kid_form)
    except ConfigError as error:
        raise ConfigError(f"{where} in keyvault.toml: {error.message}", code=error.code, hint=error.hint) from None
    short = values.pop("allow_short_lead", False)
    issuer = values.pop("issuer", site.default_issuer)
    place = _place(where, name, issuer, values.pop("at", None), site)
    policy = SetPolicy(name=name, spec=spec, issuer=issuer, url=site.url + place + WELL_KNOWN, place=place, **values)
    _check_timing(where, policy, allow_short_lead=short)
    return policy


def _place(where: str, name: str, issuer: str, at: str | None, site: SitePolicy) -> str:
    """Return the place of the JWK Set of *issuer*: the value of ``at``, else the issuer's own path on the site."""
    home = path_of_issuer(site.url, issuer)
    if home and is_reserved(home):
        raise ConfigError(
            f"issuer {elided(issuer)} of {where} is in a folder that is reserved for the site", code="place-reserved"
        )
    if at is not None:
        return at
    if home is not None:
        return home
    if issuer == site.default_issuer:
        return ""
    raise ConfigError(
        f"issuer {elided(issuer)} of {where} is not below the site's url {site.url}, and the set has no at",
        code="place-missing",
        hint=f'at = "/{name}"; or, if all sets have this issuer, issuer in [site]',
    )


def _check_timing(where: str, policy: SetPolicy, *, allow_short_lead: bool) -> None:
    period = format_duration(policy.cryptoperiod)
    overlap = policy.token_lifetime + policy.signer_lag
    if overlap >= policy.cryptoperiod:
        raise ConfigError(
            f"{where}: token_lifetime {format_duration(policy.token_lifetime)} + signer_lag "
            f"{format_duration(policy.signer_lag)} must be less than cryptoperiod {period}",
            code="policy-timing",
        )
    lead = format_duration(policy.publication_lead)
    if policy.publication_lead >= policy.cryptoperiod:
        raise ConfigError(
            f"{where}: publication_lead {lead} must be less than cryptoperiod {period}", code="policy-timing"
        )
    if policy.publication_lead < LEAD_MIN and not allow_short_lead:
        raise ConfigError(
            f"{where}: publication_lead {lead} is shorter than {format_duration(LEAD_MIN)}: some verifiers "
            "keep a JWK Set for 2h",
            code="lead-too-short",
            hint="raise it, or set allow_short_lead = true if you know every verifier",
        )
    if policy.clock_skew > timedelta(days=1):
        raise ConfigError(
            f"{where}: clock_skew {format_duration(policy.clock_skew)} must be at most 24h", code="policy-timing"
        )


def _check_places(site: SitePolicy, sets: Mapping[str, SetPolicy]) -> None:
    """
    Refuse places of JWK Sets that conflict.

    Conflicts are a JWK Set with two issuers, which could sign for each other; a discovery document that two JWK Sets
    need; a JWK Set in the folder of another issuer; and places that differ only in case.
    """
    at_place: dict[str, SetPolicy] = {}
    by_home: dict[str, SetPolicy] = {}
    for policy in sets.values():
        if policy.kty == "oct":
            continue  # the site never renders it, so its place is not used
        other = at_place.setdefault(policy.place, policy)
        # Issuers that differ by a slash only are a typing error: `lint` reports it, and commands accept it.
        if other.issuer.removesuffix("/") != policy.issuer.removesuffix("/"):
            raise ConfigError(
                f"[sets.{other.name}] and [sets.{policy.name}] share the JWK Set {policy.url}, and have the issuers "
                f"{elided(other.issuer)} and {elided(policy.issuer)}: each could sign for the other",
                code="issuer-conflict",
                hint=f'at = "/{policy.name}" gives {policy.name} a JWK Set of its own',
            )
        home = path_of_issuer(site.url, policy.issuer)
        if home is None or not site.discovery:
            continue
        known = by_home.setdefault(home, policy)
        if known.place != policy.place:
            raise ConfigError(
                f"[sets.{known.name}] and [sets.{policy.name}] would share the discovery document "
                f"{site.url}{home}{CONFIGURATION}, which names only one issuer and one JWK Set",
                code="discovery-conflict",
                hint=f'at = "{known.place or "/"}" in [sets.{policy.name}], as in {known.name}; or another issuer',
            )
    for home, policy in by_home.items():
        if (guest := at_place.get(home)) is not None and guest.place != policy.place:
            raise ConfigError(
                f"[sets.{guest.name}] has its JWK Set in the folder of the issuer {elided(policy.issuer)}: verifiers "
                "of that issuer would trust the keys of another",
                code="place-conflict",
                hint=f'at = "/{guest.name}" in [sets.{guest.name}]',
            )
    folded: dict[str, SetPolicy] = {}
    for policy in at_place.values():
        known = folded.setdefault(policy.place.casefold(), policy)
        # File systems fold case. Two places that follow from issuers are accepted, as in versions without ``at``.
        if known is not policy and any(
            member.place != path_of_issuer(site.url, member.issuer) for member in (known, policy)
        ):
            raise ConfigError(
                f"[sets.{known.name}] and [sets.{policy.name}] have the places {known.place} and {policy.place}, which "
                "differ only in case",
                code="place-case",
                hint=f'at = "/{policy.name}" in [sets.{policy.name}]',
            )


def _check_akp_alone_at_place(site: SitePolicy, sets: Mapping[str, SetPolicy]) -> None:
    """
    Refuse AKP keys in a JWK Set with keys of other types.

    Most verifiers do not know the type AKP, and would reject the whole JWK Set.
    """
    by_place: dict[str, dict[bool, SetPolicy]] = {}
    for policy in sets.values():
        if policy.kty != "oct":
            by_place.setdefault(policy.place, {}).setdefault(policy.kty == "AKP", policy)
    for found in by_place.values():
        if len(found) > 1:
            akp, common = found[True], found[False]
            on_site = path_of_issuer(site.url, akp.issuer) is not None
            own = f'an issuer of its own: issuer = "{elided(akp.issuer).removesuffix("/")}/{akp.name}"'
            raise ConfigError(
                f"[sets.{akp.name}] has keys of the type AKP, which break verifiers of [sets.{common.name}] in the "
                f"JWK Set of {elided(akp.issuer)}",
                code="akp-not-alone",
                hint=f"give it {own}" if on_site else f'give it a place of its own: at = "/{akp.name}"',
            )


def _check_paths(site: SitePolicy, sets: Mapping[str, SetPolicy]) -> None:
    """Refuse an extra path that another JWK Set uses, or that would be both a file and a folder."""
    taken = {policy.url: policy for policy in sets.values()}
    for policy in sets.values():
        for path in policy.paths:
            url = site.url + path
            other = taken.setdefault(url, policy)
            if other.place != policy.place:
                raise ConfigError(
                    f"path {path} of [sets.{policy.name}] belongs to the issuer {elided(other.issuer)} already",
                    code="path-conflict",
                )
            if any(url.startswith(owned + "/") or owned.startswith(url + "/") for owned in taken if owned != url):
                raise ConfigError(
                    f"path {path} of [sets.{policy.name}] would be both a file and a folder",
                    code="path-file-and-folder",
                )
