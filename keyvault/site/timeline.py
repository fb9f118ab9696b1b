"""
Draw the timeline of keys as inline SVG.

Each set is a lane, with as many rows as keys overlap. Each phase of a key is a bar: published ahead, active, retiring;
paler if it is only planned. A mark shows a revocation. The drawing covers the last few cryptoperiods and the planned
transitions; its text alternative says the same in words, and `site.js` adds a line for today. Classes alone style it,
since the page allows no inline style.

Source: SVG 2; the SVG Accessibility API Mappings for the roles.
"""

from __future__ import annotations

import html
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta

from keyvault.core.events import corrected_instants
from keyvault.core.keys import Key
from keyvault.core.state import KeySet
from keyvault.core.timing import rotation_due_at

WIDTH = 1000
_ROW = 14
_BAR = 8
_TOP = 26
_LABEL = 22
#: The limits of the past that is drawn: in cryptoperiods of the slowest set, and eighteen months.
_PAST_PERIODS = 8
_PAST_MAX = timedelta(days=548)
#: The limit of the future, in proportion to the past: a key for decryption may be kept for years.
_FUTURE_RATIO = 0.35
#: With more sets than this, only the pages of the sets have a timeline.
LANES_MAX = 24
#: With more keys than this, bars have no tooltips, and all bars of a kind are drawn as a single path.
_TOOLTIPS_MAX = 80

#: Returns the horizontal position of an instant, in units of the drawing.
Scale = Callable[[datetime], int]

_PHASES = {"activated": "active", "reactivated": "active", "deactivated": "retiring"}


@dataclass(frozen=True, slots=True)
class _Bar:
    """A phase of a key (next, active or retiring), either on record or planned."""

    kind: str
    start: datetime
    end: datetime
    planned: bool = False


@dataclass(frozen=True, slots=True)
class _KeyBars:
    """A key and its phases, oldest first."""

    key: Key
    bars: tuple[_Bar, ...]


def timeline(key_sets: Sequence[KeySet], *, title: str) -> str:
    """
    Return the SVG of *key_sets*, a lane each, or an empty string if there is nothing to draw.

    Args:
        key_sets: The sets, in the order of the lanes; those beyond `LANES_MAX` are left out.
        title: The name of the drawing for assistive technology.
    """
    key_sets = [key_set for key_set in key_sets if key_set.keys][:LANES_MAX]
    if not key_sets:
        return ""
    newest = max(key.life.newest_at for key_set in key_sets for key in key_set.keys)
    lanes = [
        (key_set, [_KeyBars(key, tuple(_bars(key, key_set, newest))) for key in key_set.keys]) for key_set in key_sets
    ]
    start, end = _window(lanes, newest)
    scale = WIDTH / (end - start).total_seconds()

    def x(instant: datetime) -> int:
        return round(max(0.0, min(WIDTH, (instant - start).total_seconds() * scale)))

    canvas = _Canvas(x, tooltips=sum(len(rows) for _, rows in lanes) <= _TOOLTIPS_MAX)
    parts: list[str] = []
    y = _TOP
    for key_set, rows in lanes:
        parts.append(f'<text class="lane" x="0" y="{y + 12}">{html.escape(key_set.name)}</text>')
        y += _LABEL
        packed = _pack(row for row in rows if row.bars and row.bars[-1].end >= start)
        parts += canvas.draw(packed, y)
        y += max(len(packed), 1) * _ROW + 10
    words = " ".join(_description(key_set) for key_set, _ in lanes)
    return (
        f'<svg class="timeline" viewBox="0 0 {WIDTH} {y}" width="{WIDTH}" height="{y}" role="img" '
        f'aria-labelledby="timeline-title" aria-describedby="timeline-text" '
        f'data-start="{start:%Y-%m-%dT%H:%M:%SZ}" data-end="{end:%Y-%m-%dT%H:%M:%SZ}">'
        f'<title id="timeline-title">{html.escape(title)}</title><desc id="timeline-text">{html.escape(words)}</desc>'
        f"{''.join(_axis(start, end, x, y))}{''.join(parts)}</svg>"
    )


def _bars(key: Key, key_set: KeySet, newest: datetime) -> Iterator[_Bar]:
    """Yield the phases of *key*: those on record, and the planned rest of its current phase."""
    phase, since = "next", key.life.created_at
    for event, at in zip(key.events, corrected_instants(key.events), strict=True):
        following = _PHASES.get(event.event, "")
        if following or event.event in ("withdrawn", "revoked"):
            yield _Bar(phase, since, at)
            phase, since = following, at
    if not phase:
        return
    yield _Bar(phase, since, newest)
    planned = key.life.keep_until if phase == "retiring" else rotation_due_at(key_set)
    if planned is not None and planned > newest and not (key_set.policy.closing and phase != "retiring"):
        yield _Bar(phase, newest, planned, planned=True)


