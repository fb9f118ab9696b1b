"""Rotate sets, revoke keys, roll sets back."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import replace
from datetime import datetime

from keyvault.core.algorithms import KeySpec, key_spec
from keyvault.core.events import ENDED, TEXT_MAX, Reason
from keyvault.core.gate import LiveSite, urls_to_fetch
from keyvault.core.plan import Amend, Plan
from keyvault.core.planning import plan_due, plan_revocation, plan_rollback, plan_rotation
from keyvault.core.state import VaultState
from keyvault.core.text import printable
from keyvault.errors import ConfigError, LeakError, UsageError
from keyvault.operations.changes import Outcome, Proposal, carry_out, describe, edited_policy
from keyvault.operations.context import Context

#: The algorithm_lead that `rotate --alg` writes if policy has none: within a week most services are restarted once.
ALGORITHM_LEAD = "7d"


def check_text(text: str | None, option: str) -> str | None:
    """
    Return a reason or note without surrounding blanks.

    Raises:
        UsageError: If it is empty, too long, or contains control characters or something like a private key.
    """
    if text is None:
        return None
    text = text.strip()
    if not text or len(text) > TEXT_MAX or printable(text) != text:
        raise UsageError(f"{option} must be one line of 1 to {TEXT_MAX} printable characters", code="text-invalid")
    if _looks_private(text):
        raise UsageError(
            f"{option} contains something like a private key", code="private-key-in-text", hint="describe it in words"
        )
    return text


def _looks_private(text: str) -> bool:
    """
    Whether the audit, `guard` or the leak check of the site would take *text* for a private key.

    Records only grow: a text that one of them refuses could never be removed.
    """
    from keyvault.core.leaks import find_private_in_note
    from keyvault.site.leak_check import refuse_private

    if find_private_in_note(text):
        return True
    try:
        refuse_private("note", text.encode())
        # Text that begins like JSON is not JSON within a string of JSON; the leak check reads both.
        refuse_private("note", json.dumps(text).encode())
    except LeakError:
        return True
    return False


def _fetch_live(
    context: Context, state: VaultState, now: datetime, rotating: Sequence[str] = ()
) -> tuple[LiveSite, list[str]]:
    """Fetch the live JWK Sets that a planner needs; also return a sentence for each that failed."""
    urls = urls_to_fetch(state, now, rotating=rotating)
    if not urls:
        return {}, []
    from keyvault.publish.live import fetch_all, fetch_key_ids

    fetched = fetch_all(urls, context.fetch_key_ids or fetch_key_ids)
    return fetched.live, list(fetched.problems.values())


def rotate(
    context: Context,
    names: Sequence[str],
    *,
    alg: str | None = None,
    forced: str | None = None,
    push: bool = False,
    dry_run: bool = False,
) -> Outcome:
    """
    Make the next key of each named set active, in one commit.

    If the set has another algorithm than *alg*, publish a next key of *alg* instead.

    Args:
        context: The vault.
        names: The sets; empty for all.
        alg: Another algorithm for a single set; keyvault.toml is edited in the same commit.
        forced: The reason to override the gate, or None.
        push: Whether to push the commit.
        dry_run: Whether to only plan.

    Raises:
        GateError: If a next key is not mature, or its URL does not serve it.
        UsageError: If there is no such set.
    """
    forced = check_text(forced, "--reason")
    if alg is not None and len(names) != 1:
        raise UsageError("--alg needs a single set", code="option-conflict", hint="keyvault rotate SET --alg ES256")
    if alg is not None:
        try:
            key_spec(alg)
        except ConfigError as error:
            raise UsageError(error.message, code=error.code, hint=error.hint) from None

    def propose(state: VaultState) -> Proposal:
        open_sets = [key_set for key_set in state.sets.values() if not key_set.policy.closing]
        # "All" skips external sets without a next key: somebody has to import it first.
        ready = [key_set for key_set in open_sets if key_set.next is not None or not key_set.policy.external]
        chosen = [state.find_set(name).name for name in names] or [key_set.name for key_set in ready or open_sets]
        if not chosen:
            raise UsageError(
                "this vault has no sets", code="vault-without-sets", hint="keyvault set add NAME --alg ES256"
            )
        files = {}
        if alg is not None and state.find_set(chosen[0]).policy.spec.alg != alg:
            if forced is not None:
                raise UsageError(
                    "--alg publishes a next key, which --force cannot skip",
                    code="option-conflict",
                    hint=f"keyvault rotate {chosen[0]} --alg {alg}; then rotate with --force",
                )
            members = _members_for_algorithm(state, chosen[0], alg)
            state, files["keyvault.toml"] = edited_policy(context, state, {chosen[0]: members})
        live, _problems = _fetch_live(context, state, context.now, chosen)
        plan = plan_rotation(state, chosen, context.now, live=live, forced=forced)
        subject = describe(plan) if not files else f"change {chosen[0]} to {alg}"
        return Proposal(plan, subject, body=forced, files=files, urgent=forced is not None)

    return carry_out(context, propose, push=push, dry_run=dry_run)


def _purpose(spec: KeySpec) -> str:
    if spec.kty == "oct":
        return "secrets, which are not published"
    return "encryption" if spec.use == "enc" else "signatures"


def _members_for_algorithm(state: VaultState, name: str, alg: str) -> dict[str, object]:
    """Return the members of a set's table that change with its algorithm."""
    key_set = state.find_set(name)
    old, new = key_set.policy.spec, key_spec(alg)
    # A set of secrets has no published keys to lose, so it may become a set of signing keys.
    if old.kty != "oct" and (old.use != new.use or new.kty == "oct"):
        raise UsageError(
            f"set {name} is for {_purpose(old)}, but {alg} is for {_purpose(new)}: "
            "its published keys would be withdrawn at once",
            code="use-mismatch",
            hint=f"keyvault set add NAME --alg {alg} adds a set for that",
        )
    members: dict[str, object] = {"alg": alg, "crv": None, "bits": None}
    if key_set.rendered and key_set.policy.use == "sig" and key_set.policy.algorithm_lead is None:
        members["algorithm_lead"] = ALGORITHM_LEAD
    return members


