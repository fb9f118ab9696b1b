"""
Build the machine-readable documents of the site: discovery, history.json, keys in PEM.

Every value is built from an allowlist of public members. Sources: RFC 7517 section 5, OpenID Connect
Discovery 1.0 section 3, RFC 9278 (thumbprint URI), docs/format.md.
"""

from __future__ import annotations

import base64
from collections.abc import Iterable, Mapping, Sequence
from functools import lru_cache
from typing import IO, Any

import msgspec

from keyvault.core.events import Event
from keyvault.core.jwk import PublicJWK, file_stem, pretty
from keyvault.core.keys import Key
from keyvault.core.policy import Policy
from keyvault.core.state import VaultState

#: Before each line of a key in the list of history.json, and between two keys.
_INDENT = b"\n    "
_BETWEEN = b"," + _INDENT

#: By record path: the commit of each event, as (id, committed at); None if only a merge added it.
EventCommits = Mapping[str, Sequence[tuple[str, int] | None]]


class HistoryEvent(msgspec.Struct, frozen=True, omit_defaults=True):
    """An event of a key, with the commit that wrote it."""

    at: str
    event: str
    imported: bool = False
    url: str | None = None
    token_lifetime: int | None = None
    keep_until: str | None = None
    reason: str | None = None
    note: str | None = None
    forced: str | None = None
    commit: str | None = None


class HistoryKey(msgspec.Struct, frozen=True, omit_defaults=True):
    """A key: its public properties, its state, and its events."""

    kid: str
    set: str
    state: str
    kty: str
    use: str
    alg: str
    thumbprint: str
    events: list[HistoryEvent]
    crv: str | None = None
    jwk: str | None = None


class HistorySet(msgspec.Struct, frozen=True):
    """A set of keyvault.toml."""

    name: str
    issuer: str
    jwks_uri: str
    alg: str
    use: str


class History(msgspec.Struct, frozen=True):
    """The whole history.json."""

    format: int
    title: str
    url: str
    commit: str
    sets: list[HistorySet]
    keys: list[HistoryKey]


@lru_cache(1_000)
def iso(instant: Any) -> str:
    """Return *instant* as RFC 3339 in UTC and whole seconds."""
    return f"{instant.isoformat(timespec='seconds')[:19]}Z"


def history_event(event: Event, commit: tuple[str, int] | None) -> HistoryEvent:
    """Return the public form of *event*."""
    return HistoryEvent(
        at=iso(event.at),
        event=event.event,
        imported=event.imported,
        url=event.url,
        token_lifetime=event.token_lifetime,
        keep_until=iso(event.keep_until) if event.keep_until else None,
        reason=event.reason,
        note=event.note,
        forced=event.forced,
        commit=commit[0] if commit else None,
    )


def is_shown(key: Key) -> bool:
    """Whether the site shows *key*: it shows all but symmetric keys."""
    return key.public.kty != "oct"


def shown_sets(state: VaultState) -> dict[str, tuple[Key, ...]]:
    """Return the sets that the site shows, with the keys that it shows: sets in use first, then former sets."""
    every = {name: key_set.keys for name, key_set in state.sets.items()} | state.former_sets
    shown = {name: tuple(filter(is_shown, keys)) for name, keys in every.items()}
    return {name: keys for name, keys in shown.items() if keys or (name in state.sets and state.sets[name].rendered)}


def history_key(key: Key, commits: EventCommits) -> HistoryKey:
    """Return the public form of *key* and its events."""
    public = key.public
    written = commits.get(key.path, ())
    return HistoryKey(
        kid=key.kid,
        set=key.set,
        state=key.state,
        kty=public.kty,
        use=public.use,
        alg=public.alg,
        thumbprint=key.thumbprint,
        events=[
            history_event(event, written[index] if index < len(written) else None)
            for index, event in enumerate(key.events)
        ],
        crv=None if isinstance(public.crv, msgspec.UnsetType) else public.crv,
        jwk=f"keys/{file_stem(key.kid)}.json",
    )


