"""
Measure the repository of a vault after ten years of weekly rotation, and the commands that read it.

    python bench/ten_years.py [--sets N…] [--weeks W] [--layouts] [--page]

Every key is generated and sealed, every plan comes from the planner, and every commit is written as by a command:
blobs and trees by `Git.write_tree`, the commit by `Git.commit_tree`. The simulation skips only work that does not reach
the repository: starting the command, reading the vault before each commit, and updating index and working tree, which
happens once, at the end. So the repository is as commands would have left it. Each size is generated once and cached in
build/bench/vaults. Then the program clones it, in full and in part, runs `git gc` on the clone, and runs commands on
both.

With --layouts it also measures other layouts of keys.enc, with records of random bytes. The results are stored in
bench/scale.json, and from there written to docs/scale.md and its pictures: --page only writes these.
"""

from __future__ import annotations

import argparse
import json
import os
import re
import secrets
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import scale
import sites
from fixtures import BUILD, QUICK, Workspace, environment
from measure import FailedError, log, run

#: The first commit; the last rotation comes ten years later.
BEGUN = datetime(2016, 1, 4, tzinfo=UTC)
WEEK = timedelta(days=7)
YEAR = 52
#: Years after which the pack of a fresh clone is measured.
PACK_YEARS = (1, 2, 5, 10)
#: A site of more keys would have millions of files.
MAX_RENDERED_KEYS = 200_000


# --- generate the vault, in a separate process ---------------------------------------------------------------


def generate_vault(folder: Path, *, sets: int, weeks: int) -> None:
    """Generate the vault, week by week, and print a line of JSON after each year."""
    from keyvault.core.algorithms import key_spec
    from keyvault.core.planning import plan_due
    from keyvault.core.state import VaultState
    from keyvault.operations import setup
    from keyvault.operations.changes import describe, realize
    from keyvault.operations.context import Context
    from keyvault.operations.new_vault import NewVault
    from keyvault.repo.vault import Repository, commit_message, record_files

    names = {f"set-{number:05}": key_spec("ES256") for number in range(sets)}
    setup.init(folder, BEGUN, os.environ, NewVault("https://keys.example.com", names, confirm="commit"))
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
    _print_year(folder, 0, spent, 0)
    made, written = 0, 0
    for week in range(1, weeks + 1):
        now, marks = BEGUN + WEEK * week, [time.perf_counter()]
        plan = plan_due(state, now, live={})
        marks.append(time.perf_counter())
        keys, events = realize(Context(repository, now, os.environ), state, plan, state.recipients)
        files = record_files(keys)
        marks.append(time.perf_counter())
        tree = git.write_tree(state.commit, files.items())
        commit = git.commit_tree(tree, [state.commit], commit_message(describe(plan), events), now)
        git.move_branch(git.branch_and_head()[0], old=state.commit, new=commit, reason="decade")
        marks.append(time.perf_counter())
        for part, begun, ended in zip(spent, marks, marks[1:], strict=False):
            spent[part] += ended - begun
        made += sum(event.event == "created" for _, event in events)
        written += sum(len(data or b"") for data in files.values())
        # Planners ignore withdrawn and revoked keys: without them, the cost of a week is that of its changes.
        records = {**state.keys, **{key.kid: key for key in keys}}
        live = {kid: key for kid, key in records.items() if key.state not in ("withdrawn", "revoked")}
        state = VaultState(commit, state.policy, live, state.recipients)
        if week % YEAR == 0 or week == weeks:
            _print_year(folder, week, spent, made, bytes=written, records=len(files), last=marks[-1] - marks[-2])
            spent, made, written = dict.fromkeys(spent, 0.0), 0, 0
    _git(folder, "reset", "--quiet", "--hard")


def _print_year(folder: Path, week: int, spent: dict[str, float], made: int, **more: float) -> None:
    print(json.dumps({"week": week, "keys": made, "spent": spent, **more, **objects(folder)}), flush=True)


