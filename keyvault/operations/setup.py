"""
Create a vault: in an empty folder, in an existing repository, or in a clone of keyvault's source.

The first commit has policy, recipients, both keys of every set, and attributes that keep git from changing their bytes.
"""

from __future__ import annotations

import contextlib
import getpass
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from datetime import datetime
from pathlib import Path

from keyvault import config
from keyvault.core.keys import Recipient
from keyvault.core.plan import Plan
from keyvault.core.planning import plan_creation
from keyvault.core.state import NO_COMMIT, VaultState
from keyvault.core.text import elided
from keyvault.errors import GitError, UsageError
from keyvault.flush import flush
from keyvault.operations.changes import realize
from keyvault.operations.context import Context, identity_folder
from keyvault.operations.new_vault import NewVault, policy_text
from keyvault.operations.recipients import create_identity, vault_identity_path
from keyvault.operations.scaffold import for_folder, without_existing
from keyvault.repo.branch import recover
from keyvault.repo.git import Git
from keyvault.repo.git.process import Runner, no_user_error
from keyvault.repo.journal import exclusive_lock
from keyvault.repo.records import encode_recipients
from keyvault.repo.transaction import transaction
from keyvault.repo.vault import IDENTITIES, KEYS, README, RECIPIENTS, Draft, Repository, commit_message, record_files

_README = b"""\
# keys.enc

The key records of a vault, a file for each key: the public half and the events in the clear, the private half sealed
(JWE, RFC 7516) to the recipients in `recipients.json`. Only `keyvault` writes records. Do not edit them: keyvault
refuses a record that is not byte for byte in its canonical form. `git log` of a record shows the life of its key.
"""

_ATTRIBUTES = """\
keys.enc/** -text
keys.enc/*/*.json merge=keyvault
keys.enc/recipients.json merge=keyvault
keyvault.toml text eol=lf
"""

#: The folder that `render` writes to, and its staging and spare folders.
_IGNORED = "/public/\n/.public.*keyvault-*/\n"


@dataclass(frozen=True)
class InitResult:
    """
    The vault that `init` created.

    Attributes:
        folder: Its folder.
        commit: Its first commit.
        sets: Its sets.
        recipients: The recipients of its keys.
        identity: The file of the new identity, or None if recipients were given.
        ci: Files of CI that were written, by path from the top of the repository.
        ci_kept: Files of CI that already existed and were kept.
        ci_folder: The folder of the vault in the repository if CI must know it, else empty.
    """

    folder: Path
    commit: str
    sets: tuple[tuple[str, str], ...]
    recipients: tuple[str, ...]
    identity: Path | None
    ci: tuple[str, ...]
    ci_kept: tuple[str, ...] = ()
    ci_folder: str = ""


