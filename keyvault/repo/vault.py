"""
A vault in a git repository: the state that a commit holds, and the files that a change writes.

Readers read one commit by its id, never the work tree. What is changed is described as a `Draft`, which
``repo/transaction`` turns into one commit.

Source: docs/format.md for the layout.
"""

from __future__ import annotations

import contextlib
import re
from collections.abc import Callable, Collection, Iterable, Mapping
from dataclasses import dataclass, field, replace
from datetime import datetime
from functools import partial
from pathlib import Path

from keyvault import config
from keyvault.core.compact import drop_ciphertext
from keyvault.core.events import Event
from keyvault.core.keys import Key
from keyvault.core.repair import set_damage
from keyvault.core.state import Commit, Damage, VaultState
from keyvault.core.text import elided, printable, quoted
from keyvault.errors import ConfigError, GitError, KeyVaultError, RecordError
from keyvault.progress import with_progress
from keyvault.repo.git import Git, TreeEntry, describe_mode
from keyvault.repo.history import EventWriters, event_commits
from keyvault.repo.records import decode_key, decode_recipients, encode_key

KEYS = "keys.enc"
RECIPIENTS = f"{KEYS}/recipients.json"
IDENTITIES = f"{KEYS}/identities"
README = f"{KEYS}/README.md"
#: Who may sign commits: in the format of ssh-keygen(1), and as OpenPGP public keys.
SIGNERS_SSH = f"{KEYS}/allowed_signers"
SIGNERS_OPENPGP = f"{KEYS}/allowed_signers.asc"

#: What finds out what is wrong with a vault.
REPAIR = "keyvault repair --dry-run"

#: The modes of plain files in a tree.
_PLAIN = ("100644", "100755")

_RECORD = re.compile(rf"{re.escape(KEYS)}/(?!identities/)[^/]*/[^/]*\.json")


@dataclass(frozen=True)
class Draft:
    """
    A change that is to become one commit.

    Attributes:
        files: New content by path in the vault; None removes the file.
        message: The commit message.
        at: The instant of the change, for the commit's dates.
    """

    files: Mapping[str, bytes | None]
    message: str
    at: datetime


def find_vault(start: Path) -> Path:
    """
    Return the folder of the vault that *start* lies in: the nearest one upwards with a keyvault.toml.

    Raises:
        GitError: There is none.
    """
    try:
        start = start.resolve()
        for folder in (start, *start.parents):
            # The folder of keys tells, too, where keyvault.toml was removed: it is read from the commit.
            if (folder / config.FILE).is_file() or (folder / RECIPIENTS).is_file():
                return folder
        if (start / "HEAD").is_file() and (start / "objects").is_dir():
            return start  # a bare repository
    except (OSError, ValueError) as error:  # a document in place of a path
        why = getattr(error, "strerror", None) or "it has a NUL in it"
        raise GitError(f"{elided(str(start))[:200]} cannot be a folder: {why.lower()}") from None
    raise GitError(
        f"there is no {config.FILE} in {elided(str(start))} or above it",
        hint="keyvault init DIR --url https://keys.example.com",
    )


