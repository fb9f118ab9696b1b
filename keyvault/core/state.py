"""
The state of a vault at one commit, as a value.

`KeySet` gives planners and pages the keys of one set by their state. A usable set has at most one active and at most
one next key.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from functools import cached_property
from typing import NewType

from keyvault.core.jwk_set_order import set_order, sort_keys
from keyvault.core.keys import Key, Recipient
from keyvault.core.policy import Policy, SetPolicy
from keyvault.core.text import elided, quoted
from keyvault.errors import RecordError, UsageError

#: The number of sets that a hint lists.
_NAMES_MAX = 10


@dataclass(frozen=True)
class KeySet:
    """
    A named series of keys for one purpose.

    Attributes:
        name: Its name.
        policy: Its table of keyvault.toml.
        keys: All its keys, withdrawn and revoked keys too, oldest first.
    """

    name: str
    policy: SetPolicy
    keys: tuple[Key, ...] = ()

    def check_states(self) -> None:
        """
        Refuse a set with two active or two next keys, as a merge can leave it.

        Raises:
            RecordError: If it has two.
        """
        active, following = ([key.kid for key in self._in_state(state)] for state in ("active", "next"))
        hint = "keyvault repair --dry-run"
        if len(active) > 1:
            raise RecordError(
                f"set {self.name} has {len(active)} active keys: {', '.join(active)}", code="two-active", hint=hint
            )
        if len(following) > 1:
            raise RecordError(
                f"set {self.name} has {len(following)} next keys: {', '.join(following)}", code="two-next", hint=hint
            )

    def _in_state(self, state: str) -> list[Key]:
        return [key for key in self.keys if key.state == state]

    @cached_property
    def active(self) -> Key | None:
        """The key that signs."""
        return next(iter(self._in_state("active")), None)

    @cached_property
    def next(self) -> Key | None:
        """The key that will sign."""
        return next(iter(self._in_state("next")), None)

    @cached_property
    def retiring(self) -> tuple[Key, ...]:
        """The keys that no longer sign and are still published, newest first."""
        return sort_keys(self._in_state("retiring"))

    @cached_property
    def live(self) -> tuple[Key, ...]:
        """The active key, the next key and the retiring keys."""
        return sort_keys(key for key in (self.active, self.next, *self.retiring) if key)

    @property
    def jwk_set(self) -> tuple[Key, ...]:
        """The keys of the set's JWK Set, in its order: all live keys, or for encryption only the active key."""
        if not self.rendered:
            return ()
        # If the set was symmetric once, it has keys without a public half.
        public = (key for key in self.live if key.public.kty != "oct")
        return tuple(key for key in public if key.state == "active" or self.policy.use != "enc")

    @property
    def rendered(self) -> bool:
        """Whether the site renders the set; symmetric keys are never published."""
        return self.policy.kty != "oct"

    @property
    def newest_at(self) -> datetime | None:
        """The instant of the newest event of the set, or None."""
        return max((key.life.newest_at for key in self.keys), default=None)


@dataclass(frozen=True, slots=True)
class Damage:
    """
    A problem in a vault, caused by a merge, a wrong clock or an edit by hand.

    Attributes:
        code: A code of the audit, such as ``record-malformed`` or ``two-next``.
        message: The problem: one line, lower case, no full stop, no key material.
        path: The file of the vault, or empty.
        set: The set that it concerns, or None.
        usable: Whether commands can still use the set.
    """

    code: str
    message: str
    path: str = ""
    set: str | None = None
    usable: bool = False


#: The full id of a commit. Only ``repo/git`` creates one, when it resolves a revision or writes a commit: a name such
#: as HEAD may mean another commit a moment later, so a command resolves it once and passes the id on.
Commit = NewType("Commit", str)

#: The id of a state that is not committed yet.
NO_COMMIT = Commit("")


