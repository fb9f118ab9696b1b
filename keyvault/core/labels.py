"""
Which foreign text a message may show: names and labels, and nothing that can be key material.

A document of somebody unknown may hold a private key anywhere: in `kid`, in the name of a member, in a string. So a
message gives the type and the place of a foreign value. It shows the text only if `is_label` says that the text is too
poor to be a key. No entropy is measured: the rule counts characters.
"""

from __future__ import annotations

import re
from collections.abc import Iterable

from keyvault.core.leaks import find_private
from keyvault.core.text import printable

#: A secret of 128 bits has 22 characters in base64url; no sound key is shorter.
OPAQUE_MAX = 21
#: How much of a label a message shows.
TEXT_MAX = 80

# Keys are not written as UUIDs, and many issuers name keys by one.
_UUID = re.compile(r"(?<![0-9A-Za-z])[0-9A-Fa-f]{8}(?:-[0-9A-Fa-f]{4}){3}-[0-9A-Fa-f]{12}(?![0-9A-Za-z])", re.ASCII)
_WORD = re.compile(r"(?<![0-9A-Za-z])(?:[a-z]{4,20}|[A-Z]{4,20}|[A-Z][a-z]{3,19})(?![0-9A-Za-z])", re.ASCII)
# No alphabet of Base64 has these.
_SEPARATOR = re.compile(r"[ .:;,#?&@(){}\[\]|~$*!]", re.ASCII)

_JSON_TYPES = {
    dict: "an object",
    list: "an array",
    bool: "a boolean",
    int: "a number",
    float: "a number",
    type(None): "null",
}


def is_label(text: str) -> bool:
    """
    Whether *text* is a name: it is short, or consists of words for the most part.

    A word is a run of 4 to 20 letters that are all small, all capital, or small after one capital. At most `OPAQUE_MAX`
    characters may be in no word, and where there are more in all, at least half are in words. UUIDs do not count, nor
    does punctuation that Base64 does not have. Text in which `find_private` finds a key is no label.
    """
    counted = _SEPARATOR.sub("", _UUID.sub("", text))
    opaque = len(_SEPARATOR.sub("", _WORD.sub("", _UUID.sub("", text))))
    is_short = len(counted) <= OPAQUE_MAX
    if not is_short and not (opaque <= OPAQUE_MAX and 2 * opaque <= len(counted)):
        return False
    return find_private(text.encode(errors="replace")) is None


def json_type(value: object) -> str:
    """Return the JSON type of *value* in words: what a message says in place of a value."""
    return "text" if isinstance(value, str) else _JSON_TYPES[_base(value)]


def _base(value: object) -> type:
    return next(kind for kind in (bool, dict, list, int, float, type(None)) if isinstance(value, kind))


def shown(text: str, *, most: int = TEXT_MAX) -> str:
    """Return foreign *text* as a message shows it: on one line and cut, or its length where it is no label."""
    if not is_label(text):
        return f"(text of {len(text)} characters, not shown)"
    return printable(text[: most - 1] + "…" if len(text) > most else text)


def few(texts: Iterable[str], most: int = 3) -> str:
    """Return the first of *texts*, which are foreign, as a message lists them."""
    listed = list(texts)
    return ", ".join(shown(text) for text in listed[:most]) + (", …" if len(listed) > most else "")
