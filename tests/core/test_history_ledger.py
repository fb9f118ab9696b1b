"""The ledger of a vault, carried from commit to commit: its counts, its indexes, and the join of a merge."""

from __future__ import annotations

from datetime import datetime
from typing import Any

import msgspec
import pytest

from keyvault.core.events import Event
from keyvault.core.history.derived_state import derive_state
from keyvault.core.history.ledger import Entry, Ledger, SetCount
from keyvault.core.jwk import PublicJWK
from keyvault.core.keys import Key
from keyvault.core.policy import Policy, SitePolicy
from tests.core.build import (
    DAY,
    HOUR,
    SECOND,
    SITE,
    T0,
    active_key,
    created,
    make_key,
    next_key,
    retiring_key,
    revoked,
    set_policy,
    withdrawn,
)


def entry(key: Key) -> Entry:
    return Entry("blob", key, derive_state(key.events))


def ledger_of(*keys: Key, policy: Policy | None = None) -> Ledger:
    """Return a ledger of the records of *keys*, read in order."""
    ledger = Ledger(policy)
    for key in keys:
        ledger.remember(key, key.path)
        ledger.put(key.path, entry(key))
    return ledger


# --- counts ---------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("key", "count"),
    [
        pytest.param(next_key(T0), SetCount(0, 1, 1, T0), id="next"),
        pytest.param(active_key(T0), SetCount(1, 0, 1, T0, signing={"ES256": 1}), id="active"),
        pytest.param(retiring_key(T0, T0 + DAY), SetCount(0, 0, 1, T0, signing={"ES256": 1}), id="retiring"),
        pytest.param(make_key(created(), withdrawn(T0)), SetCount(0, 0, 0, T0), id="withdrawn"),
        pytest.param(make_key(created(), revoked(T0)), SetCount(0, 0, 0, T0), id="revoked"),
        pytest.param(make_key(), SetCount(), id="without events"),
    ],
)
def test_counts_of_a_key(key: Key, count: SetCount) -> None:
    """A key counts under its state, and as live until its end, in its own set only."""
    ledger = ledger_of(key)
    assert (ledger.count("id-token"), ledger.count("other")) == (count, SetCount())


def test_keys_of_a_set_add_up() -> None:
    """The newest instant of all of them is that of the set, in whatever order they are read."""
    ledger = ledger_of(next_key(T0 + DAY), active_key(T0), next_key(T0 - DAY), active_key(T0 + HOUR))
    assert ledger.count("id-token") == SetCount(2, 2, 4, T0 + DAY, signing={"ES256": 2})


def test_a_record_that_changes() -> None:
    """It counts in its present state; a removed record no longer counts, but its instant stays."""
    key = next_key(T0)
    ledger = ledger_of(key)
    ended = msgspec.structs.replace(key, events=(*key.events, withdrawn(T0 + DAY)))
    ledger.put(key.path, entry(ended))
    assert ledger.entries == {key.path: entry(ended)}
    assert ledger.count("id-token") == SetCount(0, 0, 0, T0 + DAY)
    ledger.put(key.path, entry(key))
    ledger.put(key.path, None)
    assert ledger.entries == {}
    assert ledger.count("id-token") == SetCount(0, 0, 0, T0 + DAY)
    ledger.put(key.path, None)
    assert ledger.count("id-token") == SetCount(0, 0, 0, T0 + DAY)


@pytest.mark.parametrize(
    ("key", "policy", "orphaned"),
    [
        pytest.param(active_key(), Policy(SitePolicy(SITE), {}), True, id="no table"),
        pytest.param(retiring_key(T0, T0), Policy(SitePolicy(SITE), {}), True, id="no table, and a key that retires"),
        pytest.param(active_key(), Policy(SitePolicy(SITE), {"id-token": set_policy()}), False, id="a table"),
        pytest.param(make_key(created(), revoked(T0)), Policy(SitePolicy(SITE), {}), False, id="nothing alive"),
        pytest.param(active_key(), None, False, id="no policy"),
    ],
)
def test_sets_without_a_table(key: Key, policy: Policy | None, orphaned: bool) -> None:
    """They have live keys, but keyvault.toml does not name them."""
    assert orphaned == ledger_of(key, policy=policy).count("id-token").orphaned