def init(folder: Path, now: datetime, environ: Mapping[str, str], new: NewVault) -> InitResult:
    """
    Create a vault in *folder* and commit it.

    Args:
        folder: The folder; it and its git repository are created if they do not exist.
        now: The instant of the first events.
        environ: The caller's environment.
        new: The properties of the vault.

    Raises:
        UsageError: If there is a vault in *folder* already, or the url or a set is invalid.
        GitError: If git refused.

    After an error, no folder, file or commit is left behind.
    """
    now = now.replace(microsecond=0)
    if new.passphrase is not None:
        from keyvault.crypto.identity_file import check_passphrase

        check_passphrase(new.passphrase)
    text = policy_text(new)
    policy = config.read_policy(text)
    with _undone_on_error() as undo:
        repository = _repository(folder, environ, new.branch, undo)
        context = Context(repository, now, environ)
        _refuse_existing_vault(repository, folder)
        repository.git.branch_and_head()
        _require_user(repository.git)
        prefix, top = repository.git.prefix, repository.git.root
        assert top is not None
        # Forges read workflows at the top of the repository only.
        wanted = for_folder(new.ci, prefix.rstrip("/"))
        added = without_existing(wanted, top)
        files: dict[str, bytes | None] = {}
        identity = None
        recipients = {recipient.kid: recipient for recipient in new.recipients}
        if not recipients:
            place = (folder / IDENTITIES) if new.passphrase else identity_folder(environ)
            undo.folders = [*_missing(place), *undo.folders]
            recipient, identity = _create_identity(context, folder, new.passphrase)
            undo.identity = identity
            recipients[recipient.kid] = recipient
            if new.passphrase:
                # It lies in the working tree, encrypted: the commit includes it.
                files[vault_identity_path(recipient.kid)] = identity.read_bytes()
        state = VaultState(NO_COMMIT, policy, {}, recipients)
        plan = Plan(tuple(change for key_set in state.sets.values() for change in plan_creation(key_set, now).changes))
        keys, events = realize(context, state, plan, recipients)
        files |= {config.FILE: text, RECIPIENTS: encode_recipients(recipients), **record_files(keys)}
        files |= _companions(repository, folder)
        message = commit_message(f"make a vault with {', '.join(new.sets) or 'no sets'}", events)
        from_top: dict[str, bytes | None] = {**added, **{prefix + path: data for path, data in files.items()}}
        whole = Repository(replace(repository.git, prefix=""))
        with transaction(whole) as changes:
            for _ in changes.heads():
                changes.write(Draft(from_top, message, now))
    assert changes.commit is not None
    return InitResult(
        folder,
        changes.commit,
        tuple((name, str(spec)) for name, spec in new.sets.items()),
        tuple(sorted(recipients)),
        identity,
        tuple(sorted(added)),
        tuple(sorted(wanted.keys() - added.keys())),
        prefix.rstrip("/") if wanted else "",
    )


def _refuse_existing_vault(repository: Repository, folder: Path) -> None:
    committed = _is_committed(repository, config.FILE)
    if committed:
        # If a run died after its commit, its files may be missing, and without them no other command finds the vault.
        with contextlib.suppress(GitError), exclusive_lock(repository.git):
            recover(repository.git)
    if committed or (folder / config.FILE).exists():
        raise UsageError(
            f"there is a vault in {elided(str(folder))} already",
            code="vault-exists",
            hint="keyvault set add NAME --alg ALG adds a set",
        )


@dataclass
class _Undo:
    """
    The files and folders that `init` wrote before its commit.

    Attributes:
        folders: Folders that it created, the innermost first.
        git_dir: The git directory that it created, or None.
        repository: The repository, as soon as it is known.
        identity: The file of the identity that it generated, or None.
    """

    folders: list[Path]
    git_dir: Path | None = None
    repository: Repository | None = None
    identity: Path | None = None

    def run(self) -> None:
        """Remove all of them, unless the commit exists; folders with other files are kept."""
        import shutil

        # Git may report an error after it has moved the branch: then the commit and its files are kept.
        if self.repository is not None and _is_committed(self.repository, config.FILE):
            return
        if self.identity is not None:
            self.identity.unlink(missing_ok=True)
        if self.git_dir is not None:
            shutil.rmtree(self.git_dir, ignore_errors=True)
        for folder in self.folders:
            with contextlib.suppress(OSError):
                folder.rmdir()


@contextlib.contextmanager
def _undone_on_error() -> Iterator[_Undo]:
    """Yield a record of written files; remove them if the block raises an error or is interrupted."""
    undo = _Undo([])
    try:
        yield undo
    except BaseException:
        undo.run()
        raise


