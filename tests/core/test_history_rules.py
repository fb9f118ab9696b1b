"""The findings of the audit for a change, rule by rule: each boundary, each message, and each legal change."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime, timedelta
from typing import Any

import msgspec
import pytest

from keyvault.core.events import Event
from keyvault.core.history.derived_state import DerivedState, derive_state
from keyvault.core.history.ledger import Entry, Ledger, ParentView, SetCount
from keyvault.core.history.rules import (
    SKEW_DEFAULT,
    ClockBounds,
    EventContext,
    judge_algorithm,
    judge_events,
    judge_joined,
    judge_policy,
    judge_record,
    judge_record_change,
    judge_seal,
    judge_set,
    max_skew,
    parent_counts,
)
from keyvault.core.history.versions import Problem
from keyvault.core.keys import Envelope, Key, RecipientHeader, WrappedKey
from keyvault.core.policy import AuditPolicy, Policy, SetPolicy, SitePolicy
from keyvault.core.text import format_instant
from tests.core.build import (
    DAY,
    HOUR,
    MINUTE,
    SEALED,
    SECOND,
    SITE,
    T0,
    URL,
    activated,
    created,
    deactivated,
    make_key,
    next_key,
    public_key,
    published,
    reactivated,
    revoked,
    set_policy,
    withdrawn,
)

LEAD, SKEW = 24 * HOUR, 10 * MINUTE
ELSEWHERE = "https://evil.example/jwks.json"
NOTHING = timedelta(0)
Problems = list[Problem]


def entry(key: Key, *, readable: bool = True, recipients: str | None = None) -> Entry:
    return Entry("blob", key, derive_state(key.events), readable, recipients)


def replaced(key: Key, **changes: Any) -> Key:
    return msgspec.structs.replace(key, **changes)


# --- records --------------------------------------------------------------------------------------------


def grown(old: Key, new: Key | None, *, readable: bool = True, reseal: bool = False) -> Problems:
    after = None if new is None else entry(new, readable=readable)
    return list(judge_record_change(entry(old), after, reseal=reseal))


ACTIVE = make_key(created(), published(), activated(), kid="a")
ENDED = make_key(created(), withdrawn(T0), kid="a")
BARE = replaced(ACTIVE, private=msgspec.UNSET)
OTHER_SEAL = msgspec.structs.replace(SEALED, tag="BB")


@pytest.mark.parametrize(
    ("new", "found"),
    [
        pytest.param(ACTIVE, [], id="the same"),
        pytest.param(replaced(ACTIVE, events=(*ACTIVE.events, deactivated(T0, T0))), [], id="one event more"),
        pytest.param(
            None,
            [("record-removed", "the record of a was removed: records must be kept")],
            id="gone",
        ),
        pytest.param(
            replaced(ACTIVE, events=ACTIVE.events[:1]),
            [("event-removed", "recorded events were removed: published, activated")],
            id="two events less",
        ),
        pytest.param(
            replaced(ACTIVE, events=(created(), published(T0, ELSEWHERE), activated())),
            [("event-changed", "a recorded event was changed")],
            id="another event",
        ),
        pytest.param(
            replaced(ACTIVE, events=(created(T0 - SECOND),)),
            [("event-changed", "a recorded event was changed")],
            id="another event and two less",
        ),
        pytest.param(
            replaced(ACTIVE, public=public_key(kid="a")),
            [("public-changed", "the public key was changed")],
            id="another public key",
        ),
        pytest.param(
            BARE,
            [("private-removed", "the sealed private key was removed, but the key is active")],
            id="private key gone",
        ),
        pytest.param(
            replaced(BARE, events=(*ACTIVE.events, revoked(T0))), [], id="private key gone with the end of the key"
        ),
        pytest.param(
            replaced(ACTIVE, private=OTHER_SEAL),
            [("resealed", "the sealed private key was replaced, but the recipients were not changed")],
            id="sealed again",
        ),
    ],
)
def test_what_a_record_must_keep(new: Key | None, found: Problems) -> None:
    """Events are added and never changed, the key stays, and its private half is removed only at its end."""
    assert found == grown(ACTIVE, new)


def test_a_private_key_that_appears() -> None:
    """A private key that is added to a record cannot be genuine."""
    assert grown(BARE, ACTIVE) == [("private-added", "a sealed private key was added to a record that had none")]
    assert grown(BARE, BARE) == []


def test_resealing_for_changed_recipients() -> None:
    """Changed recipients are a reason to reseal."""
    assert grown(ACTIVE, replaced(ACTIVE, private=OTHER_SEAL), reseal=True) == []


def test_changes_of_a_record_that_cannot_be_read() -> None:
    """The unreadable record has its own finding, and nothing is compared."""
    assert grown(ACTIVE, BARE, readable=False) == []


@pytest.mark.parametrize(
    ("key", "new", "code"),
    [
        pytest.param(make_key(created()), True, None, id="sealed"),
        pytest.param(BARE, False, None, id="an old key that lives elsewhere"),
        pytest.param(BARE, True, "private-missing", id="a new key that lives elsewhere"),
        pytest.param(replaced(BARE, events=()), True, "private-missing", id="a new key without events"),
        pytest.param(replaced(BARE, events=(created(imported=True),)), True, None, id="an imported key"),
        pytest.param(ENDED, True, None, id="made and withdrawn"),
        pytest.param(replaced(ENDED, private=SEALED), False, "private-kept", id="withdrawn and sealed"),
        pytest.param(replaced(ENDED, private=SEALED), True, "private-kept", id="made, withdrawn and sealed"),
    ],
)
def test_when_a_record_has_a_private_key(key: Key, new: bool, code: str | None) -> None:
    """A key has its private half from its creation until its end."""
    words = {
        "private-missing": "a key was created without a sealed private key",
        "private-kept": "the key is withdrawn and still has a sealed private key",
    }
    assert list(judge_record(key, derive_state(key.events), created=new)) == ([(code, words[code])] if code else [])


# --- recipients -----------------------------------------------------------------------------------------

UNOPENED = ("recipients-missing", "key a is sealed, but the vault has no recipients")
STALE = ("not-resealed", "key a was not re-sealed when the recipients were changed")
WRONG = ("envelope-recipients", "key a is sealed to ada, bob instead of ada, eve")


def sealed_for(*kids: str) -> Key:
    sealed = [WrappedKey(RecipientHeader(alg="RSA-OAEP-256", kid=kid), "AA") for kid in kids]
    return replaced(ACTIVE, private=Envelope("e30", sealed, "AA", "AA", "AA"))


def sealing(
    key: Key, wanted: Sequence[str] | None, *, fresh: bool = True, known: bool = False, beside: str = "new"
) -> Problems:
    """Judge the recipients of *key* against *wanted*; *beside* is the list of recipients at its sealing."""
    recipients: Any = None if wanted is None else dict.fromkeys(wanted)
    ledger = Ledger(recipients=recipients, recipients_oid="new")
    return list(judge_seal(entry(key, recipients=beside), ledger, fresh=fresh, known=known))


@pytest.mark.parametrize(
    ("wanted", "how", "found"),
    [
        pytest.param(("bob", "ada"), {}, [], id="to those on the list, in whatever order"),
        pytest.param(("eve", "ada"), {}, [WRONG], id="to others"),
        pytest.param(("eve", "ada"), {"known": True}, [], id="to others, which was said before"),
        pytest.param(("eve", "ada"), {"fresh": False, "beside": "old"}, [STALE], id="beside another list"),
        pytest.param(("eve", "ada"), {"fresh": False}, [], id="beside this list"),
        pytest.param(None, {}, [UNOPENED], id="to somebody, and there is no list"),
        pytest.param(None, {"known": True}, [], id="no list, which was said before"),
        pytest.param((), {}, [("envelope-recipients", "key a is sealed to ada, bob instead of ")], id="an empty list"),
    ],
)
def test_recipients_of_a_key(wanted: Sequence[str] | None, how: Any, found: Problems) -> None:
    """A new envelope is for all recipients and no others; an old envelope is renewed when they change."""
    assert found == sealing(sealed_for("ada", "bob"), wanted, **how)


def test_a_key_that_is_not_sealed() -> None:
    """A key without an envelope has no recipients to check."""
    assert sealing(BARE, None) == []


def test_a_long_list_of_recipients_is_cut() -> None:
    """The message stays readable: it has 200 characters of each list."""
    ((_, message),) = sealing(sealed_for("x" * 300), ["y" * 300])
    assert message == f"key a is sealed to {'x' * 200} instead of {'y' * 200}"


# --- events ---------------------------------------------------------------------------------------------


def judge(
    *events: Event,
    derived: DerivedState | None = None,
    policy: SetPolicy | None = None,
    parents: Sequence[SetCount] = (SetCount(active=1, next=1, live=2),),
    new: bool = False,
    authored_at: datetime = T0,
    now: datetime = T0 + 365 * DAY,
    skew: timedelta = 3_650 * DAY,
    **site: Any,
) -> Problems:
    """Judge new events of a key; its clocks may be any unless a test sets them."""
    table = policy or set_policy()
    whole = Policy(SitePolicy(SITE, **site), {"id-token": table})
    context = EventContext(make_key(kid="a"), whole, table, parents, new, ClockBounds(authored_at, now, skew))
    return judge_events(context, derived or DerivedState("next", T0), events)[1]


def clocks(event: Event, *, authored_at: datetime = T0, now: datetime = T0 + DAY) -> Problems:
    return judge(event, authored_at=authored_at, now=now, skew=SKEW, parents=())


@pytest.mark.parametrize(
    ("at", "message"),
    [
        (-SKEW - SECOND, "event published at 2026-11-23 16:49:59Z is older than its commit of 2026-11-23 17:00Z"),
        (-SKEW, None),
        (SKEW, None),
        (SKEW + SECOND, "event published at 2026-11-23 17:10:01Z is later than its commit of 2026-11-23 17:00Z"),
    ],
)
def test_an_event_lies_near_its_commit(at: timedelta, message: str | None) -> None:
    """An event may differ from its commit by the allowed clock skew, to the second."""
    code = "instant-backdated" if at < NOTHING else "instant-future"
    assert clocks(published(T0 + at)) == ([(code, message)] if message else [])


@pytest.mark.parametrize(("at", "future"), [(SKEW, False), (SKEW + SECOND, True)])
@pytest.mark.parametrize("authored", [NOTHING, DAY])
def test_no_event_lies_after_the_audit(at: timedelta, future: bool, authored: timedelta) -> None:
    """The audit uses its own clock, whatever the date of the commit, and reports this first."""
    found = [
        finding for finding in clocks(published(T0 + at), now=T0, authored_at=T0 + authored) if "future" in finding[0]
    ]
    message = "event published at 2026-11-23 17:10:01Z is later than the audit"
    assert found == ([("instant-future", message)] if future else [])


def test_an_event_that_lies_as_far_from_the_audit_as_clocks_may() -> None:
    """At the limit of the audit's clock, the event is too far from its commit."""
    message = "event published at 2026-11-23 17:10Z is later than its commit of 2026-11-23 16:59:59Z"
    found = clocks(published(T0 + SKEW), now=T0, authored_at=T0 - SECOND)
    assert found == [("instant-future", message)]