# --- going back -----------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("others", "newest_at"),
    [
        pytest.param([], T0, id="alone"),
        pytest.param([next_key(T0 + HOUR, kid="other")], T0 + HOUR, id="beside a newer one"),
        pytest.param([next_key(T0 - HOUR, kid="other")], T0, id="beside an older one"),
        pytest.param([next_key(T0 + DAY, set_name="other", kid="other")], T0, id="beside a newer one of another set"),
        pytest.param([make_key(kid="other")], T0, id="beside one without events"),
    ],
)
def test_restoring_a_record(others: list[Key], newest_at: datetime) -> None:
    """A restored record leaves no future instant behind, which would make all later events too old."""
    key = active_key(T0, kid="a")
    ledger = ledger_of(*others, key)
    sound = ledger.entries[key.path]
    wrong = msgspec.structs.replace(key, events=(*key.events, Event(at=T0 + 999 * DAY, event="lifetime")))
    ledger.put(key.path, entry(wrong))
    ledger.last_valid[key.path] = sound
    ledger.restore(key.path, sound)
    mates = sum(other.set == "id-token" and bool(other.events) for other in others)
    assert ledger.entries[key.path] == sound
    assert ledger.last_valid == {}
    assert ledger.count("id-token") == SetCount(1, mates, 1 + mates, newest_at, signing={"ES256": 1})


def test_restoring_a_record_without_events() -> None:
    """There is no instant at all."""
    key = make_key()
    ledger = ledger_of(key)
    ledger.last_valid[key.path] = entry(key)
    ledger.restore(key.path, entry(key))
    assert ledger.count("id-token") == SetCount()


def test_a_copy_is_independent() -> None:
    """A change of one branch does not appear in the other."""
    key, more = active_key(), next_key(T0, set_name="more")
    ledger = ledger_of(key, policy=Policy(SitePolicy(SITE), {}))
    ledger.last_valid[key.path] = ledger.entries[key.path]
    ledger.recipients, ledger.recipients_oid, ledger.policy_oid = {}, "list", "policy"
    same = ledger.copy()
    assert same == ledger
    other = ledger.copy()
    other.remember(more, more.path)
    other.put(more.path, entry(more))
    other.last_valid[more.path] = entry(more)
    assert same == ledger
    for member in ("entries", "last_valid", "counts", "kids", "thumbprints"):
        assert getattr(other, member) != getattr(ledger, member)


def test_records_of_a_parent() -> None:
    """The ledger lists keys that a commit changes, and no others; a new key has None."""
    key, other = active_key(), next_key(set_name="other")
    policy = Policy(SitePolicy(SITE), {})
    ledger = ledger_of(key, other, policy=policy)
    ledger.recipients_oid = "list"
    before = ledger.view([key.path, "keys.enc/x.json"], ["id-token", "gone"])
    assert (before.policy, before.recipients) == (policy, "list")
    assert before.entries == {key.path: entry(key), "keys.enc/x.json": None}
    assert before.sets == {"id-token": SetCount(1, 0, 1, T0, orphaned=True, signing={"ES256": 1}), "gone": SetCount()}


# --- used kids ------------------------------------------------------------------------------------------


def remembered(ledger: Ledger, key: Key, path: str) -> list[tuple[str, str]]:
    return ledger.remember(key, path)


def test_a_kid_is_used_once() -> None:
    """Also in capitals, which some file systems do not tell apart; where it was used first is named."""
    ledger = Ledger()
    assert remembered(ledger, make_key(kid="Key"), "first") == []
    for kid, path in (("Key", "second"), ("kEY", "third")):
        assert remembered(ledger, make_key(kid=kid), path) == [("kid-reused", f"kid {kid} was used before, in first")]
    assert remembered(ledger, make_key(kid="other"), "fourth") == []
    assert ledger.kids == {"key": "first", "other": "fourth"}


def test_a_public_key_is_used_once() -> None:
    """Under one kid; the first holder is named."""
    ledger, key = Ledger(), make_key(kid="a")
    assert remembered(ledger, key, "first") == []
    for kid in ("b", "c"):
        again = msgspec.structs.replace(key, public=msgspec.structs.replace(key.public, kid=kid))
        found = [("key-reused", f"the public key of {kid} was used before, as a")]
        assert found == remembered(ledger, again, "second")
    assert ledger.thumbprints == {key.public.thumbprint: "a"}


