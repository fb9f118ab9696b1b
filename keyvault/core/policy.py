"""
Policy: what keyvault.toml says, checked as a whole.

One table per TOML table names every member with its reader, its JSON Schema and what it means; the parser
and the schema for editors both come from it. Text of the file is read in ``config``; nothing here does I/O.

Source: docs/format.md, docs/lifecycle.md for the meaning of the durations, and docs/publishing.md for
the bounds of ``publication_lead`` and ``max_age``.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from datetime import timedelta
from functools import lru_cache
from typing import Any, Literal
from urllib.parse import urlsplit

from keyvault.core.algorithms import ALGORITHMS, CURVE_KTY, KID_FORMS, KeySpec, Use, key_spec
from keyvault.core.places import (
    CONFIGURATION,
    ISSUER_MAX,
    SITE_PATHS,
    WELL_KNOWN,
    check_issuer,
    check_place,
    check_url,
    is_reserved,
    is_web_path,
    path_of_issuer,
)
from keyvault.core.text import elided, format_duration, nearest, parse_duration, printable, quoted
from keyvault.errors import ConfigError

FORMAT = 1

#: Verifiers exist that keep a JWK Set for 2 h (AWS API Gateway) and, with skew and the host's TTL, need 3 h.
LEAD_MIN = timedelta(hours=3)
MAX_AGE_MIN = timedelta(minutes=5)
MAX_AGE_MAX = timedelta(hours=1)

_SET_NAME = re.compile(r"[a-z0-9][a-z0-9._-]{0,63}", re.ASCII)


@dataclass(frozen=True, slots=True)
class SitePolicy:
    """
    The ``[site]`` table.

    Attributes:
        url: Where the rendered site is served. No trailing slash.
        title: Headline of the site.
        max_age: How long hosts say that a JWK Set may be cached.
        confirm: ``live``: activation waits for a receipt from the public URL; ``commit``: the commit counts.
        discovery: Whether openid-configuration is rendered.
        metadata: Extra members of the discovery document.
        repo_url: Where people read the repository, or None; see `commit_url`.
        issuer: The issuer of sets that do not name one, as it stands in ``iss``; None takes *url*.
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

    def commit_url(self, commit: str) -> str | None:
        """
        Return where people read *commit*, or None without a ``repo_url``.

        GitHub and Forgejo have it under ``/commit/``, GitLab under ``/-/commit/``; a ``repo_url`` that holds
        ``{commit}`` says it itself.
        """
        if self.repo_url is None:
            return None
        if "{commit}" in self.repo_url:
            return self.repo_url.replace("{commit}", commit)
        host = urlsplit(self.repo_url).hostname or ""
        form = "/-/commit/" if host.startswith("gitlab.") or ".gitlab." in host else "/commit/"
        # People copy what git clones from; no page lies below that.
        return self.repo_url.removesuffix(".git") + form + commit


