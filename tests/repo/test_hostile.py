"""
Commands in a hostile repository start none of its programs, and write nothing outside of it.

A canary is planted for every way in which git starts a program. A canary that plain git does not run would prove
nothing, so the test first runs a git command that starts it, if there is one.
"""

from __future__ import annotations

import http.server
import json
import os
import shutil
import threading
from collections.abc import Callable, Iterator
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

import pytest

from keyvault.core.outlook import outlook
from keyvault.errors import GitError, KeyVaultError
from keyvault.operations import guard, recipients, rotation
from keyvault.operations.reports import status_report
from tests.errors import fails
from tests.revisions import audit, difference, publish, render
from tests.vaults import DAY, HOUR, Vault, copy_vault, run_git, tree

HOOKS = [
    "applypatch-msg",
    "pre-applypatch",
    "post-applypatch",
    "pre-commit",
    "pre-merge-commit",
    "prepare-commit-msg",
    "commit-msg",
    "post-commit",
    "pre-rebase",
    "post-checkout",
    "post-merge",
    "pre-push",
    "pre-receive",
    "update",
    "proc-receive",
    "post-receive",
    "post-update",
    "reference-transaction",
    "push-to-checkout",
    "pre-auto-gc",
    "post-rewrite",
    "sendemail-validate",
    "fsmonitor-watchman",
    "post-index-change",
]

COMMIT = ("commit", "--quiet", "--allow-empty", "-m", "x")
PUSH = ("push", "--quiet", "origin", "main")
FETCH = ("fetch", "--quiet", "origin")


@dataclass
class Trap:
    """A vault in a repository that an attacker wrote."""

    vault: Vault

    @property
    def witness(self) -> Path:
        """The file that a canary writes."""
        return self.vault.top / "canary-ran"

    def script(self, path: Path | None = None) -> str:
        """Return a program that writes the canary's file, and fails."""
        target = path or self.vault.top / "canary.sh"
        target.parent.mkdir(parents=True, exist_ok=True)
        target.write_text(f'#!/bin/sh\necho "$0 $*" >> "{self.witness}"\nexit 1\n')
        target.chmod(0o755)
        return str(target)

    def config(self, *pairs: str) -> None:
        """Write settings of the repository: NAME=VALUE, with @ for the canary and % for the remote."""
        for pair in pairs:
            name, _, value = pair.partition("=")
            self.vault.git(
                "config",
                "--add",
                name,
                value.replace("@", self.script()).replace("%", str(self.vault.top / "origin.git")),
            )

    def remote(self, url: str) -> None:
        """Change the URL of origin."""
        with suppress(AssertionError):
            self.vault.git("remote", "remove", "origin")
        self.vault.git("config", "remote.origin.url", url)
        self.vault.git("config", "remote.origin.fetch", "+refs/heads/*:refs/remotes/origin/*")

    def attributes(self, line: str) -> None:
        """Set an attribute for every file, in the commit and in the repository."""
        self.vault.commit({".gitattributes": f"* {line}\n"}, "attributes")
        (self.vault.git_dir / "info").mkdir(exist_ok=True)
        (self.vault.git_dir / "info" / "attributes").write_text(f"* {line}\n")


def _settings(*pairs: str) -> Callable[[Trap], None]:
    return lambda trap: trap.config(*pairs)


def _hooks(trap: Trap) -> None:
    for name in HOOKS:
        trap.script(trap.vault.git_dir / "hooks" / name)


def _hooks_path(trap: Trap) -> None:
    for name in HOOKS:
        trap.script(trap.vault.top / "hooks" / name)
    trap.config(f"core.hooksPath={trap.vault.top / 'hooks'}")


def _hooks_in_the_tree(trap: Trap) -> None:
    trap.vault.commit({f"hooks/{name}": "#!/bin/sh\n" for name in HOOKS}, "hooks")
    for name in HOOKS:
        trap.script(trap.vault.folder / "hooks" / name)
    trap.config("core.hooksPath=hooks")


def _worktree_config(trap: Trap) -> None:
    _hooks_path(trap)
    trap.vault.git("config", "--unset", "core.hooksPath")
    trap.config("extensions.worktreeConfig=true")
    for name, value in (("core.hooksPath", trap.vault.top / "hooks"), ("core.fsmonitor", trap.script())):
        trap.vault.git("config", "--worktree", name, str(value))


