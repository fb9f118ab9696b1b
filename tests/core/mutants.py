"""
Timing rules with small errors, each an error that somebody made before.

Tests replace the real rule by one of them; the judge of the sweeps must then find a token that fails.
"""

from __future__ import annotations

from collections.abc import Callable
from datetime import datetime

import pytest

from keyvault.core import gate, outlook, planning, steps, timing
from keyvault.core.keys import Key
from keyvault.core.policy import SitePolicy
from keyvault.core.state import KeySet, longest_token_lifetime
from tests.core.build import SECOND


def counts_from_the_commit(key_set: KeySet, key: Key, site: SitePolicy) -> datetime | None:
    return key.life.created_at


def forgets_the_signers(key_set: KeySet, key: Key, at: datetime) -> datetime:
    return at + longest_token_lifetime(key, key_set.policy) + key_set.policy.clock_skew


def forgets_the_skew(key_set: KeySet, key: Key, at: datetime) -> datetime:
    return at + key_set.policy.signer_lag + longest_token_lifetime(key, key_set.policy)


def removes_at_exactly(key_set: KeySet, key: Key, at: datetime) -> datetime:
    # Withdrawing strictly after one second less is withdrawing at exactly that instant.
    policy = key_set.policy
    return at + policy.signer_lag + longest_token_lifetime(key, policy) + policy.clock_skew - SECOND


MUTANTS = [
    pytest.param("counts_as_published_at", counts_from_the_commit, id="activation counts from the commit"),
    pytest.param("keep_until", forgets_the_signers, id="the signers' lag is forgotten"),
    pytest.param("keep_until", forgets_the_skew, id="the clocks' skew is forgotten"),
    pytest.param("keep_until", removes_at_exactly, id="removal comes at exactly the last instant"),
]


def replace_rule(patch: pytest.MonkeyPatch, name: str, mutant: Callable[..., object]) -> None:
    """Put *mutant* in the place of the rule called *name*, wherever planners use it."""
    for module in (timing, gate, steps, planning, outlook):
        if hasattr(module, name):
            patch.setattr(module, name, mutant)
