"""
Words and instants as people read and type them.

Durations (``24h``, ``1d12h``), instants (``2026-12-01 09:00Z``), relative hints (``in 8 days``) and the
nearest known name for a misspelt one. Foreign text, as messages quote it. Source of the duration grammar:
docs/format.md.
"""

from __future__ import annotations

import difflib
import itertools
import re
from collections.abc import Iterable
from datetime import UTC, datetime, timedelta

_UNITS = {"w": 604_800, "d": 86_400, "h": 3_600, "m": 60, "s": 1}
_DURATION = re.compile(r"(?:(\d{1,6})w)?(?:(\d{1,6})d)?(?:(\d{1,6})h)?(?:(\d{1,6})m)?(?:(\d{1,9})s)?", re.ASCII)

#: Longer than any promise that somebody could mean; keeps every sum of instants below year 9999.
DURATION_MAX = timedelta(days=36_525)

#: No instant lies at or beyond this: every sum of an instant and some durations stays below year 9999.
INSTANT_END = datetime(9000, 1, 1, tzinfo=UTC)


def parse_duration(text: str) -> timedelta:
    """
    Return the duration that *text* names: ``30s 10m 24h 90d 2w``, combinable from large to small.

    Raises:
        ValueError: Not a duration, or longer than `DURATION_MAX`.
    """
    match = _DURATION.fullmatch(text)
    if not text or match is None:
        raise ValueError(f"{quoted(text)} is not a duration such as 10m, 24h, 90d or 1d12h")
    seconds = sum(
        int(count) * unit for count, unit in zip(match.groups(), _UNITS.values(), strict=True) if count is not None
    )
    if seconds > DURATION_MAX.total_seconds():
        raise ValueError(f"{quoted(text)} is longer than a hundred years")
    return timedelta(seconds=seconds)


def format_duration(duration: timedelta) -> str:
    """Return *duration* as `parse_duration` reads it, in days from two days on: ``24h``, ``36h``, ``2d12h``."""
    seconds = int(duration.total_seconds())
    parts = []
    for unit in ("d", "h", "m", "s") if seconds >= 2 * _UNITS["d"] else ("h", "m", "s"):
        count, seconds = divmod(seconds, _UNITS[unit])
        if count:
            parts.append(f"{count}{unit}")
    return "".join(parts) or "0s"


def format_instant(instant: datetime) -> str:
    """Return *instant* to the minute: ``2026-12-01 09:00Z``; with seconds where it has any."""
    return instant.astimezone(UTC).strftime("%Y-%m-%d %H:%M:%SZ" if instant.second else "%Y-%m-%d %H:%MZ")


def relative(instant: datetime, now: datetime) -> str:
    """Return how far *instant* is from *now*, in the largest unit: ``in 8 days``, ``3 hours ago``."""
    seconds = int((instant - now).total_seconds())
    size = abs(seconds)
    if size < 60:
        return "now" if size == 0 else ("in a moment" if seconds > 0 else "a moment ago")
    for name, unit in (("day", 86_400), ("hour", 3_600), ("min", 60)):
        if size >= unit:
            count = size // unit
            plural = "s" if count != 1 and name != "min" else ""
            return f"in {count} {name}{plural}" if seconds > 0 else f"{count} {name}{plural} ago"
    raise AssertionError("unreachable: 60 seconds are a minute")


def when(instant: datetime, now: datetime) -> str:
    """Return *instant* with its relative hint: ``2026-12-01 09:00Z, in 8 days``."""
    return f"{format_instant(instant)}, {relative(instant, now)}"


def nearest(name: str, known: Iterable[str]) -> str | None:
    """Return ``did you mean 'x'?`` for the nearest of *known*, or None when none is near."""
    names = list(known)
    same = [one for one in names if one.casefold() == name.casefold()]
    matches = same or difflib.get_close_matches(name[:100], names, n=1, cutoff=0.6)
    return f"did you mean {matches[0]!r}?" if matches else None


