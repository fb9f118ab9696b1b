"""
Keys, sets and vaults without cryptography, and plans applied in memory.

The public JWKs are distinct and of the right shape, but have no private keys, since planners need nothing
else. So years of a vault's life take milliseconds.
"""

from __future__ import annotations

import hashlib
import itertools
from collections.abc import Container, Iterable
from datetime import UTC, datetime, timedelta
from typing import Any

import msgspec

from keyvault.core.algorithms import KeySpec, key_spec
from keyvault.core.events import Event
from keyvault.core.gate import LiveSite
from keyvault.core.jwk import PublicJWK, b64u, thumbprint
from keyvault.core.keys import Envelope, Key, RecipientHeader, WrappedKey
from keyvault.core.places import WELL_KNOWN
from keyvault.core.plan import Create, Import, Plan
from keyvault.core.policy import Policy, SetPolicy, SitePolicy
from keyvault.core.state import KeySet, VaultState

SECOND, MINUTE, HOUR, DAY = (timedelta(seconds=size) for size in (1, 60, 3_600, 86_400))

#: The instant at which most tests begin.
T0 = datetime(2026, 11, 23, 17, tzinfo=UTC)
SITE = "https://keys.example.com"
URL = f"{SITE}/.well-known/jwks.json"

#: A placeholder for a sealed private half; it does not open.
SEALED = Envelope(
    protected="e30",
    recipients=[WrappedKey(header=RecipientHeader(alg="RSA-OAEP-256", kid="ops"), encrypted_key="AA")],
    iv="AA",
    ciphertext="AA",
    tag="AA",
)

_numbers = itertools.count(1)


def restart() -> None:
    """Restart the sequence of public keys: a story that is played twice then has the same kids."""
    global _numbers
    _numbers = itertools.count(1)


def octets(number: int, length: int) -> str:
    """Return *length* octets that only *number* gets, the first of them never zero."""
    return b64u(b"\x80" + hashlib.shake_128(number.to_bytes(8, "big")).digest(length - 1))