def test_kids_of_removed_records_are_remembered() -> None:
    """A kid is not free because its record was removed."""
    key = make_key(created(), kid="a")
    ledger = ledger_of(key)
    ledger.put(key.path, None)
    assert remembered(ledger, key, "again") == [("kid-reused", f"kid a was used before, in {key.path}")]


def test_a_record_without_a_public_key() -> None:
    """Its kid counts; that there is no public key is said where it is read."""
    bare = msgspec.structs.replace(make_key(), public=PublicJWK(kty="EC", kid="a", use="sig", alg="ES256"))
    ledger = Ledger()
    assert remembered(ledger, bare, "first") == []
    assert (ledger.kids, ledger.thumbprints) == ({"a": "first"}, {})
    assert [code for code, _ in remembered(ledger, bare, "second")] == ["kid-reused"]


# --- merges ---------------------------------------------------------------------------------------------


def branches(ours: Key, theirs: Key, *, base: Any = ()) -> tuple[Ledger, Ledger]:
    start = ledger_of(*base)
    lines = []
    for key in (ours, theirs):
        line = start.copy()
        line.remember(key, key.path)
        line.put(key.path, entry(key))
        lines.append(line)
    return lines[0], lines[1]


def test_two_branches_that_have_nothing_in_common() -> None:
    """A kid or key that either line used counts as used."""
    ours, theirs = branches(make_key(created(), kid="a"), make_key(created(), kid="b"))
    assert ours.join(theirs) == []
    assert ours.kids == {"a": "keys.enc/id-token/a.json", "b": "keys.enc/id-token/b.json"}
    assert set(ours.thumbprints.values()) == {"a", "b"}


def test_a_kid_that_both_sides_used() -> None:
    """In two sets, so that git saw no conflict; it is said of the file of the other side."""
    ours, theirs = branches(make_key(kid="a", set_name="one"), make_key(kid="a", set_name="two"))
    message = "its kid was used on the other side, in keys.enc/one/a.json"
    assert ours.join(theirs) == [("keys.enc/two/a.json", "kid-reused", message)]
    assert ours.kids == {"a": "keys.enc/one/a.json"}


def test_a_public_key_that_both_sides_used() -> None:
    """Under two kids; it is said of the file of the other side."""
    key = make_key(kid="A")
    again = msgspec.structs.replace(key, public=msgspec.structs.replace(key.public, kid="B"))
    ours, theirs = branches(key, again)
    message = "its public key was used on the other side, as A"
    assert ours.join(theirs) == [("keys.enc/id-token/B.json", "key-reused", message)]
    assert ours.thumbprints == {key.public.thumbprint: "A"}


@pytest.mark.parametrize("swapped", [False, True])
def test_duplicates_on_one_side(swapped: bool) -> None:
    """The merge does not report them again, whichever side has them."""
    one = make_key(created(), kid="A", set_name="one")
    two = make_key(created(), kid="A", set_name="two")
    copied = msgspec.structs.replace(one, set="three", public=msgspec.structs.replace(one.public, kid="B"))
    few, many = ledger_of(one), ledger_of(two, copied, one)
    ours, theirs = (many, few) if swapped else (few, many)
    assert ours.join(theirs) == []


def test_several_of_both_come_in_a_fixed_order() -> None:
    """Two runs of the audit print the same."""
    keys = [make_key(kid=kid, set_name="one") for kid in "cab"]
    ours = ledger_of(*keys)
    theirs = ledger_of(*(make_key(kid=key.kid, set_name="two") for key in keys))
    assert [path for path, _, _ in ours.join(theirs)] == [f"keys.enc/two/{kid}.json" for kid in "abc"]


def test_an_instant_is_no_reason_to_forget_another() -> None:
    """A second set does not touch the first."""
    ledger = ledger_of(active_key(T0), active_key(T0 + SECOND, set_name="other"))
    assert [ledger.count(name).newest_at for name in ("id-token", "other")] == [T0, T0 + SECOND]
