"""`init`: a vault in an empty folder, in an existing repository, or in a copy of the project's own."""

from __future__ import annotations

import json
import shutil
import stat
from collections.abc import Callable
from pathlib import Path

import pytest

from keyvault import config
from keyvault.core.algorithms import key_spec
from keyvault.operations.new_vault import NewVault, policy_text
from tests.cli.terminal import Terminal
from tests.vaults import DAY, PROJECT, Vault, run_git

URL = ("--url", "https://keys.example.com")


def vault_in(terminal: Terminal, folder: Path | None = None) -> Vault:
    return Vault(folder or terminal.folder, terminal.environ)


def identities(terminal: Terminal) -> list[Path]:
    return sorted(Path(terminal.environ["KEYVAULT_CONFIG_DIR"]).rglob("*.json"))


def test_an_empty_folder(fresh: Terminal) -> None:
    """`init` creates a repository with a single commit and prints the next steps; the working tree is clean."""
    result = fresh.ok("init", *URL)

    vault = vault_in(fresh)
    (identity,) = identities(fresh)
    assert vault.log == ["make a vault with id-token, access-token"]
    assert vault.status == []
    assert vault.git("symbolic-ref", "HEAD") == "refs/heads/main"
    state = vault.state()
    assert [(name, str(one.policy.spec)) for name, one in state.sets.items()] == [
        ("id-token", "RS256 2048"),
        ("access-token", "ES256"),
    ]
    assert all(one.active and one.next for one in state.sets.values())
    assert result.err == ""
    assert result.lines == [
        f"created a vault in {'.'}, commit {vault.head[:12]}",
        "  id-token  RS256 2048  one active and one next key",
        "  access-token  ES256  one active and one next key",
        f"identity {identity.stem} is in {identity}",
        "  it opens every private key: back it up, and give it to signers only",
        "next:",
        "  keyvault status               shows sets, keys and the next transitions",
        "  keyvault serve                serves a preview of the site",
        "  keyvault publish DEST         publishes the site to a folder, s3://… or branch:NAME",
        "  keyvault rotate --due --push  makes due changes; run it on a schedule",
        "  keyvault merge-driver --install  lets git merge keys; run it once in each clone that merges",
    ]


def test_issuer_on_a_domain_of_its_own(fresh: Terminal) -> None:
    """The issuer is written apart from the url, byte for byte, and `status` shows both."""
    fresh.ok("init", *URL, "--issuer", "https://auth.example.org/", "--set", "id-token:ES256")

    policy = vault_in(fresh).state().policy
    assert (policy.site.url, policy.site.issuer) == (URL[1], "https://auth.example.org/")
    assert {one.issuer for one in policy.sets.values()} == {"https://auth.example.org/"}
    keys = "keys https://keys.example.com/.well-known/jwks.json"
    assert f"  iss https://auth.example.org/  {keys}" in fresh.ok("status").lines
    linted = fresh.ok("lint")
    assert "give verifiers jwks_uri https://keys.example.com/.well-known/jwks.json" in linted.out


def test_slash_at_the_end_of_the_url(fresh: Terminal) -> None:
    """The url loses its trailing slash; the output says so, and how to keep it in the issuer."""
    result = fresh.ok("init", "--url", "https://keys.example.com/")

    assert "the site's url, and so the issuer, is https://keys.example.com, without a trailing slash" in result.lines
    [line] = [line for line in result.lines if "in keyvault.toml" in line]
    member = line.partition(", set ")[2].partition(" below")[0]
    toml = Path(fresh.folder, "keyvault.toml")
    toml.write_text(toml.read_text().replace("[site]\n", f"[site]\n{member}\n"))
    assert config.read_policy(toml.read_bytes()).sets["id-token"].issuer == "https://keys.example.com/"


@pytest.mark.parametrize(
    ("url", "host", "kind"),
    [
        ("https://owner.github.io/my-keys", "GitHub Pages", "application/octet-stream"),
        ("https://owner.gitlab.io/my-keys", "GitLab Pages", "text/plain"),
        ("https://github.io.example.com", None, None),
    ],
)
def test_a_host_that_chooses_types(fresh: Terminal, url: str, host: str | None, kind: str | None) -> None:
    """For a URL of Pages, `init` warns at once that discovery does not work there."""
    result = fresh.ok("init", "--url", url)

    if host is None:
        assert result.err == ""
    else:
        assert result.err.startswith(f"keyvault: {host} sends openid-configuration as {kind}, which Spring Security")
        page = Path(result.err.split()[-1])
        assert (PROJECT / page).is_file()


