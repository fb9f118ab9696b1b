"""`audit` of branching histories: legal and illegal merges, rebases, two roots, and unusual repositories."""

from __future__ import annotations

from pathlib import Path

import msgspec
import pytest

from keyvault.core.events import Event
from keyvault.errors import GitError
from keyvault.operations import recipients, rotation, setup
from keyvault.operations.new_vault import NewVault, parse_sets
from keyvault.repo.records import encode_recipients
from tests.errors import fails
from tests.repo.histories import (
    LEAD,
    amended,
    as_found,
    audit,
    clean_merge,
    codes,
    commit_tree,
    due,
    files,
    make_story,
    merge,
    new_key,
    recipient,
    rotated,
    text_at,
    write,
)
from tests.vaults import DAY, HOUR, MINUTE, SITE, T0, Vault, copy_vault, environment, make_vault, run_git

RECIPIENTS = "keys.enc/recipients.json"


@pytest.fixture(scope="module")
def _ripe(tmp_path_factory: pytest.TempPathFactory) -> Vault:
    vault = make_vault(tmp_path_factory.mktemp("ripe"))
    due(vault.wait(20 * MINUTE))
    return vault.wait(2 * DAY)


@pytest.fixture
def ripe(_ripe: Vault, tmp_path: Path) -> Vault:
    """A vault of the test's own whose next keys may be activated."""
    return copy_vault(_ripe, tmp_path)


def at(vault: Vault, revision: str) -> Vault:
    """Move the current branch to *revision*."""
    vault.git("checkout", "--quiet", "-B", "side", revision)
    return vault


def found(vault: Vault, commit: str) -> set[str]:
    """Return the codes of the findings at *commit*; check that there are only expected ones elsewhere."""
    findings = audit(vault).findings
    assert {finding.code for finding in findings if finding.commit != commit} <= {"forced", "recipients-changed"}
    return {finding.code for finding in findings if finding.commit == commit}


# --- legal merges ---------------------------------------------------------------------------------------


def test_a_clean_merge(ripe: Vault) -> None:
    """If two sides rotate different sets, git merges them by itself, and there are no findings."""
    base = ripe.head
    rotation.rotate(ripe.context(), ["id-token"])
    ours = ripe.head
    rotation.rotate(at(ripe.wait(HOUR), base).context(), ["access-token"])
    theirs = ripe.head

    clean_merge(ripe.wait(HOUR), ours, theirs)
    assert audit(ripe).findings == ()
    at(ripe, ripe.head)
    due(ripe.wait(HOUR))
    due(ripe.wait(DAY))
    assert audit(ripe).findings == ()


def test_a_clean_octopus(ripe: Vault) -> None:
    """A merge of one side for each set, and one that does not change the vault."""
    base = ripe.head
    rotation.rotate(ripe.context(), ["id-token"])
    one = ripe.head
    rotation.rotate(at(ripe, base).context(), ["access-token"])
    two = ripe.head
    at(ripe, base).commit({"README.md": "hello"})
    three = ripe.head
    changes = {path: text_at(ripe, two, path) for path in ripe.git("diff", "--name-only", base, two).splitlines()}

    merge(ripe, one, two, three, changes={**changes, "README.md": "hello"})
    assert audit(ripe).findings == ()


def test_recipients_changed_on_one_side(ripe: Vault) -> None:
    """A key that the other side created is not sealed to the new list, which is a note."""
    base = ripe.head
    recipients.add_recipient(ripe.context(), recipient("bob"))
    ours = ripe.head
    rotation.rotate(at(ripe, base).context(), ["id-token"])
    theirs, made = ripe.head, ripe.next().path

    for one, two in ((ours, theirs), (theirs, ours)):
        clean_merge(ripe, one, two)
        assert [(note.code, note.path) for note in audit(ripe).findings] == [
            ("recipients-changed", RECIPIENTS),
            ("not-resealed", made),
        ]
    at(ripe, ripe.head)
    due(ripe.wait(HOUR))
    assert [note.code for note in audit(ripe).findings] == ["recipients-changed", "not-resealed"]


