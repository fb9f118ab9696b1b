"""
Carry out a proposal: generate its keys, seal them, and write everything as one commit.

Every command that changes a vault calls `carry_out`. If the branch moves meanwhile, the command proposes again on the
new head.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from dataclasses import replace as dataclass_replace
from typing import TYPE_CHECKING

import msgspec

from keyvault import config
from keyvault.core.events import Event, fold
from keyvault.core.jwk import public_jwk
from keyvault.core.keys import Key, Recipient
from keyvault.core.plan import Amend, Create, Import, Plan
from keyvault.core.repair import plan_late_push
from keyvault.core.state import Commit, VaultState
from keyvault.errors import ConfigError, KeyVaultError
from keyvault.operations.clock import check_clock
from keyvault.operations.context import Context
from keyvault.repo.transaction import transaction
from keyvault.repo.vault import Draft, commit_message, record_files

if TYPE_CHECKING:
    from keyvault.crypto.generate import PrivateJWK


@dataclass(frozen=True)
class Proposal:
    """
    The change that a command proposes for one state of a vault.

    Attributes:
        plan: The changes of keys.
        subject: The subject of the commit.
        body: The reasons for the change, or None.
        files: Other files of the commit, by path.
        recipients: The recipients of new keys, or None if the proposal does not change them.
        restored: Records, by kid, that the plan uses in place of unreadable records.
        urgent: Whether it is an emergency, which must not wait for a wrong clock to be set.
        privates: The private halves of imported keys, by kid.
    """

    plan: Plan
    subject: str
    body: str | None = None
    files: Mapping[str, bytes | None] = field(default_factory=dict)
    recipients: Mapping[str, Recipient] | None = None
    restored: Mapping[str, Key] = field(default_factory=dict)
    urgent: bool = False
    privates: Mapping[str, PrivateJWK] = field(default_factory=dict, repr=False)


@dataclass(frozen=True)
class Outcome:
    """
    The result of a proposal, carried out or planned.

    Attributes:
        plan: The plan.
        before: The state of the vault before.
        commit: The new commit; None for a dry run, or if there was nothing to do.
        pushed: Whether this run pushed it.
        events: Each new event, with its key as it is now; empty for a dry run.
        warnings: Warnings for the user.
        files: Paths of other files that changed, or would change.
    """

    plan: Plan
    before: VaultState
    commit: Commit | None = None
    pushed: bool = False
    events: tuple[tuple[Key, Event], ...] = ()
    warnings: tuple[str, ...] = ()
    files: tuple[str, ...] = ()


Propose = Callable[[VaultState], Proposal]


def carry_out(
    context: Context, propose: Propose, *, push: bool = False, dry_run: bool = False, damaged: bool = False
) -> Outcome:
    """
    Propose a change of the newest state and commit it.

    Args:
        context: The vault.
        propose: Returns the proposal; called again if somebody else commits first.
        push: Whether to push the commit.
        dry_run: Whether to only propose.
        damaged: Whether to accept a damaged vault; its damaged sets cannot be used.

    Raises:
        KeyVaultError: If the proposal, sealing or git fails.
    """
    repository = context.repository
    read = repository.read_with_damage if damaged else repository.read
    if dry_run:
        state = read(repository.head())
        proposal = propose(state)
        return Outcome(proposal.plan, state, warnings=proposal.plan.warnings, files=tuple(proposal.files))
    with transaction(repository, push=push) as changes:
        for head in changes.heads():
            state = read(head.commit or repository.head())
            public = None if head.public is None else repository.read_with_damage(head.public)
            proposal = _proposed(context, propose, state, public)
            draft, events = _draft(context, state, proposal)
            changes.write(draft)
    if changes.commit and config.FILE not in proposal.files:
        repository.carry_config(state.commit, changes.commit)
    warnings = (*proposal.plan.warnings, *changes.warnings)
    return Outcome(proposal.plan, state, changes.commit, changes.pushed, events, warnings, tuple(proposal.files))


def _proposed(context: Context, propose: Propose, state: VaultState, public: VaultState | None) -> Proposal:
    """
    Return the proposal of *propose* for *state*.

    If *public*, the state on the remote, is not None, commits of *state* are pushed late: the proposal first keeps keys
    that they would withdraw too early.
    """
    late = Plan() if public is None else plan_late_push(state, public, context.now)
    if not late:
        return propose(state)
    kept = {change.kid: amended(state.keys[change.kid], change) for change in late.changes if isinstance(change, Amend)}
    proposal = propose(dataclass_replace(state, keys={**state.keys, **kept}))
    plan = dataclass_replace(proposal.plan, changes=(*late.changes, *proposal.plan.changes))
    names = ", ".join(dict.fromkeys(change.set for change in late.changes))
    subject = proposal.subject if proposal.plan else f"keep keys of {names}, whose rotation is pushed late"
    return dataclass_replace(proposal, plan=plan, subject=subject)


def _draft(
    context: Context, state: VaultState, proposal: Proposal
) -> tuple[Draft | None, tuple[tuple[Key, Event], ...]]:
    """Return the draft of *proposal*, None if it changes nothing; and its events, each with its key."""
    if not proposal.plan and not proposal.files:
        return None, ()
    if not proposal.urgent:
        check_clock(context, state)
    recipients = state.recipients if proposal.recipients is None else proposal.recipients
    known = dataclass_replace(state, keys={**state.keys, **proposal.restored})
    keys, events = realize(context, known, proposal.plan, recipients, proposal.privates)
    _check_result(known, proposal, keys)
    at = max([context.now, *(event.at for _, event in events)])
    files = {**proposal.files, **record_files(keys)}
    return Draft(files, commit_message(proposal.subject, events, body=proposal.body), at), events


def _check_result(state: VaultState, proposal: Proposal, keys: Iterable[Key]) -> None:
    """Check that the vault is readable after *proposal*, in case a planner is wrong."""
    data = proposal.files.get(config.FILE)
    policy = config.read_policy(data) if data else state.policy
    after = dataclass_replace(state, policy=policy, keys={**state.keys, **{key.kid: key for key in keys}})
    _ = after.sets  # raises if a set would have two active keys, or live keys without a table


def realize(
    context: Context,
    state: VaultState,
    plan: Plan,
    recipients: Mapping[str, Recipient],
    privates: Mapping[str, PrivateJWK] | None = None,
) -> tuple[list[Key], tuple[tuple[Key, Event], ...]]:
    """
    Return the records that *plan* writes, and every new event with its key.

    Generates and seals new keys, which needs no identity. Imported keys are sealed if *privates* has their private
    halves; those of the others are elsewhere.

    Raises:
        EnvelopeError: If there are no recipients.
    """
    from keyvault.crypto.envelope import Sealer
    from keyvault.crypto.generate import generate_many

    creations = [change for change in plan.changes if isinstance(change, Create)]
    privates = privates or {}
    sealer = Sealer(recipients) if creations or privates else None
    fresh = generate_many(change.spec for change in creations)
    records: dict[str, Key] = {}
    written: list[tuple[str, Event]] = []
    done = 0
    for change in plan.changes:
        if isinstance(change, Create):
            assert sealer is not None
            private = next(fresh)
            kid = private["kid"]
            if kid in state.keys or kid in records:
                raise KeyVaultError(f"the random generator of this machine repeated key {kid}", code="random-repeated")
            records[kid] = Key(
                format=1,
                set=change.set,
                public=public_jwk(private, kid=kid, alg=change.spec.alg),
                events=change.events,
                private=sealer.seal(private, kid=kid, set_name=change.set),
            )
            done += 1
            context.progress("generating keys", done, len(creations))
        elif isinstance(change, Import):
            kid, private_half = change.kid, privates.get(change.kid)
            records[kid] = Key(
                format=1,
                set=change.set,
                public=change.public,
                events=change.events,
                private=(
                    sealer.seal(private_half, kid=kid, set_name=change.set)
                    if sealer and private_half
                    else msgspec.UNSET
                ),
            )
        else:
            kid = change.kid
            records[kid] = amended(records.get(kid) or state.keys[kid], change)
        written += [(kid, event) for event in change.events]
    return list(records.values()), tuple((records[kid], event) for kid, event in written)


def amended(key: Key, change: Amend) -> Key:
    """Return *key* with the events of *change*, and without its private half if they end its life."""
    private = msgspec.UNSET if change.drops_private else key.private
    changed = msgspec.structs.replace(key, events=(*key.events, *change.events), private=private)
    fold(changed.events)  # raises if a transition is illegal
    return changed


def edited_policy(
    context: Context, state: VaultState, tables: Mapping[str, Mapping[str, object] | None]
) -> tuple[VaultState, bytes]:
    """
    Return *state* with the policy of an edited keyvault.toml, and that file.

    Raises:
        ConfigError: If the edited file is invalid, or gives a JWK Set two issuers that differ only in a slash.
    """
    data = context.repository.files(state.commit, config.FILE)[config.FILE]
    edited = config.edit_sets(data, tables)
    policy = config.read_policy(edited)
    if policy.places_with_mixed_issuers - state.policy.places_with_mixed_issuers:
        # Reading accepts such a file, which somebody edited by hand: other commands must still work.
        raise ConfigError(
            "two sets of one JWK Set would have issuers that differ only in a trailing slash",
            code="issuer-conflict",
            hint="write the issuer as the other set has it; keyvault set list --json shows both",
        )
    return dataclass_replace(state, policy=policy), edited


#: Events that the subject of a commit names, each with its verb, and whether it names sets or counts keys.
_SUBJECTS = (
    ("activated", "rotate", True),
    ("published", "record receipt for", True),
    ("withdrawn", "withdraw", False),
    ("repaired", "repair", True),
    ("lifetime", "record token_lifetime of", True),
    ("created", "create", False),
)


def describe(plan: Plan) -> str:
    """Return the subject of a commit for *plan*: ``rotate id-token, access-token; withdraw 1 key``."""
    sets_by_event: dict[str, list[str]] = {}
    replaced = {change.set for change in plan.changes for event in change.events if event.event == "deactivated"}
    for change in plan.changes:
        for event in change.events:
            if event.event == "activated" and isinstance(change, Create) and change.set not in replaced:
                continue  # the first key of a set replaces no other
            sets_by_event.setdefault(event.event, []).append(change.set)
    parts: list[str] = []
    for name, verb, names_sets in _SUBJECTS:
        event_sets = sets_by_event.get(name, [])
        sets = list(dict.fromkeys(event_sets))
        if not sets or (name == "created" and parts):
            continue
        shown = ", ".join(sets[:4]) + (f" and {len(sets) - 4} more" if len(sets) > 4 else "")
        count = f"{len(event_sets)} key{'s' if len(event_sets) != 1 else ''} of "
        parts.append(f"{verb} {'' if names_sets else count}{shown}")
    return "; ".join(parts) or "nothing to do"
