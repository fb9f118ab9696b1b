"""
Write docs/interop.md: run the whole matrix, and say what was seen.

usage: python -m tests.interop.page

The page is what expected.toml and the lock files say, and the run has to show just that. Nothing is written where a
verifier behaves otherwise, or where one could not be run.
"""

from __future__ import annotations

import sys
from collections.abc import Iterable, Sequence
from pathlib import Path

import pytest

from tests.interop.expected import EXPECTED, Expected
from tests.interop.programs import PROJECTS, VERIFIERS, Verifier, versions
from tests.interop.scenes import MIXED, SPECS

PAGE = Path(__file__).parents[2] / "docs" / "interop.md"

_HEAD = """\
# Interoperability

Real verifiers, each with its own cache, read rendered sites over HTTP and verify tokens. `make interop` runs them and
writes this page; the tests do the same on every machine that has the languages, and fail where a cell changes, to either
side. Each verifier also has to refuse a token whose claims were changed, and one that a foreign key signed under the
same `kid`.
"""

_ALONE = """\
## Algorithms

Each alone in a JWK Set, with an active and a next key. What stands for *no* is [below](#what-they-say).
"""

_CHANGES = """\
## A mixed set

RS256, ES256 and EdDSA in one JWK Set, each with a next, an active and a retiring key.

- **mixed**: tokens of the active and the retiring key verify, and those of the next key too, as soon as it signs: a
  rotation reaches a verifier that runs on before the deploy does, without another fetch.
- **rotation**, **rollback**, **revocation**: a process that begins after the deploy takes tokens of every key that is
  published then, and none of a key that is withdrawn or revoked.
- **unknown kid**: whether a process that runs on fetches again when it meets a `kid` that it has not seen, and whether it
  then refuses tokens of a revoked key. Some wait between two fetches: before, such a `kid` fails, and the revoked key is
  trusted. One that does not fetch keeps what it has for as long as
  [its cache](publishing.md#what-verifiers-cache) does, or until it is started again; one that never fetches leaves that
  to whoever uses it.
- **all algorithms**: what becomes of a set that also holds every other algorithm of the table above, but ML-DSA, which
  keyvault never puts among others.
"""

_WORDS = """\
## What they say

A verifier's own words on a token that it does not take, and the reason.
"""

_NOTES = """\
## Notes
"""


def render() -> str:
    """Return the page."""
    alone = table(
        ["verifier", *(label.replace(" ", " on ") for label in SPECS)],
        ([verifier.title, *cells(EXPECTED[name])] for name, verifier in VERIFIERS.items()),
    )
    changes = table(
        ["verifier", "mixed", "rotation", "rollback", "revocation", "unknown kid", "then", "all algorithms"],
        ([verifier.title, *changed(EXPECTED[name])] for name, verifier in VERIFIERS.items()),
    )
    words = table(["verifier", "algorithms", "says", "because"], (row for name in VERIFIERS for row in refusals(name)))
    used = table(
        ["verifier", "language", "version"],
        ([verifier.title, PROJECTS[verifier.project].title, pinned(verifier)] for verifier in VERIFIERS.values()),
    )
    notes = [f"- {verifier.title}: {note}\n" for name, verifier in VERIFIERS.items() for note in EXPECTED[name].notes]
    return "\n".join(
        (_HEAD, "## Versions\n", used, _ALONE, alone, _CHANGES, changes, _WORDS, words, _NOTES, "".join(notes))
    )


def cells(expected: Expected) -> list[str]:
    """Return a cell for each algorithm."""
    return ["no" if label in expected.refuses else "ok" for label in SPECS]


def changed(expected: Expected) -> list[str]:
    """Return what the row of a verifier in the table of mixed sets says."""
    lacking = [label for label in MIXED if label in expected.refuses]
    ok = f"ok, but {' '.join(lacking)}" if lacking else "ok"
    again = f"fetches again, {expected.waits} s after the last time" if expected.waits else "fetches again"
    refuses = "refuses the revoked key; trusts it before" if expected.waits else "refuses the revoked key"
    if expected.asks == "never":
        unknown = ["never fetches", ""]
    elif not expected.refetches:
        unknown = ["does not fetch", "goes on trusting the revoked key"]
    elif not expected.forgets:
        unknown = [again, "goes on trusting the revoked key"]
    elif expected.asks == "each token":
        unknown = ["fetches for each token", "refuses the revoked key"]
    elif expected.remembers:
        unknown = [again, "refuses, but for tokens that it knows"]
    else:
        unknown = [again, refuses]
    return [ok, ok, ok, ok, *unknown, "all are lost" if expected.crowd else "as alone"]


def refusals(name: str) -> Iterable[list[str]]:
    """Yield a row for each way in which a verifier refuses."""
    title, expected = VERIFIERS[name].title, EXPECTED[name]
    for refusal in dict.fromkeys(expected.refuses.values()):
        labels = [label.replace(" ", " on ") for label, one in expected.refuses.items() if one == refusal]
        yield [title, ", ".join(labels), f"`{refusal.says}`", refusal.why]
    if expected.crowd:
        yield [title, "each, in a set of all", f"`{expected.crowd.says}`", expected.crowd.why]


def pinned(verifier: Verifier) -> str:
    found = versions(verifier)
    return ", ".join(found.values() if len(found) == 1 else (f"{name} {version}" for name, version in found.items()))


def table(head: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    lines = [head, ["---"] * len(head), *rows]
    return "".join(f"| {' | '.join(line)} |\n" for line in lines)


class _Watch:
    """Counts what could not be run."""

    def __init__(self) -> None:
        self.skipped: list[str] = []

    def pytest_runtest_logreport(self, report: pytest.TestReport) -> None:
        if report.skipped:
            self.skipped.append(report.nodeid)


def main() -> None:
    """Run the matrix; write the page if it shows what is expected, and end with 1 if not."""
    watch = _Watch()
    failed = pytest.main([str(Path(__file__).parent / "test_matrix.py"), "--quiet"], plugins=[watch])
    if failed or watch.skipped:
        sys.exit(f"{PAGE.name} is left as it is: {'not all is as expected' if failed else 'some tests were skipped'}")
    PAGE.write_text(render(), encoding="utf-8")
    print(f"written: {PAGE.relative_to(Path.cwd())}")


if __name__ == "__main__":
    main()
