"""
Make a vault: in an empty folder, in a repository that exists, or in place in a copy of the project's own.

The first commit holds policy, recipients, both keys of every set, and what keeps git from touching their bytes.
"""

from __future__ import annotations

import contextlib
import getpass
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from pathlib import Path

from keyvault import config
from keyvault.core.algorithms import KeySpec, key_spec
from keyvault.core.keys import Recipient
from keyvault.core.places import check_issuer, check_url
from keyvault.core.plan import Plan
from keyvault.core.planning import plan_creation
from keyvault.core.policy import check_set_name
from keyvault.core.state import NO_COMMIT, VaultState
from keyvault.core.text import elided, printable, quoted
from keyvault.errors import ConfigError, GitError, UsageError
from keyvault.flush import flush
from keyvault.operations.changes import realize
from keyvault.operations.context import Context, identity_folder
from keyvault.operations.recipients import create_identity, vault_identity_path
from keyvault.operations.scaffold import for_folder, without_present
from keyvault.repo.git import Git
from keyvault.repo.git.process import Runner
from keyvault.repo.records import encode_recipients
from keyvault.repo.transaction import transaction
from keyvault.repo.vault import IDENTITIES, KEYS, README, RECIPIENTS, Draft, Repository, commit_message, record_files

DEFAULT_SETS = (("id-token", "RS256"), ("access-token", "ES256"))

TITLE_MAX = 200

_README = b"""\
# keys.enc

Key records of a keyvault: one file a key, its public half and its life in the clear, its private half sealed
(JWE, RFC 7516) to the recipients in `recipients.json`. Written by `keyvault`, never by hand: a record that is
not byte for byte in its canonical form is refused. `git log` of a file is the life of the key.
"""

_ATTRIBUTES = """\
keys.enc/** -text
keys.enc/*/*.json merge=keyvault
keys.enc/recipients.json merge=keyvault
keyvault.toml text eol=lf
"""

#: The folder that render writes to, and what it keeps beside it.
_IGNORED = "/public/\n/.public.keyvault-*/\n"


@dataclass(frozen=True)
class Made:
    """
    What `init` made.

    Attributes:
        folder: The vault.
        commit: Its first commit.
        sets: Its sets.
        recipients: Whom its keys are sealed to.
        identity: Where the new identity lies, or None when recipients were given.
        ci: Files of CI that were written, by path from the top of the repository.
        ci_kept: Files of CI that were there already and stayed as they are.
        ci_folder: Folder of the vault in the repository if CI has to know it, else empty.
    """

    folder: Path
    commit: str
    sets: tuple[tuple[str, str], ...]
    recipients: tuple[str, ...]
    identity: Path | None
    ci: tuple[str, ...]
    ci_kept: tuple[str, ...] = ()
    ci_folder: str = ""


def parse_sets(texts: Sequence[str]) -> dict[str, KeySpec]:
    """
    Return the sets that ``NAME:ALG`` or ``NAME:ALG:KID`` arguments name, or the default two.

    Raises:
        UsageError: A name or an algorithm cannot be, or a name stands twice.
    """
    sets: dict[str, KeySpec] = {}
    for text in texts or [f"{name}:{alg}" for name, alg in DEFAULT_SETS]:
        name, colon, rest = text.partition(":")
        alg, _, kid = rest.partition(":")
        if not colon:
            raise UsageError(f"--set {quoted(text, 100)} is not NAME:ALG", hint="--set id-token:RS256")
        if name in sets:
            raise UsageError(f"--set names {name} twice")
        try:
            sets[check_set_name(name)] = key_spec(alg, kid=kid or None)
        except ConfigError as error:
            raise UsageError(error.message, hint=error.hint) from None
    return sets


