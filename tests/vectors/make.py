"""
Write the vector files: ``python -m tests.vectors.make`` generates them with new keys.

Sealed bytes are random, so the files are kept as data, and this module documents their origin. The expected result of each
vector is written here by hand, and never copied from the code's output. All keys are for tests and protect nothing.

Some of the vectors are the seeds of the fuzz targets for records and envelopes; this module writes these, too.
"""

from __future__ import annotations

import json
import re

from keyvault.core.algorithms import key_spec
from keyvault.core.jwk import pretty
from keyvault.crypto.generate import generate
from tests.vectors.cases.building import record
from tests.vectors.cases.envelopes import envelope_vectors
from tests.vectors.cases.events import event_vectors
from tests.vectors.cases.keys import key_vectors
from tests.vectors.cases.records import record_vectors
from tests.vectors.cases.spelling import json_vectors
from tests.vectors.reading import FOLDER, octets, vectors

CORPUS = FOLDER.parent / "fuzz" / "corpus"
SEEDS = {
    "record": (
        *("json: good", "json: twice: format", "records: kid: CON", "records: a symmetric key", "keys: RSA: sound"),
        *("keys: EC: P-521", "events: withdrawn after retiring", "events: revoked after active"),
        *("events: reactivated after retiring", "events: published after next", "events: note: an emoji"),
        *("events: at: a microsecond", "envelopes: P-256", "envelopes: X25519"),
    ),
    "envelope": (
        *("envelopes: P-256", "envelopes: X25519", "envelopes: RSA", "envelopes: three kinds"),
        *(
            "envelopes: 17 recipients",
            "envelopes: epk: off the curve",
            "envelopes: enc: 'A128GCM'",
            "envelopes: kv: set",
        ),
    ),
}


def write_seeds() -> None:
    """Write the vectors that are seeds; for an envelope, without the record around it."""
    made = {f"{name}: {vector['name']}": octets(vector["data"]) for name, vector in vectors()}
    for target, names in SEEDS.items():
        for name in names:
            data = made[name] if target == "record" else pretty(json.loads(made[name])["private"])
            stem = re.sub(r"[^a-z0-9]+", "-", name.partition(": ")[2].lower()).strip("-")
            (CORPUS / target / stem).write_bytes(data)


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
    write_seeds()


if __name__ == "__main__":
    main()
