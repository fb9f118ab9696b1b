"""Foreign JWK Sets: lint, compare and import them; no private member leaves, and no exceptions but ours."""

from __future__ import annotations

import functools
import json
from random import Random
from typing import Any

from keyvault.core import drift
from keyvault.core.algorithms import ALGORITHMS
from keyvault.core.jwk import PRIVATE_MEMBERS, REQUIRED, jwk_set_bytes, public_jwk
from keyvault.core.lint.consumers import CONSUMERS
from keyvault.core.lint.documents import Source, lint_discovery, lint_jwk_set, read
from keyvault.core.lint.transport import Response
from keyvault.core.state import VaultState
from keyvault.crypto.identities import recipient_of
from keyvault.crypto.identity_file import identity_documents
from keyvault.errors import JWKError, KeyVaultError, RecordError
from keyvault.repo.records import decode_recipients, encode_recipients
from tests.core.build import T0, activated, created, make_key, restart, vault
from tests.fuzz import check_message
from tests.fuzz.mutation import as_record, mutated_json

#: The discovery document that the issuer of that set should serve.
DISCOVERY = b'{"issuer": "https://keys.example.com", "jwks_uri": "https://keys.example.com/.well-known/jwks.json"}'
URL = "https://keys.example.com/.well-known/jwks.json"
RECIPIENTS = "keys.enc/recipients.json"


@functools.cache
def state() -> VaultState:
    """Return a vault of one set, the same in every run."""
    restart()
    return vault([make_key(created(T0), activated(T0)), make_key(created(T0))])


def check(data: bytes) -> None:
    """Read *data* in every way in which keyvault reads a JWK Set."""
    _lint(data)
    wanted = jwk_set_bytes(key.public for key in state().keys.values())
    differences = [*drift.set_drift(URL, state(), wanted, data), *drift.discovery_drift(URL, DISCOVERY, data)]
    for difference in differences:
        check_message(difference.message)
    _read_as_recipients(data)
    try:
        for document in identity_documents(data):
            assert document.kid
    except KeyVaultError as error:
        check_message(error.message)
    for jwk in read(data).keys or []:
        if isinstance(jwk, dict):
            _publish(jwk)
            _seal_to(jwk)


def _lint(data: bytes) -> None:
    consumers = tuple(CONSUMERS.values())
    source = Source(URL, data, URL, Response(200, {"content-type": "application/json"}))
    for found in (*lint_jwk_set(source, consumers), *lint_discovery(source, read(data).keys, consumers)):
        check_message(found.message)


def _read_as_recipients(data: bytes) -> None:
    try:
        recipients = decode_recipients(data, path=RECIPIENTS)
    except RecordError as error:
        check_message(error.message)
        return
    assert encode_recipients(recipients) == data, "a list that is not canonical was accepted"


def _publish(jwk: dict[str, Any]) -> None:
    """Publish *jwk* for every algorithm that it may fit; the result has only the members of the profile."""
    for alg in ALGORITHMS:
        try:
            published = jwk_set_bytes([public_jwk(jwk, kid="key", alg=alg)])
        except JWKError as error:
            check_message(error.message)
            continue
        (shown,) = json.loads(published)["keys"]
        allowed = {"kid", "use", "alg", *REQUIRED[shown["kty"]]} - PRIVATE_MEMBERS
        assert set(shown) <= allowed, f"published: {set(shown) - allowed}"


def _seal_to(jwk: dict[str, Any]) -> None:
    try:
        recipient = recipient_of(jwk)
    except JWKError as error:
        check_message(error.message)
        return
    data = encode_recipients({recipient.kid: recipient})
    assert decode_recipients(data, path=RECIPIENTS) == {recipient.kid: recipient}
    assert not PRIVATE_MEMBERS & set(json.loads(data)["keys"][0])


def mutate(data: bytes, rng: Random) -> bytes:
    return mutated_json(data, rng, as_record)
