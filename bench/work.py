"""
Count the work of commands, and never time it: processes of git, files read and written, keys loaded and made.

    python bench/work.py            # what is counted, beside what is recorded
    python bench/work.py --record   # write bench/work.json anew

Each command runs as a process on a vault of a few sets, and again on one of ten times as many. A count that goes up,
or that grows faster from the small vault to the large one, is a regression on any machine; tests/bench fails then.
A count that goes down is good news, to be recorded. counting/sitecustomize.py says what is counted, on Linux.
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
#: What is counted, in the order of the file.
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
        folder: All vaults and sites lie below it, and only they.
        logs: Where processes tell what they do; empty between commands.
        environ: The environment of every command.
        prelude: What each runs before it begins.
    """

    folder: Path
    logs: Path
    environ: dict[str, str]
    prelude: str

    def __call__(self, *arguments: str | Path, at: str = NOW) -> dict[str, int]:
        """Run keyvault and return what it did, by kind."""
        command = (sys.executable, "-c", _COMMAND.format(prelude=self.prelude), at, *map(str, arguments))
        run(command, folder=self.logs.parent, environ=self.environ)
        found: Counter[str] = Counter()
        for log in self.logs.iterdir():
            found.update(log.read_text().split())
            log.unlink()
        return {kind: found[kind] for kind in KINDS}


def count(folder: Path, sizes: Iterable[int] = SIZES, *, prelude: str = "") -> Counts:
    """
    Return what each command does in vaults of *sizes* sets.

    Args:
        folder: An empty one, for everything.
        sizes: How many sets.
        prelude: Python that every command runs first: a test makes it do too much.
    """
    vaults, logs = folder / "vaults", folder / "logs"
    for made in (vaults, logs):
        made.mkdir()
    environ = environment(folder / "home", folder / "bytecode")
    del environ["PYTHONPYCACHEPREFIX"]  # what others have compiled does as well, where no time is measured
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
    """Return what bench/work.json says."""
    found = json.loads(RECORDED.read_bytes())
    return {name: {int(sets): counts for sets, counts in sizes.items()} for name, sizes in found.items()}


def record(counts: Counts) -> None:
    """Write bench/work.json; what a command does not do is not written."""
    kept = {
        name: {str(sets): {kind: number for kind, number in one.items() if number} for sets, one in sizes.items()}
        for name, sizes in counts.items()
    }
    RECORDED.write_text(json.dumps(kept, indent=1) + "\n")


def worse(counts: Counts, expected: Counts) -> list[str]:
    """Return every count that is above what was *expected*, and every one that grows faster; a phrase each."""
    found = []
    for name, sizes in counts.items():
        known = expected.get(name, {})
        for kind in KINDS:
            numbers = {sets: one.get(kind, 0) for sets, one in sizes.items()}
            before = {sets: known.get(sets, {}).get(kind, 0) for sets in sizes}
            above = [sets for sets in sizes if numbers[sets] > before[sets]]
            found += [f"{name}, {sets} sets: {kind} {numbers[sets]} instead of {before[sets]}" for sets in above]
            if not above and _growth(numbers) > _growth(before):
                told = f"{kind} grows {_growth(numbers):.2f} times instead of {_growth(before):.2f}"
                found.append(f"{name}: {told}: if that is as it should be, record it")
    return found


def _growth(numbers: Mapping[int, int]) -> float:
    """Return how many times more is done in the largest vault than in the smallest; where nothing is, 0."""
    least, most = numbers[min(numbers)], numbers[max(numbers)]
    return most / least if least else float(most)


def main() -> int:
    """Count, print or record, and return 1 where something is worse."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").strip().splitlines()[0])
    parser.add_argument("--record", action="store_true", help=f"write {RECORDED.name} anew")
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
        for sets, one in sizes.items():
            known = expected.get(name, {}).get(sets, {})
            told = (
                f"{kind} {number} ({known.get(kind, 0)})" for kind, number in one.items() if number or kind in known
            )
            print(f"{name}, {sets} sets: {', '.join(told)}")
    found = worse(counts, expected)
    for line in found:
        print(f"work: {line}", file=sys.stderr)
    return 1 if found else 0


if __name__ == "__main__":
    sys.exit(main())
