"""
Complete and check the claims of a token before it is signed.

Does not sign. ``crypto/tokens`` has the checks of a verifier.

Sources: RFC 7519 section 4.1 (registered claims), docs/lifecycle.md (why no token may outlive its key).
"""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime, timedelta
from typing import Any

from keyvault.core.policy import SetPolicy
from keyvault.core.text import DURATION_MAX, format_duration
from keyvault.errors import UsageError

#: The lifetime of a token without ``exp``, if the caller gives none.
DEFAULT_LIFETIME = timedelta(minutes=10)

NUMERIC_DATES = ("exp", "nbf", "iat")


def is_numeric_date(value: object) -> bool:
    """Return whether *value* is a NumericDate (RFC 7519 section 2) that a float represents exactly."""
    # JSON allows integers of any size.
    return isinstance(value, int | float) and not isinstance(value, bool) and abs(value) < 2**53


def complete_claims(
    claims: Mapping[str, Any], policy: SetPolicy, now: datetime, *, ttl: timedelta | None = None
) -> dict[str, Any]:
    """
    Return *claims* with ``iss``, ``iat`` and ``exp``, filled in if they are missing.

    Args:
        claims: The claims of a token.
        policy: The policy of the set whose key signs it.
        now: The instant of the signature.
        ttl: The lifetime of a token without ``exp``; None for `DEFAULT_LIFETIME`, or ``token_lifetime`` if that is
            shorter.

    Raises:
        UsageError: If an instant is not a number of seconds, or the token would live longer than ``token_lifetime``:
            its key may be withdrawn before it expires.
    """
    issued = int(now.timestamp())
    lifetime = min(DEFAULT_LIFETIME, policy.token_lifetime) if ttl is None else ttl
    full = {"iss": policy.issuer, "iat": issued, "exp": issued + int(lifetime.total_seconds()), **claims}
    for name in NUMERIC_DATES:
        if name in full and not is_numeric_date(full[name]):
            raise UsageError(f"claim {name} is not a number of seconds since 1970", code="claim-invalid")
    ahead = full["exp"] - issued
    if ahead > policy.token_lifetime.total_seconds():
        bounded = timedelta(seconds=min(ahead, DURATION_MAX.total_seconds()))
        more = "more than " if ahead > DURATION_MAX.total_seconds() else ""
        raise UsageError(
            f"the token would live for {more}{format_duration(bounded)}, token_lifetime is "
            f"{format_duration(policy.token_lifetime)}: its key may be withdrawn before it expires",
            code="token-outlives-key",
            hint="set an earlier exp, or raise token_lifetime in keyvault.toml first",
        )
    return full