def _include(trap: Trap) -> None:
    _hooks_path(trap)
    trap.vault.git("config", "--unset", "core.hooksPath")
    included = trap.vault.write(
        "settings.inc",
        f"[core]\n\thooksPath = {trap.vault.top / 'hooks'}\n\tfsmonitor = {trap.script()}\n\tsshCommand = @\n",
    )
    trap.config(f"include.path={included}")


def _filter(*kinds: str) -> Callable[[Trap], None]:
    def plant(trap: Trap) -> None:
        trap.attributes("filter=evil")
        trap.config(*(f"filter.evil.{kind}=@" for kind in kinds), "filter.evil.required=true")

    return plant


def _differ(*settings: str) -> Callable[[Trap], None]:
    def plant(trap: Trap) -> None:
        trap.attributes("diff=evil")
        trap.config(*settings)

    return plant


def _ssh(trap: Trap) -> None:
    trap.remote("ssh://127.0.0.1:1/x.git")
    trap.config("core.sshCommand=@")


def _git_proxy(trap: Trap) -> None:
    trap.remote("git://127.0.0.1:1/x.git")
    trap.config("core.gitProxy=@")


def _ext(trap: Trap) -> None:
    trap.remote(f"ext::{trap.script()} %S")
    trap.config("protocol.ext.allow=always", "protocol.allow=always")


def _ext_by_rewriting(trap: Trap) -> None:
    trap.config(f"url.ext::{trap.script()} .insteadOf=https://example.com/", "protocol.ext.allow=always")
    trap.remote("https://example.com/%S")


def _ext_push_only(trap: Trap) -> None:
    trap.config("protocol.ext.allow=always", f"remote.origin.pushurl=ext::{trap.script()} %S")


def _remote_with_capitals(trap: Trap) -> None:
    trap.vault.git("remote", "rename", "origin", "Origin")
    trap.config("remote.Origin.uploadpack=@", "remote.Origin.receivepack=@")


def _alternates(trap: Trap) -> None:
    (trap.vault.git_dir / "objects" / "info").mkdir(exist_ok=True)
    other = trap.vault.top / "alternate.git"
    run_git(trap.vault.top, trap.vault.environ, "clone", "--quiet", "--bare", str(trap.vault.folder), str(other))
    (trap.vault.git_dir / "objects" / "info" / "alternates").write_text(f"{other / 'objects'}\n")
    trap.config("core.alternateRefsCommand=@")


def _signing(trap: Trap) -> None:
    trap.config("commit.gpgSign=true", "push.gpgSign=true", "user.signingKey=ABCD", "gpg.program=@")


def _signing_ssh(trap: Trap) -> None:
    trap.config("commit.gpgSign=true", "gpg.format=ssh", "user.signingKey=/nowhere", "gpg.ssh.program=@")


def _signing_default_key(trap: Trap) -> None:
    trap.config("commit.gpgSign=true", "gpg.format=ssh", "gpg.ssh.defaultKeyCommand=@")


def _signing_x509(trap: Trap) -> None:
    trap.config("commit.gpgSign=true", "gpg.format=x509", "user.signingKey=A", "gpg.x509.program=@")


def _submodule(trap: Trap) -> Path:
    """Add a repository of the attacker to the working tree, as a submodule with a remote."""
    vault = trap.vault
    inner, outer = vault.folder / "module", vault.top / "module.git"
    run_git(vault.top, vault.environ, "init", "--quiet", "--bare", "--initial-branch=main", str(outer))
    run_git(vault.top, vault.environ, "init", "--quiet", "--initial-branch=main", str(inner))
    run_git(inner, vault.environ, "commit", "--quiet", "--allow-empty", "-m", "x")
    run_git(inner, vault.environ, "remote", "add", "origin", str(outer))
    run_git(inner, vault.environ, "push", "--quiet", "--set-upstream", "origin", "main")
    run_git(inner, vault.environ, "commit", "--quiet", "--allow-empty", "-m", "y")
    vault.write(".gitmodules", f'[submodule "module"]\n\tpath = module\n\turl = {outer}\n')
    vault.git("add", ".gitmodules", "module")
    vault.git("commit", "--quiet", "-m", "a submodule")
    vault.git("config", "submodule.module.url", str(outer))
    vault.git("config", "submodule.module.active", "true")
    return inner


def _submodule_push(trap: Trap) -> None:
    inner = _submodule(trap)
    for name in HOOKS:
        trap.script(inner / ".git" / "hooks" / name)
    trap.config("push.recurseSubmodules=on-demand", "submodule.recurse=true")


