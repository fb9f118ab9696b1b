"""What a vault says is what one commit says, and a commit that could mislead is refused by name."""

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
from keyvault.repo.git import Git
from keyvault.repo.records import encode_key
from keyvault.repo.vault import Repository, find_vault
from tests import revisions
from tests.vaults import DAY, T0, Vault, make_vault, run_git, tree


def rendered(vault: Vault, revision: str = "HEAD") -> dict[str, bytes]:
    """Return the site of a vault, path by path."""
    _state, files = revisions.site_files(vault.context(), revision=revision)
    return dict(files)


# --- one commit, nothing else ---------------------------------------------------------------------------


def test_the_work_tree_does_not_count(vault: Vault) -> None:
    """What lies in the work tree, deleted or made up, changes nothing about the state of the vault."""
    before = vault.state()
    shutil.rmtree(vault.folder / "keys.enc")
    vault.write("keyvault.toml", "format = 9\n")
    vault.write("keys.enc/id-token/made-up.json", "{}")

    assert vault.state() == before


def test_the_index_does_not_count(vault: Vault) -> None:
    """What is staged and not committed changes nothing either."""
    before = vault.state()
    vault.write("keys.enc/id-token/made-up.json", "{}")
    vault.git("add", "--all")

    assert vault.state() == before


def test_an_old_commit_can_be_read(vault: Vault) -> None:
    """Any commit of history can be asked, by id, branch or tag."""
    before = vault.state()
    vault.git("tag", "v1")
    rotation.rotate_due(vault.context())

    assert vault.state() != before
    assert vault.state("v1") == before
    assert vault.state(before.commit[:10]) == before


@pytest.mark.parametrize(
    "revision", ["nowhere", "--output=x", "-1", "HEAD:keyvault.toml", "HEAD^{tree}", "", "main..x"]
)
def test_what_is_no_commit_is_refused(vault: Vault, revision: str) -> None:
    """A revision that names no commit is an error that shows it; it is never taken for an option."""
    before = vault.files()

    with pytest.raises(GitError) as caught:
        vault.state(revision)

    assert caught.value.message == f"there is no commit {revision!r} here"
    assert vault.files() == before


def test_a_vault_is_found_from_below(vault: Vault) -> None:
    """Commands work in any folder of the vault, as git's do."""
    assert find_vault(vault.folder / "keys.enc" / "id-token") == vault.folder.resolve()


def test_no_vault(tmp_path: Path, environ: dict[str, str]) -> None:
    """Outside of a vault the error says so, and how to make one."""
    with pytest.raises(GitError) as caught:
        Context.find(tmp_path, T0, environ)

    assert caught.value.message == f"there is no keyvault.toml in {tmp_path} or above it"
    assert caught.value.hint == "keyvault init DIR --url https://keys.example.com"


def test_a_folder_without_git(tmp_path: Path, environ: dict[str, str]) -> None:
    """A keyvault.toml outside of any repository is no vault yet."""
    (tmp_path / "keyvault.toml").write_text("format = 1\n")

    with pytest.raises(GitError) as caught:
        Context.find(tmp_path, T0, environ)

    assert caught.value.message == f"{tmp_path} is not in a git repository"
    assert caught.value.hint == "keyvault init makes one"


def test_no_commits_yet(tmp_path: Path, environ: dict[str, str]) -> None:
    """A repository without commits holds no vault: the error says what to do, and nothing changes."""
    run_git(tmp_path, environ, "init", "--quiet")
    (tmp_path / "keyvault.toml").write_text("format = 1\n")
    context = Context.find(tmp_path, T0, environ)

    for command in (
        context.state,
        lambda: rotation.rotate_due(context),
        lambda: revisions.render(context, tmp_path / "x"),
    ):
        with pytest.raises(GitError) as caught:
            command()
        assert caught.value.message == "this repository has no commits yet"
        assert caught.value.hint == "keyvault init, or: git commit"
    assert dict(tree(tmp_path)) == {"keyvault.toml": b"format = 1\n"}


def test_a_commit_without_policy(vault: Vault) -> None:
    """A commit that has no keyvault.toml is no vault, whatever the work tree says."""
    vault.git("rm", "--quiet", "--cached", "keyvault.toml")
    vault.git("commit", "--quiet", "-m", "lose it")

    with pytest.raises(GitError) as caught:
        vault.state()

    assert caught.value.message == f"commit {vault.head[:12]} has no keyvault.toml: it is no vault"


def test_git_is_missing(vault: Vault) -> None:
    """Without git on the PATH the error says what to install."""
    vault.environ["PATH"] = str(vault.top / "home")

    with pytest.raises(GitError) as caught:
        vault.state()

    assert (caught.value.message, caught.value.hint) == ("git is not installed", "install git 2.38 or newer")