def _window(lanes: Sequence[tuple[KeySet, Sequence[_KeyBars]]], newest: datetime) -> tuple[datetime, datetime]:
    """Return the first and last instant of the drawing."""
    oldest = min(row.key.life.created_at for _, rows in lanes for row in rows)
    slowest = max(key_set.policy.cryptoperiod for key_set, _ in lanes)
    start = max(oldest, newest - min(_PAST_MAX, _PAST_PERIODS * slowest))
    past = newest - start
    latest = max((bar.end for _, rows in lanes for row in rows for bar in row.bars), default=newest)
    # A new vault has hardly a past: then everything planned is drawn.
    ahead = min(latest - newest, max(past * _FUTURE_RATIO, slowest if past < slowest else timedelta(0)))
    span = max(past + ahead, timedelta(hours=1))
    return start, start + span * 1.02


def _pack(rows: Iterable[_KeyBars]) -> list[list[_KeyBars]]:
    """Return *rows* distributed over as few lines as possible, without overlap."""
    lines: list[list[_KeyBars]] = []
    ends: list[datetime] = []
    for row in rows:
        start, end = row.bars[0].start, row.bars[-1].end
        for index, free_from in enumerate(ends):
            if free_from <= start:
                lines[index].append(row)
                ends[index] = end
                break
        else:
            lines.append([row])
            ends.append(end)
    return lines


class _Canvas:
    """Draws bars: each with a tooltip, or all bars of a kind as a single path."""

    def __init__(self, x: Scale, *, tooltips: bool) -> None:
        self._x, self._tooltips = x, tooltips

    def draw(self, lines: Sequence[Sequence[_KeyBars]], top: int) -> list[str]:
        """Return the shapes of a lane whose upper edge is at *top*."""
        rects: list[str] = []
        paths: dict[str, list[str]] = {}
        marks: list[str] = []
        for index, line in enumerate(lines):
            y = top + index * _ROW
            for row in line:
                for bar in row.bars:
                    left, right = self._x(bar.start), self._x(bar.end)
                    if right <= 0 or left >= WIDTH:
                        continue
                    width = max(right - left, 2)
                    kind = f"bar-{bar.kind} planned" if bar.planned else f"bar-{bar.kind}"
                    if self._tooltips:
                        rects.append(
                            f'<rect class="{kind}" x="{left}" y="{y}" width="{width}" height="{_BAR}">'
                            f"<title>{html.escape(_tooltip(row.key, bar))}</title></rect>"
                        )
                    else:
                        paths.setdefault(kind, []).append(f"M{left} {y}h{width}v{_BAR}h-{width}z")
                ended_at = row.key.life.ended_at
                if row.key.state == "revoked" and ended_at and self._x(ended_at) > 0:
                    marks.append(f"M{self._x(ended_at) - 4} {y}l8 8m0-8l-8 8")
        shapes = rects + [f'<path class="{kind}" d="{"".join(paths[kind])}"/>' for kind in sorted(paths)]
        if marks:
            shapes.append(f'<path class="mark" d="{"".join(marks)}"/>')
        return shapes


def _tooltip(key: Key, bar: _Bar) -> str:
    verb = "planned" if bar.planned else bar.kind
    return f"{key.kid[:12]}… {verb}, {bar.start.date()} to {bar.end.date()}"


def _description(key_set: KeySet) -> str:
    """Return a sentence that says what the lane of *key_set* shows."""
    count = len(key_set.keys)
    words = f"{key_set.name}: {count} {'key' if count == 1 else 'keys'}"
    active, due = key_set.active, rotation_due_at(key_set)
    if active is not None and active.life.activated_at is not None:
        words += f", active since {active.life.activated_at:%Y-%m-%d}"
        if due is not None and key_set.next is not None and not key_set.policy.closing:
            words += f", the next key is due on {due:%Y-%m-%d}"
    revoked = sum(key.state == "revoked" for key in key_set.keys)
    return words + (f", {revoked} revoked" if revoked else "") + "."


# strftime would use the language of the machine.
_MONTHS = ("Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec")
#: Steps of the axis: the longest span that each is for, and the months or hours between two lines.
_STEPS = (
    (timedelta(hours=14), 0, 1),
    (timedelta(hours=72), 0, 6),
    (timedelta(days=14), 0, 24),
    (timedelta(days=80), 0, 168),
    (timedelta(days=300), 1, 0),
    (timedelta(days=900), 3, 0),
)


def _axis(start: datetime, end: datetime, x: Scale, bottom: int) -> Iterator[str]:
    """Yield a line and a label for each step."""
    months, hours = next(((months, hours) for most, months, hours in _STEPS if end - start <= most), (12, 0))
    moment = datetime(start.year, start.month, 1, tzinfo=UTC)
    while moment <= end:
        if moment >= start and (not months or (moment.month - 1) % months == 0):
            at = x(moment)
            yield f'<path class="tick" d="M{at} 16V{bottom}"/>'
            if at < WIDTH - 60:
                yield f'<text class="when" x="{at + 3}" y="11">{_label(moment, months, hours)}</text>'
        if months:
            moment = datetime(moment.year + moment.month // 12, moment.month % 12 + 1, 1, tzinfo=UTC)
        else:
            moment += timedelta(hours=hours)


def _label(moment: datetime, months: int, hours: int) -> str:
    month = _MONTHS[moment.month - 1]
    if not months:
        return f"{moment:%H:%M}" if moment.hour and hours < 24 else f"{moment.day} {month}"
    return f"{moment.year}" if moment.month == 1 else month if months == 1 else f"{month} {moment.year}"