def policy_text(
    url: str, sets: Mapping[str, KeySpec], *, title: str | None, confirm: str, issuer: str | None = None
) -> bytes:
    """Return a keyvault.toml, commented, that parses to a policy."""
    try:
        url = check_url(url)
    except ValueError as error:
        raise UsageError(f"--url: {error}") from None
    try:
        issuer = None if issuer is None else check_issuer(issuer)
    except ValueError as error:
        raise UsageError(f"--issuer: {error}") from None
    if title is not None and (not title.strip() or len(title) > TITLE_MAX or printable(title) != title):
        raise UsageError(f"--title takes one line of 1 to {TITLE_MAX} printable characters")
    lines = [
        "format = 1",
        "",
        "[site]",
        f'url = "{url}"                # where the rendered site is served'
        + ("; the default issuer" if issuer is None else ""),
        *([] if issuer is None else [f"issuer = {_toml(issuer)}    # what stands in iss, byte for byte"]),
        f"title = {_toml(title or 'Published keys')}",
        'max_age = "10m"               # what the host sends as Cache-Control for JWK Sets',
        f'confirm = "{confirm}"              # "live": a key may sign only after the URL above was seen serving it',
        "discovery = true              # render openid-configuration",
        "",
        "[defaults]",
        'cryptoperiod = "90d"          # how long a key signs',
        'publication_lead = "24h"      # how long a key must have been seen live before it may sign',
        'algorithm_lead = "7d"         # the same for a key of a new algorithm: some verifiers must be restarted first',
        'token_lifetime = "1h"         # the longest exp - iat of your tokens',
        'signer_lag = "1h"             # how long a signer may go on using the old key',
        'clock_skew = "10m"',
    ]
    for name, spec in sets.items():
        default = key_spec(spec.alg)
        lines += ["", f"[sets.{_toml_key(name)}]", f'alg = "{spec.alg}"']
        lines += [f'crv = "{spec.crv}"'] if spec.crv != default.crv else []
        lines += [f"bits = {spec.bits}"] if spec.bits != default.bits else []
        lines += [f'kid = "{spec.kid}"'] if spec.kid != default.kid else []
    return ("\n".join(lines) + "\n").encode()


def _toml(text: str) -> str:
    return '"' + text.replace("\\", "\\\\").replace('"', '\\"') + '"'


def _toml_key(name: str) -> str:
    return name if re.fullmatch(r"[A-Za-z0-9_-]+", name) else f'"{name}"'