def rotate_due(context: Context, *, push: bool = False, dry_run: bool = False) -> Outcome:
    """
    Carry out all due transitions: receipts, withdrawals, rotations, and the creation of missing keys.

    Writes one commit, or none. Idempotent.
    """

    def propose(state: VaultState) -> Proposal:
        live, problems = _fetch_live(context, state, context.now)
        plan = plan_due(state, context.now, live=live)
        return Proposal(replace(plan, warnings=(*plan.warnings, *problems)), describe(plan))

    return carry_out(context, propose, push=push, dry_run=dry_run)


def revoke(
    context: Context,
    kid: str,
    *,
    reason: Reason,
    note: str | None = None,
    push: bool = False,
    dry_run: bool = False,
) -> Outcome:
    """
    Remove *kid*, or the only key that begins with it, from its JWK Set at once.

    If the remote has that change already, *push* makes this clone follow it.

    Raises the errors of `plan_revocation`.
    """
    note = check_text(note, "--note")

    def propose(state: VaultState) -> Proposal:
        key = state.find_key(kid)
        if push and key.state in ENDED and _is_live_here(context, key.kid):
            followed = f"key {key.kid} is {key.state} on the remote already; this clone now has that commit: publish it"
            return Proposal(Plan(warnings=(followed,)), "")
        plan = plan_revocation(state, kid, context.now, reason=reason, note=note)
        return Proposal(plan, f"revoke {key.kid[:12]} of {key.set}: {reason}", body=note, urgent=True)

    return carry_out(context, propose, push=push, dry_run=dry_run, damaged=True)


def _is_live_here(context: Context, kid: str) -> bool:
    """Whether the key *kid* is in its JWK Set at the head of this clone."""
    repository = context.repository
    key = repository.read_with_damage(repository.head()).keys.get(kid)
    return key is not None and key.state not in ENDED


def rollback(
    context: Context, name: str, *, note: str | None = None, push: bool = False, dry_run: bool = False
) -> Outcome:
    """Make the previous key of set *name* active again. Raises the errors of `plan_rollback`."""
    note = check_text(note, "--note")

    def propose(state: VaultState) -> Proposal:
        plan = plan_rollback(state, name, context.now, note=note)
        back = next(change.kid for change in plan.changes if isinstance(change, Amend))
        return Proposal(plan, f"roll {name} back to {back[:12]}", body=note, urgent=True)

    return carry_out(context, propose, push=push, dry_run=dry_run, damaged=True)