@pytest.mark.parametrize(("at", "old"), [(-SECOND, True), (NOTHING, False), (SECOND, False)])
def test_no_event_is_older_than_its_set(at: timedelta, old: bool) -> None:
    """The newest instant of the set in any parent counts; parents without keys have none."""
    parents = [SetCount(newest_at=T0 - DAY), SetCount(newest_at=T0), SetCount()]
    message = "event published at 2026-11-23 16:59:59Z is older than the newest event of its set, at 2026-11-23 17:00Z"
    assert judge(published(T0 + at), parents=parents) == ([("instant-before-set", message)] if old else [])


@pytest.mark.parametrize(
    ("event", "wanted"),
    [
        (activated(T0 + LEAD, HOUR), None),
        (activated(T0 + LEAD, HOUR - SECOND), "event activated has token_lifetime 3599 s, but policy says 3600 s"),
        (reactivated(T0 + LEAD, HOUR + SECOND), "event reactivated has token_lifetime 3601 s, but policy says 3600 s"),
        (
            Event(at=T0, event="lifetime", token_lifetime=7_200),
            "event lifetime has token_lifetime 7200 s, but policy says 3600 s",
        ),
    ],
)
def test_tokens_live_as_long_as_policy_says(event: Event, wanted: str | None) -> None:
    """The recorded lifetime equals that of the policy, whenever a key begins to sign."""
    state = {"activated": "next", "reactivated": "retiring", "lifetime": "active"}[event.event]
    found = judge(event, derived=DerivedState(state, T0, {URL: T0}))
    assert found == ([("token-lifetime", wanted)] if wanted else [])


