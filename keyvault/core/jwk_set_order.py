"""
The order of the keys in a JWK Set: some verifiers try the keys in this order, and some take only the first.

The sets of a place follow each other by key type and name; within a set, the key that signs comes first.
"""

from __future__ import annotations

from collections.abc import Iterable

from keyvault.core.algorithms import KTY_ORDER
from keyvault.core.keys import Key


def set_order(kty: str, name: str) -> tuple[int, str]:
    """Return the sort key of a set at its place: RSA, EC, OKP, AKP; then by name."""
    return KTY_ORDER.index(kty), name


def sort_keys(keys: Iterable[Key]) -> tuple[Key, ...]:
    """Sort the live keys of a set: active, next, retiring; of the retiring keys, the last active one first."""
    by_state: dict[str, list[Key]] = {"active": [], "next": [], "retiring": []}
    for key in keys:
        by_state[key.state].append(key)
    by_state["retiring"].sort(key=lambda key: (key.life.deactivated_at, key.kid), reverse=True)
    return tuple(key for found in by_state.values() for key in found)
