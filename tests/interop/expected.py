"""
The expected results of the matrix, from tests/interop/expected.toml.

A missing cell is expected to be ok. Tests fail if a verifier refuses a token that it should accept, or accepts one that
it should refuse.
"""

from __future__ import annotations

import tomllib
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from tests.interop.programs import VERIFIERS
from tests.interop.scenes import SPECS

FILE = Path(__file__).parent / "expected.toml"


@dataclass(frozen=True)
class Refusal:
    """
    A refusal of a token by a verifier.

    Attributes:
        says: The part of its message that is the same in every run.
        why: The reason.
        varies: Whether a newer version of the language accepts the token.
    """

    says: str
    why: str
    varies: bool = False


@dataclass(frozen=True)
class Expected:
    """
    The expected behaviour of a verifier.

    Attributes:
        refuses: The refusals of tokens of a set with a single algorithm, by label.
        crowd: The refusal of every token if all algorithms share a set; None if the others do no harm.
        asks: How often it fetches: ``once``, ``twice`` (when it is configured, too), for ``each kid`` or ``each token``
            that it meets, or ``never``.
        refetches: Whether it fetches again for an unknown kid.
        waits: Seconds after a fetch in which it does not fetch again.
        forgets: Whether it then refuses tokens of removed keys.
        remembers: Whether it continues to accept a token that it has accepted before.
        single: Whether it accepts a token only once.
        notes: Further remarks for the page.
    """

    refuses: Mapping[str, Refusal]
    crowd: Refusal | None
    asks: str
    refetches: bool
    waits: int
    forgets: bool
    remembers: bool
    single: bool
    notes: tuple[str, ...]


def _load() -> dict[str, Expected]:
    tables = tomllib.loads(FILE.read_text(encoding="utf-8"))
    assert list(tables) == list(VERIFIERS)
    found = {}
    for name, table in tables.items():
        refuses = {}
        for refusal in table.pop("refuses", []):
            for label in refusal["algs"]:
                assert label in SPECS
                assert label not in refuses
                refuses[label] = Refusal(refusal["says"], refusal["why"], refusal.get("varies", False))
        crowd = table.pop("crowd", None)
        found[name] = Expected(
            refuses=refuses,
            crowd=Refusal(**crowd) if crowd else None,
            asks=table.pop("asks", "once"),
            refetches=table.pop("refetches", False),
            waits=table.pop("waits", 0),
            forgets=table.pop("forgets", False),
            remembers=table.pop("remembers", False),
            single=table.pop("single", False),
            notes=tuple(table.pop("notes", ())),
        )
        assert not table, f"{FILE.name}: {name} has unknown members {list(table)}"
    return found


EXPECTED = _load()