def objects(folder: Path) -> dict[str, int]:
    """Return the numbers and bytes of a repository's objects, and the size of its git directory in bytes."""
    lines = _git(folder, "count-objects", "-v").splitlines()
    counts = dict(line.split(": ") for line in lines)
    git_dir = folder / ".git" if (folder / ".git").is_dir() else folder
    total = sum(path.stat().st_size for path in git_dir.rglob("*") if path.is_file())
    return {
        "commits": int(_git(folder, "rev-list", "--count", "--all")),
        "loose": int(counts["count"]),
        "loose_bytes": int(counts["size"]) * 1024,
        "packed": int(counts["in-pack"]),
        "packs": int(counts["packs"]),
        "pack_bytes": int(counts["size-pack"]) * 1024,
        "git_bytes": total,
    }


def _git(folder: Path, *arguments: str) -> str:
    return subprocess.run(["git", *arguments], cwd=folder, check=True, capture_output=True, text=True).stdout


# --- measure the vault -------------------------------------------------------------------------------------


class TenYears:
    """A vault of one size: generated once and cached, then measured."""

    def __init__(self, workspace: Workspace, sets: int, weeks: int) -> None:
        self.workspace, self.sets, self.weeks = workspace, sets, weeks
        self.name = f"decade-{sets}-{weeks}"
        self.clock = (BEGUN + WEEK * (weeks + 1)).isoformat()

    def vault(self) -> Path:
        """Return the vault; a file beside it has the figures of its years."""
        return self.workspace.keep(self.name, self._generate)

    def _generate(self, folder: Path) -> None:
        size = ["--sets", str(self.sets), "--weeks", str(self.weeks)]
        command = [sys.executable, __file__, "--make", str(folder), *size]
        begun = time.perf_counter()
        printed = subprocess.run(command, env=self.workspace.environ, check=True, stdout=subprocess.PIPE).stdout
        years = [json.loads(line) for line in printed.splitlines()]
        years[-1]["seconds"] = time.perf_counter() - begun
        (self.workspace.kept / f"{self.name}.json").write_text(json.dumps(years))

    def years(self) -> list[dict[str, Any]]:
        """Return the figures at the end of each simulated year."""
        self.vault()
        years: list[dict[str, Any]] = json.loads((self.workspace.kept / f"{self.name}.json").read_text())
        return years

    def measure(self) -> dict[str, Any]:
        """Return all figures of this size."""
        vault = self.vault()
        clone = self.workspace.folder / f"{self.name}-clone"
        found: dict[str, Any] = {"sets": self.sets, "weeks": self.weeks, "years": self.years()}
        found["grown"] = {**objects(vault), **self._commands(vault)}
        log(f"{self.name}: clone")
        url = f"file://{vault}"
        found["clone"] = self._timed("git", "clone", "--quiet", url, str(clone))
        log(f"{self.name}: gc")
        found["gc"] = self._timed("git", "-C", str(clone), "gc", "--quiet")
        found["clones"] = self._partial(clone)
        found["packed"] = {**objects(clone), **self._commands(clone)}
        found["packs"] = [self._pack(clone, year) for year in PACK_YEARS if year * YEAR <= self.weeks]
        found["kinds"] = object_kinds(clone)
        if self.sets * self.weeks <= MAX_RENDERED_KEYS:
            found["render"], found["site"] = self._render(clone)
        self.workspace.put_aside(clone)
        return found

    def _timed(self, *command: str) -> dict[str, float | None]:
        sample = run(command, folder=self.workspace.work, environ=self.workspace.environ, watched=True)
        return {"seconds": sample.wall, "together": sample.together}

    def _keyvault(self, vault: Path, *arguments: str) -> dict[str, float | None]:
        clocked = (
            "from datetime import datetime; from keyvault.cli import main; "
            f"main.clock = lambda: datetime.fromisoformat({self.clock!r}); main.main()"
        )
        log(f"{self.name}: {arguments[0]}")
        return self._timed(sys.executable, "-c", clocked, "--vault", str(vault), *arguments)

    def _commands(self, vault: Path) -> dict[str, Any]:
        head = _git(vault, "rev-parse", "HEAD").strip()
        found = {name: self._keyvault(vault, name) for name in ("status", "audit")}
        found["rotate"] = self._keyvault(vault, "rotate", "--due")
        assert _git(vault, "rev-parse", "HEAD^").strip() == head
        _git(vault, "reset", "--quiet", "--hard", head)
        return found

    def _partial(self, source: Path) -> dict[str, Any]:
        """Return the figures of shallow and partial clones, which are enough for a signer, and of `status` in them."""
        url = f"file://{source}"
        _git(source, "config", "uploadpack.allowFilter", "true")
        _git(source, "config", "uploadpack.allowAnySHA1InWant", "true")
        found: dict[str, Any] = {}
        for name, options in (("shallow", ["--depth=1"]), ("blobless", ["--filter=blob:none"])):
            clone = self.workspace.folder / f"{self.name}-{name}"
            log(f"{self.name}: {name} clone")
            found[name] = self._timed("git", "clone", "--quiet", "--sparse", *options, url, str(clone))
            _git(clone, "sparse-checkout", "set", "keys.enc/set-00000")
            if name == "blobless":
                found[name]["without"] = objects(clone)["git_bytes"]
                blobs = "git ls-tree -r --object-only HEAD | git fetch --quiet --no-tags --stdin origin"
                found[name]["blobs"] = self._timed("sh", "-c", f"cd {clone} && {blobs}")["seconds"]
            found[name] |= {"git_bytes": objects(clone)["git_bytes"], "status": self._keyvault(clone, "status")}
            self.workspace.put_aside(clone)
        return found

    def _pack(self, clone: Path, year: int) -> dict[str, int]:
        """Return the size of the pack of a clone at the end of *year*, in bytes."""
        # The first week follows two commits.
        commit = _git(clone, "rev-list", "--reverse", "HEAD").splitlines()[year * YEAR + 1]
        packing = ["git", "pack-objects", "--quiet", "--revs", "--stdout", "--threads=1"]
        packed = subprocess.run(packing, cwd=clone, input=commit.encode(), check=True, stdout=subprocess.PIPE).stdout
        return {"year": year, "bytes": len(packed)}

    def _render(self, clone: Path) -> tuple[dict[str, Any], dict[str, int]]:
        site = self.workspace.folder / f"{self.name}-site"
        taken = self._keyvault(clone, "render", "--output", str(site))
        return taken, self._size_of(site)

    def _size_of(self, site: Path) -> dict[str, int]:
        found = site_size(site)
        self.workspace.put_aside(site)
        return found