def test_a_policy_that_one_side_loosened(ripe: Vault) -> None:
    """A merge takes over a loosened policy without a finding of its own."""
    base = ripe.head
    ripe.edit_policy('"24h"', '"12h"')
    ours = ripe.head
    at(ripe, base).edit_policy('title = "', 'title = "More ')
    theirs = ripe.head

    for parents in ((ours, theirs), (theirs, ours)):
        clean_merge(ripe, *parents)
        assert {(finding.code, finding.commit) for finding in audit(ripe).findings} == {("policy-loosened", ours)}


def test_a_rebase_keeps_dates(ripe: Vault) -> None:
    """Rebased commits keep their author dates."""
    base = ripe.head
    rotation.rotate(ripe.context(), ["id-token"])
    side = ripe.head
    at(ripe.wait(HOUR), base).commit({"README.md": "hello"})
    ripe.git("cherry-pick", side)

    assert ripe.git("log", "-1", "--format=%at") != ripe.git("log", "-1", "--format=%ct")
    assert audit(ripe.wait(HOUR)).findings == ()


def test_a_squash_gives_a_new_date(ripe: Vault) -> None:
    """A rotation and a receipt that are squashed into one later commit cause a finding."""
    base = ripe.head
    rotation.rotate(ripe.context(), ["id-token"])
    due(ripe.wait(HOUR))
    squashed = commit_tree(ripe.wait(DAY), "HEAD^{tree}", base)
    assert found(ripe, squashed) == {"instant-backdated", "receipt-too-soon"}


def test_a_commit_that_names_a_parent_twice(ripe: Vault) -> None:
    """Git does not write such a commit, but another program could."""
    raw = f"tree {ripe.git('rev-parse', 'HEAD^{tree}')}\n" + f"parent {ripe.head}\n" * 2
    raw += ripe.git("cat-file", "commit", "HEAD").partition("\nauthor ")[2].join(["author ", "\n"])
    oid = ripe.git("hash-object", "-w", "-t", "commit", "--literally", "--stdin", stdin=raw.encode())
    ripe.git("update-ref", "HEAD", oid)
    assert audit(ripe).findings == ()


# --- illegal merges -------------------------------------------------------------------------------------


@pytest.fixture
def forked(ripe: Vault) -> tuple[Vault, str, str]:
    """Two sides: ours rotated and changed the recipients, theirs did not change the vault."""
    base = ripe.head
    at(ripe, base).commit({"README.md": "hello"})
    theirs = ripe.head
    rotation.rotate(at(ripe, base).context(), ["id-token"])
    recipients.add_recipient(ripe.wait(HOUR).context(), recipient("bob"))
    return ripe, ripe.head, theirs


def test_the_older_side_is_taken(forked: tuple[Vault, str, str]) -> None:
    """Records of only one side and events of others are lost, whatever the order of the parents."""
    vault, ours, theirs = forked
    for parents in ((ours, theirs), (theirs, ours)):
        commit = merge(vault, *parents, tree=f"{theirs}^{{tree}}")
        assert found(vault, commit) == {"record-removed", "event-removed"}
        assert codes(audit(vault, revision=ours)) == {"recipients-changed"}


def test_only_the_older_recipients_are_taken(forked: tuple[Vault, str, str]) -> None:
    """The keys are sealed to other recipients than the list names."""
    vault, ours, theirs = forked
    commit = merge(vault, ours, theirs, changes={RECIPIENTS: text_at(vault, theirs, RECIPIENTS)})
    assert found(vault, commit) == {"not-resealed"}
    assert len([finding for finding in audit(vault).findings if finding.code == "not-resealed"]) == len(
        vault.state().keys
    )


def test_a_record_of_one_side_is_dropped(forked: tuple[Vault, str, str]) -> None:
    """The same for one of many keys."""
    vault, ours, theirs = forked
    path = vault.next().path
    for parents in ((ours, theirs), (theirs, ours)):
        commit = merge(vault, *parents, tree=f"{ours}^{{tree}}", changes={path: None})
        assert found(vault, commit) == {"record-removed", "next-missing"}
        assert [finding.path for finding in audit(vault).findings if finding.code == "record-removed"] == [path]


