"""The site in programs other than browsers: feed readers, calendars, validators, crawlers."""

from __future__ import annotations

import copy
import json
import re
from collections import Counter
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from typing import Any
from urllib.parse import urlsplit

import feedparser
import jsonschema
import pytest
from ical.calendar_stream import IcsCalendarStream
from ical.event import Event
from lxml import etree

from keyvault.site.views import newest_instant
from tests.cli.terminal import Terminal
from tests.site.sites import Rendered, RenderedSite

ATOM = "{http://www.w3.org/2005/Atom}"
SITEMAP = "{http://www.sitemaps.org/schemas/sitemap/0.9}"
#: RFC 3339 as RFC 4287, section 3.3, narrows it: a capital T, and a capital Z where there is no offset.
DATE = re.compile(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d(\.\d+)?(Z|[+-]\d\d:\d\d)")


def xml(data: bytes) -> etree._Element:
    """Return the root of *data*, which must be well-formed and declare no entity."""
    root = etree.fromstring(data, etree.XMLParser(resolve_entities=False, no_network=True))
    assert root.getroottree().docinfo.doctype == ""
    return root


# --- feed.atom ------------------------------------------------------------------------------------------


def texts(parent: etree._Element, name: str) -> list[str]:
    return [child.text or "" for child in parent.findall(ATOM + name)]


def atom_faults(feed: etree._Element) -> list[str]:
    """Return the violations of RFC 4287 in *feed*, as sentences."""
    faults = [] if feed.tag == ATOM + "feed" else [f"the root is {feed.tag}"]
    entries = feed.findall(ATOM + "entry")
    for parent in (feed, *entries):
        where = f"{parent.tag.removeprefix(ATOM)} {(texts(parent, 'id') or ['without id'])[0]}"
        for name in ("id", "title", "updated"):  # 4.1.1, 4.1.2: exactly one of each
            if len(texts(parent, name)) != 1:
                faults.append(f"{where}: {len(texts(parent, name))} times {name}")
        for name in ("summary", "content", "published", "rights", "subtitle", "generator", "icon", "logo", "source"):
            if len(texts(parent, name)) > 1:  # 4.1.1, 4.1.2: at most one of each
                faults.append(f"{where}: {len(texts(parent, name))} times {name}")
        for date in texts(parent, "updated") + texts(parent, "published"):  # 3.3
            if not DATE.fullmatch(date):
                faults.append(f"{where}: {date!r} is no date")
        for oid in texts(parent, "id"):  # 4.2.6: an absolute IRI
            if not urlsplit(oid).scheme or oid != oid.strip():
                faults.append(f"{where}: the id is not absolute")
        for text in [child for name in ("title", "summary") for child in parent.findall(ATOM + name)]:
            if text.get("type", "text") == "text" and len(text):  # 3.1.1.1: no child elements
                faults.append(f"{where}: markup in plain text")
        links = parent.findall(ATOM + "link")
        if any(not link.get("href") for link in links):  # 4.2.7.1
            faults.append(f"{where}: a link without href")
        alternates = Counter(
            (link.get("type"), link.get("hreflang")) for link in links if link.get("rel", "alternate") == "alternate"
        )
        if any(count > 1 for count in alternates.values()):  # 4.1.1, 4.1.2
            faults.append(f"{where}: two alternate links of one type")
        if parent is not feed and not alternates and not parent.findall(ATOM + "content"):  # 4.1.2
            faults.append(f"{where}: neither content nor an alternate link")
        for author in parent.findall(ATOM + "author"):  # 3.2.1
            if len(texts(author, "name")) != 1:
                faults.append(f"{where}: an author without a name")
    if not feed.findall(ATOM + "author") and not all(entry.findall(ATOM + "author") for entry in entries):
        faults.append("an entry has no author")  # 4.1.1
    # 4.1.1: entries with the same id must differ in updated; here, each event is one entry.
    faults += [f"two entries of id {oid}" for oid, count in Counter(
        oid for entry in entries for oid in texts(entry, "id")
    ).items() if count > 1]  # fmt: skip
    return faults


def test_feed_is_valid_atom(site: RenderedSite) -> None:
    """feed.atom is well-formed and does not violate RFC 4287."""
    assert atom_faults(xml(site.files["feed.atom"])) == []


@pytest.mark.parametrize(
    ("old", "new", "fault"),
    [
        (rb"<updated>[^<]*</updated>", b"", "0 times updated"),
        (rb"<updated>([^<]*)T([^<]*)</updated>", rb"<updated>\1 \2</updated>", "is no date"),
        (rb"<id>https://", b"<id>", "the id is not absolute"),
        (rb"<author>.*?</author>", b"", "an entry has no author"),
        (rb"(<entry>.*?</entry>)", rb"\1\1", "two entries of id"),
        (rb'(<entry>.*?<link [^>]*?) href="[^"]*"', rb"\1", "a link without href"),
    ],
)
def test_faults_of_a_feed_are_found(rendered: Rendered, old: bytes, new: bytes, fault: str) -> None:
    """The checks of this module find the faults of a broken feed."""
    data, count = re.subn(old, new, rendered("fresh").files["feed.atom"], count=1, flags=re.S)

    assert count == 1
    assert fault in "\n".join(atom_faults(xml(data)))


def test_feed_readers_understand_the_feed(site: RenderedSite) -> None:
    """feedparser reads feed.atom without an error and finds its own URL."""
    parsed = feedparser.parse(site.files["feed.atom"])

    assert not parsed.bozo
    assert parsed.version == "atom10"
    (own,) = [link.href for link in parsed.feed.links if link.rel == "self"]
    assert own == f"{site.url}/feed.atom"
    assert site.file(own) == "feed.atom"
    assert parsed.feed.title == site.lab.state.policy.site.title


def test_feed_has_an_entry_for_each_event_newest_first(site: RenderedSite) -> None:
    """Each event of each key is an entry with a unique id; the newest are first, and 200 is the limit."""
    entries = feedparser.parse(site.files["feed.atom"]).entries
    events = [event for key in site.lab.state.keys.values() for event in key.events]

    assert len(entries) == min(200, len(events))
    assert len({entry.id for entry in entries}) == len(entries)
    instants = [datetime(*entry.updated_parsed[:6], tzinfo=UTC) for entry in entries]
    assert instants == sorted((event.at for event in events), reverse=True)[: len(entries)]


def test_links_of_the_feed_lead_to_the_site(site: RenderedSite) -> None:
    """Every link of an entry is the page of its key."""
    parsed = feedparser.parse(site.files["feed.atom"])

    assert all(site.file(link.href) for link in parsed.feed.links)
    for entry in parsed.entries:
        for link in entry.links:
            path = site.file(link.href)
            assert path is not None
            assert re.search(r"Key (\S+) of", entry.summary)[1].encode() in site.files[path]


# --- upcoming.ics ---------------------------------------------------------------------------------------


def calendar_events(site: RenderedSite) -> list[Event]:
    return IcsCalendarStream.calendar_from_ics(site.files["upcoming.ics"].decode()).events


def planned(site: RenderedSite) -> list[dict[str, Any]]:
    """Return the output of ``keyvault plan --json`` for the year after the newest event, without deactivations."""
    newest = newest_instant(site.lab.state)
    if newest is None:
        return []  # without a key there is no instant at which a calendar could begin
    terminal = Terminal(site.lab.folder, site.lab.environ, newest)
    transitions = terminal.ok("plan", "--json", "--until", "365d").json
    # A deactivation comes with an activation, which has the entry in the calendar.
    return [transition for transition in transitions if transition["event"] != "deactivated"]


def test_calendar_is_the_plan(site: RenderedSite) -> None:
    """upcoming.ics, read by a different library, has the transitions of `keyvault plan --json`."""
    events, transitions = calendar_events(site), planned(site)

    assert len(events) == len(transitions)
    assert bool(events) == bool(site.lab.state.keys)
    words: dict[str, set[str]] = {}
    for event, transition in zip(events, transitions, strict=True):
        assert event.dtstart == datetime.fromisoformat(transition["at"])
        name, _, word = str(event.summary).partition(": ")
        assert name == transition["set"]
        words.setdefault(transition["event"], set()).add(word)
        assert (transition["kid"] or "") in (event.description or "")
        assert bool(transition["kid"]) == bool(event.description)
    # Each event has one wording, which no other event has.
    assert [len(found) for found in words.values()] == [1] * len(words)
    assert len(set.union(set(), *words.values())) == len(words)


def test_calendar_entries_are_short_and_distinct(site: RenderedSite) -> None:
    """Each entry has a unique id, a timestamp and a duration, so that calendars update it instead of duplicating it."""
    events = calendar_events(site)

    assert len({event.uid for event in events}) == len(events)
    for event in events:
        assert event.dtstamp is not None
        assert event.dtstamp.tzinfo is not None
        assert timedelta(0) < event.computed_duration <= timedelta(hours=1)


def test_calendar_lines_are_those_of_rfc_5545(site: RenderedSite) -> None:
    """Lines end in CRLF and have at most 75 octets; the calendar has its version and its producer."""
    data = site.files["upcoming.ics"]

    assert data.endswith(b"\r\n")
    assert b"\n" not in data.replace(b"\r\n", b"")
    assert all(len(line) <= 75 for line in data.split(b"\r\n"))
    assert data.startswith(b"BEGIN:VCALENDAR\r\n")
    assert data.count(b"\r\nVERSION:2.0\r\n") == 1
    assert data.count(b"\r\nPRODID:") == 1


# --- history.json ---------------------------------------------------------------------------------------


def validator(site: RenderedSite) -> jsonschema.Draft202012Validator:
    return jsonschema.Draft202012Validator(json.loads(site.files["history.schema.json"]))


def test_schema_of_the_history_is_a_schema(rendered: Rendered) -> None:
    """history.schema.json names its draft and is valid."""
    schema = json.loads(rendered("fresh").files["history.schema.json"])

    assert schema["$schema"] == "https://json-schema.org/draft/2020-12/schema"
    jsonschema.Draft202012Validator.check_schema(schema)


def test_history_is_valid(site: RenderedSite) -> None:
    """history.json is valid against the site's own schema."""
    assert list(validator(site).iter_errors(json.loads(site.files["history.json"]))) == []


def _parent(document: Any, names: tuple[str, ...]) -> Any:
    """Return the member at the path *names*; of an array, the first element."""
    for name in names:
        document = document[name]
        document = document[0] if isinstance(document, list) else document
    return document


def _without(*names: str) -> Callable[[Any], None]:
    return lambda document: _parent(document, names[:-1]).pop(names[-1])


def _with(value: Any, *names: str) -> Callable[[Any], None]:
    return lambda document: _parent(document, names[:-1]).update({names[-1]: value})


@pytest.mark.parametrize(
    "change",
    [
        pytest.param(_without("format"), id="no format"),
        pytest.param(_with("1", "format"), id="format as text"),
        pytest.param(_without("commit"), id="no commit"),
        pytest.param(_with({}, "keys"), id="keys as an object"),
        pytest.param(_without("keys", "kid"), id="key without kid"),
        pytest.param(_with(7, "keys", "thumbprint"), id="thumbprint as a number"),
        pytest.param(_with(None, "keys", "events"), id="key without events"),
        pytest.param(_without("keys", "events", "at"), id="event without an instant"),
        pytest.param(_with(["created"], "keys", "events"), id="event as text"),
        pytest.param(_without("sets", "jwks_uri"), id="set without a JWK Set"),
    ],
)
def test_wrong_history_is_not_valid(rendered: Rendered, change: Callable[[Any], None]) -> None:
    """The schema rejects a document with a missing member, or a member of the wrong type."""
    site = rendered("fresh")
    document = json.loads(site.files["history.json"])
    wrong = copy.deepcopy(document)
    change(wrong)

    assert wrong != document
    assert not validator(site).is_valid(wrong)


# --- sitemap.xml ----------------------------------------------------------------------------------------


def locations(site: RenderedSite) -> list[str]:
    root = xml(site.files["sitemap.xml"])
    assert root.tag == SITEMAP + "urlset"
    assert {child.tag for child in root} == {SITEMAP + "url"}
    return [loc.text for loc in root.iter(SITEMAP + "loc")]


def test_sitemap_lists_every_page(site: RenderedSite) -> None:
    """sitemap.xml lists every page except 404.html once, and nothing else."""
    found = locations(site)

    assert len(set(found)) == len(found)
    assert {site.file(url) for url in found} == {path for path in site.pages if path.endswith("index.html")}


def test_pages_are_in_the_sitemap_under_their_canonical_url(site: RenderedSite) -> None:
    """The canonical URL of a page is its URL in the sitemap."""
    for url in locations(site):
        page = etree.HTML(site.files[str(site.file(url))].decode())
        assert page.xpath("string(//link[@rel='canonical']/@href)") == url


def test_robots_txt_names_the_sitemap(site: RenderedSite) -> None:
    """robots.txt names the sitemap and forbids nothing."""
    lines = site.files["robots.txt"].decode().splitlines()

    assert f"Sitemap: {site.url}/sitemap.xml" in lines
    assert not any(line.startswith("Disallow: /") for line in lines)