def _submodule_fetch(trap: Trap) -> None:
    inner = _submodule(trap)
    run_git(inner, trap.vault.environ, "config", "remote.origin.uploadpack", trap.script())
    trap.config("fetch.recurseSubmodules=true", "submodule.module.fetchRecurseSubmodules=true")


def _promised(*settings: str) -> Callable[[Trap], None]:
    """Remove an object of a promisor remote: git fetches such objects on demand."""

    def plant(trap: Trap) -> None:
        vault = trap.vault
        oid = vault.git("rev-parse", f"HEAD:{vault.active().path}")
        for pack in list((vault.git_dir / "objects" / "pack").glob("*.pack")):
            data = pack.read_bytes()
            for path in pack.parent.glob(pack.stem + ".*"):
                path.unlink()
            vault.git("unpack-objects", "-q", stdin=data)
        (vault.git_dir / "objects" / oid[:2] / oid[2:]).unlink()
        vault.git("config", "core.repositoryFormatVersion", "1")
        trap.config("extensions.partialClone=evil", "remote.evil.promisor=true", *settings)

    return plant


def _templates(trap: Trap) -> None:
    payload = "{{ ''.__class__.__mro__[1].__subclasses__() }}{{ cycler.__init__.__globals__.os.popen('%s').read() }}"
    trap.vault.commit({"site_template/issuer.html": payload % trap.script()}, "templates")


def _credentials(trap: Trap, url: str) -> None:
    trap.remote(f"{url}/Path.git")
    trap.config("credential.helper=@", "core.askPass=@", f"credential.{url}.helper=!@")


def _credentials_for_a_path(trap: Trap, url: str) -> None:
    trap.remote(f"{url}/Path.git")
    trap.config("credential.useHttpPath=true", f"credential.{url}/Path.git.helper=@")


def _ask_pass(trap: Trap, url: str) -> None:
    trap.remote(f"{url}/Path.git")
    trap.config("core.askPass=@")


Plant = Callable[[Trap], None]
#: The function that plants each canary, and a git command that runs it; None if that needs a terminal or another host.
CANARIES: dict[str, tuple[Plant, tuple[str, ...] | None]] = {
    "hooks": (_hooks, COMMIT),
    "hooks, when pushing": (_hooks, PUSH),
    "core.hooksPath": (_hooks_path, COMMIT),
    "core.hooksPath in the working tree": (_hooks_in_the_tree, COMMIT),
    "config.worktree": (_worktree_config, COMMIT),
    "include.path": (_include, COMMIT),
    "core.fsmonitor": (_settings("core.fsmonitor=@"), ("status",)),
    "core.pager": (_settings("core.pager=@", "pager.log=true", "pager.config=@", "pager.rev-parse=@"), None),
    "core.editor": (_settings("core.editor=@", "sequence.editor=@"), ("commit", "--allow-empty")),
    "alias": (
        _settings(*(f"alias.{name}=!@" for name in ("rev-parse", "config", "ls-tree", "evil", "push"))), ("evil",)
    ),
    "filter.clean": (_filter("clean"), ("add", "--renormalize", "keyvault.toml")),
    "filter.smudge": (_filter("smudge"), ("checkout-index", "--force", "--all")),
    "filter.process": (_filter("process"), ("add", "--renormalize", "keyvault.toml")),
    "diff.textconv": (_differ("diff.evil.textconv=@"), ("log", "-p", "--textconv")),
    "diff.command": (_differ("diff.evil.command=@"), ("log", "-p", "--ext-diff")),
    "diff.external": (_settings("diff.external=@"), ("log", "-p", "--ext-diff")),
    "core.alternateRefsCommand": (_alternates, FETCH),
    "gpg.program": (_signing, COMMIT),
    "gpg.openpgp.program": (_settings("commit.gpgSign=true", "gpg.openpgp.program=@", "user.signingKey=A"), COMMIT),
    "gpg.ssh.program": (_signing_ssh, COMMIT),
    "gpg.ssh.defaultKeyCommand": (_signing_default_key, COMMIT),
    "gpg.x509.program": (_signing_x509, COMMIT),
    "log.showSignature": (_settings("log.showSignature=true", "gpg.program=@", "gpg.ssh.program=@"), None),
    "core.sshCommand": (_ssh, FETCH),
    "core.gitProxy": (_git_proxy, FETCH),
    "ext:: url": (_ext, FETCH),
    "ext:: by url.insteadOf": (_ext_by_rewriting, FETCH),
    "ext:: pushurl": (_ext_push_only, PUSH),
    "remote.uploadpack": (_settings("remote.origin.uploadpack=@"), FETCH),
    "remote.receivepack": (_settings("remote.origin.receivepack=@"), PUSH),
    "remote.uploadpack of a name with capitals": (_remote_with_capitals, ("fetch", "--quiet", "Origin")),
    "uploadpack.packObjectsHook": (_settings("uploadpack.packObjectsHook=@"), None),
    "gc.auto": (_settings("gc.auto=1", "gc.autoDetach=false", "core.hooksPath=@"), None),
    "submodule that is pushed": (_submodule_push, PUSH),
    "submodule that is fetched": (_submodule_fetch, (*FETCH, "--recurse-submodules")),
    "promised object": (
        _promised("remote.evil.url=%", "remote.evil.uploadpack=@"), ("log", "-p")
    ),
    "promised object over ssh": (
        _promised("remote.evil.url=ssh://127.0.0.1:1/x", "core.sshCommand=@"), ("log", "-p")
    ),
    "site_template": (_templates, None),
}  # fmt: skip

