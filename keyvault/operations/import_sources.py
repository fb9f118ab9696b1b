"""Read keys to import: from files of other programs, and from the JWK Set of another server."""

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
    Return the keys of a file.

    Raises:
        KeyVaultError: If `read_keys` raises it; the message then begins with *source*.
    """
    from keyvault.crypto.imports import read_keys

    try:
        return read_keys(data, ask)
    except KeyVaultError as error:
        raise type(error)(f"{elided(source)[:200]}: {error.message}", code=error.code, hint=error.hint) from None


def fetch_keys(url: str) -> list[dict[str, Any]]:
    """
    Return the JWKs of the JWK Set at *url*, unchanged; an entry that is not an object becomes an empty one.

    Raises:
        LiveError: If the URL cannot be fetched.
        UsageError: If it does not serve a JWK Set, or serves a private key.
    """
    import msgspec

    from keyvault.crypto.imports import holds_private
    from keyvault.publish.live import fetch_body

    shown = elided(url)[:200]
    try:
        document = msgspec.json.decode(fetch_body(url))
    except (msgspec.MsgspecError, RecursionError, UnicodeDecodeError):
        raise UsageError(f"{shown} does not serve JSON", code="not-json") from None
    keys = document.get("keys") if isinstance(document, dict) else None
    if not isinstance(keys, list):
        raise UsageError(f"{shown} does not serve a JWK Set", code="not-jwks")
    jwks = [jwk if isinstance(jwk, dict) else {} for jwk in keys]
    if any(holds_private(jwk) for jwk in jwks):
        raise UsageError(
            f"{shown} serves a private key: everybody can sign with it",
            code="private-key-exposed",
            hint="remove it from that server first",
        )
    return jwks


def read_url(url: str) -> tuple[list[FoundKey], list[str]]:
    """
    Return the public keys that the JWK Set at *url* serves, and a sentence for each key that was skipped.

    Raises:
        LiveError: If the URL cannot be fetched.
        UsageError: If it does not serve a JWK Set, serves a private key, too many keys, or no key to import.
    """
    from keyvault.crypto.imports import KEYS_MAX, read_jwk

    shown, jwks = elided(url)[:200], fetch_keys(url)
    if len(jwks) > KEYS_MAX:
        raise UsageError(f"{shown} serves {len(jwks)} keys; the limit is {KEYS_MAX}", code="keys-too-many")
    found: list[FoundKey] = []
    left_out: list[str] = []
    for number, jwk in enumerate(jwks, 1):
        try:
            found.append(read_jwk(jwk))
        except KeyVaultError as error:
            left_out.append(f"skipped key {number}: {error.message}")
    if not found:
        none = f"{len(jwks)} keys, none of which can be imported" if jwks else "no keys"
        raise UsageError(f"{shown} serves {none}{list_reasons(left_out)}", code="nothing-to-import")
    return found, left_out


def list_reasons(left_out: Sequence[str]) -> str:
    """Return the reasons why keys were skipped, as the end of a message; empty if no key was."""
    more = f"; and {len(left_out) - _REASONS_MAX} more" if len(left_out) > _REASONS_MAX else ""
    return ": " + "; ".join(left_out[:_REASONS_MAX]) + more if left_out else ""
