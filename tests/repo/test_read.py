"""The state of a vault is that of one commit, and a commit that could mislead is refused."""

from __future__ import annotations

import os
import shutil
import sys
from pathlib import Path

import pytest
from msgspec import UNSET
from msgspec.structs import replace

from keyvault.core.compact import summarize_envelope
from keyvault.core.keys import Envelope, EnvelopeSummary, sealed_to
from keyvault.crypto.envelope import envelope_of
from keyvault.errors import ConfigError, GitError, KeyVaultError, RecordError, UsageError
from keyvault.operations import rotation, setup
from keyvault.operations.context import Context
from keyvault.operations.new_vault import NewVault
from keyvault.repo.git import Git, reader
from keyvault.repo.records import encode_key
from keyvault.repo.vault import Repository, find_vault
from tests import revisions
from tests.errors import fails
from tests.vaults import DAY, T0, Vault, make_vault, run_git, tree


def rendered(vault: Vault, revision: str = "HEAD") -> dict[str, bytes]:
    """Return the site of a vault, path by path."""
    _state, files = revisions.site_files(vault.context(), revision=revision)
    return dict(files)


# --- one commit, nothing else ---------------------------------------------------------------------------


def test_the_working_tree_does_not_count(vault: Vault) -> None:
    """Deleted or forged files in the working tree do not change the state of the vault."""
    before = vault.state()
    shutil.rmtree(vault.folder / "keys.enc")
    vault.write("keyvault.toml", "format = 9\n")
    vault.write("keys.enc/id-token/made-up.json", "{}")

    assert vault.state() == before


def test_the_index_does_not_count(vault: Vault) -> None:
    """Staged files do not change the state either."""
    before = vault.state()
    vault.write("keys.enc/id-token/made-up.json", "{}")
    vault.git("add", "--all")

    assert vault.state() == before


def test_an_old_commit_is_readable(vault: Vault) -> None:
    """Any commit of the history is readable by its id, branch or tag."""
    before = vault.state()
    vault.git("tag", "v1")
    rotation.rotate_due(vault.context())

    assert vault.state() != before
    assert vault.state("v1") == before
    assert vault.state(before.commit[:10]) == before


@pytest.mark.parametrize(
    "revision", ["nowhere", "--output=x", "-1", "HEAD:keyvault.toml", "HEAD^{tree}", "", "main..x"]
)
def test_an_unknown_revision(vault: Vault, revision: str) -> None:
    """An error names a revision that is not a commit; git never takes it for an option."""
    before = vault.files()

    with fails("revision-unknown", GitError) as caught:
        vault.state(revision)

    assert repr(revision) in caught.value.message
    assert vault.files() == before


def test_a_vault_is_found_from_below(vault: Vault) -> None:
    """Commands work in any folder of the vault, as git's do."""
    assert find_vault(vault.folder / "keys.enc" / "id-token") == vault.folder.resolve()


def test_no_vault(tmp_path: Path, environ: dict[str, str]) -> None:
    """Outside a vault, the error names the folder, and the hint creates a vault."""
    with fails("vault-missing", GitError) as caught:
        Context.find(tmp_path, T0, environ)

    assert str(tmp_path) in caught.value.message
    assert caught.value.hint == "keyvault init DIR --url https://keys.example.com"


def test_a_folder_without_git(tmp_path: Path, environ: dict[str, str]) -> None:
    """A keyvault.toml outside a repository is not a vault yet."""
    (tmp_path / "keyvault.toml").write_text("format = 1\n")

    with fails("repository-missing", GitError) as caught:
        Context.find(tmp_path, T0, environ)

    assert str(tmp_path) in caught.value.message
    assert "keyvault init" in str(caught.value.hint)


def test_no_commits_yet(tmp_path: Path, environ: dict[str, str]) -> None:
    """A repository without commits is not a vault: the hint names commands, and nothing changes."""
    run_git(tmp_path, environ, "init", "--quiet")
    (tmp_path / "keyvault.toml").write_text("format = 1\n")
    context = Context.find(tmp_path, T0, environ)

    for command in (
        context.state,
        lambda: rotation.rotate_due(context),
        lambda: revisions.render(context, tmp_path / "x"),
    ):
        with fails("repository-empty", GitError) as caught:
            command()
        assert caught.value.hint == "keyvault init, or: git commit"
    assert dict(tree(tmp_path)) == {"keyvault.toml": b"format = 1\n"}


