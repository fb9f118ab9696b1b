"""
Sentences that come with a plan: warnings about verifiers, and reasons why a key must wait.

Does not decide anything: `planning` does.
"""

from __future__ import annotations

from datetime import datetime

from keyvault.core.keys import Key
from keyvault.core.policy import SitePolicy
from keyvault.core.state import KeySet
from keyvault.core.text import format_duration, format_instant
from keyvault.core.timing import counts_as_published_at, is_new_algorithm, lead, mature_at
from keyvault.core.verifiers import KEEP_ALGORITHMS

_RESTARTED_VERIFIERS = ", ".join(KEEP_ALGORITHMS)


def waiting_for_new_kind(key_set: KeySet) -> str:
    """Return the reason why a next key that replaced a key of another kind must wait."""
    policy = key_set.policy
    if policy.use == "enc":
        return f"{key_set.name}: the new {policy.spec} key takes over at the next rotation"
    needed = lead(key_set, policy.spec.alg)
    member = f"algorithm_lead, {format_duration(needed)}" if needed > policy.publication_lead else "publication_lead"
    receipt = "its own receipt and " if key_set.rendered else ""
    return f"{key_set.name}: the new {policy.spec} key waits for {receipt}{member}"


def restart_warnings(key_set: KeySet) -> list[str]:
    """Return a warning to restart verifiers before a key of the set's new algorithm signs; empty if none must be."""
    policy = key_set.policy
    if not (key_set.rendered and policy.use == "sig" and is_new_algorithm(key_set, policy.spec.alg)):
        return []
    longer = policy.algorithm_lead
    advice = f"algorithm_lead is {format_duration(longer)}" if longer else "set algorithm_lead to leave time for it"
    return [
        f"{key_set.name} changes to {policy.spec.alg}: restart {_RESTARTED_VERIFIERS} once the next key is seen live, "
        f"since they learn algorithms only when they start; {advice}"
    ]


def first_use_warnings(key_set: KeySet, candidate: Key, site: SitePolicy) -> tuple[str, ...]:
    """Return a warning if verifiers may refuse tokens of *candidate*, which is about to sign, for its algorithm."""
    alg = candidate.public.alg
    return (
        new_algorithm_warnings(key_set, alg, counts_as_published_at(key_set, candidate, site))
        if is_new_algorithm(key_set, alg)
        else ()
    )


def new_algorithm_warnings(key_set: KeySet, alg: str, seen: datetime | None) -> tuple[str, ...]:
    """Return a warning that verifiers may refuse *alg*, whose key counts as published at *seen*, or None if unknown."""
    if not key_set.rendered or key_set.policy.use != "sig":
        return ()
    since = "the key was published" if seen is None else format_instant(seen)
    return (
        f"{key_set.name} signs with {alg} from now on: {_RESTARTED_VERIFIERS} refuse it unless they were restarted "
        f"since {since}; keyvault rollback {key_set.name} goes back",
    )


def import_missing(key_set: KeySet) -> str:
    """Return the sentence that asks the operator to import the missing key of an external set."""
    missing = f"next {key_set.policy.spec} key" if key_set.active else "active key"
    return f"{key_set.name}: there is no {missing}; keyvault key import {key_set.name} FILE"


def unknown_signer_warnings(key_set: KeySet, candidate: Key, site: SitePolicy, at: datetime) -> tuple[str, ...]:
    """Return a warning if *candidate* succeeds earlier signers of the set, and verifiers may not know it."""
    signed = any(event.event == "activated" for key in key_set.keys for event in key.events)
    mature = mature_at(key_set, candidate, site)
    if not signed or not key_set.rendered or (mature is not None and mature <= at):
        return ()
    return (
        f"{key_set.name} had no active key: verifiers may not know the new active key yet; publish the site at once",
    )