def test_a_lifetime_that_is_missing_is_one_finding() -> None:
    """The event is malformed; the audit does not also report that the lifetime differs from the policy."""
    event = Event(at=T0, event="lifetime")
    assert judge(event, derived=DerivedState("active", T0)) == [
        ("event-malformed", "event lifetime: token_lifetime is required")
    ]


@pytest.mark.parametrize(("url", "reported"), [(URL, False), (ELSEWHERE, True)])
@pytest.mark.parametrize("new", [False, True])
def test_a_receipt_is_of_the_right_place_and_time(url: str, reported: bool, new: bool) -> None:
    """A receipt names the URL of the set, and is not in the commit that creates the key."""
    found = []
    if reported:
        found.append(("receipt-url", f"the receipt is for {ELSEWHERE}, not for {URL}"))
    if new:
        found.append(("receipt-too-soon", "a receipt in the commit that created the key: no host could serve it yet"))
    assert judge(published(T0, url), new=new) == found


def test_a_receipt_cannot_repaint_a_screen() -> None:
    """The message escapes the URL, and cuts it."""
    ((_, message),) = judge(published(T0, "\x1b[2J" + "u" * 300))
    assert message == f"the receipt is for \\x1b[2J{'u' * 193}, not for {URL}"


# --- timing ---------------------------------------------------------------------------------------------

