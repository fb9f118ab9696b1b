"""
Read a vault from a commit of a git repository, and describe a change to it.

Readers read one commit by its id, never the working tree. A `Draft` describes a change; ``repo/transaction`` turns it
into one commit.

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
from keyvault.core.repair import damage_of_sets
from keyvault.core.state import Commit, Damage, VaultState
from keyvault.core.text import elided, printable, quoted
from keyvault.errors import ConfigError, GitError, KeyVaultError, RecordError
from keyvault.progress import with_progress
from keyvault.repo.git import Git, Tree, TreeEntry, as_commit, describe_mode
from keyvault.repo.history import EventWriters, event_commits
from keyvault.repo.records import decode_key, decode_recipients, encode_key

KEYS = "keys.enc"
RECIPIENTS = f"{KEYS}/recipients.json"
IDENTITIES = f"{KEYS}/identities"
README = f"{KEYS}/README.md"
#: Who may sign commits: in the format of ssh-keygen(1), and as OpenPGP public keys.
SIGNERS_SSH = f"{KEYS}/allowed_signers"
SIGNERS_OPENPGP = f"{KEYS}/allowed_signers.asc"

#: The command that reports damage of a vault.
_REPAIR_HINT = "keyvault repair --dry-run"

#: The modes of the files that are read: plain files in a tree.
READABLE_MODES = ("100644", "100755")

_RECORD = re.compile(rf"{re.escape(KEYS)}/(?!identities/)[^/]*/[^/]*\.json")


@dataclass(frozen=True)
class Draft:
    """
    A change that will become one commit.

    Attributes:
        files: New content by path in the vault; None removes the file.
        message: The commit message.
        at: The instant of the change, used as the date of the commit.
    """

    files: Mapping[str, bytes | None]
    message: str
    at: datetime


def find_vault(start: Path) -> Path:
    """
    Return the folder of the vault that contains *start*: the nearest of *start* and its parents with a keyvault.toml.

    Raises:
        GitError: If there is none.
    """
    try:
        start = start.resolve()
        for folder in (start, *start.parents):
            # Without keyvault.toml, recipients.json still marks a vault: the policy is read from the commit.
            if (folder / config.FILE).is_file() or (folder / RECIPIENTS).is_file():
                return folder
        if (start / "HEAD").is_file() and (start / "objects").is_dir():
            return start  # a bare repository
    except (OSError, ValueError) as error:  # such as a document in place of a path
        reason = getattr(error, "strerror", None) or "it contains a NUL"
        raise GitError(f"invalid folder {elided(str(start))[:200]}: {reason.lower()}", code="path-invalid") from None
    raise GitError(
        f"there is no {config.FILE} in {elided(str(start))} or above it",
        code="vault-missing",
        hint="keyvault init DIR --url https://keys.example.com",
    )


@dataclass
class Repository:
    """The repository of a vault. `folder` is the folder of keyvault.toml, even if that file is missing."""

    git: Git
    #: The keyvault.toml of the commit that was read last.
    _configs: dict[str, bytes] = field(default_factory=dict, repr=False)
    #: The commit that was last read with its envelopes, and the id of each file of its vault.
    _listed: tuple[Commit, dict[str, str]] | None = field(default=None, repr=False)

    @classmethod
    def open(cls, folder: Path, environ: Mapping[str, str]) -> Repository:
        """
        Return the vault in *folder*.

        Raises:
            GitError: If it is not in a git repository.
        """
        return cls(Git.open(folder, environ))

    @property
    def folder(self) -> Path:
        return self.git.folder

    def head(self, revision: str = "HEAD") -> Commit:
        """
        Return the id of the commit that *revision* names now.

        Raises:
            GitError: If there is no such commit, or a branch and a tag have that name.
        """
        if self.git.is_ambiguous(revision):
            raise GitError(
                f"{quoted(revision, 100)} is the name of a branch and of a tag",
                code="revision-ambiguous",
                hint=f"use heads/{revision} or tags/{revision}",
            )
        commit = self.git.resolve(revision)
        if commit is None:
            if revision == "HEAD":
                raise GitError(
                    "this repository has no commits yet",
                    code="repository-empty",
                    hint="keyvault init, or: git commit",
                )
            raise GitError(
                f"commit {quoted(revision, 100)} not found", code="revision-unknown", hint="git log --oneline"
            )
        return commit

    def read(self, commit: Commit, *, envelopes: bool = True) -> VaultState:
        """
        Return the state of the vault at *commit*.

        Args:
            commit: The commit.
            envelopes: Whether to keep sealed private keys, for opening keys and writing records. Otherwise keys keep
                only the recipients of their envelopes.

        Raises:
            GitError: If the commit has no keyvault.toml.
            RecordError: If a file of the vault is malformed, or does not belong there.
            ConfigError: If keyvault.toml is malformed.
        """
        return self._read(commit, commit, envelopes=envelopes, damage=None)

    def read_with_damage(self, commit: Commit, *, envelopes: bool = True) -> VaultState:
        """
        Return the readable state of the vault at *commit*, and its damage.

        For commands that must work although other parts of the vault are damaged. If keyvault.toml or the list of
        recipients is malformed, its last readable version in the history takes its place.

        Args:
            commit: The commit.
            envelopes: As for `read`.

        Raises:
            GitError: If the commit has neither keyvault.toml nor records.
            ConfigError: If every version of keyvault.toml is malformed.
        """
        return self._read_with_damage(commit, commit, envelopes=envelopes)

    def read_tree(self, tree: Tree, history: Commit | None) -> VaultState:
        """
        Return the readable state of the vault in *tree*, which belongs to no commit yet, and its damage.

        Args:
            tree: The tree; the state has its id in place of a commit's.
            history: The commit whose history has older versions of damaged files; None if there are none.

        Raises:
            GitError: If the tree has neither keyvault.toml nor records.
            ConfigError: If every version of keyvault.toml is malformed.
        """
        return self._read_with_damage(as_commit(tree), history, envelopes=False)

    def _read_with_damage(self, commit: Commit, history: Commit | None, *, envelopes: bool) -> VaultState:
        damage: list[Damage] = []
        state = self._read(commit, history, envelopes=envelopes, damage=damage)
        damage += damage_of_sets(state)
        return replace(state, damage=tuple(damage))

    def _read(
        self, commit: Commit, history: Commit | None, *, envelopes: bool, damage: list[Damage] | None
    ) -> VaultState:
        """
        Read *commit*; append the damage that is found to *damage*, or raise it as an error if that is None.

        A damaged keyvault.toml or list of recipients is replaced by its last readable version in *history*; other
        damaged files are left out.
        """

        def report(error: KeyVaultError, code: str, path: str) -> None:
            if damage is None:
                own_hint = f"{error.hint}; or: " if error.hint and isinstance(error, ConfigError) else ""
                error.hint = own_hint + _REPAIR_HINT
                raise error
            folder = path.removeprefix(f"{KEYS}/").rpartition("/")[0] if is_record_path(path) else None
            damage.append(Damage(code, error.message, path, folder))

        entries = self._entries(commit, config.FILE, KEYS)
        if config.FILE not in entries:
            if damage is None or not any(map(is_record_path, entries)):
                raise GitError(
                    f"commit {commit[:12]} has no {config.FILE}, so it is not a vault",
                    code="policy-missing",
                    hint=f"commit {config.FILE}; if it was removed: keyvault repair",
                )
            damage.append(Damage("policy-missing", f"commit {commit[:12]} has no {config.FILE}", config.FILE))
        if envelopes:
            self._listed = commit, {path: entry.oid for path, entry in entries.items()}
        wanted = []
        for path, entry in entries.items():
            if entry.mode not in READABLE_MODES:
                report(_not_plain(entry), "unexpected-mode", path)
                continue
            try:
                if path == config.FILE or _is_record(path):
                    wanted.append(entry)
            except RecordError as error:
                report(error, "unexpected-path", path)
        policy, recipients = None, None
        keys: dict[str, Key] = {}
        path_of_kid: dict[str, str] = {}  # by the casefolded kid: on some file systems, names that differ in case clash
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
                    other = path_of_kid.setdefault(key.kid.casefold(), entry.path)
                    if other != entry.path:
                        raise RecordError(f"{entry.path}: the kid is already in use in {other}", code="kid-in-use")
                    if not envelopes:
                        drop_ciphertext(key)
                    keys[key.kid] = key
            except ConfigError as error:
                report(error, "policy-malformed", entry.path)
            except RecordError as error:
                report(error, "recipients-malformed" if entry.path == RECIPIENTS else "record-malformed", entry.path)
        if policy is None:
            older = self.last_readable(history, config.FILE, config.read_policy) if history else None
            policy = config.read_policy(older or b"")
        if recipients is None and damage is not None and history:
            older = self.last_readable(history, RECIPIENTS, partial(decode_recipients, path=RECIPIENTS))
            recipients = decode_recipients(older, path=RECIPIENTS) if older else None
        return VaultState(commit, policy, keys, recipients or {})

    def last_readable(self, commit: Commit, path: str, decode: Callable[[bytes], object]) -> bytes | None:
        """Return the newest version of the file *path* up to *commit* that *decode* accepts, or None."""
        for data in reversed(self.versions(commit, path)):
            with contextlib.suppress(ConfigError, RecordError):
                decode(data)
                return data
        return None

    def versions(self, commit: Commit, path: str, *, first_parent: bool = False) -> list[bytes]:
        """
        Return every version of the file *path* that commits up to *commit* wrote, oldest first.

        With *first_parent*, return only the versions on the branch itself, without those of merged branches.
        """
        log = self.git.log_raw(commit, path, first_parent=first_parent)
        changes = [change for _, change in log if change.path == path]
        return list(
            self.git.blobs(str(change.after) for change in changes if change.after and change.mode in READABLE_MODES)
        )

    def _entries(self, commit: Commit, *paths: str) -> dict[str, TreeEntry]:
        return {entry.path: entry for entry in self.git.tree(commit, *paths)}

    def files(self, commit: Commit, *paths: str) -> dict[str, bytes]:
        """
        Return the files of *commit* at or below *paths*, by path.

        Raises:
            RecordError: If a file is a symbolic link or a submodule.
        """
        entries = list(self._entries(commit, *paths).values())
        for entry in entries:
            if entry.mode not in READABLE_MODES:
                raise _not_plain(entry)
        contents = self.git.blobs(entry.oid for entry in entries)
        return {entry.path: data for entry, data in zip(entries, contents, strict=True)}

    def ids(self, commit: Commit, paths: Iterable[str]) -> dict[str, str]:
        """Return the id of each of *paths* that *commit* has; uses the listing of `read` if it was for *commit*."""
        wanted = list(paths)
        listed = self._listed[1] if self._listed and self._listed[0] == commit else None
        if listed is not None and all(is_vault_path(path) for path in wanted):
            return {path: listed[path] for path in wanted if path in listed}
        return {entry.path: entry.oid for entry in self.git.tree(commit, *wanted)}

    def uncommitted_config(self, commit: Commit) -> bool:
        """Whether the keyvault.toml in the working tree differs from that of *commit*."""
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
        """Reuse the keyvault.toml of commit *old*, if it was read, for commit *new*, which has the same one."""
        if old in self._configs:
            self._configs = {new: self._configs[old]}

    def event_commits(self, commit: Commit, sets: Collection[str] | None = None) -> dict[str, EventWriters]:
        """
        Return the commit that wrote each event, by the path of the record.

        Args:
            commit: The newest commit to read.
            sets: Names of sets whose keys to include; None for all.

        Raises:
            GitError: If the clone is shallow.
        """
        return event_commits(self.git, commit, [KEYS] if sets is None else [f"{KEYS}/{name}" for name in sorted(sets)])


def _not_plain(entry: TreeEntry) -> RecordError:
    return RecordError(
        f"{printable(entry.path)} is {describe_mode(entry.mode)}; a vault must contain only plain files",
        code="unexpected-mode",
        hint=_REPAIR_HINT,
    )


def is_vault_path(path: str) -> bool:
    """Whether *path*, relative to the folder of the vault, is keyvault.toml or in ``keys.enc``."""
    return path in (config.FILE, KEYS) or path.startswith(KEYS + "/")


def is_record_path(path: str) -> bool:
    """Whether *path* is a path of a key record."""
    return _RECORD.fullmatch(path) is not None


def _is_record(path: str) -> bool:
    """Whether to read *path*, a file of ``keys.enc``; RecordError if it does not belong there."""
    if path in (README, SIGNERS_SSH, SIGNERS_OPENPGP) or path.startswith(IDENTITIES + "/"):
        return False
    if path != RECIPIENTS and not is_record_path(path):
        raise RecordError(
            f"{quoted(path, 200)} does not belong in a vault",
            code="unexpected-path",
            hint=f"{KEYS} contains {RECIPIENTS}, identities, and a folder for each set; git rm it",
        )
    return True


def record_files(keys: Iterable[Key]) -> dict[str, bytes | None]:
    """Return the files that hold *keys*."""
    return {key.path: encode_key(key) for key in keys}


def commit_message(subject: str, events: Iterable[tuple[Key, Event]] = (), *, body: str | None = None) -> str:
    """
    Return a commit message: a readable subject, and a trailer for each event.

    Args:
        subject: One line.
        events: The new events, with their keys.
        body: The user's reasons.
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
