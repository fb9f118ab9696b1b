"""
Decide whether a next key may become active: it is mature, and the live site serves it.

Source: docs/lifecycle.md.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping
from datetime import datetime
from typing import NamedTuple, NoReturn

from keyvault.core.keys import Key
from keyvault.core.policy import SitePolicy
from keyvault.core.state import KeySet, VaultState
from keyvault.core.text import format_duration, format_instant, relative
from keyvault.core.timing import lead, mature_at, rotation_due_at
from keyvault.errors import GateError

#: The keys that the URL of a JWK Set serves, each as (kid, thumbprint); None if it could not be fetched.
ServedKeys = Collection[tuple[str, str]] | None
#: The keys that each URL serves.
LiveSite = Mapping[str, ServedKeys]


class Refusal(NamedTuple):
    """
    The reason why a key must not become active yet.

    Attributes:
        reason: The reason.
        hint: What to do.
        certain: Whether verifiers would fail; False if the live site could not be fetched.
    """

    reason: str
    hint: str
    certain: bool = True


def must_be_seen_live(key_set: KeySet, site: SitePolicy) -> bool:
    """Whether the next key of the set must be seen live before it may sign."""
    return site.confirm == "live" and key_set.rendered and key_set.policy.use == "sig" and not key_set.policy.closing


def urls_to_fetch(state: VaultState, now: datetime, *, rotating: Collection[str] = ()) -> frozenset[str]:
    """
    Return the URLs of JWK Sets that must be fetched for `plan_due` or `plan_rotation`.

    A URL is fetched if the next key of its set waits for its receipt, or is about to become active because the rotation
    is due or the set is named in *rotating*.
    """
    urls = set()
    for key_set in state.sets.values():
        candidate = key_set.next
        if candidate is None or not must_be_seen_live(key_set, state.policy.site):
            continue
        mature = mature_at(key_set, candidate, state.policy.site)
        due = rotation_due_at(key_set)
        activating = key_set.name in rotating or (due is not None and due <= now)
        if mature is None or (activating and mature <= now):
            urls.add(key_set.policy.url)
    return frozenset(urls)


def is_served(key_set: KeySet, key: Key, live: LiveSite) -> bool | None:
    """Whether the live URL serves *key*; None if it could not be fetched."""
    served = live.get(key_set.policy.url)
    return None if served is None else (key.kid, key.public.thumbprint) in served


def find_refusal(key_set: KeySet, key: Key, site: SitePolicy, at: datetime, live: LiveSite) -> Refusal | None:
    """Return why *key* must not become active at *at*; None if it may."""
    mature = mature_at(key_set, key, site)
    if mature is None:
        return Refusal(
            f"its next key was not yet seen at {key_set.policy.url}",
            "publish the site, then record the receipt: keyvault rotate --due",
        )
    if at < mature:
        needed = lead(key_set, key.public.alg)
        verb = "created" if site.confirm == "commit" or not key_set.rendered else "first seen live"
        longer = needed > key_set.policy.publication_lead
        which = f"next key, the first for {key.public.alg}," if longer else "next key"
        member = "algorithm_lead" if longer else "publication_lead"
        return Refusal(
            f"its {which} was {verb} {relative(mature - needed, at)}; {member} is {format_duration(needed)}",
            f"wait until {format_instant(mature)}",
        )
    if must_be_seen_live(key_set, site):
        served = is_served(key_set, key, live)
        if served is None:
            return Refusal(
                f"{key_set.policy.url} could not be fetched to check that it still serves the next key",
                "try again later",
                certain=False,
            )
        if not served:
            return Refusal(f"{key_set.policy.url} no longer serves the next key", "publish the site again, then rotate")
    return None


def refuse_rotation(refusals: list[tuple[str, Refusal]]) -> NoReturn:
    """
    Raise the error of a rotation that must not happen yet.

    Args:
        refusals: The name of each set that must wait, and why; the message explains the first.

    Raises:
        GateError: Always.
    """
    name, (reason, hint, certain) = refusals[0]
    verb = "would" if certain else "might"
    others = f" (also waiting: {', '.join(other for other, _ in refusals[1:])})" if len(refusals) > 1 else ""
    raise GateError(
        f"rotating {name} now {verb} break verifiers: {reason}{others}",
        code="rotation-too-early",
        hint=f'{hint}, or use --force --reason "…"; if the active key has leaked: '
        "keyvault revoke KID --reason compromised",
    )