def init(
    folder: Path,
    now: datetime,
    environ: Mapping[str, str],
    *,
    url: str,
    sets: Mapping[str, KeySpec],
    title: str | None = None,
    recipients: Sequence[Recipient] = (),
    passphrase: str | None = None,
    confirm: str = "live",
    issuer: str | None = None,
    branch: str = "main",
    ci: Mapping[str, bytes] | None = None,
) -> Made:
    """
    Make a vault in *folder* and commit it.

    Args:
        folder: Where; made where it is missing, and made a git repository where it is none.
        now: The instant of the first events.
        environ: The caller's environment.
        url: Where the site will be served.
        sets: What is made, by name.
        title: Headline of the site.
        recipients: Whom keys are sealed to; where none is given, an identity is made.
        passphrase: Puts that identity into the vault, encrypted, instead of beside it.
        confirm: ``live`` or ``commit``.
        issuer: What stands in ``iss``, where it is not *url*.
        branch: Name of the first branch of a new repository.
        ci: Files of CI, by path from the top of the repository; a file that exists stays as it is.

    Raises:
        UsageError: If there is a vault in *folder* already, or the url or a set is invalid.
        GitError: If git refused.

    After an error, no folder, file or commit is left behind.
    """
    now = now.replace(microsecond=0)
    if passphrase is not None:
        from keyvault.crypto.identity_file import check_passphrase

        check_passphrase(passphrase)
    text = policy_text(url, sets, title=title, confirm=confirm, issuer=issuer)
    policy = config.read_policy(text)
    with _undone_on_error() as undo:
        repository = _repository(folder, environ, branch, undo)
        context = Context(repository, now, environ)
        made = _committed(repository, config.FILE)
        if made:
            # A run that died after its commit has its files still to write, and no other command finds a vault without.
            with contextlib.suppress(GitError), transaction(repository):
                pass
        if made or (folder / config.FILE).exists():
            raise UsageError(
                f"there is a vault in {elided(str(folder))} already", hint="keyvault set add NAME --alg ALG adds a set"
            )
        repository.git.branch_and_head()
        _require_user(repository.git)
        prefix, top = repository.git.prefix, repository.git.root
        assert top is not None
        # Forges read workflows at the top of the repository only.
        wanted = for_folder(ci or {}, prefix.rstrip("/"))
        added = without_present(wanted, top)
        files: dict[str, bytes | None] = {}
        identity = None
        chosen = {recipient.kid: recipient for recipient in recipients}
        if not chosen:
            place = (folder / IDENTITIES) if passphrase else identity_folder(environ)
            undo.folders = [*_missing(place), *undo.folders]
            recipient, identity = _identity(context, folder, passphrase)
            undo.identity = identity
            chosen[recipient.kid] = recipient
            if passphrase:
                # It was written into the work tree under its passphrase: the commit takes it along.
                files[vault_identity_path(recipient.kid)] = identity.read_bytes()
        state = VaultState(NO_COMMIT, policy, {}, chosen)
        plan = Plan(tuple(change for key_set in state.sets.values() for change in plan_creation(key_set, now).changes))
        keys, events = realize(context, state, plan, chosen)
        files |= {config.FILE: text, RECIPIENTS: encode_recipients(chosen), **record_files(keys)}
        files |= _companions(repository, folder)
        message = commit_message(f"make a vault with {', '.join(sets) or 'no sets'}", events)
        from_top: dict[str, bytes | None] = {**added, **{prefix + path: data for path, data in files.items()}}
        whole = Repository(replace(repository.git, prefix=""))
        with transaction(whole) as changes:
            for _ in changes.heads():
                changes.write(Draft(from_top, message, now))
    assert changes.commit is not None
    return Made(
        folder,
        changes.commit,
        tuple((name, str(spec)) for name, spec in sets.items()),
        tuple(sorted(chosen)),
        identity,
        tuple(sorted(added)),
        tuple(sorted(wanted.keys() - added.keys())),
        prefix.rstrip("/") if wanted else "",
    )


@dataclass
class _Undo:
    """
    What `init` wrote before its commit.

    Attributes:
        folders: Folders that it made, the innermost first.
        git_dir: The git directory that it made, or None.
        repository: The repository, as soon as it is known.
        identity: The identity that it made, or None.
    """

    folders: list[Path]
    git_dir: Path | None = None
    repository: Repository | None = None
    identity: Path | None = None

    def run(self) -> None:
        """Remove all of it, unless the commit was made; folders that hold other files stay."""
        import shutil

        # Git may report an error after it has moved the branch: then the commit stands, with all that belongs to it.
        if self.repository is not None and _committed(self.repository, config.FILE):
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
    """Give a note of files and folders, which are removed if the block ends with an error or is interrupted."""
    undo = _Undo([])
    try:
        yield undo
    except BaseException:
        undo.run()
        raise


def _repository(folder: Path, environ: Mapping[str, str], branch: str, undo: _Undo) -> Repository:
    """Return the repository of *folder*; make it if there is none."""
    if folder.exists() and not folder.is_dir():
        raise UsageError(f"{elided(str(folder))} is not a folder")
    undo.folders = _missing(folder)
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise UsageError(f"{elided(str(folder))} cannot be made: {error.strerror}") from None
    try:
        repository = Repository.open(folder, environ)
    except GitError as error:
        if "not in a git repository" not in error.message:
            raise
    else:
        if repository.git.bare:
            raise UsageError(f"{elided(str(folder))} is a bare repository", hint="make the vault in a clone of it")
        undo.repository = repository
        return repository
    undo.git_dir = None if (folder / ".git").exists() else folder / ".git"
    _git_init(folder, environ, branch)
    undo.repository = Repository.open(folder, environ)
    return undo.repository