def new_site(workspace: Workspace, sets: int) -> dict[str, Any]:
    """Return the sizes of a site of *sets* sets of three keys, with an issuer for each group of 30 sets."""
    site = sites.rendered(workspace, workspace.vault(sets, "rotated", "issuers"))
    issuer = site / "0" / ".well-known" / "jwks.json"
    single = site / "sets" / "set-00000" / "jwks.json"
    keys = len(json.loads(issuer.read_bytes())["keys"])
    found = {"sets": sets, **site_size(site), "issuer_keys": keys, "issuer_bytes": issuer.stat().st_size}
    return {**found, "set_bytes": single.stat().st_size}


def site_size(site: Path) -> dict[str, int]:
    """Return the number of files of a site, and their size in bytes."""
    sizes = [path.stat().st_size for path in site.rglob("*") if path.is_file()]
    return {"files": len(sizes), "bytes": sum(sizes), "history": (site / "history.json").stat().st_size}


def object_kinds(folder: Path) -> dict[str, dict[str, int]]:
    """Return the number of objects of each kind in a repository, their size, and their size in its packs."""
    form = "--batch-check=%(objecttype) %(objectsize) %(objectsize:disk)"
    found: dict[str, dict[str, int]] = {}
    for line in _git(folder, "cat-file", "--batch-all-objects", "--unordered", form).splitlines():
        kind, size, disk = line.split()
        counts = found.setdefault(kind, {"objects": 0, "bytes": 0, "disk": 0})
        counts["objects"] += 1
        counts["bytes"] += int(size)
        counts["disk"] += int(disk)
    return found


