"""
Write the vector files: ``python -m tests.vectors.make`` makes them anew, with new keys.

What is sealed is random, so the files are kept as data and this is how they were made. What each vector must get is
written here by hand, and never taken from what the code says. All keys in here are for tests and protect nothing.
"""

from __future__ import annotations

from keyvault.core.algorithms import key_spec
from keyvault.crypto.generate import generate
from tests.vectors.cases.building import record
from tests.vectors.cases.envelopes import envelope_vectors
from tests.vectors.cases.events import event_vectors
from tests.vectors.cases.keys import key_vectors
from tests.vectors.cases.records import record_vectors
from tests.vectors.cases.spelling import json_vectors


def main() -> None:
    private, other = generate(key_spec("ES256")), generate(key_spec("ES256"))
    base = record(private)
    envelopes, sealed = envelope_vectors(private, other)
    for made in (
        json_vectors(base),
        record_vectors(base, generate(key_spec("HS256"))),
        key_vectors(private),
        event_vectors(base, sealed),
        envelopes,
    ):
        made.write()
        print(f"{made.name}: {len(made.vectors)} vectors")


if __name__ == "__main__":
    main()