@dataclass(frozen=True, slots=True)
class SetPolicy:
    """
    One ``[sets.NAME]`` table, with what it inherits from ``[defaults]``.

    Attributes:
        name: Name of the set.
        spec: What its keys are.
        issuer: The issuer of the set, as it stands in ``iss``.
        url: The public URL of the JWK Set that the keys stand in.
        place: The path of that JWK Set's folder below the site's url; empty for the root.
        paths: Extra paths of that JWK Set on the site.
        closing: The set is being removed: nothing is created, what is left retires.
        external: The private keys live elsewhere, such as in a KMS: nothing is created, public halves are imported.
        cryptoperiod: How long a key signs.
        publication_lead: How long a key must have been seen live before it may sign.
        algorithm_lead: The same for a key of an algorithm that the set has not signed with; None asks for no more.
        token_lifetime: How long tokens live.
        signer_lag: How long a signer may go on using the old key after a rotation.
        clock_skew: How far clocks may be apart.
        retention: How long a key for decryption is kept after it left the set.
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
        require_signatures: Every commit that touches the vault must be signed by somebody whom the commit before it
            lets sign.
        exclude: Patterns of paths, from the top of the repository, in which private keys are not looked for; those of
            the vault itself are never left out.
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
    def mixed_places(self) -> frozenset[str]:
        """The places whose sets write their issuer with and without a slash at its end."""
        issuers: dict[str, set[str]] = {}
        for policy in self.sets.values():
            if policy.kty != "oct":
                issuers.setdefault(policy.place, set()).add(policy.issuer)
        return frozenset(place for place, found in issuers.items() if len(found) > 1)


# --- readers: a TOML value in, a checked value out, ValueError with a reason otherwise -----------------


def _text(value: object) -> str:
    if not isinstance(value, str) or not value.strip() or len(value) > 200 or printable(value) != value:
        raise ValueError("must be one line of 1 to 200 printable characters")
    return value


def _flag(value: object) -> bool:
    if not isinstance(value, bool):
        raise ValueError("must be true or false")
    return value


def _number(value: object) -> int:
    if isinstance(value, bool) or not isinstance(value, int):
        raise ValueError("must be a whole number")
    return value


def _duration(value: object) -> timedelta:
    if not isinstance(value, str):
        raise ValueError('must be a duration in quotes, such as "24h"')
    duration = parse_duration(value)
    if not duration:
        raise ValueError("must be longer than nothing")
    return duration


def _span(value: object) -> timedelta:
    """Read a duration that may be zero."""
    if not isinstance(value, str):
        raise ValueError('must be a duration in quotes, such as "10m"')
    return parse_duration(value)


def _confirm(value: object) -> str:
    if value not in ("live", "commit"):
        raise ValueError('must be "live" or "commit"')
    return str(value)


def _alg(value: object) -> str:
    if not isinstance(value, str) or value not in ALGORITHMS:
        hint = nearest(value, ALGORITHMS) if isinstance(value, str) else None
        raise ValueError(f"is not an algorithm we know{'; ' + hint if hint else ''}")
    return value


def _repo_url(value: object) -> str:
    plain = check_url(value.replace("{commit}", "commit") if isinstance(value, str) else value)
    return str(value).rstrip("/") if plain else ""


def _paths(value: object) -> tuple[str, ...]:
    if not isinstance(value, list) or not all(isinstance(path, str) for path in value):
        raise ValueError('must be a list of paths such as ["/openid/v1/jwks"]')
    for path in value:
        if not is_web_path(path):
            raise ValueError(f"{quoted(path, 520)} must begin with / and be plain path segments")
        if path in SITE_PATHS or is_reserved(path) or ".git" in path.casefold().split("/"):
            raise ValueError(f"{quoted(path, 520)} is a place that the site itself uses")
    return tuple(value)


def _metadata(value: object) -> Mapping[str, Any]:
    if not isinstance(value, dict):
        raise ValueError("must be a table")
    for name in ("issuer", "jwks_uri"):
        if name in value:
            raise ValueError(f"cannot set {name}: it follows from the site's url")
    from keyvault.core.jwk import PRIVATE_MEMBERS

    _plain_json(value)
    if PRIVATE_MEMBERS & set(value):
        raise ValueError(f"cannot set {', '.join(sorted(PRIVATE_MEMBERS & set(value)))}: reserved for private keys")
    return value


def _plain_json(value: object, depth: int = 0) -> None:
    if depth > 5:
        raise ValueError("is nested too deep")
    if isinstance(value, dict):
        for item in value.values():
            _plain_json(item, depth + 1)
    elif isinstance(value, list):
        for item in value:
            _plain_json(item, depth + 1)
    elif not isinstance(value, str | bool | int):
        raise ValueError("takes text, whole numbers, true, false, lists and tables")


def _patterns(value: object) -> tuple[str, ...]:
    if not isinstance(value, list) or not all(isinstance(one, str) and one.strip() for one in value):
        raise ValueError('must be a list of patterns, such as ["tests/*"]')
    return tuple(value)


@dataclass(frozen=True, slots=True)
class _Member:
    read: Callable[[object], Any]
    schema: Mapping[str, Any]
    about: str


_DURATION_SCHEMA = {"type": "string", "pattern": r"^(\d+w)?(\d+d)?(\d+h)?(\d+m)?(\d+s)?$", "minLength": 2}
_STRING: Mapping[str, Any] = {"type": "string"}
_ISSUER_SCHEMA = {
    "type": "string",
    "minLength": 1,
    "maxLength": ISSUER_MAX,
    "examples": ["https://auth.example.org", "https://tenant.example.com/", "s6BhdRkqt3"],
}

_SITE = {
    "url": _Member(
        check_url, {"type": "string", "format": "uri"}, "where the rendered site is served; the default issuer"
    ),
    "issuer": _Member(
        check_issuer, _ISSUER_SCHEMA, "issuer of the sets that name none, as it stands in iss; default is the url"
    ),
    "title": _Member(_text, {"type": "string", "maxLength": 200}, "headline of the site"),
    "max_age": _Member(_duration, _DURATION_SCHEMA, "what the host sends as Cache-Control for JWK Sets: 5m to 1h"),
    "confirm": _Member(_confirm, {"enum": ["live", "commit"]}, "what counts as proof of publication"),
    "discovery": _Member(_flag, {"type": "boolean"}, "render openid-configuration"),
    "repo_url": _Member(_repo_url, _STRING, "where people read the repository; makes links of commits"),
    "metadata": _Member(_metadata, {"type": "object"}, "extra members of the discovery document"),
}
_TIMING = {
    "cryptoperiod": _Member(_duration, _DURATION_SCHEMA, "how long a key signs"),
    "publication_lead": _Member(_span, _DURATION_SCHEMA, "how long a key must have been seen live before it may sign"),
    "algorithm_lead": _Member(
        _span, _DURATION_SCHEMA, "the same for a key of a new algorithm: verifiers exist that must be restarted for one"
    ),
    "token_lifetime": _Member(_duration, _DURATION_SCHEMA, "how long tokens live"),
    "signer_lag": _Member(_span, _DURATION_SCHEMA, "how long a signer may go on using the old key"),
    "clock_skew": _Member(_span, _DURATION_SCHEMA, "how far clocks may be apart"),
    "retention": _Member(_duration, _DURATION_SCHEMA, "how long a decryption key is kept after it left the set"),
    "allow_short_lead": _Member(_flag, {"type": "boolean"}, "accept a publication_lead under 3h"),
}
_SET = {
    "alg": _Member(_alg, {"enum": list(ALGORITHMS)}, "JOSE algorithm of the set's keys"),
    "crv": _Member(_text, {"enum": list(CURVE_KTY)}, "curve, where the algorithm takes more than one"),
    "bits": _Member(_number, {"type": "integer"}, "length of an RSA modulus or of a symmetric secret"),
    "kid": _Member(_text, {"enum": list(KID_FORMS)}, "how new keys get their kid; spki is that of kube-apiserver"),
    "issuer": _Member(
        check_issuer, _ISSUER_SCHEMA, "issuer of the set, as it stands in iss: a URL, or any text such as a client_id"
    ),
    "at": _Member(
        check_place,
        {"type": "string", "pattern": "^/", "examples": ["/clients/acme", "/"]},
        "folder of the set's JWK Set on the site; sets at one place share a JWK Set and their issuer",
    ),
    "paths": _Member(_paths, {"type": "array", "items": _STRING}, "extra places of the issuer's JWK Set"),
    "closing": _Member(_flag, {"type": "boolean"}, "the set is being removed; written by `keyvault set remove`"),
    "external": _Member(_flag, {"type": "boolean"}, "private keys live elsewhere; public halves are imported"),
    **_TIMING,
}
_AUDIT = {
    "require_signatures": _Member(
        _flag, {"type": "boolean"}, "every commit that touches the vault must be signed by an allowed signer"
    ),
    "exclude": _Member(
        _patterns,
        {"type": "array", "items": _STRING},
        "paths in which private keys are not looked for, such as tests/*",
    ),
}
_TOP = ("format", "site", "defaults", "audit", "sets")


def _read(where: str, table: object, members: Mapping[str, _Member]) -> dict[str, Any]:
    if not isinstance(table, Mapping):
        raise ConfigError(f"{where} in keyvault.toml must be a table")
    values = {}
    for name, value in table.items():
        member = members.get(name)
        if member is None:
            raise ConfigError(
                f"unknown member {quoted(name)} in {where} of keyvault.toml",
                hint=_hint(name, members),
            )
        try:
            values[name] = member.read(value)
        except (ValueError, OverflowError) as error:
            raise ConfigError(f"{name} in {where} of keyvault.toml {_because(value, error)}") from None
    return values


def _hint(name: str, members: Mapping[str, _Member]) -> str:
    if members is _TIMING and name in _SET:
        return f"{name} goes into the table of a set, [sets.NAME]"
    return nearest(name, members) or "known are " + ", ".join(members)


def _because(value: object, error: Exception) -> str:
    text = str(error)
    return text if text.startswith(("must", "is ", "cannot", "takes")) else f"cannot be {quoted(value)}: {text}"


def parse_policy(document: Mapping[str, Any]) -> Policy:
    """
    Return the policy that *document*, the parsed keyvault.toml, states.

    Raises:
        ConfigError: A member is unknown or malformed, or members contradict each other; the message has
            the figures.
    """
    for name in document:
        if name not in _TOP:
            raise ConfigError(
                f"unknown member {quoted(name)} in keyvault.toml",
                hint=nearest(name, _TOP) or "known are " + ", ".join(_TOP),
            )
    if document.get("format") != FORMAT or isinstance(document.get("format"), bool):
        raise ConfigError(
            f"keyvault.toml has format {quoted(document.get('format'), 40)}, this version reads format {FORMAT}",
            hint=f"the first line is: format = {FORMAT}",
        )
    site_values = _read("[site]", document.get("site", {}), _SITE)
    if "url" not in site_values:
        raise ConfigError("keyvault.toml has no [site] url", hint='[site]\nurl = "https://keys.example.com"')
    site = SitePolicy(**site_values)
    if not MAX_AGE_MIN <= site.max_age <= MAX_AGE_MAX:
        raise ConfigError(
            f"max_age of {format_duration(site.max_age)} in [site] must be "
            f"{format_duration(MAX_AGE_MIN)} to {format_duration(MAX_AGE_MAX)}"
        )
    defaults = _read("[defaults]", document.get("defaults", {}), _TIMING)
    audit = AuditPolicy(**_read("[audit]", document.get("audit", {}), _AUDIT))
    tables = document.get("sets", {})
    if not isinstance(tables, Mapping):
        raise ConfigError("[sets] in keyvault.toml must hold one table a set")
    sets = {}
    for name, table in tables.items():
        check_set_name(name)
        sets[name] = _set_policy(name, {**defaults, **_read(f"[sets.{name}]", table, _SET)}, site)
    _check_places(site, sets)
    _check_paths(site, sets)
    _check_company(site, sets)
    return Policy(site, sets, audit)


@lru_cache(4096)  # each key names its set
def check_set_name(name: str) -> str:
    """
    Return *name* if a set can have it: ``[a-z0-9][a-z0-9._-]{0,63}``.

    Raises:
        ConfigError: It cannot; names that would be unusable as a folder are among them.
    """
    from keyvault.core.jwk import file_stem

    if not _SET_NAME.fullmatch(name) or file_stem(name) != name or name == "identities":
        raise ConfigError(
            f"set name {quoted(name)} cannot be used",
            hint="a name is 1 to 64 of a-z 0-9 . _ - and begins with a letter or digit",
        )
    return name


def _set_policy(name: str, values: dict[str, Any], site: SitePolicy) -> SetPolicy:
    where = f"[sets.{name}]"
    if "alg" not in values:
        raise ConfigError(f"{where} in keyvault.toml has no alg", hint='for example: alg = "ES256"')
    try:
        spec = key_spec(values.pop("alg"), **{name: values.pop(name, None) for name in ("crv", "bits", "kid")})
    except ConfigError as error:
        raise ConfigError(f"{where} in keyvault.toml: {error.message}", hint=error.hint) from None
    short = values.pop("allow_short_lead", False)
    issuer = values.pop("issuer", site.default_issuer)
    place = _place(where, name, issuer, values.pop("at", None), site)
    policy = SetPolicy(name=name, spec=spec, issuer=issuer, url=site.url + place + WELL_KNOWN, place=place, **values)
    _check_timing(where, policy, allow_short_lead=short)
    return policy


def _place(where: str, name: str, issuer: str, at: str | None, site: SitePolicy) -> str:
    """Return the place of the JWK Set of *issuer*: what ``at`` says, else the issuer's own path on the site."""
    home = path_of_issuer(site.url, issuer)
    if home and is_reserved(home):
        raise ConfigError(f"issuer {elided(issuer)} of {where} lies in a folder that the site itself uses")
    if at is not None:
        return at
    if home is not None:
        return home
    if issuer == site.default_issuer:
        return ""
    raise ConfigError(
        f"issuer {elided(issuer)} of {where} does not lie under the site's url {site.url}: say where its JWK Set is "
        "served",
        hint=f'at = "/{name}"; or issuer in [site], where it is the issuer of all sets',
    )