def test_what_it_says_comes_next_works(fresh: Terminal) -> None:
    """The commands that `init` prints can be typed as they stand."""
    fresh.ok("init", "my-keys", *URL, "--set", "a:ES256", "--confirm", "commit")

    inside = Terminal(fresh.folder / "my-keys", fresh.environ)
    for line in ("status", "render", "rotate --due", "recipient check", "token sign a"):
        inside.ok(*line.split())
    assert vault_in(inside).status == []  # public/ is ignored


def test_files_of_the_first_commit(fresh: Terminal) -> None:
    """The first commit holds policy, recipients, keys, their README, and the .gitattributes that protect their bytes."""
    fresh.ok("init", *URL, "--set", "a:ES256")

    vault = vault_in(fresh)
    paths = vault.git("ls-files").splitlines()
    kids = sorted(vault.state().keys)
    assert paths == sorted(
        [
            ".gitattributes", ".gitignore", "keyvault.toml", "keys.enc/README.md", "keys.enc/recipients.json",
            *(f"keys.enc/a/{kid}.json" for kid in kids),
        ]
    )  # fmt: skip
    files = vault.files()
    assert files[".gitattributes"].splitlines() == [
        b"keys.enc/** -text",
        b"keys.enc/*/*.json merge=keyvault",
        b"keys.enc/recipients.json merge=keyvault",
        b"keyvault.toml text eol=lf",
    ]
    assert files[".gitignore"] == b"/public/\n/.public.*keyvault-*/\n"
    config.read_policy(files["keyvault.toml"])


def test_the_identity(fresh: Terminal) -> None:
    """The identity lies outside of the repository, readable by its owner alone, whatever the umask."""
    fresh.ok("init", *URL, "--set", "a:ES256")

    (identity,) = identities(fresh)
    assert stat.S_IMODE(identity.stat().st_mode) == 0o600
    assert stat.S_IMODE(identity.parent.stat().st_mode) & 0o077 == 0
    private = json.loads(identity.read_bytes())
    assert identity.stem == private["kid"]
    for data in vault_in(fresh).files().values():
        assert private["d"].encode() not in data


def test_no_identity_in_the_clear_in_a_repository(fresh: Terminal) -> None:
    """If the configuration folder lies in the repository, no unencrypted identity is written there."""
    fresh.environ["KEYVAULT_CONFIG_DIR"] = str(fresh.folder / "settings")

    result = fresh("init", *URL, "--set", "a:ES256")

    assert result.code == 2
    assert "lies in the repository: an identity in the clear must not" in result.error
    assert identities(fresh) == []
    assert not (fresh.folder / "keyvault.toml").exists()


def test_a_repository_in_use(fresh: Terminal) -> None:
    """In a repository with commits and uncommitted changes, the vault is one more commit; nothing else changes."""
    vault = vault_in(fresh)
    vault.git("init", "--quiet", "--initial-branch=trunk")
    for name in ("main.py", "staged.py", ".gitignore", ".gitattributes"):
        vault.write(name, f"# {name}\n")
    vault.git("add", "--all")
    vault.git("commit", "--quiet", "-m", "an app")
    vault.write("main.py", "# edited\n")
    vault.write("staged.py", "# edited\n")
    vault.git("add", "staged.py")
    vault.write("untracked.py", "# new\n")
    status = vault.status

    fresh.ok("init", *URL, "--set", "a:ES256")

    assert vault.status == status
    assert vault.log == ["make a vault with a", "an app"]
    assert vault.git("symbolic-ref", "HEAD") == "refs/heads/trunk"
    changed = set(vault.git("show", "--format=", "--name-only", "HEAD").splitlines())
    assert not changed & {"main.py", "staged.py", "untracked.py"}
    files = vault.files()
    assert files[".gitignore"] == b"# .gitignore\n/public/\n/.public.*keyvault-*/\n"
    assert files[".gitattributes"].startswith(b"# .gitattributes\nkeys.enc/** -text\n")


def test_a_repository_whose_companions_are_being_edited(fresh: Terminal) -> None:
    """An edited .gitignore or .gitattributes is not changed."""
    vault = vault_in(fresh)
    vault.git("init", "--quiet")
    vault.write(".gitignore", "old\n")
    vault.git("add", "--all")
    vault.git("commit", "--quiet", "-m", "old")
    vault.write(".gitignore", "edited\n")
    vault.write(".gitattributes", "* text=auto\n")

    fresh.ok("init", *URL, "--set", "a:ES256")

    assert vault.status == [" M .gitignore", "?? .gitattributes"]
    assert vault.files()[".gitignore"] == b"edited\n"


