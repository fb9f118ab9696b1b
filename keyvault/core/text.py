"""
Parse and format text for people: durations, instants, suggestions for misspelt names, and quoted foreign text.

Source of the duration grammar: docs/format.md.
"""

from __future__ import annotations

import difflib
import itertools
import re
from collections.abc import Iterable
from datetime import UTC, datetime, timedelta

_UNITS = {"w": 604_800, "d": 86_400, "h": 3_600, "m": 60, "s": 1}
_DURATION = re.compile(r"(?:(\d{1,6})w)?(?:(\d{1,6})d)?(?:(\d{1,6})h)?(?:(\d{1,6})m)?(?:(\d{1,9})s)?", re.ASCII)

#: A hundred years, more than any real policy: keeps every sum of instants below year 9999.
DURATION_MAX = timedelta(days=36_525)

#: Every instant must be earlier: then the sum of an instant and a few durations stays below year 9999.
INSTANT_END = datetime(9000, 1, 1, tzinfo=UTC)


def parse_duration(text: str) -> timedelta:
    """
    Return the duration in *text*: ``30s 10m 24h 90d 2w``, or several of them from large to small.

    Raises:
        ValueError: If *text* is not a duration, or longer than `DURATION_MAX`.
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
    """Return *duration* in the form of `parse_duration`, in days from two days on: ``24h``, ``36h``, ``2d12h``."""
    seconds = int(duration.total_seconds())
    parts = []
    for unit in ("d", "h", "m", "s") if seconds >= 2 * _UNITS["d"] else ("h", "m", "s"):
        count, seconds = divmod(seconds, _UNITS[unit])
        if count:
            parts.append(f"{count}{unit}")
    return "".join(parts) or "0s"


def format_instant(instant: datetime) -> str:
    """Return *instant* to the minute: ``2026-12-01 09:00Z``; with seconds if they are not zero."""
    return instant.astimezone(UTC).strftime("%Y-%m-%d %H:%M:%SZ" if instant.second else "%Y-%m-%d %H:%MZ")


def relative(instant: datetime, now: datetime) -> str:
    """Return the distance from *now* to *instant* in the largest unit: ``in 8 days``, ``3 hours ago``."""
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
    """Return ``did you mean 'x'?`` for the name in *known* most like *name*, or None if none is similar."""
    names = list(known)
    same = [candidate for candidate in names if candidate.casefold() == name.casefold()]
    matches = same or difflib.get_close_matches(name[:100], names, n=1, cutoff=0.6)
    return f"did you mean {matches[0]!r}?" if matches else None


def printable(text: str) -> str:
    """
    Return *text* as one line that is safe to print on a terminal.

    Control characters, ANSI escapes and bidirectional overrides become backslash escapes: text from a vault or a host
    must not repaint the screen.
    """
    if text.isascii() and text.isprintable():
        return text
    return "".join(
        char if char.isprintable() and char not in "\u061c\u200e\u200f" else char.encode("unicode_escape").decode()
        for char in text
    )


# --- foreign text in messages ---------------------------------------------------------------------------
#
# For options, paths, vaults, imported files and the output of programs. Messages about documents that are checked for
# leaks, as in `lint` and `drift`, use `labels`, which hides a whole value if it may be a key.

#: Forms of key material: Base64 of both alphabets, hexadecimal and decimal digits, octets with colons between them as
#: OpenSSL prints them, and JSON's escapes.
_RUN = re.compile(r"(?:\\+u[0-9a-fA-F]{4}){3,}|(?:[0-9a-fA-F]{2}[: ]){5,}|[A-Za-z0-9+/_=-]{12,}")
_PEM_BLOCK = re.compile(r"(-----BEGIN [^-\n]{0,40}-----).*", re.DOTALL)
_HEX = re.compile(r"(?=.*[0-9])(?=.*[a-fA-F])[0-9a-fA-F]{20,}")
#: The name that `file_stem` gives to the files of an unusual kid: a digest of public text, never key material.
_STEM = re.compile(r"kid-[0-9a-f]{32}")
_UUID = re.compile(r"[0-9a-fA-F]{8}(?:-[0-9a-fA-F]{4}){3}-[0-9a-fA-F]{12}")
_USER_INFO = re.compile(r"//[^/@\s]*@")
#: How many characters of such a run a message shows: enough to recognise a kid, and too few to reveal a key.
_PREFIX_SHOWN = 8
#: Text with at least so many octets outside of UTF-8 is binary data; a file's name may have a few.
_BINARY_OCTETS_MIN = 4


def _is_random(run: str) -> bool:
    """Return whether *run* looks like key material rather than a word, a path or the name of an algorithm."""
    if run[:1] == "\\" or run[2:3] in (":", " "):
        return True
    if _STEM.fullmatch(run):
        return False
    letters = re.sub(r"[^A-Za-z0-9]", "", run)
    if _HEX.fullmatch(letters) or (letters.isdigit() and len(letters) >= 20):
        return not _UUID.fullmatch(run)
    return len(letters) >= 12 and _class_changes(letters) >= len(letters) * (0.45 if len(letters) < 20 else 0.33)


def _class_changes(text: str) -> int:
    """
    Return how often *text* changes between capitals, small letters and digits.

    Random text changes often, words rarely.
    """
    if text.isascii():
        stretches = re.findall(r"[0-9]+|[A-Z]+|[a-z]+", re.sub(r"[^A-Za-z0-9]+", "", text))
        return max(0, len(stretches) - 1)
    classes = ("0" if char.isdigit() else "A" if char.isupper() else "a" for char in text if char.isalnum())
    return sum(before != after for before, after in itertools.pairwise(classes))


def _cut_random(run: str) -> str:
    """Return *run*, cut at the first segment that looks random; the segments of a path before it stay."""
    parts = run.split("/")
    for at, part in enumerate(parts):
        rest = "/".join(parts[at:])
        # Base64 has slashes too, so a single part may be too short to look random.
        if _is_random(part) or (_class_changes(part) and _is_random(rest)):
            return "/".join([*parts[:at], rest[:_PREFIX_SHOWN] + "…"])
    return run


def elided(text: str) -> str:
    """
    Return foreign *text* as one line for a message, with runs that look like key material shortened.

    A foreign document, a path or the output of another program may have a key anywhere: in a kid, in a member's name,
    in a value of the wrong type. So every run that looks like a key, such as long Base64, is cut after its first
    characters, which are enough to recognise a kid. The user and password of a URL are removed.
    """
    text = _USER_INFO.sub("//…@", text)
    if not text.isascii() and sum("\udc80" <= char <= "\udcff" for char in text) >= _BINARY_OCTETS_MIN:
        return "binary data"
    text = _PEM_BLOCK.sub(r"\1…", text)
    return printable(_RUN.sub(lambda found: _cut_random(found[0]), text))


def quoted(value: object, most: int = 80) -> str:
    """Return the foreign *value* in quotes for a message, shortened as by `elided` and to at most *most* characters."""
    text = elided(value if isinstance(value, str) else repr(value))
    room = most - 2 if isinstance(value, str) else most
    if len(text) > room:
        text = text[: room - 1] + "…"
    if not isinstance(value, str):
        return text
    # Not repr: it would escape the escapes of `elided` again.
    quote = '"' if "'" in text and '"' not in text else "'"
    return f"{quote}{text}{quote}"
