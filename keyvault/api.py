"""
The library: open a vault, sign with its keys, read its JWK Sets, look ahead.

For programs that sign. A `Vault` reads the newest commit of its repository; a `Signer` notices when that
moves, so a rotation that was pulled is picked up without a restart.
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


@dataclass(frozen=True, slots=True)
class _Signing:
    """
    All that a signature takes, of one commit.

    Attributes:
        commit: The commit.
        policy: The policy of the set.
        signer: Its active key.
        read_at: When the vault was last seen in this state.
    """

    commit: Commit
    policy: SetPolicy
    signer: TokenSigner
    read_at: datetime


@dataclass(frozen=True, slots=True)
class _Outage:
    """A vault that cannot be read: since when its newest commit may name another key, and why."""

    since: datetime
    error: KeyVaultError


class Signer:
    """Signs with the active key of one set, whichever that is. Threads may share it."""

    def __init__(self, context: Context, name: str, refresh: timedelta) -> None:
        self._context, self._name, self._refresh = context, name, refresh.total_seconds()
        state = context.state()
        lag = state.find_set(name).policy.signer_lag
        if refresh > lag:
            raise UsageError(f"refresh of {refresh} is longer than the signer_lag {lag} of {name}")
        # Each is one value and assigned once, so that a thread never sees half of a rotation.
        self._signing = self._load(state)
        self._outage: _Outage | None = None
        self._looked_at = time.monotonic()

    def _load(self, state: VaultState) -> _Signing:
        from keyvault.crypto.tokens import TokenSigner
        from keyvault.operations.keys import open_key

        key_set = state.find_set(self._name)
        if key_set.active is None:
            raise KeyVaultError(f"set {self._name} has no active key", hint="keyvault rotate --due")
        signer = TokenSigner(open_key(self._context, key_set.active))
        logger.info("set %s signs with key %s, as of commit %s", self._name, signer.kid, state.commit)
        return _Signing(state.commit, key_set.policy, signer, _now())

    @property
    def kid(self) -> str:
        """The kid of the key that signs now."""
        return self._current().signer.kid

    def _current(self) -> _Signing:
        """Return what signs now: as the newest commit says, or while that cannot be read as the last one that could."""
        signing, outage = self._signing, self._outage
        if time.monotonic() - self._looked_at < self._refresh:
            return signing
        try:
            head = self._context.repository.head()
            state = None if head == signing.commit else self._context.state(head)
            # A vault that contradicts itself shows when its sets are put together.
            if state is not None:
                _ = state.sets
        except (KeyVaultError, OSError) as error:
            return self._last_good(signing, outage, error)
        signing = replace(signing, read_at=_now()) if state is None else self._load(state)
        if outage is not None:
            logger.info("set %s: the vault can be read again", self._name)
        self._signing, self._outage, self._looked_at = signing, None, time.monotonic()
        return signing

    def _last_good(self, signing: _Signing, outage: _Outage | None, error: KeyVaultError | OSError) -> _Signing:
        """
        Return *signing* while the vault's promise lets the old key sign.

        Raises:
            KeyVaultError: If ``signer_lag`` is over since the vault may have named another key.
        """
        if not isinstance(error, KeyVaultError):
            error = KeyVaultError(f"the repository cannot be read: {error.strerror or type(error).__name__}")
        if outage is None or outage.error.message != error.message:
            since = outage.since if outage else self._rotated_since(signing)
            outage = self._outage = _Outage(since, error)
            until = format_instant(outage.since + signing.policy.signer_lag)
            logger.warning(
                "set %s: the vault cannot be read, key %s goes on signing until %s: %s",
                self._name, signing.signer.kid, until, printable(error.message),
            )  # fmt: skip
        if _now() - outage.since > signing.policy.signer_lag:
            lag = format_duration(signing.policy.signer_lag)
            raise KeyVaultError(
                f"the vault cannot be read since {format_instant(outage.since)}, which is longer than the signer_lag "
                f"{lag} of {self._name}: {error.message}",
                hint=error.hint,
            ) from None
        self._looked_at = time.monotonic()
        return signing

    def _rotated_since(self, signing: _Signing) -> datetime:
        """
        Return the earliest instant at which a commit may have rotated the set.

        That is the date of the first commit that came after the one that is known, as far as git can tell, but not
        before the vault was last read: when a commit was pulled is not known, when it was not there yet is.
        """
        try:
            first = self._context.repository.git.first_commit_after(signing.commit)
        except (KeyVaultError, OSError):
            first = None
        return signing.read_at if first is None else min(max(first, signing.read_at), _now())

    def sign(self, claims: Mapping[str, Any], *, typ: str = "JWT") -> str:
        """
        Return *claims* as a signed token with ``kid`` and ``alg`` in its header.

        ``iss``, ``iat`` and ``exp`` are filled in where they are missing: a token lives 10 minutes, or the set's
        ``token_lifetime`` where that is shorter.

        Raises:
            UsageError: If the claims are not JSON, or ``exp`` lies further ahead than ``token_lifetime``.
            IdentityError: If the set was rotated and no identity opens the new key.
            KeyVaultError: If the vault cannot be read for longer than the set's ``signer_lag``.
        """
        from keyvault.core.claims import complete_claims

        signing = self._current()
        return signing.signer.sign(complete_claims(claims, signing.policy, _now()), typ=typ)
