"""The merge of two legal histories is legal and passes the audit, or is refused."""

from __future__ import annotations

import itertools
import subprocess
from collections import Counter
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import cast

import pytest

from keyvault import config
from keyvault.core.merging import join_states
from keyvault.core.planning import plan_due
from keyvault.errors import MergeError, UsageError
from keyvault.operations import merge, recipients, rotation, setup
from keyvault.operations.new_vault import NewVault, parse_sets
from keyvault.repo.audit import audit
from keyvault.repo.git import Git
from keyvault.repo.records import decode_key, encode_key, encode_recipients
from keyvault.repo.vault import RECIPIENTS
from tests.core.build import DAY, HOUR, T0
from tests.errors import fails
from tests.repo.chaos import install_driver
from tests.repo.stories import Line, Story, _recipients, toml
from tests.revisions import audit as check_audit
from tests.vaults import Vault, environment, run_git

# --- random histories -----------------------------------------------------------------------------------


class Meeting(Story):
    """A story of pairs of branches with independent random changes."""

    def pairs(self, count: int) -> Iterator[tuple[Line, Line, Line]]:
        for _ in range(count):
            base, start = self.main, self.now
            sides = []
            for _ in range(2):
                self.now, line = start, base
                for _ in range(self.chance.randint(1, 3)):
                    self._wait()
                    line = self._act(line)
                sides.append((self.now, line))
            self.now = max(now for now, _ in sides)
            yield base, sides[0][1], sides[1][1]

    def join(self, base: Line, ours: Line, theirs: Line) -> Line:
        """Merge as git does with our driver; MergeError if it refuses."""
        states = (base.state, ours.state, theirs.state)
        joined = join_states(*states)
        document = ours.document if ours.document != base.document else theirs.document
        files: dict[str, bytes | None] = {
            config.FILE: toml(document),
            RECIPIENTS: encode_recipients(joined.recipients),
            **{key.path: encode_key(key) for key in joined.keys.values()},
        }
        commit = self.git.commit([ours.commit, theirs.commit], files, int(self.now.timestamp()))
        return replace(ours, commit=commit, document=document, keys=joined.keys, recipients=joined.recipients)


def meet(seed: int, count: int) -> Counter[str]:
    """Join pairs of one story, and judge each result; return the number of each outcome."""
    story, went = Meeting(seed), Counter[str]()
    for base, ours, theirs in story.pairs(count):
        if base.commit in (ours.commit, theirs.commit):
            went["nothing to join"] += 1
            continue
        try:
            line = story.join(base, ours, theirs)
        except MergeError:
            went["refused"] += 1
            continue
        mirrored = join_states(base.state, theirs.state, ours.state)
        assert mirrored.keys == line.keys, f"sides of seed {seed} are not alike"
        found = audit(cast(Git, story.git), line.commit, story.auditor())
        assert found.errors == (), f"seed {seed}: {found.errors}"
        _ = line.state.sets
        for key in line.keys.values():
            assert decode_key(encode_key(key), path=key.path) == key
        plan_due(line.state, story.now + DAY, live={})
        went["joined"] += 1
        if any(line.keys[kid] not in (ours.keys.get(kid), theirs.keys.get(kid)) for kid in line.keys):
            went["joined in one record"] += 1
        if story.chance.random() < 0.3:
            story.main = line
    return went


def test_pairs_of_histories() -> None:
    """Some pairs are joined, some in the same record, and some refused; there is no other outcome."""
    went = sum((meet(seed, 10) for seed in range(30)), Counter[str]())
    assert set(went) >= {"joined", "refused", "joined in one record"}


@pytest.mark.slow
@pytest.mark.parametrize("part", range(10))
def test_ten_thousand_pairs_of_histories(part: int) -> None:
    """The same for a thousand pairs in each part."""
    went, seeds = Counter[str](), itertools.count(1_000 * (part + 1))
    while went["joined"] + went["refused"] < 1_000:
        went += meet(next(seeds), 20)
    print(part, dict(went))


# --- git ------------------------------------------------------------------------------------------------


@pytest.fixture
def clones(vault: Vault, monkeypatch: pytest.MonkeyPatch) -> tuple[Vault, Vault]:
    """Two clones with the merge driver installed, and their remote."""
    vault.publish_to()
    other = vault.clone("other", source=vault.top / "origin.git")
    for clone in (vault, other):
        install_driver(clone)
    return vault, other


def merged(clone: Vault, *options: str) -> subprocess.CompletedProcess[str]:
    clone.git("fetch", "--quiet", "origin")
    return subprocess.run(
        ["git", "merge", "--no-edit", *options, "origin/main"],
        cwd=clone.folder, env=clone.environ, capture_output=True, text=True, check=False,
    )  # fmt: skip


def test_rotations_of_two_sets_meet(clones: tuple[Vault, Vault]) -> None:
    """Git joins them, the hook accepts them, and the audit finds nothing."""
    ours, theirs = clones
    rotation.rotate(theirs.context(), ["access-token"], forced="a drill", push=True)
    rotation.rotate(ours.context(), ["id-token"], forced="a drill")

    done = merged(ours)

    assert done.returncode == 0, done.stderr
    assert check_audit(ours.context()).errors == ()
    assert ours.status == []