# --- shapes of repositories -----------------------------------------------------------------------------


def test_a_bare_clone_is_readable(vault: Vault) -> None:
    """A server that holds a bare clone can show and render the vault, and even rotate in it."""
    bare = vault.clone("bare.git", "--bare")

    assert bare.state() == vault.state()
    assert rendered(bare) == rendered(vault)
    outcome = rotation.rotate_due(bare.context())
    assert outcome.commit == bare.head
    assert not (bare.folder / "keys.enc").exists()


def test_a_vault_in_a_subfolder(tmp_path: Path, environ: dict[str, str]) -> None:
    """A vault may lie in a folder of a larger repository: paths, commits and history are its own."""
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


def test_a_linked_worktree(vault: Vault) -> None:
    """`git worktree add` gives a second place to work in: a commit there leaves the first one alone."""
    before = vault.state()
    other = Vault(vault.top / "other", vault.environ, vault.now)
    vault.git("worktree", "add", "--quiet", "-b", "side", str(other.folder))

    outcome = rotation.rotate_due(other.context())

    assert (other.head, other.status) == (outcome.commit, [])
    assert (vault.state(), vault.status) == (before, [])


def test_a_sha256_repository(tmp_path: Path, environ: dict[str, str]) -> None:
    """Repositories with SHA-256 object ids work like any other."""
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
    """The git folder may lie apart from the work tree."""
    folder = tmp_path / "vault"
    run_git(tmp_path, environ, "init", "--quiet", f"--separate-git-dir={tmp_path / 'apart'}", str(folder))
    vault = make_vault(tmp_path, environ=environ)

    rotation.rotate_due(vault.context())

    assert vault.status == []
    assert (tmp_path / "apart" / "keyvault.lock").exists()


def test_a_shallow_clone_cannot_be_rendered(vault: Vault) -> None:
    """A clone without history has no history page: the error says how to get it. Keys can still be read."""
    rotation.rotate_due(vault.context())
    clone = vault.clone("shallow", "--depth=1", source=f"file://{vault.folder}")

    assert clone.state() == vault.state()
    with pytest.raises(GitError) as caught:
        rendered(clone)
    assert caught.value.message == "this clone is shallow, the history is incomplete"
    assert caught.value.hint == "git fetch --unshallow (in CI: fetch-depth: 0)"
    clone.git("fetch", "--quiet", "--unshallow")
    assert rendered(clone) == rendered(vault)


def test_strange_folder_names(tmp_path: Path) -> None:
    """Blanks, dollars, quotes and letters of any script in the path of a vault do no harm."""
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
    """A link or a submodule in a vault could bring in bytes from anywhere: it is refused by name."""
    vault.plant(path, "a" * 40 if mode == "160000" else "/etc/passwd", mode=mode)

    with pytest.raises(RecordError) as caught:
        vault.state()

    assert caught.value.message == f"{path} is {kind}: a vault holds plain files only"


def test_an_executable_record_is_readable(vault: Vault) -> None:
    """Some file systems mark every file as executable: that says nothing about a record."""
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
    """What does not belong among the keys is refused by name, so that nothing hides there."""
    vault.plant(path, "{}")

    with pytest.raises(RecordError) as caught:
        vault.state()

    assert caught.value.message == f"{path!r} does not belong in a vault"
    assert caught.value.hint == "keyvault repair --dry-run"


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        (lambda data: data + b"\n", "record is not in its canonical form"),
        (lambda data: data.replace(b"\n", b"\r\n"), "record is not in its canonical form"),
        (lambda data: data.replace(b'"format": 1,', b'"format":  1,'), "record is not in its canonical form"),
        (lambda data: data.replace(b'"format": 1,', b'"format": 1,\n  "format": 1,'), "record is not in its canonical"),
        (lambda data: data.replace(b'"format": 1,', b'"format": 1.0,'), "not a key record"),
        (lambda data: data.replace(b':00Z"', b':00+00:00"', 1), "record is not in its canonical form"),
        (lambda data: data.replace(b'"kty"', b'"\\u006bty"'), "record is not in its canonical form"),
        (lambda data: b"\xef\xbb\xbf" + data, "not a key record"),
        (lambda data: data.decode().encode("utf-16"), "not a key record"),
        (lambda data: data[:-20], "not a key record"),
        (lambda data: b"", "not a key record"),
        (lambda data: b"[" * 100_000, "not a key record"),
        (lambda data: data.replace(b'"set": "id-token"', b'"set": "access-token"'), "record belongs at"),
        (lambda data: data.replace(b'"format": 1,', b'"format": 2,'), "record has format 2"),
        (lambda data: data.replace(b'"created"', b'"revoked"'), "event revoked"),
        (lambda data: b" " * (256 * 1024 + 1), "is too large"),
    ],
)  # fmt: skip
def test_a_record_that_was_edited_by_hand(vault: Vault, change: object, reason: str) -> None:
    """A record is taken byte for byte as the tool writes it, or refused with its path."""
    assert callable(change)
    key = vault.active()
    vault.plant(key.path, change(encode_key(key)))

    with pytest.raises(RecordError) as caught:
        vault.state()

    assert caught.value.message.startswith(key.path)
    assert reason in caught.value.message