def printable(text: str) -> str:
    """
    Return *text* as one line that a terminal can take.

    Control characters, ANSI escapes and bidirectional overrides are shown as escapes: text from a vault
    or a host must not be able to repaint somebody's screen.
    """
    if text.isascii() and text.isprintable():
        return text
    return "".join(
        char if char.isprintable() and char not in "\u061c\u200e\u200f" else char.encode("unicode_escape").decode()
        for char in text
    )


# --- foreign text in messages ---------------------------------------------------------------------------

#: What key material can look like: Base64 of both alphabets, hexadecimal and decimal digits, octets with colons between
#: them as OpenSSL prints them, and JSON's escapes.
_RUN = re.compile(r"(?:\\+u[0-9a-fA-F]{4}){3,}|(?:[0-9a-fA-F]{2}[: ]){5,}|[A-Za-z0-9+/_=-]{12,}")
_PEM_BLOCK = re.compile(r"(-----BEGIN [^-\n]{0,40}-----).*", re.DOTALL)
_HEX = re.compile(r"(?=.*[0-9])(?=.*[a-fA-F])[0-9a-fA-F]{20,}")
#: The name that `file_stem` gives to the files of an odd kid: a digest, and the same for everybody.
_STEM = re.compile(r"kid-[0-9a-f]{32}")
_UUID = re.compile(r"[0-9a-fA-F]{8}(?:-[0-9a-fA-F]{4}){3}-[0-9a-fA-F]{12}")
_USER_INFO = re.compile(r"//[^/@\s]*@")
#: How much of such a run is shown: enough to recognise a kid by, and of no use for anything else.
_SHOWN = 8
#: How many octets that are no UTF-8 make text binary; a file's name may have a few.
_BINARY = 4


def _is_random(run: str) -> bool:
    """Whether *run* looks like key material rather than like a word, a path or the name of an algorithm."""
    if run[:1] == "\\" or run[2:3] in (":", " "):
        return True
    if _STEM.fullmatch(run):
        return False
    letters = re.sub(r"[^A-Za-z0-9]", "", run)
    if _HEX.fullmatch(letters) or (letters.isdigit() and len(letters) >= 20):
        return not _UUID.fullmatch(run)
    return len(letters) >= 12 and _changes(letters) >= len(letters) * (0.45 if len(letters) < 20 else 0.33)


def _changes(text: str) -> int:
    """
    Return how often *text* changes between capitals, small letters and digits.

    Random letters do so all the time, and words do not.
    """
    kinds = ("0" if char.isdigit() else "A" if char.isupper() else "a" for char in text if char.isalnum())
    return sum(one != other for one, other in itertools.pairwise(kinds))


def _cut(run: str) -> str:
    """Return *run*, cut short where something random begins: the words of a path that lead to it stay."""
    parts = run.split("/")
    for at, part in enumerate(parts):
        rest = "/".join(parts[at:])
        # Base64 has slashes, too, so a part may be too short to be recognised by itself.
        if _is_random(part) or (_changes(part) and _is_random(rest)):
            return "/".join([*parts[:at], rest[:_SHOWN] + "…"])
    return run


def elided(text: str) -> str:
    """
    Return foreign *text* as one line for a message, with everything cut short in it that looks like key material.

    Nobody knows where a foreign document, a path or the output of another program has a key: in a kid, in a member's
    name, in a value of the wrong type. So what looks like one is cut, such as a long run of Base64; the first letters
    stay, by which a kid is recognised. The user and password of a URL are left out.
    """
    text = _USER_INFO.sub("//…@", text)
    if sum("\udc80" <= char <= "\udcff" for char in text) >= _BINARY:
        return "binary data"
    text = _PEM_BLOCK.sub(r"\1…", text)
    return printable(_RUN.sub(lambda found: _cut(found[0]), text))


def quoted(value: object, most: int = 80) -> str:
    """Return *value*, which somebody else wrote, as a message quotes it: `elided`, and of at most *most* characters."""
    text = elided(value if isinstance(value, str) else repr(value))
    room = most - 2 if isinstance(value, str) else most
    if len(text) > room:
        text = text[: room - 1] + "…"
    if not isinstance(value, str):
        return text
    # `elided` has escaped what cannot be printed: repr would do so again.
    quote = '"' if "'" in text and '"' not in text else "'"
    return f"{quote}{text}{quote}"
