"""
Import keys into a set, in one commit.

The result says until when tokens of these keys verify. `import_sources` reads the keys, `import_selection` selects and
labels them.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from keyvault.core.events import fold
from keyvault.core.importing import Origin, Role, plan_import
from keyvault.core.jwk import PublicJWK
from keyvault.core.keys import Key
from keyvault.core.plan import Import, Plan
from keyvault.core.policy import check_set_name
from keyvault.core.state import KeySet, VaultState
from keyvault.core.text import elided
from keyvault.errors import ConfigError, UsageError
from keyvault.operations.changes import Outcome, Proposal, carry_out, edited_policy
from keyvault.operations.context import Context
from keyvault.operations.import_selection import ImportRequest, choose_algorithm, label_keys, select_keys, spec_of
from keyvault.operations.keys import set_members
from keyvault.operations.reports import ImportedKey

if TYPE_CHECKING:
    from keyvault.crypto.generate import PrivateJWK
    from keyvault.crypto.imports import FoundKey


@dataclass(frozen=True)
class ImportOutcome:
    """
    An import.

    Attributes:
        outcome: The change of the vault, made or planned.
        keys: The keys that are in the vault now, including those that already were.
        left_out: A sentence for each key that was skipped.
    """

    outcome: Outcome
    keys: tuple[ImportedKey, ...]
    left_out: tuple[str, ...]


def import_keys(
    context: Context,
    name: str,
    found: Sequence[FoundKey],
    request: ImportRequest,
    *,
    imported: bool = True,
    push: bool = False,
    dry_run: bool = False,
) -> ImportOutcome:
    """
    Import keys into set *name*, in one commit; if keyvault.toml does not have the set, it is created.

    Keys that the vault already has, with that kid, are skipped.

    Args:
        context: The vault.
        name: The set.
        found: The keys.
        request: How to import them.
        imported: Whether they come from outside.
        push: Whether to push the commit.
        dry_run: Whether to only plan.

    Raises:
        UsageError: If a key does not fit, or the vault has its kid with another public half.
        WeakKeyError: If a key is too weak for its algorithm.
        GateError: If a key would become active that no verifier can know.
    """
    present: list[Key] = []
    left_out: list[str] = []

    def propose(state: VaultState) -> Proposal:
        selected = select_keys(found, request)
        files: dict[str, bytes | None] = {}
        if name not in state.sets:
            if not request.creates or request.role == "next":
                _ = state.find_set(name)  # raises: the next key of a set needs the set
            state, files["keyvault.toml"] = _create_set(context, state, name, selected[0], request)
        elif request.issuer is not None or request.at is not None:
            raise UsageError(
                f"set {name} already exists: --issuer and --at are for a new set",
                code="set-exists",
                hint=f"edit [sets.{name}] in keyvault.toml",
            )
        key_set = state.find_set(name)
        labelled, left_out[:] = label_keys(selected, key_set, request, context.now)
        warnings = [*left_out]
        fresh, present[:] = [], []
        for public, key in labelled:
            warnings += [f"key {elided(public.kid)}: {remark}" for remark in key.remarks]
            existing = _existing_key(state, name, public)
            if existing is None:
                fresh.append((public, key))
            else:
                present.append(existing)
                warnings.append(_check_existing(existing, key, request))
        if not fresh:
            return Proposal(Plan(warnings=tuple(warnings)), "")
        role = request.role or ("next" if key_set.active else "active")
        _check_halves(key_set, fresh, role)
        plan = plan_import(
            state, name, [public for public, _ in fresh], context.now,
            role=role, origin=Origin(imported, request.note), keep=request.keep, forced=request.forced,
        )  # fmt: skip
        privates = {
            public.kid: {**key.members, "kid": public.kid, "use": public.use, "alg": public.alg}
            for public, key in fresh
            if key.private
        }
        plan = replace(plan, warnings=(*plan.warnings, *warnings))
        many = f"{len(fresh)} keys" if len(fresh) > 1 else f"key {fresh[0][0].kid}"
        return Proposal(
            plan, f"import {many} into {name} as {role}", body=request.forced, files=files, privates=privates
        )

    outcome = carry_out(context, propose, push=push, dry_run=dry_run)
    changed = [_imported(change) for change in outcome.plan.changes if isinstance(change, Import)]
    skipped = [ImportedKey(key.kid, key.set, key.state, key.life.keep_until, True) for key in present]
    return ImportOutcome(outcome, (*changed, *skipped), tuple(left_out))


def _imported(change: Import) -> ImportedKey:
    life = fold(change.events)
    return ImportedKey(change.kid, change.set, life.state, life.keep_until, False)


def save_key(context: Context, name: str, private: PrivateJWK) -> Outcome:
    """Make a fresh private JWK the next key of set *name*, in one commit. Raises the errors of `import_keys`."""
    from keyvault.core.jwk import thumbprint
    from keyvault.core.key_objects import spki_kid
    from keyvault.crypto.imports import read_jwk

    request = ImportRequest(role="next", creates=False)
    # Only imported keys may have a kid that is no hash of the public key.
    imported = private["kid"] != thumbprint(private) and (
        private["kty"] == "oct" or private["kid"] != spki_kid(private)
    )
    return import_keys(context, name, [read_jwk(private)], request, imported=imported).outcome


def _existing_key(state: VaultState, name: str, public: PublicJWK) -> Key | None:
    """Return the published key of the set that equals *public*, or None."""
    key = state.keys.get(public.kid)
    if key is None or key.state in ("withdrawn", "revoked") or key.set != name or public.kty == "oct":
        return None
    return key if key.public == public else None


def _check_existing(existing: Key, found: FoundKey, request: ImportRequest) -> str:
    """
    Return the warning that a key is in the vault already.

    Raises:
        UsageError: If the request would change the key.
    """
    if found.private and not existing.sealed:
        raise UsageError(
            f"key {existing.kid} is in the vault with its public half only: a private half cannot be added later",
            code="key-exists",
            hint="keep it where it is; generate a new key to sign here",
        )
    message = f"key {existing.kid} is already in the vault: it is {existing.state}"
    if request.role not in (None, existing.state) and not request.lenient:
        raise UsageError(message, code="key-exists", hint="keyvault rotate, or rollback")
    return message


def _check_halves(key_set: KeySet, fresh: Sequence[tuple[PublicJWK, FoundKey]], role: Role) -> None:
    for public, key in fresh:
        if key_set.policy.external and key.private:
            raise UsageError(
                f"set {key_set.name} is external: it takes only the public half of key {elided(public.kid)}",
                code="set-external",
                hint="openssl pkey -pubout, or keyvault key export",
            )
        # Of several keys that become active, only the first signs.
        signs = role == "next" or (role == "active" and public is fresh[0][0])
        if not key_set.policy.external and not key.private and signs:
            raise UsageError(
                f"key {elided(public.kid)} has no private half here, so nobody could sign with it",
                code="private-half-missing",
                hint="--as retiring; or if its private half lives elsewhere: external = true in the set's table, "
                "--external for a new set",
            )


def _create_set(
    context: Context, state: VaultState, name: str, first: FoundKey, request: ImportRequest
) -> tuple[VaultState, bytes]:
    """Return *state* with a new set for keys like *first*, and the edited keyvault.toml."""
    try:
        check_set_name(name)
        spec = spec_of(first.members, choose_algorithm(first, None, request))
    except ConfigError as error:
        raise UsageError(error.message, code=error.code, hint=error.hint) from None
    members = set_members(spec, issuer=request.issuer, at=request.at, external=request.external)
    return edited_policy(context, state, {name: members})