def _check_timing(where: str, policy: SetPolicy, *, allow_short_lead: bool) -> None:
    period = format_duration(policy.cryptoperiod)
    overlap = policy.token_lifetime + policy.signer_lag
    if overlap >= policy.cryptoperiod:
        raise ConfigError(
            f"{where}: token_lifetime {format_duration(policy.token_lifetime)} + signer_lag "
            f"{format_duration(policy.signer_lag)} must be less than cryptoperiod {period}"
        )
    lead = format_duration(policy.publication_lead)
    if policy.publication_lead >= policy.cryptoperiod:
        raise ConfigError(f"{where}: publication_lead {lead} must be less than cryptoperiod {period}")
    if policy.publication_lead < LEAD_MIN and not allow_short_lead:
        raise ConfigError(
            f"{where}: publication_lead {lead} is shorter than {format_duration(LEAD_MIN)}: verifiers exist that "
            "keep a JWK Set for 2h",
            hint="raise it, or say allow_short_lead = true where you know every verifier",
        )
    if policy.clock_skew > timedelta(days=1):
        raise ConfigError(f"{where}: clock_skew {format_duration(policy.clock_skew)} must be at most 24h")


def _check_places(site: SitePolicy, sets: Mapping[str, SetPolicy]) -> None:
    """Refuse a JWK Set with two issuers, either of which could sign for the other, and an ambiguous discovery."""
    at_place: dict[str, SetPolicy] = {}
    by_home: dict[str, SetPolicy] = {}
    for policy in sets.values():
        if policy.kty == "oct":
            continue  # never rendered, so it has a place in name only
        other = at_place.setdefault(policy.place, policy)
        # One that differs by a slash is a slip of the same person: `lint` says it, and every command goes on.
        if other.issuer.removesuffix("/") != policy.issuer.removesuffix("/"):
            raise ConfigError(
                f"[sets.{other.name}] and [sets.{policy.name}] share the JWK Set {policy.url}, and have the issuers "
                f"{elided(other.issuer)} and {elided(policy.issuer)}: each could sign for the other",
                hint=f'at = "/{policy.name}" gives {policy.name} a JWK Set of its own',
            )
        home = path_of_issuer(site.url, policy.issuer)
        if home is None or not site.discovery:
            continue
        known = by_home.setdefault(home, policy)
        if known.place != policy.place:
            raise ConfigError(
                f"[sets.{known.name}] and [sets.{policy.name}] would share the discovery document "
                f"{site.url}{home}{CONFIGURATION}, which can name one issuer and one JWK Set",
                hint=f'at = "{known.place or "/"}" in [sets.{policy.name}], as {known.name} has it; or another issuer',
            )
    for home, policy in by_home.items():
        if (guest := at_place.get(home)) is not None and guest.place != policy.place:
            raise ConfigError(
                f"[sets.{guest.name}] has its JWK Set in the folder of the issuer {elided(policy.issuer)}: verifiers "
                "that look for that issuer's keys there would trust those of another",
                hint=f'at = "/{guest.name}" in [sets.{guest.name}]',
            )
    folded: dict[str, SetPolicy] = {}
    for policy in at_place.values():
        known = folded.setdefault(policy.place.casefold(), policy)
        # File systems fold case. Places that follow from issuers were read before there were others, and still are.
        if known is not policy and any(one.place != path_of_issuer(site.url, one.issuer) for one in (known, policy)):
            raise ConfigError(
                f"[sets.{known.name}] and [sets.{policy.name}] have the places {known.place} and {policy.place}, which "
                "differ by case alone",
                hint=f'at = "/{policy.name}" in [sets.{policy.name}]',
            )


