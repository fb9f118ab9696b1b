"""
Run mutmut over the rules and report survivors: ``python -m tests.mutation``; with ``--report`` only report.

It works on links to this tree in ``build/mutation``, and continues an interrupted run. Killed mutants stay killed;
survivors are tested again, because the tests may have improved. pyproject.toml sets the mutated modules and the tests.

Source: docs/mutation.md.
"""

from __future__ import annotations

import json
import resource
import shutil
import subprocess
import sys
from collections import Counter, defaultdict
from collections.abc import Iterator
from pathlib import Path

REPOSITORY = Path(__file__).parents[2]
FOLDER = REPOSITORY / "build" / "mutation"
MUTANTS = FOLDER / "mutants"
MUTMUT = Path(sys.executable).with_name("mutmut")
#: All of ``tests`` would be two hundred megabytes to copy.
LINKED = (
    "keyvault",
    "pyproject.toml",
    "tests/__init__.py",
    "tests/conftest.py",
    "tests/platforms.py",
    "tests/warm.py",
    "tests/core",
    "tests/crypto",
    "tests/vectors",
)
#: Some mutants never end, and allocate memory meanwhile.
MEMORY_MAX = 4 * 1024**3
VERDICTS = ("killed", "timeout", "survived", "no test")


def stage() -> None:
    """Link the files that mutmut copies, and make it find again which test reaches which function."""
    for name in LINKED:
        link = FOLDER / name
        link.parent.mkdir(parents=True, exist_ok=True)
        if not link.is_symlink():
            link.symlink_to(REPOSITORY / name)
    # A deleted test must not judge.
    shutil.rmtree(MUTANTS / "tests", ignore_errors=True)
    (MUTANTS / "mutmut-stats.json").unlink(missing_ok=True)


def notes() -> Iterator[tuple[Path, dict[str, dict[str, int | None]]]]:
    """Yield the notes of mutmut about each file, with the exit code of pytest for each mutant, or None."""
    for path in sorted((MUTANTS / "keyvault").rglob("*.py.meta")):
        yield path, json.loads(path.read_text())


def forget_survivors() -> None:
    for path, note in notes():
        codes = note["exit_code_by_key"]
        note["exit_code_by_key"] = {
            mutant: code if verdict(code) == "killed" else None for mutant, code in codes.items()
        }
        path.write_text(json.dumps(note))


def verdict(code: int | None) -> str:
    match code:
        case None:
            return "not judged"
        case 0:
            return "survived"
        case 1 | 3:  # a test that fails, or an error of pytest's own
            return "killed"
        case 5 | 33:
            return "no test"
        case _:  # killed, because it did not end
            return "timeout"


def run() -> None:
    resource.setrlimit(resource.RLIMIT_AS, (MEMORY_MAX, MEMORY_MAX))
    subprocess.run([MUTMUT, "run"], cwd=FOLDER, check=True)


def report() -> bool:
    """Print the survivors, then a table; return whether every mutant was judged."""
    table: defaultdict[str, Counter[str]] = defaultdict(Counter)
    for path, note in notes():
        module = "/".join(path.relative_to(MUTANTS).parts[1:3]).removesuffix(".py.meta")
        for mutant, code in note["exit_code_by_key"].items():
            table[module][verdict(code)] += 1
            if verdict(code) in ("survived", "no test"):
                subprocess.run([MUTMUT, "show", mutant], cwd=FOLDER, check=True)
    # The output of mutmut is already printed, because these are our own first lines.
    print(f"{'':16}{'mutants':>9}" + "".join(f"{name:>9}" for name in VERDICTS) + "   killed")
    for module, counts in table.items():
        killed = 100 * (counts["killed"] + counts["timeout"]) / counts.total()
        figures = "".join(f"{counts[name]:9}" for name in VERDICTS)
        print(f"{module:16}{counts.total():9}{figures}  {killed:5.1f} %")
    left = sum(counts["not judged"] for counts in table.values())
    if left:
        print(f"{left} mutants are not judged yet: run make mutation again")
    return not left


def main() -> None:
    if "--report" not in sys.argv:
        stage()
        forget_survivors()
        run()
    sys.exit(0 if report() else 1)


if __name__ == "__main__":
    main()