def test_in_a_subfolder(fresh: Terminal) -> None:
    """A vault can be created in a folder of a larger repository."""
    vault = vault_in(fresh)
    vault.git("init", "--quiet")

    fresh.ok("init", "security/keys", *URL, "--set", "a:ES256")

    assert not (fresh.folder / "security" / "keys" / ".git").exists()
    assert all(path.startswith("security/keys/") for path in vault.git("ls-files").splitlines())
    Terminal(fresh.folder / "security" / "keys", fresh.environ).ok("status")


@pytest.fixture
def project(fresh: Terminal) -> Vault:
    """A copy of the project's own repository, as one gets it by "Use this template"."""
    vault = vault_in(fresh)
    for name in (
        "keyvault",
        "site_template",
        "keys.enc",
        ".gitattributes",
        ".gitignore",
        "README.md",
        "pyproject.toml",
    ):
        source, target = PROJECT / name, fresh.folder / name
        if source.is_dir():
            shutil.copytree(source, target, ignore=shutil.ignore_patterns("__pycache__"))
        elif source.exists():
            shutil.copy(source, target)
    vault.write("keys.enc/README.md", "# The project's own words\n")
    vault.git("init", "--quiet", "--initial-branch=main")
    vault.git("add", "--all")
    vault.git("commit", "--quiet", "-m", "Initial commit")
    return vault


def test_in_place_in_a_copy_of_the_project(fresh: Terminal, project: Vault) -> None:
    """The project's own repository is a template: `init` in a copy of it makes it a vault, code and pages kept."""
    before = project.files()

    fresh.ok("init", *URL, "--set", "a:ES256", "--confirm", "commit")

    after = project.files()
    kept = {path for path in before if path not in (".gitattributes", ".gitignore")}
    assert {path: after[path] for path in kept} == {path: before[path] for path in kept}
    assert project.status == []
    assert project.log == ["make a vault with a", "Initial commit"]
    fresh.ok("render")
    project.now += DAY
    Terminal.of(project).ok("rotate", "--all")
    assert project.status == []


def test_twice(fresh: Terminal) -> None:
    """A second `init` is refused and changes nothing, even if keyvault.toml is committed but missing on disk."""
    fresh.ok("init", *URL, "--set", "a:ES256")
    vault = vault_in(fresh)
    before, people_before = vault.head, identities(fresh)

    result = fresh("init", *URL)
    assert (result.code, result.error) == (2, "there is a vault in . already")
    assert result.hint == "keyvault set add NAME --alg ALG adds a set"
    (fresh.folder / "keyvault.toml").unlink()
    assert fresh("init", *URL).code == 2

    assert (vault.head, identities(fresh)) == (before, people_before)


def test_with_recipients(fresh: Terminal) -> None:
    """With --recipient, keys are sealed to existing recipients, and no identity is generated."""
    files = []
    for name in ("bea", "carl"):
        file = fresh.folder.parent / f"{name}.pub.json"
        file.write_text(fresh.ok("identity", "new", "--kid", name, "-o", f"../{name}.json").out)
        files += ["--recipient", str(file)]

    made = fresh.ok("init", "vault", *URL, "--set", "a:ES256", *files, "--json").json

    assert (made["recipients"], made["identity"]) == (["bea", "carl"], None)
    assert identities(fresh) == []
    inside = Terminal(fresh.folder / "vault", fresh.environ)
    for name in ("bea", "carl"):
        assert inside.ok("--identity", f"../../{name}.json", "recipient", "check").out == "2 sealed keys, 2 opened\n"
    assert inside("token", "sign", "a").code == 1


def test_a_recipient_that_is_none(fresh: Terminal) -> None:
    """A file without a recipient is refused before anything is created."""
    for text in ("", "{}", "[]", '{"kty": "oct", "k": "AAAA", "kid": "x"}', '{"kty": "EC"}', "\x00"):
        (fresh.folder.parent / "bad.json").write_text(text)
        result = fresh("init", "vault", *URL, "--recipient", "../bad.json")
        assert result.code in (1, 2)
        assert "unexpected" not in result.err
    assert not (fresh.folder / "vault").exists()


