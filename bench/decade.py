"""
Ten years of weekly rotation: what they do to the repository of a vault, and to commands that read it.

    python bench/decade.py [--sets N…] [--weeks W] [--workers K]

Every key is made and sealed for real, every plan is the real planner's, and every commit is written as a command writes
it: blobs and trees by `Git.write_tree`, the commit by `Git.commit_tree`. What is left out is what does not end up in
the repository: starting the command, reading the vault before each commit, and index and work tree, which follow once,
in the end. Writes build/bench/decade.json and prints it; what it says of git is what git says.
"""

from __future__ import annotations

import argparse
import json
import os
import re
import subprocess
import sys
import tempfile
import time
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

from world import BUILD, QUICK, World, environment

#: The first commit; the last rotation comes ten years later.
BEGUN = datetime(2016, 1, 4, tzinfo=UTC)
WEEK = timedelta(days=7)
YEAR = 52
FILE = BUILD / "decade.json"


# --- making it: in a process of its own ----------------------------------------------------------------------


def make(folder: Path, *, sets: int, weeks: int) -> None:
    """Make the vault, week by week, and print a line of JSON after each year."""
    from keyvault.core.algorithms import key_spec
    from keyvault.core.keys import VaultState
    from keyvault.core.planning import plan_due
    from keyvault.operations import setup
    from keyvault.operations.changes import describe, realize
    from keyvault.operations.context import Context
    from keyvault.repo.vault import Repository, commit_message, record_files

    names = {f"set-{number:05}": key_spec("ES256") for number in range(sets)}
    setup.init(folder, BEGUN, os.environ, url="https://keys.example.com", sets=names, confirm="commit")
    policy = folder / "keyvault.toml"
    text = policy.read_text()
    weekly = re.sub(
        r"^(\[defaults\]\n(?:.*\n)*?)cryptoperiod = .*$", r'\1cryptoperiod = "7d"', text, flags=re.MULTILINE
    )
    assert weekly != text
    policy.write_text(weekly)
    _git(folder, "commit", "--quiet", "--all", f"--date={BEGUN.isoformat()}", "-m", "rotate each week")
    repository = Repository.open(folder, os.environ)
    git = repository.git
    state = repository.read(repository.head())
    spent = {"planning": 0.0, "keys": 0.0, "git": 0.0}
    _tell(folder, 0, spent, 0)
    made, written = 0, 0
    for week in range(1, weeks + 1):
        now, marks = BEGUN + WEEK * week, [time.perf_counter()]
        plan = plan_due(state, now, live={})
        marks.append(time.perf_counter())
        keys, events = realize(Context(repository, now, os.environ), state, plan, state.recipients)
        files = record_files(keys)
        marks.append(time.perf_counter())
        tree = git.write_tree(state.commit, files)
        commit = git.commit_tree(tree, [state.commit], commit_message(describe(plan), events), now)
        git.move_branch(git.branch(), old=state.commit, new=commit, reason="decade")
        marks.append(time.perf_counter())
        for part, begun, ended in zip(spent, marks, marks[1:], strict=False):
            spent[part] += ended - begun
        made += sum(event.event == "created" for _, event in events)
        written += sum(len(data or b"") for data in files.values())
        # Planners do not look at keys whose life has ended: without them a week costs what it changes.
        records = {**state.keys, **{key.kid: key for key in keys}}
        live = {kid: key for kid, key in records.items() if key.state not in ("withdrawn", "revoked")}
        state = VaultState(commit, state.policy, live, state.recipients)
        if week % YEAR == 0 or week == weeks:
            _tell(folder, week, spent, made, bytes=written, records=len(files), last=marks[-1] - marks[-2])
            spent, made, written = dict.fromkeys(spent, 0.0), 0, 0
    _git(folder, "reset", "--quiet", "--hard")


def _tell(folder: Path, week: int, spent: dict[str, float], made: int, **more: float) -> None:
    print(json.dumps({"week": week, "keys": made, "spent": spent, **more, **objects(folder)}), flush=True)


def objects(folder: Path) -> dict[str, int]:
    """Return what git says of the objects of a repository, in bytes and numbers; and the bytes of its git directory."""
    lines = _git(folder, "count-objects", "-v").splitlines()
    said = dict(line.split(": ") for line in lines)
    git_dir = folder / ".git" if (folder / ".git").is_dir() else folder
    total = sum(path.stat().st_size for path in git_dir.rglob("*") if path.is_file())
    return {
        "commits": int(_git(folder, "rev-list", "--count", "--all")),
        "loose": int(said["count"]),
        "loose_bytes": int(said["size"]) * 1024,
        "packed": int(said["in-pack"]),
        "packs": int(said["packs"]),
        "pack_bytes": int(said["size-pack"]) * 1024,
        "git_bytes": total,
    }


def _git(folder: Path, *arguments: str) -> str:
    return subprocess.run(["git", *arguments], cwd=folder, check=True, capture_output=True, text=True).stdout


# --- measuring it ------------------------------------------------------------------------------------------


class Decade:
    """One size: made once and kept, then measured."""

    def __init__(self, world: World, sets: int, weeks: int) -> None:
        self.world, self.sets, self.weeks = world, sets, weeks
        self.name = f"decade-{sets}-{weeks}"

    def made(self) -> Path:
        """Return the vault; what was told while it was made stays beside it."""
        return self.world.keep(self.name, self._make)

    def _make(self, folder: Path) -> None:
        command = [
            sys.executable,
            __file__,
            "--make",
            str(folder),
            "--sets",
            str(self.sets),
            "--weeks",
            str(self.weeks),
        ]
        begun = time.perf_counter()
        told = subprocess.run(command, env=self.world.environ, check=True, stdout=subprocess.PIPE).stdout
        years = [json.loads(line) for line in told.splitlines()]
        years[-1]["seconds"] = time.perf_counter() - begun
        (self.world.kept / f"{self.name}.json").write_text(json.dumps(years))

    def years(self) -> list[dict[str, Any]]:
        """Return what was told at the end of each year."""
        found: list[dict[str, Any]] = json.loads((self.world.kept / f"{self.name}.json").read_text())
        return found


def main() -> int:
    parser = argparse.ArgumentParser()
    parser.add_argument("--sets", type=int, nargs="+", default=[10, 30, 100, 300])
    parser.add_argument("--weeks", type=int, default=520)
    parser.add_argument("--make", type=Path)
    asked = parser.parse_args()
    if asked.make:
        make(asked.make, sets=asked.sets[0], weeks=asked.weeks)
        return 0
    kept = BUILD / "vaults"
    kept.mkdir(parents=True, exist_ok=True)
    folder = Path(tempfile.mkdtemp(prefix="decade-", dir=BUILD))
    world = World(folder, kept, environment(kept, BUILD / "bytecode"), QUICK)
    for sets in asked.sets:
        one = Decade(world, sets, asked.weeks)
        one.made()
        print(json.dumps(one.years()[-1]))
    return 0


if __name__ == "__main__":
    sys.exit(main())
