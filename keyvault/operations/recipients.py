"""
Recipients, to whom private keys are sealed, and identities, which open them.

Each change of the list re-seals every private key in the same commit.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path

import msgspec

from keyvault.core.keys import Key, Recipient, sealed_to
from keyvault.core.plan import Amend, Plan
from keyvault.core.planning import plan_replacement
from keyvault.core.state import KeySet, VaultState
from keyvault.core.text import elided, nearest, quoted
from keyvault.errors import EnvelopeError, IdentityError, JWKError, UsageError
from keyvault.operations.changes import Outcome, Proposal, carry_out
from keyvault.operations.context import Context, identity_folder
from keyvault.operations.keys import open_sealed
from keyvault.repo.records import encode_key, encode_recipients
from keyvault.repo.vault import IDENTITIES, RECIPIENTS


@dataclass(frozen=True)
class ReadableKeys:
    """The live keys that a recipient can open, by set: their kids."""

    by_set: Mapping[str, tuple[str, ...]]


def read_recipient(path: Path, *, kid: str | None = None) -> Recipient:
    """
    Return the recipient in *path*: a public JWK, or the private one of an identity.

    Raises:
        UsageError: If the file cannot be read.
        JWKError: If it is not a JWK that keys can be sealed to.
    """
    from keyvault.crypto.identities import recipient_of
    from keyvault.crypto.identity_file import read_identity_file

    try:
        data = read_identity_file(path)
    except IdentityError as error:
        raise UsageError(error.message, code=error.code) from None
    try:
        jwk = msgspec.json.decode(data)
    except (msgspec.MsgspecError, RecursionError, UnicodeDecodeError):
        raise JWKError(f"{path} is not a JWK: not JSON", code="not-json") from None
    if not isinstance(jwk, dict):
        raise JWKError(f"{path} is not a JWK", code="not-jwk")
    return recipient_of({**jwk, "kid": kid} if kid else jwk)


def _change(
    context: Context,
    edit: Callable[[dict[str, Recipient]], str],
    *,
    push: bool,
    dry_run: bool,
    replan: Callable[[VaultState], Plan] | None = None,
) -> Outcome:
    """Commit an edited list of recipients, and re-seal every sealed key to it."""

    def propose(state: VaultState) -> Proposal:
        recipients = dict(state.recipients)
        subject = edit(recipients)
        plan = replan(state) if replan else Plan()
        dropped = {change.kid for change in plan.changes if isinstance(change, Amend)}
        sealed = [key for key in state.keys.values() if key.sealed and key.kid not in dropped]
        if recipients == state.recipients:
            # Without a change of the list, a new envelope looks like a forged one: only wrong envelopes are replaced.
            sealed = [key for key in sealed if sealed_to(key) != sorted(recipients)]
            if not sealed:
                return Proposal(plan, subject)
        files: dict[str, bytes | None] = {RECIPIENTS: encode_recipients(recipients)}
        if not dry_run:
            files.update((key.path, encode_key(key)) for key in _resealed(context, sealed, recipients))
        return Proposal(plan, subject, files=files, recipients=recipients)

    return carry_out(context, propose, push=push, dry_run=dry_run)


def _resealed(context: Context, keys: list[Key], recipients: Mapping[str, Recipient]) -> list[Key]:
    """Return *keys* sealed to *recipients*. The plaintext is copied: no private key is loaded."""
    from keyvault.crypto.envelope import Sealer, parse_private

    sealer = Sealer(recipients)
    fresh = []
    for done, key in enumerate(keys, 1):
        data = open_sealed(context, key)
        parse_private(data, key.public)
        envelope = sealer.seal_bytes(data, kid=key.kid, set_name=key.set)
        fresh.append(msgspec.structs.replace(key, private=envelope))
        context.progress("re-sealing keys", done, len(keys))
    return fresh


def add_recipient(context: Context, recipient: Recipient, *, push: bool = False, dry_run: bool = False) -> Outcome:
    """
    Add *recipient* to the list, and re-seal every key to it as well.

    Raises:
        UsageError: If a recipient already has that kid.
        IdentityError: If no identity opens the keys that must be re-sealed.
    """

    def edit(recipients: dict[str, Recipient]) -> str:
        if recipient.kid in recipients:
            raise UsageError(
                f"recipient {quoted(recipient.kid)} already exists",
                code="recipient-exists",
                hint=f"keyvault recipient replace {recipient.kid} FILE",
            )
        recipients[recipient.kid] = recipient
        return f"add recipient {recipient.kid}"

    return _change(context, edit, push=push, dry_run=dry_run)


def readable_by(state: VaultState, kid: str) -> ReadableKeys:
    """Return the live keys that recipient *kid* can open."""
    found: dict[str, tuple[str, ...]] = {}
    for name, key_set in state.sets.items():
        kids = tuple(key.kid for key in key_set.keys if kid in sealed_to(key))
        if kids:
            found[name] = kids
    return ReadableKeys(found)


def remove_recipient(
    context: Context, kid: str, *, rotate: bool = False, push: bool = False, dry_run: bool = False
) -> tuple[Outcome, ReadableKeys]:
    """
    Remove recipient *kid* from the list and re-seal every key without it.

    The recipient still knows the keys that it could open. With *rotate*, the same commit replaces the next key of each
    set that it could open by a key that it cannot; a later rotation to that key ends its access.

    Raises:
        UsageError: If there is no such recipient, or it is the last.
        IdentityError: If no identity opens the keys that must be re-sealed.
    """

    def edit(recipients: dict[str, Recipient]) -> str:
        if kid not in recipients:
            raise _unknown_recipient(kid, recipients)
        del recipients[kid]
        if not recipients:
            raise UsageError(
                f"{kid} is the last recipient: nobody could open any key",
                code="recipient-last",
                hint="keyvault recipient add FILE",
            )
        return f"remove recipient {kid}"

    def replan(state: VaultState) -> Plan:
        affected = [key_set for key_set in state.sets.values() if _opens_next_key(key_set, kid)]
        return plan_replacement(affected, context.now, note=f"recipient {kid} was removed")

    readable = readable_by(context.state(), kid)
    outcome = _change(context, edit, push=push, dry_run=dry_run, replan=replan if rotate else None)
    return outcome, readable


def _unknown_recipient(kid: str, recipients: Mapping[str, Recipient]) -> UsageError:
    return UsageError(
        f"no recipient {quoted(kid, 100)} in this vault",
        code="recipient-unknown",
        hint=nearest(kid, recipients) or "keyvault recipient list",
    )


def _opens_next_key(key_set: KeySet, kid: str) -> bool:
    return key_set.next is not None and kid in sealed_to(key_set.next)


def replace_recipient(
    context: Context, kid: str, recipient: Recipient, *, push: bool = False, dry_run: bool = False
) -> Outcome:
    """
    Replace recipient *kid* by *recipient*, which may have the same kid, and re-seal every key.

    If the list does not change, only keys that are not sealed to it are re-sealed; a merge may leave such keys.

    Raises:
        UsageError: If there is no recipient *kid*, or another recipient has the new kid.
        IdentityError: If no identity opens the keys that must be re-sealed.
    """

    def edit(recipients: dict[str, Recipient]) -> str:
        if kid not in recipients:
            raise _unknown_recipient(kid, recipients)
        del recipients[kid]
        if recipient.kid in recipients:
            raise UsageError(f"recipient {quoted(recipient.kid)} already exists", code="recipient-exists")
        recipients[recipient.kid] = recipient
        return f"replace recipient {kid} by {recipient.kid}"

    return _change(context, edit, push=push, dry_run=dry_run)


@dataclass(frozen=True)
class SealResult:
    """
    The state of the sealed keys of a vault.

    Attributes:
        keys: How many keys are sealed.
        opened: How many of them an identity opened; None if there is no identity.
        problems: A sentence for each problem.
    """

    keys: int
    opened: int | None
    problems: tuple[str, ...]


def check_recipients(context: Context) -> SealResult:
    """
    Check that every sealed key is well formed, is sealed to exactly the present recipients, and opens.

    Raises:
        IdentityError: If the command was given an identity, and it does not open a key.
    """
    from keyvault.core.envelope_form import check_envelope
    from keyvault.crypto.envelope import envelope_of, parse_private

    state = context.state()
    sealed = [key for key in state.keys.values() if key.sealed]
    problems, opened, expected = [], 0, sorted(state.recipients)
    reachable = True
    for done, key in enumerate(sealed, 1):
        try:
            kids = check_envelope(envelope_of(key), kid=key.kid, set_name=key.set)
            if kids != expected:
                problems.append(f"key {key.kid} is sealed to {', '.join(kids)} instead of {', '.join(expected)}")
            if reachable:
                parse_private(open_sealed(context, key), key.public)
                opened += 1
        except IdentityError:
            if context.named_identity:
                raise
            reachable = False
        except EnvelopeError as error:
            problems.append(f"key {key.kid}: {error.message}")
        context.progress("checking keys", done, len(sealed))
    return SealResult(len(sealed), opened if reachable else None, tuple(problems))


def create_identity(
    environ: Mapping[str, str],
    *,
    kid: str | None = None,
    alg: str = "ECDH-ES+A256KW",
    crv: str | None = None,
    output: Path | None = None,
    passphrase: str | None = None,
    worktree: Path | None = None,
) -> tuple[Recipient, Path]:
    """
    Generate an identity, write it to a private file, and return its recipient and the file.

    Args:
        environ: The caller's environment, which may name the configuration folder.
        kid: Its label; default is derived from its thumbprint.
        alg: ``ECDH-ES+A256KW`` or ``RSA-OAEP-256``.
        crv: ``P-256`` (default) or ``X25519``.
        output: The file; default is in the user's configuration folder.
        passphrase: Encrypts the file, if given.
        worktree: A working tree that must not contain an identity in the clear.

    Raises:
        UsageError: If the file exists, or would lie in the clear in the repository.
        JWKError: If the label is invalid.
    """
    from keyvault.core.jwk import pretty
    from keyvault.crypto.identities import new_identity, recipient_of
    from keyvault.crypto.identity_file import encrypt_identity, write_private_file

    jwk = new_identity(kid, alg=alg, crv=crv)
    path = output or identity_folder(environ) / f"{_file_name(jwk['kid'])}.json"
    if passphrase is None and worktree is not None and _is_in_worktree(path, worktree):
        raise UsageError(
            f"{elided(str(path))} lies in the repository: an identity in the clear must not",
            code="identity-in-repository",
            hint="-o FILE names a file elsewhere",
        )
    write_private_file(path, encrypt_identity(jwk, passphrase) if passphrase else pretty(jwk))
    return recipient_of(jwk), path


def _is_in_worktree(path: Path, root: Path) -> bool:
    """Whether *path* lies in the working tree at *root*, outside of the git directory."""
    path, root = path.resolve(), root.resolve()
    return path.is_relative_to(root) and path.relative_to(root).parts[:1] != (".git",)


def _file_name(kid: str) -> str:
    from keyvault.core.jwk import file_stem

    return file_stem("".join(char if char.isalnum() or char in "._-" else "_" for char in kid))


def vault_identity_path(kid: str) -> str:
    """Return the path of an identity under a passphrase in a vault."""
    return f"{IDENTITIES}/{_file_name(kid)}.json"