def test_with_a_passphrase(fresh: Terminal) -> None:
    """With --passphrase the identity lies in the vault, encrypted; KEYVAULT_PASSPHRASE opens it, wherever it is cloned."""
    secret = {"KEYVAULT_PASSPHRASE": "correct horse battery"}

    made = fresh.ok("init", *URL, "--set", "a:ES256", "--passphrase", "--json", **secret).json

    vault = vault_in(fresh)
    path = f"keys.enc/identities/{made['recipients'][0]}.json"
    stored = json.loads(vault.git("show", f"HEAD:{path}"))
    assert set(stored) == {"protected", "encrypted_key", "iv", "ciphertext", "tag"}
    assert identities(fresh) == []
    assert vault.status == []
    clone = Terminal(vault.clone("clone").folder, fresh.environ)
    clone.ok("token", "sign", "a", **secret)
    assert (
        clone.ok("identity", "list").out
        == f"{made['recipients'][0]}  opens this vault, encrypted with a passphrase  {path}\n"
    )

    wrong = clone("token", "sign", "a", KEYVAULT_PASSPHRASE="wrong horse battery")
    assert (wrong.code, wrong.out) == (1, "")
    assert wrong.problem == "identity-missing"
    assert "wrong passphrase for identity" in wrong.error
    assert "wrong horse" not in wrong.err
    missing = clone("token", "sign", "a")
    assert (missing.code, missing.hint) == (1, "set KEYVAULT_PASSPHRASE")
    assert clone("recipient", "check", KEYVAULT_PASSPHRASE="wrong horse battery").code == 1


@pytest.mark.parametrize("secret", [{}, {"KEYVAULT_PASSPHRASE": ""}, {"KEYVAULT_PASSPHRASE": "short"}])
def test_a_passphrase_that_is_none(fresh: Terminal, secret: dict[str, str]) -> None:
    """A missing or short passphrase is refused before anything is created."""
    result = fresh("init", *URL, "--passphrase", **secret)

    assert result.code == 2
    assert list(fresh.folder.iterdir()) == []


@pytest.mark.parametrize(
    ("options", "code", "said"),
    [
        (("--url", "http://keys.example.com"), "url-invalid", "https://"),
        (("--url", "https://keys.example.com/?x=1"), "url-invalid", "no query"),
        (("--url", "keys.example.com"), "url-invalid", "https://"),
        (("--url", 'https://x.example.com/"\n[sets.x]'), "url-invalid", "--url: "),
        (("--url", "https://user:pw@keys.example.com"), "url-invalid", "no query, fragment or user"),
        ((*URL, "--set", "id-token"), "option-invalid", "'id-token' is not NAME:ALG"),
        ((*URL, "--set", "a:ES265"), "alg-unknown", "'ES265'"),
        ((*URL, "--set", "A:ES256"), "set-name-invalid", "'A'"),
        ((*URL, "--set", "../x:ES256"), "set-name-invalid", "'../x'"),
        ((*URL, "--set", "identities:ES256"), "set-name-invalid", "'identities'"),
        ((*URL, "--set", "a:ES256", "--set", "a:RS256"), "set-exists", "--set names a twice"),
        ((*URL, "--title", "two\nlines"), "text-invalid", "--title"),
        ((*URL, "--title", ""), "text-invalid", "--title"),
        ((*URL, "--issuer", ""), "issuer-invalid", "--issuer"),
        ((*URL, "--issuer", " x"), "issuer-invalid", "--issuer"),
        ((*URL, "--issuer", "a:b c"), "issuer-invalid", "'a:b c' must be a URI"),
        ((*URL, "--confirm", "maybe"), "option-invalid", "'maybe' of --confirm"),
    ],
)
def test_bad_words(fresh: Terminal, options: tuple[str, ...], code: str, said: str) -> None:
    """An invalid url, set, title or confirmation is refused before anything is created."""
    result = fresh("init", "vault", *options)

    assert (result.code, result.out) == (2, "")
    assert result.problem == code
    assert said in result.error
    assert not (fresh.folder / "vault").exists()
    assert identities(fresh) == []


def test_a_title_in_any_script(fresh: Terminal) -> None:
    """A title may hold quotes, backslashes, braces and letters of any script: it is text."""
    title = "Ключи \\ \"x\" '' {{7*7}} <script> ${{ github.token }} #"

    fresh.ok("init", *URL, "--set", "a:ES256", "--title", title)

    assert vault_in(fresh).state().policy.site.title == title


