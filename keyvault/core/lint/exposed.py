"""
Find private keys anywhere in a document, except as members of the keys of its set, which `members` checks.

Searches strings as `guard` does, and JSON that was encoded as a string, also several times. A finding names the kind
and the place of private material, and shows none of it.

Source: `keyvault.core.leaks`.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from typing import Any

from keyvault.core.jwk import PRIVATE_MEMBERS
from keyvault.core.labels import is_label
from keyvault.core.leaks import find_private
from keyvault.core.lint.rules import Finding, finding
from keyvault.core.text import printable

#: The most characters of a path that a finding shows.
_PATH_MAX = 200
_ADVICE = "anyone who reads it can sign; revoke the key"


def has_content(value: object) -> bool:
    """Whether the private member *value* contains anything but nulls, empty strings and empty containers."""
    rest = [value]
    while rest:
        match rest.pop():
            case dict() as members:
                rest += members.values()
            case list() as items:
                rest += items
            case str() as text:
                if text.strip():
                    return True
            case None:
                pass
            case _:
                return True
    return False


def exposed_member_names(jwk: Mapping[str, Any]) -> list[str]:
    """Return the private members of *jwk* that have content, sorted."""
    return sorted(name for name in PRIVATE_MEMBERS & jwk.keys() if has_content(jwk[name]))


def lint_exposed(text: str, value: object, *, reported: bool) -> Iterator[Finding]:
    """
    Yield a finding for each private key in the document *text*.

    Args:
        text: The decoded document.
        value: Its JSON value; None if it is not JSON.
        reported: Whether findings about the keys of its set already name a private key.
    """
    findings = list(_walk(value))
    yield from findings
    # Only the text contains material outside of JSON, and duplicate members that a JSON parser drops.
    if not findings and not reported and (kind := find_private(text.encode(errors="replace"))):
        yield _finding(kind, "")


def encoded_json(text: str) -> object:
    """Return the JSON object or array that *text* encodes once or several times; None for anything else."""
    value: object = text
    while isinstance(value, str):
        try:
            value = json.loads(value) if value.lstrip()[:1] in ("{", "[", '"') else None
        except (ValueError, RecursionError):
            return None
    return value if isinstance(value, dict | list) else None


def _walk(document: object) -> Iterator[Finding]:
    """Search all objects and strings of *document*; not recursive, since the document is untrusted and may be deep."""
    keys = _keys_of(document)
    rest: list[tuple[str, object]] = [("", document)]
    while rest:
        place, value = rest.pop()
        match value:
            case dict():
                names = exposed_member_names(value) if "kty" in value else []
                if names and not any(value is key for key in keys):
                    yield _finding(f"private members {', '.join(names)} of a key", place)
                for index, (name, member) in enumerate(value.items()):
                    if kind := find_private(name.encode(errors="replace")):
                        yield _finding(f"{kind} as the name of a member", place)
                    label = name if is_label(name) else f"(member {index + 1})"
                    rest.append((f"{place}.{label}" if place else label, member))
            case list():
                rest += [(f"{place}[{index}]", item) for index, item in enumerate(value)]
            case str():
                inner = encoded_json(value)
                if inner is not None:
                    rest.append((place, inner))
                elif kind := find_private(value.encode(errors="replace")):
                    yield _finding(kind, place)


def _keys_of(document: object) -> list[object]:
    """Return the keys of a JWK Set, or the single JWK: `members` reports their private members."""
    if not isinstance(document, dict):
        return []
    keys = document.get("keys")
    return keys if isinstance(keys, list) else [document]


def _finding(kind: str, place: str) -> Finding:
    # The problem is the leak, not which verifiers can read the document.
    return finding("private-key", f"{kind} in the clear: {_ADVICE}", printable(place)[:_PATH_MAX], hurts=())