SEEN = DerivedState("next", T0 - DAY, {URL: T0, ELSEWHERE: T0 - 9 * DAY})


@pytest.mark.parametrize(
    ("policy", "site", "wait", "verb"),
    [
        pytest.param({}, {}, LEAD, "first seen live at 2026-11-23 17:00Z", id="seen live"),
        pytest.param({}, {"confirm": "commit"}, LEAD - DAY, "created at 2026-11-22 17:00Z", id="the commit counts"),
        pytest.param({"spec": "HS256"}, {}, LEAD - DAY, "created at 2026-11-22 17:00Z", id="symmetric"),
    ],
)
@pytest.mark.parametrize(("offset", "early"), [(-SECOND, True), (NOTHING, False), (SECOND, False)])
def test_a_key_signs_once_verifiers_know_it(
    policy: Any, site: Any, wait: timedelta, verb: str, offset: timedelta, early: bool
) -> None:
    """The lead counts from the receipt of its own URL, or from its creation if no URL is fetched."""
    at = T0 + wait + offset
    found = judge(activated(at), derived=SEEN, policy=set_policy(**policy), **site)
    reported = f"the key was activated at {format_instant(at)}, but {verb}: publication_lead is 24h"
    assert found == ([("activated-early", reported)] if early else [])


@pytest.mark.parametrize(("after", "early"), [(-SECOND, True), (NOTHING, False)])
@pytest.mark.parametrize(
    ("signing", "lead"),
    [
        pytest.param([{"RS256": 1}], 7 * DAY, id="a new algorithm"),
        pytest.param([{"RS256": 1, "ES256": 1}], DAY, id="one that retires"),
        pytest.param([{"RS256": 1}, {"ES256": 1}], DAY, id="one that signs in a parent"),
    ],
)
def test_key_of_a_new_algorithm_signs_after_its_lead(
    signing: list[Any], lead: timedelta, after: timedelta, early: bool
) -> None:
    """Policy may give verifiers time to be restarted for an algorithm that the set has not signed with."""
    seen = DerivedState("next", T0 - DAY, {URL: T0})
    parents = [SetCount(active=1, next=1, live=2, signing=some) for some in signing]
    found = judge(
        activated(T0 + lead + after), derived=seen, policy=set_policy(algorithm_lead=7 * DAY), parents=parents
    )
    member = "algorithm_lead is 7d" if lead > DAY else "publication_lead is 24h"
    at = format_instant(T0 + lead + after)
    reported = f"the key was activated at {at}, but first seen live at {format_instant(T0)}: {member}"
    assert found == ([("activated-early", reported)] if early else [])


def test_a_key_without_a_receipt() -> None:
    """A receipt for another URL does not count."""
    derived = DerivedState("next", T0 - 9 * DAY, {ELSEWHERE: T0 - 9 * DAY})
    unseen = [("activated-unseen", f"the key was activated, but was never seen at {URL}")]
    assert unseen == judge(activated(), derived=derived)