@pytest.mark.parametrize("place", ["file", "file/below"])
def test_a_place_that_cannot_be(fresh: Terminal, place: str) -> None:
    """A file where the folder would be is an error that names it."""
    (fresh.folder / "file").write_text("")

    result = fresh("init", place, *URL)

    assert result.code == 2
    assert result.error.startswith(place)


def test_a_detached_head(fresh: Terminal) -> None:
    """A repository with a detached HEAD is refused before an identity is generated."""
    vault = vault_in(fresh)
    vault.git("init", "--quiet")
    vault.git("commit", "--quiet", "--allow-empty", "-m", "x")
    vault.git("checkout", "--quiet", "--detach")

    result = fresh("init", *URL)

    assert (result.code, result.hint) == (1, "git switch BRANCH")
    assert identities(fresh) == []
    assert list(vault.files()) == []


def _snapshot(top: Path) -> dict[str, bytes | None]:
    """Return every file below *top* by its path, folders as None; of a .git only what it records."""
    found: dict[str, bytes | None] = {}
    for path in sorted(top.rglob("*")):
        name = path.relative_to(top).as_posix()
        inside = name.partition(".git/")[2]
        if not inside or inside.startswith(("refs/", "HEAD", "index", "config", "packed-refs")):
            found[name] = path.read_bytes() if path.is_file() and not path.is_symlink() else None
    return found


def _detached(fresh: Terminal) -> None:
    run_git(fresh.folder, fresh.environ, "init", "--quiet")
    run_git(fresh.folder, fresh.environ, "commit", "--quiet", "--allow-empty", "-m", "x")
    run_git(fresh.folder, fresh.environ, "checkout", "--quiet", "--detach")


def _unsigned(fresh: Terminal) -> None:
    settings = fresh.folder.parent / "gitconfig"
    settings.write_text("[commit]\n\tgpgsign = true\n[gpg]\n\tformat = ssh\n[user]\n\tsigningkey = /nowhere\n")
    fresh.environ["GIT_CONFIG_GLOBAL"] = str(settings)


def _nobody(fresh: Terminal) -> None:
    for role in ("AUTHOR", "COMMITTER"):
        for part in ("NAME", "EMAIL"):
            fresh.environ.pop(f"GIT_{role}_{part}", None)
    settings = fresh.folder.parent / "gitconfig"
    settings.write_text("")
    fresh.environ["GIT_CONFIG_GLOBAL"] = str(settings)


def _repository(fresh: Terminal) -> None:
    run_git(fresh.folder, fresh.environ, "init", "--quiet")


def _bare(fresh: Terminal) -> None:
    run_git(fresh.folder, fresh.environ, "init", "--quiet", "--bare")


def _file_in_the_way(fresh: Terminal) -> None:
    """A file of the user is in the way of a file of the vault."""
    _repository(fresh)
    for folder in ("a/b", "vault"):
        (fresh.folder / folder / "keys.enc").mkdir(parents=True)
        (fresh.folder / folder / "keys.enc/recipients.json").write_text("mine\n")


def _settings_in_the_repository(fresh: Terminal) -> None:
    _repository(fresh)
    fresh.environ["KEYVAULT_CONFIG_DIR"] = str(fresh.folder / "settings")


def _nothing(fresh: Terminal) -> None:
    """The folder is empty."""


@pytest.mark.parametrize("folder", ["vault", "a/b"])
@pytest.mark.parametrize(
    ("before", "options", "code"),
    [
        (_nobody, (), 1),
        (_detached, (), 1),
        (_unsigned, (), 1),
        (_unsigned, ("--passphrase",), 1),
        (_bare, (), 2),
        (_file_in_the_way, (), 1),
        (_settings_in_the_repository, (), 2),
        (_nothing, ("--url", "ftp://x"), 2),
        (_nothing, ("--set", "a:none"), 2),
        (_nothing, ("--ci", "jenkins"), 2),
        (_nothing, ("--ci", "github", "--tool", "--evil"), 2),
        (_nothing, ("--issuer", ""), 2),
        (_nothing, ("--recipient", "missing.json"), 2),
        (_repository, ("--passphrase",), 2),
    ],
)
def test_a_refusal_leaves_nothing_behind(
    fresh: Terminal, before: Callable[[Terminal], None], options: tuple[str, ...], code: int, folder: str
) -> None:
    """No folder, no file, no commit, no identity: neither where the vault would be nor among the user's settings."""
    before(fresh)
    secret = {"KEYVAULT_PASSPHRASE": "correct horse battery" if before is _unsigned else "short"}
    found = _snapshot(fresh.folder.parent)

    result = fresh("init", folder, *URL, "--set", "a:ES256", *options, **secret)

    assert (result.code, result.out) == (code, ""), result.err
    assert _snapshot(fresh.folder.parent) == found


