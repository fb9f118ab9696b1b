"""
No false alarm: the audit is silent on every history that legal operations make, and speaks up when a planner errs.

Histories are made by the real planners in a git of memory, ten thousand of them with slow tests. What judges them
shares no rule with what makes them, so each of the two finds the mistakes of the other.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import cast

import pytest

from keyvault.core import planning
from keyvault.core.events import TRANSITIONS
from keyvault.repo.audit import Audit, audit
from keyvault.repo.git import Git
from tests.core.build import HOUR
from tests.core.mutants import MUTANTS, counts_from_the_commit
from tests.repo.stories import Story, export
from tests.vaults import run_git


def judge(story: Story, *, since: str | None = None) -> Audit:
    """Audit the main branch of a story, right after its end and by a clock that may be wrong as all the others."""
    return audit(cast(Git, story.git), story.main.commit, story.clock(), since=since)


def check(seed: int) -> Story:
    """Tell a story, and see that nothing in it is found wrong, by a whole audit and by one that trusts its middle."""
    story = Story(seed)
    judged = judge(story)
    assert judged.errors == (), f"false alarm in the story of seed {seed}"
    assert judged.commits == len(story.git.ancestors(story.main.commit))
    middle = sorted(story.git.ancestors(story.main.commit))[0]
    assert judge(story, since=middle).errors == (), f"false alarm in the story of seed {seed} since {middle}"
    return story


def test_legal_histories_raise_no_alarm() -> None:
    """Three hundred histories of 15 to 40 commits: no error is found, and everything that can happen has happened."""
    told: Counter[str] = Counter()
    for seed in range(300):
        told.update(check(seed).told)

    happened = {
        *TRANSITIONS,
        "due",
        "rotate",
        "--alg",
        "revoke",
        "roll back",
        "close",
        "remove",
        "open",
        "open by hand",
    }
    happened |= {"add", "add by hand", "recipients", "elsewhere", "merge", "conflict", "edit site", "edit confirm"}
    assert happened - set(told) == set()


@pytest.mark.slow
@pytest.mark.parametrize("thousand", range(10))
def test_ten_thousand_legal_histories_raise_no_alarm(thousand: int) -> None:
    """The same for ten thousand."""
    for seed in range(1_000 * (thousand + 1), 1_000 * (thousand + 2)):
        check(seed)


@pytest.mark.parametrize("seed", range(3))
def test_the_git_in_memory_is_like_the_real_one(seed: int, tmp_path: Path, environ: dict[str, str]) -> None:
    """The same history in a real repository looks the same to the audit: each commit, and what is found in all of it."""
    story = next(story for story in map(Story, range(100 * seed, 100 * seed + 100)) if "merge" in story.told)
    run_git(tmp_path, environ, "init", "--quiet", "--initial-branch=main", "vault")
    folder, marks = tmp_path / "vault", tmp_path / "marks"
    run_git(folder, environ, "fast-import", "--quiet", f"--export-marks={marks}", stdin=export(story.git))
    real_ids = dict(line.split(" ") for line in marks.read_text().splitlines())
    names = {commit: real_ids[f":{number}"] for number, commit in enumerate(story.git.history, 1)}
    git, head = Git.open(folder, environ), names[story.main.commit]

    def outline(git: Git, head: str, names: dict[str, str]) -> dict[str, object]:
        return {
            names.get(one.commit, one.commit): (
                tuple(names.get(parent, parent) for parent in one.parents),
                one.authored_at,
                one.changes,
            )
            for one in git.commits(head)
        }

    assert outline(cast(Git, story.git), story.main.commit, names) == outline(git, head, {})
    found, real = judge(story), audit(git, head, story.now + HOUR)
    assert real.commits == found.commits
    assert set(real.findings) == {replace(one, commit=names[one.commit]) for one in found.findings}
    assert real.errors == ()


# --- planners that are wrong by little ------------------------------------------------------------------


def codes(most: int) -> Counter[str]:
    """Return what the audit finds in histories that a wrong planner makes, until it has found something."""
    for seed in range(most):
        if errors := judge(Story(seed)).errors:
            return Counter(one.code for one in errors)
    return Counter()


@pytest.mark.parametrize(("name", "mutant"), MUTANTS)
def test_a_wrong_timing_rule_is_found(
    name: str, mutant: Callable[..., object], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Each of the four timing rules that the sweeps know as wrong is found by its traces in the history."""
    monkeypatch.setattr(planning, name, mutant)
    wanted = {"activated-unseen", "activated-early"} if mutant is counts_from_the_commit else {"kept-too-short"}
    found = codes(200)
    assert found
    assert set(found) <= wanted