@pytest.mark.parametrize(
    ("how", "silent"),
    [
        pytest.param({"policy": set_policy(spec="ECDH-ES+A256KW")}, True, id="a key to encrypt with"),
        pytest.param({"parents": ()}, True, id="the first commit"),
        pytest.param({"parents": (SetCount(next=1, live=1),)}, True, id="no key was active"),
        pytest.param({"parents": (SetCount(), SetCount(active=1))}, False, id="one was active in one parent"),
    ],
)
def test_activations_that_need_no_wait(how: Any, silent: bool) -> None:
    """No wait is needed if nobody verifies, or if no key signed before."""
    assert silent == (judge(activated(), **how) == [])


KEPT = T0 + HOUR + HOUR + SKEW


@pytest.mark.parametrize(
    ("events", "new", "silent"),
    [
        pytest.param(
            (created(imported=True), activated(), deactivated(T0, KEPT)), True, True, id="it comes as retiring"
        ),
        pytest.param((created(), activated(), deactivated(T0, KEPT)), True, False, id="it was made here"),
        pytest.param((created(imported=True), activated()), True, False, id="it signs"),
        pytest.param(
            (created(imported=True), activated(), deactivated(T0 + SECOND, KEPT + SECOND)),
            True,
            False,
            id="for a second",
        ),
        pytest.param((created(imported=True), activated(), revoked(T0)), True, False, id="it is revoked"),
        pytest.param(
            (created(imported=True), activated(), deactivated(T0, KEPT)), False, False, id="it was there before"
        ),
    ],
)
def test_a_key_that_comes_as_retiring_never_signs(events: tuple[Event, ...], new: bool, silent: bool) -> None:
    """Verifiers need not know it before; this holds only for an imported key, in the commit that creates it."""
    key = make_key(*events, kid="a")
    whole = Policy(SitePolicy(SITE), {"id-token": set_policy()})
    parents = (SetCount(active=1, next=1, live=2),)
    context = EventContext(key, whole, set_policy(), parents, new, ClockBounds(T0, T0 + DAY, SKEW))
    derived, judged = (DerivedState(), events) if new else (DerivedState("next", T0), events[1:])
    _, found = judge_events(context, derived, judged)
    unseen = [("activated-unseen", f"the key was activated, but was never seen at {URL}")]
    assert found == ([] if silent else unseen)


def test_the_order_of_a_joined_record() -> None:
    """The audit judges each event by the state after the event before it, and names that state."""
    events = [created(), activated(), activated(), deactivated(T0, T0 + DAY)]
    derived, found = judge_joined(events)
    assert (derived.state, derived.keep_until) == ("retiring", T0 + DAY)
    assert found == [("event-order", "event activated cannot follow the state active")]


def test_a_secret_of_another_algorithm_signs_after_the_usual_lead() -> None:
    """No verifier needs a restart for a secret."""
    policy = set_policy(spec="HS256", algorithm_lead=7 * DAY)
    made = DerivedState("next", T0 - LEAD)
    assert judge(activated(), derived=made, policy=policy, parents=[SetCount(1, 1, 2)]) == []


def test_a_repair_is_a_note() -> None:
    """The note has the reason on one line; a repair may be older than its set, since it dates the set back."""
    repair = Event(at=T0, event="repaired", note="two schedules\x1b[2J met")
    note = [("repaired", "key a was repaired: two schedules\\x1b[2J met")]
    assert judge(repair, derived=DerivedState("active", T0)) == note
    assert judge(repair, derived=DerivedState("active", T0), parents=[SetCount(1, 1, 2, T0 + DAY)]) == note


def test_a_forced_event_is_a_note() -> None:
    """A forced event passes the gate, and the note has its reason on one line."""
    early = Event(at=T0, event="activated", token_lifetime=3_600, forced="leaked\x1b[2J")
    soon = Event(at=T0, event="withdrawn", forced="not used")
    assert judge(early) == [("forced", "activated of a was forced: leaked\\x1b[2J")]
    assert judge(soon, derived=DerivedState("retiring", T0, {}, T0 + DAY)) == [
        ("forced", "withdrawn of a was forced: not used")
    ]


