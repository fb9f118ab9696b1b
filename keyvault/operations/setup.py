"""
Make a vault: in an empty folder, in a repository that exists, or in place in a copy of the project's own.

The first commit holds policy, recipients, both keys of every set, and what keeps git from touching their bytes.
"""

from __future__ import annotations

import contextlib
import getpass
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path

from keyvault import config
from keyvault.core.algorithms import KeySpec, key_spec
from keyvault.core.keys import NO_COMMIT, Recipient, VaultState
from keyvault.core.places import check_issuer, check_url
from keyvault.core.planning import Plan, plan_creation
from keyvault.core.policy import check_set_name
from keyvault.core.text import elided, printable, quoted
from keyvault.errors import ConfigError, GitError, KeyVaultError, UsageError
from keyvault.flush import flush
from keyvault.operations.changes import realize
from keyvault.operations.context import Context
from keyvault.operations.people import create_identity, vault_identity_path
from keyvault.operations.scaffold import without_present
from keyvault.repo.git import Git
from keyvault.repo.records import encode_recipients
from keyvault.repo.sync import apply
from keyvault.repo.vault import KEYS, README, RECIPIENTS, Draft, Repository, commit_message, record_files

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
        ci: Files of CI that were written.
    """

    folder: Path
    commit: str
    sets: tuple[tuple[str, str], ...]
    recipients: tuple[str, ...]
    identity: Path | None
    ci: tuple[str, ...]


def parse_sets(texts: Sequence[str]) -> dict[str, KeySpec]:
    """
    Return the sets that ``NAME:ALG`` arguments name, or the default two.

    Raises:
        UsageError: A name or an algorithm cannot be, or a name stands twice.
    """
    sets: dict[str, KeySpec] = {}
    for text in texts or [f"{name}:{alg}" for name, alg in DEFAULT_SETS]:
        name, colon, alg = text.partition(":")
        if not colon:
            raise UsageError(f"--set {quoted(text, 100)} is not NAME:ALG", hint="--set id-token:RS256")
        if name in sets:
            raise UsageError(f"--set names {name} twice")
        try:
            sets[check_set_name(name)] = key_spec(alg)
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
        ci: Files of CI, by path in the repository; what stands there already stays as it is.

    Raises:
        UsageError: There is a vault in *folder* already, or the url or a set cannot be.
        GitError: Git refused; nothing is left behind in the repository.
    """
    now = now.replace(microsecond=0)
    if passphrase is not None:
        from keyvault.crypto.identities import check_passphrase

        check_passphrase(passphrase)
    text = policy_text(url, sets, title=title, confirm=confirm, issuer=issuer)
    policy = config.read_policy(text)
    repository, created = _repository(folder, environ, branch)
    context = Context(repository, now, environ)
    made = _committed(repository, config.FILE)
    if made:
        # A run that died after its commit has its files still to write, and no other command finds a vault without.
        with contextlib.suppress(GitError):
            apply(repository, lambda head: None)
    if made or (folder / config.FILE).exists():
        raise UsageError(
            f"there is a vault in {elided(str(folder))} already", hint="keyvault set add NAME --alg ALG adds a set"
        )
    repository.git.branch_and_head()
    _require_user(repository.git, created)
    added = without_present(ci or {}, folder)
    if added and repository.git.prefix:
        raise UsageError(
            f"CI looks for its files at the top of the repository, and {folder} is below",
            hint="make the vault in a repository of its own",
        )
    files: dict[str, bytes | None] = dict(added)
    identity = None
    chosen = {recipient.kid: recipient for recipient in recipients}
    if not chosen:
        recipient, identity = _identity(context, folder, passphrase)
        chosen[recipient.kid] = recipient
        if passphrase:
            # It was written into the work tree under its passphrase: the commit takes it along.
            files[vault_identity_path(recipient.kid)] = identity.read_bytes()
    try:
        state = VaultState(NO_COMMIT, policy, {}, chosen)
        plan = Plan(tuple(change for key_set in state.sets.values() for change in plan_creation(key_set, now).changes))
        keys, events = realize(context, state, plan, chosen)
        files |= {config.FILE: text, RECIPIENTS: encode_recipients(chosen), **record_files(keys)}
        files |= _companions(repository, folder)
        message = commit_message(f"make a vault with {', '.join(sets) or 'no sets'}", events)
        commit = apply(repository, lambda head: Draft(files, message, now)).commit
    except KeyVaultError:
        if not _committed(repository, config.FILE):
            _undo(repository, identity, created)
        raise
    assert commit is not None
    return Made(
        folder,
        commit,
        tuple((name, str(spec)) for name, spec in sets.items()),
        tuple(sorted(chosen)),
        identity,
        tuple(sorted(added)),
    )


def _repository(folder: Path, environ: Mapping[str, str], branch: str) -> tuple[Repository, bool]:
    """Return the repository of *folder*, made where there is none, and whether it was made."""
    if folder.exists() and not folder.is_dir():
        raise UsageError(f"{elided(str(folder))} is not a folder")
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
        return repository, False
    _git_init(folder, environ, branch)
    return Repository.open(folder, environ), True


def _git_init(folder: Path, environ: Mapping[str, str], branch: str) -> None:
    import shutil

    def make(place: Path) -> None:
        # An empty template: hooks and settings of the machine's template folder are nobody's choice here.
        bare = Git(place, place, place, False, False, None, "", environ)
        bare.run("init", "--quiet", "--template=", f"--initial-branch={branch}")

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


def _require_user(git: Git, created: bool) -> None:
    """Fail before anything is written when git does not know who commits."""
    try:
        git.run("var", "GIT_COMMITTER_IDENT")
    except GitError as error:
        if created:
            _remove_empty_repository(git)
        raise GitError(
            "git does not know who you are: user.name and user.email are not set",
            hint='git config --global user.name "Your Name"; git config --global user.email you@example.com',
        ) from error


def _undo(repository: Repository, identity: Path | None, created: bool) -> None:
    """Remove what was made for a vault that could not be committed: an identity that opens nothing, a repository."""
    if identity is not None:
        identity.unlink(missing_ok=True)
        with contextlib.suppress(OSError):  # a folder that holds something stays
            for folder in (identity.parent, identity.parent.parent):
                if folder.is_relative_to(repository.folder):
                    folder.rmdir()
    if created:
        _remove_empty_repository(repository.git)


def _remove_empty_repository(git: Git) -> None:
    import shutil

    shutil.rmtree(git.git_dir, ignore_errors=True)


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