def test_a_kid_stands_once(vault: Vault) -> None:
    """One key in two sets, or two kids that differ in case alone, would be one file on some machines: refused."""
    key = vault.active()
    copied = encode_key(key).replace(b'"set": "id-token"', b'"set": "access-token"')
    vault.plant(f"keys.enc/access-token/{key.kid}.json", copied)

    with pytest.raises(RecordError) as caught:
        vault.state()

    assert "the kid is in use already" in caught.value.message


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        (b"\xff\xfe", "keyvault.toml is not UTF-8"),
        (b"format = ", "keyvault.toml is not TOML"),
        (b"format = 2\n", "keyvault.toml has format 2"),
        (b"format = 1\n" + b"#" * (4 * 1024 * 1024), "is too large"),
        (b"a=" + b"[" * 100_000, "keyvault.toml is not TOML"),
    ],
)
def test_a_policy_that_cannot_be(vault: Vault, text: bytes, reason: str) -> None:
    """A broken keyvault.toml in a commit is an error that says what is broken."""
    vault.plant("keyvault.toml", text)

    with pytest.raises(ConfigError) as caught:
        vault.state()

    assert reason in caught.value.message


def test_an_object_is_missing(vault: Vault) -> None:
    """A clone that lost an object says which, and how to look further."""
    oid = vault.git("rev-parse", f"HEAD:{vault.active().path}")
    packs = {path: path.read_bytes() for path in (vault.git_dir / "objects" / "pack").glob("*.pack")}
    for pack, data in packs.items():
        pack.unlink()
        vault.git("unpack-objects", "-q", stdin=data)
    (vault.git_dir / "objects" / oid[:2] / oid[2:]).unlink()

    with pytest.raises(GitError) as caught:
        vault.state()

    assert caught.value.message == f"object {oid} is missing from the repository"


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
    """The site is a function of the commit: no setting of the repository changes a byte of it."""
    rotation.rotate_due(vault.context())
    rotation.rotate(vault.wait(DAY).context(), ["id-token"])
    expected = rendered(vault)

    for name, value in settings.items():
        vault.git("config", name, value)

    assert rendered(vault) == expected


def test_settings_of_git_do_not_change_the_site_of_a_subfolder(tmp_path: Path) -> None:
    """The same holds where the vault is a folder of a larger repository."""
    environ = make_vault(tmp_path / "unused").environ
    run_git(tmp_path, environ, "init", "--quiet", str(tmp_path / "mono"))
    vault = make_vault(tmp_path, folder="mono/keys", environ=environ)
    rotation.rotate_due(vault.context())
    expected = rendered(vault)

    vault.git("config", "diff.relative", "true")

    assert rendered(vault) == expected


def test_replace_refs_do_not_count(vault: Vault) -> None:
    """`git replace` shows other content under the same id: we look at the real one."""
    before, expected = vault.state(), rendered(vault)
    vault.git("checkout", "--quiet", "-b", "fake")
    fake = vault.plant("keys.enc/README.md", "fake")
    vault.git("checkout", "--quiet", "--force", "main")
    vault.git("replace", before.commit, fake)

    assert vault.state() == before
    assert rendered(vault) == expected


def test_grafts_do_not_count(vault: Vault) -> None:
    """A grafts file gives commits other parents: we look at the real ones."""
    rotation.rotate_due(vault.context())
    expected = rendered(vault)
    (vault.git_dir / "info").mkdir(exist_ok=True)
    (vault.git_dir / "info" / "grafts").write_text(f"{vault.head}\n")

    assert rendered(vault) == expected


def test_attributes_do_not_change_what_is_read(vault: Vault) -> None:
    """Attributes that convert files on checkout do not reach what is read from a commit."""
    before, expected = vault.state(), rendered(vault)
    (vault.git_dir / "info").mkdir(exist_ok=True)
    (vault.git_dir / "info" / "attributes").write_text("* text eol=crlf working-tree-encoding=UTF-16 ident -diff\n")

    assert vault.state() == before
    assert rendered(vault) == expected