def test_a_commit_without_policy(vault: Vault) -> None:
    """A commit without a keyvault.toml is not a vault, even if the working tree has that file."""
    vault.git("rm", "--quiet", "--cached", "keyvault.toml")
    vault.git("commit", "--quiet", "-m", "lose it")

    with fails("policy-missing", GitError) as caught:
        vault.state()

    assert vault.head[:12] in caught.value.message


def test_git_is_missing(vault: Vault) -> None:
    """Without git on the PATH, the hint names the version to install."""
    vault.environ["PATH"] = str(vault.top / "home")

    with fails("program-missing", GitError) as caught:
        vault.state()

    assert caught.value.hint == "install git 2.38 or newer"


# --- shapes of repositories -----------------------------------------------------------------------------


def test_a_bare_clone_is_readable(vault: Vault) -> None:
    """In a bare clone, the vault can be read, rendered and even rotated."""
    bare = vault.clone("bare.git", "--bare")

    assert bare.state() == vault.state()
    assert rendered(bare) == rendered(vault)
    outcome = rotation.rotate_due(bare.context())
    assert outcome.commit == bare.head
    assert not (bare.folder / "keys.enc").exists()


def test_a_vault_in_a_subfolder(tmp_path: Path, environ: dict[str, str]) -> None:
    """A vault may be a folder of a larger repository: paths, commits and history are its own."""
    top = tmp_path / "mono"
    (top / "app").mkdir(parents=True)
    run_git(top, environ, "init", "--quiet", "--initial-branch=main")
    (top / "app" / "main.c").write_text("int main;\n")
    run_git(top, environ, "add", "--all")
    run_git(top, environ, "commit", "--quiet", "-m", "an app")
    vault = make_vault(tmp_path, folder="mono/security/keys", environ=environ)

    rotation.rotate_due(vault.context())
    rotation.rotate(vault.wait(DAY).context(), ["id-token"])

    changed = vault.git("diff", "--name-only", "HEAD~1", "--", ":/").splitlines()
    assert changed
    assert all(path.startswith("security/keys/keys.enc/id-token/") for path in changed)
    assert vault.status == []
    assert b"main.c" not in b"".join(rendered(vault).values())
    history = vault.repository.event_commits(vault.head)
    assert set(history) == {key.path for key in vault.state().keys.values()}


def test_commits_of_more_sets_than_a_command_line_names(vault: Vault, monkeypatch: pytest.MonkeyPatch) -> None:
    """The commits of events are found for any number of sets."""
    every = vault.repository.event_commits(vault.head)
    monkeypatch.setattr(reader, "_PATHS_MAX", 1)
    names = [*vault.state().sets, "another"]

    assert len(names) > 1
    assert vault.repository.event_commits(vault.head, names) == every


def test_a_linked_worktree(vault: Vault) -> None:
    """A commit in a linked worktree does not change the first one."""
    before = vault.state()
    other = Vault(vault.top / "other", vault.environ, vault.now)
    vault.git("worktree", "add", "--quiet", "-b", "side", str(other.folder))

    outcome = rotation.rotate_due(other.context())

    assert (other.head, other.status) == (outcome.commit, [])
    assert (vault.state(), vault.status) == (before, [])


def test_a_sha256_repository(tmp_path: Path, environ: dict[str, str]) -> None:
    """Repositories with SHA-256 object ids are supported."""
    folder = tmp_path / "vault"
    run_git(tmp_path, environ, "init", "--quiet", "--object-format=sha256", "--initial-branch=main", str(folder))
    vault = make_vault(tmp_path, environ=environ)
    rotation.rotate_due(vault.context())
    outcome = rotation.rotate(vault.wait(DAY).context(), ["id-token"])

    assert (outcome.commit, len(vault.head)) == (vault.head, 64)
    assert vault.status == []
    assert len(vault.log) == 3
    vault.git("fsck", "--strict")
    assert "index.html" in rendered(vault)


