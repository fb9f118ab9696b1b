"""history.json: every key with its events, and the commit that wrote each of them."""

from __future__ import annotations

import json
from typing import Any

import pytest

from keyvault.core.algorithms import key_spec
from keyvault.errors import GitError
from keyvault.operations import keys, rotation
from keyvault.repo.vault import Repository
from tests.errors import fails
from tests.site.vaults import DAY, HOUR, MINUTE, SITE, Lab, new_lab


def history(lab: Lab, revision: str = "HEAD") -> Any:
    return json.loads(lab.site(revision)["history.json"])


def shown_commits(lab: Lab) -> dict[str, list[str | None]]:
    """Return the commit that history.json names for each event, by kid."""
    return {key["kid"]: [event.get("commit") for event in key["events"]] for key in history(lab)["keys"]}


def real_commits(lab: Lab) -> dict[str, list[str | None]]:
    """
    Return the commit that wrote each event, by kid, according to plain git.

    An event was written by the first commit, in an order where parents come first, whose record begins with
    the events up to and including it.
    """
    order = lab.git("rev-list", "--topo-order", "--reverse", "HEAD").split()
    found: dict[str, list[str | None]] = {}
    for kid, key in lab.state.keys.items():
        lists = {}
        for commit in order:
            if lab.git("ls-tree", "--name-only", commit, "--", key.path):
                lists[commit] = json.loads(lab.git("cat-file", "blob", f"{commit}:{key.path}"))["events"]
        final = lists[order[-1]]
        found[kid] = [
            next(commit for commit in order if lists.get(commit, [])[: index + 1] == final[: index + 1])
            for index in range(len(final))
        ]
    return found


def test_events_carry_the_commit_that_wrote_them(vault: Lab) -> None:
    """Each event of each key names the commit that added it, according to ``git log``."""
    vault.rotate("id-token")
    vault.wait(HOUR)
    rotation.rollback(vault.context(), "id-token", note="a gateway had pinned the old key")
    vault.wait(HOUR)
    rotation.revoke(vault.context(), vault.key("access-token", "active").kid, reason="compromised")
    vault.wait(DAY)
    rotation.rotate_due(vault.context())

    shown = shown_commits(vault)
    assert shown == real_commits(vault)
    assert sum(map(len, shown.values())) > 12
    assert all(commit for commits in shown.values() for commit in commits)


def test_history_says_all_of_an_event(vault: Lab) -> None:
    """Receipts have their URL, activations the token lifetime, deactivations keep_until, revocations the reason."""
    first = vault.key("id-token", "active")
    vault.rotate("id-token")
    second = vault.key("id-token", "active")
    rotation.revoke(vault.context(), second.kid, reason="superseded", note="wrong curve")
    events = {key["kid"]: key["events"] for key in history(vault)["keys"]}

    last = events[first.kid][-1]
    assert (last["at"], last["event"]) == ("2026-11-24T17:00:00Z", "deactivated")
    assert last["keep_until"] == "2026-11-24T19:10:00Z"
    assert [event["event"] for event in events[second.kid]] == ["created", "published", "activated", "revoked"]
    assert events[second.kid][1]["url"] == f"{SITE}/.well-known/jwks.json"
    assert events[second.kid][2]["token_lifetime"] == 3600
    assert events[second.kid][3]["reason"] == "superseded"
    assert events[second.kid][3]["note"] == "wrong curve"


def test_history_describes_vault_sets_and_keys(vault: Lab) -> None:
    """The document names its format, the site, the rendered commit, the sets of policy and each key's thumbprint."""
    found = history(vault)

    assert list(found) == ["format", "title", "url", "commit", "sets", "keys"]
    assert found["format"] == 1
    assert found["url"] == SITE
    assert found["commit"] == vault.head
    assert found["sets"][0] == {
        "name": "id-token",
        "issuer": SITE,
        "jwks_uri": f"{SITE}/.well-known/jwks.json",
        "alg": "ES256",
        "use": "sig",
    }
    for key in found["keys"]:
        assert key["thumbprint"] == key["kid"]
        assert key["jwk"] == f"keys/{key['kid']}.json"


