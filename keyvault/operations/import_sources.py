"""Read keys from where they are: files of other programs, and the JWK Set of another server."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from keyvault.core.text import elided
from keyvault.errors import KeyVaultError, UsageError

if TYPE_CHECKING:
    from keyvault.crypto.imports import AskPassword, FoundKey

#: How many reasons an error lists.
_REASONS_MAX = 16


def read_file(data: bytes, ask: AskPassword, source: str) -> list[FoundKey]:
    """
    Return the keys of a file; errors as `read_keys`, with the name of the file before them.

    Raises:
        KeyVaultError: As said.
    """
    from keyvault.crypto.imports import read_keys

    try:
        return read_keys(data, ask)
    except KeyVaultError as error:
        raise type(error)(f"{elided(source)[:200]}: {error.message}", hint=error.hint) from None


def fetch_keys(url: str) -> list[dict[str, Any]]:
    """
    Return the JWKs of the JWK Set at *url* as they stand there; an entry that is no object is an empty one.

    Raises:
        LiveError: If it cannot be had.
        UsageError: If it is no JWK Set, or serves a private key.
    """
    import msgspec

    from keyvault.crypto.imports import holds_private
    from keyvault.publish.live import fetch_body

    shown = elided(url)[:200]
    try:
        document = msgspec.json.decode(fetch_body(url))
    except (msgspec.MsgspecError, RecursionError, UnicodeDecodeError):
        raise UsageError(f"{shown} does not serve JSON") from None
    keys = document.get("keys") if isinstance(document, dict) else None
    if not isinstance(keys, list):
        raise UsageError(f"{shown} does not serve a JWK Set")
    jwks = [jwk if isinstance(jwk, dict) else {} for jwk in keys]
    if any(holds_private(jwk) for jwk in jwks):
        raise UsageError(f"{shown} serves a private key: whoever asks can sign", hint="take it from there first")
    return jwks


def read_url(url: str) -> tuple[list[FoundKey], list[str]]:
    """
    Return the public keys that the JWK Set at *url* serves, and why others of it are not taken, a sentence each.

    Raises:
        LiveError: If it cannot be had.
        UsageError: If it is no JWK Set, has no key that can be taken, or too many, or serves a private key.
    """
    from keyvault.crypto.imports import KEYS_MAX, read_jwk

    shown, jwks = elided(url)[:200], fetch_keys(url)
    if len(jwks) > KEYS_MAX:
        raise UsageError(f"{shown} serves {len(jwks)} keys; the limit is {KEYS_MAX}")
    found: list[FoundKey] = []
    left_out: list[str] = []
    for number, jwk in enumerate(jwks, 1):
        try:
            found.append(read_jwk(jwk))
        except KeyVaultError as error:
            left_out.append(f"key {number} is left out: {error.message}")
    if not found:
        raise UsageError(f"{shown} serves {_none_of(len(jwks))}{list_reasons(left_out)}")
    return found, left_out


def _none_of(count: int) -> str:
    return f"{count} keys, none of which can be imported" if count else "no keys"


def list_reasons(left_out: Sequence[str]) -> str:
    """Return why keys were left out, to stand behind a message; nothing if none were."""
    more = f"; and {len(left_out) - _REASONS_MAX} more" if len(left_out) > _REASONS_MAX else ""
    return ": " + "; ".join(left_out[:_REASONS_MAX]) + more if left_out else ""