def test_a_git_folder_elsewhere(tmp_path: Path, environ: dict[str, str]) -> None:
    """The git folder may be outside the working tree."""
    folder = tmp_path / "vault"
    run_git(tmp_path, environ, "init", "--quiet", f"--separate-git-dir={tmp_path / 'apart'}", str(folder))
    vault = make_vault(tmp_path, environ=environ)

    rotation.rotate_due(vault.context())

    assert vault.status == []
    assert (tmp_path / "apart" / "keyvault.lock").exists()


def test_a_shallow_clone_cannot_be_rendered(vault: Vault) -> None:
    """Rendering needs the history: the hint fetches it. Keys are readable without."""
    rotation.rotate_due(vault.context())
    clone = vault.clone("shallow", "--depth=1", source=f"file://{vault.folder}")

    assert clone.state() == vault.state()
    with fails("clone-shallow", GitError) as caught:
        rendered(clone)
    assert caught.value.hint == "git fetch --unshallow (in CI: fetch-depth: 0)"
    clone.git("fetch", "--quiet", "--unshallow")
    assert rendered(clone) == rendered(vault)


def test_strange_folder_names(tmp_path: Path) -> None:
    """Blanks, dollars, quotes and letters of any script in the path of a vault are supported."""
    vault = make_vault(tmp_path, folder="a $HOME 'b' \"c\" ключи %PATH% -x")
    vault.publish_to("origin $HOME.git")

    outcome = rotation.rotate_due(vault.context(), push=True)

    assert outcome.pushed
    assert vault.status == []


# --- commits that could mislead -------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("path", "mode", "kind"),
    [
        ("keys.enc/id-token/link.json", "120000", "a symbolic link"),
        ("keys.enc/other", "120000", "a symbolic link"),
        ("keys.enc/id-token/module", "160000", "a submodule"),
        ("keys.enc/README.md", "120000", "a symbolic link"),
        ("keys.enc/identities/me.json", "120000", "a symbolic link"),
        ("keyvault.toml", "120000", "a symbolic link"),
    ],
)
def test_only_plain_files(vault: Vault, path: str, mode: str, kind: str) -> None:
    """A link or a submodule in a vault could refer to any bytes: it is refused, and the error names it."""
    vault.plant(path, "a" * 40 if mode == "160000" else "/etc/passwd", mode=mode)

    with fails("unexpected-mode", RecordError) as caught:
        vault.state()

    assert f"{path} is {kind}" in caught.value.message


def test_an_executable_record_is_readable(vault: Vault) -> None:
    """Some file systems mark every file as executable, so that mode is ignored."""
    key = vault.active()
    vault.plant(key.path, encode_key(key), mode="100755")

    assert vault.active() == key


@pytest.mark.parametrize(
    "path",
    [
        "keys.enc/stray.json",
        "keys.enc/notes.txt",
        "keys.enc/id-token/notes.txt",
        "keys.enc/id-token/deeper/key.json",
        "keys.enc/id-token/key.JSON",
        "keys.enc/recipients.json.orig",
    ],
)
def test_foreign_files_are_refused(vault: Vault, path: str) -> None:
    """A file that does not belong among the keys is refused, so that nothing can be hidden there."""
    vault.plant(path, "{}")

    with fails("unexpected-path", RecordError) as caught:
        vault.state()

    assert repr(path) in caught.value.message
    assert caught.value.hint == "keyvault repair --dry-run"


