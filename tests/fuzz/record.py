"""Key records: two readers agree, each record has one spelling, and none stops a planner or leaks to the site."""

from __future__ import annotations

import json
from random import Random

import msgspec

from keyvault.core.history.versions import read_record
from keyvault.core.jwk import PRIVATE_MEMBERS, file_stem, jwk_set_bytes
from keyvault.core.keys import Key
from keyvault.core.outlook import outlook, overdue
from keyvault.core.planning import plan_due
from keyvault.errors import KeyVaultError, RecordError
from tests.core.build import DAY, T0, set_policy, vault
from tests.fuzz import check_message
from tests.fuzz.mutation import as_record, mutated_json
from tests.vectors.reading import JUDGED_LATER, audit, read

ELSEWHERE = "keys.enc/id-token/x.json"


def check(data: bytes) -> None:
    """Read *data* as a record, at the path that it names."""
    path = _place(data)
    for _, message in read_record(data, path, None)[1]:
        check_message(message)
    codes = audit(data, path)
    try:
        key = read(data, path)
    except RecordError as error:
        check_message(error.message)
        assert codes, f"the audit takes what commands refuse: {error.message}"  # noqa: PT017 - no test, a target
        return
    assert set(codes) <= JUDGED_LATER, f"commands take what the audit refuses: {codes}"
    _plan(key)
    published = json.loads(jwk_set_bytes([key.public]))["keys"][0]
    assert not PRIVATE_MEMBERS & set(published), "a private member was published"


def mutate(data: bytes, rng: Random) -> bytes:
    return mutated_json(data, rng, as_record)


def _place(data: bytes) -> str:
    try:
        document = msgspec.json.decode(data)
        return f"keys.enc/{document['set']}/{file_stem(document['public']['kid'])}.json"
    except (msgspec.MsgspecError, RecursionError, ValueError, TypeError, KeyError, AttributeError):
        return ELSEWHERE


def _plan(key: Key) -> None:
    """Check that planning gives a plan or one clear error, for any record."""
    state = vault([key], set_policy(key.set, key.public.alg))
    for plan in (
        lambda: plan_due(state, T0, live={}),
        lambda: outlook(state, T0, until=T0 + 400 * DAY),
        lambda: overdue(state, T0),
    ):
        try:
            plan()
        except KeyVaultError as error:
            check_message(error.message)
