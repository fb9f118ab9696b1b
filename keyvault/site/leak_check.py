"""
Check every byte that is about to be published, and refuse private key material.

This is the second line of defence. It shares no code with the first, the allowlist that builds public JWKs. It reads
the finished bytes: always as text, as JSON if they are JSON, and as PEM if they are PEM.
"""

from __future__ import annotations

import html
import json
import re

from keyvault.errors import LeakError

_PRIVATE = frozenset({"d", "p", "q", "dp", "dq", "qi", "oth", "k", "priv", "encrypted_key", "ciphertext", "private"})
_PEM_LABEL = re.compile(r"-----BEGIN ([^-\n]*)-----")
_PEM_ALLOWED = ("PUBLIC KEY", "CERTIFICATE")
# A private member whose string is long enough to be key material, however the JSON is spaced.
_MEMBER = re.compile(r'"(?:d|p|q|dp|dq|qi|k|priv|encrypted_key)"\s*:\s*"[A-Za-z0-9_-]{16,}"')
_ESCAPE = re.compile(r"\\u([0-9a-fA-F]{4})")
# JSON within JSON strings, at any depth: neither member names nor key material contain backslashes.
_BACKSLASHES = re.compile(r'\\+(["nrt])')
_MARKS = ("AGE-SECRET-KEY-1", "openssh-key-v1")
#: The escapes of our own pages, which are replaced first: `html.unescape` takes as long as rendering does.
_ESCAPED = (("&#34;", '"'), ("&#39;", "'"), ("&lt;", "<"), ("&gt;", ">"), ("&amp;", "&"))


def refuse_private(path: str, data: bytes) -> None:
    """
    Refuse *data* if it holds private key material.

    Args:
        path: The path that it would be published at; also for the message.
        data: The finished bytes.

    Raises:
        LeakError: If *data* contains private key material, or its path says JSON and it does not parse.
    """
    try:
        text, is_text = data.decode(), True
    except UnicodeDecodeError:
        text, is_text = data.decode(errors="replace"), False
    _refuse_in_text(path, text, "private key material")
    if "&" in text or "\\" in text:
        plain = text
        for escaped, char in _ESCAPED:
            plain = plain.replace(escaped, char)
        if "&" in plain:
            plain = html.unescape(plain)
        if "\\" in plain:
            plain = _ESCAPE.sub(lambda match: chr(int(match[1], 16)), plain)
            plain = _BACKSLASHES.sub(lambda match: match[1] if match[1] == '"' else " ", plain)
        _refuse_in_text(path, plain, "escaped private key material")
    must_parse = path.endswith((".json", "openid-configuration"))
    if must_parse or text.lstrip()[:1] in ("{", "["):
        _refuse_in_json(path, text if is_text else None, must_parse=must_parse)


def _refuse_in_text(path: str, text: str, what: str) -> None:
    for label in _PEM_LABEL.findall(text):
        if label not in _PEM_ALLOWED:
            raise LeakError(f"{path} contains a PEM block {label!r:.60}; nothing was written", code="site-private-key")
    if any(mark in text for mark in _MARKS) or _MEMBER.search(text):
        raise LeakError(f"{path} contains {what}; nothing was written", code="site-private-key")


def _refuse_in_json(path: str, text: str | None, *, must_parse: bool) -> None:
    def refuse_members(pairs: list[tuple[str, object]]) -> None:
        # Is called with every object, including duplicate members, and keeps nothing in memory.
        for name, _ in pairs:
            if name in _PRIVATE:
                message = f"{path} contains the private member {name!r}; nothing was written"
                raise LeakError(message, code="site-private-key")

    try:
        json.loads("" if text is None else text, object_pairs_hook=refuse_members)
    except (ValueError, RecursionError):
        # The path of a JWK Set can have any name; but a style sheet may begin with a bracket, too.
        if must_parse:
            raise LeakError(f"{path} is not valid JSON; nothing was written", code="site-json-invalid") from None