@pytest.mark.parametrize(
    ("change", "code"),
    [
        (lambda data: data + b"\n", "record-not-canonical"),
        (lambda data: data.replace(b"\n", b"\r\n"), "record-not-canonical"),
        (lambda data: data.replace(b'"format": 1,', b'"format":  1,'), "record-not-canonical"),
        (lambda data: data.replace(b'"format": 1,', b'"format": 1,\n  "format": 1,'), "record-not-canonical"),
        (lambda data: data.replace(b'"format": 1,', b'"format": 1.0,'), "record-malformed"),
        (lambda data: data.replace(b':00Z"', b':00+00:00"', 1), "record-not-canonical"),
        (lambda data: data.replace(b'"kty"', b'"\\u006bty"'), "record-not-canonical"),
        (lambda data: b"\xef\xbb\xbf" + data, "record-malformed"),
        (lambda data: data.decode().encode("utf-16"), "record-malformed"),
        (lambda data: data[:-20], "record-malformed"),
        (lambda data: b"", "record-malformed"),
        (lambda data: b"[" * 100_000, "record-malformed"),
        (lambda data: data.replace(b'"set": "id-token"', b'"set": "access-token"'), "record-misplaced"),
        (lambda data: data.replace(b'"format": 1,', b'"format": 2,'), "record-format"),
        (lambda data: b" " * (256 * 1024 + 1), "record-too-large"),
    ],
)
def test_a_record_that_was_edited_by_hand(vault: Vault, change: object, code: str) -> None:
    """A record is refused unless its bytes are those that the tool writes; the error names its path."""
    assert callable(change)
    key = vault.active()
    vault.plant(key.path, change(encode_key(key)))

    with fails(code, RecordError) as caught:
        vault.state()

    assert caught.value.message.startswith(key.path)


def test_a_record_with_illegal_events(vault: Vault) -> None:
    """A record whose events contradict each other is refused; the error names its path and the event."""
    key = vault.active()
    vault.plant(key.path, encode_key(key).replace(b'"created"', b'"revoked"'))

    with pytest.raises(RecordError) as caught:
        vault.state()

    assert caught.value.message.startswith(key.path)
    assert "event revoked" in caught.value.message


def test_a_kid_is_used_once(vault: Vault) -> None:
    """A key in two sets, or two kids that differ only in case, would be the same file on some machines: refused."""
    key = vault.active()
    copied = encode_key(key).replace(b'"set": "id-token"', b'"set": "access-token"')
    vault.plant(f"keys.enc/access-token/{key.kid}.json", copied)

    with fails("kid-in-use", RecordError):
        vault.state()


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        (b"\xff\xfe", "keyvault.toml is not UTF-8"),
        (b"format = ", "keyvault.toml is not TOML"),
        (b"format = 2\n", "keyvault.toml has format 2"),
        (b"format = 1\n" + b"#" * (4 * 1024 * 1024), "the limit is 4194304"),
        (b"a=" + b"[" * 100_000, "keyvault.toml is not TOML"),
    ],
)
def test_a_malformed_policy(vault: Vault, text: bytes, reason: str) -> None:
    """The error about a malformed keyvault.toml in a commit names the reason."""
    vault.plant("keyvault.toml", text)

    with pytest.raises(ConfigError) as caught:
        vault.state()

    assert reason in caught.value.message


def test_an_object_is_missing(vault: Vault) -> None:
    """The error names a missing object, and the hint helps to find it."""
    oid = vault.git("rev-parse", f"HEAD:{vault.active().path}")
    packs = {path: path.read_bytes() for path in (vault.git_dir / "objects" / "pack").glob("*.pack")}
    for pack, data in packs.items():
        pack.unlink()
        vault.git("unpack-objects", "-q", stdin=data)
    (vault.git_dir / "objects" / oid[:2] / oid[2:]).unlink()

    with fails("object-missing", GitError) as caught:
        vault.state()

    assert oid in caught.value.message


# --- settings and files of git that could make one commit look like another ---------------------------------


