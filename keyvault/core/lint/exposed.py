"""
Private keys anywhere in a document, but as members of a key of its set: those are for `members`.

Looks into strings as `guard` does, and into JSON that somebody encoded as a string, however often. A finding says what
was found and where, and shows none of it.

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

#: How much of a path a finding shows.
_PATH_MAX = 200
_ADVICE = "anyone who reads it can sign; revoke it"


def holds(value: object) -> bool:
    """Whether the private member *value* holds anything: nulls, empty texts and lists of such do not."""
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


def private_members(jwk: Mapping[str, Any]) -> list[str]:
    """Return the private members of *jwk* that hold something, sorted."""
    return sorted(name for name in PRIVATE_MEMBERS & jwk.keys() if holds(jwk[name]))


def lint_exposed(text: str, value: object, *, reported: bool) -> Iterator[Finding]:
    """
    Yield a finding for each private key in the document *text*, which says *value*.

    Args:
        text: The document, decoded.
        value: The JSON value, or None where it is none.
        reported: Whether findings about the keys of its set already name a private key.
    """
    found = list(_walk(value))
    yield from found
    # Text that is not JSON, and a duplicate member that JSON drops, are in the text alone.
    if not found and not reported and (what := find_private(text.encode(errors="replace"))):
        yield _finding(what, "")


def encoded_json(text: str) -> object:
    """Return the JSON object or array that *text* encodes, possibly several times; None for anything else."""
    value: object = text
    while isinstance(value, str):
        try:
            value = json.loads(value) if value.lstrip()[:1] in ("{", "[", '"') else None
        except (ValueError, RecursionError):
            return None
    return value if isinstance(value, dict | list) else None


def _walk(document: object) -> Iterator[Finding]:
    """Go through all objects and texts of *document*, without recursion: a stranger decides how deep it is."""
    keys = _keys_of(document)
    rest: list[tuple[str, object]] = [("", document)]
    while rest:
        place, value = rest.pop()
        match value:
            case dict():
                names = private_members(value) if "kty" in value else []
                if names and not any(value is key for key in keys):
                    yield _finding(f"private members {', '.join(names)} of a key", place)
                for index, (name, member) in enumerate(value.items()):
                    if what := find_private(name.encode(errors="replace")):
                        yield _finding(f"{what}, as the name of a member", place)
                    label = name if is_label(name) else f"(member {index + 1})"
                    rest.append((f"{place}.{label}" if place else label, member))
            case list():
                rest += [(f"{place}[{index}]", item) for index, item in enumerate(value)]
            case str():
                inner = encoded_json(value)
                if inner is not None:
                    rest.append((place, inner))
                elif what := find_private(value.encode(errors="replace")):
                    yield _finding(what, place)


def _keys_of(document: object) -> list[object]:
    """Return the keys of a JWK Set, or a JWK that stands alone: findings about keys name what these expose."""
    if not isinstance(document, dict):
        return []
    keys = document.get("keys")
    return keys if isinstance(keys, list) else [document]


def _finding(what: str, place: str) -> Finding:
    # Verifiers read the other keys of such a document, or none of it; whom it hurts is not the point.
    return finding("private-key", f"{what} in the open: {_ADVICE}", printable(place)[:_PATH_MAX], hurts=())