# --- other layouts ---------------------------------------------------------------------------------------------

#: Paths of records: a single folder, a folder for each set (the real layout), and sets spread over 256 folders.
WIDE_LAYOUTS: Mapping[str, Callable[[int, str], str]] = {
    "flat": lambda number, kid: f"keys.enc/{kid}.json",
    "sets": lambda number, kid: f"keys.enc/set-{number:05}/{kid}.json",
    "sharded": lambda number, kid: f"keys.enc/{number % 256:02x}/set-{number:05}/{kid}.json",
}
#: The same for ten years: a folder for each set (the real layout), and in it a folder for each year.
LONG_LAYOUTS: Mapping[str, Callable[[int, str, int], str]] = {
    "sets": lambda number, kid, year: f"keys.enc/set-{number:05}/{kid}.json",
    "years": lambda number, kid, year: f"keys.enc/set-{number:05}/{2016 + year}/{kid}.json",
}


class Layout:
    """A repository with trees and blobs that keyvault writes, at paths of another layout."""

    def __init__(self, folder: Path) -> None:
        from keyvault.repo.git import Git

        self.folder = folder
        subprocess.run(["git", "init", "--quiet", "--bare", "--initial-branch=main", folder], check=True)
        by = {"NAME": "Bench", "EMAIL": "bench@example.com"}
        who = {f"GIT_{role}_{name}": value for role in ("AUTHOR", "COMMITTER") for name, value in by.items()}
        self._git = Git.open(folder, {**os.environ, **who})
        self._head: str | None = None

    def commit(self, paths: Iterator[str]) -> float:
        """Write random bytes, as many as a record's id has in a tree, to each of *paths*; return the seconds."""
        files = [(path, secrets.token_bytes(32)) for path in paths]
        begun = time.perf_counter()
        tree = self._git.write_tree(self._head, files)
        commit = self._git.commit_tree(tree, [self._head] if self._head else [], "rotate", BEGUN)
        self._git.move_branch("refs/heads/main", old=self._head, new=commit, reason="bench")
        self._head = commit
        return time.perf_counter() - begun

    def timed(self, *arguments: str) -> float:
        """Return the seconds that a git command takes."""
        begun = time.perf_counter()
        _git(self.folder, *arguments)
        return time.perf_counter() - begun