#: The canaries of the fast tests, one of each kind: hooks, settings, filters, remotes, objects, templates.
QUICK = {
    "core.hooksPath", "core.fsmonitor", "filter.process", "diff.textconv", "core.sshCommand", "remote.uploadpack",
    "promised object", "site_template",
}  # fmt: skip

#: The steps of `run_commands` that must fail: signing without a key of the user, an unreachable address, missing
#: objects, a template that uses a forbidden name.
HINDERED = {
    "gpg.": {"publish branch", "rotate", "rotate --force", "rotate --push"},
    "core.sshCommand": {"publish branch", "rotate --push"},
    "core.gitProxy": {"publish branch", "rotate --push"},
    "ext::": {"publish branch", "rotate --push"},
    "promised": {"status", "plan", "render", "render --worktree", "recipient check", "audit", "diff", "guard --commits",
                 "publish", "publish branch", "rotate --due", "rotate", "rotate --force", "rotate --push"},
    "site_template": {"render", "render --worktree", "publish", "publish branch"},
    # There is no remote of the default name.
    "remote.uploadpack of a name": {"publish branch"},
}  # fmt: skip


@pytest.fixture(scope="module")
def _untouched(_template: Vault, tmp_path_factory: pytest.TempPathFactory) -> Vault:
    """The template that `trap` copies."""
    vault = copy_vault(_template, tmp_path_factory.mktemp("untouched"))
    vault.publish_to()
    rotation.rotate_due(vault.context())
    return vault.wait(DAY)


@pytest.fixture
def trap(_untouched: Vault, tmp_path: Path) -> Trap:
    """A vault with a bare remote and one rotation, and no canary yet."""
    vault = copy_vault(_untouched, tmp_path)
    vault.git("remote", "set-url", "origin", str(vault.top / "origin.git"))
    return Trap(vault)


def run_commands(vault: Vault) -> list[str]:
    """Run all commands, and return those that failed with a deliberate error."""
    failed = []

    def attempt(name: str, action: Callable[[], object]) -> None:
        try:
            action()
        except KeyVaultError as error:
            failed.append(f"{name}: {error.code}: {error.message}")

    attempt("status", lambda: status_report(vault.state(), vault.now, grace=DAY))
    attempt("uncommitted", lambda: vault.repository.uncommitted_config(vault.head))
    attempt("plan", lambda: outlook(vault.state(), vault.now, until=vault.now + 400 * DAY))
    attempt("render", lambda: render(vault.context(), vault.folder / "public"))
    attempt("render --worktree", lambda: render(vault.context(), vault.folder / "public", worktree=True))
    attempt("recipient check", lambda: recipients.check_recipients(vault.context()))
    attempt("audit", lambda: audit(vault.context()))
    attempt("diff", lambda: difference(vault.context(), "HEAD~1"))
    attempt("guard --commits", lambda: guard.guard_commits(vault.folder, vault.environ, ["HEAD"]))
    attempt("guard", lambda: guard.guard_staged(vault.folder, vault.environ))
    attempt("publish", lambda: publish(vault.context(), str(vault.folder / "www")))
    attempt("publish branch:", lambda: publish(vault.context(), "branch:gh-pages"))
    attempt("rotate --due", lambda: rotation.rotate_due(vault.context()))
    attempt("rotate", lambda: rotation.rotate(vault.context(), ["id-token"]))
    vault.wait(HOUR)
    attempt("rotate --force", lambda: rotation.rotate(vault.context(), [], forced="a drill"))
    attempt("rotate --push", lambda: rotation.rotate(vault.context(), [], forced="a drill", push=True))
    return failed


