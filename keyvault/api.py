"""
The library for programs that sign: open a vault, sign with its keys, read its JWK Sets, list coming transitions.

A `Vault` reads the newest commit of its repository. A `Signer` notices new commits, so it follows a rotation that
was pulled without a restart.

Signing needs no third-party packages but cryptography, jwcrypto, msgspec and platformdirs.
"""

from __future__ import annotations

import os
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Any

from keyvault.core.outlook import Transition, outlook
from keyvault.core.state import VaultState
from keyvault.core.text import format_duration, format_instant, printable
from keyvault.errors import KeyVaultError, UsageError
from keyvault.logs import get_logger
from keyvault.operations.context import Context

if TYPE_CHECKING:
    from keyvault.core.policy import SetPolicy
    from keyvault.core.state import Commit
    from keyvault.crypto.tokens import TokenSigner

logger = get_logger(__name__)


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
            identity: An identity file; None searches the usual places.
            environ: Environment variables to use instead of the process's own.

        Raises:
            GitError: If there is no vault.
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
        """The state of the vault at the newest commit. Raises the errors of `Repository.read`."""
        return self._context.state()

    def jwks(self, issuer: str | None = None, *, at: str | None = None) -> dict[str, Any]:
        """
        Return a JWK Set as it is published.

        Args:
            issuer: Its issuer; default is the issuer of the site. A final slash that the issuer lacks is ignored.
            at: Its place below the site's url, such as ``/clients/acme``, if the issuer has several.

        Raises:
            UsageError: If there is no such issuer or place, or the issuer has several places and *at* is None.
        """
        import msgspec

        state = self.state
        place = state.find_place(issuer, at)
        return {"keys": [msgspec.to_builtins(key.public) for key in state.keys_at(place)]}

    def plan(self, *, until: timedelta = timedelta(days=365), sets: Sequence[str] | None = None) -> list[Transition]:
        """
        Return the transitions that policy will make within *until*, oldest first.

        Raises:
            UsageError: If there is no such set.
        """
        state, now = self.state, _now()
        names = None if sets is None else [state.find_set(name).name for name in sets]
        return outlook(state, now, until=now + until, names=names)

    def signer(self, name: str, *, refresh: timedelta = timedelta(minutes=1)) -> Signer:
        """
        Return a signer for the active key of set *name*.

        Args:
            name: The set.
            refresh: How often to check for a new commit; at most the set's ``signer_lag``.

        Raises:
            UsageError: If there is no such set, or *refresh* is longer than its ``signer_lag``.
            IdentityError: If no identity opens the key.
        """
        return Signer(self._context, name, refresh)


@dataclass(frozen=True, slots=True)
class _ActiveKey:
    """
    The active key of the set at a commit.

    Attributes:
        commit: The commit.
        policy: The policy of the set.
        signer: Signs with the key.
        read_at: When the vault was last read in this state.
    """

    commit: Commit
    policy: SetPolicy
    signer: TokenSigner
    read_at: datetime


@dataclass(frozen=True, slots=True)
class _Outage:
    """
    A vault that cannot be read.

    Attributes:
        since: The earliest instant at which its newest commit may have rotated the set.
        error: Why the vault cannot be read.
    """

    since: datetime
    error: KeyVaultError


