"""What one commit changes in what another one publishes: for those who review a change before it is merged."""

from __future__ import annotations

import msgspec

from keyvault import config
from keyvault.core.keys import Key
from keyvault.core.state import Commit, VaultState
from keyvault.core.text import format_duration
from keyvault.operations.context import Context
from keyvault.site.documents import is_shown


class KeyDifference(msgspec.Struct, frozen=True):
    """A key in a published JWK Set, before and after; a state is None where it is not in the set."""

    set: str
    kid: str
    alg: str
    before: str | None
    after: str | None


class SettingDifference(msgspec.Struct, frozen=True):
    """A setting that verifiers or hosts notice, before and after; None where there is none."""

    set: str | None
    name: str
    before: str | None
    after: str | None


class Difference(msgspec.Struct, frozen=True):
    """What *head* changes against *base*, which is None where it has no vault."""

    base: str | None
    head: str
    keys: list[KeyDifference]
    settings: list[SettingDifference]


def difference(context: Context, base: Commit, head: Commit) -> Difference:
    """
    Return what the commit *head* publishes otherwise than *base* does.

    Raises:
        GitError: If *head* holds no vault.
        KeyVaultError: If one of the two holds a vault that cannot be read, as for `Repository.read`.
    """
    repository = context.repository
    # The first change of all brings the vault itself.
    before = repository.read(base) if config.FILE in repository.files(base, config.FILE) else None
    after = context.state(head)
    old, new = _published(before), _published(after)
    keys = []
    for place in sorted({**old, **new}):
        was, now = old.get(place), new.get(place)
        states = was.state if was else None, now.state if now else None
        if states[0] != states[1]:
            keys.append(KeyDifference(*place, (now or old[place]).public.alg, *states))
    was_set, now_set = _settings(before), _settings(after)
    settings = [
        SettingDifference(*setting, was_set.get(setting), now_set.get(setting))
        for setting in {**was_set, **now_set}
        if was_set.get(setting) != now_set.get(setting)
    ]
    return Difference(before.commit if before else None, after.commit, keys, settings)


def _published(state: VaultState | None) -> dict[tuple[str, str], Key]:
    """Return the keys that *state* serves, by set and kid."""
    if state is None:
        return {}
    return {(name, key.kid): key for name, key_set in state.sets.items() for key in key_set.published if is_shown(key)}


def _settings(state: VaultState | None) -> dict[tuple[str | None, str], str]:
    """Return what verifiers, hosts and those who open keys notice of *state*, by set and name."""
    if state is None:
        return {}
    policy, site = state.policy, state.policy.site
    found: dict[tuple[str | None, str], str] = {
        (None, "url"): site.url,
        (None, "max_age"): format_duration(site.max_age),
        (None, "discovery"): str(site.discovery).lower(),
        # Whoever is on this list opens every key that is made from now on.
        (None, "recipients"): ", ".join(sorted(state.recipients)) or "nobody",
    }
    for name, one in policy.sets.items():
        found |= {(name, "alg"): str(one.spec), (name, "issuer"): one.issuer, (name, "jwks_uri"): one.url}
        if one.paths:
            found[name, "paths"] = ", ".join(one.paths)
    return found