def measure_wide(folder: Path, sets: int, commits: int = 50) -> dict[str, Any]:
    """Return for each layout the cost of a commit that rotates one of *sets* sets."""
    found = {}
    for name, path in WIDE_LAYOUTS.items():
        log(f"layout {name}, {sets:,} sets")
        layout = Layout(folder / f"wide-{name}")
        kids = [[_kid() for _ in range(3)] for _ in range(sets)]
        layout.commit(path(number, kid) for number, three in enumerate(kids) for kid in three)
        before = objects(layout.folder)
        seconds = []
        for number in range(commits):
            rotated = number * (sets // commits)
            seconds.append(layout.commit(path(rotated, kid) for kid in [*kids[rotated], _kid()]))
        after = objects(layout.folder)
        _git(layout.folder, "gc", "--quiet")
        found[name] = {
            "sets": sets,
            "widest": max(_widths(layout.folder)),
            "commit": sorted(seconds)[len(seconds) // 2],
            "commit_bytes": (after["git_bytes"] - before["git_bytes"]) // commits,
            "ls_tree": layout.timed("ls-tree", "-r", "HEAD"),
            "ls_one": layout.timed("ls-tree", "-r", "HEAD", path(7, kids[7][0])),
            "diff": layout.timed("diff-tree", "-r", "HEAD~1", "HEAD"),
            "packed": objects(layout.folder)["pack_bytes"],
        }
    return found


def measure_long(folder: Path, sets: int, weeks: int) -> dict[str, Any]:
    """Return for each layout the size of the trees after years of rotation."""
    found = {}
    for name, path in LONG_LAYOUTS.items():
        log(f"layout {name}, {weeks} weeks")
        layout = Layout(folder / f"long-{name}")
        kids = [[(_kid(), 0) for _ in range(3)] for _ in range(sets)]
        layout.commit(path(number, *key) for number, three in enumerate(kids) for key in three)
        seconds = 0.0
        for week in range(weeks):
            for three in kids:
                three.append((_kid(), week // YEAR))
            seconds = layout.commit(path(number, *key) for number, all_ in enumerate(kids) for key in all_[-4:])
        grown = objects(layout.folder)
        _git(layout.folder, "gc", "--quiet")
        found[name] = {
            "sets": sets,
            "weeks": weeks,
            "last": seconds,
            "grown": grown["git_bytes"],
            "packed": objects(layout.folder)["git_bytes"],
            "ls_tree": layout.timed("ls-tree", "-r", "HEAD"),
            "trees": object_kinds(layout.folder)["tree"],
        }
    return found


def _kid() -> str:
    return secrets.token_urlsafe(32).replace("-", "A").replace("_", "B")


def _widths(folder: Path) -> list[int]:
    folders = [line.split()[2] for line in _git(folder, "ls-tree", "-d", "-r", "-t", "HEAD").splitlines()]
    return [len(_git(folder, "ls-tree", oid).splitlines()) for oid in folders[:2]]


# --- the command line ----------------------------------------------------------------------------------------


def main() -> int:
    """Generate, measure and write; return the exit code."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").strip().splitlines()[0])
    parser.add_argument("--sets", type=int, nargs="*", default=[10, 30, 100, 300])
    parser.add_argument("--weeks", type=int, default=520)
    parser.add_argument("--layouts", action="store_true", help="also measure other layouts of keys.enc")
    parser.add_argument("--only-made", action="store_true", help="only generate vaults and record their growth")
    parser.add_argument("--folder", type=Path, default=BUILD, help="folder for clones and sites")
    parser.add_argument("--page", action="store_true", help="measure nothing; only write the page")
    parser.add_argument("--make", type=Path, help=argparse.SUPPRESS)
    asked = parser.parse_args()
    if asked.make:
        generate_vault(asked.make, sets=asked.sets[0], weeks=asked.weeks)
        return 0
    if asked.page:
        scale.write()
        return 0
    kept = BUILD / "vaults"
    kept.mkdir(parents=True, exist_ok=True)
    folder = Path(tempfile.mkdtemp(prefix="decade-", dir=asked.folder))
    workspace = Workspace(folder, kept, environment(kept, BUILD / "bytecode"), QUICK)
    try:
        for sets in asked.sets:
            measured = TenYears(workspace, sets, asked.weeks)
            if asked.only_made:
                scale.record("made", {str(sets): measured.years()})
                continue
            scale.record("decade", {measured.name: measured.measure()})
        if asked.layouts:
            scale.record("wide", measure_wide(folder, 33_334))
            scale.record("long", measure_long(folder, 25, asked.weeks))
            scale.record("site", new_site(workspace, 3_334))
    except FailedError as error:
        log(str(error))
        return 1
    finally:
        shutil.rmtree(folder, ignore_errors=True)
    scale.write()
    return 0


if __name__ == "__main__":
    sys.exit(main())
