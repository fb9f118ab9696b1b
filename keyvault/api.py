"""
The library: open a vault, sign with its keys, read its JWK Sets, look ahead.

For programs that sign. A `Vault` reads the newest commit of its repository; a `Signer` notices when that
moves, so a rotation that was pulled is picked up without a restart.
"""

from __future__ import annotations

import os
import time
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Any

from keyvault.core.keys import VaultState
from keyvault.core.planning import Transition, outlook
from keyvault.errors import KeyVaultError, UsageError
from keyvault.operations.context import Context

if TYPE_CHECKING:
    from keyvault.crypto.tokens import TokenSigner


def _now() -> datetime:
    return datetime.now(UTC).replace(microsecond=0)


class Vault:
    """
    A vault in a git repository.

    >>> vault = Vault.open(".")                                        # doctest: +SKIP
    >>> vault.signer("id-token").sign({"sub": "alice", "aud": "app"})  # doctest: +SKIP
    """

    def __init__(self, context: Context) -> None:
        self._context = context

    @classmethod
    def open(
        cls,
        path: str | os.PathLike[str] = ".",
        *,
        identity: str | os.PathLike[str] | None = None,
        environ: Mapping[str, str] | None = None,
    ) -> Vault:
        """
        Open the vault that *path* lies in.

        Args:
            path: A folder in the vault, or a bare repository.
            identity: An identity file; the usual places are looked at otherwise.
            environ: Environment variables to use instead of the process's own.

        Raises:
            GitError: There is no vault.
        """
        context = Context.find(Path(path), _now(), os.environ if environ is None else environ)
        context.identity_file = None if identity is None else Path(identity)
        return cls(context)

    @property
    def commit(self) -> str:
        """The id of the newest commit."""
        return self._context.repository.head()

    @property
    def state(self) -> VaultState:
        """All that the newest commit says; errors as `Repository.read`."""
        return self._context.state()

    def jwks(self, issuer: str | None = None, *, at: str | None = None) -> dict[str, Any]:
        """
        Return a JWK Set as it is published.

        Args:
            issuer: Whose; default is the issuer of the site. A final slash that the issuer lacks is ignored.
            at: Its place below the site's url, such as ``/clients/acme``, where the issuer has several.

        Raises:
            UsageError: If there is no such issuer or place, or several places are meant.
        """
        import msgspec

        state = self.state
        place = state.find_place(issuer, at)
        return {"keys": [msgspec.to_builtins(key.public) for key in state.keys_at(place)]}

    def plan(self, *, until: timedelta = timedelta(days=365), sets: Sequence[str] | None = None) -> list[Transition]:
        """
        Return the transitions that policy will make within *until*, oldest first.

        Raises:
            UsageError: There is no such set.
        """
        state, now = self.state, _now()
        names = None if sets is None else [state.find_set(name).name for name in sets]
        return outlook(state, now, until=now + until, names=names)

    def signer(self, name: str, *, refresh: timedelta = timedelta(minutes=1)) -> Signer:
        """
        Return a signer for the active key of set *name*.

        Args:
            name: The set.
            refresh: How often to look whether the repository moved; keep it below the set's ``signer_lag``.

        Raises:
            UsageError: There is no such set, or *refresh* is longer than its ``signer_lag``.
            IdentityError: No identity opens the key.
        """
        return Signer(self._context, name, refresh)


class Signer:
    """Signs with the active key of one set, whichever that is. Threads may share it."""

    def __init__(self, context: Context, name: str, refresh: timedelta) -> None:
        self._context, self._name, self._refresh = context, name, refresh.total_seconds()
        lag = context.state().find_set(name).policy.signer_lag
        if refresh > lag:
            raise UsageError(f"refresh of {refresh} is longer than the signer_lag {lag} of {name}")
        self._commit, self._signer = self._load()
        self._looked_at = time.monotonic()

    def _load(self) -> tuple[str, TokenSigner]:
        from keyvault.crypto.tokens import TokenSigner
        from keyvault.operations.keys import open_key

        state = self._context.state()
        key_set = state.find_set(self._name)
        if key_set.active is None:
            raise KeyVaultError(f"set {self._name} has no active key", hint="keyvault rotate --due")
        self._issuer = key_set.policy.issuer
        return state.commit, TokenSigner(open_key(self._context, key_set.active))

    @property
    def kid(self) -> str:
        """The kid of the key that signs now."""
        self._follow()
        return self._signer.kid

    def _follow(self) -> None:
        if time.monotonic() - self._looked_at < self._refresh:
            return
        if self._context.repository.head() != self._commit:
            self._commit, self._signer = self._load()
        self._looked_at = time.monotonic()

    def sign(self, claims: Mapping[str, Any], *, typ: str = "JWT") -> str:
        """
        Return *claims* as a signed token with ``kid`` and ``alg`` in its header.

        ``iss`` and ``iat`` are filled in where they are missing. ``exp`` is yours to set, within the set's
        ``token_lifetime``.

        Raises:
            UsageError: The claims are not JSON.
            IdentityError: The set was rotated and no identity opens the new key.
        """
        self._follow()
        return self._signer.sign({"iss": self._issuer, "iat": int(_now().timestamp()), **claims}, typ=typ)