def test_rotations_of_one_set_in_one_second_are_refused(clones: tuple[Vault, Vault]) -> None:
    """No file conflicts, but the set would have two next keys: the hook stops the merge with a hint."""
    ours, theirs = clones
    rotation.rotate(theirs.context(), ["id-token"], forced="a drill", push=True)
    before = rotation.rotate(ours.context(), ["id-token"], forced="a drill").commit

    done = merged(ours)

    assert done.returncode != 0
    assert "set id-token has 2 next keys" in done.stderr
    assert "git commit --no-edit --no-verify; keyvault repair; or else: git merge --abort" in done.stderr
    ours.git("merge", "--abort")
    assert ours.head == before
    ours.git("reset", "--quiet", "--keep", "@{upstream}")
    rotation.rotate(ours.context(), ["id-token"], forced="a drill", push=True)
    assert check_audit(ours.context()).errors == ()


def test_a_conflict_that_is_resolved_is_checked_too(clones: tuple[Vault, Vault]) -> None:
    """For the commit that ends a merge, git runs another hook, which accepts every commit without a merge."""
    ours, theirs = clones
    rotation.rotate(theirs.context(), ["id-token"], forced="a drill", push=True)
    later = ours.wait(HOUR)
    rotation.rotate(later.context(), ["id-token"], forced="a drill")
    assert merged(later).returncode == 1
    later.git("add", "keys.enc")
    commit = ["git", "commit", "--quiet", "--no-edit"]
    refused = subprocess.run(commit, cwd=later.folder, env=later.environ, capture_output=True, text=True, check=False)
    assert refused.returncode != 0
    assert "set id-token has 2 next keys" in refused.stderr
    later.git("merge", "--abort")
    later.commit({"notes.md": "mine\n"})


def test_a_damaged_policy_is_refused(clones: tuple[Vault, Vault]) -> None:
    """The hook reads the policy of an older commit, and names the damage of the merged file."""
    ours, theirs = clones
    theirs.commit({config.FILE: "[["})
    theirs.git("push", "--quiet")
    ours.commit({"notes.md": "mine\n"})
    assert merged(ours, "--no-commit").returncode == 0

    with fails("merge-damaged", MergeError) as caught:
        merge.check_staged(ours.folder, ours.environ)

    assert config.FILE in caught.value.message


def test_rotations_of_one_set_conflict(clones: tuple[Vault, Vault]) -> None:
    """The driver names the key that both sides changed, and does not change our record."""
    ours, theirs = clones
    rotation.rotate(theirs.context(), ["id-token"], forced="a drill", push=True)
    later = ours.wait(HOUR)
    rotation.rotate(later.context(), ["id-token"], forced="a drill")
    record = later.active().path

    done = merged(later)

    assert done.returncode == 1
    assert "event activated cannot follow the state active" in done.stderr
    assert later.files()[record] == later.git("show", f"HEAD:{record}").encode() + b"\n"


def test_a_revocation_and_new_recipients_meet_in_one_record(clones: tuple[Vault, Vault]) -> None:
    """If one side seals every key again and the other ends a key, both are kept."""
    ours, theirs = clones
    recipients.add_recipient(theirs.context(), _recipients()[0], push=True)
    revoked_kid = ours.active().kid
    rotation.revoke(ours.context(), revoked_kid, reason="compromised")

    done = merged(ours)

    assert done.returncode == 0, done.stderr
    state = ours.state()
    assert state.keys[revoked_kid].state == "revoked"
    assert not state.keys[revoked_kid].sealed
    assert check_audit(ours.context()).errors == ()


def test_a_hook_of_the_user_stays(vault: Vault) -> None:
    """An existing hook is not overwritten; the user can call the check from it."""
    hook = vault.git_dir / "hooks" / "pre-merge-commit"
    hook.parent.mkdir(exist_ok=True)
    hook.write_text("#!/bin/sh\nexit 0\n")

    done = merge.install(vault.folder, vault.environ)
    assert ([path.name for path in done.hooks], done.others) == (["pre-commit"], ("pre-merge-commit",))
    assert hook.read_text() == "#!/bin/sh\nexit 0\n"


@pytest.mark.parametrize("path", ["README.md", "keys.enc/identities/ada.json", "keys.enc/README.md"])
def test_other_files_are_not_merged(path: str) -> None:
    """The driver merges only records and recipients."""
    with fails("merge-path-unsupported", UsageError):
        merge.merge_files(b"", b"{}", b"{}", path)


def test_a_vault_in_a_folder_is_merged_too(vault: Vault, tmp_path: Path) -> None:
    """Git gives the path of a record from the top of the repository."""
    path = vault.next().path
    data = vault.files()[path]
    assert merge.merge_files(data, data, data, f"deep/er/{path}") == data
    run_git(vault.folder, vault.environ, "status")


def test_the_hook_of_a_vault_in_a_folder(tmp_path: Path) -> None:
    """The hook finds the vault from the top of the repository, and accepts other merges; two vaults share one hook."""
    environ = environment(tmp_path)
    top = tmp_path / "whole"
    run_git(tmp_path, environ, "init", "--quiet", "--initial-branch=main", str(top))
    run_git(top, environ, "commit", "--quiet", "--allow-empty", "-m", "root")
    for name in ("svc/one", "svc/two words"):
        setup.init(top / name, T0, environ, NewVault("https://keys.example.com", parse_sets(["a:ES256"])))
        install_driver(Vault(top / name, environ))
    run_git(top, environ, "branch", "side")
    run_git(top, environ, "commit", "--quiet", "--allow-empty", "-m", "more")
    run_git(top, environ, "checkout", "--quiet", "side")
    run_git(top, environ, "commit", "--quiet", "--allow-empty", "-m", "other")

    run_git(top, environ, "merge", "--quiet", "--no-edit", "--no-ff", "main")

    hook = (top / ".git" / "hooks" / "pre-merge-commit").read_text()
    assert hook.count("merge-driver --check") == 2
