"""
Render planned transitions as an iCalendar file.

Source: RFC 5545, through the icalendar package.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable
from datetime import timedelta

from keyvault.core.outlook import Transition
from keyvault.core.state import VaultState

_SUMMARIES = {
    "activated": "{set}: rotate",
    "withdrawn": "{set}: withdraw the old key",
    "published": "{set}: the next key should be live",
    "created": "{set}: create the next key",
}


def calendar(transitions: Iterable[Transition], state: VaultState) -> bytes:
    """Return *transitions* as a calendar; the same transitions give the same bytes."""
    from icalendar import Calendar, Event

    document = Calendar()
    document.add("prodid", "-//keyvault//planned transitions//EN")
    document.add("version", "2.0")
    for transition in transitions:
        summary = _SUMMARIES.get(transition.event)
        if summary is None:
            continue  # a deactivation comes with the activation of another key
        name = f"{state.policy.site.url} {transition.set} {transition.event} {transition.at.isoformat()}"
        entry = Event()
        entry.add("uid", hashlib.sha256(name.encode()).hexdigest()[:32] + "@keyvault")
        entry.add("dtstamp", transition.at)
        entry.add("dtstart", transition.at)
        entry.add("duration", timedelta(minutes=15))
        entry.add("summary", summary.format(set=transition.set))
        if transition.kid:
            entry.add("description", f"key {transition.kid}")
        document.add_component(entry)
    data: bytes = document.to_ical()
    return data
