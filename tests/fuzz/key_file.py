"""Foreign key files, as `key import` reads them: the keys are valid, and there are no exceptions but ours."""

from __future__ import annotations

from random import Random

from keyvault.core.jwk import PRIVATE_MEMBERS, thumbprint
from keyvault.core.strength import check_public_key
from keyvault.crypto.imports import KEYS_MAX, read_keys
from keyvault.crypto.pairs import private_key
from keyvault.errors import KeyVaultError
from tests.fuzz import check_message
from tests.fuzz.mutation import as_record, mutated_bytes, mutated_json

#: The password of the encrypted files in the corpus.
PASSWORD = b"corpus"


def check(data: bytes) -> None:
    """Read *data* as a key file."""
    try:
        found = read_keys(data, lambda: PASSWORD)
    except KeyVaultError as error:
        check_message(error.message)
        return
    assert 1 <= len(found) <= KEYS_MAX
    for key in found:
        assert not PRIVATE_MEMBERS & key.public.keys()
        if key.members["kty"] == "oct":
            continue
        check_public_key(key.public)
        assert thumbprint(key.members) == thumbprint(key.public)
        if key.private:
            private_key(key.members)


def mutate(data: bytes, rng: Random) -> bytes:
    return mutated_json(data, rng, as_record) if data[:1] in (b"{", b"[") else mutated_bytes(data, rng)