@dataclass
class Repository:
    """A vault's repository. `folder` is where keyvault.toml lies, or would."""

    git: Git
    _configs: dict[str, bytes] = field(default_factory=dict, repr=False)
    #: The commit that was read last to be written on, with the id of each file of its vault.
    _listed: tuple[Commit, dict[str, str]] | None = field(default=None, repr=False)

    @classmethod
    def open(cls, folder: Path, environ: Mapping[str, str]) -> Repository:
        """
        Return the vault in *folder*.

        Raises:
            GitError: It lies in no git repository.
        """
        return cls(Git.open(folder, environ))

    @property
    def folder(self) -> Path:
        return self.git.folder

    def head(self, revision: str = "HEAD") -> Commit:
        """
        Return the id of the commit that *revision* names at this moment.

        Raises:
            GitError: If there is no such commit, or a branch and a tag have that name.
        """
        if self.git.is_ambiguous(revision):
            raise GitError(
                f"{quoted(revision, 100)} is the name of a branch and of a tag",
                hint=f"heads/{revision} or tags/{revision} says which",
            )
        commit = self.git.resolve(revision)
        if commit is None:
            if revision == "HEAD":
                raise GitError("this repository has no commits yet", hint="keyvault init, or: git commit")
            raise GitError(f"there is no commit {quoted(revision, 100)} here", hint="git log --oneline")
        return commit

    def read(self, commit: Commit, *, envelopes: bool = True) -> VaultState:
        """
        Return the state of the vault at *commit*.

        Args:
            commit: The commit.
            envelopes: Whether private keys are to be opened or records to be written. Else keys keep no more of their
                envelopes than to whom they are sealed.

        Raises:
            GitError: If the commit has no keyvault.toml.
            RecordError: If a file of the vault is malformed, or does not belong there.
            ConfigError: If keyvault.toml is not a policy.
        """
        return self._read(commit, envelopes=envelopes, damage=None)

    def look(self, commit: Commit, *, envelopes: bool = True) -> VaultState:
        """
        Return the state of the vault at *commit* as far as it can be read, with its damage.

        For commands that must work on a vault which is damaged elsewhere. In the place of a keyvault.toml or a list of
        recipients that cannot be read stands the last version of the history that can.

        Args:
            commit: The commit.
            envelopes: As for `read`.

        Raises:
            GitError: If the commit has no keyvault.toml.
            ConfigError: If no version of keyvault.toml is a policy.
        """
        damage: list[Damage] = []
        state = self._read(commit, envelopes=envelopes, damage=damage)
        damage += set_damage(state)
        return replace(state, damage=tuple(damage))

    def _read(self, commit: Commit, *, envelopes: bool, damage: list[Damage] | None) -> VaultState:
        """Read *commit*; what cannot be read is added to *damage*, or raised if that is None."""

        def hurt(error: KeyVaultError, code: str, path: str) -> None:
            if damage is None:
                own = f"{error.hint}; or: " if error.hint and isinstance(error, ConfigError) else ""
                error.hint = own + REPAIR
                raise error
            folder = path.removeprefix(f"{KEYS}/").rpartition("/")[0] if is_record_path(path) else None
            damage.append(Damage(code, error.message, path, folder))

        entries = self._entries(commit, config.FILE, KEYS)
        if config.FILE not in entries:
            if damage is None or not any(map(is_record_path, entries)):
                raise GitError(
                    f"commit {commit[:12]} has no {config.FILE}: it is no vault",
                    hint=f"commit {config.FILE}; if it was removed: keyvault repair",
                )
            damage.append(Damage("policy-missing", f"commit {commit[:12]} has no {config.FILE}", config.FILE))
        if envelopes:
            self._listed = commit, {path: entry.oid for path, entry in entries.items()}
        wanted = []
        for path, entry in entries.items():
            try:
                if entry.mode not in _PLAIN:
                    hurt(_not_plain(entry), "unexpected-mode", path)
                elif path == config.FILE or _is_record(path):
                    wanted.append(entry)
            except RecordError as error:
                hurt(error, "unexpected-path", path)
        policy, recipients = None, None
        keys: dict[str, Key] = {}
        folded: dict[str, str] = {}
        contents = with_progress(
            self.git.blobs(entry.oid for entry in wanted), self.git.progress, "reading keys", len(wanted)
        )
        for entry, data in zip(wanted, contents, strict=True):
            try:
                if entry.path == config.FILE:
                    self._configs = {commit: data}
                    policy = config.read_policy(data)
                elif entry.path == RECIPIENTS:
                    recipients = decode_recipients(data, path=entry.path)
                else:
                    key = decode_key(data, path=entry.path)
                    other = folded.setdefault(key.kid.casefold(), entry.path)
                    if other != entry.path:
                        raise RecordError(f"{entry.path}: the kid is in use already, in {other}")
                    if not envelopes:
                        drop_ciphertext(key)
                    keys[key.kid] = key
            except ConfigError as error:
                hurt(error, "policy-malformed", entry.path)
            except RecordError as error:
                hurt(error, "recipients-malformed" if entry.path == RECIPIENTS else "record-malformed", entry.path)
        if policy is None:
            policy = config.read_policy(self.last_readable(commit, config.FILE, config.read_policy) or b"")
        if recipients is None and damage is not None:
            older = self.last_readable(commit, RECIPIENTS, partial(decode_recipients, path=RECIPIENTS))
            recipients = decode_recipients(older, path=RECIPIENTS) if older else None
        return VaultState(commit, policy, keys, recipients or {})

    def last_readable(self, commit: Commit, path: str, decode: Callable[[bytes], object]) -> bytes | None:
        """Return the newest version of the file *path* up to *commit* that *decode* takes, or None."""
        for data in reversed(self.versions(commit, path)):
            with contextlib.suppress(ConfigError, RecordError):
                decode(data)
                return data
        return None

    def versions(self, commit: Commit, path: str, *, first_parent: bool = False) -> list[bytes]:
        """
        Return every version that commits up to *commit* wrote of the file *path*, oldest first.

        With *first_parent* these are the versions that the branch itself had, without those of what was merged into it.
        """
        log = self.git.log_raw(commit, path, first_parent=first_parent)
        changes = [change for _, change in log if change.path == path]
        return list(self.git.blobs(str(change.after) for change in changes if change.after and change.mode in _PLAIN))

    def _entries(self, commit: Commit, *paths: str) -> dict[str, TreeEntry]:
        return {entry.path: entry for entry in self.git.tree(commit, *paths)}

    def files(self, commit: Commit, *paths: str) -> dict[str, bytes]:
        """
        Return the files of *commit* at or below *paths*, by path.

        Raises:
            RecordError: If one of them is a symbolic link or a submodule.
        """
        entries = list(self._entries(commit, *paths).values())
        for entry in entries:
            if entry.mode not in _PLAIN:
                raise _not_plain(entry)
        contents = self.git.blobs(entry.oid for entry in entries)
        return {entry.path: data for entry, data in zip(entries, contents, strict=True)}

    def ids(self, commit: Commit, paths: Iterable[str]) -> dict[str, str]:
        """Return the id of each of *paths* that *commit* has; git is not asked for what was just read."""
        wanted = list(paths)
        listed = self._listed[1] if self._listed and self._listed[0] == commit else None
        if listed is not None and all(is_vault_path(path) for path in wanted):
            return {path: listed[path] for path in wanted if path in listed}
        return {entry.path: entry.oid for entry in self.git.tree(commit, *wanted)}

    def uncommitted_config(self, commit: Commit) -> bool:
        """Whether the keyvault.toml in the work tree is not the one of *commit*."""
        if self.git.root is None:
            return False
        try:
            data = (self.folder / config.FILE).read_bytes()
        except OSError:
            return False
        try:
            committed = self._configs.get(commit) or self.files(commit, config.FILE).get(config.FILE)
        except RecordError:
            return False
        return data.replace(b"\r\n", b"\n") != committed

    def carry_config(self, old: str, new: str) -> None:
        """Take note that commit *new* has the keyvault.toml that *old* has, so that it is not read once more."""
        if old in self._configs:
            self._configs = {new: self._configs[old]}

    def event_commits(self, commit: Commit, sets: Collection[str] | None = None) -> dict[str, EventWriters]:
        """
        Return which commit wrote each event, by the path of the record.

        Args:
            commit: The newest commit that is looked at.
            sets: Only keys of these; None for all.

        Raises:
            GitError: History was cut off (a shallow clone).
        """
        return event_commits(self.git, commit, [KEYS] if sets is None else [f"{KEYS}/{name}" for name in sorted(sets)])


