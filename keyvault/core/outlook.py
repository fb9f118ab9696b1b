"""
The transitions that policy will make in the future, and those that are overdue.

Source: docs/lifecycle.md.
"""

from __future__ import annotations

from collections.abc import Collection
from datetime import datetime, timedelta

import msgspec

from keyvault.core.keys import Key
from keyvault.core.notices import import_missing
from keyvault.core.policy import SitePolicy
from keyvault.core.state import KeySet, VaultState
from keyvault.core.text import relative
from keyvault.core.timing import counts_as_published_at, keep_until, lead, mature_at, rotation_due_at


class Transition(msgspec.Struct, frozen=True):
    """
    A transition that policy will make.

    Attributes:
        at: The earliest instant; a scheduled run makes the transition some time later.
        set: Name of the set.
        event: ``created``, ``published``, ``activated``, ``deactivated`` or ``withdrawn``.
        kid: The key; None if it does not exist yet.
    """

    at: datetime
    set: str
    event: str
    kid: str | None


def outlook(
    state: VaultState, now: datetime, *, until: datetime, names: Collection[str] | None = None
) -> list[Transition]:
    """
    Return the transitions that policy will make up to *until*, oldest first.

    Each has its earliest instant: it is assumed that scheduled runs are on time, and that a new key is seen live as
    soon as it is created.
    """
    transitions: list[Transition] = []
    for name, key_set in state.sets.items():
        if names is None or name in names:
            transitions += _outlook_set(key_set, state.policy.site, now, until)
    return sorted((t for t in transitions if t.at <= until), key=lambda t: (t.at, t.set, t.event))


def next_transition(key_set: KeySet, site: SitePolicy, now: datetime) -> Transition | None:
    """Return the first transition that policy will make in *key_set*; None if there is none."""
    due = max(rotation_due_at(key_set) or now, now)
    found = _outlook_set(key_set, site, now, due + key_set.policy.lead(new_algorithm=True))
    return min(found, key=lambda transition: transition.at, default=None)


def _outlook_set(key_set: KeySet, site: SitePolicy, now: datetime, until: datetime) -> list[Transition]:
    policy = key_set.policy
    found: list[Transition] = []

    def add(at: datetime, event: str, key: Key | None) -> None:
        found.append(Transition(at, key_set.name, event, key.kid if key else None))

    def retire(at: datetime, key: Key | None) -> None:
        add(at, "deactivated", key)
        add(keep_until(key_set, key, at) + timedelta(seconds=1), "withdrawn", key)

    for key in key_set.retiring:
        if key.life.keep_until is not None:
            add(max(now, key.life.keep_until + timedelta(seconds=1)), "withdrawn", key)
    active, candidate = key_set.active, key_set.next
    if policy.closing:
        if candidate is not None:
            add(now, "withdrawn", candidate)
        if active is not None:
            retire(now, active)
        return found
    later_lead, next_lead = (
        (timedelta(0), timedelta(0))
        if policy.use == "enc"
        else (policy.publication_lead, lead(key_set, policy.spec.alg))
    )
    due, mature = rotation_due_at(key_set), now + next_lead
    if policy.external and candidate is None:
        return found  # the operator who imports the next key decides when
    if due is None:
        if candidate is None:
            add(now, "created", None)
        add(now, "activated", candidate)
        active, candidate, due = candidate, None, now + policy.cryptoperiod
    elif candidate is not None and not candidate.fits(policy.spec):
        add(now, "withdrawn", candidate)
        candidate = None
    if candidate is None:
        add(now, "created", None)
    elif (candidate_mature := mature_at(key_set, candidate, site)) is None:
        add(now, "published", candidate)
    else:
        mature = candidate_mature
    while (at := max(due, mature, now)) <= until:
        add(at, "activated", candidate)
        retire(at, active)
        if policy.external:
            break
        add(at, "created", None)
        active, candidate = candidate, None
        due, mature = at + policy.cryptoperiod, at + later_lead
    return found


def overdue(
    state: VaultState, now: datetime, *, grace: timedelta = timedelta(0), names: Collection[str] | None = None
) -> list[str]:
    """
    Return the transitions that are overdue by more than *grace*, one sentence each; of the sets *names*, or of all.

    Lateness is safe: the old key continues to sign and old keys stay published. It is still worth an alarm.
    """
    found = []
    site = state.policy.site
    for name, key_set in state.sets.items():
        if names is not None and name not in names:
            continue
        found += [
            f"{name}: key {key.kid} should have been withdrawn {relative(key.life.keep_until, now)}"
            for key in key_set.retiring
            if key.life.keep_until is not None and now > key.life.keep_until + grace
        ]
        if key_set.policy.closing:
            continue
        candidate, due = key_set.next, rotation_due_at(key_set)
        if key_set.active is None or candidate is None:
            if not key_set.policy.external:
                found.append(f"{name}: a key is missing; keyvault rotate --due creates it")
            elif due is None or now > due - key_set.policy.publication_lead:
                found.append(import_missing(key_set))
            continue
        if due is not None and now > max(due, mature_at(key_set, candidate, site) or due) + grace:
            found.append(f"{name}: rotation was due {relative(due, now)}")
        if counts_as_published_at(key_set, candidate, site) is None:
            created_at = candidate.life.created_at
            if now > created_at + key_set.policy.publication_lead + grace:
                found.append(
                    f"{name}: the next key was created {relative(created_at, now)} and not yet seen at "
                    f"{key_set.policy.url}"
                )
    return found
