"""Impossible sequences of events, and invalid instants."""

from __future__ import annotations

import json
from typing import Any

from keyvault.core.events import TRANSITIONS
from tests.vectors.cases.building import (
    ACCEPTED,
    MALFORMED,
    RECORD,
    SPELLING,
    T0,
    URL,
    Doc,
    Vectors,
    event,
    place,
    text,
)

STORIES: dict[str | None, list[str]] = {
    None: [],
    "next": ["created"],
    "active": ["created", "activated"],
    "retiring": ["created", "activated", "deactivated"],
    "withdrawn": ["created", "withdrawn"],
    "revoked": ["created", "revoked"],
}


def event_vectors(base: Doc, sealed: Doc) -> Vectors:
    vectors = Vectors("events", "Lives that no key can have, instants that are none, and the legal steps beside them.")
    path = place(base)

    def bad(name: str, about: str, events: Any, *codes: str, document: Doc = base) -> None:
        vectors.add(
            name, about, RECORD, text({**document, "events": events}), *codes or ("event-malformed",), path=path
        )

    def good(name: str, about: str, events: Any) -> None:
        vectors.add(name, about, ACCEPTED, text({**base, "events": events}), path=path)

    bad("no events", "a key has at least the event created", [], "event-malformed")
    for name, value in [("null", None), ("text", "created"), ("a number", 1), ("a list", []), ("empty", {})]:
        bad(f"an event that is {name}", "an event is an object", [event("created"), value], MALFORMED)
    for member in ("at", "event"):
        bad(
            f"an event without {member}",
            "every event has an instant and a name",
            [event("created", **{member: None})] if member == "at" else [{"at": T0}],
            MALFORMED,
        )
    for name in ("born", "Created", "", "created ", "rotated", "deleted"):
        bad(f"an event called {name!r}", "a name that no event has", [event(name)], MALFORMED)
    for member in ("event", "at", "note", "forced", "url", "reason"):
        bad(f"{member} is a number", "a member of another type", [event("created") | {member: 7}], MALFORMED)

    for state, story in STORIES.items():
        for name, following in TRANSITIONS.items():
            events = [event(earlier) for earlier in story] + [event(name)]
            if state in following:
                good(f"{name} after {state or 'nothing'}", "a legal step", events)
            else:
                bad(f"{name} after {state or 'nothing'}", "a step that cannot follow", events, "event-order")

    carriers = {"url": URL, "token_lifetime": 60, "keep_until": "2026-11-25T17:00:00Z", "reason": "compromised"}
    before = {name: STORIES[next(iter(states))] for name, states in TRANSITIONS.items()}
    for name, story in before.items():
        events = [event(earlier) for earlier in story]
        own = set(event(name)) - {"at", "event"}
        for member in own:
            bad(
                f"{name} without {member}", "the event lacks what it is about", [*events, event(name, **{member: None})]
            )
        for member, value in carriers.items():
            if member not in own:
                ordered = event(name) | {member: value}
                order = ["at", "event", "imported", "url", "token_lifetime", "keep_until", "reason", "note", "forced"]
                bad(
                    f"{name} with {member}",
                    "the event carries what belongs to another",
                    [*events, {one: ordered[one] for one in order if one in ordered}],
                )
        if name != "created":
            late = event(name)
            bad(
                f"{name} as imported",
                "only a key that is made can be imported",
                [
                    *events,
                    {"at": T0, "event": name, "imported": True, **{one: late[one] for one in late if one in own}},
                ],
            )

    active = [event("created")]
    for name, value, kind in [
        ("0", 0, "event-malformed"), ("-1", -1, "event-malformed"), ("a century and a second", 36_525 * 86_400 + 1, "event-malformed"),
        ("2^63 - 1", 2**63 - 1, "event-malformed"), ("2^63", 2**63, "event-malformed"), ("2^64", 2**64, "event-malformed"), ("a fraction", 3600.5, MALFORMED), ("text", "3600", MALFORMED),
        ("true", True, MALFORMED), ("a list", [], MALFORMED),
    ]:  # fmt: skip
        bad(
            f"token_lifetime: {name}",
            "seconds from 1 to a century",
            [*active, event("activated", token_lifetime=value)],
            kind,
        )
    good("token_lifetime: 1", "the shortest", [*active, event("activated", token_lifetime=1)])
    good("token_lifetime: a century", "the longest", [*active, event("activated", token_lifetime=36_525 * 86_400)])
    for member in ("note", "forced"):
        for name, value in [
            ("empty", ""),
            ("blanks", " \n\t"),
            ("501 letters", "x" * 501),
            ("no-break spaces", "\u00a0\u2003"),
        ]:
            bad(f"{member}: {name}", "1 to 500 characters that say something", [event("created", **{member: value})])
        for name, value in [
            ("500 letters", "x" * 500), ("HTML", "<script>alert(1)</script>"), ("an attribute", '"><img src=x onerror=alert(1)>'), ("a template", "{{7*7}}"),
            ("a workflow", "${{ github.token }}"), ("an ANSI escape", "\x1b[31mred"), ("right to left", "\u202eabc"), ("an emoji", "\U0001f511" * 100),
            ("a line separator", "a\u2028b"), ("a NUL", "a\0b"), ("DEL", "a\x7fb"), ("a private character", "\ue000"), ("combining marks", "a" + "\u0301" * 400),
        ]:  # fmt: skip
            if member == "note" or name in ("500 letters", "HTML", "a workflow"):
                good_text = (
                    json.dumps({**base, "events": [event("created", **{member: value})]}, indent=2, ensure_ascii=False)
                    + "\n"
                )
                vectors.add(
                    f"{member}: {name}",
                    "text of people is kept as it is; who shows it escapes it",
                    ACCEPTED,
                    good_text,
                    path=path,
                )
    for name, value in [
        ("unknown", "lost"),
        ("empty", ""),
        ("capitals", "Compromised"),
        ("a list", ["compromised"]),
        ("keyCompromise", "keyCompromise"),
    ]:
        bad(f"reason: {name}", "one of three", [*active, event("revoked", reason=value)], MALFORMED)

    for name, at, code in [
        ("no zone", "2026-11-23T17:00:00", "event-malformed"), ("an offset", "2026-11-23T18:00:00+01:00", "event-malformed"), ("a negative offset", "2026-11-23T12:00:00-05:00", "event-malformed"),
        ("an offset of zero", "2026-11-23T17:00:00+00:00", SPELLING), ("a negative zero", "2026-11-23T17:00:00-00:00", SPELLING), ("a small z", "2026-11-23T17:00:00z", SPELLING),
        ("a small t", "2026-11-23t17:00:00Z", SPELLING), ("a blank for T", "2026-11-23 17:00:00Z", SPELLING), ("zeros behind the point", "2026-11-23T17:00:00.000Z", SPELLING),
        ("six zeros", "2026-11-23T17:00:00.000000Z", SPELLING), ("a microsecond", "2026-11-23T17:00:00.000001Z", "event-malformed"), ("half a second", "2026-11-23T17:00:00.500000Z", "event-malformed"),
        ("nanoseconds", "2026-11-23T17:00:00.123456789Z", SPELLING), ("no seconds", "2026-11-23T17:00Z", MALFORMED), ("a date", "2026-11-23", MALFORMED),
        ("the 61st second", "2026-11-23T17:00:60Z", MALFORMED), ("24 o'clock", "2026-11-23T24:00:00Z", MALFORMED), ("the 30th of February", "2026-02-30T17:00:00Z", MALFORMED),
        ("the 13th month", "2026-13-01T17:00:00Z", MALFORMED), ("the year 10000", "10000-11-23T17:00:00Z", MALFORMED), ("a signed year", "+2026-11-23T17:00:00Z", MALFORMED),
        ("the year 0", "0000-11-23T17:00:00Z", MALFORMED), ("the year 9999", "9999-12-31T23:59:59Z", "event-malformed"), ("the year 9000", "9000-01-01T00:00:00Z", "event-malformed"),
        ("an offset of a day", "2026-11-23T17:00:00+24:00", MALFORMED), ("two zones", "2026-11-23T17:00:00ZZ", MALFORMED), ("text", "yesterday", MALFORMED), ("empty", "", MALFORMED),
        ("a blank before", " 2026-11-23T17:00:00Z", MALFORMED), ("other digits", "\u0662\u0660\u0662\u0666-11-23T17:00:00Z", MALFORMED), ("compact", "20261123T170000Z", MALFORMED),
        ("a week date", "2026-W48-1", MALFORMED), ("seconds since 1970", "1795453200", MALFORMED), ("a name of a zone", "2026-11-23T17:00:00[UTC]", MALFORMED),
        ("a true minus", "2026\u221211\u221223T17:00:00Z", MALFORMED),
    ]:  # fmt: skip
        codes = [SPELLING, "event-malformed"] if name == "nanoseconds" else [code]
        bad(f"at: {name}", "an instant in another spelling, or none", [event("created", at)], *codes)
        if code == "event-malformed":
            kept = [event("created"), event("activated"), event("deactivated", keep_until=at)]
            bad(f"keep_until: {name}", "every instant of a record is judged", kept, "event-malformed")
    for name, value in [
        ("a number", 1_795_453_200),
        ("a fraction", 1_795_453_200.5),
        ("null", None),
        ("a list", [2026, 11, 23]),
    ]:
        bad(f"at: {name}", "an instant is text", [{"at": value, "event": "created"}], MALFORMED)
    for name, at in [
        ("the last second of 8999", "8999-12-31T23:59:59Z"),
        ("1970", "1970-01-01T00:00:00Z"),
        ("a leap day", "2028-02-29T00:00:00Z"),
        ("2100", "2100-02-28T23:59:59Z"),
    ]:
        good(f"at: {name}", "an instant", [event("created", at)])
    bad(
        "an older event",
        "instants never decrease",
        [event("created"), event("activated", "2026-11-23T16:59:59Z")],
        "instant-decreases",
    )
    good("an event of the same second", "instants never decrease", [event("created"), event("activated")])
    bad(
        "keep_until before the event",
        "what is over cannot be kept",
        [event("created"), event("activated"), event("deactivated", keep_until="2026-11-23T16:59:59Z")],
    )
    good(
        "keep_until at the event",
        "kept for no time",
        [event("created"), event("activated"), event("deactivated", keep_until=T0)],
    )
    for end in ("withdrawn", "revoked"):
        bad(
            f"{end} and still sealed",
            "the private half leaves with the event",
            [event("created"), event(end)],
            "private-kept",
            document=sealed,
        )
    bad("said and default", "a default is not written", [{"at": T0, "event": "created", "imported": False}], SPELLING)
    bad("said and null", "what is absent is not written", [{"at": T0, "event": "created", "note": None}], SPELLING)
    good("400 receipts", "a long life", [event("created"), *(event("published") for _ in range(400))])
    return vectors