def trigger(trap: Trap, command: tuple[str, ...]) -> None:
    """Run a git command in a copy, and check that it runs the canary."""
    copy = Trap(copy_vault(trap.vault, trap.vault.top.parent / "copy" / trap.vault.top.name))
    named = ("config", "config.worktree", "settings.inc", ".gitmodules", "*.sh", "hooks/*", "gitdir", ".git")
    for path in [path for pattern in named for path in copy.vault.top.rglob(pattern) if path.is_file()]:
        path.write_text(path.read_text().replace(str(trap.vault.top), str(copy.vault.top)))
    environ = copy.vault.environ | {"GIT_EDITOR": ""} if "core.editor" in str(command) else copy.vault.environ
    with suppress(AssertionError):
        run_git(copy.vault.folder, environ, *command)
    assert copy.witness.exists(), f"plain git {command[0]} runs no canary: it is planted wrongly"
    shutil.rmtree(copy.vault.top)


@pytest.mark.parametrize(
    "name", [name if name in QUICK else pytest.param(name, marks=pytest.mark.slow) for name in CANARIES]
)
def test_no_program_of_the_repository_is_run(trap: Trap, name: str) -> None:
    """No command starts a program that the settings or files of a repository name."""
    plant, command = CANARIES[name]
    plant(trap)
    if command is not None:
        trigger(trap, command)

    failed = {line.partition(":")[0] for line in run_commands(trap.vault)}

    assert not trap.witness.exists(), trap.witness.read_text()
    assert failed == next((steps for prefix, steps in HINDERED.items() if name.startswith(prefix)), set())


