"""
Write docs/interop.md from a run of the whole matrix.

usage: python -m tests.interop.page

The page shows expected.toml and the lock files, and the run must match them. Does not write the page if a verifier
behaves differently or could not run.
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

After reading this page you can choose an algorithm that your verifiers support, and tell how each verifier behaves
through a rotation and a revocation. To reproduce the results:

```sh
make interop
```

`make interop` runs real verifiers, each with its own cache. They read rendered sites over HTTP and verify tokens, and
the run writes this page. The tests do the same on every machine with the languages, and fail if a cell changes in either
direction. Each verifier must also refuse two tokens: one with changed claims, and one that a foreign key signed under the
same `kid`.
"""

_ALONE = """\
## Algorithms

Each algorithm alone in a JWK Set, with an active and a next key. [Below](#messages) is the reason for each *no*.
"""

_CHANGES = """\
## A mixed set

RS256, ES256 and EdDSA in one JWK Set, each with a next, an active and a retiring key.

- **mixed**: tokens of the active and the retiring key verify, and those of the next key too, as soon as it signs. So a
  running verifier accepts tokens after a rotation before the deploy, without another fetch.
- **rotation**, **rollback**, **revocation**: a process that starts after the deploy accepts tokens of every published
  key, and refuses tokens of a withdrawn or revoked key.
- **unknown kid**: whether a running process fetches again when it meets an unknown `kid`, and whether it then refuses
  tokens of a revoked key. Some verifiers wait between two fetches: until then, they refuse the `kid` and trust the
  revoked key. A verifier that does not fetch keeps its copy until [its cache](publishing.md#what-verifiers-cache)
  expires or it restarts. If a verifier never fetches, its user must fetch.
- **all algorithms**: the effect of a set that also has every other algorithm of the table above, except ML-DSA, which
  keyvault never mixes with others.
"""

_WORDS = """\
## Messages

The message of each verifier about a token that it refuses, and the reason.
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
    words = table(
        ["verifier", "algorithms", "message", "reason"], (row for name in VERIFIERS for row in refusals(name))
    )
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
    """Return the cells of a verifier in the table of mixed sets."""
    lacking = [label for label in MIXED if label in expected.refuses]
    ok = f"ok, except {' '.join(lacking)}" if lacking else "ok"
    again = f"fetches again, {expected.waits} s after the last fetch" if expected.waits else "fetches again"
    refuses = "refuses the revoked key; trusts it before" if expected.waits else "refuses the revoked key"
    if expected.asks == "never":
        unknown = ["never fetches", ""]
    elif not expected.refetches:
        unknown = ["does not fetch", "still trusts the revoked key"]
    elif not expected.forgets:
        unknown = [again, "still trusts the revoked key"]
    elif expected.asks == "each token":
        unknown = ["fetches for each token", "refuses the revoked key"]
    elif expected.remembers:
        unknown = [again, "refuses, except tokens that it has accepted before"]
    else:
        unknown = [again, refuses]
    return [ok, ok, ok, ok, *unknown, "loses all keys" if expected.crowd else "as alone"]


def refusals(name: str) -> Iterable[list[str]]:
    """Yield a row for each message with which a verifier refuses tokens."""
    title, expected = VERIFIERS[name].title, EXPECTED[name]
    for refusal in dict.fromkeys(expected.refuses.values()):
        labels = [label.replace(" ", " on ") for label, other in expected.refuses.items() if other == refusal]
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
    """Counts skipped tests."""

    def __init__(self) -> None:
        self.skipped: list[str] = []

    def pytest_runtest_logreport(self, report: pytest.TestReport) -> None:
        if report.skipped:
            self.skipped.append(report.nodeid)


def main() -> None:
    """Run the matrix; write the page if it matches expected.toml, else exit with 1."""
    watch = _Watch()
    failed = pytest.main([str(Path(__file__).parent / "test_matrix.py"), "--quiet"], plugins=[watch])
    if failed or watch.skipped:
        sys.exit(
            f"{PAGE.name} is unchanged: {'a verifier behaves differently' if failed else 'some tests were skipped'}"
        )
    PAGE.write_text(render(), encoding="utf-8")
    print(f"written: {PAGE.relative_to(Path.cwd())}")


if __name__ == "__main__":
    main()