def test_a_merge_with_a_change_of_its_own(forked: tuple[Vault, str, str]) -> None:
    """Changes that no side has are judged as in any other commit, against both parents."""
    vault, ours, theirs = forked
    key = vault.active()
    public = msgspec.structs.replace(new_key(vault).public, kid=key.kid)
    early = amended(vault.next(), Event(at=vault.now, event="activated", token_lifetime=3_600))
    for change, codes_ in (
        (amended(key, public=public), {"public-changed", "kid-mismatch"}),
        (amended(key, Event(at=vault.now, event="lifetime", token_lifetime=1)), {"token-lifetime"}),
        (early, {"activated-unseen", "two-active", "next-missing"}),
    ):
        for parents in ((ours, theirs), (theirs, ours)):
            commit = merge(vault, *parents, tree=f"{ours}^{{tree}}", changes=files(change))
            assert found(vault, commit) == codes_


def test_a_merge_that_loosens_policy(forked: tuple[Vault, str, str]) -> None:
    """A policy that neither side loosened."""
    vault, ours, theirs = forked
    text = text_at(vault, ours, "keyvault.toml").replace('"24h"', '"3h"')
    commit = merge(vault, ours, theirs, changes={"keyvault.toml": text})
    assert found(vault, commit) == {"policy-loosened"}


def test_a_merge_with_a_private_key(forked: tuple[Vault, str, str]) -> None:
    """Also outside the vault; a file of a side is reported there, and not again."""
    vault, ours, theirs = forked
    pem = "-----BEGIN PRIVATE KEY-----\n" + "A" * 64 + "\n-----END PRIVATE KEY-----\n"
    commit = merge(vault, ours, theirs, changes={"key.pem": pem})
    assert found(vault, commit) == {"private-in-clear"}

    side = at(vault, theirs).commit({"key.pem": pem})
    clean_merge(vault, ours, side)
    assert [(finding.code, finding.commit) for finding in audit(vault).errors] == [("private-in-clear", side)]


def test_two_sides_that_both_rotated(ripe: Vault) -> None:
    """At the same instant git merges them without a conflict, and the set has two next keys."""
    base = ripe.head
    rotation.rotate(ripe.context(), ["id-token"])
    ours = ripe.head
    rotation.rotate(at(ripe, base).context(), ["id-token"])
    theirs = ripe.head

    commit = clean_merge(ripe, ours, theirs)
    assert found(ripe, commit) == {"two-next"}
    commit_tree(ripe, "HEAD^{tree}", commit)
    assert len(audit(ripe).findings) == 1  # it is not said again


def test_two_sides_that_each_have_another_active_key(ripe: Vault) -> None:
    """A resolution that keeps all files has two active keys, and changes events of one side."""
    base = ripe.head
    rotation.revoke(ripe.context(), ripe.next().kid, reason="superseded")
    due(ripe.wait(MINUTE))
    rotation.rotate(ripe.wait(LEAD).context(), ["id-token"])
    ours = ripe.head
    rotation.rotate(at(ripe, base).context(), ["id-token"])
    theirs = ripe.head
    theirs_files = {
        path: text_at(ripe, theirs, path) for path in ripe.git("diff", "--name-only", base, theirs).splitlines()
    }

    commit = merge(ripe, ours, theirs, changes=theirs_files)
    assert found(ripe, commit) == {"two-active", "two-next", "event-changed", "private-added"}


def test_three_sides_that_all_rotated(ripe: Vault) -> None:
    """An octopus is judged against each of its parents."""
    base, sides = ripe.head, []
    for _ in range(3):
        rotation.rotate(at(ripe.wait(MINUTE), base).context(), ["id-token"])
        sides.append(ripe.head)
    commit = merge(ripe, *sides)
    assert found(ripe, commit) == {"record-removed", "event-changed"}
    lost = [finding.path for finding in audit(ripe).findings if finding.code == "record-removed"]
    assert len(lost) == len(set(lost)) == 2


def test_both_sides_use_a_kid(ripe: Vault) -> None:
    """Two independent branches may each be legal, but not their merge."""
    base, instant = ripe.head, ripe.now
    events = (Event(at=instant, event="created", imported=True), Event(at=instant, event="withdrawn"))
    one = new_key(ripe, *events, kid="same", seal=False)
    two = new_key(ripe, *events, kid="SAME", seal=False, set_name="access-token", alg="EdDSA")
    twin = msgspec.structs.replace(one, public=msgspec.structs.replace(one.public, kid="twin"))
    for other, code in ((two, "kid-reused"), (twin, "key-reused")):
        write(at(ripe, base), one)
        ours = ripe.head
        write(at(ripe, base), other)
        theirs = ripe.head
        commit = clean_merge(ripe, ours, theirs)
        assert found(ripe, commit) == {code}
        # A finding is not repeated for later commits on a side.
        at(ripe, theirs).commit({"README.md": "hello"})
        later = ripe.head
        clean_merge(ripe, commit, later)
        assert len(audit(ripe).findings) == 1
        clean_merge(ripe, later, commit)
        assert len(audit(ripe).findings) == 1


