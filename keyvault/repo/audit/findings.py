"""
Collect the findings of an audit, and turn errors that a later commit mended into notes.

Source: docs/audit.md.
"""

from __future__ import annotations

from collections.abc import Iterable, Set
from dataclasses import dataclass, field

import msgspec

from keyvault.core.history.findings import MENDABLE, MENDED_BY_RESTORING, MENDED_WITH_A_RECORD, Finding
from keyvault.core.history.versions import Problem
from keyvault.core.text import printable


@dataclass
class Collector:
    """
    The findings of an audit, in the order of their discovery.

    Attributes:
        found: The findings.
    """

    found: list[Finding] = field(default_factory=list)
    #: Findings that a later commit may mend, as indexes into *found*, by path or name of a set.
    _mendable: dict[str, list[int]] = field(default_factory=dict)

    def add(self, commit: str, path: str, problems: Iterable[Problem], *, key_set: str = "") -> None:
        """Add *problems* of the file at *path*, or of a set, in *commit*."""
        for code, message in problems:  # must be fast if empty: each commit adds ten times, nearly always nothing
            if code in MENDABLE:
                self._mendable.setdefault(path or key_set, []).append(len(self.found))
            self.found.append(Finding(code, printable(message), printable(path), commit))

    def mend(self, commit: str, place: str, codes: Set[str], only: Set[str] | None = None) -> None:
        """
        Turn the findings about a path or a set into notes, because *commit* mended them.

        Args:
            commit: The commit that mended them.
            place: The path, or the name of the set.
            codes: The codes of the mended findings.
            only: The commits whose findings are mended; None for all.
        """
        for index in self._mendable.get(place, ()):
            old = self.found[index]
            if old.code in codes and old.commit != commit and (only is None or old.commit in only):
                message = f"{old.code}, mended in {commit[:12]}: {old.message}"
                self.found[index] = msgspec.structs.replace(old, code="mended", message=message)

    def mend_removed(self, commit: str, path: str) -> None:
        """Mend the findings about *path*, which *commit* removed; those about a misplaced record's kid and set, too."""
        misplaced = any(self.found[index].code == "record-misplaced" for index in self._mendable.get(path, ()))
        self.mend(commit, path, MENDED_BY_RESTORING | ({"kid-reused", "key-reused"} if misplaced else set()))
        if misplaced:
            self.mend(commit, path.split("/")[1], MENDED_WITH_A_RECORD | {"two-active", "two-next"})