@pytest.mark.parametrize(
    "settings",
    [
        {"log.showRoot": "false"},
        {"color.ui": "always", "color.diff": "always"},
        {"diff.relative": "true"},
        {"diff.renames": "copies", "log.follow": "true"},
        {"log.date": "relative", "log.decorate": "full", "log.showSignature": "true", "log.mailmap": "false"},
        {"core.abbrev": "5", "core.quotePath": "true", "diff.noprefix": "true", "diff.mnemonicPrefix": "true"},
        {"i18n.logOutputEncoding": "UTF-16", "i18n.commitEncoding": "ISO-8859-1"},
        {"core.ignoreCase": "true", "core.precomposeUnicode": "true", "diff.ignoreSubmodules": "all"},
        {"log.diffMerges": "first-parent", "notes.displayRef": "refs/notes/*", "format.pretty": "oneline"},
    ],
    ids=lambda settings: next(iter(settings)),
)  # fmt: skip
def test_settings_of_git_do_not_change_the_site(vault: Vault, settings: dict[str, str]) -> None:
    """The site depends on the commit alone: no setting of the repository changes a byte of it."""
    rotation.rotate_due(vault.context())
    rotation.rotate(vault.wait(DAY).context(), ["id-token"])
    expected = rendered(vault)

    for name, value in settings.items():
        vault.git("config", name, value)

    assert rendered(vault) == expected


def test_settings_of_git_do_not_change_the_site_of_a_subfolder(tmp_path: Path) -> None:
    """The same is true for a vault in a folder of a larger repository."""
    environ = make_vault(tmp_path / "unused").environ
    run_git(tmp_path, environ, "init", "--quiet", str(tmp_path / "mono"))
    vault = make_vault(tmp_path, folder="mono/keys", environ=environ)
    rotation.rotate_due(vault.context())
    expected = rendered(vault)

    vault.git("config", "diff.relative", "true")

    assert rendered(vault) == expected


def test_replace_refs_do_not_count(vault: Vault) -> None:
    """`git replace` shows other content under the same id: we read the original."""
    before, expected = vault.state(), rendered(vault)
    vault.git("checkout", "--quiet", "-b", "fake")
    fake = vault.plant("keys.enc/README.md", "fake")
    vault.git("checkout", "--quiet", "--force", "main")
    vault.git("replace", before.commit, fake)

    assert vault.state() == before
    assert rendered(vault) == expected


def test_grafts_do_not_count(vault: Vault) -> None:
    """A grafts file gives commits other parents: we read the original ones."""
    rotation.rotate_due(vault.context())
    expected = rendered(vault)
    (vault.git_dir / "info").mkdir(exist_ok=True)
    (vault.git_dir / "info" / "grafts").write_text(f"{vault.head}\n")

    assert rendered(vault) == expected


def test_attributes_do_not_change_the_state(vault: Vault) -> None:
    """Attributes that convert files on checkout do not affect files that are read from a commit."""
    before, expected = vault.state(), rendered(vault)
    (vault.git_dir / "info").mkdir(exist_ok=True)
    (vault.git_dir / "info" / "attributes").write_text("* text eol=crlf working-tree-encoding=UTF-16 ident -diff\n")

    assert vault.state() == before
    assert rendered(vault) == expected


# --- states in which nothing is written -----------------------------------------------------------------


def untouched(vault: Vault) -> tuple[object, ...]:
    """Return everything that a failing command must not change."""
    refs = vault.git("for-each-ref", "--format=%(refname) %(objectname)")
    return refs, (vault.git_dir / "HEAD").read_text(), vault.git("ls-files", "--stage"), vault.files(), vault.status


def test_a_detached_head(vault: Vault) -> None:
    """A commit on a detached HEAD could get lost, so it is refused; reading still works."""
    vault.git("checkout", "--quiet", "--detach")
    before = untouched(vault)

    with fails("head-detached", GitError) as caught:
        rotation.rotate_due(vault.context())

    assert caught.value.hint == "git switch BRANCH"
    assert untouched(vault) == before
    assert vault.state().commit == vault.head


@pytest.mark.parametrize("missing", ["NAME", "EMAIL"])
def test_git_does_not_know_the_user(vault: Vault, missing: str) -> None:
    """Without a name or an email address no commit is written: the hint names commands, and nothing changes."""
    for role in ("AUTHOR", "COMMITTER"):
        del vault.environ[f"GIT_{role}_{missing}"]
    before = untouched(vault)

    with fails("git-user-missing", GitError) as caught:
        rotation.rotate_due(vault.context())

    assert caught.value.hint == (
        'git config --global user.name "Your Name"; git config --global user.email you@example.com'
    )
    assert untouched(vault) == before