def test_old_commit_renders_its_own_history(vault: Lab) -> None:
    """``render --ref`` shows the vault at that commit, without later keys, events or commits."""
    old = vault.head
    before = vault.site()
    vault.rotate("id-token")

    assert vault.site(old) == before
    assert history(vault, old)["commit"] == old


def test_commits_are_right_after_a_merge_of_two_branches(vault: Lab) -> None:
    """Rotations of two sets on two branches keep their own commits when the branches are merged."""
    vault.mature()
    vault.git("switch", "--quiet", "--create", "other")
    rotation.rotate(vault.context(), ["access-token"])
    vault.wait(MINUTE)
    vault.git("switch", "--quiet", "main")
    rotation.rotate(vault.context(), ["id-token"])
    vault.wait(MINUTE)
    vault.git("merge", "--quiet", "--no-edit", "other")

    shown = shown_commits(vault)
    assert len(vault.git("rev-list", "--parents", "-1", "HEAD").split()) == 3
    assert shown == real_commits(vault)


@pytest.mark.parametrize(
    "kept",
    [
        "ours",
        "theirs",
    ],
)
def test_commits_are_right_when_both_branches_wrote_to_one_record(vault: Lab, kept: str) -> None:
    """If two branches recorded different receipts of a key, the receipt that remains names its own commit."""
    vault.deploy()
    vault.git("switch", "--quiet", "--create", "other")
    rotation.rotate_due(vault.context())
    vault.wait(MINUTE)
    vault.git("switch", "--quiet", "main")
    rotation.rotate_due(vault.context())
    vault.wait(MINUTE)
    vault.git("merge", "--quiet", "--no-edit", "--strategy-option", kept, "other")

    assert shown_commits(vault) == real_commits(vault)


def test_event_that_only_a_merge_wrote_has_no_commit(vault: Lab) -> None:
    """An event that only a merge added is shown without a commit."""
    key = vault.key("id-token", "next")
    base = vault.head
    vault.commit({"notes.txt": "a\n"})
    side = vault.head
    vault.git("reset", "--quiet", "--hard", base)
    vault.deploy()
    rotation.rotate_due(vault.context())
    tree = vault.git("rev-parse", "HEAD^{tree}")
    merge = vault.git("commit-tree", tree, "-p", base, "-p", side, "-m", "merge")
    vault.git("reset", "--quiet", "--hard", merge)

    shown = shown_commits(vault)[key.kid]
    assert len(shown) == 2
    assert shown[0] is not None
    assert shown[1] is None


def test_vault_in_a_subfolder_has_its_commits(vault: Lab) -> None:
    """A vault in a folder of a larger repository shows its own commits."""
    folder = vault.folder / "vaults" / "second"
    lab = new_lab(folder, "id-token:ES256", environ=vault.environ)
    lab.rotate("id-token")

    commits = {commit for commits in shown_commits(lab).values() for commit in commits}
    assert commits == set(lab.git("rev-list", "HEAD", "--", str(folder)).split())


def test_shallow_clone_is_refused_with_a_hint(vault: Lab) -> None:
    """A CI job with a shallow clone gets an error with a hint, instead of publishing a wrong history."""
    vault.rotate("id-token")
    clone = vault.folder.parent / "shallow"
    vault.git("clone", "--quiet", "--depth=1", f"file://{vault.folder}", str(clone))
    shallow = Lab(clone, vault.environ)

    with fails("clone-shallow", GitError) as caught:
        shallow.site()
    assert caught.value.hint == "git fetch --unshallow (in CI: fetch-depth: 0)"


def test_removed_set_keeps_its_events_and_commits(vault: Lab) -> None:
    """Keys of a set that was removed from policy keep the commits of their events."""
    keys.add_set(vault.context(), "reports", spec=key_spec("EdDSA"))
    vault.wait(HOUR)
    keys.remove_set(vault.context(), "reports", forced="not used")

    assert shown_commits(vault) == real_commits(vault)
    assert Repository.open(vault.folder, vault.environ).head() == vault.head