@pytest.fixture
def asking_host() -> Iterator[str]:
    """A host on this machine that requires a password."""

    class Handler(http.server.BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            self.send_response(401)
            self.send_header("WWW-Authenticate", 'Basic realm="x"')
            self.send_header("Content-Length", "0")
            self.end_headers()

        do_POST = do_GET

        def log_message(self, format: str, *args: object) -> None:
            """Write no log."""

    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    threading.Thread(target=server.serve_forever, args=(0.02,), daemon=True).start()
    yield f"http://127.0.0.1:{server.server_address[1]}"
    server.shutdown()
    server.server_close()


@pytest.mark.parametrize(
    "plant",
    [_credentials, *(pytest.param(plant, marks=pytest.mark.slow) for plant in (_credentials_for_a_path, _ask_pass))],
)
def test_a_host_that_requires_a_password(trap: Trap, asking_host: str, plant: Callable[[Trap, str], None]) -> None:
    """A credential helper or askpass program that the repository names is not run."""
    plant(trap, asking_host)
    trigger(trap, FETCH)

    failed = run_commands(trap.vault)

    assert not trap.witness.exists(), trap.witness.read_text()
    assert any(line.startswith("rotate --push: remote-failed: ") for line in failed)


def test_programs_of_the_user_are_run(trap: Trap) -> None:
    """Programs in the user's own configuration are run, as plain git does."""
    settings = trap.vault.top / "gitconfig"
    settings.write_text(f"[core]\n\tsshCommand = {trap.script()}\n")
    trap.vault.environ["GIT_CONFIG_GLOBAL"] = str(settings)
    trap.remote("ssh://127.0.0.1:1/x.git")

    with pytest.raises(GitError):
        rotation.rotate_due(trap.vault.context(), push=True)

    assert trap.witness.exists()


@pytest.mark.parametrize("variable", ["GIT_SSH", "GIT_SSH_COMMAND"])
def test_ssh_of_the_environment_is_run(trap: Trap, variable: str) -> None:
    """The ssh in the user's environment is run, whatever the repository configures."""
    trap.vault.environ[variable] = trap.script(trap.vault.top / "my ssh" if variable == "GIT_SSH" else None)
    trap.remote("ssh://127.0.0.1:1/x.git")
    trap.config("core.sshCommand=false")

    with pytest.raises(GitError):
        rotation.rotate_due(trap.vault.context(), push=True)

    assert trap.witness.exists()


def test_a_remote_inside_the_repository(trap: Trap) -> None:
    """A push to a remote inside the repository would run its hooks, so it is refused."""
    inner = trap.vault.folder / "inner.git"
    run_git(trap.vault.top, trap.vault.environ, "clone", "--quiet", "--bare", str(trap.vault.folder), str(inner))
    for name in HOOKS:
        trap.script(inner / "hooks" / name)
    for url in (str(inner), "inner.git", "./inner.git", f"file://{inner}"):
        trap.remote(url)

        with fails("remote-url-invalid", GitError):
            rotation.rotate(trap.vault.context(), [], forced="a drill", push=True)
    assert not trap.witness.exists()


# --- writes outside the vault ---------------------------------------------------------------------------


@pytest.fixture
def outside(trap: Trap) -> Path:
    """A folder beside the vault that no command may change."""
    folder = trap.vault.top / "outside"
    folder.mkdir()
    (folder / "precious").write_text("precious\n")
    (folder / "precious.lock").write_text("precious\n")
    return folder


def intact(outside: Path) -> bool:
    return dict(tree(outside)) == {"precious": b"precious\n", "precious.lock": b"precious\n"}


@pytest.mark.parametrize(
    "worktree",
    [
        "{outside}",
        *(
            pytest.param(path, marks=pytest.mark.slow)
            for path in ("{outside}/..", "..", "../..", "/", "{outside}/missing")
        ),
    ],
)
def test_core_worktree_points_elsewhere(trap: Trap, outside: Path, worktree: str) -> None:
    """If a repository configures another working tree, nothing is written outside the vault."""
    before = dict(tree(trap.vault.top))
    trap.vault.git("config", "core.worktree", worktree.format(outside=outside))

    run_commands(trap.vault)

    after = dict(tree(trap.vault.top))
    changed = {path for path in before.keys() | after.keys() if before.get(path) != after.get(path)}
    assert {path for path in changed if not path.startswith(("vault/", "origin.git/"))} == set()


@pytest.mark.parametrize(
    "name",
    [
        "keyvault.lock",
        *(
            pytest.param(name, marks=pytest.mark.slow)
            for name in ("keyvault.journal", "keyvault.new", "keyvault.journal.new")
        ),
    ],
)
def test_links_in_the_git_folder(trap: Trap, outside: Path, name: str) -> None:
    """A link at the path of one of our files in the git folder is not written through."""
    path = trap.vault.git_dir / name
    path.unlink(missing_ok=True)
    path.symlink_to(outside / "precious")

    run_commands(trap.vault)

    assert intact(outside)


def test_links_beside_records(trap: Trap, outside: Path) -> None:
    """A link at the temporary path of a new record is not written through."""
    for key in trap.vault.state().keys.values():
        path = trap.vault.folder / key.path
        path.with_name(f".{path.name}.keyvault-new").symlink_to(outside / "precious")

    assert run_commands(trap.vault) == []
    assert intact(outside)


def test_a_folder_of_records_is_a_link(trap: Trap, outside: Path) -> None:
    """If a folder of the vault is a link in the working tree, nothing is written to its target."""
    folder = trap.vault.folder / "keys.enc" / "id-token"
    shutil.copytree(folder, outside / "id-token")
    before = dict(tree(outside))
    shutil.rmtree(folder)
    folder.symlink_to(outside / "id-token")

    failed = run_commands(trap.vault)

    assert any(": uncommitted-changes: " in line and " keys.enc/id-token/" in line for line in failed)
    assert dict(tree(outside)) == before


@pytest.mark.parametrize(
    "journal",
    [
        {"branch": "../../outside/precious", "old": None, "new": "a" * 40},
        {"branch": "refs/heads/main", "old": "--output=../outside/precious", "new": "HEAD"},
        {"branch": "refs/heads/main", "old": None, "new": "--output=../outside/precious"},
        {"branch": ["refs/heads/main"], "old": 1, "new": 2},
        {"branch": "refs/heads/../../../outside/precious", "old": None, "new": "a" * 40},
        {"branch": "\0", "old": None, "new": "\0"},
        [],
        None,
    ],
)
def test_a_journal_of_somebody_else(trap: Trap, outside: Path, journal: object) -> None:
    """A forged journal is ignored: it cannot name a file to remove, or an option of git."""
    text = json.dumps(journal).replace('"HEAD"', f'"{trap.vault.head}"')
    (trap.vault.git_dir / "keyvault.journal").write_text(text)

    outcome = rotation.rotate(trap.vault.context(), ["id-token"])

    assert outcome.commit == trap.vault.head
    assert intact(outside)
    assert not (trap.vault.git_dir / "keyvault.journal").exists()


@pytest.mark.parametrize("text", ["[" * 100_000, "", "{", "\0", '{"branch": "refs/heads/main"', "9" * 5_000])
def test_a_journal_that_is_no_json(trap: Trap, text: str) -> None:
    """A truncated journal means that the branch had not moved yet."""
    (trap.vault.git_dir / "keyvault.journal").write_text(text)

    assert rotation.rotate(trap.vault.context(), ["id-token"]).commit == trap.vault.head


def evil_tree(vault: Vault, path: str, content: str, *, mode: str = "100644") -> str:
    """Return a commit on HEAD with a path that git refuses to check out."""
    oid = vault.git("hash-object", "-w", "--stdin", stdin=content.encode())
    parts = path.split("/")
    entry = f"{mode} blob {oid}\t{parts[-1]}\0"
    for part in reversed(parts[:-1]):
        inner = vault.git("mktree", "-z", "--missing", stdin=entry.encode())
        entry = f"040000 tree {inner}\t{part}\0"
    listing = "".join(line + "\0" for line in vault.git("ls-tree", "-z", "HEAD").split("\0") if line)
    root = vault.git(
        "hash-object", "-t", "tree", "-w", "--literally", "--stdin", stdin=_raw_tree(vault, listing + entry)
    )
    return vault.git("commit-tree", root, "-p", "HEAD", "-m", "evil")


def _raw_tree(vault: Vault, listing: str) -> bytes:
    lines = []
    for line in listing.split("\0")[:-1]:
        meta, _, name = line.partition("\t")
        mode, _kind, oid = meta.split(" ")
        sort = name.encode() + (b"/" if mode == "040000" else b"")
        lines.append((sort, mode.lstrip("0").encode() + b" " + name.encode() + b"\0" + bytes.fromhex(oid)))
    return b"".join(line for _, line in sorted(lines))


@pytest.mark.parametrize(
    "path",
    [
        ".git/hooks/post-checkout",
        ".GIT/config",
        "git~1/config",
        ".git\u200c/config",
        "sub/.git/config",
        "../outside/precious",
        "./keyvault.toml",
    ],
)
def test_a_push_checks_out_no_files_in_the_git_folder(trap: Trap, outside: Path, path: str) -> None:
    """
    A push of an attacker cannot write into another user's git folder, or outside the working tree.

    `--push` updates the local branch; like git, we refuse to check out such a commit.
    """
    vault = trap.vault
    vault.git("push", "--quiet", "origin", "main")
    commit = evil_tree(vault, path, "[core]\n\tfsmonitor = touch /tmp/pwned\n")
    vault.git("push", "--quiet", "origin", f"{commit}:refs/heads/main")
    before = {name: (vault.git_dir / name).read_bytes() for name in ("config", "HEAD")}

    with fails("unsafe-path", GitError):
        rotation.rotate(vault.context(), ["id-token"], push=True)

    assert {name: (vault.git_dir / name).read_bytes() for name in before} == before
    assert not (vault.git_dir / "hooks" / "post-checkout").exists()
    assert intact(outside)
    assert vault.status == []


def test_secrets_of_the_environment_stay_here(trap: Trap) -> None:
    """Git and its child processes do not get the passphrase and the identity in the environment."""
    wrapper = trap.vault.top / "bin" / "git"
    wrapper.parent.mkdir()
    real = shutil.which("git")
    wrapper.write_text(f'#!/bin/sh\nenv >> "{trap.witness}"\nexec {real} "$@"\n')
    wrapper.chmod(0o755)
    secrets = {"KEYVAULT_PASSPHRASE": "canary-passphrase", "KEYVAULT_IDENTITY": "canary-identity"}
    path = f"{wrapper.parent}{os.pathsep}{trap.vault.environ['PATH']}"

    done = trap.vault.run("rotate", "--all", "--force", "--reason", "a drill", "--push", PATH=path, **secrets)

    assert (done.returncode, done.stderr) == (0, "")
    seen = trap.witness.read_text()
    assert "GIT_CONFIG_COUNT" in seen
    assert "canary-" not in seen