def _not_plain(entry: TreeEntry) -> RecordError:
    return RecordError(
        f"{printable(entry.path)} is {describe_mode(entry.mode)}: a vault holds plain files only", hint=REPAIR
    )


def is_vault_path(path: str) -> bool:
    """Whether *path*, below the folder of the vault, is a place of the vault's."""
    return path in (config.FILE, KEYS) or path.startswith(KEYS + "/")


def is_record_path(path: str) -> bool:
    """Whether *path* is where a key record may lie."""
    return _RECORD.fullmatch(path) is not None


def _is_record(path: str) -> bool:
    """Whether *path*, a file of ``keys.enc``, is read; what does not belong there is refused."""
    if path in (README, SIGNERS_SSH, SIGNERS_OPENPGP) or path.startswith(IDENTITIES + "/"):
        return False
    if path != RECIPIENTS and not is_record_path(path):
        raise RecordError(
            f"{quoted(path, 200)} does not belong in a vault",
            hint=f"{KEYS} holds {RECIPIENTS}, identities, and one folder a set; git rm it",
        )
    return True


def record_files(keys: Iterable[Key]) -> dict[str, bytes | None]:
    """Return the files that hold *keys*."""
    return {key.path: encode_key(key) for key in keys}


def commit_message(subject: str, events: Iterable[tuple[Key, Event]] = (), *, body: str | None = None) -> str:
    """
    Return a commit message: a subject that a person can read, and one trailer an event.

    Args:
        subject: One line.
        events: The new events, with their keys.
        body: Reasons that somebody gave.
    """
    parts = [printable(subject)[:200]]
    if body:
        parts.append("\n".join(printable(line) for line in body.splitlines()))
    trailers = [
        f"Keyvault-Event: {event.event} {key.set}/{key.kid}"
        + (f" {event.reason}" if event.reason else "")
        + (" (forced)" if event.forced else "")
        for key, event in events
    ]
    if trailers:
        parts.append("\n".join(trailers))
    return "\n\n".join(parts) + "\n"