def history_entries(keys: Iterable[HistoryKey]) -> bytes:
    """Return *keys* as part of the list in history.json."""
    return _BETWEEN.join(pretty(key).rstrip(b"\n").replace(b"\n", _INDENT) for key in keys)


def history_frame(state: VaultState) -> bytes:
    """Return the history.json of *state* without its keys."""
    site = state.policy.site
    sets = [
        HistorySet(name, key_set.policy.issuer, key_set.policy.url, key_set.policy.spec.alg, key_set.policy.use)
        for name, key_set in state.sets.items()
        if key_set.rendered
    ]
    return pretty(History(1, site.title, site.url, state.commit, sets, []))


class HistoryDocument:
    """Assembles history.json piece by piece: in a large vault, it is larger than all other data."""

    def __init__(self, frame: bytes, file: IO[bytes]) -> None:
        """
        Args:
            frame: The result of `history_frame`.
            file: An empty file, open for reading and writing; `finish` closes it.
        """
        self._file = file
        self._file.write(frame.removesuffix(b"]\n}\n"))
        self._between = _INDENT

    def add(self, entries: bytes) -> None:
        """Add the keys of a set, as `history_entries` returns them."""
        if entries:
            self._file.write(self._between + entries)
            self._between = _BETWEEN

    def finish(self) -> bytes:
        """Return the whole document; nothing can be added after that."""
        with self._file as file:
            file.write(b"]\n}\n" if self._between == _INDENT else b"\n  ]\n}\n")
            file.seek(0)
            return file.read()


def read_history(data: bytes) -> dict[str, HistoryKey]:
    """
    Return the entry of each key in *data*, a history.json of ours, by kid.

    Raises:
        msgspec.MsgspecError: If it is not such a document.
    """
    return {key.kid: key for key in msgspec.json.decode(data, type=History).keys}


def history_schema() -> bytes:
    """Return the JSON Schema of history.json."""
    schema = msgspec.json.schema(History)
    for definition in schema["$defs"].values():
        definition.pop("description", None)  # a docstring, which optimised Python does not have
    return pretty({"$schema": "https://json-schema.org/draft/2020-12/schema", "title": "history.json", **schema})


def discovery_document(policy: Policy, issuer: str, jwks_uri: str, keys: Sequence[PublicJWK]) -> bytes:
    """
    Return the discovery document of *issuer*, whose *keys* are served at *jwks_uri*.

    The standard requires an authorization endpoint, which issuers that mint tokens without a browser do not have: the
    document has a URN there, as that of Kubernetes does. ``[site.metadata]`` replaces any member except issuer and
    jwks_uri.
    """
    signing = sorted({key.alg for key in keys if key.use == "sig"})
    document: dict[str, Any] = {
        "issuer": issuer,
        "jwks_uri": jwks_uri,
        "authorization_endpoint": "urn:kubernetes:programmatic_authorization",
        "response_types_supported": ["id_token"],
        "subject_types_supported": ["public"],
        "id_token_signing_alg_values_supported": signing,
        "claims_supported": ["iss", "sub", "aud", "exp", "iat"],
    }
    return pretty({**document, **policy.site.metadata})


def public_pem(public: PublicJWK) -> bytes:
    """Return *public* as SubjectPublicKeyInfo in PEM (RFC 7468 section 13)."""
    return pem(public_der(public))


def pem(der: bytes) -> bytes:
    """Return the SubjectPublicKeyInfo *der* in PEM."""
    body = base64.b64encode(der).decode()
    lines = [body[start : start + 64] for start in range(0, len(body), 64)]
    return "\n".join(["-----BEGIN PUBLIC KEY-----", *lines, "-----END PUBLIC KEY-----", ""]).encode()


@lru_cache(100)
def public_der(public: PublicJWK) -> bytes:
    """Return *public* as SubjectPublicKeyInfo in DER (RFC 5280 section 4.1); cached, for its file and its page."""
    from keyvault.core import key_objects as keys

    return keys.public_der(msgspec.to_builtins(public))