@dataclass(frozen=True)
class VaultState:
    """
    The content of a vault at one commit.

    Attributes:
        commit: The commit's id.
        policy: keyvault.toml.
        keys: Every key record, by kid.
        recipients: The recipients of private keys, by kid.
        damage: Its problems; empty unless it was read to be shown or repaired. `sets` leaves out damaged sets.
    """

    commit: Commit
    policy: Policy
    keys: Mapping[str, Key]
    recipients: Mapping[str, Recipient] = field(default_factory=dict)
    damage: tuple[Damage, ...] = ()

    @cached_property
    def sets(self) -> dict[str, KeySet]:
        """
        The sets of keyvault.toml by name, in its order, with their keys, without damaged sets.

        Raises:
            RecordError: If a set has two active or two next keys, or has live keys and no table.
        """
        damaged = self.damaged_sets
        for name, keys in self.former_sets.items():
            if name not in damaged and any(key.state in ("next", "active", "retiring") for key in keys):
                raise RecordError(
                    f"set {quoted(name)} has live keys but no table in keyvault.toml",
                    code="set-orphaned",
                    hint=f"restore [sets.{name}] in keyvault.toml; then, to remove the set: keyvault set remove {name}",
                )
        found = {name: key_set for name, key_set in self.all_sets.items() if name not in damaged}
        for key_set in found.values():
            key_set.check_states()
        return found

    @cached_property
    def all_sets(self) -> dict[str, KeySet]:
        """The sets of keyvault.toml by name, in its order, with their keys, with damaged sets."""
        by_set: dict[str, list[Key]] = {name: [] for name in self.policy.sets}
        for key in self.keys.values():
            if key.set in by_set:
                by_set[key.set].append(key)
        return {
            name: KeySet(name, self.policy.sets[name], tuple(sorted(keys, key=_creation_order)))
            for name, keys in by_set.items()
        }

    @cached_property
    def damaged_sets(self) -> dict[str, Damage]:
        """The first problem of each set that is not usable, by the name of the set."""
        found: dict[str, Damage] = {}
        for damage in self.damage:
            if damage.set is not None and not damage.usable:
                found.setdefault(damage.set, damage)
        return found

    @cached_property
    def former_sets(self) -> dict[str, tuple[Key, ...]]:
        """The keys of sets without a table in keyvault.toml, oldest first, by the name of the set."""
        by_set: dict[str, list[Key]] = {}
        for key in self.keys.values():
            if key.set not in self.policy.sets:
                by_set.setdefault(key.set, []).append(key)
        return {name: tuple(sorted(keys, key=_creation_order)) for name, keys in sorted(by_set.items())}

    def find_set(self, name: str) -> KeySet:
        """
        Return the set called *name*.

        Raises:
            UsageError: If there is no such set; the hint has the most similar name.
            RecordError: If the set is damaged.
        """
        from keyvault.core.text import nearest

        damage = self.damaged_sets.get(name)
        if damage is not None:
            raise RecordError(damage.message, code=damage.code, hint="keyvault repair --dry-run")
        try:
            return self.sets[name]
        except KeyError:
            names = list(self.sets)
            names[_NAMES_MAX:] = ["…"] if len(names) > _NAMES_MAX else []
            raise UsageError(
                f"no set {quoted(name)} in this vault",
                code="set-unknown",
                hint=nearest(name, self.sets) or f"the sets are {', '.join(names) or 'none yet'}",
            ) from None

    def find_key(self, prefix: str) -> Key:
        """
        Return the only key whose kid begins with *prefix*.

        Raises:
            UsageError: If no kid begins with it, or more than one.
            RecordError: If no kid begins with it, and a record is damaged.
        """
        from keyvault.core.text import nearest

        exact = self.keys.get(prefix)
        if exact is not None:
            return exact
        found = [kid for kid in self.keys if prefix and kid.startswith(prefix)]
        if not found and self.damaged_sets:
            damage = next(iter(self.damaged_sets.values()))
            raise RecordError(
                f"key {quoted(prefix, 150)} not found, and the vault is damaged: {damage.message}",
                code=damage.code,
                hint="keyvault repair",
            )
        if not found:
            raise UsageError(
                f"no key {quoted(prefix, 150)} in this vault",
                code="kid-unknown",
                hint=nearest(prefix, self.keys) or "keyvault key list --all",
            )
        if len(found) > 1:
            shown = ", ".join(sorted(found)[:4]) + (", …" if len(found) > 4 else "")
            raise UsageError(
                f"{quoted(prefix)} matches {len(found)} keys: {shown}",
                code="kid-ambiguous",
                hint="give more of the kid",
            )
        return self.keys[found[0]]

    def find_place(self, issuer: str | None = None, at: str | None = None) -> str:
        """
        Return the only place of *issuer*, or of the site's issuer.

        Args:
            issuer: The value of ``iss``; a final slash that the issuer lacks is ignored.
            at: The place, if the issuer has several; ``/`` for the root.

        Raises:
            UsageError: If the issuer has no such place, or several.
        """
        wanted = self.policy.site.default_issuer if issuer is None else issuer
        known = {place: self.issuer_at(place) for place in self.places}
        candidates = {
            place for place, other in known.items() if wanted == other or (":" in other and wanted == f"{other}/")
        }
        if not candidates:
            issuers = ", ".join(map(elided, dict.fromkeys(known.values())))
            raise UsageError(
                f"no issuer {quoted(wanted)} in this vault", code="issuer-unknown", hint=f"one of {issuers}"
            )
        places = ", ".join(place or "/" for place in known if place in candidates)
        if at is not None:
            if at.rstrip("/") not in candidates:
                raise UsageError(
                    f"issuer {elided(wanted)} has no place {quoted(at)}", code="place-unknown", hint=f"one of {places}"
                )
            return at.rstrip("/")
        if len(candidates) > 1:
            raise UsageError(
                f"issuer {elided(wanted)} has several places", code="place-ambiguous", hint=f"one of {places}"
            )
        return candidates.pop()

    @cached_property
    def places(self) -> dict[str, tuple[KeySet, ...]]:
        """
        The sets of each JWK Set that the site renders, by its place below the site's url.

        The root comes first, then the other places in the order of keyvault.toml. The sets of a place are in the
        order of their JWK Set.
        """
        grouped: dict[str, list[KeySet]] = {}
        for key_set in self.sets.values():
            if key_set.rendered:
                grouped.setdefault(key_set.policy.place, []).append(key_set)
        order = sorted(grouped, key=lambda place: place != "")
        return {
            place: tuple(sorted(grouped[place], key=lambda key_set: set_order(key_set.policy.kty, key_set.name)))
            for place in order
        }

    def keys_at(self, place: str) -> Iterator[Key]:
        """Yield the published keys at *place* in the order of its JWK Set."""
        for key_set in self.places.get(place, ()):
            yield from key_set.jwk_set

    def served_at(self, url: str) -> list[Key]:
        """Return the published keys of the JWK Set at *url*, the URL in a set's policy."""
        place = next((place for place, key_sets in self.places.items() if key_sets[0].policy.url == url), None)
        return [] if place is None else list(self.keys_at(place))

    def issuer_at(self, place: str) -> str:
        """Return the issuer of the sets at *place*; if two differ by a final slash, the shorter."""
        return min((key_set.policy.issuer for key_set in self.places[place]), key=len)


def _creation_order(key: Key) -> tuple[datetime, str]:
    return key.life.created_at, key.kid


def longest_token_lifetime(key: Key, policy: SetPolicy) -> timedelta:
    """
    Return how long tokens of *key* may live: the longest lifetime in its record, or policy's if that is longer.

    Lowering ``token_lifetime`` in keyvault.toml never shortens the lifetime of issued tokens.
    """
    return max(key.life.token_lifetime, policy.token_lifetime)
