"""Rotate, revoke, roll back: the life of keys after they were made."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import replace
from datetime import datetime

from keyvault.core.algorithms import KeySpec, key_spec
from keyvault.core.events import TEXT_MAX, Reason
from keyvault.core.gate import Live, urls_to_ask
from keyvault.core.plan import Amend
from keyvault.core.planning import plan_due, plan_revocation, plan_rollback, plan_rotation
from keyvault.core.state import VaultState
from keyvault.core.text import printable
from keyvault.errors import ConfigError, LeakError, UsageError
from keyvault.operations.changes import Outcome, Proposal, carry_out, describe, edited_policy
from keyvault.operations.context import Context

#: What `rotate --alg` writes where policy says nothing: in a week most services are deployed, and so restarted, once.
ALGORITHM_LEAD = "7d"


def check_text(text: str | None, option: str) -> str | None:
    """
    Return what somebody wrote as a reason or note, without surrounding blanks.

    Raises:
        UsageError: It is empty, too long, holds control characters, or what looks like a private key.
    """
    if text is None:
        return None
    text = text.strip()
    if not text or len(text) > TEXT_MAX or printable(text) != text:
        raise UsageError(f"{option} takes one line of 1 to {TEXT_MAX} printable characters")
    if _looks_private(text):
        raise UsageError(f"{option} holds what looks like a private key", hint="describe it in words")
    return text


def _looks_private(text: str) -> bool:
    """
    Whether the audit, guard, or the site's leak check would later take *text* for a private key.

    A record only ever grows, so what one of them refuses must not get into one.
    """
    from keyvault.core.leaks import find_private_in_note
    from keyvault.site.leak_check import refuse_private

    if find_private_in_note(text):
        return True
    try:
        refuse_private("note", text.encode())
        # Inside a string of JSON, text that begins like JSON is none; the leak check reads both.
        refuse_private("note", json.dumps(text).encode())
    except LeakError:
        return True
    return False


def _look(context: Context, state: VaultState, now: datetime, rotating: Sequence[str] = ()) -> tuple[Live, list[str]]:
    """Look at the live URLs that a planner needs; also return what went wrong, one sentence each."""
    urls = urls_to_ask(state, now, rotating=rotating)
    if not urls:
        return {}, []
    from keyvault.publish.live import fetch_all, fetch_key_ids

    fetched = fetch_all(urls, context.look or fetch_key_ids)
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

    Args:
        context: The vault.
        names: The sets; empty for all.
        alg: Another algorithm for a single set; keyvault.toml is edited in the same commit.
        forced: Why to go past the gate.
        push: Whether to push the commit.
        dry_run: Whether to only plan.

    Raises:
        GateError: A next key is not mature, or its URL does not serve it.
        UsageError: There is no such set.
    """
    forced = check_text(forced, "--reason")
    if alg is not None and len(names) != 1:
        raise UsageError("--alg goes with one set", hint="keyvault rotate SET --alg ES256")
    if alg is not None:
        try:
            key_spec(alg)
        except ConfigError as error:
            raise UsageError(error.message, hint=error.hint) from None

    def propose(state: VaultState) -> Proposal:
        open_sets = [one for one in state.sets.values() if not one.policy.closing]
        # Who asks for all means those that can be: an external set waits for somebody to import its next key.
        ready = [one for one in open_sets if one.next is not None or not one.policy.external]
        chosen = [state.find_set(name).name for name in names] or [one.name for one in ready or open_sets]
        if not chosen:
            raise UsageError("this vault has no sets", hint="keyvault set add NAME --alg ES256")
        files = {}
        if alg is not None and state.find_set(chosen[0]).policy.spec.alg != alg:
            if forced is not None:
                raise UsageError(
                    "--alg publishes a next key, which --force cannot skip",
                    hint=f"keyvault rotate {chosen[0]} --alg {alg}; then rotate with --force",
                )
            state, files["keyvault.toml"] = edited_policy(context, state, {chosen[0]: _migrated(state, chosen[0], alg)})
        live, _problems = _look(context, state, context.now, chosen)
        plan = plan_rotation(state, chosen, context.now, live=live, forced=forced)
        subject = describe(plan) if not files else f"change {chosen[0]} to {alg}"
        return Proposal(plan, subject, body=forced, files=files, urgent=forced is not None)

    return carry_out(context, propose, push=push, dry_run=dry_run)


def _purpose(spec: KeySpec) -> str:
    if spec.kty == "oct":
        return "secrets, which are not published"
    return "encryption" if spec.use == "enc" else "signatures"


def _migrated(state: VaultState, name: str, alg: str) -> dict[str, object]:
    """Return the members of a set's table that change with its algorithm."""
    key_set = state.find_set(name)
    old, new = key_set.policy.spec, key_spec(alg)
    # A set of secrets publishes nothing that could leave, so it may become one of signatures.
    if old.kty != "oct" and (old.use, False) != (new.use, new.kty == "oct"):
        raise UsageError(
            f"set {name} is for {_purpose(old)}, {alg} is for {_purpose(new)}: its published keys would leave at once",
            hint=f"keyvault set add NAME --alg {alg} makes a set for that",
        )
    members: dict[str, object] = {"alg": alg, "crv": None, "bits": None}
    if key_set.rendered and key_set.policy.use == "sig" and key_set.policy.algorithm_lead is None:
        members["algorithm_lead"] = ALGORITHM_LEAD
    return members


def rotate_due(context: Context, *, push: bool = False, dry_run: bool = False) -> Outcome:
    """
    Do everything that is due: receipts, withdrawals, rotations, creation of what is missing.

    One commit, or none. Doing it twice is doing it once.
    """

    def propose(state: VaultState) -> Proposal:
        live, problems = _look(context, state, context.now)
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
    """Drop *kid*, or the one key that begins so, from its JWK Set at once; errors as `plan_revocation`."""
    note = check_text(note, "--note")

    def propose(state: VaultState) -> Proposal:
        plan = plan_revocation(state, kid, context.now, reason=reason, note=note)
        key = state.find_key(kid)
        return Proposal(plan, f"revoke {key.kid[:12]} of {key.set}: {reason}", body=note, urgent=True)

    return carry_out(context, propose, push=push, dry_run=dry_run, damaged=True)


def rollback(
    context: Context, name: str, *, note: str | None = None, push: bool = False, dry_run: bool = False
) -> Outcome:
    """Make the previous key of set *name* active again; errors as `plan_rollback`."""
    note = check_text(note, "--note")

    def propose(state: VaultState) -> Proposal:
        plan = plan_rollback(state, name, context.now, note=note)
        back = next(change.kid for change in plan.changes if isinstance(change, Amend))
        return Proposal(plan, f"roll {name} back to {back[:12]}", body=note, urgent=True)

    return carry_out(context, propose, push=push, dry_run=dry_run, damaged=True)
