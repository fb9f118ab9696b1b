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
_PEM_LABEL = re.compile(rb"-----BEGIN ([^-\n]*)-----")
_PEM_ALLOWED = (b"PUBLIC KEY", b"CERTIFICATE")
# A private member with a string long enough to be key material, in JSON of any spelling.
_MEMBER = re.compile(r'"(?:d|p|q|dp|dq|qi|k|priv|encrypted_key)"\s*:\s*"[A-Za-z0-9_-]{16,}"')
_ESCAPE = re.compile(r"\\u([0-9a-fA-F]{4})")
_AGE = re.compile(r"AGE-SECRET-KEY-1|openssh-key-v1")


def inspect(path: str, data: bytes) -> None:
    """
    Refuse *data* if it holds private key material.

    Args:
        path: Where it would be published; names the finding.
        data: The finished bytes.

    Raises:
        LeakError: It does, or it is JSON by its name and cannot be read.
    """
    for label in _PEM_LABEL.findall(data):
        if label not in _PEM_ALLOWED:
            raise LeakError(f"{path} holds a PEM block {label.decode(errors='replace')!r:.60}: nothing was written")
    text = data.decode(errors="replace")
    if _AGE.search(text) or _MEMBER.search(text):
        raise LeakError(f"{path} holds private key material: nothing was written")
    if "&" in text or "\\u" in text:
        plain = _ESCAPE.sub(lambda match: chr(int(match[1], 16)), html.unescape(text))
        if _MEMBER.search(plain):
            raise LeakError(f"{path} holds escaped private key material: nothing was written")
    if path.endswith(".json") or path.endswith("openid-configuration"):
        _inspect_json(path, data)


def _inspect_json(path: str, data: bytes) -> None:
    def look(pairs: list[tuple[str, object]]) -> None:
        # Sees every object, the duplicates of a member too, and keeps nothing of it.
        for name, _ in pairs:
            if name in _PRIVATE:
                raise LeakError(f"{path} holds the private member {name!r}: nothing was written")

    try:
        json.loads(data, object_pairs_hook=look)
    except (ValueError, RecursionError):
        raise LeakError(f"{path} is not readable as JSON: nothing was written") from None
