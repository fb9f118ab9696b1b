"""
When a key may become active, when its rotation is due, and until when it is kept.

The timing rule::

    activate(next)    not before  first seen live + lead, while the live URL still serves it
    withdraw(retiring)      after keep_until = deactivated_at + signer_lag + token_lifetime + clock_skew

``lead`` is publication_lead, or algorithm_lead if that is longer and the algorithm is new to the set. Encryption keys
need no lead, and their keep_until is deactivated_at + retention.

Source: docs/lifecycle.md.
"""

from __future__ import annotations

from datetime import datetime, timedelta

from keyvault.core.keys import Key
from keyvault.core.policy import SitePolicy
from keyvault.core.state import KeySet, longest_token_lifetime
from keyvault.core.text import format_instant
from keyvault.errors import KeyVaultError


def effective_instant(key_set: KeySet, now: datetime, *, emergency: bool = False) -> datetime:
    """
    Return the instant that new events of *key_set* carry: *now*, or the newest one on record if later.

    Args:
        key_set: The set.
        now: The instant of the command.
        emergency: Whether to continue however far the newest event lies in the future.

    Raises:
        KeyVaultError: If the clock is behind the newest event by more than ``clock_skew``.
    """
    now = now.replace(microsecond=0)
    newest = key_set.newest_at
    if newest is None or newest <= now:
        return now
    if newest - now > key_set.policy.clock_skew and not emergency:
        raise KeyVaultError(
            f"the clock says {format_instant(now)}, but set {key_set.name} has an event at {format_instant(newest)}",
            code="clock-behind",
            hint="if this clock is right: keyvault repair --dry-run; otherwise set the clock",
        )
    return newest


def counts_as_published_at(key_set: KeySet, key: Key, site: SitePolicy) -> datetime | None:
    """Return since when *key* counts as published; None if it has no receipt yet."""
    if not key_set.rendered or key_set.policy.use == "enc" or site.confirm == "commit":
        return key.life.created_at
    return key.life.published.get(key_set.policy.url)


def is_new_algorithm(key_set: KeySet, alg: str) -> bool:
    """Whether *key_set* has active or retiring keys, and none of them is for *alg*."""
    signers = [key.public.alg for key in (key_set.active, *key_set.retiring) if key]
    return bool(signers) and alg not in signers


def lead(key_set: KeySet, alg: str) -> timedelta:
    """Return how long a next key for *alg* must have been seen live before it may sign."""
    return key_set.policy.lead(new_algorithm=key_set.rendered and is_new_algorithm(key_set, alg))


def mature_at(key_set: KeySet, key: Key, site: SitePolicy) -> datetime | None:
    """
    Return from when the next *key* may become active; None if it has no receipt yet.

    A key for encryption is mature at once: it is not published before it is active, and the old key is retained for
    senders that still use it.
    """
    if key_set.policy.use == "enc":
        return key.life.created_at
    seen = counts_as_published_at(key_set, key, site)
    return None if seen is None else seen + lead(key_set, key.public.alg)


def rotation_due_at(key_set: KeySet) -> datetime | None:
    """Return when the active key's cryptoperiod ends; None if there is no active key."""
    active = key_set.active
    if active is None or active.life.activated_at is None:
        return None
    return active.life.activated_at + key_set.policy.cryptoperiod


def keep_until(key_set: KeySet, key: Key | None, at: datetime) -> datetime:
    """Return until when *key*, deactivated at *at*, must be kept; None stands for a key that does not exist yet."""
    policy = key_set.policy
    if policy.use == "enc":
        return at + policy.retention
    lifetime = policy.token_lifetime if key is None else longest_token_lifetime(key, policy)
    return at + policy.signer_lag + lifetime + policy.clock_skew
