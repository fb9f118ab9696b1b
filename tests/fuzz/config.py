"""Policies in keyvault.toml: they give a policy or one clear error, and edits change only their own values."""

from __future__ import annotations

import json
from random import Random

from keyvault.config import edit_sets, read_policy
from keyvault.core.jwk import PRIVATE_MEMBERS
from keyvault.core.policy import Policy
from keyvault.core.state import VaultState
from keyvault.errors import ConfigError, KeyVaultError
from keyvault.site.build import discovery, jwk_sets
from tests.fuzz import check_message
from tests.fuzz.mutation import mutated_toml

NEW = "fuzzed-set"


def check(data: bytes) -> None:
    """Read *data* as keyvault.toml, edit it and undo that, and publish the keys that it asks for."""
    try:
        policy = read_policy(data)
    except ConfigError as error:
        check_message(error.message)
        return
    _edit(data, policy)
    _publish(policy)


def _edit(data: bytes, policy: Policy) -> None:
    try:
        if policy.sets:
            assert edit_sets(data, {}) == data, "an edit of nothing changed something"
        edited = edit_sets(data, {NEW: {"alg": "ES256"}})
    except ConfigError as error:
        check_message(error.message)
        return
    after = read_policy(edited)
    if NEW not in policy.sets:
        assert {name: table for name, table in after.sets.items() if name != NEW} == dict(policy.sets)
        assert read_policy(edit_sets(edited, {NEW: None})) == policy
    assert after.site == policy.site
    assert after.sets[NEW].spec.alg == "ES256"


def _publish(policy: Policy) -> None:
    state = VaultState("c0ffee", policy, {})
    try:
        documents = [*jwk_sets(state), *discovery(state)]
    except KeyVaultError as error:
        check_message(error.message)
        return
    for _, document in documents:
        assert not PRIVATE_MEMBERS & set(json.loads(document)), "a private member would be published"


def mutate(data: bytes, rng: Random) -> bytes:
    return mutated_toml(data, rng)