@pytest.mark.parametrize(
    ("policy", "lifetime", "least", "words"),
    [
        pytest.param({}, NOTHING, 2 * HOUR + SKEW, "2h10m", id="lag, lifetime and skew"),
        pytest.param({}, 5 * HOUR, 6 * HOUR + SKEW, "6h10m", id="what was promised before"),
        pytest.param({"spec": "ECDH-ES+A256KW"}, 5 * HOUR, 365 * DAY, "365d", id="the retention"),
    ],
)
def test_how_long_a_key_is_kept(policy: Any, lifetime: timedelta, least: timedelta, words: str) -> None:
    """A key is kept until its last token has expired on the slowest clock, and not a second less."""
    derived = DerivedState("active", T0, lifetime=lifetime)

    def kept(until: timedelta) -> Problems:
        return judge(deactivated(T0, T0 + until), derived=derived, policy=set_policy(**policy))

    assert kept(least) == kept(least + SECOND) == []
    ((code, message),) = kept(least - SECOND)
    assert code == "kept-too-short"
    assert message.startswith("the key is kept for ")
    assert message.endswith(f", but must be kept for {words}")


def test_a_key_that_was_kept_until_before() -> None:
    """The message says 0s, not a negative time."""
    derived = DerivedState("active", T0)
    assert judge(deactivated(T0, T0 - SECOND), derived=derived) == [
        ("event-malformed", "event deactivated: keep_until is before the event"),
        ("kept-too-short", "the key is kept for 0s, but must be kept for 2h10m"),
    ]


@pytest.mark.parametrize(("offset", "early"), [(-SECOND, True), (NOTHING, True), (SECOND, False)])
def test_a_key_is_withdrawn_strictly_after_keep_until(offset: timedelta, early: bool) -> None:
    """At the last instant, the key must still be published."""
    until = T0 + DAY
    at = until + offset
    found = judge(withdrawn(at), derived=DerivedState("retiring", T0, {}, until))
    reported = f"the key was withdrawn at {format_instant(at)}, but must be kept until 2026-11-24 17:00Z"
    assert found == ([("withdrawn-early", reported)] if early else [])


def test_a_next_key_is_withdrawn_at_any_time() -> None:
    """A next key never signed, so no token needs it."""
    assert judge(withdrawn(T0)) == []


def test_events_are_judged_one_after_the_other() -> None:
    """
    Each event is judged by the state after the last one: a receipt counts for the activation beside it, and is too
    young.
    """
    context = EventContext(make_key(), None, None, (), False, ClockBounds(T0, T0, SKEW))
    derived, found = judge_events(context, DerivedState("next", T0), [published(), activated(), activated()])
    assert (derived.state, derived.receipts) == ("active", {URL: T0})
    assert found == [("event-order", "event activated cannot follow the state active")]
    assert [code for code, _ in judge(published(), activated())] == ["activated-early"]


@pytest.mark.parametrize("missing", ["policy", "table"])
def test_without_a_policy_there_is_no_timing(missing: str) -> None:
    """A set without a table, and a missing keyvault.toml, have their own findings."""
    policy = None if missing == "policy" else Policy(SitePolicy(SITE), {})
    table = set_policy() if missing == "policy" else None
    context = EventContext(make_key(), policy, table, (SetCount(active=1),), False, ClockBounds(T0, T0, SKEW))
    assert judge_events(context, DerivedState("next", T0), [activated()])[1] == []


# --- sets -----------------------------------------------------------------------------------------------

FULL = SetCount(active=1, next=1, live=2, newest_at=T0)


def judged(after: SetCount, *parents: SetCount, closing: bool = False, listed: bool = True) -> Problems:
    sets = {"id-token": set_policy(closing=closing)} if listed else {}
    return list(judge_set("id-token", Policy(SitePolicy(SITE), sets), after, parents))