def test_a_kid_of_a_side_that_gave_it_up(ripe: Vault) -> None:
    """A merge without own changes still adds the kids and keys of both sides."""
    base, instant = ripe.head, ripe.now
    events = (Event(at=instant, event="created", imported=True), Event(at=instant, event="withdrawn"))
    one = new_key(ripe, *events, kid="same", seal=False)
    write(at(ripe, base), one)
    ripe.commit({one.path: None})
    side = ripe.head
    merged = merge(ripe, base, side)
    write(at(ripe, merged), new_key(ripe, *events, kid="same", seal=False))
    assert [finding.code for finding in audit(ripe).findings] == ["record-removed", "kid-reused"]


def test_a_wrong_file_of_one_side(ripe: Vault) -> None:
    """A merge that takes over an error of one side does not repeat the finding, nor its mending."""
    base = ripe.head
    weak = msgspec.structs.replace(recipient("eve"), x="AAAA")
    for content in (
        {"keyvault.toml": "[["},
        {"keys.enc/identities/eve.json": "{}"},
        {"keys.enc/notes.txt": "hello"},
        {RECIPIENTS: "{}"},
        {RECIPIENTS: encode_recipients({**ripe.state(base).recipients, "eve": weak})},
    ):
        at(ripe, base).commit({"README.md": "hello"})
        ours = ripe.head
        at(ripe, base).commit(dict(content))
        theirs = ripe.head
        alone = audit(ripe).findings
        assert alone
        for parents in ((ours, theirs), (theirs, ours)):
            clean_merge(ripe, *parents)
            assert audit(ripe).findings == alone
            commit_tree(ripe, f"{ours}^{{tree}}", ripe.head)
            assert as_found(audit(ripe).findings) == list(alone)


# --- more than one root ---------------------------------------------------------------------------------


def test_two_vaults_are_joined(ripe: Vault, tmp_path: Path) -> None:
    """The second root is an error, in either order."""
    (tmp_path / "other").mkdir()
    other = make_vault(tmp_path / "other", sets=["other:ES256"])
    ripe.git("fetch", "--quiet", str(other.folder), "main:other")
    for parents in ((ripe.head, "other"), ("other", ripe.head)):
        merge(at(ripe, "main"), *parents)
        found = audit(ripe).findings
        assert {finding.code for finding in found} >= {"vault-begun-twice", "record-removed"}
        (twice,) = [finding for finding in found if finding.code == "vault-begun-twice"]
        assert twice.commit in ripe.git("rev-list", "--max-parents=0", "HEAD").splitlines()


def test_a_vault_is_removed_and_made_anew(ripe: Vault) -> None:
    """Removing a vault is no new beginning; restoring all of it is."""
    before = ripe.head
    gone = {name: None for name in ripe.files() if name.startswith("keys.enc/") or name == "keyvault.toml"}
    ripe.commit(gone)
    removed = ripe.head
    bad = audit(ripe).findings
    commit_tree(ripe, f"{before}^{{tree}}", removed)
    assert as_found(audit(ripe).findings) == list(bad)

    ripe.git("reset", "--quiet", "--hard", removed)
    setup.init(ripe.folder, ripe.now, ripe.environ, NewVault(SITE, parse_sets(["id-token:ES256"])))
    new = audit(ripe).findings[len(bad) :]
    assert {finding.code for finding in new} == {"vault-begun-twice", "recipients-changed"}


def test_a_root_without_a_vault(ripe: Vault) -> None:
    """An unrelated branch, such as of documentation, may be merged into a vault, and a vault into a project."""
    empty = ripe.git("mktree", stdin=b"")
    vault = ripe.head
    root = commit_tree(ripe, empty)
    merge(ripe, vault, root)
    assert audit(ripe).findings == ()
    merge(ripe, root, vault, tree=f"{vault}^{{tree}}")
    assert audit(ripe).findings == ()


# --- unusual repositories -------------------------------------------------------------------------------


