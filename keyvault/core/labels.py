"""
Decide which foreign text a message may show: names and labels, but no possible key material.

For documents that anyone may have written and that are checked for leaks, as in `lint` and `drift`. Elsewhere, messages
use `elided` and `quoted` of `text`, which shorten what looks like a key and keep the rest.

A foreign document may have a private key anywhere: in `kid`, in the name of a member, in a string. So a message gives
the type and the place of a foreign value. It shows the text only if `is_label` finds it too simple to be a key. The
rule counts characters; it does not measure entropy.
"""

from __future__ import annotations

import re
from collections.abc import Iterable

from keyvault.core.leaks import find_private
from keyvault.core.text import printable

#: A secret of 128 bits has 22 characters in base64url; no sound key is shorter.
OPAQUE_MAX = 21
#: How many characters of a label a message shows.
TEXT_MAX = 80

# Nobody writes keys as UUIDs, and many issuers use UUIDs as kids.
_UUID = re.compile(r"(?<![0-9A-Za-z])[0-9A-Fa-f]{8}(?:-[0-9A-Fa-f]{4}){3}-[0-9A-Fa-f]{12}(?![0-9A-Za-z])", re.ASCII)
_WORD = re.compile(r"(?<![0-9A-Za-z])(?:[a-z]{4,20}|[A-Z]{4,20}|[A-Z][a-z]{3,19})(?![0-9A-Za-z])", re.ASCII)
# Characters that are in no alphabet of Base64.
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
    Return whether *text* is a name: it is short, or consists mostly of words.

    A word is a run of 4 to 20 letters that are all small, all capital, or small after one capital. At most `OPAQUE_MAX`
    characters may be outside of words; in a longer text, at least half of the characters must be in words. UUIDs and
    punctuation outside of Base64 do not count. Text in which `find_private` finds a key is not a label.
    """
    counted = _SEPARATOR.sub("", _UUID.sub("", text))
    opaque = len(_SEPARATOR.sub("", _WORD.sub("", _UUID.sub("", text))))
    is_short = len(counted) <= OPAQUE_MAX
    if not is_short and not (opaque <= OPAQUE_MAX and 2 * opaque <= len(counted)):
        return False
    return find_private(text.encode(errors="replace")) is None


def json_type(value: object) -> str:
    """Return the JSON type of *value* in words, for a message that must not show the value."""
    return "a string" if isinstance(value, str) else _JSON_TYPES[_base(value)]


def _base(value: object) -> type:
    return next(kind for kind in (bool, dict, list, int, float, type(None)) if isinstance(value, kind))


def shown(text: str, *, most: int = TEXT_MAX) -> str:
    """Return foreign *text* as one line for a message, cut to *most* characters; only its length if it is no label."""
    if not is_label(text):
        return f"(text of {len(text)} characters, not shown)"
    return printable(text[: most - 1] + "…" if len(text) > most else text)


def few(texts: Iterable[str], most: int = 3) -> str:
    """Return the first *most* of foreign *texts* as a list for a message."""
    listed = list(texts)
    return ", ".join(shown(text) for text in listed[:most]) + (", …" if len(listed) > most else "")