# --- states in which nothing is written -----------------------------------------------------------------


def untouched(vault: Vault) -> tuple[object, ...]:
    """Return all that a command that fails must leave as it is."""
    refs = vault.git("for-each-ref", "--format=%(refname) %(objectname)")
    return refs, (vault.git_dir / "HEAD").read_text(), vault.git("ls-files", "--stage"), vault.files(), vault.status


def test_a_detached_head(vault: Vault) -> None:
    """A commit on a detached HEAD would be lost: it is refused, reading still works."""
    vault.git("checkout", "--quiet", "--detach")
    before = untouched(vault)

    with pytest.raises(GitError) as caught:
        rotation.rotate_due(vault.context())

    assert caught.value.message == "HEAD is detached: a commit made here would belong to no branch"
    assert caught.value.hint == "git switch BRANCH"
    assert untouched(vault) == before
    assert vault.state().commit == vault.head


@pytest.mark.parametrize("missing", ["NAME", "EMAIL"])
def test_git_does_not_know_the_user(vault: Vault, missing: str) -> None:
    """Without a name or an address no commit is made: one line says what to type, and nothing changes."""
    for role in ("AUTHOR", "COMMITTER"):
        del vault.environ[f"GIT_{role}_{missing}"]
    before = untouched(vault)

    with pytest.raises(GitError) as caught:
        rotation.rotate_due(vault.context())

    assert caught.value.message == "git does not know who you are: user.name and user.email are not set"
    assert caught.value.hint == (
        'git config --global user.name "Your Name"; git config --global user.email you@example.com'
    )
    assert untouched(vault) == before


def test_init_without_a_user_leaves_nothing(tmp_path: Path, environ: dict[str, str]) -> None:
    """`init` in a folder that was not there leaves none behind if git does not know who commits."""
    for name in [name for name in environ if name.startswith(("GIT_AUTHOR", "GIT_COMMITTER"))]:
        del environ[name]
    folder = tmp_path / "vault"

    with pytest.raises(GitError) as caught:
        setup.init(folder, T0, environ, url="https://keys.example.com", sets=setup.parse_sets([]))

    assert caught.value.message == "git does not know who you are: user.name and user.email are not set"
    assert not folder.exists()
    assert not (tmp_path / "config").exists()


def test_a_read_only_repository(vault: Vault) -> None:
    """Where the git folder cannot be written, the error says so; reading still works."""
    if os.geteuid() == 0:
        (vault.git_dir / "keyvault.lock").unlink()
        (vault.git_dir / "keyvault.lock").mkdir()  # root writes everywhere, but not over a folder
    else:
        vault.git_dir.chmod(0o500)
    before = untouched(vault)

    with pytest.raises(GitError) as caught:
        rotation.rotate_due(vault.context())

    assert caught.value.message.startswith(f"cannot write to {vault.git_dir}: ")
    assert untouched(vault) == before


def test_init_in_a_bare_repository(tmp_path: Path, environ: dict[str, str]) -> None:
    """A bare repository has no place for a vault to be looked at: make it in a clone."""
    run_git(tmp_path, environ, "init", "--quiet", "--bare", "bare.git")

    with pytest.raises(UsageError) as caught:
        setup.init(tmp_path / "bare.git", T0, environ, url="https://keys.example.com", sets=setup.parse_sets([]))

    assert caught.value.hint == "make the vault in a clone of it"


def test_every_error_is_deliberate(vault: Vault) -> None:
    """A folder that vanishes under a command is an error of ours, not of Python's."""
    git = Git.open(vault.folder, vault.environ)
    shutil.rmtree(vault.folder)

    with pytest.raises(KeyVaultError, match="is not a folder"):
        Repository(git).head()


@pytest.mark.skipif(sys.platform != "linux", reason="only Linux lets a pipe be widened")
def test_a_user_who_may_have_no_wider_pipe(vault: Vault, monkeypatch: pytest.MonkeyPatch) -> None:
    """What a pipe holds is a matter of speed alone."""
    import fcntl

    def refused(*_: object) -> int:
        raise PermissionError

    expected = vault.state()
    monkeypatch.setattr(fcntl, "fcntl", refused)
    assert vault.context().state() == expected


# --- envelopes that are not kept --------------------------------------------------------------------------


def test_whoever_only_looks_keeps_no_envelopes(vault: Vault) -> None:
    """All that is said of keys is the same; what is sealed is gone, and cannot be opened or written by mistake."""
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


def test_a_seal_tells_envelopes_apart(vault: Vault) -> None:
    """Two that differ anywhere have two seals; a seal is its own."""
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