def public_key(spec: KeySpec | str = "ES256", *, kid: str | None = None) -> PublicJWK:
    """Return a public JWK of *spec* that no earlier call returned."""
    spec = key_spec(spec) if isinstance(spec, str) else spec
    number = next(_numbers)
    members: dict[str, str] = {"kty": spec.kty}
    if spec.kty == "RSA":
        members |= {"n": octets(number, (spec.bits or 0) // 8), "e": "AQAB"}
    elif spec.kty == "AKP":
        members |= {"alg": spec.alg, "pub": octets(number, 1312)}
    elif spec.kty == "oct":
        kid = kid or octets(number, 32)
    else:
        members |= {"crv": str(spec.crv), "x": octets(number, 32)}
        members |= {"y": octets(-number % 2**32, 32)} if spec.kty == "EC" else {}
    return PublicJWK(kid=kid or thumbprint(members), use=spec.use, **{"alg": spec.alg, **members})


# --- events ---------------------------------------------------------------------------------------------


def created(at: datetime = T0, **more: Any) -> Event:
    return Event(at=at, event="created", **more)


def published(at: datetime = T0, url: str = URL) -> Event:
    return Event(at=at, event="published", url=url)


def activated(at: datetime = T0, lifetime: timedelta = HOUR, **more: Any) -> Event:
    return Event(at=at, event="activated", token_lifetime=int(lifetime.total_seconds()), **more)


def deactivated(at: datetime, until: datetime) -> Event:
    return Event(at=at, event="deactivated", keep_until=until)


def reactivated(at: datetime, lifetime: timedelta = HOUR) -> Event:
    return Event(at=at, event="reactivated", token_lifetime=int(lifetime.total_seconds()))


def withdrawn(at: datetime) -> Event:
    return Event(at=at, event="withdrawn")


def revoked(at: datetime) -> Event:
    return Event(at=at, event="revoked", reason="compromised")


# --- keys and vaults ------------------------------------------------------------------------------------


def make_key(*events: Event, spec: KeySpec | str = "ES256", set_name: str = "id-token", kid: str | None = None) -> Key:
    """Return a key with *events*; its private half is sealed unless its life has ended."""
    ended = events[-1].event in ("withdrawn", "revoked") if events else False
    return Key(1, set_name, public_key(spec, kid=kid), tuple(events), msgspec.UNSET if ended else SEALED)


def active_key(at: datetime = T0, *, lifetime: timedelta = HOUR, **more: Any) -> Key:
    """Return a key that was created and activated at *at*."""
    return make_key(created(at), activated(at, lifetime), **more)


def next_key(at: datetime = T0, *, seen_at: datetime | None = None, **more: Any) -> Key:
    """Return a key that was created at *at*, and seen live at *seen_at* if given."""
    return make_key(created(at), *([published(seen_at)] if seen_at else []), **more)


def retiring_key(at: datetime, until: datetime, **more: Any) -> Key:
    """Return a key that was deactivated at *at* and is kept until *until*."""
    return make_key(created(T0 - DAY), activated(T0 - DAY), deactivated(at, until), **more)


def set_policy(name: str = "id-token", spec: KeySpec | str = "ES256", **more: Any) -> SetPolicy:
    """Return the policy of a set, with the default values for missing members."""
    spec = key_spec(spec) if isinstance(spec, str) else spec
    issuer = more.pop("issuer", SITE)
    place = more.pop("place", issuer.removeprefix(SITE).rstrip("/") if issuer.startswith(SITE) else "")
    return SetPolicy(name=name, spec=spec, issuer=issuer, url=SITE + place + WELL_KNOWN, place=place, **more)


def vault(keys: Iterable[Key] = (), *policies: SetPolicy, **site: Any) -> VaultState:
    """Return a vault of *keys* whose keyvault.toml has *policies*; one set ``id-token`` by default."""
    sets = {policy.name: policy for policy in policies or (set_policy(),)}
    return VaultState("c0ffee", Policy(SitePolicy(SITE, **site), sets), {key.kid: key for key in keys})


def only_set(state: VaultState) -> KeySet:
    """Return the only set of *state*."""
    (key_set,) = state.sets.values()
    return key_set


def with_policy(state: VaultState, policy: SetPolicy) -> VaultState:
    """Return *state* after an edit of keyvault.toml."""
    sets = {**state.policy.sets, policy.name: policy}
    return VaultState(state.commit, Policy(state.policy.site, sets), state.keys)


def apply(plan: Plan, state: VaultState, *, sealed: Container[str] = ()) -> VaultState:
    """
    Return the vault that *plan* makes of *state*, with keys of the right shape for the new ones.

    The imported keys in *sealed* have their private half.
    """
    keys = dict(state.keys)
    for change in plan.changes:
        if isinstance(change, Create):
            # After `restart`, the next key may be one that a vault of before has.
            public = public_key(change.spec)
            while public.kid in keys:
                public = public_key(change.spec)
            key = Key(1, change.set, public, change.events, SEALED)
        elif isinstance(change, Import):
            key = Key(1, change.set, change.public, change.events, SEALED if change.kid in sealed else msgspec.UNSET)
        else:
            old = keys[change.kid]
            private = msgspec.UNSET if change.drops_private else old.private
            key = Key(1, old.set, old.public, (*old.events, *change.events), private)
        keys[key.kid] = key
    return VaultState(state.commit, state.policy, keys)


def serving(state: VaultState) -> LiveSite:
    """Return the keys that the live site serves after *state* is deployed."""
    return {
        key_sets[0].policy.url: frozenset((key.kid, key.public.thumbprint) for key in state.keys_at(place))
        for place, key_sets in state.places.items()
    }


def events_of(plan: Plan) -> list[str]:
    """Return the names of the events that *plan* writes, in its order."""
    return [event.event for change in plan.changes for event in change.events]
