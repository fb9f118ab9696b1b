"""
The timeline of keys, as inline SVG.

One lane a set, as many rows in it as keys overlap; a bar a phase: published ahead, active, retiring, and a mark
where a key was revoked. The window is the last eighteen months on record and what follows. It is decoration for
the eye: the history table says the same in words, so the drawing is hidden from assistive technology. Styled by
classes alone, since the page allows no inline style.
"""

from __future__ import annotations

import html
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta

from keyvault.core.keys import Key

WIDTH = 1000
ROW = 14
BAR = 8
_TOP = 26
_LABEL = 22
_SPAN = timedelta(days=548)
#: More lanes than this are left to the pages of the sets.
LANES_MAX = 24
#: With more keys than this a bar has no tooltip of its own, and all bars of one kind are one path.
TOOLTIPS_MAX = 80


@dataclass(frozen=True, slots=True)
class _Bar:
    kind: str
    start: datetime
    end: datetime
    title: str


def _bars(key: Key, newest: datetime) -> Iterator[_Bar]:
    """Yield the phases of *key* that can be seen."""
    phase, since = "next", key.life.created_at
    for event in key.events:
        changed = {"activated": "active", "reactivated": "active", "deactivated": "retiring"}.get(event.event)
        ended = event.event in ("withdrawn", "revoked")
        if changed or ended:
            yield _Bar(phase, since, event.at, key.kid)
            phase, since = changed or "", event.at
    if phase:
        end = newest
        if phase == "retiring" and key.life.keep_until:
            end = max(newest, key.life.keep_until)
        yield _Bar(phase, since, end, key.kid)


def _pack(keys: Iterable[Key], newest: datetime) -> list[list[Key]]:
    """Return *keys* in as few rows as fit without overlap."""
    rows: list[list[Key]] = []
    ends: list[datetime] = []
    for key in keys:
        bars = list(_bars(key, newest))
        start, end = bars[0].start, bars[-1].end
        for index, free_from in enumerate(ends):
            if free_from <= start:
                rows[index].append(key)
                ends[index] = end
                break
        else:
            rows.append([key])
            ends.append(end)
    return rows


def timeline(lanes: Sequence[tuple[str, Sequence[Key]]], newest: datetime) -> str:
    """
    Return the SVG of *lanes*, (name, keys oldest first), or an empty string where there is nothing to draw.

    Args:
        lanes: The sets, in the order in which they are drawn.
        newest: The newest instant on record: phases that go on end there.
    """
    lanes = [(name, keys) for name, keys in lanes if keys][:LANES_MAX]
    if not lanes:
        return ""
    oldest = min(key.life.created_at for _, keys in lanes for key in keys)
    start = max(oldest, newest - _SPAN)
    latest = max((bar.end for _, keys in lanes for key in keys for bar in _bars(key, newest)), default=newest)
    # A key for decryption may be kept for a year: what lies far ahead is cut off, not drawn to scale.
    end = min(latest, newest + timedelta(days=60)) + (newest - start) * 0.02 + timedelta(hours=6)
    scale = WIDTH / (end - start).total_seconds()

    def x(instant: datetime) -> int:
        return round(max(0.0, min(WIDTH, (instant - start).total_seconds() * scale)))

    parts: list[str] = []
    y = _TOP
    many = sum(len(keys) for _, keys in lanes) > TOOLTIPS_MAX
    for name, keys in lanes:
        visible = [key for key in keys if list(_bars(key, newest))[-1].end >= start]
        parts.append(f'<text class="lane" x="0" y="{y + 12}">{html.escape(name)}</text>')
        y += _LABEL
        rows = _pack(visible, newest)
        parts += _draw(rows, y, newest, x, one_path=many)
        y += max(len(rows), 1) * ROW + 10
    axis = "".join(_axis(start, end, x, y))
    return (
        f'<svg class="timeline" viewBox="0 0 {WIDTH} {y}" width="{WIDTH}" height="{y}" '
        'aria-hidden="true" focusable="false">'
        f"{axis}{''.join(parts)}</svg>"
    )


def _draw(rows: list[list[Key]], top: int, newest: datetime, x: object, *, one_path: bool) -> list[str]:
    assert callable(x)
    rects: list[str] = []
    paths: dict[str, list[str]] = {}
    marks: list[str] = []
    for index, row in enumerate(rows):
        y = top + index * ROW
        for key in row:
            for bar in _bars(key, newest):
                left, right = x(bar.start), x(bar.end)
                if right <= 0 and left <= 0:
                    continue
                width = max(right - left, 2)
                if one_path:
                    paths.setdefault(bar.kind, []).append(f"M{left} {y}h{width}v{BAR}h-{width}z")
                else:
                    title = html.escape(f"{bar.title[:12]} {bar.kind} {bar.start:%Y-%m-%d} to {bar.end:%Y-%m-%d}")
                    rects.append(
                        f'<rect class="bar-{bar.kind}" x="{left}" y="{y}" width="{width}" height="{BAR}" rx="1.5">'
                        f"<title>{title}</title></rect>"
                    )
            if key.state == "revoked" and key.life.ended_at and x(key.life.ended_at) > 0:
                at = x(key.life.ended_at)
                marks.append(f"M{at - 4} {y}l8 8m0-8l-8 8")
    drawn = rects + [f'<path class="bar-{kind}" d="{"".join(shapes)}"/>' for kind, shapes in sorted(paths.items())]
    if marks:
        drawn.append(f'<path class="mark" d="{"".join(marks)}"/>')
    return drawn


def _axis(start: datetime, end: datetime, x: object, bottom: int) -> Iterator[str]:
    """Yield a line and a label for each month, or each quarter where months would stand too close."""
    assert callable(x)
    months = (end - start).days / 30.4
    step = 1 if months <= 9 else 3 if months <= 26 else 6
    moment = datetime(start.year, start.month, 1, tzinfo=UTC)
    while moment <= end:
        if moment >= start and (moment.month - 1) % step == 0:
            at = x(moment)
            label = (
                f"{moment:%Y}" if moment.month == 1 and step > 1 else f"{moment:%b %Y}" if step > 1 else f"{moment:%b}"
            )
            yield f'<path class="tick" d="M{at} 16V{bottom}"/>'
            if at < WIDTH - 50:
                yield f'<text class="when" x="{at + 3}" y="11">{label}</text>'
        moment = datetime(moment.year + moment.month // 12, moment.month % 12 + 1, 1, tzinfo=UTC)
