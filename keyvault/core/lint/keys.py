"""
Rules about the relations between the keys of a JWK Set; rules about single keys are in `members`.

Sources: RFC 7517 section 4.5 (kid), RFC 8725 section 3.1 (one key, one algorithm), docs/publishing.md (clouds).
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Container, Iterator, Mapping, Sequence
from typing import Any

from keyvault.core.labels import is_label, json_type, shown
from keyvault.core.lint.consumers import Consumer
from keyvault.core.lint.members import RULES, Key, derived_kids, lint_type
from keyvault.core.lint.rules import Finding, finding
from keyvault.core.text import printable

KEYS_MAX = 1_000
GCP_KEYS_MAX = 8
AWS_KEYS_MAX = 100
#: The most characters of a kid that a finding shows.
KID_SHOWN_MAX = 80


def signing_algs(keys: Sequence[object]) -> frozenset[str]:
    """Return the ``alg`` of all keys among *keys* that are for signatures and have one."""
    parsed = (Key("", jwk) for jwk in keys[:KEYS_MAX] if isinstance(jwk, dict))
    return frozenset(alg for key in parsed if key.signs and (alg := key.text("alg")))


def lint_keys(
    members: Sequence[object], consumers: Sequence[Consumer], kids: frozenset[str] = frozenset()
) -> Iterator[Finding]:
    """
    Yield the findings about *members*, the value of ``keys``; at most `KEYS_MAX` of them are checked.

    A finding names a key by its kid if that is one of *kids*, a label, or a hash of the public key.
    """
    if len(members) > KEYS_MAX:
        yield finding("over-1000-keys", f"{len(members)} keys: only the first {KEYS_MAX} were checked")
    keys = []
    for index, jwk in enumerate(members[:KEYS_MAX]):
        if isinstance(jwk, dict):
            keys.append(Key(key_name(jwk, kids) or f"keys[{index}]", jwk))
        else:
            yield finding("key-not-object", f"a member of keys is {json_type(jwk)}, not an object", f"keys[{index}]")
    yield from _counts(keys)
    has_common = any(key.is_common for key in keys)
    for key in keys:
        for rule in RULES:
            for code, message in rule(key):
                yield finding(code, message, key.place)
        for code, message in lint_type(key, has_common=has_common):
            yield finding(code, message, key.place)
        for consumer in consumers:
            yield from _consumer_findings(consumer, key)
    if keys and not has_common:
        yield finding("uncommon-keys", "no key of a common type: check that every verifier supports these")
    yield from _shared_kids(keys)
    yield from _repeated_keys(keys)
    types = {key.text("kty") for key in keys if key.signs}
    if len(types) > 1 and any(consumer.label.startswith("python-jose") for consumer in consumers):
        yield finding(
            "mixed-key-types",
            "keys of several types: a verifier that gets the whole set fails at the first key of another type",
        )


def key_name(jwk: Mapping[str, Any], kids: Container[str]) -> str | None:
    """Return the kid of *jwk* if a message may show it: one of *kids*, a label, or a hash of the key; else None."""
    kid = jwk.get("kid")
    if not isinstance(kid, str) or not (kid in kids or is_label(kid) or kid in derived_kids(jwk)):
        return None
    return printable(kid[: KID_SHOWN_MAX - 1] + "…" if len(kid) > KID_SHOWN_MAX else kid)


def _consumer_findings(consumer: Consumer, key: Key) -> Iterator[Finding]:
    alg = key.text("alg")
    if alg is None or not key.signs:
        return
    if alg not in consumer.algs:
        message = f"tokens of this key are refused: {shown(alg)} is not supported"
        yield finding("algorithm-refused", message, key.place, hurts=(consumer.label,))
    elif consumer.default_algs is not None and alg not in consumer.default_algs:
        name = consumer.label.split(" (")[0]
        message = f"{name} with the URL of the set accepts {alg} only if it is configured to"
        yield finding("algorithm-untold", message, key.place)


def _counts(keys: Sequence[Key]) -> Iterator[Finding]:
    if len(keys) > GCP_KEYS_MAX:
        yield finding("over-8-keys", f"{len(keys)} keys: the limit of an uploaded set is {GCP_KEYS_MAX}")
    for kty in ("RSA", "EC"):
        count = sum(key.text("kty") == kty for key in keys)
        if count > AWS_KEYS_MAX:
            yield finding("over-100-keys", f"{count} keys of type {kty}: the limit is {AWS_KEYS_MAX}")


def _shared_kids(keys: Sequence[Key]) -> Iterator[Finding]:
    by_kid: dict[str, list[Key]] = defaultdict(list)
    for key in keys:
        if kid := key.text("kid"):
            by_kid[kid].append(key)
    for same in by_kid.values():
        if len(same) == 1:
            continue
        place, count = same[0].place, f"{len(same)} keys have this kid"
        kinds = {(key.text("kty"), key.text("crv"), key.text("alg")) for key in same}
        materials = {key.thumbprint for key in same}
        if len(materials) == 1 and None not in materials:
            if len(kinds) == 1:
                yield finding("repeated-key", f"the key is in the set {len(same)} times", place)
            else:
                yield finding("kid-with-two-algs", "one key under one kid with several alg", place)
        elif len(kinds) < len(same):
            yield finding("duplicate-kid", count, place)
        else:
            yield finding("duplicate-kid-across-types", f"{count}, each of another type", place)


def _repeated_keys(keys: Sequence[Key]) -> Iterator[Finding]:
    by_thumbprint: dict[str, list[Key]] = defaultdict(list)
    for key in keys:
        if material := key.thumbprint:
            by_thumbprint[material].append(key)
    for same in by_thumbprint.values():
        places = list(dict.fromkeys(key.place for key in same))
        if len(places) > 1:
            others = ", ".join(places[1:4]) + (", …" if len(places) > 4 else "")
            yield finding("same-key-twice", f"the same key is also in the set as {others}", places[0])
