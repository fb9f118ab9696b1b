"""
The members of keyvault.toml: the reader, the JSON Schema and the description of each.

There is one Python table for each TOML table; the parser and the schema for editors both use it.

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

# --- readers: return the checked value of a TOML value, or raise ValueError with a reason ---------------


def _text(value: object) -> str:
    if not isinstance(value, str) or not value.strip() or len(value) > 200 or printable(value) != value:
        raise ValueError("must be one line of 1 to 200 printable characters")
    return value


def _boolean(value: object) -> bool:
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
        raise ValueError("must be longer than zero")
    return duration


def _duration_or_zero(value: object) -> timedelta:
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
        raise ValueError(f"is not a supported algorithm{'; ' + hint if hint else ''}")
    return value


def _repo_url(value: object) -> str:
    check_url(value.replace("{commit}", "commit") if isinstance(value, str) else value)
    return str(value).rstrip("/")


def _paths(value: object) -> tuple[str, ...]:
    if not isinstance(value, list) or not all(isinstance(path, str) for path in value):
        raise ValueError('must be a list of paths such as ["/openid/v1/jwks"]')
    for path in value:
        if not is_web_path(path):
            raise ValueError(f"{quoted(path, 520)} must begin with / and have plain path segments")
        if path in SITE_PATHS or is_reserved(path) or ".git" in path.casefold().split("/"):
            raise ValueError(f"{quoted(path, 520)} is reserved for the site")
    return tuple(value)


def _metadata(value: object) -> Mapping[str, Any]:
    if not isinstance(value, dict):
        raise ValueError("must be a table")
    for name in ("issuer", "jwks_uri"):
        if name in value:
            raise ValueError(f"cannot set {name}: it follows from the site's url")
    from keyvault.core.jwk import PRIVATE_MEMBERS

    _check_metadata_value(value)
    if PRIVATE_MEMBERS & set(value):
        raise ValueError(f"cannot set {', '.join(sorted(PRIVATE_MEMBERS & set(value)))}: reserved for private keys")
    return value


def _check_metadata_value(value: object, depth: int = 0) -> None:
    if depth > 5:
        raise ValueError("is nested too deeply")
    if isinstance(value, dict):
        for item in value.values():
            _check_metadata_value(item, depth + 1)
    elif isinstance(value, list):
        for item in value:
            _check_metadata_value(item, depth + 1)
    elif not isinstance(value, str | bool | int):
        raise ValueError("must consist of text, whole numbers, true, false, lists and tables")


def _patterns(value: object) -> tuple[str, ...]:
    if not isinstance(value, list) or not all(isinstance(pattern, str) and pattern.strip() for pattern in value):
        raise ValueError('must be a list of patterns, such as ["tests/*"]')
    return tuple(value)


@dataclass(frozen=True, slots=True)
class Member:
    """A member: its reader, its JSON Schema and its description."""

    read: Callable[[object], Any]
    schema: Mapping[str, Any]
    description: str


_DURATION_SCHEMA = {"type": "string", "pattern": r"^(\d+w)?(\d+d)?(\d+h)?(\d+m)?(\d+s)?$", "minLength": 2}
_STRING: Mapping[str, Any] = {"type": "string"}
_ISSUER_SCHEMA = {
    "type": "string",
    "minLength": 1,
    "maxLength": ISSUER_MAX,
    "examples": ["https://auth.example.org", "https://tenant.example.com/", "s6BhdRkqt3"],
}

SITE = {
    "url": Member(check_url, {"type": "string", "format": "uri"}, "URL of the rendered site; the default issuer"),
    "issuer": Member(
        check_issuer, _ISSUER_SCHEMA, "issuer of the sets that name none, the value of iss; default is the url"
    ),
    "title": Member(_text, {"type": "string", "maxLength": 200}, "headline of the site"),
    "max_age": Member(_duration, _DURATION_SCHEMA, "max-age of JWK Sets in the host's Cache-Control: 5m to 1h"),
    "confirm": Member(_confirm, {"enum": ["live", "commit"]}, "proof of publication: seen live, or committed"),
    "discovery": Member(_boolean, {"type": "boolean"}, "render openid-configuration"),
    "repo_url": Member(_repo_url, _STRING, "web address of the repository; pages link commits to it"),
    "metadata": Member(_metadata, {"type": "object"}, "extra members of the discovery document"),
}
TIMING = {
    "cryptoperiod": Member(_duration, _DURATION_SCHEMA, "how long a key signs"),
    "publication_lead": Member(
        _duration_or_zero, _DURATION_SCHEMA, "how long a key must have been seen live before it may sign"
    ),
    "algorithm_lead": Member(
        _duration_or_zero,
        _DURATION_SCHEMA,
        "the same for a key of a new algorithm: some verifiers must be restarted to accept it",
    ),
    "token_lifetime": Member(_duration, _DURATION_SCHEMA, "how long tokens live"),
    "signer_lag": Member(_duration_or_zero, _DURATION_SCHEMA, "how long a signer may use the old key after a rotation"),
    "clock_skew": Member(_duration_or_zero, _DURATION_SCHEMA, "how far clocks may differ"),
    "retention": Member(_duration, _DURATION_SCHEMA, "how long a decryption key is kept after it left the set"),
    "allow_short_lead": Member(_boolean, {"type": "boolean"}, "accept a publication_lead under 3h"),
}
SET = {
    "alg": Member(_alg, {"enum": list(ALGORITHMS)}, "JOSE algorithm of the set's keys"),
    "crv": Member(_text, {"enum": list(CURVE_KTY)}, "curve, if the algorithm supports more than one"),
    "bits": Member(_number, {"type": "integer"}, "length of an RSA modulus or of a symmetric secret"),
    "kid": Member(_text, {"enum": list(KID_FORMS)}, "form of the kids of new keys; spki is that of kube-apiserver"),
    "issuer": Member(
        check_issuer, _ISSUER_SCHEMA, "issuer of the set, the value of iss: a URL, or any text such as a client_id"
    ),
    "at": Member(
        check_place,
        {"type": "string", "pattern": "^/", "examples": ["/clients/acme", "/"]},
        "folder of the set's JWK Set on the site; sets at one place share a JWK Set and their issuer",
    ),
    "paths": Member(_paths, {"type": "array", "items": _STRING}, "extra paths of the issuer's JWK Set"),
    "closing": Member(_boolean, {"type": "boolean"}, "the set is being removed; written by `keyvault set remove`"),
    "external": Member(_boolean, {"type": "boolean"}, "private keys are kept elsewhere; public keys are imported"),
    **TIMING,
}
AUDIT = {
    "require_signatures": Member(
        _boolean, {"type": "boolean"}, "every commit that changes the vault must be signed by an allowed signer"
    ),
    "exclude": Member(
        _patterns,
        {"type": "array", "items": _STRING},
        "paths that the search for private keys skips, such as tests/*",
    ),
}
TOP = ("format", "site", "defaults", "audit", "sets")


def schema() -> dict[str, Any]:
    """Return the JSON Schema of keyvault.toml, for editors."""

    def table(members: Mapping[str, Member], required: tuple[str, ...] = ()) -> dict[str, Any]:
        properties = {name: {"description": member.description, **member.schema} for name, member in members.items()}
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