@pytest.mark.parametrize(
    ("after", "parents", "found"),
    [
        pytest.param(FULL, [FULL], [], id="one of each"),
        pytest.param(SetCount(2, 1, 3), [FULL], [("two-active", "set id-token has 2 active keys")], id="two active"),
        pytest.param(SetCount(2, 1, 3), [FULL, SetCount(2, 1, 3)], [], id="two active, which a parent has"),
        pytest.param(SetCount(1, 3, 4), [FULL], [("two-next", "set id-token has 3 next keys")], id="three next"),
        pytest.param(SetCount(1, 2, 3), [FULL], [("two-next", "set id-token has 2 next keys")], id="two next"),
        pytest.param(SetCount(1, 2, 3), [FULL, SetCount(1, 2, 3)], [], id="two next, which a parent has"),
        pytest.param(SetCount(), [], [], id="a new set without keys"),
        pytest.param(SetCount(), [SetCount()], [], id="a set that never had keys"),
        pytest.param(
            SetCount(0, 1, 1),
            [FULL],
            [("active-missing", "set id-token was left without an active key")],
            id="no active",
        ),
        pytest.param(
            SetCount(1, 0, 1), [FULL], [("next-missing", "set id-token was left without a next key")], id="no next"
        ),
        pytest.param(
            SetCount(0, 1, 1),
            [FULL, SetCount()],
            [("active-missing", "set id-token was left without an active key")],
            id="no active, and a parent that knows nothing of the set",
        ),
        pytest.param(SetCount(), [FULL, SetCount(0, 0, 0, T0)], [], id="none, as in a parent that has closed the set"),
    ],
)
def test_keys_of_a_set(after: SetCount, parents: list[SetCount], found: Problems) -> None:
    """A set has one active and one next key, unless a parent already lacks it."""
    assert found == judged(after, *parents)


def test_a_set_that_closes_may_be_empty() -> None:
    """Its keys end one after the other, and no key is added; two active keys are still an error."""
    assert judged(SetCount(), FULL, closing=True) == []
    assert judged(SetCount(2, 0, 2), FULL, closing=True) == [("two-active", "set id-token has 2 active keys")]


@pytest.mark.parametrize(
    ("after", "parents", "orphaned"),
    [
        pytest.param(SetCount(1, 1, 2), [FULL], True, id="live keys"),
        pytest.param(SetCount(live=1), [FULL], True, id="one that retires"),
        pytest.param(SetCount(), [FULL], False, id="none that is alive"),
        pytest.param(SetCount(1, 1, 2), [FULL, SetCount(live=1, orphaned=True)], False, id="which a parent has"),
    ],
)
def test_a_set_without_a_table(after: SetCount, parents: list[SetCount], orphaned: bool) -> None:
    """No run would rotate its keys."""
    message = "set id-token has live keys but no table in keyvault.toml"
    assert judged(after, *parents, listed=False) == ([("set-orphaned", message)] if orphaned else [])


def test_sets_without_a_policy() -> None:
    """Two active keys are an error even without keyvault.toml."""
    assert list(judge_set("x", None, SetCount(2, 0, 2), [])) == [("two-active", "set x has 2 active keys")]
    assert list(judge_set("x", None, SetCount(), [FULL])) == []


@pytest.mark.parametrize(
    ("key", "table", "reported"),
    [
        (next_key(), set_policy(), False),
        (next_key(), None, False),
        (next_key(), set_policy(spec="EdDSA"), True),
        (make_key(created(imported=True)), set_policy(spec="EdDSA"), False),
        (make_key(), set_policy(spec="EdDSA"), True),
    ],
)
def test_a_key_is_of_the_kind_that_policy_asks_for(key: Key, table: SetPolicy | None, reported: bool) -> None:
    """Only an imported key may be of another kind."""
    words = "a key for ES256 was created, but policy asks for EdDSA Ed25519"
    assert list(judge_algorithm(key, table)) == ([("algorithm-differs", words)] if reported else [])


# --- policy ---------------------------------------------------------------------------------------------


def policy_of(*tables: SetPolicy, signed: bool = False, exclude: Sequence[str] = (), confirm: Any = "live") -> Policy:
    sets = {table.name: table for table in tables}
    return Policy(SitePolicy(SITE, confirm=confirm), sets, AuditPolicy(signed, tuple(exclude)))


LIVE, COMMIT = policy_of(), policy_of(confirm="commit")
SIGNED = policy_of(signed=True)
COMMITS = 'confirm went from "live" to "commit": activation no longer waits for the live URL'


