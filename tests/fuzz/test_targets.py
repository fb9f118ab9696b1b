"""Every fuzz target holds for its corpus and for two hundred mutations of it, without a fuzzer."""

from __future__ import annotations

import random

import msgspec
import pytest

from keyvault.core.keys import Envelope
from keyvault.errors import EnvelopeError
from tests.fuzz import TARGETS, envelope, load, seeds
from tests.vectors.reading import use

MUTATIONS = 200


@pytest.mark.parametrize("name", TARGETS)
def test_the_corpus(name: str) -> None:
    """The invariants hold for the seeds and for the inputs that once failed."""
    check, _ = load(name)
    corpus = seeds(name)
    assert 5 <= len(corpus) <= 100
    for data in corpus:
        check(data)


@pytest.mark.parametrize("name", TARGETS)
def test_mutations(name: str) -> None:
    """
    The invariants hold for two hundred inputs, the same in every run; each is a mutation of the last one or of a seed.
    """
    check, mutate = load(name)
    corpus = seeds(name)
    rng = random.Random(name)  # noqa: S311 - the same inputs in every run
    data = corpus[0]
    for _ in range(MUTATIONS):
        data = mutate(data if rng.randrange(3) == 0 else rng.choice(corpus), rng)
        check(data)


@pytest.mark.parametrize("name", TARGETS)
def test_mutations_are_the_same_everywhere(name: str) -> None:
    """Every machine can reproduce a failure, because the inputs depend on the seed only."""
    _, mutate = load(name)
    first, second = (
        [mutate(seed, random.Random(7)) for seed in seeds(name)]  # noqa: S311 - the same inputs in every run
        for _ in range(2)
    )
    assert first == second
    assert first != seeds(name)


def test_seeds_of_envelopes_open() -> None:
    """The seeds open with the identities of the vectors, so their mutations pass the outer checks."""
    key, plain = envelope.sealed()
    opened = 0
    for data in seeds("envelope"):
        try:
            opened += use(msgspec.structs.replace(key, private=msgspec.json.decode(data, type=Envelope))) == plain
        except EnvelopeError:
            continue
    assert opened >= 4
