"""
The context of an operation: the vault, the instant, the identities, and how to reach hosts.

The command line creates one for each command; a program that uses the library, one for each vault.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING

from keyvault.core.state import Commit, VaultState
from keyvault.progress import Progress
from keyvault.repo.vault import IDENTITIES, Repository, find_vault

if TYPE_CHECKING:
    from keyvault.crypto.identities import Keyring
    from keyvault.crypto.identity_file import AskPassphrase
    from keyvault.publish.live import FetchKeyIds


@dataclass
class Context:
    """
    The context of an operation.

    Attributes:
        repository: The vault's repository.
        now: The instant of the command, in UTC and whole seconds.
        environ: The caller's environment.
        identity_file: The file that ``--identity`` names, or None.
        ask: Asks for the passphrase of an identity.
        fetch_key_ids: Fetches the keys of a live JWK Set; None uses `publish.live.fetch_key_ids`.
        server_date: Fetches the clock of a host; None uses `publish.live.server_date`.
    """

    repository: Repository
    now: datetime
    environ: Mapping[str, str] = field(repr=False)
    identity_file: Path | None = None
    ask: AskPassphrase | None = None
    fetch_key_ids: FetchKeyIds | None = None
    server_date: Callable[[str], datetime | None] | None = None
    _keyring: Keyring | None = field(default=None, repr=False)

    @classmethod
    def find(cls, start: Path, now: datetime, environ: Mapping[str, str]) -> Context:
        """
        Return the context of the vault that *start* lies in.

        Raises:
            GitError: If there is no vault, or it is not in a git repository.
        """
        return cls(Repository.open(find_vault(start), environ), now.replace(microsecond=0), environ)

    def state(self, commit: Commit | None = None, *, envelopes: bool = True) -> VaultState:
        """Return the state of the vault at *commit*, by default the newest. Raises the errors of `Repository.read`."""
        return self.repository.read(commit or self.repository.head(), envelopes=envelopes)

    @property
    def progress(self) -> Progress:
        """The callback that long operations report to, git's included."""
        return self.repository.git.progress

    @progress.setter
    def progress(self, progress: Progress) -> None:
        self.repository.git.progress = progress

    @property
    def named_identity(self) -> bool:
        """Whether this command was given an identity or a passphrase."""
        names = ("KEYVAULT_IDENTITY", "KEYVAULT_IDENTITY_FILE", "KEYVAULT_PASSPHRASE")
        return self.identity_file is not None or any(self.environ.get(name) for name in names)

    @property
    def keyring(self) -> Keyring:
        """The identities within reach; each source is read when it is first needed."""
        from keyvault.crypto.identities import Keyring, Source, file_source, folder_source, text_source

        if self._keyring is None:
            sources = []
            if self.identity_file is not None:
                sources.append(file_source(self.identity_file, label="--identity"))
            if text := self.environ.get("KEYVAULT_IDENTITY"):
                sources.append(text_source("KEYVAULT_IDENTITY", text))
            if path := self.environ.get("KEYVAULT_IDENTITY_FILE"):
                sources.append(file_source(Path(path), label="KEYVAULT_IDENTITY_FILE"))
            sources.append(folder_source(identity_folder(self.environ)))
            sources.append(Source(f"{IDENTITIES} of the vault", self._vault_identities))
            passphrase = self.environ.get("KEYVAULT_PASSPHRASE")
            ask = self.ask or (lambda kid: None)
            self._keyring = Keyring(sources, ask=(lambda kid: passphrase) if passphrase else ask)
        return self._keyring

    def _vault_identities(self) -> Iterator[tuple[str, bytes]]:
        commit = self.repository.git.resolve("HEAD")
        if commit is not None:
            yield from self.repository.files(commit, IDENTITIES).items()


def identity_folder(environ: Mapping[str, str]) -> Path:
    """Return the folder of a user's identities, in ``$KEYVAULT_CONFIG_DIR`` or the platform's configuration folder."""
    if folder := environ.get("KEYVAULT_CONFIG_DIR"):
        return Path(folder) / "identities"
    from platformdirs import user_config_path

    return user_config_path("keyvault", appauthor=False) / "identities"