def test_a_detached_head(ripe: Vault) -> None:
    """A detached HEAD can be audited, too."""
    ripe.git("checkout", "--quiet", "--detach")
    assert audit(ripe).commits == 2


def test_a_vault_below_the_top(tmp_path: Path) -> None:
    """A vault in a folder has the same findings; paths are relative to the vault, others to the repository."""
    environ = environment(tmp_path)
    run_git(tmp_path, environ, "init", "--quiet", "--initial-branch=main", "project")
    vault = make_story(tmp_path, folder="project/deep/er")
    assert {finding.code for finding in audit(vault).findings} == {"forced", "recipients-changed"}
    top = Vault(tmp_path / "project", vault.environ, vault.now)
    top.commit({"keyvault.toml": "[[", "keys.enc/notes.txt": "hello", "a.pem": PEM, "deep/er/b.pem": PEM})
    vault.commit({"keys.enc/notes.txt": "hello"})
    assert [(finding.code, finding.path) for finding in audit(vault).errors] == [
        ("private-in-clear", "a.pem"),
        ("private-in-clear", "deep/er/b.pem"),
        ("unexpected-path", "keys.enc/notes.txt"),
    ]
    patterns = ("a.*", "deep/er/*")
    assert [finding.path for finding in audit(vault, exclude=patterns).errors] == ["keys.enc/notes.txt"]


PEM = "-----BEGIN PRIVATE KEY-----\n" + "A" * 64 + "\n-----END PRIVATE KEY-----\n"


def test_what_is_left_out(ripe: Vault) -> None:
    """Patterns of the command and of the newest keyvault.toml exclude files, except those of the vault."""
    ripe.commit({"tests/key.pem": PEM, "keys.enc/README.md": PEM})
    both = [("private-in-clear", "keys.enc/README.md"), ("private-in-clear", "tests/key.pem")]
    assert sorted((finding.code, finding.path) for finding in audit(ripe).findings) == both
    assert [
        (finding.code, finding.path) for finding in audit(ripe, exclude=["tests/*", "keys.enc/*"]).findings
    ] == both[:1]
    ripe.edit_policy("[defaults]", '[audit]\nexclude = ["tests/*", "*"]\n\n[defaults]')
    assert {(finding.code, finding.path) for finding in audit(ripe).findings} == {
        *both[:1],
        ("policy-loosened", "keyvault.toml"),
    }


def test_sha256(tmp_path: Path) -> None:
    """A SHA-256 repository can be audited."""
    environ = environment(tmp_path)
    run_git(tmp_path, environ, "init", "--quiet", "--initial-branch=main", "--object-format=sha256", "vault")
    vault = make_story(tmp_path)
    assert len(vault.head) == 64
    assert {finding.code for finding in audit(vault, pin=vault.head).findings} == {"forced", "recipients-changed"}
    path = vault.active().path
    vault.commit({path: None})
    side = vault.head
    merge(vault, "HEAD~1", side, tree=f"{side}^{{tree}}")
    assert codes(audit(vault)) == {"forced", "recipients-changed", "record-removed", "active-missing"}


def test_a_shallow_clone(ripe: Vault) -> None:
    """A shallow clone cannot be judged, and the hint fetches the rest."""
    shallow = ripe.clone("shallow", "--depth=1", source=ripe.folder.as_uri())
    with fails("clone-shallow", GitError) as caught:
        audit(shallow)
    assert str(caught.value.hint).startswith("git fetch --unshallow")


@pytest.mark.parametrize("revision", ["HEAD:keyvault.toml", "HEAD^{tree}", "HEAD:keys.enc", "HEAD~1", "HEAD~1^{tree}"])
def test_an_object_that_is_missing(revision: str, ripe: Vault) -> None:
    """A missing file, tree or commit causes an error of one line."""
    oid = ripe.git("rev-parse", revision)
    (ripe.git_dir / "objects" / oid[:2] / oid[2:]).unlink()
    with pytest.raises(GitError) as caught:
        audit(ripe)
    assert caught.value.message.isprintable()


