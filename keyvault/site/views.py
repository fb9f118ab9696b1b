"""
Build the context of the templates: the values that pages show.

This module formats all text; templates only place it. Instants read ``2026-12-01 09:00``, in UTC. Nothing depends on
the time of rendering, and the view of a key or a set depends on that key or set alone: a rotation changes only the
pages that show it. docs/templates.md documents these values.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from functools import lru_cache

from keyvault.core.events import Event
from keyvault.core.jwk import file_stem, pretty
from keyvault.core.keys import Key
from keyvault.core.places import CONFIGURATION, path_of_issuer
from keyvault.core.policy import SitePolicy
from keyvault.core.state import KeySet, VaultState
from keyvault.core.text import format_duration, printable
from keyvault.core.timing import mature_at, rotation_due_at
from keyvault.site.documents import EventCommits, iso, pem, public_der
from keyvault.site.links import commit_url


@dataclass(frozen=True, slots=True)
class EventView:
    """
    An event of a key.

    Attributes:
        at: The instant, ``2026-12-01 09:00``.
        iso: The instant in RFC 3339, for machines.
        name: created, published, activated, lifetime, deactivated, reactivated, withdrawn, revoked or repaired.
        label: Its name in words.
        detail: URL of a receipt, date until which a key is kept, lifetime; or empty.
        reason: The reason of a revocation, or empty.
        note: The note of the operator, or empty.
        forced: The reason for which a safety gate was overridden, or empty.
        commit: Id of the commit that wrote it, or empty.
        commit_url: URL of that commit, or empty.
    """

    at: str
    iso: str
    name: str
    label: str
    detail: str
    reason: str
    note: str
    forced: str
    commit: str
    commit_url: str


@dataclass(frozen=True, slots=True)
class KeyView:
    """
    A key, as tables show it.

    Attributes:
        kid: Its kid.
        stem: Name of its files and its page under ``keys/``.
        set: Its set.
        alg: Its algorithm.
        thumbprint: RFC 7638, SHA-256; by default, the kid itself.
        state: next, active, retiring, withdrawn or revoked.
        created, seen, activated, retired, ended: The instant, or empty.
        note: The end of its retention, the reason and note of its revocation, the note of its withdrawal, or empty.
        commit: Id of the commit that created it, or empty.
        commit_url: URL of that commit, or empty.
    """

    kid: str
    stem: str
    set: str
    alg: str
    thumbprint: str
    state: str
    created: str
    seen: str
    activated: str
    retired: str
    ended: str
    note: str
    commit: str
    commit_url: str


@dataclass(frozen=True, slots=True)
class ChangeView:
    """
    The newest change of the keys on a page.

    Attributes:
        at: The instant.
        commit: Id of the commit that made the change, or empty.
        commit_url: URL of that commit, or empty.
    """

    at: str
    commit: str
    commit_url: str


@dataclass(frozen=True, slots=True)
class KeyPageView:
    """
    A key, as its own page shows it.

    Attributes:
        key: The key, as tables show it.
        kty: Key type, with curve or length if it has one.
        use: sig or enc.
        events: Its events, oldest first.
        jwk: Its public JWK, as published.
        pem: Its public key in PEM.
        thumbprint_uri: RFC 9278.
        der_sha256: SHA-256 of the SubjectPublicKeyInfo, in hexadecimal pairs.
        jwks_uri: The JWK Set of its set; empty if the set, or its JWK Set, no longer exists.
    """

    key: KeyView
    kty: str
    use: str
    events: tuple[EventView, ...]
    jwk: str
    pem: str
    thumbprint_uri: str
    der_sha256: str
    jwks_uri: str


@dataclass(frozen=True, slots=True)
class SetView:
    """
    A set, as pages show it.

    Attributes:
        name: Its name.
        alg: The algorithm of its keys.
        use: sig or enc.
        issuer: Its issuer.
        jwks_uri: The JWK Set of its place; empty until one of its keys is published.
        cryptoperiod: How long a key signs, ``90d``.
        lead: How long a key must have been seen live before it signs; a key for a new algorithm may wait longer.
        keys: The live ones, in the order of the JWK Set.
        upcoming: A sentence about the next rotation, or empty.
    """

    name: str
    alg: str
    use: str
    issuer: str
    jwks_uri: str
    cryptoperiod: str
    lead: str
    keys: tuple[KeyView, ...]
    upcoming: str


@dataclass(frozen=True, slots=True)
class IssuerView:
    """
    An issuer at one of its places.

    Attributes:
        url: The issuer, as in ``iss``; not a URL if it is a ``client_id``.
        place: The path of its JWK Set's folder below the site's root, with a final slash; empty for the root.
        jwks_uri: Its JWK Set; empty until a key is published.
        configuration: Its discovery document; empty if none is rendered, as for an issuer on another host.
        algs: The algorithms of its published signing keys.
        sets: The number of its sets.
    """

    url: str
    place: str
    jwks_uri: str
    configuration: str
    algs: tuple[str, ...]
    sets: int


_LABELS = {
    "created": "Created",
    "published": "First seen live",
    "activated": "Started signing",
    "lifetime": "Longer token lifetime announced",
    "repaired": "Record repaired",
    "deactivated": "Stopped signing",
    "reactivated": "Resumed signing",
    "withdrawn": "Withdrawn",
    "revoked": "Revoked",
}


@lru_cache(1_000)
def to_the_minute(instant: datetime | None) -> str:
    """Return *instant* as ``2026-12-01 09:00``; empty for None."""
    return "" if instant is None else instant.isoformat(" ", "minutes")[:16]


def newest_instant(state: VaultState) -> datetime | None:
    """Return the newest instant on record, which is "now" for the site; None for a vault without keys."""
    return max((key.life.newest_at for key in state.keys.values()), default=None)


def key_view(key: Key, commits: EventCommits, site: SitePolicy) -> KeyView:
    """Return *key* as tables show it."""
    life = key.life
    first = next(iter(commits.get(key.path, ())), None)
    commit = first[0] if first else ""
    seen = min(life.published.values(), default=None)
    activated = next((event.at for event in key.events if event.event == "activated"), None)
    return KeyView(
        kid=key.kid,
        stem=file_stem(key.kid),
        set=key.set,
        alg=key.public.alg,
        thumbprint=key.thumbprint,
        state=key.state,
        created=to_the_minute(life.created_at),
        seen=to_the_minute(seen),
        activated=to_the_minute(activated),
        retired=to_the_minute(life.deactivated_at),
        ended=to_the_minute(life.ended_at),
        note=_note(key),
        commit=commit,
        commit_url=(commit_url(site, commit) or "") if commit else "",
    )


def _note(key: Key) -> str:
    last = key.events[-1]
    if key.state == "revoked":
        return f"{last.reason}" + (f": {printable(last.note)}" if last.note else "")
    if key.state == "retiring":
        return f"kept until {to_the_minute(key.life.keep_until)}"
    return printable(last.note) if last.event == "withdrawn" and last.note else ""


def change_view(keys: Iterable[Key], commits: EventCommits, site: SitePolicy) -> ChangeView | None:
    """Return the newest change of *keys*, or None if there are no keys."""
    key = max(keys, key=lambda key: (key.life.newest_at, key.kid), default=None)
    if key is None:
        return None
    last = next(reversed(commits.get(key.path, ())), None)
    commit = last[0] if last else ""
    return ChangeView(to_the_minute(key.life.newest_at), commit, (commit_url(site, commit) or "") if commit else "")


def set_view(key_set: KeySet, view: Callable[[str], KeyView], site: SitePolicy) -> SetView:
    """Return *key_set* as pages show it; *view* returns the view of a key."""
    policy = key_set.policy
    return SetView(
        name=key_set.name,
        alg=str(policy.spec),
        use=policy.use,
        issuer=policy.issuer,
        jwks_uri=policy.url if key_set.jwk_set else "",
        cryptoperiod=format_duration(policy.cryptoperiod),
        lead=format_duration(policy.publication_lead),
        keys=tuple(view(key.kid) for key in key_set.live),
        upcoming=_upcoming(key_set, site),
    )


def _upcoming(key_set: KeySet, site: SitePolicy) -> str:
    if key_set.policy.closing:
        return "This set is being closed: it signs no new tokens."
    due, candidate = rotation_due_at(key_set), key_set.next
    if due is None or candidate is None:
        return ""
    mature = mature_at(key_set, candidate, site)
    if mature is None:
        earliest = to_the_minute(due)
        return f"The next key takes over on {earliest} UTC at the earliest, once it has been live long enough."
    return f"The next key takes over on {to_the_minute(max(due, mature))} UTC or at the first scheduled run after that."


def issuer_view(state: VaultState, place: str, key_sets: Sequence[KeySet]) -> IssuerView:
    """Return the issuer whose JWK Set is at *place*, as pages show it; without sets, the default issuer of the site."""
    site = state.policy.site
    issuer = state.issuer_at(place) if key_sets else site.default_issuer
    home = path_of_issuer(site.url, issuer)
    published = [key.public for key_set in key_sets for key in key_set.jwk_set]
    algs = dict.fromkeys(key.alg for key in published if key.use == "sig")
    return IssuerView(
        url=issuer,
        place=place[1:] + "/" if place else "",
        jwks_uri=key_sets[0].policy.url if published else "",
        configuration=site.url + home + CONFIGURATION if algs and site.discovery and home is not None else "",
        algs=tuple(algs),
        sets=len(key_sets),
    )


def event_view(event: Event, commit: tuple[str, int] | None, site: SitePolicy) -> EventView:
    """Return *event* as pages show it."""
    oid = commit[0] if commit else ""
    detail = ""
    if event.url:
        detail = f"at {event.url}"
    elif event.keep_until:
        detail = f"kept until {to_the_minute(event.keep_until)} UTC"
    elif event.token_lifetime:
        detail = f"tokens are valid for up to {format_duration(timedelta(seconds=event.token_lifetime))}"
    elif event.imported:
        detail = "imported"
    return EventView(
        at=to_the_minute(event.at),
        iso=iso(event.at),
        name=event.event,
        label=_LABELS[event.event],
        detail=printable(detail),
        reason=event.reason or "",
        note=printable(event.note or ""),
        forced=printable(event.forced or ""),
        commit=oid,
        commit_url=(commit_url(site, oid) or "") if oid else "",
    )


def key_page_view(key: Key, view: KeyView, commits: EventCommits, state: VaultState) -> KeyPageView:
    """Return *key* as its own page shows it."""
    public = key.public
    written = commits.get(key.path, ())
    key_set = state.sets.get(key.set)
    shape = f"{key.rsa_bits} bits" if key.rsa_bits else public.crv  # unset for AKP, whose alg says everything
    der = public_der(public)
    digest = hashlib.sha256(der).hexdigest()
    return KeyPageView(
        key=view,
        kty=f"{public.kty}, {shape}" if isinstance(shape, str) else public.kty,
        use=public.use,
        events=tuple(
            event_view(event, written[index] if index < len(written) else None, state.policy.site)
            for index, event in enumerate(key.events)
        ),
        jwk=pretty(public).decode(),
        pem=pem(der).decode(),
        thumbprint_uri=f"urn:ietf:params:oauth:jwk-thumbprint:sha-256:{key.thumbprint}",
        der_sha256=":".join(digest[index : index + 2] for index in range(0, 64, 2)),
        jwks_uri=key_set.policy.url if key_set and key_set.jwk_set else "",
    )


def newest_first(keys: Iterable[Key]) -> list[Key]:
    """Return *keys* in the order of history tables."""
    return sorted(keys, key=lambda key: (key.life.created_at, key.kid), reverse=True)