@pytest.mark.parametrize("options", [(), ("--passphrase",)])
def test_it_can_be_tried_again(fresh: Terminal, options: tuple[str, ...]) -> None:
    """After a failed commit, here for a signature, a second try works."""
    vault = vault_in(fresh)
    settings = fresh.folder.parent / "gitconfig"
    settings.write_text("[commit]\n\tgpgsign = true\n[gpg]\n\tformat = ssh\n[user]\n\tsigningkey = /nowhere\n")
    secret = {"KEYVAULT_PASSPHRASE": "correct horse battery"}

    failed = fresh("init", *URL, "--set", "a:ES256", *options, GIT_CONFIG_GLOBAL=str(settings), **secret)
    assert (failed.code, failed.out) == (1, "")
    assert list(fresh.folder.iterdir()) == []
    assert identities(fresh) == []

    fresh.ok("init", *URL, "--set", "a:ES256", *options, **secret)
    assert vault.status == []


def test_files_of_the_user_are_not_overwritten(fresh: Terminal) -> None:
    """The error names a file of the user that is in the way, and nothing is created."""
    vault = vault_in(fresh)
    vault.git("init", "--quiet")
    vault.write("keys.enc/recipients.json", "mine\n")

    result = fresh("init", *URL, "--set", "a:ES256")

    assert (result.code, result.problem) == (1, "uncommitted-changes")
    assert result.error.endswith(" keys.enc/recipients.json")
    assert vault.files() == {"keys.enc/recipients.json": b"mine\n"}
    assert identities(fresh) == []


def test_templates_of_the_machine_do_not_count(fresh: Terminal) -> None:
    """Hooks that the machine's template folder would put into new repositories are not in a new vault."""
    hooks = fresh.folder.parent / "template" / "hooks"
    hooks.mkdir(parents=True)
    (hooks / "post-commit").write_text("#!/bin/sh\ntouch ran\n")
    (hooks / "post-commit").chmod(0o755)
    settings = fresh.folder.parent / "gitconfig"
    settings.write_text(f"[init]\n\ttemplateDir = {hooks.parent}\n\tdefaultBranch = other\n")

    fresh.ok("init", *URL, "--set", "a:ES256", GIT_CONFIG_GLOBAL=str(settings))

    assert not (fresh.folder / ".git" / "hooks").exists()
    assert run_git(fresh.folder, fresh.environ, "symbolic-ref", "HEAD") == "refs/heads/main"


@pytest.mark.slow
def test_demo(fresh: Terminal) -> None:
    """`demo` creates a rendered vault with two years of history, prints commands to type, and changes nothing else."""
    before = Path.cwd()

    result = fresh.ok("demo")

    vault = vault_in(fresh, fresh.folder / "keyvault-demo")
    assert vault.status == []
    assert len(vault.log) > 20
    assert (vault.folder / "public" / "index.html").exists()
    assert result.err.startswith("keyvault: running two years of rotations")
    inside = Terminal(fresh.folder, fresh.environ)
    for line in result.lines:
        if "keyvault --vault" in line and " serve" not in line:
            words = line.split("     ")[0].split("    what")[0].split()
            assert inside(*words[1:]).code == 0, line
    assert identities(fresh) == []
    refused = fresh("demo")
    assert refused.code == 2
    assert refused.err.endswith("keyvault: hint: --replace builds it again\n")
    again = fresh.ok("-q", "demo", "--replace")
    assert again.lines == [vault.head]
    (fresh.folder / "mine").mkdir()
    (fresh.folder / "mine" / "precious").write_text("x")
    assert fresh("demo", "mine", "--replace").code == 2
    assert Path.cwd() == before


def test_a_set_of_a_library_keeps_its_curve_and_length() -> None:
    """keyvault.toml gets the requested algorithm and length, even if they differ from the defaults."""
    sets = {"a": key_spec("EdDSA", crv="Ed448"), "b": key_spec("PS256", bits=3072), "c": key_spec("ES256")}
    text = policy_text(NewVault("https://keys.example.com", sets))
    assert {name: one.spec for name, one in config.read_policy(text).sets.items()} == sets
    assert text.count(b"crv") == text.count(b"bits") == 1
