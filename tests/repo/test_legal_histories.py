"""
The audit finds no errors in histories of legal operations, and finds the errors of wrong planners.

The real planners write the histories to a git in memory: 10,000 of them in the slow tests. The judge shares no rule with
the planners, so each finds the mistakes of the other.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any, cast

import msgspec
import pytest

from keyvault.core import planning
from keyvault.core.algorithms import key_spec
from keyvault.core.events import TRANSITIONS, Event
from keyvault.core.gate import LiveSite
from keyvault.core.keys import Key
from keyvault.core.plan import Amend, Change, Create, Plan
from keyvault.core.policy import SitePolicy
from keyvault.core.state import KeySet
from keyvault.core.timing import counts_as_published_at
from keyvault.operations import keys, rotation
from keyvault.repo.audit import Audit, AuditOptions, audit
from keyvault.repo.git import Git
from tests.core.build import HOUR, SECOND
from tests.core.mutants import MUTANTS, counts_from_the_commit, replace_rule
from tests.repo.stories import Story, export
from tests.revisions import audit as check_audit
from tests.vaults import Vault, run_git


def judge(story: Story, *, since: str | None = None) -> Audit:
    """Audit the main branch of a story right after its end, by a clock that may be slightly wrong."""
    return audit(cast(Git, story.git), story.main.commit, story.auditor(), AuditOptions(since=since))


def check(seed: int) -> Story:
    """Build a story, and check that the audit finds no errors, in all of it and since its middle."""
    story = Story(seed)
    judged = judge(story)
    assert judged.errors == (), f"false alarm in the story of seed {seed}"
    assert judged.commits == len(story.git.ancestors(story.main.commit))
    if seed % 4 == 0:
        middle = min(story.git.ancestors(story.main.commit))
        assert judge(story, since=middle).errors == (), f"false alarm in the story of seed {seed} since {middle}"
    return story


#: A hundred seeds; the story of the last one re-seals a key, which is rare.
QUICK = (*range(99), 276)


def test_legal_histories_raise_no_alarm() -> None:
    """In 100 histories of 15 to 40 commits, the audit finds no error, and every kind of step occurs."""
    steps: Counter[str] = Counter()
    for seed in QUICK:
        steps.update(check(seed).steps)

    expected = {
        *(TRANSITIONS.keys() - {"repaired"}),  # a history that needs a repair is not legal
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
    expected |= {
        "add",
        "add by hand",
        "recipients",
        "seal again",
        "elsewhere",
        "merge",
        "conflict",
        "import as next",
        "import as active",
        "import as retiring",
        "edit site",
        "edit confirm",
        "edit external",
    }
    assert expected - set(steps) == set()


@pytest.mark.slow
def test_more_legal_histories_raise_no_alarm() -> None:
    """The same for 200 more histories."""
    for seed in sorted({*range(300)} - {*QUICK}):
        check(seed)


@pytest.mark.slow
@pytest.mark.parametrize("thousand", range(10))
def test_ten_thousand_legal_histories_raise_no_alarm(thousand: int) -> None:
    """The same for 10,000 histories."""
    for seed in range(1_000 * (thousand + 1), 1_000 * (thousand + 2)):
        check(seed)


@pytest.mark.parametrize("seed", range(3))
def test_the_git_in_memory_equals_the_real_one(seed: int, tmp_path: Path, environ: dict[str, str]) -> None:
    """For the audit, the same history in a real repository has the same commits and findings."""
    story = next(story for story in map(Story, range(100 * seed, 100 * seed + 100)) if "merge" in story.steps)
    run_git(tmp_path, environ, "init", "--quiet", "--initial-branch=main", "vault")
    folder, marks = tmp_path / "vault", tmp_path / "marks"
    run_git(folder, environ, "fast-import", "--quiet", f"--export-marks={marks}", stdin=export(story.git))
    real_ids = dict(line.split(" ") for line in marks.read_text().splitlines())
    names = {commit: real_ids[f":{number}"] for number, commit in enumerate(story.git.history, 1)}
    git, head = Git.open(folder, environ), names[story.main.commit]

    def outline(git: Git, head: str, names: dict[str, str]) -> dict[str, object]:
        return {
            names.get(step.commit, step.commit): (
                tuple(names.get(parent, parent) for parent in step.parents),
                step.authored_at,
                step.changes,
            )
            for step in git.commits(head)
        }

    assert outline(cast(Git, story.git), story.main.commit, names) == outline(git, head, {})
    found, real = judge(story), audit(git, head, story.now + HOUR)
    assert real.commits == found.commits
    assert set(real.findings) == {
        msgspec.structs.replace(finding, commit=names[finding.commit]) for finding in found.findings
    }
    assert real.errors == ()


def test_a_set_that_one_branch_closed_and_opened_again(vault: Vault) -> None:
    """A branch may leave a set without keys until the next run; merging it causes no error, in either order."""
    for first, second in (("main", "side"), ("side", "main")):
        vault.git("branch", "--force", "side")
        vault.git("checkout", "--quiet", "side")
        plain = (vault.folder / "keyvault.toml").read_text()
        keys.remove_set(vault.context(), "id-token")
        vault.commit({"keyvault.toml": plain}, "open the set again")
        vault.git("checkout", "--quiet", "main")
        vault.commit({"README.md": f"{first} comes first\n"})
        vault.git("checkout", "--quiet", first)
        vault.git("merge", "--quiet", "--no-edit", "--no-ff", second)
        vault.git("branch", "--force", "both")
        vault.git("checkout", "--quiet", "-B", "main", "both")
        rotation.rotate_due(vault.context())

        assert check_audit(vault.context()).errors == ()


# --- planners with small errors -------------------------------------------------------------------------


def withdraws_at_exactly(key_set: KeySet, at: datetime) -> list[Change]:
    over = [key for key in key_set.retiring if key.life.keep_until and at >= key.life.keep_until]
    return [Amend(key_set.name, key.kid, (Event(at=at, event="withdrawn"),)) for key in over]


def forgets_what_was_promised(key_set: KeySet, key: Key | None, at: datetime) -> datetime:
    policy = key_set.policy
    if policy.use == "enc":
        return at + policy.retention
    return at + policy.signer_lag + policy.token_lifetime + policy.clock_skew


def counts_a_receipt_of_any_url(key_set: KeySet, key: Key, site: SitePolicy) -> datetime | None:
    if not key_set.rendered or key_set.policy.use == "enc" or site.confirm == "commit":
        return key.life.created_at
    return min(key.life.published.values(), default=None)


def a_second_early(key_set: KeySet, key: Key, site: SitePolicy) -> datetime | None:
    if key_set.policy.use == "enc":
        return key.life.created_at
    seen = counts_as_published_at(key_set, key, site)
    return None if seen is None else seen + max(key_set.policy.publication_lead - SECOND, timedelta(0))


def believes_its_clock(key_set: KeySet, now: datetime, *, emergency: bool = False) -> datetime:
    return now


def does_not_say_forced(key_set: KeySet, at: datetime, *, forced: str | None = None) -> Event:
    return Event(at=at, event="activated", token_lifetime=int(key_set.policy.token_lifetime.total_seconds()))


def promises_an_hour(key_set: KeySet, at: datetime, *, forced: str | None = None) -> Event:
    return Event(at=at, event="activated", token_lifetime=3_600, forced=forced)


def looks_elsewhere(
    key_set: KeySet, candidate: Key, at: datetime, live: LiveSite
) -> tuple[tuple[Event, ...], tuple[str, ...]]:
    if not live.get(key_set.policy.url):
        return (), ()
    return (Event(at=at, event="published", url=key_set.policy.issuer + "/jwks.json"),), ()


def makes_what_it_likes(key_set: KeySet, at: datetime) -> list[Change]:
    return [Create(key_set.name, key_spec("ES512"), (Event(at=at, event="created"),))]


def sees_it_at_once(key_set: KeySet, at: datetime) -> list[Change]:
    seen = Event(at=at, event="published", url=key_set.policy.url)
    return [Create(key_set.name, key_set.policy.spec, (Event(at=at, event="created"), seen))]


_SWAP = planning.swap
_REVOKE = planning.plan_revocation


def leaves_no_next(*args: Any, **options: Any) -> list[Change]:
    return _SWAP(*args, **options)[:-1]


def leaves_nothing_behind(*args: Any, **options: Any) -> Plan:
    return Plan(_REVOKE(*args, **options).changes[:1])


EARLY = {"activated-unseen", "activated-early"}
KEPT = {"kept-too-short"}
WRONG = [
    *(
        pytest.param(*case.values, EARLY if case.values[1] is counts_from_the_commit else KEPT, id=str(case.id))
        for case in MUTANTS
    ),
    pytest.param("withdrawals", withdraws_at_exactly, {"withdrawn-early"}, id="withdrawn at exactly keep_until"),
    pytest.param("keep_until", forgets_what_was_promised, KEPT, id="a lowered token_lifetime shortens promises"),
    pytest.param("counts_as_published_at", counts_a_receipt_of_any_url, EARLY, id="the receipt of another url counts"),
    pytest.param("mature_at", a_second_early, {"activated-early"}, id="activated one second early"),
    pytest.param("effective_instant", believes_its_clock, {"instant-before-set"}, id="time runs backwards"),
    pytest.param("activated", does_not_say_forced, EARLY, id="a gate is passed in silence"),
    pytest.param("activated", promises_an_hour, {"token-lifetime"}, id="policy's token_lifetime is not recorded"),
    pytest.param("_receipts", looks_elsewhere, {"receipt-url"}, id="the receipt is for another url"),
    pytest.param("new_next", sees_it_at_once, {"receipt-too-soon"}, id="a key is seen live before it is published"),
    pytest.param("new_next", makes_what_it_likes, {"algorithm-differs"}, id="a key of another algorithm"),
    pytest.param("swap", leaves_no_next, {"next-missing"}, id="a rotation without a fresh next key"),
    pytest.param("plan_revocation", leaves_nothing_behind, {"active-missing", "next-missing"}, id="no key takes over"),
]


@pytest.mark.parametrize(("name", "mutant", "codes"), WRONG)
def test_the_audit_detects_a_wrong_planner(
    name: str, mutant: Callable[..., object], codes: set[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Each wrong rule causes its errors in one of 300 histories, and no others."""
    replace_rule(monkeypatch, name, mutant)
    for seed in range(300):
        if found := {finding.code for finding in judge(Story(seed)).errors}:
            assert found <= codes
            return
    raise AssertionError("300 histories do not show it")
