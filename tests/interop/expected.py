"""
What the matrix is expected to show: tests/interop/expected.toml, read.

A cell that is not there is expected to be ok. Tests fail where a verifier refuses what it is not expected to refuse, and
where it takes what it is expected to refuse.
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
    A token that a verifier does not take.

    Attributes:
        says: Part of what it says, which is the same in every run.
        why: The reason.
        varies: Whether a newer version of the language takes it.
    """

    says: str
    why: str
    varies: bool = False


@dataclass(frozen=True)
class Expected:
    """
    What a verifier is expected to do.

    Attributes:
        refuses: What it says of tokens of a set that holds one algorithm only, by label.
        crowd: What it says of every token, where all algorithms share a set; None where the others do not hurt it.
        asks: How often it fetches: ``once``, ``twice`` (when it is configured, too), for ``each kid`` or ``each token``
            that it meets, or ``never``.
        refetches: Whether it fetches again when it meets a kid that it lacks.
        waits: For how many seconds after a fetch it does not.
        forgets: Whether it then refuses tokens of keys that are gone.
        remembers: Whether it goes on taking a token that it has taken before.
        single: Whether it takes a token once only.
        notes: What else a reader should know.
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
