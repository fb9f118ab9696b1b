"""
Build feed.atom and sitemap.xml, and select the transitions for upcoming.ics.

Sources: RFC 4287 (Atom), RFC 4151 (tag URIs), sitemaps.org protocol 0.9.
"""

from __future__ import annotations

import heapq
from collections.abc import Sequence
from datetime import datetime, timedelta
from urllib.parse import quote, urlsplit
from xml.etree.ElementTree import Element, SubElement, indent, tostring
from xml.sax.saxutils import escape

from keyvault.core.jwk import file_stem
from keyvault.core.outlook import Transition, outlook
from keyvault.core.state import VaultState
from keyvault.core.text import printable
from keyvault.site.documents import is_shown, iso

#: The newest entries, for feed readers; history.json has all.
ENTRIES_MAX = 200
UPCOMING_MAX = 500
UPCOMING_SPAN = timedelta(days=365)
UPCOMING_STEP = timedelta(days=4)
#: The limit of the protocol.
SITEMAP_MAX = 50_000

#: Characters of a kid that a tag URI (RFC 4151) may contain unescaped.
_IN_TAG = ":=+@~"

_ATOM = "http://www.w3.org/2005/Atom"
_SITEMAP = "http://www.sitemaps.org/schemas/sitemap/0.9"


def atom_feed(state: VaultState) -> bytes:
    """Return the newest events as an Atom feed, an entry for each event, newest first."""
    site = state.policy.site
    events = heapq.nlargest(
        ENTRIES_MAX,
        (
            (event.at, key.set, key.kid, index, key)
            for key in state.keys.values()
            for index, event in enumerate(key.events)
        ),
        key=lambda item: item[:4],
    )
    host = urlsplit(site.url).hostname or "localhost"
    feed = Element("feed", xmlns=_ATOM)
    _text(feed, "title", site.title)
    _text(feed, "id", f"{site.url}/feed.atom")
    _text(feed, "updated", iso(events[0][0]) if events else "1970-01-01T00:00:00Z")
    SubElement(feed, "link", rel="self", type="application/atom+xml", href=f"{site.url}/feed.atom")
    SubElement(feed, "link", rel="alternate", type="text/html", href=f"{site.url}/")
    _text(SubElement(feed, "author"), "name", site.title)
    for at, set_name, kid, index, key in events:
        event = key.events[index]
        entry = SubElement(feed, "entry")
        _text(entry, "title", f"{set_name}: {event.event} {kid[:16]}")
        _text(entry, "id", f"tag:{host},{iso(key.events[0].at)[:10]}:{quote(kid, safe=_IN_TAG)}/{index}")
        _text(entry, "updated", iso(at))
        page = f"{site.url}/keys/{file_stem(kid)}/index.html"
        SubElement(entry, "link", rel="alternate", type="text/html", href=page)
        words = [f"Key {kid} of {set_name} ({key.public.alg}): {event.event}", event.reason, event.note, event.forced]
        _text(entry, "summary", "; ".join(word for word in words if word))
    return _document(feed)


def upcoming(state: VaultState, newest: datetime | None) -> list[Transition]:
    """Return the planned transitions of the year after *newest*, the newest instant on record; at most 500."""
    if newest is None:
        return []
    shown = {name for name, key_set in state.sets.items() if key_set.rendered}
    span = UPCOMING_STEP
    while True:
        # With many sets, the first days fill the list: planning a whole year would take longer than all other work.
        planned = outlook(state, newest, until=newest + min(span, UPCOMING_SPAN), names=shown)
        transitions = [
            transition for transition in planned if transition.kid is None or is_shown(state.keys[transition.kid])
        ]
        if len(transitions) >= UPCOMING_MAX or span >= UPCOMING_SPAN:
            return transitions[:UPCOMING_MAX]
        span *= 3


def sitemap(urls: Sequence[str]) -> bytes:
    """Return a sitemap of *urls*; those beyond the limit of the protocol are left out."""
    # As text: building 50,000 XML elements would take longer than all other documents together.
    entries = [f" <url>\n  <loc>{escape(printable(url))}</loc>\n </url>\n" for url in urls[:SITEMAP_MAX]]
    body = f'<urlset xmlns="{_SITEMAP}">\n{"".join(entries)}</urlset>' if entries else f'<urlset xmlns="{_SITEMAP}" />'
    return f'<?xml version="1.0" encoding="utf-8"?>\n{body}\n'.encode()


def _text(parent: Element, name: str, text: str) -> None:
    SubElement(parent, name).text = printable(text)


def _document(root: Element) -> bytes:
    indent(root, space=" ")
    body: bytes = tostring(root, encoding="utf-8")
    return b'<?xml version="1.0" encoding="utf-8"?>\n' + body + b"\n"
