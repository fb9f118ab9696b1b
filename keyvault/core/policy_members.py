"""
The members of keyvault.toml: how each is read, its JSON Schema, and what it means.

One table for each TOML table; the parser and the schema for editors both come from it.

Source: docs/format.md.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import timedelta
from typing import Any

from keyvault.core.algorithms import ALGORITHMS, CURVE_KTY, KID_FORMS
from keyvault.core.places import ISSUER_MAX, SITE_PATHS, check_issuer, check_place, check_url, is_reserved, is_web_path
from keyvault.core.policy import SET_NAME
from keyvault.core.text import nearest, parse_duration, printable, quoted

FORMAT = 1

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
class Member:
    """One member: its reader, its JSON Schema, and its meaning."""

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

SITE = {
    "url": Member(
        check_url, {"type": "string", "format": "uri"}, "where the rendered site is served; the default issuer"
    ),
    "issuer": Member(
        check_issuer, _ISSUER_SCHEMA, "issuer of the sets that name none, as it stands in iss; default is the url"
    ),
    "title": Member(_text, {"type": "string", "maxLength": 200}, "headline of the site"),
    "max_age": Member(_duration, _DURATION_SCHEMA, "what the host sends as Cache-Control for JWK Sets: 5m to 1h"),
    "confirm": Member(_confirm, {"enum": ["live", "commit"]}, "what counts as proof of publication"),
    "discovery": Member(_flag, {"type": "boolean"}, "render openid-configuration"),
    "repo_url": Member(_repo_url, _STRING, "where people read the repository; makes links of commits"),
    "metadata": Member(_metadata, {"type": "object"}, "extra members of the discovery document"),
}
TIMING = {
    "cryptoperiod": Member(_duration, _DURATION_SCHEMA, "how long a key signs"),
    "publication_lead": Member(_span, _DURATION_SCHEMA, "how long a key must have been seen live before it may sign"),
    "algorithm_lead": Member(
        _span, _DURATION_SCHEMA, "the same for a key of a new algorithm: verifiers exist that must be restarted for one"
    ),
    "token_lifetime": Member(_duration, _DURATION_SCHEMA, "how long tokens live"),
    "signer_lag": Member(_span, _DURATION_SCHEMA, "how long a signer may go on using the old key"),
    "clock_skew": Member(_span, _DURATION_SCHEMA, "how far clocks may be apart"),
    "retention": Member(_duration, _DURATION_SCHEMA, "how long a decryption key is kept after it left the set"),
    "allow_short_lead": Member(_flag, {"type": "boolean"}, "accept a publication_lead under 3h"),
}
SET = {
    "alg": Member(_alg, {"enum": list(ALGORITHMS)}, "JOSE algorithm of the set's keys"),
    "crv": Member(_text, {"enum": list(CURVE_KTY)}, "curve, where the algorithm takes more than one"),
    "bits": Member(_number, {"type": "integer"}, "length of an RSA modulus or of a symmetric secret"),
    "kid": Member(_text, {"enum": list(KID_FORMS)}, "how new keys get their kid; spki is that of kube-apiserver"),
    "issuer": Member(
        check_issuer, _ISSUER_SCHEMA, "issuer of the set, as it stands in iss: a URL, or any text such as a client_id"
    ),
    "at": Member(
        check_place,
        {"type": "string", "pattern": "^/", "examples": ["/clients/acme", "/"]},
        "folder of the set's JWK Set on the site; sets at one place share a JWK Set and their issuer",
    ),
    "paths": Member(_paths, {"type": "array", "items": _STRING}, "extra places of the issuer's JWK Set"),
    "closing": Member(_flag, {"type": "boolean"}, "the set is being removed; written by `keyvault set remove`"),
    "external": Member(_flag, {"type": "boolean"}, "private keys live elsewhere; public halves are imported"),
    **TIMING,
}
AUDIT = {
    "require_signatures": Member(
        _flag, {"type": "boolean"}, "every commit that touches the vault must be signed by an allowed signer"
    ),
    "exclude": Member(
        _patterns,
        {"type": "array", "items": _STRING},
        "paths in which private keys are not looked for, such as tests/*",
    ),
}
TOP = ("format", "site", "defaults", "audit", "sets")


def schema() -> dict[str, Any]:
    """Return the JSON Schema of keyvault.toml, for editors."""

    def table(members: Mapping[str, Member], required: tuple[str, ...] = ()) -> dict[str, Any]:
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
            "site": table(SITE, ("url",)),
            "defaults": table(TIMING),
            "audit": table(AUDIT),
            "sets": {
                "type": "object",
                "propertyNames": {"pattern": f"^{SET_NAME.pattern}$"},
                "additionalProperties": table(SET, ("alg",)),
            },
        },
    }
