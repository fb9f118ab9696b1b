"""
A plan: the change of a vault that a command will make, as a value.

The planners in `planning`, `importing` and `repair` return plans, ``--dry-run`` prints them, and ``operations/changes``
carries them out in one commit.
"""

from __future__ import annotations

from dataclasses import dataclass

from keyvault.core.algorithms import KeySpec
from keyvault.core.events import Event
from keyvault.core.jwk import PublicJWK


@dataclass(frozen=True, slots=True)
class Create:
    """Generate a key of *spec* in *set*, with these first events."""

    set: str
    spec: KeySpec
    events: tuple[Event, ...]


@dataclass(frozen=True, slots=True)
class Import:
    """Add the key *public*, which was generated elsewhere, with these first events."""

    set: str
    public: PublicJWK
    events: tuple[Event, ...]

    @property
    def kid(self) -> str:
        return self.public.kid


@dataclass(frozen=True, slots=True)
class Amend:
    """Append *events* to the record of *kid*; drop its sealed private half if its life ends."""

    set: str
    kid: str
    events: tuple[Event, ...]

    @property
    def drops_private(self) -> bool:
        return any(event.event in ("withdrawn", "revoked") for event in self.events)


Change = Create | Import | Amend


@dataclass(frozen=True, slots=True)
class Plan:
    """
    What a command will do.

    Attributes:
        changes: The changes, in the order of reports.
        waiting: Why transitions must wait, one sentence each.
        warnings: Effects that the operator must know, one sentence each.
    """

    changes: tuple[Change, ...] = ()
    waiting: tuple[str, ...] = ()
    warnings: tuple[str, ...] = ()

    def __bool__(self) -> bool:
        return bool(self.changes)