class Signer:
    """Signs with the active key of a set, also after a rotation. Threads may share it."""

    def __init__(self, context: Context, name: str, refresh: timedelta) -> None:
        self._context, self._name, self._refresh = context, name, refresh.total_seconds()
        state = context.state()
        lag = state.find_set(name).policy.signer_lag
        if refresh > lag:
            raise UsageError(
                f"refresh of {format_duration(refresh)} is longer than the signer_lag {format_duration(lag)} of {name}",
                code="refresh-too-long",
            )
        # Both attributes are replaced as a whole, so a thread never sees half of a rotation.
        self._active = self._load(state)
        self._outage: _Outage | None = None
        self._checked_at = time.monotonic()

    def _load(self, state: VaultState) -> _ActiveKey:
        from keyvault.crypto.tokens import TokenSigner
        from keyvault.operations.keys import open_key

        key_set = state.find_set(self._name)
        if key_set.active is None:
            raise KeyVaultError(
                f"set {self._name} has no active key", code="active-key-missing", hint="keyvault rotate --due"
            )
        signer = TokenSigner(open_key(self._context, key_set.active))
        logger.info("set %s signs with key %s, as of commit %s", self._name, signer.kid, state.commit)
        return _ActiveKey(state.commit, key_set.policy, signer, _now())

    @property
    def kid(self) -> str:
        """The kid of the key that signs now."""
        return self._current().signer.kid

    def _current(self) -> _ActiveKey:
        """Return the active key at the newest commit; if that cannot be read, the last one that was."""
        active, outage = self._active, self._outage
        if time.monotonic() - self._checked_at < self._refresh:
            return active
        try:
            head = self._context.repository.head()
            state = None if head == active.commit else self._context.state(head)
            if state is not None:
                _ = state.sets  # raises if the vault contradicts itself
        except (KeyVaultError, OSError) as error:
            return self._last_good(active, outage, error)
        active = replace(active, read_at=_now()) if state is None else self._load(state)
        if outage is not None:
            logger.info("set %s: the vault can be read again", self._name)
        self._active, self._outage, self._checked_at = active, None, time.monotonic()
        return active

    def _last_good(self, active: _ActiveKey, outage: _Outage | None, error: KeyVaultError | OSError) -> _ActiveKey:
        """
        Return *active* as long as ``signer_lag`` lets an old key sign.

        Raises:
            KeyVaultError: If ``signer_lag`` has passed since the vault may have rotated the set.
        """
        if not isinstance(error, KeyVaultError):
            reason = error.strerror or type(error).__name__
            error = KeyVaultError(f"the repository cannot be read: {reason}", code="vault-unreadable")
        if outage is None or outage.error.message != error.message:
            since = outage.since if outage else self._earliest_rotation(active)
            outage = self._outage = _Outage(since, error)
            until = format_instant(outage.since + active.policy.signer_lag)
            logger.warning(
                "set %s: the vault cannot be read, key %s goes on signing until %s: %s",
                self._name, active.signer.kid, until, printable(error.message),
            )  # fmt: skip
        if _now() - outage.since > active.policy.signer_lag:
            lag = format_duration(active.policy.signer_lag)
            raise KeyVaultError(
                f"the vault has been unreadable since {format_instant(outage.since)}, longer than the signer_lag {lag} "
                f"of {self._name}: {error.message}",
                code="vault-unreadable",
                hint=error.hint,
            ) from None
        self._checked_at = time.monotonic()
        return active

    def _earliest_rotation(self, active: _ActiveKey) -> datetime:
        """
        Return the earliest instant at which a commit may have rotated the set.

        That is the date of the first commit after the known one, as far as git can tell, but not before the vault
        was last read: nobody knows when a commit was pulled, but at the last read it was not there yet.
        """
        try:
            first = self._context.repository.git.date_of_first_commit_after(active.commit)
        except (KeyVaultError, OSError):
            first = None
        return active.read_at if first is None else min(max(first, active.read_at), _now())

    def sign(self, claims: Mapping[str, Any], *, typ: str = "JWT") -> str:
        """
        Return *claims* as a signed token with ``kid`` and ``alg`` in its header.

        ``iss``, ``iat`` and ``exp`` are filled in if they are missing: a token lives 10 minutes, or the set's
        ``token_lifetime`` if that is shorter.

        Raises:
            UsageError: If the claims are not JSON, or ``exp`` lies further ahead than ``token_lifetime``.
            IdentityError: If the set was rotated and no identity opens the new key.
            KeyVaultError: If the vault cannot be read for longer than the set's ``signer_lag``.
        """
        from keyvault.core.claims import complete_claims

        active = self._current()
        return active.signer.sign(complete_claims(claims, active.policy, _now()), typ=typ)