def _repository(folder: Path, environ: Mapping[str, str], branch: str, undo: _Undo) -> Repository:
    """Return the repository of *folder*; create it if there is none."""
    if folder.exists() and not folder.is_dir():
        raise UsageError(f"{elided(str(folder))} is not a folder", code="not-a-folder")
    undo.folders = _missing(folder)
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise UsageError(
            f"{elided(str(folder))} cannot be created: {error.strerror}", code="folder-not-writable"
        ) from None
    try:
        repository = Repository.open(folder, environ)
    except GitError as error:
        if error.code != "repository-missing":
            raise
    else:
        if repository.git.bare:
            raise UsageError(
                f"{elided(str(folder))} is a bare repository",
                code="repository-bare",
                hint="create the vault in a clone of it",
            )
        undo.repository = repository
        return repository
    undo.git_dir = None if (folder / ".git").exists() else folder / ".git"
    _git_init(folder, environ, branch)
    undo.repository = Repository.open(folder, environ)
    return undo.repository


def _missing(folder: Path) -> list[Path]:
    """Return those of *folder* and its parents that do not exist, the innermost first."""
    return [path for path in (folder, *folder.parents) if not path.exists()]


def _git_init(folder: Path, environ: Mapping[str, str], branch: str) -> None:
    import shutil

    def run_init(place: Path) -> None:
        # An empty template: nobody chose the hooks and settings of the machine's template folder for this vault.
        Runner(place, environ).run("init", "--quiet", "--template=", f"--initial-branch={branch}")

    if (folder / ".git").exists():  # a broken repository; git repairs what it can
        run_init(folder)
        return
    # The finished repository is moved into place: an unfinished one, with a lock in it, would block the next run.
    staging = folder / ".keyvault-init"
    shutil.rmtree(staging, ignore_errors=True)
    try:
        staging.mkdir()
        run_init(staging)
        # Git flushes later files, but not the initial files of a repository.
        flush([path for path in (staging / ".git").rglob("*") if path.is_file()])
        (staging / ".git").rename(folder / ".git")
    except OSError as error:
        raise GitError(
            f"cannot create a repository in {elided(str(folder))}: {error.strerror}", code="repository-not-writable"
        ) from None
    finally:
        shutil.rmtree(staging, ignore_errors=True)


def _is_committed(repository: Repository, path: str) -> bool:
    head = repository.git.resolve("HEAD")
    return head is not None and path in repository.files(head, path)


def _require_user(git: Git) -> None:
    """Fail before anything is written if git has no name and email for the committer."""
    try:
        git.run("var", "GIT_COMMITTER_IDENT")
    except GitError as error:
        raise no_user_error() from error


def _create_identity(context: Context, folder: Path, passphrase: str | None) -> tuple[Recipient, Path]:
    label = f"{_login()}-{context.now:%Y-%m-%d}"
    if passphrase:
        path = folder / vault_identity_path(label)
        return create_identity(context.environ, kid=label, output=path, passphrase=passphrase)
    import secrets

    kid = f"{label}-{secrets.token_hex(3)}"
    return create_identity(context.environ, kid=kid, worktree=context.repository.git.root)


def _login() -> str:
    try:
        name = getpass.getuser()
    except (OSError, KeyError):
        return "owner"
    return re.sub(r"[^A-Za-z0-9._-]", "", name)[:40] or "owner"


def _companions(repository: Repository, folder: Path) -> dict[str, bytes | None]:
    """Return .gitattributes and .gitignore with our lines added, and the README of the keys."""
    found: dict[str, bytes | None] = {}
    for name, lines in ((".gitattributes", _ATTRIBUTES), (".gitignore", _IGNORED)):
        path = folder / name
        present = path.read_text(encoding="utf-8", errors="surrogateescape") if path.is_file() else ""
        missing = [line for line in lines.splitlines() if line not in present.splitlines()]
        if missing and not _has_changes(repository, path, name):
            joined = present + ("\n" if present and not present.endswith("\n") else "") + "\n".join(missing) + "\n"
            found[name] = joined.encode(errors="surrogateescape")
    if not (folder / KEYS / "README.md").exists():
        found[README] = _README
    return found


def _has_changes(repository: Repository, path: Path, name: str) -> bool:
    """Whether *path* has uncommitted changes."""
    head = repository.git.resolve("HEAD")
    committed = repository.files(head, name).get(name) if head else None
    return path.is_file() and path.read_bytes() != committed