def _check_company(site: SitePolicy, sets: Mapping[str, SetPolicy]) -> None:
    """Refuse keys of a type that most verifiers do not know where these would lose the keys that they do know."""
    kinds: dict[str, dict[bool, SetPolicy]] = {}
    for policy in sets.values():
        if policy.kty != "oct":
            kinds.setdefault(policy.place, {}).setdefault(policy.kty == "AKP", policy)
    for found in kinds.values():
        if len(found) > 1:
            akp, common = found[True], found[False]
            on_site = path_of_issuer(site.url, akp.issuer) is not None
            own = f'an issuer of its own: issuer = "{elided(akp.issuer).removesuffix("/")}/{akp.name}"'
            raise ConfigError(
                f"[sets.{akp.name}] has keys of the type AKP, which break verifiers of [sets.{common.name}] in the "
                f"JWK Set of {elided(akp.issuer)}",
                hint=f"give it {own}" if on_site else f'give it a place of its own: at = "/{akp.name}"',
            )


def _check_paths(site: SitePolicy, sets: Mapping[str, SetPolicy]) -> None:
    """Refuse an extra path that two JWK Sets claim."""
    taken = {policy.url: policy for policy in sets.values()}
    for policy in sets.values():
        for path in policy.paths:
            url = site.url + path
            other = taken.setdefault(url, policy)
            if other.place != policy.place:
                raise ConfigError(
                    f"path {path} of [sets.{policy.name}] belongs to the issuer {elided(other.issuer)} already"
                )
            if any(url.startswith(owned + "/") or owned.startswith(url + "/") for owned in taken if owned != url):
                raise ConfigError(f"path {path} of [sets.{policy.name}] would be a file and a folder at once")


def schema() -> dict[str, Any]:
    """Return the JSON Schema of keyvault.toml, for editors."""

    def table(members: Mapping[str, _Member], required: tuple[str, ...] = ()) -> dict[str, Any]:
        properties = {name: {"description": member.about, **member.schema} for name, member in members.items()}
        return {
            "type": "object",
            "additionalProperties": False,
            "properties": properties,
            **({"required": list(required)} if required else {}),
        }

    return {
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        "title": "keyvault.toml",
        "type": "object",
        "additionalProperties": False,
        "required": ["format", "site"],
        "properties": {
            "format": {"const": FORMAT},
            "site": table(_SITE, ("url",)),
            "defaults": table(_TIMING),
            "audit": table(_AUDIT),
            "sets": {
                "type": "object",
                "propertyNames": {"pattern": f"^{_SET_NAME.pattern}$"},
                "additionalProperties": table(_SET, ("alg",)),
            },
        },
    }