def test_init_without_a_user_leaves_nothing(tmp_path: Path, environ: dict[str, str]) -> None:
    """If git does not know the user, `init` leaves no new folder behind."""
    for name in [name for name in environ if name.startswith(("GIT_AUTHOR", "GIT_COMMITTER"))]:
        del environ[name]
    folder = tmp_path / "vault"

    with fails("git-user-missing", GitError):
        setup.init(folder, T0, environ, NewVault("https://keys.example.com", {}))

    assert not folder.exists()
    assert not (tmp_path / "config").exists()


def test_a_read_only_repository(vault: Vault) -> None:
    """If the git folder is not writable, the error names it; reading still works."""
    if os.geteuid() == 0:
        (vault.git_dir / "keyvault.lock").unlink()
        (vault.git_dir / "keyvault.lock").mkdir()  # root writes everywhere, but not over a folder
    else:
        vault.git_dir.chmod(0o500)
    before = untouched(vault)

    with fails("repository-not-writable", GitError) as caught:
        rotation.rotate_due(vault.context())

    assert str(vault.git_dir) in caught.value.message
    assert untouched(vault) == before


def test_init_in_a_bare_repository(tmp_path: Path, environ: dict[str, str]) -> None:
    """A bare repository has no working tree: the hint is to create the vault in a clone."""
    run_git(tmp_path, environ, "init", "--quiet", "--bare", "bare.git")

    with fails("repository-bare", UsageError):
        setup.init(tmp_path / "bare.git", T0, environ, NewVault("https://keys.example.com", {}))


def test_every_error_is_deliberate(vault: Vault) -> None:
    """A folder that vanishes during a command causes a deliberate error, not one of Python's."""
    git = Git.open(vault.folder, vault.environ)
    shutil.rmtree(vault.folder)

    with fails("not-a-folder", KeyVaultError):
        Repository(git).head()


@pytest.mark.skipif(sys.platform != "linux", reason="only Linux can enlarge a pipe")
def test_a_pipe_that_cannot_be_enlarged(vault: Vault, monkeypatch: pytest.MonkeyPatch) -> None:
    """The size of a pipe affects only speed."""
    import fcntl

    def refused(*_: object) -> int:
        raise PermissionError

    expected = vault.state()
    monkeypatch.setattr(fcntl, "fcntl", refused)
    assert vault.context().state() == expected


# --- dropped envelopes ------------------------------------------------------------------------------------


def test_reading_without_envelopes(vault: Vault) -> None:
    """Keys are the same, except that their envelopes are dropped and cannot be opened or written by mistake."""
    whole, seen = vault.state(), vault.context().state(envelopes=False)

    assert list(seen.keys) == list(whole.keys)
    for kid, key in seen.keys.items():
        private = key.private
        assert isinstance(private, EnvelopeSummary)
        assert (private.protected, private.iv, private.ciphertext, private.tag) == ("", "", "", "")
        assert (key.public, key.events, key.sealed) == (whole.keys[kid].public, whole.keys[kid].events, True)
        assert sealed_to(key) == sealed_to(whole.keys[kid])
        with pytest.raises(AssertionError):
            encode_key(key)
        with pytest.raises(AssertionError):
            envelope_of(key)


def test_summaries_distinguish_envelopes(vault: Vault) -> None:
    """Envelopes that differ anywhere have different summaries; the summary of a summary is the same."""
    one, other = (key.private for key in list(vault.state().keys.values())[:2])
    assert isinstance(one, Envelope)
    seals = [
        summarize_envelope(one),
        summarize_envelope(other),
        *(summarize_envelope(replace(one, **{name: "AA"})) for name in ("iv", "tag")),
    ]

    assert len({seal.tag for seal in seals if isinstance(seal, EnvelopeSummary)}) == len(seals)
    assert summarize_envelope(one) == summarize_envelope(replace(one)) == summarize_envelope(seals[0])
    assert summarize_envelope(UNSET) is UNSET