@pytest.mark.parametrize(("missing", "code"), [("tree", "git-failed"), ("folder", "object-missing")])
def test_a_tree_of_a_merge_that_is_missing(missing: str, code: str, ripe: Vault) -> None:
    """A separate process compares merges; if it ends early, the audit fails and does not block."""
    base = ripe.head
    write(ripe, *rotated(ripe, ripe.now))
    side = ripe.head
    commit = merge(ripe, base, side, tree=f"{side}^{{tree}}", changes={"keys.enc/notes.txt": "x"})
    oid = ripe.git("rev-parse", f"{commit}^{{tree}}" if missing == "tree" else f"{commit}:keys.enc")
    (ripe.git_dir / "objects" / oid[:2] / oid[2:]).unlink()
    with fails(code, GitError):
        audit(ripe, revision=commit)


def test_replacements_and_grafts_are_ignored(ripe: Vault) -> None:
    """Neither can hide a commit behind a harmless one."""
    good = ripe.head
    ripe.commit({ripe.active().path: None})
    bad = ripe.head
    ripe.commit({"README.md": "hello"})
    wanted = audit(ripe).findings
    assert {finding.commit for finding in wanted} == {bad}
    ripe.git("replace", bad, good)
    assert audit(ripe).findings == wanted
    ripe.git("replace", "--delete", bad)
    info = ripe.git_dir / "info"
    info.mkdir(exist_ok=True)
    (info / "grafts").write_text(f"{ripe.head} {good}\n")
    assert audit(ripe).findings == wanted
    assert audit(ripe).commits == 4


def test_a_bare_repository(ripe: Vault) -> None:
    """A bare repository on a server can be audited."""
    run_git(ripe.top, ripe.environ, "clone", "--quiet", "--bare", str(ripe.folder), "bare.git")
    assert audit(Vault(ripe.top / "bare.git", ripe.environ, ripe.now)).findings == ()


def test_dates_do_not_decide_the_order(ripe: Vault) -> None:
    """Parents are judged before children, whatever their dates."""
    commit_tree(ripe, "HEAD^{tree}", ripe.head, at=T0 - 900 * DAY)
    commit_tree(ripe, "HEAD^{tree}", ripe.head, at=T0 + 9_000 * DAY)
    due(ripe)
    assert audit(ripe).findings == ()


# --- trusted and pinned commits -------------------------------------------------------------------------


def test_a_mistake_before_a_trusted_commit(ripe: Vault) -> None:
    """Its own errors do not count; later commits are judged by its state."""
    path = ripe.next().path
    kid = ripe.next().kid
    ripe.commit({path: None})
    trusted = ripe.head
    assert codes(audit(ripe)) == {"record-removed", "next-missing"}
    assert audit(ripe, since=trusted).findings == ()
    ripe.commit({ripe.active().path: None})
    found = audit(ripe, since=trusted)
    assert (found.since, found.commits) == (trusted, 1)
    assert {finding.code for finding in found.findings} == {"record-removed", "active-missing"}
    assert kid not in found.findings[0].message


def test_a_side_from_before_a_trusted_commit(ripe: Vault) -> None:
    """A parent of a merge that is older than the trusted commit is not judged."""
    base = ripe.head
    rotation.rotate(ripe.context(), ["id-token"])
    trusted = ripe.head
    rotation.rotate(at(ripe, base).context(), ["access-token"])
    theirs = ripe.head
    clean_merge(ripe, trusted, theirs)
    found = audit(ripe, since=trusted)
    assert (found.commits, found.findings) == (2, ())
    merge(ripe, trusted, theirs, tree=f"{theirs}^{{tree}}")
    assert codes(audit(ripe, since=trusted)) == {"record-removed", "event-removed"}


def test_a_pin(ripe: Vault) -> None:
    """A history that contains the pin is accepted; a rewritten one or another one is not."""
    pin, base = ripe.head, ripe.git("rev-parse", "HEAD~1")
    assert audit(ripe, pin=pin).findings == ()
    assert audit(ripe, pin=base).findings == ()
    commit_tree(ripe, f"{pin}^{{tree}}", base, at=T0 + 20 * MINUTE)
    for unknown in (pin, "1" * 40, "no-such-branch", "--all", "-h", "", "\x1b[2J"):
        (found,) = audit(ripe, pin=unknown).findings
        assert (found.code, found.commit, found.level) == ("pin-missing", ripe.head, "error")
        assert found.message.isprintable()
    found = audit(ripe, since=pin)
    assert ([finding.code for finding in found.findings], found.since, found.commits) == (["pin-missing"], None, 2)
