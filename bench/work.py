"""
Count the work of commands, without timing it: git processes, files read and written, keys loaded and generated.

    python bench/work.py            # print the counts beside the recorded ones
    python bench/work.py --record   # write bench/work.json

Each command runs as a process on a vault of a few sets, and on a vault with ten times as many. A count that goes up, or
that grows faster from the small vault to the large one, is a regression on any machine, and a test in tests/bench
fails. If a count goes down, record it. counting/sitecustomize.py does the counting, on Linux.
"""

from __future__ import annotations

import argparse
import json
import os
import sys
import tempfile
from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path

from fixtures import NOW, environment
from measure import FailedError, run
from serve import serving

BENCH = Path(__file__).resolve().parent
RECORDED = BENCH / "work.json"
SIZES = (8, 80)
#: The kinds of work, in the order of the file.
KINDS = (
    "git", "read", "listed", "written", "linked", "renamed", "removed", "loaded", "made", "derived", "connected"
)  # fmt: skip

#: Counts by command, by the number of sets.
Counts = dict[str, dict[int, dict[str, int]]]

_COMMAND = """
import sys
from datetime import datetime
from keyvault.cli import main
{prelude}
main.clock = lambda: datetime.fromisoformat(sys.argv[1])
main.main(sys.argv[2:])
"""


@dataclass(frozen=True)
class _Counted:
    """
    Runs commands and counts what they do.

    Attributes:
        folder: The folder of all vaults and sites, and of nothing else.
        logs: The folder for the processes' logs; empty between commands.
        environ: The environment of every command.
        prelude: Python code that each command runs first.
    """

    folder: Path
    logs: Path
    environ: dict[str, str]
    prelude: str

    def __call__(self, *arguments: str | Path, at: str = NOW) -> dict[str, int]:
        """Run keyvault and return the counts by kind."""
        command = (sys.executable, "-c", _COMMAND.format(prelude=self.prelude), at, *map(str, arguments))
        run(command, folder=self.logs.parent, environ=self.environ)
        found: Counter[str] = Counter()
        for log in self.logs.iterdir():
            found.update(log.read_text().split())
            log.unlink()
        return {kind: found[kind] for kind in KINDS}


def count(folder: Path, sizes: Iterable[int] = SIZES, *, prelude: str = "") -> Counts:
    """
    Return the work of each command in vaults of *sizes* sets.

    Args:
        folder: An empty folder for all files.
        sizes: The numbers of sets.
        prelude: Python code that every command runs first; tests use it to add work.
    """
    vaults, logs = folder / "vaults", folder / "logs"
    for path in (vaults, logs):
        path.mkdir()
    environ = environment(folder / "home", folder / "bytecode")
    del environ["PYTHONPYCACHEPREFIX"]  # no time is measured, so existing bytecode is as good
    environ["PYTHONPATH"] = os.pathsep.join([str(BENCH / "counting"), environ["PYTHONPATH"]])
    environ |= {"COUNT_INTO": str(logs), "COUNT_BELOW": str(vaults) + os.sep}
    command = _Counted(vaults, logs, environ, prelude)
    found: Counts = {}
    for sets in sizes:
        for name, counts in _commands(command, sets):
            found.setdefault(name, {})[sets] = counts
    return found


def _commands(command: _Counted, sets: int) -> Iterable[tuple[str, dict[str, int]]]:
    """Run every command in a vault of *sets* sets."""
    vault, site = command.folder / f"vault-{sets}", command.folder / f"site-{sets}"
    names = [f"set-{number:03}" for number in range(sets)]
    named = [part for name in names for part in ("--set", f"{name}:ES256")]
    here = ("--vault", vault)
    force = ("--force", "--reason", "counted")
    url = ("--url", "https://keys.example.com")
    yield "init", command("init", vault, *url, *named, at="2026-01-05T00:00:00+00:00")
    yield "rotate --all", command(*here, "rotate", "--all", *force)
    yield "status", command(*here, "status")
    yield "audit", command(*here, "audit")
    yield "render", command(*here, "render", "-o", site)
    yield "render, unchanged", command(*here, "render", "-o", site)
    with serving(site) as server:
        yield "check", command(*here, "check", server.url)
    yield "rotate one", command(*here, "rotate", names[0], *force)
    yield "render, after one rotation", command(*here, "render", "-o", site)


def recorded() -> Counts:
    """Return the counts in bench/work.json."""
    found = json.loads(RECORDED.read_bytes())
    return {name: {int(sets): counts for sets, counts in sizes.items()} for name, sizes in found.items()}


def record(counts: Counts) -> None:
    """Write bench/work.json without the zeros."""
    kept = {
        name: {str(sets): {kind: number for kind, number in work.items() if number} for sets, work in sizes.items()}
        for name, sizes in counts.items()
    }
    RECORDED.write_text(json.dumps(kept, indent=1) + "\n")


def worse(counts: Counts, expected: Counts) -> list[str]:
    """Return a phrase for every count that is above the *expected* one, or that grows faster."""
    found = []
    for name, sizes in counts.items():
        known = expected.get(name, {})
        for kind in KINDS:
            numbers = {sets: work.get(kind, 0) for sets, work in sizes.items()}
            before = {sets: known.get(sets, {}).get(kind, 0) for sets in sizes}
            above = [sets for sets in sizes if numbers[sets] > before[sets]]
            found += [f"{name}, {sets} sets: {kind} {numbers[sets]} instead of {before[sets]}" for sets in above]
            if not above and _growth(numbers) > _growth(before):
                growth = f"{kind} grows {_growth(numbers):.2f} times instead of {_growth(before):.2f}"
                found.append(f"{name}: {growth}: if that is intended, record it")
    return found


def _growth(numbers: Mapping[int, int]) -> float:
    """Return the count of the largest vault divided by that of the smallest; 0 if both are 0."""
    least, most = numbers[min(numbers)], numbers[max(numbers)]
    return most / least if least else float(most)


def main() -> int:
    """Count, then print or record; return 1 if a count is worse."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").strip().splitlines()[0])
    parser.add_argument("--record", action="store_true", help=f"write {RECORDED.name}")
    asked = parser.parse_args()
    try:
        with tempfile.TemporaryDirectory(prefix="keyvault-work-") as folder:
            counts = count(Path(folder).resolve())
    except FailedError as error:
        print(f"work: {error}", file=sys.stderr)
        return 1
    if asked.record:
        record(counts)
        return 0
    expected = recorded()
    for name, sizes in counts.items():
        for sets, work in sizes.items():
            known = expected.get(name, {}).get(sets, {})
            shown = (
                f"{kind} {number} ({known.get(kind, 0)})" for kind, number in work.items() if number or kind in known
            )
            print(f"{name}, {sets} sets: {', '.join(shown)}")
    found = worse(counts, expected)
    for line in found:
        print(f"work: {line}", file=sys.stderr)
    return 1 if found else 0


if __name__ == "__main__":
    sys.exit(main())