@pytest.mark.parametrize(
    ("olds", "new", "messages"),
    [
        pytest.param([LIVE], LIVE, [], id="the same"),
        pytest.param([LIVE], COMMIT, [COMMITS], id="commits count"),
        pytest.param([COMMIT], LIVE, [], id="the live URL counts"),
        pytest.param([LIVE, COMMIT], COMMIT, [], id="commits count, as in a parent"),
        pytest.param([LIVE, LIVE], COMMIT, [COMMITS], id="commits count, as in no parent"),
        pytest.param([SIGNED], LIVE, ["commits no longer have to be signed"], id="no signatures"),
        pytest.param([SIGNED, LIVE], LIVE, [], id="no signatures, as in a parent"),
        pytest.param([SIGNED], SIGNED, [], id="signatures still"),
        pytest.param([LIVE], SIGNED, [], id="signatures from now on"),
        pytest.param(
            [policy_of(exclude=["c"])],
            policy_of(exclude=["b", "a", "c"]),
            ["the audit no longer searches a, b for private keys"],
            id="more is left out",
        ),
        pytest.param(
            [policy_of(exclude=["a"]), policy_of(exclude=["b"])],
            policy_of(exclude=["a", "b"]),
            [],
            id="both parents left out something",
        ),
        pytest.param([policy_of(exclude=["a"])], LIVE, [], id="less is left out"),
        pytest.param(
            [LIVE],
            policy_of(exclude=["\x1b" + "x" * 300]),
            ["the audit no longer searches \\x1b" + "x" * 196 + " for private keys"],
            id="what is left out cannot repaint a screen",
        ),
    ],
)
def test_a_weaker_policy(olds: list[Policy], new: Policy, messages: list[str]) -> None:
    """The policy is compared with that of each parent: the line that a merge takes it from already has the finding."""
    assert list(judge_policy(olds, new)) == [("policy-loosened", message) for message in messages]


LEADS = "publication_lead of id-token went from 24h to 23h59m59s"
SKEWS = "clock_skew of id-token went from 10m to 10m1s: instants may be that far from their commits"


@pytest.mark.parametrize(
    ("olds", "new", "messages"),
    [
        pytest.param([{}], {}, [], id="the same"),
        pytest.param([{}], {"publication_lead": LEAD - SECOND}, [LEADS], id="a shorter lead"),
        pytest.param([{}], {"publication_lead": LEAD + SECOND}, [], id="a longer lead"),
        pytest.param([{"publication_lead": HOUR}, {}], {"publication_lead": HOUR}, [], id="the lead of a parent"),
        pytest.param(
            [{"algorithm_lead": 7 * DAY}],
            {"algorithm_lead": 6 * DAY},
            ["algorithm_lead of id-token went from 7d to 6d"],
            id="a shorter lead of new algorithms",
        ),
        pytest.param(
            [{"algorithm_lead": 7 * DAY}],
            {},
            ["algorithm_lead of id-token went from 7d to 24h"],
            id="no lead of new algorithms",
        ),
        pytest.param([{}, {"algorithm_lead": 7 * DAY}], {}, [], id="no lead of new algorithms, as in a parent"),
        pytest.param([{}], {"algorithm_lead": 7 * DAY}, [], id="a lead of new algorithms"),
        pytest.param([{}], {"clock_skew": SKEW + SECOND}, [SKEWS], id="a wider skew"),
        pytest.param([{}], {"clock_skew": SKEW - SECOND}, [], id="a narrower skew"),
        pytest.param([{"clock_skew": HOUR}, {}], {"clock_skew": HOUR}, [], id="the skew of a parent"),
        pytest.param([], {"publication_lead": NOTHING, "clock_skew": DAY}, [], id="a new set"),
        pytest.param([{}], {"publication_lead": LEAD - SECOND, "clock_skew": SKEW + SECOND}, [LEADS, SKEWS], id="both"),
    ],
)
def test_a_weaker_set(olds: list[Any], new: Any, messages: list[str]) -> None:
    """A shorter lead or a wider skew than in each parent that has the set."""
    others = [policy_of(set_policy(**old)) for old in olds]
    found = judge_policy([*others, policy_of(set_policy("other"))], policy_of(set_policy(**new)))
    assert list(found) == [("policy-loosened", message) for message in messages]


def test_the_allowed_clock_skew() -> None:
    """The largest skew of any set applies, or ten minutes without sets."""
    tables = [set_policy(name, clock_skew=skew) for name, skew in (("a", HOUR), ("b", DAY), ("c", MINUTE))]
    assert max_skew(policy_of(*tables)) == DAY
    assert max_skew(policy_of()) == max_skew(None) == SKEW_DEFAULT == 10 * MINUTE


def test_the_counts_of_a_set_in_each_parent() -> None:
    """Each parent has one count, which is zero if it had no such set."""
    parents = [ParentView(None, None, {}, {"a": FULL}), ParentView(None, None, {}, {})]
    assert parent_counts(parents, "a") == [FULL, SetCount()]
