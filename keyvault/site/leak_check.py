"""
The second wall: read every byte that is about to be published, and refuse private key material.

Shares no code with the first wall, the allowlist that builds public JWKs. It looks at the finished bytes: as
JSON where they are JSON, as PEM where they are PEM, and as text in every case.
"""

from __future__ import annotations

import html
import json
import re

from keyvault.errors import LeakError

_PRIVATE = frozenset({"d", "p", "q", "dp", "dq", "qi", "oth", "k", "priv", "encrypted_key", "ciphertext", "private"})
_PEM_LABEL = re.compile(r"-----BEGIN ([^-\n]*)-----")
_PEM_ALLOWED = ("PUBLIC KEY", "CERTIFICATE")
# A private member with a string long enough to be key material, in JSON of any spelling.
_MEMBER = re.compile(r'"(?:d|p|q|dp|dq|qi|k|priv|encrypted_key)"\s*:\s*"[A-Za-z0-9_-]{16,}"')
_ESCAPE = re.compile(r"\\u([0-9a-fA-F]{4})")
# JSON in a string of JSON, however deep: no member name and no key material has a backslash of its own.
_BACKSLASHES = re.compile(r'\\+(["nrt])')
_MARKS = ("AGE-SECRET-KEY-1", "openssh-key-v1")
#: What our own pages escape. Undone by hand first: the library's way takes as long as rendering does.
_ESCAPED = (("&#34;", '"'), ("&#39;", "'"), ("&lt;", "<"), ("&gt;", ">"), ("&amp;", "&"))


def inspect(path: str, data: bytes) -> None:
    """
    Refuse *data* if it holds private key material.

    Args:
        path: Where it would be published; names the finding.
        data: The finished bytes.

    Raises:
        LeakError: It does, or it is JSON by its name and cannot be read.
    """
    try:
        text, readable = data.decode(), True
    except UnicodeDecodeError:
        text, readable = data.decode(errors="replace"), False
    _inspect_text(path, text, "private key material")
    if "&" in text or "\\" in text:
        plain = text
        for escaped, char in _ESCAPED:
            plain = plain.replace(escaped, char)
        if "&" in plain:
            plain = html.unescape(plain)
        if "\\" in plain:
            plain = _ESCAPE.sub(lambda match: chr(int(match[1], 16)), plain)
            plain = _BACKSLASHES.sub(lambda match: match[1] if match[1] == '"' else " ", plain)
        _inspect_text(path, plain, "escaped private key material")
    named = path.endswith((".json", "openid-configuration"))
    if named or text.lstrip()[:1] in ("{", "["):
        _inspect_json(path, text if readable else None, named=named)


def _inspect_text(path: str, text: str, what: str) -> None:
    for label in _PEM_LABEL.findall(text):
        if label not in _PEM_ALLOWED:
            raise LeakError(f"{path} holds a PEM block {label!r:.60}: nothing was written")
    if any(mark in text for mark in _MARKS) or _MEMBER.search(text):
        raise LeakError(f"{path} holds {what}: nothing was written")


def _inspect_json(path: str, text: str | None, *, named: bool) -> None:
    def look(pairs: list[tuple[str, object]]) -> None:
        # Sees every object, the duplicates of a member too, and keeps nothing of it.
        for name, _ in pairs:
            if name in _PRIVATE:
                raise LeakError(f"{path} holds the private member {name!r}: nothing was written")

    try:
        json.loads("" if text is None else text, object_pairs_hook=look)
    except (ValueError, RecursionError):
        # A JWK Set may stand at a path of any name; a style sheet may begin with a bracket, too.
        if named:
            raise LeakError(f"{path} is not readable as JSON: nothing was written") from None
