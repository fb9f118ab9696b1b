"""Compare what two commits publish, for the review of a change before it is merged."""

from __future__ import annotations

import msgspec

from keyvault import config
from keyvault.core.keys import Key
from keyvault.core.state import Commit, VaultState
from keyvault.core.text import format_duration
from keyvault.operations.context import Context
from keyvault.site.documents import is_shown


class KeyDifference(msgspec.Struct, frozen=True):
    """A key in a published JWK Set, before and after; a state is None if the key is not in the set."""

    set: str
    kid: str
    alg: str
    before: str | None
    after: str | None


class SettingDifference(msgspec.Struct, frozen=True):
    """A setting that verifiers or hosts notice, before and after; None if there is none."""

    set: str | None
    name: str
    before: str | None
    after: str | None


class Difference(msgspec.Struct, frozen=True):
    """The changes from *base* to *head*; *base* is None if that commit has no vault."""

    base: str | None
    head: str
    keys: list[KeyDifference]
    settings: list[SettingDifference]


def difference(context: Context, base: Commit, head: Commit) -> Difference:
    """
    Return the differences between what the commits *base* and *head* publish.

    Raises:
        GitError: If *head* holds no vault.
        KeyVaultError: If one of the two holds a vault that cannot be read, as for `Repository.read`.
    """
    repository = context.repository
    # The first change of a vault adds the vault itself.
    before = repository.read(base) if config.FILE in repository.files(base, config.FILE) else None
    after = context.state(head)
    old_keys, new_keys = _published(before), _published(after)
    keys = []
    for place in sorted({**old_keys, **new_keys}):
        old_key, new_key = old_keys.get(place), new_keys.get(place)
        states = old_key.state if old_key else None, new_key.state if new_key else None
        if states[0] != states[1]:
            keys.append(KeyDifference(*place, (new_key or old_keys[place]).public.alg, *states))
    old_settings, new_settings = _settings(before), _settings(after)
    settings = [
        SettingDifference(*setting, old_settings.get(setting), new_settings.get(setting))
        for setting in {**old_settings, **new_settings}
        if old_settings.get(setting) != new_settings.get(setting)
    ]
    return Difference(before.commit if before else None, after.commit, keys, settings)


def _published(state: VaultState | None) -> dict[tuple[str, str], Key]:
    """Return the keys that *state* serves, by set and kid."""
    if state is None:
        return {}
    return {(name, key.kid): key for name, key_set in state.sets.items() for key in key_set.jwk_set if is_shown(key)}


def _settings(state: VaultState | None) -> dict[tuple[str | None, str], str]:
    """Return the settings of *state* that verifiers, hosts and recipients notice, by set and name."""
    if state is None:
        return {}
    policy, site = state.policy, state.policy.site
    found: dict[tuple[str | None, str], str] = {
        (None, "url"): site.url,
        (None, "max_age"): format_duration(site.max_age),
        (None, "discovery"): str(site.discovery).lower(),
        # Every recipient on this list can open all keys that are generated from now on.
        (None, "recipients"): ", ".join(sorted(state.recipients)) or "nobody",
    }
    for name, set_policy in policy.sets.items():
        found |= {
            (name, "alg"): str(set_policy.spec),
            (name, "issuer"): set_policy.issuer,
            (name, "jwks_uri"): set_policy.url,
        }
        if set_policy.paths:
            found[name, "paths"] = ", ".join(set_policy.paths)
    return found