def _missing(folder: Path) -> list[Path]:
    """Return *folder* and its parents if they do not exist, the innermost first."""
    return [path for path in (folder, *folder.parents) if not path.exists()]


def _git_init(folder: Path, environ: Mapping[str, str], branch: str) -> None:
    import shutil

    def make(place: Path) -> None:
        # An empty template: hooks and settings of the machine's template folder are nobody's choice here.
        Runner(place, environ).run("init", "--quiet", "--template=", f"--initial-branch={branch}")

    if (folder / ".git").exists():  # a broken one; git mends what it can
        make(folder)
        return
    # It comes to its place as a whole: one that is half made, with a lock in it, would be in the way of the next run.
    beside = folder / ".keyvault-init"
    shutil.rmtree(beside, ignore_errors=True)
    try:
        beside.mkdir()
        make(beside)
        # Git flushes what it writes later, but not what a repository begins with.
        flush([path for path in (beside / ".git").rglob("*") if path.is_file()])
        (beside / ".git").rename(folder / ".git")
    except OSError as error:
        raise GitError(f"no repository can be made in {elided(str(folder))}: {error.strerror}") from None
    finally:
        shutil.rmtree(beside, ignore_errors=True)


def _committed(repository: Repository, path: str) -> bool:
    head = repository.git.resolve("HEAD")
    return head is not None and path in repository.files(head, path)


def _require_user(git: Git) -> None:
    """Fail before anything is written when git does not know who commits."""
    try:
        git.run("var", "GIT_COMMITTER_IDENT")
    except GitError as error:
        raise GitError(
            "git does not know who you are: user.name and user.email are not set",
            code="git-user-missing",
            hint='git config --global user.name "Your Name"; git config --global user.email you@example.com',
        ) from error


def _identity(context: Context, folder: Path, passphrase: str | None) -> tuple[Recipient, Path]:
    label = f"{_login()}-{context.now:%Y-%m-%d}"
    if passphrase:
        path = folder / vault_identity_path(label)
        return create_identity(context.environ, kid=label, output=path, passphrase=passphrase)
    import secrets

    kid = f"{label}-{secrets.token_hex(3)}"
    return create_identity(context.environ, kid=kid, forbidden=context.repository.git.root)


def _login() -> str:
    try:
        name = getpass.getuser()
    except (OSError, KeyError):
        return "owner"
    return re.sub(r"[^A-Za-z0-9._-]", "", name)[:40] or "owner"


def _companions(repository: Repository, folder: Path) -> dict[str, bytes | None]:
    """Return .gitattributes and .gitignore with our lines, what stands there kept; and the README of the keys."""
    found: dict[str, bytes | None] = {}
    for name, lines in ((".gitattributes", _ATTRIBUTES), (".gitignore", _IGNORED)):
        path = folder / name
        present = path.read_text(encoding="utf-8", errors="surrogateescape") if path.is_file() else ""
        missing = [line for line in lines.splitlines() if line not in present.splitlines()]
        if missing and not _changed(repository, path, name):
            joined = present + ("\n" if present and not present.endswith("\n") else "") + "\n".join(missing) + "\n"
            found[name] = joined.encode(errors="surrogateescape")
    if not (folder / KEYS / "README.md").exists():
        found[README] = _README
    return found


def _changed(repository: Repository, path: Path, name: str) -> bool:
    """Whether the user has uncommitted changes in *path*: then it is left alone."""
    head = repository.git.resolve("HEAD")
    committed = repository.files(head, name).get(name) if head else None
    return path.is_file() and path.read_bytes() != committed
